"""What Python knows while a program runs: the names of its local variables, and the values of its ops."""

from __future__ import annotations

import inspect
import sys
from types import FrameType
from typing import Any

import tinygrad_rnn as tg

# The local variables of these name nothing that a reader knows.
SILENT = (tg.__name__ + ".", "numpy.", "zoo.topology.", "viz.record")


class Listener:
    """While entered, it asks every function that returns for its Tensors; an earlier profile hook goes on working.

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

    def __init__(self) -> None:
        self.variables: dict[Any, str] = {}
        self.arguments: dict[Any, str] = {}
        self.stats: dict[Any, dict[str, float]] = {}
        self.constants: dict[Any, list[Any]] = {}
        self.arrays: dict[int, tuple[Any, str]] = {}  # id of an array → the array, kept alive, and its name
        self.origin: dict[int, tuple[Any, Any]] = {}  # id of an array → the array and what an op made it from

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

    def __enter__(self) -> Listener:
        self.before = sys.getprofile()
        sys.setprofile(self._hear)
        return self

    def __exit__(self, *exc: Any) -> None:
        sys.setprofile(self.before)

    def _hear(self, frame: FrameType, event: Any, result: Any) -> None:
        if self.before is not None:
            self.before(frame, event, result)
        if event != "return":
            return
        code = frame.f_code
        if code.co_filename.startswith("<op "):
            self._hear_op(frame, result)
        elif not frame.f_globals.get("__name__", "").startswith(SILENT):
            given = set(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])
            for name, value in frame.f_locals.items():
                if name != "self" and not name.startswith("_"):
                    self._hear_variable(name, value, given=name in given)

    def _hear_op(self, frame: FrameType, result: Any) -> None:
        code = frame.f_code
        values = [frame.f_locals[name] for name in code.co_varnames[: code.co_argcount]]
        if code.co_flags & inspect.CO_VARARGS:
            values += frame.f_locals[code.co_varnames[code.co_argcount + code.co_kwonlyargcount]]
        outputs = result if isinstance(result, tuple) else (result,)
        for output in outputs:
            if type(output) is not tg.Tensor:
                continue
            if output.node is None:
                source = next((v for v in values if hasattr(v, "dtype")), None)
                self.origin[id(output.data)] = output.data, source
                continue
            self.stats.setdefault(output.node, describe(output.data))
            op_node = output.node.inputs[0] if isinstance(result, tuple) else output.node
            self.constants[op_node] = values

    def _hear_variable(self, name: str, value: Any, *, given: bool) -> None:
        if type(value) is tg.Tensor:
            if value.node is None:
                self.arrays.setdefault(id(value.data), (value.data, name))
            else:
                (self.arguments if given else self.variables).setdefault(value.node, name)
        elif hasattr(value, "_fields"):
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
    facts = {"mean": real.mean(), "std": real.std(), "norm": norm(real), "min": real.min(), "max": real.max()}
    return {name: float(value) for name, value in facts.items()}
