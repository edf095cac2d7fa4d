"""The options of a stream, checked once, and the choice of the method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from linalgkit._core.array import is_complex_dtype
from linalgkit._core.validation import check_bool, check_choice, check_float, check_int
from linalgkit.streaming._preprocess import Space

METHODS = (
    "auto",
    "portfolio",
    "block-power",
    "oja",
    "frequent-directions",
    "nystrom",
    "gram",
)
ORDERS = ("random", "arbitrary")
DTYPES = ("float32", "float64", "complex64", "complex128")
RANDOM_ORDER_METHODS = ("portfolio", "block-power")
DEFAULT_BUDGET = 32 * 2**20


@dataclass(frozen=True)
class Options:
    """Checked options; the fields are those of :class:`~linalgkit.streaming.StreamingEigh`."""

    n_components: int
    method: str
    order: str
    n_oversamples: int | None
    memory_budget: int | None
    max_heavy_rows: int | None
    history: bool
    n_rows: int | None
    center: bool
    whiten: bool
    forgetting: float
    gap_warn: float
    dtype: str | None

    @classmethod
    def checked(cls, params: dict[str, Any]) -> Options:
        """Return the options, or raise TypeError or ValueError naming the first bad one."""
        method = check_choice("method", params["method"], METHODS)
        order = check_choice("order", params["order"], ORDERS)
        if order == "arbitrary" and method in RANDOM_ORDER_METHODS:
            raise ValueError(
                f'method must not rely on a random order when order="arbitrary", got {method!r}. '
                'Use "frequent-directions", "oja", "nystrom" or "gram", or leave it at "auto".'
            )
        return cls(
            n_components=_n_components(params["n_components"]),
            method=method,
            order=order,
            n_oversamples=_optional_int("n_oversamples", params["n_oversamples"], 0),
            memory_budget=_optional_int("memory_budget", params["memory_budget"], 1),
            max_heavy_rows=_optional_int("max_heavy_rows", params["max_heavy_rows"], 0),
            history=check_bool("history", params["history"]),
            n_rows=_optional_int("n_rows", params["n_rows"], 1),
            center=check_bool("center", params["center"]),
            whiten=check_bool("whiten", params["whiten"]),
            forgetting=check_float("forgetting", params["forgetting"], 0, 1, low_open=True),
            gap_warn=check_float("gap_warn", params["gap_warn"], 0),
            dtype=known_dtype(params["dtype"]),
        )

    def for_width(self, space: Space) -> str:
        """Return the method for rows of this width, after checking what depends on it."""
        check_int("n_components", self.n_components, 1, space.d, f"for rows of length {space.d}")
        if self.method != "auto":
            return self.method
        budget = DEFAULT_BUDGET if self.memory_budget is None else self.memory_budget
        # In float64 also where the device has none, so that every library decides alike.
        if space.d**2 * (16 if is_complex_dtype(space.xp, space.dtype) else 8) <= budget:
            return "gram"
        return "portfolio" if self.order == "random" else "arbitrary"


def _n_components(value: Any) -> int:
    """Return the number of components; a fraction is taken for a wish that is another class's."""
    is_fraction = isinstance(value, float) and 0.0 < value < 1.0
    way_out = (
        "linalgkit.svd.IncrementalSVD(tol=...) takes a tolerance instead." if is_fraction else ""
    )
    return check_int("n_components", value, 1, way_out=way_out)


def _optional_int(name: str, value: object, low: int) -> int | None:
    return None if value is None else check_int(name, value, low)


def known_dtype(dtype: Any) -> str | None:
    """Return the standard's name of a dtype given as a name or as any library's dtype."""
    if dtype is None:
        return None
    text = dtype if isinstance(dtype, str) else getattr(dtype, "__name__", str(dtype))
    name = text.rpartition(".")[2].rstrip("'>")
    return str(check_choice("dtype", name, DTYPES))
