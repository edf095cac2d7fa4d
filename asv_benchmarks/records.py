"""What was measured, each figure with its run, and the one table that the manual shows of it.

The record is a JSON file: a list of runs (day, machine, versions, sizes) and a list of rows, each
of which names its run by number. A row is replaced when its figure is measured again; the rest
stay, with the runs that they came from. The page is written from the record alone.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FORMAT = 1


@dataclass(frozen=True)
class Row:
    """One figure at one set of parameters: what was promised, and what came out.

    ``kept`` is None where nothing was promised.
    """

    room: str
    figure: str
    case: str
    asked: str
    measured: str
    kept: bool | None

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells the row from all others."""
        return self.room, self.figure, self.case

    @property
    def what(self) -> str:
        """The figure with its parameters."""
        return f"{self.figure} ({self.case})" if self.case else self.figure

    @property
    def verdict(self) -> str:
        """Whether the promise is kept, in a word; nothing where there is none."""
        return {True: "yes", False: "no", None: ""}[self.kept]


@dataclass(frozen=True)
class Run:
    """Where and when figures were measured."""

    date: str
    machine: str
    versions: Mapping[str, str]
    sizes: str = "published sizes"

    def __str__(self) -> str:
        """Write the run in one sentence."""
        software = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        return f"{self.date}, {self.machine}; {software}; {self.sizes}."


class Record:
    """All rows with their runs, kept in a JSON file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[tuple[str, str, str], tuple[Row, Run]] = {}
        self._known: list[Run] = []  # in the order in which they came
        if path.exists():
            self._read(json.loads(path.read_text(encoding="utf-8")))

    def _read(self, stored: Any) -> None:
        """Take in what the file holds."""
        if stored.get("format") != FORMAT:
            raise ValueError(f"{self.path} has format {stored.get('format')!r}, not {FORMAT}.")
        self._known = runs = [Run(**run) for run in stored["runs"]]
        for entry in stored["rows"]:
            number = entry.pop("run")
            row = Row(**entry)
            self.rows[row.key] = row, runs[number]

    def put(self, row: Row, run: Run) -> None:
        """Replace the row of the same figure, or add one."""
        self.rows[row.key] = row, run
        if run not in self._known:
            self._known.append(run)

    def keep_only(self, rows: Sequence[Row]) -> None:
        """Drop what else there is of a figure of which these rows are all cases.

        That is of an earlier choice of parameters, or of several cases in one row.
        """
        keys, figures = {row.key for row in rows}, {row.key[:2] for row in rows}
        self.rows = {k: v for k, v in self.rows.items() if k in keys or k[:2] not in figures}

    def sort(self, figures: Sequence[str]) -> None:
        """Put the rows in the order of the figures; those that are not among them come last."""
        places = {what: place for place, what in enumerate(figures)}
        rooms: dict[str, int] = {}
        ordered = sorted(self.rows.values(), key=lambda p: places.get(p[0].figure, len(places)))
        for row, _ in ordered:
            rooms.setdefault(row.room, len(rooms))
        ordered.sort(key=lambda p: rooms[p[0].room])
        self.rows = {row.key: (row, run) for row, run in ordered}

    def runs(self) -> list[Run]:
        """Return the runs that a row names, in the order in which they came."""
        named = [run for _, run in self.rows.values()]
        return [run for run in self._known if run in named]

    def save(self) -> None:
        """Write the file; an interruption leaves the old one as it was."""
        runs = self.runs()
        rows = [{**asdict(row), "run": runs.index(run)} for row, run in self.rows.values()]
        stored = {"format": FORMAT, "runs": [asdict(run) for run in runs], "rows": rows}
        beside = self.path.with_name(self.path.name + ".new")
        text = json.dumps(stored, indent=1, ensure_ascii=False)
        beside.write_text(text + "\n", encoding="utf-8")
        os.replace(beside, self.path)


def today() -> str:
    """Return the day as the record writes it."""
    return time.strftime("%Y-%m-%d")


# ------------------------------------------------------------------------------------ the page

_SPECIAL = re.compile(r"([\\*`|_])")

_HEAD = """\
.. Written by asv_benchmarks/compare.py from benchmarks.json. Do not edit: run `make bench`.

{runs}

.. list-table::
   :header-rows: 1
   :widths: 54 15 16 8 7

   * - figure
     - asked
     - measured
     - kept
     - run
"""


def escaped(text: str) -> str:
    """Return text that reStructuredText shows as it is."""
    return _SPECIAL.sub(r"\\\1", text)


def _cells(*cells: str) -> str:
    """Return one row of a list-table."""
    first, *others = [f"- {cell}".rstrip() for cell in cells]
    return "\n".join([f"   * {first}", *(f"     {cell}" for cell in others)])


def table_lines(record: Record) -> Iterator[str]:
    """Yield the rows of the table, the name of a module before its figures."""
    runs, last = record.runs(), None
    for row, run in record.rows.values():
        if row.room != last:
            yield _cells(f"**{row.room}**", "", "", "", "")
            last = row.room
        texts = map(escaped, (row.what, row.asked, row.measured, row.verdict))
        yield _cells(*texts, str(runs.index(run) + 1))


def page(record: Record) -> str:
    """Return the whole table in reStructuredText, with what it was measured on."""
    runs = [f"{number}. {escaped(str(run))}" for number, run in enumerate(record.runs(), 1)]
    return "\n".join([_HEAD.format(runs="\n".join(runs)).rstrip(), *table_lines(record)]) + "\n"
