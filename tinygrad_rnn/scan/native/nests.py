"""How roots are computed: units, one loop nest's worth each, followed down from what they store to what is stored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..graph import Refused, Value
from ..sums import is_product
from . import functions
from .direction import AFTER, LOOP, Direction, KeepForward, Root, Unit
from .index import BATCH, Index, Ix, NeedSplit, NeedStore, argument, concatenation, through
from .places import Place, reshaped
from .reductions import Reduction, is_dear, reduction

__all__ = ["settle"]


def settle(d: Direction) -> None:
    """Units for all roots; what turns out to need storing becomes a root too.

    Raises Refused for what has no code, KeepForward for a value of the step that must be stored there.
    """
    while pending := [r for r in d.all_roots() if not r.units]:
        for root in pending:
            while not root.units:
                try:
                    root.units = list(_units(d, root))
                except NeedStore as found:
                    if found.value is root.value and not d.is_copy(root):
                        raise Refused(f"`{root.value.name}` has no code for rows") from None
                    _store_for(d, found.value, root)


def _store_for(d: Direction, v: Value, reader: Root) -> None:
    """Store what a root reads; what another phase or direction reads is a series."""
    if v not in d.mine:
        raise KeepForward(v)
    d.store(v, "step" if reader.phase != d.phase(v) else "rows")


def _units(d: Direction, root: Root) -> Iterator[Unit]:
    found = None if d.is_copy(root) else reduction(root.value, d.labels)
    if found is not None:
        yield _reducing(d, root, found)
    else:
        yield from _pieces(d, root.value, root.place, root)


# what is stored entry by entry


def _pieces(d: Direction, v: Value, place: Place, root: Root) -> Iterator[Unit]:
    """The stores of a value: a joined one piece by piece, each at its own place."""
    own = v is root.value
    computed = own or d.places.find(v) is None
    if computed and v.kind == "op" and (root.add or not (own and d.is_copy(root))):
        if v.name in ("concatenate", "stack"):
            axis = v.params["axis"] % len(v.shape)
            stride = place.strides[axis]
            assert stride is not None
            at = place.offset
            rest = place.strides[:axis] + place.strides[axis + 1 :] if v.name == "stack" else place.strides
            for a in v.args:
                yield from _pieces(d, a, place._replace(offset=at, strides=rest), root)
                at += stride * (1 if v.name == "stack" else a.shape[axis])
            return
        if v.name == "reshape":
            a = v.args[0]
            moved = reshaped(place, v.shape, a.shape, d.labels.get(a, 0))
            if moved is not None:
                yield from _pieces(d, a, moved, root)
                return
    batch = d.labels[root.value if v.kind in ("number", "fill") else v]
    yield from _ranges(d, v, place, root, {i: (0, n) for i, n in enumerate(v.shape) if i != batch})


def _ranges(
    d: Direction, v: Value, place: Place, root: Root, ranges: dict[int, tuple[int, int]]
) -> Iterator[Unit]:
    """One unit over the ranges of the axes, or several where a concatenation is read across its pieces."""
    index: list[Any] = [BATCH] * len(v.shape)
    sizes: dict[str, int] = {}
    axes: dict[str, int] = {}
    for axis, (start, stop) in ranges.items():
        if stop - start == 1:
            index[axis] = Ix((), start)
        else:
            name = f"i{len(sizes)}"
            sizes[name], axes[name] = stop - start, axis
            index[axis] = Ix(((name, 1),), start)
    unit = Unit(v, root, tuple(index), sizes, place.linear(tuple(index)))
    try:
        _walk(d, unit, v, unit.index, compute=v is root.value and not d.is_copy(root))
    except NeedSplit as split:
        axis = axes[split.variable]
        start, stop = ranges[axis]
        for part in ((start, start + split.at), (start + split.at, stop)):
            yield from _ranges(d, v, place, root, {**ranges, axis: part})
        return
    yield unit


# what is summed, or the largest or smallest


def _reducing(d: Direction, root: Root, found: Reduction) -> Unit:
    """The loops of a reduction, so nested that the innermost runs along entries that lie behind one another."""
    operands = found.operands
    kept = found.moving(found.out)
    used = {c for _, letters in operands for c in found.moving(letters)}
    gone = [c for c in found.sizes if c in used and c not in kept]
    if len(operands) == 1:  # the order of the operand's axes
        order = [c for c in operands[0][1] if c in kept or c in gone]
    else:
        last = kept[-1:] if kept and len(operands) == 2 and _runs_along(d, operands, kept[-1]) else []
        order = [c for c in kept if c not in last] + gone + last
    names = {c: f"i{i}" for i, c in enumerate(order)}

    def spelt(letters: list[Any]) -> Index:
        return tuple(BATCH if c is BATCH else Ix(((names[c], 1),)) if c in names else Ix() for c in letters)

    index = spelt(found.out)
    unit = Unit(root.value, root, index, {names[c]: found.sizes[c] for c in order}, root.place.linear(index))
    unit.reduced, unit.combine = tuple(names[c] for c in gone), found.combine
    unit.operands = [(x, spelt(letters)) for x, letters in operands]
    try:
        for x, at in unit.operands:
            _walk(d, unit, x, at, compute=False)
    except NeedSplit as split:  # sums over a concatenation read it whole
        raise NeedStore(operands[0][0]) from split
    return unit


def _runs_along(d: Direction, operands: list[tuple[Value, list[Any]]], letter: str) -> bool:
    """Whether an operand's entries lie behind one another along a letter."""
    for x, letters in operands:
        place = d.places.find(x)
        if letter in letters and place is not None and place.strides[letters.index(letter)] == 1:
            return True
        if letter in letters and place is None and letters[-1] == letter:
            return True
    return False


