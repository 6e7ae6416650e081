"""Loading a package and transcribing with it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from voxtral_edge._native import native_module
from voxtral_edge.audio import (
    BLOCK_SAMPLES,
    SAMPLE_RATE_HZ,
    AudioFile,
    PathLike,
    PcmArray,
    as_pcm,
    peak_of,
    scale_note,
)
from voxtral_edge.errors import DeviceError, UsageError
from voxtral_edge.events import Event
from voxtral_edge.hotwords import Hotwords, parse_hotwords
from voxtral_edge.live_step import TOKEN_MS
from voxtral_edge.package_folder import find_package, read_manifest
from voxtral_edge.packed_cache import cache_choice
from voxtral_edge.results import SUBTITLE_LIMITS, SegmentLimits, Transcript
from voxtral_edge.stream import Stream
from voxtral_edge.tokenizer import Tokenizer
from voxtral_edge.transcript_builder import TranscriptBuilder

if TYPE_CHECKING:
    from voxtral_edge.diarize.word_speakers import WordSpeakers
    from voxtral_edge.listen import Listener, ListenEvent

ENGINES = ("native", "onnxruntime")
KV_CACHES = ("auto", "f32", "f16", "int8")
# What the model was released for: every 80 ms up to 1.2 s, and 2.4 s (specification §6).
VALID_DELAYS_MS = (*range(80, 1201, TOKEN_MS), 2400)
DEFAULT_DELAY_MS = 480
MOST_GAIN_DB = 60
MOST_THREADS = 1024

_SHORT_OF_MEMORY = (
    "not enough memory: close other programs, raise the limit (ulimit -v, container, service), export the package "
    "with a smaller --precision, or map the weights from disk with --cache-packed"
)

LoadProgress = Callable[[int, int], None]


def load(
    name_or_dir: PathLike = "tiny-en",
    engine: str = "native",
    threads: int | None = None,
    kv_cache: str = "auto",
    on_progress: LoadProgress | None = None,
    break_pad_runs: bool = False,
    gain: float | str = 0.0,
    cache_packed: bool | PathLike | None = None,
    affinity: str = "",
) -> Engine:
    """Opens a package and returns an engine for it.

    name_or_dir  a bundled model (`bundled_models()`) or a package folder made by `voxtral-edge export`
    engine       "native" (default) or "onnxruntime" (slower; a second opinion on the same package)
    threads      None uses the CPUs this process may run on, of two kinds only the fast ones, eight at most
    kv_cache     how attention state is stored: "f32", "f16", "int8" (a scale per 32 numbers; about half the
                 memory of f16 per stream), or "auto": in the decoder f16, but f32 in fp32 packages; in the
                 encoder f32, but f16 in int4 packages (native engine only)
    on_progress  called as on_progress(done_bytes, total_bytes) while weights are read (native engine only)
    break_pad_runs  after 200 pads (16 s without a word) make the next ever less likely: the published 4B
                 model can get stuck in pads over real speech for minutes (specification §10). Off, tokens
                 are exactly the reference's
    gain         decibels on every sample before the model hears it, -60 to 60, or "auto": slowly follows the
                 level of the speech. The model hears quiet speech badly (docs/live.md); 0, the reference's
                 way, changes nothing
    cache_packed keep the permuted weights in a file and map it from then on: a quicker start, and one copy in
                 memory for all processes. True: in ~/.cache/voxtral-edge; a folder: there; False: neither use
                 nor make one; None: as the variable VOXTRAL_EDGE_CACHE_PACKED says, else use a file in
                 ~/.cache/voxtral-edge but make none. A cache that cannot be used or written is no error;
                 `Engine.warnings` says why (native engine only)
    affinity     "auto" pins each worker thread to a CPU of its own, fast ones first; "0-3,6" to these; "off" does
                 not. "": as the variable VOXTRAL_EDGE_AFFINITY says, else off. The calling thread is never
                 moved (native engine only)

    UsageError: unknown name, engine, kv_cache or affinity, threads not in 1 to 1024. ModelFormatError: the folder
    holds no valid package. DeviceError: not enough memory, or a missing CPU feature or package.
    """
    if engine not in ENGINES:
        raise UsageError(f"engine {engine!r} is unknown; choose one of: {', '.join(ENGINES)}")
    if kv_cache not in KV_CACHES:
        raise UsageError(f"kv_cache {kv_cache!r} is unknown; choose one of: {', '.join(KV_CACHES)}")
    if threads is not None and (
        isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= MOST_THREADS
    ):
        raise UsageError(f"threads is {threads!r}; pass a whole number from 1 to {MOST_THREADS}, or None")
    defaults = _stream_defaults(break_pad_runs, gain)
    directory = find_package(name_or_dir)
    if engine == "native":
        cache = cache_choice(cache_packed)
        try:
            core = native_module().NativeEngine(
                os.fsencode(directory),  # any name that the system allows, UTF-8 or not
                threads=threads,
                kv_cache=kv_cache,
                on_progress=on_progress,
                packed_cache_folder="" if cache is None else os.fsencode(cache.folder),
                packed_cache_write=cache is not None and cache.write,
                affinity=affinity,
            )
        except MemoryError as error:
            raise DeviceError(f"{directory}: {_SHORT_OF_MEMORY}") from error
    else:
        core = _onnxruntime_engine(directory, threads)
    return Engine(core, directory, engine, defaults)


def _stream_defaults(break_pad_runs: bool, gain: float | str) -> dict[str, Any]:
    """Options of every native stream that the engine makes; only those that differ from the core's own."""
    options: dict[str, Any] = {}
    if break_pad_runs:
        options["pad_run_penalty"] = native_module().PadRunPenalty()
    if gain == "auto":
        options["gain_decibels"] = None
    elif isinstance(gain, bool) or not isinstance(gain, (int, float)) or not abs(gain) <= MOST_GAIN_DB:
        raise UsageError(f'gain is {gain!r}; pass decibels from -{MOST_GAIN_DB} to {MOST_GAIN_DB}, or "auto"')
    elif gain != 0:
        options["gain_decibels"] = float(gain)
    return options


