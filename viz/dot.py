"""Trace → DOT text with every position pinned; any Graphviz draws it: `dot -Tsvg picture.dot -o picture.svg`."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import Any

from . import style
from .layout import Box, Layout, arrange
from .route import pos
from .trace import Trace, TraceNode
from .wires import Wire, wires

LINES = {
    "forward": {"color": style.FORWARD, "fontcolor": style.INK, "style": "solid", "arrowsize": "0.7"},
    "parameter": {"color": style.QUIET, "fontcolor": style.QUIET, "style": "solid", "arrowsize": "0.6"},
    "backward": {"color": style.BACKWARD, "fontcolor": style.BACKWARD, "style": "dashed", "arrowsize": "0.7"},
    "cut": {"color": style.CUT, "fontcolor": style.CUT, "style": "dotted", "arrowhead": "tee"},
}
ARROW = {"cut": 2.0}


def to_dot(trace: Trace, *, parameters: bool = True) -> str:
    """The picture of a trace as DOT text, laid out by us: `layout=nop2` tells Graphviz to draw, not to arrange."""
    import graphviz

    plan = arrange(trace, parameters=parameters)
    graph = graphviz.Digraph(
        "unrolled",
        graph_attr={"layout": "nop2", "splines": "true", "outputorder": "nodesfirst", "bgcolor": style.PAPER, "pad": "0.15"},
        node_attr={"fixedsize": "true", "fontname": style.FONT, "fontcolor": style.INK, "color": style.INK, "margin": "0"},
        edge_attr={"fontname": style.FONT, "fontsize": f"{style.SMALL:g}"},
    )
    names = identifiers(node.id for node in trace.nodes)
    axes = dict(zip(plan.grid.times, plan.axes))
    for at, (time, band) in enumerate(plan.bands.items()):
        _block(graph, f"band_{at}", band, style.BAND, "band")
        _heading(graph, f"time_{at}", f"t = {time}", axes[time], band.bottom + 12, 11)
    for at, (name, box) in enumerate(plan.frames):
        _block(graph, f"frame_{at}", box, style.FRAME, "frame", color=style.QUIET)
        _text(graph, f"frame_name_{at}", name, box.left + 8, box.top - 9, 9)
    for node in trace.nodes:
        if node.id in plan.boxes:
            _node(graph, names[node.id], node, plan, trace)
    count = 0
    kinds: set[str] = set()
    for count, wire in enumerate(wires(trace, plan)):
        kinds.add(wire.kind)
        _edge(graph, wire, names, f"e{count}")
    _write_around(graph, trace, plan, kinds)
    return graph.source


def identifiers(ids: Iterable[str]) -> dict[str, str]:
    """A name of letters, digits and underscores for every id, each of them once.

    >>> identifiers(["a:x", "a x", "b"])
    {'a:x': 'a_x', 'a x': 'a_x_1', 'b': 'b'}
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    for place, name in enumerate(ids):
        plain = re.sub(r"\W", "_", name, flags=re.ASCII) or "node"
        names[name] = plain if plain not in taken else f"{plain}_{place}"
        taken.add(names[name])
    return names


def escape(text: str) -> str:
    """User text for a plain label or tooltip: no escapes, entities, HTML or control characters are read into it."""
    import graphviz

    return graphviz.escape(html.escape(_printable(text), quote=False))


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _inches(points: float) -> str:
    return f"{points / 72:.4f}"


def _at(x: float, y: float) -> str:
    return f"{x:.2f},{y:.2f}"


def _html(lines: Iterable[tuple[str, float, bool]]) -> str:
    parts = []
    for text, size, bold in lines:
        words = html.escape(_printable(text), quote=True)
        parts.append(f'<font point-size="{size:g}">{f"<b>{words}</b>" if bold else words}</font>')
    return f"<{'<br/>'.join(parts)}>"


def _block(graph: Any, name: str, box: Box, fill: str, kind: str, color: str = "") -> None:
    graph.node(
        name, label="", shape="box", style="filled,rounded", fillcolor=fill, color=color or fill, penwidth="0.8", id=name,
        pos=_at(box.x, box.y), width=_inches(box.width), height=_inches(box.height), tooltip=" ", **{"class": kind},
    )  # fmt: skip


