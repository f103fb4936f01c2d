"""Which way something is done where there are several: decided once, kept for the machine, never changed within a run.

A question names what is done, with its sizes: "product float32 1024 128 512". Its answer is the name of a way. What a
resumed run began with is fixed; else it is what this process has decided, else what another process has measured on
this machine, else what is measured now.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from threading import RLock
from time import perf_counter, process_time

import numpy as np

from .. import io
from .native import machine

__all__ = ["Unavailable", "choose", "epoch", "fix", "fixed", "note", "taken"]

TURNS, SECONDS = 15, 0.015  # how often each way is tried at most, and for how long; three times in any case
MARGIN = 0.9  # of the usual way's time: what another way must stay below to be taken

CLOCK = perf_counter if sys.platform == "win32" else process_time  # others' work counts for nothing; Windows' is coarse

_lock = RLock()
_fixed: dict[str, str] = {}  # what the run began with
_decided: dict[str, str] = {}  # what this process has found out
_taken: dict[str, str] = {}  # what has been answered since the run began, or before with the same answers
_epoch = 0


class Unavailable(ValueError):
    """A way that a run began with and that is not to be had here; another one would change its numbers."""


def choose(question: str, ways: Mapping[str, Callable[[], None]], usual: str) -> str:
    """The way taken for this question: the usual one, unless another takes less than nine tenths of its time.

    A way is a function that does the work once, on arrays of its own. Raises Unavailable when the run began with none
    of these ways.

    >>> choose("sum of nothing", {"loop": lambda: None, "sleep": lambda: __import__("time").sleep(0.001)}, "loop")
    'loop'
    """
    with _lock:
        way = _fixed.get(question) or _decided.get(question)
        if way is None:
            way = _kept().get(question, "")
            if way not in ways:
                way = _fastest(ways, usual)
                _keep(question, way)
            _decided[question] = way
        if way not in ways:
            known = " or ".join(map(repr, ways))
            raise Unavailable(f"this run began with {way!r} for {question!r}, here there is {known}; start a new run")
        _taken[question] = way
        return way


def fixed(question: str) -> str | None:
    """What the run began with, None where nothing is fixed."""
    return _fixed.get(question)


def note(question: str, way: str) -> None:
    """Take down a decision that needs no measuring."""
    with _lock:
        _taken[question] = way
        if question not in _fixed:
            _decided[question] = way


def taken() -> dict[str, str]:
    """The ways that are fixed, and those that this process has taken: what a run needs to go on as it began."""
    with _lock:
        return {**_fixed, **_taken}


def fix(ways: Mapping[str, str]) -> None:
    """A run begins, or goes on: these questions are answered so, others as usual, whatever was taken before.

    >>> fix({"sum of nothing": "sleep"})
    >>> choose("sum of nothing", {"loop": lambda: None, "sleep": lambda: None}, "loop")
    'sleep'
    >>> fix({})
    """
    global _epoch
    with _lock:
        _fixed.clear()
        _fixed.update(ways)
        if any(way != _fixed.get(question, _decided.get(question)) for question, way in _taken.items()):
            _taken.clear()
            _epoch += 1


def epoch() -> int:
    """A number that changes when answers do: whatever was built on them before is not to be used again."""
    return _epoch


def _fastest(ways: Mapping[str, Callable[[], None]], usual: str) -> str:
    """The usual way, unless another is clearly faster, and again so when asked again: machines have other work too."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):  # on several threads it waits for others' work, fifteen times as long
        for way in ways.values():
            way()
        winners = {_winner(ways, usual) for _ in range(2)}
    return winners.pop() if len(winners) == 1 else usual


def _winner(ways: Mapping[str, Callable[[], None]], usual: str) -> str:
    """The ways by turns, by the least time of each and by its time beside the usual one's of the same turn."""
    turns: list[dict[str, float]] = []
    began = perf_counter()
    while len(turns) < 3 or (len(turns) < TURNS and perf_counter() - began < SECONDS):
        turns.append({name: _seconds(way) for name, way in ways.items()})
    least = {name: min(turn[name] for turn in turns) for name in ways}
    beside = {name: median(turn[name] / turn[usual] for turn in turns) for name in ways}
    best = min(least, key=least.__getitem__)
    return best if least[best] < MARGIN * least[usual] and beside[best] < MARGIN else usual


def _seconds(way: Callable[[], None]) -> float:
    start = CLOCK()
    way()
    return max(CLOCK() - start, 1e-9)


# The file of the machine: {processor and versions: {question: way}}


def _file() -> Path:
    return machine.cache_folder() / "choices.json"


@cache
def _here() -> str:
    """This processor, and the versions that measurements depend on."""
    return f"{machine.processor()}, llvmlite {_version('llvmlite')}, NumPy {np.__version__}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _machines() -> dict[str, dict[str, str]]:
    """What is in the file; nothing where it cannot be read."""
    try:
        found = json.loads(_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and all(isinstance(ways, dict) for ways in found.values()) else {}


def _kept() -> dict[str, str]:
    return _machines().get(_here(), {})


def _keep(question: str, way: str) -> None:
    machines = _machines()
    machines.setdefault(_here(), {})[question] = way
    with suppress(OSError):  # a folder that cannot be written costs the next process this measurement, nothing else
        _file().parent.mkdir(parents=True, exist_ok=True)
        io.atomic_write(_file(), json.dumps(machines, indent=1, sort_keys=True) + "\n")
