"""The options that tell speakers apart, for every subcommand that transcribes."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from voxtral_edge.cli.outputs import Job, output_files
from voxtral_edge.events import SpeakerEvent
from voxtral_edge.files import check_writable, write_whole

if TYPE_CHECKING:
    from voxtral_edge.diarize import OnlineDiarizer, OnnxEmbedder, Voiceprints


@dataclass
class SpeakerOptions:
    """What was asked for, checked. One embedder serves all recordings, one after the other."""

    speakers: str
    embedder: OnnxEmbedder
    voiceprints: Voiceprints | None
    rttm: Mapping[Job, Path]

    def diarizer(self) -> OnlineDiarizer:
        """A fresh diariser."""
        from voxtral_edge.diarize import OnlineDiarizer

        return OnlineDiarizer(self.speakers, self.embedder, self.voiceprints)

    def write_rttm(self, job: Job, turns: Sequence[SpeakerEvent]) -> None:
        """Writes the turns of a recording, if RTTM was asked for."""
        if job not in self.rttm:
            return
        from voxtral_edge.diarize import Turn, to_rttm

        text = to_rttm([Turn(turn.start, turn.end, turn.speaker) for turn in turns], Path(job.label).stem)
        write_whole(self.rttm[job], text)


def add_arguments(parser: argparse.ArgumentParser, recordings: bool = True) -> None:
    """Declares `--speakers`, `--known-speakers` and, for recordings, `--rttm`."""
    parser.set_defaults(rttm=None)
    group = parser.add_argument_group("speakers")
    group.add_argument(
        "--speakers",
        metavar="auto|N",
        help="tell speakers apart; N is the largest number there can be (needs onnxruntime)",
    )
    group.add_argument(
        "--known-speakers",
        metavar="FILE",
        help="voiceprints of people to call by name, made with `voxtral-edge enrol`; implies --speakers auto",
    )
    if not recordings:
        return
    group.add_argument(
        "--rttm",
        metavar="FILE|DIR",
        help="write who spoke when in RTTM; a folder for several inputs; implies --speakers auto",
    )


def read(args: argparse.Namespace, jobs: Sequence[Job] = ()) -> SpeakerOptions | None:
    """What the options ask for, or None for nothing. UsageError, DeviceError or ModelFormatError if it cannot be."""
    if args.speakers is None and args.known_speakers is None and args.rttm is None:
        return None
    from voxtral_edge.diarize import OnnxEmbedder, Voiceprints, parse_speakers

    speakers = args.speakers or "auto"
    parse_speakers(speakers)
    rttm = {} if args.rttm is None else dict(zip(jobs, _rttm_files(args.rttm, jobs), strict=True))
    voiceprints = None if args.known_speakers is None else Voiceprints.load(args.known_speakers)
    embedder = OnnxEmbedder()
    if voiceprints is not None:
        voiceprints.check(embedder.name)
    return SpeakerOptions(speakers, embedder, voiceprints, rttm)


def _rttm_files(option: str, jobs: Sequence[Job]) -> list[Path]:
    files = output_files([job.source for job in jobs], option, "rttm")
    for file in files:
        check_writable(file)
    return files
