"""Picture: which characters read so far an output depends on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import tinygrad_rnn as tg

from .axes import number, shown
from .figure import QUIET, Plot, host
from .textgrid import ROW, page_axes, page_size, paint_text, used

COLUMNS = 72


def connect(
    logits: Callable[[Any], Any], xs: Any, text: str, *, at: Sequence[int] = (-1,), output: int | None = None,
    characters: Sequence[str] = (), title: str = "",
) -> Plot:  # fmt: skip
    """How much an output at step t depends on what was read at each step τ ≤ t: ``‖∂logit_t,k / ∂x_τ‖``, as colour.

    ``logits``: a differentiable function from the inputs xs (T, 1, I) to (T, 1, K). ``text``: what is read, T
    characters. ``at``: the steps t, each drawn as a text of its own up to t, which is framed; its colours and bars are
    relative to its largest norm, which is given. ``output``: k; left out, the likeliest at each t. ``characters``: what
    the K outputs stand for. ``data``: ``norms`` (len(at), T), ``steps`` and ``outputs``. Raises ValueError for sizes
    that do not fit and for steps or outputs that there are not.

    Madsen 2019, "Visualizing memorization in RNNs", Distill, doi:10.23915/distill.00016.

    >>> found = connect(lambda xs: tg.stack([xs[0], xs[0] + 3 * xs[1]]), tg.ones((2, 1, 1)), "ab", output=0)
    >>> found.data["norms"].tolist()
    [[1.0, 3.0]]
    """
    xs = xs if isinstance(xs, tg.Tensor) else tg.tensor(xs)
    T = len(text)
    if xs.ndim != 3 or xs.shape[:2] != (T, 1) or not T:
        raise ValueError(f"connect: xs of shape {xs.shape} for a text of {T} characters; they are (T, 1, features)")
    given, pull = tg.vjp(logits, xs)
    values = host(given)
    if values.shape[:2] != (T, 1) or values.ndim != 3:
        raise ValueError(f"connect: logits of shape {values.shape}; of {T} steps, one row, they are ({T}, 1, classes)")
    if not at or not all(-T <= t < T for t in at):
        raise ValueError(f"connect: at={list(at)}; one step or more of 0 … {T - 1}, or from the end −1 … −{T}")
    if output is not None and not 0 <= output < values.shape[2]:
        raise ValueError(f"connect: there is no output {output}; there are {values.shape[2]}, counted from 0")
    steps = [t % T for t in at]
    outputs = [int(values[t, 0].argmax()) if output is None else output for t in steps]
    norms = np.zeros((len(steps), T), values.dtype)
    for row, t, k in zip(norms, steps, outputs, strict=True):
        one = np.zeros_like(values)
        one[t, 0, k] = 1
        row[:] = np.sqrt((host(pull(tg.tensor(one, device=xs.device))[0]) ** 2).sum(axis=(1, 2)))

    columns = used(text, COLUMNS)[0]
    height = sum(used(text[: t + 1], columns)[1] * ROW + 1.8 for t in steps)

    if not np.isfinite(norms).all():
        raise ValueError("connect: the derivatives are not all finite; take a shorter text")

    def headline(i: int) -> str:
        k = outputs[i]
        symbol = f"“{shown(characters[k])}”" if k < len(characters) else f"output {k}"
        return f"step {steps[i]}: logit of {symbol} next; the darkest, the longest: {number(norms[i].max())}"

    def paint(figure: Any) -> dict[str, Any]:
        axes = figure.add_subplot()
        y, notes = 0.0, {}
        for i, t in enumerate(steps):
            axes.text(0, y + 0.5, headline(i), va="center", color=QUIET, fontsize=8)
            y, notes[f"row{i}"] = paint_text(
                axes, text[: t + 1], norms[i, : t + 1], signed=False, top=float(norms[i].max()), columns=columns,
                gid=f"row{i}", above=y + 1.2, mark=t,
            )  # fmt: skip
            y += 0.6
        page_axes(axes, columns, y)
        return notes

    default = "Connectivity: what the framed step depends on, ‖∂logit/∂xτ‖"
    data = {"norms": norms, "steps": np.array(steps), "outputs": np.array(outputs)}
    symbols = "".join(characters)
    return Plot("connect", title or default, data, paint, page_size(columns, height), text + symbols)
