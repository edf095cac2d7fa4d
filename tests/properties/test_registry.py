"""What is public is registered, documented and run by the property suite."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import subprocess
import sys
from typing import Any

import pytest

import linalgkit
from linalgkit._core import capabilities
from tests.conftest import BACKENDS
from tests.properties.cases import CASES
from tests.properties.functions import FUNCTIONS

ROOMS = [name for name in linalgkit.__all__ if name not in ("datasets", "plotting")]
METHOD_ROOMS = [name for name in ROOMS if inspect.ismodule(getattr(linalgkit, name))]


def _public() -> list[tuple[str, Any]]:
    found = []
    for room in METHOD_ROOMS:
        module = importlib.import_module(f"linalgkit.{room}")
        for name in module.__all__:
            found.append((f"{room}.{name}", getattr(module, name)))
    return found


def _acts(target: object) -> bool:
    """Tell whether a public object computes: no module, no result class."""
    is_result = inspect.isclass(target) and dataclasses.is_dataclass(target)
    return not inspect.ismodule(target) and not is_result


PUBLIC = [(name, target) for name, target in _public() if _acts(target)]


@pytest.mark.parametrize(("name", "target"), PUBLIC, ids=[name for name, _ in PUBLIC])
def test_what_is_public_is_registered_and_documented(name: str, target: Any) -> None:
    entry = capabilities.get(name)
    assert entry.target is target
    doc = inspect.getdoc(target)
    assert doc is not None
    for section in ("Parameters", "Raises", "Notes", "Examples"):
        assert re.search(rf"^{section}\n-+$", doc, re.MULTILINE), section
    assert "**Array libraries**" in doc
    assert "Storage" in doc


# The first streams by shares of blocks and keeps no state of them; the second takes factors and
# snapshots, no rows; the third takes single entries. tests/sketching, tests/bayes and
# tests/completion hold them to the same promises.
OTHERS = {"SketchOperator", "KronSBL", "MatrixCompletion"}


def test_every_class_that_streams_has_a_case() -> None:
    covered = {type(case.start()).__name__ for case in CASES}
    streaming = {
        entry.target.__name__
        for entry in capabilities.entries(streaming=True)
        if inspect.isclass(entry.target)
    }
    assert streaming - covered == OTHERS


# What the suites of the rooms hold to the same promises: orthonormal families and bases (values at
# points), the objects that results are, estimators that call the functions above, the papers' own
# constants, and numbers of samples, sweeps and nodes.
OF_THE_ROOMS = {
    "chebyshev.ChebTucker",
    "completion.CompletionResult",
    "completion.LowRankImputer",
    "sampling.BSpline",
    "sampling.DPPLeastSquares",
    "sampling.Fourier",
    "sampling.Hermite",
    "sampling.Jacobi",
    "sampling.Legendre",
    "sampling.TensorBasis",
    "sampling.UserBasis",
    "sampling.multi_index",
    "sketching.TensorSketchOperator",
    "svd.ErrorConstrainedClustering",
    "regression.sketch_size",
    "chebyshev.newton_quadrature",
    "chebyshev.range_split",
}


def test_every_other_public_object_has_a_function_case_or_a_reason() -> None:
    run = {function.entry for function in FUNCTIONS}
    run |= {f"{type(c.start()).__module__.split('.')[1]}.{type(c.start()).__name__}" for c in CASES}
    elsewhere = ("theory.", "distributed.")  # the latter runs the former's objects on Dask
    public = {
        entry.name
        for entry in capabilities.entries()
        if not any(part in entry.name for part in elsewhere)
    }
    streams = {name for name in public if name.rpartition(".")[2] in OTHERS}
    assert run <= public
    assert public - run == OF_THE_ROOMS | streams


# Numbers in, NumPy arrays out: quadrature rules are made on the host.
HOST_ONLY = {"chebyshev.newton_quadrature", "chebyshev.range_split"}


def test_the_registry_speaks_of_the_libraries_that_tests_run_on() -> None:
    for entry in capabilities.entries():
        if entry.name in HOST_ONLY:
            assert set(entry.libraries) == {"numpy"}
            continue
        for backend in BACKENDS:
            library = backend.name.partition("-")[0].replace("strict", "array_api_strict")
            for dtype in backend.dtypes:
                assert entry.supports(library, "gpu" if library == "cupy" else "cpu", dtype)


def test_importing_linalgkit_imports_no_accelerator_and_no_optional_package() -> None:
    code = (
        "import sys, linalgkit, linalgkit.streaming, linalgkit.datasets\n"
        "heavy = {'numba', 'cupy', 'torch', 'jax', 'matplotlib', 'dask', 'sklearn', 'tqdm'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_unknown_attributes_are_errors_and_dir_lists_the_rooms() -> None:
    with pytest.raises(AttributeError, match="no attribute 'chebishev'"):
        linalgkit.chebishev  # noqa: B018
    assert set(linalgkit.__all__) == set(dir(linalgkit))
