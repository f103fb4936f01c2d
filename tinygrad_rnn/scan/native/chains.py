"""Products with weights, found in the graph: sums of several become one chain, each added to what the last one left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from ..graph import Value
from ..rows import INVARIANT
from ..sums import is_product, readers, terms
from .direction import AFTER, BEFORE, LOOP, PHASES, Direction, Product, Root, Term
from .places import Place

__all__ = ["find_chains"]


def find_chains(d: Direction, keep: Collection[Value]) -> None:
    """Fill ``d.products`` with every product of the direction, together with what is added to it for nothing."""
    users = readers(d.graph)
    absorbed: set[Value] = set()
    written: set[Value] = set()  # sums that are stored in any case, so that a product may be added to the rest of one
    if d.back:
        written = {v for v in d.carried if v not in d.roots}
        written |= {g for v, g in d.graph.gradients.items() if v.kind == "x"}
    for v in reversed(d.own):
        if v in absorbed or not isinstance(d.labels.get(v), int):
            continue
        if not (is_product(v, d.labels) or v.name == "add"):
            continue
        sums, found = terms(v, users, d.mine)
        products = [t for t in found if is_product(t, d.labels)]
        if not products:
            continue
        others = [t for t in found if t not in products]
        bias = [t for t in others if _is_bias(d, t, v)]
        rest = [t for t in others if t not in bias]
        if len(bias) > 1 or (rest and v not in written) or len(rest) > 1 or (rest and bias):
            continue
        absorbed |= {*sums, *products}
        if _apart(d, v, products, rest, users):
            for p in products:
                _chain(d, p, [p], None, None, keep)
        else:
            _chain(d, v, products, bias[0] if bias else None, rest[0] if rest else None, keep)


def _is_bias(d: Direction, t: Value, v: Value) -> bool:
    """Whether one vector, its entries behind one another, is added to every row of v."""
    if d.labels.get(t) != INVARIANT or t.shape != v.shape[1:]:
        return False
    place = d.places.find(t)
    return place is not None and place.strides == (1,)


def _apart(d: Direction, v: Value, products: list[Value], rest: list[Value], users: Counter[Value]) -> bool:
    """Whether each product is a chain of its own, and v a sum of them like any other.

    So it is where others read a product too, where what they are added to is there only later than one of them could
    be done, and where v is the next cotangent of a carry, which has no room for what is done before the loop.
    """
    phases = [PHASES.index(d.product_phase(p)) for p in products]
    read = any(users[p] > 1 for p in products if p is not v)
    late = bool(rest) and PHASES.index(_ready(d, rest[0])) > min(phases)
    carry = _gradient_of(d, v)
    passed_on = carry is not None and carry in d.graph.carry and PHASES[max(phases)] == LOOP != PHASES[min(phases)]
    return read or late or passed_on


def _gradient_of(d: Direction, v: Value) -> Value | None:
    """What a value is the gradient of, if anything."""
    return next((x for x, gradient in d.graph.gradients.items() if gradient is v), None) if d.back else None


def _ready(d: Direction, v: Value) -> str:
    """The phase in which a value can be computed, as far as products tell."""
    if v not in d.waiting:
        return BEFORE
    below = d.graph.needed_for([v]) & d.mine
    return AFTER if any(is_product(p, d.labels) and d.product_phase(p) == AFTER for p in below) else LOOP


def _chain(
    d: Direction, v: Value, products: list[Value], bias: Value | None, rest: Value | None, keep: Collection[Value]
) -> None:
    """One chain: v = bias + Σ products, or rest + Σ products."""
    phases = {p: d.product_phase(p) for p in products}
    order = sorted(products, key=lambda p: PHASES.index(phases[p]))
    phase = phases[order[-1]]
    in_loop = phase == LOOP and phases[order[0]] == LOOP
    place = _target(d, v, phase, "rows" if in_loop and v not in keep else "step")
    base = None
    if rest is not None:
        base = Root(rest, BEFORE if phase == BEFORE else _ready(d, rest) if rest in d.waiting else LOOP, place)
        d.extra.append(base)
    chain = [Term(p.args[0], p.args[1], phases[p]) for p in order]
    d.products[v] = Product(v, phase, place, chain, bias, base)


def _target(d: Direction, v: Value, phase: str, kind: str) -> Place:
    """Where a chain is stored: where its result is handed out, if that can be, else in a buffer of its own."""
    g, places = d.graph, d.places
    gradient_of = _gradient_of(d, v)
    if gradient_of is not None and gradient_of in g.carry and phase == LOOP:
        return places.put(v, places.stored[g.g_carry[gradient_of.index]].buffer, "write")
    if gradient_of is not None and gradient_of.kind == "x":
        return places.put(v, places.buffer("step", v, outside=f"gx{gradient_of.index}"))
    if v in d.roots and not d.back:  # a carry that is a bare product: stored apart, then copied
        del places.stored[v]
        place = places.put(v, places.buffer("step", v))
        root = d.roots.pop(v)
        root.place = root.place._replace(source=v)
        d.extra.append(root)
        return place
    return places.put(v, places.buffer(kind, v))
