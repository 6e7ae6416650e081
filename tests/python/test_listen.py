"""Live sessions: the text of a recording however it comes in, every way to iterate, policies, Ctrl-C, the
screen."""

from __future__ import annotations

import asyncio
import io
import json
import re
import signal
import subprocess
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from front_door import run_cli, sample, sample_text, start_cli, tiny_engine
from listen_testing import ScriptedSource

import voxtral_edge as ve
from voxtral_edge.audio import read_audio
from voxtral_edge.events import event_to_dict
from voxtral_edge.line_breaks import text_width
from voxtral_edge.listen import (
    Backlog,
    CaptionEvent,
    FileSource,
    GapEvent,
    Listener,
    ListenStep,
    Status,
    listen_event_from_dict,
)
from voxtral_edge.listen.monitor import glyphs
from voxtral_edge.listen.screen import Painter, Screen, View, bar, clock, render, wrap
from voxtral_edge.live_step import step_tokens

RECORDING = "serial-numbers.flac"


def pieces(name: str, count: int = 150) -> list[np.ndarray]:
    return np.array_split(read_audio(sample(name)), count)


def events_of(listener: Listener) -> list[Any]:
    return list(listener)


def test_text_and_words_are_those_of_transcribe() -> None:
    expected = tiny_engine().transcribe(sample(RECORDING))
    events = events_of(tiny_engine().listen(pieces(RECORDING)))
    assert "".join(event.text for event in events if isinstance(event, ve.TextEvent)) == expected.text
    words = [event for event in events if isinstance(event, ve.WordEvent)]
    assert [(word.text, word.start, word.end) for word in words] == [
        (word.text, word.start, word.end) for word in expected.words
    ]
    assert isinstance(events[-1], ve.FinalEvent) and events[-1].text == expected.text


def test_captions_hold_every_word_once_and_split_at_pauses() -> None:
    captions = [e for e in tiny_engine().listen(pieces(RECORDING)) if isinstance(e, CaptionEvent)]
    assert " ".join(caption.text for caption in captions) == sample_text(RECORDING)
    # The recording is four serial numbers with half a second between them; 26 digits are too many for one
    # caption.
    assert len(captions) >= 4
    assert all(a.end <= b.start for a, b in pairwise(captions))
    assert [word.text for caption in captions for word in caption.words] == sample_text(RECORDING).split()


def test_int16_pieces_hotwords_and_options_reach_the_stream() -> None:
    pcm = (read_audio(sample("phone-number.flac")) * 32767).astype(np.int16)
    listener = tiny_engine().listen(np.array_split(pcm, 9), delay_ms=240, hotwords=[("nine", 20)])
    assert "nine" in listener.run(lambda event: None)


def test_callbacks() -> None:
    seen: dict[str, list[Any]] = {"all": [], "word": [], "caption": []}
    text = (
        tiny_engine()
        .listen(pieces("pin.ogg"))
        .run(seen["all"].append, on_word=seen["word"].append, on_caption=seen["caption"].append)
    )
    assert text == sample_text("pin.ogg")
    assert [word.text for word in seen["word"]] == text.split() and len(seen["caption"]) >= 1
    assert seen["all"][-1] == ve.FinalEvent(text)


def test_async_iteration_gives_the_same_events() -> None:
    async def collect() -> list[Any]:
        return [event async for event in tiny_engine().listen_async(pieces("pin.ogg"))]

    assert asyncio.run(collect()) == events_of(tiny_engine().listen(pieces("pin.ogg")))


def test_leaving_an_async_loop_ends_the_session() -> None:
    def endless() -> Any:
        while True:
            yield from pieces("pin.ogg")

    async def first_word() -> str:
        async for event in tiny_engine().listen_async(endless()):
            if isinstance(event, ve.WordEvent):
                return event.text
        return ""

    assert asyncio.run(first_word()) == "nine"


def test_an_error_of_the_iterable_comes_out_behind_the_text() -> None:
    def broken() -> Any:
        yield from pieces("pin.ogg")
        raise ValueError("the radio failed")

    events: list[Any] = []
    with pytest.raises(ValueError, match="the radio failed"):
        events.extend(tiny_engine().listen(broken()))  # extend keeps what came before the error
    seen: list[Any] = []
    with pytest.raises(ValueError, match="the radio failed"):
        tiny_engine().listen(broken()).run(seen.append)
    assert seen[-1] == ve.FinalEvent(sample_text("pin.ogg"))


