"""Temporal order: two of many symbols matter, and of those only which comes first."""

from __future__ import annotations

import numpy as np

import tinygrad_rnn as tg

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
