"""What the messages between steps are, and a penalty on steps that shrink or stretch them.

Clipping and noise act on gradients whatever they came from: see ``tg.optim``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from .. import tree
from ..backend import Array, namespace
from ..ops.reduce import norm
from ..ops.shape import concatenate, reshape
from ..scan import scan
from ..tensor import Tensor, zeros
from ..transforms import value_and_grad, vjp
from .problem import Problem, cut

__all__ = ["StateMessages", "state_messages", "vanishing_penalty"]


class StateMessages(NamedTuple):
    """A loss on all states of a run, its gradients, and at each step the state and the message that reaches it.

    ``states``: s_t after step t, and ``deltas``: δ_t = ∂L/∂s_t, built as the carry, (T, B, …). ``gradients`` are built
    as ``tg.grad`` gives them.
    """

    loss: float
    gradients: Any
    states: Any
    deltas: Any


def state_messages(
    problem: Problem, loss: Callable[[Any, Any], Any], *, compile: str | bool = "auto", threads: int | None = None
) -> StateMessages:
    """Run a recurrence under a loss on its states, ``L = loss(θ, s)``, s (T, B, …), and keep ``δ_t = ∂L/∂s_t``.

    δ_t is the whole derivative, through all later steps: ``δ_t = ∂⁺L/∂s_t + δ_{t+1} ∂s_{t+1}/∂s_t``. It is found as the
    gradient of zeros that are added to each state. Of the problem's step the new carry counts, its own loss does not;
    what a step gives out without carrying it can be put into the carry. ``compile`` and ``threads`` are those of
    ``tg.scan``. Raises ValueError for a problem whose steps are a list, or differ in what they carry.

    >>> import tinygrad_rnn as tg
    >>> w = tg.tensor(0.5, requires_grad=True)
    >>> problem = Problem(w, lambda w, s, x: (w * s + x, None), tg.zeros((1, 1)), tg.ones((3, 1, 1)))
    >>> found = state_messages(problem, lambda w, s: s[-1].sum())
    >>> found.gradients, found.deltas.reshape(3)
    (tensor(2.), tensor([0.25, 0.5 , 1.  ]))
    """
    _sequences(problem)
    total = len(problem)
    nothing = tree.map(lambda s: zeros((total, *s.shape), dtype=s.dtype, device=s.device), problem.carry)

    def run(parameters: Any, added: Any) -> tuple[Any, Any]:
        def along(carry: Any, inputs: Any) -> tuple[Any, Any]:
            x, e = inputs
            new = tree.map(lambda s, e: s + e, problem.step(parameters, carry, x)[0], e)
            return new, new

        _, states = scan(along, problem.carry, (problem.xs, added), compile=compile, threads=threads)
        return loss(parameters, states), cut(states)

    (value, states), (gradients, deltas) = value_and_grad(run, (0, 1), has_aux=True)(problem.parameters, nothing)
    return StateMessages(value.item(), gradients, states, deltas)


def vanishing_penalty(problem: Problem, parameters: Any, found: StateMessages) -> Tensor:
    """How much the steps change the norm of the messages that pass back through them, to be differentiated for θ:

        Ω(θ) = 1/B Σ_rows Σ_t (‖δ_t ∂s_t/∂s_{t−1}‖ / ‖δ_t‖ − 1)²

    over the T steps of a run that ``state_messages`` found, the norm over all parts of the state. As in the paper the
    states and δ are constants, so that the gradient is the "immediate" one: only what one step does with θ counts. A
    step that no message reaches has no term. Since a step treats all rows alike, it runs once, on all T·B rows, and
    its pullback is recorded. ``parameters``: the problem's, as the function that is differentiated takes them.

    Pascanu, Mikolov & Bengio 2013, On the difficulty of training recurrent neural networks, arXiv:1211.5063, eq. 9.
    Raises ValueError for a state or inputs without a batch axis, and for complex states.

    >>> import tinygrad_rnn as tg
    >>> w = tg.tensor(0.5, requires_grad=True)
    >>> problem = Problem(w, lambda w, s, x: (w * s + x, None), tg.zeros((1, 1)), tg.ones((3, 1, 1)))
    >>> found = state_messages(problem, lambda w, s: s[-1].sum())
    >>> tg.value_and_grad(lambda w: vanishing_penalty(problem, w, found))(w)
    (tensor(0.75), tensor(-3.))
    """
    _sequences(problem)
    after, xs = tree.leaves(found.states), tree.leaves(problem.xs)
    if any(a.ndim < 2 for a in (*after, *xs)) or len({a.shape[:2] for a in (*after, *xs)}) > 1:
        shapes = f"states {[a.shape for a in after]} and inputs {[a.shape for a in xs]}"
        raise ValueError(f"vanishing_penalty: {shapes} do not share axes (T, B, …); give each row its own")
    if any(a.dtype.kind != "f" for a in after):
        raise ValueError(f"vanishing_penalty: the parts of the state are {[str(a.dtype) for a in after]}, not all real")
    before = tree.map(lambda first, s: _rows(_shifted(first.data, s.data)), problem.carry, found.states)
    inputs = tree.map(lambda x: _rows(x.data if type(x) is Tensor else x), problem.xs)
    directions, reached = _directions(found.deltas)

    _, pullback = vjp(lambda s: problem.step(parameters, s, inputs)[0], before)
    (back,) = pullback(directions)
    ratios = norm(concatenate([reshape(b, (len(reached), -1)) for b in tree.leaves(back)], axis=1), axis=1)
    return (reached * (ratios - 1) ** 2).sum() / after[0].shape[1]


def _sequences(problem: Problem) -> None:
    if isinstance(problem.xs, list):
        raise ValueError("the inputs of a run with messages are arrays (T, B, …), not a list with one entry a step")


def _shifted(first: Array, states: Array) -> Array:
    """The states before each step from those after."""
    return namespace(states).concatenate([first[None], states[:-1]])


def _rows(a: Array) -> Tensor:
    """(T, B, …) as T·B rows."""
    return Tensor.of(a.reshape(-1, *a.shape[2:]), None)


def _directions(deltas: Any) -> tuple[Any, Tensor]:
    """``δ/‖δ‖`` of each of the T·B rows, and 1 for a row where δ ≠ 0, else 0.

    Scaled by the largest entry first: a message that has all but vanished still has a direction, its square has not.
    """
    rows = tree.map(lambda d: _rows(d.data), deltas)
    flat = [d.data.reshape(len(d.data), -1) for d in tree.leaves(rows)]
    xp = namespace(flat[0])
    whole = xp.concatenate(flat, axis=1)
    largest = abs(whole).max(axis=1)
    reached = largest > 0
    scale = xp.where(reached, largest, 1).astype(whole.dtype)
    length = xp.sqrt(((whole / scale[:, None]) ** 2).sum(axis=1))
    length = xp.where(reached, length, 1).astype(whole.dtype)

    def unit(d: Tensor) -> Tensor:
        over = (-1, *[1] * (d.ndim - 1))
        return Tensor.of(d.data / scale.reshape(over) / length.reshape(over), None)

    return tree.map(unit, rows), Tensor.of(reached.astype(whole.dtype), None)
