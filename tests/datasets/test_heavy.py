"""Heavy rows: their number, size, direction and place; rows in the worst order."""

import numpy as np
import pytest

from linalgkit import datasets
from linalgkit._core import array as core_array


def split(X, count):
    """Return the `count` largest rows, their places, and the rest."""
    order = np.argsort(np.linalg.norm(X, axis=1))
    return X[order[-count:], :], order[-count:], X[np.sort(order[:-count]), :]


def top(X):
    return np.linalg.norm(X, 2) ** 2


class TestHeavyRows:
    @pytest.mark.parametrize("dtype", ["float64", "complex128"])
    @pytest.mark.parametrize("kind", ["aligned", "random", "giant"])
    def test_norms_are_the_share_of_the_light_rows_energy(self, kind, dtype):
        count = 1 if kind == "giant" else 12
        X = datasets.heavy_rows(2000, 20, kind=kind, dtype=dtype, rng=0)
        heavy, _, light = split(X, count)
        share = 2.0 if kind == "giant" else 0.15
        assert X.shape == (2000, 20)
        assert np.allclose(np.linalg.norm(heavy, axis=1) ** 2, share * top(light), rtol=1e-12)

    def test_aligned_rows_have_one_direction_and_random_ones_have_not(self):
        ranks = {}
        for kind in ("aligned", "random"):
            heavy, _, _ = split(datasets.heavy_rows(2000, 20, kind=kind, rng=1), 12)
            ranks[kind] = int(np.linalg.matrix_rank(heavy))
        assert ranks == {"aligned": 1, "random": 12}

    def test_places_are_random(self):
        places = np.concatenate(
            [split(datasets.heavy_rows(200, 5, share=1, rng=seed), 12)[1] for seed in range(50)]
        )
        # The mean of 600 places, uniform on 0..199, has standard deviation 2.4.
        assert abs(places.mean() - 99.5) < 12
        assert np.unique(places).size > 150

    def test_the_light_rows_decide_without_them(self):
        X = datasets.heavy_rows(4000, 30, rng=2)
        heavy, _, light = split(X, 12)
        with_them = np.linalg.svd(X)[2][0]
        direction = heavy[0] / np.linalg.norm(heavy[0])
        assert abs(with_them @ direction) > 0.95
        assert abs(np.linalg.svd(light)[2][0] @ direction) < 0.9

    def test_precision_and_library_follow_the_arguments(self, xp):
        like = xp.asarray(np.ones(1), "float32")
        X = datasets.heavy_rows(50, 4, like=like, rng=3)
        assert core_array.array_namespace(X) is xp.xp
        assert np.array_equal(xp.to_numpy(X), datasets.heavy_rows(50, 4, rng=3).astype(np.float32))

    @pytest.mark.parametrize(
        ("options", "why"),
        [
            ({"kind": "giants"}, "Did you mean 'giant'"),
            ({"n_heavy": 51}, r"between 0 and 50 \(the number of rows\), got 51"),
            ({"share": -0.1}, "share must be at least 0"),
            ({"gap": 0.1}, "gap must be at least 1"),
        ],
    )
    def test_bad_arguments_are_refused(self, options, why):
        with pytest.raises(ValueError, match=why):
            datasets.heavy_rows(50, 4, **options)


class TestSortedByProjection:
    def test_sizes_fall_or_rise(self, xp, rng):
        X, v = rng.standard_normal((40, 3)), rng.standard_normal((3, 1))
        for descending in (True, False):
            Y = datasets.sorted_by_projection(xp.asarray(X), xp.asarray(v), descending=descending)
            assert core_array.device(Y) == xp.device
            size = np.abs(xp.to_numpy(Y) @ v[:, 0])
            step = np.diff(size) * (-1 if descending else 1)
            assert step.min() >= -1e-6
            assert np.allclose(np.sort(xp.to_numpy(Y), axis=0), np.sort(X, axis=0), rtol=1e-6)

    def test_the_top_singular_vector_is_the_default(self):
        X, _ = datasets.spiked_covariance(300, 6, 9.0, dtype="complex128", rng=4)
        v = np.linalg.svd(X)[2][0].conj()
        expected = datasets.sorted_by_projection(X, v)
        assert np.array_equal(datasets.sorted_by_projection(X), expected)

    def test_the_argument_stays_as_it_was(self, rng):
        X = rng.standard_normal((10, 2))
        before = X.copy()
        datasets.sorted_by_projection(X)
        assert np.array_equal(X, before)

    def test_bad_arguments_are_refused(self):
        with pytest.raises(ValueError, match="X must be 2-D"):
            datasets.sorted_by_projection(np.ones(3))
        with pytest.raises(TypeError, match="descending must be True or False"):
            datasets.sorted_by_projection(np.eye(2), descending="yes")
