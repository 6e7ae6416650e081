"""A benchmark result as text: a summary for the terminal, one row of a Markdown table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from voxtral_edge.bench import measures

_COLUMNS = (
    "machine",
    "model",
    "ISA × threads",
    "mode, KV",
    "step p50 / p99 / max ms",
    "missed",
    "RTF",
    "floor ms",
    "× floor",
    "% of int peak",
    "RSS MB",
    "load s",
)


def table(results: Iterable[Mapping[str, Any]]) -> list[str]:
    """Lines of a Markdown table with one row per result."""
    head = f"| {' | '.join(_COLUMNS)} |"
    return [head, "|" + "---|" * len(_COLUMNS), *(row(result) for result in results)]


def row(result: Mapping[str, Any]) -> str:
    """One row; the columns are those of `table`."""
    step, machine = result["step_ms"], result["machine"]
    cells = [
        f"{machine['cpu']}, {machine['usable_cpus']} CPUs, {result['read_gbps']:.1f} GB/s",
        f"{result['model']} {result['precision']}",
        f"{result['isa']} × {result['threads']}",
        f"{mode_name(result)}, {result['kv']}",
        " / ".join(number(step[name]) for name in ("p50", "p99", "max")) if step else "–",
        f"{result['deadline_miss_rate']:.2%}" if step else "–",
        f"{result['rtf']:.3f}",
        number(result["floor_ms"]) if result["memory_bound"] is not False else "– (in cache)",
        f"{result['ratio_to_floor']:.2f}" if step and result["memory_bound"] is not False else "–",
        peak_shares(result),
        f"{result['rss_peak_mb']:.0f}",
        f"{result['load_s']:.2f} ({result['load']['page_cache']})",
    ]
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def plain(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A summary for people: (name, text) of each subject."""
    return [
        ("Machine", machine_line(result)),
        ("Package", f"{result['model']}, {result['precision']}; {result['note']}"),
        ("Run", run_line(result)),
        *(_step_rows(result) if result["step_ms"] else _file_rows(result)),
        ("Memory reads", bandwidth_line(result)),
        ("Floor", floor_line(result)),
        ("Arithmetic", arithmetic_line(result)),
        ("Memory", memory_line(result)),
        ("Start", start_line(result)),
        *beside_rows(result),
    ]


def mode_name(result: Mapping[str, Any]) -> str:
    """How the measurement was fed, in a word or three."""
    if result["mode"] == "streams":
        return f"{result['stream_count']} streams together"
    if result["mode"] == "paced streams":
        return f"{result['stream_count']} streams on the clock"
    return str(result["mode"]) + (", catching up" if result["catch_up"] else "")


def peak_shares(result: Mapping[str, Any]) -> str:
    """Each pass's multiply-adds per second as a share of the integer peak."""
    passes = result["passes"]
    shares = [(name, passes[name]["gmacs"] / result["integer_peak_gmacs"]) for name in passes]
    return ", ".join(f"{name} {share:.0%}" for name, share in shares) or "–"


def machine_line(result: Mapping[str, Any]) -> str:
    """CPU, CPUs that may be used, kernel, governor."""
    machine = result["machine"]
    parts = [
        machine["cpu"],
        f"{machine['usable_cpus']} of {machine['cpus']} CPUs",
        f"{machine['system']} {machine['kernel']} {machine['architecture']}",
        f"governor {machine['governor']}" if machine["governor"] else "",
        machine["power_mode"] or "",
    ]
    return ", ".join(part for part in parts if part)


def run_line(result: Mapping[str, Any]) -> str:
    """What was measured, in words."""
    threads = result["threads"]
    parts = [
        f"{mode_name(result)}, {result['audio']['seconds']:g} s of {result['audio']['kind']} audio",
        f"{result['engine']} engine ({result['isa']}), {threads} thread{'s' if threads != 1 else ''}",
        f"attention windows {result['kv']}",
        f"delay {result['delay_ms']} ms",
    ]
    if replayed := result["audio"]["replayed"]:
        parts.append(f"tokens as {replayed['model']} chooses them")
    if len(result["runs"]) > 1:
        parts.append(f"median of {len(result['runs'])} runs")
    return ", ".join(parts)


def bandwidth_line(result: Mapping[str, Any]) -> str:
    """Read bandwidth before and after the run."""
    bandwidth = result["bandwidth"]
    return (
        f"{bandwidth['median']:.1f} GB/s median, {bandwidth['min']:.1f} to {bandwidth['max']:.1f} "
        f"({len(bandwidth['before'])} probes before the run, {len(bandwidth['during'])} during it, "
        f"{len(bandwidth['after'])} after)"
    )


