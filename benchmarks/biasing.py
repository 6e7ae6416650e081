"""What hotwords gain and cost: recall of the listed words, word error rate of the rest, per weight.

  python benchmarks/biasing.py --eval eval.jsonl --source fsdd_strings_8khz
  python benchmarks/biasing.py --eval eval.jsonl --source grid_s1 --words eight five --weight 0.5 1 2

Every word is listed alone and its run scored (or all of --words as one list); the table sums over the words.
"recall" counts reference words of the list that were written; "false" is listed words written where something
else was said; "rest" is the error rate over all other reference words, insertions included. The last rows
list words that nobody says (--other): "changed" must be 0. eval.jsonl as in benchmarks/wer.py.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wer import read_list

from voxtral_edge.engine import Engine, load
from voxtral_edge.errors import VoxtralEdgeError
from voxtral_edge.wer import normalize

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

    def row(self, name: str) -> str:
        recall = f"{100 * self.hits / self.listed:.1f} %" if self.listed else "–"
        rest = f"{100 * self.rest_errors / max(1, self.rest):.2f} %"
        return (
            f"| {name} | {recall} ({self.hits} of {self.listed}) | {self.false} | {rest} | {self.changed} |"
        )


def align(reference: Sequence[str], heard: Sequence[str]) -> list[tuple[str | None, str | None]]:
    """The cheapest alignment as pairs; None stands for nothing said or nothing written."""
    rows, columns = len(reference) + 1, len(heard) + 1
    cost = [[max(i, j) if not i or not j else 0 for j in range(columns)] for i in range(rows)]
    for i in range(1, rows):
        for j in range(1, columns):
            match = cost[i - 1][j - 1] + (reference[i - 1] != heard[j - 1])
            cost[i][j] = min(match, cost[i - 1][j] + 1, cost[i][j - 1] + 1)
    i, j = rows - 1, columns - 1
    pairs: list[tuple[str | None, str | None]] = []
    while i or j:
        if i and j and cost[i][j] == cost[i - 1][j - 1] + (reference[i - 1] != heard[j - 1]):
            i, j = i - 1, j - 1
            pairs.append((reference[i], heard[j]))
        elif i and cost[i][j] == cost[i - 1][j] + 1:
            i -= 1
            pairs.append((reference[i], None))
        else:
            j -= 1
            pairs.append((None, heard[j]))
    return pairs


def measure(
    engine: Engine, rows: list[dict[str, Any]], delay_ms: int, lists: list[list[str]], weight: float | None
) -> Count:
    """Every list on every utterance; weight None: no list, scored as if there were one."""
    count = Count()
    for words in lists:
        hotwords = engine.hotwords([(word, weight) for word in words] if weight else None)
        for row in rows:
            if weight is None:
                text = row["unbiased"]
            else:
                text = engine.transcribe(row["pcm"], delay_ms, hotwords=hotwords).text
            count.changed += text != row["unbiased"]
            count.add(row["text"], text, set(" ".join(words).split()))
    return count


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
    parser.add_argument("--weight", nargs="+", type=float, default=[0.25, 0.5, 1, 1.5, 2, 3, 4])
    parser.add_argument("--delay-ms", type=int, default=480, metavar="MS")
    parser.add_argument("--threads", type=int, default=2, metavar="N")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    rows = read_list(args.eval, args.source, args.limit)
    engine = load(args.model, threads=args.threads)
    for row in rows:
        row["unbiased"] = engine.transcribe(row["pcm"], args.delay_ms).text
    vocabulary = sorted({word for row in rows for word in normalize(row["text"]).split()})
    lists = [args.words] if args.words else [[word] for word in vocabulary]
    print("| weight | recall of listed words | false | WER of the rest | changed |\n|---|---|---|---|---|")
    for weight in [None, *args.weight]:
        count = measure(engine, rows, args.delay_ms, lists, weight)
        print(count.row("none" if weight is None else f"{weight:g}"), flush=True)
    for weight in args.weight:
        count = measure(engine, rows, args.delay_ms, [args.other], weight)
        print(count.row(f"{weight:g}, other words"), flush=True)


if __name__ == "__main__":
    try:
        main()
    except VoxtralEdgeError as error:
        sys.exit(f"biasing: error: {error}")
