"""Tasks and trees: names that can be read, one shape for one number of parts, no writing."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import dask
import numpy as np
import pytest
from dask.callbacks import Callback
from dask.diagnostics import ProgressBar
from dask.utils import key_split

import linalgkit
from linalgkit.distributed import fit
from linalgkit.distributed._graph import computed, mapped, once, reduced, shared_key, task
from linalgkit.streaming import StreamingEigh
from linalgkit.streaming._frequent_directions import FrequentDirections


def _one(i: int) -> tuple[int, ...]:
    return (i,)


def _joined(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    return a + b


def _shape(a: Any, b: Any) -> str:
    return f"({a}{b})"


@pytest.mark.parametrize("fanin", [2, 3, 8])
@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 20])
def test_a_tree_keeps_the_order_of_the_parts(n: int, fanin: int) -> None:
    found = reduced("x", _joined, [task("leaf", _one, i) for i in range(n)], fanin)
    assert computed(found) == tuple(range(n))


def test_a_tree_of_seven_with_three_at_a_time_has_this_shape() -> None:
    found = reduced("x", _shape, [task("leaf", str, i) for i in range(7)], 3)
    assert computed(found) == "((((01)2)((34)5))6)"


def test_dashboards_group_the_tasks_by_what_they_do() -> None:
    leaves = mapped("gram", _one, [task("part", int, i) for i in range(3)])
    root = reduced("gram", _joined, leaves)
    groups = {key_split(key) for key in root.__dask_graph__()}
    assert groups == {"linalgkit-part", "linalgkit-gram", "linalgkit-gram-merge"}


def test_what_all_tasks_share_is_in_the_graph_once() -> None:
    large = np.zeros(1000)
    tasks = mapped("x", np.add, [task("part", float, i) for i in range(5)], large)
    merged = reduced("x", np.add, tasks)
    shared = [key for key in merged.__dask_graph__() if key_split(key) == "linalgkit-shared"]
    assert len(shared) == 1
    assert once(tasks[0]) is tasks[0]


def test_several_results_come_in_order_and_one_by_itself() -> None:
    assert computed(task("x", int, 3)) == 3
    assert computed(task("x", int, 3), task("x", int, 4)) == (3, 4)


def test_every_task_draws_from_the_same_key() -> None:
    assert shared_key(7) == 7
    seeds = np.random.SeedSequence(5)
    assert shared_key(seeds) is seeds
    assert shared_key(None) != shared_key(None)
    a, b = np.random.default_rng(3), np.random.default_rng(3)
    first = shared_key(a)
    assert isinstance(first, int)
    assert first == shared_key(b)
    assert first != shared_key(a)  # the generator has gone on
    assert isinstance(shared_key(np.random.PCG64(3)), int)
    with pytest.raises(TypeError, match="rng must be None"):
        shared_key("seed")


# ------------------------------------------------------------------------------- dispatcher


def test_a_class_that_cannot_be_merged_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match=r"model must be one of StreamingEigh.*got list"):
        fit([], np.ones((3, 3)))


def test_classes_derived_from_a_known_one_are_fitted_as_themselves() -> None:
    class Own(StreamingEigh):
        pass

    model = fit(Own(method="gram", gap_warn=0), np.eye(4)[:, :3])
    assert type(model) is Own
    assert model.n_samples_seen_ == 4


def test_options_that_no_family_knows_are_errors() -> None:
    with pytest.raises(TypeError, match="n_pases"):
        fit(StreamingEigh(), np.ones((3, 3)), n_pases=2)
    for bad in (1, 0):
        with pytest.raises(ValueError, match="fanin must be at least 2"):
            fit(StreamingEigh(), np.ones((3, 3)), fanin=bad)
    with pytest.raises(TypeError, match="fanin"):
        fit(StreamingEigh(), np.ones((3, 3)), fanin=2.5)


# --------------------------------------------------------------------------------- progress


class _Seen(Callback):
    def __init__(self) -> None:
        super().__init__(posttask=self._add)
        self.names: list[str] = []

    def _add(self, key: Any, *_: Any) -> None:
        self.names.append(key_split(key))


def test_every_part_and_every_merge_is_a_step_that_can_be_watched() -> None:
    parts = [np.eye(4)[:, :3] * i for i in range(1, 7)]
    with _Seen() as seen:
        fit(StreamingEigh(method="gram", gap_warn=0), parts, fanin=3)
    assert seen.names.count("linalgkit-eigh-fit") == 6
    assert seen.names.count("linalgkit-eigh-merge") == 3


def test_the_progress_bar_of_dask_runs_to_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    lazy = fit(StreamingEigh(method="gram", gap_warn=0), np.eye(4)[:, :3], compute=False)
    with ProgressBar(dt=0.01):
        lazy.compute()
    assert "100% Completed" in capsys.readouterr().out


# ----------------------------------------------------------------------------------- imports


def test_without_dask_the_room_says_what_to_install() -> None:
    code = (
        "import sys\n"
        "sys.modules['dask'] = None\n"
        "import linalgkit\n"
        "try:\n    linalgkit.distributed\n"
        "except ImportError as error:\n    print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'pip install "linalgkit[distributed]"' in run.stdout


def test_the_room_loads_a_method_when_it_is_asked_for() -> None:
    code = (
        "import sys, linalgkit.distributed as room\n"
        "assert 'linalgkit.streaming' not in sys.modules\n"
        "room.top_eigenvector\n"
        "assert 'linalgkit.streaming' in sys.modules\n"
        "print(sorted(room.__all__) == dir(room))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "True"
    with pytest.raises(AttributeError, match="no attribute 'map'"):
        linalgkit.distributed.map  # noqa: B018


def test_merging_in_a_tree_writes_into_none_of_the_parts() -> None:
    rng = np.random.default_rng(0)
    rows = [rng.standard_normal((300, 5)) for _ in range(4)]
    leaves = [
        StreamingEigh(method="frequent-directions", n_oversamples=1).partial_fit(X) for X in rows
    ]
    before = [model.to_state() for model in leaves]
    from linalgkit.distributed._eigh import _merged_models

    with dask.config.set(scheduler="sync"):
        computed(reduced("x", _merged_models, [task("leaf", _same, m) for m in leaves], 2))
    for model, state in zip(leaves, before, strict=True):
        kept = model._stream.engine
        assert isinstance(kept, FrequentDirections)
        np.testing.assert_equal(model.to_state(), state)


def _same(x: Any) -> Any:
    return x
