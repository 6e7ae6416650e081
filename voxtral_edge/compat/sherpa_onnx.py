"""sherpa-onnx's online recogniser on this engine.

    from voxtral_edge.compat.sherpa_onnx import OnlineRecognizer

    recognizer = OnlineRecognizer.from_voxtral("voxtral-4b", enable_endpoint_detection=True)
    stream = recognizer.create_stream()
    stream.accept_waveform(16000, samples)
    while recognizer.is_ready(stream):
        recognizer.decode_stream(stream)
    print(recognizer.get_result(stream))

`decode_streams` takes all streams through the weights at once. Hotwords are sherpa's lines, phrases separated
by "/" or line ends with an optional ` :score`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from voxtral_edge.audio import PathLike
from voxtral_edge.compat.utterances import Utterances, decode
from voxtral_edge.endpoint import EndpointRule
from voxtral_edge.engine import DEFAULT_DELAY_MS, Engine, load


@dataclass(frozen=True, slots=True)
class OnlineRecognizerResult:
    """The open utterance.

    text        what it says; `tokens`, its words
    start_time  when it began, in seconds of the stream: where `reset` was called
    timestamps  when each word began, in seconds since `start_time`
    ys_probs    natural logarithms of the words' probabilities
    segment     how many utterances were before it
    """

    text: str
    tokens: list[str] = field(default_factory=list)
    timestamps: list[float] = field(default_factory=list)
    ys_probs: list[float] = field(default_factory=list)
    segment: int = 0
    start_time: float = 0.0


class OnlineStream:
    """One live stream; made by `OnlineRecognizer.create_stream`."""

    def __init__(self, utterances: Utterances) -> None:
        self._utterances = utterances
        self._segment = 0

    def __repr__(self) -> str:
        return (
            f"<voxtral_edge.compat.sherpa_onnx.OnlineStream, segment {self._segment}, {self._utterances!r}>"
        )

    def accept_waveform(self, sample_rate: int, waveform: Any) -> None:
        """Queues mono samples in [-1, 1] at any rate from 8 to 192 kHz, always the same."""
        self._utterances.accept(int(sample_rate), waveform)

    def input_finished(self) -> None:
        """No more samples will come."""
        self._utterances.end_input()


class OnlineRecognizer:
    """Decodes streams of one engine. The endpoint rules are sherpa-onnx's."""

    def __init__(
        self,
        engine: Engine,
        delay_ms: int = DEFAULT_DELAY_MS,
        enable_endpoint_detection: bool = False,
        rule1_min_trailing_silence: float = 2.4,
        rule2_min_trailing_silence: float = 1.2,
        rule3_min_utterance_length: float = 20.0,
        hotwords: str = "",
        hotwords_score: float = 1.0,
    ) -> None:
        self._engine = engine
        self._delay_ms = delay_ms
        self._hotwords = hotwords
        self._hotwords_score = hotwords_score
        self._rules: tuple[EndpointRule, ...] = ()
        if enable_endpoint_detection:
            self._rules = (
                EndpointRule(rule1_min_trailing_silence),
                EndpointRule(rule2_min_trailing_silence, needs_text=True),
                EndpointRule(0.0, utterance_s=rule3_min_utterance_length),
            )

    @classmethod
    def from_voxtral(
        cls, model: PathLike = "tiny-en", num_threads: int | None = None, **options: Any
    ) -> OnlineRecognizer:
        """Loads a package; options as in the constructor."""
        return cls(load(model, threads=num_threads), **options)

    def create_stream(self, hotwords: str | None = None) -> OnlineStream:
        """A new stream; `hotwords` come in addition to the recogniser's."""
        phrases = _sherpa_hotwords(self._hotwords, self._hotwords_score)
        phrases += _sherpa_hotwords(hotwords or "", self._hotwords_score)
        return OnlineStream(Utterances(self._engine, self._delay_ms, phrases, self._rules))

    def is_ready(self, stream: OnlineStream) -> bool:
        """Whether there is something to decode."""
        return stream._utterances.ready

    def decode_stream(self, stream: OnlineStream) -> None:
        """Decodes what waits in a stream."""
        decode([stream._utterances])

    def decode_streams(self, streams: Sequence[OnlineStream]) -> None:
        """Decodes what waits in several streams, together."""
        decode([stream._utterances for stream in streams])

    def get_result(self, stream: OnlineStream) -> str:
        """The open utterance's text."""
        return stream._utterances.text.strip()

    def get_result_all(self, stream: OnlineStream) -> OnlineRecognizerResult:
        """The open utterance with words and times."""
        words, start_s = stream._utterances.words, stream._utterances.start_s
        return OnlineRecognizerResult(
            self.get_result(stream),
            [word.text for word in words],
            [round(word.start - start_s, 3) for word in words],
            [math.log(max(word.probability, 1e-10)) for word in words],
            stream._segment,
            start_s,
        )

    def is_endpoint(self, stream: OnlineStream) -> bool:
        """Whether the utterance is over."""
        return stream._utterances.over

    def reset(self, stream: OnlineStream) -> None:
        """Begins a new utterance."""
        stream._utterances.next()
        stream._segment += 1


def _sherpa_hotwords(text: str, score: float) -> list[Any]:
    phrases: list[Any] = []
    for line in text.replace("/", "\n").splitlines():
        phrase, separator, own = line.strip().rpartition(" :")
        if line.strip():
            phrases.append((phrase, own) if separator else (line.strip(), score))
    return phrases
