"""All strategies in one table: where they look, what they keep, what that costs, and what comes out.

The view is that of Marschall, Cho & Savin 2020, A unified framework of online learning algorithms for training
recurrent neural networks, arXiv:1907.02649: the gradient of all losses after all parameters is a sum over pairs (when
a parameter acts, when a loss arises). *Future facing* methods find, for what a parameter does now, the losses that
follow: a message δ that travels backward. *Past facing* ones find, for the loss of now, the actions that came before:
sensitivities Γ that travel forward, exactly or with something smaller in their place.
"""

from __future__ import annotations

from typing import NamedTuple

from .strategy import Strategy, strategies, usage

__all__ = ["SYMBOLS", "View", "markdown", "table"]

SYMBOLS = {
    "n": "numbers of the state",
    "P": "parameters",
    "T": "steps of the run",
    "S": "numbers that one step keeps for its pullback",
    "m, r": "rows and columns of a matrix of parameters, its bias a row of it",
    "q": "numbers of the state that a parameter reaches, of those that are kept",
    "i, j, k": "a parameter leads from i to unit j; k is a number of the state",
}


class View(NamedTuple):
    """One strategy in the table.

    ``facing``: "future" or "past". ``tensor``: what travels from step to step, by its indices. ``noise``:
    "deterministic" or "stochastic". ``gradient``: "exact", "unbiased" (on average over the noise) or "biased".
    ``memory``: how many numbers are kept. ``cost``: what a step takes.
    """

    usage: str
    facing: str
    tensor: str
    noise: str
    gradient: str
    memory: str
    cost: str


BACK, FORTH = "future", "past"
ONE = "1 run, 1 pullback"
ROWS: dict[str, tuple[str, str, str, str, str]] = {
    "full": (BACK, "δ_k", "deterministic", "T S", ONE),
    "sqrt": (BACK, "δ_k", "deterministic", "√T (n + S)", "2 runs, 1 pullback"),
    "segments": (BACK, "δ_k", "deterministic", "LENGTH S + T n / LENGTH", "2 runs, 1 pullback"),
    "budget": (BACK, "δ_k", "deterministic", "SLOTS n + LENGTH S", "about log T / log SLOTS runs, 1 pullback"),
    "chunks": (BACK, "δ_k, cut", "deterministic", "LENGTH S", ONE),
    "window": (BACK, "δ_k, cut", "deterministic", "BACK S", "1 run, BACK / EVERY pullbacks"),
    "adaptive": (BACK, "δ_k, cut", "deterministic", "2 K S, K as found", "1 run, 2 pullbacks"),
    "artbp": (BACK, "δ_k, cut at random, weighted", "stochastic", "LENGTH S on average", ONE),
    "rtrl": (FORTH, "Γ_kij", "deterministic", "n P", "1 run, n + 1 pullbacks, n² P"),
    "forward": (FORTH, "(Γ v)_k v_ij", "stochastic", "DIRECTIONS (n + P)", "1 run, DIRECTIONS pushes"),
    "uoro": (FORTH, "s̃_k θ̃_ij", "stochastic", "n + P", "1 run, 2 pullbacks, 1 push"),
    "kf-rtrl": (FORTH, "u_i A_kj", "stochastic", "m + n r", "1 run, n + 1 pullbacks, n² r"),
    "snap": (FORTH, "Γ_kij, near k only", "deterministic", "q P", "1 run, n + q + 1 pullbacks, q² P"),
    "eprop": (FORTH, "ε_ij in a unit", "deterministic", "q P", "1 run, 2 q + 1 pullbacks, q² P"),
    "rflo": (FORTH, "P_ij", "deterministic", "P", "1 run, 3 pullbacks, P"),
}


def table() -> list[View]:
    """All registered strategies as rows; those known here in the order of the table.

    Raises ValueError for a strategy that the table does not have.
    """
    known = strategies()
    if missing := known.keys() - ROWS.keys():
        raise ValueError(f"view: no row for {', '.join(sorted(missing))}; add one to ROWS")
    rows = []
    for name, (facing, tensor, noise, memory, cost) in ROWS.items():
        if (kind := known.get(name)) is not None:
            rows.append(View(usage(kind), facing, tensor, noise, _gradient(kind), memory, cost))
    return rows


def _gradient(kind: type[Strategy]) -> str:
    return "exact" if kind.exact else "unbiased" if kind.unbiased else "biased"


def markdown() -> str:
    """The table as text.

    >>> print(markdown().splitlines()[2])
    | full | future | δ_k | deterministic | exact | T S | 1 run, 1 pullback |
    """
    lines = ["| " + " | ".join(row) + " |" for row in (View._fields, ["---"] * len(View._fields), *table())]
    legend = "; ".join(f"{symbol}: {meaning}" for symbol, meaning in SYMBOLS.items())
    return "\n".join([*lines, "", legend])
