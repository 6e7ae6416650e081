"""One benchmark from beginning to end: bandwidth, load, runs, bandwidth again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from voxtral_edge._native import native_module
from voxtral_edge.bench import environment, measures, memory, traffic
from voxtral_edge.bench.capacity import Trial, judged, most_held
from voxtral_edge.bench.file import FileRun, run_file
from voxtral_edge.bench.live import LiveRun, Progress, run_live
from voxtral_edge.bench.paced_streams import CoreStreams, PacedStreamsRun, run_paced_streams
from voxtral_edge.bench.sensors import Sensors, SensorTrace
from voxtral_edge.bench.speech import Feed
from voxtral_edge.bench.streams import StreamsRun, run_streams
from voxtral_edge.engine import DEFAULT_DELAY_MS, Engine, delay_tokens, load
from voxtral_edge.errors import UsageError
from voxtral_edge.live_step import TOKEN_MS
from voxtral_edge.machine import memory_bytes
from voxtral_edge.package_folder import find_package, read_manifest
from voxtral_edge.packed_cache import cache_choice, cache_files
from voxtral_edge.stream import Stream

MODES = ("unpaced", "paced", "file", "streams", "paced streams")
# A search tries numbers of streams for so long each, and gives a trial up when a stream is so far behind.
_TRIAL_SECONDS, _TRIAL_WARMUP_S, _GIVE_UP_S = 6.0, 1.0, 1.0
_MOST_STREAMS = 1024
_PROBES = 3
_PROBE_MEGABYTES, _RUNNING_PROBE_MEGABYTES = 512, 192
_COOL_DOWN_LIMIT_S = 600.0
Say = Callable[[str], None]
Result = LiveRun | FileRun | StreamsRun | PacedStreamsRun


@dataclass(frozen=True)
class BenchOptions:
    """What to measure; the options of `voxtral-edge bench` under the same names.

    mode        "unpaced": steps back to back; "paced": as a clock delivers audio; "file": a recording at once;
                "streams": `streams` streams in shared passes, back to back, in turns with a lone one;
                "paced streams": as a clock delivers the audio of each
    most_streams   ("paced streams") search the largest number that holds real time, instead of taking `streams`
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
    cache_packed: bool | str | None = None
    streams: int = 1
    most_streams: bool = False
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
        if not 1 <= self.streams <= _MOST_STREAMS:
            raise UsageError(
                f"--streams is {self.streams}; give max or a whole number from 1 to {_MOST_STREAMS}"
            )
        if self.most_streams and (self.mode != "paced streams" or self.runs != 1):
            raise UsageError("--streams max takes one run on the clock; leave out --runs")
        if self.mode.endswith("streams") and self.replay is not None:
            raise UsageError("--replay does not apply to --streams: live steps guess no tokens")
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
class Probes:
    """What the machine could do, several times over: memory reads in GB/s, int8 multiply-adds in 10^9 per second."""

    read_gbps: list[float] = field(default_factory=list)
    integer_gmacs: list[float] = field(default_factory=list)


@dataclass
class Repetition:
    """One run and what happened beside it.

    start_ms   making the stream; final_ms: flushing it after the last step (None: files, several streams)
    """

    result: Result
    start_ms: float
    final_ms: float | None
    sensors: dict[str, Any]
    interference: dict[str, Any]

    @property
    def live(self) -> LiveRun | None:
        """The steps, or the rounds of several streams, where there are any."""
        if isinstance(self.result, StreamsRun):
            return self.result.group
        if isinstance(self.result, PacedStreamsRun):
            return self.result.rounds
        return self.result if isinstance(self.result, LiveRun) else None

    @property
    def typical_ms(self) -> float:
        """What runs are ordered by: median step (latency, where streams are paced), or the real-time factor of a
        file."""
        if isinstance(self.result, FileRun):
            return self.result.rtf
        if isinstance(self.result, PacedStreamsRun):
            return measures.quantile(self.result.latency_ms.ravel(), 0.5)
        steps = self.result.group.step_ms if isinstance(self.result, StreamsRun) else self.result.step_ms
        return measures.quantile(steps, 0.5)


