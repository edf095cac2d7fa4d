"""The object: what its methods promise beyond the functions that they call."""

from __future__ import annotations

import copy
import io
import math
import pickle
from typing import Any

import numpy as np
import pytest

from linalgkit.chebyshev import ChebTucker, chebtucker
from tests.conftest import Backend

BOX = [(-1.0, 1.0), (0.0, 2.0)]


def wave(x: Any, y: Any) -> Any:
    return np.sin(2 * x + y) + 0.5 * x * y


def bump(x: Any, y: Any) -> Any:
    return 1 / (1 + x * x + y)


@pytest.fixture(scope="module")
def T() -> ChebTucker:
    return chebtucker(wave, BOX, vectorized="grid", tol=1e-12, rng=0)


@pytest.fixture(scope="module")
def S() -> ChebTucker:
    return chebtucker(bump, BOX, vectorized="grid", tol=1e-12, rng=0)


@pytest.fixture
def x() -> Any:
    rng = np.random.default_rng(7)
    return np.column_stack([rng.uniform(a, b, 300) for a, b in BOX])


def on(backend: Backend, T: ChebTucker) -> ChebTucker:
    """Return a function in another library, in its widest precision."""
    core, *factors = (backend.asarray(A) for A in (T.core, *T.factors))
    return ChebTucker(core, factors, T.domain, error_estimate=T.error_estimate)


# ------------------------------------------------------------------------------- invariants


def test_factors_are_orthonormal_and_the_core_has_the_norm(T: ChebTucker) -> None:
    for F in T.factors:
        weights = np.r_[1.0, np.full(F.shape[0] - 1, 0.5)]
        np.testing.assert_allclose(F.T @ (weights[:, None] * F), np.eye(F.shape[1]), atol=1e-14)
    t = np.cos(math.pi * (np.arange(100) + 0.5) / 100)
    values = wave(t[:, None], 1 + t[None, :])
    assert math.isclose(np.linalg.norm(T.core), math.sqrt((values**2).mean()), rel_tol=1e-11)


def test_attributes_say_what_the_object_is(T: ChebTucker) -> None:
    assert T.ranks == T.core.shape
    assert T.degrees == tuple(F.shape[0] - 1 for F in T.factors)
    assert T.domain == tuple(BOX)
    assert T.ndim == 2
    assert T.dtype == np.float64
    assert T.status == "converged"
    numbers = math.prod(T.ranks) + sum(F.size for F in T.factors)
    assert T.nbytes == 8 * numbers
    assert "ChebTucker(domain=[-1, 1] x [0, 2]" in repr(T)
    assert 0 < T.error_estimate < 1e-11


def test_a_constructed_function_is_the_sum_it_says(xp: Backend) -> None:
    rng = np.random.default_rng(0)
    core, A, B = (
        rng.standard_normal((2, 3)),
        rng.standard_normal((5, 2)),
        rng.standard_normal((4, 3)),
    )
    T = ChebTucker(xp.asarray(core), [xp.asarray(A), xp.asarray(B)], BOX)
    x = rng.uniform(-1, 1, (50, 2))
    P, Q = (np.polynomial.chebyshev.chebval(x[:, k], F) for k, F in enumerate((A, B)))
    expected = np.einsum("ij,in,jn->n", core, P, Q)
    found = xp.to_numpy(T(xp.asarray(x + np.array([0.0, 1.0]))))
    np.testing.assert_allclose(found, expected, atol=xp.tolerance * 20)
    assert math.isnan(T.error_estimate)


def test_more_columns_than_coefficients_lower_the_rank() -> None:
    T = ChebTucker(np.ones((5, 1)), [np.arange(10.0).reshape(2, 5), np.ones((1, 1))], BOX)
    assert T.ranks[0] <= 2
    assert math.isclose(float(T(np.array([0.0, 1.0]))), 10.0)


# ------------------------------------------------------------------------ every array library


