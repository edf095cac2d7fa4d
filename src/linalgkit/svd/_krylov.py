"""Leading singular subspaces by products with a matrix: a block Krylov space that restarts.

It is one of the smaller of ``A^H A`` and ``A A^H``. Whenever its storage is full the leading Ritz
vectors and the newest block stay, and it goes on until the singular values have settled::

    V, is_settled = leading_space(A, rank, None, energy, draws)

"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from linalgkit._core.array import (
    Array,
    Device,
    DType,
    Namespace,
    adjoint,
    asarray,
    device,
    eps,
    is_in_place,
    matmul_h,
    numpy_namespace,
    real_dtype,
    to_numpy,
    widest_dtype,
)
from linalgkit._core.linalg import svd_desc
from linalgkit._core.operators import DenseOperator, Operator, SparseOperator
from linalgkit._core.qr import cholesky_qr2
from linalgkit._core.random import standard_normal
from linalgkit._core.scaling import norm_fro
from linalgkit.svd._options import least_rank

UNRESOLVED = 1e5  # roundoffs: smaller shares of the largest square are not read from squares
_MOST_RESTARTS = 200
_ACCURATE = 1e-10  # estimated relative error of a squared singular value that has settled
_SAME = 1e-9  # relative gain of a squared singular value that a fresh block may bring
_FRESH = 8  # columns of a fresh block at least
_FRESH_BLOCKS = 4  # blocks that a fresh one is followed up for
_CANCELLED = 1e-6  # of the energy: a smaller difference is computed from its entries
_CHUNK = 1 << 20  # entries of the difference at a time
_GROWTH = 1.2  # of the space between two looks at its singular values

Host = Any  # NumPy arrays: the small matrices


# Wu and Simon, "Thick-restart Lanczos method for large symmetric eigenvalue problems" (SIAM J.
# Matrix Anal. Appl. 22, 2000), Algorithm 1. Differs from it:
# 1. Blocks in place of vectors; every block is orthogonalised against the whole basis.
# 2. Directions of a block that are rounding errors are dropped, so that it can shrink, and
#    vanish: fresh random vectors come in its place.
# 3. Fresh vectors come in, too, once all has settled: they show what the space was blind for.
# 4. Where squares do not resolve the singular values, these are those of ``A V`` itself.
def leading_space(
    A: Operator, rank: int | None, tol: float | None, energy: float, draws: Any
) -> tuple[Array, bool]:
    """Return an orthonormal basis (n, l) of a space on the right, and whether it has settled.

    Parameters
    ----------
    A : Operator
        The matrix, in a unit in which squares fit.
    rank : int, optional
        Triplets that are wanted. Without it the space grows until `tol` is met.
    tol : float, optional
        Frobenius error that is allowed, relative to the square root of `energy`.
    energy : float
        ``||A||_F^2``.
    draws : numpy.random.Generator
        For the first block and for fresh ones.
    """
    space = _Space(A, rank)
    space.refill(draws)
    goal = _Goal(rank, tol, energy)
    while True:
        space.extend()
        if not space.is_due(rank):
            continue
        ritz = space.ritz(rank)
        is_met = goal.is_met(ritz, space) or space.is_exhausted
        if is_met or space.restarts >= _MOST_RESTARTS:
            return space.answer(ritz, goal.count(ritz)), is_met
        if goal.wants_fresh or space.width == 0:
            space.refill(draws)
        if space.is_full and rank is not None:
            space.restart(ritz)


@dataclass(frozen=True, eq=False)
class _Ritz:
    """Squared singular values of the space, coordinates of their vectors, norms of residuals."""

    squares: list[float]
    Y: Host
    residuals: list[float]
    noise: float  # of a residual, per root of a square


class _Goal:
    """When to stop: enough singular values have settled, or the tolerance is met."""

    def __init__(self, rank: int | None, tol: float | None, energy: float) -> None:
        self.rank, self.energy = rank, energy
        self.budget = None if tol is None else tol * tol * energy
        self.needed: int | None = None
        self.settled: list[float] | None = None  # as they were when a fresh block came in
        self.age = 0
        self.wants_fresh = False

    def is_met(self, ritz: _Ritz, space: _Space) -> bool:
        """Tell whether the space has what is asked for."""
        self.wants_fresh = False
        if self.budget is not None and self._fits(ritz, space, self.budget):
            return True
        return self.rank is not None and self._has_settled(ritz, space, self.rank)

    def count(self, ritz: _Ritz) -> int:
        """Return how many vectors the answer takes."""
        if self.rank is None:
            return len(ritz.squares) if self.needed is None else self.needed + 2
        return self.rank + max(2, self.rank // 20)

    def _fits(self, ritz: _Ritz, space: _Space, budget: float) -> bool:
        """Tell whether the tolerance is met with as few vectors as at the last look."""
        lost = space.missing(ritz, self.energy)
        if lost > budget:
            return False
        before = self.needed
        self.needed = least_rank(ritz.squares, budget - lost)
        return self.needed == before and (self.rank is None or self.needed <= self.rank)

    def _has_settled(self, ritz: _Ritz, space: _Space, rank: int) -> bool:
        """Tell whether the leading values are accurate, and a fresh block adds none to them.

        What the space may be blind for are further vectors of a multiple singular value.
        """
        if len(ritz.squares) < rank or not _is_accurate(ritz, rank, space.kept):
            return False
        now = ritz.squares[:rank]
        if self.settled is not None:
            if space.blocks - self.age < _FRESH_BLOCKS and space.width:
                return False
            floor = 64.0 * ritz.noise * math.sqrt(now[0])
            if all(a - b <= _SAME * a + floor for a, b in zip(now, self.settled, strict=True)):
                return True
        self.settled, self.age, self.wants_fresh = now, space.blocks, True
        return False


def _is_accurate(ritz: _Ritz, rank: int, kept: int) -> bool:
    """Tell whether each leading square is accurate: residual, or its square over the gap."""
    squares = ritz.squares
    beyond = squares[min(kept, len(squares) - 1)]
    for square, residual in zip(squares[:rank], ritz.residuals[:rank], strict=True):
        if residual <= 16.0 * ritz.noise * math.sqrt(square):
            continue
        gap = max(square - beyond, 1e-300)
        if min(residual, residual * (residual / gap)) > _ACCURATE * square:
            return False
    return True


class _Space:
    """A Krylov space of ``B^H B``, ``B`` the matrix or its adjoint, with an orthonormal basis.

    The first `size` vectors have been multiplied: ``B^H B V = V T + Q R E^H``, where the newest
    block `Q`, of `width` columns, lies behind them, and ``E`` are as many last columns of the
    identity as ``R`` has.
    """

    def __init__(self, A: Operator, rank: int | None) -> None:
        np = numpy_namespace()
        m, n = A.shape
        self.A, self.xp = A, A.xp
        self.is_turned = m < n
        self.B = A.H if self.is_turned else A
        self.dtype = widest_dtype(A.xp, A.device, A.dtype)
        self.roundoff = eps(A.xp, A.dtype)
        self.length = min(m, n)
        self.block = min(_block(A, rank), self.length)
        self.kept = self.length if rank is None else min(self.length, rank + 3 * self.block)
        self.capacity = 16 * self.block if rank is None else 2 * rank + 8 * self.block
        room = self.capacity + 2 * self.block
        self.V = _Columns(self.length, room, self.xp, self.dtype, A.device)
        self.size, self.width = 0, 0
        self.T: Host = np.zeros((0, 0))
        self.R: Host = np.zeros((0, 0))
        self.J: Host = np.zeros((0, 0))  # what is known of V^H B^H B Q: its last rows
        self.top = 0.0  # ||B|| as far as products have shown it
        self.restarts, self.blocks, self.looked = 0, 0, 0

    @property
    def is_exhausted(self) -> bool:
        """Whether the space is everything."""
        return self.size >= self.length

    @property
    def is_full(self) -> bool:
        """Whether another block passes the storage that was planned."""
        return self.size + self.width > max(self.capacity, self.kept + 2 * self.width)

    def is_due(self, rank: int | None) -> bool:
        """Tell whether it is time to look: the space has grown by a share, or cannot grow."""
        if self.width == 0 or (rank is not None and self.is_full):
            return True
        return self.size > (rank or 0) and self.size >= _GROWTH * self.looked

    def extend(self) -> None:
        """Multiply the newest block, and put what is new about the product behind it."""
        xp, start, stop = self.xp, self.size, self.size + self.width
        if self.width == 0:
            return
        new, basis = self.V.part(start, stop), self.V.part(0, stop)
        F = self._multiplied(new)
        known = int(self.J.shape[0])
        if known:
            F = F - self.V.part(start - known, start) @ self._placed(self.J)
        D = matmul_h(new, F, xp)
        F = F - new @ D
        H = matmul_h(basis, F, xp)
        F = F - basis @ H
        self._enlarge(to_numpy(D), to_numpy(H))
        self.size = stop
        Q, self.R = self._orthonormal(F, basis, start)
        self.J = self.R.conj().T
        self.width = int(Q.shape[1])
        self.V.append(Q, stop)
        self.blocks += 1

    def _multiplied(self, X: Array) -> Array:
        """Return ``B^H B X``."""
        xp, B = self.xp, self.B
        P = B.matmul(xp.astype(X, B.dtype, copy=False))
        return xp.astype(B.rmatmul(P), self.dtype, copy=False)

    def _enlarge(self, D: Host, H: Host) -> None:
        """Append a block to ``T``: what was known, what the product shows, and corrections."""
        np = numpy_namespace()
        size, stop, known = self.size, self.size + self.width, int(self.J.shape[0])
        above = np.array(H[:size, :])
        if known:
            above[size - known :, :] += self.J
        corner = D + H[size:, :]
        T = np.zeros((stop, stop), dtype=corner.dtype)
        T[:size, :size] = self.T
        T[:size, size:], T[size:, :size] = above, above.conj().T
        T[size:, size:] = (corner + corner.conj().T) / 2
        self.T = T

    def _orthonormal(self, F: Array, basis: Array, start: int) -> tuple[Array, Host]:
        """Return an orthonormal basis of `F` without its rounding noise, and coordinates in it."""
        np, xp = numpy_namespace(), self.xp
        room = self.length - self.size
        squares = np.real(np.diag(self.T)[start:])  # of the lengths of B times the newest block
        reach = math.sqrt(max(0.0, float(np.max(squares))))
        self.top = max(self.top, reach)
        noise = 4.0 * self.roundoff * self.top
        Q, R, least = self._independent(F, noise * max(reach, 8.0 * noise), room)
        if R.size and least < 0.01 * np.linalg.norm(self.T[:, start:], axis=0).max():
            # Much has cancelled: what is left is cleaned once more.
            Q, turn, _ = self._independent(Q - basis @ matmul_h(basis, Q, xp), 0.1, room)
            R = turn @ R
        return Q, R

    def _independent(self, F: Array, floor: float, room: int) -> tuple[Array, Host, float]:
        """Return the directions of `F` above a floor, coordinates, and the least size of one."""
        np, xp = numpy_namespace(), self.xp
        if room == 0:
            return F[:, :0], self.T[:0, : int(F.shape[1])], 0.0
        w, W = np.linalg.eigh(to_numpy(matmul_h(F, F, xp)))
        if w[0] > 1e-4 * w[-1] and w[0] > floor * floor and room >= len(w):
            s = np.sqrt(w)
            Q, correction = _polished(F @ self._placed(W / s), xp)
            return Q, to_numpy(correction) @ (s[:, None] * W.conj().T), float(s[0])
        Q, R = cholesky_qr2(F, xp)
        W, s, Zh = np.linalg.svd(to_numpy(R))
        count = min(room, int((s > max(floor, 1e-12 * s[0])).sum()))
        if count == len(s):
            return Q, to_numpy(R), float(s[-1])
        return Q @ self._placed(W[:, :count]), s[:count, None] * Zh[:count, :], 0.0

    def refill(self, draws: Any) -> None:
        """Widen the newest block by fresh random vectors."""
        np, xp = numpy_namespace(), self.xp
        stop = self.size + self.width
        count = min(max(self.block, _FRESH) if stop else self.block, self.length - stop)
        if count <= 0:
            return
        place = {"xp": xp, "device": self.A.device, "dtype": real_dtype(xp, self.dtype)}
        G = xp.astype(standard_normal(draws, (self.length, count), **place), self.dtype, copy=False)
        basis = self.V.part(0, stop)
        for _ in range(2):
            if stop:
                G = G - basis @ matmul_h(basis, G, xp)
            G, _ = cholesky_qr2(G, xp)
        self.V.append(G, stop)
        self.width += count
        known = int(self.J.shape[0])
        self.J = np.concatenate([self.J, np.zeros((known, count))], axis=1) if known else self.J

    def ritz(self, rank: int | None) -> _Ritz:
        """Return the singular values of the space, from squares wherever those resolve them."""
        np = numpy_namespace()
        self.looked = self.size
        w, Y = np.linalg.eigh(self.T)
        w, Y = w[::-1], Y[:, ::-1]
        last = min(self.size if rank is None else rank, self.size) - 1
        if w[last] <= UNRESOLVED * self.roundoff * w[0]:
            _, s, Yh = svd_desc(self.product(self.V.part(0, self.size)), self.xp)
            w, Y = to_numpy(s) ** 2, to_numpy(Yh).conj().T
        tail = Y[self.size - int(self.R.shape[1]) :, :]
        residuals = np.linalg.norm(self.R @ tail, axis=0)
        noise = self.roundoff * math.sqrt(max(float(w[0]), 0.0))
        return _Ritz([max(0.0, float(v)) for v in w], Y, residuals.tolist(), noise)

    def restart(self, ritz: _Ritz) -> None:
        """Keep the leading vectors and the newest block."""
        np = numpy_namespace()
        Y = ritz.Y[:, : self.kept]
        count, stop = int(Y.shape[1]), self.size + self.width
        leading = self.V.part(0, self.size) @ self._placed(Y)
        newest = self.V.part(self.size, stop)
        fresh = self.width - int(self.R.shape[0])
        coupling = self.R @ Y[self.size - int(self.R.shape[1]) :, :]
        self.R = np.concatenate([coupling, np.zeros((fresh, count))], axis=0)
        self.J = self.R.conj().T
        self.V.append(self.xp.concat([leading, newest], axis=1), 0)
        self.T = np.diag(np.asarray(ritz.squares[:count], dtype=self.T.dtype))
        self.size, self.looked = count, 0
        self.restarts += 1

    def product(self, X: Array) -> Array:
        """Return ``B X``."""
        xp, B = self.xp, self.B
        return xp.astype(B.matmul(xp.astype(X, B.dtype, copy=False)), self.dtype, copy=False)

    def missing(self, ritz: _Ritz, energy: float) -> float:
        """Return the energy outside the space."""
        basis = self.V.part(0, self.size)
        return missing(self.B, lambda: self.product(basis), basis, energy, ritz.squares)

    def answer(self, ritz: _Ritz, count: int) -> Array:
        """Return a basis of the leading vectors, on the right."""
        xp, A = self.xp, self.A
        X = self.V.part(0, self.size) @ self._placed(ritz.Y[:, :count])
        if self.is_turned:
            X = xp.astype(A.rmatmul(xp.astype(X, A.dtype, copy=False)), self.dtype, copy=False)
        return orthonormal(X, self.roundoff, xp)

    def _placed(self, small: Host) -> Array:
        held = numpy_namespace().ascontiguousarray(small)  # torch reads no negative strides
        return asarray(held, xp=self.xp, device=self.A.device, dtype=self.dtype)


def _block(A: Operator, rank: int | None) -> int:
    """Return the columns of a block: few, for deep spaces; more where each pass is costly."""
    if not isinstance(A, SparseOperator):
        return 16 if rank is None or rank <= 256 else 32
    if rank is not None and rank <= 32:
        return 4
    return 8 if rank is None or rank <= 128 else 16 if rank <= 256 else 32


class _Columns:
    """Columns that grow: in place where the library can write, else by copies."""

    def __init__(
        self, length: int, capacity: int, xp: Namespace, dtype: DType, device: Device
    ) -> None:
        self.xp, self.device = xp, device
        self.is_in_place = is_in_place(xp)
        shape = (length, capacity if self.is_in_place else 0)
        self.values = xp.zeros(shape, dtype=dtype, device=device)

    def part(self, start: int, stop: int) -> Array:
        """Return some columns."""
        return self.values[:, start:stop]

    def append(self, X: Array, start: int) -> None:
        """Put columns behind the first `start`, in place of all others."""
        xp, stop = self.xp, start + int(X.shape[1])
        if not self.is_in_place:
            self.values = xp.concat([self.values[:, :start], X], axis=1)
            return
        length, capacity = self.values.shape
        if stop > capacity:
            more = xp.zeros((length, stop), dtype=X.dtype, device=self.device)
            self.values = xp.concat([self.values, more], axis=1)
        self.values[:, start:stop] = X


def _polished(Q: Array, xp: Namespace) -> tuple[Array, Array]:
    """Return a nearly orthonormal basis one Newton step nearer, and the change of coordinates."""
    one = xp.eye(int(Q.shape[1]), dtype=Q.dtype, device=device(Q))
    E = matmul_h(Q, Q, xp) - one
    return Q @ (one - 0.5 * E), one + 0.5 * E


def orthonormal(X: Array, roundoff: float, xp: Namespace) -> Array:
    """Return an orthonormal basis of the range of `X`, without directions that are rounding."""
    for _ in range(2):
        if int(X.shape[1]) == 0:
            return X
        Q, R = cholesky_qr2(X, xp)
        W, s, _ = svd_desc(R, xp)
        values = [float(v) for v in to_numpy(s)]
        count = sum(value > 16.0 * roundoff * values[0] for value in values)
        X = Q if count == len(values) else Q @ W[:, :count]
    return X


def missing(
    A: Operator,
    product: Callable[[], Array],
    basis: Array,
    energy: float,
    squares: list[float],
) -> float:
    """Return ``||A - A V V^H||_F^2``: a difference of squares, or itself where digits cancel.

    Parameters
    ----------
    A : Operator
        Of shape (m, n).
    product : callable
        Returns ``A V``.
    basis : array (n, l)
        ``V``, orthonormal.
    energy, squares : float, list of float
        ``||A||_F^2``, and the squares of the singular values of ``A V``.
    """
    lost = energy - math.fsum(squares)
    if lost > _CANCELLED * energy:
        return lost
    xp, (m, n) = A.xp, A.shape
    left, right = product(), adjoint(basis, xp)
    by_columns = n <= m
    count = min(m, n)
    total, step = 0.0, max(1, _CHUNK // max(m, n))
    for start in range(0, count, step):
        stop = min(start + step, count)
        if by_columns:
            rest = _columns(A, start, stop, basis.dtype) - left @ right[:, start:stop]
        else:
            kept = adjoint(left[start:stop, :] @ right, xp)
            rest = _columns(A.H, start, stop, basis.dtype) - kept
        total += norm_fro(rest, xp) ** 2
    return total


def _columns(A: Operator, start: int, stop: int, dtype: DType) -> Array:
    """Return some columns of a matrix, dense."""
    xp = A.xp
    if isinstance(A, DenseOperator):
        return xp.astype(A.A[:, start:stop], dtype, copy=False)
    E = xp.eye(A.shape[1], stop - start, k=-start, dtype=A.dtype, device=A.device)
    return xp.astype(A.matmul(E), dtype, copy=False)
