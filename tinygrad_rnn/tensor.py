"""Tensor: an array, the node that made it, and the operators; no maths of its own.

The operators and methods are the ops themselves, attached in ops/__init__.py.
"""

from __future__ import annotations

import operator
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from . import backend
from .backend import device_of, is_array, namespace, to_device, to_host
from .node import Node, local, next_seq
from .op import LEAF, NO_PARAMS

__all__ = ["Tensor", "from_dlpack", "ones", "tensor", "zeros"]

_INEXACT = "fc"


class Tensor:
    """An array that ops remember: ``data``, and, when gradients pass through it, the ``node`` that made it.

    A Tensor that the user makes with ``requires_grad=True`` is a leaf: ``backward()`` leaves its gradient in ``grad``.
    Time series are ``(T, B, D)``: time, batch, features. Dtypes meet as in NumPy: a Python number takes the Tensor's,
    a NumPy number has its own (``np.float64(2) * x`` is float64 for a float32 x).
    """

    __slots__ = ("__weakref__", "data", "grad", "name", "node")
    __array_ufunc__ = None  # array + Tensor is left to Tensor.__radd__
    __array_priority__ = 1000
    __hash__ = object.__hash__

    data: Any
    node: Node | None
    grad: Tensor | None
    name: str | None

    def __init__(self, data: Any, *, requires_grad: bool = False, name: str | None = None) -> None:
        if not is_array(data):
            raise TypeError(f"Tensor() wraps an array, not {type(data).__name__}; make one: tg.tensor(value)")
        self.data, self.node, self.grad, self.name = data, None, None, name
        if requires_grad:
            self.requires_grad = True

    @classmethod
    def of(cls, data: Any, node: Node | None) -> Tensor:
        """A Tensor around an array, without any check or conversion."""
        t = object.__new__(cls)
        t.data, t.node, t.grad, t.name = data, node, None, None
        return t

    @property
    def requires_grad(self) -> bool:
        """Whether gradients pass through this Tensor."""
        return self.node is not None and self.node.op.kind != "cut"

    @requires_grad.setter
    def requires_grad(self, on: bool) -> None:
        if not on:
            if not self.is_leaf:
                raise ValueError("only a leaf can stop requiring gradients; cut a graph with tg.detach(x)")
            self.node = None
        elif not self.requires_grad:
            if self.data.dtype.kind not in _INEXACT:
                raise TypeError(
                    f"requires_grad needs a floating or complex dtype, not {self.data.dtype}; "
                    "convert it: tg.tensor(x, dtype='float32', requires_grad=True)"
                )
            self.node = leaf(self)

    @property
    def is_leaf(self) -> bool:
        return self.node is None or not self.node.inputs

    shape = property(lambda self: self.data.shape, doc="Sizes of the axes.")
    dtype = property(lambda self: self.data.dtype, doc="The NumPy dtype.")
    ndim = property(lambda self: self.data.ndim, doc="Number of axes.")
    size = property(lambda self: self.data.size, doc="Number of entries.")
    device = property(lambda self: device_of(self.data), doc='Where the array lives: "cpu", "cuda:0".')

    def numpy(self) -> np.ndarray:
        """The values as a NumPy array (shared memory on the CPU, a copy from a GPU)."""
        return to_host(self._read())

    def _read(self) -> Any:
        """The array, for someone who looks at values; a trace, which stands for all values, may refuse."""
        if (watch := local.frame.watch) is not None:
            watch.looked(self)
        return self.data

    def item(self) -> Any:
        """The one value of a Tensor of size 1, as a Python number."""
        if self.data.size != 1:
            raise ValueError(f"item() needs one entry, this Tensor has shape {self.shape}; index it first")
        return self._read().item()

    def tolist(self) -> Any:
        return self.numpy().tolist()

    def __len__(self) -> int:
        if not self.data.shape:
            raise TypeError("len() of a 0-d Tensor")
        return self.data.shape[0]

    def __bool__(self) -> bool:
        if self.data.size != 1:
            raise ValueError(f"a Tensor of shape {self.shape} is neither true nor false; ask x.numpy().any() or .all()")
        return bool(self._read())

    def __float__(self) -> float:
        return float(self._read())

    def __int__(self) -> int:
        return int(self._read())

    def __index__(self) -> int:
        return operator.index(self.item())

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        if self.requires_grad:
            raise TypeError(
                "a Tensor that requires gradients does not turn into an array silently: "
                "use x.numpy() for its values, or a tg. function in place of the np. one"
            )
        return np.asarray(self._read(), *args, **kwargs)

    def __dlpack__(self, **options: Any) -> Any:
        if self.requires_grad:
            raise BufferError("a Tensor that requires gradients is not shared by DLPack; share tg.detach(x)")
        return self.data.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.data.__dlpack_device__()

    def __setitem__(self, index: Any, value: Any) -> None:
        raise TypeError("Tensors are not written in place; use y = x.at[index].set(value), or .add(value)")

    def __reduce__(self) -> tuple:
        self._must_be_leaf()
        return _rebuild, (to_host(self.data), self.device, self.requires_grad, self.name)

    def __deepcopy__(self, memo: dict) -> Tensor:
        self._must_be_leaf()
        return tensor(self.data.copy(), requires_grad=self.requires_grad, name=self.name)

    def _must_be_leaf(self) -> None:
        if not self.is_leaf:
            raise TypeError("only leaves can be copied or pickled; use tg.detach(x) for the values alone")

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else str(self)

    def __repr__(self) -> str:
        if (watch := local.frame.watch) is not None and watch.blind:  # in a trace, which stands for all numbers
            return f"tensor(<traced> {self.shape}, dtype={self.dtype})"
        values = np.array2string(self.numpy(), prefix="tensor(", separator=", ", threshold=64, precision=4)
        facts = [f"dtype={self.dtype}"] * (self.dtype != np.float32)
        facts += [f"device={self.device!r}"] * (self.device != "cpu")
        facts += ["requires_grad=True"] * self.requires_grad
        return f"tensor({', '.join([values, *facts])})"

    if TYPE_CHECKING:  # attached by autodiff.py and ops/__init__.py; listed here for type checkers and editors
        T: Tensor
        at: Any
        def backward(
            self,
            cotangent: Any = None,
            *,
            retain_graph: bool = False,
            create_graph: bool = False,
            on_message: Any = None,
        ) -> None: ...
        def to(self, device: str) -> Tensor: ...
        def __add__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __rtruediv__(self, other: Any) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __rmatmul__(self, other: Any) -> Tensor: ...
        def __pow__(self, other: Any) -> Tensor: ...
        def __rpow__(self, other: Any) -> Tensor: ...
        def __neg__(self) -> Tensor: ...
        def __abs__(self) -> Tensor: ...
        def __getitem__(self, index: Any) -> Tensor: ...
        def __iter__(self) -> Any: ...
        def __lt__(self, other: Any) -> Tensor: ...
        def __le__(self, other: Any) -> Tensor: ...
        def __gt__(self, other: Any) -> Tensor: ...
        def __ge__(self, other: Any) -> Tensor: ...
        def __getattr__(self, name: str) -> Any: ...