def test_stop_still_decodes_what_was_heard() -> None:
    source = ScriptedSource(read_audio(sample("pin.ogg")), later=[np.zeros(0, dtype=np.float32)])
    listener = Listener(tiny_engine(), source)
    steps = listener.steps()
    next(steps)
    listener.stop()
    final = [step for step in steps][-1]
    assert final.events[-1] == ve.FinalEvent(sample_text("pin.ogg"))
    assert source.stopped >= 1


def test_stop_ends_a_session_whose_source_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxtral_edge.listen.sources._STOP_S", 0.05)
    never = threading.Event()

    def hanging() -> Any:
        yield from pieces("pin.ogg")
        never.wait()

    listener = tiny_engine().listen(hanging())
    events: list[Any] = []
    for event in listener:
        events.append(event)
        if isinstance(event, ve.WordEvent) and event.text == "four":
            listener.stop()
    never.set()
    assert events[-1].text.startswith("nine six four")


def test_nothing_heard_is_an_empty_transcript() -> None:
    assert events_of(tiny_engine().listen([])) == [ve.FinalEvent("")]


def test_a_session_runs_once() -> None:
    session = tiny_engine().listen([])
    assert events_of(session) == [ve.FinalEvent("")]
    with pytest.raises(ve.UsageError, match=r"engine\.listen"):
        events_of(session)


@pytest.mark.parametrize("source", [1.5, True, object()])
def test_what_is_no_source_is_wrong_usage(source: Any) -> None:
    with pytest.raises(ve.UsageError, match="no source of audio; give None"):
        tiny_engine().listen(source)


def test_keep_ends_with_an_error_behind_the_text_it_could_keep() -> None:
    pcm = read_audio(sample(RECORDING))
    seen: list[Any] = []
    listener = Listener(tiny_engine(), ScriptedSource(pcm), backlog=Backlog("keep", 5.0))
    with pytest.raises(ve.OverrunError, match="5 s of audio wait"):
        listener.run(seen.append)
    assert isinstance(seen[-1], ve.FinalEvent)
    assert sample_text(RECORDING).startswith(seen[-1].text) and len(seen[-1].text.split()) >= 5


def test_skip_reports_the_gap_and_keeps_the_time_line_true() -> None:
    pcm = read_audio(sample(RECORDING))
    # Six seconds come at once, more than the limit of four; the rest two by two, which can be followed.
    later = np.split(pcm[6 * 16_000 :], range(32_000, len(pcm) - 6 * 16_000, 32_000))
    source = ScriptedSource(pcm[: 6 * 16_000], later=later)
    listener = Listener(tiny_engine(), source, backlog=Backlog("skip", 4.0))
    steps = []
    for step in listener.steps():
        steps.append(step)
        if not source.ended and step.status.lag_s == 0:
            source.deliver()
    events = [event for step in steps for event in step.events]
    gaps = [event for event in events if isinstance(event, GapEvent)]
    dropped = sum(gap.end - gap.start for gap in gaps)
    assert dropped == pytest.approx(4.0) and steps[-1].status.dropped_s == pytest.approx(dropped)
    assert steps[-1].status.heard_s == pytest.approx(len(pcm) / 16_000, abs=1e-6)
    # Words behind the last gap stand where they are in the whole recording.
    whole = tiny_engine().transcribe(pcm).words
    late = [event for event in events if isinstance(event, ve.WordEvent) and event.start > gaps[-1].end + 1]
    assert len(late) == 21
    for word, expected in zip(late, whole[-21:], strict=True):
        assert word.text == expected.text and abs(word.end - expected.end) < 0.1
    spans = [(e.start, e.end) for e in events if isinstance(e, CaptionEvent)]
    assert all(not (start < gaps[-1].end <= end - 0.5) for start, end in spans), spans


def test_behind_means_several_tokens_per_pass_and_the_same_text() -> None:
    listener = Listener(tiny_engine(), ScriptedSource(read_audio(sample("pin.ogg"))))
    steps = list(listener.steps())
    assert max(step.status.tokens for step in steps) == 8
    assert steps[0].status.lag_s > 1 and steps[-1].status.lag_s == 0
    assert steps[-1].events[-1] == ve.FinalEvent(sample_text("pin.ogg"))


