"""Watching what runs; and anomaly mode, which names the op, the scope and the line that first made a NaN."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Self

from .autodiff import Edge
from .backend import namespace
from .cotangent import Deferred
from .node import Node, local
from .op import Op
from .tensor import Tensor

__all__ = ["Listener", "detect_anomaly", "watched"]

_HERE = str(Path(__file__).parent)


def _line() -> str:
    """The innermost source line outside the engine."""
    frame: Any = sys._getframe(1)
    while frame is not None and (frame.f_code.co_filename.startswith((_HERE, "<op "))):
        frame = frame.f_back
    return "an unknown line" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _has_nan(array: Any) -> bool:
    if isinstance(array, tuple | list):
        return any(_has_nan(a) for a in array)
    if isinstance(array, Tensor):
        array = array.data
    return hasattr(array, "dtype") and array.dtype.kind in "fc" and bool(namespace(array).isnan(array).any())


class _Anomaly:
    """Called after every op; remembers where each node was made, for the way back."""

    blind = False

    def __init__(self) -> None:
        self.lines: dict[int, str] = {}

    def __call__(self, op: Op, arguments: tuple, parents: tuple, params: dict, output: Any) -> None:
        outputs = output if isinstance(output, tuple) else (output,)
        line = _line()
        for t in outputs:
            if t.node is not None:
                self.lines[t.node.seq] = line
        if _has_nan(outputs):
            place = f" at {local.frame.scope}" if local.frame.scope else ""
            cause = "one of its arguments already holds NaN" if _has_nan(arguments) else "its arguments hold none"
            raise FloatingPointError(f"NaN from `{op.name}`{place}, {line}; {cause}")

    def looked(self, t: Tensor) -> None:
        """A value was read, which changes nothing here."""

    def tangent(self, node: Node, t: Any) -> None:
        """Look at what forward mode gives for a node."""
        if _has_nan(t):
            raise FloatingPointError(f"NaN in the tangent of `{node.op.name}`{node.place()}; {self._called(node)}")

    def _called(self, node: Node) -> str:
        return f"the op was called at {self.lines.get(node.seq, 'a line run outside anomaly mode')}"

    def watch(self, callback: Callable | None) -> Callable:
        """The callback for the backward driver: look at each message, then pass it on."""

        def check(edge: Edge, message: Any) -> None:
            if _has_nan(message.value() if isinstance(message, Deferred) else message):
                node = edge.child
                raise FloatingPointError(
                    f"NaN in the gradient that `{node.op.name}`{node.place()} sends to its argument {edge.argument}; "
                    f"{self._called(node)}"
                )
            if callback is not None:
                callback(edge, message)

        return check


@contextmanager
def watched(watch: Any) -> Iterator[None]:
    """Inside, ``watch(op, arguments, parents, params, output)`` is called after every op; scans are then plain loops.

    ``watch.looked(t)`` hears of Tensors whose values are read, ``watch.tangent(node, t)`` of tangents, and
    ``watch.watch(callback)`` gives the callback that messages are passed to on the way back.
    """
    frame = local.frame
    before, frame.watch = frame.watch, watch
    try:
        yield
    finally:
        frame.watch = before


class Listener:
    """While entered, it is told of every op, as `watched` does, and of every function that returns.

    An earlier profile hook goes on working. Subclasses say what they make of both.
    """

    def __enter__(self) -> Self:
        self._before: Any = sys.getprofile()
        self._watching = watched(self)
        self._watching.__enter__()
        sys.setprofile(self._event)
        return self

    def __exit__(self, *exc: Any) -> None:
        if hasattr(self._before, "enable"):  # cProfile's: an object that no call reaches, and that sets itself
            self._before.enable()
        else:
            sys.setprofile(self._before)
        self._watching.__exit__(*exc)

    def _event(self, frame: FrameType, event: str, result: Any) -> None:
        if callable(self._before):
            self._before(frame, event, result)
        if event == "return":
            self.returned(frame)

    def __call__(self, op: Op, arguments: tuple, parents: tuple, params: dict[str, Any], output: Any) -> None:
        """An op was done."""

    def returned(self, frame: FrameType) -> None:
        """A function returns; its variables are in the frame."""

    def looked(self, t: Tensor) -> None:
        """A value was read."""

    def tangent(self, node: Node, t: Any) -> None:
        """A tangent was pushed."""

    def watch(self, callback: Callable | None) -> Callable | None:
        """The callback that messages are passed to on the way back."""
        return callback


@contextmanager
def detect_anomaly() -> Iterator[None]:
    """Inside, the first op whose value, gradient or tangent holds a NaN raises FloatingPointError and says where.

    Slow: every array is looked at, and scans run as plain loops, whatever their ``compile`` says.

    >>> import tinygrad_rnn as tg
    >>> with detect_anomaly():
    ...     tg.tanh(tg.tensor(float("nan")))
    Traceback (most recent call last):
    FloatingPointError: NaN from `tanh`, <doctest tinygrad_rnn.debug.detect_anomaly[1]>:2; one of its arguments ...
    """
    with watched(_Anomaly()):
        yield
