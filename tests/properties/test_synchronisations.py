"""How often the host waits for a device is what the registry says, and no less than half of it."""

from __future__ import annotations

import inspect
import warnings
from functools import cache

import pytest

from linalgkit import AccuracyWarning
from linalgkit._core import capabilities
from linalgkit._core.array import array_namespace, to_numpy
from tests.properties.calls import CALLS, Call
from tests.properties.synchronisations import counted, on_device

# Numbers in, numbers or host arrays out.
WITHOUT_ARRAYS = {
    "chebyshev.newton_quadrature",
    "chebyshev.range_split",
    "completion.theory.clip_level",
    "completion.theory.n_inner_steps",
    "completion.theory.n_sweeps",
    "completion.theory.sample_probability",
    "completion.theory.sample_size",
    "completion.theory.sketch_size",
    "regression.sketch_size",
    "sampling.multi_index",
    "sketching.tensor_sketch",
}


def _entries() -> list[capabilities.Capability]:
    """Return all but those on Dask, which call the others in each of their tasks."""
    return [e for e in capabilities.entries() if not e.name.startswith("distributed.")]


@cache
def _measured(call: Call) -> list[tuple[int, int]]:
    """Return (steps, synchronisations) of the runs of one call."""
    found = []
    for steps in call.steps if call.step else (1,):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AccuracyWarning)
            act = call.make(on_device)
            with counted() as ledger:
                done = act(steps)
        found.append((steps if done is None else done, ledger.synchronisations))
    return found


def _parts(call: Call) -> dict[str, float]:
    """Return what one call measures of each unit: the slope in the steps, and what is left."""
    (n, count), *later = _measured(call)
    if not later:
        return {call.base: count}
    assert call.step is not None
    slope = max(0.0, (later[0][1] - count) / (later[0][0] - n))
    return {call.base: max(0.0, count - slope * n), call.step: slope}


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_no_call_waits_more_often_than_documented(call: Call) -> None:
    entry = capabilities.get(call.entry)
    assert entry.synchronisations is not None
    allowed = entry.synchronisations
    for steps, count in _measured(call):
        a_step = allowed.get(call.step, 0) if call.step else 0
        assert count <= allowed.get(call.base, 0) + a_step * steps + allowed.get("block", 0)


@pytest.mark.parametrize("name", sorted({call.entry for call in CALLS}))
def test_nothing_is_documented_that_is_not_measured(name: str) -> None:
    most: dict[str, float] = {}
    for call in CALLS:
        if call.entry == name:
            for unit, count in _parts(call).items():
                most[unit] = max(most.get(unit, 0.0), count)
    documented = capabilities.get(name).synchronisations
    assert documented is not None
    assert documented.keys() <= most.keys()
    for unit, count in documented.items():
        assert most[unit] - 1e-9 <= count <= 1.5 * most[unit] + 2, unit


def test_every_entry_is_counted_or_takes_no_array() -> None:
    with_arrays = {call.entry for call in CALLS}
    assert {entry.name for entry in _entries()} == with_arrays | WITHOUT_ARRAYS
    for name in WITHOUT_ARRAYS:
        assert capabilities.get(name).synchronisations == {}


def test_documented_counts_are_in_the_docstring() -> None:
    for entry in _entries():
        doc = inspect.getdoc(entry.target)
        assert doc is not None
        assert f"Host synchronisations, counted on small problems: {entry.waits}." in doc


def test_streams_wait_once_a_block() -> None:
    """The law of the library; completion and SBL compare and place entries on the host, too."""
    twice = {"bayes.KronSBL", "completion.MatrixCompletion", "sketching.SketchOperator"}
    for entry in [e for e in _entries() if e.streaming]:
        assert entry.synchronisations is not None
        most = 2 if entry.name in twice else 5 if entry.name == "svd.tree_svd" else 1
        assert entry.synchronisations.get("block", 0) <= most


# ------------------------------------------------------------------------- the instrument


def test_every_door_to_the_host_is_counted() -> None:
    x = on_device([1.0, 0.0, 2.0])
    xp = array_namespace(x)
    doors = [
        lambda: bool(xp.all(x >= 0)),
        lambda: float(x[0]),
        lambda: complex(x[0]),
        lambda: int(x[0]),
        lambda: list(range(3))[xp.argmax(x)],
        lambda: to_numpy(x),
        lambda: x[x > 0],
        lambda: xp.nonzero(x),
        lambda: xp.unique_values(x),
        lambda: xp.repeat(x, xp.astype(x, xp.int64)),
    ]
    for door in doors:
        with counted() as ledger:
            door()
        assert ledger.synchronisations == 1
        assert ledger.uploads == 0


def test_work_on_the_device_and_on_the_host_is_not_counted() -> None:
    x = on_device([[1.0, 2.0], [3.0, 5.0]])
    xp = array_namespace(x)
    with counted() as ledger:
        y = xp.linalg.inv(x @ x)[0, :] * 2.0 + xp.asarray(1.0, device=x.device)
        assert y.shape == (2,)
        host = xp.asarray([1.0, 2.0])
        assert float(host[0]) == to_numpy(host)[0]
    assert ledger.synchronisations == ledger.uploads == 0


def test_copies_to_the_device_are_counted_apart() -> None:
    with counted() as ledger:
        on_device([1.0])
    assert (ledger.synchronisations, ledger.uploads) == (0, 1)


def test_the_watch_comes_off_again() -> None:
    x = on_device([1.0])
    with counted() as ledger, pytest.raises(ZeroDivisionError):
        raise ZeroDivisionError
    float(x[0])
    assert ledger.synchronisations == 0