# down to what is stored


def _walk(d: Direction, unit: Unit, value: Value, at: Index, *, compute: bool) -> None:
    """Follow what a unit computes down to what is stored; ``compute``: the value itself, wherever it is stored.

    Raises NeedStore, NeedSplit, KeepForward or Refused where it cannot be computed there.
    """
    stack = [(value, at)]
    while stack:
        v, index = stack.pop()
        if v.kind in ("number", "fill") or (v, index) in unit.evaluated:
            continue
        own = compute and (v, index) == (value, at)
        place = None if own else d.places.find(v)
        if place is not None:
            _read(d, unit, place, index)
            continue
        if v not in d.mine and v.kind in ("op", "pick") and is_dear(v, d.labels):
            raise KeepForward(v)
        if not own and unit.root.phase == AFTER and v in d.waiting and v in d.mine and d.phase(v) == LOOP:
            d.store(v, "step")
            raise NeedStore(v)
        seen = through(v, index, d.labels, unit.sizes)
        if seen is None and v.kind == "op" and v.name in ("concatenate", "stack"):
            seen = concatenation(v, index, unit.sizes)
        if seen is not None:
            stack.append(seen)
            continue
        if v.kind != "op" or reduction(v, d.labels) is not None or is_product(v, d.labels):
            raise NeedStore(v)
        if not _has_code(v):
            raise Refused(f"`{v.name}` has no code for rows")
        if not own and _again(d, v, index, list(unit.sizes)):
            raise NeedStore(v)
        unit.evaluated.add((v, index))
        stack += [(a, argument(a, d.labels[a], index)) for a in v.args if a.kind not in ("number", "fill")]


def _read(d: Direction, unit: Unit, place: Place, index: Index) -> None:
    """Note that a unit reads an entry; what is read outside its phase or direction becomes a series."""
    kind, source = place.buffer.kind, place.source
    if place.buffer.outside == "given":
        if unit.root.phase != LOOP:
            raise Refused("a captured array with a batch axis is read outside the loop")
    elif kind == "rows" and source not in d.mine:
        raise KeepForward(source)
    elif kind == "rows" and unit.root.phase != LOOP and unit.root is not d.roots.get(source):
        d.store(source, "step")
    unit.reads.append((place, place.linear(index)))


def _has_code(v: Value) -> bool:
    """Whether there is code for an op on arguments of these dtypes; a mask beside numbers counts as 0 and 1."""
    kinds = [a.dtype for a in v.args if a.dtype is not None and a.kind != "number"] or [v.dtype]
    return functions.supports(v.name, next((k for k in kinds if k.kind != "b"), kinds[0]))


def _again(d: Direction, v: Value, index: Index, variables: list[str]) -> bool:
    """Whether a loop that the value does not depend on would compute it again and again."""
    used = {name for i in index if i is not BATCH for name, _ in i.terms}
    inner = max((variables.index(n) for n in used), default=-1)
    if all(n in used for n in variables[: inner + 1]):
        return False
    return is_dear(v, d.labels) or any(a.kind == "op" and d.places.find(a) is None for a in v.args)
