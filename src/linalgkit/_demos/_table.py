"""Tables for a terminal and for a Markdown page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

NOTHING = "·"


@dataclass(frozen=True)
class Table:
    """Cells of text; the first column and those in `left` stand on the left.

    Attributes
    ----------
    header : sequence of str
        A line break in a heading gives it a second line.
    rows : sequence of sequence of str
        As many cells in each as there are headings.
    left : frozenset of int
        Numbers of further columns of words.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: frozenset[int] = frozenset()

    def text(self) -> str:
        """Return the table with aligned columns."""
        heads = [cell.split("\n") for cell in self.header]
        depth = max(len(head) for head in heads)
        tops = [[""] * (depth - len(head)) + head for head in heads]
        lines = [[top[i] for top in tops] for i in range(depth)]
        body = [*lines, *self.rows]
        widths = [max(len(row[j]) for row in body) for j in range(len(self.header))]
        rule = "  ".join("-" * width for width in widths)
        shown = [self._line(row, widths) for row in body]
        return "\n".join([*shown[:depth], rule, *shown[depth:]])

    def markdown(self) -> str:
        """Return the table as Markdown."""
        marks = [":--" if self.is_left(j) else "--:" for j in range(len(self.header))]
        lines = [[cell.replace("\n", " ") for cell in self.header], marks, *self.rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def is_left(self, j: int) -> bool:
        """Return whether column `j` holds words."""
        return j == 0 or j in self.left

    def _line(self, row: Sequence[str], widths: Sequence[int]) -> str:
        cells = [
            cell.ljust(width) if self.is_left(j) else cell.rjust(width)
            for j, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return "  ".join(cells).rstrip()


def small(x: float) -> str:
    """Return an error with two digits, or the mark for nothing."""
    return NOTHING if math.isnan(x) else f"{x:.1e}"


def plain(x: float, digits: int) -> str:
    """Return a number with decimals, or the mark for nothing."""
    return NOTHING if math.isnan(x) else f"{x:.{digits}f}"


def significant(x: float, digits: int = 4) -> str:
    """Return a number with significant digits, without an exponent where it is readable."""
    if x == 0 or not math.isfinite(x):
        return f"{x:g}"
    decimals = digits - 1 - math.floor(math.log10(abs(x)))
    return f"{x:.{max(0, decimals)}f}" if -6 < decimals - digits < 4 else f"{x:.{digits - 1}e}"
