"""Word error rate of the demo model through the native engine, against transformers' fp32.

On the evaluation set where it is at hand (evaluation.py), else on the bundled recordings. The limits stand in
tests/golden/tolerances/word_error_rate.json; the tables are printed.
"""

from __future__ import annotations

import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from evaluation import DIGITS, KNOWN, ROOT, Utterance, transformers_transcripts, utterances
from native_testing import DEMO_CHECKPOINT, Models, limit, tolerances

from voxtral_edge.wer import WordErrors, edit_distance, normalize, pad_text_flips

LIMITS = tolerances("word_error_rate")
DELAYS_MS = (240, 480, 960)
CONTROL_IDS = frozenset(range(64))  # special tokens of the demo model: they say nothing
pytestmark = pytest.mark.slow


@cache
def reference_model() -> Any:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from transformers_reference import Reference

    return Reference(DEMO_CHECKPOINT)


@cache
def transformers_text(name: str, delay_ms: int) -> str:
    """What transformers writes for an utterance: kept with the evaluation set, else made here."""
    kept = transformers_transcripts().get(name, {}).get(str(delay_ms))
    if kept is not None:
        return kept
    clip = next(clip for clip in utterances()[1] if clip.name == name)
    return str(reference_model().transcribe(clip.pcm, delay_ms)[0])


def count(pairs: list[tuple[Utterance, str]]) -> dict[str, WordErrors]:
    """Errors per source and of all."""
    counts: dict[str, WordErrors] = {}
    for clip, text in pairs:
        for group in (clip.source, "all"):
            counts.setdefault(group, WordErrors()).add(clip.text, text)
    return counts


def show(capsys: pytest.CaptureFixture[str], line: str) -> None:
    with capsys.disabled():
        print(f"\n{line}", end="")


@pytest.mark.parametrize("delay_ms", DELAYS_MS)
def test_fp32_writes_what_transformers_writes(
    models: Models, delay_ms: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Digit strings, whole pipeline. transformers' offline features pass through 16-bit samples (rounded down); the
    evaluation recordings and samples are 16-bit already, so nothing is left to differ but float rounding at ties."""
    runs = models.transcripts("fp32", "native", delay_ms, (DIGITS,))
    different = []
    for clip, got in runs:
        expected = transformers_text(clip.name, delay_ms)
        if normalize(got.text) != normalize(expected):
            different.append(f"{clip.name}: {got.text.strip()!r} instead of {expected.strip()!r}")
    ours = count([(clip, got.text) for clip, got in runs])["all"]
    theirs = count([(clip, transformers_text(clip.name, delay_ms)) for clip, _ in runs])["all"]
    show(
        capsys,
        f"{delay_ms} ms, fp32, digits of {utterances()[0]}: WER native {100 * ours.rate:.2f} %, transformers "
        f"{100 * theirs.rate:.2f} % of {ours.words} words; {len(different)} of {len(runs)} transcripts differ"
        + "".join(f"\n    {line}" for line in different),
    )
    assert len(different) <= limit(LIMITS["fp32_different_transcripts"]) * len(runs)
    assert 100 * abs(ours.rate - theirs.rate) <= limit(LIMITS["fp32_points"])


@pytest.mark.parametrize("precision", ["fp32", "int8", "int4"])
def test_digits_against_transformers_fp32(
    models: Models, precision: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the model was made for, at three delays together: 1500 words, so that one word is 0.07 points."""
    ours, theirs = WordErrors(), WordErrors()
    for delay_ms in DELAYS_MS:
        for clip, got in models.transcripts(precision, "native", delay_ms, (DIGITS,)):
            ours.add(clip.text, got.text)
            theirs.add(clip.text, transformers_text(clip.name, delay_ms))
    points = 100 * (ours.rate - theirs.rate)
    show(
        capsys,
        f"240 + 480 + 960 ms, {precision}, digits of {utterances()[0]}: WER native {100 * ours.rate:.2f} %, "
        f"transformers fp32 {100 * theirs.rate:.2f} % of {ours.words} words: {points:+.2f} points",
    )
    # Where the list is short (the bundled samples), two words are more than the bound.
    assert abs(points) <= max(
        limit(LIMITS[precision]["points"]), 100 * limit(LIMITS["short_list_words"]) / ours.words
    )


@pytest.mark.parametrize("precision", ["fp32", "int8", "int4"])
def test_edits_and_flips_against_fp32(
    models: Models, precision: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """480 ms, everything the model has seen words of: how many tokens quantisation changes, and how many of those
    decide between speaking and silence. The word error rates of the sources are printed, not bounded: beyond digits
    the model is half wrong, and every tie counts."""
    runs, exact = (models.transcripts(name, "native", 480, KNOWN) for name in (precision, "fp32"))
    ours = count([(clip, got.text) for clip, got in runs])
    theirs = count([(clip, transformers_text(clip.name, 480)) for clip, _ in runs])
    for group in ours:
        difference = 100 * (ours[group].rate - theirs[group].rate)
        show(
            capsys,
            f"480 ms, {precision}, {group}: WER native {100 * ours[group].rate:.2f} %, transformers fp32 "
            f"{100 * theirs[group].rate:.2f} % of {ours[group].words} words: {difference:+.2f} points",
        )
    ids = [(a.token_ids, b.token_ids) for (_, a), (_, b) in zip(runs, exact, strict=True)]
    edits = sum(edit_distance(b, a) for a, b in ids)
    flips = sum(pad_text_flips(b, a, CONTROL_IDS) for a, b in ids)
    tokens = sum(len(a) for a, _ in ids)
    show(
        capsys,
        f"480 ms, {precision}: {edits} token edits and {flips} pad-text flips of {tokens} tokens against fp32",
    )
    assert edits <= limit(LIMITS[precision]["edits"]) * tokens
    assert flips <= limit(LIMITS[precision]["flips"]) * tokens


@pytest.mark.parametrize("precision", ["fp32", "int8", "int4"])
def test_the_bundled_recordings(models: Models, precision: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What a newcomer runs first: files of other rates and formats, read and resampled as the command does it."""
    engine = models.engine("demo", precision)
    errors = WordErrors()
    for row in json.loads((ROOT / "samples" / "samples.json").read_text(encoding="utf-8"))["samples"]:
        errors.add(row["text"], engine.transcribe(Path(ROOT / "samples" / row["file"])).text)
    show(capsys, f"480 ms, {precision}, bundled recordings: {errors.errors} errors in {errors.words} words")
    assert errors.words >= 40
    assert errors.errors <= limit(LIMITS["samples_errors"])
