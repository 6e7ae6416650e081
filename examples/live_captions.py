"""Captions as they become complete, from a microphone or from a file played at its own speed.

python examples/live_captions.py                       the default microphone; Ctrl-C ends
python examples/live_captions.py samples/room.mp3
"""

import signal
import sys

import voxtral_edge as ve
from voxtral_edge.listen import CaptionEvent

engine = ve.load("tiny-en")
session = engine.listen(sys.argv[1] if len(sys.argv) > 1 else None)
signal.signal(signal.SIGINT, lambda *_: session.stop())  # the last words are still decoded

print(f"listening to {session.name}")
for event in session:
    if isinstance(event, CaptionEvent):
        print(f"{event.start:7.2f} s  {event.text}", flush=True)
