"""The CUDA sources compile for real devices and, run on the host, agree with the portable form.

Neither check needs a device: the first needs nvcc, the second a C++ compiler.
"""

from __future__ import annotations

import shutil
import subprocess
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from linalgkit import _kernels
from linalgkit._core.array import numpy_namespace
from linalgkit._kernels import cupy_forms
from linalgkit._kernels.cupy_forms import (
    accept,
    dense,
    embedding,
    hadamard,
    kron_pass,
    ladder,
    launch,
    normal,
    observed,
    sparse,
)
from linalgkit._kernels.kron_pass import kron_pass as kron_sums
from linalgkit._kernels.kron_pass import kron_weighted
from linalgkit._kernels.observed import Lines

NP = numpy_namespace()

pytestmark = pytest.mark.usefixtures("launch_on_host")

INSTANCES = {
    "accept": [
        f"accept_proposals<{t}, {s}>"
        for t, s in (
            ("float", "double"),
            ("double", "double"),
            ("Complex<float>", "Complex<double>"),
            ("Complex<double>", "Complex<double>"),
        )
    ],
    "chebyshev": [
        "chebyshev_rows<float>",
        "chebyshev_rows<double>",
        "panel_rows<float, float, double, int>",
        "panel_rows<Complex<double>, double, Complex<double>, long long>",
        *(
            f"row_contract<{t}, {s}>"
            for t, s in (
                ("float", "double"),
                ("double", "double"),
                ("Complex<float>", "Complex<double>"),
                ("Complex<double>", "Complex<double>"),
            )
        ),
    ],
    "dense": [
        *(
            f"normal_product<{t}, {m}, {is_residual}>"
            for t, m, is_residual in product(("float", "double"), (1, 8), ("false", "true"))
        ),
        "row_norms_squared<float>",
        "row_norms_squared<double>",
        "sum_partials",
    ],
    "embedding": ["segment_sums<float>", "segment_sums<double>"],
    "hadamard": [
        *(f"butterflies<{t}, {r}>" for t, r in product(("float", "double"), (2, 4, 8, 16, 32))),
        "place_rows<float>",
        "place_rows<double>",
    ],
    "hermitian_sampling": ["hermitian_sampling<double>", "hermitian_sampling<Complex<double>>"],
    "kron_pass": [
        "kron_columns",
        *(f"{name}<{t}>" for name in ("kron_rows", "kron_weighted") for t in ("float", "double")),
    ],
    "ladder": [
        "ladder_solve<double, double>",
        "ladder_solve<double, Complex<double>>",
        "ladder_solve<Complex<double>, Complex<double>>",
    ],
    "normal": ["normal_rows<float>", "normal_rows<double>"],
    "observed": [
        f"{name}<{types}, {index}>"
        for name, types in (
            *product(
                ("pcg_rows", "residual_rows"),
                ("float, double, float", "Complex<double>, Complex<double>, double"),
            ),
            *product(
                ("entries", "gather_sum"), ("double, double", "Complex<float>, Complex<double>")
            ),
        )
        for index in ("int", "long long")
    ],
    "probe": [f"probed_norms<{t}, {m}>" for t, m in product(("float", "double"), (3, 6))],
    "removal": [
        f"{name}<{t}>"
        for name, t in product(("candidates", "choose"), ("double", "Complex<double>"))
    ],
    "residual": [
        f"csr_residual_product<{types}, {i}, {q}>"
        for types, i, q in product(
            ("float, double", "Complex<double>, Complex<double>"), ("int", "long long"), (1, 4)
        )
    ],
    "tensor_basis": [
        "recurrence_table<float>",
        "recurrence_table<double>",
        "recurrence_values",
        *(f"tensor_basis<{t}>" for t in ("float", "double", "Complex<float>", "Complex<double>")),
    ],
    "thinning": [
        f"rows_of_product<{types}>"
        for types in ("float, double", "double, double", "Complex<float>, Complex<double>")
    ],
    "sparse": [
        "csr_row_norms_squared<float, double, int>",
        "csr_row_norms_squared<Complex<double>, Complex<double>, long long>",
        *(
            f"csr_normal_product<{types}, {i}, {q}>"
            for types, i, q in product(
                ("float, double", "Complex<double>, Complex<double>"), ("int", "long long"), (1, 4)
            )
        ),
    ],
}


