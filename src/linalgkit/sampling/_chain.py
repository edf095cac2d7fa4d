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
    Namespace,
    adjoint,
    asarray,
    eps,
    is_on_host,
    library_name,
    numpy_namespace,
    to_numpy,
)
from linalgkit._core.operator_base import squared_row_norms
from linalgkit._core.random import HostArray
from linalgkit._core.validation import Place
from linalgkit._kernels import accept_proposals
from linalgkit.sampling._proposals import Proposals
from linalgkit.sampling.theory import expected_proposals

_HOST = numpy_namespace()
_lapack: Any = scipy.linalg.get_lapack_funcs
_blas: Any = scipy.linalg.get_blas_funcs
_LAPACK_BLOCK = 64
# Of proposals. Larger blocks cost more in the Gram matrix than they save (measured, m = 20 to 500),
# unless most proposals are rejected whatever was accepted before.
_LEAST_BLOCK, _USUAL_BLOCK, _LARGEST_BLOCK = 32, 128, 512
_CAP = 100  # times the expected number of proposals


class Source(Place, Protocol):
    """What the sampler asks of a space; its dtype is that of rows times the whitener.

    A source may say more: `acceptance`, the probability that a proposal is a draw of the
    Christoffel law (1 by default); `block`, the proposals to be looked at together; and
    `blocks_together`, how many blocks to draw at a time (1 by default).
    """

    @property
    def dim(self) -> int:
        """Points of a sample."""

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

    Arrays of other libraries that lie in the host's memory are worked on with NumPy: how many
    proposals are accepted is left to chance, and libraries that compile would compile each size.

    Parameters
    ----------
    source : Source
        The space.
    """

    def __init__(self, source: Source) -> None:
        self.source, self.left, self.n_proposals = source, source.dim, 0
        self.xp, self.on_host = working_namespace(source)
        self.basis = self._here(source.whitener)
        if self.basis is not None and library_name(self.xp) == "numpy":
            self.basis = _HOST.array(self.basis, order="F")  # its own, and by columns
        acceptance = float(getattr(source, "acceptance", 1.0))
        self._block = getattr(source, "block", 0) or block_size(source.dim, acceptance)
        self._cap = _CAP * expected_proposals(source.dim) / acceptance + 10 * self._block
        self._screens = acceptance < 0.5
        self._roundoff = eps(source.xp, source.dtype)
        self._pieces: list[Any] = []
        self._drawn: Proposals | None = None
        self._kind: tuple[Any, bool] = (None, True)  # dtype of points, whether they are NumPy's
        self._used = 0

    def step(self, rng: Any) -> None:
        """Look at one block of proposals."""
        source = self.source
        if self.n_proposals > self._cap:
            raise RuntimeError(
                f"a sample of {source.dim} points was not complete after {self.n_proposals} "
                f"proposals ({self.left} missing). The space has a smaller dimension than it says, "
                "or its basis is not orthonormal."
            )
        accepted = self._accepted(rng)
        if accepted is not None and self.left:
            self._drop(accepted)

    def _accepted(self, rng: Any) -> Array | None:
        """Return the accepted rows of the next block in the coordinates that are left, if any."""
        proposals, xp = self._next(rng), self.xp
        R = proposals.rows if self.basis is None else proposals.rows @ self.basis
        block = len(proposals.envelope)
        bars = rng.random(block) * proposals.envelope
        if not self._screens:
            picked = self._walked(R, bars)
        else:
            # Most are rejected whatever was accepted before them: their norms are too small.
            norms = to_numpy(squared_row_norms(R, R.dtype, xp))
            candidates = _HOST.nonzero(bars < norms)[0]
            rows = taken(R, candidates, self.source)
            picked = candidates[self._walked(rows, bars[candidates])]
        self.left -= len(picked)
        self.n_proposals += block if self.left else int(picked[-1]) + 1
        if not len(picked):
            return None
        self._pieces.append(taken(proposals.points, picked, self.source))
        return taken(R, picked, self.source)

    def _walked(self, R: Array, bars: HostArray) -> HostArray:
        """Return the numbers of the rows accepted, whose squared norm that is left exceeds a bar.

        What is left of a row that equals an accepted one of the block is a rounding error of the
        Gram matrix; of one that equals an earlier one, the square of one of the basis.
        """
        floor = 4 * (4 + math.sqrt(R.shape[1])) * self._roundoff
        H = R @ adjoint(R, self.xp)
        picked: HostArray = accept_proposals(self.xp, H, bars, self.left, floor)
        return picked

    def _here(self, A: Any) -> Any:
        return to_numpy(A) if self.on_host and A is not None else A

    def _next(self, rng: Any) -> Proposals:
        """Return the next block of proposals, of some that are drawn together."""
        drawn = self._drawn
        if drawn is None:
            blocks = getattr(self.source, "blocks_together", 1)
            wanted = math.ceil(1.1 * self.source.dim / self.left * expected_proposals(self.left))
            count = min(blocks * self._block, max(self._block, wanted))
            points, rows, envelope = self.source.draw(count, rng)
            self._kind = points.dtype, isinstance(points, _HOST.ndarray)
            drawn = Proposals(self._here(points), self._here(rows), envelope)
            self._drawn, self._used = drawn, 0
        start, stop = self._used, min(self._used + self._block, len(drawn.envelope))
        self._used = stop
        if stop == len(drawn.envelope):
            self._drawn = None
        rows = drawn.rows[start:stop, :]
        return Proposals(drawn.points[start:stop, ...], rows, drawn.envelope[start:stop])

    def _drop(self, rows: Array) -> None:
        """Leave of the basis what is orthogonal to `rows`."""
        V, M = reflector(rows, self.xp)
        if self.basis is None:
            self.basis = complement(V, M, self.xp, self.source.device)
        else:
            self.basis = without(self.basis, V, M, self.xp)

    def points(self) -> Any:
        """Return the points accepted so far."""
        pieces, source = self._pieces, self.source
        if not isinstance(pieces[0], _HOST.ndarray):
            return source.xp.concat(pieces, axis=0)
        found, (dtype, stays) = _HOST.concat(pieces, axis=0), self._kind
        return found if stays else asarray(found, xp=source.xp, device=source.device, dtype=dtype)


def working_namespace(source: Place) -> tuple[Namespace, bool]:
    """Return the namespace to work in, and whether arrays are to be seen as NumPy's."""
    xp = source.xp
    if library_name(xp) == "numpy":
        return xp, False
    on_host = is_on_host(xp.zeros((0,), dtype=source.dtype, device=source.device))
    return (_HOST if on_host else xp), on_host


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
    V, tau = geqrf(columns, lwork=_LAPACK_BLOCK * a)[:2]
    diagonal = _HOST.arange(a)
    V[:a, :] = _HOST.tril(V[:a, :], -1)
    V[diagonal, diagonal] = 1
    is_identity = tau == 0
    if is_identity.any():
        V[:, is_identity] = 0
        tau[is_identity] = 1
    inverse = V.T.conj() @ V
    inverse[diagonal, diagonal] = 1 / tau
    trsm = _blas("trsm", (inverse,))
    # The upper triangle alone is read: M^H = V_2 T^H.
    return V, trsm(1.0, inverse, V[a:, :], side=1, trans_a=2).T.conj()


def complement(V: Array, M: Array, xp: Namespace, device: Device) -> Array:
    """Return ``[0; I] - V M``."""
    m, a = V.shape
    if library_name(xp) != "numpy":
        return xp.eye(m, m - a, k=-a, dtype=V.dtype, device=device) - V @ M
    found = M.T @ -V.T
    places = _HOST.arange(m - a)
    found[places, places + a] += 1
    return found.T


def without(basis: Array, V: Array, M: Array, xp: Namespace) -> Array:
    """Return ``basis ([0; I] - V M)``; on NumPy in the memory of a basis that lies by columns.

    Its columns are then dropped by moving on, and BLAS subtracts where the others are.
    """
    a = V.shape[1]
    if library_name(xp) != "numpy":
        return basis[:, a:] - (basis @ V) @ M
    turned = (V.T @ basis.T).T
    gemm = _blas("gemm", (basis, turned))
    return gemm(-1.0, turned, M.T, 1.0, basis[:, a:], trans_b=1, overwrite_c=1)
