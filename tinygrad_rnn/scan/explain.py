"""What a compiled step does, in words."""

from __future__ import annotations

from typing import Any

__all__ = ["explain"]


def explain(compiled: Any) -> str:
    """What runs where, and why anything fell back."""
    return "\n".join([f"executor: {compiled.plan.name}", *compiled.plan.lines(), *compiled.fallbacks])
