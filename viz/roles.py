"""What part each value plays in a recurrence: state, gate, input, output, loss; off the data flow, not off names."""

from __future__ import annotations

from collections.abc import Collection

from .grid import INTO
from .read import Repeats, Use, Value

GATES = {"sigmoid", "hard_sigmoid"}
GATHERS = {"stack", "concatenate"}
BELOW = "the only layer"
JOINS = {"add", "sub", "stack", "concatenate"}  # how the losses of several steps become one


def assign(
    values: list[Value], repeats: Repeats, states: Collection[int] = ()
) -> tuple[dict[Value, str], dict[Value, Value]]:
    """The role of every value to draw, and for each initial state the value that takes its place at the next step.

    `states` holds the ids of arrays that are known to be initial states: those have no other place than their own.
    Constants that say nothing about the recurrence (a 2 in 2·h, the labels of a loss) get no role. Where the data flow
    tells the step or the cell of a value that has no such tag, they are set on it.
    """
    _hoist(values)
    losses = _losses(values, repeats)
    starts = _initial_states(values, repeats, losses)
    starts |= {v: v for v in values if v.node is None and id(v.array) in states and v not in starts}
    _join_steps(values, starts, losses)
    carried = _carried(values, repeats, losses)
    flow = _Flow(values, carried, losses)
    roles: dict[Value, str] = {}
    for v in values:
        if role := _role(v, losses, starts, carried, flow):
            roles[v] = role
    _join_modules(roles, flow)
    for v, role in roles.items():
        if v in starts or (role == "state" and v.time is None):  # belongs to the cell that begins with it
            v.time = None
            v.cell, v.layer, v.direction = next((u.target.tags for u in v.used_by if u.target.time is not None), v.tags)
    return roles, starts


def _role(
    v: Value, losses: set[Value], starts: dict[Value, Value], carried: set[Value], flow: _Flow
) -> str | None:
    if v in starts:
        return "state"
    if v.node is None:
        return _role_of_constant(v, losses, flow)
    if v in losses:
        return "loss"
    if v.is_leaf:
        return "parameter" if v.time is None else "input"
    if v.op == "cut":
        return "state"
    if v.time is None:
        return _role_of_bar(v, flow)
    after_cell = v in flow.from_cell and v not in flow.to_cell
    if v.cell is None and v in flow.to_state and after_cell:
        v.cell, v.layer, v.direction = flow.from_cell[v]  # what a wrapper does to the new state belongs to the cell
    if v.cell or (v in flow.to_state and v not in flow.to_cell):
        return "state" if v in carried else "gate" if v.op in GATES else "other"
    if v in flow.to_cell:
        if v not in flow.recurrent:
            return "input"
        v.layer = _layer_below(v, flow) if v.op == "pick" else _before(v, flow)
        return "other"
    if after_cell and v in flow.onwards and all(use.target.time is None for use in v.used_by):
        v.cell, v.layer, v.direction = flow.from_cell[v]  # how an output is kept for what reads all of them
        return "other"
    return "output"


def _hoist(values: list[Value]) -> None:
    """What one step gathers of the steps before it, for several to read, belongs to none: the memory of attention."""
    hoisted: set[Value] = set()
    for v in values:
        if v.time is None or v.cell or v.node is None or v.is_leaf:
            continue
        made_of = [use.source for use in v.uses if use.source.node is not None]
        past = {source.time for source in made_of if source not in hoisted}
        gathers = v.op in GATHERS and len(past) > 1 and all(time is not None and time < v.time for time in past)
        readers = {use.target.time for use in v.used_by}
        if gathers or (made_of and all(source in hoisted for source in made_of) and len(readers) > 1):
            hoisted.add(v)
    for v in hoisted:
        v.time = None


def _join_modules(roles: dict[Value, str], flow: _Flow) -> None:
    """What a module makes of constants at a first step belongs to what it makes of states at the others."""
    modules = {v.module for v, role in roles.items() if role == "other" and v.time is not None and not v.cell}
    for v, role in roles.items():
        if role == "input" and v.node is not None and v.module and v.module in modules and v in flow.to_cell:
            v.layer = _before(v, flow)
            roles[v] = "other"


def _before(v: Value, flow: _Flow) -> str:
    """The lane of what is done to values on their way into a cell, under its own."""
    name, layer, direction = flow.to_cell[v]
    return INTO + " ".join(str(part) for part in (layer, name, direction) if part is not None)


def _role_of_constant(v: Value, losses: set[Value], flow: _Flow) -> str | None:
    """Data: what meets a parameter in a matmul or look-up, or numbers that reach the state; not labels, nor masks."""
    if not v.dtype or any(use.target in losses or use.target.op == "dropout" for use in v.used_by):
        return None
    if v.time is None and any(use.target in flow.recurrent for use in v.used_by):
        return None
    meets_weight = any(
        use.target.node.op.kind != "elementwise" and any(other.source.is_leaf for other in use.target.uses)
        for use in v.used_by
    )
    reaches_state = any(use.target in flow.to_state or use.target in flow.to_cell for use in v.used_by)
    return "input" if meets_weight or (reaches_state and v.array.dtype.kind in "fc") else None


