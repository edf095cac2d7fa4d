"""On two processes: the bits of the threads, a worker that is killed, progress."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from dask.utils import key_split

from linalgkit.distributed import fit
from linalgkit.streaming import StreamingEigh

distributed = pytest.importorskip("distributed")

D, N, PART = 12, 14000, 2300
OPTIONS = [{"method": "gram", "center": True}, {"method": "portfolio"}]


def _rows() -> Any:
    A = np.random.default_rng(0).standard_normal((N, D))
    A[:, 3] *= 3.0
    A[::3000] *= 200.0
    return A


def _model(**options: Any) -> StreamingEigh:
    return StreamingEigh(rng=3, gap_warn=0, **options)


def _bits(model: StreamingEigh) -> tuple[Any, ...]:
    result = model.result()
    return (
        result.eigenvalues.tobytes(),
        result.eigenvectors.tobytes(),
        result.gap,
        result.error_estimate,
        result.n_rows,
    )


@pytest.mark.slow
@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: options["method"])
def test_one_and_two_processes_give_the_bits_of_the_threads(
    options: dict[str, Any], cluster: Any
) -> None:
    A = da.from_array(_rows(), chunks=(PART, D))
    with dask.config.set(scheduler="threads"):
        expected = _bits(fit(_model(**options), A))
        lazy = fit(_model(**options), A, compute=False)
    assert _bits(fit(_model(**options), A)) == expected  # round by round
    first = next(iter(cluster.scheduler_info()["workers"]))
    alone = cluster.compute(lazy, workers=[first], allow_other_workers=False)
    assert _bits(alone.result(timeout=60)) == expected


# ------------------------------------------------------------------------ a worker is killed


def _slow_part(i: int, folder: str, n_reads: int) -> Any:
    """Return some rows; after so many times only once the file "go" is there."""
    place = Path(folder)
    blocked = len(list(place.glob(f"part-{i}-*"))) >= n_reads
    (place / f"part-{i}-{os.getpid()}-{time.monotonic_ns()}").touch()
    if blocked:
        (place / f"blocked-{i}-{os.getpid()}").touch()
    deadline = time.monotonic() + 60.0
    while blocked and not (place / "go").exists():
        if time.monotonic() > deadline:
            raise TimeoutError("nobody said go")
        time.sleep(0.02)
    return _rows()[PART * i : PART * (i + 1)]


def _wait_for(found: Any, seconds: float = 30.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.02)
    return value


# Parts of the sum are read once; those whose segments are shared first for their lengths, then for
# their norms, and the third time for their products.
@pytest.mark.slow
@pytest.mark.parametrize(("options", "n_reads"), [(OPTIONS[0], 0), (OPTIONS[1], 2)])
def test_a_worker_killed_in_the_middle_loses_nothing(
    options: dict[str, Any], n_reads: int, cluster: Any, tmp_path: Path
) -> None:
    n_parts = -(-N // PART)
    with dask.config.set(scheduler="threads"):
        expected = _bits(fit(_model(**options), da.from_array(_rows(), chunks=(PART, D))))
    pids = set(cluster.run(os.getpid).values())
    slow = [dask.delayed(_slow_part)(i, str(tmp_path), n_reads) for i in range(n_parts)]
    with ThreadPoolExecutor(1) as thread:
        future = thread.submit(_fit_on, cluster, _model(**options), slow)
        found = _wait_for(lambda: sorted(tmp_path.glob("blocked-*")) or future.done())
        blocked = future.result() if future.done() else found[0]  # the error, if it ended in one
        _, part, killed = blocked.name.split("-")
        assert int(killed) in pids
        os.kill(int(killed), signal.SIGKILL)
        _wait_for(lambda: int(killed) not in _alive(cluster))
        (tmp_path / "go").touch()
        assert _bits(future.result(timeout=60)) == expected
    readers = {name.name.split("-")[2] for name in tmp_path.glob(f"part-{part}-*")}
    assert killed in readers
    assert len(readers) >= 2  # somebody else has read it again


def _fit_on(cluster: Any, model: StreamingEigh, parts: Any) -> StreamingEigh:
    """Fit in another thread, which has no current client of its own."""
    with cluster.as_current():
        return fit(model, parts)


def _alive(cluster: Any) -> set[int]:
    with contextlib.suppress(Exception):
        return set(cluster.run(os.getpid, on_error="ignore").values())
    return set()


# ---------------------------------------------------------------------------------- progress


@pytest.mark.slow
def test_progress_is_watched_by_what_dask_has_for_it(
    cluster: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = [_rows()[i : i + PART] for i in range(0, N, PART)]
    lazy = fit(_model(method="gram"), parts, compute=False)
    names = [key_split(key) for key in lazy.__dask_graph__()]
    assert names.count("linalgkit-eigh-fit") == len(parts)
    future = cluster.compute(lazy)
    distributed.progress(future, notebook=False)
    assert "Completed" in capsys.readouterr().out
    (done,) = distributed.as_completed([future], timeout=60)
    assert done.result().n_samples_seen_ == N


@pytest.mark.slow
def test_an_error_in_a_part_comes_back_as_it_is(cluster: Any) -> None:
    rows = _rows()
    rows[N - 1, 0] = np.nan
    for options in OPTIONS:
        with pytest.raises(ValueError, match="NaN"):
            fit(_model(**options), da.from_array(rows, chunks=(PART, D)))
