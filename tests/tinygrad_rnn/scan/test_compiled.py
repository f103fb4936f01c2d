"""Any step compiles to what its plain loop computes, or is refused with the reason, or falls back to the loop."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.tinygrad_rnn.scan.cases import EXECUTORS, B, Case, D, H, S, T, alike, numbers
from tinygrad_rnn.scan.graph import Refused

EVERY_EXECUTOR = pytest.mark.parametrize("executor", EXECUTORS)


class Pair(NamedTuple):
    h: Any
    c: Any


h0, x = numbers(B, H), numbers(T, B, H, seed=1)
W, U = numbers(H, H, seed=2) / 3, numbers(D, H, seed=3)
inputs = numbers(T, B, D, seed=4)


def attends(p: Any, h: Any, x: Any) -> Any:
    """Dot attention over an encoder's output (S, B, H)."""
    weights = tg.softmax((p["memory"] * h).sum(-1), axis=0)
    read = (tg.expand_dims(weights, -1) * p["memory"]).sum(0)
    h = tg.tanh(x + (h + read) @ p["W"])
    return h, (h, weights.T)


def attends_batch_first(p: Any, h: Any, x: Any) -> Any:
    """Dot attention over an encoder's output (B, S, H), as products."""
    scores = p["memory"] @ tg.expand_dims(h @ p["W"], -1)
    weights = tg.softmax(tg.squeeze(scores, -1), axis=-1)
    read = tg.squeeze(tg.expand_dims(weights, 1) @ p["memory"], 1)
    h = tg.tanh(x + read)
    return h, (h, weights)


def fades(p: Any, h: Any, x: Any) -> Any:
    """A GRU-D like decay over a time gap, with a mask of what was observed."""
    h = h * tg.exp(-tg.softplus(p["decay"]) * x["gap"])
    seen = tg.where(x["mask"], x["value"], 0.0)
    h = tg.tanh(h @ p["W"] + seen @ p["U"])
    return h, {"h": h, "seen": seen}


def normalised(h: Any) -> Any:
    h = h - h.mean(-1, keepdims=True)
    return h / tg.sqrt((h * h).mean(-1, keepdims=True) + 1e-5)


