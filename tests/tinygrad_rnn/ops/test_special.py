"""erf against the standard library."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tinygrad_rnn as tg


def test_erf_is_right_to_a_few_units_in_the_last_place_everywhere() -> None:
    size = np.concatenate([np.geomspace(1e-300, 1e-3, 200), np.linspace(1e-3, 6.5, 4000), [30.0, np.inf]])
    x = np.concatenate([-size, [0.0], size])
    exact = np.array([math.erf(v) for v in x])
    np.testing.assert_allclose(tg.erf(x), exact, rtol=8e-16, atol=0)
    assert np.isnan(tg.erf(np.array(np.nan))) and np.signbit(tg.erf(np.array(-0.0)))
    single = x[np.abs(x) > 1e-37].astype(np.float32)
    np.testing.assert_allclose(tg.erf(single), [math.erf(v) for v in single], rtol=4e-7, atol=0)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_gelu_leaves_large_numbers_alone_and_drops_large_negative_ones(dtype: str) -> None:
    x = tg.tensor([-200.0, -10.0, 0.0, 10.0, 200.0], dtype=dtype)
    y, slope = tg.jvp(tg.gelu, (x,), (tg.ones((5,), dtype=dtype),))
    np.testing.assert_allclose(y.numpy(), [0, 0, 0, 10, 200], atol=1e-20)
    np.testing.assert_allclose(slope.numpy(), [0, 0, 0.5, 1, 1], atol=1e-20)
