"""The fastest float32 matrix product there is on one core: the measure of how much of a processor a cell uses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from zoo.bench.measure import by_turns

# M, K, N: all three matrices fit into the cache of one core, since the next one is shared with whoever else runs.
SHAPES = ((128, 128, 128), (256, 256, 256), (64, 256, 256), (256, 256, 64), (64, 256, 512))
TRIES = 5


class Product(NamedTuple):
    """A product by the library and shape that was fastest, and the flops of one."""

    name: str
    run: Callable[[], Any]
    flops: int


def fastest(*, torch: bool) -> Product:
    """The best of NumPy's BLAS, torch's (if wanted) and the scan compiler's over a few shapes, by the best of five."""
    best = None
    for shape in SHAPES:
        for product in _products(*shape, torch=torch):
            rate = product.flops / min(by_turns({product.name: product.run}, TRIES)[product.name])
            if best is None or rate > best[0]:
                best = (rate, product)
    assert best
    return best[1]


def _products(M: int, K: int, N: int, *, torch: bool) -> Iterator[Product]:
    random, flops, shape = np.random.default_rng(0), 2 * M * K * N, f"{M} × {K} × {N}"
    a, b = (random.standard_normal(s).astype(np.float32) for s in ((M, K), (K, N)))
    out = np.empty((M, N), np.float32)
    yield Product(f"NumPy {shape}", partial(np.matmul, a, b, out=out), flops)
    if torch:
        from torch import from_numpy, mm

        yield Product(f"torch {shape}", partial(mm, from_numpy(a), from_numpy(b), out=from_numpy(out)), flops)
    from tinygrad_rnn.scan.native.machine import available

    if available() is None:
        from tinygrad_rnn.scan.native.products import products

        ours = products("float32")
        yield Product(f"ours {shape}", partial(ours.product, a, ours.pack(b), N, out=out), flops)
