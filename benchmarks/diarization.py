"""Diarisation measured on conversations made of recordings of single speakers.

  python benchmarks/diarization.py --eval eval.jsonl                        # number of people not given
  python benchmarks/diarization.py --eval eval.jsonl --known-count
  python benchmarks/diarization.py --eval eval.jsonl --set tuning           # the speakers the numbers were chosen on
  python benchmarks/diarization.py --eval eval.jsonl --enrolled

eval.jsonl: one JSON object per line with "path" (audio, relative to the list) and "speaker". The speakers of the two
sets are fixed in `conversations.py`; of each, the longest session is used, in which nobody changes room and microphone.
Conversations have known turns, one voice at a time. Prints Markdown tables; with --json writes the numbers.

  DER           missed + false alarm + confused seconds per second of speech, after revision, collar 0.25 s on each
                side of a reference boundary; "strict" without a collar
  words         stretches of 0.3 s every 0.4 s of speech, in place of words: share with the right speaker in the end;
                "at changes": those within 0.5 s of a change of speaker; "as written": with the speaker that was known
                0.7 s after they ended, which is what a word gets when it is written (delay 480 ms)
  count         conversations in which the number of speakers was found
  ms per s      processor time per second of audio; of "first N min", of the audio since the row before
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from conversations import (
    REPORT_SPEAKERS,
    SAMPLE_RATE_HZ,
    TUNING_SPEAKERS,
    Mixture,
    Recordings,
    make_mixture,
    read_recordings,
)

from voxtral_edge.diarize import (
    DiarizationErrors,
    OnlineDiarizer,
    OnnxEmbedder,
    Turn,
    Voiceprints,
    diarization_errors,
)
from voxtral_edge.diarize.assignment import best_pairs
from voxtral_edge.diarize.turns import speakers_of
from voxtral_edge.errors import UsageError, VoxtralEdgeError

BLOCK_S = 0.1
WRITTEN_AFTER_S = 0.7
SPEAKER_S = (12.0, 30.0)
ENROL_S = 10.0


@dataclass
class Row:
    """Conversations of one kind; `words` and the like are (right, all)."""

    final: DiarizationErrors = field(default_factory=DiarizationErrors)
    strict: DiarizationErrors = field(default_factory=DiarizationErrors)
    words: Counter[str] = field(default_factory=Counter)
    counts: Counter[tuple[int, int]] = field(default_factory=Counter)
    audio_s: float = 0.0
    work_s: float = 0.0

    def add(self, other: Row) -> None:
        """Adds another row's conversations."""
        self.final.add(other.final)
        self.strict.add(other.strict)
        self.words.update(other.words)
        self.counts.update(other.counts)
        self.audio_s += other.audio_s
        self.work_s += other.work_s

    def share(self, kind: str) -> float:
        """Words of a kind with the right speaker."""
        return self.words[kind] / max(1, self.words[kind + " all"])

    def numbers(self) -> dict[str, float]:
        """For the tables and JSON."""
        speech = max(self.final.speech, 1e-9)
        return {
            "conversations": self.counts.total(),
            "der": self.final.rate,
            "missed": self.final.missed / speech,
            "false_alarm": self.final.false_alarm / speech,
            "confused": self.final.confused / speech,
            "strict_der": self.strict.rate,
            "words": self.share("final"),
            "words_at_changes": self.share("changes"),
            "words_as_written": self.share("written"),
            "counted": sum(number for (true, found), number in self.counts.items() if true == found),
            "audio_s": self.audio_s,
            "work_s": self.work_s,
        }


@dataclass
class Heard:
    """What the diariser made of a conversation: final turns, the label of each word when it was written, and the
    seconds of work for each block of audio."""

    final: list[Turn]
    spans: list[tuple[float, float, str, bool]]
    written: list[str | None]
    work_s: list[float]


