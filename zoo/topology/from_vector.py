"""One vector, and a sequence of labels unrolled from it: captions, names from a class."""

from __future__ import annotations

from functools import partial
from math import prod
from typing import Any, NamedTuple

import numpy as np

import tinygrad_rnn as tg
from zoo.topology.feedback import FEEDS, FREE, delayed, first_fed, noise
from zoo.topology.series import Score, begin, initial, made, options, scored, stepped, streaming, valid_steps
from zoo.topology.unroll import as_layer

__all__ = ["ENTERS", "InitialState", "VectorToSequence"]

ENTERS = ("first", "every", "state")


class Series(NamedTuple):
    """What the steps of a problem read, (T, B, …): the vector, y_{t−1} when it is given, noise for one that is drawn,
    labels, and those that count."""

    vector: Any
    previous: Any
    noise: Any
    target: Any
    counts: Any


class Decoding(NamedTuple):
    """The state of the decoder, None before the first step where parameters make it, and the symbol that it emitted,
    (B, V), where it reads it."""

    state: Any
    fed: Any


class InitialState(tg.nn.Module):
    """A layer's state from a vector: ``v W + b``, its numbers laid out as the parts of the state.

    >>> import zoo
    >>> layer = zoo.RNN(zoo.LSTM(3, 5))
    >>> InitialState(4, layer)(tg.ones((2, 4)), layer.init_state(2)).c.shape
    (2, 5)
    """

    def __init__(self, vector_size: int, layer: Any, *, rng: tg.random.Generator | None = None) -> None:
        self.sizes = [prod(s.shape[1:]) for s in tg.tree.leaves(layer.init_state(1))]
        self.map = tg.nn.Linear(vector_size, sum(self.sizes), rng=rng)

    def forward(self, vector: Any, like: Any) -> Any:
        """vector (B, D) → a state built as ``like``."""
        leaves, structure = tg.tree.flatten(like)
        parts = tg.split(self.map(vector), np.cumsum(self.sizes)[:-1].tolist()) if len(leaves) > 1 else None
        parts = [self.map(vector)] if parts is None else parts
        return tg.tree.unflatten(structure, [tg.reshape(p, s.shape) for p, s in zip(parts, leaves, strict=True)])


