"""Who runs when, what is counted, and what a ratio is."""

from __future__ import annotations

import pytest

from zoo.bench import measure
from zoo.bench.measure import Ratio, by_turns

TICK = 1e-5  # seconds


@pytest.fixture
def clock(monkeypatch):
    """A clock that moves when told, and a little whenever it is looked at."""

    class Clock:
        now = 0.0

        def pass_by(self, seconds):
            self.now += seconds

        def look(self):
            self.now += TICK
            return self.now

    clock = Clock()
    monkeypatch.setattr(measure.time, "perf_counter", clock.look)
    return clock


def test_contestants_take_turns_and_short_ones_repeat_until_a_turn_is_long_enough(clock):
    log = []

    def contestant(name, seconds):
        def run():
            log.append(name)
            clock.pass_by(seconds)

        return run

    seconds = by_turns({"slow": contestant("slow", 0.5), "fast": contestant("fast", measure.TURN / 3.5)}, 2)
    assert seconds["slow"] == pytest.approx([0.5] * 2, abs=2 * TICK)
    assert seconds["fast"] == pytest.approx([measure.TURN / 3.5] * 2, abs=2 * TICK)
    warm_up, turn = ["slow"] * 3 + ["fast"] * 3, ["slow"] + ["fast"] * 5  # one of the five fills the caches
    assert log == warm_up + 2 * turn


def test_the_pause_before_a_turn_is_not_counted(clock):
    seconds = by_turns({"slow": lambda: clock.pass_by(0.5)}, 3)
    assert seconds["slow"] == pytest.approx([0.5] * 3, abs=2 * TICK)
    assert clock.now == pytest.approx((3 + 3) * 0.5 + 3 * measure.PAUSE, abs=50 * TICK)


def test_a_ratio_is_that_of_the_medians_and_one_bad_round_does_not_move_it():
    assert Ratio.of([2.0, 2.0, 90.0, 2.0, 2.0], [1.0] * 5) == (2.0, 0.0)


def test_the_spread_is_that_of_the_rounds_own_ratios_so_a_slow_round_for_all_adds_nothing():
    assert Ratio.of([2.0, 4.0, 8.0], [1.0, 2.0, 4.0]).spread == 0
    assert Ratio.of([1.0, 2.0, 3.0], [1.0, 1.0, 1.0]) == (2.0, 0.25)


def test_one_round_has_no_spread():
    assert Ratio.of([3.0], [2.0]) == (1.5, 0.0)