def array_of(x: Any) -> Any:
    """The array in a Tensor; anything else as it is."""
    return x.data if type(x) is Tensor else x


def zeros_beside(x: Any, shape: Any) -> Any:
    """An array of zeros with the dtype of x and where x is."""
    array = array_of(x)
    return namespace(array).zeros(shape, array.dtype)


def array_beside(x: Any, value: Any) -> Any:
    """Numbers and lists as an array beside x: of its dtype, unless that would cut a fraction or an imaginary part off.

    Arrays and Tensors are passed on.
    """
    if hasattr(value, "dtype"):
        return value
    array = np.asarray(value)
    same = np.can_cast(array.dtype, x.dtype, "same_kind")
    return namespace(array_of(x)).asarray(array, dtype=x.dtype if same else array.dtype)


def leaf(t: Tensor) -> Node:
    """A node with no parents for ``t``; it remembers the Tensor weakly, to find where ``.grad`` goes."""
    return Node(LEAF, NO_PARAMS, (), (weakref.ref(t),), next_seq(), local.frame.scope, t.data.shape, t.data.dtype)


def _rebuild(data: np.ndarray, device: str, requires_grad: bool, name: str | None) -> Tensor:
    return Tensor(to_device(data, device), requires_grad=requires_grad, name=name)


def tensor(
    data: Any, *, requires_grad: bool = False, dtype: Any = None, device: str | None = None, name: str | None = None
) -> Tensor:
    """Make a Tensor from nested lists, numbers or an array, on ``device`` (where the array is, else the CPU).

    Arrays keep their dtype and share memory where they can; Python floats become float32, Python complex numbers
    complex64. Raises TypeError for what holds no numbers, RuntimeError for a device that is not there.

    >>> tensor([1, 2.5])
    tensor([1. , 2.5])
    """
    if type(data) is Tensor:
        data = data.data
    if not is_array(data):
        array = np.asarray(data)
        if not isinstance(data, np.ndarray | np.generic) and dtype is None and array.dtype.kind in _INEXACT:
            array = array.astype(np.float32 if array.dtype.kind == "f" else np.complex64)
        data = array
    if data.dtype.kind not in "biufc":
        raise TypeError(f"tensor() takes numbers, not an array of dtype {data.dtype}")
    if dtype is not None:
        data = data.astype(dtype, copy=False)
    if device is not None:
        data = to_device(data, device)
    return Tensor(data, requires_grad=requires_grad, name=name)


def zeros(shape: Any, *, dtype: Any = "float32", device: str = "cpu", requires_grad: bool = False) -> Tensor:
    """A Tensor of zeros.

    >>> zeros(2)
    tensor([0., 0.])
    """
    return Tensor(to_device(np.zeros(shape, dtype), device), requires_grad=requires_grad)


def ones(shape: Any, *, dtype: Any = "float32", device: str = "cpu", requires_grad: bool = False) -> Tensor:
    """A Tensor of ones.

    >>> ones((1, 2))
    tensor([[1., 1.]])
    """
    return Tensor(to_device(np.ones(shape, dtype), device), requires_grad=requires_grad)


def from_dlpack(value: Any) -> Tensor:
    """A Tensor that shares memory with any array that speaks DLPack: torch's, JAX's, CuPy's, NumPy's.

    >>> import numpy as np
    >>> from_dlpack(np.ones(2, "float32"))
    tensor([1., 1.])
    """
    return Tensor(backend.from_dlpack(value))
