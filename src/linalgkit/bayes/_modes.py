"""The check of the factors of a Kronecker product and of data, and columns of norm one.

The matrix ``H_1 kron ... kron H_I`` acts on a tensor of shape (N_1, ..., N_I[, L]) mode by mode::

    data = kronecker_data(factors, y)               # checked; data.Y is (M_1, ..., M_I, L)
    Y = mode_products(X, data.factors, data.xp)     # H_i along axis i, for every i
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from linalgkit._core.array import (
    Array,
    Device,
    DType,
    Namespace,
    array_namespace,
    asarray,
    device,
    is_complex,
    numpy_namespace,
    real_dtype,
    to_numpy,
    widest_dtype,
    working_dtype,
)
from linalgkit._core.estimator import as_array
from linalgkit._core.state import PortablePickle
from linalgkit._core.validation import check_array_2d, check_finite_block, check_finite_blocks

_HOST = numpy_namespace()


class KroneckerFactors(NamedTuple):
    """Matrices of one library, device and dtype; ``arrays[i]`` is (M_i, N_i)."""

    arrays: tuple[Array, ...]
    xp: Namespace
    device: Device
    dtype: DType

    @property
    def sizes(self) -> tuple[int, ...]:
        """Rows M_i of each factor."""
        return tuple(int(H.shape[0]) for H in self.arrays)

    @property
    def widths(self) -> tuple[int, ...]:
        """Columns N_i of each factor."""
        return tuple(int(H.shape[1]) for H in self.arrays)


@dataclass(frozen=True, eq=False)
class KroneckerData(PortablePickle):
    """The equations ``(H_1 kron ... kron H_I) x = y``, checked.

    Attributes
    ----------
    factors : tuple of array (M_i, N_i)
        In the joint working dtype.
    Y : array (M_1, ..., M_I, L)
        The data as a tensor, in that dtype; may share the caller's memory.
    sizes, widths : tuple of int
        Rows M_i and columns N_i of the factors.
    snapshots : int
        L, at least one.
    flat : bool
        Whether the data came flat. False for one factor, where both layouts are one.
    has_snapshots : bool
        Whether the caller gave the trailing axis.
    xp : module
        Namespace.
    device : device
        Where the arrays lie.
    dtype : dtype
        The joint working dtype.
    """

    factors: tuple[Array, ...] = field(repr=False)
    Y: Array = field(repr=False)
    sizes: tuple[int, ...]
    widths: tuple[int, ...]
    snapshots: int
    flat: bool
    has_snapshots: bool
    xp: Namespace
    device: Device
    dtype: DType


def divided_along(T: Array, vectors: Sequence[Array]) -> Array:
    """Return a host tensor divided by one vector along each of its first axes."""
    for i, v in enumerate(vectors):
        T = T / v.reshape((-1,) + (1,) * (T.ndim - i - 1))
    return T


# --------------------------------------------------------------------------------- columns


class UnitColumns(NamedTuple):
    """Columns divided by their 2-norms, which are ``norms * 2**exponents``; zeros stay zeros.

    ``norms`` is a host array of float64 in [1/2, sqrt(2 M)), 0 for a column of zeros, and
    ``exponents`` a list.
    """

    columns: Array
    norms: Array
    exponents: list[int]


def unit_columns(H: Array, xp: Namespace) -> UnitColumns:
    """Return the columns of `H` with unit 2-norm, bit for bit the same for any power of two."""
    largest = xp.max(xp.abs(xp.real(H)), axis=0) if is_complex(H, xp) else xp.max(xp.abs(H), axis=0)
    if is_complex(H, xp):
        largest = xp.maximum(largest, xp.max(xp.abs(xp.imag(H)), axis=0))
    exponents = [math.frexp(float(value))[1] for value in to_numpy(largest)]
    scaled = H
    for powers in power_rows([-e for e in exponents], H, xp):
        scaled = scaled * powers
    wide = xp.astype(scaled, widest_dtype(xp, device(H), H.dtype), copy=False)
    energies = xp.sum(abs_squared(wide, xp), axis=0)
    norms = _HOST.sqrt(_HOST.astype(to_numpy(energies), _HOST.float64))
    inverse = 1.0 / _HOST.where(norms > 0, norms, 1.0)
    row = asarray(inverse, xp=xp, device=device(H), dtype=real_dtype(xp, H.dtype))
    return UnitColumns(scaled * row[None, :], norms, exponents)


def abs_squared(T: Array, xp: Namespace) -> Array:
    """Return the squared moduli, real."""
    return xp.real(T) ** 2 + xp.imag(T) ** 2 if is_complex(T, xp) else T * T


def power_rows(exponents: Sequence[int], like: Array, xp: Namespace) -> list[Array]:
    """Return two rows (1, n) of powers of two whose product is ``2**exponents``, of no overflow."""
    halves = [e // 2 for e in exponents]
    parts = (halves, [e - half for e, half in zip(exponents, halves, strict=True)])
    dtype = real_dtype(xp, like.dtype)
    place = {"xp": xp, "device": device(like), "dtype": dtype}
    return [
        xp.reshape(asarray([math.ldexp(1.0, e) for e in part], **place), (1, -1)) for part in parts
    ]


# ------------------------------------------------------------------------------ the checks


def kronecker_factors(
    factors: Sequence[Array],
    *,
    like: Array | None = None,
    widths: Sequence[int] | None = None,
    are_finite: bool = False,
) -> KroneckerFactors:
    """Return the factors of a Kronecker product, checked, in their joint working dtype.

    Parameters
    ----------
    factors : list or tuple of array (M_i, N_i)
        At least one, each with a row and a column, finite, of one library and device.
    like : array, optional
        An array of the library and device that they must be of; its dtype joins theirs.
    widths : sequence of int, optional
        The columns that they must have.
    are_finite : bool, default False
        Whether that needs no look.

    Returns
    -------
    KroneckerFactors
        The arrays, which may share the caller's memory, and where they lie.

    Raises
    ------
    TypeError
        For a single matrix, other kinds and mixed libraries or devices.
    ValueError
        If there is no factor, a shape does not fit, or an entry is NaN or infinite.
    """
    arrays = tuple(as_array(H, f"factors[{i}]") for i, H in enumerate(_listed(factors)))
    for i, H in enumerate(arrays):
        check_array_2d(f"factors[{i}]", H, min_rows=1)
    others = () if like is None else (like,)
    xp = array_namespace(*arrays, *others)
    where = device(arrays[0] if like is None else like)
    for i, H in enumerate(arrays):
        if device(H) != where:
            raise TypeError(
                f"factors[{i}] must lie on {where} as the other arrays do, got {device(H)}. Move "
                "it first."
            )
    _check_widths(arrays, widths)
    if not are_finite:
        check_finite_blocks({f"factors[{i}]": H for i, H in enumerate(arrays)})
    dtypes = [working_dtype(xp, where, X.dtype) for X in (*arrays, *others)]
    dtype = working_dtype(xp, where, xp.result_type(*dtypes))
    arrays = tuple(xp.astype(H, dtype, copy=False) for H in arrays)
    return KroneckerFactors(arrays, xp, where, dtype)


def _listed(factors: Any) -> Sequence[Any]:
    """Return the factors if they are a list or tuple that is not empty."""
    if not isinstance(factors, (list, tuple)):
        raise TypeError(
            f"factors must be a list or tuple of matrices, got {type(factors).__name__}. A single "
            "matrix H goes into a list: [H]; a stack of matrices becomes one by list(factors)."
        )
    if not factors:
        raise ValueError(
            f"factors must hold at least one matrix, got {factors!r}. Pass [H] for a matrix H "
            "without Kronecker structure."
        )
    return factors


def _check_widths(arrays: Sequence[Array], widths: Sequence[int] | None) -> None:
    """Refuse factors whose columns are not those asked for."""
    if widths is None:
        return
    found = tuple(int(H.shape[1]) for H in arrays)
    if found != tuple(widths):
        raise ValueError(
            f"factors must have {tuple(widths)} columns, as those that were solved with, got "
            f"{found}. Pass one matrix a mode, in the same order."
        )


def kronecker_data(
    factors: Sequence[Array], y: Array, *, are_finite: bool = False
) -> KroneckerData:
    """Return the equations that a caller's arguments stand for.

    Parameters
    ----------
    factors : list or tuple of array (M_i, N_i)
        As in :func:`kronecker_factors`.
    y : array (M_1, ..., M_I[, L]) or (M_1 ... M_I[, L])
        The data as a tensor where the shape begins so, else flat in C order; one axis more for
        snapshots.
    are_finite : bool, default False
        Whether the factors are known to be finite.

    Returns
    -------
    KroneckerData
        Checked and in one dtype.

    Raises
    ------
    TypeError
        For wrong kinds and mixed libraries or devices.
    ValueError
        If shapes do not fit, there is no snapshot, or an entry is NaN or infinite.

    Notes
    -----
    Storage: none where dtypes agree, else copies of what is converted.
    """
    _listed(factors)
    y = as_array(y, "y")
    try:
        array_namespace(y)
    except TypeError as error:
        raise TypeError(f"y: {error}") from None
    checked = kronecker_factors(factors, like=y, are_finite=are_finite)
    xp, sizes = checked.xp, checked.sizes
    flat, has_snapshots = _layout(sizes, tuple(map(int, y.shape)))
    check_finite_block(y, name="y", unit="slice" if y.ndim > 2 else "row")
    snapshots = int(y.shape[-1]) if has_snapshots else 1
    Y = xp.reshape(xp.astype(y, checked.dtype, copy=False), (*sizes, snapshots))
    return KroneckerData(
        factors=checked.arrays,
        Y=Y,
        sizes=sizes,
        widths=checked.widths,
        snapshots=snapshots,
        flat=flat,
        has_snapshots=has_snapshots,
        xp=xp,
        device=checked.device,
        dtype=checked.dtype,
    )


def _layout(sizes: tuple[int, ...], shape: tuple[int, ...]) -> tuple[bool, bool]:
    """Tell from the shape of `y` whether it is flat, and whether it has an axis of snapshots."""
    modes, total = len(sizes), math.prod(sizes)
    is_tensor = shape[:modes] == sizes and len(shape) in (modes, modes + 1)
    is_flat = not is_tensor and shape[:1] == (total,) and len(shape) in (1, 2)
    if not (is_tensor or is_flat):
        raise ValueError(
            f"y must be of shape {sizes} or ({total},), with one axis more for snapshots, for "
            f"factors with {' x '.join(map(str, sizes))} = {total} rows, got shape {shape} with "
            f"{math.prod(shape)} entries. Reshape y, or transpose factors that lie the other way."
        )
    has_snapshots = len(shape) == (modes + 1 if is_tensor else 2)
    if has_snapshots and shape[-1] == 0:
        raise ValueError(
            f"y must have at least one snapshot, got shape {shape}. Leave the last axis away for "
            "a single one."
        )
    return is_flat, has_snapshots