CASES: dict[str, Case] = {
    "a product and a nonlinearity": Case(lambda W, h, x: ((h := tg.tanh(x + h @ W)), h), W, h0, x),
    "attention over (S, B, H)": Case(attends, {"memory": numbers(S, B, H), "W": W}, h0, x),
    "attention over (B, S, H)": Case(attends_batch_first, {"memory": numbers(B, S, H), "W": W}, h0, x),
    "an input, a mask and a time gap": Case(
        fades, {"W": W, "U": U, "decay": numbers(H)}, h0,
        {"value": inputs, "mask": numbers(T, B, D) > 0, "gap": abs(numbers(T, B, 1))},
    ),
    "an output made of the state before": Case(lambda c, h, x: (tg.tanh(x + h @ c[0]), h @ c[1]), [W, W[::-1]], h0, x),
    "a transposed weight": Case(lambda W, h, x: ((h := tg.tanh(x + h @ W.T)), h), W, h0, x),
    "a part of an array as bias": Case(
        lambda c, h, x: (tg.tanh(x @ c[0] + c[1][H:] + h @ c[0]), tg.concatenate([h, h], axis=-1) * c[1]),
        [W, numbers(2 * H)], h0, x,
    ),
    "every second entry as bias": Case(
        lambda c, h, x: (tg.tanh(x @ c[0] + c[1][::2] + h @ c[0]), tg.concatenate([h, h], axis=-1) * c[1]),
        [W, numbers(2 * H)], h0, x,
    ),
    "a named tuple as carry": Case(
        lambda W, s, x: (Pair(h := tg.tanh(x + s.c @ W), 0.5 * s.c + h), (h, s.h)), W, Pair(h0, h0 / 2), x
    ),
    "a dict as carry": Case(
        lambda W, s, x: ({"b": s["a"] * x, "a": tg.sin(s["b"] @ W)}, s["a"]), W, {"b": h0, "a": h0 / 2}, x
    ),
    "ops on captured values alone": Case(
        lambda p, h, x: ((h := tg.exp(-tg.exp(p[0])) * h + x @ (p[1] * p[2])), h),
        (numbers(H), W, (numbers(H, H) > 0).astype("float64")), h0, x,
    ),
    "a matrix made skew inside": Case(lambda W, h, x: ((h := tg.tanh(h @ (W - W.T) + x)), h), W, h0, x),
    "several outputs": Case(lambda W, h, x: (tg.tanh(x + h @ W), (h, h * x, {"s": (h * x).sum(-1)})), W, h0, x),
    "an output that is the input": Case(lambda W, h, x: (tg.tanh(x + h @ W), (x, h)), W, h0, x),
    "outputs that are constants": Case(
        lambda W, h, x: (tg.tanh(x + h @ W), (tg.ones((B, 2), dtype="float64"), h)), W, h0, x
    ),
    "a captured value as output": Case(lambda p, h, x: (tg.tanh(x + h @ p[0]), p[1]), (W, numbers(B, 2)), h0, x),
    "a carry passed through": Case(lambda W, s, x: ((tg.tanh(x + s[0] @ W) * s[1], s[1]), s[0]), W, (h0, h0 + 1), x),
    "two carries exchanged": Case(lambda W, s, x: ((s[1], s[0] @ W + x), s[0]), W, (h0, h0 + 1), x),
    "an elementwise recurrence": Case(lambda a, h, x: ((h := tg.sigmoid(a) * h + x), h * h), numbers(H), h0, x),
    "a running maximum": Case(lambda _, h, x: ((h := tg.maximum(h, x)), h), (), h0, x),
    "boolean masks and where": Case(
        lambda W, h, x: ((h := tg.where(x["m"], tg.tanh(x["v"] + h @ W), h)), tg.where(h > 0, h, 0.1 * h)),
        W, h0, {"v": x, "m": numbers(T, B, 1) > 0},
    ),
    "a dropout mask as input": Case(
        lambda W, h, x: ((h := tg.tanh(x["v"] + (h * x["keep"]) @ W)), h),
        W, h0, {"v": x, "keep": (numbers(T, B, H) > 0) * 2.0},
    ),
    "an einsum": Case(lambda W, h, x: ((h := tg.tanh(tg.einsum("bi,ij->bj", h, W) + x)), h), W, h0, x),
    "a bilinear einsum": Case(
        lambda A, h, x: ((h := tg.tanh(tg.einsum("bi,ijk,bj->bk", x, A, h))), h), numbers(D, H, H) / 4, h0, inputs
    ),
    "concatenations": Case(
        lambda V, h, x: ((h := tg.tanh(tg.concatenate([x, h], -1) @ V)), tg.concatenate([h, x], -1)),
        numbers(D + H, H), h0, inputs,
    ),
    "a split into gates": Case(
        lambda V, h, x: ((h := h + tg.sigmoid((p := tg.split(x + h @ V, 2))[0]) * tg.tanh(p[1])), h),
        numbers(H, 2 * H), h0, numbers(T, B, 2 * H),
    ),
    "a maximum and a log-sum-exp along features": Case(
        lambda W, h, x: (
            (h := tg.tanh(x + h @ W) - tg.logsumexp(h, axis=-1, keepdims=True)),
            (h.max(-1), tg.logsumexp(h, axis=-1)),
        ),
        W, h0, x,
    ),
    "a softmax and a layer norm": Case(
        lambda W, h, x: ((h := normalised(x + h @ W)), tg.softmax(h, axis=-1)), W, h0, x
    ),
    "the largest entry as a symbol": Case(
        lambda W, h, x: (
            (h := tg.tanh(x + h @ W)) + tg.one_hot(tg.argmax(h, axis=-1), classes=H, dtype="float64"), h
        ),
        W, h0, x,
    ),
    "numbers that learn": Case(
        lambda p, h, x: ((h := p[0] * tg.tanh(x + p[1] * h)), h), (np.array(0.7), np.array(-0.3)), h0, x
    ),
    "a matrix as state": Case(
        lambda _, A, x: ((A := 0.9 * A + tg.expand_dims(x, -1) * tg.expand_dims(x, -2)),
                         tg.squeeze(A @ tg.expand_dims(x, -1), -1)),
        (), numbers(B, D, D), inputs,
    ),
    "one weight used twice": Case(lambda W, h, x: ((h := tg.tanh((x + h @ W) @ W)), h @ W.T), W, h0, x),
    "no inputs": Case(lambda W, h, _: ((h := tg.tanh(h @ W)), h), W, h0, None),
    "a state that is not shown": Case(lambda W, h, x: (tg.tanh(x + h @ W), x * 2), W, h0, x),
    "a step that ignores its state": Case(lambda W, h, x: (x @ W, tg.tanh(x)), W, h0, x),
    "float32": Case(
        lambda W, h, x: ((h := tg.tanh(x + h @ W)), h),
        W.astype("float32"), h0.astype("float32"), x.astype("float32"),
    ),
}  # fmt: skip
# Steps that no executor takes, which the default runs as the plain loop, and why they are refused.
FALLBACKS: dict[str, tuple[Case, str]] = {
    "a mean over the batch": (
        Case(lambda W, h, x: ((h := tg.tanh(x + h @ W - h.mean(0))), h), W, h0, x),
        r"the rows of the batch mix in `\w+` \(.*test_compiled.py:\d+\)",
    ),
    "a sum of all entries": (
        Case(lambda W, h, x: ((h := tg.tanh(x + h @ W) / (h * h).sum()), h), W, h0, x),
        r"the rows of the batch mix in `\w+` \(.*test_compiled.py:\d+\)",
    ),
    "rows that are turned": (
        Case(lambda W, h, x: ((h := tg.tanh(x + h[::-1] @ W)), h), W, h0, x),
        r"the rows of the batch mix in `\w+` \(.*test_compiled.py:\d+\)",
    ),
    "a carry without a batch": (
        Case(lambda _, c, x: ((c := c + x), c), (), np.array(0.0), numbers(T)),
        "share no batch axis",
    ),
}


