"""What every engine does alike: libraries, dtypes, degenerate streams, state."""

from __future__ import annotations

import copy
import math
import pickle
import re

import numpy as np
import pytest
import scipy.sparse

from linalgkit._core.operators import DenseOperator, as_operator
from linalgkit.streaming._arbitrary import ArbitraryOrder
from linalgkit.streaming._frequent_directions import FrequentDirections
from linalgkit.streaming._gram import Gram
from linalgkit.streaming._nystrom import Nystrom
from linalgkit.streaming._oja import OjaLadder
from tests.conftest import uncompiled
from tests.streaming.engine_streams import decaying, exact, feed, make, on, pairs, sin2, spiked

ENGINES = [Gram, Nystrom, FrequentDirections, OjaLadder, ArbitraryOrder]
SUMS = [Gram, Nystrom, FrequentDirections]

every_engine = pytest.mark.parametrize("cls", ENGINES, ids=lambda c: c.name)
sums_of_squares = pytest.mark.parametrize("cls", SUMS, ids=lambda c: c.name)


def steep(n: int, d: int, seed: int = 0, *, imaginary: bool = False) -> np.ndarray:
    """Rows on which every engine finds the leading direction."""
    spectrum = np.full(d, 1e-3)
    spectrum[0] = 1.0
    X = spiked(n, spectrum, seed, imaginary=imaginary)
    rng = np.random.default_rng([seed, 2])
    A = rng.standard_normal((d, d)) + (1j * rng.standard_normal((d, d)) if imaginary else 0)
    return X @ np.linalg.qr(A)[0].conj().T


