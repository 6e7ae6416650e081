"""Online diarisation: audio in, speaker turns out, revised while they are young."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from voxtral_edge.audio import as_floats, as_pcm
from voxtral_edge.diarize.cells import Cell, cell_scores, one_voice, thinned
from voxtral_edge.diarize.clustering import group_windows
from voxtral_edge.diarize.embedder import OnnxEmbedder, SpeakerEmbedder
from voxtral_edge.diarize.segments import FIRST_WINDOW_FRAMES, FRAMES_PER_SECOND, Piece, Segmenter, seconds_of
from voxtral_edge.diarize.sequence import best_sequence
from voxtral_edge.diarize.speakers import Speakers
from voxtral_edge.diarize.tuning import Tuning
from voxtral_edge.diarize.turns import Turn, joined_turns, speaker_of
from voxtral_edge.diarize.voiceprints import Voiceprints
from voxtral_edge.diarize.voicing import is_voice
from voxtral_edge.errors import UsageError
from voxtral_edge.events import SpeakerEvent

# No more voices than this are told apart with "auto"; a bound on memory, not a recommendation.
MOST_SPEAKERS = 32
DEFAULT_REVISABLE_S = 90.0
# Silence inside a turn: shorter pauses do not end it.
TURN_GAP_S = 0.5
# A word whose time falls into silence is given to a speaker at most this far away.
WORD_REACH_S = 2.0


class OnlineDiarizer:
    """Who speaks when, in one stream of audio.

    speakers     "auto", or the largest number of speakers there can be (1 to 32)
    embedder     None: the bundled one (needs onnxruntime)
    voiceprints  known speakers, who are called by their names; others are S1, S2 … in order of appearance
    revisable_s  labels may change while they are younger than this, then they are final: 10 to 600 s

    Feed audio; each call returns the `SpeakerEvent`s that became known. The result is the same however the audio is
    divided. Memory is bounded: a few hundred vectors and two seconds of audio; final turns are not kept.
    One voice at a time: where people talk at once, one of them is named.
    """

    def __init__(
        self,
        speakers: int | str = "auto",
        embedder: SpeakerEmbedder | None = None,
        voiceprints: Voiceprints | None = None,
        revisable_s: float = DEFAULT_REVISABLE_S,
        tuning: Tuning | None = None,
    ) -> None:
        self.limit = parse_speakers(speakers)
        if not 10.0 <= revisable_s <= 600.0:
            raise UsageError(f"revisable_s is {revisable_s!r}; choose 10 to 600 seconds")
        self.embedder: SpeakerEmbedder = OnnxEmbedder() if embedder is None else embedder
        if voiceprints is not None:
            voiceprints.check(self.embedder.name)
        self._voiceprints = voiceprints
        self._tuning = tuning or Tuning()
        margin = 0.0 if speakers == "auto" else self._tuning.fixed_margin
        self._same_speaker = self.embedder.same_speaker + margin
        self._revisable_frames = round(revisable_s * FRAMES_PER_SECOND)
        self._segmenter = Segmenter()
        self.reset()

    def reset(self) -> None:
        """Forgets the audio and its speakers; voiceprints stay."""
        self._segmenter.reset()
        self._speakers = Speakers(self._voiceprints.voices() if self._voiceprints else {})
        self._cells: list[Cell] = []
        self._windows = 0
        self._last_final: int | None = None  # speaker of the last final cell, who talks since this frame
        self._since = 0
        self._pending: Turn | None = None

    @property
    def heard_s(self) -> float:
        """Seconds of audio that were judged."""
        return seconds_of(self._segmenter.frames)

    def feed(self, pcm: NDArray[np.float32] | NDArray[np.int16]) -> list[SpeakerEvent]:
        """Adds 16 kHz mono audio (float32 in [-1, 1) or int16). Returns turns that began, changed or became final."""
        events: list[SpeakerEvent] = []
        for piece in self._segmenter.feed(_floats(pcm)):
            self._take(piece, events)
        self._freeze(self._segmenter.frames - self._revisable_frames, events)
        return events

    def finish(self) -> list[SpeakerEvent]:
        """Ends the audio: everything becomes final."""
        events: list[SpeakerEvent] = []
        for piece in self._segmenter.finish():
            self._take(piece, events)
        for _ in range(
            2 if self._cells else 0
        ):  # the second time without windows that the first found to be mixed
            self._cluster(listening=False)
            self._label()
        self._freeze(self._segmenter.frames + 1, events)
        if self._pending is not None:
            events.append(_event(self._pending, final=True))
            self._pending = None
        return events

    def turns(self) -> list[Turn]:
        """The turns that may still change, as they are labelled now."""
        return joined_turns((self._turn(cell) for cell in self._cells if cell.label >= 0), TURN_GAP_S)

    def speaker_at(self, start: float, end: float) -> str | None:
        """Who speaks between two times (seconds) of the last seconds, as far as known now; None before the first
        voice was told."""
        turns = [self._turn(cell) for cell in self._cells[-64:] if cell.label >= 0]
        if self._pending is not None:
            turns.insert(0, self._pending)
        return speaker_of(turns, start, end, WORD_REACH_S)

    def _turn(self, cell: Cell) -> Turn:
        return Turn(seconds_of(cell.start), seconds_of(cell.end), self._speakers.name(cell.label))

    def _take(self, piece: Piece, events: list[SpeakerEvent]) -> None:
        # What is too old at this moment is frozen first, so that the size of a call changes nothing.
        self._freeze(piece.heard - self._revisable_frames, events)
        vector = None
        if piece.window is not None:
            if is_voice(piece.window):
                vector = self.embedder.embed(piece.window)
            elif piece.end - piece.window_start >= FIRST_WINDOW_FRAMES:
                return  # music, a machine; one cell that is left out of speech is bridged
        self._cells.append(Cell(piece.start, piece.end, piece.begins, piece.window_start, vector))
        if vector is None:
            return
        self._windows += 1
        if self._windows % self._tuning.cluster_every == 0 or not self._speakers.young:
            self._cluster(listening=True)
        self._label()
        self._report(events)

    def _recent_from(self) -> int:
        """The frame from which on a voice may be a new speaker's first words."""
        return self._cells[-1].end - round(self._tuning.tentative_s * FRAMES_PER_SECOND)

    def _cluster(self, listening: bool) -> None:
        """Groups the windows that can still be revised, and finds out which group is which speaker. `listening`: more
        speech may follow."""
        tuning, recent_from = self._tuning, self._recent_from()
        heard = [cell for cell in self._cells if cell.vector is not None]
        least = tuning.full_seconds
        long = [
            cell for cell in heard if cell.window_seconds >= (least if cell.end <= recent_from else least / 2)
        ]
        windows = thinned(one_voice(self._cells, long) or long or heard)
        if not windows:
            return
        self._speakers.reunite(self._same_speaker, tuning.reunion_seconds)
        vectors = np.stack([cell.vector for cell in windows if cell.vector is not None])
        seconds = [min(cell.window_seconds, 0.8) for cell in windows]  # a second one overlaps the rest of it
        known = self._speakers.known_voices(tuning.memory_seconds)
        recent = [index for index, cell in enumerate(windows) if listening and cell.end > recent_from]
        groups = group_windows(
            vectors,
            seconds,
            known[1],
            self._same_speaker,
            limit=self.limit,
            least_seconds=tuning.least_seconds,
            tentative=recent,
        )
        same_as_enrolled = self.embedder.same_speaker - tuning.enrolled_margin
        self._speakers.regroup(groups, vectors, seconds, known, same_as_enrolled, windows, self._cells)

    def _label(self) -> None:
        """Labels every revisable cell by the likeliest sequence of speakers. A new speaker who is left with next to
        nothing was a group of odd windows (two voices in one, a cough), and is dropped."""
        self._label_once()
        speakers, recent_from = self._speakers, self._recent_from()
        for number in [number for number in speakers.young if number not in speakers.known]:
            cells = [cell for cell in self._cells if cell.label == number]
            old = bool(cells) and cells[0].end < recent_from
            if (
                old
                and len(speakers.young) > 1
                and sum(c.seconds for c in cells) < self._tuning.least_labelled_s
            ):
                del speakers.young[number]
                self._label_once()

    def _label_once(self) -> None:
        young, tuning = self._speakers.young, self._tuning
        if not young:
            return
        numbers = sorted(young)
        scores = cell_scores(self._cells, np.stack([young[number].direction for number in numbers]))
        costs = np.array([tuning.pause_switch_cost if c.begins else tuning.switch_cost for c in self._cells])
        before = numbers.index(self._last_final) if self._last_final in young else None
        for cell, row in zip(self._cells, best_sequence(scores, costs, before), strict=True):
            cell.label = numbers[row]

    def _report(self, events: list[SpeakerEvent]) -> None:
        """Events for turns that began or whose label is not what was said before."""
        run: list[Cell] = []
        for cell in self._cells:
            if run and (cell.label != run[-1].label or seconds_of(cell.start - run[-1].end) > TURN_GAP_S):
                self._report_run(run, events)
                run = []
            run.append(cell)
        self._report_run(run, events)

    def _report_run(self, run: list[Cell], events: list[SpeakerEvent]) -> None:
        changed = [cell for cell in run if cell.reported != cell.label]
        # More speech of a turn that was reported is no news.
        news = [cell for cell in changed if cell.reported >= 0 or cell is run[0]]
        for cell in run:
            cell.reported = cell.label
        if news:
            turn = self._turn(run[0])
            events.append(_event(Turn(turn.start, seconds_of(run[-1].end), turn.speaker), final=False))

    def _freeze(self, before_frame: int, events: list[SpeakerEvent]) -> None:
        """Makes cells that end before a frame final."""
        while self._cells and self._cells[0].end < before_frame:
            cell = self._cells[0]
            if cell.label >= 0:
                if cell.label != self._last_final:
                    self._last_final, self._since = cell.label, cell.start
                # A window that reaches back to the speaker before is a mixture of two voices.
                self._speakers.remember(cell, cell.window_start >= self._since, self._tuning)
                self._extend(self._turn(cell), events)
            del self._cells[0]

    def _extend(self, turn: Turn, events: list[SpeakerEvent]) -> None:
        """Joins final speech to the pending turn, or reports that and begins another. Long turns are reported in
        parts of at most the revisable window."""
        pending = self._pending
        if pending is not None:
            long = turn.end - pending.start > seconds_of(self._revisable_frames)
            if pending.speaker == turn.speaker and turn.start - pending.end <= TURN_GAP_S and not long:
                self._pending = Turn(pending.start, turn.end, turn.speaker)
                return
            events.append(_event(pending, final=True))
        self._pending = turn


def parse_speakers(value: int | str) -> int:
    """The largest number of speakers: of "auto", or a number from 1 to 32 as int or text. UsageError otherwise."""
    if value == "auto":
        return MOST_SPEAKERS
    try:
        number = int(value) if not isinstance(value, (bool, float)) else 0
    except (TypeError, ValueError):
        number = 0
    if not 1 <= number <= MOST_SPEAKERS:
        raise UsageError(f"speakers is {value!r}; pass auto, or a number from 1 to {MOST_SPEAKERS}")
    return number


def _event(turn: Turn, final: bool) -> SpeakerEvent:
    return SpeakerEvent(turn.start, turn.end, turn.speaker, final)


def _floats(pcm: NDArray[np.float32] | NDArray[np.int16]) -> NDArray[np.float32]:
    """Samples as float32; NaN and infinity as silence, as the transcriber takes them."""
    floats = as_floats(as_pcm(pcm))
    finite = np.isfinite(floats)
    return floats if finite.all() else np.where(finite, floats, np.float32(0))
