"""Sparse Bayesian learning from snapshots in parts: second moments alone count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest

from linalgkit import bayes
from linalgkit.bayes import KronSBL
from linalgkit.datasets import kronecker_sparse
from linalgkit.distributed import fit, kron_sbl
from tests.conftest import BACKENDS

SIZES, SNAPSHOTS = (5, 6), 23


def problem(snapshots: int = SNAPSHOTS) -> Any:
    return kronecker_sparse(SIZES, (8, 7), (2, 2), snr_db=15.0, snapshots=snapshots, rng=3)


def assert_same_bits(found: Any, expected: Any) -> None:
    assert np.array_equal(found.evidence, expected.evidence)
    assert np.array_equal(found.coef, expected.coef)
    assert found.noise_var == expected.noise_var
    for mine, its in zip(found.support, expected.support, strict=True):
        assert np.array_equal(mine, its)


def sources(y: np.ndarray, folder: Path) -> dict[str, Any]:
    flat = np.reshape(y, (-1, y.shape[-1]))
    np.save(folder / "y.npy", flat)
    return {
        "dask": da.from_array(y, chunks=(2, 6, 5)),
        "flat dask": da.from_array(flat, chunks=(7, 5)),
        "delayed": [dask.delayed(y[..., i : i + 4]) for i in range(0, SNAPSHOTS, 4)],
        "file": folder / "y.npy",
        "memmap": np.load(folder / "y.npy", mmap_mode="r"),
        "array": y,
        "one and more": [y[..., 0], y[..., 1:9], flat[:, 9:]],
    }


def test_every_source_gives_the_bits_of_the_serial_function(tmp_path: Path) -> None:
    made = problem()
    expected = bayes.kron_sbl(made.factors, made.y)
    for name, source in sources(made.y, tmp_path).items():
        found = kron_sbl(made.factors, source, fanin=2)
        assert np.array_equal(found.evidence, expected.evidence), name
        if name not in ("file", "memmap", "flat dask"):
            assert_same_bits(found, expected)


def test_factors_of_many_snapshots_keep_evidence_support_and_noise() -> None:
    made = problem(2500)
    y = da.from_array(made.y, chunks=(5, 6, 1200))
    found, expected = kron_sbl(made.factors, y, fanin=2), bayes.kron_sbl(made.factors, made.y)
    assert found.coef.shape[-1] < 2500
    np.testing.assert_allclose(found.evidence[-1], expected.evidence[-1], rtol=1e-9)
    np.testing.assert_allclose(found.noise_var, expected.noise_var, rtol=1e-7)
    for mine, its in zip(found.gamma, expected.gamma, strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-5, atol=1e-9 * np.max(its))
    for mine, its in zip(found.support, made.support, strict=True):
        assert np.array_equal(mine, its)


def test_parts_without_snapshots_change_nothing() -> None:
    made = problem()
    none, flat = made.y[..., :0], np.reshape(made.y, (-1, SNAPSHOTS))[:, :0]
    found = kron_sbl(made.factors, [none, made.y[..., :9], flat, made.y[..., 9:], none], fanin=2)
    assert_same_bits(found, bayes.kron_sbl(made.factors, made.y))
    with pytest.raises(ValueError, match="y must have at least one snapshot"):
        kron_sbl(made.factors, [none, flat])


def test_fit_is_lazy_and_leaves_the_model_alone() -> None:
    made = problem()
    y = da.from_array(made.y, chunks=(5, 6, 6))
    model = KronSBL(penalty=3.0)
    task = fit(model, made.factors, y, compute=False)
    found, again = task.compute(), task.compute()
    assert not hasattr(model, "_stream")
    assert found.n_snapshots_ == SNAPSHOTS
    expected = KronSBL(penalty=3.0).fit(made.factors, made.y)
    assert_same_bits(found.result(), expected.result())
    assert_same_bits(again.result(), expected.result())
    more = found.partial_fit(None, made.y)
    assert more.n_snapshots_ == 2 * SNAPSHOTS


def test_random_restarts_are_those_of_one_seed_and_callbacks_are_called() -> None:
    made, calls = problem(), []
    y = da.from_array(made.y, chunks=(5, 6, 6))
    options = {"restarts": 2, "rng": 5}
    found = kron_sbl(made.factors, y, callback=lambda *args: calls.append(args), **options)
    assert_same_bits(found, bayes.kron_sbl(made.factors, made.y, **options))
    assert calls


@pytest.mark.parametrize("name", ["torch", "strict-CPU_DEVICE"])
def test_other_libraries(name: str) -> None:
    backend = next((b for b in BACKENDS if b.name == name), None)
    if backend is None:
        pytest.skip(f"{name} is not installed")
    made = problem()
    factors = [backend.asarray(H) for H in made.factors]
    parts = [backend.asarray(made.y[..., i : i + 8]) for i in range(0, SNAPSHOTS, 8)]
    found = kron_sbl(factors, parts)
    assert type(found.coef) is type(factors[0])
    for mine, its in zip(found.support, made.support, strict=True):
        assert np.array_equal(backend.to_numpy(mine), its)


def test_bad_input_is_refused() -> None:
    made = problem()
    with pytest.raises(TypeError, match="no_such: not an option of kron_sbl"):
        kron_sbl(made.factors, made.y, no_such=1)
    with pytest.raises(ValueError, match="fanin must be"):
        kron_sbl(made.factors, made.y, fanin=1)
    with pytest.raises(ValueError, match="y must be given beside the factors"):
        fit(KronSBL(), made.factors)
    with pytest.raises(ValueError, match="y must hold at least one part"):
        kron_sbl(made.factors, [])
    with pytest.raises(TypeError, match="read only once"):
        kron_sbl(made.factors, iter([made.y]))
    with pytest.raises(ValueError, match="part 1 of y: y must not contain NaN"):
        kron_sbl(made.factors, [made.y, made.y * np.nan])
    with pytest.raises(ValueError, match=r"part 1 of y.*shape"):
        kron_sbl(made.factors, [made.y, made.y[:3]])
    with pytest.raises(TypeError, match="must be real as the stream was"):
        kron_sbl(made.factors, [made.y.real, made.y + 1j])


@pytest.mark.slow
def test_a_cluster_gives_the_bits_of_threads(cluster: Any) -> None:
    made = problem()
    y = da.from_array(made.y, chunks=(5, 6, 5))
    model = fit(KronSBL(), made.factors, y)
    assert_same_bits(model.result(), bayes.kron_sbl(made.factors, made.y))
