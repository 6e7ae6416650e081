"""Recordings in the shape of faster-whisper: code written for `WhisperModel` needs another import and model
name.

    from voxtral_edge.transcriber import Transcriber

    segments, info = Transcriber("voxtral-4b").transcribe("talk.wav", word_timestamps=True)
    for segment in segments:
        print(f"[{segment.start:.2f} -> {segment.end:.2f}] {segment.text}")

The differences are the model's: it decodes greedily, hears the language by itself and does not translate.
Options of Whisper that mean nothing here are accepted and listed in `info.ignored_options`; options that
would change what is transcribed are refused.
"""

from __future__ import annotations

import math
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from voxtral_edge.audio import BLOCK_SAMPLES, SAMPLE_RATE_HZ, AudioFile, PathLike, PcmArray, as_pcm
from voxtral_edge.engine import DEFAULT_DELAY_MS, load
from voxtral_edge.errors import DeviceError, UsageError
from voxtral_edge.events import TextEvent
from voxtral_edge.results import SUBTITLE_LIMITS, SegmentLimits
from voxtral_edge.results import Segment as Caption
from voxtral_edge.segments import SegmentBuilder

# Search, thresholds, prompts and batching of Whisper: a greedy streaming model has no use for them.
_NAMES = """
log_progress beam_size best_of patience length_penalty repetition_penalty no_repeat_ngram_size temperature
compression_ratio_threshold log_prob_threshold no_speech_threshold condition_on_previous_text
prompt_reset_on_temperature initial_prompt suppress_blank suppress_tokens without_timestamps
max_initial_timestamp prepend_punctuations append_punctuations multilingual vad_filter vad_parameters
chunk_length hallucination_silence_threshold language_detection_threshold language_detection_segments
batch_size
"""
_WITHOUT_MEANING = frozenset(_NAMES.split())


@dataclass(frozen=True, slots=True)
class TranscribedWord:
    """A word; `word` carries the white space before it, times in seconds."""

    start: float
    end: float
    word: str
    probability: float


@dataclass(frozen=True, slots=True)
class TranscribedSegment:
    """A caption; `text` carries the white space before it, so that joined texts are the transcript. `words` is None
    without word_timestamps; `seek` counts 10 ms; `tokens` is the text encoded, without timing tokens."""

    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: list[int]
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    words: list[TranscribedWord] | None
    temperature: float | None = 0.0


@dataclass(frozen=True, slots=True)
class TranscriptionInfo:
    """About a transcription. `language` is what the caller said (the model tells nobody what it heard);
    `duration` is declared by the file and known before anything is decoded."""

    language: str | None
    language_probability: float
    duration: float
    duration_after_vad: float
    all_language_probs: list[tuple[str, float]] | None = None
    transcription_options: dict[str, Any] = field(default_factory=dict)
    vad_options: None = None
    ignored_options: tuple[str, ...] = ()


