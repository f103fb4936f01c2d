"""The first run of a cell in a fresh process: tracing, planning and, unless its code is on disk already, compiling."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

import zoo
from zoo.bench import ours

SIZE = (16, 4, 32, 32)  # T, B, I, H: the run itself takes no time beside its start


def measure(cell: str, threads: int) -> Iterator[dict[str, Any]]:
    """Seconds from the cell to its gradients; Python and the packages are loaded already."""
    T, B, I, H = SIZE
    xs, cotangent = np.ones((T, B, I), np.float32), np.ones((T, B, H), np.float32)
    start = time.perf_counter()
    ours.scan(zoo.get(cell)(I, H), xs, cotangent, threads=threads).run()
    yield {"seconds": time.perf_counter() - start}
