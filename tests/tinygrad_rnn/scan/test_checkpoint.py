"""A checkpointed scan is the scan: values, gradients, derivatives of them, from the carry every k steps."""

from __future__ import annotations

import itertools
import tracemalloc
from functools import cache
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
import zoo
from tinygrad_rnn.scan import run_llvm, threads

B, D, H = 5, 3, 4
GRID: dict[str, tuple[Any, ...]] = {
    "T": (1, 2, 7, 33),
    "checkpoint": ("sqrt", 1, 3, 8, 50),
    "lengths": (False, True),
    "reverse": (False, True),
    "initial": (False, True),  # whether it takes gradients
    "threads": (1, 2),
}
EXECUTORS = ("numpy", "llvm")
EVERY_WAY = pytest.mark.parametrize("compile", [*EXECUTORS, False])


@pytest.fixture(autouse=True)
def every_turn_is_worth_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "WORTH", 1e-9)


@cache
def pairwise() -> list[dict[str, Any]]:
    """Rows in which every two values of every two factors meet."""
    rows = [dict(zip(GRID, row, strict=True)) for row in itertools.product(*GRID.values())]
    pairs = {i: set(itertools.combinations(row.items(), 2)) for i, row in enumerate(rows)}
    missing, found = set().union(*pairs.values()), []
    while missing:
        best = max(pairs, key=lambda i: len(pairs[i] & missing))
        missing -= pairs.pop(best)
        found.append(rows[best])
    return found


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(size=shape)


def tracked(*shape: int, seed: int = 0) -> tg.Tensor:
    return tg.tensor(numbers(*shape, seed=seed), requires_grad=True)


