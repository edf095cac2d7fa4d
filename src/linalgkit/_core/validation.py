"""The boundary: every check of an argument and its message, once.

A message names the argument, the rule, the value and, where there is one, the way out::

    rank must be between 1 and 40 for a matrix of shape (40, 90), got 41.

A wrong kind is a TypeError, a wrong value or shape a ValueError. Inside the library nothing
is checked again.
"""

from __future__ import annotations

import cmath
import difflib
import math
import operator
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from linalgkit._core.array import Array, Namespace, is_sparse, library_of, namespace_of

_SHOWN = 80


class AccuracyWarning(UserWarning):
    """The answer is weaker than was asked for; the message says why and what would help."""


class NotFittedError(ValueError, AttributeError):
    """An answer was asked of an object that has seen no data.

    Where scikit-learn has been imported, the instance is one of its ``NotFittedError`` too, so
    that code written for scikit-learn catches it. scikit-learn is never imported for this.
    """

    def __new__(cls, *args: object) -> NotFittedError:
        """Return an instance of the class that both libraries know, where both are loaded."""
        return super().__new__(_with_sklearn(cls), *args)

    def __reduce__(self) -> tuple[type[NotFittedError], tuple[Any, ...]]:
        return NotFittedError, self.args


def _with_sklearn(cls: type[NotFittedError]) -> type[NotFittedError]:
    """Join `cls` with scikit-learn's class if somebody has imported that."""
    module = sys.modules.get("sklearn.exceptions")
    theirs = getattr(module, "NotFittedError", None)
    if theirs is None or issubclass(cls, theirs):
        return cls
    return type(cls.__name__, (cls, theirs), {"__module__": cls.__module__, "__doc__": cls.__doc__})


# ------------------------------------------------------------------------------- messages


def message(name: str, rule: str, value: object, *, why: str = "", way_out: str = "") -> str:
    """Return "`name` must `rule` `why`, got `value`. `way_out`".

    `value` is shown by its repr, cut where it is long.
    """
    shown = repr(value)
    if len(shown) > _SHOWN:
        shown = f"{shown[: _SHOWN - 3]}..."
    text = f"{name} must {rule}{' ' if why else ''}{why}, got {shown}."
    return f"{text} {way_out}" if way_out else text


def _kind_error(name: str, rule: str, value: object, why: str, way_out: str) -> NoReturn:
    found = f"{type(value).__name__} {value!r}"
    shown = found if len(found) <= _SHOWN else f"an object of type {type(value).__name__}"
    text = f"{name} must {rule}{' ' if why else ''}{why}, got {shown}."
    raise TypeError(f"{text} {way_out}" if way_out else text)


def _range_rule(low: float | None, high: float | None, low_open: bool, high_open: bool) -> str:
    """Put an interval into words."""
    if low is not None and high is not None and not (low_open or high_open):
        return f"be between {low} and {high}" if low != high else f"be {low}"
    parts = []
    if low is not None:
        parts.append(f"greater than {low}" if low_open else f"at least {low}")
    if high is not None:
        parts.append(f"less than {high}" if high_open else f"at most {high}")
    return "be " + " and ".join(parts) if parts else "be finite"


def _inside(
    value: float, low: float | None, high: float | None, low_open: bool, high_open: bool
) -> bool:
    above = low is None or value > low or (value == low and not low_open)
    below = high is None or value < high or (value == high and not high_open)
    return above and below


# -------------------------------------------------------------------------------- scalars


def check_int(
    name: str,
    value: object,
    low: int | None = None,
    high: int | None = None,
    why: str = "",
    *,
    way_out: str = "",
) -> int:
    """Return `value` as a Python int between `low` and `high` (both allowed, None is open).

    Parameters
    ----------
    name : str
        The argument's name, for the message.
    value : object
        Anything with ``__index__`` but a bool.
    low, high : int, optional
        The smallest and largest value allowed.
    why : str, optional
        What the limits depend on ("for a matrix of shape (40, 90)").
    way_out : str, optional
        A sentence that tells how to repair the call.

    Returns
    -------
    int
        The value.

    Raises
    ------
    TypeError
        If `value` is no integer (``2.0`` and ``True`` are none).
    ValueError
        If it lies outside the limits.
    """
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        number = operator.index(value)  # type: ignore[arg-type]  # refused below if it has none
    except TypeError:
        _kind_error(name, "be an integer", value, why, way_out)
    if not _inside(number, low, high, False, False):
        rule = _range_rule(low, high, False, False)
        raise ValueError(message(name, rule, number, why=why, way_out=way_out))
    return number


