"""Reverse mode in less memory: some carries are kept, and what lies between is run again on the way back."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from math import comb, isqrt
from typing import Any

from .. import tree
from ..backend import Array, namespace
from ..node import recording
from ..random import Generator
from ..tensor import Tensor
from .problem import Problem, Update
from .segment import Message, Segment
from .strategy import Strategy, register

__all__ = ["Budget", "Checkpointed", "Segments", "Sqrt"]

SAME = 1e-3  # how far a carry may be from what it was the first time: rounding is less, other random numbers are more


class Checkpointed(Strategy):
    """Exact: ``δ`` goes back from segment to segment, each run again from a carry that was kept, this time recorded.

    The memory is that of the kept carries and of one segment. The steps must be pure: run again they must come to the
    same carry, so random masks belong into xs. Raises RuntimeError when they do not.
    """

    exact = True
    unbiased = True

    @abstractmethod
    def plan(self, total: int) -> tuple[int, int]:
        """For T steps: the steps of a segment, and how many carries may be kept at once, the first one included."""

    def updates(self, problem: Problem, *, memory: Any = None, rng: Generator | None = None) -> Iterator[Update]:
        if not len(problem):
            return
        length, slots = self.plan(len(problem))
        edges = [*range(0, len(problem), length), len(problem)]
        way = _WayBack(problem)
        kept = [(0, _kept(problem.carry))]  # the number of a segment and the carry that it begins with
        for end in range(len(edges) - 1, 0, -1):  # segments 0 … end − 1 are still to be pulled
            begin, carry = kept[-1]
            while begin < end - 1:
                free = slots - len(kept)
                ahead = split(end - begin, free + 1)
                with recording(False):
                    carry, _ = problem.run(problem.parameters, carry, edges[begin], edges[begin + ahead])
                begin, carry = begin + ahead, _kept(carry)
                if free:
                    kept.append((begin, carry))
            if kept[-1][0] == begin:
                kept.pop()
            way.back(carry, edges[begin], edges[end])
        yield Update(way.loss, way.gradients, way.last, memory, len(problem))


def split(segments: int, slots: int) -> int:
    """How many segments to go ahead before the next carry is kept, for the fewest segments to run in all.

    ``slots`` includes the one that holds the first segment's carry. Griewank & Walther 2000, Algorithm 799: with s
    slots and every segment run at most r times before its own pull, β(s, r) = (s + r)! / (s! r!) of them can be done.

    >>> [split(10, slots) for slots in (1, 2, 3, 9)]
    [9, 6, 4, 1]
    """
    repeats = 1
    while comb(slots + repeats, slots) < segments:
        repeats += 1
    return min(comb(slots + repeats - 1, slots), segments - comb(slots + repeats - 2, slots - 1), segments - 1)


class _WayBack:
    """What is known on the way back: the loss and the gradients so far, the carry reached and the message to it."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.loss = 0.0
        self.last: Any = None  # the carry after all steps
        self.reached: Any = None
        self.message: Message | None = None
        self.totals: list[Array | None] = []
        self.gradients: Any = None

    def back(self, carry: Any, start: int, stop: int) -> None:
        """Run steps start … stop − 1 once more, recorded, and pull the message through them."""
        segment = Segment(self.problem, carry, start, stop)
        if self.message is None:
            self.last = segment.carry
        else:
            _check(segment.carry, self.reached, start, stop)
        gradients, self.message = segment.pull(self.message)
        self.totals = self.totals or [None] * len(gradients)
        for i, (total, g) in enumerate(zip(self.totals, gradients, strict=True)):
            if total is None:
                self.totals[i] = None if g is None else namespace(g).array(g)  # another's otherwise
            elif g is not None:
                total += g
        self.loss += segment.loss
        self.reached = carry
        if start == 0:
            self.gradients = segment.container(self.totals)


def _kept(carry: Any) -> Any:
    """A carry in arrays of its own: what a step gives may be a part of something larger, which would be kept too."""
    return tree.map(lambda z: Tensor.of(z.data.copy(), None) if type(z) is Tensor else z, carry)


def _check(found: Any, wanted: Any, start: int, stop: int) -> None:
    """Raise RuntimeError when steps run again came to another carry than before."""
    (now, structure), (before, its) = tree.flatten(found), tree.flatten(wanted)
    same = tree.alike(structure, its)
    for a, b in zip(now, before, strict=True) if same else ():
        if type(a) is Tensor and type(b) is Tensor:
            same = same and a.shape == b.shape and a.dtype == b.dtype and not _differ(a.data, b.data)
    if not same:
        raise RuntimeError(
            f"checkpointing: steps {start} … {stop - 1}, run again, came to another carry than before; a step must do "
            "the same each time it is called: pass random masks in xs"
        )


def _differ(a: Array, b: Array) -> bool:
    if a.dtype.kind in "fc":
        return bool(abs(a - b).sum() > SAME * abs(b).sum())
    return bool((a != b).any())


@register("sqrt", paper="Chen et al. 2016, Training deep nets with sublinear memory cost, arXiv:1604.06174")
@dataclass(frozen=True)
class Sqrt(Checkpointed):
    """√T segments of √T steps: each step is run twice, memory grows with √T."""

    def plan(self, total: int) -> tuple[int, int]:
        length = isqrt(max(total, 1) - 1) + 1
        return length, total


@register("segments", paper="Gruslys et al. 2016, Memory-efficient backpropagation through time, arXiv:1606.03401")
@dataclass(frozen=True)
class Segments(Checkpointed):
    """Segments of ``length`` steps, the carry before each kept: each step is run twice."""

    length: int

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ValueError(f"segments have a length of at least 1, not {self.length}")

    def plan(self, total: int) -> tuple[int, int]:
        return self.length, total


@register("budget", paper="Griewank & Walther 2000, Algorithm 799: revolve")
@dataclass(frozen=True)
class Budget(Checkpointed):
    """At most ``slots`` carries kept at once, where they save the most work: segments of ``length`` steps are run again
    as often as that takes, which grows with log T where slots do.
    """

    slots: int
    length: int = 1

    def __post_init__(self) -> None:
        if self.slots < 1 or self.length < 1:
            raise ValueError(f"at least 1 slot and segments of at least 1 step, not {self.slots} and {self.length}")

    def plan(self, total: int) -> tuple[int, int]:
        return self.length, self.slots
