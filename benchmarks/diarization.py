"""Diarisation error rate and cost, on conversations made of recordings of single speakers.

  python benchmarks/diarization.py --eval eval.jsonl --source librispeech_test-clean
  python benchmarks/diarization.py --eval eval.jsonl --speakers 2 4 --turns 1.5-3 --known-count --noise-dbfs -40

eval.jsonl: one JSON object per line with "path" (audio, relative to the list), "speaker" and optionally "source".
Conversations have known turns (`voxtral_edge.diarize.mixtures`), one voice at a time. Prints Markdown tables, and
with --json writes the numbers.

  DER           missed + false alarm + confused seconds per second of speech, after revision, collar 0.25 s on each
                side of a reference boundary; "strict" without a collar
  as written    share of speech whose speaker was unknown or wrong 0.7 s after it was heard: what a word gets when it
                is written (delay 480 ms), before revision
  count         conversations in which the number of speakers was found
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxtral_edge.audio import read_audio
from voxtral_edge.diarize import DiarizationErrors, OnlineDiarizer, OnnxEmbedder, Turn, diarization_errors
from voxtral_edge.diarize.mixtures import SAMPLE_RATE_HZ, Mixture, make_mixture
from voxtral_edge.diarize.turns import joined_turns
from voxtral_edge.errors import UsageError, VoxtralEdgeError

BLOCK_S = 0.1
WRITTEN_AFTER_S = 0.7

Recordings = dict[str, list[NDArray[np.float32]]]


@dataclass
class Row:
    """Conversations of one kind."""

    final: DiarizationErrors = field(default_factory=DiarizationErrors)
    strict: DiarizationErrors = field(default_factory=DiarizationErrors)
    written: DiarizationErrors = field(default_factory=DiarizationErrors)
    conversations: int = 0
    counted: int = 0
    audio_s: float = 0.0
    work_s: float = 0.0

    def add(self, other: Row) -> None:
        """Adds another row's conversations."""
        for name in ("final", "strict", "written"):
            getattr(self, name).add(getattr(other, name))
        self.conversations += other.conversations
        self.counted += other.counted
        self.audio_s += other.audio_s
        self.work_s += other.work_s


def read_speakers(
    path: Path, sources: Sequence[str] | None, session: str | None, least_s: float = 12.0
) -> Recordings:
    """The recordings of every speaker of whom there are at least `least_s` seconds. With `session`, a regular
    expression that finds a session's name in a path, only those of the speaker's longest session: in a
    conversation nobody changes room and microphone."""
    sessions: dict[str, Recordings] = defaultdict(lambda: defaultdict(list))
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line) if line.strip() else {}
        if "speaker" in row and (not sources or row.get("source") in sources):
            found = re.search(session, row["path"]) if session else None
            key = found.group(0) if found else ""
            sessions[row["speaker"]][key].append(read_audio(path.parent / row["path"]))
    longest = {name: max(parts.values(), key=_samples) for name, parts in sessions.items()}
    enough = {name: parts for name, parts in longest.items() if _samples(parts) >= least_s * SAMPLE_RATE_HZ}
    if not enough:
        raise UsageError(f"{path}: no speaker with {least_s:.0f} s of recordings is left; check --source")
    return enough


def _samples(recordings: list[NDArray[np.float32]]) -> int:
    return sum(len(pcm) for pcm in recordings)


def evaluate(mixture: Mixture, diarizer: OnlineDiarizer) -> Row:
    """Runs one conversation through a fresh diariser, a tenth of a second at a time."""
    step = int(BLOCK_S * SAMPLE_RATE_HZ)
    final: list[Turn] = []
    written: list[Turn] = []
    work_s = 0.0
    # Nobody talks after the end, but the last words are written too.
    pcm = np.concatenate([mixture.pcm, np.zeros(step * 10, dtype=np.float32)])
    for begin in range(0, len(pcm), step):
        started = time.perf_counter()
        final += [_turn(event) for event in diarizer.feed(pcm[begin : begin + step]) if event.final]
        work_s += time.perf_counter() - started
        at = (begin + step) / SAMPLE_RATE_HZ - WRITTEN_AFTER_S
        speaker = diarizer.speaker_at(at - BLOCK_S, at) if at >= BLOCK_S else None
        if speaker is not None:
            written += _inside(Turn(at - BLOCK_S, at, speaker), mixture.turns)
    started = time.perf_counter()
    final += [_turn(event) for event in diarizer.finish() if event.final]
    work_s += time.perf_counter() - started
    speakers = {turn.speaker for turn in mixture.turns}
    return Row(
        final=diarization_errors(mixture.turns, final, 0.25),
        strict=diarization_errors(mixture.turns, final),
        written=diarization_errors(mixture.turns, joined_turns(written), 0.25),
        conversations=1,
        counted=int(len({turn.speaker for turn in final}) == len(speakers)),
        audio_s=len(pcm) / SAMPLE_RATE_HZ,
        work_s=work_s,
    )


