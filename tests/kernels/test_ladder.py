"""The ladder's forward substitution against the row loop that it stands for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from linalgkit import _kernels
from linalgkit._core.array import array_namespace, numpy_namespace
from linalgkit._kernels import ladder_solve

from .test_dense import Draw, data

NP = numpy_namespace()
FORMS = tuple(form for form in ladder_solve.forms() if form != "cupy")
RATES = 5e-7 * 2.0 ** np.arange(25)


def row_loop(X: np.ndarray, rate: float, v: np.ndarray) -> np.ndarray:
    """Oja's updates row by row, without normalisation, in extended precision."""
    X, v = X.astype(np.clongdouble), v.astype(np.clongdouble)
    for x in X:
        v = v + np.longdouble(rate) * np.conj(x) * (x @ v)
    return v


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_equals_the_row_loop_at_every_rate(rng: Draw, form: str, dtype: str) -> None:
    X, V = data(rng, dtype, 64, 30), data(rng, dtype, 30, RATES.size)
    C = ladder_solve.forms()[form](NP, X @ X.conj().T, RATES, X @ V)
    W = V + RATES * (X.conj().T @ C)
    for j, rate in enumerate(RATES):
        expected = row_loop(X, rate, V[:, j])
        # At the largest rate the vector grows by a hundred orders of magnitude.
        assert np.linalg.norm(W[:, j] - expected) <= 1e-12 * np.linalg.norm(expected)


@pytest.mark.parametrize("form", FORMS)
def test_rounding_error_stays_small_where_growth_is_huge(rng: Draw, form: str) -> None:
    mpmath = pytest.importorskip("mpmath")
    X, P = data(rng, "float64", 40, 10), data(rng, "float64", 40, 1)
    G = X @ X.T
    found = ladder_solve.forms()[form](NP, G, np.array([8.0]), P)[:, 0]
    with mpmath.workdps(60):
        exact: list[Any] = []
        for i in range(40):
            total = sum((mpmath.mpf(G[i, k]) * exact[k] for k in range(i)), mpmath.mpf(0))
            exact.append(mpmath.mpf(P[i, 0]) + 8 * total)
        worst = max(abs((f - e) / e) for f, e in zip(found, exact, strict=True))
    assert abs(exact[-1]) > 1e20
    assert worst < 1e-12


@pytest.mark.parametrize("form", FORMS)
def test_only_the_part_below_the_diagonal_is_read(rng: Draw, form: str) -> None:
    X, P = data(rng, "float64", 12, 5), data(rng, "float64", 12, 3)
    G = X @ X.T
    expected = ladder_solve.forms()[form](NP, G, RATES[:3], P)
    G[np.triu_indices(12)] = np.nan
    assert np.array_equal(ladder_solve.forms()[form](NP, G, RATES[:3], P), expected)


@pytest.mark.parametrize("form", FORMS)
def test_an_overflowing_rate_spoils_its_own_column_only(rng: Draw, form: str) -> None:
    X, P = data(rng, "float64", 30, 5), data(rng, "float64", 30, 3)
    rates = np.array([1e-3, 1e200, 1e-2])
    C = ladder_solve.forms()[form](NP, X @ X.T, rates, P)
    assert np.array_equal(np.isfinite(C).all(axis=0), [True, False, True])
    clean = ladder_solve.forms()[form](NP, X @ X.T, rates[[0, 2]], P[:, [0, 2]])
    assert np.array_equal(C[:, [0, 2]], clean)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("exponent", [498, -498])
def test_units_cancel(rng: Draw, form: str, exponent: int) -> None:
    X, P = data(rng, "float64", 30, 5), data(rng, "float64", 30, 3)
    factor = 2.0**exponent
    G = X @ X.T  # once: BLAS may round the same product another way in another call
    C = ladder_solve.forms()[form](NP, G, RATES[-3:], P)
    scaled = ladder_solve.forms()[form](
        NP, factor * (factor * G), RATES[-3:] / factor**2, factor * P
    )
    assert np.array_equal(scaled, factor * C)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("b", "m"), [(0, 3), (1, 1), (5, 0)])
def test_smallest_sizes(rng: Draw, form: str, b: int, m: int) -> None:
    P = data(rng, "float64", b, m)
    C = ladder_solve.forms()[form](NP, np.ones((b, b)), np.ones(m), P)
    assert np.array_equal(C, P)
    assert not np.shares_memory(C, P)


def test_every_library(xp: Any, rng: Draw) -> None:
    for dtype in xp.dtypes:
        X, P = data(rng, dtype, 20, 6), data(rng, dtype, 20, 4)
        G, rates = X @ X.conj().T, np.array([1e-3, 3e-3, 1e-2, 3e-2])
        C = ladder_solve(xp.xp, xp.asarray(G, dtype), xp.asarray(rates), xp.asarray(P, dtype))
        system = np.eye(20) - rates[:, None, None] * np.tril(G, -1)
        expected = np.linalg.solve(system, P.T[:, :, None])[:, :, 0].T
        np.testing.assert_allclose(
            xp.to_numpy(C), expected, rtol=0, atol=1e3 * np.finfo(dtype).eps * abs(expected).max()
        )
        assert C.dtype == xp.asarray(np.ones(1) * (1j if "c" in dtype else 1)).dtype


@pytest.mark.gpu
@pytest.mark.skipif(not _kernels.cupy_available(), reason="needs a device")
def test_cupy_form_on_a_device(rng: Draw) -> None:
    import cupy

    X, P = data(rng, "complex128", 64, 20), data(rng, "complex128", 64, 25)
    G = X @ X.conj().T
    expected = ladder_solve.forms()["portable"](NP, G, RATES, P)
    xp = array_namespace(cupy.ones(1))
    found = ladder_solve.forms()["cupy"](xp, *map(cupy.asarray, (G, RATES, P))).get()
    np.testing.assert_allclose(found, expected, rtol=1e-10)
