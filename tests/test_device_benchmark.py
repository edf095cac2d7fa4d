"""The script that runs all modules on a device, tried without one."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import array_api_strict
import numpy as np
import pytest

import linalgkit
from asv_benchmarks import device, device_cases

NUMERICAL = {
    "bayes", "chebyshev", "completion", "regression", "sampling", "sketching", "streaming", "svd",
}  # fmt: skip


def run(tmp_path: Path, *arguments: str) -> tuple[int, str, list[list[str]]]:
    """Return exit code, head, and the cells of the rows of the page that was written."""
    page = tmp_path / "gpu.md"
    code = device.main([*arguments, "--quick", "--output", str(page)])
    head, _, table = page.read_text(encoding="utf-8").partition(device.HEADER)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.strip().split("\n")]
    return code, head, rows


def test_the_cases_are_those_of_all_eight_modules() -> None:
    assert {case.module for case in device_cases.CASES} == NUMERICAL
    assert set(linalgkit.__all__) >= NUMERICAL


def test_numpy_runs_every_case_and_agrees_with_itself(tmp_path: Path) -> None:
    code, head, rows = run(tmp_path, "--library", "numpy")
    assert code == 0
    assert [row[0] for row in rows] == [case.call for case in device_cases.CASES]
    for row in rows:
        assert len(row) == device.HEADER.split("\n")[0].count("|") - 1
        assert all(float(cell) > 0 for cell in (row[2].split()[0], row[4], row[5]))
        assert (float(row[6]), row[8]) == (0.0, "yes")
    assert "Run on a CPU with numpy: no figure below is that of a device" in head
    assert "a trial whether it runs" in head
    assert f"linalgkit {linalgkit.__version__}" in head


@pytest.mark.parametrize("only", ["streaming.top", "sketching.sketch", "sampling.Projection"])
def test_another_library_is_compared_and_watched(tmp_path: Path, only: str) -> None:
    code, head, rows = run(tmp_path, "--library", "array_api_strict", "--only", only)
    assert code == 0
    assert len(rows) >= 1
    for row in rows:
        assert float(row[6]) <= float(row[7])
        assert int(row[9]) > 0
    assert "Run on a CPU" in head


def test_what_fails_and_what_differs_is_said_and_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(X: Any) -> Any:
        raise ValueError("no | such\nthing")

    calls = iter((1.0, 1.0 + 1e-9))
    options: dict[str, Any] = {
        "data": lambda rng, n: (np.ones((n, 2)),),
        "answer": lambda x: (x,),
        "limit": lambda X: X @ X.T,
        "bound": "X X^T",
        "size": (3,),
        "quick": (3,),
    }
    wrong = device_cases.Case("svd.wrong", work=lambda X: X * next(calls, 1.0), **options)
    refused = device_cases.Case("svd.refused", work=refuse, **options)
    monkeypatch.setattr(device_cases, "CASES", (wrong, refused))
    code, _, rows = run(tmp_path, "--library", "numpy")
    assert code == 1
    assert math.isclose(float(rows[0][6]), 1e-9, rel_tol=0.1)
    assert [row[8] for row in rows] == ["no", "no"]
    assert rows[1][2] == "failed: ValueError: no / such thing"


def test_the_watch_counts_doors_and_is_taken_off() -> None:
    x = array_api_strict.asarray([1.0, 2.0], device=array_api_strict.Device("device1"))
    kind = type(x)
    before = {name: getattr(kind, name) for name in dir(kind)}
    with device.counted("array_api_strict", x) as seen:
        float(x[0])
        _ = x[x > 1]
        x.to_device(array_api_strict.Device("CPU_DEVICE"))
        _ = x + x, x[:1], x.shape
    assert dict(seen) == {"__float__": 1, "__getitem__": 1, "to_device": 1}
    float(x[0])
    assert sum(seen.values()) == 3
    assert {name: getattr(kind, name) for name in dir(kind)} == before


def test_differences_are_relative_and_shapes_have_to_agree() -> None:
    a, b = np.array([1.0, 4.0]), np.array([1.0, 5.0])
    assert device.difference((a,), (b,), indices=False) == 0.2
    assert device.difference((a,), (b,), indices=True) == 0.5
    assert device.difference((a,), (b[:1],), indices=False) == math.inf
    assert device.difference((a * 0,), (b * 0,), indices=False) == 0.0


def test_a_missing_library_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent(library: str) -> device.Place:
        raise device.NoDevice("no device.")

    monkeypatch.setattr(device, "place_of", absent)
    assert device.main([]) == 2
    assert capsys.readouterr().err == "cupy cannot be used: no device.\n"
