"""Namespaces, devices and dtypes: the only module that imports array_api_compat.

Every public function asks :func:`array_namespace` once and hands the answer down::

    xp = array_namespace(X)
    dtype = working_dtype(xp, device(X), X.dtype)
    Z = asarray(host_draw, xp=xp, device=device(X), dtype=dtype)

Host scalars leave a device only through ``float()`` or :func:`to_numpy`, so that every
synchronisation can be found by searching for those two names.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import array_api_compat
import numpy as np

Array: TypeAlias = Any
Namespace: TypeAlias = Any
DType: TypeAlias = Any
Device: TypeAlias = Any

#: Names of the array libraries that are known.
LIBRARIES = ("numpy", "cupy", "torch", "jax", "array_api_strict")
_HALF = ("float16", "bfloat16")
_DENSE_LAYOUT = "torch.strided"
_BFLOAT16 = "torch.bfloat16"


def type_root(x: object) -> str:
    """Return the top-level package that defines the type of `x`."""
    return type(x).__module__.partition(".")[0]


def is_sparse(x: object) -> bool:
    """Tell whether `x` is a scipy.sparse or cupyx.scipy.sparse container."""
    module = type(x).__module__
    return module.startswith(("scipy.sparse.", "cupyx.scipy.sparse")) and hasattr(x, "nnz")


def is_dask(x: object) -> bool:
    """Tell whether `x` is a dask.array, without importing dask."""
    return type_root(x) == "dask" and hasattr(x, "__dask_graph__")


def _refuse_foreign(x: object) -> None:
    """Raise a TypeError for kinds that would be misread further down."""
    _refuse_without_values(x)
    if isinstance(x, np.matrix):
        raise TypeError(
            "an array is required, got numpy.matrix, whose `*` and indexing differ. "
            "Pass numpy.asarray(x) instead."
        )
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(
            "an array without a mask is required, got numpy.ma.MaskedArray. "
            "Fill it first (x.filled(value)) or drop the masked rows."
        )
    if is_sparse(x):
        raise TypeError(
            f"a dense array is required here, got the sparse {type(x).__name__}. "
            "Pass it where sparse input is documented, or x.toarray() if it is small."
        )
    if type_root(x) == "torch" and str(getattr(x, "layout", _DENSE_LAYOUT)) != _DENSE_LAYOUT:
        raise TypeError(
            f"a dense array is required here, got a torch tensor of layout {x.layout}. "  # type: ignore[attr-defined]
            "Pass x.to_dense() if it is small, or its entries as a scipy.sparse matrix."
        )
    if not array_api_compat.is_array_api_obj(x):
        raise TypeError(
            f"an array is required, got {type(x).__name__}. Pass an array of numpy, cupy, "
            "torch, jax or array_api_strict, for instance numpy.asarray(x)."
        )
    if isinstance(x, np.ndarray) and x.dtype.kind not in "biufc":
        raise TypeError(
            f"a numeric array is required, got dtype {x.dtype}. "
            "Convert it first, for instance x.astype(float)."
        )


def _refuse_without_values(x: object) -> None:
    """Raise a TypeError for what stands for an array: a JAX tracer, a torch tensor on "meta"."""
    root = type_root(x)
    if root == "jax" and type(x).__name__.endswith("Tracer"):
        raise TypeError(
            "linalgkit is eager only: it looks at the values, and a JAX tracer "
            f"({type(x).__name__}) has none. Call it outside of jax.jit, jax.vmap and jax.grad, "
            "or within through jax.pure_callback."
        )
    if root == "torch" and getattr(getattr(x, "device", None), "type", "") == "meta":
        raise TypeError(
            "linalgkit is eager only: it looks at the values, and a torch tensor on the meta "
            "device has none. Move the data to a device that holds them first."
        )


def detached(x: Any) -> Any:
    """Return a torch tensor without its graph, so that nothing keeps it; others as they are."""
    return x.detach() if getattr(x, "requires_grad", False) and hasattr(x, "detach") else x


def array_namespace(*arrays: object) -> Namespace:
    """Return the array-API namespace common to `arrays`.

    Parameters
    ----------
    *arrays : array
        One or more arrays of one library.

    Returns
    -------
    module
        The (compat-wrapped) namespace.

    Raises
    ------
    TypeError
        For lists, ``numpy.matrix``, masked, sparse or non-numeric arrays, for arrays without
        values (under ``jax.jit``, on torch's meta device), and for arrays of two libraries in
        one call.
    """
    for x in arrays:
        _refuse_foreign(x)
    roots = sorted({library_of(x) for x in arrays})
    if len(roots) > 1:
        raise TypeError(
            f"all arrays must come from one library, got {' and '.join(roots)}. "
            "Convert one side explicitly before the call."
        )
    return array_api_compat.array_namespace(*arrays)


def library_of(x: object) -> str:
    """Return the name of the library that made the array `x`."""
    for name in LIBRARIES:
        if getattr(array_api_compat, f"is_{name}_array", lambda _: False)(x):
            return name
    root = type_root(x)
    return "jax" if root == "jaxlib" else root


def library_name(xp: Namespace) -> str:
    """Return ``"numpy"``, ``"cupy"``, ``"torch"``, ``"jax"`` or ``"array_api_strict"``."""
    parts = str(xp.__name__).split(".")
    return parts[1] if parts[0] == "array_api_compat" else parts[0]


def numpy_namespace() -> Namespace:
    """Return the namespace of NumPy, for input that brings none (scipy.sparse, draws)."""
    return array_api_compat.array_namespace(np.empty(0))


def device(x: Array) -> Device:
    """Return the device on which `x` lies."""
    return array_api_compat.device(x)


def to_device(x: Array, target: Device) -> Array:
    """Move `x` to a device of its own library."""
    return array_api_compat.to_device(x, target)


def namespace_of(x: object) -> tuple[Namespace, Device]:
    """Return namespace and device of a dense or sparse array.

    scipy.sparse answers with NumPy, cupyx.scipy.sparse with CuPy: the library of the dense
    arrays that its products return.
    """
    if is_sparse(x):
        data = x.data if hasattr(x, "data") and hasattr(x.data, "dtype") else x.tocsr().data  # type: ignore[attr-defined]
        return array_api_compat.array_namespace(data), array_api_compat.device(data)
    return array_namespace(x), device(x)


def synchronise(x: Array) -> None:
    """Wait until the work that produces `x` is done (for clocks; NumPy returns at once)."""
    library = library_of(x)
    if library == "jax":
        x.block_until_ready()
    elif library == "cupy":
        x.device.synchronize()
    elif library == "torch" and x.device.type != "cpu":
        # Reading one element is the only wait that every torch backend offers by method.
        _ = x.reshape(-1)[:1].cpu()


def to_numpy(x: Array) -> np.ndarray[Any, Any]:
    """Return `x` on the host as a NumPy array: the one explicit transfer.

    NumPy input comes back as it is (no copy); do not write into the result. bfloat16, which
    NumPy lacks, comes as float32.
    """
    library = library_of(x)
    if library == "numpy" or not array_api_compat.is_array_api_obj(x):
        return np.asarray(x)
    if library == "cupy":
        return np.asarray(x.get())
    _refuse_without_values(x)
    if library == "torch":
        host = x.detach().cpu().resolve_conj().resolve_neg()
        return np.asarray((host.float() if str(host.dtype) == _BFLOAT16 else host).numpy())
    if library == "array_api_strict":
        cpu = type(x.device)("CPU_DEVICE")
        return np.asarray(array_api_compat.to_device(x, cpu))
    host = np.asarray(x)
    return host.astype(np.float32) if host.dtype.name == "bfloat16" else host


def is_on_host(x: Array) -> bool:
    """Tell whether NumPy can read the memory of `x` as it lies (NumPy, torch and JAX on a CPU).

    array_api_strict's devices answer False: they stand for those that cannot.
    """
    library = library_of(x)
    if library == "torch":
        return bool(x.device.type == "cpu")
    return library == "numpy" or (library == "jax" and x.device.platform == "cpu")


def asarray(
    x: Any, *, xp: Namespace, device: Device, dtype: DType | None = None, copy: bool = True
) -> Array:
    """Return host data or an array as an array of `xp` on `device`, owning its memory.

    With ``copy=False`` memory may be shared, so the caller must not write into the result.
    """
    result = xp.asarray(x, dtype=dtype, device=device)
    if copy and array_api_compat.is_writeable_array(result):
        result = xp.asarray(result, copy=True)
    return result


def is_in_place(xp: Namespace) -> bool:
    """Tell whether arrays of `xp` can be written in place (JAX's cannot)."""
    return library_name(xp) != "jax"


def dtype_name(xp: Namespace, dtype: DType) -> str:
    """Return the standard's name of a dtype, for instance ``"float64"``."""
    for name in ("float64", "float32", "complex128", "complex64", "bool", "int64", "int32"):
        if hasattr(xp, name) and dtype == getattr(xp, name):
            return name
    text = str(getattr(dtype, "name", dtype))
    return text.rpartition(".")[2]


def dtype_from_name(xp: Namespace, name: str) -> DType:
    """Return the dtype of `xp` that the standard calls `name`."""
    return getattr(xp, name)


def is_complex_dtype(xp: Namespace, dtype: DType) -> bool:
    """Tell whether a dtype is complex floating."""
    return bool(xp.isdtype(dtype, "complex floating"))


def is_complex(x: Array, xp: Namespace) -> bool:
    """Tell whether an array holds complex numbers."""
    return is_complex_dtype(xp, x.dtype)


def real_dtype(xp: Namespace, dtype: DType) -> DType:
    """Return the real dtype of the same precision."""
    return {"complex64": xp.float32, "complex128": getattr(xp, "float64", None)}.get(
        dtype_name(xp, dtype), dtype
    )


def complex_dtype(xp: Namespace, dtype: DType) -> DType:
    """Return the complex dtype of the same precision."""
    return {"float32": xp.complex64, "float64": getattr(xp, "complex128", None)}.get(
        dtype_name(xp, dtype), dtype
    )


def _dtypes(xp: Namespace, device: Device, kind: str) -> dict[str, DType]:
    info = xp.__array_namespace_info__()
    found: dict[str, DType] = info.dtypes(device=device, kind=kind)
    return found


def default_float(xp: Namespace, device: Device) -> DType:
    """Return the library's default real floating dtype on a device."""
    return xp.__array_namespace_info__().default_dtypes(device=device)["real floating"]


def index_dtype(xp: Namespace) -> DType:
    """Return the integers that indices are returned in: the library's default (JAX: by its x64)."""
    return xp.__array_namespace_info__().default_dtypes()["indexing"]


def widest_float(xp: Namespace, device: Device) -> DType:
    """Return float64 where the device has it, else float32."""
    found = _dtypes(xp, device, "real floating")
    return found.get("float64", found.get("float32"))


def widest_dtype(xp: Namespace, device: Device, dtype: DType) -> DType:
    """Return the widest dtype of the device of the same kind (real or complex) as `dtype`."""
    wide = widest_float(xp, device)
    return complex_dtype(xp, wide) if is_complex_dtype(xp, dtype) else wide


def working_dtype(xp: Namespace, device: Device, dtype: DType) -> DType:
    """Return the floating dtype in which input of `dtype` is worked on.

    float32, float64, complex64 and complex128 are kept (in the machine's byte order); integers
    and booleans go to the library's default float (torch: float32), half precision to float32.
    """
    name = dtype_name(xp, dtype)
    if name in ("float32", "float64", "complex64", "complex128"):
        # NumPy alone has dtypes of foreign byte order, which hardly anything is quick with.
        return dtype.newbyteorder("=") if isinstance(dtype, np.dtype) else dtype
    if name in _HALF:
        return xp.float32
    if xp.isdtype(dtype, ("bool", "integral")):
        return default_float(xp, device)
    raise TypeError(
        f"dtype must be boolean, integer, float32, float64, complex64 or complex128, got {name}. "
        "Convert the array first."
    )


def eps(xp: Namespace, dtype: DType) -> float:
    """Return the unit roundoff spacing (machine epsilon) of a floating dtype."""
    return float(xp.finfo(real_dtype(xp, dtype)).eps)


def itemsize(xp: Namespace, dtype: DType) -> int:
    """Return the bytes of one element."""
    bits = xp.finfo(real_dtype(xp, dtype)).bits
    return int(bits) // 8 * (2 if is_complex_dtype(xp, dtype) else 1)


def adjoint(A: Array, xp: Namespace) -> Array:
    """Return the conjugate transpose of a matrix (a view where `A` is real)."""
    transposed = xp.matrix_transpose(A)
    return xp.conj(transposed) if is_complex(A, xp) else transposed


def matmul_h(A: Array, B: Array, xp: Namespace) -> Array:
    """Return ``A^H @ B`` without a conjugated copy of the larger factor.

    For complex input ``conj(A^T conj(B))`` conjugates `B` and the result, which are the small
    ones in a tall-times-thin product.
    """
    transposed = xp.matrix_transpose(A)
    if not is_complex(A, xp):
        return transposed @ B
    if B.shape[-1] < A.shape[-1]:
        return xp.conj(transposed @ xp.conj(B))
    return xp.conj(transposed) @ B
