"""From an op to the function that users call: its source, generated once, at import."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import CodeType
from typing import Any

import numpy as np

from .backend import ARRAY_TYPES, NAMESPACES, namespace
from .node import Node, local, next_seq
from .op import CUT, NO_PARAMS, PICK, Op, refusal
from .tensor import Tensor

__all__ = ["explain", "generate", "picks"]


def generate(op: Op) -> Callable[..., Any]:
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

    given = "{" + ", ".join(f"{k!r}: {k}" for k in op.params) + "}" if op.params else "_no_params"
    tracks = "{0} is not None and {0}.op is not _cut"  # an op on nothing but cut values is a constant
    tracked = [tracks.format(f"_n_{a}") for a, rule in zip(op.args, op.vjp, strict=False) if rule is not None]
    if star and op.rest is not None:
        tracked += [f"any([{tracks.format('_n')} for _n in _n_{star}])"]
    if tracked and op.kind != "constant":
        kept = [f"_n_{a}" if rule is not None else "None" for a, rule in zip(op.args, op.vjp, strict=False)]
        if star:
            kept += [f"*_n_{star}" if op.rest is not None else f"*[None] * len(_n_{star})"]
        saved = "".join(f"{_saved(op, slot)}, " for slot in op.slots)
        facts = "_shapes(_out), _dtypes(_out)" if op.many else "_out.shape, _out.dtype"
        lines += [
            f"if ({' or '.join(tracked)}) and _frame.recording:",
            f"    _node = _Node(_op, {given}, ({', '.join(kept)},), ({saved}), _next_seq(), _frame.scope, {facts})",
            "else: _node = None",
        ]
    else:
        lines += ["_node = None"]
    if op.many:
        lines += ["_t = _picks(_out, _node)"]
    else:
        lines += ["_t = _new(_Tensor); _t.data = _out; _t.node = _node; _t.grad = None; _t.name = None"]
    parents = "".join(f"_n_{a}, " for a in op.all_args)
    lines += [f"if _frame.watch is not None: _frame.watch(_op, ({values}), ({parents}), {given}, _t)", "return _t"]

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
    made = names[op.name]
    made.__doc__, made.__module__, made.op = op.forward.__doc__, op.forward.__module__, op
    return made


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