def test_all_methods_on_every_library(xp: Backend, T: ChebTucker, S: ChebTucker, x: Any) -> None:
    tolerance = max(20 * xp.tolerance, 1e-10)
    a, b, points = on(xp, T), on(xp, S), xp.asarray(x)
    u, v = wave(*x.T), bump(*x.T)

    def same(found: Any, expected: Any, factor: float = 1.0) -> None:
        host = xp.to_numpy(found) if hasattr(found, "shape") else np.asarray(found)
        np.testing.assert_allclose(host, expected, atol=factor * tolerance)

    same(a(points), u)
    same((a + b)(points), u + v)
    same((a - b)(points), u - v)
    same((a * b)(points), u * v)
    same((-2.5 * a)(points), -2.5 * u)
    same((a / 4)(points), u / 4)
    same((a * 2j)(points), 2j * u)
    same((a * 2j).conj()(points), -2j * u)
    same(a.merge(b)(points), u + v)
    same(a.diff(0)(points), 2 * np.cos(2 * x[:, 0] + x[:, 1]) + 0.5 * x[:, 1], 50)
    same(a.gradient(points)[:, 1], np.cos(2 * x[:, 0] + x[:, 1]) + 0.5 * x[:, 0], 50)
    whole = math.sin(2) - 0.5 * math.sin(4)
    same(a.integrate(), whole, 20)
    same(a.integrate(1)(points[:, :1]), 2 * np.sin(1) * np.sin(2 * x[:, 0] + 1) + x[:, 0], 20)
    same(a.slice({1: 0.5})(points[:, :1]), wave(x[:, 0], 0.5))
    same(a.slice({0: 0.25, 1: 0.5}), wave(0.25, 0.5))
    same(a.restrict([(0.0, 0.5), (1.0, 1.5)])(xp.asarray(np.array([0.2, 1.1]))), wave(0.2, 1.1))
    same(a.recompress(1e-3)(points), u, 1e-3 * 5 / tolerance)
    core, factors = a.to_tucker([points[:5, 0], points[:7, 1]])
    same(factors[0] @ core @ xp.xp.matrix_transpose(factors[1]), wave(x[:5, :1], x[None, :7, 1]))
    same(a.grid(points[:5, 0], points[:7, 1]), wave(x[:5, :1], x[None, :7, 1]))
    value, place = a.maximum()
    same(a(place), value, 10)
    assert value >= u.max() - tolerance
    low, _ = a.minimum()
    assert low <= u.min() + tolerance


def test_inner_products_conjugate_the_first() -> None:
    a = chebtucker(lambda x, y: np.exp(1j * x) * y, BOX, vectorized="grid", tol=1e-12, rng=0)
    b = chebtucker(lambda x, y: np.exp(3j * x) + 0 * y, BOX, vectorized="grid", tol=1e-12, rng=0)
    exact = 2 * math.sin(2) / 2 * 2  # integral of exp(2 i x), times that of y
    assert abs(a.inner(b) - exact) < 1e-10
    assert abs(a.inner(a * 1j) - 1j * a.norm() ** 2) < 1e-10
    assert math.isclose(a.norm() ** 2, 2 * 8 / 3, rel_tol=1e-10)


# -------------------------------------------------------------------------- error estimates


def test_estimates_are_propagated(T: ChebTucker, S: ChebTucker) -> None:
    e, f = T.error_estimate, S.error_estimate
    assert (T + S).error_estimate == e + f
    assert (T - S).error_estimate == e + f
    assert (T * 3.0).error_estimate == 3 * e
    assert (T * S).error_estimate >= e * S.scale + f * T.scale
    assert T.slice({0: 0.0}).error_estimate == e
    assert T.integrate(1).error_estimate == 2 * e
    assert T.diff(0).error_estimate == e * T.degrees[0] ** 2
    assert T.recompress(1e-4).error_estimate >= e


def test_recompression_loses_what_it_says(T: ChebTucker, x: Any) -> None:
    for tol in (1e-2, 1e-5, 1e-8):
        shorter = T.recompress(tol)
        lost = np.abs(shorter(x) - T(x)).max()
        assert lost <= 1.5 * tol * T.scale
        assert lost <= 2 * shorter.error_estimate
        assert shorter.ranks <= T.ranks
    assert T.recompress(1e-2).degrees < T.degrees


def test_a_difference_of_equals_is_zero(T: ChebTucker) -> None:
    zero = T - T
    assert zero.ranks == (1, 1)
    assert zero.degrees == (0, 0)
    assert zero.norm() == 0.0


def test_scale_is_the_largest_modulus(T: ChebTucker, x: Any) -> None:
    largest = max(T.maximum()[0], -T.minimum()[0])
    assert 0.9 * np.abs(wave(*x.T)).max() <= T.scale <= 1.000001 * largest
    assert math.isclose((T * -2).scale, 2 * T.scale)


def test_merging_does_not_depend_on_the_order_of_blocks(
    T: ChebTucker, S: ChebTucker, x: Any
) -> None:
    third = T * S
    left, right = T.merge(S).merge(third), T.merge(S.merge(third))
    allowed = left.error_estimate + right.error_estimate
    assert np.abs(left(x) - right(x)).max() <= allowed
    assert left.n_evals == right.n_evals


# --------------------------------------------------------------------------------- states


