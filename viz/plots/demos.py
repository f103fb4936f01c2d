"""Short trainings whose traces are drawn: gradients that are clipped, a decoder that learns where to look."""

from __future__ import annotations

from typing import Any

import numpy as np

import tinygrad_rnn as tg
import zoo
from zoo.errors import UserError
from zoo.tasks import text as texts

from .reading import Reading

ROWS = 32  # words in a batch


def learnt(reading: Reading, *, threshold: float, updates: int, rate: float = 0.02) -> list[float]:
    """Have a net learn by heart the text that it reads; the norms of its gradients, before they were clipped."""
    if updates < 1:
        raise UserError(f"--updates {updates}: it must be 1 or more")
    optimizer = tg.optim.Adam(reading.problem.parameters, lr=rate)
    norms = []
    for _ in range(updates):
        gradients = tg.bptt.gradient(reading.problem).gradients
        norms.append(tg.optim.clip_by_global_norm(gradients, threshold))
        optimizer.step(gradients)
    return norms


def reversing(cell: str, word: str, *, hidden: int, updates: int, seed: int = 0) -> tuple[np.ndarray, str]:
    """Weights of attention (T, T) with which a decoder writes a word backward, and what it writes.

    It is trained on random words, of the same length, of the letters of the alphabet and of the word.
    """
    if not word or updates < 1 or hidden < 1:
        raise UserError(f"--updates {updates}, --hidden {hidden}, a word of {len(word)} characters: all are 1 or more")
    vocabulary = texts.Vocabulary("".join(sorted(set(word) | set("abcdefghijklmnopqrstuvwxyz"))))
    rng, classes = tg.random.Generator(seed), len(vocabulary)
    kind: Any = zoo.get(cell)
    pair = [kind(classes, hidden, rng=rng.fork("encoder", way)) for way in ("forward", "reverse")]
    model = zoo.EncoderDecoder(
        zoo.Bidirectional(*pair), kind(classes, hidden, rng=rng.fork("decoder")), classes, context="attention",
        rng=rng.fork("model"),
    )  # fmt: skip
    optimizer = tg.optim.Adam(model, lr=0.01)
    schedule = tg.optim.cosine(0.01, steps=updates)
    for step in range(updates):
        ids = rng.fork("words", step).integers((len(word), ROWS), 0, classes)
        gradients = tg.grad(lambda model, ids=ids: _loss(model, ids, classes))(model)
        tg.optim.clip_by_global_norm(gradients, 1.0)
        optimizer.lr = schedule(step)
        optimizer.step(gradients)
    ids = tg.tensor(vocabulary.encode(word)[:, None])
    xs = tg.one_hot(ids, classes=classes)
    with tg.no_grad():
        written = model(xs, steps=len(word), feed="greedy").numpy()[:, 0].argmax(-1)
        weights = model.alignment(xs, steps=len(word), feed="greedy").numpy()[:, 0]
    return weights, vocabulary.decode(written)


def _loss(model: Any, ids: Any, classes: int) -> Any:
    targets = tg.flip(ids, 0)
    return tg.cross_entropy(model(tg.one_hot(ids, classes=classes), targets), targets)
