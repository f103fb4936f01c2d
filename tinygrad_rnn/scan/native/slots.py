"""What a call hands to native code: addresses, integers and real numbers, each in a slot of one of three lists.

Sizes are arguments, not constants: code made for one hidden size serves all, and a change of T or B costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..graph import Value
from .places import Buffer, Place

__all__ = ["HEADER", "Slots", "weight_name"]

HEADER = ("T", "B", "descending", "lengths", "read", "write")  # the first integers of every call


class Slots:
    """The slots of one module, numbered as its functions ask for them.

    Addresses are those of the buffers, then of ``extra``; integers HEADER, one mask for each buffer (what is left of t
    in a buffer that does not hold all T steps), then ``sizes``; real numbers ``numbers``.
    """

    def __init__(self, buffers: Sequence[Buffer]) -> None:
        self.buffers = tuple(buffers)
        self.extra: list[str] = []
        self.sizes: list[int] = []
        self.numbers: list[float] = []
        self.packed: dict[str, tuple[int, int]] = {}  # the shapes of packed weights, by their names in ``extra``

    def buffer(self, buffer: Buffer) -> int:
        """The slot of a buffer's address."""
        return self.buffers.index(buffer)

    def mask(self, buffer: Buffer) -> int:
        """The slot of the integer that t is masked with: −1 keeps it, 1 its last bit, 0 nothing."""
        return len(HEADER) + self.buffers.index(buffer)

    def pointer(self, name: str) -> int:
        """The slot of an address by its name: "lengths", "in carry0", "total3", a packed weight."""
        return len(self.buffers) + _number(self.extra, name)

    def size(self, n: int) -> int:
        """The slot of an integer that depends on shapes alone."""
        return len(HEADER) + len(self.buffers) + _number(self.sizes, n)

    def number(self, x: float) -> int:
        """The slot of a number that the step contains."""
        return _number(self.numbers, x)


def _number(known: list[Any], x: Any) -> int:
    if x not in known:
        known.append(x)
    return known.index(x)


def weight_name(weight: Value, place: Place) -> str:
    """What a packed weight is called among the pointers: one name for one matrix."""
    return f"packed {place.buffer.name} {place.offset} {place.strides} {weight.shape}"
