"""What a run looks like afterwards: the loss curve, and one self-contained HTML page that shows everything."""

from __future__ import annotations

import html
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from zoo.tasks.task import Metric, Score


@dataclass(frozen=True)
class Report:
    """The contents of report.html. Every text is plain (escaped here); `figures`: caption, file, SVG text."""

    title: str
    facts: Mapping[str, str]
    metric: Metric
    model: Score
    baselines: Sequence[Score]
    sample: str
    sample_caption: str
    config: Mapping[str, Any]
    commands: Mapping[str, str] = field(default_factory=dict)
    figures: Sequence[tuple[str, str, str]] = ()

    def render(self) -> str:
        """The page: no scripts, nothing fetched, readable on light and dark screens and on paper."""
        rows = sorted([self.model, *self.baselines], key=lambda score: self.metric.rank(score.value))
        scores = "".join(
            f"<tr{' class=model' if row is self.model else ''}><td>{_text(row.name)}</td>"
            f"<td class=number>{self.metric.show(row.value)}</td></tr>"
            for row in rows
        )
        better = "lower" if self.metric.lower_is_better else "higher"
        held_out = "; measured on data held out from training" if self.metric.held_out else ""
        parts = [
            f"<h1>{_text(self.title)}</h1>",
            _definitions(self.facts),
            f"<h2>{_text(self.metric.name[0].upper() + self.metric.name[1:])}</h2>",
            f"<table><caption>{better} is better{held_out}</caption>{scores}</table>",
            f"<h2>Sample</h2><p>{_text(self.sample_caption)}</p><pre>{_text(self.sample)}</pre>",
            *(
                f'<figure><figcaption><a href="{_text(file)}" title="by itself, to zoom into">{_text(caption)}</a>'
                f"</figcaption>{_inline(svg)}</figure>"
                for caption, file, svg in self.figures
            ),
            "<h2>Go on</h2>" + _definitions(self.commands, code=True) if self.commands else "",
            "<h2>Configuration</h2><pre>" + _text(json.dumps(self.config, indent=2, ensure_ascii=False)) + "</pre>",
        ]
        return PAGE.format(title=_text(self.title), style=STYLE, body="\n".join(part for part in parts if part))


def loss_curve(records: Sequence[Mapping[str, Any]], metric: Metric, baselines: Sequence[Score] = ()) -> str:
    """The metric over the steps as an SVG document: training (each step, and smoothed), held out, baselines.

    For a metric that does not follow from the loss, the loss. The ink is `currentColor`: that of the page it is on.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    steps = np.array([record["step"] for record in records])
    follows = metric.worth is not None
    training = np.array([record["metric" if follows else "loss"] for record in records])
    measured = [(r["step"], r["evaluated"]) for r in records if follows and "evaluated" in r]
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "zoo", "font.size": 11}):
        figure = Figure(figsize=(9, 4.2), layout="constrained", facecolor="none")
        axes = figure.add_subplot(facecolor="none")
        axes.plot(steps, training, color=BLUE, alpha=0.25, linewidth=0.8)
        axes.plot(steps, _smoothed(training), color=BLUE, linewidth=1.8, label="training (smoothed)")
        if measured:
            place = "held out" if metric.held_out else "measured"
            axes.plot(*zip(*measured), color=ORANGE, marker="o", markersize=5, label=place)
        for baseline in baselines if follows else ():
            axes.axhline(baseline.value, color="gray", linestyle="--", linewidth=1)
            axes.annotate(
                baseline.name, (1, baseline.value), (4, 0), xycoords=("axes fraction", "data"),
                textcoords="offset points", va="center", fontsize=9, color="gray",
            )  # fmt: skip
        if follows and metric.lower_is_better and baselines:  # the first steps are off the scale of the rest
            shown = [training.min(), *(value for _, value in measured[-1:]), *(each.value for each in baselines)]
            low, high = min(shown), 1.05 * max(shown)
            axes.set_ylim(low - 0.05 * (high - low), high)
        axes.set(xlabel="step", ylabel=metric.name if follows else "loss")
        axes.margins(x=0.01)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0)
        file = io.StringIO()
        FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None})
    return file.getvalue().replace("#000000", "currentColor").replace("<svg ", '<svg fill="currentColor" ', 1)


BLUE, ORANGE = "#2f7ed8", "#e07b16"


def _smoothed(values: np.ndarray) -> np.ndarray:
    """The mean over a fiftieth of the curve around each point; fewer at the ends."""
    width, n = len(values) // 100, len(values)
    sums = np.cumsum(np.concatenate([np.zeros(1), values]))
    start, stop = np.maximum(np.arange(n) - width, 0), np.minimum(np.arange(n) + width + 1, n)
    return (sums[stop] - sums[start]) / (stop - start)


def _text(value: Any) -> str:
    return html.escape(str(value))


def _definitions(items: Mapping[str, Any], *, code: bool = False) -> str:
    wrap = "<code>{}</code>" if code else "{}"
    return "<dl>" + "".join(f"<dt>{_text(k)}</dt><dd>{wrap.format(_text(v))}</dd>" for k, v in items.items()) + "</dl>"


def _inline(svg: str) -> str:
    """An SVG document as an element of an HTML page: without its XML prologue."""
    return re.sub(r"^.*?(?=<svg)", "", svg, count=1, flags=re.DOTALL)


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}
</body>
</html>
"""

STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --quiet: #5b6168; --paper: #ffffff;
        --panel: #f4f5f7; --line: #d9dce1; --model: #e3effc; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8eb; --quiet: #a3a9b1; --paper: #16181b;
          --panel: #212429; --line: #383d44; --model: #1d3550; }
}
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: var(--ink); background: var(--paper);
       font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.2rem; }
dt { color: var(--quiet); } dd { margin: 0; }
table { border-collapse: collapse; }
caption { text-align: left; color: var(--quiet); padding-bottom: .3rem; white-space: nowrap; }
@media (max-width: 30rem) { caption { white-space: normal; } }
td { padding: .25rem 1.2rem .25rem .5rem; border-top: 1px solid var(--line); }
.number { text-align: right; font-variant-numeric: tabular-nums; }
.model { background: var(--model); font-weight: 600; }
pre { background: var(--panel); padding: 1rem; border-radius: 6px; white-space: pre-wrap; overflow-wrap: anywhere;
      font: 14px/1.45 ui-monospace, monospace; }
code { font: 14px ui-monospace, monospace; }
figure { margin: 2rem 0 0; overflow-x: auto; } figcaption { font-weight: 600; margin-bottom: .5rem; }
figcaption a { color: inherit; text-decoration: none; border-bottom: 1px dotted; }
figure svg { max-width: 100%; height: auto; border-radius: 6px; }
"""
