"""What a person sees while a command runs: a live bar in a terminal, a line now and then anywhere else."""

from __future__ import annotations

import sys
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from zoo.tasks.task import Metric


def console() -> Console:
    """Standard output as rich sees it now: text is shown as it is, and not broken where there is no terminal."""
    from rich.console import Console

    class Output(Console):
        def on_broken_pipe(self) -> None:  # rich would end the program; its caller knows better
            raise BrokenPipeError

    terminal = sys.stdout.isatty()
    return Output(highlight=False, emoji=False, soft_wrap=not terminal, width=None if terminal else 200)


def say(text: str = "") -> None:
    """Plain text."""
    console().print(text, markup=False)


def facts(items: Mapping[str, str]) -> None:
    """Names and values in two columns."""
    out, width = console(), max(map(len, items))
    fit = textwrap.TextWrapper(max(20, out.width - width - 2), break_long_words=False, break_on_hyphens=False)
    for name, value in items.items():
        lines = fit.wrap(value) if out.is_terminal else [value]
        for label, line in zip([name, *[""] * len(lines)], lines or [""]):
            out.print(f"{label:>{width}}  ", style="bold" if out.is_terminal else None, end="", markup=False)
            out.print(line, markup=False)


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: int = 0, emphasis: int | None = None
) -> None:
    """A table whose last columns are `numbers`, aligned to the right; row `emphasis` stands out."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=box.SIMPLE_HEAD)
    for i, name in enumerate(header):
        shown.add_column(name, justify="right" if i >= len(header) - numbers else "left")
    for i, row in enumerate(rows):
        shown.add_row(*(Text(cell) for cell in row), style="bold green" if i == emphasis else None)
    console().print(shown)


class Progress:
    """Steps done of steps to do: `with Progress(task.metric, total=…, done=…, unit=…) as p: p.update(step, …)`.

    In a terminal two lines are redrawn, which fit into 60 columns; elsewhere one is printed after every `every` steps.
    """

    def __init__(self, metric: Metric, *, total: int, done: int, every: int, unit: str) -> None:
        self.metric, self.total, self.done, self.every, self.unit = metric, total, done, every, unit
        self.started, self.tokens, self.measured = time.monotonic(), 0, ""
        self._bar = _bar(total, done) if sys.stdout.isatty() else None

    def __enter__(self) -> Progress:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bar:
            self._bar.stop()

    def update(self, step: int, *, loss: float, metric: float | None, tokens: int, held_out: float | None) -> None:
        """Step `step` is done, with this loss, this metric if it follows from it; `held_out`: if it is measured."""
        self.tokens += tokens
        if held_out is not None:
            self.measured = f"{'held out ' if self.metric.held_out else ''}{self.metric.show(held_out)}"
        seconds = max(time.monotonic() - self.started, 1e-9)
        left = round(seconds / (step - self.done) * (self.total - step))
        clock, pace = f"{left // 60}:{left % 60:02d} left", f"{self.tokens / seconds:,.0f} {self.unit}/s"
        score = f"{self._score(metric)}  loss {loss:.3f}".lstrip()
        if self._bar:
            self._bar.update(self._bar.task_ids[0], completed=step, pace=f"{clock}  {pace}", score=score)
        elif step % self.every == 0 or step == self.total:
            say(f"step {step:>{len(str(self.total))}}/{self.total}  {clock}  {score}  {pace}")

    def _score(self, metric: float | None) -> str:
        aside = f" ({self.measured})" if self.metric.held_out and self.measured else ""
        if metric is not None:
            return f"{self.metric.show(metric)} {self.metric.name}{aside}"
        return f"{self.measured} {self.metric.name}" if self.measured else ""


def _bar(total: int, done: int) -> Any:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as RichProgress
    from rich.text import Text

    class Bar(RichProgress):
        def get_renderables(self) -> Iterator[Any]:
            yield from super().get_renderables()
            yield from (Text(task.fields["score"]) for task in self.tasks)

    bar = Bar(BarColumn(bar_width=20), MofNCompleteColumn(), TextColumn("{task.fields[pace]}"), console=console())
    bar.add_task("train", total=total, completed=done, pace="", score="")
    return bar
