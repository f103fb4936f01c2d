"""Topologies to learn in: their equations, lengths and padding, what is fed back, names, and errors."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
import zoo
from zoo.topology.attention import AdditiveAttention
from zoo.topology.driven import Driven, recurrent_matrix
from zoo.topology.encoder_decoder import CONTEXTS, EncoderDecoder
from zoo.topology.feedback import FREE, noise
from zoo.topology.from_vector import ENTERS, VectorToSequence
from zoo.topology.synced import Synced
from zoo.topology.to_label import POOLINGS, SequenceToLabel

T, B, I, H, V, D = 6, 3, 4, 5, 7, 2
LENGTHS = [6, 2, 4]
RANDOM = np.random.default_rng(0)
XS, IDS, LABELS = RANDOM.normal(size=(T, B, I)), RANDOM.integers(0, V, (T, B)), [1, 6, 0]
VECTOR = RANDOM.normal(size=(B, D))


def cell(name: str, input_size: int, hidden: int = H, seed: int = 0) -> Any:
    kind: Any = zoo.get(name)
    return kind(input_size, hidden, rng=tg.random.Generator(seed))


def filled(model: Any) -> Any:
    """The model in float64 with random parameters, none at 0, that runs without a compiler."""
    random = np.random.default_rng(1)
    model.astype("float64")
    for p in model.parameters():
        p.data = random.normal(size=p.shape) * 0.5
    for part in model.modules():
        if isinstance(part, zoo.RNN):
            part.compile = False
    return model


def translator(context: str, name: str = "LSTM", **options: Any) -> Any:
    return filled(EncoderDecoder(cell(name, I), cell(name, V, seed=1), V, context=context, **options))


def dreamer(enters: str, fed_back: bool = True, name: str = "GRU", **options: Any) -> Any:
    features = (0 if enters == "state" else D) + (V if fed_back else 0) or 1
    layer = cell(name, features)
    return filled(VectorToSequence(layer, V, vector_size=D, enters=enters, fed_back=fed_back, **options))


def losses(problem: tg.bptt.Problem) -> list[float]:
    """By segment, and by steps."""
    return [tg.bptt.gradient(p).loss for p in (problem, dataclasses.replace(problem, segment=None))]


def gradients_agree(a: tg.bptt.Problem, b: tg.bptt.Problem, atol: float = 1e-13) -> None:
    found, wanted = tg.bptt.gradient(a), tg.bptt.gradient(b)
    assert abs(found.loss - wanted.loss) <= atol
    for path, g in wanted.gradients.items():
        np.testing.assert_allclose(found.gradients[path].numpy(), g.numpy(), rtol=0, atol=atol, err_msg=path)


def padded(xs: np.ndarray, lengths: list[int], value: Any) -> np.ndarray:
    xs = xs.copy()
    for row, length in enumerate(lengths):
        xs[length:, row] = value
    return xs


# Equations


def encoder_decoder_by_hand(model: Any, context: str) -> np.ndarray:
    """The logits of an encoder–decoder of Elman cells, in NumPy."""
    p = {path: t.numpy() for path, t in model.parameters_by_path().items()}
    inner = "" if context == "state" else "cell/"
    s, outputs = np.zeros((B, H)), []
    for x in XS:
        s = np.tanh(x @ p["encoder/cell/input/weight"] + p["encoder/cell/input/bias"] + s @ p["encoder/cell/U"])
        outputs.append(s)
    c, memory = s, np.array(outputs)
    s = c if context == "state" else np.zeros((B, H))
    logits = []
    for t in range(T):
        y = np.eye(V)[IDS[t - 1]] if t else np.zeros((B, V))
        a = y @ p[f"decoder/cell/{inner}input/weight"] + p[f"decoder/cell/{inner}input/bias"]
        if context == "attention":
            keys = memory @ p["attention/key/weight"]
            e = np.tanh(s @ p["attention/query/weight"] + keys) @ p["attention/energy/weight"]
            c = (np.exp(e) / np.exp(e).sum(0) * memory).sum(0)
        if context != "state":
            a = a + c @ p["encoder/cell/U" if context == "recurrent" else "context/weight"]
        s = np.tanh(a + s @ p[f"decoder/cell/{inner}U"])
        logits.append(s @ p["head/weight"] + p["head/bias"])
    return np.array(logits)


@pytest.mark.parametrize("context", CONTEXTS)
def test_an_encoder_decoder_of_elman_cells_is_what_its_equations_say(context: str) -> None:
    model = translator(context, "ElmanRNN")
    np.testing.assert_allclose(model(XS, IDS).numpy(), encoder_decoder_by_hand(model, context), rtol=0, atol=1e-13)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_label_is_made_of_the_outputs_of_the_valid_steps(pooling: str) -> None:
    model = filled(SequenceToLabel(cell("LSTM", I), V, pooling=pooling))
    ys = model.encoder(tg.tensor(XS), None, LENGTHS)[0].numpy()
    pool: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "last": lambda y: y[-1], "mean": lambda y: y.mean(0), "max": lambda y: y.max(0)
    }  # fmt: skip
    pooled = np.array([pool[pooling](ys[:length, row]) for row, length in enumerate(LENGTHS)])
    wanted = pooled @ model.head.weight.numpy() + model.head.bias.numpy()
    np.testing.assert_allclose(model(XS, lengths=LENGTHS).numpy(), wanted, rtol=0, atol=1e-13)


@pytest.mark.parametrize("enters", ENTERS)
def test_the_vector_enters_where_it_is_said_to(enters: str) -> None:
    model = dreamer(enters, fed_back=False, name="ElmanRNN")
    p = {path: t.numpy() for path, t in model.parameters_by_path().items()}
    v = np.array(VECTOR)
    s = v @ p["initial/map/weight"] + p["initial/map/bias"] if enters == "state" else np.zeros((B, H))
    for t, logits in enumerate(model(VECTOR, IDS).numpy()):
        read = enters == "every" or (enters == "first" and t == 0)
        drive = v @ p["decoder/cell/input/weight"] if read else 0
        s = np.tanh(drive + p["decoder/cell/input/bias"] + s @ p["decoder/cell/U"])
        np.testing.assert_allclose(logits, s @ p["head/weight"] + p["head/bias"], rtol=0, atol=1e-13)


def test_weights_of_attention_sum_to_one_over_the_valid_steps_and_are_zero_elsewhere() -> None:
    model = translator("attention")
    weights = model.alignment(XS, IDS[:4], lengths=LENGTHS).numpy()
    assert weights.shape == (4, B, T)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=0, atol=1e-14)
    for row, length in enumerate(LENGTHS):
        assert (weights[:, row, :length] > 0).all() and (weights[:, row, length:] == 0).all()


@pytest.mark.parametrize("name", zoo.names())
def test_a_driven_cell_is_the_cell_with_something_added_to_its_bias(name: str) -> None:
    plain = filled(cell(name, I))
    if plain.input.bias is None:
        plain.input.bias = tg.nn.parameter(np.zeros(plain.input.weight.shape[1]))
    drive = np.random.default_rng(2).normal(size=plain.input.bias.shape)
    state = plain.init_state(B, dtype="float64")
    found = Driven(plain)((tg.tensor(XS[0]), tg.tensor(np.tile(drive, (B, 1)))), state)
    plain.input.bias.data = plain.input.bias.data + drive
    for a, b in zip(tg.tree.leaves(found), tg.tree.leaves(plain(tg.tensor(XS[0]), state)), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=0, atol=1e-13)


# Lengths and padding


@pytest.mark.parametrize("value", [0.0, 9.0, np.nan])
def test_what_pads_the_inputs_changes_nothing(value: float) -> None:
    xs, other = padded(XS, LENGTHS, value), padded(XS, LENGTHS, 1.0)
    tagger = filled(Synced(zoo.Stacked([cell("LSTM", I), cell("SRU", H)]), V))
    models = [filled(SequenceToLabel(cell("LSTM", I), V, pooling=pooling)) for pooling in POOLINGS]
    makers: list[Callable[[Any], tg.bptt.Problem]] = [
        lambda xs: tagger.problem(xs, IDS, lengths=LENGTHS),
        *[lambda xs, m=m: m.problem(xs, LABELS, lengths=LENGTHS) for m in models],
        *[lambda xs, m=m: m.problem(xs, IDS, lengths=LENGTHS) for m in map(translator, CONTEXTS)],
    ]
    for make in makers:
        for segment in (True, False):
            a, b = make(xs), make(other)
            if not segment:
                a, b = (dataclasses.replace(p, segment=None) for p in (a, b))
            gradients_agree(a, b)


def test_labels_past_the_length_do_not_count() -> None:
    targets, other = padded(IDS, LENGTHS, -1), padded(IDS, LENGTHS, 3)
    tagger, writer, voice = filled(Synced(cell("GRU", I), V)), translator("input"), dreamer("first")
    gradients_agree(tagger.problem(XS, targets, lengths=LENGTHS), tagger.problem(XS, other, lengths=LENGTHS))
    gradients_agree(
        writer.problem(XS, targets, target_lengths=LENGTHS), writer.problem(XS, other, target_lengths=LENGTHS)
    )
    gradients_agree(voice.problem(VECTOR, targets, lengths=LENGTHS), voice.problem(VECTOR, other, lengths=LENGTHS))


@pytest.mark.parametrize("context", CONTEXTS)
def test_a_row_of_a_batch_is_translated_as_if_it_were_alone(context: str) -> None:
    model = translator(context)
    together = model(padded(XS, LENGTHS, np.nan), IDS, lengths=LENGTHS).numpy()
    for row, length in enumerate(LENGTHS):
        alone = model(XS[:length, row : row + 1], IDS[:, row : row + 1]).numpy()
        np.testing.assert_allclose(together[:, row : row + 1], alone, rtol=0, atol=1e-13)


def test_the_mean_is_the_sum_over_the_labels_that_count_divided_by_their_number() -> None:
    tagger, reader = filled(Synced(cell("GRU", I), V)), filled(SequenceToLabel(cell("GRU", I), V))
    writer = dreamer("first")
    mask = np.arange(T * B).reshape(T, B) % 4 > 0
    counted = int((mask & (np.arange(T)[:, None] < LENGTHS)).sum())
    for make, labels in (
        (lambda r: tagger.problem(XS, IDS, reduction=r), T * B),
        (lambda r: tagger.problem(XS, IDS, lengths=LENGTHS, mask=mask, reduction=r), counted),
        (lambda r: reader.problem(XS, LABELS, reduction=r), B),
        (lambda r: writer.problem(VECTOR, IDS, lengths=LENGTHS, reduction=r), sum(LENGTHS)),
        (lambda r: translator("state").problem(XS, IDS, target_lengths=LENGTHS, reduction=r), sum(LENGTHS)),
    ):
        mean, total = losses(make("mean")), losses(make("sum"))
        np.testing.assert_allclose(np.array(mean) * labels, total, rtol=1e-13)


def test_a_loss_of_ones_own_takes_the_place_of_cross_entropy() -> None:
    model, wanted = filled(Synced(cell("GRU", I), 2)), RANDOM.normal(size=(T, B, 2))
    expected = tg.mse(model(XS), wanted, reduction="sum").item() / (T * B)
    np.testing.assert_allclose(losses(model.problem(XS, wanted, loss=tg.mse)), expected, rtol=1e-13)


# What is fed back


@pytest.mark.parametrize(("make", "how"), [(translator, "attention"), (translator, "input"), (dreamer, "every")])
def test_greedy_writing_is_teacher_forcing_with_what_was_written(make: Callable[[str], Any], how: str) -> None:
    model = make(how)
    first = VECTOR if make is dreamer else XS
    free = model(first, steps=T, feed="greedy").numpy()
    np.testing.assert_allclose(model(first, free.argmax(-1)).numpy(), free, rtol=0, atol=1e-13)


def test_sampled_symbols_come_as_often_as_their_softmax_says_and_are_the_same_for_the_same_generator() -> None:
    logits = tg.tensor(np.tile([1.0, -0.5, 0.3], (20_000, 1)))
    draw = lambda seed: FREE["sampled"](  # noqa: E731
        logits, noise("sampled", tg.random.Generator(seed), logits.shape, "float64", "cpu")
    ).numpy()
    drawn, p = draw(0), tg.softmax(logits).numpy()[0]
    assert set(np.unique(drawn)) == {0, 1} and (drawn.sum(1) == 1).all()
    assert (np.abs(drawn.mean(0) - p) <= 4 * np.sqrt(p * (1 - p) / len(drawn))).all()
    assert (draw(0) == drawn).all() and (draw(1) != drawn).any()


@pytest.mark.parametrize(("feed", "passes"), [("softmax", True), ("greedy", False), ("sampled", False)])
def test_what_is_fed_back_passes_a_gradient_as_a_distribution_only(feed: str, passes: bool) -> None:
    problem = dreamer("first").problem(VECTOR, IDS, feed=feed)
    step = tg.bptt.Linearised(problem, problem.carry, 0)
    cotangent = np.zeros(step.state.n)
    cotangent[-B * V :] = np.random.default_rng(3).normal(size=B * V)  # of the symbol, the last part of the carry
    assert (np.abs(step.pull_state(cotangent)[0]).max() > 1e-6) == passes


@pytest.mark.parametrize("feed", ["teacher", *FREE])
def test_before_the_first_symbol_stands_the_one_that_is_named(feed: str) -> None:
    named, unnamed = dreamer("first", go=2), dreamer("first")
    hot = np.zeros((B, V))
    hot[:, 2] = 1
    for model in (named, unnamed):
        given = IDS[:1] if feed == "teacher" else None
        y, _ = model.decoder.cell.step(
            tg.tensor(np.concatenate([VECTOR, hot * (model is named)], 1)), model.decoder.init_state(B, dtype="float64")
        )
        found = model(VECTOR, given, steps=1, feed=feed).numpy()[0]
        np.testing.assert_allclose(found, model.head(y).numpy(), rtol=0, atol=1e-13)


# Layers


def test_a_problem_goes_on_from_a_state_that_is_given() -> None:
    model = filled(Synced(zoo.Stacked([cell("LSTM", I), cell("GRU", H)]), V))
    whole = tg.bptt.gradient(model.problem(XS, IDS, reduction="sum"), "chunks:4")
    early = tg.bptt.gradient(model.problem(XS[:4], IDS[:4], reduction="sum"))
    late = tg.bptt.gradient(model.problem(XS[4:], IDS[4:], state=early.carry, reduction="sum"))
    assert abs(early.loss + late.loss - whole.loss) <= 1e-13
    for path, g in whole.gradients.items():
        found = early.gradients[path].numpy() + late.gradients[path].numpy()
        np.testing.assert_allclose(found, g.numpy(), rtol=0, atol=1e-13)


def test_initial_states_that_are_learned_get_their_gradient_from_forward_methods_too() -> None:
    model = filled(Synced(zoo.RNN(cell("LSTM", I), initial="trainable"), V))
    problem = model.problem(XS[:3], IDS[:3], lengths=[3, 0, 2])
    forward, backward = tg.bptt.gradient(problem, "rtrl").gradients, tg.bptt.gradient(problem).gradients
    for part in "hc":
        g = backward[f"rnn/initial/{part}"].numpy()
        assert np.abs(g).max() > 1e-4
        np.testing.assert_allclose(forward[f"rnn/initial/{part}"].numpy(), g, rtol=0, atol=1e-14)


def test_an_encoder_may_read_from_both_ends_in_forward_but_has_no_problem_from_step_to_step() -> None:
    both = zoo.Bidirectional(cell("GRU", I), cell("GRU", I, seed=2))
    model = filled(EncoderDecoder(both, cell("LSTM", V), V, context="attention"))
    assert model(XS, IDS, lengths=LENGTHS).shape == (T, B, V)
    with pytest.raises(ValueError, match="a problem goes from step to step, but Bidirectional"):
        model.problem(XS, IDS)
    with pytest.raises(ValueError, match="but RNN begins at the end"):
        Synced(zoo.RNN(cell("GRU", I), reverse=True), V).problem(XS, IDS)


@pytest.mark.parametrize("context", CONTEXTS)
def test_a_decoder_may_be_a_stack_and_is_not_changed_by_what_drives_it(context: str) -> None:
    layers = [zoo.Stacked([cell("LSTM", size), cell("LSTM", H)]) for size in (I, V)]
    encoder = cell("LSTM", I) if context == "recurrent" else layers[0]
    before = layers[1].layers[0].cell
    model = filled(EncoderDecoder(encoder, layers[1], V, context=context))
    by_segment, by_steps = losses(model.problem(XS, IDS, lengths=LENGTHS))
    assert abs(by_segment - by_steps) <= 1e-13
    assert layers[1].layers[0].cell is before and "input" in vars(before) and type(before) is zoo.LSTM


def test_a_compiled_run_is_the_plain_one() -> None:
    for model, first in ((translator("attention"), XS), (dreamer("state"), VECTOR)):
        wanted = [model(first, IDS).numpy(), model(first, steps=T, feed="softmax").numpy()]
        for part in model.modules():
            if isinstance(part, zoo.RNN):
                part.compile = "numpy"
        found = [model(first, IDS).numpy(), model(first, steps=T, feed="softmax").numpy()]
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-13)


def test_every_problem_runs_on_every_device(device: str) -> None:
    xs, ids, labels, vector = (tg.tensor(x, device=device) for x in (XS, IDS, np.array(LABELS), VECTOR))
    problems = [filled(Synced(cell("GRU", I), V)).to(device).problem(xs, ids, lengths=LENGTHS)]
    for pooling in POOLINGS:
        reader = filled(SequenceToLabel(cell("GRU", I), V, pooling=pooling)).to(device)
        problems.append(reader.problem(xs, labels, lengths=LENGTHS))
    for enters in ENTERS:
        problems.append(dreamer(enters).to(device).problem(vector, ids, lengths=LENGTHS))
    for context, feed in zip(CONTEXTS, ("teacher", *FREE), strict=True):
        writer = translator(context).to(device)
        problems.append(writer.problem(xs, ids, lengths=LENGTHS, target_lengths=LENGTHS, feed=feed))
    for problem in problems:
        by_segment, by_steps = losses(problem)
        assert abs(by_segment - by_steps) <= 1e-13


# Names


@pytest.mark.parametrize("context", CONTEXTS)
def test_parameters_are_named_by_the_part_that_they_belong_to(context: str) -> None:
    parts = {path.split("/")[0] for path in translator(context).parameters_by_path()}
    own = {"state": set(), "input": {"context"}, "recurrent": set(), "attention": {"context", "attention"}}
    assert parts == {"encoder", "decoder", "head"} | own[context]


# Errors


def small(**options: Any) -> EncoderDecoder:
    return EncoderDecoder(cell("GRU", I), cell("GRU", V), V, **options)


ERRORS: dict[str, tuple[Callable[[], Any], str]] = {
    "pooling": (lambda: SequenceToLabel(cell("GRU", I), V, pooling="min"), "pooling='min' is not one of last, mean"),
    "enters": (lambda: VectorToSequence(cell("GRU", I), V, vector_size=I, enters="late"), "enters='late' is not"),
    "features": (
        lambda: VectorToSequence(cell("GRU", I), V, vector_size=D, fed_back=True),
        "takes 4 features, but with enters='first' and fed_back=True it reads 9: 2 of the vector, 7 of a symbol",
    ),
    "context": (lambda: small(context="copy"), "context='copy' is not one of state, input"),
    "symbols": (lambda: EncoderDecoder(cell("GRU", I), cell("GRU", I), V), "takes 4 features, but reads symbols of 7"),
    "states": (
        lambda: EncoderDecoder(cell("GRU", I), cell("LSTM", V), V), "give both one kind of cell and one size, or a"
    ),
    "matrices": (
        lambda: small(context="recurrent"),
        r"exactly one, .* each of the 15 .*; GRU has U \(5, 10\), U_n \(5, 5\). .*context='input'",
    ),
    "columns": (
        lambda: EncoderDecoder(cell("ElmanRNN", I), cell("LSTM", V), V, context="recurrent"),
        r"each of the 20 that .*; ElmanRNN has U \(5, 5\)",
    ),
    "a stack": (
        lambda: EncoderDecoder(zoo.Stacked([cell("LSTM", I)]), cell("LSTM", V), V, context="recurrent"),
        "one cell with exactly one, .*; Stacked has none",
    ),
    "a decoder that goes both ways": (
        lambda: EncoderDecoder(
            cell("GRU", I), zoo.Bidirectional(cell("GRU", V), cell("GRU", V)), V, context="input"
        ),
        "a decoder is a cell, an RNN, or Stacked upon one, not Bidirectional",
    ),
    "alignment": (lambda: translator("input").alignment(XS, IDS), "context='input' does not attend"),
    "feed": (lambda: translator("input").problem(XS, IDS, feed="forced"), "feed='forced' is not one of teacher"),
    "steps": (lambda: translator("input")(XS), "give targets, or the number of steps"),
    "teacher": (lambda: dreamer("first")(VECTOR, steps=3, feed="teacher"), "feeds targets, and there are none"),
    "go": (lambda: dreamer("first", go=7).problem(VECTOR, IDS), "go=7 is none of the 7 symbols"),
    "what is fed": (
        lambda: translator("input").problem(XS, IDS * 1.0), r"targets float64 \(6, 3\): what is fed back are class ids"
    ),
    "targets": (lambda: Synced(cell("GRU", I), V).problem(XS, IDS[:5]), r"do not begin with \(T, B\) = \(6, 3\)"),
    "rows": (lambda: translator("input").problem(XS, IDS[:, :2]), r"do not begin with \(T', B\), B = 3"),
    "labels": (lambda: SequenceToLabel(cell("GRU", I), V).problem(XS, [1, 2]), "do not begin with B = 3"),
    "a row without steps": (
        lambda: SequenceToLabel(cell("GRU", I), V)(XS.astype("float32"), lengths=[6, 0, 1]),
        r"lengths \[6, 0, 1\] do not lie in 1 … 6",
    ),
    "lengths": (lambda: Synced(cell("GRU", I), V).problem(XS, IDS, lengths=[1, 2]), "are not 3 integers, one for each"),
    "reduction": (lambda: Synced(cell("GRU", I), V).problem(XS, IDS, reduction="none"), "'none' is not one of mean"),
    "mask": (lambda: Synced(cell("GRU", I), V).problem(XS, IDS, mask=[True]), r"the mask \(1,\) is not \(T, B\)"),
    "inputs": (lambda: Synced(cell("GRU", I), V).problem(XS[0, 0], IDS), r"shapes \[\(4,\)\]; they are \(T, B, …\)"),
    "vector": (lambda: dreamer("first").problem(VECTOR[0], IDS), r"the vector is \(2,\), not \(B, D\)"),
}


@pytest.mark.parametrize(("make", "words"), ERRORS.values(), ids=ERRORS)
def test_what_does_not_fit_gets_one_clear_error(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_a_cell_that_does_not_project_its_input_cannot_be_driven() -> None:
    class Bare(zoo.Cell):
        State = zoo.GRU.State

    with pytest.raises(ValueError, match="Bare makes of its input, it must project it"):
        Driven(Bare(3, 4))


def test_the_recurrent_matrix_of_a_cell_is_found_by_what_it_has() -> None:
    assert recurrent_matrix("here", zoo.RNN(cell("LSTM", I)), 4 * H) == "U"


def test_attention_with_one_entry_reads_it() -> None:
    memory = tg.tensor(RANDOM.normal(size=(B, 1, H)))
    context, weights = filled(AdditiveAttention(D, H, 3))(tg.tensor(np.array(VECTOR)), memory)
    np.testing.assert_allclose(context.numpy(), memory.numpy()[:, 0], rtol=0, atol=1e-15)
    assert (weights.numpy() == 1).all()
