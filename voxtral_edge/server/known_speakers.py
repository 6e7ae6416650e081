"""OpenAI's known speakers: names and short recordings of their voices, as data URLs in the form."""

from __future__ import annotations

import base64
import binascii
import tempfile
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from voxtral_edge.audio import SAMPLE_RATE_HZ, AudioFile
from voxtral_edge.errors import AudioFormatError, UsageError
from voxtral_edge.server.errors import RequestError

if TYPE_CHECKING:
    from voxtral_edge.diarize import SpeakerEmbedder, Voiceprints

MOST_KNOWN_SPEAKERS = 4  # as OpenAI's
# OpenAI asks for 2 to 10 s. Longer ones help here, but every second costs an embedding before the work begins.
_LONGEST_REFERENCE_S = 30
NAMES, REFERENCES = "known_speaker_names", "known_speaker_references"


def pair_known_speakers(names: list[str], references: list[str]) -> tuple[tuple[str, str], ...]:
    """(name, data URL) of each; RequestError 400 if they do not go together."""
    if len(names) != len(references):
        words = f"{len(names)} {NAMES} and {len(references)} {REFERENCES}: give one recording for every name"
        raise RequestError(400, words, param=NAMES)
    if len(names) > MOST_KNOWN_SPEAKERS:
        raise RequestError(400, f"at most {MOST_KNOWN_SPEAKERS} speakers can be known", param=NAMES)
    for name in names:
        if len(name) == 1 and "A" <= name <= "Z":
            words = f"{name!r} is what an unknown speaker is called; choose a longer name"
            raise RequestError(400, words, param=NAMES)
        if names.count(name) > 1:
            raise RequestError(400, f"{name[:60]!r} is given twice", param=NAMES)
    return tuple(zip(names, references, strict=True))


def enrol_known_speakers(known: tuple[tuple[str, str], ...], embedder: SpeakerEmbedder) -> Voiceprints | None:
    """Their voiceprints, None if there are none. They live as long as the request: nothing is kept. Blocks.
    RequestError 400 for recordings that cannot be used."""
    if not known:
        return None
    from voxtral_edge.diarize import Voiceprints

    voiceprints = Voiceprints(embedder.name)
    for name, url in known:
        pcm = _read(name, _decode(name, url))
        try:
            voiceprints.enrol(name, pcm, embedder)
        except UsageError as error:
            raise RequestError(400, str(error), param=REFERENCES) from None
    return voiceprints


def _decode(name: str, url: str) -> bytes:
    head, comma, text = url.partition(",")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        words = f"the recording of {name!r} is no data URL; write data:audio/wav;base64,…"
        raise RequestError(400, words, param=REFERENCES)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        words = f"the recording of {name!r} is not valid base64"
        raise RequestError(400, words, param=REFERENCES) from None


def _read(name: str, data: bytes) -> NDArray[np.float32]:
    blocks: list[NDArray[np.float32]] = []
    try:
        with tempfile.NamedTemporaryFile(prefix="voxtral-edge-") as file:
            file.write(data)
            file.flush()
            with AudioFile(file.name) as audio:
                for block in audio.blocks():
                    blocks.append(block)
                    if sum(map(len, blocks)) > _LONGEST_REFERENCE_S * SAMPLE_RATE_HZ:
                        words = f"the recording of {name!r} is longer than {_LONGEST_REFERENCE_S} s"
                        raise RequestError(400, words, param=REFERENCES)
    except AudioFormatError as error:
        words = f"the recording of {name!r}: {str(error).replace(file.name, 'it')}"
        raise RequestError(400, words, param=REFERENCES) from None
    return np.concatenate(blocks) if blocks else np.zeros(0, dtype=np.float32)
