"""What of a step does not depend on the numbers in it: who reaches whom, read from its graph."""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Iterable
from typing import Any, NamedTuple

import numpy as np

from ..autodiff import reachable
from ..backend import Array, namespace, to_host
from ..node import Node
from ..op import Op
from ..tensor import Tensor
from .linearised import Linearised

__all__ = [
    "Patterns", "ancestors", "dependents", "described", "nodes", "of_ones", "patterns", "products", "replaced",
    "rewired", "saved", "signature", "units",
]  # fmt: skip

Change = Callable[[Node, tuple], tuple[Op, tuple, Any]]
POINTWISE = {"abs", "clip", "maximum", "minimum", "where"}  # primitives that work entry by entry


def rewired(step: Linearised, change: Change) -> Linearised:
    """The same step with other nodes: ``change(node, inputs)`` gives the op, inputs and saved values of each."""
    made: dict[Node, Node] = {node: node for node in step._wrt}
    for node in nodes(step):
        if node not in made:
            op, inputs, saved = change(node, tuple(None if p is None else made[p] for p in node.inputs))
            made[node] = Node(op, node.params, inputs, saved, node.seq, node.scope, node.shape, node.dtype)
    other = copy.copy(step)
    other._roots = [None if root is None else made[root] for root in step._roots]
    if step._loss is not None and step._loss.node is not None:
        other._loss = Tensor.of(step._loss.data, made[step._loss.node])
    return other


def nodes(step: Linearised) -> list[Node]:
    """The nodes of a step in the order in which they were made."""
    return reachable([*step._roots, None if step._loss is None else step._loss.node])


def ancestors(roots: Iterable[Node | None]) -> set[Node]:
    """All that the roots were made of, themselves included."""
    return set(reachable(roots))


def dependents(step: Linearised, sources: Iterable[Node]) -> set[Node]:
    """The nodes of the step that depend on one of the sources, themselves included."""
    found = set(sources)
    for node in nodes(step):
        if any(parent in found for parent in node.inputs if parent is not None):
            found.add(node)
    return found


def weights(step: Linearised) -> set[Node]:
    """The nodes that depend on parameters and not on the carry."""
    return dependents(step, step._wrt[: step._split]) - dependents(step, step._wrt[step._split :])


def products(step: Linearised, moving: set[Node]) -> list[tuple[Node, int]]:
    """The products of what is ``moving`` with parameters, and which argument the former is."""
    fixed = weights(step) - moving
    return [
        (node, i)
        for node in nodes(step)
        if node.op.kind == "bilinear"
        for i in (0, 1)
        if node.inputs[i] in moving and node.inputs[1 - i] in fixed
    ]


def saved(node: Node, argument: int) -> Any:
    """What a node of two arguments keeps of one of them."""
    return node.saved[node.op.slots.index(node.op.args[argument])]


def replaced(op: Op, kept: tuple, argument: int, value: Any) -> tuple:
    """What a node of an op keeps, with another value of one argument."""
    at = op.slots.index(op.args[argument])
    return (*kept[:at], value, *kept[at + 1 :])


def masks(step: Linearised) -> dict[Node, Array]:
    """The weights that are a parameter times a constant array, and where that is not 0: a net of few connections."""
    found = {}
    for node in weights(step) if step.parameters.n else ():
        if node.op.name == "mul" and None in node.inputs:
            constant = saved(node, node.inputs.index(None))
            if getattr(constant, "size", 1) > 1:
                xp = namespace(constant)
                found[node] = xp.broadcast_to(constant != 0, node.shape).astype(node.dtype)
    return found


def signature(step: Linearised) -> Hashable:
    """What the patterns of a step depend on: its ops and how they hang together, shapes, indices and masks."""
    order = reachable([*step._wrt, *step._roots])
    known = masks(step)
    place: dict[Node | None, int] = {node: i for i, node in enumerate(order)}
    return (
        tuple(map(place.get, [*step._wrt, *step._roots])),
        tuple(
            (node.op.name, node.shape, repr(node.params), tuple(map(place.get, node.inputs)), *_kept(node, known))
            for node in order
        ),
    )


