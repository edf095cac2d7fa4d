"""Alternating minimisation with a guarantee, and the constants that it rests on, by name.

The analysis of Jain, Netrapalli and Sanghavi [1]_, which Gu, Song, Yin and Zhang [2]_ carry over to
regressions that are solved by sketches, is about an algorithm that differs from the useful one: it
takes fresh entries for every half step, cuts off the large entries of its start, and knows rank
and incoherence::

    answer = alternating_minimisation(A, rank, mu=2.0)
    answer = alternating_minimisation(A, rank, mu=2.0, regression="sketched")
    needed = sample_size((m, n), rank, mu=2.0, kappa=10.0, accuracy=1e-6)

What is here comes from [1]_ (sizes, sweeps, clipping; written down from memory of the paper, not
beside it) and from the abstract and the public reviews of [2]_, whose body was not at hand. Orders
of magnitude are proved there; the factors in front, `constant`, are not given and are taken as one.
The useful algorithm, which takes all entries in every step and needs neither `mu` nor the
theory's number of entries, is :func:`linalgkit.completion.complete_matrix`.

References
----------
.. [1] P. Jain, P. Netrapalli, S. Sanghavi, "Low-rank matrix completion using alternating
   minimization", STOC 2013, arXiv:1212.0467.
.. [2] Y. Gu, Z. Song, J. Yin, L. Zhang, "Low rank matrix completion via robust alternating
   minimization in nearly linear time", arXiv:2302.11068.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field
from typing import Any

from linalgkit._core.array import (
    Array,
    Namespace,
    adjoint,
    is_complex,
    real_dtype,
    to_numpy,
)
from linalgkit._core.capabilities import capability
from linalgkit._core.linalg import orthonormalise, svd_desc
from linalgkit._core.random import as_generator, standard_normal
from linalgkit._core.scaling import ldexp, ldexp_float, norm_fro
from linalgkit._core.validation import (
    AccuracyWarning,
    check_bool,
    check_choice,
    check_float,
    check_int,
)
from linalgkit._kernels.observed import Lines, gather_sum
from linalgkit.completion._constants import (
    ACCURACY,
    clip_level,
    clipped,
    incoherence,
    n_inner_steps,
    n_sweeps,
    sample_probability,
    sample_size,
    sketch_size,
)
from linalgkit.completion._direct import direct_rows
from linalgkit.completion._factors import Factors, residual_energy
from linalgkit.completion._observed import Observed, observe, row_indices, select
from linalgkit.completion._sketched import sketched_rows

__all__ = [
    "AlternatingMinimisation",
    "alternating_minimisation",
    "clip_level",
    "clipped",
    "incoherence",
    "n_inner_steps",
    "n_sweeps",
    "sample_probability",
    "sample_size",
    "sketch_size",
    "split_observations",
]

# Columns beyond the rank, and steps, of the subspace iteration of the start.
_MORE, _STEPS = 10, 12


@capability("completion.theory.split_observations", sparse=True, synchronisations={"call": 8})
def split_observations(
    A: Any, n_parts: int, *, mask: Any = None, rng: object = None
) -> list[tuple[Array, Array, Array, tuple[int, int]]]:
    """Split the observed entries of a matrix at random into disjoint parts of equal size.

    Parameters
    ----------
    A : sparse container, array, masked array, tuple or iterable
        Observed entries, as :func:`linalgkit.completion.complete_matrix` takes them.
    n_parts : int
        How many parts, 1 to the number of observed entries.
    mask : boolean array (m, n), optional
        For a dense `A`: True where it is observed.
    rng : None, int, SeedSequence, BitGenerator or Generator
        Draws the parts, one permutation of the entries.

    Returns
    -------
    list of tuple
        ``(rows, cols, values, shape)`` for each part, sorted by rows: each may stand for `A`.
        Values are in the library and on the device of `A`, rows and columns on the host.

    Raises
    ------
    TypeError, ValueError
        As for `A` elsewhere, and if `n_parts` is out of its range.

    Notes
    -----
    The theory draws the part of each entry independently; here no two sizes differ by more than
    one, so that no part is empty. Storage: a copy of the entries.

    Examples
    --------
    >>> import numpy as np
    >>> parts = split_observations(np.arange(12.0).reshape(3, 4), 3, rng=0)
    >>> [values.size for _, _, values, _ in parts]
    [4, 4, 4]
    >>> sorted(float(x) for _, _, values, _ in parts for x in values) == list(range(12))
    True
    """
    observed = observe(A, mask=mask)
    count = check_int("n_parts", n_parts, 1, observed.count)
    parts = _parts(observed, count, as_generator(rng))
    return [_triple(part) for part in parts]


def _parts(observed: Observed, count: int, rng: Any) -> list[Observed]:
    """Return disjoint parts of the entries; the draw depends on the numbers alone."""
    if count == 1:
        return [observed]
    label = rng.permutation(observed.count) % count
    return [select(observed, label == part) for part in range(count)]


def _triple(part: Observed) -> tuple[Array, Array, Array, tuple[int, int]]:
    """Return entries as (rows, cols, values, shape), in the caller's unit."""
    values = ldexp(part.row_values, part.exponent, part.xp)
    return row_indices(part), to_numpy(part.rows.indices), values, part.shape


