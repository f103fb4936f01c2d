"""A compiled run that keeps a carry every few steps, and runs what lies between again on its way back."""

from __future__ import annotations

from math import isqrt
from typing import Any

import numpy as np

from .graph import StepGraph, Value
from .run import Call

__all__ = ["Checkpointed", "cuts", "segment_length"]


def segment_length(checkpoint: str | int | None, total: int) -> int:
    """The steps of a segment: all T without checkpoints, ⌈√T⌉ for "sqrt", else what is said.

    Raises ValueError for anything else.

    >>> [segment_length(checkpoint, 10) for checkpoint in (None, "sqrt", 3, 99)]
    [10, 4, 3, 10]
    """
    if checkpoint is None:
        return total
    if checkpoint == "sqrt":
        return isqrt(total - 1) + 1
    if isinstance(checkpoint, bool) or not isinstance(checkpoint, int) or checkpoint < 1:
        raise ValueError(f'scan: checkpoint={checkpoint!r} is not None, "sqrt" or a number of steps of at least 1')
    return min(checkpoint, total)


def cuts(total: int, length: int, reverse: bool) -> list[tuple[int, int]]:
    """The segments (first step, last step + 1), in the order in which they run.

    >>> cuts(5, 2, True)
    [(4, 5), (2, 4), (0, 2)]
    """
    found = [(a, min(a + length, total)) for a in range(0, total, length)]
    return found[::-1] if reverse else found


class Checkpointed:
    """An executor's plan, run over segments of ``length`` steps: the same values, the memory of one segment.

    ``forward`` keeps the carry before each segment; ``backward`` runs each once more, saving, from the last to the
    first, hands the cotangent of the carry on and adds up the gradients of invariants (Chen et al. 2016,
    arXiv:1604.06174). The last segment saves at once: the way back begins with it.
    """

    def __init__(self, plan: Any, graph: StepGraph, length: int) -> None:
        self.plan, self.graph, self.length = plan, graph, length

    def forward(self, call: Call) -> tuple[list[Any], list[Any]]:
        """The last carry and the ys of a call."""
        segments = cuts(call.T, self.length, call.reverse)
        carry, part = call.carry, None
        carries: list[list[Any]] = []
        ys: list[np.ndarray] = []
        for a, b in segments:
            carries.append(carry)
            part = _part(call, a, b, carry, call.saving and (a, b) == segments[-1])
            last, found = self.plan.forward(part)
            carry = [np.array(c) for c in last]  # else it might keep the series that it is a part of
            ys = ys or [np.empty((call.T, *y.shape[1:]), y.dtype) for y in found]
            for y, piece in zip(ys, found, strict=True):
                y[a:b] = piece
        if call.saving:
            call.kept = (carries, part)
        return carry, ys

    def backward(self, call: Call, g_carry: list[Any], g_ys: list[Any]) -> dict[Value, Any]:
        """The gradients of carry, xs and invariants."""
        (carries, part), call.kept = call.kept, None
        graph = self.graph
        totals: dict[Value, Any] = {}
        for a, b in reversed(cuts(call.T, self.length, call.reverse)):
            carry = carries.pop()
            if part is None:
                part = _part(call, a, b, carry, True)
                self.plan.forward(part)
            found = self.plan.backward(part, g_carry, [g[a:b] for g in g_ys])
            part = None
            last = [found.pop(v, None) for v in graph.carry]
            g_carry = [np.zeros_like(c) if g is None else g for g, c in zip(last, carry, strict=True)]
            for v, g in found.items():
                _collect(totals, v, g, a, b, call)
        return totals | {v: g for v, g in zip(graph.carry, last, strict=True) if g is not None}


def _part(call: Call, a: int, b: int, carry: list[Any], saving: bool) -> Call:
    """The call of steps a … b − 1."""
    return Call(
        [x[a:b] for x in call.xs], carry, call.given, total=b - a,
        lengths=None if call.lengths is None else np.clip(call.lengths - a, 0, b - a),
        reverse=call.reverse, saving=saving, threads=call.threads, needs=call.needs,
    )  # fmt: skip


def _collect(totals: dict[Value, Any], v: Value, g: Any, a: int, b: int, call: Call) -> None:
    """Put a segment's gradient where it belongs: into its steps of a series, or onto a sum."""
    if v.kind == "x":
        if call.needs[v.index]:
            if v not in totals:
                totals[v] = np.empty((call.T, *g.shape[1:]), g.dtype)
            totals[v][a:b] = g
    elif v not in totals:
        totals[v] = np.array(g)  # values of equal gradient share an array
    else:
        totals[v] += g
