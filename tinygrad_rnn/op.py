"""Op: one operation and its derivative rules, bound to the values that they name; what is kept for the way back.

Declared in declare.py, turned into the function that users call in generate.py.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from .node import local

__all__ = ["CUT", "LEAF", "NO_PARAMS", "PICK", "REGISTRY", "Op", "Rule", "added", "evaluate", "refusal"]

REGISTRY: dict[str, Op] = {}
NO_PARAMS: dict[str, Any] = {}
Rule = Callable[..., Any]


class Op:
    """One operation: its forward function, its derivative rules bound to the values that they name, its save plan.

    ``vjp[i](g, saved, params)`` is the cotangent of argument i; ``push(tangents, …)`` the tangent of the output.
    A variadic op (``*xs``) has one rule that returns the cotangents of all of ``xs`` at once (``rest``); ``push_all``
    is one rule that sees all tangents at once.
    ``deferred`` maps an argument to (part, combine): contributions that are summed later, in one go.
    """

    def __init__(
        self, name: str, kind: str, forward: Callable, *, many: bool = False, hint: Callable | None = None
    ) -> None:
        self.name, self.kind, self.forward, self.many, self.hint = name, kind, forward, many, hint
        parameters = list(inspect.signature(forward).parameters.values())
        self.takes_xp = bool(parameters) and parameters[0].name == "xp"
        parameters = parameters[self.takes_xp :]
        for p in parameters:
            if p.kind is p.POSITIONAL_OR_KEYWORD and p.default is not p.empty:
                raise TypeError(f"`{name}`: {p.name} has a default, so it is no array; write it after a *")
            if p.name in ("g", "t", "out"):
                raise TypeError(f"`{name}`: in rules `{p.name}` means the cotangent, tangent or output; rename it")
        if not name.isidentifier():
            raise TypeError(f"`{name}` is not a name that a Python function can have")
        self.args = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        self.variadic = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), None)
        self.params = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
        self.function: Callable[..., Any] = forward  # what users call, once generated
        self.slots: list[str] = []  # the saved values, by the name that rules use
        self.needed_by: dict[str, set[int]] = {}  # slot → the arguments whose rules read it
        self.vjp: list[Rule | None] = []
        self.rest: Rule | None = None
        self.pushes: list[Rule | None] = []
        self.push_all: Rule | None = None
        self.deferred: dict[int, tuple[Rule, Rule]] = {}

    @property
    def all_args(self) -> list[str]:
        return self.args if self.variadic is None else [*self.args, self.variadic]

    def save(self, slot: str, argument: int) -> int:
        """Plan to keep ``slot`` whenever ``argument`` is differentiated; its place in ``Node.saved``."""
        if slot not in self.slots:
            self.slots.append(slot)
        self.needed_by.setdefault(slot, set()).add(argument)
        return self.slots.index(slot)

    def bind(self, rule: Rule, argument: int, template: str = "{}", *, cotangent: str = "g") -> Rule:
        """The rule as a function of (g, saved, params), with each name it asks for read from its place."""
        source = {cotangent: "g", "g": "g"}
        named = []
        for name in inspect.signature(rule).parameters:
            if name in source:
                named.append("g")
            elif name in self.params:
                named.append(f"p[{name!r}]")
            elif name.removesuffix("_shape") in ("out", *self.all_args):
                named.append(f"s[{self.save(name, argument)}]")
            else:
                values = ["out", *self.all_args]
                known = [*source, *values, *(f"{v}_shape" for v in values), *self.params]
                raise TypeError(
                    f"rule of `{self.name}` asks for `{name}`; it may name {', '.join(dict.fromkeys(known))}"
                )
        return evaluate(f"lambda g, s, p: {template.format('rule(' + ', '.join(named) + ')')}", {"rule": rule})

    def rules(self, g: Any, saved: tuple, params: dict, inputs: int) -> Sequence[Rule | None]:
        """One bound vjp rule per input; those of a variadic tail are evaluated together."""
        if self.rest is None:
            return self.vjp + [None] * (inputs - len(self.vjp))
        parts = self.rest(g, saved, params)
        return [*self.vjp, *((lambda g, s, p, part=part: part) for part in parts)]

    def push(self, tangents: Sequence[Any], saved: tuple, params: dict) -> Any:
        """The tangent of the output from those of the inputs (None where an input does not move)."""
        if self.push_all is not None:
            return self.push_all(tangents, saved, params)
        total = None
        for rule, t in zip(self.pushes, tangents, strict=True):
            if t is not None:
                if rule is None:
                    raise TypeError(f"`{self.name}` has no jvp rule; declare one: primitive({self.name!r}, …, jvp=…)")
                total = added(total, rule(t, saved, params))
        return total

    def __repr__(self) -> str:
        return f"<op {self.name} ({self.kind})>"


def added(total: Any, part: Any) -> Any:
    """The sum of two tangents: None does not move, several outputs come as a tuple."""
    if total is None or part is None:
        return part if total is None else total
    return tuple(map(added, total, part)) if isinstance(total, tuple | list) else total + part


def evaluate(source: str, names: dict[str, Any]) -> Any:
    """The rule that a line of source describes."""
    return eval(source, names)


def refusal(name: str, cause: str, values: Sequence[Any], kind: type[Exception] = ValueError) -> Exception:
    """The error that a user sees when an op cannot do what it is asked: the op, the place, the shapes and the cause."""
    shown = ", ".join(f"{tuple(v.shape)} {v.dtype}" if hasattr(v, "dtype") else repr(v)[:60] for v in values)
    place = f" at {local.frame.scope}" if local.frame.scope else ""
    return kind(f"{name}{place}: {shown}{'; ' * bool(shown)}{cause}")


LEAF = Op("leaf", "leaf", lambda: None)  # what a user made: a parameter, an input
CUT = Op("cut", "cut", lambda: None)  # what detach made: the end of the way back, as a node that can be drawn
PICK = Op("pick", "pick", lambda x, *, index: None)  # one output of a tuple-valued node; the drivers know it
