"""Least-squares equations that lie in parts: a pass is a map and a tree, the rest serial code.

::

    eq = equations_in_parts(A, b, weights=None, alpha=0.0, fanin=8, persist=None)
    solution(eq, options, m, rng)       # as for equations in memory

The solvers of :mod:`linalgkit.regression` go through equations by
:meth:`~linalgkit.regression._problem.Equations.folded` alone. Here each part is gone through by a
worker, in blocks as in memory, and what the parts give is merged in order by a tree.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

import dask
from dask.delayed import Delayed

from linalgkit._core.array import Array, DType, is_sparse
from linalgkit._core.estimator import as_array
from linalgkit._core.operators import Operator
from linalgkit._core.scaling import silent
from linalgkit._core.sparse import as_csr, csr_concat
from linalgkit._core.validation import check_array_2d, check_float, check_int
from linalgkit.distributed._aligned import owned
from linalgkit.distributed._beside import beside
from linalgkit.distributed._graph import computed, once, reduced, task
from linalgkit.distributed._parts import as_parts
from linalgkit.regression._checks import check_block, checked_weights
from linalgkit.regression._problem import Equations, equations
from linalgkit.regression._sources import Rows, _right_side, find_rows

_T = TypeVar("_T")


class Part(NamedTuple):
    """Rows of equations as a worker holds them: array or CSR matrix, right sides, weights."""

    A: Any
    b: Array
    weights: Array | None


class Head(NamedTuple):
    """What the client knows of a part: its rows, and arrays without rows."""

    n: int
    A: Any
    b: Array


def equations_in_parts(
    A: Any, b: Any, *, weights: Any, alpha: float, fanin: int, persist: bool | None
) -> PartEquations:
    """Return the equations that a caller's arguments stand for, after one pass that checks them.

    Raises
    ------
    TypeError, ValueError
        For kinds, shapes and values that do not fit, naming argument and part.
    """
    alpha, fanin = check_float("alpha", alpha, 0.0), check_int("fanin", fanin, 2)
    if b is None:
        raise TypeError("b must be given beside the parts of A, got None.")
    parts, (right, each) = beside(as_parts(A, name="A"), b=b, weights=weights)
    found = zip(parts.tasks, right, each, strict=True)
    tasks = [task("rows", _part, k, *args) for k, args in enumerate(found)]
    if on_cluster() if persist is None else persist:
        tasks = list(dask.persist(*tasks))
    heads = computed(*(task("look", _head, part) for part in tasks))
    heads = [heads] if len(tasks) == 1 else list(heads)
    rows = _rows_of(heads)
    kept = [(part, head.n) for part, head in zip(tasks, heads, strict=True) if head.n]
    return PartEquations(rows, alpha, [t for t, _ in kept], [n for _, n in kept], fanin)


def on_cluster() -> bool:
    """Tell whether Dask has been told to use a cluster of workers."""
    owner = getattr(dask.base.get_scheduler(), "__self__", None)
    return hasattr(owner, "scheduler_info")


def _rows_of(heads: list[Head]) -> Rows:
    """Return the facts about all rows, from parts that fit to the first one."""
    n = sum(head.n for head in heads)
    if n == 0:
        raise ValueError("A must have at least one row, got none.")
    rows = find_rows([(head.A, head.b) for head in heads], None)
    for _ in rows.pieces(1):  # compares each with the first
        pass
    return replace(rows, n=n, is_native=False)


class PartEquations(Equations):
    """Equations whose rows lie in parts.

    Parameters
    ----------
    rows : Rows
        The facts; its pieces are not used.
    alpha : float
        Weight of ``||x||^2``.
    tasks : list of Delayed
        A :class:`Part` each.
    lengths : list of int
        Their rows.
    fanin : int
        Of the trees.

    Notes
    -----
    A copy that travels inside a step has the facts only: not the rows.
    """

    def __init__(
        self, rows: Rows, alpha: float, tasks: list[Delayed], lengths: list[int], fanin: int
    ) -> None:
        super().__init__(rows, None, alpha)
        self._tasks, self._lengths, self._fanin = tasks, lengths, fanin

    def __getstate__(self) -> dict[str, Any]:
        """Return the facts."""
        nothing: dict[str, Any] = {"_rows": None, "_tasks": [], "_lengths": []}
        return {**self.__dict__, **nothing}

    def __copy__(self) -> PartEquations:
        """Return the same equations with the rows."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        return twin

    # ---------------------------------------------------------------------------- passes

    def folded(
        self,
        step: Callable[[_T | None, int, Operator, Array], _T],
        merge: Callable[[_T, _T], _T],
        **options: Any,
    ) -> _T:
        """Go through all parts, each block by block, and merge what has been made of them."""
        units = self.column_exponents, self.b_exponents
        plan = once(_Pass(step, options, self.dtype, *units))
        tasks = [
            task("pass", _folded, part, start, plan)
            for part, start in zip(self._tasks, self._starts(), strict=True)
        ]
        found: _T = computed(reduced("pass", merge, tasks, self._fanin))
        return found

    def _starts(self) -> list[int]:
        return [0, *itertools.accumulate(self._lengths)][:-1]

    def blocks(self, **_: Any) -> Iterator[tuple[int, Operator, Array]]:
        """Not for these: they are gone through side by side."""
        raise AssertionError("equations in parts are folded")

    def check_finite(self) -> None:
        """Go through all rows once more to refuse NaN and infinity."""
        self.folded(_checked, _first)

    # ---------------------------------------------------------------------- on the client

    def sampled(self, step: int) -> Equations:
        """Return every `step`-th of the equations, unweighted, in memory."""
        tasks = [
            task("sample", _every, part, -start % step, step)
            for part, start in zip(self._tasks, self._starts(), strict=True)
        ]
        return self._in_memory(tasks)

    def gathered(self) -> Equations:
        """Return the equations put together in memory."""
        return self._in_memory(self._tasks)

    def _in_memory(self, tasks: list[Delayed]) -> Equations:
        """Return the equations of some parts, in the units of these."""
        found = computed(*tasks)
        parts = [found] if len(tasks) == 1 else list(found)
        A, xp = [part.A for part in parts], self.xp
        whole = csr_concat(A) if self.is_sparse else xp.concat(A, axis=0)
        b = xp.concat([part.b for part in parts], axis=0)
        weights = [part.weights for part in parts if part.weights is not None]
        each = xp.concat(weights, axis=0) if weights else None
        together = equations(whole, b, weights=each, alpha=self.alpha)
        return _in_units(together, self.dtype, self.column_exponents, self.b_exponents)


