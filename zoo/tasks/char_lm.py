"""Character language model: read text, predict each next character."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn.bptt import Problem
from zoo import registry
from zoo.errors import UserError
from zoo.tasks import ngram, text
from zoo.tasks.task import Metric, Score, Task
from zoo.topology import RNN, Stacked

EXAMPLE = 4  # characters in the picture of the unrolled graph
BLANKS = {" ": "␣", "\n": "⏎", "\t": "⇥"}
STREAMS, WARM_UP = 64, 128  # held-out text is read in 64 places at once, each after 128 characters of context


class CharModel(tg.nn.Module):
    """Embedding → recurrent layers → linear: logits of the next character.

    Dropout acts on what a layer hands up, to the next one or to the linear map, never along time (Zaremba et al. 2014).

    >>> model = CharModel("LSTM", 30, embedding=8, hidden=16, layers=2)
    >>> logits, state = model(tg.tensor(np.zeros((5, 2), int)), model.begin(2))
    >>> logits.shape
    (5, 2, 30)
    """

    def __init__(
        self, cell: str, vocabulary: int, *, embedding: int, hidden: int, layers: int = 1, dropout: float = 0.0,
        rng: tg.random.Generator | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        rng = rng or tg.random.Generator(0)
        kind: Any = registry.get(cell)
        sizes = [embedding] + [hidden] * (layers - 1)
        stack = [RNN(kind(size, hidden, rng=rng.fork("layer", i))) for i, size in enumerate(sizes)]
        self.embedding = tg.nn.Embedding(vocabulary, embedding, rng=rng.fork("embedding"))
        self.rnn = Stacked(stack, dropout=dropout, rng=rng) if layers > 1 else stack[0]
        self.dropout = tg.nn.Dropout(dropout, rng=rng.fork("output"))
        self.head = tg.nn.Linear(self.rnn.output_size, vocabulary, rng=rng.fork("head"))

    def begin(self, batch: int, *, device: str = "cpu") -> Any:
        """The state before the first character of `batch` texts."""
        return self.rnn.init_state(batch, device=device)

    def forward(self, ids: tg.Tensor, state: Any) -> tuple[tg.Tensor, Any]:
        """ids (T, B) → logits (T, B, V) and the state after the last step."""
        ys, state = self.rnn(self.embedding(ids), state)
        return self.head(self.dropout(ys)), state

    def step(self, ids: tg.Tensor, state: Any) -> tuple[tg.Tensor, Any]:
        """ids (B,) → logits (B, V) and the next state."""
        y, state = self.rnn.step(self.embedding(ids), state)
        return self.head(self.dropout(y)), state

    def masks(self, number: int) -> None:
        """The next call drops what the call of that number drops, were all of the same length."""
        self.dropout.calls.data[...] = number
        if isinstance(self.rnn, Stacked):
            self.rnn.dropout.calls.data[...] = number * (len(self.rnn.layers) - 1)


class CharLM(Task):
    """Bits per character on the last tenth of a text, after learning from the first nine by truncated BPTT."""

    name = "char-lm"
    summary = "predict the next character of a text"
    metric = Metric("bits per character", worth=math.log(2))
    unit = "characters"
    defaults: ClassVar = {
        "cell": "LSTM", "layers": 1, "hidden": 256, "embedding": 64, "dropout": 0.0, "text": None,
        "steps": 1000, "batch": 32, "chunk": 32, "bptt": "full", "learning-rate": 0.012, "warmup": 50, "clip": 1.0,
    }  # fmt: skip
    writes: ClassVar = {"length": 500, "temperature": 0.7, "top_k": None, "seed": 0}
    presets: ClassVar = {
        "quick": {"hidden": 128, "steps": 200},
        "full": {"layers": 2, "hidden": 384, "dropout": 0.2, "steps": 4000},
    }

    model: CharModel

    def __init__(self, options: Mapping[str, Any], *, seed: int, device: str) -> None:
        self.options, self.device, self.seed = options, device, seed
        corpus = text.load(options["text"])
        self.vocabulary = text.Vocabulary.of(corpus.text)
        self.ids = self.vocabulary.encode(corpus.text)
        self.train, self.held_out = text.split(self.ids)
        self.data = {"source": corpus.source, "sha256": corpus.sha256, "characters": self.vocabulary.characters}
        self.model = _model(options, self.vocabulary, seed).to(device)

        batch, length = options["batch"], (len(self.train) - 1) // options["batch"]
        if length < options["chunk"]:
            raise UserError(
                f"{corpus.source} has {len(corpus.text):,} characters, too few for {batch} streams of at least "
                f"{options['chunk']}: give a longer text, or a smaller --batch or --chunk"
            )
        streams = self.train[: batch * length].reshape(batch, length).T, self.train[1 : batch * length + 1]
        self.inputs = tg.tensor(np.ascontiguousarray(streams[0]), device=device)  # (length, B)
        self.targets = tg.tensor(np.ascontiguousarray(streams[1].reshape(batch, length).T), device=device)

    def facts(self) -> dict[str, str]:
        o = self.options
        size = sum(p.size for p in self.model.parameters())
        layers = f"{o['layers']} layers" if o["layers"] > 1 else "1 layer"
        passes = o["steps"] * o["batch"] * o["chunk"] / len(self.train)
        return {
            "model": f"{o['cell']}, {layers} of {o['hidden']}: {size:,} parameters",
            "data": f"{self.data['source']}: {len(self.train):,} characters to learn from, {len(self.held_out):,} held "
            f"out, {len(self.vocabulary)} distinct",
            "training": f"{o['steps']} steps of {o['batch']} × {o['chunk']} characters, {passes:.1f} times through, "
            f"--bptt {o['bptt']}",
        }

    def begin(self) -> Any:
        return self.model.begin(self.options["batch"], device=self.device)

    def goes_on(self, step: int) -> bool:
        return step % math.ceil(len(self.inputs) / self.options["chunk"]) != 0

    def problem(self, step: int, carry: Any) -> Problem:
        """A chunk of all streams: the mean of its cross-entropies, in nats."""
        chunk = self.options["chunk"]
        first = step % math.ceil(len(self.inputs) / chunk) * chunk
        inputs, targets = self.inputs[first : first + chunk], self.targets[first : first + chunk]
        total = len(inputs)

        def masked(model: CharModel, t: int) -> CharModel:
            if self.options["dropout"]:
                model.masks(step + (t << 32))  # whoever runs a step a second time meets the same ones
            return model

        def one(model: CharModel, state: Any, t: int) -> tuple[Any, tg.Tensor]:
            logits, state = masked(model, t).step(inputs[t], state)
            return state, tg.cross_entropy(logits, targets[t]) / total

        def several(model: CharModel, state: Any, times: list[int]) -> tuple[Any, tg.Tensor]:
            part = slice(times[0], times[-1] + 1)
            logits, state = masked(model, times[0])(inputs[part], state)
            return state, tg.cross_entropy(logits, targets[part]) * (len(times) / total)

        return Problem(self.model, one, carry, list(range(total)), several)

    def evaluate(self) -> float:
        """Bits per character over all of the held-out text, read in several places at once."""
        inputs, targets = reading(self.ids, start=len(self.train), streams=STREAMS, warm_up=WARM_UP)
        self.model.eval()
        state, nats = self.model.begin(STREAMS, device=self.device), 0.0
        with tg.no_grad():
            for a in range(0, len(inputs), 128):
                part, wanted = (tg.tensor(x[a : a + 128], device=self.device) for x in (inputs, targets))
                logits, state = self.model(part, state)
                nats += tg.cross_entropy(logits, wanted, ignore_index=-1, reduction="sum").item()
        self.model.train()
        return nats / len(self.held_out) / math.log(2)

    def baselines(self) -> list[Score]:
        bits = ngram.bits_by_order(self.train, self.held_out, vocabulary=len(self.vocabulary))
        return [Score(f"{order}-gram, Kneser–Ney", value) for order, value in bits.items()]

    def sample(self) -> tuple[str, str]:
        written = write(
            self.model, self.vocabulary, prompt=opening(self.vocabulary), length=400, temperature=0.7, top_k=None,
            seed=self.seed, device=self.device,
        )  # fmt: skip
        return "What it writes (temperature 0.7)", written

    def captions(self) -> list[str]:
        return [BLANKS.get(c, c) for c in self.vocabulary.decode(self.held_out[:EXAMPLE])]

    def example(self) -> tg.Tensor:
        ids = self.held_out[: EXAMPLE + 1]
        inputs, targets = (tg.tensor(x[:, None], device=self.device) for x in (ids[:-1], ids[1:]))
        self.model.eval()
        return tg.cross_entropy(self.model(inputs, self.model.begin(1, device=self.device))[0], targets)

    @classmethod
    def generate(
        cls, config: Mapping[str, Any], weights: Mapping[str, Any], *, prompt: str | None, device: str, **how: Any
    ) -> str:
        vocabulary = text.Vocabulary(config["data"]["characters"])
        model = _model(config["options"], vocabulary, config["seed"])
        model.load_state_dict(weights)
        return write(
            model.to(device), vocabulary, prompt=opening(vocabulary) if prompt is None else prompt, device=device, **how
        )


def _model(options: Mapping[str, Any], vocabulary: text.Vocabulary, seed: int) -> CharModel:
    sizes = {name: options[name] for name in ("embedding", "hidden", "layers", "dropout")}
    return CharModel(options["cell"], len(vocabulary), **sizes, rng=tg.random.Generator(seed))


def reading(ids: np.ndarray, *, start: int, streams: int, warm_up: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets (T, S) that score every character from `start` on exactly once, in S places at once.

    Each stream first reads `warm_up` characters whose targets are −1 (not scored), so that its state is that of a
    reader in the middle of the text; so are places past the end.

    >>> inputs, targets = reading(np.arange(10), start=6, streams=2, warm_up=1)
    >>> inputs.tolist(), targets.tolist()
    ([[4, 6], [5, 7], [6, 8]], [[-1, -1], [6, 8], [7, 9]])
    """
    length = math.ceil((len(ids) - start) / streams)
    place = np.arange(-warm_up, length)[:, None]
    at = start + place + length * np.arange(streams)
    inside = at.clip(1, len(ids) - 1)
    return ids[inside - 1], np.where((place >= 0) & (at < len(ids)), ids[inside], -1)


