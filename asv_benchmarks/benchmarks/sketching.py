"""Whole sketches of dense data, draws included, beside a copy of the data and SciPy's cosine
transform."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.fft

from linalgkit.sketching import sketch

from . import _base

ROOM = "sketching"

KINDS = ("srht", "block_srht", "sparse_sign", "gaussian_pooled")
DTYPES = ("float64", "float32")
N, D, M = _base.sized((2**13, 64, 256), (2**17, 128, 512))


class Operator(_base.Comparison):
    """``S @ X`` over one copy of `X`, and over a cosine transform of its columns."""

    param_names = ("kind", "dtype")
    params = (KINDS, DTYPES)
    repeats = {"method": 9, "rival": 5}

    def prepare(self, kind: str, dtype: str) -> None:
        self.X = np.random.default_rng(0).standard_normal((N, D)).astype(dtype)
        self.S = sketch(kind, M, N, rng=0)

    def method(self) -> Any:
        return self.S @ self.X

    def primitive(self) -> Any:
        return self.X.copy()

    def peer(self) -> Any:
        return scipy.fft.dct(self.X, axis=0, norm="ortho")


class SinglePrecision(_base.Measured):
    """Time of ``S @ X`` in float32 over that in float64."""

    param_names = ("kind",)
    params = (KINDS,)

    def prepare(self, kind: str) -> None:
        X, S = np.random.default_rng(0).standard_normal((N, D)), sketch(kind, M, N, rng=0)
        X32 = X.astype("float32")
        self.calls = {"float64": lambda: S @ X, "float32": lambda: S @ X32}

    def warm(self) -> None:
        for call in self.calls.values():
            call()

    def track_ratio(self, kind: str) -> float:
        seconds = _base.interleaved(self.calls, 9)
        return seconds["float32"] / seconds["float64"]
