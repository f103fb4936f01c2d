"""Checkpointing: keep only the inputs of a stretch of computation, and compute it again on the way back."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple

from . import tree
from .autodiff import pull, push, reachable
from .node import Node, local, next_seq, recording
from .op import Op, picks
from .tensor import Tensor, leaf

__all__ = ["checkpoint"]


class _Replay(NamedTuple):
    """What it takes to run a function again: the function, its arguments' structure, what it captured."""

    function: Callable
    structure: Any
    constants: dict[int, Any]  # leaves that are no Tensors, by place
    captured: tuple[Node, ...]  # nodes made earlier that the function reads besides its arguments

    def run(self, arguments: tuple) -> tuple[list[Any], list[Any]]:
        """The nodes of the lifted arguments and of the outputs, recorded anew."""
        lifted = [_fresh(a) for a in arguments if a is not None]
        values = iter(lifted)
        total = len(lifted) + len(self.constants)
        filled = [self.constants[i] if i in self.constants else next(values) for i in range(total)]
        with recording(True):
            out = self.function(*tree.unflatten(self.structure, filled))
        return [t.node for t in lifted], [t.node for t in tree.leaves(out)]


def _fresh(value: Any) -> Tensor:
    """A leaf of its own; tied to the graph when the backward pass is itself recorded."""
    from .ops.shape import alias

    if type(value) is Tensor:
        with recording(True):
            return alias(value)
    t = Tensor.of(value, None)
    t.node = leaf(t)
    return t


CHECKPOINT = Op("checkpoint", "primitive", lambda *xs, replay: None, many=True)
CHECKPOINT.slots = ["xs"]


def _vjp(g: list, saved: tuple, params: dict) -> list[Any]:
    record, replay = local.frame.recording, params["replay"]
    arguments, outputs = replay.run(saved[0])
    wrt = [*arguments, *replay.captured]
    used = [(node, c) for node, c in zip(outputs, g, strict=True) if c is not None and node is not None]
    found = pull([node for node, _ in used], [c for _, c in used], wrt=wrt, record=record)
    return [found.get(node) for node in wrt]


def _jvp(tangents: Any, saved: tuple, params: dict) -> list[Any]:
    record, replay = local.frame.recording, params["replay"]
    arguments, outputs = replay.run(saved[0])
    moving = {n: t for n, t in zip([*arguments, *replay.captured], tangents, strict=True) if t is not None}
    return push(outputs, moving, record=record)


CHECKPOINT.rest, CHECKPOINT.push_rest = _vjp, _jvp


def checkpoint(f: Callable[..., Any]) -> Callable[..., Any]:
    """``f`` with the same values and derivatives that keeps its arguments alone for the backward pass.

    What lies between is computed again when it is needed: memory for time (Chen et al. 2016, arXiv:1604.06174).
    Arguments and outputs may be containers; weights that f reads from outside are found and get their gradients.
    f must be a pure function: drawn again, random masks must come out equal, so pass them in.

    >>> import tinygrad_rnn as tg
    >>> x = tg.tensor(2.0, requires_grad=True)
    >>> tg.checkpoint(lambda x: tg.exp(tg.sin(x)))(x).backward()
    >>> x.grad
    tensor(-1.0331)
    """

    @wraps(f)
    def run(*args: Any) -> Any:
        frame = local.frame
        if not frame.recording:
            return f(*args)
        values, structure = tree.flatten(args)
        constants = {i: v for i, v in enumerate(values) if type(v) is not Tensor or v.dtype.kind not in "fc"}
        tensors = [v for i, v in enumerate(values) if i not in constants]
        start = next_seq()
        lifted = [_fresh(t.data) for t in tensors]
        given = iter(lifted)
        filled = [constants[i] if i in constants else next(given) for i in range(len(values))]
        out = f(*tree.unflatten(structure, filled))
        outputs, out_structure = tree.flatten(out)
        captured = tuple(_boundary([o.node for o in outputs], start))
        inputs = (*(t.node for t in tensors), *captured)
        if all(node is None for node in inputs):
            return tree.unflatten(out_structure, [Tensor.of(o.data, None) for o in outputs])
        arrays = tuple(o.data for o in outputs)
        kept = (tuple(t.data for t in tensors) + (None,) * len(captured),)
        params = {"replay": _Replay(f, structure, constants, captured)}
        shapes, dtypes = tuple(a.shape for a in arrays), tuple(a.dtype for a in arrays)
        node = Node(CHECKPOINT, params, inputs, kept, next_seq(), frame.scope, shapes, dtypes)
        return tree.unflatten(out_structure, picks(arrays, node))

    return run


def _boundary(roots: list[Node | None], start: int) -> list[Node]:
    """The nodes older than ``start`` that newer ones read, oldest first."""
    newer = [node for node in reachable(roots) if node.seq > start]
    old = {parent for node in newer for parent in node.inputs if parent is not None and parent.seq < start}
    old |= {node for node in roots if node is not None and node.seq < start}
    return sorted(old, key=lambda node: node.seq)
