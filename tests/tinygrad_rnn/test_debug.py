"""Anomaly mode names the op, the scope and the line that first made a NaN."""

import numpy as np
import pytest

import tinygrad_rnn as tg

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def test_a_nan_in_the_forward_pass_is_caught_where_it_is_made():
    x = tg.tensor([1.0, -1.0], requires_grad=True)
    with tg.detect_anomaly(), pytest.raises(FloatingPointError, match=r"NaN from `log` at t=2, .*test_debug\.py:\d+"):
        for t in tg.steps(4):
            y = tg.log(x) if t == 2 else tg.tanh(x)
    assert y.shape == (2,)


def test_a_nan_that_came_in_is_told_from_one_that_was_made():
    with tg.detect_anomaly(), pytest.raises(FloatingPointError, match="already holds NaN"):
        tg.tanh(tg.tensor([np.nan]))


def test_a_nan_in_the_backward_pass_names_the_line_of_the_forward_op():
    x = tg.tensor(0.0, requires_grad=True)
    with tg.detect_anomaly():
        y = tg.sqrt(x) * 0.0
        with pytest.raises(FloatingPointError, match=r"gradient that `sqrt` sends to its argument 0.*test_debug\.py"):
            y.backward()


def test_a_nan_in_a_deferred_weight_gradient_is_caught():
    w = tg.tensor(np.ones((2, 2)), requires_grad=True)
    with tg.detect_anomaly():
        y = tg.tensor(np.ones((3, 2))) @ w
        with pytest.raises(FloatingPointError, match="`matmul` sends to its argument 1"):
            y.backward(np.full((3, 2), np.nan))


def test_a_nan_in_a_tangent_is_caught():
    with tg.detect_anomaly(), pytest.raises(FloatingPointError, match=r"tangent of `mul`; .*test_debug\.py"):
        tg.jvp(lambda x: tg.sqrt(x) * 0.0, (0.0,), (1.0,))


def test_outside_nothing_is_checked():
    with tg.detect_anomaly():
        pass
    assert np.isnan(tg.log(tg.tensor(-1.0)).item())
