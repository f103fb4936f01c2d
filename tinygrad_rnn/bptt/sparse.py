"""Sensitivities of which only some entries are kept, and the strategies that say which: SnAp."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..backend import Array, namespace, to_host
from ..random import Generator
from .linearised import Linearised
from .online import Online
from .problem import Problem
from .rtrl import too_large
from .strategy import register
from .structure import patterns, signature

__all__ = ["Blocks", "Layout", "SnAp", "Sparse"]

Rows = tuple[int, ...]


class Layout(NamedTuple):
    """Which entries of Γ (n, P) are kept: for each class of parameters, its columns and the rows kept of them.

    ``chains``: for each class the rows that its parameters reach within 1, 2, … steps; the last are kept. ``label``:
    the class of each parameter (P,). ``columns``: the parameters of each class, in order, beside the parameters.
    """

    chains: tuple[tuple[Rows, ...], ...]
    label: np.ndarray
    columns: list[Array]

    @property
    def rows(self) -> list[Rows]:
        return [chain[-1] for chain in self.chains]

    @property
    def size(self) -> int:
        """How many entries are kept."""
        return sum(len(rows) * len(columns) for rows, columns in zip(self.rows, self.columns, strict=True))


class Look(NamedTuple):
    """What all steps that look alike have in common.

    ``stays``: whether z' is made of what z is. ``through``: the numbers of z that reach each number of z' in the step
    as it is seen. ``direct``: for each class of
    parameters the rows of ∂⁺z'/∂θ that they reach, ``label`` the class of each. ``rows_of``, ``groups_of``: the rows of
    ∂⁺z'/∂θ and of J in groups without a common column, so that one pullback gives all of a group (Curtis, Powell &
    Reid 1974). ``where``: 1 where J may be other than 0.
    """

    signature: Hashable
    stays: bool
    through: list[np.ndarray]
    direct: list[Rows]
    label: np.ndarray
    rows_of: np.ndarray
    groups_of: np.ndarray
    where: Array


class Plan(NamedTuple):
    """How Γ goes from one layout to the next by steps that look alike.

    ``sources``: for each class after, its class before and the places of its columns there. ``own``: the class of
    ∂⁺z'/∂θ that it belongs to.
    """

    look: Look
    before: Layout
    after: Layout
    sources: list[tuple[int, Any]]
    own: list[int]


class Blocks(NamedTuple):
    """What stands for Γ: for each class of parameters the kept rows of their columns, and where they belong."""

    values: list[Array]
    layout: Layout
    plan: Plan | None


class Sparse(Online):
    """``Γ' = K ∘ (∂⁺z'/∂θ + J Γ)``: of the sensitivities only the entries K are kept, and stored.

    Parameters that reach the same numbers of the state are a class, whose part of Γ is a dense block. A step takes as
    many pullbacks as ∂⁺z'/∂θ and J have groups of rows without a common column. A subclass says how far K reaches, and
    which J is meant.
    """

    def reach(self) -> int | None:
        """Within how many steps a parameter reaches the entries that are kept; None for any number."""
        raise NotImplementedError

    def seen(self, step: Linearised) -> Linearised:
        """The step whose J and loss are used."""
        return step

    def admit(self, step: Linearised, seen: Linearised, look: Look, through: list[np.ndarray]) -> None:
        """Raise ValueError for a step that cannot be done: called once for all that look alike.

        ``through``: the numbers of z that reach each number of z' in the step as it is.
        """

    def check(self, problem: Problem) -> None:
        super().check(problem)
        step = Linearised(problem, problem.carry, 0)
        itemsize, shown = step.parameters.like.dtype.itemsize, f"{step.state.n:,} numbers of the state"
        too_large(str(self), step.state.n * step.before.n, itemsize, f"the Jacobian of {shown}")
        look, layout = self.look(step, self.seen(step)), nothing(step, self.reach())
        while True:
            plan = planned(look, layout, self.reach())
            what = f"{plan.after.size:,} of the sensitivities of {shown} to {step.parameters.n:,} parameters"
            too_large(str(self), plan.after.size, itemsize, what)
            if plan.after is layout or not look.stays:
                return
            layout = plan.after

    def look(self, step: Linearised, seen: Linearised) -> Look:
        """What this step has in common with all that look like it."""
        reached = patterns(step)
        through = reached.before if seen is step else patterns(seen).before
        direct, label = classes(reached.parameters, step.parameters.n)
        of_row: list[list[int]] = [[] for _ in range(step.state.n)]
        for k, rows in enumerate(direct):
            for row in rows:
                of_row[row].append(k)
        where = np.zeros((step.state.n, step.before.n), step.parameters.like.dtype)
        for row, columns in enumerate(through):
            where[row, columns] = 1
        rows_of, groups_of = coloured(of_row, len(direct)), coloured(through, step.before.n)
        beside = namespace(step.parameters.like).asarray(where)
        stays = step.state.shapes == step.before.shapes
        look = Look(signature(step), stays, through, direct, label, rows_of, groups_of, beside)
        self.admit(step, seen, look, reached.before)
        return look

    def start(self, step: Linearised, rng: Generator) -> Blocks:
        like = step.parameters.like
        return Blocks([namespace(like).zeros((0, step.parameters.n), like.dtype)], nothing(step, self.reach()), None)

    def advance(self, step: Linearised, memory: Any, rng: Generator) -> tuple[Array, Blocks]:
        values, layout, plan = memory
        seen = self.seen(step)
        alike = plan is not None and plan.look.signature == signature(step)
        if not alike or plan.before is not layout:
            plan = planned(plan.look if alike else self.look(step, seen), layout, self.reach())
        direct, back = seen.pull_loss()
        gradient = direct.copy()
        for rows, columns, block in zip(layout.rows, layout.columns, values, strict=True):
            if rows:
                gradient[columns] += back[_places(rows, back)] @ block
        return gradient, Blocks(moved(plan, step, seen, values), plan.after, plan)


def planned(look: Look, before: Layout, reach: int | None) -> Plan:
    """How to take a step from a layout."""
    pairs, label = np.unique(np.stack([before.label, look.label]), axis=1, return_inverse=True)
    label, older, own = label.reshape(-1), pairs[0].tolist(), pairs[1].tolist()
    chains = tuple(grown(before.chains[old], look, look.direct[k], reach) for old, k in zip(older, own, strict=True))
    same = np.array_equal(label, before.label)
    if same and chains == before.chains:
        return Plan(look, before, before, [(old, ...) for old in older], own)
    columns = [np.flatnonzero(label == k) for k in range(len(own))]
    like = before.columns[0]
    sources: list[tuple[int, Any]] = [
        (old, ... if same else _places(np.searchsorted(to_host(before.columns[old]), mine), like))
        for old, mine in zip(older, columns, strict=True)
    ]
    return Plan(look, before, Layout(chains, label, [_places(mine, like) for mine in columns]), sources, own)


def moved(plan: Plan, step: Linearised, seen: Linearised, values: list[Array]) -> list[Array]:
    """The blocks after a step."""
    look, like = plan.look, step.parameters.like
    xp = namespace(like)
    direct = [step.pull_state(group)[0] for group in grouped(look.rows_of, like)]
    jacobian = look.where
    if any(plan.before.rows) and look.groups_of.max(initial=-1) >= 0:
        rows = xp.stack([seen.pull_before(group) for group in grouped(look.groups_of, like)])
        jacobian = rows[_places(look.groups_of, like)] * look.where
    found = []
    for rows, columns, (old, places), own in zip(
        plan.after.rows, plan.after.columns, plan.sources, plan.own, strict=True
    ):
        block = xp.zeros((len(rows), len(columns)), like.dtype)
        if rows and (older := plan.before.rows[old]):
            part = jacobian[_places(rows, like)][:, _places(older, like)]
            block += part @ values[old][:, places]
        for row in look.direct[own]:
            block[rows.index(row)] += direct[look.rows_of[row]][columns]
        found.append(block)
    return found


def _places(indices: Any, like: Array) -> Array:
    """Indices as an array beside another."""
    return namespace(like).asarray(np.asarray(indices, dtype=np.intp))


def nothing(step: Linearised, reach: int | None) -> Layout:
    """The layout of no rows at all."""
    n = step.parameters.n
    return Layout((((),) * (reach or 1),), np.zeros(n, np.intp), [_places(np.arange(n), step.parameters.like)])


def classes(reached: Sequence[np.ndarray], parameters: int) -> tuple[list[Rows], np.ndarray]:
    """The rows of each class of parameters that reach the same ones, and the class of each parameter.

    Told apart by sums of 64 random bits a row, which two classes share with a probability of 2⁻⁶⁴.
    """
    mark = np.random.default_rng(0).integers(0, 2**64, len(reached), dtype=np.uint64)
    marks = np.zeros(parameters, np.uint64)
    for i, columns in enumerate(reached):
        marks[columns] += mark[i]
    _, first, label = np.unique(marks, return_index=True, return_inverse=True)
    rows: list[list[int]] = [[] for _ in first]
    members = {int(p): k for k, p in enumerate(first)}
    for i, columns in enumerate(reached):
        for p in columns[np.isin(columns, first)]:
            rows[members[int(p)]].append(i)
    return [tuple(r) for r in rows], label.reshape(-1)


def grown(chain: tuple[Rows, ...], look: Look, direct: Rows, reach: int | None) -> tuple[Rows, ...]:
    """The rows reached within 1, 2, … steps after one more step: those of ∂⁺z'/∂θ, and those that J leads to.

    What was reached once stays so as long as the carry is made of the same.
    """

    def after(rows: Rows, before: Rows) -> Rows:
        known = set(before)
        led = (i for i, columns in enumerate(look.through) if not known.isdisjoint(columns.tolist())) if known else ()
        return tuple(sorted({*direct, *led, *(rows if look.stays else ())}))

    nearer = chain if reach is None else ((), *chain[:-1])
    return tuple(after(rows, before) for rows, before in zip(chain, nearer, strict=True))


def coloured(rows: Sequence[Sequence[int] | np.ndarray], columns: int) -> np.ndarray:
    """A number for each row, such that rows of the same number have no column in common; −1 for those without any."""
    found = np.full(len(rows), -1)
    taken = np.zeros((0, columns), bool)
    for i, own in enumerate(rows):
        if len(own):
            free = np.flatnonzero(~taken[:, own].any(1))
            if not free.size:
                taken = np.concatenate([taken, np.zeros((1, columns), bool)])
            found[i] = free[0] if free.size else len(taken) - 1
            taken[found[i], own] = True
    return found


def grouped(colours: np.ndarray, like: Array) -> list[Array]:
    """For each colour, ones at its rows (n,)."""
    xp = namespace(like)
    return [xp.asarray(colours == colour).astype(like.dtype) for colour in range(colours.max(initial=-1) + 1)]


@register("snap", paper="Menick et al. 2020, A practical sparse approximation for RTRL, arXiv:2006.07232")
@dataclass(frozen=True)
class SnAp(Sparse):
    """The sparse n-step approximation: Γ keeps what a parameter reaches within ``steps`` steps, all else is 0.

    Of a gated cell with 1 step that are the numbers of the parameter's own unit; of a cell in which every unit hears
    all others, 2 steps are all there is, and the gradient is that of real-time recurrent learning. Biased, without
    noise.

    >>> import tinygrad_rnn as tg
    >>> w = tg.tensor([0.5, 0.5], requires_grad=True)
    >>> problem = tg.bptt.Problem(w, lambda w, h, x: (w * h + x, h.sum()), tg.zeros((2,)), tg.ones((4, 2)))
    >>> tg.bptt.gradient(problem, "snap:1").gradients  # units that hear only themselves: exact
    tensor([3., 3.])
    """

    steps: int

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"snap reaches at least 1 step, not {self.steps}")

    def reach(self) -> int:
        return self.steps
