"""What the README and the environment page say is true: commands run, examples work, links lead somewhere."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from front_door import ROOT, run_cli

from voxtral_edge.cli.main import COMMANDS, build_parser
from voxtral_edge.step_cost import cost_of_full_model

README = (ROOT / "README.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """The text under `## title`."""
    match = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    assert match, f"README has no section {title}"
    return match[1]


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(title: str) -> list[str]:
    """The `voxtral-edge …` lines of a section's sh blocks."""
    return [line for block in blocks(section(title), "sh") for line in block.splitlines() if line.strip()]


@pytest.mark.parametrize(("title", "wanted"), [("Run", "transcribe"), ("Test", "pytest")])
def test_setup_is_one_line(title: str, wanted: str) -> None:
    first = re.search(r"^```\w*\n(.*?)^```$", section(title), re.MULTILINE | re.DOTALL)
    assert first
    lines = first[1].splitlines()
    assert len(lines) == 1 and wanted in lines[0] and "pip install" in lines[0]


def test_the_run_line_ends_in_a_command_that_works() -> None:
    line = blocks(section("Run"), "sh")[0].strip().split("&&")[-1].split()
    assert Path(line[0]).name == "voxtral-edge"
    assert run_cli(*line[1:])[:2] == (0, "zero one two three four five six seven eight nine\n")


@pytest.mark.parametrize("line", commands("Command line"))
def test_command_line_examples_run(line: str) -> None:
    if "onnxruntime" in line:
        pytest.importorskip("onnxruntime")
    program, *arguments = shlex.split(line)
    assert program == "voxtral-edge"
    code, out, err = run_cli(*arguments)
    assert code == 0, err
    written = Path("/tmp/voxtral-edge-example.json")
    if str(written) in line:
        assert json.loads(written.read_text(encoding="utf-8"))["text"].startswith("zero three six")
        written.unlink()
    else:
        assert out.strip()


@pytest.mark.parametrize("line", commands("The real model"))
def test_commands_for_the_real_model_are_valid(line: str) -> None:
    program, *arguments = shlex.split(line)
    if program == "pip":
        assert arguments == ["install", ".[export]"]
        return
    assert program == "voxtral-edge"
    assert build_parser(arguments).parse_args(arguments).command == arguments[0]


@pytest.mark.parametrize("code", blocks(section("Python"), "python"))
def test_python_examples_run(code: str, tmp_path: Path) -> None:
    (tmp_path / "samples").symlink_to(ROOT / "samples")
    script = tmp_path / "example.py"
    script.write_text(code, encoding="utf-8")
    result = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "zero" in result.stdout


