"""In which order a direction runs: levels between the products of a phase, and in each the loops that units share."""

from __future__ import annotations

from ..graph import Value
from .direction import PHASES, Direction, Product, Root, Unit
from .index import Ix
from .nests import settle
from .places import Place
from .reductions import DEAR_COST, cost

__all__ = ["arrange"]


def arrange(d: Direction) -> None:
    """Fill ``d.groups``, and the levels of roots and products."""
    _number(d)
    d.groups = {phase: _loops(d, phase) for phase in PHASES}


def _number(d: Direction) -> None:
    """How many products of its phase lie before each root; products come before the region of their level."""
    roots: dict[Root, int] = {}
    products: dict[tuple[Product, str], int] = {}

    def of_root(root: Root) -> int:
        if root not in roots:
            roots[root] = 0  # for those that read what they write: one entry after the other
            roots[root] = max([0, *[of_place(place, root.phase) for unit in root.units for place, _ in unit.reads]])
        return roots[root]

    def of_place(place: Place, phase: str) -> int:
        if place.when == "read":
            return 0
        made = d.products.get(place.source)
        if made is not None and made.place.buffer is place.buffer:
            return of_product(made, phase)
        root = d.roots.get(place.source)
        return of_root(root) if root is not None and root.phase == phase else 0

    def of_product(p: Product, phase: str) -> int:
        """One more than what its operands in this phase, and what it is added to, come after."""
        if (p, phase) not in products:
            found = 0
            for operand in [term.operand for term in p.terms if term.phase == phase]:
                place, copy = d.places.find(operand), d.copies.get(operand)
                sources = [0 if place is None else of_place(place, phase)]
                if copy is not None:
                    sources += [of_root(r) for r in d.extra if r.place is copy]
                if p.base is not None and p.base.phase == phase:
                    sources.append(of_root(p.base))
                found = max(found, *[n + 1 for n in sources])
            products[p, phase] = found
        return products[p, phase]

    for root in d.all_roots():
        root.level = of_root(root)
    for p in d.products.values():
        p.levels = [of_product(p, term.phase) for term in p.terms]


def _loops(d: Direction, phase: str) -> dict[int, list[list[Unit]]]:
    """For each level of a phase the loops, each with the units that share it."""
    found: dict[int, list[list[Unit]]] = {}
    roots = [r for r in d.all_roots() if r.phase == phase]
    for level in sorted({r.level for r in roots}):
        found[level] = _shared(d, [r for r in roots if r.level == level])
        while (again := _computed_twice(d, found[level])) is not None:
            d.store(again, "rows")
            for root in d.all_roots():
                root.units = []
            settle(d)
            _number(d)
            roots = [r for r in d.all_roots() if r.phase == phase]
            found[level] = _shared(d, [r for r in roots if r.level == level])
    return found


def _shared(d: Direction, roots: list[Root]) -> list[list[Unit]]:
    """The units of roots of one level, in loops: each in the first one of its sizes that comes after what it reads."""
    made = {r.value: r for r in roots if not d.is_copy(r)}
    groups: list[list[Unit]] = []
    for root in _sorted(roots, made):
        for unit in root.units:
            earliest = max([0, *[_earliest(unit, place, linear, made, root) for place, linear in unit.reads]])
            at = next((i for i in range(earliest, len(groups)) if groups[i][0].space == unit.space), len(groups))
            if at == len(groups):
                groups.append([])
            unit.group = at
            groups[at].append(unit)
    return groups


def _source(place: Place, made: dict[Value, Root], reader: Root) -> Root | None:
    """The other root of a level that makes what is read."""
    source = made.get(place.source)
    return None if source is reader or place.when == "read" else source


def _sorted(roots: list[Root], made: dict[Value, Root]) -> list[Root]:
    """Roots after those that they read."""
    order: list[Root] = []
    seen: set[Root] = set()

    def visit(root: Root) -> None:
        if root not in seen:
            seen.add(root)
            for source in [_source(place, made, root) for unit in root.units for place, _ in unit.reads]:
                if source is not None:
                    visit(source)
            order.append(root)

    for root in roots:
        visit(root)
    return order


def _earliest(unit: Unit, place: Place, linear: Ix, made: dict[Value, Root], root: Root) -> int:
    """The first loop in which a unit can read an entry: the one that writes it, in the same turn, or a later one."""
    source = _source(place, made, root)
    if source is None:
        return 0
    found = 0
    for other in source.units:
        near = other.space == unit.space and other.target == linear and not other.reduced and not source.add
        apart = not near and source.units != [other] and not _meet(other, unit, linear)
        if not apart:
            found = max(found, other.group + (0 if near else 1))
    return found


def _meet(writer: Unit, reader: Unit, linear: Ix) -> bool:
    """Whether what one unit reads may be what another writes."""
    first, last = writer.target.offset, writer.target.top(writer.sizes)
    return linear.offset <= last and linear.top(reader.sizes) >= first


def _computed_twice(d: Direction, groups: list[list[Unit]]) -> Value | None:
    """Something dear, or made of many ops, that two loops would compute; the largest such."""
    homes: dict[Value, set[int]] = {}
    for i, group in enumerate(groups):
        for v in [v for unit in group for v, _ in unit.evaluated]:
            if v in d.mine and d.places.find(v) is None:
                homes.setdefault(v, set()).add(i)
    shared = {v for v, found in homes.items() if len(found) > 1}
    costs = {v: sum(cost(below) for below in d.graph.needed_for([v]) & shared) for v in shared}
    dear = [v for v in shared if costs[v] >= DEAR_COST and isinstance(d.labels[v], int)]
    return max(dear, key=lambda v: (costs[v], d.graph.values.index(v)), default=None)
