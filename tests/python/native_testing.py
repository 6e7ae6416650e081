"""Models, audio and comparisons for the tests of the engines and of the streaming loop."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import source_export  # noqa: F401 - makes voxtral_edge.export importable from a source checkout
from evaluation import Utterance, utterances

import checkpoints
import voxtral_edge as ve
from voxtral_edge.export import Checkpoint, export_package

ROOT = Path(__file__).resolve().parents[2]
DEMO_CHECKPOINT = ROOT / "checkpoints" / "tiny-en"
SAMPLES = ROOT / "samples"
TOLERANCES = ROOT / "tests" / "golden" / "tolerances"

Trace = dict[str, Any]


class Models:
    """Everything made from a checkpoint, made once and kept: shape is a name of SHAPES or "demo" (the bundled one)."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @cache  # noqa: B019 - lives as long as the test session
    def checkpoint(self, shape: str) -> Path:
        if shape == "demo":
            return DEMO_CHECKPOINT
        return checkpoints.make_checkpoint(self.root / shape, shape)

    @cache  # noqa: B019
    def package(self, shape: str, precision: str) -> Path:
        folder = self.root / f"{shape}-{precision}"
        source = Checkpoint(self.checkpoint(shape))
        try:
            export_package(source, folder, precision=precision, name=shape)
        finally:
            source.close()
        return folder

    @cache  # noqa: B019
    def engine(self, shape: str, precision: str, engine: str = "native", threads: int = 1) -> ve.Engine:
        return ve.load(self.package(shape, precision), engine, threads)

    @cache  # noqa: B019
    def transcripts(
        self, precision: str, engine: str, delay_ms: int, sources: tuple[str, ...]
    ) -> list[tuple[Utterance, ve.results.Transcript]]:
        """The demo model on the recordings of evaluation.py, one thread: two change no token and take onnxruntime four
        times the processor time on a model this small."""
        demo = self.engine("demo", precision, engine)
        return [(clip, demo.transcribe(clip.pcm, delay_ms)) for clip in utterances(sources)[1]]

    @cache  # noqa: B019
    def reference(self, shape: str, delay_tokens: int) -> Trace:
        """What transformers computes for `speech()`."""
        return checkpoints.reference(self.checkpoint(shape), speech(), delay_tokens)

    @cache  # noqa: B019
    def trace(self, shape: str, precision: str, engine: str, delay_tokens: int) -> Trace:
        """What an engine computes for `speech()`."""
        return ve.inspect.trace(self.engine(shape, precision, engine), speech(), delay_tokens)


@cache
def speech() -> np.ndarray:
    """Three seconds of wobbling tones, longer than three windows of every random shape, over audible noise.

    The noise is there because the reference transforms in float32: beside a strong tone its weakest bins are off by
    1e-4 relative, which the loudest of the random models grow to 1e-4 in their outputs. We transform in double.
    """
    clip = checkpoints.synthetic_speech()
    return clip + np.float32(0.03) * np.random.default_rng(11).standard_normal(len(clip)).astype(np.float32)


def random_audio(samples: int, seed: int) -> np.ndarray:
    """Tones, noise and pauses, another mixture per seed; float32, peak below 1."""
    generator = np.random.default_rng(seed)
    time = np.arange(samples) / 16000
    tones = sum(
        generator.uniform(0.05, 0.2)
        * np.sin(2 * np.pi * generator.uniform(80, 4000) * time + 3 * np.sin(9 * time))
        for _ in range(4)
    )
    gate = np.repeat(generator.uniform(0, 1, samples // 1600 + 1) > 0.25, 1600)[:samples]
    return np.asarray(tones * gate + 0.01 * generator.standard_normal(samples), np.float32)


def largest_gap(left: np.ndarray, right: np.ndarray) -> float:
    """Largest absolute difference; NaN anywhere gives NaN, which no comparison accepts."""
    left, right = np.asarray(left), np.asarray(right)
    assert left.shape == right.shape, (left.shape, right.shape)
    return float(np.abs(left - right).max()) if left.size else 0.0


def relative_rms(value: np.ndarray, reference: np.ndarray) -> float:
    assert value.shape == reference.shape, (value.shape, reference.shape)
    return float(np.sqrt(np.mean((value - reference) ** 2) / np.mean(reference**2)))


def tolerances(name: str) -> dict[str, Any]:
    """A file of tests/golden/tolerances: every number stands in it with its reason."""
    return json.loads((TOLERANCES / f"{name}.json").read_text(encoding="utf-8"))


def limit(entry: dict[str, Any]) -> float:
    """The number of an entry {"limit": …, "measured": …, "why": …}."""
    assert entry["why"], "a tolerance needs its reason"
    return float(entry["limit"])


def must_have(available: bool, what: str) -> None:
    """Skips a test whose tool is missing; fails instead where VOXTRAL_EDGE_REQUIRE_ALL=1 (continuous integration)."""
    import pytest

    if available:
        return
    if os.environ.get("VOXTRAL_EDGE_REQUIRE_ALL") == "1":
        pytest.fail(f"{what}, and VOXTRAL_EDGE_REQUIRE_ALL=1 forbids skipping")
    pytest.skip(what)
