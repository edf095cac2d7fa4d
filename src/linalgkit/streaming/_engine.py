"""The face that every engine of a stream shows to its estimator.

An engine sees blocks of rows as operators, in units where the largest entry is about one. It
keeps a state whose size does not depend on the number of rows, and answers at any moment::

    engine.update(block)                  # a few rows, never written to
    view = engine.finish()                # frozen; the stream may go on in `engine`
    lam, V = view.top(3)
    view.certificate()["gap"]

"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from linalgkit._core.array import (
    Array,
    Device,
    DType,
    Namespace,
    dtype_from_name,
    dtype_name,
    is_complex,
    is_complex_dtype,
    real_dtype,
    to_numpy,
    widest_dtype,
)
from linalgkit._core.operators import DenseOperator, Operator
from linalgkit._core.state import State, Stateful

Certificate = dict[str, Any]


class Engine(Stateful):
    """Common part of the engines: where they live and how they are resumed.

    Parameters
    ----------
    d : int
        Number of columns.
    n_components : int
        Number of eigenpairs asked for, 1 to `d`.
    xp, device, dtype
        Array library, device and working dtype of the rows (float32, float64, complex64 or
        complex128). What is accumulated is kept in the widest dtype of the device.
    """

    name: ClassVar[str]
    order: ClassVar[str]
    basis: Array | None = None  # what the next block will be multiplied with, if that is fixed

    def __init__(
        self, d: int, n_components: int, *, xp: Namespace, device: Device, dtype: DType
    ) -> None:
        self.d = d
        self.n_components = n_components
        self.xp = xp
        self.device = device
        self.dtype = dtype

    # ------------------------------------------------------------------ for the subclasses

    @property
    @abstractmethod
    def block_rows(self) -> int:
        """Rows a block should have; depends on the sizes only."""

    @abstractmethod
    def update(self, block: Operator) -> None:
        """Take in a block of rows."""

    @abstractmethod
    def rescale(self, exponent: int) -> None:
        """Act as if all rows so far had been multiplied by ``2**exponent``."""

    @abstractmethod
    def decay(self, factor: float) -> None:
        """Act as if ``A^H A`` so far had been multiplied by `factor`."""

    @abstractmethod
    def top(self, r: int) -> tuple[Array, Array]:
        """Return the `r` largest eigenvalues, descending, and their vectors as columns."""

    @abstractmethod
    def certificate(self) -> Certificate:
        """Return what is known about the quality of the answer, as host numbers."""

    # ----------------------------------------------------------------------------- common

    def finish(self) -> Self:
        """Return a view that can answer; this engine may go on with the stream."""
        return copy.copy(self)

    @property
    def wide(self) -> DType:
        """The dtype of what is accumulated."""
        return widest_dtype(self.xp, self.device, self.dtype)

    @property
    def is_complex(self) -> bool:
        """Whether the rows are complex."""
        return is_complex_dtype(self.xp, self.dtype)

    @property
    def dtype_name(self) -> str:
        """Name of the working dtype."""
        return dtype_name(self.xp, self.dtype)

    def _zeros(self, *shape: int) -> Array:
        return self.xp.zeros(shape, dtype=self.wide, device=self.device)

    def _zero(self) -> Array:
        """Return a real zero on the device, to sum squares in without synchronising."""
        dtype = real_dtype(self.xp, self.wide)
        return self.xp.zeros((), dtype=dtype, device=self.device)

    def _sizes(self) -> State:
        """Return the arguments that every state holds."""
        return {"d": self.d, "n_components": self.n_components, "dtype": self.dtype_name}

    @classmethod
    def from_state(
        cls,
        state: Mapping[str, Any],
        *,
        like: Array | None = None,
        xp: Namespace | None = None,
        device: Device | None = None,
    ) -> Self:
        """Return an engine that goes on where ``to_state`` was called.

        Parameters
        ----------
        state : dict
            What ``to_state`` returned.
        like : array, optional
            An array whose library and device the engine shall have.
        xp, device : optional
            The same, given by themselves.
        """
        if xp is not None:
            like = xp.empty((0,), dtype=xp.float32, device=device)
        return super().from_state(state, like=like)


def sizes_from_state(state: State, xp: Namespace, device: Device) -> dict[str, Any]:
    """Return the keyword arguments that :meth:`Engine._sizes` stored."""
    return {
        "d": state["d"],
        "n_components": state["n_components"],
        "xp": xp,
        "device": device,
        "dtype": dtype_from_name(xp, state["dtype"]),
    }


# ------------------------------------------------------------------------- small services


def widened(block: Operator, dtype: DType) -> Operator:
    """Return a dense block in a wider dtype; others, which would be copied whole, unchanged."""
    if not isinstance(block, DenseOperator) or block.dtype == dtype:
        return block
    return DenseOperator(block.xp.astype(block.A, dtype))


def real_part(x: Array, xp: Namespace) -> Array:
    """Return the real part of an array that may be real already."""
    return xp.real(x) if is_complex(x, xp) else x


def column_dots(A: Array, B: Array, xp: Namespace) -> Array:
    """Return ``a_i^H b_i`` for the columns of two matrices."""
    return xp.sum((xp.conj(A) if is_complex(A, xp) else A) * B, axis=0)


def host_values(values: Array) -> list[float]:
    """Return a vector as Python floats (one synchronisation)."""
    return [float(value) for value in to_numpy(values)]
