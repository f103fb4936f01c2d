"""Causal convolution over time, against torch's conv1d padded on the left."""

from __future__ import annotations

from typing import Any

import tinygrad_rnn as tg
from tests.tinygrad_rnn.cases import Case, normal, torch


def _reference(x: Any, w: Any, b: Any = None, dilation: int = 1) -> Any:
    """x (T, B, D), w (K, D) or (K, D, E) by torch, whose layout is (B, D, T)."""
    depthwise = w.ndim == 2
    padded = torch.nn.functional.pad(x.permute(1, 2, 0), ((w.shape[0] - 1) * dilation, 0))
    kernel = w.T[:, None] if depthwise else w.permute(2, 1, 0)
    groups = x.shape[-1] if depthwise else 1
    return torch.nn.functional.conv1d(padded, kernel, b, dilation=dilation, groups=groups).permute(2, 0, 1)


def _case(label: str, *shapes: tuple[int, ...], dilation: int = 1) -> Case:
    return Case(
        "causal_conv1d",
        lambda *xs: tg.causal_conv1d(*xs, dilation=dilation),
        normal(*shapes),
        lambda *xs: _reference(*xs, dilation=dilation),
        label,
    )


CASES = [
    _case("depthwise", (5, 2, 3), (4, 3)),
    _case("depthwise-bias", (5, 2, 3), (2, 3), (3,)),
    _case("depthwise-dilated", (6, 2, 3), (3, 3), dilation=2),
    _case("full", (5, 2, 3), (3, 3, 2)),
    _case("full-bias-dilated", (6, 2, 3), (2, 3, 4), (4,), dilation=3),
    _case("longer-than-the-series", (2, 2, 3), (4, 3, 2), dilation=2),
    _case("one-tap", (3, 2, 2), (1, 2, 3)),
]
