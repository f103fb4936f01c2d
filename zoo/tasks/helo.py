"""The four-letter example: a recurrent net small enough to draw whole, with every message that trains it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np

import tinygrad_rnn as tg
from zoo import registry
from zoo.tasks.task import Batch, Metric, Score, Task
from zoo.tasks.text import Vocabulary
from zoo.topology import RNN

INPUT, TARGET = "hell", "ello"
LETTERS = Vocabulary("helo")


class HeloModel(tg.nn.Module):
    """One-hot letters → one cell → linear: logits of the next letter."""

    def __init__(self, cell: str, hidden: int, *, rng: tg.random.Generator) -> None:
        super().__init__()
        kind: Any = registry.get(cell)
        self.rnn = RNN(kind(len(LETTERS), hidden, rng=rng.fork("cell")))
        self.head = tg.nn.Linear(self.rnn.output_size, len(LETTERS), rng=rng.fork("head"))

    def forward(self, ids: tg.Tensor) -> tg.Tensor:
        """ids (T, B) → logits (T, B, 4)."""
        ys, _ = self.rnn(tg.one_hot(ids, classes=len(LETTERS)))
        return self.head(ys)


class Helo(Task):
    """Shown h, e, l, l one after the other, predict e, l, l, o: what follows l depends on what came before.

    The example is Karpathy's, "The unreasonable effectiveness of recurrent neural networks", 2015.
    """

    name = "helo"
    summary = "shown h, e, l, l, predict e, l, l, o"
    metric = Metric("letters right (of 4)", lower_is_better=False, held_out=False, smooth=False, digits=0)
    unit = "letters"
    defaults: ClassVar = {
        "cell": "ElmanRNN", "hidden": 3, "steps": 200, "learning-rate": 0.1, "warmup": 0, "clip": 5.0,
    }  # fmt: skip
    levels = ("cell", "op")
    presets: ClassVar = {"quick": {"steps": 100}, "full": {"steps": 1000}}

    model: HeloModel

    def __init__(self, options: Mapping[str, Any], *, seed: int, device: str) -> None:
        self.options, self.device = options, device
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

    def begin(self) -> Any:
        return ()

    def batches(self, step: int, carry: Any) -> Iterator[Batch]:
        while True:
            logits = self.model(self.inputs)
            yield Batch(tg.cross_entropy(logits, self.targets), self._right(logits), len(INPUT))

    def _right(self, logits: tg.Tensor) -> float:
        return float((logits.numpy().argmax(-1) == self.targets.numpy()).sum())

    def evaluate(self) -> float:
        with tg.no_grad():
            return self._right(self.model(self.inputs))

    def baselines(self) -> list[Score]:
        most = max(set(TARGET), key=TARGET.count)
        return [Score(f"always the most frequent letter, {most}", float(TARGET.count(most)))]

    def sample(self) -> tuple[str, str]:
        return "What it predicts", predictions(self.model, INPUT, device=self.device)

    def captions(self) -> list[str]:
        return list(INPUT)

    def example(self) -> tg.Tensor:
        """The letters' losses, each at its own step, and their sum: what a picture of the training shows best."""
        model, loss = self.model, tg.tensor(0.0, device=self.device)
        state = model.rnn.init_state(1, device=self.device)
        for t, x in zip(tg.steps(len(INPUT)), tg.one_hot(self.inputs, classes=len(LETTERS)), strict=True):
            y, state = model.rnn.step(x, state)
            loss = loss + tg.cross_entropy(model.head(y), self.targets[t])
        return loss

    @classmethod
    def generate(
        cls, config: Mapping[str, Any], weights: Mapping[str, Any], *, prompt: str | None, device: str, **how: Any
    ) -> str:
        """What the net expects after each letter of the prompt ("hell" unless given); there is nothing to draw."""
        model = _model(config["options"], config["seed"])
        model.load_state_dict(weights)
        return predictions(model.to(device), prompt or INPUT, device=device)


def _model(options: Mapping[str, Any], seed: int) -> HeloModel:
    return HeloModel(options["cell"], options["hidden"], rng=tg.random.Generator(seed))


def predictions(model: HeloModel, word: str, *, device: str) -> str:
    """One line a letter: what was shown, what is expected next, how sure the net is."""
    with tg.no_grad():
        logits = model(tg.tensor(LETTERS.encode(word)[:, None], device=device)).numpy()[:, 0].astype(np.float64)
    p = np.exp(logits - logits.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    shown = [f"after {word[: t + 1]:<{len(word)}}" for t in range(len(word))]
    return "\n".join(f"{s}  {LETTERS.characters[q.argmax()]}  {q.max():.1%}" for s, q in zip(shown, p))
