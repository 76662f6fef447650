"""A line chart in a terminal, of braille characters: each holds two by four dots (Unicode block U+2800)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from rich.text import Text

__all__ = ["Line", "line_chart"]

BRAILLE: Final = 0x2800
DOTS: Final = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))  # [column][row] of one character
ACROSS: Final = 2
DOWN: Final = 4
LABEL: Final = 6  # characters of a label on the vertical axis
LABEL_EVERY: Final = 3  # lines


class Line(NamedTuple):
    """One series: a value for each point of the horizontal axis, from the first on."""

    name: str
    style: str
    values: Sequence[float]


def line_chart(title: str, lines: Sequence[Line], first: int, width: int = 60, height: int = 12) -> Text:
    """Draw `lines` with a logarithmic vertical axis; where two meet, the one named first is on top.

    Args:
        title: above the chart.
        lines: all of one length of at least two, values above zero.
        first: number of the first point.
        width: characters of the plot, without its labels.
        height: lines of the plot.
    """
    low = math.log(min(min(line.values) for line in lines))
    high = math.log(max(max(line.values) for line in lines))
    cells: dict[tuple[int, int], tuple[int, str]] = {}
    for line in reversed(lines):
        _draw(cells, line, width * ACROSS, height * DOWN, (low, high))
    text = Text()
    text.append(f"{title}\n", style="bold")
    for row in range(height):
        label = math.exp(high - row / max(1, height - 1) * (high - low))
        named = row % LABEL_EVERY == 0 or row == height - 1
        text.append(f"{label:{LABEL}.3f} ┤" if named else f"{'':{LABEL}} │", style="dim")
        for column in range(width):
            bits, style = cells.get((column, row), (0, ""))
            text.append(chr(BRAILLE + bits) if bits else " ", style=style)
        text.append("\n")
    return text.append_text(_foot(lines, first, width))


def _draw(
    cells: dict[tuple[int, int], tuple[int, str]], line: Line, columns: int, rows: int, span: tuple[float, float]
) -> None:
    """Set the dots of one line; a steep stretch fills every row that it passes, so that there are no holes."""
    low, high = span
    heights = []
    for column in range(columns):
        value = math.log(_between(line.values, column / (columns - 1)))
        heights.append(round((high - value) / ((high - low) or 1.0) * (rows - 1)))
    for column, (before, row) in enumerate(pairwise([heights[0], *heights])):
        for dot in range(min(before, row), max(before, row) + 1):
            cell = (column // ACROSS, dot // DOWN)
            bits, style = cells.get(cell, (0, line.style))
            kept = bits if style == line.style else 0
            cells[cell] = (kept | DOTS[column % ACROSS][dot % DOWN], line.style)


def _between(values: Sequence[float], fraction: float) -> float:
    """The value at `fraction` (0 … 1) of the way along, on straight lines between neighbours."""
    place = fraction * (len(values) - 1)
    index = min(int(place), len(values) - 2)
    return values[index] + (values[index + 1] - values[index]) * (place - index)


def _foot(lines: Sequence[Line], first: int, width: int) -> Text:
    """The horizontal axis with its numbers, and the legend."""
    last = len(lines[0].values) - 1
    numbers = [" "] * (width + 1)
    for k in range(last + 1):
        mark, at = str(first + k), round(k / last * (width - 1))
        numbers[at : at + len(mark)] = mark
    foot = Text()
    foot.append(f"{'':{LABEL}} └{'─' * width}\n{'':{LABEL}}  {''.join(numbers).rstrip()}  rounds\n", style="dim")
    foot.append(" " * (LABEL + 2))
    for line in lines:
        foot.append("━━ ", style=line.style)
        foot.append(f"{line.name} {line.values[-1]:.4f}   ")
    return foot