# For these llvm makes no code and says so; by default they run on NumPy.
WITHOUT_CODE = {
    "an einsum", "a bilinear einsum",
    "a maximum and a log-sum-exp along features", "the largest entry as a symbol",
}  # fmt: skip
BOTH_WAYS = pytest.mark.parametrize("options", [{}, {"lengths": [2, T, 0], "reverse": True}], ids=["full", "lengths"])


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("compile", ["auto", *EXECUTORS])
@BOTH_WAYS
def test_a_compiled_step_is_the_plain_loop(kind: str, compile: str, options: dict[str, Any]) -> None:
    case = CASES[kind]
    if case.xs is None and options:
        options = {"reverse": True}
    if compile == "llvm" and kind in WITHOUT_CODE:
        with pytest.raises(Refused):
            case.run(compile, **options)
        return
    single = any(a.dtype == np.float32 for a in tg.tree.leaves(case.init))
    alike(case.run(compile, **options), case.run(False, **options), 1e-5 if single else 1e-10)


@pytest.mark.parametrize("kind", FALLBACKS)
def test_what_cannot_be_compiled_runs_as_the_plain_loop_by_default(kind: str) -> None:
    case, _ = FALLBACKS[kind]
    alike(case.run("auto"), case.run(False), 0.0)


@pytest.mark.parametrize("kind", FALLBACKS)
@EVERY_EXECUTOR
def test_what_cannot_be_compiled_is_refused_when_asked_for_with_the_reason(kind: str, executor: str) -> None:
    case, why = FALLBACKS[kind]
    with pytest.raises(ValueError, match=why):
        case.run(executor)


# Dtypes


@pytest.mark.parametrize("compile", ["auto", *EXECUTORS])
def test_integers_are_read_as_they_are(compile: str) -> None:
    ids = np.random.default_rng(0).integers(0, D, (T, B))
    case = Case(lambda E, h, i: ((h := tg.tanh(h + tg.one_hot(i, classes=D).astype("float64") @ E)), h), U, h0, ids)
    try:
        found = case.run(compile)
    except ValueError as refused:
        assert compile != "auto" and "scan" in str(refused)
    else:
        alike(found, case.run(False))


@pytest.mark.parametrize(("dtype", "tolerance"), [("complex128", 1e-12), ("complex64", 1e-5), ("float16", 1e-2)])
def test_complex_and_half_precision_run_by_default(dtype: str, tolerance: float) -> None:
    def turned(*shape: int) -> np.ndarray:
        values = numbers(*shape, seed=1)
        return (values + 1j * numbers(*shape, seed=2) if dtype.startswith("complex") else values).astype(dtype)

    case = Case(lambda a, h, x: ((h := a * h + x), h * h), turned(H) / 4, turned(B, H), turned(T, B, H))
    alike(case.run("auto"), case.run(False), tolerance)


# Steps that are not what they seem


