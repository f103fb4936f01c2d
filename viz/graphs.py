"""`python -m viz unroll`, `messages`, `truncation`: the unrolled graph of a small run, drawn through Graphviz."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import zoo
from zoo.topology.encoder_decoder import CONTEXTS

from .example import LOSSES, Example
from .long import FOLDS
from .messages import IDENTITIES, WORDS, messages
from .picture import Picture, unroll
from .record import trace
from .render import write
from .trace import Trace
from .truncation import truncation
from .wires import SHOWN

PROGRAM = "python -m viz"
NUMBER: dict[str, Any] = {"type": int, "metavar": "N"}


class Command(NamedTuple):
    """A subcommand: what it is in a line and in full, examples, its own options, and what it draws from all of them."""

    help: str
    about: str
    examples: str
    options: Mapping[str, Mapping[str, Any]]
    draw: Callable[..., tuple[Picture, Trace]]


def add(commands: Any) -> None:
    """Put the subcommands into the parser of `python -m viz`; each is to be run as ``run(**options)``."""
    for name, command in COMMANDS.items():
        parser = run_parser(commands, name, command.help, command.about, command.examples)
        for option, how in command.options.items():
            parser.add_argument(f"--{option}", **how)
        parser.set_defaults(run=partial(main, command.draw))


def run_parser(commands: Any, name: str, words: str, about: str, examples: str) -> argparse.ArgumentParser:
    """The parser of a command about a run of `Example`, with an option for each of its fields."""
    cells = textwrap.fill(", ".join(zoo.names()), 80, subsequent_indent=" " * 7)
    shape = argparse.RawDescriptionHelpFormatter
    parser = commands.add_parser(
        name, help=words, description=about, epilog=f"examples:\n{examples}\n\ncells: {cells}", formatter_class=shape
    )
    default = Example()
    parser.add_argument("--cell", default=default.cell, metavar="NAME", help="a cell of the zoo (default: %(default)s)")
    for field, text in (
        ("steps", "time steps, one column each"),
        ("hidden", "size of the state"),
        ("inputs", "number of symbols: features of x and classes of y"),
        ("batch", "sequences side by side"),
        ("layers", "cells on top of each other"),
        ("seed", "of parameters and data"),
    ):
        parser.add_argument(
            f"--{field}", **NUMBER, default=getattr(default, field), help=f"{text} (default: %(default)s)"
        )
    parser.add_argument("--bidirectional", action="store_true", help="each layer also runs from the end to the start")
    parser.add_argument("--loss", choices=LOSSES, default=default.loss, help="at each step or the last (default: each)")
    parser.add_argument("--dropout", type=float, default=0.0, metavar="P", help="between layers (default: none)")
    parser.add_argument(
        "--context", choices=CONTEXTS, help="an encoder and a decoder, each of --steps, with this between them"
    )
    parser.add_argument("--truncate", **{**NUMBER, "metavar": "K"}, help="cut the state every K steps: truncated BPTT")
    return parser


def main(draw: Callable[..., tuple[Picture, Trace]], *, out: str, json: str | None = None, **options: Any) -> int:
    """Draw one and save it: 0, or 1 when only its .dot could be written."""
    picture, recorded = draw(**options)
    written = picture.save(out)
    if json:
        write(Path(json), recorded.to_json(indent=1).encode())
    report(written, picture.trace)
    return 0 if str(written) == str(out) else 1


def report(written: Path, drawn: Trace) -> None:
    """Say in a line what was drawn where."""
    counts = {"steps": drawn.length, "nodes": len(drawn.nodes), "edges": len(drawn.edges), "cuts": len(drawn.cuts)}
    print(f"{written}: {', '.join(f'{n} {name}' for name, n in counts.items() if n)}")


def split(given: Mapping[str, Any]) -> tuple[Example, dict[str, Any]]:
    """The run that options describe, and the options of the picture."""
    fields = Example.__dataclass_fields__
    run = {name: value for name, value in given.items() if name in fields}
    return Example(**run), {name: value for name, value in given.items() if name not in fields}


def _unroll(**given: Any) -> tuple[Picture, Trace]:
    example, options = split(given)
    long = options["fold"] != "never" and example.steps * 4 > options["max_nodes"]
    recorded = trace(example.build(), values=bool(long or options["window"] or options["fold"] == "always"))
    return unroll(recorded, **options), recorded


def _messages(*, topology: str | None, **given: Any) -> tuple[Picture, Trace]:
    example, options = split(given)
    picture = messages(problem_of(topology, example), **options)
    return picture, picture.trace


def _truncation(*, topology: str | None, way: str, **given: Any) -> tuple[Picture, Trace]:
    example, options = split(given)
    picture = truncation(problem_of(topology, example), way, **options)
    return picture, picture.trace


def problem_of(topology: str | None, example: Example) -> Any:
    """The run as a problem in double precision: of the command's own net, or a small one of a topology."""
    from dataclasses import replace

    import tinygrad_rnn as tg

    if topology is None:
        return replace(example, dtype="float64").problem()
    from zoo.topology.examples import example as small

    return small(topology, zoo.get(example.cell).__name__, hidden=example.hidden, rng=tg.random.Generator(example.seed))


