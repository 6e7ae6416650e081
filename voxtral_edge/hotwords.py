"""Context biasing: phrases the listener expects (names, products, jargon) become likelier to be written.

    engine.transcribe("call.wav", hotwords=["Kubernetes", ("Zürich", 3.0)])
    engine.stream(hotwords=engine.hotwords(Path("names.txt")))        # encoded once, shared by streams

A bonus is added to the scores of tokens that begin or continue a phrase, at moments where the model is
writing text anyway; where it keeps silent or ends a word, nothing changes, so times stay as they are.
docs/biasing.md has the method and what was measured.
"""

from __future__ import annotations

import math
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voxtral_edge._native import native_module
from voxtral_edge.errors import UsageError
from voxtral_edge.tokenizer import Tokenizer

# Logits that a whole phrase gains at its last token; from the sweep in docs/biasing.md.
DEFAULT_WEIGHT = 1.0
MAX_WEIGHT = 20.0
MAX_PHRASES = 10_000
MAX_PHRASE_CHARACTERS = 256
_MAX_FILE_BYTES = 8 << 20

# Where servers' clients put the phrase and its weight in an object.
_PHRASE_KEYS = ("phrase", "text", "content", "word", "value", "keyword")
_WEIGHT_KEYS = ("weight", "boost", "score", "bias")
_WEIGHT_SUFFIX = re.compile(r"^(.*\S)\s+:\s*(\S+)$", re.DOTALL)
# Scripts written without spaces: a phrase may begin anywhere in a text.
_NO_SPACES = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff]"
)


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

    def __init__(self, phrases: Iterable[Hotword], tokenizer: Callable[[], Tokenizer]) -> None:
        self.phrases = _merged(phrases)
        self.tree: Any = None
        if self.phrases:
            self.tree = native_module().BiasTree(list(_entries(self.phrases, tokenizer())))

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
        items: Iterable[Any] = [_suffixed(part) for part in value.split(",") if part.strip()]
    elif isinstance(value, os.PathLike):
        items = _lines(Path(value))
    elif isinstance(value, Mapping):
        items = value.items() if not _is_item(value) else [value]
    elif isinstance(value, Iterable) and not isinstance(value, (bytes, bytearray)):
        items = value
    else:
        raise UsageError(f"hotwords is a {type(value).__name__}; pass a list of phrases or a file's path")
    found: list[Hotword] = []
    for number, item in enumerate(items, 1):
        if number > MAX_PHRASES:
            raise UsageError(
                f"hotwords: more than {MAX_PHRASES} phrases; keep those that are likely to be said"
            )
        found.append(_checked(item, number))
    return found


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


def spellings(phrase: str) -> list[tuple[str, bool]]:
    """How a phrase may stand in a transcript: (text, opening). Words carry their leading space, so a spelling without
    one is possible only as the opening of a transcript, except in scripts that write no spaces. Case: as
    given, all lower case, and with a capital first letter as at the beginning of a sentence."""
    capital = phrase[0].upper() + phrase[1:]
    cases = dict.fromkeys([phrase, phrase.lower(), capital])
    anywhere = _NO_SPACES.match(phrase) is not None
    return [(" " + case, False) for case in cases] + [(case, not anywhere) for case in cases]


def _entries(
    phrases: Iterable[Hotword], tokenizer: Tokenizer
) -> Iterator[tuple[list[int], list[float], bool]]:
    for hotword in phrases:
        for text, opening in spellings(hotword.phrase):
            ids = tokenizer.encode(text)
            shares = _shares([tokenizer.piece(token) for token in ids])
            yield ids, [hotword.weight * share for share in shares], opening


def _shares(pieces: list[bytes]) -> list[float]:
    """What each token of a spelling earns of the weight: the share of the phrase that is written with it. The
    first letters of "Kubernetes" fit many words and get little, its last ones nearly everything. One letter
    that begins a longer phrase gets nothing, because it may be a letter that is being spelled."""
    lengths = [len(piece) for piece in pieces]
    lengths[0] -= pieces[0].startswith(b" ")
    total, written = sum(lengths), 0
    shares = []
    for length in lengths:
        written += length
        shares.append(written / total if written > 1 or total == 1 else 0.0)
    return shares


def _merged(phrases: Iterable[Hotword]) -> tuple[Hotword, ...]:
    weights: dict[str, float] = {}
    for hotword in phrases:
        weights[hotword.phrase] = max(hotword.weight, weights.get(hotword.phrase, 0.0))
    return tuple(Hotword(phrase, weight) for phrase, weight in weights.items())


def _checked(item: Any, number: int) -> Hotword:
    """One item of a list, in any shape, as a valid hotword."""
    where = f"hotwords, item {number}"
    phrase, weight = _shape(item, where)
    if not isinstance(phrase, str):
        raise UsageError(f"{where}: {_shown(phrase)} is not text; pass a str (decode bytes as UTF-8 first)")
    try:
        phrase.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UsageError(f"{where}: {phrase[:40]!a} is not valid Unicode text") from error
    phrase = " ".join(unicodedata.normalize("NFC", phrase).split())
    if not any(character.isalnum() for character in phrase):
        raise UsageError(f"{where}: {phrase!r} has no letter or digit; leave it out")
    if len(phrase) > MAX_PHRASE_CHARACTERS:
        raise UsageError(
            f"{where}: {phrase[:30]!r}… has {len(phrase)} characters; {MAX_PHRASE_CHARACTERS} are the limit, "
            "give its rare words one by one"
        )
    return Hotword(phrase, _weight(weight, where))


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
    if value is None:
        return DEFAULT_WEIGHT
    try:
        weight = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError):
        weight = math.nan
    if not 0.0 < weight <= MAX_WEIGHT:
        raise UsageError(
            f"{where}: weight {_shown(value)} is not a number above 0 and at most {MAX_WEIGHT:.0f}"
        )
    return weight


def _suffixed(text: str) -> Any:
    """`phrase :weight` as a pair, a phrase without weight as it is. Only a colon after white space counts:
    "10:30"."""
    match = _WEIGHT_SUFFIX.match(text.strip())
    return (match.group(1), match.group(2)) if match else text.strip()


def _lines(path: Path) -> list[Any]:
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise UsageError(
                f"{path}: is larger than {_MAX_FILE_BYTES >> 20} MiB; is it really a list of phrases?"
            )
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error})") from error
    lines = (line.strip() for line in text.splitlines())
    return [_suffixed(line) for line in lines if line and not line.startswith("#")]


def _is_item(value: Mapping[Any, Any]) -> bool:
    """Whether a mapping is one phrase as an object rather than a table of phrases."""
    return any(isinstance(value.get(key), str) for key in _PHRASE_KEYS)


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."
