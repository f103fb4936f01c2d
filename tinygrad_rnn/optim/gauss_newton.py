"""The Gauss–Newton matrix of a loss at one point: products with it, its gradient, its diagonal, from one trace."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .. import tree
from ..backend import namespace
from ..ops.reduce import sum as total
from ..random import Generator
from ..tensor import Tensor, array_of, zeros_beside
from ..transforms import Trace, grad

__all__ = ["GaussNewton", "as_vector", "pieces"]

Array = Any


class GaussNewton:
    """``G = Jᵀ H J`` at the parameters' present values, J = ∂ outputs/∂θ and H = ∂² loss/∂ outputs²
    (Schraudolph 2002).

    ``parameters`` maps paths to the Tensors θ, which as one real vector have n entries, a complex one two. The Jacobian
    is that of ``outputs(batch)``, any container; H that of the scalar ``loss(outputs, batch)``, which depends on θ
    through the outputs only. With ``structural`` > 0 outputs is a pair (predictions, states), the loss is one of the
    predictions, and ``structural`` times the ``distance`` of the states from where they are is added to what G is of,
    though not to the loss (Martens & Sutskever 2011). ``outputs`` runs once, here.

    Raises ValueError for a loss that is no scalar, or when there are no states.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> w = tg.tensor([1.0, 2.0], requires_grad=True)
    >>> at = GaussNewton({"w": w}, lambda x: w * x, lambda y, x: (y * y).sum(), tg.tensor([1.0, 3.0]))
    >>> at.product(np.ones(2, np.float32)), at.loss
    (array([ 2., 18.], dtype=float32), 37.0)
    """

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        outputs: Callable[[Any], Any],
        loss: Callable[[Any, Any], Any],
        batch: Any,
        *,
        structural: float = 0.0,
    ) -> None:
        self.parameters, self.structural = parameters, structural
        self._trace = Trace(lambda _: outputs(batch), (InPlace(parameters),), (0,), {}, False)
        out = self._trace.value()
        if structural:
            predictions, states = parted(out)

            def whole(z: Any) -> Any:
                return loss(z[0], batch) + structural * distance(z[1], states)
        else:
            predictions = out

            def whole(z: Any) -> Any:
                return loss(z, batch)

        self._predictions = len(tree.leaves(predictions))  # how many of the outputs' leaves, which come first
        self._loss = Trace(lambda z: loss(z, batch), (predictions,), (0,), {}, False)
        value = self._loss.outputs[0]
        if len(self._loss.outputs) != 1 or value.shape != () or value.dtype.kind != "f":
            kinds = [f"{v.dtype} {v.shape}" for v in self._loss.outputs]
            raise ValueError(f"loss(predictions, batch) returned {', '.join(kinds)}; it must be one real scalar")
        self.loss: float = value.item()
        gradient = grad(whole, create_graph=True)
        self._curvature = Trace(lambda z: gradient(z), (out,), (0,), {}, None)

    def gradient(self) -> Array:
        """``∂ loss/∂θ`` (n,), the structural term having none here."""
        (cotangent,) = self._loss.pullback()
        if self.structural:
            still = tree.map(lambda s: Tensor.of(zeros_beside(s, s.shape), None), self._trace.value()[1])
            cotangent = (cotangent, still)
        return self._pulled(cotangent)

    def product(self, v: Array) -> Array:
        """``G v`` (n,) of a vector (n,): forward along the outputs, through H, and back."""
        return self._pulled(self._curvature.pushforward((self._pushed(v),)))

    def quadratic(self, v: Array) -> float:
        """``vᵀ G v`` of the loss alone, without the structural term."""
        along = self._pushed(v)
        bent = self._curvature.pushforward((along,))
        pairs = zip(tree.leaves(along)[: self._predictions], tree.leaves(bent), strict=False)
        return sum(float(namespace(a.data).vdot(a.data, b.data).real) for a, b in pairs)

    def diagonal(self, rng: Generator, probes: int) -> Array:
        """An unbiased estimate of ``diag(Jᵀ diag(H) J)`` (n,), which is G's diagonal where H is diagonal.

        The mean over ``probes`` of ``(Jᵀ (√h ∘ s))²`` with ``h = r ∘ H r`` and random signs r, s: as Chapelle & Erhan
        2011 ("Improved preconditioner for Hessian free optimization"), with the diagonal for the root of H.
        """
        found: Any = 0.0
        out = self._trace.value()
        for _ in range(probes):
            r = tree.map(lambda o: _signs(rng, o), out)
            bent = self._curvature.pushforward((r,))
            pulled = self._pulled(tree.map(lambda a, b: _rooted(rng, a, b), r, bent))
            found = found + pulled * pulled / probes
        return found

    def _pushed(self, v: Array) -> Any:
        tangents = {path: Tensor.of(a, None) for path, a in pieces(self.parameters, v).items()}
        return self._trace.pushforward((tangents,))

    def _pulled(self, cotangent: Any) -> Array:
        return as_vector(self._trace.pullback(cotangent)[0].values())


class InPlace:
    """Tensors by path as a container whose leaves a transform takes where they are, as those of a Module."""

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        self.parameters = parameters

    def parameters_by_path(self) -> Mapping[str, Tensor]:
        return self.parameters


def distance(states: Any, others: Any) -> Tensor:
    """``½ Σ |h − h'|²`` over time and units, the mean over the batch, of containers of states (T, B, …)."""
    found: Any = 0.0
    for a, b in zip(tree.leaves(states), tree.leaves(others), strict=True):
        d = a - b
        found = found + total((d * d.conj()).real) * (0.5 / a.shape[1])
    return found


def parted(out: Any) -> tuple[Any, Any]:
    """Predictions and states, as outputs(batch) returns them for structural damping."""
    if type(out) is not tuple or len(out) != 2:
        raise ValueError(
            f"structural damping penalises a change of the hidden states: outputs(batch) must return a pair "
            f"(predictions, states), not {type(out).__name__}; zoo.RNN gives states (T, B, …) with its outputs"
        )
    flat = [s.shape for s in tree.leaves(out[1]) if len(s.shape) < 2]
    if flat:
        raise ValueError(f"the states must be series (T, B, …), for the mean over B; there is one of shape {flat[0]}")
    return out[0], out[1]


def as_vector(arrays: Iterable[Any]) -> Array:
    """Tensors or arrays as one real vector (n,), a complex entry as two."""
    flat = [_real(array_of(a).reshape(-1)) for a in arrays]
    return namespace(*flat).concatenate(flat)


def pieces(parameters: Mapping[str, Tensor], vector: Array) -> dict[str, Array]:
    """A vector (n,) cut into arrays of the parameters' shapes and dtypes."""
    found, start = {}, 0
    for path, p in parameters.items():
        end = start + math.prod(p.shape) * (2 if p.dtype.kind == "c" else 1)
        found[path] = vector[start:end].astype(p.data.real.dtype).view(p.dtype).reshape(p.shape)
        start = end
    return found


def _real(a: Array) -> Array:
    return a.view(a.real.dtype) if a.dtype.kind == "c" else a


def _signs(rng: Generator, like: Any) -> Tensor:
    return rng.bernoulli(like.shape, 0.5, dtype=like.data.real.dtype, device=like.device) * 2 - 1


def _rooted(rng: Generator, signs: Tensor, bent: Tensor) -> Tensor:
    """``√(r ∘ H r)`` under new random signs; where a loss is not convex in its outputs the root of zero."""
    xp = namespace(bent.data)
    h = (signs.data * bent.data).real
    return Tensor.of(xp.sqrt(xp.maximum(h, 0)) * _signs(rng, bent).data, None)
