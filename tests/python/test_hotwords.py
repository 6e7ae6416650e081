"""Hotwords: every accepted shape, refusals, spellings, and what they do to the demo model's text."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from front_door import run_cli, sample, sample_text, tiny_engine

import voxtral_edge as ve
from voxtral_edge._native import native_module
from voxtral_edge.audio import read_audio
from voxtral_edge.hotwords import (
    DEFAULT_WEIGHT,
    MAX_PHRASES,
    Hotword,
    parse_hotwords,
    read_hotwords_option,
)

OTHER = ["kubernetes", "zurich", "raspberry", "jetson", "tokyo", "elephant", "mountain", "guitar", "umbrella"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, []),
        ([], []),
        ("", []),
        ("Zürich :3, Kubernetes", [("Zürich", 3.0), ("Kubernetes", DEFAULT_WEIGHT)]),
        (["San  Francisco ", "at 10:30"], [("San Francisco", DEFAULT_WEIGHT), ("at 10:30", DEFAULT_WEIGHT)]),
        ([("Kubernetes", 2), Hotword("Zürich", 0.5)], [("Kubernetes", 2.0), ("Zürich", 0.5)]),
        ({"Kubernetes": 2.5}, [("Kubernetes", 2.5)]),
        (
            [{"phrase": "etcd", "weight": 2}, {"content": "kubectl"}],
            [("etcd", 2.0), ("kubectl", DEFAULT_WEIGHT)],
        ),
        ({"text": "etcd", "boost": "4"}, [("etcd", 4.0)]),
        (("one", "two"), [("one", DEFAULT_WEIGHT), ("two", DEFAULT_WEIGHT)]),
        (["Zu\u0308rich", "\u1112\u1161\u11ab"], [("Zürich", DEFAULT_WEIGHT), ("한", DEFAULT_WEIGHT)]),
        ("one : 2, two:3, :4, 10:30 :1e0", [("one", 2), ("two:3", 1), (":4", 1), ("10:30", 1)]),
    ],
)
def test_shapes(value: object, expected: list[tuple[str, float]]) -> None:
    assert [(word.phrase, word.weight) for word in parse_hotwords(value)] == expected


def test_a_file_has_a_phrase_per_line(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_bytes("\ufeff# people\nZürich :3.5\r\n\n  Müller, Anna \nC++ and C#\n".encode())
    expected = [Hotword("Zürich", 3.5), Hotword("Müller, Anna"), Hotword("C++ and C#")]
    assert parse_hotwords(path) == expected
    assert read_hotwords_option(str(path)) == expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (["ok", "  "], "item 2.*no letter"),
        (["?!"], "no letter"),
        (["x" * 10_000], "10000 characters"),
        (["caf\udce9"], "not valid Unicode"),
        ([b"bytes"], "is not text|neither a phrase"),
        ([("one", 0)], "weight 0 "),
        ([("one", -1)], "weight -1"),
        ([("one", 21)], "at most 20"),
        ([("one", float("nan"))], "weight nan"),
        ([("one", True)], "weight True"),
        ("one :heavy", 'item 1: weight "heavy"'),
        ("one, two : 21", "item 2: weight 21 is"),
        ([("one", "heavy")], "item 1: weight 'heavy'"),
        ("caf\udce9", "not valid Unicode"),
        ([{"name": "one"}], 'no "phrase"'),
        ([3], "neither a phrase"),
        (7, "hotwords is a int"),
        (b"one", "hotwords is a bytes"),
        (["word"] * (MAX_PHRASES + 1), "more than 10000"),
        (Path("/nonexistent/names.txt"), "cannot be read"),
    ],
)
def test_refusals(value: object, message: str) -> None:
    with pytest.raises(ve.UsageError, match=message):
        parse_hotwords(value)


def test_files_that_are_not_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_bytes(b"caf\xe9\n")
    with pytest.raises(ve.UsageError, match="not UTF-8"):
        parse_hotwords(path)
    with pytest.raises(ve.UsageError, match="no such file"):
        read_hotwords_option(str(tmp_path / "absent.txt"))


def test_phrases_are_composed_and_cased_as_python_does() -> None:
    """Of all letters: NFC, and one for one in lower case and as a capital."""
    composed, spellings = native_module().checked_hotwords, native_module().hotword_spellings
    for first in range(0, 0x30000, 256):
        letters = [
            chr(code) for code in range(first, first + 256) if unicodedata.category(chr(code))[0] in "LM"
        ]
        phrases = [f"a{letter}\u0327\u0301{letter}" for letter in letters]
        given = composed([(phrase, 1.0) for phrase in phrases])
        assert [phrase for phrase, _ in given] == [unicodedata.normalize("NFC", phrase) for phrase in phrases]
        for letter in letters:
            if unicodedata.category(letter)[0] != "L" or len(letter.lower() + letter.upper()) > 2:
                continue
            found = {text for text, _ in spellings(letter)}
            assert {letter.lower(), letter.upper()} <= found, ascii(letter)


def test_spellings() -> None:
    spellings = native_module().hotword_spellings
    assert spellings("zürich west") == [
        (" zürich west", False), (" Zürich west", False), ("zürich west", True), ("Zürich west", True)
    ]  # fmt: skip
    assert (" NASA", False) in spellings("NASA") and (" nasa", False) in spellings("NASA")
    assert all(not opening for _, opening in spellings("東京"))


def test_ten_thousand_phrases_are_accepted() -> None:
    prepared = tiny_engine().hotwords([f"name{number}" for number in range(MAX_PHRASES)])
    assert len(prepared) == MAX_PHRASES


def test_duplicates_keep_the_larger_weight() -> None:
    prepared = tiny_engine().hotwords([("one", 1), ("two", 3), ("one", 2)])
    assert prepared.phrases == (Hotword("one", 2.0), Hotword("two", 3.0))
    assert tiny_engine().hotwords(prepared) is prepared


def test_a_heavy_word_is_written_and_keeps_its_time() -> None:
    pcm = read_audio(sample("phone-number.flac"))
    plain = tiny_engine().transcribe(pcm)
    biased = tiny_engine().transcribe(pcm, hotwords=[("nine", 20)])
    assert "nine" not in plain.text and "nine" in biased.text
    # Where the model is silent or ends a word, the bias must not be seen: the first differing token is text
    # in both.
    special = tiny_engine().tokenizer.special_count
    first = next(
        i for i, pair in enumerate(zip(plain.token_ids, biased.token_ids, strict=True)) if len({*pair}) == 2
    )
    assert plain.token_ids[first] >= special and biased.token_ids[first] >= special


def test_words_that_nobody_says_change_nothing() -> None:
    for name in ("phone-number.flac", "serial-numbers.flac", "pin.ogg", "room.mp3"):
        plain = tiny_engine().transcribe(sample(name))
        biased = tiny_engine().transcribe(sample(name), hotwords=[(word, 4) for word in OTHER])
        assert biased.token_ids == plain.token_ids and biased.words == plain.words


def test_the_words_that_are_said_change_nothing_at_the_default_weight() -> None:
    for name in ("phone-number.flac", "zero-to-nine.wav"):
        biased = tiny_engine().transcribe(sample(name), hotwords=sample_text(name).split())
        assert biased.text == sample_text(name)


def test_a_phrase_lifts_its_second_word_only_behind_its_first() -> None:
    pcm = read_audio(sample("zero-to-nine.wav"))
    phrase = tiny_engine().transcribe(pcm, hotwords=[("four nine", 6)])
    assert phrase.text == "zero one two three four nine six seven eight nine"
    word = tiny_engine().transcribe(pcm, hotwords=[("nine", 6)])
    assert word.text.split().count("nine") > 2


def test_pieces_of_audio_do_not_matter_with_hotwords() -> None:
    pcm = read_audio(sample("serial-numbers.flac"))
    prepared = tiny_engine().hotwords([("one", 3), ("five", 3)])
    whole = tiny_engine().transcribe(pcm, hotwords=prepared)
    with tiny_engine().stream(hotwords=prepared) as stream:
        for piece in np.array_split(pcm, 97):
            stream.feed(piece)
        stream.finish()
        assert stream.token_ids == whole.token_ids


def test_both_engines_agree_with_hotwords() -> None:
    pytest.importorskip("onnxruntime")
    words = [("four nine", 6), ("one", 2)]
    other = ve.load("tiny-en", engine="onnxruntime", threads=1)
    recording = sample("zero-to-nine.wav")
    expected = tiny_engine().transcribe(recording, hotwords=words)
    assert other.transcribe(recording, hotwords=words).token_ids == expected.token_ids


def test_command_line(tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("nine :20\n")
    code, out, _ = run_cli("transcribe", sample("phone-number.flac"), "--hotwords", words)
    assert code == 0 and "nine" in out
    code, out, err = run_cli("transcribe", sample("phone-number.flac"), "--hotwords", "nine :99")
    assert code == 2 and not out and "at most 20" in err


def test_a_file_name_is_not_taken_as_a_phrase() -> None:
    for name in ("names.txt", "/tmp/names", "./names", "~/names"):
        with pytest.raises(ve.UsageError, match=r"looks like a file's name; pass pathlib.Path"):
            parse_hotwords(name)
        with pytest.raises(ve.UsageError, match="no such file"):
            read_hotwords_option(name)
    assert [hotword.phrase for hotword in parse_hotwords("TCP/IP")] == ["TCP/IP"]
    assert [hotword.phrase for hotword in read_hotwords_option("AC/DC")] == ["AC/DC"]
