"""A canonical tensor from a file, as ``--data`` takes it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from linalgkit._core.array import Array, numpy_namespace

_HOST = numpy_namespace()
MODES = 3
_MODE_KEYS = tuple(f"U{k + 1}" for k in range(MODES))
KEYS = "weights, U1, U2, U3 (or one U for all three) and, if the weights are to be divided, h"


class UnusableDataError(Exception):
    """The file of ``--data`` cannot be taken; the message says why."""


@dataclass(frozen=True, eq=False)
class CanonicalTensor:
    """Values ``sum_l w_l U1[i, l] U2[j, l] U3[k, l]`` at the centres of equal cells of a cube.

    Attributes
    ----------
    name : str
        That of the file.
    weights : array (R,)
        Of the terms, on the host.
    factors : list of array (n_k, R)
        Columns of the three modes, on the host.
    """

    name: str
    weights: Array
    factors: list[Array]

    @property
    def shape(self) -> tuple[int, ...]:
        """Numbers of cells."""
        return tuple(U.shape[0] for U in self.factors)

    def part(self, terms: Array) -> CanonicalTensor:
        """Return the sum of some of the terms, chosen by a mask."""
        return CanonicalTensor(self.name, self.weights[terms], [U[:, terms] for U in self.factors])

    def at(self, index: Array) -> Array:
        """Return the values at cells (n, 3)."""
        product = self.weights[None, :]
        for k, U in enumerate(self.factors):
            product = product * U[index[:, k], :]
        return product.sum(axis=1)

    def plane(self, axis: int, i: int) -> Array:
        """Return all values in the plane of number `i` across an axis."""
        first, second = (U for k, U in enumerate(self.factors) if k != axis)
        return (first * (self.weights * self.factors[axis][i, :])) @ second.T


def read_canonical(path: Path) -> CanonicalTensor:
    """Return the tensor in an npz file.

    Its keys are ``weights`` (R,), all 1 by default, and ``U1``, ``U2``, ``U3`` (n_k, R), or one
    ``U`` (n, R) for all three modes, which is divided by the cell width 2/n. With ``h``, the
    weights are divided by its cube.

    Raises
    ------
    UnusableDataError
        If the file cannot be read, keys are missing, or shapes do not fit.
    """
    try:
        with _HOST.load(path, allow_pickle=False) as file:
            held = {key: file[key] for key in file.files}
    except (OSError, ValueError, BadZipFile, AttributeError, TypeError) as error:
        raise UnusableDataError(f"--data must be an npz file: {path}: {error}") from None
    factors = _factors(held, path)
    weights = _HOST.asarray(held.get("weights", _HOST.ones(factors[0].shape[1])))
    _check(weights, factors, path)
    if not _has_modes(held):  # in units of the cell
        factors = [factors[0] * (factors[0].shape[0] / 2.0)] * MODES
    return CanonicalTensor(path.name, weights / _width(held, path) ** MODES, factors)


def _width(held: Mapping[str, Any], path: Path) -> float:
    """Return the length by whose cube the weights are divided."""
    h = _HOST.asarray(held.get("h", 1.0))
    if h.shape != () or h.dtype.kind not in "iuf" or not 0 < float(h) < math.inf:
        raise UnusableDataError(f"--data: h must be a positive number; {path} has {h!r}.")
    return float(h)


def _has_modes(held: Mapping[str, Any]) -> bool:
    """Return whether there are columns for each mode."""
    return all(key in held for key in _MODE_KEYS)


def _factors(held: Mapping[str, Any], path: Path) -> list[Array]:
    """Return the columns of the three modes."""
    if _has_modes(held):
        return [held[key] for key in _MODE_KEYS]
    if "U" not in held or held["U"].ndim != 2:
        shown = ", ".join(sorted(held)) or "none"
        raise UnusableDataError(f"--data must have the arrays {KEYS}; {path} has {shown}.")
    return [held["U"]] * MODES


def _check(weights: Array, factors: list[Array], path: Path) -> None:
    """Raise where shapes or numbers do not fit."""
    shapes = [tuple(A.shape) for A in (weights, *factors)]
    ranks = {shape[-1] for shape in shapes if shape}
    fits = len(shapes[0]) == 1 and all(len(shape) == 2 for shape in shapes[1:]) and len(ranks) == 1
    if not fits or min(map(min, shapes)) < 1:
        raise UnusableDataError(
            f"--data must hold weights (R,) and factors (n_k, R) of one R; {path} has {shapes}."
        )
    kinds = {A.dtype.kind for A in (weights, *factors)}
    if not kinds <= set("iufc") or not all(_HOST.isfinite(A).all() for A in (weights, *factors)):
        raise UnusableDataError(f"--data must hold finite numbers; {path} has others.")
