"""One step of every cell in NumPy, one line an equation: the output, then the parts of the next state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import zoo

Array = np.ndarray


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def relu(x: Array) -> Array:
    return np.maximum(x, 0)


def normalised(x: Array, gain: Array, bias: Array | float = 0.0) -> Array:
    """Layer normalisation of the last axis."""
    return gain * (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) + bias


def weights(cell: zoo.Cell) -> dict[str, Array]:
    """Parameters by path."""
    return {path: p.numpy() for path, p in cell.named_parameters()}


def gates(cell: zoo.Cell, order: str) -> dict[str, tuple[Array, ...]]:
    """W, U, b of each gate, as the equations name them."""
    own = weights(cell)
    recurrent = np.concatenate([own[path] for path in own if path.startswith("U")], axis=1)
    arrays = (own["input/weight"], recurrent, own["input/bias"])
    return dict(zip(order, zip(*(np.split(a, len(order), axis=-1) for a in arrays)), strict=True))


def elman(cell: zoo.Cell, x: Array, h: Array) -> tuple[Array, ...]:
    W, U, b = gates(cell, "h")["h"]
    h = np.tanh(x @ W + h @ U + b)
    return h, h


def indrnn(cell: Any, x: Array, h: Array) -> tuple[Array, ...]:
    own = weights(cell)
    h = relu(x @ own["input/weight"] + own["u"] * h + own["input/bias"])
    return h, h


def lstm(cell: zoo.Cell, x: Array, h: Array, c: Array) -> tuple[Array, ...]:
    a = {gate: x @ W + h @ U + b for gate, (W, U, b) in gates(cell, "ifgo").items()}
    c = sigmoid(a["f"]) * c + sigmoid(a["i"]) * np.tanh(a["g"])
    h = sigmoid(a["o"]) * np.tanh(c)
    return h, h, c


def peephole_lstm(cell: zoo.Cell, x: Array, h: Array, c: Array) -> tuple[Array, ...]:
    a = {gate: x @ W + h @ U + b for gate, (W, U, b) in gates(cell, "ifgo").items()}
    p = weights(cell)
    i, f = sigmoid(a["i"] + p["p_i"] * c), sigmoid(a["f"] + p["p_f"] * c)
    c = f * c + i * np.tanh(a["g"])
    h = sigmoid(a["o"] + p["p_o"] * c) * np.tanh(c)
    return h, h, c


def layer_norm_lstm(cell: zoo.Cell, x: Array, h: Array, c: Array) -> tuple[Array, ...]:
    p = weights(cell)
    from_x = normalised(x @ p["input/weight"], p["norm_x/weight"])
    from_h = normalised(h @ p["U"], p["norm_h/weight"])
    i, f, g, o = np.split(from_x + from_h + p["norm_x/bias"], 4, axis=1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(normalised(c, p["norm_c/weight"], p["norm_c/bias"]))
    return h, h, c


def gru(cell: zoo.Cell, x: Array, h: Array) -> tuple[Array, ...]:
    of = gates(cell, "rzn")
    r, z = (sigmoid(x @ W + h @ U + b) for W, U, b in (of["r"], of["z"]))
    W, U, b = of["n"]
    h = z * h + (1 - z) * np.tanh(x @ W + (r * h) @ U + b)
    return h, h


def gru_reset_after(cell: zoo.Cell, x: Array, h: Array) -> tuple[Array, ...]:
    of = gates(cell, "rzn")
    r, z = (sigmoid(x @ W + h @ U + b) for W, U, b in (of["r"], of["z"]))
    W, U, b = of["n"]
    h = z * h + (1 - z) * np.tanh(x @ W + b + r * (h @ U + weights(cell)["c_n"]))
    return h, h


def mgu(cell: zoo.Cell, x: Array, h: Array) -> tuple[Array, ...]:
    of = gates(cell, "fn")
    W, U, b = of["f"]
    f = sigmoid(x @ W + h @ U + b)
    W, U, b = of["n"]
    h = (1 - f) * h + f * np.tanh(x @ W + (f * h) @ U + b)
    return h, h


def min_gru(cell: zoo.Cell, x: Array, h: Array) -> tuple[Array, ...]:
    own = weights(cell)
    z, n = np.split(x @ own["input/weight"] + own["input/bias"], 2, axis=1)
    h = (1 - sigmoid(z)) * h + sigmoid(z) * n
    return h, h


def sru(cell: zoo.Cell, x: Array, c: Array) -> tuple[Array, ...]:
    own = weights(cell)
    W, W_f, W_r, W_k = np.split(own["input/weight"], 4, axis=1)
    f = sigmoid(x @ W_f + own["v_f"] * c + own["b_f"])
    r = sigmoid(x @ W_r + own["v_r"] * c + own["b_r"])
    c = f * c + (1 - f) * (x @ W)
    return r * c + (1 - r) * (x @ W_k), c


def co_rnn(cell: zoo.Cell, x: Array, y: Array, z: Array) -> tuple[Array, ...]:
    own = weights(cell)
    a = x @ own["input/weight"] + y @ own["U"] + z @ own["U_z"] + own["input/bias"]
    z = z + 0.042 * (np.tanh(a) - 2.7 * y - 4.7 * z)
    y = y + 0.042 * z
    return y, y, z


def fast_weights(cell: zoo.Cell, x: Array, h: Array, A: Array) -> tuple[Array, ...]:
    own = weights(cell)
    norm = own["norm/weight"], own["norm/bias"]
    a = x @ own["input/weight"] + h @ own["U"]
    inner = relu(normalised(a, *norm))
    h = relu(normalised(a + np.stack([matrix @ vector for matrix, vector in zip(A, inner)]), *norm))
    return h, h, 0.95 * A + 0.5 * np.stack([np.outer(row, row) for row in h])


def mlstm(cell: zoo.Cell, x: Array, C: Array, n: Array, m: Array) -> tuple[Array, ...]:
    """One head, row by row."""
    own, H = weights(cell), cell.hidden_size
    rows = []
    for a, C, n, m in zip(x @ own["input/weight"] + own["input/bias"], C[:, 0], n[:, 0], m[:, 0, 0]):  # noqa: B020
        q, k, v, o = a[: 4 * H].reshape(4, H)
        log_i, log_f = a[-2], np.log(sigmoid(a[-1]))
        k = k / np.sqrt(H)
        larger = max(log_f + m, log_i)
        i, f = np.exp(log_i - larger), np.exp(log_f + m - larger)
        C, n = f * C + i * np.outer(k, v), f * n + i * k
        y = sigmoid(o) * (q @ C) / max(abs(q @ n), np.exp(-larger))
        rows.append((y, C[None], n[None], np.array([[larger]])))
    return tuple(np.stack(parts) for parts in zip(*rows))


EQUATIONS: dict[str, Callable[..., tuple[Array, ...]]] = {
    "ElmanRNN": elman,
    "IndRNN": indrnn,
    "LSTM": lstm,
    "PeepholeLSTM": peephole_lstm,
    "LayerNormLSTM": layer_norm_lstm,
    "GRU": gru,
    "GRUResetAfter": gru_reset_after,
    "MGU": mgu,
    "MinGRU": min_gru,
    "SRU": sru,
    "CoRNN": co_rnn,
    "FastWeights": fast_weights,
    "MLSTM": mlstm,
}
