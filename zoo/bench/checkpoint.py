"""A long sequence forward and backward: all that the way back reads kept, beside the carries at √T places alone."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

import tinygrad_rnn as tg
import zoo
from zoo.bench import ours
from zoo.bench.memory import held, peak
from zoo.bench.plan import Size

Runs = dict[str, Callable[[], Any]]


def runs(cell: zoo.Cell, size: Size, way: str, threads: int) -> Runs:
    """Both sides of a way: they return their outputs and gradients.

    Of a layer these are ys and the gradients of xs and of the parameters, ``compile`` being the way's name; of the
    strategies, which add a loss up step by step, those of the parameters.
    """
    random = np.random.default_rng(0)
    xs = random.standard_normal((size.T, size.B, size.I)).astype(np.float32)
    cotangent = random.standard_normal((size.T, size.B, cell.output_size)).astype(np.float32)
    if way != "strategy":
        compile = False if way == "loop" else way
        sides = {"full": None, "sqrt": "sqrt"}
        return {
            name: ours.scan(cell, xs, cotangent, threads=threads, compile=compile, checkpoint=checkpoint).run
            for name, checkpoint in sides.items()
        }
    problem = tg.bptt.Problem(cell, _step, cell.init_state(size.B), (tg.tensor(xs), tg.tensor(cotangent)))
    return {name: partial(_gradients, problem, name) for name in ("full", "sqrt")}


def _gradients(problem: tg.bptt.Problem, strategy: str) -> Any:
    return tg.bptt.gradient(problem, strategy).gradients


def _timed(sides: Runs, rounds: int, threads: int) -> dict[str, list[float]]:
    """Seconds of both sides by turns, after a first run each; on one thread of our own time, not that of others."""
    clock = time.process_time if threads == 1 else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds + 1):
        for name, run in sides.items():
            start = clock()
            run()
            seconds[name].append(clock() - start)
    return {name: found[1:] for name, found in seconds.items()}


def _step(cell: zoo.Cell, state: Any, x: Any) -> tuple[Any, Any]:
    y, state = cell.step(x[0], state)
    return state, (y * x[1]).sum()


def measure(
    cell: str, size: Sequence[int], way: str, side: str | None, rounds: int, threads: int
) -> Iterator[dict[str, Any]]:
    """The seconds of both sides of a way, by turns; or, of one ``side`` in a fresh process, the bytes of its first run.

    These are what its peak is over what was held before, without the arrays that it returns; None where the system
    does not tell. A run over two steps goes first: it loads code and compiles.
    """
    wanted, model = Size(*size), zoo.get(cell)(*size[2:])
    if side is None:
        yield {"seconds": _timed(runs(model, wanted, way, threads), rounds, threads)}
        return
    runs(model, wanted._replace(T=2), way, threads)[side]()
    run = runs(model, wanted, way, threads)[side]
    gc.collect()
    before = held()
    kept = run()
    after = peak()
    returned = sum(t.data.nbytes for t in tg.tree.leaves(kept))
    yield {"bytes": None if before is None or after is None else after - before - returned}
