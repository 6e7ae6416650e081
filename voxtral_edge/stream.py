"""One live stream: audio in, events out."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

from voxtral_edge.audio import SAMPLE_RATE_HZ, as_pcm
from voxtral_edge.errors import UsageError
from voxtral_edge.events import Event, event_from_dict
from voxtral_edge.results import shortened

if TYPE_CHECKING:
    from voxtral_edge.diarize.word_speakers import WordSpeakers


class Stream:
    """One live stream on an engine; make it with `Engine.stream`. Several streams may share an engine.

    One thread at a time: while one is in `feed`, `flush`, `finish` or `reset`, these are a UsageError in any other;
    reading `text`, `token_ids` or `stats()`, and `close`, wait until it is done.

    Whatever the sizes of the pieces that are fed, the text is the same, token for token. Text for a word can
    appear once `delay_ms` of audio after its end has been fed, or after `flush` or `finish`.

    An error in the middle of a call (memory ran out, an engine written in Python raised) leaves a stream of which
    nobody knows how much it has heard: everything but `reset` and `close` is then a UsageError. Calls that are
    refused (UsageError, AudioFormatError) change nothing.

    As a context manager it frees its memory (for the 4B model up to 1 GB of attention state) on leaving the
    block; `text`, `token_ids` and `stats()` keep their last values. Leaving does not finish: call `finish`
    inside.
    """

    def __init__(self, core_stream: Any, delay_ms: int, speakers: WordSpeakers | None = None) -> None:
        self._core: Any = core_stream
        self._speakers = speakers
        self._last_text = ""
        self._last_token_ids: list[int] = []
        self._last_stats: dict[str, Any] = {}
        self.delay_ms = delay_ms
        # Reentrant, because a signal handler may bring the same thread back. Who acts holds both, who reads the second
        # only: so a reader never makes a `feed` fail.
        self._action, self._turn = threading.RLock(), threading.RLock()

    def __repr__(self) -> str:
        if not self._turn.acquire(blocking=False):
            return f"<voxtral_edge.Stream, delay {self.delay_ms} ms, in use by another thread>"
        try:
            heard_s = self.stats()["fed_samples"] / SAMPLE_RATE_HZ
            closed = ", closed" if self._core is None else ""
            return (
                f"<voxtral_edge.Stream, delay {self.delay_ms} ms, heard {heard_s:.2f} s, text "
                f"{shortened(self.text)!r}{closed}>"
            )
        finally:
            self._turn.release()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Stream cannot be pickled or copied; make another one with engine.stream()")

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def feed(self, pcm: Any, more: bool = False) -> list[Event]:
        """Adds audio and returns what became known through it.

        more: the next call follows at once, as from a file. The last second or two of audio may then wait for it,
        which makes recordings about a tenth faster; live, it would only be late.
        pcm: 1-D numpy array, 16 kHz mono, any length ≥ 0; float32 in [-1, 1) or int16. NaN and infinite
        samples are taken as silence and counted in `stats()`. UsageError for other types, and after `finish`.
        """
        samples = as_pcm(pcm)
        with self._alone() as core:
            events = _events(core.feed(samples, more))
            if self._speakers is None:
                return events
            self._speakers.take(samples)
            return self._speakers.label(events, _generated_tokens(core))

    def flush(self) -> list[Event]:
        """Emits what is still behind the delay, as if silence followed; the stream stays open for more
        audio."""
        with self._alone() as core:
            events = _events(core.flush())
            return (
                events if self._speakers is None else self._speakers.flushed(events, _generated_tokens(core))
            )

    def finish(self) -> list[Event]:
        """Ends the audio: pads it as the model was trained, and returns the last events; the very last one is
        the `FinalEvent`. Feeding afterwards is a UsageError until `reset`."""
        with self._alone() as core:
            events = _events(core.finish())
            return events if self._speakers is None else self._speakers.label(events, _generated_tokens(core))

    def reset(self) -> None:
        """Forgets everything and starts a new stream with the same delay, without allocating again."""
        with self._alone() as core:
            core.reset()
            if self._speakers is not None:
                self._speakers.reset()

    def close(self) -> None:
        """Frees the stream's memory. Harmless if done twice."""
        with self._turn:
            if self._core is None:
                return
            self._last_text, self._last_token_ids = self.text, self.token_ids
            self._last_stats = self.stats()
            self._core = None

    @property
    def text(self) -> str:
        """The transcript so far."""
        with self._turn:
            return self._last_text if self._core is None else str(self._core.text)

    @property
    def token_ids(self) -> list[int]:
        """Every generated token id so far (one per 80 ms of audio, prompt excluded)."""
        with self._turn:
            return list(self._last_token_ids if self._core is None else self._core.token_ids)

    def stats(self) -> dict[str, Any]:
        """Counters of this stream, as the native module keeps them (samples, tokens, replaced samples, …)."""
        with self._turn:
            return dict(self._last_stats if self._core is None else self._core.stats())

    @contextlib.contextmanager
    def _alone(self) -> Iterator[Any]:
        """The native stream, for this thread alone."""
        if not self._action.acquire(blocking=False):
            raise UsageError(
                "another thread is using this stream; give each thread a stream of its own (engine.stream()), or let "
                "them take turns"
            )
        try:
            with self._turn:
                if self._core is None:
                    raise UsageError("this stream is closed; make a new one with engine.stream()")
                yield self._core
        finally:
            self._action.release()


def _generated_tokens(core: Any) -> int:
    return int(core.stats()["generated_tokens"])


def _events(dicts: list[dict[str, Any]]) -> list[Event]:
    return [event_from_dict(values) for values in dicts]
