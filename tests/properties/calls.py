"""A small call of every public function and class, on arrays of any library.

``put`` copies a NumPy array to the library under test. A call is prepared by ``make(put)``, which
returns ``act``: ``act(k)`` does the work with `k` blocks or about `k` iterations, and returns how
many of them it did (None where there is nothing to count).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
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
from linalgkit._core.array import array_namespace
from linalgkit.datasets import kronecker_sparse

Put = Callable[[Any], Any]
Act = Callable[[int], Any]


@dataclass(frozen=True)
class Call:
    """One way to call a public function, or a method of a public class.

    Attributes
    ----------
    entry : str
        Its name in the registry.
    make : callable
        ``make(put)`` prepares and returns ``act``.
    base : str
        What a call of ``act`` is in the registry's count of synchronisations.
    step : str or None
        What is repeated within it: "block", "iteration", ...
    steps : tuple of int
        The two numbers of steps that are compared.
    variant : str
        To tell several calls of one entry apart.
    """

    entry: str
    make: Callable[[Put], Act]
    base: str = "call"
    step: str | None = None
    steps: tuple[int, int] = (3, 6)
    variant: str = ""

    def __str__(self) -> str:
        return f"{self.entry}-{self.variant or self.base}"

    def run(self, put: Put, steps: int = 1) -> Any:
        """Prepare and act; that a small problem is poorly determined is not the matter here."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AccuracyWarning)
            return self.make(put)(steps)


def _normal(*shape: int, seed: int = 5) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal(shape)


def _blocks(put: Put, k: int, rows: int = 32, columns: int = 6) -> list[Any]:
    return [put(_normal(rows, columns, seed=i) * np.arange(1.0, columns + 1)) for i in range(k)]


def _once(work: Callable[..., Any], *hosts: Any, **options: Any) -> Callable[[Put], Act]:
    """Return the maker of a call ``work(*arrays, **options)``; arrays are copied beforehand."""

    def make(put: Put) -> Act:
        arrays = [_put_all(put, x) for x in hosts]
        return lambda k: _nothing(work(*arrays, **options))

    return make


def _method(start: Callable[[Put], Any], work: Callable[..., Any], *hosts: Any) -> Any:
    """Return the maker of a call ``work(object, *arrays)``; the object is made beforehand."""

    def make(put: Put) -> Act:
        model, arrays = start(put), [_put_all(put, x) for x in hosts]
        return lambda k: _nothing(work(model, *arrays))

    return make


def _nothing(_: Any) -> None:
    return None


def _put_all(put: Put, x: Any) -> Any:
    if isinstance(x, list):
        return [_put_all(put, one) for one in x]
    return put(x) if isinstance(x, np.ndarray) else x


# ------------------------------------------------------------------------------------ bayes

_KRONECKER = kronecker_sparse((8, 10), (5, 6), (2, 2), snr_db=20.0, snapshots=4, rng=1)
_FACTORS = [np.asarray(H) for H in _KRONECKER.factors]
_Y = np.asarray(_KRONECKER.y)


def _sbl(**options: Any) -> Callable[[Put], Act]:
    def make(put: Put) -> Act:
        factors, y = _put_all(put, _FACTORS), put(_Y[..., 0])
        return lambda k: _nothing(bayes.kron_sbl(factors, y, max_iter=k, tol=0.0, **options))

    return make


def _sbl_rank_one(put: Put) -> Act:
    factors, y = _put_all(put, _FACTORS), put(_Y[..., 0])
    return lambda k: bayes.kron_sbl_rank_one(factors, y, max_iter=k, tol=0.0).n_iter


def _sbl_snapshots(put: Put) -> Act:
    factors, ys = _put_all(put, _FACTORS), [put(_Y[..., i % 4 : i % 4 + 1]) for i in range(6)]

    def act(k: int) -> None:
        model = bayes.KronSBL()
        for y in ys[:k]:
            model.partial_fit(factors, y)

    return act


def _sbl_model(put: Put) -> Any:
    return bayes.KronSBL(max_iter=3, tol=0.0).partial_fit(_put_all(put, _FACTORS), put(_Y))


