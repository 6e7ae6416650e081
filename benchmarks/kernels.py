"""Integer products per shape and number of rows: against the read floor, the integer peak, and onnxruntime.

    cmake -B build -DVOXTRAL_EDGE_BENCHMARKS=ON && cmake --build build --target kernels_benchmark
    python benchmarks/kernels.py --program build/csrc/kernels/kernels_benchmark --threads 2

Runs kernels_benchmark (this project's kernels on rotating weights, beside reading the same bytes) and
onnxruntime's MatMulNBits (accuracy level 4, the same number of threads, blocks of 32, more weights than any cache
holds) in turns, and takes the best of each over --rounds. Prints Markdown; --json FILE keeps every figure.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from voxtral_edge._native import native_module
from voxtral_edge.bench import environment
from voxtral_edge.bench.markdown import number

ROWS = (1, 4, 16)
BITS = {"matmul_q4": 4, "matmul_q8": 8}
BLOCK = 32
# As much as kernels_benchmark rotates through.
WEIGHT_BYTES = 256 << 20


def main() -> None:
    args = arguments()
    interference = environment.Interference()
    best: dict[tuple[str, int, int, int], dict[str, float]] = {}
    peaks = []
    with tempfile.TemporaryDirectory() as folder:
        for round_number in range(args.rounds):
            peaks += [float(native_module().measure_integer_peak(args.threads)) / 1e9 for _ in range(5)]
            for entry in own(args, Path(folder) / f"{round_number}.json"):
                key = (entry["kernel"], entry["outputs"], entry["columns"], entry["rows"])
                if key[0] in BITS and key[3] in ROWS:
                    kept = best.setdefault(key, {"ms": np.inf, "floor_ms": np.inf})
                    for name in ("ms", "floor_ms"):
                        kept[name] = min(kept[name], entry[name])
            shapes = {key[:3] for key in best} if args.onnxruntime else set()
            for kernel, outputs, columns in sorted(shapes):
                for rows, ms in onnxruntime_ms(BITS[kernel], outputs, columns, args).items():
                    if (kept := best.get((kernel, outputs, columns, rows))) is not None:
                        kept["onnxruntime_ms"] = min(kept.get("onnxruntime_ms", np.inf), ms)
    result = {
        "format": "voxtral-edge-kernels",
        "machine": environment.machine(),
        "git_revision": environment.git_revision(),
        "isa": str(native_module().kernels_active()),
        "threads": args.threads,
        "interference": interference.result(),
        "integer_peak_gmacs": round(max(peaks), 3),
        "products": [
            {
                **dict(zip(("kernel", "outputs", "columns", "rows"), key, strict=True)),
                **{name: round(value, 6) for name, value in values.items()},
            }
            for key, values in sorted(best.items())
        ],
    }
    print("\n".join(markdown(result)))
    if args.json:
        Path(args.json).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--program", type=Path, required=True, help="kernels_benchmark")
    add("--threads", type=int, default=2, help="(%(default)s)")
    add("--rounds", type=int, default=3, help="turns of both (%(default)s)")
    add("--seconds", type=float, default=10.0, help="of passes per round and contestant, about (%(default)g)")
    add("--quick", action="store_true", help="two shapes only")
    add("--no-onnxruntime", dest="onnxruntime", action="store_false", help="ours alone")
    add("--json", help="keep everything here")
    return parser.parse_args()


def own(args: argparse.Namespace, path: Path) -> list[dict[str, Any]]:
    """Results of one run of kernels_benchmark, with the best instruction set of this machine."""
    milliseconds = max(10, round(args.seconds * 1000 / 60))  # about 60 products and small kernels
    words = [
        str(args.program),
        "--threads",
        str(args.threads),
        "--isa",
        str(native_module().kernels_active()),
    ]
    words += ["--milliseconds", str(milliseconds), "--json", str(path), *(["--quick"] if args.quick else [])]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    return list(json.loads(path.read_text(encoding="utf-8"))["results"])


def onnxruntime_ms(bits: int, outputs: int, columns: int, args: argparse.Namespace) -> dict[int, float]:
    """Milliseconds of one product by number of rows: the fastest run of a graph of many, over their number."""
    import onnxruntime

    copies = max(1, WEIGHT_BYTES // (outputs * columns * bits // 8))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    options.log_severity_level = 3
    model = products_model(bits, outputs, columns, copies)
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    generator = np.random.default_rng(0)
    result = {}
    for rows in ROWS:
        feed = {"x": generator.standard_normal((rows, columns)).astype(np.float32)}
        result[rows] = fastest_ms(lambda feed=feed: session.run(None, feed), args.seconds / 20) / copies  # type: ignore[misc]
    return result


def products_model(bits: int, outputs: int, columns: int, copies: int) -> bytes:
    """A graph that multiplies one input with `copies` matrices of random weights."""
    from onnx import TensorProto, helper, numpy_helper

    blocks = columns // BLOCK
    generator = np.random.default_rng(1)
    scales = np.full((outputs, blocks), 0.01, np.float32)
    initializers = [numpy_helper.from_array(scales, "scales")]
    nodes = []
    for i in range(copies):
        # Each its own numbers: onnxruntime keeps equal weights once, in the cache.
        weight = generator.integers(0, 256, (outputs, blocks, BLOCK * bits // 8), np.uint8)
        initializers.append(numpy_helper.from_array(weight, f"w{i}"))
        names = ["x", f"w{i}", "scales"]
        nodes.append(
            helper.make_node(
                "MatMulNBits", names, [f"y{i}"], domain="com.microsoft",
                K=columns, N=outputs, bits=bits, block_size=BLOCK, accuracy_level=4,
            )
        )  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "products",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", columns])],
        [helper.make_tensor_value_info(f"y{i}", TensorProto.FLOAT, ["rows", outputs]) for i in range(copies)],
        initializers,
    )
    domains = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    return bytes(helper.make_model(graph, opset_imports=domains, ir_version=10).SerializeToString())


def fastest_ms(run: Callable[[], Any], seconds: float) -> float:
    """The fastest of as many runs as fit, at least three, after one to warm up."""
    run()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        begun = time.perf_counter()
        run()
        times.append(time.perf_counter() - begun)
    return min(times) * 1e3


def markdown(result: dict[str, Any]) -> list[str]:
    """A row per shape."""
    peak = result["integer_peak_gmacs"]
    products: dict[tuple[str, int, int], dict[int, dict[str, float]]] = {}
    for entry in result["products"]:
        shape = (entry["kernel"], entry["outputs"], entry["columns"])
        products.setdefault(shape, {})[entry["rows"]] = entry
    rows = []
    for (kernel, outputs, columns), by_rows in products.items():
        one = by_rows[1]
        cells = [
            f"int{BITS[kernel]} {outputs} × {columns}",
            number(one["ms"]),
            f"{one['floor_ms'] / one['ms']:.0%}",
        ]
        cells.append(f"{by_rows[4]['ms'] / one['ms']:.2f}" if 4 in by_rows else "–")
        many = by_rows.get(16)
        cells.append(f"{outputs * columns * 16 / many['ms'] / 1e6 / peak:.2f}" if many else "–")
        theirs = [
            by_rows[n]["onnxruntime_ms"] / by_rows[n]["ms"] for n in by_rows if "onnxruntime_ms" in by_rows[n]
        ]
        cells.append(" / ".join(f"{value:.2f}" for value in theirs) or "–")
        rows.append(f"| {' | '.join(cells)} |")
    return [
        "| product | 1 row, ms | of read bandwidth | 4 rows over 1 | 16 rows, of integer peak | onnxruntime over ours, "
        "1 / 4 / 16 rows |",
        "| --- | --- | --- | --- | --- | --- |",
        *rows,
        "",
        f"{result['isa']}, {result['threads']} threads, integer peak {number(peak)} · 10⁹ multiply-adds per second; "
        "best passes of all rounds.",
    ]


if __name__ == "__main__":
    main()
