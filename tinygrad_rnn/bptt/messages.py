"""The messages that meet at every edge of time: sensitivities that come from the past, adjoints from the future."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from ..backend import Array, namespace
from .diagnostics import linearised, parameter_names
from .linearised import Linearised, Vectors
from .problem import Problem, cut
from .rtrl import too_large
from .structure import dependents, nodes

__all__ = ["Meeting", "Messages", "messages", "recurrent_parameters"]

PRODUCTS = {"matmul", "mul", "einsum", "conv1d", "conv2d"}


class Meeting(NamedTuple):
    """The gradient as it looks from one edge of time: what is settled before it, crosses it, and comes after; (P,)."""

    before: Array
    crossing: Array
    after: Array

    @property
    def total(self) -> Array:
        """``∂L/∂θ``, whichever the edge."""
        return self.before + self.crossing + self.after


@dataclass(frozen=True)
class Messages:
    """All derivatives of a run, step by step, as matrices, and the messages that they carry both ways.

    Step t leads from z_t (n_t numbers) to z_{t+1}; z_0 is the initial carry, P the number of parameters.

        Γ_0 = 0,  Γ_{t+1} = D_t + J_t Γ_t          forward: ``sensitivities[t]`` = dz_t/dθ, (n_t, P), what RTRL carries
        m_T = 0,  m_t = e_t + m_{t+1} J_t          backward: ``adjoints[t]`` = dL/dz_t, (n_t,), what BPTT carries

    ``jacobians``: J_t = ∂z_{t+1}/∂z_t. ``immediate``: D_t = ∂⁺z_{t+1}/∂θ. ``errors``: e_t = ∂ℓ_t/∂z_t.
    ``direct``: d_t = ∂⁺ℓ_t/∂θ. ``states``: the carries z_0 … z_T. ``losses``: ℓ_t.
    """

    parameters: Vectors
    states: list[Any]
    losses: list[float]
    jacobians: list[Array]
    immediate: list[Array]
    errors: list[Array]
    direct: list[Array]
    sensitivities: list[Array]
    adjoints: list[Array]

    def __len__(self) -> int:
        """The number of steps."""
        return len(self.losses)

    def at(self, t: int) -> Meeting:
        """The gradient seen from the edge that z_t crosses, 0 ≤ t ≤ T.

            ∂L/∂θ = Σ_{s<t} (d_s + e_s Γ_s)  +  m_t Γ_t  +  Σ_{s≥t} (d_s + m_{s+1} D_s)

        Losses before it, by forward messages; what passes it, where both meet; what parameters do after it, by backward
        messages. With t = T all of it is RTRL, with t = 0 all of it is BPTT.
        """
        if not 0 <= t <= len(self):
            raise IndexError(f"edge {t}: a run of {len(self)} steps has edges 0 … {len(self)}")
        zero = 0 * self.direct[0]
        before = sum((self.direct[s] + self.errors[s] @ self.sensitivities[s] for s in range(t)), zero)
        after = sum((self.direct[s] + self.adjoints[s + 1] @ self.immediate[s] for s in range(t, len(self))), zero)
        return Meeting(before, self.adjoints[t] @ self.sensitivities[t], after)

    def gradient(self) -> Any:
        """``∂L/∂θ``, built as ``tg.grad`` gives it."""
        return self.parameters.container(self.at(0).total)

    def sensitivity(self, t: int) -> Any:
        """Γ_t parameter by parameter: for a Module a dict of Tensors (n_t, *shape) by path.

        Of a net ``s_t = tanh(x_t W + s_{t−1} U)`` row n of that of W holds the messages α, dsⁿ_t/dw_dh, of that of U
        the messages β, dsⁿ_t/du_ij.
        """
        return self.parameters.container(self.sensitivities[t])


def messages(problem: Problem) -> Messages:
    """Run a problem and keep all that ``Messages`` names; memory and time are those of RTRL, T times over.

    Raises ValueError, with the memory that it would take, where that is too much.

    >>> import tinygrad_rnn as tg
    >>> w = tg.tensor(0.5, requires_grad=True)
    >>> def step(w, h, x):
    ...     h = w * h + x
    ...     return h, h * h
    >>> found = messages(Problem(w, step, tg.tensor(0.0), tg.tensor([1.0, 1.0])))
    >>> [[float(part[0]) for part in found.at(t)] for t in range(3)]
    [[0.0, 0.0, 3.0], [0.0, 0.0, 3.0], [3.0, 0.0, 0.0]]
    """
    parameters, carry = Vectors(problem.parameters), cut(problem.carry)
    n, itemsize = Vectors(carry).n, parameters.like.dtype.itemsize
    what = f"the sensitivities of {n:,} numbers of the state to {parameters.n:,} parameters at {len(problem):,} steps"
    too_large("messages", 2 * n * parameters.n * len(problem), itemsize, what)
    like = parameters.like
    sensitivities = [namespace(like).zeros((n, parameters.n), like.dtype)]
    states, losses = [carry], []
    jacobians: list[Array] = []
    immediate: list[Array] = []
    errors: list[Array] = []
    direct: list[Array] = []
    for t in range(len(problem)):
        step = Linearised(problem, states[-1], t)
        found = *step.pull_loss(), *step.jacobians()
        for kept, each in zip((direct, errors, immediate, jacobians), found, strict=True):
            kept.append(each)
        sensitivities.append(immediate[-1] + jacobians[-1] @ sensitivities[-1])
        states.append(step.carry)
        losses.append(step.loss)
    adjoints = [namespace(like).zeros(len(sensitivities[-1]), like.dtype)]
    for error, jacobian in zip(reversed(errors), reversed(jacobians), strict=True):
        adjoints.append(error + adjoints[-1] @ jacobian)
    return Messages(parameters, states, losses, jacobians, immediate, errors, direct, sensitivities, adjoints[::-1])


def recurrent_parameters(problem: Problem) -> set[str]:
    """The paths of the parameters that multiply what a step makes of its old state: U in ``tanh(x W + s U + b)``.

    Read from the graphs of all steps: an argument of a product (``@``, ``*``, …) that is a parameter, or a part or a
    view of one, beside an argument that depends on the carry.

    >>> import tinygrad_rnn as tg
    >>> U, W = (tg.tensor([[0.5]], requires_grad=True) for _ in range(2))
    >>> def step(p, s, x):
    ...     s = tg.tanh(x @ p["W"] + s @ p["U"])
    ...     return s, s.sum()
    >>> recurrent_parameters(Problem({"U": U, "W": W}, step, tg.zeros((1, 1)), tg.ones((3, 1, 1))))
    {'U'}
    """
    names, found = parameter_names(problem.parameters), set()
    for step in linearised(problem):
        parameters, carry = step._wrt[: step._split], step._wrt[step._split :]
        sources = {node: {name} for node, name in zip(parameters, names, strict=True)}
        moving = dependents(step, carry)
        for node in nodes(step):
            given = [parent for parent in node.inputs if parent is not None]
            if node.op.kind == "linear" and given and all(parent in sources for parent in given):
                sources[node] = set().union(*(sources[parent] for parent in given))
            elif node.op.name in PRODUCTS and any(parent in moving for parent in given):
                found |= set().union(*(sources.get(parent, set()) for parent in given))
    return found
