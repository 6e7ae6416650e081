"""Writing whole files, and leaving alone what is no file."""

from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path

import pytest
from front_door import run_cli, sample, start_cli

from voxtral_edge.errors import DeviceError
from voxtral_edge.files import check_writable, write_whole


def test_files_are_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a.txt"
    write_whole(target, "first\n")
    target.chmod(0o640)
    write_whole(target, "sécond\n")
    assert target.read_text(encoding="utf-8") == "sécond\n"
    assert target.stat().st_mode & 0o777 == 0o640

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DeviceError, match="No space left"):
        write_whole(target, "third\n")
    assert target.read_text(encoding="utf-8") == "sécond\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_bytes_of_a_name_that_are_no_text_become_question_marks(tmp_path: Path) -> None:
    write_whole(tmp_path / "a.txt", os.fsdecode(b"caf\xe9.wav"))
    assert (tmp_path / "a.txt").read_text() == "caf?.wav"


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    link = tmp_path / "link.txt"
    link.symlink_to("folder/real.txt")
    for text in ("first", "second"):
        check_writable(link)
        write_whole(link, text)
        assert link.is_symlink() and (tmp_path / "folder" / "real.txt").read_text() == text
    assert len(list(tmp_path.rglob("*"))) == 3


def test_a_pipe_is_written_to_and_stays(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    check_writable(pipe)  # nobody reads yet
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    write_whole(pipe, "text")
    reader.join(10)
    assert read == ["text"] and stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_device_that_is_full_is_an_error_and_stays() -> None:
    check_writable(Path("/dev/full"))
    with pytest.raises(DeviceError, match="No space left"):
        write_whole(Path("/dev/full"), "text")
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    for write in (check_writable, lambda path: write_whole(path, "text")):
        with pytest.raises(DeviceError, match="Is a directory"):
            write(tmp_path)


@pytest.mark.parametrize("into_file", [True, False])
def test_dev_stdout_is_standard_output(tmp_path: Path, into_file: bool) -> None:
    arguments = ("transcribe", sample("pin.ogg"), "-o", "/dev/stdout")
    if not into_file:
        assert run_cli(*arguments) == (0, "nine six four zero\n", "")
        return
    with open(tmp_path / "out.txt", "w") as out:
        assert start_cli(*arguments, stdout=out).wait(60) == 0
    assert (tmp_path / "out.txt").read_text() == "nine six four zero\n"
    assert Path("/dev/stdout").is_symlink()


@pytest.mark.parametrize("option", ["--json", "--html"])
def test_a_measurement_is_not_begun_for_a_file_that_cannot_be(tmp_path: Path, option: str) -> None:
    code, out, err = run_cli("bench", "--seconds", "100000", option, tmp_path)
    assert (code, out) == (1, "") and "Is a directory" in err


def test_two_recordings_of_one_name_keep_their_turns(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    other = tmp_path / "pin.wav"
    other.write_bytes(sample("pin.ogg").read_bytes())
    assert run_cli("transcribe", sample("pin.ogg"), other, "--rttm", f"{tmp_path}/rttm/")[0] == 0
    assert sorted(path.name for path in (tmp_path / "rttm").iterdir()) == ["pin.ogg.rttm", "pin.wav.rttm"]
