"""Prometheus metrics, in a registry of their own."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from voxtral_edge.live_step import TOKEN_S

STEP_BUCKETS_S = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64)


class Metrics:
    """What `/metrics` shows. Every name begins with voxtral_edge_; the process's memory comes from the client
    library as process_resident_memory_bytes."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.step = Histogram(
            "voxtral_edge_step_seconds",
            "Seconds per 80 ms step: one pass of all streams, divided by the tokens it made per stream",
            buckets=STEP_BUCKETS_S,
            registry=self.registry,
        )
        self.streams = Histogram(
            "voxtral_edge_streams_per_pass",
            "Streams that shared a pass over the weights",
            buckets=(1, 2, 4, 8, 16, 32),
            registry=self.registry,
        )
        self.misses = self._counter("deadline_misses", "Steps that took longer than 80 ms")
        self.tokens = self._counter("tokens", "Generated tokens, 80 ms of audio each")
        self.audio = self._counter("audio_seconds", "Audio received, in seconds")
        self.lag = self._gauge("lag_seconds", "The longest audio waiting for the engine in any session")
        self.sessions = Gauge("voxtral_edge_sessions", "Open sessions", ["protocol"], registry=self.registry)
        self.opened = Counter(
            "voxtral_edge_sessions_opened", "Sessions opened", ["protocol"], registry=self.registry
        )
        self.rejected = Counter(
            "voxtral_edge_rejected", "Connections and requests refused", ["reason"], registry=self.registry
        )
        self.failures = self._counter("failures", "Sessions that ended with an internal error")

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(f"voxtral_edge_{name}", text, registry=self.registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"voxtral_edge_{name}", text, registry=self.registry)

    def observe_round(self, seconds: float, steps: int, tokens: int, streams: int) -> None:
        """One pass that made at most `steps` tokens per stream and `tokens` in all, for `streams` streams."""
        per_step = seconds / steps
        self.step.observe(per_step)
        self.streams.observe(streams)
        self.tokens.inc(tokens)
        if per_step > TOKEN_S:
            self.misses.inc()

    def text(self) -> bytes:
        """Everything, in Prometheus's text format."""
        return generate_latest(self.registry)