class Scan:
    """A scan whose step captures weights and something for each row, carries two things, and has several outputs."""

    def __init__(self, T: int, *, lengths: bool = False, initial: bool = True, **options: Any) -> None:
        self.T, self.options = T, {"compile": "numpy", **options}
        self.W, self.U, self.rows = tracked(H, H, seed=1), tracked(D, H, seed=2), tracked(B, H, seed=3)
        self.xs = tracked(T, B, D, seed=4)
        self.carry = {"h": tg.tensor(numbers(B, H, seed=5), requires_grad=initial), "c": tracked(B, H, seed=6)}
        self.lengths = np.array([T, 0, (T + 1) // 2, 1, T - 1]) if lengths else None

    def leaves(self) -> dict[str, tg.Tensor]:
        found = {"W": self.W, "U": self.U, "rows": self.rows, "xs": self.xs, **self.carry}
        return {name: leaf for name, leaf in found.items() if leaf.requires_grad}

    def outputs(self, *values: Any) -> Any:
        """The last carry and the outputs, some of the leaves replaced."""
        p = dict(zip(("W", "U", "rows", "xs", "h", "c"), values or self._values(), strict=True))

        def step(s: Any, x: Any) -> Any:
            gate = tg.sigmoid(x @ p["U"] + s["h"] @ p["W"])
            c = gate * s["c"] + (1 - gate) * p["rows"]
            return {"h": tg.tanh(c) * gate, "c": c}, (c, s["h"] * 2.0, x)

        carry = {"h": p["h"], "c": p["c"]}
        return tg.scan(step, carry, p["xs"], lengths=self.lengths, **self.options)

    def _values(self) -> tuple[Any, ...]:
        return (self.W, self.U, self.rows, self.xs, *self.carry.values())

    def loss(self, *values: Any) -> tg.Tensor:
        total: Any = 0.0
        for i, t in enumerate(tg.tree.leaves(self.outputs(*values))):
            total = total + (t * t * numbers(*t.shape, seed=i)).sum()
        return total

    def results(self) -> dict[str, np.ndarray]:
        found = {f"output {i}": t.numpy() for i, t in enumerate(tg.tree.leaves(self.outputs()))}
        self.loss().backward()
        return found | {f"gradient of {name}": leaf.grad.numpy() for name, leaf in self.leaves().items()}


def alike(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray], tolerance: float = 1e-12) -> None:
    assert found.keys() == wanted.keys()
    for name, w in wanted.items():
        assert found[name].dtype == w.dtype and found[name].shape == w.shape
        np.testing.assert_allclose(found[name], w, rtol=0, atol=tolerance * np.abs(w).max(initial=0), err_msg=name)


def test_in_the_pairwise_design_every_two_values_meet() -> None:
    for (one, values), (other, others) in itertools.combinations(GRID.items(), 2):
        assert {(row[one], row[other]) for row in pairwise()} == set(itertools.product(values, others))


@EVERY_WAY
@pytest.mark.parametrize("row", pairwise(), ids=str)
def test_a_checkpointed_run_is_the_whole_run(compile: Any, row: dict[str, Any]) -> None:
    wanted = Scan(**(row | {"compile": compile, "checkpoint": None})).results()
    alike(Scan(**row, compile=compile).results(), wanted)
    if compile:
        alike(wanted, Scan(**(row | {"compile": False, "checkpoint": None})).results(), 1e-10)


@pytest.mark.parametrize("name", zoo.names())
def test_every_cell_runs_checkpointed(name: str) -> None:
    xs, found = numbers(7, B, D), []
    for checkpoint in (None, "sqrt"):
        cell = zoo.get(name)(D, H, rng=tg.random.Generator(0)).astype("float64")
        rnn = zoo.RNN(cell, initial="trainable", compile="numpy", checkpoint=checkpoint).astype("float64")
        x = tg.tensor(xs, requires_grad=True)
        ys, last = rnn(x, lengths=[7, 0, 3, 4, 6])
        weighted = [(t * numbers(*t.shape, seed=i)).sum() for i, t in enumerate(tg.tree.leaves((ys, last)))]
        sum(weighted, tg.tensor(0.0, dtype="float64")).backward()
        gradients = {path: p.grad.numpy() for path, p in rnn.named_parameters() if p.grad is not None}
        found.append({"ys": ys.numpy(), "x": x.grad.numpy(), **gradients})
    assert len(found[0]) > 2
    alike(found[1], found[0])


@pytest.mark.parametrize("compile", EXECUTORS)
def test_it_is_one_node_of_the_outer_graph(compile: str) -> None:
    run = Scan(9, compile=compile, checkpoint=2)
    _, (y, _, _) = run.outputs()
    assert [n.op.name for n in tg.Graph(y).nodes].count("scan") == 1
    assert len(tg.Graph(y).nodes) == len(run.leaves()) + 2  # scan, and the pick of y


def test_the_plain_loop_is_one_node_for_each_segment() -> None:
    _, (y, _, _) = Scan(9, compile=False, checkpoint=4).outputs()
    names = [n.op.name for n in tg.Graph(y).nodes]
    assert names.count("checkpoint") == 3 and "sigmoid" not in names


@EVERY_WAY
def test_forward_mode_and_hessian_vector_products_are_those_of_the_whole_run(compile: Any) -> None:
    found = []
    for checkpoint in (None, 2):
        run = Scan(5, compile=compile, checkpoint=checkpoint, lengths=True)
        values = run._values()
        along = [tg.tensor(numbers(*v.shape, seed=9)) for v in values]
        _, pushed = tg.jvp(run.outputs, values, along)
        curved = tg.hvp(run.loss, values, along)
        found.append({f"{i}": t.numpy() for i, t in enumerate(tg.tree.leaves((pushed, curved)))})
    alike(found[1], found[0])


@EVERY_WAY
def test_it_goes_back_twice(compile: Any) -> None:
    run = Scan(7, compile=compile, checkpoint=3)
    loss = run.loss()
    loss.backward(retain_graph=True)
    once = {name: leaf.grad.numpy().copy() for name, leaf in run.leaves().items()}
    loss.backward()
    alike({name: leaf.grad.numpy() for name, leaf in run.leaves().items()}, {k: 2 * v for k, v in once.items()})


@EVERY_WAY
def test_outputs_that_nobody_uses_and_inputs_that_take_no_gradient_are_left_out(compile: Any) -> None:
    found = []
    for checkpoint in (None, 2):
        run = Scan(5, compile=compile, checkpoint=checkpoint)
        xs = tg.tensor(run.xs.data)
        last, _ = run.outputs(run.W, run.U, run.rows, xs, run.carry["h"], run.carry["c"])
        (last["c"] * numbers(B, H)).sum().backward()
        assert xs.grad is None and run.xs.grad is None
        found.append({name: leaf.grad.numpy() for name, leaf in run.leaves().items() if leaf.grad is not None})
    assert len(found[0]) == 5
    alike(found[1], found[0])


@EVERY_WAY
def test_nan_in_the_padding_changes_no_bit(compile: Any) -> None:
    found = []
    for padding in (0.0, np.nan):
        run = Scan(7, compile=compile, checkpoint=3, lengths=True)
        run.xs.data[np.arange(7)[:, None] >= run.lengths] = padding
        found.append(run.results())
    alike(found[1], found[0], 0.0)


@pytest.mark.parametrize("compile", EXECUTORS)
def test_the_number_of_threads_changes_no_bit(compile: str) -> None:
    one, two = (Scan(7, compile=compile, checkpoint=3, threads=n).results() for n in (1, 2))
    alike(two, one, 0.0)


@EVERY_WAY
def test_xs_may_be_none(compile: Any) -> None:
    found = []
    for checkpoint in (None, 2):
        W, h = tracked(H, H), tracked(B, H, seed=1)
        last, ys = tg.scan(
            lambda h, _, W=W: ((h := tg.tanh(h @ W)), h), h, None, length=5, compile=compile, checkpoint=checkpoint
        )
        ((ys * ys).sum() + last.sum()).backward()
        found.append({"W": W.grad.numpy(), "h": h.grad.numpy(), "ys": ys.numpy()})
    alike(found[1], found[0])


def test_integers_and_masks_are_carried_and_given_out_by_the_plain_loop() -> None:
    def step(s: Any, i: Any) -> Any:
        h, seen = s
        h = tg.tanh(h + W[i])
        return (h, seen + i), (h > 0, h, i)

    ids, found = np.random.default_rng(0).integers(0, D, (7, B)), []
    for checkpoint in (None, 3):
        W = tracked(D, H)
        (h, seen), ys = tg.scan(step, (tracked(B, H), tg.tensor(ids[0])), ids, compile=False, checkpoint=checkpoint)
        ((ys[1] * ys[1]).sum() + h.sum()).backward()
        found.append({"W": W.grad.numpy(), "seen": seen.numpy(), "up": ys[0].numpy(), "i": ys[2].numpy()})
    alike({k: v.astype(float) for k, v in found[1].items()}, {k: v.astype(float) for k, v in found[0].items()})


def test_what_is_not_recorded_is_not_kept_and_gives_the_same() -> None:
    for compile in (*EXECUTORS, False):
        with tg.no_grad():
            whole, parts = (Scan(7, compile=compile, checkpoint=k).outputs() for k in (None, 3))
        for a, b in zip(tg.tree.leaves(whole), tg.tree.leaves(parts), strict=True):
            assert not b.requires_grad
            np.testing.assert_allclose(b.numpy(), a.numpy(), rtol=0, atol=1e-13)


@EVERY_WAY
def test_the_memory_is_that_of_the_carries_and_of_one_segment(compile: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    T, peaks = 900, {}
    for checkpoint in (None, "sqrt"):
        monkeypatch.setattr(run_llvm, "_idle", [])
        W, h, xs = tracked(16, 16), tracked(16, 16, seed=1), tg.tensor(numbers(T, 16, 16))
        for steps in (2, T):

            def step(h: Any, x: Any, W: Any = W) -> Any:
                h = tg.tanh(x + tg.sigmoid(h @ W) * h)
                return h, h.sum(-1)

            tracemalloc.start()
            _, ys = tg.scan(step, h, xs[:steps], compile=compile, checkpoint=checkpoint)
            ys.sum().backward()
            peaks[checkpoint] = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
    assert peaks["sqrt"] < 0.15 * peaks[None]


@pytest.mark.parametrize("checkpoint", [0, -1, "all", 2.5, True])
@EVERY_WAY
def test_a_checkpoint_that_is_none_is_refused(compile: Any, checkpoint: Any) -> None:
    with pytest.raises(ValueError, match=r'scan: checkpoint=.* is not None, "sqrt" or a number of steps'):
        Scan(3, compile=compile, checkpoint=checkpoint).outputs()


def test_outputs_built_in_different_ways_are_refused_at_their_step() -> None:
    def step(h: Any, x: Any) -> Any:
        built.append(None)
        return h, (h if len(built) <= 4 else (h, h))

    built: list[None] = []
    with pytest.raises(ValueError, match=r"scan at t=4: the step returned an output built as \(\*, \*\), but at t=0"):
        tg.scan(step, tracked(B, H), numbers(6, B, D), compile=False, checkpoint=2)