def measure(args: argparse.Namespace) -> dict[tuple[int, str], Row]:
    """All conversations, by number of speakers and length of turns."""
    recordings = read_speakers(args.eval, args.source, args.session)
    names = sorted(recordings)
    generator = np.random.default_rng(args.seed)
    embedder = OnnxEmbedder(args.embedder, args.front_end, args.same_speaker)
    rows: dict[tuple[int, str], Row] = {}
    for count in args.speakers:
        if count > len(names):
            raise UsageError(f"--speakers {count}: the list has {len(names)} speakers")
        for turns in args.turns:
            row = rows.setdefault((count, turns), Row())
            for _ in range(args.mixtures):
                chosen = {names[i]: recordings[names[i]] for i in generator.permutation(len(names))[:count]}
                mixture = make_mixture(
                    chosen, _range(turns), args.seconds, generator, noise_dbfs=args.noise_dbfs
                )
                limit = count if args.known_count else "auto"
                row.add(evaluate(mixture, OnlineDiarizer(limit, embedder, revisable_s=args.revisable)))
            print(_line(str(count), turns, row), flush=True)
    return rows


def main(argv: list[str] | None = None) -> int:
    """Runs the benchmark; the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--eval", type=Path, required=True, help="list of recordings")
    parser.add_argument("--source", nargs="+", help="only recordings of these sources")
    parser.add_argument("--session", metavar="REGEX", help="what names a session in a path; see the docs")
    parser.add_argument("--speakers", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument(
        "--turns", nargs="+", default=["1.5-3", "3-6", "6-12"], help="lengths of turns in seconds"
    )
    parser.add_argument("--mixtures", type=int, default=4, help="conversations of each kind (%(default)s)")
    parser.add_argument("--seconds", type=float, default=120.0, help="length of each (%(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--noise-dbfs", type=float, default=-65.0, help="white noise under it (%(default)s)")
    parser.add_argument("--known-count", action="store_true", help="tell the diariser how many there are")
    parser.add_argument("--revisable", type=float, default=90.0, help="seconds that may change (%(default)s)")
    parser.add_argument("--embedder", type=Path, help="another ONNX speaker embedder")
    parser.add_argument("--front-end", help="its input, if the file does not say")
    parser.add_argument("--same-speaker", type=float, help="its threshold")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(argv)
    print("| speakers | turns, s | conversations | DER | missed | false alarm | confused | strict DER |"
          " as written | count |\n|---|---|---|---|---|---|---|---|---|---|")  # fmt: skip
    try:
        rows = measure(args)
    except VoxtralEdgeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    total = Row()
    for row in rows.values():
        total.add(row)
    print(_line("all", "", total))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\ncost: {1000 * total.work_s / total.audio_s:.1f} ms per second of audio, one thread "
          f"({total.audio_s:.0f} s of audio); peak memory of the process {peak:.0f} MiB")  # fmt: skip
    if args.json:
        document = [{"speakers": key[0], "turns": key[1], **_numbers(row)} for key, row in rows.items()]
        args.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


def _inside(turn: Turn, reference: Sequence[Turn]) -> list[Turn]:
    """The parts of a turn in which somebody talks: words are written where there is speech only."""
    cut = [(max(turn.start, other.start), min(turn.end, other.end)) for other in reference]
    return [Turn(start, end, turn.speaker) for start, end in cut if end > start]


def _turn(event: Any) -> Turn:
    return Turn(event.start, event.end, event.speaker)


def _range(text: str) -> tuple[float, float]:
    least, _, most = text.partition("-")
    try:
        return float(least), float(most or least)
    except ValueError:
        raise UsageError(f"--turns {text}: write the least and most seconds, e.g. 3-6") from None


def _numbers(row: Row) -> dict[str, float]:
    speech = max(row.final.speech, 1e-9)
    return {
        "conversations": row.conversations,
        "der": row.final.rate,
        "missed": row.final.missed / speech,
        "false_alarm": row.final.false_alarm / speech,
        "confused": row.final.confused / speech,
        "strict_der": row.strict.rate,
        "as_written": row.written.rate,
        "counted": row.counted,
        "audio_s": row.audio_s,
        "work_s": row.work_s,
    }


def _line(speakers: str, turns: str, row: Row) -> str:
    n = _numbers(row)
    shares = " | ".join(
        f"{100 * n[name]:.1f} %"
        for name in ("der", "missed", "false_alarm", "confused", "strict_der", "as_written")
    )
    return f"| {speakers} | {turns} | {row.conversations} | {shares} | {row.counted} of {row.conversations} |"


if __name__ == "__main__":
    sys.exit(main())
