"""Lines of subtitles: how wide a text is, and where it may be broken, in scripts with and without spaces."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

# What no line of Chinese or Japanese begins with (closing marks, small kana, the prolonged sound), or ends with.
_NOT_FIRST = frozenset(
    "、。，．・：；？！…—ー～゛゜々ゝゞヽヾぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶ）〕］｝〉》」』】〙〗’”!?,.:;)]}%"
)
_NOT_LAST = frozenset("（〔［｛〈《「『【〘〖‘“([{")


def text_width(text: str) -> int:
    """Width in columns of a terminal or a subtitle: Han, kana and Hangul are twice as wide as letters; marks that sit
    on the character before them have none."""
    return len(text) if text.isascii() else sum(map(_width_of, text))


def wrap_lines(text: str, width: int) -> list[str]:
    """`text` in lines of at most `width` columns (a single character may be wider), broken at spaces, and between Han
    or kana where their rules allow it; two lines come out about equally long."""
    text = " ".join(text.split())
    lines: list[str] = []
    while text_width(text) > width:
        cut = _break_in(text, width, balanced=not lines)
        lines.append(text[:cut].rstrip(" "))
        text = text[cut:].lstrip(" ")
    return [*lines, text] if text else lines


def joined(texts: Iterable[str]) -> str:
    """Consecutive pieces of a transcript as one text: with spaces, but not between two that are written without."""
    whole = ""
    for text in filter(None, texts):
        spaced = whole and not (is_unspaced(whole[-1]) and is_unspaced(text[0]))
        whole += " " + text if spaced else text
    return whole


def _break_in(text: str, width: int, balanced: bool) -> int:
    """Where the first line of `text`, which is too long for one, ends: with `balanced`, near the middle if two lines
    are enough; else as late as possible."""
    total, used, latest = text_width(text), 0, 0
    middle, off_middle = 0, total
    for at, character in enumerate(text):
        if at and _may_break(text, at):
            latest = at
            rest = total - used - (character == " ")
            if rest <= width and abs(rest - used) < off_middle:
                middle, off_middle = at, abs(rest - used)
        used += _width_of(character)
        if used > width:
            break
    # The last choice is within a word that is too long; marks stay with their letter, for they have no width.
    return (middle if balanced else 0) or latest or max(at, 1)


def _may_break(text: str, at: int) -> bool:
    """Whether a line may end before text[at]."""
    before, after = text[at - 1], text[at]
    if after == " ":
        return True
    if before == " ":
        return False  # the break is before the space
    if not (is_unspaced(before) or is_unspaced(after)):
        return False
    return after not in _NOT_FIRST and before not in _NOT_LAST and _width_of(after) > 0 and before != "\u200d"


def is_unspaced(character: str) -> bool:
    """Whether texts run on without spaces at this character: wide ones (Han, kana) other than Hangul."""
    return unicodedata.east_asian_width(character) in "WF" and not (
        "\u1100" <= character <= "\u11ff" or "\uac00" <= character <= "\ud7ff"
    )


def _width_of(character: str) -> int:
    if character.isascii():
        return 1
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
