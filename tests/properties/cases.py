"""The methods that the property suite runs on: a new one joins with one entry in CASES."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from linalgkit import AccuracyWarning
from linalgkit._core.array import to_numpy
from linalgkit.regression import SketchedRegressor
from linalgkit.streaming import StreamingEigh
from linalgkit.svd import IncrementalSVD

Rows = tuple[np.ndarray[Any, Any], ...]


@dataclass(frozen=True)
class Case:
    """One method as the suite sees it.

    Attributes
    ----------
    name : str
        Shown in test ids.
    start : callable
        Returns a new object, always the same one.
    data : callable
        ``data(rng, is_complex)`` returns float64 or complex128 arrays with rows along axis 0;
        their answer must differ from that of their conjugates when complex.
    take : callable
        ``take(model, arrays)`` adds rows.
    answers : callable
        ``answers(model)`` returns a dictionary of arrays and floats.
    degrees : dict
        How each answer scales with the data: 0, 1 or 2.
    merge : str or None
        "exact", "approximate", or None where a merge is an error.
    storage : callable or None
        ``storage(d)`` returns the documented bytes of the state for float64 rows.
    condition : float
        How much rounding errors may be amplified between libraries.
    mirror : float
        How far the answer of conjugate data may be from the conjugate answer: rounding, or for
        methods that draw at random and are approximate, their error.
    is_variant : bool
        Whether another case runs the same operations (left out on JAX, which compiles each).
    """

    name: str
    start: Callable[[], Any]
    data: Callable[[np.random.Generator, bool], Rows]
    take: Callable[[Any, Rows], Any]
    answers: Callable[[Any], dict[str, Any]]
    degrees: dict[str, int]
    merge: str | None
    storage: Callable[[int], float] | None = None
    condition: float = 1.0
    mirror: float = 1e-6
    is_variant: bool = False

    def __str__(self) -> str:
        return self.name

    def run(self, *batches: Rows) -> Any:
        """Return an object that has taken all batches in turn."""
        model = self.start()
        for rows in batches:
            model = self.take(model, rows)
        return model

    def quiet_answers(self, model: Any) -> dict[str, Any]:
        """Return the answers; that a small problem is poorly determined is not the matter here."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AccuracyWarning)
            return self.answers(model)


# ------------------------------------------------------------------------------- streaming


def anisotropic_rows(rng: np.random.Generator, is_complex: bool) -> Rows:
    """Return 1500 rows of length 24 with two leading directions, in general position."""
    n, d = 1500, 24
    deviations = np.concatenate([[6.0, 3.5], np.linspace(1.2, 0.4, d - 2)])
    X = rng.standard_normal((n, d))
    G = rng.standard_normal((d, d))
    if is_complex:
        X = X + 1j * rng.standard_normal((n, d))
        G = G + 1j * rng.standard_normal((d, d))
    return ((X * deviations) @ np.linalg.qr(G)[0] + 0.3,)


def _take_rows(model: StreamingEigh, rows: Rows) -> StreamingEigh:
    return model.partial_fit(rows[0])


def _eigenpairs(model: StreamingEigh) -> dict[str, Any]:
    result = model.result()
    return {
        "eigenvalues": result.eigenvalues,
        "eigenvectors": result.eigenvectors,
        "frobenius_norm": result.frobenius_norm,
        "gap": result.gap,
        "error_estimate": result.error_estimate,
        "mean": model.mean_,
    }


_EIGENPAIR_DEGREES = {
    "eigenvalues": 2,
    "eigenvectors": 0,
    "frobenius_norm": 1,
    "gap": 0,
    "error_estimate": 0,
    "mean": 1,
}


def streaming_case(
    name: str,
    merge: str | None,
    *,
    mirror: float = 1e-6,
    is_variant: bool = False,
    **options: Any,
) -> Case:
    """Return the case of one way to run StreamingEigh."""
    return Case(
        name=f"streaming-{name}",
        start=lambda: StreamingEigh(rng=7, **options),
        data=anisotropic_rows,
        take=_take_rows,
        answers=_eigenpairs,
        degrees=_EIGENPAIR_DEGREES,
        merge=merge,
        condition=100.0,
        mirror=mirror,
        is_variant=is_variant,
    )


# ------------------------------------------------------------------------------ regression


def numbered_equations(rng: np.random.Generator, is_complex: bool) -> Rows:
    """Return features, targets and row numbers of 1500 equations in 6 unknowns and a constant."""
    n, d = 1500, 6
    X, noise = rng.standard_normal((n, d)), rng.standard_normal((n, 1))
    coef = np.arange(1.0, d + 1)
    if is_complex:
        X = X + 1j * rng.standard_normal((n, d))
        noise = noise + 1j * rng.standard_normal((n, 1))
        coef = coef * (2.0 - 1.0j)
    y = X @ coef[:, None] + 0.7 + noise * np.asarray([0.5, 1.0])
    return X, y, np.arange(float(n))


