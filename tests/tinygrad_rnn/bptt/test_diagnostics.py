"""Where a gradient comes from: what the diagnostics say adds up to it, and linear nets have the spectra they must."""

import numpy as np
import pytest

import tinygrad_rnn as tg
import zoo
from tests.tinygrad_rnn.bptt.online_problems import flat, problem
from tinygrad_rnn.backend import device_of, to_host
from tinygrad_rnn.bptt import (
    Problem,
    activations,
    gradient,
    jacobian_products,
    jacobians,
    lag_matrix,
    lyapunov_exponents,
    message_norms,
    messages,
    parameter_names,
    saturation,
    singular_values,
)
from tinygrad_rnn.bptt.diagnostics import linearised, local_errors
from tinygrad_rnn.bptt.linearised import Linearised
from zoo.topology.examples import TOPOLOGIES, example

T = 6
EVERY_CELL = pytest.mark.parametrize("cell", zoo.names())


def linear(matrix, steps, **inputs):
    """s_t = s_{t−1} W + x_t with the loss Σ s_t, in float64."""
    n = len(matrix)
    xs = tg.tensor(np.random.default_rng(1).standard_normal((steps, 1, n)))

    def step(w, s, x):
        s = s @ w + x
        return s, s.sum()

    w = tg.tensor(np.asarray(matrix), requires_grad=True)
    return Problem(w, step, tg.zeros((1, n), dtype="float64"), xs)


def orthogonal(n, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))[0]


def close(a, b, tolerance=1e-12):
    return np.abs(a - b).max() <= tolerance * np.abs(b).max()


@EVERY_CELL
def test_the_lag_matrix_adds_up_to_the_gradient_and_its_rows_to_that_of_each_loss(cell):
    whole = problem(cell, steps=T, hidden=4, batch=2)
    found = lag_matrix(whole, arrays=True)
    assert found.axes == ("t", "tau", "theta0") and found.array.shape[:2] == (T, T)
    assert close(found.array.sum((0, 1)), flat(gradient(whole).gradients))
    for t in range(T):
        alone = Problem(
            whole.parameters,
            lambda p, z, x, t=t: (z := whole.step(p, z, (x[0], x[1])))[:1] + (z[1] if x[2].item() == t else None,),
            whole.carry,
            (*whole.xs, tg.tensor(np.arange(T))),
        )
        assert close(found.array[t].sum(0), flat(gradient(alone).gradients))


@EVERY_CELL
def test_no_loss_depends_on_later_uses(cell):
    lags = lag_matrix(problem(cell, steps=T)).array
    assert not np.triu(lags, 1).any() and np.diagonal(lags).any()


def test_the_lag_matrix_of_one_parameter_is_its_part_of_that_of_all():
    whole = problem("LSTM", steps=T, hidden=3)
    names = parameter_names(whole.parameters)
    assert names == [name for name, _ in whole.parameters.named_parameters()]
    together = lag_matrix(whole, arrays=True).array
    alone = [lag_matrix(whole, name, arrays=True) for name in names]
    assert alone[names.index("cell/U")].axes == ("t", "tau", "theta0", "theta1")
    assert alone[names.index("cell/U")].array.shape == (T, T, 3, 12)
    assert np.array_equal(np.concatenate([a.array.reshape(T, T, -1) for a in alone], axis=2), together)
    for name, each in zip(names, alone):
        squares = (each.array**2).reshape(T, T, -1).sum(2)
        assert np.allclose(lag_matrix(whole, name).array, np.sqrt(squares), rtol=1e-12, atol=0)


def test_chunks_lose_exactly_the_lags_that_reach_over_a_cut():
    whole = problem("LSTM", steps=T, hidden=3)
    lags = lag_matrix(whole, arrays=True).array
    chunk = np.arange(T) // 2
    lost = lags[chunk[:, None] != chunk[None, :]].sum(0)
    full, cut = (flat(gradient(whole, way).gradients) for way in ("full", "chunks:2"))
    assert np.abs(lost).max() > 0.01 * np.abs(full).max()
    assert close(full - cut, lost)


