"""One session: audio in, updates out, in the asyncio world. Every dialect is a translation of this object."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from voxtral_edge.audio import SAMPLE_RATE_HZ, PcmArray
from voxtral_edge.errors import UsageError
from voxtral_edge.events import Event, SegmentEvent, TextEvent, WordEvent
from voxtral_edge.hotwords import Hotwords
from voxtral_edge.live_step import TOKEN_MS
from voxtral_edge.server.lane import Failure, Lane, Mark, Step
from voxtral_edge.server.pcm import PcmDecoder
from voxtral_edge.server.scheduler import Scheduler

_MOST_MARKS = 8


@dataclass
class Update:
    """News of one utterance, one or more passes joined.

    text         new text, to be appended
    pieces       the same by token: (index of the token that completed it, text)
    words, marks  finished words; ends of segments that the model marked
    first_token, generated_tokens   tokens of the utterance before and after
    heard_s      audio the model has been given; step_s, seconds of the last pass
    flushed      its last pass was a flush
    finished     the utterance is complete
    failure      the session is dead
    utterance    which one; dropped: it was dropped after this update had been handed out
    """

    text: str = ""
    pieces: list[tuple[int, str]] = field(default_factory=list)
    words: list[WordEvent] = field(default_factory=list)
    marks: list[SegmentEvent] = field(default_factory=list)
    first_token: int = 0
    generated_tokens: int = 0
    heard_s: float = 0.0
    step_s: float = 0.0
    flushed: bool = False
    finished: bool = False
    failure: Failure | None = None
    utterance: int = 0
    dropped: bool = False

    def add(self, step: Step) -> None:
        """Joins a step to this update."""
        for event in step.events:
            self._add_event(event)
        self.generated_tokens, self.heard_s = step.generated_tokens, step.heard_s
        self.step_s = step.seconds / max(1, step.generated_tokens - step.first_token)
        self.flushed, self.finished, self.failure = step.flushed, step.finished, step.failure

    def _add_event(self, event: Event) -> None:
        if isinstance(event, TextEvent):
            self.text += event.text
            self.pieces.append((event.token, event.text))
        elif isinstance(event, WordEvent):
            self.words.append(event)
        elif isinstance(event, SegmentEvent):
            self.marks.append(event)


class Session:
    """Made by `Hub.open`; used by tasks of one event loop. Close it, or use it as an async context manager.

    name          unique, safe to show
    prompt_tokens  tokens the model is given before it hears audio (for usage reports)
    """

    def __init__(
        self,
        name: str,
        scheduler: Scheduler,
        queued_samples: int,
        left_pad_tokens: int,
        on_close: Callable[[Session], None],
        background: bool = False,
    ) -> None:
        self.name = name
        self.decoder = PcmDecoder()
        self.audio_s = 0.0
        self.on_audio: Callable[[PcmArray], None] | None = None  # hears what the model hears, in order
        self.closed = False
        self._scheduler = scheduler
        self._queued_samples = queued_samples
        self._left_pad_tokens = left_pad_tokens
        self._on_close = on_close
        self._background = background
        self._delay_tokens = 0
        self._hotwords: Hotwords | None = None
        self._lane: Lane | None = None
        self._loop = asyncio.get_running_loop()
        self._steps: deque[Step] = deque()
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._unfinished = 0
        self._utterance = 0
        self._dropped: set[int] = set()
        self._handed_out: Update | None = None  # the last
        self._fresh = True  # nothing was sent since the last finish

    async def __aenter__(self) -> Session:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    @property
    def started(self) -> bool:
        """Whether audio or a mark has been queued: from then on delay and format are fixed."""
        return self._lane is not None

    @property
    def pending(self) -> bool:
        """Whether there is audio to compute, or an ended utterance whose last update has not been taken."""
        return self._unfinished > 0 or (self._lane is not None and self._lane.queued_samples > 0)

    @property
    def delay_ms(self) -> int:
        """How far text stays behind the audio."""
        return self._delay_tokens * TOKEN_MS

    @property
    def prompt_tokens(self) -> int:
        """BOS, left padding and the delay's pads (specification §6)."""
        return 1 + self._left_pad_tokens + self._delay_tokens

    def configure(
        self,
        *,
        delay_tokens: int | None = None,
        decoder: PcmDecoder | None = None,
        hotwords: Hotwords | None = None,
    ) -> None:
        """Sets delay, audio format and hotwords; UsageError once audio has been sent."""
        if self.started:
            raise UsageError("audio format, delay and hotwords are fixed once audio has been sent")
        if hotwords is not None:
            self._hotwords = hotwords
        if delay_tokens is not None:
            self._delay_tokens = delay_tokens
        if decoder is not None:
            self.decoder = decoder

    async def send_audio(self, data: bytes) -> float:
        """Queues encoded audio; its length in seconds. Waits while more than the allowed audio is waiting for
        the engine. AudioFormatError for incomplete samples."""
        pcm = self.decoder.decode(data)
        await self.send_pcm(pcm)
        return len(data) / self.decoder.frame_bytes / self.decoder.sample_rate_hz

    async def send_pcm(self, pcm: PcmArray) -> None:
        """As `send_audio`, for samples at 16 kHz."""
        lane = self._open_lane()
        self._fresh = False
        self.audio_s += len(pcm) / SAMPLE_RATE_HZ
        if self.on_audio is not None:
            self.on_audio(pcm)
        self._scheduler.put(lane, pcm)
        while lane.queued_samples > self._queued_samples and not self.closed and not lane.closed:
            self._room.clear()
            await self._room.wait()

    async def room_for_marks(self) -> None:
        """Waits while many flushes, finishes and drops are queued: they cost no audio, so the limit on audio
        does not bound them."""
        while self._lane is not None and self._lane.queued_marks > _MOST_MARKS and not self.closed:
            self._room.clear()
            await self._room.wait()

    def flush(self) -> None:
        """Asks for the words behind the delay; skipped when the end follows at once."""
        if self.started:
            self._scheduler.put(self._open_lane(), Mark.FLUSH)

    def finish(self) -> None:
        """Ends the utterance; the last of its updates has `finished` set. What is sent afterwards belongs to
        the next utterance, which begins on its own."""
        lane = self._open_lane()
        self._unfinished += 1
        self._utterance += 1
        self._fresh = True
        tail = self.decoder.drain()
        if self.on_audio is not None:
            self.on_audio(tail)
        self._scheduler.put(lane, tail, Mark.FINISH, Mark.RESTART)

    def drop_utterance(self) -> None:
        """Forgets what was sent since the last `finish`: no further update of it comes."""
        if self._lane is None or self._fresh:
            return
        self._fresh = True
        self._dropped.add(self._utterance)
        if self._handed_out is not None and self._handed_out.utterance == self._utterance:
            self._handed_out.dropped = True
        self._utterance += 1
        self.decoder.restart()
        self._steps = deque(step for step in self._steps if self._is_wanted(step))
        self._scheduler.restart(self._lane)

    async def updates(self) -> AsyncIterator[Update]:
        """Everything that becomes known, until the session is closed. Steps that wait together are joined,
        but not across the end of an utterance."""
        while not self.closed:
            while not self._steps and not self.closed:
                self._arrived.clear()
                await self._arrived.wait()
            if self.closed:
                return
            yield self._joined()

    def close(self) -> None:
        """Frees the stream and the session's place. Harmless if done twice."""
        if self.closed:
            return
        self.closed = True
        if self._lane is not None:
            self._scheduler.close(self._lane)
        self._steps.clear()
        self._arrived.set()
        self._room.set()
        self._on_close(self)

    def _open_lane(self) -> Lane:
        if self._lane is None:
            bias = self._hotwords.tree if self._hotwords is not None else None
            self._lane = self._scheduler.open(
                self.name, self._delay_tokens, self._from_scheduler, bias, self._background
            )
        return self._lane

    def _from_scheduler(self, step: Step) -> None:
        """Called in the scheduler's thread."""
        self._loop.call_soon_threadsafe(self._take, step)

    def _take(self, step: Step) -> None:
        if self.closed:
            return
        self._room.set()
        if self._is_wanted(step):
            self._steps.append(step)
            self._arrived.set()

    def _is_wanted(self, step: Step) -> bool:
        """Steps of a dropped utterance count as taken at once."""
        self._dropped = {utterance for utterance in self._dropped if utterance >= step.utterance}
        if step.failure is not None or step.utterance not in self._dropped:
            return True
        if self._lane is not None:
            self._scheduler.taken(self._lane, len(step.events))
        return False

    def _joined(self) -> Update:
        update = Update(first_token=self._steps[0].first_token, utterance=self._steps[0].utterance)
        self._handed_out = update
        events = 0
        while self._steps:
            step = self._steps.popleft()
            events += len(step.events)
            update.add(step)
            if step.finished:
                self._unfinished -= 1
            if step.finished or step.flushed or step.failure:
                break
        if events and self._lane is not None:
            self._scheduler.taken(self._lane, events)
        return update
