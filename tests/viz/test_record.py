"""viz.trace reads the engine's graph and its messages, and says what each value is."""

from __future__ import annotations

import cProfile
import gc
import json
import sys
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
import viz
import zoo
from viz import Trace, TraceNode
from viz.example import Example
from viz.fold import fold_cells, message_between

T, B, I, H, K = 4, 2, 3, 5, 3


class Elman:
    """h_t = tanh(x_t U + h_{t−1} W), loss ½ Σ_t ‖h_t V − l_t‖², as a plain loop; and its messages by the equations."""

    def __init__(self, device: str = "cpu", steps: int = T) -> None:
        rng = np.random.default_rng(3)
        self.arrays = {"U": (I, H), "W": (H, H), "V": (H, K), "x": (steps, B, I), "l": (steps, B, K)}
        self.arrays = {name: rng.normal(size=shape) * 0.6 for name, shape in self.arrays.items()}  # type: ignore[arg-type]
        put = {name: tg.tensor(value, device=device) for name, value in self.arrays.items()}
        self.x, self.l = put["x"], put["l"]
        self.U, self.W, self.V = (
            tg.tensor(put[name].data, requires_grad=True, name=name, device=device) for name in "UWV"
        )
        self.zero = tg.tensor(np.zeros((B, H)), device=device)
        self.steps = steps

    def loss(self) -> tg.Tensor:
        h, L = self.zero, 0.0
        for t in tg.steps(self.steps):
            h = tg.tanh(self.x[t] @ self.U + h @ self.W)
            e = h @ self.V - self.l[t]
            L = L + 0.5 * (e * e).sum()
        return L

    def messages(self) -> dict[str, Any]:
        """m_t = (δ_{t+1} ∘ (1 − h_{t+1}²)) Wᵀ with δ_t = g_t + m_t, and the gradient of W."""
        U, W, V, x, label = (self.arrays[name] for name in "UWVxl")
        hs = [np.zeros((B, H))]
        for t in range(self.steps):
            hs.append(np.tanh(x[t] @ U + hs[-1] @ W))
        m, dW, states, shares = np.zeros((B, H)), np.zeros((H, H)), {}, {}
        for t in reversed(range(self.steps)):
            g = (hs[t + 1] @ V - label[t]) @ V.T
            eps = (g + m) * (1 - hs[t + 1] ** 2)
            shares[t] = np.linalg.norm(hs[t].T @ eps)
            dW += hs[t].T @ eps
            m = eps @ W.T
            states[t - 1] = np.linalg.norm(m)  # crosses from step t to step t − 1
        return {"states": states, "shares of W": shares, "gradient of W": np.linalg.norm(dW)}


def cells(trace: Trace) -> dict[int, TraceNode]:
    """The folded cell of each step."""
    return {n.time: n for n in fold_cells(trace).nodes if n.role == "state" and n.time is not None}


def by_role(trace: Trace, time: int | None = None) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for node in trace.nodes:
        if node.time == time:
            found.setdefault(node.role, []).append(node.label or node.op)
    return found


def test_messages_of_a_plain_loop_are_those_of_the_equations(device: str) -> None:
    model = Elman(device)
    expected = model.messages()
    trace = viz.trace(model.loss())
    folded, cell = fold_cells(trace), cells(trace)
    for t in range(T - 1):
        found = message_between(folded, cell[t].id, cell[t + 1].id)
        assert found == pytest.approx(expected["states"][t], rel=1e-10)
    W = next(node for node in folded.parameters if node.label == "W")
    assert W.gradient == pytest.approx(expected["gradient of W"], rel=1e-10)
    for t in range(1, T):
        assert message_between(folded, W.id, cell[t].id) == pytest.approx(expected["shares of W"][t], rel=1e-10)


