"""Columns cut out of two photographs in one pass, and their blocks as a collection of matrices.

Random 16 x 16 colour patches are columns of 768 numbers that come once. The truncated
decomposition says how large its error is, and encloses every singular value of all columns;
scikit-learn's IncrementalPCA sees the same batches in turn.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from linalgkit._core.array import Array, synchronise, to_numpy
from linalgkit._demos._contenders import EXACT, Answer, Exact
from linalgkit._demos._context import Context
from linalgkit._demos._measure import TRACED, Meter, traced_memory
from linalgkit._demos._photographs import photographs
from linalgkit._demos._pictures import empty_figure, grid
from linalgkit._demos._section import Comparison, Face, Picture, Section, Story
from linalgkit._demos._table import NOTHING, Table, small
from linalgkit._demos._tiles import tile_comparison, tile_table, tile_ways, tile_words
from linalgkit.datasets import PatchStream, image_patches
from linalgkit.plotting import SpectrumDisplay
from linalgkit.svd import IncrementalSVD, SVDResult

_SIZE = 16
_RANK = 8  # triplets, times the components asked for
_BATCH = 4  # columns at a time, times the triplets
_COLUMNS, _QUICK_COLUMNS = 51_200, 5_120
_REHEARSAL = 6  # batches in which memory is watched
_HEADER = (
    "seconds",
    "peak\nMiB",
    "error",
    "beyond\nthe optimum",
    "certified: smallest error in",
    "widest interval of\na singular value",
)
_LEGEND = (
    "Error: ||A - U U^H A|| over ||A||, the mean taken off. Beyond the optimum: over the smallest",
    "error of this rank, less one. The upper end of the interval holds for the error itself, too.",
    "Widest interval: upper over lower end, the largest of all. Time: inside the method only; the",
    "cutting of the patches and a warm-up are left out. Memory: in a run of a few batches.",
)


_FACE = Face(
    "Singular values of columns that keep coming",
    "Columns of 768 numbers, random squares of two photographs, arrive in small batches: keep the "
    "leading singular triplets up to date, with intervals that are certain to hold the singular "
    "values of everything seen. Then store 8 x 8 blocks of pixels within 5 % in as few numbers as "
    "possible, by bases that groups of blocks share.",
    """\
from linalgkit.svd import IncrementalSVD

svd = IncrementalSVD(n_components=32, center=True)
for columns in batches:  # arrays (rows, any number)
    svd.append_columns(columns)