def test_saved_and_loaded_functions_are_the_same_bit_for_bit(xp: Backend, T: ChebTucker) -> None:
    a = on(xp, T)
    file = io.BytesIO()
    a.save(file)
    file.seek(0)
    b = ChebTucker.load(file, like=a.core)
    for again in (b, pickle.loads(pickle.dumps(a)), copy.deepcopy(a)):
        assert np.array_equal(xp.to_numpy(again.core), xp.to_numpy(a.core))
        assert again.domain == a.domain
        assert again.error_estimate == a.error_estimate
        assert again.dtype == a.dtype


def test_states_with_wrong_fields_are_refused(T: ChebTucker) -> None:
    state = T.to_state()
    state["factors"] = state["factors"][:1]
    with pytest.raises(ValueError, match="modes"):
        ChebTucker.from_state(state)


# --------------------------------------------------------------------------------- refusals


def test_other_boxes_do_not_mix(T: ChebTucker) -> None:
    other = chebtucker(wave, [(-1.0, 1.0), (0.0, 3.0)], vectorized="grid", rng=0)
    for name in ("__add__", "__sub__", "__mul__", "inner", "merge"):
        with pytest.raises(ValueError, match="Restrict"):
            getattr(T, name)(other)
    assert (T + other.restrict(BOX)).domain == T.domain


def test_other_libraries_do_not_mix(T: ChebTucker) -> None:
    import array_api_strict

    strict = array_api_strict.asarray
    other = ChebTucker(strict(T.core), [strict(F) for F in T.factors], T.domain)
    with pytest.raises(TypeError, match="from_state"):
        _ = T + other
    with pytest.raises(TypeError):
        T(strict(np.zeros((3, 2))))


@pytest.mark.parametrize("outside", ["raise", "nan", "extrapolate"])
def test_points_outside(T: ChebTucker, outside: str) -> None:
    x = np.array([[0.0, 1.0], [1.01, 1.0], [-1.0, 2.0]])
    if outside == "raise":
        with pytest.raises(ValueError, match=r"1\.01"):
            T(x)
        return
    values = T(x, outside=outside)
    np.testing.assert_allclose(values[[0, 2]], wave(*x[[0, 2]].T), atol=1e-11)
    assert math.isnan(values[1]) == (outside == "nan")


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda T: T(np.zeros((3, 3))), ValueError, "x"),
        (lambda T: T(np.array([[0.0, math.nan]])), ValueError, "NaN"),
        (lambda T: T(np.zeros((1, 2)), outside="clip"), ValueError, "outside"),
        (lambda T: T(np.zeros((1, 2)) * 1j), TypeError, "x"),
        (lambda T: T.grid(np.zeros(3)), ValueError, "2 arrays"),
        (lambda T: T.to_tucker(np.zeros((2, 3))), ValueError, "2 arrays"),
        (lambda T: T.diff(2), ValueError, "axis"),
        (lambda T: T.diff(0, -1), ValueError, "order"),
        (lambda T: T.diff(0.5), TypeError, "axis"),
        (lambda T: T.integrate((0, 0)), ValueError, "once"),
        (lambda T: T.integrate(5), ValueError, "axis"),
        (lambda T: T.slice({0: 3.0}), ValueError, "box"),
        (lambda T: T.slice({0: 0.0, -2: 0.0}), ValueError, "once"),
        (lambda T: T.slice([0]), TypeError, "dictionary"),
        (lambda T: T.restrict([(0, 1)]), ValueError, "2 variables"),
        (lambda T: T.restrict([(0, 1), (0, 3)]), ValueError, "inside"),
        (lambda T: T.recompress(0.0), ValueError, "tol"),
        (lambda T: T.merge(3.0), TypeError, "ChebTucker"),
        (lambda T: T * math.inf, ValueError, "finite"),
        (lambda T: T * "2", TypeError, "number"),
        (lambda T: T + 1, TypeError, "."),
        (lambda T: T / 0, ZeroDivisionError, "zero"),
        (lambda T: (T * 1j).maximum(), TypeError, "."),
        (lambda T: ChebTucker(T.core, T.factors[:1], BOX), ValueError, "modes"),
        (lambda T: ChebTucker(T.core, [F.T for F in T.factors], BOX), ValueError, "shape"),
        (lambda T: ChebTucker(T.core * math.nan, T.factors, BOX), ValueError, "NaN"),
        (lambda T: ChebTucker(T.core, T.core, BOX), TypeError, "list"),
        (lambda T: ChebTucker(T.core, T.factors, [(0, 1), (1, 0)]), ValueError, "domain"),
    ],
)
def test_bad_calls_are_refused(T: ChebTucker, call: Any, kind: type, text: str) -> None:
    with pytest.raises(kind, match=text):
        call(T)
