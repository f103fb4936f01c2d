"""What is said about a compiled step, against counts made by hand and against what the step is known to be."""

import re

import pytest

import tinygrad_rnn as tg
import zoo
from tinygrad_rnn import tree
from tinygrad_rnn.scan.compiled import Compiled, compiled_for
from tinygrad_rnn.scan.explain import explain, local_derivatives
from tinygrad_rnn.scan.names import Names, assigned, paths
from tinygrad_rnn.scan.native.machine import available
from tinygrad_rnn.scan.work import PHASES, Piece, pieces

EXECUTORS = [
    pytest.param("llvm", marks=pytest.mark.skipif(bool(available()), reason="machine code is made by llvmlite")),
    "numpy",
]
T, B, I, H = 100, 32, 24, 16


def compiled(name: str, executor: str) -> tuple[Compiled, Names]:
    rnn = zoo.RNN(zoo.get(name)(I, H), compile=executor)
    leaves, structure = tree.flatten(rnn.init_state(B))
    x_leaves, x_structure = tree.flatten(tg.zeros((T, B, I)))
    made, captured = compiled_for(rnn._along, leaves, structure, x_leaves, x_structure, executor)
    return made, Names(made.plan.graph, {v: t.name for v, t in zip(made.given, captured, strict=True)})


def work(name: str, executor: str) -> dict[str, dict[str, list[Piece]]]:
    made, names = compiled(name, executor)
    return pieces(made.plan, names, T, B)


def products(found: list[Piece]) -> list[tuple[str, str]]:
    return [(p.text, p.size) for p in found if p.kind == "product"]


def text_of(name: str, executor: str) -> str:
    return zoo.RNN(zoo.get(name)(I, H), compile=executor).explain(T=T, B=B)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_an_lstm_has_one_product_in_the_loop_each_way_and_one_for_each_gradient_after_it(executor):
    found = work("LSTM", executor)
    forward, backward = found["forward"], found["backward"]
    assert [size for _, size in products(forward["before"])] == ["3,200 × 24 × 64"]
    ((text, size),) = products(forward["loop"])
    assert "hₜ₋₁ @ U" in text and size == "32 × 16 × 64"
    assert products(backward["loop"]) == [("∂hₜ₋₁ = ∂[i f g o] @ Uᵀ", "32 × 64 × 16")]
    assert products(backward["after"]) == [("∂x = ∂[i f g o] @ input/weightᵀ", "3,200 × 64 × 24")]
    sums = {p.text.split(" = ")[0]: p.size for p in backward["sums"]}
    assert sums == {"∂input/weight": "24 × 3,200 × 64", "∂U": "16 × 3,200 × 64", "∂input/bias": ""}
    assert not forward["after"] and not forward["sums"]


@pytest.mark.parametrize("executor", EXECUTORS)
def test_the_flops_of_an_lstm_are_those_counted_by_hand(executor):
    found = work("LSTM", executor)
    step = {side: sum(p.flops for p in found[side]["loop"]) for side in found}
    rest = {side: sum(p.flops for phase in PHASES if phase != "loop" for p in found[side][phase]) for side in found}
    rows, product = T * B, 2 * B * H * 4 * H
    entries = {"forward": 9, "backward": 23 + 4}  # 3 σ, 2 tanh, 3 products, a sum; the way back; 4 added to ∂b
    outside = {"forward": rows * 4 * H, "backward": 4 * 4 * H}  # + b; the sums of every eight rows
    if executor == "numpy":  # + x W is added in the loop; 10 local derivatives leave it, ∂b is one sum
        entries = {"forward": 9 + 4, "backward": 13}
        outside["backward"] = rows * (10 * H + 4 * H)
    assert step["forward"] == product + entries["forward"] * B * H
    assert step["backward"] == product + entries["backward"] * B * H
    assert rest["forward"] == 2 * rows * I * 4 * H + outside["forward"]
    assert rest["backward"] == 2 * rows * 4 * H * (I + H + I) + outside["backward"]


@pytest.mark.skipif(bool(available()), reason="machine code is made by llvmlite")
def test_the_bytes_of_an_lstm_forward_are_those_counted_by_hand():
    (product, nest) = work("LSTM", "llvm")["forward"]["loop"]
    assert product.bytes == 4 * (B * H + H * 4 * H + 2 * B * 4 * H)  # h, U, and the gates read and written
    assert nest.bytes == 4 * B * H * (5 + 7)  # four gates and c; five activations, c and h
    assert sorted(nest.ops) == sorted(3 * ["sigmoid"] + 2 * ["tanh"] + 3 * ["mul"] + ["add"])
    assert set(nest.stores) == {"sigmoid(i)", "sigmoid(f)", "tanh(g)", "sigmoid(o)", "tanh(c)", "c", "h"}


@pytest.mark.skipif(bool(available()), reason="machine code is made by llvmlite")
def test_what_an_lstm_keeps_is_said_with_its_bytes():
    (memory,) = re.findall(r"memory\n(.*?)\n\n", text_of("LSTM", "llvm"), re.S)
    assert f"{4 * (T + 1) * B * H / 1e3:.1f} kB each" in memory  # the h and c of T + 1 moments
    assert "h, c" in memory and "tanh(g)" in memory


