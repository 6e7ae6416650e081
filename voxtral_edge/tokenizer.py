"""Text to token ids with a package's tekken.json (specification §7): csrc/text/text_encoder.h for Python."""

from __future__ import annotations

import os
from typing import Any

from voxtral_edge._native import native_module
from voxtral_edge.audio import PathLike
from voxtral_edge.errors import UsageError


class Tokenizer:
    """The encoder of one tekken.json. Immutable; made by `from_file`, or `Engine.tokenizer`.

    special_count   ids below it are control tokens, which no text encodes to
    vocab_size      ids are below it
    core            the native encoder
    """

    def __init__(self, core: Any) -> None:
        self.core = core
        self.special_count: int = core.special_count
        self.vocab_size: int = core.vocab_size

    @classmethod
    def from_file(cls, path: PathLike) -> Tokenizer:
        """Reads tekken.json. ModelFormatError if it is missing or damaged."""
        return cls(native_module().TextEncoder(os.fspath(path)))

    def piece(self, token_id: int) -> bytes:
        """The bytes of a text token; special_count ≤ token_id < vocab_size."""
        return bytes(self.core.piece(token_id))

    def encode(self, text: str) -> list[int]:
        """The token ids of `text`, without control tokens. UsageError if the text is not valid Unicode, or
        holds a word of more than 4 KiB. ModelFormatError if the file's pattern or pieces cannot be used."""
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise UsageError(
                f"text {text[:40]!a} is not valid Unicode (lone surrogate at {error.start})"
            ) from error
        return list(self.core.encode(text))
