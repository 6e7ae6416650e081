"""The C++ tests, built and run four ways: plain, address + undefined behaviour sanitizers, thread sanitizer, and
cross-compiled for 64-bit Arm under qemu. Every test file is reported by itself.

Builds are kept between runs: in VOXTRAL_EDGE_TEST_BUILD_DIR, else in pytest's cache. VOXTRAL_EDGE_TEST_JOBS limits the
compilers at once (default: the CPUs of this process, at most 4). From nothing this takes about seven minutes on two
cores, afterwards three.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import uuid
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import pytest
from native_testing import ROOT, must_have

CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
JOBS = int(os.environ.get("VOXTRAL_EDGE_TEST_JOBS", min(CPUS, 4)))
# One value for all workers of a parallel run: the first builds, the others read its results.
RUN = os.environ.get("PYTEST_XDIST_TESTRUNUID", uuid.uuid4().hex)

# The libraries keep their -O3; -O1 for the tests themselves halves the time of a sanitized build.
SANITIZED = ["-DCMAKE_BUILD_TYPE=RelWithDebInfo", "-DCMAKE_CXX_FLAGS_RELWITHDEBINFO=-O1"]
BUILDS = {
    "plain": ["-DCMAKE_BUILD_TYPE=Release"],
    "address-undefined": [*SANITIZED, "-DVOXTRAL_EDGE_SANITIZE=address,undefined"],
    "thread": [*SANITIZED, "-DVOXTRAL_EDGE_SANITIZE=thread"],
    "aarch64": [
        "-DCMAKE_BUILD_TYPE=Release",
        f"-DCMAKE_TOOLCHAIN_FILE={ROOT / 'cmake' / 'aarch64-linux-gnu.cmake'}",
    ],
}
ENVIRONMENT = {
    "ASAN_OPTIONS": "detect_leaks=1:strict_string_checks=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1",
}
# Pure functions of one thread: the thread sanitizer has nothing to see there.
ONE_THREAD = "json|kernels_|packed_matrix|real_dft|rope|kv_ring|log_mel|model_config|tekken|utf8|word_builder"
NOT_UNDER_THREAD = f"_fuzz$|^({ONE_THREAD})"

SOURCES = sorted([*(ROOT / "tests" / "cpp").glob("*_test.cc"), *(ROOT / "tests" / "fuzz").glob("*_fuzz.cc")])
FILES = [source.stem for source in SOURCES]
pytestmark = pytest.mark.slow


@dataclass
class Outcome:
    """One ctest case: its status as ctest says ("run" is passed) and what it printed."""

    status: str
    output: str


def run(command: list[str], what: str, **options: object) -> None:
    ran = subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    if ran.returncode != 0:
        pytest.fail(
            f"{what} failed ({' '.join(command)}):\n{ran.stdout[-6000:]}\n{ran.stderr[-3000:]}", pytrace=False
        )


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


def build_and_run(build: str, folder: Path) -> None:
    """Configures, compiles and tests; leaves ctest's report in results.xml and RUN in results.of."""
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    if (folder / "CMakeCache.txt").is_file() and f"CMAKE_HOME_DIRECTORY:INTERNAL={ROOT}\n" not in (
        folder / "CMakeCache.txt"
    ).read_text():
        shutil.rmtree(folder)  # of another checkout
        folder.mkdir()
    options = ["-DVOXTRAL_EDGE_TESTS=ON", "-DVOXTRAL_EDGE_PYTHON=OFF", *BUILDS[build]]
    run(["cmake", *generator, "-S", str(ROOT), "-B", str(folder), *options], "configuring")
    wanted = [file for file in FILES if not re.search(NOT_UNDER_THREAD, file)] if build == "thread" else []
    targets = ["--target", *wanted] if wanted else []
    run(["cmake", "--build", str(folder), "--parallel", str(JOBS), *targets], "compiling")
    report = folder / "results.xml"
    report.unlink(missing_ok=True)
    left_out = ["-E", NOT_UNDER_THREAD] if build == "thread" else []
    command = ["ctest", "--output-junit", str(report), "--timeout", "900", "--parallel", str(JOBS), *left_out]
    subprocess.run(command, cwd=folder, env={**os.environ, **ENVIRONMENT}, capture_output=True, check=False)
    assert report.is_file(), "ctest left no report"
    (folder / "results.of").write_text(RUN)


@pytest.fixture(scope="session")
def outcomes(request: pytest.FixtureRequest) -> dict[str, dict[str, Outcome]]:
    """Results per build, filled as they are asked for."""
    return {}


def results(build: str, config: pytest.Config, known: dict[str, dict[str, Outcome]]) -> dict[str, Outcome]:
    if build in known:
        return known[build]
    check_tools(build)
    named = os.environ.get("VOXTRAL_EDGE_TEST_BUILD_DIR")
    base = Path(named) if named else config.cache.mkdir("cpp-builds")  # type: ignore[union-attr]
    folder = base / build
    folder.mkdir(parents=True, exist_ok=True)
    with open(base / f"{build}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = folder / "results.of"
        if not done.is_file() or done.read_text() != RUN:
            done.unlink(missing_ok=True)
            build_and_run(build, folder)
        cases = ElementTree.parse(folder / "results.xml").getroot().iter("testcase")
        known[build] = {
            case.get("name", ""): Outcome(case.get("status", ""), case.findtext("system-out", ""))
            for case in cases
        }
    return known[build]


def file_of(case: str) -> str | None:
    """The source file a ctest case belongs to: the longest name it begins with ("kernels_bounds_on_max")."""
    fitting = [file for file in FILES if case.startswith(file.removesuffix("_test"))]
    return max(fitting, key=lambda file: len(file.removesuffix("_test")), default=None)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("build", BUILDS)
def test_cpp(
    build: str, file: str, pytestconfig: pytest.Config, outcomes: dict[str, dict[str, Outcome]]
) -> None:
    cases = {
        name: case for name, case in results(build, pytestconfig, outcomes).items() if file_of(name) == file
    }
    if build == "thread" and not cases:
        pytest.skip("one thread only: left out of the thread sanitizer's run")
    assert cases, f"ctest knows no case of {file}"
    failed = {name: case for name, case in cases.items() if case.status != "run"}
    assert not failed, "\n".join(
        f"{name}: {case.status}\n{case.output[-5000:]}" for name, case in failed.items()
    )


@pytest.mark.parametrize("build", BUILDS)
def test_no_case_is_overlooked(
    build: str, pytestconfig: pytest.Config, outcomes: dict[str, dict[str, Outcome]]
) -> None:
    cases = results(build, pytestconfig, outcomes)
    assert len(cases) >= 5
    assert [name for name in cases if file_of(name) is None] == []
    if build == "thread":
        assert any("two_streams" in name for name in cases) and any("thread_pool" in name for name in cases)


def test_a_missing_tool_is_a_failure_where_everything_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOXTRAL_EDGE_REQUIRE_ALL", "1")
    must_have(True, "not reported")
    with pytest.raises(pytest.fail.Exception, match="qemu"):
        must_have(False, "qemu is not installed")
    monkeypatch.delenv("VOXTRAL_EDGE_REQUIRE_ALL")
    with pytest.raises(pytest.skip.Exception, match="qemu"):
        must_have(False, "qemu is not installed")
