"""Spiked and power-law rows: their law, and that nothing but the seed decides them."""

import math
import tracemalloc

import numpy as np
import pytest

from linalgkit import datasets
from linalgkit._core import array as core_array


def covariance(X):
    return X.conj().T @ X / X.shape[0]


class TestLaw:
    @pytest.mark.parametrize("dtype", ["float64", "complex128"])
    def test_covariance_is_the_one_promised(self, dtype):
        n, d, gap = 40000, 8, [9.0, 4.0]
        X, V = datasets.spiked_covariance(n, d, gap, dtype=dtype, rng=1)
        expected = np.eye(d) + (V * (np.asarray(gap) - 1)) @ V.conj().T
        # An entry of the sample covariance has standard deviation at most sqrt(2 * 81 / n).
        assert np.abs(covariance(X) - expected).max() < 6 * math.sqrt(2 * 81 / n)
        without_conjugate = np.eye(d) + (V * (np.asarray(gap) - 1)) @ V.T
        if dtype == "complex128":
            assert np.abs(covariance(X) - without_conjugate).max() > 1

    def test_complex_rows_are_circular(self):
        X, _ = datasets.spiked_covariance(20000, 4, 1.0, dtype="complex128", rng=2)
        assert np.abs(X.T @ X / 20000).max() < 0.05
        assert np.abs(covariance(X) - np.eye(4)).max() < 0.05

    def test_directions_are_orthonormal_with_real_positive_largest_entry(self):
        _, V = datasets.spiked_covariance(1, 30, 5, n_components=4, dtype="complex128", rng=3)
        assert np.abs(V.conj().T @ V - np.eye(4)).max() < 1e-14
        top = V[np.argmax(np.abs(V), axis=0), range(4)]
        assert np.all(top.real > 0)
        assert np.abs(top.imag).max() < 1e-15

    @pytest.mark.parametrize("exponent", [0.0, 0.5, 2.0])
    def test_columns_of_a_power_law_decay(self, exponent):
        X = datasets.power_law_rows(20000, 6, exponent=exponent, rng=4)
        scaled = X.std(axis=0) * np.arange(1, 7) ** exponent
        assert np.abs(scaled - 1).max() < 6 / math.sqrt(2 * 20000)

    def test_rotation_keeps_the_spectrum_and_hides_the_axes(self):
        options = {"exponent": 1.0, "dtype": "complex128", "rng": 5}
        X = datasets.power_law_rows(400, 6, **options)
        Y = datasets.power_law_rows(400, 6, rotate=True, **options)
        values = [np.linalg.svd(A, compute_uv=False) for A in (X, Y)]
        assert np.abs(values[0] - values[1]).max() < 1e-12 * values[0][0]
        assert np.abs(np.linalg.norm(X, axis=0) - np.linalg.norm(Y, axis=0)).max() > 1


