"""The HTML report: one file that needs nothing else, made of what the demos returned.

Pictures are embedded, the style is inline, and there is neither script nor link to elsewhere.
Everything that comes from a demo is escaped here and nowhere else.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from linalgkit._demos._section import (
    Block,
    Comparison,
    Picture,
    Section,
    duration,
    one_line,
    times,
)
from linalgkit._demos._style import STYLE
from linalgkit._demos._table import NOTHING, Table

_SUMMARY = (
    "method and input", "answer", "certificate", "ours, s", "rival", "rival, s", "ratio", "verdict",
)  # fmt: skip


class Finished(NamedTuple):
    """A section, and the seconds that all of its demo took."""

    section: Section
    seconds: float


class Failed(NamedTuple):
    """A demo that did not finish, and why."""

    name: str
    why: str


class Report(NamedTuple):
    """All that the page is made of.

    Attributes
    ----------
    finished : list of Finished
        In order.
    failed : list of Failed
        What did not finish.
    left_out : list of str
        Demos that were not asked for.
    circumstances : str
        Date, machine and versions.
    command : str
        How it was called.
    is_quick : bool
        Whether only a small part of the data was used.
    """

    finished: Sequence[Finished]
    failed: Sequence[Failed]
    left_out: Sequence[str]
    circumstances: str
    command: str
    is_quick: bool

    def html(self) -> str:
        """Return the page."""
        sections = "\n".join(_section(part) for part in self.finished)
        return (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>linalgkit: the report of a run</title>\n<style>{STYLE}</style>\n</head>\n"
            f"<body>\n{_head(self)}\n<main>\n{sections}\n</main>\n{_foot(self)}\n</body>\n</html>\n"
        )


# -------------------------------------------------------------------------------- head and foot


def _head(report: Report) -> str:
    """Return what the run was, and how everything stands beside its rivals."""
    total = sum(part.seconds for part in report.finished)
    quick = " <strong>A quick run: small data, figures mean little.</strong>" * report.is_quick
    return (
        "<header>\n<h1>linalgkit: every method on real input</h1>\n"
        f"<p>{_counted(len(report.finished), 'method')} in {total:.0f} seconds, each beside what "
        f"one would use instead, on the same input in the same run.{quick}</p>\n"
        f"{_missing(report)}{_summary(report.finished)}</header>"
    )


def _missing(report: Report) -> str:
    """Return which demos are not here, and why."""
    lines = [
        f'<p class="warning">{escape(f.name)} did not finish: {escape(f.why)}</p>\n'
        for f in report.failed
    ]
    if report.left_out:
        lines.append(f'<p class="muted">Not run: {escape(", ".join(report.left_out))}.</p>\n')
    return "".join(lines)


def _summary(finished: Sequence[Finished]) -> str:
    """Return the table of all comparisons, and how to read it."""
    lines = [_comparison(part.section, c) for part in finished for c in part.section.comparisons]
    if not lines:
        return ""
    heads = "".join(f'<th scope="col"{_number(head)}>{head}</th>' for head in _SUMMARY)
    return (
        f'<div class="scroll"><table class="summary">\n<thead><tr>{heads}</tr></thead>\n<tbody>\n'
        + "\n".join(lines)
        + "\n</tbody>\n</table></div>\n"
        '<p class="muted">Ratio: time of the rival over ours. '
        '<span class="mark good">Green</span>: ahead or equal in all that is compared. '
        '<span class="mark fair">Amber</span>: behind in something, or less than was promised, '
        'which the words name. <span class="mark none">Grey</span>: no rival, or one whose time is '
        "extrapolated from a few points. "
        "What differs by less than 5 % is called equal.</p>\n"
    )


def _comparison(section: Section, c: Comparison) -> str:
    """Return a line of the summary."""
    cells = (
        c.answer, c.certificate, duration(c.seconds), c.rival or NOTHING,
        duration(c.rival_seconds), times(c.ratio),
    )  # fmt: skip
    shown = "".join(
        f'<td data-label="{head}"{_number(head)}>{escape(cell)}</td>'
        for head, cell in zip(_SUMMARY[1:-1], cells, strict=True)
    )
    mark = f'<span class="mark {c.mark}">{escape(c.verdict)}</span>'
    name = f'<a href="#{escape(section.name)}">{escape(section.name)}</a>'
    return (
        f'<tr><th scope="row">{name}: {escape(c.input)}</th>{shown}'
        f'<td data-label="{_SUMMARY[-1]}">{mark}</td></tr>'
    )


def _number(head: str) -> str:
    return ' class="number"' if head.endswith(", s") or head == "ratio" else ""


def _foot(report: Report) -> str:
    return (
        f"<footer>\n<p>Measured {escape(report.circumstances)}.</p>\n"
        f"<p>Made by <code>{escape(report.command)}</code>. Times are those of this machine with "
        "whatever else ran on it; in each comparison the contenders ran one after the other or in "
        "turn.</p>\n</footer>"
    )


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


# ------------------------------------------------------------------------------------- sections


def _section(part: Finished) -> str:
    """Return a method's part: problem, code, tables and sentences, pictures."""
    section, face = part.section, part.section.face
    return "\n".join(
        [
            f'<section id="{escape(section.name)}">',
            f"<h2>{escape(face.title)}</h2>",
            f'<p class="took">linalgkit.{escape(section.name)}, {part.seconds:.1f} s in all</p>',
            f"<p>{escape(face.problem)}</p>",
            f"<pre><code>{escape(face.code)}</code></pre>",
            f'<p class="lead">{escape(section.lead)}</p>',
            *map(_block, section.blocks),
            *map(_picture, section.pictures),
            "</section>",
        ]
    )


def _block(block: Block) -> str:
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, str):
        return f'<p class="legend">{escape(one_line(block))}</p>'
    items = "".join(f"<li>{escape(one_line(remark))}</li>" for remark in block)
    return f"<ul>{items}</ul>" if items else ""


def _table(table: Table) -> str:
    """Return a table that scrolls by itself where it is too wide."""
    left = [' class="left"' if table.is_left(j) else "" for j in range(len(table.header))]
    heads = "".join(
        f'<th scope="col"{side}>{"<br>".join(map(escape, cell.strip().split(chr(10))))}</th>'
        for cell, side in zip(table.header, left, strict=True)
    )
    rows = "\n".join(
        f'<tr><th scope="row">{escape(row[0])}</th>'
        + "".join(f"<td{s}>{escape(c)}</td>" for c, s in zip(row[1:], left[1:], strict=True))
        + "</tr>"
        for row in table.rows
    )
    label = escape(table.header[0].replace("\n", " "))
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="Table: {label}">'
        f'<table class="data">\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n'
        "</table></div>"
    )


def _picture(picture: Picture) -> str:
    """Return a picture whose bytes are in the page."""
    data = base64.b64encode(picture.path.read_bytes()).decode("ascii")
    alt = escape(picture.alt)
    return (
        f'<figure><div class="scroll" role="region" tabindex="0" aria-label="{alt}">'
        f'<img alt="{alt}" src="data:image/png;base64,{data}"></div>'
        f"<figcaption>{escape(picture.caption)}</figcaption></figure>"
    )
