"""Engineering models of public formula: what a code that takes hours would be, in microseconds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from linalgkit._core.array import Array, Namespace, device, working_dtype
from linalgkit._core.estimator import as_array
from linalgkit._core.validation import check_array_2d, check_bool, check_finite_block

Ranges = Mapping[str, tuple[float, float]]

OTL_CIRCUIT_RANGES: Ranges = MappingProxyType(
    {
        "Rb1": (50.0, 150.0),
        "Rb2": (25.0, 70.0),
        "Rf": (0.5, 3.0),
        "Rc1": (1.2, 2.5),
        "Rc2": (0.25, 1.2),
        "beta": (50.0, 300.0),
    }
)
BOREHOLE_RANGES: Ranges = MappingProxyType(
    {
        "rw": (0.05, 0.15),
        "r": (100.0, 50000.0),
        "Tu": (63070.0, 115600.0),
        "Hu": (990.0, 1110.0),
        "Tl": (63.1, 116.0),
        "Hl": (700.0, 820.0),
        "L": (1120.0, 1680.0),
        "Kw": (9855.0, 12045.0),
    }
)
_TOLERANCE = 1e-6  # of the width of a range: what rounding in single precision may leave


def otl_circuit(points: Any, *, physical: bool = False) -> Array:
    """Return the midpoint voltage of an output-transformerless push-pull circuit.

    Six variables, in the order of the columns and of ``OTL_CIRCUIT_RANGES``:

    ====== ==================== ============
    name   meaning              range
    ====== ==================== ============
    Rb1    resistance b1        50 to 150 kΩ
    Rb2    resistance b2        25 to 70 kΩ
    Rf     resistance f         0.5 to 3 kΩ
    Rc1    resistance c1        1.2 to 2.5 kΩ
    Rc2    resistance c2        0.25 to 1.2 kΩ
    beta   current gain         50 to 300
    ====== ==================== ============

    Parameters
    ----------
    points : array (n, 6)
        Points of the cube ``[-1, 1]^6``, whose sides are the ranges.
    physical : bool, default False
        Whether points come in the units of the table instead.

    Returns
    -------
    array (n,)
        Voltages in volts, in the library and precision of `points`.

    Raises
    ------
    TypeError
        If `points` are no real numbers.
    ValueError
        If they are not of shape (n, 6), hold NaN or infinity, or lie outside the ranges.

    See Also
    --------
    borehole : a model of eight variables.

    Notes
    -----
    The variables are independent and uniform on their ranges: the Legendre polynomials of
    :class:`~linalgkit.sampling.TensorBasis` are orthonormal for them.

    Storage: some 12 arrays of length `n`.

    References
    ----------
    .. [1] E. N. Ben-Ari, D. M. Steinberg, "Modeling data from computer experiments: an empirical
       comparison of kriging with MARS and projection pursuit regression", Quality Engineering 19
       (2007).

    Examples
    --------
    >>> import numpy as np
    >>> from linalgkit.datasets import otl_circuit
    >>> otl_circuit(np.zeros((1, 6))).round(3)
    array([5.311])
    >>> otl_circuit(np.asarray([[100, 47.5, 1.75, 1.85, 0.725, 175]]), physical=True).round(3)
    array([5.311])
    """
    (Rb1, Rb2, Rf, Rc1, Rc2, beta), _ = _variables(points, OTL_CIRCUIT_RANGES, physical)
    base = 12 * Rb2 / (Rb1 + Rb2)
    gain = beta * (Rc2 + 9)
    return ((base + 0.74) * gain + 11.35 * Rf + 0.74 * Rf * gain / Rc1) / (gain + Rf)


def borehole(points: Any, *, physical: bool = False) -> Array:
    """Return the flow of water through a borehole between two aquifers.

    Eight variables, in the order of the columns and of ``BOREHOLE_RANGES``:

    ===== =================================== ========================
    name  meaning                             range
    ===== =================================== ========================
    rw    radius of the borehole              0.05 to 0.15 m
    r     radius of influence                 100 to 50 000 m
    Tu    transmissivity of the upper aquifer 63 070 to 115 600 m²/year
    Hu    head of the upper aquifer           990 to 1110 m
    Tl    transmissivity of the lower aquifer 63.1 to 116 m²/year
    Hl    head of the lower aquifer           700 to 820 m
    L     length of the borehole              1120 to 1680 m
    Kw    conductivity of the borehole        9855 to 12 045 m/year
    ===== =================================== ========================

    Parameters
    ----------
    points : array (n, 8)
        Points of the cube ``[-1, 1]^8``, whose sides are the ranges.
    physical : bool, default False
        Whether points come in the units of the table instead.

    Returns
    -------
    array (n,)
        Flow in cubic metres a year, in the library and precision of `points`.

    Raises
    ------
    TypeError
        If `points` are no real numbers.
    ValueError
        If they are not of shape (n, 8), hold NaN or infinity, or lie outside the ranges.

    See Also
    --------
    otl_circuit : a model of six variables.

    Notes
    -----
    All variables are independent and uniform on their ranges, after Morris, Mitchell and
    Ylvisaker. (Harper and Gupta take `rw` normal, of mean 0.10 and deviation 0.0161812, and the
    logarithm of `r` normal, of mean 7.71 and deviation 1.0056.)

    Storage: some 15 arrays of length `n`.

    References
    ----------
    .. [1] W. V. Harper, S. K. Gupta, "Sensitivity/uncertainty analysis of a borehole scenario
       comparing Latin hypercube sampling and deterministic sensitivity approaches", Office of
       Nuclear Waste Isolation, BMI/ONWI-516 (1983).
    .. [2] M. D. Morris, T. J. Mitchell, D. Ylvisaker, "Bayesian design and analysis of computer
       experiments: use of derivatives in surface prediction", Technometrics 35 (1993).

    Examples
    --------
    >>> import numpy as np
    >>> from linalgkit.datasets import borehole
    >>> borehole(np.zeros((1, 8))).round(3)
    array([70.873])
    """
    (rw, r, Tu, Hu, Tl, Hl, L, Kw), xp = _variables(points, BOREHOLE_RANGES, physical)
    spread = xp.log(r / rw)
    resistance = spread * (1 + Tu / Tl) + 2 * L * Tu / (rw * rw * Kw)
    return 2 * math.pi * Tu * (Hu - Hl) / resistance


def _variables(points: Any, ranges: Ranges, physical: bool) -> tuple[list[Array], Namespace]:
    """Return the variables in their own units, an array (n,) each."""
    check_bool("physical", physical)
    points = as_array(points, "points")
    why = f"({', '.join(ranges)})"
    points, xp = check_array_2d("points", points, n_columns=len(ranges), why=why)
    if xp.isdtype(points.dtype, "complex floating"):
        raise TypeError(f"points must be real, got {points.dtype}.")
    check_finite_block(points, name="points")
    points = xp.astype(points, working_dtype(xp, device(points), points.dtype), copy=False)
    columns = []
    for c, (name, (low, high)) in enumerate(ranges.items()):
        column = points[:, c]
        _check_inside(column, name, (low, high) if physical else (-1.0, 1.0), physical, xp)
        columns.append(column if physical else low + (column + 1) * ((high - low) / 2))
    return columns, xp


def _check_inside(
    column: Array, name: str, ends: tuple[float, float], physical: bool, xp: Namespace
) -> None:
    """Refuse values outside a range."""
    if column.shape[0] == 0:
        return
    low, high = ends
    room = _TOLERANCE * (high - low)
    least, largest = float(xp.min(column)), float(xp.max(column))
    if low - room <= least and largest <= high + room:
        return
    value = least if least < low - room else largest
    way_out = "" if physical else " Points in units of their own need physical=True."
    raise ValueError(
        f"points must lie in [{low:g}, {high:g}] for the variable {name}, got {value:g}.{way_out}"
    )
