"""Everything a benchmark measured as one JSON document; `benchmarks/schema.json` describes it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from voxtral_edge.audio import BLOCK_SAMPLES, SAMPLE_RATE_HZ
from voxtral_edge.bench import arithmetic, environment, measures, paced_report, traffic
from voxtral_edge.bench.file import FileRun
from voxtral_edge.bench.live import LiveRun
from voxtral_edge.bench.measures import rounded_list
from voxtral_edge.bench.paced_streams import PacedStreamsRun
from voxtral_edge.bench.runner import Measured, Repetition, algorithmic_latency_ms, look_ahead_ms
from voxtral_edge.bench.streams import StreamsRun
from voxtral_edge.errors import ModelFormatError
from voxtral_edge.files import write_whole

FORMAT, FORMAT_VERSION = "voxtral-edge-bench", 3
# Version 2 knew three stages instead of six: what is compared, it holds too.
READABLE_VERSIONS = (2, FORMAT_VERSION)
RANDOM_NOTE = "random weights: timing valid, accuracy not"
MODEL_NOTE = "timing valid; accuracy is not measured here"


def document(measured: Measured) -> dict[str, Any]:
    """The JSON document of a finished benchmark."""
    options = measured.options
    chosen = measured.repetitions[
        measures.median_index([repetition.typical_ms for repetition in measured.repetitions])
    ]
    package = environment.package(measured.directory, measured.manifest)
    info = measured.info
    result: dict[str, Any] = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "note": RANDOM_NOTE if package["random_weights"] else MODEL_NOTE,
        "command": options.command,
        "git_revision": environment.git_revision(),
        "software": environment.software(),
        "machine": environment.machine(),
        "model": package["name"],
        "precision": environment.precision_name(package["precision"]),
        "package": package,
        "engine": options.engine,
        "isa": info.get("kernels") or f"onnxruntime {environment.software()['onnxruntime']}",
        "threads": info["threads"],
        "mode": options.mode,
        "stream_count": options.streams,
        "catch_up": options.catch_up,
        "kv": _kv_state(measured),
        "delay_ms": options.delay_ms,
        "algorithmic_latency_ms": algorithmic_latency_ms(measured.manifest, options.delay_ms),
        "look_ahead_ms": look_ahead_ms(measured.manifest),
        "deadline_ms": round(1000.0 * measured.step_s, 3),
        "audio": {**measured.audio, "seconds": options.seconds},
        **_machine_speed(measured),
        **_memory(measured, chosen),
    }
    result.update(_floor(measured, chosen, result["read_gbps"]))
    if isinstance(chosen.result, FileRun):
        result.update(_file(chosen.result, result))
    elif (live := chosen.live) is not None:
        result.update(_live(measured, chosen, live, result))
    result["streams"] = (
        _streams(chosen.result, measured.step_s) if isinstance(chosen.result, StreamsRun) else None
    )
    result["paced_streams"] = None
    if isinstance(chosen.result, PacedStreamsRun):
        result.update(
            paced_report.latencies(chosen.result, measured.trials, measured.step_s, result["samples"])
        )
    result["passes"] = _passes(chosen, result)
    result.update(_beside(measured, chosen))
    result["runs"] = [_run_summary(measured, repetition) for repetition in measured.repetitions]
    return result


def save(result: Mapping[str, Any], path: str | Path) -> None:
    """Writes a document as JSON, every list of numbers on one line."""
    text = json.dumps(result, indent=1, ensure_ascii=False)
    text = re.sub(r"\[[\s\d.,eE+-]+\]", lambda found: " ".join(found[0].split()), text)
    write_whole(Path(path), text + "\n")


def read(path: str | Path) -> dict[str, Any]:
    """A document written by `save`; ModelFormatError if it is none."""
    try:
        result = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelFormatError(f"{path}: is not JSON ({error}); give a file made by bench --json") from error
    if not isinstance(result, dict) or result.get("format") != FORMAT:
        raise ModelFormatError(f"{path}: is not a benchmark result; give a file made by bench --json")
    if result.get("format_version") not in READABLE_VERSIONS:
        raise ModelFormatError(
            f"{path}: has format version {result.get('format_version')}, this program reads "
            f"{' and '.join(map(str, READABLE_VERSIONS))}; measure again with this version"
        )
    return result


def _machine_speed(measured: Measured) -> dict[str, Any]:
    before, after = measured.before, measured.after
    bandwidth = _probes(before.read_gbps, after.read_gbps, measured.during_gbps)
    peak = _probes(before.integer_gmacs, after.integer_gmacs)
    return {
        "read_gbps": bandwidth["median"],
        "bandwidth": {**bandwidth, "megabytes": measured.bandwidth_megabytes},
        "integer_peak_gmacs": peak["median"],
        "integer_peak": peak,
    }


def _probes(before: list[float], after: list[float], during: list[float] | None = None) -> dict[str, Any]:
    probes = [*before, *(during or []), *after]
    return {
        "before": rounded_list(before),
        **({} if during is None else {"during": rounded_list(during)}),
        "after": rounded_list(after),
        "min": round(min(probes), 3),
        "median": round(float(np.median(probes)), 3),
        "max": round(max(probes), 3),
    }


def _memory(measured: Measured, chosen: Repetition) -> dict[str, Any]:
    load = measured.load
    parts = sum(traffic.weight_bytes_by_part(measured.manifest).values())
    cached = load["page_cache_share_before"]
    return {
        "load_s": round(load["seconds"], 4),
        "load": {
            "page_cache": "unknown"
            if cached is None
            else "cold"
            if cached < 0.05
            else "warm"
            if cached > 0.95
            else "partly warm",
            "page_cache_share_before": None if cached is None else round(cached, 4),
            "packed_cache": measured.info.get("packed_cache", {}).get("state", "off"),
            "read_once_s": None if load["read_once_s"] is None else round(load["read_once_s"], 4),
            "minor_faults": load["minor_faults"],
            "major_faults": load["major_faults"],
        },
        "start_ms": round(chosen.start_ms, 3),
        "rss_peak_mb": round(measured.rss_peak_bytes / 1e6, 1),
        "rss_peak_includes_bandwidth_probe": load["rss_peak_includes_bandwidth_probe"],
        "weights_mb": round(measured.info.get("weight_bytes", parts) / 1e6, 1),
        "kv_mb": round(measured.info.get("state_bytes", _kv_bytes(measured)) / 1e6, 1),
        "page_faults": dict(zip(("minor", "major"), _run_of(chosen).page_faults, strict=True)),
    }


def _run_of(chosen: Repetition) -> LiveRun | FileRun:
    live = chosen.live
    if live is not None:
        return live
    assert isinstance(chosen.result, FileRun)
    return chosen.result


def _floor(measured: Measured, chosen: Repetition, read_gbps: float) -> dict[str, Any]:
    """What memory allows. For a file: of steps that share no pass over the weights, windows filling."""
    run, count = _run_of(chosen), _streams_per_step(measured, chosen)
    always_full = measured.options.kv_full or measured.options.engine != "native"
    if isinstance(run, LiveRun):
        first, steps = run.first_token, len(run.step_ms)
    else:
        first, steps = 0, int(run.counters["encoded_tokens"])
    seen = None if always_full else first
    kinds = _kv_kinds(measured)
    cost = traffic.bytes_per_step(measured.manifest, *kinds, seen, steps, count)
    return {
        "bytes_per_step": cost["total"],
        "bytes": {
            **cost,
            "total_kv_full": traffic.bytes_per_step(measured.manifest, *kinds, None, 1, count)["total"],
            "encoder_kv": kinds[0],
            "decoder_kv": kinds[1],
        },
        "multiply_adds": arithmetic.multiply_adds_per_step(measured.manifest, seen, steps),
        "floor_ms": round(traffic.floor_ms(cost["total"], read_gbps), 6),
        "memory_bound": measured.memory_bound,
    }


def _passes(chosen: Repetition, so_far: dict[str, Any]) -> dict[str, Any]:
    """Encode and decode passes, and a whole live step, against bandwidth and integer peak."""
    run, count = _run_of(chosen), so_far["stream_count"]
    counters = run.counters
    # The rounds of paced streams count the tokens of everybody.
    everybody = 1 if so_far["paced_streams"] else count

    def shared(tokens: float, name: str) -> tuple[float, float]:
        calls = counters[f"{name}_calls"]
        if not calls:
            return 0.0, 0.0
        # Every pass serves one step: its median is known.
        if isinstance(run, LiveRun) and not so_far["catch_up"]:
            return everybody * tokens / calls, measures.quantile(run.pass_ms[name], 0.5)
        return everybody * tokens / calls, counters[f"{name}_ns"] / 1e6 / calls

    made = arithmetic.passes(
        so_far["bytes"],
        so_far["multiply_adds"],
        shared(counters["encoded_tokens"], "encode"),
        # A guess that is verified is a row of its pass, whether it was right or not.
        shared(
            counters["generated_tokens"] + counters["drafted_tokens"] - counters["accepted_drafts"], "decode"
        ),
    )
    if so_far["step_ms"] and not so_far["catch_up"] and not so_far["paced_streams"]:
        total = count * so_far["multiply_adds"]["total"]
        made["step"] = arithmetic.Pass(count, so_far["bytes_per_step"], total, so_far["step_ms"]["p50"])
    speeds = so_far["read_gbps"], so_far["integer_peak_gmacs"]
    return {name: made[name].figures(*speeds) for name in ("encode", "decode", "step") if name in made}


def _streams(run: StreamsRun, step_s: float) -> dict[str, Any]:
    ratios = run.throughput_ratios()
    return {
        "count": run.count,
        "audio_s_per_s": round(run.count / run.group.rtf(step_s), 4),
        "lone_step_ms": measures.summary(run.lone_ms),
        "throughput_ratio": round(float(np.median(ratios)), 4),
        "throughput_ratio_range": [round(float(value), 4) for value in (ratios.min(), ratios.max())],
        "turns": len(ratios),
        "equal_streams": run.equal_streams,
        "compared_tokens": run.compared_tokens,
        "distinct_tokens": run.distinct_tokens,
    }


def _streams_per_step(measured: Measured, chosen: Repetition) -> int:
    """Streams that share a step's bytes: all, or, where rounds take whom has arrived, their mean number."""
    if isinstance(chosen.result, PacedStreamsRun):
        return max(1, round(float(np.mean(chosen.result.round_tokens))))
    return measured.options.streams


