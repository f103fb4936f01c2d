"""Compiled runs are drawn as the steps that they stand for, with the engine's own numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import tinygrad_rnn as tg
import viz
import zoo
from tinygrad_rnn.autodiff import reachable
from viz.example import Example
from viz.fold import fold_cells
from viz.replay import replayed
from viz.trace import Trace

Make = Callable[[object], tg.Tensor]


def one(compile: object) -> tg.Tensor:
    rng = tg.random.Generator(1)
    rnn = zoo.RNN(zoo.LSTM(3, 4, rng=rng.fork("net")), compile=compile).astype("float64")
    ys, _ = rnn(data(rng), lengths=[4, 2])
    kept(rnn)
    return (ys * ys).sum()


def stacked(compile: object) -> tg.Tensor:
    rng = tg.random.Generator(1)
    cells = zoo.GRU(3, 4, rng=rng.fork("low")), zoo.LSTM(4, 4, rng=rng.fork("high"))
    layers = zoo.Stacked([zoo.RNN(cell, compile=compile) for cell in cells]).astype("float64")
    ys, _ = layers(data(rng))
    kept(layers)
    return (ys * ys).sum()


def both(compile: object) -> tg.Tensor:
    rng = tg.random.Generator(1)
    pair = [zoo.GRU(3, 4, rng=rng.fork(name)) for name in ("forward", "reverse")]
    layers = zoo.RNN(pair[0], compile=compile), zoo.RNN(pair[1], compile=compile, reverse=True)
    layer = zoo.Bidirectional(*layers).astype("float64")
    ys, _ = layer(data(rng))
    kept(layer)
    return (ys * ys).sum()


def cut(compile: object) -> tg.Tensor:
    rng = tg.random.Generator(1)
    rnn = zoo.RNN(zoo.ElmanRNN(3, 4, rng=rng), compile=compile).astype("float64")
    x = data(rng)
    low, state = rnn(x[:2])
    high, _ = rnn(x[2:], tg.tree.map(tg.detach, state))
    kept(rnn, state)
    return (low * low).sum() + (high * high).sum()


def data(rng: tg.random.Generator) -> tg.Tensor:
    return rng.fork("data").normal((4, 2, 3), dtype="float64")


KEPT: list[object] = []  # what lives as long as a program that is drawn


def kept(*what: object) -> None:
    KEPT[:] = what


MAKES = {make.__name__: make for make in (one, stacked, both, cut)}


def crossing(trace: Trace) -> np.ndarray:
    return np.sort([e.message for e in fold_cells(trace).edges if e.message is not None])


@pytest.mark.parametrize("compile", ["numpy", "auto"])
@pytest.mark.parametrize("make", MAKES)
def test_a_compiled_run_has_the_columns_and_the_messages_of_the_plain_loop(make: str, compile: str) -> None:
    compiled = MAKES[make](compile)
    assert any(node.op.name == "scan" for node in reachable([compiled.node]))
    found, wanted = viz.trace(compiled), viz.trace(MAKES[make](False))
    assert found.steps == wanted.steps and len(found.cuts) == len(wanted.cuts)
    assert {n.cell for n in found.nodes} == {n.cell for n in wanted.nodes}
    np.testing.assert_allclose(crossing(found), crossing(wanted), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("make", MAKES)
def test_gradients_of_the_picture_are_those_of_the_run_itself(make: str) -> None:
    loss = MAKES[make]("numpy")
    drawn = sorted(node.gradient for node in viz.trace(loss).parameters if node.gradient is not None)
    loss.backward()
    leaves = [node.saved[0]() for node in reachable([loss.node]) if node.op.name == "leaf"]
    own = sorted(float(np.linalg.norm(leaf.grad.numpy())) for leaf in leaves)
    np.testing.assert_allclose(drawn, own, rtol=1e-10)


def test_parts_of_the_state_keep_their_names_and_their_beginning() -> None:
    found = viz.unroll(viz.trace(one("numpy"))).trace
    (start,) = [node for node in found.nodes if node.role == "state" and node.time is None]
    assert sorted(start.label.split(", ")) == ["c", "h"]


def test_the_graph_that_is_given_is_left_as_it_was() -> None:
    loss = stacked("numpy")
    before = [(node, node.inputs, node.saved) for node in reachable([loss.node])]
    assert replayed(loss.node, {}) is not loss.node
    assert all(node.inputs is inputs and node.saved is saved for node, inputs, saved in before)


def test_a_graph_without_compiled_runs_is_itself() -> None:
    loss = one(False)
    assert replayed(loss.node, {}) is loss.node


def test_a_run_whose_values_were_freed_is_one_node_and_the_picture_says_so() -> None:
    loss = one("numpy")
    loss.backward()
    found = viz.trace(loss)
    assert "scan" in {node.op for node in found.nodes} and "backward() has freed" in found.note


def trained(watch: bool) -> list[np.ndarray]:
    rng = tg.random.Generator(3)
    model = zoo.Synced(zoo.Stacked([zoo.LSTM(3, 4, rng=rng), zoo.GRU(4, 4, rng=rng)], dropout=0.3, rng=rng), 2, rng=rng)
    optimizer = tg.optim.Adam(model, lr=0.05)
    xs, targets = rng.fork("xs").normal((5, 2, 3)), rng.fork("ys").integers((5, 2), 0, 2)
    for _ in range(3):
        loss = tg.cross_entropy(model(xs), targets)
        if watch:
            viz.unroll(viz.trace(loss)).dot  # noqa: B018
        loss.backward()
        optimizer.step()
        for p in model.parameters():
            p.grad = None
    return [p.numpy() for p in model.parameters()]


def test_training_with_pictures_is_the_same_to_the_bit() -> None:
    for with_them, without in zip(trained(True), trained(False), strict=True):
        assert (with_them == without).all()


def test_a_model_with_inputs_is_traced_for_the_sum_of_its_outputs() -> None:
    rnn = zoo.RNN(zoo.GRU(3, 4)).astype("float64")
    x = tg.random.Generator(0).normal((3, 2, 3), dtype="float64")
    found = viz.trace(rnn, x)
    assert found.steps == [0, 1, 2] and "sum of all outputs" in found.note
    gradients = tg.grad(lambda rnn: rnn(x)[0].sum())(rnn)
    norms = sorted(float(np.linalg.norm(g.numpy())) for g in gradients.values())
    np.testing.assert_allclose(sorted(n.gradient for n in found.parameters), norms, rtol=1e-10)


@pytest.mark.parametrize("topology", ["synced", "synced-stacked", "encoder-decoder-state", "encoder-decoder-attention"])
def test_a_problem_is_traced_step_by_step_with_its_exact_gradient(topology: str) -> None:
    problem = zoo.topology.examples.example(topology, "GRU")
    found = viz.trace(problem)
    assert found.steps == list(range(len(problem)))
    exact = tg.bptt.gradient(problem).gradients
    norms = sorted(float(np.linalg.norm(g.numpy())) for g in exact.values())
    np.testing.assert_allclose(sorted(n.gradient for n in found.parameters), norms, rtol=1e-10)


def test_arguments_beside_a_loss_or_a_problem_are_refused() -> None:
    with pytest.raises(TypeError, match="a loss that was computed already takes none"):
        viz.trace(one(False), 3)
    with pytest.raises(TypeError, match="a problem has its inputs"):
        viz.trace(zoo.topology.examples.example("synced", "GRU"), 3)


@pytest.mark.parametrize("cell", zoo.names())
@pytest.mark.parametrize("steps", [1, 4])
def test_initial_states_are_no_inputs(cell: str, steps: int) -> None:
    drawn = viz.unroll(viz.trace(Example(cell, steps=steps).build())).trace
    starts = {name for n in drawn.nodes if n.role == "state" and n.time is None for name in n.label.split(", ")}
    assert {n.label for n in drawn.nodes if n.role == "input"} == {"x"}
    assert starts <= set(zoo.registry.entry(cell).state) and starts
