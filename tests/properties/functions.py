"""The functions of one call that the property suite runs on: a new one joins with one entry."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from linalgkit import (
    AccuracyWarning,
    bayes,
    chebyshev,
    completion,
    regression,
    sampling,
    sketching,
    streaming,
    svd,
)
from linalgkit._core.array import array_namespace, device

Arrays = tuple[np.ndarray[Any, Any], ...]


@dataclass(frozen=True)
class Function:
    """One function as the suite sees it.

    Attributes
    ----------
    entry : str
        Its name in the registry.
    data : callable
        ``data(rng, is_complex)`` returns NumPy arrays, float64 or complex128 but for indices.
    call : callable
        ``call(*arrays)`` returns the result.
    answers : callable
        ``answers(result)`` returns a dictionary of arrays and numbers.
    units : sequence of int, or None
        How each array is scaled where all data change their unit; None where a unit means nothing
        (angles, indices, points of a fixed domain).
    degrees : dict
        How each answer scales then; an answer that is absent does not change.
    is_complex : bool
        Whether complex data are taken.
    is_random : bool
        Whether the answer for conjugate data is another one because the draws are the same.
    marks_missing : bool
        Whether NaN means "not observed".
    wide : tuple of str
        Answers that are documented to be in the widest float of the device.
    tolerance : float
        For answers on different libraries, in units of the largest entry.
    on_jax : bool
        Whether it is run on JAX as well, which compiles every operation for every shape.
    """

    entry: str
    data: Callable[[np.random.Generator, bool], Arrays]
    call: Callable[..., Any]
    answers: Callable[[Any], dict[str, Any]]
    units: Sequence[int] | None = None
    degrees: dict[str, int] = field(default_factory=dict)
    is_complex: bool = True
    is_random: bool = False
    marks_missing: bool = False
    tolerance: float = 1e-10
    on_jax: bool = False
    wide: tuple[str, ...] = ()
    variant: str = ""

    def __str__(self) -> str:
        return f"{self.entry}-{self.variant}" if self.variant else self.entry

    def run(self, *arrays: Any) -> Any:
        """Return the result; that a small problem is poorly determined is not the matter here."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AccuracyWarning)
            return self.call(*arrays)

    def found(self, *arrays: Any) -> dict[str, Any]:
        """Return the answers."""
        return self.answers(self.run(*arrays))


def _pick(*names: str) -> Callable[[Any], dict[str, Any]]:
    return lambda result: {name: getattr(result, name) for name in names}


def _itself(result: Any) -> dict[str, Any]:
    return {"answer": result}


def normal(rng: np.random.Generator, is_complex: bool, *shape: int) -> np.ndarray[Any, Any]:
    """Return normal numbers, complex ones in general position."""
    X = rng.standard_normal(shape)
    return X + 1j * rng.standard_normal(shape) if is_complex else X


def low_rank(rng: np.random.Generator, is_complex: bool, m: int, n: int) -> np.ndarray[Any, Any]:
    """Return a matrix with singular values well apart."""
    k = min(m, n)
    U = np.linalg.qr(normal(rng, is_complex, m, k))[0]
    V = np.linalg.qr(normal(rng, is_complex, n, k))[0]
    return (U * 0.5 ** np.arange(k)) @ V.conj().T


def _one(m: int, n: int) -> Callable[[np.random.Generator, bool], Arrays]:
    return lambda rng, is_complex: (low_rank(rng, is_complex, m, n),)


# ------------------------------------------------------------------------- streaming and svd

FACTORISED = {"s": 1, "norm_fro": 1, "error_fro": 1, "error_spectral_bound": 1}


def _two_blocks(rng: np.random.Generator, is_complex: bool) -> Arrays:
    A = low_rank(rng, is_complex, 40, 12)
    return A[:, :5], A[:, 5:]


def _alike(rng: np.random.Generator, is_complex: bool) -> Arrays:
    bases = normal(rng, is_complex, 2, 20, 2)
    return tuple(bases[k % 2] @ normal(rng, is_complex, 2, 4) for k in range(4))


