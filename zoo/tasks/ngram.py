"""The baseline of every language model here: an interpolated Kneser–Ney n-gram."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

Tokens = Sequence[int] | np.ndarray


class KneserNey:
    """Interpolated Kneser–Ney language model of a given order over tokens 0 … V−1.

        P_k(w | h) = max(c(h w) − D, 0) / c(h ·)  +  D · N₁₊(h ·) / c(h ·) · P_{k−1}(w | h′),      P_0(w) = 1 / V

    h are the k−1 tokens before w, h′ is h without its oldest token, N₁₊(h ·) the number of distinct tokens seen
    after h. At the highest order c counts occurrences; below it c(h w) is the number of distinct tokens seen *before*
    h w (the continuation count). One absolute discount D serves all orders. A context never seen in training passes
    its whole mass to the next lower order; a token never seen gets its share of the uniform P_0, so V must count
    every token that may be asked about.

    Kneser & Ney 1995, "Improved backing-off for m-gram language modeling"; interpolated as in Chen & Goodman 1999,
    "An empirical study of smoothing techniques for language modeling".

    >>> model = KneserNey([0, 1, 0, 1, 0, 2], order=2, vocabulary=3)
    >>> [round(float(model.probabilities([w], history=[0])[0]), 3) for w in range(3)]
    [0.167, 0.583, 0.25]
    """

    def __init__(self, tokens: Tokens, *, order: int, vocabulary: int, discount: float = 0.75) -> None:
        if order < 1:
            raise ValueError(f"KneserNey: order {order}; it must be at least 1")
        if not 0 < discount < 1:
            raise ValueError(f"KneserNey: discount {discount}; it must lie between 0 and 1")
        x = _checked(tokens, vocabulary)
        if len(x) < order:
            raise ValueError(f"KneserNey: {len(x)} tokens are too few for order {order}")
        self.order, self.vocabulary, self.discount = order, vocabulary, discount

        # ids[j] is the dense number of the gram that starts at j: a gram is keyed by (its prefix's number, its last
        # token), so keys stay small whatever the order and the vocabulary.
        tables, starts, ids = [], [], [np.zeros(len(x) + 1, np.int64)]
        for k in range(1, order + 1):
            keys, first, inverse = np.unique(
                ids[-1][: len(x) - k + 1] * vocabulary + x[k - 1 :], return_index=True, return_inverse=True
            )
            tables.append(keys)
            starts.append(first)
            ids.append(inverse)
        self._levels = []
        for k, keys in enumerate(tables, start=1):
            seen = ids[k] if k == order else ids[k][starts[k] + 1]  # every occurrence, or one for each longer gram
            counts = np.bincount(seen, minlength=len(keys)).astype(np.float64)
            self._levels.append(_Level(keys, counts, keys // vocabulary, 1 if k == 1 else len(tables[k - 2])))

    def probabilities(self, tokens: Tokens, *, history: Tokens = ()) -> np.ndarray:
        """P(token | the order−1 tokens before it) for each token (T,); `history` comes before the first one."""
        before = _checked(history, self.vocabulary)
        x = np.concatenate([before, _checked(tokens, self.vocabulary)])
        p = np.full(len(x), 1.0 / self.vocabulary)
        context = np.zeros(len(x), np.int64)  # the number of the gram right before each token, −1 where never seen
        for level in self._levels:
            gram = level.find(np.where(context < 0, -1, context * self.vocabulary + x))
            total, kinds = level.totals[context], level.kinds[context]
            kept = np.where(gram < 0, 0.0, np.maximum(level.counts[gram] - self.discount, 0.0))
            known = (context >= 0) & (total > 0)
            p = np.where(known, (kept + self.discount * kinds * p) / np.where(known, total, 1.0), p)
            context = np.concatenate([[-1], gram[:-1]])  # one token later the gram is the next level's context
        return p[len(before) :]

    def bits(self, tokens: Tokens, *, history: Tokens = ()) -> float:
        """Mean −log2 P per token."""
        return float(-np.log2(self.probabilities(tokens, history=history)).mean())


class _Level:
    """The grams of one length: sorted keys, their counts, and the sums over each context."""

    def __init__(self, keys: np.ndarray, counts: np.ndarray, contexts: np.ndarray, number: int) -> None:
        self.keys, self.counts = keys, counts
        self.totals = np.bincount(contexts, weights=counts, minlength=number)
        self.kinds = np.bincount(contexts, weights=counts > 0, minlength=number)

    def find(self, keys: np.ndarray) -> np.ndarray:
        """The number of each key, −1 where it was never seen."""
        place = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[place] == keys, place, -1)


def bits_by_order(
    train: np.ndarray, held_out: np.ndarray, *, vocabulary: int, orders: Iterable[int] = range(1, 6)
) -> dict[int, float]:
    """Bits per held-out token of the n-gram of each order; its first tokens have the training part's end as context."""
    found = {}
    for order in orders:
        model = KneserNey(train, order=order, vocabulary=vocabulary)
        found[order] = model.bits(held_out, history=train[len(train) - order + 1 :])
    return found


def _checked(tokens: Tokens, vocabulary: int) -> np.ndarray:
    x = np.asarray(tokens, dtype=np.int64)
    outside = np.flatnonzero((x < 0) | (x >= vocabulary))
    if outside.size:
        at = int(outside[0])
        raise ValueError(f"KneserNey: token {x[at]} at position {at} is outside the vocabulary 0 … {vocabulary - 1}")
    return x
