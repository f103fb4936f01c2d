"""What was compiled is found again, and never met by a step that has changed; what watches sees the plain loop."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.scan.native import machine

T, B, H = 4, 3, 5
EVERY_EXECUTOR = pytest.mark.parametrize("executor", ["numpy", "llvm"])
ROOT = Path(__file__).parents[3]


class Leaky(tg.nn.Module):
    """h ← h + dt (f(x + h U) − h), with all that a user may change."""

    def __init__(self, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        self.dt, self.f, self.nested = 0.5, tg.tanh, {"scale": [1.0]}
        self.mask = np.ones(H)
        self.U, self.V = (tg.nn.parameter(random.normal(size=(H, H)) / 2) for _ in range(2))

    def step(self, h: Any, x: Any) -> tuple[Any, Any]:
        x = x if type(x) is tg.Tensor else x["a"] - x["b"]
        h = h + self.dt * (self.f(x + h @ self.U) * self.mask - h @ self.V) * self.nested["scale"][0]
        return h, h


def series(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(T, B, H))


def run(cell: Leaky, compile: Any, xs: Any = None) -> list[np.ndarray]:
    """The values, and the gradients of the parameters and the initial state."""
    h0 = tg.tensor(series()[0], requires_grad=True)
    for t in (cell.U, cell.V):
        t.grad = None
    last, ys = tg.scan(cell.step, h0, tg.tensor(series()) if xs is None else xs, compile=compile)
    ((ys * series(2)).sum() + (last * last).sum()).backward()
    return [ys.numpy(), *(t.grad.numpy() for t in (h0, cell.U, cell.V) if t.grad is not None)]


def equal(found: list[np.ndarray], wanted: list[np.ndarray]) -> None:
    assert len(found) == len(wanted)
    for f, w in zip(found, wanted, strict=True):
        np.testing.assert_allclose(f, w, rtol=0, atol=1e-11 * max(1, abs(w).max()))


def share(cell: Leaky) -> None:
    cell.V.data = cell.U.data


CHANGES: dict[str, Any] = {
    "a number": lambda cell: setattr(cell, "dt", 0.25),
    "a number in a container": lambda cell: cell.nested["scale"].__setitem__(0, 2.0),
    "a container": lambda cell: setattr(cell, "nested", {"scale": [3.0]}),
    "the nonlinearity": lambda cell: setattr(cell, "f", tg.sigmoid),
    "an array": lambda cell: setattr(cell, "mask", np.arange(H) / H),
    "the entries of an array": lambda cell: cell.mask.__setitem__(slice(2), 0.0),
    "the values of a parameter": lambda cell: setattr(cell.U, "data", cell.U.data * 2),
    "a parameter for another": lambda cell: setattr(cell, "U", tg.nn.parameter(np.eye(H))),
    "one parameter for both": lambda cell: setattr(cell, "V", cell.U),
    "one array for two parameters": share,
    "a parameter that is frozen": lambda cell: setattr(cell.U, "requires_grad", False),
    "the step of the class": lambda cell: setattr(
        cell, "step", type("Other", (Leaky,), {"step": lambda self, h, x: (h * x, h @ self.U @ self.V)})().step
    ),
}


@pytest.mark.parametrize("kind", CHANGES)
@EVERY_EXECUTOR
def test_what_is_changed_is_seen_at_the_next_call(kind: str, executor: str) -> None:
    cell = Leaky()
    before = run(cell, executor)
    CHANGES[kind](cell)
    found = run(cell, executor)
    equal(found, run(cell, False))
    assert [f.tobytes() for f in found] != [b.tobytes() for b in before]


@pytest.mark.parametrize("kind", CHANGES)
@EVERY_EXECUTOR
def test_what_was_changed_before_the_first_call_is_seen_too(kind: str, executor: str) -> None:
    cell = Leaky()
    CHANGES[kind](cell)
    equal(run(cell, executor), run(cell, False))


@EVERY_EXECUTOR
def test_a_parameter_is_frozen_and_thawed_between_calls(executor: str) -> None:
    cell = Leaky()
    for frozen in (False, True, False, True):
        cell.U.requires_grad = not frozen
        found = run(cell, executor)
        assert (cell.U.grad is None) == frozen
        equal(found, run(cell, False))


@EVERY_EXECUTOR
def test_inputs_that_are_named_otherwise_are_another_step(executor: str) -> None:
    cell = Leaky()
    a, b = (tg.tensor(series(seed)) for seed in (3, 4))
    for xs in ({"a": a, "b": b}, {"b": a, "a": b}, {"a": b, "b": a}):
        equal(run(cell, executor, xs), run(cell, False, xs))


@EVERY_EXECUTOR
def test_a_closure_that_reads_another_number_is_another_step(executor: str) -> None:
    for k in (0.5, 0.25):
        _, ys = tg.scan(lambda h, x, k=k: (k * h + x, h), tg.tensor(series()[0]), tg.tensor(series()), compile=executor)
        _, expected = tg.scan(
            lambda h, x, k=k: (k * h + x, h), tg.tensor(series()[0]), tg.tensor(series()), compile=False
        )
        np.testing.assert_allclose(ys.numpy(), expected.numpy(), rtol=1e-13)


@EVERY_EXECUTOR
def test_an_optimizer_step_between_two_runs_needs_no_new_trace_and_is_seen(executor: str) -> None:
    cell, twin = Leaky(), Leaky()
    for each, compile in ((cell, executor), (twin, False)):
        optimizer = tg.optim.SGD(each.parameters(), lr=0.05)
        for _ in range(3):
            run(each, compile)
            optimizer.step()
    equal([cell.U.data, cell.V.data], [twin.U.data, twin.V.data])


# The folder


def recompiled(monkeypatch: Any, folder: Path) -> list[bool]:
    """A list that grows with every compilation, and a process that remembers no code."""
    calls: list[bool] = []
    compiler = machine._compile
    monkeypatch.setenv("TINYGRAD_RNN_CACHE", str(folder))
    monkeypatch.setattr(machine, "_compile", lambda source: calls.append(True) or compiler(source))
    return calls


SOURCE = """
define void @twice(ptr %p, ptr %i, ptr %s, i64 %first, i64 %last) {
  %a = load ptr, ptr %p
  %x = load double, ptr %a
  %y = fadd double %x, %x
  store double %y, ptr %a
  ret void
}
"""


def doubled() -> float:
    """What the function of SOURCE makes of 21."""
    value = np.array([21.0])
    pointers = np.array([value.ctypes.data], np.int64)
    (function,) = machine.load(machine.build(SOURCE), ["twice"])
    function(pointers.ctypes.data, None, None, 0, 1)
    return float(value[0])


def test_code_is_compiled_once_and_then_read_from_the_folder(monkeypatch: Any, tmp_path: Path) -> None:
    calls = recompiled(monkeypatch, tmp_path)
    assert doubled() == doubled() == 42 and len(calls) == 1
    assert [p.suffix for p in tmp_path.iterdir()] == [".o"]


@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[:40], lambda b: b[:-1] + bytes([b[-1] ^ 1])])
def test_a_damaged_file_is_compiled_again_and_replaced(damage: Any, monkeypatch: Any, tmp_path: Path) -> None:
    calls = recompiled(monkeypatch, tmp_path)
    doubled()
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert doubled() == 42 and len(calls) == 2
    assert path.read_bytes() == whole


def test_a_folder_that_cannot_be_written_costs_time_only(monkeypatch: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    calls = recompiled(monkeypatch, tmp_path / "file" / "cache")
    assert doubled() == doubled() == 42 and len(calls) == 2


# Without a compiler, and on watch


PROGRAM = """
import sys
import numpy as np, tinygrad_rnn as tg
from tinygrad_rnn.scan import compiled
W = tg.tensor(np.eye(3), requires_grad=True)
step = lambda h, x: (tg.tanh(x + h @ W), h)
arguments = tg.tensor(np.zeros((2, 3))), tg.tensor(np.ones((4, 2, 3)))
assert "llvmlite" not in sys.modules
ys = {c: tg.scan(step, *arguments, compile=c)[1].numpy() for c in ("auto", False)}
np.testing.assert_allclose(ys["auto"], ys[False], rtol=1e-14)
print(*[c.plan.name for c in compiled._plans.values()], "llvmlite" in sys.modules)
try:
    tg.scan(step, *arguments, compile="llvm")
