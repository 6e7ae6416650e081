"""Measures how fast a package runs here, or compares measurements.

  voxtral-edge bench                                    the bundled model, 30 s of audio, live steps of 80 ms
  voxtral-edge bench -m DIR --seconds 600 --json a.json --html a.html
  voxtral-edge bench -m DIR --paced --kv-full           as a microphone delivers audio, attention windows full
  voxtral-edge bench -m DIR --file                      a recording at once: its real-time factor
  voxtral-edge bench -m DIR --streams 8                 eight live streams at once, against one alone
  voxtral-edge bench -m DIR --streams max               how many live streams hold real time
  voxtral-edge bench compare a.json b.json              what differs beyond noise

The figures are defined in docs/benchmarks.md. Audio is made up unless --audio names a recording; the time of
a live step does not depend on it.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

from voxtral_edge.cli import model_options
from voxtral_edge.cli.columns import named_lines, terminal_columns
from voxtral_edge.engine import DEFAULT_DELAY_MS
from voxtral_edge.errors import UsageError
from voxtral_edge.files import check_writable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of `voxtral-edge bench` and of `bench compare`."""
    model_options.add_arguments(parser, streams=False)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument(
        "--unpaced", dest="mode", action="store_const", const="unpaced", help="steps back to back (default)"
    )
    mode.add_argument(
        "--paced", dest="mode", action="store_const", const="paced", help="steps as a clock sets them"
    )
    mode.add_argument(
        "--file", dest="mode", action="store_const", const="file", help="a whole recording at once"
    )
    parser.set_defaults(mode="unpaced")
    add = parser.add_argument
    add(
        "--streams",
        type=_stream_count,
        metavar="N|max",
        help="N streams in shared passes, beside one alone in turns, each one's tokens checked; with --paced on the "
        "clock, phases spread; max: the largest number that holds real time",
    )
    add(
        "--seconds",
        type=float,
        default=30.0,
        metavar="S",
        help="audio to measure (%(default)g; for a p99 use 600)",
    )
    add(
        "--warmup",
        type=float,
        metavar="S",
        help="audio fed before it, not measured (default: a tenth, 2 to 60 s)",
    )
    add("--runs", type=int, default=1, metavar="N", help="repetitions; the median one is shown (%(default)s)")
    add(
        "--cool-below",
        type=float,
        metavar="C",
        help="before each run wait until the chip is cooler than this (°C)",
    )
    add("--catch-up", action="store_true", help="--paced: feed all that has arrived at once when late")
    add(
        "--kv-full",
        action="store_true",
        help="attention windows full from the start (their cost, not their text)",
    )
    add("--audio", metavar="FILE", help="recording to feed, over and over (default: speech-like sound)")
    add(
        "--replay",
        metavar="MODEL",
        help="take the tokens MODEL (say tiny-en) chooses on this audio: for --file with random weights",
    )
    add(
        "--cold",
        action="store_true",
        help="load with the weights gone from the page cache; reads them once first",
    )
    add("--json", metavar="FILE", help="write everything as JSON")
    add("--html", metavar="FILE", help="write one self-contained page with charts")
    add("--markdown", action="store_true", help="print one row of a Markdown table")
    commands = parser.add_subparsers(
        dest="action", metavar="[compare]", help="compare files made with --json; `compare --help` for more"
    )
    compare = commands.add_parser("compare", description="Compares results; the first one is the base.")
    compare.add_argument("files", nargs="+", metavar="FILE.json", help="two or more results")
    compare.add_argument(
        "--force", action="store_true", help="compare even if machine, model or kind of measurement differ"
    )
    compare.add_argument(
        "--fail-if-slower",
        type=float,
        metavar="PERCENT",
        help="exit code 1 if a result is slower than the base by more than this, noise excluded",
    )
    compare.add_argument(
        "--markdown", action="store_true", dest="compare_markdown", help="as Markdown tables"
    )


def run(args: argparse.Namespace) -> int:
    """Runs `voxtral-edge bench`; the exit code."""
    if args.action == "compare":
        from voxtral_edge.bench import compare

        return compare.main(args.files, args.force, args.fail_if_slower, args.compare_markdown)
    from voxtral_edge.bench import markdown, page, report, runner

    for output in (args.json, args.html):
        if output:
            check_writable(Path(output))

    options = runner.BenchOptions(
        model=args.model,
        mode=args.mode if args.streams is None else _streams_mode(args),
        streams=args.streams if isinstance(args.streams, int) else 1,
        most_streams=args.streams == "max",
        seconds=args.seconds,
        warmup_s=args.warmup,
        runs=args.runs,
        cool_below_c=args.cool_below,
        engine=args.engine,
        threads=args.threads,
        kv_cache=args.kv_cache,
        cache_packed=model_options.cache_packed(args),
        catch_up=args.catch_up,
        kv_full=args.kv_full,
        delay_ms=args.delay_ms,
        audio=args.audio,
        replay=args.replay,
        cold=args.cold,
        command=command_line(args),
    )
    status = _Status()
    try:
        result = report.document(runner.run_bench(options, status.say))
    finally:
        status.clear()
    if args.json:
        report.save(result, args.json)
    if args.html:
        page.save(result, args.html)
    if args.markdown:
        print("\n".join(markdown.table([result])))
    else:
        for name, text in markdown.plain(result):
            print("\n".join(named_lines(name, text, 0, 14, terminal_columns())))
    return 0


def _stream_count(text: str) -> int | str:
    try:
        return text if text == "max" else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a whole number nor max") from None


def _streams_mode(args: argparse.Namespace) -> str:
    """The mode of --streams beside another; only the real clock tells how many streams it holds."""
    if args.mode == "file":
        raise UsageError("--streams applies to live steps; leave out --file or --streams")
    return "paced streams" if args.mode == "paced" or args.streams == "max" else "streams"


def command_line(args: argparse.Namespace) -> str:
    """The command that repeats a measurement: every option that is not at its default, outputs left out."""
    words = ["voxtral-edge", "bench", "-m", args.model]
    if args.mode != "unpaced":
        words.append(f"--{args.mode}")
    if args.streams is not None:
        words += ["--streams", str(args.streams)]
    words += ["--seconds", f"{args.seconds:g}"]
    defaults: dict[str, Any] = {
        "runs": 1,
        "engine": "native",
        "kv_cache": "auto",
        "delay_ms": DEFAULT_DELAY_MS,
    }
    for name in (
        "warmup",
        "runs",
        "cool_below",
        "engine",
        "threads",
        "kv_cache",
        "cache_packed_dir",
        "delay_ms",
        "audio",
        "replay",
    ):
        value = getattr(args, name)
        if value is not None and value != defaults.get(name):
            words += [f"--{name.replace('_', '-')}", f"{value:g}" if isinstance(value, float) else str(value)]
    words += [
        f"--{name.replace('_', '-')}"
        for name in ("catch_up", "kv_full", "cold", "cache_packed")
        if getattr(args, name)
    ]
    return shlex.join(words)


class _Status:
    """One line on stderr that is rewritten; nothing where stderr is not a terminal."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()

    def say(self, text: str) -> None:
        if self._shown:
            print(f"\r\x1b[K{text} …", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