print(svd.result().s, svd.result().sigma_bounds())""",
)


@dataclass
class Stream:
    """One who takes the columns: how it is fed, and what it cost.

    Attributes
    ----------
    name : str
        Its line in the table.
    make : callable
        Returns a fresh object with `partial_fit`.
    is_ours : bool
        Whether it takes arrays of any library, and certifies.
    meter : Meter
        Time of all columns.
    memory : Meter
        Peak of a few batches: watching memory takes time.
    """

    name: str
    make: Callable[[], Any]
    is_ours: bool
    meter: Meter = field(default_factory=Meter)
    memory: Meter = field(default_factory=Meter)
    basis: Any = None
    result: SVDResult | None = None

    def feed(self, model: Any, rows: Array, meter: Meter) -> None:
        """Let it take patches, measured."""
        rows = rows if self.is_ours else to_numpy(rows)
        with meter.turn():
            model.partial_fit(rows)

    def finish(self, model: Any) -> None:
        """Ask for the answer, measured, and keep it on the host."""
        with self.meter.turn():
            if self.is_ours:
                self.result = model.result()
                synchronise(self.result.U)
        self.basis = to_numpy(self.result.U) if self.result else model.components_.T

    def rehearse(self, blocks: list[Array]) -> None:
        """Compile what is compiled at first use, and watch the memory of a few batches."""
        for meter in (Meter(), self.memory):
            model = self.make()
            with traced_memory():
                for rows in blocks:
                    self.feed(model, rows, meter)
                if self.is_ours:
                    with meter.turn():
                        model.result()


def run(context: Context) -> Section:
    """Stream columns, group blocks, print the tables and save the picture."""
    rank = _RANK * context.n_components
    everyone = _contenders(rank, context)
    patches, n_batches = _batches(_BATCH * rank, context)
    story = Story(context, "svd", _FACE, _lead(patches, n_batches, context))
    exact = _race(everyone, patches, n_batches, context)
    columns = exact.n
    answer = exact.answer()
    table, notes = _table(everyone, answer, columns, context), _notes(everyone, answer, columns)
    story.tell(table, "\n".join(_LEGEND), tuple(notes))
    ways = tile_ways(context)
    legend, remarks = tile_words(ways)
    story.tell(tile_table(ways), legend, remarks)
    picture = story.file("singular-values.png")
    _save_bands(everyone, answer, columns, picture)
    return story.end(
        [_picture(picture)], [_comparison(everyone, answer, columns), tile_comparison(ways)]
    )


def _picture(path: Path) -> Picture:
    return Picture(
        path,
        "Singular values found, the exact ones, and a band around them, for two numbers of "
        "triplets kept.",
        "The singular values found, with the band that is certain to hold the exact ones; the more "
        "triplets are kept on the way, the narrower the band.",
    )


def _comparison(everyone: list[Stream], exact: Answer, columns: int) -> Comparison:
    """Return our cheapest stream beside scikit-learn's."""
    ours, rival = everyone[0], everyone[-1]
    (error, best), (other, _) = (_error(c.basis, exact) for c in (ours, rival))
    assert ours.result is not None
    return Comparison(
        f"{columns:,} columns of {exact.vectors.shape[0]} numbers, batch by batch",
        f"{ours.result.rank} triplets, error {small(error / best - 1.0)} over the smallest",
        "every singular value in an interval",
        ours.meter.seconds,
        rival.name,
        rival.meter.seconds,
        "excess error",
        error / best - 1.0,
        other / best - 1.0,
    )