def _text(graph: Any, name: str, text: str, x: float, y: float, size: float) -> None:
    """A line of text that begins at x."""
    width = style.text_width(text, size)
    graph.node(
        name, label=escape(text) + r"\l", shape="plaintext", pos=_at(x + width / 2, y), width=_inches(width), id=name,
        height=_inches(size * 1.3), fontsize=f"{size:g}", tooltip=" ", **{"class": "text"},
    )  # fmt: skip


def _heading(graph: Any, name: str, text: str, x: float, y: float, size: float) -> None:
    """A bold line of text around x."""
    graph.node(
        name, label=_html([(text, size, True)]), shape="plaintext", pos=_at(x, y), id=name, tooltip=" ",
        width=_inches(style.text_width(text, size) * 1.1), height=_inches(size * 1.3), **{"class": "text"},
    )  # fmt: skip


def _node(graph: Any, name: str, node: TraceNode, plan: Layout, trace: Trace) -> None:
    card, box = style.card(node, trace.level), plan.boxes[node.id]
    graph.node(
        name, label=_html(plan.faces[node.id].lines), shape=card.shape, style=card.style, fillcolor=card.fill,
        penwidth=f"{card.border:g}", peripheries=str(card.peripheries), pos=_at(box.x, box.y), width=_inches(box.width),
        height=_inches(box.height), id=name, tooltip=escape(style.story(node, trace)), **{"class": f"value {node.role}"},
    )  # fmt: skip


def _edge(graph: Any, wire: Wire, names: dict[str, str], name: str) -> None:
    label = {"label": escape(wire.label), "lp": _at(*wire.label_at)} if wire.label else {"label": ""}
    graph.edge(
        names[wire.source], names[wire.target], pos=pos(wire.path, ARROW.get(wire.kind, 7.0), wire.width), id=name,
        penwidth=f"{wire.width:g}", tooltip=escape(wire.tooltip), labeltooltip=escape(wire.tooltip),
        **label, **LINES[wire.kind], **{"class": wire.kind},
    )  # fmt: skip


SAMPLES = {
    "forward": "a value goes forward",
    "backward": "its message comes back: the gradient that this edge hands over; the number is its norm, the width its logarithm",
    "parameter": "a shared parameter, drawn once (× uses); the messages of all steps add up to its gradient",
    "cut": "cut: detached here, no message passes",
}


def _write_around(graph: Any, trace: Trace, plan: Layout, kinds: set[str]) -> None:
    """The title above the picture, the legend below; what is not drawn has no line in the legend."""
    boxes = [*plan.boxes.values(), *plan.bands.values()]
    left, top = min((b.left for b in boxes), default=0.0), max((b.top for b in boxes), default=0.0)
    bottom = min((b.bottom for b in boxes), default=0.0)
    centre = (left + max((b.right for b in boxes), default=0.0)) / 2
    _heading(graph, "title", trace.title or style.title(trace), centre, top + (40 if trace.note else 22), 15)
    if trace.note:
        _text(graph, "note", trace.note, left, top + 16, 9.5)
    for at, kind in enumerate(kind for kind in SAMPLES if kind in kinds):
        y = bottom - 20 - 17 * at
        for end, x in (("from", left), ("to", left + 40)):
            graph.node(
                f"legend_{kind}_{end}", label="", shape="point", style="invis", pos=_at(x, y), width="0.01",
                height="0.01", tooltip=" ", id=f"legend_{kind}_{end}", **{"class": "legend"},
            )  # fmt: skip
        path = [(left, y), (left + 12, y), (left + 26, y), (left + 40, y)]
        ends = (f"legend_{kind}_from", f"legend_{kind}_to")
        ends = ends[::-1] if kind in ("backward", "cut") else ends
        path = path[::-1] if kind in ("backward", "cut") else path
        graph.edge(
            *ends, pos=pos(path, ARROW.get(kind, 7.0)), penwidth="2" if kind == "backward" else "1.2", id=f"legend_{kind}",
            tooltip=" ", label="", **LINES[kind], **{"class": "legend"},
        )  # fmt: skip
        text = SAMPLES[kind]
        _text(graph, f"legend_{kind}_text", text, left + 48, y, 9.5)
