"""A recording to text, words with times, and subtitles.

python examples/transcribe_file.py samples/serial-numbers.flac
"""

import sys

import voxtral_edge as ve
from voxtral_edge.formats import to_srt

if len(sys.argv) < 2:
    sys.exit(__doc__)

engine = ve.load("tiny-en")
transcript = engine.transcribe(sys.argv[1])

print(transcript.text, end="\n\n")
for word in transcript.words:
    print(f"{word.start:6.2f} – {word.end:5.2f}  {word.probability:4.0%}  {word.text}")
print()
print(to_srt(transcript), end="")
