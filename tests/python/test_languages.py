"""The 13 languages of the released model, with the real vocabulary: text, words, times, subtitles and hotwords.

The model is random; its tokens are scripted as its training targets would have them (docs/model.md, section 9).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mistral_common
import pytest
from checkpoint_shapes import SHAPES, Shape
from export_testing import export_folder
from hypothesis import given, settings
from hypothesis import strategies as st
from mistral_common.tokens.tokenizers.tekken import Tekkenizer
from native_testing import random_audio
from scripted_python_engine import ScriptedEngine

import checkpoints
from voxtral_edge.events import event_from_dict
from voxtral_edge.formats import to_srt, to_txt, to_vtt
from voxtral_edge.hotwords import Hotwords, parse_hotwords
from voxtral_edge.line_breaks import wrap_lines
from voxtral_edge.results import Transcript, Word, segments_from_words
from voxtral_edge.tokenizer import Tokenizer

PAD, MARK, SPECIAL = 32, 33, 1000
REAL = sorted((Path(mistral_common.__file__).parent / "data").glob("tekken_*.json"))[-1]
# Words as they are said, each with the white space before it; the first of a transcript has none.
SPOKEN = {
    "ar": ["مرحبا", " بالعالم؟", " نعم،", " كيف", " حالك؟"],
    "de": ["Größe", " und", " Straße", " in", " Zürich."],
    "en": ["Hello,", " world!", " It's", " 10:30."],
    "es": ["¿Qué", " tal?", " ¡Mañana!"],
    "fr": ["Ça", " va", " très", " bien ?", " Oui !"],
    "hi": ["नमस्ते", " दुनिया।", " क्या", " हाल", " है?"],
    "it": ["Perché", " è", " così."],
    "ja": ["東京", "タワー", "へ", "行きます。", "楽しい", "ですね！"],
    "ko": ["안녕하세요", " 세계.", " 좋아요!"],
    "nl": ["Eén", " coöperatie."],
    "pt": ["Não,", " informação."],
    "ru": ["Привет,", " как", " дела?"],
    "zh": ["今天", "天气", "很好，", "我们", "去", "北京", "吧。"],
}
RARE = "𠮷野家🧑‍🚀ꙮ"  # characters whose bytes the vocabulary splits
LINES_AND_WIDTH = (2, 42)


@pytest.fixture(scope="module")
def reference() -> Tekkenizer:
    return Tekkenizer.from_file(REAL)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 32 numbers per token, but with the released model's vocabulary and constants."""
    small = SHAPES["gqa8"]
    shape = Shape(small.audio, {**small.text, "vocab_size": 131072, "hidden_size": 32}, SPECIAL, 32, 480)
    folder = tmp_path_factory.mktemp("languages")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SHAPES, "real", shape)
        patch.setattr(checkpoints, "make_tekken", lambda _: real_tekken(shape))
        checkpoints.make_checkpoint(folder / "checkpoint", "real")
    packages = [
        export_folder(folder / "checkpoint", folder / layout, "int8", layout) for layout in ("hf", "mistral")
    ]
    assert len({(package / "weights.bin").read_bytes() for package in packages}) == 1
    return packages[0]


ORIGINAL_TEKKEN = checkpoints.make_tekken


def real_tekken(shape: Shape) -> dict[str, Any]:
    """150,000 pieces of a published tekken file; specials and audio as the realtime model has them."""
    small = ORIGINAL_TEKKEN(Shape(shape.audio, {"vocab_size": 2000}, SPECIAL, 32, 480))
    real = json.loads(REAL.read_text())
    return {**real, "special_tokens": small["special_tokens"], "audio": small["audio"]}


def targets(reference: Tekkenizer, words: list[str], pads: int = 4) -> tuple[list[int], list[float]]:
    """Marks, tokens and pads for words with pauses between them, and the time at which each word ended."""
    ids, ends = [PAD] * 3, []
    for word in words:
        ends.append(0.08 * len(ids) + 0.04)
        ids += [MARK, *reference.encode(word, bos=False, eos=False), *[PAD] * pads]
    return ids, ends


def run(package: Path, ids: list[int]) -> tuple[str, list[Word]]:
    engine = ScriptedEngine(package, lambda index: ids[index] if index < len(ids) else PAD)
    stream = engine.stream()
    events = stream.feed(random_audio((len(ids) + 1) * 1280, 1)) + stream.finish()
    text = "".join(event["text"] for event in events if event["type"] == "text")
    assert text == stream.text
    found = [event_from_dict(event) for event in events if event["type"] == "word"]
    return text, [Word(word.text, word.start, word.end, word.probability) for word in found]


def test_constants_of_the_real_file_reach_the_manifest(package: Path) -> None:
    manifest = json.loads((package / "manifest.json").read_text())
    assert manifest["tokens"] == {
        "bos": 1, "eos": 2, "streaming_pad": PAD, "streaming_word": MARK, "special_count": 1000, "vocab_size": 131072,
    }  # fmt: skip
    assert manifest["audio"]["left_pad_tokens"] == 32 and manifest["audio"]["default_delay_tokens"] == 6


