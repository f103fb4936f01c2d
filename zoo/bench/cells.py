"""Cells along time, forward and backward with all gradients: ours beside every opponent that has the cell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np

import zoo
from zoo.bench import ours
from zoo.bench.measure import Contestant, by_turns
from zoo.bench.peak import fastest
from zoo.bench.plan import OPPONENTS, Size, flops
from zoo.errors import UserError

TOLERANCE = 1e-3  # of an array's norm, float32 over a hundred steps; a wrong equation is off by its whole size


def measure(
    contests: Sequence[tuple[str, Sequence[int]]], vs: Sequence[str], rounds: int, threads: int
) -> Iterator[dict[str, Any]]:
    """For each cell and size the seconds of all contestants in all rounds, once they have agreed on every array."""
    if "torch" in vs:
        import torch

        torch.set_num_threads(threads)
    peak = fastest(torch="torch" in vs) if threads == 1 else None
    for name, numbers in contests:
        size = Size(*numbers)
        cell = zoo.get(name)(size.I, size.H)
        sides = contestants(cell, size, vs, threads)
        agree(name, size, sides)
        runs = {side: contestant.run for side, contestant in sides.items()}
        found = {"cell": name, "size": size, "threads": threads}
        if peak is None:
            yield {**found, "seconds": by_turns(runs, rounds)}
        else:  # takes turns too, so the share holds on a machine that slows down meanwhile
            seconds = by_turns({**runs, "peak": peak.run}, rounds)
            rate = [peak.flops / s for s in seconds.pop("peak")]
            yield {**found, "seconds": seconds, "peak": rate, "peak of": peak.name, "flops": flops(cell, size)}


def contestants(cell: zoo.Cell, size: Size, vs: Sequence[str], threads: int) -> dict[str, Contestant]:
    """Ours, and the opponents that have the cell, all with the same weights, input and cotangent."""
    random = np.random.default_rng(0)
    xs = random.standard_normal((size.T, size.B, size.I)).astype(np.float32)
    cotangent = random.standard_normal((size.T, size.B, cell.output_size)).astype(np.float32)
    sides = {"ours": ours.scan(cell, xs, cotangent, threads=threads)}
    for library in vs:
        for name, (module, function) in OPPONENTS[library].items():
            side = getattr(import_module(f"zoo.bench.{module}"), function)(cell, xs, cotangent)
            if side:
                sides[name] = side
    return sides


def agree(cell: str, size: Size, sides: Mapping[str, Contestant]) -> None:
    """Raise UserError where an opponent's output or gradient is not ours: it would be timed at other work."""
    found = {name: side.arrays(side.run()) for name, side in sides.items()}
    for name, arrays in found.items():
        for path, wanted in found["ours"].items():
            apart = float(np.linalg.norm(arrays[path] - wanted)) / (float(np.linalg.norm(wanted)) or 1)
            if not apart <= TOLERANCE:
                raise UserError(
                    f"{cell} at {tuple(size)}: {path} of {name} differs from ours by {apart:.1g} of its norm, "
                    f"{TOLERANCE:g} allowed; one of the two computes something else"
                )
