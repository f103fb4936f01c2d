"""For users who write ops, cells or losses: check their derivatives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from . import tree
from .backend import to_device, to_host
from .tensor import Tensor, tensor
from .transforms import jvp, vjp

__all__ = ["gradcheck"]


def gradcheck(
    f: Callable, *inputs: Any, order: int = 2, eps: float = 1e-6, rtol: float = 1e-6, atol: float = 1e-8, seed: int = 0
) -> None:
    """Check the derivatives of ``f(*inputs)``, up to ``order``: vjp, jvp and central differences must agree.

    For each floating input x, random u and v, and dy = ∂f/∂x · u: ⟨vᵀ ∂f/∂x, u⟩ by vjp, ⟨v, dy⟩ by jvp, and
    ⟨v, f(x + εu) − f(x − εu)⟩ / 2ε. The differences may be off by ``rtol`` of Σ |v dy| plus ``atol`` plus their
    rounding; vjp and jvp must agree 10⁴ times better. The next order checks x ↦ vᵀ ∂f/∂x and x ↦ dy the same way.

    Inputs are arrays, Tensors, numbers, Modules, or containers of them; what is not floating is held fixed. Raises
    TypeError unless they are float64 or complex128, AssertionError with the input, the check and the two numbers.

    >>> import tinygrad_rnn as tg
    >>> gradcheck(lambda x, w: tg.tanh(x @ w), np.ones((2, 3)), np.eye(3))
    >>> gradcheck(lambda x: x * tg.detach(x), 3.0)
    Traceback (most recent call last):
    AssertionError: gradcheck, order 1: the derivative by input 0 is ... by vjp but ... by central differences; ...
    """
    names, leaves = [], []
    for i, given in enumerate(inputs):
        for name, leaf in _named(given, f"input {i}"):
            names.append(name)
            leaves.append(leaf if isinstance(leaf, Tensor) and leaf.is_leaf else _double(leaf))
    for name, leaf in zip(names, leaves, strict=True):
        if _moves(leaf) and leaf.dtype not in (np.float64, np.complex128):
            raise TypeError(
                f"gradcheck: {name} is {leaf.dtype}, whose rounding drowns the differences; "
                "give float64 or complex128: x.astype('float64')"
            )
    args = tree.replace(inputs, leaves)
    checker = _Checker(args, names, leaves, eps, rtol, atol, np.random.default_rng(seed))
    checker.check(f, 1, order)


def _named(container: Any, name: str) -> Iterator[tuple[str, Any]]:
    """The leaves, in the order of tree.flatten, with names that a message can show."""
    if hasattr(container, "parameters_by_path"):
        for path, parameter in container.parameters_by_path().items():
            yield f"{name}.{path}", parameter
    elif isinstance(container, dict | list | tuple):
        items = container.items() if isinstance(container, dict) else enumerate(container)
        for key, value in items:
            yield from _named(value, f"{name}[{key!r}]")
    elif container is not None:
        yield name, container


def _double(leaf: Any) -> Any:
    """Arrays as Tensors, Python numbers in double precision; what is not a number as it is."""
    if isinstance(leaf, float | complex):
        return tensor(np.asarray(leaf))
    return tensor(leaf) if hasattr(leaf, "dtype") else leaf


def _moves(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype.kind in "fc"


class _Checker:
    """The inputs, as Tensors whose data is stepped and put back, and the random directions."""

    def __init__(self, args: tuple, names: list[str], leaves: list, eps: float, rtol: float, atol: float, rng: Any):
        self.args, self.names, self.leaves = args, names, leaves
        self.eps, self.rtol, self.atol, self.rng = eps, rtol, atol, rng

    def like(self, t: Tensor) -> Tensor:
        """Random numbers in the shape and dtype of t; zeros for what is not floating."""
        values = self.rng.standard_normal(t.shape)
        if t.dtype.kind == "c":
            values = values + 1j * self.rng.standard_normal(t.shape)
        return tensor(np.asarray(values if _moves(t) else np.zeros(t.shape)).astype(t.dtype), device=t.device)

    def values(self, f: Callable) -> list[np.ndarray]:
        return [to_host(y.data) for y in tree.leaves(f(*self.args)) if _moves(y)]

    def differences(self, f: Callable, leaf: Tensor, u: Tensor) -> list[np.ndarray]:
        """Central differences of f along the direction u of one input."""
        data = leaf.data
        try:
            leaf.data = data + self.eps * u.data
            ahead = self.values(f)
            leaf.data = data - self.eps * u.data
            behind = self.values(f)
        finally:
            leaf.data = data
        return [(a - b) / (2 * self.eps) for a, b in zip(ahead, behind, strict=True)]

    def check(self, f: Callable, level: int, order: int) -> None:
        y, pullback = vjp(f, *self.args)
        outputs, structure = tree.flatten(y)
        again = self.values(f)
        ys = [to_host(t.data) for t in outputs if _moves(t)]
        if not ys:
            raise TypeError("gradcheck: f returns nothing floating; return the Tensors to differentiate")
        if not all(np.array_equal(a, b, equal_nan=True) for a, b in zip(ys, again, strict=True)):
            raise AssertionError("gradcheck: two calls of f differ; draw random numbers once, outside f")
        cotangents = [self.like(t) for t in outputs]
        v = tree.unflatten(structure, cotangents)
        vs = [to_host(c.data) for t, c in zip(outputs, cotangents, strict=True) if _moves(t)]
        gradients = iter(tree.leaves(pullback(v)))
        rounding = 16 * np.finfo(np.float64).eps / self.eps * _inner(vs, ys)[1]
        zeros = [tensor(to_device(np.zeros(x.shape, x.dtype), x.device)) if _moves(x) else 0.0 for x in self.leaves]
        for i, (name, leaf) in enumerate(zip(self.names, self.leaves, strict=True)):
            if not _moves(leaf):
                continue
            u = self.like(leaf)
            along = tree.unflatten(tree.flatten(self.args)[1], [*zeros[:i], u, *zeros[i + 1 :]])
            tangent = jvp(f, self.args, along)[1]
            by_jvp, size = _inner(vs, [to_host(t.data) for t in tree.leaves(tangent) if _moves(t)])
            by_vjp, size_back = _inner([to_host(next(gradients).data)], [to_host(u.data)])
            by_differences, _ = _inner(vs, self.differences(f, leaf, u))
            allowed = self.rtol * max(size, size_back) + self.atol
            for one, a, other, b, limit in (
                ("vjp", by_vjp, "central differences", by_differences, allowed + rounding),
                ("jvp", by_jvp, "central differences", by_differences, allowed + rounding),
                ("vjp", by_vjp, "jvp", by_jvp, 1e-4 * allowed),
            ):
                if not abs(a - b) <= limit:
                    raise AssertionError(
                        f"gradcheck, order {level}: the derivative by {name} is {a:.10g} by {one} but {b:.10g} by "
                        f"{other}; {abs(a - b):.1e} apart, {limit:.1e} allowed"
                    )
            if level < order:
                self.check(lambda *xs, along=along: jvp(f, xs, along)[1], level + 1, order)
        if level < order:
            self.check(lambda *xs: vjp(f, *xs)[1](v), level + 1, order)


def _inner(a: list[np.ndarray], b: list[np.ndarray]) -> tuple[float, float]:
    """Re Σ ā b, and Σ |ā b|."""
    products = [np.conj(x) * y for x, y in zip(a, b, strict=True)]
    return float(sum(p.real.sum() for p in products)), float(sum(np.abs(p).sum() for p in products))
