"""The radio channel over an intelligent reflecting surface, as a Kronecker-sparse problem."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from linalgkit._core.array import Array, to_numpy
from linalgkit._core.random import as_generator
from linalgkit._core.validation import check_choice, check_float, check_int, message
from linalgkit.datasets._kronecker import (
    KroneckerSparseProblem,
    energy,
    indices_like,
    mover,
    multilinear,
    with_noise,
)
from linalgkit.datasets._rows import HostArray, dtype_on_host, on_device
from linalgkit.datasets._spiked import _normal

_VANISHED = 1e-5  # share of its root mean square below which a channel counts as cancelled


@dataclass(frozen=True, eq=False)
class IRSChannelProblem(KroneckerSparseProblem):
    """What :func:`irs_channel` returns: a :class:`KroneckerSparseProblem` of three modes.

    The modes are the angles at the reflecting surface, at the user and at the base station.

    Attributes
    ----------
    factors, y, noise_var, support, coef, clean
        As for :class:`KroneckerSparseProblem`; y has the axes (pattern, pilot, base antenna).
    channel_factors : list of array
        The factors with the user's antennas in place of the pilots: applied to x they give the
        cascaded channels.
    patterns : array of shape (n_elements, n_patterns)
        States of the reflecting elements, one column a pattern.
    pilots : array of shape (n_user, n_pilots)
        Symbols sent, the same under each pattern.

    Notes
    -----
    Storage: that of the data and the factors.
    """

    channel_factors: list[Array] = field(repr=False)
    patterns: Array = field(repr=False)
    pilots: Array = field(repr=False)

    def channels(self, coef: Array | None = None, support: Sequence[Array] | None = None) -> Array:
        """Return the cascaded channels of an estimate, or the true ones.

        Parameters
        ----------
        coef : array of shape (n_1, n_2, n_3) or (n_1, n_2, n_3, 1), optional
            The estimate inside its support; the truth by default.
        support : sequence of integer array, optional
            Its indices, mode by mode; the true ones by default.

        Returns
        -------
        array of shape (n_patterns, n_user, n_base)
            The transposed channel matrix under each pattern.
        """
        found = self._channels(self.coef if coef is None else coef, self._indices(support))
        return on_device(found.astype(to_numpy(self.y).dtype), self.y)

    def channel_error(self, coef: Array, support: Sequence[Array] | None = None) -> float:
        """Return the relative squared error of the cascaded channels, mean over the patterns.

        Parameters
        ----------
        coef, support
            As for :meth:`channels`; an estimate with an empty support is the channel zero.

        Returns
        -------
        float
            Mean over p of ``|C_hat_p - C_p|_F^2 / |C_p|_F^2``.
        """
        exact = self._channels(self.coef, self._indices(None))
        error = self._channels(coef, self._indices(support)) - exact
        shares = [energy(e) / energy(c) for e, c in zip(error, exact, strict=True)]
        return float(np.mean(shares))

    def _channels(self, coef: Array, support: list[HostArray]) -> HostArray:
        """Return the channels on the host in double precision."""
        core = to_numpy(coef).astype(np.complex128)
        shape = tuple(s.size for s in support)
        if core.shape not in (shape, (*shape, 1)):
            rule = f"have the shape {shape} of its support"
            raise ValueError(message("coef", rule, core.shape))
        pairs = zip(self.channel_factors, support, strict=True)
        return multilinear([to_numpy(H)[:, s] for H, s in pairs], core.reshape(shape))


def irs_channel(
    *,
    n_user: int = 6,
    n_base: int = 16,
    n_elements: int = 256,
    n_angles: int = 18,
    n_pilots: int = 3,
    n_patterns: int = 6,
    spread: int = 3,
    snr_db: float = 12.0,
    dtype: Any = None,
    like: Array | None = None,
    rng: Any = None,
) -> IRSChannelProblem:
    """Draw the radio channel from a user over an intelligent reflecting surface to a base station.

    All arrays are linear with half a wavelength between elements; angles lie on a grid whose
    sines (as phases per element) are uniform. The user's array and the surface's departing side
    each see one angle, the surface's arriving side and the base station `spread` neighbouring
    ones, with independent gains.

    Parameters
    ----------
    n_user, n_base, n_elements : int
        Antennas of the user and the base station, elements of the surface.
    n_angles : int, default 18
        Points N of each grid: the unknown has N**3 entries.
    n_pilots, n_patterns : int
        QPSK vectors sent, and random states (``+-1 / sqrt(n_elements)``) of the surface.
    spread : int, default 3
        Number of neighbouring angles, at most `n_angles`.
    snr_db : float, default 12.0
        Mean squared modulus of the clean data over the variance of the noise, in decibels.
    dtype : str or dtype, optional
        A complex dtype; by default that of the precision of `like`, complex128 without it.
    like : array, optional
        An array whose library, device and (without `dtype`) precision the arrays shall have.
    rng : None, int, SeedSequence, BitGenerator or Generator
        Seed.

    Returns
    -------
    IRSChannelProblem
        Data, factors of shapes (n_patterns, N), (n_pilots, N), (n_base, N), answer, and the
        error of a cascaded channel.

    Raises
    ------
    ValueError
        If `dtype` is real or a number is outside its range.

    Notes
    -----
    Storage: ``(n_elements + n_patterns + n_user + n_base) * N`` numbers beside the data.

    The surface's two sides enter by the product of an arriving and a conjugate departing
    direction. On a uniform grid that depends on the difference of the two indices modulo N, so
    that N columns, ``a_k * conj(a_0)``, stand for all N**2 and the support in this mode may wrap
    around. A pattern that cancels the channel (below 1e-5 of its root mean square over all
    patterns) is drawn again.

    References
    ----------
    .. [1] Y. He, G. Joseph, "Bayesian algorithms for Kronecker-structured sparse vector recovery
       with application to IRS-MIMO channel estimation", arXiv:2307.14719, section on
       simulations.

    Examples
    --------
    >>> from linalgkit.datasets import irs_channel
    >>> problem = irs_channel(snr_db=12.0, rng=0)
    >>> problem.y.shape, [s.shape[0] for s in problem.support]
    ((6, 3, 16), [3, 1, 3])
    >>> problem.channel_error(problem.oracle()) < 0.1
    True
    """
    kept = dtype_on_host(dtype, like)
    if dtype is None:
        kept = np.result_type(kept, np.complex64)
    check_choice("dtype", kept.name, ("complex64", "complex128"))
    n_angles, spread = check_int("n_angles", n_angles, 1), check_int("spread", spread, 1, n_angles)
    counts = {"n_user": n_user, "n_base": n_base, "n_elements": n_elements}
    n_user, n_base, n_elements = (check_int(name, n, 1) for name, n in counts.items())
    n_pilots, n_patterns = (
        check_int("n_pilots", n_pilots, 1),
        check_int("n_patterns", n_patterns, 1),
    )
    snr_db = check_float("snr_db", snr_db)
    rng = as_generator(rng)
    support, coef = _paths(rng, n_angles, spread)
    coef *= n_elements * math.sqrt(n_user * n_base) / spread
    surface, user, base = (_steering(n, n_angles) for n in (n_elements, n_user, n_base))
    surface *= surface[:, :1].conj()
    user = user.conj()
    patterns = _patterns(rng, n_patterns, surface[:, support[0]] @ coef[:, 0, 0])
    bits = 2 * rng.integers(2, size=(2, n_user, n_pilots)) - 1
    pilots = (bits[0] + 1j * bits[1]) / math.sqrt(2 * n_user)
    factors = [patterns.T @ surface, pilots.T @ user, base]
    clean = multilinear([H[:, s] for H, s in zip(factors, support, strict=True)], coef)
    y, noise_var = with_noise(clean, snr_db, rng)
    moved = mover(kept, like)
    return IRSChannelProblem(
        [moved(H) for H in factors],
        moved(y),
        noise_var,
        [indices_like(s, like) for s in support],
        moved(coef),
        moved(clean),
        [moved(H) for H in (factors[0], user, base)],
        moved(patterns),
        moved(pilots),
    )


def _steering(n: int, n_angles: int) -> HostArray:
    """Return the unit responses of `n` elements in a line to the grid of angles, as columns."""
    sines = 2 * np.arange(n_angles) / n_angles - 1
    return np.exp(1j * np.pi * np.multiply.outer(np.arange(n), sines)) / math.sqrt(n)


def _paths(
    rng: np.random.Generator, n_angles: int, spread: int
) -> tuple[list[HostArray], HostArray]:
    """Draw angles and gains; return the support and the coefficients without their scale."""
    user, departure = rng.integers(n_angles, size=2)
    arrival, base = rng.integers(n_angles - spread + 1, size=2)
    gains = _normal(rng, (2, spread), np.dtype(np.complex128))
    surface = (arrival + np.arange(spread) - departure) % n_angles
    order = np.argsort(surface)
    coef = np.multiply.outer(gains[0, order], gains[1, :])[:, None, :]
    return [surface[order], np.asarray([user]), base + np.arange(spread)], coef


def _patterns(rng: np.random.Generator, count: int, channel: HostArray) -> HostArray:
    """Draw random signs, again and again where the surface would cancel the whole channel.

    `channel` is what each element contributes, so that a pattern's gain is its inner product.
    """
    n = channel.shape[0]
    patterns = np.zeros((n, count))
    least = _VANISHED * float(np.linalg.norm(channel)) / math.sqrt(n)
    gone = np.ones(count, dtype=bool)
    while gone.any():
        signs = 1 - 2 * rng.integers(2, size=(n, int(gone.sum())))
        patterns[:, gone] = signs / math.sqrt(n)
        gone = np.abs(channel @ patterns) < least
    return patterns
