"""The executor that needs NumPy alone: what waits for no state is done at once for all T·B rows, the rest in a loop.

From the graph of a step two Python functions are written, forward and backward, each in three parts:

- before the loop, over all T·B rows at once: what depends on the inputs alone, such as x W; on the way back, the local
  derivatives, which wait for no cotangent;
- in the loop, with ``out=`` buffers: what the carry depends on, or the cotangent of the carry;
- after it, over all T·B rows again: what only outputs need; the gradients of weights, one product each.
"""

from __future__ import annotations

from typing import Any

from .graph import StepGraph, Value
from .homes import homes
from .numpy_source import Source, write_backward, write_forward
from .rows import Label
from .run import Call

__all__ = ["NumpyPlan"]


class NumpyPlan:
    """A step as two generated functions; ``forward(call)`` and ``backward(call, cotangents)`` run them."""

    name = "numpy"

    def __init__(self, graph: StepGraph, labels: dict[Value, Label]) -> None:
        self.graph, self.labels = graph, labels
        self.homes = homes(graph, labels)
        forward, backward = (Source(graph, labels, self.homes, backward=way_back) for way_back in (False, True))
        backward_source = write_backward(backward)
        self.kept = list(backward.wanted)  # of the forward pass, for the way back
        self.sources = (write_forward(forward, self.kept), backward_source)
        self._forward, self._backward = (
            _function(text, source.names) for text, source in zip(self.sources, (forward, backward), strict=True)
        )

    def forward(self, call: Call) -> tuple[list[Any], list[Any]]:
        """The last carry and the ys of a call; what the way back needs is kept in ``call.kept``."""
        return self._forward(call)

    def backward(self, call: Call, g_carry: list[Any], g_ys: list[Any]) -> dict[Value, Any]:
        """The gradients of carry, xs and invariants from the cotangents of the last carry and of the ys."""
        return self._backward(call, g_carry, g_ys)


def _function(source: str, names: dict[str, Any]) -> Any:
    exec(compile(source, "<scan in NumPy>", "exec"), names)
    return names["run"]
