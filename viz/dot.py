"""Trace → DOT text with every position pinned; any Graphviz draws it: `dot -Tsvg picture.dot -o picture.svg`."""

from __future__ import annotations

import html
import re
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

from . import style
from .box import Box
from .labels import interrupted, placed
from .layout import Layout, arrange
from .marks import Along, Below, Mark
from .route import outside, pos
from .trace import Trace, TraceNode
from .wires import Wire, room, wires
from .wrap import fitting, wrapped

Wrap = int | Literal["auto"] | None

GRAPH = {"layout": "nop2", "splines": "true", "outputorder": "nodesfirst", "bgcolor": style.PAPER, "pad": "0.15"}
NODE = {"fixedsize": "true", "fontname": style.FONT, "fontcolor": style.INK, "margin": "0"}
EDGE = {"fontname": style.FONT, "fontsize": f"{style.SMALL:g}", "label": ""}
LINES = {  # drawn in this order, messages on top
    kind: {"color": colour, "fontcolor": text, "style": dash, "arrowhead": head, "arrowsize": size}
    for kind, colour, text, dash, head, size in (
        ("parameter", style.QUIET, style.QUIET, "solid", "normal", "0.6"),
        ("forward", style.FORWARD, style.INK, "solid", "normal", "0.7"),
        ("dropped", style.FORWARD, style.INK, "dashed", "onormal", "0.7"),
        ("recurrent", style.FORWARD, style.INK, "bold", "normal", "0.8"),
        ("cut", style.CUT, style.CUT, "dotted", "tee", "1"),
        ("backward", style.BACKWARD, style.BACKWARD, "dashed", "normal", "0.7"),
        ("sensitivity", style.SENSITIVITY, style.SENSITIVITY, "solid", "vee", "0.7"),
    )
}
ARROW = {  # lengths of their arrowheads
    "parameter": 6.0, "forward": 7.0, "dropped": 7.0, "recurrent": 8.0, "backward": 7.0, "cut": 2.0, "sensitivity": 7.0,
}  # fmt: skip
PAGE = 2000.0  # points; on a screen or a sheet a wider picture has letters too small to read
BORDER = 4.0  # Graphviz draws a second border so far outside of the first
HEBREW_ARABIC = r"\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefe"
LEFTWARDS = re.compile(f"[{HEBREW_ARABIC}](?:[ {HEBREW_ARABIC}]*[{HEBREW_ARABIC}])?")
WHEN = {"step": "every step t"}  # what stands under a column that is not one step
LEGEND = {
    "forward": "a value goes forward",
    "backward": "its message comes back: the gradient that this edge hands over; number: norm, width: its logarithm",
    "parameter": "a shared parameter, drawn once (× uses); the messages of all steps add up to its gradient",
    "dropped": "dropout: in training some entries do not pass; between layers alone, never along time",
    "recurrent": "what this step leaves is what the next one begins with: t−1 → t",
    "cut": "cut: detached here, no message passes",
    "sensitivity": "a forward message: how the state depends on parameters, dz/dθ, by what they meet; number: norm",
}
ONE_STEP = {("step", "parameter"): "a parameter, the same at every step"}  # what is said otherwise of a folded cell


def to_dot(
    trace: Trace, *, parameters: bool = True, captions: Sequence[str] = (), show: str = "norm",
    along: Along | None = None, below: Below | None = None, wrap: Wrap = None,
) -> str:  # fmt: skip
    """The picture of a trace as DOT text, laid out here: `layout=nop2` tells Graphviz to draw, not to arrange.

    `show` says what is written beside messages; `along` and `below` add marks: to the columns, under the drawing;
    `wrap` is how many steps stand in a row: a number, "auto" (as many as a page is wide) or None (all).
    """
    import graphviz

    plan = arrange(trace, parameters=parameters, room=room(trace, show))
    plan.marks += along(plan) if along else ()
    lines, plan.frames = placed(list(wires(trace, plan, show)), plan.frames, _taken(plan))
    plan.marks = list(interrupted(plan.marks, lines))
    lines = list(_below_bars(lines, plan))
    if (columns := fitting(plan, PAGE) if wrap == "auto" else wrap) is not None:
        plan, lines = wrapped(plan, lines, columns)
    graph = graphviz.Digraph("unrolled", graph_attr=GRAPH, node_attr=NODE, edge_attr=EDGE)
    _write_background(graph, trace, plan, captions)
    names = identifiers(node.id for node in trace.nodes)
    _write_nodes(graph, trace, plan, names)
    _write_marks(graph, (mark for mark in plan.marks if not mark.behind))
    kinds: dict[str, list[Wire]] = {kind: [] for kind in LINES}
    for wire in lines:
        kinds[wire.kind].append(wire)
    _write_around(graph, trace, plan, kinds, below)
    for kind, drawn in kinds.items():
        graph.attr("edge", **LINES[kind], **{"class": kind})
        for count, wire in enumerate(drawn):
            label = {"label": escape(wire.label), "lp": _at(*wire.label_at)} if wire.label else {}
            label |= {} if wire.head else {"arrowhead": "none"}
            graph.edge(
                names[wire.source], names[wire.target], pos=pos(wire.path, ARROW[kind] * wire.head, wire.width),
                penwidth=f"{wire.width:g}", id=f"{kind}_{count}", tooltip=escape(wire.tooltip), **label,
            )  # fmt: skip
    return graph.source


