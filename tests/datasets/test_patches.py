"""Patches: every one, once, in the order asked for, whatever the blocks."""

import tracemalloc

import numpy as np
import pytest

from linalgkit import datasets
from linalgkit._core import array as core_array


def by_hand(image, size):
    """Return all patches by two loops."""
    rows, columns = image.shape[0] - size + 1, image.shape[1] - size + 1
    return np.asarray(
        [image[i : i + size, j : j + size].ravel() for i in range(rows) for j in range(columns)],
        dtype=float,
    )


@pytest.fixture
def images(rng):
    shapes = [(9, 12, 3), (7, 7, 3)]
    return [rng.integers(256, size=shape).astype(np.uint8) for shape in shapes]


class TestReadingOrder:
    @pytest.mark.parametrize("block_rows", [1, 7, 48, 1000])
    def test_equals_two_loops(self, images, block_rows):
        patches = datasets.image_patches(images, 5, block_rows=block_rows)
        blocks = list(patches)
        assert len(blocks) == len(patches)
        assert blocks[0].dtype == np.float64
        expected = np.concatenate([by_hand(image, 5) for image in images])
        assert (patches.n_rows, patches.n_columns) == expected.shape
        assert np.array_equal(np.concatenate(blocks), expected)

    def test_grey_images_have_no_channel_axis(self, rng):
        image = rng.standard_normal((6, 5))
        patches = datasets.image_patches(image, 3)
        assert patches.patch_shape == (3, 3)
        assert np.array_equal(np.concatenate(list(patches)), by_hand(image, 3))

    def test_a_row_can_be_seen_again(self, images):
        patches = datasets.image_patches(images[0], 5)
        assert patches.patch_shape == (5, 5, 3)
        first = next(iter(patches))[0].reshape(patches.patch_shape)
        assert np.array_equal(first, images[0][:5, :5, :])

    def test_a_patch_may_be_the_whole_image(self, images):
        patches = datasets.image_patches(images[1], 7)
        assert np.array_equal(next(iter(patches)), images[1].reshape(1, -1))


class TestRandomOrder:
    def test_every_patch_once_and_mixed_across_images(self, rng):
        images = [np.zeros((20, 20)), np.ones((20, 20))]
        images[0] += np.arange(400).reshape(20, 20) / 1000
        images[1] += np.arange(400).reshape(20, 20) / 1000
        options = {"order": "random", "rng": 3, "block_rows": 50}
        rows = np.concatenate(list(datasets.image_patches(images, 4, **options)))
        expected = np.concatenate([by_hand(image, 4) for image in images])
        assert not np.array_equal(rows, expected)
        order = np.lexsort(rows.T)
        assert np.array_equal(rows[order], expected[np.lexsort(expected.T)])
        # Of 578 patches half come from each image, and so in every half of the stream.
        first_half = rows[:289, 0] >= 1
        assert 100 < first_half.sum() < 190

    def test_rows_do_not_depend_on_the_blocks_and_readings(self, images):
        streams = [
            datasets.image_patches(images, 3, order="random", block_rows=b, rng=4)
            for b in (5, 1000)
        ]
        found = [np.concatenate(list(s)) for s in (*streams, *streams)]
        assert all(np.array_equal(found[0], other) for other in found)

    def test_seeds_differ(self, images):
        a, b = (
            next(iter(datasets.image_patches(images, 3, order="random", rng=seed)))
            for seed in (0, 1)
        )
        assert not np.array_equal(a, b)


def test_patches_are_never_held_at_once():
    image = np.zeros((300, 300, 3), dtype=np.uint8)
    patches = datasets.image_patches(image, 8, order="random", block_rows=100, rng=0)
    tracemalloc.start()
    for block in patches:
        assert block.shape[1] == 192
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    integers = 8 * patches.n_rows
    assert peak < 3 * integers + 5 * 8 * 100 * 192  # all patches are 130 MB


def test_blocks_come_in_the_library_of_like(xp, images):
    like = xp.asarray(np.ones(1), "float32")
    block = next(iter(datasets.image_patches(images, 5, like=like)))
    assert core_array.array_namespace(block) is xp.xp
    assert core_array.device(block) == xp.device
    assert np.array_equal(xp.to_numpy(block), next(iter(datasets.image_patches(images, 5))))


@pytest.mark.parametrize(
    ("images", "options", "kind", "why"),
    [
        (np.ones((5, 5)), {"size": 6}, ValueError, "least 6 pixels high and wide, got .5, 5."),
        (np.ones((5, 5)), {"size": 0}, ValueError, "size must be at least 1"),
        (np.ones((5, 5)), {"block_rows": 0}, ValueError, "block_rows must be at least 1"),
        (np.ones((5, 5)), {"order": "shuffled"}, ValueError, "order must be one of"),
        (np.ones(25), {}, ValueError, "images must have shape"),
        (np.ones((9, 9, 0)), {}, ValueError, "images must have shape"),
        ([np.ones((9, 9)), np.ones((9, 9, 3))], {}, ValueError, "the same channels"),
        ([], {}, ValueError, "at least one image"),
        (np.ones((9, 9), complex), {}, TypeError, "real numbers, got complex128 in image 0"),
        (["text"], {}, TypeError, "real numbers"),
    ],
)
def test_bad_arguments_are_refused_at_the_call(images, options, kind, why):
    with pytest.raises(kind, match=why):
        datasets.image_patches(images, **options)
