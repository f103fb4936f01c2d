"""NumPy in disguise, with the manners of CuPy: what would fail on a GPU fails here, on any machine.

Importing this module makes the device ``"strict"``: ``tg.tensor(x, device="strict")``. Like CuPy, and unlike NumPy, it

- never turns an array into a NumPy array by itself, and never mixes with one; ``.get()`` is the way back;
- lacks the names of ``MISSING`` and the keywords of ``NO_KEYWORD``, and has no random streams;
- returns 0-d arrays, never NumPy scalars, and holds only bool, integers, floats and complex numbers;
- wraps integer index arrays that are out of range, and raises no floating-point warnings.

It goes one step further where CuPy leaves a result undefined or hides a transfer: a duplicate in ``a[index] = values``
raises, index arrays and assigned arrays must be its own, and NumPy's functions don't take its arrays at all.
"""

from __future__ import annotations

from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from tinygrad_rnn import backend

SCALARS = (bool, int, float, complex, np.generic)
DTYPES = set("?bBhHiIlLqQefdFD")

# Public names of NumPy 2 that CuPy 14 lacks; tests/test_strict.py compares with CuPy where it is installed.
MISSING = {
    "xp": """asmatrix block bmat busday_count busday_offset busdaycalendar bytes_ char character clongdouble complex256
        ctypeslib datetime64 datetime_as_string datetime_data dtypes einsum_path emath errstate flexible float128
        frompyfunc fromregex geomspace getbufsize geterr geterrcall histogram_bin_edges info insert is_busday isnat
        longdouble ma matrix matvec memmap nanpercentile nanquantile ndenumerate nditer nested_iters object_ polyder
        polydiv polyint rec recarray record setbufsize seterr seterrcall show_runtime spacing str_ strings
        timedelta64 typecodes unstack vecdot vecmat void""".split(),
    "linalg": "diagonal matrix_norm multi_dot outer svdvals tensordot trace vecdot vector_norm".split(),
    "fft": [],
    "ndarray": """__array_namespace__ __contains__ __imatmul__ __index__ ctypes getfield resize setfield setflags
        to_device""".split(),
}
NO_KEYWORD = {"correction", "device", "initial", "like", "stable", "subok", "where"}
HIDDEN = {"__array_interface__", "__array_struct__", "__buffer__", "data", "flat"}  # ways into NumPy's memory

# What may be called without a device array: constructors, and questions about dtypes and shapes.
CREATE = set("arange empty eye full identity indices linspace ones tri tril_indices triu_indices zeros".split())
ABOUT = set("broadcast_shapes can_cast isdtype isscalar issubdtype promote_types result_type".split())
PREDICATES = {"allclose", "array_equal", "array_equiv"}  # Python bools in NumPy, 0-d arrays in CuPy

UFUNC_METHODS = {
    "at": set("add subtract maximum minimum bitwise_and bitwise_or bitwise_xor".split()),
    "reduce": {"add", "multiply"},
    "accumulate": {"add", "multiply"},
    "reduceat": {"add"},
}
ATOMIC = set("int32 uint32 uint64 float16 float32 float64 complex64 complex128".split())


def _host(value: Any) -> Any:
    """An argument as NumPy is to see it; NumPy arrays are refused."""
    if type(value) is ndarray:
        return value._host
    if type(value) in (tuple, list):
        return type(value)([_host(v) for v in value])
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}: a NumPy array of shape {value.shape} among device arrays")
    return value


def _device(value: Any) -> Any:
    """A result of NumPy as the device holds it."""
    if isinstance(value, np.ndarray | np.generic):
        if value.dtype.char not in DTYPES:
            raise ValueError(f"Unsupported dtype {value.dtype}")
        return ndarray(np.asarray(value))
    if isinstance(value, tuple | list):
        return (list if isinstance(value, list) else tuple)([_device(v) for v in value])
    return value


def _call(function: Any, args: tuple, kwargs: dict) -> Any:
    if unknown := NO_KEYWORD & kwargs.keys():
        raise TypeError(f"{function.__name__}() got an unexpected keyword argument {', '.join(sorted(unknown))}")
    with np.errstate(all="ignore"):
        result = function(*[_host(a) for a in args], **{name: _host(v) for name, v in kwargs.items()})
    return _device(result) if kwargs.get("out") is None else kwargs["out"]


