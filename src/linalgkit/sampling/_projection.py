"""Projection determinantal point processes on the rows of a matrix.

::

    dpp = ProjectionDPP(X, rng=0)
    rows = dpp.sample()              # p of them, P(S) ~ |det X_S|^2
    dpp.inclusion_probabilities()    # the leverage scores

"""

from __future__ import annotations

import math
from typing import Any

from linalgkit._core.array import (
    Array,
    adjoint,
    asarray,
    eps,
    index_dtype,
    numpy_namespace,
    real_dtype,
    to_numpy,
)
from linalgkit._core.capabilities import capability
from linalgkit._core.linalg import hermitian_part
from linalgkit._core.random import HostArray, as_generator, undone_on_error
from linalgkit._core.validation import check_choice, check_int
from linalgkit.sampling._chain import Walk, working_namespace
from linalgkit.sampling._finite import FiniteSpace, finite_space
from linalgkit.sampling._items import as_items
from linalgkit.sampling._scan import scan
from linalgkit.sampling.theory import expected_proposals

_HOST = numpy_namespace()
METHODS = ("auto", "rejection", "scan")
_VECTORS = 5  # time of an operation in products with vectors, over that in products of matrices


@capability("sampling.ProjectionDPP", synchronisations={"call": 5, "sample": 1, "probabilities": 0})
class ProjectionDPP:
    """Exact samples of rows of a matrix, as many as it has columns, ``P(S) ~ |det X_S|^2``.

    The determinantal point process of the orthogonal projector ``K = X (X^H X)^{-1} X^H`` onto
    the range: row `i` is drawn with the probability ``K_ii``, its leverage score, rows `i` and
    `j` together with ``K_ii K_jj - |K_ij|^2``. Similar rows repel each other.

    Parameters
    ----------
    X : array (n, p)
        Of full column rank, ``n >= p``, real or complex, of any scale.
    orthonormal : bool, default False
        Promise that ``X^H X = I``; the set-up is then one read of `X`, in which the promise is
        checked on three random vectors.
    scores : {"exact", "sketch"}, default "exact"
        Where proposals come from. Sketched scores make the set-up cheaper and every sample
        dearer; see Notes for what they cost in exactness.
    rank : int, optional
        Sample from the span of this many leading left singular vectors instead of the range.
    rng : None, int, SeedSequence, BitGenerator or Generator, optional
        Source of the samples.

    Attributes
    ----------
    dim : int
        Rows of a sample.
    exact : bool
        Whether all samples are exact.
    failure_probability : float
        Bound on the total variation between the law of a sample and the exact one; 0.0 with
        exact scores. All samples of one object share the event.
    n_proposals_ : int
        Proposals that the last sample took, its rejected ones included; 0 after a scan.

    Raises
    ------
    TypeError
        If `X` is no matrix or an option of a wrong kind.
    ValueError
        If `X` is not 2-D or empty, has fewer rows than columns, holds NaN or infinity, or its
        numerical rank is too small (the message names it); if ``orthonormal=True`` is not so.

    Warns
    -----
    AccuracyWarning
        If a sketched score turns out too low: exact scores then serve this and all later
        samples.

    See Also
    --------
    LEnsemble : random sizes, or a fixed one, with a kernel ``B B^H``.
    volume_sample : more rows than columns, ``P(S) ~ det X_S^H X_S``.

    Notes
    -----
    "rejection" draws rows by their leverage scores and accepts each with the squared sine of its
    angle to the span of those before it. ``m H_m`` proposals are expected whatever `n`, some
    ``4 m^3`` flops. "scan" looks at all rows for every point, ``4 n m^2`` flops. "auto" rejects
    until few enough points are missing that a scan is cheaper. Both are exact: in exact
    arithmetic the law is that above, and rounding changes probabilities by roundoffs times `m` and
    the condition number of `X`. Rows of zeros are never drawn, equal rows never together.

    ``scores="sketch"`` estimates the scores by products with
    ``2 log(100 n) / (log 4 - 3/4)`` Gaussian vectors, and proposes by 4 times them. The law is
    exact if 4 times every estimate is at least the score, which fails with a probability of
    at most 0.01 (a Chernoff bound for chi-squared and the union of all rows). Seeing no violation
    among the proposals proves nothing, so that `exact` is False.

    The set-up takes the Gram matrix (a QR factorisation, where that is ill-conditioned), and
    ``n m^2`` flops for exact scores. On a device, every block of proposals synchronises twice.

    Storage: ``16 n`` bytes for the scores, ``m^2 + p m`` numbers of the widest dtype, and during
    a sample ``4 b m`` for blocks of ``b <= 512`` rows; `X` is kept and never copied. A scan takes
    ``n m`` numbers.

    References
    ----------
    .. [1] J. B. Hough, M. Krishnapur, Y. Peres, B. Virag, "Determinantal processes and
       independence", Probability Surveys 3 (2006).
    .. [2] A. Nouy, B. Michel, "Weighted least-squares approximation with determinantal point
       processes and generalized volume sampling", arXiv:2312.14057.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.vander(np.linspace(-1, 1, 1000), 4)
    >>> dpp = ProjectionDPP(X, rng=0)
    >>> rows = dpp.sample()
    >>> rows.shape, bool(np.isclose(dpp.inclusion_probabilities().sum(), 4))
    ((4,), True)
    """

    def __init__(
        self,
        X: Any,
        *,
        orthonormal: bool = False,
        scores: str = "exact",
        rank: int | None = None,
        rng: object = None,
    ) -> None:
        self._rng = as_generator(rng)
        with undone_on_error(rng):
            self._space = finite_space(
                X, orthonormal=orthonormal, scores=scores, rank=rank, rng=self._rng
            )
        self.n_proposals_ = 0

    @property
    def dim(self) -> int:
        """Rows of a sample."""
        return self._space.dim

    @property
    def exact(self) -> bool:
        """Whether all samples are exact."""
        return self._space.exact

    @property
    def failure_probability(self) -> float:
        """Bound on the total variation from the exact law."""
        return self._space.failure_probability

    def __repr__(self) -> str:
        return f"ProjectionDPP(n={self._space.n}, dim={self.dim}, exact={self.exact})"

    # --------------------------------------------------------------------------------- samples

    def sample(self, method: str = "auto", *, rng: object = None) -> Array:
        """Draw one sample.

        Parameters
        ----------
        method : {"auto", "rejection", "scan"}, default "auto"
            How; all have the same law.
        rng : None, int, SeedSequence, BitGenerator or Generator, optional
            Source of this sample; None goes on with the object's.

        Returns
        -------
        array (m,) of int64
            Row numbers, ascending, in the library of `X` and on its device.
        """
        check_choice("method", method, METHODS)
        return self._delivered(self._draw(method, self._generator(rng)))

    def sample_many(self, r: int, *, method: str = "auto", rng: object = None) -> Array:
        """Draw independent samples.

        Parameters
        ----------
        r : int
            How many.
        method : {"auto", "rejection", "scan"}, default "auto"
            How; all have the same law.
        rng : None, int, SeedSequence, BitGenerator or Generator, optional
            Source of these samples; None goes on with the object's.

        Returns
        -------
        array (r, m) of int64
            Row numbers, a sample a row, ascending in each: those of `r` calls of `sample`.
        """
        r = check_int("r", r, 0)
        check_choice("method", method, METHODS)
        generator, total = self._generator(rng), 0
        found = _HOST.empty((r, self.dim), dtype=_HOST.int64)
        for k in range(r):
            found[k, :] = self._draw(method, generator)
            total += self.n_proposals_
        self.n_proposals_ = total
        return self._delivered(found)

    def _generator(self, rng: object) -> Any:
        return self._rng if rng is None else as_generator(rng)

    def _delivered(self, index: HostArray) -> Array:
        space = self._space
        return asarray(index, xp=space.xp, device=space.device, dtype=index_dtype(space.xp))

    def _draw(self, method: str, rng: Any) -> HostArray:
        index, self.n_proposals_ = draw_rows(self._space, method, rng)
        return index

    # ------------------------------------------------------------------------------------- law

    def inclusion_probabilities(self) -> Array:
        """Return the probability of each row to be drawn, the leverage scores.

        Returns
        -------
        array (n,)
            Real, in the widest dtype of the device, between 0 and 1; their sum is `dim`, up to the
            roundoff times the condition number of `X`.
        """
        space = self._space
        scores = _HOST.minimum(space.scores(), 1.0)
        real = real_dtype(space.xp, space.dtype)
        return asarray(scores, xp=space.xp, device=space.device, dtype=real)

    def kernel(self, rows: Any, columns: Any = None) -> Array:
        """Return entries of the kernel ``K = X (X^H X)^{-1} X^H``.

        Parameters
        ----------
        rows : sequence of int, or integer array (a,)
            Row numbers.
        columns : sequence of int, or integer array (b,), optional
            Column numbers; those of `rows` by default.

        Returns
        -------
        array (a, b)
            In the widest dtype of the device.
        """
        n = self._space.n
        left = self._orthonormal(as_items("rows", rows, n))
        if columns is None:
            return hermitian_part(left @ adjoint(left, self._space.xp), self._space.xp)
        right = self._orthonormal(as_items("columns", columns, n))
        return left @ adjoint(right, self._space.xp)

    def log_prob(self, rows: Any) -> float:
        """Return the logarithm of the probability that a sample is the set of these rows.

        Parameters
        ----------
        rows : sequence of int, or integer array
            Different row numbers.

        Returns
        -------
        float
            ``log det K_SS``; minus infinity for a set of another size, or of dependent rows.
        """
        index = as_items("rows", rows, self._space.n, distinct=True)
        if index.shape[0] != self.dim:
            return -math.inf
        values = to_numpy(self._orthonormal(index))
        lengths = _HOST.linalg.vector_norm(values, axis=1)
        if not bool((lengths > 0).all()):
            return -math.inf
        singular = _HOST.linalg.svdvals(values / lengths[:, None])
        if singular[-1] <= self.dim * eps(self._space.xp, self._space.dtype):
            return -math.inf
        return 2 * float(_HOST.sum(_HOST.log(singular)) + _HOST.sum(_HOST.log(lengths)))

    def _orthonormal(self, index: HostArray) -> Array:
        rows, W = self._space.rows.take(index), self._space.whitener
        return rows if W is None else rows @ W


