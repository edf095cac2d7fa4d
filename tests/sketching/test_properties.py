"""Any shape, kind, precision, scale and cut: products, shares and adjoints belong together."""

from __future__ import annotations

import itertools

import numpy as np
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from linalgkit.sketching import SketchOperator
from tests.sketching.kinds import KINDS, SAMPLED, data, distance, make


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    n=st.integers(1, 300),
    m=st.integers(1, 40),
    d=st.integers(1, 6),
    is_complex=st.booleans(),
    is_complex_sketch=st.booleans(),
    scale=st.sampled_from([1e-150, 1.0, 1e150]),
    cuts=st.lists(st.integers(0, 300), max_size=4),
    seed=st.integers(0, 2**16),
)
def test_products_shares_and_adjoints_belong_together(
    kind, n, m, d, is_complex, is_complex_sketch, scale, cuts, seed
):
    options = {"nnz": 1 + seed % m} if kind == "sparse_sign" else {}
    if m > n and kind in SAMPLED:
        options["replace"] = True
    if kind == "leverage":
        options["scores"] = np.random.default_rng(seed).random(n) + 1e-3
    dtype = "complex128" if is_complex_sketch else None
    S = make(kind, m, n, seed=seed, dtype=dtype, **options)
    X = scale * data(n, d, is_complex, seed)
    product = S @ X
    ends = sorted({0, n, *(c for c in cuts if c < n)})
    shares = [S.apply_rows(X[a:b, :], a) for a, b in itertools.pairwise(ends)]
    tolerance = 1e-12
    assert distance(np.sum(shares, axis=0) / scale, product / scale) < tolerance
    Y = data(m, 2, is_complex, seed + 1)
    # <Y, S X> = <S^H Y, X>
    left, right = Y.conj().T @ (product / scale), (S.adjoint() @ Y).conj().T @ (X / scale)
    size = np.linalg.norm(Y) * np.linalg.norm(S.toarray()) * np.linalg.norm(X / scale)
    assert np.max(np.abs(left - right)) < tolerance * size
    assert distance((S @ scipy.sparse.csr_array(X)) / scale, product / scale) < tolerance
    again = SketchOperator.from_state(S.to_state())
    assert np.array_equal(again @ X, product)


@settings(max_examples=40, deadline=None)
@given(kind=st.sampled_from(KINDS), n=st.integers(1, 200), seed=st.integers(0, 2**16))
def test_single_precision_gives_the_same_product_to_rounding(kind, n, seed):
    options = {"replace": True} if n < 9 and kind in SAMPLED else {}
    S = make(kind, 9, n, seed=seed, **options)
    X = data(n, 3, seed=seed)
    single = S @ X.astype(np.float32)
    assert single.dtype in (np.float32, np.complex64)
    size = np.linalg.norm(S.toarray()) * np.linalg.norm(X)
    assert np.max(np.abs(single - S @ X)) < 1e-6 * size
