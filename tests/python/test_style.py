"""Formatting, types and file sizes, with the tools pinned in pyproject.toml."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("csrc", "tests", "benchmarks", "export", "voxtral_edge")
MOST_LINES = 500


def run(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def source_files(*suffixes: str) -> list[Path]:
    files = [
        path for folder in SOURCES for suffix in suffixes for path in (ROOT / folder).rglob(f"*{suffix}")
    ]
    assert files
    return files


def test_ruff() -> None:
    run(sys.executable, "-m", "ruff", "check", "--no-cache", ".")
    run(sys.executable, "-m", "ruff", "format", "--check", "--no-cache", ".")


@pytest.mark.slow
def test_mypy(tmp_path: Path) -> None:
    run(sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path))


def test_clang_format() -> None:
    tool = Path(sys.executable).parent / "clang-format"
    examples = (ROOT / "examples").rglob("*.c")
    run(str(tool), "--dry-run", "--Werror", *map(str, (*source_files(".cc", ".h"), *examples)))


def test_files_stay_small() -> None:
    """One concept per file: nobody should need to scroll through more."""
    long = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for path in source_files(".py", ".cc", ".h")
    }
    assert {name: lines for name, lines in long.items() if lines > MOST_LINES} == {}


def test_test_files_have_names_of_their_own() -> None:
    """Folders of tests are no packages: two files of one name cannot be collected in one run."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))
