"""Every cell of the registry: its equations, its derivatives, its dtypes and devices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import tinygrad_rnn as tg
import zoo
from tests.zoo.cells.equations import EQUATIONS, gates
from tests.zoo.cells.samples import B, H, I, example, filled, flat, numbers

EVERY_CELL = pytest.mark.parametrize("name", zoo.names())

# Recurrent matrices that their papers do not start orthogonal; their own tests are in tests/zoo/cells.
NOT_ORTHOGONAL = {"CoRNN", "FastWeights"}


@EVERY_CELL
def test_a_step_is_what_its_equations_say(name: str) -> None:
    cell = filled(name)
    x, s = example(cell)
    y, after = cell(x, s)
    expected = EQUATIONS[name](cell, x.numpy(), *(part.numpy() for part in s))
    assert after._fields == cell.State._fields
    for found, value in zip((y, *after), expected, strict=True):
        np.testing.assert_allclose(found.numpy(), value, rtol=0, atol=1e-14)


# Derivatives, along random directions: the numbers that gradients, states and parameters move by.


def like(tree: Any, seed: int) -> Any:
    random = numbers(seed)
    return tg.tree.map(lambda leaf: tg.tensor(random.normal(size=leaf.shape)), tree)


def moved(f: Callable[..., Any], primals: tuple, tangents: tuple, by: float) -> np.ndarray:
    """f with every parameter, input and state moved along its tangent."""
    cell, *inputs = primals
    own = cell.parameters()
    before = [p.data for p in own]
    for p, t in zip(own, tg.tree.leaves(tangents[0]), strict=True):
        p.data = p.data + by * t.data
    try:
        shifted = [tg.tree.map(lambda a, t: a + by * t, a, t) for a, t in zip(inputs, tangents[1:], strict=True)]
        return flat(f(cell, *shifted))
    finally:
        for p, data in zip(own, before, strict=True):
            p.data = data


def by_differences(f: Callable[..., Any], primals: tuple, tangents: tuple, eps: float = 1e-5) -> np.ndarray:
    return (moved(f, primals, tangents, eps) - moved(f, primals, tangents, -eps)) / (2 * eps)


def two_steps(cell: zoo.Cell, x: tg.Tensor, s: Any) -> Any:
    y, s = cell(x, s)
    return y, *cell(x * x, s)


@EVERY_CELL
def test_jvp_and_vjp_agree_with_central_differences_and_with_each_other(name: str) -> None:
    cell = filled(name)
    primals = (cell, *example(cell))
    tangents = tuple(like(p, seed) for seed, p in enumerate(primals, 20))
    out, tangent = tg.jvp(two_steps, primals, tangents)
    expected = by_differences(two_steps, primals, tangents)
    assert np.abs(flat(tangent) - expected).max() <= 1e-6 * np.abs(expected).max()

    cotangent = like(out, 30)
    _, pullback = tg.vjp(two_steps, *primals)
    forward = flat(cotangent) @ flat(tangent)
    reverse = sum(flat(g) @ flat(t) for g, t in zip(pullback(cotangent), tangents, strict=True))
    assert abs(forward - reverse) <= 1e-10 * abs(forward)


@EVERY_CELL
def test_hessian_vector_products_agree_with_central_differences_of_the_gradient(name: str) -> None:
    cell = filled(name)

    def loss(*args: Any) -> tg.Tensor:
        return sum((leaf * leaf * leaf).sum() for leaf in tg.tree.leaves(two_steps(*args)))

    primals = (cell, *example(cell))
    tangents = tuple(like(p, seed) for seed, p in enumerate(primals, 40))
    expected = by_differences(tg.grad(loss, (0, 1, 2)), primals, tangents)
    found = flat(tg.hvp(loss, primals, tangents))
    assert np.abs(found - expected).max() <= 1e-6 * np.abs(expected).max()


@EVERY_CELL
def test_every_parameter_matters(name: str) -> None:
    cell = zoo.get(name)(I, H)
    ys, _ = zoo.RNN(cell)(tg.random.Generator(0).normal((4, B, I)))
    (ys * ys).sum().backward()
    for path, p in cell.named_parameters():
        assert (p.grad.numpy() != 0).all(), f"{path} has entries without a gradient"


@EVERY_CELL
def test_rows_of_a_batch_do_not_see_each_other(name: str) -> None:
    cell = filled(name)
    x, s = example(cell)
    together = cell(x, s)
    for row in range(B):
        alone = cell(x[row : row + 1], tg.tree.map(lambda part, row=row: part[row : row + 1], s))
        expected = tg.tree.map(lambda part, row=row: part[row : row + 1], together)
        np.testing.assert_allclose(flat(alone), flat(expected), rtol=0, atol=1e-14)


@EVERY_CELL
def test_float32_stays_float32_and_close_to_float64(name: str) -> None:
    exact, single = filled(name), filled(name).astype("float32")
    x, s = example(exact)
    wanted, found = [], []
    for cell, dtype, results in ((exact, "float64", wanted), (single, "float32", found)):
        x_d, s_d = tg.tree.map(lambda t, d=dtype: tg.tensor(t.numpy().astype(d)), (x, s))
        out = two_steps(cell, x_d, s_d)
        gradients = tg.grad(lambda *args: (two_steps(*args)[1] ** 2).sum(), (0, 1, 2))(cell, x_d, s_d)
        results += tg.tree.leaves((out, gradients))
    assert {t.dtype.name for t in found} == {"float32"}
    for a, b in zip(wanted, found, strict=True):
        assert np.linalg.norm(a.numpy() - b.numpy()) <= 1e-5 * np.linalg.norm(a.numpy())


@EVERY_CELL
def test_every_device_gives_the_same_values_and_gradients(name: str, device: str) -> None:
    results = []
    for place in ("cpu", device):
        cell = filled(name).to(place)
        x, s = tg.tree.map(lambda t, place=place: t.to(place), example(cell))
        loss, gradients = tg.value_and_grad(
            lambda *args: sum((leaf * leaf).sum() for leaf in tg.tree.leaves(two_steps(*args))), (0, 1, 2)
        )(cell, x, s)
        assert loss.device == place
        results.append(flat((loss, gradients)))
    np.testing.assert_allclose(results[1], results[0], rtol=1e-12, atol=1e-12)


@EVERY_CELL
def test_the_initial_state_is_zero_on_the_device_and_in_the_dtype_asked_for(name: str) -> None:
    cell = zoo.get(name)(I, H)
    state = cell.init_state(B, dtype="float64", device="strict")
    for part, shape in zip(state, cell.state_shapes.values(), strict=True):
        assert (part.shape, part.dtype, part.device) == ((B, *shape), np.float64, "strict")
        assert not part.numpy().any()


@EVERY_CELL
def test_equal_seeds_give_equal_cells_and_other_seeds_others(name: str) -> None:
    a, b, c = (zoo.get(name)(I, H, rng=tg.random.Generator(seed)).state_dict() for seed in (1, 1, 2))
    assert all((a[path] == b[path]).all() for path in a)
    assert all((a[path] != c[path]).any() for path in a if path == "input/weight")


@pytest.mark.parametrize("name", [name for name in zoo.names() if name not in NOT_ORTHOGONAL])
def test_each_gates_recurrent_weights_begin_orthogonal(name: str) -> None:
    for path, p in zoo.get(name)(I, H).named_parameters():
        if path.startswith("U"):
            for U in np.split(p.numpy(), p.shape[1] // H, axis=1):
                np.testing.assert_allclose(U @ U.T, np.eye(H), atol=1e-6)


def test_the_forget_gate_begins_open() -> None:
    bias = zoo.LSTM(I, H, forget_bias=1.5).input.bias.numpy().reshape(4, H)
    np.testing.assert_array_equal(bias, np.repeat([[0.0], [1.5], [0.0], [0.0]], H, axis=1))


def test_an_elman_net_with_relu_gives_no_negative_numbers() -> None:
    cell = filled("ElmanRNN", nonlinearity="relu")
    x, s = example(cell)
    W, U, b = gates(cell, "h")["h"]
    y, _ = cell(x, s)
    np.testing.assert_allclose(y.numpy(), np.maximum(x.numpy() @ W + s.h.numpy() @ U + b, 0), atol=1e-14)


def test_a_cell_tags_its_nodes_with_its_name() -> None:
    y, _ = zoo.LSTM(I, H)(tg.ones((B, I)), zoo.LSTM(I, H).init_state(B))
    assert {node.scope.find("cell").name for node in tg.Graph(y).nodes if node.op.kind != "leaf"} == {"LSTM"}


def test_a_cell_of_ones_own_states_the_widths_of_its_state() -> None:
    class Wide(zoo.Cell):
        class State(NamedTuple):
            h: tg.Tensor
            m: tg.Tensor

        @property
        def state_shapes(self) -> dict[str, tuple[int, ...]]:
            return {"h": (self.hidden_size,), "m": (self.hidden_size, self.input_size)}

    state = Wide(2, 3).init_state(5)
    assert (state.h.shape, state.m.shape) == ((5, 3), (5, 3, 2))
    with pytest.raises(NotImplementedError, match=r"Wide has no step\(x, s\)"):
        Wide(2, 3)(tg.ones((5, 2)), state)


def test_sizes_may_be_numpys_integers() -> None:
    assert zoo.LSTM(np.int64(3), np.int64(5)).U.shape == (5, 20)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: zoo.LSTM(0, 5), "LSTM: input_size=0 is not a positive integer"),
        (lambda: zoo.GRU(3, 2.5), "GRU: hidden_size=2.5 is not a positive integer"),
        (lambda: zoo.ElmanRNN(3, 5, nonlinearity="gelu"), "nonlinearity='gelu' is not one of tanh, relu"),
    ],
)
def test_what_makes_no_cell_is_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_wrong_number_of_features_in_a_plain_loop_names_the_place() -> None:
    cell = zoo.LSTM(I, H)
    with tg.scope("time", index=3), pytest.raises(ValueError, match=r"matmul at t=3/LSTM/input: .*inner sizes 7 and 4"):
        cell(tg.ones((B, 7)), cell.init_state(B))
