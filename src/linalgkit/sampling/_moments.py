"""Mean, variance and Sobol indices from the coefficients of an orthonormal product basis."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from linalgkit._core.array import (
    Array,
    Namespace,
    array_namespace,
    asarray,
    device,
    eps,
    is_complex,
    numpy_namespace,
    to_numpy,
    widest_dtype,
    widest_float,
)
from linalgkit._core.scaling import silent
from linalgkit._core.validation import check_int

_HOST = numpy_namespace()


@dataclass(frozen=True, eq=False)
class SobolIndices:
    """Shares of the variance of a function of `d` independent variables.

    Attributes
    ----------
    first : array (d,) or (d, q)
        Share of what depends on variable `i` alone.
    total : array (d,) or (d, q)
        Share of all that depends on variable `i`, alone or with others.

    Notes
    -----
    All shares of a function that is constant up to rounding are 0. For the `q` columns of several
    functions there is a column each. Storage: the shares of all terms, as many as there are
    coefficients.
    """

    first: Array
    total: Array
    _shares: Array = field(repr=False)
    _depends: Any = field(repr=False)  # (m, d) on the host: which term depends on which variable

    def interaction(self, variables: Iterable[int]) -> Array:
        """Return the share of the variance that a set of variables has jointly.

        Parameters
        ----------
        variables : iterable of int
            Different numbers of variables, from 0.

        Returns
        -------
        float or array (q,)
            Share of the terms that depend on all of these variables and on no other: all such
            shares, over all non-empty sets, add up to 1.

        Raises
        ------
        TypeError
            If a number is no integer.
        ValueError
            If a number is out of range or given twice, or there is none.
        """
        d = self._depends.shape[1]
        wanted = [check_int("variables", v, 0, d - 1, f"for {d} variables") for v in variables]
        if not wanted or len(set(wanted)) < len(wanted):
            raise ValueError(f"variables must be different numbers, one at least, got {wanted}.")
        mask = _HOST.zeros(d, dtype=bool)
        mask[wanted] = True
        found = _summed(self._shares, _HOST.all(self._depends == mask, axis=1)[:, None])
        return found[0, :] if self._shares.ndim == 2 else float(found[0])


def product_indices(space: Any) -> Any:
    """Return the multi-indices (m, d) of a product basis on the host, or raise TypeError."""
    if not (hasattr(space, "families") and hasattr(space, "indices")):
        found = "a matrix" if space is None else type(space).__name__
        raise TypeError(
            "space must be a product basis (TensorBasis) for mean, variance and Sobol indices, got "
            f"{found}. Integrate the predictions by a quadrature rule instead."
        )
    return _HOST.asarray(to_numpy(space.indices))


def mean(coef: Array, indices: Any) -> Any:
    """Return the coefficient of the constant: a Python number, or (q,)."""
    xp = array_namespace(coef)
    constant = _HOST.flatnonzero(~_HOST.any(indices != 0, axis=1))
    has_constant = constant.shape[0] > 0
    value = coef[int(constant[0]), ...] if has_constant else xp.zeros_like(coef[0, ...])
    if coef.ndim == 2:
        return xp.astype(value, widest_dtype(xp, device(coef), coef.dtype))
    return complex(value) if is_complex(coef, xp) else float(value)


def variance(coef: Array, indices: Any) -> Any:
    """Return the sum of squares of all coefficients but that of the constant."""
    xp = array_namespace(coef)
    squares = _squares(_varying(coef, indices, xp), xp)
    total = xp.sum(squares, axis=0)
    return total if coef.ndim == 2 else float(total)


def sobol_indices(coef: Array, indices: Any) -> SobolIndices:
    """Return the shares of the variance."""
    xp = array_namespace(coef)
    sizes = xp.astype(xp.abs(coef), widest_float(xp, device(coef)), copy=False)
    varying = _varying(sizes, indices, xp)
    largest = xp.max(varying, axis=0, keepdims=True)
    # What rounding errors of a fit leave of a constant is no variance.
    noise = 10 * coef.shape[0] * eps(xp, coef.dtype) * xp.max(sizes, axis=0, keepdims=True)
    is_constant = largest <= noise
    scaled = varying / xp.where(is_constant, xp.ones_like(largest), largest)
    squares = _squares(xp.where(is_constant, xp.zeros_like(scaled), scaled), xp)
    total = xp.sum(squares, axis=0, keepdims=True)
    shares = squares / xp.where(total > 0, total, xp.ones_like(total))
    depends = indices != 0
    alone = depends & (_HOST.sum(depends, axis=1, keepdims=True) == 1)
    return SobolIndices(_summed(shares, alone), _summed(shares, depends), shares, depends)


def _varying(coef: Array, indices: Any, xp: Namespace) -> Array:
    """Return the coefficients with zero for that of the constant."""
    counts = asarray(_HOST.any(indices != 0, axis=1), xp=xp, device=device(coef))
    return xp.where(counts if coef.ndim == 1 else counts[:, None], coef, xp.zeros_like(coef))


def _squares(coef: Array, xp: Namespace) -> Array:
    """Return ``|c|^2`` in the widest float."""
    wide = xp.astype(xp.abs(coef), widest_float(xp, device(coef)), copy=False)
    with silent():
        return wide * wide


def _summed(shares: Array, mask: Any) -> Array:
    """Return, for each column of a host mask (m, s), the sum of the shares: (s,) or (s, q)."""
    xp = array_namespace(shares)
    factor = mask.T.astype(float)
    weights = asarray(factor, xp=xp, device=device(shares), dtype=shares.dtype)
    return weights @ shares
