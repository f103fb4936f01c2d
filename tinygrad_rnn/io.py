"""Checkpoints: nested containers of arrays and settings as one safetensors file, written whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from .backend import to_device, to_host
from .tensor import Tensor

__all__ = ["atomic_write", "load", "metadata", "save"]

_TREE = "tinygrad_rnn.tree"  # the header entry with the structure, as JSON
_DTYPES = set("bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 complex64".split())
_AS_PAIRS = {"complex128": "float64"}  # safetensors has no complex128: stored with a last axis of (real, imag)
_ADVICE = {
    errno.ENOENT: "make the folder first",
    errno.ENOSPC: "free some space, then save again",
    errno.EDQUOT: "free some space, then save again",
    errno.EFBIG: "the file is larger than this system allows",
}


def save(path: str | os.PathLike[str], tree: Any, *, metadata: Mapping[str, str] | None = None) -> None:
    """Write nested dicts, lists and tuples of arrays, Tensors, numbers, strings, booleans and None.

    ``load(path)`` gives them back exactly: every value, dtype, shape and container; Tensors as arrays. Arrays are named
    by their path, ``optimizer/moments/0``, so other readers of safetensors find them; ``metadata`` goes into the file's
    header. An existing file is replaced at once, or stays as it is when something goes wrong on the way.

    Raises TypeError for what cannot be given back exactly, naming its place; OSError when the file cannot be written.

    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/run.safetensors"
    >>> save(path, {"model": {"W": np.eye(2)}, "step": 3})
    >>> load(path)
    {'model': {'W': array([[1., 0.],
           [0., 1.]])}, 'step': 3}
    """
    from safetensors.numpy import save as pack

    header = dict(metadata or {})
    for key, text in header.items():
        if type(key) is not str or type(text) is not str or key == _TREE:
            raise TypeError(f"metadata[{key!r}] = {text!r} is not a pair of free strings; put others into the tree")
    arrays: dict[str, np.ndarray] = {}
    header[_TREE] = json.dumps(_encode(tree, (), arrays))
    atomic_write(path, pack(arrays, header))


def load(path: str | os.PathLike[str], *, device: str = "cpu") -> Any:
    """Read what ``save`` wrote, with the arrays on ``device``; from another program's file, a dict of its arrays.

    Raises FileNotFoundError, or ValueError when the file is incomplete or no safetensors file.
    """
    arrays, header = _read(path, with_arrays=True)
    if _TREE not in header:
        return {name: to_device(array, device) for name, array in arrays.items()}
    try:
        return _decode(json.loads(header[_TREE]), arrays, device)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(_corrupt(path, f"its structure names what is not there: {error}")) from error


def metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """The ``metadata`` that a file was saved with; its arrays are not read."""
    return {key: text for key, text in _read(path, with_arrays=False)[1].items() if key != _TREE}


def atomic_write(path: str | os.PathLike[str], content: bytes | str) -> None:
    """Replace a file whole: write beside it, flush to the disk, rename.

    Whatever happens on the way, power cut and Ctrl-C included, ``path`` holds the old content or the new, never a part.
    Raises OSError, with the way out, when the file cannot be written.
    """
    target = Path(os.path.realpath(path))  # a link keeps pointing where it did
    beside = target.with_name(f".{target.name}.{secrets.token_hex(6)}.tmp")
    try:
        with open(beside, "xb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, target)
    except BaseException as error:
        with suppress(OSError):  # there may be none yet
            beside.unlink()
        if not isinstance(error, OSError):
            raise
        advice = _ADVICE.get(error.errno or 0, "choose a place that can be written")
        raise OSError(error.errno, f"{error.strerror}; {advice}; nothing was changed", os.fspath(path)) from error
    if os.name == "posix":
        folder = os.open(target.parent, os.O_RDONLY)
        with suppress(OSError):  # not every file system syncs folders; the new content is complete either way
            os.fsync(folder)
        os.close(folder)


def _encode(node: Any, path: tuple[str, ...], arrays: dict[str, np.ndarray]) -> Any:
    """JSON for the structure: scalars as they are, everything else as {kind: content}; arrays are put aside by name."""
    if node is None or type(node) in (bool, int, float, str):
        return node
    if type(node) is complex:
        return {"complex": [node.real, node.imag]}
    if isinstance(node, dict):
        for key in node:
            if type(key) is not str:
                raise TypeError(f"key {key!r} {_at(path)} is not a string; save str({key!r})")
        return {"dict": {key: _encode(value, path + (key,), arrays) for key, value in node.items()}}
    if type(node) in (list, tuple):
        return {type(node).__name__: [_encode(value, path + (str(i),), arrays) for i, value in enumerate(node)]}
    try:
        array = to_host(node.data if isinstance(node, Tensor) else node)
    except TypeError:
        instead = "its _asdict()" if hasattr(node, "_asdict") else "its state_dict(), or numbers and arrays"
        raise TypeError(f"the {type(node).__name__} {_at(path)} cannot go into a checkpoint; save {instead}") from None
    # In C order always: safetensors 0.8 writes other arrays wrongly, without an error (huggingface/safetensors#825).
    array = np.asarray(array, order="C")
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    name, dtype = _name(path), array.dtype.name
    if dtype in _AS_PAIRS:
        arrays[name] = array.reshape(array.shape + (1,)).view(_AS_PAIRS[dtype])
        return {"array": name, "dtype": dtype}
    if dtype not in _DTYPES:
        raise TypeError(f"an array {_at(path)} has dtype {dtype}, which safetensors lacks; convert it with astype")
    arrays[name] = array
    return {"array": name}


def _name(path: tuple[str, ...]) -> str:
    """A path as one string, escaped like a JSON pointer (RFC 6901), so that no two places share a name."""
    name = "/".join(key.replace("~", "~0").replace("/", "~1") for key in path)
    return "~metadata" if name == "__metadata__" else name  # the format's own word; no other path gives "~m"


def _at(path: tuple[str, ...]) -> str:
    return f"at {_name(path)}" if path else "at the top"


def _decode(node: Any, arrays: dict[str, np.ndarray], device: str) -> Any:
    if not isinstance(node, dict):
        return node
    if "array" in node:
        array = arrays[node["array"]]
        return to_device(array.view(node["dtype"])[..., 0] if "dtype" in node else array, device)
    ((kind, content),) = node.items()
    if kind == "dict":
        return {key: _decode(value, arrays, device) for key, value in content.items()}
    if kind == "complex":
        return complex(*content)
    return {"list": list, "tuple": tuple}[kind](_decode(value, arrays, device) for value in content)


def _read(path: str | os.PathLike[str], *, with_arrays: bool) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    if not os.path.isfile(path):
        raise FileNotFoundError(errno.ENOENT, "there is no such file to load", os.fspath(path))
    try:
        with safe_open(path, framework="np") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()} if with_arrays else {}  # noqa: SIM118
            return arrays, file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(_corrupt(path, str(error))) from error
    except (AttributeError, TypeError) as error:
        raise ValueError(f"{os.fspath(path)} holds a dtype that NumPy lacks ({error}); convert it first") from error


def _corrupt(path: str | os.PathLike[str], reason: str) -> str:
    return (
        f"{os.fspath(path)} is not a complete safetensors file ({reason}); "
        "it was cut short, damaged, or written by another program: take an earlier copy"
    )
