"""Cuts a stream of audio into speech, cells of at most 0.4 s, and windows of at most 1.6 s that end with a cell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxtral_edge.diarize.voice_activity import FRAME_SAMPLES, FRAMES_PER_SECOND, VoiceActivity

# All in frames of 10 ms. 1.6 s is what the bundled embedder was trained on; a new window every 0.4 s.
CELL_FRAMES = 40
WINDOW_FRAMES = 160
FIRST_WINDOW_FRAMES = 80
# Shorter silences are part of the speech around them (stops, breaths); longer ones end it.
PAUSE_FRAMES = 30
# Kept before and after what was found: words begin and end softly.
MARGIN_FRAMES = 5
# Speech shorter than this is labelled by its neighbours: a vector of it means nothing.
LEAST_WINDOW_FRAMES = 30


@dataclass(frozen=True)
class Piece:
    """A cell of speech, first to past-the-end frame, and the window of audio that ends with it (None: none does).
    `begins` says that a pause comes before it; `window_start` is the window's first frame; `heard` is how many frames
    had been judged when it was complete (later than `end` where a pause had to be waited for)."""

    start: int
    end: int
    begins: bool
    window: NDArray[np.float32] | None
    window_start: int
    heard: int


class Segmenter:
    """Audio in, pieces out, in order of time, without overlap. The result does not depend on how the audio is
    divided. Holds at most two seconds of audio."""

    def __init__(self) -> None:
        self._activity = VoiceActivity()
        self.reset()

    def reset(self) -> None:
        """Forgets everything and begins at time 0."""
        self._activity.reset()
        self._audio = np.zeros(0, dtype=np.float32)
        self._audio_start = 0  # sample number of self._audio[0]
        self.frames = 0  # frames that were judged
        self._start: int | None = None  # of the open stretch of speech
        self._cell_start = 0
        self._voiced_end = 0

    def feed(self, pcm: NDArray[np.float32]) -> list[Piece]:
        """Adds 1-D float32 audio at 16 kHz; what became complete."""
        self._audio = np.concatenate([self._audio, pcm])
        end = self._audio_start + len(self._audio)
        pieces: list[Piece] = []
        while (self.frames + 1) * FRAME_SAMPLES <= end:
            at = self.frames * FRAME_SAMPLES - self._audio_start
            voiced = self._activity.frame(self._audio[at : at + FRAME_SAMPLES])
            self.frames += 1
            self._step(voiced, pieces)
        keep_from = (self.frames - WINDOW_FRAMES - PAUSE_FRAMES) * FRAME_SAMPLES
        if keep_from > self._audio_start:
            self._audio = self._audio[keep_from - self._audio_start :].copy()
            self._audio_start = keep_from
        return pieces

    def finish(self) -> list[Piece]:
        """Ends the speech that is still open."""
        pieces: list[Piece] = []
        if self._start is not None:
            self._close(pieces)
        return pieces

    def _step(self, voiced: bool, pieces: list[Piece]) -> None:
        if voiced:
            if self._start is None:
                # the frames that had to be loud before the first is called voiced, and the margin; both and the margin
                # of the stretch before are less than a pause
                self._start = max(0, self.frames - 3 - MARGIN_FRAMES)
                self._cell_start = self._start
            self._voiced_end = self.frames
        if self._start is None:
            return
        if self.frames - self._voiced_end >= PAUSE_FRAMES:
            self._close(pieces)
        elif self.frames - self._cell_start >= CELL_FRAMES:
            # The silence that a pause may begin with belongs to the next cell, or to none.
            end = min(self.frames, self._voiced_end + MARGIN_FRAMES)
            self._cell(end, pieces, self.frames - self._start >= FIRST_WINDOW_FRAMES)

    def _close(self, pieces: list[Piece]) -> None:
        assert self._start is not None
        end = min(self.frames, self._voiced_end + MARGIN_FRAMES)
        if end > self._cell_start:
            whole = end - self._start
            rest = end - self._cell_start
            self._cell(end, pieces, whole >= LEAST_WINDOW_FRAMES and (rest >= CELL_FRAMES // 2 or whole < 80))
        self._start = None

    def _cell(self, end: int, pieces: list[Piece], with_window: bool) -> None:
        assert self._start is not None
        window_start = max(self._start, end - WINDOW_FRAMES)
        window = None
        if with_window:
            begin = window_start * FRAME_SAMPLES - self._audio_start
            window = self._audio[max(0, begin) : end * FRAME_SAMPLES - self._audio_start].copy()
        begins = self._cell_start == self._start
        pieces.append(Piece(self._cell_start, end, begins, window, window_start, self.frames))
        self._cell_start = end


def seconds_of(frames: int) -> float:
    """Frames of 10 ms in seconds."""
    return frames / FRAMES_PER_SECOND
