"""The cache of permuted weights through the public face: options, environment, warnings, several processes.

What the file may suffer is in tests/cpp/packed_cache_test.cc.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from front_door import run_cli, sample, start_cli, tiny_engine

import voxtral_edge as ve
from voxtral_edge.errors import UsageError
from voxtral_edge.packed_cache import VARIABLE, cache_files, cache_folder, default_folder

CLIP = sample("zero-to-nine.wav")


def state(engine: ve.Engine) -> str:
    return str(engine.info()["packed_cache"]["state"])


def test_second_start_maps_what_the_first_wrote(tmp_path: Path) -> None:
    expected = tiny_engine().transcribe(CLIP)
    for wanted in ("written", "mapped"):
        engine = ve.load("tiny-en", threads=2, cache_packed=tmp_path)
        assert (state(engine), engine.warnings) == (wanted, [])
        assert engine.transcribe(CLIP).words == expected.words
    (file,) = cache_files(tmp_path)
    assert (file.package, file.bytes) == ("tiny-en", file.path.stat().st_size)
    assert str(file.path) == engine.info()["packed_cache"]["path"]


def test_off_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(VARIABLE, raising=False)
    assert state(ve.load("tiny-en", threads=1)) == "off"
    assert list(tmp_path.iterdir()) == []


def test_the_environment_chooses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "voxtral-edge"
    for value, folder in (
        ("1", tmp_path / "voxtral-edge"),
        (str(tmp_path / "x"), tmp_path / "x"),
        ("0", None),
        ("", None),
    ):
        monkeypatch.setenv(VARIABLE, value)
        assert cache_folder(None) == folder
        assert cache_folder(False) is None
        assert cache_folder(True) == tmp_path / "voxtral-edge"
    monkeypatch.setenv(VARIABLE, "1")
    assert state(ve.load("tiny-en", threads=1)) == "written"
    assert len(cache_files(tmp_path / "voxtral-edge")) == 1
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")  # the standard says: ignore it
    assert default_folder() == Path.home() / ".cache" / "voxtral-edge"


def test_wrong_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "yes")
    with pytest.raises(UsageError, match=VARIABLE):
        ve.load("tiny-en")
    with pytest.raises(UsageError, match="cache_packed"):
        ve.load("tiny-en", cache_packed=3.5)  # type: ignore[arg-type]


def test_command_line(tmp_path: Path) -> None:
    text = run_cli("transcribe", CLIP)[1]
    options = ["transcribe", CLIP, "--cache-packed-dir", tmp_path]
    for _ in range(2):
        assert run_cli(*options) == (0, text, "")
    (file,) = cache_files(tmp_path)
    file.path.write_bytes(file.path.read_bytes()[:-1])
    code, out, err = run_cli(*options)
    assert (code, out) == (0, text)
    assert err.startswith("voxtral-edge: warning: ") and "made again" in err and err.count("\n") == 1
    assert run_cli(*options) == (0, text, "")
    code, out, err = run_cli(
        "transcribe", CLIP, "--no-cache-packed", env={VARIABLE: str(tmp_path / "unused")}
    )
    assert (code, out, err) == (0, text, "") and not (tmp_path / "unused").exists()


def test_a_folder_that_cannot_be_written_is_a_warning() -> None:
    code, out, err = run_cli("transcribe", CLIP, "--cache-packed-dir", "/proc/self/nothing-goes-here")
    assert (code, out) == (0, run_cli("transcribe", CLIP)[1])
    assert "loaded without a cache" in err and err.count("\n") == 1


def test_several_processes_at_once(tmp_path: Path) -> None:
    """Whoever gets the lock writes; the others load as usual or map; all say the same."""
    text = run_cli("transcribe", CLIP)[1]
    for _ in range(3):
        for file in tmp_path.iterdir():
            file.unlink()
        started = [start_cli("transcribe", CLIP, "--cache-packed-dir", tmp_path) for _ in range(4)]
        for process in started:
            out, _ = process.communicate(timeout=120)
            assert (process.returncode, out.decode()) == (0, text)
        assert [file.path for file in cache_files(tmp_path)] == sorted(tmp_path.iterdir())
        assert state(ve.load("tiny-en", threads=1, cache_packed=tmp_path)) == "mapped"


def test_listing_leaves_out_what_is_none(tmp_path: Path) -> None:
    for name, content in (
        ("a.packed", b""),
        ("b.packed", bytes(64)),
        ("c.packed", b"VXEPACK\n" + b"\xff" * 56),
    ):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "d.packed").mkdir()
    assert cache_files(tmp_path) == []
    assert cache_files(tmp_path / "nowhere") == []


def test_checks_do_not_use_the_cache(tmp_path: Path) -> None:
    """`verify` must see the package's own weights, and `doctor` must leave nothing behind."""
    for arguments in (["verify", "tiny-en"], ["doctor", "--megabytes", 8]):
        assert run_cli(*arguments, env={VARIABLE: str(tmp_path)})[0] == 0
    assert list(tmp_path.iterdir()) == []
