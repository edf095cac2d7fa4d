"""Streaming eigenvectors in parts: the answer of one stream, whatever the parts."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import array_api_strict
import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from dask.callbacks import Callback
from dask.utils import key_split

from linalgkit import AccuracyWarning
from linalgkit._core.array import to_numpy
from linalgkit.distributed import fit, top_eigenvector
from linalgkit.streaming import StreamingEigh, StreamingEighResult

D, N, PART = 12, 16000, 2300

RANDOM_ORDER: list[dict[str, Any]] = [
    {"method": "block-power"},
    {"method": "block-power", "history": False, "n_rows": N},
    {"method": "portfolio", "n_components": 2},
    {"method": "portfolio", "center": True},
]
MERGED: list[dict[str, Any]] = [
    {"method": "gram"},
    {"method": "gram", "center": True, "n_components": 3},
    {"method": "nystrom"},
    {"method": "nystrom", "center": True, "n_oversamples": 4},
]


def _ids(options: dict[str, Any]) -> str:
    return "-".join(str(v) for v in options.values())


def _rows(seed: int = 0, n: int = N, *, giants: int = 5) -> Any:
    """Rows with one strong direction, and a few that are far larger than the others."""
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((n, D))
    A[:, 3] *= 3.0
    A[rng.choice(n, giants, replace=False)] *= 300.0
    return A


def _cut(A: Any, convert: Callable[[Any], Any] = lambda x: x, part: int = PART) -> list[Any]:
    return [dask.delayed(convert)(A[i : i + part]) for i in range(0, A.shape[0], part)]


def _model(**options: Any) -> StreamingEigh:
    return StreamingEigh(**{"rng": 3, "gap_warn": 0, **options})


def _same(a: StreamingEighResult, b: StreamingEighResult, tol: float = 1e-12) -> None:
    """Everything agrees to rounding, the certificate included."""
    scale = float(a.eigenvalues[0])
    lam, V = (
        [to_numpy(getattr(r, f"eigen{kind}")) for r in (a, b)] for kind in ("values", "vectors")
    )
    np.testing.assert_allclose(lam[1], lam[0], rtol=0, atol=tol * scale)
    np.testing.assert_allclose(V[1], V[0], rtol=0, atol=100 * tol)
    for name in ("gap", "error_estimate", "order_zscore", "frobenius_norm"):
        first, second = getattr(a, name), getattr(b, name)
        np.testing.assert_allclose(second, first, rtol=1e5 * tol, err_msg=name)
    for name in ("n_rows", "n_heavy", "n_heavy_required", "method", "candidate", "status"):
        assert getattr(a, name) == getattr(b, name), name


# -------------------------------------------------------------------- as one stream would


@pytest.mark.parametrize("options", [*MERGED, *RANDOM_ORDER], ids=_ids)
def test_parts_give_the_answer_of_one_stream(options: dict[str, Any]) -> None:
    A = _rows()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AccuracyWarning)
        serial = _model(**options).fit(A).result()
        parts = fit(_model(**options), _cut(A)).result()
    if options in MERGED:  # estimates from the rows of one part, or their number
        assert parts.gap == pytest.approx(serial.gap, rel=0.1)
        assert parts.error_estimate == pytest.approx(serial.error_estimate, rel=0.5)
        parts = replace(parts, gap=serial.gap, error_estimate=serial.error_estimate)
    _same(serial, parts)


def test_segments_are_shared_by_all_parts_that_have_rows_of_them() -> None:
    class Seen(Callback):
        names: list[str]

        def _posttask(self, key: Any, *_: Any) -> None:
            self.names.append(key_split(key))

    seen = Seen()
    seen.names = []
    with seen:
        fit(_model(method="block-power"), _cut(_rows()))
    n_products = seen.names.count("linalgkit-products")
    assert n_products >= 4  # 7 parts, of which 4 make the beginning
    assert seen.names.count("linalgkit-norms") <= n_products
    assert "linalgkit-segment" in seen.names


@pytest.mark.parametrize("part", [700, 1024, 5000, N])
def test_the_cuts_do_not_matter(part: int) -> None:
    A, options = _rows(), {"method": "block-power", "center": True}
    _same(_model(**options).fit(A).result(), fit(_model(**options), _cut(A, part=part)).result())


def test_segments_that_end_within_blocks_end_there() -> None:
    # 16000 rows in segments of 1778, blocks of 1024; giants in the blocks that are cut
    options = {"method": "block-power", "history": False, "n_rows": N, "max_heavy_rows": 8}
    A = _rows(giants=0)
    A[1700 + 1778 * np.arange(8)] *= 50.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AccuracyWarning)
        _same(_model(**options).fit(A).result(), fit(_model(**options), _cut(A)).result())


@pytest.mark.parametrize("options", [{"method": "gram"}, {"method": "portfolio"}], ids=_ids)
def test_sparse_complex_and_single_precision_rows_stay_what_they_are(
    options: dict[str, Any],
) -> None:
    A = _rows()
    thin = np.where(np.abs(A) < 1.5, 0.0, A)
    turned = A[:10000] * np.exp(1j * np.arange(D))
    for rows, convert, tol in (
        (thin, sp.csr_array, 1e-12),
        (turned, lambda x: x, 1e-12),
        (A.astype("float32"), lambda x: x, 1e-6),
    ):
        serial = _model(**options).fit(convert(rows)).result()
        parts = fit(_model(**options), _cut(rows, convert)).result()
        assert parts.eigenvectors.dtype == rows.dtype
        np.testing.assert_allclose(parts.eigenvalues, serial.eigenvalues, rtol=tol)
        np.testing.assert_allclose(parts.eigenvectors, serial.eigenvectors, atol=100 * tol)


@pytest.mark.parametrize("library", ["torch", "array_api_strict"])
@pytest.mark.parametrize("method", ["gram", "nystrom", "frequent-directions", "block-power"])
def test_blocks_of_other_libraries_stay_in_them(library: str, method: str) -> None:
    xp = pytest.importorskip(library)
    A = _rows(n=10000 if method == "block-power" else 1200, giants=0)
    part = A.shape[0] // 4
    result = fit(_model(method=method), _cut(A, xp.asarray, part)).result()
    expected = _model(method=method).fit(xp.asarray(A)).result()
    assert type(result.eigenvectors) is type(xp.asarray(A))
    np.testing.assert_allclose(
        to_numpy(result.eigenvectors), to_numpy(expected.eigenvectors), atol=1e-10
    )


def test_a_device_that_is_not_the_default_one_is_kept() -> None:
    xp = array_api_strict
    where = xp.Device("device1")
    A = _rows(n=9500, giants=0)
    blocks = _cut(A, lambda x: xp.asarray(x, device=where))
    for method in ("gram", "block-power"):
        assert fit(_model(method=method), blocks).result().eigenvectors.device == where


@pytest.mark.parametrize("factor", [1e150, 1e-150])
@pytest.mark.parametrize("options", [{"method": "gram"}, RANDOM_ORDER[3]], ids=_ids)
def test_the_unit_of_the_rows_does_not_matter(options: dict[str, Any], factor: float) -> None:
    A = _rows(n=11000, giants=0)
    plain, scaled = (fit(_model(**options), _cut(x)) for x in (A, A * factor))
    np.testing.assert_allclose(scaled.components_, plain.components_, atol=1e-12)
    np.testing.assert_allclose(scaled.singular_values_ / factor, plain.singular_values_, rtol=1e-12)


@pytest.mark.parametrize("center", [False, True])
def test_rows_that_grow_beyond_the_range_change_the_unit_once(center: bool) -> None:
    options = {"method": "block-power", "center": center}
    A = _rows(n=14000, giants=3) + 1.0
    A[11000:] *= 1e100
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AccuracyWarning)
        serial, parts = _model(**options).fit(A), fit(_model(**options), _cut(A))
        np.testing.assert_allclose(parts.singular_values_, serial.singular_values_, rtol=1e-12)
        np.testing.assert_allclose(parts.components_, serial.components_, atol=1e-12)
        assert parts.result().error_estimate == pytest.approx(serial.result().error_estimate)


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
@pytest.mark.parametrize("options", [MERGED[0], RANDOM_ORDER[3]], ids=_ids)
def test_every_scheduler_and_either_way_give_the_same_bits(
    options: dict[str, Any], scheduler: str
) -> None:
    A = _rows(n=12000)
    expected = fit(_model(**options), _cut(A)).result()
    with dask.config.set(scheduler=scheduler, num_workers=3):
        lazy = fit(_model(**options), _cut(A), compute=False)
        found = lazy.compute().result()
    assert key_split(lazy.key) == "linalgkit-finish"
    np.testing.assert_array_equal(found.eigenvectors, expected.eigenvectors)
    np.testing.assert_array_equal(found.eigenvalues, expected.eigenvalues)
    np.testing.assert_equal(
        (found.gap, found.error_estimate), (expected.gap, expected.error_estimate)
    )


# ------------------------------------------------------------------- what a merge promises


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("fanin", [2, 8])
def test_the_enclosure_of_merged_sketches_holds(fanin: int, center: bool) -> None:
    rng = np.random.default_rng(1)
    A = rng.standard_normal((4000, 40)) * np.geomspace(10.0, 1.0, 40) + center * 3.0
    k, size = 2, 12
    model = _model(method="frequent-directions", n_components=k, n_oversamples=size - k)
    model.center = center
    with pytest.warns(AccuracyWarning, match="may be far off"):
        found = fit(model, _cut(A, part=450), fanin=fanin).result()
    rows = A - A.mean(axis=0) if center else A
    exact = np.linalg.svd(rows, compute_uv=False) ** 2
    assert np.all(found.eigenvalues <= exact[:k] * (1 + 1e-12))
    assert np.all(exact[:k] <= (found.eigenvalues + found.excess) * (1 + 1e-12))
    assert 0.0 < found.excess <= exact[k:].sum() / (size - k) * (1 + 1e-12)


def test_weights_count_as_in_one_stream() -> None:
    A = _rows(n=5000)
    w = np.random.default_rng(2).exponential(size=5000)
    for method in ("gram", "nystrom"):
        serial = _model(method=method).partial_fit(A, sample_weight=w)
        for given in (w, da.from_array(w, chunks=900)):
            parts = fit(_model(method=method), _cut(A), sample_weight=given)
            np.testing.assert_allclose(parts.components_, serial.components_, atol=1e-12)
            np.testing.assert_allclose(
                parts.explained_variance_, serial.explained_variance_, rtol=1e-12
            )


def test_weighted_sketches_enclose_the_weighted_eigenvalue() -> None:
    A = _rows(n=3000, giants=0)
    w = np.random.default_rng(2).exponential(size=3000)
    model = _model(method="frequent-directions", n_oversamples=5)
    found = fit(model, _cut(A, part=500), sample_weight=w).result()
    exact = np.linalg.eigvalsh(A.T @ (A * w[:, None]))[-1]
    assert found.eigenvalues[0] <= exact * (1 + 1e-12)
    assert exact <= (found.eigenvalues[0] + found.excess) * (1 + 1e-12)


# ---------------------------------------------------------------------------- refinement


@pytest.mark.parametrize("compute", [True, False])
@pytest.mark.parametrize("method", ["block-power", "nystrom"])
def test_passes_over_the_parts_reach_full_accuracy(method: str, compute: bool) -> None:
    A = _rows(n=9000, giants=0) + 1.0
    model = _model(method=method, n_components=2, n_oversamples=3, center=True)
    found = fit(model, _cut(A), n_passes=6, compute=compute)
    result = (found if compute else found.compute()).result()
    _, s, Vh = np.linalg.svd(A - A.mean(axis=0), full_matrices=False)
    overlap = np.linalg.svd(Vh[:2] @ result.eigenvectors, compute_uv=False)
    np.testing.assert_allclose(overlap, 1.0, rtol=1e-12)
    np.testing.assert_allclose(result.eigenvalues, s[:2] ** 2, rtol=1e-12)
    assert result.residual_kind == "exact"
    assert result.residual < 1e-8


def test_no_pass_is_needed_where_nothing_is_left_to_improve() -> None:
    A = np.outer(np.arange(1.0, 101.0), [1.0, 2.0, 2.0])
    found = fit(_model(method="nystrom", n_oversamples=1), _cut(A, part=30), n_passes=4)
    assert found.result().eigenvalues[0] == pytest.approx(9.0 * np.sum(np.arange(101.0) ** 2))


def test_weighted_rows_are_not_refined() -> None:
    A = _rows(n=1000)
    with pytest.raises(ValueError, match="refine must see the rows as they were streamed"):
        fit(_model(method="gram"), _cut(A), sample_weight=np.ones(1000), n_passes=1)


# ------------------------------------------------------------------------------ the object


def test_the_object_handed_in_is_not_changed_and_the_new_one_goes_on() -> None:
    A = _rows(n=12000)
    model = _model(method="block-power").partial_fit(A[:50])
    before = model.to_state()
    found = fit(model, _cut(A[:10000]))
    np.testing.assert_equal(model.to_state(), before)
    assert found is not model
    assert found.get_params() == model.get_params()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AccuracyWarning)
        _same(_model(method="block-power").fit(A).result(), found.partial_fit(A[10000:]).result())


def test_without_a_seed_all_parts_draw_from_one_key_and_none_is_kept() -> None:
    A = _rows(n=3000)
    found = fit(_model(method="nystrom", n_oversamples=D - 1, rng=None), _cut(A, part=400))
    assert found.rng is None  # a sketch of all columns is exact, if all parts drew the same
    assert found.result().eigenvalues[0] == pytest.approx(np.linalg.norm(A, 2) ** 2, rel=1e-6)
    generator = np.random.default_rng(5)
    first, second = (
        fit(_model(method="nystrom", rng=generator), _cut(A, part=400)).rng for _ in range(2)
    )
    assert first != second


def test_the_default_is_exact_where_that_fits_and_shares_segments_where_not() -> None:
    A = _rows(n=9000)
    assert fit(_model(), _cut(A)).method_ == "gram"
    wide = np.random.default_rng(0).standard_normal((9000, 60))
    assert fit(_model(memory_budget=60 * 60 * 8 - 1), _cut(wide)).method_ == "portfolio"


def test_one_call_gives_the_result_of_the_serial_function() -> None:
    A = _rows(n=2000)
    found = top_eigenvector(da.from_array(A, chunks=(300, 5)), rng=0, n_components=2, gap_warn=0)
    exact = np.linalg.svd(A, compute_uv=False)[:2] ** 2
    np.testing.assert_allclose(found.eigenvalues, exact, rtol=1e-12)
    assert found.n_rows == 2000
    refined = top_eigenvector(
        [A], method="nystrom", n_oversamples=1, n_passes=8, fanin=2, rng=0, gap_warn=0
    )
    assert refined.eigenvalues[0] == pytest.approx(exact[0], rel=1e-12)


# --------------------------------------------------------------------------------- refusals


def _nan_at(row: int) -> Any:
    A = _rows(n=12000)
    A[row, 2] = np.nan
    return A


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"method": "oja"}, TypeError, 'method must not be "oja" in parts.*"frequent-directions"'),
        ({"forgetting": 0.9}, ValueError, "forgetting must be 1 in parts, got 0.9"),
        ({"method": "gram", "n_components": 13}, ValueError, "n_components must be between 1 and"),
        ({"method": "best"}, ValueError, "method must be one of"),
    ],
)
def test_options_that_parts_cannot_have_are_refused(
    options: dict[str, Any], error: Any, message: str
) -> None:
    with pytest.raises(error, match=message):
        fit(_model(**options), _cut(_rows(n=100), part=30))


def test_the_ladder_within_auto_is_refused_with_the_way_out() -> None:
    model = _model(order="arbitrary", memory_budget=D * D * 8 - 1)
    with pytest.raises(TypeError, match="the Oja ladder in it cannot be merged"):
        fit(model, _cut(_rows(n=100), part=30))


@pytest.mark.parametrize("method", ["gram", "block-power"])
def test_bad_rows_are_refused_wherever_they_are(method: str) -> None:
    for row in (5, 11000):
        with pytest.raises(ValueError, match="NaN"):
            fit(_model(method=method), _cut(_nan_at(row)))
    A = _rows(n=12000)
    for bad, error, message in (
        (A[:500, :7], ValueError, "7"),
        (A[:500] * 1j, TypeError, "complex"),
        (sp.csr_array(A[:500]), TypeError, "sparse"),
    ):
        with pytest.raises(error, match=message):
            fit(_model(method=method), [*_cut(A), bad])


@pytest.mark.parametrize("method", ["gram", "block-power"])
def test_parts_without_rows_count_for_nothing(method: str) -> None:
    A = _rows(n=10000)
    with_empty = [A[:0], *_cut(A), A[:0]]
    found = fit(_model(method=method), with_empty).result()
    _same(fit(_model(method=method), _cut(A)).result(), found)
    with pytest.raises(ValueError, match="source must have at least one row"):
        fit(_model(method=method), [A[:0], A[:0]])


def test_dataframes_keep_the_names_of_their_columns() -> None:
    A, names = _rows(n=10000), [f"c{i}" for i in range(D)]
    for options in ({}, {"method": "block-power"}):
        frames = _cut(A, lambda x: pd.DataFrame(x, columns=names))
        found = fit(_model(**options), frames, n_passes=1)
        assert found.feature_names_in_.tolist() == names
        expected = fit(_model(**options), _cut(A), n_passes=1)
        np.testing.assert_array_equal(found.components_, expected.components_)


def test_weights_are_refused_where_the_order_of_the_norms_matters() -> None:
    A = _rows(n=1000)
    with pytest.raises(ValueError, match="sample_weight must be None for the random-order"):
        fit(_model(method="portfolio"), _cut(A), sample_weight=np.ones(1000))
    for bad in (-1, 1.5):
        with pytest.raises((TypeError, ValueError), match="n_passes"):
            fit(_model(method="gram"), _cut(A), n_passes=bad)


# ------------------------------------------------------------------------- parts of all kinds

ALL = ["auto", "gram", "nystrom", "frequent-directions", "block-power", "portfolio"]


@pytest.mark.filterwarnings("ignore::linalgkit.AccuracyWarning")  # few rows for some methods
@pytest.mark.parametrize("is_known", [True, False], ids=["array", "delayed"])
@pytest.mark.parametrize("method", ALL)
def test_the_first_parts_may_be_empty(method: str, is_known: bool) -> None:
    X = np.random.default_rng(1).standard_normal((600, 6))
    X[:, 0] *= 5.0
    put = (lambda x: x) if is_known else dask.delayed
    blocks = [put(X[:0].astype("float32")), put(X[:0]), put(X[:350]), put(X[350:])]
    found = fit(StreamingEigh(method=method, gap_warn=0, rng=0), blocks)
    expected = np.linalg.svd(X, compute_uv=False)[0] ** 2
    assert found.n_samples_seen_ == 600
    np.testing.assert_allclose(found.result().eigenvalues[0], expected, rtol=0.1)
    with pytest.raises(ValueError, match="source must have at least one row"):
        fit(StreamingEigh(method=method, gap_warn=0), blocks[:2])


@pytest.mark.filterwarnings("ignore::linalgkit.AccuracyWarning")  # rows without a gap
@pytest.mark.parametrize("method", ALL)
def test_parts_take_the_dtype_of_the_first_and_errors_name_the_part(method: str) -> None:
    X = np.round(10.0 * np.random.default_rng(2).standard_normal((6000, 4)))
    blocks = [X[i : i + 1000] for i in range(0, 6000, 1000)]

    def found(*parts: np.ndarray) -> Any:
        model = StreamingEigh(method=method, gap_warn=0, rng=0)
        return fit(model, [dask.delayed(x) for x in parts]).result().eigenvectors.dtype

    last = blocks[-1]
    assert found(*blocks[:-1], last.astype("float32")) == np.float64
    single = [x.astype("float32") for x in blocks[:-1]]
    assert found(*single, last.astype(int)) == np.float32
    with pytest.raises(TypeError, match=r"float64 in block 5\. Convert it, or start with dtype="):
        found(*single, last)
    bad = last.copy()
    bad[123, 1] = np.nan
    with pytest.raises(ValueError, match=r"got one in block 6, row 123 "):
        found(*blocks[:2], X[:0], *blocks[2:-1], bad)
    with pytest.raises(ValueError, match=r"part 1 of source must have two axes, got shape \(4,\)"):
        found(X, X[0])


def test_unknown_options_are_told_with_those_that_are_known() -> None:
    with pytest.raises(
        TypeError,
        match=r"foo: not an option of fit for StreamingEigh\. Known are "
        "fanin, compute, sample_weight, n_passes",
    ):
        fit(StreamingEigh(), np.ones((4, 2)), foo=1)
