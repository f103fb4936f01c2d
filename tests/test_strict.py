"""The device "strict" refuses what CuPy refuses and computes what NumPy computes; packages use names of CuPy only."""

from __future__ import annotations

import ast
import copy
import pickle
from pathlib import Path

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.strict import MISSING, ndarray, xp
from tinygrad_rnn import backend

ROOT = Path(__file__).parent.parent
HOST = np.arange(12.0, dtype=np.float32).reshape(3, 4) - 5


@pytest.fixture
def a() -> ndarray:
    return xp.asarray(HOST)


IMPLICIT = {
    "np.asarray(a)": lambda a: np.asarray(a),
    "np.array([a])": lambda a: np.array([a]),
    "np.tanh(a)": lambda a: np.tanh(a),
    "np.sum(a)": lambda a: np.sum(a),
    "np.concatenate": lambda a: np.concatenate([HOST, a]),
    "np.dot": lambda a: np.dot(HOST, a.T),
    "host.dot": lambda a: HOST.dot(a.T),
    "host[...] = a": lambda a: HOST.copy().__setitem__(..., a),
    "memoryview": lambda a: memoryview(a),
}
MIXED = {
    "a + host": lambda a: a + HOST,
    "host + a": lambda a: HOST + a,
    "host @ a": lambda a: HOST @ a.T,
    "a += host": lambda a: a.__iadd__(HOST),
    "a < host": lambda a: a < HOST,
    "a == host": lambda a: a == HOST,
    "0-d host": lambda a: a * np.array(2.0),
    "xp.add": lambda a: xp.add(a, HOST),
    "xp.where": lambda a: xp.where(a > 0, a, HOST),
    "xp.concatenate": lambda a: xp.concatenate([a, HOST]),
    "xp.einsum": lambda a: xp.einsum("ij,kj->ik", a, HOST),
    "a.dot": lambda a: a.dot(HOST.T),
    "host out": lambda a: xp.add(a, a, out=HOST.copy()),
    "a[host]": lambda a: a[np.array([0, 1])],
    "a[:, host]": lambda a: a[:, np.array([True, False, True, False])],
    "a[list]": lambda a: a[[0, 1]],
    "a[0] = host": lambda a: a.__setitem__(0, HOST[0]),
    "a[0] = list": lambda a: a.__setitem__(0, [1.0, 2.0, 3.0, 4.0]),
    "list to a ufunc": lambda a: xp.add(a, [1.0, 2.0, 3.0, 4.0]),
    "no device array": lambda a: xp.sum([1.0, 2.0]),
    "only host arrays": lambda a: xp.sum(HOST),
}
KEYWORDS = {
    "where": lambda a: xp.sum(a, where=a > 0),
    "ufunc where": lambda a: xp.add(a, a, where=a > 0),
    "method where": lambda a: a.sum(where=a > 0),
    "initial": lambda a: a.max(initial=0.0),
    "correction": lambda a: xp.var(a, correction=1),
    "like": lambda a: xp.zeros(3, like=a),
    "int from a 0-d array": lambda a: range(a.astype("int32")[0, 0]),
}
NAMES = {
    "xp.errstate": lambda a: xp.errstate,
    "xp.vecdot": lambda a: xp.vecdot,
    "xp.linalg.vector_norm": lambda a: xp.linalg.vector_norm,
    "xp.random": lambda a: xp.random.normal(),
    "setflags": lambda a: a.setflags(write=False),
    "flags.writeable": lambda a: a.flags.writeable,
    "__array_interface__": lambda a: a.__array_interface__,
    "__array_namespace__": lambda a: a.__array_namespace__(),
    "data": lambda a: a.data,
}
UNSUPPORTED = {
    "maximum.reduce": lambda a: xp.maximum.reduce(a),
    "multiply.at": lambda a: xp.multiply.at(a, 0, 2.0),
}
DTYPES = {
    "longdouble": lambda a: a.astype("longdouble"),
    "objects": lambda a: xp.asarray([None]),
}
ATOMICS = {"add.at on int64": lambda a: xp.add.at(a.astype("int64"), xp.asarray([0]), 1)}
REFUSED = [
    pytest.param(error, says, call, id=name)
    for error, says, table in [
        (TypeError, "not allowed|was given a device array|does not support ufuncs|bytes-like", IMPLICIT),
        (TypeError, "Unsupported type|an index is|assign a|takes device arrays|was given no device array", MIXED),
        (TypeError, "unexpected keyword|cannot be interpreted as an integer", KEYWORDS),
        (AttributeError, "CuPy has no|has no attribute|random streams differ", NAMES),
        (NotImplementedError, "CuPy has no", UNSUPPORTED),
        (ValueError, "Unsupported dtype", DTYPES),
        (TypeError, "no atomic operation for int64", ATOMICS),
    ]
    for name, call in table.items()
]


