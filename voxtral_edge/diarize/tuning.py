"""The diariser's numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tuning:
    """Numbers that were chosen by measurement (docs/diarization.md, "How the numbers were chosen").

    least_seconds      different speech that makes a new speaker: of a voice like no other, of one nearly like another,
                       of one very nearly like another
    least_labelled_s   a new speaker is dropped with less speech than this
    full_seconds       windows at least this long are clustered; shorter ones only vote
    switch_cost        what a change of speaker must gain, in cosine, within speech
    pause_switch_cost  the same after a pause
    fixed_margin       added to the embedder's same-speaker cosine where the number of speakers is given: a group too
                       many is merged then, two people in one group stay so
    reunion_seconds    two known voices that have been heard this long each and turn out to be one are one from then on
    enrolled_margin    a voice of the stream is an enrolled one from this much below the same-speaker cosine on: other
                       rooms, other noise
    memory_seconds     weight of a known voice against new windows
    cluster_every      windows from one clustering to the next
    tentative_s        a voice first heard within this time is a new speaker at once; if too little of it follows, that
                       is taken back
    """

    least_seconds: tuple[float, float, float] = (2.0, 4.0, 8.0)
    least_labelled_s: float = 1.5
    full_seconds: float = 1.15
    switch_cost: float = 0.08
    pause_switch_cost: float = 0.03
    fixed_margin: float = 0.06
    reunion_seconds: float = 12.0
    enrolled_margin: float = 0.1
    memory_seconds: float = 60.0
    cluster_every: int = 2
    tentative_s: float = 5.0