def _index(index: Any, shape: tuple[int, ...]) -> tuple[Any, bool]:
    """An index as NumPy is to see it, in range, and whether it may name a place twice."""
    parts = index if type(index) is tuple else (index,)
    axes = [0 if p is None or p is Ellipsis else p.ndim if getattr(p, "dtype", None) == np.bool_ else 1 for p in parts]
    result, axis, repeats = [], 0, False
    for part, width in zip(parts, axes, strict=True):
        if type(part) is ndarray:
            part = part._host
            if part.dtype != bool:
                part, repeats = part % max(shape[axis], 1), True
        elif isinstance(part, bool) or not (
            part is None or part is Ellipsis or isinstance(part, slice | int | np.integer)
        ):
            raise TypeError(f"an index is a device array, int, slice, None or ..., not {type(part).__name__}")
        axis += len(shape) - sum(axes) if part is Ellipsis else width
        result.append(part)
    return tuple(result), repeats


class ndarray:
    """An array of the device: NumPy inside, CuPy outside."""

    __slots__ = ("__weakref__", "_host")
    __array_ufunc__ = None
    __hash__ = None  # type: ignore[assignment]
    device = "strict"

    def __init__(self, host: np.ndarray) -> None:
        self._host = host

    def get(self) -> np.ndarray:
        return self._host.copy()

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        raise TypeError("Implicit conversion of a device array to a NumPy array is not allowed; use .get()")

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        raise TypeError(f"np.{function.__name__} was given a device array; call xp.{function.__name__}")

    def __getattr__(self, name: str) -> Any:
        if name in HIDDEN or name in MISSING["ndarray"]:
            raise AttributeError(f"a device array has no attribute {name!r}")
        if name == "take":
            return partial(xp.take, self)
        value = getattr(self._host, name)
        return (lambda *args, **kwargs: _call(value, args, kwargs)) if callable(value) else _device(value)

    @property
    def flags(self) -> SimpleNamespace:
        return SimpleNamespace(**{n: getattr(self._host.flags, n) for n in ("c_contiguous", "f_contiguous", "owndata")})

    def __getitem__(self, index: Any) -> ndarray:
        return _device(self._host[_index(index, self.shape)[0]])

    def __setitem__(self, index: Any, value: Any) -> None:
        if not isinstance(value, (ndarray, *SCALARS)):
            raise TypeError(f"assign a device array or a scalar, not {type(value).__name__}")
        places, repeats = _index(index, self.shape)
        if repeats and isinstance(value, ndarray):
            written = np.arange(self._host.size).reshape(self.shape)[places]
            if np.unique(written).size < written.size:
                raise ValueError("a[index] = values with a duplicate in index is undefined on a GPU; use xp.add.at")
        self._host[places] = _host(value)

    def __len__(self) -> int:
        return len(self._host)

    def __iter__(self) -> Any:
        return (_device(row) for row in self._host)

    def __repr__(self) -> str:
        return repr(self._host)

    def __format__(self, spec: str) -> str:
        return format(self._host[()], spec)

    def __reduce__(self) -> tuple:
        return ndarray, (self._host,)

    def __bool__(self) -> bool:
        return bool(self._host)

    def __int__(self) -> int:
        return int(self._host)

    def __float__(self) -> float:
        return float(self._host)

    def __complex__(self) -> complex:
        return complex(self._host)


def _operator(name: str) -> Any:
    method = getattr(np.ndarray, name)
    in_place = name[:3] == "__i" and name != "__invert__"

    def operator(self: ndarray, *others: Any) -> Any:
        if not all(isinstance(other, (ndarray, np.ndarray, *SCALARS)) for other in others):
            return NotImplemented
        result = _call(method, (self, *others), {})
        return self if in_place else result

    return operator


for _name in "add sub mul truediv floordiv mod pow and or xor lshift rshift".split():
    for _form in ("", "r", "i"):
        setattr(ndarray, f"__{_form}{_name}__", _operator(f"__{_form}{_name}__"))
