"""One exact sampler of projection determinantal point processes: blocked rejection.

It knows the space by independent proposals alone, so that it is the same for the rows of a matrix
and for functions on a continuum, and its cost does not depend on how many items there are::

    points, n_proposals = sample_chain(space, rng)

"""

from __future__ import annotations

import math
from typing import Any, Protocol

import scipy.linalg

from linalgkit._core.array import (
    Array,
    Device,
    DType,
    Namespace,
    adjoint,
    asarray,
    eps,
    library_name,
    numpy_namespace,
)
from linalgkit._core.random import HostArray
from linalgkit._kernels import accept_proposals
from linalgkit.sampling._proposals import Proposals
from linalgkit.sampling.theory import expected_proposals

_HOST = numpy_namespace()
_lapack: Any = scipy.linalg.get_lapack_funcs
# Of proposals. Larger blocks cost more in the Gram matrix than they save (measured, m = 20 to 500),
# unless most proposals are rejected whatever was accepted before.
_LEAST_BLOCK, _USUAL_BLOCK, _LARGEST_BLOCK = 32, 160, 512
_CAP = 100  # times the expected number of proposals
_PIECE = 1024  # columns of the basis that are updated at a time


class Source(Protocol):
    """What the sampler asks of a space; see :class:`~linalgkit.sampling._proposals.Proposals`."""

    @property
    def dim(self) -> int:
        """Points of a sample."""

    @property
    def xp(self) -> Namespace:
        """Namespace of the rows."""

    @property
    def device(self) -> Device:
        """Device of the rows."""

    @property
    def dtype(self) -> DType:
        """Dtype of the rows times the whitener."""

    @property
    def whitener(self) -> Array | None:
        """Matrix that makes rows those of an orthonormal basis, or None."""

    def draw(self, count: int, rng: Any) -> Proposals:
        """Return independent proposals."""


# Projection DPP by rejection from the Christoffel law (folklore; the chain rule is Algorithm 18 of
# Hough, Krishnapur, Peres, Virag 2006). Differs from a loop over proposals:
# 1. Proposals come in blocks. Whether one is accepted depends on the accepted ones before it
#    alone, so that one Gram matrix of a block decides the whole of it.
# 2. Accepted rows are not kept: Householder reflectors turn the basis so that its first
#    functions span them, and those are dropped. What is left of a later row is its product with
#    the rest of the basis; the work falls with the dimension, and nothing is orthogonalised twice.
def sample_chain(source: Source, rng: Any) -> tuple[Any, int]:
    """Return a sample of the projection DPP of a space, and how many proposals it took.

    Parameters
    ----------
    source : Source
        The space, of dimension at least 1.
    rng : numpy.random.Generator
        Source of uniform numbers; `source` draws from it as well.

    Returns
    -------
    points : array (m, d), or int64 indices (m,) on the host
        In the order of drawing, which is exchangeable.
    n_proposals : int
        Proposals looked at; ``m H_m`` are expected, over the probability that a proposal is a
        draw of the Christoffel law.

    Raises
    ------
    RuntimeError
        If a hundred times the expected number of proposals does not suffice.
    """
    walk = Walk(source)
    while walk.left:
        walk.step(rng)
    return walk.points(), walk.n_proposals


class Walk:
    """The state of a sample under way.

    Parameters
    ----------
    source : Source
        The space.
    """

    def __init__(self, source: Source) -> None:
        self.source, self.left, self.n_proposals = source, source.dim, 0
        self.basis, self._owned = source.whitener, False
        acceptance = float(getattr(source, "acceptance", 1.0))
        self._block = getattr(source, "block", 0) or block_size(source.dim, acceptance)
        self._cap = _CAP * expected_proposals(source.dim) / acceptance + 10 * self._block
        self._floor = 4 * source.dim * eps(source.xp, source.dtype)
        self._pieces: list[Any] = []
        self._drawn: Proposals | None = None
        self._used = 0

    def step(self, rng: Any) -> None:
        """Look at one block of proposals."""
        source, xp = self.source, self.source.xp
        if self.n_proposals > self._cap:
            raise RuntimeError(
                f"a sample of {source.dim} points was not complete after {self.n_proposals} "
                f"proposals ({self.left} missing). The space has a smaller dimension than it says, "
                "or its basis is not orthonormal."
            )
        proposals = self._next(rng)
        block = len(proposals.envelope)
        uniforms = rng.random(block)
        R = proposals.rows if self.basis is None else proposals.rows @ self.basis
        H = R @ adjoint(R, xp)
        picked = accept_proposals(xp, H, proposals.envelope, uniforms, self.left, self._floor)
        self.left -= len(picked)
        self.n_proposals += block if self.left else int(picked[-1]) + 1
        if not len(picked):
            return
        self._pieces.append(taken(proposals.points, picked, source))
        if self.left:
            self._drop(taken(R, picked, source))

    def _next(self, rng: Any) -> Proposals:
        """Return the next block of proposals, of some that are drawn together."""
        drawn = self._drawn
        if drawn is None or self._used >= len(drawn.envelope):
            blocks = getattr(self.source, "blocks_together", 1)
            wanted = math.ceil(1.1 * self.source.dim / self.left * expected_proposals(self.left))
            count = min(blocks * self._block, max(self._block, wanted))
            drawn, self._used = self.source.draw(count, rng), 0
            self._drawn = drawn
        start, stop = self._used, min(self._used + self._block, len(drawn.envelope))
        self._used = stop
        rows = drawn.rows[start:stop, :]
        return Proposals(drawn.points[start:stop, ...], rows, drawn.envelope[start:stop])

    def _drop(self, rows: Array) -> None:
        """Leave of the basis what is orthogonal to `rows`."""
        V, M = reflector(rows, self.source.xp)
        if self.basis is None:
            self.basis = complement(V, M, self.source)
        else:
            self.basis = without(self.basis, V, M, self._owned)
        self._owned = library_name(self.source.xp) == "numpy"

    def points(self) -> Any:
        """Return the points accepted so far."""
        pieces = self._pieces
        if isinstance(pieces[0], _HOST.ndarray):
            return _HOST.concat(pieces, axis=0)
        return self.source.xp.concat(pieces, axis=0)


