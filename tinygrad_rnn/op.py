"""Ops: forward, vjp and jvp declared once, from which the function that users call is generated.

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

import inspect
from collections.abc import Callable, Sequence
from types import CodeType
from typing import Any

import numpy as np

from .backend import ARRAY_TYPES, NAMESPACES, namespace
from .node import Node, local, next_seq
from .tensor import Tensor

__all__ = ["REGISTRY", "Op", "bilinear", "constant", "elementwise", "linear", "primitive"]

REGISTRY: dict[str, Op] = {}
NO_PARAMS: dict[str, Any] = {}
Rule = Callable[..., Any]


class Op:
    """One operation: its forward function, its derivative rules bound to the values that they name, its save plan.

    ``vjp[i](g, saved, params)`` is the cotangent of argument i; ``push(tangents, …)`` the tangent of the output.
    A variadic op (``*xs``) has one rule that returns the cotangents of all of ``xs`` at once (``rest``).
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
        self.slots: list[str] = []  # the saved values, by the name that rules use
        self.needed_by: dict[str, set[int]] = {}  # slot → the arguments whose rules read it
        self.vjp: list[Rule | None] = []
        self.rest: Rule | None = None
        self.pushes: list[Rule | None] = []
        self.push_rest: Rule | None = None
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
        return _evaluate(f"lambda g, s, p: {template.format('rule(' + ', '.join(named) + ')')}", {"rule": rule})

    def attach(self, node: Node) -> tuple[Any, ...]:
        """The saved arrays as Tensors again, tied to the nodes that they came from, so that rules record."""
        attached = []
        for slot, value in zip(self.slots, node.saved, strict=True):
            if slot == "out":
                value = picks(value, node) if self.many else Tensor.of(value, node)
            elif slot in self.args:
                parent = node.inputs[self.args.index(slot)]
                value = value if parent is None else Tensor.of(value, parent)
            elif slot == self.variadic:
                pairs = zip(value, node.inputs[len(self.args) :], strict=True)
                value = tuple(v if n is None or v is None else Tensor.of(v, n) for v, n in pairs)
            attached.append(value)
        return tuple(attached)

    def rules(self, g: Any, saved: tuple, params: dict, inputs: int) -> Sequence[Rule | None]:
        """One bound vjp rule per input; those of a variadic tail are evaluated together."""
        if self.rest is None:
            return self.vjp + [None] * (inputs - len(self.vjp))
        parts = self.rest(g, saved, params)
        return [*self.vjp, *((lambda g, s, p, part=part: part) for part in parts)]

    def push(self, tangents: Sequence[Any], saved: tuple, params: dict) -> Any:
        """The tangent of the output from those of the inputs (None where an input does not move)."""
        if self.push_rest is not None:
            return self.push_rest(tangents, saved, params)
        total = None
        for rule, t in zip(self.pushes, tangents, strict=True):
            if t is not None:
                if rule is None:
                    raise TypeError(f"`{self.name}` has no jvp rule; declare one: primitive({self.name!r}, …, jvp=…)")
                total = _added(total, rule(t, saved, params))
        return total

    def __repr__(self) -> str:
        return f"<op {self.name} ({self.kind})>"


def _added(total: Any, part: Any) -> Any:
    """The sum of two tangents: None does not move, several outputs come as a tuple."""
    if total is None or part is None:
        return part if total is None else total
    return tuple(map(_added, total, part)) if isinstance(total, tuple | list) else total + part


def _evaluate(source: str, names: dict[str, Any]) -> Any:
    return eval(source, names)


def refusal(name: str, cause: str, values: Sequence[Any], kind: type[Exception] = ValueError) -> Exception:
    """The error that a user sees when an op cannot do what it is asked: the op, the place, the shapes and the cause."""
    shown = ", ".join(f"{tuple(v.shape)} {v.dtype}" if hasattr(v, "dtype") else repr(v)[:60] for v in values)
    place = f" at {local.frame.scope}" if local.frame.scope else ""
    return kind(f"{name}{place}: {shown}; {cause}")


