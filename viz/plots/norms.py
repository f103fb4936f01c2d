"""Picture: how large the messages are that travel back, step by step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import tinygrad_rnn as tg

from .axes import INK, PAPER, QUIET, legend, log_line, log_scale, look, number, time_axis
from .figure import Plot, host

PARTS = {  # of δ_t = g_t + m_t, in the order in which one problem's are drawn
    "delta": "‖δₜ‖  all of ∂L/∂zₜ",
    "m": "‖mₜ‖  message from t + 1",
    "g": "‖gₜ‖  error that enters at t",
}
NEAR = 1e4  # how close to what floats can hold a line must come for that to be shown


def norms(problems: tg.bptt.Problem | Mapping[str, tg.bptt.Problem], *, text: str = "", title: str = "") -> Plot:
    """The norms of ``δ_t = g_t + m_t`` along time, logarithmic: how fast gradients vanish, or explode.

        m_t = δ_{t+1} J_{t+1},  g_t = ∂ℓ_t/∂z_t;  a step's factor (‖δ_0‖ / ‖δ_{T−1}‖)^{1/(T−1)}

    One problem: the three norms. Several by name, such as cells on the same task: a panel for each norm with a line for
    each problem. Where errors enter at the last step alone, δ_t = m_t is all there is, drawn with the factor. A mark at
    the lower edge is a norm of exactly 0, at the upper edge one that is no finite number; a dashed line shows where
    floats of this kind lose precision, once a norm comes near it. ``text``: what is read, a character a step.
    ``data``: by norm, or by "name/norm", as ``tg.bptt.message_norms`` gives them. Raises ValueError for no problems, or
    one without steps.

    Pascanu, Mikolov & Bengio 2013, "On the difficulty of training recurrent neural networks", arXiv:1211.5063.

    >>> step = lambda w, h, x: (w * h + x, (w * h + x) if x.item() else None)
    >>> problem = tg.bptt.Problem(tg.tensor(0.5, requires_grad=True), step, tg.tensor(0.0), tg.tensor([0.0, 0.0, 1.0]))
    >>> norms(problem).data["m"].tolist()
    [0.25, 0.5, 0.0]
    """
    named = dict(problems) if isinstance(problems, Mapping) else {"": problems}
    if not named:
        raise ValueError("norms: there are no problems to draw; give one, or several by name")
    with np.errstate(over="ignore", invalid="ignore"):  # what leaves the range of floats is marked
        found = {name: tg.bptt.message_norms(problem)._asdict() for name, problem in named.items()}
    values = {name: {part: host(norms[part].array) for part in PARTS} for name, norms in found.items()}
    data = {f"{name}/{part}".lstrip("/"): each for name, parts in values.items() for part, each in parts.items()}
    steps = max(len(each) for each in data.values())
    at_end = all(not parts["g"][:-1].any() for parts in values.values())  # so that δ_t = m_t before the end
    words = PARTS if not at_end else {"delta": "‖δₜ‖ = ‖mₜ‖, of all of ∂L/∂zₜ"}
    if len(values) == 1:  # a panel with all norms; else one for each norm, with all problems
        (parts,) = values.values()
        panels = [("norm of the message", [(part, label, parts[part]) for part, label in words.items()])]
    else:
        panels = [(words[part], [(part, name, parts[part]) for name, parts in values.items()]) for part in words]

    def paint(figure: Any) -> None:
        row = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (label, lines) in zip(row, panels, strict=True):
            axes.set(ylabel=label)
            drawn = [
                _line(axes, part, each, look(i), name + (_factor(each) if at_end else ""))
                for i, (part, name, each) in enumerate(lines)
            ]
            time_axis(axes, steps, text if len(panels) == 1 else "")
            _floor(axes, [each[:-1] if part == "m" else each for _, lines in panels for part, _, each in lines])
        shown = np.concatenate([each[:-1] for _, lines in panels for _, _, each in lines])
        for words, there in (("lower edge: exactly 0", shown == 0), ("upper edge: not finite", ~np.isfinite(shown))):
            if there.any():
                drawn += row[0].plot([], [], "D", color=QUIET, mfc=PAPER, markersize=3.2, label=f"at the {words}")
        legend(figure, drawn, ncols=3 if steps > 1 else 2)
        row[-1].annotate(
            "← messages travel this way", (1, 1), (0, 2), xycoords="axes fraction", textcoords="offset points",
            ha="right", color=QUIET, fontsize=7,
        )  # fmt: skip

    default = "Messages of backpropagation through time" + (", the loss at the last step" if at_end else "")
    size = (6.8, 3.7) if len(panels) == 1 else (7.2, 3.2)
    return Plot("norms", title or default, data, paint, size, text + "".join(named))


def _line(axes: Any, part: str, values: np.ndarray, style: Any, label: str) -> Any:
    """Of m all but the last, which is 0 by definition."""
    return log_line(axes, values[:-1] if part == "m" else values, style, label)


def _factor(delta: np.ndarray) -> str:
    """What one step does to a message, on average over the run."""
    if len(delta) < 2 or not (0 < delta[0] < np.inf and 0 < delta[-1] < np.inf):
        return ""
    each = (np.log(delta[0]) - np.log(delta[-1])) / (len(delta) - 1)  # their quotient may be beyond floats
    return f", × {number(np.exp(each))} a step"


def _floor(axes: Any, arrays: list[np.ndarray]) -> None:
    """A logarithmic scale, with the line below which floats lose precision where values come near it."""
    tiny = min(float(np.finfo(each.dtype).tiny) for each in arrays)
    known = np.concatenate([each[np.isfinite(each) & (each > 0)] for each in arrays]).astype(float)
    if not known.size:
        axes.set(ylim=(0, 1), yticks=[])  # marks at the edges are all there is
        return
    log_scale(axes.yaxis, known)
    if known.min() < tiny * NEAR:
        axes.axhline(tiny, color=INK, linewidth=0.8, linestyle=(0, (6, 3)), label="_floor")
        kind = next(each.dtype.name for each in arrays if np.finfo(each.dtype).tiny == tiny)
        axes.annotate(
            f"smallest normal {kind}, {number(tiny)}", (0.01, tiny), (0, 2), xycoords=("axes fraction", "data"),
            textcoords="offset points", fontsize=7, color=INK,
        )  # fmt: skip
