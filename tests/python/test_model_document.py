"""docs/model.md states the constants of the released model; they must be those the code uses."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path

import pytest
import source_export  # noqa: F401  (makes voxtral_edge.export importable from a source tree)

from voxtral_edge.export.schema import tensor_specs
from voxtral_edge.export.synthetic import SYNTHETIC_MODELS

DOCUMENT = Path(__file__).parents[2] / "docs" / "model.md"
CONFIG = SYNTHETIC_MODELS["4b"]


def table_rows(heading: str, columns: int) -> list[list[str]]:
    """Cells of the tables under the section that starts with `heading`, without header and rule."""
    text = DOCUMENT.read_text()
    section = text[text.index(heading) :]
    section = section[: section.index("\n## ", 3)]
    rows = [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in section.splitlines()
        if line.startswith("|")
    ]
    return [row for row in rows if len(row) == columns and not set(row[0]) <= set("-: ")][1:]


def test_every_constant_is_documented_and_right() -> None:
    documented = {name.strip("`"): float(value) for name, value in table_rows("## 1 Dimensions", 2)}
    values = {
        f"{part}.{key}": float(value)
        for part, fields in asdict(CONFIG).items()
        for key, value in fields.items()
    }
    del values["tokens.vocab_size"]  # the same number as decoder.vocab_size
    assert documented == values


def test_every_tensor_shape_is_right() -> None:
    specs = {spec.name: spec.shape for spec in tensor_specs(CONFIG)}
    rows = table_rows("## 2 Tensors", 4)
    assert len(rows) >= 24
    for name, shape, _, _ in rows:
        concrete = name.strip("`").replace("{i}", "0").replace("{l}", "0")
        assert specs[concrete] == tuple(int(n) for n in re.findall(r"\d+", shape)), name
    assert len(specs) == 711


@pytest.mark.parametrize(
    ("part", "prefix"),
    [
        ("encoder matrices", "encoder.layers."),
        ("adapter", "adapter."),
        ("decoder matrices", "decoder.layers."),
        ("embedding = head", "decoder.embedding"),
        ("all parameters", ""),
    ],
)
def test_sizes(part: str, prefix: str) -> None:
    rows = {row[0]: row[1:] for row in table_rows("**1.2 Size.**", 3)}
    chosen = [
        s for s in tensor_specs(CONFIG) if s.name.startswith(prefix) and (s.group is not None or not prefix)
    ]
    parameters = sum(spec.elements for spec in chosen)
    assert parameters == int(rows[part][0])
    if rows[part][1]:
        assert parameters * 4.5 / 8 / 1e6 == pytest.approx(float(rows[part][1]), abs=0.06)


def test_fixed_numbers_of_the_loop_match_the_core() -> None:
    """Delays 1..30 tokens and the log-mel floor are code, not configuration."""
    root = DOCUMENT.parents[1] / "csrc"
    assert "kMaxDelayTokens = 30" in (root / "engine" / "stream.cc").read_text()
    front_end = (root / "audio" / "log_mel.cc").read_text()
    assert "kPowerFloor = 1e-10" in front_end and "kDynamicRange = 8.0" in front_end


def test_documents_name_only_files_that_exist() -> None:
    """Tests and sources named in the pages; a name may leave out its folder."""
    root = DOCUMENT.parents[1]
    known = {
        path.name
        for folder in ("csrc", "tests", "voxtral_edge", "export", "benchmarks", "cmake")
        for path in (root / folder).rglob("*")
    }
    missing = {
        f"{page.name}: {name}"
        for page in (*(root / "docs").glob("*.md"), root / "README.md", root / "csrc" / "README.md")
        for name in re.findall(r"`(?:[\w./-]*/)?([\w-]+\.(?:py|cc|h))`", page.read_text())
        if name not in known
    }
    assert missing == set()