@dataclass
class Measured:
    """Everything a benchmark found out, for `report`."""

    options: BenchOptions
    manifest: dict[str, Any]
    directory: Path
    info: dict[str, Any] = field(default_factory=dict)
    audio: dict[str, Any] = field(default_factory=dict)
    step_s: float = 0.08
    before: Probes = field(default_factory=Probes)
    after: Probes = field(default_factory=Probes)
    during_gbps: list[float] = field(default_factory=list)
    memory_bound: bool | None = None
    bandwidth_megabytes: int = 0
    load: dict[str, Any] = field(default_factory=dict)
    rss_peak_bytes: int = 0
    repetitions: list[Repetition] = field(default_factory=list)
    trials: list[Trial] = field(default_factory=list)
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
    threads = options.threads or int(native_module().default_threads())
    sensors = Sensors()

    say("measuring the machine")
    measured.before = _probe(threads, measured.bandwidth_megabytes)
    peak_reset = memory.reset_peak_rss()
    say("loading")
    engine = _load(options, directory, measured, threads)
    measured.info = {"threads": threads, **engine.info()}
    cache_mb, weights = environment.last_level_cache_mb(), traffic.weight_bytes_by_part(manifest)
    # A model that fits the cache is not read from memory at all: the floor says nothing about it.
    measured.memory_bound = None if cache_mb is None else sum(weights.values()) > 2e6 * cache_mb
    if options.most_streams:
        _find_most(engine, feed, measured, sensors, say)
    for number in range(0 if options.most_streams else options.runs):
        _cool_down(sensors, options.cool_below_c, say)
        measured.repetitions.append(_repeat(engine, feed, measured, sensors, say, number))
    measured.rss_peak_bytes = memory.peak_rss_bytes()
    measured.load["rss_peak_includes_bandwidth_probe"] = not peak_reset
    say("measuring the machine")
    measured.after = _probe(threads, measured.bandwidth_megabytes)
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
    return Stream(open_core_stream(engine, options, manifest, replayed), options.delay_ms)


def open_core_stream(
    engine: Engine, options: BenchOptions, manifest: dict[str, Any], replayed: Sequence[int] = ()
) -> Any:
    """The core stream under `open_stream`: shared passes take these."""
    extra: dict[str, Any] = {"replayed_ids": list(replayed)} if replayed else {}
    if options.kv_full:
        config = manifest["config"]
        frames = config["encoder"]["window_frames"] // config["adapter"]["frames_per_token"] + 1
        extra |= {
            "assume_full_cache": True,
            "start_token_position": max(frames, config["decoder"]["window_tokens"]),
        }
    return engine.core_stream(delay_tokens(options.delay_ms), **extra)


def _load(options: BenchOptions, directory: Path, measured: Measured, threads: int) -> Engine:
    """Loads the engine and notes how long that took and where the weights came from."""
    weights = directory / "weights.bin"
    cache = cache_choice(options.cache_packed)
    files = [weights, *(file.path for file in (cache_files(cache.folder) if cache is not None else []))]
    if options.cold:
        memory.drop_from_cache(weights)
    # Reading what is not there yet would leave it there, and the load would not be the one asked for.
    readable = options.cold or memory.cached_share(weights) == 1.0
    read_s = memory.read_seconds(weights, threads) if readable else None
    if options.cold:
        for file in files:
            memory.drop_from_cache(file)
    cached = memory.cached_share(weights)
    faults = memory.page_faults()
    begun = time.perf_counter()
    engine = load(
        directory, options.engine, options.threads, options.kv_cache, cache_packed=options.cache_packed
    )
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
        trace = SensorTrace(sensors)
        interference = environment.Interference()
        trace.start()
        try:
            result = _run(engine, stream, feed, measured, lambda text: say(label + text))
        finally:
            seen = trace.stop()
        beside = interference.result()
        final_ms = None
        if isinstance(result, LiveRun):
            begun = time.perf_counter()
            stream.flush()
            final_ms = (time.perf_counter() - begun) * 1e3
        return Repetition(result, start_ms, final_ms, seen, beside)


def _find_most(engine: Engine, feed: Feed, measured: Measured, sensors: Sensors, say: Say) -> None:
    """Searches the largest number of streams that holds real time; its run of full length is the repetition, its
    number the option's, as if it had been asked for."""
    options = measured.options

    def attempt(count: int, confirm: bool) -> Trial:
        measured.options = replace(options, streams=count)
        label = f"{count} streams"
        if confirm:
            _cool_down(sensors, options.cool_below_c, say)
            measured.repetitions = [_repeat(engine, feed, measured, sensors, say, 0)]
            run = measured.repetitions[0].result
            assert isinstance(run, PacedStreamsRun)
            return judged(count, True, run, measured.step_s)
        say(f"trying {label}")
        steps = round(_TRIAL_SECONDS / measured.step_s)
        warmup_steps = _warmup_steps(options, _TRIAL_WARMUP_S, measured.step_s)
        trial = _run_paced_streams(engine, feed, measured, warmup_steps, steps, lambda *_: None, _GIVE_UP_S)
        return judged(count, False, trial, measured.step_s)

    measured.trials = most_held(attempt, _streams_in_memory(measured))


