"""Picture: a text coloured by one unit of a net."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from .axes import number
from .figure import QUIET, Plot
from .search import Found, Predicate, checked, search_units
from .textgrid import ROW, page_axes, page_size, paint_text, scale, spans, used

COLUMNS = 72
FLIPPED = 64  # units that the page holds, to be flipped through


def units(
    states: Any, text: str, unit: int | None = None, *, predicate: str | Predicate | None = None, count: int = 1,
    guesses: Sequence[str] | None = None, title: str = "",
) -> Plot:  # fmt: skip
    """A text, each character on the colour of a unit's value after it was read: red positive, blue negative.

    Drawn is ``unit``; or, of those that ``search_units`` finds for ``predicate``, the first ``count``, with their
    correlations; or else the unit that varies most. Under each letter a bar shows the same value, up or down, on the
    scale of the largest |value| of all units, which is given. ``guesses``: what the net expects after each
    character, the likeliest first, to be said where the pointer rests. As .html a page in which the arrow keys flip
    through the units. ``data``: ``values`` (T, count), ``units`` and, after a search, ``correlations``. Raises
    ValueError for sizes that do not fit, a unit that there is not, and what ``search_units`` refuses.

    Karpathy, Johnson & Fei-Fei 2015, "Visualizing and understanding recurrent networks", arXiv:1506.02078.

    >>> found = units(np.array([[0.1, -0.9], [0.1, 0.9]]), "ab")
    >>> found.data["units"].tolist(), found.data["values"].ravel().tolist()
    ([1], [-0.9, 0.9])
    """
    values = checked("units", states, text)
    if unit is not None and not 0 <= unit < values.shape[1]:
        raise ValueError(f"units: there is no unit {unit}; there are {values.shape[1]}, counted from 0")
    if guesses is not None and len(guesses) != len(text):
        raise ValueError(f"units: {len(guesses)} guesses for {len(text)} characters; there is one after each")
    ranking = _ranking(values, text, unit, predicate)
    chosen = ranking[: 1 if predicate is None else max(1, count)]
    top = float(abs(values).max()) or 1.0
    columns, lines = used(text, COLUMNS)
    name = predicate if isinstance(predicate, str) else getattr(predicate, "__name__", "predicate")
    data = {"values": values[:, [u for u, _ in chosen]], "units": np.array([u for u, _ in chosen])}
    if predicate is not None:
        data["correlations"] = np.array([r for _, r in chosen])

    def headline(found: Found) -> str:
        r = f"{found.correlation:+.2f}".replace("-", "−")
        return f"unit {found.unit}" + ("" if predicate is None else f", correlation with {name} {r}")

    def paint(figure: Any) -> dict[str, Any]:
        axes = figure.add_subplot()
        y, notes = 0.0, {}
        for k, found in enumerate(chosen):
            if len(chosen) > 1:
                axes.text(0, y + 0.5, headline(found), va="center", weight="bold", fontsize=8)
                y += 1.2
            y, notes[f"unit{k}"] = paint_text(
                axes, text, values[:, found.unit], signed=True, top=top, columns=columns, gid=f"unit{k}", above=y
            )
            if guesses is not None:
                notes[f"unit{k}"] = [f"{note}, then {guess}" for note, guess in zip(notes[f"unit{k}"], guesses)]
            y += 0.6
        words = f"red, bar up: positive; blue, bar down: negative; the darkest, the longest: ±{number(top)}"
        axes.text(0, y + 0.3, words, va="center", color=QUIET, fontsize=7)
        page_axes(axes, columns, y + 0.9)
        return notes

    height = len(chosen) * (lines * ROW + 0.6 + 1.2 * (len(chosen) > 1)) + 0.9
    single = headline(chosen[0]).capitalize() + (", which varies most" if unit is None and predicate is None else "")
    default = single if len(chosen) == 1 else f"Units that go along with {name}"
    heading = title or ("Units over a text" if predicate is None else f"Units that go along with {name}")
    first = ranking[:FLIPPED]

    def page() -> str:
        return _page(values, text, first, [headline(found) for found in first], top, guesses, heading)

    return Plot("units", title or default, data, paint, page_size(columns, height), text, page)


def _ranking(values: np.ndarray, text: str, unit: int | None, predicate: str | Predicate | None) -> list[Found]:
    """All units, those to be shown first."""
    if predicate is not None:
        found = search_units(values, text, predicate)
    else:
        found = [Found(int(k), 0.0) for k in np.argsort(-values.var(0), kind="stable")]
    return found if unit is None else sorted(found, key=lambda each: each.unit != unit)


def _page(
    values: np.ndarray, text: str, ranking: Sequence[Found], headlines: Sequence[str], top: float,
    guesses: Sequence[str] | None, title: str,
) -> str:  # fmt: skip
    """A page without anything from outside; colours are looked up in a table of 201, the same for every unit."""
    table, inks = scale(np.arange(-100, 101) / 100, signed=True, top=1.0)
    columns = [[float(f"{value:.4g}") for value in values[:, found.unit]] for found in ranking]

    def colour(column: np.ndarray) -> tuple[np.ndarray, list[str]]:
        at = np.floor(column / top * 100 + 0.5).astype(int) + 100  # as the page does
        return table[at], [inks[i] for i in at]

    held = {
        "values": columns, "headlines": list(headlines), "colours": table.tolist(), "inks": inks, "top": top,
        "guesses": list(guesses or []),
    }  # fmt: skip
    body = spans(text, np.array(columns[0]), colour)
    script = json.dumps(held, ensure_ascii=True).replace("<", "\\u003c")  # no text can end the script
    words = {"title": html.escape(title), "head": html.escape(headlines[0]), "count": len(ranking)}
    return PAGE.format(**words, body=body, data=script)


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ max-width: 60rem; margin: 1.5rem auto; padding: 0 1rem; font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a;
       background: #fff; print-color-adjust: exact; }}
pre {{ font: 15px/1.75 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; }}
pre span {{ border-bottom: 2px solid transparent; }}
pre .p {{ border-bottom-color: #1a1a1a; }}
pre .n {{ border-bottom: 2px dotted #1a1a1a; }}
button {{ font: inherit; min-width: 2.5em; }}
small {{ color: #5f5f5f; }}
</style></head><body>
<h1 style="font-size:1.2rem">{title}</h1>
<p><button id="back" aria-label="unit before">←</button> <b id="head" aria-live="polite">{head}</b>
<button id="on" aria-label="next unit">→</button> <small>{count} units; arrow keys flip through them.
Red, underlined: positive. Blue, dotted: negative. Each colour: the value after that character was read.</small></p>
<pre id="text">{body}</pre>
<script type="application/json" id="data">{data}</script>
<script>
const data = JSON.parse(document.getElementById("data").textContent);
const spans = document.querySelectorAll("#text span");
let at = 0;
function show(unit) {{
  at = (unit + data.values.length) % data.values.length;
  document.getElementById("head").textContent = data.headlines[at];
  data.values[at].forEach((value, t) => {{
    const span = spans[t], shade = Math.floor(value / data.top * 100 + 0.5) + 100;
    span.style.background = data.colours[shade];
    span.style.color = data.inks[shade];
    span.className = value > 0 ? "p" : value < 0 ? "n" : "z";
    span.title = value + (data.guesses.length ? ", then " + data.guesses[t] : "");
  }});
}}
document.getElementById("back").onclick = () => show(at - 1);
document.getElementById("on").onclick = () => show(at + 1);
document.addEventListener("keydown", event => {{
  if (event.key === "ArrowRight") show(at + 1);
  if (event.key === "ArrowLeft") show(at - 1);
}});
show(0);
</script></body></html>
"""
