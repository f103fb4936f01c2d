"""`python -m zoo sample`: what a trained run writes."""

from __future__ import annotations

from collections.abc import Sequence

from zoo import console, tasks
from zoo.commands import COUNT, Parser, device, number, threads
from zoo.errors import UserError
from zoo.run import Run

HOW = ("length", "temperature", "top_k", "seed")
EXAMPLES = """examples:
  python -m zoo sample runs/char-lm-1
  python -m zoo sample runs/char-lm-1 --prompt "The return statement" --length 1000
  python -m zoo sample runs/char-lm-1 --temperature 0     no chance: the most likely
  python -m zoo sample runs/char-lm-1 --temperature 1.2 --top-k 20 --seed 3
"""


def main(arguments: Sequence[str]) -> int:
    """Load a run's model and let it write; see `python -m zoo sample --help`."""
    parser = Parser("sample", arguments="RUN_DIR", examples=EXAMPLES)
    parser.add_argument("run", metavar="RUN_DIR", help="the folder that `python -m zoo train` made")
    parser.add_argument("--prompt", metavar="TEXT", help="how the text begins; for other tasks, what it is shown")
    parser.add_argument("--length", type=COUNT, metavar="N", help="characters to write (500)")
    parser.add_argument(
        "--temperature", type=number(float, low=0), metavar="X",
        help="below 1 plays safe, above 1 takes risks, 0 takes no chances at all (0.7)",
    )  # fmt: skip
    parser.add_argument("--top-k", type=COUNT, metavar="N", help="draw from the N most likely only (all)")
    parser.add_argument("--seed", type=number(int, low=0), metavar="N", help="of the chance it takes (0)")
    parser.add_argument("--device", default="cpu", metavar="D", help="cpu or cuda (cpu)")
    given = parser.parse_args(arguments)

    run, place = Run.open(given.run), device(given.device)
    weights = run.weights()
    task = tasks.find(run.config["task"])
    how = {name: value for name in HOW if (value := getattr(given, name)) is not None}
    if foreign := [f"--{name.replace('_', '-')}" for name in how if name not in task.writes]:
        raise UserError(f"{task.name} takes no {', '.join(foreign)}: it draws nothing at random")
    with threads(1):
        written = task.generate(run.config, weights, prompt=given.prompt, device=place, **{**task.writes, **how})
    console.say(written)
    return 0
