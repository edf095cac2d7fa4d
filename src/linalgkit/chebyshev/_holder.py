"""What a function holds: its parts and its error, their attributes, and its saved state."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

from linalgkit._core.array import (
    Array,
    Device,
    DType,
    Namespace,
    array_namespace,
    asarray,
    detached,
    device,
    dtype_from_name,
    dtype_name,
    eps,
    is_complex_dtype,
    itemsize,
    library_name,
    to_numpy,
    working_dtype,
)
from linalgkit._core.printing import number, relative, told
from linalgkit._core.scaling import ldexp_float
from linalgkit._core.state import State, Stateful
from linalgkit._core.validation import check_int, message
from linalgkit.chebyshev._compare import comparison_with, exponent_of
from linalgkit.chebyshev._parts import Interval, Parts, check_domain, require_finite

Number = float | complex


class Holder(Stateful):
    """The private part of :class:`~linalgkit.chebyshev.ChebTucker`."""

    error_estimate: float
    error_norm: str
    n_evals: int
    status: str
    _parts: Parts
    _scale: float | None
    _bound: float | None

    def _hold(self, parts: Parts) -> None:
        """Take parts in the object's own dtype, with what is known of nothing."""
        require_finite(parts)
        self._parts = parts
        self.error_estimate = math.nan
        self.error_norm = "max"
        self.n_evals = 0
        self.status = "converged"
        # The largest modulus met, and a bound of it where one follows from those of others.
        self._scale = None
        self._bound = None

    # ---------------------------------------------------------------------------- attributes

    @property
    def core(self) -> Array:
        """Core (r_1, ..., r_d)."""
        return self._parts.core

    @property
    def factors(self) -> tuple[Array, ...]:
        """Chebyshev coefficients (m_k, r_k) of the factor functions."""
        return self._parts.factors

    @property
    def domain(self) -> tuple[Interval, ...]:
        """The box, one interval a variable."""
        return self._parts.intervals

    @property
    def ndim(self) -> int:
        """Number of variables."""
        return self._parts.order

    @property
    def ranks(self) -> tuple[int, ...]:
        """Sizes of the core."""
        return tuple(map(int, self.core.shape))

    @property
    def degrees(self) -> tuple[int, ...]:
        """Highest powers."""
        return tuple(m - 1 for m in self._parts.lengths)

    @property
    def dtype(self) -> DType:
        """Dtype of core, factors and values."""
        return self.core.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of core and factors."""
        numbers = math.prod(self.ranks) + sum(
            m * r for m, r in zip(self._parts.lengths, self.ranks, strict=True)
        )
        return numbers * itemsize(self._parts.xp, self.dtype)

    @property
    def scale(self) -> float:
        """Largest modulus met; where the function was derived, by a search on the whole box."""
        if self._scale is None:
            exponent = exponent_of(self._parts)
            found = comparison_with(self._parts, exponent).largest
            self._scale = ldexp_float(found, exponent)
        return self._scale

    @property
    def _known_size(self) -> float | None:
        """A bound of the modulus, or the largest one met; None before any search."""
        return self._scale if self._bound is None else self._bound

    def __repr__(self) -> str:
        box = " x ".join(f"[{a:g}, {b:g}]" for a, b in self.domain)
        return (
            f"ChebTucker(domain={box}, ranks={self.ranks}, degrees={self.degrees}, "
            f"dtype={dtype_name(self._parts.xp, self.dtype)}, "
            f"error_estimate={self.error_estimate:.2g}, status={self.status!r})"
        )

    def __str__(self) -> str:
        box = " x ".join(f"[{a:g}, {b:g}]" for a, b in self.domain)
        known = self._known_size
        error = number(self.error_estimate)
        if known:
            error = relative(self.error_estimate, known, f"its size ({self.error_norm})")
        return told(
            f"Function on {box}",
            ("ranks", " x ".join(map(str, self.ranks))),
            ("degrees", " x ".join(map(str, self.degrees))),
            ("error", error and f"about {error}"),
            status=self.status,
        )

    # --------------------------------------------------------------------------------- state

    def _get_state(self) -> State:
        return {
            "core": to_numpy(self.core),
            "factors": [to_numpy(F) for F in self.factors],
            "domain": [list(pair) for pair in self.domain],
            "dtype": dtype_name(self._parts.xp, self.dtype),
            "error_estimate": self.error_estimate,
            "error_norm": self.error_norm,
            "scale": self._scale,
            "bound": self._bound,
            "n_evals": self.n_evals,
            "status": self.status,
        }

    @classmethod
    def _from_state(cls, state: State, *, xp: Namespace, device: Device) -> Self:
        place = {"xp": xp, "device": device, "dtype": dtype_from_name(xp, state["dtype"])}
        core = asarray(state["core"], **place)
        factors = tuple(asarray(F, **place) for F in state["factors"])
        found = cls.__new__(cls)
        found._hold(checked_parts(core, factors, state["domain"]))
        found.error_estimate = float(state["error_estimate"])
        found.error_norm = str(state["error_norm"])
        found._scale = None if state["scale"] is None else float(state["scale"])
        found._bound = None if state["bound"] is None else float(state["bound"])
        found.n_evals = int(state["n_evals"])
        found.status = str(state["status"])
        return found

    # ------------------------------------------------------------------------------- helpers

    def _derived(
        self, parts: Parts, error: float, scale: float | None = None, bound: float | None = None
    ) -> Self:
        """Return a function made from this one, in parts of the final dtype."""
        found = type(self).__new__(type(self))
        found._hold(parts)
        found.error_estimate, found.error_norm = error, self.error_norm
        found.status, found.n_evals = self.status, self.n_evals
        found._scale, found._bound = scale, bound
        return found

    def _new(
        self, parts: Parts, error: float, scale: float | None = None, bound: float | None = None
    ) -> Self:
        """Return a function made from this one, in its precision."""
        return self._derived(parts.cast(like_parts(self.dtype, parts)), error, scale, bound)

    def _rounding(self) -> float:
        return eps(self._parts.xp, self.dtype)

    def _axis(self, axis: int) -> int:
        k = check_int("axis", axis, -self.ndim, self.ndim - 1, f"for {self.ndim} variables")
        return k % self.ndim

    def _axes(self, axes: int | Sequence[int] | None) -> tuple[int, ...]:
        if axes is None:
            return tuple(range(self.ndim))
        if getattr(axes, "ndim", 0) == 1:
            axes = [check_int("axes", axis) for axis in to_numpy(axes)]
        if not isinstance(axes, (list, tuple, range)):
            return (self._axis(axes),)  # type: ignore[arg-type]  # refused there
        wanted = tuple(self._axis(axis) for axis in axes)
        if len(set(wanted)) != len(wanted) or not wanted:
            raise ValueError(message("axes", "name at least one axis, each once", axes))
        return wanted

    def _same(self, other: Holder) -> None:
        """Refuse what is no function on the same box, in the same library."""
        if not isinstance(other, Holder):
            raise TypeError(message("other", "be a ChebTucker", other))
        if other.domain != self.domain:
            raise ValueError(
                f"both functions must live on the same box, got {self.domain} and {other.domain}. "
                "Restrict one of them first: T.restrict(domain)."
            )
        mine, theirs = self._parts, other._parts
        if library_name(mine.xp) != library_name(theirs.xp) or mine.device != theirs.device:
            raise TypeError(
                f"both functions must lie in one library on one device, got {mine.device} of "
                f"{library_name(mine.xp)} and {theirs.device} of {library_name(theirs.xp)}. Move "
                "one by from_state(T.to_state(), like=array)."
            )


def checked_parts(core: Array, factors: Sequence[Array], domain: Any) -> Parts:
    """Return parts of a caller, in one working dtype."""
    if not isinstance(factors, (list, tuple)):
        raise TypeError(message("factors", "be a list or tuple of matrices", factors))
    intervals = check_domain(domain)
    arrays = [detached(x) for x in (core, *factors)]
    xp = array_namespace(*arrays)
    where = device(arrays[0])
    for k, x in enumerate(arrays[1:]):
        if device(x) != where:
            raise TypeError(f"factors[{k}] must lie on {where} as the core does, got {device(x)}.")
    d = len(intervals)
    if len(factors) != d or arrays[0].ndim != d:
        raise ValueError(
            f"core and factors must be of {d} modes, as the domain is, got a core of shape "
            f"{tuple(arrays[0].shape)} and {len(factors)} factors."
        )
    for k, F in enumerate(arrays[1:]):
        if F.ndim != 2 or F.shape[0] < 1 or F.shape[1] < 1 or F.shape[1] != arrays[0].shape[k]:
            raise ValueError(
                f"factors[{k}] must be of shape (m, {arrays[0].shape[k]}) with m at least 1, got "
                f"{tuple(F.shape)}."
            )
    for name, x in zip(["core", *(f"factors[{k}]" for k in range(d))], arrays, strict=True):
        if not bool(xp.all(xp.isfinite(x))):
            raise ValueError(f"{name} must not contain NaN or infinity.")
    kinds = [working_dtype(xp, where, x.dtype) for x in arrays]
    dtype = working_dtype(xp, where, xp.result_type(*kinds))
    cast = [xp.astype(x, dtype, copy=False) for x in arrays]
    return Parts(cast[0], tuple(cast[1:]), intervals, xp)


def like_parts(dtype: DType, parts: Parts) -> DType:
    """Return `dtype`, complex where the parts are."""
    xp = parts.xp
    if is_complex_dtype(xp, parts.core.dtype) and not is_complex_dtype(xp, dtype):
        return xp.result_type(dtype, xp.complex64)
    return dtype
