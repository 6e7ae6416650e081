"""A result as one HTML page: no script, no other file, light and dark, readable on a phone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from voxtral_edge.bench import charts, markdown
from voxtral_edge.bench.markdown import number
from voxtral_edge.files import write_whole

Result = Mapping[str, Any]
# A backlog that grows by less than this many seconds per second counts as steady: over a minute it is less than
# the spread of a feed of several steps.
_STEADY_SLOPE = 0.02
_STYLE = Path(__file__).with_name("page.css")


def save(result: Result, path: str | Path) -> None:
    """Writes the page of a result document."""
    write_whole(Path(path), render(result))


def render(result: Result) -> str:
    """The page as text."""
    title = f"{result['model']} · {result['machine']['cpu']}"
    kept = {key: value for key, value in result.items() if key != "samples"}
    # "<" cannot end the script element this way, and JSON stays JSON.
    data = json.dumps(kept, ensure_ascii=False).replace("<", "\\u003c")
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8"/>',
            '<meta name="viewport" content="width=device-width, initial-scale=1"/>',
            '<meta name="color-scheme" content="light dark"/>',
            f"<title>{escape(title)} · voxtral-edge bench</title>",
            f"<style>\n{_STYLE.read_text(encoding='utf-8')}</style>",
            "</head>",
            "<body>",
            "<main>",
            _header(result),
            _tiles(result),
            _charts(result),
            _tables(result),
            _footer(result),
            "</main>",
            f'<script type="application/json" id="result">{data}</script>',
            "</body>",
            "</html>",
            "",
        ]
    )


def verdict(result: Result) -> tuple[str, str]:
    """(style, sentence): what the figures mean for somebody who wants live text."""
    if result["step_ms"] is None:
        if result["rtf"] < 1:
            return "good", f"Transcribes {result['rtfx']:.1f} times faster than real time."
        return "bad", f"Takes {result['rtf']:.1f} times as long as the recording."
    if result["streams"]:
        return _streams_verdict(result)
    if paced := result["paced_streams"]:
        return "good" if paced["held"] else "bad", f"{markdown.paced_streams_line(result).split(':')[0]}."
    backlog = result["backlog_s"]
    if result["catch_up"] and result["deadline_miss_rate"] > 0 and backlog["slope"] < _STEADY_SLOPE:
        return "fair", f"Keeps up by sharing passes between steps: at most {backlog['max']:.2f} s behind."
    if result["rtf"] > 1:
        return "bad", f"Falls behind: a second of speech takes {result['rtf']:.2f} s of work."
    if result["step_ms"]["p99"] <= result["deadline_ms"]:
        share = 1.0 - result["deadline_miss_rate"]
        room = "every step" if share == 1 else f"{share:.2%} of steps"
        return "good", f"Keeps up live: {room} done before the next 80 ms of speech are complete."
    return (
        "fair",
        f"Keeps up on average; {result['deadline_miss_rate']:.1%} of steps finish late and are caught up.",
    )


def _streams_verdict(result: Result) -> tuple[str, str]:
    streams = result["streams"]
    if streams["equal_streams"] != streams["count"]:
        return "bad", f"{streams['count'] - streams['equal_streams']} streams differ from their lone runs."
    ratio = f"{streams['count']} streams get {streams['throughput_ratio']:.2f} times the throughput of one"
    if result["rtf"] > 1:
        return "fair", f"{ratio}; together they need {result['rtf']:.2f} s of work per second."
    return "good", f"{ratio} and keep up live."


def _header(result: Result) -> str:
    style, sentence = verdict(result)
    threads = result["threads"]
    about = (
        f"{result['precision']} · {result['isa']} · {threads} thread{'s' if threads != 1 else ''} · "
        f"{markdown.mode_name(result)} · attention windows {result['kv']}"
    )
    warnings = []
    if result["package"]["random_weights"]:
        warnings.append("Random weights: timing valid, accuracy not.")
    if result["interference"]["quiet"] is False:
        warnings.append(f"The machine was not quiet: {_busy(result)}. Times are upper bounds.")
    notes = "".join(f'<p class="warning">{escape(text)}</p>' for text in warnings)
    return (
        f'<header><p class="eyebrow">voxtral-edge bench</p><h1>{escape(result["model"])}</h1>'
        f"<p>{escape(result['machine']['cpu'])}<br/>{escape(about)}</p>"
        f'<p class="verdict {style}">{escape(sentence)}</p>{notes}</header>'
    )


def _tiles(result: Result) -> str:
    step = result["step_ms"]
    bound = result["memory_bound"] is not False
    tiles: list[tuple[str, str, str]] = []
    if step:
        timed = "latency" if result["paced_streams"] else "step"
        tiles += [
            (f"median {timed}", f"{number(step['p50'])} ms", f"p95 {number(step['p95'])} ms"),
            _slow_tile(step, timed),
            (
                "late steps",
                f"{result['deadline_miss_rate']:.2%}",
                f"at most {result['longest_miss_run']} in a row",
            ),
            ("real-time factor", f"{result['rtf']:.3f}", f"{result['rtfx']:.1f} × real time"),
        ]
        if streams := result["streams"]:
            detail = f"{streams['audio_s_per_s']:.2f} s of audio per second"
            tiles.append(("throughput of one", f"{streams['throughput_ratio']:.2f} ×", detail))
        if bound:
            ratio = f"{result['ratio_to_floor']:.2f} ×"
            tiles.append(("memory floor", ratio, f"floor {number(result['floor_ms'])} ms per step"))
    else:
        file = result["file"]
        tiles += [
            ("real-time factor", f"{result['rtf']:.3f}", f"{result['rtfx']:.1f} × real time"),
            ("per token", f"{number(file['ms_per_token'])} ms", "80 ms of audio each"),
        ]
        if file["tokens_per_decode_pass"]:
            shared = f"{file['tokens_per_encode_pass']:.2f} per encode pass"
            tiles.append(("tokens per decode pass", f"{file['tokens_per_decode_pass']:.2f}", shared))
    tiles += [
        ("memory", f"{result['rss_peak_mb']:.0f} MB", f"weights {result['weights_mb']:.0f} MB"),
        ("load", f"{number(result['load_s'])} s", f"page cache {result['load']['page_cache']}"),
        ("text delay", f"{result['algorithmic_latency_ms']:g} ms", "algorithmic, plus a step"),
    ]
    if energy := result["energy"]:
        tiles.append(("energy", f"{energy['joules_per_audio_s']:.2f} J/s", f"{energy['watts']:.1f} W"))
    cells = "".join(
        f'<div class="tile"><span>{escape(name)}</span><strong>{escape(value)}</strong>'
        f"<small>{escape(detail)}</small></div>"
        for name, value, detail in tiles
    )
    return f'<section class="tiles">{cells}</section>'


def _slow_tile(step: Mapping[str, Any], timed: str) -> tuple[str, str, str]:
    if "p99" not in markdown.quantile_names(step["count"]):
        return f"longest {timed}", f"{number(step['max'])} ms", f"of {step['count']}; too few for a p99"
    low, high = step["ci95"]["p99"]
    return f"p99 {timed}", f"{number(step['p99'])} ms", f"95% bounds {number(low)} to {number(high)}"


def _charts(result: Result) -> str:
    if not charts.has_charts(result):
        return ""
    live = result["step_ms"] is not None
    unit = "step" if live else "block"
    roofs = "Nothing lies above the two lines: the time to read the bytes, and the time to multiply them."
    if result["memory_bound"] is False:
        roofs += " This model fits the cache: it may pass the line of memory."
    figures = [
        (
            "Latency of every stream's steps"
            if result["paced_streams"]
            else "How long steps take"
            if live
            else "How long blocks take",
            charts.distribution(result),
            f"Share of {unit}s done within a time, and their histogram. Left of the red line keeps up.",
        ),
        (
            "Over time",
            charts.time_series(result),
            f"Median (line) and range (band) of neighbouring {unit}s. Climbing means heat or a leak.",
        ),
        (
            "Where the time goes",
            charts.stages(result),
            f"Stages of a {'round' if result['paced_streams'] else 'step'}"
            + ("." if result["memory_bound"] is False else "; below, reading its bytes and nothing else."),
        ),
        (
            "Against the machine",
            charts.roofline(result),
            f"{roofs} Bars: from what was measured up to the roof.",
        ),
    ]
    cells = "".join(
        f"<figure><h2>{escape(title)}</h2>{drawing}<figcaption>{escape(caption)}</figcaption></figure>"
        for title, drawing, caption in figures
    )
    return f'<section class="charts">{cells}</section>'


def _tables(result: Result) -> str:
    machine, software = result["machine"], result["software"]
    stages = result["stage_ms"] or {}
    step, paced = result["step_ms"], result["paced_streams"]
    parts = []
    if step:
        names = ["mean", *markdown.quantile_names(step["count"])]
        head = "".join(f"<th>{name}</th>" for name in names)
        whole = [("latency", step), ("round", paced["round_ms"])] if paced else [("whole step", step)]
        lines = [*whole, *stages.items()]
        body = "".join(
            f"<tr><th>{escape(name)}</th>{''.join(f'<td>{number(values[key])}</td>' for key in names)}</tr>"
            for name, values in lines
        )
        parts.append(
            f'<div class="card"><h2>Milliseconds</h2><div class="scroll"><table class="numbers">'
            f"<tr><th></th>{head}</tr>{body}</table></div></div>"
        )
    cache = machine["last_level_cache_mb"]
    facts = {
        "CPU": f"{machine['cpu']}, {machine['usable_cpus']} of {machine['cpus']} CPUs",
        "Extensions": " ".join(machine["features"]) or None,
        "Cache, memory": f"{f'{cache:g} MB, ' if cache else ''}{machine['memory_mb'] / 1000:.1f} GB",
        "Memory reads": markdown.bandwidth_line(result),
        "Kernel": f"{machine['system']} {machine['kernel']} {machine['architecture']}",
        "Hypervisor": machine["hypervisor"],
        "Governor": machine["governor"],
        "Power mode": machine["power_mode"],
        "Huge pages": machine["huge_pages"],
        "Other work": markdown.interference_line(result),
        "Chip": _chip(result),
    }
    run = {
        "Package": f"{result['model']}, manifest {result['package']['manifest_sha256'][:16]}",
        "Precision": result["precision"],
        "Run": markdown.run_line(result),
        "Streams": markdown.streams_line(result) if result["streams"] else _paced_streams(result),
        "Floor": markdown.floor_line(result),
        "Arithmetic": markdown.arithmetic_line(result),
        "Memory": markdown.memory_line(result),
        "Start": markdown.start_line(result),
        "Backlog": _backlog(result),
        "Energy": _energy(result),
        "Harness": _harness(result),
        "Software": ", ".join(f"{name} {value}" for name, value in software.items() if value),
        "Source": _source(result["git_revision"]),
        "Measured": result["created"],
    }
    parts += [_facts("Machine", facts), _facts("Run", run)]
    return f'<section class="cards">{"".join(parts)}</section>'


def _footer(result: Result) -> str:
    command = result["command"] or "voxtral-edge bench"
    return (
        f'<section class="card"><h2>Measure again</h2><pre>{escape(command)}</pre></section>'
        "<footer>Figures are defined in docs/benchmarks.md. The page holds its result as JSON in the element "
        "“result”.</footer>"
    )


def _facts(title: str, facts: Mapping[str, str | None]) -> str:
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in facts.items() if value
    )
    return f'<div class="card"><h2>{title}</h2><table class="facts">{rows}</table></div>'


def _source(revision: str | None) -> str | None:
    """As short as git shows it: `40f1739778dc`, `40f1739778dc+changes`."""
    commit, plus, changes = (revision or "").partition("+")
    return f"{commit[:12]}{plus}{changes}" or None


def _busy(result: Result) -> str:
    other = result["interference"]
    text = f"other programs used {other['other_cpus']:.1f} CPUs"
    return text + (f", the host took {other['steal_share']:.1%}" if other["steal_share"] >= 0.001 else "")


def _chip(result: Result) -> str | None:
    return dict(markdown.beside_rows(result)).get("Chip")


def _backlog(result: Result) -> str | None:
    if not result["step_ms"]:
        return None
    backlog = result["backlog_s"]
    return (
        f"p95 {backlog['p95']:.2f} s, max {backlog['max']:.2f} s, at the end {backlog['final']:.2f} s, slope "
        f"{backlog['slope']:+.4f} s/s ({result['clock']} clock)"
    )


def _paced_streams(result: Result) -> str | None:
    return markdown.paced_streams_line(result) if result["paced_streams"] else None


def _energy(result: Result) -> str | None:
    return dict(markdown.beside_rows(result)).get("Energy")


def _harness(result: Result) -> str | None:
    if not result["step_ms"]:
        return None
    harness = result["harness"]
    return (
        f"{harness['us_per_step']:.1f} µs per step outside the measured time ({harness['share']:.3%} of it)"
    )
