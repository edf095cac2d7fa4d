"""Functions as small Tucker cores: the potential of a crystal, callables, and a canonical tensor.

The long-range electrostatic potential of rock salt is found from its ions, compared with direct
sums, and drawn; functions are found to a tolerance; the tensor of ``--data`` is reduced.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from linalgkit._core.array import asarray, namespace_of, numpy_namespace, to_numpy
from linalgkit._demos._callables import (
    fit_functions,
    function_comparison,
    function_legend,
    function_table,
    save_errors,
)
from linalgkit._demos._canonical import data_legend, data_table, reduce_data, save_data
from linalgkit._demos._compression import (
    tucker_block,
    tucker_comparison,
    tucker_formats,
)
from linalgkit._demos._context import Context
from linalgkit._demos._crystal import (
    VOLT,
    Solid,
    crystal_comparison,
    crystal_legend,
    crystal_table,
    measure_crystals,
)
from linalgkit._demos._data import CanonicalTensor
from linalgkit._demos._section import Face, Picture, Section, Story
from linalgkit.chebyshev import ChebTucker
from linalgkit.plotting import FunctionDisplay, Slice
from linalgkit.plotting._display import INK, MUTED

_HOST = numpy_namespace()
_ARROW = 2.0  # angstrom that the largest force is drawn long
_COLOURS = {1.0: "#ffffff", -1.0: "#222222"}


_FACE = Face(
    "Functions to compute with",
    "Replace a function of three variables by an object of a few hundred kilobytes that can be "
    "evaluated, differentiated and integrated, to a tolerance told: for the electrostatic "
    "potential of a crystal of ions, and for formulas. Values at many points then cost little.",
    """\
from linalgkit.chebyshev import chebtucker

T = chebtucker(f, [(-1, 1)] * 3, tol=1e-8, rng=0)  # f takes points (n, 3)
print(T.ranks, T.degrees, T.error_estimate / T.scale, T.status)
print(T(points), T.gradient(points))
print(T.integrate(), T.maximum())""",
)


def run(context: Context) -> Section:
    """Find the functions, print the tables and save the pictures."""
    lead = f"Functions as Tucker cores with polynomial factors ({context.library})."
    story = Story(context, "chebyshev", _FACE, lead)
    solids = measure_crystals(context)
    hot = next(s for s in reversed(solids) if s.case.route == "moments")
    story.tell(crystal_table(solids), crystal_legend(solids))
    formats, fitted = tucker_formats(context, hot), fit_functions(context)
    story.tell(tucker_block(formats), function_table(fitted), function_legend(fitted))
    crystal, errors = (story.file(f"chebyshev-{name}.png") for name in ("crystal", "errors"))
    _save_crystal(solids[-1], hot, crystal)
    save_errors(context, errors)
    pictures = _pictures(crystal, errors)
    if context.data is not None:
        pictures.append(_reduced(context, context.data, story))
    comparisons = [crystal_comparison(solids), function_comparison(fitted)]
    return story.end(pictures, [*comparisons, *tucker_comparison(formats)])


def _reduced(context: Context, tensor: CanonicalTensor, story: Story) -> Picture:
    """Reduce the tensor of ``--data``, tell of it, and return its picture."""
    found = reduce_data(context, tensor)
    story.tell(data_table(found), data_legend(found))
    path = story.file("chebyshev-data.png")
    save_data(found, path)
    return Picture(
        path,
        "Slices through the function that stands for the tensor.",
        f"The function behind {tensor.name} on planes through its largest value.",
    )


def _pictures(crystal: Path, errors: Path) -> list[Picture]:
    return [
        Picture(
            crystal,
            "The long-range potential of rock salt on a plane of ions: ideal, displaced by heat "
            "with forces as arrows, and the difference.",
            "The long-range potential on a plane of ions: the ideal crystal, the same displaced by "
            "heat with the force on each ion, and the difference of both, itself such an object.",
        ),
        Picture(
            errors,
            "Left: errors over the tolerance, true and told. Right: evaluations of the function.",
            "Left: true errors (dots) and what the function says of them (crosses), as shares of "
            "the tolerance. Right: evaluations, beside those of a full grid.",
        ),
    ]


# -------------------------------------------------------------------------------- the picture


def _save_crystal(cold: Solid, hot: Solid, path: Path) -> None:
    """Save slices through a plane of ions: ideal, displaced with forces, and their difference."""
    level = cold.crystal.lattice[2][1] / 4
    functions = {
        "ideal": cold.function,
        "heated": hot.function,
        "heated minus ideal": hot.function - cold.function,
    }
    slices = [_slice(T, level)._replace(title=title) for title, T in functions.items()]
    display = FunctionDisplay(slices, unit="volt")
    title = (
        f"long-range potential at z = {level:.2f} angstrom; sodium white, chlorine black; "
        "arrows: long-range force on each ion"
    )
    display.plot(title=title)
    for solid, ax in zip((cold, hot), display.axes_[:2], strict=True):
        _draw_ions(solid, level, ax)
    _draw_forces(hot, level, display.axes_[1])
    display.figure_.savefig(path, dpi=90)


def _slice(T: ChebTucker, level: float) -> Slice:
    """Return a slice in volts."""
    names = ("x, angstrom", "y, angstrom", "z")
    return FunctionDisplay.from_function(T * VOLT, {2: level}, names=names).slices[0]


def _plane(solid: Solid, level: float) -> Any:
    """Return which ions belong to a plane, displaced or not."""
    z = to_numpy(solid.crystal.positions)[:, 2]
    return abs(z - level) < solid.crystal.lattice[2][1] / 4


def _draw_ions(solid: Solid, level: float, ax: Any) -> None:
    kept = _plane(solid, level)
    x, q = to_numpy(solid.crystal.positions)[kept, :], to_numpy(solid.crystal.charges)[kept]
    for sign, name in ((1.0, "sodium"), (-1.0, "chlorine")):
        ions = x[q == sign, :]
        ax.plot(
            ions[:, 0], ions[:, 1], "o", color=_COLOURS[sign], markeredgecolor=INK,
            markersize=5, markeredgewidth=0.8, label=name,
        )  # fmt: skip


def _draw_forces(solid: Solid, level: float, ax: Any) -> None:
    """Draw the long-range forces on the ions of the plane: minus charge times gradient."""
    kept = _plane(solid, level)
    x, q = to_numpy(solid.crystal.positions)[kept, :], to_numpy(solid.crystal.charges)[kept]
    xp, where = namespace_of(solid.function.core)
    slopes = solid.function.gradient(asarray(x, xp=xp, device=where), outside="extrapolate")
    forces = -VOLT * q[:, None] * to_numpy(slopes)
    length = float(_HOST.hypot(forces[:, 0], forces[:, 1]).max())
    arrows = ax.quiver(
        x[:, 0], x[:, 1], forces[:, 0], forces[:, 1], color=INK, width=0.006, zorder=3,
        angles="xy", scale_units="xy", scale=length / _ARROW,
    )  # fmt: skip
    unit = float(f"{0.5 * length:.0e}")
    ax.quiverkey(
        arrows, 0.55, 1.045, unit, f"force {unit:g} eV/angstrom", labelpos="E", labelcolor=MUTED,
        fontproperties={"size": 9},
    )  # fmt: skip
