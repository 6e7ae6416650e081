"""Mistral's `POST /v1/audio/transcriptions`: the same address as OpenAI's, other fields and answers.

Its clients are known by the field `diarize`, which they always send.
"""

from __future__ import annotations

from typing import Any

from voxtral_edge.results import Segment, Transcript, Word
from voxtral_edge.server.transcription_form import TranscriptionRequest

Values = dict[str, Any]


def delta_event(text: str) -> Values:
    """New text, while the file is decoded."""
    return {"type": "transcription.text.delta", "text": text}


def closing_events(
    request: TranscriptionRequest, transcript: Transcript, prompt_tokens: int, generated_tokens: int
) -> list[Values]:
    """The end of a stream: segments, if they were asked for, and `transcription.done`."""
    segments = [{**values, "type": "transcription.segment"} for values in _pieces(request, transcript)]
    answer = document(request, transcript, prompt_tokens, generated_tokens)
    return [*segments, {"type": "transcription.done", **answer}]


def document(
    request: TranscriptionRequest, transcript: Transcript, prompt_tokens: int, generated_tokens: int
) -> Values:
    """The whole answer. `language` is the client's own: the model does not say what it heard."""
    return {
        "model": request.model,
        "text": transcript.text,
        "language": request.language,
        "segments": _pieces(request, transcript),
        "usage": usage(prompt_tokens, generated_tokens, transcript.duration_s),
    }


def usage(prompt_tokens: int, generated_tokens: int, heard_s: float) -> Values:
    """Mistral's usage, of files and live sessions."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": generated_tokens,
        "total_tokens": prompt_tokens + generated_tokens,
        "prompt_audio_seconds": round(heard_s),
    }


def _pieces(request: TranscriptionRequest, transcript: Transcript) -> list[Values]:
    """One per segment, or per word if words were asked for; none if neither times nor speakers were."""
    pieces: list[Word] | list[Segment] = []
    if "word" in request.granularities:
        pieces = transcript.words
    elif request.diarize or "segment" in request.granularities:
        pieces = transcript.segments
    return [
        {
            "type": "transcription_segment",
            "text": piece.text,
            "start": round(piece.start, 3),
            "end": round(piece.end, 3),
            **({"speaker_id": piece.speaker} if request.diarize else {}),
        }
        for piece in pieces
    ]