class Engine:
    """A loaded model: immutable, shared by any number of streams and threads. Made by `load`.

    directory  the package folder; `name`, the model's name in its manifest
    engine     "native" or "onnxruntime"
    """

    def __init__(
        self, core: Any, directory: Path, engine: str, stream_defaults: dict[str, Any] | None = None
    ) -> None:
        self._core = core
        self._stream_defaults = stream_defaults or {}
        self.directory = directory
        self.engine = engine
        self._manifest = read_manifest(directory)

    def __repr__(self) -> str:
        return f"<voxtral_edge.Engine {self.name!r} ({self.engine}) from {self.directory}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "an Engine cannot be pickled or copied; threads share it, and each process calls voxtral_edge.load"
        )

    @property
    def name(self) -> str:
        """The model's name, from the manifest."""
        return str(self._manifest.get("name", self.directory.name))

    @property
    def warnings(self) -> list[str]:
        """What went wrong while loading without stopping it: a cache of weights that could not be used."""
        note = self.info().get("packed_cache", {}).get("note", "")
        return [note] if note else []

    def info(self) -> dict[str, Any]:
        """What the engine says of itself (kernels, threads, memory …) and the package's precisions."""
        details: dict[str, Any] = {"name": self.name, "engine": self.engine, "directory": str(self.directory)}
        details["precision"] = dict(self._manifest.get("precision", {}))
        details.update(self._core.info() if hasattr(self._core, "info") else {})
        return details

    def stream(self, delay_ms: int = DEFAULT_DELAY_MS, hotwords: Any = None, diarize: Any = None) -> Stream:
        """A new stream.

        delay_ms  how far text stays behind the audio: 80 to 1200 in steps of 80, or 2400. Longer delays let
                  the model hear more before it decides. UsageError, listing them, for other values.
        hotwords  phrases that are likely to be said, in any shape of `voxtral_edge.hotwords.parse_hotwords`:
                  ["Kubernetes", ("Zürich", 3.0)], a pathlib.Path of a file, or a prepared `Hotwords`
        diarize   tell speakers apart (needs onnxruntime): True or "auto", the largest number of speakers, or
                  a `voxtral_edge.diarize.OnlineDiarizer` that no other stream uses. Words then have a
                  `speaker`, and there are `SpeakerEvent`s. None or False: do not.
        """
        tree = self.hotwords(hotwords).tree
        options = {} if tree is None else {"bias": tree}
        tokens = delay_tokens(delay_ms)
        speakers = _word_speakers(diarize, tokens)
        return Stream(self.core_stream(tokens, **options), delay_ms, speakers)

    def listen(self, source: Any = None, **options: Any) -> Listener:
        """A live session; iterate it for events.

        source   None: the default microphone; a number: that input device; a path: a file played at its
                 own speed; an iterable of sample arrays (16 kHz mono); or a source of `voxtral_edge.listen`
        options  delay_ms, hotwords, backlog, rules, limits: see `voxtral_edge.listen.Listener`
        """
        from voxtral_edge.listen import Listener

        return Listener(self, source, **options)

    def listen_async(self, source: Any = None, **options: Any) -> AsyncIterator[ListenEvent]:
        """`listen` for asyncio: `async for event in engine.listen_async(…)`."""
        from voxtral_edge.listen import listen_async

        return listen_async(self, source, **options)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The package's text encoder."""
        return Tokenizer(self._core.encoder)

    def hotwords(self, phrases: Any) -> Hotwords:
        """Phrases encoded for this model, to be shared by streams; a `Hotwords` passes through. UsageError as
        in `voxtral_edge.hotwords.parse_hotwords`."""
        if isinstance(phrases, Hotwords):
            return phrases
        return Hotwords(parse_hotwords(phrases), self._core.encoder)

    def core_stream(self, delay_tokens: int, **options: Any) -> Any:
        """The native stream object, `options` passed through; for `voxtral_edge.inspect` and benchmarks."""
        return native_module().Stream(
            self._core, delay_tokens=delay_tokens, **{**self._stream_defaults, **options}
        )

    def transcribe(
        self,
        audio: PathLike | PcmArray,
        delay_ms: int = DEFAULT_DELAY_MS,
        on_event: Callable[[Event], None] | None = None,
        hotwords: Any = None,
        diarize: Any = None,
        limits: SegmentLimits = SUBTITLE_LIMITS,
    ) -> Transcript:
        """Transcribes a whole recording; the text is exactly what a live stream of it would give.

        audio     a file name (wav, flac, ogg, mp3; any rate and channel count), or a 1-D float32 or int16
                  array, 16 kHz mono. Files are read block by block, so their length does not matter.
        delay_ms  as in `stream`
        on_event  called with every event as it becomes known
        hotwords  as in `stream`
        diarize   as in `stream`; words and segments of the transcript have the final speakers
        limits    when a segment of the transcript is full

        AudioFormatError: a file that cannot be read. UsageError: an array of another kind, an invalid delay.
        """
        with self.stream(delay_ms, hotwords, diarize) as stream:
            if isinstance(audio, (str, Path)) or hasattr(audio, "__fspath__"):
                with AudioFile(audio) as file:
                    return _transcribe_blocks(stream, file.blocks(), on_event, file.warnings, limits)
            pcm = as_pcm(audio)
            note = scale_note(peak_of(pcm)) if pcm.dtype == np.float32 else ""
            blocks = (pcm[begin : begin + BLOCK_SAMPLES] for begin in range(0, len(pcm), BLOCK_SAMPLES))
            return _transcribe_blocks(stream, blocks, on_event, [f"pcm: {note}"] if note else [], limits)


