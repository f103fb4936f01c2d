"""`python -m viz cell`, `compare`, `gallery`: their options, and what they write."""

from __future__ import annotations

import sys
from typing import Any

from zoo.errors import UserError

from .cell import cell
from .compare import compare
from .example import LOSSES, Example
from .gallery import EXHIBITS, Shown, gallery
from .record import trace

NUMBER: dict[str, Any] = {"type": int, "metavar": "N"}


def add(commands: Any) -> None:
    """Put the subcommands into the parser of `python -m viz`; each is to be run as ``run(**options)``."""
    one = commands.add_parser("cell", help="one step, folded over time: the ops of a cell and its equations")
    one.add_argument("--cell", default="LSTM", metavar="NAME", help="a cell of the zoo (default: %(default)s)")
    one.set_defaults(run=_cell)
    two = commands.add_parser("compare", help="two cells on the same input, with one scale: which forgets sooner")
    two.add_argument("--cells", default="elmanrnn,lstm", metavar="A,B", help="which is over which (%(default)s)")
    for name, value, text in (
        ("steps", 12, "time steps, one column each"),
        ("hidden", 8, "size of the states"),
        ("seed", 0, "of parameters and data"),
    ):
        two.add_argument(f"--{name}", **NUMBER, default=value, help=f"{text} (default: %(default)s)")
    two.add_argument("--gain", type=float, default=1.0, metavar="X",
                     help="what the recurrent matrices, orthogonal at first, are multiplied by")  # fmt: skip
    two.add_argument("--loss", choices=LOSSES, default="last", help="at each step or the last (default: last)")
    two.add_argument("--params", choices=("shared", "hide"), default="hide", help="parameters (default: hide)")
    two.set_defaults(run=_compare)
    for name, parser in (("cell", one), ("compare", two)):
        parser.add_argument("--out", default=f"{name}.svg", metavar="FILE", help="or .png, .pdf, .dot (%(default)s)")
    all_of_them = commands.add_parser(
        "gallery", help="every kind of picture there is, and a page that shows them",
        description="Draw every kind of picture there is into a folder, and index.html, a page that shows them all and "
        "loads nothing.", epilog=f"pictures: {', '.join(each.name for each in EXHIBITS)}",
    )  # fmt: skip
    all_of_them.add_argument("--out", default="gallery", metavar="DIR", help="the folder (default: %(default)s)")
    all_of_them.add_argument("--only", nargs="+", metavar="NAME", help="these pictures alone (default: all)")
    all_of_them.set_defaults(run=_gallery)


def _cell(*, cell: str, out: str) -> int:
    return _save(_CELL(cell), out)


_CELL = cell


def _compare(*, cells: str, gain: float, params: Any, out: str, **options: Any) -> int:
    names = [name.strip() for name in cells.split(",")]
    if len(names) != 2 or not all(names):
        raise UserError(f"--cells {cells}: two names with a comma between them, such as elmanrnn,lstm")
    runs = [trace(Example(name, **options, gain=gain, dtype="float64").build()) for name in names]
    return _save(compare(*runs, params=params), out)


def _gallery(*, out: str, only: list[str] | None) -> int:
    total = len(EXHIBITS if only is None else set(only))
    shown: list[Shown] = []

    def done(one: Shown) -> None:
        shown.append(one)
        if sys.stderr.isatty():
            part = 30 * len(shown) // total
            bar = f"\r[{'#' * part}{'.' * (30 - part)}] {len(shown)}/{total} {one.exhibit.name:<20}"
            print(bar, end="" if len(shown) < total else "\n", file=sys.stderr, flush=True)

    page = gallery(out, only=only, each=done)
    drawn = sum(not one.missing for one in shown)
    print(f"{page}: {drawn} picture{'s' * (drawn != 1)}" + (f", {total - drawn} not drawn" if drawn < total else ""))
    return 0 if drawn == total else 1


def _save(picture: Any, out: str) -> int:
    """Save a picture and say where: 0, or 1 when only its .dot could be written."""
    written = picture.save(out)
    print(f"{written}: {picture.trace.title}")
    return 0 if str(written) == str(out) else 1
