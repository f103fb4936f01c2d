"""Hessian-free optimisation: Newton's method for nets, by products with the curvature alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..backend import namespace
from ..node import recording
from ..random import Generator
from ..tensor import array_of
from .conjugate_gradient import Iterate, conjugate_gradient
from .gauss_newton import GaussNewton, as_vector, parted, pieces
from .optimizer import Optimizer

__all__ = ["HessianFree", "Progress", "adapted"]

Array = Any

EXPONENT = 0.75  # of the preconditioner (Martens 2010, section 4.7)
DECREASE, SHORTER, TRIES = 1e-2, 0.8, 60  # of the line search: Armijo's constant, and how often a step is cut


@dataclass(frozen=True)
class Progress:
    """One step: the loss before and after, how much of the model's promise was kept, with which damping, how far of
    the direction it went (0: nowhere), and after how many products."""

    before: float
    loss: float
    ratio: float
    damping: float
    rate: float
    products: int


class HessianFree(Optimizer):
    """``θ ← θ + α δ`` with ``(G + λ I) δ ≈ −∇f``, G the Gauss–Newton matrix of the loss (Martens 2010, Deep learning
    via Hessian-free optimization).

    Conjugate gradients find δ in at most ``cg_steps`` products with G, from ``decay`` times the direction of the step
    before; of their iterates that is taken from which going back no longer lowers the loss. The line search begins at
    α = ``lr``. The damping λ, first ``damping``, follows the reduction ratio (see ``adapted``). The preconditioner is
    ``(d + λ)^0.75`` with d G's diagonal estimated by ``probes`` pullbacks under random signs, drawn from ``seed`` and
    the number of the step. With 0 there is none, which on the adding problem took fewer products; one pays where
    parameters are of very different scales.

    With ``structural`` μ > 0 a change of the hidden states costs too, λ μ times its square (Martens & Sutskever 2011,
    Learning recurrent neural networks with Hessian-free optimization); see ``GaussNewton`` and ``step``.

    Raises TypeError or ValueError for what cannot be trained and for options out of range.

    >>> import tinygrad_rnn as tg
    >>> w = tg.tensor([5.0, -3.0], requires_grad=True)
    >>> optimizer = HessianFree([w], damping=0.0)
    >>> _ = optimizer.step(lambda x: w * x, lambda y, x: ((y - 6.0) ** 2).sum(), tg.tensor([1.0, 2.0]))
    >>> w
    tensor([6., 3.], requires_grad=True)
    """

    def __init__(
        self,
        parameters: Any,
        *,
        lr: float = 1.0,
        damping: float = 1.0,
        structural: float = 0.0,
        cg_steps: int = 100,
        decay: float = 0.95,
        probes: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(parameters, keeps=("direction",), lr=lr)
        if not 0 <= decay <= 1:
            raise ValueError(f"HessianFree: decay={decay} is not in [0, 1]")
        for option, value in {"damping": damping, "structural": structural}.items():
            if not 0 <= value < math.inf:
                raise ValueError(f"HessianFree: {option}={value} is not in [0, inf)")
        for option, value, low in (("cg_steps", cg_steps, 1), ("probes", probes, 0), ("seed", seed, 0)):
            if type(value) is not int or value < low:
                raise ValueError(f"HessianFree: {option}={value!r} is not a whole number of at least {low}")
        if structural and not damping:
            raise ValueError(f"HessianFree: structural={structural} is in units of damping, which is 0; set it above 0")
        self.options |= {
            "damping": damping, "structural": structural, "cg_steps": cg_steps, "decay": decay, "probes": probes,
            "seed": seed,
        }  # fmt: skip

    # Unlike other optimisers', a step asks for the loss at other parameters and for products with its curvature.
    def step(  # type: ignore[override]
        self,
        outputs: Callable[[Any], Any],
        loss: Callable[[Any, Any], Any],
        batch: Any,
        *,
        curvature: Any = None,
    ) -> Progress:
        """One update, by the loss ``f(θ) = loss(outputs(batch), batch)``; G is that of the batch ``curvature``, a part
        of it say, where one is given.

        ``outputs`` gives the predictions, any container, and reads the parameters where they are; with ``structural``
        a pair (predictions, states), the states (T, B, …). It runs a dozen times and must each time give the same. The
        scalar ``loss(predictions, batch)`` is convex in the predictions and has no other part in the parameters.

        Raises ValueError when the loss is no scalar or not convex, FloatingPointError when it or its gradient is not
        finite; then nothing is changed.
        """
        o = self.options
        weight = o["damping"] * o["structural"]
        here = GaussNewton(self.parameters, outputs, loss, batch, structural=weight)
        gradient = here.gradient()
        if not math.isfinite(here.loss) or not bool(namespace(gradient).isfinite(gradient).all()):
            raise FloatingPointError(
                f"the loss is {here.loss} and its gradient not finite throughout, at step {self.steps}; nothing was "
                "updated: begin with smaller weights, or find the op with tg.detect_anomaly()"
            )
        bent = here
        if curvature is not None:
            bent = GaussNewton(self.parameters, outputs, loss, curvature, structural=weight)
        path = self._path(bent, gradient)

        def value(x: Array) -> float:
            return self._value(outputs, loss, batch, x)

        chosen, reached = _backtracked(path, value)
        slope, promised, rate = 0.0, 0.0, 0.0
        if chosen is not None:
            slope = float(namespace(gradient).vdot(gradient, chosen.x))
            promised = slope + 0.5 * bent.quadratic(chosen.x)
            rate, found = _searched(value, chosen.x, o["lr"], here.loss, reached, slope)
        ratio = _ratio(reached - here.loss, promised) if chosen is not None else math.nan
        progress = Progress(
            before=here.loss, loss=found if rate else here.loss, ratio=ratio, damping=o["damping"], rate=rate,
            products=path[-1].step if path else 0,
        )  # fmt: skip
        if path:
            last = pieces(self.parameters, path[-1].x)
            moved = pieces(self.parameters, rate * chosen.x) if chosen is not None else {}
            for name, p in self.parameters.items():
                self._kept_for(name, p.data)["direction"] = last[name].copy()
                if rate:
                    p.data = p.data + moved[name]
            o["damping"] = adapted(o["damping"], ratio)
        self.steps += 1
        return progress

    def _path(self, bent: GaussNewton, gradient: Array) -> list[Iterate]:
        """The iterates of conjugate gradients on ``(G + λ I) δ = −∇f``."""
        o, xp = self.options, namespace(gradient)
        damping, scale = o["damping"], None
        if o["probes"]:
            scale = bent.diagonal(Generator(o["seed"]).fork("probes", self.steps), o["probes"]) + damping
            # where G and λ are zero nothing is known, nor does the gradient point there
            scale = xp.maximum(scale, xp.maximum(scale.max() * xp.finfo(scale.dtype).eps, xp.finfo(scale.dtype).tiny))
            scale = scale**EXPONENT
        start = None
        if self._kept.keys() == self.parameters.keys():
            start = o["decay"] * as_vector(self._kept[name]["direction"] for name in self.parameters)
        try:
            return conjugate_gradient(
                lambda v: bent.product(v) + damping * v, -gradient, start=start, preconditioner=scale,
                steps=o["cg_steps"],
            )  # fmt: skip
        except ValueError as error:
            raise ValueError(f"HessianFree needs a loss that is convex in the predictions; {error}") from error

    def _value(self, outputs: Callable, loss: Callable, batch: Any, x: Array) -> float:
        """The loss at θ + x; infinite where it is not a number."""
        before = {name: p.data for name, p in self.parameters.items()}
        try:
            for name, d in pieces(self.parameters, x).items():
                self.parameters[name].data = before[name] + d
            with recording(False):
                out = outputs(batch)
                found = float(array_of(loss(parted(out)[0] if self.options["structural"] else out, batch)))
        finally:
            for name, p in self.parameters.items():
                p.data = before[name]
        return found if math.isfinite(found) else math.inf


def adapted(damping: float, ratio: float) -> float:
    """λ for the next step: ``3/2 λ`` where the loss fell by less than 1/4 of what the quadratic model promised (or
    rose, or was no number), ``2/3 λ`` where it fell by more than 3/4 of it (Levenberg, Marquardt; Martens 2010).

    >>> adapted(6.0, 0.1), adapted(6.0, 0.5), adapted(6.0, 0.9)
    (9.0, 6.0, 4.0)
    """
    if ratio > 0.75:
        return damping * 2 / 3
    return damping if ratio >= 0.25 else damping * 3 / 2


def _backtracked(path: list[Iterate], value: Callable[[Array], float]) -> tuple[Iterate | None, float]:
    """From the last iterate back as long as that lowers the loss (Martens 2010, section 4.6), and the loss there."""
    chosen, reached = None, math.inf
    for iterate in reversed(path):
        found = value(iterate.x)
        if chosen is not None and found >= reached and reached < math.inf:
            break
        chosen, reached = iterate, found
    return chosen, reached


def _searched(
    value: Callable[[Array], float], direction: Array, lr: float, before: float, reached: float, slope: float
) -> tuple[float, float]:
    """The first rate of lr, 0.8 lr, … that lowers the loss by a hundredth of what its slope promises; 0 for none."""
    rate = lr
    for _ in range(TRIES):
        found = reached if rate == 1 else value(rate * direction)
        if found <= before + DECREASE * rate * slope:
            return rate, found
        rate *= SHORTER
    return 0.0, before


def _ratio(change: float, promised: float) -> float:
    """How much of a promised decrease was kept."""
    return change / promised if promised < 0 else -math.inf
