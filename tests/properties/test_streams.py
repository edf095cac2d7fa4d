"""What every stateful method promises, whatever it computes."""

from __future__ import annotations

import copy
import dataclasses
import io
import itertools
import math
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linalgkit._core import array as core_array
from tests.conftest import Backend, uncompiled
from tests.properties.cases import CASES, Case, Rows

every_case = pytest.mark.parametrize("case", CASES, ids=str)


def _data(case: Case, is_complex: bool = False) -> Rows:
    return case.data(np.random.default_rng(11), is_complex)


def _moved(rows: Rows, xp: Backend, dtype: str | None = None) -> Rows:
    return tuple(xp.asarray(x, dtype) for x in rows)


def _host(value: Any) -> np.ndarray[Any, Any]:
    return np.asarray(value if isinstance(value, float) else core_array.to_numpy(value))


def _cut(rows: Rows, cuts: list[int]) -> list[Rows]:
    n = rows[0].shape[0]
    ends = [0, *sorted(c % (n + 1) for c in cuts), n]
    return [tuple(x[i:j] for x in rows) for i, j in itertools.pairwise(ends)]


def _assert_close(
    found: dict[str, Any], expected: dict[str, Any], tolerance: float, skip: tuple[str, ...] = ()
) -> None:
    assert found.keys() == expected.keys()
    for name in sorted(found.keys() - set(skip)):
        a, b = _host(found[name]), _host(expected[name])
        scale = max(float(np.max(np.abs(b), initial=0.0)), 1e-300)
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * scale, err_msg=name)


