"""JSON objects from strangers."""

from __future__ import annotations

import json
from typing import Any


def json_object(text: str | bytes) -> dict[str, Any]:
    """The object that `text` holds; ValueError, saying what is wrong, for anything else.

    Strings are valid Unicode: JSON can spell half of a surrogate pair (`"\\ud800"`), which UTF-8 cannot, so an
    answer that repeats it could not be sent.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode()
        value = json.loads(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise ValueError("invalid JSON") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value
