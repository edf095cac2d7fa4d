"""Supports: each slice that is in is a stem, and the true ones are marked beside it."""

import numpy as np
import pytest

from linalgkit.bayes import kron_sbl
from linalgkit.datasets import kronecker_sparse
from linalgkit.plotting import SupportDisplay

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402


@pytest.fixture(autouse=True)
def close():
    """Leave no figure behind."""
    yield
    pyplot.close("all")


GAMMAS = [np.asarray([0.0, 4.0, 0.0, 1.0]), np.asarray([9.0, 0.0])]


def heights(display, mode):
    """Return the lengths of the stems of one mode."""
    return [float(np.ptp(path.vertices[:, 1])) for path in display.stems_[mode].get_paths()]


def test_stems_stand_at_the_support_as_high_as_the_standard_deviation(xp):
    display = SupportDisplay([xp.asarray(g) for g in GAMMAS]).plot(title="t")
    assert [s.tolist() for s in display.support] == [[1, 3], [0]]
    places = [[p.vertices[0, 0] for p in stems.get_paths()] for stems in display.stems_]
    assert places == [[1.0, 3.0], [0.0]]
    high, low = heights(display, 0)
    assert low / high == pytest.approx(0.5)
    assert heights(display, 1) == pytest.approx([high])  # each mode by its own largest
    labels = [text.get_text() for text in display.ax_.get_yticklabels()]
    assert labels == ["mode 1\n2 of 4", "mode 2\n1 of 2"]
    assert display.ax_.get_title(loc="left") == "t"
    assert display.exact is None
    assert display.ax_.get_legend() is None


def test_true_indices_are_marked_and_compared():
    assert SupportDisplay(GAMMAS, reference=[[3, 1], [0]]).exact is True
    other = SupportDisplay(GAMMAS, reference=[[1], [0]], names=("a", "b")).plot()
    assert other.exact is False
    marks = [line for line in other.ax_.lines if line.get_marker() == "^"]
    assert [line.get_xdata().tolist() for line in marks] == [[1], [0]]
    shown = [text.get_text() for text in other.ax_.get_legend().get_texts()]
    assert shown == ["prior standard deviation", "true index"]


def test_a_mode_without_slices_is_an_empty_line():
    _, ax = pyplot.subplots()
    display = SupportDisplay([np.zeros(3), np.ones(2)]).plot(ax)
    assert display.ax_ is ax
    assert heights(display, 0) == []
    assert len(heights(display, 1)) == 2


def test_a_result_brings_its_hyperparameters(xp):
    like = xp.asarray(np.zeros(1))
    problem = kronecker_sparse((8, 8), (6, 6), (2, 2), snr_db=30.0, like=like, rng=0)
    result = kron_sbl(problem.factors, problem.y)
    display = SupportDisplay.from_result(result, reference=problem.support)
    assert display.exact
    assert display.ax_.get_title(loc="left") == "support 2 x 2, converged"
    again = SupportDisplay.from_result(result, title="mine", names=("a", "b"))
    assert again.ax_.get_title(loc="left") == "mine"


@pytest.mark.parametrize(
    ("act", "kind", "why"),
    [
        (lambda: SupportDisplay([]), ValueError, "one array a mode, got none"),
        (lambda: SupportDisplay([[-1.0]]), ValueError, "must not be negative"),
        (lambda: SupportDisplay([[np.nan]]), ValueError, r"gammas\[0\] must be finite"),
        (lambda: SupportDisplay([[1j]]), TypeError, r"gammas\[0\] must be real"),
        (lambda: SupportDisplay(GAMMAS, names="a"), ValueError, "names must be 2, one a mode"),
        (lambda: SupportDisplay(GAMMAS, reference=[[1]]), ValueError, "each of the 2 modes, got 1"),
        (lambda: SupportDisplay(GAMMAS, reference=[[1], [2]]), ValueError, "integers from 0 to 1"),
        (
            lambda: SupportDisplay(GAMMAS, reference=[[1], [0.5]]),
            ValueError,
            r"reference\[1\] must",
        ),
    ],
    ids=range(8),
)
def test_what_cannot_be_drawn_is_refused(act, kind, why):
    with pytest.raises(kind, match=why):
        act()