class Transcriber:
    """A loaded model.

    model_size_or_path  a bundled model's name or a package folder
    device              "auto" or "cpu"
    compute_type        "default" or "auto": a package has the precision it was exported with; any other value must
                        be that precision
    cpu_threads         0: the CPUs this process may use
    engine              "native" or "onnxruntime"
    """

    def __init__(
        self,
        model_size_or_path: PathLike = "tiny-en",
        device: str = "auto",
        compute_type: str = "default",
        cpu_threads: int = 0,
        engine: str = "native",
    ) -> None:
        if device not in ("auto", "cpu"):
            raise DeviceError(f"device {device!r}: this engine runs on the CPU; pass device='cpu'")
        self.engine = load(model_size_or_path, engine, cpu_threads or None)
        precisions = sorted(set(map(str, self.engine.info()["precision"].values())))
        if compute_type not in ("default", "auto", *precisions):
            raise UsageError(
                f"compute_type {compute_type!r}: this package holds {' and '.join(precisions)}; export one with "
                f"voxtral-edge export --precision {compute_type}, or pass compute_type='default'"
            )

    def __repr__(self) -> str:
        return f"<voxtral_edge.Transcriber with {self.engine!r}>"

    def transcribe(
        self,
        audio: PathLike | BinaryIO | PcmArray,
        language: str | None = None,
        task: str = "transcribe",
        word_timestamps: bool = False,
        hotwords: Any = None,
        delay_ms: int = DEFAULT_DELAY_MS,
        limits: SegmentLimits = SUBTITLE_LIMITS,
        **options: Any,
    ) -> tuple[Iterator[TranscribedSegment], TranscriptionInfo]:
        """Segments as they are decoded, and what is known beforehand. Nothing is computed until the first segment is
        asked for.

        audio     a file's name, a binary file object, or a 1-D float32 or int16 array, 16 kHz mono
        hotwords  as in `Engine.stream`
        options   Whisper's: see the module's text. UsageError for unknown ones.
        """
        if task != "transcribe":
            raise UsageError(f"task {task!r}: this model transcribes; it does not translate")
        ignored = _ignored(options)
        prepared = self.engine.hotwords(hotwords)
        source = _Source(audio)
        info = TranscriptionInfo(
            language=language,
            language_probability=1.0 if language else 0.0,
            duration=source.duration_s,
            duration_after_vad=source.duration_s,
            transcription_options={"delay_ms": delay_ms, "word_timestamps": word_timestamps, "task": task},
            ignored_options=ignored,
        )
        return self._segments(source, delay_ms, prepared, limits, word_timestamps), info

    def _segments(
        self, source: _Source, delay_ms: int, hotwords: Any, limits: SegmentLimits, word_timestamps: bool
    ) -> Iterator[TranscribedSegment]:
        captions, text, number = SegmentBuilder(limits), " ", 0
        with self.engine.stream(delay_ms, hotwords) as stream:
            for block in source.blocks_and_end():
                events = stream.finish() if block is None else stream.feed(block, more=True)
                text += "".join(event.text for event in events if isinstance(event, TextEvent))
                complete = captions.take(events)
                if block is None:
                    complete += captions.finish(source.duration_s)
                for caption in complete:
                    number += 1
                    lead, text = _split(text, caption.text)
                    yield self._segment(number, caption, lead, word_timestamps)

    def _segment(self, number: int, caption: Caption, lead: str, word_timestamps: bool) -> TranscribedSegment:
        text = lead + caption.text
        encoded = text.encode()
        logs = [math.log(max(word.probability, 1e-10)) for word in caption.words]
        words: list[TranscribedWord] = []
        rest = text
        for word in caption.words:
            before, rest = _split(rest, word.text)
            words.append(TranscribedWord(word.start, word.end, before + word.text, word.probability))
        return TranscribedSegment(
            id=number,
            seek=round(caption.start * 100),
            start=caption.start,
            end=caption.end,
            text=text,
            tokens=self.engine.tokenizer.encode(text),
            avg_logprob=sum(logs) / len(logs) if logs else 0.0,
            compression_ratio=len(encoded) / len(zlib.compress(encoded)),
            no_speech_prob=0.0,
            words=words if word_timestamps else None,
        )


class _Source:
    """Audio of any accepted kind; its length is known at once."""

    def __init__(self, audio: Any) -> None:
        self._source: AudioFile | PcmArray
        if isinstance(audio, str) or hasattr(audio, "__fspath__"):
            self._source = AudioFile(audio)
        elif hasattr(audio, "read"):
            with tempfile.NamedTemporaryFile(prefix="voxtral-edge-", suffix=".audio") as copy:
                while data := audio.read(1 << 20):
                    copy.write(data)
                copy.flush()
                self._source = AudioFile(copy.name)  # stays open when the name is gone
        else:
            self._source = as_pcm(audio)
        whole = self._source
        self.duration_s = whole.duration_s if isinstance(whole, AudioFile) else len(whole) / SAMPLE_RATE_HZ

    def blocks_and_end(self) -> Iterator[PcmArray | None]:
        """Every block, then None."""
        if isinstance(self._source, AudioFile):
            with self._source:
                yield from self._source.blocks()
        else:
            for begin in range(0, len(self._source), BLOCK_SAMPLES):
                yield self._source[begin : begin + BLOCK_SAMPLES]
        yield None


def _ignored(options: dict[str, Any]) -> tuple[str, ...]:
    for name, neutral in (
        ("clip_timestamps", ("0", [], None)),
        ("prefix", (None, "")),
        ("max_new_tokens", (None,)),
    ):
        if options.pop(name, neutral[0]) not in neutral:
            raise UsageError(
                f"{name} is not supported: it would change what is transcribed; cut the audio instead"
            )
    unknown = sorted(set(options) - _WITHOUT_MEANING)
    if unknown:
        raise UsageError(f"transcribe has no option {unknown[0]!r}")
    return tuple(sorted(options))


def _split(text: str, part: str) -> tuple[str, str]:
    """What stands before `part` in `text`, and what behind it."""
    at = text.find(part)
    return (text[:at], text[at + len(part) :]) if at >= 0 else (" ", text)
