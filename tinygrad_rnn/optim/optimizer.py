"""What optimisers share: which parameters, which gradients, what is kept for them, and how training goes on later."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .. import tree
from ..backend import device_of, namespace, to_device, to_host
from ..tensor import Tensor, array_of
from .clip import sum_of_squares

__all__ = ["Optimizer"]

Array = Any


class Optimizer:
    """What optimisers share. ``parameters`` is a Module, or any container (dict, list, nested) of parameters.

    ``lr`` is a number that may be set at any time, by a schedule say: ``optimizer.lr = schedule(optimizer.steps)``.
    Raises TypeError or ValueError for what cannot be trained and for options out of range.
    """

    update: Callable[..., Array]  # (xp, p, g, kept, **options) -> new p; kept["step"] counts the updates of p from 1

    def __init__(self, parameters: Any, *, keeps: tuple[str, ...] = (), **options: Any) -> None:
        self.parameters: dict[str, Tensor] = {}
        self._shared: set[str] = set()  # further paths of parameters that are there already: updated once
        leaves, structure = tree.flatten(parameters)
        for path, p in zip(_paths(structure), leaves, strict=True):
            if type(p) is not Tensor or not (p.requires_grad and p.is_leaf):
                what = path or f"a {type(p).__name__}"
                raise TypeError(f"{what} is no parameter; make it one: tg.tensor(value, requires_grad=True)")
            if any(p is other for other in self.parameters.values()):
                self._shared.add(path)
            else:
                self.parameters[path] = p
        if not self.parameters:
            raise ValueError("there is nothing to optimise; pass a Module, or Tensors that require gradients")
        for option, value in options.items():
            high = math.inf if option in ("lr", "eps", "weight_decay", "lr_decay") else 1
            if not all(0 <= v < high or v is True for v in (value if isinstance(value, tuple) else (value,))):
                raise ValueError(f"{type(self).__name__}: {option}={value} is not in [0, {high})")
        self.options = options
        self.steps = 0  # how often step() was called
        self._keeps = keeps
        self._kept: dict[str, dict[str, Any]] = {}

    @property
    def lr(self) -> float:
        """The learning rate."""
        return self.options["lr"]

    @lr.setter
    def lr(self, value: float) -> None:
        if not 0 <= value < math.inf:
            raise ValueError(f"{type(self).__name__}: lr={value} is not in [0, inf)")
        self.options["lr"] = float(value)

    def step(self, grads: Any = None) -> None:
        """Update all parameters from their ``.grad``, or from ``grads``, as ``tg.grad`` gives them.

        A parameter whose ``.grad`` is None had no part in the loss and stays as it is. Raises ValueError when that is
        so for all, or when ``grads`` does not match, and FloatingPointError for NaN and infinite entries, naming the
        path; then nothing is changed.
        """
        if grads is None:
            given = {path: p.grad for path, p in self.parameters.items() if p.grad is not None}
            if not given:
                raise ValueError("no parameter has a gradient; call loss.backward() first, or pass step(grads)")
        else:
            given = self._matched(grads)
        arrays = {path: self._checked(path, g) for path, g in given.items()}
        _refuse_non_finite(arrays, self.steps)
        for path, g in arrays.items():
            p = self.parameters[path]
            kept = {name: _flat(k) if name != "step" else k for name, k in self._kept_for(path, p.data).items()}
            new = self.update(namespace(g), _flat(p.data), _flat(g), kept, **self.options)
            p.data = new.view(p.dtype).reshape(p.shape)
        self.steps += 1

    def zero_grad(self) -> None:
        """Forget the gradients: ``backward`` adds to what is there."""
        for p in self.parameters.values():
            p.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on from exactly here: options, counters, and copies of what is kept, on the host."""
        kept = {
            path: {name: np.array(to_host(k)) if name != "step" else k for name, k in own.items()}
            for path, own in self._kept.items()
        }
        return {"kind": type(self).__name__, "options": dict(self.options), "steps": self.steps, "kept": kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where ``state_dict`` was taken, with its learning rate and other options.

        Raises ValueError when it belongs to another optimiser or to other parameters; then nothing is changed.
        """
        if missing := {"kind", "options", "steps", "kept"} - state.keys():
            raise ValueError(f"this is no optimiser's state_dict: it lacks {', '.join(sorted(missing))}")
        if state["kind"] != type(self).__name__:
            raise ValueError(f"this is the state of {state['kind']}; a {type(self).__name__} cannot go on from it")
        loaded: dict[str, dict[str, Any]] = {}
        for path, own in state["kept"].items():
            p = self.parameters.get(path)
            if p is None or own.keys() != {"step", *self._keeps} or any(own[k].shape != p.shape for k in self._keeps):
                keeps = {name: "a count" if name == "step" else k.shape for name, k in own.items()}
                here = "is not there" if p is None else f"has shape {p.shape} and of which {self._keeps} are kept"
                raise ValueError(f"the state keeps {keeps} of {path}, which {here}; are model and options the same?")
            arrays = {k: np.array(to_host(own[k]), p.dtype, order="C") for k in self._keeps}
            loaded[path] = {"step": own["step"]} | {k: to_device(a, p.device) for k, a in arrays.items()}
        self.options, self.steps, self._kept = dict(state["options"]), state["steps"], loaded

    def _matched(self, grads: Any) -> dict[str, Any]:
        leaves, structure = tree.flatten(grads)
        given = dict(zip(_paths(structure), leaves, strict=True))
        missing, unknown = self.parameters.keys() - given.keys(), given.keys() - self.parameters.keys() - self._shared
        if missing or unknown:
            facts = [f"{what} {', '.join(sorted(n))}" for what, n in (("missing", missing), ("unknown", unknown)) if n]
            raise ValueError(f"the gradients do not match the parameters: {'; '.join(facts)}")
        return {path: given[path] for path in self.parameters}

    def _checked(self, path: str, g: Any) -> Array:
        p = self.parameters[path].data
        g = array_of(g)
        if type(g) is not type(p):
            where = device_of(g) if hasattr(g, "dtype") else type(g).__name__
            raise ValueError(f"{path} lives on {device_of(p)}, its gradient on {where}; move one with .to(device)")
        if g.shape != p.shape:
            raise ValueError(f"{path} has shape {p.shape}, its gradient {g.shape}; they must be equal")
        return g if g.dtype == p.dtype else g.astype(p.dtype)

    def _kept_for(self, path: str, p: Array) -> dict[str, Any]:
        """What is kept for one parameter, made when first needed, on the device where the parameter is now."""
        kept = self._kept.get(path)
        if kept is None:
            kept = self._kept[path] = {"step": 0}
            for name in self._keeps:
                kept[name] = namespace(p).zeros(p.shape, p.dtype)
        for name in self._keeps:
            if type(kept[name]) is not type(p):
                kept[name] = to_device(kept[name], device_of(p))
        kept["step"] += 1
        return kept

    def __repr__(self) -> str:
        options = "".join(f", {name}={value}" for name, value in self.options.items())
        return f"{type(self).__name__}({len(self.parameters)} parameters{options})"


def _flat(a: Array) -> Array:
    """A view as a vector, a complex one as pairs (real, imag): rules then know neither scalars nor complex numbers."""
    a = a.reshape(-1)
    return a.view(a.real.dtype) if a.dtype.kind == "c" else a


def _paths(structure: Any) -> Iterator[str]:
    """Where the leaves of a container are: ``"encoder/cell/U"``, ``"0"``."""
    if structure is None:
        return
    items: Any
    if isinstance(structure, dict):
        items = structure.items()
    elif isinstance(structure, list | tuple):
        items = enumerate(structure)
    else:
        yield ""
        return
    for key, value in items:
        for path in _paths(value):
            yield f"{key}/{path}" if path else str(key)


def _refuse_non_finite(gradients: dict[str, Array], step: int) -> None:
    """One sum tells whether all entries are finite; only then, or when it overflows, is each looked at."""
    if sum_of_squares(gradients.values()) < math.inf:
        return
    for path, g in gradients.items():
        bad = g.size - int(namespace(g).isfinite(g).sum())
        if bad:
            raise FloatingPointError(
                f"the gradient of {path} has {bad} NaN or infinite entries of {g.size} at step {step}; nothing was "
                "updated: lower lr, clip with clip_by_global_norm, or find the op with tg.detect_anomaly()"
            )
