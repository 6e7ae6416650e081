"""Measures everything that docs/benchmarks.md shows, part by part, and prints its tables.

    voxtral-edge export --synthetic 4b -o full-int4 --precision int4
    voxtral-edge export --synthetic 4b -o full-int8 --precision int8
    python benchmarks/report.py -m full-int4 --int8 full-int8 --threads 2 --results results \\
        --gguf random-q4_k_m.gguf --peer-python peer/bin/python --kernels-benchmark build/csrc/kernels/kernels_benchmark

Each measurement is a program of its own (`voxtral-edge bench` or one in this folder) and writes a JSON file into the
results folder. What is there is kept: run the same command again to go on after an interruption, --again to measure
the chosen parts anew, --only live,file for some of them, --tables for the tables alone. Parts: live, live-full, int8,
file, streams, capacity, peers, kernels, start, load, disturbance, disturbance-full, soak, soak-full. --seconds
live=600 and --limit peers=1200 change how much audio a part measures and how long it may take on the clock. Without
-m the bundled model is measured.

Needs a machine with nothing else to do: the tables say whether it had.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from report_parts import LIMIT_S, SECONDS, Command, Settings, commands
from report_tables import Results, tables

from voxtral_edge.audio import SAMPLE_RATE_HZ, read_audio

SAMPLES = Path(__file__).resolve().parents[1] / "samples"
# soak.py and disturbance.py end so when what they measured is not good enough: a result all the same.
_NOT_GOOD_ENOUGH = 1


def main() -> int:
    args = arguments()
    args.results.mkdir(parents=True, exist_ok=True)
    settings = Settings(
        model=args.model,
        int8=args.int8,
        small=args.small,
        threads=args.threads,
        runs=args.runs,
        audio=args.audio or speech(args.results / "speech.wav"),
        results=args.results,
        gguf=args.gguf,
        peer_python=args.peer_python,
        onnxruntime=not args.no_onnxruntime,
        kernels=args.kernels_benchmark,
        seconds=args.seconds,
        limit_s=args.limit,
    )
    failed = []
    if not args.tables:
        for part in args.only:
            failed += [
                command.label
                for command in commands(part, settings)
                if not measure(part, command, settings, args)
            ]
    lines = tables(read_results(settings))
    (args.results / "tables.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    if failed:
        print(f"not measured: {', '.join(failed)} (see above)", file=sys.stderr)
    return 1 if failed else 0


def measure(part: str, command: Command, settings: Settings, args: argparse.Namespace) -> bool:
    """Runs one command unless its result is there; whether there is a result in the end."""
    path = settings.results / f"{command.label}.json"
    if path.exists() and not args.again:
        say(f"{command.label}: kept")
        return True
    if command.missing:
        say(f"{command.label}: left out; {command.missing}")
        return True
    unfinished = path.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    limit_s = settings.limit_s.get(part, LIMIT_S[part])
    say(f"{command.label}: running, load average {os.getloadavg()[0]:.1f}")
    begun = time.monotonic()
    try:
        code = subprocess.run(
            [*command.words, "--json", str(unfinished)],
            stdout=subprocess.DEVNULL,
            timeout=limit_s,
            check=False,
        ).returncode
    except subprocess.TimeoutExpired:
        left = f", {unfinished.name} has what was done" if unfinished.exists() else ""
        say(
            f"{command.label}: stopped after {limit_s:.0f} s{left}; give --limit {part}=SECONDS or less audio"
        )
        return False
    if code not in (0, _NOT_GOOD_ENOUGH) or not unfinished.exists():
        say(f"{command.label}: ended with exit code {code}: {' '.join(command.words)}")
        return False
    unfinished.replace(path)
    say(f"{command.label}: done in {time.monotonic() - begun:.0f} s")
    return True


def read_results(settings: Settings) -> Results:
    """Every result of the folder, by label; those of other parts too."""
    found = {}
    for part in SECONDS:
        for command in commands(part, settings):
            path = settings.results / f"{command.label}.json"
            if path.exists():
                found[command.label] = json.loads(path.read_text(encoding="utf-8"))
    return found


def speech(path: Path) -> Path:
    """The sample recordings one after the other: 44 s of real speech that does not repeat itself."""
    if not path.exists():
        import wave

        files = json.loads((SAMPLES / "samples.json").read_text(encoding="utf-8"))["samples"]
        pcm = np.concatenate([read_audio(SAMPLES / entry["file"]) for entry in files])
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, SAMPLE_RATE_HZ, 0, "NONE", ""))
            file.writeframes(np.round(pcm * 32767).clip(-32768, 32767).astype("<i2").tobytes())
    return path


def say(text: str) -> None:
    """A line of progress."""
    print(text, file=sys.stderr, flush=True)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("-m", "--model", default="tiny-en", help="package folder or bundled model (%(default)s)")
    add("--int8", metavar="DIR", help="the same model with int8 weights, for the part int8")
    add("--small", default="tiny-en", help="for soak, disturbance and replayed tokens (%(default)s)")
    add("--threads", type=int, default=2, help="(%(default)s)")
    add("--runs", type=int, default=3, help="of live and file; cold starts (%(default)s)")
    add("--audio", type=Path, help="recording of real speech (default: the samples, one after the other)")
    add("--results", type=Path, default=Path("bench-results"), help="folder (%(default)s)")
    add("--gguf", type=Path, help="for transcribe-cpp in the part peers (peer_gguf.py makes one)")
    add("--peer-python", default=sys.executable, help="python that has transcribe-cpp")
    add("--no-onnxruntime", action="store_true", help="leave the onnxruntime engine out of peers")
    add("--kernels-benchmark", type=Path, metavar="PROGRAM", help="the built CMake target")
    add("--only", type=_parts, default=list(SECONDS), metavar="PART,…", help="these parts (default: all)")
    add("--seconds", type=_pair, action="append", default=[], metavar="PART=S", help="audio of a part")
    add(
        "--limit",
        type=_pair,
        action="append",
        default=[],
        metavar="PART=S",
        help="clock time of a part's program",
    )
    add("--again", action="store_true", help="measure the chosen parts although there are results")
    add("--tables", action="store_true", help="only print the tables of what is there")
    args = parser.parse_args()
    args.seconds, args.limit = dict(args.seconds), dict(args.limit)
    return args


def _parts(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in SECONDS]:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not one of {', '.join(SECONDS)}")
    return names


def _pair(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    if name not in SECONDS:
        raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(SECONDS)}")
    try:
        return name, float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not PART=SECONDS") from None


if __name__ == "__main__":
    raise SystemExit(main())
