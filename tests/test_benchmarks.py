"""The benchmarks cover every room, and the table of the manual is what was recorded.

No benchmark is run here: their sources are read, so that peers which are not installed count, too.
"""

from __future__ import annotations

import ast
import json
import os
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asv_benchmarks import compare

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "asv_benchmarks" / "benchmarks"
NO_METHODS = {"datasets", "plotting"}  # rooms that have nothing to measure
TRACKS = {"track_ratio_to_limit": "primitive", "track_ratio_to_peer": "peer"}


def rooms() -> set[str]:
    """Name the rooms of the library that hold methods."""
    found = {p.parent.name for p in (ROOT / "src" / "linalgkit").glob("*/__init__.py")}
    return {name for name in found if not name.startswith("_")} - NO_METHODS


class Source:
    """One class of a benchmark file as it is written."""

    def __init__(self, node: ast.ClassDef, known: dict[str, Source]) -> None:
        self.name = node.name
        names = [ast.unparse(base).rpartition(".")[2] for base in node.bases]
        self.bases = [known[name] for name in names if name in known]
        self.is_comparison = "Comparison" in names or any(b.is_comparison for b in self.bases)
        self.defined = {f.name for f in node.body if isinstance(f, ast.FunctionDef)}
        assigned = [a.targets for a in node.body if isinstance(a, ast.Assign)]
        self.taken = {ast.unparse(target) for targets in assigned for target in targets}

    def has(self, name: str) -> bool:
        """Tell whether a function is defined here or in a base, and not taken away."""
        if name in self.taken:
            return False
        return name in self.defined or any(base.has(name) for base in self.bases)

    def measures(self, track: str) -> bool:
        """Tell whether the class has a figure, of its own or as a `Comparison` with a rival."""
        return self.has(track) or (self.is_comparison and self.has(TRACKS.get(track, "error")))


def read(text: str) -> tuple[str | None, dict[str, Source]]:
    """Return the room that a file names and its public classes."""
    room, known = None, {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "ROOM":
            room = ast.literal_eval(node.value)
        elif isinstance(node, ast.ClassDef):
            known[node.name] = Source(node, known)
    return room, known


FILES = {path.stem: read(path.read_text(encoding="utf-8")) for path in SOURCES.glob("*.py")}


def measured_in(room: str, files: dict[str, Any]) -> set[str]:
    """Return which of the two ratios some class of a room has."""
    classes = [c for own, known in files.values() if own == room for c in known.values()]
    public = [c for c in classes if not c.name.startswith("_")]
    return {track for track in TRACKS if any(c.measures(track) for c in public)}


@pytest.mark.parametrize("room", sorted(rooms()))
def test_every_room_is_measured_beside_a_limit_and_a_peer(room: str) -> None:
    assert measured_in(room, FILES) == set(TRACKS)


def test_a_room_without_a_rival_is_found() -> None:
    one = "ROOM = 'new'\nclass A(_base.Comparison):\n    def {}(self): ...\n"
    assert measured_in("new", {"a": read(one.format("primitive"))}) == {"track_ratio_to_limit"}
    assert measured_in("new", {"a": read(one.format("peer"))}) == {"track_ratio_to_peer"}
    assert measured_in("newer", {"a": read(one.format("peer"))}) == set()
    hidden = read(one.format("peer").replace("class A", "class _A"))
    assert measured_in("new", {"a": hidden}) == set()


def test_the_nine_rooms_are_found() -> None:
    assert len(rooms()) >= 9
    assert {room for room, _ in FILES.values() if room} >= rooms()


# ------------------------------------------------------------------- what runs in an environment


@pytest.fixture(scope="module")
def modules() -> dict[str, Any]:
    """Import every benchmark file with the peers that are here."""
    pytest.importorskip("sklearn")
    pytest.importorskip("threadpoolctl")
    from importlib import import_module

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "environ", os.environ.copy())  # which they set for their own process
        names = [name for name in FILES if name != "__init__"]
        return {name: import_module(f"benchmarks.{name}") for name in names}


def benchmark_classes(module: Any) -> Iterator[type]:
    for found in vars(module).values():
        if isinstance(found, type) and found.__module__ == module.__name__:
            yield found


def test_no_benchmark_has_an_empty_list_of_parameters(modules: dict[str, Any]) -> None:
    for module in modules.values():
        for cls in benchmark_classes(module):
            assert all(len(values) for values in getattr(cls, "params", None) or ()), cls


