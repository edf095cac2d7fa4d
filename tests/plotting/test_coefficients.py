"""Coefficients with intervals: what is drawn are the numbers given."""

from types import SimpleNamespace

import numpy as np
import pytest

from linalgkit.plotting import CoefficientsDisplay

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402


@pytest.fixture(autouse=True)
def close():
    """Leave no figure behind."""
    yield
    pyplot.close("all")


VALUES = np.asarray([3.0, -1.0, 2.0])
LOWER = np.asarray([2.5, -2.0, 1.9])
UPPER = np.asarray([4.0, -0.5, 2.1])


def drawn(display):
    """Return the ends of the bars as drawn."""
    segments = display.errorbar_[2][0].get_segments()
    return np.asarray([segment[:, 1] for segment in segments])


def test_points_and_bars_are_those_given():
    display = CoefficientsDisplay(VALUES, LOWER, UPPER).plot(title="filter")
    assert np.array_equal(display.errorbar_[0].get_ydata(), VALUES)
    assert np.allclose(drawn(display), np.stack([LOWER, UPPER], axis=1), rtol=1e-15)
    assert display.ax_.get_title(loc="left") == "filter"
    assert display.covered is None


def test_order_by_value_moves_everything_alike():
    reference = np.asarray([3.1, -1.1, 9.0])
    display = CoefficientsDisplay(VALUES, LOWER, UPPER, reference=reference).plot(order="value")
    by = np.argsort(VALUES)
    assert np.array_equal(display.errorbar_[0].get_ydata(), VALUES[by])
    assert np.allclose(drawn(display), np.stack([LOWER, UPPER], axis=1)[by], rtol=1e-15)
    exact = [line for line in display.ax_.lines if line.get_label() == "exact"]
    assert np.array_equal(exact[0].get_ydata(), reference[by])
    assert display.covered == 2


def test_from_result_asks_for_the_intervals_and_names_them(xp):
    asked = []

    def ci(level, *, simultaneous):
        asked.append((level, simultaneous))
        return xp.asarray(LOWER), xp.asarray(UPPER)

    result = SimpleNamespace(x=xp.asarray(VALUES), ci=ci)
    display = CoefficientsDisplay.from_result(result, level=0.9, simultaneous=True)
    assert asked == [(0.9, True)]
    assert display.label == "interval, 90 %, all together"
    np.testing.assert_allclose(display.values, VALUES, rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "kind", "why"),
    [
        ((VALUES, LOWER[:2], UPPER), ValueError, "lower must have one entry for each of the 3"),
        ((VALUES, UPPER, LOWER), ValueError, "lower and upper must enclose values"),
        ((VALUES * 1j, LOWER, UPPER), TypeError, "values must be real to be drawn"),
        ((VALUES, LOWER, UPPER * np.nan), ValueError, "upper must be finite to be drawn"),
    ],
)
def test_what_cannot_be_drawn_is_refused(arguments, kind, why):
    with pytest.raises(kind, match=why):
        CoefficientsDisplay(*arguments)


def test_an_unknown_order_is_refused():
    with pytest.raises(ValueError, match="order must be"):
        CoefficientsDisplay(VALUES, LOWER, UPPER).plot(order="random")
