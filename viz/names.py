"""What is known while a program runs: the names of its local variables, and the values of its ops."""

from __future__ import annotations

from types import FrameType
from typing import Any

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import debug

# The local variables of these name nothing that a reader knows.
SILENT = (tg.__name__ + ".", "numpy.", "zoo.topology.", "viz.record")


class Listener(debug.Listener):
    """While entered, it watches every op, and asks every function that returns for its Tensors.

    Scans run as plain loops, so that their steps are heard too.

    `names` holds node → the name of a local variable (of the innermost function that had one; its arguments count
    last), `stats` node → mean, std, norm, min and max of the value, `constants` node → the arguments of its op.

    >>> with Listener() as heard:
    ...     def f(x):
    ...         y = tg.tanh(x)
    ...         return y
    ...     out = f(tg.tensor([0.5], requires_grad=True))
    >>> heard.names[out.node]
    'y'
    """

    def __init__(self, *, values: bool = False) -> None:
        self.variables: dict[Any, str] = {}
        self.arguments: dict[Any, str] = {}
        self.stats: dict[Any, dict[str, float]] = {}
        self.values: dict[Any, Any] | None = {} if values else None  # node → the value itself
        self.constants: dict[Any, list[Any]] = {}
        self.arrays: dict[int, tuple[Any, str]] = {}  # id of an array → the array, kept alive, and its name
        self.origin: dict[int, tuple[Any, Any]] = {}  # id of an array → the array and what an op made it from
        self.states: dict[int, Any] = {}  # id of an array → the array, a part of a state of a cell

    @property
    def names(self) -> dict[Any, str]:
        return self.arguments | self.variables

    def name_of_array(self, array: Any) -> str:
        """The name of an array that no gradient passes through, or of what it was taken from: x for x[t]."""
        for _ in range(8):
            if id(array) in self.arrays:
                return self.arrays[id(array)][1]
            if id(array) not in self.origin:
                break
            array = self.origin[id(array)][1]
        return ""

    def state_behind(self, array: Any) -> Any:
        """What of an initial state a constant was made from, if it was; else the constant itself."""
        at = array
        while id(at) not in self.states:
            if id(at) not in self.origin or self.origin[id(at)][1] is at:  # an op that hands on what it was given
                return array
            at = self.origin[id(at)][1]
        return at

    def returned(self, frame: FrameType) -> None:
        """Keep the names that it gave to Tensors."""
        code = frame.f_code
        if code.co_filename.startswith(("<op ", __file__)):
            return
        if frame.f_globals.get("__name__", "").startswith(SILENT):
            return
        kind = getattr(frame.f_locals.get("self"), "State", None)
        given = set(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])
        for name, value in frame.f_locals.items():
            if name != "self" and not name.startswith("_"):
                self._hear_variable(name, value, given=name in given)
                if isinstance(kind, type) and isinstance(value, kind):
                    self._hear_state(value)

    def __call__(self, op: Any, arguments: tuple, parents: tuple, params: dict[str, Any], output: Any) -> None:
        """An op was done: keep what it was given, and the statistics of what it gave."""
        values = [v for a in arguments for v in (a if type(a) is tuple else (a,))]
        for t in output if op.many else (output,):
            if t.node is None:
                source = next((v for v in values if hasattr(v, "dtype")), None)
                self.origin[id(t.data)] = t.data, source
                continue
            self.stats.setdefault(t.node, describe(t.data))
            if self.values is not None:
                self.values.setdefault(t.node, t.data)
            self.constants[t.node.inputs[0] if op.many else t.node] = values

    def _hear_state(self, state: Any) -> None:
        for part in state:
            if type(part) is tg.Tensor and part.node is None:
                self.states.setdefault(id(part.data), part.data)

    def _hear_variable(self, name: str, value: Any, *, given: bool) -> None:
        if type(value) is tg.Tensor:
            if value.node is None:
                self.arrays.setdefault(id(value.data), (value.data, name))
            else:
                (self.arguments if given else self.variables).setdefault(value.node, name)
        elif isinstance(value, tuple) and hasattr(value, "_fields"):
            for field, part in zip(value._fields, value):
                self._hear_variable(field, part, given=True)
        elif hasattr(value, "dtype") and hasattr(value, "shape"):
            self.arrays.setdefault(id(value), (value, name))


def norm(array: Any) -> float:
    """The Euclidean norm of all entries, summed in double precision."""
    return float((abs(array).astype("float64") ** 2).sum()) ** 0.5


def describe(array: Any) -> dict[str, float]:
    """Mean, standard deviation, norm, least and largest entry (of the moduli, for complex entries)."""
    if not array.size or array.dtype.kind not in "biufc":
        return {}
    real = (abs(array) if array.dtype.kind == "c" else array).astype("float64")
    with np.errstate(invalid="ignore"):  # an array may hold infinities, such as what masks attention
        facts = {"mean": real.mean(), "std": real.std(), "norm": norm(real), "min": real.min(), "max": real.max()}
    return {name: float(value) for name, value in facts.items()}
