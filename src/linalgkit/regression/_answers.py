"""From the small problem that was solved to the result: laws, scales and names.

::

    result = sketched_result(small, taken, delta, form)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from linalgkit._core.array import Array, array_namespace, eps
from linalgkit._core.operators import Operator
from linalgkit.regression._intervals import Noise, SketchLaw, column_norms, matched_freedom
from linalgkit.regression._reduced import Reduced, solve_reduced
from linalgkit.regression._sketched_result import Form, SketchedLstsqResult, scaled_floats
from linalgkit.sketching import SketchOperator

# A few large rows of the data meet few rows of these sketches, or none.
_SPARSE_KINDS = ("countsketch", "sparse_sign", "leverage")


@dataclass(frozen=True, eq=False)
class Taken:
    """What was taken of the equations.

    Attributes
    ----------
    S : SketchOperator
        The sketch.
    SA, SB : array (m, d), (m, k)
        Sketched equations, ridge rows included; (2 m, d) where a complex sketch of real data
        stands in two real parts.
    b_norms : list of float
        Norms of the right sides.
    n : int
        Equations, ridge rows not counted.
    n_ridge : int
        Ridge rows that were sketched with them.
    alpha : float
        Weight of the squares of the unknowns.
    n_penalised : int
        How many unknowns, the first ones, have that weight.
    """

    S: SketchOperator
    SA: Array
    SB: Array
    b_norms: list[float]
    n: int
    n_ridge: int
    alpha: float = 0.0
    n_penalised: int = 0

    def ridge_norms(self, X: Array) -> list[float]:
        """Return ``sqrt(alpha) ||x||`` for the unknowns (d, k) that have a weight."""
        if not self.alpha:
            return [0.0] * int(X.shape[1])
        norms = column_norms(X[: self.n_penalised, :], array_namespace(X))
        return [math.sqrt(self.alpha) * norm for norm in norms]


def population_factor(S: SketchOperator, n: int, *, is_complex: bool = False) -> float:
    """Return the variance of a sketched estimate over that of a Gaussian sketch of `m` rows.

    Parameters
    ----------
    S : SketchOperator
        The sketch.
    n : int
        Rows that it was applied to.
    is_complex : bool
        Whether they are complex.

    Returns
    -------
    float
        ``1 - m / N`` where `m` of the `N` coordinates in an orthogonal transform of all rows are
        sampled, each once. Blocks are sampled independently, so that the factor holds where there
        is one block only. ``1 + m / N`` where real Gaussian multiples of all `N` are added up in
        `m` groups, whose covariances differ. Else 1.
    """
    if S.kind == "gaussian_pooled":
        return 1.0 if is_complex else 1.0 + S.m / int(getattr(S, "n_padded", 0) or n)
    if getattr(S, "replace", True):
        return 1.0
    if S.kind in ("srdct", "srft"):
        return max(0.0, 1.0 - S.m / n)
    if S.kind == "srht":
        return 1.0 - S.m / int(getattr(S, "n_padded", 0) or n)
    if S.kind == "block_srht" and n <= int(getattr(S, "block", 0)):
        return 1.0 - S.m / int(getattr(S, "block", 1))
    return 1.0


def _law_name(S: SketchOperator) -> str:
    if S.is_exact:
        return "exact"
    return "incoherent" if S.kind in _SPARSE_KINDS else "approximate"


def sketched_result(
    small: Reduced, taken: Taken, delta: float, form: Form, status: str | None = None
) -> SketchedLstsqResult:
    """Return the result of a sketched problem.

    Parameters
    ----------
    small : Reduced
        Its solution.
    taken : Taken
        What was solved.
    delta : float
        Default of bounds.
    form : Form
        How answers look.
    status : str, optional
        In place of that which follows from the rank.
    """
    m, n, rank = int(taken.SA.shape[0]), taken.n, small.rank
    law = SketchLaw(rank, max(1, m - rank), form.is_complex)
    share = population_factor(taken.S, n + taken.n_ridge, is_complex=form.is_complex)
    spare = max(0, n - rank)
    each = [misfit / math.sqrt(law.freedom) for misfit in small.misfits]
    inverse_share = (m - rank - (0 if form.is_complex else 1)) / m
    noise = Noise(
        tuple(math.sqrt(m / max(1, spare)) * s for s in each),
        max(0.0, inverse_share) + share * spare / m,
        matched_freedom(law.field * law.freedom, law.field * spare) if spare else 0.0,
        law.field,
    )
    deficient = "sketched" if small.null is None else "rank_deficient"
    return _result(
        small,
        law,
        noise,
        form,
        scales=[math.sqrt(share) * s for s in each],
        residuals=without_ridge(
            scaled_floats(tuple(math.sqrt(m) * s for s in each), small.spread.side_exponents),
            taken.ridge_norms(small.spread.X),
        ),
        b_norms=taken.b_norms,
        m=taken.S.m,
        n=n,
        sketch=taken.S.kind,
        law_name=_law_name(taken.S),
        status=deficient if status is None else status,
        delta=delta,
    )


def without_ridge(norms: list[float], ridge: list[float]) -> list[float]:
    """Return norms of residuals of which the ridge rows have a known part, 0 if that is larger."""
    return [
        math.sqrt(1.0 - min(1.0, part / whole)) * math.sqrt(1.0 + part / whole) * whole
        if part < whole
        else 0.0
        for whole, part in zip(norms, ridge, strict=True)
    ]


def exact_result(
    A: Array,
    B: Array,
    ridge: tuple[Operator, Array] | None,
    delta: float,
    form: Form,
) -> SketchedLstsqResult:
    """Return the result for equations that are few enough to be solved without a sketch.

    Parameters
    ----------
    A, B : array (n, d), (n, k)
        The equations.
    ridge : pair of Operator and array, or None
        Rows below them.
    delta : float
        Default of bounds.
    form : Form
        How answers look.
    """
    xp = array_namespace(A)
    n, b_norms, data = int(A.shape[0]), column_norms(B, xp), (A, B)
    if ridge is not None:
        A = xp.concat([A, ridge[0].A], axis=0)  # type: ignore[attr-defined]  # a dense operator
        B = xp.concat([B, ridge[1]], axis=0)
    small = solve_reduced(A, B, eps(xp, form.dtype), xp=xp)
    spare = max(0, n - small.rank)
    if ridge is None:
        residuals = scaled_floats(small.misfits, small.spread.side_exponents)
    else:
        X = small.spread.X
        rows, sides = (xp.astype(part, X.dtype, copy=False) for part in data)
        residuals = column_norms(sides - rows @ X, xp)
    law = SketchLaw(small.rank, max(1, spare), form.is_complex)
    noise = Noise(
        tuple(misfit / math.sqrt(max(1, spare)) for misfit in small.misfits),
        1.0,
        float(law.field * spare),
        law.field,
    )
    return _result(
        small,
        law,
        noise,
        form,
        scales=[0.0] * len(b_norms),
        residuals=residuals,
        b_norms=b_norms,
        m=n,
        n=n,
        sketch="none",
        law_name="none",
        status="exact" if small.rank == min(A.shape) else "rank_deficient",
        delta=delta,
    )


def _result(
    small: Reduced,
    law: SketchLaw,
    noise: Noise,
    form: Form,
    *,
    scales: list[float],
    residuals: list[float],
    b_norms: list[float],
    m: int,
    n: int,
    sketch: str,
    law_name: str,
    status: str,
    delta: float,
) -> SketchedLstsqResult:
    spread = small.spread.with_scales(scales)
    return SketchedLstsqResult(
        x=form.numbers(spread.X),
        stderr=form.reals(spread.stderr()),
        residual_norm=form.each_side(residuals, spread.X),
        b_norm=form.each_side(b_norms, spread.X),
        rank=small.rank,
        condition=small.condition,
        m=m,
        n_rows=n,
        sketch=sketch,
        law=law_name,
        status=status,
        _spread=spread,
        _law=law,
        _noise=noise,
        _form=form,
        _delta=delta,
    )
