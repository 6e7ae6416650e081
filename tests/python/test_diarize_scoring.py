"""Diarisation error rate against cases worked out by hand; assignment and sequence against brute force; RTTM."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pytest

from voxtral_edge.diarize import DiarizationErrors, Turn, diarization_errors, read_rttm, speaker_of, to_rttm
from voxtral_edge.diarize.assignment import best_pairs
from voxtral_edge.diarize.sequence import best_sequence
from voxtral_edge.diarize.turns import joined_turns, speakers_of
from voxtral_edge.errors import UsageError

A_THEN_B = [Turn(0, 10, "a"), Turn(10, 20, "b")]


def seconds(errors: DiarizationErrors) -> tuple[float, float, float, float]:
    return tuple(round(v, 6) for v in (errors.missed, errors.false_alarm, errors.confused, errors.speech))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("reference", "hypothesis", "collar", "expected"),
    [
        # the names do not matter
        (A_THEN_B, [Turn(0, 10, "x"), Turn(10, 20, "y")], 0, (0, 0, 0, 20)),
        # a change found 2 s late
        (A_THEN_B, [Turn(0, 12, "x"), Turn(12, 20, "y")], 0, (0, 0, 2, 20)),
        # everything one speaker: one of the two is right
        (A_THEN_B, [Turn(0, 20, "x")], 0, (0, 0, 10, 20)),
        # 3 s too early (false alarm), 4 s not found
        ([Turn(5, 15, "a")], [Turn(2, 11, "x")], 0, (4, 3, 0, 10)),
        # nothing found; something found where nobody talks
        (A_THEN_B, [], 0, (20, 0, 0, 20)),
        ([], [Turn(1, 3, "x")], 0, (0, 2, 0, 0)),
        # two people at once, one of them found: missed
        ([Turn(0, 10, "a"), Turn(4, 10, "b")], [Turn(0, 10, "x")], 0, (6, 0, 0, 16)),
        # a collar of 0.25 s hides 0.25 s of the late change, and takes 0.25 s from each end and side from the speech
        (A_THEN_B, [Turn(0, 12, "x"), Turn(12, 20, "y")], 0.25, (0, 0, 1.75, 19)),
        # the best mapping is not the greedy one: x shares most with a (6 s), but x=b, y=a is right for 11 s, not 7
        (
            [Turn(0, 6, "a"), Turn(6, 11, "b"), Turn(11, 17, "a"), Turn(20, 21, "b")],
            [Turn(0, 11, "x"), Turn(11, 17, "y"), Turn(20, 21, "y")],
            0,
            (0, 0, 7, 18),
        ),
    ],
)
def test_errors_by_hand(
    reference: list[Turn], hypothesis: list[Turn], collar: float, expected: tuple[float, ...]
) -> None:
    assert seconds(diarization_errors(reference, hypothesis, collar)) == expected


def frame_errors(
    reference: list[Turn], hypothesis: list[Turn], collar_s: float
) -> tuple[float, float, float, float]:
    """The same by another way: 10 ms frames, every mapping tried. Turns and collar in whole frames, one voice at a
    time."""

    def frames(turns: list[Turn]) -> np.ndarray:
        who = np.full(4000, "", dtype=object)
        for turn in turns:
            who[round(turn.start * 100) : round(turn.end * 100)] = turn.speaker
        return who

    said, heard = frames(reference), frames(hypothesis)
    judged = np.ones(4000, dtype=bool)
    for turn in reference:
        for edge in (turn.start, turn.end):
            judged[max(0, round((edge - collar_s) * 100)) : round((edge + collar_s) * 100)] = False
    names, found = sorted({t.speaker for t in reference}), sorted({t.speaker for t in hypothesis})
    found += [f"nobody {i}" for i in range(len(names))]
    both = judged & (said != "") & (heard != "")
    right = max(
        sum(int(np.sum(both & (said == a) & (heard == b))) for a, b in zip(names, chosen, strict=True))
        for chosen in itertools.permutations(found, len(names))
    )
    missed = np.sum(judged & (said != "") & (heard == ""))
    extra = np.sum(judged & (said == "") & (heard != ""))
    return missed / 100, extra / 100, (np.sum(both) - right) / 100, np.sum(judged & (said != "")) / 100


@pytest.mark.parametrize("collar", [0.0, 0.25])
def test_errors_against_frames(collar: float) -> None:
    generator = np.random.default_rng(7)

    def talk(names: str) -> list[Turn]:
        cuts = np.sort(generator.choice(4000, 24, replace=False)) / 100
        return [
            Turn(a, b, str(generator.choice(list(names)))) for a, b in zip(cuts[::2], cuts[1::2], strict=True)
        ]

    for _ in range(20):
        reference, hypothesis = talk("abc"), talk("wxyz")
        expected = frame_errors(reference, hypothesis, collar)
        assert seconds(diarization_errors(reference, hypothesis, collar)) == pytest.approx(expected, abs=1e-6)


def test_rates() -> None:
    assert DiarizationErrors(1, 2, 3, 60).rate == pytest.approx(0.1)
    assert DiarizationErrors().rate == 0.0
    assert DiarizationErrors(false_alarm=1).rate == float("inf")


@pytest.mark.parametrize("shape", [(1, 1), (2, 4), (4, 2), (4, 4), (5, 3), (0, 3)])
def test_best_pairs_against_brute_force(shape: tuple[int, int]) -> None:
    generator = np.random.default_rng(3)
    for _ in range(20):
        gain = generator.integers(-3, 10, shape).astype(float)
        pairs = best_pairs(gain)
        small, large = sorted(shape)
        table = gain if shape[0] <= shape[1] else gain.T
        best = max(
            (sum(table[i, p[i]] for i in range(small)) for p in itertools.permutations(range(large), small)),
            default=0,
        )
        assert sum(gain[pair] for pair in pairs) == best
        assert len(pairs) == small == len({row for row, _ in pairs}) == len({column for _, column in pairs})


@pytest.mark.parametrize("before", [None, 0, 2])
def test_best_sequence_against_brute_force(before: int | None) -> None:
    generator = np.random.default_rng(5)
    for _ in range(10):
        scores, costs = generator.normal(size=(6, 3)), generator.uniform(0, 2, 6)

        def value(labels: tuple[int, ...], scores: np.ndarray = scores, costs: np.ndarray = costs) -> float:
            previous = (before, *labels)
            switches = sum(costs[i] for i in range(6) if previous[i] is not None and previous[i] != labels[i])
            return float(sum(scores[i, label] for i, label in enumerate(labels)) - switches)

        found = tuple(best_sequence(scores, costs, before).tolist())
        assert value(found) == pytest.approx(max(map(value, itertools.product(range(3), repeat=6))))


def test_speaker_of_a_word() -> None:
    turns = [Turn(0, 1, "a"), Turn(1, 2, "b"), Turn(4, 5, "a")]
    assert speaker_of(turns, 0.8, 1.1) == "a"
    assert speaker_of(turns, 0.8, 1.3) == "b"
    assert speaker_of(turns, 2.2, 2.4) == "b"  # in a pause, 0.2 s after b
    assert speaker_of(turns, 2.9, 3.1) is None  # nobody within half a second
    assert speaker_of([Turn(0, 1, "a"), Turn(2, 3, "b")], 1.5, 1.5) == "a"  # the earlier of two as near
    spans = [(start / 10, start / 10 + 0.3) for start in range(60)]
    assert speakers_of(turns, spans) == [speaker_of(turns, *span) for span in spans]


def test_joined_turns() -> None:
    turns = [Turn(0, 1, "a"), Turn(1.4, 2, "a"), Turn(2, 3, "b"), Turn(3, 4, "a")]
    assert joined_turns(turns, 0.5) == [Turn(0, 2, "a"), Turn(2, 3, "b"), Turn(3, 4, "a")]
    assert joined_turns(turns, 0.3) == turns


def test_rttm_there_and_back(tmp_path: Path) -> None:
    turns = [Turn(0.5, 2.25, "S1"), Turn(2.25, 3.0, "Ann Lee")]
    text = to_rttm(turns, "my talk")
    assert text.splitlines()[1] == "SPEAKER my_talk 1 2.250 0.750 <NA> <NA> Ann_Lee <NA> <NA>"
    # NIST's RT-09 plan: ten fields, of which these tools read type, file, channel, onset, duration and name
    assert all(
        re.fullmatch(r"SPEAKER \S+ 1 \d+\.\d{3} \d+\.\d{3}( <NA>){2} \S+( <NA>){2}", x)
        for x in text.splitlines()
    )
    (tmp_path / "a.rttm").write_text("SPKR-INFO my_talk 1 <NA> <NA>\n" + text)
    assert read_rttm(tmp_path / "a.rttm") == {"my_talk": [turns[0], Turn(2.25, 3.0, "Ann_Lee")]}
    (tmp_path / "bad.rttm").write_text("SPEAKER a 1 zero 1 <NA> <NA> x\n")
    with pytest.raises(UsageError, match="line 1"):
        read_rttm(tmp_path / "bad.rttm")
