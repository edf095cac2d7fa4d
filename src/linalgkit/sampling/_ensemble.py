"""Determinantal point processes from a kernel of likelihoods, of any size or of a fixed one.

::

    process = LEnsemble(B, rng=0)       # P(S) ~ det L_SS with L = B B^H
    process.sample()                    # of random size
    process.sample(20)                  # a k-DPP: of size 20
    process.rescale(15).sample()        # of random size, 15 on average
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import scipy.optimize
import scipy.special

from linalgkit._core.array import (
    Array,
    DType,
    Namespace,
    adjoint,
    asarray,
    device,
    eps,
    itemsize,
    numpy_namespace,
    real_dtype,
    to_numpy,
    widest_dtype,
    working_dtype,
)
from linalgkit._core.capabilities import capability
from linalgkit._core.estimator import as_array
from linalgkit._core.linalg import eigh_desc
from linalgkit._core.operator_base import squared_row_norms
from linalgkit._core.qr import tsqr
from linalgkit._core.random import HostArray, as_generator, undone_on_error
from linalgkit._core.scaling import ldexp, ldexp_float, max_abs, scale_exponent
from linalgkit._core.state import PortablePickle
from linalgkit._core.validation import check_array_2d, check_finite_block, check_float, check_int
from linalgkit._kernels.thinning import thinned_proposals
from linalgkit.sampling._chain import block_size, sample_chain
from linalgkit.sampling._items import as_items
from linalgkit.sampling._marginal import as_indices, check_square, hermitian
from linalgkit.sampling._polynomials import select, selection_probabilities, selection_table
from linalgkit.sampling._proposals import Proposals
from linalgkit.sampling._scan import draw_index
from linalgkit.sampling._whitening import Rows
from linalgkit.sampling.theory import expected_proposals
from linalgkit.sketching._blocks import joined

_HOST = numpy_namespace()
_BLOCK_BYTES = 4 * 2**20
_ACCURATE = 1e-6  # eigenvalues of a Gram matrix down to this part have ten digits
_SURPLUS = 1.3  # of proposals over the expected number needed
_LARGEST_BLOCK = 128  # of a sample for which the time of calls counts more than that of products


@capability("sampling.LEnsemble", synchronisations={"call": 4, "sample": 3, "probabilities": 1})
class LEnsemble:
    """Determinantal point process of likelihoods ``P(S) ~ det L_SS``, and its k-DPPs.

    Parameters
    ----------
    B : array (n, D), optional
        Real or complex, one row an item: ``L = B B^H``. Kept, not copied: do not write into it.
    L : array (n, n), optional
        Hermitian and positive semi-definite; give either `B` or `L`.
    rng : None, int, SeedSequence, BitGenerator or Generator
        Source of random numbers of the samples for which no other is given.

    Attributes
    ----------
    rank : int
        Numerical rank of `L`, the largest size of a sample.

    Raises
    ------
    TypeError
        If not exactly one of `B` and `L` is given, it is no dense numeric array, or `rng` is of a
        wrong kind.
    ValueError
        If the matrix is not 2-D, empty, or holds NaN or infinity; if `L` is not square, not
        Hermitian by more than the square root of its roundoff, or has a negative eigenvalue
        beyond ``4 n eps`` of the largest.

    Notes
    -----
    The eigenvalues of `L` are those of the small matrix ``B^H B`` (with `L` given or ``n < D``,
    of the n x n matrix), computed once in the device's widest precision; where they span more
    than six decades, the squared singular values of a triangular factor. Singular values not above
    ``min(n, D) max(100 eps, eps_B)`` times the largest are dropped as rounding of zero, where `eps`
    is the roundoff of the widest precision and `eps_B` that of `B`; of a given `L`, eigenvalues
    not above ``4 n eps_L`` times the largest. What is kept is accurate to the roundoff times the
    ratio of the largest to the smallest singular value kept.

    A sample chooses eigenvectors: each with probability ``lam / (1 + lam)``, or `k` of them by
    elementary symmetric polynomials, in logarithms [1]_. Then it is one of the projection process
    of these, by blocked rejection [2]_. Proposals are drawn by the leverage scores of all
    eigenvectors, ``rank / k`` times as many as those of the chosen ones would take: ``rank H_k``
    are expected. Once the first sample has summed up the scores, no sample passes over the items
    again, and only the rows of proposals are read. (With `L` given or ``n < D``, the chosen
    eigenvectors themselves are gathered, and proposals drawn by their scores.)

    Eigenvectors of eigenvalues that agree to rounding may be other ones in another library, and so
    may then be the sample from the same random numbers. The law does not depend on that.

    The scale of `B` is arbitrary for k-DPPs: eigenvalues are kept as logarithms. Items whose row
    is zero are never drawn, equal rows never together.

    Storage: ``16 n`` bytes for the scores and their sums, ``2 D^2`` numbers, ``8 rank (k + 1)``
    bytes for the size drawn last, and blocks of 4 MiB during set-up; with `L` given or ``n < D``
    ``n rank`` numbers more, ``3 n^2`` during set-up. One transfer of the eigenvalues and one of
    the scores to the host; two for each block of proposals.

    References
    ----------
    .. [1] A. Kulesza, B. Taskar, "Determinantal point processes for machine learning", Found.
       Trends Mach. Learn. 5 (2012), Algorithms 1, 7 and 8, and section 3.3.
    .. [2] J. B. Hough, M. Krishnapur, Y. Peres, B. Virag, "Determinantal processes and
       independence", Probab. Surv. 3 (2006), Algorithm 18.

    Examples
    --------
    >>> import numpy as np
    >>> B = np.random.default_rng(1).standard_normal((1000, 10))
    >>> process = LEnsemble(B, rng=0)
    >>> process.rank, process.sample(4).shape
    (10, (4,))
    >>> smaller = process.rescale(3.5)
    >>> round(smaller.expected_size(), 9)
    3.5
    """

    def __init__(
        self, B: Array | None = None, *, L: Array | None = None, rng: object = None
    ) -> None:
        if (B is None) == (L is None):
            raise TypeError("exactly one of B and L must be given, got both or none.")
        self._rng = as_generator(rng)
        self._factor = _factor_of_rows(B) if L is None else _factor_of_kernel(L)
        self._shift = 0.0

    @property
    def rank(self) -> int:
        """Numerical rank of `L`."""
        return self._factor.rank

    def __repr__(self) -> str:
        """Return the number of items, the rank and the expected size."""
        n, size = self._factor.n, self.expected_size()
        return f"LEnsemble(n={n}, rank={self.rank}, expected_size={size:.6g})"

    def expected_size(self) -> float:
        """Return the expected size of a sample of random size, ``sum lam / (1 + lam)``."""
        return math.fsum(scipy.special.expit(self._log_values()))

    def rescale(self, size: float) -> LEnsemble:
        """Return the process of ``c L`` whose expected size is `size`.

        Parameters
        ----------
        size : float
            Between 0 and the rank, both excluded.

        Returns
        -------
        LEnsemble
            Shares matrices, tables and the source of random numbers with this one.

        Raises
        ------
        TypeError
            If `size` is no real number.
        ValueError
            If no factor has this expected size.
        """
        why = f"for a kernel of numerical rank {self.rank}"
        size = check_float("size", size, 0, self.rank, why, low_open=True, high_open=True)
        scaled = object.__new__(LEnsemble)
        scaled._rng, scaled._factor = self._rng, self._factor
        scaled._shift = _shift_to(self._factor.log_values, size)
        return scaled

    def inclusion_probabilities(self, k: int | None = None) -> Array:
        """Return the probability of each item to be in a sample.

        Parameters
        ----------
        k : int, optional
            Size of the samples; None for samples of random size.

        Returns
        -------
        array (n,)
            In the library of the matrix, on its device, in the real dtype of its precision. One
            pass over the items.

        Raises
        ------
        TypeError
            If `k` is no integer.
        ValueError
            If `k` is negative or exceeds the rank.
        """
        if k is None:
            weights = scipy.special.expit(self._log_values())
        else:
            weights = selection_probabilities(self._table(self._checked_size(k))[0])
        return self._factor.weighted_scores(weights)

    def log_prob(self, S: Any, k: int | None = None) -> float:
        """Return the logarithm of the probability that a sample is the set `S`.

        Parameters
        ----------
        S : iterable of int, or integer array
            The items of the set, in any order.
        k : int, optional
            Size of the samples; None for samples of random size.

        Returns
        -------
        float
            ``-inf`` where the rows of the set depend on each other to rounding, or where it has
            not `k` items.

        Raises
        ------
        TypeError
            If `S` or `k` are no integers.
        ValueError
            If an index is out of range or occurs twice, or `k` exceeds the rank.
        """
        items = as_items("S", S, self._factor.n, distinct=True)
        if k is None:
            log_total = float(_HOST.sum(_HOST.logaddexp(0.0, self._log_values())))
        else:
            size = self._checked_size(k)
            if len(items) != size:
                return -math.inf
            log_total = self._table(size)[1] + size * self._shift
        return self._factor.log_det(items) + len(items) * self._shift - log_total

    def sample(self, k: int | None = None, *, rng: object = None) -> Array:
        """Draw a sample.

        Parameters
        ----------
        k : int, optional
            Its size; None for a random one.
        rng : None, int, SeedSequence, BitGenerator or Generator
            None goes on with the generator of the object.

        Returns
        -------
        integer array (k,)
            Indices in ascending order, in the library of the matrix and on its device.

        Raises
        ------
        TypeError
            If `k` is no integer, or `rng` of a wrong kind.
        ValueError
            If `k` is negative or exceeds the rank.

        Notes
        -----
        Storage: ``k (D + k)`` numbers and the rows of a block of proposals; ``n k`` where `L` was
        given or ``n < D``.
        """
        size = None if k is None else self._checked_size(k)
        factor = self._factor
        with undone_on_error(rng):
            generator = self._rng if rng is None else as_generator(rng)
            uniforms = generator.random(self.rank)
            if size is None:
                chosen = _HOST.nonzero(uniforms < scipy.special.expit(self._log_values()))[0]
            else:
                chosen = _HOST.asarray(select(self._table(size)[0], uniforms), dtype=_HOST.int64)
            space = _Columns if factor.is_orthonormal else _Chosen
            picked = sample_chain(space(factor, chosen), generator)[0] if len(chosen) else chosen
        return as_indices(picked, factor.rows.xp, factor.rows.device)

    def _log_values(self) -> HostArray:
        return self._factor.log_values + self._shift

    def _checked_size(self, k: object) -> int:
        why = f"for a kernel of numerical rank {self.rank}"
        return check_int("k", k, 0, self.rank, why)

    def _table(self, k: int) -> tuple[HostArray, float]:
        """Return what chooses `k` eigenvectors, from the last call if it was for the same `k`."""
        if self._factor.kept_table is None or self._factor.kept_table[0] != k:
            self._factor.kept_table = (k, *selection_table(self._factor.log_values, k))
        return self._factor.kept_table[1:]


# ----------------------------------------------------------------------------- factorisation


@dataclass(eq=False)
class _Factor(PortablePickle):
    """Rows of items and what makes them rows of the eigenvectors of `L`."""

    rows: Rows  # (n, p)
    whitener: Array  # (p, r), widest dtype: rows times it are those of the eigenvectors
    log_values: HostArray  # (r,), logarithms of the eigenvalues, descending
    dtype: DType  # of the caller's precision
    is_orthonormal: bool = False  # whether the rows are those of the eigenvectors themselves
    kept_table: tuple[int, HostArray, float] | None = None

    @property
    def n(self) -> int:
        return self.rows.shape[0]

    @property
    def rank(self) -> int:
        return int(self.log_values.shape[0])

    @functools.cached_property
    def scores(self) -> tuple[HostArray, HostArray]:
        """Leverage scores of the items and their running sums, float64 on the host."""
        scores = self.rows.norms_after(self.whitener)
        return scores, _HOST.cumulative_sum(scores)

    def weighted_scores(self, weights: HostArray) -> Array:
        """Return ``sum_j weights_j |v_ij|^2`` for every item, in the caller's precision."""
        xp, W, on = self.rows.xp, self.whitener, self.rows.device
        roots = asarray(_HOST.sqrt(weights), xp=xp, device=on, dtype=W.dtype, copy=False)
        found = _HOST.clip(self.rows.norms_after(W * roots[None, :]), 0.0, 1.0)
        return asarray(found, xp=xp, device=on, dtype=real_dtype(xp, self.dtype), copy=False)

    def log_det(self, items: HostArray) -> float:
        """Return ``log det L_SS``, -inf if the rows depend on each other to rounding."""
        if not len(items):
            return 0.0
        if len(items) > self.rank:
            return -math.inf
        largest = float(self.log_values[0])
        vectors = to_numpy(self.rows.take(items) @ self.whitener)
        scaled = vectors * _HOST.exp((self.log_values - largest) / 2)[None, :]
        norms = _HOST.linalg.vector_norm(scaled, axis=1)
        if not norms.all():
            return -math.inf
        s = _HOST.linalg.svdvals(scaled / norms[:, None])
        if s[-1] <= max(scaled.shape) * eps(self.rows.xp, self.whitener.dtype):
            return -math.inf
        volume = 2 * math.fsum(_HOST.log(s)) + 2 * math.fsum(_HOST.log(norms))
        return volume + len(items) * largest