def _omp(put: Put) -> Act:
    factors, y = _put_all(put, _FACTORS), put(_Y[..., 0])
    return lambda k: bayes.kron_omp(factors, y, n_nonzero=k).n_iter


def _kronecker(put: Put) -> Any:
    return bayes.KroneckerOperator(_put_all(put, _FACTORS))


BAYES = [
    Call("bayes.KroneckerOperator", lambda put: lambda k: _nothing(_kronecker(put))),
    Call(
        "bayes.KroneckerOperator", _method(_kronecker, lambda A, x: A @ x, _normal(80)), "product"
    ),
    Call("bayes.kron_omp", _omp, step="iteration", steps=(1, 2)),
    *(
        Call("bayes.kron_sbl", _sbl(method=m), step="cycle", variant=m)
        for m in ("mm", "jacobi", "am", "svd", "ecm", "ksbl")
    ),
    Call("bayes.kron_sbl", _sbl(), variant="auto"),
    Call("bayes.kron_sbl_rank_one", _sbl_rank_one, step="cycle"),
    Call("bayes.KronSBL", _sbl_snapshots, base="first block", step="block"),
    Call("bayes.KronSBL", _method(_sbl_model, lambda model: model.result()), "result"),
]

# -------------------------------------------------------------------------------- chebyshev

_CUBE = [(-1.0, 1.0)] * 2
_NODES = np.cos(np.pi * np.arange(16, -1, -1) / 16)
_VALUES = np.exp(_NODES[:, None] * _NODES[None, :])
_CP = np.exp(-np.arange(1, 4) * ((np.arange(40) + 0.5) / 20 - 1)[:, None] ** 2)
_POINTS = np.random.default_rng(3).uniform(-0.9, 0.9, (12, 3))


def _waves(x: Any) -> Any:
    return array_namespace(x).cos(x[:, 0] + 0.5 * x[:, 1])


def _chebtucker(method: str) -> Callable[[Put], Act]:
    def make(put: Put) -> Act:
        domain, xp = put(np.asarray(_CUBE)), array_namespace(put(_NODES))
        return lambda k: _nothing(
            chebyshev.chebtucker(_waves, domain, method=method, xp=xp, rng=0, tol=1e-4)
        )

    return make


def _hosvd(put: Put) -> Act:
    xp = array_namespace(put(_NODES))
    domain = put(np.asarray(_CUBE))
    return lambda k: _nothing(
        chebyshev.theory.functional_hosvd(_waves, domain, m=9, tol=1e-3, xp=xp)
    )


def _smooth(put: Put) -> Any:
    return chebyshev.chebtucker_from_values(put(_VALUES), _CUBE)