SVD = [
    Function(
        "streaming.top_eigenvector",
        _one(60, 6),
        lambda X: streaming.top_eigenvector(X, rng=0),
        _pick("eigenvalues", "eigenvectors", "frobenius_norm"),
        units=[1],
        degrees={"eigenvalues": 2, "frobenius_norm": 1},
        on_jax=True,
    ),
    Function(
        "svd.truncated_svd",
        _one(40, 12),
        lambda A: svd.truncated_svd(A, 3, rng=0),
        _pick("U", "s", "norm_fro", "error_fro"),
        units=[1],
        degrees=FACTORISED,
    ),
    Function(
        "svd.tree_svd",
        _two_blocks,
        lambda *blocks: svd.tree_svd(blocks, 3),
        _pick("U", "s", "norm_fro"),
        units=[1, 1],
        degrees=FACTORISED,
    ),
    Function(
        "svd.weighted_svd",
        lambda rng, is_complex: (low_rank(rng, is_complex, 12, 9), rng.uniform(0.5, 2.0, 12)),
        lambda W, w: svd.weighted_svd(W, 2, row_weight=w),
        lambda result: {"L R": result.L @ result.R, "s": result.s, "error": result.error},
        units=[1, 0],
        degrees={"L R": 1, "s": 1, "error": 1},
    ),
    Function(
        "svd.concatenated_svd_bounds",
        _two_blocks,
        lambda *blocks: svd.concatenated_svd_bounds(blocks, 3),
        _pick("lower", "upper"),
        units=[1, 1],
    ),
    Function(
        "svd.cluster_matrices",
        _alike,
        lambda *blocks: svd.cluster_matrices(blocks, 2, 0.01),
        _pick("labels", "compression_ratio"),
        units=[1] * 4,
    ),
]

# -------------------------------------------------------------------------------- regression


def equations(rng: np.random.Generator, is_complex: bool) -> Arrays:
    """Return features and targets."""
    A, noise = normal(rng, is_complex, 120, 4), normal(rng, is_complex, 120)
    return A, A @ np.asarray([1.0, -2.0, 3.0, 0.5]) * (1 - 2j if is_complex else 1) + noise


def _unit_matrix(n: int, P: Any) -> Any:
    xp = getattr(P, "xp", np)
    place = {} if xp is np else {"device": P.device}
    return xp.eye(n, dtype=P.dtype, **place)


def _kron_equations(rng: np.random.Generator, is_complex: bool) -> Arrays:
    return (
        normal(rng, is_complex, 9, 2),
        normal(rng, is_complex, 8, 3),
        normal(rng, is_complex, 9, 8),
    )


REGRESSION = [
    Function(
        "regression.lstsq",
        equations,
        lambda A, b: regression.lstsq(A, b, rng=0),
        _pick("x", "residual_norm", "rank", "condition"),
        units=[1, 1],
        degrees={"residual_norm": 1},
        on_jax=True,
    ),
    Function(
        "regression.sketched_lstsq",
        equations,
        lambda A, b: regression.sketched_lstsq(A, b, m=40, rng=0),
        _pick("x", "stderr", "residual_norm", "b_norm", "condition"),
        units=[1, 1],
        degrees={"residual_norm": 1, "b_norm": 1},
        is_random=True,
    ),
    Function(
        "regression.kron_lstsq",
        _kron_equations,
        lambda A1, A2, B: regression.kron_lstsq([A1, A2], B),
        _pick("x", "residual_norm", "rank", "condition"),
        units=[1, 0, 1],
        degrees={"residual_norm": 1},
    ),
    Function(
        "regression.backward_error",
        lambda rng, is_complex: (*equations(rng, is_complex), normal(rng, is_complex, 4)),
        regression.backward_error,
        _itself,
        units=[1, 1, 0],
    ),
    Function(
        "regression.sketch_preconditioner",
        lambda rng, is_complex: (normal(rng, is_complex, 120, 4),),
        lambda A: regression.sketch_preconditioner(A, rng=0),
        lambda P: {"P": P.matmat(_unit_matrix(4, P))},
        units=[1],
        degrees={"P": -1},
        is_random=True,
    ),
]

# --------------------------------------------------------------------------------- sketching