def branches(h: Any, x: Any) -> Any:
    if float(h.sum()) > 0:
        h = h + x
    return h, h


def counts(h: Any, x: Any) -> Any:
    return h + int(x.numpy().sum()), h


@pytest.mark.parametrize("step", [branches, counts])
@pytest.mark.parametrize("compile", ["auto", *EXECUTORS])
def test_a_step_that_looks_at_numbers_is_refused_at_its_line(step: Any, compile: str) -> None:
    line = step.__code__.co_firstlineno + 1
    with pytest.raises(ValueError, match=rf"test_compiled\.py:{line}\b") as caught:
        tg.scan(step, tg.tensor(h0), tg.tensor(x), compile=compile)
    assert "where" in str(caught.value) and "compile=False" in str(caught.value)
    assert tg.scan(step, tg.tensor(h0), tg.tensor(x), compile=False)[1].shape == (T, B, H)


@pytest.mark.parametrize("compile", ["auto", *EXECUTORS])
def test_a_step_that_draws_random_numbers_is_refused(compile: str) -> None:
    rng = tg.random.Generator(0)
    with pytest.raises(ValueError, match=r"draws random numbers.*pass them in xs"):
        tg.scan(lambda h, x: (h + rng.normal((B, H)), x), tg.tensor(h0), tg.tensor(x), compile=compile)


ERRORS: dict[str, tuple[Any, dict[str, Any], type[Exception], str]] = {
    "no pair": (lambda h, x: h, {}, TypeError, r"scan at t=0: the step returned a Tensor alone; it returns a pair"),
    "no pair, in reverse": (lambda h, x: h, {"reverse": True}, TypeError, r"scan at t=4: the step returned a Tensor"),
    "another carry": (lambda h, x: ((h, h), x), {}, ValueError, r"scan at t=0: .* carry built as \(\*, \*\)"),
    "lengths": (lambda h, x: (h, x), {"lengths": [1, 2]}, ValueError, r"lengths \[1, 2\] are not 3 integers"),
    "long lengths": (lambda h, x: (h, x), {"lengths": [1, 2, 9]}, ValueError, r"do not lie in 0 … 5"),
    "sizes": (lambda h, x: (h @ W[:4], x), {}, ValueError, r"matmul at t=0: .*inner sizes 6 and 4 differ"),
    "an error of its own": (lambda h, x: {}["weight"], {}, KeyError, "weight"),
}


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize("compile", ["auto", *EXECUTORS, False])
def test_a_mistake_reads_alike_however_it_runs(kind: str, compile: Any) -> None:
    step, options, error, message = ERRORS[kind]
    with pytest.raises(error, match=message):
        tg.scan(step, tg.tensor(h0), tg.tensor(x), compile=compile, **options)


@EVERY_EXECUTOR
def test_captured_values_made_of_one_another_get_the_gradients_of_the_plain_loop(executor: str) -> None:
    """Keys are made once from a memory that the step reads too: what the keys pass back reaches it once."""

    def gradients(compile: Any) -> Any:
        def loss(p: Any) -> Any:
            keys = p["memory"] @ p["W"]

            def step(h: Any, x: Any) -> Any:
                weights = tg.softmax((keys * tg.expand_dims(h, 1)).sum(-1, keepdims=True), axis=1)
                h = tg.tanh(x + (weights * p["memory"]).sum(1))
                return h, h

            return (tg.scan(step, tg.tensor(h0), tg.tensor(x), compile=compile)[1] ** 2).sum()

        found = tg.grad(loss)({"memory": tg.tensor(numbers(B, S, H)), "W": tg.tensor(W)})
        return {name: g.numpy() for name, g in found.items()}

    alike(gradients(executor), gradients(False))


@EVERY_EXECUTOR
def test_second_derivatives_count_a_weight_once_that_the_first_carry_is_made_of_too(executor: str) -> None:
    def loss(W: Any, compile: Any) -> Any:
        last, ys = tg.scan(lambda h, x: (tg.tanh(x + h @ W), h), tg.tensor(h0) @ W, tg.tensor(x), compile=compile)
        return (last * last).sum() + (ys * ys).sum()

    found, wanted = (tg.hvp(lambda W, c=c: loss(W, c), (W,), (W[::-1],)) for c in (executor, False))
    np.testing.assert_allclose(found.numpy(), wanted.numpy(), rtol=1e-10)
