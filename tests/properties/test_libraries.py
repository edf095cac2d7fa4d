"""What does not work with JAX and torch is refused in words; what works leaves no trace."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from linalgkit import AccuracyWarning
from linalgkit._core import capabilities
from linalgkit._core.array import array_namespace, to_numpy
from linalgkit.streaming import top_eigenvector
from linalgkit.svd import truncated_svd
from tests.properties.calls import CALLS, Call

FIRST = list({call.entry: call for call in reversed(CALLS)}.values())
every_entry = pytest.mark.parametrize("call", FIRST, ids=lambda call: call.entry)


@every_entry
def test_under_a_tracer_every_function_says_that_it_is_eager(call: Call) -> None:
    jax = pytest.importorskip("jax")
    assert not capabilities.get(call.entry).lazy

    def traced(one: Any) -> Any:
        call.run(lambda host: jax.numpy.asarray(host) * one.astype(np.asarray(host).dtype))
        return one

    with pytest.raises(TypeError, match=r"eager only.*outside of jax\.jit"):
        jax.make_jaxpr(traced)(np.ones(()))


@pytest.mark.parametrize("transform", ["jit", "grad", "vmap"])
def test_transformations_of_jax_are_named(transform: str) -> None:
    jax = pytest.importorskip("jax")
    work = getattr(jax, transform)(lambda x: truncated_svd(x, 1).s[0])
    with pytest.raises(TypeError, match=r"eager only.*jax\.grad"):
        work(jax.numpy.ones((2, 3, 2)) if transform == "vmap" else jax.numpy.ones((3, 2)))


def test_the_way_out_that_is_named_works() -> None:
    jax = pytest.importorskip("jax")

    def largest(x: Any) -> Any:
        shape = jax.ShapeDtypeStruct((1,), x.dtype)
        return jax.pure_callback(lambda y: to_numpy(truncated_svd(y, 1).s), shape, x)

    A = np.diag([3.0, 4.0])
    np.testing.assert_allclose(jax.jit(largest)(A), [4.0], rtol=1e-14)


def test_without_x64_everything_is_single_precision_and_says_so() -> None:
    jax = pytest.importorskip("jax")
    A = np.diag([3.0, 4.0])
    with jax.enable_x64(False):
        found = truncated_svd(jax.numpy.asarray(A), 1)
        assert found.s.dtype == found.U.dtype == jax.numpy.float32
    assert abs(float(found.s[0]) - 4.0) < 4 * 1.2e-7 * 4.0
    exact = truncated_svd(A, 1)
    assert 3.0 <= exact.error_spectral_bound < found.error_spectral_bound < 3.001


@every_entry
def test_torch_without_values_is_refused(call: Call) -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=r"eager only.*meta"):
        call.run(lambda host: torch.asarray(np.array(host)).to("meta"))


@every_entry
def test_torch_with_gradients_leaves_neither_warning_nor_graph(call: Call) -> None:
    torch = pytest.importorskip("torch")

    def put(host: Any) -> Any:
        made = torch.asarray(np.array(host))
        return made.requires_grad_() if made.dtype.is_floating_point else made

    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)  # else once a process
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", AccuracyWarning)
            call.make(put)(call.steps[0] if call.step else 1)
    finally:
        torch.set_warn_always(before)


def test_answers_hold_no_graph() -> None:
    torch = pytest.importorskip("torch")
    A = torch.asarray(np.arange(12.0).reshape(4, 3) ** 2).requires_grad_()
    assert not truncated_svd(A, 1).U.requires_grad
    assert not top_eigenvector(A).eigenvectors.requires_grad


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_half_precision_is_worked_on_in_single(name: str) -> None:
    torch = pytest.importorskip("torch")
    A = torch.asarray(np.diag([1.0, 2.0, 4.0])).to(getattr(torch, name))
    found = truncated_svd(A, 1)
    assert found.s.dtype == torch.float32
    assert float(found.s[0]) == pytest.approx(4.0, rel=1e-6)
    assert to_numpy(A).max() == 4.0


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_completion_refuses_half_precision(name: str) -> None:
    torch = pytest.importorskip("torch")
    refused = [call for call in FIRST if call.entry.startswith("completion.")]
    for call in refused:
        with pytest.raises(TypeError, match=f"at least single precision, got {name}"):
            call.run(
                lambda host: torch.asarray(np.array(host)).to(
                    getattr(torch, name) if np.asarray(host).dtype.kind == "f" else torch.int64
                )
            )


def test_bfloat16_of_jax_comes_to_the_host_as_float32() -> None:
    jax = pytest.importorskip("jax")
    x = jax.numpy.asarray([1.0, 2.5], dtype=jax.numpy.bfloat16)
    assert to_numpy(x).dtype == np.float32
    np.testing.assert_array_equal(to_numpy(x), [1.0, 2.5])
    assert array_namespace(x) is not None
