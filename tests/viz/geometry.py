"""What Graphviz drew, as boxes, texts and lines, and every place where two of them are in each other's way."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import pytest

from viz.box import Box

CELL = 64.0  # points; what is in different squares of a grid this wide is far apart
SLACK = 0.6  # overlap that rounding may make
APART, MARGIN = 4.0, 1.0  # between points of a line that are looked at; by which it must be inside


@dataclass
class Line:
    name: str
    ends: tuple[str, str]
    points: np.ndarray  # (n, 2)


@dataclass
class Drawing:
    """Boxes of values by their ids, texts with the box that each fills, and lines as many short pieces."""

    values: dict[str, Box] = field(default_factory=dict)
    written: list[tuple[str, Box, Box]] = field(default_factory=list)  # on a value: text, where, the value's box
    texts: list[tuple[str, Box]] = field(default_factory=list)  # beside lines, under columns
    lines: list[Line] = field(default_factory=list)


def drawing(dot: str) -> Drawing:
    """The picture as the `dot` program draws it; no warning may be said."""
    program = shutil.which("dot")
    if program is None:
        pytest.skip("the dot program draws what is measured here")
    done = subprocess.run([program, "-Tjson"], input=dot.encode(), capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    graph = json.loads(done.stdout)
    found = Drawing()
    names = {}
    for item in graph["objects"]:
        names[item["_gvid"]] = item["name"]
        x, y = (float(part) for part in item["pos"].split(","))
        box = Box(x, y, 72 * float(item["width"]), 72 * float(item["height"]))
        kind = item["class"].split()[0]
        if kind in ("value", "again"):
            found.values[item["name"]] = box
            found.written += [(words, where, box) for words, where in _texts(item)]
        else:
            found.texts += _texts(item)
    for item in graph.get("edges", ()):
        if item["class"] != "legend":
            ends = names[item["tail"]], names[item["head"]]
            found.lines.append(Line(item["id"], ends, _points(item["pos"])))
            found.texts += _texts(item)
    return found


def clashes(found: Drawing, *, bars: frozenset[str] = frozenset()) -> Iterator[str]:
    """Where values overlap, a text leaves its box, lies on a box, a text or a line, or a line runs through a box."""
    for words, where, box in found.written:
        if where.left < box.left - SLACK or where.right > box.right + SLACK or not box.bottom < where.y < box.top:
            yield f"{words!r} leaves its box by {max(box.left - where.left, where.right - box.right):.1f}"
    grid: dict[tuple[int, int], list[tuple[str, Box]]] = defaultdict(list)
    for text in found.texts:
        for square in _squares(text[1]):
            grid[square].append(text)
    for texts in grid.values():
        for (one, a), (other, b) in combinations(texts, 2):
            if overlap(a, b):
                yield f"text {one!r} lies on text {other!r} at {a.x:.0f},{a.y:.0f}"
    boxes: dict[tuple[int, int], list[tuple[str, Box]]] = defaultdict(list)
    for name, box in found.values.items():
        for square in _squares(box):
            yield from (f"{name} overlaps {other}" for other, there in boxes[square] if overlap(box, there))
            boxes[square].append((name, box))
            for words, where in grid.get(square, ()):
                if overlap(box, where):
                    yield f"text {words!r} lies on {name} at {where.x:.0f},{where.y:.0f}"
    for line in found.lines:
        near = {(int(x), int(y)) for x, y in np.unique(line.points // CELL, axis=0)}
        for name, box in dict(item for square in near for item in boxes.get(square, ())).items():
            if re.sub(r"_again_\d+$", "", name) not in line.ends and _inside(line.points, box):
                yield f"line {line.name} {line.ends} runs through {name}"
        for words, where in {item for square in near for item in grid.get(square, ())}:
            if _inside(line.points, where):
                yield f"line {line.name} strikes {words!r} at {where.x:.0f},{where.y:.0f}"


def overlap(a: Box, b: Box) -> bool:
    wide = min(a.right, b.right) - max(a.left, b.left)
    return wide > SLACK and min(a.top, b.top) - max(a.bottom, b.bottom) > SLACK


def _texts(item: dict) -> Iterator[tuple[str, Box]]:
    """The texts of a node or an edge: each as wide as Graphviz measured it, as high as its capitals."""
    size = 0.0
    for op in item.get("_ldraw_", ()):
        if op["op"] == "F":
            size = op["size"]
        elif op["op"] == "T" and op["text"].strip():
            x, y = op["pt"]
            x -= {"l": 0.0, "c": op["width"] / 2, "r": op["width"]}[op["align"]]
            yield op["text"], Box.between(x, x + op["width"], y, y + 0.72 * size)


def _points(pos: str) -> np.ndarray:
    """Points of a path no more than a few points apart."""
    points = [[float(v) for v in p.removeprefix("e,").split(",")] for p in pos.split()]
    if pos.startswith("e,"):
        points = [*points[1:], *points[:1] * 3]
    made = []
    for at in range(0, len(points) - 3, 3):
        piece = np.array(points[at : at + 4])
        u = np.arange(0.5, max(2, int(np.abs(np.diff(piece, axis=0)).sum() / APART)))
        u = (u / len(u))[:, None]
        made.append(np.hstack([(1 - u) ** 3, 3 * u * (1 - u) ** 2, 3 * u * u * (1 - u), u**3]) @ piece)
    return np.concatenate(made)


def _squares(box: Box) -> Iterator[tuple[int, int]]:
    for x in range(int(box.left // CELL), int(box.right // CELL) + 1):
        for y in range(int(box.bottom // CELL), int(box.top // CELL) + 1):
            yield x, y


def _inside(points: np.ndarray, box: Box) -> bool:
    """Whether a line runs through a box, and not just along its side."""
    near = np.abs(points - (box.x, box.y)) < (box.width / 2 - MARGIN, box.height / 2 - MARGIN)
    return bool(near.all(axis=1).any())