def _window(text: str) -> tuple[int, int]:
    try:
        start, stop = (int(part) for part in text.split(":"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no window: write A:B for the steps from A to before B") from None
    return start, stop


def _wrap(text: str) -> int | str | None:
    if text in ("auto", "none"):
        return None if text == "none" else text
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of columns, nor auto or none") from None


def _choice(words: Any, default: str, help: str) -> dict[str, Any]:
    return {"choices": tuple(words), "default": default, "help": f"{help} (default: {default})"}


LEVEL = {
    "level": _choice(("cell", "op"), "cell", "a node a cell, or an op"),
    "params": _choice(("shared", "hide"), "shared", "parameters"),
}
LONG: dict[str, Mapping[str, Any]] = {
    "window": {"type": _window, "metavar": "A:B", "help": "draw these steps, fold what is before and after"},
    "fold": _choice(FOLDS, "auto", "fold the middle of a long sequence into one column"),
    "max-nodes": {**NUMBER, "default": 400, "help": "fold what has more nodes (default: 400)"},
}
WRAP_HELP = "so many columns in a row; none: all in one (default: as many as a page is wide)"
WRAP: dict[str, Mapping[str, Any]] = {"wrap": {"type": _wrap, "default": "auto", "metavar": "N", "help": WRAP_HELP}}
TOPOLOGY = {"topology": {"metavar": "NAME", "help": "a small net of this kind instead, such as encoder-decoder-state"}}


def _out(name: str) -> dict[str, Mapping[str, Any]]:
    return {
        "out": {"default": name, "metavar": "FILE", "help": ".svg, .png, .pdf or .dot (default: %(default)s)"},
        "json": {"metavar": "FILE", "help": "also write the trace as JSON: nodes, edges, messages"},
    }


COMMANDS = {
    "unroll": Command(
        "the unrolled graph with its backward messages",
        """\
Draw the computation graph of a recurrent cell, unrolled over time. Values go
forward along black lines; along each of them a message comes back, drawn red and
dashed: the gradient that the edge hands over. The number beside it is its norm:
follow the numbers from right to left to see a gradient vanish or explode. Shared
parameters stand once, at the left, with the number of steps that use them.""",
        """\
  python -m viz unroll --cell lstm --steps 4 --out lstm.svg
  python -m viz unroll --cell gru --steps 2 --level op      every op inside the cell
  python -m viz unroll --cell elmanrnn --steps 8 --loss last   how far it reaches
  python -m viz unroll --steps 6 --truncate 3               where TBPTT cuts
  python -m viz unroll --steps 50 --wrap 10                 in rows of ten steps
  python -m viz unroll --steps 500 --window 200:205         five steps of many
  python -m viz unroll --layers 2 --bidirectional --out graph.pdf""",
        LEVEL | LONG | WRAP | _out("unrolled.svg"),
        _unroll,
    ),
    "messages": Command(
        "the messages of a run: backward, forward, or both ways",
        """\
Draw the messages of a run on its unrolled graph: backward, red, what
backpropagation through time hands back along every edge; forward, blue, what
real-time recurrent learning carries, the derivatives of the state by the
parameters, by name: alpha of what meets an input, beta of what meets the old
state, zeta and gamma of an encoder's after the hand-over to its decoder. With
--identity text, below every gap how the gradient adds up there.""",
        """\
  python -m viz messages --cell elmanrnn --steps 5 --mode both --identity text
  python -m viz messages --topology encoder-decoder-input --mode forward
  python -m viz messages --cell gru --show value""",
        {
            "topology": TOPOLOGY["topology"],
            "mode": _choice(WORDS, "both", "which messages"),
            "show": _choice(SHOWN, "norm", "what is written beside a backward message"),
            "identity": _choice(IDENTITIES, "tooltip", "where it says how the gradient adds up"),
        } | LEVEL | LONG | WRAP | _out("messages.svg"),
        _messages,
    ),
    "truncation": Command(
        "where truncated backpropagation cuts, and what it loses",
        """\
Draw where a truncation cuts the messages of a run: scissors between the steps,
beside them the norm of the gradient that the cut throws away, and below the
drawing how much of each parameter's gradient is missing. Ways to cut: chunks:K,
window:EVERY,BACK, artbp:LENGTH (at random, what passes weighted).""",
        """\
  python -m viz truncation --steps 9 --way chunks:3
  python -m viz truncation --steps 8 --way window:2,4
  python -m viz truncation --cell elmanrnn --steps 10 --way artbp:4""",
        {
            "topology": TOPOLOGY["topology"],
            "way": {"default": "chunks:2", "metavar": "WAY", "help": "how to truncate (default: %(default)s)"},
        } | LEVEL | LONG | WRAP | _out("truncation.svg"),
        _truncation,
    ),
}  # fmt: skip