@EVERY_CELL
def test_message_norms_are_those_of_the_adjoints(cell):
    whole = problem(cell, steps=T, hidden=4)
    found, adjoints = message_norms(whole), messages(whole).adjoints
    assert found.m.axes == ("t",)
    assert np.allclose(found.m.array, [np.linalg.norm(m) for m in adjoints[1:]], rtol=1e-12, atol=0)


@EVERY_CELL
def test_an_error_that_enters_and_the_message_that_crosses_add_up(cell):
    whole = problem(cell, steps=T, hidden=4)
    found, steps, adjoints = message_norms(whole), list(linearised(whole)), messages(whole).adjoints
    for t, step in enumerate(steps):
        error, past = local_errors(step)
        assert np.isclose(np.linalg.norm(error), found.g.array[t], rtol=1e-12, atol=0)
        assert np.isclose(np.linalg.norm(error + adjoints[t + 1]), found.delta.array[t], rtol=1e-12, atol=0)
        assert close(step.pull_state(error)[1] + past, step.pull_loss()[1])
        assert past.any() == (cell == "SRU")  # what it gives out is gated by its old state


def test_the_error_of_an_lstm_enters_at_h_alone():
    whole = problem("LSTM", steps=1, hidden=3)
    step = next(linearised(whole))
    before = step.pull_loss()
    error, past = local_errors(step)
    x, head = whole.at(0), whole.parameters.head
    h = whole.parameters.cell(x[0], whole.carry)[1].h.numpy()
    expected = tg.grad(lambda h: tg.cross_entropy(head(h), x[1]))(tg.tensor(h)).numpy()
    assert np.allclose(error[:3], expected[0], rtol=1e-14) and not error[3:].any() and not past.any()
    assert all(np.array_equal(a, b) for a, b in zip(before, step.pull_loss()))  # the step is as it was


def test_what_a_step_carries_on_unchanged_gets_its_error_once():
    def step(w, z, x):
        h, context = z
        h = w * h + context
        return (h, context), h * context

    w = tg.tensor(np.array(0.5), requires_grad=True)
    whole = Problem(w, step, (tg.tensor(np.array(2.0)), tg.tensor(np.array(3.0))), [None, None])
    error, past = local_errors(next(linearised(whole)))
    assert error.tolist() == [3.0, 4.0] and past.tolist() == [0.0, 0.0]
    m = messages(whole).adjoints
    assert np.allclose(message_norms(whole).m.array, [np.linalg.norm(each) for each in m[1:]])


def test_messages_through_an_orthogonal_linear_net_keep_their_length_and_shrink_through_a_smaller_one():
    n, steps = 5, 30

    def last_only(matrix):
        xs = [(x, t == steps - 1) for t, x in enumerate(linear(matrix, steps).xs)]

        def step(w, s, x):
            s = s @ w + x[0]
            return s, s.sum() if x[1] else None

        return Problem(tg.tensor(matrix, requires_grad=True), step, tg.zeros((1, n), dtype="float64"), xs)

    for scale in (1.0, 0.9):
        m = message_norms(last_only(scale * orthogonal(n))).m.array[:-1]
        assert np.allclose(np.diff(np.log(m)), -np.log(scale), atol=1e-12)  # along t; it travels against it


def test_norms_are_found_down_to_the_smallest_floats():
    """Their squares are 0 from half as many powers of ten on."""

    def step(w, s, last):
        s = w * s
        return s, s.sum() if last else None

    steps = 17
    w = tg.tensor(np.float32(1e-2), requires_grad=True)
    whole = Problem(w, step, tg.ones(2), [t == steps - 1 for t in range(steps)])
    m = message_norms(whole).m.array[:-1].astype(float)
    assert np.allclose(m, np.sqrt(2) * 1e-2 ** np.arange(steps - 1.0, 0, -1), rtol=1e-5, atol=0) and m[0] < 1e-30
    assert lag_matrix(whole).array[-1].min() > 0


def test_jacobians_of_a_linear_net_are_its_matrix_and_products_its_powers():
    matrix = np.random.default_rng(0).standard_normal((3, 3))
    found = jacobians(linear(matrix, 4))
    assert all(np.allclose(j, matrix.T, atol=1e-15) for j in found)  # of columns: ∂s_t/∂s_{t−1} = Wᵀ
    for s, product in enumerate(jacobian_products(found)):
        assert close(product, np.linalg.matrix_power(matrix.T, 4 - s))


