"""The protocol of a recurrent cell: a state to begin with, and one step."""

from __future__ import annotations

from numbers import Integral
from typing import Any, ClassVar

import tinygrad_rnn as tg

__all__ = ["Cell"]


class Cell(tg.nn.Module):
    """One step of a recurrent net, ``(x_t, s_{t−1}) ↦ (y_t, s_t)``.

    A subclass says what the state is, a named tuple ``State`` of Tensors (B, …), and what a step does. What a step
    gives out and what it carries on are separate: many cells give out what they do not carry. ``step`` is pure, so one
    definition is run along time, checked and drawn; the bias belongs to the input projection, which does not wait for
    the state. Raises ValueError for sizes that are not positive integers.

    >>> from typing import NamedTuple
    >>> class Leaky(Cell):
    ...     class State(NamedTuple):
    ...         h: tg.Tensor
    ...
    ...     def __init__(self, input_size, hidden_size, *, rng=None):
    ...         super().__init__(input_size, hidden_size)
    ...         self.input = tg.nn.Linear(input_size, hidden_size, rng=rng)
    ...
    ...     def step(self, x, s):
    ...         h = 0.9 * s.h + 0.1 * tg.tanh(self.input(x))
    ...         return h, self.State(h)
    >>> cell = Leaky(3, 5)
    >>> y, s = cell(tg.ones((1, 3)), cell.init_state(1))
    >>> y.shape
    (1, 5)
    """

    State: ClassVar[Any]

    def __init__(self, input_size: int, hidden_size: int) -> None:
        for name, size in (("input_size", input_size), ("hidden_size", hidden_size)):
            if not isinstance(size, Integral) or size < 1:
                raise ValueError(f"{type(self).__name__}: {name}={size!r} is not a positive integer")
        self.input_size, self.hidden_size = input_size, hidden_size

    @property
    def output_size(self) -> int:
        """Features of what a step gives out."""
        return self.hidden_size

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input without its batch axis."""
        return (self.input_size,)

    @property
    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each part of the state without its batch axis; (H,) unless a cell says otherwise."""
        return dict.fromkeys(self.State._fields, (self.hidden_size,))

    def init_state(self, batch_size: int, *, dtype: Any = "float32", device: str = "cpu") -> Any:
        """The state before the first step: zeros (B, …)."""
        return self.State(
            **{
                part: tg.zeros((batch_size, *shape), dtype=dtype, device=device)
                for part, shape in self.state_shapes.items()
            }
        )

    def step(self, x: Any, s: Any) -> tuple[Any, Any]:
        """The output y_t and the state s_t from the input x_t (B, I) and the state s_{t−1}; subclasses define it."""
        raise NotImplementedError(f"{type(self).__name__} has no step(x, s); define what it computes")

    def forward(self, x: Any, s: Any) -> tuple[Any, Any]:
        """``step``, with its nodes tagged by the cell's name."""
        with tg.scope("cell", type(self).__name__):
            return self.step(x, s)
