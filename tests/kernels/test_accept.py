"""The acceptance walk against a loop that orthogonalises row by row."""

from __future__ import annotations

import numpy as np
import pytest

from linalgkit._core.array import numpy_namespace
from linalgkit._kernels import accept_proposals
from linalgkit._kernels.accept import _kernel

from .test_dense import Draw, data

NP = numpy_namespace()
FORMS = tuple(form for form in _kernel.forms() if form != "cupy")


def row_loop(R: np.ndarray, envelope: np.ndarray, uniforms: np.ndarray, need: int) -> list[int]:
    """Accept with the squared norm of what is left of a row, by Gram-Schmidt twice."""
    Q, picked = np.zeros((0, R.shape[1]), dtype=R.dtype), []
    for i, row in enumerate(R):
        for _ in range(2):
            row = row - (row @ Q.conj().T) @ Q
        left = np.linalg.norm(row) ** 2
        if left > 1e-12 * envelope[i] and left > uniforms[i] * envelope[i]:
            picked.append(i)
            Q = np.vstack([Q, row[None] / np.sqrt(left)])
        if len(picked) == need:
            break
    return picked


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize(("b", "s", "need"), [(40, 12, 12), (40, 12, 3), (7, 30, 30), (1, 1, 1)])
def test_accepts_as_the_row_loop_does(
    rng: Draw, form: str, dtype: str, b: int, s: int, need: int
) -> None:
    R = data(rng, dtype, b, s)
    envelope, uniforms = 1.3 * np.linalg.norm(R, axis=1) ** 2, rng.random(b)
    found = _kernel.forms()[form](NP, R @ R.conj().T, uniforms * envelope, need, 1e-12)
    assert found.dtype == np.int64
    assert found.tolist() == row_loop(R, envelope, uniforms, need)


@pytest.mark.parametrize("form", FORMS)
def test_equal_rows_and_rows_of_zeros_are_left_out(rng: Draw, form: str) -> None:
    R = data(rng, "float64", 6, 4)
    R[1], R[3], R[5] = 0, R[0], -2 * R[2]
    found = _kernel.forms()[form](NP, R @ R.T, np.zeros(6), 6, 1e-13)
    assert found.tolist() == [0, 2, 4]


@pytest.mark.parametrize("form", FORMS)
def test_small_rows_are_compared_with_themselves(rng: Draw, form: str) -> None:
    R = 1e-12 * data(rng, "float64", 5, 9)
    found = _kernel.forms()[form](NP, R @ R.T, np.full(5, 1e-30), 5, 1e-6)
    assert found.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_single_precision_is_worked_on_in_double(rng: Draw, form: str, dtype: str) -> None:
    R = data(rng, dtype, 30, 10)
    H = R @ R.conj().T
    envelope, uniforms = np.real(np.diag(H)).astype(float), rng.random(30)
    found = _kernel.forms()[form](NP, H.copy(), uniforms * envelope, 10, 1e-6)
    wide = H.astype("complex128" if dtype == "complex64" else "float64")
    expected = _kernel.forms()["portable"](NP, wide, uniforms * envelope, 10, 1e-6)
    assert found.tolist() == expected.tolist()


def test_other_libraries_end_on_the_host(rng: Draw, xp) -> None:
    R = data(rng, "float64", 30, 10)
    envelope, uniforms = 1.1 * np.linalg.norm(R, axis=1) ** 2, rng.random(30)
    found = accept_proposals(xp.xp, xp.asarray(R @ R.T), uniforms * envelope, 10, 1e-6)
    assert isinstance(found, np.ndarray)
    assert found.tolist() == row_loop(R, envelope, uniforms, 10)


@pytest.mark.gpu
@pytest.mark.skipif("cupy" not in _kernel.forms(), reason="needs a device")
def test_cupy_form_agrees(rng: Draw) -> None:
    import cupy

    from linalgkit._core.array import array_namespace

    R = data(rng, "complex128", 200, 90)
    H, envelope = R @ R.conj().T, np.linalg.norm(R, axis=1) ** 2
    uniforms = rng.random(200)
    xp = array_namespace(cupy.ones(1))
    found = _kernel.forms()["cupy"](xp, cupy.asarray(H), uniforms * envelope, 60, 1e-12)
    expected = _kernel.forms()["portable"](NP, H, uniforms * envelope, 60, 1e-12)
    assert found.tolist() == expected.tolist()
