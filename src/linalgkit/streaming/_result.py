"""What a stream of rows answers: eigenpairs and how far to trust them."""

from __future__ import annotations

from dataclasses import dataclass, field

from linalgkit._core.array import Array
from linalgkit._core.printing import leading, number, told


@dataclass(frozen=True, eq=False)
class StreamingEighResult:
    """Top eigenpairs of ``A^H A`` for a stream of rows, with their certificate.

    Here `A` is everything that was streamed, after weights, forgetting and centring; `d` is
    the number of columns and `k` the number of eigenpairs.

    Attributes
    ----------
    eigenvalues : array (k,)
        Largest eigenvalues of ``A^H A`` (sums of squares, not means), descending, in the real
        dtype of the data.
    eigenvectors : array (d, k)
        Orthonormal columns; the entry of largest modulus of each is real and positive.
    gap : float
        Estimate of the population's ``l_k / l_{k+1}``: how well the subspace is determined.
        For ``"nystrom"``, ``"frequent-directions"`` and ``"oja"``, and for any method with
        ``order="arbitrary"``, where there is no population, it is that of the rows seen. NaN
        where too few rows were seen, infinity where nothing lies beyond the k-th.
    error_estimate : float
        Estimate of ``sin^2`` of the largest angle between the eigenvectors and the
        population's; for the methods that lose part of the data it includes that loss, and
        where rows are weighted or forgotten it counts the rows that are in effect left.
        NaN where it could not be estimated. It is an estimate, not a bound.
    residual : float
        ``max_i ||S v_i - l_i v_i||_2 / l_1`` with ``S = A^H A``: exact for ``"gram"`` and after
        `refine`; otherwise estimated, or a bound, as `residual_kind` says.
    residual_kind : str
        ``"exact"``, ``"bound"`` or ``"estimate"``.
    excess : float
        Eigenvalue i of the rows seen lies in ``[eigenvalues[i], eigenvalues[i] + excess]``, for
        certain: what ``"frequent-directions"`` and ``"nystrom"`` have left out at most; 0 for
        ``"gram"``, rounding apart; NaN for the methods that have no such bound.
    n_rows : int
        Rows streamed.
    frobenius_norm : float
        ``||A||_F``, accumulated in double precision.
    n_heavy : int
        Rows of large norm that are held verbatim.
    n_heavy_required : int
        How many rows are so large that they have to be held (0 where the method needs none).
    method : str
        The method that produced the answer.
    candidate : str
        The member of a portfolio or ladder that won; empty where there is only one.
    order_zscore : float
        Exchangeability statistic of the order of the rows, approximately standard normal for
        a random order; NaN where the method does not depend on the order, and where rows have
        weights or fade.
    status : str
        ``"converged"``; ``"rank_deficient"`` (an eigenvalue is zero up to rounding, its vector
        arbitrary), ``"small_gap"``, ``"order_not_random"``, ``"heavy_rows_missed"``,
        ``"no_growth"``, ``"uncertain"`` (`error_estimate` above 1/4), ``"unknown"`` (a
        random-order method has seen too few rows to estimate its error) for an answer weaker
        than asked, each with an :class:`~linalgkit.AccuracyWarning`; ``"zero"`` for a stream of
        zeros.
    """

    eigenvalues: Array = field(repr=False)
    eigenvectors: Array = field(repr=False)
    gap: float
    error_estimate: float
    residual: float
    residual_kind: str
    excess: float
    n_rows: int
    frobenius_norm: float
    n_heavy: int
    n_heavy_required: int
    method: str
    candidate: str
    order_zscore: float
    status: str

    def __str__(self) -> str:
        d, k = self.eigenvectors.shape
        estimate, residual = number(self.error_estimate), number(self.residual)
        return told(
            f"{k} eigenpairs of A^H A, {self.n_rows:,} rows of {d:,} numbers ({self.method})",
            ("eigenvalues", leading(self.eigenvalues)),
            ("gap", number(self.gap)),
            ("error", estimate and f"sin^2 of the angle to the population's, about {estimate}"),
            ("residual", residual and f"{residual} of the largest ({self.residual_kind})"),
            status=self.status,
        )
