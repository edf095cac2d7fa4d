"""Rules that turn segments of a random-order stream into eigenpair estimates.

Every rule asks for nothing but the product ``Y = A_j^H (A_j Z)`` of a segment's rows with its
own few columns ``Z``, so that many of them share one pair of matrix products::

    Z = rule.start(lam, V)                 # orthonormal columns, from the first rows
    ...                                    # Y += B^H (B Z) over some blocks
    Z = rule.close(Z, Y, segment)          # better columns, or None to go on adding
    lam, V = rule.answer(Z, Y, segment)    # eigenpairs; changes nothing
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from linalgkit._core.array import Array, Namespace, adjoint
from linalgkit._core.scaling import ldexp
from linalgkit._core.state import PortablePickle

# How strongly directions outside the summary, known only through one product with noise, are
# held back: in units of the fluctuation sqrt(d / n) of a flat tail. Chosen by experiment;
# results change by a few per cent between 0 and 2.
_CAUTION = 0.5
# A heap direction joins the summary when it carries this share of the k-th eigenvalue.
_HEAVY_SHARE = 0.1


@dataclass(frozen=True)
class Segment:
    """What a rule is told about the rows behind `Y`.

    Attributes
    ----------
    rows, before : float
        Rows in the segment and rows before it (after forgetting).
    energy : float
        Squared Frobenius norm of all light rows so far.
    heavy : array (h, d) or None
        The rows of large norm that are kept out of the stream.
    position : int
        Light rows taken in so far, none of them forgotten.
    """

    rows: float
    before: float
    energy: float
    heavy: Array | None = None
    position: int = 0

    @property
    def total(self) -> float:
        """Rows seen so far."""
        return self.before + self.rows


def hermitian(C: Array, xp: Namespace) -> Array:
    """Return the Hermitian part of a square matrix."""
    return (C + adjoint(C, xp)) / 2


@dataclass(frozen=True)
class Model:
    """A picture of light rows: ``S ~ basis M basis^H + tail I``.

    Attributes
    ----------
    basis : array (d, p)
        Orthonormal columns.
    M : array (p, p)
        Hermitian.
    tail : float
        Height of the flat part of the spectrum.
    """

    basis: Array
    M: Array
    tail: float

    def leading(self, q: int, xp: Namespace, heavy: Array | None = None) -> Array:
        """Coordinates (p, q) of the leading eigenvectors, heavy rows counted in or not."""
        joint = self.M
        if heavy is not None:
            Hc = xp.astype(heavy, self.basis.dtype, copy=False) @ self.basis
            joint = joint + adjoint(Hc, xp) @ Hc
        U = xp.flip(xp.linalg.eigh(hermitian(joint, xp))[1], axis=1)[:, :q]
        if heavy is None:
            return U
        inner = hermitian(adjoint(U, xp) @ self.M @ U, xp)
        return U @ xp.flip(xp.linalg.eigh(inner)[1], axis=1)

    def pairs(self, U: Array, xp: Namespace) -> tuple[Array, Array]:
        """Rayleigh quotients (not negative) and vectors that belong to coordinates `U`."""
        lam = xp.real(xp.sum(xp.conj(U) * (self.M @ U), axis=0)) + self.tail
        return xp.where(lam > 0, lam, xp.zeros_like(lam)), self.basis @ U

    def joint_pairs(self, k: int, heavy: Array, xp: Namespace) -> tuple[Array, Array]:
        """Leading eigenpairs of the light and the heavy rows together."""
        Hc = xp.astype(heavy, self.basis.dtype, copy=False) @ self.basis
        w, U = xp.linalg.eigh(hermitian(self.M + adjoint(Hc, xp) @ Hc, xp))
        w = xp.flip(w)[:k] + self.tail
        return xp.where(w > 0, w, xp.zeros_like(w)), self.basis @ xp.flip(U, axis=1)[:, :k]


def deflated_model(
    Z: Array,
    Y: Array,
    segment: Segment,
    xp: Namespace,
    *,
    roundoff: float,
    deflate: bool = True,
    extra: Sequence[Array] = (),
) -> Model:
    """Picture of ``S`` from orthonormal `Z` and ``Y ~ S Z``.

    The tail of ``S`` is modelled by ``tau I`` with ``tau = (tr S - tr Z^H Y) / (d - q)``, and
    the Nystrom completion is taken of ``S - tau I`` instead of ``S``.

    Why: let ``z = v + e`` be the summary's vector and ``l_1, l_2`` the leading eigenvalues. A
    summary whose tail is truncated at zero remembers ``e`` with weight ``l_1``, an exact one
    with weight ``l_1 - l_2``: in the first order of perturbation theory the truncated summary
    weights early rows by ``(n / s)^(1 / R)``, ``R = l_1 / l_2``, where the sample's own
    eigenvector weights all rows alike. With a flat tail of the right height the first-order
    error vanishes.

    Parameters
    ----------
    Z : array (d, q)
        Orthonormal columns.
    Y : array (d, q)
        Approximation of ``S Z``.
    segment : Segment
        Row counts and energy.
    xp : module
        Namespace of the arrays.
    roundoff : float
        Relative error of the entries of `Y`.
    deflate : bool
        With False, ``tau = 0``: the plain Nystrom completion.
    extra : sequence of array (d, r)
        Directions that the basis shall contain besides `Z` and `Y`.

    Returns
    -------
    Model
        With ``min(d, 2 q + r)`` columns in its basis.
    """
    d, q = Z.shape
    basis, R = xp.linalg.qr(xp.concat([Z, Y, *extra], axis=1))
    Zc, Tc = R[:, :q], R[:, q : 2 * q]
    core = hermitian(adjoint(Zc, xp) @ Tc, xp)
    tail = 0.0
    if deflate and d > q:
        trace = float(xp.real(xp.linalg.trace(core)))
        tail = max(segment.energy - trace, 0.0) / (d - q)
    caution = _CAUTION * tail * math.sqrt(d / max(segment.total, 1.0))
    return Model(basis, _completion(Zc, Tc, core, tail, caution, roundoff, xp), tail)


def _completion(
    Zc: Array,
    Tc: Array,
    core: Array,
    tail: float,
    caution: float,
    roundoff: float,
    xp: Namespace,
) -> Array:
    """Nystrom completion of ``S - tail I`` in the coordinates of the joint basis."""
    q = core.shape[0]
    eye = xp.eye(q, dtype=core.dtype, device=core.device)
    core = core - tail * eye
    W = Tc - tail * Zc - Zc @ core  # the part of (S - tail) Z outside Z
    cross = W @ adjoint(Zc, xp)
    w, E = xp.linalg.eigh(core)
    top = float(xp.max(xp.abs(w)))
    floor = caution + roundoff * top
    if floor == 0.0:
        return Zc @ core @ adjoint(Zc, xp) + cross + adjoint(cross, xp)
    w = xp.where(w > 0, w, xp.zeros_like(w)) + floor
    WE = W @ E
    lift = -math.frexp(top + floor)[1]  # complex division loses what is near the smallest number
    w = xp.astype(ldexp(w, lift, xp), WE.dtype, copy=False)
    outer = (ldexp(WE, lift, xp) / w) @ adjoint(WE, xp)
    return Zc @ core @ adjoint(Zc, xp) + cross + adjoint(cross, xp) + outer


def heavy_directions(
    H: Array | None, rival: float, most: int, xp: Namespace, dtype: Any
) -> list[Array]:
    """Leading directions of the heavy rows with an eigenvalue above `rival`: none or (d, r)."""
    if H is None or H.shape[0] == 0:
        return []
    H = xp.astype(H, dtype, copy=False)
    gram = H @ adjoint(H, xp)
    if float(xp.linalg.matrix_norm(gram, ord=math.inf)) <= rival:  # bounds the largest eigenvalue
        return []
    w, U = xp.linalg.eigh(gram)
    count = min(int(xp.sum(xp.astype(w > rival, xp.int64))), most)
    return [adjoint(H, xp) @ xp.flip(U, axis=1)[:, :count]] if count else []


def merged_summary(
    summaries: Sequence[tuple[Array, Array, float]], rank: int, xp: Namespace
) -> tuple[Array, Array]:
    """Best rank-q picture of a sum of summaries with flat tails.

    Parameters
    ----------
    summaries : sequence of (lam, V, energy)
        Eigenpairs and squared Frobenius norm of what each stands for.
    rank : int
        Number of pairs wanted.
    xp : module
        Namespace of the arrays.

    Returns
    -------
    lam, V : array (rank,), array (d, rank)
        Eigenpairs of ``sum V_i (lam_i - tau_i) V_i^H + tau_i I``, where ``tau_i`` is the mean of
        the eigenvalues that the i-th summary leaves out.
    """
    d = summaries[0][1].shape[0]
    total, parts = 0.0, []
    for lam, V, energy in summaries:
        q = V.shape[1]
        tail = max(energy - float(xp.sum(lam)), 0.0) / (d - q) if q < d else 0.0
        excess = xp.where(lam > tail, lam - tail, xp.zeros_like(lam))
        parts.append(V * xp_cast(xp.sqrt(excess), V, xp))
        total += tail
    U, s, _ = _thin_svd(xp.concat(parts, axis=1), xp)
    return s[:rank] ** 2 + total, U[:, :rank]


class Rule(PortablePickle):
    """Base of the rules: a name, a number of columns, a place in the stream.

    Parameters
    ----------
    name : str
        Shown in results.
    n_components : int
        Wanted eigenpairs.
    width : int
        Columns of `Z` that belong to the rule.
    xp : module
        Namespace of the arrays.
    """

    # Arrays that a state has to hold beside the columns; lengths are at most `width`.
    lam: Array
    # Relative error of the products, set by the engine.
    roundoff: float = 2.0**-52
    # Rows in a segment, where that is fixed beforehand.
    length: int | None = None

    def __init__(self, name: str, n_components: int, width: int, xp: Namespace) -> None:
        self.name, self.k, self.width, self.xp = name, n_components, width, xp
        self.start_row = 0.0

    def start(self, lam: Array, V: Array) -> Array:
        """Begin from orthonormal columns and their eigenvalue estimates."""
        self.lam = lam[: self.width]
        return V[:, : self.width]

    def next_end(self, position: int) -> int | None:
        """Return the row after `position` at which a segment of fixed length ends, or None."""
        return None if self.length is None else (position // self.length + 1) * self.length

    def due(self, segment: Segment) -> bool:
        """Tell whether the segment is long enough to be closed."""
        return segment.rows > 0

    def support(self, segment: Segment) -> float:
        """Return how many rows the answer rests on: all, unless the rule forgets."""
        return segment.total

    def close(self, Z: Array, Y: Array, segment: Segment) -> tuple[Array, Array | None]:
        """Turn the segment's product into new columns, and into what `Y` shall start from."""
        self.lam, V = self.answer(Z, Y, segment)
        return V, None

    def joint(self, Z: Array, Y: Array, segment: Segment, k: int) -> tuple[Array, Array]:
        """Return the top `k` pairs of the light rows and ``segment.heavy`` together."""
        xp = self.xp
        lam, V = self.answer(Z, Y, segment)
        H = xp.astype(segment.heavy, V.dtype, copy=False)
        basis, R = xp.linalg.qr(xp.concat([V, adjoint(H, xp)], axis=1))
        Vc = R[:, : V.shape[1]]
        M = (Vc * xp_cast(lam, Vc, xp)) @ adjoint(Vc, xp)
        return Model(basis, M, 0.0).joint_pairs(k, H, xp)

    def answer(self, Z: Array, Y: Array, segment: Segment) -> tuple[Array, Array]:
        """Return eigenvalue estimates (descending) and orthonormal columns."""
        raise NotImplementedError

    def scale(self, factor: float) -> None:
        """Multiply all sums of squares."""
        self.lam = self.lam * factor


