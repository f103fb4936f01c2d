"""`python -m zoo info`: one cell at a glance."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

from zoo import console, registry
from zoo.commands import COUNT, Parser
from zoo.topology.unroll import RNN

EXAMPLES = """examples:
  python -m zoo info LSTM
  python -m zoo info GRU --input 64 --hidden 256        its parameters at these sizes
  python -m zoo info SRU --compiled                     what of it runs in the time loop, and what that costs
"""


def main(arguments: Sequence[str]) -> int:
    """Print what the registry knows; see `python -m zoo info --help`."""
    parser = Parser("info", arguments="CELL", examples=EXAMPLES)
    parser.add_argument("cell", metavar="CELL", help="a cell of `python -m zoo list`")
    parser.add_argument("--input", type=COUNT, default=64, metavar="N", help="input size (64)")
    parser.add_argument("--hidden", type=COUNT, default=256, metavar="N", help="hidden size (256)")
    parser.add_argument("--compiled", action="store_true", help="what its compiled loop computes and costs")
    given = parser.parse_args(arguments)

    cell = registry.entry(given.cell)
    model = cell.cell(given.input, given.hidden)
    size = sum(p.size for p in model.parameters())
    console.say(f"{cell.name}: {cell.summary}\n")
    console.say("\n".join(f"    {line}" for line in cell.equations.splitlines()) + "\n")
    console.facts({
        "paper": cell.paper,
        "family": cell.family,
        "state": ", ".join(cell.state),
        "parameters": cell.formula() + "  (I input size, H hidden size)",
        "": f"{size:,} at I = {given.input}, H = {given.hidden}",
        "options": _options(cell.cell) or "none",
        "source": inspect.getsourcefile(cell.cell) or "",
        "train": f"python -m zoo train char-lm --cell {cell.name}",
        "draw": f"python -m viz unroll --cell {cell.name.lower()} --steps 4 --out {cell.name.lower()}.svg",
    })  # fmt: skip
    console.table(["parameter", "shape"], [[path, str(p.shape)] for path, p in model.named_parameters()])
    if given.compiled:
        console.say("\n" + RNN(model).explain(T=100, B=32))
    return 0


def _options(cell: type) -> str:
    """The constructor's own options, with their defaults."""
    found = [p for p in inspect.signature(cell).parameters.values() if p.kind is p.KEYWORD_ONLY and p.name != "rng"]
    return ", ".join(f"{p.name}={p.default}" for p in found)