def block_size(m: int, acceptance: float = 1.0) -> int:
    """Return how many proposals are looked at together."""
    usual = min(_USUAL_BLOCK, 3 * m)
    return int(min(_LARGEST_BLOCK, max(_LEAST_BLOCK, usual / min(acceptance, 1.0))))


def taken(values: Any, picked: HostArray, source: Source) -> Any:
    """Return rows (or entries) by their numbers on the host."""
    if isinstance(values, _HOST.ndarray):
        return values[picked]
    index = asarray(picked, xp=source.xp, device=source.device, copy=False)
    return source.xp.take(values, index, axis=0)


# -------------------------------------------------------------------------------- reflectors


def reflector(rows: Array, xp: Namespace) -> tuple[Array, Array]:
    """Return `V` and `M` such that ``[0; I] - V M`` spans the complement of the rows.

    Parameters
    ----------
    rows : array (a, s)
        Of full row rank, ``a < s``; conjugated rows are the vectors.
    xp : module
        Namespace of the rows.

    Returns
    -------
    V : array (s, a)
        Columns of a block reflector.
    M : array (a, s - a)
        Its other factor, for the last columns.
    """
    columns = adjoint(rows, xp)
    if library_name(xp) == "numpy":
        return _householder(columns)
    # Schreiber and Parlett 1988: a block reflector from a polar factor, in standard functions.
    a = rows.shape[0]
    Q, _ = xp.linalg.qr(columns, mode="reduced")
    X, s, Yh = xp.linalg.svd(Q[:a, :], full_matrices=False)
    V = xp.concat([Q[:a, :] + X @ Yh, Q[a:, :]], axis=0)
    inner = adjoint(Yh, xp) / xp.astype(1 + s, Yh.dtype, copy=False)[None, :]
    return V, inner @ (Yh @ adjoint(Q[a:, :], xp))


def _householder(columns: HostArray) -> tuple[Array, Array]:
    """Return the factors of LAPACK's reflectors, gathered by their inner products."""
    a = columns.shape[1]
    geqrf = _lapack("geqrf", (columns,))
    factored, tau = geqrf(columns, lwork=32 * a)[:2]
    V = _HOST.tril(factored, -1)
    V[_HOST.arange(a), _HOST.arange(a)] = tau != 0
    V[:, tau == 0] = 0
    inverse = _HOST.triu(V.T.conj() @ V, 1)
    inverse[_HOST.arange(a), _HOST.arange(a)] = 1 / _HOST.where(tau == 0, 1, tau)
    trtrs = _lapack("trtrs", (inverse,))
    return V, trtrs(inverse, V[a:, :].T.conj())[0]


def complement(V: Array, M: Array, source: Source) -> Array:
    """Return ``[0; I] - V M``."""
    (m, a), xp = V.shape, source.xp
    if library_name(xp) != "numpy":
        return xp.eye(m, m - a, k=-a, dtype=V.dtype, device=source.device) - V @ M
    found = V @ -M
    places = _HOST.arange(m - a)
    found[places + a, places] += 1
    return found


def without(basis: Array, V: Array, M: Array, owned: bool) -> Array:
    """Return ``basis ([0; I] - V M)``, in the basis's own memory if that is `owned`."""
    a = V.shape[1]
    turned = basis @ V
    if not owned:
        return basis[:, a:] - turned @ M
    rest = basis[:, a:]
    for start in range(0, rest.shape[1], _PIECE):
        rest[:, start : start + _PIECE] -= turned @ M[:, start : start + _PIECE]
    return rest
