"""A sequence read from both ends."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, NamedTuple

import tinygrad_rnn as tg
from zoo.cell import Cell
from zoo.topology.unroll import RNN

__all__ = ["Bidirectional"]


class Bidirectional(tg.nn.Module):
    """Two cells over one sequence, one forward, one in reverse: y_t = [y_t →, y_t ←] (Schuster & Paliwal 1997).

    Both run over the valid part only: with ``lengths`` (B,) the reverse one begins at each row's own last step. The
    state is ``State(forward, reverse)``: what is left after the last valid step, and after t = 0. RNNs, the second
    with ``reverse=True``, may stand for the cells. Raises ValueError for RNNs that run the wrong way.

    >>> import zoo
    >>> layer = Bidirectional(zoo.LSTM(3, 5), zoo.LSTM(3, 5))
    >>> ys, state = layer(tg.ones((7, 2, 3)), lengths=[7, 4])
    >>> ys.shape, state.reverse.h.shape
    ((7, 2, 10), (2, 5))
    """

    class State(NamedTuple):
        forward: Any
        reverse: Any

    def __init__(self, forward: Cell | RNN, reverse: Cell | RNN) -> None:
        self.directions = {
            "forward": RNN(forward) if isinstance(forward, Cell) else forward,
            "reverse": RNN(reverse, reverse=True) if isinstance(reverse, Cell) else reverse,
        }
        for name, rnn in self.directions.items():
            wanted = name == "reverse"
            if not isinstance(rnn, RNN) or rnn.reverse != wanted:
                raise ValueError(f"Bidirectional: {name} takes a cell or RNN(cell, reverse={wanted}), not {rnn!r}")
        sizes = {name: rnn.input_size for name, rnn in self.directions.items()}
        if len(set(sizes.values())) > 1:
            raise ValueError(f"Bidirectional: both read the same features, but take different numbers of them: {sizes}")

    @property
    def input_size(self) -> int:
        return self.directions["forward"].input_size

    @property
    def output_size(self) -> int:
        return sum(rnn.output_size for rnn in self.directions.values())

    def init_state(self, batch_size: int, *, dtype: Any = "float32", device: str = "cpu") -> State:
        """The states of both before their first step."""
        return self.State(*(rnn.init_state(batch_size, dtype=dtype, device=device) for rnn in self.directions.values()))

    def forward(self, xs: Any, state: Any = None, lengths: Any = None, *, all_states: bool = False) -> tuple[Any, Any]:
        if state is None:
            state = self.State(None, None)
        if not isinstance(state, self.State):
            raise ValueError(
                f"Bidirectional: the state is built as {tg.tree.flatten(state)[1]}, not as State(forward, reverse); "
                "begin with init_state(batch_size)"
            )
        ys, after = [], []
        for rnn, s in zip(self.directions.values(), state, strict=True):
            with nullcontext() if rnn.reverse else tg.scope("direction", "forward"):  # the reverse one tags itself
                y, s = rnn.forward(xs, s, lengths, all_states=all_states)
            ys.append(y)
            after.append(s)
        return tg.concatenate(ys, -1), self.State(*after)

    def step(self, x: Any, state: Any = None) -> tuple[Any, Any]:
        """Not possible: the reverse direction begins at the end of the sequence. Raises TypeError."""
        raise TypeError("Bidirectional: step() follows a stream as it comes, but the reverse RNN begins at its end")
