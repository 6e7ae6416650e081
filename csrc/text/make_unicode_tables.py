"""Writes unicode_letters.inc and unicode_composition.inc from the Unicode data of the Python that runs it.

The lines are packed here, clang-format does not see them: python3 csrc/text/make_unicode_tables.py
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

FOLDER = Path(__file__).parent
LAST = 0x10FFFF
WIDTH = 118
_NAMES = "LuLlLtLmLoMnMcMeNdNlNoPcPdPsPePiPfPoSmScSkSoZsZlZpCcCfCsCoCn"  # in the order of unicode.h
CATEGORIES = [_NAMES[at : at + 2] for at in range(0, len(_NAMES), 2)]
# A run of Lu, Ll, Lu, Ll ... as one entry.
ALTERNATING = len(CATEGORIES)


def category(code: int) -> int:
    return CATEGORIES.index(unicodedata.category(chr(code)))


def category_runs() -> Iterator[tuple[int, int]]:
    """(first code point, category or ALTERNATING); each run ends where the next begins."""
    found = [category(code) for code in range(LAST + 1)]
    code, before = 0, -1
    while code <= LAST:
        end = code
        while end <= LAST and found[end] == (end - code) % 2:
            end += 1
        if end - code >= 4:
            yield code, ALTERNATING
            code, before = end, -1
            continue
        if found[code] != before:
            yield code, found[code]
            before = found[code]
        code += 1


def simple_case(code: int, upper: bool) -> int:
    """One code point for one: what has no single partner (the German sharp s in capitals) stays."""
    if code == 0x130 and not upper:  # I with a dot; Python gives i and a combining dot
        return ord("i")
    text = chr(code).upper() if upper else chr(code).lower()
    return ord(text) if len(text) == 1 else code


def case_runs(upper: bool) -> Iterator[tuple[int, int, int, int]]:
    """(first, last, step, difference): first, first + step ... last have their partner at `difference`."""
    run: list[int] = []
    for code in range(LAST + 1):
        difference = simple_case(code, upper) - code
        if difference == 0:
            continue
        if run and difference == run[3] and code - run[1] == (run[2] or code - run[1]) and code - run[1] <= 2:
            run[2] = code - run[1]
            run[1] = code
            continue
        if run:
            yield run[0], run[1], run[2] or 1, run[3]
        run = [code, code, 0, difference]
    if run:
        yield run[0], run[1], run[2] or 1, run[3]


def combining_runs() -> Iterator[tuple[int, int]]:
    before = 0
    for code in range(LAST + 1):
        combining = unicodedata.combining(chr(code))
        if combining != before:
            yield code, combining
            before = combining


def decompositions() -> Iterator[tuple[int, ...]]:
    """(code point, its one part) or (code point, first part, second part), with a 1 behind them if composing does not
    give it back. Hangul is computed."""
    for code in range(LAST + 1):
        parts = unicodedata.decomposition(chr(code))
        if parts and not parts.startswith("<"):
            numbers = [int(part, 16) for part in parts.split()]
            together = unicodedata.normalize("NFC", "".join(map(chr, numbers)))
            excluded = len(numbers) == 2 and together != chr(code)
            yield code, *numbers, *([1] if excluded else [])


def table(declaration: str, rows: Iterable[tuple[int, ...]], hexadecimal: int) -> str:
    """A C++ array; the first `hexadecimal` numbers of each row are code points."""
    lines, line = [], " "
    for row in rows:
        numbers = [f"0x{n:X}" if i < hexadecimal and n else str(n) for i, n in enumerate(row)]
        entry = " {" + ",".join(numbers) + "},"
        if len(line) + len(entry) > WIDTH:
            lines.append(line)
            line = " "
        line += entry
    return "\n".join([f"{declaration} = {{", *lines, line, "};", ""])


def write(name: str, *tables: str) -> None:
    head = f"// Unicode {unicodedata.unidata_version}, written by make_unicode_tables.py; not to be edited.\n"
    (FOLDER / name).write_text(head + "".join(tables), encoding="ascii")


def main() -> None:
    letters = [
        table("constexpr CategoryRun kCategoryRuns[]", category_runs(), 1),
        table("constexpr CaseRun kLowerRuns[]", case_runs(False), 2),
        table("constexpr CaseRun kUpperRuns[]", case_runs(True), 2),
    ]
    write("unicode_letters.inc", *letters)
    composition = [
        table("constexpr CombiningRun kCombiningRuns[]", combining_runs(), 1),
        table("constexpr Decomposition kDecompositions[]", decompositions(), 3),
    ]
    write("unicode_composition.inc", *composition)


if __name__ == "__main__":
    sys.exit(main())
