"""What hostile clients do to the latency of well-behaved ones, on a real server.

    python benchmarks/disturbance.py -m tiny-en --seconds 120

Starts `voxtral-edge serve` and --clients paced clients that stay for the whole time and measure, for every 80 ms of
audio, the time from sending it to holding the server's report of that step. Beside them, in turns: as many polite
neighbours, then each kind of hostile client (stalled and slow readers, senders of garbage and of oversize frames,
floods of connections, noise uploaded as a recording), polite ones again, and so on for --rounds. Latencies beside
hostile clients are compared with those beside polite ones, who cost the engine as much or more. All clients share one
CPU, which the measuring ones get first; the server has the others, one more than its engine has threads.

Prints Markdown; --json FILE keeps every latency. Exit code 1 if p99 beside hostile clients, all kinds together, is more
than --allow times the other one and also more than --allow-ms above it: on a small model a tenth is less than a
scheduler's tick.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from disturbance_clients import HOSTILE

from voxtral_edge.bench import environment, measures, speech
from voxtral_edge.bench.markdown import number
from voxtral_edge.package_folder import find_package, read_manifest

CLIENTS = Path(__file__).with_name("disturbance_clients.py")
# After a change of neighbours, before latencies count: connections open, queues fill.
SETTLE_S = 0.5
START_LIMIT_S = 120.0
# Neighbours of both kinds share a CPU with the measuring client, which must not wait for them.
NICE = 19


def main() -> int:
    args = arguments()
    manifest = read_manifest(find_package(args.model))
    with tempfile.TemporaryDirectory() as folder:
        audio = Path(folder) / "audio.npy"
        np.save(audio, np.round(speech.speech_like() * 32767).astype("<i2"))
        for_server, for_clients = shares()
        interference = environment.Interference()
        with server(args, for_server) as port:
            command = [sys.executable, str(CLIENTS), "{kind}", str(port), manifest["name"], str(audio)]
            command.append(str(args.clients))
            phases, steps = measure(args, command, for_clients)
        beside = interference.result()
    result = document(args, manifest["name"], phases, steps, beside)
    print("\n".join(markdown(result)))
    if args.json:
        Path(args.json).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    over_ms = result["hostile"]["p99"] - result["polite"]["p99"]
    return 1 if result["ratio"]["p99"] > args.allow and over_ms > args.allow_ms else 0


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("-m", "--model", default="tiny-en", help="package folder or bundled model (%(default)s)")
    add("--threads", type=int, help="the engine's (default: all CPUs but two)")
    add(
        "--clients",
        type=int,
        default=2,
        help="that measure, and as many beside; 1 for a large model (%(default)s)",
    )
    add("--seconds", type=float, default=120.0, help="of measuring, all phases together (%(default)g)")
    add("--rounds", type=int, default=3, help="turns of every kind (%(default)s)")
    add(
        "--kinds",
        type=lambda text: text.split(","),
        default=HOSTILE,
        help=f"hostile ones ({','.join(HOSTILE)})",
    )
    add("--allow", type=float, default=1.10, help="p99 over p99 beside polite neighbours (%(default)g)")
    add("--allow-ms", type=float, default=2.0, help="and at least so much more (%(default)g)")
    add("--json", help="keep everything here")
    return parser.parse_args()


def shares() -> tuple[set[int], set[int]]:
    """CPUs of the server and of the clients: the last one is the clients', if there are others."""
    cpus = sorted(os.sched_getaffinity(0))
    return (set(cpus[:-1]), {cpus[-1]}) if len(cpus) > 1 else (set(cpus), set(cpus))


