"""KF-RTRL: the paper's update written down by hand, exact on average over all signs, and who is refused."""

import numpy as np
import pytest

import tinygrad_rnn as tg
import zoo
from tests.tinygrad_rnn.bptt.online_problems import Signs, difference, flat, mean_over_all_signs, parts, problem
from tinygrad_rnn.bptt import Problem, gradient, strategy

CELLS = {"ElmanRNN": 1, "GRU": 3, "GRUResetAfter": 3, "MinGRU": 1, "LSTM": 1, "MLSTM": 1, "MGU": 3, "CoRNN": 1}


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize(("cell", "groups"), CELLS.items())
def test_the_mean_over_all_signs_is_the_gradient(cell, groups, batch):
    p = problem(cell, hidden=3 if batch == 1 else 1, batch=batch, steps=3)
    expected = flat(gradient(p).gradients)
    mean = mean_over_all_signs(p, "kf-rtrl", groups * batch, groups * batch)  # the first step has no past: no sign
    np.testing.assert_allclose(mean, expected, rtol=0, atol=1e-13 * np.abs(expected).max())
    single = flat(gradient(p, "kf-rtrl").gradients)
    assert np.abs(single - expected).max() > 1e-5 * np.abs(expected).max()


def test_of_a_plain_net_it_is_the_update_of_the_paper():
    p = problem("ElmanRNN", hidden=4, inputs=3, steps=6)
    cell, head = p.parameters.cell, p.parameters.head
    W = np.concatenate([cell.input.weight.numpy(), cell.input.bias.numpy()[None], cell.U.numpy()])
    U, V, bias = cell.U.numpy(), head.weight.numpy(), head.bias.numpy()
    draws = np.random.default_rng(5).integers(0, 2, 5)
    h, u, A, learned = np.zeros(4), None, None, 0.0
    for t, (x, label) in enumerate(zip(p.xs[0].numpy(), p.xs[1].numpy(), strict=True)):
        hat = np.concatenate([x[0], [1.0], h])
        h = np.tanh(hat @ W)
        D = np.diag(1 - h**2)
        J = D @ U.T
        if u is not None:  # of this step's loss: through the state before it, and at once
            e = np.exp(h @ V + bias)
            signal = V @ (e / e.sum() - np.eye(2)[label[0]])
            learned = learned + np.outer(u, signal @ J @ A) + np.outer(hat, signal @ D)
            JA, s = J @ A, 2 * draws[t - 1] - 1
            p1 = np.sqrt(np.linalg.norm(JA) / np.linalg.norm(u))
            p2 = np.sqrt(np.linalg.norm(D) / np.linalg.norm(hat))
            u, A = p1 * u + s * p2 * hat, JA / p1 + s * D / p2
        else:
            e = np.exp(h @ V + bias)
            learned = learned + np.outer(hat, (V @ (e / e.sum() - np.eye(2)[label[0]])) @ D)
            u, A = hat, D
    found = gradient(p, "kf-rtrl", rng=Signs(draws))
    both = [found.gradients[k].numpy().reshape(-1, 4) for k in ("cell/input/weight", "cell/input/bias", "cell/U")]
    np.testing.assert_allclose(np.concatenate(both), learned, rtol=0, atol=1e-14)
    ((_, u_found, A_found),) = found.memory
    np.testing.assert_allclose(np.einsum("m,nr->nmr", u_found[0], A_found[0]), np.einsum("m,nr->nmr", u, A), atol=1e-13)


@pytest.mark.parametrize("cell", CELLS)
def test_two_steps_need_no_luck(cell):
    p = problem(cell, hidden=3, batch=2, steps=2)
    assert difference(gradient(p, "kf-rtrl").gradients, gradient(p).gradients) < 1e-12


