"""Intervals of a completion: coverage at the stated level, invariance, and honest infinities."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import integrate, stats

from linalgkit.completion import complete_matrix
from linalgkit.completion._direct import direct_rows
from linalgkit.completion._efficiency import noise_factor, variance_factor
from linalgkit.completion._observed import observe
from linalgkit.completion._result import CompletionResult
from tests.completion.made import a_result, host
from tests.conftest import BACKENDS, Backend

NUMPY = BACKENDS[0]
LEVEL = 0.9
#: Number of independent problems of a coverage test, and entries that are asked for in each.
#: Entries of one line share its error, so that a problem of 210 lines is worth about 300 draws: the
#: tolerance is four standard deviations of 8 of them, with 0.01 for the approximation of the law.
PROBLEMS, ASKED, DRAWS = 8, 2000, 300
TOLERANCE = 4.0 * float(np.sqrt(LEVEL * (1 - LEVEL) / (PROBLEMS * DRAWS))) + 0.01


def least_squares(data: Any, U: Any, W: Any, biased: bool, ridge: float, sweeps: int) -> Any:
    """Return the minimiser near the truth, by exact alternating solves from it."""
    xp, k = data.xp, U.shape[1]
    size = k + biased
    penalty, none = np.full(size, ridge), np.zeros(size)
    row, column = np.zeros(U.shape[0]), np.zeros(W.shape[0])

    def half(lines: Any, y: Any, w: Any, F: Any, shift: Any) -> Any:
        F = np.column_stack([F, np.ones(F.shape[0])]) if biased else F
        X = direct_rows(xp, lines, y, w, F, shift if biased else None, penalty, none)
        return X[:, :k], X[:, k] if biased else shift * 0.0

    for _ in range(sweeps):
        W, column = half(data.columns, data.column_values, data.column_weights, U, row)
        U, row = half(data.rows, data.row_values, data.row_weights, W, column)
    return U, W, row, column


def problem(
    seed: int,
    *,
    oversampling: float = 5.0,
    noise: float = 0.1,
    zipf: float = 0.0,
    m: int = 120,
    n: int = 90,
    k: int = 3,
    weighted: bool = False,
    biased: bool = False,
) -> tuple[CompletionResult, Any, Any, float]:
    """Return the least-squares completion of a noisy matrix, the truth, and a generator."""
    rng = np.random.default_rng([seed, 17])
    U, V = rng.standard_normal((m, k)), rng.standard_normal((n, k))
    row, column = rng.standard_normal((2, max(m, n)))
    row, column = row[:m] * biased, column[:n] * biased
    A = U @ V.T + row[:, None] + column[None, :]
    d = k * (m + n - k) + biased * (m + n - 1)
    chance = np.tile(np.arange(1.0, n + 1) ** -zipf, m)
    N = int(oversampling * d)
    i, j = np.divmod(rng.choice(m * n, N, replace=False, p=chance / chance.sum()), n)
    w = rng.uniform(0.25, 4.0, N) if weighted else np.ones(N)
    y = A[i, j] + noise * rng.standard_normal(N) / np.sqrt(w)
    data = observe((i, j, y, (m, n)), weights=w if weighted else None)
    assert data.exponent == data.weight_exponent == 0
    U, W, row, column = least_squares(data, U, V, biased, 0.0, 60)
    values = (U[i] * W[j]).sum(axis=1) + row[i] + column[j]
    energy = float((w * (y - values) ** 2).sum())
    few = [np.flatnonzero(side.lengths <= k + biased) for side in (data.rows, data.columns)]
    template, _ = a_result(NUMPY)
    result = replace(
        template, U=U, V=W, row_bias=row if biased else None, col_bias=column if biased else None,
        mean=0.0, rank=k, residual_norm=energy**0.5, noise_estimate=(energy / (N - d)) ** 0.5,
        unidentifiable_rows=few[0], unidentifiable_columns=few[1], _pattern=data,
    )  # fmt: skip
    return result, A, rng, noise


def coverage(noisy: bool = False, factor: float = 1.0, **options: Any) -> float:
    """Return the share of covered entries, with all standard errors multiplied by a factor."""
    hits = []
    for seed in range(PROBLEMS):
        result, A, rng, noise = problem(seed, **options)
        i, j = rng.integers(0, A.shape[0], ASKED), rng.integers(0, A.shape[1], ASKED)
        low, high = result.interval(i, j, LEVEL, noisy=noisy)
        truth = A[i, j] + noise * rng.standard_normal(ASKED) * noisy
        reach = factor * (high - low) / 2
        hits.append((np.abs(truth - result.predict(i, j)) <= reach)[np.isfinite(reach)])
    return float(np.concatenate(hits).mean())


@pytest.mark.parametrize("zipf", [0.0, 1.0])
@pytest.mark.parametrize(("oversampling", "noise"), [(2.0, 0.3), (4.0, 0.01), (8.0, 0.3)])
def test_the_truth_is_covered_at_the_stated_level(
    oversampling: float, noise: float, zipf: float
) -> None:
    found = coverage(oversampling=oversampling, noise=noise, zipf=zipf)
    assert abs(found - LEVEL) < TOLERANCE


@pytest.mark.parametrize(
    "options",
    [{"noisy": True}, {"weighted": True}, {"biased": True}, {"biased": True, "oversampling": 2.5}],
    ids=str,
)
def test_new_observations_weights_and_biases_are_covered_too(options: dict[str, Any]) -> None:
    assert abs(coverage(**options) - LEVEL) < TOLERANCE


def test_intervals_of_half_the_length_fail_the_test() -> None:
    assert coverage(factor=0.8) < LEVEL - TOLERANCE
    assert coverage(factor=1.25) > LEVEL + TOLERANCE


def dense_reference(result: CompletionResult, i: int, j: int) -> float:
    """Return the half width of one entry from plain NumPy sums over a dense mask of weights."""
    m, n = result.shape
    pattern = result.pattern()
    indptr, indices = pattern.csr()
    mask = np.zeros((m, n))
    weights = 1.0 if pattern.row_weights is None else host(pattern.row_weights)
    mask[np.repeat(np.arange(m), np.diff(indptr)), indices] = weights
    mask *= 2.0**pattern.weight_exponent
    U, V = host(result.U), host(result.V)
    if result.row_bias is not None:
        U, V = (np.column_stack([x, np.ones(x.shape[0])]) for x in (U, V))
    k, N, freedom = U.shape[1], pattern.count, result.degrees_of_freedom
    G = V.T @ (mask[i][:, None] * V)
    H = U.T @ (mask[:, j][:, None] * U)
    square = (N - m * k) / freedom * (V[j] @ np.linalg.solve(G, V[j]))
    square += (N - n * k) / freedom * (U[i] @ np.linalg.solve(H, U[i]))
    return float(stats.t.ppf((1 + LEVEL) / 2, freedom) * result.noise_estimate * square**0.5)


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("offsets", [False, True])
def test_the_length_is_that_of_the_formula(xp: Backend, offsets: bool, weights: bool) -> None:
    result, dense = a_result(xp, 14, 13, 2, offsets=offsets, weights=weights)
    rows, columns = np.asarray([0, 3, 3, 13]), np.asarray([2, 2, 5, 12])
    low, high = result.interval(xp.asarray(rows), columns.tolist(), LEVEL)
    assert low.dtype == result.U.dtype
    rtol = 1e-10 if xp.has_float64 else 2e-3
    half = (host(high) - host(low)) / 2
    expected = [dense_reference(result, i, j) for i, j in zip(rows, columns, strict=True)]
    np.testing.assert_allclose(half, expected, rtol=rtol)
    np.testing.assert_allclose((host(low) + host(high)) / 2, dense[rows, columns], rtol=1e-4)


def test_nothing_depends_on_how_the_product_is_split() -> None:
    result, _ = a_result(NUMPY, 14, 13, 3)
    T = np.asarray([[2.0, 0.3, 0.0], [0.0, 0.1, 5.0], [1.0, 0.0, 0.2]])
    other = replace(
        result, U=result.U @ T, V=result.V @ np.linalg.inv(T).T, _pattern=result.pattern()
    )
    places = np.arange(14), np.arange(14) % 13
    for a, b in zip(result.interval(*places), other.interval(*places), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10)


@pytest.mark.parametrize("power", [-996, -400, 400, 996])
def test_any_magnitude_of_data_and_weights_gives_the_same_interval(power: int) -> None:
    result, _ = a_result(NUMPY, 14, 13, 3, weights=True)
    other = replace(
        result,
        U=np.ldexp(result.U, power // 2), V=np.ldexp(result.V, power // 2),
        row_bias=np.ldexp(result.row_bias, power), col_bias=np.ldexp(result.col_bias, power),
        mean=float(np.ldexp(result.mean, power)),
        noise_estimate=float(np.ldexp(result.noise_estimate, power)),
        _pattern=result.pattern(),
    )  # fmt: skip
    places = np.arange(14), np.arange(14) % 13
    for a, b in zip(result.interval(*places), other.interval(*places), strict=True):
        np.testing.assert_allclose(np.ldexp(b, -power), a, rtol=1e-9)
    # A unit of the weights: noise of weight one is larger by its root.
    pattern = replace(result.pattern(), weight_exponent=2 * power)
    noise = float(np.ldexp(result.noise_estimate, power))
    heavier = replace(result, noise_estimate=noise, _pattern=pattern)
    for a, b in zip(result.interval(*places), heavier.interval(*places), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-9)


def test_a_ridge_and_a_load_enter_the_matrices() -> None:
    result, _ = a_result(NUMPY, 14, 13, 2, offsets=False)
    row, column = np.asarray([0.5, 2.0]), np.asarray([1.0, 0.25])
    load = np.asarray([0.1, 0.3])
    other = replace(
        result, row_ridge=row, column_ridge=column, row_load=load, _pattern=result.pattern()
    )
    assert other.is_penalised
    indptr, indices = result.pattern().csr()
    mask = np.zeros(result.shape)
    mask[np.repeat(np.arange(14), np.diff(indptr)), indices] = 1.0
    U, V, (i, j) = result.U, result.V, (4, 7)
    G = V.T @ (mask[i][:, None] * V) + np.diag(row + mask[i].sum() * load)
    H = U.T @ (mask[:, j][:, None] * U) + np.diag(column)
    # What the ridges leave of each line's parameters, every line a sample of its side.
    N, p, q = mask.sum(), mask.sum(axis=1), mask.sum(axis=0)
    energy = [x @ F**2 / N for x, F in ((q, V), (p, U))]
    kept = [np.outer(x, e) for x, e in zip((p, q), energy, strict=True)]
    kept = [kept[0] / (kept[0] + row + np.outer(p, load)), kept[1] / (kept[1] + column)]
    of_rows, of_columns = (x.sum() for x in kept)
    common = np.prod([x.mean(axis=0).sum() for x in kept])
    freedom = N - of_rows - of_columns + common
    square = (N - of_rows) / freedom * (V[j] @ np.linalg.solve(G, V[j]))
    square += (N - of_columns) / freedom * (U[i] @ np.linalg.solve(H, U[i]))
    quantile = stats.t.ppf(0.95, freedom)
    low, high = other.interval(i, j, LEVEL)
    assert float(high - low) / 2 == pytest.approx(quantile * 0.1 * square**0.5, rel=1e-10)
    ridged = replace(result, alpha=0.5, _pattern=result.pattern())
    assert float(np.diff(ridged.interval(i, j))[0]) < float(np.diff(result.interval(i, j))[0])


@pytest.mark.parametrize("offsets", [False, True])
def test_a_ridge_that_does_nothing_changes_nothing(offsets: bool) -> None:
    result, _ = a_result(NUMPY, 14, 13, 2, offsets=offsets, weights=True)
    plain = result.interval(4, 7)
    none = np.full(2 + offsets, 1e-13)
    for changes in ({"alpha": 1e-13}, {"row_ridge": none, "column_load": none}):
        other = replace(result, _pattern=result.pattern(), **changes)  # type: ignore[arg-type]
        np.testing.assert_allclose(other.interval(4, 7), plain, rtol=1e-10)


def test_ridges_on_all_libraries(xp: Backend) -> None:
    found = []
    for backend in (NUMPY, xp):
        result, _ = a_result(
            backend, 14, 13, 2, weights=True, row_ridge=np.asarray([0.5, 2.0, 0.1])
        )
        low, high = result.interval([4, 0], [7, 2], LEVEL)
        found.append(host(high) - host(low))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-9 if xp.has_float64 else 2e-3)


def test_an_overwhelming_ridge_leaves_the_noise_alone() -> None:
    result, _ = a_result(NUMPY, 14, 13, 2, offsets=False)
    count = result.pattern().count
    ridged = replace(result, alpha=1e13, _pattern=result.pattern())
    low, high = ridged.interval(4, 7, LEVEL)
    below, above = ridged.interval(4, 7, LEVEL, noisy=True)
    assert float(high - low) < 1e-6
    assert float(above - below) / 2 == pytest.approx(0.1 * stats.t.ppf(0.95, count))


def fitted_coverage(
    oversampling: float, options: dict[str, Any], zipf: float = 0.0, **changes: Any
) -> float:
    """Return the share of unseen entries that the intervals of a fit by complete_matrix cover."""
    m, n, k, noise, hits = 120, 90, 3, 0.3, []
    for seed in range(PROBLEMS):
        rng = np.random.default_rng([seed, 23])
        A = rng.standard_normal((m, k)) @ rng.standard_normal((k, n))
        chance = np.tile(np.arange(1.0, n + 1) ** -zipf, m)
        N = int(oversampling * k * (m + n - k))
        seen = np.zeros(m * n, dtype=bool)
        seen[rng.choice(m * n, N, replace=False, p=chance / chance.sum())] = True
        seen = seen.reshape(m, n)
        found = complete_matrix(
            A + noise * rng.standard_normal((m, n)), k, mask=seen, rng=0, n_threads=1, **options
        )
        found = replace(found, _pattern=found.pattern(), **changes)
        i, j = np.nonzero(~seen)
        low, high = found.interval(i, j, LEVEL)
        known = np.isfinite(low)
        hits.append(((low <= A[i, j]) & (A[i, j] <= high))[known])
    return float(np.concatenate(hits).mean())


@pytest.mark.parametrize("zipf", [0.0, 1.0])
@pytest.mark.parametrize("options", [{"alpha": 1e-6}, {"shrink": True}], ids=str)
def test_small_ridges_and_shrinkage_cover_too(options: dict[str, Any], zipf: float) -> None:
    assert abs(fitted_coverage(4.0, options, zipf) - LEVEL) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize(("loss", "scale"), [("huber", 1.345), ("l1", 1e-3)])
@pytest.mark.parametrize("oversampling", [4.0, 8.0])
@pytest.mark.filterwarnings("ignore::linalgkit._core.validation.AccuracyWarning")
def test_robust_losses_cover_without_outliers(loss: str, scale: float, oversampling: float) -> None:
    known = {"noise_estimate": 0.3, "loss_scale": 0.3 * scale}
    assert abs(fitted_coverage(oversampling, {"loss": loss}, **known) - LEVEL) < TOLERANCE


@pytest.mark.parametrize("scale", [0.0, 0.1, 0.5, 1.345, 3.0, 100.0])
def test_with_few_unknowns_the_factors_are_those_of_hubers_estimate(scale: float) -> None:
    psi2 = integrate.quad(lambda x: min(x * x, scale**2) * stats.norm.pdf(x), 0, 20, limit=200)[0]
    slope = stats.norm.cdf(scale) - 0.5
    expected = 0.5 * psi2 / slope**2 if scale else np.pi / 2
    assert variance_factor(scale, 1e-6) == pytest.approx(expected, rel=1e-3)
    assert noise_factor(scale, 1e-6) == pytest.approx(1.0, rel=1e-3)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.8])
def test_least_squares_has_no_loss_and_the_noise_of_its_degrees_of_freedom(share: float) -> None:
    for scale in (50.0, 1e6, float("inf")):
        assert variance_factor(scale, share) == pytest.approx(1.0, rel=1e-10)
        assert noise_factor(scale, share) == pytest.approx((1 - share) ** -0.5, rel=1e-10)


def test_regressions_with_many_unknowns_have_the_errors_of_the_factors() -> None:
    rng = np.random.default_rng(3)
    n, p, trials = 200, 50, 30
    found = {1.345: [], 1e-3: []}  # type: dict[float, list[Any]]
    for _ in range(trials):
        X, y = rng.standard_normal((n, p)), rng.standard_normal(n)
        b0 = np.linalg.lstsq(X, y, rcond=None)[0]
        for scale, values in found.items():
            b = b0
            for _ in range(150):
                w = 1 / np.maximum(np.abs(y - X @ b), scale)
                b = np.linalg.solve(X.T @ (w[:, None] * X), X.T @ (w * y))
            values.append((b @ b, b0 @ b0, np.median(np.abs(y - X @ b)) / 0.6745))
    for scale, values in found.items():
        error, plain, size = np.mean(values, axis=0)
        assert error / plain == pytest.approx(variance_factor(scale, p / n), rel=0.08)
        assert size * noise_factor(scale / size, p / n) == pytest.approx(1.0, rel=0.05)


def test_the_loss_widens_the_interval() -> None:
    result, _ = a_result(NUMPY, 14, 13, 2)
    share = 1 - result.degrees_of_freedom / result.pattern().count
    robust = replace(result, loss_scale=0.1345, _pattern=result.pattern())
    (low, high), (below, above) = (x.interval(4, 7) for x in (result, robust))
    expected = variance_factor(1.345, share) ** 0.5
    assert float(above - below) / float(high - low) == pytest.approx(expected, rel=1e-10)


def test_a_new_observation_adds_the_noise() -> None:
    result, _ = a_result(NUMPY, 14, 13, 2)
    low, high = result.interval(2, 3, LEVEL)
    below, above = result.interval(2, 3, LEVEL, noisy=True)
    reach = stats.t.ppf(0.95, result.degrees_of_freedom) * result.noise_estimate
    assert float(above - below) / 2 == pytest.approx(np.hypot(float(high - low) / 2, reach))


# ------------------------------------------------------------------- where nothing is known


@pytest.mark.parametrize("backend", BACKENDS, ids=str)
def test_lines_that_are_not_identified_have_no_end(backend: Backend) -> None:
    none = backend.asarray(np.asarray([1]))
    result, _ = a_result(backend, 14, 13, 2, unidentifiable_rows=none, unidentifiable_columns=none)
    low, high = (host(x) for x in result.interval([0, 1, 0, 1], [0, 0, 1, 1]))
    assert np.isfinite(low).tolist() == np.isfinite(high).tolist() == [True, False, False, False]
    assert np.isneginf(low[1:]).all()
    assert np.isposinf(high[1:]).all()


def test_a_line_without_enough_entries_has_no_end_even_if_not_listed() -> None:
    result, _ = a_result(NUMPY, 7, 9, 3, offsets=False)
    i, j = np.divmod(np.arange(63), 9)
    kept = (i > 0) | (j < 2)  # two entries in row 0 for three unknowns
    data = observe((i[kept], j[kept], np.ones(int(kept.sum())), (7, 9)))
    fewer = replace(result, _pattern=data)
    low, high = fewer.interval([0, 1], [5, 5])
    assert np.isfinite(low).tolist() == [False, True]
    seen = fewer.interval(0, 0)  # but what it determines is known
    assert np.isfinite(seen).all()
    del high


def test_entries_across_two_components_have_no_end() -> None:
    m = n = 10
    i, j = np.nonzero(np.kron(np.eye(2), np.ones((5, 5))))
    data = observe((i, j, np.ones(50), (m, n)))
    result, _ = a_result(NUMPY, m, n, 1, offsets=False, n_connected_components=2, _pattern=data)
    low, _ = result.interval([0, 0, 9, 9], [0, 9, 0, 9])
    assert np.isfinite(low).tolist() == [True, False, False, True]


def test_without_degrees_of_freedom_nothing_is_known() -> None:
    result, _ = a_result(NUMPY, 5, 5, 4)
    assert result.degrees_of_freedom <= 0
    assert np.isinf(result.interval(0, 0)).all()
    other, _ = a_result(NUMPY, noise_estimate=float("nan"))
    assert np.isinf(other.interval(0, 0)).all()


def test_exact_data_have_intervals_of_the_length_of_rounding() -> None:
    result, _ = a_result(NUMPY, 14, 13, 2, noise_estimate=0.0)
    low, high = result.interval(np.arange(13), np.arange(13))
    values = result.predict(np.arange(13), np.arange(13))
    assert (low <= values).all()
    assert (high - low <= 10 * np.finfo(float).eps * np.abs(values)).all()


@pytest.mark.parametrize(
    ("level", "error"), [(0.0, ValueError), (1.0, ValueError), (1.5, ValueError), ("x", TypeError)]
)
def test_a_level_outside_its_range_is_refused(level: Any, error: type) -> None:
    with pytest.raises(error, match="level must be"):
        a_result(NUMPY)[0].interval(0, 0, level)


def test_complex_answers_and_other_flags_are_refused() -> None:
    with pytest.raises(TypeError, match="complex numbers have no order"):
        a_result(NUMPY, kind="complex128")[0].interval(0, 0)
    with pytest.raises(TypeError, match="noisy must be True or False"):
        a_result(NUMPY)[0].interval(0, 0, noisy=1)  # type: ignore[arg-type]


def test_gram_matrices_are_formed_of_the_lines_asked_for_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from linalgkit.completion import _intervals

    asked = []
    plain = _intervals.line_grams

    def spy(xp: Any, lines: Any, w: Any, F: Any, chosen: Any) -> Any:
        asked.append(chosen.tolist())
        return plain(xp, lines, w, F, chosen)

    monkeypatch.setattr(_intervals, "line_grams", spy)
    a_result(NUMPY, 14, 13, 2)[0].interval([4, 2, 4], [1, 0, 1])
    assert asked == [[2, 4], [0, 1]]
