"""The HTML report of the main job: one file, whole, honest and readable by itself."""

from __future__ import annotations

import base64
import math
import re
import struct
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import linalgkit.__main__ as job
from linalgkit._demos import DEMOS, Context
from linalgkit._demos._html import Failed, Finished, Report
from linalgkit._demos._section import (
    Comparison,
    Face,
    Picture,
    Section,
    Story,
    duration,
    summary_table,
    times,
    too_narrow,
)
from linalgkit._demos._table import NOTHING, Table

_VOID = {"meta", "img", "br"}
_EMBEDDED = "data:image/png;base64,"
# What a browser would fetch, run or follow.
_FETCHES = {"src", "href", "action", "poster", "srcset", "data", "formaction", "background"}
NASTY = "<script>alert('1 & \"2\"')</script>"


class Page(HTMLParser):
    """A page taken to pieces, with an error where it is not well formed."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.pictures: list[bytes] = []
        self.alts: list[str] = []
        self.targets: list[str] = []
        self.sections: list[str] = []
        self.ids: list[str] = []
        self.marks: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.text = ""

    @classmethod
    def read(cls, path: Path) -> Page:
        return cls.of(path.read_text("utf-8"))

    @classmethod
    def of(cls, html: str) -> Page:
        page = cls()
        page.feed(html)
        page.close()
        assert page.open == []
        return page

    @property
    def summary(self) -> list[list[str]]:
        """The lines of the first table without its head."""
        return self.tables[0][1:]

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        if tag not in _VOID:
            self.open.append(tag)
        assert not any(name.startswith("on") for name in given)
        self.targets += [value for name, value in given.items() if name in _FETCHES]
        self.ids += [given["id"]] if "id" in given else []
        if tag == "img":
            assert given["src"].startswith(_EMBEDDED)
            self.pictures.append(base64.b64decode(given["src"][len(_EMBEDDED) :], validate=True))
            self.alts.append(given["alt"])
        elif tag == "section":
            self.sections.append(given["id"])
        elif tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag == "span" and "td" in self.open:
            self.marks.append(given["class"])

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data
        if self.open and {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data


def png(path: Path) -> Path:
    """Write the smallest picture: one grey pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    head = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    parts = chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(b"\0\x80")), chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


def section(folder: Path, name: str = "svd", **changes: Any) -> Section:
    """Return a section with one of everything."""
    parts: dict[str, Any] = {
        "face": Face("A title", "A problem.", "print(1)"),
        "lead": "On this.",
        "blocks": (
            Table(("of\nwhat", "error", "word"), [("a", "1.0e-03", "x")], left=frozenset({2})),
            "A legend\nof two lines.",
            ("one remark", "another"),
        ),
        "pictures": (Picture(png(folder / f"{name}.png"), "a dot", "Look at it."),),
        "comparisons": (Comparison("input", "answer", "proof", 2.0, "rival", 3.0),),
        "page": folder / f"{name}.md",
    }
    return Section(name, **(parts | changes))


def html(*sections: Section, **changes: Any) -> str:
    parts: dict[str, Any] = {
        "finished": [Finished(part, 1.25) for part in sections],
        "failed": [],
        "left_out": [],
        "circumstances": "today",
        "command": "python -m linalgkit",
        "is_quick": False,
    }
    return Report(**(parts | changes)).html()


def test_a_page_needs_nothing_else(tmp_path: Path) -> None:
    text = html(section(tmp_path), section(tmp_path, "bayes"))
    page = Page.of(text)
    assert page.pictures == [(tmp_path / f"{name}.png").read_bytes() for name in ("svd", "bayes")]
    assert not {"script", "link", "iframe", "object", "form", "base"} & set(page.tags)
    for target in page.targets:
        assert target.startswith(_EMBEDDED) or target.removeprefix("#") in page.sections
    assert not re.search(r"https?:|url\(|@import|//[a-z]", text.split("<body>")[0])
    assert len(set(page.ids)) == len(page.ids)
    assert "width=device-width" in text
    assert "prefers-color-scheme: dark" in text


def test_the_order_of_a_section_is_that_of_its_story(tmp_path: Path) -> None:
    page = Page.of(html(section(tmp_path)))
    told = ["A title", "1.2 s in all", "A problem.", "print(1)", "On this.", "1.0e-03",
            "A legend of two lines.", "one remark", "another", "Look at it."]  # fmt: skip
    places = [page.text.index(words) for words in told]
    assert places == sorted(places)
    assert page.tables[1] == [["ofwhat", "error", "word"], ["a", "1.0e-03", "x"]]
    assert page.alts == ["a dot"]


