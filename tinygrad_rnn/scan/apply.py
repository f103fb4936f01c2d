"""A value of a step's graph, done again on Tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .graph import Value
from .rows import INVARIANT, Label, params_at

__all__ = ["applied"]


def applied(v: Value, env: Mapping[Value, Any], label: Label = INVARIANT, batch: int = 0) -> Any:
    """An op of the graph, done on Tensors, for any batch size."""
    if v.kind in ("number", "fill"):
        return v.array
    if v.kind == "pick":
        return env[v.args[0]][v.index]
    assert v.op is not None
    return v.op.function(*[env.get(a, a.array) for a in v.args], **params_at(v, label, batch))
