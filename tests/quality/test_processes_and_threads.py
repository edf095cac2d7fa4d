"""The same bits in threads, forked, spawned and fresh processes, whatever the number of threads."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.properties.cases import CASES
from tests.quality.objects import OBJECTS, made, saved
from tests.quality.work import METHODS, all_answers, answer_of, digest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def serial() -> dict[str, str]:
    """Return the answers of all methods, one after the other."""
    return all_answers()


def fresh(threads: int, seed: int, **environment: str) -> dict[str, str]:
    """Return the answers of all methods in a new process."""
    counts = {f"{kind}_NUM_THREADS": str(threads) for kind in ("NUMBA", "OMP")}
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.quality.work"],
        env={**os.environ, **counts, "PYTHONHASHSEED": str(seed), **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return dict(line.split() for line in run.stdout.splitlines())


# ------------------------------------------------------------------------- fresh processes


@pytest.mark.slow
def test_fresh_processes_with_other_hash_seeds_and_thread_counts_find_the_same_bits() -> None:
    first = fresh(1, 1)
    assert first.keys() == METHODS.keys()
    # BLAS is held to one thread: only our own kernels are asked for the same bits on two.
    held = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    assert fresh(2, 2, **held) == first


# ----------------------------------------------------------------------------------- threads


def test_methods_at_once_in_threads_find_the_bits_of_one_after_the_other(
    serial: dict[str, str],
) -> None:
    names = sorted(METHODS) * 2
    np.random.default_rng(0).shuffle(names)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(answer_of, names))
    assert [(n, f) for n, f in zip(names, found, strict=True) if f != serial[n]] == []


FIRST_USE = """
import sys, threading
sys.setswitchinterval(1e-5)
from tests.quality.work import answer_of
names, found, gate = sys.argv[1:], {}, threading.Barrier(4)

def go(k):
    gate.wait()
    found[k] = [answer_of(name) for name in names]

threads = [threading.Thread(target=go, args=(k,)) for k in range(4)]
[t.start() for t in threads]
[t.join() for t in threads]
assert len(found) == 4
assert all(f == found[0] for f in found.values())
print(*found[0])
"""


@pytest.mark.slow
@pytest.mark.parametrize("cached", [True, False])
def test_first_use_by_several_threads_at_once(
    serial: dict[str, str], tmp_path: Path, cached: bool
) -> None:
    """Rooms are imported, kernels compiled (or read from the cache) by all threads at once."""
    names = ["streaming-gram", "sketching.sketch-srht", "sketching.sketch-sparse_sign"]
    environment = dict(os.environ) if cached else {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FIRST_USE, *names],
        env={**environment, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == [serial[name] for name in names]


# --------------------------------------------------------------------------- other processes


def _goes_on(index: int, model: Any) -> str:
    """Add the rest of the rows to the object of a case, in whatever process this is."""
    case = CASES[index]
    rows = case.data(np.random.default_rng(11), False)
    return digest(case.quiet_answers(case.take(model, tuple(x[777:] for x in rows))))


def _same_file(name: str, model: Any) -> bool:
    """Tell whether an object that travelled is the one made here."""
    return saved(model) == saved(made(name))


def _inherits(index: int) -> str:
    """Go on with an object that the parent made before it forked."""
    return _goes_on(index, _HEADS[index])


_HEADS: list[Any] = []


def _heads() -> list[Any]:
    """Return the objects of all cases in the middle of their rows."""
    found = []
    for case in CASES:
        rows = case.data(np.random.default_rng(11), False)
        found.append(case.run(tuple(x[:777] for x in rows)))
    return found


# JAX warns where other tests have loaded it: its own work may hang in a child, which has none here.
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:os.fork.* was called:RuntimeWarning")
def test_forked_children_go_on_with_the_objects_of_their_parent(serial: dict[str, str]) -> None:
    """JIT-compiled kernels have run in the parent (threads and all) when it forks."""
    _HEADS[:] = _heads()
    expected = [_goes_on(i, pickle.loads(pickle.dumps(m))) for i, m in enumerate(_HEADS)]
    names = sorted(METHODS)
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        assert list(pool.map(_inherits, range(len(CASES)))) == expected
        assert list(pool.map(_goes_on, range(len(CASES)), _HEADS)) == expected
        assert list(pool.map(_same_file, OBJECTS, map(made, OBJECTS))) == [True] * len(OBJECTS)
        assert list(pool.map(answer_of, names)) == [serial[name] for name in names]
    assert [_goes_on(i, m) for i, m in enumerate(_HEADS)] == expected  # the parent's are as before


@pytest.mark.slow
def test_spawned_children_go_on_with_pickled_objects() -> None:
    heads = _heads()
    expected = [_goes_on(i, pickle.loads(pickle.dumps(m))) for i, m in enumerate(heads)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        assert list(pool.map(_goes_on, range(len(CASES)), heads)) == expected
        assert list(pool.map(_same_file, OBJECTS, map(made, OBJECTS))) == [True] * len(OBJECTS)
