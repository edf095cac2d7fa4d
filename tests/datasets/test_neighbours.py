"""Neighbour equations: the matrix that two loops would write down, block by block."""

import numpy as np
import pytest

from linalgkit import datasets
from linalgkit._core import array as core_array


@pytest.fixture
def images(rng):
    shapes = [(9, 12, 3), (6, 7, 3)]
    return [rng.integers(256, size=shape).astype(np.uint8) for shape in shapes]


def by_hand(images, size, channel):
    """Return matrix and right side by two loops over the pixels."""
    half, rows, values = size // 2, [], []
    for image in images:
        for i in range(half, image.shape[0] - half):
            for j in range(half, image.shape[1] - half):
                square = image[i - half : i + half + 1, j - half : j + half + 1, :].astype(float)
                values.append(square[half, half, channel])
                square[half, half, channel] = np.nan
                rows.append([*square[~np.isnan(square)], 1.0])
    return np.asarray(rows), np.asarray(values)


@pytest.mark.parametrize(("size", "channel", "block_rows"), [(5, 1, 8), (3, 0, 1000), (1, 2, 7)])
def test_equals_two_loops(images, size, channel, block_rows):
    equations = datasets.neighbour_equations(images, size, channel=channel, block_rows=block_rows)
    A, b = by_hand(images, size, channel)
    pairs = list(equations)
    assert len(pairs) == len(equations)
    assert (equations.n_rows, equations.n_columns) == A.shape
    assert np.array_equal(np.concatenate([a for a, _ in pairs]), A)
    assert np.array_equal(np.concatenate([b for _, b in pairs]), b)


def test_every_library_gives_the_same_equations(xp, images):
    like = xp.asarray(np.ones(1))
    for (A, b), (A0, b0) in zip(
        datasets.neighbour_equations(images, 3, like=like),
        datasets.neighbour_equations(images, 3),
        strict=True,
    ):
        assert core_array.library_of(A) == core_array.library_of(like)
        assert core_array.device(b) == xp.device
        assert np.array_equal(xp.to_numpy(A), A0)
        assert np.array_equal(xp.to_numpy(b), b0)


def test_coefficients_are_seen_where_their_pixels_are(images):
    equations = datasets.neighbour_equations(images, 3, channel=2)
    patch = equations.as_patch(np.arange(1.0, 28.0))
    assert patch.shape == equations.patch_shape == (3, 3, 3)
    assert patch[1, 1, 2] == 0
    assert np.array_equal(patch[patch != 0], np.arange(1.0, 27.0))
    with pytest.raises(ValueError, match=r"x must have shape \(27,\), got \(3,\)"):
        equations.as_patch(np.ones(3))


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"size": 4}, "size must be odd, so that there is a middle pixel, got 4"),
        ({"channel": 3}, "channel must be between 0 and 2, got 3"),
        ({"size": 7}, "at least 7 pixels high and wide"),
    ],
)
def test_what_cannot_be_asked_is_refused(images, options, why):
    with pytest.raises(ValueError, match=why):
        datasets.neighbour_equations(images, **options)


def test_grey_images_are_refused_with_the_way_out(rng):
    with pytest.raises(ValueError, match=r"image\[:, :, None\] is an image of one channel"):
        datasets.neighbour_equations(rng.standard_normal((9, 9)))


def test_the_blocks_are_the_callers_own(images):
    first, _ = next(iter(datasets.neighbour_equations(images, 3)))
    first[:] = -1.0
    again, _ = next(iter(datasets.neighbour_equations(images, 3)))
    assert again.min() >= 0.0
