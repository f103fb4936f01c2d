"""The messages of a run, backward, forward, or both, and the gradient as it looks from every edge where they meet."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal, Unpack

import numpy as np

import tinygrad_rnn as tg

from . import style
from .layout import Layout
from .marks import Mark, text
from .picture import Look, Options, Picture
from .problem import recorded
from .trace import Trace, TraceEdge, TraceNode
from .wires import SHOWN

WORDS = {"backward": "backward messages", "forward": "forward messages", "both": "messages both ways"}
IDENTITIES = ("tooltip", "text")
GREEK = {"alpha": "α", "beta": "β", "zeta": "ζ", "gamma": "γ", "nu": "ν"}
PARTS = ("before", "crossing", "after")
SUMS = (
    "Below every gap: the part of ∂L/∂θ that losses before it give (by Γ), that crosses it (m Γ), and that later steps "
    "give (by m); each projected on ∂L/∂θ, so that they add up to its norm."
)


def messages(
    what: Trace | tg.bptt.Problem,
    mode: Literal["backward", "forward", "both"] = "backward",
    show: Literal["norm", "shape", "value"] = "norm",
    *,
    identity: Literal["tooltip", "text"] = "tooltip",
    **options: Unpack[Options],
) -> Picture:
    """The unrolled graph with the messages that travel along it, in one direction or in both.

        backward, red     m_t = e_t + m_{t+1} J_t       what backpropagation through time hands back along every edge
        forward, blue     Γ_{t+1} = D_t + J_t Γ_t       what real-time recurrent learning carries: Γ_t = dz_t/dθ
        both              ∂L/∂θ = Σ_{s<t} (d_s + e_s Γ_s) + m_t Γ_t + Σ_{s≥t} (d_s + m_{s+1} D_s)      at every edge t

    Forward messages are drawn between the time steps, by name: α to the parameters that meet an input, β to those that
    meet the old state, ζ and γ the same of an encoder after the hand-over to its decoder, ν to a head whose emissions
    are read; the number is the Frobenius norm, over all numbers of the carry and all of these parameters. With "both",
    the lines between two steps tell on hover what is settled before the edge, crosses it and comes after it, and with
    ``identity="text"`` this stands below: each part projected on the gradient, so that the three add up to its norm.

    `what`: a Problem, or for backward messages a Trace. `show`: the norm of a backward message, its shape, or its
    first entries. All other options are those of `unroll`. Raises ValueError for other words,
    where a Trace is given and forward messages are asked for, and where it holds no values to show; TypeError for what
    is neither. Sources: Werbos 1990 (backward); Williams & Zipser 1989 (forward).

    >>> from zoo.topology.examples import example
    >>> picture = messages(example("synced", "ElmanRNN", hidden=3), "both")
    >>> sorted({edge.label for edge in picture.trace.edges if edge.story and "Γ" in edge.story})
    ['α', 'β']
    """
    for name, word, known in (("mode", mode, WORDS), ("show", show, SHOWN), ("identity", identity, IDENTITIES)):
        if word not in known:
            raise ValueError(f"messages: {name}={word!r} is none of {', '.join(map(repr, known))}")
    if not isinstance(what, Trace | tg.bptt.Problem):
        raise TypeError(f"messages draws a tg.bptt.Problem or a trace, not {type(what).__name__}")
    if isinstance(what, Trace) and mode != "backward":
        raise ValueError(f"messages: mode={mode!r} needs a tg.bptt.Problem: a trace holds no forward messages")
    look = Look("messages", **options)
    if isinstance(what, tg.bptt.Problem):
        trace = recorded(what, values=show == "value" or look.folds(len(what)))
    else:
        trace = what
    if show == "value" and not any(edge.value is not None for edge in trace.edges):
        raise ValueError("messages: show='value' needs messages that were kept: viz.trace(…, values=True)")
    drawn = look.at_level(trace)
    meetings: list[Meeting] = []
    if isinstance(what, tg.bptt.Problem) and mode != "backward":
        found = tg.bptt.messages(what)
        meetings = [meeting(found, t) for t in range(len(what) + 1)] if mode == "both" else []
        shapes = [gamma.shape for gamma in found.sensitivities[1:]]
        drawn = with_sensitivities(drawn, named_norms(what, found), shapes, meetings)
    if mode == "forward":
        drawn = replace(drawn, edges=[e if _is_forward(e) else replace(e, message=None) for e in drawn.edges])
    along = _Sums(tuple(meetings)) if meetings and identity == "text" else None
    title = f"{style.title(drawn)}: {WORDS[mode]}"
    return look.picture(drawn, title=title, note=SUMS if along else "", show=show, along=along)


@dataclass(frozen=True)
class Meeting:
    """The gradient from the edge into step t: norms of its three parts, their shares, and the norm of their sum.

    A share is the part's projection on the gradient, (part · total) / ‖total‖: the three add up to ‖total‖.
    """

    t: int
    norms: dict[str, float]
    shares: dict[str, float]
    total: float

    def story(self) -> str:
        """The identity in words."""
        parts = " + ".join(f"{name} {self.shares[name]:.6g}" for name in PARTS)
        norms = ", ".join(f"‖{name}‖ = {self.norms[name]:.6g}" for name in PARTS)
        return f"‖∂L/∂θ‖ = {parts} = {self.total:.6g} (parts projected on it); {norms}"


def meeting(found: tg.bptt.Messages, t: int) -> Meeting:
    """The three parts of ``messages(problem).at(t)`` and what they add up to."""
    at = found.at(t)
    parts = {name: _host(getattr(at, name)) for name in PARTS}
    total = _host(at.total)
    size = float(np.linalg.norm(total))
    shares = {name: float(part @ total) / size if size else 0.0 for name, part in parts.items()}
    return Meeting(t, {name: float(np.linalg.norm(part)) for name, part in parts.items()}, shares, size)


def named_norms(problem: tg.bptt.Problem, found: tg.bptt.Messages) -> list[dict[str, float]]:
    """After every step the Frobenius norm of the forward messages by name; Γ alone where parameters have no paths."""
    if not isinstance(problem.parameters, tg.nn.Module):
        return [{"Γ": float(np.linalg.norm(_host(gamma)))} for gamma in found.sensitivities[1:]]
    from zoo.topology import forward_messages

    return [
        {GREEK[name]: math.hypot(*(float(np.linalg.norm(g.numpy())) for g in parts.values()))
         for name, parts in sorted(named.items(), key=lambda item: list(GREEK).index(item[0]))}
        for named in forward_messages(problem)
    ]  # fmt: skip


def with_sensitivities(
    trace: Trace, norms: Sequence[dict[str, float]], shapes: Sequence[tuple[int, ...]], meetings: Sequence[Meeting] = ()
) -> Trace:
    """The trace with a node for Γ after every step, an edge for each forward message, and the identity in stories."""
    nodes = [
        TraceNode(f"sensitivity_{t}", "Γ", "Γ", shape, time=t, role="sensitivity",
                  stats={f"‖{name}‖": norm for name, norm in named.items()})
        for t, (named, shape) in enumerate(zip(norms, shapes, strict=True))
    ]  # fmt: skip
    edges = []
    for t, named in enumerate(norms[:-1]):
        meets = f"; {meetings[t + 1].story()}" if meetings else ""
        for place, (name, norm) in enumerate(named.items()):
            story = f"forward message {name}, part of Γ, from step {t} to {t + 1}: norm {norm:.6g}{meets}"
            edges.append(TraceEdge(nodes[t].id, nodes[t + 1].id, place, norm, label=name, story=story))
    time = {node.id: node.time for node in trace.nodes if node.role != "loss"}
    told = []
    for edge in trace.edges:
        one, other = time.get(edge.source), time.get(edge.target)
        crosses = meetings and one is not None and other == one + 1 and edge.message is not None
        told.append(replace(edge, story=meetings[other].story()) if crosses else edge)  # type: ignore[index]
    return replace(trace, nodes=[*trace.nodes, *nodes], edges=[*told, *edges])


@dataclass(frozen=True)
class _Sums:
    """Below each gap between two steps, the three parts and their sum."""

    meetings: tuple[Meeting, ...]

    def __call__(self, plan: Layout) -> Iterator[Mark]:
        times = sorted(plan.bands)
        for one, other in pairwise(times):
            met, left, right = self.meetings[other], plan.bands[one], plan.bands[other]
            lines = [f"{name} {style.number(met.shares[name])}" for name in PARTS]
            lines.append(f"sum {style.number(met.total)}")
            yield text(f"meeting_{other}", lines, (left.right + right.left) / 2, left.bottom - 4, tooltip=met.story())


def _is_forward(edge: TraceEdge) -> bool:
    return edge.source.startswith("sensitivity_")


def _host(array: Any) -> np.ndarray:
    return np.asarray(array.get() if hasattr(array, "get") else array)


