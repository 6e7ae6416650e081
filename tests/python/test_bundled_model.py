"""The demo model in the wheel is what its checkpoint exports to, and is small and sound."""

from __future__ import annotations

from pathlib import Path

import pytest
from front_door import CHECKPOINT, ROOT, run_cli

from voxtral_edge.package_folder import find_package, read_manifest

# int8 costs nothing measurable over fp32 and makes a fifth of int4's token edits, at 3.6 MB (the model card).
PRECISION = "int8"
MAX_BYTES = 4_000_000


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint, exported now."""
    folder = tmp_path_factory.mktemp("export") / "tiny-en"
    code, _, err = run_cli("export", CHECKPOINT, "-o", folder, "--precision", PRECISION, "--progress", "none")
    assert code == 0, err
    return folder


def test_weights_equal_a_fresh_export(fresh: Path) -> None:
    bundled = find_package("tiny-en")
    assert (bundled / "weights.bin").read_bytes() == (fresh / "weights.bin").read_bytes()
    assert (bundled / "tekken.json").read_bytes() == (CHECKPOINT / "tekken.json").read_bytes()


@pytest.mark.parametrize(
    "part", ["tensors", "config", "audio", "tokens", "precision", "format_version", "name"]
)
def test_manifest_equals_a_fresh_export(fresh: Path, part: str) -> None:
    assert read_manifest(find_package("tiny-en"))[part] == read_manifest(fresh)[part]


def test_the_package_is_sound() -> None:
    code, out, err = run_cli("verify", find_package("tiny-en"))
    assert code == 0, out + err


def test_the_package_is_small() -> None:
    assert sum(path.stat().st_size for path in find_package("tiny-en").iterdir()) <= MAX_BYTES


def test_cards_stand_beside_model_and_checkpoint() -> None:
    for card in (ROOT / "voxtral_edge" / "models" / "README.md", CHECKPOINT / "README.md"):
        text = card.read_text(encoding="utf-8")
        assert "digits" in text and "cannot" in text and "%" in text