@contextmanager
def server(args: argparse.Namespace, cpus: set[int]) -> Iterator[int]:
    """A server process until the block ends; its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    threads = args.threads or max(1, len(cpus) - 1)  # one is for the connections
    words = [sys.executable, "-m", "voxtral_edge.cli.main", "serve", "-m", args.model, "--port", str(port)]
    words += ["--threads", str(threads), "--sessions", "12", "--log-level", "error"]
    process = subprocess.Popen(words, preexec_fn=lambda: os.sched_setaffinity(0, cpus))
    try:
        end = time.monotonic() + START_LIMIT_S
        while not _ready(port):
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit("the server did not start; its messages are above")
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait()


def measure(
    args: argparse.Namespace, command: list[str], cpus: set[int]
) -> tuple[list[tuple[str, float, float]], list[tuple[float, float]]]:
    """([(kind of neighbours, from, to)], [(sent, latency)]): phases and steps on one clock, in seconds."""
    order = [kind for hostile in args.kinds for kind in ("polite", hostile)]
    phase_s = max(SETTLE_S + 0.5, args.seconds / (args.rounds * len(order)))
    phases: list[tuple[str, float, float]] = []
    steps: list[tuple[float, float]] = []
    with client("good", command, cpus, 0) as good:
        reader = threading.Thread(target=_collect, args=(good, steps), daemon=True)
        reader.start()
        for kind in order * args.rounds:
            with client(kind, command, cpus, NICE):
                time.sleep(SETTLE_S)
                begun = time.monotonic()
                time.sleep(phase_s - SETTLE_S)
                phases.append((kind, begun, time.monotonic()))
            if good.poll() is not None:
                raise SystemExit(
                    f"a measuring client was thrown out beside {kind} clients; its message is above"
                )
    reader.join(5.0)
    return phases, steps


@contextmanager
def client(kind: str, command: list[str], cpus: set[int], nice: int) -> Iterator[subprocess.Popen[str]]:
    """Clients of a kind until the block ends."""

    def place() -> None:
        os.sched_setaffinity(0, cpus)
        os.nice(nice)

    process = subprocess.Popen(
        [word.format(kind=kind) for word in command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=place,
    )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(5.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def document(
    args: argparse.Namespace,
    model: str,
    phases: list[tuple[str, float, float]],
    steps: list[tuple[float, float]],
    interference: dict[str, Any],
) -> dict[str, Any]:
    """Latencies in ms per kind of neighbours, and what hostile ones change."""
    by_kind: dict[str, list[float]] = {kind: [] for kind, _, _ in phases}
    per_phase = []
    for kind, begun, ended in phases:
        latencies = [1e3 * latency for sent, latency in steps if begun <= sent < ended]
        if not latencies:
            raise SystemExit(f"no step was reported beside {kind} clients; give more --seconds")
        by_kind[kind] += latencies
        per_phase.append({"kind": kind, "latency_ms": [round(value, 3) for value in latencies]})
    hostile = [value for kind in args.kinds for value in by_kind[kind]]
    summaries = {kind: measures.summary(np.array(values)) for kind, values in by_kind.items()}
    summaries["hostile"] = measures.summary(np.array(hostile))
    base = summaries["polite"]
    low, high = measures.ratio_interval(
        np.array(by_kind["polite"]), np.array(hostile), measures.STATISTICS["p99"]
    )
    return {
        "format": "voxtral-edge-disturbance",
        "machine": environment.machine(),
        "git_revision": environment.git_revision(),
        "model": model,
        "rounds": args.rounds,
        "interference": interference,
        "polite": base,
        "hostile": summaries["hostile"],
        "kinds": {kind: summaries[kind] for kind in args.kinds},
        "ratio": {
            **{key: round(summaries["hostile"][key] / base[key], 4) for key in ("p50", "p99")},
            "p99_ci95": [round(low, 4), round(high, 4)],
        },
        "phases": per_phase,
    }


def markdown(result: dict[str, Any]) -> list[str]:
    """A table, and what it rests on."""
    base, (low, high) = result["polite"], result["ratio"]["p99_ci95"]
    rows = []
    for kind, values in (("polite", base), *result["kinds"].items(), ("**all hostile**", result["hostile"])):
        times = " / ".join(number(values[key]) for key in ("p50", "p99", "max"))
        ratios = " / ".join(f"{values[key] / base[key]:.2f}" for key in ("p50", "p99"))
        rows.append(f"| {kind} | {times} | {ratios} | {values['count']} |")
    return [
        "| neighbours | latency p50 / p99 / max, ms | × polite: p50 / p99 | steps |",
        "| --- | --- | --- | --- |",
        *rows,
        "",
        f"{result['model']}, {result['rounds']} rounds; p99 beside hostile clients {result['ratio']['p99']:.2f} × "
        f"(95 %: {low:.2f} to {high:.2f}), {result['hostile']['p99'] - base['p99']:+.1f} ms.",
    ]


def _collect(good: subprocess.Popen[str], steps: list[tuple[float, float]]) -> None:
    assert good.stdout is not None
    for line in good.stdout:
        sent, latency = line.split()
        steps.append((float(sent), float(latency)))


def _ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=2.0) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


if __name__ == "__main__":
    raise SystemExit(main())
