"""Text enters whole and in one order, or not at all with a message that says where and what to do."""

import builtins

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.errors import UserError
from zoo.tasks import text


def test_the_embedded_text_is_the_same_every_time():
    assert text.load() == text.load()
    assert text.load().sha256 == text.load().sha256


def test_without_pydoc_data_the_standard_library_is_read(monkeypatch):
    original = builtins.__import__

    def without_pydoc_data(name, *args, **kwargs):
        if name.startswith("pydoc_data"):
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_pydoc_data)
    corpus = text.load()
    assert corpus.source == "the standard library's sources"
    assert len(corpus.text) > 1_000_000 and "class ArgumentParser" in corpus.text


@given(st.text(min_size=1))
def test_encode_then_decode_gives_the_text_back(sample):
    vocabulary = text.Vocabulary.of(sample)
    assert vocabulary.decode(vocabulary.encode(sample)) == sample


def test_a_character_outside_the_vocabulary_is_named_with_its_place():
    with pytest.raises(UserError, match="character 'é' at position 3 is not among the 3 characters"):
        text.Vocabulary.of("caf").encode("café")


def test_the_last_tenth_is_held_out():
    train, held_out = text.split(np.arange(1005))
    assert (len(train), held_out[0], held_out[-1]) == (904, 904, 1004)


def test_a_file_is_read_with_its_line_ends_unified_and_without_its_byte_order_mark(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo\rthree\n")
    assert text.load(path) == text.Corpus("one\ntwo\nthree\n", str(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read the text .*notes.txt: No such file"),
        (b"", "notes.txt is empty"),
        (b"one\ntwo\ncaf\xe9 four", r"notes.txt is not UTF-8: byte 0xe9 at offset 11 \(line 3\); .*iconv -f"),
        (b"\xef\xbb\xbfcaf\xe9", r"byte 0xe9 at offset 6 \(line 1\)"),
        ("wide".encode("utf-16"), r"byte 0xff at offset 0 \(line 1\)"),
    ],
)
def test_a_file_that_cannot_be_used_gives_one_message(tmp_path, content, message):
    path = tmp_path / "notes.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        text.load(path)


def test_a_folder_in_place_of_a_file_gives_the_same_kind_of_message(tmp_path):
    with pytest.raises(UserError, match="cannot read the text"):
        text.load(tmp_path)
