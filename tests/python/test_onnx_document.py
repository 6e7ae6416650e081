"""docs/onnx.md: its program runs as printed, and its statements about the graphs are true."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx_testing import make_package

import checkpoints
from voxtral_edge.engines.onnxruntime_backend import MINIMUM_VERSION

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "onnx.md"


@pytest.fixture(scope="module")
def text() -> str:
    return DOCUMENT.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.make_checkpoint(tmp_path_factory.mktemp("document"), "golden")


@pytest.mark.parametrize("delay_tokens", [2, 6])
def test_the_printed_program_reproduces_transformers(
    text: str, checkpoint: Path, tmp_path: Path, delay_tokens: int
) -> None:
    pytest.importorskip("onnxruntime")
    section = text.split("## Run the graphs in plain onnxruntime")[1]
    blocks = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    program: dict[str, Any] = {}
    exec(compile(blocks[0], str(DOCUMENT), "exec"), program)
    assert "voxtral_edge" not in blocks[0], "plain onnxruntime, no code of ours"
    assert len(blocks[0].splitlines()) <= 50

    package = make_package(tmp_path / "p", checkpoint, "fp32")
    expected = checkpoints.reference(checkpoint, checkpoints.synthetic_speech(), delay_tokens)
    ids = program["transcribe"](package, np.ascontiguousarray(expected["mel"].T), delay_tokens)
    assert ids[: len(expected["ids"])] == expected["ids"].tolist()
    assert len(ids) == expected["mel"].shape[1] // 8 + 1


def test_every_input_and_output_is_in_the_tables(text: str, checkpoint: Path, tmp_path: Path) -> None:
    package = make_package(tmp_path / "p", checkpoint, "int4")
    for graph in ("encoder", "decoder"):
        table = text.split(f"| {graph}.onnx |")[1].split("\n\n")[0]
        names = set(re.findall(r"`([a-z_0-9]+)(?:\.\{[il]\})?`", table))
        model = onnx.load(str(package / f"{graph}.onnx"), load_external_data=False)
        values = [value.name.split(".")[0] for value in (*model.graph.input, *model.graph.output)]
        assert names == set(values)


def test_the_versions_named_are_the_versions_demanded(text: str) -> None:
    assert f"onnxruntime {'.'.join(map(str, MINIMUM_VERSION))} or later" in text
    project = (DOCUMENT.parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    assert "onnx>=1.19" in project and "onnx 1.19 or later" in text
