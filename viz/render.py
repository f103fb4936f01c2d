"""DOT text → SVG, PNG, PDF by the `dot` program, else by Graphviz as a library; files come whole or not at all."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
import warnings
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from tinygrad_rnn.io import atomic_write

FORMATS = ("svg", "png", "pdf")
INSTALL = "install Graphviz (on Debian: apt install graphviz) or its library (pip install pygraphviz)"
_library = threading.Lock()  # Graphviz as a library keeps global state


class NoRenderer(RuntimeError):
    """Neither the `dot` program nor pygraphviz was found; the text of the error says what to install."""


def render(dot: str, format: str = "svg") -> bytes:
    """Draw DOT text with pinned positions; `format` is "svg", "png" or "pdf".

    Raises NoRenderer when there is no Graphviz, ValueError for another format or text that Graphviz refuses.
    """
    if format not in FORMATS:
        raise ValueError(f"render: format {format!r} is none of {', '.join(FORMATS)}")
    drawn = _by_program(dot, format)
    if drawn is None:
        drawn = _by_library(dot, format)
    if drawn is None:
        raise NoRenderer(f"no Graphviz to draw with: {INSTALL}")
    return _fit_for_browsers(drawn) if format == "svg" else drawn


def save(dot: str, path: str | os.PathLike[str]) -> Path:
    """Draw to a file, its kind by its suffix (.svg, .png, .pdf, or .dot for the text); returns the path written.

    Without any Graphviz the text is written beside it as .dot, with a warning that says what to install.
    """
    path = Path(path)
    kind = path.suffix.lower().removeprefix(".")
    if kind not in (*FORMATS, "dot"):
        known = ", ".join(f".{f}" for f in (*FORMATS, "dot"))
        raise ValueError(f"cannot tell what to write to {str(path)!r} with suffix {path.suffix!r}; use one of {known}")
    if kind == "dot":
        return write(path, dot.encode())
    try:
        return write(path, render(dot, kind))
    except NoRenderer:
        text = write(path.with_suffix(".dot"), dot.encode())
        warnings.warn(
            f"no Graphviz to draw {path} with, so {text} was written: {INSTALL}, then: dot -T{kind} {text} -o {path}",
            stacklevel=3,
        )
        return text


def write(path: Path, content: bytes) -> Path:
    """Write a file whole or not at all; returns its path."""
    atomic_write(path, content)
    return path


def _by_program(dot: str, format: str) -> bytes | None:
    program = shutil.which("dot")
    if program is None:
        return None
    resolution = ["-Gdpi=144"] if format == "png" else []
    done = subprocess.run([program, f"-T{format}", *resolution], input=dot.encode(), capture_output=True, check=False)
    said = done.stderr.decode(errors="replace").strip()
    if done.returncode:
        raise ValueError(f"{program} could not draw this graph (exit {done.returncode}): {said}")
    if said:
        hint = " (.svg and .pdf have no such limit)" if "too large" in said else ""
        warnings.warn(f"{program}: {said}{hint}", stacklevel=4)
    return done.stdout


def _by_library(dot: str, format: str) -> bytes | None:
    try:
        import pygraphviz
    except ImportError:
        return None
    with _library:
        graph: Any = pygraphviz.AGraph(string=dot)
        if format == "png":
            graph.graph_attr["dpi"] = "144"
        return graph.draw(path=None, format=format, prog="nop2")


def _fit_for_browsers(svg: bytes) -> bytes:
    """As wide as the page, never wider than drawn; the tooltips as <title>, which every viewer shows."""
    for prefix, uri in (("", "http://www.w3.org/2000/svg"), ("xlink", "http://www.w3.org/1999/xlink")):
        ElementTree.register_namespace(prefix, uri)
    root = ElementTree.fromstring(svg)
    width = root.get("width", "")
    root.set("width", "100%")
    root.attrib.pop("height", None)
    root.set("style", f"max-width:{width}")
    space = "{http://www.w3.org/2000/svg}"
    for item in root.iter(f"{space}g"):
        title = item.find(f"{space}title")
        links = item.findall(f"{space}g/{space}a")
        if title is None or not links:
            continue
        title.text = links[0].get("{http://www.w3.org/1999/xlink}title", "").strip()
        if not title.text:
            item.remove(title)
        for child in list(item):
            if (link := child.find(f"{space}a")) is not None:
                place = list(item).index(child)
                item.remove(child)
                for offset, shape in enumerate(list(link)):
                    item.insert(place + offset, shape)
        if "value" in item.get("class", "").split():
            _centre(item)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


def _centre(item: ElementTree.Element) -> None:
    """The lines of a node around its middle: a viewer's letters are seldom as wide as those that Graphviz measured."""
    outline = " ".join(part.get("points") or part.get("d") or "" for part in item)
    x = [float(number) for number in re.findall(r"(-?[\d.]+),-?[\d.]+", outline)]
    x += [float(part.get("cx", "0")) for part in item if part.get("cx")]
    for line in item:
        if x and line.get("text-anchor") == "start":
            line.set("text-anchor", "middle")
            line.set("x", f"{(min(x) + max(x)) / 2:g}")
