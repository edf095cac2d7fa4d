"""Warnings come when they should, and never on well-behaved data."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from linalgkit import AccuracyWarning
from linalgkit.datasets import spiked_covariance
from linalgkit.streaming import StreamingEigh

N_SHUFFLES = 1000


def _status(X: np.ndarray[Any, Any], method: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AccuracyWarning)
        return StreamingEigh(method=method, rng=0).fit(X).result().status


@pytest.mark.slow
@pytest.mark.parametrize("method", ["portfolio", "block-power", "gram"])
def test_a_thousand_shuffles_of_well_behaved_rows_give_no_warning(method: str) -> None:
    X, _ = spiked_covariance(3000, 30, 4.0, rng=0)
    rng = np.random.default_rng(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", AccuracyWarning)
        for _ in range(N_SHUFFLES):
            result = StreamingEigh(method=method, rng=0).fit(X[rng.permutation(3000)]).result()
            assert result.status == "converged"


@pytest.mark.parametrize("method", ["portfolio", "block-power", "gram"])
@pytest.mark.parametrize("gap", [1.0, 1.05, 1.1])
def test_every_stream_with_a_gap_near_one_is_warned_of(method: str, gap: float) -> None:
    for seed in range(10):
        X, _ = spiked_covariance(3000, 30, gap, rng=seed)
        assert _status(X, method) == "small_gap"


@pytest.mark.parametrize("method", ["portfolio", "block-power"])
def test_every_sorted_stream_is_noticed(method: str) -> None:
    for seed in range(10):
        X, V = spiked_covariance(6000, 30, 4.0, rng=seed)
        along = np.abs(X @ V[:, 0])
        for order in (np.argsort(along), np.argsort(-along), np.argsort(np.linalg.norm(X, axis=1))):
            assert _status(X[order], method) == "order_not_random"


def test_a_random_order_answer_that_knows_it_is_poor_says_so() -> None:
    X = np.random.default_rng(0).standard_normal((3000, 400))
    X[:, 0] *= 1.25
    model = StreamingEigh(1, method="portfolio", gap_warn=0, rng=0).fit(X)
    with pytest.warns(AccuracyWarning, match="the eigenvectors may be far off"):
        result = model.result()
    assert result.status == "uncertain"
    assert result.error_estimate > 0.25


def test_nobody_is_sent_to_the_method_in_use() -> None:
    X = np.random.default_rng(0).standard_normal((3000, 20))
    with pytest.warns(AccuracyWarning, match="Use more rows or another n_components") as caught:
        StreamingEigh(1, method="gram").fit(X).result()
    assert "gram" not in str(caught[0].message)
