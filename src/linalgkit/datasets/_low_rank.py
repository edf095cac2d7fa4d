"""Some entries of a matrix of low rank: with skewed sampling, noise and gross errors.

The matrix itself is never formed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse

from linalgkit._core.array import Array, to_numpy
from linalgkit._core.random import as_generator
from linalgkit._core.validation import check_float, check_int, message
from linalgkit.datasets._kronecker import indices_like, mover
from linalgkit.datasets._rows import HostArray, dtype_on_host, on_device
from linalgkit.datasets._spiked import _normal

_CHUNK = 2**22  # numbers of factors that are gathered together
_CROWDED = 8  # a column that is seen in more than one row of this many is drawn by itself
_TRIES = 200  # patterns that are drawn for one without lines of few entries


@dataclass(frozen=True, eq=False)
class LowRankEntries:
    """What :func:`low_rank_entries` returns: observed entries, and the matrix they are from.

    Attributes
    ----------
    matrix : scipy.sparse.csr_array of shape (m, n)
        The observed entries, on the host; sorted, each given once.
    U, V : array of shapes (m, k), (n, k)
        Factors of the exact matrix ``U V^H``, of orthogonal columns of equal norms,
        ``sqrt(singular_values)``.
    singular_values : array of shape (k,)
        Those of the exact matrix, descending.
    noise : float
        Standard deviation of the noise.
    outliers : boolean array of shape (N,)
        Which of ``matrix.data`` have a gross error, on the host.

    Notes
    -----
    Storage: the entries and ``(m + n) k`` numbers. The methods work on the host in double
    precision.
    """

    matrix: scipy.sparse.csr_array = field(repr=False)
    U: Array = field(repr=False)
    V: Array = field(repr=False)
    singular_values: Array = field(repr=False)
    noise: float
    outliers: HostArray = field(repr=False)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows m and columns n of the matrix."""
        return int(self.U.shape[0]), int(self.V.shape[0])

    @property
    def rank(self) -> int:
        """Rank k of the exact matrix."""
        return int(self.U.shape[1])

    @property
    def oversampling(self) -> float:
        """Observed entries over the degrees of freedom ``k (m + n - k)``."""
        m, n = self.shape
        return float(self.matrix.nnz / (self.rank * (m + n - self.rank)))

    def triples(self) -> tuple[Array, Array, Array, tuple[int, int]]:
        """Return the observed entries in the library and on the device of the factors.

        Returns
        -------
        rows, cols : integer array of shape (N,)
            Where the entries are, sorted by rows.
        values : array of shape (N,)
            What they are.
        shape : tuple of int
            (m, n).
        """
        rows = np.repeat(np.arange(self.shape[0]), np.diff(self.matrix.indptr))
        indices = (indices_like(i, self.U) for i in (rows, self.matrix.indices))
        return *indices, on_device(self.matrix.data, self.U), self.shape

    def truth(self, rows: Any, cols: Any) -> HostArray:
        """Return entries of the exact matrix.

        Parameters
        ----------
        rows, cols : array of integers of shape (q,)
            Where they are.

        Returns
        -------
        host array of shape (q,)
            Without noise, in double precision.
        """
        i, j = (np.asarray(to_numpy(x) if hasattr(x, "shape") else x) for x in (rows, cols))
        U, V = (_wide(x) for x in (self.U, self.V))
        return _products(U, V, i, j)

    def relative_error(self, U: Array, V: Array) -> float:
        """Return ``|U V^H - A|_F / |A|_F`` for the exact matrix A.

        Parameters
        ----------
        U, V : array of shapes (m, r), (n, r)
            Factors of an estimate, of any library.

        Returns
        -------
        float
            The error, to a few units of rounding of the double precision: it is found from the
            triangular factors of ``(U, U_A)`` and ``(V, V_A)``, without the matrix.

        Raises
        ------
        ValueError
            If the shapes are not those of factors of the matrix.

        Notes
        -----
        Storage: ``2 (m + n) (r + k)`` numbers.
        """
        left, right = _wide(U), _wide(V)
        m, n = self.shape
        r = left.shape[1] if left.ndim == 2 else -1
        if left.shape != (m, r) or right.shape != (n, r):
            rule = f"have the shapes ({m}, r) and ({n}, r)"
            raise ValueError(message("U and V", rule, (left.shape, right.shape)))
        first = np.linalg.qr(np.concatenate([left, _wide(self.U)], axis=1), mode="r")
        second = np.linalg.qr(np.concatenate([right, -_wide(self.V)], axis=1), mode="r")
        exact = float(np.linalg.norm(to_numpy(self.singular_values).astype(np.float64)))
        return float(np.linalg.norm(first @ np.conj(second).T)) / exact