def test_larger_steps_bring_the_same_text() -> None:
    audio = read_audio(sample("pin.ogg"))
    source = ScriptedSource(audio[:1000], later=np.split(audio[1000:], range(1000, len(audio) - 1000, 1000)))
    listener = tiny_engine().listen(source, step_ms=240)
    tokens, text = [], ""
    for step in listener.steps():
        source.deliver()
        tokens += [step.status.tokens] if step.status.tokens else []
        assert not step.status.behind
        text += "".join(event.text for event in step.events if isinstance(event, ve.TextEvent))
    assert text == sample_text("pin.ogg")
    assert set(tokens[:-1]) == {3}


@pytest.mark.parametrize("step_ms", [0, 100, 720])
def test_steps_that_cannot_be(step_ms: int) -> None:
    with pytest.raises(ve.UsageError, match="80 to 640"):
        tiny_engine().listen("never-opened.wav", step_ms=step_ms)


def test_sources_that_can_wait_lose_nothing_to_the_policy() -> None:
    listener = Listener(tiny_engine(), pieces(RECORDING), backlog=Backlog("skip", 1.0))
    steps = list(listener.steps())
    assert steps[-1].events[-1] == ve.FinalEvent(sample_text(RECORDING))
    assert steps[-1].status.dropped_s == 0 and max(step.status.lag_s for step in steps) <= 1.0


def test_a_recording_in_a_pipe_waits_for_the_decoder() -> None:
    pcm = (read_audio(sample(RECORDING)) * 32767).astype("<i2").tobytes()
    code, out, err = run_cli("listen", "--input", "-", "--policy", "skip", "--backlog", "4", data=pcm)
    assert code == 0 and out.split() == sample_text(RECORDING).split() and "dropped" not in err


def test_a_paced_file_is_not_faster_than_real_time() -> None:
    begun = time.monotonic()
    source = FileSource(sample("room.mp3"))
    events_of(tiny_engine().listen(source))
    assert (
        time.monotonic() - begun >= source.duration_s - 0.1
    )  # a lower bound: holds however busy the machine is


def test_monitor_glyphs() -> None:
    status = Status(tokens=3, behind=True, step_ms=100.0)
    events = [GapEvent(0, 1), ve.TextEvent("a", 1), ve.WordEvent("a", 0, 1, 1.0, 1), CaptionEvent("a", 0, 1)]
    assert glyphs(ListenStep(events, status)) == "×»!··▪|↵"
    assert glyphs(ListenStep([], Status(tokens=1, step_ms=10.0))) == "·"
    assert glyphs(ListenStep([], Status())) == ""


def test_render_fits_the_terminal_at_every_width() -> None:
    status = Status(heard_s=4000, lag_s=0.5, step_ms=90, tokens=1, level_db=-20, overruns=3, dropped_s=1.2)
    view = View(0.48, open_text=" some words that are long enough to wrap " * 3, status=status, peak_db=-20)
    for columns in range(30, 130, 7):
        lines = render(view, columns, Painter(False))
        assert all(len(line) <= columns for line in lines), (columns, lines)
    assert "overruns 3" in lines[-1] and "dropped 1.2 s" in lines[-1] and "1:06:40" in lines[-1]
    assert re.search(r"\x1b\[38;5;\d+m", "\n".join(render(view, 100, Painter(True))))


def test_wide_characters_wrap_by_the_columns_they_take() -> None:
    assert text_width("東京 e\u0301 👩‍👩‍👧") == 4 + 1 + 1 + 1 + 6
    for text in ("東京タワーへ行きます。" * 9, "naïve " * 40, "x" * 200, "안녕하세요 세계 " * 9):
        lines = wrap(text, 31)
        assert all(text_width(line) <= 31 for line in lines) and len(lines) > 3
        assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert wrap("", 31) == [""]


def test_bar_and_clock() -> None:
    plain = Painter(False)
    assert [bar(share, 4, "1", plain) for share in (-1, 0, 0.5, 0.6, 1, 2)] == [
        "────", "────", "━━──", "━━╸─", "━━━━", "━━━━"
    ]  # fmt: skip
    assert [clock(s) for s in (-1, 0, 61.9, 3600)] == ["0:00", "0:00", "1:01", "1:00:00"]


