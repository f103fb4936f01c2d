"""The engine's graph as pictures see it: time, layer, cell from its tags; detach and re-read stacks resolved."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from tinygrad_rnn.autodiff import reachable

from .clock import set_clock


@dataclass(eq=False)
class Value:
    """A node of the engine's graph, or (node None) a constant array that enters it, with its tags."""

    node: Any
    op: str
    shape: tuple[int, ...] = ()
    dtype: str = ""
    scope: str = ""
    time: int | None = None
    cell: str | None = None
    layer: int | str | None = None
    direction: str | None = None
    module: str = ""  # the path of modules around the cell
    strand: str = ""  # the tags without the time: what repeats from step to step
    uses: list[Use] = field(default_factory=list)
    used_by: list[Use] = field(default_factory=list)
    array: Any = None  # the entries, for a constant

    @property
    def is_leaf(self) -> bool:
        return self.op == "leaf"

    @property
    def tags(self) -> tuple[Any, ...]:
        return self.cell, self.layer, self.direction


@dataclass(eq=False)
class Use:
    """`source` is an argument of `target`; `key` is what the engine calls the edge: (child, parent, argument)."""

    source: Value
    target: Value
    argument: int
    key: tuple[Any, Any, int] | None = None
    cut: bool = False
    dropped: bool = False  # on its way entries are dropped


def read(
    root: Any, constants: dict[Any, list[Any]], *, shift: bool = True, made_of: Callable[[Any], Any] | None = None
) -> list[Value]:
    """The values below a node of the engine in the order in which they were made, each with its uses.

    `constants` holds the arguments of ops where somebody listened; elsewhere a constant is known if the op saved it.
    With `shift`, sequences that follow each other get steps of their own. `made_of` tells what a constant was computed
    from, where that should stand in its place.
    """
    values: dict[Any, Value] = {}
    taken: dict[Any, Value] = {}  # a constant that several ops of a step read is one value
    nodes = with_past(root)
    drops = {node for node in nodes if _drops(node, constants)}
    readers = Counter(parent for node in nodes for parent in node.inputs if parent is not None)
    through = {node for node in drops if readers[node] == 1}
    for node in nodes:
        values[node] = value = _value(node)
        value.op = "dropout" if node in drops else value.op
        if node.op.kind == "cut":
            continue
        for argument, parent in enumerate(node.inputs):
            if parent is None:
                array = _constant(node, argument, constants)
                array = array if made_of is None else made_of(array)
                source = Value(None, "constant", time=value.time, array=array)
                if hasattr(array, "dtype"):
                    source.shape, source.dtype = tuple(array.shape), str(array.dtype)
                    source = taken.setdefault((id(array), value.time), source)
                value.uses.append(Use(source, value, argument))
            else:
                read, cut, key = _resolve(parent, through)
                if read is not None:  # None: a constant row of a stack, read back
                    dropped = key is not None or node in drops or read in drops
                    value.uses.append(Use(values[read], value, argument, key or (node, parent, argument), cut, dropped))
    found = list(_linked(values[root], nodes, values))
    _name_layers(found)
    if shift:
        set_clock(found)
    return found


def with_past(root: Any) -> list[Any]:
    """All nodes below the root, also those beyond a cut, as long as they live."""
    roots = [root]
    while True:
        nodes = reachable(roots)
        known = set(nodes)
        past = [parent for node in nodes if (parent := _before_cut(node)) is not None and parent not in known]
        if not past:
            return nodes
        roots += past


def _before_cut(node: Any) -> Any:
    return node.saved[0]() if node.op.kind == "cut" and node.saved else None


def _resolve(node: Any, drops: set[Any]) -> tuple[Any, bool, Any]:
    """What a use really reads: beyond a cut, and through unstack(stack(…)), which gives back what went in.

    Where a series was dropped from in between, also the edge along which the message arrives that has passed the mask.
    """
    cut, key = False, None
    while True:
        before = _before_cut(node)
        if before is not None:
            node, cut = before, True
        elif (found := _stacked(node, drops)) is not None:
            whole, dropped = found
            index = node.params["index"]
            node = whole.inputs[index]
            if node is None:
                return None, cut, None
            key = (whole, node, index) if dropped else key
        else:
            return node, cut, key


def _stacked(pick: Any, drops: set[Any]) -> tuple[Any, bool] | None:
    """The stack whose part this pick is, if it is one, and whether entries are dropped on the way."""
    if pick.op.kind != "pick" or pick.inputs[0].op.name != "unstack":
        return None
    unstack = pick.inputs[0]
    stack, dropped = unstack.inputs[0], False
    while stack in drops:
        stack, dropped = next(parent for parent in stack.inputs if parent is not None), True
    if stack is None or stack.op.name != "stack" or stack.params["axis"] != unstack.params["axis"]:
        return None
    return stack, dropped


