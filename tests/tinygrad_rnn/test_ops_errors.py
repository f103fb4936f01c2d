"""The errors of ops: they name the op, the place, the shapes, what is wrong, and where there is one the way out."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg

X = tg.zeros((4, 3))
IDS = np.array([1, 7])
Z, T = tg.zeros((2, 3)), np.array([0, 2])
SERIES = tg.zeros((5, 2, 3))

ERRORS: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: X[7], IndexError, "getitem: (4, 3) float32; index 7 is out of bounds for axis 0 with size 4"),
    (lambda: X[:, 0, 0], IndexError, "getitem: (4, 3) float32; too many indices for array"),
    (lambda: X[0:1.5], TypeError, "getitem: (4, 3) float32; slice(0, 1.5, None) needs integers or None"),
    (lambda: X[IDS], IndexError, "gather: (4, 3) float32, (2,) int64; index 7 is out of bounds"),
    (lambda: X.at[[0, 4]].add(1.0), IndexError, "index 4 is out of bounds for an axis of size 4"),
    (lambda: X[np.array([0.5])], IndexError, "gather: (4, 3) float32, (1,) float64; arrays used as indices must be of"),
    (lambda: X[np.ones(3, bool)], IndexError, "gather: (4, 3) float32, (3,) bool; boolean index did not match"),
    (lambda: X["a"], IndexError, "gather: (4, 3) float32, () <U1; arrays used as indices must be of integer"),
    (lambda: tg.take(X, IDS, 2), ValueError, "take: (4, 3) float32, (2,) int64; axis 2 is out of bounds for array of"),
    (lambda: tg.take_along_axis(X, IDS), ValueError, "take_along_axis: (4, 3) float32, (2,) int64; the indices need 2"),
    (lambda: tg.take_along_axis(X, IDS, 2), ValueError, "take_along_axis: (4, 3) float32, (2,) int64; axis 2 is out"),
    (lambda: X.at[IDS].add(1.0), IndexError, "index_add: (4, 3) float32, () float32, (2,) int64; index 7 is out of b"),
    (lambda: X.at[IDS].set(1.0), IndexError, "index_set: (4, 3) float32, () float32, (2,) int64; index 7 is out of b"),
    (lambda: X.at[IDS, IDS, IDS].add(1.0), IndexError, "(2,) int64; 3 indices for the 2 axes of (4, 3)"),
    (lambda: X.at[[0, 0]].set(1.0), ValueError,
     "(2,) int64; the index names a place twice, so which value stays is open; drop one, or use .add(v)"),
    (lambda: X.at[[3, -1], [0, 0]].set(1.0), ValueError, "the index names a place twice"),
    (lambda: X.at[0].set(np.ones(2)), ValueError, "index_set: (4, 3) float32, (2,) float64; could not broadcast"),
    (lambda: tg.embedding(X, IDS), IndexError,
     "embedding: (4, 3) float32, (2,) int64; id 7 is out of range: there are 4 rows, 0 to 3"),
    (lambda: tg.embedding(X, -IDS), IndexError, "id -7 is out of range: there are 4 rows, 0 to 3"),
    (lambda: tg.embedding(X, [1, 2]), TypeError,
     "embedding: (4, 3) float32, [1, 2]; the ids must be an integer array or Tensor: tg.tensor(ids, dtype='int64')"),
    (lambda: tg.embedding(X, np.ones(2)), TypeError, "(2,) float64; the ids must be an integer array or Tensor"),
    (lambda: tg.one_hot(IDS, classes=7), IndexError,
     "one_hot: (2,) int64; id 7 is out of range: there are 7 classes, 0 to 6"),
    (lambda: tg.pad(X, ((1, 1), (-1, 0))), ValueError, "pad: (4, 3) float32; the widths ((1, 1), (-1, 0)) are not all"),
    (lambda: tg.pad(X, ((1, 1),) * 3), ValueError,
     "pad: (4, 3) float32; pad_width ((1, 1), (1, 1), (1, 1)) is no integer, no pair (before, after), and not one"),
    (lambda: tg.flip(X, 2), ValueError, "flip: (4, 3) float32; axis 2 is out of bounds for array of dimension 2"),
    (lambda: tg.roll(X, 1, 2), ValueError, "roll: (4, 3) float32; axis 2 is out of bounds for array of dimension 2"),
    (lambda: tg.repeat(X, 2, 2), ValueError, "repeat: (4, 3) float32; axis 2 is out of bounds for array of dimension"),
    (lambda: tg.moveaxis(X, 0, (0, 1)), ValueError, "moveaxis: (4, 3) float32; 0 to (0, 1): as many places as axes"),
    (lambda: tg.concatenate([]), ValueError, "concatenate: need at least one array to concatenate"),
    (lambda: tg.split(X, 0), ValueError, "split: (4, 3) float32; axis -1 has 3 entries, not a multiple of 0"),
    (lambda: tg.topk(X, 1, 2), ValueError, "topk: (4, 3) float32; axis 2 is out of bounds for array of dimension 2"),
    (lambda: tg.einsum("ij,jk", X, X), ValueError,
     "einsum 'ij,jk': (4, 3) float32, (4, 3) float32; index 'j' has sizes 3 and 4"),
    (lambda: tg.einsum("ij,jk->ik", X), ValueError, "einsum 'ij,jk->ik': (4, 3) float32; 2 terms for 1 operands"),
    (lambda: tg.einsum("ijk", X), ValueError, "term 'ijk' does not fit an operand with 2 axes"),
    (lambda: tg.einsum("i...j...", X), ValueError, "term 'i...j...' does not fit an operand with 2 axes"),
    (lambda: tg.einsum("ij->ijk", X), ValueError, "output index 'k' is there twice, or in no operand"),
    (lambda: tg.einsum("ij->ii", X), ValueError, "output index 'i' is there twice, or in no operand"),
    (lambda: tg.einsum("...->i", X), ValueError, "the operands have axes under ..., so the output needs ... too"),
    (lambda: tg.einsum("i.j", X), ValueError, "subscripts are letters, commas, one -> and ..."),
    (lambda: tg.einsum("ij->i->j", X), ValueError, "subscripts are letters, commas, one -> and ..."),
    (lambda: tg.einsum("ii", X), ValueError, "einsum 'ii': (4, 3) float32; index 'i' has sizes 4 and 3"),
    (lambda: tg.causal_conv1d(SERIES, tg.zeros((4, 2))), ValueError,
     "causal_conv1d: (5, 2, 3) float32, (4, 2) float32; x is (T, ..., D) and w (K, D) or (K, D, E) with the same D"),
    (lambda: tg.causal_conv1d(SERIES, tg.zeros((4, 3)), dilation=0), ValueError, "dilation 0 is not a number of steps"),
    (lambda: tg.cross_entropy(Z, T + 1), IndexError,
     "cross_entropy: (2, 3) float32, (2,) int64; id 3 is out of range: there are 3 classes, 0 to 2; "
     "leave entries out with ignore_index or mask"),
    (lambda: tg.cross_entropy(Z, T - 1), IndexError, "id -1 is out of range: there are 3 classes, 0 to 2"),
    (lambda: tg.cross_entropy(Z, [0, 1, 2]), ValueError,
     "cross_entropy: (2, 3) float32, (3,) int64; class ids for these logits have shape (2,), without axis -1"),
    (lambda: tg.cross_entropy(Z, T, axis=0), ValueError, "class ids for these logits have shape (3,), without axis 0"),
    (lambda: tg.cross_entropy(Z, T, axis=2), ValueError, "the logits have no axis 2"),
    (lambda: tg.cross_entropy(Z, Z[0]), ValueError,
     "targets are integer class ids, or floating distributions of the logits' shape without ignore_index"),
    (lambda: tg.cross_entropy(Z, Z, ignore_index=0), ValueError, "of the logits' shape without ignore_index"),
    (lambda: tg.cross_entropy(Z, T, label_smoothing=1.5), ValueError, "label_smoothing 1.5 is not between 0 and 1"),
    (lambda: tg.cross_entropy(Z, T, reduction="avg"), ValueError, "reduction 'avg' is not 'mean', 'sum' or 'none'"),
    (lambda: tg.cross_entropy(Z, T, mask=[True] * 3), ValueError,
     "the mask is bool (3,); it must be boolean, of the leading axes of (2,)"),
    (lambda: tg.cross_entropy(Z, T, mask=[1.0, 0.0]), ValueError, "the mask is float32 (2,); it must be boolean"),
    (lambda: tg.mse(Z, Z[0]), ValueError, "mse: (2, 3) float32, (3,) float32; the two must have the same shape"),
    (lambda: tg.bce_with_logits(Z, 1.0), ValueError, "bce_with_logits: (2, 3) float32, () float32; the two must have"),
]  # fmt: skip


@pytest.mark.parametrize("call, kind, message", ERRORS, ids=[message[:60] for *_, message in ERRORS])
def test_an_error_names_the_op_the_shapes_and_the_cause(call: Callable, kind: type, message: str) -> None:
    with pytest.raises(kind, match=re.escape(message)):
        call()


PLACED: list[Callable[[], Any]] = [
    lambda: X[7],
    lambda: X[IDS],
    lambda: X[1:"a"],
    lambda: X.at[IDS].add(1.0),
    lambda: X.at[[0, 0]].set(1.0),
    lambda: tg.embedding(X, IDS),
    lambda: tg.take(X, IDS, 2),
    lambda: tg.pad(X, -1),
    lambda: tg.einsum("ij,jk", X, X),
    lambda: tg.causal_conv1d(SERIES, X[0]),
    lambda: tg.cross_entropy(Z, T + 1),
    lambda: tg.cross_entropy(Z, IDS[0]),
    lambda: tg.mse(Z, Z[0]),
]


@pytest.mark.parametrize("call", PLACED)
def test_an_error_names_the_place(call: Callable) -> None:
    with tg.scope("cell", "decoder"), tg.scope("time", index=3), pytest.raises(Exception, match=" at decoder/t=3: "):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x[T],
        lambda x: x.at[T].add(1.0),
        lambda x: tg.embedding(x, T),
        lambda x: tg.cross_entropy(x, np.zeros(4, int)),
        lambda x: tg.einsum("ij,j->i", x, np.ones(3, np.float32)),
    ],
    ids=["gather", "index_add", "embedding", "cross_entropy", "einsum"],
)
def test_indices_and_operands_of_another_device_are_refused(call: Callable) -> None:
    with pytest.raises((TypeError, ValueError), match=r"live on different devices .*; move one with \.to\(device\)"):
        call(tg.zeros((4, 3), device="strict"))


def test_ids_out_of_range_are_refused_on_other_devices_too(device: str) -> None:
    ids = tg.tensor(IDS, device=device)
    for call in (
        lambda: tg.embedding(X.to(device), ids),
        lambda: tg.one_hot(ids, classes=7),
        lambda: tg.cross_entropy(Z.to(device), ids),
    ):
        with pytest.raises(IndexError, match="id 7 is out of range"):
            call()


def test_tensors_are_not_written_in_place() -> None:
    with pytest.raises(TypeError, match=r"use y = x\.at\[index\]\.set\(value\), or \.add\(value\)"):
        tg.zeros((3,))[0] = 1.0  # type: ignore[index]