SKETCHING = [
    Function(
        "sketching.leverage_scores",
        lambda rng, is_complex: (normal(rng, is_complex, 40, 5),),
        lambda A: sketching.leverage_scores(A, rng=0),
        _itself,
        units=[1],
    ),
    *(
        Function(
            "sketching.sketch",
            lambda rng, is_complex: (normal(rng, is_complex, 64, 3),),
            lambda X, kind=kind: sketching.sketch(kind, 8, 64, rng=3) @ X,
            _itself,
            units=[1],
            degrees={"answer": 1},
            variant=kind,
        )
        for kind in ("gaussian", "srht", "sparse_sign")
    ),
    Function(
        "sketching.tensor_sketch",
        lambda rng, is_complex: (normal(rng, is_complex, 32, 3),),
        lambda X: sketching.tensor_sketch("tensor_srht", 8, (4, 8), rng=3) @ X,
        _itself,
        units=[1],
        degrees={"answer": 1},
    ),
]

# ------------------------------------------------------------------------------------- bayes


def _kronecker_sparse(rng: np.random.Generator, is_complex: bool) -> Arrays:
    H1, H2 = normal(rng, is_complex, 7, 10), normal(rng, is_complex, 8, 9)
    X = np.zeros((10, 9), dtype=H1.dtype)
    X[np.ix_([2, 6], [1, 5])] = normal(rng, is_complex, 2, 2) + 3.0
    return H1, H2, H1 @ X @ H2.T + 0.05 * normal(rng, is_complex, 7, 8)


def _supported(result: Any) -> dict[str, Any]:
    support = {f"support {i}": indices for i, indices in enumerate(result.support)}
    return {**support, "coef": result.coef}


BAYES = [
    Function(
        "bayes.kron_sbl",
        _kronecker_sparse,
        lambda H1, H2, y: bayes.kron_sbl([H1, H2], y),
        lambda result: {**_supported(result), "noise_var": result.noise_var},
        units=[0, 0, 1],
        degrees={"coef": 1, "noise_var": 2},
        tolerance=1e-5,
    ),
    Function(
        "bayes.kron_omp",
        _kronecker_sparse,
        lambda H1, H2, y: bayes.kron_omp([H1, H2], y, n_nonzero=2),
        lambda result: {**_supported(result), "residual_norm": result.residual_norm},
        units=[0, 0, 1],
        degrees={"coef": 1, "residual_norm": 1},
    ),
    Function(
        "bayes.kron_sbl_rank_one",
        _kronecker_sparse,
        lambda H1, H2, y: bayes.kron_sbl_rank_one([H1, H2], y),
        _supported,
        units=[0, 0, 1],
        degrees={"coef": 1},
        tolerance=1e-5,
    ),
    Function(
        "bayes.KroneckerOperator",
        lambda rng, is_complex: (
            normal(rng, is_complex, 4, 5),
            normal(rng, is_complex, 3, 6),
            normal(rng, is_complex, 30),
        ),
        lambda H1, H2, x: bayes.KroneckerOperator([H1, H2]) @ x,
        _itself,
        units=[1, 0, 0],
        degrees={"answer": 1},
    ),
]

# --------------------------------------------------------------------------------- chebyshev

SQUARE, CUBE = [(-1.0, 1.0)] * 2, [(-1.0, 1.0)] * 3
NODES = np.cos(np.pi * np.arange(16, -1, -1) / 16)


def _values(rng: np.random.Generator, is_complex: bool) -> Arrays:
    a = 1.0 + (0.5j if is_complex else 0.0) + 0.1 * rng.random()
    return (np.exp(a * NODES[:, None] * NODES[None, :]),)


def _gaussians(rng: np.random.Generator, is_complex: bool) -> Arrays:
    x = (np.arange(40) + 0.5) / 20 - 1
    F = np.exp(-np.arange(1, 4) * (x[:, None] - 0.2) ** 2)
    return rng.uniform(1.0, 2.0, 3) * (1 + 1j if is_complex else 1), F, F + 0.5


def _particles(rng: np.random.Generator, is_complex: bool) -> Arrays:
    return rng.uniform(-0.9, 0.9, (12, 3)), rng.uniform(0.5, 1.5, 12)


