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
    rounding = 2.0 * np.finfo(float).eps * max(T.scale, S.scale)
    assert math.isclose((T + S).error_estimate, e + f + rounding)
    assert math.isclose((T - S).error_estimate, e + f + rounding)
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


# ------------------------------------------------------------------------- peaks and needles


def runge(x: Any) -> Any:
    return 1 / (1 + 25 * (x**2).sum(axis=-1))


@pytest.fixture(scope="module")
def A() -> ChebTucker:
    """Runge's function to 1e-4, whose largest modulus is ten times its root mean square."""
    return chebtucker(runge, [(-1, 1)] * 3, tol=1e-4, rng=0)


@pytest.fixture(scope="module")
def near_the_peak() -> Any:
    return np.clip(0.1 * np.random.default_rng(3).standard_normal((20000, 3)), -1, 1)


def test_errors_at_a_peak_are_certified(A: ChebTucker, near_the_peak: Any) -> None:
    x, f = near_the_peak, runge(near_the_peak)
    shorter = A.recompress(1e-3)
    for found, exact in ((A * A, f**2), (shorter, f), (A.merge(A), 2 * f), (A + A, 2 * f)):
        error = np.abs(found(x) - exact).max()
        assert error <= 1.2 * found.error_estimate
        assert found.error_estimate <= 10 * error
        assert math.isclose(found.scale, np.abs(exact).max(), rel_tol=2e-2)
    assert np.abs(shorter(x) - A(x)).max() <= 1.2e-3
    assert sum(shorter.degrees) < sum(A.degrees)


def test_a_narrow_peak_survives_a_recompression() -> None:
    def needle(x: Any) -> Any:
        return np.exp(-400 * ((x - 0.3) ** 2).sum(axis=-1)) + 1e-3 * np.cos(x.sum(axis=-1))

    T = chebtucker(needle, [(-1, 1)] * 3, tol=1e-6, rng=0)
    shorter = T.recompress(1e-2)
    x = 0.3 + 0.05 * np.random.default_rng(0).standard_normal((5000, 3))
    assert np.abs(shorter(x) - needle(x)).max() <= 1.2e-2
    assert np.abs(shorter(x) - needle(x)).max() <= 1.2 * shorter.error_estimate
    assert shorter.scale == T.scale
    assert shorter.degrees < T.degrees
    assert math.isclose((T + T).scale, 2.0, rel_tol=1e-2)
    assert math.isclose((T * T).scale, 1.0, rel_tol=1e-2)


def test_a_known_scale_is_kept(T: ChebTucker) -> None:
    known = copy.deepcopy(T)
    known._scale = 7.0  # of a value that no search of T meets
    assert known.recompress(1e-3).scale == 7.0
    assert (known * T).error_estimate >= T.error_estimate * (7.0 + T.scale)


def test_scale_of_a_peak_in_a_corner() -> None:
    T = chebtucker(lambda x: np.exp(60 * (x.sum(axis=-1) - 2)), [(-1, 1)] * 2, rng=0)
    S = chebtucker(lambda x: np.cos(x[:, 0]), [(-1, 1)] * 2, rng=0)
    assert math.isclose((T * 5 + S).scale, 5 + math.cos(1), rel_tol=1e-8)
    assert math.isclose((T * 5 - S).diff(1).scale, 300.0, rel_tol=1e-6)


def test_a_sum_counts_its_rounding() -> None:
    one = chebtucker(lambda x: 1 + 0 * x[:, 0], [(-1, 1)] * 2, rng=0)
    tiny = chebtucker(lambda x: 1e-16 * np.cos(x[:, 1]), [(-1, 1)] * 2, rng=0)
    rest = (one + tiny) - one
    assert abs(float(rest(np.zeros(2))) - 1e-16) <= rest.error_estimate <= 1e-15


# --------------------------------------------------------------------------- errors in a norm


def with_norm(T: ChebTucker, error: float, norm: str) -> ChebTucker:
    return ChebTucker(T.core, T.factors, T.domain, error_estimate=error, error_norm=norm)


