"""A small random problem of every topology, for any cell: what tests of gradients run over."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import tinygrad_rnn as tg
from zoo import registry
from zoo.topology.encoder_decoder import EncoderDecoder
from zoo.topology.from_vector import VectorToSequence
from zoo.topology.stack import Stacked
from zoo.topology.synced import Synced
from zoo.topology.to_label import SequenceToLabel
from zoo.topology.unroll import RNN

__all__ = ["TOPOLOGIES", "Example", "built", "example", "pairs"]

T, I, D, V = 5, 3, 2, 4  # steps, features of an input, of a vector, symbols


class Example(NamedTuple):
    """A model, what makes a problem of it, and what computes the same loss by the model's forward()."""

    model: Any
    problem: Callable[[], tg.bptt.Problem]
    loss: Callable[[], tg.Tensor]


Make = Callable[[str, int, tg.random.Generator], Example]


def _cell(name: str, input_size: int, hidden: int, rng: Any) -> Any:
    kind: Any = registry.get(name)
    return kind(input_size, hidden, rng=rng)


def _normal(rng: Any, *shape: int) -> Any:
    return rng.normal(shape, dtype="float64")


def _synced(cell: str, hidden: int, rng: Any) -> Example:
    model = Synced(_cell(cell, I, hidden, rng), V, rng=rng)
    xs, targets, mask = _normal(rng, T, 1, I), rng.integers((T, 1), 0, V), tg.tensor([[t != 1] for t in range(T)])
    return Example(
        model, lambda: model.problem(xs, targets, mask=mask), lambda: tg.cross_entropy(model(xs), targets, mask=mask)
    )


def _stacked(cell: str, hidden: int, rng: Any) -> Example:
    low, high = (hidden + 1) // 2, max(hidden // 2, 1)
    layers = [_cell(cell, I, low, rng.fork("low")), _cell(cell, low, high, rng.fork("high"))]
    model = Synced(Stacked(layers), V, rng=rng)
    xs, targets = _normal(rng, T, 1, I), rng.integers((T, 1), 0, V)
    return Example(
        model,
        lambda: model.problem(xs, targets, reduction="sum"),
        lambda: tg.cross_entropy(model(xs), targets, reduction="sum"),
    )


def _label(pooling: str, cell: str, hidden: int, rng: Any) -> Example:
    model = SequenceToLabel(_cell(cell, I, hidden, rng), V, pooling=pooling, rng=rng)
    xs, targets, lengths = _normal(rng, 3, 2, I), rng.integers((2,), 0, V), [2, 3]
    return Example(
        model,
        lambda: model.problem(xs, targets, lengths=lengths),
        lambda: tg.cross_entropy(model(xs, lengths=lengths), targets),
    )


def _vector(enters: str, feed: str | None, cell: str, hidden: int, rng: Any) -> Example:
    features = (0 if enters == "state" else D) + (V if feed else 0) or 1
    model = VectorToSequence(
        _cell(cell, features, hidden, rng), V, vector_size=D, enters=enters, fed_back=feed is not None, rng=rng
    )
    vector, targets = _normal(rng, 1, D), rng.integers((T, 1), 0, V)

    def loss() -> tg.Tensor:
        given = targets if feed in (None, "teacher") else None
        return tg.cross_entropy(model(vector, given, steps=T, feed=feed, rng=rng.fork("noise")), targets)

    return Example(model, lambda: model.problem(vector, targets, feed=feed or "teacher", rng=rng.fork("noise")), loss)


