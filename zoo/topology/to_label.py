"""A sequence read to the end, and one label for all of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

import tinygrad_rnn as tg
from zoo.topology.series import Score, begin, made, scored, series_of, stepped, streaming, valid_steps, zeroed
from zoo.topology.unroll import as_layer

__all__ = ["POOLINGS", "SequenceToLabel"]


class Series(NamedTuple):
    """What the steps of a problem read, (T, B, …): inputs, valid rows, 1 / length, labels, rows that end here; and
    whether any does (T,), on the host."""

    x: Any
    valid: Any
    share: Any
    target: Any
    ends: Any
    ending: Any


class Pooled(NamedTuple):
    """The state of the encoder, and what was pooled so far of its outputs, None before the first."""

    state: Any
    pooled: Any


class Pooling(NamedTuple):
    """``over(ys, valid, share)``: some steps' outputs (T, B, O) → (B, O); ``join``: of two parts, None where the later
    part says it all."""

    over: Callable[[Any, Any, Any], Any]
    join: Callable[[Any, Any], Any] | None


def last(ys: Any, valid: Any, share: Any = None) -> Any:
    """The output of each row's last valid step (of step 0 where none is)."""
    if valid is None:
        return ys[-1]
    steps = valid.numpy().sum(0)
    return ys[tg.tensor(np.maximum(steps - 1, 0), device=ys.device), tg.tensor(np.arange(len(steps)), device=ys.device)]


def _mean(ys: Any, valid: Any, share: Any) -> Any:
    return (ys * share).sum(0)


def _max(ys: Any, valid: Any, share: Any) -> Any:
    low = ys if valid is None else tg.where(tg.expand_dims(valid, -1), ys, -np.inf)
    return tg.max(low, 0)


POOLINGS = {
    "last": Pooling(last, None),
    "mean": Pooling(_mean, lambda before, part: before + part),
    "max": Pooling(_max, tg.maximum),
}


class SequenceToLabel(tg.nn.Module):
    """One label for a sequence: ``y_t, s_t = encoder(x_t, s_{t−1})``, logits = pool(y_0 … y_{T−1}) V + c.

    ``pooling``: "last" takes the last relevant output, y of each row's last valid step; "mean" and "max" run over the
    valid steps. Parameters are under ``encoder`` and ``head``.

    >>> import zoo
    >>> model = SequenceToLabel(zoo.LSTM(3, 5), 4, pooling="max")
    >>> model(tg.ones((7, 2, 3)), lengths=[7, 4]).shape
    (2, 4)
    """

    def __init__(
        self, layer: Any, classes: int, *, pooling: str = "last", rng: tg.random.Generator | None = None
    ) -> None:
        if pooling not in POOLINGS:
            raise ValueError(f"SequenceToLabel: pooling={pooling!r} is not one of {', '.join(POOLINGS)}")
        self.pooling = pooling
        self.encoder = as_layer(layer)
        self.head = tg.nn.Linear(self.encoder.output_size, classes, rng=(rng or tg.random.Generator()).fork("head"))

    def forward(self, xs: Any, state: Any = None, lengths: Any = None) -> tg.Tensor:
        """xs (T, B, I) → logits (B, classes). Raises ValueError for lengths that are not in 1 … T."""
        xs, total, rows = series_of("SequenceToLabel", xs)
        part = self._series("SequenceToLabel", xs, lengths, total, rows, None)
        ys, _ = self.encoder(xs, state, lengths)
        return self.head(POOLINGS[self.pooling].over(ys, part.valid, part.share))

    def problem(
        self, xs: Any, targets: Any, *, lengths: Any = None, state: Any = None, loss: Any = tg.cross_entropy,
        reduction: str = "mean",
    ) -> tg.bptt.Problem:  # fmt: skip
        """``L = Σ_b loss(logits_b, target_b)``, each in its row's last valid step; for "mean" divided by B.

        xs (T, B, I), targets (B,) class ids, or whatever ``loss(logits, targets, mask=, reduction="sum")`` takes with B
        in front; lengths (B,) in 1 … T. The carry is the state and, for "mean" and "max", what was pooled so far.
        Raises ValueError for sizes that do not fit, and for a layer that does not run from the first step to the last.
        """
        place = "SequenceToLabel.problem"
        streaming(place, self.encoder)
        xs, total, rows = series_of(place, xs)
        targets = made(targets)
        if targets.shape[:1] != (rows,):
            raise ValueError(f"{place}: targets {targets.shape} do not begin with B = {rows}")
        score = scored(place, loss, reduction, rows)
        series = self._series(place, xs, lengths, total, rows, targets)
        carry = Pooled(begin(self.encoder, xs, rows) if state is None else state, None)
        return tg.bptt.Problem(self, partial(_step, score), carry, series, segment=partial(_segment, score))

    def _series(self, place: str, xs: Any, lengths: Any, total: int, rows: int, targets: Any) -> Series:
        valid = valid_steps(place, lengths, total, rows, least=1)
        first = tg.tree.leaves(xs)[0]
        steps = np.full(rows, total) if valid is None else valid.sum(0)
        ends = np.arange(total)[:, None] == steps - 1
        share = (1 / steps)[:, None] * np.ones((total, 1, 1)) if valid is None else (valid / steps)[..., None]
        return Series(
            zeroed(valid, xs),
            None if valid is None else tg.tensor(valid, device=first.device),
            tg.tensor(share.astype(first.dtype), device=first.device) if self.pooling == "mean" else None,
            None if targets is None else tg.broadcast_to(targets, (total, *targets.shape)),
            None if valid is None else tg.tensor(ends, device=first.device),
            ends.any(1),
        )


def _step(score: Score, model: SequenceToLabel, carry: Pooled, at: Series) -> tuple[Pooled, Any]:
    y, state = stepped("encoder", model.encoder, at.x, carry.state, at.valid)
    alone = tg.tree.map(lambda x: x[None], at._replace(x=None))  # a part of one step
    return _pooled(score, model, Pooled(state, carry.pooled), tg.expand_dims(y, 0), alone)


def _segment(score: Score, model: SequenceToLabel, carry: Pooled, part: Series) -> tuple[Pooled, Any]:
    lengths = None if part.valid is None else part.valid.numpy().sum(0)
    ys, state = model.encoder(part.x, carry.state, lengths)
    return _pooled(score, model, Pooled(state, carry.pooled), ys, part)


def _pooled(score: Score, model: SequenceToLabel, carry: Pooled, ys: Any, part: Series) -> tuple[Pooled, Any]:
    """The carry with these outputs pooled too, and the loss of the rows that end among them."""
    over, join = POOLINGS[model.pooling]
    value = over(ys, part.valid, part.share)
    if join is not None and carry.pooled is not None:
        value = join(carry.pooled, value)
    after = carry._replace(pooled=None if join is None else value)
    if not part.ending.any():
        return after, None
    ends = None if part.ends is None else part.ends.numpy().any(0)
    return after, score(model.head(value), part.target[0], None if ends is None else tg.tensor(ends, device=ys.device))
