"""Sequence to sequence: an encoder reads, a decoder writes, and a context goes from one to the other."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import tinygrad_rnn as tg
from zoo.topology.attention import AdditiveAttention
from zoo.topology.driven import driven, lowest, projection, recurrent_matrix
from zoo.topology.feedback import FEEDS, FREE, delayed, first_fed, noise
from zoo.topology.series import (
    Score,
    begin,
    initial,
    kept,
    made,
    options,
    scored,
    series_of,
    stepped,
    streaming,
    valid_steps,
    zeroed,
)
from zoo.topology.to_label import last
from zoo.topology.unroll import as_layer

__all__ = ["CONTEXTS", "EncoderDecoder"]

CONTEXTS = ("state", "input", "recurrent", "attention")


class Encode(NamedTuple):
    """One step of reading: an input (B, I), and the rows that are valid."""

    x: Any
    valid: Any


class Decode(NamedTuple):
    """One step of writing: the symbol y_{t−1} (B, V) when it is given, noise for one that is drawn, the label, the rows
    whose label counts, and, for attention, the steps of reading that are valid in each row (B, T)."""

    previous: Any
    noise: Any
    target: Any
    counts: Any
    source: Any


class Encoding(NamedTuple):
    """While it is read: the encoder's state, and what will be needed of its outputs."""

    state: Any
    kept: Any


class Decoding(NamedTuple):
    """While it is written: the decoder's state, the context (B, O) or memory (B, T, O), the decoder's last output,
    which attention asks with, and the symbol that it emitted; None for what is not there."""

    state: Any
    context: Any
    output: Any
    fed: Any


