"""The callback form: functions are called with words, captions and gaps; the device may be too slow.

python examples/live_callbacks.py samples/pin.ogg
"""

import sys

import voxtral_edge as ve
from voxtral_edge.listen import Backlog

if len(sys.argv) < 2:
    sys.exit(__doc__)

session = ve.load("tiny-en").listen(
    sys.argv[1],
    delay_ms=240,
    backlog=Backlog("skip", 2.0),  # rather lose a second than fall behind by two
)
text = session.run(
    lambda event: None,
    on_word=lambda word: print(f"word     {word.text}"),
    on_caption=lambda caption: print(f"caption  {caption.text}"),
    on_gap=lambda gap: print(f"not heard: {gap.start:.2f} – {gap.end:.2f} s"),
)
print(f"all      {text}")