for _name in "matmul rmatmul divmod rdivmod lt le gt ge eq ne neg pos abs invert".split():
    setattr(ndarray, f"__{_name}__", _operator(f"__{_name}__"))


class _Function:
    """A function of the namespace: device arrays in, device arrays out."""

    def __init__(self, name: str, function: Any) -> None:
        self.__name__, self._function = name, function
        self._is_ufunc = isinstance(function, np.ufunc)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        name = self.__name__
        if self._is_ufunc:
            if any(isinstance(a, tuple | list) for a in args):
                raise TypeError(f"{name} takes device arrays and scalars, not lists")
        elif name not in CREATE | ABOUT and not _holds_array((*args, *kwargs.values())):
            raise TypeError(f"{name} was given no device array; make one: xp.asarray(value)")
        result = _call(self._function, args, kwargs)
        return _device(np.bool_(result)) if name in PREDICATES else result

    def __getattr__(self, method: str) -> Any:
        value = getattr(self._function, method)
        if method in UFUNC_METHODS and self.__name__ not in UFUNC_METHODS[method]:
            raise NotImplementedError(f"CuPy has no {self.__name__}.{method}")
        if method == "at":
            return partial(self._at, value)
        return _Function(method, value) if callable(value) else value

    def _at(self, at: Any, array: ndarray, index: Any, values: Any) -> None:
        if array.dtype.name not in ATOMIC:
            raise TypeError(f"{self.__name__}.at: a GPU has no atomic operation for {array.dtype}, only for {ATOMIC}")
        at(array._host, _index(index, array.shape)[0], _host(values))


def _holds_array(values: tuple) -> bool:
    return any(type(v) is ndarray or (isinstance(v, tuple | list) and _holds_array(tuple(v))) for v in values)


class _Namespace(ModuleType):
    """The functions of a NumPy module, each made when first used."""

    def __init__(self, name: str, source: ModuleType) -> None:
        super().__init__(name)
        self._source = source

    def __getattr__(self, name: str) -> Any:
        if name == "random":
            raise AttributeError("random streams differ between devices: draw on the CPU and move the result")
        if name.startswith("__") or name in MISSING[self.__name__]:
            raise AttributeError(f"CuPy has no {self.__name__}.{name}")
        value = getattr(self._source, name)
        if isinstance(value, ModuleType):
            value = _Namespace(name, value)
        elif callable(value) and not isinstance(value, type):
            value = _Function(name, value)
        setattr(self, name, value)
        return value


def _array(value: Any, dtype: Any = None, *, copy: bool | None = True, order: str = "K") -> ndarray:
    """The explicit way to the device, where NumPy arrays and lists are welcome."""
    if type(value) is ndarray and not copy and dtype in (None, value.dtype):
        return value
    return _device(np.array(value if isinstance(value, np.ndarray) else _host(value), dtype, order=order))


def _take(a: ndarray, indices: Any, axis: int | None = None, out: ndarray | None = None) -> ndarray:
    return _call(np.take, (a, indices), {"axis": axis, "out": out, "mode": "wrap"})


def _along(indices: ndarray, axis: int) -> tuple:
    grid = np.ogrid[tuple(slice(n) for n in indices.shape)]
    return tuple(indices if i == axis % indices.ndim else ndarray(g) for i, g in enumerate(grid))


def _take_along_axis(a: ndarray, indices: ndarray, axis: int | None) -> ndarray:
    return a.ravel()[indices] if axis is None else a[_along(indices, axis)]


def _put_along_axis(arr: ndarray, indices: ndarray, values: Any, axis: int) -> None:
    arr[_along(indices, axis)] = values


xp = _Namespace("xp", np)
xp.ndarray = ndarray
xp.array, xp.asarray = _array, partial(_array, copy=None)
xp.ascontiguousarray = lambda a: a if a.flags.c_contiguous else a.copy(order="C")
xp.asnumpy = ndarray.get
xp.take, xp.take_along_axis, xp.put_along_axis = _take, _take_along_axis, _put_along_axis

backend.register("strict", xp, ndarray, ndarray.get, lambda array, index: ndarray(array.copy()))
