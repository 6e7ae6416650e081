"""Memory while loading: it stays near the weights' size, and too little of it is an error that says so."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import source_export  # noqa: F401 - makes voxtral_edge.export importable

import voxtral_edge as ve
from voxtral_edge.errors import DeviceError
from voxtral_edge.export import export_package
from voxtral_edge.export import synthetic as synthetic_module
from voxtral_edge.export.synthetic import SYNTHETIC_MODELS, SyntheticCheckpoint

# What loading may take beyond weights and attention state. The promise is 300 MB at any size; measured: 25 MB.
MARGIN_BYTES = 60_000_000

_LOAD = """
import json, sys
from pathlib import Path
import numpy as np
import voxtral_edge as ve
from voxtral_edge._native import native_module
def status(key):
    return int(Path("/proc/self/status").read_text().split(key + ":")[1].split()[0]) * 1024
native_module()
before = status("VmRSS")
folder = sys.argv[2] or False
engine = ve.load(sys.argv[1], threads=4, cache_packed=folder)
with engine.stream() as stream:
    stream.feed(np.zeros(16000, np.float32))
info = engine.info()
print(json.dumps({"peak": status("VmHWM") - before, "anonymous": status("RssAnon"), **info}))
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """220 MB at int8: the 4B model with a few layers of its width and a smaller vocabulary."""
    full = SYNTHETIC_MODELS["4b"]
    config = replace(
        full,
        encoder=replace(full.encoder, layers=1),
        decoder=replace(full.decoder, layers=1, vocab_size=16384),
        tokens=replace(full.tokens, vocab_size=16384),
    )
    folder = tmp_path_factory.mktemp("memory") / "package"
    patch = pytest.MonkeyPatch()
    patch.setitem(synthetic_module.SYNTHETIC_MODELS, "one-layer", config)
    export_package(SyntheticCheckpoint("one-layer"), folder, precision="int8")
    patch.undo()
    assert 200_000_000 < (folder / "weights.bin").stat().st_size < 260_000_000
    return folder


def loaded(package: Path, cache: object = "") -> dict[str, object]:
    ran = subprocess.run(
        [sys.executable, "-c", _LOAD, str(package), str(cache)], capture_output=True, text=True, check=True
    )
    return json.loads(ran.stdout)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_peak_stays_near_the_weights(package: Path, tmp_path: Path) -> None:
    plain = loaded(package)
    assert plain["peak"] <= plain["weight_bytes"] + plain["state_bytes"] + MARGIN_BYTES
    for state in ("written", "mapped"):
        cached = loaded(package, tmp_path)
        assert cached["packed_cache"]["state"] == state
        assert cached["peak"] <= cached["weight_bytes"] + cached["state_bytes"] + MARGIN_BYTES
    # The weights are pages of the file, not memory of the process.
    assert cached["anonymous"] <= plain["anonymous"] - 0.9 * plain["weight_bytes"]


def test_weights_that_cannot_fit_are_refused_before_loading(package: Path) -> None:
    """Which limits count, and that mapped weights are not refused: memory_test.cc and native_engine_test.cc."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmSize" in line)
    resource.setrlimit(resource.RLIMIT_AS, (int(used.split()[1]) * 1024 + 100_000_000, before[1]))
    try:
        with pytest.raises(DeviceError, match=r"need 0\.2\d GB .* 0\.\d\d GB can be had; .*--cache-packed"):
            ve.load(package, cache_packed=False)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize("megabytes", [20, 120, 230, 240, 260])
def test_a_limited_address_space_ends_in_one_line(package: Path, megabytes: int) -> None:
    """Wherever the limit strikes, in Python, threads or weights: an error, never a crash."""
    program = (
        "import resource, sys, os; sys.path[:] = [p for p in sys.path if p not in ('', os.getcwd())]\n"
        "import numpy, voxtral_edge.cli.transcribe, voxtral_edge._native\n"
        "from voxtral_edge.cli.main import main\n"
        "voxtral_edge._native.native_module()\n"
        "used = next(int(l.split()[1]) for l in open('/proc/self/status') if 'VmSize' in l) * 1024\n"
        f"limit = used + {megabytes << 20}\n"
        "resource.setrlimit(resource.RLIMIT_AS, (limit, limit))\n"
        f"sys.exit(main(['transcribe', '-m', {str(package)!r}, '--threads', '2', '-']))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], input=bytes(3200), capture_output=True, check=False, timeout=120
    )
    err = ran.stderr.decode()
    assert ran.returncode == 1, (ran.returncode, err)
    assert err.startswith("voxtral-edge: error: ") and err.count("\n") == 1 and "memory" in err
