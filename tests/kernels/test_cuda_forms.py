"""Every Numba form has a CuPy form; those of single blocks, run on the host, agree with both."""

from __future__ import annotations

import importlib
import pkgutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from linalgkit import _kernels
from linalgkit._core.array import numpy_namespace
from linalgkit._kernels import Kernel
from linalgkit._kernels.cupy_forms import (
    chebyshev,
    gram,
    hermitian_sampling,
    probe,
    removal,
    residual,
    sparse,
    tensor_basis,
    thinning,
)
from linalgkit._kernels.probe import PROBES

from .test_cuda_sources import DTYPES, assert_all_close, data
from .test_removal import check as check_removal
from .test_removal import eigenbasis, unit_rows
from .test_residual import check as check_residual

NP = numpy_namespace()

pytestmark = pytest.mark.usefixtures("launch_on_host")


def portable(name: str, *arguments: object) -> tuple:
    found = _kernels.registered()[name].forms()["portable"](NP, *arguments)
    return found if isinstance(found, tuple) else (found,)


def without_cupy_form(kernels: list[Kernel]) -> list[str]:
    return [k.name for k in kernels if "numba" in k._targets and "cupy" not in k._targets]


def all_kernels() -> list[Kernel]:
    """Return the kernels of every module, those included that the package does not import."""
    for info in pkgutil.iter_modules(_kernels.__path__, f"{_kernels.__name__}."):
        importlib.import_module(info.name)
    return list(_kernels.registered().values())


def test_every_numba_form_has_a_cupy_form() -> None:
    assert len(all_kernels()) >= 30
    assert without_cupy_form(all_kernels()) == []


def test_a_numba_form_alone_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from linalgkit._kernels import _kernel

    monkeypatch.setattr(_kernel, "_REGISTRY", {})
    alone = Kernel("alone", portable=lambda xp: None, numba="nowhere:at_all")
    assert without_cupy_form([alone]) == ["alone"]


def test_the_manual_names_every_kernel() -> None:
    manual = Path(__file__).parents[2].joinpath("docs/dev/gpu.rst").read_text(encoding="utf-8")
    assert [k.name for k in all_kernels() if f"``{k.name}``" not in manual] == []


@pytest.mark.parametrize("name", sorted(k.name for k in all_kernels()))
def test_forms_take_the_same_arguments(name: str) -> None:
    kernel = _kernels.registered()[name]
    counts = {form: kernel._load(form).__code__.co_argcount for form in kernel._targets}
    assert set(counts) == {"numba", "cupy"}
    assert len({*counts.values(), kernel.forms()["portable"].__code__.co_argcount}) == 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gram_is_symmetric_to_the_last_bit(rng: np.random.Generator, dtype: str) -> None:
    X = data(rng, dtype, 200, 31)[::2]
    found = gram.gram(NP, X)
    assert_all_close((found,), portable("gram", X), dtype)
    np.testing.assert_array_equal(found, found.T)


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("b", [1, 9, 70, 90])
def test_sampling_factorisation(rng: np.random.Generator, dtype: str, b: int) -> None:
    Q = np.linalg.qr(data(rng, dtype, b, b))[0]
    # Eigenvalues 0 and 1 alone make the last pivots certain; 90 rows fill more than shared memory.
    K, uniforms = (
        (Q * (rng.random(b) if b % 2 else 1.0 * (rng.random(b) < 0.5))) @ Q.conj().T,
        rng.random(b),
    )
    for A in (K, np.asfortranarray(K)):
        start = A.copy()
        found = hermitian_sampling.hermitian_sampling(NP, A, uniforms, 1e-8)
        expected = portable("hermitian_sampling", A, uniforms, 1e-8)
        assert_all_close(found[:2], expected[:2], dtype)
        assert found[2].tolist() == expected[2].tolist()
        assert np.array_equal(A, start)
    L, pivots, kept = found
    left_out = np.diag(1.0 - kept)
    np.testing.assert_allclose((L * pivots) @ L.conj().T, K - left_out, atol=1e-11)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "d"), [(0, 3), (1, 1), (37, 40), (90, 3)])
def test_norms_of_rows_and_products(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, dtype: str, n: int, d: int
) -> None:
    monkeypatch.setattr(probe, "_BLOCKS", 1)  # so that warps take several tiles of rows
    X, Z = data(rng, dtype, n, d + 3)[::-1, 2 : d + 2], data(rng, dtype, d, PROBES)
    found = probe.probed_norms(NP, X, Z)
    if n:
        assert_all_close(found, portable("probed_norms", X, Z), dtype)
    else:
        assert (found[0].shape, found[1].tolist()) == ((0,), [0.0] * PROBES)


def test_probed_norms_show_what_is_not_finite(rng: np.random.Generator) -> None:
    X = data(rng, "float64", 50, 5)
    X[40, 2] = np.inf
    norms, energies = probe.probed_norms(NP, X, np.ones((5, PROBES)))
    assert np.flatnonzero(~np.isfinite(norms)).tolist() == [40]
    assert not np.isfinite(energies).any()


