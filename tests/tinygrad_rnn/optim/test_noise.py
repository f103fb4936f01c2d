"""Gradient noise: as large as it should be, gone in the end, and the same again when a run is repeated or resumed."""

import math

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim
from tinygrad_rnn.random import Generator


def noise(step, *, seed=0, shape=(100_000,), **options):
    gradients = [tg.zeros(shape, dtype="float64"), tg.zeros(shape, dtype="float64")]
    std = optim.add_noise(gradients, Generator(seed), step=step, **options)
    return std, np.stack([g.numpy() for g in gradients])


@pytest.mark.parametrize(("step", "eta", "gamma"), [(0, 0.3, 0.55), (9, 1.0, 0.55), (999, 0.01, 0.7)])
def test_the_variance_is_eta_over_a_power_of_the_step(step, eta, gamma):
    std, drawn = noise(step, eta=eta, gamma=gamma)
    assert std == pytest.approx(math.sqrt(eta / (1 + step) ** gamma), rel=1e-15)
    assert drawn.std() == pytest.approx(std, rel=0.01)
    assert abs(drawn.mean()) < 4 * std / math.sqrt(drawn.size)
    assert abs((drawn[0] * drawn[1]).mean()) < 4 * std**2 / math.sqrt(drawn.shape[1])  # two gradients, two streams


def test_the_noise_of_a_step_is_the_same_whatever_was_drawn_before_and_other_at_other_steps():
    rng, used = Generator(7), Generator(7)
    used.normal((5,))
    optim.add_noise([tg.zeros(3)], used, step=0)
    gradients = [[tg.zeros(4)] for _ in range(3)]
    for g, (generator, step) in zip(gradients, [(rng, 3), (used, 3), (rng, 4)], strict=True):
        optim.add_noise(g, generator, step=step)
    first, again, other = (g[0].numpy() for g in gradients)
    np.testing.assert_array_equal(first, again)
    assert not (first == other).any()


def test_the_gradients_of_parameters_get_it_in_their_dtype_and_who_holds_the_old_ones_keeps_them(device):
    model = nn.Linear(3, 2).to(device)
    model(tg.ones((4, 3), device=device)).sum().backward()
    held = model.bias.grad.data
    optim.add_noise(model, Generator(0), step=0, eta=1.0)
    assert model.bias.grad.dtype == np.float32 and model.bias.grad.device == device
    np.testing.assert_array_equal(tg.Tensor(held).numpy(), 4)
    cpu = [tg.ones((3, 2)) * 4, tg.ones(2) * 4]
    optim.add_noise(cpu, Generator(0), step=0, eta=1.0)
    np.testing.assert_allclose(model.bias.grad.numpy(), cpu[1].numpy(), rtol=1e-6)


def test_without_eta_nothing_is_added():
    gradients = {"U": tg.tensor([1.0, -2.0])}
    assert optim.add_noise(gradients, Generator(0), step=5, eta=0) == 0
    np.testing.assert_array_equal(gradients["U"].numpy(), [1, -2])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"step": -1}, ValueError, "step=-1"),
        ({"step": 0, "eta": -0.1}, ValueError, "eta=-0.1"),
        ({"step": 0, "eta": math.inf}, ValueError, "eta=inf"),
        ({"step": 0, "gamma": -1}, ValueError, "gamma=-1"),
    ],
)
def test_bad_options_are_named(options, error, message):
    with pytest.raises(error, match=message):
        optim.add_noise([tg.zeros(2)], Generator(0), **options)


def test_complex_and_missing_gradients_are_refused():
    with pytest.raises(TypeError, match="complex"):
        optim.add_noise([tg.tensor([1j])], Generator(0), step=0)
    with pytest.raises(ValueError, match="no gradients here"):
        optim.add_noise(nn.Linear(2, 2), Generator(0), step=0)
