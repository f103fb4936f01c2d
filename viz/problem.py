"""A Problem of `tg.bptt` as a Trace: run step by step, so that the columns of the picture are the problem's steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import tinygrad_rnn as tg

from .record import trace
from .trace import Trace

Between = Callable[[Any, int], Any]


def recorded(problem: tg.bptt.Problem, *, between: Between | None = None, values: bool = False) -> Trace:
    """The run ``z_t, ℓ_t = step(θ, z_{t−1}, x_t)`` with L = Σ_t ℓ_t, op by op, and its backward messages.

    ``between(z_t, t + 1)`` is what the next step gets for the carry z_t: a cut, or a weight on its messages. Layers run
    as plain loops; `values` is that of `viz.trace`. Raises ValueError for a problem in which no step has a loss.

    >>> w = tg.tensor(0.5, requires_grad=True, name="w")
    >>> step = lambda w, h, x: ((new := w * h + x), new * new)
    >>> recorded(tg.bptt.Problem(w, step, tg.tensor(0.0), tg.ones(3))).steps
    [0, 1, 2]
    """

    def run() -> tg.Tensor:
        carry, L = problem.carry, None
        for t in range(len(problem)):
            carry = between(carry, t) if between is not None and t else carry
            carry, E = problem.one(problem.parameters, carry, t)
            if E is not None:
                with tg.scope("time", index=t):
                    L = E if L is None else L + E
        if L is None:
            raise ValueError(f"none of the {len(problem)} steps of this problem has a loss: there are no messages")
        return L

    with _plain_loops(problem.parameters):
        return trace(run, values=values, shift=False)


@contextmanager
def _plain_loops(parameters: Any) -> Iterator[None]:
    """While entered, the layers of a model run op by op."""
    layers = [m for m in parameters.modules() if hasattr(m, "compile")] if isinstance(parameters, tg.nn.Module) else []
    before = [layer.compile for layer in layers]
    try:
        for layer in layers:
            layer.compile = False
        yield
    finally:
        for layer, way in zip(layers, before, strict=True):
            layer.compile = way
