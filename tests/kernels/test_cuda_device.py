"""The CuPy forms of small kernels on a device, beside the portable form on the host."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from linalgkit import _kernels
from linalgkit._core.array import array_namespace, numpy_namespace, to_numpy
from linalgkit._kernels.probe import PROBES
from linalgkit._kernels.removal import greedy_removal

from .test_cuda_sources import assert_all_close, data
from .test_removal import check as check_removal
from .test_removal import eigenbasis, unit_rows

importlib.import_module("linalgkit._kernels.chebyshev")  # which the package does not import
NP = numpy_namespace()
Draw = np.random.Generator

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not _kernels.cupy_available(), reason="needs a device"),
]


def _sampling(rng: Draw, dtype: str) -> tuple[Any, ...]:
    Q = np.linalg.qr(data(rng, dtype, 90, 90))[0]
    return (Q * rng.random(90)) @ Q.conj().T, rng.random(90), 1e-8


def _sparse(rng: Draw, dtype: str) -> Any:
    return sp.csr_array(data(rng, dtype, 500, 60) * (rng.random((500, 60)) < 0.4))


def _panels(rng: Draw, dtype: str) -> tuple[Any, ...]:
    return rng.integers(0, 6, 900), rng.uniform(-1, 1, 900), data(rng, dtype, 6, 9, 20)


def _recurrence(rng: Draw) -> np.ndarray:
    j = np.arange(37)
    return np.stack([(2 * j + 1) / (j + 1), 0 * j, j / (j + 1)])


def _thinning(rng: Draw, dtype: str, put: Callable[[Any], Any]) -> tuple[Any, ...]:
    A, W = data(rng, dtype, 800, 45), np.linalg.qr(data(rng, dtype, 45, 45))[0][:, :20]
    scores = np.sum(np.abs(A) ** 2, axis=1)
    host = np.cumsum(scores), scores, rng.random((2, 301)), 200
    return put(A), 0, put(W), *host


#: Arguments by kernel: ``make(rng, dtype, put)``; what a kernel takes from the host is not put.
CALLS: dict[str, Callable[[Draw, str, Callable[[Any], Any]], tuple[Any, ...]]] = {
    "csr_residual_product": lambda rng, dtype, put: (
        put(_sparse(rng, dtype)),
        put(data(rng, dtype, 60, 5)),
        put(data(rng, dtype, 500, 5)),
    ),
    "csr_row_norms_squared": lambda rng, dtype, put: (put(_sparse(rng, dtype)),),
    "gram": lambda rng, dtype, put: (put(data(rng, dtype, 3000, 90).real.copy()),),
    "hermitian_sampling": lambda rng, dtype, put: tuple(
        put(x) if isinstance(x, np.ndarray) else x for x in _sampling(rng, dtype)
    ),
    "panel_rows": lambda rng, dtype, put: tuple(map(put, _panels(rng, dtype))),
    "probed_norms": lambda rng, dtype, put: (
        put(data(rng, dtype, 20000, 70)),
        put(data(rng, dtype, 70, PROBES)),
    ),
    "recurrence_table": lambda rng, dtype, put: (
        put(rng.uniform(-1, 1, (500, 3))),
        _recurrence(rng),
    ),
    "recurrence_values": lambda rng, dtype, put: (
        put(rng.uniform(-1, 1, 900)),
        put(rng.integers(0, 38, 900)),
        _recurrence(rng),
    ),
    "thinned_proposals": _thinning,
}


def put_on_device(x: Any) -> Any:
    cupy = importlib.import_module("cupy")
    if sp.issparse(x):
        return importlib.import_module("cupyx.scipy.sparse").csr_matrix(x)
    return cupy.asarray(x)


def compare(name: str, dtype: str, xp: Any, put: Callable[[Any], Any]) -> None:
    kernel = _kernels.registered()[name]
    expected = kernel.forms()["portable"](
        NP, *CALLS[name](np.random.default_rng(1), dtype, lambda x: x)
    )
    arguments = CALLS[name](np.random.default_rng(1), dtype, put)
    assert kernel.supports("cupy", *arguments)
    found = kernel._load("cupy")(xp, *arguments)
    found, expected = (x if isinstance(x, tuple) else (x,) for x in (found, expected))
    assert_all_close(tuple(map(to_numpy, found)), expected, "float64")


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("name", CALLS)
def test_the_device_agrees_with_the_host(name: str, dtype: str) -> None:
    compare(name, dtype, array_namespace(put_on_device(np.ones(1))), put_on_device)


@pytest.mark.parametrize("two_sided", [False, True], ids=["lmin", "norm"])
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_rows_removed_on_the_device(rng: Draw, dtype: str, two_sided: bool) -> None:
    B = unit_rows(rng, dtype, 60, 8)
    values, Z = map(put_on_device, eigenbasis(B))
    removed = greedy_removal.forms()["cupy"](array_namespace(Z), values, Z, 52, 0.8, two_sided)
    check_removal(B, removed, 52, 0.8, two_sided)
