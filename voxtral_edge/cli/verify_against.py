"""`voxtral-edge verify --against`: runs the comparison and prints its table."""

from __future__ import annotations

import argparse
import json
import math
import sys

from voxtral_edge.cli import model_options
from voxtral_edge.cli.progress import Progress
from voxtral_edge.errors import UsageError
from voxtral_edge.files import size_text
from voxtral_edge.quality.changes import KINDS
from voxtral_edge.quality.comparison import Comparison, Side, compare_packages
from voxtral_edge.quality.recordings import Recording
from voxtral_edge.quality.statistics import Interval
from voxtral_edge.quality.summary import RecordingResult, Summary

EXIT_COMPARED, EXIT_ABOVE = 0, 1
_MOST_NAME_COLUMNS = 40


def compare(args: argparse.Namespace) -> int:
    """Compares as the options say and prints the result; the exit code."""
    limit = args.max_changed_percent
    if not args.audio:
        raise UsageError("--against needs --audio: recordings, or folders of them")
    if limit is not None and not 0 <= limit <= 100:
        raise UsageError(f"--max-changed-percent {limit:g} is no percentage; give 0 to 100")
    if args.examples < 0:
        raise UsageError(f"--examples {args.examples} is negative; give 0 or more")
    progress = _ProgressLine()
    try:
        comparison = compare_packages(
            args.package,
            args.against,
            args.audio,
            delay_ms=args.delay_ms,
            on_progress=progress.update,
            **model_options.load_options(args),
        )
    finally:
        progress.clear()
    for result in comparison.recordings:
        for warning in result.recording.warnings:
            print(f"voxtral-edge: warning: {warning}", file=sys.stderr)
    percent = 100 * comparison.total.changed_share
    above = limit is not None and percent > limit
    if args.json:
        print(json.dumps({**comparison.to_dict(), "max_changed_percent": limit, "ok": not above}, indent=1))
    else:
        print("\n".join(report_lines(comparison, args.examples)))
        if limit is not None:
            verdict = "more than" if above else "at most"
            print(f"changed tokens: {percent:.2f} %, {verdict} the {limit:g} % allowed")
    return EXIT_ABOVE if above else EXIT_COMPARED


class _ProgressLine:
    """One line per pass over a recording, on a terminal only."""

    def __init__(self) -> None:
        self._of: tuple[str, Recording] | None = None
        self._line: Progress | None = None

    def update(self, doing: str, recording: Recording, seconds: float) -> None:
        if self._of != (doing, recording):
            self.clear()
            self._of = (doing, recording)
            self._line = Progress(
                recording.duration_s, sys.stderr.isatty(), f"{recording.path.name}: {doing}"
            )
        if self._line is not None:
            self._line.update(seconds)

    def clear(self) -> None:
        if self._line is not None and self._of is not None:
            self._line.finish(self._of[1].duration_s)
        self._line = None


# ---------------------------------------------------------------------- the report


def report_lines(comparison: Comparison, examples: int) -> list[str]:
    """The report for people, at most `examples` changed words and changed tokens of each kind with it."""
    total = comparison.total
    lines = [
        _side_line("package", comparison.package),
        _side_line("against", comparison.against),
        f"         {comparison.package.step_bytes / comparison.against.step_bytes:.2f} times the bytes per step; "
        f"delay {comparison.delay_ms} ms",
        "",
        *_table(comparison),
        "",
        *_meaning(total),
    ]
    silent = [result.recording.path.name for result in comparison.recordings if not result.summary.words]
    if silent:
        lines.append(f"no words in: {', '.join(silent)}")
    if examples:
        lines += _word_examples(comparison, examples) + _token_examples(comparison, examples)
    return lines


def _side_line(name: str, side: Side) -> str:
    kinds = sorted(set(side.precision.values()), key=list(side.precision.values()).count, reverse=True)
    exceptions = "".join(f", {group} {kind}" for group, kind in side.precision.items() if kind != kinds[0])
    return f"{name}  {side.directory}: {kinds[0]}{exceptions}; reads {size_text(side.step_bytes)} per step"


