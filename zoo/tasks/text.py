"""Text as data: the embedded corpus, the user's own file, the character vocabulary, the held-out tenth."""

from __future__ import annotations

import hashlib
import shlex
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zoo.errors import UserError


@dataclass(frozen=True)
class Corpus:
    """A text and where it came from."""

    text: str
    source: str

    @property
    def sha256(self) -> str:
        """Identifies the text, so that a resumed run can tell that its data are still the same."""
        return hashlib.sha256(self.text.encode("utf-8")).hexdigest()


def load(path: str | Path | None = None) -> Corpus:
    """The user's text file, or without one the English technical prose that ships with Python.

    Raises `UserError` when the file is missing, empty or not UTF-8.

    >>> corpus = load()
    >>> len(corpus.text) > 100_000
    True
    """
    return embedded() if path is None else read(Path(path))


def embedded() -> Corpus:
    """Python's reference manual from `pydoc_data.topics`; the standard library's sources where it is not installed."""
    try:
        from pydoc_data.topics import topics
    except ImportError:
        return standard_library()
    return Corpus("\n".join(topics[name] for name in sorted(topics)), "Python's reference manual (pydoc_data.topics)")


def standard_library() -> Corpus:
    """The standard library's top-level modules in alphabetical order, one after the other."""
    folder = Path(sysconfig.get_path("stdlib"))
    sources = [file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.py"))]
    if not sources:
        raise UserError(f"no text to learn from: neither pydoc_data nor sources in {folder}; give one with --text FILE")
    return Corpus("\n".join(sources), "the standard library's sources")


def read(path: Path) -> Corpus:
    """A UTF-8 text file, strictly decoded; line ends become ``\\n`` and a byte order mark is dropped."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the text {path}: {error.strerror or error}") from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The codec counts from behind the byte order mark.
        offset = error.start + (3 if raw.startswith(b"\xef\xbb\xbf") else 0)
        raise UserError(
            f"{path} is not UTF-8: byte 0x{raw[offset]:02x} at offset {offset} (line {raw.count(10, 0, offset) + 1}); "
            f"convert it first: iconv -f ENCODING -t UTF-8 {shlex.quote(str(path))} > utf8.txt"
        ) from error
    if not text:
        raise UserError(f"{path} is empty; give a text file with something to learn from")
    return Corpus(text.replace("\r\n", "\n").replace("\r", "\n"), str(path))


class Vocabulary:
    """Characters ↔ indices 0 … V−1, in the order given.

    >>> v = Vocabulary.of("hello")
    >>> v.characters, v.encode("hole").tolist(), v.decode([1, 0, 2, 3])
    ('ehlo', [1, 3, 2, 0], 'helo')
    """

    def __init__(self, characters: str) -> None:
        self.characters = characters
        self._codes = _code_points(characters)
        self._order = np.argsort(self._codes, kind="stable")
        self._sorted = self._codes[self._order]

    @classmethod
    def of(cls, text: str) -> Vocabulary:
        """The distinct characters of a text, sorted."""
        return cls("".join(sorted(set(text))))

    def __len__(self) -> int:
        return len(self.characters)

    def encode(self, text: str) -> np.ndarray:
        """Indices (T,) of a text's characters; `UserError` names the first character that is not in the vocabulary."""
        codes = _code_points(text)
        place = np.minimum(np.searchsorted(self._sorted, codes), len(self) - 1)
        missing = np.flatnonzero(self._sorted[place] != codes)
        if missing.size:
            first = int(missing[0])
            raise UserError(
                f"character {text[first]!r} at position {first} is not among the {len(self)} characters "
                f"that the model knows: {self.characters!r}"
            )
        return self._order[place]

    def decode(self, indices: Iterable[int]) -> str:
        """The text of a sequence of indices."""
        return "".join(self.characters[int(index)] for index in indices)


def split(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first nine tenths to train on and the last tenth, held out to measure with.

    Nothing is chosen by the held-out part: no early stopping, no best checkpoint.

    >>> train, held_out = split(np.arange(20))
    >>> len(train), held_out.tolist()
    (18, [18, 19])
    """
    cut = len(ids) * 9 // 10
    return ids[:cut], ids[cut:]


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.int64)
