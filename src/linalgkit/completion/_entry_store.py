"""The entries of an estimator: taken in by blocks, solved when asked for, saved and copied."""

from __future__ import annotations

import copy
from dataclasses import replace
from numbers import Integral
from typing import Any, Self

from linalgkit._core.array import (
    LIBRARIES,
    Device,
    Namespace,
    array_namespace,
    is_sparse,
    library_of,
    to_numpy,
)
from linalgkit._core.array import device as _device
from linalgkit._core.estimator import (
    Features,
    TransformerMixin,
    check_counts,
    feature_names,
)
from linalgkit._core.random import as_generator, undone_on_error
from linalgkit._core.state import State, Stateful
from linalgkit._core.validation import check_same_place, message
from linalgkit.completion._entries import Entries, joined, pushed
from linalgkit.completion._observed import Observed
from linalgkit.completion._refit import check_options, fitted, refitted, thread_count
from linalgkit.completion._result import CompletionResult

_SEEDS = 2**63
_GROWTH = 0.1  # share of new entries up to which an answer is refitted
NOT_SAVED = ("callback", "n_threads")


class EntryStore(TransformerMixin, Stateful):
    """Holds the entries of the last answer and those that came since."""

    rng: Any

    @property
    def _parts(self) -> tuple[Entries, ...]:
        """Entries that came since the last answer."""
        parts: tuple[Entries, ...] = self.__dict__.get("_new", ())
        return parts

    @property
    def _data(self) -> Observed | None:
        """Entries of the last answer."""
        return self.__dict__.get("_answered")

    @property
    def _shape(self) -> tuple[int, int] | None:
        """Shape of the stream, None before any entry."""
        return self.__dict__.get("_stream_shape")

    def _options(self) -> dict[str, Any]:
        """Return the options of the stream, or those that one would start with."""
        found = self.__dict__.get("_stream_options")
        return self.get_params(deep=False) if found is None else dict(found)

    def _started(self) -> dict[str, Any]:
        """Return the options of a new stream; a generator gives it a seed."""
        options = self.get_params(deep=False)
        if not is_seed(self.rng):
            options["rng"] = int(as_generator(self.rng).integers(_SEEDS))
        return options

    def _take(self, block: Entries) -> None:
        """Commit entries after checking that they are new and of one library."""
        data, parts = self._data, self._parts
        for place in (data, *parts[:1]):
            if place is not None:
                check_same_place(block.values, place, "values")
        block.check_new(data)
        for part in parts:
            block.check_new(part)
        parts = pushed(parts, block)
        if self._shape is None:
            self._begin(block.shape)
        self._new = parts

    def _check_table(self, X: Any, *, fitted: bool) -> None:
        """Refuse a table without columns, or with others than before; entries have no names."""
        shape = tuple(getattr(X, "shape", ()))
        if len(shape) != 2 or is_sparse(X):
            return
        check_counts(shape, 1, "X")
        if fitted:
            self._compare_features(Features(int(shape[1]), feature_names(X)), "X")

    def _begin(self, shape: tuple[int, int]) -> None:
        """Start a stream with the options as they are, once they have been checked."""
        with undone_on_error(self.rng):
            options = self._started()
            check_options(options, shape)
        self._stream_options, self._stream_shape = options, shape
        self._set_features(Features(shape[1], None))

    def _all_parts(self) -> list[Entries]:
        """Return all entries taken in."""
        data = self._data
        return [*([] if data is None else [Entries.of(data)]), *self._parts]

    def _solve(self) -> None:
        """Find the answer to all entries, and keep it."""
        options, data = self._options(), self._data
        if self._parts or data is None:
            parts = self._all_parts()
            if not parts:
                raise ValueError(
                    "an answer needs an observed entry, got none so far. Call partial_fit; entries "
                    "of weight 0 do not count."
                )
            data = replace(joined(parts).observe(thread_count(options["n_threads"])), order=None)
        before = self.__dict__.get("_answer")
        most = (1.0 + _GROWTH) * self.__dict__.get("_full_count", 0)
        # variances of shrunken components take as many sweeps to settle as to be found
        anew = options["shrink"] or data.count > most
        if before is None or before.rank == 0 or anew:
            self._settle(data, fitted(data, options), options, full=True)
        else:
            self._settle(data, refitted(data, options, before), options, full=False)

    def _settle(
        self, data: Observed, answer: CompletionResult, options: dict[str, Any], *, full: bool
    ) -> None:
        """Commit an answer to all entries."""
        self._answer, self._new = answer, ()
        self.__dict__["_answered"] = data
        self._stream_options, self._stream_shape = options, data.shape
        if full:
            self._full_count = data.count

    def __copy__(self) -> Self:
        """Return a copy that goes on by itself."""
        return copy.deepcopy(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return a copy; what never changes is shared."""
        twin = type(self).__new__(type(self))
        shared = ("_answered", "_answer", "_new")
        for name, value in self.__dict__.items():
            twin.__dict__[name] = value if name in shared else copy.deepcopy(value, memo)
        return twin

    # --------------------------------------------------------------------------------- state

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: entries travel as host data."""
        state = super().__getstate__()
        data, parts = self._data, self._parts
        state["_answered"] = None if data is None else Entries.of(data).to_state()
        state["_new"] = [part.to_state() for part in parts]
        like = data.row_values if data is not None else parts[0].values if parts else None
        state["_like"] = None if like is None else like[:0]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        like = self.__dict__.pop("_like")
        if like is not None:
            place = {"xp": array_namespace(like), "device": _device(like)}
            self._set_entries(state["_answered"], state["_new"], place)

    def _set_entries(self, answered: Any, new: Any, place: dict[str, Any]) -> None:
        """Take entries back from host data."""
        self._new = tuple(Entries.from_state(part, **place) for part in new)
        threads = thread_count(self._options()["n_threads"])
        if answered is None:
            self.__dict__["_answered"] = None
        else:
            data = Entries.from_state(answered, **place).observe(threads)
            self.__dict__["_answered"] = replace(data, order=None)

    def _get_state(self) -> State:
        data, answer = self._data, self.__dict__.get("_answer")
        options = self.__dict__.get("_stream_options")
        return {
            "params": _saved(self.get_params(deep=False)),
            "options": None if options is None else _saved(options),
            "shape": None if self._shape is None else list(self._shape),
            "answered": None if data is None else Entries.of(data).to_state(),
            "new": [part.to_state() for part in self._parts],
            "answer": None if answer is None else answer.to_state(),
            "full_count": self.__dict__.get("_full_count", 0),
            **self._features_to_state(),
        }

    @classmethod
    def _from_state(cls, state: State, *, xp: Namespace, device: Device) -> Self:
        place = {"xp": xp, "device": device}
        model = cls(**state["params"])
        model._features_from_state(state)
        if state["shape"] is None:
            return model
        m, n = state["shape"]
        model._stream_options, model._stream_shape = state["options"], (int(m), int(n))
        model._set_entries(state["answered"], state["new"], place)
        if state["answer"] is not None:
            like = xp.zeros((0,), dtype=xp.float32, device=device)
            model._answer = CompletionResult.from_state(state["answer"], like=like)
            model._full_count = int(state["full_count"])
        _check_state(model)
        return model


def _check_state(model: EntryStore) -> None:
    """Refuse a damaged state: parts of different shapes, entries that two parts have."""
    shape, data, answer = model._shape, model._data, model.__dict__.get("_answer")
    parts, options = model._all_parts(), model._options()
    whole = (
        shape is not None
        and all(part.shape == shape for part in parts)
        and model.n_features_in_ == shape[1]
        and options.keys() == model.get_params(deep=False).keys()
        and (answer is None) == (data is None)
        and (answer is None or answer.shape == shape)
        and (data is None or 1 <= model.__dict__["_full_count"] <= data.count)
    )
    if shape is None or not whole:
        raise ValueError("the entries of the state are damaged: its parts do not fit together.")
    check_options(options, shape)
    for i, part in enumerate(parts):
        for other in parts[:i]:
            part.check_new(other)


def is_seed(rng: Any) -> bool:
    return isinstance(rng, Integral) and not isinstance(rng, bool)


def is_array(value: Any) -> bool:
    return hasattr(value, "shape") and library_of(value) in LIBRARIES


def _saved(options: dict[str, Any]) -> State:
    """Return options as host data; what cannot be saved is None."""
    found = {name: None if name in NOT_SAVED else value for name, value in options.items()}
    found["rng"] = int(options["rng"]) if is_seed(options["rng"]) else None
    found["validation"] = saved_mask(options["validation"])
    return found


def saved_mask(validation: Any) -> Any:
    """Return a fraction as it is, and a mask as host data."""
    if hasattr(validation, "toarray"):
        raise TypeError(
            message(
                "validation", "be a fraction or a boolean array to be saved", validation,
                way_out="Pass validation.toarray() != 0.",
            )
        )  # fmt: skip
    return to_numpy(validation) if is_array(validation) else validation


class AnswerPlace:
    """Library, device and dtype of an answer."""

    def __init__(self, result: CompletionResult) -> None:
        self.xp, self.device, self.dtype = result._xp, _device(result.U), result.U.dtype