def _write_nodes(graph: Any, trace: Trace, plan: Layout, names: dict[str, str]) -> None:
    looks: dict[style.Card, list[TraceNode]] = defaultdict(list)
    for node in trace.nodes:
        if node.id in plan.boxes:
            looks[style.card(node, trace.level)].append(node)
    again: dict[str, list[Box]] = defaultdict(list)
    for name, box in plan.again:
        again[name].append(box)
    for card, nodes in looks.items():
        graph.attr(
            "node", shape=card.shape, style=card.style, fillcolor=card.fill, color=style.INK,
            penwidth=f"{card.border:g}", peripheries=str(card.peripheries), **{"class": f"value {card.name}"},
        )  # fmt: skip
        for node in nodes:
            facts = {"label": _html(plan.faces[node.id].lines), "tooltip": escape(style.story(node))}
            graph.node(names[node.id], **facts, **_place(names[node.id], plan.boxes[node.id]))
            for at, box in enumerate(again[node.id]):
                name = f"{names[node.id]}_again_{at}"
                graph.node(name, **facts, **_place(name, box), **{"class": f"again {card.name}"})


def _write_marks(graph: Any, marks: Iterable[Mark]) -> None:
    for mark in marks:
        looks = {"shape": "box" if mark.fill or mark.line else "plaintext", "penwidth": "1", "fontcolor": mark.ink}
        looks["style"] = ",".join(["filled"] * bool(mark.fill) + [mark.dash] * bool(mark.line)) or "solid"
        looks |= {"fillcolor": mark.fill or style.PAPER, "color": mark.line or mark.fill or style.PAPER}
        label = _html(mark.lines) if mark.lines else ""
        if mark.align == "left":  # plain text, which alone can begin at the side of a node of a given width
            looks["fontname"] = style.FONT + "-Bold" * mark.lines[0][2]
            looks["fontsize"] = f"{mark.lines[0][1]:g}"
            label = "".join(escape(line) + r"\l" for line, _, _ in mark.lines)
        graph.node(mark.name, label=label, tooltip=escape(mark.tooltip), peripheries="1" if mark.line else "0",
                   **looks, **_place(mark.name, mark.box), **{"class": "mark"})  # fmt: skip


