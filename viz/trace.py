"""A computation with its backward messages as plain data: what every picture is drawn from."""
from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

ROLES = ("input", "state", "gate", "parameter", "output", "loss", "constant", "other", "linear", "sensitivity")


@dataclass(frozen=True, slots=True)
class TraceNode:
    """One value of the forward pass: the output of an op, a parameter or an input.

    `time`, `layer`, `direction` and `cell` are the scope tags under which it was computed (None where no such tag was
    set); `stats` holds mean, std, norm, min and max of the value when it was known, `value` the array itself when it
    was kept, `gradient` the norm of dL/d(value) for leaves, and `ops` and `steps` how many ops and time steps (from
    `time` on) a folded node stands for. `part` tells runs apart that are drawn together.
    """

    id: str
    op: str
    label: str
    shape: tuple[int, ...] = ()
    dtype: str = ""
    time: int | None = None
    layer: int | str | None = None
    direction: str | None = None
    role: str = "other"
    cell: str | None = None
    scope: str = ""
    stats: dict[str, float] = field(default_factory=dict)
    gradient: float | None = None
    ops: int = 1
    steps: int = 1
    part: str = ""
    value: Any = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class TraceEdge:
    """`source` is an argument of `target`; `message` is the norm of the gradient that comes back along this edge.

    `argument` counts the arguments of `target`, so x * x has two edges. `value` is the message itself (an array), kept
    where several must be summed before their norm is taken. A `cut` edge passes through a detach: it has no message.
    Between two nodes of role "sensitivity" it is the norm of what goes forward instead. `shape` is that of the message,
    `story` what else there is to tell of it. A `recurrent` edge, of a step that stands for all, leads to the next one;
    on a `dropped` one there is dropout.
    """

    source: str
    target: str
    argument: int = 0
    message: float | None = None
    cut: bool = False
    label: str = ""
    value: Any = field(default=None, compare=False, repr=False)
    shape: tuple[int, ...] = ()
    story: str = ""
    recurrent: bool = False
    dropped: bool = False


@dataclass(frozen=True)
class Trace:
    """Nodes in the order of computation and the edges between them; `level` is "op" or "cell", `note` is printed.

    >>> nodes = [TraceNode("w", "leaf", "W", role="parameter"), TraceNode("y", "exp", "y", role="loss")]
    >>> trace = Trace(nodes, [TraceEdge("w", "y", message=2.5)])
    >>> Trace.from_json(trace.to_json()) == trace
    True
    """

    nodes: list[TraceNode]
    edges: list[TraceEdge]
    level: str = "op"
    title: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        counts = Counter(node.id for node in self.nodes)
        if repeated := [name for name, count in counts.items() if count > 1]:
            raise ValueError(f"trace: node id {repeated[0]!r} occurs {counts[repeated[0]]} times; ids must be unique")
        if strange := [node for node in self.nodes if node.role not in ROLES]:
            raise ValueError(f"trace: node {strange[0].id} has role {strange[0].role!r}; roles are {', '.join(ROLES)}")
        if loose := [edge for edge in self.edges if edge.source not in counts or edge.target not in counts]:
            raise ValueError(f"trace: edge {loose[0].source} -> {loose[0].target} names a node that is missing")

    def __repr__(self) -> str:
        return (
            f"Trace({self.level} level: {len(self.nodes)} nodes, {len(self.edges)} edges, {len(self.steps)} steps, "
            f"{len(self.parameters)} parameters, {len(self.cuts)} cuts)"
        )

    @property
    def steps(self) -> list[int]:
        """The time steps that occur, in order."""
        return sorted({node.time for node in self.nodes if node.time is not None})

    @property
    def parameters(self) -> list[TraceNode]:
        """The shared parameters, one node each."""
        return [node for node in self.nodes if node.role == "parameter"]

    @property
    def cuts(self) -> list[TraceEdge]:
        """The edges that no gradient crosses because the program detached there."""
        return [edge for edge in self.edges if edge.cut]

    @property
    def uses(self) -> dict[str, int]:
        """For each parameter id, at how many time steps it is used (a use outside every time step counts as one)."""
        times = {node.id: (node.time, node.steps) for node in self.nodes}
        used: dict[str, dict[int | None, int]] = {node.id: {} for node in self.parameters}
        for edge in self.edges:
            if edge.source in used:
                time, steps = times[edge.target]
                at = used[edge.source]
                at[time] = steps if time is not None else at.get(None, 0) + 1
        return {name: sum(at.values()) for name, at in used.items()}

    @property
    def length(self) -> int:
        """How many time steps there are, those that were folded included."""
        return sum({node.time: node.steps for node in self.nodes if node.time is not None}.values())

    def to_json(self, *, indent: int | None = None) -> str:
        """The trace as JSON; NaN and infinities become the strings "nan", "inf", "-inf", for strict parsers."""
        plain = {
            "level": self.level,
            "title": self.title,
            "note": self.note,
            "nodes": [_record(node) for node in self.nodes],
            "edges": [_record(edge) for edge in self.edges],
        }
        return json.dumps(plain, indent=indent, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Trace:
        """The trace that `to_json` wrote; raises ValueError when the text is something else."""
        try:
            plain = json.loads(text)
            nodes = [TraceNode(**_node_fields(record)) for record in plain["nodes"]]
            edges = [TraceEdge(**_edge_fields(record)) for record in plain["edges"]]
            return cls(nodes, edges, plain["level"], plain["title"], plain["note"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"this is no trace: {error}; pass the text that Trace.to_json() returned") from error


def _plain(value: Any) -> Any:
    """Nested containers and floats as what strict JSON can hold."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return value


def _record(item: TraceNode | TraceEdge) -> dict[str, Any]:
    value = None
    if item.value is not None:
        v = item.value
        parts = {"real": v.real, "imag": v.imag} if v.dtype.kind == "c" else {"real": v}
        value = {part: array.tolist() for part, array in parts.items()}
    return _plain({f.name: getattr(item, f.name) for f in fields(item)} | {"value": value})


def _value(value: Any) -> Any:
    if value is None:
        return None
    return np.array(value["real"], "float64") + (1j * np.array(value["imag"], "float64") if "imag" in value else 0)


def _edge_fields(record: dict[str, Any]) -> dict[str, Any]:
    value = _value(record["value"])
    shape = tuple(record.get("shape", ()))
    return {**record, "message": _number(record["message"]), "value": value, "shape": shape}


def _number(value: Any) -> Any:
    return float(value) if isinstance(value, str) else value


def _node_fields(record: dict[str, Any]) -> dict[str, Any]:
    stats = {name: _number(number) for name, number in record["stats"].items()}
    gradient, value = _number(record["gradient"]), _value(record.get("value"))
    return {**record, "shape": tuple(record["shape"]), "stats": stats, "gradient": gradient, "value": value}
