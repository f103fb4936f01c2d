"""`python -m zoo bench`: how fast the engine is; the measuring is in zoo/bench.py."""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """Hand over; see `python -m zoo bench --help`."""
    from zoo import bench

    return bench.main(arguments) or 0
