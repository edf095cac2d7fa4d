"""What a sketched least-squares problem answers: unknowns, and intervals around them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from linalgkit._core.array import (
    Array,
    DType,
    array_namespace,
    device,
    is_complex_dtype,
    real_dtype,
    to_numpy,
    widest_dtype,
    widest_float,
)
from linalgkit._core.printing import leading, number, told
from linalgkit._core.scaling import ldexp_float, silent
from linalgkit._core.validation import check_finite_block, check_float
from linalgkit.regression._intervals import Noise, Product, SketchLaw, Spread, around, check_level
from linalgkit.regression._scaled import finite_as


@dataclass(frozen=True)
class Form:
    """How answers look: the caller's precision, and 1-D where the right side was."""

    dtype: DType
    is_complex: bool
    b_is_vector: bool

    def numbers(self, values: Array, name: str = "x") -> Array:
        """Return (q, k) estimates in the caller's precision, (q,) for a 1-D right side.

        Raises
        ------
        ValueError
            If one of them overflows.
        """
        return self._cut(finite_as(values, self.dtype, name, array_namespace(values)))

    def reals(self, values: Array, name: str = "stderr") -> Array:
        """Return (q, k) real numbers in the caller's precision; otherwise as :meth:`numbers`."""
        xp = array_namespace(values)
        return self._cut(finite_as(values, real_dtype(xp, self.dtype), name, xp))

    def each_side(self, values: list[float], like: Array) -> Any:
        """Return one real number a right side: a float, or an array (k,)."""
        if self.b_is_vector:
            return values[0]
        xp, where = array_namespace(like), device(like)
        return xp.asarray(values, dtype=widest_float(xp, where), device=where)

    def _cut(self, values: Array) -> Array:
        return values[:, 0] if self.b_is_vector else values


@dataclass(frozen=True, eq=False)
class Contrast:
    """Estimates of linear combinations of the unknowns.

    Attributes
    ----------
    estimate : array
        The combinations of the sketched unknowns, shape (q,) or (q, k), without the first axis
        where one combination was asked for.
    stderr : array
        Their standard errors, of the same shape.
    law : str
        As in :class:`SketchedLstsqResult`.
    """

    estimate: Array = field(repr=False)
    stderr: Array = field(repr=False)
    law: str
    _law: SketchLaw = field(repr=False)
    _n_sides: int = field(repr=False)

    def ci(self, level: float = 0.95, simultaneous: bool = False) -> tuple[Array, Array]:
        """Return intervals for the combinations of the least-squares solution.

        Parameters
        ----------
        level : float, default 0.95
            Probability of covering, in (0, 1).
        simultaneous : bool, default False
            Whether the intervals shall hold together: for all combinations there are, those
            not asked for included, and all right sides (Scheffe's method).

        Returns
        -------
        lower, upper : array
            The ends; for complex numbers the real and the imaginary parts have an interval each.
        """
        tail = check_level(level, simultaneous, self._n_sides)
        law = self._law
        multiplier = law.all_contrasts(tail) if simultaneous else law.student(tail)
        return around(self.estimate, self.stderr, array_namespace(self.estimate), multiplier)


