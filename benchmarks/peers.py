"""Times this project beside others on the same machine, in the same minutes, on models of the same shapes.

    python benchmarks/peers.py -m PACKAGE_DIR --threads 2 --peer-python VENV/bin/python --gguf RANDOM.gguf

Contestants: the native engine; with --onnxruntime the onnxruntime engine on the same package; with --gguf the
released `transcribe-cpp` on a GGUF of the same shapes (make one with benchmarks/peer_gguf.py, in an
environment that holds transcribe-cpp and gguf). All stay loaded in processes of their own and take turns, a
few steps each, so that drifts of the machine meet everybody alike; ratios are formed within rounds. Memory
for all models at once is needed.

Live: 80 ms feeds. File: a whole recording, its real-time factor. A random model repeats one token, which is
guessed every time; --replay MODEL gives our engines the tokens that MODEL chooses on the audio (give a real
recording), so that they guess as well as on speech and no better. transcribe-cpp keeps its easy guesses.

Prints Markdown; --json FILE keeps every time.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from voxtral_edge._native import native_module
from voxtral_edge.bench import environment, measures, runner, speech
from voxtral_edge.bench.markdown import number

WORKER = Path(__file__).with_name("peer_worker.py")
BASE = "native"
FILE_WARMUP_S = 1.0


@dataclass
class Peer:
    """One contestant's process and everything it measured."""

    name: str
    process: subprocess.Popen[str]
    hello: dict[str, Any] = field(default_factory=dict)
    rounds: list[list[float]] = field(default_factory=list)
    files: list[float] = field(default_factory=list)

    def ask(self, **request: Any) -> dict[str, Any]:
        """Sends a request and waits for its answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """The next line the contestant writes."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(
                f"{self.name} ended early (exit code {self.process.wait()}); its messages are above"
            )
        return dict(json.loads(line))

    @property
    def step_ms(self) -> measures.Samples:
        """All live steps."""
        return np.concatenate([np.asarray(times) for times in self.rounds])


