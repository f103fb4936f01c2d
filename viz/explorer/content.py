"""Everything that the page shows, as plain lists and numbers: both levels, gradients as they fill, the cut identity."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import numpy as np

import tinygrad_rnn as tg

from .. import style
from ..names import describe
from ..trace import Trace, TraceEdge, TraceNode
from .frames import Schedule
from .levels import Level, levels
from .view import Table, views

IN_FULL = 32  # an array with more entries is shown by its statistics
ENTRY = 10  # digits of the entries of an array: half of what the page holds
MOST_OPS = 20_000  # beyond, the page would be slow to open: cells alone


def shown(array: Any) -> Any:
    """An array as the page shows it: with few entries in full, else its mean, std, min and max."""
    a = np.asarray(array.get() if hasattr(array, "get") else array)
    real = abs(a) if a.dtype.kind == "c" else a
    if a.dtype.kind != "c" and a.size <= IN_FULL:
        return {"shape": list(a.shape), "full": [number(float(v), ENTRY) for v in a.ravel()]}
    facts = (real.mean(), real.std(), real.min(), real.max()) if a.size else ()
    return {"shape": list(a.shape), "stats": [number(float(fact)) for fact in facts]}


def content(trace: Trace, problem: tg.bptt.Problem | None) -> dict[str, Any]:
    """What is drawn and said, for `json.dumps`; raises ValueError when the problem is not what was traced."""
    found = levels(trace)
    whole = found[trace.level]
    frames = whole.frames
    arrays, values = Table(), Table()
    note = trace.note
    if len(trace.nodes) > MOST_OPS and "cell" in found and trace.level == "op":
        found.pop("op")
        note += f" One node a cell: {len(trace.nodes):,} ops are too many for a page; trace fewer steps to see each."
    return {
        "title": title(found[min(found)].trace),
        "note": note.strip(),
        "captions": captions(trace, frames),
        "columns": frames.columns,
        "levels": {
            name: {"title": title(level.trace), **records(level, trace, arrays, values), "views": views(level)}
            for name, level in sorted(found.items(), key=lambda pair: pair[0] != "cell")
        },
        "parameters": gradients(whole),
        "identity": None if problem is None else identity(trace, problem),
        "arrays": arrays.entries,
        "values": values.entries,
    }


def title(trace: Trace) -> str:
    return trace.title or style.title(trace)


def captions(trace: Trace, frames: Schedule) -> list[str]:
    """What happens in each frame, in words."""
    times: dict[int, set[int]] = defaultdict(set)
    for node in trace.nodes:
        if node.time is not None and node.role != "loss":
            times[frames.nodes[node.id]].add(node.time)
    at = {
        frame: "t = " + ", ".join(map(str, sorted(times[frame]))) if times[frame] else "what spans all steps"
        for frame in range(1, frames.columns + 1)
    }
    said = ["The graph, before anything is computed"]
    said += [f"Values go forward: {at[frame]}" for frame in range(1, frames.columns + 1)]
    said += ["Losses add up", "Every loss sends its own error back"]
    said += [f"Messages return from {at[frame]}" for frame in range(frames.columns, 0, -1)]
    said[-1] += "; all gradients are complete"
    return said


def records(level: Level, whole: Trace, arrays: Table, values: Table) -> dict[str, Any]:
    """Nodes and edges of a level, by the names in the page's model.js.

    An edge between two steps says which step it enters; what it carries is a value of the `whole` trace.
    """
    trace, frames = level.trace, level.frames
    places = {node.id: at for at, node in enumerate(trace.nodes)}
    nodes = [
        [
            node.label or node.op, node.op, node.time,
            style.layer_text(node), node.direction, node.role, node.cell, node.scope,
            values.place(_value(node, arrays)), number(node.gradient), node.ops,
            frames.nodes[node.id],
        ]
        for node in trace.nodes
    ]  # fmt: skip
    sources = {node.id: node for node in whole.nodes}
    carried = [sources[parts[0].source] for parts in level.parts]
    by_id = {node.id: node for node in trace.nodes}
    edges = [
        [
            places[edge.source], places[edge.target], edge.label, number(edge.message), int(edge.cut),
            frames.nodes[edge.target], frames.back(edge.target), _crossing(by_id[edge.source], by_id[edge.target]),
            None if (message := level.message(at)) is None else arrays.place(shown(message)),
            values.place(_value(carried[at], arrays)),
        ]
        for at, edge in enumerate(trace.edges)
    ]  # fmt: skip
    return {"nodes": nodes, "edges": edges}


def _value(node: TraceNode, arrays: Table) -> list[Any]:
    """Shape, type and statistics of a value, and its entries where they are few and were kept."""
    facts = [style.shape_text(node.shape) or "scalar", node.dtype]
    few = node.value is not None and 1 < node.value.size <= IN_FULL and node.value.dtype.kind in "biuf"
    known = node.stats or ({} if node.value is None else describe(node.value))
    told = ("norm",) if few else known if node.shape else ("mean",)  # what does not follow from the rest
    stats = {name: number(known[name]) for name in told if name in known}
    return [*facts, stats, arrays.place(shown(node.value))] if few else [*facts, stats]


def _crossing(source: TraceNode, target: TraceNode) -> int | None:
    """The step that a state enters when it comes from an earlier one, or from the beginning."""
    if target.time is None or source.role not in ("state", "other", "gate") or source.time == target.time:
        return None
    return target.time if source.time is not None or source.role == "state" else None


def gradients(level: Level) -> list[dict[str, Any]]:
    """For each parameter ‖Σ of the messages so far‖, frame by frame, and how many have come.

    The sum is taken in double precision in the order of the frames; the last norm is that of ∂L/∂θ.
    """
    trace, frames = level.trace, level.frames
    arriving: dict[str, list[tuple[int, TraceEdge]]] = defaultdict(list)
    for edge in trace.edges:
        if edge.message is not None:
            arriving[edge.source].append((frames.back(edge.target), edge))
    short = style.short_names([node.label for node in trace.parameters])
    found = []
    for node in trace.parameters:
        total: Any = 0.0
        so_far: dict[int, tuple[int, Any]] = {}
        for count, (frame, edge) in enumerate(sorted(arriving[node.id], key=lambda pair: pair[0]), 1):
            total = None if edge.value is None or total is None else total + edge.value.astype(_double(edge.value))
            so_far[frame] = count, None if total is None else float((abs(total) ** 2).sum()) ** 0.5
        found.append(
            {
                "node": node.label,
                "name": short[node.label],
                "shape": style.shape_text(node.shape) or "scalar",
                "gradient": number(node.gradient),
                "uses": len(arriving[node.id]),
                "steps": [[frame, count, number(norm)] for frame, (count, norm) in so_far.items()],
            }
        )
    return found


def _double(array: Any) -> str:
    return "complex128" if array.dtype.kind == "c" else "float64"


def identity(trace: Trace, problem: tg.bptt.Problem) -> dict[str, Any]:
    """The gradient as it looks from every edge of time, by `tg.bptt.messages`: three terms that add up to it.

        ∂L/∂θ = Σ_{s<t} e_s Γ_s  +  m_t Γ_t  +  Σ_{s≥t} m_{s+1} D_s

    For each edge and parameter: the norms of the three terms; their components along the gradient, which add up to its
    norm; and the largest entry of the gradient with its three terms.
    """
    steps = trace.steps
    if steps != list(range(len(problem))):
        counted = f", {steps[0]} … {steps[-1]}" if len(steps) == len(problem) else ""
        raise ValueError(
            f"explore: the problem has {len(problem)} steps, the trace {len(steps)}{counted}; "
            "pass the problem whose loss was traced"
        )
    run = tg.bptt.messages(problem)
    names = tg.bptt.parameter_names(problem.parameters)
    meetings = [run.at(t) for t in range(len(run) + 1)]
    whole = [np.asarray(part, "float64").ravel() for part in run.parameters.pieces(meetings[0].total)]
    _compare(trace, dict(zip(names, whole)))
    short = style.short_names(names)
    largest = [int(abs(g).argmax()) for g in whole]
    shapes = [list(shape) for shape in run.parameters.shapes]
    edges = []
    for meeting in meetings:
        terms = [[np.asarray(p, "float64").ravel() for p in run.parameters.pieces(part)] for part in meeting]
        rows = []
        for place, gradient in enumerate(whole):
            three = [term[place] for term in terms]
            size = float(np.linalg.norm(gradient))
            along = [float(term @ gradient) / size if size else 0.0 for term in three]
            entry = [float(term[largest[place]]) for term in three]
            rows.append([*map(number, [float(np.linalg.norm(term)) for term in three] + along + entry)])
        edges.append(rows)
    return {
        "names": [short[name] or "θ" for name in names],
        "norms": [number(float(np.linalg.norm(g))) for g in whole],
        "largest": [
            [*map(int, np.unravel_index(at, shape or [1]))] if shape else [] for at, shape in zip(largest, shapes)
        ],
        "entries": [number(float(g[at])) for g, at in zip(whole, largest)],
        "states": [number(float(np.linalg.norm(m))) for m in run.adjoints],
        "edges": edges,
    }


def _compare(trace: Trace, whole: dict[str, Any]) -> None:
    """The problem must have the gradients of the trace, where they have parameters of the same name."""
    for node in trace.parameters:
        gradient = whole.get(node.label)
        if gradient is None or node.gradient is None:
            continue
        size = float(np.linalg.norm(gradient))
        if not math.isclose(size, node.gradient, rel_tol=1e-4, abs_tol=1e-6):
            raise ValueError(
                f"explore: the gradient of {node.label} has norm {node.gradient:.6g} in the trace and {size:.6g} in "
                "the problem; pass the problem whose loss was traced (and none for a truncated run)"
            )


def number(value: float | None, digits: int = 12) -> float | str | None:
    """A number of that many digits, which strict JSON can hold: NaN and infinities are words."""
    if value is None:
        return None
    if not math.isfinite(value):
        return str(value)
    short = float(f"{value:.{digits}g}")
    return int(short) if short == int(short) and abs(short) < 1e6 else short