def _live(measured: Measured, chosen: Repetition, run: LiveRun, so_far: dict[str, Any]) -> dict[str, Any]:
    stages = {**run.stage_ms, "other": np.maximum(0.0, run.step_ms - sum(run.stage_ms.values()))}
    missed = run.missed(measured.step_s)
    step_ms = measures.summary(run.step_ms, full=True)
    rtf = run.rtf(measured.step_s)
    bandwidth, total = so_far["bandwidth"], so_far["bytes_per_step"]
    harness_us = float(np.median(run.harness_us))
    return {
        "step_ms": step_ms,
        "stage_ms": {name: measures.summary(values) for name, values in stages.items()},
        "first_step_ms": round(run.first_step_ms, 3),
        "final_latency_ms": None if chosen.final_ms is None else round(chosen.final_ms, 3),
        "ratio_to_floor": round(step_ms["p50"] / so_far["floor_ms"], 4),
        "ratio_to_floor_range": [
            round(step_ms["p50"] / traffic.floor_ms(total, bandwidth[name]), 4) for name in ("min", "max")
        ],
        "achieved_gbps": round(total / step_ms["p50"] / 1e6, 3),
        "rtf": round(rtf, 7),
        "rtfx": round(1.0 / rtf, 3),
        "feeds": run.feeds,
        "clock": "wall" if run.paced else "virtual",
        "deadline_miss_rate": round(float(np.mean(missed)), 6),
        "longest_miss_run": measures.longest_run(missed),
        "backlog_s": measures.backlog(run.arrival_s, run.finish_s, measured.step_s),
        "warmup": {
            "seconds": round(len(run.warmup_ms) * measured.step_s, 3),
            "step_ms": measures.summary(run.warmup_ms) if len(run.warmup_ms) else None,
        },
        "counters": {key: round(value, 6) for key, value in run.counters.items()},
        "harness": {
            "us_per_step": round(harness_us, 2),
            "share": round(harness_us / 1e3 / step_ms["p50"], 6),
            "timer_ns": round(measures.timer_cost_ns(time.perf_counter_ns), 1),
        },
        "file": None,
        "samples": {
            "step_ms": rounded_list(run.step_ms),
            **{f"{name}_ms": rounded_list(values) for name, values in run.stage_ms.items()},
        },
    }


