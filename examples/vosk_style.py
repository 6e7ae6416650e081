"""A program written for vosk, with the import changed: partial and final results as JSON.

python examples/vosk_style.py samples/zero-to-nine.wav
"""

import json
import sys
import wave

from voxtral_edge.compat.vosk import KaldiRecognizer, Model

if len(sys.argv) < 2:
    sys.exit(__doc__)

with wave.open(sys.argv[1], "rb") as recording:
    recognizer = KaldiRecognizer(Model("tiny-en"), recording.getframerate())
    while data := recording.readframes(4000):
        if recognizer.AcceptWaveform(data):
            print(json.loads(recognizer.Result())["text"])
        else:
            print("…", json.loads(recognizer.PartialResult())["partial"])
print(json.loads(recognizer.FinalResult())["text"])