def _word_speakers(diarize: Any, tokens: int) -> WordSpeakers | None:
    """What `Engine.stream` is given as `diarize`, ready for a stream."""
    if diarize is None or diarize is False:
        return None
    from voxtral_edge.diarize.diarizer import OnlineDiarizer
    from voxtral_edge.diarize.word_speakers import WordSpeakers

    if not isinstance(diarize, OnlineDiarizer):
        diarize = OnlineDiarizer("auto" if diarize is True else diarize)
    return WordSpeakers(diarize, tokens)


def _transcribe_blocks(
    stream: Stream,
    blocks: Iterable[PcmArray],
    on_event: Callable[[Event], None] | None,
    warnings: list[str],
    limits: SegmentLimits,
) -> Transcript:
    """Feeds every block to a fresh stream and finishes it. Reading fills `warnings`: read at the end."""
    builder = TranscriptBuilder(limits)
    samples = 0

    def take(events: list[Event]) -> None:
        builder.take(events)
        if on_event is not None:
            for event in events:
                on_event(event)

    for block in blocks:
        samples += len(block)
        take(stream.feed(block, more=True))
    take(stream.finish())
    if saturated := int(stream.stats()["saturated_numbers"]):
        warnings.append(
            f"{saturated} numbers of the attention state exceeded half precision (65504) and were cut, so the text may"
            " be wrong; load the model with kv_cache int8 or f32 (--kv-cache)"
        )
    return builder.build(stream, samples / SAMPLE_RATE_HZ, warnings)


def delay_tokens(delay_ms: int) -> int:
    """The number of 80 ms tokens of a valid delay; UsageError listing the valid ones otherwise."""
    if (
        isinstance(delay_ms, (int, np.integer))
        and not isinstance(delay_ms, bool)
        and delay_ms in VALID_DELAYS_MS
    ):
        return int(delay_ms) // TOKEN_MS
    listed = ", ".join(str(value) for value in VALID_DELAYS_MS)
    raise UsageError(f"delay_ms is {delay_ms!r}; choose one of: {listed}")


def _onnxruntime_engine(directory: Path, threads: int | None) -> Any:
    native_module()  # the streaming loop is native whichever engine computes
    try:
        from voxtral_edge.engines.onnxruntime_engine import OnnxRuntimeEngine
    except ImportError as error:
        raise DeviceError(
            f"the onnxruntime engine does not load ({error}); run `pip install onnxruntime`"
        ) from error
    return OnnxRuntimeEngine(str(directory), threads=threads)
