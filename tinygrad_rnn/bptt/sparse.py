"""Sensitivities of which only some entries are kept, and the first strategy that says which: SnAp."""

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
from .structure import Patterns, patterns, signature

__all__ = ["SnAp", "Sparse", "matrix"]


class Layout(NamedTuple):
    """Which entries of Γ (n, P) are kept: parameters that reach the same numbers of the state are a class.

    ``reached``: for each class the numbers of the state that it reaches within 1, 2, … steps, (classes, steps, n)
    booleans; the last are kept. ``label``: the class of each parameter (P,). ``columns``: the parameters of each.
    """

    reached: np.ndarray
    label: np.ndarray
    columns: list[Array]

    def rows(self, k: int) -> np.ndarray:
        """The rows of Γ that are kept for a class."""
        return np.flatnonzero(self.reached[k, -1])

    @property
    def size(self) -> int:
        """How many entries are kept."""
        return sum(int(last.sum()) * len(own) for last, own in zip(self.reached[:, -1], self.columns, strict=True))


class Look(NamedTuple):
    """What all steps that look alike have in common.

    ``stays``: whether z' is made of what z is. ``through``: where J, as the step is seen, can be other than 0, (n', n)
    booleans. ``direct``: for each class of parameters the rows of ∂⁺z'/∂θ that they reach (classes, n'), ``label`` the
    class of each. ``rows_of``, ``groups_of``: the rows of ∂⁺z'/∂θ and of J in groups without a common column, so that
    one pullback gives all of a group (Curtis, Powell & Reid 1974); −1 for rows without any.
    """

    signature: Hashable
    stays: bool
    through: np.ndarray
    direct: np.ndarray
    label: np.ndarray
    rows_of: np.ndarray
    groups_of: np.ndarray


class Plan(NamedTuple):
    """How Γ goes from one layout to the next by steps that look alike.

    ``sources``: for each class after, its class before, the places of its columns there, and its class of ``direct``.
    ``through``: the look's, as numbers beside the parameters.
    """

    look: Look
    before: Layout
    after: Layout
    sources: list[tuple[int, Any, int]]
    through: Array


class Blocks(NamedTuple):
    """What stands for Γ: for each class of parameters the kept rows of its columns, and where they belong."""

    values: list[Array]
    layout: Layout
    plan: Plan | None


class Sparse(Online):
    """``Γ' = K ∘ (∂⁺z'/∂θ + J Γ)``: of the sensitivities only the entries K are kept, and stored.

    The part of Γ of each class of parameters is a dense block. A step takes as many pullbacks as ∂⁺z'/∂θ and J have
    groups of rows without a common column. A subclass says how far K reaches, and which J is meant. The memory is a
    dict of the blocks and of what a Layout says.
    """

    def reach(self) -> int | None:
        """Within how many steps a parameter reaches the entries that are kept; None for any number."""
        raise NotImplementedError

    def seen(self, step: Linearised) -> Linearised:
        """The step whose J and loss are used."""
        return step

    def admit(self, step: Linearised, seen: Linearised, whole: Patterns, used: Patterns) -> None:
        """Raise ValueError for a step that cannot be done, from the patterns of the step as it is, and as it is seen.

        Called once for all steps that look alike.
        """

    def check(self, problem: Problem) -> None:
        super().check(problem)
        step = Linearised(problem, problem.carry, 0)
        itemsize, shown = step.parameters.like.dtype.itemsize, f"{step.state.n:,} numbers of the state"
        too_large(str(self), step.state.n * step.before.n, itemsize, f"the Jacobian of {shown}")
        look, layout = self.look(step, self.seen(step)), nothing(step, self.reach())
        while True:
            after = planned(look, layout, self.reach(), step.parameters.like).after
            what = f"{after.size:,} of the sensitivities of {shown} to {step.parameters.n:,} parameters"
            too_large(str(self), after.size, itemsize, what)
            if after is layout or not look.stays:
                return
            layout = after

    def look(self, step: Linearised, seen: Linearised) -> Look:
        """What this step has in common with all that look like it."""
        whole = patterns(step)
        used = whole if seen is step else patterns(seen)
        self.admit(step, seen, whole, used)
        through = matrix(used.before, step.before.n)
        direct, label = classes(whole.parameters, step.parameters.n)
        stays = step.state.shapes == step.before.shapes
        return Look(signature(step), stays, through, direct, label, coloured(direct.T), coloured(through))

    def start(self, step: Linearised, rng: Generator) -> Blocks:
        like = step.parameters.like
        return Blocks([namespace(like).zeros((0, step.parameters.n), like.dtype)], nothing(step, self.reach()), None)

    def opened(self, memory: Any) -> Blocks:
        values, reached, label = memory["values"], to_host(memory["reached"]), to_host(memory["label"])
        columns = [_places(np.flatnonzero(label == k), values[0]) for k in range(len(values))]
        return Blocks(values, Layout(reached, label, columns), None)

    def kept(self, memory: Any) -> dict[str, Any]:
        return {"values": memory.values, "reached": memory.layout.reached, "label": memory.layout.label}

    def advance(self, step: Linearised, memory: Any, rng: Generator) -> tuple[Array, Blocks]:
        values, layout, plan = memory
        seen = self.seen(step)
        alike = plan is not None and plan.look.signature == signature(step)
        if not alike or plan.before is not layout:
            look = plan.look if alike else self.look(step, seen)
            plan = planned(look, layout, self.reach(), step.parameters.like)
        direct, back = seen.pull_loss()
        gradient = direct.copy()
        for k, (columns, block) in enumerate(zip(layout.columns, values, strict=True)):
            if len(block):
                gradient[columns] += back[_places(layout.rows(k), back)] @ block
        return gradient, Blocks(moved(plan, step, seen, values), plan.after, plan)


