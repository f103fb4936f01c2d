"""The elementwise ops as machine code: every formula against the op's own NumPy, on every width of vector."""

import ctypes
from functools import lru_cache

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.ops import activation, elementwise

pytest.importorskip("llvmlite", reason="machine code is made by llvmlite")
from llvmlite import ir

from tinygrad_rnn.scan.native import machine
from tinygrad_rnn.scan.native.functions import EMITTERS, MASK_EMITTERS, emit, supports
from tinygrad_rnn.scan.native.lanes import INT, PTR, Lanes, repeat
from tinygrad_rnn.scan.native.vectors import constant

WIDTHS = [("float32", 4), ("float32", 8), ("float32", 16), ("float64", 2), ("float64", 4), ("float64", 8)]
TWO = (
    "add sub mul div pow maximum minimum equal not_equal less less_equal greater greater_equal logical_and logical_or"
).split()
PARAMS = {"clip": {"min": -0.5, "max": 2.0}, "leaky_relu": {"negative_slope": 0.1}, "elu": {"alpha": 1.5}}
# Units in the last place of float32, against the op in float64; what is not named is rounded correctly.
ULPS = {
    "cos": 1, "sin": 1, "pow": 1, "exp": 0.95, "expm1": 1.5, "log": 0.9, "log1p": 1.4, "tanh": 2.4, "erf": 3.1,
    "sigmoid": 4.5, "silu": 5.4, "softplus": 2, "elu": 2, "leaky_relu": 1, "hard_sigmoid": 1,
}  # fmt: skip
FLUSHED = {"exp": 1.7e-38, "sigmoid": 1.7e-38, "silu": 1.7e-36, "softplus": 1.7e-38}  # what is smaller may be 0
TIES = {"maximum", "minimum", "relu", "elu", "clip"}  # which zero is the larger is nobody's rule
SPECIAL = [0.0, 1e-310, 1e-41, 1e-30, 0.5, 1.0, 2.0, 3.5, 88.8, 1e6, 3e38, 1e300, np.inf]
SPECIAL = [*SPECIAL, *(-x for x in SPECIAL), np.nan]


def _arguments(name: str) -> str:
    """x for a real argument, m for a mask."""
    return "mxx" if name == "where" else "xx" if name in TWO else "x"


def _define(module, lanes, name, arguments, body):
    """A function that applies ``body`` to arrays, all of them of the real dtype, masks as 0 and 1."""
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [PTR, PTR, PTR, INT, INT]), name)
    b = ir.IRBuilder(function.append_basic_block())
    pointers, _, _, first, last = function.args
    arrays = [b.load(b.gep(pointers, [INT(i)], source_etype=PTR), typ=PTR) for i in range(len(arguments) + 1)]
    with repeat(b, first, last, INT(lanes.width)) as i:
        values = [lanes.load(b, lanes.at(b, a, i)) for a in arrays[1:]]
        masks = [b.fcmp_unordered("!=", v, lanes.zero()) if k == "m" else v for v, k in zip(values, arguments)]
        out = body(b, masks)
        out = out if out.type == lanes.vector else b.uitofp(out, lanes.vector)
        lanes.store(b, out, lanes.at(b, arrays[0], i))
    b.ret_void()


def _load(module, names, dtype):
    def on_arrays(function):
        def run(*arrays):
            assert all(a.dtype == dtype and a.size % 16 == 0 for a in arrays)
            out = np.empty_like(arrays[0])
            held = [out, *arrays]
            function((ctypes.c_void_p * len(held))(*(a.ctypes.data for a in held)), None, None, 0, out.size)
            return out

        return run

    return dict(zip(names, map(on_arrays, machine.load(machine.build(str(module)), names))))


@lru_cache
def compiled(dtype, width):
    """All real ops in one module: name -> function of arrays."""
    module, lanes = ir.Module(), Lanes(dtype, width, 16)
    names = [f"op_{name}" for name in EMITTERS]  # exp is libm's
    for name, op in zip(names, EMITTERS):
        _define(module, lanes, name, _arguments(op), lambda b, v, op=op: emit(op, b, v, PARAMS.get(op, {})))
    return dict(zip(EMITTERS, _load(module, names, dtype).values()))


def one(dtype, width, arguments, body):
    """One formula as a function of arrays, and the text of its module."""
    module = ir.Module()
    _define(module, Lanes(dtype, width, 16), "one", arguments, body)
    return _load(module, ["one"], dtype)["one"], str(module)


