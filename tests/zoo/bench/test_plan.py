"""What is measured and what it must reach."""

from __future__ import annotations

import pytest

import zoo
from zoo.bench.plan import EAGER, MIDDLE, NATIVE, NATIVE_CELLS, OTHERS, SMALL, Size, contests, flops, musts


def test_all_cells_are_measured_on_one_thread_those_of_torch_on_two():
    one = contests(zoo.names(), True, threads=1, quick=False)
    assert {cell for cell, _ in one} == set(zoo.names())
    assert len(one) == len(set(one)) == 5 * len(NATIVE_CELLS) + 2 * (len(zoo.names()) - len(NATIVE_CELLS))
    two = contests(zoo.names(), True, threads=2, quick=False)
    assert {cell for cell, _ in two} == set(NATIVE_CELLS) and len(two) == 15


def test_a_cell_that_is_asked_for_is_measured_on_any_number_of_threads():
    assert contests(["MGU"], False, threads=2, quick=False) == [("MGU", SMALL), ("MGU", MIDDLE)]
    assert contests(["MGU", "LSTM"], False, threads=1, quick=True)[0] == ("MGU", SMALL)


@pytest.mark.parametrize("cell", NATIVE_CELLS)
@pytest.mark.parametrize("threads", [1, 2])
def test_torchs_own_cells_have_a_goal_at_every_size(cell, threads):
    assert [musts(cell, size, threads=threads) for size in NATIVE] == [
        {"torch.nn": least} for least in (3, 1.3, 1.1, 1.05, 1.05)
    ]


def test_other_cells_have_goals_on_one_thread():
    assert musts("MGU", SMALL, threads=1) == {"torch loop": 5, "jax scan": 1.3}
    assert musts("MGU", MIDDLE, threads=1) == {"torch loop": 2.5, "jax scan": 1.3}
    assert musts("MGU", SMALL, threads=2) == {}
    assert set(OTHERS) < set(NATIVE) and EAGER


@pytest.mark.parametrize(
    ("name", "products"),
    [("LSTM", 8), ("GRUResetAfter", 6), ("GRU", 6), ("ElmanRNN", 2), ("MinGRU", 2), ("MGU", 4), ("CoRNN", 3)],
)
def test_the_flops_are_those_of_the_products_of_every_gate_forward_and_twice_backward(name, products):
    size = Size(7, 3, 16, 16)
    assert flops(zoo.get(name)(16, 16), size) == 3 * products * 2 * 7 * 3 * 16 * 16
