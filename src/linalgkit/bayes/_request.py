"""The arguments of :func:`kron_sbl`, checked and brought into working units."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from linalgkit._core.array import Array, library_of, numpy_namespace, to_numpy
from linalgkit._core.scaling import ldexp_float
from linalgkit._core.validation import check_choice, check_finite_block, check_float, check_int
from linalgkit.bayes._model import Prepared

_HOST = numpy_namespace()
# Further than this from the data's own scale no variance makes a difference.
_FAR = 1e140
_FAR_EXPONENT = 465
METHODS = ("auto", "mm", "jacobi", "am", "svd", "ecm", "ksbl")


@dataclass(frozen=True, eq=False)
class Request:
    """What was asked for, in working units.

    Attributes
    ----------
    method : str
        One of `METHODS`.
    noise_var : float or None
        Known variance.
    given : float or None
        The same in the caller's unit.
    gamma0, couplings : list of host array, or None
        Starts, and matrices from latent hyperparameters to variances, of the unit columns.
    max_iter, tol
        Limits of a climb.
    by_evidence : bool
        Whether the support is chosen by the penalised evidence.
    thresholds : tuple of float
        Shares of the largest hyperparameter below which one is pruned, of each mode.
    penalty : "bic" or float
        Price of a slice.
    restarts : int
        Further starts.
    rng : object
        Source of the restarts.
    callback : callable or None
    """

    method: str
    noise_var: float | None
    given: float | None
    gamma0: list[Array] | None = field(repr=False)
    couplings: list[Array | None] | None = field(repr=False)
    max_iter: int
    tol: float
    by_evidence: bool
    thresholds: tuple[float, ...]
    penalty: str | float
    restarts: int
    rng: Any = field(repr=False)
    callback: Callable[[int, float], Any] | None = field(repr=False)


def request(
    prepared: Prepared,
    *,
    noise_var: Any,
    method: Any,
    coupling: Any,
    gamma0: Any,
    max_iter: Any,
    tol: Any,
    prune: Any,
    penalty: Any,
    restarts: Any,
    rng: Any,
    callback: Any,
) -> Request:
    """Return the checked arguments."""
    method = check_choice("method", method, METHODS)
    couplings, absorbed = _for_unit_columns(_couplings(coupling, prepared), prepared)
    if couplings is not None and method in ("svd", "ksbl"):
        raise ValueError(
            "method must be 'auto', 'mm', 'jacobi', 'ecm' or 'am' with a coupling, got "
            f"{method!r}. Leave the coupling away, or take one of these."
        )
    given = None
    if noise_var is not None:
        noise_var = check_float(
            "noise_var", noise_var, 0.0, low_open=True, way_out="None estimates it."
        )
        given = noise_var
        noise_var = ldexp_float(noise_var, -2 * prepared.exponent)
        noise_var = min(max(noise_var, prepared.model.noise_floor, 1 / _FAR), _FAR)
    restarts = check_int("restarts", restarts, 0)
    if callback is not None and not callable(callback):
        raise TypeError(
            f"callback must be callable as callback(n_iter, evidence), got "
            f"{type(callback).__name__}. None calls nothing."
        )
    by_evidence = isinstance(prune, str)
    if by_evidence:
        check_choice("prune", prune, ("evidence",), way_out="Or pass a share, or None.")
    return Request(
        method=method,
        noise_var=noise_var,
        given=given,
        gamma0=_starts(gamma0, prepared, couplings, absorbed),
        couplings=couplings,
        max_iter=check_int("max_iter", max_iter, 1),
        tol=check_float("tol", tol, 0.0),
        by_evidence=by_evidence,
        thresholds=(0.0,) * len(prepared.norms) if by_evidence else _thresholds(prune, prepared),
        penalty=_penalty(penalty),
        restarts=restarts,
        rng=rng,
        callback=callback,
    )


def _penalty(penalty: Any) -> str | float:
    if isinstance(penalty, str):
        return str(check_choice("penalty", penalty, ("bic",), way_out="Or pass nats a slice."))
    return check_float("penalty", penalty, 0.0)


def _thresholds(prune: Any, prepared: Prepared) -> tuple[float, ...]:
    modes = len(prepared.norms)
    if prune is None:
        return (0.0,) * modes
    values = list(prune) if isinstance(prune, (list, tuple)) else [prune] * modes
    if len(values) != modes:
        raise ValueError(
            f"prune must have one share for each of the {modes} factors, got {len(values)}."
        )
    return tuple(check_float("prune", v, 0.0, 1.0, high_open=True) for v in values)


# --------------------------------------------------------------------- vectors and matrices


def _host_array(name: str, value: Any, prepared: Prepared, shape: tuple[int, ...]) -> Array:
    """Return an argument as a host array of float64: finite, not negative, of one shape."""
    expected = library_of(prepared.data.factors[0])
    if library_of(value) != expected:
        raise TypeError(
            f"{name} must be an array of {expected} as the factors are, got "
            f"{type(value).__name__}. Convert it first."
        )
    if tuple(map(int, value.shape)) != shape:
        raise ValueError(f"{name} must be of shape {shape}, got {tuple(map(int, value.shape))}.")
    host = to_numpy(value)
    if host.dtype.kind == "c":
        raise TypeError(f"{name} must be real, got {host.dtype}.")
    host = host.astype(_HOST.float64)
    check_finite_block(host, name=name)
    if bool((host < 0).any()):
        raise ValueError(f"{name} must not be negative, got {float(host.min())}.")
    return host


def _squared_norms(prepared: Prepared, i: int) -> Array:
    return _HOST.ldexp(prepared.norms[i] ** 2, 2 * prepared.exponents[i])


def _starts(
    gamma0: Any,
    prepared: Prepared,
    couplings: list[Array | None] | None,
    absorbed: Sequence[int],
) -> list[Array] | None:
    """Return starts for unit columns and data of order one."""
    if gamma0 is None:
        return None
    widths = prepared.data.widths
    if isinstance(gamma0, (int, float)) and not isinstance(gamma0, bool):
        value = check_float("gamma0", gamma0, 0.0, low_open=True)
        given = [_HOST.full(n, value) for n in widths]
    elif isinstance(gamma0, (list, tuple)) and len(gamma0) == len(widths):
        given = [
            _host_array(f"gamma0[{i}]", g, prepared, (n,))
            for i, (g, n) in enumerate(zip(gamma0, widths, strict=True))
        ]
    else:
        raise ValueError(
            f"gamma0 must be a positive number or a list of {len(widths)} vectors of lengths "
            f"{widths}, got {type(gamma0).__name__}."
        )
    starts = []
    for i, g in enumerate(given):
        is_coupled = couplings is not None and couplings[i] is not None
        starts.append(
            _HOST.ldexp(g, absorbed[i]) if is_coupled else g * _squared_norms(prepared, i)
        )
    for i, g in enumerate(starts):
        if not bool((g > 0).any()):
            raise ValueError(
                f"gamma0[{i}] must have a positive entry at a column that is not zero, got none."
            )
    largest = [math.frexp(float(g.max()))[1] for g in starts]
    if abs(sum(largest) - 2 * prepared.exponent) > _FAR_EXPONENT:
        raise ValueError(
            "gamma0 must be within a factor of 1e140 of the mean square of y, as the product of "
            "the modes' largest entries times the squared norms of the columns, got another size. "
            "None starts from the energy of y."
        )
    shifts = [-e for e in largest]
    shifts[0] += sum(largest) - 2 * prepared.exponent  # the product keeps its size
    return [_HOST.ldexp(g, s) for g, s in zip(starts, shifts, strict=True)]


def _couplings(coupling: Any, prepared: Prepared) -> list[Array | None] | None:
    """Return the matrices, None where no mode is coupled."""
    if coupling is None:
        return None
    widths = prepared.data.widths
    given: Sequence[Any]
    if isinstance(coupling, (list, tuple)):
        given = coupling
    else:
        if getattr(coupling, "ndim", 0) == 2 and len(widths) > 1:
            raise ValueError(
                "coupling must be a number or a sequence with one entry a factor, got one matrix "
                f"for {len(widths)} factors. Put it into a list, None for modes not coupled."
            )
        given = [coupling] * len(widths)
    if len(given) != len(widths):
        raise ValueError(
            f"coupling must have one entry for each of the {len(widths)} factors, got "
            f"{len(given)}. None leaves a mode as it is."
        )
    found: list[Array | None] = []
    for i, (C, n) in enumerate(zip(given, widths, strict=True)):
        found.append(None if C is None else _coupling(f"coupling[{i}]", C, n, prepared, i))
    return found if any(C is not None for C in found) else None


def _coupling(name: str, C: Any, n: int, prepared: Prepared, i: int) -> Array:
    if getattr(C, "ndim", 0) == 2:
        matrix = _host_array(name, C, prepared, (n, n))
    else:
        beta = check_float(name, C, 0.0)
        neighbours = beta * _HOST.ones(max(n - 1, 0))
        matrix = _HOST.eye(n) + _HOST.diag(neighbours, 1) + _HOST.diag(neighbours, -1)
    if not bool((matrix.sum(axis=1) > 0).all()):
        raise ValueError(f"{name} must have a positive entry in every row, got a row of zeros.")
    return matrix


def _for_unit_columns(
    couplings: list[Array | None] | None, prepared: Prepared
) -> tuple[list[Array | None] | None, list[int]]:
    """Return couplings for unit columns, of order one, and the exponents that latents absorb."""
    absorbed = [0] * len(prepared.norms)
    if couplings is None:
        return None, absorbed
    found: list[Array | None] = []
    for i, C in enumerate(couplings):
        if C is None:
            found.append(None)
            continue
        squares = _squared_norms(prepared, i)
        sizes = [math.frexp(float(x.max()))[1] for x in (squares, C)]
        absorbed[i] = sum(sizes)
        found.append(_HOST.ldexp(squares, -sizes[0])[:, None] * _HOST.ldexp(C, -sizes[1]))
    return found, absorbed
