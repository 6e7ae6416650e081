"""Cycles of loops of the NEON kernels on ARM cores that are not at hand: compiled here, simulated by llvm-mca.

A loop is cut out of the assembly of a small function that holds little else. A core cannot take it faster than its
front end delivers it, which llvm-mca leaves out, so cycles are max(simulated, instructions / decode width). Caches that
always hit and branches that are always foreseen are assumed: an upper bound of what a core can do.
"""

from __future__ import annotations

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
MIN_LLVM = 16  # the first release with a model of the Neoverse N1
# The flags of csrc/kernels/CMakeLists.txt, with those of the instruction set after them.
FLAGS = ["-std=gnu++20", "-O3", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-fno-math-errno"]
FLAGS += ["-fno-schedule-insns", f"-I{ROOT / 'csrc'}", "-S", "-x", "c++", "-", "-o", "-"]
MARCH = {"neon_dotprod": "armv8.2-a+dotprod", "neon_i8mm": "armv8.2-a+dotprod+i8mm"}
JUMP = r"\s*(?:b\.?\w*|cbn?z|tbn?z)\s+(?:.*,\s*)?(\.L\w+)\s*$"


@dataclass(frozen=True)
class Design:
    """What is simulated: LLVM's name for a core, and the instructions it can take in per cycle."""

    model: str
    decode_width: int


@dataclass(frozen=True)
class Tools:
    """The cross compiler, llvm-mca, and their versions."""

    compiler: str
    mca: str
    versions: str

    def loop(self, isa: str, source: str, instruction: str) -> list[str]:
        """The innermost loop around `instruction` in the function `loop` of the source, built for an instruction set
        (a key of MARCH)."""
        lines = subprocess.run(
            [self.compiler, f"-march={MARCH[isa]}", *FLAGS],
            input=source,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        return loop_body(lines, instruction)

    def cycles(self, design: Design, lines: list[str]) -> float:
        """Of one pass through a loop."""
        return max(simulate(self.mca, design.model, tuple(lines)), len(lines) / design.decode_width)


def skip(message: str) -> NoReturn:
    print(f"skipped: {message}", file=sys.stderr)
    raise SystemExit(77)


def find_tools() -> Tools:
    """Exits with 77 where one is missing."""
    name = "g++" if platform.machine() == "aarch64" else "aarch64-linux-gnu-g++"
    compiler = shutil.which(name)
    if compiler is None:
        skip(f"{name} is missing: apt install g++-aarch64-linux-gnu")
    mca, version = find_mca()
    said = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True).stdout
    return Tools(compiler, mca, f"{said.splitlines()[0]}; llvm-mca {version}")


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


def loop_body(lines: list[str], instruction: str) -> list[str]:
    """The shortest backward jump over `instruction` in the function `loop`."""
    start = next(i for i, line in enumerate(lines) if re.match(r"loop:", line))
    end = next(i for i, line in enumerate(lines) if i > start and re.match(r"\s+\.size", line))
    lines = lines[start:end]
    labels = {match[1]: i for i, line in enumerate(lines) if (match := re.match(r"(\.L\w+):", line))}
    found: list[list[str]] = []
    for last, line in enumerate(lines):
        jump = re.match(JUMP, line)
        if jump is None or labels[jump[1]] >= last:
            continue
        body = [text.strip() for text in lines[labels[jump[1]] : last + 1] if re.match(r"\s+[a-z]", text)]
        if count(body, instruction):
            found.append(body)
    if not found:
        raise SystemExit(f"no loop around {instruction} found: has the kernel's shape changed?")
    return min(found, key=len)


def count(lines: list[str], instruction: str) -> int:
    return sum(line.split()[0] == instruction for line in lines)


def stack_accesses(lines: list[str], registers: str) -> int:
    """Loads and stores of registers of some kinds ("qds" for vectors, "xw") on the stack."""
    pattern = rf"(ldr|str|ldp|stp|ldur|stur)\s+[{registers}]\d+,.*\[sp"
    return sum(bool(re.match(pattern, line)) for line in lines)


@cache
def simulate(mca: str, model: str, lines: tuple[str, ...]) -> float:
    """Cycles of one pass through the lines, jumps left out."""
    body = [line for line in lines if not re.match(JUMP, line)]
    passes = 200
    command = [mca, "-mtriple=aarch64", f"-mcpu={model}", "-mattr=+dotprod,+fullfp16,+i8mm"]
    with tempfile.NamedTemporaryFile("w", suffix=".s") as file:
        text = ".text\n" + "\n".join(body) + "\n"
        file.write(re.sub(r"0xffffffffffffff(\w\w)\b", r"0x\1", text))  # GCC's bytes with the sign extended
        file.flush()
        said = subprocess.run(
            [*command, f"-iterations={passes}", file.name], capture_output=True, text=True, check=False
        )
    match = re.search(r"Total Cycles:\s+(\d+)", said.stdout)
    if match is None:
        raise SystemExit(f"llvm-mca refuses a loop: {said.stderr}")
    return int(match[1]) / passes
