"""The executors by name, and which of them takes a step."""

from __future__ import annotations

import hashlib
from typing import Any

from . import choices
from .graph import Refused, StepGraph, Value
from .memory import signature
from .rows import Label
from .run_llvm import LlvmPlan
from .run_numpy import NumpyPlan

__all__ = ["EXECUTORS", "plan_for"]


EXECUTORS = {"llvm": LlvmPlan, "numba": LlvmPlan, "numpy": NumpyPlan}
PREFERENCE = ("llvm", "numpy")
EAGER = "eager"  # the plain loop, where none of them can run the step


def plan_for(graph: StepGraph, labels: dict[Value, Label], executor: str) -> tuple[Any, list[str]]:
    """The plan of the executor asked for, or with "auto" of the first that can run the step; and why others cannot.

    A run goes on with the executor it began with: Unavailable is raised where that one cannot run the step any more.
    """
    if executor != "auto":
        try:
            return EXECUTORS[executor](graph, labels), []
        except Refused as why:
            raise Refused(f"scan: compile={executor!r} cannot run this step: {why}") from why
    question = f"executor {hashlib.sha256(repr(signature(graph, labels)).encode()).hexdigest()[:12]}"
    began = choices.fixed(question)
    fallbacks = ["this run began with the plain loop"] if began == EAGER else []
    for name in PREFERENCE if began is None else {began} - {EAGER}:
        try:
            if name not in PREFERENCE:
                raise Refused("no executor has this name")
            plan = EXECUTORS[name](graph, labels)
        except Refused as why:
            if began is not None:
                raise choices.Unavailable(_gone(name, why)) from why
            fallbacks.append(f"{name}: {why}")
        else:
            choices.note(question, name)
            return plan, fallbacks
    choices.note(question, EAGER)
    raise Refused("; ".join(fallbacks))


def _gone(executor: str, why: Refused) -> str:
    what = "machine code" if executor == "llvm" else f"the executor {executor}"
    return (
        f"this run began with {what} for its time loop, and here there is none ({why}); another executor would round "
        "otherwise. Go on where llvmlite is installed and NUMBA_DISABLE_JIT is not set, or start a new run"
    )
