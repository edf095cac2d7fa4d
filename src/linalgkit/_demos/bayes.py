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
    recovery_legend,
    recovery_table,
    small_problems,
)
from linalgkit._demos._measure import circumstances
from linalgkit._demos._pictures import empty_figure, grid
from linalgkit._demos._uplink import (
    OURS,
    WAYS,
    Uplink,
    measure_uplink,
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


def run(context: Context) -> list[Path]:
    """Solve, print the tables and save the pictures."""
    context.say(f"Sparse unknowns seen through Kronecker products ({context.library}).")
    study = measure_uplink(context)
    channels = uplink_table(study)
    notes = [uplink_legend(study), uplink_summary(study)]
    context.say("\n" + "\n\n".join([channels.text(), *notes]))
    found = recover(context)
    large, legend = recovery_table(found), recovery_legend(found)
    context.say("\n" + "\n\n".join([large.text(), legend]))
    few = small_problems(context)
    context.say("\n" + few.text())
    page = context.output / "bayes.md"
    tables = [channels.markdown(), *notes, large.markdown(), legend, few.markdown()]
    lines = [text if text.startswith("|") else " ".join(text.split("\n")) for text in tables]
    text = "\n\n".join([f"Measured {circumstances()}.", *lines])
    page.write_text(text + "\n", encoding="utf-8")
    pictures = [context.output / f"bayes-{name}.png" for name in ("channels", "million")]
    _save_channels(study, pictures[0])
    _save_million(found[0], pictures[1])
    return [page, *pictures]


# ------------------------------------------------------------------------------- the pictures


def _save_channels(study: Uplink, path: Path) -> None:
    """Save the mean errors over the signal-to-noise ratio, and each single one."""
    figure = empty_figure(SupportDisplay([_HOST.ones(1)]), (12.0, 4.6))
    left, right = grid(figure, 1, 2)
    for way, style, colour in zip(WAYS, _STYLES, _COLOURS, strict=True):
        errors = [mean(study.errors(way, snr)) for snr in study.snrs]
        width = 2.2 if way == OURS else 1.4
        left.plot(study.snrs, errors, style, color=colour, label=way, linewidth=width)
    _finish(left, f"mean over {study.channels} channels")
    left.set_xticks(study.snrs)
    left.set_xlabel("signal over noise, dB", color=INK)
    left.set_ylabel("relative squared error of the channel", color=INK)
    left.legend(frameon=False, fontsize=8, labelcolor=INK, ncols=1, loc="lower left")
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
