"""Cells along time, on top of each other and in both directions: values, gradients, lengths, streams, errors."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
import zoo

T, B, I, H = 6, 3, 4, 5
LENGTHS = [6, 2, 4]
EVERY_CELL = pytest.mark.parametrize("name", zoo.names())


def cell(name: str, input_size: int = I, seed: int = 0) -> zoo.Cell:
    return zoo.get(name)(input_size, H, rng=tg.random.Generator(seed)).astype("float64")


def rnn(name: str, **options: Any) -> zoo.RNN:
    return zoo.RNN(cell(name), **options)


def bidirectional(input_size: int = I, **options: Any) -> zoo.Bidirectional:
    forward, reverse = cell("LSTM", input_size), cell("GRU", input_size, 1)
    return zoo.Bidirectional(zoo.RNN(forward, **options), zoo.RNN(reverse, reverse=True, **options))


MODELS: dict[str, Callable[[], Any]] = {
    "RNN": lambda: rnn("LSTM"),
    "RNN in reverse": lambda: rnn("GRU", reverse=True),
    "RNN that learns its initial state": lambda: rnn("LSTM", initial="trainable").astype("float64"),
    "Stacked": lambda: zoo.Stacked([cell("LSTM"), cell("GRU", H)]),
    "Bidirectional": bidirectional,
    "Stacked of Bidirectional": lambda: zoo.Stacked([bidirectional(), bidirectional(2 * H), cell("ElmanRNN", 2 * H)]),
}
STREAMS = ["RNN", "RNN that learns its initial state", "Stacked"]
EVERY_MODEL = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)


def series(seed: int = 0, *, padding: float | None = None) -> np.ndarray:
    """xs (T, B, I), with ``padding`` past LENGTHS."""
    xs = np.random.default_rng(seed).normal(size=(T, B, I))
    if padding is not None:
        for row, length in enumerate(LENGTHS):
            xs[length:, row] = padding
    return xs


def flat(tree: Any) -> np.ndarray:
    return np.concatenate([leaf.numpy().ravel() for leaf in tg.tree.leaves(tree)])


def close(found: Any, wanted: Any, atol: float = 1e-13) -> None:
    np.testing.assert_allclose(flat(found), flat(wanted), rtol=0, atol=atol)


def some_state(model: Any, rows: int = B) -> Any:
    random = np.random.default_rng(5)
    return tg.tree.map(lambda s: tg.tensor(random.normal(size=s.shape)), model.init_state(rows))


def weighted(tree: Any) -> tg.Tensor:
    """A scalar in which every entry of every Tensor has a weight of its own."""
    return sum((leaf * np.cos(np.arange(leaf.size).reshape(leaf.shape) + 1)).sum() for leaf in tg.tree.leaves(tree))


# Along time


@EVERY_CELL
def test_running_along_time_is_stepping_by_hand(name: str) -> None:
    layer = rnn(name)
    xs = tg.tensor(series())
    state = some_state(layer)
    ys, last = layer(xs, state)
    for t in range(T):
        y, state = layer.cell(xs[t], state)
        close(ys[t], y)
    close(last, state)


@EVERY_CELL
def test_the_graph_of_a_run_is_that_of_a_plain_loop(name: str) -> None:
    layer = rnn(name, compile=False)
    ys, _ = layer(tg.tensor(series(), requires_grad=True))
    state, by_hand = layer.init_state(B, dtype="float64"), []
    for x in tg.tensor(series(), requires_grad=True):
        y, state = layer.cell(x, state)
        by_hand.append(y)
    assert len(tg.Graph(ys)) == len(tg.Graph(tg.stack(by_hand)))


@pytest.mark.parametrize("kind", STREAMS)
def test_a_stream_of_steps_gives_what_the_whole_sequence_gives(kind: str) -> None:
    model = MODELS[kind]()
    ys, last = model(tg.tensor(series()))
    state = None
    for x, y in zip(series(), ys, strict=True):
        found, state = model.step(x, state)
        close(found, y)
    close(state, last)


@pytest.mark.parametrize("kind", STREAMS)
def test_a_sequence_in_two_parts_with_carried_state_is_the_sequence(kind: str) -> None:
    model = MODELS[kind]()
    xs = tg.tensor(series())
    ys, last = model(xs)
    early, between = model(xs[:2])
    late, end = model(xs[2:], between)
    close(tg.concatenate([early, late]), ys)
    close(end, last)


@EVERY_MODEL
def test_all_states_end_in_the_last_state(make: Callable[[], Any]) -> None:
    model = make()
    ys, last = model(tg.tensor(series()))
    same, states = model(tg.tensor(series()), all_states=True)
    close(same, ys)
    assert repr(tg.tree.flatten(states)[1]) == repr(tg.tree.flatten(last)[1])
    for every, end in zip(tg.tree.leaves(states), tg.tree.leaves(last), strict=True):
        assert every.shape == (T, *end.shape)
        assert np.array_equal(every[-1].numpy(), end.numpy()) or np.array_equal(every[0].numpy(), end.numpy())


@EVERY_CELL
def test_reverse_is_the_flipped_run_of_the_flipped_sequence(name: str) -> None:
    forward, reverse = rnn(name), rnn(name, reverse=True)
    state = some_state(forward)
    ys, last = reverse(tg.tensor(series()), state)
    flipped, end = forward(tg.tensor(series()[::-1].copy()), state)
    close(ys, tg.tensor(flipped.numpy()[::-1]))
    close(last, end)


# Lengths


@EVERY_MODEL
def test_with_lengths_each_row_is_run_as_if_it_were_alone(make: Callable[[], Any]) -> None:
    model = make()
    state = some_state(model)
    ys, last = model(tg.tensor(series(padding=np.nan)), state, LENGTHS)
    for row, length in enumerate(LENGTHS):
        mine = tg.tree.map(lambda s, row=row: s[row : row + 1], state)
        alone, end = model(tg.tensor(series()[:length, row : row + 1]), mine)
        close(ys[:length, row : row + 1], alone)
        assert not ys[length:, row].numpy().any()
        close(tg.tree.map(lambda s, row=row: s[row : row + 1], last), end)


@EVERY_MODEL
def test_padding_that_holds_nan_changes_no_gradient(make: Callable[[], Any]) -> None:
    model = make()
    state = some_state(model)

    def loss(model: Any, xs: tg.Tensor, state: Any) -> tg.Tensor:
        return weighted(model(xs, state, LENGTHS))

    expected = tg.grad(loss, (0, 1, 2))(model, tg.tensor(series()), state)
    found = tg.grad(loss, (0, 1, 2))(model, tg.tensor(series(padding=np.nan)), state)
    np.testing.assert_array_equal(flat(found), flat(expected))
    for row, length in enumerate(LENGTHS):
        assert not found[1].numpy()[length:, row].any()
        assert found[1].numpy()[:length, row].all()


@EVERY_CELL
def test_padding_that_holds_nan_reaches_nothing_in_any_cell(name: str) -> None:
    layer = rnn(name)
    state = some_state(layer)
    run = tg.value_and_grad(lambda layer, xs, state: weighted(layer(xs, state, LENGTHS)), (0, 1, 2))
    expected = run(layer, tg.tensor(series()), state)
    found = run(layer, tg.tensor(series(padding=np.nan)), state)
    np.testing.assert_array_equal(flat(found), flat(expected))


@EVERY_CELL
def test_gradients_with_lengths_agree_with_central_differences(name: str) -> None:
    model = zoo.Stacked([zoo.Bidirectional(cell(name), cell(name, seed=1)), cell(name, 2 * H, seed=2)])
    primals = (model, tg.tensor(series()), some_state(model))

    def loss(model: Any, xs: tg.Tensor, state: Any) -> tg.Tensor:
        return weighted(model(xs, state, LENGTHS))

    _, xs, state = primals
    random = np.random.default_rng(3)
    tangents = tg.tree.map(lambda p: tg.tensor(random.normal(size=p.shape)), primals)
    found = sum(flat(g) @ flat(t) for g, t in zip(tg.grad(loss, (0, 1, 2))(*primals), tangents, strict=True))

    def moved(by: float) -> float:
        other = copy.deepcopy(model)
        for p, t in zip(other.parameters(), tg.tree.leaves(tangents[0]), strict=True):
            p.data = p.data + by * t.data
        shifted = [tg.tree.map(lambda a, t: a + by * t, a, t) for a, t in ((xs, tangents[1]), (state, tangents[2]))]
        return loss(other, *shifted).item()

    near, far = moved(1e-5) - moved(-1e-5), moved(2e-5) - moved(-2e-5)
    assert found == pytest.approx((8 * near - far) / 12e-5, rel=1e-6)  # of fourth order: some cells are very curved
    assert tg.jvp(loss, primals, tangents)[1].item() == pytest.approx(found, rel=1e-10)


def test_a_row_of_length_zero_keeps_its_state() -> None:
    layer = rnn("LSTM")
    state = some_state(layer)
    ys, last = layer(tg.tensor(series()), state, [T, 0, T])
    assert not ys[:, 1].numpy().any()
    for after, before in zip(last, state, strict=True):
        np.testing.assert_array_equal(after[1].numpy(), before[1].numpy())


# The initial state


def test_a_learned_initial_state_begins_at_zero_and_gets_the_gradient_of_all_rows() -> None:
    layer = rnn("LSTM", initial="trainable").astype("float64")
    own = {"cell/input/weight", "cell/input/bias", "cell/U"}
    assert set(layer.parameters_by_path()) == own | {"initial/h", "initial/c"}
    xs = tg.tensor(series())
    close(layer(xs), rnn("LSTM")(xs))
    gradients = tg.grad(lambda layer: weighted(layer(xs)))(layer)
    by_row = tg.grad(lambda state: weighted(layer(xs, state)))(layer.init_state(B, dtype="float64"))
    for part in layer.cell.State._fields:
        of_all_rows = getattr(by_row, part).numpy().sum(0)
        np.testing.assert_allclose(gradients[f"initial/{part}"].numpy(), of_all_rows, atol=1e-13)


# On top of each other, and in both directions


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
def test_stacked_runs_each_layer_on_what_the_one_below_gives(lengths: list[int] | None) -> None:
    low, high = rnn("LSTM"), zoo.RNN(cell("GRU", H))
    ys, state = zoo.Stacked([low, high])(tg.tensor(series()), lengths=lengths)
    between, low_state = low(tg.tensor(series()), lengths=lengths)
    expected, high_state = high(between, lengths=lengths)
    close((ys, state), (expected, (low_state, high_state)))


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
def test_bidirectional_joins_a_forward_and_a_reverse_run(lengths: list[int] | None) -> None:
    forward, reverse = rnn("LSTM"), rnn("GRU", reverse=True)
    ys, state = zoo.Bidirectional(forward, reverse)(tg.tensor(series()), lengths=lengths)
    a, a_state = forward(tg.tensor(series()), lengths=lengths)
    b, b_state = reverse(tg.tensor(series()), lengths=lengths)
    close(ys, tg.concatenate([a, b], -1))
    close(state, (a_state, b_state))


@EVERY_MODEL
def test_states_mirror_the_structure_and_fit_where_they_came_from(make: Callable[[], Any]) -> None:
    model = make()
    initial = model.init_state(B, dtype="float64")
    ys, state = model(tg.tensor(series()))
    assert repr(tg.tree.flatten(state)[1]) == repr(tg.tree.flatten(initial)[1])
    assert ys.shape == (T, B, model.output_size)
    close(model(tg.tensor(series()), initial), (ys, state))


@EVERY_MODEL
def test_models_survive_copying_and_pickling(make: Callable[[], Any]) -> None:
    model = make()
    expected = model(tg.tensor(series()))
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        close(twin(tg.tensor(series())), expected)
        assert list(twin.parameters_by_path()) == list(model.parameters_by_path())
        assert not {id(p) for p in twin.parameters()} & {id(p) for p in model.parameters()}


@EVERY_MODEL
def test_models_run_on_every_device(make: Callable[[], Any], device: str) -> None:
    model, there = make(), make().to(device)
    loss, gradients = tg.value_and_grad(lambda m: weighted(m(tg.tensor(series(padding=np.nan)), None, LENGTHS)))(model)
    found, theirs = tg.value_and_grad(
        lambda m: sum(
            (leaf * tg.tensor(np.cos(np.arange(leaf.size).reshape(leaf.shape) + 1), device=device)).sum()
            for leaf in tg.tree.leaves(m(tg.tensor(series(padding=np.nan), device=device), None, LENGTHS))
        )
    )(there)
    close((found, theirs), (loss, gradients), 1e-12)


# Dropout


def dropping(p: float = 0.5, seed: int = 0) -> zoo.Stacked:
    return zoo.Stacked([cell("LSTM"), cell("LSTM", H, 1), cell("LSTM", H, 2)], dropout=p, rng=tg.random.Generator(seed))


def test_dropout_acts_between_layers_and_never_along_time() -> None:
    model, still = dropping(), dropping().eval()
    xs = tg.tensor(series())
    (ys, dropped), (_, plain) = model(xs), still(xs)
    close(dropped[0], plain[0])  # the lowest layer and its whole past know nothing of it
    assert np.abs(dropped[1].h.numpy() - plain[1].h.numpy()).max() > 1e-3
    assert (ys.numpy() != 0).all()  # nor is anything dropped above the highest


def test_dropout_multiplies_what_goes_up_by_a_mask_of_zeros_and_inverse_probabilities() -> None:
    model = zoo.Stacked([cell("LSTM"), cell("LSTM", H, 1)], dropout=0.25)
    seen: list[np.ndarray] = []
    low, high = model.layers
    between = low(tg.tensor(series()))[0].numpy()
    run = high.forward
    high.forward = lambda xs, *args, **kwargs: (seen.append(xs.numpy()), run(xs, *args, **kwargs))[1]
    for _ in range(200):
        model(tg.tensor(series()))
    masks = np.array(seen) / between
    np.testing.assert_allclose(np.unique(masks.round(12)), [0, 1 / 0.75], rtol=1e-9)
    assert masks.mean() == pytest.approx(1, abs=0.02)
    assert (masks[0] != masks[1]).any() and (masks[:, 0] != masks[:, 1]).any()  # anew at every call and every step


def test_equal_seeds_drop_the_same_and_evaluation_drops_nothing() -> None:
    xs = tg.tensor(series())
    close(dropping(seed=3)(xs), dropping(seed=3)(xs), 0)
    assert (flat(dropping(seed=3)(xs)) != flat(dropping(seed=4)(xs))).any()
    close(dropping().eval()(xs), dropping(0.0)(xs), 0)


# The tags that pictures and errors read


def test_every_node_of_a_run_knows_its_time_layer_direction_and_cell() -> None:
    top = zoo.RNN(cell("ElmanRNN", 2 * H), compile=False)
    model = zoo.Stacked([bidirectional(compile=False), bidirectional(2 * H, compile=False), top])
    ys, _ = model(tg.tensor(series(), requires_grad=True))
    found = set()
    for node in tg.Graph(ys).nodes:
        tags = {kind: node.scope and node.scope.find(kind) for kind in ("time", "layer", "direction", "cell")}
        if tags["time"] is not None:
            direction = tags["direction"] and tags["direction"].name
            found.add((tags["time"].index, tags["layer"].index, direction, tags["cell"].name))
    per_step = {(0, "forward", "LSTM"), (0, "reverse", "GRU"), (1, "forward", "LSTM"), (1, "reverse", "GRU")}
    assert found == {(t, *tags) for t in range(T) for tags in per_step | {(2, None, "ElmanRNN")}}


# Bad input


def given(state: Callable[[Any], Any], kind: str = "RNN") -> Callable[[], Any]:
    """A run from a changed initial state."""

    def run() -> Any:
        model = MODELS[kind]()
        return model(tg.tensor(series()), state(model.init_state(B, dtype="float64")))

    return run


def read(*shape: int, **options: Any) -> Callable[[], Any]:
    """A run over a sequence of ones."""
    return lambda: rnn("GRU")(tg.ones(shape, dtype="float64"), **options)


def single(state: Any) -> Any:
    return tg.tree.map(lambda s: s.astype("float32"), state)


@pytest.mark.parametrize(
    "run, error, message",
    [
        (read(T, I), ValueError, r"GRU: xs has shape \(6, 4\), not \(T, B, 4\); .*expand_dims"),
        (read(I), ValueError, r"GRU: xs has shape \(4,\), not \(T, B, 4\)"),
        (read(T, B, 7), ValueError, r"GRU: xs has shape \(6, 3, 7\), not \(T, B, 4\); .* takes 4"),
        (read(0, B, I), ValueError, "the sequence has no steps"),
        (read(T, B, I, lengths=[6, 2]), ValueError, r"lengths \[6, 2\] are not 3 integers"),
        (read(T, B, I, lengths=[6, 7, 1]), ValueError, r"\[6, 7, 1\] do not lie in 0 … 6"),
        (read(T, B, I, lengths=[6, -1, 1]), ValueError, r"do not lie in 0 … 6"),
        (read(T, B, I, lengths=[6.0, 2.0, 1.0]), ValueError, "are not 3 integers"),
        (lambda: rnn("GRU").step(tg.ones((T, B, I))), ValueError, r"GRU: x has shape \(6, 3, 4\), not \(B, 4\)"),
        (lambda: rnn("GRU")(tg.ones((T, B, I))), TypeError, "GRU: xs is float32 and the parameters are float64; "),
        (lambda: rnn("GRU")(np.ones((T, B, I), int)), TypeError, "GRU: xs is int64, .* tg.one_hot or tg.nn.Embedding"),
        (lambda: MODELS["Stacked"]()(tg.ones((T, B, 7))), ValueError, r"layers/0/LSTM: xs has shape \(6, 3, 7\)"),
        (given(tuple), ValueError, r"LSTM: the state is built as \(\*, \*\), not as State\(h=\*, c=\*\); begin with"),
        (given(lambda s: s.h), ValueError, r"LSTM: the state is built as \*, not as State"),
        (given(lambda s: s._replace(c=s.c[:2])), ValueError, r"LSTM: the state holds \[\(3, 5\), \(2, 5\)\], not"),
        (given(single), TypeError, "LSTM: the state is float32, the input float64"),
        (given(lambda s: s[:1], "Stacked"), ValueError, "Stacked: the state is no tuple of 2 entries"),
        (given(lambda s: s[::-1], "Stacked"), ValueError, r"layers/0/LSTM: the state is built as State\(h=\*\)"),
        (given(tuple, "Bidirectional"), ValueError, r"Bidirectional: .* not as State\(forward, reverse\)"),
        (lambda: rnn("GRU", reverse=True).step(tg.ones((B, I))), ValueError, "reverse/GRU: .* begins at its end"),
        (lambda: bidirectional().step(tg.ones((B, I))), TypeError, "the reverse RNN begins at its end"),
        (lambda: rnn("GRU", initial="random"), ValueError, "initial='random' is not one of zeros, trainable"),
        (lambda: zoo.RNN(zoo.LSTM), TypeError, "RNN takes a cell, such as"),
        (lambda: zoo.Stacked([]), ValueError, "there are no layers"),
        (lambda: zoo.Stacked([cell("GRU"), cell("GRU")]), ValueError, "layer 0 gives out 5 features, layer 1 takes 4"),
        (lambda: zoo.Stacked([cell("GRU")], dropout=1.5), ValueError, "Dropout: p=1.5"),
        (lambda: zoo.Bidirectional(cell("GRU"), rnn("GRU")), ValueError, r"reverse takes .*RNN\(cell, reverse=True\)"),
        (lambda: zoo.Bidirectional(cell("GRU"), cell("GRU", 9)), ValueError, "different numbers of them: .*4.*9"),
    ],
)
def test_bad_input_gets_one_clear_error(run: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        run()
