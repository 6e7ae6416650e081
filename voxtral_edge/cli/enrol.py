"""Makes voiceprints, so that speakers are called by their names.

  voxtral-edge enrol -o voices.json Anna=anna.wav Ben=ben1.wav Ben=ben2.flac
  voxtral-edge transcribe meeting.wav --known-speakers voices.json

A recording should hold ten seconds or more of one person, made like the recordings to come (same microphone, same
room). Adding to a file keeps who is in it. A voiceprint is personal data: ask the person first.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from voxtral_edge.cli.main import EXIT_DONE
from voxtral_edge.errors import UsageError
from voxtral_edge.files import check_writable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of `voxtral-edge enrol`."""
    parser.add_argument(
        "recordings", nargs="+", metavar="NAME=AUDIO", help="a name and a recording of that voice"
    )
    parser.add_argument(
        "-o", "--output", required=True, metavar="FILE", help="voiceprints file (JSON), made or added to"
    )
    parser.add_argument(
        "--replace", action="store_true", help="forget the old voiceprints of the names given"
    )


def run(args: argparse.Namespace) -> int:
    """Runs `voxtral-edge enrol`; the exit code."""
    from voxtral_edge.diarize import OnnxEmbedder, Voiceprints

    pairs = [_pair(text) for text in args.recordings]
    target = Path(args.output)
    if target.exists() and not target.is_file():
        raise UsageError(f"{target}: is no file; voiceprints are added to a file of their own")
    check_writable(target)
    embedder = OnnxEmbedder()
    voiceprints = Voiceprints.load(target) if target.exists() else Voiceprints(embedder.name)
    if args.replace:
        for name in {name for name, _ in pairs}:
            voiceprints.forget(name)
    for name, audio in pairs:
        seconds = voiceprints.enrol(name, audio, embedder)
        print(f"{name}: {seconds:.1f} s of speech in {audio}")
    voiceprints.save(target)
    print(f"{target}: {', '.join(voiceprints.names)}")
    return EXIT_DONE


def _pair(text: str) -> tuple[str, str]:
    name, equals, audio = text.partition("=")
    if not equals or not name.strip() or not audio:
        raise UsageError(f"{text!r}: write NAME=AUDIO, e.g. Anna=anna.wav")
    return name, audio
