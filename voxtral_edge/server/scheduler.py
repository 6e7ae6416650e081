"""The one thread that runs the model for all sessions: each round takes what waits in every lane through one
shared pass over the weights."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from typing import Any

from voxtral_edge._native import native_module
from voxtral_edge.audio import SAMPLE_RATE_HZ, PcmArray
from voxtral_edge.engine import Engine
from voxtral_edge.errors import AudioFormatError, UsageError, VoxtralEdgeError
from voxtral_edge.events import event_from_dict
from voxtral_edge.server.lane import Deliver, Failure, Lane, Mark, Step
from voxtral_edge.server.metrics import Metrics

log = logging.getLogger("voxtral_edge.server")

SAMPLES_PER_TOKEN = 1280
# Streams that are behind catch up in batches, which read the weights once for many tokens. But a round takes
# no more of any stream than the one that is least behind has: a file must not hold up a microphone for eight
# steps.
BATCH_TOKENS = 8
RECENT_S = 2.0
# The end of an utterance runs the padding, some twenty tokens, in one pass. A client that ends utterance
# after utterance may have this part of the time; with other sessions open, its next end waits.
MARK_SHARE = 0.1

Work = tuple[Lane, PcmArray | None, Mark | None]


class Scheduler:
    """Owns every core stream. All methods may be called from any thread."""

    def __init__(self, engine: Engine, metrics: Metrics, queued_events: int = 256) -> None:
        self._engine = engine
        self._metrics = metrics
        self._queued_events = queued_events
        self._changed = threading.Condition()
        self._lanes: list[Lane] = []
        self._stopping = False
        self._last_round = time.monotonic()
        self._in_round = False
        self._thread = threading.Thread(target=self._run, name="voxtral-scheduler", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Ends the thread after the pass that runs; queued work is dropped."""
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

    def open(self, name: str, delay_tokens: int, deliver: Deliver, bias: Any = None) -> Lane:
        """A new lane. `deliver` is called in the scheduler's thread with every step and must not block. The
        stream is made with the lane's first work."""
        lane = Lane(name, delay_tokens, deliver, bias)
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
                work, wait_s = self._collect()
                if not work and not self._stopping:
                    self._changed.wait(wait_s)
                    continue
                if self._stopping:
                    break
            self._last_round, self._in_round = time.monotonic(), True
            try:
                self._round(work)
            except Exception as error:  # whatever it was, the sessions of other rounds go on
                for lane, _, _ in work:
                    self._fail(lane, error)
            self._in_round = False
        self._lanes.clear()

    def _collect(self) -> tuple[list[Work], float | None]:
        """What every lane that may run has to do now; and if nothing, when to look again."""
        now = time.monotonic()
        work: list[Work] = []
        failed: list[tuple[Lane, Exception]] = []
        wait_s: float | None = None
        # A lane that has just had audio will soon have more; one that has paused must not slow down a file.
        active = [lane for lane in self._lanes if lane.queue or now - lane.worked_at < RECENT_S]
        alone = len(active) <= 1
        most = BATCH_TOKENS * SAMPLES_PER_TOKEN
        if not alone:
            behind = min(lane.queued_samples for lane in active) // SAMPLES_PER_TOKEN
            most = max(1, min(BATCH_TOKENS // len(active), behind)) * SAMPLES_PER_TOKEN
        for lane in self._lanes:
            due_in = lane.due_in(now, alone)
            if due_in is None or lane.waiting_events >= self._queued_events:
                continue
            if due_in > 0:
                wait_s = due_in if wait_s is None else min(wait_s, due_in)
                continue
            lane.worked_at = now
            try:
                work.append((lane, *lane.take(most)))
            except Exception as error:
                failed.append((lane, error))
        for lane, reason in failed:
            self._fail(lane, reason)
        if work:
            self._metrics.lag.set(max(lane.queued_samples for lane in self._lanes) / SAMPLE_RATE_HZ)
        return work, wait_s

    def _round(self, work: list[Work]) -> None:
        ready: list[Work] = []
        for lane, pcm, mark in work:
            try:
                if lane.stream is None:
                    options = {} if lane.bias is None else {"bias": lane.bias}
                    lane.stream = self._engine.core_stream(lane.delay_tokens, keep_history=False, **options)
                if mark is Mark.RESTART:
                    lane.stream.reset()
                    lane.generated_tokens = lane.heard_samples = 0
                    lane.utterance += 1
                    self._deliver(lane, Step(utterance=lane.utterance))  # there is room for marks again
                else:
                    ready.append((lane, pcm, mark))
            except Exception as error:
                self._fail(lane, error)
        if not ready:
            return
        begin = time.perf_counter()
        results = self._run_streams(ready)
        seconds = time.perf_counter() - begin
        steps = []
        for (lane, pcm, mark), result in zip(ready, results, strict=True):
            try:
                if isinstance(result, Exception):
                    raise result
                steps.append((lane, self._step(lane, pcm, mark, result, seconds)))
                if mark is not None:
                    lane.marks_from = time.monotonic() + seconds * (1 / MARK_SHARE - 1)
            except Exception as error:
                self._fail(lane, error)
        self._observe(seconds, [step for _, step in steps])
        for lane, step in steps:
            self._deliver(lane, step)

    def _run_streams(self, work: list[Work]) -> list[Any]:
        """Event dicts, or the exception, of each piece of work."""
        items = [(lane.stream, pcm, mark.value if mark else "feed") for lane, pcm, mark in work]
        try:
            return self._run_native(items)
        except (UsageError, AudioFormatError) as error:
            # Refused before anything ran: find out whose fault it is.
            return [error] if len(items) == 1 else [self._run_streams([piece])[0] for piece in work]
        except Exception as error:
            # Somewhere in a shared pass: no stream in it can be trusted any more.
            return [error] * len(items)

    def _run_native(self, items: list[tuple[Any, PcmArray | None, str]]) -> list[Any]:
        return list(native_module().run_streams(items))

    def _step(
        self,
        lane: Lane,
        pcm: PcmArray | None,
        mark: Mark | None,
        events: list[dict[str, Any]],
        seconds: float,
    ) -> Step:
        lane.heard_samples += 0 if pcm is None else len(pcm)
        before = lane.generated_tokens
        lane.generated_tokens = int(lane.stream.stats()["generated_tokens"])
        return Step(
            events=[event_from_dict(values) for values in events],
            first_token=before,
            generated_tokens=lane.generated_tokens,
            utterance=lane.utterance,
            heard_s=lane.heard_samples / SAMPLE_RATE_HZ,
            seconds=seconds,
            flushed=mark is Mark.FLUSH,
            finished=mark is Mark.FINISH,
        )

    def _observe(self, seconds: float, steps: list[Step]) -> None:
        """A step is one token of every stream in the pass; a catching-up stream makes several."""
        new = [step.generated_tokens - step.first_token for step in steps]
        if max(new, default=0) > 0:
            self._metrics.observe_round(seconds, max(new), sum(new), len(new))

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
        lane.stream = None
        try:
            lane.deliver(Step(failure=Failure(error_id, message)))
        except Exception:
            log.exception("session %s could not be told of %s", lane.name, error_id)
