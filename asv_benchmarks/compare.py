"""Measure the promised figures and write them as one table.

    python asv_benchmarks/compare.py                the published sizes, Markdown on the screen
    python asv_benchmarks/compare.py --quick        small sizes: does it run, not a verdict
    python asv_benchmarks/compare.py --long         also 1e7 rows and the slowest peers
    python asv_benchmarks/compare.py --peers        the errors of every peer in every regime
    python asv_benchmarks/compare.py --only lstsq   those of which the name has this text
    python asv_benchmarks/compare.py --output docs/benchmarks_table.rst

The last one is `make bench`: the figures measured replace their rows in the record
(`benchmarks.json` beside the table), the others stay with their dates, and the table is written
from the record. Any other output is this run's table in Markdown.

The figures stand in `benchmarks/figures.py`. Ratios are medians of runs interleaved in this one
process on one thread. A figure that fails is a row that says why, and the rest go on; the exit
status is then 1. A promise that is not kept is a row, too, and no failure.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import os
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from records import Record, Row, Run, page, today

if TYPE_CHECKING:
    from benchmarks.figures import Figure

OURS = ("linalgkit", "numpy", "scipy", "numba")
PEERS = (
    "scikit-learn",
    "torch",
    "gensim",
    "dppy",
    "pylops",
    "tensorly",
    "teneva",
    "pychebyshev",
    "cmfrec",
    "implicit",
    "dask",
)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="small sizes: a trial, not a verdict")
    size.add_argument("--long", action="store_true", help="also what takes many minutes")
    parser.add_argument("--peers", action="store_true", help="the errors of all peers instead")
    parser.add_argument("--only", default="", metavar="TEXT", help="figures whose name has TEXT")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="a .rst from the record, else Markdown"
    )
    options = parser.parse_args(arguments)
    if keeps_record(options) and (options.quick or options.peers):
        parser.error("the record takes no figures of --quick or --peers: name an .md file instead")
    return options


def keeps_record(options: argparse.Namespace) -> bool:
    """Tell whether what is measured goes into the record."""
    return options.output is not None and options.output.suffix == ".rst"


def chosen(options: argparse.Namespace) -> Iterator[Figure]:
    """Yield the figures to measure; say which cannot be, and why."""
    from benchmarks.figures import FIGURES

    for figure in FIGURES:
        wanted = options.only.lower() in f"{figure.benchmark} {figure.what}".lower()
        if not wanted or (figure.minutes and not (options.long or options.quick)):
            continue
        missing = ", ".join(figure.missing())
        if missing:
            print(f"skipped, for want of {missing}: {figure.what}", file=sys.stderr, flush=True)
        else:
            yield figure


def parameters(benchmark: type, figure: Figure) -> Iterator[tuple[Any, ...]]:
    """Yield each set of parameters at which a figure is taken."""
    if figure.params is not None:
        yield figure.params
    else:
        yield from itertools.product(*getattr(benchmark, "params", ()))


def value_of(benchmark: type, track: str, values: tuple[Any, ...]) -> float:
    """Run one benchmark at one set of parameters."""
    case = benchmark()
    case.setup(*values)
    try:
        return float(getattr(case, track)(*values))
    finally:
        if hasattr(case, "teardown"):
            case.teardown(*values)


def reason(error: Exception) -> str:
    """Say in one line why a figure failed."""
    said = " ".join(str(error).split())
    return f"failed: {type(error).__name__}: {said}"[:200]


def measure(figure: Figure) -> Iterator[Row]:
    """Measure one figure at each of its parameters."""
    name, class_name, track = figure.benchmark.split(".")
    module = importlib.import_module(f"benchmarks.{name}")
    benchmark = getattr(module, class_name)
    for values in parameters(benchmark, figure):
        case = ", ".join(str(v) for v in values if figure.params is None)
        try:
            value = value_of(benchmark, track, values)
            measured, kept = figure.show(value), figure.met(value)
        except Exception as error:
            measured, kept = reason(error), False
        yield Row(module.ROOM, figure.what, case, figure.asked, measured, kept)


def markdown(row: Row) -> str:
    """Write a row in Markdown."""
    cells = (row.what, row.asked, row.measured, row.verdict)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def peer_lines() -> Iterator[str]:
    """Yield the lines of a table of errors: a row a regime, a column a method."""
    from benchmarks import streaming_eigenvectors as module

    names = module.RIVALS + module.OTHERS
    yield f"| stream | portfolio | {' | '.join(names)} |\n|---{'|---' * (len(names) + 1)}|"
    for (regime,) in itertools.product(*module.Accuracy.params):
        case = module.Accuracy()
        case.setup(regime)
        errors = case.errors(names)
        case.teardown(regime)
        yield f"| {regime} | {' | '.join(f'{e:.1e}' for e in errors.values())} |"


def processor() -> str:
    """Name the processor as Linux knows it, else as Python does."""
    info = Path("/proc/cpuinfo")
    names = [] if not info.exists() else info.read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in names if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def versions() -> Iterator[tuple[str, str]]:
    """Yield Python and each package that is installed, with its version."""
    yield "Python", platform.python_version()
    for package in OURS + PEERS:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue


def this_run(options: argparse.Namespace) -> Run:
    """Return what the figures are measured on."""
    machine = f"{processor()}, {os.cpu_count()} cores, one thread used, {platform.system()}"
    sizes = "small sizes: a trial, not a verdict" if options.quick else "published sizes"
    return Run(today(), machine, dict(versions()), sizes)


def rows_of(options: argparse.Namespace, run: Run) -> Iterator[Row]:
    """Yield the rows as they are measured; those for the record are kept one by one."""
    record = Record(options.output.with_name("benchmarks.json")) if keeps_record(options) else None
    for figure in chosen(options):
        rows = []
        for row in measure(figure):
            yield row
            rows.append(row)
            if record:
                record.put(row, run)
                _write(record, options.output)
        if record:
            record.keep_only(rows)
    if record:
        _write(record, options.output)


def _write(record: Record, table: Path) -> None:
    """Write record and table, in the order of the figures."""
    from benchmarks.figures import FIGURES

    record.sort([figure.what for figure in FIGURES])
    record.save()
    table.write_text(page(record), encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Print the table line by line as it is measured; exit with 1 if a figure failed."""
    options = parse(arguments)
    os.environ["LINALGKIT_BENCH_LONG"] = "0" if options.quick else "1"
    run = this_run(options)
    lines: list[str] = []

    def say(line: str) -> None:
        print(line, flush=True)
        lines.append(line)

    say(f"{run}\n")
    if options.peers:
        rows: list[Row] = []
        for line in peer_lines():
            say(line)
    else:
        say("| figure | asked | measured | kept |\n|---|---|---|---|")
        rows = [row for row in rows_of(options, run) if say(markdown(row)) is None]
    if options.output and not keeps_record(options):
        options.output.write_text("\n".join(lines) + "\n", encoding="utf-8")
    promised = [row.kept for row in rows if row.kept is not None]
    if promised:
        print(f"\n{sum(promised)} of {len(promised)} promises kept.")
    return int(any(row.measured.startswith("failed: ") for row in rows))


if __name__ == "__main__":
    sys.exit(main())