def _somewhere(T: Any) -> dict[str, Any]:
    """Return a function's values, in its own library, and its integral."""
    first = T.factors[0]
    place = {"dtype": _real_dtype(first), "device": device(first)}
    x = array_namespace(first).asarray(
        [[0.1, -0.3, 0.7][: T.ndim], [-0.5, 0.2, 0.4][: T.ndim]], **place
    )
    return {"values": T(x), "integral": T.integrate()}


def _real_dtype(x: Any) -> Any:
    xp = array_namespace(x)
    return xp.real(x).dtype if xp.isdtype(x.dtype, "complex floating") else x.dtype


def _smooth(c: Any) -> Any:
    """Return the function of two variables with two parameters, in the library of `c`."""
    xp = array_namespace(c)

    def f(x: Any) -> Any:
        return c[0] * xp.cos(x[:, 0] + 0.5 * x[:, 1]) + c[1]

    square = xp.asarray(SQUARE, dtype=_real_dtype(c), device=device(c))
    return chebyshev.chebtucker(
        f, square, rng=0, tol=1e-10 if _wide(c) else 1e-4, xp=xp, dtype=c.dtype
    )


def _wide(x: Any) -> bool:
    return x.dtype in (array_namespace(x).float64, array_namespace(x).complex128)


CHEBYSHEV = [
    Function(
        "chebyshev.chebtucker_from_values",
        _values,
        lambda V: chebyshev.chebtucker_from_values(V, SQUARE),
        _somewhere,
        units=[1],
        degrees={"values": 1, "integral": 1},
    ),
    Function(
        "chebyshev.chebtucker_from_coefficients",
        lambda rng, is_complex: (low_rank(rng, is_complex, 5, 4),),
        lambda C: chebyshev.chebtucker_from_coefficients(C, SQUARE),
        _somewhere,
        units=[1],
        degrees={"values": 1, "integral": 1},
    ),
    Function(
        "chebyshev.chebtucker_from_cp",
        _gaussians,
        lambda w, F, G: chebyshev.chebtucker_from_cp(w, [F, G], SQUARE, tol=1e-3),
        _somewhere,
        units=[1, 0, 0],
        degrees={"values": 1, "integral": 1},
        is_complex=False,
        tolerance=1e-6,
    ),
    Function(
        "chebyshev.sthosvd",
        lambda rng, is_complex: (low_rank(rng, is_complex, 9, 10).reshape(9, 5, 2),),
        lambda X: chebyshev.sthosvd(X, ranks=(3, 3, 2)),
        lambda result: {"tensor": result.to_array(), "error": result.error},
        units=[1],
        degrees={"tensor": 1},
    ),
    Function(
        "chebyshev.long_range_potential",
        _particles,
        lambda P, q: chebyshev.long_range_potential(P, q, CUBE, alpha=1.0, tol=1e-2),
        _somewhere,
        units=[0, 1],
        degrees={"values": 1, "integral": 1},
        is_complex=False,
        tolerance=1e-6,
    ),
    Function(
        "chebyshev.short_range_potential",
        lambda rng, is_complex: (*_particles(rng, False), rng.uniform(-1, 1, (4, 3))),
        lambda P, q, x: chebyshev.short_range_potential(P, q, x, alpha=2.0),
        _itself,
        units=[0, 1, 0],
        degrees={"answer": 1},
        is_complex=False,
    ),
]

# -------------------------------------------------------------------------------- completion


def _holes(rng: np.random.Generator, is_complex: bool) -> Arrays:
    A = normal(rng, is_complex, 16, 2) @ normal(rng, is_complex, 2, 12)
    seen = rng.random(A.shape) < 0.8
    return (np.where(seen, A + 0.01 * normal(rng, is_complex, 16, 12), np.nan),)


