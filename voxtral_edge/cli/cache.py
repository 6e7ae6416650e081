"""Permuted weights, kept in files so that models start quickly: what is there, make them, remove them.

  voxtral-edge cache                    what is kept, and where
  voxtral-edge cache add voxtral-4b     make the file of a model, now instead of at a start
  voxtral-edge cache remove voxtral-4b  remove it (by the model's name in the list), or --all

Every command and `voxtral_edge.load` use a file that fits the package; --no-cache-packed refuses it. A file takes as
much disk as the package's weights. Removing is always safe: what has mapped a file keeps it until it ends.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from voxtral_edge.engine import load
from voxtral_edge.errors import DeviceError, UsageError
from voxtral_edge.files import size_text
from voxtral_edge.packed_cache import CacheFile, cache_choice, cache_files, unfinished_files


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of `voxtral-edge cache`."""
    _add_folder(parser, None)
    actions = parser.add_subparsers(dest="action", metavar="[add|remove]")
    add = actions.add_parser(
        "add",
        help="make the files of models",
        description="Makes the files of packages or bundled models.",
    )
    add.add_argument("models", nargs="+", metavar="DIR|NAME", help="package folder or bundled model")
    remove = actions.add_parser(
        "remove", help="remove files", description="Removes files of permuted weights."
    )
    remove.add_argument("models", nargs="*", metavar="NAME", help="model as the list names it")
    remove.add_argument("--all", action="store_true", help="everything, also what killed writers left")
    for action in (add, remove):
        _add_folder(action, argparse.SUPPRESS)


def _add_folder(parser: argparse.ArgumentParser, default: str | None) -> None:
    """Before and behind the action; SUPPRESS, so that the second default does not undo the first one's value."""
    parser.add_argument(
        "--cache-packed-dir",
        default=default,
        metavar="DIR",
        help="use this folder (default: $XDG_CACHE_HOME/voxtral-edge, ~/.cache/voxtral-edge)",
    )


def run(args: argparse.Namespace) -> int:
    """Runs `voxtral-edge cache`; 0."""
    chosen = cache_choice(args.cache_packed_dir or True)
    assert chosen is not None  # only False and the environment refuse
    if args.action == "add":
        for model in args.models:
            print(made(model, chosen.folder))
    elif args.action == "remove":
        if args.all == bool(args.models):
            raise UsageError("cache remove: give names of models, or --all")
        _remove(chosen.folder, None if args.all else args.models)
    else:
        files = cache_files(chosen.folder)
        for file in files:
            print(_line(file))
        for path in unfinished_files(chosen.folder):
            print(f"{path}: left unfinished, `cache remove --all` removes it")
        if not files:
            print(f"{chosen.folder}: no permuted weights; `voxtral-edge cache add MODEL` makes them")
    return 0


def made(model: str | Path, folder: Path | bool) -> str:
    """Makes a model's file, in `folder` or, for True, the default one, unless it is there and fits; a line about it.
    DeviceError if it cannot be written; otherwise as `load`."""
    report = load(model, cache_packed=folder).info()["packed_cache"]
    if report["state"] == "failed":
        raise DeviceError(report["note"].removesuffix("; loaded without a cache"))
    path = Path(report["path"])
    verb = "made" if report["state"] == "written" else "was there and fits"
    return f"{path}: {verb}, {size_text(path.stat().st_size)}"


def _remove(folder: Path, names: list[str] | None) -> None:
    files = cache_files(folder)
    if names is not None and (unknown := set(names) - {file.package for file in files}):
        held = ", ".join(sorted({file.package for file in files})) or "nothing"
        raise UsageError(f"{folder}: holds no {', '.join(sorted(unknown))}; there is: {held}")
    paths = [file.path for file in files if names is None or file.package in names]
    for path in [*paths, *(unfinished_files(folder) if names is None else [])]:
        path.unlink(missing_ok=True)
        print(f"{path}: removed")


def _line(file: CacheFile) -> str:
    return f"{file.path}: {file.package}, {size_text(file.bytes)}"
