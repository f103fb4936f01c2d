"""Reverse mode: all of the sequence at once, or in chunks with the state carried and the gradient cut in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from .. import tree
from ..random import Generator
from ..tensor import Tensor
from ..transforms import value_and_grad
from .problem import Problem, Update, cut
from .strategy import Strategy, register

__all__ = ["Chunks", "Full"]


def pulled(
    problem: Problem, carry: Any, start: int, stop: int, *, run: Callable[..., tuple[Any, Any]] | None = None
) -> tuple[float, Any, Any]:
    """The loss of steps start … stop − 1, its gradients with the carry held constant, and the carry after them.

    ``run``: what runs them, ``problem.run`` unless given.
    """
    after: list[Any] = []

    def loss(parameters: Any) -> Any:
        last, value = (run or problem.run)(parameters, carry, start, stop)
        after.append(cut(last))
        return _zero(parameters) if value is None else value

    value, gradients = value_and_grad(loss)(problem.parameters)
    return value.item(), gradients, after[0]


def _zero(parameters: Any) -> Tensor:
    """The loss of steps without one."""
    return (tree.leaves(parameters)[0] * 0).sum()


@register("full", paper="Werbos 1990, Backpropagation through time: what it does and how to do it")
@dataclass(frozen=True)
class Full(Strategy):
    """Backpropagation through time: ``δ_t = ∂ℓ_t/∂z_t + δ_{t+1} J_{t+1}``, ``∂L/∂θ = Σ_t δ_t ∂⁺z_t/∂θ``.

    Exact. Keeps what every step saved: memory grows with T.
    """

    exact = True
    unbiased = True

    def updates(self, problem: Problem, *, memory: Any = None, rng: Generator | None = None) -> Iterator[Update]:
        loss, gradients, carry = pulled(problem, problem.carry, 0, len(problem))
        yield Update(loss, gradients, carry, memory, len(problem))


@register("chunks", paper="Mikolov et al. 2010, Recurrent neural network based language model")
@dataclass(frozen=True)
class Chunks(Strategy):
    """Truncated: chunks of ``length`` steps, the state carried from one to the next, the gradient cut in between.

    Leaves out what passes a cut: ``∂L/∂θ − estimate = Σ_c m_c Γ_c``, m_c the message that the cut c stops and Γ_c the
    sensitivity of the state there within its chunk.
    Where the last step alone has a loss that leaves the gradient of the last chunk: nothing else is reached.
    """

    length: int

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ValueError(f"chunks have a length of at least 1, not {self.length}")

    def updates(self, problem: Problem, *, memory: Any = None, rng: Generator | None = None) -> Iterator[Update]:
        carry = problem.carry
        for start in range(0, len(problem), self.length):
            stop = min(start + self.length, len(problem))
            loss, gradients, carry = pulled(problem, carry, start, stop)
            yield Update(loss, gradients, carry, memory, stop)