class TestSeed:
    @pytest.mark.parametrize("block_rows", [1, 7, 256, 300, 1000, 5000])
    def test_rows_do_not_depend_on_the_blocks(self, block_rows):
        X, V = datasets.spiked_covariance(1000, 5, 4.0, rng=6)
        stream = datasets.spiked_stream(1000, 5, 4.0, block_rows=block_rows, rng=6)
        blocks = list(stream)
        assert len(blocks) == len(stream)
        assert {b.shape[0] for b in blocks[:-1]} <= {block_rows}
        assert np.concatenate(blocks).tobytes() == X.tobytes()
        assert stream.V.tobytes() == V.tobytes()

    def test_a_longer_stream_begins_with_the_shorter_one(self):
        X, _ = datasets.spiked_covariance(1000, 5, 4.0, rng=6)
        Y, _ = datasets.spiked_covariance(300, 5, 4.0, rng=6)
        assert X[:300, :].tobytes() == Y.tobytes()

    def test_a_stream_can_be_read_again(self):
        stream = datasets.spiked_stream(600, 3, 4.0, rng=7)
        first, second = (np.concatenate(list(stream)) for _ in range(2))
        assert first.tobytes() == second.tobytes()

    def test_two_readings_do_not_disturb_each_other(self):
        stream = datasets.spiked_stream(600, 3, 4.0, rng=7)
        for a, b in zip(stream, stream, strict=True):
            assert np.array_equal(a, b)

    def test_a_generator_gives_new_rows_at_each_call(self):
        rng = np.random.default_rng(8)
        X, Y = (datasets.spiked_covariance(10, 3, 4.0, rng=rng)[0] for _ in range(2))
        assert not np.array_equal(X, Y)

    @pytest.mark.parametrize("dtype", ["float32", np.float32, np.dtype("float32")])
    def test_precisions_see_the_same_rows(self, dtype):
        X, V = datasets.spiked_covariance(100, 5, 4.0, rng=9)
        Y, W = datasets.spiked_covariance(100, 5, 4.0, dtype=dtype, rng=9)
        assert Y.dtype == W.dtype == np.float32
        assert np.array_equal(X.astype(np.float32), Y)
        assert np.array_equal(V.astype(np.float32), W)

    def test_rows_come_in_the_library_of_like(self, xp):
        X, V = datasets.spiked_covariance(300, 5, 4.0, dtype="float32", rng=9)
        like = xp.asarray(np.ones(1), "float32")
        stream = datasets.spiked_stream(300, 5, 4.0, like=like, rng=9)
        blocks = list(stream)
        for A in (*blocks, stream.V):
            assert core_array.array_namespace(A) is xp.xp
            assert core_array.device(A) == xp.device
            assert core_array.dtype_name(xp.xp, A.dtype) == "float32"
        assert np.array_equal(np.concatenate([xp.to_numpy(b) for b in blocks]), X)
        assert np.array_equal(xp.to_numpy(stream.V), V)
        Y = datasets.power_law_rows(10, 3, like=like, rng=9)
        assert core_array.array_namespace(Y) is xp.xp


def test_a_stream_is_never_held_at_once():
    def peak(n):
        stream = datasets.spiked_stream(n, 50, 4.0, block_rows=100, rng=0)
        tracemalloc.start()
        rows = sum(block.shape[0] for block in stream)
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert rows == n
        return held

    peak(2000)
    assert peak(40000) < 1.05 * peak(4000)


def test_own_tiles_make_a_stream():
    stream = datasets.RowStream(lambda rng: rng.uniform(size=(256, 2)), 700, 2, rng=0)
    assert np.array_equal(np.concatenate(list(stream)), stream.toarray())
    assert repr(stream) == "RowStream(700 x 2 float64, 3 blocks of 256 rows)"


@pytest.mark.parametrize(
    ("call", "kind", "why"),
    [
        (lambda: datasets.spiked_covariance(-1, 3, 2), ValueError, "n must be at least 0"),
        (
            lambda: datasets.spiked_covariance(5, 1, [2, 3]),
            ValueError,
            "d must be at least 2 for 2",
        ),
        (lambda: datasets.spiked_covariance(5, 3, 0.5), ValueError, "gap must be at least 1"),
        (lambda: datasets.spiked_covariance(5, 3, []), ValueError, "gap must be a number or at"),
        (lambda: datasets.spiked_covariance(5, 3, "4"), TypeError, "gap must be a real number"),
        (lambda: datasets.spiked_covariance(5, 3, 2, dtype="int64"), ValueError, "dtype must be"),
        (lambda: datasets.spiked_covariance(5, 3, 2, n_components=0), ValueError, "n_components"),
        (lambda: datasets.spiked_stream(5, 3, 2, block_rows=0), ValueError, "block_rows must be"),
        (lambda: datasets.spiked_stream(5, 3, 2, rng="0"), TypeError, "rng must be None"),
        (lambda: datasets.power_law_rows(5, 3, exponent=-1), ValueError, "exponent must be at"),
        (lambda: datasets.power_law_rows(5, 3, rotate=1), TypeError, "rotate must be True or"),
    ],
)
def test_bad_arguments_are_refused_at_the_call(call, kind, why):
    with pytest.raises(kind, match=why):
        call()