def explain(op: Op, error: Exception, values: tuple) -> Exception:
    """The error of a forward function as a user sees it; its cause is the op's own hint, where it has one."""
    flat = [v for value in values for v in (value if type(value) is tuple else (value,))]
    modules = {module for v in flat if (module := NAMESPACES.get(type(v))) is not None}
    cause = str(error)
    if len(modules) > 1:
        names = " and ".join(sorted(m.__name__ for m in modules))
        cause = f"the arguments live on different devices ({names}); move one with .to(device)"
    elif op.hint is not None and (hint := op.hint(*values)):
        cause = hint
    kinds = (ValueError, TypeError, IndexError, KeyError, MemoryError, FloatingPointError, RuntimeError)
    kind = next((kind for kind in kinds if isinstance(error, kind)), ValueError)
    return refusal(op.name, cause, flat, kind)


def _function(op: Op) -> Callable[..., Any]:
    """Generate the function that users call: no loop over arguments, no plan looked up, at run time.

    What it does is what one would write by hand for each op: take the arrays out of the Tensors, compute, and when
    some differentiable argument is tracked, make the Node with just the values that the rules will ask for.
    """
    star = op.variadic
    defaults = {f"_default_{k}": v for k, v in op.params.items()}
    signature = op.args + ([f"*{star}"] if star else ["*"] if op.params else [])
    signature += [k if v is inspect.Parameter.empty else f"{k}=_default_{k}" for k, v in op.params.items()]
    lines = ["_raw = True"]
    for a in op.args:
        tensor, other = f"_n_{a} = {a}.node; {a} = {a}.data; _raw = False", f"_n_{a} = None"
        if f"{a}_shape" in op.slots:  # it may be a Python number beside an array
            tensor, other = f"{tensor}; _s_{a} = {a}.shape", f"{other}; _s_{a} = getattr({a}, 'shape', ())"
        lines += [f"if type({a}) is _Tensor: {tensor}", f"else: {other}"]
    if star:
        lines += [
            f"_n_{star} = tuple([_x.node if type(_x) is _Tensor else None for _x in {star}])",
            f"_raw = _raw and not any([type(_x) is _Tensor for _x in {star}])",
            f"{star} = tuple([_x.data if type(_x) is _Tensor else _x for _x in {star}])",
        ]
    values = "".join(f"{a}, " for a in op.all_args)
    call = (["_xp"] if op.takes_xp else []) + op.args + [f"*{star}"] * bool(star) + [f"{k}={k}" for k in op.params]
    lines += ["try:"]
    if op.takes_xp:
        found = [f"_namespaces[type({a})]" for a in op.args] + [f"_namespace(*{star})"] * bool(star)
        lines += [f"    _xp = {' or '.join(found)} or _numpy"]
    lines += [
        f"    _out = _forward({', '.join(call)})",
        "except Exception as _error:",
        f"    raise _explain(_op, _error, ({values})) from _error",
        "if _raw: return _out",
    ]
    if op.many:
        lines += ["_out = tuple([_x if type(_x) in _arrays else _numpy.asarray(_x) for _x in _out])"]
    else:
        lines += ["if type(_out) not in _arrays: _out = _numpy.asarray(_out)"]
    lines += ["_frame = _local.frame"]

    tracks = "{0} is not None and {0}.op is not _cut"  # an op on nothing but cut values is a constant
    tracked = [tracks.format(f"_n_{a}") for a, rule in zip(op.args, op.vjp, strict=False) if rule is not None]
    if star and op.rest is not None:
        tracked += [f"any([{tracks.format('_n')} for _n in _n_{star}])"]
    if tracked and op.kind != "constant":
        kept = [f"_n_{a}" if rule is not None else "None" for a, rule in zip(op.args, op.vjp, strict=False)]
        if star:
            kept += [f"*_n_{star}" if op.rest is not None else f"*[None] * len(_n_{star})"]
        saved = "".join(f"{_saved(op, slot)}, " for slot in op.slots)
        params = "{" + ", ".join(f"{k!r}: {k}" for k in op.params) + "}" if op.params else "_no_params"
        facts = "_shapes(_out), _dtypes(_out)" if op.many else "_out.shape, _out.dtype"
        lines += [
            f"if ({' or '.join(tracked)}) and _frame.recording:",
            f"    _node = _Node(_op, {params}, ({', '.join(kept)},), ({saved}), _next_seq(), _frame.scope, {facts})",
            "else: _node = None",
        ]
    else:
        lines += ["_node = None"]
    if op.many:
        lines += ["_t = _picks(_out, _node)"]
    else:
        lines += ["_t = _new(_Tensor); _t.data = _out; _t.node = _node; _t.grad = None; _t.name = None"]
    lines += [f"if _frame.watch is not None: _frame.watch(_op, ({values}), _t)", "return _t"]

    source = f"def {op.name}({', '.join(signature)}):\n" + "".join(f"    {line}\n" for line in lines)
    code: CodeType = compile(source, f"<op {op.name}>", "exec")
    names: dict[str, Any] = {
        **defaults, "_op": op, "_forward": op.forward, "_Tensor": Tensor, "_Node": Node, "_new": object.__new__,
        "_arrays": ARRAY_TYPES, "_namespaces": NAMESPACES, "_namespace": namespace, "_numpy": np, "_local": local,
        "_next_seq": next_seq, "_no_params": NO_PARAMS, "_cut": CUT, "_explain": explain, "_picks": picks,
        "_shapes": lambda xs: tuple([getattr(x, "shape", ()) for x in xs]),
        "_dtypes": lambda xs: tuple([x.dtype for x in xs]),
    }  # fmt: skip
    exec(code, names)
    function = names[op.name]
    function.__doc__, function.__module__, function.op = op.forward.__doc__, op.forward.__module__, op
    return function


