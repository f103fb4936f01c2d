"""PyTorch's side: a cell's equations as an eager loop, and torch.nn's own layer where it has the cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import zoo
from zoo.bench.equations import EQUATIONS, Functions
from zoo.bench.measure import Contestant

NATIVE = {"LSTM": "LSTM", "GRUResetAfter": "GRU", "ElmanRNN": "RNN"}  # the name of a cell in torch.nn


@cache
def functions() -> Functions:
    """What the equations are written with."""
    import torch

    return Functions(
        tanh=torch.tanh,
        sigmoid=torch.sigmoid,
        relu=torch.relu,
        exp=torch.exp,
        log_sigmoid=torch.nn.functional.logsigmoid,
        maximum=torch.maximum,
        split=lambda x, sizes: x.split(sizes, -1),
        linear=lambda x, W, b=None: torch.nn.functional.linear(x, W.T, b),
        addmm=torch.addmm,
        addcmul=torch.addcmul,
        lerp=torch.lerp,
        norm=lambda x, gain, bias=None: torch.nn.functional.layer_norm(x, x.shape[-1:], gain, bias),
    )


def loop(cell: zoo.Cell, xs: Any, cotangent: Any) -> Contestant | None:
    """The equations in a Python loop, as one writes a cell of one's own."""
    import torch

    name = type(cell).__name__
    if name not in EQUATIONS:
        return None
    leaves = {path: torch.tensor(p.numpy(), requires_grad=True) for path, p in cell.named_parameters()}
    series = torch.tensor(xs, requires_grad=True)
    shapes = [(xs.shape[1], *shape) for shape in cell.state_shapes.values()]

    def forward() -> Any:
        inputs, step = EQUATIONS[name](functions(), cell, leaves, series)
        state, ys = tuple(series.new_zeros(shape) for shape in shapes), []
        for x in zip(*(a.unbind(0) for a in inputs)):
            state, y = step(state, x)
            ys.append(y)
        return torch.stack(ys)

    return _contestant(forward, {**leaves, "x": series}, torch.tensor(cotangent), lambda found: found)


def native(cell: zoo.Cell, xs: Any, cotangent: Any) -> Contestant | None:
    """torch.nn's layer with the cell's weights; its gates are in the order of ours."""
    import torch

    name = type(cell).__name__
    if name not in NATIVE:
        return None
    series = torch.tensor(xs, requires_grad=True)
    layer = getattr(torch.nn, NATIVE[name])(cell.input_size, cell.hidden_size, dtype=series.dtype)
    layer.load_state_dict({key: torch.from_numpy(value) for key, value in zoo.layouts.to_torch(cell).items()})

    def named(found: dict[str, Any]) -> dict[str, Any]:
        ours = {
            "input/weight": found["weight_ih_l0"].T,
            "U": found["weight_hh_l0"].T,
            "input/bias": found["bias_ih_l0"],
            "c_n": found["bias_hh_l0"][-cell.hidden_size :],
        }
        return {key: ours.get(key, found.get(key)) for key in (*dict(cell.named_parameters()), "x", "ys")}

    leaves = {**dict(layer.named_parameters()), "x": series}
    return _contestant(lambda: layer(series)[0], leaves, torch.tensor(cotangent), named)


def _contestant(
    forward: Callable[[], Any], leaves: Mapping[str, Any], g: Any, named: Callable[[Any], Any]
) -> Contestant:
    def run() -> dict[str, Any]:
        ys = forward()
        ys.backward(g)
        found = {path: leaf.grad for path, leaf in leaves.items()}
        for leaf in leaves.values():
            leaf.grad = None
        return {**found, "ys": ys.detach()}

    return Contestant(run, lambda found: {key: value.numpy() for key, value in named(found).items()})
