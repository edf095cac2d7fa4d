"""Full solutions for an estimator, and short ones that start from the answer before.

::

    check_options(options, shape)                 # before any entry is there
    result = fitted(data, options)
    result = refitted(more_data, options, result)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from linalgkit._core.array import is_sparse
from linalgkit._core.estimator import as_array
from linalgkit._core.validation import check_float, check_int
from linalgkit.completion._complete import answer
from linalgkit.completion._fit import fit
from linalgkit.completion._observed import Observed
from linalgkit.completion._request import Unseen, check_request, thread_count
from linalgkit.completion._result import CompletionResult
from linalgkit.completion._sources import checked_mask

__all__ = ["check_options", "fitted", "refitted", "thread_count"]

_PASSED = (
    "solver", "alpha", "loss", "loss_scale", "bias", "center", "shrink", "init", "continuation",
    "tol", "max_sweeps", "polish", "max_rank", "validation", "rng", "callback",
)  # fmt: skip


def check_options(options: Mapping[str, Any], shape: tuple[int, int]) -> None:
    """Refuse options with which no entries of a matrix of this shape could be solved."""
    passed = {name: options[name] for name in _PASSED}
    check_request(Unseen(shape), options["rank"], warm_start=None, **passed)
    check_int("refit_sweeps", options["refit_sweeps"], 1)
    thread_count(options["n_threads"])
    if options["validation"] is not None:
        _check_validation(options["validation"], shape)


def _check_validation(validation: Any, shape: tuple[int, int]) -> None:
    """Refuse what is neither a fraction nor names entries of a matrix of this shape."""
    if not (hasattr(validation, "__len__") or hasattr(validation, "shape")):
        check_float("validation", validation, 0, 1, low_open=True, high_open=True)
        return
    found = validation if is_sparse(validation) else as_array(validation, "validation")
    if tuple(found.shape) != shape and tuple(found.shape) != ():
        raise ValueError(
            f"validation must have the shape {shape} of the matrix, got {tuple(found.shape)}. An "
            "estimator forgets the order of the entries, in which a vector would name them."
        )
    if not is_sparse(found) and tuple(found.shape) == shape:
        checked_mask("validation", found, shape)


def fitted(data: Observed, options: Mapping[str, Any]) -> CompletionResult:
    """Return what ``complete_matrix`` returns for the data and options."""
    passed = {name: options[name] for name in _PASSED}
    request = check_request(data, options["rank"], warm_start=None, **passed)
    return answer(data, request, fit(data, request))


def refitted(
    data: Observed, options: Mapping[str, Any], before: CompletionResult
) -> CompletionResult:
    """Return the answer after a few sweeps from another one, with its rank and ridge.

    No sweeps are wanted beyond these, so that reaching the last one is no weakness to warn of.
    """
    passed = {name: options[name] for name in _PASSED}
    passed.update(
        continuation=False, polish=False, validation=None, max_rank=None,
        max_sweeps=options["refit_sweeps"],
    )  # fmt: skip
    passed["alpha"] = before.alpha
    if options["solver"] == "rgn":
        passed["solver"] = "auto"
    request = check_request(data, before.rank, warm_start=before, **passed)
    found = fit(data, request)
    if found.status == "max_sweeps":
        found = replace(found, status="refitted")
    return answer(data, request, found)
