"""Every cell in every topology, at 16 units: one loss in three ways, and its gradient in three."""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
import zoo
from zoo.topology.examples import TOPOLOGIES, built, example, pairs

HIDDEN = 16
EVERY_PAIR = pytest.mark.parametrize(("topology", "cell"), pairs())


@lru_cache(maxsize=1)
def reverse(topology: str, cell: str) -> tuple[Any, tg.bptt.Problem, tg.bptt.Gradient]:
    """An example, its problem without a faster way than step by step, and the gradient by full backpropagation."""
    made = built(topology, cell, hidden=HIDDEN)
    problem = dataclasses.replace(made.problem(), segment=None)
    return made, problem, tg.bptt.gradient(problem)


def apart(found: Any, wanted: Any) -> float:
    """The largest difference relative to the largest entry of its array."""
    assert found.keys() == wanted.keys()
    worst = 0.0
    for name, w in wanted.items():
        off = np.abs(found[name].numpy() - w.numpy()).max()
        worst = max(worst, off / np.abs(w.numpy()).max() if off else 0.0)
    return worst


@EVERY_PAIR
def test_the_loss_and_its_gradient_are_the_same_by_steps_by_segments_and_by_forward(topology: str, cell: str) -> None:
    made, _, by_steps = reverse(topology, cell)
    by_segment = tg.bptt.gradient(made.problem())
    assert abs(by_segment.loss - by_steps.loss) <= 1e-13 * abs(by_steps.loss)
    assert abs(made.loss().item() - by_steps.loss) <= 1e-13 * abs(by_steps.loss)
    assert apart(by_segment.gradients, by_steps.gradients) <= 1e-10


@EVERY_PAIR
def test_real_time_recurrent_learning_finds_the_gradient_of_full_backpropagation(topology: str, cell: str) -> None:
    _, problem, by_steps = reverse(topology, cell)
    forward = tg.bptt.gradient(problem, "rtrl")
    assert abs(forward.loss - by_steps.loss) <= 1e-13 * abs(by_steps.loss)
    assert apart(forward.gradients, by_steps.gradients) <= 1e-10


@EVERY_PAIR
def test_the_gradient_is_that_of_central_differences_along_random_directions(topology: str, cell: str) -> None:
    made, _, found = reverse(topology, cell)
    parameters = made.model.parameters_by_path()
    random, eps = np.random.default_rng(0), 1e-6
    length = np.sqrt(sum((g.numpy() ** 2).sum() for g in found.gradients.values()))  # as far as d · g gets, by chance
    before = {name: p.data for name, p in parameters.items()}
    for _ in range(2):
        direction = {name: random.standard_normal(p.shape) for name, p in parameters.items()}

        def moved(by: float, direction: Any = direction) -> float:
            for name, p in parameters.items():
                p.data = before[name] + by * direction[name]
            try:
                with tg.no_grad():
                    return made.loss().item()
            finally:
                for name, p in parameters.items():
                    p.data = before[name]

        along = sum((found.gradients[name].numpy() * d).sum() for name, d in direction.items())
        assert abs((moved(eps) - moved(-eps)) / (2 * eps) - along) <= 1e-6 * length


@pytest.mark.parametrize("length", [1, 2, 4])
@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_chunks_cut_the_same_edges_in_segments_and_in_steps(topology: str, length: int) -> None:
    problem = example(topology, "LSTM")
    by_segment = tg.bptt.gradient(problem, f"chunks:{length}")
    by_steps = tg.bptt.gradient(dataclasses.replace(problem, segment=None), f"chunks:{length}")
    assert abs(by_segment.loss - by_steps.loss) <= 1e-13
    assert apart(by_segment.gradients, by_steps.gradients) <= 1e-12
    for a, b in zip(tg.tree.leaves(by_segment.carry), tg.tree.leaves(by_steps.carry), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=0, atol=1e-13)


def test_only_the_encoders_matrix_as_the_way_of_the_context_asks_something_of_the_cell() -> None:
    missing = {(t, c) for t in TOPOLOGIES for c in zoo.names()} - set(pairs())
    assert {topology for topology, _ in missing} <= {"encoder-decoder-recurrent"}
    can = {cell for topology, cell in pairs() if topology == "encoder-decoder-recurrent"}
    assert {"ElmanRNN", "LSTM", "GRUResetAfter", "FastWeights"} <= can
    assert can.isdisjoint({"IndRNN", "GRU", "MGU", "CoRNN", "SRU", "MLSTM"})


def test_an_example_is_the_same_for_the_same_generator_and_else_another() -> None:
    losses = [
        tg.bptt.gradient(example("synced", "GRU", rng=tg.random.Generator(seed))).loss for seed in (3, 3, 4)
    ]
    assert losses[0] == losses[1] != losses[2]


def test_a_topology_that_there_is_not_is_named_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match="no topology 'synched'; there are synced, "):
        example("synched", "GRU")