class _Chosen:
    """The space of some of the eigenvectors, as the sampler takes it."""

    whitener = None

    def __init__(self, factor: _Factor, chosen: HostArray) -> None:
        rows = factor.rows
        self.factor, self.dim = factor, len(chosen)
        self.xp, self.device, self.dtype = rows.xp, rows.device, rows.dtype
        self._tries = _SURPLUS * factor.rank / self.dim
        self._largest = max(64, _BLOCK_BYTES // (rows.shape[1] * itemsize(rows.xp, rows.dtype)))
        columns = asarray(chosen, xp=self.xp, device=self.device, copy=False)
        self._basis = self.xp.take(factor.whitener, columns, axis=1)

    @property
    def block(self) -> int:
        """How many proposals to look at together: few, since each takes several items to read."""
        enough = math.ceil(_SURPLUS * expected_proposals(self.dim))
        return min(enough, max(_LARGEST_BLOCK, block_size(self.dim)))

    def draw(self, count: int, rng: Any) -> Proposals:
        """Return items drawn by the leverage scores of the chosen eigenvectors, and their rows."""
        parts: list[tuple[HostArray, Array, HostArray]] = []
        while count > 0:
            parts.append(self._kept(count, rng))
            count -= len(parts[-1][0])
        items, rows, norms = (list(part) for part in zip(*parts, strict=True))
        return Proposals(joined(items, 0, _HOST), joined(rows, 0, self.xp), joined(norms, 0, _HOST))

    def _kept(self, need: int, rng: Any) -> tuple[HostArray, Array, HostArray]:
        """Return proposals by the scores of all eigenvectors, kept by their share in the chosen."""
        uniforms = rng.random((2, min(self._largest, math.ceil(self._tries * need))))
        rows, (scores, sums) = self.factor.rows, self.factor.scores
        found: tuple[HostArray, Array, HostArray] = thinned_proposals(
            self.xp, rows.X, rows.exponent, self._basis, sums, scores, uniforms, need
        )
        return found


class _Columns:
    """The space of some of the eigenvectors, where all of them are at hand."""

    whitener = None

    def __init__(self, factor: _Factor, chosen: HostArray) -> None:
        rows = factor.rows
        self.dim = len(chosen)
        self.xp, self.device, self.dtype = rows.xp, rows.device, rows.dtype
        columns = asarray(chosen, xp=self.xp, device=self.device, copy=False)
        self._vectors = Rows(self.xp.take(rows.X, columns, axis=1), self.xp)
        norms = squared_row_norms(self._vectors.X, self.dtype, self.xp)
        self._scores = to_numpy(norms).astype(_HOST.float64)
        self._sums = _HOST.cumulative_sum(self._scores)

    def draw(self, count: int, rng: Any) -> Proposals:
        """Return items drawn by their leverage scores."""
        items = draw_index(self._sums, rng.random(count))
        return Proposals(items, self._vectors.take(items), self._scores[items])


def _factor_of_rows(B: Any) -> _Factor:
    """Return the factor of ``L = B B^H``."""
    B, xp = check_array_2d("B", as_array(B, "B"), min_rows=1)
    check_finite_block(B, name="B")
    dtype = working_dtype(xp, device(B), B.dtype)
    B = xp.astype(B, dtype, copy=False)
    n, D = B.shape
    rows = Rows(B if n >= D else adjoint(B, xp), xp)
    if max_abs(B, xp) == 0:
        none = xp.zeros((n, 0), dtype=rows.dtype, device=rows.device)
        return _orthonormal(none, [], B[:, 0], xp, dtype)
    w, V = eigh_desc(rows.gram(), xp)
    values = to_numpy(w).astype(_HOST.float64)
    if values[-1] < _ACCURATE * values[0]:
        # Small eigenvalues of a Gram matrix have few digits: those of its triangular factor have.
        R = tsqr(rows.blocks(4 * rows.shape[1]))
        _, s, Vh = xp.linalg.svd(R, full_matrices=False)
        w, V = s * s, adjoint(Vh, xp)
        values = to_numpy(s).astype(_HOST.float64) ** 2
    least = min(n, D) * max(100 * eps(xp, rows.dtype), eps(xp, dtype))
    rank = _rank(values, least**2)
    logs = _HOST.log(values[:rank]) + 2 * rows.exponent * math.log(2.0)
    if n < D:
        return _orthonormal(V[:, :rank], logs, xp.max(xp.abs(B), axis=1), xp, dtype)
    roots = xp.astype(xp.sqrt(w[:rank]), rows.dtype, copy=False)
    W = V[:, :rank] / roots[None, :]
    if values[rank - 1] < _ACCURATE * values[0]:
        # One more pass: the nearest matrix for which the columns of B W are orthonormal.
        g, U = eigh_desc(rows.gram_after(W, False), xp)
        W = W @ ((U / xp.astype(xp.sqrt(g), U.dtype, copy=False)[None, :]) @ adjoint(U, xp))
    return _Factor(rows, W, logs, dtype)


def _factor_of_kernel(L: Any) -> _Factor:
    """Return the factor of a dense kernel."""
    L, xp = check_square("L", L)
    dtype = working_dtype(xp, device(L), L.dtype)
    tolerance = 4 * L.shape[0] * eps(xp, dtype)
    wide = xp.astype(L, widest_dtype(xp, device(L), dtype), copy=False)
    exponent = scale_exponent(max_abs(wide, xp))
    wide = hermitian("L", ldexp(wide, -exponent, xp), math.sqrt(eps(xp, dtype)), xp)
    w, V = eigh_desc(wide, xp)
    values = to_numpy(w).astype(_HOST.float64)
    if values[-1] < -tolerance * max(values[0], 0.0):
        raise ValueError(
            "L must be positive semi-definite, got eigenvalues from "
            f"{ldexp_float(float(values[-1]), exponent):.6g} to "
            f"{ldexp_float(float(values[0]), exponent):.6g}."
        )
    rank = _rank(values, tolerance)
    logs = _HOST.log(values[:rank]) + exponent * math.log(2.0)
    return _orthonormal(V[:, :rank], logs, xp.linalg.diagonal(L), xp, dtype)


def _orthonormal(V: Array, logs: Any, sizes: Array, xp: Namespace, dtype: DType) -> _Factor:
    """Return the factor whose rows are those of the eigenvectors, zero where sizes are."""
    V = xp.where((sizes != 0)[:, None], V, xp.zeros_like(V))
    identity = xp.eye(V.shape[1], dtype=V.dtype, device=device(V))
    values = _HOST.asarray(logs, dtype=_HOST.float64)
    return _Factor(Rows(V, xp), identity, values, dtype, is_orthonormal=True)


def _rank(values: HostArray, least: float) -> int:
    """Return how many of descending eigenvalues exceed a fraction of the largest."""
    return int(_HOST.count_nonzero((values > least * values[0]) & (values > 0)))


def _shift_to(log_values: HostArray, size: float) -> float:
    """Return the `t` with ``sum lam e^t / (1 + lam e^t) = size``."""
    middle = math.log(size) - math.log(len(log_values) - size)
    low, high = middle - float(log_values[0]), middle - float(log_values[-1])

    def excess(t: float) -> float:
        return float(math.fsum(scipy.special.expit(log_values + t)) - size)

    if excess(low) >= 0 or excess(high) <= 0:  # all eigenvalues are equal, to rounding
        return low if abs(excess(low)) <= abs(excess(high)) else high
    return float(scipy.optimize.brentq(excess, low, high, xtol=1e-14))
