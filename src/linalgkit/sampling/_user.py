"""Spaces spanned by a caller's own functions, with draws of their optimal law.

::

    def monomials(points):                             # (n, 1) -> (n, 3)
        return points ** numpy.arange(3)

    def uniform(n, rng):
        return rng.uniform(-1, 1, (n, 1))

    UserBasis(monomials, 3, proposal=uniform)                                # a discrete proxy
    UserBasis(monomials, 3, proposal=uniform, bound=9.0, gram=gram_matrix)   # exact
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from linalgkit._core.array import (
    Array,
    Device,
    DType,
    Namespace,
    array_namespace,
    asarray,
    device,
    eps,
    is_complex_dtype,
    library_name,
    matmul_h,
    namespace_of,
    numpy_namespace,
    to_numpy,
    widest_dtype,
    working_dtype,
)
from linalgkit._core.capabilities import capability
from linalgkit._core.estimator import as_array
from linalgkit._core.random import as_generator, undone_on_error
from linalgkit._core.validation import (
    check_finite_block,
    check_float,
    check_int,
    message,
)
from linalgkit._kernels import row_norms_squared
from linalgkit.sampling._family import real_points
from linalgkit.sampling._proposals import Proposals
from linalgkit.sampling._scan import draw_index
from linalgkit.sampling._user_gram import check_orthonormal, checked_gram, whitener_of

_HOST = numpy_namespace()
_CHUNK = 2**22  # entries of rows at a time
_PROBE = 2  # points, to learn library, device, dtype and number of variables
# Points on which orthonormality is tested, and values of the functions there.
_LEAST_TEST, _MOST_TEST, _TEST_ENTRIES = 4096, 500_000, 2e7
_LEAST_PROXY = 10_000
_VIOLATION_ULPS = 1e4  # by which a bound may be exceeded by rounding

_Function = Callable[[Any], Any]
_Proposal = Callable[[int, Any], Any]


@capability("sampling.UserBasis", synchronisations={"call": 13, "evaluation": 2, "draw": 3})
class UserBasis:
    """Functions given by a Python callable, with points drawn by another one.

    Parameters
    ----------
    fun : callable
        ``fun(points)`` returns the values (n, dim), real or complex, at points (n, d).
    dim : int
        Number of functions.
    proposal : callable
        ``proposal(n, rng)`` returns n independent points (n, d), drawn with the NumPy generator
        `rng`: from the measure `mu` itself, or, where it returns a pair ``(points, ratio)``,
        from another law, with ``ratio`` (n,) the positive density of `mu` with respect to it.
    bound : float, optional
        An upper bound of ``k(x) ratio(x)`` over all points, `k` being the sum of the squares of
        an orthonormal basis. With it, draws are exact. Without, they are from a discrete proxy.
    gram : array (dim, dim), optional
        Gram matrix of the functions, entry (i, j) the mean of ``conj(f_i) f_j`` under `mu`. Left
        out, functions with a `bound` must be orthonormal, and those without have theirs
        estimated from the proxy.
    n_proxy : int, optional
        Number of points of the proxy, at least `dim`;
        ``max(10000, 50 dim log dim)`` by default.
    rng : None, int, SeedSequence, BitGenerator or Generator, default 0
        Where the points of the proxy come from, or those on which a basis with a `bound` is
        tested.

    Attributes
    ----------
    dim, n_variables : int
        Numbers of functions and of variables.
    exact : bool
        Whether draws follow the optimal law exactly: with a `bound` that holds, else not.
    whitener : array (dim, dim) or None
        Values times this matrix are those of an orthonormal basis.

    Raises
    ------
    TypeError
        If an argument is of a wrong kind, or what the callables return is no array.
    ValueError
        If values or points have a wrong shape or hold NaN or infinity, a ratio is not positive,
        the Gram matrix is not Hermitian positive definite, `bound` is less than `dim` (the mean
        of what it bounds), functions with a `bound` are not orthonormal (or do not have this
        Gram matrix), or `n_proxy` is given with a `bound` or less than `dim`.

    RuntimeError
        If `bound` does not hold at a point that is met, at once or in a draw.

    Warns
    -----
    AccuracyWarning
        If the bound is so large that the test of orthonormality says little.

    Notes
    -----
    With a bound, a point of the proposal is kept with probability ``k ratio / bound``, which
    leaves the optimal law ``(k / dim) dmu``; ``bound / dim`` proposals a draw are made on
    average. A point where the bound does not hold raises a RuntimeError. That the functions are
    orthonormal is tested on ``1000 bound`` points of the proposal (4096 to 500 000, and no more
    than twenty million values): a Gram matrix that is off by more than six standard errors and
    what rare events may hide is refused; less is not seen. Without a bound, points
    come from the finite set of proxy points, with the law that is optimal for the weighted
    average over that set: an approximation, and ``exact`` is False. A `gram` is tested in the same
    way. To make the proxy takes three evaluations of the functions at its points and
    ``4 N dim^2`` flops: seconds for several hundred functions.

    Storage: with `N` points of the proxy, ``8 N (d + 1)`` bytes and the whitener; values at no
    more than four million numbers at a time.

    Examples
    --------
    >>> import numpy as np
    >>> basis = UserBasis(
    ...     lambda points: points ** np.arange(3),
    ...     3,
    ...     proposal=lambda n, rng: rng.uniform(-1, 1, (n, 1)),
    ...     bound=9.0,
    ...     gram=[[1, 0, 1 / 3], [0, 1 / 3, 0], [1 / 3, 0, 1 / 5]],
    ... )
    >>> basis.exact
    True
    >>> basis.christoffel(np.asarray([[0.0], [1.0]])).round(6)
    array([2.25, 9.  ])
    """

    def __init__(
        self,
        fun: _Function,
        dim: int,
        *,
        proposal: _Proposal,
        bound: float | None = None,
        gram: Any = None,
        n_proxy: int | None = None,
        rng: object = 0,
    ) -> None:
        for name, given in (("fun", fun), ("proposal", proposal)):
            if not callable(given):
                raise TypeError(f"{name} must be callable, got {type(given).__name__}.")
        self.dim = check_int("dim", dim, 1)
        self._fun, self._proposal = fun, proposal
        self.bound = None if bound is None else _checked_bound(bound, self.dim)
        self.exact = bound is not None
        count = self._proxy_size(n_proxy)
        with undone_on_error(rng):
            points, ratio = self._proposed(count, as_generator(rng))
        self.n_variables = int(points.shape[1])
        self._sample = self._values(points[:_PROBE, :])
        self.whitener: Array | None = None
        if gram is not None:
            G = checked_gram(gram, self.dim, self.xp, self.device, self.dtype)
            self.whitener = self._narrow(whitener_of(G, "gram", self.xp))
        if self.exact or gram is not None:
            self._check_orthonormal(points, ratio)
        if not self.exact:
            self._make_proxy(points, ratio, gram is None)

    def __repr__(self) -> str:
        law = f"bound={self.bound}" if self.exact else f"n_proxy={int(self._points.shape[0])}"
        name = getattr(self._fun, "__name__", type(self._fun).__name__)
        return f"UserBasis({name}, {self.dim}, {law}, n_variables={self.n_variables})"

    @property
    def acceptance(self) -> float:
        """Probability that a proposal is a draw of the Christoffel law."""
        return 1.0 if self.bound is None else self.dim / self.bound

    @property
    def xp(self) -> Namespace:
        """Namespace of the values."""
        return namespace_of(self._sample)[0]

    @property
    def device(self) -> Device:
        """Device of the values."""
        return device(self._sample)

    @property
    def dtype(self) -> DType:
        """Dtype of the values."""
        return self._sample.dtype

    def evaluate(self, points: Any) -> Array:
        """Return the values of the functions, as the caller made them.

        Parameters
        ----------
        points : array (n, d)
            Real, of a library that `fun` takes; (n,) where ``d = 1``.

        Returns
        -------
        array (n, dim)

        Raises
        ------
        TypeError
            If the points are no real array, or `fun` returns no array.
        ValueError
            If the points have a wrong shape or hold NaN or infinity, or the values do.
        """
        return self._values(self._checked_points(points))

    def christoffel(self, points: Any) -> Array:
        """Return the sums of the squared moduli of an orthonormal basis at points.

        Parameters
        ----------
        points : array (n, d)
            As for :meth:`evaluate`.

        Returns
        -------
        array (n,)
            Real.

        Raises
        ------
        TypeError, ValueError
            As :meth:`evaluate` does.

        Notes
        -----
        Storage: values at four million numbers at a time.
        """
        x = self._checked_points(points)
        parts = [self._norms(rows) for _, rows in self._blocks(x)]
        xp = array_namespace(parts[0])
        return parts[0] if len(parts) == 1 else xp.concat(parts, axis=0)

    def draw(self, count: int, rng: Any) -> Proposals:
        """Return proposals of the optimal law; without a bound, draws of the proxy's law.

        Parameters
        ----------
        count : int
            How many.
        rng : numpy.random.Generator
            Where the numbers come from.

        Returns
        -------
        Proposals
            To be kept with the probability of squared norm over envelope.

        Raises
        ------
        RuntimeError
            If the bound does not hold at a point.
        """
        bound = self.bound
        if bound is None:
            return self._draw_from_proxy(count, rng)
        points, ratio = self._proposed(count, rng)
        rows = self._values(points)
        k = self._host_norms(rows)
        self._check_bound(k * ratio)
        return Proposals(points, rows, _HOST.maximum(bound / ratio, k))

    def draw_measure(self, count: int, rng: Any) -> Array:
        """Return independent draws of the measure itself.

        Parameters
        ----------
        count : int
            How many.
        rng : numpy.random.Generator
            Where the numbers come from.

        Returns
        -------
        array (count, d)

        Raises
        ------
        ValueError
            If the proposal draws from another law, which it says by returning a ratio, and there
            is no proxy: that is drawn from where there is one.
        """
        if not self.exact:
            return self._proxy_points(self._measure, count, rng)
        return self._proposed(count, rng, of_measure=True)[0]

    # ----------------------------------------------------------------------------- the proxy

    def _proxy_size(self, n_proxy: int | None) -> int:
        if self.exact:
            if n_proxy is not None:
                raise ValueError("n_proxy must be None where a bound is given, which needs none.")
            wanted = min(1000 * (self.bound or 1.0), _MOST_TEST, _TEST_ENTRIES / self.dim)
            return max(_LEAST_TEST, math.ceil(wanted))
        default = max(_LEAST_PROXY, math.ceil(50 * self.dim * math.log(self.dim)))
        return default if n_proxy is None else check_int("n_proxy", n_proxy, self.dim)

    def _make_proxy(self, points: Array, ratio: Array, estimate: bool) -> None:
        """Keep the points, their law, and unless given the whitener of their Gram matrix."""
        weights = ratio / _HOST.sum(ratio)
        if estimate:
            W = whitener_of(self._proxy_gram(points, weights), "the proxy", self.xp)
            # Once more, from the functions that this makes: their Gram matrix is near the identity.
            self.whitener = W
            W = W @ whitener_of(self._proxy_gram(points, weights), "the proxy", self.xp)
            self.whitener = self._narrow(W)
        k = _HOST.concatenate([self._host_norms(rows) for _, rows in self._blocks(points)])
        self._points, self._levels = points, _HOST.cumsum(weights * k)
        self._measure = _HOST.cumsum(weights)

    def _proxy_gram(self, points: Array, weights: Array) -> Array:
        xp, dev = self.xp, self.device
        wide = widest_dtype(xp, dev, self.dtype)
        gram = xp.zeros((self.dim, self.dim), dtype=wide, device=dev)
        for start, rows in self._blocks(points):
            part = _HOST.sqrt(weights[start : start + rows.shape[0]])[:, None]
            scaled = asarray(part, xp=xp, device=dev, dtype=wide, copy=False)
            scaled = scaled * self._orthonormalised(rows)
            gram = gram + matmul_h(scaled, scaled, xp)
        return gram

    def _check_orthonormal(self, points: Array, ratio: Array) -> None:
        """Compare Gram matrix and bound with what points of the proposal show."""

        def parts() -> Iterator[tuple[Array, Array]]:
            weights = ratio if self.exact else ratio * (len(ratio) / _HOST.sum(ratio))
            for start, values in self._blocks(points):
                part = weights[start : start + values.shape[0]]
                if self.exact:
                    self._check_bound(self._host_norms(values) * part)
                yield self._orthonormalised(values), part

        check_orthonormal(parts(), self.bound, self.xp, has_gram=self.whitener is not None)

    def _check_bound(self, levels: Array) -> None:
        """Raise RuntimeError if ``k ratio`` exceeds the bound."""
        bound, worst = self.bound or 0.0, float(_HOST.max(levels, initial=0.0))
        if worst > bound * (1 + _VIOLATION_ULPS * eps(self.xp, self.dtype)):
            raise RuntimeError(
                f"bound must be at least k(x) ratio(x) at every point, got {worst:.6g} at one, "
                f"more than bound={bound:.6g}. Give a larger bound, or none."
            )

    def _orthonormalised(self, values: Array) -> Array:
        """Return values as those of the orthonormal basis, in the widest dtype."""
        xp = self.xp
        wide = widest_dtype(xp, self.device, self.dtype)
        rows = xp.astype(values, wide, copy=False)
        return rows if self.whitener is None else rows @ xp.astype(self.whitener, wide, copy=False)

    def _draw_from_proxy(self, count: int, rng: Any) -> Proposals:
        points = self._proxy_points(self._levels, count, rng)
        rows = self._values(points)
        return Proposals(points, rows, self._host_norms(rows))

    def _proxy_points(self, levels: Array, count: int, rng: Any) -> Array:
        """Return points of the proxy, drawn by a table of cumulative weights."""
        chosen = draw_index(levels, rng.random(count))
        xp, dev = array_namespace(self._points), device(self._points)
        places = asarray(chosen.astype(_HOST.int32), xp=xp, device=dev, copy=False)
        return xp.take(self._points, places, axis=0)

    # -------------------------------------------------------------------- calls of the caller

    def _proposed(self, count: int, rng: Any, *, of_measure: bool = False) -> tuple[Array, Array]:
        """Return points of the proposal and their ratios on the host."""
        answer = self._proposal(count, rng)
        ratio = None
        if isinstance(answer, tuple):
            if len(answer) != 2:
                raise ValueError(
                    f"proposal must return points or (points, ratio), got {len(answer)} things."
                )
            answer, ratio = answer
            if of_measure:
                raise ValueError(
                    "proposal must draw from the measure itself (return no ratio) where its draws "
                    "are wanted, as mixture < 1 does. Give such a proposal, or mixture=1."
                )
        points = as_array(answer, "the points of proposal")
        shape = tuple(points.shape)
        d = getattr(self, "n_variables", None)
        if len(shape) != 2 or shape[0] != count or (d is not None and shape[1] != d):
            raise ValueError(
                f"proposal must return points of shape ({count}, {d or 'd'}) when asked for "
                f"{count}, got {shape}."
            )
        check_finite_block(points, name="the points of proposal")
        return points, _HOST.ones(count) if ratio is None else _checked_ratio(ratio, count)

    def _values(self, points: Array) -> Array:
        """Return the values at points, checked."""
        n = int(points.shape[0])
        rows = as_array(self._fun(points), "the values of fun")
        xp = array_namespace(rows)
        if tuple(rows.shape) != (n, self.dim):
            raise ValueError(
                f"fun must return an array of shape ({n}, {self.dim}) for {n} points, got "
                f"{tuple(rows.shape)}."
            )
        if library_name(xp) != library_name(array_namespace(points)):
            raise TypeError(
                f"fun must return an array of the library of its points, "
                f"{library_name(array_namespace(points))}, got {library_name(xp)}."
            )
        check_finite_block(rows, name="the values of fun")
        dtype = working_dtype(xp, device(rows), rows.dtype)
        return xp.astype(rows, dtype, copy=False)

    def _blocks(self, points: Array) -> Iterator[tuple[int, Array]]:
        """Yield first row and values of parts of the points, at least one part."""
        n, step = int(points.shape[0]), max(1, _CHUNK // self.dim)
        for start in range(0, max(1, n), step):
            yield start, self._values(points[start : min(start + step, n), :])

    def _norms(self, rows: Array) -> Array:
        """Return the squared norms of rows in an orthonormal basis, in the rows' precision."""
        xp = array_namespace(rows)
        if self.whitener is not None:
            W = self.whitener
            if library_name(xp) != library_name(self.xp) or device(rows) != self.device:
                kind = xp.complex64 if is_complex_dtype(self.xp, W.dtype) else xp.float32
                kind = widest_dtype(xp, device(rows), kind)
                W = asarray(to_numpy(W), xp=xp, device=device(rows), dtype=kind, copy=False)
            wide = xp.result_type(rows.dtype, W.dtype)
            rows = xp.astype(rows, wide, copy=False) @ xp.astype(W, wide, copy=False)
        norms: Array = row_norms_squared(xp, rows)
        return norms

    def _host_norms(self, rows: Array) -> Array:
        return to_numpy(self._norms(rows)).astype(_HOST.float64, copy=False)

    def _checked_points(self, points: Any) -> Array:
        x, xp = real_points(points)
        d = self.n_variables
        if x.ndim == 1 and d == 1:
            x = xp.reshape(x, (-1, 1))
        if x.ndim != 2 or x.shape[1] != d:
            raise ValueError(
                f"points must have shape (n, {d}) for functions of {d} variable{'s' * (d > 1)}, "
                f"got {tuple(x.shape)}."
            )
        return x

    def _narrow(self, W: Array) -> Array:
        """Return a whitener in the dtype of the values."""
        return self.xp.astype(W, self.dtype, copy=False)


def _checked_bound(bound: object, dim: int) -> float:
    """Return a bound that is not less than the mean of what it bounds."""
    number = check_float("bound", bound, 0, low_open=True)
    if number < dim * (1 - 1e-9):
        why = f"for {dim} functions, since k(x) ratio(x) has the mean {dim}"
        raise ValueError(message("bound", f"be at least {dim}", number, why=why))
    return number


def _checked_ratio(ratio: Any, count: int) -> Array:
    """Return ratios of densities as a host array."""
    given = as_array(ratio, "the ratio of proposal")
    if tuple(given.shape) != (count,):
        raise ValueError(
            f"proposal must return a ratio of shape ({count},) beside {count} points, got "
            f"{tuple(given.shape)}."
        )
    host = to_numpy(given).astype(_HOST.float64)
    if not (_HOST.isfinite(host).all() and (host > 0).all()):
        bad = host[~(_HOST.isfinite(host) & (host > 0))]
        raise ValueError(message("the ratio of proposal", "be positive and finite", float(bad[0])))
    return host
