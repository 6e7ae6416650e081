"""What a stream reports: text, words, times, segments, final; with tokens chosen by the test."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from native_testing import Models, random_audio
from scripted_python_engine import ScriptedEngine

from voxtral_edge import _core
from voxtral_edge.errors import UsageError

BOS, EOS, PAD, WORD = 1, 2, 32, 33
SPECIAL = 64  # special tokens of shape "mha"; ids from here on are the 256 bytes, then words
THE, AND = SPECIAL + 256, SPECIAL + 257  # " the", " and"


@pytest.fixture(scope="module")
def package(models: Models) -> Path:
    return models.package("mha", "fp32")


def scripted(package: Path, tokens: list[int], **options: Any) -> tuple[ScriptedEngine, Any]:
    engine = ScriptedEngine(package, lambda index: tokens[index] if index < len(tokens) else PAD)
    return engine, engine.stream(**options)


def bytes_tokens(text: str) -> list[int]:
    return [SPECIAL + value for value in text.encode()]


def run(
    package: Path, tokens: list[int], samples: int | None = None, **options: Any
) -> tuple[Any, list[dict[str, Any]]]:
    _, stream = scripted(package, tokens, **options)
    events = stream.feed(random_audio(samples or (len(tokens) + 1) * 1280, 1))
    return stream, events + stream.finish()


def texts(events: list[dict[str, Any]]) -> str:
    return "".join(event["text"] for event in events if event["type"] == "text")


def test_prompt_positions_and_feedback(package: Path) -> None:
    tokens = [WORD, THE, PAD, EOS, *bytes_tokens("x")]
    for delay in (1, 6, 30):
        engine, stream = scripted(package, tokens, delay_tokens=delay, start_token_position=1000)
        stream.feed(random_audio(8 * 1280 + 5, 1))
        stream.finish()
        left = engine.audio["left_pad_tokens"]
        assert engine.previous_ids[: 1 + left + delay] == [BOS] + [PAD] * (left + delay)
        assert engine.previous_ids[1 + left + delay :] == stream.token_ids[:-1]
        assert len(stream.token_ids) == 9 + 11
        for name in ("encode", "decode"):
            calls = [(count, position) for kind, count, position in engine.calls if kind == name]
            expected = 1000
            for count, position in calls:
                assert position == expected
                expected += count
            assert expected - 1000 == left + 9 + delay + 11


def test_words_and_their_times(package: Path) -> None:
    tokens = [PAD] * 5 + [WORD, THE, PAD, PAD, WORD, AND, *bytes_tokens("ing"), PAD, WORD, THE]
    stream, events = run(package, tokens)
    words = [event for event in events if event["type"] == "word"]
    assert [word["text"] for word in words] == ["the", "anding", "the"]
    assert [word["end"] for word in words] == pytest.approx([0.44, 0.76, 1.24])  # 80 g + 40 ms of the mark
    assert all(0 <= word["start"] <= word["end"] for word in words)
    assert all(a["end"] <= b["start"] for a, b in itertools.pairwise(words))
    assert all(word["probability"] == pytest.approx(1.0, abs=1e-5) for word in words)
    assert stream.text == texts(events) == "the anding the"
    assert events[-1] == {"type": "final", "text": stream.text, "token": len(stream.token_ids)}
    assert sum(event["type"] == "final" for event in events) == 1


@pytest.mark.parametrize("pads", [0, 1, 3])
@pytest.mark.parametrize(
    "text",
    [
        "Straße",
        "naïve café",
        "漢字かな交じり",
        "한국어",
        "Здравствуйте",
        "שלום",
        "مرحبا",
        "हिन्दी",
        "👍🏽👨‍👩‍👧",
        "₿ ∑ ℝ",
        "Ελλάδα",
        "ไทย",
        "tiếng Việt",
    ],
)
def test_no_broken_characters(package: Path, text: str, pads: int) -> None:
    """Every byte its own token, pads between them: 13 scripts, no U+FFFD, text only grows."""
    tokens = [token for byte in bytes_tokens(text) for token in (byte, *[PAD] * pads)]
    _, stream = scripted(package, tokens)
    events: list[dict[str, Any]] = []
    grown = ""
    for piece in np.array_split(random_audio((len(tokens) + 3) * 1280, 1), 17):
        new = stream.feed(piece)
        for event in new:
            if event["type"] == "text":
                grown += event["text"]
                assert stream.text.startswith(grown)
                assert "�" not in event["text"]
                event["text"].encode()
        events += new
    events += stream.finish()
    assert stream.text == text == texts(events) == events[-1]["text"]
    if pads <= 1:  # more pads than a word may pause inside a character would cut it
        assert "".join(e["text"] for e in events if e["type"] == "word") == text.replace(" ", "")


def test_invalid_bytes_become_replacement_characters(package: Path) -> None:
    tokens = [
        SPECIAL + 0xFF,
        *bytes_tokens("a"),
        SPECIAL + 0xC3,
        *bytes_tokens("b"),
        SPECIAL + 0xE6,
        SPECIAL + 0xBC,
    ]
    stream, events = run(package, tokens)
    assert stream.text == "�a�b�"
    assert texts(events) == stream.text


def test_eos_is_a_segment_not_an_end(package: Path) -> None:
    tokens = [WORD, THE, EOS, PAD, EOS, WORD, AND, PAD]
    stream, events = run(package, tokens)
    assert len(stream.token_ids) == 9 + 11
    segments = [event for event in events if event["type"] == "segment"]
    assert [segment["token"] for segment in segments] == [2, 4]
    assert [segment["time"] for segment in segments] == pytest.approx([0.20, 0.36])
    assert stream.text == "the and"
    stopped, events = run(package, tokens, stop_at_eos=True)
    assert stopped.token_ids == tokens[:3]
    assert stopped.text == "the"
    assert events[-1]["type"] == "final"


def test_flush_reports_early_and_keeps_the_clock(package: Path) -> None:
    """The mark of a word in real frame 9 comes at index 9, which only exists 6 tokens later, or after a flush."""
    # 10 tokens of audio, flush (6 + 11 of silence), 20 tokens of audio: index 17 + 10 + 5 is real frame 15.
    tokens = [PAD] * 60
    tokens[9:11] = [WORD, THE]
    tokens[32:34] = [WORD, AND]
    _, stream = scripted(package, tokens)
    audio = random_audio(30 * 1280, 2)
    first = stream.feed(audio[: 10 * 1280])
    assert [event["type"] for event in first] == []
    flushed = stream.flush()
    assert [event["text"] for event in flushed if event["type"] == "word"] == ["the"]
    assert stream.flush() == []
    rest = stream.feed(audio[10 * 1280 :]) + stream.finish()
    (word,) = [event for event in rest if event["type"] == "word"]
    assert word["end"] == pytest.approx(15 * 0.08 + 0.04)
    assert stream.text == "the and"


def test_no_word_ends_after_the_audio(package: Path) -> None:
    tokens = [PAD] * 8 + [WORD, THE, WORD, AND]
    _, stream = scripted(package, tokens)
    events = stream.feed(random_audio(3 * 1280 + 77, 1)) + stream.finish()
    fed = (3 * 1280 + 77) / 16000
    words = [event for event in events if event["type"] == "word"]
    assert len(words) == 2
    assert all(word["end"] <= fed + 1e-9 for word in words)


def test_the_first_events_come_as_soon_as_the_delay_allows(package: Path) -> None:
    """Word in real frame f: its mark is in the events of the feed that completes token f + delay."""
    tokens = [PAD] * 4 + [WORD, THE, PAD, PAD]
    for delay in (1, 6, 15):
        _, stream = scripted(package, tokens, delay_tokens=delay)
        needed = 1280 * (5 + delay + 1) + 40  # text at index 5
        audio = random_audio(needed + 5000, 1)
        assert texts(stream.feed(audio[: needed - 1])) == ""
        assert texts(stream.feed(audio[needed - 1 : needed])) == "the"


def test_errors_of_an_engine_reach_the_caller(package: Path) -> None:
    class Broken(ScriptedEngine):
        mood = ""

        def encode(self, state: Any, mel: np.ndarray, position: int) -> Any:
            if self.mood == "raise":
                raise ZeroDivisionError("from encode")
            result = super().encode(state, mel, position)
            if self.mood == "shape":
                return result[0][:, :3], result[1]
            return result[0] if self.mood == "one" else result

    for mood, kind in (("raise", ZeroDivisionError), ("shape", Exception), ("one", Exception)):
        engine = Broken(package, lambda index: PAD)
        stream = engine.stream()
        engine.mood = mood
        with pytest.raises(kind):
            stream.feed(random_audio(3000, 1))
        engine.mood = ""
        assert stream.failed
        for action in ("feed", "flush", "finish"):
            with pytest.raises(UsageError, match=r"failed in the middle: call reset\(\)"):
                _core.run_streams([(stream, None, action)])
        stream.reset()
        assert not stream.failed
        stream.feed(random_audio(3000, 1))
        assert stream.finish()[-1]["type"] == "final"


def test_what_is_no_stream_is_refused_in_a_group(package: Path) -> None:
    for wrong in (None, 7, object()):
        with pytest.raises(UsageError, match="items: number 0"):
            _core.run_streams([(wrong, random_audio(10, 1), "feed")])


@pytest.mark.parametrize("delay", [0, 31, 1000])
def test_impossible_delays(package: Path, delay: int) -> None:
    with pytest.raises(UsageError, match="delay"):
        scripted(package, [], delay_tokens=delay)
