"""voxtral-edge: live speech to text on the CPU of small devices.

    import voxtral_edge as ve

    engine = ve.load("tiny-en")                       # a bundled demo model, or a package folder
    print(engine.transcribe("speech.wav").text)       # a recording

    with engine.stream(delay_ms=480) as stream:       # a live stream
        for pcm in microphone:                        # float32 or int16, 16 kHz mono, pieces of any size
            for event in stream.feed(pcm):
                ...
        stream.finish()

    for event in engine.listen():                     # the microphone itself
        ...

Nothing heavy is imported until it is used: `import voxtral_edge` and the exporter work without the compiled
module.
"""

from __future__ import annotations

import importlib
from pkgutil import extend_path
from typing import TYPE_CHECKING, Any

from voxtral_edge.errors import (
    AudioFormatError,
    DeviceError,
    ModelFormatError,
    OverrunError,
    UsageError,
    VoxtralEdgeError,
)

# In a source checkout `python` finds this folder first; the compiled module and the exporter then come from
# the installed package.
__path__ = extend_path(__path__, __name__)

if TYPE_CHECKING:
    from voxtral_edge import inspect, kernels
    from voxtral_edge.engine import VALID_DELAYS_MS, Engine, load
    from voxtral_edge.events import Event, FinalEvent, SegmentEvent, SpeakerEvent, TextEvent, WordEvent
    from voxtral_edge.hotwords import Hotword, Hotwords
    from voxtral_edge.listen import CaptionEvent, GapEvent
    from voxtral_edge.package_folder import bundled_models
    from voxtral_edge.results import Segment, Transcript, Word
    from voxtral_edge.stream import Stream
    from voxtral_edge.transcriber import Transcriber

    __version__: str

__all__ = [
    "VALID_DELAYS_MS",
    "AudioFormatError",
    "CaptionEvent",
    "DeviceError",
    "Engine",
    "Event",
    "FinalEvent",
    "GapEvent",
    "Hotword",
    "Hotwords",
    "ModelFormatError",
    "OverrunError",
    "Segment",
    "SegmentEvent",
    "SpeakerEvent",
    "Stream",
    "TextEvent",
    "Transcriber",
    "Transcript",
    "UsageError",
    "VoxtralEdgeError",
    "Word",
    "WordEvent",
    "__version__",
    "bundled_models",
    "inspect",
    "kernels",
    "load",
]

_HOME = {
    "VALID_DELAYS_MS": "engine",
    "Engine": "engine",
    "bundled_models": "package_folder",
    "load": "engine",
    "Event": "events",
    "FinalEvent": "events",
    "SegmentEvent": "events",
    "SpeakerEvent": "events",
    "TextEvent": "events",
    "WordEvent": "events",
    "Segment": "results",
    "Transcript": "results",
    "Word": "results",
    "Stream": "stream",
    "CaptionEvent": "listen",
    "GapEvent": "listen",
    "Hotword": "hotwords",
    "Hotwords": "hotwords",
    "Transcriber": "transcriber",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = _version()
    elif name in ("inspect", "kernels"):
        value = importlib.import_module(f"voxtral_edge.{name}")
    elif name in _HOME:
        value = getattr(importlib.import_module(f"voxtral_edge.{_HOME[name]}"), name)
    else:
        raise AttributeError(f"module 'voxtral_edge' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """What completion offers: the interface and its modules, not what this file imports."""
    modules = (name for name, value in globals().items() if getattr(value, "__package__", None) == __name__)
    return sorted({*__all__, *modules})


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("voxtral-edge")
    except PackageNotFoundError:
        return "0+source"
