"""The figures of docs/devices.md and the guides that derive from step_cost.py, and the commands of the guides."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from front_door import ROOT

from voxtral_edge.cli.doctor import OTHER_MEMORY_BYTES
from voxtral_edge.cli.main import build_parser
from voxtral_edge.export.synthetic import SYNTHETIC_MODELS
from voxtral_edge.step_cost import cost_of_full_model, position_bytes

DEVICES = ROOT / "docs" / "devices.md"
GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))
PAGES = [ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", ROOT / "CHANGELOG.md", DEVICES, *GUIDES]


def table(page: Path, first_header: str) -> list[list[str]]:
    """The cells of the rows under the header whose first cell is given."""
    lines = page.read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {first_header} |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def times(precision: str, gbps: float) -> str:
    """Milliseconds per step as the tables write them."""
    cost = cost_of_full_model(precision)
    return f"{cost.floor_ms(gbps, False):.0f} → {cost.floor_ms(gbps, True):.0f}"


def test_sizes_follow_from_the_model() -> None:
    rows = table(DEVICES, "precision")
    assert [row[0] for row in rows] == ["int4", "int8", "fp16"]
    for precision, *said in rows:
        cost = cost_of_full_model(precision)
        needed = cost.weight_bytes + cost.kv_bytes + OTHER_MEMORY_BYTES
        assert said == [f"{value / 1e9:.2f}" for value in (cost.weight_bytes, cost.kv_bytes, needed)]


def test_attention_state_follows_from_its_type() -> None:
    weights, config = cost_of_full_model("int4").weight_bytes, SYNTHETIC_MODELS["4b"].to_manifest()["config"]
    encoder, decoder = config["encoder"], config["decoder"]
    for kind, *said in table(DEVICES, "kv_cache"):
        state = position_bytes(encoder, kind) * encoder["window_frames"]
        state += position_bytes(decoder, kind) * decoder["window_tokens"]
        needed = weights + state + OTHER_MEMORY_BYTES
        assert said == [f"{state / 1e9:.2f}", f"{needed / 1e9:.2f}", f"{state / 10e6:.0f}"]


def test_floors_follow_from_the_formula() -> None:
    rows = table(DEVICES, "device")
    assert len(rows) >= 7
    for _, _, _, gbps, int4, int8 in rows:
        assert [int4, int8] == [times("int4", float(gbps)), times("int8", float(gbps))]


def test_readme_and_devices_agree_on_bandwidths() -> None:
    readme = {row[0]: row[1] for row in table(ROOT / "README.md", "device")}
    devices = {row[0]: row[3] for row in table(DEVICES, "device")}
    for name, gbps in readme.items():
        short = name.split(",")[0].removeprefix("Jetson ")
        found = [value for device, value in devices.items() if short in device]
        assert not found or gbps in found, name


def test_predictions_start_from_the_same_floors() -> None:
    rows = table(DEVICES, "board")
    floors = {row[0]: float(row[3]) for row in table(DEVICES, "device")}
    assert len(rows) >= 8
    for board, precision, memory, with_products, *_ in rows:
        gbps = next(value for device, value in floors.items() if board.split(",")[0] in device)
        assert int(memory) == round(cost_of_full_model(precision).floor_ms(gbps, False))
        assert int(with_products) >= int(memory)


def test_the_jetson_guide_repeats_the_floors() -> None:
    floors = {row[0]: row[4] for row in table(DEVICES, "device")}
    for board, memory, *_ in table(ROOT / "docs" / "guides" / "jetson.md", "board"):
        assert floors[f"Jetson {board}"] == memory


def commands(page: Path) -> list[str]:
    """Every voxtral-edge command with arguments of a page, in blocks and in running text."""
    text = page.read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"^```\w*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    inline = re.findall(r"`(voxtral-edge [a-z]+ [^`]+)`", text)
    return inline + [line for line in blocks.splitlines() if line.startswith("voxtral-edge ")]


@pytest.mark.parametrize("line", sorted({line for page in PAGES for line in commands(page)}))
def test_commands_are_valid(line: str) -> None:
    arguments = shlex.split(line)[1:]
    assert build_parser(arguments).parse_args(arguments).command == arguments[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_guides_say_that_nothing_was_run_there() -> None:
    assert [page.stem for page in GUIDES] == ["jetson", "raspberry-pi"]
    for page in GUIDES:
        assert "Nothing here was run on a" in page.read_text(encoding="utf-8").split("\n## ")[0]


def test_predictions_are_skipped_with_a_reason_without_tools(tmp_path: Path) -> None:
    """An empty PATH hides compiler and simulator."""
    script = ROOT / "benchmarks" / "predict_arm.py"
    done = subprocess.run(
        [sys.executable, str(script)],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 77 and done.stderr.startswith("skipped: ") and "apt install" in done.stderr
