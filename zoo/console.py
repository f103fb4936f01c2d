"""What a person sees while a command runs: a live bar in a terminal, a line now and then anywhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def console() -> Console:
    """Standard output as rich sees it now; long lines are not broken when it is not a terminal."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def say(text: str = "") -> None:
    """One line of plain text (never read as markup)."""
    console().print(text, markup=False)


def facts(items: Mapping[str, str]) -> None:
    """Names and values in two columns."""
    width = max(len(name) for name in items)
    for name, value in items.items():
        out = console()
        out.print(f"{name:>{width}}  ", style="bold" if out.is_terminal else None, end="", markup=False)
        out.print(value, markup=False)


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, emphasis: int | None = None) -> None:
    """A table whose last column is right-aligned; row `emphasis` stands out."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=box.SIMPLE_HEAD)
    for i, name in enumerate(header):
        shown.add_column(name, justify="right" if i and i == len(header) - 1 else "left")
    for i, row in enumerate(rows):
        shown.add_row(*(Text(cell) for cell in row), style="bold green" if i == emphasis else None)
    console().print(shown)


class Progress:
    """Steps done of steps to do, as a context: `with Progress(total=…, done=…, metric="…") as p: p.update(step, …)`.

    In a terminal one line is redrawn; elsewhere about ten lines are printed in all.
    """

    def __init__(self, *, total: int, done: int, metric: str, unit: str) -> None:
        self.total, self.done, self.metric, self.unit = total, done, metric, unit
        self.every = max(1, total // 10)
        self.width = len(str(total))
        self.started = time.monotonic()
        self.count = 0
        self._bar = _bar(total, done) if sys.stdout.isatty() else None

    def __enter__(self) -> Progress:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bar:
            self._bar.stop()

    def update(self, step: int, *, loss: float, metric: float, count: int) -> None:
        """Step `step` is done, with this loss and metric; it took in `count` more tokens."""
        self.count += count
        seconds = max(time.monotonic() - self.started, 1e-9)
        rate = self.count / seconds
        left = seconds / (step - self.done) * (self.total - step)
        if self._bar:
            self._bar.update(self._bar.task_ids[0], completed=step, text=self._words(loss, metric, rate, left))
        elif step % self.every == 0 or step == self.total:
            say(f"step {step:>{self.width}}/{self.total}  {self._words(loss, metric, rate, left)}")

    def note(self, step: int, held_out: float) -> None:
        """The metric as measured after a step: a line that stays."""
        text = f"step {step:>{self.width}}/{self.total}  held out: {held_out:.3f} {self.metric}"
        if self._bar:
            self._bar.console.print(text, markup=False)
        else:
            say(text)

    def _words(self, loss: float, metric: float, rate: float, left: float) -> str:
        return (
            f"loss {loss:.3f}  {metric:.3f} {self.metric}  {rate:,.0f} {self.unit}/s  "
            f"{int(left) // 60}:{int(left) % 60:02d} left"
        )


def _bar(total: int, done: int):  # type: ignore[no-untyped-def]
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as RichProgress

    columns = BarColumn(bar_width=24), MofNCompleteColumn(), TextColumn("{task.fields[text]}")
    bar = RichProgress(*columns, console=console())
    bar.add_task("train", total=total, completed=done, text="")
    return bar