def test_integrals_of_an_error_in_a_norm(T: ChebTucker) -> None:
    e = 1e-3
    assert math.isclose(with_norm(T, e, "max").integrate(1).error_estimate, 2 * e)
    assert math.isclose(with_norm(T, e, "l2").integrate(1).error_estimate, math.sqrt(2) * e)
    # sqrt(1 - t^2), of integral pi / 2 and mean square 1 / 2, attains the bound.
    worst = (math.pi / 2) / math.sqrt(0.5)
    assert math.isclose(with_norm(T, e, "l2w").integrate(1).error_estimate, worst * e)
    assert with_norm(T, e, "l2").integrate(0).error_norm == "l2"


@pytest.mark.parametrize("norm", ["l2w", "l2"])
def test_what_an_error_in_the_mean_does_not_tell(T: ChebTucker, norm: str) -> None:
    mean = with_norm(T, 1e-3, norm)
    assert math.isnan(mean.slice({0: 0.0}).error_estimate)
    assert math.isnan(mean.diff(0).error_estimate)
    smaller = mean.restrict([(0.0, 1.0), (0.0, 1.0)]).error_estimate
    assert smaller == 1e-3 if norm == "l2" else math.isnan(smaller)
    assert mean.diff(0, 0).error_estimate == 1e-3
    assert (mean * 3).error_estimate == 3e-3
    assert (mean * 3).error_norm == norm


def test_sums_in_two_norms_take_the_weaker(T: ChebTucker) -> None:
    volume = 4.0
    of = {norm: with_norm(T, 1e-3, norm) for norm in ("max", "l2w", "l2")}
    cases = [
        ("max", "max", "max", 2e-3),
        ("max", "l2w", "l2w", 2e-3),
        ("l2", "max", "l2", (1 + math.sqrt(volume)) * 1e-3),
        ("l2", "l2w", "l2", (1 + math.sqrt(volume) * math.pi / 2) * 1e-3),
    ]
    for one, two, norm, error in cases:
        total = of[one] + of[two]
        assert total.error_norm == norm
        assert math.isclose(total.error_estimate, error, rel_tol=1e-9)


def test_a_product_in_l2_takes_the_largest_moduli(T: ChebTucker, S: ChebTucker) -> None:
    a, b = with_norm(T, 1e-5, "l2"), with_norm(S, 1e-6, "l2")
    product = a * b
    expected = 1e-5 * b.scale + 1e-6 * a.scale
    assert product.error_norm == "l2"
    assert expected <= product.error_estimate <= 1.06 * expected


@pytest.mark.parametrize("norm", ["l2w", "l2"])
def test_recompressions_in_a_mean_count_what_they_cut(T: ChebTucker, norm: str) -> None:
    a = with_norm(T, 0.0, norm)
    shorter = a.recompress(1e-2)
    if norm == "l2":
        lost = (T - shorter).norm()
    else:
        t = np.cos(math.pi * (np.arange(60) + 0.5) / 60)
        lost = math.sqrt(((T.grid(t, t + 1) - shorter.grid(t, t + 1)) ** 2).mean())
    assert 0 < lost <= shorter.error_estimate * (1 + 1e-9)
    assert shorter.error_norm == norm


# ------------------------------------------------------------------------------ any magnitude


@pytest.mark.parametrize(
    "call",
    [
        lambda T: (T * 1e200) * (T * 1e200),
        lambda T: T * 1e308 * 10,
        lambda T: T * 1.7e308 + T * 1.7e308,
        lambda T: (T * 1e300) / 1e-309,
        lambda T: (T * 1e300) * complex(1.5e308, 1.5e308),
        lambda T: ChebTucker(T.core * 1e200, [F * 1e200 for F in T.factors], T.domain),
    ],
    ids=["product", "number", "sum", "quotient", "complex", "constructor"],
)
def test_overflow_is_refused(T: ChebTucker, call: Any) -> None:
    with pytest.raises(ValueError, match="Rescale"):
        call(T)


