"""`python -m viz`: every picture is a subcommand; `python -m viz --help` lists them."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

from zoo.errors import UserError

from . import commands as single
from . import graphs, measure
from .explorer import command as explorer
from .plots import commands as plots

PROGRAM = graphs.PROGRAM


def parser() -> argparse.ArgumentParser:
    """The command line: the subcommands of every module that has some."""
    top = argparse.ArgumentParser(prog=PROGRAM, description="Pictures of recurrent computations.")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for module in (graphs, explorer, single, plots, measure):
        module.add(commands)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, whose remarks are lines on stderr.

    0 when the picture is there, 1 when only its .dot could be written, 2 for a bad request, 130 when interrupted.
    """
    options = vars(parser().parse_args(arguments))
    options.pop("command")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = partial(_remark, warnings.showwarning)
            return options.pop("run")(**options)
    except (UserError, ValueError, OSError, ImportError) as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted; files that were written are whole", file=sys.stderr)
        return 130


def _remark(others: Any, message: Any, category: type[Warning], *place: Any) -> None:
    """A warning of ours without the line of code that it comes from; others as they are."""
    if category is UserWarning:
        print(f"{PROGRAM}: {message}", file=sys.stderr)
    else:
        others(message, category, *place)


if __name__ == "__main__":
    sys.exit(main())
