"""Live listening: microphones, programs, paced files and Python iterables as a stream of events.

    for event in engine.listen():                     # the default microphone
        ...
    async for event in engine.listen_async("talk.wav"):
        ...

docs/live.md tells the whole story.
"""

from voxtral_edge.listen.asynchronous import listen_async
from voxtral_edge.listen.capture import Backlog
from voxtral_edge.listen.listener import Listener, ListenStep, Status
from voxtral_edge.listen.live_events import CaptionEvent, GapEvent, ListenEvent, listen_event_from_dict
from voxtral_edge.listen.microphone import Microphone, arecord_source, input_devices, open_microphone
from voxtral_edge.listen.sources import FileSource, IterableSource, ProgramSource, Source

__all__ = [
    "Backlog",
    "CaptionEvent",
    "FileSource",
    "GapEvent",
    "IterableSource",
    "ListenEvent",
    "ListenStep",
    "Listener",
    "Microphone",
    "ProgramSource",
    "Source",
    "Status",
    "arecord_source",
    "input_devices",
    "listen_async",
    "listen_event_from_dict",
    "open_microphone",
]
