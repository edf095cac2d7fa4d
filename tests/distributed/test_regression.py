"""Least squares in parts: the certificate of the serial solver, and one sketch for all workers."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from scipy import sparse

from linalgkit import AccuracyWarning, regression
from linalgkit.distributed import fit, lstsq, sketched_lstsq
from linalgkit.distributed._equations import on_cluster
from linalgkit.regression import SketchedRegressor, backward_error
from linalgkit.sketching import sketch
from tests.conftest import BACKENDS, Backend
from tests.regression.problems import conditioned, entries

N, D = 600, 7
CUTS = (0, 250, 250, 330, 331, 600)  # one part has no row, one has fewer rows than columns
ROUNDOFF = 2.0**-53


def problem(*, is_complex: bool = False, k: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    A, b, _ = conditioned(rng, N, D, 1e4, 0.5, is_complex=is_complex)
    return A, b if k == 0 else entries(rng, N, k, is_complex=is_complex)


def blocks(A: Any) -> list[Any]:
    """Return delayed blocks of rows, or of anything that lies beside them."""
    return [dask.delayed(A[i:j]) for i, j in itertools.pairwise(CUTS)]


def stored(A: np.ndarray, folder: Path, name: str) -> Path:
    np.save(folder / name, A)
    return folder / f"{name}.npy"


SOURCES: dict[str, Callable[[np.ndarray, Path], Any]] = {
    "dask": lambda A, _: da.from_array(A, chunks=(170, 3)),
    "delayed": lambda A, _: blocks(A),
    "file": lambda A, folder: stored(A, folder, "A"),
    "list": lambda A, folder: [A[:100], stored(A[100:], folder, "rest")],
    "sparse": lambda A, _: blocks(sparse.csr_array(A)),
}
BESIDE: dict[str, Callable[[np.ndarray, Path], Any]] = {
    "array": lambda b, _: b,
    "dask": lambda b, _: da.from_array(b, chunks=(71, *b.shape[1:])),
    "file": lambda b, folder: stored(b, folder, "b"),
    "memmap": lambda b, folder: np.load(stored(b, folder, "b"), mmap_mode="r"),
    "list": lambda b, _: b.tolist(),
    "list of NumPy's numbers": lambda b, _: list(b),
    "list of one file": lambda b, folder: [stored(b, folder, "b")],
    "list of files": lambda b, folder: [
        stored(b[i:j], folder, f"b{i}-{j}") for i, j in ((0, 90), (90, 400), (400, 400), (400, N))
    ],
    "list of memmaps": lambda b, folder: [
        np.load(stored(b[i:j], folder, f"b{i}"), mmap_mode="r") for i, j in ((0, 90), (90, N))
    ],
}


def test_right_sides_may_be_tasks() -> None:
    A, b = problem()
    expected = lstsq(blocks(A), b, rng=0)
    unknown = da.from_array(b, chunks=(tuple(np.diff(CUTS)),))
    unknown._chunks = ((np.nan,) * 5,)
    for beside in (blocks(b), [b[i:j] for i, j in itertools.pairwise(CUTS)], unknown):
        assert np.array_equal(lstsq(blocks(A), beside, rng=0).x, expected.x)
    whole = lstsq(dask.delayed(A), dask.delayed(b), rng=0)
    assert_as_accurate_as_the_serial_one(whole, expected)


def test_weights_and_parts_may_be_lists_of_numbers() -> None:
    A, b = problem()
    w = np.random.default_rng(2).random(N)
    lazy = [dask.delayed(A[i:j].tolist()) for i, j in ((0, 250), (250, N))]
    found = lstsq(lazy, list(b), weights=list(w), rng=0)
    expected = lstsq([A[:250], A[250:]], b, weights=w, rng=0)
    assert np.array_equal(found.x, expected.x)


@pytest.mark.parametrize("bad", [1.0, None])
def test_parts_that_are_no_arrays_are_refused_by_name(bad: Any) -> None:
    wrong, A = dask.delayed(lambda: bad)(), np.ones((4, 2))
    with pytest.raises(TypeError, match=r"A in part 1 must be an array.* got"):
        lstsq([A, wrong], [np.ones(4), np.ones(4)])
    with pytest.raises(TypeError, match=r"must be an array.* got"):
        lstsq([A, wrong], np.ones(8))  # whose cuts are not known
    with pytest.raises(TypeError, match=r"b must be an array.* got"):
        lstsq([A, A], [np.ones(4), wrong])


def assert_as_accurate_as_the_serial_one(found: Any, expected: Any) -> None:
    assert (found.status, found.rank) == (expected.status, expected.rank)
    assert np.max(found.backward_error) <= 20 * ROUNDOFF
    error = np.linalg.norm(found.x - expected.x) / np.linalg.norm(expected.x)
    assert error <= 100 * ROUNDOFF * max(expected.condition, 1.0) ** 2
    np.testing.assert_allclose(found.residual_norm, expected.residual_norm, rtol=1e-12)


@pytest.mark.parametrize("beside", BESIDE)
@pytest.mark.parametrize("source", SOURCES)
def test_every_source_and_right_side_gives_the_serial_answer(
    source: str, beside: str, tmp_path: Path
) -> None:
    A, b = problem()
    found = lstsq(SOURCES[source](A, tmp_path), BESIDE[beside](b, tmp_path), rng=0)
    assert_as_accurate_as_the_serial_one(found, regression.lstsq(A, b, rng=0))


@pytest.mark.parametrize("driver", ["cholesky", "sketch_cholqr", "spir", "lsmr"])
@pytest.mark.parametrize(
    "options",
    [{}, {"alpha": 0.1}, {"weights": True}, {"k": 3}, {"is_complex": True}],
    ids=lambda options: "-".join(options) or "plain",
)
def test_every_driver_is_backward_stable(driver: str, options: dict[str, Any]) -> None:
    A, b = problem(k=options.get("k", 0), is_complex="is_complex" in options)
    given: dict[str, Any] = {"alpha": options.get("alpha", 0.0), "driver": driver, "rng": 0}
    if "weights" in options:
        given["weights"] = np.random.default_rng(2).random(N)
    found = lstsq(da.from_array(A, chunks=(130, D)), b, fanin=2, **given)
    assert_as_accurate_as_the_serial_one(found, regression.lstsq(A, b, **given))
    if "weights" not in options:
        check = backward_error(A, b, found.x, alpha=given["alpha"])
        assert np.max(check) <= 20 * ROUNDOFF


@pytest.mark.parametrize("cond", [1e2, 1e9, 1e13])
def test_ill_conditioned_parts_are_solved_to_a_backward_error_of_roundoffs(cond: float) -> None:
    A, b, _ = conditioned(np.random.default_rng(3), N, D, cond, 0.1)
    found = lstsq(blocks(A), b, rng=0)
    assert found.status == "converged"
    assert found.backward_error <= 20 * ROUNDOFF
    assert backward_error(A, b, found.x, method="exact") <= 20 * ROUNDOFF


def test_deficient_rank_gives_the_shortest_solution_and_a_warning() -> None:
    A, b = problem()
    A[:, 4] = A[:, 1] - A[:, 2]
    with pytest.warns(AccuracyWarning, match=rf"A of shape \({N}, {D}\) has numerical rank 6"):
        found = lstsq(blocks(A), b, rng=0)
    assert (found.status, found.rank) == ("rank_deficient", 6)
    np.testing.assert_allclose(found.x, np.linalg.pinv(A, rcond=1e-10) @ b, rtol=1e-6)


def test_an_explicit_rcond_truncates_as_numpy_does() -> None:
    A, b = problem()
    found = lstsq(blocks(A), b, rcond=1e-2, rng=0)
    expected = np.linalg.lstsq(A, b, rcond=1e-2)
    assert found.rank == expected[2] < D
    np.testing.assert_allclose(found.x, expected[0], rtol=1e-9)


@pytest.mark.parametrize("alpha", [0.0, 0.5])
@pytest.mark.parametrize("is_sparse", [False, True])
def test_fewer_rows_than_columns_are_put_together(alpha: float, is_sparse: bool) -> None:
    rng = np.random.default_rng(4)
    A, b, w = entries(rng, 6, 15), entries(rng, 6), rng.random(6)
    parts = [A[:2], A[2:5], A[5:]]
    given = {"alpha": alpha, "weights": w, "rng": 0}
    found = lstsq([sparse.csr_array(x) if is_sparse else x for x in parts], b, **given)
    expected = regression.lstsq(A, b, **given)
    np.testing.assert_allclose(found.x, expected.x, rtol=1e-12)
    assert found.backward_error <= 20 * ROUNDOFF


@pytest.mark.parametrize("scale", [1e-150, 1e150])
def test_extreme_units_come_back_scaled(scale: float) -> None:
    A, b = problem()
    units = np.asarray([1.0, scale, 1.0, 1.0, scale, 1.0, 1.0])
    found = lstsq(blocks(A * units), b * scale, rng=0)
    expected = regression.lstsq(A, b, rng=0)
    assert found.status == "converged"
    np.testing.assert_allclose(found.x * units / scale, expected.x, rtol=1e-8)


def test_single_precision_is_solved_in_double() -> None:
    A, b = (x.astype("float32") for x in problem())
    found = lstsq(blocks(A), b, rng=0)
    assert found.x.dtype == np.float32
    exact = np.linalg.lstsq(A.astype(float), b.astype(float))[0]
    np.testing.assert_allclose(found.x, exact, rtol=1e-6)


def test_same_bits_whatever_the_scheduler_and_whether_parts_persist() -> None:
    A, b = problem()
    first = lstsq(blocks(A), b, rng=0)
    with dask.config.set(scheduler="synchronous"):
        second = lstsq(blocks(A), b, rng=0, persist=True)
    assert np.array_equal(first.x, second.x)
    assert first.backward_error == second.backward_error


# JAX compiles each shape: one driver shows that its arrays travel.
WHERE = [
    pytest.param(driver, b, marks=[pytest.mark.slow] if b.name == "jax" else [])
    for driver in ("cholesky", "sketch_cholqr", "spir")
    for b in BACKENDS
    if driver == "cholesky" or b.name != "jax"
]


@pytest.mark.parametrize(("driver", "backend"), WHERE, ids=str)
def test_every_library_gives_the_same_answer(driver: str, backend: Backend) -> None:
    A, b = problem()
    parts = [dask.delayed(backend.asarray(A[i:j])) for i, j in ((0, 200), (200, 400), (400, N))]
    found = lstsq(parts, backend.asarray(b), driver=driver, rng=0)
    assert type(found.x) is type(backend.asarray(b))
    tolerance = 100 * backend.tolerance * 1e4
    np.testing.assert_allclose(
        backend.to_numpy(found.x), np.linalg.lstsq(A, b)[0], rtol=tolerance, atol=tolerance
    )


NEGATIVE = np.where(np.arange(N) == 330, -1, 1)
NAN = np.where(np.arange(N)[:, None] == 400, np.nan, problem()[0])
BAD: dict[str, tuple[type[Exception], str, Callable[[], Any]]] = {
    "b too short": (
        ValueError,
        r"b must have one entry, or row, for each of the 600 rows .* got shape \(599,\)",
        lambda: lstsq(blocks(problem()[0]), np.ones(N - 1)),
    ),
    "parts of b": (
        ValueError,
        "b must come in the 5 parts of the source, got 2",
        lambda: lstsq(blocks(problem()[0]), [np.ones(300), np.ones(300)]),
    ),
    "lengths of b": (
        ValueError,
        "b must have 200 rows as A has in part 0, got shape",
        lambda: lstsq([dask.delayed(np.ones((200, 2)))], [np.ones(199)]),
    ),
    "known lengths of b": (
        ValueError,
        "b must have the rows of the source in each part, got 99 for 100 in part 1",
        lambda: lstsq([np.ones((100, 2)), np.ones((100, 2))], [np.ones(100), np.ones(99)]),
    ),
    "files of b": (
        FileNotFoundError,
        "b names 'none.npy', which does not exist",
        lambda: lstsq(np.ones((4, 1)), ["none.npy"]),
    ),
    "no b": (TypeError, "b must be given", lambda: lstsq(blocks(problem()[0]), None)),
    "iterator": (
        TypeError,
        "read only once",
        lambda: lstsq(iter(blocks(problem()[0])), np.ones(N)),
    ),
    "NaN": (
        ValueError,
        "A must not contain NaN or infinity.*block 4",
        lambda: lstsq(blocks(NAN), np.ones(N)),
    ),
    "columns": (
        ValueError,
        "A must have 3 columns as in the first block, got 2 in block 1",
        lambda: lstsq([np.ones((4, 3)), np.ones((4, 2))], np.ones(8)),
    ),
    "kinds": (
        TypeError,
        "block 1",
        lambda: lstsq([np.ones((4, 3)), sparse.csr_array(np.ones((4, 3)))], np.ones(8)),
    ),
    "complex": (
        TypeError,
        "A must be real as the first block is",
        lambda: lstsq([np.ones((4, 3)), 1j * np.ones((4, 3))], np.ones(8)),
    ),
    "negative weights": (
        ValueError,
        r"weights must not be negative.*\(part 3\)",
        lambda: lstsq(
            blocks(problem()[0]), np.ones(N), weights=np.where(np.arange(N) == 330, -1, 1)
        ),
    ),
    "driver": (
        ValueError,
        "driver must be",
        lambda: lstsq(np.ones((4, 1)), np.ones(4), driver="qr"),
    ),
    "fanin": (ValueError, "fanin must be", lambda: lstsq(np.ones((4, 1)), np.ones(4), fanin=1)),
    "no rows": (ValueError, "at least one row", lambda: lstsq(np.ones((0, 1)), np.ones(0))),
    "rows of the sketch": (
        ValueError,
        "m must be",
        lambda: sketched_lstsq(blocks(problem()[0]), np.ones(N), m=3),
    ),
    "y": (ValueError, "y", lambda: fit(SketchedRegressor(rng=0), blocks(problem()[0]))),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_with_its_place(case: str) -> None:
    error, message, call = BAD[case]
    with pytest.raises(error, match=message):
        call()


# ---------------------------------------------------------------------------------- sketched


def assert_same_sketch(found: Any, expected: Any) -> None:
    """Compare relative to the largest entry: sums differ by their rounding."""
    for mine, its in zip((found.x, *found.ci(0.9)), (expected.x, *expected.ci(0.9)), strict=True):
        np.testing.assert_allclose(mine, its, rtol=0, atol=1e-12 * np.max(np.abs(its)))
    np.testing.assert_allclose(found.residual_norm, expected.residual_norm, rtol=1e-12)
    assert (found.status, found.rank, found.m) == (expected.status, expected.rank, expected.m)


@pytest.mark.parametrize(
    "kind", ["gaussian", "rademacher", "block_srht", "countsketch", "sparse_sign", "srht", "srdct"]
)
def test_parts_meet_their_own_columns_of_the_serial_sketch(kind: str) -> None:
    rng = np.random.default_rng(5)
    A, b, w = entries(rng, 3000, D), entries(rng, 3000, 2), rng.random(3000)
    given = {"m": 60, "sketch": kind, "weights": w, "alpha": 0.5, "rng": 7}
    found = sketched_lstsq(da.from_array(A, chunks=(700, D)), b, fanin=3, **given)
    assert_same_sketch(found, regression.sketched_lstsq(A, b, **given))


def test_automatic_sketches_are_those_of_blocks_in_one_process() -> None:
    rng = np.random.default_rng(6)
    A, b = entries(rng, 3000, D), entries(rng, 3000)
    for whole in (A, sparse.csr_array(np.where(abs(A) > 1, A, 0))):
        parts = [(whole[i : i + 500], b[i : i + 500]) for i in range(0, 3000, 500)]
        found = sketched_lstsq([dask.delayed(block) for block, _ in parts], b, rng=3)
        assert_same_sketch(found, regression.sketched_lstsq(parts, rng=3))


def test_a_given_sketch_is_used() -> None:
    A, b = problem()
    S = sketch("gaussian", 50, N, rng=2)
    found = sketched_lstsq(blocks(A), b, sketch=S)
    assert_same_sketch(found, regression.sketched_lstsq(A, b, sketch=S))


def test_sizes_beyond_the_data_and_lost_rank_are_told() -> None:
    A, b = problem()
    with pytest.warns(AccuracyWarning, match="no smaller than the 600 equations"):
        exact = sketched_lstsq(blocks(A), b, m=700, rng=0)
    np.testing.assert_allclose(exact.x, np.linalg.lstsq(A, b)[0], rtol=1e-8)
    A[:, 0] = A[:, 1]
    with pytest.warns(AccuracyWarning, match="has numerical rank 6"):
        found = sketched_lstsq(blocks(A), b, m=100, rng=0)
    assert found.rank == 6


@pytest.mark.parametrize("name", ["torch", "strict-device1"])
def test_sketches_of_other_libraries_are_the_same(name: str) -> None:
    backend = next((b for b in BACKENDS if b.name == name), None)
    if backend is None:
        pytest.skip(f"{name} is not installed")
    A, b = problem()
    found = sketched_lstsq(
        [backend.asarray(A[:300]), backend.asarray(A[300:])], backend.asarray(b), m=90, rng=4
    )
    expected = sketched_lstsq([A[:300], A[300:]], b, m=90, rng=4)
    x = backend.to_numpy(found.x)
    np.testing.assert_allclose(x, expected.x, atol=1e-9 * np.max(np.abs(x)))


def test_fit_merges_regressors_over_the_right_rows() -> None:
    rng = np.random.default_rng(8)
    X, y, w = entries(rng, 5000, D), entries(rng, 5000), rng.random(5000)
    model = SketchedRegressor(m=100, rng=11)
    found = fit(model, da.from_array(X, chunks=(900, D)), y, sample_weight=w)
    expected = SketchedRegressor(m=100, rng=11).fit(X, y, w)
    assert not hasattr(model, "n_features_in_")
    assert found.n_samples_seen_ == 5000
    assert_same_sketch(found.result(), expected.result())
    task = fit(model, blocks(X[:N]), blocks(y[:N]), compute=False)
    first, again = task.compute(), task.compute()  # a task that is repeated gives the same
    np.testing.assert_array_equal(first.coef_, again.coef_)


def test_fit_without_a_seed_draws_one_for_all_parts() -> None:
    X, y = problem()
    generator = np.random.default_rng(0)
    found = fit(SketchedRegressor(m=30, rng=generator), blocks(X), y)
    assert isinstance(found.rng, int)
    expected = SketchedRegressor(m=30, rng=found.rng).fit(X, y)
    assert_same_sketch(found.result(), expected.result())


# ----------------------------------------------------------------------------------- cluster


def _killing(A: np.ndarray, flag: str) -> np.ndarray:
    """Return a block, but kill the worker that asks for it first."""
    if not os.path.exists(flag):
        Path(flag).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return A


@pytest.mark.slow
def test_a_cluster_gives_the_bits_of_threads_even_if_a_worker_dies(
    cluster: Any, tmp_path: Path
) -> None:
    assert on_cluster()
    A, b = problem()
    lost = dask.delayed(_killing)(A[400:], str(tmp_path / "killed"))
    parts = [dask.delayed(A[:200]), dask.delayed(A[200:400]), lost]
    for driver in ("cholesky", "sketch_cholqr", "spir", "lsmr"):
        found = lstsq(parts, b, driver=driver, rng=0)
        with dask.config.set(scheduler="threads"):
            expected = lstsq(parts, b, driver=driver, rng=0)
        assert np.array_equal(found.x, expected.x)
        assert found.backward_error == expected.backward_error
    assert (tmp_path / "killed").exists()
    sketched = sketched_lstsq(parts, b, m=90, rng=0)
    model = fit(SketchedRegressor(m=90, rng=0), parts, b)
    with dask.config.set(scheduler="threads"):
        assert np.array_equal(sketched.x, sketched_lstsq(parts, b, m=90, rng=0).x)
        assert np.array_equal(model.coef_, fit(SketchedRegressor(m=90, rng=0), parts, b).coef_)
