"""What a gradient is wanted of: a loss added up along time; and what a way to find it hands out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from .. import tree
from ..node import scope
from ..ops.flow import detach
from ..tensor import Tensor

__all__ = ["Problem", "Update", "cut"]

Step = Callable[[Any, Any, Any], tuple[Any, Any]]


@dataclass(frozen=True)
class Problem:
    """A loss added up along time, ``z_t, ℓ_t = step(θ, z_{t−1}, x_t)`` for t = 0 … T−1, ``L = Σ_t ℓ_t``.

    ``parameters``: θ, a Module or a container of Tensors. ``step``: takes θ, the carry z_{t−1} and the input x_t, gives
    the new carry and the loss of this step, a scalar, or None where there is none; it may change what the carry is
    made of, so a first step can make the state from the input and an encoder hand over to a decoder. ``carry``: what to
    begin with, Tensors in nested containers. ``xs``: a list with one input, of any kind, for each step; or a container
    of arrays (T, …), as ``tg.scan`` takes it. ``segment``: the same as several steps, ``segment(θ, z, xs[a:b])``, where
    there is a faster way than step by step. The loss of a batch is the sum, or the mean, over its rows as the step
    says.

    >>> import tinygrad_rnn as tg
    >>> w = tg.tensor(0.5, requires_grad=True)
    >>> def step(w, h, x):
    ...     h = w * h + x
    ...     return h, h * h
    >>> problem = Problem(w, step, tg.tensor(0.0), tg.tensor([1.0, 1.0]))
    >>> problem.run(w, problem.carry, 0, 2)[1].item()
    3.25
    """

    parameters: Any
    step: Step
    carry: Any
    xs: Any
    segment: Step | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.xs, list):
            lengths = {len(x) for x in tree.leaves(self.xs)}
            if len(lengths) != 1:
                raise ValueError(f"Problem: the sequences have lengths {sorted(lengths)}; all need the same number")

    def __len__(self) -> int:
        """The number of steps T."""
        return len(self.xs) if isinstance(self.xs, list) else len(tree.leaves(self.xs)[0])

    def at(self, t: int) -> Any:
        """x_t."""
        return self.xs[t] if isinstance(self.xs, list) else tree.map(lambda x: x[t], self.xs)

    def between(self, start: int, stop: int) -> Any:
        """The inputs of steps start … stop − 1."""
        return self.xs[start:stop] if isinstance(self.xs, list) else tree.map(lambda x: x[start:stop], self.xs)

    def one(self, parameters: Any, carry: Any, t: int) -> tuple[Any, Any]:
        """Step t, its nodes tagged with it."""
        with scope("time", index=t):
            return self.step(parameters, carry, self.at(t))

    def run(self, parameters: Any, carry: Any, start: int, stop: int) -> tuple[Any, Any]:
        """Steps start … stop − 1: the carry after them and the sum of their losses, None when no step has one."""
        if self.segment is not None:
            return self.segment(parameters, carry, self.between(start, stop))
        total = None
        for t in range(start, stop):
            carry, loss = self.one(parameters, carry, t)
            if loss is not None:
                total = loss if total is None else total + loss
        return carry, total


class Update(NamedTuple):
    """What some steps of a run give: time to update the parameters, if they are to be updated as it goes.

    ``loss``: the sum of their losses, a number. ``gradients``: built as ``tg.grad`` gives them (for a Module, a dict
    by parameter path). ``carry`` and ``memory``: with what to go on; the second is what the strategy carries along
    besides the state, such as sensitivities. ``t``: how many steps were taken so far.
    """

    loss: float
    gradients: Any
    carry: Any
    memory: Any
    t: int


def cut(carry: Any) -> Any:
    """The values of a carry, of which no gradient goes further back."""
    return tree.map(lambda z: detach(z) if isinstance(z, Tensor) else z, carry)
