"""The array libraries on which every test runs, and seeded draws.

``xp`` is a :class:`Backend`: namespace, device and dtypes of one library on one device.
A library that is not installed is absent from the list; the header of the run names those
that take part.

Every combination of the parameters of a test runs on NumPy. PyTorch and array-api-strict run as
many cases as meet every pair of values; JAX, which compiles every operation for every shape, and
the default device of array-api-strict, which allows what ``device1`` allows, as many as meet every
value. ``--every-case`` runs all combinations.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
from collections import Counter
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("JAX_ENABLE_X64", "1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Eager JAX compiles every operation for every shape; quick compilation matters, quick code not.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
    "--xla_cpu_parallel_codegen_split_count=1 --xla_cpu_use_fusion_emitters=false",
)

import array_api_strict
import numpy as np
import pytest

from linalgkit._core import array as core_array


@dataclass(frozen=True)
class Backend:
    """One array library on one device."""

    name: str
    xp: Any
    device: Any
    has_float64: bool = True

    def __repr__(self) -> str:
        return self.name

    @property
    def all_dtypes(self) -> tuple[str, ...]:
        """Names of the floating dtypes that the device has."""
        wide = ("float64", "complex128") if self.has_float64 else ()
        return ("float32", "complex64", *wide)

    @property
    def dtypes(self) -> tuple[str, ...]:
        """Names of those that a test goes through: on JAX, one of each kind and width."""
        return ("float32", "complex128") if self.name == "jax" else self.all_dtypes

    @property
    def float(self) -> Any:
        """The widest real dtype."""
        return core_array.widest_float(self.xp, self.device)

    @property
    def tolerance(self) -> float:
        """A few hundred units of the widest roundoff."""
        return 300 * core_array.eps(self.xp, self.float)

    def asarray(self, x: Any, dtype: str | None = None) -> Any:
        """Copy a NumPy array (or nested list) to this library and device."""
        host = np.asarray(x)
        if dtype is None and not self.has_float64 and host.dtype.kind in "fc":
            host = host.astype(np.float32 if host.dtype.kind == "f" else np.complex64)
        target = None if dtype is None else getattr(self.xp, dtype)
        return core_array.asarray(host, xp=self.xp, device=self.device, dtype=target)

    def to_numpy(self, x: Any) -> np.ndarray[Any, Any]:
        """Copy an array of this library to the host."""
        return np.array(core_array.to_numpy(x))


def _strict(device: str) -> Backend:
    xp = array_api_strict
    return Backend(f"strict-{device}", xp, xp.Device(device), device != "no_float64")


def _backend(name: str, example: Any) -> Backend:
    return Backend(name, core_array.array_namespace(example), core_array.device(example))


def _make_backends() -> list[Backend]:
    found = [_backend("numpy", np.ones(1))]
    found += [_strict(device) for device in ("CPU_DEVICE", "device1", "no_float64")]
    if importlib.util.find_spec("torch"):
        import torch

        torch.set_num_threads(1)
        found.append(_backend("torch", torch.ones(1)))
    if importlib.util.find_spec("jax"):
        import jax.numpy

        found.append(_backend("jax", jax.numpy.ones(1)))
    if importlib.util.find_spec("cupy"):
        import cupy

        if cupy.cuda.is_available():
            found.append(_backend("cupy", cupy.ones(1)))
    return found


BACKENDS = _make_backends()

#: For a test whose operations another test compares on JAX with those on NumPy, or to theory.
uncompiled = pytest.mark.parametrize("xp", [b for b in BACKENDS if b.name != "jax"], ids=str)


@pytest.fixture(params=BACKENDS, ids=str)
def xp(request: pytest.FixtureRequest) -> Backend:
    """Each array library in turn."""
    backend: Backend = request.param
    return backend


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fixed seed."""
    return np.random.default_rng(20261121)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that runs every combination."""
    parser.addoption(
        "--every-case",
        action="store_true",
        help="run every combination of parameters on every library, not on NumPy only",
    )


def pytest_report_header() -> str:
    """Name the libraries that take part, so that an absent one is seen."""
    return "array libraries: " + ", ".join(map(str, BACKENDS))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the cases that the note above calls superfluous."""
    if config.getoption("--every-case"):
        return
    tests: dict[tuple[str, str], list[pytest.Function]] = {}
    for item in items:
        library = str(item.callspec.params.get("xp")) if hasattr(item, "callspec") else None
        if library in _STRENGTHS and not _lacks_dtype(item):
            tests.setdefault((library, item.nodeid.partition("[")[0]), []).append(item)
    left_out = {
        case for (name, _), cases in tests.items() for case in superfluous(cases, _STRENGTHS[name])
    }
    if left_out:
        config.hook.pytest_deselected(items=sorted(left_out, key=lambda case: case.nodeid))
        items[:] = [item for item in items if item not in left_out]


# Of how many parameters all combinations are met; NumPy, not listed, meets those of all.
_STRENGTHS = {
    "jax": 1,
    "strict-CPU_DEVICE": 1,  # what runs on device1 runs on the default device
    "strict-device1": 2,
    "strict-no_float64": 2,
    "torch": 2,
}
_TRAITS = {
    "float32": ("real", "narrow"),
    "float64": ("real", "wide"),
    "complex64": ("complex", "narrow"),
    "complex128": ("complex", "wide"),
}


def superfluous(cases: list[pytest.Function], strength: int) -> list[pytest.Function]:
    """Return what is left when cases are taken, the most telling first, until nothing is new.

    New is a combination of the values of ``strength`` parameters.
    """
    met = {case: set(itertools.combinations(_values(case), strength)) for case in cases}
    missing = set().union(*met.values())
    uses: Counter[object] = Counter()
    while missing:
        best = max(
            met, key=lambda case: (len(met[case] & missing), -sum(uses[v] for v in met[case]))
        )
        taken = met.pop(best)
        uses.update(taken)
        missing -= taken
    return list(met) if uses else []


def _lacks_dtype(case: pytest.Function) -> bool:
    """Tell whether the device lacks a dtype of the case, which will be skipped or refused."""
    named = {x for x in case.callspec.params.values() if isinstance(x, str)} & _TRAITS.keys()
    return not named <= set(case.callspec.params["xp"].all_dtypes)


def _values(case: pytest.Function) -> list[tuple[str, str]]:
    """Return the row of each table of parameters but the library; of a dtype, width and kind."""
    found = []
    for names in _tables(case):
        row = [case.callspec.params[name] for name in names]
        traits = _TRAITS.get(row[0]) if len(row) == 1 and isinstance(row[0], str) else None
        found += [(names[0], trait) for trait in traits or (repr(row),)]
    return found


def _tables(case: pytest.Function) -> list[list[str]]:
    """Return the names of the parameters, those that vary together in one list."""
    marked = [mark.args[0] for mark in case.iter_markers("parametrize")]
    together = [
        [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
        for names in marked
    ]
    alone = set(case.callspec.params).difference(*together)
    return [names for names in [*together, *([n] for n in sorted(alone))] if names != ["xp"]]
