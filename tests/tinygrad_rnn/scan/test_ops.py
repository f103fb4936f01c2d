"""Every op, inside a step: each compiled run that is not refused is the plain loop.

The calls come from the table in cases/. Those whose arrays have one first axis take it as the batch: in one kind of
step all arrays are series, in the other all but the first are captured, and meet the batch where they will.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.tinygrad_rnn.cases import Case, all_cases
from tinygrad_rnn.scan.graph import Refused


def arrays_of(case: Case) -> tuple[np.ndarray, ...]:
    return case.inputs(np.random.default_rng(0))


def fits(case: Case) -> bool:
    first = {a.shape[:1] for a in arrays_of(case)}
    return len(first) == 1 and not first & {(), (0,)}


CASES = [case for case in all_cases() if fits(case)]
BOTH_KINDS = pytest.mark.parametrize("captured", [False, True], ids=["series", "captured"])


def run(case: Case, compile: Any, *, captured: bool) -> list[np.ndarray]:
    """Values and gradients of a short scan whose carry scales the first argument."""
    arrays = arrays_of(case)
    fixed = [tg.tensor(a, requires_grad=a.dtype.kind in "fc") for a in arrays]
    moving = [np.stack([a, a if a.dtype.kind in "iub" else a * 0.98]) for a in arrays]
    xs = [tg.tensor(x, requires_grad=x.dtype.kind in "fc") for x in moving]
    h0 = tg.tensor(np.linspace(0.97, 1.03, len(arrays[0]))[:, None], requires_grad=True)

    def step(h: Any, x: Any) -> Any:
        first, *others = x
        if first.dtype == np.float64:
            first = first * tg.reshape(h, (-1,) + (1,) * (first.ndim - 1))
        return 0.99 * h, case.f(first, *(fixed[1:] if captured else others))

    outputs = tg.tree.leaves(tg.scan(step, h0, xs, compile=compile))
    random = np.random.default_rng(1)
    loss: Any = 0.0
    for y in outputs:
        if y.dtype.kind in "fc":
            loss = loss + tg.real(y * random.normal(size=y.shape)).sum()
    loss.backward()
    tensors = [t for t in (h0, *xs, *fixed) if t.requires_grad]
    return [y.numpy() for y in outputs] + [np.zeros(t.shape) if t.grad is None else t.grad.numpy() for t in tensors]


@pytest.mark.parametrize("case", CASES, ids=str)
@BOTH_KINDS
@pytest.mark.parametrize("compile", ["auto", "numpy"])
def test_an_op_in_a_compiled_step_does_what_it_does_in_the_loop(case: Case, captured: bool, compile: str) -> None:
    try:
        expected = run(case, False, captured=captured)
    except (TypeError, ValueError) as why:
        pytest.skip(f"the loop itself cannot: {str(why)[:80]}")
    try:
        found = run(case, compile, captured=captured)
    except Refused as why:
        assert compile != "auto" and "scan" in str(why)
        return
    assert [(f.shape, f.dtype) for f in found] == [(w.shape, w.dtype) for w in expected]
    for f, w in zip(found, expected, strict=True):
        np.testing.assert_allclose(f, w, rtol=1e-9, atol=1e-9 * max(1, np.abs(w).max(initial=0)))
