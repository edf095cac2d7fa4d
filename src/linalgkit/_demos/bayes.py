"""Sparse unknowns with Kronecker structure: a radio channel, a million unknowns, and a billion.

The paper's uplink over a reflecting surface is estimated by its algorithms and by ours; then
problems are solved whose dense matrix nobody could store; then one that dense sparse Bayesian
learning can take, too.
"""

from __future__ import annotations

import math
from pathlib import Path
from statistics import mean
from typing import Any

from linalgkit._core.array import asarray, namespace_of, numpy_namespace, to_numpy
from linalgkit._demos._context import Context
from linalgkit._demos._many_unknowns import (
    Recovery,
    recover,
    recovery_comparison,
    recovery_legend,
    recovery_table,
    small_comparison,
    small_problems,
    small_table,
)
from linalgkit._demos._pictures import empty_figure, grid
from linalgkit._demos._section import Face, Picture, Section, Story
from linalgkit._demos._uplink import (
    OURS,
    WAYS,
    Uplink,
    measure_uplink,
    uplink_comparison,
    uplink_legend,
    uplink_summary,
    uplink_table,
)
from linalgkit.plotting import SupportDisplay
from linalgkit.plotting._display import BLUE, FAINT, INK, MUTED, ORANGE, quieten

_HOST = numpy_namespace()
# 95 % of circular normal numbers of variance one have a modulus below this.
_LEVEL = math.sqrt(-math.log(0.05))
_STYLES = ("o-", "s-", "v--", "^--", "D--", "x:", "-")
_COLOURS = (BLUE, "#7aa6d6", ORANGE, "#e0a030", "#8c4a9e", MUTED, INK)


_FACE = Face(
    "A million unknowns, most of them zero",
    "Far fewer equations than unknowns, but the unknowns are a grid of a few rows, columns and "
    "layers that matter, as the angles of a radio channel are: find which ones, their values and "
    "the noise, with nothing told. No matrix of the size of the problem can be stored.",
    """\
from linalgkit.bayes import kron_sbl

result = kron_sbl([H1, H2, H3], y)  # y = (H1 kron H2 kron H3) x + noise
print(result.support, result.noise_var, result.status)
print(result.kkt_residual, result.excluded_gain, result.price)
print(result.coef.shape, result.variance().max())""",
)


def run(context: Context) -> Section:
    """Solve, print the tables and save the pictures."""
    lead = f"Sparse unknowns seen through Kronecker products ({context.library})."
    story = Story(context, "bayes", _FACE, lead)
    study = measure_uplink(context)
    story.tell(uplink_table(study), uplink_legend(study), uplink_summary(study))
    found = recover(context)
    story.tell(recovery_table(found), recovery_legend(found))
    few = small_problems(context)
    story.tell(small_table(few))
    channels, million = (story.file(f"bayes-{name}.png") for name in ("channels", "million"))
    _save_channels(study, channels)
    _save_million(found[0], million)
    comparisons = [uplink_comparison(study), recovery_comparison(found[-1]), small_comparison(few)]
    return story.end(_pictures(channels, million), comparisons)


def _pictures(channels: Path, million: Path) -> list[Picture]:
    return [
        Picture(
            channels,
            "Left: mean error of the channel over the signal-to-noise ratio, a line a method. "
            "Right: the error of every single channel at one ratio.",
            "Left: mean errors; a method that misses one channel shows it. Right: every channel; "
            "near 1 nothing of it is known.",
        ),
        Picture(
            million,
            "Left: the weights of the indices of each of three modes, the true ones marked. Right: "
            "errors of the coefficients over their posterior standard deviations.",
            "Left: which indices of the three modes were found, beside the true ones. Right: the "
            "error of each coefficient in units of what the answer says of its own uncertainty.",
        ),
    ]


# ------------------------------------------------------------------------------- the pictures


