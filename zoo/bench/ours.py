"""Our side: the cell as anyone runs it, ``zoo.RNN``."""

from __future__ import annotations

from typing import Any

import tinygrad_rnn as tg
import zoo
from zoo.bench.measure import Contestant


def scan(
    cell: zoo.Cell, xs: Any, cotangent: Any, *, threads: int, compile: str | bool = "auto",
    checkpoint: str | int | None = None,
) -> Contestant:  # fmt: skip
    """One run forward and backward, with the gradients of the input and of every parameter."""
    rnn = zoo.RNN(cell, compile=compile, threads=threads, checkpoint=checkpoint)
    series, g = tg.tensor(xs, requires_grad=True), tg.tensor(cotangent)
    leaves = {**dict(cell.named_parameters()), "x": series}

    def run() -> dict[str, Any]:
        ys, _ = rnn(series)
        ys.backward(g)
        found = {path: leaf.grad for path, leaf in leaves.items()}
        for leaf in leaves.values():
            leaf.grad = None
        return {**found, "ys": ys}

    return Contestant(run, lambda found: {key: value.numpy() for key, value in found.items()})