@pytest.mark.parametrize("name", zoo.names())
def test_the_message_into_a_state_is_the_gradient_of_all_later_losses(name: str) -> None:
    """What crosses from step t+1 to step t is dL/d(s_t) of the losses after t: cut there and ask the engine."""
    cell: Any = zoo.get(name)(I, H, rng=tg.random.Generator(0)).astype("float64")
    rng = np.random.default_rng(0)
    x, weight = tg.tensor(rng.normal(size=(T, B, I))), tg.tensor(rng.normal(size=(T, B, H)))

    def run(state: Any, start: int, stop: int) -> tuple[Any, tg.Tensor]:
        L = tg.tensor(np.zeros(()))
        for t in range(start, stop):
            with tg.scope("time", index=t):
                y, state = cell(x[t], state)
                L = L + (y * weight[t]).sum()
        return state, L

    trace = viz.trace(run(cell.init_state(B, dtype="float64"), 0, T)[1])
    folded, at = fold_cells(trace), cells(trace)
    assert sorted(at) == list(range(T))
    for t in range(T - 1):
        with tg.no_grad():
            state, _ = run(cell.init_state(B, dtype="float64"), 0, t + 1)
        gradient = tg.grad(lambda s, t=t: run(s, t + 1, T)[1])(state)
        parts = [np.linalg.norm(part.numpy()) for part in gradient]
        assert message_between(folded, at[t].id, at[t + 1].id) == pytest.approx(np.linalg.norm(parts), rel=1e-10)
        crossing = [e.message for e in folded.edges if (e.source, e.target) == (at[t].id, at[t + 1].id)]
        np.testing.assert_allclose(sorted(filter(None, crossing)), sorted(filter(None, parts)), rtol=1e-10)


def test_the_messages_into_any_value_add_up_to_its_gradient() -> None:
    model = Elman()
    trace = viz.trace(model.loss(), values=True)
    L = model.loss()
    L.backward()
    for parameter in (model.U, model.W, model.V):
        node = next(node for node in trace.parameters if node.label == parameter.name)
        total = sum(edge.value for edge in trace.edges if edge.source == node.id)
        np.testing.assert_allclose(total, parameter.grad.numpy(), rtol=1e-10)
        assert node.gradient == pytest.approx(np.linalg.norm(parameter.grad.numpy()), rel=1e-10)


def test_a_plain_loop_is_drawn_as_steps_with_inputs_states_outputs_and_losses() -> None:
    model = Elman()
    trace = viz.trace(model.loss)
    assert trace.steps == list(range(T))
    assert [node.label for node in trace.parameters] == ["U", "W", "V"]
    assert set(trace.uses.values()) == {T}
    for t in range(T):
        roles = by_role(trace, t)
        assert roles["state"] == ["h"] and roles["input"] == ["x"]
        assert "L" in roles["loss"] and "e" in roles["output"]
    assert by_role(trace)["state"] == ["h"]  # the initial one


def test_a_loss_alone_is_read_like_the_function_but_for_names() -> None:
    model = Elman()
    one, other = viz.trace(model.loss()), viz.trace(model.loss)
    assert [(n.op, n.role, n.time) for n in one.nodes] == [(n.op, n.role, n.time) for n in other.nodes]
    assert [e.message for e in one.edges] == pytest.approx([e.message for e in other.edges])


def test_labels_are_the_local_variables_of_the_step() -> None:
    trace = viz.trace(Example(cell="LSTM", steps=3).build())
    for t in range(3):
        labels = {node.label for node in trace.nodes if node.time == t and node.cell == "LSTM"}
        assert {"i", "f", "g", "o", "c", "h"} <= labels


def test_an_earlier_profile_hook_goes_on_and_comes_back() -> None:
    heard: list[str] = []

    def hook(frame: Any, event: str, argument: Any) -> None:
        if event == "return":
            heard.append(frame.f_code.co_name)

    before = sys.getprofile()
    sys.setprofile(hook)
    try:
        viz.trace(Elman().loss)
        assert sys.getprofile() is hook
    finally:
        sys.setprofile(before)
    assert "loss" in heard
    with pytest.raises(ZeroDivisionError):
        viz.trace(lambda: 1 / 0)
    assert sys.getprofile() is before


def test_a_profile_that_is_being_taken_goes_on_after_a_trace() -> None:
    profile = cProfile.Profile()
    profile.enable()
    try:
        viz.trace(Elman().loss)
        json.dumps({})
    finally:
        profile.disable()
    profile.create_stats()
    assert any(name == "dumps" for _, _, name in profile.stats)  # type: ignore[attr-defined]


