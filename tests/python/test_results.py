"""Events, segments and the file formats, from made-up words: what a reader of the output relies on."""

from __future__ import annotations

import json
import re
from dataclasses import FrozenInstanceError, fields
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxtral_edge import FinalEvent, SegmentEvent, TextEvent, WordEvent
from voxtral_edge.events import event_from_dict, event_to_dict
from voxtral_edge.formats import clock, cue_times, to_dict, to_json, to_srt, to_txt, to_vtt
from voxtral_edge.line_breaks import wrap_lines
from voxtral_edge.results import (
    MAX_LINE_CHARACTERS,
    MAX_SEGMENT_LINES,
    MAX_SEGMENT_SECONDS,
    Segment,
    Transcript,
    Word,
    segments_from_words,
)


def words_of(text: str, seconds_per_word: float = 0.4) -> list[Word]:
    return [
        Word(word, i * seconds_per_word, (i + 0.8) * seconds_per_word, 0.9)
        for i, word in enumerate(text.split())
    ]


def transcript_of(text: str, **options: float) -> Transcript:
    words = words_of(text, **options)
    return Transcript(text, words, segments_from_words(words, text), [], len(words) * 0.4)


# --- events

EVENTS = [
    TextEvent(" wörd", 7),
    WordEvent("wörd", 0.5, 0.9, 0.87, 7),
    SegmentEvent(1.5),
    FinalEvent("all of it"),
]


@pytest.mark.parametrize("event", EVENTS)
def test_events_survive_json(event) -> None:
    assert event_from_dict(json.loads(json.dumps(event_to_dict(event)))) == event


@pytest.mark.parametrize("event", EVENTS)
def test_events_are_values(event) -> None:
    with pytest.raises(FrozenInstanceError):
        setattr(event, fields(event)[0].name, "changed")
    assert hash(event) == hash(event_from_dict(event_to_dict(event)))


def test_unknown_keys_are_ignored_and_unknown_types_are_not() -> None:
    assert event_from_dict({"type": "final", "text": "x", "later": 1}) == FinalEvent("x")
    with pytest.raises(ValueError, match="unknown event type"):
        event_from_dict({"type": "gap", "start": 0})
    with pytest.raises(ValueError, match="lacks 'token'"):
        event_from_dict({"type": "text", "text": "x"})


# --- segments

any_words = st.lists(
    st.tuples(
        st.text(alphabet="abcdefgh.,!?éß中文字", min_size=1, max_size=30),
        st.floats(0, 3),
        st.floats(0, 2),
    ),
    max_size=60,
)


@settings(deadline=None, max_examples=60)
@given(any_words)
def test_segments_hold_every_word_once_and_keep_the_limits(parts) -> None:
    words, clock_s = [], 0.0
    for text, pause, length in parts:
        start_s = clock_s + pause
        clock_s = start_s + length
        words.append(Word(text, start_s, clock_s, 0.5))
    text = " ".join(word.text for word in words)
    segments = segments_from_words(words, text)
    assert [word for segment in segments for word in segment.words] == words
    for segment in segments:
        assert segment.start == segment.words[0].start
        assert segment.end == segment.words[-1].end
        if len(segment.words) > 1:
            assert len(wrap_lines(segment.text, MAX_LINE_CHARACTERS)) <= MAX_SEGMENT_LINES
            assert segment.end - segment.start <= MAX_SEGMENT_SECONDS
    assert all(a.end <= b.start for a, b in pairwise(segments))


def test_segments_end_at_sentences_pauses_and_marks() -> None:
    text = "this is the first sentence. here comes more"
    words = words_of(text)
    assert [s.text for s in segments_from_words(words, text)] == [
        "this is the first sentence.",
        "here comes more",
    ]
    late = [*words_of("one two"), Word("three", 5.0, 5.3, 0.9)]
    assert [s.text for s in segments_from_words(late, "one two three")] == ["one two", "three"]
    marked = segments_from_words(words_of("one two three"), "one two three", breaks=[0.75])
    assert [s.text for s in marked] == ["one two", "three"]


def test_limits_of_a_segment_are_reached_and_not_passed() -> None:
    def texts(words: list[Word], text: str, breaks: tuple[float, ...] = ()) -> list[str]:
        return [segment.text for segment in segments_from_words(words, text, breaks)]

    for start, expected in ((0.54, ["one two"]), (0.55, ["one", "two"])):
        assert texts([Word("one", 0.0, 0.0, 1), Word("two", start, 1.0, 1)], "one two") == expected
    for end, expected in ((7.0, ["one two three"]), (7.1, ["one two", "three"])):
        long = [Word("one", 0.0, 3.0, 1), Word("two", 3.0, 6.0, 1), Word("three", 6.0, end, 1)]
        assert texts(long, "one two three") == expected
    wide = "a" * 20  # two fill a line of 42
    assert [len(text) for text in texts(words_of(" ".join([wide] * 5)), " ".join([wide] * 5))] == [83, 20]
    two = [Word("one", 0.0, 0.25, 1), Word("two", 0.5, 0.75, 1)]
    for moment in (0.25, 0.75):  # the end of the word before, and of the word itself
        assert texts(two, "one two", (moment,)) == ["one", "two"]
    assert texts(words_of("no yes no"), "no yes no", (0.35,)) == ["no", "yes no"]


