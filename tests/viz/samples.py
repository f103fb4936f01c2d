"""Traces made by hand, so that the drawing is tested without the engine."""

from __future__ import annotations

from typing import Any

import numpy as np

from viz.trace import Trace, TraceEdge, TraceNode

RNG = np.random.default_rng(0)


class Builder:
    """Collects nodes and edges; `op` adds a node and an edge, with a random message, from each argument."""

    def __init__(self) -> None:
        self.nodes: list[TraceNode] = []
        self.edges: list[TraceEdge] = []
        self.inputs: set[str] = set()

    def op(self, label: str, op: str, *arguments: str, cut: tuple[str, ...] = (), **facts: Any) -> str:
        name = f"n{len(self.nodes)}"
        self.nodes.append(TraceNode(name, op, label, **({"shape": (2, 8), "dtype": "float64"} | facts)))
        if facts.get("role") == "input":
            self.inputs.add(name)
        for place, argument in enumerate(arguments):
            value = None if argument in cut or argument in self.inputs else RNG.normal(size=3)
            norm = None if value is None else float(np.linalg.norm(value))
            self.edges.append(TraceEdge(argument, name, place, norm, cut=argument in cut, value=value))
        return name

    def leaf(self, label: str, **facts: Any) -> str:
        return self.op(label, "leaf", **({"role": "parameter", "gradient": 0.25} | facts))

    def trace(self) -> Trace:
        return Trace(self.nodes, self.edges)


def lstm(steps: int = 4, layers: int = 1, *, cuts: tuple[int, ...] = ()) -> Trace:
    """An LSTM with a head and a loss at every step, op by op; the state is detached before the steps in `cuts`."""
    b = Builder()
    weights = {(name, k): b.leaf(f"layers/{k}/{name}") for k in range(layers) for name in ("W", "U", "b")}
    head = b.leaf("head/V", shape=(8, 4))
    state = {}
    for k in range(layers):
        here = {"layer": k, "cell": "LSTM", "role": "state"}
        state[k] = (b.op("h", "leaf", **here), b.op("c", "leaf", **here))
    total = None
    for t in range(steps):
        x = b.op("x", "getitem", time=t, role="input", shape=(2, 4))
        for k in range(layers):
            here = {"time": t, "layer": k, "cell": "LSTM"}
            h, c = state[k]
            cut = (h, c) if t in cuts else ()
            xw = b.op("", "matmul", x, weights["W", k], **here)
            hu = b.op("", "matmul", h, weights["U", k], **here, cut=cut)
            z = b.op("z", "add", b.op("", "add", xw, hu, **here), weights["b", k], **here)
            parts = b.op("", "split", z, **here)
            gates = (("i", "sigmoid"), ("f", "sigmoid"), ("g", "tanh"), ("o", "sigmoid"))
            i, f, g, o = (b.op(n, op, b.op("", "pick", parts, **here), **here, role="gate") for n, op in gates)
            kept = b.op("", "mul", f, c, cut=cut, **here)
            c = b.op("c", "add", kept, b.op("", "mul", i, g, **here), **here, role="state")
            h = b.op("h", "mul", o, b.op("", "tanh", c, **here), **here, role="state")
            state[k], x = (h, c), h
        y = b.op("y", "matmul", x, head, time=t, role="output", shape=(2, 4))
        here = {"time": t, "role": "loss", "shape": ()}
        loss = b.op("E", "cross_entropy", y, **here)
        total = loss if total is None else b.op("L", "add", total, loss, **here)
    return b.trace()


def gru(steps: int = 3) -> Trace:
    """A GRU, whose state three ops of the next step read; a loss at the end alone."""
    b = Builder()
    W, U, V = (b.leaf(name) for name in "WUV")
    h = b.op("h", "leaf", role="state", cell="GRU")
    for t in range(steps):
        here = {"time": t, "cell": "GRU"}
        x = b.op("x", "getitem", time=t, role="input")
        xw = b.op("", "matmul", x, W, **here)
        r = b.op("r", "sigmoid", b.op("", "add", xw, b.op("", "matmul", h, U, **here), **here), **here, role="gate")
        n = b.op("n", "tanh", b.op("", "add", xw, b.op("", "mul", r, h, **here), **here), **here)
        h = b.op("h", "add", n, b.op("", "mul", r, b.op("", "sub", h, n, **here), **here), **here, role="state")
    y = b.op("y", "matmul", h, V, time=steps - 1, role="output")
    b.op("E", "cross_entropy", y, time=steps - 1, role="loss", shape=())
    return b.trace()


def elman(steps: int = 3) -> Trace:
    """A plain loop with no cell scope: h = tanh(x U + h W), and one loss at the end over all states stacked."""
    b = Builder()
    U, W, V = (b.leaf(name) for name in "UWV")
    h = b.op("h", "leaf", role="state")
    states = []
    for t in range(steps):
        x = b.op("x", "getitem", time=t, role="input")
        a = b.op("a", "add", b.op("", "matmul", x, U, time=t), b.op("", "matmul", h, W, time=t), time=t)
        h = b.op("h", "tanh", a, time=t, role="state")
        states.append(h)
    ys = b.op("ys", "stack", *states, role="output", shape=(steps, 2, 8))
    b.op("loss", "cross_entropy", b.op("logits", "matmul", ys, V, role="output"), role="loss", shape=())
    return b.trace()


def bidirectional(steps: int = 3) -> Trace:
    """One layer in each direction over the same inputs, their states joined over all steps."""
    b = Builder()
    x = [b.op("x", "getitem", time=t, role="input") for t in range(steps)]
    found: dict[str, list[str]] = {}
    for direction, order in (("forward", range(steps)), ("reverse", range(steps - 1, -1, -1))):
        here = {"cell": "RNN", "direction": direction}
        W = b.leaf(f"{direction}/W")
        h = b.op("h", "leaf", role="state", **here)
        found[direction] = []
        for t in order:
            h = b.op("h", "tanh", b.op("", "add", b.op("", "mul", x[t], W, time=t, **here), h, time=t, **here),
                     time=t, role="state", **here)  # fmt: skip
            found[direction].append(h)
    ys = b.op("ys", "concatenate", *found["forward"], *found["reverse"], role="output")
    b.op("loss", "sum", ys, role="loss", shape=())
    return b.trace()


def skipping(steps: int = 5) -> Trace:
    """h_t reads h_{t−1} and h_{t−2}: an edge that jumps over a step, and a loss that skips the output lane."""
    b = Builder()
    states = [b.op("h", "leaf", role="state")] * 2
    W = b.leaf("W")
    for t in range(steps):
        near = b.op("", "mul", states[-1], W, time=t)
        h = b.op("h", "add", near, states[-2], time=t, role="state")
        y = b.op("y", "tanh", h, time=t, role="output")
        b.op("E", "add", b.op("", "sum", h, time=t, role="loss"), y, time=t, role="loss", shape=())
        states.append(h)
    return b.trace()


def timeless() -> Trace:
    """No recurrence at all: exp(w) summed."""
    b = Builder()
    w = b.leaf("w")
    b.op("", "sum", b.op("y", "exp", w, role="output"), role="loss", shape=())
    return b.trace()


SAMPLES = {
    "one LSTM": lambda: lstm(4),
    "two LSTMs, cut": lambda: lstm(4, 2, cuts=(2,)),
    "GRU": gru,
    "plain loop": elman,
    "both directions": bidirectional,
    "skip connections": skipping,
    "one step": lambda: lstm(1),
    "no step": timeless,
}
