"""`python -m viz explore`."""

from __future__ import annotations

from typing import Any

from .. import graphs
from ..example import Example
from ..record import trace
from . import explore

ABOUT = """\
Write one HTML file, which loads nothing else, to step through a run: values go
forward column by column, losses add up, messages come back, and the gradients of
the parameters fill with each that arrives. A click on a line shows its value and
its message; between two steps also how the gradient adds up there, from what lies
before, crosses and comes after. The page lists its keys under "?"."""
EXAMPLES = """\
  python -m viz explore --cell lstm --steps 4 --out lstm.html
  python -m viz explore --cell gru --steps 30 --loss last
  python -m viz explore --topology encoder-decoder-attention
  python -m viz explore --layers 2 --bidirectional"""


def add(commands: Any) -> None:
    """Add the subcommand to those of `python -m viz`."""
    page = graphs.run_parser(commands, "explore", "a page to step through it in a browser", ABOUT, EXAMPLES)
    page.add_argument("--topology", metavar="NAME", help=graphs.TOPOLOGY["topology"]["help"])
    page.add_argument("--out", default="explorer.html", metavar="FILE", help=".html (default: %(default)s)")
    page.set_defaults(run=write)


def write(*, out: str, topology: str | None, **options: Any) -> int:
    """Write the page; in double precision, so that its sums agree in all the digits that it shows."""
    example = Example(**options, dtype="float64")
    streams = not (example.bidirectional or example.truncate)
    problem = graphs.problem_of(topology, example) if topology or streams else None
    run: Any = problem if topology else example.build()
    recorded = trace(run, values=True)
    graphs.report(explore(recorded, problem=problem).save(out), recorded)
    return 0
