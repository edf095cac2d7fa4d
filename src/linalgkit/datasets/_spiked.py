"""Gaussian rows whose population eigenvectors are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from linalgkit._core.array import Array, numpy_namespace
from linalgkit._core.linalg import fix_signs
from linalgkit._core.random import as_generator, standard_normal
from linalgkit._core.validation import check_bool, check_float, check_int
from linalgkit.datasets._rows import TILE, HostArray, RowStream, dtype_on_host, on_device


def spiked_covariance(
    n: int,
    d: int,
    gap: float | Sequence[float],
    *,
    n_components: int = 1,
    dtype: Any = None,
    like: Array | None = None,
    rng: Any = None,
) -> tuple[Array, Array]:
    """Draw rows ``N(0, I + sum_i (gap_i - 1) v_i v_i^H)`` with random orthonormal ``v_i``.

    Parameters
    ----------
    n, d : int
        Shape of the data, ``d >= n_components``.
    gap : float or sequence of float
        Variance along each ``v_i``; 1 along everything else, so that ``min(gap)`` is the
        population's gap. One number serves all components.
    n_components : int, default 1
        Number of spikes; ignored where `gap` is a sequence.
    dtype : str or dtype, optional
        Floating dtype of the data, float64 by default. Complex rows are circular:
        ``(a + ib) / sqrt(2)`` before the spikes.
    like : array, optional
        An array whose library, device and (without `dtype`) dtype the result shall have.
    rng : None, int, SeedSequence, BitGenerator or Generator
        Seed.

    Returns
    -------
    X : array of shape (n, d)
        The rows.
    V : array of shape (d, n_components)
        The population's top eigenvectors, largest entry of each real and positive.

    See Also
    --------
    spiked_stream : The same rows in blocks.

    Examples
    --------
    >>> import numpy as np
    >>> from linalgkit.datasets import spiked_covariance
    >>> X, V = spiked_covariance(4000, 50, gap=9.0, rng=0)
    >>> X.shape, V.shape
    ((4000, 50), (50, 1))
    >>> bool(8 < np.mean((X @ V) ** 2) < 10)
    True
    """
    stream = spiked_stream(n, d, gap, n_components=n_components, dtype=dtype, like=like, rng=rng)
    return stream.toarray(), stream.V


def spiked_stream(
    n: int,
    d: int,
    gap: float | Sequence[float],
    *,
    n_components: int = 1,
    block_rows: int = TILE,
    dtype: Any = None,
    like: Array | None = None,
    rng: Any = None,
) -> SpikedStream:
    """Stream the rows of :func:`spiked_covariance` in blocks, never held at once.

    Parameters
    ----------
    n, d : int
        Shape of the whole.
    gap : float or sequence of float
        Variance along each spike.
    n_components : int, default 1
        Number of spikes; ignored where `gap` is a sequence.
    block_rows : int, default 256
        Rows of a block; the rows themselves do not depend on it, bit for bit.
    dtype : str or dtype, optional
        Floating dtype of the blocks, float64 by default.
    like : array, optional
        An array whose library, device and (without `dtype`) dtype the blocks shall have.
    rng : None, int, SeedSequence, BitGenerator or Generator
        Seed.

    Returns
    -------
    SpikedStream
        A :class:`RowStream`: an iterable of blocks that gives the same rows at every reading,
        with ``len`` blocks and the population's eigenvectors as its attribute ``V``.

    Examples
    --------
    >>> from linalgkit.datasets import spiked_stream
    >>> stream = spiked_stream(1000, 20, gap=4.0, block_rows=300, rng=0)
    >>> [block.shape for block in stream]
    [(300, 20), (300, 20), (300, 20), (100, 20)]
    >>> stream.V.shape
    (20, 1)
    """
    return SpikedStream(n, d, _variances(gap, n_components), block_rows, dtype, like, rng)


class SpikedStream(RowStream):
    """What :func:`spiked_stream` returns: a stream that knows its population.

    Parameters
    ----------
    n, d : int
        Shape of the whole.
    variances : list of float
        Variance along each spike.
    block_rows, dtype, like, rng
        As in :func:`spiked_stream`.

    Attributes
    ----------
    V : array of shape (d, n_components)
        The population's top eigenvectors.
    """

    V: Array

    def __init__(
        self,
        n: int,
        d: int,
        variances: list[float],
        block_rows: int,
        dtype: Any,
        like: Array | None,
        rng: Any,
    ) -> None:
        n, k = check_int("n", n, 0), len(variances)
        d = check_int("d", d, k, why=f"for {k} spike{'s' if k > 1 else ''}")
        kept = dtype_on_host(dtype, like)
        wide = np.result_type(kept, np.float64)  # drawn wide: all precisions see the same rows
        rng = as_generator(rng).spawn(1)[0]
        V = fix_signs(np.linalg.qr(_normal(rng, (d, k), wide))[0])
        W = (V * (np.sqrt(variances) - 1)).conj().T
        super().__init__(
            _SpikedTile(V, W), n, d, block_rows=block_rows, dtype=kept.name, like=like, rng=rng
        )
        self.V = on_device(V.astype(kept), like)


@dataclass(frozen=True, eq=False)
class _SpikedTile:
    """Draws rows with spikes; a class, so that a stream can be pickled."""

    V: HostArray
    W: HostArray

    def __call__(self, generator: np.random.Generator) -> HostArray:
        rows = _normal(generator, (TILE, self.V.shape[0]), self.V.dtype)
        rows += (rows @ self.V) @ self.W
        return rows


def power_law_rows(
    n: int,
    d: int,
    *,
    exponent: float = 0.5,
    rotate: bool = False,
    dtype: Any = None,
    like: Array | None = None,
    rng: Any = None,
) -> Array:
    """Draw Gaussian rows whose j-th column has standard deviation ``j**-exponent``.

    The spectrum has no gap but near its top, as natural data have: the population's
    eigenvalues are ``j**(-2 * exponent)``.

    Parameters
    ----------
    n, d : int
        Shape of the data.
    exponent : float, default 0.5
        Decay of the standard deviations; not negative.
    rotate : bool, default False
        Whether a random orthogonal (unitary) matrix hides the axes.
    dtype : str or dtype, optional
        Floating dtype of the data, float64 by default.
    like : array, optional
        An array whose library, device and (without `dtype`) dtype the result shall have.
    rng : None, int, SeedSequence, BitGenerator or Generator
        Seed.

    Returns
    -------
    array of shape (n, d)
        The rows.

    Examples
    --------
    >>> from linalgkit.datasets import power_law_rows
    >>> X = power_law_rows(2000, 30, exponent=0.5, rng=0)
    >>> bool(0.9 < X[:, 0].std() < 1.1) and bool(0.17 < X[:, 29].std() < 0.2)
    True
    """
    n, d = check_int("n", n, 0), check_int("d", d, 1)
    exponent = check_float("exponent", exponent, 0)
    kept = dtype_on_host(dtype, like)
    wide = np.result_type(kept, np.float64)
    rng = as_generator(rng)
    X = _normal(rng, (n, d), wide)
    X *= np.arange(1, d + 1) ** -exponent
    if check_bool("rotate", rotate):
        X = X @ np.linalg.qr(_normal(rng, (d, d), wide))[0]
    return on_device(X.astype(kept, copy=False), like)


def _variances(gap: float | Sequence[float], n_components: int) -> list[float]:
    """Return the variance along each spike."""
    k = check_int("n_components", n_components, 1)
    given = list(gap) if isinstance(gap, (Sequence, np.ndarray)) else [gap] * k
    if not given:
        raise ValueError("gap must be a number or at least one of them, got an empty sequence.")
    why = "(it is the variance along a spike, beside 1 along the rest)"
    return [check_float("gap", value, 1, why=why) for value in given]


def _normal(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> HostArray:
    """Draw standard normal numbers in double precision on the host."""
    rows: HostArray = standard_normal(rng, shape, xp=numpy_namespace(), device="cpu", dtype=dtype)
    return rows
