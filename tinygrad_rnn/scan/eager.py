"""The plain executor: a Python loop over time that records every op of every step."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .. import tree
from ..backend import to_device, to_host
from ..checkpoint import checkpoint
from ..node import scope
from ..ops.elementwise import where
from ..ops.shape import stack, unstack
from ..tensor import Tensor, tensor
from .checkpointed import cuts
from .pieces import Cut, Joined

__all__ = ["masked", "run_eager", "time_length"]


def time_length(xs: Any, length: int | None) -> int:
    """The number of steps: the first size of every array in xs, or ``length``. Raises ValueError when they differ."""
    if length is None and hasattr(xs, "shape") and xs.shape and xs.shape[0]:
        return xs.shape[0]
    shapes = [getattr(x, "shape", ()) for x in tree.leaves(xs)]
    sizes: set[int] = {shape[0] if shape else -1 for shape in shapes}
    if length is not None:
        sizes.add(length)
    if len(sizes) != 1 or -1 in sizes:
        raise ValueError(f"scan: xs of shapes {shapes} and length={length} do not agree on one number of steps")
    total = sizes.pop()
    if total == 0:
        raise ValueError("scan: the sequence has no steps; give it at least one")
    return total


def masked(xs: Any, total: int, lengths: Any) -> tuple[Any, int, np.ndarray | None]:
    """The series with zeros past each row's length, the number of steps, and the lengths on the host."""
    if lengths is None:
        return xs, total, None
    series, structure = tree.flatten(xs)
    series = [_tensor(x) for x in series]
    host = check_lengths(lengths, series, total)
    valid = to_device(np.arange(total)[:, None] < host, series[0].device)
    return tree.unflatten(structure, [_select(valid, x, 0) for x in series]), total, host


Step = Callable[[Any, Any], tuple[Any, Any]]


def run_eager(
    step: Step, init: Any, xs: Any, total: int, lengths: Any, reverse: bool, segment: int
) -> tuple[Any, Any]:
    """The last carry and the outputs stacked over time; of several segments only the carries between them are kept."""
    if segment >= total:
        return _stretch(step, init, xs, 0, total, lengths, reverse)
    series, structure = tree.flatten(xs)
    series = [_tensor(x) for x in series]
    host = None if lengths is None else check_lengths(lengths, series, total)
    edges = [*range(0, total, segment), total]
    pieces = [Cut(x, edges) for x in series]
    carry, built = init, None
    joined: list[Joined] = []
    for a, b in cuts(total, segment, reverse):
        i = a // segment
        x = tree.unflatten(structure, [x.piece(i) for x in pieces])
        own = None if host is None else np.clip(host - a, 0, b - a)
        run = partial(_stretch, step, start=a, total=b - a, lengths=own, reverse=reverse)
        carry, ys = checkpoint(run)(carry, x)
        found, its = tree.flatten(ys)
        if not joined:
            first, built, joined = a, its, [Joined(edges) for _ in found]
        _check_built(its, a, built, first)
        for series_of, y in zip(joined, found, strict=True):
            series_of.add(i, y)
    return carry, tree.unflatten(built, [each.whole() for each in joined])


def _stretch(
    step: Step, init: Any, xs: Any, start: int, total: int, lengths: Any, reverse: bool
) -> tuple[Any, Any]:
    """Steps from ``start`` on, xs and lengths counted from there: the carry after them and their outputs stacked."""
    carry, ys = _loop(step, init, xs, start, total, lengths, reverse)
    columns, structure = tree.flatten(ys[0])
    rows = []
    for t, y in enumerate(ys, start):
        row, its = tree.flatten(y)
        _check_built(its, t, structure, start)
        rows.append(row)
    stacked = [_tensor(stack([row[i] for row in rows])) for i in range(len(columns))]  # of constants it is no Tensor
    return carry, tree.unflatten(structure, stacked)


def _check_built(found: Any, t: int, wanted: Any, first: int) -> None:
    """Raises ValueError when a step's output is not built as the first one's."""
    if not tree.alike(found, wanted):
        raise ValueError(
            f"scan at t={t}: the step returned an output built as {found}, but at t={first} as {wanted}"
        )


def _loop(
    step: Step, init: Any, xs: Any, start: int, total: int, lengths: Any, reverse: bool
) -> tuple[Any, list[Any]]:
    """The last carry and the outputs in order of time."""
    series, structure = tree.flatten(xs)
    series = [_tensor(x) for x in series]
    valid, full = None, total
    series, _, host = masked(series, total, lengths)
    if host is not None:
        full = int(host.min(initial=total))  # before this step every row is valid and nothing needs selecting
        valid = to_device(np.arange(total)[:, None] < host, series[0].device)
    columns = [unstack(x) for x in series]
    _, carry_structure = tree.flatten(init)
    carry, ys = init, [None] * total
    for t in range(total - 1, -1, -1) if reverse else range(total):
        at = start + t
        with scope("time", index=at):
            x = tree.unflatten(structure, [column[t] for column in columns])
            result = step(carry, x)
            if not isinstance(result, (tuple, list)) or len(result) != 2:  # rows of a lone Tensor are no pair either
                raise TypeError(f"scan at t={at}: the step returned {_shown(result)}; it returns a pair, (carry, y)")
            new, y = result
            first = carry is init  # later the type of the container is looked at, which costs nothing
            if (first or type(new) is not type(carry)) and not tree.alike(tree.flatten(new)[1], carry_structure):
                raise ValueError(
                    f"scan at t={at}: the step returned a carry built as {tree.flatten(new)[1]}, "
                    f"but was given {carry_structure}"
                )
            if valid is not None and t >= full:
                row = valid[t]
                new = tree.map(lambda a, b, row=row: _select(row, a, b), new, carry)
                y = tree.map(lambda a, row=row: _select(row, a, 0), y)
            carry, ys[t] = new, y
    return carry, ys


def _shown(result: Any) -> str:
    many = isinstance(result, (tuple, list))
    return f"{len(result)} values" if many else f"a {type(result).__name__} alone"


def _tensor(x: Any) -> Tensor:
    return x if type(x) is Tensor else tensor(x)


def _select(mask: Any, a: Any, b: Any) -> Tensor:
    """a in the rows where the mask (B,) or (T, B) holds, else b."""
    a = _tensor(a)
    b = bool(b) if a.dtype == bool and not hasattr(b, "dtype") else b  # a mask stays one: 0 would make it integers
    return where(mask.reshape(mask.shape + (1,) * (a.ndim - mask.ndim)), a, b)


def check_lengths(lengths: Any, series: list[Tensor], total: int) -> np.ndarray:
    """The lengths as integers on the host. Raises ValueError when they do not fit xs."""
    host = to_host(_tensor(lengths).data)
    if not series or series[0].ndim < 2:
        raise ValueError("scan: lengths need xs with a batch axis, (T, B, …)")
    batch = series[0].shape[1]
    if host.shape != (batch,) or host.dtype.kind not in "iu":
        raise ValueError(f"scan: lengths {host.tolist()} are not {batch} integers, one for each row of xs (T, B, …)")
    if host.min(initial=0) < 0 or host.max(initial=0) > total:
        raise ValueError(f"scan: lengths {host.tolist()} do not lie in 0 … {total}, the number of steps in xs")
    return host
