"""Import paths and the models that several test files share (made once per run, on first use)."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
# `python -m pytest` puts the checkout first on the path; there voxtral_edge lies without its compiled module and would
# hide the installed package.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]
sys.path.insert(0, str(ROOT / "tests" / "python"))

# Read when numpy and torch load. Our models are far too small to share among threads: those only spin, and the
# diariser's tests took four times the processor time.
for _library in ("OMP", "OPENBLAS", "MKL"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")

# A shell's background job ignores Ctrl-C, and so would every program the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

from native_testing import Models, must_have  # noqa: E402 - needs the path


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Models]:
    """Random checkpoints, their packages and engines, and the demo model's."""
    yield Models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def onnxruntime() -> None:
    """Tests that compare with onnxruntime ask for this."""
    must_have(importlib.util.find_spec("onnxruntime") is not None, "onnxruntime is not installed")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With -n, files stay whole unless --dist says otherwise: their tests share models, servers and C++ builds."""
    from xdist.scheduler import LoadFileScheduling

    return LoadFileScheduling(config, log) if config.getoption("dist") == "load" else None
