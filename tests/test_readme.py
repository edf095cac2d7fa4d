"""The README's examples run as they stand, without a warning."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import linalgkit

README = Path(__file__).parents[1] / "README.md"
pytestmark = pytest.mark.skipif(not README.exists(), reason="tests of an installed package")


def test_python_blocks_run_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(
        r"^```python\n(.*?)^```$", README.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    assert len(blocks) >= 3
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), names)
        assert capsys.readouterr().out.strip()


def test_the_streamed_example_is_answered_well() -> None:
    text = README.read_text("utf-8")
    first = re.search(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert first is not None
    names: dict[str, Any] = {}
    exec(compile(first.group(1), str(README), "exec"), names)
    assert names["result"].status == "converged"
    assert 14 < names["result"].gap < 18


def test_what_is_called_done_exists_and_what_is_planned_does_not() -> None:
    for line in README.read_text("utf-8").splitlines():
        row = re.match(r"\| `linalgkit\.(\w+)`.*\| (done|planned) \|$", line)
        if row:
            assert (row.group(1) in linalgkit.__all__) == (row.group(2) == "done")


def test_pictures_lie_where_the_readme_says() -> None:
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README.read_text("utf-8"))
    assert pictures
    for picture in pictures:
        assert (README.parent / picture).stat().st_size > 1000
