"""Who speaks when: online speaker diarisation beside the transcription.

The speech model does not tell speakers apart; this package does, from the same audio: speech is found by its energy,
a small model (`embedder`) turns 1.6 s of it into a vector that describes the voice, and vectors are grouped, with
labels that may be revised for a minute and a half (`diarizer`). docs/diarization.md has the method and what was
measured.

  audio ──▶ voice_activity ──▶ segments ──▶ voicing ──▶ embedder (ONNX) ──▶ clustering ──▶ sequence ──▶ turns
"""

from voxtral_edge.diarize.diarizer import OnlineDiarizer, parse_speakers
from voxtral_edge.diarize.embedder import OnnxEmbedder, SpeakerEmbedder
from voxtral_edge.diarize.error_rate import DiarizationErrors, diarization_errors
from voxtral_edge.diarize.turns import Turn, read_rttm, speaker_of, to_rttm
from voxtral_edge.diarize.voiceprints import Voiceprints

__all__ = [
    "DiarizationErrors",
    "OnlineDiarizer",
    "OnnxEmbedder",
    "SpeakerEmbedder",
    "Turn",
    "Voiceprints",
    "diarization_errors",
    "parse_speakers",
    "read_rttm",
    "speaker_of",
    "to_rttm",
]
