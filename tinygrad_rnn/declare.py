"""The declarers: forward, vjp and jvp of an op said once, in a few lines.

>>> @elementwise("square", lambda x: 2 * x)          # one partial derivative per argument
... def square(x):
...     return x * x

A rule receives the values that it *names*: ``g`` (the cotangent; ``t``, the tangent, in a jvp rule), ``out``, an
argument, ``<argument>_shape`` or a parameter. Its signature, read once at import, is the save plan: nothing else is
kept alive for the backward pass. Rules are ordinary code over operators and ops, so on raw arrays they compute and
on Tensors they record: every derivative is differentiable again, to any order.

Rules never sum over broadcast axes: the drivers in autodiff.py do that once, for all ops.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .generate import generate
from .op import REGISTRY, Op, Rule, added, evaluate
from .tensor import zeros_beside

__all__ = ["bilinear", "constant", "elementwise", "linear", "primitive"]


def _declare(op: Op) -> Callable[..., Any]:
    REGISTRY[op.name] = op
    op.function = generate(op)
    return op.function


def _bind_vjps(op: Op, rules: Sequence[Rule | None]) -> None:
    if len(rules) > len(op.all_args):
        raise TypeError(f"`{op.name}` takes {len(op.all_args)} arrays but got {len(rules)} rules")
    rules = [*rules, *[None] * (len(op.all_args) - len(rules))]
    op.vjp = [rule and op.bind(rule, i) for i, rule in enumerate(rules[: len(op.args)])]
    if op.variadic and rules[-1] is not None:
        op.rest = op.bind(rules[-1], len(op.args))


def elementwise(name: str, *partials: Any, **options: Any) -> Callable[[Callable], Callable[..., Any]]:
    """Declare an op that works entry by entry, by one partial derivative per argument.

    ``∂out/∂x`` is a rule over values, a number (1 and -1 pass the cotangent through and save nothing), or None.
    Both vjp and jvp are then ``g * partial``.
    """

    def declare(forward: Callable) -> Callable[..., Any]:
        op = Op(name, "elementwise", forward, **options)
        if len(partials) != len(op.args) or op.variadic:
            raise TypeError(f"`{name}` takes {op.args} but got {len(partials)} partial derivatives")
        for i, partial in enumerate(partials):
            if callable(partial):
                op.vjp.append(op.bind(partial, i, "g * {}"))
            elif partial is None:
                op.vjp.append(None)
            else:
                factor = np.asarray(partial).item()  # a NumPy number would turn float32 into float64
                source = {1: "g", -1: "-g"}.get(factor, f"g * {factor!r}")
                op.vjp.append(evaluate(f"lambda g, s, p: {source}", {}))
        op.pushes = list(op.vjp)
        return _declare(op)

    return declare


def linear(
    name: str, *vjp: Rule | None, deferred: Any = None, **options: Any
) -> Callable[[Callable], Callable[..., Any]]:
    """Declare an op that is linear in the arguments that have a vjp rule (jointly); its jvp is the op itself.

    Arguments without a rule (indices, masks) are held fixed. A variadic op's rule returns all cotangents at once.
    ``deferred`` is as in ``bilinear``.
    """

    def declare(forward: Callable) -> Callable[..., Any]:
        op = Op(name, "linear", forward, **options)
        _bind_vjps(op, vjp)
        _bind_deferred(op, deferred)
        moving = [i for i, rule in enumerate(op.vjp) if rule is not None]
        fixed = {i: op.save(op.args[i], m) for i in range(len(op.args)) if i not in moving for m in moving or [0]}
        shapes = {i: op.save(f"{op.args[i]}_shape", m) for i in moving for m in moving if len(moving) > 1}
        rest = None
        if op.variadic:
            rest = op.save(f"{op.variadic}_shape" if op.rest else op.variadic, len(op.args))
        function = None

        def push_all(tangents: Sequence[Any], saved: tuple, params: dict) -> Any:
            like = next(t for t in tangents if t is not None)

            def moved(t: Any, shape: int | None, at: int | None = None) -> Any:
                if t is not None or shape is None:
                    return t
                sizes = saved[shape] if at is None else saved[shape][at]
                return zeros_beside(like, sizes)

            n = len(op.args)
            args = [saved[fixed[i]] if i in fixed else moved(tangents[i], shapes.get(i)) for i in range(n)]
            if op.variadic and op.rest:
                args += [moved(t, rest, at) for at, t in enumerate(tangents[n:])]
            elif op.variadic and rest is not None:
                args += saved[rest]
            assert function is not None
            return function(*args, **params)

        op.push_all = push_all
        function = _declare(op)
        return function

    return declare


def bilinear(name: str, *vjp: Rule | None, deferred: Any = None, **options: Any) -> Callable[[Callable], Callable]:
    """Declare an op that is linear in each argument; its jvp is derived: ``f(da, b) + f(a, db)``.

    ``deferred={argument: (part, combine)}``: instead of one cotangent per use, ``part`` (a rule) collects what is
    needed and ``combine(xp, parts, shape, dtype)`` sums all uses of a weight at once (one GEMM over T·B rows).
    """

    def declare(forward: Callable) -> Callable[..., Any]:
        op = Op(name, "bilinear", forward, **options)
        _bind_vjps(op, vjp)
        _bind_deferred(op, deferred)
        function = None
        n = len(op.args)
        others = {i: [op.save(a, i) if j != i else -1 for j, a in enumerate(op.args)] for i in range(n)}
        rest = op.save(op.variadic, n) if op.variadic else None

        def push_all(tangents: Sequence[Any], saved: tuple, params: dict) -> Any:
            assert function is not None
            total = None
            for i, t in enumerate(tangents):
                if t is None:
                    continue
                if rest is None:
                    args = [t if place < 0 else saved[place] for place in others[i]]
                else:
                    args = [t if j == i else x for j, x in enumerate(saved[rest])]
                total = added(total, function(*args, **params))
            return total

        op.push_all = push_all
        function = _declare(op)
        return function

    return declare


def primitive(
    name: str, *vjp: Rule | None, jvp: Rule | Sequence[Rule | None] = (), deferred: Any = None, **options: Any
) -> Callable[[Callable], Callable[..., Any]]:
    """Declare an op of no special form, by one vjp and one jvp rule per argument (``t`` names the tangent)."""

    def declare(forward: Callable) -> Callable[..., Any]:
        op = Op(name, "primitive", forward, **options)
        _bind_vjps(op, vjp)
        _bind_deferred(op, deferred)
        rules = [jvp] if callable(jvp) else list(jvp)
        if len(rules) > len(op.all_args):
            raise TypeError(f"`{name}` takes {len(op.all_args)} arrays but got {len(rules)} jvp rules")
        rules += [None] * (len(op.all_args) - len(rules))
        op.pushes = [rule and op.bind(rule, i, cotangent="t") for i, rule in enumerate(rules)]
        if op.variadic and (last := op.pushes.pop()) is not None:
            op.push_all = last
        return _declare(op)

    return declare


def constant(name: str, **options: Any) -> Callable[[Callable], Callable[..., Any]]:
    """Declare an op whose output no derivative passes through (comparisons, argmax, rounding)."""

    def declare(forward: Callable) -> Callable[..., Any]:
        op = Op(name, "constant", forward, **options)
        op.vjp = [None] * len(op.args)
        return _declare(op)

    return declare


def _bind_deferred(op: Op, deferred: dict[int, tuple[Rule, Rule]] | None) -> None:
    for argument, (part, combine) in (deferred or {}).items():
        op.deferred[argument] = (op.bind(part, argument), combine)
