"""Losses, in each reduction, against torch's; masks as torch would have them by leaving entries out."""

from __future__ import annotations

from typing import Any

import numpy as np

import tinygrad_rnn as tg
from tests.tinygrad_rnn.cases import Case, normal, torch

REDUCTIONS = ("mean", "sum", "none")
MASK = np.array([[True, False], [True, True], [False, True]])
IDS = np.array([[4, 0], [1, 1], [-100, 2]])


def _ids(logits: tuple[int, ...], ids: Any) -> Any:
    return lambda rng: (*normal(logits)(rng), np.array(ids))


def _probabilities(shape: tuple[int, ...]) -> Any:
    """Logits, and targets in (0, 1)."""
    return lambda rng: (rng.standard_normal(shape), rng.uniform(0.1, 0.9, shape))


def _functional() -> Any:
    return torch.nn.functional


def _left_out(losses: Any, reduction: str) -> Any:
    """Losses where MASK holds, reduced as torch does it."""
    mask = torch.from_numpy(MASK).reshape(MASK.shape + (1,) * (losses.ndim - 2))
    losses = torch.where(mask, losses, 0.0)
    if reduction == "none":
        return losses
    count = mask.expand(losses.shape).sum()
    return losses.sum() if reduction == "sum" else losses.sum() / count


def _weighted(z: Any, y: Any, w: Any, reduction: str) -> Any:
    """torch's binary_cross_entropy_with_logits has no gradient of pos_weight, so: its definition."""
    losses = -(w * y * _functional().logsigmoid(z) + (1 - y) * _functional().logsigmoid(-z))
    return losses if reduction == "none" else getattr(losses, reduction)()


def _cases(reduction: str) -> list[Case]:
    r: dict[str, Any] = {"reduction": reduction}
    rows = (3, 2, 5)

    def case(op: str, label: str, inputs: Any, f: Any, reference: Any) -> Case:
        return Case(op, f, inputs, reference, f"{label}-{reduction}" if label else reduction)

    return [
        case("cross_entropy", "", _ids((3, 5), [4, 0, 1]), lambda z, t: tg.cross_entropy(z, t, **r),
             lambda z, t: _functional().cross_entropy(z, t, **r)),
        case("cross_entropy", "axis", _ids((3, 5, 2), np.maximum(IDS, 0)),
             lambda z, t: tg.cross_entropy(z, t, axis=1, **r),
             lambda z, t: _functional().cross_entropy(z, t, **r)),
        case("cross_entropy", "smoothed-ignoring", _ids(rows, IDS),
             lambda z, t: tg.cross_entropy(z, t, ignore_index=-100, label_smoothing=0.2, **r),
             lambda z, t: _functional().cross_entropy(z.movedim(-1, 1), t, label_smoothing=0.2, **r)),
        case("cross_entropy", "masked", _ids(rows, np.where(MASK, np.maximum(IDS, 0), 99)),
             lambda z, t: tg.cross_entropy(z, t, mask=tg.tensor(MASK, device=z.device), **r),
             lambda z, t: _left_out(_functional().cross_entropy(
                 z.movedim(-1, 1), torch.where(t == 99, 0, t), reduction="none"), reduction)),
        case("cross_entropy", "distributions", _probabilities((3, 5)), lambda z, q: tg.cross_entropy(z, q, **r),
             lambda z, q: _functional().cross_entropy(z, q, **r)),
        case("cross_entropy", "distributions-axis-smoothed", _probabilities((3, 5, 2)),
             lambda z, q: tg.cross_entropy(z, q, axis=1, label_smoothing=0.2, **r),
             lambda z, q: _functional().cross_entropy(z, q, label_smoothing=0.2, **r)),
        case("cross_entropy", "distributions-masked", _probabilities(rows),
             lambda z, q: tg.cross_entropy(z, q, mask=tg.tensor(MASK, device=z.device), **r),
             lambda z, q: _left_out(-(q * z.log_softmax(-1)).sum(-1), reduction)),
        case("mse", "", normal((3, 2), (3, 2)), lambda x, y: tg.mse(x, y, **r),
             lambda x, y: _functional().mse_loss(x, y, **r)),
        case("mse", "masked", normal(rows, rows), lambda x, y: tg.mse(x, y, mask=tg.tensor(MASK, device=x.device), **r),
             lambda x, y: _left_out((x - y) ** 2, reduction)),
        case("bce_with_logits", "", _probabilities((3, 2)), lambda z, y: tg.bce_with_logits(z, y, **r),
             lambda z, y: _functional().binary_cross_entropy_with_logits(z, y, **r)),
        case("bce_with_logits", "weighted", lambda rng: (*_probabilities((3, 2))(rng), np.array([2.0, 0.5])),
             lambda z, y, w: tg.bce_with_logits(z, y, pos_weight=w, **r),
             lambda z, y, w: _weighted(z, y, w, reduction)),
        case("bce_with_logits", "masked", _probabilities(rows),
             lambda z, y: tg.bce_with_logits(z, y, mask=tg.tensor(MASK, device=z.device), **r),
             lambda z, y: _left_out(_functional().binary_cross_entropy_with_logits(z, y, reduction="none"), reduction)),
    ]  # fmt: skip


CASES = [case for reduction in REDUCTIONS for case in _cases(reduction)]
