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
        Ridge rows.
    """

    S: SketchOperator
    SA: Array
    SB: Array
    b_norms: list[float]
    n: int
    n_ridge: int


def population_factor(S: SketchOperator, n: int) -> float:
    """Return the share of the variance that sampling without replacement leaves.

    Parameters
    ----------
    S : SketchOperator
        The sketch.
    n : int
        Rows that it was applied to.

    Returns
    -------
    float
        ``1 - m / N`` where `m` of the `N` coordinates in an orthogonal transform of all rows are
        sampled, each once; else 1. Blocks are sampled independently, so that the factor holds
        where there is one block only.
    """
    if getattr(S, "replace", True):
        return 1.0
    if S.kind in ("srdct", "srft"):
        return max(0.0, 1.0 - S.m / n)
    if S.kind == "srht":
        return 1.0 - S.m / int(getattr(S, "n_padded", 0) or n)
    if S.kind == "block_srht" and n <= int(getattr(S, "block", 0)):
        return 1.0 - S.m / int(getattr(S, "block", 1))
    return 1.0


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
    share = population_factor(taken.S, n + taken.n_ridge)
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
        residuals=[math.sqrt(m) * s for s in each],
        b_norms=taken.b_norms,
        m=taken.S.m,
        n=n,
        sketch=taken.S.kind,
        law_name="exact" if taken.S.is_exact else "approximate",
        status=deficient if status is None else status,
        delta=delta,
    )


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
    n, b_norms = int(A.shape[0]), column_norms(B, xp)
    if ridge is not None:
        A = xp.concat([A, ridge[0].A], axis=0)  # type: ignore[attr-defined]  # a dense operator
        B = xp.concat([B, ridge[1]], axis=0)
    small = solve_reduced(A, B, eps(xp, form.dtype), xp=xp)
    spare = max(0, n - small.rank)
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
        residuals=list(small.misfits),
        b_norms=b_norms,
        m=n,
        n=n,
        sketch="none",
        law_name="none",
        status="exact" if small.rank == A.shape[1] else "rank_deficient",
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
    norms = scaled_floats(tuple(residuals), spread.side_exponents)
    return SketchedLstsqResult(
        x=form.numbers(spread.X),
        stderr=form.reals(spread.stderr()),
        residual_norm=form.each_side(norms, spread.X),
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
