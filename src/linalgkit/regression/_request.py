"""What size and kind of sketch was asked for, settled before anything is drawn.

::

    request = Request.checked(m, eps, delta, "auto", d=d, k=k, is_complex=False)
    S = request.drawn(request.kind("dense", False), n, "float64", rng)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from linalgkit._core.validation import check_choice, check_int
from linalgkit.regression._size import check_target, default_size, gaussian_size
from linalgkit.sketching import SketchOperator
from linalgkit.sketching import sketch as make_sketch

#: Kinds that stream, for which the number of rows need not be known.
STREAMING = ("gaussian", "rademacher", "block_srht", "countsketch", "sparse_sign")
#: Kinds by name; others (leverage sampling, special options) come as operators.
SKETCHES = ("auto", *STREAMING, "srht", "srdct", "srft", "circulant", "gaussian_pooled")


@dataclass(frozen=True)
class Request:
    """Size and kind of the sketch.

    Attributes
    ----------
    m : int
        Rows.
    is_asked : bool
        Whether the caller asked for that size, by `m`, `eps` or a sketch.
    delta : float
        Probability of missing a bound.
    sketch : str or SketchOperator
        Kind or sketch.
    """

    m: int
    is_asked: bool
    delta: float
    sketch: str | SketchOperator

    @classmethod
    def checked(
        cls, m: Any, eps: Any, delta: Any, sketch: Any, *, d: int, k: int, is_complex: bool
    ) -> Request:
        """Return the request for `d` unknowns and `k` right sides after checking it."""
        checked_eps, delta = check_target(0.5 if eps is None else eps, delta)
        if isinstance(sketch, SketchOperator):
            if m is not None and m != sketch.m:
                raise ValueError(f"m must be None or {sketch.m}, the rows of sketch, got {m!r}.")
            m = sketch.m
        else:
            check_choice("sketch", sketch, SKETCHES)
        if m is not None and eps is not None:
            raise ValueError(
                f"eps must be None where m is given, got eps={eps!r} and m={m!r}. One of the two "
                "settles the size."
            )
        is_asked = m is not None or eps is not None
        if eps is not None:
            least = gaussian_size(d, checked_eps, delta, n_sides=k, is_complex=is_complex)
            m = max(least, d + 1)
        m = default_size(d) if m is None else m
        way_out = "One row more than unknowns is needed to estimate the residual."
        m = check_int("m", m, d + 1, why=f"for {d} unknowns", way_out=way_out)
        return cls(m, is_asked, delta, sketch)

    def kind(self, source: str, is_sparse: bool) -> str:
        """Return the kind of sketch for a kind of source."""
        if isinstance(self.sketch, SketchOperator):
            return self.sketch.kind
        if self.sketch != "auto":
            return self.sketch
        if is_sparse:
            return "sparse_sign"
        return "block_srht" if source == "blocks" else "srht"

    def drawn(self, kind: str, n: int | None, dtype: str, rng: Any) -> SketchOperator:
        """Return a sketch of that kind, or the caller's, for `n` rows."""
        if not isinstance(self.sketch, SketchOperator):
            # Blocks are sampled with replacement: without, the variance would depend on how the
            # data are spread over blocks, and intervals could not know.
            given = {"replace": kind == "block_srht", "dtype": dtype, "rng": rng}
            return make_sketch(kind, self.m, n, **given)
        width = self.sketch.shape[1]
        if width is not None and n is not None and width != n:
            raise ValueError(
                f"sketch must have {n} columns, one for each equation and ridge row, got shape "
                f"{self.sketch.shape}."
            )
        if dtype.startswith("complex") and self.sketch.is_exact and not self.sketch.is_complex:
            raise TypeError(
                "sketch must be complex for complex data, where a real Gaussian sketch has no "
                f'exact law, got {self.sketch!r}. Make it with dtype="complex128".'
            )
        return self.sketch