def test_statistics_are_those_of_the_values() -> None:
    def loss() -> tg.Tensor:
        h = tg.tanh(tg.tensor([[1.0, -2.0]]) @ tg.tensor(np.eye(2, dtype="float32"), requires_grad=True, name="W"))
        return h.sum()

    node = next(node for node in viz.trace(loss).nodes if node.label == "h")
    h = np.tanh(np.array([1.0, -2.0], "float32")).astype("float64")
    expected = {"mean": h.mean(), "std": h.std(), "norm": np.linalg.norm(h), "min": h.min(), "max": h.max()}
    assert node.stats == pytest.approx(expected)


def test_tracing_leaves_gradients_and_the_graph_as_they_were() -> None:
    model = Elman()
    L = model.loss()
    viz.trace(L)
    assert model.W.grad is None
    L.backward()  # nothing was freed
    first = model.W.grad.numpy().copy()
    viz.trace(model.loss)
    np.testing.assert_array_equal(model.W.grad.numpy(), first)


def test_a_graph_that_backward_freed_is_drawn_without_messages_and_says_so() -> None:
    L = Elman().loss()
    full = viz.trace(L)
    L.backward()
    bare = viz.trace(L)
    assert [(e.source, e.target) for e in bare.edges if e.message is not None] == []
    assert len(bare.edges) >= len(full.edges) - 2 * T  # constants that only the freed arrays told of
    assert "retain_graph=True" in bare.note
    assert "retain_graph=True" in viz.unroll(bare).dot


def test_a_detached_state_is_a_cut_without_a_message() -> None:
    trace = viz.trace(Example(steps=6, truncate=2).build())
    folded = fold_cells(trace)
    times = {node.id: node.time for node in folded.nodes}
    assert sorted((times[e.source], times[e.target], e.label) for e in folded.cuts) == [
        (1, 2, "c"), (1, 2, "h"), (3, 4, "c"), (3, 4, "h"),
    ]  # fmt: skip
    assert all(edge.message is None for edge in trace.cuts)
    assert all(node.op != "cut" for node in trace.nodes)


def test_a_past_that_is_gone_leaves_an_initial_state() -> None:
    cell: Any = zoo.LSTM(I, H, rng=tg.random.Generator(0))
    x = tg.tensor(np.ones((2, B, I), "float32"))

    def chunk(state: Any) -> tuple[tg.Tensor, Any]:
        L = tg.tensor(0.0)
        for t in tg.steps(2):
            y, state = cell(x[t], state)
            L = L + y.sum()
        return L, tg.tree.map(tg.detach, state)

    state = chunk(cell.init_state(B))[1]
    trace = viz.trace(chunk, state)
    assert sorted(by_role(trace)["state"]) == ["c", "h"] and trace.cuts == []
    assert trace.steps == [0, 1]


def test_chunks_that_count_from_zero_again_follow_each_other_in_time() -> None:
    cell: Any = zoo.GRU(I, H, rng=tg.random.Generator(0))
    x = tg.tensor(np.ones((6, B, I), "float32"))

    def loss(state: Any, xs: tg.Tensor) -> tuple[tg.Tensor, Any]:
        L = tg.tensor(0.0)
        for t in tg.steps(len(xs)):
            y, state = cell(xs[t], state)
            L = L + y.sum()
        return L, state

    def total() -> tg.Tensor:
        return sum((L for L, _ in tg.bptt.truncated(loss, cell.init_state(B), x, chunk=2)), tg.tensor(0.0))

    trace = viz.trace(total)
    assert trace.steps == list(range(6))
    folded = fold_cells(trace)
    time = {node.id: node.time for node in folded.nodes}
    assert sorted((time[e.source], time[e.target]) for e in folded.cuts) == [(1, 2), (3, 4)]


def test_a_second_loop_over_the_same_steps_stays_in_their_columns() -> None:
    W, V = (tg.tensor(np.eye(H) * 0.5, requires_grad=True, name=name) for name in "WV")

    def loss() -> tg.Tensor:
        h, states = tg.tensor(np.ones((B, H))), []
        for _ in tg.steps(T):
            h = tg.tanh(h @ W)
            states.append(h)
        L = tg.tensor(0.0, dtype="float64")
        for t in tg.steps(T):
            L = L + (states[t] @ V).sum()
        return L

    trace = viz.trace(loss)
    assert trace.steps == list(range(T))
    assert all({"state", "output", "loss"} <= by_role(trace, t).keys() for t in range(T))


