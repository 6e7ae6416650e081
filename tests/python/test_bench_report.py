"""The programs under benchmarks/: the collected report, kernels beside onnxruntime, peers, hostile clients."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from bench_testing import ROOT, made_up, measured

PROGRAMS = ROOT / "benchmarks"


@pytest.fixture(name="module")
def _module(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a program of the folder by name, as its neighbours do."""
    monkeypatch.syspath_prepend(str(PROGRAMS))

    def load(name: str) -> ModuleType:
        return __import__(name)

    return load


def run(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(PROGRAMS / program), *map(str, arguments)],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


SHORT = [
    "--threads",
    1,
    "--runs",
    1,
    *(x for name in ("live", "file", "streams", "start") for x in ("--seconds", f"{name}=1")),
]


def test_a_report_is_measured_once_and_printed_again(tmp_path: Path) -> None:
    command = ["report.py", *SHORT, "--results", tmp_path, "--only", "live,file,int8,start,load"]
    first = run(*command)
    assert first.returncode == 0, first.stderr
    for title in ("### Machine", "### Live steps", "### Recordings", "### Start and memory"):
        assert title in first.stdout
    assert "| start from |" in first.stdout
    assert "### Kernels" not in first.stdout and "give --int8" in first.stderr
    assert first.stdout.rstrip("\n") == (tmp_path / "tables.md").read_text().rstrip("\n")
    written = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.json")}
    assert set(written) == {"live.json", "file.json", "start-1.json", "start-warm.json", "load.json"}
    again = run(*command)
    assert again.stderr.count(": kept") == 5 and again.stdout == first.stdout
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.json")} == written


def test_a_part_that_takes_too_long_is_stopped_and_leaves_nothing(tmp_path: Path) -> None:
    done = run("report.py", *SHORT, "--results", tmp_path, "--only", "live", "--limit", "live=0.2")
    assert done.returncode == 1 and "stopped after 0 s" in done.stderr and "not measured: live" in done.stderr
    assert not (tmp_path / "live.json").exists()


@pytest.mark.parametrize("wrong", [["--only", "live,dead"], ["--seconds", "dead=3"], ["--limit", "live=x"]])
def test_unknown_parts_are_refused(tmp_path: Path, wrong: list[str]) -> None:
    done = run("report.py", "--results", tmp_path / "new", *wrong)
    assert done.returncode == 2 and ("dead" in done.stderr or "live=x" in done.stderr)


def test_every_part_has_a_command(module: Any, tmp_path: Path) -> None:
    parts = module("report_parts")
    settings = parts.Settings(
        "tiny-en", "big8", "tiny-en", 2, 3, tmp_path / "a.wav", tmp_path, kernels=Path("k")
    )
    labels = [command.label for part in parts.SECONDS for command in parts.commands(part, settings)]
    assert len(labels) == len(set(labels)) == 22 and set(parts.LIMIT_S) == set(parts.SECONDS)
    assert not any(command.missing for part in parts.SECONDS for command in parts.commands(part, settings))
    for part in parts.SECONDS:
        for command in parts.commands(part, settings):
            script = Path(command.words[1])
            assert script == Path("-m") or script.is_file()


def test_aims_say_what_was_reached(module: Any) -> None:
    good = made_up(np.full(200, 60.0), memory_bound=True, ratio_to_floor=1.1)
    slow = made_up(np.full(200, 60.0), memory_bound=True, ratio_to_floor=1.5)
    lines = module("report_tables").aims_table({"live": good, "live-full": slow})
    assert "| live step over its floor, windows filling | ≤ 1.2 | 1.10 | yes |" in lines
    assert "| live step over its floor, windows full | ≤ 1.35 | 1.50 | **no** |" in lines
    assert (
        module("report_tables").aims_table({"live": measured()}) == []
    )  # lives in the cache: nothing to aim at


def test_streams_are_tabled_with_their_check(module: Any) -> None:
    lines = module("report_tables").streams_table(
        {"streams-2": measured(mode="streams", streams=2, seconds=1.0)}
    )
    assert len(lines) == 3 and "2 of 2" in lines[2]


