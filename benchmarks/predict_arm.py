"""Predicts the speed of the NEON kernels on ARM cores that are not at hand: nothing here runs on ARM.

Takes the loops of the int4 and int8 products (csrc/kernels/neon_dotprod/, neon_i8mm/) over tiles of 16 weight rows x 64
columns, for each number of activation rows, and those of attention (csrc/kernels/shared/attention.h) over positions,
and simulates them (arm_simulation.py). The result is an upper bound of what a core can do, to be set beside what its
memory can deliver.

    apt install g++-aarch64-linux-gnu llvm-19
    python benchmarks/predict_arm.py            # the tables of docs/devices.md

Exit code 77 where compiler or llvm-mca are missing.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from arm_simulation import Design, Tools, count, find_tools, stack_accesses

TILE_ROWS, TILE_COLUMNS = 16, 64
TILE_BYTES = {"q4": 576, "q8": 1088}
DOTS_PER_ROW = 64  # sdot of a tile and activation row: 16 x 64 products at 16 each
MOST_ROWS = {
    "q4": 7,
    "q8": 6,
}  # kMostRows of neon_dotprod/matmul_q*.cc: more activation rows are several blocks
MOST_PAIRS = 8  # kMostPairs of neon_i8mm/pair_product.h
FRAMES_PER_TOKEN = 4  # rows that the encoder computes per token
PASS_TOKENS = 8  # of a recording: one token and seven drafts
TOKENS_KEPT = 3.7  # of these, on the demo model's choices (docs/benchmarks.md)
MOST_LINES = 6  # Vector16::kLines: query vectors over one load of keys or values
KV_BYTES = {"f32": 4.0, "f16": 2.0, "int8": 1.125}  # of a number, scales included

N1 = Design("neoverse-n1", 4)


@dataclass(frozen=True)
class Core:
    """A core on a board.

    kernels          the folder whose products it runs with two rows and more
    used             cores that work: those of the board, at most 8 (the engine's default)
    memory_gbps      memory reads of the whole board, as README.md has them
    """

    name: str
    board: str
    design: Design
    kernels: str
    ghz: float
    used: int
    memory_gbps: float


# LLVM gives Cortex-A76 and A78 the model of the older A57 (three instructions and one load per cycle). The N1 is the
# A76's design with another cache; for the A78 (same vector pipes, wider front end) it is the nearest that exists, and
# for the V3AE the V2 is (four vector pipes as well).
CORES = [
    Core("Cortex-A76", "Raspberry Pi 5", N1, "neon_dotprod", 2.4, 4, 10),
    Core("Cortex-A78AE", "Orin Nano Super", Design("neoverse-n1", 6), "neon_dotprod", 1.7, 6, 77),
    Core("Cortex-A78AE", "Orin NX 16 GB", Design("neoverse-n1", 6), "neon_dotprod", 2.0, 8, 77),
    Core("Cortex-A78AE", "AGX Orin 64 GB", Design("neoverse-n1", 6), "neon_dotprod", 2.2, 8, 154),
    Core("Neoverse V3AE", "Thor T5000", Design("neoverse-v2", 8), "neon_i8mm", 2.6, 8, 205),
]
# Cores with 8-bit matrix products, for the comparison with dot products. LLVM has no model of X2 and X3 apart from the
# N2's, which has half their vector pipes.
MATRIX_CORES = {
    "Neoverse V1 (Graviton 3)": Design("neoverse-v1", 8),
    "Neoverse V2 (Graviton 4, Grace)": Design("neoverse-v2", 8),
    "Neoverse N2, Cortex-A710": Design("neoverse-n2", 5),
    "Cortex-A510": Design("cortex-a510", 3),
}

DOT_SOURCE = """
#include "kernels/neon_dotprod/matmul_{kernel}.cc"
using namespace voxtral_edge;
extern "C" void loop(const std::uint8_t* group, std::size_t count, const QuantizedRows& x, std::size_t pass,
                     float32x4_t* out) {{
  using Product = neon_dotprod::Product;
  shared::add_tiles<Product, {rows}>(group, 0, count, Product::Activations(x, 0), {prefetch},
                                     Product::pass_vectors({rows}) == Product::kVectors ? 0 : pass, out);
}}
"""
PAIR_SOURCE = """
#include "kernels/neon_i8mm/matmul_{kernel}.cc"
using namespace voxtral_edge::neon_i8mm;
extern "C" void loop(const std::uint8_t* tile, std::size_t count, std::size_t quad, const PairBlock* pairs,
                     float32x4_t* out) {{
  add_tiles<Product, {pairs}>(tile, count, quad, {prefetch} ? 4608 : 0, pairs, out);
}}
"""
PACK_SOURCE = """
#include "kernels/neon_i8mm/matmul_q4.cc"
using namespace voxtral_edge;
extern "C" void loop(const QuantizedRows& x, std::size_t a, std::size_t count, neon_i8mm::PairBlock* out) {
  neon_i8mm::pack_pair<8>(x, a, a + 1, 0, count, out);
}
"""
ATTENTION_START = """
#include "kernels/neon_dotprod/attention.cc"
#include "kernels/neon_dotprod/vector16.h"
using namespace voxtral_edge;
using V = neon_dotprod::Vector16;
using Tile = shared::AttentionTile<V, {element}>;
using Block = shared::KvBlock<{element}>;
"""
SCORE_SOURCE = """
extern "C" __attribute__((flatten)) void loop(const Tile& tile, const Block& at) {{
  tile.score<{lines}, {beside}, true>(at, 0, 0);
}}
"""
WEIGH_SOURCE = """
extern "C" __attribute__((flatten)) void loop(const Tile& tile, const Block& at, std::size_t count) {{
  tile.weigh<{lines}, {beside}, Tile::Weigh::whole, true>(at, Tile::Span{{0, count}}, 0, 0);
}}
"""
EXP_SOURCE = """
extern "C" void loop(float* row, std::size_t count, float most, float* out) {
  V sum = V::zero();
  for (std::size_t i = 0; i < count; i += 16) {
    const V weight = shared::exp16_of_negative(V::load(row + i) - V::all(most));
    weight.store(row + i);
    sum = sum + weight;
  }
  sum.store(out);
}
"""
ELEMENTS = {"f32": "float", "f16": "std::uint16_t", "int8": "std::int8_t"}


def even_blocks(rows: int, most: int) -> list[int]:
    """The blocks of rows, as shared/row_blocks.h cuts them."""
    blocks = -(-rows // most)
    return [rows * (i + 1) // blocks - rows * i // blocks for i in range(blocks)]


@dataclass(frozen=True)
class Loop:
    """A loop over the tiles of a group for a number of activation rows.

    passes    how often a tile is visited: each pass takes a part of its 16 weight rows
    lines     its assembly
    first     the same for the first pass, which prefetches
    """

    passes: int
    lines: list[str]
    first: list[str]

    @property
    def instructions(self) -> int:
        """Per tile, prefetches not counted."""
        return self.passes * len(self.lines)

    def spills(self, registers: str) -> int:
        return self.passes * stack_accesses(self.lines, registers)

    def cycles(self, tools: Tools, design: Design, prefetch: bool) -> float:
        rest = tools.cycles(design, self.lines)
        return (self.passes - 1) * rest + (tools.cycles(design, self.first) if prefetch else rest)


class Products:
    """The loops of the products, by kernel and activation rows."""

    def __init__(self, tools: Tools) -> None:
        self.tools = tools
        self.dot = {
            kernel: {
                rows: self._loop("neon_dotprod", kernel, rows) for rows in range(1, MOST_ROWS[kernel] + 1)
            }
            for kernel in TILE_BYTES
        }
        self.pair = {
            kernel: {2 * p: self._loop("neon_i8mm", kernel, 2 * p) for p in range(1, MOST_PAIRS + 1)}
            for kernel in TILE_BYTES
        }
        self.pack = tools.loop("neon_i8mm", PACK_SOURCE, "uzp1")
        assert count(self.pack, "uzp1") == 4, "the packing of pairs has changed: not one tile per iteration"

    def _loop(self, isa: str, kernel: str, rows: int) -> Loop:
        def lines(prefetch: bool) -> list[str]:
            names = {"kernel": kernel, "rows": rows, "pairs": rows // 2, "prefetch": str(prefetch).lower()}
            source = (DOT_SOURCE if isa == "neon_dotprod" else PAIR_SOURCE).format(**names)
            return self.tools.loop(isa, source, "sdot" if isa == "neon_dotprod" else "usmmla")

        body = lines(False)
        work = rows * DOTS_PER_ROW if isa == "neon_dotprod" else rows * DOTS_PER_ROW // 2
        passes, rest = divmod(work, count(body, "sdot") + count(body, "usmmla"))
        if rest:
            raise SystemExit(f"the loop for {rows} activation rows is no whole part of a tile")
        return Loop(passes, body, lines(True))

    def tile_cycles(self, design: Design, isa: str, kernel: str, rows: int) -> float:
        """Of a tile with all activation rows of a call."""
        if isa == "neon_dotprod" or rows == 1:
            blocks, loops = even_blocks(rows, MOST_ROWS[kernel]), self.dot[kernel]
        else:
            blocks, loops = [2 * p for p in even_blocks((rows + 1) // 2, MOST_PAIRS)], self.pair[kernel]
        total = sum(loops[block].cycles(self.tools, design, i == 0) for i, block in enumerate(blocks))
        if loops is self.pair[kernel]:  # pairs are packed once per call: groups of Executor::chunk_columns
            groups = 64 // rows * 64 // TILE_ROWS
            total += (rows + 1) // 2 * self.tools.cycles(design, self.pack) / groups
        return total

    def weight_gbps(self, core: Core, kernel: str, rows: int) -> float:
        """GB of weights per second that one core works off, multiplied with `rows` activation rows."""
        return TILE_BYTES[kernel] / self.tile_cycles(core.design, core.kernels, kernel, rows) * core.ghz


class Attention:
    """The loops of attention: scores (per column of the keys of 16 positions), weighted values (per position), exp (per
    16 positions), by type and number of query vectors."""

    def __init__(self, tools: Tools) -> None:
        self.tools = tools
        self.loops: dict[tuple[str, int], tuple[list[str], list[str]]] = {}

    @cached_property
    def exp(self) -> list[str]:
        return self.tools.loop("neon_dotprod", ATTENTION_START.format(element="float") + EXP_SOURCE, "fmla")

    def _block(self, design: Design, kind: str, lines: int, head_dim: int) -> float:
        beside = next(n for n in (4, 2, 1) if lines * n <= 4 or n == 1)  # kBeside with kSums = 4
        if (kind, lines) not in self.loops:
            start, names = ATTENTION_START.format(element=ELEMENTS[kind]), {"lines": lines, "beside": beside}
            self.loops[kind, lines] = (
                self.tools.loop("neon_dotprod", start + SCORE_SOURCE.format(**names), "fmla"),
                self.tools.loop("neon_dotprod", start + WEIGH_SOURCE.format(**names), "fmla"),
            )
        score, weigh = self.loops[kind, lines]
        # A vector of 16 floats is four registers.
        columns = count(score, "fmla") / (4 * lines * beside)  # of 16 x beside positions, per iteration
        positions = count(weigh, "fmla") / (4 * lines * beside)  # with 16 x beside columns, per iteration
        return (
            self.tools.cycles(design, score) * head_dim / columns / (16 * beside)
            + self.tools.cycles(design, weigh) * head_dim / (16 * beside) / positions
        )

    def position_cycles(self, design: Design, kind: str, lines: int, head_dim: int) -> float:
        """Of a position of one KV head and all query vectors that see it in a call."""
        blocks = sum(self._block(design, kind, block, head_dim) for block in even_blocks(lines, MOST_LINES))
        return blocks + lines * self.tools.cycles(design, self.exp) / 16

    def gbps(self, core: Core, kind: str, lines: int, head_dim: int) -> float:
        """GB of keys and values per second that one core works off."""
        return (
            2
            * head_dim
            * KV_BYTES[kind]
            / self.position_cycles(core.design, kind, lines, head_dim)
            * core.ghz
        )


def row(*cells: object) -> None:
    print("| " + " | ".join(map(str, cells)) + " |")


def header(*cells: str) -> None:
    row(*cells)
    print("|" + "---|" * len(cells))


def joined(values: list[float], form: str) -> str:
    return " / ".join(f"{value:{form}}" for value in values)


def print_loops(products: Products) -> None:
    header(
        "kernel", "activation rows", "instructions per tile", "of these products", "vector spills", "other"
    )
    for name, of_kernels in (("dot", products.dot), ("matrix", products.pair)):
        for kernel, loops in of_kernels.items():
            for rows, loop in loops.items():
                work = loop.passes * (count(loop.lines, "sdot") + count(loop.lines, "usmmla"))
                share = f"{work} {name} ({100 * work / loop.instructions:.0f} %)"
                row(kernel, rows, loop.instructions, share, loop.spills("qds"), loop.spills("xw"))


def print_cores(products: Products, row_counts: list[int]) -> None:
    said = " / ".join(map(str, row_counts))
    header("core", "kernel", f"cycles per tile, {said} rows", "weights, GB/s per core", "GOPS per core")
    for core in CORES:
        for kernel, size in TILE_BYTES.items():
            cycles = [products.tile_cycles(core.design, core.kernels, kernel, rows) for rows in row_counts]
            gops = [
                2 * TILE_ROWS * TILE_COLUMNS * rows / taken * core.ghz
                for rows, taken in zip(row_counts, cycles, strict=True)
            ]
            gbps = [size / taken * core.ghz for taken in cycles]
            row(
                f"{core.name} {core.ghz} GHz",
                f"{kernel}, {core.kernels}",
                joined(cycles, ".0f"),
                joined(gbps, ".1f"),
                joined(gops, ".0f"),
            )


def print_matrix_products(products: Products, row_counts: list[int]) -> None:
    header("core", "kernel", *(f"{rows} rows" for rows in row_counts))
    for name, design in MATRIX_CORES.items():
        for kernel in TILE_BYTES:
            cells = []
            for rows in row_counts:
                dot, matrix = (
                    products.tile_cycles(design, isa, kernel, rows) for isa in ("neon_dotprod", "neon_i8mm")
                )
                cells.append(f"{dot:.0f} → {matrix:.0f} ({dot / matrix:.2f})")
            row(name, kernel, *cells)


def print_attention(attention: Attention) -> None:
    header("core", "state", "cycles per position, 4 / 32 query vectors", "GB/s per core", "GOPS per core")
    counts = [4, 32]  # a live step; rows of recordings or streams that share a pass
    for core in CORES:
        for kind in KV_BYTES:
            cycles = [attention.position_cycles(core.design, kind, lines, 128) for lines in counts]
            gops = [4 * 128 * n / taken * core.ghz for n, taken in zip(counts, cycles, strict=True)]
            gbps = [attention.gbps(core, kind, lines, 128) for lines in counts]
            row(
                f"{core.name} {core.ghz} GHz",
                kind,
                joined(cycles, ".0f"),
                joined(gbps, ".1f"),
                joined(gops, ".0f"),
            )


def print_full_windows(attention: Attention) -> None:
    """Attention of a live step whose windows are full: 4 query vectors per KV head in encoder and decoder."""
    from voxtral_edge.export.synthetic import SYNTHETIC_MODELS
    from voxtral_edge.step_cost import position_bytes

    config = SYNTHETIC_MODELS["4b"].to_manifest()["config"]
    stacks = [("encoder", "window_frames"), ("decoder", "window_tokens")]
    header("board and cores", *(f"{kind}, ms: memory / cores" for kind in KV_BYTES))
    for core in CORES:
        cells = []
        for kind in KV_BYTES:
            memory = cores = 0.0
            for stack, window in stacks:
                size = position_bytes(config[stack], kind) * config[stack][window] / 1e6
                gbps = attention.gbps(core, kind, 4, config[stack]["head_dim"])
                memory += size / core.memory_gbps
                cores += size / (gbps * core.used)
            cells.append(f"{memory:.1f} / {cores:.1f}")
        row(f"{core.board}, {core.used} cores", *cells)


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


def print_steps(products: Products) -> None:
    """Each part of a pass takes the longer of its reads and its products; the attention windows are empty."""
    sizes = {"q4": graph_bytes("int4"), "q8": graph_bytes("int8")}
    header(
        "board",
        "weights",
        "memory alone, ms per step",
        "with products",
        "recordings, per token",
        "if all drafts fit",
    )
    for core in CORES:
        for kernel in TILE_BYTES:

            def pass_ms(graph: str, rows: int, core: Core = core, kernel: str = kernel) -> float:
                gbps = core.used * products.weight_gbps(core, kernel, rows)
                return sizes[kernel][graph] / 1e6 / min(gbps, core.memory_gbps)

            memory = sum(sizes[kernel].values()) / core.memory_gbps / 1e6
            step = pass_ms("encoder", FRAMES_PER_TOKEN) + pass_ms("decoder", 1)
            encoder = pass_ms("encoder", FRAMES_PER_TOKEN * PASS_TOKENS) / PASS_TOKENS
            decoder = pass_ms("decoder", PASS_TOKENS)
            row(
                f"{core.board}, {core.used} cores",
                "int4" if kernel == "q4" else "int8",
                f"{memory:.0f}",
                f"{step:.0f}",
                f"{encoder + decoder / TOKENS_KEPT:.0f}",
                f"{encoder + decoder / PASS_TOKENS:.0f}",
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 4, 8], help="activation rows (1 4 8)")
    options = parser.parse_args()
    tools = find_tools()
    print(f"Predictions, not measurements: {tools.versions}.")
    products, attention = Products(tools), Attention(tools)
    parts: list[Callable[[], None]] = [
        lambda: print_cores(products, options.rows),
        lambda: print_matrix_products(products, [2, 4, 8, 16, 32]),
        lambda: print_attention(attention),
        lambda: print_loops(products),
        lambda: print_steps(products),
        lambda: print_full_windows(attention),
    ]
    for part in parts:
        print()
        try:
            part()
        except ImportError:
            print("(install voxtral-edge for this table)")


if __name__ == "__main__":
    main()
