"""Filters: each channel is drawn as given, on one scale."""

import numpy as np
import pytest

from linalgkit.plotting import FilterDisplay

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402


@pytest.fixture(autouse=True)
def close():
    """Leave no figure behind."""
    yield
    pyplot.close("all")


def test_channels_are_drawn_as_given_on_one_scale_around_zero(xp, rng):
    patch = rng.standard_normal((5, 4, 3))
    display = FilterDisplay(xp.asarray(patch)).plot()
    largest = np.abs(display.patch).max()
    for i, image in enumerate(display.images_):
        np.testing.assert_allclose(image.get_array(), patch[:, :, i], rtol=1e-6)
        assert image.get_clim() == (-largest, largest)
    assert [ax.get_title(loc="left") for ax in display.axes_] == ["red", "green", "blue"]


def test_a_filter_of_zeros_and_other_channels():
    display = FilterDisplay(np.zeros((2, 2, 2))).plot()
    assert display.names == ("channel 1", "channel 2")
    assert display.images_[0].get_clim() == (-1.0, 1.0)
    assert FilterDisplay(np.ones((2, 2, 1)), names=["grey"]).plot().names == ("grey",)


def test_the_callers_axes_are_used():
    _, axes = pyplot.subplots(1, 3)
    assert FilterDisplay(np.ones((3, 3, 3))).plot(axes=list(axes)).axes_ == list(axes)


@pytest.mark.parametrize(
    ("act", "kind", "why"),
    [
        (lambda: FilterDisplay(np.ones((3, 3))), ValueError, "patch must have 3 axes"),
        (lambda: FilterDisplay(1j * np.ones((3, 3, 3))), TypeError, "patch must be real"),
        (lambda: FilterDisplay(np.ones((3, 3, 2)), names=["a"]), ValueError, "each of the 2"),
        (lambda: FilterDisplay(np.ones((3, 3, 3))).plot(axes=[1]), ValueError, "axes must be 3"),
    ],
)
def test_what_cannot_be_drawn_is_refused(act, kind, why):
    with pytest.raises(kind, match=why):
        act()