def draw_rows(space: FiniteSpace, method: str, rng: Any) -> tuple[HostArray, int]:
    """Return a sample of row numbers, ascending, and the proposals it took."""
    if method == "scan":
        return _HOST.sort(_scanned(space, space.whitener, rng)), 0
    walk = Walk(space)
    while walk.left:
        if method == "auto" and _scan_is_cheaper(space, walk.left):
            rest = _scanned(space, walk.basis, rng)
            found = rest if walk.left == space.dim else _HOST.concat([walk.points(), rest])
            return _HOST.sort(found), walk.n_proposals
        walk.step(rng)
    return _HOST.sort(walk.points()), walk.n_proposals


def _scan_is_cheaper(space: FiniteSpace, left: int) -> bool:
    """Compare ``n p s + n s^2`` with the expected proposals, each times ``p s``.

    The second term is of products with single vectors, which take longer.
    """
    n, p = space.rows.shape
    proposals = space.dim / left * expected_proposals(left) / space.acceptance
    return n * (p + _VECTORS * left) < proposals * p


def _scanned(space: FiniteSpace, basis: Array | None, rng: Any) -> HostArray:
    xp, on_host = working_namespace(space)
    given = (to_numpy(block) if on_host else block for block in space.rows.blocks())
    basis = to_numpy(basis) if on_host and basis is not None else basis
    blocks = [block if basis is None else block @ basis for block in given]
    R = blocks[0] if len(blocks) == 1 else xp.concat(blocks, axis=0)
    floor = 8 * math.sqrt(space.dim) * eps(space.xp, space.dtype)
    return scan(R, space.scores(), floor, rng, xp)
