"""Indexing as NumPy does it, gradients that are sums over what was read, and what reading many times costs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinygrad_rnn as tg
from tinygrad_rnn import cotangent
from tinygrad_rnn.op import REGISTRY


def check_reading(x: np.ndarray, index: Any) -> None:
    """Value and gradient of x[index], the gradient being the sum of the cotangents of every place read."""
    leaf = tg.tensor(x, requires_grad=True)
    y = leaf[index]
    assert y.shape == x[index].shape and (y.numpy() == x[index]).all()
    g = np.random.default_rng(0).integers(1, 100, y.shape).astype(x.dtype)
    y.backward(g)
    expected = np.zeros_like(x)
    np.add.at(expected, index, g)
    assert (leaf.grad.numpy() == expected).all()


def counting(shape: tuple[int, ...]) -> np.ndarray:
    return np.arange(np.prod(shape, dtype=int), dtype=float).reshape(shape)


SHAPES = hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=4)


@given(data=st.data(), shape=SHAPES)
def test_ints_slices_ellipses_and_new_axes_read_what_numpy_reads(data: st.DataObject, shape: tuple) -> None:
    check_reading(counting(shape), data.draw(hnp.basic_indices(shape, allow_newaxis=True)))


@given(data=st.data(), shape=SHAPES)
def test_integer_arrays_read_what_numpy_reads_however_often(data: st.DataObject, shape: tuple) -> None:
    check_reading(counting(shape), data.draw(hnp.integer_array_indices(shape)))


@given(data=st.data(), shape=SHAPES)
def test_masks_read_what_numpy_reads(data: st.DataObject, shape: tuple) -> None:
    axes = data.draw(st.integers(1, len(shape)))
    check_reading(counting(shape), data.draw(hnp.arrays(bool, shape[:axes])))


@given(data=st.data())
def test_mixtures_read_what_numpy_reads(data: st.DataObject) -> None:
    shape = (3, 4, 2, 3)
    ids = st.sampled_from([np.array([0, 1, 1]), np.array([[0], [-1]]), np.array(1), [1, 0, 1]])
    slices = st.sampled_from([slice(None), slice(1, 2), slice(None, None, -1), 0, -1, np.int64(1)])
    parts = data.draw(st.lists(ids | slices, min_size=1, max_size=4))
    for extra in data.draw(st.sets(st.sampled_from([None, Ellipsis]))):
        parts.insert(data.draw(st.integers(0, len(parts))), extra)
    check_reading(counting(shape), tuple(parts))


class Combined:
    """Counts how the uses of an op's first argument were summed: the number of uses in each sum."""

    def __init__(self, op: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.uses: list[int] = []
        part, combine = REGISTRY[op].deferred[0]

        def counted(xp: Any, parts: list, shape: tuple, dtype: Any) -> Any:
            self.uses.append(len(parts))
            return combine(xp, parts, shape, dtype)

        monkeypatch.setitem(REGISTRY[op].deferred, 0, (part, counted))


def test_reading_a_series_step_by_step_makes_one_gradient_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    combined = Combined("getitem", monkeypatch)
    x = tg.tensor(np.ones((50, 2)), requires_grad=True)
    loss = sum((x[t] * (t + 1.0)).sum() for t in range(50))
    loss.backward()
    assert combined.uses == [50]
    assert (x.grad.numpy() == np.arange(1.0, 51)[:, None]).all()


def test_all_uses_of_an_embedding_are_scattered_together(monkeypatch: pytest.MonkeyPatch) -> None:
    combined = Combined("embedding", monkeypatch)
    table = tg.tensor(np.ones((5, 3)), requires_grad=True)
    ids = np.random.default_rng(0).integers(0, 5, (20, 4))
    loss = sum(tg.embedding(table, ids[t]).sum() for t in range(20))
    loss.backward()
    assert combined.uses == [20]
    assert (table.grad.numpy() == np.bincount(ids.ravel(), minlength=5)[:, None]).all()


def test_summing_early_changes_nothing_and_happens_once_per_size_of_the_series(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cotangent, "CAP", 0)
    combined = Combined("getitem", monkeypatch)
    x = tg.tensor(np.ones((10, 2)), requires_grad=True)
    loss = sum((x[t % 10] * (t + 1.0)).sum() for t in range(40))
    loss.backward()
    assert sum(combined.uses) == 40 and max(combined.uses) == 11 and len(combined.uses) == 4
    assert (x.grad.numpy() == (4 * np.arange(10) + 64)[:, None]).all()


def test_the_message_of_one_read_is_its_own_scatter() -> None:
    x = tg.tensor(np.zeros(3), requires_grad=True)
    messages = []
    (2.0 * x[1] + 3.0 * x[2]).backward(on_message=lambda edge, g: messages.append((edge, g)))
    reads = [g.value().tolist() for edge, g in messages if edge.parent is x.node]
    assert sorted(reads) == [[0, 0, 3], [0, 2, 0]]


def test_a_read_is_a_view_and_a_write_a_copy() -> None:
    x = tg.zeros((3, 2))
    assert np.shares_memory(x[1].data, x.data)
    y = x.at[1].set(1.0)
    assert x.numpy().sum() == 0 and y.numpy().sum() == 2


def test_a_write_is_as_wide_as_what_is_written() -> None:
    x = tg.zeros((2,))
    for write in (x.at[0].set, x.at[0].add, x.at[[0]].add):
        assert write(1.0).dtype == np.float32
        assert write(np.float64(1)).dtype == np.float64
        assert write(tg.tensor(1j)).dtype == np.complex64
    assert tg.tensor([1, 2]).at[0].set(1.5).tolist() == [1.5, 2]
    assert tg.tensor([1, 2]).at[[0, 0]].add(3).tolist() == [7, 2]


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint64"])
def test_small_integers_index_large_arrays(dtype: str) -> None:
    x = tg.tensor(np.zeros((3, 200)), requires_grad=True)
    rows, columns = np.array([2, 1], dtype), np.array([100, 120], dtype)
    x[rows, columns].sum().backward()
    assert np.argwhere(x.grad.numpy()).tolist() == [[1, 120], [2, 100]]


def test_one_hot_rows_are_of_the_dtype_asked_for(device: str) -> None:
    ids = tg.tensor([[1, 0]], device=device)
    assert tg.one_hot(ids, classes=3).dtype == np.float32
    assert tg.one_hot(ids, classes=3, dtype="bool").tolist() == [[[False, True, False], [True, False, False]]]


@pytest.mark.parametrize("shape, ids", [((3, 0), (2,)), ((3, 2), (0, 4))], ids=["no-columns", "no-ids"])
def test_reading_nothing_leaves_a_gradient_of_zeros(shape: tuple, ids: Any, device: str) -> None:
    x = tg.tensor(np.ones(shape), requires_grad=True, device=device)
    ids = tg.tensor(np.zeros(ids, int), device=device)
    (x[ids].sum() + tg.embedding(x, ids).sum() + x.at[ids].add(1.0).sum() * 0).backward()
    assert x.grad.shape == shape and (x.grad.numpy() == 0).all()