def test_extreme_factors_of_a_representable_function(T: ChebTucker, x: Any) -> None:
    u = wave(*x.T)
    np.testing.assert_allclose(((T * 1e-200) / 1e-309)(x) / 1e109, u, atol=1e-11)
    small = (T * 1e-10) * complex(1.5e308, 1.5e308)
    np.testing.assert_allclose(small(x) / 1.5e298, u * (1 + 1j), atol=1e-11)
    assert math.isclose(small.error_estimate, T.error_estimate * 1.5e298 * math.sqrt(2))
    np.testing.assert_allclose(((T * 1e200) * (T * 1e-250))(x) * 1e50, u * u, atol=1e-11)
    np.testing.assert_allclose(((T * 1e-150) * (T * 1e-150))(x) * 1e300, u * u, atol=1e-11)
    assert ((T * 1e-150) * (T * 1e-150)).error_estimate < 1e-310
    exact = (T * 8) / 8
    assert np.array_equal(exact.core, T.core)
    assert exact.error_estimate == T.error_estimate


def test_a_constructed_function_of_extreme_factors(xp: Backend) -> None:
    big, small = (1e200, 1e-250) if xp.tolerance < 1e-10 else (1e25, 1e-30)
    core = xp.asarray(np.array([[1.0, 2.0], [3.0, 4.0]]) * big)
    factors = [xp.asarray(np.eye(2) * big), xp.asarray(np.array([[1.0, 0], [0, 0.5]]) * small)]
    T = ChebTucker(core, factors, [(0, 1)] * 2)
    u, v = 2 * 0.25 - 1, 2 * 0.75 - 1
    expected = (1 + 2 * 0.5 * v + 3 * u + 4 * u * 0.5 * v) * (big * small)
    found = float(T(xp.asarray(np.array([0.25, 0.75])))) / big
    assert math.isclose(found, expected, rel_tol=100 * xp.tolerance)


def test_columns_of_opposite_extremes() -> None:
    F = np.array([[1e200, 1e-200], [0.0, 1e-200]])
    core = np.array([1.0, 1e280]) * 1e-180
    T = ChebTucker(core, [F], [(-1, 1)])
    # 1e20 + 1e-100 (1 + t): the second is rounded away; of the other column alone it is kept.
    assert math.isclose(float(T(np.array([0.5]))), 1e20)
    T = ChebTucker(core[1:], [F[:, 1:]], [(-1, 1)])
    assert math.isclose(float(T(np.array([0.5]))), 1.5e-100)


def test_derivatives_on_a_narrow_box() -> None:
    T = ChebTucker(np.ones(1), [np.array([[0.0], [1.0]])], [(0, 2e-200)], error_estimate=1e-3)
    slope = T.diff(0)
    assert math.isclose(float(slope(np.array([1e-200]))), 1e200)
    assert math.isclose(slope.error_estimate, 1e197)
    narrow = ChebTucker(np.ones(1), [np.array([[0.0], [0.0], [1.0]])], [(0, 2e-200)])
    with pytest.raises(ValueError, match="Rescale"):
        narrow.diff(0, 2)


# ---------------------------------------------------------------------------------- arguments


def test_numpy_numbers_leave_the_operation_to_the_function(T: ChebTucker, x: Any) -> None:
    for c in (np.float64(2.0), np.int64(2), np.array(2.0)):
        assert isinstance(c * T, ChebTucker)
        np.testing.assert_array_equal((c * T)(x), (T * 2)(x))
    with pytest.raises(TypeError):
        _ = np.ones(3) + T


def test_integer_arrays_name_axes(T: ChebTucker) -> None:
    for axes in (np.array([0, 1]), range(2), [np.int64(0), 1]):
        assert T.integrate(axes) == T.integrate()
    assert T.integrate(np.array([1])).ndim == 1


def test_slices_within_rounding_of_the_box() -> None:
    T = chebtucker(lambda x: x[:, 0] + x[:, 1], [(0.1, 0.3)] * 2, rng=0, dtype=np.float32)
    _, place = T.maximum()
    assert float(place[0]) > 0.3
    assert math.isclose(T.slice({0: place[0], 1: float(place[1])}), 0.6, rel_tol=1e-6)
    with pytest.raises(ValueError, match="box"):
        T.slice({0: 0.300001})


# --------------------------------------------------------------------------------- states


