"""Measure where the usual tool is as good or better, and write what was found as one table.

    python asv_benchmarks/crossovers.py                                        about a minute
    python asv_benchmarks/crossovers.py --only completion                      one module
    python asv_benchmarks/crossovers.py --output docs/guide/negative_measured.inc

Each problem is small and kind, as a user may well have it. The two calls take turns, and their
times are medians of the processor time of this process on one thread. An error is the one that
the row names; smaller is better. The table is reStructuredText: `docs/guide/negative.rst` has it.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np  # noqa: E402 (after the number of threads is set)
from benchmarks import _base  # noqa: E402

PACKAGES = ("linalgkit", "numpy", "scipy", "scikit-learn", "numba")
ROUNDS, ENOUGH = 7, 0.02
Call = Callable[[], Any]


class Row(NamedTuple):
    """One comparison: times in milliseconds, errors where the row has one."""

    module: str
    problem: str
    other: str
    ours_ms: float
    other_ms: float
    ours_error: float | None = None
    other_error: float | None = None


def race(*calls: Call, rounds: int = ROUNDS) -> list[float]:
    """Return the median milliseconds of each call; they take turns, after one warm-up each."""
    repeats = []
    for call in calls:
        call()
        once = _base.clock(call, time.process_time)
        repeats.append(max(1, int(ENOUGH / max(once, 1e-6))))

    def several(call: Call, count: int) -> Call:
        return lambda: [call() for _ in range(count)][:0]

    turns = {str(i): several(*pair) for i, pair in enumerate(zip(calls, repeats, strict=True))}
    medians = _base.interleaved(turns, rounds, timer=time.process_time)
    return [1e3 * medians[str(i)] / count for i, count in enumerate(repeats)]


def angle(v: Any, exact: Any) -> float:
    """Return the squared sine of the angle between two unit vectors."""
    return float(np.linalg.norm(v - exact * (exact @ v)) ** 2)


def rmse(x: Any, y: Any) -> float:
    """Return the root mean square of a difference."""
    return float(np.sqrt(np.mean((np.asarray(x) - y) ** 2)))


# ------------------------------------------------------------------------- streaming, svd


def streaming() -> Iterator[Row]:
    """One component of a matrix that fits in memory; the error is to that of the matrix."""
    import scipy.sparse.linalg

    from linalgkit.streaming import top_eigenvector

    rng = np.random.default_rng(0)
    X = rng.standard_normal((20_000, 300))
    X[:, 0] *= 2.0
    exact = np.linalg.eigh(X.T @ X)[1][:, -1]

    def one_pass() -> Any:
        return top_eigenvector(X, method="portfolio", rng=0).eigenvectors[:, 0]

    def svds() -> Any:
        return scipy.sparse.linalg.svds(X, 1, rng=np.random.default_rng(0))[2][0]

    def gram() -> Any:
        return np.linalg.eigh(X.T @ X)[1][:, -1]

    problem = "20 000 x 300 in memory, gap 4, one eigenvector (portfolio); squared sine"
    ours, by_svds, by_gram = race(one_pass, svds, gram)
    error = angle(one_pass(), exact)
    yield Row("streaming", problem, "scipy svds", ours, by_svds, error, angle(svds(), exact))
    yield Row("streaming", problem, "numpy eigh of XᵀX", ours, by_gram, error, angle(gram(), exact))


def decaying(m: int, n: int, exponent: float) -> Any:
    """Return a matrix with singular values ``j**-exponent``."""
    rng = np.random.default_rng(0)
    left = np.linalg.qr(rng.standard_normal((m, n)))[0]
    right = np.linalg.qr(rng.standard_normal((n, n)))[0]
    return left * np.arange(1.0, n + 1) ** -exponent @ right.T


def svd() -> Iterator[Row]:
    """Matrices in memory: the projection error over the smallest one possible, minus 1."""
    from sklearn.utils.extmath import randomized_svd

    from linalgkit.svd import tree_svd, truncated_svd

    def excess(A: Any, U: Any) -> float:
        best = np.linalg.norm(np.linalg.svd(A, compute_uv=False)[U.shape[1] :])
        return float(np.linalg.norm(A - U @ (U.T @ A)) / best - 1)

    for exponent in (2.0, 0.5):
        A = decaying(2000, 400, exponent)

        def ours(A: Any = A) -> Any:
            return truncated_svd(A, 20, rng=0).U

        def sketched(A: Any = A) -> Any:
            return randomized_svd(A, 20, random_state=0)[0]

        times = race(ours, sketched)
        problem = f"2000 x 400, rank 20, singular values 1/j^{exponent:g}; excess error"
        errors = excess(A, ours()), excess(A, sketched())
        yield Row("svd", f"truncated_svd, {problem}", "sklearn randomized_svd", *times, *errors)
    for n, rank in ((100, 50), (400, 20)):
        A = decaying(2000, n, 0.5)
        blocks = np.split(A, 4, axis=1)

        def tree(blocks: Any = blocks, rank: int = rank) -> Any:
            return tree_svd(blocks, rank).U

        def lapack(A: Any = A, rank: int = rank) -> Any:
            return np.linalg.svd(A, full_matrices=False)[0][:, :rank]

        times, errors = race(tree, lapack), (excess(A, tree()), excess(A, lapack()))
        problem = f"tree_svd, 2000 x {n} in 4 blocks, rank {rank}; excess error"
        yield Row("svd", problem, "numpy svd of the whole", *times, *errors)


# ------------------------------------------------------------------- regression, sketching


def regression() -> Iterator[Row]:
    """Least squares of growing size, a square system, and a sketch of what fits in memory."""
    import scipy.linalg

    from linalgkit.regression import lstsq, sketched_lstsq

    rng = np.random.default_rng(0)
    for n, d in ((100, 5), (1000, 10), (4000, 20), (20_000, 30), (100_000, 40)):
        A = rng.standard_normal((n, d))
        b = A @ np.ones(d) + rng.standard_normal(n)
        times = race(lambda A=A, b=b: lstsq(A, b), lambda A=A, b=b: np.linalg.lstsq(A, b))
        yield Row("regression", f"lstsq, {n} x {d}", "numpy lstsq", *times)
    times = race(lambda: sketched_lstsq(A, b, m=2000, rng=0), lambda: lstsq(A, b))
    exact = np.linalg.lstsq(A, b)[0]
    errors = [
        float(np.linalg.norm(x - exact) / np.linalg.norm(exact))
        for x in (sketched_lstsq(A, b, m=2000, rng=0).x, lstsq(A, b).x)
    ]
    problem = f"sketched_lstsq, {n} x {d}, m = 2000; relative error of x"
    yield Row("regression", problem, "our own lstsq", *times, *errors)
    A, b = rng.standard_normal((400, 400)), rng.standard_normal(400)
    times = race(lambda: lstsq(A, b), lambda: scipy.linalg.solve(A, b))
    errors = [rmse(A @ x, b) for x in (lstsq(A, b).x, scipy.linalg.solve(A, b))]
    yield Row("regression", "lstsq, square 400 x 400; residual", "scipy solve", *times, *errors)


def sketching() -> Iterator[Row]:
    """A small matrix once sketched; a stored matrix multiplied again and again."""
    from scipy.linalg import clarkson_woodruff_transform

    from linalgkit.sketching import sketch

    rng = np.random.default_rng(0)
    X = rng.standard_normal((2000, 10))

    def other() -> Any:
        return clarkson_woodruff_transform(X, 200, rng=np.random.default_rng(0))

    times = race(lambda: sketch("countsketch", 200, 2000, rng=0) @ X, other)
    problem = "countsketch made and applied once, 2000 x 10 to 200 rows"
    yield Row("sketching", problem, "scipy clarkson_woodruff", *times)
    S = sketch("gaussian", 200, 2000, rng=0)
    stored = S.toarray()
    times = race(lambda: S @ X, lambda: stored @ X)
    yield Row("sketching", "gaussian, the same, applied again", "the stored matrix", *times)


# ------------------------------------------------------------------------- sampling, bayes


def median_error(draw: Callable[[Any], float], draws: int = 100) -> float:
    """Return the median error over seeds."""
    return statistics.median(draw(np.random.default_rng(seed)) for seed in range(draws))


def sampling() -> Iterator[Row]:
    """Noisy labels, where no choice of rows helps; one variable, where Chebyshev points serve."""
    from linalgkit.sampling import (
        Legendre,
        TensorBasis,
        multi_index,
        sample_design,
        volume_sample,
        weighted_lstsq,
    )

    rng = np.random.default_rng(0)
    X, truth = rng.standard_normal((2000, 10)), np.ones(10)
    y = X @ truth + rng.standard_normal(2000)

    def error(rows: Any) -> float:
        return float(np.linalg.norm(np.linalg.lstsq(X[rows], y[rows])[0] - truth))

    def volume(seed: Any) -> Any:
        return volume_sample(X, 100, rng=seed)

    def uniform(seed: Any) -> Any:
        return seed.choice(2000, 100, replace=False)

    times = race(lambda: volume(0), lambda: uniform(np.random.default_rng(0)))
    errors = [median_error(lambda seed, f=f: error(f(seed))) for f in (volume, uniform)]
    problem = "volume_sample, 100 of 2000 Gaussian rows, noisy labels; median error of x"
    yield Row("sampling", problem, "rows at random", *times, *errors)

    basis = TensorBasis(Legendre(), multi_index(1, 20))
    x = np.linspace(-1, 1, 1001)

    def f(t: Any) -> Any:
        return np.exp(t) * np.sin(5 * t)

    def ours(seed: Any = 0) -> Any:
        design = sample_design(basis, rng=seed)
        return weighted_lstsq(design, f(design.points[:, 0]), space=basis).predict(x[:, None])

    def chebyshev() -> Any:
        return np.polynomial.Chebyshev.interpolate(f, 20)(x)

    fits = median_error(lambda seed: rmse(ours(seed), f(x)), 20), rmse(chebyshev(), f(x))
    problem = "design of 63 points, degree 20, one variable; error"
    yield Row("sampling", problem, "numpy, 21 Chebyshev points", *race(ours, chebyshev), *fits)


def bayes() -> Iterator[Row]:
    """A support without structure; and more equations than unknowns."""
    from sklearn.linear_model import ARDRegression

    from linalgkit.bayes import kron_sbl

    def case(rows: int, places: Any) -> tuple[Any, Any, Any, Any]:
        rng = np.random.default_rng(0)
        H = [rng.standard_normal((rows, 10)) for _ in range(2)]
        x = np.zeros(100)
        x[places] = 1 + rng.random(len(places))
        dense = np.kron(*H)
        y = dense @ x
        return H, x, dense, y + 0.03 * y.std() * rng.standard_normal(rows**2)

    def relative(found: Any, x: Any) -> float:
        return float(np.linalg.norm(np.ravel(found) - x) / np.linalg.norm(x))

    warnings.simplefilter("ignore")  # it says that the hyperparameters still change
    H, x, dense, y = case(8, [3, 17, 25, 48, 61, 99])

    def ours(H: Any = H, y: Any = y) -> Any:
        return kron_sbl(H, y).to_dense()

    def ard() -> Any:
        return ARDRegression(fit_intercept=False).fit(dense, y).coef_

    problem = "100 unknowns, 64 equations, 6 non-zeros in no pattern; relative error"
    errors = relative(ours(), x), relative(ard(), x)
    yield Row("bayes", problem, "sklearn ARDRegression", *race(ours, ard), *errors)

    H, x, dense, y = case(15, np.arange(100))

    def plain() -> Any:
        return np.linalg.lstsq(dense, y)[0]

    def learnt(H: Any = H, y: Any = y) -> Any:
        return kron_sbl(H, y).to_dense()

    problem = "100 unknowns, 225 equations, no zeros; relative error"
    errors = relative(learnt(), x), relative(plain(), x)
    yield Row("bayes", problem, "numpy lstsq", *race(learnt, plain), *errors)


# --------------------------------------------------------------------- chebyshev, completion


def chebyshev() -> Iterator[Row]:
    """A function of low degree on a tensor grid, one variable, and a kink."""
    from scipy.fft import dctn
    from scipy.interpolate import RegularGridInterpolator

    from linalgkit.chebyshev import chebtucker

    points = np.random.default_rng(0).uniform(-1, 1, (1000, 3))

    def f(p: Any) -> Any:
        return np.exp(p[:, 0] + 0.5 * p[:, 1] * p[:, 2])

    def grid(n: int = 16) -> Any:
        t = np.cos(np.pi * (np.arange(n) + 0.5) / n)
        nodes = np.stack(np.meshgrid(t, t, t, indexing="ij"), -1).reshape(-1, 3)
        coef = dctn(f(nodes).reshape(n, n, n), type=2) / n**3
        for axis in range(3):
            coef[(slice(None),) * axis + (0,)] /= 2
        return coef

    box = [(-1, 1)] * 3
    times = race(lambda: chebtucker(f, box, tol=1e-10, rng=0), grid)
    errors = [
        float(np.max(np.abs(values - f(points))))
        for values in (
            chebtucker(f, box, tol=1e-10, rng=0)(points),
            np.polynomial.chebyshev.chebval3d(*points.T, grid()),
        )
    ]
    problem = "exp(x + yz/2) on a cube, tolerance 1e-10; largest error"
    yield Row("chebyshev", problem, "16³ points and scipy dctn", *times, *errors)

    def kink(p: Any) -> Any:
        return np.abs(p[:, 0] + 0.3 * p[:, 1] - 0.1)

    def ours() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it says that the tolerance was missed
            return chebtucker(kink, [(-1, 1)] * 2, tol=1e-3, max_degree=257, rng=0)

    def linear() -> Any:
        t = np.linspace(-1, 1, 257)
        nodes = np.stack(np.meshgrid(t, t, indexing="ij"), -1).reshape(-1, 2)
        return RegularGridInterpolator((t, t), kink(nodes).reshape(257, 257))

    errors = [rmse(g(points[:, :2]), kink(points)) for g in (ours(), linear())]
    problem = "a kink, abs(x + 0.3 y - 0.1), degree at most 257; root mean square error"
    times = race(ours, linear, rounds=3)
    yield Row("chebyshev", problem, "scipy, linear on a grid of 257²", *times, *errors)


def completion() -> Iterator[Row]:
    """A photograph, a table that is not of low rank, and one without anything to find."""
    from scipy.interpolate import LinearNDInterpolator
    from sklearn.datasets import load_sample_image

    from linalgkit.completion import complete_matrix

    picture = load_sample_image("china.jpg")[::2, ::2].mean(axis=2) / 255
    seen = np.random.default_rng(0).random(picture.shape) < 0.3
    places = np.indices(picture.shape).reshape(2, -1).T

    def ours() -> Any:
        return complete_matrix(picture, mask=seen, bias=True, shrink=True, rng=0).block()

    def linear() -> Any:
        surface = LinearNDInterpolator(places[seen.ravel()], picture[seen], float(picture.mean()))
        return surface(places).reshape(picture.shape)

    errors = [rmse(found[~seen], picture[~seen]) for found in (ours(), linear())]
    problem = "photograph, 3 pixels in 10; error of the hidden ones"
    times = race(ours, linear, rounds=3)
    yield Row("completion", problem, "scipy, linear interpolation", *times, *errors)
    yield from tables()


def tables() -> Iterator[Row]:
    """Standardised tables with a fifth of the cells hidden: the error of these."""
    from sklearn.datasets import load_diabetes, load_wine
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer

    from linalgkit.completion import LowRankImputer

    noise = np.random.default_rng(1).standard_normal((200, 10))
    for name, X, rival in (
        ("wine, 178 x 13", load_wine().data, KNNImputer()),
        ("diabetes, 442 x 10", load_diabetes().data, IterativeImputer(random_state=0)),
        ("independent columns, 200 x 10", noise, SimpleImputer()),
    ):
        X = (X - X.mean(axis=0)) / X.std(axis=0)
        hidden = np.random.default_rng(0).random(X.shape) < 0.2
        gaps = np.where(hidden, np.nan, X)
        imputers = (LowRankImputer(rng=0), rival)
        calls = [lambda i=i, gaps=gaps: i.fit_transform(gaps) for i in imputers]
        errors = [rmse(call()[hidden], X[hidden]) for call in calls]
        problem = f"{name}, a fifth hidden; error of the hidden cells over their spread"
        yield Row("completion", problem, type(rival).__name__, *race(*calls, rounds=3), *errors)


STARTS = {
    "streaming": "from linalgkit.streaming import top_eigenvector as f; call = lambda: f(X, rng=0)",
    "regression": "from linalgkit.regression import lstsq as f; call = lambda: f(X, X[:, 0])",
    "completion": "from linalgkit.completion import complete_matrix as f; "
    "call = lambda: f(X, 2, mask=X > -1, rng=0)",
}
CHILD = """
import time; import numpy as np; X = np.random.default_rng(0).standard_normal((4000, 20))
{start}
times = []
for _ in range(2):
    begin = time.process_time(); call(); times.append(1e3 * (time.process_time() - begin))
