"""Measure how distribution scales, and plan it to a thousand workers.

    python asv_benchmarks/scaling.py                    about two minutes on an idle machine
    python asv_benchmarks/scaling.py --output FILE.rst  writes the tables there, too

Measured: each method in one process, then under a local cluster of one and of two worker processes
of one thread each, on the same parts, which lie in the workers' memory before the clock starts.
Planned: for p workers with a thousand parts of data each, from what was measured (the time of a
part and of a merge, the bytes of a state, the scheduler's time a task) and one assumption that
stands in the table's head, the bandwidth between two workers.
"""

from __future__ import annotations

import argparse
import math
import os
import pickle
import platform
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dask
import numpy as np
from dask.distributed import Client, LocalCluster, wait
from scipy import sparse

from linalgkit import chebyshev, completion, distributed, regression, sketching, svd
from linalgkit.streaming import StreamingEigh

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
PARTS, FANIN = 8, 8
BANDWIDTH = 1.25e9  # bytes a second between two workers: 10 Gbit/s
N_TASKS = 3000  # empty tasks, to time the scheduler
ROUNDS = 3
PLANNED = (1, 10, 100, 1000)
HEAVIER = 1000  # parts of data that a planned worker has

WIDTH = 256
ROWS = 24_000


@dataclass(frozen=True)
class Case:
    """One method.

    ``make(i)`` returns part i; ``whole(parts)`` runs the serial method on all parts in memory,
    ``spread(parts)`` the distributed one on delayed parts. ``state(part)`` returns what travels up
    the tree from a part, ``join(a, b)`` merges two; for methods in passes, ``passes`` of them, in
    each of which ``exchanged`` bytes go to all workers (from one to the next, in a tree of two) and
    as many come back to the client.
    """

    name: str
    make: Callable[[int], Any]
    whole: Callable[[list[Any]], Any]
    spread: Callable[[list[Any]], Any]
    state: Callable[[Any], Any]
    join: Callable[[Any, Any], Any]
    passes: int = 1
    exchanged: float = 0.0


def rows_of(i: int) -> Any:
    """Return a block of rows with a decaying spectrum."""
    rng = np.random.default_rng(i)
    return rng.standard_normal((ROWS, WIDTH)) * np.geomspace(10.0, 1.0, WIDTH)


def columns_of(i: int) -> Any:
    """Return a block of columns near a subspace that all blocks share."""
    basis = np.random.default_rng(99).standard_normal((4000, 12))
    rng = np.random.default_rng(i)
    return basis @ rng.standard_normal((12, 1000)) + 0.1 * rng.standard_normal((4000, 1000))


def equations_of(i: int) -> Any:
    """Return a block of rows with its right side in the last column."""
    A = rows_of(i)[:, :64]
    b = A @ np.ones(64) + np.random.default_rng(1000 + i).standard_normal(ROWS)
    return np.concatenate([A, b[:, None]], axis=1)


def particles_of(i: int) -> Any:
    """Return positions and charges side by side."""
    rng = np.random.default_rng(i)
    return np.concatenate(
        [rng.uniform(-1, 1, (20_000, 3)), rng.choice([-1.0, 1.0], (20_000, 1))], 1
    )


def entries_of(i: int) -> Any:
    """Return a block of rows of a matrix of rank 8, a twentieth of it observed."""
    right = np.random.default_rng(77).standard_normal((8, 3000))
    rng = np.random.default_rng(i)
    m, n = 1500, 3000
    count = m * n // 20
    places = np.sort(rng.choice(m * n, count, replace=False))
    rows, cols = np.divmod(places, n)
    left = rng.standard_normal((m, 8))
    values = np.einsum("ik,ki->i", left[rows], right[:, cols]) + 0.1 * rng.standard_normal(count)
    return sparse.csr_array((values, (rows, cols)), shape=(m, n))


def potential(particles: Any) -> Any:
    """Return the potential of particles with their charges in the last column."""
    x, q = left(particles), last(particles)
    return chebyshev.long_range_potential(x, q, [(-1, 1)] * 3, alpha=6.0, tol=1e-7)


def parted(function: Callable[..., Any], tasks: list[Any]) -> list[Any]:
    """Return a function of each part as tasks."""
    return [dask.delayed(function, pure=False)(task) for task in tasks]