def planned(look: Look, before: Layout, reach: int | None, like: Array) -> Plan:
    """How to take a step from a layout.

    What a parameter reaches within some steps is what it reaches at once, and what J leads to from where it was within
    one step less; what was reached once stays so as long as the carry is made of the same.
    """
    pairs, label = np.unique(np.stack([before.label, look.label]), axis=1, return_inverse=True)
    label, (older, own) = label.reshape(-1), pairs
    chain = before.reached[older]
    nearer = chain if reach is None else np.concatenate([np.zeros_like(chain[:, :1]), chain[:, :-1]], axis=1)
    reached = look.direct[own][:, None] | (nearer.astype(np.float32) @ look.through.T.astype(np.float32) > 0)
    if look.stays:
        reached |= chain
    same, through = np.array_equal(label, before.label), namespace(like).asarray(look.through.astype(like.dtype))
    places: list[Any] = [...] * len(own)
    after = before
    if not same or not np.array_equal(reached, before.reached):
        columns = [np.flatnonzero(label == k) for k in range(len(own))]
        if not same:
            held = [to_host(before.columns[old]) for old in older]
            places = [_places(np.searchsorted(a, b), like) for a, b in zip(held, columns, strict=True)]
        after = Layout(reached, label, [_places(mine, like) for mine in columns])
    return Plan(look, before, after, list(zip(older.tolist(), places, own.tolist(), strict=True)), through)


def moved(plan: Plan, step: Linearised, seen: Linearised, values: list[Array]) -> list[Array]:
    """The blocks after a step."""
    look, like, before, after = plan.look, step.parameters.like, plan.before, plan.after
    xp = namespace(like)
    direct = [step.pull_state(group)[0] for group in grouped(look.rows_of, like)]
    jacobian = plan.through
    if before.size and look.groups_of.max(initial=-1) >= 0:
        pulled = xp.stack([seen.pull_before(group) for group in grouped(look.groups_of, like)])
        jacobian = pulled[_places(look.groups_of, like)] * plan.through
    found = []
    for k, (columns, (old, places, own)) in enumerate(zip(after.columns, plan.sources, strict=True)):
        rows, older = after.rows(k), before.rows(old)
        block = xp.zeros((len(rows), len(columns)), like.dtype)
        if len(rows) and len(older):
            part = jacobian[_places(rows, like)][:, _places(older, like)]
            block += part @ values[old][:, places]
        for row in np.flatnonzero(look.direct[own]):
            block[int(np.searchsorted(rows, row))] += direct[look.rows_of[row]][columns]
        found.append(block)
    return found


def _places(indices: np.ndarray, like: Array) -> Array:
    """Indices as an array beside another."""
    return namespace(like).asarray(indices)


def nothing(step: Linearised, reach: int | None) -> Layout:
    """The layout of no entries at all: one class of all parameters."""
    n = step.parameters.n
    none = np.zeros((1, reach or 1, step.before.n), bool)
    return Layout(none, np.zeros(n, np.int64), [_places(np.arange(n), step.parameters.like)])


def matrix(rows: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Where the rows of a matrix are not 0, as booleans."""
    found = np.zeros((len(rows), columns), bool)
    for i, own in enumerate(rows):
        found[i, own] = True
    return found


def classes(reached: Sequence[np.ndarray], parameters: int) -> tuple[np.ndarray, np.ndarray]:
    """For each class of parameters that reach the same rows those rows, (classes, n), and the class of each parameter.

    Told apart by sums of 64 random bits a row, which two classes share with a probability of 2⁻⁶⁴.
    """
    mark = np.random.default_rng(0).integers(0, 2**64, len(reached), dtype=np.uint64)
    marks = np.zeros(parameters, np.uint64)
    for i, columns in enumerate(reached):
        marks[columns] += mark[i]
    _, first, label = np.unique(marks, return_index=True, return_inverse=True)
    rows, here = np.zeros((len(first), len(reached)), bool), np.zeros(parameters, bool)
    for i, columns in enumerate(reached):
        here[:] = False
        here[columns] = True
        rows[:, i] = here[first]
    return rows, label.reshape(-1)


def coloured(rows: np.ndarray) -> np.ndarray:
    """A number for each row, such that rows of the same number have no column in common; −1 for those without any."""
    found = np.full(len(rows), -1)
    taken = np.zeros((0, rows.shape[1]), bool)
    for i, own in enumerate(rows):
        if own.any():
            free = np.flatnonzero(~taken[:, own].any(1))
            if not free.size:
                taken = np.concatenate([taken, np.zeros((1, rows.shape[1]), bool)])
            found[i] = free[0] if free.size else len(taken) - 1
            taken[found[i]] |= own
    return found


def grouped(numbers: np.ndarray, like: Array) -> list[Array]:
    """For each number, ones at its rows (n,)."""
    xp = namespace(like)
    return [xp.asarray(numbers == which).astype(like.dtype) for which in range(numbers.max(initial=-1) + 1)]


@register("snap", paper="Menick et al. 2020, A practical sparse approximation for RTRL, arXiv:2006.07232")
@dataclass(frozen=True)
class SnAp(Sparse):
    """The sparse n-step approximation: Γ keeps what a parameter reaches within ``steps`` steps, all else is 0.

    Of a gated cell with 1 step that are the numbers of the parameter's own unit; of a cell in which every unit hears
    all others, 2 steps are all there is, and the gradient is that of real-time recurrent learning. Biased, without
    noise. Weights times a constant mask make a net of few connections.

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