def _file(run: FileRun, so_far: dict[str, Any]) -> dict[str, Any]:
    tokens = run.counters["encoded_tokens"]
    return {
        "step_ms": None,
        "stage_ms": None,
        "rtf": round(run.rtf, 7),
        "rtfx": round(1.0 / run.rtf, 3),
        "file": {
            "audio_s": round(run.audio_s, 3),
            "wall_s": round(run.wall_s, 4),
            "block_s": BLOCK_SAMPLES / SAMPLE_RATE_HZ,
            **run.per_pass(),
            "ms_per_token": round(1000.0 * run.wall_s / tokens, 4) if tokens else None,
            "stage_ms_per_token": run.stage_ms_per_token(),
            # Above 1: passes over the weights were shared by several steps, which is what beats the floor.
            "floor_over_time": round(so_far["floor_ms"] * tokens / (1000.0 * run.wall_s), 4),
        },
        "counters": {key: round(value, 6) for key, value in run.counters.items()},
        "samples": {"block_ms": rounded_list(run.block_ms[:-1] if len(run.block_ms) > 1 else run.block_ms)},
    }


def _beside(measured: Measured, chosen: Repetition) -> dict[str, Any]:
    # Beside several streams a lone one ran in turns, or they were made in the same time: whose energy it was is
    # unknown.
    alone = isinstance(chosen.result, (LiveRun, FileRun))
    energy = chosen.sensors["energy"] if alone else None
    if energy is not None:
        run = _run_of(chosen)
        audio_s = (
            run.audio_s
            if isinstance(run, FileRun)
            else (len(run.step_ms) + len(run.warmup_ms)) * measured.step_s
        )
        energy = {**energy, "joules_per_audio_s": round(energy["joules"] / audio_s, 4)}
    return {
        "energy": energy,
        "thermal": chosen.sensors["thermal"],
        "trace": chosen.sensors["trace"],
        "interference": chosen.interference,
    }


