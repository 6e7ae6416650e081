"""What both shims need: samples of any rate in, the open utterance's text and words out, endpoints between
them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxtral_edge._native import native_module
from voxtral_edge.audio import MAX_RATE_HZ, MIN_RATE_HZ, SAMPLE_RATE_HZ, as_floats, as_pcm, resampler
from voxtral_edge.endpoint import DEFAULT_RULES, Endpointer, EndpointRule
from voxtral_edge.engine import Engine, delay_tokens
from voxtral_edge.errors import UsageError
from voxtral_edge.events import TextEvent, WordEvent, event_from_dict
from voxtral_edge.live_step import TOKEN_SAMPLES
from voxtral_edge.results import shortened

_MOST_SAMPLES = 8 * TOKEN_SAMPLES


class Utterances:
    """One stream whose text is taken utterance by utterance.

    text, words   of the open utterance
    over          an endpoint rule was met since the last `next`
    finished      `input_finished` was called and everything is decoded
    """

    def __init__(
        self,
        engine: Engine,
        delay_ms: int,
        hotwords: Any = None,
        rules: Sequence[EndpointRule] = DEFAULT_RULES,
    ) -> None:
        tree = engine.hotwords(hotwords).tree
        self.core = engine.core_stream(delay_tokens(delay_ms), **({} if tree is None else {"bias": tree}))
        self._endpointer = Endpointer(delay_ms / 1000, rules)
        self._pending: list[NDArray[np.float32]] = []
        self._waiting = 0
        self._rate_hz = 0
        self._resampler: Any = None
        self.input_ended = False
        self.finished = False
        self.next()

    def __repr__(self) -> str:
        state = "finished" if self.finished else "utterance over" if self.over else "open"
        return f"<{state}, {self._waiting / SAMPLE_RATE_HZ:.2f} s wait, text {shortened(self.text)!r}>"

    def next(self) -> None:
        """Begins a new utterance; the model keeps what it knows of the conversation."""
        self.text = ""
        self.words: list[WordEvent] = []
        self.over = False
        self._begun_s = self._endpointer.meter.heard_s

    @property
    def start_s(self) -> float:
        """When the open utterance began: at `next`, or with a first word that had begun before."""
        return min(self._begun_s, self.words[0].start) if self.words else self._begun_s

    def accept(self, rate_hz: int, samples: Any) -> None:
        """Queues mono samples: float32 in [-1, 1] or int16. The rate must stay the same."""
        if self.input_ended:
            raise UsageError("the input of this stream was finished; make a new one")
        if not self._rate_hz:
            self._set_rate(rate_hz)
        elif rate_hz != self._rate_hz:
            raise UsageError(f"the stream began with {self._rate_hz} Hz and now gets {rate_hz} Hz")
        pcm = as_pcm(np.asarray(samples, dtype=np.float32) if isinstance(samples, (list, tuple)) else samples)
        floats = as_floats(pcm)
        self._queue(floats if self._resampler is None else self._resampler.resample_chunk(floats, last=False))

    def end_input(self) -> None:
        """No more samples will come."""
        if not self.input_ended and self._resampler is not None:
            self._queue(self._resampler.resample_chunk(np.zeros(0, dtype=np.float32), last=True))
        self.input_ended = True

    @property
    def ready(self) -> bool:
        """Whether there is something to decode."""
        return self._waiting >= TOKEN_SAMPLES or (self.input_ended and not self.finished)

    def _set_rate(self, rate_hz: int) -> None:
        if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
            raise UsageError(f"sample rate {rate_hz} Hz; {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz can be read")
        self._resampler = resampler(rate_hz)
        self._rate_hz = rate_hz

    def _queue(self, pcm: NDArray[np.float32]) -> None:
        self._pending.append(pcm)
        self._waiting += len(pcm)

    def _take(self) -> NDArray[np.float32]:
        """What waits, a few tokens at most: an endpoint in the middle of much audio must be found there."""
        pcm = np.concatenate(self._pending)
        taken, rest = pcm[:_MOST_SAMPLES], pcm[_MOST_SAMPLES:]
        self._pending, self._waiting = ([rest], len(rest)) if len(rest) else ([], 0)
        self._endpointer.meter.hear(taken)
        return taken

    def _decoded(self, events: list[Any]) -> None:
        for event in events:
            if isinstance(event, TextEvent):
                self.text += event.text
            elif isinstance(event, WordEvent):
                self.words.append(event)
        if self._endpointer.decoded(events, int(self.core.stats()["generated_tokens"])):
            self.over = True


def decode(streams: Sequence[Utterances]) -> None:
    """Decodes a part of what waits in the streams (of one engine), in shared passes over the weights; call it while
    a stream is `ready`."""
    ready = [stream for stream in streams if stream.ready]
    _run([(stream, stream._take(), "feed") for stream in ready if stream._waiting])
    ending = [stream for stream in ready if stream.input_ended and not stream._waiting]
    _run([(stream, None, "finish") for stream in ending])
    for stream in ending:
        stream.finished = True


def _run(work: list[tuple[Utterances, NDArray[np.float32] | None, str]]) -> None:
    if not work:
        return
    results = native_module().run_streams([(stream.core, pcm, action) for stream, pcm, action in work])
    for (stream, _, _), dicts in zip(work, results, strict=True):
        stream._decoded([event_from_dict(values) for values in dicts])
