"""Product bases: values, exact draws of the optimal law, libraries, and what is refused."""

from __future__ import annotations

import copy
import itertools
import math
import pickle
from typing import Any

import numpy as np
import pytest
from scipy import special, stats

from linalgkit._core import array as core_array
from linalgkit.sampling._families import Fourier, Hermite, Legendre
from linalgkit.sampling._indices import multi_index
from linalgkit.sampling._jacobi import Jacobi
from linalgkit.sampling._splines import BSpline
from linalgkit.sampling._tensor import TensorBasis

MIXED = [Legendre(), Hermite(1, 2), Legendre(0, 1), Fourier(), BSpline([0, 0.5, 2], 2)]
GOOD = [[0, 0, 0, 0, 0], [2, 0, 1, 0, 3], [0, 3, 0, 1, 0], [1, 1, 1, 2, 1], [0, 0, 0, 0, 2]]


def points_of(basis: TensorBasis, n: int, seed: int = 3) -> np.ndarray:
    return np.asarray(basis.draw_measure(n, np.random.default_rng(seed)))


def by_definition(basis: TensorBasis, points: np.ndarray) -> np.ndarray:
    """Products of the families' own values."""
    columns = []
    for index in np.asarray(basis.indices):
        factors = [
            family.evaluate(points[:, c], int(j))[:, j]
            for c, (family, j) in enumerate(zip(basis.families, index, strict=True))
        ]
        columns.append(np.prod(factors, axis=0))
    return np.stack(columns, axis=1)