@dataclass(frozen=True, eq=False)
class SketchedLstsqResult:
    """Solution of a sketched least-squares problem, with intervals for the exact one.

    The sketched unknowns ``x'`` minimise ``||S (A x - b)||_2``, and the intervals are for the
    least-squares solution `x`, which minimises ``||A x - b||_2`` (with ridge and weights, the
    sums they belong to). They tell nothing of rounding errors, which are of the order of
    `condition` times the roundoff, nor of the noise in `b`.

    Attributes
    ----------
    x : array (d,) or (d, k)
        The unknowns, of the shape of `b`; of minimum norm where the rank is deficient.
    stderr : array (d,) or (d, k)
        Standard error of each unknown as an estimate of the exact one: root mean square of the
        modulus for complex unknowns. Zero where the problem was solved without a sketch.
    residual_norm : float or array (k,)
        Estimate of ``||A x - b||_2`` of the exact solution, without the ridge:
        ``sqrt(m / (m - rank)) ||S (A x' - b)||_2``, from the square of which ``alpha ||x'||^2`` is
        taken where the ridge rows were among the sketched ones.
    b_norm : float or array (k,)
        ``||b||_2``, weighted: with `residual_norm` it tells the share that is explained.
    rank : int
        Numerical rank of ``S A``, ridge rows included.
    condition : float
        Ratio of the extreme singular values of ``S A`` after its columns have been brought to
        unit norm; about that of `A`.
    m : int
        Rows of the sketch; `n_rows` where there was none.
    n_rows : int
        Equations, ridge rows not counted.
    sketch : str
        Kind of the sketch, ``"none"`` where the problem was solved without.
    law : str
        What vouches for the intervals: ``"exact"`` for Gaussian sketches, whose law is known for
        every matrix and size; ``"approximate"`` for the other dense kinds, which behave alike in
        experiments; ``"incoherent"`` for countsketch, sparse_sign and leverage, which do so only
        where no few rows dominate (else their intervals can cover far too seldom); ``"none"``
        where there was no sketch and nothing to cover.
    status : str
        ``"sketched"``; ``"exact"`` where the sketch would have had no fewer rows than the
        problem, which was then solved without; ``"rank_deficient"`` where the rank is below both
        sides of `A`, and the solution of minimum norm was returned with an
        :class:`~linalgkit.AccuracyWarning`.
    """

    x: Array = field(repr=False)
    stderr: Array = field(repr=False)
    residual_norm: Any = field(repr=False)
    b_norm: Any = field(repr=False)
    rank: int
    condition: float
    m: int
    n_rows: int
    sketch: str
    law: str
    status: str
    _spread: Spread = field(repr=False)
    _law: SketchLaw = field(repr=False)
    _noise: Noise = field(repr=False)
    _form: Form = field(repr=False)
    _delta: float = field(repr=False)

    def __str__(self) -> str:
        d = int(self.x.shape[0])
        return told(
            f"Least squares from {self.m:,} sketched rows of {self.n_rows:,}, {d:,} unknowns of "
            f"rank {self.rank:,} ({self.sketch})",
            ("coefficients", leading(self.x)),
            ("standard errors", leading(self.stderr)),
            ("residual norm", number(self.residual_norm)),
            ("condition", number(self.condition)),
            status=self.status,
        )

    def ci(self, level: float = 0.95, simultaneous: bool = False) -> tuple[Array, Array]:
        """Return intervals for the unknowns of the least-squares solution.

        Parameters
        ----------
        level : float, default 0.95
            Probability that an interval covers, in (0, 1).
        simultaneous : bool, default False
            Whether all intervals shall cover together: all unknowns, right sides, and real and
            imaginary parts (by Bonferroni's inequality).

        Returns
        -------
        lower, upper : array (d,) or (d, k)
            The ends; for complex unknowns the real and the imaginary parts have an interval
            each.

        Raises
        ------
        TypeError, ValueError
            If `level` is no number in (0, 1) or `simultaneous` no bool.
        """
        d, k = self._spread.X.shape
        tail = check_level(level, simultaneous, d * k * self._law.field)
        return around(self.x, self.stderr, self._spread.xp, self._law.student(tail))

    def linf_bound(self, delta: float | None = None) -> float:
        """Return a bound on the largest error of an unknown.

        Parameters
        ----------
        delta : float, optional
            Probability that it does not hold, in (0, 1); the `delta` of the call by default.

        Returns
        -------
        float
            ``max_ij |x'_ij - x_ij|`` is below it with probability ``1 - delta``, over all
            unknowns and right sides at once: the probabilities that each of them is above it
            sum to `delta`.
        """
        delta = self._delta if delta is None else delta
        delta = check_float("delta", delta, 0, 1, low_open=True, high_open=True)
        return self._law.largest(delta, to_numpy(self._spread.stderr()))

    def contrast(self, a: Any) -> Contrast:
        """Return linear combinations of the unknowns with their standard errors.

        Parameters
        ----------
        a : array (d,) or (q, d)
            The coefficients: ``a @ x`` is estimated, without conjugation.

        Returns
        -------
        Contrast
            Estimates, standard errors and intervals of ``a @ x`` of the exact solution.

        Raises
        ------
        TypeError, ValueError
            If `a` is no array of the library of `x` with d columns, or not finite, or what comes
            out would overflow.
        """
        rows, is_single = self._combinations("a", a)
        with silent():  # what overflows is refused below
            values, errors = self._spread.of_combinations(lambda M: rows @ M)
        estimate = self._form.numbers(values, "the combination of unknowns")
        stderr = self._form.reals(errors)
        if is_single:
            estimate, stderr = estimate[0, ...], stderr[0, ...]
        k = int(self._spread.X.shape[1])
        return Contrast(estimate, stderr, self.law, self._law, k)

    def _observation(self, product: Product, level: float) -> tuple[Array, Array]:
        """Return the ends of intervals for new observations at the rows behind `product`."""
        tail = check_level(level, False, 1)
        if self._noise.freedom <= 0:
            raise ValueError(
                f"an interval for a new observation needs more equations than unknowns, got "
                f"{self.n_rows} for rank {self.rank}."
            )
        with silent():  # what overflows is refused below
            values, spreads = self._spread.of_observations(product, self._noise)
        centre = self._form.numbers(values, "the prediction")
        spread = self._form.reals(spreads, "the interval")
        return around(centre, spread, self._spread.xp, self._noise.student(tail))

    def _combinations(self, name: str, a: Any) -> tuple[Array, bool]:
        """Return coefficients as (q, d) in the widest dtype, and whether they were 1-D."""
        xp, X = self._spread.xp, self._spread.X
        array_namespace(a, self.x)
        if a.ndim not in (1, 2) or a.shape[-1] != X.shape[0]:
            raise ValueError(
                f"{name} must be of shape ({X.shape[0]},) or (q, {X.shape[0]}), as there are "
                f"{X.shape[0]} unknowns, got shape {tuple(a.shape)}."
            )
        if is_complex_dtype(xp, a.dtype) and not self._form.is_complex:
            raise TypeError(
                f"{name} must be real as the unknowns are, got {a.dtype}. Pass its real and its "
                "imaginary part as two rows."
            )
        check_finite_block(a, name=name)
        rows = a if a.ndim == 2 else xp.reshape(a, (1, -1))
        found = xp.result_type(a.dtype, X.dtype) if is_float(a, xp) else X.dtype
        wide = widest_dtype(xp, device(X), found)
        return xp.astype(rows, wide, copy=False), a.ndim == 1


def is_float(a: Array, xp: Any) -> bool:
    """Tell whether an array holds real or complex floating-point numbers."""
    return bool(xp.isdtype(a.dtype, ("real floating", "complex floating")))


def scaled_floats(values: tuple[float, ...], exponents: tuple[int, ...]) -> list[float]:
    """Return ``values * 2**exponents`` as Python floats."""
    return [ldexp_float(v, e) for v, e in zip(values, exponents, strict=True)]