def _assert_same_bits(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name in found:
        np.testing.assert_array_equal(_host(found[name]), _host(expected[name]), err_msg=name)


# ------------------------------------------------------------------------ array libraries


@every_case
@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
def test_every_library_gives_the_answer_of_numpy(case: Case, xp: Backend, is_complex: bool) -> None:
    rows = _data(case, is_complex)
    if not xp.has_float64:
        rows = tuple(x.astype(np.complex64 if is_complex else np.float32) for x in rows)
    expected = case.quiet_answers(case.run(rows))
    found = case.quiet_answers(case.run(_moved(rows, xp)))
    eps = 1.2e-7 if not xp.has_float64 else 2.3e-16
    # Without float64 to accumulate in, bounds rightly count more rounding in.
    skip = () if xp.has_float64 else ("error_estimate", "error_spectral_bound", "upper")
    _assert_close(found, expected, 100 * case.condition * eps, skip)


@every_case
def test_arrays_stay_in_library_on_device_and_in_dtype(case: Case, xp: Backend) -> None:
    for dtype in xp.dtypes:
        rows = _moved(_data(case, dtype.startswith("complex")), xp, dtype)
        arrays = [
            value
            for value in case.quiet_answers(case.run(rows)).values()
            if not isinstance(value, float)
        ]
        assert arrays
        for array in arrays:
            assert core_array.library_of(array) == core_array.library_of(rows[0])
            assert core_array.device(array) == xp.device
            kept = core_array.dtype_name(xp.xp, array.dtype)
            real = {"complex64": "float32", "complex128": "float64"}.get(dtype, dtype)
            assert kept in (dtype, real)


@every_case
def test_single_precision_is_near_double(case: Case) -> None:
    rows = _data(case)
    expected = case.quiet_answers(case.run(rows))
    found = case.quiet_answers(case.run(tuple(x.astype(np.float32) for x in rows)))
    # A bound rightly has more room for rounding in it.
    _assert_close(found, expected, 100 * case.condition * 1.2e-7, ("error_spectral_bound",))


# ------------------------------------------------------------------------- blocks and bits


@every_case
@given(cuts=st.lists(st.integers(0, 10**6), max_size=12))
@settings(max_examples=8, deadline=None)
def test_cuts_do_not_change_a_bit(case: Case, cuts: list[int]) -> None:
    rows = _data(case)
    whole = case.quiet_answers(case.run(rows))
    pieces = case.quiet_answers(case.run(*_cut(rows, cuts)))
    _assert_same_bits(pieces, whole)


@every_case
def test_rows_one_at_a_time_do_not_change_a_bit(case: Case) -> None:
    rows = tuple(x[:400] for x in _data(case, is_complex=True))
    single = [tuple(x[i : i + 1] for x in rows) for i in range(400)]
    _assert_same_bits(case.quiet_answers(case.run(*single)), case.quiet_answers(case.run(rows)))


@every_case
@uncompiled
def test_an_answer_on_the_way_changes_nothing(case: Case, xp: Backend) -> None:
    pieces = [_moved(rows, xp) for rows in _cut(_data(case), [100, 333, 700, 1100])]
    quiet, asked = case.start(), case.start()
    for rows in pieces:
        quiet, asked = case.take(quiet, rows), case.take(asked, rows)
        case.quiet_answers(asked)
    _assert_same_bits(case.quiet_answers(asked), case.quiet_answers(quiet))


@every_case
def test_empty_blocks_are_no_ops(case: Case) -> None:
    rows = _data(case)
    empty = tuple(x[:0] for x in rows)
    _assert_same_bits(
        case.quiet_answers(case.run(empty, rows, empty)), case.quiet_answers(case.run(rows))
    )


# -------------------------------------------------------------------- scale and conjugates


@every_case
@pytest.mark.parametrize("factor", [1e150, 1e-150])
@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
def test_answers_scale_with_the_data(case: Case, factor: float, is_complex: bool) -> None:
    rows = _data(case, is_complex)
    found = case.quiet_answers(case.run(tuple(x * factor for x in rows)))
    expected = case.quiet_answers(case.run(rows))
    unscaled = {
        name: _host(value) / factor ** case.degrees[name]
        if case.degrees[name] < 2
        else _host(value) / factor / factor
        for name, value in found.items()
    }
    _assert_close(unscaled, expected, 1000 * case.condition * 2.3e-16)


@every_case
def test_conjugate_data_have_the_conjugate_answer(case: Case) -> None:
    rows = _data(case, is_complex=True)
    found = case.quiet_answers(case.run(rows))
    mirrored = case.quiet_answers(case.run(tuple(np.conj(x) for x in rows)))
    _assert_close(
        {name: np.conj(_host(v)) for name, v in mirrored.items()},
        found,
        case.mirror,
        skip=("gap", "error_estimate"),
    )
    complex_arrays = [n for n, v in found.items() if np.iscomplexobj(_host(v))]
    assert complex_arrays
    assert any(
        np.max(np.abs(_host(found[n]) - _host(mirrored[n]))) > case.mirror for n in complex_arrays
    )


# -------------------------------------------------------------------------------- bad input


@every_case
@uncompiled
@pytest.mark.parametrize(
    ("bad", "repeats"), [(math.nan, 1), (math.nan, 16), (math.inf, 1), (-math.inf, 1)]
)
def test_bad_numbers_are_refused_and_change_nothing(
    case: Case, xp: Backend, bad: float, repeats: int
) -> None:
    rows = _data(case)
    model = case.run(_moved(rows, xp))
    before = case.quiet_answers(copy.deepcopy(model))
    poisoned = tuple(np.concatenate([x] * repeats) for x in rows)
    row = poisoned[0].shape[0] - 3
    poisoned[0][row, 1] = bad
    with pytest.raises(ValueError, match=rf"block 1, row {row} "):
        case.take(model, _moved(poisoned, xp))
    _assert_same_bits(case.quiet_answers(model), before)


@every_case
def test_complex_rows_in_a_real_stream_are_refused(case: Case, xp: Backend) -> None:
    model = case.run(_moved(_data(case), xp))
    with pytest.raises(TypeError, match="complex"):
        case.take(model, _moved(_data(case, is_complex=True), xp))


@every_case
def test_the_arrays_of_the_caller_are_only_read(case: Case, xp: Backend) -> None:
    rows = _data(case, is_complex=True)
    mine = _moved(rows, xp)
    expected = [xp.to_numpy(x) for x in mine]
    case.quiet_answers(
        case.run(*[tuple(x[i:j, ...] for x in mine) for i, j in [(0, 700), (700, 1500)]])
    )
    for array, copied in zip(mine, expected, strict=True):
        np.testing.assert_array_equal(xp.to_numpy(array), copied)


@every_case
def test_read_only_arrays_are_enough(case: Case) -> None:
    rows = _data(case)
    for x in rows:
        x.setflags(write=False)
    case.quiet_answers(case.run(rows))


@every_case
def test_later_changes_of_the_callers_array_do_not_matter(case: Case, xp: Backend) -> None:
    rows = tuple(x[:100] for x in _data(case))
    mine = _moved(rows, xp)
    model = case.run(mine)
    expected = case.quiet_answers(copy.deepcopy(model))
    if core_array.is_in_place(xp.xp):
        for x in mine:
            x[...] = 0
    _assert_same_bits(case.quiet_answers(model), expected)


# ---------------------------------------------------------------------- states and merging


@every_case
@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
@pytest.mark.parametrize("stop", [5, 777])
def test_saved_streams_resume_bit_for_bit(
    case: Case, xp: Backend, is_complex: bool, stop: int
) -> None:
    rows = _moved(_data(case, is_complex), xp)
    head, tail = tuple(x[:stop, ...] for x in rows), tuple(x[stop:, ...] for x in rows)
    expected = case.quiet_answers(case.run(head, tail))
    file = io.BytesIO()
    started = case.run(head)
    started.save(file)
    file.seek(0)
    resumed = type(started).load(file, like=rows[0])
    _assert_same_bits(case.quiet_answers(resumed), case.quiet_answers(started))
    _assert_same_bits(case.quiet_answers(case.take(resumed, tail)), expected)


@every_case
@uncompiled
@pytest.mark.parametrize("twin", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_and_pickles_are_independent(case: Case, xp: Backend, twin: Any) -> None:
    rows = _moved(_data(case), xp)
    head, tail = tuple(x[:777, ...] for x in rows), tuple(x[777:, ...] for x in rows)
    original = case.run(head)
    expected = case.quiet_answers(original)
    other = case.take(twin(original), tail)
    _assert_same_bits(case.quiet_answers(original), expected)
    _assert_same_bits(case.quiet_answers(other), case.quiet_answers(case.run(head, tail)))


def test_a_new_object_is_copied_and_saved_too() -> None:
    for case in CASES:
        model = case.start()
        file = io.BytesIO()
        model.save(file)
        file.seek(0)
        for twin in (copy.deepcopy(model), type(model).load(file)):
            rows = _data(case)
            _assert_same_bits(
                case.quiet_answers(case.take(twin, rows)), case.quiet_answers(case.run(rows))
            )


@pytest.mark.parametrize("case", [c for c in CASES if c.merge == "exact"], ids=str)
def test_exact_merges_equal_the_serial_run(case: Case, xp: Backend) -> None:
    rows = _moved(_data(case), xp)
    parts = [
        case.run(tuple(x[i:j, ...] for x in rows)) for i, j in [(0, 300), (300, 1011), (1011, 1500)]
    ]
    merged = parts[0].merge(parts[1]).merge(parts[2])
    tolerance = 1e-12 if xp.has_float64 else 1e-4
    _assert_close(
        case.quiet_answers(merged),
        case.quiet_answers(case.run(rows)),
        tolerance,
        skip=("gap", "error_estimate"),
    )


@pytest.mark.parametrize("case", [c for c in CASES if c.merge is not None], ids=str)
def test_merges_leave_the_other_side_alone(case: Case, xp: Backend) -> None:
    rows = _moved(_data(case), xp)
    left = case.run(tuple(x[:800, ...] for x in rows))
    right = case.run(tuple(x[800:, ...] for x in rows))
    before = case.quiet_answers(copy.deepcopy(right))
    left.merge(right)
    _assert_same_bits(case.quiet_answers(right), before)


@pytest.mark.parametrize("case", [c for c in CASES if c.merge is None], ids=str)
def test_impossible_merges_say_so(case: Case) -> None:
    rows = _data(case)
    left, right = case.run(rows), case.run(rows)
    before = case.quiet_answers(copy.deepcopy(left))
    with pytest.raises((TypeError, ValueError), match="merge"):
        left.merge(right)
    _assert_same_bits(case.quiet_answers(left), before)


# --------------------------------------------------------------------------------- results


@every_case
@pytest.mark.filterwarnings("ignore::linalgkit.AccuracyWarning")
def test_results_are_frozen_and_short_to_print(case: Case) -> None:
    result = case.run(_data(case)).result()
    field = dataclasses.fields(result)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(result, field, None)
    assert "array" not in repr(result)
    assert len(repr(result)) < 1000
