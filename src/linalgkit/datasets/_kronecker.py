"""Sparse tensors seen through the Kronecker product of Gaussian matrices.

Sizes are those of the factors; nothing of the size of the unknown tensor is ever formed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np

from linalgkit._core.array import Array, to_numpy
from linalgkit._core.random import as_generator
from linalgkit._core.validation import check_bool, check_float, check_int, message
from linalgkit.datasets._rows import HostArray, dtype_on_host, on_device
from linalgkit.datasets._spiked import _normal


@dataclass(frozen=True, eq=False)
class KroneckerSparseProblem:
    """What :func:`kronecker_sparse` returns: a problem and its answer.

    ``y = (H_1 (x) ... (x) H_I) x + noise``, where x is zero outside a product of index sets.

    Attributes
    ----------
    factors : list of array, shapes (M_i, N_i)
        The matrices H_i.
    y : array of shape (M_1, ..., M_I) or (M_1, ..., M_I, L)
        The data: the tensor `clean` and white noise.
    noise_var : float
        Variance of an entry of the noise (of its squared modulus where it is complex).
    support : list of integer array, shapes (K_i,)
        Sorted indices, mode by mode, of the entries of x that are not zero.
    coef : array of shape (K_1, ..., K_I) or (K_1, ..., K_I, L)
        These entries.
    clean : array of the shape of y
        The data without noise.

    Notes
    -----
    Storage: twice the data, the factors, and ``prod K_i * L`` numbers. The methods work on the
    host in double precision and copy there what they need.
    """

    factors: list[Array] = field(repr=False)
    y: Array = field(repr=False)
    noise_var: float
    support: list[Array]
    coef: Array = field(repr=False)
    clean: Array = field(repr=False)

    def oracle(self) -> Array:
        """Return the least-squares coefficients of somebody who is told the support.

        Returns
        -------
        array of the shape of coef
            ``y`` times the pseudoinverse of the columns on the support, mode by mode. Its
            :meth:`nmse` has the expectation ``noise_var * prod_i tr((H_i^H H_i)^-1) / |x|^2``
            (H_i restricted to its support), L times that for L snapshots.
        """
        columns = [
            to_numpy(H)[:, to_numpy(s)] for H, s in zip(self.factors, self.support, strict=True)
        ]
        y = to_numpy(self.y).astype(_wide(to_numpy(self.y)), copy=False)
        found = multilinear([np.linalg.pinv(H.astype(_wide(H))) for H in columns], y)
        return on_device(found.astype(to_numpy(self.coef).dtype), self.coef)

    def nmse(self, coef: Array, support: Sequence[Array] | None = None) -> float:
        """Return the relative squared error ``|x_hat - x|^2 / |x|^2`` of an estimate.

        Parameters
        ----------
        coef : array of shape (n_1, ..., n_I) or (n_1, ..., n_I, L)
            The estimate inside its support.
        support : sequence of integer array, shapes (n_i,), optional
            Its indices, distinct, in any order; the true ones by default. Outside it is zero. A
            dense estimate has the support ``[arange(N_1), ..., arange(N_I)]``.

        Returns
        -------
        float
            The error: 0 for the true x, 1 for the estimate zero.

        Raises
        ------
        ValueError
            If the shapes of `coef` and `support` do not belong together.
        """
        truth = to_numpy(self.coef)
        exact = truth.astype(_wide(truth), copy=False)
        chosen = self._indices(support)
        shape = (*(s.size for s in chosen), *exact.shape[len(chosen) :])
        estimate = to_numpy(coef)
        if estimate.shape != shape:
            rule = f"have the shape {shape} of its support"
            raise ValueError(message("coef", rule, estimate.shape))
        pairs = [_common(to_numpy(s), c) for s, c in zip(self.support, chosen, strict=True)]
        ours, theirs = (np.ix_(*(pair[k] for pair in pairs)) for k in (0, 1))
        error = estimate.astype(np.result_type(exact, estimate), copy=True)
        error[theirs] -= exact[ours]
        missed = exact.copy()
        missed[ours] = 0.0
        return (energy(error) + energy(missed)) / energy(exact)

    def support_rate(self, support: Sequence[Array]) -> float:
        """Return ``|S and S'| / |S or S'|`` for the sets of entries S of x and S' of an estimate.

        Parameters
        ----------
        support : sequence of integer array
            The estimate's indices, mode by mode; S' is their product.

        Returns
        -------
        float
            1 where the support is the true one, 0 where no entry is common.
        """
        chosen = self._indices(support)
        truth = [to_numpy(s) for s in self.support]
        common = math.prod(np.intersect1d(s, c).size for s, c in zip(truth, chosen, strict=True))
        sizes = [math.prod(int(s.size) for s in sets) for sets in (truth, chosen)]
        return common / (sum(sizes) - common)

    def _indices(self, support: Sequence[Array] | None) -> list[HostArray]:
        """Return index sets on the host, one a mode."""
        given = self.support if support is None else list(support)
        if len(given) != len(self.factors):
            rule = f"hold {len(self.factors)} index arrays, one a mode"
            raise ValueError(message("support", rule, len(given)))
        return [np.asarray(to_numpy(s), dtype=np.int64).reshape(-1) for s in given]


def kronecker_sparse(
    widths: Sequence[int],
    sizes: Sequence[int],
    nonzeros: Sequence[int],
    *,
    snr_db: float = 20.0,
    snapshots: int | None = None,
    rank_one: bool = False,
    dtype: Any = None,
    like: Array | None = None,
    rng: Any = None,
) -> KroneckerSparseProblem:
    """Draw Gaussian factors, a sparse tensor on a random product of index sets, and the data.

    Parameters
    ----------
    widths, sizes : sequence of int
        Columns N_i and rows M_i of the factors, one pair a mode.
    nonzeros : sequence of int
        Numbers K_i of indices of the support, ``1 <= K_i <= N_i``.
    snr_db : float, default 20.0
        Mean squared modulus of the clean data over the variance of the noise, in decibels. The
        draws do not depend on it: it scales the noise alone.
    snapshots : int, optional
        Number L of data tensors with one support, as a last axis; no such axis by default.
    rank_one : bool, default False
        Whether the coefficients are an outer product of Gaussian vectors, one a mode (and one
        of length L for the snapshots), instead of independent.
    dtype : str or dtype, optional
        Floating dtype, float64 by default. Complex numbers are circular, of unit variance.
    like : array, optional
        An array whose library, device and (without `dtype`) dtype the arrays shall have.
    rng : None, int, SeedSequence, BitGenerator or Generator
        Seed.

    Returns
    -------
    KroneckerSparseProblem
        Factors (entries of unit variance, columns not normalised), data and answer.

    Raises
    ------
    ValueError
        If the lengths of `widths`, `sizes` and `nonzeros` differ, or one is empty.

    Notes
    -----
    Storage: ``2 * prod M_i * L + sum M_i * N_i`` numbers of double precision and as many of
    `dtype`.

    References
    ----------
    .. [1] Y. He, G. Joseph, "Bayesian algorithms for Kronecker-structured sparse vector recovery
       with application to IRS-MIMO channel estimation", arXiv:2307.14719.

    Examples
    --------
    >>> from linalgkit.datasets import kronecker_sparse
    >>> problem = kronecker_sparse((15, 15, 15), (8, 12, 15), (3, 3, 3), snr_db=25.0, rng=0)
    >>> problem.y.shape, problem.coef.shape
    ((8, 12, 15), (3, 3, 3))
    >>> problem.nmse(problem.oracle()) < 1e-3
    True
    >>> problem.support_rate(problem.support)
    1.0
    """
    shapes = _check_shapes(widths, sizes, nonzeros)
    snr_db = check_float("snr_db", snr_db)
    last = () if snapshots is None else (check_int("snapshots", snapshots, 1),)
    rank_one = check_bool("rank_one", rank_one)
    kept = dtype_on_host(dtype, like)
    wide = np.result_type(kept, np.float64)
    rng = as_generator(rng)
    factors = [_normal(rng, (m, n), wide) for n, m, _ in shapes]
    support = [np.sort(rng.choice(n, size=k, replace=False)) for n, _, k in shapes]
    lengths = (*(k for _, _, k in shapes), *last)
    if rank_one:
        coef = reduce(np.multiply.outer, [_normal(rng, (k,), wide) for k in lengths])
    else:
        coef = _normal(rng, lengths, wide)
    clean = multilinear([H[:, s] for H, s in zip(factors, support, strict=True)], coef)
    y, noise_var = with_noise(clean, snr_db, rng)
    moved = mover(kept, like)
    return KroneckerSparseProblem(
        [moved(H) for H in factors],
        moved(y),
        noise_var,
        [indices_like(s, like) for s in support],
        moved(coef),
        moved(clean),
    )


# ---------------------------------------------------------------------------------- helpers


def _check_shapes(widths: Any, sizes: Any, nonzeros: Any) -> list[tuple[int, int, int]]:
    """Return (columns, rows, indices) of each mode."""
    named = {"widths": widths, "sizes": sizes, "nonzeros": nonzeros}
    for name, given in named.items():
        if not isinstance(given, (Sequence, np.ndarray)) or isinstance(given, str):
            rule = "be a sequence of integers, one a mode"
            raise TypeError(message(name, rule, given))
        if len(given) != len(widths) or not len(given):
            rule = f"have {max(len(widths), 1)} entries, one a mode as widths has"
            raise ValueError(message(name, rule, len(given)))
    shapes = []
    for i, (n, m, k) in enumerate(zip(widths, sizes, nonzeros, strict=True)):
        n = check_int(f"widths[{i}]", n, 1)
        k = check_int(f"nonzeros[{i}]", k, 1, n, f"(the columns of factor {i})")
        shapes.append((n, check_int(f"sizes[{i}]", m, 1), k))
    return shapes


def multilinear(factors: Sequence[HostArray], core: HostArray) -> HostArray:
    """Multiply the leading axes of a tensor by one matrix each."""
    for axis, H in enumerate(factors):
        core = np.moveaxis(np.tensordot(H, core, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(core)


def with_noise(
    clean: HostArray, snr_db: float, rng: np.random.Generator
) -> tuple[HostArray, float]:
    """Return the data with white noise, and the noise's variance."""
    noise_var = energy(clean) / clean.size / 10 ** (snr_db / 10)
    return clean + math.sqrt(noise_var) * _normal(rng, clean.shape, clean.dtype), noise_var


def _common(ours: HostArray, theirs: HostArray) -> tuple[HostArray, HostArray]:
    """Return the places of the common indices in two sets."""
    _, first, second = np.intersect1d(ours, theirs, return_indices=True)
    return first, second


def energy(x: HostArray) -> float:
    """Return the sum of squared moduli."""
    return float(np.linalg.norm(x)) ** 2


def _wide(x: HostArray) -> np.dtype[Any]:
    """Return the dtype of double precision, real or complex as `x` is."""
    return np.result_type(x, np.float64)


def mover(dtype: np.dtype[Any], like: Array | None) -> Callable[[HostArray], Array]:
    """Return the function that rounds host arrays to `dtype` and moves them to `like`."""
    return lambda x: on_device(x.astype(dtype, copy=False), like)


def indices_like(indices: HostArray, like: Array | None) -> Array:
    """Return indices in the library and on the device of `like`."""
    return on_device(indices.astype(np.int64, copy=False), like)
