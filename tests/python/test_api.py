"""The public Python interface on the bundled demo model: loading, recordings, live streams, events,
errors."""

from __future__ import annotations

import copy
import pickle
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from front_door import CHECKPOINT, sample, sample_text, samples, tiny_engine

import voxtral_edge as ve
from voxtral_edge.audio import read_audio
from voxtral_edge.package_folder import find_package


def text_of(events: list[ve.Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, ve.TextEvent))


# --- loading


def test_the_demo_model_is_bundled_and_the_default() -> None:
    assert "tiny-en" in ve.bundled_models()
    engine = ve.load(threads=1)
    assert engine.name == "tiny-en"
    assert engine.engine == "native"
    info = engine.info()
    assert info["name"] == "tiny-en" and set(info["precision"]) >= {"embedding", "decoder.ffn"}
    assert "tiny-en" in repr(engine)


def test_objects_say_what_they_are() -> None:
    engine = tiny_engine()
    with engine.stream(delay_ms=240) as stream:
        stream.feed(read_audio(sample("pin.ogg")))
        assert re.fullmatch(r"<voxtral_edge.Stream, delay 240 ms, heard 3.80 s, text 'nine.*'>", repr(stream))
        with ThreadPoolExecutor(1) as pool, stream._alone():
            assert pool.submit(repr, stream).result(10).endswith("in use by another thread>")
    assert repr(stream).endswith(", closed>")
    transcript = engine.transcribe(sample("serial-numbers.flac"))
    assert repr(transcript).startswith("<voxtral_edge.Transcript of 22.86 s: 27 words, ")
    assert len(repr(transcript)) < 150 and "…" in repr(transcript)
    assert repr(engine.hotwords({"a": 2, "b": 1.5})) == "<voxtral_edge.Hotwords, 2 in all: a :2, b :1.5>"
    assert repr(engine.listen(iter([]))).startswith("<voxtral_edge.listen.Listener to ")
    assert "tiny-en" in repr(ve.Transcriber("tiny-en"))


def test_engines_and_streams_say_that_they_cannot_be_pickled() -> None:
    for thing in (tiny_engine(), tiny_engine().stream()):
        for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match=r"cannot be pickled or copied; .*engine|voxtral_edge.load"):
                attempt(thing)
    transcript = tiny_engine().transcribe(sample("pin.ogg"))
    assert pickle.loads(pickle.dumps(transcript)) == copy.deepcopy(transcript) == transcript


def test_completion_offers_the_interface_only() -> None:
    offered = set(dir(ve))
    assert offered >= set(ve.__all__) | {"audio", "errors"}
    assert not offered & {"Any", "TYPE_CHECKING", "annotations", "extend_path", "importlib"}


def test_times_are_whole_milliseconds() -> None:
    for delay_ms in (80, 480):
        with tiny_engine().stream(delay_ms) as stream:
            events = stream.feed(read_audio(sample("serial-numbers.flac"))) + stream.finish()
        words = [event for event in events if isinstance(event, ve.WordEvent)]
        times = [time for word in words for time in (word.start, word.end)]
        assert len(times) > 20 and all(time == round(time, 3) for time in times)


def test_packages_are_loaded_by_folder() -> None:
    assert ve.load(find_package("tiny-en"), threads=1).name == "tiny-en"
    assert ve.load(str(find_package("tiny-en")), threads=1).name == "tiny-en"


def test_loading_reports_progress() -> None:
    seen: list[tuple[int, int]] = []
    ve.load("tiny-en", threads=1, on_progress=lambda done, total: seen.append((done, total)))
    done, total = seen[-1]
    assert total > 1_000_000 and 0.9 * total <= done <= total
    assert all(a[0] <= b[0] and a[1] == b[1] for a, b in pairwise(seen))


def test_an_error_while_reporting_progress_stops_the_load() -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ve.load("tiny-en", threads=1, on_progress=stop)


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        ({"name_or_dir": "no-such-model"}, ve.UsageError, "tiny-en"),
        ({"name_or_dir": "mistralai/Voxtral-Mini-4B-Realtime-2602"}, ve.UsageError, "voxtral-edge export"),
        ({"name_or_dir": CHECKPOINT}, ve.ModelFormatError, "voxtral-edge export"),
        ({"name_or_dir": Path(__file__).parent}, ve.ModelFormatError, "manifest.json"),
        ({"name_or_dir": Path(__file__)}, ve.UsageError, "is a file"),
        ({"engine": "cuda"}, ve.UsageError, "native, onnxruntime"),
        ({"kv_cache": "int2"}, ve.UsageError, "auto, f32, f16, int8"),
        ({"threads": 0}, ve.UsageError, "from 1 to 1024"),
        ({"threads": 2.5}, ve.UsageError, "from 1 to 1024"),
        ({"threads": True}, ve.UsageError, "from 1 to 1024"),
    ],
)
def test_wrong_arguments_are_refused_with_advice(arguments, error, hint: str) -> None:
    with pytest.raises(error, match=hint):
        ve.load(**arguments)


