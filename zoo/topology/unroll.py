"""A cell run along time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_rnn as tg
from zoo.cell import Cell
from zoo.topology.check import checked_input, checked_state, real

__all__ = ["RNN", "as_layer"]

INITIAL = ("zeros", "trainable")


class RNN(tg.nn.Module):
    """A cell unrolled along time: ``y_t, s_t = cell(x_t, s_{t−1})`` for t = 0 … T−1.

    ``rnn(xs)`` with xs (T, B, I) gives ys (T, B, O) and the last state; with ``all_states`` the state after every step,
    (T, B, …), instead of the last. ``state`` is what to begin with; left out, the cell's zeros or, with
    ``initial="trainable"``, parameters that all rows share. Past its entry in ``lengths`` (B,) a row keeps its state,
    ys (and all states) are zero, and what xs holds there, NaN included, changes nothing. ``reverse`` runs
    t = T−1 … 0 (with lengths from each row's own end), y_t stays at its t. ``compile``, ``threads`` and ``checkpoint``
    are those of ``tg.scan``.
    ``rnn.step(x, state)`` streams, ``rnn.explain()`` says what a run does and what it costs.

    Raises ValueError for shapes, lengths and states that do not fit, TypeError for dtypes that do not.

    >>> import zoo
    >>> rnn = zoo.RNN(zoo.LSTM(3, 5))
    >>> ys, state = rnn(tg.ones((7, 2, 3)), lengths=[7, 4])
    >>> ys.shape, state.c.shape
    ((7, 2, 5), (2, 5))
    >>> y, state = rnn.step(tg.ones((2, 3)), state)
    >>> y.shape
    (2, 5)
    """

    def __init__(
        self,
        cell: Cell,
        *,
        initial: str = "zeros",
        reverse: bool = False,
        compile: str | bool = "auto",
        threads: int | None = None,
        checkpoint: str | int | None = None,
    ) -> None:
        if not isinstance(cell, Cell):
            raise TypeError(f"RNN takes a cell, such as zoo.LSTM(3, 5), not {cell!r}")
        if initial not in INITIAL:
            raise ValueError(f"RNN: initial={initial!r} is not one of {', '.join(INITIAL)}")
        self.cell, self.reverse, self.compile, self.threads = cell, reverse, compile, threads
        self.checkpoint = checkpoint
        self.initial: Any = None
        if initial == "trainable":
            self.initial = tg.tree.map(lambda s: tg.nn.parameter(s.data[0].copy()), cell.init_state(1))

    @property
    def input_size(self) -> int:
        return self.cell.input_size

    @property
    def output_size(self) -> int:
        return self.cell.output_size

    def init_state(self, batch_size: int, *, dtype: Any = "float32", device: str = "cpu") -> Any:
        """The state before the first step, (B, …)."""
        if self.initial is None:
            return self.cell.init_state(batch_size, dtype=dtype, device=device)
        return tg.tree.map(lambda s: tg.broadcast_to(s, (batch_size, *s.shape)), self.initial)

    def forward(self, xs: Any, state: Any = None, lengths: Any = None, *, all_states: bool = False) -> tuple[Any, Any]:
        with self._scope() as place:
            xs, state = self._checked(place, "xs", xs, ("T", "B"), state)
            step = self._along_all if all_states else self._along
            options: dict[str, Any] = {"reverse": self.reverse, "compile": self.compile, "threads": self.threads}
            last, ys = tg.scan(step, state, xs, lengths=lengths, checkpoint=self.checkpoint, **options)
            return ys if all_states else (ys, last)

    def explain(self, *, T: int = 100, B: int = 32) -> str:
        """In words, what a run of T steps on B rows does, and what it costs: see ``tg.explain``. No sequence is run.

        Raises ValueError for a cell that cannot be compiled as asked.

        >>> import zoo
        >>> print(zoo.RNN(zoo.LSTM(3, 5), compile="numpy").explain(T=7, B=2).splitlines()[0])
        executor: numpy (generated Python, one NumPy call for an op, float32), T = 7, B = 2
        """
        dtype = real(self.cell.dtype or np.dtype("float32"))
        xs = tg.zeros((T, B, *self.cell.input_shape), dtype=dtype)
        return tg.explain(self._along, self.init_state(B, dtype=dtype), xs, compile=self.compile)

    def _along(self, s: Any, x: Any) -> tuple[Any, Any]:
        y, s = self.cell.step(x, s)
        return s, y

    def _along_all(self, s: Any, x: Any) -> tuple[Any, Any]:
        y, s = self.cell.step(x, s)
        return s, (y, s)

    def step(self, x: Any, state: Any = None) -> tuple[Any, Any]:
        """One step of a stream: y (B, O) and the next state from x (B, I) and the state so far (None at the start)."""
        with self._scope() as place:
            if self.reverse:
                raise ValueError(f"{place()}: step() follows a stream as it comes; a reverse RNN begins at its end")
            return self.cell.step(*self._checked(place, "x", x, ("B",), state))

    def _scope(self) -> _Tags:
        return _Tags(self)

    def _checked(
        self, place: Callable[[], str], name: str, x: Any, axes: tuple[str, ...], state: Any
    ) -> tuple[Any, Any]:
        x, wanted = checked_input(place, name, x, axes, self.cell)
        initial = self.init_state(**wanted)
        return x, initial if state is None else checked_state(place, state, initial)


class _Tags:
    """The tags around a run, and the place they name. One tag serves all steps, so these call ``cell.step``."""

    __slots__ = ("scopes",)

    def __init__(self, rnn: RNN) -> None:
        cell = tg.scope("cell", type(rnn.cell).__name__)
        self.scopes = (tg.scope("direction", "reverse"), cell) if rnn.reverse else (cell,)

    def __enter__(self) -> Callable[[], str]:
        for each in self.scopes:
            place = each.__enter__()
        return place.__str__

    def __exit__(self, *exc: Any) -> None:
        for each in reversed(self.scopes):
            each.__exit__(*exc)


def as_layer(layer: Any) -> Any:
    """A cell as an RNN of its own; a layer as it is."""
    return RNN(layer) if isinstance(layer, Cell) else layer