# ------------------------------------------------------------------------------- algorithm


@dataclass(frozen=True)
class AlternatingMinimisation:
    """What :func:`alternating_minimisation` found: ``A ~ U V^H``.

    Attributes
    ----------
    U : array (m, k)
        Left factor.
    V : array (n, k)
        Right factor, with orthonormal columns.
    n_sweeps : int
        Sweeps T that were made, two half steps each.
    status : {"converged", "max_sweeps"}
        Whether the residual over all observed entries is at most `accuracy` times their norm.
    residual_norm : float
        Square root of the sum of squares of all residuals, in the unit of the data.

    Notes
    -----
    Storage: ``(m + n) k`` numbers.
    """

    U: Array = field(repr=False)
    V: Array = field(repr=False)
    n_sweeps: int
    status: str
    residual_norm: float


# AltMinComplete of Jain, Netrapalli and Sanghavi (2013); its regressions by the sketches of Gu,
# Song, Yin and Zhang (arXiv 2302.11068) where asked for. Differs from the papers:
# 1. Parts are of equal size instead of independently drawn, so that none is empty.
# 2. Factors are orthonormalised before they are regressed on: the products stay the same.
# 3. A line with too few entries in a part gets the solution of least norm.
# 4. The singular vectors of the start come from a subspace iteration, 12 steps with 10 columns more
#    than wanted, which forms nothing of size m n.
@capability(
    "completion.theory.alternating_minimisation",
    sparse=True,
    synchronisations={"call": 5, "sweep": 2},
)
def alternating_minimisation(
    A: Any,
    rank: int,
    *,
    mu: float,
    mask: Any = None,
    n_sweeps: int | None = None,
    split: bool = True,
    clip: bool = True,
    regression: str = "exact",
    accuracy: float = ACCURACY,
    rng: object = None,
) -> AlternatingMinimisation:
    """Complete a low-rank matrix by the algorithm that the theory is about.

    Parameters
    ----------
    A : sparse container, array, masked array, tuple or iterable
        Observed entries, as :func:`linalgkit.completion.complete_matrix` takes them.
    rank : int
        The rank k, 1 to min(m, n).
    mu : float
        Incoherence, positive; it sets the level of clipping.
    mask : boolean array (m, n), optional
        For a dense `A`: True where it is observed.
    n_sweeps : int, optional
        Sweeps T, at least 1; :func:`n_sweeps` of `accuracy` by default.
    split : bool, default True
        Whether every half step, and the start, takes entries of its own: ``2 T + 1`` parts. Without
        that the guarantee is lost and the answer usually much better.
    clip : bool, default True
        Whether large entries of the start are set to zero.
    regression : {"exact", "sketched"}, default "exact"
        How lines are regressed. "sketched" is slower at every size that was tried.
    accuracy : float, default 1e-6
        Error over norm that is wanted, in (0, 1).
    rng : None, int, SeedSequence, BitGenerator or Generator
        Draws the parts, the first subspace and the sketches, in this order.

    Returns
    -------
    AlternatingMinimisation
        The factors, in the library, precision and on the device of `A`.

    Raises
    ------
    TypeError, ValueError
        As for `A` elsewhere, and for arguments of a wrong kind or out of their range, among them
        more parts than observed entries.

    Warns
    -----
    AccuracyWarning
        If the residual is larger than asked for (as it must be for noisy data).

    Notes
    -----
    Guarantee [1]_: for a mu-incoherent matrix of rank k whose entries are observed independently
    with :func:`sample_probability`, the error is at most ``accuracy ||M||_F`` with high
    probability; nothing is promised else. Storage: a copy of the entries in both orders and
    ``(m + n) (k + 10)`` numbers, and what a batch of regressions takes.

    References
    ----------
    .. [1] P. Jain, P. Netrapalli, S. Sanghavi, "Low-rank matrix completion using alternating
       minimization", STOC 2013, arXiv:1212.0467.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> M = rng.standard_normal((600, 2)) @ rng.standard_normal((2, 400))
    >>> A = np.where(rng.random(M.shape) < 0.9, M, np.nan)
    >>> found = alternating_minimisation(A, 2, mu=3.0, accuracy=1e-3, rng=1)
    >>> found.n_sweeps, found.status
    (3, 'converged')
    >>> bool(np.linalg.norm(found.U @ found.V.T - M) < 1e-3 * np.linalg.norm(M))
    True
    >>> alternating_minimisation(A, 2, mu=3.0, split=False, rng=1).status
    'converged'
    """
    observed = observe(A, mask=mask)
    xp, k = observed.xp, check_int("rank", rank, 1, min(observed.shape))
    mu = check_float("mu", mu, 0.0, low_open=True)
    sweeps = _sweeps(n_sweeps, accuracy)
    clip, split = check_bool("clip", clip), check_bool("split", split)
    regression = check_choice("regression", regression, ("exact", "sketched"))
    rng = as_generator(rng)
    parts = _half_step_parts(observed, sweeps, split, rng)
    U = _leading_left(parts[0], k, rng)
    U = clipped(U, mu) if clip else U
    sketches = rng if regression == "sketched" else None
    for t in range(1, sweeps + 1):
        part, other = parts[t], parts[sweeps + t]
        W = _regressed(part.columns, part.column_values, orthonormalise(U, xp), sketches, xp)
        W = orthonormalise(W, xp)
        U = _regressed(other.rows, other.row_values, W, sketches, xp)
    return _answer(observed, Factors(U, W), sweeps, accuracy)


