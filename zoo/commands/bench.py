"""`python -m zoo bench`: how fast cells train, beside what else one could use; the measuring is in zoo/bench/."""

from __future__ import annotations

import argparse
import importlib.util
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tinygrad_rnn import io
from zoo import console, registry
from zoo.bench.equations import EQUATIONS
from zoo.bench.plan import LONG, NATIVE, OPPONENTS, SHORT, contests
from zoo.bench.process import processors, results
from zoo.bench.table import COLUMNS, Table, cell_line, checkpoint_line, eager_line, environment, memory_line, start_line
from zoo.commands import COUNT, Parser
from zoo.errors import UserError, unknown

INSTALL = {"torch": "pip install torch==2.13.0", "jax": "pip install jax"}
WORK = "forward + backward with all gradients, float32"
HEADS = {name: f"{name} ÷ ours" for name in COLUMNS}

HELP = """Each line is one cell at one size (T steps, B rows, I features in, H features of the state), run forward and
backward with all gradients in float32: by us, by torch.nn where it has the cell, by the same equations in
an eager PyTorch loop and in jax.jit(lax.scan). All have the same weights and must agree before they are
timed; then they take turns in one run, with the same processors and threads. A ratio is their median time
divided by ours (2.0: we take half as long), ± half the distance of its quartiles; beside it stands what it
must be, with ! where it is missed (exit status 1).

The share of peak counts the products with the cell's matrices alone, on one core, beside the fastest product
that NumPy, torch or the scan compiler manage, each in its best round. Memory is what one step of the LSTM adds
to a fresh process; a start is the first run of a cell in one, with no code on disk and with it there.

--checkpoint is about us alone: a sequence of 10,000 steps with all kept that the way back reads, beside the carries at
√T places alone and the rest run again. Memory is what a fresh process adds at its peak, without outputs and gradients.
The ways are the compiled scan, its NumPy executor, the strategy "sqrt" of tg.bptt, and the plain loop of scan.
"""

EXAMPLES = """examples:
  python -m zoo bench                                  everything, some minutes
  python -m zoo bench --quick                          a first impression
  python -m zoo bench --cell LSTM,MGU --vs torch       two cells, beside torch only
  python -m zoo bench --cell SRU --threads 2           on two cores
  python -m zoo bench --json bench.json                keep the numbers
  python -m zoo bench --eager                          the eager engine instead: ops, and an LSTM in a loop
  python -m zoo bench --checkpoint                     memory and time of a long sequence, checkpointed or not
"""


