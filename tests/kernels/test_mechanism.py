"""The kernel mechanism: which form runs, when it is imported, what happens without Numba."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator

import array_api_strict
import numpy as np
import pytest

from linalgkit import _kernels
from linalgkit._core.array import numpy_namespace
from linalgkit._kernels import Kernel, _kernel, numba_available
from linalgkit._kernels.numba_forms import jit

NP = numpy_namespace()


@pytest.fixture
def fresh_registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(_kernel, "_REGISTRY", {})
    numba_available.cache_clear()
    yield
    numba_available.cache_clear()


def accelerated(xp: object, x: float) -> str:
    return f"numba {x}"


def make(**options: object) -> Kernel:
    return Kernel(
        "probe",
        portable=lambda xp, x: f"portable {x}",
        numba=f"{__name__}:accelerated",
        **options,  # type: ignore[arg-type]
    )


@pytest.mark.usefixtures("fresh_registry")
class TestChoice:
    def test_numpy_takes_the_numba_form_and_others_the_portable(self) -> None:
        kernel = make()
        assert kernel(NP, 1) == "numba 1"
        assert kernel(array_api_strict, 1) == "portable 1"

    def test_the_predicate_sends_arguments_to_the_portable_form(self) -> None:
        kernel = make(supports=lambda form, x: form == "numba" and x > 0)
        assert kernel(NP, 2) == "numba 2"
        assert kernel(NP, -2) == "portable -2"
        assert kernel.supports("portable", -2)
        assert not kernel.supports("numba", -2)

    def test_the_environment_disables_numba(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LINALGKIT_DISABLE_NUMBA", "1")
        kernel = make()
        assert kernel(NP, 1) == "portable 1"
        assert list(kernel.forms()) == ["portable"]

    def test_zero_in_the_environment_does_not(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LINALGKIT_DISABLE_NUMBA", "0")
        assert make()(NP, 1) == "numba 1"

    def test_a_missing_numba_is_no_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "numba", None)
        assert make()(NP, 1) == "portable 1"

    def test_forms_start_with_the_portable_one(self) -> None:
        assert list(make().forms()) == ["portable", "numba"]

    def test_names_are_unique(self) -> None:
        make()
        with pytest.raises(ValueError, match="'probe' a second time"):
            make()

    def test_the_registry_and_the_repr_name_every_form(self) -> None:
        kernel = make(cupy="nowhere:at_all")
        assert dict(_kernels.registered()) == {"probe": kernel}
        assert repr(kernel) == "Kernel('probe', forms=('portable', 'numba', 'cupy'))"


@pytest.mark.parametrize("name", _kernels.registered())
def test_registered_kernels_are_documented_and_loadable(name: str) -> None:
    kernel = _kernels.registered()[name]
    assert kernel.name == name
    assert kernel.__doc__
    assert "numba" in kernel.forms()
    for form in kernel._targets:
        assert callable(kernel._load(form))


def run(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_importing_the_library_imports_no_compiler() -> None:
    code = """
        import sys
        import linalgkit, linalgkit._kernels, linalgkit.streaming
        print(sorted({"numba", "llvmlite", "cupy", "torch", "jax"} & set(sys.modules)))
    """
    assert run(code) == "[]"


PRODUCT = """
    import sys
    if {blocked}:
        sys.modules["numba"] = None
    import numpy as np
    from linalgkit import _kernels
    from linalgkit._core.array import numpy_namespace
    X, Z = np.arange(12.0).reshape(4, 3), np.ones((3, 1))
    P, D = _kernels.normal_product(numpy_namespace(), X, Z)
    print("numba" in sys.modules and sys.modules["numba"] is not None, P[:, 0], D[:, 0])
"""
EXPECTED = "[ 3. 12. 21. 30.] [432. 498. 564.]"


@pytest.mark.parametrize(
    ("blocked", "disabled", "loaded"), [(False, "0", True), (True, "0", False), (False, "1", False)]
)
def test_the_same_answer_with_and_without_numba(blocked: bool, disabled: str, loaded: bool) -> None:
    found = run(PRODUCT.format(blocked=blocked), LINALGKIT_DISABLE_NUMBA=disabled)
    assert found == f"{loaded} {EXPECTED}"


def test_functions_compile_where_no_cache_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    compile_function = jit.numba.njit

    def without_cache(cache: bool = False, **options: object) -> object:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return compile_function(**options)

    with monkeypatch.context() as patch:
        patch.setattr(jit.numba, "njit", without_cache)
        double = jit.jit(lambda x: 2 * x)
    assert double(np.float64(4)) == 8
