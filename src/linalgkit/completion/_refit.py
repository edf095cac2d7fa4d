"""Full solutions for an estimator, and short ones that start from the answer before.

::

    result = fitted(data, options)
    result = refitted(more_data, options, result)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from linalgkit.completion._complete import answer
from linalgkit.completion._fit import fit
from linalgkit.completion._observed import Observed
from linalgkit.completion._request import check_request, thread_count
from linalgkit.completion._result import CompletionResult

__all__ = ["fitted", "refitted", "thread_count"]

_PASSED = (
    "solver", "alpha", "loss", "loss_scale", "bias", "center", "shrink", "init", "continuation",
    "tol", "max_sweeps", "polish", "max_rank", "validation", "rng", "callback",
)  # fmt: skip


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
    if not options["shrink"]:
        passed["alpha"] = before.alpha
    if options["solver"] == "rgn":
        passed["solver"] = "auto"
    request = check_request(data, before.rank, warm_start=before, **passed)
    found = fit(data, request)
    if found.status == "max_sweeps":
        found = replace(found, status="refitted")
    return answer(data, request, found)
