"""Request bodies with bounds: size, time, number of fields; and the uploaded file on disk, for the
decoder."""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.types import Message

from voxtral_edge.audio import AudioFile
from voxtral_edge.errors import AudioFormatError
from voxtral_edge.server.errors import RequestError
from voxtral_edge.server.known_speakers import MOST_KNOWN_SPEAKERS, REFERENCES
from voxtral_edge.server.limits import Limits
from voxtral_edge.server.patience import within

Result = TypeVar("Result")

_COPY_BYTES = 1 << 20


async def read_multipart(request: Request, limits: Limits) -> FormData:
    """The form of a multipart request. RequestError 413 (too large), 408 (too slow) or 400 (not a form, too
    many fields)."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise RequestError(400, "send the audio as multipart/form-data with a field file")
    length = request.headers.get("content-length")
    if length is not None and (not length.isdigit() or int(length) > limits.upload_bytes):
        raise _too_large(limits)
    bounded = Request(request.scope, _Bounded(request, limits))
    try:
        return await _Parser(bounded, limits).parse()
    except MultiPartException as error:
        raise RequestError(400, f"the form cannot be read: {error.message}") from None
    except HTTPException as error:
        raise RequestError(error.status_code, error.detail) from None
    except (KeyError, UnicodeDecodeError):
        raise RequestError(400, "the form cannot be read: a part or its boundary is malformed") from None


class _Parser(MultiPartParser):
    """Recordings of known speakers are the only long fields, and there are few."""

    def __init__(self, request: Request, limits: Limits) -> None:
        super().__init__(request.headers, request.stream(), max_files=1, max_fields=limits.form_fields)
        self._limits = limits
        self._references = 0

    def on_headers_finished(self) -> None:
        super().on_headers_finished()
        reference = self._current_part.field_name.removesuffix("[]") == REFERENCES
        self.max_part_size = self._limits.reference_bytes if reference else self._limits.field_bytes
        self._references += reference
        if self._references > MOST_KNOWN_SPEAKERS:
            raise MultiPartException(f"at most {MOST_KNOWN_SPEAKERS} speakers can be known")


class _Bounded:
    """An ASGI receive that counts bytes and watches the clock."""

    def __init__(self, request: Request, limits: Limits) -> None:
        self._receive = request.receive
        self._limits = limits
        self._left = limits.upload_bytes
        self._deadline = asyncio.get_running_loop().time() + limits.upload_s

    async def __call__(self) -> Message:
        wait_s = self._deadline - asyncio.get_running_loop().time()
        try:
            message = await within(max(0.0, wait_s), self._receive())
        except asyncio.TimeoutError:
            raise RequestError(408, f"the body did not arrive within {self._limits.upload_s:g} s") from None
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise _too_large(self._limits)
        return message


def _too_large(limits: Limits) -> RequestError:
    return RequestError(413, f"the body is larger than {limits.upload_bytes} bytes; send shorter recordings")


class UploadedAudio:
    """An audio file that worker threads read while the event loop may close it. libsndfile crashes when a
    file is closed under a read, and a cancelled task does not wait for its thread: so the two exclude each
    other.

    AudioFormatError as from AudioFile, with the name that the client gave instead of the path.
    """

    def __init__(self, path: str, name: str) -> None:
        self._path, self._name = path, name
        self._lock = threading.Lock()
        self._closed = False
        self._file = self._renamed(lambda: AudioFile(path))
        self._blocks = self._file.blocks()

    @property
    def warnings(self) -> list[str]:
        """What was odd about the audio."""
        return [warning.replace(self._path, self._name) for warning in self._file.warnings]

    def read(self) -> NDArray[np.float32] | None:
        """The next block; None at the end, and after `close`."""
        with self._lock:
            return None if self._closed else self._renamed(lambda: next(self._blocks, None))

    def close(self) -> None:
        """Waits for a read that runs, then closes."""
        with self._lock:
            self._closed = True
            self._file.close()

    def _renamed(self, act: Callable[[], Result]) -> Result:
        try:
            return act()
        except AudioFormatError as error:
            raise AudioFormatError(str(error).replace(self._path, self._name)) from None


def store(upload: UploadFile, stack: ExitStack) -> str:
    """Copies the uploaded file to one with a name, removed with `stack`. Blocks while the disk works."""
    handle, path = tempfile.mkstemp(prefix="voxtral-edge-")
    stack.callback(os.unlink, path)
    with os.fdopen(handle, "wb") as out:
        upload.file.seek(0)
        while block := upload.file.read(_COPY_BYTES):
            out.write(block)
    return path
