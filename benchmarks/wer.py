"""Word error rate of a model, per precision, delay and engine, on an evaluation list.

  python benchmarks/wer.py --checkpoint checkpoints/tiny-en --eval eval.jsonl --precision fp32 int8 int4
  python benchmarks/wer.py --checkpoint checkpoints/tiny-en --eval eval.jsonl --engine native transformers
  python benchmarks/wer.py --package DIR [DIR…] --eval eval.jsonl --delay-ms 240 480 --engine onnxruntime

eval.jsonl: one JSON object per line with "path" (audio, relative to the list), "text" (what is said) and
optionally "source" (a group with its own row). Prints a Markdown table, and with --json writes every
transcript too. Where the fp32 package runs with the native engine, other precisions are also compared with it
token by token: "edits" are tokens that differ, "flips" are positions where one of the two speaks and the
other is silent.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from voxtral_edge.audio import read_audio
from voxtral_edge.engine import load
from voxtral_edge.errors import UsageError, VoxtralEdgeError
from voxtral_edge.package_folder import read_manifest
from voxtral_edge.wer import WordErrors, edit_distance, pad_text_flips

ENGINES = ("native", "onnxruntime", "transformers")
REFERENCE = ("fp32", "native")


@dataclass
class Run:
    """One model, engine and delay over the whole list."""

    model: str
    engine: str
    delay_ms: int
    seconds: float = 0.0
    audio_s: float = 0.0
    errors: dict[str, WordErrors] = field(default_factory=dict)
    hypotheses: list[str] = field(default_factory=list)
    token_ids: list[list[int]] = field(default_factory=list)
    edits: int | None = None
    flips: int | None = None


def read_list(path: Path, sources: list[str] | None, limit: int | None) -> list[dict[str, Any]]:
    """The utterances of the list with their audio (float32, 16 kHz), at most `limit` per source."""
    rows: list[dict[str, Any]] = []
    taken: dict[str, int] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.strip():
            continue
        row = json.loads(line)
        source = row.setdefault("source", "all")
        if sources and source not in sources:
            continue
        taken[source] = taken.get(source, 0) + 1
        if limit is None or taken[source] <= limit:
            rows.append({**row, "pcm": read_audio(path.parent / row["path"])})
    if not rows:
        raise UsageError(f"{path}: no utterance is left; check --source and --limit")
    return rows


@contextlib.contextmanager
def packages(args: argparse.Namespace) -> Iterator[dict[str, Path]]:
    """Name -> package folder: those given, or one export of the checkpoint per precision in a temporary
    folder."""
    if args.package:
        yield {path.name: path for path in args.package}
        return
    from voxtral_edge.export import Checkpoint, export_package

    with tempfile.TemporaryDirectory() as folder:
        made = {}
        for precision in args.precision:
            made[precision] = Path(folder) / precision
            export_package(Checkpoint(args.checkpoint), made[precision], precision=precision)
        yield made


def run_package(
    name: str, package: Path, engine_name: str, delay_ms: int, rows: list[dict[str, Any]], threads: int
) -> Run:
    """Transcribes every utterance with a package."""
    run = Run(name, engine_name, delay_ms)
    engine = load(package, engine_name, threads)
    for row in rows:
        begun = time.perf_counter()
        transcript = engine.transcribe(row["pcm"], delay_ms)
        run.seconds += time.perf_counter() - begun
        _count(run, row, transcript.text, transcript.token_ids)
    return run


def run_transformers(checkpoint: Path, delay_ms: int, rows: list[dict[str, Any]]) -> Run:
    """Transcribes every utterance with transformers, fp32, greedy: the reference implementation."""
    sys.path.insert(0, str(Path(__file__).parent))
    from transformers_reference import Reference

    run = Run("fp32", "transformers", delay_ms)
    reference = Reference(checkpoint)
    for row in rows:
        begun = time.perf_counter()
        text, token_ids = reference.transcribe(row["pcm"], delay_ms)
        run.seconds += time.perf_counter() - begun
        _count(run, row, text, token_ids)
    return run


def compare(runs: list[Run], control_ids: frozenset[int]) -> None:
    """Fills edits and flips of every run against the reference run of its delay, if there is one."""
    references = {run.delay_ms: run for run in runs if (run.model, run.engine) == REFERENCE}
    for run in runs:
        reference = references.get(run.delay_ms)
        if reference is None:
            continue
        pairs = [(a[: len(b)], b) for a, b in zip(reference.token_ids, run.token_ids, strict=True)]
        run.edits = sum(edit_distance(a, b) for a, b in pairs)
        run.flips = sum(pad_text_flips(a, b, control_ids) for a, b in pairs)


def markdown(runs: list[Run]) -> str:
    """The table: one row per run, one column per source with its word error rate in per cent."""
    sources = list(dict.fromkeys(source for run in runs for source in run.errors))
    words = {source: runs[0].errors[source].words for source in sources}
    heads = [
        "model",
        "engine",
        "delay",
        *(f"{s} ({words[s]} words)" for s in sources),
        "edits",
        "flips",
        "RTF",
    ]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for run in runs:
        tokens = sum(map(len, run.token_ids))
        cells = [run.model, run.engine, f"{run.delay_ms} ms"]
        cells += [f"{100 * run.errors[source].rate:.1f} %" for source in sources]
        cells += ["–" if run.edits is None else f"{run.edits} of {tokens}"]
        cells += ["–" if run.flips is None else str(run.flips), f"{run.seconds / run.audio_s:.3f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def as_json(runs: list[Run], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Everything: rates per run and source, and each utterance's transcripts."""
    return {
        "runs": [
            {
                "model": run.model,
                "engine": run.engine,
                "delay_ms": run.delay_ms,
                "wer": {source: errors.rate for source, errors in run.errors.items()},
                "errors": {source: errors.errors for source, errors in run.errors.items()},
                "words": {source: errors.words for source, errors in run.errors.items()},
                "token_edits": run.edits,
                "pad_text_flips": run.flips,
                "rtf": run.seconds / run.audio_s,
                "hypotheses": {row["path"]: text for row, text in zip(rows, run.hypotheses, strict=True)},
            }
            for run in runs
        ]
    }


