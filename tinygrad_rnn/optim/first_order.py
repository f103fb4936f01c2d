"""Optimisers that follow the gradient: each is one update rule on arrays; all else is shared.

A rule sees parameter p, gradient g and the arrays kept for p as flat real vectors, and equals that of ``torch.optim``.
It changes what is kept in place and returns the new values of p in an array of their own: arrays that a live graph
saved stay what they were.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .. import tree
from ..backend import device_of, namespace, to_device, to_host
from ..tensor import Tensor, array_of
from .clip import sum_of_squares

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Optimizer", "RMSprop"]

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


class SGD(Optimizer):
    """``v ← momentum · v + g; p ← p − lr · v``, or ``p − lr (g + momentum · v)`` with Nesterov (Sutskever et al. 2013).

    >>> import tinygrad_rnn as tg
    >>> w = tg.tensor(1.0, requires_grad=True)
    >>> optimizer = SGD([w], lr=0.1)
    >>> (w * w).backward()
    >>> optimizer.step()
    >>> w
    tensor(0.8, requires_grad=True)
    """

    def __init__(
        self, parameters: Any, *, lr: float, momentum: float = 0.0, nesterov: bool = False, weight_decay: float = 0.0
    ) -> None:
        if nesterov and not momentum:
            raise ValueError("SGD: nesterov=True looks ahead along the momentum, which is 0; set momentum=0.9, say")
        keeps = ("velocity",) if momentum else ()
        super().__init__(
            parameters, keeps=keeps, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay
        )

    @staticmethod
    def update(xp, p, g, kept, *, lr, momentum, nesterov, weight_decay):
        g = _decayed(p, g, weight_decay)
        if momentum:
            v = kept["velocity"]
            v *= momentum
            v += g
            g = g + momentum * v if nesterov else v
        new = lr * g
        return xp.subtract(p, new, out=new)


class RMSprop(Optimizer):
    """``s ← α s + (1 − α) g²; p ← p − lr · g / (√s + eps)`` (Tieleman & Hinton 2012).

    ``centered`` subtracts the squared mean of g from s (Graves 2013); ``momentum`` is applied to the quotient.

    >>> import tinygrad_rnn as tg
    >>> RMSprop({"w": tg.tensor(1.0, requires_grad=True)}, lr=0.001)
    RMSprop(1 parameters, lr=0.001, alpha=0.99, eps=1e-08, momentum=0.0, centered=False, weight_decay=0.0)
    """

    def __init__(
        self,
        parameters: Any,
        *,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        momentum: float = 0.0,
        centered: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(
            parameters,
            keeps=("square", *["mean"] * centered, *["velocity"] * (momentum > 0)),
            lr=lr,
            alpha=alpha,
            eps=eps,
            momentum=momentum,
            centered=centered,
            weight_decay=weight_decay,
        )

    @staticmethod
    def update(xp, p, g, kept, *, lr, alpha, eps, momentum, centered, weight_decay):
        g = _decayed(p, g, weight_decay)
        s = kept["square"]
        new = _average(xp, s, g * g, alpha)
        if centered:
            m = kept["mean"]
            _average(xp, m, g.copy(), alpha)
            xp.multiply(m, m, out=new)
            xp.subtract(s, new, out=new)
            xp.maximum(new, 0, out=new)  # the variance, which rounding can make negative
            xp.sqrt(new, out=new)
        else:
            xp.sqrt(s, out=new)
        new += eps
        xp.divide(g, new, out=new)
        if momentum:
            v = kept["velocity"]
            v *= momentum
            v += new
            xp.multiply(v, lr, out=new)
        else:
            new *= lr
        return xp.subtract(p, new, out=new)


class Adagrad(Optimizer):
    """``s ← s + g²; p ← p − lr / (1 + (n − 1) lr_decay) · g / (√s + eps)`` at update n (Duchi et al. 2011).

    >>> import tinygrad_rnn as tg
    >>> w = tg.tensor([1.0, -1.0], requires_grad=True)
    >>> Adagrad([w], lr=0.1).step([tg.tensor([3.0, -0.2])])
    >>> w
    tensor([ 0.9, -0.9], requires_grad=True)
    """

    def __init__(
        self, parameters: Any, *, lr: float = 1e-2, lr_decay: float = 0.0, eps: float = 1e-10, weight_decay: float = 0.0
    ) -> None:
        super().__init__(parameters, keeps=("square",), lr=lr, lr_decay=lr_decay, eps=eps, weight_decay=weight_decay)

    @staticmethod
    def update(xp, p, g, kept, *, lr, lr_decay, eps, weight_decay):
        g = _decayed(p, g, weight_decay)
        s = kept["square"]
        new = g * g
        s += new
        xp.sqrt(s, out=new)
        new += eps
        xp.divide(g, new, out=new)
        new *= lr / (1 + (kept["step"] - 1) * lr_decay)
        return xp.subtract(p, new, out=new)


class Adam(Optimizer):
    """``m ← β₁ m + (1 − β₁) g; v ← β₂ v + (1 − β₂) g²; p ← p − lr · m̂ / (√v̂ + eps)`` (Kingma & Ba 2015).

    ``m̂ = m / (1 − β₁ⁿ)`` and ``v̂ = v / (1 − β₂ⁿ)`` at update n; weight decay is added to g.

    >>> import tinygrad_rnn as tg
    >>> w = tg.tensor([1.0, -1.0], requires_grad=True)
    >>> Adam([w], lr=0.1).step([tg.tensor([3.0, -0.2])])
    >>> w
    tensor([ 0.9, -0.9], requires_grad=True)
    """

    def __init__(
        self,
        parameters: Any,
        *,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, keeps=("m", "v"), lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    @staticmethod
    def update(xp, p, g, kept, *, lr, betas, eps, weight_decay):
        new = _adam_direction(xp, _decayed(p, g, weight_decay), kept, betas, eps)
        new *= -lr
        new += p
        return new


class AdamW(Optimizer):
    """Adam with the decay apart from the gradient: ``p ← p − lr (m̂ / (√v̂ + eps) + weight_decay · p)``
    (Loshchilov & Hutter 2019).

    >>> import tinygrad_rnn as tg
    >>> w = tg.tensor([1.0, -1.0], requires_grad=True)
    >>> AdamW([w], lr=0.1, weight_decay=0.5).step([tg.tensor([3.0, -0.2])])
    >>> w
    tensor([ 0.85, -0.85], requires_grad=True)
    """

    def __init__(
        self,
        parameters: Any,
        *,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(parameters, keeps=("m", "v"), lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    @staticmethod
    def update(xp, p, g, kept, *, lr, betas, eps, weight_decay):
        new = _decayed(p, _adam_direction(xp, g, kept, betas, eps), weight_decay)
        new *= -lr
        new += p
        return new


def _adam_direction(xp: Any, g: Array, kept: dict[str, Any], betas: tuple[float, float], eps: float) -> Array:
    """m̂ / (√v̂ + eps), in an array of its own; it is the only one made."""
    m, v = kept["m"], kept["v"]
    new = _average(xp, m, g.copy(), betas[0])
    xp.multiply(g, g, out=new)
    _average(xp, v, new, betas[1])
    xp.sqrt(v, out=new)
    correction = math.sqrt(1 - betas[1] ** kept["step"])
    new += eps * correction
    xp.divide(m, new, out=new)
    new *= correction / (1 - betas[0] ** kept["step"])
    return new


def _average(xp: Any, average: Array, new: Array, decay: float) -> Array:
    """``average ← decay · average + (1 − decay) · new``, in place; ``new`` is used up and returned as free memory."""
    new *= 1 - decay
    average *= decay
    average += new
    return new


def _decayed(p: Array, g: Array, weight_decay: float) -> Array:
    return g + weight_decay * p if weight_decay else g


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
