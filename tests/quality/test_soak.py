"""Ten million rows through every class that streams: memory stays flat, the answer stays right.

Two ways take a million instead: frequent directions decompose every few rows (8 us a row here, so
that ten million would take 80 s of CPU time), and Oja's method takes a step for every row (3 us,
three times as much while memory is traced). ``MatrixCompletion`` is not here: it is documented to
keep every entry that comes, so that its memory must grow.
"""

from __future__ import annotations

import time
import tracemalloc
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from linalgkit import AccuracyWarning
from linalgkit.bayes import KronSBL
from linalgkit.regression import SketchedRegressor, lstsq
from linalgkit.sketching import sketch
from linalgkit.streaming import StreamingEigh
from linalgkit.svd import IncrementalSVD

ROWS, BLOCK, D = 10**7, 125_000, 8
N_BLOCKS = ROWS // BLOCK
SLACK = 100_000  # bytes: books of blocks, not rows; 125 000 rows would take 8 MB

ONE_BY_ONE = ("frequent-directions", "oja")

pytestmark = pytest.mark.slow


def data() -> list[np.ndarray[Any, Any]]:
    """Return four blocks of rows with one leading direction; the stream repeats them."""
    rng = np.random.default_rng(0)
    turned = np.linalg.qr(rng.standard_normal((D, D)))[0]
    deviations = np.asarray([4.0, *np.linspace(1.0, 0.5, D - 1)])
    return [(rng.standard_normal((BLOCK, D)) * deviations) @ turned for _ in range(4)]


def soak(take: Callable[[int], Any], n_blocks: int = N_BLOCKS) -> None:
    """Take all blocks; in the last quarter, which is traced, memory must not grow."""
    start = time.process_time()
    try:
        for k in range(n_blocks):
            if k == 3 * n_blocks // 4:
                tracemalloc.start()
            take(k)
            if k == 4 * n_blocks // 5:  # by now what was held before tracing has been replaced
                now, peak = tracemalloc.get_traced_memory()
                tracemalloc.reset_peak()
        later, later_peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert later < now + SLACK
    assert later_peak < peak + SLACK
    assert time.process_time() - start < 60


def leading(blocks: list[np.ndarray[Any, Any]]) -> tuple[float, np.ndarray[Any, Any]]:
    """Return the top eigenvalue and eigenvector of the mean of ``x x^T`` over the stream."""
    values, vectors = np.linalg.eigh(sum(X.T @ X for X in blocks) / (4 * BLOCK))
    return float(values[-1]), vectors[:, -1]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"method": "gram"}, 1e-12),
        ({"method": "gram", "forgetting": 1 - 1e-7}, 1e-3),
        ({"method": "nystrom", "n_oversamples": 7}, 1e-11),
        ({"method": "frequent-directions", "n_oversamples": 6}, 1e-2),
        ({"method": "block-power"}, 0.2),
        ({"method": "portfolio"}, 0.2),
        ({"method": "oja", "order": "arbitrary"}, 0.2),
    ],
    ids=str,
)
def test_eigenvectors(options: dict[str, Any], error: float) -> None:
    blocks = data()
    model = StreamingEigh(rng=0, **options)
    n_blocks = N_BLOCKS // 10 if options["method"] in ONE_BY_ONE else N_BLOCKS
    soak(lambda k: model.partial_fit(blocks[k % 4]), n_blocks)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AccuracyWarning)
        result = model.result()
    assert result.n_rows == n_blocks * BLOCK
    found = result.eigenvectors[:, 0]
    vector = leading(blocks)[1]
    assert np.linalg.norm(found - vector * (vector @ found)) < error  # the sine of the angle


def test_singular_values() -> None:
    blocks = data()
    model = IncrementalSVD(1, n_oversamples=D - 1)
    soak(lambda k: model.partial_fit(blocks[k % 4]))
    result = model.result()
    value, vector = leading(blocks)
    assert result.n_columns == ROWS
    assert result.s[0] == pytest.approx(np.sqrt(value * ROWS), rel=1e-11)
    assert abs(result.U[:, 0] @ vector) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("kind", ["auto", "gaussian"])
def test_sketched_regression(kind: str) -> None:
    blocks = data()
    coef = np.arange(1.0, D + 1)
    rng = np.random.default_rng(1)
    sides = [X @ coef + 0.1 * rng.standard_normal(BLOCK) for X in blocks]
    model = SketchedRegressor(64, kind, fit_intercept=False, rng=0)
    soak(lambda k: model.partial_fit(blocks[k % 4], sides[k % 4]))
    result = model.result()
    assert result.n_rows == ROWS
    assert np.all(np.abs(np.ravel(result.x) - coef) < 6 * np.ravel(result.stderr))
    assert np.max(result.stderr) < 0.1


def test_shares_of_a_sketch() -> None:
    blocks = data()
    S = sketch("countsketch", 64, None, rng=0)
    total = np.zeros((64, D))

    def take(k: int) -> None:
        total[...] += S.apply_rows(blocks[k % 4], k * BLOCK)

    soak(take)
    # An entry is a sum of N / 64 signed numbers; the squared norm is unbiased: E |S x|^2 = |x|^2.
    energy = sum(float(np.sum(X * X)) for X in blocks) * N_BLOCKS / 4
    assert float(np.sum(total**2)) == pytest.approx(energy, rel=0.5)


def test_least_squares_to_full_accuracy_from_a_generator() -> None:
    blocks = data()
    coef = np.arange(1.0, D + 1)
    pairs = [(X, X @ coef) for X in blocks]

    class Stream:
        """Blocks that can be read again."""

        def __iter__(self) -> Any:
            return (pairs[k % 4] for k in range(N_BLOCKS))

    tracemalloc.start()
    try:
        result = lstsq(Stream(), rng=0)
        assert tracemalloc.get_traced_memory()[1] < 8 * BLOCK * D * 8
    finally:
        tracemalloc.stop()
    np.testing.assert_allclose(result.x, coef, rtol=1e-12)


def test_snapshots_of_a_sparse_signal() -> None:
    rng = np.random.default_rng(0)
    factors = [rng.standard_normal((3, 4)), rng.standard_normal((3, 4))]
    signal = np.multiply.outer(factors[0][:, 1], factors[1][:, 2])
    model = KronSBL()

    def take(_: int) -> None:
        # Blocks that come again would not be noise: the evidence takes snapshots for independent.
        coef, noise = rng.standard_normal(BLOCK), rng.standard_normal((3, 3, BLOCK))
        model.partial_fit(factors, signal[..., None] * coef + 0.1 * noise)

    soak(take)
    result = model.result()
    assert model.n_snapshots_ == ROWS
    assert [indices.tolist() for indices in result.support] == [[1], [2]]
    # The squares of 8 ROWS numbers or more, a relative standard deviation of 1.6e-4.
    assert result.noise_var == pytest.approx(0.01, rel=1e-3)