def check_float(
    name: str,
    value: object,
    low: float | None = None,
    high: float | None = None,
    why: str = "",
    *,
    low_open: bool = False,
    high_open: bool = False,
    finite: bool = True,
    way_out: str = "",
) -> float:
    """Return `value` as a Python float inside an interval whose ends may be open.

    Parameters
    ----------
    name : str
        The argument's name, for the message.
    value : object
        A real number: int, float, a NumPy scalar or a 0-d array (this synchronises a device).
    low, high : float, optional
        The ends of the interval; None for no end.
    why : str, optional
        What the limits depend on.
    low_open, high_open : bool, default False
        Whether the end itself is excluded.
    finite : bool, default True
        Whether infinity is refused too (NaN always is).
    way_out : str, optional
        A sentence that tells how to repair the call.

    Returns
    -------
    float
        The value.

    Raises
    ------
    TypeError
        If `value` is no real number.
    ValueError
        If it is NaN, infinite or outside the interval.
    """
    rule = _range_rule(low, high, low_open, high_open)
    if isinstance(value, (bool, np.bool_, str, bytes, complex, np.complexfloating)):
        _kind_error(name, "be a real number", value, why, way_out)
    try:
        number = float(value)  # type: ignore[arg-type]  # refused below if it is no number
    except (TypeError, ValueError, RuntimeError):
        _kind_error(name, "be a real number", value, why, way_out)
    except OverflowError:
        raise ValueError(message(name, rule, value, why=why, way_out=way_out)) from None
    allowed = not math.isnan(number) and (not finite or math.isfinite(number))
    if not (allowed and _inside(number, low, high, low_open, high_open)):
        raise ValueError(message(name, rule, number, why=why, way_out=way_out))
    return number


def check_bool(name: str, value: object, *, way_out: str = "") -> bool:
    """Return `value` as a Python bool; anything but a bool is a TypeError."""
    if not isinstance(value, (bool, np.bool_)):
        _kind_error(name, "be True or False", value, "", way_out)
    return bool(value)


def check_choice(
    name: str, value: object, choices: Sequence[str | None], why: str = "", *, way_out: str = ""
) -> Any:
    """Return `value` if it is one of `choices`; the message offers the nearest one.

    Raises
    ------
    TypeError
        If `value` is neither a string nor one of `choices`.
    ValueError
        If it is an unknown string.
    """
    if any(value is choice or (isinstance(value, str) and value == choice) for choice in choices):
        return value
    listed = [repr(choice) for choice in choices]
    rule = "be " + (listed[0] if len(listed) == 1 else "one of " + ", ".join(listed))
    if not isinstance(value, str):
        _kind_error(name, rule, value, why, way_out)
    near = difflib.get_close_matches(value, [c for c in choices if c is not None], n=1)
    hint = f"Did you mean {near[0]!r}?" if near else ""
    raise ValueError(message(name, rule, value, why=why, way_out=way_out or hint))


# --------------------------------------------------------------------------------- arrays


def check_array_2d(
    name: str,
    X: Any,
    *,
    n_columns: int | None = None,
    min_rows: int = 0,
    min_columns: int = 1,
    allow_sparse: bool = False,
    why: str = "",
) -> tuple[Array, Namespace]:
    """Return a 2-D array and its namespace, or raise.

    Parameters
    ----------
    name : str
        The argument's name, for the message.
    X : array or sparse container
        What the caller passed. Lists and dataframes are refused: an estimator turns them into
        arrays before.
    n_columns : int, optional
        The number of columns seen earlier, which `X` must have.
    min_rows, min_columns : int
        The smallest shape allowed.
    allow_sparse : bool, default False
        Whether scipy.sparse and cupyx.scipy.sparse containers pass (namespace: that of the
        dense arrays their products return).
    why : str, optional
        What `n_columns` depends on; "as in the first block" by default.

    Returns
    -------
    X : array or sparse container
        The argument itself, neither copied nor converted.
    xp : module
        Its namespace.

    Raises
    ------
    TypeError
        If `X` is no numeric array, or sparse where that is not allowed.
    ValueError
        If it has not two axes or not the shape asked for.
    """
    if is_sparse(X) and not allow_sparse:
        raise TypeError(
            f"{name} must be a dense array, got the sparse {type(X).__name__}. "
            f"Pass {name}.toarray() if it fits in memory."
        )
    try:
        xp, _ = namespace_of(X)
    except TypeError as error:
        raise TypeError(f"{name}: {error}") from None
    shape = tuple(X.shape)
    if len(shape) != 2:
        raise ValueError(
            f"{name} must be 2-D (rows, columns), got shape {shape}. Reshape your data: "
            f"{name}[None, :] makes one row, {name}[:, None] one column."
        )
    _check_shape(name, shape, n_columns, (min_rows, min_columns), why or "as in the first block")
    return X, xp


