"""How far the times of recognised words are from aligned recordings, per source and delay.

  python benchmarks/word_times.py                                     # the bundled recordings
  python benchmarks/word_times.py --eval eval.jsonl --ends ends.json  # an evaluation list with word ends

eval.jsonl as in benchmarks/wer.py. ends.json: a list of {"id": recording, "text": words, "ends": [seconds, …]},
matched by the recording's file name. Only words that were recognised right are compared. "error" is ours minus the
alignment's, in milliseconds: signed median, median absolute error, and the 90th percentile of the absolute error.
What each alignment is, and how exact, is printed below the table.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from wer import read_list

from voxtral_edge.audio import read_audio
from voxtral_edge.engine import Engine, load
from voxtral_edge.errors import VoxtralEdgeError
from voxtral_edge.results import Transcript
from voxtral_edge.wer import align, normalize

SAMPLES = Path(__file__).resolve().parents[1] / "samples"
JOINED, GRID, BUNDLED = "fsdd_strings_8khz", "grid_s1", "samples"
KIND = {
    JOINED: "single recorded digits, joined. Ends are where each recording ends (exact); starts, the first 10 ms "
    "above -65 dBFS behind the join's silence of -74 dBFS (10 ms). Our starts are also found by level, so their "
    "errors here flatter: this speech has clean pauses.",
    GRID: "one speaker's connected sentences with the corpus' own word ends, which an automatic aligner set in "
    "steps of 10 ms. A word starts where the one before it ends; first words have no known start. The "
    "aligner's error is not published.",
    BUNDLED: "single recorded digits, joined by samples/make_samples.py at known samples (exact).",
}
DEFAULT_KIND = "from the list; their error is not known. A word starts where the one before it ends."
JOIN_LEVEL_DB = -65.0


@dataclass
class Aligned:
    """A recording (float32, 16 kHz) whose words have a start and an end in seconds; start None: not known."""

    source: str
    pcm: NDArray[np.float32]
    words: list[tuple[str, float | None, float]]


@dataclass
class Errors:
    """Recognised minus aligned times in seconds, of `words` reference words."""

    starts: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    words: int = 0

    def add(self, clip: Aligned, transcript: Transcript) -> None:
        reference = iter(clip.words)
        heard = [word for word in transcript.words if normalize(word.text)]
        recognised = iter(heard)
        self.words += len(clip.words)
        texts = [normalize(word.text) for word in heard]
        for expected, said in align([word for word, _, _ in clip.words], texts):
            aligned = next(reference) if expected is not None else None
            word = next(recognised) if said is not None else None
            if aligned is None or word is None or expected != said:
                continue
            self.ends.append(word.end - aligned[2])
            if aligned[1] is not None:
                self.starts.append(word.start - aligned[1])

    @staticmethod
    def summary(errors: list[float]) -> tuple[float, float, float]:
        """Signed median, median absolute error, 90th percentile of the absolute error; seconds."""
        if not errors:
            return (float("nan"),) * 3
        size = np.abs(errors)
        return float(np.median(errors)), float(np.median(size)), float(np.percentile(size, 90))


def bundled_clips() -> list[Aligned]:
    """The recordings of samples/, with the times at which their digits were joined."""
    listing = json.loads((SAMPLES / "samples.json").read_text(encoding="utf-8"))
    layout = listing["layout"]
    clips = []
    for row in listing["samples"]:
        words, time_s = [], layout["lead_s"]
        for word, gap_s in zip(row["text"].split(), row["gaps_s"], strict=True):
            end_s = time_s + layout["digits_s"][word]
            words.append((word, time_s + layout["keep_before_s"], end_s - layout["keep_after_s"]))
            time_s = end_s + gap_s
        clips.append(Aligned(BUNDLED, read_audio(SAMPLES / row["file"]), words))
    return clips


def listed_clips(list_file: Path, ends_file: Path) -> list[Aligned]:
    """The recordings of an evaluation list that have word ends."""
    entries = json.loads(ends_file.read_text(encoding="utf-8"))
    by_name = {Path(entry["id"]).stem: entry for entry in entries if entry.get("ends")}
    lines = [json.loads(line) for line in list_file.read_text(encoding="utf-8").splitlines() if line.strip()]
    named = {line["path"]: by_name.get(Path(line["path"]).stem.split("__")[-1]) for line in lines}
    sources = {line["source"] for line in lines if named[line["path"]]}
    if not sources:
        return []
    clips = []
    for row in read_list(list_file, sorted(sources), None):
        entry = named[row["path"]]
        if entry is not None and entry["text"] == row["text"]:
            clips.append(Aligned(row["source"], row["pcm"], with_starts(row, entry["ends"])))
    return clips


def with_starts(row: dict[str, Any], ends: list[float]) -> list[tuple[str, float | None, float]]:
    """Words with starts: by level where the recording was joined, else where the word before ended."""
    words = normalize(row["text"]).split()
    starts: list[float | None] = [None, *ends[:-1]]
    if row["source"] == JOINED:
        frames = row["pcm"][: len(row["pcm"]) // 160 * 160].reshape(-1, 160)
        loud = 10 * np.log10(np.mean(frames**2, axis=1) + 1e-12) > JOIN_LEVEL_DB
        for i, end in enumerate(ends):
            begin = round((ends[i - 1] if i else 0.0) * 100)
            span = loud[begin : round(end * 100)]
            silent = int(np.argmin(span))  # behind the last samples of the word before
            starts[i] = (begin + silent + int(np.argmax(span[silent:]))) / 100
    return list(zip(words, starts, ends, strict=True))


def measure(engine: Engine, clips: list[Aligned], delay_ms: int) -> dict[str, Errors]:
    """Source -> errors at one delay."""
    errors: dict[str, Errors] = {}
    for clip in clips:
        errors.setdefault(clip.source, Errors()).add(clip, engine.transcribe(clip.pcm, delay_ms))
    return errors


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--eval", type=Path, metavar="FILE", help="the evaluation list; needs --ends")
    parser.add_argument("--ends", type=Path, metavar="FILE", help="word ends of its recordings")
    parser.add_argument("-m", "--model", default="tiny-en", metavar="DIR|NAME")
    parser.add_argument("--delay-ms", type=int, nargs="+", default=[240, 480, 960], metavar="MS")
    parser.add_argument("--threads", type=int, default=2, metavar="N")
    args = parser.parse_args()
    if (args.eval is None) != (args.ends is None):
        parser.error("--eval and --ends go together")
    clips = bundled_clips() + (listed_clips(args.eval, args.ends) if args.eval else [])
    engine = load(args.model, threads=args.threads)
    print("| source | delay | words | end: error | median abs. | p90 | start: error | median abs. | p90 |")
    print("|---|---|---|---|---|---|---|---|---|")
    for delay_ms in args.delay_ms:
        for source, errors in measure(engine, clips, delay_ms).items():
            cells = [
                f"{1000 * value:.0f}"
                for value in (*errors.summary(errors.ends), *errors.summary(errors.starts))
            ]
            words = f"{len(errors.ends)} of {errors.words}"
            print(f"| {source} | {delay_ms} ms | {words} | " + " | ".join(cells) + " |", flush=True)
    print()
    for source in dict.fromkeys(clip.source for clip in clips):
        print(f"{source}: {KIND.get(source, DEFAULT_KIND)}")


if __name__ == "__main__":
    try:
        main()
    except VoxtralEdgeError as error:
        sys.exit(f"word_times: error: {error}")