def low_rank_entries(
    shape: tuple[int, int],
    rank: int,
    n_entries: int,
    *,
    cond: float = 1.0,
    skew: float = 0.0,
    noise: float = 0.0,
    outliers: float = 0.0,
    outlier_size: float = 10.0,
    min_entries: int = 0,
    dtype: Any = None,
    like: Array | None = None,
    rng: Any = None,
) -> LowRankEntries:
    """Draw a matrix of low rank whose entries have the root mean square 1, and observe some.

    Parameters
    ----------
    shape : tuple of int
        Rows m and columns n.
    rank : int
        Rank k, at most ``min(m, n)``.
    n_entries : int
        Number N of observed entries, at most ``m n``.
    cond : float, default 1.0
        Largest over smallest singular value; those between are in geometric progression.
    skew : float, default 0.0
        Exponent of Zipf's law of the columns: the popularity of the p-th in a random order is
        ``p**-skew``. 0 samples uniformly.
    noise : float, default 0.0
        Standard deviation of independent normal noise on the observed entries.
    outliers : float, default 0.0
        Fraction of the observed entries that have a gross error, from 0 to 1.
    outlier_size : float, default 10.0
        Standard deviation of the gross errors, normal numbers that are added.
    min_entries : int, default 0
        Fewest entries of a row and of a column: patterns are drawn until one has them.
    dtype : str or dtype, optional
        Floating dtype, float64 by default. Complex numbers are circular.
    like : array, optional
        An array whose library, device and (without `dtype`) dtype the factors shall have.
    rng : None, int, SeedSequence, BitGenerator or Generator
        Seed. The factors do not depend on the entries, nor the pattern on noise and errors.

    Returns
    -------
    LowRankEntries
        The entries, the factors, and the error of an estimate.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind.
    ValueError
        If one is out of its range, or no pattern with `min_entries` a line turns up.

    Notes
    -----
    The singular vectors are uniform (incoherent up to a logarithm). Each entry draws its column by
    the law of popularity; a column that has all its rows sends the rest of its entries to the
    others; its rows are a uniform subset. Storage: about ``5 N`` numbers of 8 bytes at a time
    beside what is returned.

    Examples
    --------
    >>> from linalgkit.datasets import low_rank_entries
    >>> problem = low_rank_entries((60, 40), 3, 1200, cond=10.0, skew=0.5, rng=0)
    >>> problem.matrix.nnz, round(problem.oversampling, 1)
    (1200, 4.1)
    >>> problem.relative_error(problem.U, problem.V) < 1e-14
    True
    """
    m, n = _checked_shape(shape)
    k = check_int("rank", rank, 1, min(m, n), f"for the shape {(m, n)}")
    count = check_int("n_entries", n_entries, 1, m * n, f"for the shape {(m, n)}")
    cond, skew = check_float("cond", cond, 1.0), check_float("skew", skew, 0.0)
    noise = check_float("noise", noise, 0.0)
    outliers = check_float("outliers", outliers, 0.0, 1.0)
    size = check_float("outlier_size", outlier_size, 0.0)
    least = check_int("min_entries", min_entries, 0, count // max(m, n), "on average")
    kept = dtype_on_host(dtype, like)
    factors, places, errors = as_generator(rng).spawn(3)
    s = np.geomspace(cond, 1.0, k)
    s *= math.sqrt(m * n) / float(np.linalg.norm(s))
    wide = np.result_type(kept, np.float64)
    U, V = (np.linalg.qr(_normal(factors, (a, k), wide))[0] * np.sqrt(s) for a in (m, n))
    rows, cols = _pattern(m, n, count, skew, least, places)
    values = _products(U, V, rows, cols)
    if noise > 0.0:
        values += noise * _normal(errors, values.shape, wide)
    gross = np.zeros(count, dtype=bool)
    gross[errors.choice(count, round(outliers * count), replace=False)] = True
    values[gross] += size * _normal(errors, (int(gross.sum()),), wide)
    start = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=m))])
    small = np.int32 if max(count, m, n) < 2**31 else np.int64
    matrix = scipy.sparse.csr_array(
        (values.astype(kept), cols.astype(small), start.astype(small)), shape=(m, n)
    )
    moved = mover(kept, like)
    real = mover(np.empty(0, kept).real.dtype, like)
    return LowRankEntries(matrix, moved(U), moved(V), real(s), noise, gross)


