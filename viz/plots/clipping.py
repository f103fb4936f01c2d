"""Picture: which gradients of a training were clipped, and how much was left of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .axes import COLOURS, INK, legend, log_scale, number, whole_numbers
from .figure import Plot, host

KEY = "gradient_norm"  # in the records of a run


def clip(history: Sequence[float] | Sequence[Mapping[str, Any]], threshold: float, *, title: str = "") -> Plot:
    """The norm of the gradient at each update before and after clipping, and the share of updates that were clipped.

        ĝ = g · min(1, threshold / ‖g‖),   so ‖ĝ‖ = min(‖g‖, threshold), and ĝ points where g does

    ``history``: what ``tg.optim.clip_by_global_norm`` returned at each update, the norm before, or the records of a run
    (``zoo.run.Run.records()``). ``data``: ``before``, ``after``, and ``share``, the part of the updates before it that
    were clipped, over a twentieth of the training. Raises ValueError for no updates, a threshold that is not positive,
    and norms that are not finite.

    Pascanu, Mikolov & Bengio 2013, "On the difficulty of training recurrent neural networks", arXiv:1211.5063.

    >>> clip([0.5, 2.0, 8.0], 1.0).data["after"].tolist()
    [0.5, 1.0, 1.0]
    """
    before = np.array([each[KEY] if isinstance(each, Mapping) else float(host(each)) for each in history], float)
    if not before.size or not threshold > 0:
        raise ValueError(f"clip: {before.size} updates, threshold={threshold}; both are more than 0")
    if not np.isfinite(before).all() or (before < 0).any():
        at = int(np.flatnonzero(~np.isfinite(before) | (before < 0))[0])
        raise ValueError(f"clip: the norm of update {at + 1} is {before[at]}; norms are finite and not negative")
    after, clipped = np.minimum(before, threshold), before > threshold
    width = max(1, len(before) // 20)
    sums = np.concatenate([[0], np.cumsum(clipped)])
    ends = np.arange(1, len(before) + 1)
    starts = np.maximum(ends - width, 0)
    share = (sums[ends] - sums[starts]) / (ends - starts)

    def paint(figure: Any) -> None:
        top, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        size = 10 if len(before) <= 200 else 3
        words = f"threshold {number(threshold)}"
        drawn = [top.axhline(threshold, color=INK, linewidth=0.9, linestyle=(0, (6, 3)), label=words)]
        top.vlines(ends[clipped], after[clipped], before[clipped], color=COLOURS[1], linewidth=0.6, alpha=0.6)
        for there, colour, marker, words in (
            (clipped, COLOURS[1], "^", "before; clipped down to the threshold"),
            (~clipped, COLOURS[0], "o", "as it was"),
        ):
            if there.any():
                drawn.append(top.scatter(ends[there], before[there], size, colour, marker=marker, label=words))
        if (before > 0).any():
            log_scale(top.yaxis, np.append(before, threshold))
        top.set_ylabel("norm ‖g‖ of the gradient")
        legend(figure, drawn, ncols=3, markerscale=1.6)
        sides = np.arange(len(before) + 1) + 0.5
        below.stairs(100 * share, sides, fill=True, color=COLOURS[1], alpha=0.35)
        below.stairs(100 * share, sides, baseline=None, color=COLOURS[1], linewidth=1)
        below.set(ylim=(0, 103), yticks=(0, 50, 100), ylabel="% clipped", xlabel="update")
        whole_numbers(below.xaxis)

    default = f"Clipping: {clipped.mean():.0%} of {len(before):,} gradients were longer than {number(threshold)}"
    return Plot("clip", title or default, {"before": before, "after": after, "share": share}, paint, (6.8, 3.8))
