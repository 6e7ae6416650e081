"""Converts a checkpoint, once, to the package folder that the engines run.

  voxtral-edge export mistralai/Voxtral-Mini-4B-Realtime-2602 -o voxtral-4b       from the hub, int4
  voxtral-edge export ./checkpoint -o voxtral-4b --precision int8                 from a folder
  voxtral-edge export ./checkpoint -o voxtral-4b --precision my_recipe.toml       precision by tensor group
  voxtral-edge export --synthetic 4b -o random-4b                                 full size, random weights

SRC is a folder in Hugging Face layout (config.json, model.safetensors) or Mistral layout (params.json,
consolidated.safetensors), each with tekken.json; or a hub id, owner/name or owner/name@revision. An existing
package in DIR is replaced in one step when the new one is complete; until then, and after Ctrl-C, it stays
as it was.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voxtral_edge.errors import UsageError
from voxtral_edge.files import size_text

if TYPE_CHECKING:
    from voxtral_edge.export import ExportReport
    from voxtral_edge.export.pipeline import ExportSource


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of `voxtral-edge export`."""
    parser.add_argument(
        "source", nargs="?", metavar="SRC", help="checkpoint folder or hub id (owner/name[@revision])"
    )
    parser.add_argument(
        "-o", "--output", required=True, type=Path, metavar="DIR", help="package folder to write"
    )
    parser.add_argument(
        "--precision",
        default="int4",
        metavar="P",
        help="fp32, fp16, int8, int4 (adapter int8) or a recipe file, *.toml (%(default)s)",
    )
    parser.add_argument(
        "--synthetic", metavar="SIZE", help="random weights instead of SRC: 4b (full size) or tiny"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of --synthetic (%(default)s)")
    parser.add_argument(
        "--layout",
        choices=("auto", "hf", "mistral"),
        default="auto",
        help="which files of SRC to read if it has both layouts (%(default)s: hf first)",
    )
    parser.add_argument("--name", help="the model's name in the manifest (default: the name of DIR)")
    parser.add_argument("--revision", help="branch, tag or commit of a hub id")
    parser.add_argument(
        "--cache-dir", type=Path, metavar="DIR", help="where downloads are kept (default: HF_HOME)"
    )
    parser.add_argument("--offline", action="store_true", help="use only what was downloaded before")
    parser.add_argument(
        "--absmax-scales",
        action="store_true",
        help="int4 scales from the largest value instead of the smallest error (faster, less exact)",
    )
    parser.add_argument(
        "--calibrate",
        nargs="+",
        default=[],
        metavar="FILE|DIR",
        help="recordings of speech: int4 weights are chosen by what the model hears in them (slow, more exact)",
    )
    parser.add_argument(
        "--cache-packed",
        action="store_true",
        help="also permute the weights into ~/.cache/voxtral-edge, as `voxtral-edge cache add` does",
    )
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="worker threads (%(default)s)")
    parser.add_argument(
        "--progress",
        choices=("auto", "bar", "plain", "none"),
        default="auto",
        help="progress on stderr; auto: a bar on a terminal, else silent",
    )


def run(args: argparse.Namespace) -> int:
    """Exports as the options say; 0 when the package is in place."""
    if (args.source is None) == (args.synthetic is None):
        raise UsageError("give either SRC or --synthetic SIZE")
    if args.calibrate and (args.synthetic is not None or args.absmax_scales):
        raise UsageError("--calibrate needs a checkpoint, and goes without --absmax-scales")
    from voxtral_edge.export import check_request, export_package

    # Before anything is opened: the download behind a hub id takes gigabytes.
    check_request(args.output, precision=args.precision, threads=args.threads, calibration=args.calibrate)
    with _open_source(args) as (source, provenance):
        for note in source.notes:
            _say(note)
        report = export_package(
            source,
            args.output,
            precision=args.precision,
            name=args.name,
            threads=args.threads,
            # Random weights have no accuracy to gain, and the search is most of the time.
            scale_search=not args.absmax_scales and args.synthetic is None,
            calibration=args.calibrate,
            progress=args.progress,
            provenance=provenance,
        )
    _say(_summary(report))
    if args.cache_packed:
        from voxtral_edge.cli import cache

        _say(cache.made(args.output, True))
    return 0


@contextlib.contextmanager
def _open_source(args: argparse.Namespace) -> Iterator[tuple[ExportSource, dict[str, Any]]]:
    from voxtral_edge.export import Checkpoint, SyntheticCheckpoint

    if args.synthetic is not None:
        yield SyntheticCheckpoint(args.synthetic, args.seed), {"path": args.synthetic, "seed": args.seed}
        return
    folder = Path(args.source)
    provenance: dict[str, Any] = {"path": folder.resolve().name}
    layout = args.layout
    if not folder.exists():
        from voxtral_edge import hub

        snapshot = hub.download_checkpoint(
            args.source,
            revision=args.revision,
            layout=args.layout,
            offline=args.offline,
            cache_dir=args.cache_dir,
            notify=_say,
        )
        folder, layout = snapshot.path, snapshot.layout
        provenance = {"path": snapshot.repository, "revision": snapshot.revision}
    elif args.revision is not None:
        raise UsageError(f"--revision belongs to a hub id, but {args.source} is a local folder")
    with Checkpoint(folder, layout) as checkpoint:
        yield checkpoint, provenance


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _summary(report: ExportReport) -> str:
    parts = [
        f"{group} {report.precision.get(group, 'fp32')} {size_text(count)}"
        for group, count in report.groups.items()
    ]
    return (
        f"wrote {report.path}: {size_text(report.total_bytes)} in {report.seconds:.1f} s ({', '.join(parts)})"
    )
