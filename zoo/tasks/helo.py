"""The four-letter example: a recurrent net small enough to draw whole, with every message that trains it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn.bptt import Problem
from zoo import registry
from zoo.tasks.task import Metric, Score, Task, stepwise
from zoo.tasks.text import Vocabulary
from zoo.topology.synced import Synced

INPUT, TARGET = "hell", "ello"
LETTERS = Vocabulary("helo")


class Helo(Task):
    """Shown h, e, l, l one after the other, predict e, l, l, o: what follows l depends on what came before.

    The example is Karpathy's, "The unreasonable effectiveness of recurrent neural networks", 2015.
    """

    name = "helo"
    summary = "shown h, e, l, l, predict e, l, l, o"
    metric = Metric("letters right (of 4)", lower_is_better=False, held_out=False, worth=None, digits=0)
    unit = "letters"
    defaults: ClassVar = {
        "cell": "ElmanRNN", "hidden": 3, "steps": 200, "bptt": "full", "learning-rate": 0.1, "warmup": 0, "clip": 5.0,
    }  # fmt: skip
    levels = ("cell", "op")
    presets: ClassVar = {"quick": {"steps": 100}, "full": {"steps": 1000}}

    model: Synced

    def __init__(self, options: Mapping[str, Any], *, seed: int, device: str) -> None:
        self.options, self.seed, self.device = options, seed, device
        self.data = {"source": f"{INPUT} → {TARGET}", "characters": LETTERS.characters}
        self.model = _model(options, seed).to(device)
        self.inputs, self.targets = (tg.tensor(LETTERS.encode(w)[:, None], device=device) for w in (INPUT, TARGET))

    def facts(self) -> dict[str, str]:
        size = sum(p.size for p in self.model.parameters())
        return {
            "model": f"{self.options['cell']} of {self.options['hidden']}: {size} parameters",
            "data": self.data["source"],
            "training": f"{self.options['steps']} steps",
        }

    def problem(self, step: int, carry: Any) -> Problem:
        return self.model.problem(one_hot(self.inputs), self.targets)

    def evaluate(self) -> float:
        with tg.no_grad():
            logits = self.model(one_hot(self.inputs))
        return float((logits.numpy().argmax(-1) == self.targets.numpy()).sum())

    def baselines(self) -> list[Score]:
        most = max(set(TARGET), key=TARGET.count)
        return [Score(f"always the most frequent letter, {most}", float(TARGET.count(most)))]

    def sample(self) -> tuple[str, str]:
        return "What it predicts", predictions(self.model, INPUT, device=self.device)

    def captions(self) -> list[str]:
        return list(INPUT)

    def example(self) -> tg.Tensor:
        """The letters' losses, each at its own step, and their sum: what a picture of the training shows best."""
        return stepwise(self.model.problem(one_hot(self.inputs), self.targets, reduction="sum"))

    @classmethod
    def generate(
        cls, config: Mapping[str, Any], weights: Mapping[str, Any], *, prompt: str | None, device: str, **how: Any
    ) -> str:
        """What the net expects after each letter of the prompt ("hell" unless given); there is nothing to draw."""
        model = _model(config["options"], config["seed"])
        model.load_state_dict(weights)
        return predictions(model.to(device), prompt or INPUT, device=device)


def _model(options: Mapping[str, Any], seed: int) -> Synced:
    """One-hot letters → one cell → linear: logits of the next letter."""
    kind: Any = registry.get(options["cell"])
    rng = tg.random.Generator(seed)
    return Synced(kind(len(LETTERS), options["hidden"], rng=rng.fork("cell")), len(LETTERS), rng=rng)


def one_hot(ids: tg.Tensor) -> tg.Tensor:
    return tg.one_hot(ids, classes=len(LETTERS))


def predictions(model: Synced, word: str, *, device: str) -> str:
    """One line a letter: what was shown, what is expected next, how sure the net is."""
    ids = tg.tensor(LETTERS.encode(word)[:, None], device=device)
    with tg.no_grad():
        logits = model(one_hot(ids)).numpy()[:, 0].astype(np.float64)
    p = np.exp(logits - logits.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    shown = [f"after {word[: t + 1]:<{len(word)}}" for t in range(len(word))]
    return "\n".join(f"{s}  {LETTERS.characters[q.argmax()]}  {q.max():.1%}" for s, q in zip(shown, p))
