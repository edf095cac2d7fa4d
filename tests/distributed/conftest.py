"""One cluster of two worker processes a module, and Dask on two threads elsewhere.

An open client allocates memory in threads of its own, which tests of memory would count.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dask
import pytest


@pytest.fixture(scope="module")
def _two_processes() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed")
    with (
        dask.config.set({"distributed.worker.daemon": True}),
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=":0",
            silence_logs="ERROR",
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture
def cluster(_two_processes: Any) -> Iterator[Any]:
    """A client of two worker processes, each with one thread, used by Dask while the test runs."""
    try:  # a test may have killed one
        _two_processes.wait_for_workers(2, timeout=30)
    except TimeoutError:
        _two_processes.restart(timeout=60)
    with _two_processes.as_current():  # in no configuration: workers that restart are sent that
        yield _two_processes


@pytest.fixture(autouse=True)
def _two_threads(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run on Dask's threads, unless the test asks for the cluster."""
    if "cluster" in request.fixturenames:
        yield
        return
    with dask.config.set(scheduler="threads", num_workers=2):
        yield