def opening(vocabulary: text.Vocabulary) -> str:
    """A prompt when none is given."""
    return "The " if set("The ") <= set(vocabulary.characters) else vocabulary.characters[0]


def write(
    model: CharModel, vocabulary: text.Vocabulary, *,
    prompt: str, length: int, temperature: float, top_k: int | None, seed: int, device: str = "cpu",
) -> str:  # fmt: skip
    """The prompt and `length` characters more, each drawn from softmax(logits / temperature) over the top k.

    Temperature 0 takes the most likely character each time. Raises `UserError` when the prompt is empty or holds a
    character that the model does not know.
    """
    if not prompt:
        raise UserError("the prompt is empty; give at least one character")
    rng = np.random.default_rng(seed)
    ids = vocabulary.encode(prompt).tolist()
    model.eval()
    with tg.no_grad():
        state, latest = model.begin(1, device=device), ids
        for _ in range(length):
            logits, state = model(tg.tensor(np.array(latest)[:, None], device=device), state)
            latest = [pick(logits.numpy()[-1, 0], temperature=temperature, top_k=top_k, rng=rng)]
            ids += latest
    return vocabulary.decode(ids)


def pick(logits: np.ndarray, *, temperature: float, top_k: int | None, rng: np.random.Generator) -> int:
    """An index drawn from softmax(logits / temperature) over the k largest; the largest at temperature 0.

    >>> pick(np.array([0.0, 9.0, 1.0]), temperature=0, top_k=None, rng=np.random.default_rng(0))
    1
    """
    if temperature == 0:
        return int(np.argmax(logits))
    z = logits.astype(np.float64) / temperature
    if top_k is not None and top_k < len(z):
        z[np.argsort(z)[:-top_k]] = -np.inf
    p = np.exp(z - np.max(z))
    return int(rng.choice(len(p), p=p / p.sum()))
