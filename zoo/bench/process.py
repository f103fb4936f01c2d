"""The measuring process as its caller sees it: threads and processors are fixed before any library loads there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from zoo.errors import UserError

# What BLAS, torch and XLA read when they load; XLA takes no notice of its own flags for threads (jax 0.10).
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NPROC")

# OpenBLAS's threads else look out for more work for a tenth of a second, on the processors of whoever is next.
ENVIRONMENT = {"OPENBLAS_THREAD_TIMEOUT": "20", "JAX_PLATFORMS": "cpu"}


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _pinned(count: int) -> Iterator[None]:
    """What is started meanwhile runs on so many processors, whatever threads it makes; where the system can do that."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    usual = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(usual)[-count:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, usual)


def results(
    job: str, *, threads: int, variables: Mapping[str, str] | None = None, **options: Any
) -> Iterator[dict[str, Any]]:
    """What a job of ``zoo.bench.__main__`` measures, one by one, as it is measured. Raises UserError when it fails.

    ``variables`` are set in the environment of the measuring process.
    """
    environment = {**os.environ, **dict.fromkeys(THREADS, str(threads)), **ENVIRONMENT, **(variables or {})}
    task = json.dumps({"job": job, "threads": threads, **options})
    with _pinned(threads):
        child = subprocess.Popen(
            [sys.executable, "-m", "zoo.bench", task], stdout=subprocess.PIPE, text=True, env=environment
        )
    with child:
        try:
            assert child.stdout
            yield from map(_result, child.stdout)
        finally:
            if sys.exc_info()[0]:
                child.kill()
    if child.returncode:
        raise UserError(f"bench: the measuring process ended with status {child.returncode}; what it said is above")


def _result(line: str) -> dict[str, Any]:
    found: Mapping[str, Any] = json.loads(line)
    if "error" in found:
        raise UserError(f"bench: {found['error']}")
    return dict(found)
