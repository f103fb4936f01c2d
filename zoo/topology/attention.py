"""Additive attention: a weighted mean of a memory, the weights from how a query and each entry go together."""

from __future__ import annotations

from typing import Any

import numpy as np

import tinygrad_rnn as tg

__all__ = ["AdditiveAttention"]


class AdditiveAttention(tg.nn.Module):
    """``c = Σ_j α_j h_j``, α = softmax_j(e_j), e_j = tanh(q W + h_j U) v.

    q (B, Q) is the query, h (B, T, M) the memory, rows first; W, U, v, without biases, are under ``query``, ``key`` and
    ``energy``. Source: Bahdanau, Cho & Bengio 2015, Neural machine translation by jointly learning to align and
    translate, arXiv:1409.0473.

    >>> attention = AdditiveAttention(3, 4, 5)
    >>> context, weights = attention(tg.ones((2, 3)), tg.ones((2, 7, 4)))
    >>> context.shape, weights.shape
    ((2, 4), (2, 7))
    """

    def __init__(
        self, query_size: int, memory_size: int, size: int, *, rng: tg.random.Generator | None = None
    ) -> None:
        rng = rng or tg.random.Generator()
        self.query = tg.nn.Linear(query_size, size, bias=False, rng=rng.fork("query"))
        self.key = tg.nn.Linear(memory_size, size, bias=False, rng=rng.fork("key"))
        self.energy = tg.nn.Linear(size, 1, bias=False, rng=rng.fork("energy"))

    def forward(self, query: Any, memory: Any, *, keys: Any = None, valid: Any = None) -> tuple[tg.Tensor, tg.Tensor]:
        """The context c (B, M) and the weights α (B, T).

        ``keys``: ``self.key(memory)``, where many queries share it. ``valid`` (B, T): entries that count, at least one
        in each row; the weights of the others are 0.
        """
        keys = self.key(memory) if keys is None else keys
        energies = self.energy(tg.tanh(tg.expand_dims(self.query(query), 1) + keys))  # (B, T, 1)
        if valid is not None:
            energies = tg.where(tg.expand_dims(valid, -1), energies, -np.inf)
        weights = tg.softmax(energies, 1)
        return (weights * memory).sum(1), tg.squeeze(weights, -1)
