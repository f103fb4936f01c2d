"""The measuring process: what it is fixed to, and what its failures look like here."""

from __future__ import annotations

import os

import pytest

from zoo.bench import cells, process
from zoo.bench.measure import Contestant
from zoo.bench.plan import Size
from zoo.errors import UserError


def test_a_cell_is_measured_in_a_process_of_its_own_beside_torch():
    pytest.importorskip("torch", reason="compares with torch; pip install torch")
    job = {"contests": [("LSTM", (3, 2, 4, 4)), ("MGU", (3, 2, 4, 4))], "vs": ["torch"], "rounds": 2}
    lstm, mgu = process.results("cells", threads=1, **job)
    assert list(lstm["seconds"]) == ["ours", "torch.nn", "torch loop"]
    assert list(mgu["seconds"]) == ["ours", "torch loop"]
    assert all(len(times) == 2 and min(times) > 0 for times in lstm["seconds"].values())
    assert lstm["size"] == [3, 2, 4, 4] and min(lstm["peak"]) > 1e8


def test_memory_grows_with_what_a_step_keeps():
    small, large = (
        next(process.results("memory", threads=1, cell="ElmanRNN", size=(T, 32, 64, 64), side="ours"))["bytes"]
        for T in (8, 256)
    )
    kept = 2 * 256 * 32 * 64 * 4  # the outputs and the input's gradient at least
    assert small < kept < large < 20 * kept


def test_an_unknown_cell_is_the_users_error_here_too():
    with pytest.raises(UserError, match="bench: unknown cell 'LTSM': did you mean LSTM"):
        list(process.results("memory", threads=1, cell="LTSM", size=(1, 1, 1, 1), side="ours"))


def test_a_process_that_breaks_is_told(capfd):
    with pytest.raises(UserError, match="the measuring process ended with status 1; what it said is above"):
        list(process.results("no such job", threads=1))
    assert "KeyError: 'no such job'" in capfd.readouterr().err


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system does not pin processes")
def test_what_is_started_is_pinned_and_we_are_not():
    before = os.sched_getaffinity(0)
    with process._pinned(1):
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before and process.processors() == len(before)


def side(**arrays):
    return Contestant(lambda: arrays, lambda found: found)


def test_sides_that_agree_may_be_timed():
    cells.agree("LSTM", Size(1, 1, 1, 1), {"ours": side(ys=1.0, U=2.0), "loop": side(ys=1.0, U=2.0005, extra=7.0)})


@pytest.mark.parametrize("wrong", [2.01, float("nan")])
def test_sides_that_differ_are_an_error_not_a_timing(wrong):
    with pytest.raises(UserError, match=r"LSTM at \(1, 1, 1, 1\): U of loop differs from ours by"):
        cells.agree("LSTM", Size(1, 1, 1, 1), {"ours": side(ys=1.0, U=2.0), "loop": side(ys=1.0, U=wrong)})