def _saved(op: Op, slot: str) -> str:
    """The expression that yields a saved value, or None in calls where no tracked argument's rule reads it."""
    name = slot.removesuffix("_shape")
    if slot in ("out", *op.all_args):
        value = "_out" if slot == "out" else slot
    elif name == op.variadic or (name == "out" and op.many):
        value = f"_shapes({'_out' if name == 'out' else name})"
    else:
        value = "_out.shape" if name == "out" else f"_s_{name}"
    readers = [i for i in sorted(op.needed_by[slot]) if i < len(op.args)]
    differentiable = [i for i, rule in enumerate(op.vjp) if rule is not None]
    if op.variadic or readers == differentiable:
        return value
    return f"{value} if {' or '.join(f'_n_{op.args[i]} is not None' for i in readers)} else None"


def picks(outputs: tuple, node: Node | None) -> tuple[Tensor, ...]:
    """The outputs of a tuple-valued node, each with a ``pick`` node of its own."""
    if node is None:
        return tuple(Tensor.of(x, None) for x in outputs)
    return tuple(
        Tensor.of(x, Node(PICK, {"index": i}, (node,), (), next_seq(), node.scope, x.shape, x.dtype))
        for i, x in enumerate(outputs)
    )


LEAF = Op("leaf", "leaf", lambda: None)  # what a user made: a parameter, an input
CUT = Op("cut", "cut", lambda: None)  # what detach made: the end of the way back, as a node that can be drawn
PICK = Op("pick", "pick", lambda x, *, index: None)  # one output of a tuple-valued node; the drivers know it


def _declare(op: Op) -> Callable[..., Any]:
    REGISTRY[op.name] = op
    return _function(op)


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
                op.vjp.append(_evaluate(f"lambda g, s, p: {source}", {}))
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

        def push_rest(tangents: Sequence[Any], saved: tuple, params: dict) -> Any:
            like = next(t for t in tangents if t is not None)

            def moved(t: Any, shape: int | None, at: int | None = None) -> Any:
                if t is not None or shape is None:
                    return t
                sizes = saved[shape] if at is None else saved[shape][at]
                array = like.data if type(like) is Tensor else like
                return namespace(array).zeros(sizes, array.dtype)

            n = len(op.args)
            args = [saved[fixed[i]] if i in fixed else moved(tangents[i], shapes.get(i)) for i in range(n)]
            if op.variadic and op.rest:
                args += [moved(t, rest, at) for at, t in enumerate(tangents[n:])]
            elif op.variadic and rest is not None:
                args += saved[rest]
            assert function is not None
            return function(*args, **params)

        op.push_rest = push_rest
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

        def push_rest(tangents: Sequence[Any], saved: tuple, params: dict) -> Any:
            assert function is not None
            total = None
            for i, t in enumerate(tangents):
                if t is None:
                    continue
                if rest is None:
                    args = [t if place < 0 else saved[place] for place in others[i]]
                else:
                    args = [t if j == i else x for j, x in enumerate(saved[rest])]
                total = _added(total, function(*args, **params))
            return total

        op.push_rest = push_rest
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
            op.push_rest = last
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
