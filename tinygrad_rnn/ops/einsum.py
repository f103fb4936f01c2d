"""Einstein's sums: every contraction of two operands is one batched matrix product, and so are its derivatives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache, reduce
from operator import add
from typing import Any, NamedTuple

from ..declare import bilinear
from ..op import refusal
from .linalg import diagonal
from .reduce import sum
from .shape import broadcast_to, transpose

__all__ = ["einsum"]

# mypy: disable-error-code="no-untyped-def"


class _Plan(NamedTuple):
    """A contraction of two arrays as one matrix product: (batch, rows, inner) @ (batch, inner, columns)."""

    a_order: tuple[int, ...]
    b_order: tuple[int, ...]
    batch: int  # how many axes of each kind
    rows: int
    inner: int
    out_order: tuple[int, ...]  # from (batch, rows, columns)


@lru_cache(maxsize=1024)
def _plan(equation: str) -> _Plan:
    terms, out = equation.split("->")
    a, b = terms.split(",")
    batch, rows, columns = ([i for i in out if (i in a, i in b) == kind] for kind in ((1, 1), (1, 0), (0, 1)))
    inner = [i for i in a if i not in out]
    joint = batch + rows + columns
    return _Plan(
        tuple(a.index(i) for i in batch + rows + inner), tuple(b.index(i) for i in batch + inner + columns),
        len(batch), len(rows), len(inner), tuple(joint.index(i) for i in out),
    )  # fmt: skip


def _matrices(a: Any, b: Any, plan: _Plan) -> tuple[Any, Any, tuple[int, ...]]:
    """The operands as stacks of matrices, and the shape of (batch, rows, columns)."""
    a, b = a.transpose(plan.a_order), b.transpose(plan.b_order)
    at, until = plan.batch, plan.batch + plan.rows
    batch, rows, inner, columns = a.shape[:at], a.shape[at:until], a.shape[until:], b.shape[at + plan.inner :]
    n = math.prod(inner)
    shape = (*batch, *rows, *columns)
    return a.reshape(*batch, math.prod(rows), n), b.reshape(*batch, n, math.prod(columns)), shape


def _swapped(equation: str, argument: int) -> str:
    """The equation of an argument's cotangent: the output's indices change places with its own."""
    terms, out = equation.split("->")
    a, b = terms.split(",")
    return f"{out},{b}->{a}" if argument == 0 else f"{a},{out}->{b}"


def _a_pair(a, b, equation):
    """What one use adds to a sum of contractions, unless nothing is gained by summing them together."""
    plan = _plan(equation)
    if not plan.inner and not (plan.rows and len(plan.b_order) > plan.batch):
        return None  # entry by entry
    return (equation, *_matrices(a, b, plan)[:2])


def _sum_of_contractions(xp, parts, shape, dtype):
    """Σ over all uses as one product, of matrices joined along the inner axis."""
    products = []
    for equation in dict.fromkeys(part[0] for part in parts):
        left, right = zip(*[part[1:] for part in parts if part[0] == equation], strict=True)
        a, b = (left[0], right[0]) if len(left) == 1 else (xp.concatenate(left, -1), xp.concatenate(right, -2))
        order = _plan(equation).out_order
        joint = [shape[order.index(i)] for i in range(len(order))]
        products.append((a @ b).reshape(joint).transpose(order))
    return reduce(add, products).astype(dtype, copy=False)


@bilinear(
    "einsum",
    lambda g, b, equation: _contract(g, b, equation=_swapped(equation, 0)),
    lambda g, a, equation: _contract(a, g, equation=_swapped(equation, 1)),
    deferred={
        0: (lambda g, b, equation: _a_pair(g, b, _swapped(equation, 0)), _sum_of_contractions),
        1: (lambda g, a, equation: _a_pair(a, g, _swapped(equation, 1)), _sum_of_contractions),
    },
)
def _contract(a, b, *, equation):
    """Two operands, each index in two of the three terms at least and in none twice, of equal sizes."""
    plan = _plan(equation)
    if plan.inner:
        a, b, shape = _matrices(a, b, plan)
        return (a @ b).reshape(shape).transpose(plan.out_order)
    a, b = a.transpose(plan.a_order), b.transpose(plan.b_order)
    columns = b.shape[plan.batch :]
    a = a.reshape(a.shape + (1,) * len(columns))
    return (a * b.reshape(b.shape[: plan.batch] + (1,) * plan.rows + columns)).transpose(plan.out_order)


@lru_cache(maxsize=1024)
def _terms(subscripts: str, ranks: tuple[int, ...]) -> tuple[list[str], str]:
    """One letter per axis of each operand, and of the output; "…" spelt out. Raises ValueError for bad subscripts."""
    text = subscripts.replace(" ", "").replace("...", "…")
    inputs, arrow, output = text.partition("->")
    terms = inputs.split(",")
    used = set(text) - set(",->…")
    if not all(i.isalpha() for i in used) or ">" in output or "-" in inputs:
        raise ValueError("subscripts are letters, commas, one -> and ...")
    if len(terms) != len(ranks):
        raise ValueError(f"{len(terms)} terms for {len(ranks)} operands")
    extra = [rank - len(term.replace("…", "")) for term, rank in zip(terms, ranks, strict=True)]
    for term, rank, more in zip(terms, ranks, extra, strict=True):
        if term.count("…") > 1 or more < 0 or (more and "…" not in term):
            raise ValueError(f"term {term.replace('…', '...')!r} does not fit an operand with {rank} axes")
    dots = "".join(i for i in map(chr, range(0x3B1, 0x3B1 + 64)) if i not in used)[: max(extra, default=0)]
    terms = [term.replace("…", dots[len(dots) - more :]) for term, more in zip(terms, extra, strict=True)]
    if not arrow:
        joined = "".join(terms)
        output = "…" + "".join(sorted(i for i in used if joined.count(i) == 1))
    if dots and "…" not in output:
        raise ValueError("the operands have axes under ..., so the output needs ... too")
    output = output.replace("…", dots)
    wrong = [i for i in output if output.count(i) > 1 or i not in "".join(terms)]
    if wrong:
        raise ValueError(f"output index {wrong[0]!r} is there twice, or in no operand")
    return terms, output


def _sizes(terms: Sequence[str], operands: Sequence[Any]) -> dict[str, int]:
    """The size of every index; 1 gives way to others. Raises ValueError where two differ."""
    sizes: dict[str, int] = {}
    for term, x in zip(terms, operands, strict=True):
        for i, n in zip(term, x.shape, strict=True):
            known = sizes.setdefault(i, n)
            if n != known and (1 not in (n, known) or term.count(i) > 1):
                raise ValueError(f"index {i!r} has sizes {known} and {n}")
            sizes[i] = n if known == 1 else known
    return sizes


def _reduced(term: str, x: Any, kept: str, sizes: dict[str, int]) -> tuple[str, Any]:
    """One operand with no index twice, none that only it has, and the size of every index."""
    while len(set(term)) < len(term):
        twice = next(i for i in term if term.count(i) > 1)
        first = term.index(twice)
        second = term.index(twice, first + 1)
        x = diagonal(x, 0, first, second)
        term = term[:first] + term[first + 1 : second] + term[second + 1 :] + twice
    alone = tuple(at for at, i in enumerate(term) if i not in kept)
    if alone:
        x, term = sum(x, alone), "".join(i for i in term if i in kept)
    shape = tuple(sizes[i] for i in term)
    return term, x if x.shape == shape else broadcast_to(x, shape)


def einsum(subscripts, *operands):
    """Einstein's sums: operands multiplied, with one letter per axis, and summed over the letters not in the output.

    Any subscripts of ``numpy.einsum`` in text form: implicit output, repeated letters (diagonals), ``...``. Every
    contraction is one (batched) matrix product; three and more operands are contracted from left to right.
    Raises ValueError for subscripts that do not fit the operands.

    >>> import tinygrad_rnn as tg
    >>> tg.einsum("ij,j->i", tg.tensor([[1.0, 2.0], [3.0, 4.0]]), tg.tensor([1.0, 10.0]))
    tensor([21., 43.])
    """
    try:
        terms, output = _terms(subscripts, tuple(len(x.shape) for x in operands))
        sizes = _sizes(terms, operands)
    except ValueError as error:
        raise refusal(f"einsum {subscripts!r}", str(error), operands) from None
    others = ["".join(terms[:n] + terms[n + 1 :]) + output for n in range(len(terms))]
    reduced = [_reduced(term, x, kept, sizes) for term, x, kept in zip(terms, operands, others, strict=True)]
    (term, x), *rest = reduced
    for n, (other, y) in enumerate(rest, 1):
        needed = "".join(later for later, _ in rest[n:]) + output
        joint = output if n == len(rest) else "".join(i for i in dict.fromkeys(term + other) if i in needed)
        term, x = joint, _contract(x, y, equation=f"{term},{other}->{joint}")
    return x if term == output else transpose(x, tuple(term.index(i) for i in output))
