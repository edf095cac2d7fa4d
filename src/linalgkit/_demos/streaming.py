"""Top eigenvectors of all overlapping 8 x 8 colour patches of two photographs.

Half a million rows of 192 numbers are cut out of the pictures block by block in random order, and
those of one picture in reading order, where neighbours are nearly equal. All contenders see each
block in turn, so that whatever else the machine does meets them alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from linalgkit._core.array import Array
from linalgkit._demos._contenders import EXACT, Contender, Exact, IncrementalPCA, Method, Ours
from linalgkit._demos._context import Context
from linalgkit._demos._measure import traced_memory
from linalgkit._demos._photographs import photographs
from linalgkit._demos._pictures import save_patches, save_spectra
from linalgkit._demos._report import Report
from linalgkit._demos._section import Comparison, Face, Picture, Section, Story
from linalgkit.datasets import PatchStream, image_patches

_SIZE = 8
_DEFAULT_BATCH = 5  # scikit-learn's default, in multiples of the columns


_FACE = Face(
    "Top eigenvectors of rows that come once",
    "Small squares of two photographs, all that there are, go by once, and none is kept: find "
    "the patterns that explain most of their variance, which are the principal components. In "
    "random order a few vectors of memory are enough; in reading order, where neighbours are "
    "nearly equal, most one-pass methods go wrong, and should say so.",
    """\
from linalgkit.streaming import StreamingEigh

model = StreamingEigh(n_components=4, center=True, rng=0)
for rows in blocks:  # arrays (n, d) from anywhere, each seen once
    model.partial_fit(rows)
print(model.result())""",
)


def run(context: Context) -> Section:
    """Run both orders, print the tables and save the pictures."""
    images = photographs(context, _SIZE)
    shuffled = _stream(images, "random", context)
    reading = _stream(images[:1], "reading", context)
    lead = (
        f"Top {context.n_components} eigenvectors of the covariance of {shuffled.n_rows:,} "
        f"patches, {' x '.join(map(str, shuffled.patch_shape))} = {shuffled.n_columns} numbers "
        f"each, in blocks of {shuffled.block_rows}; then of the {reading.n_rows:,} of one "
        f"photograph in reading order ({context.library})."
    )
    story = Story(context, "streaming", _FACE, lead)
    everyone = [*_random_order(shuffled, context), *_reading_order(reading, context)]
    for order, stream in (("random order", shuffled), ("reading order", reading)):
        _race([c for c in everyone if c.order == order], stream, order, context)
    report = Report.make(everyone, context.library)
    story.tell(*report.blocks())
    patches, spectra = story.file("eigen-patches.png"), story.file("spectrum.png")
    save_patches(report, shuffled.patch_shape, patches)
    save_spectra(report, spectra)
    return story.end(_pictures(patches, spectra), _comparisons(report, [shuffled, reading]))


def _pictures(patches: Path, spectra: Path) -> list[Picture]:
    return [
        Picture(
            patches,
            "Eigenvectors drawn as small colour patches, one row of patches for each contender.",
            "The eigenvectors as patches, for each of the two inputs the exact ones first: a "
            "constant, then slopes and bars. A row is right where it looks like the exact one of "
            "its own input; signs are free.",
        ),
        Picture(
            spectra,
            "Eigenvalues of each of our methods beside the exact eigenvalues.",
            "The eigenvalues found, beside the exact ones; bars are intervals that are certain to "
            "hold these, where a method has them.",
        ),
    ]


def _comparisons(report: Report, streams: list[PatchStream]) -> list[Comparison]:
    rival = _name(_DEFAULT_BATCH * streams[0].n_columns)
    shuffled, reading = (f"{stream.n_rows:,} patches" for stream in streams)
    return [
        report.comparison("portfolio", rival, "random order", f"{shuffled}, random order"),
        report.comparison("portfolio", EXACT, "random order", f"{shuffled}, random order"),
        report.comparison("gram", EXACT, "random order", f"{shuffled}, random order"),
        report.comparison("any order", rival, "reading order", f"{reading}, reading order"),
    ]


def _stream(images: Sequence[Any], order: str, context: Context) -> PatchStream:
    """Return patches in blocks that the rival's batches divide."""
    d = _SIZE * _SIZE * images[0].shape[2]
    block_rows = _DEFAULT_BATCH * d * 4
    like = None if context.library == "numpy" else context.like
    return image_patches(
        images, _SIZE, block_rows=block_rows, order=order, like=like, rng=context.seed
    )


def _random_order(stream: PatchStream, context: Context) -> list[Contender]:
    k, seed, order = context.n_components, context.seed, "random order"
    return [
        Contender("portfolio", order, lambda: Ours(k, method="portfolio", rng=seed)),
        Contender("gram", order, lambda: Ours(k, method="gram")),
        _rival(_DEFAULT_BATCH * stream.n_columns, order, context),
        Contender(EXACT, order, lambda: Exact(k), on_host=True),
    ]


def _reading_order(stream: PatchStream, context: Context) -> list[Contender]:
    """Return who may meet any order, and one that relies on a random one and must notice."""
    k, seed, order = context.n_components, context.seed, "reading order"
    budget = 8 * stream.n_columns**2 - 1  # just too small for the exact matrix
    options: dict[str, Any] = {"order": "arbitrary", "rng": seed}
    return [
        Contender("any order", order, lambda: Ours(k, memory_budget=budget, **options)),
        Contender("gram", order, lambda: Ours(k, method="gram", **options)),
        Contender("portfolio, misled", order, lambda: Ours(k, method="portfolio", rng=seed)),
        _rival(_DEFAULT_BATCH * stream.n_columns, order, context),
        Contender(EXACT, order, lambda: Exact(k), on_host=True),
    ]


def _rival(batch_rows: int, order: str, context: Context) -> Contender:
    make_model = context.scikit("decomposition.IncrementalPCA")
    gen_batches = context.scikit("utils.gen_batches")
    return Contender(
        _name(batch_rows),
        order,
        lambda: IncrementalPCA(make_model(context.n_components), gen_batches, batch_rows),
        on_host=True,
    )


def _name(batch_rows: int) -> str:
    return f"IncrementalPCA, {batch_rows}"


def _race(contenders: list[Contender], stream: PatchStream, label: str, context: Context) -> None:
    """Let all contenders take each block in turn and answer at the end."""
    for contender in contenders:
        contender.warm_up(next(iter(stream)))
    with traced_memory(), context.progress(label, total=stream.n_rows) as bar:
        turns = [(contender, contender.make()) for contender in contenders]
        for block in stream:
            for contender, method in turns:
                _take(contender, method, block)
            bar.update(int(block.shape[0]))
        for contender, method in turns:
            contender.finish(method)
            context.done(f"{contender.name}, {label}", contender.meter.seconds)


def _take(contender: Contender, method: Method, block: Array) -> None:
    rows = contender.rows(block)
    with contender.meter.turn():
        method.take(rows)