def hear(mixture: Mixture, diarizer: OnlineDiarizer) -> Heard:
    """Runs one conversation through a fresh diariser, a tenth of a second at a time."""
    step = int(BLOCK_S * SAMPLE_RATE_HZ)
    heard = Heard([], word_spans(mixture.turns), [], [])
    # Nobody talks after the end, but the last words are written too.
    pcm = np.concatenate([mixture.pcm, np.zeros(step * 10, dtype=np.float32)])
    for begin in range(0, len(pcm), step):
        started = time.process_time()
        events = diarizer.feed(pcm[begin : begin + step])
        heard.work_s.append(time.process_time() - started)
        heard.final += [Turn(event.start, event.end, event.speaker) for event in events if event.final]
        while (
            len(heard.written) < len(heard.spans)
            and heard.spans[len(heard.written)][1] + WRITTEN_AFTER_S <= (begin + step) / SAMPLE_RATE_HZ
        ):
            heard.written.append(diarizer.speaker_at(*heard.spans[len(heard.written)][:2]))
    started = time.process_time()
    heard.final += [Turn(event.start, event.end, event.speaker) for event in diarizer.finish() if event.final]
    heard.work_s[-1] += time.process_time() - started
    return heard


def judge(
    mixture: Mixture, heard: Heard, names: Sequence[str] = (), part: tuple[float, float] | None = None
) -> Row:
    """The errors of a conversation. `names`: who is enrolled. `part`: only what is said before its end; work and audio
    between its beginning and its end, in seconds."""
    start, end = part or (0.0, len(heard.work_s) * BLOCK_S)
    turns = [turn for turn in mixture.turns if turn.end <= end]
    final = [turn for turn in heard.final if turn.start < end]
    count = sum(span[1] <= end for span in heard.spans)
    spans, written = heard.spans[:count], heard.written[:count]
    if turns and part is not None:  # a turn may be going on at the end of the part
        final = [
            Turn(t.start, min(t.end, turns[-1].end), t.speaker) for t in final if t.start < turns[-1].end
        ]
        spans = [span for span in spans if span[1] <= turns[-1].end]
    blocks = heard.work_s[round(start / BLOCK_S) : round(end / BLOCK_S)]
    row = Row(
        final=diarization_errors(turns, final, 0.25),
        strict=diarization_errors(turns, final),
        audio_s=len(blocks) * BLOCK_S,
        work_s=sum(blocks),
    )
    row.counts[len({turn.speaker for turn in turns}), len({turn.speaker for turn in final})] += 1
    said = speakers_of(final, [span[:2] for span in spans], 2.0)
    who = {name: name for name in names} if names else mapping(turns, final)
    for (_, _, true, changes), found, early in zip(spans, said, written, strict=False):
        for kind, label in (("final", found), ("written", early), *([("changes", found)] if changes else [])):
            right = who.get(label or "") == true if not names or true in names else label not in names
            row.words[kind] += right
            row.words[kind + " all"] += 1
        if names:
            kind = "enrolled" if true in names else "stranger"
            row.words[kind] += found == true if true in names else found not in names
            row.words[kind + " all"] += 1
    return row


def word_spans(turns: Sequence[Turn]) -> list[tuple[float, float, str, bool]]:
    """Start, end, speaker, and whether a change of speaker is within 0.5 s."""
    changes = [at for a, b in itertools.pairwise(turns) if a.speaker != b.speaker for at in (a.end, b.start)]
    spans = []
    for turn in turns:
        for start in np.arange(turn.start, turn.end - 0.3, 0.4):
            near = any(start - 0.5 < at < start + 0.8 for at in changes)
            spans.append((float(start), float(start) + 0.3, turn.speaker, near))
    return spans


def mapping(reference: Sequence[Turn], found: Sequence[Turn]) -> dict[str, str]:
    """Found speakers to those of the reference, so that most time is right."""
    said, heard = sorted({t.speaker for t in reference}), sorted({t.speaker for t in found})
    shared = np.zeros((len(said), len(heard)))
    for a in reference:
        for b in found:
            overlap = min(a.end, b.end) - max(a.start, b.start)
            shared[said.index(a.speaker), heard.index(b.speaker)] += max(0.0, overlap)
    return {heard[column]: said[row] for row, column in best_pairs(shared)}


