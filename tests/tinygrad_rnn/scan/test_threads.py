"""Work is cut at whole units and shared only where a thread is worth waking."""

from __future__ import annotations

import threading
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_rnn.scan import threads
from tinygrad_rnn.scan.threads import Task, do


class Done:
    """What was called, with which range, by which thread."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int, int, int]] = []

    def task(self, name: str, size: int, unit: int, flops: float) -> Task:
        def function(first: int, last: int) -> None:
            self.calls.append((name, first, last, threading.get_ident()))

        return Task(function, size, unit, flops)

    def ranges(self, name: str) -> list[tuple[int, int]]:
        return sorted((first, last) for which, first, last, _ in self.calls if which == name)


@given(size=st.integers(0, 100), unit=st.integers(1, 32), parts=st.integers(1, 9))
def test_parts_are_all_of_a_task_cut_at_whole_units(size: int, unit: int, parts: int) -> None:
    cuts = Task(print, size, unit, 0.0).cuts(parts)
    assert len(cuts) == parts + 1 and cuts[0] == 0 and cuts[-1] == size
    assert all(a <= b for a, b in pairwise(cuts)) and all(cut % unit == 0 for cut in cuts[:-1] if cut < size)


@pytest.mark.parametrize("flops", [0.0, 0.9 * threads.WORTH, 1.9 * threads.WORTH])
def test_a_thread_that_is_not_worth_it_is_not_woken(flops: float) -> None:
    done = Done()
    do([done.task("a", 64, 8, flops)], (), 2)
    assert done.calls == [("a", 0, 64, threading.get_ident())]


def test_work_for_two_is_done_by_two() -> None:
    done = Done()
    do([done.task("a", 64, 8, 2 * threads.WORTH)], (), 8)
    assert done.ranges("a") == [(0, 32), (32, 64)]
    assert {thread for _, first, _, thread in done.calls if first == 0} == {threading.get_ident()}
    assert {thread for _, first, _, thread in done.calls if first} != {threading.get_ident()}


def test_tasks_that_wait_for_nothing_are_shared_at_once() -> None:
    done = Done()
    do([done.task("a", 64, 32, 2 * threads.WORTH), done.task("b", 32, 32, 0.0)], (), 2)
    assert done.ranges("a") == [(0, 32), (32, 64)] and done.ranges("b") == [(0, 32)]


def test_what_fails_in_another_thread_is_raised_here() -> None:
    def function(first: int, last: int) -> Any:
        if first:
            raise ArithmeticError(f"{first} {last}")

    with pytest.raises(ArithmeticError, match="32 64"):
        do([Task(function, 64, 8, 1e12)], (), 2)
