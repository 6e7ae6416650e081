"""How long a start takes against reading the weights once: as usual, and from the cache of permuted weights.

  python benchmarks/load_time.py DIR [--threads 2] [--rounds 5] [--cold] [--json FILE]

Every round reads weights.bin once with as many threads as load it (each into a buffer that it uses again), then
loads the package, in a process of its own; then the same with the cache. Rounds alternate, so that a busy
machine is busy for all; the smallest time of each counts. The ratio is the time of load() over that of reading
weights.bin, for both: the cache is to be weighed against the package, too. --cold drops weights.bin and the cache from
the page cache before each. Reported besides: the process's largest memory, and how much of it is its own (not pages of
the cache file).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import voxtral_edge as ve
from voxtral_edge.bench import memory
from voxtral_edge.packed_cache import cache_files


def main() -> int:
    """Runs the rounds and prints a table; 0."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("package", type=Path)
    parser.add_argument("--threads", type=int, default=2, metavar="N")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--cold", action="store_true", help="from the disk instead of the page cache")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round")
    parser.add_argument("--folder", type=Path, help="of the cache (default: one beside the package, removed)")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(one_start(args.package, args.threads, args.folder, args.cold)))
        return 0
    with tempfile.TemporaryDirectory(dir=args.package.absolute().parent) as spare:
        folder = args.folder or Path(spare)
        in_process(args, folder)  # writes the cache, or finds it
        starts: dict[str, list[dict[str, Any]]] = {"package": [], "cache": []}
        for _ in range(args.rounds):
            starts["package"].append(in_process(args, None))
            starts["cache"].append(in_process(args, folder))
    if args.json:
        args.json.write_text(json.dumps(starts, indent=1))
    size = starts["package"][0]["weight_bytes"] / 1e9
    print(f"{size:.2f} GB of weights, {args.threads} threads, {'cold' if args.cold else 'warm'} page cache\n")
    print("\n".join(markdown(starts)))
    return 0


def in_process(args: argparse.Namespace, folder: Path | None) -> dict[str, Any]:
    """`one_start` in a process of its own."""
    command = [sys.executable, __file__, str(args.package), "--one", "--threads", str(args.threads)]
    command += ["--cold"] * args.cold + (["--folder", str(folder)] if folder else [])
    result: dict[str, Any] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return result


def one_start(package: Path, threads: int, folder: Path | None, cold: bool) -> dict[str, Any]:
    """Reads the weights once, loads them, and says how long both took (s) and what memory it cost (bytes)."""
    files = [package / "weights.bin", *(file.path for file in (cache_files(folder) if folder else []))]

    def drop() -> None:
        if cold:
            for file in files:
                memory.drop_from_cache(file)

    drop()
    if not cold:
        memory.read_seconds(files[-1], threads)  # into the page cache
    read_s = memory.read_seconds(files[0] if folder is None else files[-1], threads)
    drop()
    load = ve.load  # imports the package's modules, numpy among them: 0.1 s that are no loading
    memory.reset_peak_rss()
    begun = time.perf_counter()
    engine = load(package, threads=threads, cache_packed=folder or False)
    load_s = time.perf_counter() - begun
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {
        "read_s": read_s,
        "load_s": load_s,
        "cache": engine.info()["packed_cache"]["state"],
        "peak_bytes": memory.peak_rss_bytes(),
        "own_bytes": int(status["RssAnon"].split()[0]) * 1024,
        "weight_bytes": engine.info()["weight_bytes"],
    }


def markdown(starts: dict[str, list[dict[str, Any]]]) -> list[str]:
    """The smallest times of all rounds as a table."""
    lines = ["| start from | reading it once, s | load, s | ratio | peak memory, GB | of this its own, GB |"]
    lines.append("|---|---|---|---|---|---|")
    package_read = min(entry["read_s"] for entry in starts["package"])
    for name, rounds in starts.items():
        read, load = (min(entry[key] for entry in rounds) for key in ("read_s", "load_s"))
        peak, own = (max(entry[key] for entry in rounds) / 1e9 for key in ("peak_bytes", "own_bytes"))
        lines.append(
            f"| {name} | {read:.2f} | {load:.2f} | {load / package_read:.2f} | {peak:.2f} | {own:.2f} |"
        )
    return lines


if __name__ == "__main__":
    sys.exit(main())