def conversations(args: argparse.Namespace) -> Iterable[tuple[int, str, float, Mixture]]:
    """Number of speakers, lengths of turns, SNR, and the conversation."""
    recordings = chosen_speakers(args)
    names = sorted(recordings)
    generator = np.random.default_rng(args.seed)
    for count in args.speakers:
        if count > len(names):
            raise UsageError(f"--speakers {count}: the set has {len(names)} speakers")
        for turns in args.turns:
            for snr_db in args.snr:
                for _ in range(args.mixtures):
                    who = {names[i]: recordings[names[i]] for i in generator.permutation(len(names))[:count]}
                    mixture = make_mixture(
                        who, _range(turns), SPEAKER_S, generator, snr_db=snr_db, total_s=args.seconds
                    )
                    yield count, turns, snr_db, mixture


def chosen_speakers(args: argparse.Namespace, sessions: bool = True) -> Recordings:
    """The recordings of the set that was asked for."""
    names = {"tuning": TUNING_SPEAKERS, "report": REPORT_SPEAKERS}[args.set]
    return read_recordings(args.eval, names, SPEAKER_S[0], sessions)


def measure(args: argparse.Namespace) -> dict[str, Row]:
    """All conversations, summed by number of speakers, lengths of turns and SNR."""
    embedder = OnnxEmbedder(args.embedder, args.front_end, args.same_speaker)
    rows: dict[str, Row] = defaultdict(Row)
    for count, turns, snr_db, mixture in conversations(args):
        limit = count if args.known_count else "auto"
        heard = hear(mixture, OnlineDiarizer(limit, embedder, revisable_s=args.revisable))
        row = judge(mixture, heard)
        for key in (f"{count} speakers", f"turns of {turns} s", f"SNR {snr_db:g} dB", "all"):
            rows[key].add(row)
        for part in itertools.pairwise([0.0, *args.first]):
            rows[f"first {part[1] / 60:g} min"].add(judge(mixture, heard, part=part))
        print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    everything = rows.pop("all")
    # "first 15 min" comes after "first 2 min"
    ordered = sorted(rows.items(), key=lambda item: "first" if item[0].startswith("first") else item[0])
    return {**dict(ordered), "all": everything}


def measure_enrolled(args: argparse.Namespace) -> dict[str, Row]:
    """Conversations of three: two are enrolled from other recordings, one is a stranger; four more are enrolled and
    are not there."""
    recordings = chosen_speakers(args, sessions=False)
    embedder = OnnxEmbedder(args.embedder, args.front_end, args.same_speaker)
    halves = {name: _split(parts) for name, parts in recordings.items()}
    halves = {
        name: half for name, half in halves.items() if min(map(len, half)) >= (ENROL_S - 1) * SAMPLE_RATE_HZ
    }
    generator = np.random.default_rng(args.seed)
    rows: dict[str, Row] = defaultdict(Row)
    for snr_db in args.snr:
        for _ in range(args.mixtures * 3):
            names = [sorted(halves)[i] for i in generator.permutation(len(halves))[:7]]
            prints = Voiceprints(embedder.name)
            for name in names[1:]:
                prints.enrol(name, halves[name][0], embedder)
            heard = {name: [halves[name][1]] for name in names[:3]}
            mixture = make_mixture(heard, (3.0, 6.0), SPEAKER_S, generator, snr_db=snr_db)
            row = judge(mixture, hear(mixture, OnlineDiarizer("auto", embedder, prints)), names[1:])
            for key in (f"SNR {snr_db:g} dB", "all"):
                rows[key].add(row)
    return {key: rows[key] for key in sorted(rows, key=lambda key: (key == "all", key))}