def left(part: Any) -> Any:
    return part[:, :-1]


def last(part: Any) -> Any:
    return part[:, -1]


def eigh(method: str) -> Case:
    """Return the case of a streaming method."""

    def model() -> StreamingEigh:
        return StreamingEigh(4, method=method, rng=0, gap_warn=0)

    def join(a: StreamingEigh, b: StreamingEigh) -> StreamingEigh:
        return pickle.loads(pickle.dumps(a)).merge(b)

    return Case(
        f"top eigenvectors, {method}",
        rows_of,
        lambda parts: model().fit(parts).result(),
        lambda tasks: distributed.fit(model(), tasks).result(),
        lambda part: model().fit(part),
        join,
    )


def cases() -> Iterator[Case]:
    """Yield all cases."""
    yield eigh("gram")
    yield eigh("nystrom")
    yield eigh("block-power")
    yield Case(
        "tree SVD, rank 10",
        columns_of,
        lambda parts: svd.tree_svd(parts, 10),
        lambda tasks: distributed.tree_svd(tasks, 10),
        lambda part: svd.IncrementalSVD(10).append_columns(part),
        lambda a, b: pickle.loads(pickle.dumps(a)).merge(b),
    )
    yield Case(
        "least squares, full accuracy",
        equations_of,
        lambda parts: regression.lstsq([(left(p), last(p)) for p in parts], None),
        lambda tasks: distributed.lstsq(parted(left, tasks), parted(last, tasks)),
        lambda part: left(part).T @ part,
        lambda a, b: a + b,
        passes=4,
    )
    yield Case(
        "least squares from a sketch",
        equations_of,
        lambda parts: regression.sketched_lstsq(
            [(left(p), last(p)) for p in parts], None, m=1000, rng=0
        ),
        lambda tasks: distributed.sketched_lstsq(
            parted(left, tasks), parted(last, tasks), m=1000, rng=0
        ),
        lambda part: sketching.sketch("block_srht", m=1000, n=len(part), rng=0) @ part,
        lambda a, b: a + b,
    )
    yield Case(
        "leverage scores",
        equations_of,
        lambda parts: sketching.leverage_scores(np.concatenate([left(p) for p in parts])),
        lambda tasks: distributed.leverage_scores(parted(left, tasks)).sum().compute(),
        lambda part: left(part).T @ left(part),
        lambda a, b: a + b,
        passes=2,
    )
    yield Case(
        "potential of particles",
        particles_of,
        lambda parts: potential(np.concatenate(parts)),
        lambda tasks: distributed.long_range_potential(
            parted(left, tasks), parted(last, tasks), [(-1, 1)] * 3, alpha=6.0, tol=1e-7
        ),
        potential,
        lambda a, b: a.merge(b),
    )
    yield Case(
        "matrix completion, 20 sweeps (planned: 1e6 x 1e6)",
        entries_of,
        lambda parts: completion.complete_matrix(
            sparse.csr_array(sparse.vstack(parts)), 8, alpha=1.0, rng=0, max_sweeps=20, tol=1e-30
        ),
        lambda tasks: distributed.complete_matrix(
            tasks, 8, alpha=1.0, rng=0, max_sweeps=20, tol=1e-30
        ),
        lambda part: None,
        lambda a, b: None,
        passes=40,
        exchanged=8e6 * 8,
    )


# ------------------------------------------------------------------------------- measuring


def seconds(function: Callable[[], Any]) -> float:
    """Return the median time of a call, after one that warms up."""
    function()
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def clustered(case: Case, n_workers: int) -> float:
    """Return the time under a local cluster."""
    with (
        LocalCluster(
            n_workers=n_workers, threads_per_worker=1, processes=True, dashboard_address=":0",
            silence_logs="ERROR",
        ) as cluster,
        Client(cluster) as client,
    ):  # fmt: skip
        tasks = client.persist([dask.delayed(case.make)(i) for i in range(PARTS)])
        wait(tasks)
        return seconds(lambda: case.spread(tasks))


@dataclass(frozen=True)
class Found:
    """What was measured of a case."""

    case: Case
    serial: float
    one: float
    two: float
    merge: float
    state: int


