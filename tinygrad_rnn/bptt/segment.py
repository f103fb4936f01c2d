"""Some steps of a Problem with a graph of their own, and the messages that pass through it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .. import tree
from ..autodiff import conjugate, pull
from ..backend import Array, namespace
from ..tensor import Tensor, zeros_beside
from ..transforms import Trace
from .problem import Problem, cut

__all__ = ["Message", "Segment"]

Message = Sequence[Array | None]  # the cotangents of a carry's leaves; None where nothing arrives


class Segment:
    """Steps start … stop − 1, ``z' = run(θ, z)`` with loss ℓ, kept so that messages pass back through them.

        pull(m', loss=w) = m' ∂⁺z'/∂θ + w ∂⁺ℓ/∂θ,  m = m' ∂z'/∂z + w ∂ℓ/∂z

    The graph ends where the segment begins: m, handed to the segment before, is all that links the two. So it can be
    stopped, scaled or looked at in between, and the older segments stand for the parameters as they were then. A pull
    is a transpose, without conjugation, like messages inside the engine; ``container`` conjugates. ``carry``: z', cut.
    ``loss``: a number, 0.0 where no step has one.

    >>> import tinygrad_rnn as tg
    >>> w = tg.tensor(0.5, requires_grad=True)
    >>> def step(w, h, x):
    ...     h = w * h + x
    ...     return h, h * h
    >>> problem = Problem(w, step, tg.tensor(0.0), tg.tensor([1.0, 1.0]))
    >>> first = Segment(problem, problem.carry, 0, 1)
    >>> second = Segment(problem, first.carry, 1, 2)
    >>> gradients, message = second.pull()
    >>> print(second.loss, second.container(gradients), message[0])
    2.25 tensor(3.) 1.5
    """

    def __init__(self, problem: Problem, carry: Any, start: int, stop: int) -> None:
        trace = Trace(lambda p, z: problem.run(p, z, start, stop), (problem.parameters, carry), (0, 1), {}, False)
        new, loss = trace.out
        self.steps = stop - start
        self.carry = cut(new)
        self.has_loss = loss is not None
        self.loss = trace.outputs[-1].item() if self.has_loss else 0.0
        self.shapes = shapes(new)  # of the carry that a message belongs to
        self._roots = trace.roots
        self._value: Any = trace.outputs[-1].data if self.has_loss else None
        self._structure, split = trace.structures[0]
        self._parameters, self._before = trace.primals[:split], trace.primals[split:]

    def pull(self, message: Message | None = None, *, loss: float = 1.0) -> tuple[list[Array | None], Message]:
        """What a message to z' and ``loss`` times the loss give the parameters, and the message that goes on to z."""
        roots = self._roots[:-1] if self.has_loss else self._roots
        arriving = zip(roots, message or [None] * len(roots), strict=True)
        pairs = [(root, m) for root, m in arriving if root is not None and m is not None]
        if loss and self.has_loss and self._roots[-1] is not None:
            value = self._value
            pairs.append((self._roots[-1], namespace(value).full(value.shape, loss, value.dtype)))
        wrt = [p.node if p is not None else None for p in (*self._parameters, *self._before)]
        found: dict[Any, Array] = {}
        if pairs:
            found = pull([r for r, _ in pairs], [m for _, m in pairs], wrt=[node for node in wrt if node is not None])
        parts = [None if node is None else found.get(node) for node in wrt]
        return parts[: len(self._parameters)], parts[len(self._parameters) :]

    def container(self, gradients: Iterable[Array | None]) -> Any:
        """What ``pull`` gave the parameters, or sums of it, built as ``tg.grad`` gives gradients; None is zeros."""
        pairs = zip(self._parameters, gradients, strict=True)
        return tree.unflatten(self._structure, [None if p is None else _gradient(p, g) for p, g in pairs])


def _gradient(p: Tensor, g: Array | None) -> Tensor:
    """A gradient in an array of its own: a message may belong to others, and a sum of 0-d arrays is no array."""
    return Tensor.of(zeros_beside(p, p.shape) if g is None else namespace(p.data).array(conjugate(g)), None)


def shapes(carry: Any) -> list[Any]:
    """The shapes of a carry's leaves: what a message needs in common with it."""
    return [getattr(z, "shape", ()) for z in tree.leaves(carry)]


def added(a: Message | None, b: Message | None) -> Message:
    """The sum of two messages, or of two lists of gradients; None is zero."""
    if a is None or b is None:
        return a or b or []
    return [y if x is None else x if y is None else x + y for x, y in zip(a, b, strict=True)]
