"""One step of every cell over the few functions that torch and jax both have: what the loops beside ours run.

``EQUATIONS[name](F, cell, p, xs)`` takes the functions ``F``, the cell for its sizes and options, its parameters ``p``
by path and the series xs (T, B, I). It gives what the input alone decides, computed for all T at once as one would
write it by hand, and ``step(state, those at t) -> (state, output)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Step = Callable[[tuple[Any, ...], tuple[Any, ...]], tuple[tuple[Any, ...], Any]]
Equation = Callable[["Functions", Any, Mapping[str, Any], Any], tuple[tuple[Any, ...], Step]]

EQUATIONS: dict[str, Equation] = {}


class Functions(NamedTuple):
    """A library's own, the fused one where it has one."""

    tanh: Callable[[Any], Any]
    sigmoid: Callable[[Any], Any]
    relu: Callable[[Any], Any]
    exp: Callable[[Any], Any]
    log_sigmoid: Callable[[Any], Any]
    maximum: Callable[[Any, Any], Any]
    split: Callable[[Any, list[int]], Any]  # the last axis into parts of these sizes
    linear: Callable[..., Any]  # x W, or x W + b
    addmm: Callable[[Any, Any, Any], Any]  # a + h U
    addcmul: Callable[[Any, Any, Any], Any]  # a + b ∘ c
    lerp: Callable[[Any, Any, Any], Any]  # a + w ∘ (b − a)
    norm: Callable[..., Any]  # layer normalisation of the last axis with a gain, or a gain and a bias


def written(name: str) -> Callable[[Equation], Equation]:
    """Enter a cell's equations."""

    def add(equation: Equation) -> Equation:
        EQUATIONS[name] = equation
        return equation

    return add


def _input(F: Functions, p: Mapping[str, Any], xs: Any) -> Any:
    return F.linear(xs, p["input/weight"], *([p["input/bias"]] if "input/bias" in p else []))


@written("ElmanRNN")
def elman(F: Functions, cell: Any, p: Mapping[str, Any], xs: Any) -> Any:
    def step(s: Any, x: Any) -> Any:
        h = F.tanh(F.addmm(x[0], s[0], p["U"]))
        return (h,), h

    return (_input(F, p, xs),), step


@written("IndRNN")
def indrnn(F: Functions, cell: Any, p: Mapping[str, Any], xs: Any) -> Any:
    def step(s: Any, x: Any) -> Any:
        h = F.relu(F.addcmul(x[0], p["u"], s[0]))
        return (h,), h

    return (_input(F, p, xs),), step


@written("GRU")
def gru(F: Functions, cell: Any, p: Mapping[str, Any], xs: Any) -> Any:
    H = cell.hidden_size

    def step(s: Any, x: Any) -> Any:
        (h,), (gates, n) = s, x
        r, z = F.split(F.sigmoid(F.addmm(gates, h, p["U"])), [H, H])
        h = F.lerp(F.tanh(F.addmm(n, r * h, p["U_n"])), h, z)
        return (h,), h

    return tuple(F.split(_input(F, p, xs), [2 * H, H])), step


@written("GRUResetAfter")
def gru_reset_after(F: Functions, cell: Any, p: Mapping[str, Any], xs: Any) -> Any:
    H = cell.hidden_size
    U, U_n = F.split(p["U"], [2 * H, H])

    def step(s: Any, x: Any) -> Any:
        (h,), (gates, n) = s, x
        r, z = F.split(F.sigmoid(F.addmm(gates, h, U)), [H, H])
        h = F.lerp(F.tanh(F.addcmul(n, r, F.addmm(p["c_n"], h, U_n))), h, z)
        return (h,), h

    return tuple(F.split(_input(F, p, xs), [2 * H, H])), step


@written("MGU")
def mgu(F: Functions, cell: Any, p: Mapping[str, Any], xs: Any) -> Any:
    H = cell.hidden_size

    def step(s: Any, x: Any) -> Any:
        (h,), (f, n) = s, x
        f = F.sigmoid(F.addmm(f, h, p["U"]))
        h = F.lerp(h, F.tanh(F.addmm(n, f * h, p["U_n"])), f)
        return (h,), h

    return tuple(F.split(_input(F, p, xs), [H, H])), step


@written("LSTM")
def lstm(F: Functions, cell: Any, p: Mapping[str, Any], xs: Any) -> Any:
    def step(s: Any, x: Any) -> Any:
        h, c = s
        i, f, g, o = F.split(F.addmm(x[0], h, p["U"]), 4 * [cell.hidden_size])
        c = F.addcmul(F.sigmoid(f) * c, F.sigmoid(i), F.tanh(g))
        h = F.sigmoid(o) * F.tanh(c)
        return (h, c), h

    return (_input(F, p, xs),), step


