"""The fp32 graphs in plain onnxruntime against transformers, on random checkpoints of five shapes.

Limits are the issue's: encoder and projector 1e-4, logits 1e-3, equal ids. Largest measured: 4.4e-5, 8.2e-5
(shape gqa8, at the end of the clip, where transformers makes angles in float32) and 4.6e-4 (shape wide).
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
from checkpoint_shapes import SHAPES
from onnx_testing import Result, gap, make_package, transcribe

import checkpoints
from voxtral_edge.engines.onnxruntime_backend import OnnxRuntimeBackend

pytest.importorskip("onnxruntime")

ENCODER_LIMIT, LOGITS_LIMIT = 1e-4, 1e-3


class Case:
    """A checkpoint, its fp32 package in onnxruntime, and transformers' results per delay."""

    def __init__(self, folder: Path, shape: str) -> None:
        self.checkpoint = checkpoints.make_checkpoint(folder / "checkpoint", shape)
        self.package = make_package(folder / "package", self.checkpoint, "fp32")
        self.backend = OnnxRuntimeBackend(self.package, threads=1)

    @functools.cache  # noqa: B019 - lives as long as the test module
    def reference(self, delay_tokens: int) -> dict[str, np.ndarray]:
        return checkpoints.reference(self.checkpoint, checkpoints.synthetic_speech(), delay_tokens)

    def mel(self, delay_tokens: int) -> np.ndarray:
        return np.ascontiguousarray(self.reference(delay_tokens)["mel"].T)

    def check(self, result: Result, delay_tokens: int) -> None:
        expected = self.reference(delay_tokens)
        assert gap(result.frames, expected["encoder"]) <= ENCODER_LIMIT
        assert gap(result.embeddings, expected["projector"]) <= ENCODER_LIMIT
        assert gap(result.logits, expected["logits"]) <= LOGITS_LIMIT
        assert result.ids == expected["ids"].tolist()


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory):
    """name of a shape -> Case, made on first use."""

    @functools.cache
    def make(shape: str) -> Case:
        return Case(tmp_path_factory.mktemp(shape), shape)

    return make


@pytest.mark.parametrize("delay_tokens", [1, 2, 6, 30])
@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_graphs_equal_transformers(cases, shape: str, delay_tokens: int) -> None:
    case = cases(shape)
    window = min(SHAPES[shape].text["sliding_window"], SHAPES[shape].audio["sliding_window"] // 4)
    assert len(case.mel(delay_tokens)) // 8 > 3 * window, "the input must be longer than three windows"
    case.check(transcribe(case.backend, case.package, case.mel(delay_tokens), delay_tokens), delay_tokens)


@pytest.mark.parametrize("tokens_per_call", [1, 2, 5, 8, 11])
@pytest.mark.parametrize("shape", ["golden", "odd"])
def test_the_size_of_a_call_does_not_matter(cases, shape: str, tokens_per_call: int) -> None:
    """11 is beyond the backend's 8 rows per graph call: it is split."""
    case = cases(shape)
    case.check(transcribe(case.backend, case.package, case.mel(2), 2, tokens_per_call=tokens_per_call), 2)


@pytest.mark.parametrize("rows", [1, 3, 200])
def test_rings_of_any_size_wrap_anywhere(cases, rows: int) -> None:
    """Ring sizes window − 1 + rows for 1, 3 and more rows than the clip has tokens (no wrap at all)."""
    case = cases("golden")
    backend = OnnxRuntimeBackend(case.package, threads=1, max_tokens_per_call=rows)
    case.check(transcribe(backend, case.package, case.mel(6), 6, tokens_per_call=rows), 6)


@pytest.mark.parametrize("start", [2**17 - 40, 2**31 - 40, 2**32 - 40, 2**33 + 1])
@pytest.mark.parametrize("shape", ["golden", "gqa8"])
def test_positions_have_no_limit(cases, shape: str, start: int) -> None:
    """The counters pass 2^17, 2^31 and 2^32 (tokens; encoder frames pass 2^34) inside the clip."""
    case = cases(shape)
    case.check(transcribe(case.backend, case.package, case.mel(6), 6, first_token=start), 6)


def test_positions_near_2_to_the_40(cases) -> None:
    """Doubles leave 1e-4 rad per angle here, 2800 years into a stream: logits move by 1e-3, ids do not."""
    case = cases("golden")
    result = transcribe(case.backend, case.package, case.mel(6), 6, first_token=2**40 - 40)
    expected = case.reference(6)
    assert result.ids == expected["ids"].tolist()
    assert gap(result.logits, expected["logits"]) <= 1e-2


def test_older_slots_are_empty_not_zero_keys(cases) -> None:
    """first_position hides what a ring holds: with a dirty ring only it makes the difference."""
    case = cases("golden")
    mel = case.mel(6)[:64]
    clean = case.backend.create_state(np.zeros((3, 64), np.float32), 100)
    dirty = case.backend.create_state(np.zeros((3, 64), np.float32), 100)
    for value in dirty.rings.values():
        if value.shape()[0] == 1 and len(value.shape()) == 4:
            value.update_inplace(np.full(value.shape(), 3.0, np.float32))
    expected = case.backend.encode(clean, mel, 100)[0]
    assert gap(case.backend.encode(dirty, mel, 100)[0], expected) == 0.0
    hidden = case.backend.decode(dirty, expected, np.full(8, 5), 100)
    assert gap(hidden, case.backend.decode(clean, expected, np.full(8, 5), 100)) == 0.0
    # Had the stream begun earlier, the same slots would be seen.
    dirty.decoder.bind_cpu_input("first_position", np.array([0], np.int64))
    again = case.backend.decode(dirty, expected, np.full(8, 5), 100)
    assert gap(hidden, again) > 1e-3


def test_rejected_drafts_leave_no_trace(cases) -> None:
    """Eight positions are decoded with wrong ids, then decoded again one by one with the right ones."""
    case = cases("golden")
    expected = case.reference(6)
    ids, audio = expected["ids"], expected["projector"]
    scales = np.array(case.backend.create_state(np.zeros((3, 64), np.float32), 0).delay_scales)
    plain, drafted = (case.backend.create_state(scales, 0) for _ in range(2))
    for position in range(len(ids) - 9):
        if position % 3 == 0:
            case.backend.decode(drafted, audio[position : position + 8], np.full(8, 7), position)
        here = slice(position, position + 1)
        left = case.backend.decode(plain, audio[here], ids[here], position)
        right = case.backend.decode(drafted, audio[here], ids[here], position)
        assert gap(left, right) == 0.0, position
