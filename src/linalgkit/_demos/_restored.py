"""A photograph of which seven pixels in ten are hidden, restored by way of its patches.

A photograph is no matrix of low rank, but the table of its small patches nearly is: every patch a
row, cut anew every few pixels. Each pixel is then the mean of what the patches over it say.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import scipy.interpolate

from linalgkit._core.array import Array, asarray, namespace_of, numpy_namespace, to_numpy
from linalgkit._core.validation import AccuracyWarning
from linalgkit._demos._context import Context
from linalgkit._demos._measure import Meter
from linalgkit._demos._photographs import photographs
from linalgkit._demos._section import Comparison, too_narrow
from linalgkit._demos._table import NOTHING, Table
from linalgkit.completion import CompletionResult, complete_matrix

_HOST = numpy_namespace()
HIDDEN = 0.7  # share of the pixels
_ASIDE = 0.1  # share of the seen pixels that are held out
_SIZE, _STEP = 5, 2  # of a patch, and from one to the next
_PIECE = (64, 96)  # for the rival
_ASKED = 20_000  # intervals
LEVEL = 0.9


@dataclass(frozen=True)
class Picture:
    """A photograph with hidden pixels, all on the host.

    Attributes
    ----------
    pixels : array (h, w, channels)
        The original, in [0, 255].
    hidden : boolean array (h, w)
        Where nothing is seen.
    """

    pixels: Any
    hidden: Any

    @property
    def seen(self) -> Any:
        """The photograph with NaN where it is hidden."""
        return _HOST.where(self.hidden[:, :, None], _HOST.nan, self.pixels)

    def piece(self) -> Picture:
        """Return the middle of it."""
        starts = [max(0, (n - p) // 2) for n, p in zip(self.hidden.shape, _PIECE, strict=True)]
        part = tuple(slice(s, s + p) for s, p in zip(starts, _PIECE, strict=True))
        return Picture(self.pixels[part], self.hidden[part])

    def error(self, restored: Any) -> float:
        """Return the root mean square error of the hidden pixels."""
        return float(_HOST.sqrt(_HOST.mean((restored - self.pixels)[self.hidden, :] ** 2)))


@dataclass(frozen=True)
class Restored:
    """What one way made of a picture.

    Attributes
    ----------
    name : str
        Its line in the table.
    picture : Picture
        The original.
    pixels : array (h, w, channels)
        The restored one, on the host.
    seconds : float
        Time inside the method.
    result : CompletionResult or None
        The certificate.
    entry_error, covered : float
        True error of the hidden entries of the table, and share of them that their intervals hold.
    """

    name: str
    picture: Picture
    pixels: Any
    seconds: float
    result: CompletionResult | None = None
    entry_error: float = math.nan
    covered: float = math.nan


def hide(context: Context) -> Picture:
    """Return the second photograph with pixels hidden at random."""
    pixels = photographs(context, 4 * _SIZE)[-1].astype(_HOST.float32)
    rng = _HOST.random.default_rng(context.seed)
    return Picture(pixels, rng.random(pixels.shape[:2]) < HIDDEN)


def restore(context: Context, picture: Picture) -> list[Restored]:
    """Restore the photograph and a piece of it in every way."""
    piece = picture.piece()
    _ours(context, piece, "")  # what is compiled at first use
    ways: list[Callable[[], Restored]] = [
        lambda: _ours(context, picture, "complete_matrix"),
        lambda: _interpolated(picture),
        lambda: _ours(context, piece, "complete_matrix, a piece"),
        lambda: _interpolated(piece, ", the piece"),
        lambda: _chained(context, piece),
    ]
    found = []
    for way in ways:
        found.append(way())
        context.done(found[-1].name, found[-1].seconds)
    return found


# ------------------------------------------------------------------------------------ patches


def patches(pixels: Any) -> Any:
    """Return all patches as rows, (patches, numbers), those of a line one after the other."""
    windows = _windows(pixels)
    return _HOST.reshape(windows, (windows.shape[0] * windows.shape[1], -1))


def _windows(pixels: Any) -> Any:
    view = _HOST.lib.stride_tricks.sliding_window_view(pixels, (_SIZE, _SIZE), axis=(0, 1))
    return view[::_STEP, ::_STEP]


def pasted(rows: Any, pixels: Any) -> Any:
    """Return the mean of the patches over each pixel; the rim that has none stays as it is."""
    values = _HOST.reshape(rows, _windows(pixels).shape)
    total, number = _HOST.zeros(pixels.shape), _HOST.zeros((*pixels.shape[:2], 1))
    down, across = values.shape[:2]
    for i in range(_SIZE):
        for j in range(_SIZE):
            place = (slice(i, i + _STEP * down, _STEP), slice(j, j + _STEP * across, _STEP))
            total[place][:down, :across] += values[:, :, :, i, j]
            number[place][:down, :across] += 1.0
    return _HOST.where(number > 0, total / _HOST.maximum(number, 1.0), pixels)


def _trimmed(picture: Picture) -> Picture:
    """Return the part of the picture that patches cover."""
    h, w = (_SIZE + (n - _SIZE) // _STEP * _STEP for n in picture.hidden.shape)
    return Picture(picture.pixels[:h, :w], picture.hidden[:h, :w])


def _spread(flags: Any, channels: int) -> Any:
    """Return flags of pixels as flags of the entries of the table of patches."""
    return patches(_HOST.repeat(flags[:, :, None], channels, axis=2))


# ---------------------------------------------------------------------------------- the ways


def _ours(context: Context, picture: Picture, name: str) -> Restored:
    """Complete the table of patches; some pixels that are seen are held out."""
    picture = _trimmed(picture)
    channels = picture.pixels.shape[2]
    # Not the numbers that have hidden the pixels: none of those seen would be held out.
    rng = _HOST.random.default_rng(_HOST.random.SeedSequence(context.seed, spawn_key=(1,)))
    aside = ~picture.hidden & (rng.random(picture.hidden.shape) < _ASIDE)
    xp, device = namespace_of(context.like)
    table, held = (
        asarray(x, xp=xp, device=device) for x in (patches(picture.seen), _spread(aside, channels))
    )
    meter = Meter()
    with meter.turn(), warnings.catch_warnings():
        warnings.simplefilter("ignore", AccuracyWarning)  # its status stands in the table
        result = complete_matrix(table, shrink=True, bias=True, validation=held, rng=context.seed)
        rows = to_numpy(result.block())
    whole = _filled(picture, pasted(rows, picture.pixels))
    truth, hidden = patches(picture.pixels), _spread(picture.hidden, channels)
    entry = float(_HOST.sqrt(_HOST.mean((rows - truth)[hidden] ** 2)))
    covered = _coverage(result, truth, hidden, rng)
    return Restored(name, picture, whole, meter.seconds, result, entry, covered)


def _filled(picture: Picture, pixels: Any) -> Any:
    """Return the pixels that were seen, and the restored ones where they were not."""
    return _HOST.where(picture.hidden[:, :, None], _HOST.clip(pixels, 0, 255), picture.pixels)


def _coverage(result: CompletionResult, truth: Any, hidden: Any, rng: Any) -> float:
    """Return the share of hidden entries, of a sample, that lie in their intervals."""
    i, j = _HOST.nonzero(hidden)
    some = rng.choice(i.shape[0], min(_ASKED, i.shape[0]), replace=False)
    i, j = i[some], j[some]
    low, high = (to_numpy(end) for end in result.interval(i, j, LEVEL, noisy=True))
    return float(_HOST.mean((low <= truth[i, j]) & (truth[i, j] <= high)))


def _interpolated(picture: Picture, which: str = "") -> Restored:
    """Interpolate linearly between the pixels that are seen: what knows of neighbours alone."""
    picture = _trimmed(picture)
    meter = Meter()
    with meter.turn():
        seen, places = _HOST.argwhere(~picture.hidden), _HOST.argwhere(picture.hidden)
        values = picture.pixels[~picture.hidden, :]
        found = scipy.interpolate.LinearNDInterpolator(seen, values)(places)
        outside = _HOST.isnan(found[:, 0])
        nearest = scipy.interpolate.NearestNDInterpolator(seen, values)
        if outside.any():
            found[outside, :] = nearest(places[outside, :])
        pixels = picture.pixels.copy()
        pixels[picture.hidden, :] = found
    return Restored(f"linear interpolation{which}", picture, pixels, meter.seconds)


def _chained(context: Context, picture: Picture) -> Restored:
    """Fill the same table with scikit-learn's chained regressions."""
    make = context.scikit("experimental.enable_iterative_imputer.IterativeImputer")
    picture = _trimmed(picture)
    model = make(max_iter=5, random_state=context.seed, keep_empty_features=True)
    meter = Meter()
    with meter.turn(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that five rounds do not converge
        rows = model.fit_transform(patches(picture.seen))
    whole = _filled(picture, pasted(rows, picture.pixels))
    truth, hidden = patches(picture.pixels), _spread(picture.hidden, picture.pixels.shape[2])
    entry = float(_HOST.sqrt(_HOST.mean((rows - truth)[hidden] ** 2)))
    name = "scikit-learn IterativeImputer, the piece"
    return Restored(name, picture, whole, meter.seconds, entry_error=entry)


# ------------------------------------------------------------------------------- the table


def restored_table(everyone: list[Restored]) -> Table:
    """Return errors, certificates and times."""
    header = (
        f"{HIDDEN:.0%} of the pixels hidden".replace("%", " %"),
        "pixels",
        "error",
        "PSNR\ndB",
        "seconds",
        "rank",
        "noise",
        "held\nout",
        "of an\nentry",
        f"in {100 * LEVEL:.0f} %\nintervals",
    )
    return Table(header, [_line(r) for r in everyone])


def _line(r: Restored) -> tuple[str, ...]:
    error = r.picture.error(r.pixels)
    h, w = r.picture.hidden.shape
    return (
        r.name,
        f"{h} x {w}",
        f"{error:.2f}",
        f"{20 * math.log10(255 / max(error, 1e-12)):.1f}",
        f"{r.seconds:.2f}",
        *_certificate(r.result),
        NOTHING if math.isnan(r.entry_error) else f"{r.entry_error:.2f}",
        NOTHING if math.isnan(r.covered) else f"{100 * r.covered:.0f} %",
    )


def _certificate(result: CompletionResult | None) -> tuple[str, str, str]:
    if result is None or result.validation_rmse is None:
        return (NOTHING,) * 3
    return str(result.rank), f"{result.noise_estimate:.2f}", f"{result.validation_rmse:.2f}"


def restored_comparisons(everyone: list[Restored]) -> list[Comparison]:
    """Return ours beside interpolation, and on the piece beside chained regressions."""
    whole, interpolated, piece, _, chained = everyone
    return [_beside(whole, interpolated), _beside(piece, chained)]


def _beside(ours: Restored, rival: Restored) -> Comparison:
    h, w = ours.picture.hidden.shape
    error, other = (r.picture.error(r.pixels) for r in (ours, rival))
    assert ours.result is not None
    return Comparison(
        f"{h} x {w} pixels, {100 * HIDDEN:.0f} % of them hidden",
        f"hidden pixels within {error:.1f} of 255 (root mean square)",
        f"{100 * ours.covered:.0f} % of the hidden entries in {100 * LEVEL:.0f} % intervals",
        ours.seconds,
        rival.name,
        rival.seconds,
        "error",
        error,
        other,
        broken=too_narrow(ours.covered, LEVEL),
    )


def restored_legend(r: Restored) -> str:
    """Return what the table says."""
    m, n = r.result.shape if r.result is not None else (0, 0)
    return (
        f"Patches of {_SIZE} x {_SIZE} pixels, one every {_STEP}, are the rows of a table, {m:,} x "
        f"{n} for the whole photograph;\neach pixel is the mean of the patches over it. Error: "
        "root mean square of the hidden pixels, of 255. What the\ncompletion says of itself, of "
        "an entry of the table: the noise, and the error on pixels held out, beside the true\n"
        "error of the hidden entries. Intervals: the share of hidden entries inside. They count "
        "the noise of the model\nas if it were equal everywhere; edges are where it is not. "
        "Interpolation knows that neighbours are alike, which\nno completion of a matrix does."
    )


def observed_pixels(picture: Picture) -> Array:
    """Return the photograph with hidden pixels in white."""
    return _HOST.where(picture.hidden[:, :, None], 255.0, picture.pixels)