def main(arguments: Sequence[str]) -> int:
    """Measure and print; 1 when something misses what it must reach. See `python -m zoo bench --help`."""
    given = _parsed(arguments)
    about = environment(given.vs)
    tables = []
    kind = _eager if given.eager else _checkpoint if given.checkpoint else _cells
    for table in kind(given, about):
        table.show()
        tables.append(table)
    missed = sum(line.missed for table in tables for line in table.lines)
    if given.json:
        numbers = {table.key: [line.record for line in table.lines] for table in tables}
        report = {"about": about, "rounds": given.rounds, "missed": missed, **numbers}
        io.atomic_write(given.json, json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    if missed:
        console.say(f"{missed} of the scores above miss what they must reach (!)")
    return int(missed > 0)


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """The options, checked before anything is measured."""
    parser = Parser("bench", examples=f"{HELP}\n{EXAMPLES}")
    parser.add_argument("--cell", metavar="NAMES", help="cells of `python -m zoo list`, with commas (default: all)")
    parser.add_argument("--vs", metavar="LIBRARIES", help="torch, jax or torch,jax (default: torch, and jax if there)")
    parser.add_argument("--threads", type=COUNT, metavar="N", help="cores and threads (default: one, then two)")
    parser.add_argument("--rounds", type=COUNT, metavar="N", help="turns of each contestant (21; 5 with --quick)")
    parser.add_argument("--quick", action="store_true", help="small sizes, few rounds, no memory, no starts")
    parser.add_argument("--json", metavar="FILE", help="write the numbers into a file too")
    parser.add_argument("--eager", action="store_true", help="ops, and an LSTM in a loop, beside eager torch instead")
    parser.add_argument("--checkpoint", action="store_true", help="memory and time of a checkpointed run instead")
    given = parser.parse_args(arguments)

    if given.eager and given.checkpoint:
        raise UserError("--eager and --checkpoint are two measurements: ask for one at a time")
    if given.checkpoint and given.vs is not None:
        raise UserError("--checkpoint measures us alone: leave --vs out")
    if given.eager and (clash := [name for name in ("cell", "vs", "threads") if getattr(given, name) is not None]):
        raise UserError(f"--eager measures the same on one thread always: leave --{clash[0]} out")
    if given.threads and given.threads > processors():
        raise UserError(f"--threads {given.threads}: there are {processors()} processors to run on")
    if given.json and not Path(given.json).absolute().parent.is_dir():
        raise UserError(f"--json {given.json}: there is no such folder")
    given.rounds = given.rounds or (5 if given.quick else 21)
    given.cells = [registry.entry(name.strip()).name for name in given.cell.split(",")] if given.cell else None
    given.vs = _libraries(given)
    return given


def _libraries(given: argparse.Namespace) -> list[str]:
    """Whom to compare with; each is installed."""
    if given.checkpoint:
        return []
    wanted = [name.strip() for name in given.vs.split(",")] if given.vs else ["torch"]
    for name in wanted:
        if name not in OPPONENTS:
            raise unknown("library", name, OPPONENTS)
        if importlib.util.find_spec(name) is None:
            raise UserError(f"bench compares with {name}, which is not installed: {INSTALL[name]}")
    if given.vs or given.eager:
        return wanted
    if importlib.util.find_spec("jax") is None:
        console.say(f"jax is not installed, so its column is left out: {INSTALL['jax']}")
        return wanted
    return [*wanted, "jax"]


def _eager(given: argparse.Namespace, about: Mapping[str, str]) -> Iterator[Table]:
    measured = results("eager", threads=1, rounds=given.rounds, quick=given.quick)
    lines = [eager_line(result) for result in _followed(measured, 9 if given.quick else 16)]
    yield Table("eager", _title("forward + backward, both eager", 1, about), ["work"], lines)


def _checkpoint(given: argparse.Namespace, about: Mapping[str, str]) -> Iterator[Table]:
    threads, rounds = given.threads or 1, min(given.rounds, 3)  # of which some take ten seconds
    todo = [
        (cell, size, way) for cell in given.cells or ["LSTM"] for way, sizes in LONG.items()
        for size in (SHORT,) * given.quick or sizes
    ]  # fmt: skip
    jobs: list[dict[str, Any]] = [
        {"cell": cell, "size": size, "way": way, "side": side} for cell, size, way in todo
        for side in (None, "full", "sqrt")
    ]  # fmt: skip
    measured = (result for job in jobs for result in results("checkpoint", threads=threads, rounds=rounds, **job))
    found = list(_followed(measured, len(jobs)))
    lines = [
        checkpoint_line(*what, times["seconds"], full["bytes"], less["bytes"])
        for what, times, full, less in zip(todo, found[::3], found[1::3], found[2::3], strict=True)
    ]
    yield Table("checkpoint", _title(f"{WORK}, checkpointed", threads, about), ["cell", "T, B, I, H", "way"], lines)


def _cells(given: argparse.Namespace, about: Mapping[str, str]) -> Iterator[Table]:
    names = given.cells or registry.names()
    if alone := [name for name in names if name not in EQUATIONS]:
        console.say(f"no opponent, because zoo/bench/equations.py has no equations: {', '.join(alone)}")
    for threads in [given.threads] if given.threads else [1, 2][: processors()]:
        todo = contests(names, given.cells is None, threads=threads, quick=given.quick)
        if todo:
            measured = results("cells", threads=threads, contests=todo, vs=given.vs, rounds=given.rounds)
            found = list(_followed(measured, len(todo)))
            yield Table(
                f"{threads} threads", _title(WORK, threads, about) + _peak(found), ["cell", "T, B, I, H"],
                [cell_line(result) for result in found], HEADS,
            )  # fmt: skip
    if "torch" in given.vs and "LSTM" in names and not given.quick:
        pairs = [(size, side) for size in NATIVE for side in ("ours", "torch.nn")]
        jobs: list[dict[str, Any]] = [{"cell": "LSTM", "size": size, "side": side} for size, side in pairs]
        measured = (result["bytes"] for job in jobs for result in results("memory", threads=1, **job))
        bytes = list(_followed(measured, len(jobs)))
        if None not in bytes:
            lines = [memory_line("LSTM", *each) for each in zip(NATIVE, bytes[::2], bytes[1::2])]
            yield Table("memory", _title("peak memory of one step", 1, about), ["cell", "T, B, I, H"], lines, HEADS)
    if not given.quick:
        found = list(_followed(_starts(names), 2 * len(names)))
        lines = [start_line(*each) for each in zip(names, found[::2], found[1::2], strict=True)]
        yield Table("start", _title("first run of a cell, and in a later process", 1, about), ["cell"], lines)


def _starts(names: Iterable[str]) -> Iterator[float]:
    """For each cell the seconds of its first run with an empty cache of compiled code, and again with a full one."""
    for name in names:
        with tempfile.TemporaryDirectory() as cache:
            for _ in range(2):
                measured = results("start", threads=1, cell=name, variables={"TINYGRAD_RNN_CACHE": cache})
                yield from (result["seconds"] for result in measured)


def _title(work: str, threads: int, about: Mapping[str, str]) -> str:
    facts = ", ".join(value if name in ("processor", "system") else f"{name} {value}" for name, value in about.items())
    return f"{work}, {threads} thread{'s' * (threads > 1)}\n{facts}"


def _peak(found: Sequence[Mapping[str, Any]]) -> str:
    """The line of a title that says what the shares of peak are shares of."""
    if "peak" not in found[0]:
        return ""
    rate = max(rate for result in found for rate in result["peak"])
    return f"\npeak: {rate / 1e9:.0f} GFLOP/s, {found[0]['peak of']}"


def _followed(results: Iterable[Any], total: int) -> Iterator[Any]:
    """The results as they come, behind a progress bar where someone is watching."""
    from rich.console import Console
    from rich.progress import track

    yield from track(results, "measuring", total, console=Console(stderr=True), transient=True)
