"""Predicts the speed of the NEON products on ARM cores that are not at hand: nothing here runs on ARM.

Compiles the loop over tiles (16 weight rows x 64 columns) of csrc/kernels/neon_dotprod/matmul_q4.cc and matmul_q8.cc
for each number of activation rows with the flags of the build, and lets llvm-mca simulate it on LLVM's model of the
core. A loop cannot be faster than the front end delivers it, which llvm-mca leaves out, so the cycles are
max(simulated, instructions / decode width). Caches that always hit and branches that are always foreseen are assumed:
the result is an upper bound of what a core can do, to be set beside what its memory can deliver.

    apt install g++-aarch64-linux-gnu llvm-19
    python benchmarks/predict_arm.py            # the tables of docs/devices.md

Exit code 77 where compiler or llvm-mca are missing.
"""

from __future__ import annotations

import argparse
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
TILE_ROWS, TILE_COLUMNS = 16, 64
TILE_BYTES = {"q4": 576, "q8": 1088}
DOTS_PER_ROW = 64  # sdot of a tile and activation row: 16 x 64 products at 16 each
MOST_ROWS = 7  # kMostRows of block_product.h: more activation rows are several blocks of rows
FRAMES_PER_TOKEN = 4  # rows that the encoder computes per token
PASS_TOKENS = 8  # of a recording: one token and seven drafts
TOKENS_KEPT = 3.7  # of these, on the demo model's choices (docs/benchmarks.md)
MIN_LLVM = 16  # the first release with a model of the Neoverse N1
# The flags of csrc/kernels/CMakeLists.txt.
FLAGS = ["-std=gnu++20", "-O3", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-fno-math-errno"]
FLAGS += [
    "-march=armv8.2-a+dotprod",
    "-fno-schedule-insns",
    f"-I{ROOT / 'csrc'}",
    "-S",
    "-x",
    "c++",
    "-",
    "-o",
    "-",
]


@dataclass(frozen=True)
class Core:
    """A core on a board.

    model            LLVM's name for the design that is simulated
    decode_width     instructions it can take in per cycle
    used             cores that work: those of the board, at most 8 (the engine's default)
    memory_gbps      memory reads of the whole board, as README.md has them
    """

    name: str
    board: str
    model: str
    decode_width: int
    ghz: float
    used: int
    memory_gbps: float


# LLVM gives Cortex-A76 and A78 the model of the older A57 (three instructions and one load per cycle). The N1 is the
# A76's design with another cache; for the A78 (same vector pipes, wider front end) it is the nearest that exists, and
# for the V3AE the V2 is (four vector pipes as well).
CORES = [
    Core("Cortex-A76", "Raspberry Pi 5", "neoverse-n1", 4, 2.4, 4, 10),
    Core("Cortex-A78AE", "Orin Nano Super", "neoverse-n1", 6, 1.7, 6, 77),
    Core("Cortex-A78AE", "Orin NX 16 GB", "neoverse-n1", 6, 2.0, 8, 77),
    Core("Cortex-A78AE", "AGX Orin 64 GB", "neoverse-n1", 6, 2.2, 8, 154),
    Core("Neoverse V3AE", "Thor T5000", "neoverse-v2", 8, 2.6, 8, 205),
]


# The loop of a number of rows as a function of its own, without or with prefetching.
SOURCE = """
#include "kernels/neon_dotprod/matmul_{kernel}.cc"
using namespace voxtral_edge;
extern "C" void tiles(const std::uint8_t* group, std::size_t count, const QuantizedRows& x, std::size_t pass,
                      float32x4_t* out) {{
  using Product = neon_dotprod::Product;
  shared::add_tiles<Product, {rows}>(group, 0, count, Product::Activations(x, 0), {prefetch},
                                     Product::pass_vectors({rows}) == Product::kVectors ? 0 : pass, out);
}}
"""


@dataclass(frozen=True)
class Loop:
    """The loop over the tiles of a group for a number of activation rows.

    passes           how often a tile is visited: each pass takes a part of its 16 weight rows
    lines            its assembly
    first            the same for the first pass, which prefetches
    """

    rows: int
    passes: int
    lines: list[str]
    first: list[str]

    @property
    def instructions(self) -> int:
        """Per tile, prefetches not counted."""
        return self.passes * len(self.lines)

    def _stack(self, registers: str) -> int:
        pattern = rf"(ldr|str|ldp|stp|ldur|stur)\s+[{registers}]\d+,.*\[sp"
        return self.passes * sum(bool(re.match(pattern, line)) for line in self.lines)

    @property
    def vector_spills(self) -> int:
        """Instructions that load or store vector registers on the stack, per tile."""
        return self._stack("qds")

    @property
    def other_spills(self) -> int:
        """The same for general registers."""
        return self._stack("xw")


def skip(message: str) -> NoReturn:
    print(f"skipped: {message}", file=sys.stderr)
    raise SystemExit(77)


def find_compiler() -> str:
    name = "g++" if platform.machine() == "aarch64" else "aarch64-linux-gnu-g++"
    path = shutil.which(name)
    if path is None:
        skip(f"{name} is missing: apt install g++-aarch64-linux-gnu")
    return path


def find_mca() -> tuple[str, int]:
    """The newest llvm-mca and its version."""
    found: list[tuple[int, str]] = []
    for name in ["llvm-mca", *(f"llvm-mca-{version}" for version in range(MIN_LLVM, 40))]:
        if path := shutil.which(name):
            said = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
            if match := re.search(r"version (\d+)", said):
                found.append((int(match[1]), path))
    version, path = max(found, default=(0, ""))
    if version < MIN_LLVM:
        skip(f"llvm-mca of LLVM {MIN_LLVM} or later is missing: apt install llvm-19")
    return path, version


def assembly(compiler: str, kernel: str, rows: int, prefetch: bool) -> list[str]:
    source = SOURCE.format(kernel=kernel, rows=rows, prefetch=str(prefetch).lower())
    return subprocess.run(
        [compiler, *FLAGS], input=source, capture_output=True, text=True, check=True
    ).stdout.splitlines()


def loop_body(lines: list[str], rows: int) -> tuple[list[str], int]:
    """The loop over tiles in `tiles`, the shortest backward jump over dot products, and its share of a tile."""
    start = next(i for i, line in enumerate(lines) if re.match(r"tiles:", line))
    end = next(i for i, line in enumerate(lines) if i > start and re.match(r"\s+\.size", line))
    lines = lines[start:end]
    labels = {match[1]: i for i, line in enumerate(lines) if (match := re.match(r"(\.L\w+):", line))}
    found: list[list[str]] = []
    for last, line in enumerate(lines):
        jump = re.match(r"\s+(?:b\.?\w*|cbn?z|tbn?z)\s+(?:.*,\s*)?(\.L\w+)\s*$", line)
        if jump is None or labels[jump[1]] >= last:
            continue
        body = [text.strip() for text in lines[labels[jump[1]] : last + 1] if re.match(r"\s+[a-z]", text)]
        if any(text.startswith("sdot") for text in body):
            found.append(body)
    if not found:
        raise SystemExit(f"no loop found for {rows} activation rows: has the kernel's shape changed?")
    body = min(found, key=len)
    passes, rest = divmod(rows * DOTS_PER_ROW, sum(text.startswith("sdot") for text in body))
    if rest:
        raise SystemExit(f"the loop for {rows} activation rows is no whole part of a tile")
    return body, passes


def tile_loops(compiler: str, kernel: str) -> dict[int, Loop]:
    loops = {}
    for rows in range(1, MOST_ROWS + 1):
        lines, passes = loop_body(assembly(compiler, kernel, rows, False), rows)
        first, _ = loop_body(assembly(compiler, kernel, rows, True), rows)
        loops[rows] = Loop(rows, passes, lines, first)
    return loops


def cycles(mca: str, core: Core, lines: list[str]) -> float:
    return max(simulate(mca, core.model, tuple(lines)), len(lines) / core.decode_width)


@cache
def simulate(mca: str, model: str, lines: tuple[str, ...]) -> float:
    """Cycles of one pass through the lines, jumps left out."""
    body = [line for line in lines if not re.match(r"(b\.?\w*|cbn?z|tbn?z)\s+(.*,\s*)?\.L", line)]
    passes = 200
    command = [
        mca,
        "-mtriple=aarch64",
        f"-mcpu={model}",
        "-mattr=+dotprod,+fullfp16",
        f"-iterations={passes}",
    ]
    with tempfile.NamedTemporaryFile("w", suffix=".s") as file:
        file.write(".text\n" + "\n".join(body) + "\n")
        file.flush()
        said = subprocess.run([*command, file.name], capture_output=True, text=True, check=True).stdout
    match = re.search(r"Total Cycles:\s+(\d+)", said)
    assert match, said
    return int(match[1]) / passes


def row_blocks(rows: int) -> list[int]:
    """The blocks of activation rows, as shared/row_blocks.h cuts them."""
    blocks = -(-rows // MOST_ROWS)
    return [rows * (i + 1) // blocks - rows * i // blocks for i in range(blocks)]


def tile_cycles(mca: str, core: Core, loops: dict[int, Loop], rows: int) -> float:
    first, *others = row_blocks(rows)
    total = cycles(mca, core, loops[first].first) + (loops[first].passes - 1) * cycles(
        mca, core, loops[first].lines
    )
    return total + sum(loops[block].passes * cycles(mca, core, loops[block].lines) for block in others)


def weight_gbps(mca: str, core: Core, kernel: str, loops: dict[int, Loop], rows: int) -> float:
    """GB of weights per second that one core works off, multiplied with `rows` activation rows."""
    return TILE_BYTES[kernel] / tile_cycles(mca, core, loops, rows) * core.ghz


def print_loops(all_loops: dict[str, dict[int, Loop]]) -> None:
    print(
        "| kernel | activation rows | instructions per tile | of these dot products | vector spills | other |"
    )
    print("|---|---|---|---|---|---|")
    for kernel, loops in all_loops.items():
        for rows, loop in sorted(loops.items()):
            dots = rows * DOTS_PER_ROW
            print(
                f"| {kernel} | {rows} | {loop.instructions} | {dots} ({100 * dots / loop.instructions:.0f} %) "
                f"| {loop.vector_spills} | {loop.other_spills} |"
            )


def print_cores(mca: str, all_loops: dict[str, dict[int, Loop]], row_counts: list[int]) -> None:
    said = " / ".join(map(str, row_counts))
    print(f"| core | kernel | cycles per tile, {said} rows | weights, GB/s per core | GOPS per core |")
    print("|---|---|---|---|---|")
    for core in CORES:
        for kernel, loops in all_loops.items():
            counts = [tile_cycles(mca, core, loops, rows) for rows in row_counts]
            gbps = [TILE_BYTES[kernel] / count * core.ghz for count in counts]
            gops = [
                2 * TILE_ROWS * TILE_COLUMNS * rows / count * core.ghz
                for rows, count in zip(row_counts, counts, strict=True)
            ]
            cells = [[f"{value:.0f}" for value in counts], [f"{value:.1f}" for value in gbps]]
            cells.append([f"{value:.0f}" for value in gops])
            print(
                f"| {core.name} {core.ghz} GHz | {kernel} | "
                + " | ".join(" / ".join(c) for c in cells)
                + " |"
            )


def graph_bytes(precision: str) -> dict[str, int]:
    """Bytes of weights of the 4B model that the encoder (with adapter) and the decoder (with head) read per pass."""
    from voxtral_edge.export.package_layout import plan_layout
    from voxtral_edge.export.precision import resolve_precision
    from voxtral_edge.export.schema import tensor_specs
    from voxtral_edge.export.synthetic import SYNTHETIC_MODELS

    specs = list(tensor_specs(SYNTHETIC_MODELS["4b"]))
    totals = {"encoder": 0, "decoder": 0}
    for entry in plan_layout(specs, resolve_precision(precision)).table().values():
        for graph in entry["graphs"]:
            totals[graph] += int(entry["bytes"])
    return totals


def print_steps(mca: str, all_loops: dict[str, dict[int, Loop]]) -> None:
    """Each part of a pass takes the longer of its reads and its products; the attention windows are empty."""
    sizes = {"q4": graph_bytes("int4"), "q8": graph_bytes("int8")}
    print(
        "| board | weights | memory alone, ms per step | with products | recordings, per token | if all drafts fit |"
    )
    print("|---|---|---|---|---|---|")
    for core in CORES:
        for kernel in all_loops:

            def pass_ms(graph: str, rows: int, core: Core = core, kernel: str = kernel) -> float:
                gbps = core.used * weight_gbps(mca, core, kernel, all_loops[kernel], rows)
                return sizes[kernel][graph] / 1e6 / min(gbps, core.memory_gbps)

            memory = sum(sizes[kernel].values()) / core.memory_gbps / 1e6
            step = pass_ms("encoder", FRAMES_PER_TOKEN) + pass_ms("decoder", 1)
            encoder = pass_ms("encoder", FRAMES_PER_TOKEN * PASS_TOKENS) / PASS_TOKENS
            decoder = pass_ms("decoder", PASS_TOKENS)
            print(
                f"| {core.board}, {core.used} cores | {'int4' if kernel == 'q4' else 'int8'} "
                f"| {memory:.0f} | {step:.0f} | {encoder + decoder / TOKENS_KEPT:.0f} "
                f"| {encoder + decoder / PASS_TOKENS:.0f} |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 4, 8], help="activation rows (1 4 8)")
    options = parser.parse_args()
    compiler, (mca, version) = find_compiler(), find_mca()
    said = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True).stdout
    print(f"Predictions, not measurements: {said.splitlines()[0]}; llvm-mca {version}.\n")
    all_loops = {kernel: tile_loops(compiler, kernel) for kernel in TILE_BYTES}
    print_loops(all_loops)
    print()
    print_cores(mca, all_loops, options.rows)
    print()
    try:
        print_steps(mca, all_loops)
    except ImportError:
        print("(install voxtral-edge for the table of whole steps)")


if __name__ == "__main__":
    main()