def _save_channels(study: Uplink, path: Path) -> None:
    """Save the mean errors over the signal-to-noise ratio, and each single one."""
    figure = empty_figure(SupportDisplay([_HOST.ones(1)]), (12.0, 5.2))
    left, right = grid(figure, 1, 2)
    for way, style, colour in zip(WAYS, _STYLES, _COLOURS, strict=True):
        errors = [mean(study.errors(way, snr)) for snr in study.snrs]
        width = 2.2 if way == OURS else 1.4
        left.plot(study.snrs, errors, style, color=colour, label=way, linewidth=width)
    _finish(left, f"mean over {study.channels} channels")
    left.set_xticks(study.snrs)
    left.set_xlabel("signal over noise, dB", color=INK)
    left.set_ylabel("relative squared error of the channel", color=INK)
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.1)
    figure.legend(
        handles=list(left.lines), loc="outside lower center", ncols=4, frameon=False, fontsize=8,
        labelcolor=INK,
    )  # fmt: skip
    _draw_each(study, study.snrs[len(study.snrs) // 2], right)
    figure.savefig(path, dpi=90)


def _draw_each(study: Uplink, snr: int, ax: Any) -> None:
    """Draw the error of every channel, one line a method."""
    for i, (way, colour) in enumerate(zip(WAYS, _COLOURS, strict=True)):
        errors = study.errors(way, snr)
        ax.plot(errors, [i] * len(errors), "o", color=colour, alpha=0.6, markersize=6)
        ax.plot([mean(errors)], [i], "|", color=colour, markersize=20, markeredgewidth=2)
    _finish(ax, f"every channel at {snr} dB; bars are means")
    ax.set_yscale("linear")
    ax.set_xscale("log")
    ax.set_yticks(range(len(WAYS)), [way.replace(", ", ",\n") for way in WAYS], fontsize=8)
    ax.set_ylim(len(WAYS) - 0.5, -0.5)
    ax.grid(axis="y", visible=False)
    ax.grid(axis="x", color=FAINT, linewidth=0.6)
    ax.set_xlabel("relative squared error of the channel", color=INK)


def _finish(ax: Any, title: str) -> None:
    ax.set_yscale("log")
    quieten(ax)
    ax.set_title(title, loc="left", fontsize=10, color=MUTED)


def _save_million(found: Recovery, path: Path) -> None:
    """Save the support of the first large problem, and its coefficients beside the true ones."""
    problem, result = found.problem, found.result
    display = SupportDisplay(result.gamma, reference=problem.support)
    figure = empty_figure(display, (12.0, 4.2))
    left, right = grid(figure, 1, 2)
    display.plot(left, title=f"{found.size.name} unknowns")
    _draw_coefficients(problem, result, right)
    figure.savefig(path, dpi=90)


def _draw_coefficients(problem: Any, result: Any, ax: Any) -> None:
    """Draw the errors of the posterior mean in units of its own standard deviation."""
    index = _HOST.stack(_HOST.meshgrid(*map(to_numpy, problem.support), indexing="ij"), axis=-1)
    rows = _moved(index.reshape(-1, index.shape[-1]), result.support[0])
    found, variance = (to_numpy(ask(rows)) for ask in (result.mean, result.variance))
    true = to_numpy(problem.coef).reshape(-1)
    spread = _HOST.sqrt(_HOST.where(variance > 0, variance, _HOST.nan))  # NaN: not in the support
    errors = abs(found - true) / spread
    inside = int((errors <= _LEVEL).sum())
    ax.plot(abs(true), errors, "o", color=BLUE, markersize=4, alpha=0.7)
    ax.axhline(_LEVEL, color=ORANGE, linewidth=1.2)
    ax.annotate(
        f"{inside} of {true.shape[0]} below, 95 % expected", (1.0, _LEVEL), (0, 3), ha="right",
        xycoords=("axes fraction", "data"), textcoords="offset points", color=ORANGE, fontsize=9,
    )  # fmt: skip
    ax.set_ylim(0.0, None)
    ax.set_xlabel("modulus of the true coefficient", color=INK)
    ax.set_ylabel("error over posterior standard deviation", color=INK)
    quieten(ax)
    ax.set_title("every coefficient that is not zero", loc="left", fontsize=10, color=MUTED)


def _moved(rows: Any, like: Any) -> Any:
    """Return host indices in the library of `like`."""
    xp, device = namespace_of(like)
    return asarray(rows, xp=xp, device=device)
