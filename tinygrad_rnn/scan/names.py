"""What the values of a step are called: by the user's own names, as far as the trace knows them.

The fields of the state, the parameters' paths, and the variables of the step's own source: a line ``c = f * g`` gives
its name to the product made there. A cotangent is called by what it belongs to: ∂c.
"""

from __future__ import annotations

import ast
import linecache
from collections.abc import Iterator, Mapping
from typing import Any

from ..node import Node
from .graph import StepGraph, Value

__all__ = ["Names"]

SIGNS = {"add": "+", "sub": "−", "mul": "·", "div": "/", "matmul": "@", "pow": "**"}
OPERATORS = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div", ast.MatMult: "matmul", ast.Pow: "pow"}
TURNED = ("swapaxes", "transpose")
SEEN_THROUGH = {"reshape", "spread", "broadcast_to", "alias", "tap", "astype"}


class Names:
    """The names of the values of one graph; ``names(v)`` is one for any value. ``captured``: those of what it reads.

    >>> import tinygrad_rnn as tg
    >>> from tinygrad_rnn.scan.trace import trace
    >>> graph = trace(lambda h, x: (tg.tanh(x + 2 * h), h), tg.zeros((3, 4)), tg.zeros((3, 4)))
    >>> [Names(graph)(v) for v in graph.values[:5]]
    ['carryₜ₋₁', 'x', 'carryₜ₋₁ · 2', 'x + …', 'carry']
    """

    def __init__(self, graph: StepGraph, captured: Mapping[Value, str | None] | None = None) -> None:
        self.graph, self.captured = graph, captured or {}
        self.known: dict[Value, str] = {}
        self.users: dict[Value, list[Value]] = {}
        for v in graph.values:
            for a in v.args:
                self.users.setdefault(a, []).append(v)
        self._inputs()
        self._results()
        self._variables()
        self._joined()
        self._cotangents()
        self._joined()  # sums that are cut into gradients

    def __call__(self, v: Value) -> str:
        """The value's name, or else how it is made from what has one."""
        if v in self.known or v.kind != "op":
            return self._short(v)
        if v.name in TURNED and len(v.shape) == 2:
            return f"{self._whole(v.args[0])}ᵀ"
        if v.name in SEEN_THROUGH:
            return self(v.args[0])
        args = [self._short(a) for a in v.args]
        if set(args) == {"…"}:
            return v.name
        if v.name == "concatenate":
            return f"[{' '.join(args)}]"
        if v.name in SIGNS and len(args) == 2:
            return f" {SIGNS[v.name]} ".join(args)
        return f"{v.name}({', '.join(args)})"

    def _short(self, v: Value) -> str:
        if v in self.known:
            return self.known[v]
        if v.kind == "number":
            return f"{v.array:.4g}" if isinstance(v.array, (int, float)) else str(v.array)
        if v.kind == "fill":
            return f"{v.array.reshape(-1)[0].item():.4g}"
        if v.kind == "pick":
            return f"{v.args[0].name}[{v.index}]"
        return "…"

    def _inputs(self) -> None:
        g, known = self.graph, self.known
        for i, v in enumerate(g.xs):
            known[v] = "x" if len(g.xs) == 1 else f"x{i}"
        self.states = [path or "carry" for path in paths(g.structure[0])]
        for v, name in zip(g.carry, self.states, strict=True):
            known[v] = f"{name}ₜ₋₁"
        given = [v for v in g.values if v.kind == "given"]
        found = [self.captured.get(v) or parameter_name(v.node) or f"captured{i}" for i, v in enumerate(given)]
        tops = {name.partition("/")[0] for name in found}
        if len(tops) == 1 and all("/" in name for name in found):  # what all have in common tells nothing
            found = [name.partition("/")[2] for name in found]
        known.update(zip(given, found, strict=True))

    def _results(self) -> None:
        g, known = self.graph, self.known
        for v, name in zip(g.carry_out, self.states, strict=True):
            if v.kind in ("op", "pick"):
                known.setdefault(v, name)
        self.outputs = [path or "y" for path in paths(g.structure[1])]
        for v, name in zip(g.ys, self.outputs, strict=True):
            known.setdefault(v, name)

    def _variables(self) -> None:
        """The variables of the step's source, where a line assigns what its last op made."""
        last: dict[str, Value] = {}
        for v in self.graph.values[: self.graph.backward_from]:
            if v.line and v.kind == "op":
                last[v.line] = v
        for line, v in last.items():
            targets, op = assigned(line)
            if v.name != op:
                continue
            if v.op is not None and not v.op.many:
                if len(targets) == 1:
                    self.known.setdefault(v, targets[0])
                continue
            for pick in self.users.get(v, []):
                if pick.kind == "pick" and pick.index < len(targets):
                    self.known.setdefault(pick, targets[pick.index])

    def _pieces(self, v: Value) -> list[Value]:
        return sorted((u for u in self.users.get(v, []) if u.kind == "pick"), key=lambda u: u.index)

    def _joined(self) -> None:
        """What is split into named pieces, as a list of them; where each leads to a named value alone, as its net."""
        for v in self.graph.values:
            if v.name not in ("split", "unstack"):
                continue
            pieces = self._pieces(v)
            lead_to = [self._leads_to(u) for u in pieces]
            if any(u in self.known for u in pieces):
                self.known.setdefault(v.args[0], f"[{' '.join(self.known.get(u, '…') for u in pieces)}]")
            elif all(lead_to):
                self.known.setdefault(v.args[0], f"net[{' '.join(lead_to)}]")

    def _leads_to(self, v: Value) -> str:
        """The name of the value of the step that one is for, if it is for no other."""
        own = self.graph.values[: self.graph.backward_from]
        while v not in self.known:
            readers = [u for u in self.users.get(v, []) if u in own]
            if len(readers) != 1:
                return ""
            v = readers[0]
        return self.known[v]

    def _cotangents(self) -> None:
        g, known = self.graph, self.known
        for v, name in zip(g.g_carry, self.states, strict=True):
            known[v] = f"∂{name}"
        for v, name in zip(g.g_ys, self.outputs, strict=True):
            known[v] = f"∂{name}"
        for v, gradient in g.gradients.items():
            known.setdefault(gradient, f"∂{self._whole(v)}")
        own, back = g.values[: g.backward_from], g.values[g.backward_from :]
        made_by = {v.args[1]: v for v in own if v.name == "matmul"}
        for v in back:  # what is multiplied by Wᵀ belongs to the product with W
            if v.name == "matmul" and v.args[1].name in TURNED and v.args[1].args[0] in made_by:
                source = self._sum(made_by[v.args[1].args[0]])
                known.setdefault(v.args[0], f"∂{self._whole(source)}")
                splits = [u for u in self.users.get(source, []) if u.name == "split"]
                if splits and v.args[0].name == "concatenate":
                    for a, u in zip(v.args[0].args, self._pieces(splits[0]), strict=False):
                        known.setdefault(a, f"∂{self._short(u)}")

    def _sum(self, v: Value) -> Value:
        """The sum that a product goes into, if it goes nowhere else: its cotangent is the same."""
        own = set(self.graph.values[: self.graph.backward_from])
        while v not in self.known:
            users = [u for u in self.users.get(v, []) if u in own]
            if len(users) != 1 or users[0].name != "add" or users[0].shape != v.shape:
                return v
            v = users[0]
        return v

    def _whole(self, v: Value) -> str:
        name = self(v)
        return f"({name})" if " " in name and not name.endswith("]") else name


