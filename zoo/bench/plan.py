"""What is measured, and what it must reach: for each cell the sizes, and how much longer the others must take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple


class Size(NamedTuple):
    """Steps, rows, features in, features of the state."""

    T: int
    B: int
    I: int
    H: int


SMALL, MIDDLE = Size(64, 8, 64, 64), Size(100, 32, 128, 128)

# torch.nn's time / ours, for the cells that torch.nn has.
NATIVE = {Size(64, 1, 32, 32): 3.0, SMALL: 1.3, MIDDLE: 1.1, Size(64, 32, 256, 256): 1.05, Size(32, 64, 512, 512): 1.05}
NATIVE_CELLS = ("LSTM", "GRUResetAfter", "ElmanRNN")

# Time of the same equations / ours, for all other cells, one thread.
OTHERS = {SMALL: {"torch loop": 5.0, "jax scan": 1.3}, MIDDLE: {"torch loop": 2.5, "jax scan": 1.3}}

SHARE = {("LSTM", Size(64, 32, 256, 256)): 0.85}  # of one core's measured peak, over the whole step
START = {"first, s": 10.0, "later, s": 0.5}  # the first run of a cell: ever, and in a later process; at most
MEMORY = 1.0  # torch.nn.LSTM's peak / ours, at every size of NATIVE
CHECKPOINT = {"memory": 0.05, "time": 1.6}  # of a checkpointed run to one that keeps everything, of LONG, at most
SHORT = Size(1000, 8, 64, 64)
LONG = {"auto": (Size(10_000, 32, 128, 128), Size(10_000, 8, 64, 64)), "numpy": (Size(10_000, 8, 64, 64),)}
LONG |= {"strategy": (Size(10_000, 8, 64, 64),), "loop": (Size(10_000, 8, 64, 64),)}
EAGER = {"op": 1.5, (100, 32, 128): 1.1, (64, 1, 32): 1.5}  # our time / eager torch's, at most

# Who takes part for each library of --vs, by the name of the table's column: module and function.
OPPONENTS = {
    "torch": {"torch.nn": ("torch_side", "native"), "torch loop": ("torch_side", "loop")},
    "jax": {"jax scan": ("jax_side", "scan")},
}


def contests(cells: Sequence[str], all_cells: bool, *, threads: int, quick: bool) -> list[tuple[str, Size]]:
    """Which cells at which sizes. Asked for all cells, two threads and more are tried where a goal names them."""
    found = []
    for cell in cells:
        if cell in NATIVE_CELLS:
            found += [(cell, size) for size in NATIVE][: 2 if quick else None]
        elif threads == 1 or not all_cells:
            found += [(cell, size) for size in OTHERS][: 1 if quick else None]
    return found


def musts(cell: str, size: Size, *, threads: int) -> dict[str, float]:
    """The least ratio by column; columns without one are shown for information."""
    if cell in NATIVE_CELLS:
        return {"torch.nn": NATIVE[size]} if size in NATIVE else {}
    return OTHERS.get(size, {}) if threads == 1 else {}


def flops(cell: Any, size: Size) -> int:
    """Of the products with the cell's matrices in one step forward and backward: the product, and its two gradients.

    >>> import zoo
    >>> flops(zoo.LSTM(256, 256), Size(64, 32, 256, 256)) == 6 * 2 * 64 * 32 * 256 * 1024
    True
    """
    return 3 * 2 * size.T * size.B * sum(p.size for p in cell.parameters() if p.ndim == 2)