def _take_equations(model: SketchedRegressor, rows: Rows) -> SketchedRegressor:
    X, y, numbers = rows
    start = int(to_numpy(numbers[:1])[0].real) if numbers.shape[0] else None
    return model.partial_fit(X, y, start=start)


def _coefficients(model: SketchedRegressor) -> dict[str, Any]:
    result = model.result()
    return {
        "coef": result.x[:-1, :],
        "intercept": result.x[-1:, :],
        "stderr": result.stderr[:-1, :],
        "upper": result.ci(0.9, simultaneous=True)[1][:-1, :],
        "residual_norm": float(result.residual_norm[1]),
        "b_norm": float(result.b_norm[1]),
        "condition": result.condition,
    }


def regression_case(name: str, *, is_variant: bool = False, **options: Any) -> Case:
    """Return the case of one way to run SketchedRegressor."""
    return Case(
        name=f"regression-{name}",
        start=lambda: SketchedRegressor(rng=7, **options),
        data=numbered_equations,
        take=_take_equations,
        answers=_coefficients,
        degrees={
            "coef": 0,
            "intercept": 1,
            "stderr": 0,
            "upper": 0,
            "residual_norm": 1,
            "b_norm": 1,
            "condition": 0,
        },
        merge="exact",
        condition=10.0,
        mirror=0.5,
        is_variant=is_variant,
    )


# ------------------------------------------------------------------------------------ svd


def _take_samples(model: IncrementalSVD, rows: Rows) -> IncrementalSVD:
    return model.partial_fit(rows[0])


def _triplets(model: IncrementalSVD) -> dict[str, Any]:
    result = model.result()
    lower, upper = result.sigma_bounds()
    return {
        "U": result.U,
        "s": result.s,
        "lower": lower,
        "upper": upper,
        "norm_fro": result.norm_fro,
        "error_fro": result.error_fro,
        "error_spectral_bound": result.error_spectral_bound,
    }


def svd_case(
    name: str, merge: str | None = "exact", *, is_variant: bool = True, **options: Any
) -> Case:
    """Return the case of one way to run IncrementalSVD."""
    return Case(
        name=f"svd-{name}",
        start=lambda: IncrementalSVD(2, **options),
        data=anisotropic_rows,
        take=_take_samples,
        answers=_triplets,
        degrees={
            "U": 0,
            "s": 1,
            "lower": 1,
            "upper": 1,
            "norm_fro": 1,
            "error_fro": 1,
            "error_spectral_bound": 1,
        },
        merge=merge,
        condition=100.0,
        is_variant=is_variant,
    )


CASES = [
    svd_case("auto", n_oversamples=22, is_variant=False),
    svd_case("truncated", "approximate", n_oversamples=10, buffer_size=24),
    svd_case("cholqr", "approximate", n_oversamples=4, method="cholqr", buffer_size=6),
    svd_case("centred", n_oversamples=22, center=True, buffer_size=48),
    regression_case("block-srht"),
    regression_case("gaussian", sketch="gaussian", m=40, is_variant=True),
    regression_case("sparse-sign", sketch="sparse_sign", fit_intercept=True, is_variant=True),
    streaming_case("gram", "exact", n_components=2, method="gram", is_variant=True),
    streaming_case("gram-centred", "exact", n_components=2, method="gram", center=True),
    streaming_case(
        "nystrom", "exact", n_components=2, method="nystrom", n_oversamples=6, mirror=0.3
    ),
    streaming_case("portfolio", "approximate", n_components=2, method="portfolio"),
    streaming_case(
        "portfolio-centred",
        "approximate",
        n_components=2,
        method="portfolio",
        center=True,
        is_variant=True,
    ),
    streaming_case(
        "block-power", "approximate", n_components=2, method="block-power", is_variant=True
    ),
    streaming_case(
        "block-power-paper",
        "approximate",
        n_components=1,
        method="block-power",
        history=False,
        n_rows=1500,
        is_variant=True,
    ),
    streaming_case(
        "frequent-directions",
        "approximate",
        n_components=2,
        method="frequent-directions",
        n_oversamples=6,
        is_variant=True,  # "arbitrary" runs it and the ladder
    ),
    streaming_case(
        "oja",
        None,
        n_components=1,
        method="oja",
        order="arbitrary",
        mirror=0.3,
        is_variant=True,
    ),
    streaming_case(
        "arbitrary",
        None,
        n_components=1,
        order="arbitrary",
        memory_budget=4000,
        n_oversamples=4,
    ),
    streaming_case(
        "forgetting", None, n_components=1, method="gram", forgetting=0.999, is_variant=True
    ),
]
