"""A step as a graph of values, and its backward pass.

The step is run once on the first input and the initial carry. A watch on the ops sees every one of them, also those on
constants, and knows values by the arrays that hold them. Then the step is pulled back with its rules recording, so
that the backward pass is a graph of the same ops. Nothing of either depends on what numbers were in the arrays: a step
that looks at a number is refused.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import tree
from ..autodiff import pull
from ..node import Node, Scope, local, recording
from ..op import Op
from ..tensor import Tensor, leaf
from .graph import Refused, StepGraph, Value

__all__ = ["trace"]

PACKAGE = str(Path(__file__).parent.parent)


class _Tracer:
    """The watch: called after every op, it adds a value to the graph."""

    blind = True  # numbers mean nothing here

    def __init__(self, graph: StepGraph, line: Callable[[], str]) -> None:
        self.graph, self.line = graph, line
        self.by_array: dict[int, Value] = {}
        self.by_node: dict[Node, Value] = {}  # of what was captured
        self.arrays: dict[Value, Any] = {}  # held, since their identity means a value
        self.stand_ins: dict[Value, Node] = {}
        self.backward = False

    def know(self, array: Any, value: Value) -> Value:
        self.by_array[id(array)] = value
        self.arrays[value] = array
        return value

    def value_of(self, x: Any, node: Node | None = None) -> Value:
        """The value behind an argument: one known by its array, a number, or something captured from outside."""
        if not hasattr(x, "dtype"):
            return Value("number", array=x)
        found = self.by_node.get(node) if node is not None else None
        if found is not None and self.stand_ins.get(found) is node:
            return found  # known, and still without a gradient
        if found is None:
            found = self.by_array.get(id(x))
        if found is not None and found.kind == "given" and None is not node is not found.node is not None:
            found = self.by_node[node] = Value("given", array=x, node=node)  # two leaves that share an array
            self.arrays[found] = x
            self.graph.values.append(found)
        if found is None:
            uniform = self.backward and x.size and (x == x.reshape(-1)[0]).all()
            kind = "fill" if uniform else "given"  # rules make zeros; what users made is a given
            found = self.know(x, Value(kind, array=x, node=node))
            self.graph.values.append(found)
        elif found.kind == "given" and found.node is None:
            found.node = node
        if found.kind == "given" and node is not None:
            self.by_node.setdefault(node, found)
        return found

    def __call__(self, op: Op, arguments: tuple, parents: tuple, params: dict, output: Any) -> None:
        args: list[Value] = []
        for a, node in zip(arguments, parents, strict=True):
            if type(a) is tuple:
                args += [self.value_of(each, n) for each, n in zip(a, node, strict=True)]
            else:
                args.append(self.value_of(a, node))
        line = "" if self.backward else self.line()
        made = output[0] if op.many else output
        if made.node is not None:
            self._link(made.node.inputs[0] if op.many else made.node, args)
        if not op.many:
            if id(output.data) not in self.by_array:  # else the op gave back what it was given
                value = Value(
                    "op", op=op, args=tuple(args), params=params, array=output.data, node=output.node, line=line,
                    scope=local.frame.scope,
                )  # fmt: skip
                self.graph.values.append(self.know(output.data, value))
            return
        whole = Value(
            "op", op=op, args=tuple(args), params=params, array=tuple(t.data for t in output), line=line,
            scope=local.frame.scope,
        )  # fmt: skip
        self.graph.values.append(whole)
        for i, t in enumerate(output):
            pick = Value("pick", args=(whole,), index=i, array=t.data, node=t.node, line=line)
            self.graph.values.append(self.know(t.data, pick))

    def _link(self, node: Node, args: Sequence[Value]) -> None:
        """Give arrays that no gradient is wanted for a node too: else rules would take them as plain arrays, unseen."""
        parents = [*node.inputs, *[None] * (len(args) - len(node.inputs))]
        for i, v in enumerate(args):
            if parents[i] is None and v.kind != "number":
                if v not in self.stand_ins:
                    self.stand_ins[v] = leaf(Tensor.of(self.arrays[v], None))
                    self.by_node[self.stand_ins[v]] = v
                parents[i] = self.stand_ins[v]
        node.inputs = tuple(parents)

    def looked(self, t: Tensor | None) -> None:
        """Refuse a step that looks at a number: in the trace it would be that of the first step alone."""
        if t is None:
            what = "draws random numbers, which would be the same at every t; draw them before, and pass them in xs"
        else:
            what = f"looks at the values of a Tensor {t.shape}; use tg.where(condition, a, b) to choose between values"
        refused = Refused(f"scan: the step {what} ({user_line()}), or pass compile=False for the plain loop")
        refused.final = True
        raise refused

    def watch(self, on_message: Any) -> Any:
        return on_message

    def tangent(self, node: Node, t: Any) -> None:
        """Nothing to do: the ops that made it were seen."""


def user_line() -> str:
    """The innermost line outside the engine, as file:line."""
    frame = sys._getframe(1)
    while frame.f_back is not None and (
        frame.f_code.co_filename.startswith(PACKAGE) or frame.f_code.co_filename.startswith("<op ")
    ):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def trace(
    step: Callable,
    carry: Any,
    x: Any,
    *,
    at: int = 0,
    backward: bool = True,
    given: Sequence[Tensor] | None = None,
    line: Callable[[], str] = user_line,
) -> StepGraph:
    """Run one step, and pull it back, as a graph of values. ``carry`` and ``x`` are trees of Tensors.

    ``at`` is the index of the step, for messages; ``line`` says which line of source an op stands in. ``given`` are the
    captured Tensors that gradients are wanted for, in order; without it, they are found.
    """
    graph = StepGraph()
    tracer = _Tracer(graph, line)
    frame = local.frame
    before, scope_before = frame.watch, frame.scope

    def enter(kind: str, index: int, t: Tensor) -> Tensor:
        array = t.data.view()  # an identity of its own, also when two inputs are one array
        inner = Tensor.of(array, None)
        if array.dtype.kind in "fc":
            inner.node = leaf(inner)
        value = Value(kind, array=array, index=index, node=inner.node)
        graph.values.append(tracer.know(array, value))
        (graph.carry if kind == "carry" else graph.xs).append(value)
        return inner

    leaves, structure = tree.flatten(carry)
    x_leaves, x_structure = tree.flatten(x)
    inner_carry = [enter("carry", i, t) for i, t in enumerate(leaves)]
    inner_x = [enter("x", i, t) for i, t in enumerate(x_leaves)]
    if given is not None:
        graph.given = [tracer.value_of(t.data, t.node) for t in given]
    try:
        frame.watch, frame.scope = tracer, Scope("time", None, at, {}, scope_before)
        with recording(True):
            result = step(tree.unflatten(structure, inner_carry), tree.unflatten(x_structure, inner_x))
            new, y, structures = _results(result, structure, at)
            graph.carry_out = [tracer.value_of(_array(t), _node(t)) for t in new]
            graph.ys = [tracer.value_of(_array(t), _node(t)) for t in y]
            graph.structure = structures
            graph.backward_from = len(graph.values)
            if backward:
                _trace_backward(graph, tracer, new, y)
    finally:
        frame.watch, frame.scope = before, scope_before
    for v in graph.values:
        v.array = v.array if v.kind in ("given", "number", "fill") else None
    return graph


def _results(result: Any, structure: Any, at: int) -> tuple[list, list, tuple[Any, Any]]:
    if not isinstance(result, (tuple, list)) or len(result) != 2:
        shown = f"{len(result)} values" if isinstance(result, (tuple, list)) else f"a {type(result).__name__} alone"
        raise TypeError(f"scan at t={at}: the step returned {shown}; it returns a pair, (carry, y)")
    new, carry_structure = tree.flatten(result[0])
    if not tree.alike(carry_structure, structure):
        raise ValueError(
            f"scan at t={at}: the step returned a carry built as {carry_structure}, but was given {structure}"
        )
    y, y_structure = tree.flatten(result[1])
    return new, y, (carry_structure, y_structure)


def _array(t: Any) -> Any:
    return t.data if type(t) is Tensor else np.asarray(t)


def _node(t: Any) -> Node | None:
    return t.node if type(t) is Tensor else None


def _trace_backward(graph: StepGraph, tracer: _Tracer, new: Sequence[Any], y: Sequence[Any]) -> None:
    """The cotangents of carry, x and all invariants, as values of the same graph."""
    tracer.backward = True
    roots, cotangents = [], []
    for kind, results, known in (("g_carry", new, graph.g_carry), ("g_y", y, graph.g_ys)):
        for i, t in enumerate(results):
            array = np.ones(_array(t).shape, _array(t).dtype)
            inner = Tensor.of(array, None)
            inner.node = leaf(inner)
            value = Value(kind, array=array, index=i)
            known.append(tracer.know(array, value))
            graph.values.append(value)
            roots.append(_node(t))
            cotangents.append(inner)
    outer: dict[Node, Any] = {}
    for v in graph.invariants():
        if v.node is not None:  # what it was made of, outside the loop, is pulled back there, once
            if v.kind == "given":
                outer[v.node] = v.node.inputs
            v.node.inputs = ()
    wanted = {
        v.node: v
        for v in (*graph.carry, *graph.xs, *graph.invariants())
        if v.node is not None and v.node.op.kind != "cut"
    }
    try:
        found = pull(roots, cotangents, wrt=list(wanted), record=True)
    finally:
        for node, inputs in outer.items():
            node.inputs = inputs
    for node, g in found.items():
        graph.gradients[wanted[node]] = tracer.value_of(g.data, g.node)
