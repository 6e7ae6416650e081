"""Word error rate: against jiwer, and the counts that quantisation is judged by."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest
from front_door import CHECKPOINT, ROOT, SAMPLES_DIR, samples
from hypothesis import given, settings
from hypothesis import strategies as st

from voxtral_edge.wer import WordErrors, align, edit_distance, normalize, pad_text_flips, word_error_rate

jiwer = pytest.importorskip("jiwer")

WORDS = ["one", "two", "three", "a", "b"]
sentences = st.lists(st.sampled_from(WORDS), max_size=12)


@settings(deadline=None, max_examples=60)
@given(sentences.filter(bool), sentences)
def test_word_error_rate_equals_jiwer(reference: list[str], hypothesis: list[str]) -> None:
    expected = jiwer.wer(" ".join(reference), " ".join(hypothesis))
    assert word_error_rate(" ".join(reference), " ".join(hypothesis)) == pytest.approx(expected)


@settings(deadline=None, max_examples=60)
@given(sentences, sentences)
def test_edit_distance_is_a_metric(a: list[str], b: list[str]) -> None:
    assert edit_distance(a, b) == edit_distance(b, a)
    assert (edit_distance(a, b) == 0) == (a == b)
    assert abs(len(a) - len(b)) <= edit_distance(a, b) <= max(len(a), len(b))


@settings(deadline=None, max_examples=60)
@given(sentences, sentences)
def test_an_alignment_holds_both_and_is_the_cheapest(a: list[str], b: list[str]) -> None:
    pairs = align(a, b)
    assert [left for left, _ in pairs if left is not None] == a
    assert [right for _, right in pairs if right is not None] == b
    assert (None, None) not in pairs
    assert sum(left != right for left, right in pairs) == edit_distance(a, b)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello,  World!", "hello world"),
        ("I’ve been 'there', don't ask", "i've been there don't ask"),
        ("three_zero—six", "three zero six"),
        ("Ça va? ÉTÉ", "ça va été"),
        ("नमस्ते, दुनिया। क्या हाल है?", "नमस्ते दुनिया क्या हाल है"),
        ("مُحَمَّد، كيف؟", "مُحَمَّد كيف"),
        ("안녕하세요 세계.", "안녕하세요 세계"),
        ("今天OK，很好。", "今 天 ok 很 好"),
        ("  ", ""),
    ],
)
def test_normalize(text: str, expected: str) -> None:
    assert normalize(text) == expected


def test_rates_are_summed_over_utterances_not_averaged() -> None:
    count = WordErrors()
    count.add("one two three four", "one two three four")
    count.add("one", "two")
    assert (count.errors, count.words, count.utterances) == (1, 5, 2)
    assert count.rate == pytest.approx(0.2)


def test_chinese_and_japanese_are_counted_by_characters() -> None:
    assert word_error_rate("今天天气很好。", "今天天汽很好") == pytest.approx(1 / 6)
    assert word_error_rate("नमस्ते दुनिया", "नमस्ते दुनिय") == pytest.approx(1 / 2)


def test_empty_reference() -> None:
    assert word_error_rate("", "") == 0.0
    assert word_error_rate("", "word") == float("inf")


def test_flips_count_only_speaking_against_silence() -> None:
    control = frozenset({32, 33})
    assert pad_text_flips([32, 70, 33, 80], [32, 71, 32, 80], control) == 0
    assert pad_text_flips([32, 70, 32], [70, 32, 32], control) == 2
    assert pad_text_flips([32], [32, 70, 32, 71], control) == 2


def test_benchmark_prints_a_table_from_packages(tmp_path) -> None:
    """The command on the sample recordings: every word right, and a row per delay."""
    lines = [
        f'{{"path": "{SAMPLES_DIR / s["file"]}", "text": "{s["text"]}", "source": "samples"}}'
        for s in samples()
    ]
    random.Random(0).shuffle(lines)
    evaluation = tmp_path / "eval.jsonl"
    evaluation.write_text("\n".join(lines) + "\n")
    program = [sys.executable, str(ROOT / "benchmarks" / "wer.py"), "--json", str(tmp_path / "out.json")]
    options = ["--precision", "fp32", "int8", "--delay-ms", "240", "480", "--eval", str(evaluation)]
    result = subprocess.run(
        [*program, "--checkpoint", str(CHECKPOINT), *options],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    rows = [line for line in result.stdout.splitlines() if line.startswith(("| fp32", "| int8"))]
    assert len(rows) == 4
    assert all("| 0.0 % |" in row for row in rows)
    assert all("| 0 of" in row for row in rows if row.startswith("| fp32"))
    assert (tmp_path / "out.json").is_file()
