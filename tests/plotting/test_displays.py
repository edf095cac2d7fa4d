"""Displays: what is drawn are the numbers given, on the axes given."""

import math
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from linalgkit._core.array import to_numpy
from linalgkit.plotting import EigenPatchesDisplay, SpectrumDisplay
from linalgkit.svd import IncrementalSVD

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402


@pytest.fixture(autouse=True)
def close():
    """Leave no figure behind."""
    yield
    pyplot.close("all")


@pytest.fixture
def result(rng):
    V = np.linalg.qr(rng.standard_normal((12, 5)))[0]
    values = np.asarray([50.0, 30.0, 10.0, 5.0, 1.0])
    return SimpleNamespace(eigenvalues=values, eigenvectors=V, frobenius_norm=10.0, gap=2.5)


def labels(display):
    return [text.get_text() for text in display.text_]


class TestEigenPatches:
    def test_each_patch_is_drawn_at_its_place_around_grey(self, result):
        display = EigenPatchesDisplay.from_result(result, (4, 3), n_columns=2)
        sheet = np.asarray(display.image_.get_array().filled(math.nan))
        found = []
        for i in range(5):
            patch = result.eigenvectors[:, i].reshape(4, 3)
            expected = 0.5 + 0.5 * patch / np.abs(patch).max()
            top, left = i // 2 * 5, i % 2 * 4
            found.append(np.allclose(sheet[top : top + 4, left : left + 3], expected, rtol=1e-14))
        assert all(found)
        assert np.isnan(sheet).sum() == sheet.size - 5 * 12

    def test_colour_patches_have_transparent_gaps(self, result):
        display = EigenPatchesDisplay.from_result(result, (2, 2, 3), n_columns=5)
        sheet = np.asarray(display.image_.get_array())
        assert sheet.shape[2] == 4
        assert sheet[:2, :2, 3].min() == 1
        assert sheet[:, 2, :].max() == 0

    def test_labels_name_the_share_of_the_energy(self, result):
        assert labels(EigenPatchesDisplay.from_result(result, (4, 3))) == [
            "1  50 %",
            "2  30 %",
            "3  10 %",
            "4  5 %",
            "5  1 %",
        ]
        del result.frobenius_norm
        assert labels(EigenPatchesDisplay.from_result(result, (4, 3))) == list("12345")

    def test_shares_survive_extreme_units(self, result):
        result.eigenvalues = result.eigenvalues * 1e300
        result.frobenius_norm *= 1e150
        assert labels(EigenPatchesDisplay.from_result(result, (4, 3)))[0] == "1  50 %"

    def test_a_zero_patch_is_grey(self):
        display = EigenPatchesDisplay(np.zeros((1, 2, 2))).plot()
        assert np.asarray(display.image_.get_array()).ravel()[0] == 0.5

    def test_lines_are_full_where_that_is_possible(self):
        for k, columns in ((1, 1), (4, 4), (6, 3), (8, 4), (10, 5), (12, 4), (16, 4), (18, 6)):
            display = EigenPatchesDisplay(np.ones((k, 2, 2))).plot()
            tops = {text.get_position()[1] for text in display.text_}
            assert len(tops) == k // columns, k

    def test_arrays_of_any_library(self, xp, result):
        result.eigenvectors = xp.asarray(result.eigenvectors)
        result.eigenvalues = xp.asarray(result.eigenvalues)
        display = EigenPatchesDisplay.from_result(result, (4, 3))
        assert display.patches.shape == (5, 4, 3)

    @pytest.mark.parametrize(
        ("make", "kind", "why"),
        [
            (
                lambda r: EigenPatchesDisplay.from_result(r, (4, 4)),
                ValueError,
                "must have product 12",
            ),
            (
                lambda r: EigenPatchesDisplay(np.ones((2, 3))),
                ValueError,
                "patches must have 3 axes",
            ),
            (lambda r: EigenPatchesDisplay(np.ones((2, 3, 3, 2))), ValueError, "3 channels"),
            (lambda r: EigenPatchesDisplay(np.ones((2, 3, 3)) * 1j), TypeError, "real to be drawn"),
            (lambda r: EigenPatchesDisplay(np.full((2, 3, 3), np.nan)), ValueError, "be finite"),
            (
                lambda r: EigenPatchesDisplay(np.ones((2, 3, 3)), shares=[1]),
                ValueError,
                "2 patches",
            ),
            (
                lambda r: EigenPatchesDisplay(np.ones((2, 3, 3))).plot(n_columns=0),
                ValueError,
                "n_columns must be at least 1",
            ),
        ],
    )
    def test_bad_arguments_are_refused(self, result, make, kind, why):
        with pytest.raises(kind, match=why):
            make(result)


