"""Groups of matrices that share one truncated decomposition within a certified error.

::

    found = cluster_matrices(blocks, 10, 0.05)
    found.labels, found.predicted_error, found.compression_ratio

"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Self

from linalgkit._core.array import Array, array_namespace, asarray, device
from linalgkit._core.capabilities import capability
from linalgkit._core.estimator import EstimatorMixin
from linalgkit._core.validation import (
    check_bool,
    check_choice,
    check_float,
    check_int,
    require_fitted,
)
from linalgkit.svd._blocks import HOST, Blocks, as_blocks, checked_table, chosen, in_unit, layers
from linalgkit.svd._bounds import residual_norms
from linalgkit.svd._groups import Group, Plan, certified_pile
from linalgkit.svd._joining import joined_groups
from linalgkit.svd._near import filled_groups, near_groups
from linalgkit.svd._published import published_groups
from linalgkit.svd._shared import SharedSVD, shared_svd

BOUNDS = ("incremental", "weyl", "residual")
ORDERS = ("residual", "norm")
SEARCHES = ("gallop", "paper", "exhaustive")
_FEW = 256  # matrices of which the published groups are tried as well


@dataclass(frozen=True, eq=False, repr=False)
class MatrixClustering:
    """A partition of matrices into groups, each with one approximation of the rank asked for.

    Attributes
    ----------
    labels : array (K,)
        Number of each matrix's cluster, int64, of the library of the matrices.
    clusters : list of list of int
        Numbers of the matrices in each cluster.
    svds : list of SharedSVD or None
        Joint decompositions; None where the matrices are better stored as they are (one matrix, or
        one that saves nothing).
    predicted_error : list of float
        Certified upper bound on the relative Frobenius error of each cluster; at most `eps`.
    error_lower : list of float
        Lower bound on the smallest error that there is; of little use for clusters of many
        columns, of which not all singular values are known.
    compression_ratio : float
        Numbers of all matrices over those that are stored.
    status : str
        ``"converged"``; ``"patience"`` where the search was given up and the rest left alone.
    """

    labels: Array
    clusters: list[list[int]]
    svds: list[SharedSVD | None]
    predicted_error: list[float]
    error_lower: list[float]
    compression_ratio: float
    status: str

    def __repr__(self) -> str:
        return (
            f"MatrixClustering({len(self.clusters)} clusters of {self.labels.shape[0]} matrices, "
            f"compression_ratio={self.compression_ratio:.4g}, largest predicted_error="
            f"{max(self.predicted_error):.3g}, status={self.status!r})"
        )


@capability("svd.cluster_matrices", sparse=True, synchronisations={"call": 84, "cluster": 122})
def cluster_matrices(
    blocks: Any,
    rank: int,
    eps: float,
    *,
    bound: str = "incremental",
    order: str = "residual",
    search: str = "gallop",
    merge: bool = True,
    patience: int | None = 10,
    row_weight: Any = None,
) -> MatrixClustering:
    """Partition matrices into few groups whose joint approximations of one rank are good enough.

    Parameters
    ----------
    blocks : list of array (m, n_i), array (K, m, n), iterable
        The matrices; dataframes, sparse ones and LinearOperators as well.
    rank : int
        Rank of every joint approximation.
    eps : float
        Largest relative Frobenius error of a group, in [0, 1).
    bound : {"incremental", "weyl", "residual"}
        What certifies an error (:func:`concatenated_svd_bounds`).
    order : {"residual", "norm"}
        Candidates: those first that a group spans best, or the lightest.
    search : {"gallop", "paper", "exhaustive"}
        ``"paper"``: as published; the heaviest matrices that are no wider than `rank` together,
        then candidates one by one until the first that fails. ``"gallop"``: the heaviest matrix,
        the basis of those nearest to it, then all that this basis spans, many at a time.
        ``"exhaustive"``: what room groups have left goes to members of small groups as well,
        and candidates that fail are passed over.
    merge : bool, default True
        Whether finished groups are joined, from their states alone, wherever that is certified.
        Not with ``search="paper"``, nor other bounds than ``"incremental"``.
    patience : int or None, default 10
        Groups without a candidate, one after the other, after which the rest is left alone.
    row_weight : array or list (m,), optional
        Weights of the squares in each row.

    Returns
    -------
    MatrixClustering
        ``labels``, ``clusters``, ``svds``, ``predicted_error``, ``error_lower``,
        ``compression_ratio``, ``status``.

    Raises
    ------
    TypeError, ValueError
        If there is no matrix, rows differ, numbers are not finite, `rank` is below 1, `eps` is
        outside [0, 1), weights are negative, or a word is unknown.

    Notes
    -----
    Guarantee: with ``U`` and ``C_i`` of a cluster, ``||[A_i - U C_i]||_F <= eps ||[A_i]||_F`` over
    its members, up to the rounding that `predicted_error` has room for. It rests on what each
    state has discarded, summed exactly, and not on how the group was found; the search itself is
    a heuristic, and a partition into fewer groups may exist.

    Bounds other than ``"incremental"`` and ``order="norm"`` keep the published seeds and
    candidates, of which ``"gallop"`` then tries twice as many at a time and goes back by
    bisection, and ``"exhaustive"`` passes over those that fail. Of no more than 256 matrices the
    published groups are formed as well, and the partition that stores less is returned. Matrices
    whose sizes differ by more than ``2^400`` (``2^80`` in single precision), so that squares would
    vanish beside one another, are not put into one group.

    Cost: for `N` columns in all, a group of `n` columns takes ``2 s rank N_left`` operations to be
    found, ``s`` being `m`, or ``3 rank`` for 4096 tall columns and more, which are compared in
    random combinations of their rows (drawn alike at every call), and ``O(m rank n)`` to be
    certified. ``"paper"`` takes ``2 m rank N_left`` a group and an eigen-decomposition of order
    ``rank + 5`` for every candidate.

    Storage: the matrices, transposed where they have to be, ``3 rank N`` numbers where columns are
    compared in random combinations, and ``5 m rank`` for every group.

    References
    ----------
    .. [1] M. Shamrai, "Concatenated Matrix SVD", arXiv:2601.11626.
    .. [2] W. B. Johnson, J. Lindenstrauss, "Extensions of Lipschitz mappings into a Hilbert
       space", Contemp. Math. 26 (1984) 189-206.

    Examples
    --------
    >>> import numpy as np
    >>> from linalgkit.svd import cluster_matrices
    >>> rng = np.random.default_rng(0)
    >>> bases = rng.standard_normal((2, 30, 3))
    >>> blocks = [bases[k % 2] @ rng.standard_normal((3, 5)) for k in range(8)]
    >>> cluster_matrices(blocks, 3, 0.01).labels.tolist()
    [0, 1, 0, 1, 0, 1, 0, 1]
    """
    return _partition(
        blocks,
        rank,
        eps,
        bound=bound,
        order=order,
        search=search,
        merge=merge,
        patience=patience,
        row_weight=row_weight,
    )[0]


def _partition(
    source: Any,
    rank: int,
    eps: float,
    *,
    bound: str,
    order: str,
    search: str,
    merge: bool,
    patience: int | None,
    row_weight: Any,
) -> tuple[MatrixClustering, int]:
    """Return the partition, and the number of rows of the matrices.

    Matrices whose sizes differ so much that squares would vanish are not put into one group.
    """
    rank = check_int("rank", rank, 1)
    eps = check_float("eps", eps, 0.0, 1.0, high_open=True)
    check_choice("bound", bound, BOUNDS)
    check_choice("order", order, ORDERS)
    check_choice("search", search, SEARCHES)
    merge = check_bool("merge", merge)
    limit = math.inf if patience is None else check_int("patience", patience, 1)
    oversamples = 5 if search == "paper" else rank
    plan = Plan(rank, eps, bound, order, search, merge, limit, oversamples)
    table, widths = checked_table(source, row_weight)
    found, clusters = [], []
    for places in layers(table, widths):
        blocks = in_unit(*chosen(table, widths, places))
        groups, status = _searched(blocks, plan)
        found.append((places, _outcome(blocks, groups, plan, status, row_weight)))
        clusters.append(sum(group.stored for group in groups))
    m = int(table.shape[1])
    if len(found) == 1:
        return found[0][1], m
    return _side_by_side(found, m * sum(widths) / max(1, sum(clusters))), m


def _side_by_side(found: list[tuple[Any, MatrixClustering]], ratio: float) -> MatrixClustering:
    """Return the partitions of parts of a collection as one, numbered by first matrices."""
    parts = [
        (places[HOST.asarray(part.clusters[k])].tolist(), part, k)
        for places, part in found
        for k in range(len(part.clusters))
    ]
    parts.sort(key=lambda entry: min(entry[0]))
    labels = HOST.zeros(sum(len(places) for places, _ in found), dtype="int64")
    for number, (members, _, _) in enumerate(parts):
        labels[members] = number
    like = found[0][1].labels
    xp = array_namespace(like)
    gave_up = any(part.status == "patience" for _, part in found)
    return MatrixClustering(
        labels=asarray(labels, xp=xp, device=device(like), dtype=xp.int64),
        clusters=[members for members, _, _ in parts],
        svds=[part.svds[k] for _, part, k in parts],
        predicted_error=[part.predicted_error[k] for _, part, k in parts],
        error_lower=[part.error_lower[k] for _, part, k in parts],
        compression_ratio=ratio,
        status="patience" if gave_up else "converged",
    )


def _searched(blocks: Blocks, plan: Plan) -> tuple[list[Group], str]:
    """Return the best partition that was found, and how the search ended."""
    if plan.search == "paper" or plan.bound != "incremental":
        return published_groups(blocks, plan)
    if plan.order == "norm":
        groups, status = published_groups(blocks, plan)
        return _finished(groups, plan), status
    groups, status = near_groups(blocks, plan)
    groups = _finished(groups, plan)
    if len(blocks) <= _FEW:
        others, other = published_groups(blocks, replace(plan, search="gallop"))
        others = _finished(others, plan)
        if sum(group.stored for group in others) < sum(group.stored for group in groups):
            return others, other
    return groups, status


def _finished(groups: list[Group], plan: Plan) -> list[Group]:
    """Return groups with what they can still take, joined before or after, whichever is better."""
    filled = filled_groups(groups)
    if not plan.merge:
        return filled
    ways = joined_groups(filled), filled_groups(joined_groups(groups))
    return min(ways, key=lambda way: sum(group.stored for group in way))


def _outcome(
    blocks: Blocks, groups: list[Group], plan: Plan, status: str, row_weight: Any
) -> MatrixClustering:
    """Return clusters numbered by their first matrix, those that save something decomposed."""
    groups = sorted(groups, key=lambda group: int(HOST.min(group.members)))
    labels = HOST.zeros(len(blocks), dtype="int64")
    clusters: list[list[int]] = []
    svds: list[SharedSVD | None] = []
    lower, upper = [], []
    for number, group in enumerate(groups):
        members = HOST.sort(group.members)
        clusters.append(members.tolist())
        labels[members] = number
        low, high = group.interval if group.saves else (0.0, 0.0)
        if group.saves:
            pile = group.pile if plan.bound == "incremental" else certified_pile(group)
            if plan.bound != "incremental" and pile.cap < blocks.m:
                high = pile.upper()  # what is delivered is certified by the state alone
            svds.append(shared_svd(pile, members, row_weight))
        else:
            svds.append(None)
        lower.append(low)
        upper.append(high)
    stored = sum(group.stored for group in groups)
    return MatrixClustering(
        labels=asarray(labels, xp=blocks.xp, device=blocks.device, dtype=blocks.xp.int64),
        clusters=clusters,
        svds=svds,
        predicted_error=upper,
        error_lower=lower,
        compression_ratio=blocks.m * int(blocks.starts[-1]) / max(1, stored),
        status=status,
    )


@capability(
    "svd.ErrorConstrainedClustering",
    sparse=True,
    synchronisations={"cluster": 122, "prediction": 7},
)
class ErrorConstrainedClustering(EstimatorMixin):
    """Groups of matrices with one approximation each, as an estimator.

    It has parameters and methods in scikit-learn's names, but what it groups are matrices, in a
    list or an array (K, m, n), and not the rows of one table, which is refused.

    Parameters
    ----------
    rank, eps, bound, order, search, merge, patience, row_weight
        As for :func:`cluster_matrices`.

    Raises
    ------
    TypeError, ValueError
        By `fit` and `predict`, as :func:`cluster_matrices`.

    Attributes
    ----------
    labels_ : array (K,)
        Number of each matrix's cluster.
    clustering_ : MatrixClustering
        All that is known.
    n_rows_ : int
        Rows of the matrices.

    Notes
    -----
    Storage: ``m rank`` numbers for the basis of every cluster, and the coordinates.

    Examples
    --------
    >>> import numpy as np
    >>> from linalgkit.svd import ErrorConstrainedClustering
    >>> rng = np.random.default_rng(0)
    >>> bases = rng.standard_normal((2, 30, 3))
    >>> blocks = [bases[k % 2] @ rng.standard_normal((3, 5)) for k in range(8)]
    >>> model = ErrorConstrainedClustering(3, 0.01).fit(blocks)
    >>> model.predict([bases[1] @ rng.standard_normal((3, 5))]).tolist()
    [1]
    """

    _estimator_type_name = "clusterer"

    def __init__(
        self,
        rank: int = 10,
        eps: float = 0.1,
        *,
        bound: str = "incremental",
        order: str = "residual",
        search: str = "gallop",
        merge: bool = True,
        patience: int | None = 10,
        row_weight: Any = None,
    ) -> None:
        self.rank = rank
        self.eps = eps
        self.bound = bound
        self.order = order
        self.search = search
        self.merge = merge
        self.patience = patience
        self.row_weight = row_weight

    def __sklearn_is_fitted__(self) -> bool:
        """Tell scikit-learn's ``check_is_fitted`` whether matrices have been seen."""
        return hasattr(self, "clustering_")

    def fit(self, X: Any, y: object = None) -> Self:
        """Partition a collection of matrices.

        Parameters
        ----------
        X : list of array (m, n_i), array (K, m, n), iterable
            The matrices.
        y : ignored
            Present for scikit-learn.

        Returns
        -------
        ErrorConstrainedClustering
            The object itself.
        """
        options = self.get_params(deep=False)
        self.clustering_, self.n_rows_ = _partition(X, **options)
        return self

    def fit_predict(self, X: Any, y: object = None) -> Array:
        """Partition a collection of matrices and return their labels.

        Parameters
        ----------
        X : list of array (m, n_i), array (K, m, n), iterable
            The matrices.
        y : ignored
            Present for scikit-learn.

        Returns
        -------
        array (K,)
            Number of each matrix's cluster, ``fit(X).labels_``.
        """
        return self.fit(X, y).labels_

    @property
    def labels_(self) -> Array:
        """Number of each matrix's cluster."""
        require_fitted(self, hasattr(self, "clustering_"), "fit")
        return self.clustering_.labels

    def predict(self, X: Any) -> Array:
        """Return for each matrix the cluster whose joint basis leaves least of it.

        Parameters
        ----------
        X : list of array (m, n_i)
            New matrices with as many rows, of the same library. Clusters that are stored as they
            are have no basis and are not chosen, unless there is no other.

        Returns
        -------
        array (K,)
            Labels; whether the error is below `eps` is not said.
        """
        require_fitted(self, hasattr(self, "clustering_"), "fit")
        labels = self.clustering_.labels
        svds = self.clustering_.svds
        bases = [None if svd is None else svd.weighted_basis for svd in svds]
        dtypes = [basis.dtype for basis in bases if basis is not None][:1]
        blocks = as_blocks(X, self.row_weight, n_rows=self.n_rows_, like=labels, dtypes=dtypes)
        best = HOST.full(len(blocks), math.inf)
        found = HOST.zeros(len(blocks), dtype="int64")
        for number, basis in enumerate(bases):
            if basis is None:
                continue
            basis = blocks.xp.astype(basis, blocks.dtype, copy=False)
            missing = residual_norms(blocks, range(len(blocks)), basis)
            found = HOST.where(missing < best, number, found)
            best = HOST.minimum(missing, best)
        return asarray(found, xp=blocks.xp, device=blocks.device, dtype=blocks.xp.int64)
