"""Where truncated backpropagation cuts, and the gradient that every cut throws away."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn.bptt.problem import cut
from tinygrad_rnn.bptt.randomized import weighted

from . import style
from .box import Box
from .layout import Layout
from .marks import Mark, text
from .picture import Level, Params, Picture, at_level, captions_of, checked_wrap
from .problem import recorded
from .trace import Trace

BAR, ROW = 180.0, 17.0  # length of the bar of the largest share; height of a line of the table of shares
MOST = 400  # steps
SPAN, THIN = 11.0, 4.0  # distance of two spans under the columns; height of one
WINDOW_NOTE = (
    "Messages are those of the whole gradient; what later losses send over a cut is thrown away. A line below the "
    "columns is an update: thick, the steps of its losses; thin, how far back these are sent."
)


@dataclass(frozen=True)
class Share:
    """Of one parameter: the norms of its gradient and of what the truncation leaves out of it."""

    name: str
    gradient: float
    missing: float

    @property
    def relative(self) -> float:
        """‖∂L/∂θ − estimate‖ / ‖∂L/∂θ‖; 0 where nothing is missing."""
        return self.missing / self.gradient if self.gradient else float("inf") if self.missing else 0.0


@dataclass(frozen=True)
class Cut:
    """A cut before step `at`; `lost`: by parameter the norm of the gradient that it throws away, if known."""

    at: int
    lost: dict[str, float] | None = None

    @property
    def norm(self) -> float | None:
        """The norm over all parameters."""
        return None if self.lost is None else float(np.linalg.norm(list(self.lost.values())))


@dataclass(frozen=True)
class Truncation:
    """What `truncation` draws over the unrolled graph: cuts, chunks or windows, weights of messages, shares."""

    cuts: tuple[Cut, ...]
    chunks: tuple[tuple[int, int], ...] = ()  # first step, and the one after the last
    windows: tuple[tuple[int, int, int], ...] = ()  # from where messages are kept, of losses from where, up to where
    weights: tuple[tuple[int, float], ...] = ()  # step, by what the messages into the step before are multiplied
    shares: tuple[Share, ...] = ()
    heading: str = ""

    def along(self, plan: Layout) -> Iterator[Mark]:
        """Chunk boxes behind the columns, scissors between them, windows below."""
        bottom, top = next(iter(plan.bands.values())).bottom, next(iter(plan.bands.values())).top
        foot = bottom - 8 - SPAN * len(self.windows)
        for number, (start, stop) in enumerate(self.chunks):
            box = Box.between(plan.bands[start].left - 7, plan.bands[stop - 1].right + 7, bottom - 7, top + 7)
            yield Mark(f"chunk_{number}", box, line=style.QUIET, dash="rounded,dashed", behind=True)
        for cut_ in self.cuts:
            x = _gap(plan, cut_.at)
            line = Box.between(x - 0.5, x + 0.5, foot, top + 14)
            yield Mark(f"cut_{cut_.at}", line, fill=style.CUT, behind=True)
            told = _told(cut_)
            yield text(f"scissors_{cut_.at}", ["✂"], x, top + 36, size=17, tooltip=told)
            words = f"loses {style.number(cut_.norm)}" if cut_.norm is not None else "cut"
            yield text(f"lost_{cut_.at}", [words], x, top + 48, bold=True, tooltip=told)
        for at, weight in self.weights:
            told = f"messages from step {at} to {at - 1} were not cut: multiplied by {weight:.6g}"
            yield text(f"weight_{at}", [f"× {style.number(weight)}"], _gap(plan, at), top + 20, bold=True,
                       ink=style.BACKWARD, tooltip=told)  # fmt: skip
        for number, (start, due, stop) in enumerate(self.windows):
            y = bottom - 10 - SPAN * number
            told = f"update {number}: losses of t = {due} … {stop - 1}, sent back to t = {start}"
            for kind, first, height in (("back", start, THIN / 4), ("losses", due, THIN)):
                box = Box.between(plan.bands[first].left, plan.bands[stop - 1].right, y - height / 2, y + height / 2)
                yield Mark(f"window_{kind}_{number}", box, fill=style.BACKWARD, tooltip=told)

    def below(self, left: float, top: float) -> Iterator[Mark]:
        """For every parameter a bar as long as what is missing of its gradient, relative to the gradient."""
        names = max(style.text_width(share.name, style.SMALL) for share in self.shares)
        largest = max([1.0, *(share.relative for share in self.shares if np.isfinite(share.relative))])
        yield text("shares", [self.heading], left, top, align="left", size=10.5, bold=True)
        for row, share in enumerate(self.shares):
            y, x = top - 20 - ROW * row, left + names + 10
            yield text(f"share_name_{row}", [share.name], left, y, align="left")
            length = BAR * min(share.relative, largest) / largest
            whole = Box.between(x, x + BAR / largest, y - 11, y - 1)
            yield Mark(f"share_whole_{row}", whole, line=style.QUIET)
            if length > 0.2:
                yield Mark(f"share_bar_{row}", Box.between(x, x + length, y - 10, y - 2), fill=style.BACKWARD)
            numbers = f"{style.number(share.missing)} of {style.number(share.gradient)}"
            words = f"{100 * share.relative:.1f} %  ({numbers})"
            yield text(f"share_{row}", [words], x + BAR + 8, y, align="left", tooltip=share.name)


def truncation(
    problem: tg.bptt.Problem,
    way: str | tg.bptt.Strategy,
    *,
    rng: tg.random.Generator | None = None,
    level: Level = "cell",
    params: Params = "shared",
    captions: Sequence[str] = (),
    title: str = "",
    wrap: int | None = None,
) -> Picture:
    """The unrolled graph with the cuts of truncated backpropagation through time, and what each of them costs.

        chunks:k          ✂ before every k-th step;     ∂L/∂θ − estimate = Σ_c lost_c,  lost_c = m_c Γ_c
        window:every,back each update's losses reach `back` steps; spans below show them: thick the losses, thin how far
        artbp:length      one draw of random cuts, messages that pass multiplied by 1 / (1 − c): right on average

    Beside the scissors stands ‖lost_c‖ over all parameters, on hover by parameter; below the drawing, for each
    parameter, ‖∂L/∂θ − estimate‖ / ‖∂L/∂θ‖. The norm of a sum of lost gradients may be less than the sum of norms.
    With chunks and random cuts the messages drawn are the truncated ones. `rng` draws the random cuts; the other
    options are those of `unroll`. Raises ValueError for a way that does not cut, TypeError for no Problem. Sources:
    Mikolov et al. 2010 (chunks); Williams & Peng 1990 (windows); Tallec & Ollivier 2017, arXiv:1705.08209 (random).

    >>> from zoo.topology.examples import example
    >>> picture = truncation(example("synced", "ElmanRNN", hidden=3), "chunks:2")
    >>> [edge.label for edge in picture.trace.cuts]
    ['h', 'h']
    """
    if not isinstance(problem, tg.bptt.Problem):
        raise TypeError(f"truncation draws a tg.bptt.Problem, not {type(problem).__name__}")
    if len(problem) > MOST:
        raise ValueError(f"truncation: {len(problem):,} steps, each a column; draw a problem of at most {MOST}")
    chosen = tg.bptt.strategy(way)
    drawer = DRAWERS.get(type(chosen))
    if drawer is None:
        raise ValueError(f"truncation: {chosen} does not cut; chunks:LENGTH, window:EVERY,BACK and artbp:LENGTH do")
    trace, found = drawer(problem, chosen, rng)
    drawn = at_level("truncation", trace, level, params)
    captions = captions_of("truncation", captions, drawn, drawn)
    drawn = replace(drawn, title=title or f"{style.title(drawn)}, truncated: {chosen}")
    return Picture(drawn, params == "shared", captions, along=found.along, below=found.below, wrap=checked_wrap(wrap))


def _chunks(problem: tg.bptt.Problem, way: tg.bptt.Chunks, rng: Any) -> tuple[Trace, Truncation]:
    found = _cuts(problem, way)
    places = [c.at for c in found]
    trace = recorded(problem, between=lambda carry, t: cut(carry) if t in places else carry)
    shares = _shares(problem, tg.bptt.gradient(problem, way).gradients)
    return trace, Truncation(found, _between(places, len(problem)), shares=shares, heading=HEADING)


def _window(problem: tg.bptt.Problem, way: tg.bptt.Window, rng: Any) -> tuple[Trace, Truncation]:
    updates = [*range(way.every, len(problem), way.every), len(problem)]
    windows = tuple((max(u - way.back, 0), due, u) for due, u in zip([0, *updates], updates, strict=False))
    shares = _shares(problem, tg.bptt.gradient(problem, way).gradients)
    found = Truncation(_cuts(problem, way), windows=windows, shares=shares, heading=HEADING)
    return replace(recorded(problem), note=WINDOW_NOTE), found


def _random(problem: tg.bptt.Problem, way: tg.bptt.ARTBP, rng: Any) -> tuple[Trace, Truncation]:
    updates = list(way.updates(problem, rng=rng or tg.random.Generator(0)))
    chunks = _between([u.t for u in updates[:-1]], len(problem))
    weights = {
        at: 1 / (1 - way.probability(i))
        for start, stop in chunks
        for i, at in enumerate(range(start, stop, way.stride))
        if i
    }
    starts = {start for start, _ in chunks}

    def between(carry: Any, t: int) -> Any:
        return cut(carry) if t in starts else weighted(carry, weights[t]) if t in weights else carry

    total = [sum(parts) for parts in zip(*(_arrays(u.gradients) for u in updates), strict=True)]
    found = Truncation(
        tuple(Cut(start) for start, _ in chunks[1:]), chunks, weights=tuple(weights.items()),
        shares=_shares(problem, total), heading=RANDOM_HEADING,
    )  # fmt: skip
    return replace(_with_weights(recorded(problem, between=between), weights), note=RANDOM_NOTE), found


def _with_weights(trace: Trace, weights: dict[int, float]) -> Trace:
    """The ops that weight a message belong to the cell that it comes from."""
    nodes = {node.id: node for node in trace.nodes}
    for edge in reversed(trace.edges):
        tap, to = nodes[edge.source], nodes[edge.target]
        if tap.op == "tap":
            label = f"×{style.number(weights[to.time])}" if to.time in weights else tap.label
            nodes[tap.id] = replace(tap, label=label, time=to.time, layer=to.layer, direction=to.direction,
                                    cell=to.cell, role="other")  # fmt: skip
    return replace(trace, nodes=list(nodes.values()))


HEADING = "What is missing of each parameter's gradient: ‖∂L/∂θ − estimate‖ / ‖∂L/∂θ‖"
RANDOM_NOTE = "Red, above the columns: by what the messages that were not cut there are multiplied, 1 / (1 − c)."
RANDOM_HEADING = "How far this one draw is off, ‖∂L/∂θ − estimate‖ / ‖∂L/∂θ‖; the mean over many draws is exact"
DRAWERS: dict[type, Any] = {tg.bptt.Chunks: _chunks, tg.bptt.Window: _window, tg.bptt.ARTBP: _random}


def _cuts(problem: tg.bptt.Problem, way: tg.bptt.Strategy) -> tuple[Cut, ...]:
    found = tg.bptt.cuts(problem, way)
    names = [name or "θ" for name in found.lost]
    rows = np.asarray(_host(found.norms.array), "float64")
    places = [int(at) for at in found.at.array]
    return tuple(
        Cut(at, dict(zip(names, row.tolist(), strict=True))) for at, row in zip(places, rows, strict=True)
    )


def _shares(problem: tg.bptt.Problem, estimate: Any) -> tuple[Share, ...]:
    """By parameter, the norms of the exact gradient and of what an estimate lacks."""
    names = tg.bptt.parameter_names(problem.parameters)
    exact = _arrays(tg.bptt.gradient(problem).gradients)
    parts = estimate if isinstance(estimate, list) else _arrays(estimate)
    norm = np.linalg.norm
    return tuple(
        Share(name or "θ", float(norm(full)), float(norm(full - part)) if not _equal(full, part) else 0.0)
        for name, full, part in zip(names, exact, parts, strict=True)
    )


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two gradients differ by rounding alone."""
    return float(np.linalg.norm(one - other)) <= 16 * np.finfo(one.dtype).eps * float(np.linalg.norm(one))


def _between(places: Sequence[int], total: int) -> tuple[tuple[int, int], ...]:
    return tuple(zip([0, *places], [*places, total], strict=True))


def _gap(plan: Layout, at: int) -> float:
    """The middle between the columns of steps at − 1 and at."""
    return (plan.bands[at - 1].right + plan.bands[at].left) / 2


def _told(found: Cut) -> str:
    place = f"cut between t = {found.at - 1} and t = {found.at}"
    if found.lost is None:
        return place
    return f"{place}; lost of the gradient: " + ", ".join(f"{name} {norm:.6g}" for name, norm in found.lost.items())


def _arrays(gradients: Any) -> list[np.ndarray]:
    return [_host(g.data) for g in tg.tree.leaves(gradients)]


def _host(array: Any) -> np.ndarray:
    return np.asarray(array.get() if hasattr(array, "get") else array)
