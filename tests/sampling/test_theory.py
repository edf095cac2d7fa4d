"""Constants of theory, and what they refuse."""

from __future__ import annotations

import math

import pytest

from linalgkit.sampling import theory


def test_sizes_of_the_specification() -> None:
    assert round(theory.iid_size(11, 0.9, 0.01) / 11, 1) == 24.1
    assert round(theory.iid_size(45, 0.9, 0.01) / 45, 1) == 28.5
    for m, factor in ((11, 10.5), (45, 12.6), (84, 13.5)):
        assert round(theory.iid_size(m, 0.9, 0.01, "lmin") / m, 1) == factor


@pytest.mark.parametrize("kind", ["norm", "lmin"])
def test_size_and_failure_belong_together(kind: str) -> None:
    for boost in (1, 10):
        n = theory.iid_size(30, 0.5, 1e-3, kind, boost=boost)
        assert theory.chernoff_failure(30, n, 0.5, kind) ** boost <= 1e-3
        assert theory.chernoff_failure(30, n - 1, 0.5, kind) ** boost > 1e-3
    assert theory.chernoff_failure(30, 1, 0.5, kind) == 1.0
    # A share of the law makes rows longer by its reciprocal.
    half = theory.chernoff_failure(30, 4000, 0.5, kind, mixture=0.5)
    assert math.isclose(half, theory.chernoff_failure(30, 2000, 0.5, kind))


def test_no_size_is_below_the_dimension() -> None:
    assert theory.iid_size(1, 0.99, 0.999, "lmin") == 1


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: theory.iid_size(11, 1.5, 0.01), ValueError, "delta must be"),
        (lambda: theory.iid_size(11, 0.9, 0.0), ValueError, "eta must be"),
        (lambda: theory.iid_size(0, 0.9, 0.1), ValueError, "m must be at least 1"),
        (lambda: theory.chernoff_constant(0.9, "norms"), ValueError, "Did you mean 'norm'"),
        (lambda: theory.chernoff_failure(5, 0, 0.9), ValueError, "n must be at least 1"),
        (lambda: theory.chernoff_failure(5, 9, 0.9, mixture=2), ValueError, "mixture must be"),
        (lambda: theory.bss_bound(1.0), ValueError, "b must be greater than 1"),
        (lambda: theory.volume_inverse(5, 4), ValueError, "n must be at least 5"),
        (lambda: theory.expected_proposals(2.5), TypeError, "m must be an integer"),
    ],
    ids=["delta", "eta", "m", "kind", "n", "mixture", "b", "volume", "proposals"],
)
def test_arguments_that_are_refused(call, error: type, text: str) -> None:
    with pytest.raises(error, match=text):
        call()
