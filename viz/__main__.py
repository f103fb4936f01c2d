"""`python -m viz unroll`: draw the unrolled graph of a cell and the messages of its backward pass."""

from __future__ import annotations

import argparse
import sys
import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path

import zoo
from zoo.errors import UserError

from .example import LOSSES, Example
from .picture import unroll
from .record import trace

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


def parser() -> argparse.ArgumentParser:
    """The command line, with the defaults of `Example`."""
    top = argparse.ArgumentParser(prog=PROGRAM, description="Pictures of recurrent computations.")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    draw = commands.add_parser(
        "unroll",
        help="the unrolled graph with its backward messages",
        description=ABOUT,
        epilog=EXAMPLES.format(cells=textwrap.fill(", ".join(zoo.names()), 80, subsequent_indent=" " * 7)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    default = Example()
    draw.add_argument("--cell", default=default.cell, metavar="NAME", help="a cell of the zoo (default: %(default)s)")
    for name, text in (
        ("steps", "time steps, one column each"),
        ("hidden", "size of the state"),
        ("inputs", "number of symbols: features of x and classes of y"),
        ("batch", "sequences side by side"),
        ("layers", "cells on top of each other"),
        ("seed", "of parameters and data"),
    ):
        value = getattr(default, name)
        draw.add_argument(f"--{name}", type=int, default=value, metavar="N", help=f"{text} (default: %(default)s)")
    draw.add_argument("--bidirectional", action="store_true", help="each layer also runs from the end to the start")
    draw.add_argument("--loss", choices=LOSSES, default=default.loss, help="at each step or the last (default: each)")
    draw.add_argument("--truncate", type=int, metavar="K", help="cut the state every K steps: truncated BPTT")
    draw.add_argument("--level", choices=("cell", "op"), default="cell", help="a node a cell, or an op (default: cell)")
    draw.add_argument("--params", choices=("shared", "hide"), default="shared", help="parameters (default: shared)")
    draw.add_argument(
        "--out", default="unrolled.svg", metavar="FILE", help=".svg, .png, .pdf or .dot (default: %(default)s)"
    )
    draw.add_argument("--json", metavar="FILE", help="also write the trace as JSON: nodes, edges, messages")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command: 0 when the picture is there, 1 when only its .dot could be written, 2 for a bad request."""
    options = vars(parser().parse_args(arguments))
    out, json, level, params = (options.pop(name) for name in ("out", "json", "level", "params"))
    options.pop("command")
    try:
        picture = unroll(recorded := trace(Example(**options).build()), level=level, params=params)
        with warnings.catch_warnings(record=True) as remarks:
            warnings.simplefilter("always")
            written = picture.save(out)
        if json:
            from .render import write

            write(Path(json), recorded.to_json(indent=1).encode())
    except (UserError, ValueError, OSError) as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2
    for remark in remarks:
        print(f"{PROGRAM}: {remark.message}", file=sys.stderr)
    drawn = picture.trace
    parts = (("steps", drawn.steps), ("nodes", drawn.nodes), ("edges", drawn.edges), ("cuts", drawn.cuts))
    counts = {name: len(found) for name, found in parts}
    print(f"{written}: {', '.join(f'{n} {name}' for name, n in counts.items() if n)}")
    return 0 if str(written) == str(out) else 1


if __name__ == "__main__":
    sys.exit(main())
