"""What is done in one of several ways is decided once, kept, and the same for all of a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
import zoo
from tinygrad_rnn.scan import blas, choices, layout, threads
from tinygrad_rnn.scan.compiled import compiled_for
from tinygrad_rnn.scan.native import machine

ROOT = Path(__file__).parents[3]
NEEDS_LLVM = pytest.mark.skipif(machine.available() is not None, reason=str(machine.available()))
QUESTION = "a question 3 4"


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A process that has decided nothing, on a machine that knows nothing."""
    path = tmp_path / "cache" / "choices.json"
    monkeypatch.setattr(choices, "_file", lambda: path)
    before = dict(choices._decided)
    forget()
    yield path
    forget()
    choices._decided.update(before)


def forget() -> None:
    choices._decided.clear()
    choices.fix({})


def sleeping(seconds: float) -> Callable[[], None]:
    return lambda: time.sleep(seconds)


def never() -> None:
    raise AssertionError("measured again")


@pytest.fixture
def by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choices, "CLOCK", time.perf_counter)  # sleep takes no time of the processor


# Measuring


@pytest.mark.usefixtures("by_the_clock")
@pytest.mark.parametrize(("usual", "other", "way"), [(0.002, 0.001, "other"), (0.001, 0.002, "usual")])
def test_the_faster_way_is_taken(usual: float, other: float, way: str) -> None:
    assert choices.choose(QUESTION, {"usual": sleeping(usual), "other": sleeping(other)}, "usual") == way
    assert choices.taken()[QUESTION] == way


def test_a_way_that_is_a_little_faster_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    ways = {"usual": lambda: None, "other": lambda: None}
    monkeypatch.setattr(choices, "_seconds", lambda way: 0.95 if way is ways["other"] else 1.0)
    assert choices.choose(QUESTION, ways, "usual") == "usual"
    monkeypatch.setattr(choices, "_seconds", lambda way: 0.85 if way is ways["other"] else 1.0)
    assert choices.choose("another question", ways, "usual") == "other"


@pytest.mark.parametrize("while_", [1, choices.TURNS])
def test_a_way_that_was_fast_only_for_a_while_is_not_taken(monkeypatch: pytest.MonkeyPatch, while_: int) -> None:
    ways = {"usual": lambda: None, "other": lambda: None}
    times = iter([1.0, 0.1] * while_ + [1.0, 1.2] * 2 * choices.TURNS)
    monkeypatch.setattr(choices, "_seconds", lambda way: next(times))
    assert choices.choose(QUESTION, ways, "usual") == "usual"


def test_measuring_takes_tens_of_milliseconds() -> None:
    began = time.perf_counter()
    choices.choose(QUESTION, {"usual": sleeping(0.0005), "other": sleeping(0.0005)}, "usual")
    assert time.perf_counter() - began < 1  # 0.035 s on a machine that does nothing else


@pytest.mark.usefixtures("by_the_clock")
def test_a_question_is_asked_once_whoever_asks() -> None:
    calls = []
    ways = {"usual": lambda: calls.append(threading.get_ident()), "other": lambda: time.sleep(0.001)}
    askers = [threading.Thread(target=choices.choose, args=(QUESTION, ways, "usual")) for _ in range(4)]
    for thread in askers:
        thread.start()
    for thread in askers:
        thread.join()
    assert len(set(calls)) == 1
    assert choices.choose(QUESTION, {"usual": never, "other": never}, "usual") == "usual"


# The file of the machine


def test_the_next_process_finds_what_was_measured(file: Path) -> None:
    choices._keep(QUESTION, "other")
    assert choices.choose(QUESTION, {"usual": never, "other": never}, "usual") == "other"
    (here, kept), *others = json.loads(file.read_text()).items()
    assert kept == {QUESTION: "other"} and not others
    assert f"NumPy {np.__version__}" in here and machine.processor() in here


