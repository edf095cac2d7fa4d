"""Connected components of the graph whose edges are the observed entries.

Rows and columns are its nodes. Values can be completed within a component, never across two.
"""

from __future__ import annotations

from scipy import sparse
from scipy.sparse import csgraph

from linalgkit._core.array import Array, numpy_namespace, to_numpy
from linalgkit._kernels.observed import Lines
from linalgkit.completion import _compressed
from linalgkit.completion._observed import Observed

_HOST = numpy_namespace()


def connected_components(observed: Observed) -> tuple[int, Array, Array]:
    """Return the components of the observation graph.

    Parameters
    ----------
    observed : Observed
        The entries.

    Returns
    -------
    count : int
        Components that have entries.
    rows, columns : host arrays (m,), (n,)
        The number of the component of each line, in the order of their first rows; -1 for a line
        without entries, which counts as no component.

    Notes
    -----
    Storage: O(m + n), beside the indices on the host. The first and the last entry of each line
    join nearly everything; entries between the components found by then are edges between those,
    and so on for at most m + n entries a time.

    Examples
    --------
    >>> from linalgkit.completion._observed import observe
    >>> count, rows, columns = connected_components(observe(([0, 2], [1, 0], [3.0, 4.0], (3, 2))))
    >>> count, rows.tolist(), columns.tolist()
    (2, [0, -1, 1], [1, 0])
    """
    m, n = observed.shape
    rows, columns = observed.rows, observed.columns
    if rows.is_elsewhere:
        labels, others = rows.components()  # type: ignore[attr-defined]
        return _numbered(labels, others, rows.lengths > 0, columns.lengths > 0)
    indices, others = to_numpy(rows.indices), to_numpy(columns.indices)
    labels = _compressed.places(m + n)
    for end in (0, 1):
        i, j = _at_end(rows, indices, end)
        labels = _joined(labels, labels[i], labels[m + j])
        j, i = _at_end(columns, others, end)
        labels = _joined(labels, labels[i], labels[m + j])
    labels = _with_all(labels, rows.indptr, indices)
    return _numbered(labels[:m], labels[m:], rows.lengths > 0, columns.lengths > 0)


def _at_end(lines: Lines, indices: Array, end: int) -> tuple[Array, Array]:
    """Return the lines that have entries, and the index of the first or last entry of each."""
    members = _HOST.flatnonzero(lines.lengths > 0)
    return members, indices[lines.indptr[members + end] - end]


def _joined(labels: Array, heads: Array, tails: Array) -> Array:
    """Return labels 0, 1, ... after those that an edge joins have become one."""
    count = int(labels.max()) + 1
    ones = _HOST.ones(heads.shape[0], dtype=_HOST.bool)
    graph = sparse.coo_array((ones, (heads, tails)), shape=(count, count)).tocsr()
    joined: Array = csgraph.connected_components(graph, directed=False)[1]
    return joined[labels]


def _with_all(labels: Array, indptr: Array, indices: Array) -> Array:
    """Return the labels after all entries have joined their two lines."""
    m, most = indptr.shape[0] - 1, labels.shape[0]
    edges: list[Array] = []
    for part, lines in _compressed.chunks(indptr):
        heads, tails = labels[lines], labels[m + indices[part]]
        differ = heads != tails
        if differ.any():
            edges.append(_HOST.stack([heads[differ], tails[differ]]))
        if sum(x.shape[1] for x in edges) > most:
            labels, edges = _joined(labels, *_HOST.concat(edges, axis=1)), []
    return _joined(labels, *_HOST.concat(edges, axis=1)) if edges else labels


def _numbered(
    rows: Array, columns: Array, has_row: Array, has_column: Array
) -> tuple[int, Array, Array]:
    """Return the components that have entries, numbered in the order of their first rows."""
    labels, first = _HOST.unique(rows[has_row], return_index=True)
    numbers = _HOST.full(int(max(rows.max(), columns.max())) + 1, -1, dtype=_HOST.int64)
    numbers[labels[_HOST.argsort(first)]] = _HOST.arange(labels.shape[0])
    return (
        int(labels.shape[0]),
        _HOST.where(has_row, numbers[rows], -1),
        _HOST.where(has_column, numbers[columns], -1),
    )
