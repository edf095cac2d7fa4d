"""The array libraries on which every test runs, and seeded draws.

``xp`` is a :class:`Backend`: namespace, device and dtypes of one library on one device.
A library that is not installed is absent from the list; the header of the run names those
that take part.
"""

from __future__ import annotations

import importlib.util
import os
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
    def dtypes(self) -> tuple[str, ...]:
        """Names of the floating dtypes that the device has."""
        wide = ("float64", "complex128") if self.has_float64 else ()
        return ("float32", "complex64", *wide)

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


@pytest.fixture(params=BACKENDS, ids=str)
def xp(request: pytest.FixtureRequest) -> Backend:
    """Each array library in turn."""
    backend: Backend = request.param
    return backend


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fixed seed."""
    return np.random.default_rng(20261121)


def pytest_report_header() -> str:
    """Name the libraries that take part, so that an absent one is seen."""
    return "array libraries: " + ", ".join(map(str, BACKENDS))