def _sweeps(given: int | None, accuracy: float) -> int:
    """Return the checked number of sweeps; the accuracy is checked in any case."""
    least = n_sweeps(accuracy)
    return least if given is None else check_int("n_sweeps", given, 1)


def _half_step_parts(observed: Observed, sweeps: int, split: bool, rng: Any) -> list[Observed]:
    """Return entries for the start and for each half step."""
    count = 2 * sweeps + 1
    if not split:
        return [observed] * count
    if count > observed.count:
        raise ValueError(
            f"n_sweeps must be at most {(observed.count - 1) // 2} for {observed.count} observed "
            f"entries, got {sweeps}: every half step takes entries of its own. Pass split=False."
        )
    return _parts(observed, count, rng)


def _leading_left(part: Observed, k: int, rng: Any) -> Array:
    """Return the k leading left singular vectors (m, k) of the entries with zeros elsewhere."""
    xp, (m, n) = part.xp, part.shape
    shape = n, min(k + _MORE, m, n)
    Z = standard_normal(rng, shape, xp=xp, device=part.device, dtype=part.dtype)
    for _ in range(_STEPS):
        Q = orthonormalise(gather_sum(xp, part.rows, part.row_values, Z), xp)
        image = _conj(Q, xp)
        image = _conj(gather_sum(xp, part.columns, part.column_values, image), xp)
        Z = orthonormalise(image, xp)
    _, _, Xh = svd_desc(image, xp)
    return (Q @ adjoint(Xh, xp))[:, :k]


def _conj(x: Array, xp: Namespace) -> Array:
    return xp.conj(x) if is_complex(x, xp) else x


def _regressed(lines: Lines, y: Array, F: Array, sketches: Any, xp: Namespace) -> Array:
    """Return the least-squares solution of every line, by sketches where there is a generator."""
    none = xp.zeros((int(F.shape[1]),), dtype=real_dtype(xp, F.dtype), device=lines.device)
    if sketches is None:
        return direct_rows(xp, lines, y, None, F, None, none, none)
    return sketched_rows(xp, lines, y, None, F, None, none, none, sketches)


def _answer(
    observed: Observed, f: Factors, sweeps: int, accuracy: float
) -> AlternatingMinimisation:
    """Return the factors in the caller's unit with what they leave over."""
    xp = observed.xp
    residual = math.sqrt(residual_energy(observed, f))
    converged = residual <= accuracy * norm_fro(observed.row_values, xp)
    residual = ldexp_float(residual, observed.exponent)
    if not converged:
        warnings.warn(
            f"the residual {residual:.3g} is more than {accuracy:g} times the norm of the observed "
            "entries: there are too few of them, they are noisy, or rank or mu is too small. "
            "complete_matrix takes all entries in every step.",
            AccuracyWarning,
            stacklevel=3,
        )
    return AlternatingMinimisation(
        ldexp(f.U, observed.exponent, xp),
        _conj(f.W, xp),
        sweeps,
        "converged" if converged else "max_sweeps",
        residual,
    )