COMPLETION = [
    Function(
        "completion.complete_matrix",
        _holes,
        lambda A: completion.complete_matrix(A, 2, rng=0),
        lambda result: {"matrix": result.block(), "residual_norm": result.residual_norm},
        units=[1],
        degrees={"matrix": 1, "residual_norm": 1},
        marks_missing=True,
        tolerance=1e-6,
    ),
    Function(
        "completion.rank_estimate",
        _holes,
        lambda A: completion.rank_estimate(A, max_rank=2, rng=0),
        _pick("rank", "baseline_rmse"),
        units=[1],
        degrees={"baseline_rmse": 1},
        marks_missing=True,
    ),
]

# ---------------------------------------------------------------------------------- sampling


def _features(rng: np.random.Generator, is_complex: bool) -> Arrays:
    return (normal(rng, is_complex, 40, 4),)


def _fit(X: Any, y: Any) -> Any:
    design = sampling.sample_design(X, 12, rng=0)
    return sampling.weighted_lstsq(design, array_namespace(y).take(y, design.indices), space=X)


SAMPLING = [
    Function(
        "sampling.sample_design",
        _features,
        lambda X: sampling.sample_design(X, 12, rng=0),
        _pick("indices", "weights", "lmin"),
        units=[1],
        is_random=True,
        wide=("weights",),
    ),
    Function(
        "sampling.volume_sample",
        _features,
        lambda X: sampling.volume_sample(X, 8, rng=0),
        _itself,
        units=[1],
        is_random=True,
    ),
    Function(
        "sampling.weighted_lstsq",
        lambda rng, is_complex: (*_features(rng, is_complex), normal(rng, is_complex, 40)),
        _fit,
        _pick("coef", "residual"),
        units=[0, 1],
        degrees={"coef": 1, "residual": 1},
        is_random=True,
    ),
    Function(
        "sampling.map_dpp",
        _features,
        lambda X: sampling.map_dpp(X, 3),
        _pick("indices", "log_det"),
        on_jax=True,
    ),
    Function(
        "sampling.bss_subsample",
        lambda rng, is_complex: (np.linalg.qr(normal(rng, is_complex, 60, 4))[0] * np.sqrt(60),),
        lambda A: sampling.bss_subsample(A, 2.0),
        _pick("indices", "weights", "lmin", "lmax"),
        wide=("weights",),
    ),
    Function(
        "sampling.greedy_subsample",
        lambda rng, is_complex: (
            np.linalg.qr(normal(rng, is_complex, 40, 4))[0] * np.sqrt(40),
            np.ones(40),
        ),
        lambda A, w: sampling.greedy_subsample(A, w),
        _pick("indices", "weights", "lmin"),
    ),
    Function(
        "sampling.ProjectionDPP",
        _features,
        lambda X: sampling.ProjectionDPP(X, rng=0),
        lambda dpp: {"sample": dpp.sample(rng=1), "marginals": dpp.inclusion_probabilities()},
        units=[1],
        is_random=True,
        wide=("marginals",),
    ),
    Function(
        "sampling.LEnsemble",
        _features,
        lambda B: sampling.LEnsemble(B, rng=0),
        lambda dpp: {"sample": dpp.sample(rng=1), "marginals": dpp.inclusion_probabilities()},
        is_random=True,
    ),
    Function(
        "sampling.MarginalDPP",
        lambda rng, is_complex: (
            (lambda Q: (Q * np.asarray([0.9, 0.5, 0.2])) @ Q.conj().T)(
                np.linalg.qr(normal(rng, is_complex, 8, 3))[0]
            ),
        ),
        lambda K: sampling.MarginalDPP(K, rng=0),
        lambda dpp: {"sample": dpp.sample(rng=1), "marginals": dpp.inclusion_probabilities()},
        is_random=True,
    ),
]

# A callable is no array: the function and what it is made of are the caller's.
CALLABLES = [
    Function(
        "chebyshev.chebtucker",
        lambda rng, is_complex: (np.asarray([1.0, 0.5]) * (1 + 1j if is_complex else 1),),
        _smooth,
        _somewhere,
        units=[1],
        degrees={"values": 1, "integral": 1},
        tolerance=1e-8,
    ),
]

FUNCTIONS = [
    *SVD,
    *REGRESSION,
    *SKETCHING,
    *BAYES,
    *CHEBYSHEV,
    *COMPLETION,
    *SAMPLING,
    *CALLABLES,
]
