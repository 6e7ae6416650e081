"""The options that choose a model and how it computes, for every subcommand that runs one."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from typing import Any

from voxtral_edge.engine import DEFAULT_DELAY_MS, ENGINES, KV_CACHES, Engine, load
from voxtral_edge.hotwords import Hotword, read_hotwords_option
from voxtral_edge.live_step import TOKEN_MS
from voxtral_edge.package_folder import DEMO_MODEL, DEMO_MODEL_KNOWS

# Less is read before a line could be.
_SHOWN_FROM_BYTES = 1 << 28


def add_arguments(parser: argparse.ArgumentParser, streams: bool = True) -> None:
    """Declares them. `streams`: also those on what the model's streams say."""
    add = parser.add_argument_group("the model").add_argument
    add(
        "-m",
        "--model",
        default=DEMO_MODEL,
        metavar="DIR|NAME",
        help="package folder or bundled model (%(default)s, which knows spoken digits only)",
    )
    _add_computing(add)
    if streams:
        add(
            "--break-pad-runs",
            action="store_true",
            help="after 16 s without a word, make silence ever less likely (the 4B model can get stuck in it)",
        )
        add(
            "--gain",
            type=_gain,
            default=0.0,
            metavar="DB|auto",
            help="amplify the sound by decibels, or slowly follow the speech (%(default)g; quiet speech is misheard)",
        )


def add_computing(parser: argparse.ArgumentParser) -> None:
    """Declares those on how it computes, for subcommands that name their models otherwise."""
    _add_computing(parser.add_argument_group("how it computes").add_argument)


def _add_computing(add: Callable[..., object]) -> None:
    add("--engine", choices=ENGINES, default="native", help="what computes (%(default)s)")
    add(
        "--threads",
        type=int,
        metavar="N",
        help="threads (default: the fast CPUs that this process may use, at most 8)",
    )
    add(
        "--affinity",
        default="",
        metavar="off|auto|CPUS",
        help="pin worker threads: fast CPUs first, or to these, as 0-3,6 (VOXTRAL_EDGE_AFFINITY, else off)",
    )
    add(
        "--cache-packed",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="make a file of the permuted weights if there is none; one that is there is used anyway, but with "
        "--no-cache-packed (VOXTRAL_EDGE_CACHE_PACKED=1, 0)",
    )
    add(
        "--cache-packed-dir",
        metavar="DIR",
        help="the same in this folder (default: $XDG_CACHE_HOME/voxtral-edge, ~/.cache/voxtral-edge)",
    )
    add("--kv-cache", choices=KV_CACHES, default="auto", help="how attention state is kept (%(default)s)")
    add(
        "--delay-ms",
        type=int,
        default=DEFAULT_DELAY_MS,
        metavar="MS",
        help="how far text stays behind the audio: 80 to 1200 in steps of 80, or 2400 (%(default)s)",
    )


def add_hotwords(parser: argparse.ArgumentParser) -> None:
    """Declares --hotwords, for the subcommands that transcribe."""
    parser.add_argument(
        "--hotwords",
        metavar="FILE|WORDS",
        help="words to expect: a file, one `phrase` or `phrase :weight` per line, or a list with commas",
    )


def hotwords(args: argparse.Namespace) -> list[Hotword]:
    """The phrases of --hotwords; errors as in `read_hotwords_option`."""
    return [] if args.hotwords is None else read_hotwords_option(args.hotwords)


def add_step(to: argparse._ActionsContainer) -> None:
    """Declares --step-ms, for the subcommands that are fed live."""
    to.add_argument(
        "--step-ms",
        type=int,
        default=TOKEN_MS,
        metavar="MS",
        help="audio per pass: 80 to 640 in steps of 80 (%(default)s); 160 saves a third of the work for 80 ms of delay",
    )


def _gain(text: str) -> float | str:
    try:
        return text if text == "auto" else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number of decibels nor auto") from None


def above_zero(kind: type[int] | type[float]) -> Callable[[str], float]:
    """Reads an option that is a length or a duration, as an int or a float."""
    what = "whole number" if kind is int else "number"

    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = 0
        if not 0 < value < math.inf:
            raise argparse.ArgumentTypeError(f"{text!r} is no {what} above 0")
        return value

    return read


def cache_packed(args: argparse.Namespace) -> bool | str | None:
    """`load`'s argument of this name from the options."""
    return False if args.cache_packed is False else args.cache_packed_dir or args.cache_packed


def load_options(args: argparse.Namespace) -> dict[str, Any]:
    """`load`'s arguments from the options of `add_computing`."""
    return {
        "engine": args.engine,
        "threads": args.threads,
        "kv_cache": args.kv_cache,
        "cache_packed": cache_packed(args),
        "affinity": args.affinity,
    }


def load_model(args: argparse.Namespace, progress: bool = True) -> Engine:
    """The engine that was asked for; a big one's progress is shown on a terminal, what went wrong without
    stopping it said, and on a terminal also that the demo model is one. Errors as in `load`."""
    if args.model == DEMO_MODEL and sys.stderr.isatty():
        print(f"voxtral-edge: {DEMO_MODEL_KNOWS}; -m names another", file=sys.stderr, flush=True)
    engine = load(
        args.model,
        on_progress=_show_progress() if progress else None,
        break_pad_runs=args.break_pad_runs,
        gain=args.gain,
        **load_options(args),
    )
    for warning in engine.warnings:
        print(f"voxtral-edge: warning: {warning}", file=sys.stderr, flush=True)
    return engine


def _show_progress() -> Callable[[int, int], None] | None:
    if not sys.stderr.isatty():
        return None

    def show(done: int, total: int) -> None:
        if total >= _SHOWN_FROM_BYTES:
            end = "\r\x1b[K" if done >= total else ""
            line = f"\rloading {done / 1e9:.2f} of {total / 1e9:.2f} GB{end}"
            print(line, end="", file=sys.stderr, flush=True)

    return show
