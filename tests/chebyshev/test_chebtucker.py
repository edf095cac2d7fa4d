"""From a callable to a Tucker format: tolerances, estimates, budgets, hints, refusals."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest

from linalgkit import AccuracyWarning
from linalgkit.chebyshev import ChebTucker, chebtucker
from linalgkit.datasets import smooth_functions
from tests.conftest import Backend

PROBLEMS = {problem.name: problem for problem in smooth_functions()}
CUBE = [(-1.0, 1.0)] * 3


def runge(x: Any, y: Any, z: Any) -> Any:
    return 1 / (1 + 25 * (x * x + y * y + z * z))


def sine(x: Any, y: Any, z: Any) -> Any:
    return np.sin(3 * np.exp(x) + 4 * y * z)


def build(f: Any, domain: Any = CUBE, **options: Any) -> ChebTucker:
    return chebtucker(f, domain, **{"vectorized": "grid", "rng": 0, **options})


def true_error(T: ChebTucker, f: Any, n: int = 20000, seed: int = 99) -> float:
    rng = np.random.default_rng(seed)
    x = np.column_stack([rng.uniform(a, b, n) for a, b in T.domain])
    return float(np.abs(T(x) - f(*x.T)).max())


# ------------------------------------------------------------------------ tolerance and estimate


def outcomes(tols: list[float], seeds: int, n: int) -> list[tuple[str, float, float, float]]:
    """Return name, tolerance, error over tol * scale and error over estimate, of all functions."""
    found = []
    for problem in PROBLEMS.values():
        rng = np.random.default_rng(99)
        x = np.column_stack([rng.uniform(a, b, n) for a, b in problem.domain])
        exact = problem.function(*x.T)
        scale = float(np.abs(exact).max())
        for tol in tols:
            for seed in range(seeds):
                T = build(problem.function, problem.domain, tol=tol, rng=seed)
                error = float(np.abs(T(x) - exact).max())
                found.append((problem.name, tol, error / scale / tol, error / T.error_estimate))
    return found


def test_forty_functions_meet_their_tolerance_and_know_their_error() -> None:
    found = outcomes([1e-4, 1e-8], 1, 20000)
    assert len(found) == 80
    assert [entry for entry in found if entry[2] > 5.0] == []
    inside = [0.1 <= entry[3] <= 10.0 for entry in found]
    assert sum(inside) >= 0.95 * len(inside)


@pytest.mark.slow
def test_forty_functions_at_all_tolerances_and_one_hundred_thousand_points() -> None:
    found = outcomes([1e-4, 1e-6, 1e-10, 1e-12, 1e-13], 1, 100_000)
    assert [entry for entry in found if entry[2] > 5.0] == []
    inside = [0.1 <= entry[3] <= 10.0 for entry in found]
    assert sum(inside) >= 0.95 * len(inside)


@pytest.mark.slow
def test_runge_is_never_believed_too_early() -> None:
    for seed in range(50):
        T = build(runge, tol=1e-6, rng=seed)
        assert true_error(T, runge, 100_000) <= 5e-6


def test_the_control_that_checks_nothing_is_caught() -> None:
    # With ranks below those that the function needs, the estimate must say so.
    T = build(runge, tol=None, ranks=4)
    error = true_error(T, runge)
    assert error > 1e-4
    assert error / 10 <= T.error_estimate <= 10 * error
    assert T.status == "ranks"


def test_evaluations_stay_below_the_goals() -> None:
    assert build(runge, tol=1e-12).n_evals <= 200_000
    counts = [build(sine, tol=1e-8, rng=seed).n_evals for seed in range(9)]
    assert np.median(counts) <= 5000


def test_counted_evaluations_are_those_made() -> None:
    count = 0

    def counted(x: Any) -> Any:
        nonlocal count
        count += x.shape[0]
        return sine(*x.T)

    T = chebtucker(counted, CUBE, tol=1e-6, rng=1)
    assert T.n_evals == count


@pytest.mark.parametrize("norm", ["l2w", "l2"])
def test_integral_norms_are_met(norm: str) -> None:
    T = build(runge, tol=1e-6, norm=norm)
    nodes, weights = np.polynomial.legendre.leggauss(60)
    if norm == "l2w":
        nodes = np.cos(math.pi * (np.arange(200) + 0.5) / 200)
        weights = np.full(200, 1 / 200)
    grid = np.meshgrid(nodes, nodes, nodes, indexing="ij", sparse=True)
    W = weights[:, None, None] * weights[:, None] * weights
    exact = runge(*grid)
    error = math.sqrt((W * (T.grid(nodes, nodes, nodes) - exact) ** 2).sum())
    size = math.sqrt((W * exact**2).sum())
    assert error <= 1.5e-6 * size
    assert error / 3 <= T.error_estimate <= 3 * error
    assert build(runge, tol=1e-6).ranks >= T.ranks


# ------------------------------------------------------------------------------ every library


def test_the_same_function_on_every_library(xp: Backend) -> None:
    problem = PROBLEMS["sin(3e^x+4yz)"]
    domain = xp.asarray(np.array(problem.domain))
    tol = 1e-7 if xp.has_float64 else 1e-4
    x = np.random.default_rng(1).uniform(-1, 1, (200, 3))
    expected = sine(*x.T)
    reference = build(problem.function, tol=tol)
    for method in ("auto", "grid"):
        T = build(problem.function, domain, tol=tol, method=method)
        assert np.abs(xp.to_numpy(T(xp.asarray(x))) - expected).max() <= 5 * tol
        assert T.dtype == xp.float
        assert T.core.shape == T.ranks
        if xp.has_float64 and method == "auto":
            assert (T.ranks, T.degrees, T.n_evals) == (
                reference.ranks,
                reference.degrees,
                reference.n_evals,
            )


def test_the_library_is_taken_by_name(xp: Backend) -> None:
    if not xp.has_float64 or "device1" in xp.name:
        pytest.skip("a name stands for the default device")
    problem = PROBLEMS["cos(x y)"]
    T = build(problem.function, [list(pair) for pair in problem.domain], xp=xp.xp, tol=1e-6)
    assert T(xp.asarray(np.zeros((2, 2)))).shape == (2,)


@pytest.mark.parametrize("kind", ["float32", "complex64", "float64", "complex128"])
def test_precision_is_that_of_the_values(kind: str) -> None:
    unit = 1j if kind.startswith("complex") else 1.0
    T = build(lambda x, y: (unit * np.cos(x * y)).astype(kind), [(0, 1), (0, 2)])
    assert T.dtype == np.dtype(kind)
    tol = 1e-5 if kind in ("float32", "complex64") else 1e-10
    x = np.random.default_rng(0).random((100, 2)) * [1, 2]
    assert (
        np.abs(
            T(x.astype("float32" if tol > 1e-6 else "float64")) - unit * np.cos(x[:, 0] * x[:, 1])
        ).max()
        <= 5 * tol
    )


def test_a_dtype_is_kept_and_a_complex_function_refuses_a_real_one() -> None:
    T = build(lambda x, y: np.cos(x * y), [(0, 1), (0, 2)], dtype=np.float32)
    assert T.dtype == np.float32
    with pytest.raises(TypeError, match="complex dtype"):
        build(lambda x, y: np.exp(1j * x * y), [(0, 1), (0, 2)], dtype=np.float64)
    with pytest.raises(TypeError, match="floating dtype"):
        build(lambda x, y: x * y, [(0, 1), (0, 2)], dtype=np.int64)


# ------------------------------------------------------------------------- how f is called


def test_points_grids_and_single_points_give_the_same() -> None:
    box = [(0.0, 1.0), (-1.0, 2.0)]
    grid = build(lambda x, y: np.exp(x * y), box, tol=1e-8)
    points = chebtucker(lambda x: np.exp(x[:, 0] * x[:, 1]), box, tol=1e-8, rng=0)
    single = chebtucker(lambda x: math.exp(x[0] * x[1]), box, tol=1e-8, vectorized=False, rng=0)
    for T in (points, single):
        assert T.ranks == grid.ranks
        assert T.n_evals == grid.n_evals
        np.testing.assert_allclose(T.core, grid.core, atol=1e-12)


def test_values_that_do_not_depend_on_all_variables_broadcast() -> None:
    T = build(lambda x, y, z: x**2, CUBE)
    assert T.ranks == (1, 1, 1)
    assert T.degrees == (2, 0, 0)
    constant = build(lambda x, y, z: 3.0, CUBE)
    assert constant.degrees == (0, 0, 0)
    assert float(constant(np.zeros(3))) == 3.0


# --------------------------------------------------------------------------- exact cases, scales


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5, 6])
def test_the_zero_function_is_exact(order: int) -> None:
    T = chebtucker(lambda x: 0.0 * x[:, 0], [(0.0, 1.0)] * order, rng=0)
    assert T.ranks == (1,) * order
    assert T.degrees == (0,) * order
    assert float(T(np.full(order, 0.3))) == 0.0
    assert T.error_estimate == 0.0
    assert T.status == "converged"


@pytest.mark.parametrize("value", [1.0, -7.25, 1e200, 1e-200])
def test_constants_are_exact(value: float) -> None:
    T = build(lambda x, y: value + 0 * x * y, [(0, 1), (2, 3)])
    assert T.degrees == (0, 0)
    x = np.random.default_rng(0).random((50, 2)) + np.array([0, 2])
    np.testing.assert_allclose(T(x), value, rtol=4e-16)


@pytest.mark.parametrize("power", [600, -600])
def test_the_unit_of_the_function_does_not_matter(power: int) -> None:
    plain = build(sine, tol=1e-7)
    scaled = build(lambda x, y, z: np.ldexp(sine(x, y, z), power), tol=1e-7)
    assert scaled.ranks == plain.ranks
    np.testing.assert_array_equal(scaled.core, np.ldexp(plain.core, power))
    assert scaled.error_estimate == math.ldexp(plain.error_estimate, power)
    assert scaled.scale == math.ldexp(plain.scale, power)


def test_the_box_does_not_matter() -> None:
    plain = build(sine, tol=1e-7)
    far = build(
        lambda x, y, z: sine((x - 1024.0) / 4, y * 2.0**30, z / 2.0**40),
        [(1020, 1028), (-(2.0**-30), 2.0**-30), (-(2.0**40), 2.0**40)],
        tol=1e-7,
    )
    assert far.ranks == plain.ranks
    np.testing.assert_allclose(far.core, plain.core, atol=1e-12)


def test_polynomials_are_exact_with_their_own_degrees() -> None:
    T = build(lambda x, y: (x - 2 * y) ** 3 + x, [(0.0, 2.0), (-1.0, 1.0)], tol=1e-13)
    assert T.degrees == (3, 3)
    x = np.random.default_rng(0).random((100, 2)) * 2 - [0, 1]
    np.testing.assert_allclose(T(x), (x[:, 0] - 2 * x[:, 1]) ** 3 + x[:, 0], atol=64 * 1e-15)


def test_runs_with_one_seed_are_equal_bit_for_bit() -> None:
    first, second = build(sine, tol=1e-9, rng=5), build(sine, tol=1e-9, rng=5)
    np.testing.assert_array_equal(first.core, second.core)
    assert first.error_estimate == second.error_estimate


# --------------------------------------------------------------------- degrees, ranks, the paper


def test_degrees_asked_for_are_those_used() -> None:
    T = build(runge, degrees=20)
    assert all(m <= 20 for m in T.degrees)
    error = true_error(T, runge)
    assert error / 10 <= T.error_estimate <= 10 * error
    assert T.status == "degrees"
    with pytest.warns(AccuracyWarning, match="degrees"):
        build(runge, degrees=(20, 20, 30), tol=1e-8)


def test_sweeps_of_alternating_least_squares_do_not_harm() -> None:
    plain = build(runge, ranks=(3, 3, 3), method="grid", degrees=40, norm="l2w")
    swept = build(runge, ranks=(3, 3, 3), method="grid", degrees=40, norm="l2w", n_iter=3)
    assert plain.ranks == swept.ranks == (3, 3, 3)
    assert swept.norm() >= plain.norm() * (1 - 1e-12)


def test_grid_and_cross_agree() -> None:
    a, b = build(sine, method="grid", tol=1e-9), build(sine, method="cross", tol=1e-9)
    x = np.random.default_rng(0).uniform(-1, 1, (500, 3))
    assert np.abs(a(x) - b(x)).max() <= 1e-8
    auto = build(sine, tol=1e-9)
    assert auto.n_evals <= 1.2 * min(a.n_evals, b.n_evals)


# ------------------------------------------------------------------- what is not resolved, budget


def test_a_kink_ends_with_a_warning_and_an_honest_estimate() -> None:
    def kink(x: Any, y: Any, z: Any) -> Any:
        return np.abs(x + y + z)

    with pytest.warns(AccuracyWarning, match="not resolved"):
        T = build(kink, tol=1e-8, max_degree=128, max_rank=40, max_evals=10**6)
    assert T.status != "converged"
    assert T.n_evals <= 10**6
    error = true_error(T, kink)
    assert error / 10 <= T.error_estimate <= 10 * error


@pytest.mark.parametrize("budget", [1000, 3000, 6000])
def test_the_budget_is_kept(budget: int) -> None:
    def bump(x: Any, y: Any, z: Any) -> Any:
        return 1 / (1 + 3 * (x * x + y * y + z * z))

    with pytest.warns(AccuracyWarning, match="max_evals"):
        T = build(bump, tol=1e-14, max_evals=budget)
    assert T.n_evals <= budget
    assert T.status == "max_evals"
    error = true_error(T, bump)
    assert error / 20 <= T.error_estimate <= 20 * error


@pytest.mark.parametrize(
    ("limit", "word"), [({"max_rank": 5}, "max_rank"), ({"max_degree": 32}, "max_degree")]
)
def test_limits_are_named(limit: dict[str, int], word: str) -> None:
    with pytest.warns(AccuracyWarning, match=word):
        T = build(runge, tol=1e-8, **limit)
    assert T.status == word
    assert max(T.ranks) <= limit.get("max_rank", 999)
    assert max(T.degrees) <= limit.get("max_degree", 9999)
    error = true_error(T, runge)
    assert error / 10 <= T.error_estimate <= 10 * error


def test_noise_ends_with_a_warning_that_gives_its_size() -> None:
    noise = np.random.default_rng(3)

    def noisy(x: Any, y: Any) -> Any:
        value = np.cos(x * y)
        return value + 1e-7 * noise.standard_normal(np.broadcast(x, y).shape)

    with pytest.warns(AccuracyWarning, match="not resolved"):
        T = build(noisy, [(0, 1), (0, 1)], tol=1e-10, max_degree=256)
    assert 1e-8 <= T.error_estimate <= 1e-5


def test_hints_show_what_random_points_miss() -> None:
    place = np.array([0.31, -0.47, 0.12])

    def needle(x: Any, y: Any, z: Any) -> Any:
        r2 = (x - place[0]) ** 2 + (y - place[1]) ** 2 + (z - place[2]) ** 2
        return np.cos(x + y * z) + np.exp(-3000 * r2)

    with_hint = build(needle, tol=1e-6, pivots=place[None, :])
    at_needle = float(with_hint(place)) - float(needle(*place))
    assert abs(at_needle) <= 5e-6
    without = build(needle, tol=1e-6)
    assert abs(float(without(place)) - float(needle(*place))) > 0.5  # what the docs warn of


# ------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"domain": [(0, 1, 2)]}, ValueError, "domain"),
        ({"domain": []}, ValueError, "domain"),
        ({"domain": [(1.0, 0.0)]}, ValueError, "finite a < b"),
        ({"domain": [(0.0, math.inf)]}, ValueError, "finite a < b"),
        ({"domain": [(0.0, math.nan)]}, ValueError, "finite a < b"),
        ({"domain": "box"}, TypeError, "domain"),
        ({"domain": [(0, 1)] * 7}, ValueError, "tensor train"),
        ({"tol": 0.0}, ValueError, "tol"),
        ({"tol": -1e-3}, ValueError, "tol"),
        ({"tol": "small"}, TypeError, "tol"),
        ({"norm": "sup"}, ValueError, "norm"),
        ({"method": "svd"}, ValueError, "method"),
        ({"degrees": 0}, ValueError, "degrees"),
        ({"degrees": (3, 0, 4)}, ValueError, "degrees"),
        ({"degrees": (3, 4)}, ValueError, "3 of them"),
        ({"degrees": 2.5}, TypeError, "degrees"),
        ({"ranks": 0}, ValueError, "ranks"),
        ({"ranks": 9, "degrees": 7}, ValueError, "degree \\+ 1"),
        ({"max_degree": 0}, ValueError, "max_degree"),
        ({"max_rank": 0}, ValueError, "max_rank"),
        ({"max_evals": 10}, ValueError, "max_evals"),
        ({"n_iter": -1}, ValueError, "n_iter"),
        ({"n_check": 10}, ValueError, "n_check"),
        ({"vectorized": True}, TypeError, "vectorized"),
        ({"vectorized": "rows"}, ValueError, "vectorized"),
        ({"pivots": [[0.0, 0.0]]}, ValueError, "pivots"),
        ({"pivots": [[0.0, 0.0, 2.0]]}, ValueError, "inside the box"),
        ({"pivots": [[0.0, 0.0, math.nan]]}, ValueError, "finite"),
        ({"xp": 3}, TypeError, "xp"),
        ({"f": 3.0}, TypeError, "callable"),
    ],
    ids=str,
)
def test_bad_arguments_are_refused(options: dict[str, Any], kind: type, text: str) -> None:
    given = {"f": sine, "domain": CUBE, "vectorized": "grid", "rng": 0, **options}
    f, domain = given.pop("f"), given.pop("domain")
    with pytest.raises(kind, match=text):
        chebtucker(f, domain, **given)


def test_a_wrong_shape_names_the_way_out() -> None:
    with pytest.raises(ValueError, match="vectorized"):
        chebtucker(lambda x: x, CUBE)
    with pytest.raises(ValueError, match="broadcast"):
        build(lambda x, y, z: np.zeros(5))
    with pytest.raises(ValueError, match="one number"):
        chebtucker(lambda x: x, CUBE, vectorized=False)
    with pytest.raises(TypeError, match="array"):
        build(lambda x, y, z: "no")


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("vectorized", ["points", "grid", False])
def test_values_that_are_not_finite_name_their_point(bad: float, vectorized: Any) -> None:
    def value(x: Any, y: Any) -> Any:
        return np.where(x > 1.9, bad, x + y)

    f = value if vectorized == "grid" else lambda p: value(p[..., 0], p[..., 1])
    with pytest.raises(
        ValueError, match=r"finite on the whole box, got .* at the point \((1\.9|2)"
    ):
        chebtucker(f, [(0.0, 2.0), (0.0, 1.0)], vectorized=vectorized, rng=0)


def test_a_tolerance_below_rounding_is_raised_with_a_warning() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        T = build(lambda x, y: x + y, [(0, 1), (0, 1)], tol=1e-17)
    assert "4 eps" in str(caught[0].message)
    assert {warning.category for warning in caught} == {AccuracyWarning}
    assert T.error_estimate <= 1e-14


def test_no_warning_where_nothing_is_amiss() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build(sine, tol=1e-9)


def test_degrees_asked_for_do_not_cut_the_ranks() -> None:
    def f(x: Any, y: Any, z: Any) -> Any:
        return np.exp(x * y - z)

    for k in (4, 6):
        cross, grid = (build(f, degrees=k, method=method) for method in ("cross", "grid"))
        assert cross.error_estimate <= 2 * grid.error_estimate


def test_an_error_of_the_first_call_tells_how_it_was_made() -> None:
    with pytest.raises(TypeError) as caught:
        chebtucker(lambda x, y, z: x, CUBE)
    assert "vectorized='points'" in caught.value.__notes__[0]


def test_limits_that_were_not_met_are_not_named() -> None:
    with pytest.warns(AccuracyWarning, match="inaccurate"):
        T = build(lambda x, y: np.abs(x - y / 3), [(-1, 1)] * 2, tol=1e-6)
    assert max(T.degrees) < 1024
    assert max(T.ranks) < 256
