"""`python -m zoo experiment`: what a paper concludes about learning through time, and what comes out here."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict

import tinygrad_rnn as tg
from zoo import console, experiments
from zoo.commands import COUNT, Parser, number, threads

EXAMPLES = """experiments:
{experiments}

examples:
{examples}
"""


def main(arguments: Sequence[str]) -> int:
    """Run one experiment; see `python -m zoo experiment --help`. Status 1: a conclusion does not hold."""
    width = max(map(len, experiments.EXPERIMENTS), default=0)
    shown = "\n".join(f"  {e.name:<{width}}  {e.summary} ({e.paper})" for e in experiments.EXPERIMENTS.values())
    examples = "\n".join(f"  python -m zoo experiment {name}" for name in experiments.EXPERIMENTS)
    parser = Parser("experiment", arguments="NAME", examples=EXAMPLES.format(experiments=shown, examples=examples))
    parser.add_argument("name", metavar="NAME", help="one of the experiments below")
    parser.add_argument("--full", action="store_true", help="as large as the paper's, which may take long")
    seed = number(int, low=0)
    parser.add_argument("--seed", type=seed, default=0, metavar="N", help="where all randomness comes from (0)")
    parser.add_argument("--threads", type=COUNT, default=1, metavar="N", help="threads of products and time loops (1)")
    parser.add_argument("--json", metavar="FILE", help="write all that was measured into a file too")
    parsed = parser.parse_args(arguments)
    experiment = experiments.find(parsed.name)
    console.say(f"{experiment.summary} ({experiment.paper})")
    started = time.monotonic()
    with threads(parsed.threads):
        result = experiment.run(full=parsed.full, seed=parsed.seed, progress=console.say)
    console.table(result.header, result.rows, numbers=result.numbers)
    for claim in result.claims:
        verdict = "holds here" if claim.holds else "does not hold here"
        console.facts({"paper": claim.paper, verdict: claim.here})
    console.say(f"{time.monotonic() - started:.0f} s")
    if parsed.json:
        tg.io.atomic_write(parsed.json, json.dumps(asdict(result), indent=1))
    return 0 if all(claim.holds for claim in result.claims) else 1