def test_a_class_between_takes_no_figure_away(modules: dict[str, Any]) -> None:
    Comparison = modules["_base"].Comparison

    class Between(Comparison):
        def prepare(self) -> None: ...
        def method(self) -> None: ...

    class Whole(Between):
        def primitive(self) -> None: ...

    assert Between.track_ratio_to_limit is None
    assert Whole.track_ratio_to_limit is Comparison.track_ratio_to_limit
    assert Whole.track_ratio_to_peer is None


def test_every_promised_figure_names_a_benchmark(modules: dict[str, Any]) -> None:
    figures = modules["figures"].FIGURES
    assert len({(f.what, f.benchmark, f.params) for f in figures}) == len(figures)
    for figure in figures:
        name, cls, track = figure.benchmark.split(".")
        room, known = FILES[name]
        assert room, name
        assert known[cls].measures(track), figure
        if not list(figure.missing()):
            assert callable(getattr(getattr(modules[name], cls), track)), figure


def test_figures_of_one_name_differ_by_their_parameters(modules: dict[str, Any]) -> None:
    figures = modules["figures"].FIGURES
    names = [(FILES[f.benchmark.partition(".")[0]][0], f.what) for f in figures]
    assert len(set(names)) == len(names)


def test_every_peer_is_installed_by_make_bench_and_by_asv(modules: dict[str, Any]) -> None:
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    named = {g: {re.split("[>=[]", str(r))[0] for r in groups[g]} for g in groups}
    needed = {f.needs for f in modules["figures"].FIGURES if f.needs} - {"numpy"}
    compiled = {"cmfrec"}  # which PyPI has no wheel of
    assert needed - compiled <= named["bench"] | named["bench-all"]
    assert compiled <= named["bench-compiled"]
    asv = json.loads((ROOT / "asv_benchmarks" / "asv.conf.json").read_text())["matrix"]["req"]
    assert set(asv) >= named["bench"] - {"asv", "virtualenv"}
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert set(asv) >= {r.split(">")[0] for r in ours}


# ------------------------------------------------------------------------------------- the table

TABLE = ROOT / "docs" / "benchmarks_table.rst"


def test_the_table_of_the_manual_is_the_record() -> None:
    record = compare.Record(TABLE.with_name("benchmarks.json"))
    assert TABLE.read_text(encoding="utf-8") == compare.page(record)


def test_the_verdicts_of_the_record_follow_from_its_numbers() -> None:
    for row, run in compare.Record(TABLE.with_name("benchmarks.json")).rows.values():
        assert run.date
        assert run.versions
        if row.kept is None or row.measured.startswith("failed: "):
            continue
        asked = float(row.asked.split()[1].rstrip("x"))
        numbers = [float(w.strip("x,")) for w in row.measured.split() if w[-1] in "0123456789x,"]
        kept = min(numbers) >= asked if row.asked[0] == ">" else max(numbers) <= asked
        assert kept == row.kept or asked == pytest.approx(numbers[0], rel=5e-3), row


def test_the_table_is_sound_restructuredtext() -> None:
    core = pytest.importorskip("docutils.core")
    settings = {"report_level": 1, "halt_level": 1, "warning_stream": sys.stderr}
    tree = core.publish_doctree(TABLE.read_text(encoding="utf-8"), settings_overrides=settings)
    text = tree.astext()
    for row, _ in compare.Record(TABLE.with_name("benchmarks.json")).rows.values():
        assert row.what in text, row.what


ROWS = (
    compare.Row("svd", "time over ``|x|_2`` * 2", "a, b", "<= 1", "0.5", True),
    compare.Row("svd", "time", "", "no promise", "3", None),
    compare.Row("bayes", "error", "", "<= 1", "2", False),
)
OLD, NEW = (compare.Run(f"2026-01-0{k}", "machine", {"numpy": f"2.{k}"}) for k in (1, 2))


@pytest.fixture
def record(tmp_path: Path) -> Any:
    record = compare.Record(tmp_path / "benchmarks.json")
    for row in ROWS:
        record.put(row, OLD)
    record.save()
    return record


def test_a_partial_run_leaves_the_other_rows_with_their_run(record: Any) -> None:
    again = compare.Row("bayes", "error", "", "<= 1", "0.9", True)
    record.put(again, NEW)
    record.save()
    found = compare.Record(record.path)
    assert found.rows == {ROWS[0].key: (ROWS[0], OLD), ROWS[1].key: (ROWS[1], OLD)} | {
        again.key: (again, NEW)
    }
    assert found.runs() == [OLD, NEW]


