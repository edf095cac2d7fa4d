"""Measure the promised figures and write them as one Markdown table.

    python asv_benchmarks/compare.py                the published sizes, some minutes
    python asv_benchmarks/compare.py --quick        small sizes: does it run, not a verdict
    python asv_benchmarks/compare.py --long         also 1e7 rows and the slowest peer
    python asv_benchmarks/compare.py --peers        the errors of every peer in every regime

The figures stand in `benchmarks/figures.py`. Ratios are medians of runs interleaved in this one
process on one thread.
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
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from benchmarks.figures import Figure

PACKAGES = ("linalgkit", "numpy", "scipy", "numba", "scikit-learn")


class Row(NamedTuple):
    """One line of the table."""

    what: str
    asked: str
    measured: str
    met: bool

    def __str__(self) -> str:
        """Write the line in Markdown."""
        return f"| {self.what} | {self.asked} | {self.measured} | {'yes' if self.met else 'no'} |"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="small sizes: a trial, not a verdict")
    size.add_argument("--long", action="store_true", help="also what takes many minutes")
    parser.add_argument("--peers", action="store_true", help="the errors of all peers instead")
    parser.add_argument("--only", default="", metavar="TEXT", help="figures whose name has TEXT")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the table there too")
    return parser.parse_args(arguments)


def chosen(options: argparse.Namespace) -> Iterator[Figure]:
    """Yield the figures to measure."""
    from benchmarks.figures import FIGURES

    for figure in FIGURES:
        wanted = options.only.lower() in f"{figure.benchmark} {figure.what}".lower()
        if wanted and (options.long or options.quick or not figure.minutes):
            yield figure


def parameters(benchmark: type, figure: Figure) -> Iterator[tuple[Any, ...]]:
    """Yield each set of parameters at which a figure is taken."""
    if figure.params is not None:
        yield figure.params
    else:
        yield from itertools.product(*getattr(benchmark, "params", ()))


def measure(figure: Figure) -> Iterator[Row]:
    """Measure one figure at each of its parameters."""
    module, name, track = figure.benchmark.split(".")
    benchmark = getattr(importlib.import_module(f"benchmarks.{module}"), name)
    for values in parameters(benchmark, figure):
        case = benchmark()
        case.setup(*values)
        value = getattr(case, track)(*values)
        if hasattr(case, "teardown"):
            case.teardown(*values)
        label = ", ".join(str(v) for v in values if figure.params is None)
        what = f"{figure.what} ({label})" if label else figure.what
        yield Row(what, figure.asked, figure.show(value), figure.met(value))


def figure_lines(options: argparse.Namespace) -> Iterator[tuple[str, bool]]:
    """Yield the lines of the table of figures, each with whether its promise is kept."""
    yield "| figure | asked | measured | kept |\n|---|---|---|---|", True
    for figure in chosen(options):
        for row in measure(figure):
            yield str(row), row.met


def peer_lines() -> Iterator[tuple[str, bool]]:
    """Yield the lines of a table of errors: a row a regime, a column a method."""
    from benchmarks import streaming_eigenvectors as module

    names = module.RIVALS + module.OTHERS
    yield f"| stream | portfolio | {' | '.join(names)} |\n|---{'|---' * (len(names) + 1)}|", True
    for (regime,) in itertools.product(*module.Accuracy.params):
        case = module.Accuracy()
        case.setup(regime)
        errors = case.errors(names)
        case.teardown(regime)
        yield f"| {regime} | {' | '.join(f'{e:.1e}' for e in errors.values())} |", True


def processor() -> str:
    """Name the processor as Linux knows it, else as Python does."""
    info = Path("/proc/cpuinfo")
    names = [] if not info.exists() else info.read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in names if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def versions() -> Iterator[str]:
    """Yield each package with its version."""
    for package in PACKAGES:
        try:
            yield f"{package} {version(package)}"
        except PackageNotFoundError:
            yield f"{package} (not installed)"


def heading(options: argparse.Namespace) -> str:
    """Write what the figures were measured on."""
    sizes = "small sizes: a trial, not a verdict" if options.quick else "published sizes"
    machine = f"{processor()}, {os.cpu_count()} cores, one thread used, {platform.system()}"
    software = ", ".join([f"Python {platform.python_version()}", *versions()])
    return f"{machine}; {software}; {sizes}.\n"


def main(arguments: list[str] | None = None) -> int:
    """Print the table line by line as it is measured; exit with 1 if a promise is broken."""
    options = parse(arguments)
    os.environ["LINALGKIT_BENCH_LONG"] = "0" if options.quick else "1"
    lines = [heading(options)]
    print(lines[0], flush=True)
    broken = False
    for line, kept in peer_lines() if options.peers else figure_lines(options):
        print(line, flush=True)
        lines.append(line)
        broken |= not kept
    if options.output:
        options.output.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return int(broken and not options.quick)


if __name__ == "__main__":
    sys.exit(main())
