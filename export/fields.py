"""Checked access to JSON files of a checkpoint: every odd field is named with file and path."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NoReturn

from voxtral_edge.errors import ModelFormatError

# The largest JSON file of a real checkpoint is tekken.json (15 MB); a file far above that is not one.
MAX_JSON_BYTES = 256 << 20


def _unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"key {key!r} appears twice")
        found[key] = value
    return found


def parse_json_object(text: bytes, where: str) -> dict[str, Any]:
    """One JSON object without duplicate keys. Raises ModelFormatError naming `where`."""
    try:
        value = json.loads(text.decode("utf-8"), object_pairs_hook=_unique_pairs)
    except (ValueError, RecursionError) as error:
        raise ModelFormatError(f"{where} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise ModelFormatError(f"{where} must hold a JSON object, found {type(value).__name__}")
    return value


def read_json_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises ModelFormatError if it is missing, too large or malformed."""
    try:
        size = path.stat().st_size
        if size > MAX_JSON_BYTES:
            raise ModelFormatError(
                f"{path} is {size} bytes; a checkpoint's JSON file has at most {MAX_JSON_BYTES}"
            )
        return parse_json_object(path.read_bytes(), str(path))
    except OSError as error:
        raise ModelFormatError(f"cannot read {path}: {error.strerror}") from error


class Section:
    """One JSON object with the file and path it came from, so that messages can say where."""

    def __init__(self, values: dict[str, Any], file: str, path: str = "") -> None:
        self.values, self.file, self.path = values, file, path

    @classmethod
    def from_file(cls, path: Path) -> Section:
        return cls(read_json_object(path), str(path))

    def where(self, key: str) -> str:
        return f"{self.file}: '{self.path}{key}'"

    def has(self, key: str) -> bool:
        """Present and not null."""
        return self.values.get(key) is not None

    def _refuse(self, key: str, expected: str) -> NoReturn:
        if key not in self.values:
            raise ModelFormatError(f"{self.where(key)} is missing; expected {expected} (it is never guessed)")
        raise ModelFormatError(f"{self.where(key)} is {str(self.values[key])[:80]!r}; expected {expected}")

    def section(self, key: str) -> Section:
        value = self.values.get(key)
        if not isinstance(value, dict):
            self._refuse(key, "an object")
        return Section(value, self.file, f"{self.path}{key}.")

    def items(self, key: str) -> list[Any]:
        value = self.values.get(key)
        if not isinstance(value, list):
            self._refuse(key, "a list")
        return value

    def integer(self, key: str, low: int = 1, high: int = 1 << 31) -> int:
        value = self.values.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self._refuse(key, f"an integer in {low}..{high}")
        return value

    def number(self, key: str) -> float:
        """A finite number above zero."""
        value = self.values.get(key)
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not math.isfinite(value)
            or value <= 0
        ):
            self._refuse(key, "a finite number above zero")
        return float(value)

    def text(self, key: str) -> str:
        value = self.values.get(key)
        if not isinstance(value, str):
            self._refuse(key, "a string")
        return value

    def require(self, key: str, *allowed: Any) -> None:
        """Refuse any value but these: the exported graph has no other variant."""
        if self.values.get(key) not in allowed:
            self._refuse(key, " or ".join(repr(value) for value in allowed))

    def require_if_present(self, key: str, *allowed: Any) -> None:
        if key in self.values:
            self.require(key, *allowed)
