"""A small random problem of every topology, for any cell: what tests of gradients run over."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import tinygrad_rnn as tg
from zoo import registry
from zoo.topology.encoder_decoder import EncoderDecoder
from zoo.topology.from_vector import VectorToSequence
from zoo.topology.series import REDUCTIONS
from zoo.topology.stack import Stacked
from zoo.topology.synced import Synced
from zoo.topology.to_label import SequenceToLabel
from zoo.topology.unroll import RNN

__all__ = ["TOPOLOGIES", "example", "pairs"]

T, I, D, V = 5, 3, 2, 4  # steps, features of an input, of a vector, symbols

Make = Callable[[str, int, Any], tuple[Any, Callable[[], tg.bptt.Problem]]]


def _cell(name: str, input_size: int, hidden: int, rng: Any) -> Any:
    kind: Any = registry.get(name)
    return kind(input_size, hidden, rng=rng)


def _normal(rng: Any, *shape: int) -> Any:
    return rng.normal(shape, dtype="float64")


def _synced(cell: str, hidden: int, rng: Any) -> Any:
    model = Synced(_cell(cell, I, hidden, rng), V, rng=rng)
    xs, targets = _normal(rng, T, 1, I), rng.integers((T, 1), 0, V)
    return model, lambda: model.problem(xs, targets, mask=[[True], [False], [True], [True], [True]])


def _stacked(cell: str, hidden: int, rng: Any) -> Any:
    low, high = max(hidden // 2, 1), hidden - max(hidden // 2, 1) or 1
    layers = [_cell(cell, I, low, rng.fork("low")), _cell(cell, low, high, rng.fork("high"))]
    model = Synced(Stacked(layers), V, rng=rng)
    xs, targets = _normal(rng, T, 1, I), rng.integers((T, 1), 0, V)
    return model, lambda: model.problem(xs, targets, reduction=REDUCTIONS[1])


def _label(pooling: str, cell: str, hidden: int, rng: Any) -> Any:
    model = SequenceToLabel(_cell(cell, I, hidden, rng), V, pooling=pooling, rng=rng)
    xs, targets = _normal(rng, T, 2, I), rng.integers((2,), 0, V)
    return model, lambda: model.problem(xs, targets, lengths=[T - 2, T])


def _vector(enters: str, feed: str | None, cell: str, hidden: int, rng: Any) -> Any:
    features = (0 if enters == "state" else D) + (V if feed else 0) or 1
    model = VectorToSequence(
        _cell(cell, features, hidden, rng), V, vector_size=D, enters=enters, fed_back=feed is not None, rng=rng
    )
    vector, targets = _normal(rng, 1, D), rng.integers((T, 1), 0, V)
    return model, lambda: model.problem(vector, targets, feed=feed or "teacher", rng=rng.fork("noise"))


def _encoder_decoder(context: str, feed: str, cell: str, hidden: int, rng: Any) -> Any:
    layers = _cell(cell, I, hidden, rng.fork("encoder")), _cell(cell, V, hidden, rng.fork("decoder"))
    model = EncoderDecoder(*layers, V, context=context, go=0, attention_size=3, rng=rng)
    xs, targets = _normal(rng, 3, 1, I), rng.integers((3, 1), 0, V)
    return model, lambda: model.problem(xs, targets, feed=feed)


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
"""By name: (cell, hidden size, rng) → a module in float32, and what makes a problem of it."""


def pairs(cells: list[str] | None = None) -> list[tuple[str, str]]:
    """The pairs (topology, cell) that there are: not every cell can be in every topology."""
    return [(name, cell) for name in TOPOLOGIES for cell in cells or registry.names() if _can(name, cell)]


def _can(name: str, cell: str) -> bool:
    try:
        TOPOLOGIES[name](cell, 2, tg.random.Generator())
    except ValueError:
        return False
    return True


def example(
    name: str, cell: str, *, hidden: int = 4, rng: tg.random.Generator | None = None, compile: str | bool = "numpy"
) -> tg.bptt.Problem:
    """A small random problem in float64 of the topology and the cell of these names; its ``parameters`` is the module.

    The same for the same rng. ``compile`` is that of the layers, here one that needs no compiler's time. Raises
    ValueError for a topology that there is not, or that the cell cannot be in.

    >>> problem = example("label-max", "LSTM", hidden=3)
    >>> len(problem), problem.parameters.encoder.cell
    (5, LSTM...
    """
    if name not in TOPOLOGIES:
        raise ValueError(f"there is no topology {name!r}; there are {', '.join(TOPOLOGIES)}")
    rng = (rng or tg.random.Generator()).fork("example", name, cell)
    model, problem = TOPOLOGIES[name](cell, hidden, rng)
    model.astype("float64")
    for part in model.modules():
        if isinstance(part, RNN):
            part.compile = compile
    return problem()
