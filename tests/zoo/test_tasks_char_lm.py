"""char-lm: what is scored, what is carried, what is drawn from the model."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from zoo.errors import UserError
from zoo.tasks.char_lm import CharLM, CharModel, opening, pick, reading, write
from zoo.tasks.text import Vocabulary

VERSE = "It was the best of times, it was the worst of times, it was the age of wisdom, " * 12


@pytest.fixture
def verse(tmp_path):
    (tmp_path / "verse.txt").write_text(VERSE)
    return str(tmp_path / "verse.txt")


def small(path, **changes):
    sizes = {"hidden": 5, "embedding": 4, "batch": 3, "chunk": 50, "steps": 10}
    return CharLM(CharLM.resolve({"text": path, **sizes, **changes}), seed=0, device="cpu")


@given(n=st.integers(2, 60), start=st.integers(1, 59), streams=st.integers(1, 7), warm_up=st.integers(0, 5))
def test_every_held_out_character_is_scored_once_after_the_one_before_it(n, start, streams, warm_up):
    if start >= n:
        start = n - 1
    inputs, targets = reading(np.arange(n), start=start, streams=streams, warm_up=warm_up)
    scored = targets != -1
    assert sorted(targets[scored].tolist()) == list(range(start, n))
    assert (inputs[scored] == targets[scored] - 1).all()
    assert not scored[:warm_up].any()


def test_a_model_that_knows_nothing_needs_log2_of_the_vocabulary(verse):
    task = small(verse)
    for p in task.model.head.parameters():
        p.data = np.zeros_like(p.data)
    assert task.evaluate() == pytest.approx(math.log2(len(task.vocabulary)), rel=1e-6)


def test_the_streams_of_a_batch_are_the_text_in_order(verse):
    task = small(verse)
    length = len(task.inputs)
    for b in range(3):
        assert task.vocabulary.decode(task.inputs.numpy()[:, b]) == VERSE[b * length : (b + 1) * length]
        assert task.vocabulary.decode(task.targets.numpy()[:, b]) == VERSE[b * length + 1 : (b + 1) * length + 1]


def read(task, steps, start=0, carry=None):
    """Loss, length and carry of each step; nothing is learnt."""
    found = []
    for step in range(start, start + steps):
        problem = task.problem(step, carry if task.goes_on(step) else task.begin())
        loss, _, carry, _ = tg.bptt.gradient(problem)
        found.append((loss, len(problem), carry))
    return found


@pytest.mark.parametrize("stop", [1, 5, 6, 7, 13])
def test_steps_go_on_from_any_step_with_the_carry_left_there(verse, stop):
    task = small(verse)  # 284 steps a stream: 6 chunks, the last of 34
    whole = read(task, 15)
    rest = read(task, 15 - stop, stop, whole[stop - 1][2])
    assert [r[:2] for r in rest] == [w[:2] for w in whole[stop:]]
    assert [length for _, length, _ in whole[:6]] == [50] * 5 + [34]


def test_a_chunk_starts_from_the_state_that_the_one_before_it_left(verse):
    task = small(verse)
    (first, _, _), (second, _, _) = read(task, 2)
    ((both, _, _),) = read(small(verse, chunk=100), 1)
    assert (first + second) / 2 == pytest.approx(both, rel=1e-5)


@pytest.mark.parametrize("way", ["full", "chunks:7", "rtrl"])
def test_the_loss_of_a_step_is_the_mean_over_its_characters_however_its_gradient_is_found(verse, way):
    task = small(verse, chunk=20)
    logits, _ = task.model(task.inputs[:20], task.begin())
    expected = tg.cross_entropy(logits, task.targets[:20]).item()
    assert tg.bptt.gradient(task.problem(0, task.begin()), way).loss == pytest.approx(expected, rel=1e-5)


def test_a_step_drops_the_same_units_whenever_it_is_run_and_others_than_its_neighbour(verse):
    task = small(verse, dropout=0.5, layers=2)
    task.inputs, task.targets = 0 * task.inputs, 0 * task.targets  # all steps alike, but for the masks
    problem = task.problem(3, task.begin())

    def loss(start, stop):
        return problem.run(task.model, task.begin(), start, stop)[1].item()

    first = loss(0, 10)
    assert loss(0, 1) != loss(1, 2)
    assert loss(1, 2) == pytest.approx(problem.one(task.model, task.begin(), 1)[1].item(), rel=1e-6)
    assert loss(0, 10) == first


def test_the_metric_is_the_loss_in_bits():
    assert CharLM.metric.of(math.log(2)) == pytest.approx(1)


def test_a_text_too_short_for_its_streams_says_what_to_change(verse):
    with pytest.raises(UserError, match=r"has 948 characters, too few for 32 streams .*--batch or --chunk"):
        small(verse, batch=32)


def test_layers_are_stacked_and_the_example_is_small_enough_to_draw(verse):
    task = small(verse, layers=3, dropout=0.5)
    assert task.example().shape == ()
    assert task.facts()["model"].startswith("LSTM, 3 layers of 5:")


def test_pick_follows_the_softmax_of_the_logits_over_the_temperature():
    rng, logits = np.random.default_rng(0), np.log(np.array([0.2, 0.5, 0.3]))
    drawn = np.bincount([pick(2 * logits, temperature=2.0, top_k=None, rng=rng) for _ in range(4000)]) / 4000
    np.testing.assert_allclose(drawn, [0.2, 0.5, 0.3], atol=0.03)


@pytest.mark.parametrize(("top_k", "allowed"), [(1, {1}), (2, {1, 2}), (3, {0, 1, 2}), (9, {0, 1, 2})])
def test_pick_draws_from_the_top_k_only(top_k, allowed):
    rng = np.random.default_rng(0)
    assert {pick(np.array([0.0, 2.0, 1.0]), temperature=3.0, top_k=top_k, rng=rng) for _ in range(200)} == allowed


def test_pick_at_temperature_zero_takes_the_most_likely():
    assert pick(np.array([0.0, 2.0, 1.0]), temperature=0.0, top_k=None, rng=np.random.default_rng(0)) == 1


@pytest.fixture
def writer():
    vocabulary = Vocabulary.of(VERSE)
    model = CharModel("GRU", len(vocabulary), embedding=4, hidden=6, rng=tg.random.Generator(1))

    def run(**changes):
        settings = {"prompt": "It was", "length": 30, "temperature": 1.0, "top_k": None, "seed": 0, **changes}
        return write(model, vocabulary, **settings)

    return run


def test_what_is_written_starts_with_the_prompt_and_depends_on_the_seed_alone(writer):
    assert writer().startswith("It was") and len(writer()) == 36
    assert writer() == writer() != writer(seed=1)


def test_a_prompt_the_model_cannot_read_is_refused(writer):
    with pytest.raises(UserError, match="character 'é' at position 0 is not among the"):
        writer(prompt="é")
    with pytest.raises(UserError, match="the prompt is empty"):
        writer(prompt="")


def test_reading_the_prompt_at_once_or_letter_by_letter_leaves_the_same_state():
    model = CharModel("LSTM", 5, embedding=3, hidden=4, rng=tg.random.Generator(0)).astype("float64")
    ids = np.array([[0], [3], [1], [4]])
    state = tg.tree.map(lambda t: tg.tensor(t.data.astype("float64")), model.begin(1))
    whole, _ = model(tg.tensor(ids), state)
    for one in ids:
        logits, state = model(tg.tensor(one[None]), state)
    np.testing.assert_allclose(logits.numpy()[0], whole.numpy()[-1], rtol=1e-12)


def test_the_opening_is_made_of_characters_the_model_knows():
    assert opening(Vocabulary("The ")) == "The "
    assert opening(Vocabulary("абв")) == "а"
