"""One session's end in the scheduler: what waits to be computed, and the stream that computes it."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, cast

import numpy as np

from voxtral_edge.audio import PcmArray
from voxtral_edge.events import Event
from voxtral_edge.live_step import TOKEN_MS, TOKEN_SAMPLES

# Clients say "flush" and then "end" in two messages. Within this time the flush waits for its end, which
# makes it needless: silence inserted by a flush just before the end would make the model hear a longer pause
# than the recording has. Far below what a listener notices.
FLUSH_GRACE_S = 0.2


class Mark(Enum):
    """What may stand between two pieces of audio."""

    FLUSH = "flush"  # bring out the words behind the delay; the stream goes on
    FINISH = "finish"  # the end of an utterance: last words, then a final step
    RESTART = "reset"  # a new utterance on the same stream


@dataclass(frozen=True)
class Failure:
    """Why a session ended: `error_id` stands in the server's log beside the traceback."""

    error_id: str
    message: str


@dataclass
class Step:
    """What one pass gave one lane.

    events            in the order of the stream
    first_token, generated_tokens   tokens of this utterance before and after the pass (80 ms each)
    utterance         counts restarts
    heard_s           audio of this utterance that the model has been given, in seconds
    seconds           how long the pass took, for all lanes together; for a flush all of its passes
    flushed           silence was inserted to bring out the words behind the delay
    finished          the utterance is complete: no more events until a restart
    failure           the lane is dead
    """

    events: list[Event] = field(default_factory=list)
    first_token: int = 0
    generated_tokens: int = 0
    utterance: int = 0
    heard_s: float = 0.0
    seconds: float = 0.0
    flushed: bool = False
    finished: bool = False
    failure: Failure | None = None


Deliver = Callable[[Step], None]


@dataclass
class Lane:
    """State of one stream. Every field is guarded by the scheduler's lock, but those from `stream` on, which
    belong to the scheduler's thread while `computing` is set, and otherwise to its thread for upkeep."""

    name: str
    delay_tokens: int
    deliver: Deliver
    bias: Any = None  # native prefix tree of hotwords
    background: bool = False  # a file: nobody is listening while it is decoded
    step_tokens: int = 1  # audio waits until it is so long, or has waited for so long
    queue: deque[PcmArray | tuple[Mark, float]] = field(default_factory=deque)
    queued_samples: int = 0
    audio_since: float = 0.0  # time.monotonic() since when audio waits
    queued_marks: int = 0
    waiting_events: int = 0  # delivered, not yet taken by the client's side
    hurried: bool = False  # its end is given more rows
    hurried_at: float = -math.inf  # time.monotonic() when that was last begun
    worked_at: float = 0.0  # time.monotonic() of the last piece of work
    closed: bool = False
    preparing: bool = False
    computing: bool = False  # a round works with the stream
    stream: Any = None
    busy: bool = False  # a round has left the stream's action unfinished
    running: Mark | None = None  # the mark that is this action
    held: list[dict[str, Any]] = field(default_factory=list)  # events of a flush that is not complete
    held_s: float = 0.0
    utterance: int = 0
    generated_tokens: int = 0
    delivered_tokens: int = 0
    heard_samples: int = 0

    def put_audio(self, pcm: PcmArray) -> None:
        """Queues samples."""
        if len(pcm):
            if self.queued_samples == 0:
                self.audio_since = time.monotonic()
            self.queue.append(pcm)
            self.queued_samples += len(pcm)

    def put_mark(self, mark: Mark) -> None:
        """Queues a mark; FLUSH becomes due after its grace, and is needless right behind another one."""
        last = self.queue[-1] if self.queue else None
        if mark is Mark.FLUSH and isinstance(last, tuple) and last[0] is Mark.FLUSH:
            return
        self.queued_marks += 1
        self.queue.append((mark, time.monotonic() + (FLUSH_GRACE_S if mark is Mark.FLUSH else 0.0)))

    def drop_open_utterance(self) -> None:
        """Forgets queued audio and marks back to the last restart that is queued."""
        while self.queue:
            last = self.queue[-1]
            if isinstance(last, tuple):
                if last[0] is Mark.RESTART:
                    break
                self.queued_marks -= 1
            else:
                self.queued_samples -= len(last)
            self.queue.pop()

    def take_preparation(self) -> bool:
        """Whether the stream must be made, or made fresh, before the next piece of work; takes that mark."""
        if self.stream is None:
            return True
        head = self.queue[0] if self.queue and not self.busy else None
        if not isinstance(head, tuple) or head[0] is not Mark.RESTART:
            return False
        self.queue.popleft()
        self.queued_marks -= 1
        return True

    def restart(self) -> None:
        """Begins the next utterance; no action is unfinished (`take_preparation`)."""
        self.stream.reset()
        self.generated_tokens = self.delivered_tokens = self.heard_samples = 0
        self.utterance += 1

    def due_in(self, now: float) -> float | None:
        """Seconds until there is something to do; 0 or less: now; None: nothing waits."""
        if self.preparing:
            return None
        if self.busy:
            return 0.0
        if not self.queue:
            return None
        head = self.queue[0]
        if isinstance(head, tuple) and head[0] is Mark.FLUSH and len(self.queue) == 1:
            return head[1] - now
        if (
            self.step_tokens > 1
            and self.queued_marks == 0
            and self.queued_samples < self.step_tokens * TOKEN_SAMPLES
        ):
            return self.audio_since + self.step_tokens * TOKEN_MS / 1000 - now
        return 0.0

    def take(self, max_samples: int) -> tuple[PcmArray | None, Mark | None]:
        """The next piece of work: audio of at most `max_samples`, or a mark, or neither: what a round has left
        unfinished. A flush right before an end is skipped."""
        if self.busy:
            return None, None
        head = self.queue[0]
        if isinstance(head, tuple):
            self.queue.popleft()
            self.queued_marks -= 1
            following = self.queue[0] if self.queue else None
            if head[0] is Mark.FLUSH and isinstance(following, tuple) and following[0] is Mark.FINISH:
                self.queue.popleft()
                self.queued_marks -= 1
                return None, Mark.FINISH
            return None, head[0]
        pieces: list[PcmArray] = []
        wanted = max_samples
        while self.queue and wanted > 0:
            piece = self.queue[0]
            # int16 and float32 pieces cannot be joined without copying; a stream never mixes them but at a
            # rate change.
            if isinstance(piece, tuple) or (pieces and piece.dtype != pieces[0].dtype):
                break
            if len(piece) > wanted:
                self.queue[0] = piece[wanted:]
                piece = piece[:wanted]
            else:
                self.queue.popleft()
            pieces.append(piece)
            wanted -= len(piece)
        taken = pieces[0] if len(pieces) == 1 else cast(PcmArray, np.concatenate(pieces))
        self.queued_samples -= len(taken)
        self.audio_since = time.monotonic()
        return taken, None
