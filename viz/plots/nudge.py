"""Inputs and states as parameters: zeros that are added to them, so that what can be asked of those can of them."""

from __future__ import annotations

from typing import Any

import tinygrad_rnn as tg

NUDGED = ("x", "state")


def nudged(problem: tg.bptt.Problem, what: str) -> tg.bptt.Problem:
    """The same run with one parameter e = 0, added to the input of each step ("x"), or to the state that it receives.

        ∂ℓ_t/∂e through its use at step τ  =  ∂ℓ_t/∂x_τ,  or ∂ℓ_t/∂z_{τ−1}

    x_τ is all real numbers that the step is given, targets too where they are such. Raises ValueError where inputs, or
    states, are no real numbers, or not of the same shapes at all steps.

    >>> step = lambda w, h, x: (w * h + x, w * h + x)
    >>> problem = tg.bptt.Problem(tg.tensor(0.5, requires_grad=True), step, tg.tensor(1.0), tg.ones(3))
    >>> tg.bptt.lag_matrix(nudged(problem, "x")).array.tolist()
    [[1.0, 0.0, 0.0], [0.5, 1.0, 0.0], [0.25, 0.5, 1.0]]
    """
    if what == "x":
        each = [problem.at(t) for t in range(len(problem))]
    else:
        each, carry = [], problem.carry
        with tg.no_grad():
            for t in range(len(problem)):
                each.append(carry)
                carry, _ = problem.one(problem.parameters, carry, t)
    shapes = {tuple((x.shape, str(x.dtype)) for x in tg.tree.leaves(at) if _real(x)) for at in each}
    if len(shapes) != 1 or not (wanted := shapes.pop()):
        kinds = "shapes that change" if len(shapes) > 1 else "no real numbers"
        raise ValueError(f"lag: wrt={what!r} needs the same real numbers at each step; this run has {kinds} there")
    zeros = [tg.zeros(shape, dtype=dtype) for shape, dtype in wanted]

    def moved(e: Any, at: Any) -> Any:
        given = iter(e)
        return tg.tree.map(lambda x: x + next(given) if _real(x) else x, at)

    def step(e: Any, carry: Any, x: Any) -> tuple[Any, Any]:
        carry, x = (carry, moved(e, x)) if what == "x" else (moved(e, carry), x)
        return problem.step(problem.parameters, carry, x)

    return tg.bptt.Problem(zeros, step, problem.carry, problem.xs)


def _real(leaf: Any) -> bool:
    return isinstance(leaf, tg.Tensor) and leaf.dtype.kind == "f"
