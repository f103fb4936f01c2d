"""Where a gradient comes from and whether it fades: norms along time, the lag matrix, Jacobians and their exponents.

z is all of the carry as one vector (n,), the rows of a batch side by side. Rows do not see each other, so a Jacobian is
made of one block a row, and singular values of all rows come mixed: take B = 1 for spectra.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ..autodiff import pull
from ..backend import Array, device_of, namespace
from ..random import Generator
from .linearised import Linearised, Vectors
from .problem import Problem
from .rtrl import too_large

__all__ = [
    "Named", "Norms", "jacobian_products", "jacobians", "lag_matrix", "linearised", "lyapunov_exponents",
    "message_norms", "parameter_names", "singular_values",
]  # fmt: skip


class Named(NamedTuple):
    """An array and what its axes are called."""

    array: Array
    axes: tuple[str, ...]


class Norms(NamedTuple):
    """The Euclidean norms of g_t, m_t and δ_t for t = 0 … T − 1."""

    g: Named
    m: Named
    delta: Named


def linearised(problem: Problem) -> Iterator[Linearised]:
    """The steps of a run, one after the other; each may be let go before the next."""
    if not len(problem):
        raise ValueError("diagnostics: the problem has no steps")
    carry = problem.carry
    for t in range(len(problem)):
        step = Linearised(problem, carry, t)
        yield step
        carry = step.carry


def message_norms(problem: Problem) -> Norms:
    """How large the messages are that travel back: ``δ_t = g_t + m_t``.

        m_T−1 = 0        m_t = δ_{t+1} J_{t+1} + ∂⁺ℓ_{t+1}/∂z_t

    g_t = ∂ℓ_t/∂z_t is the error that enters at t, the parts of z_t held independent of each other, and m_t the message
    that crosses from t + 1 to t, the gradient of all later losses. Its last term is what a loss reads of the old carry
    past the new one, 0 for most cells. All steps are kept at once.

    >>> import tinygrad_rnn as tg
    >>> w = tg.tensor(0.5, requires_grad=True)
    >>> def step(w, h, x):
    ...     h = w * h + x
    ...     return h, h
    >>> found = message_norms(Problem(w, step, tg.tensor(0.0), tg.ones(3)))
    >>> found.g.array.tolist(), found.m.array.tolist(), found.delta.array.tolist()
    ([1.0, 1.0, 1.0], [0.75, 0.5, 0.0], [1.75, 1.5, 1.0])
    """
    steps = list(linearised(problem))
    found: list[tuple[Array, Array, Array]] = []
    message: Any = None
    for step in reversed(steps):
        xp = namespace(step.parameters.like)
        if message is None:
            message = xp.zeros(step.state.n, step.parameters.like.dtype)
        error, past = local_errors(step)
        delta = error + message
        found.append((_norm(error), _norm(message), _norm(delta)))
        message = step.pull_state(delta)[1] + past
    return Norms(*(Named(xp.stack(column[::-1]), ("t",)) for column in zip(*found, strict=True)))


def local_errors(step: Linearised) -> tuple[Array, Array]:
    """What the loss ℓ(z', z) of a step reads: ``∂ℓ/∂z'``, and ``∂ℓ/∂z`` apart from what passes through z'."""
    loss, roots, before = step._loss, step._roots, step._wrt[step._split :]
    found: dict[Any, Array] = {}
    if loss is not None and loss.node is not None:
        inner = {root for root in roots if root is not None}
        inputs = [(root, root.inputs) for root in inner]
        for root in inner:
            root.inputs = ()  # the walk down ends here: h, made from c in an LSTM, does not pass its error on to it
        try:
            one = namespace(loss.data).ones(loss.shape, loss.dtype)
            found = pull([loss.node], [one], wrt=inner.union(before))
        finally:
            for root, given in inputs:
                root.inputs = given
    error = step.state.vector([found.pop(root, None) for root in roots])  # popped: what z' holds twice gets it once,
    return error, step.before_vector([found.get(node) for node in before])  # and so does what it holds of z as it is


def lag_matrix(problem: Problem, wrt: str | None = None, *, arrays: bool = False) -> Named:
    """The lag matrix: C[t, τ], the part of dℓ_t/dθ that goes through the use of θ at step τ ≤ t.

        Σ_τ C[t, τ] = dℓ_t/dθ        Σ_t C[t, τ] = δ_τ ∂⁺z_τ/∂θ + ∂⁺ℓ_τ/∂θ        Σ_{t,τ} C[t, τ] = ∂L/∂θ

    ``wrt``: one of ``parameter_names``; None is all of them as one vector. Norms (T, T), or with ``arrays`` all of it,
    (T, T, *shape of θ). T²/2 pullbacks; all steps are kept at once.

    Raises ValueError when there is no such parameter, or the arrays do not fit.

    >>> import tinygrad_rnn as tg
    >>> w = tg.tensor(0.5, requires_grad=True)
    >>> def step(w, h, x):
    ...     h = w * h + x
    ...     return h, h
    >>> lag_matrix(Problem(w, step, tg.tensor(1.0), tg.ones(3))).array.tolist()
    [[1.0, 0.0, 0.0], [0.5, 1.5, 0.0], [0.25, 0.75, 1.75]]
    """
    names, T = parameter_names(problem.parameters), len(problem)
    if wrt is not None and wrt not in names:
        raise ValueError(f"lag_matrix: there is no parameter {wrt!r}; there are {', '.join(names)}")
    vectors = Vectors(problem.parameters)
    shape = (vectors.n,) if wrt is None else vectors.shapes[names.index(wrt)]
    like = vectors.like
    if arrays:
        too_large("lag_matrix", T * T * prod(shape), like.dtype.itemsize, f"{T} × {T} gradients of shape {shape}")
    steps = list(linearised(problem))
    found = namespace(like).zeros((T, T, *shape) if arrays else (T, T), like.dtype)
    for t, last in enumerate(steps):
        part, message = last.pull_loss()
        for tau in range(t, -1, -1):
            if tau < t:
                part, message = steps[tau].pull_state(message)
            use = part if wrt is None else vectors.pieces(part)[names.index(wrt)]
            found[t, tau] = use if arrays else _norm(use)
    return Named(found, ("t", "tau", *(f"theta{i}" for i in range(len(shape)))) if arrays else ("t", "tau"))


def parameter_names(parameters: Any, path: str = "") -> list[str]:
    """The paths of the leaves of a container of parameters; the one of a Tensor alone is the empty string.

    >>> parameter_names({"cell": [1, 2], "head": 3})
    ['cell/0', 'cell/1', 'head']
    """
    if hasattr(parameters, "parameters_by_path"):
        parameters = parameters.parameters_by_path()
    if hasattr(parameters, "_asdict"):
        parameters = parameters._asdict()
    if isinstance(parameters, list | tuple):
        parameters = dict(enumerate(parameters))
    if not isinstance(parameters, dict):
        return [] if parameters is None else [path]
    parts = parameters.items()
    return [name for key, part in parts for name in parameter_names(part, f"{path}/{key}" if path else str(key))]


def jacobians(problem: Problem) -> list[Array]:
    """J_t = ∂z_t/∂z_{t−1}, (n_t, n_{t−1}), for t = 0 … T − 1; their sizes differ where the carry changes.

    As many pullbacks a step as z_t has numbers; none goes on to the parameters, whose products are the larger part.
    """
    found = []
    for step in linearised(problem):
        xp, like = namespace(step.parameters.like), step.parameters.like
        rows = [step.pull_before(unit) for unit in xp.eye(step.state.n, dtype=like.dtype)]
        found.append(xp.stack(rows) if rows else xp.zeros((0, step.before.n), like.dtype))
    return found


def jacobian_products(matrices: Sequence[Array]) -> list[Array]:
    """∂z_{T−1}/∂z_{s−1} = J_{T−1} … J_s for s = 0 … T − 1, from J_0 … J_{T−1}.

    >>> jacobian_products([np.array([[2.0]]), np.array([[3.0]])])
    [array([[6.]]), array([[3.]])]
    """
    found: list[Array] = []
    for matrix in reversed(matrices):
        found.append(found[-1] @ matrix if found else matrix)
    return found[::-1]


def singular_values(matrices: Sequence[Array]) -> Named:
    """The singular values of each matrix, largest first, filled up with 0 where one has fewer than others.

    >>> singular_values(jacobian_products([np.diag([0.5, 3.0])] * 3)).array.tolist()
    [[27.0, 0.125], [9.0, 0.25], [3.0, 0.5]]
    """
    xp = namespace(matrices[0])
    found = xp.zeros((len(matrices), max(min(m.shape) for m in matrices)), matrices[0].dtype)
    for i, matrix in enumerate(matrices):
        values = xp.linalg.svd(matrix, compute_uv=False)
        found[i, : len(values)] = values
    return Named(found, ("t", "i"))


def lyapunov_exponents(
    problem: Problem, count: int | None = None, *, skip: int = 0, rng: Generator | None = None
) -> Named:
    """The largest Lyapunov exponents, by which neighbouring states part or meet along the run, per step.

        J_t Q_{t−1} = Q_t R_t        λ_i = 1/(T − skip) Σ_{t ≥ skip} log |R_t|_ii

    With ``count`` = n, all of them, their sum is the mean of log |det J_t| for any T. ``skip``: steps in which the
    directions settle first. Keeps one step at a time, which costs ``count`` pushed tangents. −∞ is a direction that is
    lost within the run.

    Raises ValueError when the size of the carry changes, or counts do not fit.

    Benettin, Galgani, Giorgilli & Strelcyn 1980, "Lyapunov characteristic exponents for smooth dynamical systems".

    >>> import tinygrad_rnn as tg
    >>> w = tg.tensor([0.5, 2.0], requires_grad=True)
    >>> problem = Problem(w, lambda w, h, x: (w * h + x, None), tg.zeros(2), tg.ones(50))
    >>> lyapunov_exponents(problem, skip=10).array.round(4)  # log 2, log ½
    array([ 0.6931, -0.6931], dtype=float32)
    """
    n, T = Vectors(problem.carry).n, len(problem)
    count = n if count is None else count
    if not 1 <= count <= n:
        raise ValueError(f"lyapunov_exponents: count is {count}; the state has {n} numbers")
    if not 0 <= skip < T:
        raise ValueError(f"lyapunov_exponents: skip is {skip}; the run has {T} steps")
    like = Vectors(problem.parameters).like
    xp = namespace(like)
    start = (rng or Generator(0)).normal((n, count), dtype=like.dtype, device=device_of(like))
    frame, total = xp.linalg.qr(start.data)[0], xp.zeros(count, like.dtype)
    for t, step in enumerate(linearised(problem)):
        if step.state.n != n:
            raise ValueError(f"lyapunov_exponents: step {t} makes {step.state.n} numbers of {n}; all need as many")
        frame, r = xp.linalg.qr(xp.stack([step.push(None, column)[0] for column in frame.T], axis=1))
        if t >= skip:
            with np.errstate(divide="ignore"):
                total += xp.log(abs(xp.diagonal(r)))
    return Named(-xp.sort(-total / (T - skip)), ("i",))


def _norm(x: Array) -> Array:
    """Scaled by the largest entry first: a message that has all but vanished still has a norm, its square is 0."""
    xp = namespace(x)
    largest = abs(x).max() if x.size else x.sum()
    scale = xp.where((largest > 0) & xp.isfinite(largest), largest, xp.ones_like(largest))
    return scale * xp.sqrt(((x / scale) ** 2).sum())
