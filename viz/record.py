"""viz.trace: from a loss, or a function that computes one, to a Trace with the messages of its backward pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import tinygrad_rnn as tg
from tinygrad_rnn.autodiff import Edge, pull
from tinygrad_rnn.debug import watched

from .fold import group
from .names import Listener, describe, norm
from .read import Repeats, Use, Value, read
from .replay import replayed
from .roles import assign
from .trace import Trace, TraceEdge, TraceNode

OF_A_MODEL = "Messages: gradients of the sum of all outputs."
FREED = "No messages: backward() has freed what they need; trace before it, or call backward(retain_graph=True)."


def trace(
    what: tg.Tensor | tg.bptt.Problem | Callable[..., Any],
    *args: Any,
    cotangent: Any = None,
    values: bool = False,
    title: str = "",
    shift: bool = True,
    **kwargs: Any,
) -> Trace:
    """The computation of a loss and the messages of its backward pass: for each edge the norm of what it hands back.

    `what` is the loss, recorded already, or a function that is called with the other arguments and returns it (or a
    tuple that begins with it); then the nodes carry the names of the local variables and the statistics of their
    values. It may also be a model, called in the same way, or a `tg.bptt.Problem`, which is run step by step. A scan
    that ran as compiled code is run again as plain ops, on the inputs and masks that it had. `cotangent` is needed when
    the output is no scalar (for that of a model, its sum is taken), `values` keeps every value and every message, not
    their norms alone. Time, layer and cell come from the scopes, so a plain loop over `tg.steps(T)` is as good as the
    zoo's; loops that follow each other are set one after the other, unless `shift` is False: then time is as the scopes
    say. Nothing is accumulated into `.grad`. Raises TypeError when there is no Tensor that gradients pass through.

    >>> W = tg.tensor([[0.5, 0.1], [0.0, 0.5]], requires_grad=True, name="W")
    >>> h = tg.tensor([[1.0, 2.0]])
    >>> for t in tg.steps(3):
    ...     h = tg.tanh(h @ W)
    >>> trace(h.sum())
    Trace(op level: 9 nodes, 10 edges, 3 steps, 1 parameters, 0 cuts)
    """
    heard, output, note = Listener(values=values), what, ""
    if isinstance(what, tg.bptt.Problem):
        from .problem import recorded as step_by_step

        _take_none(args, kwargs, "a problem has its inputs")
        return replace(step_by_step(what, values=values), title=title)
    if not isinstance(what, tg.Tensor) and callable(what):
        with heard:
            output = what(*args, **kwargs)
        output = output[0] if isinstance(output, tuple) else output
        if isinstance(what, tg.nn.Module) and isinstance(output, tg.Tensor) and output.shape and cotangent is None:
            cotangent, note = tg.ones(output.shape, dtype=output.dtype, device=output.device), OF_A_MODEL
    else:
        _take_none(args, kwargs, "a loss that was computed already takes none")
    if not isinstance(output, tg.Tensor) or output.node is None:
        raise TypeError(
            "trace: needs a Tensor that gradients pass through, or a function that returns one, not "
            f"{output if isinstance(output, tg.Tensor) else type(output).__name__!r}; "
            "set requires_grad=True on the parameters"
        )
    with watched(heard):
        root = replayed(output.node, heard.variables, heard.states)
    apart = shift and not isinstance(what, tg.bptt.Problem)
    recorded = read(root, heard.constants, shift=apart, made_of=heard.state_behind)
    repeats = Repeats(recorded)
    roles, starts = assign(recorded, repeats, heard.states)
    drawn = [value for value in recorded if value in roles]
    names = {value: f"n{place}" for place, value in enumerate(drawn)}
    labels = _labels(drawn, heard, repeats, starts)
    nodes = [_node(value, names[value], labels[value], roles[value], heard, starts) for value in drawn]
    uses = [use for value in drawn for use in value.uses if use.source in names]

    if any(v.node is not None and v.node.saved is None and v.op != "pick" for v in recorded):
        edges = [TraceEdge(names[u.source], names[u.target], u.argument, cut=u.cut) for u in uses]
        return Trace(nodes, edges, title=title, note=FREED)
    kept = _to_sum(uses, names, nodes) if not values else {use.key for use in uses}
    messages, gradients = _messages(tg.Tensor.of(output.data, root), cotangent, kept)
    nodes = [replace(n, gradient=gradients.get(v.node)) for n, v in zip(nodes, drawn)]
    edges = []
    for use in uses:
        size, array = messages.get(use.key, (None, None)) if not use.cut else (None, None)
        ends = names[use.source], names[use.target]
        shape, dropped = use.source.shape, use.dropped
        edges.append(TraceEdge(*ends, use.argument, size, use.cut, value=array, shape=shape, dropped=dropped))
    for value in recorded:  # values and uses know each other: apart, they go at once, and not while a picture is drawn
        value.uses.clear()
        value.used_by.clear()
    return Trace(nodes, edges, title=title, note=note)


def _take_none(args: Any, kwargs: Any, why: str) -> None:
    if args or kwargs:
        raise TypeError(f"trace: arguments are for a function or a model; {why}")


def _messages(
    output: tg.Tensor, cotangent: Any, kept: set[Any]
) -> tuple[dict[Any, tuple[float, Any]], dict[Any, float]]:
    """The norm of each message by (child, parent, argument), with its value for those in `kept`; gradients' norms."""
    messages: dict[Any, tuple[float, Any]] = {}

    def hear(edge: Edge, message: Any) -> None:
        key = (edge.child, edge.parent, 0 if edge.child.op.kind == "pick" else edge.argument)
        array = message.value() if hasattr(message, "value") else message
        messages[key] = norm(array), array if key in kept else None

    if cotangent is None:
        if output.shape != ():
            raise ValueError(f"trace: the output has shape {output.shape}, not that of a scalar; pass a cotangent")
        cotangent = 1.0
    seed = cotangent
    if not isinstance(seed, tg.Tensor):
        seed = tg.tensor(seed, dtype=output.dtype, device=output.device)
    if seed.shape != output.shape:
        raise ValueError(f"trace: the cotangent has shape {seed.shape}, the output {output.shape}; they must be equal")
    found = pull([output.node], [seed.data.conj() if seed.dtype.kind == "c" else seed.data], on_message=hear)
    return messages, {node: norm(gradient) for node, gradient in found.items()}


