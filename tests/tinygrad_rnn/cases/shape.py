"""The ops of shape.py that cells and tasks use; those that the engine stands on are in shape_basic.py."""

from __future__ import annotations

import tinygrad_rnn as tg
from tests.tinygrad_rnn.cases import Case, normal, torch

X = (2, 3, 4)

CASES = [
    Case("concat", lambda *xs: tg.concat(xs, -1), normal((2, 3), (2, 1)), lambda *xs: torch.cat(xs, -1)),
    Case("moveaxis", lambda x: tg.moveaxis(x, 0, -1), normal(X), lambda x: x.moveaxis(0, -1)),
    Case("moveaxis", lambda x: tg.moveaxis(x, (2, 0), (0, 1)), normal(X), lambda x: x.moveaxis((2, 0), (0, 1)), "two"),
    Case("pad", lambda x: tg.pad(x, ((1, 0), (0, 2), (1, 1))), normal(X),
         lambda x: torch.nn.functional.pad(x, (1, 1, 0, 2, 1, 0))),
    Case("pad", lambda x: tg.pad(x, 1, constant_values=2.5), normal((2, 3)),
         lambda x: torch.nn.functional.pad(x, (1, 1, 1, 1), value=2.5), "constant"),
    Case("pad", lambda x: tg.pad(x, (0, 2)), normal((3,)), lambda x: torch.nn.functional.pad(x, (0, 2)), "pair"),
    Case("flip", tg.flip, normal(X), lambda x: x.flip(0, 1, 2)),
    Case("flip", lambda x: tg.flip(x, (0, -1)), normal(X), lambda x: x.flip(0, 2), "axes"),
    Case("roll", lambda x: tg.roll(x, 5), normal(X), lambda x: x.roll(5)),
    Case("roll", lambda x: tg.roll(x, (1, -2), (0, 2)), normal(X), lambda x: x.roll((1, -2), (0, 2)), "axes"),
    Case("repeat", lambda x: tg.repeat(x, 2), normal(X), lambda x: x.repeat_interleave(2)),
    Case("repeat", lambda x: x.repeat(3, 1), normal(X), lambda x: x.repeat_interleave(3, 1), "axis"),
    Case("repeat", lambda x: tg.repeat(x, [2, 0, 1], -2), normal(X),
         lambda x: x.repeat_interleave(torch.tensor([2, 0, 1]), -2), "counts"),
    Case("tile", lambda x: tg.tile(x, 2), normal(X), lambda x: x.tile(2)),
    Case("tile", lambda x: tg.tile(x, (2, 1, 3, 1)), normal(X), lambda x: x.tile(2, 1, 3, 1), "more-axes"),
]  # fmt: skip