def _count(run: Run, row: dict[str, Any], text: str, token_ids: list[int]) -> None:
    run.errors.setdefault(row["source"], WordErrors()).add(row["text"], text)
    run.hypotheses.append(text.strip())
    run.token_ids.append(list(token_ids))
    run.audio_s += len(row["pcm"]) / 16_000


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--checkpoint", type=Path, metavar="DIR", help="exported once per --precision")
    model.add_argument("--package", type=Path, nargs="+", metavar="DIR", help="packages that exist already")
    parser.add_argument("--eval", type=Path, required=True, metavar="FILE", help="the evaluation list")
    parser.add_argument("--precision", nargs="+", default=["fp32", "int8", "int4"], metavar="P")
    parser.add_argument("--engine", nargs="+", choices=ENGINES, default=["native"])
    parser.add_argument("--delay-ms", nargs="+", type=int, default=[240, 480, 960], metavar="MS")
    parser.add_argument("--source", nargs="+", help="only these groups of the list")
    parser.add_argument("--limit", type=int, metavar="N", help="at most N utterances per group")
    parser.add_argument("--threads", type=int, default=2, metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every number and transcript here")
    args = parser.parse_args()
    if "transformers" in args.engine and not args.checkpoint:
        parser.error("--engine transformers needs --checkpoint")
    return args


def main() -> None:
    args = parse_arguments()
    rows = read_list(args.eval, args.source, args.limit)
    runs: list[Run] = []
    control_ids: frozenset[int] = frozenset()
    with packages(args) as folders:
        for delay_ms in args.delay_ms:
            for engine in args.engine:
                if engine == "transformers":
                    runs.append(run_transformers(args.checkpoint, delay_ms, rows))
                    continue
                for name, folder in folders.items():
                    control_ids = frozenset(range(read_manifest(folder)["tokens"]["special_count"]))
                    runs.append(run_package(name, folder, engine, delay_ms, rows, args.threads))
    compare(runs, control_ids)
    print(markdown(runs))
    if args.json:
        args.json.write_text(
            json.dumps(as_json(runs, rows), ensure_ascii=False, indent=1) + "\n", encoding="utf-8"
        )


if __name__ == "__main__":
    try:
        main()
    except VoxtralEdgeError as error:
        sys.exit(f"wer: error: {error}")