def _streams_in_memory(measured: Measured) -> int:
    """Streams whose attention state fits into the memory that is available, with a tenth to spare."""
    _, available = memory_bytes()
    state = max(1, int(measured.info.get("state_bytes", 1)))
    return max(1, min(_MOST_STREAMS, int(0.9 * available) // state))


def _warmup_steps(options: BenchOptions, seconds: float, step_s: float) -> int:
    """At least the steps of the delay: before it is over the prompt is read, and steps choose no token."""
    return max(round(seconds / step_s), delay_tokens(options.delay_ms))


def _run_paced_streams(
    engine: Engine,
    feed: Feed,
    measured: Measured,
    warmup_steps: int,
    steps: int,
    on_progress: Progress,
    give_up_s: float = float("inf"),
) -> PacedStreamsRun | None:
    """As many fresh streams as the options say, on the clock; each begins elsewhere in the audio."""
    options, manifest, step_s = measured.options, measured.manifest, measured.step_s
    streams = [open_core_stream(engine, options, manifest) for _ in range(options.streams)]
    for stream in streams:
        stream.feed(np.zeros(look_ahead_samples(manifest), np.float32))
    offsets = [len(feed.samples) * i // len(streams) for i in range(len(streams))]
    pieces = [feed.pieces(round(step_s * 16_000), offset) for offset in offsets]
    rounds = CoreStreams(streams)
    return run_paced_streams(rounds, pieces, warmup_steps, steps, step_s, give_up_s, on_progress=on_progress)


def _run(engine: Engine, stream: Stream, feed: Feed, measured: Measured, say: Say) -> Result:
    """The measured part of a repetition. `stream` is fresh; several streams are made here instead."""
    options, manifest, step_s = measured.options, measured.manifest, measured.step_s
    probe = _running_probe(measured)
    if options.mode == "file":
        say(f"transcribing {options.seconds:g} s")
        return run_file(stream, feed.recording(options.seconds), probe)
    warmup_steps = _warmup_steps(options, options.warmup_seconds, step_s)
    steps = max(1, round(options.seconds / step_s))

    def progress(done: int, total: int) -> None:
        say(f"step {done} of {total}")

    if options.mode == "paced streams":
        stream.close()
        paced_run = _run_paced_streams(engine, feed, measured, warmup_steps, steps, progress)
        assert paced_run is not None  # nothing was to be given up
        return paced_run
    if options.mode == "streams":
        stream.close()
        return run_streams(
            lambda: open_core_stream(engine, options, manifest),
            feed,
            options.streams,
            warmup_steps,
            steps,
            step_s,
            look_ahead_samples(manifest),
            progress,
            probe,
        )
    # The few samples a token looks ahead beyond its own 80 ms, as silence: from here on each piece of 80 ms completes
    # exactly one token, at its last sample.
    stream.feed(np.zeros(look_ahead_samples(manifest), np.float32))
    pieces = feed.pieces(round(step_s * 16_000))
    paced = options.mode == "paced"
    return run_live(stream, pieces, warmup_steps, steps, step_s, paced, options.catch_up, progress, probe)


def _running_probe(measured: Measured) -> Callable[[], None] | None:
    """Notes the read bandwidth during a run, where it drifts most; None for models that live in the cache, which a
    probe would push out of it."""
    if measured.memory_bound is False:
        return None
    threads, megabytes = measured.info["threads"], min(_RUNNING_PROBE_MEGABYTES, measured.bandwidth_megabytes)

    def probe() -> None:
        measured.during_gbps.append(float(native_module().measure_read_bandwidth(threads, megabytes)))

    return probe


def look_ahead_samples(manifest: dict[str, Any]) -> int:
    """Audio that a token's last spectrum needs beyond the token's own end."""
    audio = manifest["audio"]
    return int(audio["window_samples"]) // 2 - int(audio["hop_samples"])


def look_ahead_ms(manifest: dict[str, Any]) -> float:
    """The same as time."""
    return float(1000.0 * look_ahead_samples(manifest) / manifest["audio"]["sample_rate_hz"])


def algorithmic_latency_ms(manifest: dict[str, Any], delay_ms: int) -> float:
    """What no speed can remove: a token's own length, its look-ahead, and the delay the model was told."""
    return TOKEN_MS + look_ahead_ms(manifest) + delay_ms


def _probe(threads: int, megabytes: int) -> Probes:
    core, probes = native_module(), Probes()
    for _ in range(_PROBES):
        probes.read_gbps.append(float(core.measure_read_bandwidth(threads, megabytes)))
        probes.integer_gmacs.append(float(core.measure_integer_peak(threads)) / 1e9)
    return probes


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
