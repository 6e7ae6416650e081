"""Request bodies with bounds: size, time, number of fields; and the uploaded file on disk, for the
decoder."""

from __future__ import annotations

import asyncio
import os
import tempfile
from contextlib import ExitStack

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.types import Message

from voxtral_edge.server.errors import RequestError
from voxtral_edge.server.limits import Limits

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
        parser = MultiPartParser(
            bounded.headers,
            bounded.stream(),
            max_files=1,
            max_fields=limits.form_fields,
            max_part_size=limits.field_bytes,
        )
        return await parser.parse()
    except MultiPartException as error:
        raise RequestError(400, f"the form cannot be read: {error.message}") from None
    except HTTPException as error:
        raise RequestError(error.status_code, error.detail) from None
    except (KeyError, UnicodeDecodeError):
        raise RequestError(400, "the form cannot be read: a part or its boundary is malformed") from None


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
            message = await asyncio.wait_for(self._receive(), max(0.0, wait_s))
        except asyncio.TimeoutError:
            raise RequestError(408, f"the body did not arrive within {self._limits.upload_s:g} s") from None
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise _too_large(self._limits)
        return message


def _too_large(limits: Limits) -> RequestError:
    return RequestError(413, f"the body is larger than {limits.upload_bytes} bytes; send shorter recordings")


def store(upload: UploadFile, stack: ExitStack) -> str:
    """Copies the uploaded file to one with a name, removed with `stack`. Blocks while the disk works."""
    handle, path = tempfile.mkstemp(prefix="voxtral-edge-")
    stack.callback(os.unlink, path)
    with os.fdopen(handle, "wb") as out:
        upload.file.seek(0)
        while block := upload.file.read(_COPY_BYTES):
            out.write(block)
    return path
