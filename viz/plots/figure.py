"""What matplotlib's pictures share: a page of one style, the file it is saved to, the display in a notebook."""

from __future__ import annotations

import io
import os
import re
import textwrap
import unicodedata
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np

from tinygrad_rnn.backend import to_device
from tinygrad_rnn.io import atomic_write

from .fonts import FAMILY, families, missing, packages

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("svg", "png", "pdf")
INK, QUIET, PALE, PAPER = "#1a1a1a", "#5f5f5f", "#d9dce1", "#ffffff"
STYLE: dict[str, Any] = {
    "font.size": 9, "axes.titlesize": 9, "axes.labelsize": 9, "xtick.labelsize": 8, "ytick.labelsize": 8,
    "legend.fontsize": 8, "figure.titlesize": 10, "axes.spines.top": False, "axes.spines.right": False,
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": QUIET, "xtick.color": INK, "ytick.color": INK,
    "text.parse_math": False,  # a dollar in a text is a dollar
    "legend.frameon": False, "hatch.linewidth": 0.5, "lines.linewidth": 1.5, "figure.facecolor": PAPER,
    "svg.fonttype": "none", "svg.hashsalt": "viz", "pdf.fonttype": 42,
}  # fmt: skip
NUMBERS = re.compile(r"-?\d+\.\d+")
LINE = 0.165  # of a title, in inches
SVG = "{http://www.w3.org/2000/svg}"


