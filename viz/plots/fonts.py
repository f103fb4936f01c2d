"""Which of the installed fonts have the characters of a text."""

from __future__ import annotations

from functools import cache

FAMILY = ("DejaVu Sans", "sans-serif")


def families(text: str) -> list[str]:
    """The fonts, besides matplotlib's own, in which all characters of a text can be drawn that some font has."""
    found = (_font(c) for c in sorted(set(text)) if ord(c) > 0x7F)
    return list(dict.fromkeys(font for font in found if font))


def missing(text: str) -> str:
    """The first characters of a text that no installed font has, as words for a message; empty when all are there."""
    lost = [c for c in dict.fromkeys(text) if ord(c) > 0x7F and c.isprintable() and _font(c) is None]
    return ", ".join(f"{c!r}" for c in lost[:8]) + (f" and {len(lost) - 8} more" if len(lost) > 8 else "")


@cache
def _font(character: str) -> str | None:
    """The family of the first font with this character, "" for matplotlib's own; None when there is none."""
    from matplotlib import font_manager

    own = font_manager.findfont(FAMILY[0])
    upright = (e for e in font_manager.fontManager.ttflist if e.style == "normal" and "resort" not in e.name.lower())
    candidates = sorted(upright, key=lambda entry: entry.weight != 400)
    for name, path in [("", own), *((entry.name, entry.fname) for entry in candidates)]:
        if font_manager.get_font(path).get_char_index(ord(character)):
            return name
    return None
