"""The adding problem: two numbers of a long sequence are marked; say their sum at its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

import tinygrad_rnn as tg
from zoo.errors import UserError
from zoo.tasks.generated import HELD_OUT, Generated
from zoo.tasks.task import Metric, Score
from zoo.topology.to_label import SequenceToLabel

RIGHT = 0.08  # of the sum; Hochreiter & Schmidhuber ask for 0.04 where the target is half of it
MARK = "*"


def draw(rng: tg.random.Generator, T: int, B: int, *, device: str = "cpu") -> tuple[tg.Tensor, tg.Tensor]:
    """B sequences of T pairs (number, mark), (T, B, 2), and the sums of their two marked numbers, (B, 1).

    Numbers are uniform over [0, 1); one mark is somewhere in the first half, one in the second. Always to say 1 has a
    mean squared error of Var(u₁ + u₂) = 1/6. Raises ValueError for T < 2.

    Hochreiter & Schmidhuber 1997, "Long short-term memory", task 4, on the scale of Le, Jaitly & Hinton 2015.

    >>> xs, targets = draw(tg.random.Generator(0), 6, 3)
    >>> xs.shape, targets.shape, xs[:, :, 1].sum(0).tolist()
    ((6, 3, 2), (3, 1), [2.0, 2.0, 2.0])
    """
    if T < 2:
        raise ValueError(f"two numbers are marked, so a sequence has at least 2 steps, not {T}")
    numbers = rng.uniform((T, B), device=device)
    places = tg.stack([rng.integers(B, 0, T // 2, device=device), rng.integers(B, T // 2, T, device=device)])
    marks = tg.one_hot(places, classes=T, dtype=numbers.dtype).sum(0).T  # (2, B, T) → (T, B)
    return tg.stack([numbers, marks], axis=-1), (numbers * marks).sum(0)[:, None]


class Adding(Generated):
    """Mean squared error of the sum, beside that of always saying its mean."""

    name = "adding"
    summary = "add the two marked numbers of a sequence"
    metric = Metric("mean squared error", digits=5)
    defaults: ClassVar = {
        "cell": "GRU", "hidden": 64, "length": 100, "steps": 1500, "batch": 32, "bptt": "full",
        "learning-rate": 0.005, "warmup": 50, "clip": 1.0,
    }  # fmt: skip
    presets: ClassVar = {"quick": {"length": 30, "hidden": 32, "steps": 600}, "full": {"length": 400, "steps": 5000}}
    kind, shape, topology, loss, short, shortest = "numbers, two of them marked", (2, 1), SequenceToLabel, tg.mse, 6, 2

    def draw(self, rng: tg.random.Generator, length: int, batch: int) -> tuple[tg.Tensor, tg.Tensor]:
        return draw(rng, length, batch, device=self.device)

    def verdict(self) -> str:
        off = abs(self.answers().numpy() - self.held_out[1].numpy())
        return (
            f"{np.mean(off < RIGHT):.1%} of {HELD_OUT} held-out sums are less than {RIGHT} off, which Hochreiter & "
            "Schmidhuber 1997 call right; their net was to get 2000 right in a row"
        )

    def baselines(self) -> list[Score]:
        return [Score("always 1, the mean of all sums", 1 / 6)]

    def sample(self) -> tuple[str, str]:
        xs, sums = (x.numpy() for x in self.held_out)
        said = self.answers().numpy()
        rows = [
            f"{' + '.join(f'{x:.3f}' for x in xs[:, b, 0][xs[:, b, 1] > 0])} = {sums[b, 0]:.3f}   says {said[b, 0]:.3f}"
            for b in range(6)
        ]
        return f"Sums over {len(xs)} steps", "\n".join(rows)

    def captions(self) -> list[str]:
        return [f"{number:.2f}{MARK if mark else ''}" for number, mark in self.shown()[0].numpy()[:, 0]]

    @classmethod
    def generate(
        cls, config: Mapping[str, Any], weights: Mapping[str, Any], *, prompt: str | None, device: str, **how: Any
    ) -> str:
        """The sum that the model says of a prompt such as "0.3 0.5* 0.1 0.25*", in which * marks a number."""
        words = (prompt or "0.3 0.5* 0.1 0.7 0.25* 0.9").split()
        pairs = [_pair(word) for word in words]
        if not pairs:
            raise UserError("the prompt is empty; give numbers, marked by * where they are to be added")
        said = cls.trained(config, weights, device)(tg.tensor(np.array(pairs, np.float32)[:, None], device=device))
        marked = [number for number, mark in pairs if mark]
        return f"{' '.join(words)}: says {said.item():.3f}, the marked ones add up to {sum(marked):.3f}"


def _pair(word: str) -> tuple[float, float]:
    try:
        return float(word.removesuffix(MARK)), float(word.endswith(MARK))
    except ValueError as error:
        raise UserError(f"{word!r} is no number, nor one with a {MARK} behind it, such as 0.5{MARK}") from error
