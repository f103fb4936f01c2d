"""Temporal order: two of many symbols matter, and of those only which comes first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

import tinygrad_rnn as tg
from zoo.errors import UserError
from zoo.tasks.generated import HELD_OUT, Generated
from zoo.tasks.task import Metric, Score
from zoo.tasks.text import Vocabulary
from zoo.topology.to_label import SequenceToLabel

SYMBOLS = "XYabcd"  # the two that matter, and four that do not
CLASSES = ("XX", "XY", "YX", "YY")


def draw(rng: tg.random.Generator, T: int, B: int, *, device: str = "cpu") -> tuple[tg.Tensor, tg.Tensor]:
    """B sequences of T symbols, integers (T, B) into ``SYMBOLS``, and their classes, integers (B,) into ``CLASSES``.

    The first X or Y comes somewhere in [T/10, 2T/10), the second in [4T/10, 5T/10); a, b, c and d are everywhere else.
    Raises ValueError for T < 10.

    Hochreiter & Schmidhuber 1997, "Long short-term memory", task 6a, with the places of Pascanu, Mikolov & Bengio 2013.

    >>> symbols, labels = draw(tg.random.Generator(0), 20, 3)
    >>> symbols.shape, labels.shape, (symbols < 2).sum(0).tolist()
    ((20, 3), (3,), [2, 2, 2])
    """
    if T < 10:
        raise ValueError(f"the two symbols come in different tenths of a sequence, so it has at least 10, not {T}")
    symbols = rng.integers((T, B), 2, len(SYMBOLS), device=device)
    first, second = (rng.integers(B, a * T // 10, (a + 1) * T // 10, device=device) for a in (1, 4))
    which = rng.integers((2, B), 0, 2, device=device)
    rows = tg.tensor(np.arange(B), device=device)
    symbols = symbols.at[first, rows].set(which[0]).at[second, rows].set(which[1])
    return symbols, 2 * which[0] + which[1]


class TemporalOrder(Generated):
    """The share of sequences whose two symbols are named in their order, beside what can be had without any order."""

    name = "temporal-order"
    summary = "which of X and Y came first, which second?"
    metric = Metric("share right", lower_is_better=False, worth=None)
    defaults: ClassVar = {
        "cell": "LSTM", "hidden": 32, "length": 100, "steps": 800, "batch": 32, "bptt": "full",
        "learning-rate": 0.01, "warmup": 50, "clip": 1.0,
    }  # fmt: skip
    presets: ClassVar = {"quick": {"length": 30, "steps": 300}, "full": {"length": 200, "steps": 3000}}
    kind, shape = "symbols, two of them X or Y", (len(SYMBOLS), len(CLASSES))
    topology, loss, short, shortest = SequenceToLabel, tg.cross_entropy, 10, 10

    def draw(self, rng: tg.random.Generator, length: int, batch: int) -> tuple[tg.Tensor, tg.Tensor]:
        symbols, labels = draw(rng, length, batch, device=self.device)
        return tg.one_hot(symbols, classes=len(SYMBOLS)), labels

    def evaluate(self) -> float:
        return float(np.mean(self.answers().numpy().argmax(-1) == self.held_out[1].numpy()))

    def verdict(self) -> str:
        wrong = 1 - self.evaluate()
        return (
            f"{wrong:.1%} of {HELD_OUT} held-out sequences are wrong; Pascanu, Mikolov & Bengio 2013 call the task "
            f"solved at 1 % or less: {'it is' if wrong <= 0.01 else 'not yet'}"
        )

    def baselines(self) -> list[Score]:
        return [
            Score("how often each symbol comes, whatever their order", 0.75),  # XX and YY; a coin for XY and YX
            Score("the later symbol alone", 0.5),
            Score("always the same", 0.25),
        ]

    def sample(self) -> tuple[str, str]:
        symbols, labels = (x.numpy() for x in self.held_out)
        said = self.answers().numpy().argmax(-1)
        rows = [
            f"{_text(symbols[:, b])}  {CLASSES[labels[b]]}  says {CLASSES[said[b]]}" for b in range(4)
        ]
        return "Sequences, what they are, and what the model says", "\n".join(rows)

    def captions(self) -> list[str]:
        return list(_text(self.shown()[0].numpy()[:, 0]))

    @classmethod
    def generate(
        cls, config: Mapping[str, Any], weights: Mapping[str, Any], *, prompt: str | None, device: str, **how: Any
    ) -> str:
        """The class that the model gives a prompt such as "abXcdYabcd"."""
        text = "abXcdaYbcadb" if prompt is None else prompt
        if not text:
            raise UserError(f"the prompt is empty; give some of {SYMBOLS}")
        ids = tg.tensor(Vocabulary(SYMBOLS).encode(text)[:, None], device=device)
        scores = cls.trained(config, weights, device)(tg.one_hot(ids, classes=len(SYMBOLS)))
        p = tg.softmax(scores).numpy()[0]
        return f"{text}  {CLASSES[p.argmax()]}  {p.max():.1%}"


def _text(symbols: np.ndarray) -> str:
    """One-hot symbols (T, 6) as letters."""
    return "".join(SYMBOLS[i] for i in symbols.argmax(-1))
