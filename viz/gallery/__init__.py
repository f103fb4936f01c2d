"""`viz.gallery`: every kind of picture there is, each by the command that draws it, and a page that shows them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

from .exhibits import EXHIBITS, Exhibit
from .page import Shown, page

__all__ = ["EXHIBITS", "Exhibit", "Shown", "gallery"]


def gallery(
    out: str | os.PathLike[str], *, only: Iterable[str] | None = None, each: Callable[[Shown], None] | None = None
) -> Path:
    """Draw the exhibits (those named in `only`, or all) into a folder; returns its index.html, which loads nothing.

    ``each`` is called with each picture once it is there. Files are written whole, index.html last, and replace those
    of an earlier run; what else is in the folder stays. A picture that cannot be drawn is said on the page, and in a
    warning, without Graphviz beside its text, .dot; the others come. Raises ValueError for a name that there is not,
    OSError where the folder cannot be made or written.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     index = gallery(folder, only=["cell"])
    ...     sorted(path.name for path in Path(folder).iterdir())
    ['cell.svg', 'index.html']
    """
    from ..render import write

    wanted = list(dict.fromkeys(only)) if only is not None else [each.name for each in EXHIBITS]
    known = {each.name: each for each in EXHIBITS}
    if unknown := [name for name in wanted if name not in known]:
        raise ValueError(f"gallery: there is no picture {unknown[0]!r}; there are {', '.join(known)}")
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}; give a folder, there or to be made", str(folder)) from error
    shown = []
    for name in sorted(wanted, key=list(known).index):
        shown.append(_drawn(known[name], folder))
        if each:
            each(shown[-1])
    for reason in dict.fromkeys(one.missing for one in shown if one.missing):
        names = [one.exhibit.name for one in shown if one.missing == reason]
        warnings.warn(f"not drawn: {', '.join(names)}; {reason}", stacklevel=2)
    return write(folder / "index.html", page(shown).encode())


def _drawn(exhibit: Exhibit, folder: Path) -> Shown:
    """The picture in the folder, or why there is none."""
    from zoo.errors import UserError

    from ..render import INSTALL

    try:
        path = exhibit.draw(folder)
    except (UserError, ValueError, ImportError) as error:
        return Shown(exhibit, None, str(error))
    return Shown(exhibit, path, "" if path.suffix != ".dot" else f"no Graphviz to draw with: {INSTALL}")
