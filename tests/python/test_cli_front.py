"""What subcommands have in common: help in any terminal, wrong usage in one line, no empty values, short numbers."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pty
import re

import pytest
from front_door import run_cli, sample, start_cli

from voxtral_edge.cli.columns import named_lines
from voxtral_edge.cli.main import COMMANDS, build_parser

HELPS = [[], *([name] for name in COMMANDS), ["cache", "add"], ["cache", "remove"], ["bench", "compare"]]


@pytest.mark.parametrize("command", HELPS, ids=" ".join)
def test_help_fits_the_terminal(command: list[str]) -> None:
    for columns in (40, 80, 200):
        code, out, err = run_cli(*command, "--help", env={"COLUMNS": str(columns)})
        assert (code, err) == (0, "")
        # Examples and choices are not broken.
        prose = [line for line in out.splitlines() if not re.search(r"voxtral-edge |[{|\[:]", line)]
        assert max(map(len, prose)) <= max(min(columns, 112), 48), columns


def test_help_has_subcommands_in_one_column() -> None:
    out = run_cli("--help", env={"COLUMNS": "100"})[1]
    lines = [line for line in out.splitlines() if re.match(rf"  ({'|'.join(COMMANDS)})\b", line)]
    assert len(lines) == len(COMMANDS) and all(line[14] != " " and line[13] == " " for line in lines)


@pytest.mark.parametrize(
    "arguments",
    [
        ["transcrib"],
        ["transcribe", "--threads", "many"],
        ["listen", "--format", "srt"],
        ["cache", "drop"],
        ["cache", "add"],
        ["transcribe", "x.wav", "--cache-packed-dir", ""],
        ["transcribe", "x.wav", "--known-speakers", ""],
        ["transcribe", "x.wav", "--rttm", " "],
        ["transcribe", "x.wav", "--speakers", ""],
        ["transcribe", "x.wav", "--hotwords", " , "],
        ["listen", "--hotwords", ""],
        ["serve", "--alias", ""],
        ["serve", "--language", ""],
        ["serve", "--language", "english please"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_one_line(arguments: list[str]) -> None:
    code, out, err = run_cli(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("voxtral-edge: error: ") and err.count("\n") == 1


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_no_option_takes_an_empty_value(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a variable that is not set, say: as a path it would be the current folder."""
    parser = build_parser([command])
    (commands,) = (action for action in parser._actions if action.nargs == argparse.PARSER)
    options = [
        action
        for action in commands.choices[command]._actions
        if action.option_strings and action.nargs in (None, "+") and action.dest != "affinity"  # "": unset
    ]
    assert options or command == "cache"
    for option in options:
        with pytest.raises(SystemExit, match="2"):
            parser.parse_args([command, option.option_strings[0], ""])
        assert "the value is empty; see" in capsys.readouterr().err, option.option_strings


def test_debug_is_understood_anywhere(tmp_path) -> None:
    for arguments in (["--debug", "verify", "no-such"], ["cache", "add", "no-such", "--debug"]):
        code, _, err = run_cli(*arguments)
        assert code == 2 and "Traceback" in err and err.endswith("voxtral-edge export\n")
    code, _, err = run_cli("transcribe", "--", "--debug")  # a file of that name
    assert code == 1 and err.startswith("voxtral-edge: error: --debug: cannot be opened")


def test_the_cache_folder_before_and_behind_the_action(tmp_path) -> None:
    before, behind = tmp_path / "before", tmp_path / "behind"
    assert run_cli("cache", "--cache-packed-dir", before, "add", "tiny-en")[0] == 0
    assert run_cli("cache", "add", "tiny-en", "--cache-packed-dir", behind)[0] == 0
    assert len(list(before.iterdir())) == len(list(behind.iterdir())) == 1


def numbers(value: object) -> list[float]:
    if isinstance(value, dict):
        return [number for item in value.values() for number in numbers(item)]
    if isinstance(value, list):
        return [number for item in value for number in numbers(item)]
    return [value] if isinstance(value, float) else []


@pytest.mark.parametrize(
    "arguments",
    [
        ["transcribe", sample("serial-numbers.flac"), "--format", "jsonl"],
        ["listen", "--input", sample("serial-numbers.flac"), "--no-paced", "--format", "jsonl"],
    ],
    ids=["transcribe", "listen"],
)
def test_json_lines_have_short_numbers(arguments: list[object]) -> None:
    code, out, _ = run_cli(*arguments)
    events = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and len(numbers(events)) > 60
    assert all(number == round(number, 4) for number in numbers(events))
    assert '"speaker"' not in out


def test_names_and_texts_in_a_narrow_terminal() -> None:
    assert named_lines("Chip", "clock 2596 MHz", 2, 6, None) == ["  Chip  clock 2596 MHz"]
    assert named_lines("Chip", "clock 2596 MHz", 2, 6, 20) == ["  Chip  clock 2596", "        MHz"]
    assert named_lines("", "", 0, 4, 20) == [""]


def test_doctor_wraps_on_a_terminal_only() -> None:
    wide = run_cli("doctor", "--megabytes", 8, env={"COLUMNS": "40"})[1]
    assert max(map(len, wide.splitlines())) > 80
    controller, terminal = pty.openpty()
    process = start_cli("doctor", "--megabytes", 8, stdout=terminal, env={"COLUMNS": "72"})
    os.close(terminal)
    shown = b""
    with contextlib.suppress(OSError):  # the other side is closed
        while piece := os.read(controller, 4096):
            shown += piece
    assert process.wait(60) == 0
    os.close(controller)
    lines = [line for line in shown.decode().splitlines() if "(int" not in line]
    assert len(lines) > 20 and max(map(len, lines)) <= 72


def test_a_pipe_without_audio_is_noticed() -> None:
    code, out, err = run_cli("transcribe", "-", data=b"")
    assert (code, out) == (0, "\n")
    assert "standard input brought no audio" in err and err.count("\n") == 1
