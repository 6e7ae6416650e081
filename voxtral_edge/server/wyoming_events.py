"""Wyoming's wire format with bounds: the package's own reader takes lengths of any size on trust."""

from __future__ import annotations

import asyncio
from typing import Any

from wyoming.event import Event

from voxtral_edge.server.json_text import json_object
from voxtral_edge.server.limits import Limits


class WyomingFormatError(Exception):
    """Bytes that are no Wyoming event within the limits; the connection cannot go on."""


async def read_event(reader: asyncio.StreamReader, limits: Limits) -> Event | None:
    """The next event; None at the end of the connection. WyomingFormatError for lines, data and payloads that
    are too long or not what they should be."""
    try:
        line = await reader.readline()
    except ValueError:  # longer than the reader's limit
        raise WyomingFormatError(f"a header longer than {limits.control_bytes} bytes") from None
    if not line:
        return None
    header = _object(line, "header")
    kind = header.get("type")
    if not isinstance(kind, str):
        raise WyomingFormatError("a header without a type")
    data = header.get("data") or {}
    if not isinstance(data, dict):
        raise WyomingFormatError("data that is not an object")
    try:
        if length := _length(header, "data_length", limits.control_bytes):
            data = {**data, **_object(await reader.readexactly(length), "data")}
        payload_length = _length(header, "payload_length", limits.frame_bytes)
        payload = await reader.readexactly(payload_length) if payload_length else None
    except asyncio.IncompleteReadError:
        return None
    return Event(type=kind, data=data, payload=payload)


def _length(header: dict[str, Any], name: str, most: int) -> int:
    value = header.get(name)
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise WyomingFormatError(f"{name} must be a number from 0 to {most}")
    return value


def _object(text: bytes, what: str) -> dict[str, Any]:
    try:
        return json_object(text)
    except ValueError as error:
        raise WyomingFormatError(f"a {what} cannot be read: {error}") from None