@pytest.mark.parametrize("language", SPOKEN)
def test_text_words_and_times(package: Path, reference: Tekkenizer, language: str) -> None:
    spoken = SPOKEN[language]
    ids, ends = targets(reference, spoken)
    text, words = run(package, ids)
    assert text == "".join(spoken)
    assert [word.text for word in words] == [word.strip() for word in spoken]
    assert [word.end for word in words] == pytest.approx(ends, abs=1e-6)
    assert all(word.start < word.end for word in words)


@pytest.mark.parametrize("language", SPOKEN)
def test_words_of_one_group_keep_their_text(package: Path, reference: Tekkenizer, language: str) -> None:
    """All words behind one mark, as when they fall due together: encoded as running text."""
    spoken = "".join(SPOKEN[language])
    text, words = run(package, [PAD, MARK, *reference.encode(spoken, bos=False, eos=False)])
    assert text == spoken
    assert "".join(word.text for word in words).replace(" ", "") == spoken.replace(" ", "")
    if language not in ("ja", "zh"):  # which have no spaces to tell words by
        assert [word.text for word in words] == [word.strip() for word in SPOKEN[language]]


def test_characters_split_over_tokens_and_pads(package: Path, reference: Tekkenizer) -> None:
    ids = reference.encode(RARE, bos=False, eos=False)
    assert len(ids) > len(RARE)
    spread = [PAD, MARK]
    for token in ids:
        spread += [token, PAD]
    text, words = run(package, spread)
    assert text == RARE and "".join(word.text for word in words) == RARE


@pytest.mark.parametrize("language", SPOKEN)
def test_subtitles(package: Path, reference: Tekkenizer, language: str) -> None:
    """Three minutes of it: every cue within its lines, and all of the text in them, in order."""
    sentence = SPOKEN[language]
    join = "" if language in ("ja", "zh") else " "
    spoken = [*sentence, *[join + sentence[0], *sentence[1:]] * 30]
    ids, _ = targets(reference, spoken)
    text, words = run(package, ids)
    transcript = Transcript(text, words, segments_from_words(words, text), [], 200.0)
    for written in (to_srt(transcript), to_vtt(transcript), to_vtt(transcript, words=True)):
        assert written.count("-->") == len(transcript.segments) > 10
    lines, width = LINES_AND_WIDTH
    shown = []
    for cue in to_srt(transcript).split("\n\n"):
        body = cue.strip().split("\n")[2:]
        assert 1 <= len(body) <= lines and all(columns(line) <= width for line in body), body
        shown.append("".join(body))
    assert "".join(shown).replace(" ", "") == text.replace(" ", "")
    assert to_txt(transcript) == text + "\n"


def columns(line: str) -> int:
    """Han, kana and Hangul are twice as wide as letters."""
    return sum(2 if "\u1100" <= c <= "\u115f" or "\u2e80" <= c <= "\uffdc" else 1 for c in line)


@settings(deadline=None, max_examples=200)
@given(st.text(alphabet="ab 、。！」「東京に行く안녕", max_size=120), st.integers(4, 60))
def test_wide_lines_keep_their_width_and_text(text: str, width: int) -> None:
    wrapped = wrap_lines(text, width)
    assert "".join(wrapped).replace(" ", "") == text.replace(" ", "")
    assert all(0 < columns(line) <= width for line in wrapped)


def test_lines_do_not_begin_with_closing_punctuation() -> None:
    for length in range(15, 26):
        for line in wrap_lines("東" * length + "。「京」、" + "京" * 15, 42)[1:]:
            assert line[0] not in "。」、", line


def test_turns_are_joined_as_their_script_is_written() -> None:
    words = [
        Word("今天，", 0, 1, 1, "S1"),
        Word("很好。", 9, 10, 1, "S1"),
        Word("OK", 19, 20, 1, "S1"),
        Word("去吧", 29, 30, 1, "S1"),
    ]
    text = "今天，很好。 OK 去吧"
    transcript = Transcript(text, words, segments_from_words(words, text), [], 30.0)
    assert len(transcript.segments) == 4
    assert to_txt(transcript) == "S1: 今天，很好。 OK 去吧\n"


@pytest.mark.parametrize("mark", list(".!?…。！？।؟۔"))
def test_sentences_end_in_every_script(mark: str) -> None:
    words = [Word("東京タワーへ行きます" + mark, 0, 1, 1), Word("楽しい", 1, 2, 1)]
    text = words[0].text + " " + words[1].text
    assert [segment.text for segment in segments_from_words(words, text)] == [word.text for word in words]


@pytest.mark.parametrize("language", SPOKEN)
def test_hotwords_are_written_with_the_tokens_the_model_would_use(
    package: Path, reference: Tekkenizer, language: str
) -> None:
    tokenizer = Tokenizer.from_file(package / "tekken.json")
    for word in SPOKEN[language]:
        assert tokenizer.encode(word) == reference.encode(word, bos=False, eos=False)
    phrases = Hotwords(parse_hotwords([word.strip() for word in SPOKEN[language]]), tokenizer.core)
    assert phrases.tree is not None and len(phrases) == len(SPOKEN[language])
