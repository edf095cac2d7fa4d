"""The CUDA sources on the host: every launch of a CuPy form goes to the C++ compiler instead."""

from __future__ import annotations

import importlib
import pkgutil
import shutil

import pytest

from linalgkit._kernels import cupy_forms

from .cuda_host import HostDevice

LAUNCHERS = [
    module
    for info in pkgutil.iter_modules(cupy_forms.__path__, f"{cupy_forms.__name__}.")
    if hasattr(module := importlib.import_module(info.name), "launch")
]


@pytest.fixture(scope="session")
def host_device(tmp_path_factory: pytest.TempPathFactory) -> HostDevice:
    """Compile each instance once."""
    if shutil.which("g++") is None:
        pytest.skip("needs g++")
    return HostDevice(tmp_path_factory.mktemp("host_device"))


@pytest.fixture
def launch_on_host(host_device: HostDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the launches of every CuPy form on the host."""
    for module in LAUNCHERS:
        if not module.__name__.endswith(".launch"):
            monkeypatch.setattr(module, "launch", host_device.launch)
