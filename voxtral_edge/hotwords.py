"""Context biasing: phrases the listener expects (names, products, jargon) become likelier to be written.

    engine.transcribe("call.wav", hotwords=["Kubernetes", ("Zürich", 3.0)])
    engine.stream(hotwords=engine.hotwords(Path("names.txt")))        # encoded once, shared by streams

A bonus is added to the scores of tokens that begin or continue a phrase, at moments where the model is
writing text anyway; where it keeps silent or ends a word, nothing changes, so times stay as they are.
docs/biasing.md has the method and what was measured.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from voxtral_edge._native import native_module
from voxtral_edge.errors import UsageError

# As in csrc/engine/hotwords.h, which checks phrases and cuts them into tokens.
DEFAULT_WEIGHT = 1.0
MAX_WEIGHT = 20.0
MAX_PHRASES = 10_000
_MAX_FILE_BYTES = 8 << 20

# Where servers' clients put the phrase and its weight in an object.
_PHRASE_KEYS = ("phrase", "text", "content", "word", "value", "keyword")
_WEIGHT_KEYS = ("weight", "boost", "score", "bias")


@dataclass(frozen=True, slots=True)
class Hotword:
    """A phrase and the logits it gains (0 < weight ≤ 20), spread over its tokens."""

    phrase: str
    weight: float = DEFAULT_WEIGHT


class Hotwords:
    """Phrases made ready for one model's vocabulary by `Engine.hotwords`. Immutable; any number of streams of
    that engine may share it.

    phrases   what was asked for, normalised, duplicates merged (the larger weight stays)
    tree      the native prefix tree over token ids; None for an empty list
    """

    def __init__(self, phrases: Iterable[Hotword], encoder: Any) -> None:
        self.phrases = _merged(phrases)
        self.tree: Any = None
        if self.phrases:
            pairs = [(hotword.phrase, hotword.weight) for hotword in self.phrases]
            self.tree = encoder.hotword_tree(pairs)

    def __len__(self) -> int:
        return len(self.phrases)

    def __repr__(self) -> str:
        shown = ", ".join(f"{each.phrase} :{each.weight:g}" for each in self.phrases[:3])
        more = ", …" if len(self.phrases) > 3 else ""
        return f"<voxtral_edge.Hotwords, {len(self.phrases)} in all: {shown}{more}>"


def parse_hotwords(value: Any) -> list[Hotword]:
    """Hotwords in any of the accepted shapes, as a list:

    - None, or an empty list: no phrases
    - a str: phrases separated by commas, each with an optional ` :weight` ("Zürich :3, Kubernetes")
    - a path object: a UTF-8 text file, one `phrase` or `phrase :weight` per line; lines beginning with # are comments
    - an iterable of str, `Hotword`, (phrase, weight) pairs and mappings such as {"phrase": …, "weight": …}; a
      list of str is what OpenAI calls keywords and Mistral context_bias
    - a mapping of phrase to weight

    UsageError, naming the item, for empty and over-long phrases, invalid Unicode, weights outside (0, 20],
    more than 10,000 phrases, and anything else.
    """
    if value is None:
        return []
    if isinstance(value, str):
        if "," not in value and _looks_like_a_file(value):
            raise UsageError(
                f"hotwords {_shown(value)} looks like a file's name; pass pathlib.Path({_shown(value)})"
            )
        return _hotwords(native_module().parse_hotwords(_unicode(value, "hotwords"), ","))
    if isinstance(value, os.PathLike):
        return _hotwords(native_module().parse_hotwords(_text_of(Path(value)), "\n"))
    if isinstance(value, Mapping):
        items: Iterable[Any] = value.items() if not _is_item(value) else [value]
    elif isinstance(value, Iterable) and not isinstance(value, (bytes, bytearray)):
        items = value
    else:
        raise UsageError(f"hotwords is a {type(value).__name__}; pass a list of phrases or a file's path")
    some = islice(items, MAX_PHRASES + 1)  # one more than allowed, of a source that may never end
    pairs = [_pair(item, f"hotwords, item {number}") for number, item in enumerate(some, 1)]
    return _hotwords(native_module().checked_hotwords(pairs))


def read_hotwords_option(text: str) -> list[Hotword]:
    """The value of `--hotwords`: a file's name if there is such a file, else phrases separated by commas."""
    path = Path(text).expanduser()
    try:
        is_file = path.is_file()
    except (OSError, ValueError):  # a list of phrases can be too long to be a file's name
        is_file = False
    if is_file:
        return parse_hotwords(path)
    if not text.replace(",", "").strip():
        raise UsageError(f"--hotwords {text!r} names nothing; name a file, or phrases separated by commas")
    if "," not in text and _looks_like_a_file(text):
        raise UsageError(f"--hotwords {text}: no such file; name a file, or phrases separated by commas")
    return parse_hotwords(text)


def _looks_like_a_file(text: str) -> bool:
    """ "names.txt", "./names", "~/names" and "/tmp/names" are meant as files, "TCP/IP" is a phrase."""
    return text.endswith((".txt", ".lst")) or text.startswith((os.sep, f".{os.sep}", f"..{os.sep}", "~"))


def _merged(phrases: Iterable[Hotword]) -> tuple[Hotword, ...]:
    weights: dict[str, float] = {}
    for hotword in phrases:
        weights[hotword.phrase] = max(hotword.weight, weights.get(hotword.phrase, 0.0))
    return tuple(Hotword(phrase, weight) for phrase, weight in weights.items())


def _hotwords(pairs: Iterable[tuple[str, float]]) -> list[Hotword]:
    return [Hotword(phrase, weight) for phrase, weight in pairs]


def _pair(item: Any, where: str) -> tuple[str, float]:
    """One item of a list, in any shape, as the core takes it."""
    phrase, weight = _shape(item, where)
    if not isinstance(phrase, str):
        raise UsageError(f"{where}: {_shown(phrase)} is not text; pass a str (decode bytes as UTF-8 first)")
    return _unicode(phrase, where), DEFAULT_WEIGHT if weight is None else _weight(weight, where)


def _unicode(text: str, where: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UsageError(f"{where}: {text[:40]!a} is not valid Unicode text") from error
    return text


def _shape(item: Any, where: str) -> tuple[Any, Any]:
    if isinstance(item, Hotword):
        return item.phrase, item.weight
    if isinstance(item, str):
        return item, None
    if isinstance(item, Mapping):
        keys = [key for key in _PHRASE_KEYS if key in item]
        if not keys:
            raise UsageError(f'{where}: {_shown(item)} has no "phrase"; pass {{"phrase": …, "weight": …}}')
        return item[keys[0]], next((item[key] for key in _WEIGHT_KEYS if key in item), None)
    if isinstance(item, (tuple, list)) and len(item) == 2:
        return item[0], item[1]
    raise UsageError(f"{where}: {_shown(item)} is neither a phrase nor a (phrase, weight) pair")


def _weight(value: Any, where: str) -> float:
    if not isinstance(value, bool):
        try:
            return float(value)
        except (TypeError, ValueError):
            pass
    raise UsageError(f"{where}: weight {_shown(value)} is not a number above 0 and at most {MAX_WEIGHT:.0f}")


def _text_of(path: Path) -> str:
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise UsageError(
                f"{path}: is larger than {_MAX_FILE_BYTES >> 20} MiB; is it really a list of phrases?"
            )
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error})") from error


def _is_item(value: Mapping[Any, Any]) -> bool:
    """Whether a mapping is one phrase as an object rather than a table of phrases."""
    return any(isinstance(value.get(key), str) for key in _PHRASE_KEYS)


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."