def paths(structure: Any, path: str = "") -> Iterator[str]:
    """The places of the leaves of a structure, as field names, keys and numbers joined by dots."""
    if isinstance(structure, dict):
        parts = list(structure.items())
    elif hasattr(structure, "_fields"):
        parts = list(zip(structure._fields, structure, strict=True))
    elif isinstance(structure, (list, tuple)):
        parts = list(enumerate(structure))
    else:
        if structure is not None:
            yield path
        return
    for key, part in parts:
        yield from paths(part, f"{path}.{key}" if path else str(key))


def parameter_name(node: Node | None) -> str | None:
    """The name of the Tensor that a leaf stands for, if it is still there."""
    if node is None or node.op.kind != "leaf" or not node.saved:
        return None
    t = node.saved[0]()
    return None if t is None else t.name


def assigned(line: str) -> tuple[list[str], str]:
    """The variables that a line of source, file:line, assigns, and the op at the top of what it assigns to them."""
    file, _, number = line.rpartition(":")
    try:
        (statement,) = ast.parse(linecache.getline(file, int(number)).strip()).body
    except (SyntaxError, ValueError):  # a part of a longer statement, several, or none
        return [], ""
    if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
        return [], ""
    target, value = statement.targets[0], statement.value
    names = []
    for part in target.elts if isinstance(target, ast.Tuple) else [target]:
        if not isinstance(part, ast.Name):
            break  # what follows a starred part is at no fixed place
        names.append(part.id)
    op = ""
    if isinstance(value, ast.BinOp):
        op = OPERATORS.get(type(value.op), "")
    elif isinstance(value, ast.Call):
        op = str(getattr(value.func, "attr", getattr(value.func, "id", "")))
    return names, op