CHEBYSHEV = [
    *(Call("chebyshev.chebtucker", _chebtucker(m), variant=m) for m in ("grid", "cross")),
    Call(
        "chebyshev.chebtucker_from_values", _once(chebyshev.chebtucker_from_values, _VALUES, _CUBE)
    ),
    Call(
        "chebyshev.chebtucker_from_coefficients",
        _once(chebyshev.chebtucker_from_coefficients, np.diag([1.0, 0.5, 0.2]), _CUBE),
    ),
    Call(
        "chebyshev.chebtucker_from_cp",
        _once(chebyshev.chebtucker_from_cp, np.ones(3), [_CP, _CP], _CUBE, tol=1e-3),
    ),
    Call(
        "chebyshev.theory.cp_full",
        _once(chebyshev.theory.cp_full, np.ones(3), [_CP, _CP], _CUBE, m=9, tol=1e-2),
    ),
    Call(
        "chebyshev.theory.cp_rhosvd",
        _once(chebyshev.theory.cp_rhosvd, np.ones(3), [_CP, _CP], _CUBE, m=9, tol=1e-2),
    ),
    Call("chebyshev.theory.functional_hosvd", _hosvd),
    Call(
        "chebyshev.theory.tensor_input",
        _once(
            chebyshev.theory.tensor_input,
            np.exp(np.add.outer(*[(np.arange(40) + 0.5) / 20 - 1] * 2)),
            _CUBE,
            m=9,
            tol=1e-2,
        ),
    ),
    Call("chebyshev.sthosvd", _once(chebyshev.sthosvd, _VALUES, tol=1e-6)),
    Call(
        "chebyshev.sthosvd",
        _once(chebyshev.sthosvd, _VALUES, ranks=3, svd="randomized", rng=0),
        variant="randomized",
    ),
    Call(
        "chebyshev.long_range_potential",
        _once(
            chebyshev.long_range_potential,
            _POINTS,
            np.ones(12),
            [(-1.0, 1.0)] * 3,
            alpha=1.0,
            tol=1e-2,
        ),
    ),
    Call(
        "chebyshev.short_range_potential",
        _once(chebyshev.short_range_potential, _POINTS, np.ones(12), _POINTS[:4], alpha=3.0),
    ),
    Call(
        "chebyshev.ChebTucker",
        lambda put: (
            lambda k: _nothing(
                chebyshev.ChebTucker(put(np.eye(2)), [put(np.eye(3)[:, :2])] * 2, _CUBE)
            )
        ),
    ),
    Call("chebyshev.ChebTucker", _method(_smooth, lambda T, x: T(x), _POINTS[:, :2]), "evaluation"),
    Call("chebyshev.ChebTucker", _method(_smooth, lambda T, x: T.grid(x, x), _NODES), "grid"),
    Call("chebyshev.ChebTucker", _method(_smooth, lambda T: T.diff(0)), "derivative"),
    Call("chebyshev.ChebTucker", _method(_smooth, lambda T: T.integrate()), "integral"),
    Call("chebyshev.ChebTucker", _method(_smooth, lambda T: T + T), "sum"),
    Call("chebyshev.ChebTucker", _method(_smooth, lambda T: T * T), "product"),
    Call("chebyshev.ChebTucker", _method(_smooth, lambda T: T.maximum()), "maximum"),
]

# ------------------------------------------------------------------------------- completion

_LOW_RANK = _normal(20, 2) @ _normal(2, 16, seed=6)
_SEEN = np.random.default_rng(7).random((20, 16)) < 0.7
_HOLES = np.where(_SEEN, _LOW_RANK + 0.01 * _normal(20, 16), np.nan)
_I, _J = np.nonzero(_SEEN)


def _complete(**options: Any) -> Callable[[Put], Act]:
    def make(put: Put) -> Act:
        A = put(_HOLES)
        return lambda k: (
            completion.complete_matrix(A, 2, rng=0, max_sweeps=k, tol=0.0, **options).sweeps
        )

    return make


def _entries(put: Put) -> Act:
    parts = [slice(16 * i, 16 * i + 16) for i in range(6)]
    triples = [_put_all(put, [_I[p], _J[p], _HOLES[_I[p], _J[p]]]) for p in parts]

    def act(k: int) -> None:
        model = completion.MatrixCompletion(2, rng=0)
        for triple in triples[:k]:
            model.partial_fit(*triple, shape=(20, 16))

    return act


def _completed(put: Put) -> Any:
    return completion.complete_matrix(put(_HOLES), 2, rng=0, max_sweeps=3)


def _completion(put: Put) -> Any:
    model = completion.MatrixCompletion(2, rng=0, max_sweeps=3)
    return model.partial_fit(put(_I), put(_J), put(_HOLES[_I, _J]), shape=(20, 16))


def _alternating(put: Put) -> Act:
    A = put(_HOLES)
    return lambda k: _nothing(
        completion.theory.alternating_minimisation(A, 2, mu=3.0, split=False, n_sweeps=k, rng=1)
    )


