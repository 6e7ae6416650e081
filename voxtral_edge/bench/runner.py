"""One benchmark from beginning to end: bandwidth, load, runs, bandwidth again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from voxtral_edge._native import native_module
from voxtral_edge.bench import environment, memory
from voxtral_edge.bench.file import FileRun, run_file
from voxtral_edge.bench.live import LiveRun, run_live
from voxtral_edge.bench.sensors import Sensors, SensorTrace
from voxtral_edge.bench.speech import Feed
from voxtral_edge.engine import (
    DEFAULT_DELAY_MS,
    TOKEN_MS,
    Engine,
    delay_tokens,
    find_package,
    load,
    read_manifest,
)
from voxtral_edge.errors import UsageError
from voxtral_edge.machine import memory_bytes
from voxtral_edge.stream import Stream

MODES = ("unpaced", "paced", "file")
_PROBES = 3
_PROBE_MEGABYTES = 512
_COOL_DOWN_LIMIT_S = 600.0
Say = Callable[[str], None]


@dataclass(frozen=True)
class BenchOptions:
    """What to measure; the options of `voxtral-edge bench` under the same names.

    mode        "unpaced": steps back to back; "paced": as a clock delivers audio; "file": a recording at once
    seconds     audio that is measured; warmup_s: audio before it that is thrown away (None: a tenth, 2 to 60
                s)
    runs        repetitions on one loaded engine; the one with the median result is shown
    cool_below_c   wait for this temperature before every run, ten minutes at most
    catch_up    ("paced") feed everything that has arrived at once, not 80 ms at a time
    kv_full     attention windows full from the start
    replay      a model whose tokens on this audio are taken in place of the package's own: guessed tokens
                then succeed on random weights as often as they do on speech
    cold        load with the weights gone from the page cache
    """

    model: str = "tiny-en"
    mode: str = "unpaced"
    seconds: float = 30.0
    warmup_s: float | None = None
    runs: int = 1
    cool_below_c: float | None = None
    engine: str = "native"
    threads: int | None = None
    kv_cache: str = "auto"
    catch_up: bool = False
    kv_full: bool = False
    delay_ms: int = DEFAULT_DELAY_MS
    audio: str | None = None
    replay: str | None = None
    cold: bool = False
    command: str = ""

    def __post_init__(self) -> None:
        delay_tokens(self.delay_ms)
        if self.mode not in MODES:
            raise UsageError(f"mode {self.mode!r} is unknown; choose one of: {', '.join(MODES)}")
        if not self.seconds >= 1.0 or self.seconds > 1e6:
            raise UsageError(f"--seconds is {self.seconds:g}; give at least 1 and at most 1000000")
        if self.warmup_s is not None and not 0.0 <= self.warmup_s <= 1e6:
            raise UsageError(f"--warmup is {self.warmup_s:g}; give seconds from 0 up")
        if self.runs < 1:
            raise UsageError(f"--runs is {self.runs}; give a whole number from 1 up")
        if self.catch_up and self.mode != "paced":
            raise UsageError("--catch-up applies to --paced: only there does audio wait; add --paced")
        if self.kv_full and self.engine != "native":
            raise UsageError(
                "--kv-full applies to the native engine; onnxruntime's graphs attend to full windows from "
                "the first step, leave the option out"
            )
        if self.kv_full and self.mode == "file":
            raise UsageError("--kv-full applies to live steps; leave out --file or --kv-full")

    @property
    def warmup_seconds(self) -> float:
        """Audio that is fed and not measured."""
        return min(60.0, max(2.0, self.seconds / 10.0)) if self.warmup_s is None else self.warmup_s


@dataclass
class Repetition:
    """One run and what happened beside it."""

    result: LiveRun | FileRun
    start_ms: float
    sensors: dict[str, Any]
    interference: dict[str, Any]

    @property
    def typical_ms(self) -> float:
        """What runs are ordered by: median step, or the real-time factor of a file."""
        if isinstance(self.result, LiveRun):
            return sorted(self.result.step_ms)[(len(self.result.step_ms) - 1) // 2]
        return self.result.rtf


@dataclass
class Measured:
    """Everything a benchmark found out, for `report`."""

    options: BenchOptions
    manifest: dict[str, Any]
    directory: Path
    info: dict[str, Any] = field(default_factory=dict)
    audio: dict[str, Any] = field(default_factory=dict)
    step_s: float = 0.08
    bandwidth_before: list[float] = field(default_factory=list)
    bandwidth_after: list[float] = field(default_factory=list)
    bandwidth_megabytes: int = 0
    load: dict[str, Any] = field(default_factory=dict)
    rss_peak_bytes: int = 0
    repetitions: list[Repetition] = field(default_factory=list)
    replayed_ids: list[int] = field(default_factory=list)


def run_bench(options: BenchOptions, say: Say = lambda _: None) -> Measured:
    """Runs the whole benchmark; `say` is called with short lines of progress.

    UsageError, ModelFormatError, AudioFormatError, DeviceError as `load` and the streams raise them.
    """
    directory = find_package(options.model)
    manifest = read_manifest(directory)
    feed = Feed(options.audio)
    measured = Measured(options, manifest, directory, audio={**feed.about, "replayed": None})
    if options.replay is not None:
        say(f"listening with {options.replay}")
        measured.replayed_ids = replayed_ids(options, feed)
        measured.audio["replayed"] = {"model": options.replay, "tokens": len(measured.replayed_ids)}
    audio = manifest["audio"]
    measured.step_s = audio["samples_per_token"] / audio["sample_rate_hz"]
    _, available = memory_bytes()
    measured.bandwidth_megabytes = max(1, min(_PROBE_MEGABYTES, available // 4_000_000))
    threads = options.threads or min(8, int(native_module().usable_cpus()))
    sensors = Sensors()

    say("measuring memory reads")
    measured.bandwidth_before = _bandwidth(threads, measured.bandwidth_megabytes)
    peak_reset = memory.reset_peak_rss()
    say("loading")
    engine = _load(options, directory, measured)
    measured.info = {"threads": threads, **engine.info()}
    for number in range(options.runs):
        _cool_down(sensors, options.cool_below_c, say)
        measured.repetitions.append(_repeat(engine, feed, measured, sensors, say, number))
    measured.rss_peak_bytes = memory.peak_rss_bytes()
    measured.load["rss_peak_includes_bandwidth_probe"] = not peak_reset
    say("measuring memory reads")
    measured.bandwidth_after = _bandwidth(threads, measured.bandwidth_megabytes)
    return measured


def replayed_ids(options: BenchOptions, feed: Feed) -> list[int]:
    """The tokens that the model named by `options.replay` chooses on the audio of a run."""
    assert options.replay is not None
    before = 0.0 if options.mode == "file" else options.warmup_seconds
    listener = load(options.replay, threads=options.threads)
    with listener.stream(options.delay_ms) as stream:
        stream.feed(feed.recording(options.seconds + before))
        stream.finish()
        return stream.token_ids


def open_stream(
    engine: Engine, options: BenchOptions, manifest: dict[str, Any], replayed: Sequence[int] = ()
) -> Stream:
    """The public stream that is measured; with full windows or replayed tokens if asked for."""
    extra: dict[str, Any] = {"replayed_ids": list(replayed)} if replayed else {}
    if options.kv_full:
        config = manifest["config"]
        frames = config["encoder"]["window_frames"] // config["adapter"]["frames_per_token"] + 1
        extra |= {
            "assume_full_cache": True,
            "start_token_position": max(frames, config["decoder"]["window_tokens"]),
        }
    return Stream(engine.core_stream(delay_tokens(options.delay_ms), **extra), options.delay_ms)


def _load(options: BenchOptions, directory: Path, measured: Measured) -> Engine:
    """Loads the engine and notes how long that took and where the weights came from."""
    weights = directory / "weights.bin"
    read_s = None
    if options.cold:
        memory.drop_from_cache(weights)
        read_s = memory.read_seconds(weights)
        memory.drop_from_cache(weights)
    cached = memory.cached_share(weights)
    faults = memory.page_faults()
    begun = time.perf_counter()
    engine = load(directory, options.engine, options.threads, options.kv_cache)
    seconds = time.perf_counter() - begun
    after = memory.page_faults()
    measured.load = {
        "seconds": seconds,
        "page_cache_share_before": cached,
        "read_once_s": read_s,
        "minor_faults": after[0] - faults[0],
        "major_faults": after[1] - faults[1],
        "rss_bytes": memory.rss_bytes(),
    }
    return engine


def _repeat(
    engine: Engine, feed: Feed, measured: Measured, sensors: Sensors, say: Say, number: int
) -> Repetition:
    options = measured.options
    label = f"run {number + 1} of {options.runs}: " if options.runs > 1 else ""
    say(f"{label}starting a stream")
    begun = time.perf_counter()
    with open_stream(engine, options, measured.manifest, measured.replayed_ids) as stream:
        start_ms = (time.perf_counter() - begun) * 1e3
        recording = feed.recording(options.seconds) if options.mode == "file" else None
        pieces = feed.pieces(round(measured.step_s * 16_000))
        if recording is None:
            _align(stream, measured.manifest)
        trace = SensorTrace(sensors)
        interference = environment.Interference()
        trace.start()
        try:
            result: LiveRun | FileRun
            if recording is not None:
                say(f"{label}transcribing {options.seconds:g} s")
                result = run_file(stream, recording)
            else:
                result = run_live(
                    stream,
                    pieces,
                    # Before that the prompt is read, and its steps choose no token.
                    max(round(options.warmup_seconds / measured.step_s), delay_tokens(options.delay_ms)),
                    max(1, round(options.seconds / measured.step_s)),
                    measured.step_s,
                    options.mode == "paced",
                    options.catch_up,
                    lambda done, total: say(f"{label}step {done} of {total}"),
                )
        finally:
            seen = trace.stop()
        return Repetition(result, start_ms, seen, interference.result())


def _align(stream: Stream, manifest: dict[str, Any]) -> None:
    """Feeds the few samples a token looks ahead beyond its own 80 ms, as silence: from here on each piece of
    80 ms completes exactly one token, at its last sample."""
    audio = manifest["audio"]
    stream.feed(np.zeros(audio["window_samples"] // 2 - audio["hop_samples"], np.float32))


def look_ahead_ms(manifest: dict[str, Any]) -> float:
    """Audio that a token's last spectrum needs beyond the token's own end."""
    audio = manifest["audio"]
    samples = audio["window_samples"] // 2 - audio["hop_samples"]
    return float(1000.0 * samples / audio["sample_rate_hz"])


def algorithmic_latency_ms(manifest: dict[str, Any], delay_ms: int) -> float:
    """What no speed can remove: a token's own length, its look-ahead, and the delay the model was told."""
    return TOKEN_MS + look_ahead_ms(manifest) + delay_ms


def _bandwidth(threads: int, megabytes: int) -> list[float]:
    core = native_module()
    return [float(core.measure_read_bandwidth(threads, megabytes)) for _ in range(_PROBES)]


def _cool_down(sensors: Sensors, below_c: float | None, say: Say) -> None:
    """Waits until every temperature is below the limit; at once where there are no sensors."""
    if below_c is None:
        return
    deadline = time.monotonic() + _COOL_DOWN_LIMIT_S
    while (
        hot := max(sensors.temperatures().values(), default=0.0)
    ) >= below_c and time.monotonic() < deadline:
        say(f"cooling down: {hot:.0f} °C, waiting for {below_c:.0f} °C")
        time.sleep(5.0)
