"""Products along modes and Gram matrices of unfoldings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from linalgkit._core import array as core_array
from linalgkit._core import modes
from tests.conftest import Backend
from tests.core.modes_by_hand import along, close, draw, unfolding


@pytest.mark.parametrize("shape", [(5,), (4, 5, 2), (3, 4, 2, 5)], ids=str)
def test_a_product_along_a_mode_is_the_sum_over_its_axis(
    xp: Backend, rng: Any, shape: tuple[int, ...]
) -> None:
    T = draw(rng, *shape)
    for axis, m in enumerate(shape):
        A = draw(rng, 3, m)
        found = modes.mode_product(xp.asarray(T), xp.asarray(A), axis, xp.xp)
        close(found, along(A, T, axis), xp)
        assert core_array.device(found) == xp.device


def test_products_along_all_modes_skip_what_they_are_told_to(xp: Backend, rng: Any) -> None:
    T = draw(rng, 3, 4, 5, 2)
    matrices = [draw(rng, 6, 3), draw(rng, 2, 4), draw(rng, 5, 5)]
    given: list[Any] = [xp.asarray(A) for A in matrices]
    expected = along(matrices[2], along(matrices[1], along(matrices[0], T, 0), 1), 2)
    close(modes.mode_products(xp.asarray(T), given, xp.xp), expected, xp)
    given[1] = None
    expected = along(matrices[0], T, 0)
    close(modes.mode_products(xp.asarray(T), given, xp.xp, skip=(2,)), expected, xp)


def test_the_products_that_shrink_most_come_first(rng: Any, monkeypatch: Any) -> None:
    order = []
    product = modes.mode_product

    def noted(T: Any, A: Any, axis: int, xp: Any) -> Any:
        order.append(axis)
        return product(T, A, axis, xp)

    monkeypatch.setattr(modes, "mode_product", noted)
    matrices = [draw(rng, 9, 3), draw(rng, 2, 8), draw(rng, 2, 4)]
    modes.mode_products(draw(rng, 3, 8, 4), matrices, core_array.numpy_namespace())
    assert order == [1, 2, 0]


@pytest.mark.parametrize("piece_bytes", [4 * 2**20, 200])
@pytest.mark.parametrize("shape", [(5, 7), (3, 4, 5)], ids=str)
def test_gram_matrix_is_that_of_the_unfolding(
    xp: Backend, rng: Any, shape: tuple[int, ...], piece_bytes: int, monkeypatch: Any
) -> None:
    monkeypatch.setattr(modes, "_PIECE_BYTES", piece_bytes)
    T = draw(rng, *shape)
    for axis in range(len(shape)):
        U = unfolding(T, axis)
        G = modes.mode_gram(xp.asarray(T), axis, xp.xp)
        close(G, U @ U.conj().T, xp)
        host = xp.to_numpy(G)
        assert np.array_equal(host, host.conj().T)


@pytest.mark.parametrize("kind", ["float32", "complex64"])
def test_gram_matrices_of_single_precision_are_summed_in_double(rng: Any, kind: str) -> None:
    T = draw(rng, 3, 50, 40, kind=kind)
    for axis in range(3):
        U = unfolding(T, axis).astype("complex128")
        expected = U @ U.conj().T
        G = modes.mode_gram(T, axis, core_array.numpy_namespace())
        np.testing.assert_allclose(G, expected, atol=1e-12 * np.abs(expected).max())
