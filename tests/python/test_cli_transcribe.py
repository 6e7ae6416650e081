"""`voxtral-edge transcribe` as people run it: in a process of its own, on files, pipes and wrong input."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from front_door import (
    ROOT,
    raw_pcm,
    run_cli,
    sample,
    sample_text,
    samples,
    start_cli,
    start_python,
    tiny_engine,
)

from voxtral_edge.audio import read_audio
from voxtral_edge.cli.main import COMMANDS, build_parser, main
from voxtral_edge.cli.progress import LONG_AUDIO_SECONDS, Progress, minutes, progress_line
from voxtral_edge.package_folder import find_package

# --- text


@pytest.mark.parametrize("entry", samples(), ids=lambda entry: entry["file"])
def test_one_file_prints_its_text(entry) -> None:
    code, out, err = run_cli("transcribe", sample(entry["file"]))
    assert (code, out, err) == (0, entry["text"] + "\n", "")


def test_several_files_are_named() -> None:
    code, out, _ = run_cli("transcribe", "samples/pin.ogg", "samples/room.mp3")
    assert code == 0
    assert out == (
        "==> samples/pin.ogg <==\nnine six four zero\n\n==> samples/room.mp3 <==\nthree zero six\n\n"
    )


@pytest.mark.parametrize("arguments", [["-"], ["--stdin"], ["-", "--stdin"]])
def test_raw_samples_on_standard_input(arguments: list[str]) -> None:
    code, out, err = run_cli("transcribe", *arguments, data=raw_pcm("room.mp3"))
    assert (code, out, err) == (0, "three zero six\n", "")


def test_the_onnxruntime_engine_gives_the_same_text() -> None:
    pytest.importorskip("onnxruntime")
    code, out, _ = run_cli("transcribe", sample("pin.ogg"), "--engine", "onnxruntime", "--threads", 1)
    assert (code, out) == (0, "nine six four zero\n")


@pytest.mark.parametrize("delay_ms", [160, 960])
def test_the_delay_can_be_chosen(delay_ms: int) -> None:
    code, out, _ = run_cli("transcribe", sample("room.mp3"), "--delay-ms", delay_ms)
    assert (code, out) == (0, "three zero six\n")


# --- formats


def test_subtitles() -> None:
    code, out, _ = run_cli("transcribe", sample("serial-numbers.flac"), "--format", "srt")
    assert code == 0
    blocks = out.strip().split("\n\n")
    assert [block.split("\n")[0] for block in blocks] == [str(n) for n in range(1, len(blocks) + 1)]
    text = " ".join(" ".join(block.split("\n")[2:]) for block in blocks)
    assert text == sample_text("serial-numbers.flac")
    code, out, _ = run_cli("transcribe", sample("serial-numbers.flac"), "--format", "vtt", "--words")
    assert code == 0 and out.startswith("WEBVTT\n")
    assert out.count("-->") == len(blocks)
    assert re.search(r"<00:00:\d\d\.\d{3}>", out)


def test_json_has_words_and_says_what_made_it() -> None:
    code, out, _ = run_cli("transcribe", sample("pin.ogg"), "--format", "json", "--delay-ms", 320)
    document = json.loads(out)
    assert code == 0
    assert document["text"] == "nine six four zero"
    assert (document["model"], document["engine"], document["delay_ms"]) == ("tiny-en", "native", 320)
    words = [word for segment in document["segments"] for word in segment["words"]]
    assert [word["text"] for word in words] == document["text"].split()
    assert document["duration_s"] == pytest.approx(3.797, abs=0.01)


def test_json_of_several_files_is_one_list() -> None:
    code, out, _ = run_cli("transcribe", sample("pin.ogg"), sample("room.mp3"), "--format", "json")
    assert code == 0
    assert [document["text"] for document in json.loads(out)] == ["nine six four zero", "three zero six"]


def test_jsonl_is_the_event_stream() -> None:
    code, out, _ = run_cli("transcribe", sample("room.mp3"), "--format", "jsonl")
    events = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert "".join(e["text"] for e in events if e["type"] == "text").strip() == "three zero six"
    assert [e["text"] for e in events if e["type"] == "word"] == ["three", "zero", "six"]
    assert events[-1] == {"type": "final", "text": "three zero six"}
    assert "file" not in events[0]
    assert not re.search(r"\d\.\d{5}", out)  # no 0.5650000000000001
    _, out, _ = run_cli("transcribe", "samples/room.mp3", "samples/pin.ogg", "--format", "jsonl")
    assert {json.loads(line)["file"] for line in out.splitlines()} == {"samples/room.mp3", "samples/pin.ogg"}


def test_words_in_plain_text() -> None:
    code, out, _ = run_cli("transcribe", sample("room.mp3"), "--words")
    assert code == 0
    assert [line.split("\t")[2] for line in out.splitlines()] == ["three", "zero", "six"]


# --- files


@pytest.mark.parametrize("file_format", ["txt", "srt", "vtt", "json", "jsonl"])
def test_output_to_a_folder(tmp_path: Path, file_format: str) -> None:
    folder = tmp_path / "new" / "folder"
    code, out, err = run_cli(
        "transcribe", sample("pin.ogg"), sample("room.mp3"), "--format", file_format, "-o", f"{folder}/"
    )
    assert (code, out, err) == (0, "", "")
    assert sorted(path.name for path in folder.iterdir()) == [f"pin.{file_format}", f"room.{file_format}"]
    assert "zero" in (folder / f"room.{file_format}").read_text(encoding="utf-8")


def test_output_to_a_file_and_equal_names(tmp_path: Path) -> None:
    code, out, _ = run_cli("transcribe", sample("pin.ogg"), "-o", tmp_path / "a.txt")
    assert (code, out, (tmp_path / "a.txt").read_text()) == (0, "", "nine six four zero\n")
    soundfile.write(tmp_path / "pin.wav", read_audio(sample("pin.ogg")), 16000)
    code, _, _ = run_cli("transcribe", sample("pin.ogg"), tmp_path / "pin.wav", "-o", f"{tmp_path}/out/")
    assert code == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["pin.ogg.txt", "pin.wav.txt"]


def test_file_names_that_are_not_text(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9 \xff.ogg"
    Path(os.fsdecode(path)).write_bytes(sample("pin.ogg").read_bytes())
    for file_format in ("txt", "json", "jsonl", "srt"):
        code, _, err = run_cli("transcribe", path.decode("utf-8", "surrogateescape"), "--format", file_format)
        assert (code, err) == (0, "")
    code, out, _ = run_cli("transcribe", os.fsdecode(path), sample("room.mp3"), "--format", "json")
    assert code == 0 and json.loads(out)[0]["file"].endswith("caf\ufffd \ufffd.ogg")
    assert run_cli("transcribe", os.fsdecode(path), "-o", f"{tmp_path}/out/")[0] == 0
    assert (tmp_path / "out" / os.fsdecode(b"caf\xe9 \xff.txt")).read_text() == "nine six four zero\n"
    code, _, err = run_cli("transcribe", os.fsdecode(path) + "x")
    assert code == 1 and "No such file" in err


def test_package_folders_that_are_not_text(tmp_path: Path) -> None:
    """Any name that the system allows, for packages, caches and what is written."""
    package, cache = f"{tmp_path}/caf\udce9 \n\udcff", f"{tmp_path}/cache\udcff"
    shutil.copytree(tiny_engine().directory, package)
    assert run_cli("cache", "add", package, "--cache-packed-dir", cache)[0] == 0
    options = ("-m", package, "--cache-packed-dir", cache)
    assert run_cli("transcribe", sample("pin.ogg"), *options) == (0, "nine six four zero\n", "")
    assert len(os.listdir(cache)) == 1
    assert run_cli("verify", "--no-engines", package)[0] == 0
    code, _, err = run_cli("transcribe", sample("pin.ogg"), "-m", package, "--engine", "onnxruntime")
    assert code == 2 and "names in UTF-8" in err
    report = tmp_path / "report.json"
    bench = ("bench", "-m", package, "--seconds", "1", "--warmup", "1", "--json", report)
    assert run_cli(*bench)[0] == 0 and json.loads(report.read_text())["model"]
    os.truncate(f"{package}/weights.bin", 100)
    code, _, err = run_cli("transcribe", sample("pin.ogg"), "-m", package)
    assert code == 1 and "weights.bin: has 100 bytes" in err


# --- wrong use and bad input


@pytest.mark.parametrize(
    ("arguments", "code", "hint"),
    [
        ([], 2, "no audio given"),
        (["samples/pin.ogg", "--delay-ms", "100"], 2, "80, 160, 240"),
        (["samples/pin.ogg", "-m", "nothing"], 2, "tiny-en"),
        (["samples/pin.ogg", "-m", "owner/name"], 2, "voxtral-edge export"),
        (["samples/pin.ogg", "-m", "checkpoints/tiny-en"], 1, "voxtral-edge export"),
        (["samples/pin.ogg", "--threads", "0"], 2, "threads"),
        (["samples/pin.ogg", "--threads", "100000"], 2, "1 to 1024"),
        (["samples/pin.ogg", "--max-line", "0"], 2, "--max-line: '0' is no whole number above 0"),
        (["samples/pin.ogg", "-o", "samples/pin.ogg"], 2, "would be overwritten"),
        (["samples/pin.ogg", "--rttm", "samples/pin.ogg"], 2, "would be overwritten"),
        (["samples/pin.ogg", "-o", "/dev/full"], 1, "No space left"),
        (["samples/pin.ogg", "--format", "srt", "--words"], 2, "srt has no place"),
        (["samples/pin.ogg", "samples/room.mp3", "--format", "vtt"], 2, "-o DIR"),
        (["samples/pin.ogg", "samples/room.mp3", "-o", "samples/samples.json"], 2, "folder"),
        (["a/x.wav", "b/x.wav", "-o", "out/"], 2, "two folders"),
        (["-", "-"], 2, "only once"),
        ([""], 2, "argument AUDIO: the value is empty"),
        (["samples/pin.ogg", "-o", ""], 2, "argument -o/--output: the value is empty"),
        (["samples/pin.ogg", "-m", " "], 2, "argument -m/--model: the value is empty"),
        (["nothing.wav"], 1, "No such file"),
        (["samples"], 1, "is a folder"),
        (["samples/README.md"], 1, "not a readable audio file"),
    ],
)
def test_errors_are_one_line_with_advice(arguments: list[str], code: int, hint: str) -> None:
    got, out, err = run_cli("transcribe", *arguments)
    assert got == code
    assert out == ""
    assert err.startswith("voxtral-edge: error: ") and err.count("\n") == 1
    assert hint in err


@pytest.mark.parametrize(
    "arguments", [["--format", "mp4", "a.wav"], ["--engine", "cuda", "a.wav"], ["--bogus"]]
)
def test_unknown_options_are_wrong_usage(arguments: list[str]) -> None:
    code, _, err = run_cli("transcribe", *arguments)
    assert code == 2 and re.search(r"^voxtral-edge( transcribe)?: error: ", err, re.MULTILINE)


def test_one_bad_file_does_not_stop_the_others(tmp_path: Path) -> None:
    broken = tmp_path / "broken.flac"
    data = sample("phone-number.flac").read_bytes()
    broken.write_bytes(data[: len(data) // 2])
    code, out, err = run_cli("transcribe", "nothing.wav", broken, sample("pin.ogg"))
    assert code == 1
    assert out.endswith("nine six four zero\n\n")
    assert [line.split(": ")[1] for line in err.splitlines()] == ["error", "error"]
    assert "nothing.wav" in err and "corrupt after" in err


def test_a_file_in_the_pipe_and_half_a_sample() -> None:
    code, _, err = run_cli("transcribe", "-", data=sample("zero-to-nine.wav").read_bytes())
    assert code == 1 and "carries a WAV file" in err
    code, out, err = run_cli("transcribe", "-", data=raw_pcm("room.mp3") + b"\0")
    assert (code, out) == (0, "three zero six\n")
    assert err.startswith("voxtral-edge: warning: ") and "odd number of bytes" in err


def test_truncated_files_are_transcribed_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "cut.wav"
    path.write_bytes(sample("zero-to-nine.wav").read_bytes()[: 44 + 2 * 8000 * 4])
    code, out, err = run_cli("transcribe", path)
    assert code == 0 and out.startswith("zero one two three")
    assert "warning" in err and "truncated" in err


def test_debug_shows_the_traceback_and_normal_runs_do_not() -> None:
    _, _, err = run_cli("transcribe", "nothing.wav", "--debug")
    assert "Traceback" in err and "voxtral-edge: error: nothing.wav" in err


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with open("/dev/full", "wb") as full:
        result = subprocess.run(
            [sys.executable, "-c", "import sys; from voxtral_edge.cli.main import main; sys.exit(main())",
             "transcribe", str(sample("pin.ogg"))],
            stdout=full, stderr=subprocess.PIPE, timeout=60, cwd=tmp_path, check=False,
        )  # fmt: skip
    assert result.returncode == 1
    assert b"No space left" in result.stderr and b"Traceback" not in result.stderr


# --- the program as a whole


def test_help_names_exactly_the_commands_that_exist() -> None:
    code, out, _ = run_cli("--help")
    assert code == 0
    assert {"transcribe", "export", "verify", "doctor"} <= set(COMMANDS)
    for command in COMMANDS:
        assert re.search(rf"^\s+{command}\b", out, re.MULTILINE)
        assert run_cli(command, "--help")[0] == 0
    code, out, err = run_cli()
    assert (code, out) == (2, "") and "usage:" in err
    assert run_cli("frobnicate")[0] == 2


def test_the_module_is_the_command() -> None:
    process = start_python("-m", "voxtral_edge", "transcribe", sample("pin.ogg"))
    assert process.communicate(timeout=60) == (b"nine six four zero\n", b"") and process.returncode == 0


def test_version(capsys) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("voxtral-edge ")


def test_unexpected_errors_are_one_line_too(monkeypatch, capsys) -> None:
    import voxtral_edge.cli.transcribe as command

    def boom(args: object) -> int:
        raise ZeroDivisionError("surprise\nin two lines")

    monkeypatch.setattr(command, "run", boom)
    assert main(["transcribe", "a.wav"]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "internal error (ZeroDivisionError: surprise in two lines)" in err


def test_options_may_stand_before_and_after_the_files() -> None:
    args = build_parser(["transcribe"]).parse_args(
        ["transcribe", "--format", "srt", "a.wav", "b.wav", "-m", "x"]
    )
    assert (args.audio, args.format, args.model) == (["a.wav", "b.wav"], "srt", "x")


# --- progress


def test_progress_line() -> None:
    assert progress_line(751, 3600, 315.4) == "0:12:31 of 1:00:00   21%  RTF 0.42  ETA 19:56".replace(
        "0:12", "12", 1
    )
    assert progress_line(0, 60, 1) == "0:00 of 1:00    0%  RTF 0.00  ETA –"
    assert progress_line(90, None, 45) == "1:30  RTF 0.50"
    assert [minutes(s) for s in (0, 59.9, 60, 3600, 36000)] == ["0:00", "0:59", "1:00", "1:00:00", "10:00:00"]


def test_progress_in_a_log_is_whole_lines() -> None:
    log = io.StringIO()
    progress = Progress(100.0, True, "a.wav", log)
    progress.update(50.0)  # too soon after the start: nothing
    progress.finish(100.0)
    assert log.getvalue().count("\n") == 1 and log.getvalue().startswith("a.wav  1:40 of 1:40")
    silent = io.StringIO()
    Progress(100.0, False, "", silent).finish(100.0)
    assert silent.getvalue() == ""


def test_progress_is_shown_when_asked_for_and_never_on_standard_output() -> None:
    code, out, err = run_cli("transcribe", sample("serial-numbers.flac"), "--progress")
    assert (code, out) == (0, sample_text("serial-numbers.flac") + "\n")
    assert "0:22 of 0:22" in err and "100%" in err
    assert run_cli("transcribe", sample("serial-numbers.flac"))[2] == ""


@pytest.mark.parametrize("model", [(), ("-m", find_package("tiny-en"))], ids=["by default", "by its folder"])
def test_on_a_terminal_the_demo_model_says_what_it_knows(model: tuple[object, ...]) -> None:
    controller, terminal = pty.openpty()
    process = start_cli("transcribe", sample("pin.ogg"), *model, stderr=terminal)
    os.close(terminal)
    assert process.communicate(timeout=60)[0] == b"nine six four zero\n"
    try:
        shown = os.read(controller, 4096)
    except OSError:  # nothing was written before the other side was closed
        shown = b""
    os.close(controller)
    assert shown.count(b"\n") == (0 if model else 1) and (b"digits" in shown) == (not model)


def test_progress_on_a_terminal_is_erased_at_the_end(tmp_path: Path) -> None:
    """stderr is a terminal, standard output is not: the line is rewritten in place and gone when all is
    done."""
    pcm = np.tile(read_audio(sample("serial-numbers.flac")), 20)
    assert len(pcm) / 16000 > LONG_AUDIO_SECONDS
    soundfile.write(tmp_path / "long.wav", pcm, 16000)
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys; from voxtral_edge.cli.main import main; sys.exit(main())",
         "transcribe", str(tmp_path / "long.wav"), "--threads", "1", "-m", str(find_package("tiny-en"))],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=terminal, cwd=tmp_path,
    )  # fmt: skip
    os.close(terminal)
    shown = b""
    while True:
        try:
            piece = os.read(controller, 4096)
        except OSError:  # the other side is closed
            break
        if not piece:
            break
        shown += piece
    out = process.communicate(timeout=120)[0]
    os.close(controller)
    assert process.returncode == 0 and out.endswith(b"\n")
    assert b"\n" not in shown
    assert shown == b"" or shown.endswith(b"\r")


def test_the_repository_has_what_the_commands_name() -> None:
    assert (ROOT / "samples" / "LICENSE-CC-BY-SA-3.0.txt").is_file()


@pytest.mark.parametrize("redirection,code", [("<&-", 1), (">&-", 1), ("2>&-", 0), (">/dev/full", 1)])
def test_closed_and_full_standard_streams(redirection: str, code: int) -> None:
    """What a supervisor or a full disk does to the streams is one line, not an internal error."""
    source = "-" if redirection == "<&-" else "samples/pin.ogg"
    command = f'exec "$0" -m voxtral_edge.cli.main transcribe {source} {redirection}'
    done = subprocess.run(["sh", "-c", command, sys.executable], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == code
    if code:
        assert done.stdout == "" and "internal error" not in done.stderr
        assert len(done.stderr.splitlines()) == 1 and "standard" in done.stderr
    else:
        assert done.stdout.strip() == sample_text("pin.ogg") and done.stderr == ""


def test_an_output_that_cannot_be_written_is_found_out_first(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    target = tmp_path / "file" / "out.txt"
    code, out, err = run_cli("transcribe", sample("pin.ogg"), "-m", "no such model", "-o", target)
    assert (code, out) == (1, "")
    assert str(target) in err and "cannot be written" in err and "model" not in err


def test_messages_do_not_share_a_line_with_the_text(tmp_path: Path) -> None:
    whole = sample("zero-to-nine.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(whole[: len(whole) // 2])
    process = start_cli("transcribe", tmp_path / "cut.wav", env={"PYTHONUNBUFFERED": "1"})
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0 and out.startswith(b"zero one") and out.endswith(b"\n")
    assert err.startswith(b"voxtral-edge: warning: ") and b"truncated" in err
    merged = subprocess.run(
        [sys.executable, "-m", "voxtral_edge.cli.main", "transcribe", str(tmp_path / "cut.wav")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ).stdout
    assert "\nvoxtral-edge: warning: " in merged
