"""Sums, extrema and small products within a row, in the letters of an einsum; and what is dear to compute twice."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..graph import Value
from ..rows import Label, batch_axis
from ..sums import is_product
from .index import BATCH

__all__ = ["DEAR_COST", "Reduction", "cost", "is_dear", "reduction"]

COMBINED = {"sum": "sum", "mean": "sum", "max": "max", "min": "min"}
DEAR = {"tanh", "sigmoid", "exp", "expm1", "log", "log1p", "softplus", "silu", "elu", "sin", "cos", "pow", "erf"}
DEAR_COST = 6  # ops: what storing a value and reading it again is worth
ONE = "1"  # stands for an axis of size 1 that is not gone over

Labels = dict[Value, Label]
Letters = list[Any]  # one for every axis, BATCH for the batch's


class Reduction(NamedTuple):
    """What is multiplied entry by entry, and combined over all letters that the result does not have."""

    combine: str  # sum, max or min
    operands: list[tuple[Value, Letters]]
    out: Letters
    sizes: dict[str, int]

    def moving(self, letters: Letters) -> list[str]:
        """The letters that take more than one value."""
        return [c for c in letters if c is not BATCH and c != ONE and self.sizes[c] != 1]


def reduction(v: Value, labels: Labels) -> Reduction | None:
    """A value as a reduction within the row, if it is one."""
    if v.kind != "op" or not isinstance(labels[v], int):
        return None
    if v.name in COMBINED and "axis" in v.params:
        return _along_axes(v, labels)
    if v.name == "matmul" and not is_product(v, labels) and all(len(a.shape) >= 2 for a in v.args):
        return _matmul(v, labels)
    return _einsum(v, labels) if v.name == "einsum" else None


def _along_axes(v: Value, labels: Labels) -> Reduction:
    x = v.args[0]
    ndim, axis, keep = len(x.shape), v.params["axis"], v.params["keepdims"]
    letters: Letters = [BATCH if i == labels[x] else f"r{i}" for i in range(ndim)]
    gone = {int(a) % ndim for a in (range(ndim) if axis is None else np.atleast_1d(axis))}
    out = [ONE if i in gone else c for i, c in enumerate(letters) if keep or i not in gone]
    return Reduction(COMBINED[v.name], [(x, letters)], out, {f"r{i}": n for i, n in enumerate(x.shape)})


def _matmul(v: Value, labels: Labels) -> Reduction:
    """(…, M, K) @ (…, K, N), the batch among the leading axes."""
    n = len(v.shape)
    letters = [f"r{i}" for i in range(n)]
    sizes = {**dict(zip(letters, v.shape, strict=True)), "k": v.args[0].shape[-1]}
    hidden = letters[batch_axis(labels, v)]
    operands: list[tuple[Value, Letters]] = []
    for x, ends in zip(v.args, ([letters[-2], "k"], ["k", letters[-1]]), strict=True):
        first = n - len(x.shape)
        leading = zip(letters[first : n - 2], x.shape, v.shape[first:], strict=False)
        own = [*[ONE if m == 1 != whole else c for c, m, whole in leading], *ends]
        operands.append((x, [BATCH if i == labels[x] else ONE if c == hidden else c for i, c in enumerate(own)]))
    return Reduction("sum", operands, [BATCH if c == hidden else c for c in letters], sizes)


def _einsum(v: Value, labels: Labels) -> Reduction:
    """Any product of one or more arrays in which the batch has a letter of its own."""
    inputs, result = v.params["equation"].split("->")
    terms = list(zip(v.args, inputs.split(","), strict=True))
    hidden = result[batch_axis(labels, v)]

    def spelt(term: str) -> Letters:
        return [BATCH if c == hidden else c for c in term]

    sizes = {c: n for x, term in terms for c, n in zip(term, x.shape, strict=True)}
    return Reduction("sum", [(x, spelt(term)) for x, term in terms], spelt(result), sizes)


def is_dear(v: Value, labels: Labels) -> bool:
    """Whether computing a value again would cost more than reading it."""
    return v.name in DEAR or reduction(v, labels) is not None or is_product(v, labels)


def cost(v: Value) -> int:
    """What an op costs, in cheap ones."""
    return DEAR_COST if v.name in DEAR else 1
