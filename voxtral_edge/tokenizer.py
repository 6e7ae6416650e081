"""Text to token ids with a package's tekken.json (specification §7): what hotwords need. The way back, ids to
text, is native.

A regular expression cuts the text into pieces; within a piece, neighbouring byte strings are merged as long
as their union is in the vocabulary, the union with the lowest rank first.
"""

from __future__ import annotations

import base64
import importlib
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from voxtral_edge.audio import PathLike
from voxtral_edge.errors import DeviceError, ModelFormatError, UsageError

# The pattern comes out of the package: one that backtracks without end must not hang the program.
_SPLIT_TIMEOUT_S = 10.0
# Merging costs the square of a piece's length; a piece is a word, so real ones have a few dozen bytes.
MAX_PIECE_BYTES = 4096


class Tokenizer:
    """The encoder of one tekken.json. Immutable.

    ranks           piece -> rank, in rank order
    special_count   ids below it are control tokens, which no text encodes to
    vocab_size      ids are below it
    """

    def __init__(self, pattern: str, ranks: Mapping[bytes, int], special_count: int) -> None:
        self.special_count = special_count
        self.vocab_size = special_count + len(ranks)
        self._ranks = ranks
        self._pieces = list(ranks)
        regex = _regex()
        try:
            self._pattern = regex.compile(pattern)
        except regex.error as error:
            raise ModelFormatError(f"tekken.json: config.pattern does not compile ({error})") from error
        self._merged = lru_cache(maxsize=4096)(self._merge)

    @classmethod
    def from_file(cls, path: PathLike) -> Tokenizer:
        """Reads tekken.json. ModelFormatError if it is missing or damaged."""
        try:
            root = json.loads(Path(path).read_text(encoding="utf-8"))
            config = root["config"]
            special_count = int(config["default_num_special_tokens"])
            used = int(config["default_vocab_size"]) - special_count
            # The file may hold more entries than the model has outputs: those beyond do not exist for it.
            ranks = {
                base64.b64decode(item["token_bytes"], validate=True): rank
                for rank, item in enumerate(root["vocab"][:used])
            }
            pattern = str(config["pattern"])
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise ModelFormatError(
                f"{path}: cannot be read as a tekken tokenizer ({type(error).__name__}: {error}); "
                "export the package again"
            ) from error
        if used < 256 or len(ranks) != used or any(bytes([value]) not in ranks for value in range(256)):
            raise ModelFormatError(
                f"{path}: lacks pieces ({len(ranks)} different ones for {used} ids, of which the first 256 "
                "must be the single bytes); export the package again"
            )
        return cls(pattern, ranks, special_count)

    def piece(self, token_id: int) -> bytes:
        """The bytes of a text token; special_count ≤ token_id < vocab_size."""
        return self._pieces[token_id - self.special_count]

    def encode(self, text: str) -> list[int]:
        """The token ids of `text`, without control tokens. UsageError if the text is not valid Unicode, or
        holds a word of more than 4 KiB."""
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise UsageError(
                f"text {text[:40]!a} is not valid Unicode (lone surrogate at {error.start})"
            ) from error
        ids: list[int] = []
        try:
            for match in self._pattern.finditer(text, timeout=_SPLIT_TIMEOUT_S):
                ids.extend(self._merged(match.group().encode("utf-8")))
        except TimeoutError as error:
            raise ModelFormatError(
                f"tekken.json: config.pattern takes longer than {_SPLIT_TIMEOUT_S:.0f} s on {text[:40]!r}"
            ) from error
        return ids

    def _merge(self, piece: bytes) -> tuple[int, ...]:
        """Rank-ordered byte-pair merging of one piece."""
        whole = self._ranks.get(piece)
        if whole is not None:
            return (whole + self.special_count,)
        if len(piece) > MAX_PIECE_BYTES:
            raise UsageError(
                f"text holds a run of {len(piece)} bytes without a break; {MAX_PIECE_BYTES} are the limit"
            )
        ranks = self._ranks
        parts = [piece[at : at + 1] for at in range(len(piece))]
        pairs = [ranks.get(piece[at : at + 2]) for at in range(len(piece) - 1)]
        while True:
            best_rank, best = None, -1
            for at, rank in enumerate(pairs):
                if rank is not None and (best_rank is None or rank < best_rank):
                    best_rank, best = rank, at
            if best_rank is None:
                return tuple(ranks[part] + self.special_count for part in parts)
            parts[best : best + 2] = [parts[best] + parts[best + 1]]
            del pairs[best]
            if best > 0:
                pairs[best - 1] = ranks.get(parts[best - 1] + parts[best])
            if best < len(pairs):
                pairs[best] = ranks.get(parts[best] + parts[best + 1])


def _regex() -> Any:
    """`re` knows no Unicode classes (\\p{Lu}), which every tekken pattern uses."""
    try:
        return importlib.import_module("regex")
    except ImportError as error:
        raise DeviceError(f"encoding text needs the package regex, which does not load ({error})") from error