def legendre_rule(d: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    t, w = special.roots_legendre(count)
    x = np.array(list(itertools.product(t, repeat=d)))
    return x, np.prod(list(itertools.product(w / 2, repeat=d)), axis=1)


# ----------------------------------------------------------------------------------- values


@pytest.mark.parametrize(
    ("families", "indices"),
    [
        (Legendre(), multi_index(3, 4)),
        (MIXED, GOOD),
        ([Fourier(kind="complex"), Legendre()], multi_index(2, 3)),
        (Hermite(), [[5, 0], [0, 7]]),
        (Legendre(), [[0, 0]]),
        (Jacobi(0.5, 1), multi_index(1, 6)),
    ],
    ids=["total", "mixed", "complex", "no-constant", "constant", "one-variable"],
)
def test_values_are_products(families: Any, indices: Any) -> None:
    basis = TensorBasis(families, indices)
    x = points_of(basis, 40)
    expected = by_definition(basis, x)
    np.testing.assert_allclose(basis.evaluate(x), expected, rtol=1e-12, atol=1e-12)
    norms = (np.abs(expected) ** 2).sum(axis=1)
    np.testing.assert_allclose(basis.christoffel(x), norms, rtol=1e-12)
    assert basis.dim == len(indices)
    assert basis.n_variables == len(basis.families) == len(indices[0])


def test_orthonormal() -> None:
    basis = TensorBasis(Legendre(), multi_index(2, 6))
    x, w = legendre_rule(2, 10)
    rows = basis.evaluate(x)
    np.testing.assert_allclose((rows.T * w) @ rows, np.eye(basis.dim), rtol=0, atol=1e-13)


def test_christoffel_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    basis = TensorBasis(Legendre(), multi_index(2, 6))
    x = points_of(basis, 50)
    whole = basis.christoffel(x)
    monkeypatch.setattr("linalgkit.sampling._tensor._CHUNK", 7 * basis.dim)
    np.testing.assert_allclose(basis.christoffel(x), whole, rtol=1e-14)


def test_one_variable_takes_vectors() -> None:
    basis = TensorBasis(Legendre(), multi_index(1, 4))
    x = np.linspace(-1, 1, 7)
    assert np.array_equal(basis.evaluate(x), basis.evaluate(x[:, None]))


def test_no_points() -> None:
    basis = TensorBasis(MIXED, GOOD)
    assert basis.evaluate(np.empty((0, 5))).shape == (0, 5)
    assert basis.christoffel(np.empty((0, 5))).shape == (0,)
    assert basis.draw(0, np.random.default_rng(0)).rows.shape == (0, 5)


# ------------------------------------------------------------------------------------- laws


def weighted_gram_z(basis: TensorBasis, x: np.ndarray, rule: Any) -> float:
    """Largest deviation of ``mean(m / k phi phi^T)`` from I, in exact standard errors."""
    m, rows = basis.dim, basis.evaluate(x)
    products = (m / (rows**2).sum(axis=1))[:, None, None] * rows[:, :, None] * rows[:, None, :]
    nodes, w = rule
    at = basis.evaluate(nodes)
    # The second moment: the integral of (m / k)^2 (phi_p phi_q)^2 k / m.
    square = np.einsum("i,ip,iq->pq", w * m / (at**2).sum(axis=1), at**2, at**2)
    error = np.sqrt((square - np.eye(m)) / len(x))
    return float((np.abs(products.mean(axis=0) - np.eye(m)) / error).max())


def test_draws_give_an_unbiased_gram_matrix() -> None:
    basis = TensorBasis(Legendre(), multi_index(2, 4))
    rule = legendre_rule(2, 60)
    rng = np.random.default_rng(17)
    # 120 numbers: P(|z| > 5.5 for one of them) < 1e-5.
    assert weighted_gram_z(basis, basis.draw(20_000, rng).points, rule) < 5.5
    assert weighted_gram_z(basis, basis.draw_measure(20_000, rng), rule) > 20


def test_law_of_draws_by_counts_in_two_variables() -> None:
    basis = TensorBasis(Legendre(), multi_index(2, 5, "hyperbolic"))
    edges = np.linspace(-1, 1, 9)
    t, w = special.roots_legendre(12)
    x = edges[:-1, None] + (t + 1) / 8
    table = Legendre().evaluate(x.ravel(), 5).reshape(8, 12, 6)
    # Masses of psi_j^2 dmu in the eight intervals, (8, 6).
    mass = np.einsum("kij,i->kj", table**2, w / 16)
    indices = np.asarray(basis.indices)
    expected = (mass[:, indices[:, 0]] @ mass[:, indices[:, 1]].T) / basis.dim
    assert abs(expected.sum() - 1) < 1e-12

    def p_value(points: np.ndarray) -> float:
        counts = np.histogram2d(points[:, 0], points[:, 1], (edges, edges))[0]
        mean = expected * len(points)
        return float(stats.chi2.sf(((counts - mean) ** 2 / mean).sum(), mean.size - 1))

    rng = np.random.default_rng(4)
    assert p_value(basis.draw(30_000, rng).points) > 1e-4
    assert p_value(basis.draw_measure(30_000, rng)) < 1e-12


def test_draws_in_twenty_variables() -> None:
    d = 20
    basis = TensorBasis(Legendre(), multi_index(d, 3))
    drawn = basis.draw(20_000, np.random.default_rng(5))
    np.testing.assert_allclose(drawn.envelope, basis.christoffel(drawn.points), rtol=1e-12)
    # E x_c^2 is the mean over the indices of int x^2 psi_j^2 dmu, from the Jacobi matrix.
    j = np.arange(4)
    off = (j + 1) / np.sqrt(4 * (j + 1) ** 2 - 1)
    second = off**2 + np.append(0, off[:-1]) ** 2
    share = np.array([(np.asarray(basis.indices)[:, 0] == k).mean() for k in j])
    mean = float(share @ second)
    t, w = special.roots_legendre(8)
    fourth = float(w / 2 * t**4 @ Legendre().evaluate(t, 3) ** 2 @ share)
    error = math.sqrt((fourth - mean**2) / 20_000)
    assert np.abs((drawn.points**2).mean(axis=0) - mean).max() < 4.5 * error
    # 1 / k has the mean 1 / m under the optimal law.
    k = drawn.envelope
    assert abs((basis.dim / k).mean() - 1) < 5 * (basis.dim / k).std() / math.sqrt(k.size)


@pytest.mark.parametrize("variable", range(5))
def test_each_variable_of_a_mixed_basis_follows_its_law(variable: int) -> None:
    basis = TensorBasis(MIXED, GOOD)
    drawn = basis.draw(20_000, np.random.default_rng(6)).points[:, variable]
    family, js = basis.families[variable], np.asarray(basis.indices)[:, variable]
    # An independent way to the same law: the mixture, drawn by the family itself.
    rng = np.random.default_rng(7)
    other = family.draw_induced(js[rng.integers(len(js), size=20_000)], rng)
    assert stats.ks_2samp(drawn, other).pvalue > 1e-4
    assert basis._checked_points(drawn[:5, None].repeat(5, 1) * 0 + 0.25)[0].shape == (5, 5)


def test_measure_of_a_mixed_basis() -> None:
    x = points_of(TensorBasis(MIXED, GOOD), 20_000)
    laws = [
        stats.uniform(-1, 2), stats.norm(1, 2), stats.uniform(0, 1), stats.uniform(0, 1),
        stats.uniform(0, 2),
    ]  # fmt: skip
    for c, law in enumerate(laws):
        assert stats.kstest(x[:, c], law.cdf).pvalue > 1e-4


# -------------------------------------------------------------------------------- libraries


@pytest.mark.parametrize(
    ("families", "indices"),
    [
        ([Legendre(), Hermite(1, 2)], multi_index(2, 4)),
        ([Fourier(kind="complex"), Legendre()], multi_index(2, 3)),
    ],
    ids=["real", "complex"],
)
def test_every_library_sees_the_same_draws(xp: Any, families: Any, indices: np.ndarray) -> None:
    basis = TensorBasis(families, xp.asarray(indices))
    drawn = basis.draw(30, np.random.default_rng(8))
    expected = TensorBasis(families, indices).draw(30, np.random.default_rng(8))
    assert basis.exact
    assert basis.whitener is None
    for array in (drawn.points, drawn.rows, basis.draw_measure(3, np.random.default_rng(0))):
        assert core_array.device(array) == basis.device == xp.device
    assert drawn.rows.dtype == basis.dtype
    assert drawn.envelope.dtype == np.float64
    tolerance = 300 * xp.tolerance
    np.testing.assert_allclose(xp.to_numpy(drawn.points), expected.points, rtol=xp.tolerance)
    for found, wanted in zip(drawn[1:], expected[1:], strict=True):
        scale = np.abs(wanted).max()
        np.testing.assert_allclose(xp.to_numpy(found), wanted, rtol=0, atol=tolerance * scale)


def test_values_come_in_the_library_of_the_points(xp: Any) -> None:
    basis = TensorBasis(MIXED, GOOD)
    x = points_of(basis, 20)
    for dtype in [name for name in xp.dtypes if name.startswith("float")]:
        given = xp.asarray(x, dtype)
        rows, k = basis.evaluate(given), basis.christoffel(given)
        assert rows.dtype == k.dtype == getattr(xp.xp, dtype)
        assert core_array.device(rows) == core_array.device(k) == xp.device
        expected = by_definition(basis, x.astype(dtype).astype("float64"))
        tolerance = 1e3 * np.finfo(dtype).eps * (1 + np.abs(expected).max())
        np.testing.assert_allclose(xp.to_numpy(rows), expected, rtol=0, atol=tolerance)


def test_copies_and_pickles() -> None:
    basis = TensorBasis(MIXED, GOOD)
    x = points_of(basis, 5)
    expected = basis.evaluate(x)
    for again in (copy.deepcopy(basis), pickle.loads(pickle.dumps(basis))):
        assert np.array_equal(again.evaluate(x), expected)
    assert repr(TensorBasis(Legendre(), [[0, 1]])) == (
        "TensorBasis(Legendre(low=-1.0, high=1.0), indices of shape (1, 2))"
    )


# ----------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("families", "indices", "error", "text"),
    [
        (Legendre(), [[0, 1], [1, 0], [0, 1]], ValueError, r"got \[0, 1\] in rows 0 and 2"),
        (Legendre(), [[0, 1], [0, -1]], ValueError, r"not be negative, got \[0, -1\] in row 1"),
        (Legendre(), [[0.0, 1.0]], TypeError, "indices must be integers, got float64"),
        (Legendre(), [0, 1], ValueError, "indices must be 2-D"),
        (Legendre(), [[]], ValueError, "indices must be 2-D"),
        (Legendre(), [[0], [1, 2]], ValueError, "ragged"),
        (Legendre(), 3, TypeError, "indices must be an array"),
        ([Legendre()] * 3, [[0, 1]], ValueError, "families must be 2 families"),
        ("legendre", [[0, 1]], TypeError, "families must be a family"),
        ([Legendre(), 3], [[0, 1]], TypeError, "families must be a family"),
        ([Legendre(), BSpline([0, 1], 1)], [[0, 2]], ValueError, "at most 1 in column 1"),
        (Hermite(), [[301]], ValueError, "indices must be at most 300 in column 0"),
    ],
)  # fmt: skip
def test_arguments_that_are_refused(
    families: Any, indices: Any, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        TensorBasis(families, indices)


@pytest.mark.parametrize(
    ("points", "error", "text"),
    [
        ([[0.0, 2.0]], ValueError, r"points must lie in \[0.0, 1.0\] in variable 1, got 2.0"),
        ([[-1.1, 0.0]], ValueError, r"points must lie in \[-1.0, 1.0\] in variable 0, got -1.1"),
        ([[0.0, math.nan]], ValueError, "must not contain NaN"),
        ([0.0, 1.0], ValueError, r"points must have shape \(n, 2\)"),
        ([[0.0]], ValueError, r"points must have shape \(n, 2\)"),
        ([[0.0, 1j]], TypeError, "points must be real"),
        (None, TypeError, "points must be an array"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("call", ["evaluate", "christoffel"])
def test_points_that_are_refused(call: str, points: Any, error: type[Exception], text: str) -> None:
    basis = TensorBasis([Legendre(), Legendre(0, 1)], multi_index(2, 2))
    with pytest.raises(error, match=text):
        getattr(basis, call)(points)


@pytest.mark.parametrize("call", ["evaluate", "christoffel"])
def test_values_beyond_the_floats_are_refused(call: str) -> None:
    basis = TensorBasis(Hermite(), [[40, 40]])
    with pytest.raises(ValueError, match="exceeds the range of"):
        getattr(basis, call)(np.array([[1e6, 1e6]]))
