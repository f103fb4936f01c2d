"""The one error that the command line shows as a single line instead of a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can mend: the message names the place, the value and the way out (exit status 2)."""


def one_line(error: Exception) -> str:
    """What an error says, without the number that the operating system gives it.

    >>> one_line(FileNotFoundError(2, "No such file or directory", "runs"))
    'runs: No such file or directory'
    """
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a name that is not in a registry, with the names that look like it.

    >>> str(unknown("task", "charlm", ["helo", "char-lm"]))
    "unknown task 'charlm': did you mean char-lm? (all: helo, char-lm)"
    """
    known = list(known)
    folded = {each.lower(): each for each in known}
    near = [folded[match] for match in difflib.get_close_matches(name.lower(), folded, n=3)]
    hint = f": did you mean {' or '.join(near)}?" if near else ""
    return UserError(f"unknown {kind} {name!r}{hint} (all: {', '.join(known)})")
