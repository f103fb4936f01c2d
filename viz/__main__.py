"""`python -m viz unroll`, `explore`: the unrolled graph of a cell and the messages of its backward pass."""

from __future__ import annotations

import argparse
import sys
import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import zoo
from zoo.errors import UserError

from .example import LOSSES, Example
from .explorer import explore
from .picture import unroll
from .plots import commands as plots
from .record import trace
from .trace import Trace

PROGRAM = "python -m viz"
ABOUT = """\
Draw the computation graph of a recurrent cell, unrolled over time. Values go
forward along black lines; along each of them a message comes back, drawn red and
dashed: the gradient that the edge hands over. The number beside it is its norm:
follow the numbers from right to left to see a gradient vanish or explode. Shared
parameters stand once, at the left, with the number of steps that use them."""
EXAMPLES = """\
examples:
  python -m viz unroll --cell lstm --steps 4 --out lstm.svg
  python -m viz unroll --cell gru --steps 2 --level op      every op inside the cell
  python -m viz unroll --cell elmanrnn --steps 8 --loss last   how far it reaches
  python -m viz unroll --steps 6 --truncate 3               where TBPTT cuts
  python -m viz unroll --layers 2 --bidirectional --out graph.pdf

cells: {cells}"""
ABOUT_EXPLORE = """\
Write one HTML file, which loads nothing else, to step through a run: values go
forward column by column, losses add up, messages come back, and the gradients of
the parameters fill with each that arrives. A click on a line shows its value and
its message; between two steps also how the gradient adds up there, from what lies
before, crosses and comes after. The page lists its keys under "?"."""
EXAMPLES_EXPLORE = """\
examples:
  python -m viz explore --cell lstm --steps 4 --out lstm.html
  python -m viz explore --cell gru --steps 30 --loss last
  python -m viz explore --layers 2 --bidirectional

cells: {cells}"""


def parser() -> argparse.ArgumentParser:
    """The command line, with the defaults of `Example`."""
    top = argparse.ArgumentParser(prog=PROGRAM, description="Pictures of recurrent computations.")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    draw = _command(commands, "unroll", "the unrolled graph with its backward messages", ABOUT, EXAMPLES)
    draw.add_argument("--level", choices=("cell", "op"), default="cell", help="a node a cell, or an op (default: cell)")
    draw.add_argument("--params", choices=("shared", "hide"), default="shared", help="parameters (default: shared)")
    draw.add_argument(
        "--out", default="unrolled.svg", metavar="FILE", help=".svg, .png, .pdf or .dot (default: %(default)s)"
    )
    draw.add_argument("--json", metavar="FILE", help="also write the trace as JSON: nodes, edges, messages")
    draw.set_defaults(run=_unroll)
    page = _command(commands, "explore", "a page to step through it in a browser", ABOUT_EXPLORE, EXAMPLES_EXPLORE)
    page.add_argument("--out", default="explorer.html", metavar="FILE", help=".html (default: %(default)s)")
    page.set_defaults(run=_explore)
    plots.add(commands)
    return top


def _command(commands: Any, name: str, words: str, about: str, examples: str) -> argparse.ArgumentParser:
    """A command about a run of `Example`, with an option for each of its fields."""
    cells = textwrap.fill(", ".join(zoo.names()), 80, subsequent_indent=" " * 7)
    shape = argparse.RawDescriptionHelpFormatter
    draw = commands.add_parser(
        name, help=words, description=about, epilog=examples.format(cells=cells), formatter_class=shape
    )
    default = Example()
    draw.add_argument("--cell", default=default.cell, metavar="NAME", help="a cell of the zoo (default: %(default)s)")
    for field, text in (
        ("steps", "time steps, one column each"),
        ("hidden", "size of the state"),
        ("inputs", "number of symbols: features of x and classes of y"),
        ("batch", "sequences side by side"),
        ("layers", "cells on top of each other"),
        ("seed", "of parameters and data"),
    ):
        value = getattr(default, field)
        draw.add_argument(f"--{field}", type=int, default=value, metavar="N", help=f"{text} (default: %(default)s)")
    draw.add_argument("--bidirectional", action="store_true", help="each layer also runs from the end to the start")
    draw.add_argument("--loss", choices=LOSSES, default=default.loss, help="at each step or the last (default: each)")
    draw.add_argument("--truncate", type=int, metavar="K", help="cut the state every K steps: truncated BPTT")
    return draw


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command: 0 when the picture is there, 1 when only its .dot could be written, 2 for a bad request."""
    options = vars(parser().parse_args(arguments))
    options.pop("command")
    try:
        return options.pop("run")(**options)
    except (UserError, ValueError, OSError) as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2


def _unroll(*, out: str, json: str | None, level: Any, params: Any, **options: Any) -> int:
    picture = unroll(recorded := trace(Example(**options).build()), level=level, params=params)
    with warnings.catch_warnings(record=True) as remarks:
        warnings.simplefilter("always")
        written = picture.save(out)
    if json:
        from .render import write

        write(Path(json), recorded.to_json(indent=1).encode())
    for remark in remarks:
        print(f"{PROGRAM}: {remark.message}", file=sys.stderr)
    _report(written, picture.trace)
    return 0 if str(written) == str(out) else 1


def _explore(*, out: str, **options: Any) -> int:
    """In double precision, so that the sums on the page agree in all the digits that it shows."""
    example = Example(**options, dtype="float64")
    recorded = trace(example.build(), values=True)
    whole = not (example.bidirectional or example.truncate)
    _report(explore(recorded, problem=example.problem() if whole else None).save(out), recorded)
    return 0


def _report(written: Path, drawn: Trace) -> None:
    parts = (("steps", drawn.steps), ("nodes", drawn.nodes), ("edges", drawn.edges), ("cuts", drawn.cuts))
    counts = {name: len(found) for name, found in parts}
    print(f"{written}: {', '.join(f'{n} {name}' for name, n in counts.items() if n)}")


if __name__ == "__main__":
    sys.exit(main())
