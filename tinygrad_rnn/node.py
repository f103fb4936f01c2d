"""Nodes of the computation graph, the scopes that tag them, and whether they are recorded at all.

A node is one value that some op made. It knows the op, its parents in argument order, and the arrays that the
derivative will need (``saved``), never Tensors: so there is no reference cycle and a graph dies by refcount.
``seq`` grows with time, so "sorted by seq" is a topological order and no walk needs recursion.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

__all__ = ["Node", "Scope", "local", "next_seq", "no_grad", "recording", "scope", "steps"]

next_seq = count(1).__next__  # atomic in CPython


class Scope:
    """Where a node was made: a linked list of tags such as ("time", None, 3) → ("cell", "LSTM", None)."""

    __slots__ = ("attributes", "index", "kind", "name", "parent")

    def __init__(self, kind: str, name: str | None, index: int | None, attributes: dict, parent: Scope | None):
        self.kind, self.name, self.index, self.attributes, self.parent = kind, name, index, attributes, parent

    def chain(self) -> list[Scope]:
        """The scopes from the outermost to this one."""
        found: list[Scope] = []
        at: Scope | None = self
        while at is not None:
            found.append(at)
            at = at.parent
        return found[::-1]

    def find(self, kind: str) -> Scope | None:
        """The innermost scope of this kind."""
        at: Scope | None = self
        while at is not None and at.kind != kind:
            at = at.parent
        return at

    def __str__(self) -> str:
        return "/".join(f"t={s.index}" if s.kind == "time" else str(s.name or s.kind) for s in self.chain())


class _Frame:
    """What one thread records, and where it stands."""

    __slots__ = ("depth", "recording", "scope", "watch")

    def __init__(self) -> None:
        self.recording = True
        self.scope: Scope | None = None
        self.watch: Any = None  # called with (op, arguments, parents, params, output) after every op; see debug.py
        self.depth = 0  # how many derivative transforms (grad, vjp, jvp) are running around this point


class _Local(threading.local):
    def __init__(self) -> None:
        self.frame = _Frame()


local = _Local()


class scope:
    """Tag every node made inside: ``with scope("cell", "LSTM", layer=0): …``; pictures and errors read the tags.

    >>> with scope("time", index=3):
    ...     str(local.frame.scope)
    't=3'
    """

    __slots__ = ("made", "tag")

    def __init__(self, kind: str, name: str | None = None, index: int | None = None, **attributes: Any):
        self.tag = (kind, name, index, attributes)

    def __enter__(self) -> Scope:
        frame = local.frame
        frame.scope = self.made = Scope(*self.tag, frame.scope)
        return self.made

    def __exit__(self, *exc: Any) -> None:
        frame = local.frame
        at = frame.scope
        while at is not None and at is not self.made:  # more than one step only when a generator was left open inside
            at = at.parent
        if at is not None:  # else it was left already, from further out
            frame.scope = at.parent


def steps(length: int) -> Iterator[int]:
    """Count the time steps of a plain loop and tag the nodes of each: ``for t in steps(T): h = …``.

    >>> [(t, str(local.frame.scope)) for t in steps(2)]
    [(0, 't=0'), (1, 't=1')]
    """
    for t in range(length):
        with scope("time", index=t):
            yield t


@contextmanager
def recording(on: bool) -> Iterator[None]:
    """Switch the recording of nodes on or off in this thread."""
    frame = local.frame
    before, frame.recording = frame.recording, on
    try:
        yield
    finally:
        frame.recording = before


def no_grad() -> Any:
    """Run ops without recording them: ``with no_grad(): …``; nothing is kept for a backward pass."""
    return recording(False)


class Node:
    """One value of the graph: ``op`` applied to ``inputs`` (parents in argument order, None for constants)."""

    __slots__ = ("__weakref__", "dtype", "inputs", "op", "params", "saved", "scope", "seq", "shape")

    def __init__(self, op, params, inputs, saved, seq, scope, shape, dtype):
        self.op = op
        self.params = params
        self.inputs = inputs
        self.saved = saved  # None once freed
        self.seq = seq
        self.scope = scope
        self.shape = shape
        self.dtype = dtype

    def place(self) -> str:
        """`` at lstm/t=3``, or nothing outside every scope; for messages."""
        return f" at {self.scope}" if self.scope else ""

    def __repr__(self) -> str:
        return f"<{self.op.name} {self.shape} {self.dtype}{self.place()}>"