@pytest.mark.parametrize("name", ["LSTM", "LayerNormLSTM", "SRU", "MLSTM"])
@pytest.mark.parametrize("executor", EXECUTORS)
def test_local_derivatives_are_fused_or_done_for_all_rows_at_once(name, executor):
    made, _ = compiled(name, executor)
    local, stored = local_derivatives(made.plan)
    assert local
    assert stored == (local if executor == "numpy" else [])
    said = {"llvm": "all are fused into the loop", "numpy": f"{len(local)} of them are done before the loop"}
    assert f"local derivatives: {len(local)} ops wait for no cotangent; {said[executor]}" in made.explain(T=T, B=B)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_linear_recurrence_has_no_product_in_its_loop(executor):
    found = work("SRU", executor)
    for side in found:
        assert products(found[side]["loop"]) == []
    assert products(found["forward"]["before"]) == [("[n f r …] = x @ input/weight", f"3,200 × {I} × {4 * H}")]
    share = text_of("SRU", executor).splitlines()[-2].split()[-2:]
    assert all(int(s.removesuffix("%")) < 35 for s in share)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_norms_are_reduced_in_the_loop(executor):
    found = work("LayerNormLSTM", executor)
    ops = [op for p in found["forward"]["loop"] for op in p.ops]
    assert "mean" in ops and "sqrt" in ops
    assert {p.text.split(" = ")[0] for p in found["backward"]["sums"]} >= {"∂norm_c/weight", "∂norm_h/weight", "∂U"}


@pytest.mark.skipif(bool(available()), reason="machine code is made by llvmlite")
def test_a_matrix_memory_runs_over_its_matrix_in_the_loop():
    found = work("MLSTM", "llvm")["forward"]["loop"]
    (matrix,) = [p for p in found if p.text == f"each of {H} × {H}"]
    assert "C" in matrix.stores
    # f C + (i v) k: three ops an entry, the product with q two; i k and the scale of k are made once for a row
    assert matrix.flops == B * (5 * H * H + 2 * H)


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("name", zoo.names())
def test_every_cell_is_explained_in_full(name, executor):
    text = text_of(name, executor)
    assert text.startswith(f"executor: {executor} ")
    assert max(map(len, text.splitlines())) <= 112
    for title in ("forward", "backward", "memory", "work"):
        assert re.search(rf"^{title}\b", text, re.M)
    for path, _ in zoo.get(name)(I, H).named_parameters():
        assert re.search(rf"∂{re.escape(path)}\b", text), f"the gradient of {path} is made nowhere"


def test_why_an_executor_was_not_taken_is_said_with_the_users_line():
    def step(h, x):
        return tg.tanh(h + tg.cumsum(x, axis=-1)), h

    line = step.__code__.co_firstlineno + 1
    text = explain(step, tg.zeros((3, 4)), tg.zeros((7, 3, 4)))
    assert text.startswith("executor: numpy")
    if not available():
        assert re.search(rf"not taken:\n  llvm: `cumsum` has no code for rows \(\S*test_explain.py:{line}\)", text)


def test_why_a_step_runs_eagerly_is_said_with_the_users_line():
    def step(h, x):
        return h @ tg.swapaxes(h, 0, 1) @ h + x, h

    line = step.__code__.co_firstlineno + 1
    text = " ".join(explain(step, tg.zeros((3, 3)), tg.zeros((7, 3, 3))).split())
    assert text.startswith("runs eagerly, one node for each op and step, because scan: the rows of the batch mix")
    assert f"test_explain.py:{line})" in text
    with pytest.raises(ValueError, match="the rows of the batch mix"):
        explain(step, tg.zeros((3, 3)), tg.zeros((7, 3, 3)), compile="numpy")


def test_a_step_that_looks_at_numbers_is_refused_as_by_scan():
    with pytest.raises(ValueError, match=r"use tg\.where"):
        explain(lambda h, x: (h if h.sum() > 0 else x, h), tg.zeros((3, 4)), tg.zeros((7, 3, 4)))


@pytest.mark.parametrize("executor", EXECUTORS)
def test_steps_that_share_a_plan_have_names_and_sizes_of_their_own(executor):
    def text(name: str, rows: int) -> str:
        W = tg.tensor([[0.5] * 5] * 5, requires_grad=True, name=name)
        xs = tg.zeros((7, rows, 5))
        return explain(lambda h, x: (tg.cos(h @ W) + x, h), xs[0], xs, compile=executor)

    for name, rows in (("V", 3), ("W", 17)):
        found = text(name, rows)
        assert re.search(rf"@ {name} +{rows} × 5 × 5 ", found)
        assert re.search(rf"∂{name} = carryₜ₋₁ᵀ @ ∂.* 5 × {7 * rows} × 5 ", found)


def test_an_unknown_executor_is_named():
    with pytest.raises(ValueError, match="explain: compile='jax' is not one of"):
        explain(lambda h, x: (h, x), tg.zeros((3, 4)), tg.zeros((7, 3, 4)), compile="jax")


@pytest.mark.parametrize("executor", EXECUTORS)
def test_ops_on_captured_values_alone_run_once(executor):
    W = tg.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True, name="W")

    def step(h, x):
        return tg.tanh(h @ tg.exp(W) + x), {"before": h}

    text = explain(step, {"h": tg.zeros((3, 2))}["h"], tg.zeros((7, 3, 2)), compile=executor)
    once = text.partition("in the loop")[0]
    assert re.search(r"once, on captured values alone\n +compute exp\(W\) +2 × 2\n", once)


def test_a_line_of_source_names_what_its_last_op_makes(tmp_path):
    file = tmp_path / "step.py"
    file.write_text("c = f * g\ni, f, *rest = tg.split(a, 4)\nreturn tg.tanh(c)\nh = (\n")
    assert assigned(f"{file}:1") == (["c"], "mul")
    assert assigned(f"{file}:2") == (["i", "f"], "split")
    assert assigned(f"{file}:3") == assigned(f"{file}:4") == assigned("nowhere.py:9") == ([], "")


def test_leaves_are_called_by_their_place_in_the_structure():
    structure = tree.flatten({"a": [1, (2, None)], "s": zoo.LSTM.State(3, 4)})[1]
    assert list(paths(structure)) == ["a.0", "a.1.0", "s.h", "s.c"]