@written("PeepholeLSTM")
def peephole_lstm(F: Functions, cell: Any, p: Mapping[str, Any], xs: Any) -> Any:
    def step(s: Any, x: Any) -> Any:
        h, c = s
        i, f, g, o = F.split(F.addmm(x[0], h, p["U"]), 4 * [cell.hidden_size])
        i, f = F.sigmoid(F.addcmul(i, p["p_i"], c)), F.sigmoid(F.addcmul(f, p["p_f"], c))
        c = F.addcmul(f * c, i, F.tanh(g))
        h = F.sigmoid(F.addcmul(o, p["p_o"], c)) * F.tanh(c)
        return (h, c), h

    return (_input(F, p, xs),), step


@written("LayerNormLSTM")
def layer_norm_lstm(F: Functions, cell: Any, p: Mapping[str, Any], xs: Any) -> Any:
    def step(s: Any, x: Any) -> Any:
        h, c = s
        i, f, g, o = F.split(x[0] + F.norm(F.linear(h, p["U"]), p["norm_h/weight"]), 4 * [cell.hidden_size])
        c = F.addcmul(F.sigmoid(f) * c, F.sigmoid(i), F.tanh(g))
        h = F.sigmoid(o) * F.tanh(F.norm(c, p["norm_c/weight"], p["norm_c/bias"]))
        return (h, c), h

    return (F.norm(_input(F, p, xs), p["norm_x/weight"], p["norm_x/bias"]),), step


@written("MinGRU")
def min_gru(F: Functions, cell: Any, p: Mapping[str, Any], xs: Any) -> Any:
    def step(s: Any, x: Any) -> Any:
        h = F.lerp(s[0], x[1], x[0])
        return (h,), h

    z, n = F.split(_input(F, p, xs), 2 * [cell.hidden_size])
    return (F.sigmoid(z), n), step


@written("SRU")
def sru(F: Functions, cell: Any, p: Mapping[str, Any], xs: Any) -> Any:
    def step(s: Any, x: Any) -> Any:
        (c,), (n, f, r, k) = s, x
        f, r = F.sigmoid(F.addcmul(f, p["v_f"], c)), F.sigmoid(F.addcmul(r, p["v_r"], c))
        c = F.lerp(n, c, f)
        return (c,), F.lerp(k, c, r)

    n, f, r, *projected = F.split(_input(F, p, xs), cell.blocks * [cell.hidden_size])
    (k,) = projected or [cell.alpha * xs]
    return (n, f + p["b_f"], r + p["b_r"], k), step


@written("CoRNN")
def cornn(F: Functions, cell: Any, p: Mapping[str, Any], xs: Any) -> Any:
    def step(s: Any, x: Any) -> Any:
        y, z = s
        force = F.tanh(F.addmm(F.addmm(x[0], y, p["U"]), z, p["U_z"])) - cell.gamma * y - cell.epsilon * z
        z = z + cell.dt * force
        y = y + cell.dt * z
        return (y, z), y

    return (_input(F, p, xs),), step


@written("FastWeights")
def fast_weights(F: Functions, cell: Any, p: Mapping[str, Any], xs: Any) -> Any:
    gain, bias = p["norm/weight"], p["norm/bias"]

    def step(s: Any, x: Any) -> Any:
        h, A = s
        a = F.addmm(x[0], h, p["U"])
        h = F.relu(F.norm(a, gain, bias))
        for _ in range(cell.inner_steps):
            h = F.relu(F.norm(a + (A @ h[..., None]).squeeze(-1), gain, bias))
        A = F.addcmul(cell.decay * A, (cell.rate * h)[..., None], h[..., None, :])
        return (h, A), h

    return (_input(F, p, xs),), step


@written("MLSTM")
def mlstm(F: Functions, cell: Any, p: Mapping[str, Any], xs: Any) -> Any:
    H, heads, d = cell.hidden_size, cell.heads, cell.width

    def step(s: Any, x: Any) -> Any:
        (C, n, m), (q, k, v, o, i, log_f) = s, x
        last = m
        m = F.maximum(log_f + last, i)
        i, f = F.exp(i - m), F.exp(log_f + last - m)
        k = i * k
        C = F.addcmul(f[..., None] * C, k[..., None], v[..., None, :])
        n = F.addcmul(k, f, n)
        h = (q[..., None, :] @ C).squeeze(-2) / F.maximum(abs((q * n).sum(-1, keepdims=True)), F.exp(-m))
        return (C, n, m), o * h.reshape(-1, H)

    *qkv, o, i, f = F.split(_input(F, p, xs), [H, H, H, H, heads, heads])
    q, k, v = (a.reshape(*xs.shape[:2], heads, d) for a in qkv)
    return (q, k * (1 / math.sqrt(d)), v, F.sigmoid(o), i[..., None], F.log_sigmoid(f)[..., None]), step