def _check_shape(
    name: str, shape: tuple[int, ...], n_columns: int | None, least: tuple[int, int], why: str
) -> None:
    """Compare a 2-D shape with what is asked for."""
    for axis, (count, word) in enumerate(zip(least, ("row", "column"), strict=True)):
        if shape[axis] < count:
            plural = "s" if count > 1 else ""
            rule = f"have at least {count} {word}{plural}"
            raise ValueError(f"{name} must {rule}, got shape {shape}.")
    if n_columns is not None and shape[1] != n_columns:
        raise ValueError(
            f"{name} must have {n_columns} columns {why}, got {shape[1]} (shape {shape})."
        )


def check_finite_block(block: Any, block_index: int | None = None, *, name: str = "X") -> None:
    """Refuse a block that holds NaN or infinity, naming the block and its first bad row.

    The check is one sum, hence one read of the block, no temporary and one synchronisation;
    only a sum that is not finite (bad data, or an overflow) is looked into.

    Parameters
    ----------
    block : array or sparse container
        Rows of any library, 1-D or 2-D. Integers and booleans pass at once.
    block_index : int, optional
        The block's number in the stream, counted from 0; left out of the message if None.
    name : str, default "X"
        The argument's name, for the message.

    Raises
    ------
    ValueError
        If an entry is NaN or infinite. Nothing has been changed by then.
    """
    values = _stored_values(block)
    xp, _ = namespace_of(values)
    if xp.isdtype(values.dtype, ("integral", "bool")) or math.prod(values.shape) == 0:
        return
    if _all_finite(values, xp):
        return
    where = "" if block_index is None else f"block {block_index}, "
    unit = "entry" if block.ndim == 1 else "row"
    raise ValueError(
        f"{name} must not contain NaN or infinity, got one in {where}{unit} {first_bad_row(block)} "
        f"(counted from 0). Remove or impute such {'entries' if unit == 'entry' else 'rows'} and "
        "call again; nothing has been changed."
    )


def _all_finite(values: Array, xp: Namespace) -> bool:
    """Tell whether no entry is NaN or infinite: either would spread into every sum."""
    with np.errstate(all="ignore"):
        if isinstance(values, np.ndarray) and values.flags.forc:
            flat = values.ravel(order="K")
            if cmath.isfinite(np.dot(flat, flat)):  # BLAS: a third of the time of a sum
                return True
        if cmath.isfinite(complex(xp.sum(values))):
            return True
    return bool(xp.all(xp.isfinite(values)))


def first_bad_row(block: Any) -> int | None:
    """Return the first row (from 0) that holds NaN or infinity, or None (slow: on errors only).

    Entries of a vector count as rows.
    """
    if is_sparse(block):
        entries = block.tocoo()
        xp, _ = namespace_of(entries.data)
        rows = entries.coords[0][~xp.isfinite(entries.data)]
        return int(min(rows)) if len(rows) else None
    xp, _ = namespace_of(block)
    bad = ~xp.isfinite(block)
    flags = bad if bad.ndim == 1 else xp.any(xp.reshape(bad, (bad.shape[0], -1)), axis=1)
    return int(xp.argmax(xp.astype(flags, xp.int32))) if bool(xp.any(flags)) else None


def _stored_values(block: Any) -> Array:
    """Return the dense array that holds every entry which may be non-zero."""
    if not is_sparse(block):
        return block
    stored = block if block.format in ("csr", "csc", "coo", "bsr", "dia") else block.tocoo()
    return stored.data


def require_fitted(obj: object, fitted: bool, call: str = "fit or partial_fit") -> None:
    """Raise :class:`NotFittedError` unless `fitted`, naming the call that repairs it."""
    if not fitted:
        raise NotFittedError(
            f"This {type(obj).__name__} has seen no data yet. Call {call} with data first."
        )


def check_same_library(name: str, X: Any, expected: str) -> None:
    """Refuse an array whose library is not the one the state lives in."""
    values = _stored_values(X) if is_sparse(X) else X
    found = library_of(values)
    if found != expected:
        raise TypeError(
            f"{name} must be an array of {expected} as the earlier blocks were, got {found}. "
            "Convert it, or start a new object for this library."
        )
