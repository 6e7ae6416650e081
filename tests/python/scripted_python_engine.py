"""An engine written in Python whose tokens a test chooses: it runs the real streaming loop without a model's whims."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from voxtral_edge import _core

Token = Callable[[int], int]


class ScriptedEngine(_core.PythonEngine):
    """Generated token g is token(g). `calls` records (name, tokens or positions, absolute position)."""

    def __init__(self, package: Path, token: Token) -> None:
        super().__init__(str(package))
        self.config = json.loads((package / "manifest.json").read_text())["config"]
        self.token = token
        self.calls: list[tuple[str, int, int]] = []
        self.previous_ids: list[int] = []

    def create_state(self, delay_scales: np.ndarray, first_token_position: int) -> dict[str, Any]:
        decoder = self.config["decoder"]
        assert delay_scales.shape == (decoder["layers"], decoder["width"])
        self.calls.clear()
        self.previous_ids.clear()
        return {"first": first_token_position}

    def encode(self, state: dict[str, Any], mel: np.ndarray, position: int) -> tuple[np.ndarray, np.ndarray]:
        tokens = len(mel) // 8
        self.calls.append(("encode", tokens, position))
        embeddings = np.zeros((tokens, self.config["decoder"]["width"]), np.float32)
        return embeddings, np.zeros((4 * tokens, self.config["encoder"]["width"]), np.float32)

    def decode(
        self, state: dict[str, Any], audio: np.ndarray, previous_ids: np.ndarray, position: int
    ) -> np.ndarray:
        self.calls.append(("decode", len(audio), position))
        self.previous_ids += previous_ids.tolist()
        logits = np.zeros((len(audio), self.config["decoder"]["vocab_size"]), np.float32)
        for row in range(len(audio)):
            generated = position - state["first"] + row + 1 - self.prompt_tokens
            if generated >= 0:
                logits[row, self.token(generated)] = 20.0
        return logits

    prompt_tokens = 0  # set by stream()

    def stream(self, delay_tokens: int = 6, **options: Any) -> _core.Stream:
        self.prompt_tokens = 1 + self.audio["left_pad_tokens"] + delay_tokens
        return _core.Stream(self, delay_tokens=delay_tokens, **options)