def test_the_product_that_onnxruntime_is_timed_on_is_right(module: Any) -> None:
    import onnxruntime

    kernels = module("kernels")
    for bits in (4, 8):
        session = onnxruntime.InferenceSession(kernels.products_model(bits, 32, 64, 3))
        x = np.random.default_rng(0).standard_normal((2, 64)).astype(np.float32)
        weights = np.random.default_rng(1)
        outputs = session.run(None, {"x": x})
        assert len(outputs) == 3
        for output in outputs:
            values = weights.integers(0, 256, (32, 2, 32 * bits // 8), np.uint8)
            if bits == 4:
                values = np.stack([values & 15, values >> 4], -1)
            weight = (values.reshape(32, 64).astype(np.float32) - 2 ** (bits - 1)) * 0.01
            np.testing.assert_allclose(output, x @ weight.T, atol=0.05 * np.abs(weight).max() * 8)


def test_shares_of_the_integer_peak_are_those_of_the_products(module: Any) -> None:
    shape = {"kernel": "matmul_q4", "outputs": 1000, "columns": 1000, "floor_ms": 0.9}
    times = {1: 1.0, 4: 1.2, 16: 2.0}
    products = [{**shape, "rows": rows, "ms": ms, "onnxruntime_ms": 3.0} for rows, ms in times.items()]
    result = {"products": products, "integer_peak_gmacs": 10.0, "isa": "x", "threads": 1}
    assert "| int4 1000 × 1000 | 1.00 | 90% | 1.20 | 0.80 | 3.00 / 2.50 / 1.50 |" in module(
        "kernels"
    ).markdown(result)


def peers(module: Any, base: list[float], other: list[float]) -> Any:
    program = module("peers")
    made = [program.Peer(name, None) for name in ("native", "other")]
    for peer, files in zip(made, (base, other), strict=True):
        peer.files = files
    return program, made


def test_recordings_are_compared_round_by_round(module: Any) -> None:
    program, (base, other) = peers(module, [0.5, 1.0, 0.5], [2.0, 4.1, 1.9])
    assert program.file_ratio(base, other) == 4.0  # not 2.0 / 0.5 of unlike rounds
    assert program.file_ratio(base, program.Peer("slow", None, files=[5.0])) == 10.0
    assert program.file_ratio(base, program.Peer("none", None)) is None


def test_turns_change_their_order_and_the_slow_are_asked_once(module: Any) -> None:
    program, made = peers(module, [], [])
    asked: list[tuple[str, str]] = []

    class Asked(program.Peer):  # type: ignore[name-defined, misc]
        def ask(self, **request: Any) -> dict[str, Any]:
            asked.append((self.name, request["op"]))
            return {"step_ms": [1.0], "wall_s": 100.0 if self.name == "other" else 1.0, "audio_s": 10.0}

    made = [Asked(peer.name, None) for peer in made]
    args = argparse.Namespace(
        warmup_steps=1, rounds=2, steps=1, threads=1, file_rounds=2, file_seconds=10.0, file_limit=40.0
    )
    program.measure(args, made, [])
    assert [name for name, op in asked if op == "live"] == [
        "native",
        "other",
        "native",
        "other",
        "other",
        "native",
    ]
    assert [len(peer.files) for peer in made] == [2, 1]


@pytest.mark.slow
def test_hostile_clients_are_measured_on_a_real_server(tmp_path: Path) -> None:
    """No figure is judged here, only that every kind ran and that the good clients were heard throughout."""
    pytest.importorskip("uvicorn", reason="the server's packages are not installed")
    path = tmp_path / "disturbance.json"
    done = run("disturbance.py", "--seconds", 24, "--rounds", 1, "--allow", 1000, "--json", path)
    assert done.returncode == 0, done.stderr
    result = json.loads(path.read_text())
    assert set(result["kinds"]) == {"stalled", "slow", "garbage", "flood", "oversize", "upload"}
    assert all(values["count"] >= 10 for values in (*result["kinds"].values(), result["polite"]))
    assert "all hostile" in done.stdout


def test_step_sizes_share_passes(tmp_path: Path) -> None:
    path, audio = tmp_path / "steps.json", ROOT / "samples" / "serial-numbers.flac"
    done = run("step_sizes.py", "tiny-en", "--audio", audio, "--threads", 1, "--seconds", 5, "--json", path)
    assert done.returncode == 0, done.stderr
    rows = json.loads(path.read_text())["sizes"]
    assert [row["step_ms"] for row in rows] == [80, 160, 320, 640]
    assert [row["encode_passes_per_token"] for row in rows] == [1, 1 / 2, 1 / 4, 1 / 8]
    passes = [row["decode_passes_per_token"] for row in rows]
    assert passes[0] == 1 and passes == sorted(passes, reverse=True) and passes[-1] < 0.6
    assert [len(row["ms_per_token"]) for row in rows] == [8] * 4
    assert len(done.stdout.splitlines()) == 6


def test_the_table_of_streams_on_the_clock(module: Any) -> None:
    result = measured(mode="paced streams", streams=2, seconds=1.0, warmup_s=0.2)
    held, not_held = (
        module("report_tables").capacity_table(
            {"capacity": {**result, "paced_streams": {**result["paced_streams"], "held": held}}}
        )[-1]
        for held in (True, False)
    )
    assert "tiny-en, windows filling | 2 |" in held and "tiny-en, windows filling | 0 |" in not_held


def segment(soak: ModuleType, **values: float) -> Any:
    return soak.Segment(
        **{
            "hours": 0.1,
            "step_ms": 50.0,
            "per_gb_ms": 20.0,
            "rss_mb": 3000.0,
            "kv_mb": 0.0,
            "minor_faults": 0,
            **values,
        }
    )


def test_a_soak_compares_like_with_like(module: Any) -> None:
    """Steps get longer and memory grows as windows fill: neither counts, what is beyond does."""
    soak = module("soak")
    filling = [
        segment(soak, step_ms=50.0 + i, per_gb_ms=20.0, rss_mb=3000.0 + 80.0 * i, kv_mb=80.0 * i)
        for i in range(12)
    ]
    assert soak.judged(filling) == (1.0, 0.0)
    slower = [segment(soak, per_gb_ms=20.0 if i < 9 else 26.0) for i in range(12)]
    assert soak.judged(slower) == (1.3, 0.0)
    assert soak.judged([segment(soak, rss_mb=3000.0 + 2.0 * i) for i in range(12)]) == (1.0, 18.0)


def test_a_soak_writes_what_it_knows(tmp_path: Path) -> None:
    result_path = tmp_path / "soak.json"
    ran = run("soak.py", "--hours", 0.01, "--threads", 1, "--allow-slower", 50, "--json", result_path)
    assert ran.returncode == 0, ran.stderr
    result = json.loads(result_path.read_text())
    assert result["complete"] and len(result["step_ms"]) == len(result["rss_mb"]) == 12
    assert result["slower"] > 0 and "segment 12 of 12" in ran.stdout
    # The decoder's window fills within this run: bytes of its attention state are known.
    assert result["kv_mb"][0] < result["kv_mb"][-1] == result["kv_mb"][-2]


def test_an_interrupted_soak_says_what_it_knows(
    module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    soak, path = module("soak"), tmp_path / "soak.json"
    monkeypatch.setattr(soak, "SAY_EVERY_S", -1.0)  # every step
    said: list[dict[str, Any]] = []
    result_of = soak.Soak.result

    def interrupt(self: Any) -> dict[str, Any]:
        said.append(result_of(self))
        if len(self.segments) == 5 and not self.engine_interrupted:
            self.engine_interrupted = True
            raise KeyboardInterrupt
        return said[-1]

    monkeypatch.setattr(soak.Soak, "engine_interrupted", False, raising=False)
    monkeypatch.setattr(soak.Soak, "result", interrupt)
    monkeypatch.setattr(sys, "argv", ["soak.py", "--hours", "0.005", "--threads", "1", "--json", str(path)])
    assert soak.main() == 130
    kept = json.loads(path.read_text())
    assert not kept["complete"] and len(kept["step_ms"]) == 5 and kept["slower"] is not None
    out = capsys.readouterr().out
    assert "(interrupted)" in out and "then 3 of 19 steps, median" in out
