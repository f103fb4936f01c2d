"""What the gates of a step do: the values of its sigmoids and tanhs along a run, and how often they are saturated."""

from __future__ import annotations

from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from ..backend import Array, namespace
from ..debug import Listener
from ..node import local, no_grad
from ..tensor import Tensor
from .diagnostics import Named
from .problem import Problem, cut

__all__ = ["Saturation", "activations", "saturation"]

RANGES = {"sigmoid": (0.0, 1.0), "hard_sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}  # by the name of the op
OURS = ("<op ", str(Path(__file__).parent.parent))  # where variables name nothing that a reader knows


class Saturation(NamedTuple):
    """For each unit of a gate, the part of the time at which it is shut, or open."""

    left: Named
    right: Named


def activations(problem: Problem) -> dict[str, Named]:
    """The values of every sigmoid and tanh in each step of a run, (T, …), by name.

    The name is ``op f`` for the local variable f that holds the value, or one of the parts that it is split into, or
    else of what the op was applied to; a number tells equal ones apart, and the scope that they are in comes before it.
    NaN where a step has no such op.

    >>> import tinygrad_rnn as tg
    >>> def step(w, h, x):
    ...     forget = tg.sigmoid(w * x)
    ...     return forget * h + tg.tanh(x), h
    >>> problem = Problem(tg.tensor(0.5, requires_grad=True), step, tg.tensor(0.0), tg.tensor([0.0, 2.0]))
    >>> {name: values.array.round(2) for name, values in activations(problem).items()}
    {'sigmoid forget': array([0.5 , 0.73], dtype=float32), 'tanh x': array([0.  , 0.96], dtype=float32)}
    """
    steps: list[dict[str, Array]] = []
    carry = problem.carry
    for t in range(len(problem)):
        with no_grad(), _Gates() as gates:
            carry = cut(problem.one(problem.parameters, carry, t)[0])
        steps.append(gates.found())
    found = {}
    for name, first in {name: value for step in steps for name, value in step.items()}.items():
        xp = namespace(first)
        absent = xp.full(first.shape, float("nan"), first.dtype)
        values = xp.stack([step.get(name, absent) for step in steps])
        found[name] = Named(values, ("t", *_axes(first.ndim)))
    return found


def saturation(problem: Problem, *, low: float = 0.1, high: float = 0.9) -> dict[str, Saturation]:
    """For each gate the share of steps (and rows) at which each of its units is below ``low``, or above ``high``.

    A tanh is taken as the sigmoid that it is, (1 + tanh a) / 2 = σ(2 a). A forget gate that is
    often at the right keeps what it holds; a unit that is seldom at either side mixes.

    Karpathy, Johnson & Fei-Fei 2015, "Visualizing and understanding recurrent networks", arXiv:1506.02078.

    >>> import tinygrad_rnn as tg
    >>> step = lambda w, h, x: (h * tg.sigmoid(w * x), h.sum())
    >>> problem = Problem(tg.ones(2, requires_grad=True), step, tg.ones(2), tg.tensor([[9.0, 0.0], [-9.0, 0.0]]))
    >>> {name: (s.left.array.tolist(), s.right.array.tolist()) for name, s in saturation(problem).items()}
    {'sigmoid': ([0.5, 0.0], [0.5, 0.0])}
    """
    found = {}
    for name, (values, _) in activations(problem).items():
        least, most = RANGES[name.rpartition("/")[2].partition(" ")[0]]
        scaled = (values - least) / (most - least)
        units = scaled.reshape(-1, scaled.shape[-1] if scaled.ndim > 1 else 1)
        there = (units == units).sum(axis=0)  # NaN: the step has no such gate
        sides = ((side.sum(axis=0) / there, ("unit",)) for side in (units < low, units > high))
        found[name] = Saturation(*(Named(*side) for side in sides))
    return found


def _axes(count: int) -> tuple[str, ...]:
    """The axes of one step's value: the units come last, the rows of the batch first, if there are that many."""
    return (("batch",) if count > 1 else ()) + tuple(f"unit{i}" for i in range(count - 2)) + ("unit",) * (count > 0)


class _Gates(Listener):
    """While entered, it watches every op, and asks every function that returns for its variables."""

    def __init__(self) -> None:
        self.gates: list[tuple[str, str, Array, Array]] = []  # scope, op, value, what it was made from
        self.parts: dict[int, tuple[Array, ...]] = {}  # what a value was split into, by the id of its array
        self.sums: dict[int, Array] = {}  # the first term of a sum, by the id of its array
        self.names: dict[int, str] = {}  # variables by the id of their array
        self.held: list[Any] = []  # whose ids mean something

    def __call__(self, op: Any, arguments: tuple, parents: tuple, params: dict[str, Any], output: Any) -> None:
        if op.name in RANGES and output.dtype.kind == "f":
            tags = local.frame.scope.chain() if local.frame.scope else []
            scope = "/".join(str(tag.name) for tag in tags if tag.kind != "time" and tag.name)
            self.gates.append((scope, op.name, output.data, arguments[0]))
        elif op.name == "split":
            self.parts[id(arguments[0])] = tuple(part.data for part in output)
            self.held.append(arguments[0])
        elif op.name == "add":
            self.sums[id(output.data)] = arguments[0]
            self.held.append(output.data)

    def returned(self, frame: FrameType) -> None:
        if not frame.f_code.co_filename.startswith(OURS):
            for name, value in frame.f_locals.items():
                if type(value) is Tensor:
                    self.names.setdefault(id(value.data), name)
                    self.held.append(value.data)

    def found(self) -> dict[str, Array]:
        """The values by name."""
        found: dict[str, Array] = {}
        for scope, op, value, source in self.gates:
            parts = self.parts.get(id(value), ())
            if any(id(part) in self.names for part in parts):
                named = [(self.names.get(id(part)), part) for part in parts]
            else:
                named = [(self.names.get(id(value)) or self._source(source), value)]
            for name, array in named:
                label = "/".join(filter(None, [scope, f"{op} {name}" if name else op]))
                while label in found:
                    label = _next(label)
                found[label] = array
        return found

    def _source(self, array: Array) -> str | None:
        """The variable that an op was applied to, or that is the first term of the sum that it was applied to."""
        while id(array) not in self.names and id(array) in self.sums:
            array = self.sums[id(array)]
        return self.names.get(id(array))


def _next(label: str) -> str:
    """``a``, ``a #2``, ``a #3`` …"""
    name, _, number = label.partition(" #")
    return f"{name} #{int(number or 1) + 1}"