def alone(case: Case) -> tuple[float, float, int]:
    """Return seconds in one process and of a merge, and bytes of a state."""
    parts = [case.make(i) for i in range(PARTS)]
    a, b = (case.state(part) for part in parts[:2])
    whole = seconds(lambda: case.whole(parts))
    return whole, seconds(lambda: case.join(a, b)), len(pickle.dumps(a))


def measured(case: Case) -> Found:
    """Measure one case."""
    serial, merge, size = alone(case)
    return Found(case, serial, clustered(case, 1), clustered(case, 2), merge, size)


def seconds_a_task() -> float:
    """Return the time of the scheduler for one task that does nothing, among many."""
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs="ERROR"
        ) as cluster,
        Client(cluster),
    ):
        tasks = [dask.delayed(abs, pure=False)(i) for i in range(N_TASKS)]
        return seconds(lambda: dask.compute(*tasks)) / N_TASKS


def planned(found: Found, p: int, task: float) -> tuple[float, float]:
    """Return seconds and efficiency for p workers, each with `HEAVIER` parts of data."""
    work = found.serial / PARTS * HEAVIER
    levels = math.ceil(math.log(p, FANIN)) if p > 1 else 0
    climb = levels * (FANIN - 1) * (found.merge + found.state / BANDWIDTH)
    tasks = p * (1 + 1 / (FANIN - 1)) * task
    factors = (1 + math.ceil(math.log2(p + 1))) * found.case.exchanged / BANDWIDTH
    total = work + found.case.passes * (climb + tasks + factors)
    return total, work / total


# --------------------------------------------------------------------------------- writing


def table(title: str, header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a reStructuredText table."""
    lines = [f".. list-table:: {title}", "   :header-rows: 1", ""]
    for row in [header, *rows]:
        lines += [f"   {'*' if i == 0 else ' '} - {cell}" for i, cell in enumerate(row)]
    return "\n".join(lines) + "\n"


def report(all_found: list[Found], task: float) -> str:
    """Return both tables."""
    names = ("linalgkit", "numpy", "scipy", "dask", "distributed")
    software = ", ".join(
        [f"Python {platform.python_version()}", *(f"{n} {version(n)}" for n in names)]
    )
    head = (
        f"Measured on {date.today()}, {os.cpu_count()} cores shared with scheduler and client; "
        f"{software}; {PARTS} parts, medians of {ROUNDS}.\n"
    )
    first = [
        (
            f.case.name,
            *(f"{t:.2f}" for t in (f.serial, f.one, f.two)),
            f"{f.one / f.two:.2f}",
            f"{1e-6 * f.state:.2g}",
            f"{1e3 * f.merge:.2g}",
        )
        for f in all_found
    ]
    second = [
        (
            f.case.name,
            *(f"{t:.0f} s ({100 * e:.0f} %)" for t, e in (planned(f, p, task) for p in PLANNED)),
        )
        for f in all_found
    ]
    measured_table = table(
        "Measured: seconds",
        (
            "method",
            "one process, no Dask",
            "1 worker",
            "2 workers",
            "gain",
            "state, MB",
            "merge, ms",
        ),
        first,
    )
    plan = table(
        f"Planned: {HEAVIER} parts of data a worker, {BANDWIDTH:.3g} bytes a second, "
        f"{1e3 * task:.2g} ms of the scheduler a task: seconds (efficiency)",
        ("method", *(f"{p} workers" for p in PLANNED)),
        second,
    )
    return "\n".join([head, measured_table, plan])


def main() -> int:
    """Measure all cases, or those whose name holds a text."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", metavar="TEXT", help="cases whose name has TEXT")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the tables there, too")
    options = parser.parse_args()
    if os.environ.get("OMP_NUM_THREADS") != "1":  # before NumPy is loaded
        threads = dict.fromkeys(THREADS, "1")
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **threads})
    all_found = []
    for case in cases():
        if options.only in case.name:
            all_found.append(measured(case))
            f = all_found[-1]
            print(f"{case.name:32} {f.serial:.3f} {f.one:.3f} {f.two:.3f}", flush=True)
    text = report(all_found, seconds_a_task())
    print(text)
    if options.output:
        options.output.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