class TestSpectrum:
    def test_draws_the_values_and_the_gap(self, result):
        display = SpectrumDisplay.from_result(result)
        assert display.line_.get_xdata().tolist() == [1, 2, 3, 4, 5]
        assert display.line_.get_ydata().tolist() == result.eigenvalues.tolist()
        assert display.ax_.get_yscale() == "log"
        assert display.ax_.get_title(loc="left") == "gap 2.5 after number 5"
        assert display.ax_.get_legend() is None

    def test_singular_values_bring_their_enclosure(self):
        s = np.asarray([3.0, 2.0, 1.0])
        result = SimpleNamespace(s=s, sigma_bounds=lambda: (s - 1, s + 1))
        display = SpectrumDisplay.from_result(result, reference=s)
        heights = display.band_.get_paths()[0].vertices[:, 1]
        assert heights.max() == 4
        assert heights.min() == 1  # the lower bound 0 is drawn at the least number above it
        assert display.ax_.get_ylabel() == "singular value"
        entries = [text.get_text() for text in display.ax_.get_legend().get_texts()]
        assert entries == ["enclosure", "exact", "computed"]

    def test_the_band_of_a_streamed_decomposition_holds_the_exact_values(self, xp, rng):
        A = rng.standard_normal((20, 200)) / np.arange(1, 21)[:, None]
        svd = IncrementalSVD(5, n_oversamples=0, buffer_size=10)
        for start in range(0, 200, 10):
            svd.append_columns(xp.asarray(A[:, start : start + 10]))
        exact = np.linalg.svd(A, compute_uv=False)[:5]
        display = SpectrumDisplay.from_estimator(svd, reference=exact)
        lower, upper = svd.result().sigma_bounds()
        edges = display.band_.get_paths()[0].vertices[:, 1]
        assert edges.min() == display.lower.min() == to_numpy(lower).min()
        assert edges.max() == display.upper.max() == to_numpy(upper).max()
        assert np.all(display.lower <= exact)
        assert np.all(exact <= display.upper)
        assert np.all(display.upper > 1.01 * display.lower)  # there is a band to be seen
        assert display.ax_.get_ylabel() == "singular value"

    def test_zeros_are_left_out_on_the_logarithmic_scale_only(self):
        display = SpectrumDisplay([2.0, 0.0])
        assert np.isnan(display.plot().line_.get_ydata()[1])
        assert display.plot(scale="linear").line_.get_ydata().tolist() == [2, 0]
        assert SpectrumDisplay([0.0]).plot().ax_.get_yscale() == "linear"

    def test_arrays_of_any_library(self, xp):
        values = xp.asarray(np.asarray([2.0, 1.0]))
        assert SpectrumDisplay(values).plot().line_.get_ydata().tolist() == [2, 1]

    @pytest.mark.parametrize(
        ("make", "why"),
        [
            (lambda: SpectrumDisplay([1.0], lower=[1.0]), "must be given together"),
            (lambda: SpectrumDisplay([1.0], lower=[1.0], upper=[1.0, 2.0]), "upper must have one"),
            (lambda: SpectrumDisplay([]), "values must have 1 axes and entries"),
            (lambda: SpectrumDisplay([1.0]).plot(scale="ln"), "scale must be one of"),
        ],
    )
    def test_bad_arguments_are_refused(self, make, why):
        with pytest.raises(ValueError, match=why):
            make()


@pytest.mark.parametrize("kind", ["patches", "spectrum"])
class TestManners:
    def draw(self, kind, source, **options):
        if kind == "patches":
            return EigenPatchesDisplay.from_estimator(source, (4, 3), **options)
        return SpectrumDisplay.from_estimator(source, **options)

    def test_draws_on_the_axes_given_and_can_draw_again(self, kind, result, tmp_path):
        figure, (left, right) = pyplot.subplots(1, 2)
        estimator = SimpleNamespace(result=lambda: result)
        display = self.draw(kind, estimator, ax=left)
        assert display.ax_ is left
        assert display.figure_ is figure
        assert display.plot(ax=right, title="Again") is display
        assert right.get_title(loc="left") == "Again"
        assert display.ax_ is right
        figure.savefig(tmp_path / "out.png")

    def test_makes_a_figure_of_its_own_without_axes(self, kind, result, tmp_path):
        display = self.draw(kind, SimpleNamespace(result=lambda: result), title="Mine")
        assert display.ax_.get_title(loc="left") == "Mine"
        assert display.figure_ is display.ax_.figure
        display.figure_.savefig(tmp_path / "out.svg")


def test_matplotlib_is_not_imported_before_something_is_drawn():
    code = (
        "import sys, numpy as np\n"
        "from linalgkit.plotting import EigenPatchesDisplay, SpectrumDisplay\n"
        "SpectrumDisplay([1.0]), EigenPatchesDisplay(np.ones((1, 2, 2)))\n"
        "assert 'matplotlib' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
