"""What the command line draws: a net that reads a text, trained (a run's folder) or as it begins (a cell's name)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import tinygrad_rnn as tg
import zoo
from zoo.errors import UserError
from zoo.run import Run
from zoo.tasks import text as texts
from zoo.tasks.char_lm import CharModel

from .axes import shown

LOSSES = ("each", "last")
OPENING = '''She wrote "see you (soon)".

def total(prices):
    for price in prices:
        if price < 0:
            raise ValueError("a price (like -1) below 0")
    return sum(prices)
'''


@dataclass(frozen=True)
class Reading:
    """A net reads a text, a character a step, and at each foretells the next.

    ``problem``: its losses along time, cross-entropies in nats, of one row. ``logits``: (T, B, V) from what the layers
    read, ``xs`` (T, 1, I). ``characters``: what the logits are of. ``name`` and ``about`` say which net it is.
    """

    name: str
    about: str
    text: str
    problem: tg.bptt.Problem
    logits: Callable[[Any], Any]
    xs: Any
    characters: str

    def states(self) -> dict[str, np.ndarray]:
        """Each part of the state after each step, (T, H), by its path in the carry."""
        carry, found = self.problem.carry, []
        with tg.no_grad():
            for t in range(len(self.problem)):
                carry, _ = self.problem.one(self.problem.parameters, carry, t)
                found.append([leaf.numpy().reshape(-1) for leaf in tg.tree.leaves(carry)])
        names = tg.bptt.parameter_names(carry)
        return {name: np.stack(column) for name, column in zip(names, zip(*found, strict=True), strict=True)}

    def guesses(self, count: int = 5) -> list[str]:
        """After each character the likeliest next ones, with their probabilities, as words."""
        with tg.no_grad():
            probabilities = tg.softmax(self.logits(self.xs)).numpy()[:, 0]
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, :count]
        return [
            " ".join(f"{shown(self.characters[k])} {row[k]:.0%}" for k in order)
            for row, order in zip(probabilities, best, strict=True)
        ]


def passage(path: str | None, steps: int) -> str:
    """The first ``steps`` characters and one more of a text file, or of one with quotes, brackets and indentation."""
    if steps < 1:
        raise UserError(f"--steps {steps}: it must be 1 or more")
    corpus = texts.load(path)
    text = corpus.text if path else OPENING + corpus.text
    if len(text) <= steps:
        raise UserError(f"{corpus.source} has {len(text):,} characters; reading {steps} of them takes one more")
    return text[: steps + 1]


def untrained(cell: str, text: str, *, hidden: int, layers: int = 1, loss: str = "each", dtype: str = "float64",
              seed: int = 0) -> Reading:  # fmt: skip
    """A cell of the zoo as it begins, one-hot characters in, logits of the next out."""
    for name, value in (("hidden", hidden), ("layers", layers)):
        if value < 1:
            raise UserError(f"--{name} {value}: it must be 1 or more")
    vocabulary = texts.Vocabulary.of(text)
    rng = tg.random.Generator(seed)
    kind: Any = zoo.get(cell)
    sizes = [len(vocabulary)] + [hidden] * (layers - 1)
    stack = [zoo.RNN(kind(size, hidden, rng=rng.fork("layer", i)), compile="numpy") for i, size in enumerate(sizes)]
    model = zoo.Synced(zoo.Stacked(stack) if layers > 1 else stack[0], len(vocabulary), rng=rng).astype(dtype)
    ids = vocabulary.encode(text)
    xs = tg.one_hot(ids[:-1, None], classes=len(vocabulary)).astype(dtype)
    counts = _counts(loss, len(ids) - 1)
    problem = model.problem(xs, tg.tensor(ids[1:, None]), mask=None if counts.all() else tg.tensor(counts[:, None]))
    name = zoo.get(cell).__name__ + (f", {layers} layers" if layers > 1 else "")
    return Reading(name, f"{counted(hidden)}, untrained", text[:-1], problem, model, xs, vocabulary.characters)


def trained(folder: str, text: str | None, steps: int, *, loss: str = "each") -> Reading:
    """The character model of a run's folder; without a text, on what it was not trained on.

    Raises UserError for runs of other tasks and for characters that the model does not know.
    """
    run = Run.open(folder)
    if run.config["task"] != "char-lm":
        raise UserError(f"{folder} is a run of {run.config['task']}; these pictures are of runs of char-lm")
    options, vocabulary = run.config["options"], texts.Vocabulary(run.config["data"]["characters"])
    if text is None:
        corpus = texts.load(options["text"]).text
        read = corpus[len(corpus) * 9 // 10 :][: steps + 1]  # its last tenth was held out
    else:
        read = passage(text, steps)
    sizes = {name: options[name] for name in ("embedding", "hidden", "layers", "dropout")}
    model = CharModel(options["cell"], len(vocabulary), **sizes)
    model.load_state_dict(run.weights())
    for part in model.modules():
        if isinstance(part, zoo.RNN):
            part.compile = "numpy"  # a text is read once or twice: no time to compile for
    model.eval()
    ids = vocabulary.encode(read)
    counts = _counts(loss, len(ids) - 1)

    def step(model: CharModel, state: Any, t: int) -> tuple[Any, Any]:
        logits, state = model.step(tg.tensor(ids[t : t + 1]), state)
        return state, tg.cross_entropy(logits, tg.tensor(ids[t + 1 : t + 2])) / counts.sum() if counts[t] else None

    problem = tg.bptt.Problem(model, step, model.begin(1), list(range(len(ids) - 1)))
    xs = model.embedding(tg.tensor(ids[:-1, None])).detach()
    return Reading(
        f"{options['cell']} of {run.folder.name}", counted(options["hidden"]), read[:-1], problem,
        lambda xs: model.head(model.rnn(xs)[0]), xs, vocabulary.characters,
    )  # fmt: skip


def counted(count: int, what: str = "unit") -> str:
    """So many of something, as words."""
    return f"{count} {what}{'s' if count != 1 else ''}"


def _counts(loss: str, steps: int) -> np.ndarray:
    """Which steps have a loss."""
    if loss not in LOSSES:
        raise UserError(f"--loss {loss} is none of {', '.join(LOSSES)}")
    return np.arange(steps) >= (0 if loss == "each" else steps - 1)
