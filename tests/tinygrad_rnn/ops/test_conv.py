"""The convolution sees no future, and can be continued from its last inputs."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg

RNG = np.random.default_rng(0)
FILTERS = {"depthwise": (3, 2), "full": (3, 2, 4)}


@pytest.mark.parametrize("shape", FILTERS.values(), ids=FILTERS)
@pytest.mark.parametrize("dilation", [1, 2])
def test_a_step_depends_on_itself_and_the_lags_of_the_filter_alone(shape: tuple, dilation: int) -> None:
    w = RNG.uniform(1, 2, shape)
    jacobian = tg.jacobian(lambda x: tg.causal_conv1d(x, w, dilation=dilation))(np.ones((7, 1, 2))).numpy()
    for t, s in np.ndindex(7, 7):
        assert (jacobian[t][..., s, :, :] != 0).any() == (t - s in (0, dilation, 2 * dilation))


@pytest.mark.parametrize("shape", FILTERS.values(), ids=FILTERS)
def test_a_chunk_with_the_inputs_before_it_gives_what_the_whole_series_gives(shape: tuple) -> None:
    x, w = RNG.standard_normal((9, 3, 2)), RNG.standard_normal(shape)
    whole = tg.causal_conv1d(x, w, dilation=2)
    chunk = tg.causal_conv1d(x[1:], w, dilation=2)[4:]
    np.testing.assert_allclose(chunk, whole[5:], atol=1e-12)


@pytest.mark.parametrize("shape", FILTERS.values(), ids=FILTERS)
@pytest.mark.parametrize("x", [(0, 3, 2), (4, 0, 2), (4, 2)], ids=["no-steps", "no-batch", "no-batch-axis"])
def test_empty_and_single_series_keep_their_axes(shape: tuple, x: tuple) -> None:
    assert tg.causal_conv1d(np.zeros(x), np.zeros(shape)).shape == (*x[:-1], shape[-1])
