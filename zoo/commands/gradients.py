"""`python -m zoo gradients`: every estimator of the gradient of one loss along time, beside the exact one."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import tinygrad_rnn as tg
from tinygrad_rnn import bptt, io
from zoo import console, registry, tasks
from zoo.commands import COUNT, Parser, number, threads
from zoo.errors import UserError
from zoo.run import Run
from zoo.tasks.task import Task

EXAMPLES = """examples:
  python -m zoo gradients --cell lstm --task copy                     all estimators there are
  python -m zoo gradients --task adding --strategies chunks:5,uoro    some of them
  python -m zoo gradients --cell GRU --hidden 32 --seeds 200 --json gradients.json
  python -m zoo gradients --run runs/copy-1                           with weights that were trained
"""

SIZES = {  # option → default, and what it is; a task takes those that it knows
    "hidden": (16, "hidden size"),
    "length": (10, "length of the task's sequences; for copy, of its gap"),
    "chunk": (20, "steps of a task that reads one long sequence"),
    "batch": (1, "sequences side by side"),
}

MADE = ("cell", "hidden")  # what a run's model is made of

HEADER = ("estimator", "says it is", "seeds", "ms", "÷ full", "memory", "bias", "variance", "cosine")
EXPLAINED = {
    "says it is": "exact, unbiased (exact on average over random numbers) or biased; or why it cannot do this problem",
    "seeds": "how many estimates there are, 1 where nothing is random",
    "ms": "median time of one gradient; all took turns",
    "÷ full": "that time divided by the one of full backpropagation through time, one compiled loop where it can be",
    "memory": "the most that Python and NumPy held at once for it",
    "bias": "‖mean estimate − gradient‖ ÷ ‖gradient‖, and what it may be instead with so many seeds (95 %; further off "
    "where large estimates are rare)",
    "variance": "mean ‖estimate − mean‖² ÷ ‖gradient‖²: 1 is noise as long as the gradient itself",
    "cosine": "of the angle between one estimate and the gradient, on average, and where its mean lies (95 %)",
}

USUAL: dict[str, Callable[[int], list[str]]] = {  # options for a run of T steps; else T / 4 for each that is needed
    "window": lambda T: [f"1,{_quarter(T)}", f"{_quarter(T)},{2 * _quarter(T)}"],
    "budget": lambda T: ["3"],
    "adaptive": lambda T: ["0.1"],
    "snap": lambda T: ["1", "2"],
    "eprop": lambda T: ["exact", "random"],
    "artbp": lambda T: [f"{2 * _quarter(T)}", f"{2 * _quarter(T)},fixed"],  # shorter, few seeds see what is rare
}


def main(arguments: Sequence[str]) -> int:
    """Measure and print a table; see `python -m zoo gradients --help`."""
    given = _parsed(arguments)
    with threads(1):
        task, weights = _task(given)
        problem = task.problem(0, task.begin())
        problem = replace(problem, carry=_double(problem.carry), xs=_double(problem.xs))
        ways = [bptt.strategy(text) for text in given.strategies or usual(len(problem))]
        size = sum(p.size for p in task.model.parameters())
        cell = task.options.get("cell") or type(task.model).__name__
        console.say(f"{cell} on {task.name}: {len(problem)} steps, {size:,} parameters ({weights}), float64")
        try:
            found = _followed(problem, ways, given.seeds)
        except ValueError as error:
            raise UserError(str(error)) from error
    console.table(HEADER, [_row(way, each) for way, each in zip(ways, found, strict=True)], numbers=7)
    console.facts(EXPLAINED)
    if given.json:
        about = {"cell": cell, "task": task.name, "steps": len(problem), "parameters": size, "weights": weights}
        rows = [{**asdict(each), "paper": way.paper} for way, each in zip(ways, found, strict=True)]
        io.atomic_write(given.json, json.dumps({**about, "estimators": rows}, indent=1, ensure_ascii=False) + "\n")
    return 0


def usual(T: int) -> list[str]:
    """Every strategy there is, once or a few times, with options that fit a run of T steps.

    >>> [text for text in usual(20) if text.startswith(("full", "chunks", "window"))]
    ['full', 'window:1,5', 'window:5,10', 'chunks:5']
    """
    found = []
    kinds = sorted(bptt.strategies().items(), key=lambda item: (item[0] != "full", not item[1].exact, item[1].unbiased))
    for name, kind in kinds:
        needed = sum(field.default is dataclasses.MISSING for field in dataclasses.fields(kind))
        choices = USUAL[name](T) if name in USUAL else [",".join([str(_quarter(T))] * needed)]
        found += [f"{name}:{options}" if options else name for options in choices]
    return found


def _quarter(T: int) -> int:
    return max(2, T // 4)


def _parsed(arguments: Sequence[str]) -> Any:
    parser = Parser("gradients", examples=EXAMPLES)
    parser.add_argument("--cell", type=_cell, metavar="NAME", help="a cell of `python -m zoo list` (LSTM)")
    parser.add_argument("--task", metavar="NAME", help="a task of `python -m zoo list` (copy)")
    for name, (default, meaning) in SIZES.items():
        parser.add_argument(f"--{name}", type=COUNT, metavar="N", help=f"{meaning} ({default})")
    parser.add_argument("--run", metavar="DIR", help="a run of `python -m zoo train`: its task, its trained model")
    parser.add_argument("--seeds", type=number(int, low=2), default=50, metavar="N", help="of random estimators (50)")
    parser.add_argument("--strategies", type=_listed, metavar="LIST", help="as in full,chunks:5,window:1,5 (all)")
    parser.add_argument("--json", metavar="FILE", help="write the numbers into a file too")
    given = parser.parse_args(arguments)
    if given.run and (fixed := [name for name in ("task", *MADE) if getattr(given, name) is not None]):
        raise UserError(f"--run takes the model of {given.run} as it was trained: leave --{fixed[0]} out")
    if given.json and not Path(given.json).absolute().parent.is_dir():
        raise UserError(f"--json {given.json}: there is no such folder")
    return given


def _cell(name: str) -> str:
    return registry.entry(name).name


def _listed(text: str) -> list[str]:
    """Strategies apart: a part that is neither a name nor has options belongs to those of the one before.

    >>> _listed("full,window:1,5,uoro")
    ['full', 'window:1,5', 'uoro']
    """
    found: list[str] = []
    for part in text.split(","):
        if found and ":" not in part and part not in bptt.strategies():
            found[-1] += f",{part}"
        else:
            found.append(part)
    try:
        return [str(bptt.strategy(each.strip())) for each in found]
    except ValueError as error:
        raise UserError(f"--strategies: {error}") from error


def _task(given: Any) -> tuple[Task, str]:
    """The task with its model in double precision, and in words what the weights are."""
    run = Run.open(given.run) if given.run else None
    kind = tasks.find(run.config["task"] if run else given.task or "copy")
    start: dict[str, Any] = {"cell": "LSTM", **{name: default for name, (default, _) in SIZES.items()}}
    usual = {name: value for name, value in start.items() if name in kind.defaults}
    if run:
        usual = {**run.config["options"], **{name: usual[name] for name in usual if name not in MADE}}
    chosen = {name: value for name in start if (value := getattr(given, name)) is not None}
    task = kind(kind.resolve({**usual, **chosen}), seed=run.config["seed"] if run else 0, device="cpu")
    if run:
        task.model.load_state_dict(run.weights())
    task.model.astype("float64")
    return task, f"trained in {run.folder}" if run else "untrained"


def _double(container: Any) -> Any:
    def cast(x: Any) -> Any:
        return x.astype("float64") if isinstance(x, tg.Tensor) and x.dtype.kind == "f" else x

    return tg.tree.map(cast, container)


def _followed(problem: bptt.Problem, ways: list[bptt.Strategy], seeds: int) -> list[bptt.Comparison]:
    """The comparison, behind a progress bar where someone is watching."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task("estimating", total=None)
        return bptt.compare(
            problem, ways, seeds=seeds, progress=lambda done, total: progress.update(bar, completed=done, total=total)
        )


def _row(way: bptt.Strategy, found: bptt.Comparison) -> list[str]:
    claim = "exact" if way.exact else "unbiased" if way.unbiased else "biased"
    if (m := found.measured) is None:
        return [str(way), f"refused: {found.refused}", *["–"] * 7]
    return [
        str(way), claim, str(m.runs), f"{m.seconds * 1e3:.1f}", f"{m.ratio:.2f}", f"{m.memory / 2**20:.2f} MiB",
        _interval(m.bias), f"{m.variance:.2g}" if m.runs > 1 else "–", _interval(m.cosine),
    ]  # fmt: skip


def _interval(found: bptt.Interval) -> str:
    if found.low == found.high:
        return f"{found.value:.2g}"
    return f"{found.value:.2g} [{found.low:.2g}, {found.high:.2g}]"
