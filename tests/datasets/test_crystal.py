"""Rock salt: every ion has six neighbours of the other sign, and Madelung's constant comes out."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from linalgkit import datasets
from linalgkit._core.array import dtype_name, to_numpy

MADELUNG = 1.7475645946331822  # of the infinite crystal (OEIS A085469)


def test_neighbours_are_six_of_the_other_sign_half_a_lattice_constant_away():
    crystal = datasets.sodium_chloride((3, 4, 2))
    x, q = crystal.positions, crystal.charges
    assert x.shape == (8 * 24, 3)
    near = cKDTree(x).query_ball_point(x, 1.001 * 5.64 / 2)
    inner = np.all(np.abs(x) < np.asarray([hi for _, hi in crystal.box]) - 5.64 / 2, axis=1)
    assert inner.sum() == 4 * 6 * 2
    for i in np.flatnonzero(inner):
        others = [j for j in near[i] if j != i]
        assert len(others) == 6
        assert all(q[j] == -q[i] for j in others)
    distances = cKDTree(x).query(x, 2)[0][:, 1]
    np.testing.assert_allclose(distances, 5.64 / 2, rtol=1e-12)


def test_the_box_is_centred_and_its_faces_lie_half_a_spacing_outside():
    crystal = datasets.sodium_chloride((1, 2, 3), lattice_constant=4.0)
    assert crystal.box == ((-2.0, 2.0), (-4.0, 4.0), (-6.0, 6.0))
    np.testing.assert_allclose(crystal.positions.max(axis=0), [1.0, 3.0, 5.0])
    np.testing.assert_allclose(crystal.positions.min(axis=0), [-1.0, -3.0, -5.0])


def test_the_ions_are_the_copies_of_the_cell():
    crystal = datasets.sodium_chloride((2, 1, 3))
    found = []
    for j in np.ndindex(*(n for n, _ in crystal.lattice)):
        shift = np.asarray(j) * [a for _, a in crystal.lattice]
        found.append(crystal.cell_positions + shift)
    np.testing.assert_allclose(crystal.positions, np.concatenate(found), atol=1e-12)
    assert np.array_equal(crystal.charges, np.tile(crystal.cell_charges, 6))


def test_charge_dipole_and_quadrupole_vanish():
    crystal = datasets.sodium_chloride((2, 3, 1))
    x, q = crystal.positions, crystal.charges
    assert q.sum() == 0
    assert np.abs(q @ x).max() < 1e-10
    assert np.abs(np.einsum("n,ni,nj->ij", q, x, x)).max() < 1e-8


@pytest.mark.parametrize("cells", [4, 8])
def test_the_potential_at_the_central_ion_is_that_of_madelung(cells):
    crystal = datasets.sodium_chloride(cells)
    x, q = crystal.positions, crystal.charges
    i = int(np.argmin(np.linalg.norm(x, axis=1)))
    r = np.linalg.norm(np.delete(x, i, axis=0) - x[i], axis=1)
    found = -q[i] * np.sum(np.delete(q, i) / r) * 5.64 / 2
    assert abs(found - MADELUNG) < {4: 3e-3, 8: 3e-4}[cells]


def test_heat_displaces_by_what_was_asked_for_and_the_seed_settles_it(xp):
    like = xp.asarray(np.zeros(1))
    cold, hot, again = (
        datasets.sodium_chloride(6, displacement=s, like=like, rng=3) for s in (0.0, 0.2, 0.2)
    )
    moves = to_numpy(hot.positions) - to_numpy(cold.positions)
    n = moves.size
    # The variance of a sample of n normal numbers has a relative standard deviation sqrt(2/n).
    assert abs(np.mean(moves**2) / 0.2**2 - 1) < 5 * np.sqrt(2 / n)
    assert np.array_equal(to_numpy(hot.positions), to_numpy(again.positions))
    assert np.array_equal(to_numpy(hot.cell_positions), to_numpy(cold.cell_positions))
    assert dtype_name(xp.xp, hot.positions.dtype) == dtype_name(xp.xp, like.dtype)


def test_the_precision_is_that_asked_for():
    assert datasets.sodium_chloride(1, dtype="float32").charges.dtype == np.float32


@pytest.mark.parametrize(
    ("options", "kind", "why"),
    [
        ({"cells": 0}, ValueError, r"cells\[0\] must be at least 1"),
        ({"cells": (1, 2)}, ValueError, "cells must be one number, or three"),
        ({"cells": 1.5}, TypeError, r"cells\[0\]"),
        ({"lattice_constant": 0.0}, ValueError, "lattice_constant"),
        ({"displacement": -1.0}, ValueError, "displacement"),
        ({"dtype": "complex128"}, ValueError, "dtype"),
    ],
    ids=range(6),
)
def test_bad_arguments_are_refused(options, kind, why):
    with pytest.raises(kind, match=why):
        datasets.sodium_chloride(**{"cells": 2, **options})