def test_cases_that_a_figure_no_longer_has_go_and_others_stay(record: Any) -> None:
    new = compare.Row("bayes", "error", "5 dB", "<= 1", "0.9", True)
    record.put(new, NEW)
    record.keep_only([new])
    assert list(record.rows) == [ROWS[0].key, ROWS[1].key, new.key]


def test_rows_come_in_the_order_of_the_figures_room_by_room(record: Any) -> None:
    record.put(compare.Row("svd", "late", "", "<= 1", "1", True), NEW)
    record.put(compare.Row("svd", "forgotten", "", "<= 1", "1", True), NEW)
    record.sort(["error", "late", "time"])
    assert [row.figure for row, _ in record.rows.values()] == [
        "error", "late", "time", ROWS[0].figure, "forgotten"
    ]  # fmt: skip


def test_a_record_of_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "benchmarks.json"
    path.write_text('{"format": 2, "runs": [], "rows": []}')
    with pytest.raises(ValueError, match="format 2"):
        compare.Record(path)


@pytest.mark.parametrize("size", [["--quick"], ["--peers"]])
def test_what_is_no_verdict_stays_out_of_the_record(size: list[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        compare.parse([*size, "--output", str(tmp_path / "table.rst")])
    assert compare.parse([*size, "--output", str(tmp_path / "table.md")])


@pytest.fixture
def two_figures(modules: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise two figures, of which the first fails."""
    Figure, import_time = modules["figures"].Figure, modules["import_time"]

    class Broken:
        def setup(self) -> None: ...

        def track(self) -> float:
            raise MemoryError("no room\nfor it")

    class Sound:
        params = ((1.0, 3.0),)

        def setup(self, value: float) -> None: ...

        def track(self, value: float) -> float:
            return value

    monkeypatch.setattr(import_time, "Broken", Broken, raising=False)
    monkeypatch.setattr(import_time, "Sound", Sound, raising=False)
    figures = (
        Figure("first", "import_time.Broken.track", 1.0),
        Figure("second", "import_time.Sound.track", 2.0),
        Figure("third", "import_time.Sound.track", 2.0, needs="a_package_that_is_not_here"),
    )
    monkeypatch.setattr(modules["figures"], "FIGURES", figures)
    monkeypatch.setenv("LINALGKIT_BENCH_LONG", "0")


@pytest.mark.usefixtures("two_figures")
def test_a_figure_that_fails_is_a_row_and_the_others_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "table.rst"
    assert compare.main(["--output", str(table)]) == 1
    rows = [row for row, _ in compare.Record(tmp_path / "benchmarks.json").rows.values()]
    assert [(r.what, r.measured, r.kept) for r in rows] == [
        ("first", "failed: MemoryError: no room for it", False),
        ("second (1.0)", "1", True),
        ("second (3.0)", "3", False),
    ]
    assert "failed: MemoryError: no room for it" in table.read_text(encoding="utf-8")
    said = capsys.readouterr()
    assert "skipped, for want of the package a_package_that_is_not_here: third" in said.err
    assert "1 of 3 promises kept" in said.out


@pytest.mark.usefixtures("two_figures")
def test_only_some_figures_are_measured_and_the_rest_of_the_table_stays(tmp_path: Path) -> None:
    table = tmp_path / "table.rst"
    record = compare.Record(tmp_path / "benchmarks.json")
    record.put(ROWS[2], OLD)
    record.save()
    assert compare.main(["--only", "second", "--output", str(table)]) == 0
    found = compare.Record(tmp_path / "benchmarks.json")
    assert found.rows[ROWS[2].key] == (ROWS[2], OLD)
    assert {row.what for row, _ in found.rows.values()} == {"second (1.0)", "second (3.0)", "error"}
    assert table.read_text(encoding="utf-8") == compare.page(found)


@pytest.mark.usefixtures("two_figures")
def test_any_other_output_is_this_run_in_markdown(tmp_path: Path) -> None:
    page = tmp_path / "table.md"
    assert compare.main(["--quick", "--only", "second", "--output", str(page)]) == 0
    assert "| second (3.0) | <= 2 | 3 | no |" in page.read_text(encoding="utf-8")
    assert not (tmp_path / "benchmarks.json").exists()