@pytest.mark.parametrize("two_sided", [False, True], ids=["lmin", "norm"])
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize(("n", "m", "delta"), [(14, 4, 0.9), (10, 2, 0.3), (6, 1, 0.9)])
def test_every_row_removed_is_the_best_one(
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
    dtype: str,
    n: int,
    m: int,
    delta: float,
    two_sided: bool,
) -> None:
    monkeypatch.setattr(removal, "_CHECKED", 4)
    B = unit_rows(rng, dtype, n, m) if m > 1 else data(rng, dtype, n, m)
    values, Z = eigenbasis(B)
    copies = values.copy(), Z.copy()
    removed = removal.greedy_removal(NP, values, Z, n - m, delta, two_sided)
    check_removal(B, removed, n - m, delta, two_sided)
    assert removed.dtype == np.int64
    assert np.array_equal(values, copies[0])
    assert np.array_equal(Z, copies[1])


def test_nothing_is_removed_that_would_break_the_criterion() -> None:
    B = np.eye(3) * np.sqrt(3)
    B = np.concatenate([B, B[:1] * 0.1])
    for rows, steps, expected in ((B, 3, [3]), (B[:3], 1, []), (B, 0, [])):
        found = removal.greedy_removal(NP, *eigenbasis(rows), steps, 0.9, False)
        assert found.tolist() == expected


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("d", "q"), [(90, 1), (7, 3), (40, 6)])
def test_csr_residual_within_rounding_bounds(
    rng: np.random.Generator, dtype: str, d: int, q: int
) -> None:
    wide = "complex128" if dtype.startswith("complex") else "float64"
    S = sp.csr_array(data(rng, dtype, 50, d) * (rng.random((50, d)) < 0.6))
    Z, B = data(rng, wide, d, q), data(rng, wide, 100, q)[::2]
    check_residual(S.toarray(), Z, B, *residual.csr_residual_product(NP, S, Z, B))


def test_csr_gradient_does_not_lose_digits_with_rows() -> None:
    n = 4000
    S, Z, B = sp.csr_array(np.full((n, 1), 0.1)), np.full((1, 1), 0.3), np.full((n, 1), 1.1)
    R, D = residual.csr_residual_product(NP, S, Z, B)
    terms = S.data * R[:, 0]
    exact = float(sum(map(Fraction, terms.tolist())))
    assert abs(D[0, 0] - exact) <= np.spacing(exact)
    assert abs(np.cumsum(terms)[-1] - exact) > 10 * np.spacing(exact)  # negative control


def test_csr_gradient_overflows_to_infinity() -> None:
    S, Z, B = sp.csr_array(np.full((3, 1), 1e200)), np.zeros((1, 1)), np.full((3, 1), 1e200)
    with np.errstate(over="ignore"):
        R, D = residual.csr_residual_product(NP, S, Z, B)
    assert np.array_equal(R, B)
    assert D[0, 0] == np.inf


@pytest.mark.parametrize("dtype", DTYPES)
def test_norms_of_csr_rows(rng: np.random.Generator, dtype: str) -> None:
    S = sp.csr_array(data(rng, dtype, 40, 90) * (rng.random((40, 90)) < 0.5))
    S.data[S.indptr[7] : S.indptr[8]] = 0
    if dtype == "complex128":
        S.indptr, S.indices = S.indptr.astype(np.int64), S.indices.astype(np.int64)
    found = sparse.csr_row_norms_squared(NP, S)
    assert_all_close((found,), portable("csr_row_norms_squared", S), dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("n", "g", "p"), [(1, 1, 1), (100, 3, 16), (90, 3, 37), (0, 2, 3)])
def test_tables_of_polynomials(
    rng: np.random.Generator, dtype: str, n: int, g: int, p: int
) -> None:
    t = rng.uniform(-1, 1, (g, n)).astype(dtype).T
    j = np.arange(p)
    legendre = np.stack([(2 * j + 1) / (j + 1), 0 * j, j / (j + 1)])
    found = tensor_basis.recurrence_table(NP, t, legendre)
    assert_all_close((found,), portable("recurrence_table", t, legendre), dtype)
    if dtype == "float64":
        points, degrees = t.ravel(), rng.integers(0, p + 1, n * g)
        values = tensor_basis.recurrence_values(NP, points, degrees, legendre)
        assert_all_close((values,), portable("recurrence_values", points, degrees, legendre), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "terms", "r"), [(60, 7, 9), (5, 1, 1), (0, 3, 2)])
def test_expansions_on_panels(
    rng: np.random.Generator, dtype: str, n: int, terms: int, r: int
) -> None:
    L = data(rng, dtype, 6, terms, r)
    s, panel = rng.uniform(-1, 1, 2 * n).astype(L.real.dtype)[::2], rng.integers(0, 6, n)
    found = chebyshev.panel_rows(NP, panel, s, L)
    assert_all_close((found,), portable("panel_rows", panel, s, L), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("k", "need"), [(1, 3), (40, 1000)])
def test_proposals_for_a_part_of_a_basis(
    rng: np.random.Generator, dtype: str, k: int, need: int
) -> None:
    wide = "complex128" if dtype.startswith("complex") else "float64"
    A = data(rng, dtype, 80, 45)
    W = np.linalg.qr(data(rng, wide, 45, 45))[0][:, :k]
    scores = np.sum(np.abs(A.astype(wide)) ** 2, axis=1)
    arguments = A, 0, W, np.cumsum(scores), scores, rng.random((2, 301)), need
    items, rows, norms = thinning.thinned_proposals(NP, *arguments)
    expected = portable("thinned_proposals", *arguments)
    assert items.tolist() == expected[0].tolist()
    assert 0 < items.size <= need
    assert_all_close((rows, norms), expected[1:], "float64")
