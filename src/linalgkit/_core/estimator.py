"""The part of scikit-learn's estimator contract that linalgkit's classes keep.

``clone``, ``Pipeline``, ``GridSearchCV``, ``set_output`` and ``check_estimator`` work without
inheriting from scikit-learn, which is imported inside functions that only scikit-learn calls.
What its checks ask and linalgkit does otherwise on purpose stands in one place,
:data:`EXPECTED_FAILED_CHECKS`.
"""

from __future__ import annotations

import difflib
import inspect
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from linalgkit._core.array import LIBRARIES, Array, detached, is_sparse, library_of, to_numpy
from linalgkit._core.frames import frame_values, refuse_file_names
from linalgkit._core.validation import check_array_2d, require_fitted

#: Checks of scikit-learn that contradict the library, with the reason; pass it to
#: ``check_estimator(estimator, expected_failed_checks=EXPECTED_FAILED_CHECKS)``.
EXPECTED_FAILED_CHECKS = {
    "check_complex_data": "complex data are supported, not refused",
    "check_dtype_object": "arrays of objects are refused, even where they hold numbers",
    "check_array_api_same_namespace": (
        "arrays of another library are refused as everywhere here: by a TypeError that names both"
    ),
}

_TYPES = ("classifier", "regressor", "transformer", "clusterer", "density_estimator")
_DTYPES = ("float64", "float32", "complex128", "complex64")


class Features(NamedTuple):
    """Number and names of the columns of the data."""

    n: int
    names: np.ndarray[Any, Any] | None


def joint_features(mine: Features, theirs: Features) -> Features:
    """Return the columns of two streams, or raise ValueError if both are named and differ."""
    if mine.n != theirs.n:
        return mine  # refused by the streams, with both lengths
    if mine.names is None:
        return theirs
    if theirs.names is None:
        return mine
    for index, (a, b) in enumerate(zip(mine.names, theirs.names, strict=True)):
        if a != b:
            raise ValueError(
                f"the names of the features must agree for a merge, got {a!r} and {b!r} for column "
                f"{index}. Bring the columns to one order first."
            )
    return mine