def test_everything_that_a_demo_tells_is_escaped(tmp_path: Path) -> None:
    nasty = section(
        tmp_path,
        face=Face(NASTY, NASTY, NASTY),
        lead=NASTY,
        blocks=(Table((NASTY, NASTY), [(NASTY, NASTY)]), NASTY, (NASTY,)),
        pictures=(Picture(png(tmp_path / "a.png"), NASTY, NASTY),),
        comparisons=(Comparison(NASTY, NASTY, NASTY, 1.0, NASTY, 1.0, NASTY, 1.0, 1.0),),
    )
    whole = {"circumstances": NASTY, "command": NASTY, "left_out": [NASTY]}
    text = html(nasty, failed=[Failed(NASTY, NASTY)], **whole)
    page = Page.of(text)
    assert "<script" not in text
    assert page.text.count(NASTY) == 21  # each place above but the alternative text, once
    assert page.alts == [NASTY]


@pytest.mark.parametrize(
    ("ours", "rival", "verdict", "lost"),
    [
        ((1.0, 1e-3), (2.0, 2e-3), "faster, smaller error", []),
        ((1.0, 1e-3), (1.04, 1.04e-3), "as fast, equal error", []),
        ((2.0, 1e-3), (1.0, 2e-3), "slower, smaller error", ["time"]),
        ((1.0, 2e-3), (2.0, 1e-3), "faster, larger error", ["error"]),
        ((2.0, 2e-3), (1.0, 1e-3), "slower, larger error", ["time", "error"]),
        ((1.0, 1e-3), (2.0, 0.0), "faster, larger error", ["error"]),
        ((1.0, 0.0), (2.0, 1e-3), "faster, smaller error", []),
        ((1.0, 0.0), (2.0, 0.0), "faster, equal error", []),
    ],
)
def test_the_mark_says_what_is_lost(
    tmp_path: Path, ours: Any, rival: Any, verdict: str, lost: list[str]
) -> None:
    c = Comparison("i", "a", "c", ours[0], "r", rival[0], "error", ours[1], rival[1])
    assert (c.verdict, c.lost) == (verdict, lost)
    page = Page.of(html(section(tmp_path, comparisons=(c,))))
    assert page.summary[0][-1] == verdict
    assert page.marks == ["mark fair" if lost else "mark good"]


def test_a_rival_that_was_extrapolated_is_never_green_nor_is_a_promise_not_kept(
    tmp_path: Path,
) -> None:
    few = Comparison("i", "a", "c", 1.0, "r", 9.0, is_extrapolated=True)
    slow = Comparison("i", "a", "c", 9.0, "r", 1.0, is_extrapolated=True)
    narrow = Comparison("i", "a", "c", 1.0, "r", 9.0, broken=too_narrow(0.88, 0.9))
    alone = Comparison("i", "a", "c", 1.0, broken=too_narrow(0.88, 0.9))
    page = Page.of(html(section(tmp_path, comparisons=(few, slow, narrow, alone))))
    assert page.marks == ["mark none", "mark fair", "mark fair", "mark fair"]
    assert page.summary[2][-1] == "faster, same answer; intervals too narrow"
    assert page.summary[3][-1] == "no rival; intervals too narrow"
    assert too_narrow(0.897, 0.9) == too_narrow(0.95, 0.9) == too_narrow(math.nan, 0.9) == ""


def test_without_a_rival_or_a_measure_no_more_is_claimed(tmp_path: Path) -> None:
    alone = Comparison("i", "a", "c", 2.0)
    same = Comparison("i", "a", "c", 2.0, "r", 1.0)
    assert (alone.verdict, alone.lost) == ("no rival", [])
    assert (same.verdict, same.lost) == ("slower, same answer", ["time"])
    page = Page.of(html(section(tmp_path, comparisons=(alone, same))))
    assert page.marks == ["mark none", "mark fair"]
    assert page.summary[0][3:] == ["2", NOTHING, NOTHING, NOTHING, "no rival"]
    assert math.isnan(alone.ratio)


def test_figures_of_the_summary_are_those_measured(tmp_path: Path) -> None:
    c = Comparison("i", "a", "c", 0.012345, "r", 4567.8, "error", 1.0, 2.0)
    part = section(tmp_path, comparisons=(c,))
    line = ["svd: i", "a", "c", "0.0123", "r", "4,568", "370,000", "faster, smaller error"]
    assert Page.of(html(part)).summary == [line]
    assert list(summary_table([part]).rows[0]) == ["svd", *line[3:]]
    assert (duration(99.99), duration(1.0), times(0.0123)) == ("100", "1", "0.012")


def test_what_did_not_finish_and_what_was_left_out_are_named(tmp_path: Path) -> None:
    failed = [Failed("bayes", "ValueError: no")]
    page = Page.of(html(section(tmp_path), failed=failed, left_out=["streaming"], is_quick=True))
    for words in ("bayes did not finish: ValueError: no", "Not run: streaming", "A quick run"):
        assert words in page.text
    empty = Page.of(html(failed=failed))
    assert empty.tables == []
    assert "0 methods" in empty.text


def context(folder: Path, said: list[str]) -> Context:
    found = job._from_scikit_learn
    return Context(folder, 2, True, 0, np.ones(0), found, job._progress, said.append)