COMPLETION = [
    *(
        Call("completion.complete_matrix", _complete(solver=s), step="sweep", variant=s)
        for s in ("pcg", "direct", "rgn", "scaledgd", "sketched")
    ),
    Call("completion.complete_matrix", _complete(loss="huber"), step="sweep", variant="huber"),
    Call(
        "completion.CompletionResult",
        _method(_completed, lambda r, i, j: r.predict(i, j), _I[:9], _J[:9]),
        "prediction",
    ),
    Call(
        "completion.CompletionResult",
        _method(_completed, lambda r, i: r.top_k(i, 2), _I[:9]),
        "list",
    ),
    Call(
        "completion.CompletionResult",
        _method(_completed, lambda r, i, j: r.interval(i, j), _I[:9], _J[:9]),
        "interval",
    ),
    Call(
        "completion.LowRankImputer",
        _once(lambda X: completion.LowRankImputer(2, rng=0, max_sweeps=3).fit(X), _HOLES),
        "fit",
    ),
    Call(
        "completion.LowRankImputer",
        lambda put: (lambda m, X: lambda k: _nothing(m.transform(X)))(
            completion.LowRankImputer(2, rng=0, max_sweeps=3).fit(put(_HOLES)), put(_HOLES)
        ),
        "transform",
    ),
    Call("completion.MatrixCompletion", _entries, base="first block", step="block"),
    Call("completion.MatrixCompletion", _method(_completion, lambda m: m.result()), "result"),
    Call(
        "completion.rank_estimate",
        lambda put: (lambda A: lambda k: _nothing(completion.rank_estimate(A, max_rank=k, rng=0)))(
            put(_HOLES)
        ),
        step="rank",
        steps=(1, 2),
    ),
    Call("completion.theory.alternating_minimisation", _alternating, step="sweep"),
    Call(
        "completion.theory.clipped",
        _once(completion.theory.clipped, np.linalg.qr(_normal(20, 2))[0], 2.0),
    ),
    Call(
        "completion.theory.incoherence",
        _once(completion.theory.incoherence, np.linalg.qr(_normal(20, 2))[0]),
    ),
    Call(
        "completion.theory.split_observations",
        _once(completion.theory.split_observations, _HOLES, 3, rng=0),
    ),
]

# ------------------------------------------------------------------------------- regression

_A, _B = _normal(200, 4), _normal(200, seed=8)


def _regressor(sketch: str) -> Callable[[Put], Act]:
    def make(put: Put) -> Act:
        blocks, y = _blocks(put, 6), put(_B[:32])

        def act(k: int) -> None:
            model = regression.SketchedRegressor(24, sketch, rng=0)
            for i, X in enumerate(blocks[:k]):
                model.partial_fit(X, y, start=32 * i)

        return act

    return make


def _regressed(put: Put) -> Any:
    return regression.SketchedRegressor(24, rng=0).partial_fit(put(_A), put(_B))


def _lstsq_blocks(put: Put) -> Act:
    blocks = [(X, put(_B[:32])) for X in _blocks(put, 6)]
    return lambda k: _nothing(regression.lstsq(blocks[:k], rng=0))


def _sketched_blocks(put: Put) -> Act:
    blocks = [(X, put(_B[:32])) for X in _blocks(put, 6)]
    return lambda k: _nothing(
        regression.sketched_lstsq(iter(blocks[:k]), m=24, sketch="countsketch", rng=0)
    )


def _backward_blocks(put: Put) -> Act:
    blocks, x = [(X, put(_B[:32])) for X in _blocks(put, 6)], put(np.ones(6))
    return lambda k: _nothing(regression.backward_error(blocks[:k], None, x))


def _preconditioned(put: Put) -> Any:
    return regression.sketch_preconditioner(put(_A), rng=0)


