"""Influence balancing: the system is that of the paper, and what is claimed follows from its influences."""

import numpy as np
import pytest

import tinygrad_rnn as tg
from zoo import experiments
from zoo.experiments import influence_balancing as ib


def influences(steps):
    """ds¹/dθ after 1 … steps steps, by the recursion itself."""
    s, found = np.zeros(24), []  # behind the last unit there is none, which stays at 0
    for _ in range(steps):
        s[:-1] = (s[:-1] + s[1:]) / 2 + np.repeat([1, -1], [10, 13])
        found.append(s[0])
    return np.array(found)


def test_the_influence_is_positive_at_first_and_minus_six_in_the_end():
    found = influences(400)
    assert (found[:40] > 0).all() and (found[45:] < 0).all()
    assert found[9] == 10 and found[-1] == pytest.approx(-6)
    assert ib.settled(-1 / 6) == pytest.approx(0, abs=1e-25) and ib.settled(0.5) == pytest.approx(8)


def test_a_fixed_parameter_settles_the_system_where_it_is_said_to():
    run = ib.problem(400, state=np.ones((1, 23)))
    carry, _ = run.run(run.parameters, run.carry, 0, 400)
    np.testing.assert_allclose(carry.numpy(), ib.steady(ib.START), atol=1e-12)


@pytest.mark.parametrize(("strategy", "reach"), [("chunks:10", 10), ("chunks:100", 100), ("chunks:200", 200)])
def test_truncation_sees_the_mean_influence_within_a_chunk(strategy, reach):
    expected = influences(reach).mean() / influences(2000).mean()
    assert ib.directions(strategy, 1, tg.random.Generator(0))[0] == pytest.approx(expected, rel=1e-9)
    assert (expected > 0) == (reach == 200)


def test_a_window_that_always_reaches_a_hundred_steps_back_sees_nearly_all():
    assert ib.directions("window:10,100", 1, tg.random.Generator(0))[0] == pytest.approx(1, abs=0.001)


def test_truncation_moves_away_and_an_unbiased_method_arrives():
    away = ib.learn("chunks:10", 1e-3, 1500, tg.random.Generator(0))
    assert away.verdict == "diverges" and away.theta[-1] > ib.START
    found = ib.learn("artbp:16", 1e-3, 4000, tg.random.Generator(0))
    assert found.verdict == "converges" and found.theta[-1] == pytest.approx(-1 / 6, abs=0.01)
    assert found.steps[-1] == 4000 and found.loss[0] > found.loss[-1]


def test_a_parameter_that_is_lost_ends_the_run():
    found = ib.learn("chunks:10", 0.1, 2000, tg.random.Generator(0))
    assert abs(found.theta[-1]) > ib.LOST and found.steps[-1] < 2000 and found.verdict == "diverges"


def test_claims_hold_or_fail_with_the_courses():
    def course(strategy, rate, theta):
        made = ib.Course(strategy, rate)
        made.note(100, theta)
        return made

    right = -1 / 6 + 1e-4
    good = [course(name, rate, 0.6) for name in ib.TRUNCATED for rate in ib.RATES]
    good += [course(name, 1e-3, right) for name in (*ib.LONGER, *ib.UNBIASED)]
    assert [claim.holds for claim in ib.claims(good)] == [True, True, True]
    stalled = [c if c.strategy != "uoro" else course("uoro", 1e-3, 0.2) for c in good]
    assert [claim.holds for claim in ib.claims(stalled)] == [True, True, False]
    learned = [*good, course("chunks:100", 1e-5, 0.4)]
    assert [claim.holds for claim in ib.claims(learned)] == [False, True, True]


def test_the_experiment_is_known_by_its_name():
    assert experiments.find("influence-balancing").run is ib.run
