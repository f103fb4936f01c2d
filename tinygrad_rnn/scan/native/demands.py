"""What a direction begins with, and what it must store: inputs, outputs, carries, gradients, operands of products."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..graph import Refused, Value
from ..rows import INVARIANT, TOTAL
from .direction import LOOP, Direction, Root, Total
from .places import Place, laid_out
from .reductions import reduction

__all__ = ["demand", "enter"]


def enter(d: Direction) -> None:
    """Places for what is there from the beginning, and for the next carry. Raises Refused for a carry that is fixed."""
    g, places = d.graph, d.places
    if d.back:
        for i, v in enumerate(g.g_ys):
            places.put(v, places.buffer("step", v, outside=f"g_y{i}"))
        for v in g.g_carry:
            places.put(v, places.buffer("pong", v), "read")
        return
    for i, v in enumerate(g.xs):
        places.put(v, places.buffer("step", v, outside=f"x{i}"))
    for i, v in enumerate(g.carry):
        places.put(v, places.buffer("carry", v, outside=f"carry{i}"), "read")
    for old, v in zip(g.carry, g.carry_out, strict=True):
        if v.kind in ("number", "fill") or d.labels[v] == INVARIANT:
            raise Refused("a carry does not depend on the input or the state")
        if _is_mask(v):
            raise Refused("a carry is boolean, which machine code does not store")
        buffer = places.stored[old].buffer
        if places.find(v) is not None:  # another carry, an input, or the same value carried twice
            d.extra.append(Root(v, LOOP, laid_out(v, d.labels[v], buffer, "write")))
        else:
            d.roots[v] = Root(v, LOOP, places.put(v, buffer, "write"))


def demand(d: Direction, keep: Iterable[Value]) -> None:
    """Store what is asked for from outside, and what products read. ``keep``: what the way back wants of the step."""
    for v in keep:
        d.store(v, "step")
    if d.back:
        for v, gradient in d.graph.gradients.items():
            _gradient(d, v, gradient)
        for v, g in zip(d.graph.carry, d.graph.g_carry, strict=True):
            if v not in d.graph.gradients:  # no cotangent goes on to the step before
                d.store_at(_zeros(d, v), laid_out(v, 0, d.places.stored[g].buffer, "write"))
    else:
        d.y_places += [_output(d, v, f"y{i}") for i, v in enumerate(d.graph.ys)]
    for p in list(d.products.values()):
        for operand, _, phase in p.terms:
            d.operand(operand, "step" if phase != LOOP else "rows")


def _is_mask(v: Value) -> bool:
    return v.dtype is not None and v.dtype.kind == "b"


def _zeros(d: Direction, like: Value) -> Value:
    made = Value("fill", array=np.zeros(1, like.dtype))
    made.shape, made.dtype = like.shape, like.dtype
    d.labels[made] = 0
    return made


def _output(d: Direction, v: Value, name: str) -> Place:
    """An output along time: where it lies anyway, if nothing else is handed out from there, else a copy."""
    if _is_mask(v):
        raise Refused("an output is boolean, which machine code does not store")
    if v.kind in ("number", "fill") or d.labels[v] == INVARIANT:
        raise Refused("an output does not depend on the input or the state")
    place = d.places.find(v)
    if place is not None and place.source is v and place.buffer.kind == "carry":
        return place
    if place is None:
        place = d.store(v, "step")
        place.buffer.outside = place.buffer.outside or name
        return place
    if place.source is v and place.buffer.kind == "step" and not place.buffer.outside:
        place.buffer.outside = name
        return place
    copy = laid_out(v, d.labels[v], d.places.buffer("step", v, outside=name))
    d.extra.append(Root(v, d.phase(v), copy))
    return copy


def _gradient(d: Direction, v: Value, gradient: Value) -> None:
    """Where the gradient of a value goes, by what the value is."""
    label = d.labels[gradient]
    made = d.products.get(gradient)
    if label == TOTAL:
        _total(d, gradient)
    elif label == INVARIANT:
        raise Refused("a gradient does not depend on the cotangents")
    elif v.kind == "x":
        if made is None:
            d.store_at(gradient, laid_out(gradient, label, d.places.buffer("step", v, outside=f"gx{v.index}")))
    elif v.kind == "carry":
        if made is None or made.place.buffer.kind != "pong":
            buffer = d.places.stored[d.graph.g_carry[v.index]].buffer
            d.store_at(gradient, laid_out(gradient, label, buffer, "write"))
    else:  # captured, with a batch axis: added up along time, row by row
        if reduction(gradient, d.labels) is not None:
            d.store(gradient, "rows")
        place = laid_out(gradient, label, d.places.buffer("rows", gradient, outside=f"g_given{id(v)}"))
        d.extra.append(Root(gradient, LOOP, place, add=True))
        d.totals[gradient] = Total("rows", place)


def _total(d: Direction, v: Value) -> None:
    """How a sum over the batch is made; what it is made of is demanded. Raises Refused for one that has no code."""
    if v in d.totals or v.kind in ("number", "fill"):
        return
    parts = [a for a in v.args if d.labels.get(a) == TOTAL]
    if parts:
        d.totals[v] = Total("op", None)
        for a in parts:
            _total(d, a)
        return
    if v.name == "matmul":
        turned, g = v.args
        if turned.name in ("swapaxes", "transpose") and len(turned.shape) == 2 and len(g.shape) == 2:
            d.totals[v] = Total("outer", (d.operand(turned.args[0], "step"), d.operand(g, "step")))
            return
    if v.name == "sum" and len(np.atleast_1d(v.params["axis"])) == 1:
        x = v.args[0]
        if reduction(x, d.labels) is not None:
            d.store(x, "rows")
        place = laid_out(x, d.labels[x], d.places.buffer("groups", x))
        d.extra.append(Root(x, d.phase(x), place, add=True))
        d.totals[v] = Total("sum", place)
        return
    raise Refused(f"a gradient is summed over the batch by `{v.name}`, which has no code")
