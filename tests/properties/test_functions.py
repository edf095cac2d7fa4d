"""What every function of one call promises, whatever it computes."""

from __future__ import annotations

import copy
import dataclasses
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from linalgkit import bayes, chebyshev, regression, sampling, sketching, streaming
from linalgkit._core import array as core_array
from tests.conftest import BACKENDS, Backend
from tests.properties.functions import FUNCTIONS, Arrays, Function

every_function = pytest.mark.parametrize("function", FUNCTIONS, ids=str)
OTHER_LIBRARIES = [
    pytest.param(function, backend, id=f"{function}-{backend}")
    for function in FUNCTIONS
    for backend in BACKENDS
    if str(backend) in ("strict-device1", "torch") or (str(backend) == "jax" and function.on_jax)
]


def _data(function: Function, is_complex: bool = False) -> Arrays:
    return function.data(np.random.default_rng(11), is_complex)


def _narrow(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return x.astype({"f": np.float32, "c": np.complex64}.get(x.dtype.kind, x.dtype))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, complex, np.generic))


def _host(value: Any) -> np.ndarray[Any, Any]:
    return np.asarray(value if _is_number(value) else core_array.to_numpy(value))


def _assert_close(found: dict[str, Any], expected: dict[str, Any], tolerance: float) -> None:
    assert found.keys() == expected.keys()
    for name in found:
        a, b = _host(found[name]), _host(expected[name])
        assert a.shape == b.shape, name
        scale = float(np.max(np.abs(b), initial=0.0))
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * scale, err_msg=name)


def _same_bits(found: dict[str, Any], expected: dict[str, Any]) -> bool:
    return all(np.array_equal(_host(found[n]), _host(expected[n])) for n in expected)


@pytest.mark.parametrize(("function", "backend"), OTHER_LIBRARIES)
def test_every_library_gives_the_answer_of_numpy(function: Function, backend: Backend) -> None:
    for is_complex in (False, True)[: 1 + function.is_complex]:
        data = _data(function, is_complex)
        expected = function.found(*data)
        arrays = tuple(backend.asarray(x) for x in data)
        found = function.found(*arrays)
        _assert_close(found, expected, function.tolerance)
        for value in found.values():
            if not _is_number(value):
                assert core_array.library_of(value) == core_array.library_of(arrays[0])
                assert core_array.device(value) == backend.device


@every_function
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_single_precision_is_kept_and_near_double(function: Function, library: str) -> None:
    backend = {str(b): b for b in BACKENDS}[library]
    for is_complex in (False, True)[: 1 + function.is_complex]:
        data = _data(function, is_complex)
        expected = function.found(*data)
        found = function.found(*(backend.asarray(_narrow(x)) for x in data))
        for name, value in found.items():
            if name not in function.wide and not _is_number(value):
                kind = core_array.dtype_name(backend.xp, value.dtype)
                assert kind in ("float32", "complex64") or "int" in kind, name
        _assert_close(found, expected, max(2e-3, 1e3 * function.tolerance))


@every_function
def test_arrays_of_the_caller_are_only_read_and_repeats_agree(function: Function) -> None:
    data = _data(function, function.is_complex)
    before = [x.copy() for x in data]
    for x in data:
        x.setflags(write=False)
    found = function.found(*data)
    for x, copied in zip(data, before, strict=True):
        np.testing.assert_array_equal(x, copied)
    assert _same_bits(function.found(*before), found)
    for x, copied in zip(data, before, strict=True):
        np.testing.assert_array_equal(copied, x)


@pytest.mark.parametrize("function", [f for f in FUNCTIONS if f.units is not None], ids=str)
@pytest.mark.parametrize("factor", [1e150, 1e-150])
def test_answers_scale_with_the_data(function: Function, factor: float) -> None:
    data = _data(function)
    units = function.units
    assert units is not None
    found = function.found(*(x * factor**u for x, u in zip(data, units, strict=True)))
    for name, power in function.degrees.items():
        if name in found:
            for _ in range(abs(power)):
                change = np.divide if power > 0 else np.multiply
                found[name] = change(_host(found[name]), factor)
    _assert_close(found, function.found(*data), max(1e-9, function.tolerance))


@pytest.mark.parametrize(
    "function", [f for f in FUNCTIONS if f.is_complex and not f.is_random], ids=str
)
def test_conjugate_data_have_the_conjugate_answer(function: Function) -> None:
    data = _data(function, is_complex=True)
    found = function.found(*data)
    mirrored = function.found(*(x.conj() for x in data))
    _assert_close(
        {name: np.conj(_host(value)) for name, value in mirrored.items()},
        found,
        max(1e-9, function.tolerance),
    )