REGRESSION = [
    *(
        Call(
            "regression.SketchedRegressor",
            _regressor(s),
            base="first block",
            step="block",
            variant=s,
        )
        for s in ("auto", "gaussian", "sparse_sign")
    ),
    Call("regression.SketchedRegressor", _method(_regressed, lambda m: m.result()), "result"),
    Call(
        "regression.SketchedRegressor",
        _method(_regressed, lambda m, X: m.predict(X), _A),
        "prediction",
    ),
    *(
        Call("regression.lstsq", _once(regression.lstsq, _A, _B, driver=d, rng=0), variant=d)
        for d in ("cholesky", "sketch_cholqr", "spir")
    ),
    Call("regression.lstsq", _lstsq_blocks, step="block", variant="blocks"),
    Call("regression.sketched_lstsq", _once(regression.sketched_lstsq, _A, _B, m=40, rng=0)),
    Call("regression.sketched_lstsq", _sketched_blocks, step="block", variant="blocks"),
    Call("regression.backward_error", _once(regression.backward_error, _A, _B, np.ones(4))),
    Call("regression.backward_error", _backward_blocks, step="block", variant="blocks"),
    Call(
        "regression.kron_lstsq",
        _once(regression.kron_lstsq, [_A[:8, :2], _A[:9, :3]], _normal(8, 9)),
    ),
    Call(
        "regression.kron_lstsq",
        _once(
            regression.kron_lstsq,
            [_A[:8, :2], _A[:9, :3]],
            _normal(8, 9),
            method="tensor_srht",
            m=30,
            rng=0,
        ),
        variant="tensor_srht",
    ),
    Call("regression.sketch_preconditioner", _once(regression.sketch_preconditioner, _A, rng=0)),
    Call(
        "regression.sketch_preconditioner",
        _method(_preconditioned, lambda P, x: P @ x, np.ones(4)),
        "product",
    ),
]

# --------------------------------------------------------------------------------- sampling

_SPACE = np.vander(np.linspace(-1, 1, 60), 4)
_KERNEL = (
    np.linalg.qr(_normal(8, 3))[0] @ np.diag([0.9, 0.5, 0.2]) @ np.linalg.qr(_normal(8, 3))[0].T
)
_SIX = np.asarray([0, 1, 2, 4, 6, 7])
_INDICES = np.asarray([[0, 0], [1, 0], [0, 2]])
_X01 = np.random.default_rng(9).uniform(0.05, 0.95, (10, 2))
_FAMILIES: dict[str, Any] = {
    "Legendre": sampling.Legendre(0, 1),
    "Fourier": sampling.Fourier(),
    "Hermite": sampling.Hermite(),
    "Jacobi": sampling.Jacobi(-0.5, -0.5),
    "BSpline": sampling.BSpline((0.0, 0.5, 1.0), 2),
}


def _tensor(put: Put) -> Any:
    return sampling.TensorBasis(sampling.Legendre(0, 1), put(_INDICES))


def _user(put: Put) -> Any:
    def powers(points: Any) -> Any:
        xp = array_namespace(points)
        return xp.concat([points**0, points, points**2], axis=1)

    return sampling.UserBasis(
        powers,
        3,
        proposal=lambda n, rng: put(rng.uniform(-1, 1, (n, 1))),
        bound=9.0,
        gram=[[1, 0, 1 / 3], [0, 1 / 3, 0], [1 / 3, 0, 1 / 5]],
    )


def _design(put: Put) -> Any:
    X = put(_SPACE)
    return sampling.sample_design(X, 12, rng=0), X, put(_B[:12])


