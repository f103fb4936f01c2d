"""Sensitivities from the past and adjoints from the future meet at every edge, and the numbers add up."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

import tinygrad_rnn as tg
import zoo
from zoo.topology.examples import example, pairs
from zoo.topology.messages import forward_messages

T, I, H, K = 5, 3, 16, 4


def model_of(name: str, hidden: int = H) -> Any:
    class Model(tg.nn.Module):
        def __init__(self) -> None:
            rng = tg.random.Generator(1)
            self.cell: zoo.Cell = zoo.get(name)(I, hidden, rng=rng.fork("cell"))  # type: ignore[call-arg]
            self.head = tg.nn.Linear(self.cell.output_size, K, rng=rng.fork("head"))

    return Model().astype("float64")


def problem_of(name: str, *, steps: int = T, hidden: int = H, last_only: bool = False) -> tg.bptt.Problem:
    """A label after every step, or after the last one."""
    model, rng = model_of(name, hidden), np.random.default_rng(2)
    xs = [(tg.tensor(rng.normal(size=(1, I))), tg.tensor(rng.integers(0, K, 1)), t) for t in range(steps)]

    def step(model: Any, state: Any, x: Any) -> tuple[Any, Any]:
        y, state = model.cell(x[0], state)
        wanted = not last_only or x[2] == steps - 1
        return state, tg.cross_entropy(model.head(y), x[1]) if wanted else None

    return tg.bptt.Problem(model, step, model.cell.init_state(1, dtype="float64"), xs)


def close(a: Any, b: Any, tolerance: float) -> bool:
    return bool(np.abs(a - b).max() <= tolerance * max(np.abs(b).max(), 1e-300))


EVERY_CELL = pytest.mark.parametrize("name", zoo.names())


@EVERY_CELL
@pytest.mark.parametrize("last_only", [False, True], ids=["a label a step", "one label"])
def test_at_every_edge_the_three_parts_add_up_to_the_gradient(name: str, last_only: bool) -> None:
    problem = problem_of(name, last_only=last_only)
    found = tg.bptt.messages(problem)
    exact = found.parameters.vector(tg.tree.leaves(tg.bptt.gradient(problem).gradients))
    for t in range(T + 1):
        assert close(found.at(t).total, exact, 1e-12)
    assert not found.at(0).before.any() and not found.at(T).after.any()
    if not last_only:
        assert all(found.at(t).crossing.any() for t in range(1, T))


@EVERY_CELL
def test_adjoints_are_the_gradients_of_what_is_still_to_come(name: str) -> None:
    problem = problem_of(name)
    found = tg.bptt.messages(problem)
    for t in range(T):
        rest = lambda z, t=t: problem.run(problem.parameters, z, t, T)[1]  # noqa: E731
        wanted = tg.grad(rest)(found.states[t])
        assert close(found.adjoints[t], tg.bptt.Vectors(found.states[t]).vector(tg.tree.leaves(wanted)), 1e-12)


@EVERY_CELL
def test_sensitivities_are_differences_of_the_state(name: str) -> None:
    problem = problem_of(name, steps=3)
    found = tg.bptt.messages(problem)
    parameters = problem.parameters.parameters()
    direction = [np.random.default_rng(3).normal(size=p.shape) for p in parameters]
    along = found.sensitivities[3] @ np.concatenate([d.reshape(-1) for d in direction])
    ends = []
    for sign in (1, -1):
        for p, d in zip(parameters, direction, strict=True):
            p.data = p.data + sign * 1e-5 * d
        ends.append(tg.bptt.Vectors(problem.run(problem.parameters, problem.carry, 0, 3)[0]))
        for p, d in zip(parameters, direction, strict=True):
            p.data = p.data - sign * 1e-5 * d
    difference = (ends[0].vector(ends[0].leaves) - ends[1].vector(ends[1].leaves)) / 2e-5
    assert close(along, difference, 1e-6)


# The recursions of a plain net, written down


class Plain(NamedTuple):
    """What a net s_t = tanh(x_t W + s_{t−1} U + b) does on xs, in NumPy."""

    s: np.ndarray  # (T + 1, H), s_0 = 0
    xs: np.ndarray
    U: np.ndarray

    @classmethod
    def run(cls, problem: tg.bptt.Problem) -> Plain:
        cell = problem.parameters.cell
        W, b, U = (p.numpy() for p in (cell.input.weight, cell.input.bias, cell.U))
        xs, s = np.stack([x[0].numpy()[0] for x in problem.xs]), [np.zeros(len(U))]
        for x in xs:
            s.append(np.tanh(x @ W + s[-1] @ U + b))
        return cls(np.array(s), xs, U)

    def alpha(self, d: int, h: int, *, diagonal: bool = False) -> np.ndarray:
        """ds_t/dw_dh for t = 1 … T: x_t^d (1 − (s_t^h)²) e_h + α_{t−1} J_t, J_t = U diag(1 − s_t²)."""
        return self._message(self.xs[:, d], h, diagonal)

    def beta(self, i: int, j: int, *, diagonal: bool = False) -> np.ndarray:
        """ds_t/du_ij: s_{t−1}^i (1 − (s_t^j)²) e_j + β_{t−1} J_t."""
        return self._message(self.s[:-1, i], j, diagonal)

    def _message(self, source: np.ndarray, unit: int, diagonal: bool) -> np.ndarray:
        found, at = [], np.zeros(len(self.U))
        for t, s in enumerate(self.s[1:]):
            slope = 1 - s * s
            J = self.U * slope
            at = at @ (np.diag(np.diag(J)) if diagonal else J)
            at[unit] += source[t] * slope[unit]
            found.append(at)
        return np.array(found)


def test_sensitivities_of_a_plain_net_are_the_alpha_and_beta_messages() -> None:
    problem = problem_of("ElmanRNN", hidden=6)
    found, plain = tg.bptt.messages(problem), Plain.run(problem)
    gamma = [found.sensitivity(t) for t in range(1, T + 1)]
    for d in range(I):
        for h in range(6):
            assert close(np.array([g["cell/input/weight"].numpy()[:, d, h] for g in gamma]), plain.alpha(d, h), 1e-12)
    for i in range(6):
        for j in range(6):
            assert close(np.array([g["cell/U"].numpy()[:, i, j] for g in gamma]), plain.beta(i, j), 1e-12)


def test_recursions_through_the_diagonal_alone_are_wrong_unless_the_matrix_is_diagonal() -> None:
    dense = problem_of("ElmanRNN", hidden=6)
    plain = Plain.run(dense)
    whole = [plain.alpha(d, h) for d in range(I) for h in range(6)]
    short = [plain.alpha(d, h, diagonal=True) for d in range(I) for h in range(6)]
    assert np.linalg.norm(np.array(whole) - np.array(short)) > 0.3 * np.linalg.norm(whole)
    U = dense.parameters.cell.U
    U.data = np.diag(np.diag(U.data))
    plain = Plain.run(dense)
    for i in range(6):
        np.testing.assert_array_equal(plain.beta(i, i, diagonal=True), plain.beta(i, i))


# An encoder and a decoder: messages that cross the hand-over


@pytest.mark.parametrize("context", ["input", "recurrent"], ids=["a matrix of its own", "the encoder's matrix"])
def test_sensitivities_of_a_decoder_to_the_encoder_are_the_zeta_and_gamma_messages(context: str) -> None:
    problem = example(f"encoder-decoder-{context}", "ElmanRNN", hidden=6)
    model, found = problem.parameters, forward_messages(problem)
    (W, U, b), (Wd, Ud, bd) = (
        [p.numpy() for p in (cell.input.weight, cell.U, cell.input.bias)]
        for cell in (model.encoder.cell, model.decoder.cell.cell)
    )
    C = U if context == "recurrent" else model.context.weight.numpy()
    encodes = [at.x.numpy()[0] for at in problem.xs if hasattr(at, "x")]
    decodes = [at.previous.numpy()[0] for at in problem.xs if hasattr(at, "previous")]
    s = [np.zeros(6)]
    alpha, beta = np.zeros((*W.shape, 6)), np.zeros((*U.shape, 6))  # ds/dw_lh, ds/du_ij
    units = np.eye(6)
    for x in encodes:
        now = np.tanh(x @ W + s[-1] @ U + b)
        slope = 1 - now * now
        alpha = np.einsum("l,hn->lhn", x, units * slope) + alpha @ (U * slope)
        beta = np.einsum("i,jn->ijn", s[-1], units * slope) + beta @ (U * slope)
        s.append(now)
    c, h = s[-1], np.zeros(6)
    zeta, gamma = np.zeros_like(alpha), np.zeros_like(beta)
    same = {"alpha": ("encoder/cell/input/weight", alpha), "beta": ("encoder/cell/U", beta)}
    for name, (path, wanted) in same.items():
        assert close(np.moveaxis(found[len(encodes) - 1][name][path].numpy()[:6], 0, -1), wanted, 1e-12)
    for t, y in enumerate(decodes, len(encodes)):
        h = np.tanh(y @ Wd + h @ Ud + c @ C + bd)
        slope = 1 - h * h
        zeta = alpha @ (C * slope) + zeta @ (Ud * slope)
        gamma = beta @ (C * slope) + gamma @ (Ud * slope)
        if context == "recurrent":  # then c C is a use of the encoder's matrix too
            gamma += np.einsum("i,jn->ijn", c, units * slope)
        for name, path, wanted in (("zeta", "input/weight", zeta), ("gamma", "U", gamma)):
            got = found[t][name][f"encoder/cell/{path}"].numpy()[:6]
            assert close(np.moveaxis(got, 0, -1), wanted, 1e-12)


def test_what_enters_once_is_carried_on_unchanged_but_for_the_jacobians() -> None:
    problem = example("vector-first", "ElmanRNN", hidden=6)
    found = tg.bptt.messages(problem)
    for t in range(1, len(problem)):
        carried = found.jacobians[t] @ found.sensitivities[t]
        names = list(found.sensitivity(t + 1))
        parts = dict(zip(names, found.parameters.pieces(found.sensitivities[t + 1] - carried), strict=True))
        assert not parts["decoder/cell/input/weight"].any()
        assert parts["decoder/cell/U"].any()


@pytest.mark.parametrize(("topology", "name"), pairs())
def test_the_three_parts_add_up_in_every_topology(topology: str, name: str) -> None:
    problem = example(topology, name, hidden=16)
    found = tg.bptt.messages(problem)
    exact = found.parameters.vector(tg.tree.leaves(tg.bptt.gradient(problem).gradients))
    for t in range(len(problem) + 1):
        assert close(found.at(t).total, exact, 1e-12)


def test_what_does_not_fit_into_memory_is_refused_with_its_size() -> None:
    w = tg.tensor(np.zeros((1000, 1000), "float32"), requires_grad=True)
    carry = tg.zeros((1, 1000))
    problem = tg.bptt.Problem(w, lambda w, h, x: (tg.tanh(h @ w), None), carry, [None] * 3)
    with pytest.raises(ValueError, match=r"messages would keep .* 1,000 numbers .* 1,000,000 parameters .* GiB"):
        tg.bptt.messages(problem)
    with pytest.raises(IndexError, match="edge 9"):
        tg.bptt.messages(problem_of("ElmanRNN")).at(9)