def identifiers(ids: Iterable[str]) -> dict[str, str]:
    """A name of letters, digits and underscores for every id, each of them once.

    >>> identifiers(["a:x", "a x", "b"])
    {'a:x': 'a_x', 'a x': 'a_x_1', 'b': 'b'}
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    for place, name in enumerate(ids):
        plain = re.sub(r"\W", "_", name, flags=re.ASCII) or "node"
        while plain in taken:
            plain = f"{plain}_{place}"
        names[name] = plain
        taken.add(plain)
    return names


def escape(text: str) -> str:
    """User text for a plain label or tooltip: no escapes, entities, HTML or control characters are read into it."""
    import graphviz

    return graphviz.escape(html.escape(_printable(text), quote=False))


def _printable(text: str) -> str:
    """The text on one line; what follows letters that run to the left stands to their right all the same."""
    if not text.isprintable():
        text = "".join(letter if letter.isprintable() else " " for letter in text)
    return text if text.isascii() else LEFTWARDS.sub("\\g<0>\u200e", text)


def _html(lines: Iterable[tuple[str, float, bool]]) -> str:
    parts = []
    for text, size, bold in lines:
        words = html.escape(_printable(text), quote=True)
        parts.append(f'<font point-size="{size:g}">{f"<b>{words}</b>" if bold else words}</font>')
    return f"<{'<br/>'.join(parts)}>"


def _at(x: float, y: float) -> str:
    return f"{x:.2f},{y:.2f}"


def _place(name: str, box: Box) -> dict[str, str]:
    return {"id": name, "pos": _at(box.x, box.y), "width": f"{box.width / 72:.4f}", "height": f"{box.height / 72:.4f}"}


def _text(graph: Any, name: str, text: str, x: float, y: float, size: float) -> None:
    """A line of text that begins at x."""
    width = style.text_width(text, size)
    box = Box(x + width / 2, y, width, size * 1.3)
    graph.node(name, label=escape(text) + r"\l", fontsize=f"{size:g}", **_place(name, box))


def _heading(graph: Any, name: str, text: str, x: float, y: float, size: float) -> None:
    """A bold line of text around x."""
    box = Box(x, y, style.text_width(text, size) * 1.1, size * 1.3)
    graph.node(name, label=_html([(text, size, True)]), **_place(name, box))


def _write_background(graph: Any, trace: Trace, plan: Layout, captions: Sequence[str]) -> None:
    """The bands of the time steps with their numbers, and the frames of the cells with their names."""
    graph.attr("node", shape="box", style="filled,rounded", penwidth="0.8", tooltip=" ", **{"class": "background"})
    axes = dict(zip(plan.grid.times, plan.axes))
    steps = {node.time: node.steps for node in trace.nodes}
    for at, (time, band) in enumerate(plan.bands.items()):
        folded = {"color": style.QUIET, "style": "filled,rounded,dashed"} if steps[time] > 1 else {"color": style.BAND}
        graph.node(f"band_{at}", label="", fillcolor=style.BAND, **folded, **_place(f"band_{at}", band))
    for at, (_, box, _) in enumerate(plan.frames):
        graph.node(f"frame_{at}", label="", fillcolor=style.PAPER, color=style.QUIET, **_place(f"frame_{at}", box))
    _write_marks(graph, (mark for mark in plan.marks if mark.behind))
    graph.attr("node", shape="plaintext", style="", **{"class": "text"})
    for at, (time, band) in enumerate(plan.bands.items()):
        caption = f" · {style.clip(captions[at], 12)}" if at < len(captions) and captions[at] else ""
        last = f" … {time + steps[time] - 1}" if steps[time] > 1 else ""
        when = WHEN.get(trace.level, f"t = {time}")
        _heading(graph, f"time_{at}", f"{when}{last}{caption}", axes[time], band.bottom + 12, 11)
    for at, (name, _, words) in enumerate(plan.frames):
        _text(graph, f"frame_name_{at}", name, words.left, words.y, style.SMALL)


def _below_bars(lines: Iterable[Wire], plan: Layout) -> Iterator[Wire]:
    """The lines, those that cross a bar which they do not belong to in two parts: they pass below it."""
    bars = {name: plan.boxes[name] for name in plan.grid.bars if name in plan.boxes}
    for wire in lines:
        low, high = sorted((wire.path[0][1], wire.path[-1][1]))
        parts = [wire.path]
        for name, bar in bars.items():
            passes = low < bar.bottom and bar.top < high and name not in (wire.source, wire.target)
            if passes and any(bar.left < x < bar.right for x, y in wire.path if bar.bottom <= y <= bar.top):
                parts = [one for part in parts for one in outside(part, bar.bottom, bar.top)]
        for path in parts:
            last = path is parts[-1]
            yield replace(wire, path=path, label=wire.label if last else "", head=wire.head and last)


def _taken(plan: Layout) -> Iterator[Box]:
    """Where no number may stand: nodes with their outer borders, and what is written beside them."""
    yield from (Box(box.x, box.y, box.width + 2 * BORDER, box.height + 2 * BORDER) for box in plan.boxes.values())
    yield from (mark.box for mark in plan.marks if mark.lines)


def _write_around(
    graph: Any, trace: Trace, plan: Layout, lines: dict[str, list[Wire]], below: Below | None
) -> None:
    """The title above the picture and, below, what belongs there and a legend of the kinds of lines that occur."""
    marked = [mark.box for mark in plan.marks]
    kinds = [kind for kind in LEGEND if lines[kind]]
    drawn = [Box(*point, 0.0, 0.0) for some in lines.values() for wire in some for point in wire.path[::3]]
    whole = Box.around([*plan.boxes.values(), *plan.bands.values(), *marked, *(box for _, box in plan.again), *drawn])
    left, right, bottom, top = whole.left, whole.right, whole.bottom, whole.top
    if below and (under := list(below(left, bottom - 24))):
        _write_marks(graph, under)
        bottom = min(mark.box.bottom for mark in under)
    graph.attr("node", shape="plaintext", style="", peripheries="0", tooltip=" ", **{"class": "text"})
    title = trace.title or style.title(trace)
    note = textwrap.wrap(trace.note, max(60, int((right - left) / style.text_width("n", 9.5))))
    _heading(graph, "title", title, (left + right) / 2, top + 22 + 17 * len(note), 15)
    for at, words in enumerate(reversed(note)):
        _text(graph, f"note_{at}" if at else "note", words, left, top + 16 + 14 * at, 9.5)
    rows = {kind: bottom - 20 - 17 * at for at, kind in enumerate(kinds)}
    for kind, y in rows.items():
        _text(graph, f"legend_{kind}", ONE_STEP.get((trace.level, kind), LEGEND[kind]), left + 48, y, 9.5)
    graph.attr("node", shape="point", style="invis", peripheries="1", **{"class": "legend"})
    for kind, y in rows.items():
        ends = (left + 40, left) if kind in ("backward", "cut") else (left, left + 40)
        for at, x in enumerate(ends):
            name = f"legend_{kind}_{at}"
            graph.node(name, label="", **_place(name, Box(x, y, 0.7, 0.7)))
        path = [(ends[0] + share * (ends[1] - ends[0]), y) for share in (0, 1 / 3, 2 / 3, 1)]
        line = {**LINES[kind], "penwidth": "2" if kind == "backward" else "1.2", "class": "legend", "tooltip": " "}
        graph.edge(f"legend_{kind}_0", f"legend_{kind}_1", pos=pos(path, ARROW[kind]), id=f"legend_line_{kind}", **line)