def main() -> None:
    args = arguments()
    with tempfile.TemporaryDirectory() as folder:
        audio = Path(folder) / "audio.npy"
        np.save(audio, speech.speech_like() if args.audio is None else speech.load_audio(args.audio))
        peers = start(args, audio, replay(args, Path(folder)))
        bandwidth = [probe(args.threads)]
        interference = environment.Interference()
        try:
            measure(args, peers, bandwidth)
        finally:
            for peer in peers:
                peer.process.stdin and peer.process.stdin.close()
                peer.process.wait()
    result = document(args, peers, bandwidth, interference.result())
    print("\n".join(markdown(result)))
    if args.json:
        Path(args.json).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def measure(args: argparse.Namespace, peers: list[Peer], bandwidth: list[float]) -> None:
    """Everybody's turns, live and with recordings, each kind warmed up before; every second round the other way round,
    so that nobody always comes after the same neighbour."""
    for peer in peers:
        peer.ask(op="live", steps=args.warmup_steps)
    for turn in range(args.rounds):
        for peer in peers[:: -1 if turn % 2 else 1]:
            peer.rounds.append(peer.ask(op="live", steps=args.steps)["step_ms"])
        bandwidth.append(probe(args.threads))
    if args.file_rounds:
        for peer in peers:
            peer.ask(op="file", seconds=FILE_WARMUP_S)
    for turn in range(args.file_rounds):
        for peer in peers[:: -1 if turn % 2 else 1]:
            if turn and peer.files[-1] * args.file_seconds > args.file_limit:
                continue  # once is enough to know how slow it is
            answer = peer.ask(op="file", seconds=args.file_seconds)
            peer.files.append(answer["wall_s"] / answer["audio_s"])


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-m", "--model", default="tiny-en", help="package folder or bundled model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--onnxruntime", action="store_true", help="also the onnxruntime engine")
    parser.add_argument("--gguf", type=Path, help="also transcribe-cpp, with this file")
    parser.add_argument("--peer-python", default=sys.executable, help="python that has transcribe-cpp")
    parser.add_argument("--replay", metavar="MODEL", help="take the tokens of this model, say tiny-en")
    parser.add_argument("--audio", help="recording to feed (default: speech-like sound)")
    parser.add_argument("--rounds", type=int, default=6, help="turns of everybody (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=20, help="live steps per turn (default: %(default)s)")
    parser.add_argument("--warmup-steps", type=int, default=20, help="steps before, thrown away")
    parser.add_argument("--file-rounds", type=int, default=3, help="recordings per contestant, 0 for none")
    parser.add_argument(
        "--file-limit", type=float, default=40.0, help="who takes longer is asked once (%(default)g s)"
    )
    parser.add_argument("--file-seconds", type=float, default=36.0)
    parser.add_argument("--json", help="keep everything here")
    return parser.parse_args()


def replay(args: argparse.Namespace, folder: Path) -> list[str]:
    """Arguments for our workers that make them take another model's tokens."""
    if args.replay is None:
        return []
    options = runner.BenchOptions(
        model=args.model, replay=args.replay, mode="file", seconds=args.file_seconds
    )
    ids = folder / "ids.npy"
    np.save(ids, np.asarray(runner.replayed_ids(options, speech.Feed(args.audio)), np.int64))
    return ["--replayed-ids", str(ids)]


def start(args: argparse.Namespace, audio: Path, ours: list[str]) -> list[Peer]:
    """Starts every contestant, one after the other, and waits until it has loaded."""
    wanted = [(BASE, sys.executable, args.model)]
    if args.onnxruntime:
        wanted.append(("onnxruntime", sys.executable, args.model))
    if args.gguf:
        wanted.append(("transcribe-cpp", args.peer_python, str(args.gguf)))
    peers = []
    for name, python, model in wanted:
        command = [python, str(WORKER), name, str(model), str(audio), "--threads", str(args.threads)]
        if name != "transcribe-cpp":
            command += ours
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        peer = Peer(name, process)
        peer.hello = peer.answer()
        peers.append(peer)
    return peers


def probe(threads: int) -> float:
    """Read bandwidth now, GB/s."""
    return float(native_module().measure_read_bandwidth(threads, 256))


def document(
    args: argparse.Namespace, peers: list[Peer], bandwidth: list[float], interference: dict[str, Any]
) -> dict[str, Any]:
    """Every figure, and every time it comes from."""
    base = peers[0]
    contestants = {}
    for peer in peers:
        per_round = [np.median(b) / np.median(a) for a, b in zip(base.rounds, peer.rounds, strict=True)]
        contestants[peer.name] = {
            **peer.hello,
            "step_ms": measures.summary(peer.step_ms),
            "ratio_per_round": [round(float(ratio), 3) for ratio in per_round],
            "ratio": round(float(np.median(per_round)), 3),
            "ratio_range": [round(float(min(per_round)), 3), round(float(max(per_round)), 3)],
            "file_ratio": file_ratio(base, peer),
            "file_rtf": [round(value, 4) for value in peer.files],
            "rounds_ms": [[round(value, 3) for value in times] for times in peer.rounds],
        }
    return {
        "format": "voxtral-edge-peers",
        "machine": environment.machine(),
        "git_revision": environment.git_revision(),
        "model": args.model,
        "threads": args.threads,
        "file_seconds": args.file_seconds,
        "replayed": args.replay,
        "read_gbps": [round(value, 2) for value in bandwidth],
        "interference": interference,
        "contestants": contestants,
    }


def file_ratio(base: Peer, peer: Peer) -> float | None:
    """Median over rounds of a recording's time over ours in the same round."""
    ratios = [theirs / ours for theirs, ours in zip(peer.files, base.files, strict=False)]
    return round(float(np.median(ratios)), 3) if ratios else None


def markdown(result: dict[str, Any]) -> list[str]:
    """A table, and what it rests on."""
    rows = []
    for name, entry in result["contestants"].items():
        step, files = entry["step_ms"], entry["file_rtf"]
        low, high = entry["ratio_range"]
        ratio = "1" if name == BASE else f"{entry['ratio']:.2f} ({low:.2f} to {high:.2f})"
        rtf = f"{np.median(files):.3f}" if files else "–"
        slower = "1" if name == BASE else "–" if entry["file_ratio"] is None else f"{entry['file_ratio']:.2f}"
        times = " / ".join(number(step[key]) for key in ("p50", "p99"))
        rows.append(
            f"| {name} {entry['about']['version']} | {times} | {ratio} | {rtf} | {slower} | {entry['load_s']:.1f} |"
        )
    bandwidth = result["read_gbps"]
    other = result["interference"]
    return [
        f"| contestant | live step p50 / p99 ms | × {BASE}, median of rounds (range) | file RTF | × {BASE} | "
        "load s |",
        "|---|---|---|---|---|---|",
        *rows,
        "",
        f"{result['machine']['cpu']}, {result['threads']} threads; memory reads {min(bandwidth):.1f} to "
        f"{max(bandwidth):.1f} GB/s over the rounds; {other['other_cpus']} CPUs busy beside, "
        f"load average {other['load_start']} to {other['load_end']}.",
    ]


if __name__ == "__main__":
    main()
