"""Options of an incremental decomposition, checked, and what follows from them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from linalgkit._core.array import Namespace, eps
from linalgkit._core.row_buffer import RowBuffer
from linalgkit._core.validation import check_bool, check_choice, check_float, check_int
from linalgkit.svd._steps import Truncation

METHODS = ("auto", "qr", "cholqr", "gram")
TRUNCATIONS = ("svd", "frequent-directions")
TOL_MODES = ("relative", "absolute")
_RESOLVED = 64.0  # roots of the roundoff: smaller shares are not read from squares
_NOISE = 32.0  # roundoffs of what is uncertain, before no more is added to it
_LEAST_BUFFER = 16
_MOST_BUFFER = 1024
_ENTRIES = 1 << 16  # of the columns that wait at least, where there is room for so many
_A_STEP = 0.1  # of what is left of an absolute tolerance may be spent at once
_SPENT = 0.5  # of the square of the tolerance, while columns still come


@dataclass(frozen=True)
class SVDOptions:
    """What a caller of :class:`IncrementalSVD` asked for.

    Attributes
    ----------
    n_components : int or None
        Triplets of the answer at most.
    n_oversamples : int
        Triplets kept beyond them.
    tol : float or None
        Frobenius error of the answer, of the norm of the matrix or absolute.
    tol_mode, method, truncation : str
        One of the words.
    buffer_size : int or None
        Columns that come in at a time, where the caller said so.
    forgetting : float
        Factor of every older column.
    center, compute_v : bool
        Whether the mean is taken off; whether right vectors are wanted.
    """

    n_components: int | None
    n_oversamples: int
    tol: float | None
    tol_mode: str
    method: str
    truncation: str
    buffer_size: int | None
    forgetting: float
    center: bool
    compute_v: bool

    @classmethod
    def checked(cls, params: dict[str, Any]) -> SVDOptions:
        """Return the options among parameters, or raise naming the one that is wrong."""
        n_components, tol = params["n_components"], params["tol"]
        if n_components is None and tol is None:
            raise ValueError(
                "n_components or tol must be given, got neither. n_components=10 keeps ten "
                "triplets, tol=0.01 as many as an error of one percent takes."
            )
        if n_components is not None:
            n_components = check_int("n_components", n_components, 1)
        tol = None if tol is None else check_float("tol", tol, 0.0)
        over = params["n_oversamples"]
        over = (
            cls._default_oversamples(n_components)
            if over is None
            else check_int("n_oversamples", over, 0)
        )
        check_choice("tol_mode", params["tol_mode"], TOL_MODES)
        check_choice("method", params["method"], METHODS)
        check_choice("truncation", params["truncation"], TRUNCATIONS)
        if params["truncation"] != "svd" and n_components is None:
            raise ValueError(
                'n_components must be given for truncation="frequent-directions", got None: what '
                "is subtracted follows from it."
            )
        size = params["buffer_size"]
        size = None if size is None else check_int("buffer_size", size, 1)
        fading = check_float("forgetting", params["forgetting"], 0.0, 1.0, low_open=True)
        center = check_bool("center", params["center"])
        compute_v = check_bool("compute_v", params["compute_v"])
        if center and compute_v:
            raise ValueError(
                "compute_v must be False with center=True, got True: the mean changes all columns "
                "whenever one comes in. transform(X) returns coordinates."
            )
        words = params["tol_mode"], params["method"], params["truncation"]
        return cls(n_components, over, tol, *words, size, fading, center, compute_v)

    @staticmethod
    def _default_oversamples(n_components: int | None) -> int:
        return 10 if n_components is None else max(10, n_components // 5)

    @property
    def step_columns(self) -> int:
        """Columns that a step takes in where nothing else is said."""
        if self.buffer_size is not None:
            return self.buffer_size
        return max(_LEAST_BUFFER, 2 * ((self.n_components or 0) + self.n_oversamples))

    def columns_of(self, m: int) -> int:
        """Return how many columns a step takes in of a matrix with `m` rows.

        Short ones wait until they take half a megabyte: it is the number of steps that counts.
        """
        if self.buffer_size is not None:
            return self.buffer_size
        return max(self.step_columns, min(_MOST_BUFFER, _ENTRIES // m))

    def buffer_of(self, m: int, *, sparse: bool) -> RowBuffer:
        """Return an empty buffer for columns of a matrix with `m` rows.

        Sparse ones wait until they take about as much room as what is kept, or are so many that
        vectors over them would.
        """
        if not sparse or self.buffer_size is not None or not self.has_leaves:
            return RowBuffer(self.columns_of(m))
        least, entries = self.columns_of(m), m * self.capacity(m) // 2
        return RowBuffer(max(least, m // 4), least_rows=least, entries=entries)

    @property
    def has_leaves(self) -> bool:
        """Whether sparse columns may come in by a projection on few vectors."""
        by_squares = self.method in ("auto", "gram")
        return by_squares and self.n_components is not None and not self.shrinks

    @property
    def shrinks(self) -> bool:
        """Whether singular values are shrunk."""
        return self.truncation == "frequent-directions"

    def capacity(self, m: int) -> int:
        """Return how many triplets are kept of a matrix with `m` rows."""
        return m if self.n_components is None else min(m, self.n_components + self.n_oversamples)

    def allowed(self, energy: float, exponent: int) -> float | None:
        """Return the square of the error that is allowed, in units of ``4**exponent``."""
        if self.tol is None:
            return None
        if self.tol_mode == "relative":
            return self.tol * self.tol * energy
        tol = math.ldexp(self.tol, -exponent) if abs(exponent) < 2000 else 0.0
        return tol * tol

    def is_beyond_squares(
        self, energy: float, exponent: int, roundoff: float, noise: float
    ) -> bool:
        """Tell whether squares do not resolve the error that is allowed, and others may be used."""
        if self.method != "auto" or self.tol is None:
            return False
        energy = 1.0 if self.tol_mode == "relative" and energy == 0.0 else energy
        allowed = self.allowed(energy, exponent)
        limit = roundoff * (_RESOLVED**2 * energy + _NOISE * noise)
        return energy > 0.0 and allowed is not None and allowed <= limit

    def truncation_of(self, m: int, lost: float, allowed: float | None, floor: float) -> Truncation:
        """Return the rule of a step: capacity, tolerance and what counts as rounding error."""
        budget = None
        if allowed is not None:
            room = max(0.0, _SPENT * allowed - lost)
            if self.tol_mode == "absolute":
                room *= _A_STEP  # what is allowed does not grow with the columns

            def budget(squares: list[float]) -> int:
                return least_rank(squares, room)

        return Truncation(self.capacity(m), budget, shrinks=self.shrinks, floor=floor)


def least_rank(squares: list[float], room: float) -> int:
    """Return how many leading numbers must stay for the sum of the others to fit."""
    total, count = 0.0, len(squares)
    while count and total + squares[count - 1] <= room:
        total += squares[count - 1]
        count -= 1
    return count


def is_well_resolved(s: list[float], dtype: Any, xp: Namespace) -> bool:
    """Tell whether squares resolve the kept singular values, descending."""
    return not s or s[-1] > _RESOLVED * math.sqrt(eps(xp, dtype)) * s[0]
