"""What hotwords change: the same recording without and with phrases that are likely to be said.

python examples/hotwords.py samples/zero-to-nine.wav "four nine :6"
"""

import sys

import voxtral_edge as ve

if len(sys.argv) < 3:
    sys.exit(__doc__)

engine = ve.load("tiny-en")
print("without:", engine.transcribe(sys.argv[1]).text)
print("with:   ", engine.transcribe(sys.argv[1], hotwords=sys.argv[2]).text)
