"""Several benchmark results side by side: what differs beyond noise, and what cannot be compared.

Noise is judged twice. Within a run: the medians, p99s and means of block-bootstrap copies of both runs give
95 % bounds of their ratio. Between runs: where a result holds several repetitions, their spread widens the
bounds. A difference counts only if the bounds exclude "equal".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxtral_edge.bench import measures, report
from voxtral_edge.bench.charts import times_ms
from voxtral_edge.bench.markdown import number
from voxtral_edge.errors import UsageError

Result = Mapping[str, Any]
LIVE_FIGURES = {"median step": "p50", "p99 step": "p99", "mean step": "mean"}
FILE_FIGURES = {"time per block": "mean"}
# Fewer samples than this beyond a quantile say nothing about it.
_TAIL_SAMPLES = 5

# (name, value) pairs that must agree, because otherwise different things were measured.
_SAME: dict[str, Any] = {
    "CPU": lambda r: r["machine"]["cpu"],
    "number of CPUs": lambda r: r["machine"]["cpus"],
    "memory (MB)": lambda r: r["machine"]["memory_mb"],
    "model": lambda r: r["model"],
    "manifest": lambda r: r["package"]["manifest_sha256"],
    "kind of measurement": lambda r: r["mode"],
    "streams": lambda r: r["stream_count"],
    "catching up": lambda r: r["catch_up"],
    "attention windows": lambda r: r["kv"],
    "delay (ms)": lambda r: r["delay_ms"],
}
# What may differ and is then named: usually it is what the comparison is about.
_VARIED: dict[str, Any] = {
    "engine": lambda r: r["engine"],
    "ISA": lambda r: r["isa"],
    "threads": lambda r: r["threads"],
    "source": lambda r: r["git_revision"],
    "version": lambda r: r["software"]["voxtral_edge"],
    "audio": lambda r: (r["audio"]["kind"], r["audio"]["name"]),
    "replayed tokens": lambda r: (r["audio"]["replayed"] or {}).get("model"),
    "seconds": lambda r: r["audio"]["seconds"],
    "permuted weights": lambda r: r["load"]["packed_cache"],
    "kernel": lambda r: r["machine"]["kernel"],
    "governor": lambda r: r["machine"]["governor"],
    "encoder KV": lambda r: r["bytes"]["encoder_kv"],
    "decoder KV": lambda r: r["bytes"]["decoder_kv"],
}


@dataclass(frozen=True)
class Difference:
    """One figure of a result against the base.

    ratio       result / base: above 1 is slower
    low, high   95 % bounds of the ratio
    verdict     "faster", "slower", or "no difference beyond noise"
    """

    figure: str
    base_ms: float
    value_ms: float
    ratio: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        if self.low > 1.0:
            return "slower"
        return "faster" if self.high < 1.0 else "no difference beyond noise"


def main(files: Sequence[str], force: bool, fail_if_slower: float | None, as_markdown: bool) -> int:
    """`voxtral-edge bench compare`; 0, or 1 if a result is slower than allowed. UsageError if the results
    must not be compared."""
    if len(files) < 2:
        raise UsageError("bench compare needs two or more files: the base, and what to compare with it")
    if fail_if_slower is not None and fail_if_slower < 0:
        raise UsageError(f"--fail-if-slower is {fail_if_slower:g}; give a percentage from 0 up")
    results = [report.read(file) for file in files]
    names = _names(files)
    lines: list[str] = []
    failed = False
    for name, result in zip(names[1:], results[1:], strict=True):
        conflicts = conflicting(results[0], result)
        if conflicts and not force:
            raise UsageError(
                f"{names[0]} and {name} measured different things: {'; '.join(conflicts)}; compare runs of "
                "one package on one machine, or add --force"
            )
        found = differences(results[0], result)
        lines += _section(names[0], name, results[0], result, found, conflicts, as_markdown)
        if fail_if_slower is not None:
            # The whole interval must lie beyond the limit: noise alone never fails a build.
            failed |= any(item.low > 1.0 + fail_if_slower / 100.0 for item in found)
    print("\n".join(lines).rstrip())
    return 1 if failed else 0


def conflicting(base: Result, other: Result) -> list[str]:
    """What forbids a comparison, each as `name: base value / other value`."""
    return _differing(base, other, _SAME)


def varied(base: Result, other: Result) -> list[str]:
    """What differs and may differ."""
    return _differing(base, other, _VARIED)


def differences(base: Result, other: Result) -> list[Difference]:
    """Every figure both results hold, with noise bounds."""
    a, b = times_ms(base), times_ms(other)
    if len(a) < 2 or len(b) < 2:
        raise UsageError("a result holds fewer than two samples; measure longer (--seconds)")
    figures = LIVE_FIGURES if base["step_ms"] and other["step_ms"] else FILE_FIGURES
    found = []
    for figure, name in figures.items():
        share = measures.QUANTILES.get(name, 0.5)
        if min(len(a), len(b)) * (1.0 - share) < _TAIL_SAMPLES:
            continue
        found.append(_difference(figure, name, a, b, base, other))
    return found


def _difference(
    figure: str, name: str, a: NDArray[np.float64], b: NDArray[np.float64], base: Result, other: Result
) -> Difference:
    statistic = measures.STATISTICS[name]
    low, high = measures.ratio_interval(a, b, statistic)
    value_a, value_b = statistic(a), statistic(b)
    spread = _run_spread(base, name) * _run_spread(other, name)
    return Difference(figure, value_a, value_b, value_b / value_a, low / spread, high * spread)


def _run_spread(result: Result, name: str) -> float:
    """How much the repetitions of a result differ: largest / smallest, square root of it to either side; 1
    for a single run."""
    if result["step_ms"]:
        values = [run["step_ms"][name] for run in result["runs"]]
    else:
        values = [run["rtf"] for run in result["runs"]]
    return float((max(values) / min(values)) ** 0.5) if len(values) > 1 and min(values) > 0 else 1.0


def _section(
    base_name: str,
    name: str,
    base: Result,
    other: Result,
    found: Sequence[Difference],
    conflicts: Sequence[str],
    as_markdown: bool,
) -> list[str]:
    lines = [f"{'### ' if as_markdown else ''}{name} against {base_name}", ""]
    if conflicts:
        lines.append(f"Forced although these differ: {'; '.join(conflicts)}.")
    differing = varied(base, other)
    lines += [f"Differs: {'; '.join(differing) or 'nothing that is recorded'}.", ""]
    rows = [("", base_name, name, "ratio", "95% bounds", "")]
    rows += [
        (
            item.figure,
            f"{number(item.base_ms)} ms",
            f"{number(item.value_ms)} ms",
            f"{item.ratio:.3f}",
            f"{item.low:.3f} to {item.high:.3f}",
            item.verdict,
        )
        for item in found
    ]
    lines += _markdown_rows(rows) if as_markdown else _aligned(rows)
    return [*lines, "", *_context(base_name, name, base, other), ""]


def _context(base_name: str, name: str, base: Result, other: Result) -> list[str]:
    """What else changed: the machine's speed, the distance to the floor, other work."""
    lines = []
    bandwidths = [
        f"{label} {r['read_gbps']:.1f} ({r['bandwidth']['min']:.1f} to {r['bandwidth']['max']:.1f})"
        for label, r in ((base_name, base), (name, other))
    ]
    lines.append(f"Memory reads, GB/s: {', '.join(bandwidths)}.")
    bound = base["memory_bound"] is not False and other["memory_bound"] is not False
    if bound and base["step_ms"] and other["step_ms"]:
        lines.append(
            f"Median over memory floor: {base_name} {base['ratio_to_floor']:.2f}, {name} "
            f"{other['ratio_to_floor']:.2f}. Where the bandwidth differs this is the fairer comparison."
        )
    for label, result in ((base_name, base), (name, other)):
        if result["interference"]["quiet"] is False:
            busy = result["interference"]["other_cpus"]
            lines.append(f"{label}: the machine was not quiet ({busy:.1f} CPUs busy with other programs).")
        if result["thermal"]["throttled"]:
            lines.append(f"{label}: the chip throttled.")
    if len(base["runs"]) < 2 or len(other["runs"]) < 2:
        lines.append(
            "Bounds hold within these runs; measure with --runs 3 to include what changes between runs."
        )
    return lines


def _differing(base: Result, other: Result, facts: Mapping[str, Any]) -> list[str]:
    pairs = [(name, fact(base), fact(other)) for name, fact in facts.items()]
    return [f"{name}: {_brief(a)} / {_brief(b)}" for name, a, b in pairs if a != b]


def _brief(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return re.sub(r"[0-9a-f]{40,}", lambda found: found[0][:12], str(value))  # a hash needs no more


def _names(files: Sequence[str]) -> list[str]:
    """File names without folder and ending where that tells them apart."""
    stems = [Path(file).stem for file in files]
    return stems if len(set(stems)) == len(stems) else [str(file) for file in files]


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column in (0, len(row) - 1) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _markdown_rows(rows: Sequence[tuple[str, ...]]) -> list[str]:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return [lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]