class EncoderDecoder(tg.nn.Module):
    """A sequence from a sequence: ``s^e_t = encoder(x_t, s^e_{t−1})``, ``s^d_t = decoder(y_{t−1}, s^d_{t−1}; c_t)``.

    The decoder reads the symbols y, one-hot or as distributions (B, classes); y_{−1} is ``go``, or zeros. Its logits
    are its outputs times V, plus a bias. ``context`` says how c gets to it:

    - "state": c is the encoder's last state, with which the decoder begins, so the two have states of equal shapes;
    - "input": c is the encoder's last relevant output, and c C is added to the projection of the decoder's input at
      every step, C a matrix of its own;
    - "recurrent": the same with C = W^e, the recurrent matrix of the encoder, which must have exactly one;
    - "attention": as "input", with c_t a mean of all outputs of the encoder that is weighted anew at every step, by how
      they go with the decoder's output y_{t−1} (zeros at first), through ``attention_size`` units.

    But for "state" the decoder begins with its own initial state. Parameters are under ``encoder``, ``decoder``,
    ``head``, ``context`` (C) and ``attention``. Sources: Sutskever et al. 2014, arXiv:1409.3215 ("state"); Cho et al.
    2014, arXiv:1406.1078 ("input"); Bahdanau et al. 2015, arXiv:1409.0473 ("attention").

    Raises ValueError for parts that do not fit, and for a decoder whose lowest cell has no projection of its input.

    >>> import zoo
    >>> model = EncoderDecoder(zoo.GRU(3, 5), zoo.LSTM(4, 6), 4, context="attention")
    >>> xs, targets = tg.ones((7, 2, 3)), tg.zeros((6, 2), dtype="int64")
    >>> model(xs, targets, lengths=[7, 4]).shape, model(xs, steps=9, feed="greedy").shape
    ((6, 2, 4), (9, 2, 4))
    >>> len(model.problem(xs, targets, lengths=[7, 4]))
    13
    """

    def __init__(
        self, encoder: Any, decoder: Any, classes: int, *, context: str = "state", go: int | None = None,
        attention_size: int | None = None, rng: tg.random.Generator | None = None,
    ) -> None:  # fmt: skip
        place = "EncoderDecoder"
        if context not in CONTEXTS:
            raise ValueError(f"{place}: context={context!r} is not one of {', '.join(CONTEXTS)}")
        rng = rng or tg.random.Generator()
        self.kind, self.go, self.classes = context, go, classes
        self.encoder, decoder = as_layer(encoder), as_layer(decoder)
        if decoder.input_size != classes:
            raise ValueError(
                f"{place}: the decoder takes {decoder.input_size} features, but reads symbols of {classes} classes"
            )
        if context == "state":
            shapes = [[s.shape for s in tg.tree.leaves(part.init_state(1))] for part in (self.encoder, decoder)]
            if shapes[0] != shapes[1]:
                raise ValueError(
                    f"{place}: the decoder begins with the encoder's last state, but theirs are {shapes[1]} and "
                    f"{shapes[0]}; give both one kind of cell and one size, or a context of {', '.join(CONTEXTS[1:])}"
                )
        self.decoder = decoder if context == "state" else driven(decoder)
        self.head = tg.nn.Linear(decoder.output_size, classes, rng=rng.fork("head"))
        self.context: Any = None
        self.recurrent = ""
        self.attention: Any = None
        if context != "state":
            columns = projection(place, lowest(decoder)).shape[1]
            if context == "recurrent":
                self.recurrent = recurrent_matrix(place, self.encoder, columns)
            else:
                self.context = tg.nn.Linear(self.encoder.output_size, columns, bias=False, rng=rng.fork("context"))
        if context == "attention":
            size = attention_size or decoder.output_size
            memory = self.encoder.output_size
            self.attention = AdditiveAttention(decoder.output_size, memory, size, rng=rng.fork("attention"))

    def forward(
        self, xs: Any, targets: Any = None, *, lengths: Any = None, steps: int | None = None, feed: str | None = None,
        rng: Any = None,
    ) -> tg.Tensor:  # fmt: skip
        """xs (T, B, I) → logits (T', B, classes), T' being ``steps``, or that of the targets (T', B).

        ``lengths`` are those of xs. ``feed``: what the decoder reads, "teacher" (the targets), "greedy", "sampled"
        (drawn with ``rng``) or "softmax"; left out, "teacher" with targets and "greedy" without.
        """
        return self._run(xs, targets, lengths, steps, feed, rng)[0]

    def alignment(
        self, xs: Any, targets: Any = None, *, lengths: Any = None, steps: int | None = None, feed: str | None = None,
        rng: Any = None,
    ) -> tg.Tensor:  # fmt: skip
        """The weights of attention α (T', B, T) in a run as in ``forward``. Raises ValueError without attention."""
        if self.attention is None:
            raise ValueError(f"EncoderDecoder: context={self.kind!r} does not attend; only context='attention' does")
        return self._run(xs, targets, lengths, steps, feed, rng)[1]

    def _run(self, xs: Any, targets: Any, lengths: Any, steps: int | None, feed: str | None, rng: Any) -> Any:
        feed = feed or ("greedy" if targets is None else "teacher")
        if (total := len(targets) if targets is not None else steps) is None:
            raise ValueError("EncoderDecoder: give targets, or the number of steps")
        _, encodes, decodes = self._entries("EncoderDecoder", xs, targets, lengths, None, total, feed, rng)
        carry = _encoded(self, Encoding(None, _nothing(self)), encodes)
        return _decoded(self, feed, _handed_over(self, carry), decodes)[1:]

    def problem(
        self, xs: Any, targets: Any, *, lengths: Any = None, target_lengths: Any = None, feed: str = "teacher",
        rng: Any = None, loss: Any = tg.cross_entropy, reduction: str = "mean",
    ) -> tg.bptt.Problem:  # fmt: skip
        """``L = Σ_t Σ_b loss(logits_tb, target_tb)`` over the steps of writing, T + T' steps in all.

        For "mean" divided by the number of labels that count: those before their row's entry in ``target_lengths``. xs
        (T, B, I) with ``lengths`` (B,) in 1 … T, targets (T', B) class ids. ``feed`` as in ``forward``; "sampled" draws
        before the run. The carry changes at the hand-over, from the encoder's state and what is kept of its outputs to
        the decoder's state and the context. Raises ValueError for sizes that do not fit, and for layers that do not run
        from the first step to the last.
        """
        place = "EncoderDecoder.problem"
        streaming(place, self.encoder)
        streaming(place, self.decoder)
        targets = made(targets)
        total, rows = (*targets.shape, 0, 0)[:2]
        counts = valid_steps(place, target_lengths, total, rows)
        xs, encodes, decodes = self._entries(place, xs, targets, lengths, counts, total, feed, rng)
        score = scored(place, loss, reduction, total * rows if counts is None else int(counts.sum()))
        return tg.bptt.Problem(
            self, partial(_step, score, feed), Encoding(begin(self.encoder, xs, rows), _nothing(self)),
            [*encodes, *decodes], segment=partial(_segment, score, feed),
        )  # fmt: skip

    def _entries(
        self, place: str, xs: Any, targets: Any, lengths: Any, counts: Any, total: int, feed: str, rng: Any
    ) -> tuple[Any, list[Encode], list[Decode]]:
        if feed not in FEEDS:
            raise ValueError(f"{place}: feed={feed!r} is not one of {', '.join(FEEDS)}")
        xs, read, rows = series_of(place, xs)
        if targets is not None and (targets := made(targets)).shape[:2] != (total, rows):
            raise ValueError(f"{place}: targets {targets.shape} do not begin with (T', B), B = {rows}")
        if feed == "teacher" and targets is None:
            raise ValueError(f"{place}: feed='teacher' feeds targets, and there are none")
        if total < 1:
            raise ValueError(f"{place}: there are no steps to write: {total}")
        valid = valid_steps(place, lengths, read, rows, least=1)
        xs = zeroed(valid, xs)
        like = tg.tree.leaves(xs)[0]
        go = first_fed(place, self.go, rows, self.classes, like.dtype, like.device)
        flags = None if valid is None else tg.tensor(valid, device=like.device)
        encodes = [Encode(tg.tree.map(lambda x, t=t: x[t], xs), _at(flags, t)) for t in range(read)]
        given = delayed(place, targets, go, counts) if feed == "teacher" else None
        drawn = noise(feed, rng, (total, rows, self.classes), like.dtype, like.device)
        counts = None if counts is None else tg.tensor(counts, device=like.device)
        source = tg.transpose(flags) if self.attention is not None and flags is not None else None
        decodes = [
            Decode(_at(given, t), _at(drawn, t), _at(targets, t), _at(counts, t), source) for t in range(total)
        ]
        if given is None:
            decodes[0] = decodes[0]._replace(previous=go)
        return xs, encodes, decodes


