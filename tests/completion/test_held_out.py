"""Entries that are held out, and the components of the observation graph."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy.sparse import csgraph

from linalgkit.completion import _compressed
from linalgkit.completion._graph import _with_all, connected_components
from linalgkit.completion._held_out import held_out
from linalgkit.completion._observed import observe, select
from tests.completion.patterns import (
    ENTRIES,
    M,
    N,
    random_pattern,
    triple,
)
from tests.conftest import Backend

# --------------------------------------------------------------------------------- hold-out


@pytest.mark.parametrize("fraction", [0.05, 0.3, 0.6, 0.95])
def test_a_held_out_fraction_leaves_an_entry_to_every_line(fraction: float, rng: Any) -> None:
    data = observe(random_pattern(rng, 60, 40, 0.15))
    chosen = held_out(data, fraction, rng)
    rest = select(data, ~chosen)
    assert ((rest.rows.lengths > 0) == (data.rows.lengths > 0)).all()
    assert ((rest.columns.lengths > 0) == (data.columns.lengths > 0)).all()
    if fraction <= 0.6:
        assert chosen.sum() == round(fraction * data.count)


def can_spare(A: Any) -> bool:
    """Whether any entry is not the only one of its row or column, by the definition."""
    return bool((A & (A.sum(axis=1, keepdims=True) > 1) & (A.sum(axis=0) > 1)).any())


def test_an_entry_is_held_out_whenever_one_can_be_spared(rng: Any) -> None:
    spared = 0
    for _ in range(400):
        A = rng.random((4, 3)) < 0.4
        if not A.any():
            continue
        data = observe(np.where(A, 1.0, np.nan))
        if can_spare(A):
            spared += 1
            assert held_out(data, 0.01, rng).sum() == 1
        else:
            with pytest.raises(ValueError, match="only one of its row or column"):
                held_out(data, 0.5, rng)
    assert 50 < spared < 350


def test_all_entries_are_held_out_equally_often(rng: Any) -> None:
    data = observe(np.ones((10, 8)))
    draws = 2000
    times = sum(held_out(data, 0.2, rng).astype(int) for _ in range(draws))
    assert times.sum() == draws * 16
    # Within five standard deviations of the hypergeometric law; never so if ties favoured any.
    assert np.abs(times - draws * 0.2).max() < 5 * math.sqrt(draws * 0.2 * 0.8)


def test_a_held_out_fraction_depends_on_the_arguments_alone(xp: Backend, rng: Any) -> None:
    A = random_pattern(rng, 12, 9, 0.4).tocoo()
    p = rng.permutation(A.nnz)
    found = [
        held_out(observe(given), 0.25, np.random.default_rng(3))
        for given in (A, (A.row[p], A.col[p], xp.asarray(A.data[p]), A.shape))
    ]
    assert np.array_equal(*found)


def test_held_out_masks_and_patterns(xp: Backend) -> None:
    data = observe(triple())
    named = np.zeros((M, N), dtype=bool)
    named[[0, 1, 4, 5], [2, 1, 3, 4]] = True
    expected = [named[place] for place in sorted(ENTRIES)]
    zeros = sp.coo_array((np.zeros(4), np.nonzero(named)), shape=(M, N))
    for validation in (named, xp.asarray(named), zeros, zeros.tocsc(), pd.DataFrame(named)):
        assert held_out(data, validation, None).tolist() == expected
    rows, columns, values, shape = triple()
    p = np.array([3, 1, 7, 0, 5, 2, 4, 6])
    data = observe((rows[p], columns[p], xp.asarray(values[p]), shape))
    for validation in (named[rows[p], columns[p]], named[rows[p], columns[p]].tolist()):
        assert held_out(data, validation, None).tolist() == expected


@pytest.mark.parametrize(
    ("validation", "error", "text"),
    [
        (0.0, ValueError, "greater than 0"),
        (1.0, ValueError, "less than 1"),
        (np.nan, ValueError, "less than 1"),
        (True, TypeError, "real number"),
        (None, TypeError, "real number"),
        ("half", TypeError, "got str"),
        (np.ones((M, N)), TypeError, "validation must be boolean.*held out"),
        (np.ones((N, M), dtype=bool), ValueError, r"shape \(6, 5\)"),
        (np.ones(7, dtype=bool), ValueError, r"shape \(8,\)"),
        (np.ones((M, N), dtype=bool), ValueError, "leave some, got 8"),
        (np.zeros((M, N), dtype=bool), ValueError, "leave some, got 0"),
        (sp.csr_array((M, N)), ValueError, "leave some, got 0"),
        (sp.csr_array((N, M)), ValueError, r"shape \(6, 5\)"),
    ],
    ids=range(13),
)
def test_hold_outs_refused(validation: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=f"(?s){text}"):
        held_out(observe(triple()), validation, np.random.default_rng(0))


# ------------------------------------------------------------------------------------ graph


def reference_components(A: Any) -> tuple[int, Any]:
    """Components of the whole bipartite graph by SciPy, without those of one node."""
    m, n = A.shape
    graph = sp.block_array([[sp.csr_array((m, m)), sp.csr_array(A)], [None, sp.csr_array((n, n))]])
    _, labels = csgraph.connected_components(graph, directed=False)
    sizes = np.bincount(labels)
    return int((sizes > 1).sum()), np.where(sizes[labels] > 1, labels, -1)


def same_partition(a: Any, b: Any) -> bool:
    return len(set(zip(a, b, strict=True))) == len(set(a)) == len(set(b))


@pytest.mark.parametrize("density", [0.005, 0.02, 0.05, 0.3])
def test_components_are_those_of_the_bipartite_graph(density: float, rng: Any, xp: Backend) -> None:
    A = rng.random((50, 40)) < density
    A[0, 0] = True
    count, rows, columns = connected_components(observe(xp.asarray(np.where(A, 1.0, np.nan))))
    expected, labels = reference_components(A)
    found = np.concatenate([rows, columns])
    assert count == expected
    assert np.array_equal(found < 0, labels < 0)
    assert same_partition(found.tolist(), labels.tolist())
    first = [rows[rows >= 0].tolist().index(c) for c in range(count)]
    assert first == sorted(first)


def test_a_long_path_is_one_component_and_two_blocks_are_two() -> None:
    n = 3000
    path = sp.eye_array(n) + sp.eye_array(n, k=1)
    count, rows, columns = connected_components(observe(path))
    assert count == 1
    assert not rows.any()
    assert not columns.any()
    blocks = sp.block_diag([np.ones((2, 3)), np.ones((4, 1))]).tocoo()
    count, rows, columns = connected_components(observe(blocks))
    assert count == 2
    assert rows.tolist() == [0, 0, 1, 1, 1, 1]
    assert columns.tolist() == [0, 0, 0, 1]


def test_components_over_many_chunks(monkeypatch: Any, rng: Any) -> None:

    A = rng.random((30, 25)) < 0.05
    data = observe(np.where(A, 1.0, np.nan))
    plain = connected_components(data), held_out(data, 0.2, np.random.default_rng(1))
    monkeypatch.setattr(_compressed, "_CHUNK", 3)
    found = connected_components(data), held_out(data, 0.2, np.random.default_rng(1))
    assert found[0][0] == plain[0][0] == reference_components(A)[0]
    assert all(np.array_equal(a, b) for a, b in zip(found[0][1:], plain[0][1:], strict=True))
    assert np.array_equal(found[1], plain[1])


def test_components_without_the_first_joins(monkeypatch: Any, rng: Any) -> None:
    monkeypatch.setattr(_compressed, "_CHUNK", 7)
    A = rng.random((30, 25)) < 0.3
    A[:, 10:], A[20:, :] = False, False
    A[20:, 10:] = rng.random((10, 15)) < 0.4
    data = observe(np.where(A, 1.0, np.nan))
    assert data.count > 55  # more crossing entries than lines: they are joined in several goes
    labels = _with_all(np.arange(55), data.rows.indptr, data.rows.indices)
    _, expected = reference_components(A)
    linked = expected >= 0
    assert same_partition(labels[linked].tolist(), expected[linked].tolist())
    assert np.unique(labels[~linked]).size == (~linked).sum()
