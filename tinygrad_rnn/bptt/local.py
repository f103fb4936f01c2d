"""Sensitivities that stay within a unit: e-prop and RFLO, with the error fed back exactly or at random."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..backend import device_of
from ..node import Node
from ..random import Generator
from .linearised import Linearised
from .sparse import Sparse, matrix
from .strategy import register
from .structure import Patterns, ancestors, dependents, described, nodes, products, replaced, rewired, saved, units

__all__ = ["RFLO", "EProp"]

FEEDBACK = ("exact", "random")


@register("eprop", paper="Bellec et al. 2020, A solution to the learning dilemma for recurrent spiking networks")
@dataclass(frozen=True)
class EProp(Sparse):
    """Eligibility traces: ``ε' = ∂⁺z'/∂θ + J° ε``, with J° what of ∂z'/∂z takes no recurrent weight.

    The gradient is ``Σ_t ∂ℓ_t/∂θ + ∂ℓ_t/∂z_{t−1} ε``, with the error, too, not fed back through recurrent weights: a
    product of the carry with parameters, on the way to the new carry, hands nothing back. So each parameter has traces
    in the units that it leads to at once, and no other. For cells whose units meet in such products only, and from one
    step to the next; exact for those whose units do not meet at all.

    ``feedback`` "random": the products of the state with parameters on the way to the loss hand the error back through
    fixed random matrices, N(0, 1/fan-in), the same for the same ``seed`` (feedback alignment, Lillicrap et al. 2016).

    >>> import tinygrad_rnn as tg
    >>> w = tg.tensor([[0.5]], requires_grad=True)
    >>> def step(w, h, x):
    ...     h = 0.5 * h + h @ w + x
    ...     return h, h.sum()
    >>> problem = tg.bptt.Problem(w, step, tg.zeros((1, 1)), tg.ones((3, 1, 1)))
    >>> tg.bptt.gradient(problem, "eprop").gradients  # 1 at t = 1, then 0.5 · 1 + 2
    tensor([[3.5]])
    """

    feedback: str = "exact"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.feedback not in FEEDBACK:
            raise ValueError(f"feedback is {' or '.join(FEEDBACK)}, not {self.feedback!r}")

    def reach(self) -> None:
        return None

    def seen(self, step: Linearised) -> Linearised:
        inside = ancestors(step._roots)
        moving = dependents(step, [*step._wrt[step._split :], *(root for root in step._roots if root is not None)])
        found = products(step, moving)
        recurrent = {use for use in found if use[0] in inside}
        readout = [use for use in found if use[0] not in inside] if self.feedback == "random" else []
        weights = {use: self._random(*use, k) for k, use in enumerate(readout)}

        def change(node: Node, inputs: tuple) -> tuple:
            kept = node.saved
            for use in [(node, i) for i in range(len(inputs))]:
                if use in recurrent:
                    inputs = tuple(None if i == use[1] else parent for i, parent in enumerate(inputs))
                if use in weights:
                    kept = replaced(node.op, kept, 1 - use[1], weights[use])
            return node.op, inputs, kept

        return rewired(step, change)

    def _random(self, node: Node, argument: int, which: int) -> object:
        weight = saved(node, 1 - argument)
        std = node.inputs[argument].shape[-1] ** -0.5
        rng = Generator(self.seed).fork("feedback", which)
        return rng.normal(weight.shape, std=std, dtype=weight.dtype, device=device_of(weight)).data

    def admit(self, step: Linearised, seen: Linearised, whole: Patterns, used: Patterns) -> None:
        for full, kept in zip(whole.parameters, used.parameters, strict=True):
            if lost := set(full.tolist()) - set(kept.tolist()):
                raise ValueError(
                    f"{self.name}: {described(step, min(lost))} acts on the state through recurrent weights within the "
                    "step, as a reset gate does before the product; traces that take no recurrent weight would miss "
                    "that; use snap:1"
                )
        full, kept = (matrix(found.before, step.before.n) for found in (whole, used))
        meeting, unit = units(full), units(kept)  # rows of the batch never meet, so each has its own units
        for group in set(meeting.tolist()) if (kept != full).any() else ():
            size = np.count_nonzero(meeting == group)
            if size > len(step.state.sizes) and len(set(unit[meeting == group].tolist())) == 1:
                raise ValueError(
                    f"{self.name}: without recurrent weights all {size} numbers of the state still meet, so no trace "
                    "stays within a unit; use snap:1"
                )


@register("rflo", paper="Murray 2019, Local online learning in recurrent networks with random feedback")
@dataclass(frozen=True)
class RFLO(EProp):
    """Random-feedback local online learning: the traces of rate units, ``P' = (1 − α) P + α φ'(a) ⊗ (x, h)``.

    What ``eprop`` is for ``h' = (1 − α) h + α φ(a)``, a = x W + h U + b, with any constant in place of 1 − α, 0 too.
    The error is fed back at random, as in the paper, or exactly.

    >>> import tinygrad_rnn as tg
    >>> w = tg.tensor([[0.5]], requires_grad=True)
    >>> def step(w, h, x):
    ...     h = 0.5 * h + 0.5 * (h @ w + x)
    ...     return h, h.sum()
    >>> problem = tg.bptt.Problem(w, step, tg.zeros((1, 1)), tg.ones((3, 1, 1)))
    >>> tg.bptt.gradient(problem, "rflo:exact").gradients  # ½ · ½ at t = 1, then ½ · ¼ + ½ · ⅞
    tensor([[0.8125]])
    """

    feedback: str = "random"
    seed: int = 0

    def admit(self, step: Linearised, seen: Linearised, whole: Patterns, used: Patterns) -> None:
        super().admit(step, seen, whole, used)
        direct = dependents(seen, seen._wrt[seen._split :]) & ancestors(seen._roots)
        for node in nodes(seen):
            if node in direct and not _scales(node):
                raise ValueError(
                    f"{self.name}: `{node.op.name}`{node.place()} acts on the carried state; rate units are "
                    "h' = (1 − α) h + α φ(a) with a constant α; use eprop or snap:1"
                )
        for i, columns in enumerate(used.before):
            if not set(columns.tolist()) <= {i}:
                raise ValueError(
                    f"{self.name}: number {i} of the new state takes from numbers {columns.tolist()} of the old one; "
                    "rate units take from themselves alone; use eprop or snap:1"
                )


def _scales(node: Node) -> bool:
    """Whether a node only moves what it is given, adds to it, or multiplies it by a number."""
    if node.op.name in ("mul", "div"):
        return _is_number(node, 1) or (node.op.name == "mul" and _is_number(node, 0))
    return node.op.kind in ("leaf", "linear", "pick") or node.op.name in ("add", "sub", "neg")


def _is_number(node: Node, argument: int) -> bool:
    """Whether an argument is one constant."""
    return node.inputs[argument] is None and getattr(saved(node, argument), "size", 1) == 1
