"""CSR kernels: every form against the dense product in extended precision."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from linalgkit import _kernels
from linalgkit._core.array import numpy_namespace
from linalgkit._kernels import (
    csr_normal_product,
    csr_normal_product_norms,
    csr_row_norms_squared,
)

from .test_dense import DTYPES, Draw, check, data

NP = numpy_namespace()
FORMS = tuple(form for form in csr_normal_product_norms.forms() if form != "cupy")


def sparse(rng: Draw, dtype: str, b: int, d: int, density: float = 0.2) -> Any:
    return sp.csr_array(data(rng, dtype, b, d) * (rng.random((b, d)) < density))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("b", "d", "q"), [(1, 1, 1), (30, 50, 2), (7, 400, 3), (60, 9, 4)])
def test_products_within_rounding_bounds(
    rng: Draw, form: str, dtype: str, b: int, d: int, q: int
) -> None:
    S, Z = sparse(rng, dtype, b, d), data(rng, dtype, d, q)
    P, D, norms = csr_normal_product_norms.forms()[form](NP, S, Z)
    check(S.toarray(), Z, (P, D, norms))
    P, D = csr_normal_product.forms()[form](NP, S, Z)
    check(S.toarray(), Z, (P, D, csr_row_norms_squared.forms()[form](NP, S)))


@pytest.mark.parametrize("form", FORMS)
def test_empty_rows_explicit_zeros_duplicates_and_long_indices(rng: Draw, form: str) -> None:
    S = sparse(rng, "float64", 20, 30)
    S.data[S.indptr[3] : S.indptr[4]] = 0
    doubled = sp.csr_array(
        (np.repeat(S.data, 2), np.repeat(S.indices, 2).astype(np.int64), S.indptr * np.int64(2)),
        shape=S.shape,
    )
    empty = sp.csr_array((4, 30))
    Z = data(rng, "float64", 30, 2)
    single = csr_normal_product.forms()[form](NP, S, Z)
    double = csr_normal_product.forms()[form](NP, doubled, Z)
    np.testing.assert_allclose(double[0], 2 * single[0], rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(double[1], 4 * single[1], rtol=1e-13, atol=1e-14)
    for part in csr_normal_product_norms.forms()[form](NP, empty, Z):
        assert not part.any()


def test_more_columns_and_no_rows(rng: Draw) -> None:
    S, Z = sparse(rng, "complex128", 20, 30), data(rng, "complex128", 30, 9)
    check(S.toarray(), Z, csr_normal_product_norms(NP, S, Z))
    P, D, norms = csr_normal_product_norms(NP, sp.csr_array((0, 30)), Z.real)
    assert (P.shape, D.shape, norms.shape) == ((0, 9), (30, 9), (0,))


@pytest.mark.parametrize("container", [sp.csr_array, sp.csr_matrix])
def test_both_containers_of_scipy_give_plain_arrays(rng: Draw, container: Any) -> None:
    S, Z = container(sparse(rng, "float64", 20, 30)), data(rng, "float64", 30, 2)
    for form in FORMS:
        for part in csr_normal_product_norms.forms()[form](NP, S, Z):
            assert type(part) is np.ndarray


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e200])
def test_a_bad_row_shows_in_its_norm(rng: Draw, form: str, bad: float) -> None:
    S, Z = sparse(rng, "float64", 20, 30, 0.9), data(rng, "float64", 30, 2)
    S.data[S.indptr[11]] = bad
    _, _, norms = csr_normal_product_norms.forms()[form](NP, S, Z)
    assert np.array_equal(np.isfinite(norms), np.arange(20) != 11)
    again = csr_row_norms_squared.forms()[form](NP, S)
    assert np.array_equal(np.isfinite(again), np.isfinite(norms))


def test_other_formats_and_kinds_take_the_portable_form(rng: Draw) -> None:
    S, Z = sparse(rng, "float64", 20, 30), data(rng, "float64", 30, 2)
    portable = csr_normal_product.forms()["portable"]
    assert csr_normal_product.select(NP, S.tocsc(), Z) is portable
    assert csr_normal_product.select(NP, S, Z + 0j) is portable
    assert csr_normal_product.select(NP, S, Z) is csr_normal_product.forms()["numba"]


def test_same_bits_from_every_thread(rng: Draw) -> None:
    S, Z = sparse(rng, "complex64", 90, 120), data(rng, "complex64", 120, 3)
    first = csr_normal_product_norms(NP, S, Z)
    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(lambda _: csr_normal_product_norms(NP, S, Z), range(16)))
    for run in runs:
        assert all(np.array_equal(a, b) for a, b in zip(run, first, strict=True))


@pytest.mark.gpu
@pytest.mark.skipif(not _kernels.cupy_available(), reason="needs a device")
@pytest.mark.parametrize("dtype", DTYPES)
def test_cupy_form_on_a_device(rng: Draw, dtype: str) -> None:
    import cupy
    import cupyx.scipy.sparse

    from linalgkit._core.array import array_namespace

    S, Z = sparse(rng, dtype, 200, 300), data(rng, dtype, 300, 2)
    xp = array_namespace(cupy.ones(1))
    found = csr_normal_product_norms.forms()["cupy"](
        xp, cupyx.scipy.sparse.csr_matrix(sp.csr_matrix(S)), cupy.asarray(Z)
    )
    check(S.toarray(), Z, tuple(part.get() for part in found))