def _at(series: Any, t: int) -> Any:
    return None if series is None else series[t]


def _stacked(entries: list[Any]) -> Any:
    """Entries of one kind as one, with time in front; of symbols that are given only at first, none."""
    return tg.tree.map(lambda *xs: tg.stack(xs), *entries)


# Reading


def _nothing(model: EncoderDecoder) -> Any:
    """What is kept of no outputs."""
    return () if model.attention is not None else None


def _keep(model: EncoderDecoder, before: Any, ys: Any, valid: Any) -> Any:
    """What will be needed of the outputs (T, B, O) so far: nothing, the last relevant one, or all."""
    if model.kind == "state":
        return None
    if model.attention is not None:
        return (*before, ys)
    latest = last(ys, valid)
    if before is None or valid is None:
        return latest
    return kept(tg.tensor(valid.numpy().any(0), device=ys.device), latest, before)


def _encoded(model: EncoderDecoder, carry: Encoding, part: list[Encode]) -> Encoding:
    """The carry after some steps of reading."""
    xs, valid = _stacked(part)
    ys, state = model.encoder(xs, carry.state, None if valid is None else valid.numpy().sum(0))
    return Encoding(state, _keep(model, carry.kept, ys, valid))


def _handed_over(model: EncoderDecoder, carry: Encoding) -> Decoding:
    """What the decoder begins with; None for a state of its own."""
    if model.kind == "state":
        return Decoding(carry.state, None, None, None)
    if model.attention is None:
        return Decoding(None, carry.kept, None, None)
    memory = carry.kept[0] if len(carry.kept) == 1 else tg.concatenate(carry.kept)
    memory = tg.swapaxes(memory, 0, 1)
    silent = tg.zeros((len(memory), model.decoder.output_size), dtype=memory.dtype, device=memory.device)
    return Decoding(None, memory, silent, None)