def _to_sum(uses: list[Use], names: dict[Value, str], nodes: list[TraceNode]) -> set[Any]:
    """The edges whose messages a cell-level picture adds up: several from one value to one cell."""
    groups = {node.id: group(node) for node in nodes}
    crossing = [u for u in uses if u.key and not u.cut and groups[names[u.source]] != groups[names[u.target]]]
    count = Counter((u.source, groups[names[u.target]]) for u in crossing)
    return {u.key for u in crossing if count[u.source, groups[names[u.target]]] > 1}


def _labels(drawn: list[Value], heard: Listener, repeats: Repeats, starts: dict[Value, Value]) -> dict[Value, str]:
    """Names of leaves as their Tensors have them, else of local variables, of this or of another step."""
    variables, labels = heard.names, {}
    elsewhere = {repeats.first[v]: variables[v.node] for v in repeats.first if v.node in variables}
    for v in drawn:
        label = ""
        if v.is_leaf:
            tensor = v.node.saved[0]() if v.node.saved else None
            label = tensor.name if tensor is not None and tensor.name else ""
        if v.node is not None:
            label = label or variables.get(v.node) or elsewhere.get(repeats.first.get(v, v), "")
        elif starts.get(v, v) is v:
            label = heard.name_of_array(v.array) or "x"
        labels[v] = label
    unnamed = [v for v in drawn if v.is_leaf and not labels[v]]
    labels |= {v: f"θ{place}" if len(unnamed) > 1 else "θ" for place, v in enumerate(unnamed)}
    return labels | {v: labels.get(state) or "state" for v, state in starts.items() if v in labels and not labels[v]}


def _node(v: Value, name: str, label: str, role: str, heard: Listener, starts: dict[Value, Value]) -> TraceNode:
    stats = heard.stats.get(v.node, {})
    shape, dtype = v.shape, v.dtype
    if v.node is None and v.dtype:
        stats = describe(v.array)
    elif v.node is None:
        shape, dtype = starts[v].shape, starts[v].dtype
    return TraceNode(
        name, v.op, label, shape, dtype, v.time, v.layer, v.direction, role, v.cell, v.scope, stats,
        value=None if heard.values is None else _array(v, heard.values),
    )  # fmt: skip


def _array(v: Value, values: dict[Any, Any]) -> Any:
    """The value itself: that of a leaf is with its Tensor, as long as this lives."""
    if v.node is None:
        return v.array if v.dtype else None
    tensor = v.node.saved[0]() if v.is_leaf and v.node.saved else None
    return values.get(v.node) if tensor is None else tensor.data
