"""The diariser's numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tuning:
    """Numbers that were chosen by measurement (docs/diarization.md, "How the numbers were chosen").

    least_seconds      speech that makes a new speaker
    least_labelled_s   a new speaker is dropped with less speech than this
    full_seconds       windows at least this long are clustered; shorter ones only vote
    switch_cost        what a change of speaker must gain, in cosine, within speech
    pause_switch_cost  the same after a pause
    fixed_margin       added to the embedder's same-speaker cosine where the number of speakers is given: a group too
                       many is merged then, two people in one group stay so
    memory_seconds     weight of a known voice against new windows
    cluster_every      windows from one clustering to the next
    tentative_s        a voice first heard within this time is a new speaker at once; if too little of it follows, that
                       is taken back
    """

    least_seconds: float = 2.0
    least_labelled_s: float = 1.5
    full_seconds: float = 1.15
    switch_cost: float = 0.08
    pause_switch_cost: float = 0.03
    fixed_margin: float = 0.03
    memory_seconds: float = 60.0
    cluster_every: int = 2
    tentative_s: float = 3.0