def data(rng: np.random.Generator, dtype: str, *shape: int) -> np.ndarray:
    values = rng.standard_normal(shape)
    if dtype.startswith("complex"):
        values = values + 1j * rng.standard_normal(shape)
    return values.astype(dtype)


def test_every_source_is_in_the_list() -> None:
    folder = Path(cupy_forms.__file__).parent
    assert {path.stem for path in folder.glob("*.cu")} == {*INSTANCES, "scalars"}


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")
@pytest.mark.parametrize("name", INSTANCES)
def test_nvcc_compiles_every_instance_without_spilling(name: str, tmp_path: Path) -> None:
    uses = "\n".join(f"auto use_{i} = {e};" for i, e in enumerate(INSTANCES[name]))
    source = tmp_path / f"{name}.cu"
    source.write_text(f"{launch.source(name)}\n{uses}\n")
    command = ["nvcc", *launch.OPTIONS, "-arch=sm_80", "-Werror", "all-warnings", "-cubin"]
    done = subprocess.run(
        [*command, "-Xptxas", "-v", "-o", tmp_path / "out.cubin", source],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    compiled = done.stderr.count("Compiling entry function")
    assert compiled == len(INSTANCES[name]), done.stderr
    assert done.stderr.count(" 0 bytes spill stores") == compiled, done.stderr


def assert_all_close(found: tuple, expected: tuple, dtype: str) -> None:
    rtol = 300 * np.finfo(dtype).eps
    for a, b in zip(found, expected, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(a, b, rtol=0, atol=rtol * max(1e-300, np.abs(b).max(initial=0)))


@pytest.mark.parametrize(
    ("dtype", "b", "d", "q"),
    [
        ("float32", 70, 300, 3),
        ("float64", 33, 270, 2),
        ("float64", 5, 1, 2),
        ("float64", 0, 4, 2),
        ("complex64", 33, 150, 2),
        ("complex128", 35, 140, 1),
    ],
)
def test_fused_product_on_the_host(
    rng: np.random.Generator, dtype: str, b: int, d: int, q: int
) -> None:
    X, Z = data(rng, dtype, b, d), data(rng, dtype, d, q)
    found = dense.normal_product_norms(NP, X, Z)
    expected = _kernels.normal_product_norms.forms()["portable"](NP, X, Z)
    assert_all_close(found, expected, dtype)
    assert_all_close(dense.normal_product(NP, X, Z), expected[:2], dtype)
    assert_all_close((dense.row_norms_squared(NP, X),), expected[2:], dtype)


@pytest.mark.parametrize(
    ("dtype", "b", "d", "q"),
    [
        ("float32", 70, 300, 3),
        ("float64", 33, 270, 4),
        ("float64", 5, 1, 2),
        ("complex64", 34, 150, 2),
        ("complex128", 35, 140, 1),
    ],
)
def test_residual_on_the_host(rng: np.random.Generator, dtype: str, b: int, d: int, q: int) -> None:
    wide = "complex128" if dtype.startswith("complex") else "float64"
    X, Z, B = data(rng, dtype, b, d), data(rng, wide, d, q), data(rng, wide, 2 * b, q)[::2]
    found = dense.residual_product(NP, X, Z, B)
    expected = _kernels.residual_product.forms()["portable"](NP, X, Z, B)
    assert_all_close(found, expected, wide)


def test_rounding_of_a_gradient_does_not_grow_with_rows_on_the_host() -> None:
    n, wide = 20_000, np.longdouble
    X, Z, B = np.full((n, 1), 0.1), np.full((1, 1), 0.3), np.full((n, 1), 1.1)
    R, D = dense.residual_product(NP, X, Z, B)
    exact = np.sum(X.astype(wide) * R)
    assert abs(float(D[0, 0] - exact)) <= 8 * 2.0**-53 * float(exact)


def test_strided_rows_on_the_host(rng: np.random.Generator) -> None:
    whole, Z = data(rng, "complex64", 21, 50), data(rng, "complex64", 30, 2)
    for X in (whole[::2, 7:37], whole[::-1, 20:]):
        found = dense.normal_product_norms(NP, X, Z)
        expected = _kernels.normal_product_norms.forms()["portable"](NP, X, Z)
        assert_all_close(found, expected, "complex64")


def test_nan_stays_in_its_row_on_the_host(rng: np.random.Generator) -> None:
    X, Z = data(rng, "float64", 9, 40), data(rng, "float64", 40, 2)
    X[6, 3] = np.nan
    P, D, norms = dense.normal_product_norms(NP, X, Z)
    assert np.array_equal(np.isfinite(norms), np.arange(9) != 6)
    assert np.array_equal(np.isfinite(P[:, 0]), np.arange(9) != 6)
    assert np.isnan(D).all()


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize(("b", "m"), [(1, 1), (40, 3), (300, 2), (0, 3)])
def test_ladder_on_the_host(rng: np.random.Generator, dtype: str, b: int, m: int) -> None:
    X, P = data(rng, dtype, b, 20), data(rng, dtype, b, m)
    G, rates = X @ X.conj().T, 1e-3 * 2.0 ** -np.arange(m)
    expected = _kernels.ladder_solve.forms()["portable"](NP, G, rates, P)
    found = ladder.ladder_solve(NP, G, rates, P)
    assert_all_close((found,), (expected,), dtype)


@pytest.mark.parametrize(("dtype", "q"), [("float32", 1), ("float64", 3), ("complex64", 2)])
def test_csr_product_on_the_host(rng: np.random.Generator, dtype: str, q: int) -> None:
    S = sp.csr_array(data(rng, dtype, 40, 90) * (rng.random((40, 90)) < 0.3))
    S.data[S.indptr[7] : S.indptr[8]] = 0
    Z = data(rng, dtype, 90, q)
    expected = _kernels.csr_normal_product_norms.forms()["portable"](NP, S, Z)
    found = sparse.csr_normal_product_norms(NP, S, Z)
    assert_all_close(found, expected, dtype)
    assert_all_close(sparse.csr_normal_product(NP, S, Z), expected[:2], dtype)


DTYPES = ("float32", "float64", "complex64", "complex128")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("N", "d"), [(1, 3), (2, 1), (64, 5), (2048, 2)])
def test_transform_on_the_host(rng: np.random.Generator, dtype: str, N: int, d: int) -> None:
    X = data(rng, dtype, N, d)
    expected = _kernels.fwht.forms()["portable"](NP, X)
    assert_all_close((hadamard.fwht(NP, X),), (expected,), dtype)
    assert_all_close((hadamard.fwht(NP, np.asfortranarray(X)),), (expected,), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize(("n", "N"), [(64, 64), (50, 64), (0, 8), (1, 1)])
def test_rows_of_the_transform_on_the_host(
    rng: np.random.Generator, dtype: str, ordered: bool, n: int, N: int
) -> None:
    X, signs = data(rng, dtype, n, 9)[::-1], rng.choice([-1, 1], n).astype(np.int8)
    order = rng.permutation(N)[:n] if ordered else None
    places, weights = rng.integers(0, N, 21), rng.standard_normal(21)
    rows = X, order, signs, N, places
    ends = np.array([0, 20, 20, 21])
    for name, call, rest in (
        ("hadamard_rows", hadamard.hadamard_rows, ()),
        ("hadamard_pool", hadamard.hadamard_pool, (weights, ends)),
    ):
        expected = _kernels.registered()[name].forms()["portable"](NP, *rows, *rest)
        assert_all_close((call(NP, *rows, *rest),), (expected,), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ordered", [False, True])
def test_blocks_of_transforms_on_the_host(
    rng: np.random.Generator, dtype: str, ordered: bool
) -> None:
    X, signs = data(rng, dtype, 40, 9), rng.choice([-1.0, 1.0], 40)
    order = np.concatenate([rng.permutation(16), rng.permutation(16), rng.permutation(16)[:8]])
    places, weights = rng.integers(0, 16, (3, 5)), rng.standard_normal((3, 5))
    arguments = X, order if ordered else None, signs, 16, places, weights
    expected = _kernels.hadamard_blocks.forms()["portable"](NP, *arguments)
    assert_all_close((hadamard.hadamard_blocks(NP, *arguments),), (expected,), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("b", "d", "s", "m"), [(60, 70, 3, 5), (1, 1, 1, 2), (0, 3, 2, 2)])
def test_sparse_sketch_on_the_host(
    rng: np.random.Generator, dtype: str, b: int, d: int, s: int, m: int
) -> None:
    X, positions = data(rng, dtype, b, d + 3)[:, 3:], rng.integers(0, m, (b, s))
    signs = rng.choice([-1, 1], (b, s)).astype(np.int8)
    expected = _kernels.sparse_embed.forms()["portable"](NP, X, positions, signs, m)
    found = embedding.sparse_embed(NP, X, positions, signs, m)
    assert_all_close((found,), (expected,), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("first", "rows", "m"), [(0, 3, 8), (2**40, 70, 5), (1, 0, 3)])
def test_normal_rows_on_the_host(dtype: str, first: int, rows: int, m: int) -> None:
    arguments = (2**64 - 1, 7), (2**64 - 1, 5, 3), first, rows, m, "cpu", np.dtype(dtype)
    expected = _kernels.normal_rows.forms()["portable"](NP, *arguments)
    found = normal.normal_rows(NP, *arguments)
    real = expected.real.dtype
    difference = np.abs(found.view(real) - expected.view(real))
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    assert np.all(difference <= 8 * np.spacing(np.abs(expected.view(real))))


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize(("b", "need"), [(60, 60), (300, 17), (1, 1), (0, 3)])
def test_acceptance_on_the_host(rng: np.random.Generator, dtype: str, b: int, need: int) -> None:
    R = data(rng, dtype, b, 20)
    H, uniforms = R @ R.conj().T, rng.random(b)
    envelope = np.real(np.diag(H)).astype(np.float64)
    arguments = H, uniforms * envelope, need, 1e-5
    expected = _kernels.registered()["accept_proposals"].forms()["portable"](NP, *arguments)
    assert accept.accept_proposals(NP, *arguments).tolist() == expected.tolist()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "m", "L"), [(1, 1, 1), (300, 70, 1), (1, 5, 2), (11, 1, 3)])
def test_sums_over_rotated_data_on_the_host(
    rng: np.random.Generator, dtype: str, n: int, m: int, L: int
) -> None:
    arguments = data(rng, dtype, n, m, L), rng.random(n), rng.random(m), 0.1
    found = kron_pass.kron_pass(NP, *arguments)
    assert_all_close(found, kron_sums.forms()["portable"](NP, *arguments), "float64")
    weights = rng.random(n), rng.random(m)
    weighted = kron_pass.kron_weighted(NP, *arguments, *weights)
    expected = kron_weighted.forms()["portable"](NP, *arguments, *weights)
    assert_all_close((weighted,), (expected,), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("k", "loss", "full"), [(1, 0, False), (7, 1, True), (70, 2, True)])
def test_sums_over_observed_entries_on_the_host(
    rng: np.random.Generator, dtype: str, k: int, loss: int, full: bool
) -> None:
    lengths, n = np.asarray([0, 1, 33, 90, 0, 5]), 90
    indices = np.concatenate([np.sort(rng.permutation(n)[:p]) for p in lengths])
    lines = Lines(np.append(0, np.cumsum(lengths)), indices, n, NP, "cpu")
    y, shift, F = (data(rng, dtype, *s) for s in ((lines.count,), (n,), (n, k)))
    real = y.real.dtype
    w = (1 + rng.random(lines.count)).astype(real) if full else None
    X, diagonals = data(rng, dtype, lengths.size, k), (1 + rng.random((3, k))).astype(real)
    given = y, w, F, X, shift if full else None, *diagonals, 3, 1e-3, loss, 0.8
    assert_solved(observed.pcg_rows(NP, lines, *given), solve(NP, lines, *given), dtype)
    for values, G in ((y, F), (y, None), (None, F)):
        given = values, w, X, F, G, loss, 0.8
        found = observed.residual_rows(NP, lines, *given)
        expected = _kernels.registered()["residual_rows"].forms()["portable"](NP, lines, *given)
        skip = int(G is None)
        assert_all_close(found[skip:], expected[skip:], dtype)
    for name, arguments in (("entries", (X, F)), ("gather_sum", (y, F))):
        found = getattr(observed, name)(NP, lines, *arguments)
        expected = _kernels.registered()[name].forms()["portable"](NP, lines, *arguments)
        assert_all_close((found,), (expected,), dtype)


def solve(*arguments: object) -> tuple:
    return _kernels.registered()["pcg_rows"].forms()["portable"](*arguments)


def assert_solved(found: tuple, expected: tuple, dtype: str) -> None:
    """Compare solutions and relative norms; steps that follow convergence were left out."""
    assert found[2] == expected[2]
    bound = 3000 * np.finfo(dtype).eps
    for a, b in zip(found[:2], expected[:2], strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(a, b, rtol=bound, atol=bound)
