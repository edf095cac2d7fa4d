"""Sums over observed entries: every form against plain loops in extended precision."""

from __future__ import annotations

import tracemalloc
from typing import Any, NamedTuple

import numpy as np
import pytest

from linalgkit import _kernels
from linalgkit._core import array as core_array
from linalgkit._kernels import lines as side
from linalgkit._kernels import observed
from linalgkit._kernels.observed import Lines, entries, gather_sum, pcg_rows, residual_rows

from .test_dense import DTYPES, Draw, data, wide

NP = core_array.numpy_namespace()
FORMS = tuple(form for form in pcg_rows.forms() if form != "cupy")
NUMBA = pytest.mark.skipif("numba" not in FORMS, reason="needs Numba")
KS = (1, 2, 5, 8, 20, 33, 41, 70)
LENGTHS = (0, 1, 5, 30, 7, 8, 9, 0, 64, 130, 33, 2, 260, 0)
N_OTHER = 260
SCALE = 0.7


class Problem(NamedTuple):
    """Entries of some lines, their weights, and both factors."""

    lines: Lines
    y: np.ndarray
    w: np.ndarray | None
    F: np.ndarray
    X: np.ndarray
    shift: np.ndarray | None
    e: np.ndarray
    ridge: np.ndarray
    load: np.ndarray

    def line(self, i: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Other indices, values and weights of a line in extended precision."""
        cut = slice(self.lines.indptr[i], self.lines.indptr[i + 1])
        weights = np.ones(self.y[cut].size) if self.w is None else self.w[cut]
        indices = core_array.to_numpy(self.lines.indices)[cut]
        return indices, wide(self.y[cut]), weights.astype(np.longdouble)


def pattern(rng: Draw, lengths: Any, n: int) -> tuple[np.ndarray, np.ndarray]:
    chosen = [np.sort(rng.permutation(n)[:p]) for p in lengths]
    return np.append(0, np.cumsum(lengths)).astype(np.int64), np.concatenate(chosen)


def problem(
    rng: Draw, dtype: str, k: int, *, full: bool = True, lengths: Any = LENGTHS, n: int = N_OTHER
) -> Problem:
    """Well-conditioned: rounding errors of a step are not magnified by those after it."""
    lines = Lines(*pattern(rng, lengths, n), n, NP, "cpu")
    y, shift, F = (data(rng, dtype, *shape) for shape in ((lines.count,), (n,), (n, k)))
    real = y.real.dtype
    w = (2 * rng.random(lines.count)).astype(real) if full else None
    if w is not None:
        w[::7] = 0
    X, (e, ridge, load) = data(rng, dtype, len(lengths), k), 1 + rng.random((3, k))
    diagonals = ((0.5 + e).astype(real), (k * ridge).astype(real), (0.2 * load).astype(real))
    return Problem(lines, y, w, F, X, shift if full else None, *diagonals)


def factors(size: np.ndarray, loss: int) -> np.ndarray:
    """Factors of the weights in iteratively reweighted least squares."""
    if loss == observed.SQUARED:
        return np.ones_like(size)
    if loss == observed.L1:
        return 1 / np.maximum(size, SCALE)
    return np.minimum(1, SCALE / np.maximum(size, 1e-300))


def rho(size: np.ndarray, loss: int) -> np.ndarray:
    if loss == observed.L1:
        return size
    linear = (loss == observed.HUBER) & (size > SCALE)
    return np.where(linear, SCALE * (2 * size - SCALE), size * size)


class System(NamedTuple):
    """Normal equations of a line with their preconditioner."""

    matrix: np.ndarray
    right: np.ndarray
    inverse: np.ndarray

    def norm(self, r: np.ndarray) -> Any:
        return np.sqrt((np.abs(r) ** 2 * self.inverse).sum())


def system(given: Problem, i: int, loss: int) -> System:
    """Form the equations; Hermitian where the data are complex."""
    j, values, weights = given.line(i)
    A = wide(given.F)[j, :]
    values = values if given.shift is None else values - wide(given.shift)[j]
    weights = weights * factors(np.abs(values - A @ wide(given.X)[i, :]), loss)
    p = weights.sum()
    added = given.ridge.astype(np.longdouble) + p * given.load
    diagonal = p * given.e + added
    matrix = A.conj().T @ (weights[:, None] * A) + np.diag(added)
    right = A.conj().T @ (weights * values)
    return System(matrix, right, 1 / np.where(diagonal > 0, diagonal, 1))


def conjugate_gradients(
    equations: System, x: np.ndarray, steps: int, tol: float
) -> tuple[np.ndarray, Any, int]:
    """Solve by the textbook's recurrence."""
    size, count = equations.norm(equations.right), 0
    if not size > 0:
        return 0 * x, 0.0, 0
    r = equations.right - equations.matrix @ x
    d = equations.inverse * r
    while count < steps and equations.norm(r) > tol * size:
        image, before = equations.matrix @ d, equations.norm(r) ** 2
        alpha = before / np.vdot(d, image).real
        x, r, count = x + alpha * d, r - alpha * image, count + 1
        d = equations.inverse * r + equations.norm(r) ** 2 / before * d
    return x, equations.norm(r) / size, count


def expected_steps(given: Problem, steps: int, tol: float, loss: int) -> tuple[Any, Any, int]:
    found = [
        conjugate_gradients(system(given, i, loss), wide(x), steps, tol)
        for i, x in enumerate(given.X)
    ]
    x, rel, counts = zip(*found, strict=True)
    return np.array(x), np.array(rel), sum(counts)


def assert_near(found: np.ndarray, expected: Any, unit: float) -> None:
    size = max(1.0, float(np.abs(expected).max(initial=0)))
    np.testing.assert_allclose(found, expected.astype(found.dtype), rtol=0, atol=unit * size)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", KS)
def test_steps_are_those_of_the_textbook(rng: Draw, form: str, dtype: str, k: int) -> None:
    eps = np.finfo(dtype).eps
    for loss, full in ((0, False), (0, True), (1, True), (2, True)):
        given = problem(rng, dtype, k, full=full)
        steps, tol = (3, 0.0) if k > 8 else (3, 1e-3)  # none after those that solve the equations
        x, rel, taken = pcg_rows.forms()[form](NP, *given, steps, tol, loss, SCALE)
        x_expected, rel_expected, count = expected_steps(given, steps, tol, loss)
        assert (x.dtype, rel.dtype) == (np.dtype(dtype), given.e.dtype)
        assert_near(x, x_expected, 3000 * eps)
        assert_near(rel, rel_expected, 3000 * eps)
        assert taken == count


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", [3, 20])
def test_many_steps_solve_the_normal_equations(rng: Draw, form: str, dtype: str, k: int) -> None:
    given, tol = problem(rng, dtype, k), 30 * float(np.finfo(dtype).eps)
    x, rel, taken = pcg_rows.forms()[form](NP, *given, 100, tol, 0, 1.0)
    assert np.all(rel <= tol)
    assert 0 < taken < 100 * given.lines.n_lines
    for i in range(given.lines.n_lines):
        equations = system(given, i, 0)
        exact = np.linalg.solve(
            equations.matrix.astype("complex128"), equations.right.astype("complex128")
        )
        assert_near(x[i, :], exact if x.dtype.kind == "c" else exact.real, 100 * tol)


@pytest.mark.parametrize("form", FORMS)
def test_the_reference_separates_conjugates(rng: Draw, form: str) -> None:
    given = problem(rng, "complex128", 5)
    x, _, _ = pcg_rows.forms()[form](NP, *given._replace(F=given.F.conj()), 3, 0.0, 0, 1.0)
    assert np.abs(x - expected_steps(given, 3, 0.0, 0)[0]).max() > 0.1


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", KS)
def test_residuals_and_sums(rng: Draw, form: str, dtype: str, k: int) -> None:
    eps, kf = np.finfo(dtype).eps, k % 7 + 1
    for loss, full in ((0, False), (0, True), (1, True), (2, True)):
        given = problem(rng, dtype, k, full=full)
        lines, y, w, Q, P = given[:5]
        F = data(rng, dtype, N_OTHER, kf)
        for other in (F, Q, None):
            G, ss = residual_rows.forms()[form](NP, lines, y, w, P, Q, other, loss, SCALE)
            for i in range(lines.n_lines):
                j, values, weights = given.line(i)
                r = values - wide(Q)[j, :] @ wide(P)[i, :]
                losses = (weights * rho(np.abs(r), loss)).sum()
                assert ss.dtype == np.float64
                assert abs(ss[i] - losses) <= 30 * (k + 1) * eps * max(1, losses)
                if other is not None:
                    sums = wide(other)[j, :].conj().T @ (weights * factors(np.abs(r), loss) * r)
                    assert_near(G[i, :], sums, 30 * (k + j.size) * eps)
            assert G is None or (G.dtype, G.shape) == (y.dtype, (P.shape[0], other.shape[1]))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", [1, 8, 33])
def test_values_that_are_not_given_are_zeros(rng: Draw, form: str, dtype: str, k: int) -> None:
    for loss, full in ((0, False), (0, True), (1, True), (2, True)):
        lines, y, w, Q, P = problem(rng, dtype, k, full=full)[:5]
        for other in (data(rng, dtype, N_OTHER, 3), Q, None):
            rest = w, P, Q, other, loss, SCALE
            assert residual_rows.select(NP, lines, None, *rest) is residual_rows.forms()[FORMS[-1]]
            G, ss = residual_rows.forms()[form](NP, lines, None, *rest)
            expected, squares = residual_rows.forms()[form](NP, lines, np.zeros_like(y), *rest)
            np.testing.assert_array_equal(ss, squares)
            assert (G is None) == (other is None)
            assert G is None or np.array_equal(G, expected)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", KS)
def test_products_and_weighted_rows(rng: Draw, form: str, dtype: str, k: int) -> None:
    eps, given = np.finfo(dtype).eps, problem(rng, dtype, k)
    lines, y, _, F, X = given[:5]
    values, sums = (
        kernel.forms()[form](NP, lines, *arguments)
        for kernel, arguments in ((entries, (X, F)), (gather_sum, (y, F)))
    )
    rows = np.repeat(np.arange(lines.n_lines), lines.lengths)
    assert_near(values, (wide(X)[rows, :] * wide(F)[lines.indices, :]).sum(axis=1), 30 * k * eps)
    expected = np.array([given.line(i)[1] @ wide(F)[given.line(i)[0], :] for i in range(len(X))])
    assert_near(sums, expected, 300 * eps)
    assert (values.dtype, sums.dtype, sums.shape) == (y.dtype, y.dtype, X.shape)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", ["float64", "complex64"])
def test_lines_longer_than_any_block(
    rng: Draw, form: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observed, "_NUMBERS", 2**12)
    monkeypatch.setattr(side, "_TABLE", 2**8)
    eps, given = np.finfo(dtype).eps, problem(rng, dtype, 20, lengths=(3000, 0, 700, 4), n=3000)
    x, rel, taken = pcg_rows.forms()[form](NP, *given, 3, 0.0, 1, SCALE)
    x_expected, rel_expected, count = expected_steps(given, 3, 0.0, 1)
    assert_near(x, x_expected, 3000 * eps)
    assert_near(rel, rel_expected, 3000 * eps)
    assert taken == count == 9
    sums = gather_sum.forms()[form](NP, given.lines, given.y, given.F)
    expected = given.y[:3000] @ given.F[given.lines.indices[:3000], :]
    assert_near(sums[0, :], expected, 3000 * eps)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", ["float32", "complex128"])
def test_lines_that_have_nothing_to_solve(rng: Draw, form: str, dtype: str) -> None:
    given = problem(rng, dtype, 5, lengths=(4, 0, 3, 6))
    y, w = given.y.copy(), np.ones(13, dtype=given.e.dtype)
    y[:4], w[4:7] = 0, 0
    nothing = given._replace(y=y, w=w, shift=None, ridge=0 * given.ridge, load=0 * given.load)
    for case in (nothing, nothing._replace(e=0 * given.e)):
        x, rel, taken = pcg_rows.forms()[form](NP, *case, 4, 0.0, 0, 1.0)
        assert not x[:3, :].any()
        assert not rel[:3].any()
        assert x[3, :].all()
        assert 1 <= taken <= 4
    x, rel, taken = pcg_rows.forms()[form](NP, *given, 0, 0.0, 0, 1.0)
    assert taken == 0
    assert np.array_equal(x[given.lines.lengths > 0, :], given.X[given.lines.lengths > 0, :])
    assert np.all(rel[given.lines.lengths > 0] > 0)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [1e-300, 1e-160, 1e160, 1e300])