@every_function
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_bad_numbers_are_refused(function: Function, bad: float) -> None:
    data = _data(function)
    for i, x in enumerate(data):
        if x.dtype.kind != "f" or (function.marks_missing and math.isnan(bad)):
            continue
        poisoned = x.copy()
        poisoned[(-1,) * x.ndim] = bad
        arrays = [poisoned if j == i else y for j, y in enumerate(data)]
        with pytest.raises(ValueError, match=r"(?i)finite|nan|inf"):
            function.found(*arrays)


@every_function
def test_results_are_frozen_short_to_print_copied_and_pickled(function: Function) -> None:
    result = function.run(*_data(function))
    expected = function.answers(result)
    assert len(repr(result)) < 1000 or isinstance(result, np.ndarray)
    if dataclasses.is_dataclass(result):
        with pytest.raises((dataclasses.FrozenInstanceError, AttributeError)):
            setattr(result, dataclasses.fields(result)[0].name, None)
        status = getattr(result, "status", "none")
        assert isinstance(status, str)
        assert " " not in status
        assert "array" not in repr(result)
    makers = [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
    for twin in (make(result) for make in makers):
        assert _same_bits(function.answers(twin), expected)


# ---------------------------------------------------------------------------------- containers


def _equations() -> Arrays:
    X = np.random.default_rng(0).integers(-9, 10, (40, 3)).astype(float)
    return X, X @ np.asarray([1.0, 2.0, 3.0]) + np.arange(40.0) % 5


def _kron_equations() -> Arrays:
    rng = np.random.default_rng(1)
    H1, H2 = rng.standard_normal((6, 4)), rng.standard_normal((5, 3))
    return H1, H2, 10.0 * np.kron(H1, H2)[:, 2] + 0.1 * rng.standard_normal(30)


def _points() -> Arrays:
    return (np.asarray([[0.0, 1.0], [2.0, 3.0]]),)


PRODUCT = chebyshev.chebtucker(lambda x: x[:, 0] * x[:, 1], [(-4, 4)] * 2, rng=0)
TAKEN: dict[str, tuple[Callable[[], Arrays], Callable[..., Any]]] = {
    "lstsq": (_equations, lambda X, y: regression.lstsq(X, y).x),
    "kron_sbl": (_kron_equations, lambda A, B, y: bayes.kron_sbl([A, B], y, noise_var=1.0).coef),
    "sketch": (_equations, lambda X, _: sketching.sketch("srht", 8, 40, rng=0) @ X),
    "adjoint": (_equations, lambda X, _: sketching.sketch("srht", 40, 64, rng=0).adjoint() @ X),
    "volume_sample": (_equations, lambda X, _: sampling.volume_sample(X, 9, rng=0)),
    "map_dpp": (_equations, lambda X, _: sampling.map_dpp(X, 3).indices),
    "ChebTucker": (_points, PRODUCT),
    "ChebTucker.gradient": (_points, PRODUCT.gradient),
    "StreamingEigh": (
        _equations,
        lambda X, _: streaming.StreamingEigh(1, method="gram", gap_warn=0).fit(X).components_,
    ),
}


@pytest.mark.parametrize("name", TAKEN)
def test_lists_and_dataframes_are_taken(name: str) -> None:
    make, call = TAKEN[name]
    data = make()
    frames = [(pd.Series if x.ndim == 1 else pd.DataFrame)(x) for x in data]
    expected = call(*data)
    np.testing.assert_array_equal(call(*frames), expected)
    np.testing.assert_array_equal(call(*(x.tolist() for x in data)), expected)
    if all((x == np.round(x)).all() for x in data):
        np.testing.assert_array_equal(call(*(x.astype("Int64") for x in frames)), expected)


def test_columns_without_numbers_are_named() -> None:
    table = pd.DataFrame({"height": [1.0, 2.0], "name": ["a", "b"]})
    for take in (streaming.StreamingEigh(1).fit, lambda X: sampling.volume_sample(X, 2)):
        with pytest.raises(TypeError, match="column 'name'"):
            take(table)


@pytest.mark.parametrize("source", ["rows.npy", ["part0.npy", "part1.npy"], Path("rows.npy")])
def test_names_of_files_are_answered_by_how_to_open_them(source: Any) -> None:
    with pytest.raises(TypeError, match=r"numpy\.load.*linalgkit\.distributed\.fit"):
        streaming.StreamingEigh(1).fit(source)