SAMPLING = [
    *(
        Call(
            f"sampling.{name}",
            _once(lambda x, f=family: f.evaluate(x, 2), _X01[:, 0]),
            "evaluation",
        )
        for name, family in _FAMILIES.items()
    ),
    Call(
        "sampling.TensorBasis",
        lambda put: (
            lambda i: lambda k: _nothing(sampling.TensorBasis(sampling.Legendre(0, 1), i))
        )(put(_INDICES)),
    ),
    Call("sampling.TensorBasis", _method(_tensor, lambda b, x: b.evaluate(x), _X01), "evaluation"),
    Call(
        "sampling.TensorBasis",
        _method(_tensor, lambda b: b.draw(8, np.random.default_rng(0))),
        "draw",
    ),
    Call("sampling.UserBasis", lambda put: lambda k: _nothing(_user(put))),
    Call(
        "sampling.UserBasis", _method(_user, lambda b, x: b.evaluate(x), _X01[:, :1]), "evaluation"
    ),
    Call(
        "sampling.UserBasis", _method(_user, lambda b: b.draw(8, np.random.default_rng(0))), "draw"
    ),
    Call("sampling.LEnsemble", _once(sampling.LEnsemble, _SPACE, rng=0)),
    Call(
        "sampling.LEnsemble",
        _method(lambda put: sampling.LEnsemble(put(_SPACE), rng=0), lambda p: p.sample(3)),
        "sample",
    ),
    Call(
        "sampling.LEnsemble",
        _method(
            lambda put: sampling.LEnsemble(put(_SPACE), rng=0),
            lambda p: p.inclusion_probabilities(),
        ),
        "probabilities",
    ),
    Call("sampling.MarginalDPP", _once(sampling.MarginalDPP, _KERNEL @ _KERNEL.T, rng=0)),
    Call(
        "sampling.MarginalDPP",
        _method(
            lambda put: sampling.MarginalDPP(put(_KERNEL @ _KERNEL.T), rng=0), lambda p: p.sample()
        ),
        "sample",
    ),
    Call("sampling.ProjectionDPP", _once(sampling.ProjectionDPP, _SPACE, rng=0)),
    Call(
        "sampling.ProjectionDPP",
        _method(lambda put: sampling.ProjectionDPP(put(_SPACE), rng=0), lambda p: p.sample()),
        "sample",
    ),
    Call(
        "sampling.ProjectionDPP",
        _method(
            lambda put: sampling.ProjectionDPP(put(_SPACE), rng=0),
            lambda p: p.inclusion_probabilities(),
        ),
        "probabilities",
    ),
    Call("sampling.volume_sample", _once(sampling.volume_sample, _SPACE, 6, rng=0)),
    Call(
        "sampling.map_dpp",
        lambda put: (lambda X: lambda k: _nothing(sampling.map_dpp(X, k)))(put(_normal(30, 8))),
        step="item",
    ),
    Call("sampling.bss_subsample", _once(sampling.bss_subsample, _SPACE, 3.0)),
    Call(
        "sampling.greedy_subsample",
        _once(sampling.greedy_subsample, np.linalg.qr(_SPACE)[0] * 60**0.5, np.ones(60)),
    ),
    Call("sampling.sample_design", _once(sampling.sample_design, _SPACE, 12, rng=0)),
    Call(
        "sampling.sample_design",
        lambda put: (lambda b: lambda k: _nothing(sampling.sample_design(b, 8, rng=0)))(
            _tensor(put)
        ),
        variant="basis",
    ),
    Call(
        "sampling.weighted_lstsq",
        lambda put: (lambda d: lambda k: _nothing(sampling.weighted_lstsq(d[0], d[2], space=d[1])))(
            _design(put)
        ),
    ),
    Call(
        "sampling.DPPLeastSquares",
        _once(lambda X, y: sampling.DPPLeastSquares(n=12, rng=0).fit(X, y), _SPACE, _B[:60]),
        "fit",
    ),
    Call(
        "sampling.DPPLeastSquares",
        lambda put: (lambda m, X: lambda k: _nothing(m.predict(X)))(
            sampling.DPPLeastSquares(n=12, rng=0).fit(put(_SPACE), put(_B[:60])), put(_SPACE)
        ),
        "prediction",
    ),
]

# -------------------------------------------------------------------------------- sketching

_KINDS = ("gaussian", "srht", "countsketch", "sparse_sign", "block_srht")


def _share(kind: str) -> Callable[[Put], Act]:
    def make(put: Put) -> Act:
        S, blocks = sketching.sketch(kind, 8, 400, rng=0), _blocks(put, 6)

        def act(k: int) -> None:
            for i, X in enumerate(blocks[:k]):
                S.apply_rows(X, 32 * i)

        return act

    return make


_TENSOR = sketching.tensor_sketch("tensorsketch", 5, [3, 4], rng=0)

