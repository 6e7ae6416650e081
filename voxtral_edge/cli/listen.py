"""Live captions from a microphone, or from a file played at its own speed.

  voxtral-edge listen                                     the default microphone
  voxtral-edge listen --list                              what else there is
  voxtral-edge listen --input talk.wav                    a recording, as if it were spoken now
  ssh board arecord -q -t raw -f S16_LE -r 16000 -c 1 | voxtral-edge listen --input -

On a terminal, text grows in place above a line with level, lag (audio that waits) and time per 80 ms step;
anywhere else, one caption per line. Ctrl-C or SIGTERM ends: the last words are still written. A second one
ends at once.
"""

from __future__ import annotations

import argparse
import os
import sys

from voxtral_edge.cli import model_options, speaker_options
from voxtral_edge.cli.interrupt import Interruptible
from voxtral_edge.cli.main import EXIT_DONE
from voxtral_edge.endpoint import DEFAULT_RULES, EndpointRule
from voxtral_edge.engine import delay_tokens
from voxtral_edge.errors import UsageError, VoxtralEdgeError
from voxtral_edge.listen.capture import POLICIES, Backlog
from voxtral_edge.listen.lines import Lines, Summary
from voxtral_edge.listen.listener import Listener
from voxtral_edge.listen.microphone import BACKENDS, input_devices, open_microphone
from voxtral_edge.listen.monitor import LEGEND
from voxtral_edge.listen.screen import Screen
from voxtral_edge.listen.sources import FileSource, PipeSource, Source
from voxtral_edge.live_step import step_tokens
from voxtral_edge.results import MAX_LINE_CHARACTERS, MAX_SEGMENT_LINES, MAX_SEGMENT_SECONDS, SegmentLimits

DEFAULT_BACKLOG_S = {"keep": 30.0, "skip": 2.0}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of `voxtral-edge listen`."""
    model_options.add_arguments(parser)
    model_options.add_hotwords(parser)
    speaker_options.add_arguments(parser, recordings=False)
    where = parser.add_argument_group("where the sound comes from")
    where.add_argument("--list", action="store_true", help="list the input devices and end")
    where.add_argument(
        "--device",
        metavar="ID|NAME",
        help="input device: a number or part of a name from --list; with arecord an ALSA name",
    )
    where.add_argument(
        "--backend",
        choices=BACKENDS,
        default="auto",
        help="sounddevice (PortAudio) or arecord (ALSA); auto takes the first that is installed",
    )
    where.add_argument(
        "--input",
        metavar="FILE",
        help="a recording instead of a microphone; - is headerless s16le, mono, 16 kHz on standard input",
    )
    where.add_argument(
        "--paced",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="play --input at its own speed, or as fast as it can be decoded (--paced)",
    )
    slow = parser.add_argument_group(
        "when this machine is slower than the speech, or has better things to do"
    )
    model_options.add_step(slow)
    slow.add_argument(
        "--policy",
        choices=POLICIES,
        default="keep",
        help="keep everything, ending with an error when --backlog is full, or skip what is too much (%(default)s)",
    )
    slow.add_argument(
        "--backlog", type=float, metavar="S", help="seconds of audio that may wait (30; with skip 2)"
    )
    shown = parser.add_argument_group("what is shown")
    shown.add_argument(
        "--format",
        choices=("txt", "jsonl"),
        default="txt",
        help="captions, or every event as a line of JSON (%(default)s)",
    )
    shown.add_argument("--plain", action="store_true", help="one caption per line, also on a terminal")
    shown.add_argument(
        "--monitor",
        action="store_true",
        help="one glyph per engine event: " + ", ".join(f"{glyph} {said}" for glyph, said in LEGEND),
    )
    shown.add_argument(
        "--silence",
        type=model_options.above_zero(float),
        metavar="S",
        help="seconds of silence that end a caption once something was said (1.2)",
    )
    shown.add_argument(
        "--max-caption",
        type=model_options.above_zero(float),
        default=MAX_SEGMENT_SECONDS,
        metavar="S",
        help="longest caption in seconds (%(default)s)",
    )
    shown.add_argument(
        "--max-line",
        type=model_options.above_zero(int),
        default=MAX_LINE_CHARACTERS,
        metavar="N",
        help=f"columns per line (Han and kana take two); a caption has at most {MAX_SEGMENT_LINES} (%(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Runs `voxtral-edge listen`; the exit code."""
    if args.list:
        return _list_devices()
    delay_tokens(args.delay_ms)
    step_tokens(args.step_ms)
    limit_s = DEFAULT_BACKLOG_S[args.policy] if args.backlog is None else args.backlog
    backlog = Backlog(args.policy, limit_s)
    limits = SegmentLimits(line_characters=args.max_line, seconds=args.max_caption)
    rules = DEFAULT_RULES
    if args.silence is not None:
        rules = (DEFAULT_RULES[0], EndpointRule(args.silence, needs_text=True), DEFAULT_RULES[2])
    hotwords = model_options.hotwords(args)
    telling = speaker_options.read(args)
    source = _source(args)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", errors="replace")
    engine = model_options.load_model(args)
    diarizer = None if telling is None else telling.diarizer()
    listener = Listener(
        engine,
        source,
        args.delay_ms,
        hotwords,
        backlog,
        rules,
        limits=limits,
        diarize=diarizer,
        step_ms=args.step_ms,
    )
    title = f"{engine.name} · delay {args.delay_ms} ms · {listener.name}"
    display = _display(args, title)
    summary = Summary()
    with Interruptible(on_first=listener.stop) as interruptible:
        told = failed = False
        try:
            for step in listener.steps():
                summary.take(step)
                display.show(step)
                if interruptible.interrupted and not told:
                    told = True
                    display.ending()
        except VoxtralEdgeError:
            failed = True
            raise
        finally:  # where nothing came, the error says why
            display.close("" if failed and not summary.heard else summary.text())
    # A microphone is meant to be ended by a signal, a recording is not.
    return EXIT_DONE if args.input in (None, "-") else interruptible.exit_code


def _display(args: argparse.Namespace, title: str) -> Screen | Lines:
    terminal = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    if args.format == "jsonl" or args.plain or not terminal:
        return Lines(args.format == "jsonl", args.monitor)
    return Screen(title, args.delay_ms / 1000, args.monitor, colour="NO_COLOR" not in os.environ)


def _source(args: argparse.Namespace) -> Source:
    if args.input is None:
        device = int(args.device) if args.device and args.device.isdigit() else args.device
        return open_microphone(device, args.backend)
    if args.device is not None:
        raise UsageError("--input and --device exclude each other")
    if args.input != "-":
        return FileSource(args.input, args.paced)
    if sys.stdin.isatty():
        raise UsageError("standard input is a terminal; pipe headerless samples into it or name a file")
    return PipeSource(sys.stdin.buffer)


def _list_devices() -> int:
    rows = input_devices()
    if not rows:
        print("voxtral-edge: no input device found", file=sys.stderr)
    widths = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
    for device, name, remark in rows:
        print(f"{device:>{widths[0]}}  {name:<{widths[1]}}  {remark}")
    return EXIT_DONE
