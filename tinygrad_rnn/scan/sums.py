"""Sums of products with weights, as they stand in the graph of a step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

from .graph import StepGraph, Value
from .rows import INVARIANT, Label

__all__ = ["is_product", "readers", "terms"]


def is_product(v: Value, labels: Mapping[Value, Label]) -> bool:
    """Whether a value is rows times a weight: (B, K) @ (K, N)."""
    if v.kind != "op" or v.name != "matmul" or not isinstance(labels[v], int):
        return False
    a, b = v.args
    return labels[a] == 0 and labels[b] == INVARIANT and len(a.shape) == 2 and len(b.shape) == 2


def readers(graph: StepGraph) -> Counter[Value]:
    """How often each value is read, results included."""
    return Counter(
        [a for v in graph.values for a in v.args] + [*graph.carry_out, *graph.ys, *graph.gradients.values()]
    )


def terms(v: Value, reads: Counter[Value], mine: Collection[Value]) -> tuple[list[Value], list[Value]]:
    """The sums that nothing else reads, from v down as far as ``mine`` goes, and what they add up."""
    sums: list[Value] = []

    def walk(u: Value) -> list[Value]:
        inner = u.name == "add" and (u is v or reads[u] == 1) and u in mine
        if inner and all(a.kind not in ("number", "fill") for a in u.args):
            sums.append(u)
            return [t for a in u.args for t in walk(a)]
        return [u]

    found = walk(v)
    return sums, found