def test_it_scatters_less_than_a_single_product_of_vectors_does():
    p = problem("ElmanRNN", hidden=8, steps=10)
    exact = flat(gradient(p).gradients)

    def scatter(way):
        estimates = [flat(gradient(p, way, rng=tg.random.Generator(seed)).gradients) for seed in range(30)]
        return np.mean([np.sum((e - exact) ** 2) for e in estimates])

    assert scatter("kf-rtrl") < 0.7 * scatter("uoro")


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("IndRNN", r"cell/u \(3,\) enters through `mul` at t=0/cell/IndRNN"),
        ("PeepholeLSTM", r"cell/p_i \(3,\) enters through `mul`"),
        ("LayerNormLSTM", r"cell/norm_x/weight \(12,\) enters through `mul`"),
        ("FastWeights", r"cell/norm/weight \(3,\) enters through `mul` at .* and `mul` at"),
    ],
)
def test_a_parameter_that_is_no_matrix_of_a_product_is_refused_before_starting(cell, message):
    with pytest.raises(ValueError, match=f"kf-rtrl: parameter {message}.*use uoro or snap:1"):
        strategy("kf-rtrl").check(problem(cell, hidden=3))


def test_every_cell_is_either_done_or_refused():
    done = set()
    for cell in zoo.names():
        try:
            strategy("kf-rtrl").check(problem(cell, hidden=3, batch=2))
            done.add(cell)
        except ValueError as error:
            assert "enters through" in str(error)
    assert done == set(CELLS)


def small(step, parameters, *, batch=None, n=3, steps=3):
    rng = np.random.default_rng(0)
    shape = (n,) if batch is None else (batch, n)
    given = {name: tg.tensor(rng.standard_normal(size), requires_grad=True) for name, size in parameters.items()}
    return Problem(given, step, tg.zeros(shape, dtype="float64"), tg.tensor(rng.standard_normal((steps, *shape))))


def test_matrices_may_stand_on_the_left_of_a_vector():
    def step(p, h, x):
        h = tg.tanh(p["W"] @ h + x + p["b"])
        return h, (h * h).sum()

    p = small(step, {"W": (3, 3), "b": (3,)})
    expected = flat(gradient(p).gradients)
    np.testing.assert_allclose(mean_over_all_signs(p, "kf-rtrl", 1, 1), expected, atol=1e-13 * np.abs(expected).max())


def test_a_table_read_by_index_is_a_matrix_too():
    def step(p, h, x):
        h = tg.tanh(h @ p["W"] + tg.embedding(p["E"], x))
        return h, (h * h).sum()

    p = small(step, {"W": (3, 3), "E": (4, 3)}, batch=2)
    p = Problem(p.parameters, step, p.carry, tg.tensor([[0, 3], [3, 3], [1, 0]]))
    mean, expected = mean_over_all_signs(p, "kf-rtrl", 2, 2), flat(gradient(p).gradients)
    np.testing.assert_allclose(mean, expected, atol=1e-13 * np.abs(expected).max())


def test_rows_of_a_batch_that_hear_each_other_are_refused():
    def step(p, h, x):
        h = tg.tanh(h @ p["W"] + x)
        return h - h.mean(0), (h * h).sum()

    with pytest.raises(ValueError, match="rows of the batch hear each other"):
        gradient(small(step, {"W": (3, 3)}, batch=2), "kf-rtrl")


def test_a_matrix_used_twice_is_refused():
    def step(p, h, x):
        return tg.tanh(h @ p["W"] + x @ p["W"]), h.sum()

    with pytest.raises(ValueError, match="enters through `matmul` at t=0 and `matmul` at t=0"):
        gradient(small(step, {"W": (3, 3)}, batch=1), "kf-rtrl")


def test_a_matrix_that_reads_the_state_for_the_loss_alone_is_no_part_of_it():
    def step(p, h, x):
        return tg.tanh(h @ p["W"] + x), (tg.tanh(h * p["v"]) @ p["V"]).sum()

    p = small(step, {"W": (3, 3), "V": (3, 2), "v": (3,)}, batch=1)
    mean, expected = mean_over_all_signs(p, "kf-rtrl", 1, 1), flat(gradient(p).gradients)
    np.testing.assert_allclose(mean, expected, atol=1e-13 * np.abs(expected).max())


def test_two_runs_after_another_are_one_long_run():
    p = problem("GRU", hidden=3, steps=7, batch=2)
    first, second = parts(p, 3)
    rng = tg.random.Generator(4)
    a = gradient(first(p.carry), "kf-rtrl", rng=rng)
    b = gradient(second(a.carry), "kf-rtrl", memory=a.memory, rng=rng)
    whole = flat(gradient(p, "kf-rtrl", rng=tg.random.Generator(4)).gradients)
    np.testing.assert_allclose(flat(a.gradients) + flat(b.gradients), whole, rtol=0, atol=1e-13 * np.abs(whole).max())
