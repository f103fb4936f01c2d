"""Influence balancing: a parameter whose influence is positive soon and negative in the long run.

Of a linear system of 23 units the first should be 1, and the one parameter θ is learned as the system runs:

    s_{t+1} = A s_t + θ v,  A_ii = A_i,i+1 = ½,  v = (1 ten times, −1 thirteen times),  ℓ_t = ½ (s¹_t − 1)²

What the nearest ten units bring comes first, ds¹/dθ = 10 after ten steps and 16 after twenty; −6 is what remains when
all 23 have arrived, after some 60. Who looks back less far goes the wrong way. Learning is by plain gradient descent
with the rate η / (1 + √t), after every update of a strategy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

import tinygrad_rnn as tg
from zoo.experiments import Claim, Result
from zoo.tasks.influence_balancing import UNITS, Balance

START = 0.5
TRUNCATED = ("chunks:10", "chunks:100")
LONGER = ("chunks:200", "window:10,100")
UNBIASED = ("artbp:16,power", "artbp:16,fixed", "uoro")
RATES = (3e-3, 1e-3, 3e-4)
LOST = 1e3  # a θ beyond it does not come back


@dataclass
class Course:
    """How θ fared under one strategy with one rate: its value, and the loss that it settles at, after some steps."""

    strategy: str
    rate: float
    steps: list[int] = field(default_factory=list)
    theta: list[float] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)

    def note(self, step: int, theta: float) -> None:
        self.steps.append(step)
        self.theta.append(theta)
        self.loss.append(settled(theta))

    @property
    def verdict(self) -> str:
        """``converges``: a hundredth of the loss at the start; ``diverges``: more than it; ``slow``: in between."""
        loss = self.loss[-1] / settled(START)
        return "converges" if loss < 0.01 else "slow" if loss < 1 else "diverges"


def balance(theta: float) -> Balance:
    """The system, with double precision, for some θ."""
    model = Balance().astype("float64")
    model.theta.data = np.array(theta)
    return model


def steady(theta: float) -> np.ndarray:
    """The state (1, 23) that a fixed θ leads to, ``s = s Aᵀ + θ v``."""
    model = balance(theta)
    A, v = model.A.numpy(), model.signs.numpy()
    return np.linalg.solve(np.eye(len(A)) - A.T, theta * v.T).T


def settled(theta: float) -> float:
    """The loss of a step in that state; 0 for θ = −1/6."""
    return 0.5 * (balance(theta).settled() - 1) ** 2


def problem(steps: int, *, state: np.ndarray) -> tg.bptt.Problem:
    """The system run from a state (1, 23), θ at its start value."""

    def step(model: Balance, s: tg.Tensor, _: None) -> tuple[tg.Tensor, tg.Tensor]:
        s = model.step(s)
        error = s[0, 0] - 1
        return s, 0.5 * error * error

    return tg.bptt.Problem(balance(START), step, tg.tensor(state), [None] * steps)


def learn(strategy: str, rate: float, steps: int, rng: tg.random.Generator) -> Course:
    """Run the system once and change θ as it goes; stops when θ is lost."""
    run = problem(steps, state=np.ones((1, UNITS)))
    theta, course, noted = run.parameters.theta, Course(strategy, rate), 0.0
    for update in tg.bptt.strategy(strategy).updates(run, rng=rng):
        theta.data = theta.data - rate / (1 + math.sqrt(update.t)) * update.gradients["theta"].data
        gone = not abs(theta.item()) < LOST
        if gone or update.t >= noted or update.t == steps:
            course.note(update.t, theta.item())
            noted = 1.1 * update.t
        if gone:
            break
    return course


def directions(strategy: str, draws: int, rng: tg.random.Generator, steps: int = 2000) -> list[float]:
    """The gradient that a strategy finds for a fixed θ, as a multiple of the exact one: negative is the wrong way."""
    run = problem(steps, state=steady(START))
    exact = tg.bptt.gradient(run, "full").gradients["theta"].item()
    found = (tg.bptt.gradient(run, strategy, rng=rng.fork(i)) for i in range(draws))
    return [each.gradients["theta"].item() / exact for each in found]


def run(*, full: bool, seed: int, progress: Callable[[str], None]) -> Result:
    """Learn θ with every strategy and every rate."""
    steps, draws = (200_000, 100) if full else (20_000, 8)
    courses, ratios = [], {}
    for strategy in (*TRUNCATED, *LONGER, *UNBIASED):
        rng = tg.random.Generator(seed).fork(strategy)
        ratios[strategy] = directions(strategy, draws if strategy in UNBIASED else 1, rng)
        for rate in RATES:
            courses.append(learn(strategy, rate, steps, rng.fork(str(rate))))
        progress(f"{strategy}: {', '.join(c.verdict for c in courses if c.strategy == strategy)}")
    return Result(
        header=("strategy", "rate", "outcome", "gradient / exact", "steps", "theta", "loss"),
        rows=[_row(course, ratios[course.strategy]) for course in courses],
        claims=claims(courses),
        numbers=4,
        data={"courses": [asdict(course) for course in courses], "gradient / exact": ratios},
    )


def _row(course: Course, ratios: list[float]) -> tuple[str, ...]:
    theta, loss = course.theta[-1], course.loss[-1]
    error = f" ± {np.std(ratios, ddof=1) / math.sqrt(len(ratios)):.2f}" if len(ratios) > 1 else ""
    ratio = f"{np.mean(ratios):.2f}{error}"
    return (
        course.strategy, f"{course.rate:g}", course.verdict, ratio, str(course.steps[-1]), f"{theta:.4g}", f"{loss:.1e}"
    )  # fmt: skip


def claims(courses: list[Course]) -> list[Claim]:
    """What Tallec & Ollivier conclude, and what the courses say."""

    def best(name: str) -> Course:
        return min((course for course in courses if course.strategy == name), key=lambda course: course.loss[-1])

    def shown(names: Any) -> str:
        found = [best(name) for name in names]
        return "; ".join(f"{c.strategy} {c.verdict}, loss {c.loss[-1]:.1e} at best (rate {c.rate:g})" for c in found)

    wrong = all(course.verdict == "diverges" for course in courses if course.strategy in TRUNCATED)
    enough = best("chunks:200").verdict == "converges"
    return [
        Claim(
            "Truncated backpropagation fails with any learning rate, even when it reaches well beyond the 23 steps of "
            "the system: it takes a truncation of about 200.",
            f"{shown((*TRUNCATED, 'chunks:200'))}",
            wrong and enough,
        ),
        *(
            Claim(f"{name} converges: its gradients are unbiased.", shown(names),
                  all(best(each).verdict == "converges" for each in names))
            for name, names in (("ARTBP", UNBIASED[:2]), ("UORO", UNBIASED[2:]))
        ),
    ]  # fmt: skip