def _contenders(rank: int, context: Context) -> list[Stream]:
    make_rival = context.scikit("decomposition.IncrementalPCA")

    def ours(n_oversamples: int) -> Callable[[], Any]:
        return lambda: IncrementalSVD(rank, n_oversamples=n_oversamples, center=True)

    return [
        Stream(f"linalgkit, {rank + over} kept", ours(over), True)
        for over in (max(10, rank // 5), max(20, rank))
    ] + [Stream("scikit-learn IncrementalPCA", lambda: make_rival(rank), False)]


def _batches(batch: int, context: Context) -> tuple[PatchStream, int]:
    """Return the columns, and how many batches of them are wanted."""
    like = None if context.library == "numpy" else context.like
    patches = image_patches(
        photographs(context, _SIZE),
        _SIZE,
        block_rows=batch,
        order="random",
        like=like,
        rng=context.seed,
    )
    wanted = _QUICK_COLUMNS if context.quick else _COLUMNS
    return patches, min(max(1, wanted // batch), max(1, patches.n_rows // batch))


def _lead(patches: PatchStream, n_batches: int, context: Context) -> str:
    return (
        f"Singular values of {n_batches * patches.block_rows:,} columns, patches of "
        f"{' x '.join(map(str, patches.patch_shape))} = {patches.n_columns} numbers, "
        f"{patches.block_rows} at a time ({context.library})."
    )


def _race(everyone: list[Stream], patches: PatchStream, n_batches: int, context: Context) -> Exact:
    """Let all take each batch in turn, the one with the exact answer last."""
    rehearsal = list(itertools.islice(iter(patches), min(_REHEARSAL, n_batches)))
    exact = Exact(patches.n_columns)
    turns = []
    for contender in everyone:
        contender.rehearse(rehearsal)
        turns.append((contender, contender.make()))
    with context.progress("columns", total=n_batches * patches.block_rows) as bar:
        for block in itertools.islice(iter(patches), n_batches):
            for contender, model in turns:
                contender.feed(model, block, contender.meter)
            exact.take(to_numpy(block))
            bar.update(int(block.shape[0]))
        for contender, model in turns:
            contender.finish(model)
            context.done(contender.name, contender.meter.seconds)
    return exact


def _error(basis: Any, exact: Answer) -> tuple[float, float]:
    """Return the relative error of a projection, and that of the best one of its rank."""
    weights = exact.variances.clip(min=0.0)
    total = float(weights.sum())
    inside = float((weights[:, None] * (exact.vectors.T @ basis) ** 2).sum())
    best = float(weights[basis.shape[1] :].sum())
    return max(0.0, 1.0 - inside / total) ** 0.5, (best / total) ** 0.5


def _table(everyone: list[Stream], exact: Answer, columns: int, context: Context) -> Table:
    """Return what each took, how far it is off, and what it says of that itself."""
    rows = []
    for contender in everyone:
        error, best = _error(contender.basis, exact)
        is_traced = context.library in TRACED or not contender.is_ours
        peak = f"{contender.memory.peak / 2**20:.1f}" if is_traced else NOTHING
        cost = f"{contender.meter.seconds:.2f}", peak
        beyond = small(error / best - 1.0)
        rows.append((contender.name, *cost, f"{error:.5f}", beyond, *_certificate(contender)))
    _, best = _error(everyone[0].basis, exact)
    rows.append((EXACT, NOTHING, NOTHING, f"{best:.5f}", "0", NOTHING, NOTHING))
    return Table((f"rank {everyone[0].basis.shape[1]}, {columns:,} columns", *_HEADER), rows)


def _certificate(contender: Stream) -> tuple[str, str]:
    found = contender.result
    if found is None:
        return NOTHING, NOTHING
    lower, upper = (end / found.norm_fro for end in found.optimal_error_bounds())
    low, high = (to_numpy(end) for end in found.sigma_bounds())
    widest = f"{float((high / low).max()):.2f}"
    return f"{lower:.5f} to {upper:.5f}", widest


def _notes(everyone: list[Stream], exact: Answer, columns: int) -> list[str]:
    """Return how many exact singular values lie in their intervals, and how exact the error is."""
    notes = []
    for contender in everyone:
        found = contender.result
        if found is None:
            continue
        truth = _singular_values(exact, columns)[: found.rank]
        lower, upper = (to_numpy(end) for end in found.sigma_bounds())
        held = int(((lower <= truth) & (truth <= upper)).sum())
        notes.append(
            f"{contender.name}: {held} of {found.rank} exact singular values lie in their "
            f"intervals; ||A - U diag(s) Vh|| = {found.error_fro / found.norm_fro:.7f} of ||A|| "
            f"({found.error_kind})."
        )
    return notes


def _singular_values(exact: Answer, columns: int) -> Any:
    return ((columns - 1) * exact.variances.clip(min=0.0)) ** 0.5


def _save_bands(everyone: list[Stream], exact: Answer, columns: int, path: Path) -> None:
    """Save the singular values with the band that encloses the exact ones."""
    certified = [contender for contender in everyone if contender.result is not None]
    figure: Any = None
    panels: list[Any] = []
    for i, contender in enumerate(certified):
        assert contender.result is not None
        lower, upper = contender.result.sigma_bounds()
        truth = _singular_values(exact, columns)[: contender.result.rank]
        display = SpectrumDisplay(
            contender.result.s, lower=lower, upper=upper, reference=truth, ylabel="singular value"
        )
        if figure is None:
            figure = empty_figure(display, (4.2 * len(certified), 3.6))
            panels = grid(figure, 1, len(certified))
        display.plot(ax=panels[i], title=contender.name)
    lowest = min(panel.get_ylim()[0] for panel in panels)
    highest = max(panel.get_ylim()[1] for panel in panels)
    for panel in panels:
        panel.set_ylim(lowest, highest)
    figure.savefig(path, dpi=90)
