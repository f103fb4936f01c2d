"""The memory that one training step needs at its peak, over what the process held before; a fresh process each."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import zoo
from zoo.bench.cells import contestants
from zoo.bench.plan import Size


def measure(cell: str, size: Sequence[int], side: str, threads: int) -> Iterator[dict[str, Any]]:
    """The growth in bytes from before the step to its peak; None where the system does not tell.

    A step of the same cell over two inputs goes first: it loads code and compiles. The input, the cotangent and the
    weights are there before, so what counts is all that the step makes: what it saves, its outputs, its gradients.
    """
    if side != "ours":
        import torch

        torch.set_num_threads(threads)
    wanted = Size(*size)
    model = zoo.get(cell)(wanted.I, wanted.H)
    vs = () if side == "ours" else ("torch",)
    contestants(model, wanted._replace(T=2), vs, threads)[side].run()
    run = contestants(model, wanted, vs, threads)[side].run
    gc.collect()
    before = held()
    kept = run()
    after = peak()
    del kept
    yield {"bytes": None if before is None or after is None else after - before}


def held() -> int | None:
    """Bytes in memory now, with the peak counted from here on; where Linux does not let us, the peak so far."""
    with suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")
        file.flush()
        return _status("VmRSS")
    return peak()


def peak() -> int | None:
    with suppress(OSError):
        return _status("VmHWM")
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _status(name: str) -> int:
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
