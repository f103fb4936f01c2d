"""When each value of a step is made: once, before the loop for all rows, at every step, or after it for all rows."""

from __future__ import annotations

from .graph import StepGraph, Value
from .rows import INVARIANT, TOTAL, Label

__all__ = ["AFTER", "BEFORE", "LOOP", "ONCE", "homes"]

BEFORE, LOOP, AFTER, ONCE = "before", "loop", "after", "once"
TURNS = {"swapaxes", "transpose"}

Homes = dict[Value, tuple[bool, str]]


def homes(graph: StepGraph, labels: dict[Value, Label]) -> Homes:
    """For every value whether the way back makes it, and in which part."""
    found: Homes = {}
    once = set(graph.invariants())
    merged: set[Value] = set()  # values that can be made for all T·B rows at once
    for backward in (False, True):
        start, stop = (graph.backward_from, len(graph.values)) if backward else (0, graph.backward_from)
        waiting = graph.depends_on(graph.g_carry if backward else graph.carry)
        carried = [g for v, g in graph.gradients.items() if v in graph.carry] if backward else graph.carry_out
        needed = graph.needed_for(carried)
        own = graph.values[start:stop]
        for v in own:
            label = labels[v]
            rows = [a for a in v.args if a.kind not in ("number", "fill") and labels[a] != INVARIANT]
            if v.kind in ("x", "carry", "g_carry", "g_y"):
                home = LOOP if v.kind in ("carry", "g_carry") else BEFORE
                merged.add(v)
            elif v.kind in ("given", "fill") or label == INVARIANT or v in once:
                home = ONCE
            else:
                fits = all(a in merged for a in rows) and v.kind in ("op", "pick")
                fits = fits and (label in (0, TOTAL) or v.kind == "pick" or v.name in TURNS)
                if fits:
                    merged.add(v)
                home = BEFORE if v not in waiting else LOOP if v in needed else AFTER
                if not fits or (home == BEFORE and any(found[a] == (backward, LOOP) for a in rows)):
                    home = LOOP
            found[v] = (backward, home)
        early = [v for v in own if found[v] == (backward, LOOP)]
        if backward:  # of captured arrays with a batch axis: added up step by step
            early += [
                g for v, g in graph.gradients.items() if v.kind not in ("x", "carry") and isinstance(labels[g], int)
            ]
        _earlier(found, early, backward)
    return found


def _earlier(found: Homes, early: list[Value], backward: bool) -> None:
    """What the loop reads is made in it, though nothing carried depends on it."""
    while early:
        v = early.pop()
        if found.get(v) == (backward, AFTER):
            found[v] = (backward, LOOP)
        early += [a for a in v.args if found.get(a) == (backward, AFTER)]