def _split(parts: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """About ten seconds to enrol with, and the rest."""
    whole = np.concatenate(list(parts))
    cut = int(ENROL_S * SAMPLE_RATE_HZ)
    return whole[:cut], whole[cut:]


def main(argv: list[str] | None = None) -> int:
    """Runs the benchmark; the exit code."""
    args = _parser().parse_args(argv)
    try:
        rows = measure_enrolled(args) if args.enrolled else measure(args)
    except VoxtralEdgeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if args.enrolled:
        table(
            rows,
            {
                "enrolled": lambda r: _percent(r.share("enrolled")),
                "stranger": lambda r: _percent(r.share("stranger")),
            },
        )
    else:
        report(rows)
    total = rows["all"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"\ncost: {1000 * total.work_s / total.audio_s:.1f} ms per second of audio, one thread, real-time factor "
        f"{total.work_s / total.audio_s:.3f} ({total.audio_s:.0f} s of audio); peak memory {peak:.0f} MiB"
    )
    if args.json:
        document = [{"kind": key, **row.numbers()} for key, row in rows.items()]
        args.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


def report(rows: dict[str, Row]) -> None:
    """The tables of the errors and of the numbers of speakers."""
    columns = {"DER": "der", "missed": "missed", "false alarm": "false_alarm", "confused": "confused"}
    columns |= {"strict DER": "strict_der", "words": "words", "at changes": "words_at_changes"}
    columns |= {"as written": "words_as_written"}

    def shares(name: str) -> Callable[[Row], str]:
        return lambda row: _percent(row.numbers()[name])

    table(
        rows,
        {title: shares(name) for title, name in columns.items()}
        | {
            "count": lambda row: f"{row.numbers()['counted']} of {row.counts.total()}",
            "ms per s": lambda row: f"{1000 * row.work_s / max(row.audio_s, 1e-9):.0f}",
        },
    )
    counts = rows["all"].counts
    found = sorted({found for _, found in counts})
    print("\n| speakers | " + " | ".join(f"{n} found" for n in found) + " |\n|" + "---|" * (len(found) + 1))
    for true in sorted({true for true, _ in counts}):
        print(f"| {true} | " + " | ".join(str(counts[true, n] or "") for n in found) + " |")


def table(rows: dict[str, Row], columns: dict[str, Callable[[Row], str]]) -> None:
    """Prints rows as Markdown."""
    print("| | conversations | " + " | ".join(columns) + " |\n|" + "---|" * (len(columns) + 2))
    for key, row in rows.items():
        print(
            f"| {key} | {row.counts.total()} | " + " | ".join(make(row) for make in columns.values()) + " |"
        )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _range(text: str) -> tuple[float, float]:
    least, _, most = text.partition("-")
    try:
        return float(least), float(most or least)
    except ValueError:
        raise UsageError(f"--turns {text}: write the least and most seconds, e.g. 3-6") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--eval", type=Path, required=True, help="list of recordings")
    parser.add_argument("--set", choices=["report", "tuning"], default="report", help="whose voices")
    parser.add_argument("--speakers", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument(
        "--turns", nargs="+", default=["1.5-3", "3-6", "6-12"], help="lengths of turns in seconds"
    )
    parser.add_argument("--snr", type=float, nargs="+", default=[40.0, 20.0, 10.0], help="dB, of pink noise")
    parser.add_argument("--mixtures", type=int, default=4, help="conversations of each kind (%(default)s)")
    parser.add_argument("--seconds", type=float, help="length of each, repeating what was said")
    parser.add_argument(
        "--first", type=float, nargs="+", default=[], help="judge the first so many seconds too (ascending)"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--known-count", action="store_true", help="tell the diariser how many there are")
    parser.add_argument("--enrolled", action="store_true", help="names for known voices")
    parser.add_argument("--revisable", type=float, default=90.0, help="seconds that may change (%(default)s)")
    parser.add_argument("--embedder", type=Path, help="another ONNX speaker embedder")
    parser.add_argument("--front-end", help="its input, if the file does not say")
    parser.add_argument("--same-speaker", type=float, help="its threshold")
    parser.add_argument("--json", type=Path)
    return parser


if __name__ == "__main__":
    sys.exit(main())
