"""`python -m zoo train`: from a task's name to a trained model in a folder of its own."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn.bptt.strategy import usage
from zoo import console, registry, tasks
from zoo.commands import AMOUNT, COUNT, INTERRUPTED, Parser, device, number, threads
from zoo.errors import UserError, one_line
from zoo.run import Run
from zoo.tasks.task import Task
from zoo.train import strategy, train

EXAMPLES = """tasks:
{tasks}

examples:
  python -m zoo train char-lm                        about a minute
  python -m zoo train char-lm --quick                seconds, to see it work
  python -m zoo train char-lm --cell GRU --layers 2  another cell, two layers
  python -m zoo train char-lm --text mybook.txt      your own text
  python -m zoo train --resume runs/char-lm-1        go on after Ctrl-C or a crash
  python -m zoo train helo                           four letters, all messages drawn
  python -m zoo train adding --bptt chunks:20        gradients that reach back 20 steps at most

ways to find the gradient (--bptt):
{strategies}
"""


def cell(name: str) -> str:
    """The name of a cell as the zoo writes it."""
    return registry.entry(name).name


def bptt(text: str) -> str:
    """How gradients are found, as the strategy itself writes it."""
    try:
        return str(tg.bptt.strategy(text))
    except ValueError as error:
        raise UserError(f"argument --bptt: {error}") from error


# What tasks may ask for: flag → (type, placeholder, meaning). A task takes those that its `defaults` name.
OPTIONS: dict[str, tuple[Callable[[str], Any], str, str]] = {
    "cell": (cell, "NAME", "the recurrent cell; `python -m zoo list` shows them"),
    "layers": (COUNT, "N", "layers on top of each other"),
    "hidden": (COUNT, "N", "units in a layer"),
    "embedding": (COUNT, "N", "entries of a token's vector"),
    "dropout": (number(float, low=0, high=1), "P", "share of what a layer hands up that is dropped"),
    "text": (os.path.abspath, "FILE", "learn from this UTF-8 text (char-lm: Python's own manual)"),
    "length": (COUNT, "N", "time steps of a sequence; for copy, of its gap"),
    "steps": (COUNT, "N", "batches to learn from; each is one update of the parameters, or more, as --bptt finds them"),
    "batch": (COUNT, "N", "sequences side by side"),
    "chunk": (COUNT, "N", "time steps of a batch, where a sequence is read piece by piece and its state carried on"),
    "bptt": (bptt, "WAY", "how gradients are found along time, such as chunks:20; the ways are below"),
    "learning-rate": (AMOUNT, "X", "peak learning rate"),
    "warmup": (number(int, low=0), "N", "steps until that peak"),
    "clip": (AMOUNT, "X", "largest global norm of a gradient"),
}


def main(arguments: Sequence[str]) -> int:
    """Parse, set up, train; see `python -m zoo train --help`."""
    width = max(map(len, tasks.TASKS))
    summaries = "\n".join(f"  {name:<{width}}  {tasks.find(name).summary}" for name in tasks.TASKS)
    ways = sorted(tg.bptt.strategies().values(), key=lambda way: (not way.exact, not way.unbiased))
    kinds = ["exact" if way.exact else "unbiased" if way.unbiased else "biased" for way in ways]
    wide = max(len(usage(way)) for way in ways)
    shown = [f"  {usage(way):<{wide}}  {kind:<8}  {way.paper}" for way, kind in zip(ways, kinds, strict=True)]
    parser = Parser("train", arguments="TASK", examples=EXAMPLES.format(tasks=summaries, strategies="\n".join(shown)))
    parser.add_argument("task", nargs="?", metavar="TASK", help=" or ".join(tasks.TASKS))
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", dest="preset", action="store_const", const="quick", help="seconds, to see it work")
    size.add_argument("--full", dest="preset", action="store_const", const="full", help="much longer, and better")
    for name, (kind, placeholder, meaning) in OPTIONS.items():
        parser.add_argument(f"--{name}", type=kind, metavar=placeholder, help=meaning + _defaults(name))
    parser.add_argument("--seed", type=number(int, low=0), metavar="N", help="where all randomness comes from (0)")
    parser.add_argument("--device", metavar="D", help="cpu or cuda (cpu)")
    parser.add_argument("--threads", type=COUNT, metavar="N", help="threads of matrix products and time loops (1)")
    parser.add_argument("--out", metavar="DIR", help="the run's folder, new or empty (runs/TASK-1, -2, …)")
    parser.add_argument("--resume", metavar="DIR", help="go on with this run, as it was configured (but for --device)")
    parsed = vars(parser.parse_args(arguments))
    given = {name.replace("_", "-"): value for name, value in parsed.items() if value is not None}

    task, run = _resumed(given) if "resume" in given else _new(given)
    place = {"device": task.device, "run folder": str(run.folder)}
    console.facts({"task": f"{task.name}, {task.summary}", **task.facts(), **place})
    try:
        with threads(run.config["threads"]):
            train(task, run)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UserError(f"{one_line(error)}; then go on with: {run.resume}") from error
    except KeyboardInterrupt:
        console.say(f"stopped; go on with: {run.resume}")
        return INTERRUPTED
    return 0


def _new(given: dict[str, Any]) -> tuple[Task, Run]:
    if "task" not in given:
        raise UserError(f"name a task to train: {', '.join(tasks.TASKS)} (python -m zoo train --help)")
    kind = tasks.find(given["task"])
    options = kind.resolve({name: given[name] for name in OPTIONS if name in given}, given.get("preset"))
    settings = {"seed": given.get("seed", 0), "device": device(given.get("device", "cpu"))}
    task = kind(options, **settings)
    strategy(task)
    config = {
        "task": kind.name,
        "options": options,
        **settings,
        "threads": given.get("threads", 1),
        "data": task.data,
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
    }
    try:
        run = Run.create(given["out"], config) if "out" in given else Run.numbered("runs", kind.name, config)
    except OSError as error:
        raise UserError(f"cannot begin a run: {one_line(error)}; choose another folder with --out") from error
    return task, run


def _resumed(given: dict[str, Any]) -> tuple[Task, Run]:
    run = Run.open(given.pop("resume"))
    name = run.config["task"]
    if given.pop("task", name) != name:
        raise UserError(f"{run.folder} is a run of {name}; leave the task out, --resume knows it")
    place = device(given.pop("device", run.config["device"]))
    if given:
        first = given.get("preset") or next(iter(given))
        raise UserError(f"--resume goes on with a run as it was configured: leave out --{first}")
    kind = tasks.find(name)
    task = kind(kind.resolve(run.config["options"]), seed=run.config["seed"], device=place)
    if task.data != run.config["data"]:
        raise UserError(f"the data of {run.folder} have changed since it began; start a new run")
    return task, run


def _defaults(option: str) -> str:
    values = {name: tasks.find(name).defaults for name in tasks.TASKS}
    taken = [f"{name} {values[name][option]}" for name in values if values[name].get(option) is not None]
    return f" ({', '.join(taken)})" if taken else ""
