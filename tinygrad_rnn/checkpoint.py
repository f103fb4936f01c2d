"""Checkpointing: keep only the inputs of a stretch of computation, and compute it again on the way back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial, wraps
from typing import Any, NamedTuple

from . import tree
from .autodiff import pull, push
from .generate import picks
from .node import Node, Scope, local, next_seq, recording
from .op import CUT, Op
from .tensor import Tensor, array_of, leaf
from .transforms import tied

__all__ = ["checkpoint"]


class _Run(NamedTuple):
    """One run of the function: the nodes of its lifted arguments, of what it read from outside, of its outputs."""

    arguments: list[Node]
    captured: list[Node]
    outputs: list[Node]
    value: Any


class _Stretch(NamedTuple):
    """What it takes to run a function, and to run it again."""

    function: Callable
    template: tuple  # its arguments, with a placeholder for every leaf
    constants: dict[int, Any]  # the leaves that are not lifted, by place: no floating Tensors, or a Module's own
    leaves: int
    scope: Scope | None

    def run(self, arguments: Iterable[Any]) -> _Run:
        """Run the function on arguments lifted into the graph as nodes of their own, recording."""
        lifted = [_lifted(a) for a in arguments]
        own = [t.node for t in lifted if t.node is not None]
        rest = iter(lifted)
        filled = [self.constants[i] if i in self.constants else next(rest) for i in range(self.leaves)]
        frame, start = local.frame, next_seq()
        before, frame.scope = frame.scope, self.scope
        frame.depth += 1  # a derivative taken inside must stay tied to the arguments
        try:
            with recording(True):
                value = self.function(*tree.replace(self.template, filled))
        finally:
            frame.depth -= 1
            frame.scope = before
        outputs = [t.node for t in tree.leaves(value) if _tracked(t)]
        captured = [node for node in _boundary(outputs, start) if node not in own]
        return _Run(own, captured, outputs, value)


def _tracked(value: Any) -> bool:
    return type(value) is Tensor and value.requires_grad


def _lifted(value: Any) -> Tensor:
    """The value as a leaf of its own; tied to where it came from when the backward pass is itself recorded."""
    if _tracked(value):
        return tied(value)
    t = Tensor.of(array_of(value), None)
    t.node = leaf(t)
    return t


def _boundary(roots: Sequence[Node], start: int) -> list[Node]:
    """The nodes older than ``start`` that newer ones read, in an order that depends on the structure alone."""
    seen: set[Node] = set()
    old: list[Node] = []
    stack = list(roots)
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            if node.seq < start:
                old.append(node)
            else:
                stack.extend(parent for parent in node.inputs if parent is not None)
    return old


CHECKPOINT = Op("checkpoint", "primitive", lambda *xs, stretch, expected: None, many=True)
CHECKPOINT.slots = ["xs"]


def _again(saved: tuple, stretch: _Stretch, expected: tuple[int, int]) -> _Run:
    """The second run. What it reads from outside is matched by place, not by identity: inside a derivative transform
    a parameter of a Module stood for another node than it does now."""
    run = stretch.run(a for a in saved[0] if a is not None)
    if (found := (len(run.captured), len(run.outputs))) != expected:
        raise RuntimeError(
            f"checkpoint: run again, the function read {found[0]} tracked values from outside and returned {found[1]}, "
            f"not {expected[0]} and {expected[1]} as before; it must do the same each time it is called"
        )
    return run


def _vjp(g: list, saved: tuple, params: dict) -> list[Any]:
    record = local.frame.recording
    run = _again(saved, **params)
    used = [(node, c) for node, c in zip(run.outputs, g, strict=True) if c is not None]
    wrt = [*run.arguments, *run.captured]
    found = pull([node for node, _ in used], [c for _, c in used], wrt=wrt, record=record, ends=True)
    return [found.get(node) for node in wrt]


def _jvp(tangents: Any, saved: tuple, params: dict) -> list[Any]:
    record = local.frame.recording
    run = _again(saved, **params)
    inputs = [*run.arguments, *run.captured]
    return push(run.outputs, {n: t for n, t in zip(inputs, tangents, strict=True) if t is not None}, record=record)


CHECKPOINT.rest, CHECKPOINT.push_all = _vjp, _jvp


def checkpoint(f: Callable[..., Any]) -> Callable[..., Any]:
    """``f`` with the same values and derivatives that keeps its arguments alone for the backward pass.

    What lies between is computed again when it is needed: memory for time (Chen et al. 2016, arXiv:1604.06174).
    Arguments and outputs may be containers; weights that f reads from outside are found and get their gradients.
    f must be a pure function: drawn again, random masks must come out equal, so pass them in. RuntimeError on the way
    back when it reads or returns something else than before.

    >>> import tinygrad_rnn as tg
    >>> x = tg.tensor(2.0, requires_grad=True)
    >>> tg.checkpoint(lambda x: tg.exp(tg.sin(x)))(x).backward()
    >>> x.grad
    tensor(-1.0331)
    """

    @wraps(f)
    def run(*args: Any, **kwargs: Any) -> Any:
        frame = local.frame
        if not frame.recording:
            return f(*args, **kwargs)
        values = tree.leaves(args)
        parameters = {id(p) for p in tree.parameters(args)}  # a Module is passed as it is; f reads what it holds
        constants = {
            i: v
            for i, v in enumerate(values)
            if type(v) is not Tensor or v.dtype.kind not in "fc" or id(v) in parameters
        }
        tensors = [v for i, v in enumerate(values) if i not in constants]
        template = tree.replace(args, [0] * len(values))
        stretch = _Stretch(partial(f, **kwargs), template, constants, len(values), frame.scope)
        first = stretch.run(t.data for t in tensors)
        inputs = (*(t.node for t in tensors), *first.captured)
        outputs, structure = tree.flatten(first.value)
        results = [Tensor.of(t.data, None) if _tracked(t) else t for t in outputs]
        if any(node is not None and node.op is not CUT for node in inputs):
            arrays = tuple(t.data for t in outputs if _tracked(t))
            kept = (tuple(t.data for t in tensors) + (None,) * len(first.captured),)
            params = {"stretch": stretch, "expected": (len(first.captured), len(first.outputs))}
            shapes, dtypes = tuple(a.shape for a in arrays), tuple(a.dtype for a in arrays)
            node = Node(CHECKPOINT, params, inputs, kept, next_seq(), frame.scope, shapes, dtypes)
            picked = iter(picks(arrays, node))
            results = [next(picked) if _tracked(t) else t for t in outputs]
        return tree.unflatten(structure, results)

    return run
