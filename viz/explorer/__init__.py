"""The explorer: one HTML file in which values go forward and messages come back, step by step."""

from __future__ import annotations

import html
import json
import os
import re
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import tinygrad_rnn as tg

from ..render import write
from ..trace import Trace
from .content import content

__all__ = ["Explorer", "explore"]

SCRIPTS = ("model", "scene", "camera", "panel", "player", "main")
HEIGHT = 680  # of the frame in a notebook, in pixels


@dataclass(frozen=True)
class Explorer:
    """What `explore` returns: `html` is the page, `save` writes it, a notebook shows it."""

    trace: Trace
    problem: tg.bptt.Problem | None = field(default=None, repr=False)

    @cached_property
    def content(self) -> dict[str, Any]:
        """What the page shows, as plain data."""
        return content(self.trace, self.problem)

    @cached_property
    def html(self) -> str:
        """The page: styles, scripts and data in one text that loads nothing."""
        page = files(__package__) / "page"
        parts = {
            "title": html.escape(_printable(self.content["title"])),
            "style": (page / "style.css").read_text("utf-8"),
            "script": "\n".join((page / f"{name}.js").read_text("utf-8") for name in SCRIPTS),
            "data": "\n".join(_embedded(name, part) for name, part in _parts(self.content).items()),
        }
        template = (page / "page.html").read_text("utf-8")
        return re.sub(r"@@(\w+)@@", lambda match: parts[match[1]], template)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the page; returns its path. Raises ValueError for another suffix than .html."""
        path = Path(path)
        if path.suffix.lower() not in (".html", ".htm"):
            raise ValueError(f"the explorer is a web page: {str(path)!r} should end in .html")
        return write(path, self.html.encode())

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        frame = (
            f'<iframe srcdoc="{html.escape(self.html)}" style="width:100%;height:{HEIGHT}px;border:0" '
            f'title="{html.escape(_printable(self.content["title"]))}"></iframe>'
        )
        return {"text/html": frame, "text/plain": repr(self)}

    def __repr__(self) -> str:
        return f"Explorer({self.trace!r}); .save('x.html') writes the page"


def explore(trace: Trace, *, problem: tg.bptt.Problem | None = None) -> Explorer:
    """The unrolled graph as a page to step through: values column by column, losses, and messages that come back.

        ∂L/∂θ = Σ_t (message from step t):  every parameter fills with ‖Σ so far‖, from the last step to the first
        ∂L/∂θ = Σ_{s<t} e_s Γ_s + m_t Γ_t + Σ_{s≥t} m_{s+1} D_s:  what an edge of time shows, where `problem` is given

    The sums need the messages themselves: `viz.trace(…, values=True)`. `problem` is the same loss as a
    `tg.bptt.Problem`. Raises TypeError for what is no trace, and ValueError when the page is made and the problem is
    another one, or too large for `tg.bptt.messages`.

    Williams & Zipser 1989, "A learning algorithm for continually running fully recurrent neural networks" (Γ).

    >>> W = tg.tensor([[0.5, 0.1], [0.0, 0.5]], requires_grad=True, name="W")
    >>> h = tg.tensor([[1.0, 2.0]])
    >>> for t in tg.steps(3):
    ...     h = tg.tanh(h @ W)
    >>> from viz import trace
    >>> page = explore(trace(h.sum(), values=True))
    >>> page.content["captions"][-1]
    'Messages return from t = 0; all gradients are complete'
    """
    if not isinstance(trace, Trace):
        raise TypeError(f"explore shows a trace, not {type(trace).__name__}: viz.explore(viz.trace(loss, values=True))")
    return Explorer(trace, problem)


def _parts(data: dict[str, Any]) -> dict[str, Any]:
    """The content in parts that the page reads when it needs them: one level at a time, arrays at the first click."""
    levels = {f"level-{name}": level for name, level in data["levels"].items()}
    return {"data": {**data, "levels": list(data["levels"]), "arrays": None}, **levels, "arrays": data["arrays"]}


def _embedded(name: str, data: Any) -> str:
    """A script element that holds JSON: no < ends it early; letters beyond ASCII are escaped."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json" id="{name}">{text}</script>'


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)
