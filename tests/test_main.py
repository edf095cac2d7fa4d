"""The main job: ``python -m linalgkit``."""

from __future__ import annotations

import ctypes
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import threadpoolctl
from matplotlib import pyplot
from matplotlib.image import imread

import linalgkit.__main__ as job
from linalgkit._demos import (
    DEMOS,
    Context,
    _callables,
    _canonical,
    _compression,
    _crystal,
    _data,
    _many_unknowns,
    _measure,
    _ratings,
    _restored,
    _rows_of_patches,
    _surrogates,
    _tiles,
    _uplink,
    sampling,
)
from linalgkit.chebyshev import chebtucker
from linalgkit.datasets import low_rank_entries, sodium_chloride
from tests.test_demo_report import Page

PICTURES = (
    "eigen-patches.png",
    "spectrum.png",
    "neighbour-filter.png",
    "singular-values.png",
    "sampling-points.png",
    "sampling-errors.png",
    "bayes-channels.png",
    "bayes-million.png",
    "chebyshev-crystal.png",
    "chebyshev-errors.png",
    "chebyshev-data.png",
    "completion-photograph.png",
)


@pytest.fixture(autouse=True)
def close() -> Iterator[None]:
    """Leave no figure behind: matplotlib warns of too many."""
    yield
    pyplot.close("all")


@pytest.fixture
def few_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seeds of the designs are enough to see that all goes together."""
    monkeypatch.setattr(sampling, "_TRIALS", 2)
    monkeypatch.setattr(_surrogates, "_FRESH", 2_000)
    monkeypatch.setattr(_surrogates, "_MANY", 5_000)
    monkeypatch.setattr(_uplink, "_SNRS", (4, 12))
    monkeypatch.setattr(_uplink, "_CHANNELS", 1)
    monkeypatch.setattr(_many_unknowns, "_DRAWS", 1)
    cases = [case._replace(cells=min(case.cells, 2)) for case in _crystal._CASES]
    monkeypatch.setattr(_crystal, "_CASES", cases[:1] + cases[2:])
    monkeypatch.setattr(_crystal, "_POINTS", 2_000)
    monkeypatch.setattr(_crystal, "_PAIRS", 10_000)
    monkeypatch.setattr(_compression, "_GRID", 33)
    monkeypatch.setattr(_callables, "_POINTS", 2_000)
    monkeypatch.setattr(_callables, "_FRESH", 2_000)
    monkeypatch.setattr(_callables, "_TOLS", (1e-2, 1e-4))
    monkeypatch.setattr(_ratings, "SIZE", _ratings.Size(120, 80, 2, 3_000))
    monkeypatch.setattr(_ratings, "_ASKED", 500)
    monkeypatch.setattr(_restored, "_ASKED", 500)
    monkeypatch.setattr(_restored, "_PIECE", (24, 30))


@pytest.fixture
def small_photographs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two small pictures with structure instead of the sample photographs."""
    y, x = np.mgrid[0:40, 0:52]
    waves = [np.cos(x / 5 + k) + np.sin(y / (3 + k)) for k in range(3)]
    picture = np.stack(waves, axis=2) * 60 + 128
    noise = np.random.default_rng(0).normal(0, 3, (2, *picture.shape))
    images = [np.clip(picture + n, 0, 255).astype(np.uint8) for n in noise]
    real = job._from_scikit_learn

    def find(name: str) -> Any:
        if name == "datasets.load_sample_images":
            return lambda: SimpleNamespace(images=images)
        return real(name)

    monkeypatch.setattr(job, "_from_scikit_learn", find)


def canonical(path: Path, n: int = 100) -> Path:
    """Save a sum of Gaussians, one of which no grid of n cells resolves."""
    x = _canonical.cells(n)
    widths = np.asarray([1.0, 3.0, 3.0, 1e4])
    U = np.exp(-(x[:, None] ** 2) * widths)
    np.savez(path, weights=[1.0, -0.5, 0.25, 4.0], U1=U, U2=U, U3=U)
    return path


