"""Which units of a net keep track of something: what a text is like at each character, and who goes along with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .figure import host

Predicate = Callable[[str], Sequence[float]]


class Found(NamedTuple):
    """A unit, and the correlation of its value with what was looked for."""

    unit: int
    correlation: float


def quotes(text: str) -> list[float]:
    """1 from an opening quotation mark on until the closing one; an apostrophe between letters is none.

    >>> "".join(str(int(x)) for x in quotes("a 'b' don't"))
    '00110000000'
    """
    found, closing = [], ""
    for i, c in enumerate(text):
        apostrophe = c in "'’" and 0 < i < len(text) - 1 and text[i - 1].isalnum() and text[i + 1].isalnum()
        if closing:
            closing = "" if c == closing and not apostrophe else closing
        elif not apostrophe:
            closing = QUOTES.get(c, "")
        found.append(float(bool(closing)))
    return found


def brackets(text: str) -> list[float]:
    """How many brackets are open after each character, ( [ or {; a closing one too many is nothing.

    >>> brackets("f(a[0])")
    [0.0, 1.0, 1.0, 2.0, 2.0, 1.0, 0.0]
    """
    found, depth = [], 0
    for c in text:
        depth = max(0, depth + (c in "([{") - (c in ")]}"))
        found.append(float(depth))
    return found


def indentation(text: str) -> list[float]:
    """How many blanks the line began with, counted so far; a tab goes to the next multiple of eight.

    >>> indentation("if x:\\n  y\\n")
    [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 2.0, 0.0]
    """
    found, width, inside = [], 0, True
    for c in text:
        if c == "\n":
            width, inside = 0, True
        elif inside and c in " \t":
            width = width + 1 if c == " " else width // 8 * 8 + 8
        else:
            inside = False
        found.append(float(width))
    return found


def column(text: str) -> list[float]:
    """How many characters of its line there are up to each, the newline before them being 0.

    >>> column("ab\\ncd")
    [1.0, 2.0, 0.0, 1.0, 2.0]
    """
    found, count = [], 0
    for c in text:
        count = 0 if c == "\n" else count + 1
        found.append(float(count))
    return found


QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "«": "»", "„": "“", "「": "」"}
PREDICATES: dict[str, Predicate] = {
    "quotes": quotes, "brackets": brackets, "indentation": indentation, "column": column,
}  # fmt: skip


def search_units(states: Any, text: str, predicate: str | Predicate) -> list[Found]:
    """All units by how well they go along with a property of the text, |r| largest first.

        r_k = corr_t(states[t, k], predicate(text)[t])        Pearson's correlation; 0 for a unit that never changes

    ``states`` (T, H): unit by unit the value after each character of the text (T). ``predicate``: "quotes", "brackets"
    (depth), "indentation", "column" (place in the line), or a function of the text that gives T numbers, of which the
    t-th is about the text up to t. Raises ValueError for another name, sizes that do not fit, and a property that is
    the same all along the text.

    Karpathy, Johnson & Fei-Fei 2015, "Visualizing and understanding recurrent networks", arXiv:1506.02078, found such
    units by looking; correlation only says which to look at first.

    >>> states = np.array([[0.0, 0.1], [1.0, 0.2], [1.0, 0.1], [0.0, 0.1]])
    >>> search_units(states, '("")', "brackets")[0]
    Found(unit=0, correlation=0.577350269189...)
    """
    values = checked("search_units", states, text)
    if callable(predicate):
        name, wanted = getattr(predicate, "__name__", "predicate"), predicate(text)
    elif predicate in PREDICATES:
        name, wanted = predicate, PREDICATES[predicate](text)
    else:
        raise ValueError(f"search_units: predicate={predicate!r} is none of {', '.join(PREDICATES)}, and no function")
    target = np.asarray(wanted, float)
    if target.shape != (len(text),):
        raise ValueError(f"search_units: {name} gave numbers of shape {target.shape} for {len(text)} characters")
    if np.ptp(target) == 0:
        raise ValueError(f"search_units: {name} is {target[0]:g} all along this text; take one in which it changes")
    centred, aim = values - values.mean(0), target - target.mean()
    length = np.sqrt((centred**2).sum(0))
    moving = np.ptp(values, axis=0) > 0
    r = np.where(moving, aim @ centred / np.where(moving, length, 1) / np.sqrt((aim**2).sum()), 0.0)
    order = np.argsort(-abs(r), kind="stable")
    return [Found(int(k), float(r[k])) for k in order]


def checked(place: str, states: Any, text: str) -> np.ndarray:
    """States (T, H), or (T, 1, H), as numbers of float64, one row for each character."""
    values = host(states)
    if values.ndim == 3 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 2 or len(values) != len(text) or not text:
        raise ValueError(f"{place}: states {values.shape} for {len(text)} characters; they are (characters, units)")
    if not np.isfinite(values).all():
        raise ValueError(f"{place}: the states are not all finite")
    return values.astype(float)
