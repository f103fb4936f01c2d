"""The measuring process, started by process.py: ``python -m zoo.bench JOB`` prints one line of JSON a result."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

from zoo.bench import cells, checkpoint, eager, memory, start
from zoo.errors import UserError

Job = Callable[..., Iterator[dict[str, Any]]]

JOBS: dict[str, Job] = {
    "cells": cells.measure, "checkpoint": checkpoint.measure, "eager": eager.measure, "memory": memory.measure,
    "start": start.measure,
}  # fmt: skip


def main(task: str) -> None:
    """Do one job, given as JSON: its name and its options."""
    options = json.loads(task)
    try:
        for result in JOBS[options.pop("job")](**options):
            print(json.dumps(result), flush=True)
    except UserError as error:
        print(json.dumps({"error": str(error)}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
