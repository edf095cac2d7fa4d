"""One small object of every class that can be saved; a new class joins with one entry."""

from __future__ import annotations

import functools
import importlib
import inspect
import io
import pkgutil
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import linalgkit
from linalgkit import AccuracyWarning
from linalgkit._core.state import PortablePickle, Stateful
from linalgkit.bayes import KronSBL
from linalgkit.chebyshev import chebtucker
from linalgkit.completion import LowRankImputer, MatrixCompletion, complete_matrix
from linalgkit.regression import SketchedRegressor
from linalgkit.sketching import sketch, tensor_sketch
from linalgkit.streaming import StreamingEigh
from linalgkit.svd import IncrementalSVD


def rows(n: int = 200, d: int = 6, seed: int = 0) -> np.ndarray[Any, Any]:
    """Return rows with one leading direction."""
    X = np.random.default_rng(seed).standard_normal((n, d))
    X[:, 0] *= 4.0
    return X


def streaming(**options: Any) -> StreamingEigh:
    """Return a stream of rows in the middle of its way."""
    return StreamingEigh(rng=3, **options).partial_fit(rows(1000, 12))


def regression() -> SketchedRegressor:
    """Return a stream of equations in the middle of its way."""
    X = rows()
    return SketchedRegressor(m=40, rng=3).partial_fit(
        X, X @ np.arange(6.0) + rows(d=1, seed=1)[:, 0]
    )


def bayes() -> KronSBL:
    """Return two modes and three snapshots, answered."""
    rng = np.random.default_rng(0)
    factors = [rng.standard_normal((5, 8)), rng.standard_normal((6, 9))]
    Y = np.multiply.outer(factors[0][:, 2], factors[1][:, 4])[..., None] * np.asarray([2.0, -1, 3])
    model = KronSBL(noise_var=1e-3).partial_fit(factors, Y + 0.03 * rng.standard_normal(Y.shape))
    model.result()
    return model


def seen() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return a matrix of rank two and a mask."""
    rng = np.random.default_rng(0)
    A = rng.standard_normal((20, 2)) @ rng.standard_normal((2, 15))
    return A, rng.random(A.shape) < 0.6


def completion() -> MatrixCompletion:
    """Return a stream of entries of a matrix of rank two, answered once and gone on."""
    A, mask = seen()
    i, j = np.nonzero(mask)
    model = MatrixCompletion(2, rng=0).partial_fit(i[9:], j[9:], A[i[9:], j[9:]], A.shape)
    model.result()
    return model.partial_fit(i[:9], j[:9], A[i[:9], j[:9]])


def imputer() -> LowRankImputer:
    """Return a fitted imputer."""
    A, mask = seen()
    return LowRankImputer(2, shrink=False, rng=0).fit(np.where(mask, A, np.nan))


def completed() -> Any:
    """Return a completed matrix."""
    A, mask = seen()
    return complete_matrix(A, 2, mask=mask, rng=0)


SKETCHES = {
    "gaussian": {},
    "rademacher": {},
    "srht": {},
    "srdct": {},
    "srft": {},
    "circulant": {},
    "gaussian_pooled": {},
    "block_srht": {"block": 32},
    "countsketch": {},
    "sparse_sign": {},
    "leverage": {"scores": np.arange(1.0, 65.0)},
}

#: The objects that users make, by name.
OBJECTS: dict[str, Callable[[], Any]] = {
    **{
        f"streaming-{method}": functools.partial(streaming, method=method)
        for method in ("gram", "nystrom", "portfolio", "block-power", "frequent-directions")
    },
    "streaming-oja": functools.partial(streaming, method="oja", order="arbitrary"),
    "streaming-arbitrary": functools.partial(
        streaming, order="arbitrary", memory_budget=1000, n_oversamples=2
    ),
    "regression": regression,
    "svd": lambda: IncrementalSVD(2, compute_v=True, rng=0).append_columns(rows()),
    "bayes": bayes,
    "completion": completion,
    "imputer": imputer,
    "completed": completed,
    "chebyshev": lambda: chebtucker(lambda x: np.exp(x.sum(1)), [(-1, 1)] * 3, tol=1e-6),
    **{
        f"sketch-{kind}": functools.partial(sketch, kind, 8, 64, rng=3, **options)
        for kind, options in SKETCHES.items()
    },
    **{
        kind: functools.partial(tensor_sketch, kind, 8, (4, 8), rng=3)
        for kind in ("tensor_srht", "tensorsketch")
    },
}


def made(name: str) -> Any:
    """Return an object; that a small problem is poorly determined is not the matter here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AccuracyWarning)
        return OBJECTS[name]()


def inside(value: Any, found: set[int] | None = None) -> Iterator[Stateful]:
    """Yield every object with a state that `value` is or holds."""
    found = set() if found is None else found
    if id(value) in found:
        return
    found.add(id(value))
    if isinstance(value, Stateful):
        yield value
    if isinstance(value, dict):
        parts = list(value.values())
    elif isinstance(value, (list, tuple)):
        parts = list(value)
    else:
        parts = list(vars(value).values()) if isinstance(value, PortablePickle) else []
    for part in parts:
        yield from inside(part, found)


@functools.cache
def one_of_each() -> dict[type, Stateful]:
    """Return one object of every class with a state that the objects above are made of."""
    found: dict[type, Stateful] = {}
    for name in OBJECTS:
        for part in inside(made(name)):
            found.setdefault(type(part), part)
    return found


def classes_with_a_state() -> set[type]:
    """Return every class of the library that can be instantiated and saved."""
    for module in pkgutil.walk_packages(linalgkit.__path__, "linalgkit."):
        if not module.name.endswith("__main__") and "cupy_forms" not in module.name:
            importlib.import_module(module.name)
    found, heap = set(), [Stateful]
    while heap:
        for kind in heap.pop().__subclasses__():
            heap.append(kind)
            if kind.__module__.startswith("linalgkit.") and not inspect.isabstract(kind):
                found.add(kind)
    return {kind for kind in found if not _is_only_a_base(kind, found)}


def _is_only_a_base(kind: type, others: set[type]) -> bool:
    """Tell whether a class is private and exists to be extended: no object is made of it."""
    return any(kind is not other and issubclass(other, kind) for other in others) and (
        kind not in one_of_each()
    )


def saved(model: Stateful) -> bytes:
    """Return the bytes of the file of an object."""
    file = io.BytesIO()
    model.save(file)
    return file.getvalue()
