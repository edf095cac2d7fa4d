"""Slices: what is drawn are the values of the function, at their places."""

from types import SimpleNamespace

import numpy as np
import pytest

from linalgkit.chebyshev import ChebTucker
from linalgkit.plotting import FunctionDisplay, Slice

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402

BOX = [(-1.0, 1.0), (0.0, 3.0), (-2.0, 4.0), (0.0, 1.0)]


@pytest.fixture(autouse=True)
def close():
    """Leave no figure behind."""
    yield
    pyplot.close("all")


def plane(xp, d=3, factor=1.0):
    """Return the sum of the variables times `factor`, as a Tucker function with known slices."""
    core = np.zeros((2,) * d)
    factors = []
    for k, (low, high) in enumerate(BOX[:d]):
        index = [0] * d
        index[k] = 1
        core[tuple(index)] = (high - low) / 2
        core[(0,) * d] += (high + low) / 2
        factors.append(xp.asarray(np.eye(2)))
    return ChebTucker(xp.asarray(core * factor), factors, BOX[:d])


def centres(interval, n):
    low, high = interval
    return low + (high - low) * (np.arange(n) + 0.5) / n


def test_each_slice_has_the_values_of_the_function_at_cell_centres(xp):
    display = FunctionDisplay.from_function(
        plane(xp), at=[{2: 1.5}, {0: -0.5}], n_points=8, names="uvw", unit="volt", title="t"
    )
    u, v, w = (centres(interval, 8) for interval in BOX[:3])
    expected = [u[:, None] + v + 1.5, v[:, None] + w - 0.5]
    for shown, values in zip(display.slices, expected, strict=True):
        np.testing.assert_allclose(shown.values, values, atol=10 * xp.tolerance)
    assert [s.labels for s in display.slices] == [("u", "v"), ("v", "w")]
    assert [s.title for s in display.slices] == ["w = 1.5", "u = -0.5"]
    for image, values in zip(display.images_, expected, strict=True):
        np.testing.assert_allclose(image.get_array(), values.T, atol=10 * xp.tolerance)
        assert image.origin == "lower"
    assert list(display.images_[1].get_extent()) == [0.0, 3.0, -2.0, 4.0]
    assert display.colorbar_.ax.get_ylabel() == "volt"
    assert display.figure_.get_suptitle() == "t"


def test_by_default_there_is_a_slice_through_the_middle_for_each_variable(xp):
    display = FunctionDisplay.from_function(plane(xp), n_points=4)
    assert [s.title for s in display.slices] == ["z = 1", "y = 1.5", "x = 0"]
    assert len(display.axes_) == 3
    assert display.ax_ is display.axes_[0]


def test_two_variables_have_one_picture_on_the_axes_given(xp):
    figure, ax = pyplot.subplots()
    display = FunctionDisplay.from_function(plane(xp, 2), n_points=4, title="t", ax=ax)
    assert display.axes_ == [ax]
    assert display.figure_ is figure
    assert ax.get_title(loc="left") == "t"
    assert display.slices[0].extent == (BOX[0], BOX[1])


def test_the_title_goes_before_that_of_the_slice_on_axes_given():
    _, axes = pyplot.subplots(1, 2)
    slices = [Slice(np.ones((2, 2)), ((0, 1), (0, 1)), title=t) for t in ("a", "b")]
    display = FunctionDisplay(slices).plot(axes, title="t")
    assert [ax.get_title(loc="left") for ax in display.axes_] == ["t, a", "b"]


def test_complex_values_are_shown_by_their_modulus(xp):
    shown = FunctionDisplay.from_function(plane(xp, factor=1j), at={2: -1.0}, n_points=6)
    sums = centres(BOX[0], 6)[:, None] + centres(BOX[1], 6) - 1.0
    np.testing.assert_allclose(shown.slices[0].values, np.abs(sums), atol=10 * xp.tolerance)
    assert not shown.is_signed
    assert shown.images_[0].get_cmap().name == "viridis"


def test_all_slices_share_one_scale_which_diverges_around_zero_for_both_signs():
    square = ((0, 1), (0, 1))
    one, two = Slice(np.asarray([[-1.0, 0.5]]), square), Slice(np.asarray([[2.0, 3.0]]), square)
    both = FunctionDisplay([one, two]).plot()
    assert both.limits == (-3.0, 3.0)
    assert all(image.get_clim() == (-3.0, 3.0) for image in both.images_)
    assert both.images_[0].get_cmap().name == "RdBu_r"
    assert FunctionDisplay([two]).limits == (2.0, 3.0)


