"""The C++ tests, built and run four ways: plain, address + undefined behaviour sanitizers, thread sanitizer, and
cross-compiled for 64-bit Arm under qemu. Every test file is reported by itself.

From nothing this is nearly half of a whole run; the builds are kept for the next (see cpp_testing.py).
"""

from __future__ import annotations

import os
import re
import subprocess
import uuid
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import pytest
from cpp_testing import BUILDS, JOBS, build_folder, compile_targets
from native_testing import ROOT, must_have

# One value for all workers of a parallel run: the first builds, the others read its results.
RUN = os.environ.get("PYTEST_XDIST_TESTRUNUID", uuid.uuid4().hex)

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
THREADED = [file for file in FILES if not re.search(NOT_UNDER_THREAD, file)]
pytestmark = pytest.mark.slow


@dataclass
class Outcome:
    """One ctest case: its status as ctest says ("run" is passed) and what it printed."""

    status: str
    output: str


def build_and_run(build: str, folder: Path) -> None:
    """Configures, compiles and tests; leaves ctest's report in results.xml and RUN in results.of."""
    compile_targets(build, folder, THREADED if build == "thread" else [])
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
    with build_folder(build, config) as folder:
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


@pytest.mark.parametrize(
    "build, file", [(build, file) for build in BUILDS for file in (THREADED if build == "thread" else FILES)]
)
def test_cpp(
    build: str, file: str, pytestconfig: pytest.Config, outcomes: dict[str, dict[str, Outcome]]
) -> None:
    cases = {
        name: case for name, case in results(build, pytestconfig, outcomes).items() if file_of(name) == file
    }
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
