"""Compiled scans as the plain ops that they stand for: a column for each time step instead of one node for all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tinygrad_rnn import tree
from tinygrad_rnn.node import Node, Scope, local, next_seq, recording
from tinygrad_rnn.tensor import Tensor

from .read import with_past


def replayed(root: Any, names: dict[Any, str], states: dict[int, Any] | None = None) -> Any:
    """The node `root` of a graph in which every compiled scan was run again, op by op, on what it had recorded.

    Inputs, masks and order are those of the run, so the values are its values; nothing of the graph given is changed.
    Scans whose values backward() freed stay as they are. The parts of the carry are entered into `names`, initial ones
    that no gradient passes through into `states`, by the ids of their arrays.

    >>> import tinygrad_rnn as tg, zoo
    >>> from tinygrad_rnn.autodiff import reachable
    >>> x = tg.tensor([[[0.5]], [[1.0]]])
    >>> ys, _ = zoo.RNN(zoo.ElmanRNN(1, 1), compile="numpy")(x)
    >>> [[n.op.name for n in reachable([r])].count("tanh") for r in (ys.node, replayed(ys.node, {}))]
    [0, 2]
    """
    nodes = with_past(root)
    if not any(_is_run(node) for node in nodes):
        return root
    made: dict[Any, Any] = {}
    outputs: dict[Any, tuple[Tensor, ...]] = {}
    for node in nodes:
        before = node.saved[0]() if node.op.kind == "cut" and node.saved else None
        if _is_run(node):
            outputs[node] = _run_again(node, [None if p is None else made[p] for p in node.inputs], names)
            if states is not None:
                states |= _initial(node)
        elif node.op.kind == "pick" and node.inputs[0] in outputs:
            made[node] = outputs[node.inputs[0]][node.params["index"]].node
            continue
        inputs = tuple(None if p is None else made[p] for p in node.inputs)
        saved = node.saved
        if before is not None and made.get(before, before) is not before:
            saved = (lambda new=made[before]: new,)
        same = saved is node.saved and all(a is b for a, b in zip(inputs, node.inputs))
        made[node] = node if same else _with(node, inputs, saved)
        if not same and node in names:
            names[made[node]] = names[node]
    return made[root]


def _is_run(node: Any) -> bool:
    return node.op.name == "scan" and node.saved is not None and hasattr(node.params.get("run"), "eager")


def _initial(node: Any) -> dict[int, Any]:
    """The arrays that a run began with, which no gradient passes through."""
    first, last = node.params["run"].cuts
    arrays = dict(zip(node.op.slots, node.saved, strict=True))["arrays"]
    pairs = list(zip(arrays, node.inputs, strict=True))[first:last]
    return {id(array): array for array, parent in pairs if parent is None}


def _parts(state: Any) -> Iterator[tuple[str, Tensor]]:
    """The Tensors of a state that have a name, by the name that its container has for them."""
    fields: Any = ()
    if isinstance(state, dict):
        fields = state.items()
    elif isinstance(state, (tuple, list)):
        fields = zip(getattr(state, "_fields", [""] * len(state)), state, strict=True)
    for name, part in fields:
        if isinstance(part, Tensor):
            yield from [(str(name), part)] if name else []
        else:
            yield from _parts(part)


def _with(node: Any, inputs: tuple, saved: Any) -> Any:
    """The same op on other inputs, made now."""
    return Node(node.op, node.params, inputs, saved, next_seq(), node.scope, node.shape, node.dtype)


def _run_again(node: Any, parents: list[Any], names: dict[Any, str]) -> tuple[Tensor, ...]:
    """The outputs of a run, made of plain ops on its recorded inputs, under the tags that it was called under."""
    run = node.params["run"]
    structure = run.compiled.graph.structure[0]

    def name(carry: list[Tensor]) -> None:
        parts = _parts(tree.unflatten(structure, carry))
        names.update({part.node: word for word, part in parts if part.node is not None})

    arrays = dict(zip(node.op.slots, node.saved, strict=True))["arrays"]
    frame = local.frame
    before: Scope | None = frame.scope
    frame.scope = node.scope
    try:
        with recording(True):
            inputs = [Tensor.of(array, parent) for array, parent in zip(arrays, parents, strict=True)]
            found = run.eager(*inputs, after_step=name)
    finally:
        frame.scope = before
    return found