class EstimatorMixin:
    """Parameters, tags and column bookkeeping of an estimator.

    ``__init__`` of a subclass stores its arguments under their own names, unchanged, and sets
    nothing else; what `fit` learns ends in an underscore or begins with one.
    """

    _estimator_type_name: ClassVar[str] = "transformer"
    _accepts_sparse: ClassVar[bool] = False
    _requires_target: ClassVar[bool] = False
    _allows_nan: ClassVar[bool] = False

    n_features_in_: int
    feature_names_in_: np.ndarray[Any, Any]

    # -------------------------------------------------------------------------- parameters

    @classmethod
    def _parameters(cls) -> dict[str, inspect.Parameter]:
        """Return the parameters of ``__init__`` by name, sorted."""
        found = list(inspect.signature(cls).parameters.values())
        if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in found):
            raise TypeError(f"{cls.__name__}.__init__ must name every parameter")
        return {p.name: p for p in sorted(found, key=lambda p: p.name)}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters of this object by name.

        Parameters
        ----------
        deep : bool, default True
            Whether parameters of parameters are included, as ``outer__inner``.

        Returns
        -------
        dict
            The parameters as they were given.
        """
        found: dict[str, Any] = {}
        for name in self._parameters():
            value = getattr(self, name)
            found[name] = value
            if deep and hasattr(value, "get_params") and not isinstance(value, type):
                inner = value.get_params()
                found.update({f"{name}__{key}": item for key, item in inner.items()})
        return found

    def set_params(self, **params: Any) -> Self:
        """Change parameters by name; ``outer__inner`` reaches into a parameter.

        Parameters
        ----------
        **params : object
            New values.

        Returns
        -------
        self
            This object.

        Raises
        ------
        ValueError
            If a name is unknown; nothing has been changed by then.
        """
        known = self._parameters()
        for key in params:
            name = key.partition("__")[0]
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                raise ValueError(
                    f"Invalid parameter {name!r} for estimator {self!r}. "
                    f"Valid parameters are: {list(known)!r}.{hint}"
                )
        nested: dict[str, dict[str, Any]] = {}
        for key, value in params.items():
            name, reaches_in, rest = key.partition("__")
            if reaches_in:
                nested.setdefault(name, {})[rest] = value
            else:
                setattr(self, name, value)
        for name, inner in nested.items():
            getattr(self, name).set_params(**inner)
        return self

    def __repr__(self) -> str:
        shown = []
        for name, parameter in self._parameters().items():
            value = getattr(self, name, parameter.default)
            if value is not parameter.default and repr(value) != repr(parameter.default):
                shown.append(f"{name}={_short(value)}")
        return f"{type(self).__name__}({', '.join(shown)})"

    # -------------------------------------------------------------------- what sklearn asks

    def __sklearn_tags__(self) -> Any:
        """Return what scikit-learn needs to know (only it calls this)."""
        from sklearn import utils

        kind = self._estimator_type_name
        if kind not in _TYPES:
            raise ValueError(f"_estimator_type_name must be one of {_TYPES}, got {kind!r}")
        is_transformer = hasattr(self, "transform")
        return utils.Tags(
            estimator_type=kind,
            target_tags=utils.TargetTags(required=self._requires_target),
            transformer_tags=(
                utils.TransformerTags(preserves_dtype=list(_DTYPES)) if is_transformer else None
            ),
            classifier_tags=utils.ClassifierTags() if kind == "classifier" else None,
            regressor_tags=utils.RegressorTags() if kind == "regressor" else None,
            array_api_support=True,
            input_tags=utils.InputTags(sparse=self._accepts_sparse, allow_nan=self._allows_nan),
        )

    def __sklearn_is_fitted__(self) -> bool:
        """Tell scikit-learn's ``check_is_fitted`` whether data have been seen."""
        return hasattr(self, "n_features_in_")

    # ------------------------------------------------------------------------------ columns

    def _check_features(
        self, X: Any, *, reset: bool, min_rows: int = 1, name: str = "X"
    ) -> tuple[Array, Features]:
        """Return `X` as a 2-D array (or sparse container), and its columns; change nothing.

        Dataframes, lists of numbers and objects with ``__array__`` become NumPy arrays; arrays of
        any library pass as they are. With ``reset=False`` the columns must be those recorded.
        """
        found = feature_names(X)
        X = as_array(X)
        if not is_sparse(X) or self._accepts_sparse:
            check_counts(tuple(X.shape), min_rows, name)
        X, _ = check_array_2d(name, X, allow_sparse=self._accepts_sparse)
        features = Features(int(X.shape[1]), found)
        if not reset:
            self._compare_features(features, name)
        return X, features

    def _set_features(self, features: Features) -> None:
        """Record the columns, once the data have been accepted."""
        self.n_features_in_ = features.n
        if features.names is not None:
            self.feature_names_in_ = features.names
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_

    def _validate_features(
        self, X: Any, *, reset: bool, min_rows: int = 1, name: str = "X"
    ) -> Array:
        """Check `X`, record its columns if `reset`, and return it as an array."""
        X, features = self._check_features(X, reset=reset, min_rows=min_rows, name=name)
        if reset:
            self._set_features(features)
        return X

    def _compare_features(self, features: Features, name: str) -> None:
        """Refuse columns that are not the recorded ones; names may be absent, with a warning."""
        kind = type(self).__name__
        require_fitted(self, hasattr(self, "n_features_in_"))
        mine, theirs = getattr(self, "feature_names_in_", None), features.names
        # The wording of the next three is scikit-learn's, whose checks look for it.
        if mine is not None and theirs is not None and list(mine) != list(theirs):
            raise ValueError(_name_difference(list(mine), list(theirs)))
        if features.n != self.n_features_in_:
            raise ValueError(
                f"{name} has {features.n} features, but {kind} is expecting "
                f"{self.n_features_in_} features as input. All blocks must have the same columns."
            )
        if (mine is None) != (theirs is None):
            text = (
                f"X has feature names, but {kind} was fitted without feature names"
                if mine is None
                else f"X does not have valid feature names, but {kind} was fitted with "
                "feature names"
            )
            warnings.warn(text, UserWarning, stacklevel=4)

    def _features_to_state(self) -> dict[str, Any]:
        """Return the columns as host data for a state."""
        names = getattr(self, "feature_names_in_", None)
        return {
            "n_features_in": getattr(self, "n_features_in_", None),
            "feature_names_in": None if names is None else [str(n) for n in names],
        }

    def _features_from_state(self, state: dict[str, Any]) -> None:
        """Take the columns back from a state."""
        if state["n_features_in"] is not None:
            names = state["feature_names_in"]
            array = None if names is None else np.asarray(names, dtype=object)
            self._set_features(Features(state["n_features_in"], array))


class TransformerMixin(EstimatorMixin):
    """What an estimator with `transform` adds: names and containers of its output.

    `transform` of a subclass ends with ``return self._wrap_output(result, X)``, and the subclass
    has a property ``_n_features_out``.
    """

    _n_features_out: Any

    def fit_transform(self, X: Any, y: Any = None) -> Array:
        """Fit to `X` and return the transformed `X`.

        Parameters
        ----------
        X : array of shape (rows, features)
            The data, read twice.
        y : None
            Ignored; it is there for scikit-learn.

        Returns
        -------
        array of shape (rows, components)
            The same as ``fit(X).transform(X)``.
        """
        return self.fit(X, y).transform(X)  # type: ignore[attr-defined]  # the subclass has them

    def get_feature_names_out(self, input_features: Sequence[str] | None = None) -> Any:
        """Return the names of the columns of the transformed data.

        Parameters
        ----------
        input_features : sequence of str, optional
            Only compared with the columns seen in `fit`, as scikit-learn does.

        Returns
        -------
        ndarray of str
            The class's name in small letters and a number, for instance ``"streamingeigh0"``.
        """
        require_fitted(self, hasattr(self, "n_features_in_"))
        if input_features is not None:
            names = getattr(self, "feature_names_in_", None)
            if names is not None and list(names) != list(input_features):
                raise ValueError("input_features is not equal to feature_names_in_")
            if len(input_features) != self.n_features_in_:
                raise ValueError(
                    "input_features should have length equal to the number of features "
                    f"({self.n_features_in_}), got {len(input_features)}"
                )
        prefix = type(self).__name__.lower()
        return np.asarray([f"{prefix}{i}" for i in range(self._n_features_out)], dtype=object)

    def set_output(self, *, transform: str | None = None) -> Self:
        """Choose the container that `transform` returns.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"}, optional
            "default" is an array of the input's library; the others need scikit-learn and the
            package named. None changes nothing.

        Returns
        -------
        self
            This object.
        """
        if transform is not None:
            self._sklearn_output_config = {"transform": transform}  # the name that clone copies
        return self

    def _wrap_output(self, result: Array, X: Any) -> Any:
        """Return `result` in the container asked for; `X` is what the caller passed."""
        config = getattr(self, "_sklearn_output_config", None)
        if config is None:
            sklearn = sys.modules.get("sklearn")
            config = {} if sklearn is None else {"transform": _global_output()}
        if config.get("transform", "default") == "default":
            return result
        return _in_container(self, to_numpy(result), X, config["transform"])


