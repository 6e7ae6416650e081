"""The reference implementation: a checkpoint through transformers, fp32, greedy, whole recording at once."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from mistral_common.protocol.transcription.request import StreamingMode, TranscriptionRequest
from mistral_common.tokens.tokenizers.audio import Audio
from numpy.typing import NDArray
from transformers import AutoProcessor, VoxtralRealtimeForConditionalGeneration

TOKEN_MS = 80


class Reference:
    """A checkpoint folder in HF layout, loaded by transformers."""

    def __init__(self, checkpoint: Path) -> None:
        self._processor = AutoProcessor.from_pretrained(checkpoint)
        self._model = VoxtralRealtimeForConditionalGeneration.from_pretrained(
            checkpoint, dtype=torch.float32
        ).eval()
        self._tokenizer = self._processor.tokenizer.tokenizer

    @torch.no_grad()
    def transcribe(self, pcm: NDArray[np.float32], delay_ms: int) -> tuple[str, list[int]]:
        """(text, generated token ids) of float32 16 kHz mono samples.

        transformers generates one token fewer than the audio has room for (a pad, behind the right padding).
        End-of-sequence tokens do not end it, as they do not end a live stream.
        """
        audio = Audio(audio_array=pcm, sampling_rate=16_000, format="wav").to_base64("wav")
        request = TranscriptionRequest(
            audio=audio, streaming=StreamingMode.OFFLINE, target_streaming_delay_ms=delay_ms, language=None
        )
        encoded = self._tokenizer.encode_transcription(request)
        padded = encoded.audios[0].audio_array.astype(np.float32)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            features = self._processor.feature_extractor([padded], sampling_rate=16_000, return_tensors="pt")
            output = self._model.generate(
                input_ids=torch.tensor([encoded.tokens]),
                input_features=features.input_features,
                num_delay_tokens=delay_ms // TOKEN_MS,
                do_sample=False,
                eos_token_id=None,
                pad_token_id=self._tokenizer.instruct_tokenizer.tokenizer.pad_id,
            )
        ids = output[0, len(encoded.tokens) :].tolist()
        pieces = self._tokenizer.instruct_tokenizer.tokenizer
        return b"".join(map(pieces.id_to_byte_piece, ids)).decode("utf-8", "replace").strip(), ids