class VectorToSequence(tg.nn.Module):
    """A sequence from one vector v (B, D): ``y_t, s_t = decoder(x_t, s_{t−1})``, logits_t = y_t V + c.

    ``enters`` says where v does: "first", x_0 = v and zeros after it; "every", x_t = v; "state", s₋₁ = v W + b (its
    parameters under ``initial``, the others under ``decoder`` and ``head``). With ``fed_back`` the symbol of step t − 1
    is read as well, one-hot or as a distribution, after v: x_t = [v_t, symbol_{t−1}]; before the first it is ``go``,
    or zeros. So the decoder takes D features where v is read, classes more where symbols are fed back, and zeros where
    it reads neither.

    Raises ValueError for a decoder that takes another number of features.

    >>> import zoo
    >>> model = VectorToSequence(zoo.GRU(3 + 4, 5), 4, vector_size=3, fed_back=True)
    >>> model(tg.ones((2, 3)), tg.zeros((6, 2), dtype="int64")).shape        # teacher forcing
    (6, 2, 4)
    >>> model(tg.ones((2, 3)), steps=9, feed="greedy").shape
    (9, 2, 4)
    """

    def __init__(
        self, layer: Any, classes: int, *, vector_size: int, enters: str = "first", fed_back: bool = False,
        go: int | None = None, rng: tg.random.Generator | None = None,
    ) -> None:  # fmt: skip
        if enters not in ENTERS:
            raise ValueError(f"VectorToSequence: enters={enters!r} is not one of {', '.join(ENTERS)}")
        rng = rng or tg.random.Generator()
        self.enters, self.fed_back, self.go, self.classes = enters, fed_back, go, classes
        self.decoder = as_layer(layer)
        self.head = tg.nn.Linear(self.decoder.output_size, classes, rng=rng.fork("head"))
        self.initial = InitialState(vector_size, self.decoder, rng=rng.fork("initial")) if enters == "state" else None
        wanted = (0 if enters == "state" else vector_size) + (classes if fed_back else 0)
        if wanted and self.decoder.input_size != wanted:
            read = f"{vector_size} of the vector" if enters != "state" else "none of the vector"
            raise ValueError(
                f"VectorToSequence: the decoder takes {self.decoder.input_size} features, but with enters={enters!r} "
                f"and fed_back={fed_back} it reads {wanted}: {read}, {classes if fed_back else 0} of a symbol"
            )

    def forward(
        self, vector: Any, targets: Any = None, *, steps: int | None = None, feed: str | None = None, rng: Any = None
    ) -> tg.Tensor:
        """vector (B, D) → logits (T, B, classes), T being ``steps``, or that of the targets (T, B).

        ``feed``: what is fed back, "teacher" (the targets), "greedy", "sampled" (drawn with ``rng``) or "softmax";
        left out, "teacher" with targets and "greedy" without.
        """
        feed = feed or ("greedy" if targets is None else "teacher")
        if (total := len(targets) if targets is not None else steps) is None:
            raise ValueError("VectorToSequence: give targets, or the number of steps")
        carry, series = self._series("VectorToSequence", vector, targets, None, total, feed, rng)
        return _along(self, feed, carry, series)[1]

    def problem(
        self, vector: Any, targets: Any, *, lengths: Any = None, feed: str = "teacher", rng: Any = None,
        loss: Any = tg.cross_entropy, reduction: str = "mean",
    ) -> tg.bptt.Problem:  # fmt: skip
        """``L = Σ_t Σ_b loss(logits_tb, target_tb)``, divided by the number of labels that count for "mean".

        vector (B, D), targets (T, B) class ids, or, where they are not fed back, whatever ``loss(logits, targets,
        mask=, reduction="sum")`` takes with (T, B) in front; past a row's entry in ``lengths`` they do not count.
        ``feed`` as in ``forward``; "sampled" draws before the run: the same numbers every time that this problem is
        run. Raises ValueError for sizes that do not fit.
        """
        place = "VectorToSequence.problem"
        streaming(place, self.decoder)
        targets = made(targets)
        total, rows = (*targets.shape, 0, 0)[:2]
        valid = valid_steps(place, lengths, total, rows)
        carry, series = self._series(place, vector, targets, valid, total, feed, rng)
        score = scored(place, loss, reduction, total * rows if valid is None else int(valid.sum()))
        segment = partial(_segment, score, feed)
        return tg.bptt.Problem(self, partial(_step, score, feed), carry, series, segment=segment)

    def _series(
        self, place: str, vector: Any, targets: Any, valid: Any, total: int, feed: str, rng: Any
    ) -> tuple[Decoding, Series]:
        if feed not in FEEDS:
            raise ValueError(f"{place}: feed={feed!r} is not one of {', '.join(FEEDS)}")
        vector = made(vector)
        if vector.ndim != 2 or not total:
            raise ValueError(f"{place}: the vector is {vector.shape}, not (B, D), or there are no steps: {total}")
        rows, dtype, device = len(vector), vector.dtype, vector.device
        if targets is not None and (targets := made(targets)).shape[:2] != (total, rows):
            raise ValueError(f"{place}: targets {targets.shape} do not begin with (T, B) = {(total, rows)}")
        fed = previous = None
        if self.fed_back:
            fed = first_fed(place, self.go, rows, self.classes, dtype, device)
            if feed == "teacher":
                if targets is None:
                    raise ValueError(f"{place}: feed='teacher' feeds targets, and there are none")
                previous, fed = delayed(place, targets, fed, valid), None
        vectors = tg.broadcast_to(vector, (total, *vector.shape))
        if self.enters == "first":
            vectors = tg.concatenate([vectors[:1], tg.zeros((total - 1, *vector.shape), dtype=dtype, device=device)])
        drawn = noise(feed, rng, (total, rows, self.classes), dtype, device) if self.fed_back else None
        counts = None if valid is None else tg.tensor(valid, device=device)
        state = None if self.initial is not None else begin(self.decoder, vector, rows)
        return Decoding(state, fed), Series(vectors, previous, drawn, targets, counts)

    def _begun(self, carry: Decoding, vector: Any) -> Any:
        """The state to go on with; before the first step it is made here, so that its parameters are seen."""
        if carry.state is not None:
            return carry.state
        own = initial(self.decoder, vector, len(vector))
        return own if self.initial is None else self.initial(vector, own)

    def _read(self, vector: Any, symbol: Any) -> Any:
        """x_t, or all of them."""
        parts = [] if self.enters == "state" else [vector]
        if symbol is not None:
            parts.append(symbol)
        if not parts:
            shape = (*vector.shape[:-1], self.decoder.input_size)
            return tg.zeros(shape, dtype=vector.dtype, device=vector.device)
        return parts[0] if len(parts) == 1 else tg.concatenate(parts, -1)


def _step(score: Score, feed: str, model: VectorToSequence, carry: Decoding, at: Series) -> tuple[Decoding, Any]:
    carry, logits = _emitted(model, feed, carry._replace(state=model._begun(carry, at.vector)), at)
    return carry, score(logits, at.target, at.counts)


def _emitted(model: VectorToSequence, feed: str, carry: Decoding, at: Series) -> tuple[Decoding, Any]:
    x = model._read(at.vector, at.previous if carry.fed is None else carry.fed)
    y, state = stepped("decoder", model.decoder, x, carry.state)
    logits = model.head(y)
    return Decoding(state, None if carry.fed is None else FREE[feed](logits, at.noise)), logits


def _segment(score: Score, feed: str, model: VectorToSequence, carry: Decoding, part: Series) -> tuple[Decoding, Any]:
    carry, logits = _along(model, feed, carry, part)
    return carry, score(logits, part.target, part.counts)


def _along(model: VectorToSequence, feed: str, carry: Decoding, part: Series) -> tuple[Decoding, Any]:
    """The carry after these steps, and their logits (T, B, V)."""
    carry = carry._replace(state=model._begun(carry, part.vector[0]))
    if carry.fed is None:  # all that is read is known
        ys, state = model.decoder(model._read(part.vector, part.previous), carry.state)
        return Decoding(state, None), model.head(ys)
    series = part._replace(target=None, counts=None)
    return tg.scan(lambda z, at: _emitted(model, feed, z, at), carry, series, **options(model.decoder))