def test_nothing_is_nan_in_units_whose_squares_leave_the_range(
    rng: Draw, form: str, size: float
) -> None:
    given = problem(rng, "float64", 5)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for y, F in ((given.y * size, given.F), (given.y, given.F * size)):
            case = given._replace(y=y, F=F, X=0 * given.X, shift=None)
            x, rel, _ = pcg_rows.forms()[form](NP, *case, 4, 0.0, 0, 1.0)
            assert not np.isnan(x).any()
            assert not np.isnan(rel).any()


@pytest.mark.parametrize("form", FORMS)
def test_no_entries_and_no_lines(rng: Draw, form: str) -> None:
    for lengths in ((), (0, 0)):
        indices, count = np.zeros(0, dtype=np.int64), len(lengths)
        lines = Lines(np.zeros(count + 1, dtype=np.int64), indices, 4, NP, "cpu")
        y, F, X, one = np.empty(0), rng.random((4, 3)), rng.random((count, 3)), np.ones(3)
        x, rel, taken = pcg_rows.forms()[form](
            NP, lines, y, None, F, X, None, one, one, one, 3, 0.0, 0, 1.0
        )
        assert (x.shape, rel.shape, taken) == ((count, 3), (count,), 0)
        assert not x.any()
        G, ss = residual_rows.forms()[form](NP, lines, y, None, X, F, F, 0, 1.0)
        assert (G.shape, ss.shape) == ((count, 3), (count,))
        assert entries.forms()[form](NP, lines, X, F).shape == (0,)
        assert not gather_sum.forms()[form](NP, lines, y, F).any()