def test_states_know_the_norm(T: ChebTucker) -> None:
    a = with_norm(T, 1e-3, "l2") + with_norm(T, 1e-3, "l2")
    b = ChebTucker.from_state(a.to_state())
    assert b.error_norm == "l2"
    assert (a * T).error_estimate == (b * T).error_estimate


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
        (lambda T: T.integrate(np.array([0.0, 1.0])), TypeError, "axes"),
        (lambda T: T.slice({0: 3.0}), ValueError, "box"),
        (lambda T: T.slice({0: np.float64(1.001)}), ValueError, r"got 1\.001"),
        (lambda T: T.slice({0: 0.0, -2: 0.0}), ValueError, "once"),
        (lambda T: T.slice([0]), TypeError, "dictionary"),
        (lambda T: T.restrict([(0, 1)]), ValueError, "2 variables"),
        (lambda T: T.restrict([(0, 1), (0, 3)]), ValueError, "inside"),
        (lambda T: T.recompress(0.0), ValueError, "tol"),
        (lambda T: T.merge(3.0), TypeError, "ChebTucker"),
        (lambda T: T * math.inf, ValueError, "finite"),
        (lambda T: T * "2", TypeError, "number"),
        (lambda T: T * np.ones(2), TypeError, "factor must be a number"),
        (lambda T: np.ones(3) * T, TypeError, "factor must be a number"),
        (lambda T: np.ones(1) * T, TypeError, "factor must be a number"),
        (lambda T: T / np.ones(2), TypeError, "divisor must be a number"),
        (lambda T: T + "1", TypeError, "number"),
        (lambda T: 1 / T, TypeError, "chebtucker"),
        (lambda T: T**-1, ValueError, "exponent"),
        (lambda T: T**0.5, TypeError, "exponent"),
        (lambda T: T / 0, ZeroDivisionError, "zero"),
        (lambda T: (T * 1j).maximum(), TypeError, "."),
        (lambda T: ChebTucker(T.core, T.factors[:1], BOX), ValueError, "modes"),
        (lambda T: ChebTucker(T.core, [F.T for F in T.factors], BOX), ValueError, "shape"),
        (lambda T: ChebTucker(T.core * math.nan, T.factors, BOX), ValueError, "NaN"),
        (lambda T: ChebTucker(T.core, T.core, BOX), TypeError, "list"),
        (lambda T: ChebTucker(T.core, T.factors, [(0, 1), (1, 0)]), ValueError, "domain"),
        (
            lambda T: ChebTucker(T.core, T.factors, np.array([(0, 1), (0, 0.0)])),
            ValueError,
            r"got \(0\.0, 0\.0\)",
        ),
        (lambda T: ChebTucker(T.core, T.factors, np.array(BOX) + 0j), TypeError, "domain"),
        (lambda T: ChebTucker(T.core, T.factors, [("0", "1"), (0, 1)]), TypeError, "domain"),
        (lambda T: ChebTucker(T.core, T.factors, [(False, True)] * 2), TypeError, "domain"),
        (lambda T: ChebTucker(T.core, T.factors, None), TypeError, "domain"),
        (lambda T: ChebTucker(T.core, T.factors, [(None, 1), (0, 1)]), TypeError, "domain"),
        (lambda T: ChebTucker(T.core, T.factors, BOX, error_norm="l1"), ValueError, "error_norm"),
    ],
)
def test_bad_calls_are_refused(T: ChebTucker, call: Any, kind: type, text: str) -> None:
    with pytest.raises(kind, match=text):
        call(T)


def test_numbers_are_constants_and_powers_are_products(T: ChebTucker, x: Any) -> None:
    v = wave(*x.T)
    for found, expected in (
        (T + 1, v + 1),
        (2 + T, v + 2),
        (T - 0.5, v - 0.5),
        (1 - T, 1 - v),
        (sum([T, T]), 2 * v),
        (T + 2j, v + 2j),
        (T**2, v**2),
        (T**3, v**3),
        (T**0, 1 + 0 * v),
    ):
        np.testing.assert_allclose(found(x), expected, atol=1e-10)
        assert found.error_estimate < 1e-10
