"""From the device to whole tokens: the ring, the time line with gaps, both backlog policies, resampling,
devices."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from listen_testing import ScriptedSource

import voxtral_edge as ve
from voxtral_edge.listen import arecord_source
from voxtral_edge.listen.capture import TOKEN_SAMPLES, Backlog, Capture
from voxtral_edge.listen.live_events import GapEvent
from voxtral_edge.listen.microphone import Microphone, input_devices, open_microphone
from voxtral_edge.listen.ring import PcmRing
from voxtral_edge.listen.sources import ProgramSource
from voxtral_edge.listen.time_map import TimeMap


def ramp(count: int, first: int = 0) -> np.ndarray:
    return np.arange(first, first + count, dtype=np.float32)


def read_all(capture: Capture, most_tokens: int = 8, least_tokens: int = 1) -> list[np.ndarray]:
    pieces = []
    while (pcm := capture.read(least_tokens, most_tokens, 0.01)) is not None:
        pieces += [pcm] if len(pcm) else []
    return pieces


def test_ring_keeps_order_across_many_turns() -> None:
    ring, choices, written = PcmRing(100), np.random.default_rng(3), 0
    read: list[np.ndarray] = []
    while written < 5000:
        count = int(choices.integers(0, 100 - len(ring) + 1))
        assert ring.write(ramp(count, written)) == 0
        written += count
        read.append(ring.read(int(choices.integers(0, 101))))
    read.append(ring.read(100))
    np.testing.assert_array_equal(np.concatenate(read), ramp(written))


def test_ring_says_where_and_how_much_did_not_fit() -> None:
    ring = PcmRing(10)
    assert ring.write(ramp(8)) == 0 and ring.write(ramp(5, 8)) == 3
    np.testing.assert_array_equal(ring.read(4), ramp(4))
    assert ring.take_loss() == 0
    ring.write(ramp(2, 100))
    np.testing.assert_array_equal(ring.read(99), ramp(6, 4))  # not across the loss
    assert ring.take_loss() == 3 and ring.take_loss() == 0 and ring.lost == 3
    np.testing.assert_array_equal(ring.read(99), ramp(2, 100))


def test_what_is_skipped_ends_at_a_loss() -> None:
    ring = PcmRing(4)
    assert ring.write(ramp(6)) == 2 and ring.skip(1) == 1
    ring.write(ramp(1, 100))
    assert ring.skip(99) == 3 and ring.take_loss() == 2
    np.testing.assert_array_equal(ring.read(99), ramp(1, 100))


def test_ring_between_two_threads_loses_nothing_unnoticed() -> None:
    ring, total, taken, lost = PcmRing(64), 200_000, 0, 0

    def write() -> None:
        for _ in range(0, total, 20):
            ring.write(np.full(20, 1, dtype=np.float32))

    writer = threading.Thread(target=write)
    writer.start()
    while writer.is_alive() or len(ring):
        taken += int(ring.read(17).sum())
        while loss := ring.take_loss():
            lost += loss
    lost += ring.take_loss()
    assert taken + lost == total and lost == ring.lost


def test_times_move_behind_what_was_dropped() -> None:
    times = TimeMap()
    times.drop(1.0, 0.5)
    times.drop(3.0, 0.25)
    times.drop(3.0, 0.25)
    assert [times.real_start(t) for t in (0.5, 1.0, 2.0, 3.0, 4.0)] == [0.5, 1.5, 2.5, 4.0, 5.0]
    assert [times.real_end(t) for t in (0.5, 1.0, 2.0, 3.0, 4.0)] == [0.5, 1.0, 2.5, 3.5, 5.0]
    word = ve.WordEvent("w", 0.9, 1.2, 1.0, 3)
    assert times.moved(word) == ve.WordEvent("w", 0.9, 1.7, 1.0, 3)
    assert times.moved(ve.SegmentEvent(2.0)) == ve.SegmentEvent(2.5)
    assert times.moved(ve.TextEvent("w", 3)) == ve.TextEvent("w", 3)


def test_old_gaps_are_summed_up_and_forgotten() -> None:
    times = TimeMap()
    for second in range(10_000):
        times.drop(float(second), 0.08)
    assert len(times._at) < 200
    assert times.real_end(10_000.0) == pytest.approx(10_800.0)


def test_tokens_are_whole_but_for_the_last() -> None:
    capture = Capture(ScriptedSource(ramp(5 * TOKEN_SAMPLES + 7)), Backlog())
    capture.start()
    pieces = read_all(capture, most_tokens=2)
    assert [len(piece) for piece in pieces] == [2560, 2560, 1280, 7]
    np.testing.assert_array_equal(np.concatenate(pieces), ramp(5 * TOKEN_SAMPLES + 7))
    assert capture.read(1, 1, 0.01) is None


def test_fewer_tokens_than_a_step_wait_for_more_until_the_end() -> None:
    audio = ramp(6 * TOKEN_SAMPLES)
    source = ScriptedSource(audio[:TOKEN_SAMPLES], later=np.split(audio[TOKEN_SAMPLES:], 5))
    capture = Capture(source, Backlog())
    capture.start()
    got = []
    for _ in range(5):
        got.append(len(capture.read(2, 8, 0.0)) // TOKEN_SAMPLES)
        source.deliver()
    assert got == [0, 2, 0, 2, 0]
    assert [len(piece) for piece in read_all(capture, least_tokens=4)] == [
        2 * TOKEN_SAMPLES
    ]  # the end: no four come


def test_keep_loses_nothing_until_the_limit_and_then_says_so() -> None:
    fits = Capture(ScriptedSource(ramp(16_000)), Backlog("keep", 1.0))
    fits.start()
    assert sum(map(len, read_all(fits))) == 16_000
    late = Capture(ScriptedSource(ramp(16_001)), Backlog("keep", 1.0))
    late.start()
    with pytest.raises(ve.OverrunError, match="1 s of audio wait"):
        read_all(late)
    assert late.given_s == 1.0  # what was kept came out first


@pytest.mark.parametrize("rate_hz", [16_000, 44_100, 48_000])
def test_skip_drops_whole_frames_and_reports_every_one(rate_hz: int) -> None:
    audio = np.zeros(6 * rate_hz, dtype=np.float32)
    capture = Capture(ScriptedSource(audio, rate_hz), Backlog("skip", 2.0))
    capture.start()
    given = sum(map(len, read_all(capture))) / 16_000
    dropped = sum(gap.end - gap.start for gap in capture.gaps)
    assert dropped == pytest.approx(capture.time_map.dropped_s)
    assert dropped / 0.08 == pytest.approx(round(dropped / 0.08)) and 4.9 <= dropped <= 5.1
    assert given + dropped == pytest.approx(6.0, abs=1e-3)
    assert capture.gaps == [GapEvent(0.0, pytest.approx(dropped))]


def test_skip_reports_what_did_not_even_fit_into_the_ring() -> None:
    capture = Capture(ScriptedSource(np.zeros(16_000 * 9, dtype=np.float32)), Backlog("skip", 2.0))
    capture.start()
    given = sum(map(len, read_all(capture))) / 16_000
    dropped = sum(gap.end - gap.start for gap in capture.gaps)
    assert capture.lost_samples == 2 * 16_000
    assert given + dropped == pytest.approx(9.0) and dropped == pytest.approx(capture.time_map.dropped_s)


def test_other_rates_are_resampled() -> None:
    seconds = np.arange(44_100) / 44_100
    capture = Capture(ScriptedSource(np.sin(2 * np.pi * 440 * seconds), 44_100), Backlog())
    capture.start()
    pcm = np.concatenate(read_all(capture))
    assert abs(len(pcm) - 16_000) <= 2
    expected = np.sin(2 * np.pi * 440 * np.arange(len(pcm)) / 16_000)
    assert np.abs(pcm - expected)[400:-400].max() < 1e-3


@pytest.mark.parametrize(
    ("policy", "limit"), [("drop", 1.0), ("keep", 0.0), ("skip", float("nan")), ("keep", 1e9)]
)
def test_backlogs_that_make_no_sense_are_refused(policy: str, limit: float) -> None:
    with pytest.raises(ve.UsageError):
        Backlog(policy, limit)


def test_a_program_delivers_its_samples_and_its_failure() -> None:
    script = "import sys; sys.stdout.buffer.write(bytes(range(250)) * 2 + b'x')"
    capture = Capture(ProgramSource(["python3", "-c", script], "program"), Backlog())
    capture.start()
    pcm = np.concatenate(read_all(capture))
    expected = np.frombuffer(bytes(range(250)) * 2, dtype="<i2") / 32768
    np.testing.assert_allclose(pcm, expected)
    failing = ProgramSource(["python3", "-c", "import sys; sys.exit('no such card')"], "program")
    capture = Capture(failing, Backlog())
    capture.start()
    assert read_all(capture) == []
    assert isinstance(failing.error, ve.DeviceError) and "no such card" in str(failing.error)
    with pytest.raises(ve.DeviceError, match="cannot be started"):
        ProgramSource(["/nonexistent/arecord"], "program").start(PcmRing(10))


class FakePortAudio:
    """As much of sounddevice as Microphone uses: one device that only does 44.1 kHz."""

    class PortAudioError(Exception):
        pass

    class default:
        device = (1, 0)

    devices = (
        {"name": "speaker", "index": 0, "max_input_channels": 0, "default_samplerate": 48_000.0},
        {"name": "USB mic", "index": 1, "max_input_channels": 1, "default_samplerate": 44_100.0},
    )

    def __init__(self) -> None:
        self.opened: dict[str, object] = {}

    def query_devices(self, device: object = None, kind: str | None = None) -> object:
        if kind is None:
            return self.devices
        if device not in (None, 1, "USB"):
            raise ValueError(f"No input device matching {device!r}")
        return self.devices[1]

    def check_input_settings(self, device: object, samplerate: int, channels: int, dtype: str) -> None:
        if samplerate != 44_100:
            raise self.PortAudioError("Invalid sample rate")

    def InputStream(self, **options: object) -> FakePortAudio:
        self.opened = options
        return self

    def start(self) -> None: ...

    def close(self) -> None:
        self.opened["finished_callback"]()  # type: ignore[operator]


class Overflow:
    input_overflow = True


def test_microphone_takes_a_rate_the_device_can_do_and_counts_overflows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    portaudio = FakePortAudio()
    monkeypatch.setattr("voxtral_edge.listen.microphone._sounddevice", lambda: portaudio)
    microphone = open_microphone("USB")
    assert (
        isinstance(microphone, Microphone) and microphone.rate_hz == 44_100 and microphone.name == "USB mic"
    )
    ring = PcmRing(100)
    microphone.start(ring)
    callback = portaudio.opened["callback"]
    callback(np.full((10, 1), 0.5, dtype=np.float32), 10, None, None)  # type: ignore[operator]
    callback(np.full((10, 1), 0.25, dtype=np.float32), 10, None, Overflow())  # type: ignore[operator]
    assert ring.read(99).sum() == 7.5 and microphone.overruns == 1
    microphone.stop()
    assert microphone.ended and microphone.error is None
    assert input_devices() == [("1", "USB mic", "1 ch, 44.1 kHz, default")]
    with pytest.raises(ve.DeviceError, match="no input device 'nope'"):
        open_microphone("nope")


def test_an_unplugged_microphone_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    portaudio = FakePortAudio()
    monkeypatch.setattr("voxtral_edge.listen.microphone._sounddevice", lambda: portaudio)
    microphone = Microphone(1)
    microphone.start(PcmRing(10))
    portaudio.opened["finished_callback"]()  # type: ignore[operator]
    assert microphone.ended and "unplugged" in str(microphone.error)


def test_without_portaudio_and_arecord_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing() -> None:
        raise ve.DeviceError("the microphone needs sounddevice; pip install 'voxtral-edge[mic]'")

    monkeypatch.setattr("voxtral_edge.listen.microphone._sounddevice", missing)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(ve.DeviceError, match=r"voxtral-edge\[mic\]"):
        open_microphone()
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/arecord")
    assert open_microphone(None).name == "arecord default"
    assert "plughw:1,0" in arecord_source("plughw:1,0")._command
    with pytest.raises(ve.UsageError, match="backend"):
        open_microphone(None, "pulse")
