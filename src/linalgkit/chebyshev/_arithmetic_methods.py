"""Sums, products, conjugates and recompression of functions, with the errors they carry."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

from linalgkit._core.array import eps, is_complex_dtype
from linalgkit._core.scaling import ldexp, ldexp_float, norm_fro, scale_exponent, silent
from linalgkit._core.validation import check_float, check_int, message
from linalgkit.chebyshev import _arithmetic
from linalgkit.chebyshev._compare import (
    Comparison,
    compared_product,
    compared_recompression,
    comparison_with,
    comparison_with_product,
    exponent_of,
    modulus_bound,
)
from linalgkit.chebyshev._holder import Holder, Number, like_parts
from linalgkit.chebyshev._norms import NORMS, Norm
from linalgkit.chebyshev._parts import Interval, Parts, scaled_parts

# What a product may add to the errors of its factors.
_PRODUCT_SHARE = 0.05


class Arithmetic(Holder):
    """The arithmetic of a :class:`~linalgkit.chebyshev.ChebTucker`."""

    # NumPy arrays and scalars leave an operation with a function to the function.
    __array_ufunc__ = None

    # ---------------------------------------------------------------------------- arithmetic

    def __add__(self, other: Holder | Number) -> Self:
        return self._sum(self._as_function(other), 1)

    def __radd__(self, other: Number) -> Self:
        return self._sum(self._as_function(other), 1)

    def __sub__(self, other: Holder | Number) -> Self:
        return self._sum(self._as_function(other), -1)

    def __rsub__(self, other: Number) -> Self:
        return self._times_number(-1.0)._sum(self._as_function(other), 1)

    def __neg__(self) -> Self:
        return self._times_number(-1.0)

    def __mul__(self, other: Holder | Number) -> Self:
        if isinstance(other, Holder):
            return self._times_function(other)
        return self._times_number(_number("factor", other))

    def __rmul__(self, other: Number) -> Self:
        return self._times_number(_number("factor", other))

    def __truediv__(self, other: Number) -> Self:
        divisor = _number("divisor", other)
        if divisor == 0:
            raise ZeroDivisionError("a function was divided by zero.")
        return self._times_number(divisor, divide=True)

    def __rtruediv__(self, other: Number) -> Self:
        raise TypeError(
            "a function cannot be divided by: it may have zeros. Where it has none, build the "
            "quotient: chebtucker(lambda x: 1 / T(x), T.domain)."
        )

    def __pow__(self, exponent: int) -> Self:
        n = check_int("exponent", exponent, 0, way_out="For others: chebtucker(lambda x: T(x)**p).")
        if n == 0:
            return self._constant(1.0)
        half = self ** (n // 2) if n > 1 else None
        if half is None:
            return self
        return half * half * self if n % 2 else half * half

    def conj(self) -> Self:
        """Return the complex conjugate."""
        parts, xp = self._parts, self._parts.xp
        if not is_complex_dtype(xp, self.dtype):
            return self
        conjugate = Parts(
            xp.conj(parts.core), tuple(map(xp.conj, parts.factors)), parts.intervals, xp
        )
        return self._derived(conjugate, self.error_estimate, self._scale, self._bound)

    def recompress(self, tol: float) -> Self:
        """Return the function with the smallest ranks and degrees that a tolerance allows.

        Parameters
        ----------
        tol : float
            Of the largest modulus (`scale`), positive.

        Returns
        -------
        ChebTucker
            Differs by at most `tol` times `scale` in the weighted L2 norm, and in the maximum norm
            as far as a search finds (see the class); the difference is added to the error estimate.

        Raises
        ------
        TypeError, ValueError
            If `tol` is no positive number.
        """
        tol = check_float("tol", tol, 0.0, low_open=True)
        exponent = exponent_of(self._parts)
        uncut = comparison_with(self._parts, exponent)
        if self._scale is None:
            self._scale = ldexp_float(uncut.largest, exponent)
        found = self._recompressed(uncut, exponent, tol * self.scale, self.error_estimate)
        found._scale, found._bound = self._scale, self._bound
        return found

    def merge(self, other: Holder) -> Self:
        """Return the sum, recompressed to the errors that both have: for blocks of particles.

        Parameters
        ----------
        other : ChebTucker
            On the same box.

        Returns
        -------
        ChebTucker
            What it leaves away is at most a quarter of the joint error estimate, in the maximum
            norm as far as a search finds, and counted; where that is not known, rounding.
            Evaluations are added.

        Raises
        ------
        TypeError, ValueError
            As for the inner product.
        """
        self._same(other)
        total = self._sum(other, 1)
        error = total.error_estimate
        exponent = exponent_of(total._parts)
        uncut = comparison_with(total._parts, exponent)
        allowed = 0.25 * error / _of_norm(1.0, "max", total.error_norm, self.domain)
        merged = total._recompressed(uncut, exponent, allowed if allowed > 0.0 else 0.0, error)
        merged._scale, merged._bound = ldexp_float(uncut.largest, exponent), total._bound
        return merged

    # ------------------------------------------------------------------------------- helpers

    def _as_function(self, other: Any) -> Holder:
        """Return a function, or a number as a constant one."""
        return other if isinstance(other, Holder) else self._constant(_number("summand", other))

    def _constant(self, c: Number) -> Self:
        """Return the constant function on the same box."""
        xp, d = self._parts.xp, self.ndim
        dtype = self.dtype
        if isinstance(c, complex) and not is_complex_dtype(xp, dtype):
            dtype = xp.result_type(dtype, xp.complex64)
        one = xp.ones((1, 1), dtype=dtype, device=self._parts.device)
        core = xp.full((1,) * d, c, dtype=dtype, device=self._parts.device)
        parts = Parts(core, (one,) * d, self.domain, xp)
        found = self._derived(parts, 0.0, abs(c), abs(c))
        found.n_evals, found.status = 0, "converged"
        return found

    def _sum(self, other: Holder, sign: int) -> Self:
        self._same(other)
        norm, *errors = self._common_errors(other)
        with silent():
            parts = _arithmetic.add(self._parts.widened(), other._parts.widened(), sign)
            found = self._joint(other, parts, norm)
        sizes = [_size_or_norm(f) for f in (self, other)]
        rounding = 2.0 * found._rounding() * max(sizes)
        found.error_estimate = sum(errors) + _of_norm(rounding, "max", norm, self.domain)
        if self._known_size is not None and other._known_size is not None:
            found._bound = min(sum(sizes), modulus_bound(found._parts))
        return found

    def _common_errors(self, other: Holder) -> tuple[str, float, float]:
        """Return the weaker of two norms, and the errors of both functions in it."""
        norm = max(self.error_norm, other.error_norm, key=NORMS.index)
        mine, theirs = (
            _of_norm(f.error_estimate, f.error_norm, norm, f.domain) for f in (self, other)
        )
        return norm, mine, theirs

    def _times_function(self, other: Holder) -> Self:
        """Return the product: of the functions by powers of two, since sizes may overflow."""
        self._same(other)
        both: tuple[Holder, Holder] = (self, other)
        exponents = [exponent_of(f._parts) for f in both]
        exact, largest = comparison_with_product(self._parts, other._parts, exponents)
        norm, *errors = self._common_errors(other)
        sizes = []
        for f, e, met in zip(both, exponents, largest, strict=True):
            if f._scale is None:
                f._scale = ldexp_float(met, e)
            sizes.append(max(met, ldexp_float(_size_or_norm(f), -e)))
        mine, theirs = (ldexp_float(e, -s) for e, s in zip(errors, exponents, strict=True))
        error = mine * sizes[1] + theirs * sizes[0]
        unit = _of_norm(1.0, "max", norm, self.domain)
        dtype = self._parts.xp.result_type(self.dtype, other.dtype)
        rounding = 4.0 * eps(self._parts.xp, dtype) * sizes[0] * sizes[1]
        allowed = max(_PRODUCT_SHARE * error / unit if error > 0.0 else 0.0, rounding)
        one, two = (
            scaled_parts(f._parts, -e).widened() for f, e in zip(both, exponents, strict=True)
        )
        parts, lost = compared_product(one, two, exact, allowed, dtype)
        shift = sum(exponents)
        with silent():
            found = self._joint(other, scaled_parts(parts, shift), norm)
        found.error_estimate = ldexp_float(error + unit * lost, shift)
        found._scale = ldexp_float(exact.largest, shift)
        found._bound = ldexp_float(sizes[0] * sizes[1], shift)
        return found

    def _joint(self, other: Holder, parts: Parts, norm: str) -> Self:
        """Return a function made from two, whose error is set later."""
        dtype = parts.xp.result_type(self.dtype, other.dtype)
        found = self._derived(parts.cast(like_parts(dtype, parts)), math.nan)
        found.error_norm = norm
        found.n_evals = self.n_evals + other.n_evals
        if self.status == "converged":
            found.status = other.status
        return found

    def _times_number(self, c: Number, *, divide: bool = False) -> Self:
        """Return the function times a number, or over it: by its mantissa and its exponent."""
        parts, xp = self._parts, self._parts.xp
        if isinstance(c, complex) and not is_complex_dtype(xp, self.dtype):
            parts = parts.cast(xp.result_type(self.dtype, xp.complex64))
        mantissa, exponent = _split(c)
        core, size = parts.core * mantissa, abs(mantissa)
        if divide:
            core, size, exponent = parts.core / mantissa, 1.0 / size, -exponent

        def times(value: float | None) -> Any:
            return None if value is None else ldexp_float(value * size, exponent)

        with silent():
            core = ldexp(core, exponent, xp)
        scaled = Parts(core, parts.factors, parts.intervals, xp)
        return self._derived(
            scaled, times(self.error_estimate), times(self._scale), times(self._bound)
        )

    def _recompressed(self, uncut: Comparison, exponent: int, allowed: float, error: float) -> Self:
        """Return the function cut by at most `allowed`; `uncut` has it times ``2^-exponent``."""
        parts = scaled_parts(self._parts, -exponent).widened()
        goal = ldexp_float(allowed, -exponent)
        found, lost, cut = compared_recompression(parts, uncut, goal, self.dtype)
        more = lost if self.error_norm == "max" else cut
        stronger = "max" if self.error_norm == "max" else "l2w"
        more = _of_norm(ldexp_float(more, exponent), stronger, self.error_norm, self.domain)
        return self._derived(scaled_parts(found, exponent), error + more)


def _number(name: str, value: Any) -> Number:
    """Return a finite Python number."""
    if getattr(value, "ndim", 0):
        raise TypeError(message(name, "be a number", value, way_out="Multiply by one at a time."))
    if isinstance(value, complex):
        if not (math.isfinite(value.real) and math.isfinite(value.imag)):
            raise ValueError(message(name, "be finite", value))
        return value
    dtype = str(getattr(value, "dtype", ""))
    if "complex" in dtype and not getattr(value, "shape", ()):
        return _number(name, complex(value))
    return check_float(name, value)


def _split(c: Number) -> tuple[Number, int]:
    """Return a number as a mantissa of modulus between 0.5 and 1.5, and a power of two."""
    largest = max(abs(c.real), abs(c.imag))
    exponent = scale_exponent(largest)
    if isinstance(c, complex):
        return complex(math.ldexp(c.real, -exponent), math.ldexp(c.imag, -exponent)), exponent
    return math.ldexp(c, -exponent), exponent


def _size_or_norm(f: Holder) -> float:
    """Return what is known of the largest modulus, or the weighted norm, which is not above it."""
    size = f._known_size
    return norm_fro(f.core, f._parts.xp) if size is None else size


def _of_norm(error: float, norm: str, weaker: str, domain: Sequence[Interval]) -> float:
    """Return the bound of an error in one norm by that in a stronger one, of :data:`NORMS`."""
    if norm == weaker or weaker == "l2w":
        return error
    root = math.prod(math.sqrt(b - a) for a, b in domain)
    return error * root * (Norm("l2").weighted_factor(len(domain)) if norm == "l2w" else 1.0)