def _drops(node: Any, constants: dict[Any, list[Any]]) -> bool:
    """Whether a node is dropout: a product with a constant of its own shape that holds 0 and one number above 1."""
    if node.op.name != "mul" or not node.shape or sum(parent is None for parent in node.inputs) != 1:
        return False
    mask = _constant(node, node.inputs.index(None), constants)
    if getattr(mask, "shape", None) != node.shape or mask.dtype.kind != "f" or not mask.size:
        return False
    scale = float(mask.max())
    return scale > 1 and bool(((mask == 0) | (mask == scale)).all())


def _constant(node: Any, argument: int, heard: dict[Any, list[Any]]) -> Any:
    """The constant that an op took as an argument, if somebody heard it or the op saved it."""
    if node in heard:
        return heard[node][argument]
    names = node.op.all_args
    saved = dict(zip(node.op.slots, node.saved or ()))
    return saved.get(names[argument]) if argument < len(names) else None


def _linked(root: Value, nodes: list[Any], values: dict[Any, Value]) -> Iterator[Value]:
    """The values that the root needs once the uses are resolved, with the links back; constants before their use."""
    needed, waiting = {root}, [root]
    while waiting:
        for use in waiting.pop().uses:
            use.source.used_by.append(use)
            if use.source not in needed:
                needed.add(use.source)
                waiting.append(use.source)
    shown: set[Value] = set()
    for node in nodes:
        if (value := values[node]) in needed:
            yield from dict.fromkeys(u.source for u in value.uses if u.source.node is None and u.source not in shown)
            shown.update(use.source for use in value.uses)
            yield value


def _value(node: Any) -> Value:
    value = Value(node, node.op.name, scope=str(node.scope or ""))
    many = node.op.many
    value.shape = (len(node.shape), *node.shape[0]) if many else tuple(node.shape)
    value.dtype = str(node.dtype[0] if many else node.dtype)
    strand = []
    for tag in node.scope.chain() if node.scope else ():
        if tag.kind == "time":
            value.time = tag.index
            continue
        strand.append(f"{tag.kind}:{tag.name}:{tag.index}")
        if tag.kind == "module" and value.cell is None:
            value.module = f"{value.module}/{tag.name}".strip("/")
        if tag.kind == "cell":
            value.cell = tag.name
        if tag.kind == "layer":
            value.layer = tag.name if tag.index is None else tag.index
        if tag.kind == "direction":
            value.direction = tag.name
        value.layer = tag.attributes.get("layer", value.layer)
        value.direction = tag.attributes.get("direction", value.direction)
    value.strand = "/".join(strand)
    return value


def _name_layers(values: list[Value]) -> None:
    """Cells in several modules (an encoder, a decoder) are told apart by the module's path."""
    if len({v.module for v in values if v.cell}) > 1:
        for v in values:
            if v.cell and v.module:
                v.layer = v.module if v.layer is None else f"{v.module} {v.layer}"


class Repeats:
    """Which value of one step corresponds to which of the next: the same place in a step that runs the same ops.

    Steps are taken in the order of computation, tag by tag (layer by layer, direction by direction), and match as far
    as their ops are the same; so a last step without a loss, or a first one without a sum, still matches.
    """

    def __init__(self, values: Iterable[Value]) -> None:
        self.steps: dict[str, dict[int, list[Value]]] = defaultdict(lambda: defaultdict(list))
        for value in values:
            if value.time is not None and value.node is not None:
                self.steps[value.strand][value.time].append(value)
        self.after: dict[Value, Value] = {}
        self.before: dict[Value, Value] = {}
        for steps in self.steps.values():
            for one, other in pairwise(steps.values()):
                for a, b in zip(one, other):
                    if (a.op, a.shape) != (b.op, b.shape):
                        break
                    self.after[a], self.before[b] = b, a
        self.first: dict[Value, Value] = {}  # the value of the first step to which this one corresponds
        for steps in self.steps.values():
            for step in steps.values():
                for value in step:
                    before = self.before.get(value)
                    self.first[value] = value if before is None else self.first[before]

    def all_like(self, values: Iterable[Value]) -> set[Value]:
        """These values and all that correspond to one of them, in whatever step."""
        given = set(values)
        firsts = {self.first[v] for v in given if v in self.first}
        return given | {v for v, first in self.first.items() if first in firsts}