def floor_line(result: Mapping[str, Any]) -> str:
    """Bytes a step reads and the time they take."""
    text = f"{size(result['bytes_per_step'])} per step take {number(result['floor_ms'])} ms at that speed"
    if result["memory_bound"] is False:
        return text + "; this model fits the cache, so memory is not its limit"
    if result["step_ms"]:
        low, high = result["ratio_to_floor_range"]
        what = "round" if result["paced_streams"] else "step"
        return text + f"; median {what} {result['ratio_to_floor']:.2f} × that ({low:.2f} to {high:.2f})"
    return text + f"; time per token is {1 / result['file']['floor_over_time']:.2f} × that"


def arithmetic_line(result: Mapping[str, Any]) -> str:
    """Multiply-adds of a step, the integer peak, and how much of it each pass reaches."""
    peak = result["integer_peak"]
    text = (
        f"{quantity(result['multiply_adds']['total'])} multiply-adds per step and stream; integer peak "
        f"{number(peak['median'])} G/s ({number(peak['min'])} to {number(peak['max'])})"
    )
    shares = peak_shares(result)
    return text if shares == "–" else f"{text}; share of it: {shares}"


def memory_line(result: Mapping[str, Any]) -> str:
    """Peak, weights, attention state, page faults."""
    faults = result["page_faults"]
    return (
        f"{result['rss_peak_mb']:.0f} MB at most; weights {result['weights_mb']:.0f} MB, attention state of "
        f"a stream {result['kv_mb']:.0f} MB; page faults while running {faults['minor']} minor, "
        f"{faults['major']} major"
    )


def start_line(result: Mapping[str, Any]) -> str:
    """Load and stream start."""
    load = result["load"]
    text = f"load {number(result['load_s'])} s (page cache {load['page_cache']}"
    if load["packed_cache"] != "off":
        text += f", packed cache {load['packed_cache']}"
    if load["read_once_s"] is not None:
        text += f"; reading the weights once takes {load['read_once_s']:.2f} s"
    text += f"), stream ready in {result['start_ms']:.0f} ms"
    if result["step_ms"]:
        text += f", first step {number(result['first_step_ms'])} ms"
        if result["final_latency_ms"] is not None:
            text += f"; last text {number(result['final_latency_ms'])} ms after the audio ends (flush)"
    return text


def number(value: float) -> str:
    """Three significant digits without an exponent."""
    if value >= 100:
        return f"{value:.0f}"
    if value >= 10:
        return f"{value:.1f}"
    if value >= 1:
        return f"{value:.2f}"
    return f"{value:.3f}" if value >= 0.1 else f"{value:.2g}"


def quantity(count: float) -> str:
    """A count with a decimal prefix: `7.53 G`."""
    for unit, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= scale:
            return f"{count / scale:.2f} {unit}"
    return f"{count:.0f} "


def size(count: float) -> str:
    """Bytes in decimal units."""
    return f"{quantity(count)}B"