def same_states(a: object, b: object) -> bool:
    """Compare two states bit for bit."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same_states(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same_states, a, b))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    return bool(a == b)


@every_engine
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
def test_finds_the_leading_direction_in_every_dtype(cls, dtype):
    X = steep(600, 20, imaginary=dtype.startswith("complex")).astype(dtype)
    lam, V = feed(make(cls, 20, like=X), X).top(1)
    assert lam.shape == (1,)
    assert V.shape == (20, 1)
    assert V.dtype == np.result_type(X.dtype, np.float64)
    truth = exact(X.astype(V.dtype))[1]
    assert sin2(V, truth[:, :1]) < (3e-2 if cls in (OjaLadder, ArbitraryOrder) else 1e-4)


@every_engine
def test_libraries_agree_to_rounding(cls, xp):
    X = steep(130, 12, imaginary=True)
    own = on(xp, X, "complex128" if xp.has_float64 else "complex64")
    engine, host = feed(make(cls, 12, like=own), own), feed(make(cls, 12, like=X), X)
    (lam, V), (mu, W) = pairs(engine, 1), pairs(host, 1)
    tolerance = 1e-11 if xp.has_float64 else 1e-3
    assert np.linalg.norm(V - W * (W.conj().T @ V)) < tolerance
    np.testing.assert_allclose(lam, mu, rtol=tolerance)
    error, own_error = (e.certificate()["error_estimate"] for e in (host, engine))
    assert own_error == pytest.approx(error, rel=1e-6 if xp.has_float64 else 1e-1)


@every_engine
def test_complex_rows_give_the_eigenvector_and_not_its_conjugate(cls):
    X = steep(800, 10, imaginary=True)
    _, V = pairs(feed(make(cls, 10, like=X), X), 1)
    truth = exact(X)[1][:, :1]
    assert sin2(V, truth) < 3e-2
    assert sin2(V.conj(), truth) > 0.3  # the control: conjugated data would pass unnoticed


@every_engine
@pytest.mark.parametrize(
    ("n", "d", "k"),
    [(1, 1, 1), (50, 1, 1), (1, 6, 2), (2, 6, 4), (40, 3, 3), (5, 40, 2), (3, 3, 1)],
)
def test_degenerate_shapes_give_orthonormal_vectors_and_no_nan(cls, n, d, k):
    X = np.random.default_rng(1).standard_normal((n, d))
    engine = feed(make(cls, d, k), X)
    lam, V = pairs(engine, k)
    assert lam.shape == (k,)
    assert np.all(np.isfinite(lam))
    assert np.all(lam >= 0)
    assert np.all(np.diff(lam) <= 0)
    np.testing.assert_allclose(V.T @ V, np.eye(k), atol=1e-12)
    certificate = engine.certificate()
    assert certificate["error_estimate"] >= 0 or math.isnan(certificate["error_estimate"])
    if cls in SUMS and n < d:  # as many rows as the sketch holds: nothing is lost
        np.testing.assert_allclose(lam, exact(X)[0][:k], rtol=1e-10, atol=1e-12 * exact(X)[0][0])


@every_engine
@pytest.mark.parametrize("imaginary", [False, True])
def test_all_zero_stream_has_eigenvalue_zero_and_orthonormal_vectors(cls, imaginary):
    X = np.zeros((200, 7), dtype=complex if imaginary else float)
    engine = feed(make(cls, 7, 2, like=X), X)
    lam, V = pairs(engine, 2)
    assert lam.tolist() == [0.0, 0.0]
    np.testing.assert_allclose(V.conj().T @ V, np.eye(2), atol=1e-12)
    assert engine.certificate()["lam1"] == 0.0


@every_engine
def test_answers_before_any_row_do_not_fail(cls):
    lam, V = pairs(make(cls, 5, 2), 2)
    assert lam.tolist() == [0.0, 0.0]
    np.testing.assert_allclose(V.T @ V, np.eye(2), atol=1e-12)


@every_engine
def test_leading_zeros_change_nothing_but_the_count(cls):
    X = steep(400, 9)
    b = make(cls, 9).block_rows
    _, V = pairs(feed(make(cls, 9), np.concatenate([np.zeros((2 * b, 9)), X])), 1)
    _, W = pairs(feed(make(cls, 9), X), 1)
    assert sin2(V, W) < 1e-20


@sums_of_squares
def test_rank_deficient_rows_are_recovered_to_rounding(cls):
    rng = np.random.default_rng(3)
    X = rng.standard_normal((500, 3)) @ rng.standard_normal((3, 30))
    lam, V = pairs(feed(make(cls, 30, 3), X), 5)
    w, U = exact(X)
    np.testing.assert_allclose(lam[:3], w[:3], rtol=1e-10)
    assert np.all(lam[3:] < 1e-10 * w[0])
    assert sin2(V[:, :3], U[:, :3]) < 1e-20


@every_engine
def test_blocks_are_never_written_to(cls):
    X = steep(300, 8)
    X.flags.writeable = False
    feed(make(cls, 8), X)


@every_engine
def test_a_result_in_mid_stream_disturbs_nothing(cls):
    X = steep(1000, 15)
    plain, asked = make(cls, 15, 2), make(cls, 15, 2)
    for start in range(0, 1000, 100):
        plain.update(DenseOperator(X[start : start + 100]))
        asked.update(DenseOperator(X[start : start + 100]))
        view = asked.finish()
        view.top(2)
        view.certificate()
        asked.top(1)
    feed(view, X)  # a view is its own stream
    assert same_states(plain_state(plain), plain_state(asked))


def plain_state(engine):
    """Return the state after pending numbers were fetched."""
    engine.certificate()
    return engine.to_state()


@uncompiled
@every_engine
def test_resumes_bit_for_bit(cls, tmp_path, xp):
    X = on(xp, steep(150, 11), "float64" if xp.has_float64 else "float32")
    straight = make(cls, 11, 2, like=X)
    feed(straight, X[:100, :], 50)
    straight.save(tmp_path / "engine.npz")
    resumed = cls.load(tmp_path / "engine.npz", like=X)
    again = cls.from_state(straight.to_state(), xp=xp.xp, device=xp.device)
    for engine in (straight, resumed, again):
        feed(engine, X[100:, :], 50)
    assert same_states(straight.to_state(), resumed.to_state())
    assert same_states(straight.to_state(), again.to_state())


@every_engine
def test_pickles_and_copies_go_on_alike(cls):
    X = steep(600, 9)
    engine = feed(make(cls, 9), X[:300])
    others = [pickle.loads(pickle.dumps(engine)), copy.deepcopy(engine)]
    feed(engine, X[300:])
    for other in others:
        feed(other, X[300:])
        assert same_states(engine.to_state(), other.to_state())


@every_engine
def test_rescaling_by_a_power_of_two_is_exact(cls):
    X = steep(512, 13)
    scaled = feed(make(cls, 13, 2), X[:256] * 2.0**9, 64)
    moved = feed(make(cls, 13, 2), X[:256], 64)
    moved.rescale(9)
    for engine in (scaled, moved):
        feed(engine, X[256:] * 2.0**9, 64)
    (lam, V), (mu, W) = pairs(scaled, 2), pairs(moved, 2)
    np.testing.assert_array_equal(lam, mu)
    np.testing.assert_array_equal(V, W)
    a, b = scaled.certificate(), moved.certificate()
    assert a["error_estimate"] == b["error_estimate"]


@every_engine
def test_any_scale_gives_the_same_vectors(cls):
    X = steep(400, 10)
    _, V = pairs(feed(make(cls, 10), X), 1)
    lam, W = pairs(feed(make(cls, 10), 3e40 * X), 1)
    assert sin2(V, W) < 1e-18
    np.testing.assert_allclose(lam[0], 9e80 * pairs(feed(make(cls, 10), X), 1)[0][0], rtol=1e-8)


@every_engine
def test_a_jump_of_scale_by_hundreds_of_orders_forgets_the_small_rows(cls):
    small, large = steep(300, 6, seed=4), steep(300, 6, seed=5)
    engine = feed(make(cls, 6), small)
    for _ in range(4):  # the rows so far were 1e-300 of what comes
        engine.rescale(-250)
    feed(engine, large)
    assert sin2(pairs(engine, 1)[1], exact(large)[1][:, :1]) < 3e-2


@sums_of_squares
def test_decay_weights_the_past(cls):
    X, factor = decaying(600, 12, 6), 0.3
    faded = feed(make(cls, 12, 2, **exact_size(cls, 12)), X[:300])
    faded.decay(factor)
    feed(faded, X[300:])
    weighted = np.concatenate([np.sqrt(factor) * X[:300], X[300:]])
    lam, V = pairs(faded, 2)
    w, U = exact(weighted)
    np.testing.assert_allclose(lam, w[:2], rtol=1e-10)
    assert sin2(V, U[:, :2]) < 1e-18
    assert abs(exact(X)[0][0] / w[0] - 1) > 0.1  # the control: without decay it is another answer


def exact_size(cls, d):
    """Return options under which a sketch loses nothing."""
    return {} if cls is Gram else {"sketch_size": d}


@every_engine
def test_decay_before_any_row_changes_nothing(cls):
    X = steep(300, 6)
    engine = make(cls, 6)
    engine.decay(0.5)
    assert sin2(pairs(feed(engine, X), 1)[1], pairs(feed(make(cls, 6), X), 1)[1]) < 1e-20


@every_engine
@pytest.mark.parametrize("imaginary", [False, True])
def test_sparse_rows_give_what_dense_rows_give(cls, imaginary):
    X = steep(400, 25, imaginary=imaginary)
    X[np.random.default_rng(8).random(X.shape) < 0.6] = 0.0
    sparse, dense = make(cls, 25, 2, like=X), make(cls, 25, 2, like=X)
    for start in range(0, 400, 50):
        rows = scipy.sparse.csr_array(X[start : start + 50])
        sparse.update(as_operator(rows))
        dense.update(DenseOperator(X[start : start + 50]))
    (lam, V), (mu, W) = pairs(sparse, 2), pairs(dense, 2)
    np.testing.assert_allclose(lam, mu, rtol=1e-9)
    assert sin2(V, W) < 1e-14


@pytest.mark.parametrize("cls", SUMS, ids=lambda c: c.name)
def test_merging_unlike_states_names_the_field_and_both_values(cls):
    with pytest.raises(ValueError, match=r"d must agree.*5.*6"):
        make(cls, 5).merge(make(cls, 6))
    with pytest.raises(ValueError, match=re.escape("n_components must agree")):
        make(cls, 5, 1).merge(make(cls, 5, 2))
    with pytest.raises(ValueError, match=r"dtype_name must agree.*float64.*float32"):
        make(cls, 5).merge(make(cls, 5, like=np.empty(0, dtype=np.float32)))
    with pytest.raises(TypeError, match="only objects of one class"):
        make(cls, 5).merge(make(OjaLadder, 5))


@pytest.mark.parametrize("cls", [OjaLadder, ArbitraryOrder], ids=lambda c: c.name)
def test_ladders_refuse_to_merge_and_name_methods_that_do(cls):
    with pytest.raises(TypeError, match=r"frequent-directions"):
        make(cls, 5).merge(make(cls, 5))


@every_engine
def test_states_of_another_engine_are_refused(cls):
    other = Gram if cls is not Gram else Nystrom
    with pytest.raises(ValueError, match="state must be that of"):
        cls.from_state(make(other, 4).to_state())
