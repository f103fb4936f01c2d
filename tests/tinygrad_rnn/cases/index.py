"""Indexing: basic, by arrays, by masks, and mixed; functional writes; lookups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_rnn as tg
from tests.tinygrad_rnn.cases import Case, normal, torch

X = (4, 5, 3)
Draw = Callable[[np.random.Generator], tuple[np.ndarray, ...]]


def _with(*fixed: Any, shapes: tuple[tuple[int, ...], ...] = (X,)) -> Draw:
    """Gaussian arrays, then these indices."""
    return lambda rng: (*normal(*shapes)(rng), *(np.array(a) for a in fixed))


def _read(label: str, index: Any) -> Case:
    """x[index] with an index that has no arrays; torch has no negative steps."""
    read = lambda x: x[index]  # noqa: E731
    return Case("getitem", read, normal(X), read if label != "backwards" else None, label)


def _gather(label: str, index: Callable[..., Any], *arrays: Any) -> Case:
    """x[index(*arrays)], with the arrays as Tensors; torch takes only int64."""
    read = lambda x, *arrays: x[index(*arrays)]  # noqa: E731
    return Case("getitem", read, _with(*arrays), read if label != "small-ids" else None, label)


def _torch_write(index: Callable[..., Any], accumulate: bool) -> Callable[..., Any]:
    def write(x: Any, v: Any, *arrays: Any) -> Any:
        places = index(*arrays)
        if not accumulate:
            out = x.clone()
            out[places] = v
            return out
        entries = torch.arange(x.numel()).reshape(x.shape)[places]
        return x.reshape(-1).index_add(0, entries.reshape(-1), v.expand(entries.shape).reshape(-1)).reshape(x.shape)

    return write


def _write(label: str, index: Callable[..., Any], v: tuple[int, ...], *arrays: Any, twice: bool = False) -> list[Case]:
    """x.at[index(*arrays)] with v of this shape: set, unless places are named twice, and add."""
    cases = [
        Case("at", lambda x, v, *arrays: x.at[index(*arrays)].add(v), _with(*arrays, shapes=(X, v)),
             _torch_write(index, True), f"add-{label}"),
    ]  # fmt: skip
    if not twice:
        cases += [
            Case("at", lambda x, v, *arrays: x.at[index(*arrays)].set(v), _with(*arrays, shapes=(X, v)),
                 _torch_write(index, False), f"set-{label}"),
        ]  # fmt: skip
    return cases


MASK = np.arange(20).reshape(4, 5) % 3 == 0
IDS = [[0, 3, -1], [0, 0, 2]]

CASES = [
    _read("step", 2),
    _read("last-step", -1),
    _read("slice", slice(1, 3)),
    _read("column", (slice(None), 2)),
    _read("ellipsis", (Ellipsis, 0)),
    _read("new-axis", (None, 1)),
    _read("backwards", (1, slice(None, None, -2))),
    _read("nothing", slice(2, 2)),
    _read("entry", (1, 2, 0)),
    Case("getitem", lambda x: sum(x[t] * x[t - 1] for t in range(4)), normal(X),
         lambda x: sum(x[t] * x[t - 1] for t in range(4)), "every-step-twice"),
    Case("getitem", lambda x: (x[1:] * x[:-1]).sum(0) + (x * x[0]).sum(0), normal((3, 2)),
         lambda x: (x[1:] * x[:-1]).sum(0) + (x * x[0]).sum(0), "slices-and-all"),
    _gather("rows", lambda i: i, IDS),
    _gather("columns", lambda i: (slice(None), i), [1, 1, 4]),
    _gather("entries", lambda i, j, k: (i, j, k), [0, 0, -1], [1, 1, 2], [2, 2, 0]),
    _gather("pairs", lambda i, j: (i, j), IDS, [1, 1, 4]),
    _gather("step-and-ids", lambda i: (0, i), [1, 1, 4]),
    _gather("apart", lambda i, j: (i, slice(None), j), [1, 1, 0], [0, 0, 1]),
    _gather("with-new-axis", lambda i: (Ellipsis, i, None), [1, 1, 0]),
    _gather("0d-array", lambda i: i, 2),
    _gather("small-ids", lambda i, j: (i, j), np.array([3, -1], np.int8), np.array([4, 4], np.uint8)),
    _gather("no-ids", lambda i: i, np.zeros(0, int)),
    _gather("mask", lambda m: m, MASK),
    _gather("mask-of-all-axes", lambda m: m, np.stack([MASK, ~MASK, MASK], -1)),
    _gather("mask-of-an-axis", lambda m: (slice(None), m), [True, False, True, True, False]),
    _gather("mask-and-step", lambda m: (m, 0), MASK),
    _gather("mask-and-ids", lambda m, i: (m, slice(None), i), [True, False, True, False], [1, 1]),
    Case("getitem", lambda x: x[[0, 0, 1], 1:], normal(X), lambda x: x[[0, 0, 1], 1:], "lists"),
    Case("getitem", lambda x, i: x[i] * x[1] + x[i, 0].sum(), _with([0, 1, 1], shapes=((3, 2),)),
         lambda x, i: x[i] * x[1] + x[i, 0].sum(), "many-ways"),
    Case("take", lambda x: tg.take(x, [[2, 0], [1, 1]], 1), normal(X),
         lambda x: x[:, torch.tensor([[2, 0], [1, 1]])]),
    Case("take", lambda x, i: x.take(i, axis=-1), _with([2, 2, 0]), lambda x, i: x[..., i], "method"),
    Case("take", lambda x, i: tg.take(x, i), _with([59, 0, 0]), lambda x, i: x.take(i), "flat"),
    Case("take_along_axis", lambda x, i: tg.take_along_axis(x, i, 1), _with(np.arange(24).reshape(4, 2, 3) % 5),
         lambda x, i: x.take_along_dim(i, 1)),
    Case("take_along_axis", tg.take_along_axis, _with(np.arange(5).reshape(1, 5, 1) % 3),
         lambda x, i: x.take_along_dim(i, -1), "broadcast"),
    *_write("step", lambda: 1, (5, 3)),
    *_write("broadcast", lambda: (slice(1, 3), Ellipsis, 0), ()),
    *_write("column", lambda: (Ellipsis, 0), (5,)),
    *_write("rows", lambda i: i, (2, 5, 3), [2, 0]),
    *_write("entries", lambda i, j: (i, j, 1), (3,), [0, 0, 1], [4, 2, 4]),
    *_write("mask", lambda m: m, (3,), MASK),
    *_write("rows-twice", lambda i: i, (3, 5, 3), [2, 0, -2], twice=True),
    *_write("columns-twice", lambda i: (slice(None), i), (3, 1), [1, 1, 4], twice=True),
    Case("at", lambda x: x.at[1:, 0].set(2.0).at[0].add(3), normal(X),
         lambda x: _torch_write(lambda: 0, True)(_torch_write(lambda: (slice(1, None), 0), False)(x, 2.0),
                                                 torch.tensor(3.0, dtype=x.dtype)), "numbers"),
    Case("embedding", tg.embedding, _with([[0, 3, 3], [0, 0, 2]], shapes=((4, 5),)),
         lambda w, i: torch.nn.functional.embedding(i, w)),
    Case("embedding", lambda w, i: tg.embedding(w, i[0]) * tg.embedding(w, i[1]) @ w.T,
         _with([[0, 3, 3], [0, 0, 2]], shapes=((4, 5),)),
         lambda w, i: torch.nn.functional.embedding(i[0], w) * torch.nn.functional.embedding(i[1], w) @ w.T, "tied"),
    Case("one_hot", lambda x, i: x * tg.one_hot(i, classes=5, dtype=x.dtype), _with([0, 4, 4, 1], shapes=((4, 5),)),
         lambda x, i: x * torch.nn.functional.one_hot(i, 5)),
]  # fmt: skip
