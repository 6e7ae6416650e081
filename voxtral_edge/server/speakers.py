"""Who speaks, for the sessions that ask for it: the diariser runs in worker threads, beside the scheduler."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from voxtral_edge.audio import PcmArray
from voxtral_edge.events import Event, FinalEvent, SpeakerEvent, WordEvent
from voxtral_edge.results import Word
from voxtral_edge.server.session import Update

if TYPE_CHECKING:
    from voxtral_edge.diarize import OnlineDiarizer, SpeakerEmbedder, Voiceprints


class SpeakerTracker:
    """Labels the words of one live session. Audio is taken in the event loop, judged in a thread."""

    def __init__(self, embedder: SpeakerEmbedder, delay_tokens: int) -> None:
        from voxtral_edge.diarize import OnlineDiarizer
        from voxtral_edge.diarize.word_speakers import WordSpeakers

        self._words = WordSpeakers(OnlineDiarizer(embedder=embedder), delay_tokens)
        self._heard: list[PcmArray] = []
        self._turns: list[SpeakerEvent] = []

    def hear(self, pcm: PcmArray) -> None:
        """Takes audio that the model is given, in order."""
        self._heard.append(pcm)

    async def label(self, update: Update) -> list[WordEvent]:
        """The update's words with the speakers that are known by now."""
        heard, self._heard = self._heard, []
        events: list[Event] = [*update.words, *([FinalEvent("")] if update.finished else [])]
        labelled = await asyncio.to_thread(self._label, heard, events, update)
        self._turns += [event for event in labelled if isinstance(event, SpeakerEvent) and event.final]
        return [event for event in labelled if isinstance(event, WordEvent)]

    def final_speakers(self, spans: Sequence[tuple[float, float]]) -> list[str | None]:
        """Who speaks in each (start, end), once the session has finished."""
        return _speakers(self._turns, spans)

    def _label(self, heard: list[PcmArray], events: list[Event], update: Update) -> list[Event]:
        for pcm in heard:
            self._words.take(pcm)
        if update.flushed:
            return self._words.flushed(events, update.generated_tokens)
        return self._words.label(events, update.generated_tokens)


class FileSpeakers:
    """Labels the words of a whole file, with final speakers only. Its methods block."""

    def __init__(self, embedder: SpeakerEmbedder, known: Voiceprints | None = None) -> None:
        from voxtral_edge.diarize import OnlineDiarizer

        self._diarizer: OnlineDiarizer = OnlineDiarizer(embedder=embedder, voiceprints=known)
        self._turns: list[SpeakerEvent] = []

    def feed(self, pcm: PcmArray) -> None:
        """Takes the next block."""
        self._keep(self._diarizer.feed(pcm))

    def label(self, words: Sequence[Word]) -> list[Word]:
        """Ends the audio; the words with their speakers."""
        self._keep(self._diarizer.finish())
        speakers = _speakers(self._turns, [(word.start, word.end) for word in words])
        return [replace(word, speaker=speaker) for word, speaker in zip(words, speakers, strict=True)]

    def _keep(self, events: Sequence[SpeakerEvent]) -> None:
        self._turns += [event for event in events if event.final]


def letter(speaker: str | None) -> str:
    """A speaker as OpenAI names them: A, B … in order of appearance; names of enrolled people stay."""
    if speaker is None:
        return "unknown"
    number = int(speaker[1:]) if speaker[:1] == "S" and speaker[1:].isdigit() else 0
    return chr(ord("A") + number - 1) if 1 <= number <= 26 else speaker


def _speakers(turns: Sequence[SpeakerEvent], spans: Sequence[tuple[float, float]]) -> list[str | None]:
    from voxtral_edge.diarize.diarizer import WORD_REACH_S
    from voxtral_edge.diarize.turns import Turn, speakers_of

    return speakers_of([Turn(turn.start, turn.end, turn.speaker) for turn in turns], spans, WORD_REACH_S)
