"""What a demo tells: blocks of tables and sentences, pictures, and how it stands beside rivals.

Every demo tells its story once. The terminal prints the blocks as they come, a Markdown page has
them all, and the HTML report is made of the :class:`Section` that the demo returns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeAlias

from linalgkit._demos._context import Context
from linalgkit._demos._measure import circumstances
from linalgkit._demos._table import NOTHING, Table

# A table, a paragraph that is cut into lines for a terminal, or remarks that stand alone.
Block: TypeAlias = Table | str | tuple[str, ...]

_EVEN = 1.05  # ratios below this, and over one by this, are called equal


class Face(NamedTuple):
    """What a section shows before anything is measured.

    Attributes
    ----------
    title : str
        Of the section.
    problem : str
        The problem in two sentences.
    code : str
        The lines that a user would write.
    """

    title: str
    problem: str
    code: str


class Picture(NamedTuple):
    """A picture that a demo has saved.

    Attributes
    ----------
    path : Path
        A PNG file.
    alt : str
        What it shows, for those who cannot see it.
    caption : str
        What to look at.
    """

    path: Path
    alt: str
    caption: str


@dataclass(frozen=True)
class Comparison:
    """Ours beside one rival on the same input: a line of the summary.

    Attributes
    ----------
    input : str
        What both were given.
    answer : str
        What was found, in a phrase.
    certificate : str
        What ours says of its own answer.
    seconds : float
        Time of ours.
    rival : str
        Its name; empty where there is none here.
    rival_seconds : float
        Its time.
    measure : str
        What is compared beside the time, less being better; empty where both answers are equal
        to rounding.
    value, rival_value : float
        Of the measure.
    same : str
        What is said of the answer where nothing is compared beside the time.
    is_extrapolated : bool
        Whether the time of the rival is that of a few points, times as many as there are.
    broken : str
        What ours promised and did not keep.
    """

    input: str
    answer: str
    certificate: str
    seconds: float
    rival: str = ""
    rival_seconds: float = math.nan
    measure: str = ""
    value: float = math.nan
    rival_value: float = math.nan
    same: str = "same answer"
    is_extrapolated: bool = False
    broken: str = ""

    @property
    def ratio(self) -> float:
        """Time of the rival over ours; NaN without a rival."""
        return self.rival_seconds / self.seconds if self.seconds > 0 else math.nan

    @property
    def lost(self) -> list[str]:
        """In what the rival is ahead, and what was promised and not kept."""
        is_slow = self.ratio < 1 / _EVEN
        is_worse = bool(self.measure) and self.value > self.rival_value * _EVEN
        return ["time"] * is_slow + [self.measure] * is_worse + [self.broken] * bool(self.broken)

    @property
    def mark(self) -> str:
        """How it is shown: behind in something, without a measured rival, or ahead."""
        if self.lost:
            return "fair"
        return "none" if math.isnan(self.ratio) or self.is_extrapolated else "good"

    @property
    def verdict(self) -> str:
        """How ours stands in a few words, losing included."""
        return f"{self._beside}; {self.broken}" if self.broken else self._beside

    @property
    def _beside(self) -> str:
        """How ours stands beside the rival."""
        if math.isnan(self.ratio):
            return "no rival"
        speed = _word(self.ratio, "faster", "slower", "as fast")
        if not self.measure:
            return f"{speed}, {self.same}"
        gain = _gain(self.value, self.rival_value)
        return f"{speed}, {_word(gain, 'smaller', 'larger', 'equal')} {self.measure}"


def too_narrow(covered: float, level: float) -> str:
    """Return what is to be said of intervals that hold less than they should, by half a percent."""
    return "intervals too narrow" if covered < level - 0.005 else ""


def _gain(ours: float, rival: float) -> float:
    """Return how many times smaller ours is."""
    if ours == rival:
        return 1.0
    return rival / ours if ours > 0 else math.inf


def _word(ratio: float, above: str, below: str, even: str) -> str:
    if ratio > _EVEN:
        return above
    return below if ratio < 1 / _EVEN else even


@dataclass(frozen=True)
class Section:
    """What came of a demo.

    Attributes
    ----------
    name : str
        That of the demo.
    face : Face
        Title, problem and code.
    lead : str
        What it was run on.
    blocks : tuple of Block
        Tables and sentences in order.
    pictures : tuple of Picture
        All that it saved.
    comparisons : tuple of Comparison
        Its lines of the summary.
    page : Path
        The same tables and sentences in Markdown.
    """

    name: str
    face: Face
    lead: str
    blocks: tuple[Block, ...]
    pictures: tuple[Picture, ...]
    comparisons: tuple[Comparison, ...]
    page: Path

    @property
    def paths(self) -> list[Path]:
        """All files that it wrote."""
        return [self.page, *(picture.path for picture in self.pictures)]


class Story:
    """A demo while it runs: what it says is printed at once, and kept.

    Parameters
    ----------
    context : Context
        Where to print, and the folder for files.
    name : str
        That of the demo, and of its page.
    face : Face
        Title, problem and code.
    lead : str
        What it is run on; printed first.
    """

    def __init__(self, context: Context, name: str, face: Face, lead: str) -> None:
        self._context, self._name, self._face, self._lead = context, name, face, lead
        self._blocks: list[Block] = []
        context.say(lead)

    def tell(self, *blocks: Block) -> None:
        """Print blocks, and keep them."""
        self._context.say("\n" + "\n\n".join(map(_text, blocks)))
        self._blocks += blocks

    def file(self, name: str) -> Path:
        """Return the path of a file in the output folder."""
        return self._context.output / name

    def end(self, pictures: list[Picture], comparisons: list[Comparison]) -> Section:
        """Write the Markdown page, and return all that was told."""
        page = self.file(f"{self._name}.md")
        parts = [f"Measured {circumstances()}.", self._lead, *map(_markdown, self._blocks)]
        page.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
        told = tuple(self._blocks), tuple(pictures), tuple(comparisons)
        return Section(self._name, self._face, self._lead, *told, page)


def one_line(text: str) -> str:
    """Return a paragraph without the line breaks of a terminal."""
    return " ".join(text.split("\n"))


def _text(block: Block) -> str:
    if isinstance(block, Table):
        return block.text()
    return block if isinstance(block, str) else "\n".join(block)


def _markdown(block: Block) -> str:
    if isinstance(block, Table):
        return block.markdown()
    if isinstance(block, str):
        return one_line(block)
    return "\n".join(f"* {one_line(remark)}" for remark in block)


# --------------------------------------------------------------------------------- the summary


def summary_table(sections: list[Section]) -> Table:
    """Return all comparisons in short, for a terminal."""
    header = ("method", "ours, s", "rival", "rival, s", "ratio", "verdict")
    rows = [
        (section.name, duration(c.seconds), c.rival or NOTHING, duration(c.rival_seconds),
         times(c.ratio), c.verdict)
        for section in sections for c in section.comparisons
    ]  # fmt: skip
    return Table(header, rows, left=frozenset({2, 5}))


def duration(seconds: float) -> str:
    """Return seconds with two or three digits, or the mark for nothing."""
    if math.isnan(seconds):
        return NOTHING
    return f"{seconds:,.0f}" if seconds >= 100 else f"{seconds:.3g}"


def times(ratio: float) -> str:
    """Return a ratio with two digits, or the mark for nothing."""
    if math.isnan(ratio):
        return NOTHING
    return f"{float(f'{ratio:.2g}'):,g}"
