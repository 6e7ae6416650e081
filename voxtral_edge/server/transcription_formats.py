"""A finished transcript as the bodies of `POST /v1/audio/transcriptions`."""

from __future__ import annotations

import math
import zlib
from typing import Any

from starlette.responses import JSONResponse, PlainTextResponse, Response

from voxtral_edge.formats import to_srt, to_vtt
from voxtral_edge.results import Segment, Transcript
from voxtral_edge.server.speakers import letter
from voxtral_edge.server.transcription_form import TranscriptionRequest


def respond(request: TranscriptionRequest, transcript: Transcript) -> Response:
    """The whole answer in the format that was asked for."""
    if request.response_format == "text":
        return PlainTextResponse(transcript.text + "\n")
    if request.response_format == "srt":
        return PlainTextResponse(to_srt(transcript), media_type="application/x-subrip")
    if request.response_format == "vtt":
        return PlainTextResponse(to_vtt(transcript), media_type="text/vtt")
    if request.response_format == "verbose_json":
        return JSONResponse(_verbose(request, transcript))
    if request.response_format == "diarized_json":
        return JSONResponse(_diarized(transcript))
    return JSONResponse({"text": transcript.text, "usage": duration_usage(transcript.duration_s)})


def duration_usage(seconds: float) -> dict[str, Any]:
    """OpenAI's usage by duration."""
    return {"type": "duration", "seconds": math.ceil(seconds)}


def delta_event(text: str) -> dict[str, Any]:
    """New text, while the file is decoded."""
    return {"type": "transcript.text.delta", "delta": text}


def closing_events(
    request: TranscriptionRequest, transcript: Transcript, prompt_tokens: int, generated_tokens: int
) -> list[dict[str, Any]]:
    """The end of a stream: segments with their speakers, if those were asked for, and `transcript.text.done`."""
    segments = speaker_segments(transcript) if request.diarize else []
    usage = token_usage(prompt_tokens, generated_tokens)
    return [*segments, {"type": "transcript.text.done", "text": transcript.text, "usage": usage}]


def token_usage(prompt_tokens: int, generated_tokens: int) -> dict[str, Any]:
    """OpenAI's usage by tokens."""
    return {
        "type": "tokens",
        "input_tokens": prompt_tokens,
        "output_tokens": generated_tokens,
        "total_tokens": prompt_tokens + generated_tokens,
    }


def speaker_segments(transcript: Transcript) -> list[dict[str, Any]]:
    """OpenAI's segments with speakers, which are also its streaming events."""
    return [
        {
            "type": "transcript.text.segment",
            "id": f"seg_{number}",
            "start": round(segment.start, 3),
            "end": round(segment.end, 3),
            "text": segment.text,
            "speaker": letter(segment.speaker),
        }
        for number, segment in enumerate(transcript.segments)
    ]


def _diarized(transcript: Transcript) -> dict[str, Any]:
    return {
        "task": "transcribe",
        "duration": round(transcript.duration_s, 3),
        "text": transcript.text,
        "segments": speaker_segments(transcript),
        "usage": duration_usage(transcript.duration_s),
    }


def _verbose(request: TranscriptionRequest, transcript: Transcript) -> dict[str, Any]:
    """OpenAI's verbose_json. The model does not say which language it heard: `language` is the client's own,
    or "unknown"."""
    body: dict[str, Any] = {
        "task": "transcribe",
        "language": request.language or "unknown",
        "duration": round(transcript.duration_s, 3),
        "text": transcript.text,
        "usage": duration_usage(transcript.duration_s),
    }
    if "segment" in request.granularities:
        body["segments"] = [_segment(i, segment) for i, segment in enumerate(transcript.segments)]
    if "word" in request.granularities:
        body["words"] = [
            {
                "word": word.text,
                "start": round(word.start, 3),
                "end": round(word.end, 3),
                "probability": round(word.probability, 4),
            }
            for word in transcript.words
        ]
    return body


def _segment(number: int, segment: Segment) -> dict[str, Any]:
    """Whisper's segment fields. Those that only Whisper has (seek, tokens, no_speech_prob) hold their neutral
    values, since typed clients refuse a segment without them."""
    probabilities = [max(word.probability, 1e-10) for word in segment.words]
    logarithms = [math.log(probability) for probability in probabilities]
    data = segment.text.encode()
    return {
        "id": number,
        "seek": 0,
        "start": round(segment.start, 3),
        "end": round(segment.end, 3),
        "text": segment.text,
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": round(sum(logarithms) / len(logarithms), 4) if logarithms else 0.0,
        "compression_ratio": round(len(data) / len(zlib.compress(data)), 4),
        "no_speech_prob": 0.0,
    }
