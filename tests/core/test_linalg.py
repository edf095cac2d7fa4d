"""Dense linear algebra against SciPy and mpmath, on every library."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import scipy.linalg
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from linalgkit._core import linalg
from linalgkit._core.array import adjoint


def draw(rng, shape, dtype):
    """Standard normal numbers; complex where `dtype` is."""
    x = rng.standard_normal(shape)
    if np.dtype(dtype).kind == "c":
        x = x + 1j * rng.standard_normal(shape)
    return x.astype(dtype)


def both_dtypes(xp):
    return [name for name in ("float64", "complex128", "float32", "complex64") if name in xp.dtypes]


def unit(dtype):
    return float(np.finfo(dtype).eps)


def with_spectrum(rng, m, n, s, dtype):
    """A matrix with the given singular values and random singular vectors."""
    U = np.linalg.qr(draw(rng, (m, n), dtype))[0]
    V = np.linalg.qr(draw(rng, (n, n), dtype))[0]
    return ((U * s) @ V.conj().T).astype(dtype)


# ---------------------------------------------------------------------------- eigen and SVD


def test_eigenvalues_descend_and_satisfy_the_equation(xp, rng):
    for dtype in both_dtypes(xp):
        A = draw(rng, (7, 7), dtype)
        G = A @ A.conj().T
        w, V = (xp.to_numpy(a) for a in linalg.eigh_desc(xp.asarray(G)))
        assert w.dtype == np.finfo(dtype).dtype
        assert V.dtype == G.dtype
        assert (np.diff(w) <= 0).all()
        tol = 100 * unit(dtype) * w[0]
        np.testing.assert_allclose(w, np.linalg.eigvalsh(G)[::-1], atol=tol)
        np.testing.assert_allclose(G @ V, V * w, atol=tol)


@pytest.mark.parametrize("shape", [(9, 4), (4, 9), (5, 5)])
def test_svd_is_thin_descending_and_exact(xp, rng, shape):
    for dtype in both_dtypes(xp):
        A = draw(rng, shape, dtype)
        U, s, Vh = (xp.to_numpy(a) for a in linalg.svd_desc(xp.asarray(A)))
        assert U.shape == (shape[0], min(shape))
        assert (np.diff(s) <= 0).all()
        np.testing.assert_allclose((U * s) @ Vh, A, atol=100 * unit(dtype))


def test_svd_falls_back_where_divide_and_conquer_fails(monkeypatch, rng):
    def fail(*args, **kwargs):
        raise np.linalg.LinAlgError("SVD did not converge")

    A = draw(rng, (6, 3), "complex128")
    expected = np.linalg.svd(A, compute_uv=False)
    monkeypatch.setattr(np.linalg, "svd", fail)
    U, s, Vh = linalg.svd_desc(A)
    np.testing.assert_allclose(s, expected, rtol=1e-13)
    np.testing.assert_allclose((U * s) @ Vh, A, atol=1e-13)


def test_hermitian_part_is_hermitian(rng):
    A = draw(rng, (4, 4), "complex128")
    H = linalg.hermitian_part(A)
    np.testing.assert_array_equal(H, H.conj().T)
    np.testing.assert_allclose(H - A, -(H - A).conj().T, atol=1e-15)


# -------------------------------------------------------------------------- orthogonalisation


def test_orthonormalise_keeps_the_leading_spans(xp, rng):
    for dtype in both_dtypes(xp):
        V = draw(rng, (12, 4), dtype)
        Q = xp.to_numpy(linalg.orthonormalise(xp.asarray(V)))
        tol = 100 * unit(dtype)
        np.testing.assert_allclose(Q.conj().T @ Q, np.eye(4), atol=tol)
        R = Q.conj().T @ V
        np.testing.assert_allclose(np.tril(R, -1), 0, atol=tol * 10)
        assert (np.diag(R).real > 0).all()
        np.testing.assert_allclose(np.diag(R).imag, 0, atol=tol * 10)


def test_orthonormalise_fills_up_dependent_columns(xp, rng):
    V = draw(rng, (8, 4), "float64")
    V[:, 2] = 0
    V[:, 3] = V[:, 0]
    Q = xp.to_numpy(linalg.orthonormalise(xp.asarray(V)))
    np.testing.assert_allclose(Q.T @ Q, np.eye(4), atol=xp.tolerance)


def test_orthonormal_input_comes_back_with_its_signs(xp, rng):
    V = -np.linalg.qr(draw(rng, (9, 3), "float64"))[0]
    np.testing.assert_allclose(
        xp.to_numpy(linalg.orthonormalise(xp.asarray(V))), V, atol=xp.tolerance
    )


@pytest.mark.parametrize("axis", [0, 1])
def test_signs_make_the_largest_entry_real_and_positive(xp, rng, axis):
    for dtype in both_dtypes(xp):
        V = draw(rng, (6, 3), dtype)
        V = V if axis == 0 else V.T.copy()
        fixed = xp.to_numpy(linalg.fix_signs(xp.asarray(V), axis=axis))
        vectors, originals = (fixed.T, V.T) if axis == 0 else (fixed, V)
        for v, original in zip(vectors, originals, strict=True):
            top = v[np.argmax(np.abs(v))]
            assert top.real > 0
            assert top.imag == 0
            phase = v[0] / original[0]
            np.testing.assert_allclose(v, phase * original, atol=10 * unit(dtype))
            np.testing.assert_allclose(abs(phase), 1, atol=10 * unit(dtype))


def test_sign_ties_go_to_the_first_entry_whatever_the_rounding(xp):
    V = np.asarray([[-1.0, 1.0, 0.0], [1.0 + 1e-7, -1.0 - 1e-7, 0.0]])
    tie = V if xp.has_float64 else V.astype(np.float32)
    tie[1, :2] = np.sign(tie[1, :2]) * (1 + 4 * np.finfo(tie.dtype).eps)
    fixed = xp.to_numpy(linalg.fix_signs(xp.asarray(tie)))
    assert (fixed[0, :2] == 1).all()
    assert (fixed[1, :2] < 0).all()
    assert (fixed[:, 2] == 0).all()


def test_signs_of_nothing(xp):
    assert linalg.fix_signs(xp.asarray(np.empty((3, 0)))).shape == (3, 0)


# ----------------------------------------------------------------------- triangular systems


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("unit_diagonal", [True, False])
@pytest.mark.parametrize("transposed", [True, False])
def test_triangular_solve_agrees_with_scipy(xp, rng, lower, unit_diagonal, transposed):
    for dtype in both_dtypes(xp):
        L = draw(rng, (9, 9), dtype) / 4 + 2 * np.eye(9, dtype=dtype)
        for shape in [(9,), (9, 3)]:
            B = draw(rng, shape, dtype)
            expected = scipy.linalg.solve_triangular(
                L, B, lower=lower, unit_diagonal=unit_diagonal, trans="C" if transposed else "N"
            )
            found = linalg.solve_triangular(
                xp.asarray(L),
                xp.asarray(B),
                lower=lower,
                unit_diagonal=unit_diagonal,
                adjoint=transposed,
            )
            scale = np.abs(expected).max()
            np.testing.assert_allclose(xp.to_numpy(found), expected, atol=500 * unit(dtype) * scale)


def test_unit_lower_solve_survives_growth_that_pivoting_does_not(xp, rng):
    n = 9
    L = np.round(np.tril(draw(rng, (n, n), "float64"), -1) * 1000) + np.eye(n)
    b = np.ones(n)
    exact: list[int] = []
    for i in range(n):
        exact.append(1 - sum(int(L[i, j]) * exact[j] for j in range(i)))
    exact_host = np.asarray(exact, dtype=float)
    found = linalg.solve_triangular(xp.asarray(L), xp.asarray(b), lower=True, unit_diagonal=True)
    np.testing.assert_allclose(xp.to_numpy(found), exact_host, rtol=xp.tolerance)
    pivoted = np.linalg.solve(L, b)
    assert np.abs(pivoted / exact_host - 1).max() > 1e-8


def test_real_factor_with_complex_right_side(xp, rng):
    name = "complex128" if xp.has_float64 else "complex64"
    L = np.tril(draw(rng, (4, 4), "float64")) + 3 * np.eye(4)
    B = draw(rng, (4, 2), name)
    found = xp.to_numpy(linalg.solve_triangular(xp.asarray(L), xp.asarray(B), lower=True))
    np.testing.assert_allclose(L @ found, B, atol=20 * xp.tolerance)


def test_zero_on_the_diagonal_is_an_error_everywhere(xp):
    L = xp.asarray(np.asarray([[1.0, 0.0, 0.0], [1.0, 2.0, 0.0], [0.0, 1.0, 0.0]]))
    B = xp.asarray(np.ones(3))
    with pytest.raises(linalg.SingularMatrixError, match=r"zero on its diagonal.*position 2"):
        linalg.solve_triangular(L, B, lower=True)
    found = linalg.solve_triangular(L, B, lower=True, unit_diagonal=True)
    np.testing.assert_allclose(xp.to_numpy(found), [1.0, 0.0, 1.0])


def test_triangular_shapes_are_checked(xp):
    with pytest.raises(ValueError, match=r"L must be square, got shape \(2, 3\)"):
        linalg.solve_triangular(xp.asarray(np.ones((2, 3))), xp.asarray(np.ones(2)), lower=True)
    with pytest.raises(ValueError, match=r"B must have 2 rows.*got shape \(3,\)"):
        linalg.solve_triangular(xp.asarray(np.eye(2)), xp.asarray(np.ones(3)), lower=True)


def test_triangular_solve_without_right_sides(xp):
    X = linalg.solve_triangular(xp.asarray(np.eye(2)), xp.asarray(np.ones((2, 0))), lower=True)
    assert X.shape == (2, 0)


# --------------------------------------------------------------------------------- Cholesky


def test_cholesky_reproduces_the_matrix(xp, rng):
    for dtype in both_dtypes(xp):
        A = draw(rng, (6, 9), dtype)
        G = A @ A.conj().T
        L = xp.to_numpy(linalg.cholesky(xp.asarray(G)))
        np.testing.assert_array_equal(np.triu(L, 1), 0)
        np.testing.assert_allclose(L @ L.conj().T, G, atol=200 * unit(dtype) * np.trace(G).real)


@pytest.mark.parametrize("bad", [-1.0, 0.0, np.nan, np.inf])
def test_cholesky_fails_alike_everywhere(xp, bad):
    G = np.diag([1.0, bad, 2.0])
    with pytest.raises(linalg.NotPositiveDefiniteError, match=r"G of shape \(3, 3\) must be pos"):
        linalg.cholesky(xp.asarray(G))


def test_cholesky_refuses_a_rectangle(xp):
    with pytest.raises(ValueError, match=r"G must be square, got shape \(2, 3\)"):
        linalg.cholesky(xp.asarray(np.ones((2, 3))))


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e20])
def test_safe_cholesky_shifts_a_singular_matrix_by_rounding_only(xp, rng, scale):
    A = draw(rng, (8, 3), "float64")
    G = scale * (A @ A.T)
    L, shift = linalg.safe_cholesky(xp.asarray(G))
    L = xp.to_numpy(L)
    trace = np.trace(G)
    assert 0 < shift <= 100 * xp.tolerance * trace
    np.testing.assert_allclose(L @ L.T, G, atol=200 * xp.tolerance * trace)


def test_safe_cholesky_does_not_shift_a_definite_matrix(xp, rng):
    A = draw(rng, (5, 9), "float64")
    L, shift = linalg.safe_cholesky(xp.asarray(A @ A.T))
    assert shift == 0
    np.testing.assert_array_equal(xp.to_numpy(L), xp.to_numpy(linalg.cholesky(xp.asarray(A @ A.T))))


@pytest.mark.parametrize("diagonal", [(1.0, -1.0), (0.0, 0.0), (-1.0, -2.0)])
def test_safe_cholesky_refuses_what_is_not_semidefinite(xp, diagonal):
    with pytest.raises(linalg.NotPositiveDefiniteError, match="positive semi-definite"):
        linalg.safe_cholesky(xp.asarray(np.diag(diagonal)))


# ------------------------------------------------------------------------------ QR factors


@pytest.mark.parametrize("condition", [1.0, 1e6, 1e12])
def test_cholesky_qr2_is_orthonormal_whatever_the_condition(xp, rng, condition):
    for dtype in both_dtypes(xp):
        s = np.geomspace(1, 1 / condition, 6)
        A = with_spectrum(rng, 60, 6, s, dtype)
        Q, R = (xp.to_numpy(a) for a in linalg.cholesky_qr2(xp.asarray(A)))
        tol = 100 * unit(dtype)
        np.testing.assert_allclose(Q.conj().T @ Q, np.eye(6), atol=tol)
        np.testing.assert_allclose(Q @ R, A, atol=tol)
        np.testing.assert_array_equal(np.tril(R, -1), 0)
        assert (np.diag(R).real >= 0).all()


@pytest.mark.parametrize("make", [np.zeros, np.ones])
def test_cholesky_qr2_of_deficient_matrices(xp, make):
    A = make((10, 3))
    Q, R = (xp.to_numpy(a) for a in linalg.cholesky_qr2(xp.asarray(A)))
    np.testing.assert_allclose(Q.T @ Q, np.eye(3), atol=xp.tolerance)
    np.testing.assert_allclose(Q @ R, A, atol=xp.tolerance)


@pytest.mark.parametrize("exponent", [-600, 600])
def test_cholesky_qr2_is_exactly_scale_free(rng, exponent):
    A = draw(rng, (30, 4), "float64")
    Q, R = linalg.cholesky_qr2(A)
    Q_scaled, R_scaled = linalg.cholesky_qr2(np.ldexp(A, exponent))
    np.testing.assert_allclose(Q_scaled, Q, atol=1e-14)
    np.testing.assert_allclose(np.ldexp(R_scaled, -exponent), R, rtol=1e-13)


def test_cholesky_qr2_refuses_wide_matrices_and_takes_empty_ones(xp):
    with pytest.raises(ValueError, match=r"at least as many rows as columns, got shape \(2, 3\)"):
        linalg.cholesky_qr2(xp.asarray(np.ones((2, 3))))
    Q, R = linalg.cholesky_qr2(xp.asarray(np.ones((4, 0))))
    assert (Q.shape, R.shape) == ((4, 0), (0, 0))


def test_tsqr_does_not_depend_on_the_cuts(xp, rng):
    for dtype in both_dtypes(xp):
        A = draw(rng, (40, 5), dtype)
        expected = xp.to_numpy(linalg.tsqr([xp.asarray(A)]))
        np.testing.assert_allclose(
            expected.conj().T @ expected, A.conj().T @ A, atol=2000 * unit(dtype)
        )
        for cuts in ([3, 3, 39], [1, 2, 17], [20])[: 1 if xp.name == "jax" else 3]:
            R = linalg.tsqr(xp.asarray(part) for part in np.split(A, cuts))
            np.testing.assert_allclose(xp.to_numpy(R), expected, atol=500 * unit(dtype))
        merged = linalg.tsqr([linalg.tsqr([xp.asarray(part)]) for part in np.split(A, 4)])
        np.testing.assert_allclose(xp.to_numpy(merged), expected, atol=500 * unit(dtype))


def test_tsqr_of_few_rows_is_trapezoidal(xp, rng):
    A = draw(rng, (2, 5), "float64")
    R = xp.to_numpy(linalg.tsqr([xp.asarray(A[:1]), xp.asarray(A[1:])]))
    assert R.shape == (2, 5)
    np.testing.assert_allclose(R.T @ R, A.T @ A, atol=10 * xp.tolerance)


def test_tsqr_errors(xp):
    with pytest.raises(ValueError, match="at least one block"):
        linalg.tsqr([])
    blocks = [xp.asarray(np.ones((3, 2))), xp.asarray(np.ones((3, 4)))]
    with pytest.raises(ValueError, match="2 columns as block 0 has, got 4 in block 1"):
        linalg.tsqr(blocks)


# ---------------------------------------------------------------------------- least squares


@pytest.mark.parametrize(("m", "n", "rank"), [(9, 4, 4), (9, 4, 2), (4, 9, 4), (5, 5, 0)])
def test_lstsq_is_the_minimum_norm_solution(xp, rng, m, n, rank):
    for dtype in both_dtypes(xp):
        A = (draw(rng, (m, rank), dtype) @ draw(rng, (rank, n), dtype)).astype(dtype)
        for shape in [(m,), (m, 2)]:
            B = draw(rng, shape, dtype)
            expected = np.linalg.pinv(A, rcond=100 * unit(dtype)) @ B
            found = linalg.lstsq(xp.asarray(A), xp.asarray(B))
            assert found.rank == rank
            np.testing.assert_allclose(
                xp.to_numpy(found.x),
                expected,
                atol=2000 * unit(dtype) * (1 + np.abs(expected).max()),
            )
            assert found.singular_values.shape == (min(m, n),)


def test_lstsq_cuts_where_told(xp):
    A = np.diag([1.0, 1e-2])
    assert linalg.lstsq(xp.asarray(A), xp.asarray(np.ones(2)), rcond=0.1).rank == 1


def test_lstsq_of_empty_matrices_and_wrong_shapes(xp):
    solution = linalg.lstsq(xp.asarray(np.ones((0, 3))), xp.asarray(np.ones(0)))
    assert solution.x.shape == (3,)
    assert solution.rank == 0
    with pytest.raises(ValueError, match=r"as many rows, got shapes \(2, 2\) and \(3,\)"):
        linalg.lstsq(xp.asarray(np.eye(2)), xp.asarray(np.ones(3)))


# ----------------------------------------------------------------------------------- scaling


@given(
    x=st.floats(allow_nan=False, allow_infinity=False),
    exponent=st.integers(-2300, 2300),
)
@settings(max_examples=300)
def test_ldexp_is_exact_for_every_double(x, exponent):
    with np.errstate(all="ignore"):
        found = linalg.ldexp(np.asarray([x]), exponent)[0]
        expected = np.ldexp(x, exponent)
    assert found == expected


@given(
    x=st.floats(width=32, allow_nan=False, allow_infinity=False), exponent=st.integers(-320, 320)
)
@settings(max_examples=300)
def test_ldexp_is_exact_for_every_single(x, exponent):
    with np.errstate(all="ignore"):
        found = linalg.ldexp(np.asarray([x], dtype=np.float32), exponent)
        expected = np.ldexp(np.float32(x), exponent)
    assert found.dtype == np.float32
    assert found[0] == expected


def test_ldexp_on_every_library_and_dtype(xp, rng):
    for dtype in both_dtypes(xp):
        A = draw(rng, (3, 2), dtype)
        back = np.ldexp(A.real, 90) + 1j * np.ldexp(A.imag, 90)
        found = linalg.ldexp(xp.asarray(A), 90, xp.xp)
        assert found.dtype == xp.asarray(A).dtype
        np.testing.assert_array_equal(xp.to_numpy(found), back if np.iscomplexobj(A) else back.real)
        same = linalg.ldexp(linalg.ldexp(xp.asarray(A), -70), 70)
        np.testing.assert_array_equal(xp.to_numpy(same), A)


def test_ldexp_by_zero_copies_nothing(rng):
    A = draw(rng, 3, "float64")
    assert linalg.ldexp(A, 0) is A


@pytest.mark.parametrize("kind", ["csr_array", "csr_matrix"])
def test_ldexp_of_sparse_stays_sparse(rng, kind):
    A = getattr(scipy.sparse, kind)(np.diag([1.0, 3.0, 0.0]).astype(np.float32))
    found = linalg.ldexp(A, -140)
    assert found.format == "csr"
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found.toarray(), np.ldexp(A.toarray(), -140))


@given(st.floats(min_value=0, allow_infinity=False, allow_nan=False))
def test_scale_exponent_brings_the_largest_entry_to_order_one(x):
    e = linalg.scale_exponent(x)
    assert math.ldexp(x, -e) == 0 if x == 0 else 0.5 <= math.ldexp(x, -e) < 1


@pytest.mark.parametrize("bad", [-1.0, math.inf, math.nan])
def test_scale_exponent_refuses_what_is_no_magnitude(bad):
    with pytest.raises(ValueError, match="maxabs must be finite and not negative"):
        linalg.scale_exponent(bad)


def test_max_abs(xp, rng):
    for dtype in both_dtypes(xp):
        A = draw(rng, (5, 4), dtype)
        np.testing.assert_allclose(
            linalg.max_abs(xp.asarray(A)), np.abs(A).max(), rtol=4 * unit(dtype)
        )
    assert linalg.max_abs(xp.asarray(np.asarray([-3.0, 2.0]))) == 3.0
    assert linalg.max_abs(xp.asarray(np.empty((0, 2)))) == 0.0


@pytest.mark.parametrize("exponent", [-1060, -700, 0, 700, 1015])
def test_norm_at_any_scale(rng, exponent):
    A = np.ldexp(np.round(draw(rng, (20, 3), "float64") * 4), exponent)
    expected = float(mpmath.sqrt(mpmath.fsum(mpmath.mpf(a) ** 2 for a in A.ravel())))
    assert linalg.norm_fro(A) == pytest.approx(expected, rel=1e-14)


def test_norm_accumulates_in_the_widest_float(xp):
    A = np.full((1000, 100), np.float32(0.1))
    expected = math.sqrt(1e5) * float(np.float32(0.1))
    tol = 1e-12 if xp.has_float64 else 1e-5
    assert linalg.norm_fro(xp.asarray(A)) == pytest.approx(expected, rel=tol)


def test_norm_of_complex_empty_zero_and_sparse(xp):
    name = "complex128" if xp.has_float64 else "complex64"
    assert linalg.norm_fro(xp.asarray(np.asarray([[3 + 4j, 12]]), dtype=name)) == 13
    assert linalg.norm_fro(xp.asarray(np.empty((0, 3)))) == 0
    assert linalg.norm_fro(xp.asarray(np.zeros((2, 3)))) == 0
    assert linalg.norm_fro(scipy.sparse.csr_array(np.asarray([[3.0, 0.0], [0.0, 4.0]]))) == 5


# ----------------------------------------------------------------------------------- Nystrom


def psd(rng, d, values, dtype):
    Q = np.linalg.qr(draw(rng, (d, len(values)), dtype))[0]
    return (Q * np.asarray(values)) @ Q.conj().T, Q


def test_nystrom_is_exact_up_to_its_rank(xp, rng):
    for dtype in both_dtypes(xp):
        values = np.asarray([5.0, 2.0, 1.0, 0.25])
        S, _ = psd(rng, 12, values, dtype)
        S = S.astype(dtype)
        Z = np.linalg.qr(draw(rng, (12, 6), dtype))[0]
        V, lam = linalg.psd_nystrom(xp.asarray(S @ Z), xp.asarray(Z))
        V, lam = xp.to_numpy(V), xp.to_numpy(lam)
        tol = 3000 * unit(dtype)
        np.testing.assert_allclose(lam[:4], values, atol=tol)
        np.testing.assert_allclose(lam[4:], 0, atol=tol)
        np.testing.assert_allclose((V * lam) @ V.conj().T, S, atol=tol)
        np.testing.assert_allclose(V.conj().T @ V, np.eye(6), atol=100 * unit(dtype))


def test_nystrom_never_exceeds_the_matrix(rng):
    S, _ = psd(rng, 20, np.geomspace(1, 1e-3, 20), "complex128")
    Z = np.linalg.qr(draw(rng, (20, 5), "complex128"))[0]
    V, lam = linalg.psd_nystrom(S @ Z, Z)
    rest = np.linalg.eigvalsh(S - (V * lam) @ V.conj().T)
    assert rest[0] >= -1e-13
    best = np.linalg.eigvalsh(S)[::-1]
    assert (lam <= best[:5] + 1e-13).all()


def test_nystrom_agrees_with_the_formula_in_many_digits(rng):
    S, _ = psd(rng, 6, [3.0, 1.0, 0.5, 0.2, 0.1, 0.05], "float64")
    Z = draw(rng, (6, 2), "float64")
    V, lam = linalg.psd_nystrom(S @ Z, Z)
    with mpmath.workdps(50):
        Sm, Zm = mpmath.matrix(S.tolist()), mpmath.matrix(Z.tolist())
        Y = Sm * Zm
        exact = Y * mpmath.inverse(Zm.T * Y) * Y.T
        reference = np.asarray([[float(exact[i, j]) for j in range(6)] for i in range(6)])
    np.testing.assert_allclose((V * lam) @ V.T, reference, atol=1e-13)


def test_nystrom_of_rank_one_and_of_duplicate_columns(xp, rng):
    u = draw(rng, (9, 1), "float64")
    Z = draw(rng, (9, 4), "float64")
    Z[:, 3] = Z[:, 0]
    V, lam = linalg.psd_nystrom(xp.asarray(u @ (u.T @ Z)), xp.asarray(Z))
    V, lam = xp.to_numpy(V), xp.to_numpy(lam)
    energy = float(u[:, 0] @ u[:, 0])
    np.testing.assert_allclose(lam[0], energy, rtol=10 * xp.tolerance)
    assert (lam[1:] <= xp.tolerance * energy).all()
    np.testing.assert_allclose(V.T @ V, np.eye(4), atol=xp.tolerance)
    np.testing.assert_allclose(abs(V[:, 0] @ u[:, 0]), math.sqrt(energy), rtol=xp.tolerance)


@pytest.mark.parametrize("zero_test", [False, True])
def test_nystrom_of_zero_is_zero(xp, rng, zero_test):
    Z = np.zeros((7, 3)) if zero_test else draw(rng, (7, 3), "float64")
    V, lam = linalg.psd_nystrom(xp.asarray(np.zeros((7, 3))), xp.asarray(Z))
    np.testing.assert_array_equal(xp.to_numpy(lam), 0)
    V = xp.to_numpy(V)
    np.testing.assert_allclose(V.T @ V, np.eye(3), atol=xp.tolerance)


@pytest.mark.parametrize(("y_shift", "z_shift"), [(600, 0), (-600, 0), (0, 500), (0, -500)])
def test_nystrom_is_equivariant_to_the_bit_under_powers_of_two(rng, y_shift, z_shift):
    S, _ = psd(rng, 10, np.geomspace(1, 1e-2, 10), "float64")
    Z = draw(rng, (10, 4), "float64")
    Y = S @ Z
    V, lam = linalg.psd_nystrom(Y, Z)
    V_scaled, lam_scaled = linalg.psd_nystrom(np.ldexp(Y, y_shift), np.ldexp(Z, z_shift))
    np.testing.assert_array_equal(V_scaled, V)
    np.testing.assert_array_equal(lam_scaled, np.ldexp(lam, y_shift - z_shift))


def test_refill_replaces_lost_columns_only(xp, rng):
    V = np.linalg.qr(draw(rng, (8, 4), "float64"))[0]
    lam = np.asarray([2.0, 1.0, 0.0, 0.0])
    noise = draw(rng, (8, 4), "float64")
    W = xp.to_numpy(linalg.refill(xp.asarray(V), xp.asarray(lam), xp.asarray(noise)))
    np.testing.assert_allclose(W[:, :2], V[:, :2], atol=xp.tolerance)
    np.testing.assert_allclose(W.T @ W, np.eye(4), atol=xp.tolerance)
    inside = W[:, 2:] - V[:, :2] @ (V[:, :2].T @ W[:, 2:])
    expected = np.linalg.qr(noise[:, 2:] - V[:, :2] @ (V[:, :2].T @ noise[:, 2:]))[0]
    np.testing.assert_allclose(inside @ inside.T, expected @ expected.T, atol=10 * xp.tolerance)


# ------------------------------------------------------------------------------------ angles


def test_subspace_angle_agrees_with_scipy(xp, rng):
    for dtype in both_dtypes(xp):
        V = np.linalg.qr(draw(rng, (9, 2), dtype))[0]
        W = np.linalg.qr(draw(rng, (9, 4), dtype))[0]
        expected = np.sin(scipy.linalg.subspace_angles(V, W).max()) ** 2
        found = linalg.subspace_sin2(xp.asarray(V), xp.asarray(W))
        assert found == pytest.approx(expected, abs=100 * unit(dtype))


@pytest.mark.parametrize("angle", [1e-3, 1e-6, 1e-10])
def test_small_angles_keep_their_digits(angle):
    V = np.asarray([[1.0], [0.0], [0.0]])
    W = np.asarray([[math.cos(angle)], [math.sin(angle)], [0.0]])
    assert linalg.subspace_sin2(V, W) == pytest.approx(math.sin(angle) ** 2, rel=1e-5)


def test_larger_space_is_never_inside_a_smaller_one(xp):
    assert linalg.subspace_sin2(
        xp.asarray(np.eye(3)), xp.asarray(np.eye(3)[:, :2])
    ) == pytest.approx(1, abs=xp.tolerance)


def test_angles_tell_a_vector_from_its_conjugate(xp):
    name = "complex128" if xp.has_float64 else "complex64"
    v = xp.asarray(np.asarray([[1.0], [1j]]) / math.sqrt(2), dtype=name)
    assert linalg.subspace_sin2(v, v) <= xp.tolerance
    assert linalg.subspace_sin2(v, adjoint(v, xp.xp).T) == pytest.approx(1, abs=xp.tolerance)