def _step_rows(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    step, stages, backlog = result["step_ms"], result["stage_ms"], result["backlog_s"]
    names = quantile_names(step["count"])
    return [
        *([("Streams", streams_line(result))] if result["streams"] else []),
        *([("Streams", paced_streams_line(result))] if result["paced_streams"] else []),
        (
            "Latency ms" if result["paced_streams"] else "Step ms",
            "   ".join(f"{name} {number(step[name])}" for name in names),
        ),
        ("", p99_line(step)),
        ("Stages ms", "   ".join(f"{name} {number(stage['p50'])}" for name, stage in stages.items())),
        (
            "Deadline",
            f"{result['deadline_miss_rate']:.2%} of steps later than {result['deadline_ms']:g} ms, at most "
            f"{result['longest_miss_run']} in a row",
        ),
        (
            "Backlog",
            f"p95 {backlog['p95']:.2f} s, max {backlog['max']:.2f} s, at the end {backlog['final']:.2f} s, "
            f"slope {backlog['slope']:+.4f} s/s ({result['clock']} clock)",
        ),
        (
            "Speed",
            f"real-time factor {result['rtf']:.3f} ({result['rtfx']:.1f} × real time)"
            + (", all streams together" if result["streams"] or result["paced_streams"] else ""),
        ),
    ]


def quantile_names(count: int) -> list[str]:
    """The quantiles that this many values have, and "max": beyond a hundred values p99 is another value than it."""
    return [name for name, share in measures.QUANTILES.items() if count * (1 - share) > 0.999] + ["max"]


def p99_line(step: Mapping[str, Any]) -> str:
    """How much the p99 says."""
    if "p99" not in quantile_names(step["count"]):
        return f"{step['count']} steps are too few for a p99: measure longer (--seconds)"
    low, high = step["ci95"]["p99"]
    return f"p99 rests on {round(step['count'] / 100)} of {step['count']} steps: {number(low)} to {number(high)} (95%)"


def streams_line(result: Mapping[str, Any]) -> str:
    """Throughput of the group against a lone stream, and whether its tokens are the same."""
    streams = result["streams"]
    low, high = streams["throughput_ratio_range"]
    same = (
        f"all {streams['count']} streams' tokens as alone"
        if streams["equal_streams"] == streams["count"]
        else f"ONLY {streams['equal_streams']} OF {streams['count']} STREAMS HAVE THEIR LONE RUN'S TOKENS"
    )
    return (
        f"{streams['throughput_ratio']:.2f} × the throughput of one (per turn {low:.2f} to {high:.2f}), "
        f"{streams['audio_s_per_s']:.1f} s of audio per second; lone step p50 "
        f"{number(streams['lone_step_ms']['p50'])} ms; {same} ({streams['compared_tokens']} each, "
        f"{streams['distinct_tokens']} different)"
    )


def paced_streams_line(result: Mapping[str, Any]) -> str:
    """Whether every stream holds real time, and by how much."""
    paced, count = result["paced_streams"], result["stream_count"]
    streams = f"{count} stream{'s' if count != 1 else ''}"
    verdict = f"{streams} hold real time" if paced["held"] else f"{streams} do NOT hold real time"
    if paced["held"] and paced["trials"]:
        verdict = f"at most {verdict}"
    low, high = (pick(stream["p50"] for stream in paced["per_stream"]) for pick in (min, max))
    return (
        f"{verdict}: p99 of the slowest {number(paced['worst_p99_ms'])} ms (bound {paced['bound_ms']:g}), latency "
        f"{paced['growth']:+.4f} s/s (bound {paced['most_growth']:g}), medians {number(low)} to {number(high)} ms; "
        f"rounds of {paced['tokens_per_round']:.1f} tokens in {number(paced['round_ms']['p50'])} ms"
    )


def _file_rows(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    file = result["file"]
    stages = "   ".join(f"{name} {number(value)}" for name, value in file["stage_ms_per_token"].items())
    shared = [
        f"{file[key]:.2f} tokens per {name} pass"
        for key, name in (("tokens_per_decode_pass", "decode"), ("tokens_per_encode_pass", "encode"))
        if file[key]
    ]
    return [
        (
            "Speed",
            f"real-time factor {result['rtf']:.3f} ({result['rtfx']:.1f} × real time): "
            f"{file['wall_s']:.2f} s for {file['audio_s']:g} s",
        ),
        ("Per token ms", f"{number(file['ms_per_token'])}   ({stages})"),
        ("Sharing", ", ".join(shared) or "not reported by this engine"),
    ]


def beside_rows(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(name, text) of energy, chip and interference, as far as the machine tells."""
    rows = []
    if energy := result["energy"]:
        rows.append(
            (
                "Energy",
                f"{energy['watts']:.2f} W, {energy['joules_per_audio_s']:.2f} J per second of audio "
                f"({energy['source']})",
            )
        )
    thermal = result["thermal"]
    facts = []
    if thermal["celsius_max"] is not None:
        facts.append(f"{thermal['celsius_start']:.0f} → {thermal['celsius_max']:.0f} °C")
    if thermal["clock_mhz_max"] is not None:
        low, high = f"{thermal['clock_mhz_min']:.0f}", f"{thermal['clock_mhz_max']:.0f}"
        facts.append(f"clock {high} MHz" if low == high else f"clock {low} to {high} MHz")
    if thermal["throttled"] is not None:
        facts.append("throttled" if thermal["throttled"] else "not throttled")
    if facts:
        rows.append(("Chip", ", ".join(facts)))
    rows.append(("Other work", interference_line(result)))
    return rows


def interference_line(result: Mapping[str, Any]) -> str:
    """Whether the machine was quiet."""
    other = result["interference"]
    if other["other_cpus"] is None:
        return "unknown here"
    verdict = "quiet" if other["quiet"] else "NOT quiet: figures are upper bounds"
    steal = f", {other['steal_share']:.1%} stolen by the host" if other["steal_share"] >= 0.001 else ""
    load = f", load average {other['load_start']}" if other["load_start"] is not None else ""
    return f"{verdict}; {other['other_cpus']:.2f} CPUs busy with other programs{steal}{load}"
