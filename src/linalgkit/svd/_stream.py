"""The state behind an incremental decomposition: what is kept, what waits, what was discarded.

::

    stream = ColumnStream.started(block, options)
    stream.push(block)                  # (b, m): columns lie as rows
    held = stream.flushed()             # everything taken in; `stream` stays as it is
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any, Self

from linalgkit._core.array import (
    Device,
    DType,
    Namespace,
    asarray,
    dtype_from_name,
    dtype_name,
    eps,
    is_sparse,
    library_name,
    to_numpy,
    widest_dtype,
)
from linalgkit._core.random import PhiloxTiles
from linalgkit._core.row_buffer import RowBuffer
from linalgkit._core.scaling import ldexp, norm_fro, scale_exponent
from linalgkit._core.sparse import csr_rows
from linalgkit._core.state import State, Stateful, check_mergeable
from linalgkit.svd import _rotations
from linalgkit.svd._account import Account
from linalgkit.svd._columns import Columns, DenseColumns, SparseColumns, as_columns
from linalgkit.svd._leaf import MANY, leaf_step
from linalgkit.svd._mean import Mean
from linalgkit.svd._options import SVDOptions, is_well_resolved
from linalgkit.svd._rotations import Rotation
from linalgkit.svd._steps import (
    Kept,
    Step,
    Truncation,
    columns,
    decomposed,
    direct_step,
    gram_step,
    host,
    nothing,
    orthogonal_step,
    refreshed,
)

_PLAIN_EXPONENT = {8: 100, 4: 20}  # of data that need no other unit, by bytes of a real number
_MOST_TILT = 10.0  # roundoffs that add up before an orthonormal basis is cleaned


class ColumnStream(Stateful):
    """A truncated decomposition of the columns so far, and those that wait for a step.

    Parameters
    ----------
    options : SVDOptions
        As they were at the start.
    m : int
        Rows of the matrix.
    xp, device, dtype
        Of the columns.
    sparse : bool
        Whether they come sparse.
    seed : int
        Start of the random numbers for blocks of many sparse columns.
    share : float
        Of the square of an absolute tolerance that may be spent, where others spend the rest.
    """

    def __init__(
        self,
        options: SVDOptions,
        m: int,
        *,
        xp: Namespace,
        device: Device,
        dtype: DType,
        sparse: bool = False,
        seed: int = 0,
        share: float = 1.0,
    ) -> None:
        self.options, self.m, self.sparse = options, m, sparse
        self.xp, self.device, self.dtype = xp, device, dtype
        self.buffer = options.buffer_of(m, sparse=sparse)
        self.kept: Kept | None = None
        self.node: Rotation | None = None
        self.account = Account()
        self.exponent = 0
        self.n_columns = 0  # in `kept`; those that wait apart
        self.mean = Mean() if options.center else None
        self.run = "columns"
        self.is_orthogonal = options.method in ("qr", "cholqr")
        self.seed, self.share = seed, share
        self.tilt = 0.0  # roundoffs by which an orthonormal basis may have become less so

    # ---------------------------------------------------------------------- columns come in

    @property
    def n_seen(self) -> int:
        """Columns taken in, those that wait included."""
        return self.n_columns + len(self.buffer)

    def push(self, block: Any) -> None:
        """Take in finite columns, transposed (b, m), of the stream's library and dtype."""
        for full in self.buffer.push(block):
            self._absorb(full, own=self.buffer.is_own)

    def flush(self) -> None:
        """Take in the columns that wait."""
        rest = self.buffer.tail()
        if rest is not None:
            self._absorb(rest, own=True)
            self.buffer.clear()

    def duplicate(self) -> Self:
        """Return a copy that goes on by itself; arrays that are never written to are shared."""
        twin, waiting = self._without_buffer(), self.buffer.tail()
        if waiting is not None:
            for _ in twin.buffer.push(waiting):
                raise AssertionError("fewer columns than a block wait")
        return twin

    def flushed(self) -> Self:
        """Return the stream with all columns taken in."""
        twin, waiting = self._without_buffer(), self.buffer.tail()
        if waiting is not None:
            twin._absorb(waiting, own=False)
        return twin

    def _without_buffer(self) -> Self:
        """Return a copy for which nothing waits."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin.buffer = self.options.buffer_of(self.m, sparse=self.sparse)
        return twin

    def _absorb(self, rows: Any, *, own: bool) -> None:
        """Take in what the buffer gave, at once or in several steps; its own may be overwritten."""
        b, most = int(rows.shape[0]), self.options.columns_of(self.m)
        if is_sparse(rows) and self._is_leaf(b):
            before = dict(self.__dict__)
            self._absorb_block(rows)
            if self._is_resolved():
                return
            self.__dict__.update(before)
            self.is_orthogonal = True
        if b <= most:
            self._absorb_block(rows, own=own)
            return  # as for all dense columns
        for start in range(0, b, most):
            self._absorb_block(csr_rows(rows, start, min(start + most, b)))

    def _is_leaf(self, b: int) -> bool:
        """Tell whether so many sparse columns come in by a projection on few vectors."""
        k = 0 if self.kept is None else self.kept.rank
        many = MANY * self.options.capacity(self.m)
        is_fit = self.options.has_leaves and not self.is_orthogonal and not self._is_tight
        return is_fit and k + b >= many

    @property
    def _is_tight(self) -> bool:
        """Whether the tolerance is below what squares resolve."""
        roundoff = eps(self.xp, widest_dtype(self.xp, self.device, self.dtype))
        energy, options = self.account.norm_square, self.options
        return options.is_beyond_squares(energy, self.exponent, roundoff, self.account.noise)

    def _is_resolved(self) -> bool:
        """Tell whether squares resolve what is kept, or nobody asked for more."""
        if self.options.method == "gram" or self.kept is None:
            return True
        wide = widest_dtype(self.xp, self.device, self.dtype)
        return is_well_resolved(host(self.kept.s), wide, self.xp) and not self._is_tight

    def _absorb_block(self, rows: Any, *, own: bool = False) -> None:
        """Take in a block of columns (b, m): unit, weights, mean, step."""
        b = int(rows.shape[0])
        self.start_run("columns")
        weights, block = self._fade(b), as_columns(rows, own=own)
        if weights is not None and self.mean is None:
            block = block.weighted(weights)
        self.follow(block.size())
        block = block.in_unit(self.exponent)
        extra = None
        if self.mean is not None:
            unit = self.exponent
            self.mean, size, block, extra = self.mean.centred(block, weights, unit, self.xp)
            # Differences are good to roundoffs of what they were taken of.
            self.account = self.account.seen(size, 2 * b if self.sparse else 0)
        self._add(block, (b,))
        if extra is not None:
            self._add(DenseColumns(self.xp.astype(extra, self.dtype), self.xp), (1,))
        self.n_columns += b

    def _add(self, block: Columns, parts: tuple[Any, ...]) -> None:
        """Count in columns and do the step."""
        energy = block.energy()
        self.account = self.account.taken_in(energy)
        if isinstance(block, SparseColumns) and self._is_leaf(block.b):
            step, lost, delta = leaf_step(
                self.kept,
                block,
                self.rule_of(self.m, self._gram_floor),
                self.xp,
                rng=PhiloxTiles(self.seed).generator(self.n_columns, 0),
                wanted=self.options.n_components or 0,
                energy=energy,
            )
            top = step.squares[0] if step.squares else 0.0
            count = 2 * len(step.squares) + 16
            self.account = self.account.seen(top, count).leaf(lost, delta)
            self._keep(step, self._joined(parts))
        else:
            step = self._step(block)  # which may turn what was there
            self._take(step, self._joined(parts))

    def _joined(self, parts: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the rotations of new columns behind those of all before."""
        return parts if self.node is None else (self.node, *parts)

    @property
    def _gram_floor(self) -> float:
        """Share of the largest singular value that a Gram matrix resolves."""
        wide = widest_dtype(self.xp, self.device, self.dtype)
        return math.sqrt(50.0 * eps(self.xp, wide))

    def _fade(self, b: int) -> list[float] | None:
        """Weaken what was there before `b` columns, and return the weights of these."""
        f = self.options.forgetting
        if f == 1.0:
            return None
        factor, exponent = _split_power(f, b)
        if abs(exponent) <= self._plain_exponent:
            factor, exponent = math.ldexp(factor, exponent), 0
        self.account = self.account.faded(factor)
        if self.kept is not None:
            basis = factor * self.kept.basis if self.kept.is_scaled else self.kept.basis
            self.kept = Kept(basis, factor * self.kept.s, self.kept.is_scaled)
        if self.mean is not None:
            self.mean = self.mean.faded(math.ldexp(factor, max(exponent, -4000)))
        self.exponent += exponent
        size = math.sqrt(self.account.energy)
        if 0.0 < size < math.ldexp(1.0, -self._plain_exponent):
            self._change_unit(self.exponent + scale_exponent(size))
        return [f ** (b - 1 - j) for j in range(b)]

    def follow(self, largest: float, exponent: int = 0) -> None:
        """Take another unit where numbers of ``largest 2**exponent`` ask for it; zeros do not."""
        if largest == 0.0:
            return
        found, plain = scale_exponent(largest) + exponent, self._plain_exponent
        is_first = self.account.energy == 0.0
        wanted = found if abs(found) > plain else 0
        if (is_first and self.exponent == 0) or found > self.exponent + plain:
            self._change_unit(wanted)

    @property
    def _plain_exponent(self) -> int:
        """Of numbers that need no other unit."""
        return _PLAIN_EXPONENT[4 if self.xp.finfo(self.dtype).bits == 32 else 8]

    def _change_unit(self, exponent: int) -> None:
        shift = exponent - self.exponent
        if shift == 0:
            return
        self.account = self.account.in_units(shift)
        if self.kept is not None:
            kept = self.kept
            basis = ldexp(kept.basis, -shift, self.xp) if kept.is_scaled else kept.basis
            self.kept = Kept(basis, ldexp(kept.s, -shift, self.xp), kept.is_scaled)
        self.exponent = exponent

    def start_run(self, kind: str) -> None:
        """Begin a run of one kind of change: errors of unlike changes are not orthogonal."""
        if self.run == kind != "update" or self.kept is None:
            self.run = kind
            return
        if self.account.lost > 0.0 or kind == "update":
            energy = math.fsum(value * value for value in host(self.kept.s))
            self.account = self.account.new_run(energy)
        self.run = kind

    # ------------------------------------------------------------------------------ a step

    def _step(self, block: Columns) -> Step:
        """Return the step for a block, by the method that is right for it."""
        k = 0 if self.kept is None else self.kept.rank
        self.is_orthogonal = self.is_orthogonal or self._is_tight
        if self.m <= k + block.b:
            floor = 4.0 * eps(self.xp, self.dtype) * math.sqrt(k + block.b)
            return direct_step(self.kept, block, self.rule_of(self.m, floor), self.xp)
        if not self.is_orthogonal:
            wide = widest_dtype(self.xp, self.device, self.dtype)
            step = gram_step(self.kept, block, self.rule_of(self.m, self._gram_floor), self.xp)
            if self.options.method == "gram" or is_well_resolved(step.values(), wide, self.xp):
                return step
            self.is_orthogonal = True
        self._orthogonalise()
        kept = nothing(self.m, self.dtype, self.device, self.xp) if k == 0 else self.kept
        assert kept is not None
        rule = self.rule_of(self.m)
        size, by_cholesky = math.sqrt(self.account.energy), self.options.method != "qr"
        step = orthogonal_step(kept, block, rule, self.xp, size=size, by_cholesky=by_cholesky)
        self.tilt += step.tilt
        if self.tilt > _MOST_TILT:
            self.tilt = 0.0
            return refreshed(step, self.xp)
        return step

    def rule_of(self, m: int, floor: float | None = None) -> Truncation:
        """Return the rule of a step for `m` rows, exact to rounding unless a floor is given."""
        floor = 4.0 * eps(self.xp, self.dtype) if floor is None else floor
        allowed = self.options.allowed(self.account.norm_square, self.exponent)
        if allowed is not None and self.options.tol_mode == "absolute":
            allowed *= self.share
        return self.options.truncation_of(m, self.account.lost, allowed, floor)

    def _orthogonalise(self) -> None:
        """Bring what is kept to an orthonormal basis."""
        if self.kept is None or not self.kept.is_scaled:
            return
        U, s, rotation = decomposed(self.kept, self.xp)
        self.kept = Kept(self.xp.matrix_transpose(U), s, False)
        if self.node is not None:
            self.node = Rotation((self.node,), rotation)

    def _take(self, step: Step, parts: tuple[Any, ...]) -> None:
        """Commit a step."""
        self.note(step)
        self._keep(step, parts)

    def _keep(self, step: Step, parts: tuple[Any, ...]) -> None:
        self.kept = step.kept
        if self.options.compute_v:
            self.node = Rotation(parts, step.rotation)

    def note(self, step: Step) -> None:
        """Write down what a step discarded."""
        target = [value * value for value in step.values()]
        self.discarded(step.squares, target, is_squared=step.is_squared)

    def discarded(
        self, squares: list[float], target: list[float], *, is_squared: bool = False
    ) -> None:
        """Write down that the largest of some squares became others, and the rest zero."""
        count = len(target)
        top = squares[0] if squares else 0.0
        is_uncertain = is_squared or self.options.shrinks
        self.account = self.account.seen(top, len(squares) if is_uncertain else 0)
        if self.options.shrinks and count < len(squares):
            amount = squares[count]  # off each of those kept, to rounding
            lost = count * amount + math.fsum(squares[count:])
            self.account = self.account.shrunk(amount, lost)
        else:
            self.account = self.account.truncated(squares[count:], self.options.capacity(self.m))

    # ----------------------------------------------------------------------------- merging

    def merge(self, other: ColumnStream) -> None:
        """Put the columns of another stream beside those of this one."""
        fields = ("options", "m", "dtype_name", "library")
        check_mergeable(self, other, fields, way_out="Start every part with the same options.")
        self.flush()
        theirs = other.flushed()
        if theirs.kept is None:
            return
        self.start_run("columns")
        theirs.start_run("columns")
        held = [part.exponent for part in (self, theirs) if part.account.energy > 0.0]
        exponent = max(held, default=self.exponent)
        self._change_unit(exponent)
        theirs._change_unit(exponent)
        account = self.account.merged(theirs.account)
        self.share = min(1.0, self.share + theirs.share)
        theirs_parts: tuple[Any, ...] = () if theirs.node is None else (theirs.node,)
        block = columns(theirs.kept, self.xp)
        if self.mean is not None and theirs.mean is not None:
            self.mean, extra = self.mean.merged(theirs.mean, self.exponent, self.xp)
            if extra is not None:
                block = self.xp.concat([block, extra], axis=0)
                account = account.taken_in(norm_fro(extra, self.xp) ** 2)
        self.account = account
        self.is_orthogonal = self.is_orthogonal or theirs.is_orthogonal
        step = self._step(DenseColumns(block, self.xp))  # which may turn what was there
        self._take(step, self._joined(theirs_parts))
        self.n_columns += theirs.n_columns

    @property
    def dtype_name(self) -> str:
        """Name of the dtype."""
        return dtype_name(self.xp, self.dtype)

    @property
    def library(self) -> tuple[str, str]:
        """Library and device, for comparisons."""
        return library_name(self.xp), str(self.device)

    # ----------------------------------------------------------------------------- state

    def __getstate__(self) -> dict[str, Any]:
        """Return everything, the rotations in a list: nested ones would exhaust the stack."""
        return {**super().__getstate__(), "node": _rotations.flattened(self.node)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({**state, "node": None})
        self.node = _rotations.rebuilt(state["node"])

    def _get_state(self) -> State:
        kept = self.kept
        mean = self.mean
        return {
            "options": asdict(self.options),
            "m": self.m,
            "dtype": self.dtype_name,
            "buffer": self.buffer.to_state(),
            "kept": None if kept is None else [to_numpy(kept.basis), to_numpy(kept.s)],
            "is_scaled": kept is not None and kept.is_scaled,
            "node": _rotations.to_state(self.node),
            "account": self.account.to_state(),
            "exponent": self.exponent,
            "n_columns": self.n_columns,
            "is_orthogonal": self.is_orthogonal,
            "sparse": self.sparse,
            "seed": self.seed,
            "share": self.share,
            "tilt": self.tilt,
            "run": self.run,
            "weight": 0.0 if mean is None else mean.weight,
            "mean": None if mean is None or mean.value is None else to_numpy(mean.value),
        }

    @classmethod
    def _from_state(cls, state: State, *, xp: Namespace, device: Device) -> Self:
        dtype = dtype_from_name(xp, state["dtype"])
        options = SVDOptions(**state["options"])
        place = {"xp": xp, "device": device, "dtype": dtype, "sparse": bool(state["sparse"])}
        stream = cls(options, int(state["m"]), **place)
        stream.seed, stream.share = int(state["seed"]), float(state["share"])
        stream.tilt = float(state["tilt"])
        stream.buffer = RowBuffer.from_state(state["buffer"], xp=xp, device=device)
        if state["kept"] is not None:
            basis, s = (asarray(part, xp=xp, device=device) for part in state["kept"])
            stream.kept = Kept(basis, s, bool(state["is_scaled"]))
        stream.node = _rotations.from_state(state["node"], xp, device)
        stream.account = Account.from_state(state["account"])
        stream.exponent = int(state["exponent"])
        stream.n_columns = int(state["n_columns"])
        stream.is_orthogonal = bool(state["is_orthogonal"])
        stream.run = str(state["run"])
        if state["mean"] is not None:
            value = asarray(state["mean"], xp=xp, device=device)
            stream.mean = Mean(float(state["weight"]), value)
        return stream


def _split_power(f: float, b: int) -> tuple[float, int]:
    """Return ``f**b`` as a factor and a power of two, where it would underflow as well."""
    power = f**b
    if power > 1e-290:
        return math.frexp(power)
    logarithm = b * math.log2(f)
    exponent = math.floor(logarithm)
    return 2.0 ** (logarithm - exponent), exponent
