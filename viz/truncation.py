"""Where truncated backpropagation cuts, and the gradient that every cut throws away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Unpack

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn.bptt.problem import cut
from tinygrad_rnn.bptt.randomized import weighted

from . import style
from .box import Box
from .layout import Layout
from .marks import Mark, text
from .picture import Look, Options, Picture
from .problem import recorded
from .trace import Trace

BAR, ROW = 180.0, 17.0  # length of the bar of the largest share; height of a line of the table of shares
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
    """A cut before step `at`; `lost`: by parameter the gradient that it throws away."""

    at: int
    lost: Mapping[str, np.ndarray]

    @property
    def norms(self) -> dict[str, float]:
        """By parameter."""
        return {name: float(np.linalg.norm(gradient)) for name, gradient in self.lost.items()}

    @property
    def norm(self) -> float:
        """The norm over all parameters."""
        return float(np.linalg.norm(list(self.norms.values())))


@dataclass(frozen=True)
class Truncation:
    """What `truncation` draws over the unrolled graph: cuts, chunks or windows, weights of messages, shares."""

    steps: int
    cuts: tuple[Cut, ...]
    chunks: tuple[tuple[int, int], ...] = ()  # first step, and the one after the last
    windows: tuple[tuple[int, int, int], ...] = ()  # from where messages are kept, of losses from where, up to where
    weights: tuple[tuple[int, float], ...] = ()  # step, by what the messages into the step before are multiplied
    shares: tuple[Share, ...] = ()
    heading: str = ""

    def along(self, plan: Layout) -> Iterator[Mark]:
        """Chunk boxes behind the columns, scissors between them, windows below."""
        place = _Steps(plan, self.steps)
        bottom, top = place.box.bottom, place.box.top
        windows = [(at, *window) for at, window in enumerate(self.windows) if not place.inside(window[0], window[2])]
        foot = bottom - 8 - SPAN * len(windows)
        for number, (start, stop) in enumerate(self.chunks):
            if not place.inside(start, stop):
                left, right = place.left(start, besides=True) - 7, place.right(stop - 1, besides=True) + 7
                box = Box.between(left, right, bottom - 7, top + 7)
                yield Mark(f"chunk_{number}", box, line=style.QUIET, dash="rounded,dashed", behind=True)
        for x, cuts in place.by_place(self.cuts).items():
            yield from _scissors(cuts, x, foot, top, between=place.gap(cuts[0].at) is not None)
        for at, weight in self.weights:
            if (gap := place.gap(at)) is not None:
                told = f"messages from step {at} to {at - 1} were not cut: multiplied by {weight:.6g}"
                yield text(f"weight_{at}", [f"× {style.number(weight)}"], gap, top + 20, bold=True, ink=style.BACKWARD,
                           tooltip=told)  # fmt: skip
        for row, (number, start, due, stop) in enumerate(windows):
            y = bottom - 10 - SPAN * row
            told = f"update {number}: losses of t = {due} … {stop - 1}, sent back to t = {start}"
            for kind, first, height in (("back", start, THIN / 4), ("losses", due, THIN)):
                left, right = place.left(first), place.right(stop - 1)
                if left < right:  # else both ends are inside a folded column
                    box = Box.between(left, right, y - height / 2, y + height / 2)
                    yield Mark(f"window_{kind}_{row}", box, fill=style.BACKWARD, tooltip=told)

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
    **options: Unpack[Options],
) -> Picture:
    """The unrolled graph with the cuts of truncated backpropagation through time, and what each of them costs.

        chunks:k          ✂ before every k-th step;     ∂L/∂θ − estimate = Σ_c lost_c,  lost_c = m_c Γ_c
        window:every,back each update's losses reach `back` steps; spans below show them: thick the losses, thin how far
        artbp:length      one draw of random cuts, messages that pass multiplied by 1 / (1 − c): right on average

    Beside the scissors stands ‖lost_c‖ over all parameters, on hover by parameter; below the drawing, for each
    parameter, ‖∂L/∂θ − estimate‖ / ‖∂L/∂θ‖. The norm of a sum of lost gradients may be less than the sum of norms.
    With chunks and random cuts the messages drawn are the truncated ones; what a random cut loses is that of chunks
    that end there, which the weights make up for on average. The cuts between steps that are folded into one column
    stand over it with the norm of all that they lose together. `rng` draws the random cuts; the other options are those
    of `unroll`. Raises ValueError for a way that does not cut, TypeError for no Problem. Sources:
    Mikolov et al. 2010 (chunks); Williams & Peng 1990 (windows); Tallec & Ollivier 2017, arXiv:1705.08209 (random).

    >>> from zoo.topology.examples import example
    >>> picture = truncation(example("synced", "ElmanRNN", hidden=3), "chunks:2")
    >>> [edge.label for edge in picture.trace.cuts]
    ['h', 'h']
    """
    if not isinstance(problem, tg.bptt.Problem):
        raise TypeError(f"truncation draws a tg.bptt.Problem, not {type(problem).__name__}")
    look = Look("truncation", **options)
    chosen = tg.bptt.strategy(way)
    drawer = DRAWERS.get(type(chosen))
    if drawer is None:
        raise ValueError(f"truncation: {chosen} does not cut; chunks:LENGTH, window:EVERY,BACK and artbp:LENGTH do")
    trace, found, note = drawer(problem, chosen, look.folds(len(problem)), rng)
    drawn = look.at_level(trace)
    title = f"{style.title(drawn)}, truncated: {chosen}"
    picture = look.picture(drawn, title=title, note=note, along=found.along, below=found.below)
    if len(picture.trace.steps) < len(problem):
        picture = replace(picture, trace=replace(picture.trace, note=f"{picture.trace.note} {FOLDED_NOTE}"))
    return picture


def _chunks(
    problem: tg.bptt.Problem, way: tg.bptt.Chunks, values: bool, rng: Any
) -> tuple[Trace, Truncation, str]:
    found = _cuts(problem, way)
    places = [c.at for c in found]
    between = set(places)
    trace = recorded(problem, between=lambda carry, t: cut(carry) if t in between else carry, values=values)
    shares = _shares(problem, tg.bptt.gradient(problem, way).gradients)
    steps = len(problem)
    return trace, Truncation(steps, found, _between(places, steps), shares=shares, heading=HEADING), ""


def _window(
    problem: tg.bptt.Problem, way: tg.bptt.Window, values: bool, rng: Any
) -> tuple[Trace, Truncation, str]:
    steps = len(problem)
    updates = [*range(way.every, steps, way.every), steps]
    windows = tuple((max(u - way.back, 0), due, u) for due, u in zip([0, *updates], updates, strict=False))
    shares = _shares(problem, tg.bptt.gradient(problem, way).gradients)
    found = Truncation(steps, _cuts(problem, way), windows=windows, shares=shares, heading=HEADING)
    return recorded(problem, values=values), found, WINDOW_NOTE


def _random(problem: tg.bptt.Problem, way: tg.bptt.ARTBP, values: bool, rng: Any) -> tuple[Trace, Truncation, str]:
    updates = list(way.updates(problem, rng=rng or tg.random.Generator(0)))
    places = [u.t for u in updates[:-1]]
    chunks = _between(places, len(problem))
    weights = {
        at: 1 / (1 - way.probability(i))
        for start, stop in chunks
        for i, at in enumerate(range(start, stop, way.stride))
        if i
    }
    starts = set(places)

    def between(carry: Any, t: int) -> Any:
        return cut(carry) if t in starts else weighted(carry, weights[t]) if t in weights else carry

    total = [sum(parts) for parts in zip(*(_arrays(u.gradients) for u in updates), strict=True)]
    found = Truncation(
        len(problem), _cuts(problem, places), chunks, weights=tuple(weights.items()),
        shares=_shares(problem, total), heading=RANDOM_HEADING,
    )  # fmt: skip
    return _with_weights(recorded(problem, between=between, values=values), weights), found, RANDOM_NOTE


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
RANDOM_NOTE = (
    "Red, above the columns: by what the messages that were not cut there are multiplied, 1 / (1 − c), which makes up "
    "on average for what the scissors take."
)
FOLDED_NOTE = "What cuts between folded steps lose stands over these; chunks and updates inside are not drawn."
RANDOM_HEADING = "How far this one draw is off, ‖∂L/∂θ − estimate‖ / ‖∂L/∂θ‖; the mean over many draws is exact"
DRAWERS: dict[type, Any] = {tg.bptt.Chunks: _chunks, tg.bptt.Window: _window, tg.bptt.ARTBP: _random}


def _cuts(problem: tg.bptt.Problem, way: tg.bptt.Strategy | list[int]) -> tuple[Cut, ...]:
    found = tg.bptt.cuts(problem, way)
    lost = {name or "θ": _host(named.array) for name, named in found.lost.items()}
    return tuple(
        Cut(int(at), {name: gradients[place] for name, gradients in lost.items()})
        for place, at in enumerate(found.at.array)
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


class _Steps:
    """Where the steps of a run stand in its picture: each in a column, or many in a folded one."""

    def __init__(self, plan: Layout, steps: int) -> None:
        self.bands = plan.bands
        starts = sorted(plan.bands)
        ends = [*starts[1:], steps]
        self.start = {t: start for start, end in zip(starts, ends, strict=True) for t in range(start, end)}
        self.last = {start: end - 1 for start, end in zip(starts, ends, strict=True)}
        self.box = Box.around([plan.bands[starts[0]]])

    def left(self, t: int, *, besides: bool = False) -> float:
        """Where what begins with a step begins; inside a folded column in its middle, or `besides` right of it."""
        band = self.bands[self.start[t]]
        return band.left if self.start[t] == t else band.right + 24 if besides else band.x + 10

    def right(self, t: int, *, besides: bool = False) -> float:
        """Where what ends with a step ends; inside a folded column in its middle, or `besides` left of it."""
        band = self.bands[self.start[t]]
        return band.right if self.last[self.start[t]] == t else band.left - 24 if besides else band.x - 10

    def gap(self, at: int) -> float | None:
        """The middle between the columns of steps at − 1 and at; None where these are in one."""
        one, other = self.start[at - 1], self.start[at]
        return None if one == other else (self.bands[one].right + self.bands[other].left) / 2

    def inside(self, start: int, stop: int) -> bool:
        """Whether these steps are some of those of a folded column."""
        column = self.start[start]
        return column == self.start[stop - 1] and (start > column or stop - 1 < self.last[column])

    def by_place(self, cuts: Sequence[Cut]) -> dict[float, list[Cut]]:
        """The cuts by their x: alone between two columns, or all together over the folded one."""
        found: dict[float, list[Cut]] = {}
        for one in cuts:
            gap = self.gap(one.at)
            found.setdefault(self.bands[self.start[one.at]].x if gap is None else gap, []).append(one)
        return found


def _scissors(cuts: Sequence[Cut], x: float, foot: float, top: float, *, between: bool) -> Iterator[Mark]:
    """Scissors with what they throw away, and the line along which they cut between two columns."""
    at = cuts[0].at
    lost = Cut(at, {name: sum((c.lost[name] for c in cuts[1:]), cuts[0].lost[name]) for name in cuts[0].lost})
    place = f"between t = {at - 1} and t = {at}" if len(cuts) == 1 else f"at t = {at} … {cuts[-1].at}"
    told = f"cut {place}; lost of the gradient: " + ", ".join(f"{name} {norm:.6g}" for name, norm in lost.norms.items())
    if between:
        yield Mark(f"cut_{at}", Box.between(x - 0.5, x + 0.5, foot, top + 14), fill=style.CUT, behind=True)
    many = f"✂ × {len(cuts)}" if len(cuts) > 1 else "✂"
    yield text(f"scissors_{at}", [many], x, top + 36, size=17 if len(cuts) == 1 else 14, tooltip=told)
    together = "together lose" if len(cuts) > 1 else "loses"
    yield text(f"lost_{at}", [f"{together} {style.number(lost.norm)}"], x, top + 48, bold=True, tooltip=told)


def _arrays(gradients: Any) -> list[np.ndarray]:
    return [_host(g.data) for g in tg.tree.leaves(gradients)]


def _host(array: Any) -> np.ndarray:
    return np.asarray(array.get() if hasattr(array, "get") else array)