def _checked_shape(shape: Any) -> tuple[int, int]:
    if not isinstance(shape, (tuple, list)) or len(shape) != 2:
        kind = ValueError if isinstance(shape, (tuple, list)) else TypeError
        raise kind(message("shape", "be two integers (m, n)", shape))
    m, n = (check_int(f"shape[{i}]", size, 1) for i, size in enumerate(shape))
    return m, n


def _wide(x: Array) -> HostArray:
    """Return an array on the host in double precision."""
    host = to_numpy(x)
    return host.astype(np.result_type(host, np.float64), copy=False)


def _products(U: HostArray, V: HostArray, rows: HostArray, cols: HostArray) -> HostArray:
    """Return ``U[i, :] . conj(V[j, :])`` for pairs of indices."""
    step = max(1, _CHUNK // U.shape[1])
    found = np.empty(rows.shape, dtype=U.dtype)
    for start in range(0, rows.size, step):
        part = slice(start, start + step)
        found[part] = np.einsum("tq,tq->t", U[rows[part]], V[cols[part]].conj())
    return found


# -------------------------------------------------------------------------------- the pattern


def _pattern(
    m: int, n: int, count: int, skew: float, least: int, rng: np.random.Generator
) -> tuple[HostArray, HostArray]:
    """Return rows and columns of distinct entries, sorted, with enough of them in each line."""
    for _ in range(_TRIES):
        rows, cols = _draw(m, n, count, skew, rng)
        if least == 0:
            return rows, cols
        fewest = min(int(np.bincount(i, minlength=a).min()) for i, a in ((rows, m), (cols, n)))
        if fewest >= least:
            return rows, cols
    raise ValueError(
        f"min_entries must be such that a random pattern has so many in each line, got {least}: "
        f"none of {_TRIES} patterns had. Raise n_entries, or lower min_entries or skew."
    )


def _draw(
    m: int, n: int, count: int, skew: float, rng: np.random.Generator
) -> tuple[HostArray, HostArray]:
    law = np.arange(1.0, n + 1.0) ** -skew
    numbers = _numbers(m, count, rng.permutation(law), rng)
    keys = np.concatenate([*_crowded(m, n, numbers, rng), *_sparse(m, n, numbers, rng)])
    keys.sort()
    return keys // n, keys % n


def _numbers(m: int, count: int, law: HostArray, rng: np.random.Generator) -> HostArray:
    """Return how many entries each column has: multinomial, at most m each."""
    numbers = np.zeros(law.size, dtype=np.int64)
    while (left := count - int(numbers.sum())) > 0:
        open_ = np.where(numbers < m, law, 0.0)
        numbers = np.minimum(numbers + rng.multinomial(left, open_ / open_.sum()), m)
    return numbers


def _crowded(m: int, n: int, numbers: HostArray, rng: np.random.Generator) -> Iterator[HostArray]:
    """Yield keys ``row n + column`` of the columns that are seen in many rows."""
    for j in np.flatnonzero(numbers > m // _CROWDED):
        yield rng.choice(m, int(numbers[j]), replace=False, shuffle=False) * n + j


def _sparse(m: int, n: int, numbers: HostArray, rng: np.random.Generator) -> Iterator[HostArray]:
    """Yield keys of the other columns: drawn again as long as an entry was drawn twice."""
    wanted = np.where(numbers > m // _CROWDED, 0, numbers)
    keys = np.zeros(0, dtype=np.int64)
    while (missing := wanted - np.bincount(keys % n, minlength=n)).any():
        cols = np.repeat(np.arange(n), missing)
        more = np.sort(rng.integers(0, m, cols.size) * n + cols)
        keys = np.sort(np.concatenate([keys, more]), kind="stable")  # two runs: a merge
        keys = keys[np.concatenate([[True], keys[1:] != keys[:-1]])]  # np.unique hashes: slower
    yield keys
