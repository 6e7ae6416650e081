"""The live loop: a source's audio through a stream, as events and a running account of how it goes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from voxtral_edge.endpoint import DEFAULT_RULES, Endpointer, EndpointRule
from voxtral_edge.errors import OverrunError, UsageError
from voxtral_edge.events import FinalEvent
from voxtral_edge.listen.capture import Backlog, Capture
from voxtral_edge.listen.live_events import CaptionEvent, GapEvent, ListenEvent
from voxtral_edge.listen.microphone import open_microphone
from voxtral_edge.listen.sources import FileSource, IterableSource, Source
from voxtral_edge.live_step import MOST_STEP_TOKENS, TOKEN_MS, TOKEN_S, TOKEN_SAMPLES, step_tokens
from voxtral_edge.results import SUBTITLE_LIMITS, Segment, SegmentLimits
from voxtral_edge.segments import SegmentBuilder

if TYPE_CHECKING:
    from voxtral_edge.engine import Engine

# Without audio for so long, a step without events is reported, so that displays stay alive.
_IDLE_S = 0.1


@dataclass(frozen=True, slots=True)
class Status:
    """How a session stands after a step.

    heard_s      seconds of the recording that were taken, decoded or dropped
    lag_s        audio that waits to be decoded; the stream's own delay comes on top
    step_ms      time per 80 ms token in the last pass; slower than 80 falls behind
    tokens       tokens of audio in the last pass (0: none came)
    behind       these were more than a step's: more audio had come than was decoded
    level_db     loudness of the last piece, dBFS
    overruns     losses that the device reports itself
    dropped_s    seconds dropped by the policy "skip"
    drift_ppm    how much faster the source's clock runs than the system's; None: not known
    utterance_over   an endpoint rule was met in this step
    """

    heard_s: float = 0.0
    lag_s: float = 0.0
    step_ms: float = 0.0
    tokens: int = 0
    behind: bool = False
    level_db: float = -120.0
    overruns: int = 0
    dropped_s: float = 0.0
    drift_ppm: float | None = None
    utterance_over: bool = False


@dataclass(frozen=True, slots=True)
class ListenStep:
    """What one pass brought."""

    events: list[ListenEvent] = field(default_factory=list)
    status: Status = field(default_factory=Status)


class Listener:
    """One live session. Iterate it for events, or use `steps()` for events with the status; both once.

    engine, source       as in `Engine.listen`; `name` is what the source calls itself
    delay_ms, hotwords   as in `Engine.stream`
    backlog              what to do when the device is slower than the audio
    rules, use_energy    when an utterance ends (`voxtral_edge.endpoint`)
    limits               when a caption is full
    step_ms              audio per pass: 80, or up to 640 in steps of 80, which costs less work and as much latency
    stream_options       further options of `Engine.stream`
    """

    def __init__(
        self,
        engine: Engine,
        source: Any = None,
        delay_ms: int = 480,
        hotwords: Any = None,
        backlog: Backlog | None = None,
        rules: Sequence[EndpointRule] = DEFAULT_RULES,
        use_energy: bool = True,
        limits: SegmentLimits = SUBTITLE_LIMITS,
        step_ms: int = TOKEN_MS,
        **stream_options: Any,
    ) -> None:
        self._step_tokens = step_tokens(step_ms)
        self._stream = engine.stream(delay_ms, hotwords, **stream_options)
        self._capture = Capture(_open_source(source), backlog or Backlog())
        self.name = self._capture.source.name
        self._endpointer = Endpointer(delay_ms / 1000, rules, use_energy)
        self._captions = SegmentBuilder(limits)
        self._stopping = threading.Event()
        self._begun = False
        self._step_ms = 0.0

    def __repr__(self) -> str:
        state = "has been run" if self._begun else "not begun"
        return f"<voxtral_edge.listen.Listener to {self.name!r}, {state}: {self._stream!r}>"

    def __iter__(self) -> Iterator[ListenEvent]:
        for step in self.steps():
            yield from step.events

    def stop(self) -> None:
        """Ends the session from any thread, a signal handler too: what was said is decoded, then the iteration
        ends."""
        self._stopping.set()

    def steps(self) -> Iterator[ListenStep]:
        """Runs the session. The last step holds the `FinalEvent`; an OverrunError, or an error of the source, is
        raised behind it, so that no text is lost. UsageError if it has been run before."""
        if self._begun:
            raise UsageError("this session has been run; make a new one with engine.listen()")
        self._begun = True
        capture, failure = self._capture, cast("Exception | None", None)
        idle_s = _IDLE_S + (self._step_tokens - 1) * TOKEN_S
        capture.start()
        try:
            while True:
                if self._stopping.is_set() and not capture.source.ended:
                    capture.stop()
                try:
                    pcm = capture.read(self._step_tokens, MOST_STEP_TOKENS, idle_s)
                except OverrunError as error:
                    failure = error
                    break
                if pcm is None:
                    break
                yield self._step(pcm)
        finally:
            capture.stop()
        yield self._finish()
        self._stream.close()
        if failure := failure or capture.source.error:
            raise failure

    def run(self, on_event: Callable[[ListenEvent], None], **on: Callable[[Any], None]) -> str:
        """The callback form: calls `on_event` with every event, and `on_text`, `on_word`, `on_caption`, `on_gap`,
        `on_segment`, `on_final` with those of that type. Returns the transcript."""
        text = ""
        for event in self:
            on_event(event)
            if (callback := on.get(f"on_{event.type}")) is not None:
                callback(event)
            if isinstance(event, FinalEvent):
                text = event.text
        return text

    def _step(self, pcm: Any) -> ListenStep:
        events: list[ListenEvent] = []
        tokens = -(-len(pcm) // TOKEN_SAMPLES)
        over = False
        gaps = self._take_gaps()
        if len(pcm):
            self._endpointer.meter.hear(pcm)
            begun = time.perf_counter()
            decoded = self._stream.feed(pcm)
            self._step_ms = (time.perf_counter() - begun) * 1e3 / tokens
            over = self._endpointer.decoded(decoded, int(self._stream.stats()["generated_tokens"]))
            events = self._report(decoded, over)
        return ListenStep([*gaps, *events], self._status(tokens, over))

    def _finish(self) -> ListenStep:
        gaps = self._take_gaps()
        decoded = self._stream.finish()
        events = self._report(decoded[:-1], True) + decoded[-1:]
        return ListenStep([*gaps, *events], self._status(0, True))

    def _report(self, decoded: Sequence[Any], over: bool) -> list[ListenEvent]:
        """A step's events at the recording's times, and the captions they complete."""
        events: list[ListenEvent] = [self._capture.moved(event) for event in decoded]
        complete = self._captions.take(events)
        if over:
            complete += self._captions.end_utterance()
        return events + [_caption(segment) for segment in complete]

    def _take_gaps(self) -> list[GapEvent]:
        """Gaps that were not reported; each also ends the caption before it."""
        gaps, self._capture.gaps = self._capture.gaps, []
        if (drift := self._capture.drift) is not None:
            gaps = [drift.moved(gap) for gap in gaps]
        for gap in gaps:
            self._captions.split_at(gap.end)
        return gaps

    def _status(self, tokens: int, over: bool) -> Status:
        capture = self._capture
        return Status(
            heard_s=capture.given_s + capture.time_map.dropped_s,
            lag_s=capture.waiting_s,
            step_ms=self._step_ms,
            tokens=tokens,
            behind=tokens > self._step_tokens,
            level_db=self._endpointer.meter.level_db,
            overruns=capture.source.overruns,
            dropped_s=capture.time_map.dropped_s,
            drift_ppm=None if capture.drift is None else capture.drift.ppm,
            utterance_over=over,
        )


def _caption(segment: Segment) -> CaptionEvent:
    return CaptionEvent(segment.text, segment.start, segment.end, segment.words, segment.speaker)


def _open_source(source: Any) -> Source:
    """A source from what people have, see `Listener`."""
    if source is None or (isinstance(source, int) and not isinstance(source, bool)):
        return open_microphone(source)
    if isinstance(source, str) or hasattr(source, "__fspath__"):
        return FileSource(source)
    if hasattr(source, "start") and hasattr(source, "rate_hz"):
        return cast(Source, source)
    if isinstance(source, Iterable):
        return IterableSource(source)
    raise UsageError(
        f"a {type(source).__name__} is no source of audio; give None (the microphone), a device's number, a file's "
        "path, an iterable of sample arrays, or a source of voxtral_edge.listen"
    )
