"""Reverse mode in less memory: some carries are kept, and what lies between is run again on the way back."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from math import comb, isqrt
from typing import Any

from .. import tree
from ..autodiff import conjugate, pull
from ..backend import Array, namespace
from ..node import recording
from ..random import Generator
from ..tensor import Tensor, zeros_beside
from ..transforms import Trace
from .problem import Problem, Update, cut
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
        yield Update(way.loss, way.gradients(), way.last, memory, len(problem))


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
    """What is known on the way back: the loss and the gradients so far, the cotangent of the carry reached."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.loss = 0.0
        self.last: Any = None  # the carry after all steps
        self.after: Any = None  # the carry that the segment should come to
        self.message: list[Array | None] = []  # its cotangent, a leaf at a time
        values, self.structure = tree.flatten(problem.parameters)
        self.primals: list[Tensor | None] = []  # the parameters, None for what has no derivative
        self.totals: list[Array | None] = [None] * len(values)

    def back(self, carry: Any, start: int, stop: int) -> None:
        """Run steps start … stop − 1 once more, recorded, and pull the message through them."""
        problem = self.problem
        trace = Trace(lambda p, z: problem.run(p, z, start, stop), (problem.parameters, carry), (0, 1), {}, False)
        new, loss = trace.out
        if self.last is None:
            self.last = cut(new)
            self.message = [None] * len(tree.leaves(new))
            self.primals = trace.primals[: len(self.totals)]
        else:
            _check(new, self.after, start, stop)
        self.after = carry
        outputs, message = tree.leaves(new), self.message
        if loss is not None:
            self.loss += loss.item()
            outputs, message = [*outputs, loss], [*message, namespace(loss.data).ones(loss.shape, loss.dtype)]
        pairs = [
            (o.node, g) for o, g in zip(outputs, message, strict=True)
            if g is not None and type(o) is Tensor and o.node is not None
        ]  # fmt: skip
        wrt = [None if p is None else p.node for p in trace.primals]
        found = pull([node for node, _ in pairs], [g for _, g in pairs], wrt=[n for n in wrt if n is not None])
        parts = [None if node is None else found.get(node) for node in wrt]
        self.message = parts[len(self.totals) :]
        for i, (total, part) in enumerate(zip(self.totals, parts, strict=False)):
            if total is None:
                self.totals[i] = None if part is None else namespace(part).array(part)  # borrowed otherwise
            elif part is not None:
                total += part

    def gradients(self) -> Any:
        """The sums, built as ``tg.grad`` gives them."""
        found: list[Any] = []
        for p, total in zip(self.primals, self.totals, strict=True):
            if p is None:
                found.append(None)
            else:
                found.append(Tensor.of(zeros_beside(p, p.shape) if total is None else conjugate(total), None))
        return tree.unflatten(self.structure, found)


def _kept(carry: Any) -> Any:
    """A carry in arrays of its own: what a step gives may be a part of something larger, which would be kept too."""
    return tree.map(lambda z: Tensor.of(z.data.copy(), None) if type(z) is Tensor else z, carry)


def _check(found: Any, wanted: Any, start: int, stop: int) -> None:
    """Raise RuntimeError when steps run again came to another carry than before."""
    (now, structure), (before, its) = tree.flatten(found), tree.flatten(wanted)
    same = tree.alike(structure, its)
    for a, b in zip(now, before, strict=True) if same else ():
        if type(a) is Tensor and type(b) is Tensor:
            same = same and a.shape == b.shape and not abs(a.data - b.data).sum() > SAME * abs(b.data).sum()
    if not same:
        raise RuntimeError(
            f"checkpointing: steps {start} … {stop - 1}, run again, came to another carry than before; a step must do "
            "the same each time it is called: pass random masks in xs"
        )


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
