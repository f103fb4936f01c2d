"""A drawn trace: its DOT text, files of it, and itself as the last expression of a notebook cell."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from .dot import to_dot
from .fold import fold_cells
from .long import Fold, shorten
from .marks import Along, Below
from .render import INSTALL, NoRenderer, render, save
from .trace import Trace

Level = Literal["cell", "op"]
Params = Literal["shared", "hide"]


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
    level: Level = "cell",
    params: Params = "shared",
    captions: Sequence[str] = (),
    title: str = "",
    window: tuple[int, int] | None = None,
    fold: Fold = "auto",
    max_nodes: int = 400,
    wrap: int | None = None,
) -> Picture:
    """The unrolled graph: a column for each time step, values going forward, messages and their norms going back.

    `level` is "cell" (one node per cell, step and layer) or "op" (every op); `params` draws each shared parameter once
    in a rail at the left ("shared") or not at all ("hide"); `captions` are written under the steps in their order, such
    as the letters of a text. A graph of more than `max_nodes` nodes is drawn with its first and last three columns, and
    one between them that stands for all others and sums their messages; `fold` is "auto", "always" or "never".
    `window` (a, b) keeps the steps a ≤ t < b, and folds what is before and after. `wrap` is how many columns a row has.
    Raises ValueError for other words and numbers, and for more captions than steps.
    """
    if not isinstance(trace, Trace):
        raise TypeError(f"unroll draws a trace, not {type(trace).__name__}: viz.unroll(viz.trace(loss))")
    drawn = at_level("unroll", trace, level, params)
    short = shorten(drawn, window=window, fold=fold, max_nodes=max_nodes)
    captions = captions_of("unroll", captions, drawn, short)
    return Picture(replace(short, title=title or short.title), params == "shared", captions, wrap=checked_wrap(wrap))


def at_level(place: str, trace: Trace, level: str, params: str) -> Trace:
    """The trace with a node a cell, or an op, as asked; the words are checked."""
    for name, value, known in (("level", level, ("cell", "op")), ("params", params, ("shared", "hide"))):
        if value not in known:
            raise ValueError(f"{place}: {name}={value!r} is none of {', '.join(map(repr, known))}")
    if level == "op" and trace.level == "cell":
        raise ValueError(f"{place}: this trace is folded to cells; level='op' needs the one from viz.trace")
    return fold_cells(trace) if level == "cell" else trace


def captions_of(place: str, captions: Sequence[str], trace: Trace, short: Trace) -> tuple[str, ...]:
    """The captions of the columns that are left: none under one that stands for several steps."""
    steps = trace.steps
    if len(captions) > len(steps):
        raise ValueError(f"{place}: {len(captions)} captions for {len(steps)} steps; give one a step")
    of = dict(zip(steps, captions, strict=False))
    many = {node.time for node in short.nodes if node.steps > 1}
    return tuple("" if t in many else of.get(t, "") for t in short.steps) if captions else ()


def checked_wrap(wrap: int | None) -> int | None:
    """The number of columns of a row, 1 or more, or None."""
    if wrap is not None and wrap < 1:
        raise ValueError(f"wrap={wrap}: a row has 1 column or more")
    return wrap
