"""int8 and int4: the native engine and onnxruntime on the same package, numbers, tokens and words.

The limits and where they come from: tests/golden/tolerances/quantised_engines.json.
"""

from __future__ import annotations

import platform
from functools import cache

import numpy as np
import pytest
from checkpoint_shapes import SHAPES
from evaluation import DIGITS, utterances
from native_testing import Models, Trace, limit, relative_rms, speech, tolerances

import voxtral_edge as ve
from voxtral_edge.wer import WordErrors

pytestmark = pytest.mark.usefixtures("onnxruntime")

LIMITS = tolerances("quantised_engines")
ALL_SHAPES = [*sorted(SHAPES), "demo"]
# onnxruntime may use other activation grids on other processors (KleidiAI on aarch64 quantises whole rows).
X86 = platform.machine() in ("x86_64", "AMD64")


def generated(trace: Trace) -> list[int]:
    return trace["ids"][int(trace["prompt_len"]) :].tolist()


def first_difference(left: Trace, right: Trace) -> int:
    """Index of the first generated token that differs; the shorter length if none does."""
    pairs = list(zip(generated(left), generated(right), strict=False))
    return next((index for index, (a, b) in enumerate(pairs) if a != b), len(pairs))


@cache
def float_kv_trace(models: Models, shape: str, precision: str, delay_tokens: int) -> Trace:
    """The native engine with float32 KV, as onnxruntime keeps it."""
    engine = ve.load(models.package(shape, precision), "native", 1, "f32")
    return ve.inspect.trace(engine, speech(), delay_tokens)


@pytest.mark.parametrize("delay_tokens", [1, 6, 30])
@pytest.mark.parametrize("precision", ["int8", "int4"])
@pytest.mark.parametrize("shape", ALL_SHAPES)
def test_every_stage(models: Models, shape: str, precision: str, delay_tokens: int) -> None:
    native = float_kv_trace(models, shape, precision, delay_tokens)
    other = models.trace(shape, precision, "onnxruntime", delay_tokens)
    assert np.array_equal(native["mel"], other["mel"])  # one front end
    assert relative_rms(native["encoder"], other["encoder"]) <= limit(LIMITS["encoder"])
    assert relative_rms(native["projector"], other["projector"]) <= limit(LIMITS["projector"])
    equal = first_difference(native, other)
    rows = slice(0, equal + 1)
    assert relative_rms(native["logits"][rows], other["logits"][rows]) <= limit(LIMITS["logits"])
    if equal < min(len(generated(native)), len(generated(other))):
        ours, theirs = generated(native)[equal], generated(other)[equal]
        for logits in (native["logits"][equal], other["logits"][equal]):
            gap = abs(float(logits[ours] - logits[theirs])) / float(np.sqrt(np.mean(logits**2)))
            assert gap <= limit(LIMITS["tie"]), f"token {equal}: {ours} and {theirs} are no tie"


@pytest.mark.skipif(not X86, reason="onnxruntime quantises activations by another grid on this processor")
@pytest.mark.parametrize(("shape", "precision"), [("gqa8", "int8"), ("gqa8", "int4"), ("odd", "int4")])
def test_the_same_integers(models: Models, shape: str, precision: str) -> None:
    native = float_kv_trace(models, shape, precision, 6)
    other = models.trace(shape, precision, "onnxruntime", 6)
    assert relative_rms(native["encoder"], other["encoder"]) <= limit(LIMITS["exact_encoder"])


@pytest.mark.parametrize("precision", ["int8", "int4"])
@pytest.mark.parametrize("shape", ALL_SHAPES)
def test_half_precision_kv_is_as_good(models: Models, shape: str, precision: str) -> None:
    """What a user gets by default differs from float32 KV by no more than the engines differ."""
    default = models.trace(shape, precision, "native", 6)
    exact = float_kv_trace(models, shape, precision, 6)
    rows = slice(0, first_difference(default, exact) + 1)
    allowed = LIMITS["half_kv"]
    if precision == "int4":
        allowed = LIMITS["half_kv_encoder_too"]
        assert 0 < relative_rms(default["projector"], exact["projector"]) <= limit(LIMITS["half_kv"])
    else:
        assert np.array_equal(default["projector"], exact["projector"])  # the encoder keeps float32
    assert 0 < relative_rms(default["logits"][rows], exact["logits"][rows]) <= limit(allowed)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_demo_transcripts(models: Models, precision: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Real speech the model was made for, three delays: at least 99 % of tokens equal, word error rates within 0.2
    points."""
    where = utterances((DIGITS,))[0]
    counts = {name: WordErrors() for name in ("native", "onnxruntime")}
    equal = total = 0
    for delay_ms in (240, 480, 960):
        runs = (models.transcripts(precision, name, delay_ms, (DIGITS,)) for name in counts)
        for (clip, left), (_, right) in zip(*runs, strict=True):
            counts["native"].add(clip.text, left.text)
            counts["onnxruntime"].add(clip.text, right.text)
            assert len(left.token_ids) == len(right.token_ids)
            equal += sum(a == b for a, b in zip(left.token_ids, right.token_ids, strict=True))
            total += len(left.token_ids)
    points = 100 * abs(counts["native"].rate - counts["onnxruntime"].rate)
    with capsys.disabled():
        print(
            f"\n{precision}, digits of {where}: {equal} of {total} tokens equal, WER native "
            f"{100 * counts['native'].rate:.2f} %, onnxruntime {100 * counts['onnxruntime'].rate:.2f} %"
        )
    assert total > 300
    assert equal / total >= limit(LIMITS["demo_tokens"])
    assert points <= limit(LIMITS["demo_word_error_points"])
