"""Graph: a read-only view of what was recorded, for printing, drawing and compiling."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from . import tree
from .autodiff import Edge, reachable
from .node import Node
from .tensor import Tensor

__all__ = ["Graph"]


class Graph:
    """The nodes below some Tensors in the order in which they were made, and the edges between them.

    >>> import tinygrad_rnn as tg
    >>> x = tg.tensor([1.0, 2.0], requires_grad=True, name="x")
    >>> print(tg.Graph(tg.tanh(x * x)))
    %0 leaf x (2,) float32
    %1 mul (2,) float32 ← %0 %0
    %2 tanh (2,) float32 ← %1
    """

    def __init__(self, *outputs: Any) -> None:
        tensors = [t for t in tree.leaves(outputs) if type(t) is Tensor]
        self.outputs: list[Node] = [t.node for t in tensors if t.node is not None]
        self.nodes: list[Node] = reachable(self.outputs)

    @property
    def edges(self) -> list[Edge]:
        """From each use to what it used; a value used twice has two edges."""
        return [Edge(n, parent, i) for n in self.nodes for i, parent in enumerate(n.inputs) if parent is not None]

    @property
    def leaves(self) -> list[Node]:
        return [node for node in self.nodes if node.op.kind == "leaf"]

    @property
    def cuts(self) -> list[tuple[Node, Node]]:
        """Where detach cut: (the cut, the node it would have led to), as long as that node lives."""
        found = ((node, node.saved[0]()) for node in self.nodes if node.op.kind == "cut" and node.saved)
        return [(node, parent) for node, parent in found if parent is not None]

    def dependents(self, sources: Iterable[Node]) -> set[Node]:
        """The nodes whose value depends on one of ``sources``, these included."""
        found = set(sources)
        for node in self.nodes:
            if any(parent in found for parent in node.inputs):
                found.add(node)
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain data: one entry a node, with its op, shape, dtype, scope and parents by place in the list."""
        place = {node: i for i, node in enumerate(self.nodes)}
        return {
            "nodes": [
                {
                    "op": node.op.name,
                    "name": name_of(node),
                    "shape": node.shape,
                    "dtype": [str(d) for d in node.dtype] if node.op.many else str(node.dtype),
                    "scope": [
                        {"kind": s.kind, "name": s.name, "index": s.index, **s.attributes}
                        for s in (node.scope.chain() if node.scope else ())
                    ],
                    "inputs": [None if parent is None else place[parent] for parent in node.inputs],
                }
                for node in self.nodes
            ],
            "outputs": [place[node] for node in self.outputs],
        }

    def __len__(self) -> int:
        return len(self.nodes)

    def __str__(self) -> str:
        place = {node: i for i, node in enumerate(self.nodes)}
        lines = []
        for node in self.nodes:
            dtype = ",".join(map(str, node.dtype)) if node.op.many else node.dtype
            words = [f"%{place[node]}", node.op.name, *([name] if (name := name_of(node)) else [])]
            words += [str(node.shape), str(dtype)]
            if node.inputs:
                words += ["←", *("const" if p is None else f"%{place[p]}" for p in node.inputs)]
            lines.append(" ".join(words) + (f"  [{node.scope}]" if node.scope else ""))
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<Graph of {len(self.nodes)} nodes, {len(self.leaves)} leaves>"


def name_of(node: Node) -> str | None:
    """The name of the Tensor behind a leaf, while it lives."""
    if node.op.kind != "leaf" or not node.saved:
        return None
    t = node.saved[0]()
    return None if t is None else t.name