@EVERY_CELL
def test_jacobians_are_those_of_the_linearised_steps_without_the_parts_of_the_parameters(cell):
    whole = problem(cell, steps=3, hidden=4, batch=2)
    for found, step in zip(jacobians(whole), linearised(whole), strict=True):
        assert np.array_equal(found, step.jacobians()[1])
        pushed = [step.push(None, unit)[0] for unit in np.eye(step.before.n)]
        assert np.allclose(found.T, pushed, rtol=1e-12, atol=1e-14)


def test_jacobians_of_a_step_to_or_from_no_numbers_are_empty():
    w = tg.ones(2, requires_grad=True)
    whole = Problem(w, lambda w, z, x: ((w * x, None) if x else (None, None)), None, [1, 0])
    assert [j.shape for j in jacobians(whole)] == [(2, 0), (0, 2)]


def test_jacobians_of_a_wide_net_are_found_by_pullbacks_that_leave_its_parameters_alone(monkeypatch):
    monkeypatch.setattr(Linearised, "pull_state", None)
    found = jacobians(problem("LSTM", steps=2, hidden=32, batch=1))
    assert [j.shape for j in found] == [(64, 64)] * 2


@EVERY_CELL
def test_products_of_jacobians_are_the_jacobian_of_several_steps(cell):
    whole = problem(cell, steps=3, hidden=2)
    leaves, structure = tg.tree.flatten(whole.carry)
    moving = [i for i, z in enumerate(leaves) if z.dtype.kind == "f"]
    sizes = [leaves[i].size for i in moving]

    def last(vector):
        given, start = list(leaves), 0
        for i, size in zip(moving, sizes):
            given[i] = tg.reshape(vector[start : start + size], leaves[i].shape)
            start += size
        carry = tg.tree.unflatten(structure, given)
        for t in range(3):
            carry, _ = whole.one(whole.parameters, carry, t)
        after = tg.tree.leaves(carry)
        return tg.concatenate([tg.reshape(after[i], (-1,)) for i in moving])

    start = tg.tensor(np.concatenate([leaves[i].numpy().reshape(-1) for i in moving]))
    expected = tg.jacobian(last)(start).numpy()
    assert np.abs(jacobian_products(jacobians(whole))[0] - expected).max() <= 1e-12 * max(1, np.abs(expected).max())


def test_singular_values_of_matrices_of_several_sizes_are_filled_up_with_zeros():
    rng = np.random.default_rng(0)
    matrices = [rng.standard_normal(shape) for shape in ((3, 3), (2, 3), (2, 2))]
    found = singular_values(matrices)
    assert found.array.shape == (3, 3) and found.axes == ("t", "i")
    assert np.allclose(found.array[0], np.linalg.svd(matrices[0])[1]) and not found.array[1:, 2:].any()


@pytest.mark.parametrize("scale", [1.0, 0.9])
@pytest.mark.parametrize("count", [None, 2])
def test_all_exponents_of_a_scaled_orthogonal_linear_net_are_the_log_of_the_scale(scale, count):
    found = lyapunov_exponents(linear(scale * orthogonal(4), 20), count)
    assert found.array.shape == (count or 4,) and found.axes == ("i",)
    assert np.allclose(found.array, np.log(scale), rtol=0, atol=1e-12)


def test_exponents_of_a_linear_net_are_the_logs_of_its_eigenvalues_largest_first():
    eigenvalues = np.array([1.5, 0.25, -0.8, 0.5])
    basis = orthogonal(4) + 0.3 * orthogonal(4, seed=1)
    matrix = basis @ np.diag(eigenvalues) @ np.linalg.inv(basis)
    found = lyapunov_exponents(linear(matrix, 120), skip=80).array
    assert np.allclose(found, np.sort(np.log(abs(eigenvalues)))[::-1], rtol=0, atol=1e-12)
    assert np.allclose(lyapunov_exponents(linear(matrix, 120), 2, skip=80).array, found[:2], rtol=0, atol=1e-12)


