"""scan: one step applied along time, with a carry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import tree
from ..ops.shape import stack
from ..tensor import Tensor, tensor
from .eager import run_eager, time_length

__all__ = ["scan"]

EXECUTORS = ("auto", False)


def scan(
    step: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any,
    *,
    length: int | None = None,
    lengths: Any = None,
    reverse: bool = False,
    compile: str | bool = "auto",
) -> tuple[Any, Any]:
    """Run ``carry, y_t = step(carry, x_t)`` for t = 0 … T−1; the last carry and the y_t stacked over time.

    ``xs`` is a container of Tensors (T, …), or None with ``length=T``; ``init`` and the carries share one structure.
    ``lengths`` (B,) for Tensors (T, B, …): past its length a row keeps its carry, its y is zero, and what xs holds
    there, NaN included, changes nothing. ``reverse`` runs t = T−1 … 0; y_t stays at its t, and rows keep ``init``
    until their last valid step. ``compile``: "auto" takes the fastest executor that can run the step, False the plain
    loop that pictures are drawn from; in this version the plain loop is the only executor.

    Raises ValueError for lengths or carries that do not fit, naming them.

    >>> import tinygrad_rnn as tg
    >>> tg.scan(lambda c, x: (c + x, c * x), tg.tensor(0.0), tg.tensor([1.0, 2.0, 3.0]))
    (tensor(6.), tensor([0., 2., 9.]))
    """
    if compile not in EXECUTORS:
        raise ValueError(f"scan: compile={compile!r} is not one of {EXECUTORS}")
    total = time_length(xs, length)
    carry, ys = run_eager(step, init, xs, total, lengths, reverse)
    columns, structure = tree.flatten(ys[0])
    rows = []
    for t, y in enumerate(ys):
        row, its = tree.flatten(y)
        if not tree.alike(its, structure):
            raise ValueError(f"scan at t={t}: the step returned an output built as {its}, but at t=0 as {structure}")
        rows.append(row)
    stacked = [stack([row[i] for row in rows]) for i in range(len(columns))]
    stacked = [s if type(s) is Tensor else tensor(s) for s in stacked]  # of constants
    return carry, tree.unflatten(structure, stacked)
