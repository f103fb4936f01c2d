"""Ops over whole axes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import tinygrad_rnn as tg
from tests.tinygrad_rnn.cases import Case, distinct, normal, torch

X = (2, 3, 4)
ALL = (0, 1, 2)


def with_zeros(count: int) -> Any:
    """(3, 4) with this many zeros in the first row; the second has none."""

    def draw(rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        (x,) = normal((3, 4))(rng)
        x[0, :count] = 0
        return (x,)

    return draw


def masked(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and which of them a mask sets to −inf: some in the first row, all in the last."""
    (x,) = normal((3, 4))(rng)
    mask = np.zeros((3, 4), bool)
    mask[0, 1] = mask[0, 3] = True
    mask[2] = True
    return x, mask


def finite(x: Any) -> Any:
    return tg.where(tg.isfinite(x), x, 0.0)


def _over_axes(op: str, inputs: Any, reference: Any) -> list[Case]:
    """The op over everything, one axis, several axes, no axis, and with the axes kept; reference(x, dims, keepdim)."""

    def case(label: str, axis: Any, dims: tuple[int, ...], keepdims: bool = False) -> Case:
        return Case(
            op,
            lambda x: getattr(tg, op)(x, axis=axis, keepdims=keepdims),
            inputs(X),
            lambda x: reference(x, dims, keepdims),
            label,
        )

    return [
        case("all", None, ALL),
        case("all-kept", None, ALL, True),
        case("axis", 1, (1,)),
        case("last-axis-kept", -1, (2,), True),
        case("axes", (0, -1), (0, 2)),
    ]


def _one_by_one(function: Any) -> Any:
    """A torch reduction over several axes, from one that takes a single axis."""

    def over(x: Any, dims: tuple[int, ...], keepdim: bool) -> Any:
        for d in sorted(dims, reverse=True):
            x = function(x, d, keepdim)
        return x

    return over


def _torch_var(ddof: int) -> Any:
    return lambda x, d, k: torch.var(x, d, correction=ddof, keepdim=k)


CASES = [
    *_over_axes("sum", normal, lambda x, d, k: x.sum(d, keepdim=k)),
    Case("sum", lambda x: tg.sum(x, axis=()), normal(X), lambda x: x, "no-axis"),
    Case("sum", lambda x: x.sum(0).sum((0, 1)), normal(X), lambda x: x.sum(), "method"),
    *_over_axes("mean", normal, lambda x, d, k: x.mean(d, keepdim=k)),
    *_over_axes("var", normal, _torch_var(0)),
    Case("var", lambda x: tg.var(x, axis=1, ddof=1), normal(X), lambda x: torch.var(x, 1), "ddof"),
    *_over_axes("std", normal, lambda x, d, k: torch.std(x, d, correction=0, keepdim=k)),
    Case("std", lambda x: tg.std(x, axis=1, ddof=1), normal(X), lambda x: torch.std(x, 1), "ddof"),
    *_over_axes("max", distinct, lambda x, d, k: torch.amax(x, d, keepdim=k)),
    *_over_axes("min", distinct, lambda x, d, k: torch.amin(x, d, keepdim=k)),
    *_over_axes("prod", normal, _one_by_one(lambda x, d, k: x.prod(d, keepdim=k))),
    *(Case("prod", lambda x: tg.prod(x, axis=1), with_zeros(n), lambda x: x.prod(1), f"{n}-zeros") for n in (1, 2, 4)),
    *_over_axes("logsumexp", normal, lambda x, d, k: torch.logsumexp(x, d, keepdim=k)),
    Case("logsumexp", lambda x, m: finite(tg.logsumexp(tg.where(m, -math.inf, x), axis=1)), masked, None, "masked"),
    Case("softmax", tg.softmax, normal(X), lambda x: x.softmax(-1)),
    Case("softmax", lambda x: tg.softmax(x, axis=0), normal(X), lambda x: x.softmax(0), "first-axis"),
    Case("softmax", lambda x, m: tg.softmax(tg.where(m, -math.inf, x)), masked, None, "masked"),
    Case("log_softmax", tg.log_softmax, normal(X), lambda x: x.log_softmax(-1)),
    Case("log_softmax", lambda x: tg.log_softmax(x, axis=1), normal(X), lambda x: x.log_softmax(1), "middle-axis"),
    Case("log_softmax", lambda x, m: finite(tg.log_softmax(tg.where(m, -math.inf, x))), masked, None, "masked"),
    *_over_axes("norm", normal, lambda x, d, k: torch.sqrt((x * x).sum(d, keepdim=k))),
    Case("norm", lambda x: tg.norm(x, 1, axis=1), distinct(X), lambda x: x.abs().sum(1), "ord-1"),
    Case("norm", lambda x: tg.norm(x, math.inf), distinct(X), lambda x: x.abs().amax(), "ord-inf"),
    Case("cumsum", lambda x: tg.cumsum(x, axis=1), normal(X), lambda x: x.cumsum(1), "middle-axis"),
    Case("cumsum", lambda x: tg.cumsum(x, axis=-1), normal(X), lambda x: x.cumsum(-1), "last-axis"),
    Case("cumsum", tg.cumsum, normal(X), lambda x: x.reshape(-1).cumsum(0), "flat"),
    Case("argmax", tg.argmax, distinct(X), lambda x: x.argmax(), "all"),
    Case("argmax", lambda x: tg.argmax(x, axis=1, keepdims=True), distinct(X), lambda x: x.argmax(1, keepdim=True)),
    Case("argmin", tg.argmin, distinct(X), lambda x: x.argmin(), "all"),
    Case("argmin", lambda x: tg.argmin(x, axis=-1), distinct(X), lambda x: x.argmin(-1)),
    Case("argsort", tg.argsort, distinct(X), lambda x: x.argsort(-1)),
    Case("argsort", lambda x: tg.argsort(x, 1, descending=True), distinct(X), lambda x: x.argsort(1, descending=True),
         "descending"),
    Case("sort", tg.sort, distinct(X), lambda x: x.sort(-1)[0]),
    Case("sort", lambda x: tg.sort(x, 0, descending=True), distinct(X), lambda x: x.sort(0, descending=True)[0],
         "descending"),
    Case("topk", lambda x: tg.topk(x, 2), distinct(X), lambda x: tuple(x.topk(2))),
    Case("topk", lambda x: tg.topk(x, 2, axis=1), distinct(X), lambda x: tuple(x.topk(2, 1)), "axis"),
]  # fmt: skip
