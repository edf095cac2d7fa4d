"""Row norms and the norms of a few products, in one read."""

from __future__ import annotations

import numpy as np
import pytest

from linalgkit._core.array import numpy_namespace
from linalgkit._kernels.probe import PROBES, probed_norms

from .test_dense import Draw, data

NP = numpy_namespace()
FORMS = tuple(form for form in probed_norms.forms() if form != "cupy")
DTYPES = ("float32", "float64", "complex64", "complex128")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cut", [slice(None), slice(None, None, 2), slice(None, None, -1)])
def test_norms_and_products(rng: Draw, form: str, dtype: str, cut: slice) -> None:
    X, Z = data(rng, dtype, 5000, 17)[cut], data(rng, dtype, 17, PROBES)
    norms, energies = probed_norms.forms()[form](NP, X, Z)
    wide = X.astype(np.complex128 if X.dtype.kind == "c" else np.float64)
    rtol = 100 * np.finfo(dtype).eps
    assert norms.dtype == energies.dtype == np.float64
    np.testing.assert_allclose(norms, (np.abs(wide) ** 2).sum(axis=1), rtol=rtol)
    np.testing.assert_allclose(energies, (np.abs(wide @ Z) ** 2).sum(axis=0), rtol=rtol)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_seen(rng: Draw, form: str, bad: float) -> None:
    X = data(rng, "float64", 100, 5)
    X[40, 2] = bad
    norms, energies = probed_norms.forms()[form](NP, X, np.ones((5, PROBES)))
    assert np.flatnonzero(~np.isfinite(norms)).tolist() == [40]
    assert not np.isfinite(energies).any()


def test_all_libraries(rng: Draw, xp) -> None:
    X, Z = data(rng, "float64", 300, 9), data(rng, "float64", 9, PROBES)
    norms, energies = probed_norms(xp.xp, xp.asarray(X), xp.asarray(Z))
    np.testing.assert_allclose(norms, (X**2).sum(axis=1), rtol=10 * xp.tolerance)
    np.testing.assert_allclose(energies, ((X @ Z) ** 2).sum(axis=0), rtol=10 * xp.tolerance)
