"""Says what this machine has, and whether the 4B model can keep up with live speech on it.

  voxtral-edge doctor                  facts, and the prediction for the 4B model (nothing is downloaded)
  voxtral-edge doctor -m PACKAGE_DIR   the same prediction for a package of yours
  voxtral-edge doctor --json           everything for programs

The prediction: each part of a step of 80 ms takes the longer of reading its weights from memory and multiplying
with them, both at speeds measured here, the products with the engine's own kernels. A real step takes more, so
a margin is asked for.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from voxtral_edge._native import native_module
from voxtral_edge.cli.columns import named_lines, terminal_columns
from voxtral_edge.engine import load
from voxtral_edge.errors import UsageError, VoxtralEdgeError
from voxtral_edge.machine import cpu_model, free_disk_bytes, memory_bytes
from voxtral_edge.package_folder import bundled_models, find_package, read_manifest
from voxtral_edge.packed_cache import VARIABLE, cache_choice, cache_files, default_folder
from voxtral_edge.step_cost import DECODE_PASSES, ProductRates, StepCost, cost_of_full_model, cost_of_manifest

PRECISIONS = ("int4", "int8")
# Kernels reach 85 to 98 % of the read bandwidth at one row; attention, quantising and synchronising come on
# top.
MARGIN = 1.3
# From here on the verdict says that products take longer than reads.
CORES_FROM = 1.1
# Interpreter, audio buffers, scratch rows and the operating system's own needs.
OTHER_MEMORY_BYTES = 500_000_000
_LIBRARIES = ("numpy", "soundfile", "soxr", "onnxruntime", "onnx")


@dataclass(frozen=True)
class Prediction:
    """What a model would do on this machine. Times in milliseconds per step, sizes in bytes.

    start_ms, full_ms  reads and products, at the start of a stream and with full attention windows
    reads_ms           the reads alone, at the start
    products_ms        the int4 and int8 products alone
    live_step_ms       the smallest --step-ms with which it keeps up live; None: with none
    """

    model: str
    cost: StepCost
    start_ms: float
    full_ms: float
    reads_ms: float
    products_ms: float
    memory_bytes: int
    verdict: str
    live: bool
    live_step_ms: int | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of `voxtral-edge doctor`."""
    parser.add_argument(
        "-m", "--model", metavar="DIR|NAME", help="predict for this package instead of the 4B model"
    )
    parser.add_argument(
        "--threads", type=int, metavar="N", help="threads that read (default: as the engine would use)"
    )
    parser.add_argument(
        "--megabytes", type=int, default=512, metavar="N", help="memory to read when measuring (%(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="everything as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Runs `voxtral-edge doctor`; 0, or 1 if the self test fails."""
    for name in ("threads", "megabytes"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise UsageError(f"--{name} is {value}; give a whole number from 1 up")
    facts = gather_facts(args.threads, args.megabytes)
    bandwidth = facts["read_gbps"]
    if args.model:
        package = find_package(args.model)
        costs = {package.name: cost_of_manifest(read_manifest(package))}
    else:
        costs = {precision: cost_of_full_model(precision) for precision in PRECISIONS}
    rates = measure_rates(costs.values(), facts["threads"])
    products = {f"int{bits} x {rows}": round(rate / 1e9, 1) for (bits, rows), rate in rates.items()}
    predictions = [
        predict(name, cost, bandwidth, facts["memory_bytes"], rates) for name, cost in costs.items()
    ]
    if args.json:
        print(
            json.dumps(
                {**facts, "product_gmacs": products, "predictions": [_as_dict(item) for item in predictions]},
                indent=2,
            )
        )
    else:
        print(
            "\n".join(
                [*_facts_lines(facts), "", *_prediction_lines(predictions, bandwidth, products, args.model)]
            )
        )
    return 0 if facts["self_test"]["ok"] else 1


def gather_facts(threads: int | None, megabytes: int) -> dict[str, Any]:
    """Everything doctor knows of this machine, JSON-ready; measures memory reads for a moment."""
    core = native_module()
    usable = int(core.usable_cpus())
    threads = threads or int(core.default_threads())
    total, available = memory_bytes()
    megabytes = max(1, min(megabytes, available // 4_000_000))  # a small board must not swap for this
    return {
        "voxtral_edge": _version("voxtral-edge"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": cpu_model(),
        "cpus": os.cpu_count(),
        "usable_cpus": usable,
        "features": list(core.cpu_features()),
        "kernels_available": list(core.kernels_available()),
        "kernels_active": str(core.kernels_active()),
        "kernels_forced": os.environ.get("VOXTRAL_EDGE_ISA") or None,
        "memory_bytes": total,
        "memory_available_bytes": available,
        "threads": threads,
        "read_gbps": round(float(core.measure_read_bandwidth(threads, megabytes)), 2),
        "read_gbps_one_thread": round(float(core.measure_read_bandwidth(1, megabytes)), 2),
        "disk_folder": str(Path.cwd()),
        "disk_free_bytes": free_disk_bytes(Path.cwd()),
        "packed_cache": _packed_cache(),
        "libraries": {name: _version(name) for name in _LIBRARIES},
        "bundled_models": bundled_models(),
        "self_test": _self_test(),
    }


def measure_rates(costs: Iterable[StepCost], threads: int) -> ProductRates:
    """How fast this machine multiplies what the costs ask for; a tenth of a second each."""
    core = native_module()
    wanted = sorted({(part.bits, part.rows) for cost in costs for part in cost.parts if part.bits})
    return {
        (bits, rows): float(core.measure_product_rate(bits=bits, rows=rows, threads=threads))
        for bits, rows in wanted
    }


def predict(
    model: str, cost: StepCost, read_gbps: float, total_memory_bytes: int, rates: ProductRates
) -> Prediction:
    """What a model of this cost would do at `read_gbps` with this much memory and these products."""
    start, full = (cost.predicted_ms(read_gbps, rates, window) for window in (False, True))
    reads = cost.floor_ms(read_gbps, False)
    needed = cost.weight_bytes + cost.kv_bytes + OTHER_MEMORY_BYTES
    step = cost.step_ms
    fits = needed <= total_memory_bytes
    keep_up = (
        tokens
        for tokens in DECODE_PASSES
        if cost.predicted_ms(read_gbps, rates, True, tokens) * MARGIN <= step
    )
    live_tokens = next(keep_up, 0) if fits else 0
    if not fits:
        verdict = f"does not fit: needs {_gb(needed)} of memory"
    elif live_tokens == 1:
        verdict = "keeps up live"
    elif live_tokens > 1:
        verdict = f"keeps up live with --step-ms {live_tokens * step:.0f}"
    elif full <= step:
        verdict = "borderline: live only if kernels come close to these times"
    elif start <= step:
        verdict = f"falls behind within {cost.window_seconds / 60:.0f} min of live speech; recordings work"
    else:
        verdict = f"not live: at best {start / step:.1f}x slower than speech; recordings work"
    if start > CORES_FROM * reads:
        verdict += "; the cores are the limit, not the memory"
    live_step_ms = round(live_tokens * step) if live_tokens else None
    return Prediction(
        model,
        cost,
        start,
        full,
        reads,
        cost.compute_ms(rates),
        needed,
        verdict,
        live_tokens == 1,
        live_step_ms,
    )


def _default_folder() -> Path | None:
    try:
        return default_folder()
    except RuntimeError:
        return None


def _packed_cache() -> dict[str, Any]:
    """Where permuted weights are kept, and the files there."""
    chosen = cache_choice(None)
    folder = _default_folder() if chosen is None else chosen.folder
    files = [] if folder is None else cache_files(folder)
    return {
        "use": "never" if chosen is None else "always" if chosen.write else "if there",
        "folder": None if folder is None else str(folder),
        "files": [{"name": file.path.name, "package": file.package, "bytes": file.bytes} for file in files],
    }


def _self_test() -> dict[str, Any]:
    """One second of silence through a bundled model: proves that kernels, threads and package work
    together."""
    names = bundled_models()
    if not names:
        return {"ok": False, "detail": "no bundled model is installed"}
    begun = time.perf_counter()
    try:
        with load(names[0], cache_packed=False).stream() as stream:
            stream.feed(np.zeros(16_000, np.float32))
            stream.finish()
    except VoxtralEdgeError as error:
        return {"ok": False, "detail": f"{names[0]}: {error}"}
    return {"ok": True, "detail": f"{names[0]} loads and runs ({time.perf_counter() - begun:.2f} s)"}


def _facts_lines(facts: dict[str, Any]) -> list[str]:
    active = "forced by VOXTRAL_EDGE_ISA" if facts["kernels_forced"] else "active"
    kernels = ", ".join(
        f"{name} ({active})" if name == facts["kernels_active"] else name
        for name in facts["kernels_available"]
    )
    threads, usable = facts["threads"], facts["usable_cpus"]
    reads = f"{facts['read_gbps']:.1f} GB/s with {_count(threads, 'thread')}"
    if threads > 1:
        reads += f", {facts['read_gbps_one_thread']:.1f} with one"
    checkpoint = cost_of_full_model("fp16").weight_bytes
    package = cost_of_full_model("int4").weight_bytes
    disk = facts["disk_free_bytes"]
    enough = "enough" if disk > checkpoint + package else "not enough"
    rows = [
        ("System", f"{facts['system']}, Python {facts['python']}"),
        ("CPU", f"{facts['cpu']}, {usable} of {facts['cpus']} CPUs usable"),
        ("Extensions", " ".join(facts["features"]) or "none that matter here"),
        ("Kernels", kernels),
        ("Memory", f"{_gb(facts['memory_bytes'])}, {_gb(facts['memory_available_bytes'])} available"),
        ("Memory reads", reads),
        (
            "Disk",
            f"{_gb(disk)} free here; exporting the 4B model takes {_gb(checkpoint + package)}: {enough}",
        ),
        ("Packed cache", _packed_cache_line(facts["packed_cache"])),
        ("Libraries", ", ".join(f"{n} {v}" if v else f"{n} –" for n, v in facts["libraries"].items())),
        ("Self test", ("ok: " if facts["self_test"]["ok"] else "FAILED: ") + facts["self_test"]["detail"]),
    ]
    title = f"voxtral-edge {facts['voxtral_edge'] or 'from source'}"
    return [title, "", *_rows(rows)]


def _packed_cache_line(cache: dict[str, Any]) -> str:
    held = ", ".join(f"{file['package']} ({_gb(file['bytes'])})" for file in cache["files"]) or "empty"
    use = {
        "never": f"refused by {VARIABLE}",
        "always": "made and used",
        "if there": "used where there is one",
    }
    return f"{use[cache['use']]}; {cache['folder'] or 'no home folder'}: {held}"


def _prediction_lines(
    predictions: list[Prediction], read_gbps: float, products: dict[str, float], model: str | None
) -> list[str]:
    cost = predictions[0].cost
    what = f"Package {model}" if model else "Voxtral Mini 4B Realtime"
    rates = ", ".join(f"{rate:.0f} ({name})" for name, rate in products.items()) or "none counted"
    lines = [
        f"{what}, predicted for steps of {cost.step_ms:.0f} ms of audio",
        *_rows([("memory reads", f"{read_gbps:.1f} GB/s")]),
        *_rows([("products", f"10^9 multiply-adds per second, precision x rows: {rates}")]),
        "",
        f"  {'':<10}{'reads per step':>16}{'reads':>9}{'products':>10}{'both':>14}{'memory':>10}",
        f"  {'':<10}{'start → full':>16}{'ms':>9}{'ms':>10}{'start → full':>14}",
    ]
    for item in predictions:
        reads = f"{_gb(item.cost.weight_bytes)} → {_gb(item.cost.weight_bytes + item.cost.kv_bytes, '')}"
        times = f"{_ms(item.start_ms)} → {_ms(item.full_ms)}"
        lines.append(
            f"  {item.model:<10}{reads:>16}{_ms(item.reads_ms):>9}{_ms(item.products_ms):>10}{times:>14}"
            f"{_gb(item.memory_bytes):>10}"
        )
        lines += named_lines("", item.verdict, 2, 10, terminal_columns())
    notes = (
        f"start: fresh stream; full: attention window full, after {_minutes(cost.window_seconds)}.",
        "both: each part of the model takes the longer of its reads and its products.",
        f'A floor, not a measurement: "keeps up live" wants it under {cost.step_ms / MARGIN:.0f} ms.',
        "--step-ms of listen and serve: larger live steps share passes, and text comes as much later.",
    )
    columns = terminal_columns()
    return [*lines, "", *(line for note in notes for line in named_lines("", note, 2, 0, columns))]


def _rows(rows: Iterable[tuple[str, str]]) -> list[str]:
    columns = terminal_columns()
    return [line for name, text in rows for line in named_lines(name, text, 2, 14, columns)]


def _as_dict(item: Prediction) -> dict[str, Any]:
    return {
        "model": item.model,
        "weight_bytes_per_step": item.cost.weight_bytes,
        "kv_bytes_full": item.cost.kv_bytes,
        "step_ms_available": item.cost.step_ms,
        "step_ms_reads": round(item.reads_ms, 3),
        "step_ms_products": round(item.products_ms, 3),
        "step_ms_start": round(item.start_ms, 3),
        "step_ms_full": round(item.full_ms, 3),
        "memory_bytes": item.memory_bytes,
        "live": item.live,
        "live_step_ms": item.live_step_ms,
        "verdict": item.verdict,
    }


def _gb(count: int, unit: str = " GB") -> str:
    return f"{count / 1e9:.3f}{unit}" if count < 1e8 else f"{count / 1e9:.2f}{unit}"


def _ms(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
