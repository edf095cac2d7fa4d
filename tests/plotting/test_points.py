"""Designs: each point is drawn where it lies, as large as it weighs."""

import numpy as np
import pytest

from linalgkit.plotting import DesignDisplay
from linalgkit.sampling import Legendre, TensorBasis, multi_index, sample_design

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402


@pytest.fixture(autouse=True)
def close():
    """Leave no figure behind."""
    yield
    pyplot.close("all")


POINTS = np.asarray([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0], [-1.0, -2.0, -3.0]])
WEIGHTS = np.asarray([1.0, 4.0, 0.25])


def test_points_and_weights_are_those_given(xp):
    display = DesignDisplay(xp.asarray(POINTS), xp.asarray(WEIGHTS), coordinates=(2, 0)).plot()
    np.testing.assert_allclose(display.points_.get_offsets(), POINTS[:, [2, 0]], rtol=1e-6)
    np.testing.assert_allclose(display.points_.get_array(), WEIGHTS, rtol=1e-6)
    areas = display.points_.get_sizes()
    assert areas[1] == pytest.approx(4 * areas[0])
    assert areas[2] >= 4.0  # never too small to be seen
    assert display.points_.get_clim() == pytest.approx((0.25, 4.0))
    assert display.ax_.get_xlabel() == "coordinate 2"
    assert display.ax_.get_ylabel() == "coordinate 0"


def test_without_weights_all_points_are_alike():
    display = DesignDisplay(POINTS.tolist(), names=("a", "b")).plot(title="alike")
    assert display.colorbar_ is None
    assert len(set(display.points_.get_sizes())) == 1
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("a", "b")
    assert display.ax_.get_title(loc="left") == "alike"


def test_equal_weights_and_shared_limits():
    alike = DesignDisplay(POINTS, np.ones(3)).plot()
    assert alike.points_.get_clim() == (0.5, 2.0)
    _, ax = pyplot.subplots()
    shared = DesignDisplay(POINTS, WEIGHTS).plot(ax, limits=(0.1, 10), colorbar=False)
    assert shared.ax_ is ax
    assert shared.points_.get_clim() == (0.1, 10.0)
    assert shared.colorbar_ is None


def test_a_design_brings_its_weights_and_certificate(xp):
    indices = xp.xp.asarray(multi_index(3, 2), device=xp.device)
    design = sample_design(TensorBasis(Legendre(), indices), rng=0)
    display = DesignDisplay.from_design(design, coordinates=(1, 2))
    assert display.points.shape == (30, 2)
    title = display.ax_.get_title(loc="left")
    assert title == f"rdpp, 30 points, lmin = {design.lmin:.2g}"
    again = DesignDisplay.from_design(design, title="t")
    assert again.ax_.get_title(loc="left") == "t"


@pytest.mark.parametrize(
    ("act", "kind", "why"),
    [
        (lambda: DesignDisplay(POINTS[0]), ValueError, "points must have 2 axes"),
        (lambda: DesignDisplay(POINTS * 1j), TypeError, "points must be real to be drawn"),
        (lambda: DesignDisplay(POINTS[:, :1]), ValueError, "coordinates must be 0 for points of 1"),
        (lambda: DesignDisplay(POINTS, coordinates=(0, 3)), ValueError, "between 0 and 2"),
        (lambda: DesignDisplay(POINTS, coordinates=(1, 1)), ValueError, "two different ones"),
        (lambda: DesignDisplay(POINTS, coordinates=(0, 1, 2)), ValueError, "two different ones"),
        (lambda: DesignDisplay(POINTS, WEIGHTS[:2]), ValueError, "each of the 3 points, got 2"),
        (lambda: DesignDisplay(POINTS, WEIGHTS - 1), ValueError, "weights must be positive"),
        (lambda: DesignDisplay(POINTS, names="a"), ValueError, "names must be two"),
        (lambda: DesignDisplay(POINTS).plot(limits=(0, 1)), ValueError, r"limits\[0\] must be"),
        (lambda: DesignDisplay(POINTS).plot(limits=(2, 1)), ValueError, r"limits\[1\] must be"),
        (lambda: DesignDisplay(POINTS).plot(colorbar=1), TypeError, "colorbar must be True or"),
    ],
    ids=range(12),
)
def test_what_cannot_be_drawn_is_refused(act, kind, why):
    with pytest.raises(kind, match=why):
        act()


def test_rows_of_a_matrix_are_sent_elsewhere():
    design = sample_design(POINTS.T @ POINTS + np.eye(3), rng=0)
    with pytest.raises(ValueError, match=r"DesignDisplay\(X\[design.indices\]"):
        DesignDisplay.from_design(design)
