"""Sharing the work of a run among threads: each takes some of the rows, or columns, from beginning to end."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

__all__ = ["WORTH", "Task", "do"]

WORTH = 2e7  # flops for each thread, some 0.2 ms: waking one, and waiting for it, takes half of that


class Task(NamedTuple):
    """A native ``function(*arguments, first, last)`` over ``size`` rows or columns, cut at multiples of ``unit``."""

    function: Callable[..., Any]
    size: int
    unit: int
    flops: float  # about

    def cuts(self, parts: int) -> list[int]:
        """Where each part begins, and the end of the last.

        >>> Task(print, 20, 8, 0.0).cuts(2)
        [0, 8, 20]
        """
        blocks = -(-self.size // self.unit)
        return [min(self.size, self.unit * (blocks * i // parts)) for i in range(parts + 1)]


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="scan")


if hasattr(os, "register_at_fork"):  # a forked process has the pool but not its threads
    os.register_at_fork(after_in_child=_pool.cache_clear)


def do(tasks: Sequence[Task], arguments: tuple, threads: int) -> None:
    """Do tasks of which none waits for another, on as many threads as they are worth."""
    parts = 1
    if threads > 1:
        parts = max(1, min(threads, int(sum(task.flops for task in tasks) // WORTH)))
    if parts == 1:
        for task in tasks:
            task.function(*arguments, 0, task.size)
        return
    shares: list[list[tuple[Callable[..., Any], int, int]]] = [[] for _ in range(parts)]
    for task in tasks:
        for share, (first, last) in zip(shares, pairwise(task.cuts(parts)), strict=True):
            if first < last:
                share.append((task.function, first, last))
    jobs = [_pool(threads).submit(_do, share, arguments) for share in shares[1:]]
    _do(shares[0], arguments)
    for job in jobs:
        job.result()


def _do(share: Sequence[tuple[Callable[..., Any], int, int]], arguments: tuple) -> None:
    for function, first, last in share:
        function(*arguments, first, last)