# Writing


def _reader(model: EncoderDecoder, context: Any, source: Any) -> Callable[[Any], tuple[Any, Any]]:
    """From the decoder's last output to what the context adds to its input's projection, and weights of attention."""
    if context is None:
        return lambda output: (None, None)
    if model.attention is None:
        drive = _through(model, context)
        return lambda output: (drive, None)
    attention = model.attention
    keys = attention.key(context)

    def read(output: Any) -> tuple[Any, Any]:
        found, weights = attention(output, context, keys=keys, valid=source)
        return _through(model, found), weights

    return read


def _through(model: EncoderDecoder, context: Any) -> Any:
    """c C."""
    if model.context is not None:
        return model.context(context)
    with tg.scope("module", "context"):
        return context @ getattr(model.encoder.cell, model.recurrent)


def _emitted(
    model: EncoderDecoder, feed: str, carry: Decoding, symbol: Any, drawn: Any, read: Callable[[Any], Any]
) -> tuple[Decoding, Any, Any]:
    drive, weights = read(carry.output)
    y, state = stepped("decoder", model.decoder, symbol if drive is None else (symbol, drive), carry.state)
    logits = model.head(y)
    fed = None if feed == "teacher" else FREE[feed](logits, drawn)
    return carry._replace(state=state, output=None if carry.output is None else y, fed=fed), logits, weights


def _decoded(model: EncoderDecoder, feed: str, carry: Decoding, part: list[Decode]) -> tuple[Decoding, Any, Any]:
    """The carry after some steps of writing, their logits (T, B, V), and weights of attention (T, B, T_e)."""
    read = _reader(model, carry.context, part[0].source)
    first = part[0].previous if carry.fed is None else carry.fed
    given = None if feed != "teacher" else tg.stack([at.previous for at in part])
    if given is not None and model.attention is None:  # all that is read is known
        drive, _ = read(None)
        xs = given if drive is None else (given, tg.broadcast_to(drive, (len(part), *drive.shape)))
        ys, state = model.decoder(xs, carry.state)
        return carry._replace(state=state), model.head(ys), None
    state = initial(model.decoder, first, len(first)) if carry.state is None else carry.state
    drawn = None if part[0].noise is None else tg.stack([at.noise for at in part])

    def along(z: Any, at: Any) -> tuple[Any, Any]:
        symbol = z.fed if at[0] is None else at[0]
        after, *out = _emitted(model, feed, z, symbol, at[1], read)
        return after, tuple(out)

    begun = carry._replace(state=state, context=None, fed=None if given is not None else first)
    series = (given, drawn)
    after, (logits, weights) = tg.scan(along, begun, series, length=len(part), **options(model.decoder))
    return after._replace(context=carry.context), logits, weights


def _step(score: Score, feed: str, model: EncoderDecoder, carry: Any, at: Any) -> tuple[Any, Any]:
    if isinstance(at, Encode):
        y, state = stepped("encoder", model.encoder, at.x, carry.state, at.valid)
        valid = None if at.valid is None else tg.expand_dims(at.valid, 0)
        return Encoding(state, _keep(model, carry.kept, tg.expand_dims(y, 0), valid)), None
    if isinstance(carry, Encoding):
        carry = _handed_over(model, carry)
    symbol = carry.fed if at.previous is None else at.previous
    carry, logits, _ = _emitted(model, feed, carry, symbol, at.noise, _reader(model, carry.context, at.source))
    return carry, score(logits, at.target, at.counts)


def _segment(score: Score, feed: str, model: EncoderDecoder, carry: Any, part: list[Any]) -> tuple[Any, Any]:
    encodes = [at for at in part if isinstance(at, Encode)]
    decodes = [at for at in part if isinstance(at, Decode)]
    if encodes:
        carry = _encoded(model, carry, encodes)
    if not decodes:
        return carry, None
    if isinstance(carry, Encoding):
        carry = _handed_over(model, carry)
    carry, logits, _ = _decoded(model, feed, carry, decodes)
    counts = None if decodes[0].counts is None else tg.stack([at.counts for at in decodes])
    return carry, score(logits, tg.stack([at.target for at in decodes]), counts)
