"""A cell along time against the same written in torch: values and all gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
import zoo
from tests.zoo.cells.samples import B, example, numbers, wave, weighted

T = 5


def assert_is(cell: zoo.Cell, step: Callable[[dict[str, Any], Any, tuple], tuple]) -> None:
    """``step(parameters by path, x, state)`` gives the next state in torch; its first part is what is given out."""
    torch = pytest.importorskip("torch", reason="compares with torch; pip install torch")

    def leaf(array: np.ndarray) -> Any:
        return torch.tensor(array, requires_grad=True)

    xs, (_, state) = numbers(0).normal(size=(T, B, cell.input_size)), example(cell)
    theirs = {path: leaf(p.numpy()) for path, p in cell.named_parameters()}
    their_xs, initial = leaf(xs), tuple(leaf(part.numpy()) for part in state)
    their_state, outputs = initial, []
    for x in their_xs:
        their_state = step(theirs, x, their_state)
        outputs.append(their_state[0])
    their_run = [torch.stack(outputs), *their_state]
    sum((part * torch.from_numpy(wave(part.shape))).sum() for part in their_run).backward()

    def run(cell: zoo.Cell, xs: tg.Tensor, state: Any) -> Any:
        return zoo.RNN(cell)(xs, state)

    def same(found: Any, wanted: list) -> None:
        for ours, other in zip(tg.tree.leaves(found), wanted, strict=True):
            np.testing.assert_allclose(ours.numpy(), other.detach().numpy(), rtol=0, atol=1e-10)

    same(run(cell, tg.tensor(xs), state), their_run)
    gradients, *others = tg.grad(lambda *args: weighted(run(*args)), (0, 1, 2))(cell, tg.tensor(xs), state)
    same(others, [p.grad for p in (their_xs, *initial)])
    same([gradients[path] for path in theirs], [p.grad for p in theirs.values()])
