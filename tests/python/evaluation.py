"""Real speech to measure the demo model on: the evaluation set where one is at hand, else the bundled recordings.

The evaluation set is not part of the project: VOXTRAL_EDGE_EVAL names its folder (eval.jsonl with "path", "text" and
"source" per line; optionally transformers_hyps.json), or it lies in ../shared/tiny-model/eval beside the checkout.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from voxtral_edge.audio import read_audio

ROOT = Path(__file__).resolve().parents[2]
# What the demo model was trained for, digits best of all; the other sources of the list are for larger models.
DIGITS = "fsdd_strings_8khz"
KNOWN = (DIGITS, "grid_s1", "espeak_commands")


@dataclass(frozen=True)
class Utterance:
    """One recording: `name` is its path in the list, pcm float32 16 kHz mono."""

    name: str
    text: str
    source: str
    pcm: np.ndarray


def evaluation_folder() -> Path | None:
    """The folder of the evaluation set, or None. A VOXTRAL_EDGE_EVAL that points nowhere is an error."""
    named = os.environ.get("VOXTRAL_EDGE_EVAL")
    if named:
        folder = Path(named)
        if not (folder / "eval.jsonl").is_file():
            raise FileNotFoundError(f"VOXTRAL_EDGE_EVAL={named}: holds no eval.jsonl")
        return folder
    folder = ROOT.parent / "shared" / "tiny-model" / "eval"
    return folder if (folder / "eval.jsonl").is_file() else None


def word_ends_file() -> Path | None:
    """Word ends of the evaluation set's aligned recordings (see benchmarks/word_times.py), or None: ends.json
    in its folder, or what the demo model's training data brings."""
    folder = evaluation_folder()
    files = [folder / "ends.json", folder.parent / "cpu" / "hum_test.json"] if folder else []
    return next((file for file in files if file.is_file()), None)


def transformers_transcripts() -> dict[str, dict[str, str]]:
    """Recording -> delay in ms -> what transformers' fp32 model wrote; empty where the set brings none."""
    folder = evaluation_folder()
    file = folder / "transformers_hyps.json" if folder else None
    if file is None or not file.is_file():
        return {}
    return {name: entry["hyp"] for name, entry in json.loads(file.read_text(encoding="utf-8")).items()}


@cache
def utterances(sources: tuple[str, ...] = KNOWN) -> tuple[str, list[Utterance]]:
    """(what was used, recordings): these sources of the evaluation set, or without it the bundled samples."""
    folder = evaluation_folder()
    clips: list[Utterance] = []
    if folder is None:
        listing = json.loads((ROOT / "samples" / "samples.json").read_text(encoding="utf-8"))["samples"]
        for row in listing:
            clips.append(
                Utterance(row["file"], row["text"], "samples", read_audio(ROOT / "samples" / row["file"]))
            )
    else:
        for line in (folder / "eval.jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            if row["source"] in sources:
                clips.append(
                    Utterance(row["path"], row["text"], row["source"], read_audio(folder / row["path"]))
                )
    assert clips, "no recording to measure on"
    return ("the bundled samples" if folder is None else "the evaluation set"), clips
