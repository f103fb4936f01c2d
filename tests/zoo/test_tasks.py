"""What holds for every task: options, presets, a loss that falls, a checkpoint's worth of carry, an example to draw."""

from dataclasses import replace

import numpy as np
import pytest

import tinygrad_rnn as tg
from zoo import tasks
from zoo.commands.train import OPTIONS
from zoo.errors import UserError
from zoo.tasks import text
from zoo.tasks.task import Task

SMALL = {
    "helo": {"steps": 20},
    "char-lm": {"hidden": 6, "embedding": 5, "batch": 2, "chunk": 8, "steps": 20},
    "copy": {"hidden": 8, "batch": 8, "length": 2, "steps": 20},
    "adding": {"hidden": 6, "batch": 8, "length": 4, "steps": 20},
    "temporal-order": {"hidden": 6, "batch": 8, "length": 10, "steps": 20},
    "influence-balancing": {"chunk": 5, "steps": 20},
}


@pytest.fixture(scope="module")
def text_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "prose.txt"
    path.write_text(text.load().text[:20_000])
    return str(path)


def made(name, text_file, device="cpu") -> Task:
    kind = tasks.find(name)
    source = {"text": text_file} if "text" in kind.defaults else {}
    return kind(kind.resolve(SMALL[name] | source), seed=0, device=device)


@pytest.fixture(params=tasks.TASKS)
def task(request, text_file) -> Task:
    return made(request.param, text_file)


def test_every_task_is_tried_here():
    assert SMALL.keys() == tasks.TASKS.keys()


@pytest.mark.parametrize("name", tasks.TASKS)
def test_options_and_presets_are_ones_that_the_command_line_has(name):
    kind = tasks.find(name)
    assert kind.name == name
    assert set(kind.defaults) <= set(OPTIONS)
    assert set(kind.presets) == {"quick", "full"}
    for preset in kind.presets.values():
        assert set(preset) <= set(kind.defaults)


def test_what_is_given_wins_over_the_preset_and_the_preset_over_the_defaults():
    kind = tasks.find("char-lm")
    assert kind.resolve({"steps": 7}, "quick") == {**kind.defaults, **kind.presets["quick"], "steps": 7}


def test_an_option_that_the_task_does_not_take_is_named_with_those_that_it_takes():
    with pytest.raises(UserError, match="helo takes no --text; its options are --cell, --hidden"):
        tasks.find("helo").resolve({"text": "x"})


def test_an_unknown_task_is_answered_with_the_nearest():
    with pytest.raises(UserError, match="unknown task 'char_lm': did you mean char-lm"):
        tasks.find("char_lm")


def test_the_same_seed_makes_the_same_model(task, text_file):
    again = made(task.name, text_file)
    for a, b in zip(task.model.parameters(), again.model.parameters(), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def learn(task, steps, lr=0.02):
    """The losses of the first steps, each followed along its gradient, found as the task does by default."""
    way = tg.bptt.strategy(task.options["bptt"])
    optimizer, losses, carry, memory = tg.optim.Adam(task.model, lr=lr), [], task.begin(), None
    for step in range(steps):
        if not task.goes_on(step):
            carry, memory = task.begin(), None
        losses.append(0.0)
        for update in way.updates(task.problem(step, carry), memory=memory):
            optimizer.step(update.gradients)
            losses[-1] += update.loss
            carry, memory = update.carry, update.memory
    return losses


def test_the_loss_falls_when_its_gradient_is_followed(task):
    losses = learn(task, 60)
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])


@pytest.mark.parametrize("name", tasks.TASKS)
def test_a_task_trains_and_measures_itself_on_every_device(name, text_file, device):
    task, on_cpu = made(name, text_file, device), made(name, text_file)
    losses = learn(task, 2, lr=0.01)
    assert {p.device for p in task.model.parameters()} == {tg.tensor(0.0, device=device).device}
    assert np.isfinite(task.evaluate()) and task.sample()
    assert losses[0] == pytest.approx(learn(on_cpu, 1, lr=0.01)[0], rel=1e-5)


def test_the_carry_keeps_the_structure_that_it_begins_with(task):
    if task.goes_on(1):
        (update,) = tg.bptt.strategy("full").updates(task.problem(0, task.begin()))
        assert repr(tg.tree.flatten(update.carry)[1]) == repr(tg.tree.flatten(task.begin())[1])


def test_the_data_of_a_step_depend_on_the_step_and_the_seed_alone(task, text_file):
    def loss(of, step):
        return tg.bptt.gradient(of.problem(step, of.begin())).loss

    first, again = (loss(task, 3), loss(made(task.name, text_file), 3))
    assert first == again == loss(task, 3)
    assert (loss(task, 4) == first) == (task.name in ("helo", "influence-balancing"))  # which draw nothing


def test_a_run_in_one_go_and_one_step_by_step_have_the_same_loss_and_gradients(task):
    problem = task.problem(0, task.begin())
    whole, single = tg.bptt.gradient(problem), tg.bptt.gradient(replace(problem, segment=None))
    assert whole.loss == pytest.approx(single.loss, rel=1e-5)
    assert tg.bptt.gradient(problem, "chunks:2").loss == pytest.approx(whole.loss, rel=1e-5)
    for path, gradient in whole.gradients.items():
        largest = abs(gradient.numpy()).max()
        np.testing.assert_allclose(single.gradients[path].numpy(), gradient.numpy(), atol=1e-5 * largest, err_msg=path)


def test_the_example_reaches_every_parameter_that_a_few_steps_can(task):
    task.example().backward()
    assert all(p.grad is not None for p in task.model.parameters())


def test_evaluating_changes_neither_parameters_nor_mode(task):
    before = task.model.state_dict()
    assert task.evaluate() == task.evaluate()
    assert task.model.training
    for path, value in task.model.state_dict().items():
        np.testing.assert_array_equal(value, before[path])


def test_baselines_sample_and_facts_are_there_to_be_read(task):
    assert task.baselines() and all(np.isfinite(score.value) for score in task.baselines())
    caption, sample = task.sample()
    assert caption and sample and task.facts()


def test_a_trained_model_answers_without_a_prompt_and_the_same_each_time(task):
    config, weights = {"options": task.options, "seed": 0, "data": task.data}, task.model.state_dict()
    said = [type(task).generate(config, weights, prompt=None, device="cpu", **task.writes) for _ in range(2)]
    assert said[0] == said[1] != ""
