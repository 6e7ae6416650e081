"""The four charts of a result page. Every function takes a result document and returns one `<svg>`.

Drawn 460 pixels wide, so that text stays readable when a phone shows a chart at its own width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxtral_edge.bench.markdown import number
from voxtral_edge.bench.measures import quantile
from voxtral_edge.bench.svg import Axis, Drawing, padded, short

Result = Mapping[str, Any]
Parts = list[tuple[str, str, float]]
"""(name, style, milliseconds) of the parts of a bar."""
WIDTH, HEIGHT = 460.0, 300.0
LEFT, RIGHT, TOP, BOTTOM = 46.0, 446.0, 18.0, 262.0
# Beyond this spread a linear axis would press the bulk of the steps into a few pixels.
_LOG_SPREAD = 6.0
_CDF_POINTS = 240
_BUCKETS = 160
_BARS, _BAR_WIDTH = 48, 5.0
_STACK_HEIGHT = 30.0
# A deadline further away than this many times the data would flatten them: it is named instead of drawn.
_NEAR = 4.0
_STAGE_NAMES = {"mel": "log-mel", "conv": "conv stem", "other": "text, Python"}
_SOFT_STAGES = ("stage-conv",)  # pale in light pages, deep in dark ones: their names need ink's colour


def has_charts(result: Result) -> bool:
    """Whether there is anything to draw: at least a few steps or blocks."""
    return len(times_ms(result)) >= 2


def times_ms(result: Result) -> NDArray[np.float64]:
    """What the result holds a time for: live steps, or blocks of a recording."""
    samples = result["samples"]
    return np.asarray(samples.get("step_ms", samples.get("block_ms", [])), np.float64)


def limit_ms(result: Result) -> float:
    """Time within which one of `times_ms` must end to keep up with speech."""
    if result["paced_streams"]:
        return float(result["paced_streams"]["bound_ms"])
    if result["step_ms"]:
        return float(result["deadline_ms"])
    return float(result["file"]["block_s"]) * 1000.0


def distribution(result: Result) -> str:
    """Histogram and cumulative share of the times, with the deadline and the memory floor."""
    values, limit = np.sort(times_ms(result)), limit_ms(result)
    floor = result["floor_ms"] if result["step_ms"] and result["memory_bound"] else None
    marks = [limit, *([floor] if floor else [])]
    low = min(float(values[0]), *marks)
    high = max(float(values[-1]), *marks)
    log = high / low > _LOG_SPREAD
    x = Axis(low / 1.1, high * 1.12, LEFT, RIGHT, True) if log else Axis(0.0, high * 1.08, LEFT, RIGHT)
    y = Axis(0.0, 100.0, BOTTOM, TOP)
    drawing = Drawing(WIDTH, HEIGHT, "Distribution of step times")
    drawing.x_axis(x, BOTTOM, TOP)
    drawing.y_axis(y, LEFT, RIGHT, {share: f"{share} %" for share in (0, 25, 50, 75, 100)})
    _histogram_bars(drawing, values, x, y)
    if floor:
        _vertical(drawing, x.at(floor), "floor", f"floor {number(floor)} ms", BOTTOM - 8)
    _vertical(drawing, x.at(limit), "deadline", f"real time {short(limit)} ms", TOP - 5)
    shares = np.unique(np.concatenate([np.linspace(0, 1, _CDF_POINTS), [0.99, 0.995, 0.999]]))
    points = [(x.at(float(values[0])), y.at(0.0))]
    for share in shares[1:]:
        points.append((x.at(quantile(values, float(share))), y.at(100.0 * float(share))))
    drawing.path(points, "curve")
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        value = quantile(values, share)
        at = (x.at(value), y.at(100.0 * share))
        drawing.dot(at, 4, "point", f"{name}: {number(value)} ms")
        right = at[0] < RIGHT - 80
        drawing.text(
            (at[0] + (9 if right else -9), at[1] + (14 if share > 0.9 else 4)),
            f"{name} {number(value)} ms",
            "value",
            "start" if right else "end",
        )
    drawing.text(((LEFT + RIGHT) / 2, HEIGHT - 4), _unit_name(result), "axis", "middle")
    return str(drawing)


def time_series(result: Result) -> str:
    """Times in the order they were measured; temperature and clock under them where the machine tells."""
    values, limit = times_ms(result), limit_ms(result)
    step_s = float(result["audio"]["seconds"]) / len(values) if result["paced_streams"] else limit / 1000.0
    strip = _trace_series(result)
    bottom = BOTTOM - 62.0 if strip else BOTTOM
    total_s = len(values) * step_s
    x = Axis(0.0, total_s, LEFT, RIGHT)
    highest = float(values.max())
    near = limit < _NEAR * highest
    y = Axis(0.0, (max(highest, limit) if near else highest) * 1.08, bottom, TOP)
    drawing = Drawing(WIDTH, HEIGHT, "Step times over time")
    if not strip:
        drawing.x_axis(x, bottom, TOP)
    drawing.y_axis(y, LEFT, RIGHT)
    edges = np.linspace(0, len(values), min(_BUCKETS, len(values)) + 1).astype(int)
    slices = [values[a:b] for a, b in pairwise(edges)]
    centres = [x.at((a + b) / 2 * step_s) for a, b in pairwise(edges)]
    drawing.band(
        [(c, y.at(float(part.max()))) for c, part in zip(centres, slices, strict=True)],
        [(c, y.at(float(part.min()))) for c, part in zip(centres, slices, strict=True)],
        "range",
    )
    drawing.path(
        [(c, y.at(float(np.median(part)))) for c, part in zip(centres, slices, strict=True)], "curve thin"
    )
    _horizontal(drawing, y, limit, near, RIGHT, "end")
    drawing.text((LEFT - 34, TOP - 7), f"ms per {'step' if result['step_ms'] else 'block'}", "axis")
    if strip:
        _strip(drawing, strip, x, bottom + 14, BOTTOM)
        drawing.x_axis(x, BOTTOM, BOTTOM - 1)
    drawing.text(((LEFT + RIGHT) / 2, HEIGHT - 4), "seconds of audio", "axis", "middle")
    return str(drawing)


def stages(result: Result) -> str:
    """Where the time of a step goes, above what reading its bytes alone would take."""
    measured = stage_means(result)
    rows: list[tuple[str, Parts]] = [
        (
            "Measured, mean",
            [(_STAGE_NAMES.get(name, name), f"stage-{name}", value) for name, value in measured.items()],
        )
    ]
    if result["memory_bound"] is not False:
        floor = "Memory floor" if result["step_ms"] else "Memory floor if no pass were shared"
        rows.append((floor, _floor_parts(result)))
    widest = max(sum(value for _, _, value in parts) for _, parts in rows)
    limit = float(result["deadline_ms"])
    near = limit < _NEAR * widest
    x = Axis(0.0, (max(widest, limit) if near else widest) * 1.05, LEFT - 34, RIGHT)
    bottom = TOP + sum(_row_height(parts) for _, parts in rows) + 6
    drawing = Drawing(WIDTH, bottom + HEIGHT - BOTTOM, "Where the time goes")
    drawing.x_axis(x, bottom, TOP)
    if near:
        _vertical(drawing, x.at(limit), "deadline", f"real time {short(limit)} ms", TOP - 5, bottom)
    top = TOP + 24
    for title, parts in rows:
        drawing.text((x.begin, top - 7), f"{title}: {number(sum(part[2] for part in parts))} ms", "value")
        _stack(drawing, parts, x, top)
        _legend(drawing, parts, top + _STACK_HEIGHT + 20)
        top += _row_height(parts)
    unit = "ms per round" if result["paced_streams"] else "ms per step of 80 ms audio"
    drawing.text(((x.begin + RIGHT) / 2, drawing.height - 4), unit, "axis", "middle")
    return str(drawing)


def roofline(result: Result) -> str:
    """Multiply-adds per second over multiply-adds per byte: the passes under the two roofs of the machine."""
    bandwidth, peak = result["bandwidth"], result["integer_peak"]["median"]
    passes: Mapping[str, Mapping[str, float]] = result["passes"]
    knee = peak / bandwidth["median"]
    intensities = [knee, *(entry["intensity"] for entry in passes.values())]
    speeds = [entry["gmacs"] for entry in passes.values()]
    x = Axis(min(intensities) / 3.0, max(intensities) * 3.0, LEFT, RIGHT, True)
    y = Axis(min([*speeds, peak / 4.0]) / 2.5, peak * 1.7, BOTTOM, TOP, True)
    drawing = Drawing(
        WIDTH, HEIGHT + 8 + 19 * len(passes), "Roofline: multiply-adds per second over multiply-adds per byte"
    )
    drawing.x_axis(x, BOTTOM, TOP)
    drawing.y_axis(y, LEFT, RIGHT)

    def slope(name: str) -> list[tuple[float, float]]:
        """The roof of memory, within the chart."""
        ends = max(x.low, y.low / bandwidth[name]), min(x.high, peak / bandwidth[name])
        return [(x.at(end), y.at(end * bandwidth[name])) for end in ends]

    drawing.band(slope("max"), slope("min"), "range-floor")
    drawing.path(slope("median"), "floor")
    drawing.line((x.at(knee), y.at(peak)), (x.end, y.at(peak)), "floor")
    drawing.text((x.end - 4, y.at(peak) - 6), f"integer peak {number(peak)} G/s", "floor-text", "end")
    begin = slope("median")[0]
    drawing.text((begin[0] + 16, begin[1]), f"memory {number(bandwidth['median'])} GB/s", "floor-text")
    for row, (name, entry) in enumerate(passes.items()):
        at = (x.at(entry["intensity"]), y.at(entry["gmacs"]))
        roof = max(y.low, entry["gmacs"] * entry["ratio_to_roof"])  # far below, where the cache is the memory
        drawing.line(at, (at[0], y.at(roof)), "whisker")
        label = f"{name}: {number(entry['ms'])} ms, {entry['ratio_to_roof']:.2f} × the roof"
        rows = f"{entry['rows']:.3g} row{'' if entry['rows'] == 1 else 's'}"
        share = f"{entry['gmacs'] / peak:.0%} of the integer peak, {rows}"
        drawing.dot(at, 5, f"point pass-{name}", f"{label}; {share}")
        line = HEIGHT + 18 + row * 19
        drawing.dot((LEFT - 29, line - 4), 5, f"point pass-{name}")
        drawing.text((LEFT - 18, line), f"{label}; {share}")
    drawing.text(((LEFT + RIGHT) / 2, HEIGHT - 4), "multiply-adds per byte read", "axis", "middle")
    drawing.text((LEFT - 34, TOP - 7), "10⁹ multiply-adds per second", "axis")
    return str(drawing)


def stage_means(result: Result) -> dict[str, float]:
    """Mean milliseconds per step of every stage that took any time."""
    if result["stage_ms"]:
        return {name: stage["mean"] for name, stage in result["stage_ms"].items()}
    parts = {name: float(value) for name, value in result["file"]["stage_ms_per_token"].items()}
    return {**parts, "other": max(0.0, result["file"]["ms_per_token"] - sum(parts.values()))}


def _floor_parts(result: Result) -> Parts:
    """(name, style, ms) of reading each part once; styles are those of the stage that reads it."""
    count = result["bytes"]
    per_ms = result["read_gbps"] * 1e6
    weights, kv = count["weights"], count["kv_read"]
    parts = [
        ("encoder", "stage-encoder", weights["encoder"]),
        ("encoder KV", "stage-encoder soft", kv["encoder"]),
        ("adapter", "stage-adapter", weights["adapter"]),
        ("decoder", "stage-decoder", weights["decoder"]),
        ("decoder KV", "stage-decoder soft", kv["decoder"] + count["kv_write"]),
        ("head", "stage-head", weights["head"]),
    ]
    return [(name, style, amount / per_ms) for name, style, amount in parts]


def _histogram_bars(drawing: Drawing, values: NDArray[np.float64], x: Axis, y: Axis) -> None:
    """The histogram as faint bars, its tallest bar half the height of the chart."""
    low, high = max(x.low, float(values[0])), float(values[-1])
    if high <= low:
        return
    space = np.geomspace if x.log else np.linspace
    width = x.at(high) - x.at(low)
    edges = space(low, high * 1.0001, round(min(_BARS, max(6.0, width / _BAR_WIDTH))) + 1)
    counts, _ = np.histogram(values, edges)
    for count, begin, end in zip(counts, edges, edges[1:], strict=False):
        if count:
            height = (y.begin - y.end) * 0.5 * count / counts.max()
            left = x.at(float(begin))
            hint = f"{int(count)} of {len(values)}: {number(float(begin))} to {number(float(end))} ms"
            drawing.bar(left, y.begin - height, x.at(float(end)) - left - 0.5, height, "histogram", hint)


def _vertical(
    drawing: Drawing, x: float, style: str, label: str, height: float, bottom: float = BOTTOM
) -> None:
    """A vertical line with its label on the side that has room."""
    drawing.line((x, bottom), (x, TOP), style)
    left = x > (LEFT + RIGHT) / 2
    drawing.text((x + (-5 if left else 5), height), label, f"{style}-text", "end" if left else "start")


def _horizontal(drawing: Drawing, y: Axis, limit: float, near: bool, x: float, anchor: str) -> None:
    """The deadline as a horizontal line, or in words above the chart if it lies far above."""
    label = f"real time {short(limit)} ms"
    if near:
        drawing.line((LEFT, y.at(limit)), (RIGHT, y.at(limit)), "deadline")
        drawing.text((x, y.at(limit) - 5), label, "deadline-text", anchor)
    else:
        drawing.text((x, TOP - 5), f"↑ {label}", "deadline-text", anchor)


def _trace_series(result: Result) -> list[tuple[str, str, list[tuple[float, float]]]]:
    """(label, style, [(share of the run, value)]) of what changed beside the run: temperature, clock."""
    trace: Sequence[Mapping[str, Any]] = result["trace"]
    last = trace[-1]["seconds"] if trace else 0.0
    series = []
    if last > 0:
        hot = [(s["seconds"] / last, max(s["celsius"].values())) for s in trace if s.get("celsius")]
        clock = [(s["seconds"] / last, s["clock_mhz"]) for s in trace if "clock_mhz" in s]
        if len(hot) > 1:
            series.append(("°C", "hot", hot))
        if (
            len(clock) > 1 and len({value for _, value in clock}) > 1
        ):  # a virtual CPU shows one number for ever
            series.append(("MHz", "clock", clock))
    return series


def _strip(
    drawing: Drawing,
    series: list[tuple[str, str, list[tuple[float, float]]]],
    x: Axis,
    top: float,
    bottom: float,
) -> None:
    height = (bottom - top) / len(series)
    for row, (unit, style, points) in enumerate(series):
        begin = top + row * height
        values = [value for _, value in points]
        y = Axis(*padded(values), begin + height - 3, begin + 3)
        drawing.path([(x.begin + share * (x.end - x.begin), y.at(value)) for share, value in points], style)
        drawing.text((x.begin - 7, begin + height / 2 + 4), unit, "tick", "end")
        drawing.text((x.end, begin + 9), f"{short(min(values))}–{short(max(values))} {unit}", "tick", "end")


def _stack(drawing: Drawing, parts: Parts, x: Axis, top: float) -> None:
    """One horizontal bar of parts, named inside where there is room."""
    position = 0.0
    for name, style, value in parts:
        left, right = x.at(position), x.at(position + value)
        drawing.bar(left, top, right - left - 0.6, _STACK_HEIGHT, style, f"{name}: {number(value)} ms")
        if right - left > 7.2 * len(name) + 8:
            inside = "inside on-soft" if style in _SOFT_STAGES or style.endswith(" soft") else "inside"
            drawing.text(((left + right) / 2, top + _STACK_HEIGHT / 2 + 4), name, inside, "middle")
        position += value


def _legend(drawing: Drawing, parts: Parts, top: float) -> None:
    """Names and times, a few per line."""
    columns = _columns(parts)
    for place, (name, style, value) in enumerate(parts):
        left = LEFT - 34 + (place % columns) * 430 / columns
        y = top + (place // columns) * 19
        drawing.bar(left, y - 9, 10, 10, style)
        drawing.text((left + 15, y), f"{name} {number(value)} ms", "label")


def _columns(parts: Parts) -> int:
    return 2 if len(parts) == 4 else 3


def _row_height(parts: Parts) -> float:
    """Title, bar and legend of one row of the stage chart."""
    return 24 + _STACK_HEIGHT + 20 + (len(parts) - 1) // _columns(parts) * 19 + 14


def _unit_name(result: Result) -> str:
    if result["paced_streams"]:
        return "ms from 80 ms of a stream's audio being complete to their events"
    return "ms per step of 80 ms" if result["step_ms"] else f"ms per block of {limit_ms(result) / 1000:g} s"
