"""The cache of permuted weights through the public face: options, environment, warnings, several processes.

What the file may suffer is in tests/cpp/packed_cache_test.cc.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

import pytest
from front_door import run_cli, sample, start_cli, tiny_engine

import voxtral_edge as ve
from voxtral_edge.errors import ModelFormatError, UsageError
from voxtral_edge.package_folder import find_package
from voxtral_edge.packed_cache import (
    VARIABLE,
    CacheChoice,
    cache_choice,
    cache_files,
    cache_path,
    default_folder,
    unfinished_files,
)

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


def test_by_default_none_is_made_and_one_that_is_there_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(VARIABLE, raising=False)
    assert state(ve.load("tiny-en", threads=1)) == "off"
    assert list(tmp_path.iterdir()) == []
    assert state(ve.load("tiny-en", threads=1, cache_packed=True)) == "written"
    assert state(ve.load("tiny-en", threads=1)) == "mapped"
    assert state(ve.load("tiny-en", threads=1, cache_packed=False)) == "off"
    monkeypatch.setenv(VARIABLE, "0")
    assert state(ve.load("tiny-en", threads=1)) == "off"


def test_another_installation_of_the_same_package_maps_it(tmp_path: Path) -> None:
    ve.load("tiny-en", threads=1, cache_packed=tmp_path / "cache")
    copy = tmp_path / "copy"
    shutil.copytree(find_package("tiny-en"), copy)
    for file in copy.iterdir():
        os.utime(file, (1, 1))
    engine = ve.load(copy, threads=1, cache_packed=tmp_path / "cache")
    assert (state(engine), engine.warnings) == ("mapped", [])


def test_nothing_is_kept_of_a_damaged_package(tmp_path: Path) -> None:
    package = tmp_path / "package"
    shutil.copytree(find_package("tiny-en"), package)
    weights = package / "weights.bin"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ModelFormatError, match=r"weights\.bin.*SHA-256.*copy or export"):
        ve.load(package, threads=1, cache_packed=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_file_that_does_not_fit_is_left_alone_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(VARIABLE, raising=False)
    path = cache_path(find_package("tiny-en"), default_folder())
    path.parent.mkdir()
    path.write_bytes(bytes(5000))
    (warning,) = ve.load("tiny-en", threads=1).warnings
    assert "not a cache of permuted weights; loaded without it, `voxtral-edge cache add`" in warning
    assert path.read_bytes() == bytes(5000)


def test_a_user_without_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    assert cache_choice(None) is None and state(ve.load("tiny-en", threads=1)) == "off"
    with pytest.raises(UsageError, match="cache_packed"):
        cache_choice(True)


def test_the_environment_chooses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "voxtral-edge"
    kept = CacheChoice(tmp_path / "voxtral-edge", write=True)
    for value, choice in (
        ("1", kept),
        (str(tmp_path / "x"), CacheChoice(tmp_path / "x", write=True)),
        ("0", None),
        ("", CacheChoice(tmp_path / "voxtral-edge", write=False)),
    ):
        monkeypatch.setenv(VARIABLE, value)
        assert cache_choice(None) == choice
        assert cache_choice(False) is None
        assert cache_choice(True) == kept
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


def test_the_cache_command(tmp_path: Path) -> None:
    env = {"XDG_CACHE_HOME": str(tmp_path), VARIABLE: ""}
    folder = tmp_path / "voxtral-edge"
    code, out, err = run_cli("cache", env=env)
    assert (code, err) == (0, "") and "no permuted weights" in out and not folder.exists()
    assert run_cli("cache", "add", "tiny-en", env=env)[1].endswith("MB\n")
    assert "was there and fits" in run_cli("cache", "add", "tiny-en", env=env)[1]
    (file,) = cache_files(folder)
    assert file.path == cache_path(find_package("tiny-en"), folder)
    left = folder / "killed-0123456789abcdef.packed.partial"
    left.write_bytes(b"half")
    out = run_cli("cache", env=env)[1]
    assert f"{file.path}: tiny-en, " in out and f"{left}: left unfinished" in out
    code, _, err = run_cli("cache", "remove", "other", env=env)
    assert code == 2 and "holds no other; there is: tiny-en" in err and file.path.exists()
    assert run_cli("cache", "remove", env=env)[0] == 2
    assert run_cli("cache", "remove", "tiny-en", env=env) == (0, f"{file.path}: removed\n", "")
    assert left.exists()
    assert run_cli("cache", "remove", "--all", env=env)[0] == 0 and list(folder.iterdir()) == []


def test_the_cache_command_says_what_cannot_be_written() -> None:
    code, _, err = run_cli("cache", "--cache-packed-dir", "/proc/self/nothing", "add", "tiny-en")
    assert code == 1 and "/proc/self/nothing" in err


def test_what_is_being_written_is_not_left_unfinished(tmp_path: Path) -> None:
    path = tmp_path / "x-0123456789abcdef.packed.partial"
    path.write_bytes(b"half")
    assert unfinished_files(tmp_path) == [path]
    with path.open("rb") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        assert unfinished_files(tmp_path) == []


def test_export_can_permute_at_once(tmp_path: Path) -> None:
    env = {"XDG_CACHE_HOME": str(tmp_path)}
    package = tmp_path / "package"
    words = ["export", "--synthetic", "tiny", "-o", package, "--cache-packed", "--progress", "none"]
    code, _, err = run_cli(*words, env=env)
    assert code == 0, err
    path = cache_path(package, tmp_path / "voxtral-edge")
    assert f"{path}: made" in err and [file.path for file in cache_files(path.parent)] == [path]


def test_checks_do_not_use_the_cache(tmp_path: Path) -> None:
    """`verify` must see the package's own weights, and `doctor` must leave nothing behind."""
    for arguments in (["verify", "tiny-en"], ["doctor", "--megabytes", 8]):
        assert run_cli(*arguments, env={VARIABLE: str(tmp_path)})[0] == 0
    assert list(tmp_path.iterdir()) == []
