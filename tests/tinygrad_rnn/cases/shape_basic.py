"""The ops of shape.py and linalg.py that the engine itself stands on, and those of flow.py."""

from __future__ import annotations

import numpy as np

import tinygrad_rnn as tg
from tests.tinygrad_rnn.cases import Case, normal, torch

X = (2, 3, 4)


def _matmul(label: str, *shapes: tuple[int, ...]) -> Case:
    return Case("matmul", tg.matmul, normal(*shapes), lambda a, b: torch.matmul(a, b), label)


CASES = [
    Case("alias", tg.alias, normal(X), lambda x: 1 * x),
    Case("transfer", lambda x: tg.transfer(x, device=x.device), normal(X), lambda x: 1 * x),
    Case("astype", lambda x: tg.astype(x, x.dtype), normal(X), lambda x: 1 * x),
    Case("reshape", lambda x: tg.reshape(x, 6, -1), normal(X), lambda x: x.reshape(6, -1)),
    Case("reshape", lambda x: x.reshape((4, 6)), normal(X), lambda x: x.reshape(4, 6), "method"),
    Case("transpose", tg.transpose, normal(X), lambda x: x.permute(2, 1, 0)),
    Case("transpose", lambda x: tg.transpose(x, (1, 2, 0)), normal(X), lambda x: x.permute(1, 2, 0), "axes"),
    Case("transpose", lambda x: x.transpose(-1, 0, 1), normal(X), lambda x: x.permute(2, 0, 1), "method"),
    Case("swapaxes", lambda x: tg.swapaxes(x, 0, -1), normal(X), lambda x: x.swapaxes(0, -1)),
    Case("broadcast_to", lambda x: tg.broadcast_to(x, (2, 3, 4)), normal((3, 1)), lambda x: x.expand(2, 3, 4)),
    Case("squeeze", tg.squeeze, normal((1, 3, 1)), lambda x: x.squeeze()),
    Case("squeeze", lambda x: tg.squeeze(x, -1), normal((1, 3, 1)), lambda x: x.squeeze(-1), "axis"),
    Case("expand_dims", lambda x: tg.expand_dims(x, (0, -1)), normal((2, 3)), lambda x: x[None, :, :, None]),
    Case("concatenate", lambda *xs: tg.concatenate(xs, axis=1), normal((2, 3), (2, 1), (2, 2)),
         lambda *xs: torch.cat(xs, 1)),
    Case("concatenate", lambda x: tg.concatenate([x, x * x, x]), normal((2, 3)), lambda x: torch.cat([x, x * x, x]),
         "repeated"),
    Case("stack", lambda *xs: tg.stack(xs, axis=1), normal((2, 3), (2, 3)), lambda *xs: torch.stack(xs, 1)),
    Case("stack", lambda *xs: tg.stack(xs, axis=-1), normal((2, 3), (2, 3)), lambda *xs: torch.stack(xs, -1), "last"),
    Case("split", lambda x: tg.split(x, 2), normal(X), lambda x: x.split(2, -1)),
    Case("split", lambda x: tg.split(x, (1, 2), axis=1), normal(X), lambda x: x.split(1, 1), "places"),
    Case("split", lambda x: tg.split(x, 2)[1] * 3.0, normal(X), lambda x: x.split(2, -1)[1] * 3.0, "one-used"),
    Case("unstack", lambda x: tg.unstack(x, axis=1), normal(X), lambda x: x.unbind(1)),
    Case("unstack", lambda x: sum(x), normal(X), lambda x: x.sum(0), "iterated"),
    Case("tap", lambda x: tg.tap(x, lambda g: None), normal(X), lambda x: 1 * x),
    Case("detach", lambda x: x * tg.detach(tg.sign(x)), lambda rng: (np.abs(normal(X)(rng)[0]) + 0.1,),
         lambda x: x * x.sign().detach()),
    _matmul("matrices", (2, 3), (3, 4)),
    _matmul("vector-matrix", (3,), (3, 4)),
    _matmul("matrix-vector", (2, 3), (3,)),
    _matmul("vectors", (3,), (3,)),
    _matmul("series-weight", (4, 2, 3), (3, 5)),
    _matmul("batched", (4, 2, 3), (4, 3, 2)),
    _matmul("broadcast", (4, 1, 2, 3), (2, 3, 2)),
    _matmul("matrix-batch", (2, 3), (4, 3, 2)),
    _matmul("batch-vector", (4, 2, 3), (3,)),
    _matmul("vector-batch", (3,), (4, 3, 2)),
    Case("matmul", lambda x, w: x @ w @ w, normal((2, 3), (3, 3)), lambda x, w: x @ w @ w, "weight-used-twice"),
]  # fmt: skip
