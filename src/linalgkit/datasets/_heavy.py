"""Streams that break methods which assume small rows or a random order."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from linalgkit._core.array import Array, asarray, device, to_numpy
from linalgkit._core.random import as_generator
from linalgkit._core.validation import (
    check_array_2d,
    check_bool,
    check_choice,
    check_finite_block,
    check_float,
    check_int,
)
from linalgkit.datasets._rows import HostArray, dtype_on_host, on_device
from linalgkit.datasets._spiked import _normal, spiked_covariance

KINDS = ("aligned", "giant", "random")


def heavy_rows(
    n: int,
    d: int,
    *,
    n_heavy: int = 12,
    share: float = 0.15,
    gap: float = 4.0,
    kind: str = "aligned",
    dtype: Any = None,
    like: Array | None = None,
    rng: Any = None,
) -> Array:
    """Draw spiked rows of which a few, at random places, are far larger than the rest.

    With ``l`` the top energy of the light rows (largest eigenvalue of their ``X^H X``):

    - ``"aligned"``: `n_heavy` rows of squared norm ``share * l`` along one random direction,
      which together decide the top eigenvector where ``n_heavy * share > 1``;
    - ``"giant"``: one row of squared norm ``2 * l`` in a random direction;
    - ``"random"``: `n_heavy` rows of squared norm ``share * l``, each in its own direction.

    Parameters
    ----------
    n, d : int
        Shape of the data, heavy rows included.
    n_heavy : int, default 12
        Number of heavy rows (``"giant"`` has one).
    share : float, default 0.15
        Squared norm of a heavy row as a share of ``l`` (``"giant"`` has 2).
    gap : float, default 4.0
        Population gap of the light rows.
    kind : {"aligned", "giant", "random"}, default "aligned"
        Which rows are heavy.
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
    >>> import numpy as np
    >>> from linalgkit.datasets import heavy_rows
    >>> X = heavy_rows(1000, 20, n_heavy=3, share=0.5, rng=0)
    >>> norms = np.sort(np.linalg.norm(X, axis=1))
    >>> bool(norms[-3] > 2 * norms[-4])
    True
    """
    check_choice("kind", kind, KINDS)
    count = 1 if kind == "giant" else check_int("n_heavy", n_heavy, 0, n, "(the number of rows)")
    share = 2.0 if kind == "giant" else check_float("share", share, 0)
    check_int("n", n, count)
    kept = dtype_on_host(dtype, like)
    wide = np.result_type(kept, np.float64)
    rng = as_generator(rng)
    light, _ = spiked_covariance(n - count, d, gap, dtype=wide.name, rng=rng)
    directions = _normal(rng, (count if kind == "random" else 1, d), wide)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    heavy = np.broadcast_to(directions * math.sqrt(share * _top_energy(light)), (count, d))
    X = np.empty((n, d), dtype=wide)
    is_heavy = np.zeros(n, dtype=bool)
    is_heavy[rng.choice(n, size=count, replace=False)] = True
    X[is_heavy, :], X[~is_heavy, :] = heavy, light
    return on_device(X.astype(kept, copy=False), like)


def _top_energy(X: HostArray) -> float:
    """Return the largest eigenvalue of ``X^H X``."""
    return float(np.linalg.eigvalsh(X.conj().T @ X)[-1])


def sorted_by_projection(X: Array, v: Array | None = None, *, descending: bool = True) -> Array:
    """Sort rows by the modulus of their projection on a direction: a worst order for streams.

    Parameters
    ----------
    X : array of shape (n, d)
        Rows of any library.
    v : array of shape (d,) or (d, 1), optional
        The direction; the top right singular vector of `X` by default.
    descending : bool, default True
        Whether the largest projection comes first.

    Returns
    -------
    array of shape (n, d)
        The same rows in another order (ties keep theirs), in the library of `X`.

    Raises
    ------
    ValueError
        If `X` or `v` holds NaN or infinity, which have no place in an order.

    Examples
    --------
    >>> import numpy as np
    >>> from linalgkit.datasets import sorted_by_projection
    >>> sorted_by_projection(np.asarray([[1.0, 0], [-3, 0], [2, 0]]), np.asarray([1.0, 0]))[:, 0]
    array([-3.,  2.,  1.])
    """
    X, xp = check_array_2d("X", X)
    check_finite_block(X)
    check_bool("descending", descending)
    if v is None:
        host = to_numpy(X)
        top = np.linalg.eigh(host.conj().T @ host)[1][:, -1]
    else:
        check_finite_block(v, name="v")
        top = to_numpy(v).reshape(-1)
    size = np.abs(to_numpy(X) @ top)
    order = np.argsort(-size if descending else size, kind="stable")
    index = asarray(order, xp=xp, device=device(X), dtype=xp.int64)
    return xp.take(X, index, axis=0)
