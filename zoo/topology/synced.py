"""A label at every step: tagging, language models, any output that keeps pace with the input."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import tinygrad_rnn as tg
from zoo.topology.series import Score, begin, made, scored, series_of, stepped, streaming, valid_steps, zeroed
from zoo.topology.unroll import as_layer

__all__ = ["Synced"]


class Series(NamedTuple):
    """What the steps of a problem read, (T, B, …): inputs, labels, valid rows, and the labels that count."""

    x: Any
    target: Any
    valid: Any
    counts: Any


class Synced(tg.nn.Module):
    """One label a step: ``y_t, s_t = rnn(x_t, s_{t−1})``, logits_t = y_t V + c.

    ``layer`` is a cell, or what cells are put together by; its parameters are under ``rnn``, V and c under ``head``.

    >>> import zoo
    >>> model = Synced(zoo.GRU(3, 5), 4)
    >>> model(tg.ones((7, 2, 3)), lengths=[7, 4]).shape
    (7, 2, 4)
    >>> problem = model.problem(tg.ones((7, 2, 3)), tg.zeros((7, 2), dtype="int64"), lengths=[7, 4])
    >>> len(problem), sorted(tg.bptt.gradient(problem, "chunks:3").gradients)[:2]
    (7, ['head/bias', 'head/weight'])
    """

    def __init__(self, layer: Any, classes: int, *, rng: tg.random.Generator | None = None) -> None:
        self.rnn = as_layer(layer)
        self.head = tg.nn.Linear(self.rnn.output_size, classes, rng=(rng or tg.random.Generator()).fork("head"))

    def forward(self, xs: Any, state: Any = None, lengths: Any = None) -> tg.Tensor:
        """xs (T, B, I) → logits (T, B, classes)."""
        return self.head(self.rnn(xs, state, lengths)[0])

    def problem(
        self, xs: Any, targets: Any, *, lengths: Any = None, mask: Any = None, state: Any = None,
        loss: Any = tg.cross_entropy, reduction: str = "mean",
    ) -> tg.bptt.Problem:  # fmt: skip
        """``L = Σ_t Σ_b loss(logits_tb, target_tb)``, divided by the number of labels that count for "mean".

        xs (T, B, I), targets (T, B) class ids, or whatever ``loss(logits, targets, mask=, reduction="sum")`` takes with
        (T, B) in front. Labels past their row's entry in ``lengths``, and those where ``mask`` (T, B) is False, do not
        count. ``state``: what to begin with. Raises ValueError for sizes that do not fit, and for a layer that does not
        run from the first step to the last.
        """
        streaming("Synced.problem", self.rnn)
        xs, total, rows = series_of("Synced.problem", xs)
        targets, device = made(targets), tg.tree.leaves(xs)[0].device
        if targets.shape[:2] != (total, rows):
            raise ValueError(f"Synced.problem: targets {targets.shape} do not begin with (T, B) = {(total, rows)}")
        valid = counts = valid_steps("Synced.problem", lengths, total, rows)
        if mask is not None:
            chosen = made(mask).numpy().astype(bool)
            if chosen.shape != (total, rows):
                raise ValueError(f"Synced.problem: the mask {chosen.shape} is not (T, B) = {(total, rows)}")
            counts = chosen if valid is None else chosen & valid
        score = scored("Synced.problem", loss, reduction, total * rows if counts is None else int(counts.sum()))
        xs = zeroed(valid, xs)
        flags = [None if f is None else tg.tensor(f, device=device) for f in (valid, counts)]
        carry = begin(self.rnn, xs, rows) if state is None else state
        return tg.bptt.Problem(
            self, partial(_step, score), carry, Series(xs, targets, *flags), segment=partial(_segment, score)
        )


def _step(score: Score, model: Synced, state: Any, at: Series) -> tuple[Any, Any]:
    y, state = stepped("rnn", model.rnn, at.x, state, at.valid)
    return state, score(model.head(y), at.target, at.counts)


def _segment(score: Score, model: Synced, state: Any, part: Series) -> tuple[Any, Any]:
    lengths = None if part.valid is None else part.valid.numpy().sum(0)
    ys, state = model.rnn(part.x, state, lengths)
    return state, score(model.head(ys), part.target, part.counts)