class History(Rule):
    """A rank-q summary of all earlier rows, renewed by every segment.

    With `deflate` its tail is modelled as flat (:func:`deflated_model`), else cut off.
    """

    def __init__(
        self, name: str, n_components: int, width: int, xp: Namespace, *, deflate: bool = True
    ) -> None:
        super().__init__(name, n_components, width, xp)
        self.deflate = deflate

    def due(self, segment: Segment) -> bool:
        """Tell whether the segment is long enough: the plain summary gains nothing by haste."""
        return segment.rows >= (0.0 if self.deflate else 0.5 * segment.before)

    def _model(self, Z: Array, Y: Array, segment: Segment, extra: Sequence[Array] = ()) -> Model:
        """Complete the sum of the summary and the segment's product."""
        total = Y + Z * xp_cast(self.lam, Y, self.xp)
        return deflated_model(
            Z,
            total,
            segment,
            self.xp,
            roundoff=self.roundoff,
            deflate=self.deflate,
            extra=extra,
        )

    def close(self, Z: Array, Y: Array, segment: Segment) -> tuple[Array, Array | None]:
        """Renew the summary.

        With `deflate`, directions of heavy rows that rival the k-th pair join its span. Then
        the new columns are not eigenvectors of the light rows alone, and what couples them to
        the rest stays behind in `Y`.
        """
        xp, q = self.xp, self.width
        extra = []
        if self.deflate:
            rival = _HEAVY_SHARE * float(self.lam[self.k - 1])
            extra = heavy_directions(segment.heavy, rival, max(1, q // 2), xp, Y.dtype)
        model = self._model(Z, Y, segment, extra)
        U = model.leading(q, xp, segment.heavy if extra else None)
        self.lam, V = model.pairs(U, xp)
        if not extra:
            return V, None
        residual = model.M @ U - U * xp_cast(self.lam - model.tail, U, xp)
        return V, model.basis @ residual

    def answer(self, Z: Array, Y: Array, segment: Segment) -> tuple[Array, Array]:
        """Return the summary with the segment's product counted in."""
        xp = self.xp
        model = self._model(Z, Y, segment)
        return model.pairs(model.leading(self.width, xp), xp)

    def joint(self, Z: Array, Y: Array, segment: Segment, k: int) -> tuple[Array, Array]:
        """Return the top `k` pairs, the flat tail below the heavy rows counted in."""
        xp = self.xp
        H = xp.astype(segment.heavy, Y.dtype, copy=False)
        return self._model(Z, Y, segment, [adjoint(H, xp)]).joint_pairs(k, H, xp)


class Segments(Rule):
    """The plain power method: a segment's product replaces what was known before.

    Parameters
    ----------
    length : int, optional
        Rows in a segment, so that segments end at its multiples; by default each is `growth`
        times all rows before it.
    growth : float
        Relative length of a segment.
    """

    def __init__(
        self,
        name: str,
        n_components: int,
        width: int,
        xp: Namespace,
        *,
        growth: float = 0.5,
        length: int | None = None,
    ) -> None:
        super().__init__(name, n_components, width, xp)
        self.growth, self.length = growth, length

    def due(self, segment: Segment) -> bool:
        """Tell whether the segment has its full length."""
        if self.length is None:
            return segment.rows > 0 and segment.rows >= self.growth * segment.before
        return segment.rows > 0 and segment.position % self.length == 0

    def _decides(self, segment: Segment) -> bool:
        """Tell whether a segment is to be trusted more than the columns it began with."""
        if self.length is None:
            least = 0.5 * self.growth * segment.before
        else:
            least = min(0.5 * self.length, segment.before)
        return segment.rows > 0 and segment.rows >= least

    def support(self, segment: Segment) -> float:
        """Return the rows of the segment that decides, where all have one length.

        Before the first of them is complete, those of the start: a single step of the power
        method need not bring more.
        """
        if self.length is None:
            return segment.total
        behind = min(float(self.length), segment.before)
        return min(behind, segment.rows) if self._decides(segment) else behind

    def answer(self, Z: Array, Y: Array, segment: Segment) -> tuple[Array, Array]:
        """Let the last segment decide that has at least half its length.

        The first rows give way as soon as as many have followed them.
        """
        xp = self.xp
        if not self._decides(segment):
            return self.lam * (segment.total / max(segment.before, 1.0)), Z
        share = segment.total / segment.rows
        Q, R = xp.linalg.qr(Y)
        U, s, _ = xp.linalg.svd(R, full_matrices=False)
        return s * share, Q @ U


class Rates(Rule):
    """Block candid-covariance-free PCA: ``u <- (1 - c) u + c S_j z / m``, ``c = (1 + l) m / t``.

    Parameters
    ----------
    amnesia : float
        The `l` of Weng, Zhang & Hwang (2003): how much more recent rows count.
    """

    def __init__(
        self, name: str, n_components: int, width: int, xp: Namespace, *, amnesia: float
    ) -> None:
        super().__init__(name, n_components, width, xp)
        self.amnesia = amnesia

    def answer(self, Z: Array, Y: Array, segment: Segment) -> tuple[Array, Array]:
        """Mix the old direction and the segment's product."""
        xp = self.xp
        if segment.rows <= 0 or segment.before <= 0:
            return self.lam, Z
        c = min(1.0, (1.0 + self.amnesia) * segment.rows / segment.total)
        old = Z * xp_cast(self.lam / segment.before, Y, xp)
        Q, R = xp.linalg.qr((1.0 - c) * old + (c / segment.rows) * Y)
        return xp.abs(xp.linalg.diagonal(R)) * segment.total, Q


def _thin_svd(A: Array, xp: Namespace) -> tuple[Array, Array, Array]:
    """SVD of a tall matrix through its triangular factor; ``(U, s, Vh)``."""
    Q, R = xp.linalg.qr(A)
    U, s, Vh = xp.linalg.svd(R, full_matrices=False)
    return Q @ U, s, Vh


def xp_cast(x: Array, like: Array, xp: Namespace) -> Array:
    """Return `x` in the dtype of `like` (real numbers may become complex)."""
    return xp.astype(x, like.dtype, copy=False)