# --------------------------------------------------------------------------------- helpers


def as_array(X: Any, name: str = "X") -> Any:
    """Return dataframes, lists of numbers and ``__array__`` objects as NumPy arrays.

    Arrays of a known library, sparse containers and chunked stores pass as they are (torch
    tensors without their graph). All else is refused under the name of the argument.
    """
    if type(X) is np.ndarray:
        return X
    refuse_file_names(X, name)
    if isinstance(X, (list, tuple)):
        return np.asarray(X)
    if is_sparse(X) or hasattr(X, "chunks"):
        return X
    if hasattr(X, "shape") and library_of(X) in LIBRARIES:
        return detached(X)
    if hasattr(X, "to_numpy"):
        return frame_values(X, name)
    return np.asarray(X) if hasattr(X, "__array__") else _refuse(X, name)


def _refuse(X: object, name: str) -> Any:
    way_out = "Convert it first, for instance with numpy.asarray."
    if isinstance(X, Iterator):
        way_out = "Join the blocks first, or take them in one by one with partial_fit."
    raise TypeError(
        f"{name} must be an array, a dataframe or a list of numbers, got {type(X).__name__}. "
        f"{way_out}"
    )


def feature_names(X: Any) -> np.ndarray[Any, Any] | None:
    """Return the column names of a dataframe whose names are all strings, else None."""
    columns = getattr(X, "columns", None)
    if columns is None or not hasattr(X, "to_numpy"):
        return None
    names = list(columns)
    strings = [isinstance(name, str) for name in names]
    if any(strings) and not all(strings):
        kinds = sorted({type(name).__name__ for name in names})
        raise TypeError(
            f"column names must be all strings or none, got {kinds}. "
            "Rename them, for instance X.columns = X.columns.astype(str)."
        )
    return np.asarray(names, dtype=object) if names and all(strings) else None


def check_counts(shape: tuple[int, ...], min_rows: int, name: str) -> None:
    """Refuse shapes in the words that scikit-learn's checks look for."""
    if len(shape) != 2:
        raise ValueError(
            f"{name} must be 2-D (samples, features), got shape {shape}. Reshape your data: "
            f"{name}[None, :] makes one sample, {name}[:, None] one feature."
        )
    for count, least, word in zip(shape, (min_rows, 1), ("sample", "feature"), strict=True):
        if count < least:
            raise ValueError(
                f"{name} has {count} {word}(s) (shape={shape}) while a minimum of {least} "
                "is required."
            )


def _name_difference(mine: Sequence[str], theirs: Sequence[str]) -> str:
    """Describe how two lists of column names differ."""
    text = "The feature names should match those that were passed during fit.\n"
    unseen, missing = sorted(set(theirs) - set(mine)), sorted(set(mine) - set(theirs))
    for names, title in (
        (unseen, "Feature names unseen at fit time"),
        (missing, "Feature names seen at fit time, yet now missing"),
    ):
        if names:
            shown = [f"- {n}\n" for n in names[:5]] + ["- ...\n"] * (len(names) > 5)
            text += f"{title}:\n{''.join(shown)}"
    if not (unseen or missing):
        text += "Feature names must be in the same order as they were in fit.\n"
    return text


def _short(value: object, limit: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def _global_output() -> str:
    """Return scikit-learn's own setting, once somebody has imported it."""
    from sklearn import get_config

    return str(get_config()["transform_output"])


def _in_container(owner: TransformerMixin, result: Any, X: Any, container: str) -> Any:
    """Let scikit-learn put `result` into a dataframe, through its public transformer class."""
    from sklearn.base import TransformerMixin as SklearnTransformer

    class Shell(SklearnTransformer):  # type: ignore[misc]  # scikit-learn has no types
        def transform(self, X: Any) -> Any:
            return result

        def get_feature_names_out(self, input_features: Any = None) -> Any:
            return owner.get_feature_names_out(input_features)

    return Shell().set_output(transform=container).transform(X)
