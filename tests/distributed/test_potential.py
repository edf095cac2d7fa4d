"""Potentials of particles in blocks: the tolerance of the serial function, and its check points."""

from __future__ import annotations

from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from scipy.special import erf

from linalgkit import AccuracyWarning, chebyshev
from linalgkit.distributed import long_range_potential
from tests.conftest import BACKENDS, Backend

BOX = [(-1.0, 1.0)] * 3
ALPHA = 3.0


def particles(seed: int, n: int = 300, spread: float = 1.0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    return rng.uniform(-spread, spread, (n, 3)), rng.standard_normal(n)


def blocks(x: Any, q: Any, size: int = 110) -> tuple[Any, Any]:
    return da.from_array(x, chunks=(size, 2)), da.from_array(q, chunks=size)


def exact(x: Any, q: Any, at: Any, alpha: float = ALPHA) -> Any:
    r = np.linalg.norm(at[:, None, :] - x[None, :, :], axis=2)
    return erf(alpha * r) / r @ q


@pytest.mark.parametrize("method", ["moments", "cp"])
@pytest.mark.parametrize("tol", [1e-4, 1e-9])
def test_error_is_below_the_tolerance_at_fresh_points(method: str, tol: float) -> None:
    x, q = particles(0)
    T = long_range_potential(*blocks(x, q), BOX, alpha=ALPHA, tol=tol, method=method)
    at = np.random.default_rng(1).uniform(-1, 1, (400, 3))
    assert T.status == "converged"
    assert T.error_estimate <= tol * T.scale
    assert np.max(np.abs(T(at) - exact(x, q, at))) <= 2 * tol * T.scale


def test_certificate_is_that_of_the_serial_function() -> None:
    """The same check points: the largest modulus there is the same but for rounding."""
    x, q = particles(2)
    T = long_range_potential(*blocks(x, q), BOX, alpha=ALPHA, tol=1e-8)
    S = chebyshev.long_range_potential(x, q, BOX, alpha=ALPHA, tol=1e-8)
    assert T.n_evals == S.n_evals
    assert abs(T.scale - S.scale) <= 1e-14 * S.scale
    at = np.random.default_rng(3).uniform(-1, 1, (200, 3))
    assert np.max(np.abs(T(at) - S(at))) <= 2e-8 * S.scale


@pytest.mark.parametrize("size", [300, 150, 1])
def test_any_blocks(size: int) -> None:
    x, q = particles(4, 300 if size > 1 else 6)
    q[2] = 0.0  # a block may have no charge
    T = long_range_potential(*blocks(x, q, size), BOX, alpha=ALPHA, tol=1e-6, fanin=2)
    at = np.random.default_rng(5).uniform(-1, 1, (200, 3))
    assert np.max(np.abs(T(at) - exact(x, q, at))) <= 2e-6 * T.scale


def test_blocks_that_nearly_cancel_each_other() -> None:
    """Each block alone is a thousand times the sum; the tolerance is one of the sum."""
    x, q = particles(6, 200)
    near = x + 1e-3 * np.random.default_rng(7).standard_normal(x.shape)
    whole, charges = np.concatenate([x, near]), np.concatenate([q, -q])
    T = long_range_potential(*blocks(whole, charges, 200), BOX, alpha=ALPHA, tol=1e-6)
    at = np.random.default_rng(8).uniform(-1, 1, (200, 3))
    assert np.max(np.abs(T(at) - exact(whole, charges, at))) <= 2e-6 * T.scale


def test_particles_far_outside_and_a_lattice() -> None:
    x, q = particles(9, 150, spread=6.0)
    lattice = [(2, 4.0), (1, 1.0), (3, 2.5)]
    T = long_range_potential(*blocks(x, q, 60), BOX, alpha=ALPHA, tol=1e-6, lattice=lattice)
    S = chebyshev.long_range_potential(x, q, BOX, alpha=ALPHA, tol=1e-6, lattice=lattice)
    at = np.random.default_rng(10).uniform(-1, 1, (100, 3))
    assert np.max(np.abs(T(at) - S(at))) <= 4e-6 * S.scale


@pytest.mark.parametrize("factor", [1e-150, 1e150])
def test_scales_with_lengths_and_charges(factor: float) -> None:
    x, q = particles(11, 120)
    T = long_range_potential(*blocks(x, q, 50), BOX, alpha=ALPHA, tol=1e-6)
    box = [(-factor, factor)] * 3
    scaled = long_range_potential(
        *blocks(x * factor, q * factor, 50), box, alpha=ALPHA / factor, tol=1e-6
    )
    at = np.random.default_rng(12).uniform(-1, 1, (50, 3))
    assert np.allclose(scaled(at * factor), T(at), rtol=1e-6, atol=1e-7 * T.scale)


def test_complex_charges_in_one_block_alone() -> None:
    x, q = particles(13, 120)
    parts = [dask.delayed(q[:60].astype(complex) * 1j), dask.delayed(q[60:])]
    T = long_range_potential(
        [dask.delayed(x[:60]), dask.delayed(x[60:])], parts, BOX, alpha=ALPHA, tol=1e-6
    )
    at = np.random.default_rng(14).uniform(-1, 1, (100, 3))
    expected = exact(x, np.concatenate([1j * q[:60], q[60:]]), at)
    assert np.max(np.abs(T(at) - expected)) <= 2e-6 * T.scale


@pytest.mark.parametrize("backend", [b for b in BACKENDS if b.name != "jax"], ids=str)
def test_other_libraries(backend: Backend) -> None:
    """JAX would compile each shape of each block."""
    x, q = particles(15, 100)
    pairs = [(backend.asarray(x[a:b, :]), backend.asarray(q[a:b])) for a, b in ((0, 60), (60, 100))]
    T = long_range_potential(
        [dask.delayed(p) for p, _ in pairs], [dask.delayed(c) for _, c in pairs], BOX,
        alpha=ALPHA, tol=1e-4,
    )  # fmt: skip
    assert type(T.core) is type(backend.asarray([1.0]))
    at = np.random.default_rng(16).uniform(-1, 1, (50, 3))
    found = backend.to_numpy(T(backend.asarray(at)))
    assert np.max(np.abs(found - exact(x, q, at))) <= 3e-4 * T.scale


def test_no_charge_is_the_zero_function() -> None:
    x, q = particles(17, 50)
    T = long_range_potential(*blocks(x, 0.0 * q, 20), BOX, alpha=ALPHA)
    assert T(np.zeros(3)) == 0.0
    assert T.status == "converged"


def test_charges_that_cancel_are_told() -> None:
    x, q = particles(18, 60)
    with pytest.warns(AccuracyWarning, match="cancel to rounding"):
        T = long_range_potential(
            *blocks(np.concatenate([x, x]), np.concatenate([q, -q]), 60), BOX, alpha=ALPHA
        )
    assert T.status == "inaccurate"
    assert T.error_estimate > 0.0


def test_arguments_are_checked() -> None:
    x, q = particles(19, 50)
    X, Q = blocks(x, q, 25)
    with pytest.raises(ValueError, match="charges must have the 2 parts of points, got 1 parts"):
        long_range_potential(X, q, BOX, alpha=ALPHA)
    with pytest.raises(ValueError, match="charges must have the shape"):
        long_range_potential([x[:30], x[30:]], [q[:25], q[25:]], BOX, alpha=ALPHA)
    with pytest.raises(ValueError, match="alpha must be"):
        long_range_potential(X, Q, BOX, alpha=-1.0)
    with pytest.raises(ValueError, match="domain must have 3 variables"):
        long_range_potential(X, Q, BOX[:2], alpha=ALPHA)
    with pytest.raises(ValueError, match="fanin must be"):
        long_range_potential(X, Q, BOX, alpha=ALPHA, fanin=1)
    x[7, 1] = np.inf
    with pytest.raises(ValueError, match="points"):
        long_range_potential(*blocks(x, q, 25), BOX, alpha=ALPHA)


@pytest.mark.slow
def test_processes_give_the_same_bits(cluster: Any) -> None:
    x, q = particles(20)
    found = long_range_potential(*blocks(x, q), BOX, alpha=ALPHA, tol=1e-6)
    with dask.config.set(scheduler="synchronous"):
        expected = long_range_potential(*blocks(x, q), BOX, alpha=ALPHA, tol=1e-6)
    assert np.array_equal(found.core, expected.core)