def test_a_decoder_stands_right_of_its_encoder() -> None:
    class Pair(tg.nn.Module):
        def __init__(self) -> None:
            self.encoder, self.decoder = zoo.RNN(zoo.GRU(I, H)), zoo.RNN(zoo.GRU(I, H))

        def forward(self, x: tg.Tensor) -> tg.Tensor:
            _, state = self.encoder(x)
            return self.decoder(x[:3], state)[0].sum()

    trace = viz.trace(Pair(), tg.tensor(np.ones((T, B, I), "float32")))
    lanes = {(node.layer, node.time) for node in trace.nodes if node.cell and node.time is not None}
    assert lanes == {("encoder", t) for t in range(T)} | {("decoder", T + t) for t in range(3)}
    folded = fold_cells(trace)
    node = {n.id: n for n in folded.nodes}
    layers = [(node[e.source].layer, node[e.target].layer, e.message) for e in folded.edges]
    handed = [message for one, other, message in layers if (one, other) == ("encoder", "decoder")]
    assert len(handed) == 1 and handed[0] > 0  # the one message from the decoder to the encoder


def test_what_the_last_state_alone_leads_to_stands_in_its_column() -> None:
    model = Elman()

    def loss() -> tg.Tensor:
        h = model.zero
        for t in tg.steps(T):
            h = tg.tanh(model.x[t] @ model.U + h @ model.W)
        y = h @ model.V
        return (y * y).sum()

    roles = by_role(viz.trace(loss), T - 1)
    assert "y" in roles["output"] and roles["loss"] == ["sum"]
    assert "output" not in by_role(viz.trace(loss), T - 2)


def test_layers_and_directions_come_from_the_tags() -> None:
    trace = viz.trace(Example(layers=2, bidirectional=True, steps=3).build())
    lanes = {(node.layer, node.direction) for node in trace.nodes if node.cell}
    assert lanes == {(layer, direction) for layer in (0, 1) for direction in ("forward", "reverse")}
    folded = fold_cells(trace)
    node = {n.id: n for n in folded.nodes}
    carried = [(node[e.source], node[e.target]) for e in folded.edges if e.label == "h" and e.message is not None]
    moves: dict[str | None, set[int]] = {}
    for a, b in carried:
        if a.time is not None and b.time not in (None, a.time):
            moves.setdefault(a.direction, set()).add(b.time - a.time)
    assert moves == {"forward": {1}, "reverse": {-1}}


def test_a_stack_that_is_unstacked_again_is_seen_through() -> None:
    layers = zoo.Stacked([zoo.GRU(I, H), zoo.GRU(H, H)])
    trace = viz.trace(lambda: layers(tg.tensor(np.ones((T, B, I), "float32")))[0].sum())
    assert sum(node.op == "stack" for node in trace.nodes) == 1  # the outputs of the last layer
    assert not any(node.op == "unstack" for node in trace.nodes)
    node = {n.id: n for n in trace.nodes}
    up = [(node[e.source].time, node[e.target].time) for e in trace.edges
          if (node[e.source].layer, node[e.target].layer) == (0, 1)]  # fmt: skip
    assert sorted(up) == [(t, t) for t in range(T)]


@pytest.mark.parametrize("compile", ["auto", "numpy", "llvm"])
def test_a_model_that_runs_compiled_is_drawn_as_its_plain_loop(compile: str) -> None:
    xs = tg.tensor(np.ones((T, B, I), "float32"))
    pictures = []
    for how in (compile, False):
        model = zoo.RNN(zoo.GRU(I, H, rng=tg.random.Generator(0)), compile=how)
        assert (model(xs)[0].node.op.name == "pick") == (how is not False)  # one of the outputs of one node
        trace = viz.trace(lambda model=model: (model(xs)[0] ** 2).sum())
        pictures.append([(node.op, node.role, node.label, node.time) for node in trace.nodes])
        assert trace.steps == list(range(T))
    assert pictures[0] == pictures[1]


