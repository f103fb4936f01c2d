"""`python -m zoo gradients`: every estimator of the gradient of one loss along time, beside the exact one."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import tinygrad_rnn as tg
from tinygrad_rnn import bptt, io
from zoo import console, registry, tasks
from zoo.commands import COUNT, Parser, number, threads
from zoo.errors import UserError

EXAMPLES = """examples:
  python -m zoo gradients --cell lstm --task copy                     all estimators there are
  python -m zoo gradients --task adding --strategies chunks:5,uoro    some of them
  python -m zoo gradients --cell GRU --hidden 32 --seeds 200 --json gradients.json
"""

DEFAULTS = {"hidden": 16, "length": 10, "batch": 1}

HEADER = ("estimator", "says it is", "seeds", "ms", "÷ full", "memory", "bias", "variance", "cosine")
EXPLAINED = {
    "says it is": "exact, unbiased (exact on average over random numbers) or biased; or why it cannot do this problem",
    "seeds": "how many estimates there are, 1 where nothing is random",
    "ms": "median time of one gradient; all took turns",
    "÷ full": "that time divided by the one of full backpropagation through time",
    "memory": "the most that Python and NumPy held at once for it",
    "bias": "‖mean estimate − gradient‖ ÷ ‖gradient‖, and what it may be instead with so many seeds (95 %)",
    "variance": "mean ‖estimate − mean‖² ÷ ‖gradient‖²: 1 is noise as long as the gradient itself",
    "cosine": "of the angle between one estimate and the gradient, on average, and where its mean lies (95 %)",
}

USUAL: dict[str, Callable[[int], list[str]]] = {  # options for a run of T steps; else T / 4 for each that is needed
    "window": lambda T: [f"1,{_quarter(T)}", f"{_quarter(T)},{2 * _quarter(T)}"],
    "budget": lambda T: ["3"],
    "adaptive": lambda T: ["0.1"],
    "artbp": lambda T: [f"{_quarter(T)}", f"{_quarter(T)},fixed"],
}


def main(arguments: Sequence[str]) -> int:
    """Measure and print a table; see `python -m zoo gradients --help`."""
    given = _parsed(arguments)
    with threads(1):
        problem = _problem(given)
        ways = [bptt.strategy(text) for text in given.strategies or usual(len(problem))]
        size = sum(p.size for p in tg.tree.leaves(problem.parameters))
        console.say(
            f"{registry.entry(given.cell).name} on {given.task}: T = {len(problem)} steps, {size:,} parameters, "
            "as they are before any training, float64"
        )
        try:
            found = _followed(problem, ways, given.seeds)
        except ValueError as error:
            raise UserError(str(error)) from error
    console.table(HEADER, [_row(way, each) for way, each in zip(ways, found, strict=True)], numbers=7)
    console.facts(EXPLAINED)
    if given.json:
        about = {"cell": registry.entry(given.cell).name, "task": given.task, "steps": len(problem), "parameters": size}
        rows = [{**asdict(each), "paper": way.paper} for way, each in zip(ways, found, strict=True)]
        io.atomic_write(given.json, json.dumps({**about, "estimators": rows}, indent=1, ensure_ascii=False) + "\n")
    return 0


def usual(T: int) -> list[str]:
    """Every strategy there is, once or a few times, with options that fit a run of T steps.

    >>> [text for text in usual(20) if text.startswith(("full", "chunks", "window"))]
    ['window:1,5', 'window:5,10', 'full', 'chunks:5']
    """
    found = []
    for name, kind in bptt.strategies().items():
        needed = sum(field.default is dataclasses.MISSING for field in dataclasses.fields(kind))
        choices = USUAL[name](T) if name in USUAL else [",".join([str(_quarter(T))] * needed)]
        found += [f"{name}:{options}" if options else name for options in choices]
    return found


def _quarter(T: int) -> int:
    return max(2, T // 4)


def _parsed(arguments: Sequence[str]) -> Any:
    parser = Parser("gradients", examples=EXAMPLES)
    parser.add_argument("--cell", default="LSTM", metavar="NAME", help="a cell of `python -m zoo list` (LSTM)")
    parser.add_argument("--task", default="copy", metavar="NAME", help="a task of `python -m zoo list` (copy)")
    parser.add_argument("--hidden", type=COUNT, metavar="N", help="hidden size (16)")
    parser.add_argument("--length", type=COUNT, metavar="N", help="length of the task's sequences (10)")
    parser.add_argument("--batch", type=COUNT, metavar="N", help="sequences (1)")
    parser.add_argument("--seeds", type=number(int, low=2), default=50, metavar="N", help="of random estimators (50)")
    parser.add_argument("--strategies", type=_listed, metavar="LIST", help="as in full,chunks:5,window:1,5 (all)")
    parser.add_argument("--json", metavar="FILE", help="write the numbers into a file too")
    return parser.parse_args(arguments)


def _listed(text: str) -> list[str]:
    """Strategies apart: a part that is neither a name nor has options belongs to those of the one before."""
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


def _problem(given: Any) -> bptt.Problem:
    """The first step of the task's training, in double precision."""
    kind = tasks.find(given.task)
    chosen = {name: value for name in DEFAULTS if (value := getattr(given, name)) is not None}
    usual = {name: value for name, value in DEFAULTS.items() if name in kind.defaults}
    options = kind.resolve({"cell": registry.entry(given.cell).name, **usual, **chosen})
    task = kind(options, seed=0, device="cpu")
    task.model.astype("float64")
    problem = task.problem(0, task.begin())
    return replace(problem, carry=_double(problem.carry), xs=_double(problem.xs))


def _double(container: Any) -> Any:
    def cast(x: Any) -> Any:
        return x.astype("float64") if isinstance(x, tg.Tensor) and x.dtype.kind == "f" else x

    return tg.tree.map(cast, container)


def _followed(problem: bptt.Problem, ways: list[bptt.Strategy], seeds: int) -> list[bptt.Comparison]:
    """The comparison, behind a progress bar where someone is watching."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
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
