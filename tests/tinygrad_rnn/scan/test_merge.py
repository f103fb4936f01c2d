"""Gates with matrices of their own run as one product, and compute what they say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.tinygrad_rnn.scan.cases import B, Case, D, H, T, alike, numbers
from tinygrad_rnn.scan.explain import explain
from tinygrad_rnn.scan.graph import simplified
from tinygrad_rnn.scan.merge import merged
from tinygrad_rnn.scan.native.machine import available
from tinygrad_rnn.scan.rows import batch_axes
from tinygrad_rnn.scan.trace import trace

GATES = "ifgo"


def weights(*gates: str, bias: bool = True) -> dict[str, np.ndarray]:
    made = {}
    for i, g in enumerate(gates):
        made |= {f"W{g}": numbers(D, H, seed=i) / 2, f"U{g}": numbers(H, H, seed=10 + i) / 3}
        if bias:
            made[f"b{g}"] = numbers(H, seed=20 + i)
    return made


def lstm(p: Any, s: Any, x: Any) -> Any:
    h, c = s
    i, f, g, o = (x @ p[f"W{k}"] + h @ p[f"U{k}"] + p[f"b{k}"] for k in GATES)
    c = tg.sigmoid(f) * c + tg.sigmoid(i) * tg.tanh(g)
    h = tg.sigmoid(o) * tg.tanh(c)
    return (h, c), h


def gru(p: Any, h: Any, x: Any) -> Any:
    r = tg.sigmoid(x @ p["Wr"] + h @ p["Ur"])
    z = tg.sigmoid(h @ p["Uz"] + x @ p["Wz"])  # the other way round
    n = tg.tanh(x @ p["Wn"] + (r * h) @ p["Un"])
    h = (1 - z) * h + z * n
    return h, h


def peepholes(p: Any, s: Any, x: Any) -> Any:
    h, c = s
    i = tg.sigmoid(x @ p["Wi"] + h @ p["Ui"] + p["pi"] * c + p["bi"])
    f = tg.sigmoid(p["pf"] * c + (p["bf"] + x @ p["Wf"]) + h @ p["Uf"])
    g = tg.tanh(x @ p["Wg"] + h @ p["Ug"] + p["bg"])
    c = f * c + i * g
    return (tg.tanh(c), c), f


def widths(p: Any, h: Any, x: Any) -> Any:
    wide, narrow = x @ p["wide"], tg.sigmoid(x @ p["narrow"])
    new = tg.tanh(wide * narrow + h @ p["U"])
    return new, (wide, h @ p["V"])


def tied(p: Any, h: Any, x: Any) -> Any:
    a, b = h @ p["U"] + x, (h @ p["U"].T) * x
    h = tg.tanh(a) * tg.sigmoid(b) + tg.tanh(x @ p["W"] + h @ p["M"]) - tg.tanh(x @ (p["W"] * 2) + h @ p["N"])
    return h, h


def read_twice(p: Any, h: Any, x: Any) -> Any:
    a = h @ p["U"]
    h = tg.tanh(a + x @ p["W"]) + tg.tanh(h @ p["V"] + x @ p["X"]) * a
    return h, a


def frozen(p: Any, h: Any, x: Any) -> Any:
    fixed = tg.tensor(numbers(H, H, seed=7) / 3)
    h = tg.tanh(h @ p["U"] + x) * tg.sigmoid(h @ fixed - x)
    return h, h


h0, x, wide = numbers(B, H), numbers(T, B, D, seed=1), numbers(T, B, H, seed=2)
# Each with the sizes of the products of one step forward, N of M × K × N, when gates are merged.
CASES: dict[str, tuple[Case, list[int]]] = {
    "an LSTM": (Case(lstm, weights(*GATES), (h0, h0 / 2), x), [4 * H, 4 * H]),
    "a GRU": (Case(gru, weights("r", "z", "n", bias=False), h0, x), [H, H, 2 * H, 2 * H]),
    "peepholes": (
        Case(peepholes, weights("i", "f", "g") | {"pi": numbers(H), "pf": numbers(H)}, (h0, h0 / 2), x),
        [3 * H, 3 * H],
    ),
    "gates of two widths": (
        Case(
            widths, {"wide": numbers(D, H), "narrow": numbers(D, 1), "U": numbers(H, H) / 3, "V": numbers(H, 2)}, h0, x
        ),
        [H + 1, H + 2],
    ),
    "a matrix in two gates": (
        Case(tied, {"U": numbers(H, H) / 3, "W": numbers(H, H), "M": numbers(H, H) / 4, "N": numbers(H, H) / 5},
             h0, wide),
        [2 * H, 2 * H, 2 * H],
    ),
    "a product that is read twice": (
        Case(read_twice, {"U": numbers(H, H) / 3, "W": numbers(D, H), "V": numbers(H, H) / 4, "X": numbers(D, H)},
             h0, x),
        [H, H, H, H],
    ),
    "a matrix that does not learn": (Case(frozen, {"U": numbers(H, H) / 3}, h0, wide), [2 * H]),
}  # fmt: skip
EVERY_CASE = pytest.mark.parametrize("kind", CASES)
EVERY_EXECUTOR = pytest.mark.parametrize(
    "executor",
    ["numpy", pytest.param("llvm", marks=pytest.mark.skipif(bool(available()), reason="no llvmlite"))],
)


def graph_of(case: Case) -> Any:
    captured, init, xs = (tg.tree.map(lambda a: tg.tensor(a, requires_grad=True), t) for t in
                          (case.captured, case.init, case.xs))  # fmt: skip
    return simplified(trace(lambda c, x: case.step(captured, c, x), init, tg.tree.map(lambda t: t[0], xs)))


def widths_of_products(graph: Any) -> list[int]:
    own = graph.values[: graph.backward_from]
    return sorted(v.shape[1] for v in own if v.name == "matmul")


@EVERY_CASE
def test_sums_of_the_same_operands_become_one(kind: str) -> None:
    case, wanted = CASES[kind]
    graph = graph_of(case)
    assert widths_of_products(merged(graph, batch_axes(graph))) == wanted


@EVERY_CASE
@EVERY_EXECUTOR
@pytest.mark.parametrize("options", [{}, {"lengths": [2, T, 0], "reverse": True}], ids=["full", "lengths"])
def test_merged_gates_compute_what_the_plain_loop_does(kind: str, executor: str, options: dict[str, Any]) -> None:
    case, _ = CASES[kind]
    alike(case.run(executor, **options), case.run(False, **options))
    if executor == "llvm":
        alike(case.run(executor, threads=2, **options), case.run(executor, **options), 0.0)


@EVERY_CASE
def test_the_step_itself_stays_as_it_is_written(kind: str) -> None:
    case, _ = CASES[kind]
    graph = graph_of(case)
    before = str(graph)
    run = merged(graph, batch_axes(graph))
    assert str(graph) == before
    assert [v.shape for v in run.invariants()] == [v.shape for v in graph.invariants()]
    assert len(run.gradients) == len(graph.gradients)


def test_a_step_with_nothing_to_merge_is_left_alone() -> None:
    graph = graph_of(CASES["a product that is read twice"][0])
    assert merged(graph, batch_axes(graph)) is graph


@EVERY_EXECUTOR
def test_each_gradient_is_an_array_of_its_own(executor: str) -> None:
    case, _ = CASES["an LSTM"]
    p = {k: tg.tensor(v, requires_grad=True) for k, v in case.captured.items()}
    _, ys = tg.scan(lambda s, x: lstm(p, s, x), tuple(map(tg.tensor, case.init)), tg.tensor(x), compile=executor)
    ys.sum().backward()
    gradients = [t.grad.data for t in p.values() if t.grad is not None]
    assert len(gradients) == len(p) and all(g.flags.owndata and g.flags.c_contiguous for g in gradients)
    gradients[0][:] = 0
    assert all(np.any(g) for g in gradients[1:])


@EVERY_EXECUTOR
def test_only_the_gradients_that_are_wanted_are_made(executor: str) -> None:
    case, _ = CASES["an LSTM"]
    every, some = case.run(executor), dict[str, np.ndarray]()
    p = {k: tg.tensor(v, requires_grad=k in ("Uf", "bo")) for k, v in case.captured.items()}
    last, ys = tg.scan(lambda s, x: lstm(p, s, x), tuple(map(tg.tensor, case.init)), tg.tensor(x), compile=executor)
    loss = sum(((t * numbers(*t.shape, seed=i + 1)).sum() for i, t in enumerate((*last, ys))), start=tg.tensor(0.0))
    loss.backward()
    for i, (k, t) in enumerate(p.items()):
        if t.grad is not None:
            some[k] = t.grad.numpy()
            np.testing.assert_allclose(some[k], every[f"gradient {i}"], rtol=0, atol=1e-12)
    assert some.keys() == {"Uf", "bo"}


@EVERY_EXECUTOR
def test_what_is_said_of_it_names_the_matrices_and_the_gates(executor: str) -> None:
    case, _ = CASES["an LSTM"]
    p = {k: tg.tensor(v, requires_grad=True, name=k) for k, v in case.captured.items()}

    def step(s: Any, x: Any) -> Any:
        h, c = s
        i = tg.sigmoid(x @ p["Wi"] + h @ p["Ui"] + p["bi"])
        f = tg.sigmoid(x @ p["Wf"] + h @ p["Uf"] + p["bf"])
        c = f * c + i
        return (tg.tanh(c), c), f

    text = explain(step, tuple(map(tg.tensor, case.init)), tg.tensor(x), compile=executor)
    assert "[Wi Wf]" in text and "[Ui Uf]" in text and "net[i y]" in text
    assert "[∂Ui ∂Uf]" in text and "concatenate(" not in text


@pytest.mark.parametrize("name", ["Uf", "Wi", "bo"])
def test_second_derivatives_along_one_of_several_matrices_are_those_of_the_plain_loop(name: str) -> None:
    case, _ = CASES["an LSTM"]

    p = {k: tg.tensor(v) for k, v in case.captured.items()}

    def curvature(compile: Any) -> np.ndarray:
        def loss(varied: Any) -> Any:
            q = p | {name: varied}
            _, ys = tg.scan(lambda s, x: lstm(q, s, x), tuple(map(tg.tensor, case.init)), tg.tensor(x), compile=compile)
            return (ys * ys).sum()

        return tg.hvp(loss, (p[name],), (tg.tensor(numbers(*p[name].shape, seed=5)),)).numpy()

    np.testing.assert_allclose(curvature("auto"), curvature(False), rtol=1e-10)