def _table(comparison: Comparison) -> list[str]:
    names = [result.recording.path.name for result in comparison.recordings]
    width = min(_MOST_NAME_COLUMNS, max(map(len, [*names, "total"])))
    head = f"{'':{width}}  {'seconds':>8} {'tokens':>7}  {'KL/token':>9} {'p99':>8}  {'changed':>8}"
    lines = [head + "".join(f" {kind:>7}" for kind in KINDS) + f"  {'words':>6} {'differ':>7}"]
    for name, result in zip(names, comparison.recordings, strict=True):
        short = name if len(name) <= width else "…" + name[1 - width :]
        lines.append(f"{short:{width}}  {_cells(result.summary)}")
    return [*lines, f"{'total':{width}}  {_cells(comparison.total)}"]


def _cells(s: Summary) -> str:
    kinds = "".join(f" {s.changed[kind]:7d}" for kind in KINDS)
    return (
        f"{s.seconds:8.1f} {s.tokens:7d}  {s.kl_mean:9.5f} {s.kl_p99:8.4f}  {100 * s.changed_share:6.2f} %{kinds}"
        f"  {s.words:6d} {100 * s.words_share:5.1f} %"
    )


def _meaning(total: Summary) -> list[str]:
    if total.identical:
        return ["Both compute exactly the same on these recordings."]
    kl = f"KL divergence per token  {total.kl_mean:.5f} nats"
    if total.kl_interval is None:
        kl += "; fewer than ten recordings or stretches of ten seconds say nothing about its accuracy"
    else:
        kl += f", 95 %: {total.kl_interval[0]:.5f} to {total.kl_interval[1]:.5f}"
    if total.kl_slack >= 5e-6:
        kl += f"; at most {total.kl_slack:.5f} more, in what was not kept"
    return [
        kl,
        f"changed tokens           {100 * total.changed_share:.2f} %, 95 %: {_percents(total.changed_interval, 2)}",
        f"words that differ        {total.word_edits} of {total.words}, 95 %: {_percents(total.words_interval, 1)}"
        " (two transcripts of which neither needs to be right)",
    ]


def _percents(interval: Interval, digits: int) -> str:
    low, high = (100 * bound for bound in interval)
    return f"{low:.{digits}f} to {high:.{digits}f} %"


def _word_examples(comparison: Comparison, most: int) -> list[str]:
    found = [(result, change) for result in comparison.recordings for change in result.word_changes]
    lines = [
        f"  {_place(comparison, result, change.time_s)}  {change.before}  →  {change.after}"
        for result, change in _spread(found, most)
    ]
    return ["", f"words, against → package ({len(lines)} of {len(found)}):", *lines] if found else []


def _token_examples(comparison: Comparison, most: int) -> list[str]:
    lines = []
    for kind in KINDS:
        found = [
            (result, change)
            for result in comparison.recordings
            for change in result.token_changes
            if change.kind == kind
        ]
        if not found:
            continue
        lines += [
            "",
            f"tokens, {kind} ({min(most, len(found))} of {len(found)}), probabilities by the package:",
        ]
        lines += [
            f"  {_place(comparison, result, change.time_s)}  {change.before} {change.before_probability:.2f}  →  "
            f"{change.after} {change.after_probability:.2f}"
            for result, change in _spread(found, most)
        ]
    return lines


def _spread(found: list, most: int) -> list:
    """At most `most`, evenly from all."""
    step = max(1, math.ceil(len(found) / most))
    return found[::step][:most]


def _place(comparison: Comparison, result: RecordingResult, time_s: float) -> str:
    clock = f"{int(time_s // 60)}:{time_s % 60:05.2f}"
    return clock if len(comparison.recordings) == 1 else f"{result.recording.path.name} {clock}"
