"""`python -m zoo list`: every cell and every task, a line each."""

from __future__ import annotations

from collections.abc import Sequence

from zoo import console, registry, tasks
from zoo.commands import Parser

EXAMPLES = """examples:
  python -m zoo list
  python -m zoo info GRU
  python -m zoo train char-lm --cell GRU
"""


def main(arguments: Sequence[str]) -> int:
    """Print the registries; see `python -m zoo list --help`."""
    Parser("list", examples=EXAMPLES).parse_args(arguments)
    cells = [registry.entry(name) for name in registry.names()]
    console.table(["cell", "family", "paper"], [[cell.name, cell.family, cell.paper] for cell in cells])
    console.table(["task", "what it is"], [[name, tasks.find(name).summary] for name in tasks.TASKS])
    return 0
