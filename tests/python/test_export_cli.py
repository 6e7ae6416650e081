"""`voxtral-edge export`: options, exit codes, messages, progress."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from export_testing import check_package, leftovers, read_manifest

from checkpoints import make_checkpoint
from voxtral_edge.cli.main import main
from voxtral_edge.export.progress import Progress, describe, duration


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("cli") / "my-checkpoint", "mha")


def test_folder_to_package(checkpoint, tmp_path, capsys):
    target = tmp_path / "model"
    assert main(["export", str(checkpoint), "-o", str(target), "--precision", "int8"]) == 0
    assert check_package(target) == "model"
    manifest = read_manifest(target)
    assert set(manifest["precision"].values()) == {"int8"}
    assert manifest["source"]["path"] == "my-checkpoint"
    assert manifest["source"]["revision"] is None
    streams = capsys.readouterr()
    assert streams.out == ""
    assert "both layouts found" in streams.err
    assert f"wrote {target}" in streams.err and "embedding int8" in streams.err


def test_defaults_are_int4_and_the_folder_name(checkpoint, tmp_path):
    target = tmp_path / "model"
    assert main(["export", str(checkpoint), "-o", str(target), "--layout", "mistral", "--name", "x"]) == 0
    manifest = read_manifest(target)
    assert (manifest["name"], manifest["source"]["layout"]) == ("x", "mistral")
    assert {group for group, chosen in manifest["precision"].items() if chosen != "int4"} == {"adapter"}
    assert manifest["precision"]["adapter"] == "int8"


def test_recipe_and_plain_scales(checkpoint, tmp_path):
    recipe = tmp_path / "mixed.toml"
    recipe.write_text('default = "int4"\n[groups]\nembedding = "int8"\n')
    searched, plain = tmp_path / "searched", tmp_path / "plain"
    assert main(["export", str(checkpoint), "-o", str(searched), "--precision", str(recipe)]) == 0
    assert (
        main(["export", str(checkpoint), "-o", str(plain), "--precision", str(recipe), "--absmax-scales"])
        == 0
    )
    assert (searched / "weights.bin").read_bytes() != (plain / "weights.bin").read_bytes()
    assert read_manifest(searched)["precision"]["embedding"] == "int8"
    assert read_manifest(plain)["source"]["int4_scales"] == "absmax / 7"


def test_synthetic(tmp_path, capsys):
    target = tmp_path / "random"
    assert main(["export", "--synthetic", "tiny", "-o", str(target), "--seed", "4"]) == 0
    check_package(target)
    assert (
        read_manifest(target)["source"] | {"layout": "synthetic", "path": "tiny", "seed": 4}
        == read_manifest(target)["source"]
    )
    assert "random weights (seed 4)" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments,code,message",
    [
        ([], 2, "either SRC or --synthetic"),
        (["x", "--synthetic", "tiny"], 2, "either SRC or --synthetic"),
        (["--synthetic", "9b"], 2, "use one of 4b, tiny"),
        (["--synthetic", "tiny", "--precision", "int2"], 2, "unknown precision 'int2'"),
        (["--synthetic", "tiny", "--threads", "0"], 2, "threads must be at least 1"),
        (["no such folder"], 2, "neither a folder nor a hub id"),
        (["CHECKPOINT", "--revision", "main"], 2, "--revision belongs to a hub id"),
        (["EMPTY"], 1, "holds no checkpoint"),
        (["owner/name", "--offline"], 1, "offline, and owner/name is not completely in"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(
    checkpoint, tmp_path, capsys, monkeypatch, arguments, code, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "EMPTY").mkdir()
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    arguments = [str(checkpoint) if argument == "CHECKPOINT" else argument for argument in arguments]
    assert main(["export", *arguments, "-o", "package"]) == code
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("voxtral-edge: error: ") and message in error
    assert not (tmp_path / "package").exists()
    assert leftovers(tmp_path) == []


def test_output_is_required(capsys):
    assert main(["export", "--synthetic", "tiny"]) == 2
    assert "-o" in capsys.readouterr().err


def test_a_stranger_is_refused_with_code_2(checkpoint, tmp_path, capsys):
    (tmp_path / "letter.txt").write_text("dear")
    assert main(["export", str(checkpoint), "-o", str(tmp_path)]) == 2
    assert "is no voxtral-edge package" in capsys.readouterr().err
    assert (tmp_path / "letter.txt").read_text() == "dear"


@pytest.mark.parametrize("number,code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupting_the_command(tmp_path, number, code):
    script = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); import source_export\n"
        "from voxtral_edge.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            script,
            str(Path(__file__).parent),
            "export",
            "--synthetic",
            "4b",
            "-o",
            str(tmp_path / "package"),
            "--precision",
            "int4",
            "--threads",
            "1",
        ],
        stderr=subprocess.DEVNULL,
    )
    # Once its working folder holds weights it is inside the export, which takes many seconds more.
    for _ in range(1200):
        if any(entry.stat().st_size > 0 for entry in tmp_path.glob(".package.partial-*/weights.bin")):
            break
        time.sleep(0.05)
    process.send_signal(number)
    assert process.wait(timeout=60) == code
    assert os.listdir(tmp_path) == []


# ------------------------------------------------------------------ progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_text():
    assert describe(1_050_000_000, 2_490_000_000, 17.0) == " 42 %  1.05/2.49 GB  62 MB/s  0:23 left"
    assert describe(0, 100, 0.0) == "  0 %  0.00/0.00 GB  0 MB/s  -:-- left"
    assert [duration(seconds) for seconds in (0, 59.6, 3599, 3661)] == ["0:00", "1:00", "59:59", "1:01:01"]


def test_progress_is_silent_unless_it_is_a_terminal_or_asked_for():
    for style, stream, expected in (
        ("auto", io.StringIO(), ""),
        ("none", Terminal(), ""),
        ("plain", io.StringIO(), "export: 100 %"),
        ("auto", Terminal(), "\rexport [########################] 100 %"),
        ("bar", io.StringIO(), "\rexport ["),
    ):
        bar = Progress(1000, "export", style, stream)
        bar.advance(1000)
        bar.finish()
        assert stream.getvalue().startswith(expected) and bool(stream.getvalue()) == bool(expected)


def test_plain_progress_of_the_command(checkpoint, tmp_path, capsys):
    assert main(["export", str(checkpoint), "-o", str(tmp_path / "package"), "--progress", "plain"]) == 0
    assert "export: 100 %" in capsys.readouterr().err


def test_what_can_be_refused_is_refused_before_a_download(tmp_path, capsys, monkeypatch):
    from voxtral_edge import hub

    def download(*_: object, **__: object) -> None:
        raise AssertionError("the download of gigabytes began")

    monkeypatch.setattr(hub, "download_checkpoint", download)
    occupied = tmp_path / "occupied"
    occupied.mkdir()
    (occupied / "thesis.txt").write_text("x")
    assert main(["export", "owner/name", "-o", str(tmp_path / "out"), "--precision", "int5"]) == 2
    assert main(["export", "owner/name", "-o", str(occupied)]) == 2
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert main(["export", "owner/name", "-o", str(tmp_path / "out")]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 3
    assert "unknown precision" in errors[0] and "no voxtral-edge package" in errors[1]
    assert "pip install" in errors[2]
