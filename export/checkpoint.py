"""A checkpoint folder of either layout as a source of canonical float32 tensors, read strip by strip."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from voxtral_edge.errors import ModelFormatError

from .config_hf import delay_in_config, read_hf_config, tied_in_config
from .config_mistral import read_mistral_config, tied_in_params, unknown_in_params
from .fields import Section
from .model_config import ModelConfig
from .names import HEAD_DUPLICATES, file_name, is_derived, normalise
from .rope import interleaved_to_half_split
from .safetensors_reader import SafetensorsFile
from .schema import TensorSpec, tensor_specs
from .tokenizer import Tokenizer, read_tokenizer

_STEM = {"hf": "model", "mistral": "consolidated"}
_CONFIG = {"hf": "config.json", "mistral": "params.json"}
# Numbers of a head compared with the embedding at a time.
_COMPARE_ELEMENTS = 1 << 20


@dataclass(frozen=True)
class _Stored:
    """Where a tensor lies: the open file and the name it has there."""

    file: SafetensorsFile
    name: str

    @property
    def shape(self) -> tuple[int, ...]:
        return self.file.tensors[self.name].shape


class Checkpoint:
    """An opened, fully checked checkpoint. Use as a context manager; `read` is thread-safe.

    layout      "hf" or "mistral"
    notes       remarks for the user (which layout was chosen, ignored duplicates)
    """

    def __init__(self, folder: Path, layout: str = "auto") -> None:
        self.folder = folder
        self.notes: list[str] = []
        self.layout = self._choose_layout(layout)
        self._files: list[SafetensorsFile] = []
        try:
            self._stored = self._index()
            self.tokenizer: Tokenizer = read_tokenizer(folder / "tekken.json")
            self.config: ModelConfig = self._read_config()
            self.specs: list[TensorSpec] = tensor_specs(self.config)
            self._check_tensors()
        except ModelFormatError as error:
            self.close()
            raise ModelFormatError(f"{error}{self._other_layout_hint()}") from error
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for file in self._files:
            file.close()

    def read(self, spec: TensorSpec, first: int, count: int) -> np.ndarray:
        """Rows first .. first+count of a tensor, float32 [count, ...], rotary rows in half-split order.

        Strips of a tensor with rope heads must start and end at a head.
        """
        stored = self._stored[file_name(spec.name, self.layout)]
        rows = stored.file.read_rows(stored.name, first, count)
        if spec.rope_heads and self.layout == "mistral":
            return interleaved_to_half_split(rows, spec.shape[0] // spec.rope_heads)
        return rows

    def tokenizer_bytes(self) -> bytes:
        """tekken.json as it stands."""
        return self.tokenizer.path.read_bytes()

    # ------------------------------------------------------------ opening

    def _choose_layout(self, wanted: str) -> str:
        if not self.folder.is_dir():
            raise ModelFormatError(
                f"{self.folder} is not a folder; give a checkpoint folder or a hub id (owner/name)"
            )
        present = [layout for layout in ("hf", "mistral") if self._has_layout(layout)]
        if wanted != "auto":
            if wanted not in present:
                raise ModelFormatError(
                    f"{self.folder} has no {wanted} layout: expected {_expected_files(wanted)}"
                )
            return wanted
        if not present:
            raise ModelFormatError(
                f"{self.folder} holds no checkpoint: expected {_expected_files('hf')}, or"
                f" {_expected_files('mistral')}"
            )
        if len(present) == 2:
            self.notes.append("both layouts found; using the Hugging Face one (choose with --layout)")
        return present[0]

    def _other_layout_hint(self) -> str:
        """Both layouts hold the same numbers: where one is odd, the other may do."""
        other = "mistral" if self.layout == "hf" else "hf"
        if not (self.folder / _CONFIG[other]).is_file():
            return ""
        return f"; the checkpoint's other layout may do (--layout {other})"

    def _has_layout(self, layout: str) -> bool:
        stem = _STEM[layout]
        weights = (self.folder / f"{stem}.safetensors", self.folder / f"{stem}.safetensors.index.json")
        return (self.folder / _CONFIG[layout]).is_file() and any(path.is_file() for path in weights)

    def _weight_files(self) -> list[Path]:
        single = self.folder / f"{_STEM[self.layout]}.safetensors"
        if single.is_file():
            return [single]
        index = Section.from_file(single.with_name(single.name + ".index.json"))
        names = sorted(set(map(str, index.section("weight_map").values.values())))
        for name in names:
            # A shard name is a file of this folder; anything else would read outside the checkpoint.
            if Path(name).name != name or not name.endswith(".safetensors"):
                raise ModelFormatError(
                    f"{index.file}: 'weight_map' names {name!r}, which is no file of this folder"
                )
        return [self.folder / name for name in names]

    def _index(self) -> dict[str, _Stored]:
        """Every stored tensor under the name `file_name` gives it."""
        found: dict[str, _Stored] = {}
        for path in self._weight_files():
            file = SafetensorsFile(path)
            self._files.append(file)
            for name in file.tensors:
                key = normalise(name, self.layout)
                if key in found:
                    other = found[key]
                    raise ModelFormatError(
                        f"{path}: tensor {name!r} is the same as {other.name!r} in {other.file.path.name}"
                    )
                found[key] = _Stored(file, name)
        return found

    def _read_config(self) -> ModelConfig:
        if self.layout == "mistral":
            config = read_mistral_config(self.folder, self.tokenizer)
            for key in unknown_in_params(self.folder):
                self.notes.append(f"params.json: {key} is not known to this exporter and has no effect")
            return config
        stated, used = delay_in_config(self.folder), self.tokenizer.default_delay_tokens
        if stated is not None and stated != used:
            self.notes.append(f"default delay: {used} tokens from tekken.json (config.json says {stated})")
        return read_hf_config(self.folder, self.tokenizer, self._shape_of)

    def _where(self) -> str:
        return str(self._files[0].path if len(self._files) == 1 else self.folder)

    def _shape_of(self, canonical: str) -> tuple[int, ...]:
        name = file_name(canonical, self.layout)
        if name not in self._stored:
            raise ModelFormatError(f"{self._where()}: tensor {name!r} is missing")
        shape = self._stored[name].shape
        if len(shape) != 2:
            raise ModelFormatError(
                f"{self._where()}: tensor {name!r} has shape {list(shape)}, expected a matrix"
            )
        return shape

    # ------------------------------------------------------------ checks

    def _check_tensors(self) -> None:
        unexpected = dict(self._stored)
        config_file = self.folder / _CONFIG[self.layout]
        duplicates = [name for name in HEAD_DUPLICATES[self.layout] if unexpected.pop(name, None)]
        for name in [name for name in unexpected if is_derived(name)]:
            self.notes.append(f"ignored {unexpected.pop(name).name}: it follows from {config_file.name}")
        for spec in self.specs:
            name = file_name(spec.name, self.layout)
            if (
                name not in self._stored
                and name == _mistral_embedding()
                and "tok_embeddings.weight" in duplicates
            ):
                # A variant stores the table at the top level only.
                self._stored[name] = self._stored["tok_embeddings.weight"]
                duplicates.remove("tok_embeddings.weight")
            if name not in self._stored:
                raise ModelFormatError(
                    f"{self._where()}: tensor {name!r} is missing; {config_file} asks for it with shape"
                    f" {list(spec.shape)}"
                )
            unexpected.pop(name, None)
            if self._stored[name].shape != spec.shape:
                raise ModelFormatError(
                    f"{self._stored[name].file.path}: tensor {name!r} has shape"
                    f" {list(self._stored[name].shape)},"
                    f" expected {list(spec.shape)} from {config_file}"
                )
        if unexpected:
            first = next(iter(unexpected.values()))
            raise ModelFormatError(
                f"{first.file.path}: unexpected tensor {first.name!r} ({len(unexpected)} in all);"
                f" {config_file}"
                " describes a model without it"
            )
        self._check_head(duplicates, config_file)

    def _check_head(self, duplicates: list[str], config_file: Path) -> None:
        """The head must be the embedding table: the package stores it once (spec 2.2)."""
        tied = tied_in_config(self.folder) if self.layout == "hf" else tied_in_params(self.folder)
        if not tied and not duplicates:
            raise ModelFormatError(
                f"{config_file} says that the output head is not the embedding table, and the head tensor"
                " is missing"
            )
        for name in duplicates:
            if not self._equals_embedding(self._stored[name]):
                raise ModelFormatError(
                    f"{self._stored[name].file.path}: {self._stored[name].name!r} differs from the"
                    " embedding table;"
                    " an untied output head is not supported"
                )
            self.notes.append(f"ignored {self._stored[name].name}: it equals the embedding table")

    def _equals_embedding(self, head: _Stored) -> bool:
        spec = next(spec for spec in self.specs if spec.name == "decoder.embedding.weight")
        if head.shape != spec.shape:
            return False
        table = self._stored[file_name(spec.name, self.layout)]
        for first, count in row_strips(spec, _COMPARE_ELEMENTS):
            if not np.array_equal(
                head.file.read_rows(head.name, first, count), table.file.read_rows(table.name, first, count)
            ):
                return False
        return True


def _mistral_embedding() -> str:
    return file_name("decoder.embedding.weight", "mistral")


def _expected_files(layout: str) -> str:
    stem = _STEM[layout]
    return f"{_CONFIG[layout]} with {stem}.safetensors (or {stem}.safetensors.index.json and its shards)"


def row_strips(spec: TensorSpec, elements: int) -> Iterator[tuple[int, int]]:
    """(first row, rows) pieces of about `elements` values; whole heads for rotary rows."""
    rows = spec.shape[0]
    unit = rows // spec.rope_heads if spec.rope_heads else 1
    per_row = max(1, spec.elements // rows)
    step = max(1, elements // (per_row * unit)) * unit
    for first in range(0, rows, step):
        yield first, min(step, rows - first)
