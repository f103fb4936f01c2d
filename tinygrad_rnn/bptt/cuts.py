"""What truncation throws away: at every cut, the gradient that would have passed it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from .. import tree
from ..backend import namespace
from .diagnostics import Named, parameter_names
from .full import Chunks
from .problem import Problem
from .segment import Message, Segment, added
from .strategy import Strategy, strategy
from .window import Window

__all__ = ["Cuts", "cuts"]


class Cuts(NamedTuple):
    """The cuts of a run in the order of time.

    ``at``: step at − 1 and step at lie on either side, (cut,). ``lost``: parameter by parameter the gradient that is
    missing because of each cut, (cut, *shape). ``norms``: how large it is, (cut, parameter), parameters in that order.
    """

    at: Named
    lost: dict[str, Named]
    norms: Named


def cuts(problem: Problem, truncation: str | Strategy | Sequence[int]) -> Cuts:
    """What each cut of ``chunks:LENGTH``, of ``window:EVERY,BACK`` or before given steps takes away from the gradient.

        lost_c = m_c Γ_c,   Σ_c lost_c = ∂L/∂θ − estimate

    Γ_c = ∂z_{c−1}/∂θ through the steps from the cut before to this one, m_c = ∂L_c/∂z_{c−1}, L_c the losses that do not
    see past c: for chunks all later ones; for a window that begins at c those of its own update and of the later ones.
    Steps that are given, in their order, begin chunks of any lengths, such as those of one draw of random cuts.
    One backward pass over the run, and for a window about ``back / every`` more; all steps are kept at once.

    Raises ValueError for another strategy, for a problem without steps, and for steps out of order or not inside it.

    >>> import tinygrad_rnn as tg
    >>> w = tg.tensor(0.5, requires_grad=True)
    >>> def step(w, h, x):
    ...     h = w * h + x
    ...     return h, h * h
    >>> found = cuts(Problem(w, step, tg.tensor(0.0), tg.ones(4)), "chunks:2")
    >>> found.at.array.tolist(), found.lost[""].array.tolist()
    ([2], [2.6875])
    """
    way = strategy(truncation) if isinstance(truncation, str | Strategy) else [*truncation]
    if isinstance(way, list):
        starts = dues = way
        edges = [*starts, len(problem)]
        if any(one >= other for one, other in pairwise([0, *edges])):
            raise ValueError(f"cuts: before the steps {starts}; these must rise, from 1 to {len(problem) - 1}")
    elif isinstance(way, Chunks):
        starts = dues = list(range(way.length, len(problem), way.length))
        edges = [*starts, len(problem)]
    elif isinstance(way, Window):
        edges = way.edges(len(problem))
        updates = [*range(way.every, len(problem), way.every), len(problem)]
        # an update that ends at u covers the losses from the one before it on, and cuts at u − back
        pairs = [(u - way.back, due) for due, u in zip([0, *updates], updates, strict=False) if u > way.back]
        starts, dues = [start for start, _ in pairs], [due for _, due in pairs]
    else:
        raise ValueError(f"cuts: {way} does not cut at fixed places; chunks:LENGTH and window:EVERY,BACK do")
    return _Run(problem, edges).cuts(starts, dues)


class _Run:
    """A run in segments that end at given edges, and the messages of all later losses that arrive there."""

    def __init__(self, problem: Problem, edges: Sequence[int]) -> None:
        if not len(problem):
            raise ValueError("cuts: the problem has no steps")
        self.problem, self.segments = problem, {}
        carry, start = problem.carry, 0
        for stop in edges:
            self.segments[stop] = Segment(problem, carry, start, stop)
            carry, start = self.segments[stop].carry, stop
        self.edges = [0, *edges]
        self.messages: dict[int, Message | None] = {start: None}
        for stop in reversed(edges):
            self.messages[stop - self.segments[stop].steps] = self.segments[stop].pull(self.messages[stop])[1]

    def through(self, message: Message | None, start: int, stop: int) -> tuple[Message | None, Message | None]:
        """A message to the carry after step stop − 1 back to step start, without any loss: what it gives, what is left.

        What it gives is by leaf of the parameters.
        """
        gradients: Message | None = None
        for edge in (e for e in reversed(self.edges) if start < e <= stop):
            parts, message = self.segments[edge].pull(message, loss=0.0)
            gradients = added(gradients, parts)
        return gradients, message

    def cuts(self, starts: Sequence[int], dues: Sequence[int]) -> Cuts:
        """The cuts at ``starts``, where losses from the step in ``dues`` on do not see past the cut."""
        rows = []
        for before, at, due in zip([0, *starts], starts, dues, strict=False):
            _, message = self.through(self.messages[due], at, due)
            gradients, _ = self.through(message, before, at)
            rows.append(tree.leaves(self.segments[at].container(gradients or ())))
        names = parameter_names(self.problem.parameters)
        leaves = tree.leaves(self.problem.parameters)
        lost, norms = {}, []
        for i, (name, p) in enumerate(zip(names, leaves, strict=True)):
            xp = namespace(p.data)
            column = [row[i].data for row in rows]
            found = xp.stack(column) if column else xp.zeros((0, *p.shape), p.dtype)
            lost[name] = Named(found, ("cut", *(f"theta{axis}" for axis in range(p.ndim))))
            norms.append(xp.sqrt((abs(found) ** 2).reshape(len(rows), p.size).sum(axis=1)))
        return Cuts(
            Named(np.array(starts, np.int64), ("cut",)), lost, Named(xp.stack(norms, axis=1), ("cut", "parameter"))
        )
