"""The commands of `python -m zoo`, one module each: `main(arguments) -> exit status`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import tinygrad_rnn as tg
from zoo.errors import UserError

LOOPS = "NUMBA_NUM_THREADS"
INTERRUPTED = 130  # 128 + SIGINT, as shells count it

COMMANDS = {
    "train": "train a cell on a task, with a baseline beside the result",
    "sample": "let a trained run write",
    "list": "the cells and the tasks there are",
    "info": "one cell: its paper, equations, state and parameters",
    "gradients": "every estimator of a recurrent net's gradient, beside the exact one",
    "experiment": "what a paper says of learning through time, and what comes out here",
    "bench": "measure how fast the cells train, beside torch and jax",
}


class Parser(argparse.ArgumentParser):
    """argparse with errors of one line, the command's examples kept as they are typed, no abbreviated options."""

    def __init__(self, command: str, *, arguments: str = "", examples: str = "") -> None:
        name = f"python -m zoo {command}"
        super().__init__(
            prog=name, usage=" ".join(filter(None, [name, arguments, "[options]"])), description=COMMANDS[command],
            epilog=examples, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} ({self.prog} --help)")


def number(kind: type, *, low: float, high: float = float("inf")) -> Callable[[str], Any]:
    """An argparse type: a number of this kind with low ≤ number < high."""

    def parse(text: str) -> Any:
        value = kind(text)
        if not low <= value < high:
            raise ValueError(text)
        return value

    upper = "" if high == float("inf") else f" and below {high:g}"
    parse.__name__ = f"{'whole number' if kind is int else 'number'} (at least {low:g}{upper})"  # argparse quotes it
    return parse


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let the matrix library and compiled time loops use so many threads while the context lasts.

    One is a good number for recurrent nets: their products are small, so that a second thread gains a tenth on an idle
    machine, while on a busy one the two wait for each other (25 times slower, measured with OpenBLAS).
    """
    from threadpoolctl import threadpool_limits

    before = os.environ.get(LOOPS)
    os.environ[LOOPS] = str(count)  # where a scan that is given no number of threads looks for one
    try:
        with threadpool_limits(limits=count, user_api="blas"):
            yield
    finally:
        del os.environ[LOOPS]
        if before is not None:
            os.environ[LOOPS] = before


COUNT, AMOUNT = number(int, low=1), number(float, low=1e-12)


def device(device: str) -> str:
    """The name with which the device reports itself; `UserError` when it is not there."""
    try:
        return tg.tensor(0.0, device=device).device
    except (RuntimeError, ValueError) as error:
        raise UserError(str(error)) from error
