"""Crystals of ions: positions, charges, and the cell of which they are copies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from linalgkit._core.array import Array
from linalgkit._core.random import as_generator
from linalgkit._core.validation import check_choice, check_float, check_int, message
from linalgkit.datasets._kronecker import mover
from linalgkit.datasets._rows import HostArray, dtype_on_host

_LATTICE_CONSTANT = 5.64  # of the cubic cell at room temperature, in angstrom
# Ions of a cell, in halves of the lattice constant; the charge is plus where their sum is even.
_SITES = np.indices((2, 2, 2)).reshape(3, -1).T


@dataclass(frozen=True, eq=False)
class IonicCrystal:
    """What :func:`sodium_chloride` returns.

    Lengths are in angstrom, charges in elementary charges.

    Attributes
    ----------
    positions : array of shape (N, 3)
        Ions, cell by cell.
    charges : array of shape (N,)
        +1 (sodium) and -1 (chlorine).
    box : tuple of (float, float)
        The cells' box, centred at the origin; three intervals.
    lattice : tuple of (int, float)
        Numbers of cells and their period in each direction, as
        :func:`~linalgkit.chebyshev.long_range_potential` takes them.
    cell_positions : array of shape (8, 3)
        Ions of the first cell, none displaced.
    cell_charges : array of shape (8,)
        Their charges.

    Notes
    -----
    Storage: ``4 N`` numbers.
    """

    positions: Array = field(repr=False)
    charges: Array = field(repr=False)
    box: tuple[tuple[float, float], ...]
    lattice: tuple[tuple[int, float], ...]
    cell_positions: Array = field(repr=False)
    cell_charges: Array = field(repr=False)


def sodium_chloride(
    cells: int | Sequence[int],
    *,
    lattice_constant: float = _LATTICE_CONSTANT,
    displacement: float = 0.0,
    dtype: Any = None,
    like: Array | None = None,
    rng: Any = None,
) -> IonicCrystal:
    """Return a block of rock salt, of cubic cells with 8 ions each.

    Parameters
    ----------
    cells : int or sequence of 3 int
        Number of cells in each direction.
    lattice_constant : float, default 5.64
        Edge of a cell in angstrom: twice the distance of neighbouring ions.
    displacement : float, default 0.0
        Standard deviation of the independent normal displacement of every coordinate of every ion
        in angstrom, as heat brings about; about 0.2 at room temperature.
    dtype : str or dtype, optional
        float32 or float64; by default that of `like`, float64 without it.
    like : array, optional
        An array whose library, device and (without `dtype`) precision the arrays shall have.
    rng : None, int, SeedSequence, BitGenerator or Generator
        Seed of the displacements.

    Returns
    -------
    IonicCrystal
        Positions, charges, box, and the cell with its numbers of copies, which is not displaced.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind.
    ValueError
        If there are not three numbers of cells, or a number is out of range.

    Notes
    -----
    The faces of the box lie half the distance of neighbours beyond the outermost planes of ions;
    ions that are displaced may lie outside. The crystal has no charge, no dipole and no quadrupole,
    so that the potential inside is soon that of the infinite crystal. Storage: ``4 N`` numbers.

    Examples
    --------
    >>> from linalgkit.datasets import sodium_chloride
    >>> crystal = sodium_chloride(2)
    >>> crystal.positions.shape, float(crystal.charges.sum()), crystal.lattice[0]
    ((64, 3), 0.0, (2, 5.64))
    """
    counts = _checked_cells(cells)
    a = check_float("lattice_constant", lattice_constant, 0.0, low_open=True)
    displacement = check_float("displacement", displacement, 0.0)
    kept = dtype_on_host(dtype, like)
    check_choice("dtype", kept.name, ("float32", "float64"))
    corner = -0.5 * a * np.asarray(counts)
    cell = corner + 0.5 * a * (_SITES + 0.5)
    charges = 1.0 - 2.0 * (_SITES.sum(axis=1) % 2)
    positions = (_corners(counts, a)[:, None, :] + cell).reshape(-1, 3)
    if displacement > 0:
        positions += displacement * as_generator(rng).standard_normal(positions.shape)
    moved = mover(kept, like)
    return IonicCrystal(
        moved(positions),
        moved(np.tile(charges, positions.shape[0] // 8)),
        tuple((float(low), -float(low)) for low in corner),
        tuple((n, a) for n in counts),
        moved(cell),
        moved(charges),
    )


def _checked_cells(cells: Any) -> tuple[int, int, int]:
    """Return three numbers of cells."""
    given = cells if isinstance(cells, (list, tuple)) else (cells,) * 3
    if len(given) != 3:
        raise ValueError(message("cells", "be one number, or three", cells))
    x, y, z = (check_int(f"cells[{k}]", n, 1) for k, n in enumerate(given))
    return x, y, z


def _corners(counts: tuple[int, ...], a: float) -> HostArray:
    """Return where the cells begin, from that of the first one."""
    return a * np.indices(counts).reshape(3, -1).T
