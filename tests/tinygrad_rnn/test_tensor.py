"""Tensor: making one, its dtype and device, what it refuses."""

import copy
import pickle

import numpy as np
import pytest

import tinygrad_rnn as tg


def test_python_floats_become_float32_and_arrays_keep_their_dtype():
    assert tg.tensor(1.5).dtype == np.float32
    assert tg.tensor([[1, 2], [3, 4]]).dtype == np.int64
    assert tg.tensor([1j]).dtype == np.complex64
    assert tg.tensor(np.zeros(2)).dtype == np.float64
    assert tg.tensor([1, 2], dtype="float16").dtype == np.float16


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "complex64", "complex128"])
def test_python_scalars_never_change_the_dtype(dtype):
    x = tg.tensor(np.ones(3, dtype), requires_grad=True)
    y = 2 * x + 1.0 - x / 3 + x**2
    assert y.dtype == dtype
    tg.abs(y).sum().backward()
    assert x.grad.dtype == dtype


def test_zero_dimensional_results_stay_arrays_of_their_dtype():
    x = tg.tensor(np.float32(2.0))
    y = tg.tanh(x) * 2.0
    assert isinstance(y.data, np.ndarray) and y.shape == () and y.dtype == np.float32


def test_an_array_on_the_left_is_left_to_the_tensor():
    y = np.ones(3) * tg.tensor(np.full(3, 2.0), requires_grad=True)
    assert isinstance(y, tg.Tensor) and y.requires_grad and y.tolist() == [2, 2, 2]


def test_comparisons_are_entry_by_entry_and_tensors_stay_hashable():
    x = tg.tensor([1.0, 2.0])
    assert (x == tg.tensor([1.0, 3.0])).tolist() == [True, False]
    assert len({x, x}) == 1


def test_iteration_yields_slices():
    assert [row.tolist() for row in tg.tensor([[1, 2], [3, 4]])] == [[1, 2], [3, 4]]


def test_dlpack_shares_memory_both_ways():
    torch = pytest.importorskip("torch", reason="the oracle extra is not installed")
    x = tg.tensor(np.arange(3.0))
    theirs = torch.from_dlpack(x)
    theirs[0] = 7
    assert x.tolist() == [7, 1, 2]
    back = tg.from_dlpack(theirs)
    theirs[1] = 8
    assert type(back) is tg.Tensor and back.tolist() == [7, 8, 2]


def test_moving_to_a_device_is_differentiable_and_back_again(device):
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    y = (x.to(device) * 3).to("cpu")
    assert x.to(device).device == device and y.device == "cpu"
    y.backward(np.ones(2))
    assert x.grad.tolist() == [3, 3] and x.grad.device == "cpu"
    assert x.to("cpu") is x


def test_a_detached_tensor_is_an_array_again_and_may_become_a_leaf():
    x = tg.detach(tg.tensor([1.0, 2.0], requires_grad=True) * 2)
    assert np.asarray(x).tolist() == [2, 4] and "requires_grad" not in repr(x)
    x.requires_grad = True
    (x * x).sum().backward()
    assert x.grad.tolist() == [4, 8]


def test_numpy_numbers_have_the_weight_that_numpy_gives_them():
    x = np.ones(2, "float32")
    for number in (2.0, np.float32(2), np.float64(2)):
        assert (number * tg.tensor(x)).dtype == (tg.tensor(x) * number).dtype == (number * x).dtype


def test_a_whole_number_counts_and_indexes_on_every_device(device):
    n = tg.tensor(2, device=device)
    assert list(range(n)) == [0, 1] and "abc"[n] == "c"


def test_a_tensor_of_one_entry_is_printed_as_its_number():
    loss = tg.tensor(0.12345, requires_grad=True) * 1
    assert f"{loss:.3f}" == "0.123" and f"{tg.tensor(7):>3}" == "  7"
    assert f"{loss}" == str(loss)


def test_integers_and_booleans_pass_no_gradient():
    x = tg.tensor([1.5, -2.5], requires_grad=True)
    whole, sign = x.astype("int64"), x.astype(bool)
    assert not whole.requires_grad and not sign.requires_grad
    (whole * 2.7 + sign + x).sum().backward()
    assert x.grad.tolist() == [1, 1]


def test_leaves_copy_and_pickle():
    x = tg.tensor([1.0, 2.0], requires_grad=True, name="w")
    for twin in (copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert twin.requires_grad and twin.name == "w" and twin.tolist() == [1, 2] and twin.data is not x.data


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda x: tg.tensor(["a"]), TypeError, "takes numbers"),
        (lambda x: tg.tensor(np.array(["a"])), TypeError, "takes numbers, not an array of dtype <U1"),
        (lambda x: x.__dlpack__(), BufferError, r"tg\.detach\(x\)"),
        (lambda x: tg.tensor([1, 2], requires_grad=True), TypeError, "needs a floating or complex dtype, not int64"),
        (lambda x: x.__setitem__(0, 1.0), TypeError, r"x\.at\[index\]\.set\(value\)"),
        (lambda x: np.asarray(x), TypeError, r"use x\.numpy\(\)"),
        (lambda x: x.item(), ValueError, r"one entry, this Tensor has shape \(2,\)"),
        (lambda x: bool(x > 1), ValueError, r"\(2,\) is neither true nor false; .*\.any\(\) or \.all\(\)"),
        (lambda x: f"{x:.3f}", ValueError, r"one entry, this Tensor has shape \(2,\)"),
        (lambda x: copy.deepcopy(x * 2), TypeError, "only leaves"),
        (lambda x: x + np.ones(3), ValueError, r"add: \(2,\) float32, \(3,\) float64"),
        (lambda x: x @ np.ones((3, 4)), ValueError, "matmul: .*inner sizes 2 and 3 differ"),
        (lambda x: x.to(0), TypeError, "device 0 is not a name; use 'cpu'"),
        (lambda x: tg.from_dlpack([1.0]), TypeError, r"list does not speak DLPack; wrap it: tg\.tensor"),
        (lambda x: x.to("tpu"), ValueError, "unknown device 'tpu'; known: cpu"),
        (lambda x: setattr(x * 2, "requires_grad", False), ValueError, r"tg\.detach"),
        (lambda x: tg.tanh([1, 2]), TypeError, r"wrap it: tg\.tensor"),
        (lambda x: tg.Tensor([1.0]), TypeError, r"wraps an array, not list; make one: tg\.tensor"),
        (lambda x: range(tg.tensor(1.5)), TypeError, "'float' object cannot be interpreted as an integer"),
    ],
)
def test_misuse_is_explained(call, kind, message):
    with pytest.raises(kind, match=message):
        call(tg.tensor([1.0, 2.0], requires_grad=True))


def test_an_error_names_the_scope():
    with (
        tg.scope("module", "decoder"),
        tg.scope("time", index=3),
        pytest.raises(ValueError, match=r"matmul at decoder/t=3: \(8, 20\) float64, \(32, 64\) float64; inner sizes"),
    ):
        tg.tensor(np.ones((8, 20))) @ tg.tensor(np.ones((32, 64)))


def test_mixing_devices_is_refused_with_the_way_out():
    with pytest.raises((TypeError, ValueError), match=r"different devices .*move one with \.to\(device\)"):
        tg.tensor([1.0]) * tg.tensor([1.0], device="strict")
