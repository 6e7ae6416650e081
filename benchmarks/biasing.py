"""What hotwords gain and cost: recall of the listed words, word error rate of the rest, per weight and delay.

  python benchmarks/biasing.py --eval eval.jsonl --source fsdd_strings_8khz --words eight --ends ends.json
  python benchmarks/biasing.py --eval eval.jsonl --source grid_s1 --words seven zero --weight 0.5 1 1.5

Every word is listed alone and its run scored (or all of --words as one list); the table sums over the words.
"recall" counts reference words of the list that were written; "false" is listed words written where something
else was said; "rest" is the error rate over all other reference words, insertions included; "changed" counts
transcripts. Every second recording is for tuning, the others for reporting: the last line names the largest
weight whose "rest" rises by at most 0.1 point on the tuning part at every delay. The rows before it list words
that nobody says (--other): "changed" must be 0. eval.jsonl as in benchmarks/wer.py. With --ends (as in
benchmarks/word_times.py) the words of each part are cut out and joined anew, in random order: a recording's
words are too few to see 0.1 point.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from wer import read_list
from word_times import listed_clips

from voxtral_edge.engine import Engine, load
from voxtral_edge.errors import UsageError, VoxtralEdgeError
from voxtral_edge.wer import align, normalize

PARTS = ("tune", "report")
BOUND_POINTS = 0.1
JOINED_WORDS = 5
OTHER = ["kubernetes", "zurich", "raspberry", "jetson", "tokyo", "elephant", "mountain", "guitar", "umbrella"]


@dataclass
class Count:
    """Reference words of the list and hits among them; other reference words and errors; changed
    transcripts."""

    listed: int = 0
    hits: int = 0
    false: int = 0
    rest: int = 0
    rest_errors: int = 0
    changed: int = 0

    def add(self, reference: str, text: str, words: set[str]) -> None:
        for expected, heard in align(normalize(reference).split(), normalize(text).split()):
            self.false += heard in words and expected != heard
            if expected in words:
                self.listed += 1
                self.hits += expected == heard
            else:
                self.rest += expected is not None
                self.rest_errors += expected != heard

    @property
    def rest_points(self) -> float:
        """Word error rate of the other words, in percent."""
        return 100 * self.rest_errors / max(1, self.rest)

    def cells(self) -> str:
        recall = f"{100 * self.hits / self.listed:.1f} %" if self.listed else "–"
        return f"{recall} ({self.hits} of {self.listed}) | {self.false} | {self.rest_points:.2f} % | {self.changed}"


def joined_anew(
    list_file: Path, ends_file: Path, sources: list[str] | None, count: int
) -> list[dict[str, Any]]:
    """`count` strings of five words cut from the aligned recordings: even ones from the recordings with even
    number, odd ones from the others. Pauses of 0.08 to 0.35 s of noise at -74 dBFS, as in the digit strings."""
    clips = [clip for clip in listed_clips(list_file, ends_file) if not sources or clip.source in sources]
    generator = np.random.default_rng(1)
    rows: list[dict[str, Any]] = []
    pools = [
        [(word, clip.pcm[int(start * 16000) : int(end * 16000)]) for clip in clips[part::2]
         for word, start, end in clip.words if start is not None]
        for part in range(len(PARTS))
    ]  # fmt: skip
    if not all(pools):
        raise UsageError(f"{ends_file}: aligns no recording of {list_file}; check --source")
    for number in range(count):
        pool = pools[number % len(PARTS)]
        words, pieces = [], []
        for index in generator.integers(len(pool), size=JOINED_WORDS):
            words.append(pool[index][0])
            pieces += [np.zeros(int(16000 * generator.uniform(0.08, 0.35))), pool[index][1]]
        pcm = np.concatenate([*pieces, np.zeros(3200)])
        pcm += generator.standard_normal(len(pcm)) * 10 ** (-74 / 20)
        rows.append({"text": " ".join(words), "pcm": pcm.astype(np.float32)})
    return rows


def measure(
    engine: Engine, rows: list[dict[str, Any]], delay_ms: int, lists: list[list[str]], weight: float | None
) -> list[Count]:
    """Every list on every utterance, one count per part; weight None: no list, scored as if there were one."""
    counts = [Count() for _ in PARTS]
    for words in lists:
        hotwords = engine.hotwords([(word, weight) for word in words] if weight else None)
        for number, row in enumerate(rows):
            unbiased = row["unbiased"][delay_ms]
            text = engine.transcribe(row["pcm"], delay_ms, hotwords=hotwords).text if weight else unbiased
            count = counts[number % len(PARTS)]
            count.changed += text != unbiased
            count.add(row["text"], text, set(" ".join(words).split()))
    return counts


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--eval", type=Path, required=True, metavar="FILE", help="the evaluation list")
    parser.add_argument("-m", "--model", default="tiny-en", metavar="DIR|NAME")
    parser.add_argument("--source", nargs="+", help="only these groups of the list")
    parser.add_argument("--limit", type=int, metavar="N", help="at most N utterances per group")
    parser.add_argument("--words", nargs="+", help="one list of these (default: every reference word, alone)")
    parser.add_argument("--other", nargs="+", default=OTHER, help="words that nobody says")
    parser.add_argument("--weight", nargs="+", type=float, default=[0.5, 1, 1.5, 2, 3])
    parser.add_argument("--ends", type=Path, metavar="FILE", help="word ends: join the words anew")
    parser.add_argument("--joined", type=int, default=600, metavar="N", help="strings to join")
    parser.add_argument("--delay-ms", type=int, nargs="+", default=[240, 480, 960], metavar="MS")
    parser.add_argument("--threads", type=int, default=2, metavar="N")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    if args.ends:
        rows = joined_anew(args.eval, args.ends, args.source, args.joined)
    else:
        rows = read_list(args.eval, args.source, args.limit)
    engine = load(args.model, threads=args.threads)
    for row in rows:
        row["unbiased"] = {delay: engine.transcribe(row["pcm"], delay).text for delay in args.delay_ms}
    vocabulary = sorted({word for row in rows for word in normalize(row["text"]).split()})
    lists = [args.words] if args.words else [[word] for word in vocabulary]
    columns = " | ".join(f"{part}: recall | false | rest | changed" for part in PARTS)
    print(f"| delay | weight | {columns} |\n" + "|---" * (2 + 4 * len(PARTS)) + "|")
    harmless = set(args.weight)
    for delay_ms in args.delay_ms:
        unbiased = measure(engine, rows, delay_ms, lists, None)
        show(delay_ms, "none", unbiased)
        for weight in args.weight:
            counts = measure(engine, rows, delay_ms, lists, weight)
            show(delay_ms, f"{weight:g}", counts)
            if counts[0].rest_points > unbiased[0].rest_points + BOUND_POINTS:
                harmless.discard(weight)
        show(
            delay_ms, "largest, other words", measure(engine, rows, delay_ms, [args.other], max(args.weight))
        )
    print(
        f"\nharmless to the rest (+{BOUND_POINTS} point on the tuning part): {max(harmless, default='none')}"
    )


def show(delay_ms: int, name: str, counts: list[Count]) -> None:
    print(f"| {delay_ms} ms | {name} | " + " | ".join(count.cells() for count in counts) + " |", flush=True)


if __name__ == "__main__":
    try:
        main()
    except VoxtralEdgeError as error:
        sys.exit(f"biasing: error: {error}")