SKETCHING = [
    *(
        Call(
            "sketching.SketchOperator",
            _once(lambda X, k=kind: sketching.sketch(k, 24, 200, rng=0) @ X, _A),
            "product",
            variant=kind,
        )
        for kind in (*_KINDS, "circulant", "srdct", "srft", "gaussian_pooled", "rademacher")
    ),
    Call(
        "sketching.SketchOperator",
        _share("countsketch"),
        base="first block",
        step="block",
        variant="rows-countsketch",
    ),
    Call(
        "sketching.SketchOperator",
        _share("gaussian"),
        base="first block",
        step="block",
        variant="rows-gaussian",
    ),
    Call(
        "sketching.TensorSketchOperator",
        _once(lambda B: _TENSOR.apply_vec(B), _normal(3, 4)),
        "product",
    ),
    Call(
        "sketching.TensorSketchOperator",
        _once(lambda L: _TENSOR.apply_kron(L), [_normal(3, 2), _normal(4, 2)]),
        "product",
        variant="kron",
    ),
    Call("sketching.leverage_scores", _once(sketching.leverage_scores, _A)),
    Call(
        "sketching.leverage_scores",
        _once(sketching.leverage_scores, _A, method="sketch", rng=0),
        variant="sketch",
    ),
    Call(
        "sketching.sketch",
        lambda put: (
            lambda p: lambda k: _nothing(sketching.sketch("leverage", 24, 200, scores=p, rng=0))
        )(put(np.full(200, 1 / 50))),
    ),
]

# -------------------------------------------------------------------------------- streaming

_METHODS = ("gram", "nystrom", "portfolio", "block-power", "frequent-directions", "oja")


def _rows(**options: Any) -> Callable[[Put], Act]:
    def make(put: Put) -> Act:
        blocks = _blocks(put, 6)

        def act(k: int) -> None:
            model = streaming.StreamingEigh(1, rng=0, **options)
            for block in blocks[:k]:
                model.partial_fit(block)

        return act

    return make


_TILES = {"gram": 4096, "frequent-directions": 32, "oja": 64}


def _tiles(method: str) -> Callable[[Put], Act]:
    """Return the maker of a call with one block of `k` times the rows of a tile."""
    rows = _TILES.get(method, 1024)

    def make(put: Put) -> Act:
        blocks = {k: put(_normal(rows * k, 4) * np.arange(1.0, 5.0)) for k in (8, 16)}
        order = "arbitrary" if method == "oja" else "random"

        def act(k: int) -> None:
            streaming.StreamingEigh(1, rng=0, method=method, order=order).partial_fit(blocks[k])

        return act

    return make


def _streamed(method: str) -> Callable[[Put], Any]:
    def start(put: Put) -> Any:
        order = "arbitrary" if method == "oja" else "random"
        model = streaming.StreamingEigh(1, rng=0, method=method, order=order)
        for block in _blocks(put, 6):
            model.partial_fit(block)
        return model

    return start


def _top(put: Put) -> Act:
    blocks = _blocks(put, 6)
    return lambda k: _nothing(
        streaming.top_eigenvector(iter(blocks[:k]), method="portfolio", rng=0)
    )


STREAMING = [
    *(
        Call(
            "streaming.StreamingEigh", _rows(method=m), base="first block", step="block", variant=m
        )
        for m in ("gram", "nystrom", "portfolio", "block-power")
    ),
    Call(
        "streaming.StreamingEigh",
        _rows(method="gram", center=True),
        base="first block",
        step="block",
        variant="centred",
    ),
    *(
        Call(
            "streaming.StreamingEigh",
            _tiles(m),
            base="first block",
            step="tile",
            steps=(8, 16),
            variant=f"tiles-{m}",
        )
        for m in ("gram", "nystrom", "portfolio", "frequent-directions", "oja")
    ),
    *(
        Call(
            "streaming.StreamingEigh",
            _method(_streamed(m), lambda model: model.result()),
            "result",
            variant=f"result-{m}",
        )
        for m in _METHODS
    ),
    Call(
        "streaming.StreamingEigh",
        _method(
            _streamed("gram"), lambda m, X: (m.result(), m.transform(X)), _A[:, [0, 1, 2, 3, 0, 1]]
        ),
        "transform",
    ),
    Call("streaming.top_eigenvector", _top, step="block"),
]

# -------------------------------------------------------------------------------------- svd


def _columns(**options: Any) -> Callable[[Put], Act]:
    def make(put: Put) -> Act:
        blocks = _blocks(put, 6, 24, 6)

        def act(k: int) -> None:
            model = svd.IncrementalSVD(2, n_oversamples=2, **options)
            for block in blocks[:k]:
                model.append_columns(block)

        return act

    return make


