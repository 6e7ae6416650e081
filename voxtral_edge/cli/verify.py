"""Checks a package: hashes, tensor table against graphs, finite values, agreement of both engines. Or compares it with
another, usually more precise package of the same model on your own recordings; no reference texts are needed.

  voxtral-edge verify voxtral-4b
  voxtral-edge verify voxtral-4b-int4 --against voxtral-4b-int8 --audio meeting.wav calls/

Exit codes: 0 sound, or compared; 1 a check failed, or more changed than --max-changed-percent; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from voxtral_edge.cli import model_options
from voxtral_edge.errors import UsageError
from voxtral_edge.verify import FAILED, NOT_RUN, PASSED, Check, verify

MARKS = {PASSED: "ok", FAILED: "FAILED", NOT_RUN: "not run"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("package", metavar="DIR|NAME", help="package folder or bundled model")
    parser.add_argument("--json", action="store_true", help="print the report as one JSON object")
    parser.add_argument(
        "--no-engines", action="store_true", help="do not load the engines (large packages, small machines)"
    )
    add = parser.add_argument_group("comparing").add_argument
    add("--against", metavar="DIR|NAME", help="package to compare with, of the same checkpoint")
    add("--audio", nargs="+", metavar="FILE|DIR", help="recordings, and folders of them")
    add(
        "--max-changed-percent",
        type=float,
        metavar="P",
        help="exit with 1 if more of the tokens change (0 to 100)",
    )
    add("--examples", type=int, default=5, metavar="N", help="changes to show of each kind (%(default)s)")
    model_options.add_computing(parser)


def run(args: argparse.Namespace) -> int:
    """Runs the checks, or the comparison; the exit code."""
    if args.against is not None:
        from voxtral_edge.cli.verify_against import compare

        return compare(args)
    for option in ("audio", "max_changed_percent"):
        if getattr(args, option) is not None:
            raise UsageError(f"--{option.replace('_', '-')} needs --against: the package to compare with")
    report = verify(
        _directory(args.package), engines=not args.no_engines, on_check=None if args.json else _print
    )
    if args.json:
        print(json.dumps(report.to_dict(), indent=1))
        return 0 if report.ok else 1
    failed = sum(check.status == FAILED for check in report.checks)
    left_out = sum(check.status == NOT_RUN for check in report.checks)
    verdict = f"{failed} of {len(report.checks)} checks failed" if failed else "the package is sound"
    print(f"{report.directory}: {verdict}" + (f"; {left_out} not run" if left_out else ""))
    return 0 if report.ok else 1


def _print(check: Check) -> None:
    print(f"{MARKS[check.status]:8}{check.name:22}  {check.detail}", flush=True, file=sys.stdout)


def _directory(name: str) -> str:
    """The folder to check. One without a usable manifest is judged by the checks; UsageError if there is none."""
    from voxtral_edge.package_folder import bundled_models, find_package

    return name if Path(name).is_dir() and name not in bundled_models() else str(find_package(name))
