"""Schedules: as torch's, stateless but for the plateau."""

import json

import pytest

from tinygrad_rnn.optim import schedule

STEPS = 30

# schedule here → the same in torch, which multiplies the optimiser's lr of 0.4
TABLE = {
    "constant": (schedule.constant(0.4), lambda s, o: s.ConstantLR(o, factor=1.0)),
    "step_decay": (schedule.step_decay(0.4, every=7, factor=0.3), lambda s, o: s.StepLR(o, 7, gamma=0.3)),
    "exponential": (schedule.exponential(0.4, factor=0.9), lambda s, o: s.ExponentialLR(o, gamma=0.9)),
    "cosine": (
        schedule.cosine(0.4, steps=STEPS, final=0.1),
        lambda s, o: s.CosineAnnealingLR(o, T_max=STEPS, eta_min=0.1),
    ),
    "warmup": (
        schedule.warmup(schedule.step_decay(0.4, every=7, factor=0.3), 5),
        lambda s, o: s.SequentialLR(
            o, [s.LinearLR(o, start_factor=0.2, total_iters=4), s.StepLR(o, 7, gamma=0.3)], milestones=[5]
        ),
    ),
}


def test_every_schedule_is_tested():
    assert set(TABLE) | {"Plateau"} == set(schedule.__all__)


@pytest.fixture
def torch_optimizer():
    torch = pytest.importorskip("torch", reason="the reference for schedules")
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.4)


@pytest.mark.filterwarnings("ignore:The epoch parameter:UserWarning")  # torch's own SequentialLR calls it so
@pytest.mark.parametrize("name", TABLE)
def test_a_schedule_equals_torchs(name, torch_optimizer):
    from torch.optim import lr_scheduler

    here, make = TABLE[name]
    there = make(lr_scheduler, torch_optimizer)
    for n in range(STEPS):
        assert here(n) == pytest.approx(torch_optimizer.param_groups[0]["lr"], rel=1e-12), n
        torch_optimizer.step()
        there.step()


def test_cosine_stays_at_its_end():
    assert schedule.cosine(1.0, steps=10, final=0.25)(1000) == 0.25


def test_a_warmup_of_a_warmup_composes():
    twice = schedule.warmup(schedule.warmup(schedule.constant(1.0), 2), 2)
    assert [twice(n) for n in range(5)] == [0.25, 0.5, 0.5, 1.0, 1.0]


LOSSES = [5.0, 4.0, 4.1, 3.99999, 4.2, 4.0, 4.0, 3.0, 3.1, float("nan"), 3.2, 3.3, 3.3, 3.3, 3.3, 3.3, 3.3, 3.3]
PLATEAUS = [
    {"factor": 0.5, "patience": 1},
    {"factor": 0.5, "patience": 0, "threshold": 0.05},
    {"factor": 0.3, "patience": 1, "cooldown": 2},
    {"factor": 0.3, "patience": 0, "lowest": 0.05},
    {"factor": 0.5, "patience": 2, "larger_is_better": True},
]


@pytest.mark.parametrize("options", PLATEAUS)
def test_a_plateau_equals_torchs(options, torch_optimizer):
    from torch.optim.lr_scheduler import ReduceLROnPlateau

    names = {"lowest": "min_lr"}
    theirs = {names.get(k, k): v for k, v in options.items() if k != "larger_is_better"}
    mode = "max" if "larger_is_better" in options else "min"
    here, there = schedule.Plateau(0.4, **options), ReduceLROnPlateau(torch_optimizer, mode=mode, **theirs)
    for loss in LOSSES:
        there.step(loss)
        assert here(loss) == pytest.approx(torch_optimizer.param_groups[0]["lr"], rel=1e-12)
    assert here.lr < 0.4


@pytest.mark.parametrize("options", PLATEAUS)
@pytest.mark.parametrize("at", [0, 3, 9])
def test_a_plateau_goes_on_from_its_state(options, at):
    whole = schedule.Plateau(0.4, **options)
    expected = [whole(loss) for loss in LOSSES]
    first, second = schedule.Plateau(0.4, **options), schedule.Plateau(9.0, **options)
    begun = [first(loss) for loss in LOSSES[:at]]
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert begun + [second(loss) for loss in LOSSES[at:]] == expected


def test_a_plateau_takes_over_where_a_warmup_ends():
    plateau = schedule.Plateau(1.0, factor=0.5, patience=0)
    rate = schedule.warmup(lambda n: plateau.lr, 2)
    rates = []
    for n, loss in enumerate([3.0, 2.0, 1.0, 1.0, 1.0]):
        rates.append(rate(n))
        plateau(loss)
    assert rates == [0.5, 1.0, 1.0, 1.0, 0.5]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: schedule.step_decay(0.1, every=0), "step_decay: every=0 is not a positive number of steps"),
        (lambda: schedule.cosine(0.1, steps=0), "cosine: steps=0"),
        (lambda: schedule.warmup(schedule.constant(0.1), 0), "warmup: steps=0"),
        (lambda: schedule.Plateau(0.1, factor=1.5), "factor=1.5 is not between 0 and 1"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
