"""Spaces spanned by products of functions of one variable, and exact draws of their optimal law.

::

    basis = TensorBasis(Legendre(), multi_index(3, 17))    # 1140 functions of 3 variables
    basis.evaluate(points)                                 # (n, 1140)
    basis.christoffel(points)                              # (n,): sums of squares of the rows
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from linalgkit._core.array import (
    Array,
    Device,
    DType,
    Namespace,
    array_namespace,
    asarray,
    complex_dtype,
    device,
    library_name,
    namespace_of,
    numpy_namespace,
    to_numpy,
    widest_float,
)
from linalgkit._core.capabilities import capability
from linalgkit._core.estimator import as_array
from linalgkit._core.validation import message
from linalgkit._kernels import row_norms_squared
from linalgkit._kernels.tensor_basis import tensor_basis
from linalgkit.sampling._family import Family, check_finite_values, check_inside, real_points
from linalgkit.sampling._proposals import Proposals

_HOST = numpy_namespace()
_CHUNK = 2**22  # entries of rows at a time where only their norms are wanted


@dataclass(frozen=True)
class _Group:
    """Variables of one family: their numbers, their largest index, and their first column."""

    family: Family
    variables: tuple[int, ...]
    p: int
    offset: int


@capability("sampling.TensorBasis", synchronisations={"call": 1, "evaluation": 3, "draw": 1})
class TensorBasis:
    """Products of functions of one variable, orthonormal for the product of their measures.

    Parameters
    ----------
    families : family or sequence of d families
        :class:`Legendre`, :class:`Jacobi`, :class:`Hermite`, :class:`Fourier` or
        :class:`BSpline`; one family serves all variables.
    indices : array or nested list of int, shape (m, d)
        One row a function: the product over `c` of function ``indices[q, c]`` of family `c`.
        Rows are distinct, entries not negative. Points that are drawn lie in the library and on
        the device of this array (NumPy for a list), in the widest float of the device.

    Attributes
    ----------
    dim, n_variables : int
        `m` and `d`.
    families : tuple of families
        One a variable.
    indices : array (m, d)
        As given.

    Raises
    ------
    TypeError
        If a family is none, or the indices are no integers.
    ValueError
        If indices are not 2-D, empty, negative, too large for their family, repeated, or not as
        wide as there are families.

    Notes
    -----
    Draws of the law ``(1/m) sum_q |phi_q|^2 dmu`` pick a function and then draw each variable
    from ``|psi_j|^2 dmu`` of its own index: exact in any number of variables, at a cost
    proportional to `d`. They come from the host's generator in an order that does not depend on
    the library.

    Storage: ``8 m d + 4 m s`` bytes with `s` the largest number of non-zero entries of an index,
    and what the families keep. Rows at n points take ``n m`` numbers, and as many again outside
    NumPy and CuPy; a sample holds those of up to six blocks of proposals.

    References
    ----------
    A. Cohen, G. Migliorati, "Optimal weighted least-squares methods", SMAI J. Comput. Math. 3
    (2017); A. Narayan, "Computation of induced orthogonal polynomial distributions", Electron.
    Trans. Numer. Anal. 50 (2018).

    Examples
    --------
    >>> import numpy as np
    >>> from linalgkit.sampling import Hermite, Legendre, TensorBasis
    >>> basis = TensorBasis([Legendre(), Hermite()], [[0, 0], [1, 0], [0, 2]])
    >>> basis.dim, basis.n_variables
    (3, 2)
    >>> basis.evaluate(np.asarray([[1.0, 0.0]])).round(4)
    array([[ 1.    ,  1.7321, -0.7071]])
    >>> basis.christoffel(np.asarray([[1.0, 0.0]])).round(4)
    array([4.5])
    """

    exact = True
    whitener = None
    blocks_together = 6  # calls cost more than points

    def __init__(self, families: Any, indices: Any) -> None:
        self.indices, host = _checked_indices(indices)
        self.families = _checked_families(families, host)
        self.dim, self.n_variables = host.shape
        self._host = host
        self._variables = _by_family(self.families)
        self._groups = _groups(self._variables, host.max(axis=0))
        self._columns = _columns(self._groups, host)
        self._moved: dict[tuple[str, str], Array] = {}
        self._known_place: tuple[Namespace, Device, DType] | None = None

    def __repr__(self) -> str:
        shown = self.families[0] if len(set(self.families)) == 1 else list(self.families)
        return f"TensorBasis({shown!r}, indices of shape ({self.dim}, {self.n_variables}))"

    def __getstate__(self) -> dict[str, Any]:
        # Modules can be neither copied nor pickled.
        return {**self.__dict__, "_moved": {}, "_known_place": None}

    @property
    def _place(self) -> tuple[Namespace, Device, DType]:
        """Namespace, device and real dtype of points that are drawn."""
        if self._known_place is None:
            xp, dev = namespace_of(self.indices)
            self._known_place = xp, dev, widest_float(xp, dev)
        return self._known_place

    @property
    def xp(self) -> Namespace:
        """Namespace of the indices, hence of all points that are drawn."""
        return self._place[0]

    @property
    def device(self) -> Device:
        """Device of the indices."""
        return self._place[1]

    @property
    def dtype(self) -> DType:
        """Dtype of the rows of points that are drawn."""
        xp, _, real = self._place
        return complex_dtype(xp, real) if self.is_complex else real

    @property
    def is_complex(self) -> bool:
        """Whether the values are complex."""
        return any(group.family.is_complex for group in self._groups)

    def evaluate(self, points: Any) -> Array:
        """Return the values of all functions at points.

        Parameters
        ----------
        points : array (n, d)
            Real, of any library; (n,) where ``d = 1``.

        Returns
        -------
        array (n, m)
            In the library, on the device and in the precision of the points.

        Raises
        ------
        TypeError
            If the points are no real array.
        ValueError
            If they have a wrong shape, hold NaN or infinity, lie outside the domain of a family
            (by more than rounding), or a value exceeds the range of the floats.
        """
        x, xp = self._checked_points(points)
        rows = self._rows(xp, x)
        self._check_range(rows, xp)
        return rows

    def christoffel(self, points: Any) -> Array:
        """Return the sums of the squared moduli of all functions at points.

        Parameters
        ----------
        points : array (n, d)
            As for :meth:`evaluate`.

        Returns
        -------
        array (n,)
            Real.

        Raises
        ------
        TypeError, ValueError
            As :meth:`evaluate` does.

        Notes
        -----
        Storage: rows of a few thousand points at a time, 32 MiB in float64.
        """
        x, xp = self._checked_points(points)
        step = max(1, _CHUNK // self.dim)
        parts = []
        for start in range(0, max(1, x.shape[0]), step):
            rows = self._rows(xp, x[start : min(start + step, x.shape[0]), :])
            self._check_range(rows, xp)
            norms = row_norms_squared(xp, rows)
            self._check_range(norms, xp)
            parts.append(xp.astype(norms, x.dtype, copy=False))
        return parts[0] if len(parts) == 1 else xp.concat(parts, axis=0)

    def draw(self, count: int, rng: Any) -> Proposals:
        """Return independent draws of the optimal law ``(1/m) sum_q |phi_q|^2 dmu``.

        Parameters
        ----------
        count : int
            How many.
        rng : numpy.random.Generator
            Where the numbers come from.

        Returns
        -------
        Proposals
            Whose envelope is the squared norm of the row, so that all are kept.
        """
        degrees = _HOST.take(self._host, rng.integers(self.dim, size=count), axis=0)

        def numbers(family: Family, variables: list[int]) -> Array:
            return family._draw_degrees(degrees[:, variables].reshape(-1), rng)

        xp, dev, dtype = self._place
        points = self._by_variable(count, numbers)
        x = asarray(points, xp=xp, device=dev, dtype=dtype, copy=False)
        rows = self._rows(xp, x)
        envelope = to_numpy(row_norms_squared(xp, rows))
        return Proposals(x, rows, envelope.astype(_HOST.float64, copy=False))

    def draw_measure(self, count: int, rng: Any) -> Array:
        """Return independent draws of the product measure.

        Parameters
        ----------
        count : int
            How many.
        rng : numpy.random.Generator
            Where the numbers come from.

        Returns
        -------
        array (count, d)
            In the library and on the device of the indices.
        """

        def numbers(family: Family, variables: list[int]) -> Array:
            return family._draw(count * len(variables), rng)

        xp, dev, dtype = self._place
        points = self._by_variable(count, numbers)
        return asarray(points, xp=xp, device=dev, dtype=dtype, copy=False)

    # ------------------------------------------------------------------------------- inside

    def _by_variable(self, count: int, numbers: Callable[[Family, list[int]], Array]) -> Array:
        """Return points on the host, family by family."""
        parts = {f: numbers(f, v).reshape(count, len(v)) for f, v in self._variables.items()}
        if len(parts) == 1:
            return next(iter(parts.values()))
        points = _HOST.empty((count, self.n_variables))
        for family, variables in self._variables.items():
            points[:, variables] = parts[family]
        return points

    def _checked_points(self, points: Any) -> tuple[Array, Namespace]:
        """Return points (n, d) that lie in the domain."""
        x, xp = real_points(points)
        d = self.n_variables
        if x.ndim == 1 and d == 1:
            x = xp.reshape(x, (-1, 1))
        if x.ndim != 2 or x.shape[1] != d:
            raise ValueError(
                f"points must have shape (n, {d}) for a basis of {d} variable{'s' * (d > 1)}, "
                f"got {tuple(x.shape)}."
            )
        check_inside(x, xp, tuple(family.domain for family in self.families))
        return x, xp

    def _check_range(self, rows: Array, xp: Namespace) -> None:
        if any(group.family._may_overflow for group in self._groups):
            check_finite_values(rows, xp)

    def _rows(self, xp: Namespace, x: Array) -> Array:
        """Return the values at points that are known to be right."""
        dev = device(x)
        blocks = [xp.ones((x.shape[0], 1), dtype=x.dtype, device=dev)]
        for group in self._groups:
            part = x
            if len(group.variables) < self.n_variables:
                places = asarray(
                    _HOST.asarray(group.variables, dtype=_HOST.int32), xp=xp, device=dev, copy=False
                )
                part = xp.take(x, places, axis=1)
            blocks.append(group.family._table(xp, part, group.p))
        table = xp.concat(blocks, axis=1) if len(blocks) > 1 else blocks[0]
        rows: Array = tensor_basis(xp, table, self._columns_on(xp, dev))
        return rows

    def _columns_on(self, xp: Namespace, dev: Device) -> Array:
        """Return the columns of the products on a device, moved there once."""
        key = (library_name(xp), str(dev))
        columns = self._moved.get(key)
        if columns is None:
            columns = asarray(self._columns, xp=xp, device=dev, copy=False)
            self._moved[key] = columns
        return columns


def _by_family(families: tuple[Family, ...]) -> dict[Family, list[int]]:
    """Return the variables of each family, in the order of first appearance."""
    found: dict[Family, list[int]] = {}
    for variable, family in enumerate(families):
        found.setdefault(family, []).append(variable)
    return found


def _groups(by_family: dict[Family, list[int]], largest: Array) -> tuple[_Group, ...]:
    """Return the variables that occur, by family; column 0 is left to the constant one."""
    groups, offset = [], 1
    for family, variables in by_family.items():
        used = tuple(c for c in variables if largest[c] > 0)
        if used:
            p = int(max(largest[c] for c in used))
            groups.append(_Group(family, used, p, offset))
            offset += len(used) * p
    return tuple(groups)


def _columns(groups: tuple[_Group, ...], host: Array) -> Array:
    """Return the columns (s, m) whose products are the functions, ones at the end."""
    place = _HOST.zeros(host.shape[1], dtype=_HOST.int64)
    for group in groups:
        for k, variable in enumerate(group.variables):
            place[variable] = group.offset + k * group.p - 1
    columns = _HOST.where(host > 0, host + place, 0)
    factors = max(1, int(_HOST.count_nonzero(columns, axis=1).max()))
    order = _HOST.argsort(columns == 0, axis=1, kind="stable")[:, :factors]
    chosen = _HOST.take_along_axis(columns, order, axis=1)
    return _HOST.ascontiguousarray(chosen.T.astype(_HOST.int32))


# ------------------------------------------------------------------------------------ checks


def _checked_indices(indices: Any) -> tuple[Array, Array]:
    """Return the indices as an array of their library, and on the host."""
    try:
        given = as_array(indices, "indices")
        xp = array_namespace(given)
    except ValueError:
        raise ValueError("indices must be rows of equal length, got a ragged list.") from None
    if given.ndim != 2 or 0 in given.shape:
        rule = "be 2-D (functions, variables) and not empty"
        raise ValueError(
            f"indices must {rule}, got shape {tuple(given.shape)}. multi_index makes such arrays."
        )
    if not xp.isdtype(given.dtype, "integral"):
        raise TypeError(
            f"indices must be integers, got {given.dtype}. Convert them with astype(int)."
        )
    host = _HOST.asarray(to_numpy(given)).astype(_HOST.int64)
    if (host < 0).any():
        row = int(_HOST.argmax((host < 0).any(axis=1)))
        raise ValueError(f"indices must not be negative, got {host[row].tolist()} in row {row}.")
    _check_distinct(host)
    return given, host


def _check_distinct(host: Array) -> None:
    order = _HOST.lexsort(host.T[::-1])
    equal = (host[order[1:], :] == host[order[:-1], :]).all(axis=1)
    if equal.any():
        place = int(_HOST.argmax(equal))
        first, second = sorted((int(order[place]), int(order[place + 1])))
        raise ValueError(
            f"indices must be distinct, got {host[first].tolist()} in rows {first} and {second}. "
            "numpy.unique(indices, axis=0) drops repetitions."
        )


def _checked_families(families: Any, host: Array) -> tuple[Family, ...]:
    """Return one family a variable."""
    d = host.shape[1]
    listed = (families,) * d if isinstance(families, Family) else families
    if not isinstance(listed, (list, tuple)) or not all(isinstance(f, Family) for f in listed):
        raise TypeError(
            "families must be a family, for instance Legendre(), or a sequence of them, got "
            f"{families!r}."
        )
    if len(listed) != d:
        rule = f"be {d} families as indices has {d} columns (or one for all)"
        raise ValueError(message("families", rule, families))
    for c, (family, largest) in enumerate(zip(listed, host.max(axis=0).tolist(), strict=True)):
        if family.max_degree is not None and largest > family.max_degree:
            why = f"in column {c} for {family!r}"
            rule = f"be at most {family.max_degree}"
            raise ValueError(message("indices", rule, largest, why=why))
    return tuple(listed)
