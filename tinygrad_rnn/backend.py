"""Arrays and where they live: the namespace of an array, devices, and the transfer between them.

The array decides: nothing here is a global setting. This is the only file that imports CuPy, and only once a
CuPy array or a ``cuda`` device turns up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

__all__ = [
    "Backend",
    "available",
    "device_of",
    "from_dlpack",
    "is_array",
    "namespace",
    "register",
    "to_device",
    "to_host",
]

Array = Any  # a NumPy, CuPy or other registered array


@dataclass(frozen=True)
class Backend:
    """One kind of device: its array type, its NumPy-like namespace, and the way to the host and back."""

    name: str
    module: ModuleType
    array_type: type
    to_host: Callable[[Array], np.ndarray]
    from_host: Callable[[np.ndarray, int], Array]
    index: Callable[[Array], int | None] = lambda array: None

    def device(self, array: Array) -> str:
        index = self.index(array)
        return self.name if index is None else f"{self.name}:{index}"


class _Namespaces(dict):
    """type → namespace; an unknown array type is looked up once, on first sight."""

    def __missing__(self, kind: type) -> ModuleType:
        if _known(kind):
            return self[kind]
        if issubclass(kind, np.ndarray):
            return np
        raise TypeError(f"expected an array or a Tensor, got {_full_name(kind)}; wrap it: tg.tensor(value)")


def _full_name(kind: type) -> str:
    """list, torch.Tensor: whose it is, unless Python's own."""
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


BACKENDS: dict[str, Backend] = {}
NAMESPACES: dict[type, Any] = _Namespaces()  # Python and NumPy scalars stand for "no namespace of their own"
ARRAY_TYPES: set[type] = set()
NAMESPACES.update(dict.fromkeys((bool, int, float, complex, type(None))))
NAMESPACES.update((np.dtype(code).type, None) for code in "?bhilqBHILQefdgFDG")


def register(
    name: str,
    module: ModuleType,
    array_type: type,
    to_host: Callable[[Array], np.ndarray],
    from_host: Callable[[np.ndarray, int], Array],
    index: Callable[[Array], int | None] = lambda array: None,
) -> Backend:
    """Make a kind of array known to the engine under the device name ``name``."""
    backend = BACKENDS[name] = Backend(name, module, array_type, to_host, from_host, index)
    NAMESPACES[array_type] = module
    ARRAY_TYPES.add(array_type)
    return backend


register("cpu", np, np.ndarray, lambda array: array, lambda array, index: array)


def _known(kind: type) -> bool:
    """Whether arrays of this type are known; CuPy's become so on first sight."""
    if kind not in ARRAY_TYPES and kind.__module__.partition(".")[0] == "cupy":
        _load_cuda()
    return kind in ARRAY_TYPES


def is_array(value: Any) -> bool:
    """Whether ``value`` is an array that a Tensor can hold."""
    return _known(type(value))


def _load_cuda() -> Backend:
    if "cuda" in BACKENDS:
        return BACKENDS["cuda"]
    try:
        import cupy
    except ImportError:
        raise RuntimeError(
            "device 'cuda' needs CuPy, which is not installed; pip install 'cupy-cuda13x[ctk]' (or cupy-cuda12x), "
            "or use device='cpu'"
        ) from None

    def from_host(array: np.ndarray, index: int) -> Array:
        with cupy.cuda.Device(index):
            return cupy.asarray(array)

    return register("cuda", cupy, cupy.ndarray, cupy.asnumpy, from_host, lambda array: array.device.id)


def _parse(device: str) -> tuple[Backend, int]:
    if not isinstance(device, str):
        raise TypeError(f"device {device!r} is not a name; use 'cpu', 'cuda' or 'cuda:0'")
    name, _, number = device.partition(":")
    if (number and not number.isdigit()) or (name == "cpu" and number):
        raise ValueError(f"device {device!r} is not a device; use 'cpu', 'cuda' or 'cuda:0'")
    index = int(number or 0)
    if name == "cuda":
        if index:  # arrays made along the way would land on CuPy's current device, which is the first
            raise ValueError(f"device {device!r}: one GPU a process; set CUDA_VISIBLE_DEVICES={index} and say 'cuda'")
        backend = _load_cuda()
        if not backend.module.is_available():
            raise RuntimeError(f"device {device!r}: CuPy finds no CUDA device on this machine; use device='cpu'")
        return backend, index
    if name not in BACKENDS:
        raise ValueError(f"unknown device {device!r}; known: {', '.join(sorted({*BACKENDS, 'cuda'}))}")
    return BACKENDS[name], index


def available(device: str) -> bool:
    """Whether arrays can be put on ``device`` here.

    >>> available("cpu")
    True
    """
    try:
        _parse(device)
    except (RuntimeError, ValueError):
        return False
    return True


def namespace(*values: Any) -> ModuleType:
    """The NumPy-like module of the first array among ``values``; NumPy when all are scalars."""
    for value in values:
        module = NAMESPACES[type(value)]
        if module is not None:
            return module
    return np


def _backend_of(array: Array) -> Backend:
    module = namespace(array)
    return next(backend for backend in BACKENDS.values() if backend.module is module)


def device_of(array: Array) -> str:
    """The device an array lives on: ``"cpu"``, ``"cuda:0"``, …"""
    if type(array) is np.ndarray:  # asked at every call of a layer
        return "cpu"
    return _backend_of(array).device(array)


def to_host(array: Array) -> np.ndarray:
    """The array as NumPy holds it; no copy when it already is one."""
    return np.asarray(array) if NAMESPACES[type(array)] is None else _backend_of(array).to_host(array)


def to_device(array: Array, device: str) -> Array:
    """The array on ``device``; itself when it is already there.

    Raises RuntimeError or ValueError, with the way out, when there is no such device.
    """
    if device == "cpu" and type(array) is np.ndarray:
        return array
    backend, index = _parse(device)
    if NAMESPACES[type(array)] is backend.module and backend.index(array) in (None, index):
        return array
    return backend.from_host(to_host(array), index)


def from_dlpack(value: Any) -> Array:
    """An array of ours that shares memory with any object that speaks DLPack (torch, JAX, CuPy, NumPy)."""
    if not hasattr(value, "__dlpack_device__"):
        raise TypeError(f"{type(value).__name__} does not speak DLPack; wrap it: tg.tensor(value)")
    on_gpu = value.__dlpack_device__()[0] == 2  # kDLCUDA
    return (_load_cuda().module if on_gpu else np).from_dlpack(value)
