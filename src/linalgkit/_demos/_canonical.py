"""The function behind the canonical tensor of ``--data``: ranks, errors and a picture."""

from __future__ import annotations

import textwrap
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

from linalgkit._core.array import Array, asarray, namespace_of, numpy_namespace, to_numpy
from linalgkit._core.validation import AccuracyWarning
from linalgkit._demos._context import Context
from linalgkit._demos._data import MODES, CanonicalTensor
from linalgkit._demos._table import Table, small
from linalgkit.chebyshev import ChebTucker, chebtucker_from_cp
from linalgkit.plotting import FunctionDisplay

_HOST = numpy_namespace()
_CUBE = ((-1.0, 1.0),) * MODES
_TOL = 1e-6
_CELLS = 20_000  # at which the largest value is looked for
# A term is smooth where no value departs from the mean of its neighbours by more than this share.
_BEND = 2e-3
# Above this error a grid is too coarse for the whole tensor.
_POOR = 1e-3
_LEGEND = (
    "Terms: of the tensor; ranks, degrees: the largest. Told: what the function says of its\n"
    "error. True: the largest at all cells of the three planes through the largest value met, and\n"
    "at 20,000 others. Both over that value. The estimate is a sample: the truth may be a little\n"
    "larger. The published reduction cuts the columns at an absolute tolerance."
)


class Reduced(NamedTuple):
    """A function found, its tensor, and its cost."""

    name: str
    tensor: CanonicalTensor
    function: ChebTucker
    peak: tuple[int, ...]
    scale: float
    error: float
    seconds: float
    warning: str


def reduce_data(context: Context, tensor: CanonicalTensor) -> list[Reduced]:
    """Reduce a tensor, and where the grid is too coarse for it, its smooth terms."""
    found = _both(context, "all terms", tensor)
    if found[0].error > _POOR:
        smooth = _smooth(tensor)
        if 0 < int(smooth.sum()) < smooth.shape[0]:
            found += _both(context, "smooth terms", tensor.part(smooth))
    return found


def _both(context: Context, name: str, tensor: CanonicalTensor) -> list[Reduced]:
    methods = (("", "weighted"), (", as published", "rhosvd"))
    return [_reduced(context, name + note, method, tensor) for note, method in methods]


def _smooth(tensor: CanonicalTensor) -> Array:
    """Return which terms the grid resolves in every mode."""
    kept = _HOST.ones(tensor.weights.shape[0], dtype=bool)
    for U in tensor.factors:
        bends = abs(U[1:-1, :] - (U[2:, :] + U[:-2, :]) / 2)
        kept &= bends.max(axis=0, initial=0.0) <= _BEND * abs(U).max(axis=0)
    return kept


def _reduced(context: Context, name: str, method: str, tensor: CanonicalTensor) -> Reduced:
    xp, where = namespace_of(context.like)
    weights, *factors = (asarray(A, xp=xp, device=where) for A in (tensor.weights, *tensor.factors))
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", AccuracyWarning)
        T = chebtucker_from_cp(weights, factors, _CUBE, tol=_TOL, method=method)
    seconds = time.perf_counter() - start
    peak, scale, error = _measured(context, T, tensor)
    warning = str(caught[0].message) if caught else ""
    return Reduced(name, tensor, T, peak, scale, error, seconds, warning)


def _measured(
    context: Context, T: ChebTucker, tensor: CanonicalTensor
) -> tuple[tuple[int, ...], float, float]:
    """Return the cell of the largest value met, its modulus, and the relative error."""
    rng = _HOST.random.default_rng(context.seed)
    index = rng.integers(_HOST.asarray(tensor.shape), size=(_CELLS, MODES))
    values = tensor.at(index)
    grids = [cells(n) for n in tensor.shape]
    points = _HOST.stack([g[index[:, k]] for k, g in enumerate(grids)], axis=1)
    worst = abs(_on_host(context, T, points) - values).max()
    peak = _climbed(tensor, index[int(abs(values).argmax()), :])
    scale = abs(tensor.at(_HOST.asarray([peak]))[0])
    for axis in range(MODES):
        exact = tensor.plane(axis, peak[axis])
        chosen = [g[peak[k] : peak[k] + 1] if k == axis else g for k, g in enumerate(grids)]
        found = to_numpy(T.grid(*_moved(context, chosen))).reshape(exact.shape)
        worst = max(worst, abs(found - exact).max())
    return peak, float(scale), float(worst / scale) if scale else 0.0


def _climbed(tensor: CanonicalTensor, start: Array) -> tuple[int, ...]:
    """Return the cell of the largest modulus in the planes through the one before."""
    peak = [int(i) for i in start]
    for axis in range(MODES):
        plane = abs(tensor.plane(axis, peak[axis]))
        found = divmod(int(plane.argmax()), plane.shape[1])
        for k, i in zip((k for k in range(MODES) if k != axis), found, strict=True):
            peak[k] = i
    return tuple(peak)


def cells(n: int) -> Array:
    """Return the centres of n equal cells of [-1, 1]."""
    return (2.0 * _HOST.arange(n) + 1.0) / n - 1.0


def _moved(context: Context, arrays: list[Array]) -> list[Array]:
    xp, where = namespace_of(context.like)
    return [asarray(A, xp=xp, device=where) for A in arrays]


def _on_host(context: Context, T: ChebTucker, points: Array) -> Any:
    return to_numpy(T(_moved(context, [points])[0]))


# --------------------------------------------------------------------------------- what is shown


def data_table(found: list[Reduced]) -> Table:
    """Return ranks and errors."""
    tensor = found[0].tensor
    header = (
        f"{tensor.name},\n{' x '.join(map(str, tensor.shape))} cells, tol {_TOL:.0e}",
        "terms",
        "rank /\ndegree",
        "error\ntold",
        "error\ntrue",
        "status",
        "seconds",
        "kB",
    )
    left = frozenset({header.index("status")})
    return Table(header, [_line(r) for r in found], left=left)


def _line(r: Reduced) -> tuple[str, ...]:
    T = r.function
    estimate = T.error_estimate / r.scale if r.scale else 0.0
    return (
        r.name,
        str(r.tensor.weights.shape[0]),
        most(T),
        small(estimate),
        small(r.error),
        T.status,
        f"{r.seconds:.2f}",
        f"{T.nbytes / 1e3:.0f}",
    )


def by(numbers: tuple[int, ...]) -> str:
    """Return numbers with crosses between, or one where all are the same."""
    return f"{numbers[0]}" if len(set(numbers)) == 1 else " x ".join(map(str, numbers))


def most(T: ChebTucker) -> str:
    """Return the largest rank and the largest degree."""
    return f"{max(T.ranks)} / {max(T.degrees)}"


def data_legend(found: list[Reduced]) -> str:
    """Return what the table says, and what the functions warned of."""
    told = [textwrap.fill(f"Warned, {r.name}: {r.warning}", 94) for r in found if r.warning]
    return "\n".join([_LEGEND, *told])


def save_data(found: list[Reduced], path: Path) -> None:
    """Save slices of the last function by our method through its largest value."""
    best = [r for r in found if "published" not in r.name][-1]
    at = [{k: float(cells(n)[best.peak[k]])} for k, n in enumerate(best.tensor.shape)][::-1]
    title = f"{best.tensor.name}, {best.name}: ranks {by(best.function.ranks)}"
    display = FunctionDisplay.from_function(best.function, at, unit="value", title=title)
    display.figure_.savefig(path, dpi=90)