def test_short_abbreviations_do_not_end_a_segment() -> None:
    text = "ask Mr. Smith about it"
    assert len(segments_from_words(words_of(text), text)) == 1


def test_text_between_words_is_kept_in_languages_without_spaces() -> None:
    words = [Word("今日", 0.0, 0.4, 0.9), Word("は", 0.4, 0.6, 0.9), Word("晴れ", 0.6, 1.0, 0.9)]
    assert segments_from_words(words, "今日は晴れ")[0].text == "今日は晴れ"


def test_without_words_the_text_is_one_segment() -> None:
    assert segments_from_words([], " hello ", duration_s=2.0) == [Segment("hello", 0.0, 2.0)]
    assert segments_from_words([], "  ") == []


@settings(deadline=None, max_examples=60)
@given(st.text(alphabet="ab c", max_size=200))
def test_wrapped_lines_keep_the_text(text: str) -> None:
    lines = wrap_lines(text, MAX_LINE_CHARACTERS)
    assert all(0 < len(line) <= MAX_LINE_CHARACTERS for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_words_that_just_fit_are_not_cut() -> None:
    assert wrap_lines("aaaa bb", 4) == ["aaaa", "bb"]
    assert wrap_lines("e\u0301" * 9, 4) == ["e\u0301" * 4, "e\u0301" * 4, "e\u0301"]


# --- formats


def test_clock_rounds_and_passes_hours() -> None:
    assert clock(0, ",") == "00:00:00,000"
    assert clock(59.9996, ",") == "00:01:00,000"
    assert clock(3725.0405, ".") == "01:02:05.040"
    assert clock(360000, ".") == "100:00:00.000"
    assert clock(-0.01, ".") == "00:00:00.000"


def test_cues_stay_to_be_read_but_not_into_the_next() -> None:
    said = Segment("words " * 7, 2.0, 2.3)
    assert cue_times(said)[1] > 3.5
    assert cue_times(said, 3.5) == (2.0, 3.5)
    assert cue_times(Segment("words", 2.0, 4.0), 3.5) == (2.0, 4.0), "never shorter than it was said"


def parse_srt(text: str) -> list[tuple[int, str, str, list[str]]]:
    cues = []
    for block in text.strip().split("\n\n"):
        number, times, *lines = block.split("\n")
        match = re.fullmatch(r"(\d\d:\d\d:\d\d,\d{3}) --> (\d\d:\d\d:\d\d,\d{3})", times)
        assert match, times
        cues.append((int(number), match[1], match[2], lines))
    return cues


def test_srt_cues_are_numbered_ordered_and_short() -> None:
    cues = parse_srt(to_srt(transcript_of("some words that go on. " * 20)))
    assert [cue[0] for cue in cues] == list(range(1, len(cues) + 1))
    assert all(start < end for _, start, end, _ in cues)
    assert all(a[2] <= b[1] for a, b in pairwise(cues))
    assert all(len(cue[3]) <= 2 and all(len(line) <= 42 for line in cue[3]) for cue in cues)


def test_srt_has_no_markup_left() -> None:
    text = to_srt(transcript_of("a <b>bold</b> --> {\\an8} claim"))
    body = "\n".join(line for cue in parse_srt(text) for line in cue[3])
    assert not re.search(r"[<>{}]|-->", body)
    assert "claim" in body


def test_vtt_escapes_and_starts_with_its_magic() -> None:
    text = to_vtt(transcript_of("fish & <chips> --> now"))
    assert text.startswith("WEBVTT\n\n")
    assert "fish &amp; &lt;chips&gt; --&gt; now" in text


def test_vtt_word_times_are_inside_the_cue_and_increase() -> None:
    text = to_vtt(transcript_of("one two three four five six seven eight nine ten"), words=True)
    assert re.sub(r"<[\d:.]+>", "", text) == to_vtt(
        transcript_of("one two three four five six seven eight nine ten")
    )
    for cue in text.split("\n\n")[1:]:
        start, end = re.findall(r"[\d:.]{12}", cue.split("\n")[0])
        stamps = re.findall(r"<([\d:.]+)>", cue)
        assert stamps == sorted(set(stamps))
        assert all(start < stamp < end for stamp in stamps)
    assert "<00:00:00.400>two" in text


def test_empty_transcripts_in_every_format() -> None:
    empty = Transcript("", [], [], [], 0.0)
    assert to_txt(empty) == "\n"
    assert to_srt(empty) == ""
    assert to_vtt(empty) == "WEBVTT\n"
    assert to_dict(empty)["segments"] == []


def test_json_is_json_and_words_stand_on_one_line() -> None:
    tricky = transcript_of('quote" back\\slash "text":  {x} done')
    document = to_dict(tricky, file="a.wav")
    text = to_json([document], as_list=False)
    assert json.loads(text) == document
    assert json.loads(to_json([document, document], as_list=True)) == [document, document]
    assert sum('"probability"' in line for line in text.splitlines()) == len(tricky.words)
    assert next(iter(document)) == "file"


def test_txt_with_words_has_times() -> None:
    assert to_txt(transcript_of("one two"), words=True) == "0.00\t0.32\tone\n0.40\t0.72\ttwo\n"
