"""Gates that share what they multiply, done as one: their weights are put side by side, and so are their results.

A cell may give each gate matrices of its own, i = σ(x Wᵢ + h Uᵢ + bᵢ), f = σ(x W_f + h U_f + b_f), … Products of
M × K × N and of M × K × N' take longer than one of M × K × (N + N'), most of all where they are small. The step is
written anew with x [Wᵢ W_f …] + h [Uᵢ U_f …] + [bᵢ b_f …], cut into gates again, and its backward pass follows from
that: a product with all cotangents side by side, and one sum over all rows for the gradients of all gates' weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..ops.shape import concatenate, split
from ..tensor import Tensor, leaf
from .apply import applied
from .graph import StepGraph, Value, simplified
from .rows import INVARIANT, Label
from .sums import is_product, readers, terms
from .trace import trace

__all__ = ["merged"]


class Gate(NamedTuple):
    """The sum Σ operandⱼ @ weightⱼ + bias + the rest."""

    value: Value
    operands: tuple[Value, ...]
    weights: tuple[Value, ...]
    bias: Value | None
    rest: tuple[Value, ...]
    inside: tuple[Value, ...]  # its products and inner sums


def merged(graph: StepGraph, labels: Mapping[Value, Label]) -> StepGraph:
    """The graph of a step with its gates merged; the same graph where no two sums have the same operands."""
    moving = graph.depends_on([*graph.xs, *graph.carry])
    groups = _groups(graph, labels, moving)
    if not groups:
        return graph
    invariants = graph.invariants()
    given = [_stand_in(v) for v in invariants]
    member = {gate.value: (gate, group) for group in groups for gate in group}
    inside = {v for gate, _ in member.values() for v in gate.inside}
    line = [""]

    def step(carry: list[Any], x: list[Any]) -> tuple[list[Any], list[Any]]:
        env = dict(zip([*invariants, *graph.carry, *graph.xs], [*given, *carry, *x], strict=True))
        sums: dict[Value, Any] = {}
        for v in graph.values[: graph.backward_from]:
            if v not in moving or v in env:
                continue
            line[0] = v.line
            if v in member:
                gate, group = member[v]
                if v not in sums:
                    sums.update(_sums(group, env))
                env[v] = sum((env[other] for other in gate.rest), start=sums[v])
            elif v not in inside:
                env[v] = applied(v, env, labels[v], graph.batch)
        return [env.get(v, v.array) for v in graph.carry_out], [env.get(v, v.array) for v in graph.ys]

    inputs = [[Tensor.of(np.zeros(v.shape, v.dtype), None) for v in values] for values in (graph.carry, graph.xs)]
    with np.errstate(all="ignore"):  # numbers mean nothing here
        found = trace(
            step, *inputs, given=given, line=lambda: line[0], backward=graph.backward_from < len(graph.values)
        )
    for v, old in zip(found.invariants(), invariants, strict=True):
        v.node = old.node  # by which its name is found
        if old not in graph.gradients:
            found.gradients.pop(v, None)
    found.structure = graph.structure
    return simplified(found)


def _groups(graph: StepGraph, labels: Mapping[Value, Label], moving: set[Value]) -> list[list[Gate]]:
    """The sums of products that have the same operands, where there are several."""
    own = [v for v in graph.values[: graph.backward_from] if v in moving]
    mine, reads = set(own), readers(graph)
    late = graph.depends_on(graph.carry)
    place = {v: (v in late, i) for i, v in enumerate(graph.values)}  # first what waits for no state, and the bias
    found: dict[Any, list[Gate]] = {}
    taken: set[Value] = set()
    for v in reversed(own):
        if v in taken or not isinstance(labels[v], int) or not (v.name == "add" or is_product(v, labels)):
            continue
        sums, parts = terms(v, reads, mine)
        products: dict[Value, Value] = {}
        for p in parts:
            if p in mine and is_product(p, labels) and (p is v or reads[p] == 1) and p.shape == v.shape:
                products.setdefault(p.args[0], p)
        if not products:
            continue
        order = sorted(products, key=place.__getitem__)
        chosen = [products[a] for a in order]
        others = [t for t in parts if t not in chosen]
        vectors = [t for t in others if labels[t] == INVARIANT and t.shape == v.shape[1:]]
        bias = vectors[0] if vectors else None
        rest = tuple(t for t in others if t is not bias)
        inside = (*[u for u in sums if u is not v], *[p for p in chosen if p is not v])
        taken |= {*inside, v}
        gate = Gate(v, tuple(order), tuple(p.args[1] for p in chosen), bias, rest, inside)
        found.setdefault((gate.operands, bias is None, v.dtype), []).append(gate)
    return [group[::-1] for group in found.values() if len(group) > 1]


def _sums(group: Sequence[Gate], env: Mapping[Value, Any]) -> dict[Value, Any]:
    """The sums of a group without their rests, made as one."""
    total: Any = None
    for j, operand in enumerate(group[0].operands):
        product = env[operand] @ concatenate([env[gate.weights[j]] for gate in group], axis=1)
        total = product if total is None else total + product
        if j == 0 and group[0].bias is not None:
            total = total + concatenate([env[gate.bias] for gate in group if gate.bias is not None])
    ends = np.cumsum([gate.value.shape[1] for gate in group]).tolist()
    return dict(zip([gate.value for gate in group], split(total, ends[:-1]), strict=True))


def _stand_in(v: Value) -> Tensor:
    """A Tensor for an invariant."""
    made = Tensor.of(np.zeros(v.shape, v.dtype), None)
    if v.dtype.kind in "fc":
        made.node = leaf(made)
    return made
