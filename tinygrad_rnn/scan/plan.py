"""The executors by name, and which of them takes a step."""

from __future__ import annotations

from typing import Any

from .rows import Label
from .run_llvm import LlvmPlan
from .run_numpy import NumpyPlan
from .trace import Refused, StepGraph, Value

__all__ = ["EXECUTORS", "plan_for"]


EXECUTORS = {"llvm": LlvmPlan, "numba": LlvmPlan, "numpy": NumpyPlan}
PREFERENCE = ("llvm", "numpy")


def plan_for(graph: StepGraph, labels: dict[Value, Label], executor: str) -> tuple[Any, list[str]]:
    """The plan of the executor asked for, or with "auto" of the first that can run the step; and why others cannot."""
    if executor != "auto":
        return EXECUTORS[executor](graph, labels), []
    fallbacks = []
    for name in PREFERENCE:
        try:
            return EXECUTORS[name](graph, labels), fallbacks
        except Refused as why:
            fallbacks.append(f"{name}: {why}")
    raise Refused("; ".join(fallbacks))
