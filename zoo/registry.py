"""The cells by name, each with where it comes from: what the tests, the commands and the pictures are driven by."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from zoo.cell import Cell
from zoo.errors import unknown

__all__ = ["Entry", "entry", "get", "names", "register"]


@dataclass(frozen=True)
class Entry:
    """One cell of the zoo: its class, its source, its family and its equations."""

    name: str
    cell: type[Cell]
    paper: str
    family: str
    equations: str

    @property
    def summary(self) -> str:
        """What the cell is, in one sentence."""
        return (self.cell.__doc__ or "").partition("\n")[0]

    @property
    def state(self) -> tuple[str, ...]:
        """The names of the parts of the state."""
        return self.cell.State._fields

    def count(self, input_size: int, hidden_size: int) -> int:
        """How many trainable numbers the cell has at these sizes."""
        return sum(p.size for p in self.cell(input_size, hidden_size).parameters())

    def formula(self) -> str:
        """That number as a polynomial in the input size I and the hidden size H, found by counting at a few sizes.

        It holds for I ≠ H: where the two are equal a cell may do without a projection. "no polynomial in I·H, H², I,
        H" when it is none.

        >>> entry("LSTM").formula()
        '4·I·H + 4·H² + 4·H'
        """
        terms = {"I·H": lambda i, h: i * h, "H²": lambda i, h: h * h, "I": lambda i, h: i, "H": lambda i, h: h}
        terms["1"] = lambda i, h: 1
        sizes = [(2, 3), (3, 5), (5, 2), (7, 4), (4, 8), (6, 9)]  # one more than there are terms, to see that they do
        table = np.array([[term(i, h) for term in terms.values()] for i, h in sizes], float)
        counts = [self.count(i, h) for i, h in sizes]
        found = np.linalg.lstsq(table, counts)[0].round(6)
        if not np.allclose(table @ found, counts):
            return f"no polynomial in {', '.join([*terms][:-1])}"
        shown = {t: f"{n:g}" if t == "1" else t if n == 1 else f"{n:g}·{t}" for n, t in zip(found, terms) if n}
        return " + ".join(shown.values())


CELLS: dict[str, Entry] = {}


def register(*, paper: str, family: str, equations: str) -> Callable[[type[Cell]], type[Cell]]:
    """Put a cell into the zoo: a class decorator. The equations and the source become part of its docstring."""

    def add(cell: type[Cell]) -> type[Cell]:
        name = cell.__name__
        known = {each.lower() for each in CELLS}
        if name.lower() in known:
            raise ValueError(f"register: the zoo has a cell {name} already; give this one another name")
        found = CELLS[name] = Entry(name, cell, paper, family, inspect.cleandoc(equations))
        body = [inspect.cleandoc(cell.__doc__ or ""), found.equations.replace("\n", "\n    "), paper]
        cell.__doc__ = "{}\n\n    {}\n\nSource: {}.".format(*body)
        return cell

    return add


def names() -> list[str]:
    """The names of all cells, in the order of the zoo.

    >>> "LSTM" in names()
    True
    """
    return list(CELLS)


def entry(name: str) -> Entry:
    """What the zoo knows about a cell; upper and lower case are the same. Raises UserError with the nearest names."""
    folded = {each.lower(): found for each, found in CELLS.items()}
    if name.lower() not in folded:
        raise unknown("cell", name, CELLS)
    return folded[name.lower()]


def get(name: str) -> type[Cell]:
    """The class of a cell by its name: ``get("lstm")(input_size, hidden_size)``. Raises UserError as ``entry`` does.

    >>> get("lstm").__name__
    'LSTM'
    """
    return entry(name).cell
