"""One session's end in the scheduler: what waits to be computed, and the stream that computes it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, cast

import numpy as np

from voxtral_edge.audio import PcmArray
from voxtral_edge.events import Event

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
    seconds           how long the pass took, for all lanes together
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
    """State of one stream. Every field is guarded by the scheduler's lock, but `stream` and the counters of
    the current utterance, which belong to the scheduler's thread."""

    name: str
    delay_tokens: int
    deliver: Deliver
    bias: Any = None  # native prefix tree of hotwords
    queue: deque[PcmArray | tuple[Mark, float]] = field(default_factory=deque)
    queued_samples: int = 0
    queued_marks: int = 0
    waiting_events: int = 0  # delivered, not yet taken by the client's side
    worked_at: float = 0.0  # time.monotonic() of the last piece of work
    marks_from: float = 0.0  # time.monotonic() before which no mark runs while other lanes are open
    closed: bool = False
    stream: Any = None
    utterance: int = 0
    generated_tokens: int = 0
    heard_samples: int = 0

    def put_audio(self, pcm: PcmArray) -> None:
        """Queues samples."""
        if len(pcm):
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

    def due_in(self, now: float, alone: bool) -> float | None:
        """Seconds until there is something to do; 0 or less: now; None: nothing waits."""
        if not self.queue:
            return None
        head = self.queue[0]
        if not isinstance(head, tuple) or head[0] is Mark.RESTART:
            return 0.0
        wait_s = 0.0 if alone else self.marks_from - now
        if head[0] is Mark.FLUSH and len(self.queue) == 1:
            wait_s = max(wait_s, head[1] - now)
        return wait_s

    def take(self, max_samples: int) -> tuple[PcmArray | None, Mark | None]:
        """The next piece of work: audio of at most `max_samples`, or a mark. A flush right before an end is
        skipped."""
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
        return taken, None
