"""What `verify --against` computes with: kept distributions, divergences, intervals, alignments."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxtral_edge.errors import DeviceError
from voxtral_edge.quality import distribution
from voxtral_edge.quality.changes import word_changes
from voxtral_edge.quality.distribution import MOST_KEPT, TAIL_MASS, DistributionFile, divergence, reduce
from voxtral_edge.quality.passes import Forced, Reference, Spoken
from voxtral_edge.quality.recordings import Recording
from voxtral_edge.quality.statistics import ratio_interval, share_interval, stretch_of, wilson_interval
from voxtral_edge.quality.summary import RecordingResult, summarize
from voxtral_edge.wer import aligned_indices, edit_distance


def logits(vocabulary: int, spread: float, seed: int) -> np.ndarray:
    return (spread * np.random.default_rng(seed).standard_normal(vocabulary)).astype(np.float32)


def exact_divergence(left: np.ndarray, right: np.ndarray) -> float:
    p, q = (np.exp(x.astype(np.longdouble) - x.max()) for x in (left, right))
    p, q = p / p.sum(), q / q.sum()
    return float((p * np.log(p / q)).sum())


@pytest.mark.parametrize("noise", [0.01, 0.1, 1.0])
@pytest.mark.parametrize("spread", [0.1, 1.0, 4.0, 12.0])
@pytest.mark.parametrize("vocabulary", [2, 300, 20_000])
def test_the_exact_divergence_lies_within_the_bounds(vocabulary: int, spread: float, noise: float) -> None:
    left = logits(vocabulary, spread, seed=1)
    right = left + logits(vocabulary, noise, seed=2)
    kept = reduce(left)
    low, slack = divergence(kept, right)
    exact = exact_divergence(left, right)
    rounding = 1e-6 * (1 + exact)
    assert low - rounding <= exact <= low + slack + rounding
    if vocabulary <= MOST_KEPT:
        assert kept.tail <= TAIL_MASS and slack < 1e-4
        assert exact == pytest.approx(low, abs=2e-6)


def test_logits_beyond_the_range_of_exp() -> None:
    left, right = (np.array(values, np.float32) for values in ([3000, 2999, -3000], [3000, 3000, -3000]))
    low, slack = divergence(reduce(left), right)
    assert low <= exact_divergence(left, right) + 1e-6 <= low + slack + 2e-6


@pytest.mark.parametrize("vocabulary", [300, 20_000])
def test_equal_logits_diverge_by_exactly_nothing(vocabulary: int) -> None:
    for seed in range(20):
        values = logits(vocabulary, seed / 2, seed)
        assert divergence(reduce(values), values)[0] == 0.0


def test_no_more_is_kept_than_the_tail_allows() -> None:
    kept = reduce(logits(20_000, 8.0, seed=3))
    assert 1 < len(kept.ids) < MOST_KEPT and kept.tail <= TAIL_MASS
    assert kept.tail + float(np.exp(kept.log_p[-1])) > TAIL_MASS, "the last one was needed"
    assert (np.diff(kept.log_p) <= 0).all()
    assert len(reduce(logits(20_000, 0.1, seed=3)).ids) == MOST_KEPT


def test_distributions_come_back_from_the_disk_as_they_were() -> None:
    items = [reduce(logits(500, spread, spread)) for spread in (0, 1, 30)]
    with DistributionFile() as file:
        for item in items:
            file.write(item)
        assert file.bytes == sum(20 + 8 * len(item.ids) for item in items)
        for item, back in zip(items, file.read(), strict=True):
            np.testing.assert_array_equal(item.ids, back.ids)
            np.testing.assert_array_equal(item.log_p, back.log_p)
            assert (item.tail, item.entropy) == (back.tail, back.entropy)


def test_a_disk_that_refuses_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(distribution.tempfile, "TemporaryFile", refuse)
    with pytest.raises(DeviceError, match="TMPDIR"):
        DistributionFile()


@pytest.mark.parametrize("items", [1, 100])
def test_a_full_disk_is_said_whenever_it_is_noticed(monkeypatch: pytest.MonkeyPatch, items: int) -> None:
    """Few bytes are held back until they are read, and once more when the file is closed."""
    full = open("/dev/full", "w+b")  # noqa: SIM115 - closed by DistributionFile
    monkeypatch.setattr(distribution.tempfile, "TemporaryFile", lambda **_: full)
    with pytest.raises(DeviceError, match="TMPDIR"), DistributionFile() as file:
        for _ in range(items):
            file.write(reduce(logits(500, 1, 1)))
        list(file.read())


# ---------------------------------------------------------------------- intervals


def test_wilson_interval() -> None:
    """Values of Newcombe (1998), table I."""
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson_interval(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_the_bootstrap_finds_the_spread_of_a_mean() -> None:
    sums = np.random.default_rng(4).normal(5.0, 2.0, 400)
    interval = ratio_interval(sums, np.ones(400))
    assert interval is not None
    expected = 1.96 * sums.std() / np.sqrt(400)
    assert interval == pytest.approx((sums.mean() - expected, sums.mean() + expected), abs=0.03)
    assert ratio_interval(sums, np.ones(400)) == interval, "the same numbers every time"
    assert ratio_interval(sums[:9], np.ones(9)) is None
    assert ratio_interval(sums[:10], np.ones(10)) is not None


def test_a_share_that_was_never_seen_is_not_taken_for_impossible() -> None:
    low, high = share_interval(np.zeros(50, int), np.full(50, 125))
    assert low == 0 and high == pytest.approx(3.84 / 6250, rel=0.01)
    clustered = np.zeros(50, int)
    clustered[:2] = 60
    assert share_interval(clustered, np.full(50, 125))[1] > 1.5 * wilson_interval(120, 6250)[1]


def test_figures_of_all_recordings_are_sums() -> None:
    silent = Spoken("", (), ())

    def result(kl: list[float], slack: list[float]) -> RecordingResult:
        tokens = len(kl)
        forced = Forced(np.array(kl), np.array(slack), np.zeros(tokens, np.int64), np.ones((tokens, 2)))
        recording = Recording(Path("r.wav"), 0.08 * tokens, ())
        return RecordingResult.of(recording, Reference((0,) * tokens, silent), forced, silent, [], [])

    total = summarize([result([1.0, 3.0], [0.1, 0.5]), result([8.0], [0.0])])
    assert (total.tokens, total.kl_mean, total.seconds) == (3, 4.0, pytest.approx(0.24))
    assert total.kl_slack == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("tokens", "counts"), [(0, []), (1, [1]), (124, [124]), (312, [125, 187]), (313, [125, 125, 63])]
)
def test_stretches(tokens: int, counts: list[int]) -> None:
    assert np.bincount(stretch_of(tokens)).tolist() == counts


# ---------------------------------------------------------------------- words

words = st.lists(st.sampled_from("abcd"), max_size=12)


@settings(deadline=None, max_examples=200)
@given(words, words)
def test_alignments_are_cheapest_and_whole(reference: list[str], heard: list[str]) -> None:
    pairs = aligned_indices(reference, heard)
    assert [i for i, _ in pairs if i is not None] == list(range(len(reference)))
    assert [j for _, j in pairs if j is not None] == list(range(len(heard)))
    cost = sum(i is None or j is None or reference[i] != heard[j] for i, j in pairs)
    assert cost == edit_distance(reference, heard)


def spoken(text: str) -> Spoken:
    found = tuple(text.split())
    return Spoken(text, found, tuple(range(10, 10 + 5 * len(found), 5)))


def test_changed_words_side_by_side() -> None:
    found = word_changes(spoken("one two three four five six"), spoken("one two tree four five"))
    assert [(change.before, change.after, change.edits, change.token) for change in found] == [
        ("one two [three] four five", "one two [tree] four five", 1, 20),
        ("four five [six]", "four five []", 1, 35),
    ]
    assert found[0].time_s == pytest.approx(20.5 * 0.08)
    (together,) = word_changes(spoken("one two three four"), spoken("one to tree four"))
    assert (together.before, together.edits) == ("one [two three] four", 2)
    (added,) = word_changes(spoken("one two"), spoken("one and two"))
    assert (added.before, added.after, added.token) == ("one [] two", "one [and] two", 10)
    (alone,) = word_changes(spoken(""), spoken("one"))
    assert (alone.before, alone.after, alone.token) == ("[]", "[one]", 0)
    assert word_changes(spoken("one"), spoken("one")) == []
