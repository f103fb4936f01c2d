"""Small problems for the forward methods, and a source of signs that goes through all that there are."""

from itertools import product

import numpy as np

import tinygrad_rnn as tg
import zoo
from tinygrad_rnn.bptt import Problem, gradient
from tinygrad_rnn.bptt.problem import cut


class Model(tg.nn.Module):
    def __init__(self, cell, head):
        self.cell, self.head = cell, head


def problem(cell, *, inputs=2, hidden=2, steps=3, batch=1, seed=0):
    """A cell, by name or made, and a head that every step's loss reads it through; no parameter is 0."""
    rng = np.random.default_rng(seed)
    made = zoo.get(cell)(inputs, hidden) if isinstance(cell, str) else cell
    model = Model(made, tg.nn.Linear(made.output_size, 2)).astype("float64")
    for p in model.parameters():
        p.data = p.data + 0.5 * rng.standard_normal(p.shape)
    xs = rng.standard_normal((steps, batch, made.input_size))
    labels = rng.integers(0, 2, (steps, batch))

    def step(model, state, x):
        y, state = model.cell(x[0], state)
        return state, tg.cross_entropy(model.head(y), x[1])

    return Problem(model, step, made.init_state(batch, dtype="float64"), (tg.tensor(xs), tg.tensor(labels)))


def flat(gradients):
    return np.concatenate([g.numpy().reshape(-1) for g in tg.tree.leaves(gradients)])


def difference(found, expected):
    """The largest difference, relative to the largest number expected."""
    found, expected = flat(found), flat(expected)
    return np.abs(found - expected).max() / np.abs(expected).max()


class Signs(tg.random.Generator):
    """Hands out what it was given, sign by sign."""

    def __init__(self, given):
        super().__init__(0)
        self.given = list(given)

    def bernoulli(self, shape, p, *, dtype="float32", device="cpu"):
        taken, self.given = self.given[: shape[0]], self.given[shape[0] :]
        return tg.tensor(np.array(taken), dtype=dtype)


def mean_over_all_signs(problem, strategy, count, last):
    """The mean of the estimates over all 2^count signs; the ``last`` ones of a run, which no loss sees, are given."""
    total = 0.0
    for signs in product((0, 1), repeat=count):
        rng = Signs([*signs, *[1] * last])
        total = total + flat(gradient(problem, strategy, rng=rng).gradients)
        assert not rng.given, "a run took fewer signs than there are"
    return total / 2**count


def parts(problem, at):
    """The same run as two, before and from step ``at``: functions of the carry."""

    def part(xs, carry):
        return Problem(problem.parameters, problem.step, cut(carry), xs)

    return lambda carry: part(problem.between(0, at), carry), lambda carry: part(
        problem.between(at, len(problem)), carry
    )