def _kept(node: Node, known: dict[Node, Array]) -> list[bytes]:
    """The arrays of indices that a node keeps; those into an embedding's table are all the same to ``patterns``."""
    if node in known:
        return [to_host(known[node]).tobytes()]
    if node.op.kind != "linear" or node.op.name == "embedding" or node.saved is None:
        return []
    arrays = [a for value in node.saved for a in (value if type(value) is tuple else (value,)) if hasattr(a, "dtype")]
    return [to_host(a).tobytes() for a in arrays if a.dtype.kind in "iub"]


class Patterns(NamedTuple):
    """For each number of z', the indices of the parameters and of the numbers of z that reach it within the step."""

    parameters: list[np.ndarray]
    before: list[np.ndarray]


def of_ones(step: Linearised) -> Linearised:
    """The same step with every partial derivative 1: what is pulled through it is 0 where nothing is reached."""
    known = masks(step)
    return rewired(step, lambda node, inputs: _ones(node, inputs, known))


def patterns(step: Linearised) -> Patterns:
    """Where ∂⁺z'/∂θ and ∂z'/∂z can be other than 0, whatever the numbers.

    Found by pulling ones through the step with every partial derivative set to 1, so that nothing cancels: an entrywise
    op passes them on, a product is one with ones, an op that mixes along an axis spreads them over it, and a table
    that is read by index counts as read everywhere. Draws of random numbers would not do: a dead relu, the zero state
    of the first step and a one-hot input look like missing connections. Only weights times a constant mask are as
    sparse as it is.
    """
    ones = of_ones(step)
    xp, like = namespace(step.parameters.like), step.parameters.like
    found = Patterns([], [])
    for i in range(step.state.n):
        unit = xp.zeros(step.state.n, like.dtype)
        unit[i] = 1
        for rows, row in zip(found, ones.pull_state(unit), strict=True):
            rows.append(np.flatnonzero(to_host(row)))
    return found


def _ones(node: Node, inputs: tuple, known: dict[Node, Array]) -> tuple[Op, tuple, Any]:
    op, kept = node.op, node.saved
    if op.kind == "bilinear":
        kept = tuple(namespace(v).ones_like(v) if hasattr(v, "dtype") else v for v in kept)
        for i, parent in enumerate(node.inputs):
            if parent in known and node.inputs[1 - i] is not None:
                kept = replaced(op, kept, i, known[parent])
    elif node in known:
        op = _with_rules(op, lambda g, s, p: g * known[node])
    elif op.kind == "elementwise" or op.name in POINTWISE:
        op = _with_rules(op, lambda g, s, p: g)
    elif op.name == "embedding":
        op = _with_rules(op, lambda g, s, p: _everywhere(g.reshape(-1, g.shape[-1]), node.inputs[0].shape, 0))
    elif op.kind == "primitive" and "axis" in op.params:
        op = _with_rules(op, lambda g, s, p: _everywhere(_with_axes(g, node, p), node.inputs[0].shape, p["axis"]))
    return op, inputs, kept


def _with_rules(op: Op, rule: Callable) -> Op:
    other = copy.copy(op)
    other.vjp = [None if known is None else rule for known in op.vjp]
    other.deferred = {}
    return other


def _with_axes(g: Array, node: Node, params: dict) -> Array:
    """A cotangent with the axes back that a reduction took away."""
    shape, axis = node.inputs[0].shape, params["axis"]
    if g.ndim == len(shape):
        return g
    gone = range(len(shape)) if axis is None else [a % len(shape) for a in ([axis] if isinstance(axis, int) else axis)]
    return g.reshape([1 if i in gone else n for i, n in enumerate(shape)])


def _everywhere(g: Array, shape: tuple[int, ...], axis: Any) -> Array:
    return namespace(g).broadcast_to(g.sum(axis, keepdims=True), shape).copy()


def described(step: Linearised, place: int) -> str:
    """Which parameter a place in the vector of all belongs to: its name and shape."""
    which = int(np.searchsorted(np.cumsum(step.parameters.sizes), place, side="right"))
    leaf = [leaf for leaf, moving in zip(step.parameters.leaves, step.parameters.moving, strict=True) if moving][which]
    return f"parameter {leaf.name or which} {step.parameters.shapes[which]}"


def units(through: np.ndarray) -> np.ndarray:
    """One label for each number of z' from where ∂z'/∂z can be other than 0, (n', n).

    Those that share a number of z, also by way of others, have the same.
    """
    label = np.arange(len(through))
    for column in through.T:
        if len(sharing := np.unique(label[column])) > 1:
            label[np.isin(label, sharing)] = sharing[0]
    return label
