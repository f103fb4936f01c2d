"""`python -m viz norms`, `lag`, …: matplotlib's pictures of a net that reads a text, trained or as it begins."""

from __future__ import annotations

import argparse
import math
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import zoo
from zoo.errors import UserError
from zoo.run import Run
from zoo.tasks import text as texts

from .attention import VIEWS, attention
from .clipping import KEY, clip
from .connect import connect
from .demos import learnt, reversing
from .figure import Plot
from .gates import gates
from .lag import lag
from .norms import norms
from .reading import LOSSES, Reading, counted, passage, trained, untrained
from .search import PREDICATES
from .spectra import jacobians
from .units import units


class Command(NamedTuple):
    """A subcommand: what it is, what it draws from its options, its own options, its defaults for those of all."""

    help: str
    draw: Callable[[Any], Plot]
    options: Mapping[str, Mapping[str, Any]] = {}
    defaults: Mapping[str, Any] = {}


def add(commands: Any) -> None:
    """Put the subcommands into the parser of `python -m viz`; each is to be run as ``run(**options)``."""
    cells = textwrap.fill(f"cells: {', '.join(zoo.names())}", 80, subsequent_indent=" " * 7)
    for name, command in COMMANDS.items():
        parser = commands.add_parser(
            name, help=command.help, description=command.help[0].upper() + command.help[1:] + ".", epilog=cells,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        for option in OPTIONS:
            given = {**OPTIONS[option], "default": command.defaults.get(option, OPTIONS[option].get("default"))}
            if option == "out":
                given["default"] = f"{name}.svg"
            if option == "cell":
                given["help"] += f" ({' '.join(given['default'])})"
            parser.add_argument(f"--{option}", **given)
        for option, how in command.options.items():
            parser.add_argument(f"--{option}", **how)
        parser.set_defaults(run=partial(main, name))


def main(name: str, *, out: str, **options: Any) -> int:
    """Draw one and save it; 0. Raises UserError, ValueError or OSError where it cannot be drawn as asked."""
    picture = COMMANDS[name].draw(argparse.Namespace(**options))
    print(f"{picture.save(out)}: {picture.line}")
    return 0


def _readings(given: Any) -> list[Reading]:
    """What is drawn, one for each cell."""
    if given.trained:
        return [trained(given.trained, given.text, given.steps, loss=given.loss)]
    text = passage(given.text, given.steps)
    how = {key: getattr(given, key) for key in ("hidden", "layers", "loss", "dtype", "seed")}
    found = [untrained(cell, text, **how) for cell in given.cell]
    if given.updates:
        for reading in found:
            learnt(reading, threshold=1.0, updates=given.updates)
        about = f"{counted(given.hidden)}, after {counted(given.updates, 'update')}"
        found = [replace(reading, about=about) for reading in found]
    return found


def _reading(given: Any) -> Reading:
    if len(given.cell) > 1 and not given.trained:
        raise UserError(f"this picture shows one cell, not {' '.join(given.cell)}; norms shows several")
    return _readings(given)[0]


def _of(picture: Plot, *names: str) -> Plot:
    """The picture with a title that also says which net is seen."""
    return replace(picture, title=f"{picture.title}\n{', '.join(names)}")


def _norms(given: Any) -> Plot:
    found = _readings(given)
    one, text = found[0], found[0].text
    if len(found) == 1:
        return _of(norms(one.problem, text=text), one.name, one.about)
    if len({each.name for each in found}) < len(found):
        raise UserError(f"--cell {' '.join(given.cell)}: a cell is there twice")
    return _of(norms({each.name: each.problem for each in found}, text=text), one.about)


def _lag(given: Any) -> Plot:
    reading = _reading(given)
    return _of(lag(reading.problem, given.wrt, text=reading.text), reading.name, reading.about)


def _jacobians(given: Any) -> Plot:
    reading = _reading(given)
    return _of(jacobians(reading.problem, text=reading.text), reading.name, reading.about)


def _gates(given: Any) -> Plot:
    reading = _reading(given)
    return _of(gates(reading.problem, text=reading.text, unit=given.unit), reading.name, reading.about)


def _units(given: Any) -> Plot:
    reading = _reading(given)
    states = reading.states()
    name = given.state or next((name for name in reversed(states) if name.rpartition("/")[2] == "h"), [*states][-1])
    if name not in states:
        raise UserError(f"--state {name}: this net carries {', '.join(states)}")
    guesses = reading.guesses() if given.trained else None
    how = {"unit": given.unit, "predicate": given.predicate, "count": given.count}
    picture = units(states[name], reading.text, **how, guesses=guesses)
    return _of(picture, f"{name} of {reading.name}", reading.about)


def _connect(given: Any) -> Plot:
    reading = _reading(given)
    picture = connect(reading.logits, reading.xs, reading.text, at=given.at, characters=reading.characters)
    return _of(picture, reading.name, reading.about)


def _clip(given: Any) -> Plot:
    if given.trained:
        run = Run.open(given.trained)
        records = [record for record in run.records() if KEY in record]
        if not records:
            raise UserError(f"{run.folder} has no steps yet; train it: {run.resume}")
        return _of(clip(records, _threshold(given, run.config["options"]["clip"])), run.folder.name)
    reading, threshold = _reading(argparse.Namespace(**vars(given) | {"updates": 0})), _threshold(given, 1.0)
    picture = clip(learnt(reading, threshold=threshold, updates=given.updates), threshold)
    return _of(picture, reading.name, counted(given.hidden))


def _threshold(given: Any, default: float) -> float:
    if given.threshold is not None and not 0 < given.threshold < math.inf:
        raise UserError(f"--threshold {given.threshold:g}: it must be more than 0, and finite")
    return default if given.threshold is None else given.threshold


def _attention(given: Any) -> Plot:
    if given.trained:
        raise UserError("attention draws an encoder-decoder, which no run of char-lm is; leave --run out")
    text = texts.load(given.text).text[: given.steps] if given.text else "backward"
    weights, written = reversing(given.cell[0], text, hidden=given.hidden, updates=given.updates, seed=given.seed)
    name, after = zoo.get(given.cell[0]).__name__, counted(given.updates, "update")
    return _of(attention(weights, text, written, view=given.view), name, counted(given.hidden), f"after {after}")


NUMBER: Mapping[str, Any] = {"type": int, "metavar": "N"}
OPTIONS: dict[str, dict[str, Any]] = {  # of all subcommands
    "cell": {"nargs": "+", "default": ["LSTM"], "metavar": "NAME",
             "help": "a cell of the zoo; norms takes several"},
    "run": {"dest": "trained", "metavar": "DIR", "help": "instead of a cell: the folder of a trained run of char-lm"},
    "text": {"metavar": "FILE", "help": "what is read (a short text with quotes, brackets and indentation)"},
    "steps": {**NUMBER, "default": 60, "help": "characters of it (%(default)s)"},
    "hidden": {**NUMBER, "default": 16, "help": "size of the state (%(default)s)"},
    "layers": {**NUMBER, "default": 1, "help": "cells on top of each other (%(default)s)"},
    "updates": {**NUMBER, "default": 0, "help": "of a training on that text, before it is drawn (%(default)s)"},
    "loss": {"choices": LOSSES, "default": "each", "help": "at each step or the last (%(default)s)"},
    "dtype": {"choices": ("float64", "float32"), "default": "float64", "help": "of a cell's numbers (%(default)s)"},
    "seed": {**NUMBER, "default": 0, "help": "of the parameters (%(default)s)"},
    "out": {"metavar": "FILE", "help": ".svg, .png or .pdf; for units also .html, to flip through them (%(default)s)"},
}  # fmt: skip
COMMANDS: dict[str, Command] = {
    "norms": Command(
        "how large the messages are that travel back, step by step, for one cell or several", _norms,
        defaults={"loss": "last"},
    ),
    "lag": Command(
        "which loss gets how much of its gradient from which earlier step", _lag,
        {"wrt": {"metavar": "PARAMETER", "help": "such as rnn/cell/U; or x, or state (all parameters)"}}, {"steps": 40},
    ),
    "jacobians": Command("singular values of the steps and of their products, and eigenvalues", _jacobians),
    "gates": Command(
        "the gates of a cell over the text, and how often they are shut or open", _gates,
        {"unit": {**NUMBER, "help": "one unit only (all)"}},
    ),
    "units": Command(
        "the text coloured by units of the state, those first that follow quotes or brackets", _units,
        {"predicate": {"choices": [*PREDICATES], "help": "what units are searched for"},
         "unit": {**NUMBER, "help": "draw this one"},
         "count": {**NUMBER, "default": 1, "help": "how many of those found (%(default)s)"},
         "state": {"metavar": "PART", "help": "which part of the state, such as c (h of the top layer)"}},
        {"steps": 220},
    ),
    "connect": Command(
        "which characters read so far an output depends on", _connect,
        {"at": {**NUMBER, "nargs": "+", "default": [-1], "help": "steps from 0 on, or −1, −2, … from the end (−1)"}},
        {"steps": 120},
    ),
    "clip": Command(
        "norms of gradients before and after clipping, of a run or of a short training on the text", _clip,
        {"threshold": {"type": float, "metavar": "X", "help": "the largest norm (the run's, or 1)"}}, {"updates": 100},
    ),
    "attention": Command(
        "what a decoder looks at that was trained, for some seconds, to write words backward", _attention,
        {"view": {"choices": [*VIEWS], "default": "table", "help": "table or lines (%(default)s)"}},
        {"cell": ["GRU"], "hidden": 32, "updates": 300},
    ),
}  # fmt: skip
