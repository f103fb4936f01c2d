"""`python -m viz`: every picture is a subcommand; `python -m viz --help` lists them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from zoo.errors import UserError

from . import commands as single
from . import graphs
from .explorer import command as explorer
from .plots import commands as plots

PROGRAM = graphs.PROGRAM


def parser() -> argparse.ArgumentParser:
    """The command line: the subcommands of every module that has some."""
    top = argparse.ArgumentParser(prog=PROGRAM, description="Pictures of recurrent computations.")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for module in (graphs, explorer, single, plots):
        module.add(commands)
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


if __name__ == "__main__":
    sys.exit(main())
