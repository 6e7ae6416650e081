"""Your own loop around a stream: pieces of any size in, events out, a flush when the speaker pauses.

python examples/own_audio_loop.py samples/phone-number.flac
"""

import sys

import voxtral_edge as ve
from voxtral_edge.audio import AudioFile
from voxtral_edge.endpoint import Endpointer

if len(sys.argv) < 2:
    sys.exit(__doc__)

engine = ve.load("tiny-en")
endpointer = Endpointer(delay_s=0.48)
with engine.stream(delay_ms=480) as stream, AudioFile(sys.argv[1]) as recording:
    for pcm in recording.blocks(1600):  # 100 ms of float32 at 16 kHz: a radio, a socket, a call …
        endpointer.meter.hear(pcm)
        events = stream.feed(pcm)
        for event in events:
            if isinstance(event, ve.TextEvent):
                print(event.text, end="", flush=True)
        if endpointer.decoded(events, stream.stats()["generated_tokens"]):
            print("  (pause)", flush=True)
    for event in stream.finish():
        if isinstance(event, ve.TextEvent):
            print(event.text, end="")
print()
