"""A series cut into segments and put together from them, both ways through one array instead of pieces and a whole."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from ..backend import namespace
from ..declare import linear
from ..ops.shape import concatenate, split
from ..tensor import Tensor, zeros_beside

__all__ = ["Cut", "Joined"]


class Room:
    """An array (T, …) that is written segment by segment."""

    __slots__ = ("array", "total")

    def __init__(self, total: int) -> None:
        self.array: Any = None
        self.total = total

    def put(self, piece: Any, start: int) -> Any:
        """The piece's copy in the array, so that the piece itself need not live on."""
        if type(piece) is Tensor:  # recorded: a Tensor lives as long as its graph
            return piece
        if self.array is None:
            self.array = namespace(piece).empty((self.total, *piece.shape[1:]), piece.dtype)
        place = self.array[start : start + len(piece)]
        if place.shape != piece.shape or place.dtype != piece.dtype:
            return piece
        place[...] = piece
        return place

    def take(self, pieces: Sequence[Any]) -> Any:
        """The array, if the pieces are all in it; else a new one. The room is empty then."""
        array, self.array = self.array, None
        if array is not None and all(getattr(piece, "base", None) is array for piece in pieces):
            return array
        return concatenate(pieces)


def _cotangent(g: Sequence[Any], shapes: Sequence[tuple[int, ...]], room: Room) -> Any:
    like = next(c for c in g if c is not None)
    return room.take([zeros_beside(like, s) if c is None else c for c, s in zip(g, shapes, strict=True)])


@linear("segments", lambda g, out_shape, room: _cotangent(g, out_shape, room), many=True)
def _segments(x, *, edges, room):
    return tuple([x[a:b] for a, b in pairwise(edges)])


@linear("segment", lambda g, start, room: room.put(g, start))
def _segment(x, *, start, room):
    return x


@linear("joined", lambda g, edges: split(g, edges[1:-1], axis=0))
def _joined(*xs, edges, room):
    return room.take(xs)


class Cut:
    """x between each two edges along axis 0; the gradients of the pieces are put where that of x is made.

    A piece is handed out once, and asked for just before it is used: the way back then comes to it just after that use.

    >>> import tinygrad_rnn as tg
    >>> series = Cut(tg.tensor([1.0, 2.0, 3.0]), (0, 2, 3))
    >>> series.piece(0), series.piece(1)
    (tensor([1., 2.]), tensor([3.]))
    """

    def __init__(self, x: Tensor, edges: Sequence[int]) -> None:
        self.edges, self.room = tuple(edges), Room(edges[-1])
        self.pieces: list[Any] = list(_segments(x, edges=self.edges, room=self.room))

    def piece(self, i: int) -> Any:
        """Piece i. Raises ValueError for one that was handed out: the gradients of two would share a place."""
        piece, self.pieces[i] = self.pieces[i], None
        if piece is None:
            raise ValueError(f"piece {i} was handed out before")
        return _segment(piece, start=self.edges[i], room=self.room)


class Joined:
    """Pieces along axis 0, added one by one in any order, then one Tensor.

    >>> import tinygrad_rnn as tg
    >>> series = Joined((0, 2, 3))
    >>> series.add(1, tg.tensor([3.0]))
    >>> series.add(0, tg.tensor([1.0, 2.0]))
    >>> series.whole()
    tensor([1., 2., 3.])
    """

    def __init__(self, edges: Sequence[int]) -> None:
        self.edges, self.room = tuple(edges), Room(edges[-1])
        self.pieces: list[Any] = [None] * (len(edges) - 1)

    def add(self, i: int, piece: Tensor) -> None:
        """Piece i, whose own array is let go."""
        self.pieces[i] = Tensor.of(self.room.put(piece.data, self.edges[i]), piece.node)

    def whole(self) -> Any:
        """All pieces as one; the gradient is cut in turn."""
        return _joined(*self.pieces, edges=self.edges, room=self.room)
