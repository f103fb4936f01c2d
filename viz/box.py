"""Rectangles, in points; y grows upwards."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle by its centre and size."""

    x: float
    y: float
    width: float
    height: float

    left = property(lambda self: self.x - self.width / 2)
    right = property(lambda self: self.x + self.width / 2)
    bottom = property(lambda self: self.y - self.height / 2)
    top = property(lambda self: self.y + self.height / 2)

    @classmethod
    def between(cls, left: float, right: float, bottom: float, top: float) -> Box:
        """The rectangle of these sides."""
        return cls((left + right) / 2, (bottom + top) / 2, right - left, top - bottom)

    @classmethod
    def around(cls, boxes: Iterable[Box]) -> Box:
        """The smallest rectangle that holds all of these; one of no size at the origin for none.

        >>> Box.around([Box(0, 0, 2, 2), Box(4, 0, 2, 4)])
        Box(x=2.0, y=0.0, width=6.0, height=4.0)
        """
        boxes = list(boxes) or [cls(0.0, 0.0, 0.0, 0.0)]
        sides = min(b.left for b in boxes), max(b.right for b in boxes)
        return cls.between(*sides, min(b.bottom for b in boxes), max(b.top for b in boxes))

    def moved(self, x: float, y: float) -> Box:
        """The same rectangle elsewhere."""
        return Box(self.x + x, self.y + y, self.width, self.height)
