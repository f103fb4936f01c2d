"""Einstein's sums, outer products, triangles and diagonals; matmul is in shape_basic.py."""

from __future__ import annotations

from typing import Any

import tinygrad_rnn as tg
from tests.tinygrad_rnn.cases import Case, complex_normal, normal, torch

SIZES = {"i": 2, "j": 3, "k": 4, "l": 2, "b": 2}


def _einsum(subscripts: str, *shapes: tuple[int, ...], label: str = "", torch_too: bool = True) -> Case:
    """einsum on arrays of these shapes; where none are given, of the letters' sizes."""
    terms = subscripts.split("->")[0].replace(" ", "").split(",")
    drawn = shapes or tuple(tuple(SIZES[i] for i in term) for term in terms)
    reference = (lambda *xs: torch.einsum(subscripts, *xs)) if torch_too else None
    return Case("einsum", lambda *xs: tg.einsum(subscripts, *xs), normal(*drawn), reference, label or subscripts)


def _reused(x: Any, w: Any, einsum: Any) -> Any:
    """A weight of two heads used at every step: its gradients are summed together."""
    return sum(einsum("bi,hij->bhj", x[t], w) * (t + 1.0) for t in range(3)) + einsum("hij->hj", w)


CASES = [
    *map(_einsum, [
        "ij,jk->ik", "ij,jk", "ij->ji", "kij", "ii->i", "ii", "iij->j", "ij->", "ij,ij->", "ij,ij->ji", "ij,ij->i",
        "i,j->ji", "bij,bjk->bik", "bij,kj->bki", "ij,kl->", "ij,j", "k,k->", ",ij->ij", "bij,bkj->jbik",
        "ij,jk,kl->il", "bi,ijk,bj->bk", "i,i,i->i", "iij,jjk->ik",
    ]),
    _einsum("...ij,...jk->...ik", (5, 2, 3), (3, 4)),
    _einsum("...ij,...jk", (2, 1, 2, 3), (3, 3, 2), label="ellipses-broadcast", torch_too=False),
    _einsum("i...->...", (2, 3, 4)),
    _einsum("b...d,dh->b...h", (2, 3, 2, 4), (4, 3)),
    _einsum("ij,jk->ik", (2, 1), (3, 4), label="size-1-broadcasts"),
    _einsum("i ... , j -> i j ...", (2, 3), (2,), label="spaces"),
    Case("einsum", lambda a, b: tg.einsum("ij,kj->ik", a, b), complex_normal((2, 3), (4, 3)),
         lambda a, b: torch.einsum("ij,kj->ik", a, b), "complex"),
    Case("einsum", lambda x, w: _reused(x, w, tg.einsum), normal((3, 2, 4), (2, 4, 3)),
         lambda x, w: _reused(x, w, torch.einsum), "weight-reused"),
    Case("einsum", lambda k, q: sum(tg.einsum("btd,bd->bt", k, q[t]) for t in range(3)), normal((2, 4, 3), (3, 2, 3)),
         lambda k, q: sum(torch.einsum("btd,bd->bt", k, q[t]) for t in range(3)), "memory-reused"),
    Case("outer", tg.outer, normal((3,), (4,)), lambda a, b: torch.outer(a, b)),
    Case("outer", tg.outer, normal((3, 2), ()), lambda a, b: torch.outer(a.reshape(-1), b.reshape(-1)), "flattened"),
    Case("triu", tg.triu, normal((2, 3, 4)), lambda x: x.triu()),
    Case("triu", lambda x: tg.triu(x, -1), normal((4, 3)), lambda x: x.triu(-1), "diagonal"),
    Case("tril", tg.tril, normal((2, 3, 4)), lambda x: x.tril()),
    Case("tril", lambda x: tg.tril(x, 1), normal((3, 4)), lambda x: x.tril(1), "diagonal"),
    Case("diagonal", tg.diagonal, normal((3, 4, 2)), lambda x: x.diagonal()),
    Case("diagonal", lambda x: tg.diagonal(x, 1, -1, 0), normal((3, 2, 4)), lambda x: x.diagonal(1, -1, 0), "axes"),
    Case("diagonal", lambda x: tg.diagonal(x, -2), normal((3, 4)), lambda x: x.diagonal(-2), "below"),
    Case("trace", tg.trace, normal((4, 3)), lambda x: x.diagonal().sum()),
]  # fmt: skip