def _run_summary(measured: Measured, repetition: Repetition) -> dict[str, Any]:
    run = _run_of(repetition)
    shared = {
        "start_ms": round(repetition.start_ms, 3),
        "celsius_max": repetition.sensors["thermal"]["celsius_max"],
        "other_cpus": repetition.interference["other_cpus"],
    }
    if isinstance(repetition.result, PacedStreamsRun):
        return {**shared, **paced_report.run_summary(repetition.result, measured.step_s)}
    if isinstance(run, LiveRun):
        return {
            **shared,
            "rtf": round(run.rtf(measured.step_s), 7),
            "step_ms": measures.summary(run.step_ms),
            "deadline_miss_rate": round(float(np.mean(run.missed(measured.step_s))), 6),
        }
    return {**shared, "rtf": round(run.rtf, 7), "step_ms": None, "deadline_miss_rate": None}


def _kv_state(measured: Measured) -> str:
    if measured.options.engine != "native":
        return "always full"
    return "full" if measured.options.kv_full else "filling"


def _kv_kinds(measured: Measured) -> tuple[str, str]:
    """How encoder and decoder keep their keys and values."""
    if measured.options.engine != "native":
        return "f32", "f32"
    forced = measured.options.kv_cache
    encoder = str(measured.info.get("encoder_kv", "f32" if forced == "auto" else forced))
    return encoder, str(measured.info.get("decoder_kv", "f16" if forced == "auto" else forced))


def _kv_bytes(measured: Measured) -> int:
    """Attention state of a stream with full windows, where the engine does not say."""
    costs = traffic.kv_costs(measured.manifest, *_kv_kinds(measured))
    return sum(cost.position_bytes * cost.window for cost in costs.values())
