"""Import paths and the models that several test files share (made once per run, on first use)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# `python -m pytest` puts the checkout first on the path; there voxtral_edge lies without its compiled module and would
# hide the installed package.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]
sys.path.insert(0, str(ROOT / "tests" / "python"))

from native_testing import Models  # noqa: E402 - needs the path


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Models]:
    """Random checkpoints, their packages and engines, and the demo model's."""
    yield Models(tmp_path_factory.mktemp("models"))
