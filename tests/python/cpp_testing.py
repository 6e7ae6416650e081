"""CMake builds for the tests, shared by test files and by the workers of a parallel run.

They are kept between runs: in VOXTRAL_EDGE_TEST_BUILD_DIR, else in pytest's cache. VOXTRAL_EDGE_TEST_JOBS limits the
compilers at once (default: the CPUs of this process, at most 4).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from native_testing import ROOT, must_have

CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
JOBS = int(os.environ.get("VOXTRAL_EDGE_TEST_JOBS", min(CPUS, 4)))

# Line numbers are all that a sanitizer's report needs of -g; the rest is a third of the compiler's time.
SANITIZED = ["-DCMAKE_BUILD_TYPE=RelWithDebInfo", "-DCMAKE_CXX_FLAGS_RELWITHDEBINFO=-O1 -g1"]
BUILDS = {
    "plain": ["-DCMAKE_BUILD_TYPE=Release", "-DVOXTRAL_EDGE_C_API=ON"],
    "address-undefined": [*SANITIZED, "-DVOXTRAL_EDGE_C_API=ON", "-DVOXTRAL_EDGE_SANITIZE=address,undefined"],
    "thread": [*SANITIZED, "-DVOXTRAL_EDGE_SANITIZE=thread"],
    "aarch64": [
        "-DCMAKE_BUILD_TYPE=Release",
        "-DVOXTRAL_EDGE_C_API=ON",
        f"-DCMAKE_TOOLCHAIN_FILE={ROOT / 'cmake' / 'aarch64-linux-gnu.cmake'}",
    ],
}


def run(command: list[str], what: str, **options: object) -> str:
    """Runs a command, returns its output, and fails the test with that if the command fails."""
    ran = subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    if ran.returncode != 0:
        pytest.fail(
            f"{what} failed ({' '.join(command)}):\n{ran.stdout[-6000:]}\n{ran.stderr[-3000:]}", pytrace=False
        )
    return str(ran.stdout)


def check_tools(build: str) -> None:
    must_have(shutil.which("cmake") is not None, "cmake is not installed")
    if build == "aarch64":
        must_have(shutil.which("aarch64-linux-gnu-g++") is not None, "aarch64-linux-gnu-g++ is not installed")
        qemu = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
        must_have(qemu is not None, "qemu-aarch64 is not installed")
    else:
        compiler = (
            os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
        )
        must_have(compiler is not None, "no C++ compiler is installed")


@contextlib.contextmanager
def build_folder(build: str, config: pytest.Config) -> Iterator[Path]:
    """The folder of one of BUILDS, for this worker alone."""
    check_tools(build)
    named = os.environ.get("VOXTRAL_EDGE_TEST_BUILD_DIR")
    base = Path(named) if named else config.cache.mkdir("cpp-builds")  # type: ignore[union-attr]
    folder = base / build
    folder.mkdir(parents=True, exist_ok=True)
    with open(base / f"{build}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


def compile_targets(build: str, folder: Path, targets: list[str]) -> None:
    """Configures and compiles `targets`, everything if there are none."""
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    cache = folder / "CMakeCache.txt"
    if cache.is_file() and f"CMAKE_HOME_DIRECTORY:INTERNAL={ROOT}\n" not in cache.read_text():
        shutil.rmtree(folder)  # of another checkout
        folder.mkdir()
    options = ["-DVOXTRAL_EDGE_TESTS=ON", "-DVOXTRAL_EDGE_PYTHON=OFF", *BUILDS[build]]
    run(["cmake", *generator, "-S", str(ROOT), "-B", str(folder), *options], "configuring")
    wanted = ["--target", *targets] if targets else []
    run(["cmake", "--build", str(folder), "--parallel", str(JOBS), *wanted], "compiling")
