"""Second moments of both factors under their posterior, and the basis in which they agree.

Small matrices, all of them on the host in float64 or complex128. ``A ~ U W^T`` stays the same when
``U <- U T`` and ``W <- W T^-T``: :func:`common_basis` finds the T with which both second-moment
matrices are diagonal and equal.
"""

from __future__ import annotations

from dataclasses import dataclass

from linalgkit._core.array import (
    Array,
    Device,
    DType,
    Namespace,
    asarray,
    device,
    numpy_namespace,
    to_numpy,
    widest_dtype,
)

_HOST = numpy_namespace()
_CHUNK = 2**22  # numbers of a factor that are widened at a time
_DISTINCT = 4096  # popularities that are told apart
_GRID = 64  # classes of popularities an octave beyond that


@dataclass(frozen=True, eq=False)
class Popularity:
    """Sums of the weights of the lines of one side that hold entries.

    Attributes
    ----------
    share : array (lines,)
        Each line's part of the sum over all lines, on the device of the factors, real.
    values, counts : host array (d,)
        Classes of lines: their popularity and how many there are.
    total : float
        Sum over all lines.

    Notes
    -----
    Storage: one number a line, and ``2 d`` on the host. Where there are more than 4096 different
    values, those within 1.1 % of one another are one class, its value their mean.
    """

    share: Array
    values: Array
    counts: Array
    total: float

    @property
    def lines(self) -> float:
        """Number of lines that hold entries."""
        return float(self.counts.sum())

    @property
    def class_share(self) -> Array:
        """Part of the sum over all lines that belongs to each class."""
        return self.values * self.counts / self.total


def popularity(sums: Array, xp: Namespace, where: Device, kind: DType) -> Popularity:
    """Return the classes of host sums of weights; lines without entries have none."""
    total = float(sums.sum())
    values, counts = _HOST.unique(sums[sums > 0], return_counts=True)
    if values.shape[0] > _DISTINCT:
        values, counts = _merged(values, counts)
    share = asarray(sums / total, xp=xp, device=where, dtype=kind)
    return Popularity(share, values, counts, total)


def _merged(values: Array, counts: Array) -> tuple[Array, Array]:
    """Return means of the values in each class of a logarithmic grid."""
    place = _HOST.floor(_HOST.log2(values) * _GRID)
    _, place = _HOST.unique(place, return_inverse=True)
    sizes = _HOST.bincount(place, weights=counts)
    return _HOST.bincount(place, weights=values * counts) / sizes, sizes


def second_moments(F: Array, share: Array, xp: Namespace) -> tuple[Array, Array]:
    """Return ``F^H diag(share) F`` and the sums of squares of the columns, both on the host.

    Both are summed in the widest dtype (two synchronisations).
    """
    count, k = F.shape
    wide = widest_dtype(xp, device(F), F.dtype)
    step = max(1, _CHUNK // max(1, k))
    total: Array = 0
    sums: Array = 0
    for start in range(0, count, step):
        rows = slice(start, min(start + step, count))
        part = xp.astype(F[rows, :], wide, copy=False)
        weighted = part * xp.astype(share[rows, None], wide, copy=False)
        total = total + xp.matmul(xp.conj(xp.matrix_transpose(weighted)), part)
        sums = sums + xp.sum(xp.abs(part) ** 2, axis=0)
    G, squared = to_numpy(total), to_numpy(sums).astype(_HOST.float64)
    G = G.astype(_HOST.complex128 if G.dtype.kind == "c" else _HOST.float64)
    return (G + G.conj().T) / 2, squared


def weighted_mean(F: Array, share: Array, xp: Namespace) -> Array:
    """Return ``sum_i share_i F[i, :]`` on the device, in the dtype of `F`."""
    return xp.sum(F * xp.astype(share[:, None], F.dtype), axis=0)


def common_basis(G: Array, H: Array) -> tuple[Array, Array, Array]:
    """Return T, its inverse and the energies of a basis in which two moment matrices agree.

    ``T^H G T = inv(T) conj(H) inv(T)^H = diag(sqrt(energies))``, energies descending.
    """
    scale = 1.0 / _HOST.sqrt(_HOST.maximum(_diagonal(G), _tiny(G)))
    lam, E = _HOST.linalg.eigh(scale[:, None] * G * scale[None, :])
    root = _HOST.sqrt(_HOST.maximum(lam, 1e-14 * lam[-1]))
    L = E * root[None, :] / scale[:, None]
    energies, Q = _HOST.linalg.eigh(L.conj().T @ H.conj() @ L)
    energies, Q = energies[::-1], Q[:, ::-1]
    energies = _HOST.maximum(energies, 1e-28 * max(float(energies[0]), 1e-280))
    quarter = energies**0.25
    T = (scale[:, None] * E / root[None, :]) @ Q * quarter[None, :]
    return T, (Q.conj().T @ L.conj().T) / quarter[:, None], energies


def _tiny(G: Array) -> float:
    """Return what counts as zero on the diagonal."""
    return max(1e-28 * float(_diagonal(G).max()), 1e-280)


def _diagonal(G: Array) -> Array:
    return _HOST.diagonal(G).real


def squares(T: Array, c: Array) -> Array:
    """Return the diagonal of ``T^H diag(c) T``."""
    return (T.real**2 + T.imag**2).T @ c
