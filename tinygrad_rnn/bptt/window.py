"""Truncated to a sliding window: the last steps stay in memory, and losses are sent back through all of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..random import Generator
from .problem import Problem, Update
from .segment import Message, Segment, added, shapes
from .strategy import Strategy, register

__all__ = ["Window"]


@register("window", paper="Williams & Peng 1990, An efficient gradient-based algorithm for on-line training")
@dataclass(frozen=True)
class Window(Strategy):
    """Every ``every`` steps, the losses of the last ``every`` steps are sent back through the last ``back`` steps.

        update at u:  Σ_{u−every ≤ t < u} Σ_{u−back ≤ τ ≤ t} (∂ℓ_t/∂z_t) J_t … J_{τ+1} ∂⁺z_τ/∂θ

    So each loss reaches at least ``back − every`` steps back, where in ``Chunks`` the first of a chunk reaches none;
    ``window:k,k`` is ``chunks:k`` (a shorter rest at the end of a run reaches back as far as the others), and with
    ``back`` ≥ T nothing is cut. No step is run twice: the window is a ring
    of segments, and between two updates the older ones keep the states, and the parameters, that they were run with.
    Each is pulled about ``back / every`` times. A loss at the last step alone reaches the last ``back`` steps. The
    memory is the ring: pass it on, and the window of the next run reaches into this one (up to ``back`` steps, less
    when this run ended between two updates).

    Raises ValueError when ``back`` < ``every``: some losses would be sent nowhere; and for a memory of other states.

    BPTT(h; h') of Williams & Peng 1990 with h = back, h' = every; Jaeger 2002, A tutorial on training recurrent neural
    networks, describes the family.
    """

    every: int
    back: int

    def __post_init__(self) -> None:
        if not 1 <= self.every <= self.back:
            raise ValueError(
                f"a window of {self.back} steps, moved by {self.every}: it is moved by at least 1 step and by no more "
                "than its length, or losses would be left out"
            )

    def updates(self, problem: Problem, *, memory: Any = None, rng: Generator | None = None) -> Iterator[Update]:
        ring: deque[Segment] = deque(memory or ())
        carry, start, total = problem.carry, 0, len(problem)
        if ring and ring[-1].shapes != (now := shapes(carry)):
            raise ValueError(f"window: the memory ends in a carry of shapes {ring[-1].shapes}, the problem begins with "
                             f"{now}; pass memory=None to begin anew")  # fmt: skip
        fresh = 0  # segments whose losses were not sent back yet
        for stop in self.edges(total):
            due = min(-(-stop // self.every) * self.every, total)  # the next update
            while ring and sum(s.steps for s in ring) + due - start > self.back:
                ring.popleft()
            ring.append(Segment(problem, carry, start, stop))
            carry, start, fresh = ring[-1].carry, stop, fresh + 1
            if stop == due:
                yield Update(*_sent_back(ring, fresh), carry, tuple(ring), stop)
                fresh = 0

    def edges(self, total: int) -> list[int]:
        """Where segments end: wherever an update is due, and wherever the window of one begins."""
        every, back = self.every, self.back
        return sorted({t for t in range(1, total) if t % every == 0 or (t + back) % every == 0} | {
            edge for edge in (total - back, total) if edge > 0})  # fmt: skip


def _sent_back(ring: deque[Segment], fresh: int) -> tuple[float, Any]:
    """The losses of the last ``fresh`` segments, and their gradients through the whole ring."""
    message: Message | None = None
    gradients: Message | None = None
    loss = 0.0
    for age, segment in enumerate(reversed(ring)):
        new = age < fresh
        loss += segment.loss if new else 0.0
        parts, message = segment.pull(message, loss=float(new))
        gradients = added(gradients, parts)
    return loss, ring[-1].container(gradients or ())
