"""`python -m viz`: every picture is a subcommand; `python -m viz --help` lists them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from zoo.errors import UserError

from . import commands as single
from . import graphs
from .example import Example
from .explorer import explore
from .plots import commands as plots
from .record import trace

PROGRAM = graphs.PROGRAM
ABOUT_EXPLORE = """\
Write one HTML file, which loads nothing else, to step through a run: values go
forward column by column, losses add up, messages come back, and the gradients of
the parameters fill with each that arrives. A click on a line shows its value and
its message; between two steps also how the gradient adds up there, from what lies
before, crosses and comes after. The page lists its keys under "?"."""
EXAMPLES_EXPLORE = """\
  python -m viz explore --cell lstm --steps 4 --out lstm.html
  python -m viz explore --cell gru --steps 30 --loss last
  python -m viz explore --layers 2 --bidirectional"""


def parser() -> argparse.ArgumentParser:
    """The command line: the subcommands of every module that has some."""
    top = argparse.ArgumentParser(prog=PROGRAM, description="Pictures of recurrent computations.")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for module in (graphs, single, plots):
        module.add(commands)
    page = graphs.run_parser(
        commands, "explore", "a page to step through it in a browser", ABOUT_EXPLORE, EXAMPLES_EXPLORE
    )
    page.add_argument("--out", default="explorer.html", metavar="FILE", help=".html (default: %(default)s)")
    page.set_defaults(run=_explore)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command: 0 when the picture is there, 1 when only its .dot could be written, 2 for a bad request."""
    options = vars(parser().parse_args(arguments))
    options.pop("command")
    try:
        return options.pop("run")(**options)
    except (UserError, ValueError, OSError) as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2


def _explore(*, out: str, **options: Any) -> int:
    """In double precision, so that the sums on the page agree in all the digits that it shows."""
    example = Example(**options, dtype="float64")
    recorded = trace(example.build(), values=True)
    whole = not (example.bidirectional or example.truncate)
    graphs.report(explore(recorded, problem=example.problem() if whole else None).save(out), recorded)
    return 0


if __name__ == "__main__":
    sys.exit(main())
