"""One run of a compiled step: the arrays it reads, the order of its steps, what it keeps for the way back."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["Call", "Masked", "mask"]


class Call:
    """What an executor needs for one sequence.

    ``read`` and ``write`` are where in a series of T + 1 carries step t reads and writes: (t, t + 1), or (t + 1, t)
    in reverse. ``valid`` (T, B) says which rows are valid at t, None when all are.
    """

    __slots__ = (
        "B", "T", "carry", "given", "kept", "lengths", "needs", "order", "read", "reverse", "saving", "threads",
        "valid", "write", "xs",
    )  # fmt: skip

    def __init__(
        self,
        xs: list[np.ndarray],
        carry: list[np.ndarray],
        given: list[np.ndarray],
        *,
        total: int,
        lengths: np.ndarray | None = None,
        reverse: bool = False,
        saving: bool = True,
        threads: int = 1,
        needs: list[bool] | None = None,
    ) -> None:
        self.xs, self.carry, self.given = xs, carry, given
        self.T, self.B = total, carry[0].shape[0]
        self.lengths, self.reverse, self.saving, self.threads = lengths, reverse, saving, threads
        self.read, self.write = (1, 0) if reverse else (0, 1)
        self.order = range(total - 1, -1, -1) if reverse else range(total)
        self.valid = None if lengths is None else np.arange(total)[:, None] < lengths
        self.needs = needs if needs is not None else [True] * (len(xs) + len(carry) + len(given))
        self.kept: Any = None


class Masked:
    """An executor's plan whose ys are zero past each row's end, and take no cotangent there."""

    def __init__(self, plan: Any) -> None:
        self.plan = plan

    def forward(self, call: Call) -> tuple[list[Any], list[Any]]:
        """The last carry and the ys of a call."""
        carry, ys = self.plan.forward(call)
        return carry, [_zero_past(call.valid, y) for y in ys]

    def backward(self, call: Call, g_carry: list[Any], g_ys: list[Any]) -> dict[Any, Any]:
        """The gradients of carry, xs and invariants."""
        return self.plan.backward(call, g_carry, [_zero_past(call.valid, g) for g in g_ys])


def _zero_past(valid: Any, series: Any) -> Any:
    return np.where(mask(valid, series), series, series.dtype.type(0))


def mask(valid: np.ndarray, like: Any) -> np.ndarray:
    """Which rows are valid, (T, B) or (B,), in as many axes as an array has."""
    return valid.reshape(valid.shape + (1,) * (like.ndim - valid.ndim))