@dataclass(frozen=True, eq=False)
class Plot:
    """A picture that matplotlib draws when it is wanted.

    ``data``: the numbers on it, by name. ``paint``: puts them on a matplotlib Figure of ``size`` inches, higher for
    a title of several lines, and may give back what to say where the pointer rests: by the gid of an artist, a text
    for each of its paths. ``text``: what of its text is the user's, for which fonts are looked for. ``page``: the same
    as an HTML page, where there is one.
    """

    name: str
    title: str
    data: Mapping[str, np.ndarray]
    paint: Callable[[Figure], Mapping[str, Sequence[str]] | None] = field(repr=False)
    size: tuple[float, float] = (6.4, 3.6)
    text: str = ""
    page: Callable[[], str] | None = field(default=None, repr=False)

    @property
    def line(self) -> str:
        """The title in one line."""
        return legible("; ".join(self.title.splitlines())) or self.name

    @property
    def formats(self) -> tuple[str, ...]:
        """What `save` can write, by suffix."""
        return (*FORMATS, "html") if self.page else FORMATS

    def figure(self) -> Figure:
        """The picture as a matplotlib Figure, to be changed or looked into.

        Raises ImportError, with what to install, without matplotlib.
        """
        return self._drawn()[0]

    def render(self, format: str = "svg") -> bytes:
        """The picture as a file; its text stays text in SVG, so that it can be searched, and read in any script.

        Raises ValueError for another format, ImportError without matplotlib.
        """
        if format not in self.formats:
            raise ValueError(f"{self.name}: format {format!r} is none of {', '.join(self.formats)}")
        if format == "html" and self.page:
            return self.page().encode()
        figure, notes = self._drawn()
        if format != "svg" and (unknown := missing(self.text + self.title)):
            warnings.warn(
                f"{self.name}: no font here has {unknown}, drawn as boxes; save as .svg, which the viewer draws with "
                f"other fonts, or install one (on Debian: apt install {packages(self.text + self.title)})",
                stacklevel=3,
            )
        file, title = io.BytesIO(), self.line
        dated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}[format]
        with _styled(self.text + self.title), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from")  # said above, once
            with np.errstate(over="ignore"):
                figure.savefig(file, format=format, dpi=160, metadata={**dated, "Title": title})
        return _described(file.getvalue(), title, notes) if format == "svg" else file.getvalue()

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write to a file, its kind by its suffix, whole or not at all; returns its path.

        Raises ValueError for a suffix that is none of the `formats`, OSError where the file cannot be written.
        """
        path = Path(path)
        kind = path.suffix.lower().removeprefix(".")
        if kind not in self.formats:
            known = ", ".join(f".{each}" for each in self.formats)
            raise ValueError(f"{self.name}: {str(path)!r} has a suffix that is none of {known}")
        atomic_write(path, self.render(kind))
        return path

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"image/svg+xml": self.render("svg").decode(), "text/plain": repr(self)}

    def __repr__(self) -> str:
        return f"Plot({self.name}: {', '.join(self.data)}); .save('{self.name}.svg') draws it, .data are its numbers"

    def _drawn(self) -> tuple[Figure, Mapping[str, Sequence[str]]]:
        with _styled(self.text + self.title):
            from matplotlib.figure import Figure

            (width, height), title = self.size, _wrapped(self.title, self.size[0])
            figure = Figure(figsize=(width, height + LINE * title.count("\n")), layout="constrained")
            if title:
                figure.suptitle(title)
            with np.errstate(over="ignore"):  # ticks of axes up to the largest floats
                notes = self.paint(figure)
        return figure, notes or {}


def _wrapped(title: str, inches: float) -> str:
    """In lines that fit; by the mean width of its letters, since matplotlib would measure dollars as mathematics."""
    points = [12 if unicodedata.east_asian_width(c) in "WF" else 8.2 if c.isupper() else 5.8 for c in title]
    letters = int(inches * 72 * len(points) / max(1, sum(points)))
    return "\n".join(part for line in title.splitlines() for part in textwrap.wrap(legible(line), letters))


def legible(text: str) -> str:
    """A text with a dot for each character that has no form; files refuse some of those."""
    return "".join(c if c.isprintable() else "·" for c in text)


def host(array: Any) -> np.ndarray:
    """An array, a Tensor or nested lists as NumPy holds it, from whatever device."""
    if hasattr(array, "numpy"):
        return array.numpy()
    return np.asarray(array if isinstance(array, list | tuple) else to_device(array, "cpu"))


def _styled(text: str) -> Any:
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError("matplotlib, which draws this picture, is not installed: pip install matplotlib") from error
    style: Any = {**STYLE, "font.family": [FAMILY[0], *families(text), *FAMILY[1:]]}
    return matplotlib.rc_context(style)


def _described(svg: bytes, title: str, notes: Mapping[str, Sequence[str]]) -> bytes:
    """As wide as the page, never wider than drawn; with a title, and with one for each path that has a note."""
    for prefix, uri in (("", "http://www.w3.org/2000/svg"), ("xlink", "http://www.w3.org/1999/xlink")):
        ElementTree.register_namespace(prefix, uri)
    root = ElementTree.fromstring(svg)
    root.set("style", f"max-width:{root.get('width', '')}")
    root.set("width", "100%")
    root.attrib.pop("height", None)
    root.set("role", "img")
    root.insert(0, _titled(title))
    groups = {group.get("id"): group for group in root.iter(f"{SVG}g")}
    for gid, texts in notes.items():
        if (group := groups.get(gid)) is not None:  # an image, where there are too many paths
            group.set("shape-rendering", "crispEdges")  # no seams between cells
            for path, text in zip(group.findall(f"{SVG}path"), texts, strict=True):
                if path.get("style") == "fill: none":
                    group.remove(path)  # of a cell that is masked
                else:
                    _shortened(path)
                    path.append(_titled(legible(text)))
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


def _shortened(path: ElementTree.Element) -> None:
    """The same path in fewer characters, since there are thousands: a rectangle as one, hundredths of a point."""
    numbers = [f"{float(x):.2f}" for x in NUMBERS.findall(path.get("d", ""))]
    style = path.get("style", "")
    path.attrib.pop("clip-path", None)
    if len(numbers) == 10 and numbers[:2] == numbers[8:] and style.startswith("fill: #") and len(style) == 13:
        x, y, right, _, _, low = numbers[:6]
        path.attrib.clear()
        path.set("d", f"M{x} {y}H{right}V{low}H{x}Z")
        path.set("fill", style[6:])
    elif "fill: none" in style:
        path.set("shape-rendering", "auto")  # a line


def _titled(text: str) -> ElementTree.Element:
    element = ElementTree.Element(f"{SVG}title")
    element.text = text
    return element
