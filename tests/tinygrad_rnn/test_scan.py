"""scan: a step along time, with lengths, in both directions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg

RNG = np.random.default_rng(0)
T, B, D, H = 6, 4, 3, 5
U, W = RNG.standard_normal((D, H)), RNG.standard_normal((H, H)) / 2
XS = RNG.standard_normal((T, B, D))


def step(h, x, U=U, W=W):
    h = tg.tanh(x @ U + h @ W)
    return h, h * 2


def by_hand(xs, h):
    ys = []
    for x in xs:
        h = np.tanh(x @ U + h @ W)
        ys.append(2 * h)
    return h, np.array(ys)


def test_scan_is_the_loop(device):
    parameters = [tg.tensor(v, device=device) for v in (U, W)]
    init, xs = tg.tensor(np.zeros((B, H)), device=device), tg.tensor(XS, device=device)
    h, ys = tg.scan(lambda h, x: step(h, x, *parameters), init, xs)
    expected_h, expected_ys = by_hand(XS, np.zeros((B, H)))
    np.testing.assert_allclose(h.numpy(), expected_h, rtol=1e-13)
    np.testing.assert_allclose(ys.numpy(), expected_ys, rtol=1e-13)


@given(st.lists(st.integers(0, T), min_size=B, max_size=B), st.booleans())
def test_padding_that_holds_nan_changes_nothing_for_any_lengths(lengths, reverse):
    padded = XS.copy()
    for row, n in enumerate(lengths):
        padded[n:, row] = np.nan

    def loss(xs, h0, U, W):
        h, ys = tg.scan(lambda h, x: step(h, x, U, W), h0, xs, lengths=lengths, reverse=reverse)
        return (h * h).sum() + tg.sin(ys).sum(), (h, ys)

    h0 = RNG.standard_normal((B, H))
    (_, (h, ys)), grads = tg.value_and_grad(loss, (0, 1, 2, 3), has_aux=True)(padded, h0, U, W)
    total = [np.zeros_like(U), np.zeros_like(W)]
    for row, n in enumerate(lengths):
        assert (ys.numpy()[n:, row] == 0).all() and (grads[0].numpy()[n:, row] == 0).all()
        if n == 0:
            np.testing.assert_array_equal(h.numpy()[row], h0[row])
            continue
        alone = XS[:n, row : row + 1]

        def one(xs, h0, U, W):
            h, ys = tg.scan(lambda h, x: step(h, x, U, W), h0, xs, reverse=reverse)
            return (h * h).sum() + tg.sin(ys).sum(), (h, ys)

        (_, (h1, y1)), g1 = tg.value_and_grad(one, (0, 1, 2, 3), has_aux=True)(alone, h0[row : row + 1], U, W)
        np.testing.assert_allclose(h.numpy()[row], h1.numpy()[0], rtol=1e-12)
        np.testing.assert_allclose(ys.numpy()[:n, row], y1.numpy()[:, 0], rtol=1e-12)
        np.testing.assert_allclose(grads[0].numpy()[:n, row], g1[0].numpy()[:, 0], rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(grads[1].numpy()[row], g1[1].numpy()[0], rtol=1e-11, atol=1e-13)
        total[0] += g1[2].numpy()
        total[1] += g1[3].numpy()
    np.testing.assert_allclose(grads[2].numpy(), total[0], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(grads[3].numpy(), total[1], rtol=1e-10, atol=1e-12)


def test_reverse_runs_backwards_and_keeps_every_output_at_its_step():
    h, ys = tg.scan(step, tg.tensor(np.zeros((B, H))), XS, reverse=True)
    expected_h, expected_ys = by_hand(XS[::-1], np.zeros((B, H)))
    np.testing.assert_allclose(h.numpy(), expected_h)
    np.testing.assert_allclose(ys.numpy(), expected_ys[::-1])


def test_carries_inputs_and_outputs_are_containers():
    carry, ys = tg.scan(
        lambda c, x: ({"n": c["n"] + 1, "s": c["s"] + x["a"] * x["b"]}, (c["n"], {"s": c["s"]})),
        {"n": tg.tensor(0.0), "s": tg.tensor(0.0)},
        {"a": tg.tensor([1.0, 2.0]), "b": tg.tensor([3.0, 4.0])},
    )
    assert carry["n"].item() == 2 and carry["s"].item() == 11
    assert ys[0].tolist() == [0, 1] and ys[1]["s"].tolist() == [0, 3]


def test_without_xs_the_length_counts_the_steps():
    h, ys = tg.scan(lambda c, _: (c * 2, c), tg.tensor(1.0), None, length=4)
    assert h.item() == 16 and ys.tolist() == [1, 2, 4, 8]


def test_nodes_carry_their_time_step():
    _, ys = tg.scan(step, tg.tensor(np.zeros((B, H)), requires_grad=True), XS, compile=False)
    times = {n.scope.find("time").index for n in tg.Graph(ys).nodes if n.op.name == "tanh"}
    assert times == set(range(T))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lengths": [1, 2]}, r"lengths \[1, 2\] are not 4 integers"),
        ({"lengths": [1, 2, 3, 7]}, r"lengths \[1, 2, 3, 7\] do not lie in 0 … 6"),
        ({"lengths": [1.0, 2.0, 3.0, 4.0]}, "are not 4 integers"),
        ({"length": 5}, r"shapes \[\(6, 4, 3\)\] and length=5 do not agree"),
        ({"compile": "fast"}, "compile='fast' is not one of"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        tg.scan(step, tg.tensor(np.zeros((B, H))), XS, **options)


@pytest.mark.parametrize("xs", [None, np.zeros(3)])
def test_lengths_need_a_batch_to_count_along(xs):
    with pytest.raises(ValueError, match=r"lengths need xs with a batch axis, \(T, B, …\)"):
        tg.scan(lambda c, x: (c, c), tg.tensor(0.0), xs, length=3, lengths=[3])


def test_a_sequence_without_steps_and_a_carry_that_changes_its_structure_are_refused():
    with pytest.raises(ValueError, match="no steps"):
        tg.scan(step, tg.tensor(np.zeros((B, H))), XS[:0])
    with pytest.raises(ValueError, match=r"scan at t=0: the step returned a carry built as \(\*, \*\)"):
        tg.scan(lambda c, x: ((c, c), c), tg.tensor(np.zeros((B, H))), XS)


@pytest.mark.parametrize(
    ("step", "what"),
    [(lambda c, x: c + x, "a Tensor alone"), (lambda c, x: (c, x, x), "3 values"), (print, "a NoneType alone")],
)
def test_a_step_that_returns_no_pair_is_refused(step, what):
    with pytest.raises(TypeError, match=rf"scan at t=0: the step returned {what}; it returns a pair, \(carry, y\)"):
        tg.scan(step, tg.ones((2, 3)), tg.ones((4, 2, 3)))


def test_a_carry_that_loses_a_part_is_refused():
    with pytest.raises(ValueError, match=r"t=0: .* a carry built as \(\*,\), but was given \(\*, \*\)"):
        tg.scan(lambda c, x: ((c[0],), x), (tg.tensor(1.0), tg.tensor(1.0)), tg.tensor([1.0, 2.0]))


def test_outputs_may_be_constants():
    ys = tg.scan(lambda c, x: (c + x, (1.0, np.zeros(2))), tg.tensor(1.0), tg.tensor([1.0, 2.0, 3.0]))[1]
    assert ys[0].tolist() == [1, 1, 1] and ys[0].dtype == np.float32 and ys[1].shape == (3, 2)


@pytest.mark.parametrize("init", [0, 0.0])
def test_a_number_to_begin_with_takes_the_dtype_of_what_follows(init, device):
    _, ys = tg.scan(lambda c, x: (c + x, c), init, tg.ones(3, device=device))
    assert ys.tolist() == [0, 1, 2] and ys.dtype == np.float32 and ys.device == device


def test_a_batch_without_rows_has_no_lengths_to_refuse():
    _, ys = tg.scan(lambda c, x: (c, x), 0.0, tg.ones((3, 0)), lengths=np.zeros(0, int))
    assert ys.shape == (3, 0)


def test_outputs_that_change_their_structure_are_refused():
    keys = iter("aab")
    with pytest.raises(ValueError, match=r"t=2: .* an output built as {'b': \*}, but at t=0 as {'a': \*}"):
        tg.scan(lambda c, x: (c, {next(keys): x}), tg.tensor(1.0), tg.tensor([1.0, 2.0, 3.0]))
    with pytest.raises(ValueError, match=r"xs of shapes \[\(\), \(\)\] and length=None"):
        tg.scan(lambda c, x: (c, x), tg.tensor(1.0), [1.0, 2.0])


def test_with_lengths_a_carry_may_begin_as_a_number():
    carry, ys = tg.scan(lambda c, x: (c + x, x), 0.0, tg.ones((3, 2)), lengths=[0, 3])
    assert carry.tolist() == [0, 3] and ys.tolist() == [[0, 1], [0, 1], [0, 1]]