def test_limits_set_the_scale_and_tell_what_lies_beyond():
    square = ((0, 1), (0, 1))
    shown = Slice(np.asarray([[-2.0, 0.5], [1.0, 5.0]]), square)
    even = FunctionDisplay([shown], limits=(-3, 3)).plot()
    assert even.is_signed
    assert even.images_[0].get_clim() == (-3.0, 3.0)
    assert even.colorbar_.extend == "max"
    odd = FunctionDisplay([shown], limits=(-1.0, 2.0)).plot()
    assert not odd.is_signed
    assert odd.colorbar_.extend == "both"
    assert FunctionDisplay([shown], limits=(0.0, 5.0)).plot().colorbar_.extend == "min"
    assert FunctionDisplay([shown]).plot().colorbar_.extend == "neither"
    assert draw(at={0: 0.0}, n_points=4, limits=(0, 2)).limits == (0.0, 2.0)


@pytest.mark.parametrize("extent", [((0, 1), (0, 3)), ((0, 3), (0, 1)), ((0, 1), (0, 1))], ids=str)
def test_one_slice_fills_its_figure(extent):
    shown = FunctionDisplay([Slice(np.eye(2), extent)]).plot()
    shown.figure_.canvas.draw()
    box = shown.ax_.get_window_extent()
    whole = shown.figure_.get_window_extent()
    assert 0 <= box.x0 < 0.9 * shown.figure_.dpi  # no more than labels at its left
    assert box.width > 0.8 * (whole.width - 1.6 * shown.figure_.dpi)


def test_what_is_long_and_thin_fills_its_panel():
    long, short = ((0, 100), (0, 1)), ((0, 3), (0, 1))
    shown = FunctionDisplay([Slice(np.eye(2), extent) for extent in (long, short)]).plot()
    assert [ax.get_aspect() for ax in shown.axes_] == ["auto", 1.0]


def test_a_constant_function_is_drawn():
    shown = FunctionDisplay([Slice(np.ones((3, 3)), ((0, 1), (0, 1)))]).plot()
    shown.figure_.canvas.draw()
    assert shown.limits == (1.0, 1.0)


SQUARE = ((0, 1), (0, 1))
NUMPY = SimpleNamespace(asarray=np.asarray)


@pytest.mark.parametrize(
    ("act", "kind", "why"),
    [
        (lambda: FunctionDisplay([]), ValueError, "at least one slice, got none"),
        (lambda: FunctionDisplay([Slice(np.ones(2), SQUARE)]), ValueError, "have 2 axes"),
        (lambda: FunctionDisplay([Slice([[np.nan]], SQUARE)]), ValueError, r"slices\[0\].values"),
        (
            lambda: FunctionDisplay([Slice(np.eye(2), ((0, 1), (1, 1)))]),
            ValueError,
            r"slices\[0\].extent must be two intervals",
        ),
        (
            lambda: FunctionDisplay([Slice(np.eye(2), SQUARE)]).plot(pyplot.subplots(1, 2)[1]),
            ValueError,
            "ax must be 1 axes, one a slice, got 2",
        ),
        (lambda: draw(d=1), ValueError, r"of one, plot T\(x\[:, None\]\) over x"),
        (lambda: draw(d=4), ValueError, r"fix the others by T.slice\(\{axis: value\}\)"),
        (lambda: draw(limits=1.0), TypeError, "limits must be two ascending numbers"),
        (lambda: draw(limits=(1.0,)), ValueError, "limits must be two ascending numbers"),
        (lambda: draw(limits=(1.0, 1.0)), ValueError, "limits must be two ascending numbers"),
        (lambda: draw(limits=(0.0, np.inf)), ValueError, r"limits\[1\] must be"),
        (lambda: draw(d=2, at={0: 0.0}), ValueError, "at must be left out for two variables"),
        (lambda: draw(at={}), ValueError, "at must fix one variable in each slice"),
        (lambda: draw(at=[]), ValueError, "at must fix one variable in each slice"),
        (lambda: draw(at={0: 0.0, 1: 0.0}), ValueError, "at must fix one variable"),
        (lambda: draw(at=0.5), TypeError, "at must be a dict"),
        (lambda: draw(at={3: 0.5}), ValueError, "the axis in at"),
        (lambda: draw(at={1: -0.5}), ValueError, r"at\[1\] must be"),
        (lambda: draw(n_points=1), ValueError, "n_points must be at least 2"),
        (lambda: draw(names="ab"), ValueError, "names must be 3, one a variable"),
    ],
    ids=range(20),
)
def test_what_cannot_be_drawn_is_refused(act, kind, why):
    with pytest.raises(kind, match=why):
        act()


def draw(d=3, **options):
    return FunctionDisplay.from_function(plane(NUMPY, d), **options)
