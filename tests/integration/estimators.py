"""Every estimator of the library, and what of scikit-learn's contract does not fit it.

The one list of exceptions: those that all estimators share stand in
``linalgkit._core.estimator.EXPECTED_FAILED_CHECKS``, those of single ones here, each with its
reason. A class that has ``get_params`` and no entry here fails a test.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
from sklearn.utils.estimator_checks import estimator_checks_generator

import linalgkit
from linalgkit._core.estimator import EXPECTED_FAILED_CHECKS
from linalgkit.completion import MatrixCompletion

Options = dict[str, Any]

#: The checks of which `fit` is no part; they hold also where `fit` takes no table.
PARAMETER_CHECKS = frozenset(
    {
        "check_do_not_raise_errors_in_init_or_set_params",
        "check_estimator_cloneable",
        "check_estimator_repr",
        "check_estimator_tags_renamed",
        "check_estimators_unfitted",
        "check_get_params_invariance",
        "check_mixin_order",
        "check_no_attributes_set_in_init",
        "check_parameters_default_constructible",
        "check_set_params",
        "check_valid_tag_types",
    }
)

#: Checks that scikit-learn leaves out unless SCIPY_ARRAY_API is set, see `array_dispatch`.
DISPATCHED = ("check_array_api_same_namespace", "check_array_api_input")


@dataclass(frozen=True)
class Entry:
    """What the tests need to know about an estimator.

    Attributes
    ----------
    data : callable
        Returns what `fit` takes.
    answer : callable
        Returns an array that a fitted object knows.
    options : tuple of dict
        Parameters under which scikit-learn's checks run.
    no_table : str
        Why `fit` takes no table (samples, features), so that scikit-learn's data cannot be given
        to it; empty where it does.
    left_out : mapping of str to str
        Methods that the checks do not see, with the reason; `part` is the class without them.
    dispatched : mapping of str to str
        Further checks that fail where scikit-learn dispatches arrays of other libraries.
    """

    data: Callable[[], tuple[Any, ...]]
    answer: Callable[[Any], Any]
    options: tuple[Options, ...] = ({},)
    no_table: str = ""
    left_out: Mapping[str, str] = field(default_factory=dict)
    part: type | None = None
    dispatched: Mapping[str, str] = field(default_factory=dict)


class Tables(MatrixCompletion):
    """A completion as far as it is concerned with tables."""

    @property
    def predict(self) -> Any:
        raise AttributeError

    @property
    def partial_fit(self) -> Any:
        raise AttributeError


def table() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 4)) @ rng.standard_normal((4, 4)) + 1.0
    return X, X @ np.arange(1.0, 5.0) + rng.standard_normal(60)


def table_with_gaps() -> tuple[Any]:
    X, _ = table()
    X[np.random.default_rng(1).random(X.shape) < 0.15] = np.nan
    return (X,)


def matrices() -> tuple[Any]:
    rng = np.random.default_rng(2)
    bases = rng.standard_normal((2, 12, 2))
    return ([bases[k % 2] @ rng.standard_normal((2, 3)) for k in range(8)],)


def equations() -> tuple[Any, Any]:
    rng = np.random.default_rng(3)
    factors = [rng.standard_normal((6, 4)), rng.standard_normal((5, 3))]
    return factors, np.kron(*factors)[:, 2:3] @ np.ones((1, 4)) + 0.1 * rng.standard_normal((30, 4))


_ANOTHER_LIBRARY = "targets of another library than the rows are refused: by a TypeError"
_DEPENDENT = "the data of the check have columns that depend on each other, which are refused"
_PLACES = "takes places and values of entries, not rows of a table"

ENTRIES = {
    "bayes.KronSBL": Entry(
        equations,
        lambda model: model.predict(),
        no_table="fit takes a list of matrices (factors of a Kronecker product) and snapshots",
    ),
    "completion.LowRankImputer": Entry(
        table_with_gaps,
        lambda model: model.transform(*table_with_gaps()),
        options=({"rank": 1, "shrink": False, "alpha": 0.1, "tol": 1e-3}, {}),
    ),
    "completion.MatrixCompletion": Entry(
        table_with_gaps,
        lambda model: model.predict([0, 1], [2, 3]),
        options=({"rank": 1, "alpha": 0.1, "tol": 1e-3, "polish": False},),
        left_out={"predict": _PLACES, "partial_fit": _PLACES},
        part=Tables,
    ),
    "regression.SketchedRegressor": Entry(
        table,
        lambda model: model.predict(table()[0]),
        options=({}, {"alpha": 1.0, "fit_intercept": False}, {"m": 400, "sketch": "gaussian"}),
        dispatched={"check_array_api_mixed_inputs": _ANOTHER_LIBRARY},
    ),
    "sampling.DPPLeastSquares": Entry(
        table,
        lambda model: model.predict(table()[0]),
        options=(
            {},
            {"method": "volume", "oversampling": 4},
            {"condition": ("lmin", 0.9), "boost": 2},
        ),
        dispatched={
            "check_array_api_input": _DEPENDENT,
            "check_array_api_mixed_inputs": _DEPENDENT,
        },
    ),
    "streaming.StreamingEigh": Entry(
        table,
        lambda model: model.transform(table()[0]),
        options=(
            {},
            {"method": "portfolio"},
            {"center": True, "whiten": True},
            {"method": "nystrom"},
            {"method": "frequent-directions", "order": "arbitrary"},
            {"method": "oja"},
        ),
    ),
    "svd.ErrorConstrainedClustering": Entry(
        matrices,
        lambda model: model.predict(*matrices()),
        no_table="what is grouped are matrices: fit takes a list of them, or an array (K, m, n)",
    ),
    "svd.IncrementalSVD": Entry(
        table,
        lambda model: model.transform(table()[0]),
        options=(
            {"n_components": 1},
            {"n_components": 1, "center": True},
            {"n_components": 1, "compute_v": True, "method": "cholqr"},
            {"n_components": 1, "truncation": "frequent-directions"},
            {"tol": 0.1},
        ),
    ),
}

TABLES = [name for name, entry in ENTRIES.items() if not entry.no_table]


def all_estimators() -> dict[str, type]:
    """Return every public class with parameters, by room and name."""
    rooms = {name: getattr(linalgkit, name) for name in linalgkit.__all__}
    return {
        f"{room}.{name}": cls
        for room, module in rooms.items()
        if isinstance(module, ModuleType)
        for name in module.__all__
        if inspect.isclass(cls := getattr(module, name)) and hasattr(cls, "get_params")
    }


def make(name: str, options: Options | None = None) -> Any:
    """Return an estimator, with a seed where it takes one."""
    cls = all_estimators()[name]
    seed = {"rng": 0} if "rng" in cls._parameters() else {}
    return cls(**seed, **(ENTRIES[name].options[0] if options is None else options))


def seen_by_checks(name: str, options: Options | None = None) -> Any:
    """Return an estimator without the methods that the checks must not see."""
    whole, part = make(name, options), ENTRIES[name].part
    return whole if part is None else part(**whole.get_params(deep=False))


def expected_failures(name: str, *, dispatched: bool = False) -> dict[str, str]:
    """Return the names of the checks that must fail, with their reasons."""
    if dispatched:
        return {**EXPECTED_FAILED_CHECKS, **ENTRIES[name].dispatched}
    return {k: why for k, why in EXPECTED_FAILED_CHECKS.items() if k not in DISPATCHED}


def checks(estimator: Any) -> dict[str, list[Callable[[], None]]]:
    """Return scikit-learn's checks of an estimator by name."""
    found: dict[str, list[Callable[[], None]]] = {}
    for _, check in estimator_checks_generator(estimator):
        name = check.func.__name__
        found.setdefault(name, []).append(lambda check=check: check(estimator))
    return found
