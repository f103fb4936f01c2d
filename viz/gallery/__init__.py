"""`viz.gallery`: every kind of picture there is, each by the command that draws it, and a page that shows them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from .exhibits import EXHIBITS, Exhibit
from .page import page

__all__ = ["EXHIBITS", "Exhibit", "gallery"]


def gallery(out: str | os.PathLike[str], *, only: Iterable[str] | None = None) -> Path:
    """Draw the exhibits (those named in `only`, or all) into a folder; returns its index.html, which loads nothing.

    Raises ValueError for a name that there is not, OSError where the folder cannot be made or written.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     index = gallery(folder, only=["cell"])
    ...     sorted(path.name for path in Path(folder).iterdir())
    ['cell.svg', 'index.html']
    """
    from ..render import write

    wanted = list(only) if only is not None else [each.name for each in EXHIBITS]
    known = {each.name: each for each in EXHIBITS}
    if unknown := [name for name in wanted if name not in known]:
        raise ValueError(f"gallery: there is no picture {unknown[0]!r}; there are {', '.join(known)}")
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    drawn = [(known[name], known[name].draw(folder)) for name in wanted]
    return write(folder / "index.html", page(drawn).encode())
