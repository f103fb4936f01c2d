"""Timing by turns: each round runs every contestant once, so a machine that slows down slows all of them."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

TURN = 0.015  # seconds that a contestant's turn lasts at least, by repeating

# Seconds between turns: until then the threads of torch (10 ms) and XLA (5 ms) look out for more work, on the processor
# of whoever is next. They are spent awake, for a processor that slept is slow for as long again.
PAUSE = 0.012


class Contestant(NamedTuple):
    """Somebody's way of doing the work: ``run()`` does it once, ``arrays(its result)`` by name, to compare."""

    run: Callable[[], Any]
    arrays: Callable[[Any], dict[str, Any]]


def by_turns(runs: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of one run of each contestant, round by round.

    Not counted are the first runs, which compile, and before a turn of many runs one that fills the caches again.
    """
    repeats = {}
    for name, run in runs.items():
        run()
        run()
        start = time.perf_counter()
        run()
        repeats[name] = math.ceil(TURN / max(time.perf_counter() - start, 1e-9))
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            end = time.perf_counter() + PAUSE
            while time.perf_counter() < end:
                pass
            if repeats[name] > 1:
                run()
            start = time.perf_counter()
            for _ in range(repeats[name]):
                run()
            seconds[name].append((time.perf_counter() - start) / repeats[name])
    return seconds


class Ratio(NamedTuple):
    """How many times longer one contestant takes: the ratio of the medians, and how far the rounds spread around it."""

    value: float
    spread: float

    @classmethod
    def of(cls, longer: Sequence[float], shorter: Sequence[float]) -> Ratio:
        """``spread`` is half the distance of the quartiles of the rounds' own ratios, as a share of the ratio.

        >>> Ratio.of([1.0, 2.0, 3.0], [1.0, 1.0, 1.0])
        Ratio(value=2.0, spread=0.25)
        """
        value = statistics.median(longer) / statistics.median(shorter)
        rounds = [a / b for a, b in zip(longer, shorter, strict=True)]
        low, _, high = statistics.quantiles(rounds, method="inclusive") if len(rounds) > 1 else [value] * 3
        return cls(value, (high - low) / 2 / value)
