"""A drawn trace: its DOT text, files of it, and itself as the last expression of a notebook cell."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

from .dot import Wrap, to_dot
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
    wrap: Wrap = "auto"

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


@dataclass(frozen=True)
class Look:
    """What every picture of an unrolled graph can be asked for; `place` is who asks, for errors. See `unroll`."""

    place: str
    level: Level = "cell"
    params: Params = "shared"
    captions: Sequence[str] = ()
    title: str = ""
    window: tuple[int, int] | None = None
    fold: Fold = "auto"
    max_nodes: int = 400
    wrap: Wrap = "auto"

    def __post_init__(self) -> None:
        for name, known in (("level", ("cell", "op")), ("params", ("shared", "hide"))):
            if (value := getattr(self, name)) not in known:
                raise ValueError(f"{self.place}: {name}={value!r} is none of {', '.join(map(repr, known))}")
        if self.wrap not in ("auto", None) and not (isinstance(self.wrap, int) and self.wrap >= 1):
            raise ValueError(f"{self.place}: wrap={self.wrap!r}: a row has 1 column or more; None for all, or 'auto'")

    def folds(self, steps: int) -> bool:
        """Whether steps may be folded, so that their messages have to be kept to be summed."""
        return self.fold == "always" or self.window is not None or (self.fold != "never" and 4 * steps > self.max_nodes)

    def at_level(self, trace: Trace) -> Trace:
        """The trace with a node a cell, or an op."""
        if self.level == "op" and trace.level == "cell":
            raise ValueError(f"{self.place}: this trace is folded to cells; level='op' needs the one from viz.trace")
        return fold_cells(trace) if self.level == "cell" else trace

    def picture(self, drawn: Trace, *, title: str = "", note: str = "", **facts: Any) -> Picture:
        """The picture of a trace at this level, folded where it is too long; `facts` are further fields of it."""
        short = shorten(drawn, window=self.window, fold=self.fold, max_nodes=self.max_nodes)
        captions = self._captions(drawn, short)
        note = " ".join(filter(None, (short.note, note)))
        short = replace(short, title=self.title or title or short.title, note=note)
        return Picture(short, self.params == "shared", captions, wrap=self.wrap, **facts)

    def _captions(self, trace: Trace, short: Trace) -> tuple[str, ...]:
        """The captions of the columns that are left: none under one that stands for several steps."""
        steps = trace.steps
        if len(self.captions) > len(steps):
            raise ValueError(f"{self.place}: {len(self.captions)} captions for {len(steps)} steps; give one a step")
        of = dict(zip(steps, self.captions, strict=False))
        many = {node.time for node in short.nodes if node.steps > 1}
        return tuple("" if t in many else of.get(t, "") for t in short.steps) if self.captions else ()


class Options(TypedDict, total=False):
    """The options of `unroll`, which other pictures of the graph have as well."""

    level: Level
    params: Params
    captions: Sequence[str]
    title: str
    window: tuple[int, int] | None
    fold: Fold
    max_nodes: int
    wrap: Wrap


def unroll(trace: Trace, **options: Unpack[Options]) -> Picture:
    """The unrolled graph: a column for each time step, values going forward, messages and their norms going back.

    `level` is "cell" (one node per cell, step and layer) or "op" (every op); `params` draws each shared parameter once
    in a rail at the left ("shared") or not at all ("hide"); `captions` are written under the steps in their order, such
    as the letters of a text; `title` stands above. A graph of more than `max_nodes` nodes (400) is drawn with its first
    and last three columns, and one between them that stands for all others and sums their messages; `fold` is "auto",
    "always" or "never". `window` (a, b) keeps the steps a ≤ t < b, and folds what is before and after. `wrap` is how
    many columns a row has: "auto", as many as a page is wide, or None, all.
    Raises ValueError for other words and numbers, and for more captions than steps.
    """
    if not isinstance(trace, Trace):
        raise TypeError(f"unroll draws a trace, not {type(trace).__name__}: viz.unroll(viz.trace(loss))")
    look = Look("unroll", **options)
    return look.picture(look.at_level(trace))
