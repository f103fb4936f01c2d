"""Which of the installed fonts have the characters of a text, and which to install for those that none has."""

from __future__ import annotations

import unicodedata
from functools import cache

FAMILY = ("DejaVu Sans", "sans-serif")


def families(text: str) -> list[str]:
    """The fonts, besides matplotlib's own, in which all characters of a text can be drawn that some font has."""
    found = (_font(c) for c in sorted(set(text)) if ord(c) > 0x7F)
    return list(dict.fromkeys(font for font in found if font))


def missing(text: str) -> str:
    """The first characters of a text that no installed font has, as words for a message; empty when all are there."""
    lost = _lost(text)
    return ", ".join(f"{c!r}" for c in lost[:8]) + (f" and {len(lost) - 8} more" if len(lost) > 8 else "")


def packages(text: str) -> str:
    """Debian's packages with fonts for the characters that no installed one has.

    >>> packages("abc")
    ''
    """
    return " ".join(dict.fromkeys(_package(c) for c in _lost(text)))


def _lost(text: str) -> list[str]:
    return [c for c in dict.fromkeys(text) if ord(c) > 0x7F and c.isprintable() and _font(c) is None]


def _package(character: str) -> str:
    """By what kind of character it is; of emoji one in outlines, since matplotlib draws no bitmaps."""
    if unicodedata.category(character) == "So":
        return "fonts-symbola"
    wide = unicodedata.east_asian_width(character) in "WF"
    return "fonts-noto-cjk" if wide else "fonts-noto-core"


@cache
def _font(character: str) -> str | None:
    """The family of the first font with this character, "" for matplotlib's own; None when there is none."""
    from matplotlib import font_manager

    own = font_manager.findfont(FAMILY[0])
    if font_manager.get_font(own).get_char_index(ord(character)):
        return ""
    return _among_known(character) or (_among_known(character) if _new_ones() else None)


def _among_known(character: str) -> str | None:
    from matplotlib import font_manager

    upright = (e for e in font_manager.fontManager.ttflist if e.style == "normal" and "resort" not in e.name.lower())
    for entry in sorted(upright, key=lambda entry: entry.weight != 400):
        if font_manager.get_font(entry.fname).get_char_index(ord(character)):
            return entry.name
    return None


@cache
def _new_ones() -> bool:
    """Whether fonts came since matplotlib made its list, which it keeps on disk; from here on it knows them."""
    from matplotlib import font_manager

    known = {entry.fname for entry in font_manager.fontManager.ttflist}
    count = len(known)
    for path in sorted({*font_manager.findSystemFonts()} - known):
        try:
            font_manager.fontManager.addfont(path)
        except (OSError, RuntimeError):  # no font that matplotlib reads; NotImplementedError: made of bitmaps
            continue
        count += 1
    return count > len(known)