print(*times)
"""


def startup() -> Iterator[Row]:
    """The first call of a process, which compiles kernels or reads them, beside the second."""
    for module, start in STARTS.items():
        with tempfile.TemporaryDirectory() as cache:
            for name in ("compiles", "reads its cache"):
                first, second = child(CHILD.format(start=start), cache)
                problem = f"{module}, 4000 x 20: the first call of a process, which {name}"
                yield Row("start-up", problem, "the second call", first, second)
    code = "import time; b = time.process_time(); import {}; print(1e3 * (time.process_time() - b))"
    names = ("linalgkit.streaming", "scipy.linalg")
    times = [
        statistics.median(child(code.format(name), None)[0] for _ in range(3)) for name in names
    ]
    yield Row("start-up", f"import {names[0]}", f"import {names[1]}", *times)


def child(code: str, cache: str | None) -> list[float]:
    """Run a program in a fresh process and return the numbers that it prints."""
    environment = dict(os.environ) if cache is None else {**os.environ, "NUMBA_CACHE_DIR": cache}
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return [float(word) for word in done.stdout.split()]


CASES = (streaming, sketching, regression, svd, sampling, bayes, chebyshev, completion, startup)
COLUMNS = ("problem", "beside", "ms: ours, other", "ratio", "error: ours, other")


def cells(row: Row) -> list[str]:
    """Write the cells of one line."""
    ratio = row.ours_ms / row.other_ms
    times = [f"{t:.0f}" if t >= 100 else f"{t:.3g}" for t in (row.ours_ms, row.other_ms)]
    errors = ["·" if e is None else f"{e:.2g}" for e in (row.ours_error, row.other_error)]
    shown = f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.2g}"
    both = "·" if row.ours_error is None else ", ".join(errors)
    return [f"**{row.module}**: {row.problem}", row.other, ", ".join(times), shown, both]


def table(rows: list[Row]) -> Iterator[str]:
    """Write a reStructuredText table."""
    yield from (".. list-table::", "   :header-rows: 1", "   :widths: 40 20 16 8 16", "")
    for line in (list(COLUMNS), *map(cells, rows)):
        yield f"   * - {line[0]}"
        yield from (f"     - {cell}" for cell in line[1:])


def heading() -> str:
    """Say when and with what the figures were measured."""
    software = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"Measured on {datetime.date.today()} with Python {platform.python_version()}, {software}, "
        f"on one thread, in processor time.\n"
    )


def main(arguments: list[str] | None = None) -> int:
    """Measure, print each line as it is known, and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", metavar="MODULE", help="one module")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the table there")
    options = parser.parse_args(arguments)
    rows = []
    for case in CASES:
        if options.only in case.__name__:
            for row in case():
                print(*cells(row), sep=" | ", flush=True)
                rows.append(row)
    if options.output:
        text = "\n".join([heading(), *table(rows)])
        options.output.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