def test_a_story_is_printed_as_it_is_told_and_kept(tmp_path: Path) -> None:
    said: list[str] = []
    story = Story(context(tmp_path, said), "svd", Face("T", "P", "C"), "On this.")
    table = Table(("a", "b"), [("x", "1")])
    story.tell(table, "two\nlines")
    story.tell(("remark",))
    end = story.end([], [])
    assert said == ["On this.", f"\n{table.text()}\n\ntwo\nlines", "\nremark"]
    assert end.blocks == (table, "two\nlines", ("remark",))
    assert end.paths == [tmp_path / "svd.md"]
    page = end.page.read_text("utf-8").split("\n\n")
    assert page[1:] == ["On this.", table.markdown(), "two lines", "* remark\n"]


def run_with(monkeypatch: pytest.MonkeyPatch, run: Any, *arguments: str) -> int:
    """Run the job with ``run(name, context)`` in place of all demos."""
    monkeypatch.setattr(job.Demo, "run", lambda demo, given: run(demo.name, given))
    return job.main(list(arguments))


def told(name: str, given: Context) -> Section:
    if name == "bayes":
        raise ValueError("it <went> wrong")
    return section(given.output, name)


def test_the_report_has_what_ran(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    some = ["--methods", "svd", "sampling", "--quick", "--output", str(tmp_path)]
    assert run_with(monkeypatch, told, *some) == 0
    out = capsys.readouterr().out
    assert out.endswith(f"report: {tmp_path / 'report.html'}\n")
    page = Page.read(tmp_path / "report.html")
    assert page.sections == ["svd", "sampling"]
    assert "Not run: streaming, regression, bayes, chebyshev, completion." in page.text
    assert "A quick run" in page.text
    assert "--methods svd sampling --quick" in page.text
    assert re.search(r"Python 3\.\d+", page.text)
    assert "one BLAS thread" in page.text
    assert f"{page.summary[0][3]}  {page.summary[0][4]}" in out  # the terminal has the same


def test_a_demo_that_fails_stops_no_other_and_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_with(monkeypatch, told, "--output", str(tmp_path)) == 1
    page = Page.read(tmp_path / "report.html")
    assert page.sections == [demo.name for demo in DEMOS if demo.name != "bayes"]
    assert "bayes did not finish: ValueError: it <went> wrong" in page.text
    assert "ValueError: it <went> wrong" in capsys.readouterr().err


@pytest.mark.parametrize("reached", [0, 2])
def test_an_interrupt_leaves_the_report_of_what_has_finished(
    reached: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def stopped(name: str, given: Context) -> Section:
        if name == names[reached]:
            raise KeyboardInterrupt
        return section(given.output, name)

    names = [demo.name for demo in DEMOS]
    (tmp_path / "report.html").write_text("<p>an earlier one</p>")
    assert run_with(monkeypatch, stopped, "--output", str(tmp_path)) == 130
    page = Page.read(tmp_path / "report.html")
    assert page.sections == names[:reached]
    left = f"Not run: {', '.join(names[reached:])}." if reached else "an earlier one"
    assert left in page.text
    assert not list(tmp_path.glob("*.part"))
    assert "Interrupted" in capsys.readouterr().err


def _given() -> dict[str, Any]:
    """Return what the lines of code take for granted, small."""
    rng = np.random.default_rng(0)
    A, x = rng.standard_normal((3000, 5)), rng.uniform(-1, 1, (10, 3))
    H = [rng.standard_normal((6, 8)) for _ in range(3)]
    return {
        "blocks": [rng.standard_normal((500, 40)) * [9, 7, 5, 3, *36 * [1]] for _ in range(20)],
        "A": A,
        "b": A @ np.ones(5) + rng.standard_normal(3000),
        "batches": [rng.standard_normal((60, 50)) for _ in range(3)],
        "model": lambda points: np.exp(points[:, 0] / 3),
        "H1": H[0], "H2": H[1], "H3": H[2],
        "y": np.einsum("i,j,k->ijk", *(3 * U[:, 2] for U in H)) + rng.normal(0, 0.1, (6, 6, 6)),
        "f": lambda points: 1 / (4 + points.sum(axis=1)),
        "points": x,
        "rows": np.repeat(np.arange(40), 20), "cols": np.tile(np.arange(20), 40),
        "values": (np.outer(np.arange(40), np.ones(20)) + rng.normal(0, 0.1, (40, 20))).ravel(),
        "shape": (40, 25),
    }  # fmt: skip


@pytest.mark.parametrize("name", [demo.name for demo in DEMOS])
@pytest.mark.filterwarnings("ignore::linalgkit.AccuracyWarning")
def test_the_lines_that_a_user_would_write_run(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    face = __import__(f"linalgkit._demos.{name}", fromlist=["_FACE"])._FACE
    lines = [line for line in face.code.splitlines() if line and "import" not in line]
    assert 3 <= len(lines) <= 5
    exec(face.code, _given())
    assert capsys.readouterr().out
