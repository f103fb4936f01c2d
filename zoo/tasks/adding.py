"""The adding problem: two numbers of a long sequence are marked; say their sum at its end."""

from __future__ import annotations

import tinygrad_rnn as tg


def draw(rng: tg.random.Generator, T: int, B: int, *, device: str = "cpu") -> tuple[tg.Tensor, tg.Tensor]:
    """B sequences of T pairs (number, mark), (T, B, 2), and the sums of their two marked numbers, (B, 1).

    Numbers are uniform over [0, 1); one mark is somewhere in the first half, one in the second. Always to say 1 has a
    mean squared error of Var(u₁ + u₂) = 1/6. Raises ValueError for T < 2.

    Hochreiter & Schmidhuber 1997, "Long short-term memory", task 4, on the scale of Le, Jaitly & Hinton 2015.

    >>> xs, targets = draw(tg.random.Generator(0), 6, 3)
    >>> xs.shape, targets.shape, xs[:, :, 1].sum(0).tolist()
    ((6, 3, 2), (3, 1), [2.0, 2.0, 2.0])
    """
    if T < 2:
        raise ValueError(f"two numbers are marked, so a sequence has at least 2 steps, not {T}")
    numbers = rng.uniform((T, B), device=device)
    places = tg.stack([rng.integers(B, 0, T // 2, device=device), rng.integers(B, T // 2, T, device=device)])
    marks = tg.one_hot(places, classes=T, dtype=numbers.dtype).sum(0).T  # (2, B, T) → (T, B)
    return tg.stack([numbers, marks], axis=-1), (numbers * marks).sum(0)[:, None]