def test_another_machine_measures_for_itself(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    choices._keep(QUESTION, "other")
    monkeypatch.setattr(choices, "_here", lambda: "another processor")
    ways = {"usual": lambda: None, "other": sleeping(0.001)}
    monkeypatch.setattr(choices, "CLOCK", time.perf_counter)
    assert choices.choose(QUESTION, ways, "usual") == "usual"
    assert sorted(json.loads(file.read_text())["another processor"]) == [QUESTION]
    assert len(json.loads(file.read_text())) == 2


DAMAGED = ["", "{", "[]", '{"a": 1}', '"text"', "\0\0", "{}"]


@pytest.mark.parametrize("content", DAMAGED)
@pytest.mark.usefixtures("by_the_clock")
def test_a_damaged_file_costs_a_measurement_and_is_mended(file: Path, content: str) -> None:
    file.parent.mkdir()
    file.write_text(content)
    assert choices.choose(QUESTION, {"usual": sleeping(0.001), "other": lambda: None}, "usual") == "other"
    forget()
    assert choices.choose(QUESTION, {"usual": never, "other": never}, "usual") == "other"


def test_an_unknown_way_in_the_file_is_measured_anew(file: Path) -> None:
    choices._keep(QUESTION, "a way of another version")
    assert choices.choose(QUESTION, {"usual": lambda: None, "other": sleeping(0.001)}, "usual") == "usual"
    assert json.loads(file.read_text())[choices._here()] == {QUESTION: "usual"}


def test_a_folder_that_cannot_be_written_costs_time_alone(file: Path) -> None:
    file.parent.write_text("a file is in its place")
    assert choices.choose(QUESTION, {"usual": lambda: None, "other": sleeping(0.001)}, "usual") == "usual"
    assert choices.choose(QUESTION, {"usual": never, "other": never}, "usual") == "usual"


# What a run began with


def test_a_run_goes_on_as_it_began_whatever_was_decided_since(file: Path) -> None:
    choices._keep(QUESTION, "usual")
    assert choices.choose(QUESTION, {"usual": never, "other": never}, "usual") == "usual"
    before = choices.epoch()
    choices.fix({QUESTION: "other", "not asked yet": "x"})
    assert choices.epoch() != before
    assert choices.choose(QUESTION, {"usual": never, "other": never}, "usual") == "other"
    assert choices.taken() == {QUESTION: "other", "not asked yet": "x"}
    assert json.loads(file.read_text())[choices._here()] == {QUESTION: "usual"}  # the machine's answer stays
    choices.fix({})
    assert choices.choose(QUESTION, {"usual": never, "other": never}, "usual") == "usual"


def test_a_run_that_agrees_with_what_was_taken_keeps_what_is_compiled() -> None:
    choices.note(QUESTION, "llvm")
    before = choices.epoch()
    choices.fix({QUESTION: "llvm"})
    choices.fix({})
    assert choices.epoch() == before


def test_a_way_that_is_gone_is_an_error_not_another_way() -> None:
    choices.fix({QUESTION: "cuda"})
    with pytest.raises(choices.Unavailable, match=r"began with 'cuda' for 'a question 3 4', here there is 'a' or 'b'"):
        choices.choose(QUESTION, {"a": never, "b": never}, "a")


# Executors


def numbers(*shape: int, seed: int = 0, dtype: str = "float64") -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


W = tg.tensor(numbers(5, 5))


def step(h: Any, x: Any) -> Any:
    return tg.tanh(x + h @ W), h


def scanned(batch: int = 3) -> str:
    """The executor that takes the step by default."""
    h, x = tg.zeros((batch, 5), dtype="float64"), tg.tensor(numbers(4, batch, 5))
    last, _ = tg.scan(step, h, x)
    np.testing.assert_allclose(last.numpy(), tg.scan(step, h, x, compile=False)[0].numpy(), rtol=1e-12)
    compiled, _ = compiled_for(step, [h], tg.tree.flatten(h)[1], [x], tg.tree.flatten(x)[1], "auto")
    return compiled.plan.name


@NEEDS_LLVM
def test_the_executor_of_a_step_is_decided_and_noted_once_for_all_batch_sizes() -> None:
    before = set(choices.taken())
    assert scanned() == scanned(batch=7) == "llvm"
    made = {question: way for question, way in choices.taken().items() if question not in before}
    assert list(made.values()) == ["llvm"] and all(question.startswith("executor ") for question in made)


@NEEDS_LLVM
def test_a_run_goes_on_with_its_executor_though_a_better_one_is_here() -> None:
    scanned()
    question = next(iter(choices.taken()))
    choices.fix({question: "numpy"})
    assert scanned() == "numpy"
    choices.fix({question: "eager"})
    with pytest.raises(ValueError, match="began with the plain loop"):
        scanned()
    assert np.isfinite(tg.scan(step, tg.zeros((3, 5), dtype="float64"), tg.tensor(numbers(4, 3, 5)))[0].numpy()).all()
    choices.fix({})
    assert scanned() == "llvm"


PROGRAM = """
import numpy as np, tinygrad_rnn as tg
from tinygrad_rnn.scan import choices, threads
W = tg.tensor(np.eye(5))
choices.fix({fixed})
tg.scan(lambda h, x: (tg.tanh(x + h @ W), h), tg.tensor(np.zeros((3, 5))), tg.tensor(np.ones((4, 3, 5))))
print(choices.taken())
"""


def process(fixed: dict[str, str], **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM.format(fixed=fixed)]
    changed = {k: v for k, v in os.environ.items() if k != "NUMBA_DISABLE_JIT"} | environment
    return subprocess.run(command, cwd=ROOT, env=changed, capture_output=True, text=True, check=False)


@NEEDS_LLVM
def test_without_machine_code_a_run_that_began_with_it_says_how_to_go_on() -> None:
    began = process({})
    ways = eval(began.stdout)
    assert list(ways.values()) == ["llvm"]
    assert process({}, PYTHONHASHSEED="1").stdout == began.stdout  # the question is the same in every process
    gone = process(ways, NUMBA_DISABLE_JIT="1")
    assert gone.returncode and not gone.stdout
    message = gone.stderr.splitlines()[-1]
    assert "this run began with machine code" in message and "NUMBA_DISABLE_JIT is set" in message
    assert "Go on where llvmlite is installed" in message and "start a new run" in message
    anew = process({}, NUMBA_DISABLE_JIT="1")
    assert list(eval(anew.stdout).values()) == ["numpy"]
    assert list(eval(process(eval(anew.stdout)).stdout).values()) == ["numpy"]  # … and stays there


# Products by BLAS

T, B, I, H = 7, 9, 12, 16


def trained(rnn: zoo.RNN, lengths: list[int] | None, *, T: int = T, B: int = B) -> list[np.ndarray]:
    """Outputs, last states and all gradients."""
    dtype = str(rnn.parameters()[0].dtype)
    x = tg.tensor(numbers(T, B, rnn.input_size, seed=1, dtype=dtype), requires_grad=True)
    for p in rnn.parameters():
        p.grad = None
    ys, last = rnn(x, lengths=lengths)
    (ys * numbers(*ys.shape, seed=2, dtype=dtype)).sum().backward()
    gradients = [t.grad.numpy() for t in (x, *rnn.parameters()) if t.grad is not None]
    return [ys.numpy(), *(s.numpy() for s in tg.tree.leaves(last)), *gradients]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The products that BLAS does, from here on however small they are; asked about, ours is the answer."""
    done: list[str] = []
    for kind in (blas.Product, blas.Outer):
        original: Callable[[Any, Any], None] = kind.__call__

        def call(work: Any, run: Any, original: Callable[[Any, Any], None] = original) -> None:
            done.append(work.name)
            original(work, run)

        monkeypatch.setattr(kind, "__call__", call)
    monkeypatch.setattr(blas, "LEAST", 0)
    monkeypatch.setattr(choices, "_fastest", lambda ways, usual: usual)
    return done


def by_blas() -> None:
    """A run begins that was begun with BLAS for every product there has been."""
    choices.fix({question: "blas" for question in choices.taken() if question.startswith(("product", "outer"))})


@NEEDS_LLVM
@pytest.mark.parametrize("name", zoo.names())
def test_with_products_by_blas_a_cell_is_the_same_up_to_rounding(
    name: str, counted: list[str], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "WORTH", 1e-9)  # every turn is shared
    dtype = ("float32", "float64")[zoo.names().index(name) % 2]
    for each in ("float32", "float64") if request.config.getoption("--full-grid") else (dtype,):
        compare(name, each, counted)


def compare(name: str, dtype: str, counted: list[str]) -> None:
    cell = zoo.get(name)(I, H, rng=tg.random.Generator(0)).astype(dtype)
    kinds = (None, False), ([T, 3, 0, 1, 2, T, 5, 6, 4], True)

    def found(n: int) -> list[np.ndarray]:
        runs = [(zoo.RNN(cell, compile="llvm", reverse=reverse, threads=n), lengths) for lengths, reverse in kinds]
        return [array for rnn, lengths in runs for array in trained(rnn, lengths)]

    choices.fix({})
    counted.clear()
    ours = found(1)
    assert not counted
    by_blas()
    theirs, shared = found(1), found(2)
    assert {"product", "outer"} <= set(counted)
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    for a, b, c in zip(ours, theirs, shared, strict=True):
        assert np.linalg.norm(a - b) <= tolerance * np.linalg.norm(a)
        np.testing.assert_array_equal(b, c)


def adds(h: Any, x: Any) -> Any:
    """Two products with what is there before the loop, one added to the other, and one of a part of a bias."""
    first, second = tg.split(tg.tensor(numbers(12, seed=5)), 2)
    a = x @ tg.tensor(numbers(6, 6, seed=3)) + tg.tanh(x) @ tg.tensor(numbers(6, 6, seed=4)) + second
    return tg.tanh(a * first + h @ tg.tensor(numbers(6, 6, seed=6)).T), h


@NEEDS_LLVM
def test_sums_of_products_and_parts_of_biases_are_the_same_by_blas(counted: list[str]) -> None:
    def both(compile: str | bool) -> list[np.ndarray]:
        x = tg.tensor(numbers(T, B, 6), requires_grad=True)
        last, ys = tg.scan(adds, tg.zeros((B, 6), dtype="float64"), x, compile=compile)
        (last.sum() + (ys * ys).sum()).backward()
        return [last.numpy(), ys.numpy(), x.grad.numpy()]

    plain, ours = both(False), both("llvm")
    assert not counted
    by_blas()
    for a, b, c in zip(plain, ours, both("llvm"), strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=1e-12)
        np.testing.assert_allclose(c, a, rtol=0, atol=1e-12)
    assert counted


@NEEDS_LLVM
def test_only_large_products_are_asked_about_and_not_again_for_other_lengths() -> None:
    rnn = zoo.RNN(zoo.ElmanRNN(64, 128))
    trained(rnn, None, T=16, B=32)
    assert {question.split()[0] for question in choices.taken()} == {"executor"}
    for T in (64, 80, 127):
        trained(rnn, None, T=T, B=32)
        asked = {question for question in choices.taken() if not question.startswith("executor")}
        assert asked == {
            "product float32 2048 64 128", "product float32 2048 128 64",
            "outer float32 2048 64 128", "outer float32 2048 128 128",
        }  # fmt: skip


@NEEDS_LLVM
def test_what_is_measured_is_the_product_on_arrays_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[str] = []

    def once(ways: Any, usual: str) -> str:
        for name, way in ways.items():
            way()
            measured.append(name)
        return usual

    monkeypatch.setattr(choices, "_fastest", once)
    monkeypatch.setattr(blas, "LEAST", 0)
    cell = zoo.LSTM(I, H)
    found = trained(zoo.RNN(cell, compile="llvm"), None)
    assert measured.count("ours") == measured.count("blas") == 4
    for a, b in zip(found, trained(zoo.RNN(cell, compile=False), None), strict=True):
        assert np.linalg.norm(a - b) <= 1e-5 * np.linalg.norm(b)


@NEEDS_LLVM
def test_nothing_is_asked_in_a_run_of_sizes_that_there_have_been(monkeypatch: pytest.MonkeyPatch) -> None:
    rnn = zoo.RNN(zoo.LSTM(4, 4), compile="llvm")
    trained(rnn, None)
    for module, name in ((choices, "choose"), (choices, "note"), (layout, "by_blas")):
        monkeypatch.setattr(module, name, lambda *arguments: never())
    trained(rnn, None)
    with pytest.raises(ValueError, match="float32") as caught:  # … and of new sizes, once
        trained(rnn, None, T=T + 1)
    assert "measured again" in str(caught.value.__cause__)