@pytest.mark.parametrize("level", ["cell", "op"])
@pytest.mark.parametrize(
    "options",
    [
        {}, {"cell": "gru"}, {"cell": "ElmanRNN", "loss": "last"}, {"layers": 2, "truncate": 2},
        {"bidirectional": True}, {"layers": 2, "bidirectional": True}, {"steps": 1}, {"steps": 2},
    ],
    ids=str,
)  # fmt: skip
def test_every_column_of_an_example_is_a_step_and_every_parameter_stands_once(options: dict, level: str) -> None:
    example = Example(**({"steps": 4, "hidden": 3} | options))
    picture = viz.unroll(viz.trace(example.build()), level=level)  # type: ignore[arg-type]
    assert picture.trace.steps == list(range(example.steps))
    labels = [node.label for node in picture.trace.parameters]
    assert len(set(labels)) == len(labels) and "head/weight" in labels
    uses = picture.trace.uses
    assert {uses[n.id] for n in picture.trace.parameters if n.label.startswith("rnn")} == {example.steps}
    assert json.loads(picture.trace.to_json())["level"] == level
    assert f"t = {example.steps - 1}" in picture.dot


def test_attention_over_all_steps_of_a_loop_is_drawn() -> None:
    W = tg.tensor(np.eye(H), requires_grad=True, name="W")

    def loss() -> tg.Tensor:
        h, states = tg.tensor(np.ones((B, H))), []
        for _ in tg.steps(T):
            h = tg.tanh(h @ W)
            states.append(h)
        memory = tg.stack(states)
        out = tg.tensor(0.0)
        for t in tg.steps(T):
            with tg.scope("cell", "Reader", layer="decoder"):
                read = (memory * memory[t]).sum()
            out = out + read
        return out

    trace = viz.trace(loss)
    for level in ("cell", "op"):
        assert "Reader" in viz.unroll(trace, level=level).dot  # type: ignore[arg-type]


def test_a_vector_needs_a_cotangent() -> None:
    y = tg.tanh(tg.tensor([1.0, 2.0], requires_grad=True))
    with pytest.raises(ValueError, match=r"shape \(2,\), not that of a scalar"):
        viz.trace(y)
    with pytest.raises(ValueError, match=r"cotangent has shape \(3,\), the output \(2,\)"):
        viz.trace(y, cotangent=[1.0, 2.0, 3.0])
    trace = viz.trace(y, cotangent=[3.0, 4.0])
    slope = 1 - np.tanh([1.0, 2.0]) ** 2
    assert trace.edges[0].message == pytest.approx(np.linalg.norm(slope * [3.0, 4.0]), rel=1e-6)


def test_a_complex_cotangent_gives_the_messages_of_backward() -> None:
    z = tg.tensor(np.array([1 + 2j, 3 - 1j]), requires_grad=True)
    cotangent = np.array([1j, 2.0])
    y = z * z
    trace = viz.trace(y, cotangent=cotangent, values=True)
    y.backward(tg.tensor(cotangent))
    np.testing.assert_allclose(sum(e.value for e in trace.edges), z.grad.numpy(), rtol=1e-12)


WITHOUT_GRADIENT = {"number": lambda: 3.0, "constant": lambda: tg.tensor(1.0), "int": 5, "Tensor": tg.tensor(2.0)}


@pytest.mark.parametrize("what", WITHOUT_GRADIENT.values(), ids=WITHOUT_GRADIENT)
def test_what_has_no_gradient_is_refused(what: Any) -> None:
    with pytest.raises(TypeError, match="needs a Tensor that gradients pass through"):
        viz.trace(what)


def test_arguments_go_to_functions_only() -> None:
    with pytest.raises(TypeError, match="arguments are for a function"):
        viz.trace(Elman().loss(), 3)


def test_tracing_leaves_no_garbage_for_the_collector_to_find_while_a_picture_is_drawn() -> None:
    loss = Example(cell="LSTM", steps=6).build()
    viz.trace(loss)
    gc.collect()
    kept = viz.trace(loss)
    assert gc.collect() == 0 and kept.length == 6