def test_links_lead_somewhere() -> None:
    for page in [
        *sorted(ROOT.glob("*.md")),
        *sorted(ROOT.glob("*/README.md")),
        *sorted((ROOT / "docs").glob("*.md")),
    ]:
        for target in re.findall(r"\]\(([^)#\s]+)\)", page.read_text(encoding="utf-8")):
            if not target.startswith(("http://", "https://")):
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_test_file_has_its_claim() -> None:
    """tests/README.md names each file of tests/python once, by name or by pattern."""
    table = re.findall(r"^\|.*", (ROOT / "tests" / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    patterns = re.findall(r"`(test_[\w*]+\.py)`", "\n".join(table))
    found = {pattern: sorted((ROOT / "tests" / "python").glob(pattern)) for pattern in patterns}
    assert all(found.values()), found
    named = {path for paths in found.values() for path in paths}
    assert sorted(named) == sorted((ROOT / "tests" / "python").glob("test_*.py"))


def test_only_commands_that_exist_are_mentioned() -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted(ROOT.glob("*/*/README.md"))]
    for page in pages:
        for command in re.findall(r"`?voxtral-edge ([a-z]+)\b", page.read_text(encoding="utf-8")):
            assert command in COMMANDS, f"{page.relative_to(ROOT)} mentions `voxtral-edge {command}`"


def test_recorders_in_pipelines_write_bare_samples() -> None:
    """arecord writes a WAV file, into a pipe too, unless told not to; standard input takes samples only."""
    places = ("*.md", "docs/**/*.md", "examples/**/*.[cm]*", "voxtral_edge/cli/*.py")
    pages = [page for place in places for page in ROOT.glob(place)]
    lines = [line for page in pages for line in page.read_text("utf-8").splitlines() if "arecord -" in line]
    piped = [line for line in lines if "|" in line]
    assert len(piped) >= 6
    assert not [line for line in piped if "-t raw" not in line]


def test_the_device_table_follows_from_the_formula() -> None:
    """Every ms figure is bytes per step over the GB/s in its row, as `voxtral-edge doctor` computes it."""
    rows = [line for line in README.splitlines() if re.match(r"\| .*\d → \d", line)]
    assert len(rows) >= 7
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        bandwidths = [float(value) for value in cells[1].split("/")]
        for precision, cell in (("int4", cells[2]), ("int8", cells[3])):
            for gbps, pair in zip(bandwidths, cell.split("/"), strict=False):
                if "→" not in pair:
                    continue
                cost = cost_of_full_model(precision)
                said = [int(number) for number in pair.split("→")]
                assert said == [round(cost.floor_ms(gbps, False)), round(cost.floor_ms(gbps, True))], row


def test_sizes_in_the_text_are_the_real_ones() -> None:
    package = sum(path.stat().st_size for path in (ROOT / "voxtral_edge/models/tiny-en").iterdir())
    assert f"({package / 1e6:.1f} MB)" in README
    int4, checkpoint = cost_of_full_model("int4"), cost_of_full_model("fp16")
    assert f"{(int4.weight_bytes + checkpoint.weight_bytes) / 1e9:.1f} GB of disk" in README
    for precision, said in (("int4", "4.1 GB at int4"), ("int8", "6.5 GB at int8")):
        cost = cost_of_full_model(precision)
        needed = (cost.weight_bytes + cost.kv_bytes + 500_000_000) / 1e9
        assert said == f"{needed:.1f} GB at {precision}" and said in README


# --- docs/environment.md

_READS = re.compile(r"""["'](VOXTRAL_EDGE_[A-Z_]+)["']""")


def sources() -> list[Path]:
    """The project's files: all that git does not ignore, or the source folders of an unpacked archive."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode == 0:
        return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]
    folders = ("csrc", "voxtral_edge", "export", "benchmarks", "tests")
    return [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]


def variables_read() -> set[str]:
    """Environment variables that the sources name in quotes; CMake options are none."""
    found: set[str] = set()
    for path in sources():
        if path.suffix in (".py", ".cc", ".h", ".inc", ".sh") and path != Path(__file__).resolve():
            found |= set(_READS.findall(path.read_text(encoding="utf-8")))
    options = set(re.findall(r"VOXTRAL_EDGE_[A-Z_]+", (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")))
    return found - options


def test_every_environment_variable_is_documented_and_nothing_else() -> None:
    page = (ROOT / "docs" / "environment.md").read_text(encoding="utf-8")
    documented = {
        name for row in page.splitlines() if row.startswith("|") for name in re.findall(r"`(\w+)`", row)
    }
    ours = {name for name in documented if name.startswith("VOXTRAL_EDGE_")}
    assert ours == variables_read()


def test_documented_kernel_names_are_the_compiled_ones() -> None:
    page = (ROOT / "docs" / "environment.md").read_text(encoding="utf-8")
    row = next(line for line in page.splitlines() if "VOXTRAL_EDGE_ISA" in line)
    folders = {path.name for path in (ROOT / "csrc" / "kernels").iterdir() if path.is_dir()} - {"shared"}
    named = set(re.findall(r"`(\w+)`", row)) - {"VOXTRAL_EDGE_ISA"}
    assert named == folders
