"""What the measurements come to: ratios, whether they reach what they must, and the tables of both."""

from __future__ import annotations

import math
import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

from zoo import console
from zoo.bench.measure import Ratio
from zoo.bench.plan import CHECKPOINT, MEMORY, OPPONENTS, SHARE, SHORT, START, Size, musts

COLUMNS = [name for opponents in OPPONENTS.values() for name in opponents]


@dataclass(frozen=True)
class Score:
    """A number that was measured and what it must be: at least ``least``, or at most ``most``."""

    value: float
    spread: float = 0.0
    least: float | None = None
    most: float | None = None
    percent: bool = False

    @property
    def missed(self) -> bool:
        enough = self.least is None or self.value >= self.least
        return not (enough and (self.most is None or self.value <= self.most))

    def __str__(self) -> str:
        """
        >>> print(Score(1.321, 0.02, least=1.3), Score(1.26, 0.02, least=1.3), Score(0.87, percent=True), sep=", ")
        1.32 ±2% ≥ 1.3, 1.26 ±2% < 1.3 !, 87%
        """
        text = f"{self.value:.0%}" if self.percent else digits(self.value)
        if self.spread:
            text += f" ±{self.spread:.0%}"
        for bound, kept, broken in ((self.least, "≥", "<"), (self.most, "≤", ">")):
            if bound is not None:
                shown = f"{bound:.0%}" if self.percent else f"{bound:g}"
                text += f" {broken} {shown} !" if self.missed else f" {kept} {shown}"
        return text


@dataclass(frozen=True)
class Line:
    """One line of a table: what it is about, plain facts, and scores by column."""

    labels: tuple[str, ...]
    facts: Mapping[str, str]
    scores: Mapping[str, Score]
    record: Mapping[str, Any]  # for --json

    @property
    def missed(self) -> int:
        return sum(score.missed for score in self.scores.values())


def cell_line(result: Mapping[str, Any]) -> Line:
    """A result of cells.measure."""
    cell, size, threads, seconds = result["cell"], Size(*result["size"]), result["threads"], dict(result["seconds"])
    ours, least = seconds.pop("ours"), musts(result["cell"], size, threads=threads)
    scores = {name: Score(*Ratio.of(times, ours), least=least.get(name)) for name, times in seconds.items()}
    if "peak" in result:
        share = result["flops"] / min(ours) / max(result["peak"])  # each at its best: a peak is not a median
        scores["share of peak"] = Score(share, least=SHARE.get((cell, size)), percent=True)
    medians = {name: statistics.median(times) for name, times in result["seconds"].items()}
    record = {key: value for key, value in result.items() if key != "seconds"}
    record |= {"median seconds": medians, "scores": {name: asdict(score) for name, score in scores.items()}}
    return Line((cell, sizes(size)), {"ours, ms": digits(medians["ours"] * 1e3)}, scores, record)


def memory_line(cell: str, size: Size, ours: int, theirs: int) -> Line:
    """Two results of memory.measure."""
    score = Score(theirs / max(ours, 1), least=MEMORY)
    facts = {"ours, MB": digits(ours / 1e6), "torch.nn, MB": digits(theirs / 1e6)}
    record = {"cell": cell, "size": size, "ours bytes": ours, "torch.nn bytes": theirs, "score": asdict(score)}
    return Line((cell, sizes(size)), facts, {"torch.nn": score}, record)


def start_line(cell: str, first: float, later: float) -> Line:
    """Two results of start.measure, the second with the code on disk."""
    scores = {name: Score(s, most=START[name]) for name, s in zip(START, (first, later), strict=True)}
    record = {"cell": cell, "scores": {name: asdict(score) for name, score in scores.items()}}
    return Line((cell,), {}, scores, record)


def eager_line(result: Mapping[str, Any]) -> Line:
    """A result of eager.measure."""
    ours, theirs = (result["seconds"][side] for side in ("ours", "torch"))
    score = Score(*Ratio.of(ours, theirs), most=result["limit"])
    medians = {side: statistics.median(times) for side, times in result["seconds"].items()}
    facts = {f"{side}, µs": digits(seconds * 1e6) for side, seconds in medians.items()}
    record = {"name": result["name"], "median seconds": medians, "score": asdict(score)}
    return Line((result["name"],), facts, {"ours ÷ torch": score}, record)


def checkpoint_line(
    cell: str, size: Size, way: str, seconds: Mapping[str, Sequence[float]], full: int | None, less: int | None
) -> Line:
    """Three results of checkpoint.measure; memory is left out where the system tells none."""
    must: Mapping[str, float] = {} if size == SHORT else CHECKPOINT
    scores = {"time ÷ full": Score(*Ratio.of(seconds["sqrt"], seconds["full"]), most=must.get("time"))}
    facts = {"full, s": digits(statistics.median(seconds["full"])), "full, MB": "–", "checkpointed, MB": "–"}
    if full is not None and less is not None:
        facts |= {"full, MB": digits(full / 1e6), "checkpointed, MB": digits(max(less, 0) / 1e6)}
        share = Score(max(less, 0) / max(full, 1), most=must.get("memory"), percent=True)
        scores = {"memory ÷ full": share, **scores}
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    record = {"cell": cell, "size": size, "way": way, "median seconds": medians, "full bytes": full, "bytes": less}
    return Line((cell, sizes(size), way), facts, scores, record | {"scores": {n: asdict(s) for n, s in scores.items()}})


class Table(NamedTuple):
    """Lines of one kind; ``key`` names them in --json, ``heads`` are longer names of some columns of scores."""

    key: str
    title: str
    labels: Sequence[str]
    lines: Sequence[Line]
    heads: Mapping[str, str] = {}

    def show(self) -> None:
        """Print it: the columns of labels, facts and scores; what is missed stands out."""
        from rich import box
        from rich.table import Table as Grid
        from rich.text import Text

        facts = list(dict.fromkeys(name for line in self.lines for name in line.facts))
        scores = list(dict.fromkeys(name for line in self.lines for name in line.scores))
        scores.sort(key=lambda name: COLUMNS.index(name) if name in COLUMNS else len(COLUMNS))
        grid = Grid(box=box.SIMPLE_HEAD, title=Text(self.title), title_justify="left")
        for name in self.labels:
            grid.add_column(name)
        for name in (*facts, *(self.heads.get(name, name) for name in scores)):
            grid.add_column(name, justify="right")
        for line in self.lines:
            found = [line.scores.get(name) for name in scores]
            cells = [Text(str(score or "–"), "bold red" if score and score.missed else "") for score in found]
            grid.add_row(*map(Text, line.labels), *(Text(line.facts[name]) for name in facts), *cells)
        console.console().print(grid)


def digits(x: float) -> str:
    """Three digits, more before the point if need be.

    >>> print(digits(0.01234), digits(1.5), digits(99.96), digits(12345.6), digits(0))
    0.0123 1.50 100.0 12346 0.00
    """
    return f"{x:.{max(0, 2 - math.floor(math.log10(x)))}f}" if 0 < x < math.inf else f"{x:.2f}"


def sizes(size: Size) -> str:
    """
    >>> sizes(Size(64, 1, 32, 32))
    '64, 1, 32, 32'
    """
    return ", ".join(map(str, size))


def environment(libraries: Iterable[str]) -> dict[str, str]:
    """The machine, and the versions of Python and of what was measured."""
    found = {"processor": processor(), "system": platform.system(), "Python": platform.python_version()}
    for library in ("numpy", *libraries, "llvmlite"):
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue  # optional: its absence shows
    return found


def processor() -> str:
    """The name of the processor, as far as the system tells."""
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
