"""A program written for faster-whisper, with the import changed.

python examples/faster_whisper_style.py samples/serial-numbers.flac
"""

import sys

from voxtral_edge.transcriber import Transcriber as WhisperModel

if len(sys.argv) < 2:
    sys.exit(__doc__)

model = WhisperModel("tiny-en", device="cpu", compute_type="int8")
segments, info = model.transcribe(sys.argv[1], beam_size=5, word_timestamps=True)

print(f"{info.duration:.1f} s of audio")
for segment in segments:
    print(f"[{segment.start:.2f}s -> {segment.end:.2f}s]{segment.text}")