def _in_units(
    eq: Equations, dtype: DType, columns: list[int] | None, sides: list[int] | None
) -> Equations:
    """Return equations in the dtype and the units of those they are a part of."""
    found = copy.copy(eq)
    is_native = eq.is_unchanged and dtype == eq.dtype
    found._rows = replace(eq._rows, dtype=dtype, is_native=is_native)
    found.dtype, found.column_exponents, found.b_exponents = dtype, columns, sides
    return found


# ----------------------------------------------------------------------- what runs on a worker


@dataclass(frozen=True)
class _Pass:
    """What is done with each block, and in which dtype and units."""

    step: Callable[[Any, int, Operator, Array], Any]
    how: dict[str, Any]
    dtype: DType
    columns: list[int] | None
    sides: list[int] | None


def _part(index: int, A: Any, b: Any, weights: Any) -> Part:
    """Return a part as it is used, after checking it by itself."""
    name = f"A in part {index}"
    A, _ = check_array_2d(name, as_array(A, name), allow_sparse=True)
    b = _right_side(b)
    if b.shape[0] != A.shape[0]:
        raise ValueError(
            f"b must have {A.shape[0]} rows as A has in part {index}, got shape {tuple(b.shape)}."
        )
    A = as_csr(A) if is_sparse(A) else A
    if A.shape[0] == 0:
        return Part(A, b, None)  # which is left out
    check_block(A, b, index, 0)
    if weights is not None:
        try:
            weights = checked_weights(weights, find_rows(A, b))
        except (TypeError, ValueError) as error:
            raise type(error)(f"{error} (part {index})") from None
    return Part(A, b, weights)


def _head(part: Part) -> Head:
    return Head(int(part.A.shape[0]), owned(part.A[:0, :]), owned(part.b[:0, ...]))


def _folded(part: Part, start: int, plan: _Pass) -> Any:
    """Return what a pass makes of the blocks of a part."""
    eq = equations(part.A, part.b, weights=part.weights)
    eq = _in_units(eq, plan.dtype, plan.columns, plan.sides)
    found: Any = None
    with silent():
        for first, block, B in eq.blocks(**plan.how):
            found = plan.step(found, start + first, block, B)
    return found


def _every(part: Part, first: int, step: int) -> Part:
    """Return every `step`-th row from `first` on, without weights."""
    first = min(first, int(part.A.shape[0]))
    return Part(owned(part.A[first::step, :]), owned(part.b[first::step, ...]), None)


def _checked(found: Any, start: int, block: Operator, B: Array) -> bool:
    return True


def _first(a: _T, b: _T) -> _T:
    return a
