"""The options that tell speakers apart, for every subcommand that transcribes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from voxtral_edge.cli.outputs import Job
from voxtral_edge.errors import UsageError
from voxtral_edge.events import SpeakerEvent
from voxtral_edge.files import write_whole

if TYPE_CHECKING:
    from voxtral_edge.diarize import OnlineDiarizer, OnnxEmbedder, Voiceprints


@dataclass
class SpeakerOptions:
    """What was asked for, checked. One embedder serves all recordings, one after the other."""

    speakers: str
    embedder: OnnxEmbedder
    voiceprints: Voiceprints | None
    rttm: Path | None
    into_folder: bool

    def diarizer(self) -> OnlineDiarizer:
        """A fresh diariser."""
        from voxtral_edge.diarize import OnlineDiarizer

        return OnlineDiarizer(self.speakers, self.embedder, self.voiceprints)

    def write_rttm(self, job: Job, turns: Sequence[SpeakerEvent]) -> None:
        """Writes the turns of a recording, if RTTM was asked for."""
        if self.rttm is None:
            return
        from voxtral_edge.diarize import Turn, to_rttm

        stem = Path(job.label).stem
        path = self.rttm / f"{stem}.rttm" if self.into_folder else self.rttm
        write_whole(path, to_rttm([Turn(turn.start, turn.end, turn.speaker) for turn in turns], stem))


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


def read(args: argparse.Namespace, inputs: int = 1) -> SpeakerOptions | None:
    """What the options ask for, or None for nothing. UsageError, DeviceError or ModelFormatError if it cannot be."""
    if args.speakers is None and args.known_speakers is None and args.rttm is None:
        return None
    from voxtral_edge.diarize import OnnxEmbedder, Voiceprints, parse_speakers

    speakers = args.speakers or "auto"
    parse_speakers(speakers)
    rttm = None if args.rttm is None else Path(args.rttm)
    into_folder = rttm is not None and (inputs > 1 or rttm.is_dir() or args.rttm.endswith("/"))
    if rttm is not None and into_folder and rttm.exists() and not rttm.is_dir():
        raise UsageError(f"--rttm {rttm}: is a file; several recordings need a folder")
    voiceprints = None if args.known_speakers is None else Voiceprints.load(args.known_speakers)
    embedder = OnnxEmbedder()
    if voiceprints is not None:
        voiceprints.check(embedder.name)
    return SpeakerOptions(speakers, embedder, voiceprints, rttm, into_folder)
