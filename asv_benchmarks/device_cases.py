"""What is run on a device: the main calls of the eight modules, each beside its physical limit.

A case is data made on the host, a call on arrays of any library, and the product or the pass over
the same data that the call cannot undercut. What two libraries may differ by is 100 roundoffs
times a condition number, which each case states for its own problem, or what is left where an
iteration ends.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from linalgkit import (
    bayes,
    chebyshev,
    completion,
    datasets,
    regression,
    sampling,
    sketching,
    streaming,
    svd,
)
from linalgkit._core.array import array_namespace

Host = np.ndarray[Any, Any]
_SEED = 20261126


@dataclass(frozen=True)
class Case:
    """One call.

    Attributes
    ----------
    call : str
        Module and function.
    data : callable
        ``data(rng, *size)`` makes the arrays, in double precision on the host.
    work : callable
        ``work(*arrays)`` runs the call.
    answer : callable
        Takes the arrays to compare out of what `work` returned.
    limit : callable
        ``limit(*arrays)``: what the call cannot undercut; `bound` says what that is.
    size, quick : tuple of int
        Sizes for a device, and for a trial.
    condition : float
        By which rounding errors of the data may grow in the answer.
    tol : float
        Share at which the call's iteration ends: two libraries may end it a step apart.
    indices : bool
        Whether the answer is indices, which have to be the same.
    """

    call: str
    data: Callable[..., tuple[Host, ...]]
    work: Callable[..., Any]
    answer: Callable[[Any], tuple[Any, ...]]
    limit: Callable[..., Any]
    bound: str
    size: tuple[int, ...]
    quick: tuple[int, ...]
    condition: float = 1.0
    tol: float = 0.0
    indices: bool = False
    module: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "module", self.call.partition(".")[0])

    def promised(self, dtype: str) -> float:
        """Return the largest difference between two libraries, as a share of the answer."""
        if self.indices:
            return 0.0
        return max(100 * float(np.finfo(dtype).eps) * self.condition, self.tol)

    def make(self, *, quick: bool, dtype: str) -> tuple[Host, ...]:
        """Return the data on the host in a precision; integers and masks stay what they are."""
        arrays = self.data(np.random.default_rng(_SEED), *(self.quick if quick else self.size))
        return tuple(x.astype(dtype) if x.dtype.kind == "f" else x for x in arrays)


def _gram(X: Any, *_: Any) -> Any:
    return X.T @ X


def _pass(X: Any, *_: Any) -> Any:
    """Multiply the rows by one vector: they are read once."""
    return X @ X[0, :]


def _spiked(rng: np.random.Generator, n: int, d: int) -> tuple[Host, ...]:
    return (datasets.spiked_covariance(n, d, [9.0, 4.0, 4.0, 4.0], n_components=4, rng=rng)[0],)


def _normal(rng: np.random.Generator, n: int, d: int) -> tuple[Host, ...]:
    return (rng.standard_normal((n, d)),)


def _equations(rng: np.random.Generator, n: int, d: int) -> tuple[Host, ...]:
    A = rng.standard_normal((n, d)) * np.geomspace(1.0, 10.0, d)
    return A, A @ rng.standard_normal(d) + rng.standard_normal(n)


def _decaying(rng: np.random.Generator, n: int, d: int) -> tuple[Host, ...]:
    """Make a matrix whose singular values halve, above a floor of noise."""
    k = 24
    U, V = (np.linalg.qr(rng.standard_normal((m, k)))[0] for m in (n, d))
    noise = rng.standard_normal((n, d)) * (2.0**-k / np.sqrt(n))
    return ((U * 2.0 ** -np.arange(k)) @ V.T + noise,)


def _kronecker(rng: np.random.Generator, *width: int) -> tuple[Host, ...]:
    sizes = [w // 2 for w in width]
    problem = datasets.kronecker_sparse(width, sizes, [2] * len(width), snr_db=30.0, rng=rng)
    return (np.asarray(problem.y), *(np.asarray(H) for H in problem.factors))


def _modes(y: Any, *factors: Any) -> Any:
    """Multiply the data along every mode by a square part of its factor."""
    xp = array_namespace(y)
    for H in factors:
        product = H[:, : H.shape[0]] @ xp.reshape(y, (y.shape[0], -1))
        y = xp.reshape(product.T, (*y.shape[1:], y.shape[0]))
    return y


def _smooth(rng: np.random.Generator, n: int) -> tuple[Host, ...]:
    t = np.cos(np.pi * (np.arange(n) + 0.5) / n)
    x, y, z = np.meshgrid(t, t, t, indexing="ij", sparse=True)
    return (1 / (1 + x * x + 2 * y * y + 3 * z * z),)


def _points(rng: np.random.Generator, n: int, terms: int, rank: int) -> tuple[Host, ...]:
    decay = 2.0 ** -np.arange(terms)[:, None]
    factors = (rng.standard_normal((terms, rank)) * decay for _ in range(3))
    return rng.standard_normal((rank,) * 3), *factors, rng.uniform(-1, 1, (n, 3))


_CUBE = [(-1.0, 1.0)] * 3


def _evaluated(core: Any, A: Any, B: Any, C: Any, points: Any) -> Any:
    return chebyshev.ChebTucker(core, [A, B, C], _CUBE)(points)


def _charges(rng: np.random.Generator, n: int) -> tuple[Host, ...]:
    return rng.uniform(-1, 1, (n, 3)), rng.choice([-1.0, 1.0], n)


def _potential(points: Any, charges: Any) -> Any:
    return chebyshev.long_range_potential(points, charges, _CUBE, alpha=4.0, tol=1e-4)


_RANK = 4


def _holes(rng: np.random.Generator, n: int, m: int) -> tuple[Host, ...]:
    A = rng.standard_normal((n, _RANK)) @ rng.standard_normal((_RANK, m))
    return A + 0.01 * rng.standard_normal((n, m)), rng.random((n, m)) < 0.4


def _completed(A: Any, mask: Any) -> Any:
    return completion.complete_matrix(A, _RANK, mask=mask, rng=0)


def _cube_times_eight(X: Any) -> Any:
    rows = array_namespace(X).reshape(X, (-1, X.shape[0]))
    return rows @ rows[:8, :].T


def _blocks(A: Any) -> Any:
    model = svd.IncrementalSVD(16)
    for start in range(0, A.shape[1], 256):
        model.append_columns(A[:, start : min(start + 256, A.shape[1])])
    return model.result()


def _fitted(X: Any, y: Any) -> Any:
    design = sampling.sample_design(X, 4 * X.shape[1], rng=0)
    values = array_namespace(X).take(y, design.indices, axis=0)
    return sampling.weighted_lstsq(design, values, space=X)


CASES = (
    Case(
        "streaming.top_eigenvector", _spiked, lambda X: streaming.top_eigenvector(X, rng=0),
        lambda r: (r.eigenvectors, r.eigenvalues), _pass, "one pass, X z",
        (400_000, 512), (600, 24), condition=100.0,
    ),
    Case(
        "streaming.StreamingEigh gram", _spiked,
        lambda X: streaming.StreamingEigh(4, method="gram", rng=0).fit(X).result(),
        lambda r: (r.eigenvalues,), _gram, "X^T X",
        (400_000, 512), (600, 24), condition=10.0,
    ),
    Case(
        "sketching.sketch sparse_sign", _normal,
        lambda X: sketching.sketch("sparse_sign", 4 * X.shape[1], X.shape[0], rng=0) @ X,
        lambda Y: (Y,), _pass, "one pass, X z", (1_000_000, 128), (500, 16),
    ),
    Case(
        "sketching.sketch srht", _normal,
        lambda X: sketching.sketch("srht", 4 * X.shape[1], X.shape[0], rng=0) @ X,
        lambda Y: (Y,), _pass, "one pass, X z", (1_000_000, 128), (500, 16),
    ),
    Case(
        "sketching.leverage_scores", _equations, lambda A, b: sketching.leverage_scores(A),
        lambda scores: (scores,), _gram, "A^T A", (400_000, 256), (500, 16), condition=10.0,
    ),
    Case(
        "regression.lstsq", _equations, lambda A, b: regression.lstsq(A, b, rng=0),
        lambda r: (r.x,), _gram, "A^T A", (400_000, 512), (500, 16), condition=10.0,
    ),
    Case(
        "regression.sketched_lstsq", _equations,
        lambda A, b: regression.sketched_lstsq(A, b, m=8 * A.shape[1], rng=0),
        lambda r: (r.x, r.stderr), _pass, "one pass, A z",
        (400_000, 512), (2000, 16), condition=100.0,
    ),
    Case(
        "svd.truncated_svd", _decaying, lambda A: svd.truncated_svd(A, 16, rng=0),
        lambda r: (r.s,), lambda A: A @ A[:16, :].T, "A W, 16 columns",
        (30_000, 4_000), (300, 120), condition=10.0,
    ),
    Case(
        "svd.IncrementalSVD", _decaying, _blocks, lambda r: (r.s,),
        lambda A: A.T @ A[:, :16], "U^T A, 16 columns",
        (50_000, 4_096), (300, 512), condition=10.0,
    ),
    Case(
        "sampling.ProjectionDPP", _normal,
        lambda X: sampling.ProjectionDPP(X, rng=0).sample(), lambda items: (items,), _gram,
        "X^T X", (1_000_000, 128), (400, 12), indices=True,
    ),
    Case(
        "sampling.volume_sample", _normal,
        lambda X: sampling.volume_sample(X, 2 * X.shape[1], rng=0), lambda items: (items,), _gram,
        "X^T X", (1_000_000, 128), (400, 12), indices=True,
    ),
    Case(
        "sampling.weighted_lstsq", _equations, _fitted, lambda r: (r.coef,), _gram, "X^T X",
        (400_000, 128), (400, 8), condition=100.0,
    ),
    Case(
        "bayes.kron_sbl", _kronecker, lambda y, *H: bayes.kron_sbl(list(H), y),
        lambda r: (r.coef,), _modes, "a square product a mode",
        (400, 400, 400), (16, 14, 12), condition=1e4, tol=1e-6,
    ),
    Case(
        "bayes.kron_omp", _kronecker, lambda y, *H: bayes.kron_omp(list(H), y, n_nonzero=2),
        lambda r: (r.coef,), _modes, "a square product a mode",
        (200, 200, 200), (16, 14, 12), condition=100.0,
    ),
    Case(
        "chebyshev.sthosvd", _smooth, lambda X: chebyshev.sthosvd(X, ranks=8),
        lambda r: (r.core,), _cube_times_eight, "an unfolding times 8 columns",
        (400,), (24,), condition=1e4,
    ),
    Case(
        "chebyshev.ChebTucker", _points, _evaluated, lambda values: (values,),
        lambda core, A, B, C, x: (x[:, :1] * A[:1, :]) @ core[:, :, 0], "one small product a point",
        (1_000_000, 48, 16), (200, 9, 4), condition=100.0,
    ),
    Case(
        "chebyshev.long_range_potential", _charges, _potential,
        lambda T: (T.integrate(),), lambda x, q: x.T @ q[:, None], "one pass over the particles",
        (200_000,), (60,), condition=1e3,
    ),
    Case(
        "completion.complete_matrix", _holes, _completed,
        lambda r: (r.block(slice(0, 40), slice(0, 40)),), lambda A, mask: A @ A[:_RANK, :].T,
        "A W, 4 columns", (2_000, 1_500), (120, 90), condition=1e4, tol=1e-6,
    ),
)  # fmt: skip
