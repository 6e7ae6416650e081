"""The one thread that runs the model for all sessions: each round takes what waits in every lane through one
shared pass over the weights."""

from __future__ import annotations

import logging
import queue
import secrets
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from voxtral_edge._native import native_module
from voxtral_edge.audio import SAMPLE_RATE_HZ, PcmArray
from voxtral_edge.engine import Engine
from voxtral_edge.errors import AudioFormatError, UsageError, VoxtralEdgeError
from voxtral_edge.events import event_from_dict
from voxtral_edge.live_step import MOST_STEP_TOKENS, TOKEN_SAMPLES, round_tokens
from voxtral_edge.server.lane import Deliver, Failure, Lane, Mark, Step
from voxtral_edge.server.metrics import Metrics

log = logging.getLogger("voxtral_edge.server")

# Streams that are behind catch up in batches, which read the weights once for many tokens (`round_tokens`).
BATCH_TOKENS = MOST_STEP_TOKENS
RECENT_S = 2.0
# A live lane with so much waiting (0.4 s, more than clients send at a time) does not keep up. Files then stand
# back, but for one round in nine: their clients wait too, if not as impatiently.
LATE_TOKENS = 5
BACKGROUND_EVERY = 9
# The end of an utterance is some twenty tokens of padding, for whose text somebody waits: all ends together get
# so many rows. At the full-size shape a step of 53 ms takes 94 with four more rows, 136 with eight.
ENDING_TOKENS = 4
# A client that ends utterance after utterance gets them for one end in so many seconds, a tenth of the time.
ENDING_EVERY_S = 5.0

Work = tuple[Lane, PcmArray | None, Mark | None]  # neither audio nor mark: what the last round left over


@dataclass
class Round:
    """What every lane that may run has to do now, at most `tokens` of each in a pass; if nothing, when to look
    again."""

    work: list[Work] = field(default_factory=list)
    tokens: int = 1
    wait_s: float | None = None


