"""The answer of an incremental decomposition, with what is certain about the whole matrix.

::

    result = answer(stream)             # all columns taken in; the stream stays as it is
    result.error_fro                    # ||A - U diag(s) Vh||_F
    lower, upper = result.sigma_bounds()
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field

from linalgkit._core.array import (
    Array,
    Namespace,
    adjoint,
    array_namespace,
    device,
    eps,
    real_dtype,
    widest_dtype,
)
from linalgkit._core.linalg import fix_signs
from linalgkit._core.printing import leading, number, relative, told
from linalgkit._core.scaling import ldexp, ldexp_float
from linalgkit._core.validation import AccuracyWarning, check_int
from linalgkit.svd import _rotations
from linalgkit.svd._account import Enclosure
from linalgkit.svd._options import least_rank
from linalgkit.svd._steps import decomposed, host
from linalgkit.svd._stream import ColumnStream

_ROUNDING = 8.0  # roundoffs of the largest square, for each that is uncertain
_ROOTS = 32.0  # roundoffs of the largest singular value, times the root of the columns
_TURNS = 16.0  # roundoffs of it for every step


@dataclass(frozen=True, eq=False)
class SVDResult:
    """A truncated singular value decomposition ``A ~ U diag(s) Vh``, certified.

    Attributes
    ----------
    U : array (m, rank)
        Left singular vectors of what was kept, orthonormal (in the inner product, where there
        is one); the entry of largest modulus of each is real and positive.
    s : array (rank,)
        Singular values of what was kept, descending: never above those of ``A`` where
        `error_kind` is ``"exact"``.
    Vh : array (rank, n) or None
        Conjugate transposed right singular vectors, where they were asked for.
    rank : int
        Number of triplets: at most `n_components`, fewer where the matrix has no more or the
        tolerance asks for no more.
    norm_fro : float
        ``||A||_F`` (weighted by `forgetting`, less the mean with `center`). After updates, where
        the norm is no longer known, that of the matrix they were made to.
    error_fro : float
        ``||A - U diag(s) Vh||_F``, to rounding: of 1e-15 of the norm, or with ``"gram"``, whose
        squares are known to some roundoffs of the largest, of 1e-8 times the root of the steps.
    error_kind : str
        ``"exact"``: `error_fro` is that norm, whatever was discarded when. ``"bound"``: it is an
        upper bound, after low-rank updates, removals, columns and rows in turns; with Frequent
        Directions on the projection error ``||A - U U^H A||_F``.
    error_spectral_bound : float
        Upper bound on the 2-norm of the same difference.
    n_columns : int
        Columns taken in.
    status : str
        ``"converged"``; ``"rank_deficient"`` where the matrix has fewer than `n_components`
        singular values above rounding; ``"max_rank"`` where `n_components` is too small for the
        tolerance, with an :class:`~linalgkit.AccuracyWarning`.
    """

    U: Array = field(repr=False)
    s: Array = field(repr=False)
    Vh: Array | None = field(repr=False)
    rank: int
    norm_fro: float
    error_fro: float
    error_kind: str
    error_spectral_bound: float
    n_columns: int
    status: str
    _enclosure: Enclosure = field(repr=False)
    _exponent: int = field(repr=False)

    def __str__(self) -> str:
        m = int(self.U.shape[0])
        bound = number(self.error_spectral_bound)
        error = relative(self.error_fro, self.norm_fro, f"||A||_F ({self.error_kind})")
        return told(
            f"Singular value decomposition of rank {self.rank:,}, {m:,} x {self.n_columns:,}",
            ("singular values", leading(self.s)),
            ("error", error),
            ("in the 2-norm", bound and f"{bound} at most"),
            status=self.status,
        )

    def sigma_bounds(self) -> tuple[Array, Array]:
        """Return intervals that hold the `rank` largest singular values of ``A``.

        Returns
        -------
        lower, upper : array (rank,)
            The ends, rounding errors included: ``eps s_1 (32 sqrt(n + 4) + 16 k)`` after k steps.
        """
        lower, upper = self._enclosure.sigma_bounds(self.rank)
        return self._like_s(lower), self._like_s(upper)

    def optimal_error_bounds(self, r: int | None = None) -> tuple[float, float]:
        """Return an interval that holds the smallest error of an approximation of rank `r`.

        Parameters
        ----------
        r : int, optional
            1 to `rank`, which is the default.

        Returns
        -------
        lower, upper : float
            For the Frobenius norm of the error, absolute. The upper end holds for ``U U^H A`` with
            the first `r` columns of `U`, too.
        """
        low, high = self._enclosure.optimal_error_bounds(self._checked(r))
        return ldexp_float(low, self._exponent), ldexp_float(high, self._exponent)

    def subspace_angle_bound(self, r: int | None = None) -> float:
        """Return a bound on the sine of the largest angle to the leading left singular subspace.

        Parameters
        ----------
        r : int, optional
            Dimension of the subspaces, 1 to `rank`, which is the default.

        Returns
        -------
        float
            1.0 where the gap behind singular value `r` is too small to say anything.
        """
        return self._enclosure.angle_bound(self._checked(r))

    def _checked(self, r: int | None) -> int:
        return self.rank if r is None else check_int("r", r, 1, max(1, self.rank))

    def _like_s(self, values: list[float]) -> Array:
        numbers = [ldexp_float(value, self._exponent) for value in values]
        xp = array_namespace(self.s)
        return xp.asarray(numbers, dtype=self.s.dtype, device=device(self.s))


def enclosure_of(stream: ColumnStream, squares: list[float]) -> Enclosure:
    """Return what is certain, with room for rounding errors."""
    xp = stream.xp
    largest = max(squares[0] if squares else 0.0, stream.account.top)
    roundoff = eps(xp, stream.dtype)
    count = _ROOTS * math.sqrt(4 + stream.n_columns) + _TURNS * stream.account.turns
    slack = roundoff * math.sqrt(largest) * count
    wide = eps(xp, widest_dtype(xp, stream.device, stream.dtype))
    square_slack = _ROUNDING * wide * stream.account.noise
    is_of_rows = stream.run == "rows"
    return Enclosure(tuple(squares), stream.account, slack, square_slack, is_of_rows)


def answer(stream: ColumnStream, *, stacklevel: int = 3) -> SVDResult:
    """Return the decomposition of all columns that came in.

    Parameters
    ----------
    stream : ColumnStream
        With at least one column; it stays as it is.
    stacklevel : int
        Of warnings.
    """
    held = stream.flushed()
    xp, options = held.xp, held.options
    assert held.kept is not None
    U, s, rotation = decomposed(held.kept, xp)
    squares = [value * value for value in host(s)]
    enclosure = enclosure_of(held, squares)
    rank, status = _rank(held, squares, enclosure.square_slack)
    V = None
    if held.node is not None:
        V = (_rotations.rows_of(held.node, xp) @ rotation)[:, :rank]
    U, V = signed(U[:, :rank], V, xp)
    exponent = held.exponent
    is_exact = held.account.is_exact
    error = enclosure.error(rank) if is_exact else enclosure.error_bound(rank)
    error = ldexp_float(error, exponent)
    if status == "max_rank":
        warnings.warn(
            f"the error may be as large as {_bound_of(enclosure, rank, exponent):.3g}, above the "
            f"tolerance, with n_components={options.n_components}. {_way_out(held)}",
            AccuracyWarning,
            stacklevel=stacklevel,
        )
    real = real_dtype(xp, held.dtype)
    return SVDResult(
        U=U,
        s=ldexp(xp.asarray(xp.astype(s[:rank], real), copy=True), exponent, xp),
        Vh=None if V is None else adjoint(xp.astype(V, held.dtype, copy=False), xp),
        rank=rank,
        norm_fro=ldexp_float(math.sqrt(held.account.norm_square), exponent),
        error_fro=error,
        error_kind="exact" if is_exact else "bound",
        error_spectral_bound=ldexp_float(enclosure.spectral_bound(rank), exponent),
        n_columns=held.n_columns,
        status=status,
        _enclosure=enclosure,
        _exponent=exponent,
    )


def _bound_of(enclosure: Enclosure, rank: int, exponent: int) -> float:
    return ldexp_float(enclosure.error_bound(rank), exponent)


def _way_out(stream: ColumnStream) -> str:
    if stream.options.n_components is not None:
        return "Raise n_components, or leave it None."
    if not stream.is_orthogonal:
        return 'Use method="cholqr": squares do not resolve such an error.'
    return "Parts that are merged each spend a share: give them a smaller absolute tolerance."


def _rank(stream: ColumnStream, squares: list[float], slack: float) -> tuple[int, str]:
    """Return the number of triplets of the answer, and the word for it."""
    options, account = stream.options, stream.account
    cap = len(squares) if options.n_components is None else options.n_components
    rank = min(cap, sum(value > 0.0 for value in squares))
    allowed = options.allowed(account.norm_square, stream.exponent)
    if allowed is not None:
        least = _ROUNDING * eps(stream.xp, stream.dtype) * math.sqrt(account.norm_square)
        room = max(least, math.sqrt(allowed) - account.before_fro) ** 2
        needed = least_rank(squares, max(0.0, room - account.lost - slack))
        is_met = account.lost + slack <= room * (1.0 + 1e-12) and needed <= rank
        return min(needed, rank), "converged" if is_met else "max_rank"
    is_short = options.n_components is not None and rank < options.n_components
    return rank, "rank_deficient" if is_short else "converged"


def signed(U: Array, V: Array | None, xp: Namespace) -> tuple[Array, Array | None]:
    """Return the vectors with fixed signs."""
    fixed = fix_signs(U, xp=xp)
    if V is None or fixed.shape[1] == 0:
        return fixed, V
    phases = xp.sum(xp.conj(U) * fixed, axis=0)
    return fixed, V * xp.astype(phases, V.dtype)[None, :]