def _samples(put: Put) -> Act:
    blocks = _blocks(put, 6, 16, 12)

    def act(k: int) -> None:
        model = svd.IncrementalSVD(2, n_oversamples=2)
        for block in blocks[:k]:
            model.partial_fit(block)

    return act


def _summed(put: Put) -> Any:
    model = svd.IncrementalSVD(2, n_oversamples=2)
    for block in _blocks(put, 4, 24, 6):
        model.append_columns(block)
    return model


def _tree(put: Put) -> Act:
    blocks = _blocks(put, 6, 24, 6)
    return lambda k: _nothing(svd.tree_svd(blocks[:k], 2))


def _groups(put: Put, k: int) -> list[Any]:
    bases = _normal(2, 12, 2, seed=2)
    return [put(bases[i % 2] @ _normal(2, 4, seed=i)) for i in range(k)]


def _strangers(put: Put) -> list[Any]:
    """Return matrices none of which is like another."""
    return [put(_normal(12, 4, seed=i)) for i in range(10)]


def _cluster(put: Put) -> Act:
    blocks = _strangers(put)
    return lambda k: len(svd.cluster_matrices(blocks[:k], 2, 0.5).clusters)


def _fit_clusters(put: Put) -> Act:
    blocks = _strangers(put)

    def act(k: int) -> int:
        model = svd.ErrorConstrainedClustering(2, 0.5).fit(blocks[:k])
        return len(model.clustering_.clusters)

    return act


def _clustered(put: Put) -> Any:
    return svd.ErrorConstrainedClustering(2, 0.01).fit(_groups(put, 6))


def _bounds(method: str) -> Callable[[Put], Act]:
    def make(put: Put) -> Act:
        blocks = _groups(put, 8)
        return lambda k: _nothing(svd.concatenated_svd_bounds(blocks[:k], 2, method=method))

    return make


SVD = [
    Call("svd.IncrementalSVD", _columns(), base="first block", step="block"),
    Call(
        "svd.IncrementalSVD",
        _columns(method="cholqr", buffer_size=6),
        base="first block",
        step="full buffer",
        variant="cholqr",
    ),
    Call(
        "svd.IncrementalSVD",
        _columns(buffer_size=6),
        base="first block",
        step="full buffer",
        variant="full",
    ),
    Call(
        "svd.IncrementalSVD",
        _columns(center=True),
        base="first block",
        step="block",
        variant="centred",
    ),
    Call("svd.IncrementalSVD", _samples, base="first block", step="block", variant="samples"),
    Call("svd.IncrementalSVD", _method(_summed, lambda m: m.result()), "result"),
    Call("svd.tree_svd", _tree, step="block"),
    Call("svd.truncated_svd", _once(svd.truncated_svd, _A, 2, rng=0)),
    Call("svd.weighted_svd", _once(svd.weighted_svd, _A[:12, :], 2)),
    Call("svd.cluster_matrices", _cluster, step="cluster", steps=(5, 10)),
    Call(
        "svd.cluster_matrices",
        lambda put: (lambda b: lambda k: _nothing(svd.cluster_matrices(b, 2, 0.01)))(
            _groups(put, 6)
        ),
        variant="few",
    ),
    Call("svd.ErrorConstrainedClustering", _fit_clusters, "fit", step="cluster", steps=(5, 10)),
    Call(
        "svd.ErrorConstrainedClustering",
        lambda put: (lambda m, b: lambda k: _nothing(m.predict(b)))(
            _clustered(put), _groups(put, 2)
        ),
        "prediction",
    ),
    *(
        Call("svd.concatenated_svd_bounds", _bounds(m), step="block", steps=(4, 8), variant=m)
        for m in ("incremental", "weyl", "residual", "ritz", "exact")
    ),
]

CALLS = [*BAYES, *CHEBYSHEV, *COMPLETION, *REGRESSION, *SAMPLING, *SKETCHING, *STREAMING, *SVD]