def test_screen_ends_with_the_captions_and_the_summary() -> None:
    import pyte  # a terminal emulator: what stands on the screen, not which bytes were sent

    out = io.StringIO()
    screen = Screen("title", 0.48, monitor=True, out=out, colour=True)
    for step in tiny_engine().listen(pieces(RECORDING)).steps():
        screen.show(step)
    screen.close("the summary")
    terminal = pyte.Screen(80, 40)
    pyte.Stream(terminal).feed(out.getvalue().replace("\n", "\r\n"))
    shown = [line.rstrip() for line in terminal.display if line.strip()]
    assert shown[0].strip() == "title" and shown[-1].strip() == "the summary"
    assert " ".join(line[8:] for line in shown[1:-1]) == sample_text(RECORDING)
    assert not terminal.cursor.hidden


def test_command_line_prints_captions_and_nothing_else() -> None:
    code, out, err = run_cli("listen", "--input", sample(RECORDING), "--no-paced")
    assert code == 0 and out.split() == sample_text(RECORDING).split() and len(out.splitlines()) >= 4
    assert "heard 0:2" in err and "ms per 80 ms step" in err


def test_command_line_jsonl_and_monitor() -> None:
    code, out, err = run_cli(
        "listen", "--input", sample("pin.ogg"), "--no-paced", "--format", "jsonl", "--monitor"
    )
    events = [json.loads(line) for line in out.splitlines()]
    parsed = [listen_event_from_dict(event) for event in events]
    assert [event_to_dict(event) for event in parsed] == [  # type: ignore[arg-type]
        {**event, "words": tuple(event["words"])} if "words" in event else event for event in events
    ]
    assert code == 0 and {event["type"] for event in events} == {"text", "word", "caption", "final"}
    assert events[-1] == {"type": "final", "text": sample_text("pin.ogg")}
    assert err.count("▪") == 4 and "↵" in err


def test_command_line_reads_samples_from_a_pipe() -> None:
    pcm = (read_audio(sample("phone-number.flac")) * 32767).astype("<i2").tobytes()
    code, out, _ = run_cli("listen", "--input", "-", data=pcm)
    assert code == 0 and out.split() == sample_text("phone-number.flac").split()


def test_sigterm_ends_a_session_that_waits_for_its_pipe() -> None:
    process = start_cli("listen", "--input", "-", "--format", "jsonl", stdin=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write((read_audio(sample("pin.ogg")) * 32767).astype("<i2").tobytes())
    process.stdin.flush()  # and stays open
    for line in process.stdout:
        if json.loads(line)["type"] == "word":
            break
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    last = json.loads(out.splitlines()[-1])
    assert last["type"] == "final" and last["text"].startswith("nine")  # cut where the signal came
    assert process.returncode == 0 and b"rror" not in err


def test_ctrl_c_flushes_the_tail(tmp_path: Path) -> None:
    process = start_cli("listen", "--input", sample(RECORDING), "--format", "jsonl")
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(json.loads(line))
        if lines[-1]["type"] == "word":
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    lines += [json.loads(line) for line in out.splitlines()]
    assert lines[-1]["type"] == "final" and sample_text(RECORDING).startswith(lines[-1]["text"])
    assert any(line["type"] == "caption" for line in lines)
    assert process.returncode == 130 and b"Traceback" not in err


@pytest.mark.parametrize(
    "values", [{"type": "gap"}, {"type": "caption", "text": "a"}, {"type": "nothing"}, {}]
)
def test_events_that_are_incomplete_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="event"):
        listen_event_from_dict(values)


def test_steps_of_80_to_640_ms() -> None:
    assert [step_tokens(ms) for ms in (80, 160, 640)] == [1, 2, 8]
    for ms in (0, 40, 81, 720):
        with pytest.raises(ve.UsageError, match="80 to 640 ms"):
            step_tokens(ms)


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--input", "absent.wav"], 1, "absent.wav"),
        (["--input", "x.wav", "--device", "1"], 2, "exclude"),
        (["--delay-ms", "100"], 2, "delay_ms"),
        (["--backlog", "0"], 2, "backlog"),
        (["--hotwords", "one :99"], 2, "at most 20"),
        (["--max-line", "0"], 2, "above 0"),
        (["--silence", "-1"], 2, "--silence: '-1' is no number above 0"),
        (["--step-ms", "90"], 2, "80 to 640 ms"),
    ],
)
def test_command_line_refusals(options: list[str], code: int, message: str) -> None:
    got, out, err = run_cli("listen", *options)
    assert (got, out) == (code, "") and message in err and len(err.splitlines()) == 1
