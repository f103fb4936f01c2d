"""Experiments of papers, small enough to run here: what the paper concludes, beside what comes out.

An experiment is one file with one function, ``run(*, full, seed, progress) -> Result``, and one line in EXPERIMENTS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from zoo.errors import unknown

__all__ = ["EXPERIMENTS", "Claim", "Experiment", "Result", "find"]


@dataclass(frozen=True)
class Claim:
    """What a paper concludes, and what came out here: a sentence with numbers, and whether it agrees."""

    paper: str
    here: str
    holds: bool


@dataclass(frozen=True)
class Result:
    """The rows of a table, the last ``numbers`` columns of which are numbers, and the claims that they bear on.

    ``data``: whatever was measured, as plain lists and numbers by name, for a file.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    claims: Sequence[Claim]
    numbers: int = 0
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Experiment:
    """An experiment by name: what it is about, whose it is, how it differs from theirs."""

    name: str
    summary: str
    paper: str

    @property
    def run(self) -> Callable[..., Result]:
        """``run(*, full: bool, seed: int, progress: Callable[[str], None]) -> Result``."""
        return import_module(f"zoo.experiments.{self.name.replace('-', '_')}").run


_ALL: tuple[Experiment, ...] = (
    Experiment("influence-balancing", "wrong way by truncation, right without bias", "Tallec & Ollivier 2017"),
    Experiment("temporal-order", "exploding gradients clipped, and vanishing ones regularised", "Pascanu et al. 2013"),
    Experiment("lag-norms", "error signals on their way back, in plain and gated nets", "Hochreiter 1991 and others"),
    Experiment("adding", "long memories by Hessian-free optimisation", "Martens & Sutskever 2011"),
)

EXPERIMENTS: dict[str, Experiment] = {e.name: e for e in _ALL}


def find(name: str) -> Experiment:
    """The experiment of that name. Raises UserError, with the nearest names, when there is none."""
    if name not in EXPERIMENTS:
        raise unknown("experiment", name, EXPERIMENTS)
    return EXPERIMENTS[name]
