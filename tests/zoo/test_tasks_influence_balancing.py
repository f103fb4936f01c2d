"""influence-balancing: where the first unit settles, and who is misled about it."""

import numpy as np
import pytest

import tinygrad_rnn as tg
from zoo.errors import UserError
from zoo.tasks.influence_balancing import PLUS, UNITS, Balance, InfluenceBalancing


@pytest.fixture
def task():
    return InfluenceBalancing(InfluenceBalancing.resolve({"chunk": 50}), seed=0, device="cpu")


def set_theta(model, value):
    model.theta.data = np.asarray(value, np.float32)


@pytest.mark.parametrize("theta", [1.0, 0.0, -1 / 6, -2.0])
def test_the_first_unit_settles_where_the_linear_equations_say(theta):
    model = Balance()
    set_theta(model, theta)
    A, signs = model.A.numpy().T.astype(float), model.signs.numpy()[0]
    assert A[0, 0] == A[0, 1] == 0.5 and A.sum() == UNITS - 0.5 and (signs > 0).sum() == PLUS
    assert model.settled() == pytest.approx(np.linalg.solve(np.eye(UNITS) - A, theta * signs)[0], rel=1e-6)


def test_the_best_parameter_has_no_loss_and_none_has_the_baselines(task):
    set_theta(task.model, -1 / 6)
    assert task.evaluate() == pytest.approx(0, abs=1e-12)
    assert task.verdict().startswith("θ = -0.1667; the best is -0.1667")
    set_theta(task.model, 0.0)
    assert task.evaluate() == task.baselines()[0].value


def gradient(task, way, state, memory=None):
    found = tg.bptt.gradient(task.problem(1, state), way, memory=memory)
    return found.gradients["theta"].item(), found.carry, found.memory


def test_the_settled_gradient_is_positive_and_a_short_look_back_sees_a_negative_one(task):
    state, memory = task.begin(), None
    for _ in range(4):  # 200 steps, after which both the state and its sensitivity have settled
        exact, state, memory = gradient(task, "rtrl", state, memory)
    slope = 2 * (2 * PLUS - UNITS)
    assert exact == pytest.approx((task.model.settled() - 1) * slope, rel=1e-3)
    assert exact > 0 > gradient(task, "chunks:10", state)[0]
    assert gradient(task, "full", state)[0] < 0  # 50 steps are too few as well


def test_the_stream_goes_on_from_its_first_step_and_its_optimiser_takes_plain_steps(task):
    assert not task.goes_on(0) and task.goes_on(1)
    task.optimizer().step({"theta": tg.tensor(2.0)})
    assert task.model.theta.item() == pytest.approx(1 - 2 * task.options["learning-rate"])


def test_a_run_is_asked_what_another_parameter_does(task):
    config, weights = {"options": task.options, "seed": 0}, task.model.state_dict()
    assert "after 100 steps  +1.0" in InfluenceBalancing.generate(config, weights, prompt="-0.16666", device="cpu")
    assert InfluenceBalancing.generate(config, weights, prompt=None, device="cpu").startswith("θ = 1.0000")
    with pytest.raises(UserError, match="the prompt 'x' is no number"):
        InfluenceBalancing.generate(config, weights, prompt="x", device="cpu")
