"""Just enough SVG: axes that scale, lines, bands, bars, dots and text, as strings.

Colours are CSS classes, never values, so that one page serves light and dark screens; see `page`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

Point = tuple[float, float]
TICKS = 6


@dataclass(frozen=True)
class Axis:
    """Maps values `low`..`high` to pixels `begin`..`end`, linearly or by logarithm."""

    low: float
    high: float
    begin: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """The pixel of a value; values outside lie outside."""
        if self.log:
            share = math.log(max(value, 1e-12) / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.begin + share * (self.end - self.begin)

    def ticks(self) -> list[float]:
        """Round values worth a label."""
        return _log_ticks(self.low, self.high) if self.log else _linear_ticks(self.low, self.high)


class Drawing:
    """Collects elements; `str()` gives the `<svg>`. Width and height in pixels of its own view box."""

    def __init__(self, width: float, height: float, title: str) -> None:
        self.width, self.height, self._title = width, height, title
        self._elements: list[str] = []

    def line(self, begin: Point, end: Point, style: str) -> None:
        """A straight line."""
        self._add(
            f'<line x1="{_n(begin[0])}" y1="{_n(begin[1])}" x2="{_n(end[0])}" y2="{_n(end[1])}" '
            f'class="{style}"/>'
        )

    def path(self, points: Sequence[Point], style: str, closed: bool = False) -> None:
        """Straight lines through points."""
        if points:
            steps = "L".join(f"{_n(x)} {_n(y)}" for x, y in points)
            self._add(f'<path d="M{steps}{"Z" if closed else ""}" class="{style}"/>')

    def band(self, upper: Sequence[Point], lower: Sequence[Point], style: str) -> None:
        """The area between two lines."""
        self.path([*upper, *reversed(lower)], style, closed=True)

    def bar(self, x: float, y: float, width: float, height: float, style: str, hint: str = "") -> None:
        """A rectangle; `hint` shows when it is pointed at."""
        inner = f"<title>{escape(hint)}</title>" if hint else ""
        self._add(
            f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(max(0.0, width))}" height="{_n(max(0.0, height))}" '
            f'class="{style}">{inner}</rect>'
        )

    def dot(self, at: Point, radius: float, style: str, hint: str = "") -> None:
        """A filled circle."""
        inner = f"<title>{escape(hint)}</title>" if hint else ""
        self._add(
            f'<circle cx="{_n(at[0])}" cy="{_n(at[1])}" r="{_n(radius)}" class="{style}">{inner}</circle>'
        )

    def text(self, at: Point, text: str, style: str = "label", anchor: str = "start") -> None:
        """Text; `anchor` is start, middle or end."""
        self._add(
            f'<text x="{_n(at[0])}" y="{_n(at[1])}" class="{style}" text-anchor="{anchor}">'
            f"{escape(text)}</text>"
        )

    def x_axis(self, axis: Axis, y: float, top: float, labels: dict[float, str] | None = None) -> None:
        """Grid lines from `y` up to `top`, and labels under `y`."""
        for value, label in (labels or {tick: short(tick) for tick in axis.ticks()}).items():
            x = axis.at(value)
            self.line((x, y), (x, top), "grid")
            self.text((x, y + 16), label, "tick", "middle")

    def y_axis(self, axis: Axis, x: float, right: float, labels: dict[float, str] | None = None) -> None:
        """Grid lines from `x` to `right`, and labels left of `x`."""
        for value, label in (labels or {tick: short(tick) for tick in axis.ticks()}).items():
            y = axis.at(value)
            self.line((x, y), (right, y), "grid")
            self.text((x - 7, y + 4), label, "tick", "end")

    def __str__(self) -> str:
        return (
            f'<svg viewBox="0 0 {_n(self.width)} {_n(self.height)}" role="img" '
            f'aria-label="{escape(self._title, quote=True)}">' + "".join(self._elements) + "</svg>"
        )

    def _add(self, element: str) -> None:
        self._elements.append(element)


def short(value: float) -> str:
    """A number for an axis: no trailing zeros, thousands as k."""
    if abs(value) >= 10_000:
        return f"{value / 1000:g}k"
    return f"{value:.6g}"


def padded(values: Iterable[float], share: float = 0.06) -> tuple[float, float]:
    """Limits that leave a little air above and below the values; never empty."""
    listed = list(values)
    low, high = min(listed), max(listed)
    air = (high - low) * share or abs(high) * share or 1.0
    return low - air, high + air


def _linear_ticks(low: float, high: float) -> list[float]:
    rough = (high - low) / TICKS
    scale = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * scale for factor in (1, 2, 2.5, 5, 10) if factor * scale >= rough)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9), (1, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        ticks = [factor * 10.0**decade for decade in decades for factor in factors]
        ticks = [round(tick, 12) for tick in ticks if low * 0.999 <= tick <= high * 1.001]
        if len(ticks) <= TICKS + 2:
            return ticks
    return ticks


def _n(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
