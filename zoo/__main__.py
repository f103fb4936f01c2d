"""The command line: `python -m zoo COMMAND …`."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from zoo.commands import COMMANDS, INTERRUPTED
from zoo.errors import UserError, one_line, unknown

OVERVIEW = """usage: python -m zoo COMMAND …

{commands}

examples:
  python -m zoo train char-lm                    an LSTM reads Python's manual
  python -m zoo train char-lm --text mybook.txt  … or from your own text
  python -m zoo train helo                       four letters, every message
  python -m zoo sample runs/char-lm-1 --prompt "The "
  python -m zoo info LSTM

python -m zoo COMMAND --help says more."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit status is 0, 2 after an error the user can mend, 130 after an interruption."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without "–" shows "?"
    try:
        if not arguments or arguments[0] in ("-h", "--help"):
            width = max(map(len, COMMANDS))
            print(OVERVIEW.format(commands="\n".join(f"  {c:<{width}}  {COMMANDS[c]}" for c in COMMANDS)))
            return 0
        if arguments[0] not in COMMANDS:
            raise unknown("command", arguments[0], COMMANDS)
        return import_module(f"zoo.commands.{arguments[0]}").main(arguments[1:])
    except BrokenPipeError:  # the reader of our output has gone (python -m zoo list | head): nothing is wrong
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (UserError, OSError) as error:
        print(f"zoo: {one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("zoo: interrupted", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
