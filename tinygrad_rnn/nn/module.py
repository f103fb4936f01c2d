"""Module: a tree of parameters, buffers and child modules, read off its attributes; no registration, no metaclass.

A Tensor attribute that requires gradients is a parameter, any other that nothing made is a buffer (saved, not
trained), a Module is a child; lists, tuples and dicts of these count too. A path is attribute names joined by ``/``:
``decoder/cells/0/weight``. The nodes that a child makes are tagged with its path, so pictures and errors show it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Self

import numpy as np

from ..backend import to_device, to_host
from ..node import scope
from ..op import LEAF
from ..ops.shape import alias
from ..tensor import Tensor, array_of, tensor

__all__ = ["Module", "parameter"]

ALIAS = alias.op  # type: ignore[attr-defined]


def parameter(value: Any) -> Tensor:
    """A trainable Tensor of these values: what a Module's attributes are made of.

    >>> parameter([0.5, 1.0])
    tensor([0.5, 1. ], requires_grad=True)
    """
    return tensor(value, requires_grad=True)


class Module:
    """A function with parameters: subclass it, set Tensors and Modules as attributes, define ``forward``.

    A Module is a container of its parameters: ``tg.grad(loss)(model)`` is a dict keyed by path.

    >>> import tinygrad_rnn as tg
    >>> class Scale(tg.nn.Module):
    ...     def __init__(self, factor):
    ...         self.factor = tg.nn.parameter(factor)
    ...     def forward(self, x):
    ...         return self.factor * x
    >>> tg.grad(lambda model: model(3.0))(Scale(2.0))
    {'factor': tensor(3.)}
    """

    training: bool = True
    _name: str | None = None  # the path from the Module that holds this one; None for a root

    def __setattr__(self, attribute: str, value: Any) -> None:
        object.__setattr__(self, attribute, value)
        for name, part in _parts(value, attribute):
            if isinstance(part, Module):
                vars(part)["_name"] = name
                for path, p in part.parameters_by_path().items():
                    p.name = f"{name}/{path}"
            elif _is_parameter(part):
                part.name = name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """``forward``, with its nodes tagged by this module's name."""
        if self._name is None:
            return self.forward(*args, **kwargs)
        with scope("module", self._name):
            return self.forward(*args, **kwargs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; subclasses define it, users call the module."""
        raise NotImplementedError(f"{type(self).__name__} has no forward(); define what it computes")

    def parameters_by_path(self) -> dict[str, Tensor]:
        """The trainable Tensors by path, in the order of their attributes; a shared one once, where it comes first."""
        found = {path: part for path, part in self._walk() if type(part) is Tensor and _is_parameter(part)}
        if self._name is None:
            for path, p in found.items():
                p.name = path
        return found

    def named_parameters(self) -> list[tuple[str, Tensor]]:
        """(path, parameter) pairs."""
        return list(self.parameters_by_path().items())

    def parameters(self) -> list[Tensor]:
        """The trainable Tensors."""
        return list(self.parameters_by_path().values())

    @property
    def dtype(self) -> np.dtype | None:
        """The dtype of the first parameter, its own before those of its parts; None without any."""
        for value in vars(self).values():  # asked at every call of a cell: the walk below takes ten times as long
            if type(value) is Tensor and _is_parameter(value):
                return value.dtype
        return next((t.dtype for _, t in self._walk() if type(t) is Tensor and _is_parameter(t)), None)

    def modules(self) -> list[Module]:
        """This module and all below it, each once."""
        return [self, *(part for _, part in self._walk() if isinstance(part, Module))]

    def state_dict(self) -> dict[str, np.ndarray]:
        """Parameters and buffers by path, as NumPy arrays of their own."""
        return {path: np.array(to_host(t.data)) for path, t in self._tensors().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the values that ``state_dict`` gave; every Tensor keeps its dtype and device.

        Raises one ValueError that lists every path that is missing, unknown or does not fit; then nothing is changed.
        """
        own = self._tensors()
        given = {path: to_host(array_of(value)) for path, value in state.items()}
        missing = [path for path in own if path not in given]
        problems = [f"missing: {path} {own[path].shape}" for path in missing]
        for path, value in given.items():
            if path not in own:
                near = get_close_matches(path, missing or own, 1)
                problems.append(f"unexpected: {path} {value.shape}" + (f"; nearest: {near[0]}" if near else ""))
            elif value.shape != own[path].shape:
                problems.append(f"shapes differ: {path} is {own[path].shape}, given {value.shape}")
            elif not np.can_cast(value.dtype, own[path].dtype, "same_kind"):
                problems.append(f"dtypes differ: {path} is {own[path].dtype}, given {value.dtype}")
        if problems:
            raise ValueError("\n  ".join([f"{type(self).__name__}.load_state_dict changed nothing:", *problems]))
        for path, t in own.items():
            t.data = to_device(given[path].astype(t.dtype), t.device)

    def train(self, on: bool = True) -> Self:
        """Behave as in training (dropout drops), here and below; returns self."""
        for module in self.modules():
            module.training = on
        return self

    def eval(self) -> Self:
        """Behave as in use, not training; returns self."""
        return self.train(False)

    def to(self, device: str) -> Self:
        """Move parameters, their gradients and buffers, in place; returns self."""
        for t in self._tensors().values():
            t.data = to_device(t.data, device)
            if t.grad is not None:
                t.grad = t.grad.to(device)
        return self

    def astype(self, dtype: Any) -> Self:
        """Convert what is floating, in place, and drop gradients; what is complex takes the like precision.

        float64 is the dtype for checking gradients. Returns self.
        """
        if np.dtype(dtype).kind != "f":
            raise TypeError(f"astype takes a floating dtype, such as 'float64', not {dtype}")
        for t in self._tensors().values():
            if t.dtype.kind in "fc":
                trained, t.node, t.grad = t.requires_grad, None, None
                t.data = t.data.astype(np.result_type(dtype, "complex64") if t.dtype.kind == "c" else dtype)
                t.requires_grad = trained  # a new leaf: the old one says what dtype its gradient has
        return self

    def _walk(self, prefix: str = "", seen: set[int] | None = None) -> Iterator[tuple[str, Tensor | Module]]:
        """All that is below, depth first, each once; tells the children that ``append`` and the like brought in
        their names."""
        seen = {id(self)} if seen is None else seen
        for attribute, value in vars(self).items():
            for name, part in _parts(value, attribute):
                if id(part) not in seen:
                    seen.add(id(part))
                    yield prefix + name, part
                    if isinstance(part, Module):
                        vars(part)["_name"] = name
                        yield from part._walk(f"{prefix}{name}/", seen)

    def _tensors(self) -> dict[str, Tensor]:
        """Parameters and buffers by path; not what ops made, such as an activation kept to look at."""
        return {
            path: part
            for path, part in self._walk()
            if type(part) is Tensor and (not part.requires_grad or _is_parameter(part))
        }

    def __repr__(self) -> str:
        """One line for a layer, a table for what is made of modules."""
        tensors = self._tensors()
        kind = type(self).__name__
        if len(self.modules()) == 1:
            facts = [f"{k}={v!r}" for k, v in vars(self).items() if k[0] != "_" and isinstance(v, int | float | str)]
            return f"{kind}({', '.join(facts + [f'{path} {t.shape}' for path, t in tensors.items()])})"
        rows = [
            (path, str(t.shape), str(t.dtype), f"{t.size:,}" if t.requires_grad else "buffer")
            for path, t in tensors.items()
        ]
        trained = [t.size for t in tensors.values() if t.requires_grad]
        rows = [("path", "shape", "dtype", "count"), *rows, (f"{len(trained)} parameters", "", "", f"{sum(trained):,}")]
        w = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
        return "\n".join([kind, *(f"  {a:<{w[0]}}  {b:<{w[1]}}  {c:<{w[2]}}  {d:>{w[3]}}" for a, b, c, d in rows)])


def _parts(value: Any, name: str) -> Iterator[tuple[str, Tensor | Module]]:
    """The Tensors and Modules that an attribute holds, by itself or in lists, tuples and dicts, and their names."""
    if isinstance(value, Tensor | Module):
        yield name, value
    elif isinstance(value, dict | list | tuple):
        if hasattr(value, "_asdict"):
            value = value._asdict()
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _parts(item, f"{name}/{key}")


def _is_parameter(t: Tensor) -> bool:
    """Inside a derivative transform a parameter stands for an alias of the leaf that it is outside."""
    return t.node is not None and t.node.op in (LEAF, ALIAS)
