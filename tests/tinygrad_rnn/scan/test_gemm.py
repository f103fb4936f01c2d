"""The matrix products in machine code: right to the last remainder, on every width, and never outside their arrays."""

import ctypes
import itertools
import mmap
import sys

import numpy as np
import pytest

pytest.importorskip("llvmlite", reason="machine code is made by llvmlite")

from tinygrad_rnn.scan.native.lanes import Lanes
from tinygrad_rnn.scan.native.products import ACCUMULATE, BIAS, OVERWRITE, Products, aligned, products

HOSTS = [Lanes.host("float32"), Lanes.host("float64")]
NARROWER = [Lanes("float32", 8, 16), Lanes("float64", 4, 16), Lanes("float32", 4, 32), Lanes("float64", 2, 32)]
ALL = list(dict.fromkeys(HOSTS + NARROWER))
BUILT: dict[Lanes, Products] = {}


def the(lanes: Lanes) -> Products:
    if lanes not in BUILT:
        BUILT[lanes] = Products(lanes)
    return BUILT[lanes]


@pytest.fixture(params=ALL, ids=lambda lanes: f"{lanes.dtype}-{lanes.width}x{lanes.registers}")
def p(request) -> Products:
    return the(request.param)


def normal(p: Products, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(p.dtype)


def framed(p: Products, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """A matrix of the value 7 inside a larger one, and the larger one."""
    whole = np.full((rows + 2, columns + 2 * p.columns + 3), 7, p.dtype)
    return whole[1:-1, p.columns : p.columns + columns], whole


def fenced(x: np.ndarray, *, front: bool) -> np.ndarray:
    """A copy whose first byte (front), or last, lies beside a page that cannot be touched."""
    page, size = mmap.PAGESIZE, max(x.nbytes, 1)
    room = (size + page - 1) // page * page
    region = mmap.mmap(-1, room + 2 * page)
    start = ctypes.addressof(ctypes.c_char.from_buffer(region))
    protect = ctypes.CDLL(None).mprotect
    protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    assert protect(start, page, 0) == 0 and protect(start + page + room, page, 0) == 0
    copy = np.frombuffer(region, x.dtype, x.size, page if front else page + room - x.nbytes).reshape(x.shape)
    copy[...] = x
    return copy


def assert_is_product(c: np.ndarray, a: np.ndarray, b: np.ndarray, base: np.ndarray | float = 0.0) -> None:
    """Within the bound of any order of summation: (K + 1) ε (|A| |B| + |base|) (Higham 2002, §3.1)."""
    wide = np.longdouble
    exact = a.astype(wide) @ b.astype(wide) + base
    bound = (a.shape[1] + 1) * np.finfo(c.dtype).eps * (np.abs(a).astype(wide) @ np.abs(b).astype(wide) + np.abs(base))
    assert (np.abs(c - exact) <= bound).all()


ROWS, DEPTHS, COLUMNS = (1, 2, 3, 7, 8, 13, 33), (0, 1, 5, 33, 70), (1, 2, 15, 16, 17, 32, 33, 100, 129)


def test_a_packed_matrix_is_its_panels_one_after_the_other_whatever_its_strides(p):
    for K, N in itertools.product((1, 3, 16, 17, 40), COLUMNS):
        b = normal(p, K, N)
        panels = -(-N // p.columns)
        filled = np.zeros((K, panels * p.columns), p.dtype)
        filled[:, :N] = b
        wanted = filled.reshape(K, panels, p.columns).transpose(1, 0, 2).ravel()
        scattered = np.full((2 * K, 3 * N), np.nan, p.dtype)
        scattered[::2, ::3] = b
        inside = np.full((K + 2, N + 5), np.nan, p.dtype)
        inside[1:-1, 3:-2] = b
        forms = b, np.asfortranarray(b), inside[1:-1, 3:-2], scattered[::2, ::3], b[::-1].copy()[::-1]
        for form in forms:
            np.testing.assert_array_equal(p.pack(form), wanted, err_msg=f"{K, N} {form.strides}")


def test_a_product_is_the_product_for_every_remainder_of_rows_and_columns(p):
    for M, K, N in itertools.product(ROWS, DEPTHS, COLUMNS):
        a, b = normal(p, M, K), normal(p, K, N)
        assert_is_product(p.product(a, p.pack(b), N), a, b)


@pytest.mark.parametrize("mode", [OVERWRITE, ACCUMULATE, BIAS])
def test_a_product_starts_from_nothing_or_what_is_there_or_a_bias_and_writes_its_own_columns_only(p, mode):
    for M, K, N in itertools.product((1, 3, 6, 9, 20), (0, 7, 40), (1, 16, 31, 75, 128)):
        b, bias = normal(p, K, N), normal(p, N, seed=1)
        a, around = framed(p, M, K)
        around[...] = np.nan
        a[...] = normal(p, M, K)
        c, whole = framed(p, M, N)
        before = whole.copy()
        base = {OVERWRITE: 0.0, ACCUMULATE: c.astype(np.longdouble), BIAS: bias.astype(np.longdouble)}[mode]
        assert p.product(a, p.pack(b), N, c, mode, bias if mode == BIAS else None) is c
        assert_is_product(c, a, b, base)
        c[...] = 7
        np.testing.assert_array_equal(whole, before)


@pytest.mark.parametrize("mode", [OVERWRITE, ACCUMULATE])
def test_a_weight_gradient_is_the_product_of_the_transpose(p, mode):
    tall = p.lanes.registers
    for R, M, N in [*itertools.product((0, 1, 5, 40), (1, 3, 8, 15, tall), (1, 16, 33, 100)), (600, 300, 70)]:
        (a, around), (b, beside) = framed(p, R, M), framed(p, R, N)
        around[...] = beside[...] = np.nan
        a[...], b[...] = normal(p, R, M), normal(p, R, N)
        c, whole = framed(p, M, N)
        before = whole.copy()
        assert p.outer(a, b, c, mode) is c
        assert_is_product(c, a.T, b, 7.0 if mode == ACCUMULATE else 0.0)
        c[...] = 7
        np.testing.assert_array_equal(whole, before)


def test_bits_of_a_row_do_not_depend_on_the_rows_beside_it(p):
    for K, N in (40, 100), (9000, 33):  # the second needs several blocks of rows
        a, packed = normal(p, 29, K), p.pack(normal(p, K, N))
        together = p.product(a, packed, N)
        for cut in (1, 2, 4, 5, 8, 16):
            parts = [p.product(a[i : i + cut], packed, N) for i in range(0, 29, cut)]
            np.testing.assert_array_equal(np.concatenate(parts), together)


def test_bits_of_a_weight_gradient_do_not_depend_on_where_its_columns_are_cut(p):
    a, b = normal(p, 700, 37), normal(p, 700, 5 * p.columns + 3)
    together = p.outer(a, b)
    for cut in range(0, 6 * p.columns, p.columns):
        parts = np.empty_like(together)
        p.outer(a, b, parts, first=min(cut, b.shape[1]))
        p.outer(a, b, parts, last=min(cut, b.shape[1]))
        np.testing.assert_array_equal(parts, together)


@pytest.mark.parametrize("lanes", NARROWER, ids=str)
def test_vectors_of_every_width_give_the_same_bits(lanes):
    wide, narrow = the(Lanes.host(lanes.dtype)), the(lanes)
    for M, K, N in itertools.product((1, 6, 23), (3, 300), (5, 77)):
        a, b, bias = normal(wide, M, K), normal(wide, K, N), normal(wide, N)
        one, other = (p.product(a, p.pack(b), N, None, BIAS, bias) for p in (wide, narrow))
        np.testing.assert_array_equal(one, other)
        at = np.ascontiguousarray(a.T)
        np.testing.assert_array_equal(wide.outer(at, b), narrow.outer(at, b))


def test_an_infinity_stays_in_its_row_and_a_nan_in_its_column(p):
    a, b = np.ones((9, 5), p.dtype), np.ones((5, 35), p.dtype)
    a[4, 2], b[1, 34] = np.inf, np.nan
    for c in p.product(a, p.pack(b), 35), p.outer(np.ascontiguousarray(a.T), b):
        assert np.isnan(c[:, 34]).all() and np.isposinf(c[4, :34]).all()
        assert (np.delete(c, 4, axis=0)[:, :34] == 5).all()


@pytest.mark.skipif(sys.platform == "win32", reason="pages are fenced off by mprotect")
@pytest.mark.parametrize("front", [True, False], ids=["first byte", "last byte"])
def test_nothing_outside_the_arrays_is_touched(p, front):
    for M, K, N in (1, 1, 1), (3, 5, 7), (9, 33, 65), (17, 20, 128), (8, 300, 30):
        a, b, bias = (fenced(normal(p, *shape), front=front) for shape in ((M, K), (K, N), (N,)))
        packed = fenced(p.pack(b), front=front)
        p.pack(fenced(normal(p, N, K), front=front).T)
        c = fenced(np.empty((M, N), p.dtype), front=front)
        assert_is_product(p.product(a, packed, N, c, BIAS, bias), a, b, bias.astype(np.longdouble))
        at = fenced(np.ascontiguousarray(a.T), front=front)
        assert_is_product(p.outer(at, b, c), a, b)


def test_what_does_not_fit_is_refused_with_its_shapes():
    p = products("float32")
    a, b = np.ones((2, 3), np.float32), np.ones((3, 4), np.float32)
    packed = p.pack(b)
    cases = {
        r"product: a is float64 \(2, 3\)": lambda: p.product(a.astype(float), packed, 4),
        r"product: a is float32 \(3, 2\), strides \(4, 12\)": lambda: p.product(a.T, packed, 4),
        r"is no packed float32 \(3, 400\)": lambda: p.product(a, packed, 400),
        r"product: out is \(3, 3\); mode 0 needs \(2, 4\)": lambda: p.product(a, packed, 4, b[:, :3].copy()),
        r"product: out is None; mode 1 needs \(2, 4\)": lambda: p.product(a, packed, 4, mode=ACCUMULATE),
        r"the bias must be a contiguous float32 \(4,\)": lambda: p.product(a, packed, 4, mode=BIAS),
        r"outer: \(2, 3\)ᵀ @ \(3, 4\), columns 0:4": lambda: p.outer(a, b),
        r"columns 2:9": lambda: p.outer(b, b, first=2, last=9),
    }
    for message, call in cases.items():
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(ValueError, match="dtype 'float16' is neither"):
        Lanes("float16", 8, 16)
    with pytest.raises(ValueError, match="width 6 is not a power of two"):
        Lanes("float32", 6, 16)


def test_products_are_compiled_once_for_a_dtype_and_packed_on_a_cache_line():
    assert products("float32") is products("float32")
    for size in (1, 33, 4096):
        assert products("float64").pack(np.ones((size, 3))).ctypes.data % 64 == 0
        assert aligned(size, np.dtype(np.float32)).shape == (size,)
