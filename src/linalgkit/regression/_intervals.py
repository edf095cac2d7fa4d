"""Intervals around a sketched solution, from Student's and Fisher's laws.

For a Gaussian sketch `S` of `m` rows and any `A` of rank `r` and any `b`, exactly and whatever
was seen of ``S A``::

    a^T (x' - x)   =  ||a^T F|| ||S (A x' - b)|| N / chi_f,     F F^H = ((S A)^H S A)^+,  f = m - r

with independent numerator and denominator. For circular complex sketches of complex data, N is
a circular complex normal number and chi has ``2 f`` degrees of freedom::

    law = SketchLaw(rank=r, freedom=m - r, is_complex=False)
    half_width = law.student(0.05) * stderr         # stderr = ||a^T F|| ||S (A x' - b)|| / sqrt(f)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from scipy import special

from linalgkit._core.array import (
    Array,
    Namespace,
    array_namespace,
    device,
    is_complex,
    real_dtype,
    to_numpy,
)
from linalgkit._core.scaling import ldexp_float, scale_exponent, silent
from linalgkit._core.validation import check_bool, check_float
from linalgkit.regression._scaled import maxima, times_outer_powers, times_powers

Product = Callable[[Array], Array]


def chi_ratio(tail: float, size: float, freedom: float) -> float:
    """Return `u` with ``P(chi_size^2 / chi_freedom^2 > u) = tail``, the chi independent.

    Parameters
    ----------
    tail : float
        In (0, 1), as small as it may be.
    size, freedom : float
        Degrees of freedom above and below.

    Returns
    -------
    float
        ``size / freedom`` times the quantile of Fisher's law, to full relative accuracy.
    """
    share = float(special.betainccinv(size / 2, freedom / 2, tail))
    if share < 0.5:
        return share / (1.0 - share)
    rest = float(special.betaincinv(freedom / 2, size / 2, tail))
    return (1.0 - rest) / max(rest, 1e-300)


@dataclass(frozen=True)
class SketchLaw:
    """The law of sketched estimates, in units of their standard errors.

    Attributes
    ----------
    rank : int
        Rank of the matrix.
    freedom : int
        Rows of the sketch beyond the rank, at least 1.
    is_complex : bool
        Whether data and sketch are complex. Standard errors are then those of the modulus, of
        which the real and the imaginary part have half the square each.
    """

    rank: int
    freedom: int
    is_complex: bool

    @property
    def field(self) -> int:
        """Real numbers that make one number of the data."""
        return 2 if self.is_complex else 1

    def student(self, tail: float) -> float:
        """Return what a real number (a real or imaginary part) exceeds with probability `tail`.

        The quantile of order ``1 - tail / 2`` of Student's law with ``freedom`` degrees, and
        with ``2 freedom``, divided by sqrt(2), for parts of complex numbers.
        """
        freedom = self.field * self.freedom
        return math.sqrt(self.freedom * chi_ratio(tail, 1, freedom))

    def modulus(self, tail: float) -> float:
        """Return what the modulus of a number exceeds with probability `tail`."""
        freedom = self.field * self.freedom
        return math.sqrt(self.freedom * chi_ratio(tail, self.field, freedom))

    def largest(self, tail: float, stderrs: Array) -> float:
        """Return what the largest of several moduli exceeds with probability `tail` at most.

        Parameters
        ----------
        tail : float
            The sum of the probabilities that each of them exceeds it.
        stderrs : ndarray
            Their standard errors, on the host.
        """
        most = float(stderrs.max(initial=0.0))
        if most == 0.0:
            return 0.0
        relative = stderrs.reshape(-1)[stderrs.reshape(-1) > 0.0] / most
        low, high = self.modulus(tail), self.modulus(tail / relative.shape[0])
        freedom = self.field * self.freedom / 2
        for _ in range(60):
            middle = 0.5 * (low + high)
            shares = 1.0 / (1.0 + self.freedom * (relative / middle) ** 2)
            missed = float(special.betaincc(self.field / 2, freedom, shares).sum())
            low, high = (middle, high) if missed > tail else (low, middle)
        return high * most

    def all_contrasts(self, tail: float) -> float:
        """Return what the modulus of any linear combination exceeds with probability `tail`.

        Scheffe's multiplier: one event covers every combination of the unknowns at once.
        """
        size, freedom = self.field * max(self.rank, 1), self.field * self.freedom
        return math.sqrt(self.freedom * chi_ratio(tail, size, freedom))


def matched_freedom(first: float, second: float) -> float:
    """Return the degrees of freedom that match a product of two independent mean squares.

    Parameters
    ----------
    first, second : float
        Degrees of freedom of the two.

    Returns
    -------
    float
        Those of one mean square with the same mean and variance (Satterthwaite).
    """
    return 2.0 / math.expm1(math.log1p(2.0 / first) + math.log1p(2.0 / second))


@dataclass(frozen=True)
class Noise:
    """What a new observation adds to the error of a prediction.

    Attributes
    ----------
    scales : tuple of float
        Estimated standard deviation of the noise (of its modulus, for complex numbers) for each
        right side, in units of the powers of two of :class:`Spread`.
    growth : float
        The variance of a prediction, noise included, is ``scale^2 (1 + growth ||c^T F||^2)``.
    freedom : float
        Real degrees of freedom of the estimate; not positive where there is none.
    field : int
        2 for complex numbers, else 1.
    """

    scales: tuple[float, ...]
    growth: float
    freedom: float
    field: int

    def student(self, tail: float) -> float:
        """Return what a real number exceeds with probability `tail`, in standard deviations."""
        quantile = math.sqrt(self.freedom * chi_ratio(tail, 1, self.freedom))
        return quantile / math.sqrt(self.field)


def check_level(level: float, simultaneous: bool, n_numbers: int) -> float:
    """Return the probability that one of `n_numbers` intervals may miss, or raise."""
    level = check_float("level", level, 0, 1, low_open=True, high_open=True)
    return (1.0 - level) / (n_numbers if check_bool("simultaneous", simultaneous) else 1)


def around(centre: Array, stderr: Array, xp: Namespace, factor: float = 1.0) -> tuple[Array, Array]:
    """Return ``centre -+ factor * stderr``; of complex numbers, so for both parts.

    An end beyond the largest number is infinity.
    """
    with silent():
        reach = xp.astype(factor * stderr, real_dtype(xp, centre.dtype), copy=False)
        if is_complex(centre, xp):
            reach = xp.astype(reach, centre.dtype) * (1 + 1j)
        return centre - reach, centre + reach


@dataclass(frozen=True, eq=False)
class Spread:
    """How sketched estimates scatter: a factor of their covariance, kept clear of overflow.

    Attributes
    ----------
    X : array (d, k)
        The estimates.
    factor : array (d, r)
        `F`, row j in units of ``2**-exponents[j]``.
    exponents : tuple of int
        Powers of two in the columns of the matrix.
    scales : tuple of float
        ``||S (A x' - b)|| / sqrt(freedom)`` for each right side, in units of
        ``2**side_exponents``; 0 where the equations were solved without a sketch.
    side_exponents : tuple of int
        Powers of two in the right sides.

    Notes
    -----
    Arrays are of the device's widest dtype.
    """

    X: Array
    factor: Array
    exponents: tuple[int, ...]
    scales: tuple[float, ...]
    side_exponents: tuple[int, ...]

    @property
    def xp(self) -> Namespace:
        """Namespace of the arrays (no attribute: modules cannot be pickled)."""
        return array_namespace(self.X)

    def with_scales(self, scales: Sequence[float]) -> Spread:
        """Return the same with other scales."""
        return replace(self, scales=tuple(scales))

    def stderr(self) -> Array:
        """Return the standard error of each unknown, (d, k)."""
        lengths, exponents = row_lengths(self.factor, self.xp)
        powers = [e - a for e, a in zip(exponents, self.exponents, strict=True)]
        return self._scaled(lengths, powers, self.scales)

    def of_combinations(self, product: Product) -> tuple[Array, Array]:
        """Return estimates ``C x`` and their standard errors, (q, k) each.

        Parameters
        ----------
        product : callable
            ``product(M)`` returns ``C M`` for an array `M` of d rows.
        """
        lengths, exponents = self._lengths(product)
        return product(self.X), self._scaled(lengths, exponents, self.scales)

    def of_observations(self, product: Product, noise: Noise) -> tuple[Array, Array]:
        """Return predictions ``C x`` and the standard deviations of new observations."""
        lengths, exponents = self._lengths(product)
        reach = math.sqrt(noise.growth) * times_powers_each(lengths, exponents, self.xp)
        spread = self.xp.hypot(self.xp.ones_like(reach), reach)
        return product(self.X), self._scaled(spread, [0] * len(exponents), noise.scales)

    def _lengths(self, product: Product) -> tuple[Array, list[int]]:
        """Return ``||c^T F||`` for the rows of `C`, with powers of two."""
        least = min(self.exponents)
        factor = times_row_powers(self.factor, [least - a for a in self.exponents], self.xp)
        lengths, exponents = row_lengths(product(factor), self.xp)
        return lengths, [e - least for e in exponents]

    def _scaled(self, lengths: Array, exponents: Sequence[int], scales: Sequence[float]) -> Array:
        """Return ``lengths * 2**exponents`` times the scale of each right side, (q, k)."""
        xp = self.xp
        wide = xp.asarray(list(scales), dtype=lengths.dtype, device=device(lengths))
        products = lengths[:, None] * wide[None, :]
        with silent():  # what overflows is refused where answers get their form
            return times_outer_powers(products, exponents, self.side_exponents, xp)


def row_lengths(T: Array, xp: Namespace) -> tuple[Array, list[int]]:
    """Return the 2-norms of the rows of `T` as numbers of order one and powers of two."""
    exponents = [scale_exponent(value) for value in maxima(xp.matrix_transpose(T), xp)]
    scaled = times_row_powers(T, [-e for e in exponents], xp)
    squares = xp.vecdot(scaled, scaled)
    return xp.sqrt(xp.real(squares) if is_complex(squares, xp) else squares), exponents


def column_norms(B: Array, xp: Namespace) -> list[float]:
    """Return the 2-norms of columns as Python floats, whatever their magnitudes."""
    lengths, exponents = row_lengths(xp.matrix_transpose(B), xp)
    values = [float(value) for value in to_numpy(lengths)]
    return [ldexp_float(v, e) for v, e in zip(values, exponents, strict=True)]


def times_row_powers(T: Array, exponents: Sequence[int], xp: Namespace) -> Array:
    """Return `T` with row i multiplied by ``2**exponents[i]``."""
    return xp.matrix_transpose(times_powers(xp.matrix_transpose(T), exponents, xp))


def times_powers_each(values: Array, exponents: Sequence[int], xp: Namespace) -> Array:
    """Return a 1-D array with entry i multiplied by ``2**exponents[i]``."""
    return times_powers(values[None, :], exponents, xp)[0, :]