@pytest.mark.parametrize("cell", ["ElmanRNN", "LSTM", "GRU"])
def test_all_exponents_together_are_the_mean_growth_of_volume_for_any_number_of_steps(cell):
    for steps in (1, 5):
        whole = problem(cell, steps=steps, hidden=3)
        volume = sum(np.linalg.slogdet(j)[1] for j in jacobians(whole)) / steps
        assert np.isclose(lyapunov_exponents(whole).array.sum(), volume, rtol=1e-10)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_exponents_are_the_growth_of_volumes_under_the_product_of_jacobians(count):
    whole = problem("GRU", steps=12, hidden=4)
    frame = np.linalg.qr(tg.random.Generator(3).normal((4, count), dtype="float64").numpy())[0]
    moved = jacobian_products(jacobians(whole))[0] @ frame
    volume = np.linalg.slogdet(moved.T @ moved)[1] / 2
    assert np.isclose(lyapunov_exponents(whole, count, rng=tg.random.Generator(3)).array.sum(), volume / 12, rtol=1e-9)


def test_a_direction_that_is_lost_has_an_exponent_of_minus_infinity():
    found = lyapunov_exponents(linear(np.diag([0.5, 0.0]), 8)).array
    assert found[1] < -4 or np.isneginf(found[1])  # rounding may leave a trace of it
    assert np.isclose(found[0], np.log(0.5), atol=0.5)


def test_what_does_not_fit_is_refused_with_the_numbers():
    whole = linear(orthogonal(3), 4)
    with pytest.raises(ValueError, match="no parameter 'cell/W'; there are cell/input/weight, "):
        lag_matrix(problem("LSTM"), "cell/W")
    with pytest.raises(ValueError, match="count is 4; the state has 3 numbers"):
        lyapunov_exponents(whole, 4)
    with pytest.raises(ValueError, match="skip is 4; the run has 4 steps"):
        lyapunov_exponents(whole, skip=4)
    with pytest.raises(ValueError, match="no steps"):
        message_norms(Problem(whole.parameters, whole.step, whole.carry, []))
    with pytest.raises(ValueError, match=r"4000 × 4000 gradients of shape \(30, 30\): 107.3 GiB"):
        lag_matrix(linear(orthogonal(30), 4000), arrays=True, wrt="")

    def shrinking(w, s, x):
        return (s * w)[:, :-1], None

    with pytest.raises(ValueError, match="step 0 makes 2 numbers of 3"):
        lyapunov_exponents(Problem(tg.tensor(1.0, requires_grad=True), shrinking, tg.ones((1, 3)), [None]))


def test_diagnostics_are_the_same_on_every_device(device):
    def everything(device):
        whole = problem("LSTM", steps=4, hidden=3)
        whole.parameters.to(device)
        moved = tg.tree.map(lambda x: x.to(device), (whole.carry, whole.xs))
        whole = Problem(whole.parameters, whole.step, *moved)
        matrices = jacobians(whole)
        named = [
            *message_norms(whole),
            lag_matrix(whole),
            lag_matrix(whole, "cell/U", arrays=True),
            singular_values(jacobian_products(matrices)),
            lyapunov_exponents(whole, 2),
            *activations(whole).values(),
            *(side for gate in saturation(whole).values() for side in gate),
        ]
        assert all(device_of(each.array) == whole.carry.h.device for each in named)
        return [to_host(array) for array in [*matrices, *(each.array for each in named)]]

    for there, here in zip(everything(device), everything("cpu"), strict=True):
        assert np.allclose(there, here, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_norms_lags_and_products_hold_where_the_carry_grows_and_changes(topology):
    whole = example(topology, "LSTM", hidden=4)
    steps, found = len(whole), messages(whole)
    assert close(lag_matrix(whole, arrays=True).array.sum((0, 1)), flat(gradient(whole).gradients))
    assert np.allclose(message_norms(whole).m.array, [np.linalg.norm(m) for m in found.adjoints[1:]], atol=1e-14)
    for s, product in enumerate(jacobian_products(jacobians(whole))):
        assert product.shape == (len(found.adjoints[steps]), len(found.adjoints[s]))
