"""KF-RTRL: the sensitivities to matrices as random Kronecker products of two factors."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..autodiff import pull
from ..backend import Array, namespace
from ..node import Node
from ..random import Generator
from .linearised import Linearised, Vectors
from .online import Online, signs
from .problem import Problem
from .rtrl import too_large
from .strategy import register
from .structure import ancestors, described, nodes, of_ones, saved, signature

__all__ = ["KFRTRL"]


class Member(NamedTuple):
    """A parameter of a group: which one, the rows of ĥ that it is applied to, and whether it stands on the left."""

    which: int
    width: int
    left: bool


class Group(NamedTuple):
    """The parameters whose products are added up in one value ``a``, and what each is applied to; None for a bias."""

    a: Node
    members: tuple[Member, ...]
    operands: tuple[Array | None, ...]


class Factors(NamedTuple):
    """What stands for Γ: for each group u (B, m) and A (B, n, r), and how the last step looked."""

    factors: dict[tuple[Member, ...], tuple[Array, Array]]
    signature: Hashable


@register("kf-rtrl", paper="Mujika, Meier & Steger 2018, Approximating RTRL with random Kronecker factors, 1805.10842")
@dataclass(frozen=True)
class KFRTRL(Online):
    """Γ_t ≈ u_t ⊗ A_t, (m) by (n, r), for parameters that enter a step as ``a = ĥ W``, W (m, r), ĥ = (x, h, 1).

    With D = ∂z'/∂a the immediate derivative is ĥ ⊗ D, and random signs s = ±1 make one product of two,

        u' = p₁ u + s p₂ ĥ      A' = J A / p₁ + s D / p₂      p₁² = ‖J A‖ / ‖u‖,  p₂² = ‖D‖ / ‖ĥ‖

    whose expectation is Γ_t. (The paper draws a sign for each term; only their product matters.) Each row of a batch
    has factors and signs of its own, and so has each such ``a``: an LSTM has one, a GRU three. In the paper D is
    diagonal; here it need not be. A table read by index is a matrix times one-hot rows. Keeps B (m + n r) numbers for
    each a, n the numbers of one row's state; a step takes n pullbacks and products J A.

    >>> import tinygrad_rnn as tg
    >>> w = tg.tensor([[0.5]], requires_grad=True)
    >>> def step(w, h, x):
    ...     h = h @ w + x
    ...     return h, (h * h).sum()
    >>> problem = tg.bptt.Problem(w, step, tg.zeros((1, 1)), tg.ones((2, 1, 1)))
    >>> tg.bptt.gradient(problem, "kf-rtrl").gradients  # no luck needed: one step of past
    tensor([[3.]])
    """

    unbiased = True

    def check(self, problem: Problem) -> None:
        super().check(problem)
        step = Linearised(problem, problem.carry, 0)
        found = self.groups(step)
        batch = self.batch(step, found)
        each, itemsize = step.state.n // batch, step.parameters.like.dtype.itemsize
        numbers = sum(batch * (sum(m.width for m in g.members) + each * g.a.shape[-1]) for g in found)
        too_large(self.name, numbers, itemsize, f"factors of {numbers:,} numbers")
        too_large(self.name, batch * each * each, itemsize, f"the Jacobians of {each:,} numbers in {batch} rows")

    def start(self, step: Linearised, rng: Generator) -> Factors:
        return Factors({}, None)

    def advance(self, step: Linearised, memory: Any, rng: Generator) -> tuple[Array, Factors]:
        found, itself = self.groups(step), signature(step)
        batch = self.batch(step, found, look=memory.signature != itself)
        direct, back = step.pull_loss()
        xp, gradient = namespace(direct), direct.copy()
        back = back[places(step.before, batch)]
        for members, (u, A) in memory.factors.items():
            _add(step.parameters.pieces(gradient), members, xp.einsum("bm,br->mr", u, (back[:, None] @ A)[:, 0]))
        through, derivatives = _pulled(step, [group.a for group in found], batch)
        factors = {members: (u, through @ A) for members, (u, A) in memory.factors.items()}
        for group, D in zip(found, derivatives, strict=True):
            new = xp.concatenate([_operand(v, batch, D) for v in group.operands], axis=1), D
            if group.members in factors:
                sign = signs(rng, batch, direct)
                u, A = _balanced(*factors[group.members])
                h, D = _balanced(*new)
                new = u + sign[:, None] * h, A + sign[:, None, None] * D
            factors[group.members] = new
        return gradient, Factors(factors, itself)

    def opened(self, memory: Any) -> Factors:
        return Factors({tuple(Member(*each) for each in members): (u, A) for members, u, A in memory}, None)

    def kept(self, memory: Any) -> list[tuple]:
        return [(tuple(map(tuple, members)), u, A) for members, (u, A) in memory.factors.items()]

    def groups(self, step: Linearised) -> list[Group]:
        """Where the parameters that reach the state enter. Raises ValueError for one that enters otherwise."""
        inside = ancestors(step._roots)
        children: dict[Node, list[tuple[Node, int]]] = {}
        for node in nodes(step):
            for i, parent in enumerate(node.inputs if node in inside else ()):
                if parent is not None:
                    children.setdefault(parent, []).append((node, i))
        found: dict[Node, list[tuple[Member, Array | None]]] = {}
        starts = np.cumsum([0, *step.parameters.sizes])
        for which, parameter in enumerate(step._wrt[: step._split]):
            if parameter not in inside:
                continue
            used = children.get(parameter, [])
            entry = _entry(*used[0], parameter.shape, which) if len(used) == 1 else None
            if entry is None:
                how = " and ".join(f"`{node.op.name}`{node.place()}" for node, _ in used) or "the state itself"
                raise ValueError(
                    f"{self.name}: {described(step, int(starts[which]))} enters through {how}; every parameter needs "
                    "to enter once, as W in x @ W, a table read by index, or a bias; use uoro or snap:1"
                )
            a = used[0][0]
            while a not in step._roots and len(above := children.get(a, [])) == 1:
                if above[0][0].op.name != "add" or above[0][0].shape != a.shape:
                    break
                a = above[0][0]
            found.setdefault(a, []).append(entry)
        return [Group(a, *map(tuple, zip(*entries, strict=True))) for a, entries in found.items()]

    def batch(self, step: Linearised, found: Sequence[Group], *, look: bool = True) -> int:
        """How many rows the batch has; with a look at whether they stay apart. Raises ValueError where they do not."""
        sizes = {group.a.shape[0] if len(group.a.shape) == 2 else 1 for group in found} or {1}
        batch = min(sizes)
        shapes = [*step.before.shapes, *step.state.shapes]
        if len(sizes) > 1 or (batch > 1 and any(shape[:1] != (batch,) for shape in shapes)):
            raise ValueError(
                f"{self.name}: the products with weights have {sorted(sizes)} rows and the state the shapes {shapes}; "
                "all need the batch as their first axis"
            )
        if look and batch > 1:
            ones = of_ones(step)
            xp, wrt = namespace(step.parameters.like), [group.a for group in self.groups(ones)]
            for b in range(batch):
                through, derivatives = _row(ones, wrt, places(step.state, batch)[b])
                for part in (through[places(step.before, batch)], *derivatives):
                    if batch > 1 and part.size and bool(xp.delete(part.reshape(batch, -1), b, axis=0).any()):
                        raise ValueError(f"{self.name}: the rows of the batch hear each other; use uoro or rtrl")
        return batch


def _entry(node: Node, argument: int, shape: tuple[int, ...], which: int) -> tuple[Member, Array | None] | None:
    """How a parameter enters through a node, None where it is neither a product nor a bias."""
    if node.op.name == "matmul" and len(shape) == 2:
        operand = saved(node, 1 - argument)
        if operand.ndim <= 2 and (argument == 1 or operand.ndim == 1):
            return Member(which, shape[1 - argument], argument == 0), operand
    if node.op.name == "embedding" and (ids := saved(node, 1)).ndim <= 1:
        return Member(which, shape[0], False), _one_hot(ids.reshape(-1), shape[0], node.dtype)
    if node.op.name == "add" and len(node.shape) in (1, 2) and shape[-1:] == (math.prod(shape),) == node.shape[-1:]:
        return Member(which, 1, False), None
    return None


def _one_hot(ids: Array, count: int, dtype: Any) -> Array:
    """What a table is multiplied with when it is read by index."""
    xp = namespace(ids)
    return (ids[:, None] == xp.arange(count)).astype(dtype)


def places(vectors: Vectors, batch: int) -> Array:
    """Where in the vector the numbers of each row of the batch are: (B, n / B)."""
    xp = namespace(vectors.like)
    parts = [piece.reshape(batch, -1) for piece in vectors.pieces(xp.arange(vectors.n))]
    return xp.concatenate(parts, axis=1) if parts else xp.zeros((batch, 0), int)


def _row(step: Linearised, wrt: Sequence[Node], at: Array) -> tuple[Array, list[Array]]:
    """Ones at some numbers of z', pulled back: to z (n,), and to the nodes."""
    xp = namespace(step.parameters.like)
    cotangent = xp.zeros(step.state.n, step.parameters.like.dtype)
    cotangent[at] = 1
    pairs = [p for p in zip(step._roots, step.state.pieces(cotangent), strict=True) if p[0] is not None]
    before = step._wrt[step._split :]
    found = pull([root for root, _ in pairs], [piece for _, piece in pairs], wrt=[*wrt, *before])
    zeros = (found.get(node, xp.zeros(node.shape, cotangent.dtype)) for node in wrt)
    return step.before_vector([found.get(node) for node in before]), list(zeros)


