"""Numerical linear algebra with certificates, on any array library, in bounded memory.

The rooms are loaded at first use::

    import linalgkit
    linalgkit.streaming.top_eigenvector(X)

"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from linalgkit._core.triangular import SingularMatrixError
from linalgkit._core.validation import AccuracyWarning, NotFittedError

if TYPE_CHECKING:
    from linalgkit import (
        bayes,
        chebyshev,
        completion,
        datasets,
        distributed,
        plotting,
        regression,
        sampling,
        sketching,
        streaming,
        svd,
    )

__version__ = "0.1.0"

__all__ = [
    "AccuracyWarning",
    "NotFittedError",
    "SingularMatrixError",
    "__version__",
    "bayes",
    "chebyshev",
    "completion",
    "datasets",
    "distributed",
    "plotting",
    "regression",
    "sampling",
    "sketching",
    "streaming",
    "svd",
]

_ROOMS = frozenset(
    {
        "bayes",
        "chebyshev",
        "completion",
        "datasets",
        "distributed",
        "plotting",
        "regression",
        "sampling",
        "sketching",
        "streaming",
        "svd",
    }
)


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"linalgkit.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
