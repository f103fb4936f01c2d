"""What topologies that learn share: which rows are valid when, which labels count, one step of a layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import tinygrad_rnn as tg
from zoo.topology.bidirectional import Bidirectional
from zoo.topology.unroll import RNN

__all__ = [
    "Score", "begin", "initial", "kept", "made", "options", "scored", "series_of", "stepped", "streaming",
    "valid_steps", "zeroed",
]  # fmt: skip

REDUCTIONS = ("mean", "sum")


@dataclass(frozen=True)
class Score:
    """The loss of some labels, ``scale · Σ loss``: a part of the sum, or of the mean, over all labels of a problem."""

    loss: Callable[..., Any]
    scale: float

    def __call__(self, logits: Any, targets: Any, counts: Any = None) -> Any:
        """The loss of the labels that count, a scalar; what the others' targets are changes nothing."""
        total = self.loss(logits, targets, mask=counts, reduction="sum")
        return total if self.scale == 1 else total * self.scale


def scored(place: str, loss: Callable[..., Any], reduction: str, labels: int) -> Score:
    """The score of a problem with that many labels that count. Raises ValueError for a reduction that there is not."""
    if reduction not in REDUCTIONS:
        raise ValueError(f"{place}: reduction={reduction!r} is not one of {', '.join(REDUCTIONS)}")
    return Score(loss, 1 / max(labels, 1) if reduction == "mean" else 1.0)


def made(x: Any, device: str | None = None) -> tg.Tensor:
    """A Tensor of it, or itself when it is one."""
    return x if type(x) is tg.Tensor else tg.tensor(x, device=device or "cpu")


def series_of(place: str, xs: Any) -> tuple[Any, int, int]:
    """The container of inputs (T, B, …) as Tensors, T and B. Raises ValueError where they do not agree on these."""
    xs = tg.tree.map(made, xs)
    sizes = {x.shape[:2] for x in tg.tree.leaves(xs)}
    if len(sizes) != 1 or len(size := sizes.pop()) != 2 or 0 in size:
        shapes = [x.shape for x in tg.tree.leaves(xs)]
        raise ValueError(f"{place}: the inputs have shapes {shapes}; they are (T, B, …) with at least one step and row")
    return (xs, *size)


def valid_steps(place: str, lengths: Any, total: int, rows: int, *, least: int = 0) -> np.ndarray | None:
    """Which rows are valid at each step, booleans (T, B) on the host; None when all are.

    Raises ValueError for lengths that are not one integer in least … T for each row.
    """
    if lengths is None:
        return None
    host = made(lengths).numpy()
    if host.shape != (rows,) or host.dtype.kind not in "iu":
        raise ValueError(f"{place}: lengths {host.tolist()} are not {rows} integers, one for each row")
    if host.min(initial=total) < least or host.max(initial=0) > total:
        raise ValueError(f"{place}: lengths {host.tolist()} do not lie in {least} … {total}, the number of steps")
    return np.arange(total)[:, None] < host


def kept(valid: Any, new: Any, old: Any) -> Any:
    """The container ``new`` in the rows that are valid (B,), ``old`` in the others; all of ``new`` for None."""
    if valid is None:
        return new
    return tg.tree.map(lambda a, b: tg.where(valid.reshape(-1, *[1] * (a.ndim - 1)), a, b), new, old)


def zeroed(valid: np.ndarray | None, xs: Any) -> Any:
    """The container of (T, B, …) with zeros where no row is valid, so that what stands there, NaN included, is gone."""
    if valid is None:
        return xs

    def clear(x: Any) -> Any:
        mask = tg.tensor(valid.reshape(valid.shape + (1,) * (x.ndim - 2)), device=x.device)
        return tg.where(mask, x, tg.tensor(np.zeros((), x.dtype), device=x.device))

    return tg.tree.map(clear, xs)


def streaming(place: str, layer: Any) -> None:
    """Raise ValueError for a layer that cannot be run step by step, from the first to the last."""
    for part in layer.modules():
        if isinstance(part, Bidirectional) or (isinstance(part, RNN) and part.reverse):
            raise ValueError(
                f"{place}: a problem goes from step to step, but {type(part).__name__} begins at the end of the "
                "sequence; differentiate a loss of the model's forward() instead"
            )


def options(layer: Any) -> dict[str, Any]:
    """How the layer is compiled, its lowest RNN speaking for all: what ``tg.scan`` of a step around it is told."""
    lowest = next((part for part in layer.modules() if isinstance(part, RNN)), None)
    return {} if lowest is None else {"compile": lowest.compile, "threads": lowest.threads}


def begin(layer: Any, x: Any, batch: int) -> Any:
    """The state before the first step; None where parameters make it, which then is done inside the first step."""
    state = initial(layer, x, batch)
    return None if any(s.requires_grad for s in tg.tree.leaves(state)) else state


def initial(layer: Any, x: Any, batch: int) -> Any:
    """The layer's own state before the first step, for inputs such as x."""
    first = tg.tree.leaves(x)[0]
    return layer.init_state(batch, dtype=first.dtype, device=first.device)


def stepped(name: str, layer: Any, x: Any, state: Any, valid: Any = None) -> tuple[Any, Any]:
    """One step of the layer that is the attribute ``name``: rows that are not valid keep their state."""
    with tg.scope("module", name):
        before = initial(layer, x, tg.tree.leaves(x)[0].shape[0]) if state is None else state
        y, after = layer.step(x, before)
        return y, kept(valid, after, before)
