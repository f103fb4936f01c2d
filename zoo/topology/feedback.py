"""What a decoder reads of its own past: the symbol that it should have emitted, or one that it did."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_rnn as tg

__all__ = ["FEEDS", "FREE", "delayed", "first_fed", "noise"]


def _greedy(logits: Any, noise: Any) -> Any:
    symbols = tg.tensor(np.arange(logits.shape[-1]), device=logits.device)
    return (tg.argmax(logits, -1, keepdims=True) == symbols).astype(logits.dtype)


def _sampled(logits: Any, noise: Any) -> Any:
    return _greedy(tg.detach(logits) + noise, None)


def _softmax(logits: Any, noise: Any) -> Any:
    return tg.softmax(logits)


FREE: dict[str, Callable[[Any, Any], Any]] = {"greedy": _greedy, "sampled": _sampled, "softmax": _softmax}
"""From the logits (B, V) and noise to what the next step reads: the likeliest symbol, one drawn from softmax(logits)
(Gumbel: the largest of logits + noise), both one-hot and without a gradient; or softmax(logits) itself, with one."""

FEEDS = ("teacher", *FREE)


def noise(feed: str, rng: Any, shape: tuple[int, ...], dtype: Any, device: str) -> Any:
    """What "sampled" adds to the logits, −log(−log u) with u even in (0, 1); None for the others.

    Drawn before the run, so that a step is a function of what it is given.
    """
    if feed != "sampled":
        return None
    u = (rng or tg.random.Generator()).uniform(shape, dtype="float64").numpy()
    return tg.tensor(-np.log(-np.log(np.maximum(u, np.finfo(float).tiny))).astype(dtype), device=device)


def first_fed(place: str, go: int | None, rows: int, classes: int, dtype: Any, device: str) -> tg.Tensor:
    """y₋₁ (B, V): one-hot of the symbol ``go``, zeros without one."""
    found = np.zeros((rows, classes), dtype)
    if go is not None:
        if not 0 <= go < classes:
            raise ValueError(f"{place}: go={go} is none of the {classes} symbols")
        found[:, go] = 1
    return tg.tensor(found, device=device)


def delayed(place: str, targets: Any, before: tg.Tensor, valid: np.ndarray | None) -> tg.Tensor:
    """y_{t−1} (T, B, V) for t = 0 … T−1, one-hot, from the ids y_t (T, B): what teacher forcing feeds."""
    if targets.dtype.kind not in "iu" or targets.ndim != 2:
        raise ValueError(
            f"{place}: targets {targets.dtype} {targets.shape}: what is fed back are class ids (T, B); "
            f"feed one of {', '.join(FREE)} for other targets"
        )
    ids = targets if valid is None else tg.where(tg.tensor(valid, device=targets.device), targets, 0)
    hot = tg.one_hot(ids[:-1], classes=before.shape[-1], dtype=before.dtype)
    return tg.concatenate([tg.expand_dims(before, 0), hot], 0)
