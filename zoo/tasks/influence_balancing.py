"""Influence balancing: one parameter that helps at first and harms later, and misleads who looks back too little."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn.bptt import Problem
from tinygrad_rnn.optim.optimizer import Optimizer
from zoo.errors import UserError
from zoo.tasks.task import Metric, Score, Task, stepwise

UNITS, PLUS = 23, 10
SHOWN = (1, 2, 5, 10, 20, 30, 40, 60, 100)


class Balance(tg.nn.Module):
    """``s_{t+1} = A s_t + θ (1, …, 1, −1, …, −1)``, A with ½ on the diagonal and on the one above; θ is learnt.

    Each unit hears the next one, so θ reaches the first with a plus soon and with more minuses later: s¹ settles at
    2 θ (10 − 13).

    >>> model = Balance()
    >>> state = model.begin()
    >>> for _ in range(400):
    ...     state = model.step(state)
    >>> round(state[0, 0].item(), 3), model.settled()
    (-6.0, -6.0)
    """

    def __init__(self) -> None:
        super().__init__()
        self.theta = tg.nn.parameter(np.float32(1.0))
        self.A = tg.tensor((np.eye(UNITS) + np.eye(UNITS, k=1)).T.astype(np.float32) / 2, name="A")
        self.signs = tg.tensor(np.where(np.arange(UNITS) < PLUS, 1, -1).astype(np.float32)[None], name="±")

    def begin(self) -> tg.Tensor:
        """Zeros (1, 23)."""
        return self.signs * 0

    def step(self, state: tg.Tensor) -> tg.Tensor:
        return state @ self.A + self.theta * self.signs

    def settled(self) -> float:
        """Where s¹ goes."""
        return 2 * self.theta.item() * (2 * PLUS - UNITS)


class InfluenceBalancing(Task):
    """The loss ½ (s¹ − 1)² once s¹ has settled: 0 for θ = −1/6, though more θ means more s¹ in the first steps.

    A stream without inputs: its state goes on from step to step of the training. There is no cell, and one parameter.
    Tallec & Ollivier 2017, "Unbiased online recurrent optimization", arXiv:1702.05043.
    """

    name = "influence-balancing"
    summary = "one parameter whose effect turns round with time"
    metric = Metric("loss once settled", held_out=False, digits=4)
    unit = "steps"
    defaults: ClassVar = {
        "steps": 40, "chunk": 100, "bptt": "rtrl", "learning-rate": 0.01, "warmup": 0, "clip": 1000.0,
    }  # fmt: skip
    presets: ClassVar = {"quick": {"steps": 20, "learning-rate": 0.015}, "full": {"steps": 200}}

    model: Balance

    def __init__(self, options: Mapping[str, Any], *, seed: int, device: str) -> None:
        self.options, self.seed, self.device = options, seed, device
        self.data = {"source": f"{UNITS} units, θ added to {PLUS} and subtracted from {UNITS - PLUS}"}
        self.model = Balance().to(device)

    def facts(self) -> dict[str, str]:
        o = self.options
        return {
            "model": "s ← A s ± θ: 1 parameter",
            "data": self.data["source"],
            "training": f"{o['steps']} steps of {o['chunk']} time steps, --bptt {o['bptt']}",
        }

    def begin(self) -> tg.Tensor:
        return self.model.begin()

    def goes_on(self, step: int) -> bool:
        return step > 0

    def problem(self, step: int, carry: Any) -> Problem:
        return _problem(self.model, carry, self.options["chunk"])

    def evaluate(self) -> float:
        return (self.model.settled() - 1) ** 2 / 2

    def optimizer(self) -> Optimizer:
        """Plain steps: what is right on average must not be made equally large before it is averaged."""
        return tg.optim.SGD(self.model, lr=self.options["learning-rate"])

    def verdict(self) -> str:
        best = 1 / (2 * (2 * PLUS - UNITS))
        found = f"θ = {self.model.theta.item():.4f}; the best is {best:.4f}"
        return f"{found}. Tallec & Ollivier 2017: truncated gradients lead away from it, unbiased ones there"

    def baselines(self) -> list[Score]:
        return [Score("θ = 0", 0.5)]

    def sample(self) -> tuple[str, str]:
        return "The first unit, from a state of zeros", trajectory(self.model)

    def example(self) -> tg.Tensor:
        return stepwise(_problem(self.model, self.begin(), 4))

    @classmethod
    def generate(
        cls, config: Mapping[str, Any], weights: Mapping[str, Any], *, prompt: str | None, device: str, **how: Any
    ) -> str:
        """What the first unit does with the parameter that was learnt, or with that of the prompt."""
        model = Balance()
        model.load_state_dict(weights)
        if prompt is not None:
            try:
                model.theta.data = np.asarray(float(prompt), np.float32)
            except ValueError as error:
                raise UserError(f"the prompt {prompt!r} is no number; give a θ, such as -0.1667") from error
        return trajectory(model.to(device))


def _problem(model: Balance, state: Any, steps: int) -> Problem:
    def step(model: Balance, state: Any, t: int) -> tuple[Any, tg.Tensor]:
        state = model.step(state)
        return state, (state[0, 0] - 1) ** 2 / (2 * steps)

    return Problem(model, step, state, list(range(steps)))


def trajectory(model: Balance) -> str:
    """One line a time: s¹ after so many steps from zeros."""
    state, rows = model.begin(), [f"θ = {model.theta.item():.4f}"]
    with tg.no_grad():
        for t in range(1, SHOWN[-1] + 1):
            state = model.step(state)
            if t in SHOWN:
                rows.append(f"after {t:>3} steps  {state[0, 0].item():+.3f}")
    return "\n".join(rows)
