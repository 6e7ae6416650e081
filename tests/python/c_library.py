"""The C library as a program in another language sees it: through ctypes, from the header alone."""

from __future__ import annotations

import ctypes
import functools
import re
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
from native_testing import ROOT

HEADER = ROOT / "csrc" / "c_api" / "voxtral_edge.h"
WARNINGS = ["-Wall", "-Wextra", "-pedantic", "-Werror"]


@functools.cache
def header_functions() -> dict[str, str]:
    """Every exported function with the comment above it."""
    found = re.findall(
        r"/\*((?:(?!\*/).)*)\*/\nVE_API [^;]*?\b(ve_\w+)\([^;]*\);",
        HEADER.read_text(encoding="utf-8"),
        re.DOTALL,
    )
    return {name: comment for comment, name in found}


LoadProgress = ctypes.CFUNCTYPE(c_int32, c_void_p, c_uint64, c_uint64)


class EngineOptions(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("affinity", c_char_p),
        ("kv_cache", c_char_p),
        ("kernels", c_char_p),
        ("packed_cache_folder", c_char_p),
        ("on_progress", LoadProgress),
        ("user_data", c_void_p),
        ("threads", c_uint32),
        ("packed_cache_read_only", c_uint32),
    ]


class EngineInfo(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("name", c_char_p),
        ("kernels", c_char_p),
        ("encoder_kv", c_char_p),
        ("decoder_kv", c_char_p),
        ("packed_cache_state", c_char_p),
        ("packed_cache_note", c_char_p),
        ("weight_bytes", c_uint64),
        ("state_bytes", c_uint64),
        ("threads", c_uint32),
        ("sample_rate_hz", c_uint32),
        ("samples_per_token", c_uint32),
        ("reserved", c_uint32),
    ]


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


class Stats(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("fed_samples", c_uint64),
        ("replaced_samples", c_uint64),
        ("generated_tokens", c_uint64),
        ("compute_ns", c_uint64),
        ("mel_ns", c_uint64),
        ("encode_ns", c_uint64),
        ("decode_ns", c_uint64),
        ("encode_calls", c_uint64),
        ("decode_calls", c_uint64),
        ("drafted_tokens", c_uint64),
        ("accepted_drafts", c_uint64),
        ("saturated_numbers", c_uint64),
        ("gain_decibels", c_double),
    ]


class Work(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("stream", c_void_p),
        ("samples", POINTER(c_float)),
        ("count", c_size_t),
        ("action", c_int32),
        ("reserved", c_uint32),
    ]


STRUCTURES = {
    "ve_engine_options": EngineOptions,
    "ve_engine_info": EngineInfo,
    "ve_stream_options": StreamOptions,
    "ve_event": Event,
    "ve_stats": Stats,
    "ve_work": Work,
}


class CError(Exception):
    """A status that is not VE_OK, with its name and message."""


class CLibrary:
    """The installed shared library with one engine."""

    def __init__(self, path: Path, package: Path, **options: Any) -> None:
        self._library = ctypes.CDLL(str(path))
        self._library.ve_last_error.restype = c_char_p
        self._library.ve_status_name.restype = c_char_p
        self._library.ve_version.restype = c_char_p
        self._library.ve_engine_free.argtypes = self._library.ve_stream_free.argtypes = [c_void_p]
        self._library.ve_engine_free.restype = self._library.ve_stream_free.restype = None
        self._engine = c_void_p()
        given = EngineOptions(struct_size=ctypes.sizeof(EngineOptions), **options) if options else None
        self.call(
            "ve_engine_load",
            str(package).encode(),
            None if given is None else byref(given),
            byref(self._engine),
        )

    def call(self, function: str, *arguments: Any) -> None:
        status = getattr(self._library, function)(*arguments)
        if status != 0:
            name = self._library.ve_status_name(status).decode()
            raise CError(f"{name}: {self._library.ve_last_error().decode()}")

    def version(self) -> str:
        return str(self._library.ve_version().decode())

    def version_number(self) -> int:
        return int(self._library.ve_version_number())

    def info(self) -> dict[str, Any]:
        info = EngineInfo(struct_size=ctypes.sizeof(EngineInfo))
        self.call("ve_engine_get_info", self._engine, byref(info))
        return {name: getattr(info, name) for name, _ in EngineInfo._fields_}

    def run(self, *items: tuple[CStream, np.ndarray | None, str]) -> None:
        """Streams in shared passes: (stream, float32 samples or None, "feed" | "flush" | "finish")."""
        actions = {"feed": 1, "flush": 2, "finish": 3}
        work = (Work * len(items))()
        for place, (stream, pcm, action) in zip(work, items, strict=True):
            place.struct_size, place.stream = ctypes.sizeof(Work), stream.handle
            place.action = actions[action]
            if pcm is not None:
                place.samples, place.count = pcm.ctypes.data_as(POINTER(c_float)), len(pcm)
        self.call("ve_run_streams", work, c_size_t(len(items)))

    def stream(self, **options: Any) -> CStream:
        return CStream(self, self._engine, StreamOptions(struct_size=ctypes.sizeof(StreamOptions), **options))

    def close(self) -> None:
        self._library.ve_engine_free(self._engine)

    def free_stream(self, handle: c_void_p) -> None:
        self._library.ve_stream_free(handle)


class CStream:
    """A stream whose events are the dicts of the native module."""

    def __init__(self, library: CLibrary, engine: c_void_p, options: StreamOptions) -> None:
        self._library, self.handle = library, c_void_p()
        library.call("ve_stream_create", engine, byref(options), byref(self.handle))

    def feed(self, pcm: np.ndarray) -> list[dict[str, Any]]:
        kind = {"int16": "i16", "float32": "f32"}[str(pcm.dtype)]
        self._library.call(
            f"ve_stream_feed_{kind}", self.handle, c_void_p(pcm.ctypes.data), c_size_t(len(pcm))
        )
        return self.events()

    def finish(self) -> list[dict[str, Any]]:
        self._library.call("ve_stream_finish", self.handle)
        return self.events()

    def events(self) -> list[dict[str, Any]]:
        found = []
        event = POINTER(Event)()
        while True:
            self._library.call("ve_stream_next_event", self.handle, byref(event))
            if not event:
                return found
            found.append(_as_dict(event.contents))

    def flush(self) -> list[dict[str, Any]]:
        self._library.call("ve_stream_flush", self.handle)
        return self.events()

    def reset(self) -> None:
        self._library.call("ve_stream_reset", self.handle)

    def stats(self) -> dict[str, Any]:
        stats = Stats(struct_size=ctypes.sizeof(Stats))
        self._library.call("ve_stream_get_stats", self.handle, byref(stats))
        return {name: getattr(stats, name) for name, _ in Stats._fields_}

    @property
    def text(self) -> str:
        text = c_char_p()
        self._library.call("ve_stream_text", self.handle, byref(text), None)
        return (text.value or b"").decode()

    @property
    def token_ids(self) -> list[int]:
        ids, count = POINTER(c_uint32)(), c_size_t()
        self._library.call("ve_stream_token_ids", self.handle, byref(ids), byref(count))
        return ids[: count.value]

    def close(self) -> None:
        self._library.free_stream(self.handle)


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
