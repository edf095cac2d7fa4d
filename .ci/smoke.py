"""Run one small problem of every method on an installed linalgkit and check its certificate.

Needs nothing but what the package itself requires. Run it as ``python -I .ci/smoke.py``, so that
neither this folder nor a checkout is on the path.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import scipy.sparse

import linalgkit
from linalgkit.bayes import kron_sbl
from linalgkit.chebyshev import chebtucker, sthosvd
from linalgkit.completion import complete_matrix
from linalgkit.datasets import kronecker_sparse
from linalgkit.regression import lstsq, sketched_lstsq
from linalgkit.sampling import Legendre, TensorBasis, multi_index, sample_design, weighted_lstsq
from linalgkit.sketching import leverage_scores, sketch
from linalgkit.streaming import StreamingEigh
from linalgkit.svd import IncrementalSVD

Fact = tuple[str, bool]


def streaming() -> Iterator[Fact]:
    """Find two eigenvectors of rows, dense and sparse."""
    X = np.random.default_rng(0).standard_normal((3000, 20)) * [6, 4, *18 * [1]]
    exact = np.linalg.eigvalsh(X.T @ X)[:-3:-1]
    for method in ("gram", "portfolio"):
        result = StreamingEigh(n_components=2, method=method, rng=0).fit(X).result()
        error = np.max(np.abs(result.eigenvalues / exact - 1))
        yield f"{method}: eigenvalues to {error:.0e}", error < (1e-12 if method == "gram" else 0.02)
    S = scipy.sparse.csr_array(np.where(np.abs(X) > 1, X, 0))
    result = StreamingEigh(n_components=2, method="gram").fit(S).result()
    dense = np.linalg.eigvalsh(S.toarray().T @ S.toarray())[:-3:-1]
    yield "sparse rows", bool(np.allclose(result.eigenvalues, dense, rtol=1e-12))


def regression() -> Iterator[Fact]:
    """Solve least squares to rounding, and from one pass with intervals."""
    rng = np.random.default_rng(1)
    A = rng.standard_normal((4000, 12))
    b = A @ np.ones(12) + rng.standard_normal(4000)
    full = lstsq(A, b)
    yield f"backward error {full.backward_error:.0e}", full.backward_error < 1e-14
    for kind in ("block_srht", "gaussian"):
        lower, upper = sketched_lstsq(A, b, m=400, sketch=kind, rng=0).ci(0.999, simultaneous=True)
        yield f"{kind}: intervals cover", bool(np.all((lower < full.x) & (full.x < upper)))


def sketching() -> Iterator[Fact]:
    """Check that sketches are near isometries and that leverage scores sum to the rank."""
    X = np.linalg.qr(np.random.default_rng(2).standard_normal((1000, 5)))[0]
    for kind in ("srht", "sparse_sign", "gaussian"):
        values = np.linalg.svd(sketch(kind, 400, 1000, rng=0) @ X, compute_uv=False)
        yield f"{kind}: singular values near 1", bool(np.all(np.abs(values - 1) < 0.35))
    total = float(np.sum(leverage_scores(X, method="exact")))
    yield "leverage scores sum to the rank", abs(total - 5) < 1e-10


def svd() -> Iterator[Fact]:
    """Enclose the singular values of columns that keep coming."""
    rng = np.random.default_rng(3)
    A = rng.standard_normal((80, 30)) / np.arange(1, 31) @ rng.standard_normal((30, 600))
    model = IncrementalSVD(n_components=8)
    for start in range(0, 600, 60):
        model.append_columns(A[:, start : start + 60])
    result = model.result()
    lower, upper = result.sigma_bounds()
    exact = np.linalg.svd(A, compute_uv=False)[:8]
    yield "enclosures hold", bool(np.all((lower <= exact) & (exact <= upper)))
    error = np.linalg.norm(A - result.U @ (result.U.T @ A))
    yield "the error told is the error", bool(error <= result.error_fro * (1 + 1e-9))


def sampling() -> Iterator[Fact]:
    """Check that few points make a well-conditioned design and an exact fit."""
    basis = TensorBasis(Legendre(-1, 1), multi_index(2, 3))
    design = sample_design(basis, condition=("lmin", 0.9), rng=0)
    yield f"lmin {design.lmin:.2f}", design.lmin >= 0.1
    x = design.points
    fit = weighted_lstsq(design, x[:, 0] ** 3 - x[:, 1], space=basis)
    test = np.random.default_rng(4).uniform(-1, 1, (50, 2))
    error = np.max(np.abs(fit.predict(test) - test[:, 0] ** 3 + test[:, 1]))
    yield f"a cubic to {error:.0e}", error < 1e-10


def bayes() -> Iterator[Fact]:
    """Find the support of a sparse Kronecker problem, with a small slope left."""
    problem = kronecker_sparse((20, 20, 20), (14, 14, 14), (2, 2, 2), snr_db=30.0, rng=0)
    result = kron_sbl(list(problem.factors), problem.y)
    found = [sorted(map(int, np.asarray(s))) for s in result.support]
    yield "support found", found == [sorted(map(int, s)) for s in problem.support]
    yield f"slope left {result.kkt_residual:.0e}", result.kkt_residual < 1e-2


def chebyshev() -> Iterator[Fact]:
    """Meet a function to the error that is told."""
    T = chebtucker(lambda x: np.exp(x[:, 0] * x[:, 1]) / (2 + x[:, 2]), [(-1, 1)] * 3, tol=1e-8)
    x = np.random.default_rng(5).uniform(-1, 1, (1000, 3))
    error = np.max(np.abs(T(x) - np.exp(x[:, 0] * x[:, 1]) / (2 + x[:, 2])))
    yield f"error {error:.0e}, told {T.error_estimate:.0e}", error < 1e-8 * T.scale
    X = np.random.default_rng(6).standard_normal((12, 11, 10))
    compressed = sthosvd(X, tol=1e-12)
    yield "a tensor is met", bool(np.allclose(compressed.to_array(), X, atol=1e-10))


def completion() -> Iterator[Fact]:
    """Find a matrix of rank two from half its entries."""
    rng = np.random.default_rng(7)
    A = rng.standard_normal((60, 2)) @ rng.standard_normal((2, 50))
    result = complete_matrix(np.where(rng.random(A.shape) < 0.5, A, np.nan), rank=2, rng=0)
    error = np.max(np.abs(result.block() - A))
    yield f"completed to {error:.0e}", error < 1e-9


METHODS: list[Callable[[], Iterator[Fact]]] = [
    streaming, regression, sketching, svd, sampling, bayes, chebyshev, completion,
]  # fmt: skip


def installed(name: str) -> str:
    """Return a version, or that there is none."""
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return f"no {name}"


def main() -> int:
    """Run all methods and return how many facts do not hold."""
    names = ("linalgkit", "numpy", "scipy", "numba", "array-api-compat", "array-api-extra")
    print(f"Python {sys.version.split()[0]}:", ", ".join(map(installed, names)))
    if linalgkit.__version__ != version("linalgkit"):
        sys.exit("the version of the module is not that of the distribution")
    failures = 0
    for method in METHODS:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for fact, holds in method():
                failures += not holds
                print(f"  {'ok  ' if holds else 'FAIL'} {method.__name__}: {fact}")
    return failures


if __name__ == "__main__":
    sys.exit(main())