def run_all(given: Problem, threads: int) -> bytes:
    lines, y, w, F, X = given[:5]
    indptr, n = lines.indptr, lines.n_other
    lines = Lines(indptr, lines.indices, n, NP, "cpu", threads)
    assert (len(lines.ranges(F.shape[1])) > 1) == (threads > 1)
    x, rel, taken = pcg_rows(NP, lines, *given[1:], 5, 1e-3, 1, SCALE)
    found = (x, rel, np.asarray(taken), *residual_rows(NP, lines, y, w, X, F, F, 2, SCALE),
             entries(NP, lines, X, F), gather_sum(NP, lines, y, F))  # fmt: skip
    return b"".join(part.tobytes() for part in found)


@NUMBA
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", [3, 41])
def test_same_bits_from_any_number_of_threads(
    rng: Draw, dtype: str, k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(side, "_QUICK", 0)
    given = problem(rng, dtype, k, lengths=(*LENGTHS, *range(60), 260, 260))
    assert len({run_all(given, threads) for threads in (1, 2, 5)}) == 1


@NUMBA
def test_same_bits_wherever_the_line_is(rng: Draw) -> None:
    given = problem(rng, "float32", 20, full=False, lengths=(11, 90, 200))
    alone = Lines(np.asarray([0, 90]), given.lines.indices[11:101], N_OTHER, NP, "cpu")
    x, rel, _ = pcg_rows(NP, *given, 3, 0.0, 0, 1.0)
    piece = given._replace(lines=alone, y=given.y[11:101], X=given.X[1:2, :])
    x_alone, rel_alone, _ = pcg_rows(NP, *piece, 3, 0.0, 0, 1.0)
    assert np.array_equal(x[1:2, :], x_alone)
    assert rel[1] == rel_alone[0]


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("lengths", [(5,), (0, 0, 9, 0), (1000, 1, 1, 1), tuple(range(200))])
def test_ranges_cover_every_line_once(
    rng: Draw, threads: int, lengths: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(side, "_QUICK", 0)
    lines = Lines(*pattern(rng, lengths, 1000), 1000, NP, "cpu", threads)
    ranges = lines.ranges(1)
    covered = np.concatenate([np.arange(*cut) for cut in sorted(ranges)])
    assert np.array_equal(covered, np.arange(len(lengths)))
    heaviest = max(sum(lengths[start:stop]) + 4 * (stop - start) for start, stop in ranges)
    share = (sum(lengths) + 4 * len(lengths)) / (8 * threads)
    assert threads == 1 or heaviest <= share + max(lengths) + 4


def test_buckets_hold_every_entry_once(rng: Draw) -> None:
    lines = Lines(*pattern(rng, LENGTHS, N_OTHER), N_OTHER, NP, "cpu")
    places = np.concatenate([b.places[b.valid] for b in lines.buckets()])
    assert np.array_equal(np.sort(places), np.arange(lines.count))
    for bucket in lines.buckets():
        assert np.array_equal(bucket.valid[: bucket.lines.size].sum(1), lines.lengths[bucket.lines])
        assert np.array_equal(
            bucket.indices[bucket.valid], lines.indices[bucket.places[bucket.valid]]
        )
    assert lines.buckets() is lines.buckets()


def test_every_library(xp: Any, rng: Draw) -> None:
    kind = "complex64" if not xp.has_float64 else "complex128"
    for dtype in (kind.replace("complex64", "float32").replace("complex128", "float64"), kind):
        given = problem(rng, dtype, 3, lengths=(3, 0, 4, 9))
        host = given.lines
        lines = Lines(host.indptr, xp.asarray(host.indices), N_OTHER, xp.xp, xp.device)
        moved = tuple(xp.asarray(x) for x in given[1:])
        x, rel, taken = pcg_rows(xp.xp, lines, *moved, 3, 1e-3, 1, SCALE)
        x_expected, rel_expected, count = expected_steps(given, 3, 1e-3, 1)
        y, w, F, X = moved[:4]
        G, ss = residual_rows(xp.xp, lines, y, w, X, F, F, 1, SCALE)
        values, sums = entries(xp.xp, lines, X, F), gather_sum(xp.xp, lines, y, F)
        images, _ = residual_rows(xp.xp, lines, None, w, X, F, F, 0, 1.0)
        found = (x, rel, G, ss, values, sums, images)
        assert all(core_array.device(part) == xp.device for part in found)
        assert (x.dtype, rel.dtype, ss.dtype) == (y.dtype, xp.float, xp.float)
        host_G, host_ss = residual_rows(
            NP, host, given.y, given.w, given.X, given.F, given.F, 1, SCALE
        )
        products = entries(NP, host, given.X, given.F)
        exact = (x_expected, rel_expected, host_G, host_ss, products,
                 gather_sum(NP, host, given.y, given.F),
                 gather_sum(NP, host, -given.w * products, given.F.conj()))  # fmt: skip
        for part, expected in zip(found, exact, strict=True):
            assert_near(xp.to_numpy(part), expected, 10 * xp.tolerance)
        assert taken == count


def test_layouts_that_only_the_portable_form_takes(rng: Draw) -> None:
    given = problem(rng, "float64", 4)
    rest = (3, 0.0, 0, 1.0)
    turned = given._replace(F=np.asfortranarray(given.F))
    mixed = given._replace(e=given.e.astype(np.float32))
    swapped = given._replace(y=given.y.astype(given.y.dtype.newbyteorder()))
    exact = expected_steps(given, 3, 0.0, 0)[0]
    for odd in (turned, mixed, swapped):
        assert pcg_rows.select(NP, *odd, *rest) is pcg_rows.forms()["portable"]
        assert_near(pcg_rows(NP, *odd, *rest)[0], exact, 1e-5)
    assert pcg_rows.select(NP, *given, *rest) is pcg_rows.forms()[FORMS[-1]]


@pytest.mark.parametrize("form", FORMS)
def test_read_only_arguments_stay_as_they_are(rng: Draw, form: str) -> None:
    given = problem(rng, "complex64", 6)
    arrays = [x for x in given[1:] if x is not None]
    copies = [x.copy() for x in arrays]
    for x in arrays:
        x.flags.writeable = False
    lines, y, w, F, X = given[:5]
    pcg_rows.forms()[form](NP, *given, 3, 0.0, 2, SCALE)
    residual_rows.forms()[form](NP, lines, y, w, X, F, F, 2, SCALE)
    entries.forms()[form](NP, lines, X, F)
    gather_sum.forms()[form](NP, lines, y, F)
    assert all(np.array_equal(x, y) for x, y in zip(arrays, copies, strict=True))


@NUMBA
def test_no_more_is_stored_than_documented(rng: Draw) -> None:
    given = problem(rng, "float64", 20, full=False, lengths=(2000, *([50] * 400)), n=2000)
    lines, y, w, F, X = given[:5]
    rest = (3, 0.0, 0, 1.0)
    both = F.size + X.size + lines.n_lines  # a padded copy, sums, and a number a line
    kept = both + (2000 + 8) * 20
    assert peak_of(lambda: pcg_rows(NP, *given, *rest)) <= 8 * 1.02 * kept + 20_000
    for values in (y, None):
        peak = peak_of(lambda z=values: residual_rows(NP, lines, z, w, X, F, F, 0, 1.0))
        assert peak <= 8 * 1.02 * both + 20_000
    assert peak_of(lambda: gather_sum(NP, lines, y, F)) <= 8 * 1.02 * both + 20_000


def peak_of(run: Any) -> int:
    """Bytes that a call holds at most, once it has been compiled."""
    run()
    tracemalloc.start()
    try:
        run()
        return int(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()


@pytest.mark.gpu
@pytest.mark.skipif(not _kernels.cupy_available(), reason="needs a device")
@pytest.mark.parametrize("dtype", DTYPES)
def test_cupy_form_on_a_device(rng: Draw, dtype: str) -> None:
    import cupy

    xp, given = core_array.array_namespace(cupy.ones(1)), problem(rng, dtype, 41)
    host = given.lines
    lines = Lines(host.indptr, cupy.asarray(host.indices), N_OTHER, xp, cupy.cuda.Device())
    moved = tuple(cupy.asarray(x) for x in given[1:])
    x, rel, taken = pcg_rows.forms()["cupy"](xp, lines, *moved, 3, 0.0, 1, SCALE)
    x_expected, rel_expected, count = expected_steps(given, 3, 0.0, 1)
    assert_near(x.get(), x_expected, 3000 * np.finfo(dtype).eps)
    assert_near(rel.get(), rel_expected, 3000 * np.finfo(dtype).eps)
    assert taken == count
