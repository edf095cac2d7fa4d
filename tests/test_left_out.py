"""What the suite leaves out on some libraries: of all cases, none that would meet a new value."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import superfluous

TABLES = {
    "case": ["a", "b", "c"],
    "is_complex": [False, True],
    "n, bad": [(1, "x"), (1, "y"), (9, "y")],
}


class Made:
    """A collected test, as far as the choice looks at it."""

    def __init__(self, **params: Any) -> None:
        self.callspec = SimpleNamespace(params={"xp": "jax", **params})

    def iter_markers(self, name: str) -> list[Any]:
        assert name == "parametrize"
        names = [*TABLES, "xp"] if "n" in self.callspec.params else ["dtype", "xp"]
        return [SimpleNamespace(args=(each,)) for each in names]

    def row(self) -> tuple[Any, ...]:
        p = self.callspec.params
        return p["case"], p["is_complex"], (p["n"], p["bad"])


def product() -> list[Any]:
    rows = itertools.product(*TABLES.values())
    return [Made(case=c, is_complex=z, n=n, bad=bad) for c, z, (n, bad) in rows]


@pytest.mark.parametrize(("strength", "most"), [(1, 3), (2, 10), (3, 18)])
def test_every_combination_of_so_many_rows_is_met(strength: int, most: int) -> None:
    cases = product()
    left_out = superfluous(cases, strength)
    kept = [case for case in cases if case not in left_out]
    for places in itertools.combinations(range(3), strength):
        met = {tuple(case.row()[i] for i in places) for case in kept}
        assert met == set(itertools.product(*(list(TABLES.values())[i] for i in places)))
    assert len(kept) <= most


def test_two_dtypes_stand_for_both_kinds_and_both_widths() -> None:
    cases: list[Any] = [Made(dtype=d) for d in ("float32", "float64", "complex64", "complex128")]
    left_out = superfluous(cases, 1)
    kept = [case.callspec.params["dtype"] for case in cases if case not in left_out]
    assert kept == ["float32", "complex128"]


def test_what_is_alone_is_kept() -> None:
    assert superfluous([Made(dtype="complex64")], 1) == []
    assert superfluous([Made(dtype="complex64")], 2) == []


def test_fewer_parameters_than_the_strength_leave_nothing_out() -> None:
    cases: list[Any] = [Made(dtype=word) for word in ("a", "b", "c")]
    assert superfluous(cases, 2) == []
