"""The copying problem: ten symbols, a long gap, then the same ten symbols again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

import tinygrad_rnn as tg
from zoo.tasks.generated import Generated
from zoo.tasks.task import Metric, Score
from zoo.tasks.text import Vocabulary
from zoo.topology.synced import Synced

SYMBOLS = "abcdefgh"
ALPHABET = SYMBOLS + "·:"  # … the blank, and what asks for the answer
BLANK, GO, COUNT = len(SYMBOLS), len(SYMBOLS) + 1, 10


def draw(rng: tg.random.Generator, T: int, B: int, *, device: str = "cpu") -> tuple[tg.Tensor, tg.Tensor]:
    """B sequences with a gap of T: inputs and targets, integers (T + 20, B) into ``ALPHABET``.

        inputs   ten of the eight symbols, T − 1 blanks, the sign to begin, ten blanks
        targets  T + 10 blanks, the ten symbols

    Who remembers nothing says blanks and then any symbol: 10 ln 8 / (T + 20) nats a step. Raises ValueError for T < 1.

    Hochreiter & Schmidhuber 1997, "Long short-term memory", in the form of Arjovsky, Shah & Bengio 2016,
    arXiv:1511.06464.

    >>> inputs, targets = draw(tg.random.Generator(0), 3, 1)
    >>> for ids in (inputs, targets):
    ...     print("".join(ALPHABET[i] for i in ids[:, 0].tolist()))
    bahcddeabh··:··········
    ·············bahcddeabh
    """
    if T < 1:
        raise ValueError(f"the gap has at least 1 step, not {T}")
    return _asked(rng.integers((COUNT, B), 0, len(SYMBOLS), device=device), T)


def _asked(symbols: tg.Tensor, T: int) -> tuple[tg.Tensor, tg.Tensor]:
    """Inputs and targets for these symbols (N, B)."""
    count, batch = symbols.shape
    blank = tg.tensor(np.full((T + count, batch), BLANK), device=symbols.device)
    inputs = tg.concatenate([symbols, blank]).at[count + T - 1].set(GO)
    return inputs, tg.concatenate([blank, symbols])


class Copy(Generated):
    """Cross-entropy a step, beside that of a net without memory; and how many of the symbols come back."""

    name = "copy"
    summary = "say ten symbols again after a long gap"
    metric = Metric("nats a step")
    defaults: ClassVar = {
        "cell": "GRU", "hidden": 128, "length": 30, "steps": 1500, "batch": 32, "bptt": "full",
        "learning-rate": 0.02, "warmup": 50, "clip": 1.0,
    }  # fmt: skip
    presets: ClassVar = {"quick": {"length": 5, "steps": 500}, "full": {"length": 100, "steps": 5000}}
    kind, shape = "ten symbols to be said again", (len(ALPHABET), len(SYMBOLS) + 1)
    topology, loss, short, shortest = Synced, tg.cross_entropy, 1, 1

    def draw(self, rng: tg.random.Generator, length: int, batch: int) -> tuple[tg.Tensor, tg.Tensor]:
        inputs, targets = draw(rng, length, batch, device=self.device)
        return tg.one_hot(inputs, classes=len(ALPHABET)), targets

    def shown(self) -> tuple[tg.Tensor, tg.Tensor]:
        symbols = self._rng("example").integers((2, 1), 0, len(SYMBOLS), device=self.device)
        inputs, targets = _asked(symbols, 2)
        return tg.one_hot(inputs, classes=len(ALPHABET)), targets

    def verdict(self) -> str:
        asked, said = self._ends()
        right = asked == said
        return f"{right.mean():.1%} of the symbols come back, {right.all(1).mean():.1%} of the tens without a mistake"

    def baselines(self) -> list[Score]:
        return [Score("no memory: blanks, then any symbol", COUNT * math.log(8) / (self.options["length"] + 2 * COUNT))]

    def sample(self) -> tuple[str, str]:
        rows = [f"{_text(asked)} → {_text(said)}" for asked, said in zip(*self._ends(), strict=True)]
        return "What was to be remembered, and what it says", "\n".join(rows[:5])

    def _ends(self) -> tuple[np.ndarray, np.ndarray]:
        """The last steps of the held-out sequences (B, 10): what is asked for, what the model says."""
        return self.held_out[1].numpy()[-COUNT:].T, self.answers().numpy()[-COUNT:].argmax(-1).T

    def captions(self) -> list[str]:
        return list(_text(self.shown()[0].numpy()[:, 0].argmax(-1)))

    @classmethod
    def generate(
        cls, config: Mapping[str, Any], weights: Mapping[str, Any], *, prompt: str | None, device: str, **how: Any
    ) -> str:
        """What the model says after a prompt of symbols and the gap that it was trained with."""
        text = prompt or "abcdefghab"
        symbols = tg.tensor(Vocabulary(SYMBOLS).encode(text)[:, None], device=device)
        inputs, _ = _asked(symbols, config["options"]["length"])
        logits = cls.trained(config, weights, device)(tg.one_hot(inputs, classes=len(ALPHABET)))
        said = logits.numpy()[:, 0].argmax(-1)
        return f"{text} → {_text(said[-len(text):])}"


def _text(ids: np.ndarray) -> str:
    return "".join(ALPHABET[i] for i in ids)
