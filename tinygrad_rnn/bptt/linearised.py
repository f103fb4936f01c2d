"""One step of a Problem and its derivatives, the carry and the parameters seen as vectors."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import Any

from .. import tree
from ..autodiff import pull, push
from ..backend import Array, namespace
from ..tensor import Tensor, array_of
from ..transforms import Trace
from .problem import Problem, cut

__all__ = ["Linearised", "Vectors"]


class Vectors:
    """The real floating leaves of a container as one vector (n,), and back."""

    def __init__(self, container: Any) -> None:
        self.leaves, self.structure = tree.flatten(container)
        self.moving = [type(v) is Tensor and v.dtype.kind == "f" for v in self.leaves]
        if any(type(v) is Tensor and v.dtype.kind == "c" for v in self.leaves):
            raise ValueError("forward methods are for real states and parameters; use full backpropagation")
        self.shapes = [v.shape for v, m in zip(self.leaves, self.moving, strict=True) if m]
        self.sizes = [prod(shape) for shape in self.shapes]
        self.n = sum(self.sizes)
        first = next((v for v, m in zip(self.leaves, self.moving, strict=True) if m), None)
        self.like: Any = None if first is None else first.data

    def pieces(self, vector: Array) -> list[Array]:
        """A vector, or a matrix (…, n), cut into the leaves' shapes (…, *shape)."""
        found, start = [], 0
        for shape, size in zip(self.shapes, self.sizes, strict=True):
            found.append(vector[..., start : start + size].reshape((*vector.shape[:-1], *shape)))
            start += size
        return found

    def vector(self, arrays: Iterable[Array | None]) -> Array:
        """The arrays of all leaves, None being zeros, as one vector."""
        xp = namespace(self.like)
        parts = [
            xp.zeros(size, self.like.dtype) if a is None else array_of(a).reshape(-1)
            for a, size in zip(arrays, self.sizes, strict=True)
        ]
        return xp.concatenate(parts) if parts else xp.zeros(0, self.like.dtype)

    def container(self, vector: Array) -> Any:
        """A vector, or a matrix (…, n), as a container of Tensors (…, *shape); what is no real number is None there."""
        rest = iter(self.pieces(vector))
        return tree.unflatten(self.structure, [Tensor.of(next(rest).copy(), None) if m else None for m in self.moving])


class Linearised:
    """Step t from a carry: ``z', ℓ = step(θ, z, x_t)``, and products with its derivatives, as often as wanted.

    ``carry``, ``loss``: what it gave (the loss 0.0 where it has none). ``state``, ``before``, ``parameters``: the
    Vectors of z', z and θ.
    """

    def __init__(self, problem: Problem, carry: Any, t: int) -> None:
        trace = Trace(lambda p, z: problem.one(p, z, t), (problem.parameters, carry), (0, 1), {}, None)
        new, loss = trace.out
        self.carry, self.loss = cut(new), 0.0 if loss is None else loss.item()
        self.parameters, self.before, self.state = Vectors(problem.parameters), Vectors(carry), Vectors(new)
        self._wrt = [p.node for p in trace.primals if p is not None and p.node is not None]
        self._split = len(self.parameters.shapes)
        moving = [o for o in self.state.leaves if type(o) is Tensor and o.dtype.kind == "f"]
        self._roots = [o.node for o in moving]
        self._loss = loss
        if any(type(p) is not Tensor or p.dtype.kind != "f" for p in self.parameters.leaves):
            raise ValueError("the parameters of a forward method are real floating Tensors")

    def pull_state(self, cotangent: Array) -> tuple[Array, Array]:
        """``(v ∂⁺z'/∂θ, v ∂z'/∂z)`` for a vector v over z'."""
        pairs = zip(self._roots, self.state.pieces(cotangent), strict=True)
        return self._pulled([(root, piece) for root, piece in pairs if root is not None])

    def pull_before(self, cotangent: Array) -> Array:
        """``v ∂z'/∂z`` alone: without the products that the parameters' part takes."""
        pairs = zip(self._roots, self.state.pieces(cotangent), strict=True)
        known, wrt = [(root, piece) for root, piece in pairs if root is not None], self._wrt[self._split :]
        found = pull([root for root, _ in known], [piece for _, piece in known], wrt=wrt)
        return self.before_vector([found.get(node) for node in wrt])

    def pull_loss(self) -> tuple[Array, Array]:
        """``(∂⁺ℓ/∂θ, ∂ℓ/∂z)``."""
        if self._loss is None or self._loss.node is None:
            return self._pulled([])
        one = namespace(self._loss.data).ones(self._loss.shape, self._loss.dtype)
        return self._pulled([(self._loss.node, one)])

    def _pulled(self, pairs: list[tuple[Any, Array]]) -> tuple[Array, Array]:
        found = pull([root for root, _ in pairs], [g for _, g in pairs], wrt=self._wrt) if pairs else {}
        gradients = [found.get(node) for node in self._wrt]
        return self.parameters.vector(gradients[: self._split]), self.before_vector(gradients[self._split :])

    def before_vector(self, arrays: list[Any]) -> Array:
        return self.before.vector(arrays) if self.before.n else namespace(self.parameters.like).zeros(0)

    def jacobians(self) -> tuple[Array, Array]:
        """``(∂⁺z'/∂θ, ∂z'/∂z)``, (n', P) and (n', n): as many pullbacks as z' has numbers."""
        xp, n = namespace(self.parameters.like), self.state.n
        rows = [self.pull_state(unit) for unit in xp.eye(n, dtype=self.parameters.like.dtype)]
        direct = xp.zeros((0, self.parameters.n), self.parameters.like.dtype)
        through = xp.zeros((0, self.before.n), self.parameters.like.dtype)
        if n:
            direct, through = (xp.stack(part) for part in zip(*rows, strict=True))
        return direct, through

    def push(self, parameters: Array | None, before: Array | None) -> tuple[Array, float]:
        """The tangents of z' and ℓ from those of θ and z, None being zeros."""
        tangents: dict[Any, Any] = {}
        for vectors, vector, nodes in (
            (self.parameters, parameters, self._wrt[: self._split]),
            (self.before, before, self._wrt[self._split :]),
        ):
            if vector is not None:
                tangents.update(zip(nodes, vectors.pieces(vector), strict=True))
        roots = [*self._roots, None if self._loss is None else self._loss.node]
        *state, loss = push(roots, tangents)
        moved = self.state.vector(state) if self.state.n else namespace(self.parameters.like).zeros(0)
        return moved, 0.0 if loss is None else float(loss)