def _pulled(step: Linearised, wrt: Sequence[Node], batch: int) -> tuple[Array, list[Array]]:
    """J (B, n', n) and ∂z'/∂a (B, n', r) for each node a: all rows of the batch by one pullback."""
    xp = namespace(step.parameters.like)
    at, before = places(step.state, batch), places(step.before, batch)
    through = xp.zeros((batch, at.shape[1], before.shape[1]), step.parameters.like.dtype)
    derivatives = [xp.zeros((batch, at.shape[1], node.shape[-1]), through.dtype) for node in wrt]
    for i in range(at.shape[1]):
        row, parts = _row(step, wrt, at[:, i])
        through[:, i] = row[before]
        for derivative, part in zip(derivatives, parts, strict=True):
            derivative[:, i] = part.reshape(batch, -1)
    return through, derivatives


def _operand(operand: Array | None, batch: int, like: Array) -> Array:
    """What a parameter is applied to (B, m): ones for a bias."""
    return namespace(like).ones((batch, 1), like.dtype) if operand is None else operand.reshape(batch, -1)


def _add(pieces: list[Array], members: Sequence[Member], gradient: Array) -> None:
    """Add the gradient of a group (m, r) to those of its parameters, in place."""
    start = 0
    for which, width, left in members:
        part = gradient[start : start + width]
        pieces[which] += (part.T if left else part).reshape(pieces[which].shape)
        start += width


def _balanced(u: Array, A: Array) -> tuple[Array, Array]:
    """The same products of factors of equal norm, row by row; both 0 where one is."""
    xp = namespace(u)
    height, width = xp.sqrt((u * u).sum(1)), xp.sqrt((A * A).sum((1, 2)))
    some = (height > 0) & (width > 0)
    p = xp.sqrt(xp.where(some, width, 1) / xp.where(some, height, 1))
    return (some * p)[:, None] * u, (some / p)[:, None, None] * A
