"""One contestant of `peers.py`, in a process of its own that stays loaded and waits for its turn.

Reads one JSON object per line on standard input and answers with one per line:

    {"op": "live", "steps": 25}      -> {"step_ms": [...]}     80 ms feeds on a stream that stays open
    {"op": "file", "seconds": 10}    -> {"wall_s": …, "audio_s": …}
    {"op": "quit"}

Runs under the contestant's own Python: it needs numpy and the contestant, nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from typing import Any, Protocol

import numpy as np

STEP_SAMPLES, RATE_HZ = 1280, 16000


class Contestant(Protocol):
    """What a contestant can do; `about` names version and settings."""

    about: dict[str, Any]

    def feed(self, pcm: np.ndarray) -> None:
        """80 ms of a live stream; returns when the text they brought is known."""

    def transcribe(self, pcm: np.ndarray) -> None:
        """A whole recording with a fresh stream or session."""


class VoxtralEdge:
    """This project; engine "native" or "onnxruntime"."""

    def __init__(
        self, model: str, engine: str, threads: int, delay_tokens: int, replayed_ids: list[int]
    ) -> None:
        import voxtral_edge as ve
        from voxtral_edge.stream import Stream

        self._engine = ve.load(model, engine=engine, threads=threads)
        self._delay_ms = delay_tokens * 80
        self._new_stream = lambda: Stream(
            self._engine.core_stream(delay_tokens, replayed_ids=replayed_ids), self._delay_ms
        )
        self._stream = self._new_stream()
        # Completes the look-ahead of the first token, so that every feed of 80 ms decodes exactly one.
        self._stream.feed(np.zeros(40, np.float32))
        self.about = {
            "version": ve.__version__,
            **{k: v for k, v in self._engine.info().items() if k != "directory"},
        }

    def feed(self, pcm: np.ndarray) -> None:
        self._stream.feed(pcm)

    def transcribe(self, pcm: np.ndarray) -> None:
        with self._new_stream() as stream:
            for begin in range(0, len(pcm), 16 * STEP_SAMPLES):
                stream.feed(pcm[begin : begin + 16 * STEP_SAMPLES], more=True)
            stream.finish()


class TranscribeCpp:
    """transcribe.cpp through its Python wheel, on its CPU backend, decoding after every feed."""

    def __init__(self, model: str, threads: int, delay_tokens: int) -> None:
        import transcribe_cpp

        self._model = transcribe_cpp.Model(model, backend="cpu")
        self._file_session = self._model.session(n_threads=threads)
        self._options = transcribe_cpp.VoxtralRealtimeStreamOptions(
            num_delay_tokens=delay_tokens, min_decode_interval_ms=0
        )
        self._live_session = self._model.session(n_threads=threads)
        self._stream: Any = None
        self.about = {
            "version": transcribe_cpp.__version__,
            "backend": self._model.backend,
            "threads": threads,
        }

    def feed(self, pcm: np.ndarray) -> None:
        if self._stream is None:
            self._stream = self._live_session.stream(family=self._options)
        self._stream.feed(pcm)

    def transcribe(self, pcm: np.ndarray) -> None:
        if self._stream is not None:  # one stream per model at a time
            self._stream.reset()
            self._stream = None
        self._file_session.run(pcm)


def main() -> None:
    parser = argparse.ArgumentParser(description="one contestant of peers.py")
    parser.add_argument("kind", choices=("native", "onnxruntime", "transcribe-cpp"))
    parser.add_argument("model")
    parser.add_argument("audio", help=".npy of float32 at 16 kHz")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--delay-tokens", type=int, default=6)
    parser.add_argument("--replayed-ids", help=".npy of token ids to take in place of the model's own")
    args = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # a library that prints must not garble the answers
    audio = np.load(args.audio)
    begun = time.perf_counter()
    contestant: Contestant
    if args.kind == "transcribe-cpp":
        contestant = TranscribeCpp(args.model, args.threads, args.delay_tokens)
    else:
        ids = [] if args.replayed_ids is None else np.load(args.replayed_ids).tolist()
        contestant = VoxtralEdge(args.model, args.kind, args.threads, args.delay_tokens, ids)
    print(json.dumps({"load_s": time.perf_counter() - begun, "about": contestant.about}), file=answers)
    serve(contestant, audio, answers)


def serve(contestant: Contestant, audio: np.ndarray, answers: Any) -> None:
    """Answers requests until "quit" or the end of input."""
    position = 0
    for line in sys.stdin:
        request = json.loads(line)
        if request["op"] == "quit":
            return
        if request["op"] == "live":
            step_ms = []
            for _ in range(request["steps"]):
                piece = np.take(audio, range(position, position + STEP_SAMPLES), mode="wrap")
                position = (position + STEP_SAMPLES) % len(audio)
                begun = time.perf_counter()
                contestant.feed(piece)
                step_ms.append((time.perf_counter() - begun) * 1e3)
            print(json.dumps({"step_ms": step_ms}), file=answers)
        else:
            clip = np.resize(audio, int(request["seconds"] * RATE_HZ))
            begun = time.perf_counter()
            contestant.transcribe(clip)
            answer = {"wall_s": time.perf_counter() - begun, "audio_s": request["seconds"]}
            print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main()