except ValueError as refused:
    print(refused)
"""


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("", None),
        ("import os; os.environ['NUMBA_DISABLE_JIT'] = '1'", "NUMBA_DISABLE_JIT is set"),
        ("import sys; sys.modules['llvmlite'] = None", "llvmlite is not installed: pip install llvmlite"),
    ],
    ids=["llvmlite", "switched off", "not installed"],
)
def test_without_a_compiler_the_default_runs_on_numpy(how: str, reason: str | None) -> None:
    program = PROGRAM.replace('assert "llvmlite" not in sys.modules\n', "") if "modules" in how else PROGRAM
    environment = {k: v for k, v in os.environ.items() if k != "NUMBA_DISABLE_JIT"}
    command = [sys.executable, "-c", f"{how}\n{program}"]
    done = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    output = done.stdout.splitlines()
    if reason is None:
        assert output == ["llvm True"]
    else:
        assert output[0].startswith("numpy") and reason in output[1]


@pytest.mark.parametrize("compile", ["auto", "numpy", "llvm"])
def test_anomaly_mode_names_the_op_the_step_and_the_line_in_a_run_that_is_compiled_otherwise(compile: str) -> None:
    xs = series()
    xs[2] = -np.inf

    def step(h: Any, x: Any) -> Any:
        return tg.tanh(h + tg.exp(x) * x), h

    line = step.__code__.co_firstlineno + 1
    message = rf"NaN from `mul` at t=2, .*test_cache\.py:{line}"
    with np.errstate(invalid="ignore"):  # 0 · ∞
        assert np.isnan(tg.scan(step, tg.tensor(xs[0]), tg.tensor(xs), compile=compile)[0].numpy()).all()
        with tg.detect_anomaly(), pytest.raises(FloatingPointError, match=message):
            tg.scan(step, tg.tensor(xs[0]), tg.tensor(xs), compile=compile)


@EVERY_EXECUTOR
def test_a_listener_hears_one_message_from_a_compiled_run_to_each_of_its_arguments(executor: str) -> None:
    cell = Leaky()
    xs, h0 = tg.tensor(series(), requires_grad=True), tg.tensor(series()[0], requires_grad=True)
    heard: dict[Any, np.ndarray] = {}
    last, _ = tg.scan(cell.step, h0, xs, compile=executor)
    (last * last).sum().backward(on_message=lambda edge, m: heard.__setitem__((edge.child.op.name, edge.parent), m))
    for t in (xs, h0, cell.U, cell.V):
        message = heard["scan", t.node]
        np.testing.assert_array_equal(message.value() if hasattr(message, "value") else message, t.grad.numpy())
