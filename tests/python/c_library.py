"""The C library as a program in another language sees it: through ctypes, from the header alone."""

from __future__ import annotations

import ctypes
from ctypes import (
    POINTER,
    byref,
    c_char_p,
    c_double,
    c_float,
    c_int32,
    c_size_t,
    c_uint32,
    c_uint64,
    c_void_p,
)
from pathlib import Path
from typing import Any

import numpy as np


class StreamOptions(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("delay_ms", c_uint32),
        ("gain_decibels", c_float),
        ("automatic_gain", c_uint32),
        ("break_pad_runs", c_uint32),
        ("recorded", c_uint32),
        ("discard_history", c_uint32),
        ("max_batch_tokens", c_uint32),
        ("reserved", c_uint32),
        ("hotwords", c_char_p),
    ]


class Event(ctypes.Structure):
    _fields_ = [
        ("type", c_int32),
        ("probability", c_float),
        ("text", c_char_p),
        ("text_bytes", c_size_t),
        ("start_s", c_double),
        ("end_s", c_double),
        ("token_index", c_uint64),
    ]


class CError(Exception):
    """A status that is not VE_OK, with its name and message."""


class CLibrary:
    """The installed shared library with one engine."""

    def __init__(self, path: Path, package: Path) -> None:
        self._library = ctypes.CDLL(str(path))
        self._library.ve_last_error.restype = c_char_p
        self._library.ve_status_name.restype = c_char_p
        self._library.ve_version.restype = c_char_p
        self._library.ve_engine_free.argtypes = self._library.ve_stream_free.argtypes = [c_void_p]
        self._library.ve_engine_free.restype = self._library.ve_stream_free.restype = None
        self._engine = c_void_p()
        self.call("ve_engine_load", str(package).encode(), None, byref(self._engine))

    def call(self, function: str, *arguments: Any) -> None:
        status = getattr(self._library, function)(*arguments)
        if status != 0:
            name = self._library.ve_status_name(status).decode()
            raise CError(f"{name}: {self._library.ve_last_error().decode()}")

    def version(self) -> str:
        return str(self._library.ve_version().decode())

    def stream(self, **options: Any) -> CStream:
        return CStream(self, self._engine, StreamOptions(struct_size=ctypes.sizeof(StreamOptions), **options))

    def close(self) -> None:
        self._library.ve_engine_free(self._engine)

    def free_stream(self, handle: c_void_p) -> None:
        self._library.ve_stream_free(handle)


class CStream:
    """A stream whose events are the dicts of the native module."""

    def __init__(self, library: CLibrary, engine: c_void_p, options: StreamOptions) -> None:
        self._library, self._handle = library, c_void_p()
        library.call("ve_stream_create", engine, byref(options), byref(self._handle))

    def feed(self, pcm: np.ndarray) -> list[dict[str, Any]]:
        kind = {"int16": "i16", "float32": "f32"}[str(pcm.dtype)]
        self._library.call(
            f"ve_stream_feed_{kind}", self._handle, c_void_p(pcm.ctypes.data), c_size_t(len(pcm))
        )
        return self.events()

    def finish(self) -> list[dict[str, Any]]:
        self._library.call("ve_stream_finish", self._handle)
        return self.events()

    def events(self) -> list[dict[str, Any]]:
        found = []
        event = POINTER(Event)()
        while True:
            self._library.call("ve_stream_next_event", self._handle, byref(event))
            if not event:
                return found
            found.append(_as_dict(event.contents))

    @property
    def text(self) -> str:
        text = c_char_p()
        self._library.call("ve_stream_text", self._handle, byref(text), None)
        return (text.value or b"").decode()

    @property
    def token_ids(self) -> list[int]:
        ids, count = POINTER(c_uint32)(), c_size_t()
        self._library.call("ve_stream_token_ids", self._handle, byref(ids), byref(count))
        return ids[: count.value]

    def close(self) -> None:
        self._library.free_stream(self._handle)


def _as_dict(event: Event) -> dict[str, Any]:
    text = event.text.decode()
    assert len(event.text) == event.text_bytes
    match event.type:
        case 1:
            fields = {"type": "text", "text": text}
        case 2:
            fields = {"type": "word", "text": text, "start": event.start_s, "end": event.end_s}
            fields["probability"] = event.probability
        case 3:
            fields = {"type": "segment", "time": event.start_s}
        case other:
            assert other == 4
            fields = {"type": "final", "text": text}
    return {**fields, "token": event.token_index}