def test_a_damaged_manifest_is_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{ not json")
    with pytest.raises(ve.ModelFormatError, match="manifest"):
        ve.load(tmp_path)


# --- recordings


@pytest.mark.parametrize("delay_ms", [160, 240, 480, 960])
@pytest.mark.parametrize("entry", samples(), ids=lambda entry: entry["file"])
def test_the_samples_are_transcribed_without_an_error(entry, delay_ms: int) -> None:
    transcript = tiny_engine().transcribe(sample(entry["file"]), delay_ms)
    assert transcript.text.strip() == entry["text"]
    assert transcript.warnings == []
    assert transcript.language is None


def test_transcripts_are_whole() -> None:
    """Words, segments, tokens and duration of a recording with pauses agree with its text and its length."""
    name = "serial-numbers.flac"
    events: list[ve.Event] = []
    transcript = tiny_engine().transcribe(sample(name), on_event=events.append)
    words = sample_text(name).split()
    assert [word.text for word in transcript.words] == words
    assert all(0 <= w.start <= w.end <= transcript.duration_s for w in transcript.words)
    assert all(a.end <= b.end for a, b in pairwise(transcript.words))
    assert all(0 < w.probability <= 1 for w in transcript.words)
    assert " ".join(segment.text for segment in transcript.segments) == sample_text(name)
    pauses = {
        "nine": 6,
        "seven": 12,
        "three": 18,
        "four": 24,
    }  # words behind pauses of half a second, by number
    begins = {id(segment.words[0]) for segment in transcript.segments}
    assert all(id(transcript.words[number]) in begins for number in pauses.values())
    assert len(transcript.segments) <= 6
    assert transcript.duration_s == pytest.approx(len(read_audio(sample(name))) / 16000)
    assert len(transcript.token_ids) == -(-len(read_audio(sample(name))) // 1280) + 11
    assert text_of(events) == transcript.text
    assert [e for e in events if isinstance(e, ve.FinalEvent)] == [events[-1]]
    assert events[-1].text == transcript.text


def test_word_times_match_the_recording() -> None:
    """The recording is silent except for the digits, so each word's end must lie near the end of a loud
    stretch."""
    pcm = read_audio(sample("phone-number.flac"))
    transcript = tiny_engine().transcribe(pcm)
    loudness = np.array([np.abs(pcm[i : i + 320]).max() for i in range(0, len(pcm), 320)])
    for word in transcript.words:
        spoken = loudness[int(word.start / 0.02) : int(word.end / 0.02) + 1]
        assert spoken.max() > 0.1, f"{word} lies in silence"


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_arrays_and_files_give_the_same(dtype) -> None:
    pcm = read_audio(sample("phone-number.flac"))
    array = (pcm * 32768).astype(np.int16) if dtype == np.int16 else pcm.astype(dtype)
    assert (
        tiny_engine().transcribe(array).token_ids
        == tiny_engine().transcribe(sample("phone-number.flac")).token_ids
    )


@pytest.mark.parametrize("length", [0, 1, 159, 1280])
def test_almost_no_audio(length: int) -> None:
    transcript = tiny_engine().transcribe(np.zeros(length, np.float32))
    assert transcript.text == "" and transcript.words == [] and transcript.segments == []


def test_both_engines_say_the_same() -> None:
    pytest.importorskip("onnxruntime")
    other = ve.load("tiny-en", engine="onnxruntime", threads=1)
    assert other.engine == "onnxruntime"
    path = sample("zero-to-nine.wav")
    assert other.transcribe(path).text == tiny_engine().transcribe(path).text


# --- streams


def test_streaming_in_pieces_equals_the_recording_as_a_whole() -> None:
    pcm = read_audio(sample("serial-numbers.flac"))
    whole = tiny_engine().transcribe(pcm)
    rng = np.random.default_rng(5)
    with tiny_engine().stream() as stream:
        events: list[ve.Event] = []
        begin = 0
        while begin < len(pcm):
            size = int(rng.integers(0, 3000))
            events += stream.feed(pcm[begin : begin + size])
            assert text_of(events) == stream.text
            begin += size
        events += stream.finish()
        assert stream.token_ids == whole.token_ids
        assert stream.text == text_of(events) == whole.text
        assert stream.stats()["fed_samples"] == len(pcm)


def test_text_comes_while_audio_is_fed_and_flush_brings_the_rest() -> None:
    pcm = read_audio(sample("room.mp3"))
    spoken = pcm[: int(2.6 * 16000)]  # "six" ends at 2.4 s: less than the delay before this cut
    with tiny_engine().stream(delay_ms=480) as stream:
        stream.feed(spoken)
        assert "three" in stream.text and "six" not in stream.text
        stream.flush()
        assert "six" in stream.text
        stream.feed(np.zeros(16000, np.float32))
        stream.finish()
        assert stream.text.split() == ["three", "zero", "six"]


def test_reset_starts_anew_and_finish_comes_once() -> None:
    pcm = read_audio(sample("pin.ogg"))
    with tiny_engine().stream() as stream:
        texts = []
        for _ in range(3):
            stream.feed(pcm)
            assert isinstance(stream.finish()[-1], ve.FinalEvent)
            with pytest.raises(ve.UsageError):
                stream.feed(pcm)
            texts.append(stream.text)
            stream.reset()
            assert stream.text == "" and stream.token_ids == []
        assert texts == [sample_text("pin.ogg")] * 3


def test_a_closed_stream_keeps_its_results() -> None:
    with tiny_engine().stream() as stream:
        stream.feed(read_audio(sample("pin.ogg")))
        stream.finish()
        ids = stream.token_ids
    assert stream.text == sample_text("pin.ogg") and stream.token_ids == ids
    assert stream.stats()["fed_samples"] > 0
    stream.close()
    for call in (stream.flush, stream.finish, stream.reset, lambda: stream.feed(np.zeros(1, np.float32))):
        with pytest.raises(ve.UsageError, match="closed"):
            call()


def test_samples_that_are_not_numbers_are_counted() -> None:
    pcm = np.zeros(16000, np.float32)
    pcm[[1, 7, 8000]] = [np.nan, np.inf, -np.inf]
    with tiny_engine().stream() as stream:
        stream.feed(pcm)
        assert stream.stats()["replaced_samples"] == 3


@pytest.mark.parametrize(
    "pcm", [[0.0] * 100, b"\0" * 100, np.zeros((10, 2), np.float32), np.zeros(5, np.int64)]
)
def test_feeding_something_else_is_refused_and_harmless(pcm) -> None:
    with tiny_engine().stream() as stream:
        with pytest.raises(ve.UsageError, match="pcm"):
            stream.feed(pcm)
        stream.feed(read_audio(sample("pin.ogg")))
        stream.finish()
        assert stream.text == sample_text("pin.ogg")


def test_valid_delays() -> None:
    expected = (*range(80, 1201, 80), 2400)
    assert expected == ve.VALID_DELAYS_MS
    for delay_ms in ve.VALID_DELAYS_MS:
        with tiny_engine().stream(delay_ms) as stream:
            assert stream.delay_ms == delay_ms
            assert stream.finish()


@pytest.mark.parametrize("delay_ms", [0, 79, 100, 1280, 2320, 2480, -480, 480.0, "480", True, None])
def test_other_delays_are_refused_and_the_valid_ones_listed(delay_ms) -> None:
    with pytest.raises(ve.UsageError, match=r"80, 160, 240, .*1200, 2400"):
        tiny_engine().stream(delay_ms)


def test_threads_share_an_engine() -> None:
    """Four streams on one engine from four threads, pieces interleaved: each hears only its own recording."""
    names = [entry["file"] for entry in samples()][:4]

    def listen(name: str) -> str:
        with tiny_engine().stream() as stream:
            for piece in np.array_split(read_audio(sample(name)), 50):
                stream.feed(piece)
            stream.finish()
            return stream.text

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(listen, names)) == [sample_text(name) for name in names]


# --- looking inside


def test_trace_has_the_shapes_it_promises() -> None:
    pcm = read_audio(sample("room.mp3"))
    delay = 3
    trace = ve.inspect.trace(tiny_engine(), pcm, delay_tokens=delay)
    tokens = 8 + -(-len(pcm) // 1280) + delay + 11
    prompt = 1 + 8 + delay
    assert trace["mel"].shape == (128, 8 * tokens)
    assert trace["encoder"].shape == (4 * tokens, 128)
    assert trace["projector"].shape == (tokens, 192)
    assert trace["logits"].shape == (tokens - prompt + 1, 2048)
    assert trace["ids"].shape == (tokens + 1,)
    assert trace["ids"][:prompt].tolist() == [1] + [32] * (prompt - 1)
    np.testing.assert_array_equal(trace["logits"].argmax(axis=1), trace["ids"][prompt:])


def test_kernels_can_be_listed() -> None:
    available = ve.kernels.available()
    assert available[-1] == "scalar"
    assert ve.kernels.active() in available
    assert all(isinstance(name, str) for name in ve.kernels.cpu_features())


# --- the package itself


def run_python(code: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_importing_loads_nothing_heavy() -> None:
    loaded = run_python("import sys, voxtral_edge; print(*sorted(sys.modules))").split()
    assert not {"numpy", "soundfile", "soxr", "onnx", "onnxruntime", "torch", "voxtral_edge._core"} & set(
        loaded
    )


def test_the_exporter_does_not_need_the_compiled_module() -> None:
    run_python(
        "import sys; sys.modules['voxtral_edge._core'] = None; import voxtral_edge.export, voxtral_edge.wer"
    )


def test_without_the_compiled_module_the_error_says_what_to_do() -> None:
    code = (
        "import sys; sys.modules['voxtral_edge._core'] = None; import voxtral_edge as ve\n"
        "try: ve.load()\n"
        "except ve.DeviceError as error: print(error)"
    )
    assert "pip install" in run_python(code)


def test_every_public_name_exists_and_is_documented() -> None:
    for name in ve.__all__:
        assert name in dir(ve)
        value = getattr(ve, name)
        if name not in ("__version__", "VALID_DELAYS_MS", "Event"):
            assert value.__doc__ and len(value.__doc__.strip()) > 20, name
    with pytest.raises(AttributeError):
        _ = ve.no_such_name
