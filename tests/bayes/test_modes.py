"""Products along modes, Gram matrices of unfoldings, and the check of factors and data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from linalgkit._core import array as core_array
from linalgkit.bayes import _modes
from tests.conftest import BACKENDS, Backend
from tests.core.modes_by_hand import close, draw


@pytest.mark.parametrize("power", [0, 500, -500])
def test_unit_columns_are_the_same_for_any_power_of_two(rng: Any, power: int) -> None:
    H = draw(rng, 6, 4)
    H[:, 2] = 0.0
    xp = core_array.numpy_namespace()
    plain, found = _modes.unit_columns(H, xp), _modes.unit_columns(H * 2.0**power, xp)
    assert np.array_equal(plain.columns, found.columns)
    assert np.array_equal(plain.norms, found.norms)
    norms = np.ldexp(plain.norms, plain.exponents)
    np.testing.assert_allclose(norms, np.linalg.norm(H, axis=0), rtol=1e-15)
    np.testing.assert_allclose(np.linalg.norm(found.columns, axis=0), [1, 1, 0, 1], rtol=1e-15)
    assert [e + power for e in plain.exponents[:2]] == found.exponents[:2]


# ------------------------------------------------------------------------------ the checks


@pytest.mark.parametrize(
    ("shape", "flat", "snapshots"),
    [((3, 4), False, None), ((3, 4, 5), False, 5), ((12,), True, None), ((12, 5), True, 5)],
)
def test_data_come_as_a_tensor_or_flat(
    xp: Backend, rng: Any, shape: tuple[int, ...], flat: bool, snapshots: int | None
) -> None:
    y = draw(rng, *shape, kind="float64")
    factors = [xp.asarray(draw(rng, m, n, kind="float64")) for m, n in ((3, 6), (4, 2))]
    data = _modes.kronecker_data(factors, xp.asarray(y))
    assert (data.sizes, data.widths) == ((3, 4), (6, 2))
    assert (data.flat, data.has_snapshots) == (flat, snapshots is not None)
    assert data.snapshots == (snapshots or 1)
    assert data.device == xp.device
    close(data.Y, y.reshape(3, 4, -1), xp)


@pytest.mark.parametrize("shape", [(3,), (3, 2)])
def test_one_factor_has_one_layout(rng: Any, shape: tuple[int, ...]) -> None:
    data = _modes.kronecker_data([np.ones((3, 4))], np.ones(shape))
    assert not data.flat
    assert data.has_snapshots == (len(shape) == 2)
    assert data.Y.shape == (3, shape[1] if len(shape) == 2 else 1)


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (("float32", "float32", "float32"), "float32"),
        (("float32", "float32", "float64"), "float64"),
        (("float64", "complex64", "float32"), "complex128"),
        (("float32", "float32", "complex64"), "complex64"),
        (("int64", "int32", "int8"), "float64"),
    ],
    ids=str,
)
def test_dtypes_join(kinds: tuple[str, str, str], expected: str) -> None:
    A, B, y = (
        np.ones(shape, dtype=kind)
        for shape, kind in zip([(2, 3), (3, 3), (2, 3)], kinds, strict=True)
    )
    data = _modes.kronecker_data([A, B], y)
    assert {str(X.dtype) for X in (*data.factors, data.Y)} == {expected}
    assert str(data.dtype) == expected


def test_factors_alone_are_checked_against_an_array_and_widths(xp: Backend) -> None:
    H = xp.asarray(np.ones((2, 3)))
    found = _modes.kronecker_factors((H, H), like=H, widths=(3, 3))
    assert (found.sizes, found.widths, found.device) == ((2, 2), (3, 3), xp.device)
    with pytest.raises(ValueError, match=r"must have \(3, 4\) columns.*got \(3, 3\)"):
        _modes.kronecker_factors([H, H], widths=(3, 4))


GOOD = [np.ones((2, 3)), np.ones((3, 2))]
BAD_FACTORS = [
    (np.ones((2, 3)), TypeError, r"\[H\]"),
    (iter(GOOD), TypeError, "list or tuple"),
    ([], ValueError, "at least one matrix"),
    ([np.ones((2, 3)), np.ones(3)], ValueError, r"factors\[1\] must be 2-D"),
    ([np.ones((2, 3)), np.ones((0, 3))], ValueError, r"factors\[1\] must have at least 1 row"),
    ([np.ones((2, 3)), np.ones((3, 0))], ValueError, r"factors\[1\] must have at least 1 column"),
    ([np.ones((2, 3)), {1.0}], TypeError, r"factors\[1\] must be an array"),
    ([np.ones((2, 3)), np.full((3, 2), np.nan)], ValueError, r"factors\[1\] must not contain NaN"),
    ([np.full((2, 3), np.inf), np.ones((3, 2))], ValueError, r"factors\[0\] must not contain NaN"),
]


@pytest.mark.parametrize(("factors", "kind", "match"), BAD_FACTORS, ids=range(len(BAD_FACTORS)))
def test_bad_factors_are_refused(factors: Any, kind: type[Exception], match: str) -> None:
    with pytest.raises(kind, match=match):
        _modes.kronecker_data(factors, np.ones((2, 3)))


BAD_DATA = [
    ({1.0}, TypeError, "y must be an array, a dataframe or a list of numbers"),
    (np.ones((3, 2)), ValueError, r"2 x 3 = 6 rows, got shape \(3, 2\) with 6 entries"),
    (np.ones(7), ValueError, r"= 6 rows, got shape \(7,\)"),
    (np.ones((2, 3, 1, 1)), ValueError, "one axis more for snapshots"),
    (np.ones(()), ValueError, r"got shape \(\)"),
    (np.ones((2, 3, 0)), ValueError, "at least one snapshot"),
    (np.ones((6, 0)), ValueError, "at least one snapshot"),
    (np.full((2, 3), np.nan), ValueError, "y must not contain NaN"),
    (np.asarray([1, 1, 1, 1, 1, np.inf]), ValueError, "y must not contain NaN .* entry 5"),
]


@pytest.mark.parametrize(("y", "kind", "match"), BAD_DATA, ids=range(len(BAD_DATA)))
def test_bad_data_are_refused(y: Any, kind: type[Exception], match: str) -> None:
    with pytest.raises(kind, match=match):
        _modes.kronecker_data(GOOD, y)


def test_libraries_are_not_mixed() -> None:
    other = next(b for b in BACKENDS if b.name == "strict-CPU_DEVICE")
    with pytest.raises(TypeError, match="one library"):
        _modes.kronecker_data([GOOD[0], other.asarray(GOOD[1])], np.ones((2, 3)))
    with pytest.raises(TypeError, match="one library"):
        _modes.kronecker_data(GOOD, other.asarray(np.ones((2, 3))))


def test_devices_are_not_mixed() -> None:
    cpu, gpu = (
        next(b for b in BACKENDS if b.name == f"strict-{d}") for d in ("CPU_DEVICE", "device1")
    )
    with pytest.raises(TypeError, match=r"factors\[1\] must lie on"):
        _modes.kronecker_data(
            [cpu.asarray(GOOD[0]), gpu.asarray(GOOD[1])], cpu.asarray(np.ones((2, 3)))
        )