class Scheduler:
    """Owns every core stream. All methods may be called from any thread."""

    def __init__(
        self, engine: Engine, metrics: Metrics, queued_events: int = 256, step_tokens: int = 1
    ) -> None:
        self._engine = engine
        self._metrics = metrics
        self._queued_events = queued_events
        self._step_tokens = step_tokens  # of live lanes
        self._changed = threading.Condition()
        self._lanes: list[Lane] = []
        self._stopping = False
        self._last_round = time.monotonic()
        self._in_round = False
        self._rounds_without_background = 0
        self._thread = threading.Thread(target=self._run, name="voxtral-scheduler", daemon=True)
        # Lanes whose stream must be made, renewed or freed.
        self._upkeep: queue.SimpleQueue[Lane | None] = queue.SimpleQueue()

    def start(self) -> None:
        """Starts the threads: the one that computes, and the one that makes and frees streams. One for all of
        them: glibc gives every thread a heap of its own, and freed memory would stay behind in each (demo model,
        30,000 short sessions with a thread per stream: 716 MB and growing)."""
        self._thread.start()
        # A daemon: a pass that hangs must not keep the process from ending.
        threading.Thread(target=self._keep_up, name="voxtral-upkeep", daemon=True).start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Ends the thread after the pass that runs; queued work is dropped."""
        self._upkeep.put(None)
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def alive(self, stuck_after_s: float = 30.0) -> bool:
        """Whether the thread runs, and no single pass has lasted longer than `stuck_after_s` (for
        watchdogs)."""
        stuck = self._in_round and time.monotonic() - self._last_round > stuck_after_s
        return self._thread.is_alive() and not stuck

    def open(
        self, name: str, delay_tokens: int, deliver: Deliver, bias: Any = None, background: bool = False
    ) -> Lane:
        """A new lane. `deliver` is called in the scheduler's thread with every step and must not block. The
        stream is made with the lane's first work. `background` lanes stand back while live ones are late."""
        lane = Lane(name, delay_tokens, deliver, bias, background, 1 if background else self._step_tokens)
        with self._changed:
            self._lanes.append(lane)
        return lane

    def close(self, lane: Lane) -> None:
        """Forgets a lane; a pass that runs is finished without delivering. Harmless if done twice."""
        with self._changed:
            lane.closed = True
            lane.queue.clear()
            lane.queued_samples = lane.queued_marks = 0
            if lane in self._lanes:
                self._lanes.remove(lane)
            if not lane.computing:
                self._upkeep.put(lane)
            self._changed.notify()

    def put(self, lane: Lane, *items: PcmArray | Mark) -> None:
        """Queues audio and marks for a lane, in order."""
        with self._changed:
            if lane.closed:
                return
            for item in items:
                if isinstance(item, Mark):
                    lane.put_mark(item)
                else:
                    lane.put_audio(item)
            self._changed.notify()

    def restart(self, lane: Lane) -> None:
        """Drops the queued audio of the open utterance and begins a new one."""
        with self._changed:
            lane.drop_open_utterance()
            if not lane.closed:
                lane.put_mark(Mark.RESTART)
            self._changed.notify()

    def taken(self, lane: Lane, events: int) -> None:
        """The client's side has taken `events` of the lane's delivered events."""
        with self._changed:
            lane.waiting_events -= events
            self._changed.notify()

    def lag_s(self) -> float:
        """The longest audio that waits in any lane, in seconds."""
        with self._changed:
            return max((lane.queued_samples for lane in self._lanes), default=0) / SAMPLE_RATE_HZ

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._stopping:
                    break
                following = self._collect()
                if not following.work:
                    self._changed.wait(following.wait_s)
                    continue
            self._last_round, self._in_round = time.monotonic(), True
            try:
                self._round(following)
            except Exception as error:  # whatever it was, the sessions of other rounds go on
                for lane, _, _ in following.work:
                    self._fail(lane, error)
            self._end_round(following)
        self._lanes.clear()

    def _end_round(self, round_: Round) -> None:
        with self._changed:
            self._in_round = False
            for lane, _, _ in round_.work:
                lane.computing = False
                if lane.closed:
                    self._upkeep.put(lane)

    def _collect(self) -> Round:
        now = time.monotonic()
        round_ = Round()
        failed: list[tuple[Lane, Exception]] = []
        most = self._batch_tokens(now)
        for lane in self._runnable(now, round_):
            lane.worked_at = now
            if lane.take_preparation():
                lane.preparing = True
                self._upkeep.put(lane)
                continue
            try:
                pcm, mark = lane.take(most * TOKEN_SAMPLES)
            except Exception as error:
                failed.append((lane, error))
                continue
            if mark is not None and now - lane.hurried_at >= ENDING_EVERY_S:
                lane.hurried, lane.hurried_at = True, now
            lane.computing = True
            round_.work.append((lane, pcm, mark))
        for lane, reason in failed:
            self._fail(lane, reason)
        if round_.work:
            self._metrics.lag.set(max(lane.queued_samples for lane in self._lanes) / SAMPLE_RATE_HZ)
            ending = sum(lane.hurried for lane, _, _ in round_.work)
            round_.tokens = max(most, ENDING_TOKENS // ending if ending else 1)
        return round_

    def _batch_tokens(self, now: float) -> int:
        # A lane that has just had audio will soon have more; one that has paused must not slow down a file.
        active = [lane for lane in self._lanes if lane.queue or lane.busy or now - lane.worked_at < RECENT_S]
        if len(active) <= 1:
            return BATCH_TOKENS
        live = [lane.queued_samples // TOKEN_SAMPLES for lane in active if not lane.background]
        return round_tokens(len(active), min(live, default=BATCH_TOKENS), self._step_tokens)

    def _keep_up(self) -> None:
        while self._keep_up_one():
            pass

    def _keep_up_one(self) -> bool:
        """Makes, renews or frees one stream; whether to go on. A method of its own: the lane must not live on in a
        variable while the thread waits for another."""
        lane = self._upkeep.get()
        if lane is None:
            return False
        if lane.closed:
            lane.stream = (
                None  # now, and not when the garbage collector comes by: it may hold hundreds of megabytes
            )
        else:
            self._prepare(lane)
        return True

    def _prepare(self, lane: Lane) -> None:
        """Makes a lane's stream, or resets it for the next utterance, beside the rounds of the others: at the
        full-size shape that touches 70 MB and takes 45 ms."""
        try:
            if lane.stream is None:
                options = {} if lane.bias is None else {"bias": lane.bias}
                lane.stream = self._engine.core_stream(lane.delay_tokens, keep_history=False, **options)
            else:
                lane.restart()
                self._deliver(lane, Step(utterance=lane.utterance))  # there is room for marks again
        except Exception as error:
            self._fail(lane, error)
        with self._changed:
            lane.preparing = False
            self._changed.notify()

    def _runnable(self, now: float, round_: Round) -> list[Lane]:
        """The lanes of this round; sets when to look again if one has to wait."""
        lanes: list[Lane] = []
        for lane in self._lanes:
            due_in = lane.due_in(now)
            if due_in is None or lane.waiting_events >= self._queued_events:
                continue
            if due_in <= 0:
                lanes.append(lane)
            else:
                round_.wait_s = due_in if round_.wait_s is None else min(round_.wait_s, due_in)
        late = any(
            lane.queued_samples >= LATE_TOKENS * TOKEN_SAMPLES and not lane.background for lane in lanes
        )
        self._rounds_without_background += 1
        if late and self._rounds_without_background < BACKGROUND_EVERY:
            return [lane for lane in lanes if not lane.background]
        self._rounds_without_background = 0
        return lanes

    def _round(self, round_: Round) -> None:
        begin = time.perf_counter()
        results = self._run_streams(round_.work, round_.tokens)
        seconds = time.perf_counter() - begin
        steps: list[tuple[Lane, Step]] = []
        new_tokens: list[int] = []
        for (lane, pcm, mark), result in zip(round_.work, results, strict=True):
            try:
                if isinstance(result, Exception):
                    raise result
                before = lane.generated_tokens
                step = self._step(lane, pcm, mark, result, seconds)
                new_tokens.append(lane.generated_tokens - before)
                if step is not None:
                    steps.append((lane, step))
            except Exception as error:
                self._fail(lane, error)
        if max(new_tokens, default=0) > 0:
            # A step is one token of every stream in the pass; a catching-up stream makes several.
            self._metrics.observe_round(seconds, max(new_tokens), sum(new_tokens), len(new_tokens))
        for lane, step in steps:
            self._deliver(lane, step)

    def _run_streams(self, work: list[Work], tokens: int) -> list[Any]:
        """Event dicts, or the exception, of each piece of work."""
        items = [(lane.stream, pcm, _action(lane, pcm, mark)) for lane, pcm, mark in work]
        try:
            return self._run_native(items, tokens)
        except (UsageError, AudioFormatError) as error:
            # Refused before anything ran: find out whose fault it is.
            return [error] if len(items) == 1 else [self._run_streams([piece], tokens)[0] for piece in work]
        except Exception as error:
            # Somewhere in a shared pass: no stream in it can be trusted any more.
            return [error] * len(items)

    def _run_native(self, items: list[tuple[Any, PcmArray | None, str]], tokens: int) -> list[Any]:
        """One round: audio that arrives while it runs joins the next, whatever is left of long work."""
        return list(native_module().run_streams(items, max_rounds=1, max_tokens=tokens))

    def _step(
        self,
        lane: Lane,
        pcm: PcmArray | None,
        mark: Mark | None,
        events: list[dict[str, Any]],
        seconds: float,
    ) -> Step | None:
        """What a round brought a lane; None in the middle of a flush, whose words are told together: the
        silence it inserts belongs to no moment of the recording until it is complete."""
        lane.heard_samples += 0 if pcm is None else len(pcm)
        lane.generated_tokens = int(lane.stream.stats()["generated_tokens"])
        lane.busy = lane.stream.busy
        lane.running = mark or lane.running
        if lane.busy and lane.running is Mark.FLUSH:
            lane.held += events
            lane.held_s += seconds
            return None
        ended = None if lane.busy else lane.running
        step = Step(
            events=[event_from_dict(values) for values in [*lane.held, *events]],
            first_token=lane.delivered_tokens,
            generated_tokens=lane.generated_tokens,
            utterance=lane.utterance,
            heard_s=lane.heard_samples / SAMPLE_RATE_HZ,
            seconds=lane.held_s + seconds,
            flushed=ended is Mark.FLUSH,
            finished=ended is Mark.FINISH,
        )
        lane.delivered_tokens = lane.generated_tokens
        lane.held, lane.held_s = [], 0.0
        if not lane.busy:
            lane.running, lane.hurried = None, False
        return step

    def _deliver(self, lane: Lane, step: Step) -> None:
        with self._changed:
            if lane.closed:
                return
            lane.waiting_events += len(step.events)
        try:
            lane.deliver(step)
        except Exception as error:
            self._fail(lane, error)

    def _fail(self, lane: Lane, error: Exception) -> None:
        """Ends one lane; the others go on. Harmless for one that has ended."""
        if lane.closed:
            return
        error_id = "err_" + secrets.token_hex(6)
        log.error("session %s failed, error id %s", lane.name, error_id, exc_info=error)
        self._metrics.failures.inc()
        known = isinstance(error, (VoxtralEdgeError, MemoryError))
        message = str(error) or type(error).__name__ if known else "internal error"
        self.close(lane)
        try:
            lane.deliver(Step(failure=Failure(error_id, message)))
        except Exception:
            log.exception("session %s could not be told of %s", lane.name, error_id)


def _action(lane: Lane, pcm: PcmArray | None, mark: Mark | None) -> str:
    """Files are decoded in full passes: their last tokens wait for the next block."""
    if pcm is not None:
        return "feed_more" if lane.background else "feed"
    return mark.value if mark else "resume"
