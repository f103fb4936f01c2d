"""Compiled runs of every cell are its plain loop: values, states, gradients of all orders, whatever the shapes.

The rows of a pairwise design stand for the whole grid of sizes and options; ``--full-grid`` runs all of it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
import zoo
from tinygrad_rnn.scan import threads
from tinygrad_rnn.scan.native import machine

I = 5  # one of the hidden sizes too: some cells do without a projection then
GRID: dict[str, tuple[Any, ...]] = {
    "T": (1, 2, 7, 33),
    "B": (1, 3, 8, 17),
    "H": (1, 5, 16, 33),
    "initial": ("given", "zeros", "trainable"),
    "lengths": (False, True),
    "reverse": (False, True),
    "threads": (1, 2),
}
COMPILED_ANEW: dict[str, tuple[Any, ...]] = {"dtype": ("float64", "float32"), "all_states": (False, True)}
EXECUTORS = ("numpy", "llvm")
TOLERANCE = {"float64": 1e-10, "float32": 1e-5}
EVERY_CELL = pytest.mark.parametrize("name", zoo.names())
EVERY_EXECUTOR = pytest.mark.parametrize("executor", EXECUTORS)
SMALL: dict[str, Any] = {
    "T": 4, "B": 3, "H": 6, "initial": "given", "lengths": True, "reverse": False, "threads": 1,
    "dtype": "float64", "all_states": False,
}  # fmt: skip


@pytest.fixture(autouse=True)
def every_turn_is_worth_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "WORTH", 1e-9)


def product(factors: dict[str, tuple[Any, ...]]) -> Iterator[dict[str, Any]]:
    return (dict(zip(factors, row, strict=True)) for row in itertools.product(*factors.values()))


@cache
def pairwise() -> list[dict[str, Any]]:
    """Rows in which every two values of every two factors meet: the next row is the one with most pairs not met yet."""
    pairs = {tuple(row.items()): set(itertools.combinations(row.items(), 2)) for row in product(GRID)}
    missing = set().union(*pairs.values())
    rows = []
    while missing:
        best = max(pairs, key=lambda row: len(pairs[row] & missing))
        missing -= pairs.pop(best)
        rows.append(dict(best))
    return rows


def in_turn(name: str, H: int) -> dict[str, Any]:
    """What takes a compilation of its own goes in turn with the cell and H."""
    turn = zoo.names().index(name) + GRID["H"].index(H)
    return {"dtype": ("float64", "float32")[turn % 2], "all_states": turn // 2 % 2 == 1}


def rows_for(name: str, *, full: bool = False) -> Iterator[dict[str, Any]]:
    """The rows for a cell."""
    return product(GRID | COMPILED_ANEW) if full else (row | in_turn(name, row["H"]) for row in pairwise())


def small(name: str, dtype: str = "float64") -> dict[str, Any]:
    """A row of this dtype that takes no compilation of its own."""
    H, options = next((H, o) for H in (5, 16) if (o := in_turn(name, H))["dtype"] == dtype)
    return SMALL | {"H": H} | options


def test_in_the_pairwise_design_every_two_values_meet() -> None:
    for (one, values), (other, others) in itertools.combinations(GRID.items(), 2):
        assert {(row[one], row[other]) for row in pairwise()} == set(itertools.product(values, others))
    assert len(pairwise()) < 25


def test_every_dtype_meets_every_hidden_size_and_every_cell() -> None:
    met = {(name, row["H"], row["dtype"]) for name in zoo.names() for row in rows_for(name)}
    assert {(name, dtype) for name, _, dtype in met} == set(itertools.product(zoo.names(), TOLERANCE))
    assert {(H, dtype) for _, H, dtype in met} == set(itertools.product(GRID["H"], TOLERANCE))


def cell_of(name: str, H: int, dtype: str = "float64") -> zoo.Cell:
    """A cell with parameters that are not neat: no zeros, no symmetry."""
    cell = zoo.get(name)(I, H, rng=tg.random.Generator(0)).astype(dtype)
    random = np.random.default_rng(3)
    for p in cell.parameters():
        p.data = (p.data + 0.1 * random.normal(size=p.shape)).astype(dtype)
    return cell


def model_of(name: str, row: dict[str, Any], compile: Any) -> zoo.RNN:
    initial = "trainable" if row["initial"] == "trainable" else "zeros"
    options = {"reverse": row["reverse"], "compile": compile, "threads": row["threads"]}
    dtype = row["dtype"]
    model = zoo.RNN(cell_of(name, row["H"], dtype), initial=initial, **options).astype(dtype)
    random = np.random.default_rng(4)
    if model.initial is not None:
        for s in tg.tree.leaves(model.initial):
            s.data = (0.5 * random.normal(size=s.shape)).astype(dtype)
    return model


def data_of(model: Any, row: dict[str, Any], *, padding: float | None = None) -> tuple[Any, ...]:
    """xs, the state to begin with, lengths; Tensors that take gradients."""
    random = np.random.default_rng(10)  # at which every row is well conditioned: float32 loses 3e-6 at most
    T, B, dtype = row["T"], row["B"], row["dtype"]
    lengths = random.permutation(np.linspace(T, 0, B).round().astype(int)) if row["lengths"] else None
    xs = random.normal(size=(T, B, I)).astype(dtype)
    if padding is not None:
        assert lengths is not None and lengths.min() < T
        xs[np.arange(T)[:, None] >= lengths] = padding
    state = None
    if row["initial"] == "given":
        state = tg.tree.map(
            lambda s: tg.tensor((0.5 * random.normal(size=s.shape)).astype(dtype), requires_grad=True),
            model.init_state(B),
        )
    return tg.tensor(xs, requires_grad=True), state, lengths


def weighted(tree: Any, seed: int = 6) -> tg.Tensor:
    """A scalar in which every entry of every Tensor has a random weight of its own."""
    random = np.random.default_rng(seed)
    total: Any = 0.0
    for t in tg.tree.leaves(tree):
        total = total + (t * random.normal(size=t.shape).astype(t.dtype)).sum()
    return total


def results(model: Any, data: tuple[Any, ...], *, all_states: bool = False) -> dict[str, np.ndarray]:
    """Everything that a run gives, by name: outputs, states and all gradients."""
    xs, state, lengths = data
    for t in (xs, *tg.tree.leaves(state), *model.parameters()):
        t.grad = None
    ys, states = model(xs, state, lengths, all_states=all_states)
    weighted((ys, states)).backward()
    found = {"ys": ys.data, "gradient of xs": xs.grad.data}
    found |= {f"state {i}": s.data for i, s in enumerate(tg.tree.leaves(states))}
    found |= {f"gradient of state {i}": s.grad.data for i, s in enumerate(tg.tree.leaves(state))}
    found |= {f"gradient of {path}": p.grad.data for path, p in model.named_parameters() if p.grad is not None}
    return found


def differ(found: dict, wanted: dict, tolerance: float, floor: float = 0.0) -> dict[str, float]:
    """What differs by more than the tolerance times the norm, or the floor where that is larger."""
    assert found.keys() == wanted.keys()
    errors = {}
    for name, w in wanted.items():
        f = found[name]
        assert (f.shape, f.dtype) == (w.shape, w.dtype), name
        error = float(np.linalg.norm((f - w).ravel().astype("float64")))
        if not error <= tolerance * max(float(np.linalg.norm(w.ravel().astype("float64"))), floor):
            errors[name] = error / (float(np.linalg.norm(w.ravel().astype("float64"))) or 1.0)
    return errors


def same_bits(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


@lru_cache(maxsize=300)  # all pairwise rows of all cells; the whole grid would fill the memory
def by_the_loop(name: str, items: tuple[tuple[str, Any], ...]) -> dict[str, np.ndarray]:
    row = dict(items)
    model = model_of(name, row, False)
    return results(model, data_of(model, row), all_states=row["all_states"])


def rounding(name: str, row: dict[str, Any]) -> float:
    """How far the plain loop gets from itself when its inputs are changed by their own rounding, at most."""
    single, rng = by_the_loop(name, tuple(row.items())), np.random.default_rng(0)
    model, worst = model_of(name, row, False), 0.0
    xs, *rest = data_of(model, row)
    for _ in range(4):
        moved = xs.data * (1 + rng.choice([-1, 1], xs.shape) * np.finfo(xs.dtype).eps / 2).astype(xs.dtype)
        found = results(model, (tg.tensor(moved, requires_grad=True), *rest), all_states=row["all_states"])
        worst = max([worst, *differ(found, single, 0.0).values()])
    return worst


@EVERY_CELL
@EVERY_EXECUTOR
def test_a_compiled_run_is_the_plain_loop(name: str, executor: str, request: pytest.FixtureRequest) -> None:
    wrong, full = {}, request.config.getoption("--full-grid")
    for row in rows_for(name, full=full):
        alone = row | {"threads": 1}
        expected = by_the_loop(name, tuple(alone.items()))
        model = model_of(name, row, executor)
        found = results(model, data_of(model, row), all_states=row["all_states"])
        # Over one feature a layer norm is constant and its gradient 0, up to the rounding of numbers as large as the
        # cotangents, whose entries are about 1; among all rows of the grid a few more gradients cancel in float32.
        cancels = row["H"] == 1 or (full and row["dtype"] == "float32")
        floor = expected["ys"].size ** 0.5 if cancels else 0.0
        errors = differ(found, expected, TOLERANCE[row["dtype"]], floor)
        if errors and full and row["dtype"] == "float32":  # a layer norm of nearly equal numbers multiplies rounding
            own = rounding(name, alone)
            errors = {k: e for k, e in errors.items() if e > 10 * own}
        if errors:
            wrong[str(row)] = errors
    assert not wrong


# The same bits


@EVERY_CELL
@EVERY_EXECUTOR
def test_two_threads_give_the_bits_of_one_and_a_second_run_those_of_the_first(name: str, executor: str) -> None:
    row = small(name, "float32") | {"T": 7, "B": 17, "reverse": True}
    found = {}
    for n in (1, 2):
        model = model_of(name, row | {"threads": n}, executor)
        found[n] = results(model, data_of(model, row), all_states=row["all_states"])
        same_bits(results(model, data_of(model, row), all_states=row["all_states"]), found[n])
    same_bits(found[2], found[1])


@EVERY_CELL
@EVERY_EXECUTOR
def test_nan_in_the_padding_changes_no_bit(name: str, executor: str) -> None:
    row = small(name)
    model = model_of(name, row, executor)
    clean, padded = (
        results(model, data_of(model, row, padding=padding), all_states=row["all_states"]) for padding in (None, np.nan)
    )
    same_bits(padded, clean)


# Derivatives of all kinds


@EVERY_CELL
@EVERY_EXECUTOR
def test_jvps_and_hessian_vector_products_are_those_of_the_plain_loop(name: str, executor: str) -> None:
    row = small(name)

    def run(model: zoo.RNN, xs: Any, state: Any) -> Any:
        return model(xs, state, [4, 1, 3], all_states=row["all_states"])

    def squares(model: zoo.RNN, xs: Any, state: Any) -> tg.Tensor:
        return weighted(tg.tree.map(lambda t: t * t, run(model, xs, state)))

    found = []
    for compile in (executor, False):
        model = model_of(name, row, compile)
        xs, state, _ = data_of(model, row)
        random = np.random.default_rng(7)
        tangents = tg.tree.map(lambda t, r=random: tg.tensor(r.normal(size=t.shape)), (model, xs, state))
        _, pushed = tg.jvp(run, (model, xs, state), tangents)
        curved = tg.hvp(squares, (model, xs, state), tangents)
        found.append({str(i): t.data for i, t in enumerate(tg.tree.leaves((pushed, curved)))})
    assert differ(*found, 1e-10) == {}


@EVERY_EXECUTOR
def test_a_second_backward_pass_of_a_retained_graph_gives_the_first_ones_gradients(executor: str) -> None:
    model = model_of("LSTM", SMALL, executor)
    xs, state, lengths = data_of(model, SMALL)
    loss = weighted(model(xs, state, lengths))
    gradients = []
    for retain in (True, False):
        for t in (xs, *state, *model.parameters()):
            t.grad = None
        loss.backward(retain_graph=retain)
        gradients.append({str(i): t.grad.data for i, t in enumerate((xs, *state, *model.parameters()))})
    same_bits(*gradients)


@EVERY_EXECUTOR
def test_gradients_of_two_runs_add_up(executor: str) -> None:
    model = model_of("GRU", SMALL, executor)
    once = results(model, data_of(model, SMALL))
    xs, state, lengths = data_of(model, SMALL)
    for p in model.parameters():
        p.grad = None
    for _ in range(2):
        weighted(model(xs, state, lengths)).backward()
    for path, p in model.named_parameters():
        np.testing.assert_array_equal(p.grad.data, 2 * once[f"gradient of {path}"], err_msg=path)


@EVERY_EXECUTOR
@pytest.mark.parametrize("frozen", ["cell/U", "cell/input/weight", "cell/input/bias"])
def test_a_frozen_parameter_gets_no_gradient_and_changes_no_other(executor: str, frozen: str) -> None:
    model = model_of("LSTM", SMALL, executor)
    expected = results(model, data_of(model, SMALL))
    parameter = model.parameters_by_path()[frozen]
    parameter.requires_grad, parameter.grad = False, None
    found = results(model, data_of(model, SMALL))
    assert expected.keys() - found.keys() == {f"gradient of {frozen}"} and parameter.grad is None
    assert differ(found, {name: expected[name] for name in found}, 1e-14) == {}
    parameter.requires_grad = True
    same_bits(results(model, data_of(model, SMALL)), expected)


@EVERY_CELL
@EVERY_EXECUTOR
def test_without_a_graph_to_record_the_values_are_the_same(name: str, executor: str) -> None:
    row = small(name)
    model = model_of(name, row, executor)
    xs, state, lengths = data_of(model, row)
    expected = model(xs, state, lengths, all_states=row["all_states"])
    with tg.no_grad():
        found = model(xs, state, lengths, all_states=row["all_states"])
    assert not any(t.requires_grad for t in tg.tree.leaves(found))
    assert differ(*({str(i): t.data for i, t in enumerate(tg.tree.leaves(r))} for r in (found, expected)), 1e-14) == {}


def test_a_truncated_run_cuts_the_gradient_where_the_plain_loop_cuts_it() -> None:
    found = []
    for compile in (*EXECUTORS, False):
        model = model_of("LSTM", SMALL, compile)
        xs = data_of(model, SMALL | {"T": 7})[0].data

        def loss(carry: Any, xs: Any, model: zoo.RNN = model) -> tuple[tg.Tensor, Any]:
            ys, carry = model(xs, carry)
            return weighted((ys, carry)), carry

        for value, _ in tg.bptt.truncated(loss, model.init_state(SMALL["B"], dtype="float64"), xs, chunk=3):
            value.backward()
        found.append({path: p.grad.data for path, p in model.named_parameters()})
    for each in found[:-1]:
        assert differ(each, found[-1], 1e-10) == {}


# Topologies


def topologies(compile: Any) -> dict[str, Any]:
    def rnn(name: str, size: int, **options: Any) -> zoo.RNN:
        cell = zoo.get(name)(size, 4, rng=tg.random.Generator(size))
        return zoo.RNN(cell, compile=compile, **options)

    def both(size: int) -> zoo.Bidirectional:
        return zoo.Bidirectional(rnn("LSTM", size), rnn("GRU", size, reverse=True))

    return {
        "Stacked": zoo.Stacked([rnn("LSTM", I), rnn("GRU", 4)]).astype("float64"),
        "Bidirectional": both(I).astype("float64"),
        "Stacked of Bidirectional": zoo.Stacked([both(I), both(8), rnn("ElmanRNN", 8)]).astype("float64"),
    }


@EVERY_EXECUTOR
@pytest.mark.parametrize("kind", topologies(False))
@pytest.mark.parametrize("all_states", [False, True])
def test_topologies_of_compiled_cells_are_those_of_plain_loops(executor: str, kind: str, all_states: bool) -> None:
    found, expected = (
        results(model, data_of(model, SMALL), all_states=all_states)
        for model in (topologies(executor)[kind], topologies(False)[kind])
    )
    assert differ(found, expected, 1e-10) == {}


# What is compiled when


@pytest.mark.parametrize("name", ["GRU", "LayerNormLSTM", "FastWeights"])
def test_other_lengths_and_batches_compile_nothing_anew(name: str, monkeypatch: Any, tmp_path: Any) -> None:
    monkeypatch.setenv("TINYGRAD_RNN_CACHE", str(tmp_path))
    compiled = []
    compiler = machine._compile
    monkeypatch.setattr(machine, "_compile", lambda source: compiled.append(source) or compiler(source))
    first = SMALL | {"H": 7}
    model = model_of(name, first, "llvm")
    results(model, data_of(model, first))
    so_far = len(compiled)
    assert so_far > 0
    for sizes in ({"T": 9}, {"B": 1}, {"B": 5, "T": 1}, {"lengths": False}, {"initial": "zeros"}):
        results(model, data_of(model, first | sizes))
    model.reverse = True
    results(model, data_of(model, first))
    assert len(compiled) == so_far


def test_a_run_compiles_by_default_and_is_one_node() -> None:
    model = zoo.RNN(zoo.LSTM(I, 4))
    ys, _ = model(tg.ones((9, 2, I)))
    assert [node.op.name for node in tg.Graph(ys).nodes].count("scan") == 1
    assert len(tg.Graph(ys)) < 12