@pytest.mark.usefixtures("small_photographs", "few_seeds")
@pytest.mark.parametrize("library", ["numpy", "array_api_strict"])
def test_the_job_prints_answers_and_saves_pictures(
    library: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "new" / "folder"
    data = str(canonical(tmp_path / "sum.npz"))
    code = job.main(
        ["--output", str(folder), "--library", library, "--components", "2", "--data", data]
    )
    out, err = capsys.readouterr()
    assert code == 0, err
    for word in ("portfolio", "gram", "IncrementalPCA", "Gram + eigh", "z-score", "seconds", "MiB"):
        assert word in out
    assert re.search(r"\n  portfolio, random order: \d+\.\d\d s\n", out)
    for word in ("numpy.linalg.lstsq", "one pass, gaussian", "exact law", "backward error"):
        assert word in out
    assert out.count("16 of 16 exact singular values lie in their intervals") == 2
    for word in ("groups of rank 1", "one SVD, rank", "an SVD each", "in the certified interval"):
        assert word in out
    for word in (
        "rdpp",
        "Latin hypercube",
        "the best there is",
        "Rb1 matters most",
        "rows thinned",
    ):
        assert word in out
    for name in PICTURES:
        pixels = imread(folder / name)
        assert pixels.shape[0] > 200
        assert pixels.std() > 0.01
    assert "portfolio" in (folder / "streaming.md").read_text("utf-8")
    assert "block_srht" in (folder / "regression.md").read_text("utf-8")
    assert "one SVD, rank" in (folder / "svd.md").read_text("utf-8")
    assert "leverage scores" in (folder / "sampling.md").read_text("utf-8")
    for word in ("AM-KroSBL", "useless"):
        assert word in out
        assert word in (folder / "bayes.md").read_text("utf-8")
    for word in ("Madelung", "lattice", "chebval3d", "tensorly", "sum.npz", "smooth terms"):
        assert word in out
        assert word in (folder / "chebyshev.md").read_text("utf-8")
    for word in ("IterativeImputer, the piece", "linear interpolation", "top_k", "cmfrec"):
        assert word in out
        assert word in (folder / "completion.md").read_text("utf-8")
    assert out.endswith(f"report: {folder / 'report.html'}\n")
    report = Page.read(folder / "report.html")
    assert report.sections == [demo.name for demo in DEMOS]
    assert sorted(report.pictures) == sorted((folder / name).read_bytes() for name in PICTURES)
    assert all(report.alts)
    for summary in report.summary:
        assert len(summary) == 8
        assert summary[0].split(":")[0] in report.sections
    assert len(report.summary) >= len(DEMOS)
    exact = [line for line in report.summary if line[4] == "Gram matrix and numpy.linalg.eigh"]
    assert [line[0].split(":")[0] for line in exact] == ["streaming", "streaming"]


@pytest.mark.usefixtures("small_photographs")
def test_the_seed_settles_the_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables = []
    for seed in ("3", "3"):
        options = ["--methods", "streaming", "--components", "2"]
        job.main(["--output", str(tmp_path), "--seed", seed, *options])
        tables.append(capsys.readouterr().out.split("\n\n")[1])
    assert tables[0] == tables[1]


def test_blocks_are_cut_channel_by_channel() -> None:
    image = np.arange(17 * 26 * 2).reshape(17, 26, 2)
    tiles = _tiles._tiles([image, image[:8, :8, :]])
    assert tiles.shape == (2 * 3 * 2 + 2, 8, 8)
    assert np.array_equal(tiles[3 * 2 + 3 + 1], image[8:16, 8:16, 1])
    assert np.array_equal(tiles[-1], image[:8, :8, 1])


def test_the_rivals_of_the_groups_take_the_least_rank_and_count_what_they_store() -> None:
    rng = np.random.default_rng(0)
    shape = np.asarray([1, 0.3, 0.1, 0.04, 0.02, 0.01, 0.003, 0.001])
    tiles = np.linalg.qr(rng.standard_normal((5, 8, 8)))[0] * shape
    tiles[4] = np.linalg.qr(rng.standard_normal((8, 8)))[0]  # no rank but the full one will do
    apart, joint = _tiles._apart(tiles), _tiles._joint(tiles)
    tails = np.sqrt([np.sum(shape[r:] ** 2) / np.sum(shape**2) for r in range(8)])
    least = int(np.argmax(tails <= 0.05))
    assert least == 3
    assert apart.stored == 4 * least * (8 + 8) + 64
    assert abs(apart.true - tails[least]) < 1e-12
    side = tiles.transpose(1, 0, 2).reshape(8, -1)
    s = np.linalg.svd(side, compute_uv=False)
    rank = joint.stored // (8 + 8 * 5)
    errors = [np.sqrt(np.sum(s[r:] ** 2) / np.sum(s**2)) for r in (rank - 1, rank)]
    assert errors[1] <= 0.05 < errors[0]
    assert abs(joint.true - errors[1]) < 1e-12


def context(tmp_path: Path, **options: Any) -> Context:
    """Return what a demo is handed, with a fixed seed."""
    found = job._from_scikit_learn
    return Context(tmp_path, 2, False, 5, np.ones(0), found, job._progress, print, **options)


def test_a_latin_hypercube_has_one_point_in_each_interval_of_each_variable() -> None:
    points = _surrogates._latin_hypercube(40, 3, np.random.default_rng(0))
    strata = np.sort(np.floor((points + 1) / 2 * 40), axis=0)
    assert np.array_equal(strata, np.tile(np.arange(40)[:, None], (1, 3)))
    assert abs(np.corrcoef(points.T) - np.eye(3)).max() < 0.6  # the variables are shuffled apart


@pytest.mark.usefixtures("few_seeds")
def test_the_best_polynomial_and_its_shares_are_those_of_a_polynomial(tmp_path: Path) -> None:
    scale = 3.0

    def cubic(x: Any) -> Any:
        return scale * (2 + x[:, 0] + 2 * x[:, 1] * x[:, 2])

    model = _surrogates.Model("cubic", cubic, ("a", "b", "c"))
    indices = np.indices((2, 2, 2)).reshape(3, -1).T
    case = _surrogates.Case(model, "bilinear", indices, context(tmp_path))
    assert case.best < 1e-12
    one, two = 1 / 3, 4 / 9  # the variances of the terms
    expected = np.asarray([one, two, two]) / (one + two)
    np.testing.assert_allclose(_surrogates._total_shares(case), expected, rtol=1e-10)
    constant = np.where(indices.any(axis=1), 0.0, 2 * scale)
    assert case.error(constant) == pytest.approx(1.0, rel=0.01)
    weights, note = _surrogates._importance(case, seed=0)
    assert weights == [round((two / one) ** 0.25, 1), 1.0, 1.0]
    assert "c matters most" in note or "b matters most" in note


@pytest.mark.usefixtures("small_photographs")
def test_the_excess_of_rows_picked_is_that_of_the_residual(tmp_path: Path) -> None:
    problem = _rows_of_patches.Photographs(context(tmp_path))
    A, b = problem.rows, problem.values
    index = np.random.default_rng(0).choice(A.shape[0], 200, replace=False)
    found = problem.plain(index, 0.0)
    x = np.linalg.lstsq(A[index], b[index], rcond=None)[0]
    best = np.linalg.lstsq(A, b, rcond=None)[0]
    expected = np.sum((b - A @ x) ** 2) / np.sum((b - A @ best) ** 2) - 1
    assert problem.excess(found.x) == pytest.approx(expected, rel=1e-7)
    Q = np.linalg.qr(A)[0][index]
    lmin = np.linalg.eigvalsh(Q.T @ Q)[0] * A.shape[0] / 200
    assert found.lmin == pytest.approx(lmin, rel=1e-6)


def test_direct_sums_of_two_ions_are_those_on_paper() -> None:
    ions, charges = np.asarray([[0.0, 0.0, 0.0], [0.0, 0.0, 4.0]]), np.asarray([1.0, -2.0])
    x, step = np.asarray([[0.0, 0.0, 1.0], [0.0, 3.0, 0.0]]), 1e-5
    sums = _crystal.direct_sums(ions, charges, x, 0.5)
    coulomb = [1 - 2 / 3, 1 / 3 - 2 / 5]
    np.testing.assert_allclose(sums.coulomb, coulomb, rtol=1e-14)
    long = [math.erf(0.5) - 2 * math.erf(1.5) / 3, math.erf(1.5) / 3 - 2 * math.erf(2.5) / 5]
    np.testing.assert_allclose(sums.long, long, rtol=1e-14)
    for k in range(3):
        ends = [x + s * step * np.eye(3)[k] for s in (1, -1)]
        above, below = (_crystal.direct_sums(ions, charges, e, 0.5).long for e in ends)
        np.testing.assert_allclose(sums.gradient[:, k], (above - below) / (2 * step), atol=1e-9)


def test_the_potential_at_an_ion_is_that_of_the_others() -> None:
    crystal = sodium_chloride(2)
    case = _crystal.Case("", 2, 0.0, 1.0, "moments")
    T = _crystal._potential(case, crystal)
    solid = _crystal.Solid(case, crystal, T, *[0.0] * 3, 0, *[0.0] * 3)
    i = int(np.argmin(np.linalg.norm(crystal.positions, axis=1)))
    others = np.delete(np.arange(64), i)
    r = np.linalg.norm(crystal.positions[others] - crystal.positions[i], axis=1)
    exact = -crystal.charges[i] * np.sum(crystal.charges[others] / r) * 5.64 / 2
    assert _crystal.madelung(solid) == pytest.approx(exact, abs=1e-5)


def test_a_tensor_from_a_file_has_the_values_of_its_terms(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weights, *U = (rng.standard_normal(s) for s in (3, (4, 3), (5, 3), (6, 3)))
    np.savez(tmp_path / "a.npz", weights=weights, U1=U[0], U2=U[1], U3=U[2], h=0.5)
    tensor = _data.read_canonical(tmp_path / "a.npz")
    full = np.einsum("l,il,jl,kl->ijk", weights * 8, *U)
    index = np.asarray([[3, 4, 5], [0, 1, 2]])
    np.testing.assert_allclose(tensor.at(index), full[tuple(index.T)], rtol=1e-12)
    np.testing.assert_allclose(tensor.plane(1, 3), full[:, 3, :], rtol=1e-12)
    first = tensor.part(np.asarray([True, False, False]))
    np.testing.assert_allclose(
        first.plane(2, 0), 8 * weights[0] * np.outer(U[0][:, 0], U[1][:, 0]) * U[2][0, 0]
    )
    peak = _canonical._climbed(tensor, np.asarray([0, 0, 0]))
    assert abs(full[peak]) >= abs(full[:, :, peak[2]]).max() * (1 - 1e-12)
    np.savez(tmp_path / "b.npz", U=U[0])  # equal modes, in units of the cell
    tensor = _data.read_canonical(tmp_path / "b.npz")
    full = np.einsum("il,jl,kl->ijk", *[U[0] * 2.0] * 3)
    np.testing.assert_allclose(tensor.plane(0, 1), full[1, :, :], rtol=1e-12)


@pytest.mark.parametrize(
    ("held", "why"),
    [
        ({"a": np.ones(2)}, "must have the arrays weights, U1, U2, U3"),
        ({"U": np.ones(2)}, "must have the arrays"),
        ({"U": np.ones((4, 2)), "weights": np.ones(3)}, "factors (n_k, R) of one R"),
        ({"U": np.ones((4, 2)), "weights": np.ones((2, 1))}, "weights (R,)"),
        ({"U": np.ones((0, 2))}, "weights (R,)"),
        ({"U": np.full((4, 2), np.nan)}, "finite numbers"),
        ({"U": np.asarray([["a"]])}, "finite numbers"),
        ({"U": np.ones((4, 2)), "h": np.ones(2)}, "h must be a positive number"),
        ({"U": np.ones((4, 2)), "h": 0.0}, "h must be a positive number"),
        (None, "must be an npz file"),
        (b"nothing", "must be an npz file"),
    ],
    ids=range(11),
)
def test_data_that_cannot_be_taken_are_refused_before_the_work(
    held: Any, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "data.npz"
    if isinstance(held, dict):
        np.savez(path, **held)
    elif held is not None:
        path.write_bytes(held)
    assert job.main(["--output", str(tmp_path / "out"), "--data", str(path)]) == 1
    told = capsys.readouterr()
    assert why in told.err
    assert told.out == ""


def test_data_for_a_method_left_out_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        job.main(["--methods", "svd", "--data", "a.npz"])
    assert stop.value.code == 2
    assert "--data is for the method chebyshev" in capsys.readouterr().err


def test_tensorly_answers_to_the_same_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is not installed, a stand-in for it is asked."""
    rng = np.random.default_rng(0)
    core, U = rng.standard_normal((2, 2, 2)), np.linalg.qr(rng.standard_normal((6, 2)))[0]
    X = np.einsum("abc,ia,jb,kc->ijk", core, U, U, U)
    monkeypatch.setattr(_compression.importlib.util, "find_spec", lambda name: None)
    assert _compression._tensorly(X, (2, 2, 2), 0) == []
    asked = []

    def tucker(X: Any, **options: Any) -> Any:
        asked.append(options)
        return X

    modules = {
        "tensorly": SimpleNamespace(tucker_to_tensor=lambda X: 1.5 * X),
        "tensorly.decomposition": SimpleNamespace(tucker=tucker),
    }
    monkeypatch.setattr(_compression.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(_compression.importlib, "import_module", modules.__getitem__)
    found = _compression._tensorly(X, (2, 2, 2), 7)
    assert [(o["rank"], o["random_state"]) for o in asked] == [([2, 2, 2], 7)] * 2
    assert [f.error for f in found] == pytest.approx([0.5] * 2)


def test_without_tensorly_a_note_stands_for_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    T = chebtucker(lambda x: 1 / (4 + x.sum(axis=1)), [(-1, 1)] * 3, rng=0)
    crystal = SimpleNamespace(box=T.domain, charges=np.ones(8))
    solid = SimpleNamespace(function=T, crystal=crystal)
    context = SimpleNamespace(quick=True, like=np.ones(1), seed=0)
    monkeypatch.setattr(_compression, "_QUICK_GRID", 9)
    monkeypatch.setattr(_compression, "_tensorly", lambda *_: [])
    formats = _compression.tucker_formats(context, solid)
    note = _compression.tucker_block(formats)
    assert isinstance(note, str)
    assert "tensorly is not installed" in note
    assert _compression.tucker_comparison(formats) == []
    ours = formats.found[0]
    rivals = [
        _compression.Format(name, "ranks", ours.ranks, 2 * ours.error, times * ours.seconds)
        for name, times in (("slow", 8.0), ("quick", 3.0))
    ]
    formats = formats._replace(found=[ours, *rivals])
    table = _compression.tucker_block(formats)
    assert [r[0] for r in table.rows] == ["sthosvd", "slow", "quick"]
    assert [r[-1] for r in table.rows] == ["1", "8", "3"]
    (comparison,) = _compression.tucker_comparison(formats)
    assert comparison.rival == "quick, told the ranks"
    assert comparison.ratio == pytest.approx(3.0)
    assert comparison.lost == []


def test_tables_of_functions_fit_a_terminal() -> None:
    found = SimpleNamespace(
        ranks=(58, 57, 58), degrees=(421, 420, 421), error_estimate=1e-8, scale=1.0,
        status="converged", n_evals=123_456, nbytes=260_000,
    )  # fmt: skip
    solids = [
        _crystal.Solid(
            case, SimpleNamespace(charges=np.ones(8 * case.cells**3)), found,
            1e-7, 1e-6, 1e-7, 9, 0.5, 0.1, 281.4,
        )
        for case in _crystal._CASES
    ]  # fmt: skip
    fits = [
        _callables.Fitted(f, found, 1e-10, 0.5, 0.25, 1234.0, 1e-15)
        for f in _callables.functions(0)
    ]
    for table in (_crystal.crystal_table(solids), _callables.function_table(fits)):
        lines = table.text().splitlines()
        assert max(map(len, lines)) <= 100
        assert "status" in table.header
    assert [row[-1] for row in table.rows] == ["1,000"] * len(fits)


def test_patches_are_put_back_where_they_were_cut() -> None:
    pixels = np.random.default_rng(0).random((17, 24, 3))
    rows = _restored.patches(pixels)
    assert rows.shape == (7 * 10, 75)
    second = np.moveaxis(pixels[:5, 2:7, :], 2, 0)
    assert np.array_equal(rows[1], second.reshape(-1))
    np.testing.assert_allclose(_restored.pasted(rows, pixels), pixels, rtol=1e-14)
    other = _restored.pasted(np.zeros_like(rows), pixels)
    assert not other[:17, :23].any()
    assert np.array_equal(other[:, 23:], pixels[:, 23:])  # no patch reaches the rim


def test_a_restored_photograph_keeps_the_pixels_that_were_seen(tmp_path: Path) -> None:
    y, x = np.mgrid[0:40, 0:52]
    pixels = np.stack([128 + 100 * np.sin(x / 9 + y / 7 + k) for k in range(3)], axis=2)
    hidden = np.random.default_rng(0).random((40, 52)) < 0.7
    picture = _restored.Picture(pixels, hidden)
    for found in (
        _restored._ours(context(tmp_path), picture, "ours"),
        _restored._interpolated(picture),
        _restored._chained(context(tmp_path), picture),
    ):
        seen = ~found.picture.hidden
        assert found.picture.pixels.shape == (39, 51, 3)
        assert np.array_equal(found.pixels[seen], found.picture.pixels[seen])
        rest = (found.pixels - found.picture.pixels)[found.picture.hidden]
        assert found.picture.error(found.pixels) == pytest.approx(np.sqrt(np.mean(rest**2)))
        if found.name != "scikit-learn IterativeImputer, the piece":  # so few rows defeat it
            assert found.picture.error(found.pixels) < 20  # of a standard deviation of 70


def test_pixels_are_held_out_wherever_the_photograph_is_trimmed(tmp_path: Path) -> None:
    """Pixels hidden and held out by the same numbers would have nothing in common."""
    y, x = np.mgrid[0:41, 0:53]  # no row and no column is cut off
    pixels = np.stack([128 + 100 * np.sin(x / 9 + y / 7 + k) for k in range(3)], axis=2)
    given = context(tmp_path)
    hidden = np.random.default_rng(given.seed).random((41, 53)) < _restored.HIDDEN
    found = _restored._ours(given, _restored.Picture(pixels, hidden), "ours")
    assert found.result is not None
    assert found.result.validation_rmse is not None


def test_rivals_of_the_ratings_are_told_the_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where they are not installed, stand-ins for them are asked."""
    problem = low_rank_entries((40, 30), 2, 500, noise=0.5, rng=0)
    asked = []

    class Model(SimpleNamespace):
        def fit(self, data: Any, **options: Any) -> None:
            assert data.nnz == 500
            self.A_, self.B_ = 1.5 * problem.U, problem.V

    def make(**options: Any) -> Model:
        asked.append(options)
        return Model()

    modules = {
        "cmfrec": SimpleNamespace(CMF=make),
        "implicit.als": SimpleNamespace(AlternatingLeastSquares=make),
    }
    monkeypatch.setattr(_ratings.importlib, "import_module", modules.__getitem__)
    found = [_ratings._cmfrec(problem), _ratings._implicit(problem)]
    assert [asked[0]["k"], asked[1]["factors"]] == [2, 2]
    assert found[0].error == pytest.approx(0.5)
    assert math.isnan(found[1].error)
    for names, note in (((), "Not installed here: cmfrec and implicit."), (found, "One thread")):
        legend = _ratings.rating_legend(problem, list(names))
        assert note in legend
    table = _ratings.rating_table(problem, found)
    assert table.rows[0][1] == "0.5000"


def test_list_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert job.main(["--list"]) == 0
    assert "streaming" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        job.main(["--version"])
    assert stop.value.code == 0
    assert linalgkit_version() in capsys.readouterr().out


def linalgkit_version() -> str:
    return job.__version__


@pytest.mark.parametrize(
    "arguments",
    [["--components", "0"], ["--components", "99"], ["--seed", "-1"], ["--methods", "magic"]],
    ids=str,
)
def test_bad_options_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        job.main(arguments)
    assert stop.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_missing_packages_are_named_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(job, "find_spec", lambda name: None if name == "tqdm" else name)
    assert job.main([]) == 1
    assert 'tqdm, not installed here. Install with: pip install "linalgkit[demo]"' in (
        capsys.readouterr().err
    )


def test_an_output_that_is_a_file_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("x")
    assert job.main(["--output", str(tmp_path / "file")]) == 1
    assert "--output must be a folder" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(dir: Path) -> None:
        raise PermissionError(13, "Permission denied", str(dir))

    monkeypatch.setattr(job, "TemporaryFile", refuse)
    assert job.main(["--output", str(tmp_path)]) == 1
    assert "--output must be a folder that can be written" in capsys.readouterr().err


def test_blas_has_one_thread_during_the_job_and_as_many_as_before_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def counts() -> set[int]:
        pools = threadpoolctl.threadpool_info()
        return {pool["num_threads"] for pool in pools if pool["user_api"] == "blas"}

    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        before = counts()
        assert "one BLAS thread" not in _measure.circumstances() or before == {1}
        with job._one_blas_thread():
            assert counts() == {1}
            assert "one BLAS thread" in _measure.circumstances()
        assert counts() == before
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    with job._one_blas_thread():
        assert "BLAS" not in _measure.circumstances()


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_an_interrupt_that_a_callback_swallowed_is_raised_again() -> None:
    @ctypes.CFUNCTYPE(None)
    def callback() -> None:
        raise KeyboardInterrupt

    def work() -> None:
        callback()
        time.sleep(5.0)

    with pytest.raises(KeyboardInterrupt), job._heard_interrupts():
        work()


def test_ctrl_c_ends_cleanly(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "linalgkit", "--output", str(tmp_path)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("Top 4 eigenvectors")
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Interrupted" in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []
