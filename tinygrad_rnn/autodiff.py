"""The two drivers that every derivative stands on.

``pull`` walks the graph from the outputs down and carries cotangents (reverse mode, vjp, backpropagation through
time); ``push`` walks it up and carries tangents (forward mode, jvp). Both visit nodes in the order of ``seq``. That
order matters: in ``b = a + a; c = b * a`` the cotangent of ``a`` is complete only after both of its uses were
visited, and a use always has a larger ``seq`` than what it uses.

Inside, cotangents are plain transposes, without conjugation, so one partial derivative serves both drivers. At the
border (cotangents in, gradients and messages out) they are conjugated once: for a real loss L of z = x + iy the
gradient is ∂L/∂x + i ∂L/∂y, as in PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

from .backend import namespace
from .cotangent import Deferred, cast, fit, handed_out
from .generate import picks
from .node import Node, local
from .op import PICK
from .tensor import Tensor, tensor, zeros_beside

__all__ = ["Edge", "backward", "pull", "push", "reachable"]


class Edge(NamedTuple):
    """Where a message passes: from ``child`` (the op that used a value) to ``parent``, which was its ``argument``."""

    child: Node
    parent: Node
    argument: int


OnMessage = Callable[[Edge, Any], None]


def reachable(roots: Iterable[Node | None]) -> list[Node]:
    """Every node below the roots, in the order in which they were made; no recursion."""
    seen: set[Node] = set()
    stack = [node for node in roots if node is not None]
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            for parent in node.inputs:
                if parent is not None and parent not in seen:
                    stack.append(parent)
    return sorted(seen, key=attrgetter("seq"))


def attach(node: Node) -> tuple[Any, ...]:
    """The saved arrays as Tensors again, tied to the nodes that they came from, so that rules record."""
    op, attached = node.op, []
    for slot, value in zip(op.slots, node.saved, strict=True):
        if slot == "out":
            value = picks(value, node) if op.many else Tensor.of(value, node)
        elif slot in op.args:
            parent = node.inputs[op.args.index(slot)]
            value = value if parent is None else Tensor.of(value, parent)
        elif slot == op.variadic:
            pairs = zip(value, node.inputs[len(op.args) :], strict=True)
            value = tuple(v if n is None or v is None else Tensor.of(v, n) for v, n in pairs)
        attached.append(value)
    return tuple(attached)


def pull(
    roots: Sequence[Node | None],
    cotangents: Sequence[Any],
    *,
    wrt: Iterable[Node] | None = None,
    record: bool = False,
    free: bool = False,
    ends: bool = False,
    on_message: OnMessage | None = None,
) -> dict[Node, Any]:
    """Reverse mode: the cotangents of the nodes ``wrt`` (all leaves when None) from those of the roots.

    ``record``: the walk itself is recorded, on Tensors, and can be differentiated. ``free``: drop saved values.
    ``ends``: the walk ends at the nodes asked for, so what reaches one of them through another is left out.
    """
    order = reachable(roots)
    wanted = None if wrt is None else set(wrt)
    if wanted is not None:  # only what lies between the roots and the nodes asked for
        between = set(wanted)
        for node in order:
            if node not in between and any(parent in between for parent in node.inputs):
                between.add(node)
        order = [node for node in order if node in between]
    arriving: dict[Node, Any] = {}
    owned: set[Node] = set()  # whose sum is an array of our own: the first contribution is borrowed, not copied
    found: dict[Node, Any] = {}
    frame = local.frame
    if frame.watch is not None:
        on_message = frame.watch.watch(on_message)
    before, scope_before = frame.recording, frame.scope
    frame.recording = record
    at: Node | None = None  # the node whose rules run

    def arrive(parent: Node, g: Any) -> None:
        held = arriving.get(parent)
        if held is None:
            arriving[parent] = g
        elif type(held) is Deferred:
            held.add(g)
        elif type(g) is Deferred:
            g.add(held)
            arriving[parent] = g
        elif parent in owned:
            held += g
            arriving[parent] = held
        else:
            arriving[parent] = held + g
            if not record:
                owned.add(parent)

    try:
        for root, cotangent in zip(roots, cotangents, strict=True):
            if root is not None and (wanted is None or root in between):
                arrive(root, cotangent)
        while order:
            node = at = order.pop()
            g = arriving.pop(node, None)
            if g is None:
                continue
            if type(g) is Deferred:
                g = g.value()
            inputs = node.inputs
            if wanted is None:
                if not inputs:
                    if node.op.kind == "leaf":
                        found[node] = g
                    continue
            else:
                if node in wanted:
                    found[node] = g
                    if ends:
                        continue
                if not inputs:
                    continue
            op, params, saved = node.op, node.params, node.saved
            if op is PICK:
                whole = inputs[0]
                if wanted is not None and whole not in between:
                    continue
                held = arriving.get(whole)
                if held is None:
                    held = arriving[whole] = [None] * len(whole.shape)
                index = params["index"]
                held[index] = g if held[index] is None else held[index] + g
                if on_message is not None:
                    on_message(Edge(node, whole, 0), conjugate(g))
                continue
            if saved is None:
                raise RuntimeError(
                    f"a second backward pass through `{op.name}`{node.place()}: the first one freed what it needs; "
                    "pass retain_graph=True to the first"
                )
            if record:
                saved = attach(node)
                frame.scope = node.scope
            rules = op.vjp if op.rest is None else op.rules(g, saved, params, len(inputs))
            deferred = op.deferred if not record else None
            for i, parent in enumerate(inputs):
                if parent is None or (wanted is not None and parent not in between):
                    continue
                part = deferred[i][0](g, saved, params) if deferred and i in deferred else None
                if part is not None:
                    xp = namespace(part[-1])
                    if on_message is not None:
                        lazy = Deferred(xp, parent.shape, parent.dtype).defer(op, i, part)
                        on_message(Edge(node, parent, i), conjugate(lazy))
                    held = arriving.get(parent)
                    if type(held) is Deferred:
                        held.defer(op, i, part)
                    else:
                        arrive(parent, Deferred(xp, parent.shape, parent.dtype).defer(op, i, part))
                    continue
                contribution = rules[i](g, saved, params)
                if contribution is None:
                    continue
                if contribution.shape != parent.shape or contribution.dtype is not parent.dtype:
                    contribution = fit(contribution, parent.shape, parent.dtype)
                if on_message is not None:
                    on_message(Edge(node, parent, i), conjugate(contribution))
                arrive(parent, contribution)
            if free:
                node.saved = None
    except Exception as error:
        if at is not None:
            error.add_note(f"in the backward pass through `{at.op.name}`{at.place()}")
        raise
    finally:
        frame.recording, frame.scope = before, scope_before
    return found


def push(roots: Sequence[Node | None], tangents: dict[Node, Any], *, record: bool = False) -> list[Any]:
    """Forward mode: the tangents of the roots (None where nothing moves) from those of some nodes below."""
    moving: dict[Node, Any] = dict(tangents)
    frame = local.frame
    before, scope_before = frame.recording, frame.scope
    frame.recording = record
    try:
        for node in reachable(roots):
            if node in moving:
                continue
            arriving = [None if parent is None else moving.get(parent) for parent in node.inputs]
            if all(t is None for t in arriving):
                continue
            if node.op is PICK:
                whole: Any = arriving[0]
                t = whole[node.params["index"]]
            elif node.saved is None:
                raise RuntimeError(f"jvp through `{node.op.name}`{node.place()}: a backward pass freed what it needs")
            else:
                frame.scope = node.scope
                t = node.op.push(arriving, attach(node) if record else node.saved, node.params)
            if t is None:
                continue
            if not node.op.many:
                if t.shape != node.shape:
                    t = t + zeros_beside(t, node.shape)  # broadcasting, as the op did to its value
                if t.dtype != node.dtype:
                    t = cast(t, node.dtype)
            if frame.watch is not None:
                frame.watch.tangent(node, t)
            moving[node] = t
    finally:
        frame.recording, frame.scope = before, scope_before
    return [None if root is None else moving.get(root) for root in roots]


def conjugate(g: Any) -> Any:
    return g.conj() if g.dtype.kind == "c" else g


def backward(
    output: Tensor,
    cotangent: Any = None,
    *,
    retain_graph: bool = False,
    create_graph: bool = False,
    on_message: OnMessage | None = None,
) -> None:
    """Propagate the cotangent (1 for a scalar) down the graph; add the gradients into ``.grad`` of the leaves.

    The saved arrays are freed on the way unless ``retain_graph``; the structure stays and can be drawn. With
    ``create_graph`` the gradients are recorded and can be differentiated. ``on_message(edge, contribution)`` sees what
    each edge carries, except inside a checkpoint; a weight's may be a sum not yet computed (see ``Deferred``).

    Raises RuntimeError when no gradient passes through, or an earlier pass freed what is needed; ValueError for a
    cotangent that does not fit.

    >>> import tinygrad_rnn as tg
    >>> x = tg.tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad.numpy()
    array([2., 4.], dtype=float32)
    """
    if not output.requires_grad:
        raise RuntimeError("backward() of a Tensor that no gradient passes through; set requires_grad=True on a leaf")
    g = seed(output, cotangent, create_graph)
    found = pull(
        [output.node], [g], record=create_graph, free=not (retain_graph or create_graph), on_message=on_message
    )
    given = {id(g)}
    for node, gradient in found.items():
        target = node.saved[0]() if node.saved else None
        if target is None:
            continue
        gradient = conjugate(gradient)
        if not create_graph:
            gradient = Tensor.of(handed_out(gradient, given), None)
        if target.grad is None:
            target.grad = gradient
        elif create_graph:
            target.grad = target.grad + gradient
        else:
            total = gradient.data + target.grad.data  # not in place: a callback may hold the message that this one was
            target.grad = Tensor.of(handed_out(total, given), None)


Tensor.backward = backward  # type: ignore[assignment, method-assign]


def seed(output: Tensor, cotangent: Any, record: bool) -> Any:
    """The cotangent as the driver wants it: an array (a Tensor when recording) of the output's shape and dtype."""
    if cotangent is None:
        if output.size != 1:
            raise ValueError(
                f"the output has shape {output.shape}: a gradient needs a scalar; sum it, or pass a cotangent"
            )
        if output.dtype.kind == "c":
            raise ValueError("the output is complex: a gradient needs a real scalar; take x.real, or pass a cotangent")
        cotangent = namespace(output.data).ones(output.shape, output.dtype)
    g = cotangent if type(cotangent) is Tensor else tensor(cotangent, dtype=output.dtype, device=output.device)
    if g.shape != output.shape:
        raise ValueError(f"the cotangent has shape {g.shape}, the output {output.shape}; they must be equal")
    if g.device != output.device:
        raise ValueError(f"the cotangent is on {g.device}, the output on {output.device}; move one with .to(device)")
    g = conjugate(g)
    if g.dtype != output.dtype:
        g = cast(g, output.dtype)
    return g if record else g.data