def _role_of_bar(v: Value, flow: _Flow) -> str:
    """A value of no step: what all steps read, what they leave, or both, between two layers."""
    v.cell = v.direction = None
    if v in flow.to_step and v in flow.recurrent:
        v.layer = _layer_below(v, flow)
        return "other"
    if v in flow.to_step:
        return "input" if v in flow.data else "other"
    return "output"


def _layer_below(v: Value, flow: _Flow) -> int | str:
    """The layer whose steps a bar holds; what holds those of the only one belongs together as well."""
    layers = (use.source.layer for use in v.uses if use.source in flow.recurrent)
    return next((layer for layer in layers if layer is not None), BELOW)


def _losses(values: list[Value], repeats: Repeats) -> set[Value]:
    """The scalars that are only there to be joined into the last one; a state that is a scalar is none."""
    losses: set[Value] = set()
    for v in reversed(values):
        if v.shape == () and not v.is_leaf and v.node is not None and not (v.cell and v.time is not None):
            users = [use.target for use in v.used_by]
            joined = all(u.op in JOINS or sum(use.source.node is not None for use in u.uses) == 1 for u in users)
            if joined and all(user in losses for user in users):
                losses.add(v)
    return losses - repeats.all_like(v for v in repeats.first if v not in losses)


def _initial_states(values: list[Value], repeats: Repeats, losses: set[Value]) -> dict[Value, Value]:
    """What enters the first step where the next one takes a value of the step before it."""
    found: dict[Use, Value] = {}
    for v in values:
        after = repeats.after.get(v)
        if after is None or v in repeats.before:
            continue
        later = {use.argument: use.source for use in after.uses}
        for use in v.uses:
            source, state = use.source, later.get(use.argument)
            outside = source.node is None or (source.time is None and not source.is_leaf)
            if outside and state is not None and state.time not in (None, after.time) and state not in losses:
                found[use] = state
    starts = {use.source: state for use, state in found.items()}
    return {source: state for source, state in starts.items() if all(use in found for use in source.used_by)}


def _join_steps(values: list[Value], starts: dict[Value, Value], losses: set[Value]) -> None:
    """A value made outside the loop that one step alone reads (x_t of an unstacked x), or that reads one step alone."""
    if len({v.time for v in values} - {None}) < 2:
        return
    for v in reversed(values):
        if v.time is None and v.node is not None and not v.is_leaf and v not in starts and v not in losses:
            times = {use.target.time for use in v.used_by}
            if len(times) == 1 and None not in times:
                v.time, v.cell, v.direction = times.pop(), None, None
    for v in values:
        if v.time is None and v.node is not None and not v.is_leaf and v not in starts:
            times = {use.source.time for use in v.uses if use.source.node is not None and not use.source.is_leaf}
            if len(times) == 1 and None not in times:
                v.time, v.cell, v.direction = times.pop(), None, None


def _carried(values: list[Value], repeats: Repeats, losses: set[Value]) -> set[Value]:
    """The values that another step reads, and those that correspond to them in steps whose state nobody reads."""
    carried = {
        v
        for v in values
        if v.time is not None and v.node is not None and v not in losses
        if any(use.target.time not in (None, v.time) and use.target not in losses for use in v.used_by)
    }
    return repeats.all_like(carried)


class _Flow:
    """Who feeds whom: within a step (`to_cell`, `from_cell`, `to_state`), over all (`recurrent`, `to_step`, `data`)."""

    def __init__(self, values: list[Value], carried: set[Value], losses: set[Value]) -> None:
        self.from_cell: dict[Value, tuple] = {}
        self.recurrent: set[Value] = set()  # depends on a cell or a carried state
        self.data: set[Value] = set()  # depends on constants
        for v in values:
            for use in v.uses:
                source = use.source
                inside = source.time == v.time and v.time is not None
                if inside and (source.cell or source in self.from_cell):
                    self.from_cell[v] = source.tags if source.cell else self.from_cell[source]
                if source in self.recurrent or source in carried or (source.cell and source.time is not None):
                    self.recurrent.add(v)
                if source in self.data or (source.dtype and source.node is None):
                    self.data.add(v)
        self.to_cell: dict[Value, tuple] = {}
        self.to_state: set[Value] = set(carried)
        self.to_step: set[Value] = set()
        self.onwards: set[Value] = set()  # leads to a cell, of whatever step
        for v in reversed(values):
            for use in v.used_by:
                target = use.target
                if target in losses:
                    continue
                if target.cell or target in self.onwards:
                    self.onwards.add(v)
                if target.time == v.time and v.time is not None:
                    if target.cell or target in self.to_cell:
                        self.to_cell[v] = target.tags if target.cell else self.to_cell[target]
                    if target in self.to_state:
                        self.to_state.add(v)
                if target.time is not None or target in self.to_step:
                    self.to_step.add(v)