@lru_cache
def samples(dtype, arguments):
    """Dense on the ranges where functions bend, over all exponents, and every pairing of special values."""
    rng = np.random.default_rng(len(arguments))
    special = np.array(np.meshgrid(*[SPECIAL] * len(arguments))).reshape(len(arguments), -1)
    largest = 88 if dtype == "float32" else 700
    columns = []
    for k, values in zip(arguments, special):
        ranges = [np.linspace(-r, r, 4001) for r in (0.01, 1, 10, 105)] if len(arguments) == 1 else []
        anywhere = rng.normal(size=1000) * 3, np.exp(rng.uniform(-largest, largest, 1000)) * rng.choice([-1, 1], 1000)
        column = np.concatenate([values, *ranges, *anywhere])
        column = (column > 0.0) if k == "m" else column
        with np.errstate(over="ignore"):
            columns.append(np.resize(column, -(-column.size // 16) * 16).astype(dtype))
    return columns


def reference(name, *arrays):
    """What the op gives on arrays of this precision."""
    if name == "where":
        arrays = (arrays[0] != 0, *arrays[1:])
    if name in ("sigmoid", "silu") and arrays[0].dtype == np.float64:  # without the op's cancellation for x << 0
        x = arrays[0]
        return np.where(x < 0, np.exp(np.minimum(x, 0)), 1) / (1 + np.exp(-np.abs(x))) * (1 if name == "sigmoid" else x)
    return np.asarray(getattr(tg, name)(*arrays, **PARAMS.get(name, {})), arrays[-1].dtype)


def tolerance(name, want, x):
    """How far from the exact value a result may lie, as float64."""
    size, precision = np.abs(want), np.finfo(want.dtype).eps
    if want.dtype == np.float32:
        bound = ULPS.get(name, 0.501) * np.spacing(size).astype(np.float64) + FLUSHED.get(name, 0)
        return bound + precision / 4 if name == "hard_sigmoid" else bound
    cancelled = {"sigmoid": 1, "hard_sigmoid": 1, "silu": np.clip(np.abs(x), 1, 100)}  # their formulas add ½
    return 1e-14 * size + cancelled.get(name, 0) * precision / 4


@pytest.fixture(autouse=True)
def quiet():
    with np.errstate(all="ignore"):
        yield


def test_every_elementwise_op_has_a_formula():
    assert set(EMITTERS) == {*elementwise.__all__, *activation.__all__, "erf"}


@pytest.mark.parametrize("name", EMITTERS)
@pytest.mark.parametrize(("dtype", "width"), WIDTHS)
def test_an_op_is_what_numpy_makes_of_it(name, dtype, width):
    arrays = samples(dtype, _arguments(name))
    got = compiled(dtype, width)[name](*arrays)
    exact = reference(name, *(a.astype(np.float64) for a in arrays))
    want = exact.astype(dtype)
    bound = tolerance(name, want, arrays[0])
    finite = np.isfinite(want)
    np.testing.assert_array_equal(got[~finite], want[~finite])  # the same infinities, and NaN for NaN
    got, want, exact, bound = got[finite], want[finite], exact[finite], bound[finite]
    error = np.abs(got - exact)
    worst = np.argmax(error / np.where(bound > 0, bound, 1))
    assert (error <= bound).all(), f"{name}: {got[worst]!r} for {want[worst]!r}"
    if name not in TIES | {"silu"}:
        zero = (want == 0) & (got == 0)
        np.testing.assert_array_equal(np.signbit(got[zero]), np.signbit(want[zero]))


@pytest.mark.parametrize("width", [4, 8, 16])
@pytest.mark.parametrize("name", ["tanh", "erf"])
def test_a_saturating_function_is_odd_to_the_bit_and_never_beyond_one(name, width):
    function = compiled("float32", width)[name]
    x = np.linspace(0, 12, 1 << 16, dtype=np.float32)
    y = function(x)
    np.testing.assert_array_equal(function(-x), -y)
    assert y.max() == 1 and (y[x >= 9.1] == 1).all() and y.min() == 0


def test_sigmoid_stays_between_zero_and_one_and_reaches_both():
    y = compiled("float32", 16)["sigmoid"](np.linspace(-120, 120, 1 << 16, dtype=np.float32))
    assert y.min() == y[0] == 0 and y.max() == y[-1] == 1


def test_the_tails_of_exp_are_monotone_zero_and_infinity():
    exp = compiled("float32", 16)["exp"]
    low, high = np.linspace(-110, -86, 1 << 12, dtype=np.float32), np.linspace(88, 95, 1 << 12, dtype=np.float32)
    for x in (low, high):
        assert (np.diff(exp(x)[np.isfinite(exp(x))]) >= 0).all()
    assert (exp(low)[low < -87.1] == 0).all() and (exp(low)[low > -86.9] > 0).all()
    assert (np.isinf(exp(high)) == (high > np.log(np.finfo(np.float32).max))).all()


@pytest.mark.parametrize("name", PARAMS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_parameter_may_be_a_vector(name, dtype):
    lanes = Lanes(dtype, 4, 16)
    (x,) = samples(dtype, "x")
    parameters = np.array([*PARAMS[name].values(), 0][:2], dtype)

    def body(b, v):
        filled = [b.shuffle_vector(v[1], v[1], ir.Constant(ir.VectorType(ir.IntType(32), 4), [i] * 4)) for i in (0, 1)]
        assert filled[0].type == lanes.vector
        return emit(name, b, v[:1], dict(zip(PARAMS[name], filled)))

    function, _ = one(dtype, 4, "xx", body)
    np.testing.assert_array_equal(function(x, np.resize(parameters, x.size)), compiled(dtype, 4)[name](x))


@pytest.mark.parametrize("bounds", [{"min": -0.5}, {"max": 2.0}, {"min": None, "max": 2.0}, {}, {"min": np.nan}])
def test_clip_does_without_a_bound(bounds):
    (x,) = samples("float32", "x")
    function, _ = one("float32", 8, "x", lambda b, v: emit("clip", b, v, bounds))
    np.testing.assert_array_equal(function(x), np.clip(x, bounds.get("min"), bounds.get("max")) if bounds else x)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("exponent", [-1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0])
def test_a_known_exponent_needs_no_library(dtype, exponent):
    x = np.resize(np.concatenate([np.linspace(0.01, 30, 1000), [0.0, np.inf, np.nan]]), 1008).astype(dtype)
    function, text = one(dtype, 4, "x", lambda b, v: emit("pow", b, [v[0], constant(v[0].type, exponent)], {}))
    np.testing.assert_allclose(function(x), x**exponent, rtol=4 * np.finfo(dtype).eps)
    assert "@pow" not in text and '@"pow' not in text


def test_a_library_function_enters_a_module_once():
    _, text = one("float64", 4, "x", lambda b, v: emit("tanh", b, [emit("sigmoid", b, v, {})], {}))
    assert text.count("define internal") == 1 and text.count('call <4 x double> @"tanh.v4"') == 2


def test_gates_of_float32_call_nothing():
    for name in ("tanh", "sigmoid", "silu", "softplus", "exp", "expm1", "log", "log1p", "erf", "elu"):
        _, text = one("float32", 8, "x", lambda b, v, n=name: emit(n, b, v, {}))
        assert all("@\"llvm." in line for line in text.splitlines() if " call " in line), name


@pytest.mark.parametrize("name", MASK_EMITTERS)
@pytest.mark.parametrize("width", [4, 16])
def test_masks_follow_numpys_booleans(name, width):
    count = 3 if name == "where" else 2 if name in TWO else 1
    arrays = [np.resize(m.ravel(), 16) for m in np.meshgrid(*[[False, True]] * count)]
    function, _ = one("float32", width, "m" * count, lambda b, v: emit(name, b, v, {}))
    want = getattr(tg, name)(*arrays)
    np.testing.assert_array_equal(function(*(a.astype(np.float32) for a in arrays)), want)


@pytest.mark.parametrize("name", ["add", "sub", "mul", "maximum", "less", "equal"])
@pytest.mark.parametrize("order", ["mx", "xm"])
def test_a_mask_beside_numbers_counts_as_zero_and_one(name, order):
    x = np.resize(np.array([-1, 0, 0.5, 1, 2, np.nan], np.float32), 48)
    mask = np.resize(np.array([False] * 6 + [True] * 6), 48)
    arrays = [mask if k == "m" else x for k in order]
    function, _ = one("float32", 8, order, lambda b, v: emit(name, b, v, {}))
    np.testing.assert_array_equal(function(*(a.astype(np.float32) for a in arrays)), getattr(tg, name)(*arrays))


def test_supports_says_which_dtypes_have_a_formula():
    assert all(supports(name, dtype) for name in EMITTERS for dtype in ("float32", np.float64))
    assert supports("where", bool) and supports("less", np.bool_) and not supports("tanh", bool)
    assert not supports("matmul", "float32") and not supports("add", "complex64") and not supports("add", "int64")
