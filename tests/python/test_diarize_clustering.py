"""Speech detection, pieces, and the grouping of windows."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from diarize_testing import tone_voice
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from voxtral_edge.diarize.clustering import (
    ALIKENESS,
    LEAST_VARIETY,
    VARIETY_SECONDS,
    Group,
    Voice,
    _Merging,
    group_windows,
)
from voxtral_edge.diarize.segments import CELL_FRAMES, WINDOW_FRAMES, Piece, Segmenter
from voxtral_edge.diarize.voice_activity import VoiceActivity


def near(direction: int, count: int, seed: int, spread: float = 0.3) -> NDArray[np.float32]:
    """Unit vectors around one axis of 16."""
    vectors = np.random.default_rng(seed).normal(0, spread / 4, (count, 16))
    vectors[:, direction] += 1
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def voice(direction: int) -> Voice:
    result = Voice(np.zeros(16), 0.0)
    for vector in near(direction, 10, 99):
        result.add(vector, 0.8)
    return result


def grouped(
    vectors: NDArray[np.float32],
    known: tuple[Voice, ...] = (),
    limit: int = 32,
    **options: object,
) -> list[Group]:
    values: dict[str, object] = {"least_seconds": (2.0, 2.0, 2.0), "same_speaker": 0.6, **options}
    return group_windows(vectors, [0.8] * len(vectors), known, limit=limit, **values)  # type: ignore[arg-type]


def test_groups_are_the_voices() -> None:
    vectors = np.concatenate([near(0, 6, 1), near(1, 5, 2), near(0, 4, 3)])
    groups = grouped(vectors)
    assert [group.members for group in groups] == [[0, 1, 2, 3, 4, 5, 11, 12, 13, 14], [6, 7, 8, 9, 10]]
    assert groups[0].known is None


def test_few_odd_windows_are_no_speaker_unless_they_are_recent() -> None:
    vectors = np.concatenate([near(0, 6, 1), near(1, 1, 2)])
    assert [group.members for group in grouped(vectors)] == [list(range(7))]
    assert [group.members for group in grouped(vectors, tentative=[6])] == [
        [0, 1, 2, 3, 4, 5],
        [6],
    ]
    assert [group.members for group in grouped(vectors[6:])] == [[0]]  # the only voice there is


def test_known_voices_are_never_merged() -> None:
    alike = (voice(0), Voice(voice(0).total * 0.5, 4.0))
    groups = grouped(near(0, 6, 1), alike)
    assert len(groups) == 1 and groups[0].known in (0, 1)
    # both keep their places, so that a third voice finds none
    groups = grouped(np.concatenate([near(0, 6, 1), near(1, 6, 2)]), alike, limit=2)
    assert all(group.known is not None for group in groups)
    # even where fewer are allowed than are known
    groups = grouped(np.concatenate([near(0, 4, 1), near(1, 4, 2)]), (voice(0), voice(1)), limit=1)
    assert [(group.known, group.members) for group in groups] == [(0, [0, 1, 2, 3]), (1, [4, 5, 6, 7])]


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 14), st.integers(0, 2**32 - 1), st.floats(0.2, 0.9), st.sampled_from([0.06, 0.2]))
def test_pairs_are_merged_in_order_of_likeness(count: int, seed: int, threshold: float, noise: float) -> None:
    """As by looking at all pairs each time; and what a group holds of different speech is what its windows say."""
    generator = np.random.default_rng(seed)
    vectors = np.concatenate([near(2, count, seed), near(1, 2, seed + 1), near(3, 2, seed + 2)])
    vectors += generator.normal(0, noise, vectors.shape).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    seconds = generator.uniform(0.4, 1.6, len(vectors))
    quick, slow = (_Merging(vectors, list(seconds), (voice(0), voice(1))) for _ in range(2))
    quick.merge_while(threshold)
    while True:
        alike = np.stack([slow._alike(row) for row in range(len(slow._weights))])
        keep, drop = sorted(np.unravel_index(int(alike.argmax()), alike.shape))
        if alike[keep, drop] < threshold:
            break
        slow._merge(int(keep), int(drop))
    assert quick.groups() == slow.groups()
    for row, members in quick._members.items():
        if row < 2 or len(members) < 2:
            continue
        pairs = np.outer(seconds[members], seconds[members]) * (1 - np.eye(len(members)))
        cosine = float((pairs * (vectors[members] @ vectors[members].T)).sum() / pairs.sum())
        variety = max(VARIETY_SECONDS / max(cosine - ALIKENESS, 1e-9), LEAST_VARIETY)
        assert quick._different[row] == pytest.approx(min(seconds[members].sum(), variety), rel=1e-4)


def test_limit_merges_what_is_nearest() -> None:
    """Three people and a few odd windows, three places: the odd ones go, not one of the people."""
    vectors = np.concatenate([near(0, 9, 1), near(1, 9, 2), near(2, 9, 3), near(3, 3, 4)])
    assert len(grouped(vectors)) == 4
    groups = grouped(vectors, limit=3)
    assert [len(set(group.members) & set(range(27))) for group in groups] == [9, 9, 9]


def people(cosine: float, count: int) -> NDArray[np.float32]:
    """`count` windows of one person, of another who is so much like the first, and one of these repeated as often; as
    unlike each other as real windows are (an average cosine of 0.76)."""
    generator = np.random.default_rng(5)
    first = np.eye(64)[0]
    second = cosine * first + np.sqrt(1 - cosine**2) * np.eye(64)[1]
    noise = generator.normal(0, 0.56 / np.sqrt(62), (2, count, 64)) * (np.arange(64) > 1)
    phrase = second + generator.normal(0, 0.56 / np.sqrt(62), 64) * (np.arange(64) > 1)
    repeated = phrase + generator.normal(0, 0.005, (count, 64))
    vectors = np.concatenate([first + noise[0], second + noise[1], repeated])
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def test_a_phrase_again_and_again_is_nobody_new() -> None:
    """Different speech of the other person makes a speaker; one phrase of it does not, however often it is heard."""
    vectors = people(0.8, 12)
    options = {"same_speaker": 0.85, "least_seconds": (2.0, 4.0, 8.0)}
    groups = grouped(vectors[:24], **options)
    assert [group.members for group in groups] == [list(range(12)), list(range(12, 24))]
    assert len(grouped(np.concatenate([vectors[:12], vectors[24:]]), **options)) == 1


@pytest.mark.parametrize(("cosine", "needed"), [(0.3, 2.0), (0.77, 4.0), (0.83, 8.0)])
def test_the_more_alike_the_more_speech_makes_a_speaker(cosine: float, needed: float) -> None:
    for seconds, found in ((needed - 1.2, 1), (needed + 1.2, 2)):
        first, second = np.split(people(cosine, 30)[:60], 2)
        vectors = np.concatenate([first, second[: round(seconds / 0.8)]])
        groups = grouped(vectors, same_speaker=0.85, least_seconds=(2.0, 4.0, 8.0))
        assert len(groups) == found, seconds


def test_a_known_voice_keeps_its_place() -> None:
    vectors = np.concatenate([near(0, 5, 1), near(1, 5, 2)])
    groups = grouped(vectors, (voice(5),), limit=2)  # one of the two must be voice 5, or both the other
    assert len(groups) <= 2 and sum(len(group.members) for group in groups) == 10
    assert len({0 if group.known is None else 1 for group in groups} | {1}) == 2 or len(groups) == 1


def test_voice_limits_its_memory() -> None:
    limited = voice(0).limited(2.0)
    assert limited.seconds == pytest.approx(2.0)
    np.testing.assert_allclose(limited.mean, voice(0).mean)


def pieces_of(pcm: NDArray[np.float32], block: int) -> list[Piece]:
    segmenter = Segmenter()
    found = [p for begin in range(0, len(pcm), block) for p in segmenter.feed(pcm[begin : begin + block])]
    return found + segmenter.finish()


def spoken(seed: int = 0) -> NDArray[np.float32]:
    """1 s silence, 3.1 s voice, 0.15 s silence, 1 s voice, 1 s silence, 0.2 s voice, 1 s silence."""
    gap = [np.zeros(round(s * 16000), np.float32) for s in (1, 0.15, 1, 1)]
    parts = [gap[0], tone_voice(0, 3.1), gap[1], tone_voice(0, 1.0), gap[2], tone_voice(1, 0.2), gap[3]]
    pcm = np.concatenate(parts)
    return pcm + np.random.default_rng(seed).normal(0, 1e-4, len(pcm)).astype(np.float32)


def test_pieces_cover_the_speech() -> None:
    pieces = pieces_of(spoken(), 1600)
    first = [piece for piece in pieces if piece.begins]
    assert [piece.start / 100 for piece in first] == pytest.approx([1.0, 6.25], abs=0.1)
    assert pieces[-1].end / 100 == pytest.approx(6.45, abs=0.12)
    before = [piece for piece in pieces if piece.end < 600]
    assert before[-1].end / 100 == pytest.approx(5.25, abs=0.1)  # 0.15 s of silence is no pause
    for left, right in itertools.pairwise(pieces):
        assert right.begins or left.end == right.start
        assert left.end <= right.start
    for piece in pieces:
        assert 0 < piece.end - piece.start <= CELL_FRAMES and piece.end <= piece.heard
        if piece.window is not None:
            assert len(piece.window) == 160 * (piece.end - piece.window_start) <= 160 * WINDOW_FRAMES
    assert pieces[0].window is None and pieces[1].window is not None  # the first window is 0.8 s long


@pytest.mark.parametrize("block", [1, 100, 160, 7777, 10**6])
def test_pieces_do_not_depend_on_the_blocks(block: int) -> None:
    pcm = spoken()[: 16000 if block == 1 else None]
    expected, found = pieces_of(pcm, 1600), pieces_of(pcm, block)
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert (a.start, a.end, a.begins, a.window_start, a.heard) == (
            b.start,
            b.end,
            b.begins,
            b.window_start,
            b.heard,
        )
        assert (a.window is None) == (b.window is None) and (
            a.window is None or np.array_equal(a.window, b.window)
        )


def test_noise_is_learnt() -> None:
    """Steady noise is taken for speech only until the floor is known; speech above it is found all the same."""
    noise = np.random.default_rng(2).normal(0, 0.01, 16000 * 12).astype(np.float32)
    assert sum(p.end - p.start for p in pieces_of(noise, 1600)) < 150
    noise[16000 * 8 : 16000 * 10] += tone_voice(3, 2.0)
    late = [p for p in pieces_of(noise, 1600) if p.end > 300]
    assert late[0].start / 100 == pytest.approx(8.0, abs=0.2)
    assert late[-1].end / 100 == pytest.approx(10.0, abs=0.4)


def test_silence_and_clicks_are_no_speech() -> None:
    pcm = np.zeros(16000 * 5, np.float32)
    assert pieces_of(pcm, 1600) == []
    pcm[16000::8000] = 0.9
    assert pieces_of(pcm, 1600) == []


def test_a_recording_may_begin_within_a_word() -> None:
    activity, voice_ = VoiceActivity(), tone_voice(0, 0.6)
    heard = [activity.frame(voice_[at : at + 160]) for at in range(0, len(voice_), 160)]
    assert sum(heard) > 50


def test_a_slammed_door_is_forgotten() -> None:
    activity, generator = VoiceActivity(), np.random.default_rng(3)
    for seconds, least, most in ((2, 3.4, 4.5), (0, 7.0, 10.1), (30, 3.4, 4.5)):
        for _ in range(100 * seconds):
            activity.frame(generator.normal(0, 0.001, 160).astype(np.float32))
        if not seconds:
            activity.frame(generator.normal(0, 0.5, 160).astype(np.float32))
        assert least < activity.threshold_db - activity.floor_db < most


def test_activity_forgets() -> None:
    activity, fresh = VoiceActivity(), VoiceActivity()
    for _ in range(200):
        activity.frame(tone_voice(0, 0.01))
    activity.reset()
    assert [activity.frame(tone_voice(1, 0.01)) for _ in range(9)] == [
        fresh.frame(tone_voice(1, 0.01)) for _ in range(9)
    ]
