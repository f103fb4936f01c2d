"""Picture: what the gates of a cell do over a text, and how often each unit's are shut or open."""

from __future__ import annotations

from typing import Any

import numpy as np

import tinygrad_rnn as tg

from .axes import COLOURS, LINEAR, QUIET, colour_bar, grid, shown, time_axis
from .figure import Plot, host

LOW, HIGH = 0.1, 0.9
MANY = 32  # units, from which on each band has them by their mean, the open ones first


def gates(problem: tg.bptt.Problem, *, text: str = "", unit: int | None = None, title: str = "") -> Plot:
    """The value of every gate at each step, and for each of its units how often it is shut and how often open.

        σ(a) as it is, tanh a as (1 + tanh a) / 2 = σ(2 a);        left: share of steps below 0.1, right: above 0.9

    A band for each sigmoid and tanh of the step, by the name of its variable (i, f, g, o of an LSTM, r, z of a GRU), in
    it a row for each unit of all sequences of the batch (more than 32 from the most open to the most shut), or for one
    ``unit`` of the first. Beside it a dot for each
    unit: at the lower right one that is often open, at the upper left one often shut, on the oblique line one always at
    an end. ``data``: the gates (T, units) by name, and ``left``, ``right`` after a slash, from ``tg.bptt.activations``
    and ``saturation``. Raises ValueError where a step has none, or no such unit.

    Karpathy, Johnson & Fei-Fei 2015, "Visualizing and understanding recurrent networks", arXiv:1506.02078.

    >>> step = lambda w, h, x: (h * tg.sigmoid(w * x), h.sum())
    >>> xs = tg.tensor([[9.0, 0.0], [-9.0, 0.0]])
    >>> found = gates(tg.bptt.Problem(tg.ones(2, requires_grad=True), step, tg.ones(2), xs)).data
    >>> found["sigmoid"].round(2).tolist(), found["sigmoid/left"].tolist()
    ([[1.0, 0.5], [0.0, 0.5]], [0.5, 0.0])
    """
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite has no colour
        found = {name: host(values.array) for name, values in tg.bptt.activations(problem).items()}
        shares = tg.bptt.saturation(problem, low=LOW, high=HIGH) if found else {}
    if not found:
        raise ValueError("gates: no step of this run has a sigmoid or a tanh; there are no gates to draw")
    T = len(problem)
    bands, data = {}, {}
    for name, values in found.items():
        scaled = (1 + values) / 2 if "tanh" in name.rpartition("/")[2] else values
        units = values.shape[-1] if values.ndim > 1 else 1
        if unit is not None and not 0 <= unit < units:
            raise ValueError(f"gates: there is no unit {unit}; {name} has {units}, counted from 0")
        rows = scaled.reshape(T, -1)
        bands[name] = data[name] = rows if unit is None else rows[:, unit : unit + 1]
        one = slice(None) if unit is None else slice(unit, unit + 1)
        data[f"{name}/left"], data[f"{name}/right"] = (host(side.array).reshape(units)[one] for side in shares[name])
    labels = _labels(list(bands))

    def paint(figure: Any) -> dict[str, Any]:
        figure.get_layout_engine().set(hspace=0.02)
        parts = figure.subplots(len(bands), 2, width_ratios=(6, 1), squeeze=False)
        notes: dict[str, Any] = {}
        mesh: Any = None
        for (band, scatter), (name, rows) in zip(parts, bands.items(), strict=True):
            steps = [f"step {t}" + (f" {shown(text[t])}" if t < len(text) else "") for t in range(T)]
            in_order = rows.shape[1] <= MANY
            order = np.arange(rows.shape[1]) if in_order else np.argsort(-np.nanmean(rows, 0))
            words = [f"{steps[t]}, unit {k}: {rows[t, k]:.6g}" for k in order for t in range(T)]
            gid = f"gate{len(notes)}"
            mesh, found = grid(band, np.ma.masked_invalid(rows.T[order]), words, gid=gid, cmap=LINEAR, vmin=0, vmax=1)
            notes |= found or {gid: []}
            last = band is parts[-1][0]
            units = [unit] if unit is not None else sorted({0, rows.shape[1] - 1})
            band.set_yticks(range(0, rows.shape[1], max(1, rows.shape[1] - 1)), units if in_order else [])
            band.tick_params(axis="y", length=0, labelsize=7)
            band.set_ylabel(labels[name], rotation=0, ha="right", va="center")
            band.xaxis.set_visible(last)
            if last:
                time_axis(band, T, text)
            left, right = data[f"{name}/left"], data[f"{name}/right"]
            scatter.plot([0, 1], [1, 0], color=QUIET, linewidth=0.7)
            scatter.plot(right, left, "o", color=COLOURS[1], markersize=3, alpha=0.6, clip_on=False)
            scatter.set(xlim=(0, 1), ylim=(0, 1), xticks=(0, 1), yticks=(0, 1), aspect="equal")
            scatter.tick_params(labelbottom=last, labelsize=7)
            scatter.set_ylabel(f"< {LOW}", fontsize=7)
            if last:
                scatter.set_xlabel(f"> {HIGH}", fontsize=7)
        parts[0, 1].set_title("share of steps", fontsize=7)
        place: Any = {"location": "right", "aspect": 22, "fraction": 0.08, "ticks": (0, 0.5, 1)}
        bar = colour_bar(figure, mesh, parts.ravel().tolist(), "shut … open", **place)
        bar.ax.set_yticklabels(["0", "½", "1"])
        return notes

    rows = next(iter(bands.values())).shape[1]
    which = f"unit {unit}" if unit is not None else f"a row for each of {rows} units" if rows > 1 else "one unit"
    default = f"Gates over the text, {which}" if text else f"Gates along time, {which}"
    return Plot("gates", title or default, data, paint, (7.2, 1.1 + 0.85 * len(bands)), text)


def _labels(names: list[str]) -> dict[str, str]:
    """What bands are called: the last part of the name, with its scope only where there is another one."""
    several = len({name.rpartition("/")[0] for name in names}) > 1
    found = {}
    for name in names:
        scope, _, gate = name.rpartition("/")
        lines = [scope if several else "", gate.replace("sigmoid", "σ"), "(1 + ·) / 2" if "tanh" in gate else ""]
        found[name] = "\n".join(filter(None, lines))
    return found
