"""When each value and each message appears: columns forward, then losses, then messages from the last column back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass

from ..fold import group
from ..trace import Trace

SHARED = ("parameter", "constant")  # there from the start
PASSES = 8  # two do, unless cells that are read in one step wait for each other


@dataclass(frozen=True)
class Schedule:
    """Frame 0 is the bare graph, frames 1 … `columns` the forward pass, the next one the losses, the rest the messages.

    `nodes` holds for each node id the frame in which its value is there. The value that an edge hands over appears with
    its target, its message comes back in the mirrored frame: losses first, then column by column to the first.
    """

    nodes: dict[str, int]
    columns: int

    @property
    def losses(self) -> int:
        return self.columns + 1

    @property
    def last(self) -> int:
        return 2 * self.losses

    def back(self, target: str) -> int:
        """The frame in which the messages of a node to its arguments are there."""
        return 2 * self.losses + 1 - max(1, self.nodes[target])


def schedule(trace: Trace) -> Schedule:
    """Frames by data flow: a cell comes at its step as soon as all that it reads from other columns is there.

    So a layer that runs from the end to the start lights up from the right while the other comes from the left.
    """
    arguments: dict[str, list[str]] = defaultdict(list)
    readers: dict[str, list[str]] = defaultdict(list)
    for edge in trace.edges:
        arguments[edge.target].append(edge.source)
        readers[edge.source].append(edge.target)
    together: dict[Hashable, int] = {}  # what a node is folded into appears at once
    for _ in range(PASSES):
        found = _flow(trace, arguments, readers, together)
        before, together = together, {}
        for node in trace.nodes:
            if node.time is not None and node.role != "input":
                together[group(node)] = max(together.get(group(node), 0), found[node.id])
        if together == before:
            break
    forward = sorted({found[node.id] for node in trace.nodes if found[node.id] and node.role != "loss"})
    place = {frame: at for at, frame in enumerate(forward, 1)} | {0: 0}
    losses = {node.id for node in trace.nodes if node.role == "loss"}
    frames = {node.id: len(forward) + 1 if node.id in losses else place[found[node.id]] for node in trace.nodes}
    return Schedule(frames, len(forward))


def _flow(
    trace: Trace, arguments: dict[str, list[str]], readers: dict[str, list[str]], together: dict[Hashable, int]
) -> dict[str, int]:
    """One more than the latest column that a node reads from, and at least what `together` says; 0 is the start."""
    time = {node.id: node.time for node in trace.nodes}
    found: dict[str, int] = {}
    for node in trace.nodes:
        known = [found[name] + (time[name] != node.time) for name in arguments[node.id] if found.get(name)]
        least = 1 if node.time is not None and node.role not in SHARED else 0
        found[node.id] = max([*known, least, together.get(group(node), 0)])
    for node in reversed(trace.nodes):  # an input comes with the first that reads it, not all inputs at once
        if node.role == "input" and found[node.id] and not any(found.get(name) for name in arguments[node.id]):
            found[node.id] = min((found[name] for name in readers[node.id]), default=1)
    return found
