"""A drawn trace: its DOT text, files of it, and itself as the last expression of a notebook cell."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from .dot import to_dot
from .fold import fold_cells
from .marks import Along, Below
from .render import INSTALL, NoRenderer, render, save
from .trace import Trace


@dataclass(frozen=True)
class Picture:
    """What `unroll` returns: `dot` is the text, `save` draws it, a notebook shows it; `trace` is what was drawn.

    `show` says what is written beside a message; `along` and `below` add marks to the columns and under the drawing.
    """

    trace: Trace
    parameters: bool = True
    captions: tuple[str, ...] = ()
    show: str = "norm"
    along: Along | None = None
    below: Below | None = None
    wrap: int | None = None

    @cached_property
    def dot(self) -> str:
        """The picture as DOT text with pinned positions."""
        return to_dot(
            self.trace, parameters=self.parameters, captions=self.captions, show=self.show, along=self.along,
            below=self.below, wrap=self.wrap,
        )  # fmt: skip

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Draw to .svg, .png or .pdf, or write the .dot; returns the path written: the .dot without Graphviz."""
        return save(self.dot, path)

    def _repr_svg_(self) -> str | None:
        try:
            return render(self.dot, "svg").decode()
        except NoRenderer:
            return None

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        svg = self._repr_svg_()
        if svg is None:
            return {"text/plain": f"// no Graphviz to draw with: {INSTALL}\n{self.dot}"}
        return {"image/svg+xml": svg, "text/plain": repr(self)}

    def __repr__(self) -> str:
        return f"Picture({self.trace!r}); .save('x.svg') draws it, .dot is its text"


def unroll(
    trace: Trace,
    *,
    level: Literal["cell", "op"] = "cell",
    params: Literal["shared", "hide"] = "shared",
    captions: Sequence[str] = (),
    title: str = "",
) -> Picture:
    """The unrolled graph: a column for each time step, values going forward, messages and their norms going back.

    `level` is "cell" (one node per cell, step and layer) or "op" (every op); `params` draws each shared parameter once
    in a rail at the left ("shared") or not at all ("hide"); `captions` are written under the steps in their order, such
    as the letters of a text. Raises ValueError for other words, and for more captions than steps.
    """
    if not isinstance(trace, Trace):
        raise TypeError(f"unroll draws a trace, not {type(trace).__name__}: viz.unroll(viz.trace(loss))")
    for name, value, known in (("level", level, ("cell", "op")), ("params", params, ("shared", "hide"))):
        if value not in known:
            raise ValueError(f"unroll: {name}={value!r} is none of {', '.join(map(repr, known))}")
    if level == "op" and trace.level == "cell":
        raise ValueError("unroll: this trace is folded to cells; level='op' needs the one from viz.trace")
    if len(captions) > len(trace.steps):
        raise ValueError(f"unroll: {len(captions)} captions for {len(trace.steps)} steps; give one a step")
    drawn = fold_cells(trace) if level == "cell" else trace
    if title:
        drawn = Trace(drawn.nodes, drawn.edges, drawn.level, title, drawn.note)
    return Picture(drawn, params == "shared", tuple(captions))
