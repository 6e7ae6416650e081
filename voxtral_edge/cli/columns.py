"""Lines of a name and a text, wrapped where a terminal is too narrow for them."""

from __future__ import annotations

import shutil
import sys
import textwrap


def terminal_columns() -> int | None:
    """Of the terminal on standard output; None where it is none: programs want one line per subject."""
    return max(40, shutil.get_terminal_size().columns) if sys.stdout.isatty() else None


def named_lines(name: str, text: str, indent: int, width: int, columns: int | None) -> list[str]:
    """`name`, padded to `width`, and `text`; what does not fit into `columns` goes on below the text."""
    begin = " " * indent + f"{name:<{width}}"
    if columns is None:
        return [begin + text]
    below = " " * len(begin)
    return textwrap.wrap(text, columns - 1, initial_indent=begin, subsequent_indent=below) or [begin.rstrip()]