@pytest.mark.parametrize(("error", "says", "call"), REFUSED)
def test_what_cupy_refuses_is_refused(a: ndarray, error: type[Exception], says: str, call) -> None:
    with pytest.raises(error, match=says):
        call(a)


COMPUTED = {
    "operators": lambda xp, a: (-a + 2 * a / 3 - a**2) @ abs(a).T,
    "reflected": lambda xp, a: 1 - (2.0 / (a + 20)) + np.float32(3) * a,
    "comparisons": lambda xp, a: (a > 0) & (a <= 3) | ~(a != 1),
    "integers": lambda xp, a: (a.astype("int64") // 2 % 3) << 1,
    "reduction": lambda xp, a: a.sum(axis=1, keepdims=True),
    "0-d": lambda xp, a: a.mean(),
    "argmax": lambda xp, a: xp.argmax(a),
    "method of shape": lambda xp, a: a.reshape(2, 6).T.swapaxes(0, 1).ravel(),
    "ufunc": lambda xp, a: xp.tanh(a) + xp.log1p(xp.abs(a)),
    "ufunc of a scalar": lambda xp, a: xp.maximum(a, 0),
    "where": lambda xp, a: xp.where(a > 0, a, 0.0),
    "einsum": lambda xp, a: xp.einsum("ij,kj->ik", a, a),
    "concatenate": lambda xp, a: xp.concatenate([a, a[:1]], axis=0),
    "stack of split": lambda xp, a: xp.stack(xp.split(a, 2, axis=1)),
    "linalg": lambda xp, a: xp.linalg.norm(a) + xp.linalg.qr(a)[1],
    "fft": lambda xp, a: xp.fft.rfft(a),
    "slices": lambda xp, a: a[..., None, 1:3, ::-1],
    "one place": lambda xp, a: a[1, -2],
    "gather": lambda xp, a: a[xp.asarray([2, 0, 2]), :2],
    "gather twice": lambda xp, a: a[xp.asarray([[0], [2]]), xp.asarray([1, 3])],
    "gather after ...": lambda xp, a: a[..., xp.asarray([1, 0])],
    "mask": lambda xp, a: a[a > 0],
    "mask of rows": lambda xp, a: a[a[:, 0] > -3, 1:],
    "take": lambda xp, a: xp.take(a, xp.asarray([1, 0]), axis=1) + a.take(xp.asarray([1, 0]), axis=1),
    "take_along_axis": lambda xp, a: xp.take_along_axis(a, xp.argsort(-a, axis=0), axis=0),
    "flat take_along_axis": lambda xp, a: xp.take_along_axis(a, xp.asarray([3, 1]), None),
    "sort": lambda xp, a: xp.sort(-a, axis=None),
    "create": lambda xp, a: xp.arange(4, dtype=a.dtype) + xp.zeros_like(a) + xp.full((3, 1), 2, dtype=a.dtype),
    "outer, accumulate": lambda xp, a: xp.multiply.outer(a[0], xp.add.accumulate(a[0])),
    "allclose": lambda xp, a: xp.allclose(a, a),
    "complex": lambda xp, a: (a + 2j * a).conj().imag,
    "contiguous": lambda xp, a: xp.ascontiguousarray(a.T),
    "divide by zero": lambda xp, a: a / (a * 0),
    "rows": lambda xp, a: xp.stack(list(a)[::-1]),
    "unique": lambda xp, a: xp.unique(a > 0),
}


@pytest.mark.parametrize("compute", COMPUTED.values(), ids=COMPUTED)
@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")  # NumPy's; the strict device raises none
def test_what_cupy_computes_is_what_numpy_computes(a: ndarray, compute) -> None:
    expected, result = np.asarray(compute(np, HOST)), compute(xp, a)
    assert type(result) is ndarray
    assert (result.dtype, result.shape) == (expected.dtype, expected.shape)
    np.testing.assert_array_equal(result.get(), expected)


def test_the_strict_device_raises_no_floating_point_warnings(a: ndarray, recwarn: pytest.WarningsRecorder) -> None:
    assert np.isnan((a * 0 / 0).get()).all()
    assert not recwarn.list


WRITES = {
    "slice": lambda xp, a: a.__setitem__((slice(None), slice(1, 3)), 7.0),
    "places": lambda xp, a: a.__setitem__(xp.asarray([2, 0]), a[:2] * 2),
    "mask": lambda xp, a: a.__setitem__(a > 0, -1.0),
    "duplicates of one value": lambda xp, a: a.__setitem__(xp.asarray([1, 1]), 3.0),
    "put_along_axis": lambda xp, a: xp.put_along_axis(a, xp.asarray([[1], [0], [3]]), a[:, :1], axis=1),
    "add.at": lambda xp, a: xp.add.at(a, xp.asarray([1, 1, 0]), a[0]),
    "maximum.at": lambda xp, a: xp.maximum.at(a, (xp.asarray([1, 1]), 2), xp.asarray([9.0, 8.0])),
    "out=": lambda xp, a: xp.tanh(a, out=a),
    "in place": lambda xp, a: a.__iadd__(a * 2).__imul__(0.5),
    "through a view": lambda xp, a: a.T[0].__isub__(1.0),
    "fill": lambda xp, a: a[1].fill(3.0),
    "sort": lambda xp, a: a[1].sort(),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_writes_in_place_do_what_they_do_in_numpy(a: ndarray, write) -> None:
    expected = HOST.copy()
    write(np, expected)
    write(xp, a)
    np.testing.assert_array_equal(a.get(), expected)
    assert not np.shares_memory(a.get(), HOST)


def test_out_is_what_comes_back(a: ndarray) -> None:
    out = xp.empty((3, 4), dtype=a.dtype)
    assert xp.add(a, a, out=out) is out
    b = a
    b += 1
    assert b is a


def test_a_duplicate_in_an_assignment_of_values_raises(a: ndarray) -> None:
    with pytest.raises(ValueError, match="duplicate"):
        a[xp.asarray([0, 3])] = a[:2]  # 3 wraps to 0
    with pytest.raises(ValueError, match="duplicate"):
        xp.put_along_axis(a, xp.asarray([[1, 1]] * 3), a[:, :2], axis=1)


@pytest.mark.parametrize(
    "take",
    [
        lambda a, i: a[i],
        lambda a, i: xp.take(a, i, axis=0),
        lambda a, i: a.take(i, axis=0),
        lambda a, i: xp.take_along_axis(a, xp.stack([i] * 4, axis=1), axis=0),
    ],
    ids=["a[i]", "take", "method take", "take_along_axis"],
)
def test_index_arrays_out_of_range_wrap_silently(a: ndarray, take) -> None:
    np.testing.assert_array_equal(take(a, xp.asarray([3, -4, 7])).get(), HOST[[0, 2, 1]])


def test_a_0d_result_stays_on_the_device_until_asked_for(a: ndarray) -> None:
    total = a.sum()
    assert type(total) is ndarray
    assert type(total * 2.0) is ndarray
    assert (float(total), int(total), bool(total), total.item(), f"{total:.1f}") == (6.0, 6, True, 6.0, "6.0")


def test_python_scalars_are_weak_and_numpy_scalars_are_not(a: ndarray) -> None:
    assert (a.sum() * 2.0).dtype == np.float32
    assert (a * np.float64(2)).dtype == np.float64


def test_copies_are_independent(a: ndarray) -> None:
    for b in (copy.deepcopy(a), pickle.loads(pickle.dumps(a)), a.copy(), xp.array(a), xp.asarray(HOST)):
        b[0] = 99.0
    np.testing.assert_array_equal(a.get(), HOST)


def test_the_engine_knows_the_device() -> None:
    x = tg.tensor(HOST, device="strict")
    assert type(x.data) is ndarray
    assert (x.device, backend.namespace(x.data)) == ("strict", xp)
    np.testing.assert_array_equal(x.numpy(), HOST)


# Every xp.<name> that the packages use must be a name of CuPy.


def chain(node: ast.AST) -> str | None:
    """"xp.linalg.norm" for that expression; None for what doesn't start at a name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = chain(node.value)
        return before and f"{before}.{node.attr}"
    return None


def names_in_use() -> dict[str, str]:
    """xp.<name> → one place that uses it, over the sources of the three packages."""
    found = {}
    for package in ("tinygrad_rnn", "zoo", "viz"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(), str(path))):
                if isinstance(node, ast.Attribute) and (name := chain(node)) and name.startswith("xp."):
                    found[name] = f"{path.relative_to(ROOT)}:{node.lineno}"
    return found


def test_no_package_uses_a_name_that_cupy_lacks() -> None:
    missing = {f"xp.{n}" for n in MISSING["xp"]} | {f"xp.linalg.{n}" for n in MISSING["linalg"]} | {"xp.random"}
    used = names_in_use()
    assert len(used) > 10, "the search found next to nothing: is the namespace still called xp?"
    assert {name: place for name, place in used.items() if name in missing} == {}


def test_cupy_has_every_name_in_use() -> None:
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed, so its names cannot be compared")

    def has(name: str) -> bool:
        where = cupy
        for part in name.split(".")[1:]:
            if not hasattr(where, part):
                return False
            where = getattr(where, part)
        return True

    assert {name: place for name, place in names_in_use().items() if not has(name)} == {}


@pytest.mark.parametrize("module", ["", "linalg", "ndarray"])
def test_cupy_lacks_the_names_listed_as_missing(module: str) -> None:
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed, so its names cannot be compared")
    where = getattr(cupy, module) if module else cupy
    assert [name for name in MISSING[module or "xp"] if hasattr(where, name)] == []