def _encoder_decoder(context: str, feed: str, cell: str, hidden: int, rng: Any) -> Example:
    encoder, decoder = _cell(cell, I, hidden, rng.fork("encoder")), _cell(cell, V, hidden, rng.fork("decoder"))
    if context == "attention":  # they learn where to begin, and not from zero: else what is attended to may be alike
        encoder, decoder = RNN(encoder, initial="trainable"), RNN(decoder, initial="trainable")
    model = EncoderDecoder(encoder, decoder, V, context=context, go=0, attention_size=3, rng=rng)
    xs, targets = _normal(rng, 3, 1, I), rng.integers((3, 1), 0, V)

    def loss() -> tg.Tensor:
        return tg.cross_entropy(model(xs, targets if feed == "teacher" else None, steps=3, feed=feed), targets)

    return Example(model, lambda: model.problem(xs, targets, feed=feed), loss)


TOPOLOGIES: dict[str, Make] = {
    "synced": _synced,
    "synced-stacked": _stacked,
    "label-last": partial(_label, "last"),
    "label-mean": partial(_label, "mean"),
    "label-max": partial(_label, "max"),
    "vector-first": partial(_vector, "first", None),
    "vector-every": partial(_vector, "every", None),
    "vector-state": partial(_vector, "state", None),
    "vector-teacher": partial(_vector, "first", "teacher"),
    "vector-greedy": partial(_vector, "every", "greedy"),
    "vector-sampled": partial(_vector, "state", "sampled"),
    "vector-softmax": partial(_vector, "state", "softmax"),
    "encoder-decoder-state": partial(_encoder_decoder, "state", "teacher"),
    "encoder-decoder-input": partial(_encoder_decoder, "input", "teacher"),
    "encoder-decoder-recurrent": partial(_encoder_decoder, "recurrent", "teacher"),
    "encoder-decoder-attention": partial(_encoder_decoder, "attention", "teacher"),
    "encoder-decoder-softmax": partial(_encoder_decoder, "input", "softmax"),
    "encoder-decoder-attention-softmax": partial(_encoder_decoder, "attention", "softmax"),
}
"""By name: (cell, hidden size, rng) → an Example whose model is in float32 still. Raises ValueError for a cell that
cannot be in it."""


def pairs(cells: list[str] | None = None) -> list[tuple[str, str]]:
    """The pairs (topology, cell) that there are: not every cell can be in every topology."""
    return [(name, cell) for name in TOPOLOGIES for cell in cells or registry.names() if _can(name, cell)]


def _can(name: str, cell: str) -> bool:
    try:
        TOPOLOGIES[name](cell, 2, tg.random.Generator())
    except ValueError:
        return False
    return True


def built(
    name: str, cell: str, *, hidden: int = 4, rng: tg.random.Generator | None = None, compile: str | bool = "numpy"
) -> Example:
    """A small random example in float64 of the topology and the cell of these names: the same for the same rng.

    ``compile`` is that of the layers, here one that needs no compiler's time. Raises ValueError for a topology that
    there is not, or that the cell cannot be in.
    """
    if name not in TOPOLOGIES:
        raise ValueError(f"there is no topology {name!r}; there are {', '.join(TOPOLOGIES)}")
    rng = (rng or tg.random.Generator()).fork("example", name, cell)
    found = TOPOLOGIES[name](cell, hidden, rng)
    found.model.astype("float64")
    for path, p in found.model.parameters_by_path().items():  # nothing at 0, where relu has no derivative
        p.data += rng.fork("moved", path).normal(p.shape, std=0.3, dtype="float64").numpy()
    for part in found.model.modules():
        if isinstance(part, RNN):
            part.compile = compile
    return found


def example(
    name: str, cell: str, *, hidden: int = 4, rng: tg.random.Generator | None = None, compile: str | bool = "numpy"
) -> tg.bptt.Problem:
    """The problem of ``built``; its ``parameters`` is the model. Raises ValueError as that does.

    >>> problem = example("label-max", "LSTM", hidden=3)
    >>> len(problem), sorted(problem.parameters.parameters_by_path())
    (3, ['encoder/cell/U', 'encoder/cell/input/bias', 'encoder/cell/input/weight', 'head/bias', 'head/weight'])
    """
    return built(name, cell, hidden=hidden, rng=rng, compile=compile).problem()
