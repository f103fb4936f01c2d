"""Recurrent nets that are the discretised motion of coupled oscillators."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import tinygrad_rnn as tg
from zoo.cell import Cell
from zoo.registry import register

__all__ = ["CoRNN"]


@register(
    paper="Rusch & Mishra 2021, Coupled oscillatory recurrent neural network, arXiv:2010.00951",
    family="oscillator",
    equations="""
    zₜ = zₜ₋₁ + Δt (tanh(xₜ W + yₜ₋₁ U + zₜ₋₁ U_z + b) − γ yₜ₋₁ − ε zₜ₋₁)
    yₜ = yₜ₋₁ + Δt zₜ
    """,
)
class CoRNN(Cell):
    """Coupled oscillators: positions y and velocities z, driven by the input, bound by γ and damped by ε.

    y″ = tanh(W x + U y + U_z y′ + b) − γ y − ε y′ in steps of ``dt``: first the velocity, with the damping of its old
    value as in the authors' code, then the position, with the new velocity. dt, γ and ε are chosen for each task;
    those of the signature are the authors' for sequential MNIST. W, U, U_z and b start as U(±1/√(I + 2 H)).

    >>> cell = CoRNN(3, 5)
    >>> y, s = cell(tg.ones((2, 3)), cell.init_state(2))
    >>> y.shape, s.z.shape
    ((2, 5), (2, 5))
    """

    class State(NamedTuple):
        y: tg.Tensor
        z: tg.Tensor

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        dt: float = 0.042,
        gamma: float = 2.7,
        epsilon: float = 4.7,
        rng: tg.random.Generator | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size)
        rng = rng or tg.random.Generator()
        self.dt, self.gamma, self.epsilon = dt, gamma, epsilon
        bound = 1 / math.sqrt(input_size + 2 * hidden_size)

        def uniform(name: str, *shape: int) -> tg.Tensor:
            return tg.nn.parameter(rng.fork(name).uniform(shape, -bound, bound))

        self.input = tg.nn.Linear(input_size, hidden_size)
        self.input.weight = uniform("W", input_size, hidden_size)
        self.input.bias = uniform("b", hidden_size)
        self.U, self.U_z = uniform("U", hidden_size, hidden_size), uniform("U_z", hidden_size, hidden_size)

    def step(self, x: Any, s: State) -> tuple[Any, State]:
        force = tg.tanh(self.input(x) + s.y @ self.U + s.z @ self.U_z) - self.gamma * s.y - self.epsilon * s.z
        z = s.z + self.dt * force
        y = s.y + self.dt * z
        return y, self.State(y, z)
