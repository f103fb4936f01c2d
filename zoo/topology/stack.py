"""Layers on top of each other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import tinygrad_rnn as tg
from zoo.topology.unroll import as_layer

__all__ = ["Stacked"]


class Stacked(tg.nn.Module):
    """Layers of which each reads what the one below gives out; cells among them run as ``RNN(cell)``.

    The state is a tuple, one entry a layer. In training ``dropout`` is the probability to drop an entry on its way
    from one layer up to the next, never along time (Zaremba et al. 2014, arXiv:1409.2329). The layers are run one
    after the other, each over the whole sequence.

    Raises ValueError for layers whose sizes do not fit and for a state that is no tuple of as many entries.

    >>> import zoo
    >>> model = Stacked([zoo.LSTM(3, 5), zoo.GRU(5, 4)], dropout=0.2)
    >>> ys, (low, high) = model(tg.ones((7, 2, 3)))
    >>> ys.shape, low.c.shape, high.h.shape
    ((7, 2, 4), (2, 5), (2, 4))
    """

    def __init__(self, layers: Sequence[Any], *, dropout: float = 0.0, rng: tg.random.Generator | None = None) -> None:
        if not layers:
            raise ValueError("Stacked: there are no layers; give it at least one cell, RNN or Bidirectional")
        self.layers = [as_layer(layer) for layer in layers]
        for k, (below, above) in enumerate(pairwise(self.layers)):
            if below.output_size != above.input_size:
                raise ValueError(
                    f"Stacked: layer {k} gives out {below.output_size} features, layer {k + 1} takes {above.input_size}"
                )
        self.dropout = tg.nn.Dropout(dropout, rng=(rng or tg.random.Generator()).fork("dropout"))

    @property
    def input_size(self) -> int:
        return self.layers[0].input_size

    @property
    def output_size(self) -> int:
        return self.layers[-1].output_size

    def init_state(self, batch_size: int, *, dtype: Any = "float32", device: str = "cpu") -> tuple[Any, ...]:
        """The states of all layers before the first step."""
        return tuple(layer.init_state(batch_size, dtype=dtype, device=device) for layer in self.layers)

    def forward(self, xs: Any, state: Any = None, lengths: Any = None, *, all_states: bool = False) -> tuple[Any, Any]:
        return self._up(lambda layer, x, s: layer.forward(x, s, lengths, all_states=all_states), xs, state)

    def step(self, x: Any, state: Any = None) -> tuple[Any, tuple[Any, ...]]:
        """One step of a stream, through all layers."""
        return self._up(lambda layer, x, s: layer.step(x, s), x, state)

    def _up(self, run: Any, x: Any, state: Any) -> tuple[Any, tuple[Any, ...]]:
        if state is None:
            state = (None,) * len(self.layers)
        if not isinstance(state, tuple) or len(state) != len(self.layers):
            raise ValueError(
                f"Stacked: the state is no tuple of {len(self.layers)} entries, one a layer, "
                f"but built as {tg.tree.flatten(state)[1]}; begin with init_state(batch_size)"
            )
        after = []
        for k, (layer, s) in enumerate(zip(self.layers, state, strict=True)):
            if k:
                x = self.dropout(x)
            with tg.scope("layer", f"layers/{k}", index=k):  # stands for the tag that calling the module would set
                x, s = run(layer, x, s)
            after.append(s)
        return x, tuple(after)
