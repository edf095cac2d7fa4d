"""Points and weights for least squares, drawn so that few are enough.

::

    design = sample_design(basis, method="rdpp", condition=("lmin", 0.9), rng=0)
    fit = weighted_lstsq(design, f(design.points), space=basis)

"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from linalgkit._core.array import (
    Array,
    asarray,
    index_dtype,
    matmul_h,
    numpy_namespace,
    real_dtype,
    to_numpy,
)
from linalgkit._core.capabilities import capability
from linalgkit._core.linalg import hermitian_part
from linalgkit._core.operator_base import squared_row_norms
from linalgkit._core.printing import leading, number, told
from linalgkit._core.random import HostArray, as_generator, undone_on_error
from linalgkit._core.validation import check_choice, check_float, check_int
from linalgkit.sampling._bss import bss_subsample
from linalgkit.sampling._chain import sample_chain, taken
from linalgkit.sampling._finite import FiniteSpace, finite_space
from linalgkit.sampling._greedy import checked_criterion, greedy_subsample
from linalgkit.sampling._projection import ProjectionDPP, draw_rows

_HOST = numpy_namespace()
METHODS = ("rdpp", "volume", "iid")
CRITERIA = ("lmin", "norm")
SUBSAMPLES = (None, "greedy", "bss")
Condition = tuple[str, float]
_LARGEST_DRAW = 4096  # proposals at a time


@dataclass(frozen=True, eq=False)
class Design:
    """Where to measure, and how to weigh what is measured.

    Designs can be pickled, for values that are computed elsewhere; the same integer `rng` draws
    the same one.

    Attributes
    ----------
    points : array (n, d) or None
        The points; None for rows of a matrix.
    indices : array (n,) of int64 or None
        Row numbers, possibly with repetitions; None for points.
    weights : array (n,)
        Positive weights of the squared residuals; real, in the widest dtype of the device.
    gram : array (m, m)
        ``G = (1/n) Phi^H W Phi`` for the values Phi of an orthonormal basis at the points.
    lmin, lmax : float
        The smallest and largest eigenvalue of `gram`: 1 and 1 would be perfect, and ``1 / lmin``
        bounds how much of an error in the values can come through.
    n_proposals : int
        Proposals that all draws took, those thrown away included.
    n_tries : int
        Designs tested against the condition, each the best of `boost` draws.
    exact : bool
        Whether all draws follow their law exactly.
    unbiased : bool
        Whether the least-squares fit is unbiased for the best approximation, whatever the function.
    method : str
        "rdpp", "volume" or "iid".
    dim : int
        Dimension m of the space.
    mixture : float
        Part of the points that follow the optimal law; the others follow the measure itself.
        For "rdpp" the part of this design, of whole points.
    condition : tuple of str and float, or None
        What the eigenvalues were asked to satisfy, before new weights ("bss").
    boost : int
        Designs among which each was chosen.
    n_drawn : int
        Points before subsampling.
    subsample : str or None
        "greedy", "bss" or None.
    """

    points: Any = field(repr=False)
    indices: Any = field(repr=False)
    weights: Array = field(repr=False)
    gram: Array = field(repr=False)
    lmin: float
    lmax: float
    n_proposals: int
    n_tries: int
    exact: bool
    unbiased: bool
    method: str
    dim: int
    mixture: float = 1.0
    condition: Condition | None = None
    boost: int = 1
    n_drawn: int = 0
    subsample: str | None = None

    def __len__(self) -> int:
        return int(self.weights.shape[0])

    def __str__(self) -> str:
        kind = "points" if self.indices is None else "rows"
        return told(
            f"Design of {len(self):,} {kind} for {self.dim:,} functions ({self.method})",
            ("weights", leading(self.weights)),
            ("lmin, lmax", f"{number(self.lmin)}, {number(self.lmax)} (1, 1 at best)"),
            ("law", "exact" if self.exact else "approximate"),
            ("least squares", "unbiased" if self.unbiased else "biased"),
        )


class _Draw(NamedTuple):
    """Points (or row numbers), the rows of an orthonormal basis there, weights, Gram matrix."""

    points: Any
    rows: Array
    weights: Array
    gram: Array
    lmin: float
    lmax: float

    def departure(self) -> float:
        """Return the spectral norm of ``G - I``."""
        return max(1 - self.lmin, self.lmax - 1)

    def value(self, criterion: str) -> float:
        """Return what shall be small: ``1 - lmin``, or the departure."""
        return 1 - self.lmin if criterion == "lmin" else self.departure()


# ------------------------------------------------------------------------------- the function


@capability(
    "sampling.sample_design",
    notes="Points come in the library of the space: that of a TensorBasis's indices, of a matrix.",
    synchronisations={"call": 11},
)
def sample_design(
    space: Any,
    n: int | None = None,
    *,
    method: str = "rdpp",
    oversampling: float = 3,
    condition: Condition | None = None,
    boost: int = 1,
    subsample: str | None = None,
    mixture: float = 1.0,
    max_tries: int = 100,
    rng: object = None,
) -> Design:
    """Draw points and weights for weighted least squares in a space of functions.

    Parameters
    ----------
    space : TensorBasis, UserBasis, array (N, p) or ProjectionDPP
        The space; for a matrix, its range, whose rows are drawn (the measure is then uniform on
        the rows). A :class:`ProjectionDPP` saves the set-up of its matrix.
    n : int, optional
        Points, at least the dimension m; ``ceil(oversampling m)`` by default.
    method : {"rdpp", "volume", "iid"}, default "rdpp"
        "rdpp": independent projection determinantal processes, m points each. "volume":
        volume-rescaled sampling, one such process and independent points, whose fit is
        unbiased. "iid": independent points of the optimal (Christoffel) law.
    oversampling : float, default 3
        Points a dimension, where `n` is not given; at least 1.
    condition : ("lmin", delta) or ("norm", delta), optional
        Draw whole designs until ``lmin >= 1 - delta``, or until ``||G - I||_2 <= delta``, with
        delta in (0, 1): mind that ``("lmin", 0.9)`` asks for 0.1. Without one, no bound in
        expectation is known for ``n > m``.
    boost : int, default 1
        Draw so many designs for one and keep the best: with the largest `lmin` if that is the
        condition, else with the least ``||G - I||_2``.
    subsample : {"greedy", "bss"}, optional
        Remove points while the condition (``("lmin", 0.9)`` where there is none) holds, by
        :func:`greedy_subsample`; or choose ``2 m`` and weigh them anew by :func:`bss_subsample`,
        after which the condition need not hold any more.
    mixture : float, default 1.0
        Part a in (0, 1] of the points that follow the optimal law; the others follow the measure.
        Below 1 no weight exceeds ``1 / (1 - a)``, which bounds in the supremum norm ask for. For
        "rdpp" the part is rounded down to whole points.
    max_tries : int, default 100
        Designs to draw for the condition.
    rng : None, int, SeedSequence, BitGenerator or Generator, optional
        Source of all draws.

    Returns
    -------
    Design
        Points or row numbers, weights, the Gram matrix and its extreme eigenvalues.

    Raises
    ------
    TypeError
        If `space` is none, or an argument of a wrong kind.
    ValueError
        If `n` is below the dimension, delta outside (0, 1), a matrix rank deficient, or an option
        unknown or out of range.
    RuntimeError
        If the condition does not hold after `max_tries` designs (the best value is named), or a
        user's basis exceeds its bound.

    Warns
    -----
    AccuracyWarning
        If points should be removed from a design that violates the condition already.

    See Also
    --------
    weighted_lstsq : the fit, and the bound that goes with it.

    Notes
    -----
    With an orthonormal basis of values ``phi(x)`` and ``k = ||phi||^2``, every point of "iid" and
    "rdpp" has the density ``k / m`` and the weight ``m / k``, so that the expectation of G is the
    identity and its trace is m. With ``mixture = a`` the weight is ``1 / (a k / m + 1 - a)``. Where
    `n` is no multiple of m, "rdpp" ends with some points of one more process. "volume" is one
    process of m points and ``n - m`` independent ones, in a random order: its density is that of
    "iid" times ``det G``, whatever the mixture.

    For polynomials "rdpp" with ``3 m`` points had ``lmin >= 0.1`` in more than 99 of 100 draws
    (an experiment), where theory for independent points asks for 10 to 14 m; what holds for a
    design is in the design. Conditioning, boosting and subsampling give up unbiasedness.

    Storage: ``n m`` values of the basis, ``m^2`` numbers, and what a sample of
    :class:`ProjectionDPP` takes.

    References
    ----------
    .. [1] A. Nouy, B. Michel, "Weighted least-squares approximation with determinantal point
       processes and generalized volume sampling", arXiv:2312.14057.
    .. [2] A. Cohen, G. Migliorati, "Optimal weighted least-squares methods", SMAI J. Comput.
       Math. 3 (2017).
    .. [3] M. Derezinski, M. K. Warmuth, D. Hsu, "Unbiased estimators for random design
       regression", JMLR 23 (2022).
    .. [4] C. Haberstich, A. Nouy, G. Perrin, "Boosted optimal weighted least-squares", Math.
       Comp. 91 (2022).

    Examples
    --------
    >>> from linalgkit.sampling import Legendre, TensorBasis, multi_index, sample_design
    >>> basis = TensorBasis(Legendre(), multi_index(2, 5))
    >>> design = sample_design(basis, condition=("lmin", 0.9), rng=0)
    >>> len(design), basis.dim, design.lmin >= 0.1
    (63, 21, True)
    """
    check_choice("method", method, METHODS)
    check_choice("subsample", subsample, SUBSAMPLES)
    condition = check_condition("condition", condition)
    boost = check_int("boost", boost, 1)
    mixture = check_float("mixture", mixture, 0, 1, low_open=True)
    max_tries = check_int("max_tries", max_tries, 1)
    oversampling = check_float("oversampling", oversampling, 1)
    generator = as_generator(rng)
    with undone_on_error(rng):
        space = as_space(space, generator)
        m = space.dim
        rule = f"for a space of dimension {m}"
        n = math.ceil(oversampling * m) if n is None else check_int("n", n, m, None, rule)
        draw = _Drawing(space, n, method, mixture, generator)
        found, tries = _conditioned(draw, condition, boost, max_tries)
    plain = boost == 1 and condition is None and subsample is None
    is_one_process = method == "rdpp" and n == m and mixture == 1.0
    design = Design(
        None if isinstance(space, FiniteSpace) else found.points,
        draw.indices(found.points) if isinstance(space, FiniteSpace) else None,
        found.weights,
        found.gram,
        found.lmin,
        found.lmax,
        draw.n_proposals,
        tries,
        space.exact,
        plain and space.exact and (method == "volume" or is_one_process),
        method,
        m,
        mixture if method != "rdpp" else (n - draw.n_others()) / n,
        condition,
        boost,
        n,
    )
    return design if subsample is None else _subsampled(design, found, subsample, space)


def as_space(space: Any, rng: object = None) -> Any:
    """Return what has the face of a space: a basis itself, or that of the rows of a matrix."""
    if isinstance(space, ProjectionDPP):
        return space._space
    if all(hasattr(space, name) for name in ("draw", "evaluate", "dim")):
        return space
    if hasattr(space, "shape"):
        return finite_space(space, rng=rng)
    raise TypeError(
        "space must be a TensorBasis, a UserBasis, a matrix or a ProjectionDPP, got "
        f"{type(space).__name__}. A family of polynomials makes one by "
        "TensorBasis(family, multi_index(d, p))."
    )


def check_condition(name: str, condition: Any) -> Condition | None:
    """Return a condition on the eigenvalues, ``("lmin" or "norm", delta)``, or None."""
    if condition is None:
        return None
    is_two_sided, delta = checked_criterion(condition, name)
    return CRITERIA[is_two_sided], delta


# ------------------------------------------------------------------------------------ drawing


class _Drawing:
    """Designs of one kind, drawn one after another."""

    def __init__(self, space: Any, n: int, method: str, mixture: float, rng: Any) -> None:
        self.space, self.n, self.mixture, self.rng = space, n, mixture, rng
        self.n_proposals = 0
        self._points: Callable[[], tuple[Any, float]] = getattr(self, f"_{method}")

    def __call__(self) -> _Draw:
        """Return a design."""
        points, part = self._points()
        space, xp = self.space, self.space.xp
        rows = orthonormal_rows(space, points)
        density = squared_row_norms(rows, rows.dtype, xp) * (part / space.dim) + (1 - part)
        weights = 1 / density
        gram = weighted_gram(rows, weights, xp)
        values = to_numpy(xp.linalg.eigvalsh(gram))
        return _Draw(points, rows, weights, gram, float(values[0]), float(values[-1]))

    def indices(self, points: HostArray) -> Array:
        """Return row numbers in the library of the matrix."""
        xp = self.space.xp
        return asarray(points, xp=xp, device=self.space.device, dtype=index_dtype(xp))

    def n_others(self) -> int:
        """Return how many points of repeated processes follow the measure."""
        return math.ceil((1 - self.mixture) * self.n * (1 - 1e-12))

    # ------------------------------------------- points, and the part that has the optimal law

    def _iid(self) -> tuple[Any, float]:
        return self._independent(self.n), self.mixture

    def _volume(self) -> tuple[Any, float]:
        m = self.space.dim
        parts = [self._process()]
        if self.n > m:
            parts.append(self._independent(self.n - m))
        return self._shuffled(parts), self.mixture

    def _rdpp(self) -> tuple[Any, float]:
        n, m = self.n, self.space.dim
        others = self.n_others()
        full, rest = divmod(n - others, m)
        parts = [self._process() for _ in range(full)]
        if rest:
            parts.append(taken(self._process(), self.rng.permutation(m)[:rest], self.space))
        if others:
            parts.append(self.space.draw_measure(others, self.rng))
        return self._joined(parts), (n - others) / n

    def _process(self) -> Any:
        """Return one sample of the projection process."""
        if isinstance(self.space, FiniteSpace):
            points, count = draw_rows(self.space, "auto", self.rng)
        else:
            points, count = sample_chain(self.space, self.rng)
        self.n_proposals += count
        return points

    def _independent(self, count: int) -> Any:
        """Return independent points of the mixture, in a random order."""
        optimal = count if self.mixture == 1 else int(self.rng.binomial(count, self.mixture))
        parts = [self._christoffel(optimal)] if optimal else []
        if optimal < count:
            parts.append(self.space.draw_measure(count - optimal, self.rng))
        return parts[0] if len(parts) == 1 else self._shuffled(parts)

    def _christoffel(self, count: int) -> Any:
        """Return independent points of the optimal law."""
        parts, missing, space = [], count, self.space
        acceptance = min(1.0, float(getattr(space, "acceptance", 1.0)))
        while missing:
            tries = missing if acceptance > 0.999 else math.ceil(1.1 * missing / acceptance) + 8
            proposals = space.draw(min(tries, _LARGEST_DRAW), self.rng)
            rows, xp = whitened(space, proposals.rows), space.xp
            norms = to_numpy(squared_row_norms(rows, rows.dtype, xp))
            # Where the envelope is the norm itself, rounding must not reject.
            bars = self.rng.random(len(norms)) * proposals.envelope * (1 - 1e-9)
            kept = _HOST.nonzero(bars < norms)[0][:missing]
            is_last = kept.shape[0] == missing
            self.n_proposals += int(kept[-1]) + 1 if is_last else len(norms)
            missing -= kept.shape[0]
            parts.append(taken(proposals.points, kept, space))
        return self._joined(parts)

    def _joined(self, parts: list[Any]) -> Any:
        if len(parts) == 1:
            return parts[0]
        is_host = isinstance(parts[0], _HOST.ndarray)
        return (_HOST if is_host else self.space.xp).concat(parts, axis=0)

    def _shuffled(self, parts: list[Any]) -> Any:
        joined = self._joined(parts)
        return taken(joined, self.rng.permutation(joined.shape[0]), self.space)


def whitened(space: Any, rows: Array) -> Array:
    """Return raw rows of a space as those of its orthonormal basis."""
    return rows if space.whitener is None else rows @ space.whitener


def orthonormal_rows(space: Any, points: Any) -> Array:
    """Return the values of an orthonormal basis of a space at points, (n, m)."""
    if isinstance(space, FiniteSpace):
        return space.orthonormal_rows(points)
    return whitened(space, space.evaluate(points))


def weighted_gram(rows: Array, weights: Array, xp: Any) -> Array:
    """Return ``(1/n) Phi^H W Phi``, (m, m)."""
    root = xp.astype(xp.sqrt(weights / rows.shape[0]), rows.dtype, copy=False)
    scaled = rows * root[:, None]
    return hermitian_part(matmul_h(scaled, scaled, xp), xp)


def _conditioned(
    draw: _Drawing, condition: Condition | None, boost: int, max_tries: int
) -> tuple[_Draw, int]:
    """Return the first design that satisfies the condition, and its number."""
    criterion, delta = condition if condition is not None else ("norm", math.inf)
    best = math.inf
    for tries in range(1, max_tries + 1):
        found = min((draw() for _ in range(boost)), key=lambda d: d.value(criterion))
        value = found.value(criterion)
        if value <= delta:
            return found, tries
        best = min(best, value)
    seen, asked = f"||G - I|| = {best:.3g}", f"{delta:.3g} or less"
    if criterion == "lmin":
        seen, asked = f"lmin = {1 - best:.3g}", f"{1 - delta:.3g} or more"
    raise RuntimeError(
        f"the condition {(criterion, delta)} did not hold in {max_tries} designs of {draw.n} "
        f"points for dimension {draw.space.dim}; the best had {seen}, {asked} was asked for. Draw "
        "more points (n, oversampling), or raise delta, boost or max_tries. (The generator is as "
        "before the call: the same one draws the same designs.)"
    )


def _subsampled(design: Design, found: _Draw, subsample: str, space: Any) -> Design:
    """Return the design of fewer points."""
    if subsample == "greedy":
        criterion = design.condition or ("lmin", 0.9)
        kept = greedy_subsample(found.rows, found.weights, criterion=criterion)
    else:
        kept = bss_subsample(found.rows, 2.0, weights=found.weights)
    xp = space.xp
    real = real_dtype(xp, found.gram.dtype)
    points, indices = (
        None if part is None else xp.take(part, kept.indices, axis=0)
        for part in (design.points, design.indices)
    )
    return replace(
        design,
        points=points,
        indices=indices,
        weights=xp.astype(kept.weights, real, copy=False),
        gram=kept.gram,
        lmin=kept.lmin,
        lmax=kept.lmax,
        subsample=subsample,
    )
