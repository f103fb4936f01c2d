"""`python -m viz measure`: the figures that pictures must reach, measured on this machine."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ABOUT = """\
Measure what pictures must reach: how long five thousand steps take to draw, how
large a page of the explorer is and how soon it opens (in a headless Chromium, where
there is one), that training with a trace is the same to the bit, and that tracing
costs nothing when it is off. Takes about two minutes; a busy machine is a slow one.
The status is 1 where a figure is missed."""


@dataclass(frozen=True)
class Figure:
    """What was measured; `reached` is None for what could not be."""

    name: str
    must: str
    measured: str
    reached: bool | None


def add(commands: Any) -> None:
    """Put the subcommand into the parser of `python -m viz`."""
    one = commands.add_parser("measure", help="the figures that pictures must reach", description=ABOUT)
    one.set_defaults(run=report)


def report() -> int:
    """Measure and print, a line a figure: 0, or 1 where one is missed."""
    import numpy as np

    print(f"Python {platform.python_version()}, NumPy {np.__version__}, {os.cpu_count()} cores ({platform.machine()})")
    missed = 0
    print(f"{'':66} {'must':>9}  measured")
    for measure in MEASURES:
        for found in measure():
            missed += found.reached is False
            print(f"{found.name:66} {found.must:>9}  {found.measured}{'  MISSED' if found.reached is False else ''}",
                  flush=True)  # fmt: skip
    return 1 if missed else 0


def drawing(steps: int = 5000, cell: str = "LSTM", seconds: float = 2.0) -> Iterator[Figure]:
    """A long run as an SVG, folded: right after it was traced, and in a process that only reads the trace."""
    with tempfile.TemporaryDirectory() as folder:
        for name, way in (("just traced", "traced"), ("read from a file", "read")):
            took = _elsewhere(f"from viz.measure import draw; draw({way!r}, {folder!r}, {steps}, {cell!r})")
            yield Figure(f"{steps} steps of {cell} drawn, {name}", f"≤ {seconds:g} s", f"{took:.2f} s", took <= seconds)


def draw(way: str, folder: str, steps: int, cell: str) -> None:
    """In a process of its own: print the seconds from a Trace to a picture on the disk."""
    from . import Trace, trace, unroll
    from .example import Example

    data = Path(folder) / "trace.json"
    traced = way == "traced"
    run = trace(Example(cell, steps=steps).build()) if traced else Trace.from_json(data.read_text("utf-8"))
    start = time.perf_counter()
    unroll(run).save(Path(folder) / "long.svg")
    print(json.dumps(time.perf_counter() - start))
    if traced:
        data.write_text(run.to_json(), "utf-8")


def page(steps: int = 300, cells: tuple[str, ...] = ("ElmanRNN", "LSTM"), seconds: float = 2.0) -> Iterator[Figure]:
    """The explorer of a long run: its size by the nodes that it shows, and the time until its first frame is drawn."""
    from . import explore, trace
    from .browser import Browser, find
    from .example import Example

    with tempfile.TemporaryDirectory() as folder:
        for cell in cells:
            example = Example(cell, steps=steps, dtype="float64")
            run = trace(example.build(), values=True)
            path = explore(run, problem=example.problem()).save(Path(folder) / "page.html")
            size = path.stat().st_size / 1e3 / len(run.nodes)
            name = f"explorer of {steps} steps of {cell}, {len(run.nodes):,} nodes"
            yield Figure(f"{name}: size for 1000 nodes", "≤ 1 MB", f"{size:.2f} MB", size <= 1)
            if find() is None:
                yield Figure(f"{name}: opens", f"≤ {seconds:g} s", "skipped, there is no Chromium", None)
                continue
            with Browser() as browser:
                times = sorted(browser.open(path.as_uri()).run(READY) / 1e3 for _ in range(3))
            measured = f"{times[1]:.2f} s ({times[0]:.2f} … {times[2]:.2f})"
            yield Figure(f"{name}: opens", f"≤ {seconds:g} s", measured, times[1] <= seconds)


READY = """new Promise((tell) => {
  const look = () => (document.body.dataset.ready ? tell(Number(document.body.dataset.ready)) : setTimeout(look, 5));
  look();
})"""


def same_bits(updates: int = 5) -> Iterator[Figure]:
    """Parameters after some updates by Adam, with dropout, each traced and drawn, against those without pictures."""
    for compiled in (False, True):
        watched, alone = (_trained(updates, compiled, watch) for watch in (True, False))
        differ = sum(int((a != b).sum()) for a, b in zip(watched, alone, strict=True))
        numbers = sum(a.size for a in alone)
        name = f"{updates} updates with a trace of each, {'compiled' if compiled else 'op by op'}: numbers that differ"
        yield Figure(name, "0", f"{differ} of {numbers}", differ == 0)


def _trained(updates: int, compiled: bool, watch: bool) -> list[Any]:
    import tinygrad_rnn as tg
    import zoo

    from . import trace, unroll

    rng = tg.random.Generator(0)
    layers = [zoo.RNN(make(8, 8, rng=rng), compile="auto" if compiled else False) for make in (zoo.LSTM, zoo.GRU)]
    model = zoo.Synced(zoo.Stacked(layers, dropout=0.3, rng=rng), 4, rng=rng)
    optimizer = tg.optim.Adam(model, lr=0.05)
    xs, labels = rng.fork("xs").normal((6, 4, 8)), rng.fork("labels").integers((6, 4), 0, 4)
    for _ in range(updates):
        loss = tg.cross_entropy(model(xs), labels)
        if watch:
            assert unroll(trace(loss)).dot
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return [p.numpy() for p in model.parameters()]


def off(rounds: int = 9, updates: int = 60, most: float = 1.02) -> Iterator[Figure]:
    """One update, op by op, in processes that have drawn a picture before and in such as know no pictures, in turns."""
    picture = "import viz; from viz.example import Example; viz.unroll(viz.trace(Example().build())).dot\n"
    alone = f"{UPDATE}\nprint(json.dumps(measured({updates})))"
    ways = [picture + alone, alone]
    found = [[_elsewhere(way) for way in ways] for _ in range(rounds)]
    calls = {after["calls"] - before["calls"] for after, before in found}
    yield Figure("tracing off: more function calls in an update", "0", ", ".join(map(str, calls)), calls == {0})
    ratios = [after["seconds"] / before["seconds"] for after, before in found]
    low, middle, high = statistics.quantiles(ratios, n=4)
    name = "tracing off: time of an update after a trace ÷ without viz"
    measured = f"{middle:.3f} ± {(high - low) / 2:.3f}"
    yield Figure(name, f"≤ {most:g}", measured, low <= most)  # more only where it can be told from noise


UPDATE = """
import json, sys, time
import tinygrad_rnn as tg, zoo
def measured(updates):
    rng = tg.random.Generator(0)
    model = zoo.Synced(zoo.RNN(zoo.LSTM(16, 16, rng=rng), compile=False), 4, rng=rng)
    optimizer = tg.optim.SGD(model, lr=0.01)
    xs, labels = rng.normal((20, 4, 16)), rng.integers((20, 4), 0, 4)
    def update():
        tg.cross_entropy(model(xs), labels).backward()
        optimizer.step()
        optimizer.zero_grad()
    times, calls = [], 0
    for _ in range(updates):
        start = time.perf_counter()
        update()
        times.append(time.perf_counter() - start)
    def count(frame, event, argument):
        nonlocal calls
        calls += event in ("call", "c_call")
    sys.setprofile(count)
    update()
    sys.setprofile(None)
    return {"seconds": min(times), "calls": calls}
"""


def _elsewhere(code: str) -> Any:
    """What a fresh process prints last, as JSON."""
    environment = os.environ | {"PYTHONHASHSEED": "0"}  # dictionaries alike in all of them
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(f"measure: a process failed: {done.stderr.strip()}")
    return json.loads(done.stdout.splitlines()[-1])


MEASURES: tuple[Callable[[], Iterator[Figure]], ...] = (drawing, page, same_bits, off)
