"""Sets of multi-indices, built coordinate by coordinate: never a full grid.

::

    multi_index(20, 3)                      # 1771 indices of total degree at most 3
    multi_index(6, 8, "hyperbolic")         # (a_1 + 1) ... (a_6 + 1) <= 9
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from linalgkit._core.array import Array, numpy_namespace, to_numpy
from linalgkit._core.capabilities import capability
from linalgkit._core.validation import check_choice, check_float, check_int, message

_HOST = numpy_namespace()
_KINDS = ("total", "hyperbolic", "tensor", "max")
_LARGEST = 10_000_000  # indices
_ROUNDING = 1e-12  # relative, of sums of weights


@capability(
    "sampling.multi_index",
    notes="The result is an array of NumPy on the host.",
    synchronisations={},
)
def multi_index(d: int, p: Any, kind: str = "total", weights: Any = None) -> Array:
    """Return all multi-indices of a downward closed set, in graded order.

    Parameters
    ----------
    d : int
        Number of variables.
    p : int or float, or sequence of d ints or floats
        Bound of the size, at least 0; a sequence, one bound a variable, for ``"tensor"`` only.
    kind : {"total", "hyperbolic", "tensor", "max"}, default "total"
        The set, for weights `w`:

        - ``"total"``: ``sum_i w_i a_i <= p``;
        - ``"hyperbolic"``: ``prod_i (1 + w_i a_i) <= 1 + p``;
        - ``"tensor"``: ``w_i a_i <= p_i`` for every `i`;
        - ``"max"``: ``max_i w_i a_i <= p``, the tensor set of one bound for all variables.
    weights : sequence of d floats, optional
        Positive; the larger a weight, the lower the degrees of its variable. All 1 by default.

    Returns
    -------
    numpy.ndarray of int64, shape (m, d)
        Sorted by size (for ``"tensor"`` that of ``"total"``), ties in lexicographic order: the
        first index is zero, and of two indices of equal size the one that is smaller in the
        first variable where they differ comes first.

    Raises
    ------
    TypeError
        If an argument is of a wrong kind.
    ValueError
        If `d` is less than 1, `p` negative, `kind` unknown, a weight not positive, a sequence
        not of length `d`, or the set would hold more than ten million indices.

    Notes
    -----
    Each prefix of an index of the set belongs to an index of the set, so that the work is
    proportional to the ``m d`` numbers of the result. Sums of weights may exceed the bound by
    rounding (1e-12 of it).

    Storage: ``16 m d`` bytes at most, beside ``24 m`` bytes for the order.

    Examples
    --------
    >>> multi_index(2, 2).tolist()
    [[0, 0], [0, 1], [1, 0], [0, 2], [1, 1], [2, 0]]
    >>> multi_index(2, 3, "hyperbolic").tolist()
    [[0, 0], [0, 1], [1, 0], [0, 2], [2, 0], [0, 3], [1, 1], [3, 0]]
    >>> multi_index(2, (2, 1), "tensor").shape
    (6, 2)
    >>> multi_index(2, 2, weights=(1, 2)).tolist()
    [[0, 0], [1, 0], [0, 1], [2, 0]]
    """
    d = check_int("d", d, 1)
    kind = check_choice("kind", kind, _KINDS)
    bounds = _checked_bounds(p, d, kind)
    w = _HOST.ones(d) if weights is None else _checked_weights(weights, d)
    indices, sizes = _enumerate(d, bounds, w, kind)
    digits = _HOST.round(sizes / max(1.0, float(_HOST.max(sizes))), 12)
    order = _HOST.lexsort((*(indices[:, c] for c in range(d - 1, -1, -1)), digits))
    result: Array = indices[order, :]
    return result


def _enumerate(d: int, bounds: Array, w: Array, kind: str) -> tuple[Array, Array]:
    """Return the indices, in the order in which prefixes grow, and their sizes."""
    prefixes = _HOST.zeros((1, 0), dtype=_HOST.int64)
    sizes = _HOST.ones(1) if kind == "hyperbolic" else _HOST.zeros(1)
    largest, joined = _RULES[kind]
    for c in range(d):
        slack = bounds[c] + _ROUNDING * (1 + bounds[c])
        counts = _HOST.floor(_HOST.minimum(largest(sizes, slack) / w[c], 1e18)) + 1
        _check_count(float(_HOST.sum(counts)))
        counts = counts.astype(_HOST.int64)
        rows = _HOST.repeat(_HOST.arange(counts.size), counts)
        degrees = _HOST.arange(rows.size) - _HOST.repeat(_HOST.cumsum(counts) - counts, counts)
        prefixes = _HOST.concatenate((prefixes[rows, :], degrees[:, None]), axis=1)
        sizes = joined(sizes[rows], w[c] * degrees)
    return prefixes, sizes


_Rule = Callable[[Array, Array], Array]
#: A kind's largest weighted degree for given sizes, and the size with one more variable.
_RULES: dict[str, tuple[_Rule, _Rule]] = {
    "total": (lambda size, bound: bound - size, lambda size, a: size + a),
    "hyperbolic": (lambda size, bound: (1 + bound) / size - 1, lambda size, a: size * (1 + a)),
    "tensor": (lambda size, bound: bound + 0 * size, lambda size, a: size + a),
    "max": (lambda size, bound: bound + 0 * size, lambda size, a: _HOST.maximum(size, a)),
}


def _check_count(count: float) -> None:
    if count > _LARGEST:
        raise ValueError(
            f"the set of multi-indices must have at most {_LARGEST} members, got more than that "
            "from d and p. Lower p, raise weights, or take kind='hyperbolic'."
        )


def _numbers(name: str, value: Any, d: int) -> list[Any]:
    """Return a sequence or 1-D array of `d` numbers as a list."""
    if hasattr(value, "shape"):
        value = to_numpy(value).tolist()
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"{name} must be a sequence of {d} numbers, one a variable, got {value!r}.")
    if len(value) != d:
        rule = f"have {d} entries, one a variable"
        raise ValueError(message(name, rule, value))
    return list(value)


def _checked_bounds(p: Any, d: int, kind: str) -> Array:
    """Return the bound of every variable."""
    if isinstance(p, (list, tuple)) or len(getattr(p, "shape", ())) == 1:
        if kind != "tensor":
            raise TypeError(
                f"p must be one number for kind={kind!r}, got {p!r}. Use kind='tensor', or weights."
            )
        return _HOST.asarray(
            [check_float(f"p[{c}]", v, 0) for c, v in enumerate(_numbers("p", p, d))]
        )
    return _HOST.full(d, check_float("p", p, 0))


def _checked_weights(weights: Any, d: int) -> Array:
    """Return weights as a host array."""
    listed = _numbers("weights", weights, d)
    found = [check_float(f"weights[{c}]", w, 0, low_open=True) for c, w in enumerate(listed)]
    return _HOST.asarray(found)
