"""Every kernel in all its forms side by side; the seconds of compiling are tracked apart.

A kernel joins by one entry in `CASES`: a function that makes its arguments.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from . import _base

B, D = 256, 1000
FORMS = ("portable", "numba", "cupy")


def _normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape)


def _sparse() -> Any:
    return sparse.random_array((B, D), density=0.05, format="csr", rng=0)


def _ladder() -> tuple[Any, ...]:
    X, rates = _normal(64, D) / np.sqrt(D), np.exp2(np.arange(-20.0, 5.0))
    return X @ X.T, rates, _normal(64, rates.size)


def _hadamard(*shape: int) -> tuple[Any, ...]:
    rng = np.random.default_rng(0)
    signs = rng.choice([-1.0, 1.0], shape[0])
    return _normal(*shape), rng.permutation(shape[0]), signs, shape[0]


def _pool() -> tuple[Any, ...]:
    places = np.random.default_rng(1).permutation(4096)
    return *_hadamard(4096, 64), places, _normal(4096), np.arange(16, 4097, 16)


def _hadamard_blocks() -> tuple[Any, ...]:
    X, order, signs, _ = _hadamard(4096, 64)
    rows = np.random.default_rng(1).integers(0, 1024, (4, 256))
    return X, order % 1024, signs, 1024, rows, _normal(4, 256)


def _embedding() -> tuple[Any, ...]:
    rng = np.random.default_rng(0)
    positions, signs = rng.integers(0, 256, (4096, 8)), rng.choice([-1.0, 1.0], (4096, 8))
    return _normal(4096, 64), positions, signs, 256


def _kron() -> tuple[Any, ...]:
    rng = np.random.default_rng(0)
    return _normal(3600, 60, 1) + 1j * _normal(3600, 60, 1), rng.random(3600), rng.random(60), 0.1


CASES: dict[str, Callable[[], tuple[Any, ...]]] = {
    "row_norms_squared": lambda: (_normal(B, D),),
    "normal_product": lambda: (_normal(B, D), _normal(D, 2)),
    "normal_product_norms": lambda: (_normal(B, D), _normal(D, 2)),
    "csr_row_norms_squared": lambda: (_sparse(),),
    "csr_normal_product": lambda: (_sparse(), _normal(D, 2)),
    "csr_normal_product_norms": lambda: (_sparse(), _normal(D, 2)),
    "ladder_solve": _ladder,
    "fwht": lambda: (_normal(4096, 64),),
    "hadamard_rows": lambda: (*_hadamard(4096, 64), np.arange(0, 4096, 16)),
    "hadamard_pool": _pool,
    "hadamard_blocks": _hadamard_blocks,
    "sparse_embed": _embedding,
    "gram": lambda: (_normal(4096, 64),),
    "csr_residual_product": lambda: (_sparse(), _normal(D, 1), _normal(B, 1)),
    "residual_product": lambda: (_normal(4096, 64), _normal(64, 1), _normal(4096, 1)),
    "normal_rows": lambda: ((7, 9), (0, 0, 0), 0, 512, 256, "cpu", np.dtype("float64")),
    "kron_pass": _kron,
    "kron_weighted": lambda: (*_kron(), np.ones(3600), np.ones(60)),
}


def namespace(form: str) -> Any:
    """Return the array namespace whose arrays a form takes."""
    from linalgkit._core import array

    if form != "cupy":
        return array.array_namespace(np.zeros(1))
    import cupy

    return array.array_namespace(cupy.zeros(1))


def moved(arguments: tuple[Any, ...], form: str) -> tuple[Any, ...]:
    """Copy the arguments, those that are arrays, to the device of a form."""
    if form != "cupy":
        return arguments
    import cupy
    from cupyx.scipy.sparse import csr_matrix

    def move(a: Any) -> Any:
        if sparse.issparse(a):
            return csr_matrix(a)
        return cupy.asarray(a) if isinstance(a, np.ndarray) else a

    return tuple(move(a) for a in arguments)


def require(kernel: str, form: str, arguments: tuple[Any, ...]) -> None:
    """Have asv skip a form that cannot run here."""
    from linalgkit import _kernels

    chosen = _kernels.registered()[kernel]
    if form not in chosen.forms() or not chosen.supports(form, *arguments):
        raise NotImplementedError(f"{kernel} has no {form} form here")


class Forms(_base.Measured):
    """Time of each form, and its ratio to the portable form on the same arrays."""

    param_names = ("kernel", "form")
    params = (tuple(CASES), FORMS)

    def prepare(self, kernel: str, form: str) -> None:
        from linalgkit import _kernels

        forms, arguments = _kernels.registered()[kernel].forms(), CASES[kernel]()
        require(kernel, form, arguments)
        self.xp, self.arguments = namespace(form), moved(arguments, form)
        self.form, self.portable = forms[form], forms["portable"]

    def warm(self) -> None:
        self.run()

    def run(self) -> Any:
        """Call the form."""
        return self.form(self.xp, *self.arguments)

    def run_portable(self) -> Any:
        """Call the portable form on the same arrays."""
        return self.portable(self.xp, *self.arguments)

    def time_form(self, kernel: str, form: str) -> None:
        _base.wait_for(self.run())

    def track_ratio_to_portable(self, kernel: str, form: str) -> float:
        calls = {"form": self.run, "portable": self.run_portable}
        seconds = _base.interleaved(calls, 15)
        return seconds["form"] / seconds["portable"]


def first_call_seconds(kernel: str) -> float:
    """Seconds of a kernel's first call beyond its second; for the script below."""
    from linalgkit import _kernels

    form = _kernels.registered()[kernel].forms()["numba"]
    arguments = CASES[kernel]()
    xp = namespace("numba")
    first, second = (_base.clock(lambda: form(xp, *arguments)) for _ in range(2))
    return first - second


class Compile:
    """Seconds that Numba takes to compile a kernel, with an empty cache in a new interpreter."""

    timeout = 120
    unit = "seconds"
    param_names = ("kernel",)
    params = (_base.sized(("normal_product_norms",), tuple(CASES)),)

    def setup(self, kernel: str) -> None:
        require(kernel, "numba", CASES[kernel]())

    def track_seconds(self, kernel: str) -> float:
        script = f"from benchmarks import kernels; print(kernels.first_call_seconds({kernel!r}))"
        with tempfile.TemporaryDirectory() as cache:
            done = subprocess.run(
                [sys.executable, "-c", script],
                check=True,
                capture_output=True,
                text=True,
                cwd=Path(__file__).resolve().parents[1],
                env={**os.environ, "NUMBA_CACHE_DIR": cache},
            )
        return float(done.stdout)
