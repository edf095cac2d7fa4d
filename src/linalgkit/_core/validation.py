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
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, Protocol

import numpy as np

from linalgkit._core.array import (
    LIBRARIES,
    Array,
    Device,
    DType,
    Namespace,
    detached,
    dtype_name,
    is_complex_dtype,
    is_dask,
    is_sparse,
    library_name,
    library_of,
    namespace_of,
)

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
        if finite and not math.isfinite(number) and (low is None) != (high is None):
            rule = f"{rule} and finite"
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
    return detached(X), xp


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


def check_finite_block(
    block: Any,
    block_index: int | None = None,
    *,
    name: str = "X",
    unit: str = "row",
    first: int = 0,
) -> None:
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
    unit : str, default "row"
        What the caller calls a row of the block: ``"column"`` for one that lies transposed.
    first : int, default 0
        The caller's number of the first row.

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
    unit = "entry" if block.ndim == 1 else unit
    place = first + (first_bad_row(block) or 0)
    raise ValueError(
        f"{name} must not contain NaN or infinity, got one in {where}{unit} {place} (counted from "
        f"0). Remove or impute such {'entries' if unit == 'entry' else f'{unit}s'} and call again; "
        "nothing has been changed."
    )


def check_finite_blocks(blocks: Mapping[str, Any], block_index: int | None = None) -> None:
    """Refuse NaN and infinity in several arguments, with one synchronisation for all of them.

    Parameters
    ----------
    blocks : mapping of str to array or sparse container
        Arguments by name, of one library and device.
    block_index : int, optional
        The block's number in the stream, as for :func:`check_finite_block`.

    Raises
    ------
    ValueError
        If an entry is NaN or infinite. Nothing has been changed by then.
    """
    if not have_finite_sum(*blocks.values()):
        for name, block in blocks.items():
            check_finite_block(block, block_index, name=name)


def have_finite_sum(*blocks: Any) -> bool:
    """Tell with one synchronisation whether the sum of all entries of several blocks is finite.

    NaN and infinity spread into the sum; one that overflows says nothing. NumPy, which needs no
    such saving, is always answered False.
    """
    stored = [_stored_values(block) for block in blocks]
    if not stored or isinstance(stored[0], np.ndarray):
        return False
    xp, _ = namespace_of(stored[0])
    kinds = ("real floating", "complex floating")
    with np.errstate(all="ignore"):
        sums = [xp.sum(values) for values in stored if xp.isdtype(values.dtype, kinds)]
        return not sums or cmath.isfinite(complex(sum(sums[1:], start=sums[0])))


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


def is_in_memory(X: object) -> bool:
    """Tell whether `X` is one table in memory, and not a store or an iterable of blocks.

    A list is a table unless one of its items is a block by itself: an array, a store, a dataframe.
    """
    if isinstance(X, (list, tuple)):
        return not any(_is_block(item) for item in X)
    if is_sparse(X) or hasattr(X, "to_numpy"):
        return True
    return hasattr(X, "shape") and library_of(X) in LIBRARIES  # not so a torch DataLoader


def _is_block(item: object) -> bool:
    return is_sparse(item) or (hasattr(item, "shape") and len(item.shape) > 0)


def refuse_dask(name: str, X: object, way_out: str = "Call compute() first.") -> None:
    """Raise a TypeError for a dask array, which is no array in memory."""
    if is_dask(X):
        raise TypeError(f"{name} must lie in memory, got a dask array. {way_out}")


class Place(Protocol):
    """Library, device and dtype of a stream."""

    @property
    def xp(self) -> Namespace:
        """Namespace."""

    @property
    def device(self) -> Device:
        """Device."""

    @property
    def dtype(self) -> DType:
        """Working dtype."""


def check_same_place(block: Any, stream: Place, name: str = "X") -> None:
    """Refuse rows of another library or device than a stream's, and complex ones beside real."""
    xp, where = namespace_of(block)
    if library_name(xp) != library_name(stream.xp) or where != stream.device:
        raise TypeError(
            f"{name} must be of {library_name(stream.xp)} on {stream.device} as the stream was, "
            f"got {library_name(xp)} on {where}. Convert it first."
        )
    if is_complex_dtype(xp, block.dtype) and not is_complex_dtype(xp, stream.dtype):
        raise TypeError(
            f"{name} must be real as the stream was, got {dtype_name(xp, block.dtype)}. "
            "Transform the real and the imaginary part by themselves."
        )


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
