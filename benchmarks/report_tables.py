"""Markdown tables of the results that report.py collected, and what was aimed at beside what was reached."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from voxtral_edge.bench.markdown import number, size

Results = Mapping[str, Mapping[str, Any]]
"""The documents by label: live, file, streams-8, peers, …"""
LIVE = {
    "live": "windows filling",
    "live-full": "windows full",
    "int8-live": "int8, windows filling",
    "int8-live-full": "int8, windows full",
}
FILES = {"file": "", "int8-file": "int8, "}


def tables(results: Results) -> list[str]:
    """Every table there are results for, with its heading and what it rests on."""
    lines: list[str] = []
    for title, table in (
        ("Machine", machine_table),
        ("Live steps", live_table),
        ("Recordings", file_table),
        ("Several streams", streams_table),
        ("Streams on the clock", capacity_table),
        ("Side by side", peers_table),
        ("Kernels", kernels_table),
        ("Start and memory", start_table),
        ("Disturbance", disturbance_table),
        ("Endurance", soak_table),
        ("Aims", aims_table),
    ):
        if body := table(results):
            lines += ["", f"### {title}", "", *body]
    return lines[1:]


def machine_table(results: Results) -> list[str]:
    """Where and under what load each part was measured."""
    rows = []
    for label, result in results.items():
        other, machine = result.get("interference"), result.get("machine")
        if other is None or machine is None:
            continue
        quiet = {True: "yes", False: "**no**", None: "unknown"}[other["quiet"]]
        busy = "–" if other["other_cpus"] is None else f"{other['other_cpus']:.2f}"
        load = f"{other['load_start']} to {other['load_end']}"
        rows.append([label, machine["cpu"], str(machine["usable_cpus"]), quiet, busy, load])
    return _table(["part", "CPU", "CPUs", "quiet", "CPUs busy beside", "load average"], rows)


def live_table(results: Results) -> list[str]:
    """Live steps against the memory floor and the roofs of the passes."""
    rows = []
    for label, name in LIVE.items():
        if not (result := results.get(label)):
            continue
        step, bandwidth, passes = result["step_ms"], result["bandwidth"], result["passes"]
        low, high = sorted(result["ratio_to_floor_range"])
        rows.append(
            [
                f"{result['model']}, {name}",
                " / ".join(number(step[key]) for key in ("p50", "p99", "max")),
                f"{step['p99'] / step['p50']:.2f}",
                f"{bandwidth['median']:.1f} ({bandwidth['min']:.1f} to {bandwidth['max']:.1f})",
                size(result["bytes_per_step"]),
                number(result["floor_ms"]),
                "in cache"
                if result["memory_bound"] is False
                else f"{result['ratio_to_floor']:.2f} ({low:.2f} to {high:.2f})",
                " / ".join(f"{passes[key]['ratio_to_roof']:.2f}" for key in ("encode", "decode")),
                f"{result['deadline_miss_rate']:.2%}",
            ]
        )
    head = [
        "",
        "step p50 / p99 / max, ms",
        "p99 / p50",
        "memory reads, GB/s (range)",
        "bytes per step",
        "floor, ms",
    ]
    return _table([*head, "× floor (range)", "× roof, encode / decode", "late"], rows)


def file_table(results: Results) -> list[str]:
    """Recordings: real-time factor, and how far passes are shared."""
    rows = []
    for label, name in FILES.items():
        if not (result := results.get(label)):
            continue
        file, passes = result["file"], result["passes"]
        replayed = result["audio"]["replayed"]
        rows.append(
            [
                f"{result['model']}, {name}{file['audio_s']:.0f} s"
                + (f", tokens of {replayed['model']}" if replayed else ""),
                f"{result['rtf']:.3f}" + _spread([run["rtf"] for run in result["runs"]], 3),
                f"{file['tokens_per_decode_pass']:.2f}",
                f"{file['tokens_per_encode_pass']:.2f}",
                " / ".join(f"{number(passes[key]['ms'])}" for key in ("encode", "decode")),
                " / ".join(f"{passes[key]['ratio_to_roof']:.2f}" for key in ("encode", "decode")),
                " / ".join(
                    f"{passes[key]['gmacs'] / result['integer_peak_gmacs']:.0%}"
                    for key in ("encode", "decode")
                ),
            ]
        )
    head = ["", "RTF (runs)", "tokens per decode pass", "per encode pass", "pass, ms: encode / decode"]
    return _table([*head, "× roof", "of integer peak"], rows)


def streams_table(results: Results) -> list[str]:
    """Streams in shared passes against one alone."""
    rows = []
    for label, result in results.items():
        if not label.startswith("streams-"):
            continue
        several, passes, step = result["streams"], result["passes"], result["step_ms"]
        low, high = several["throughput_ratio_range"]
        rows.append(
            [
                str(several["count"]),
                f"{number(step['p50'])} / {number(step['p99'])}",
                number(several["lone_step_ms"]["p50"]),
                f"{several['throughput_ratio']:.2f} ({low:.2f} to {high:.2f})",
                f"{several['audio_s_per_s']:.2f}",
                " / ".join(f"{passes[key]['ratio_to_roof']:.2f}" for key in ("encode", "decode")),
                " / ".join(
                    f"{passes[key]['gmacs'] / result['integer_peak_gmacs']:.0%}"
                    for key in ("encode", "decode")
                ),
                f"{several['equal_streams']} of {several['count']}",
            ]
        )
    head = [
        "streams",
        "step of all p50 / p99, ms",
        "alone p50, ms",
        "× throughput of one (turns)",
        "audio s per s",
    ]
    return _table([*head, "× roof, encode / decode", "of integer peak", "tokens as alone"], rows)


def peers_table(results: Results) -> list[str]:
    """Ours beside others, as peers.py prints it."""
    from peers import markdown

    return markdown(dict(results["peers"])) if "peers" in results else []


def kernels_table(results: Results) -> list[str]:
    """Integer products per shape and number of rows."""
    from kernels import markdown

    return markdown(dict(results["kernels"])) if "kernels" in results else []


def start_table(results: Results) -> list[str]:
    """Load, first text, memory."""
    rows = []
    for label, result in results.items():
        if not label.startswith("start-"):
            continue
        read = result["load"]["read_once_s"]
        package = result["package"]["bytes"] / 1e6
        rows.append(
            [
                result["load"]["page_cache"],
                f"{result['load_s']:.2f}",
                f"{result['start_ms'] / 1e3:.2f}",
                "–" if read is None else f"{read:.2f}",
                "–" if read is None else f"{first_text_s(result) / read:.2f}",
                f"{result['rss_peak_mb']:.0f}",
                f"{result['rss_peak_mb'] - package:+.0f}",
                f"{result['kv_mb']:.0f}",
            ]
        )
    head = [
        "page cache",
        "load, s",
        "stream ready, s",
        "reading the weights once, s",
        "first text / reading once",
    ]
    lines = _table([*head, "peak memory, MB", "over the package, MB", "a stream's state when full, MB"], rows)
    if "load" in results:
        from load_time import markdown

        lines += ["", *markdown(dict(results["load"]))]
    return lines


def first_text_s(result: Mapping[str, Any]) -> float:
    """From nothing to the first possible text: load, a stream, and its first step."""
    return float(result["load_s"] + result["start_ms"] / 1e3 + result["first_step_ms"] / 1e3)


def disturbance_table(results: Results) -> list[str]:
    """The well-behaved client of disturbance.py beside hostile ones."""
    from disturbance import markdown

    lines: list[str] = []
    for label in ("disturbance", "disturbance-full"):
        if result := results.get(label):
            lines += ["", *markdown(dict(result))]
    return lines[1:]


def capacity_table(results: Results) -> list[str]:
    """How many live streams hold real time."""
    rows = []
    for label in ("capacity", "capacity-full"):
        if result := results.get(label):
            paced, step = result["paced_streams"], result["step_ms"]
            rows.append(
                [
                    f"{result['model']}, windows {result['kv']}",
                    str(result["stream_count"] if paced["held"] else 0),
                    f"{number(step['p50'])} / {number(step['p99'])}",
                    number(paced["worst_p99_ms"]),
                    f"{paced['tokens_per_round']:.1f} in {number(paced['round_ms']['p50'])}",
                    f"{result['rtf']:.0%}",
                ]
            )
    head = ["", "streams held", "latency p50 / p99, ms", "p99 of the slowest stream", "tokens per round, ms"]
    return _table([*head, "rounds' share of the clock"], rows)


def soak_table(results: Results) -> list[str]:
    """Hours through one stream."""
    rows = [
        [
            f"{result['model']}, {result['threads']} thread{'s' if result['threads'] != 1 else ''}",
            f"{result['hours']:.2f}",
            number(float(np.median(result["step_ms"]))),
            f"{result['slower']:.3f}",
            f"{result['growth_mb']:+.1f}",
        ]
        for label in ("soak", "soak-full")
        if (result := results.get(label))
    ]
    head = [
        "",
        "hours of audio",
        "median step, ms",
        "last quarter / second",
        "memory since the first quarter, MB",
    ]
    return _table(head, rows)


def aims_table(results: Results) -> list[str]:
    """What was aimed at, what was reached; only for the full-size model."""
    rows: list[list[str]] = []
    if not any(result.get("memory_bound") for result in results.values()):
        return []  # a model that lives in the cache, or only parts that do not say so
    for label, words, limit, at_most, value in _AIMS:
        result = results.get(label)
        if result is None:
            continue
        reached = value(result)
        if reached is not None:
            met = reached <= limit if at_most else reached >= limit
            sign = "≤" if at_most else "≥"
            rows.append([words, f"{sign} {limit:g}", f"{reached:.2f}", "yes" if met else "**no**"])
    return _table(["aim", "limit", "reached", "met"], rows)


def _peer(name: str, key: str) -> Callable[[Mapping[str, Any]], float | None]:
    def ratio(result: Mapping[str, Any]) -> float | None:
        entry = result["contestants"].get(name)
        return None if entry is None else entry[key]

    return ratio


def _first_text(result: Mapping[str, Any]) -> float | None:
    read = result["load"]["read_once_s"]
    return first_text_s(result) / read if read else None


def _tail(result: Mapping[str, Any]) -> float:
    return float(result["step_ms"]["p99"] / result["step_ms"]["p50"])


def _memory_over(result: Mapping[str, Any]) -> float:
    return float(result["rss_peak_mb"] - result["package"]["bytes"] / 1e6 - result["kv_mb"])


_AIMS: list[tuple[str, str, float, bool, Callable[[Mapping[str, Any]], float | None]]] = [
    ("live", "live step over its floor, windows filling", 1.20, True, lambda r: r["ratio_to_floor"]),
    ("live-full", "live step over its floor, windows full", 1.35, True, lambda r: r["ratio_to_floor"]),
    ("live", "p99 over median, windows filling", 1.5, True, _tail),
    ("live-full", "p99 over median, windows full", 1.5, True, _tail),
    ("int8-live", "int8: live step over its floor", 1.20, True, lambda r: r["ratio_to_floor"]),
    (
        "int8-live-full",
        "int8: live step over its floor, windows full",
        1.35,
        True,
        lambda r: r["ratio_to_floor"],
    ),
    ("file", "recording, real-time factor", 0.5, True, lambda r: r["rtf"]),
    ("streams-8", "eight streams, throughput of one", 3.0, False, lambda r: r["streams"]["throughput_ratio"]),
    ("peers", "live step of transcribe-cpp over ours", 2.5, False, _peer("transcribe-cpp", "ratio")),
    ("peers", "recording, transcribe-cpp over ours", 4.0, False, _peer("transcribe-cpp", "file_ratio")),
    ("peers", "live step of the onnxruntime engine over ours", 3.0, False, _peer("onnxruntime", "ratio")),
    ("start-1", "first text over reading the weights once, cold", 1.5, True, _first_text),
    ("start-1", "peak memory over package and state, MB", 300.0, True, _memory_over),
    (
        "disturbance-full",
        "p99 beside hostile clients over p99 alone",
        1.10,
        True,
        lambda r: r["ratio"]["p99"],
    ),
    ("soak-full", "last quarter's step over the second's", 1.2, True, lambda r: r["slower"]),
]


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    if not rows:
        return []
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def _spread(values: list[float], digits: int) -> str:
    if len(values) < 2:
        return ""
    return f" ({min(values):.{digits}f} to {max(values):.{digits}f})"
