"""What the factory refuses, and what each message offers."""

from __future__ import annotations

import numpy as np
import pytest

from linalgkit.sketching import sketch
from tests.conftest import Backend
from tests.sketching.kinds import KINDS, SAMPLED, STREAMING, WHOLE, make


def test_unknown_kinds_are_refused_with_the_list():
    with pytest.raises(ValueError, match=r"'gaussian', 'rademacher', 'srht'.*Did you mean 'srht'"):
        sketch("shrt", 5, 10)
    with pytest.raises(TypeError, match="kind must be one of"):
        sketch(3, 5, 10)


@pytest.mark.parametrize("kind", KINDS)
def test_sizes_must_be_positive_integers(kind):
    for m in (0, -1):
        with pytest.raises(ValueError, match="m must be at least 1"):
            make(kind, m, 10)
    with pytest.raises(TypeError, match="m must be an integer"):
        sketch(kind, 2.0, 10)
    with pytest.raises(ValueError, match="n must be at least 1"):
        sketch(kind, 2, 0)


@pytest.mark.parametrize("kind", WHOLE)
def test_kinds_that_do_not_stream_need_the_number_of_rows(kind):
    with pytest.raises(ValueError, match=r"n must be given .* gaussian, rademacher, block_srht"):
        sketch(kind, 2, None)


def test_flags_tell_what_streams_and_what_is_exact():
    for kind in KINDS:
        S = make(kind, 9, 10)
        assert S.streams == (kind in STREAMING)
        assert S.is_exact == (kind == "gaussian")
        assert S.kind == kind
        assert (S.m, S.shape) == (9, (9, 10))


@pytest.mark.parametrize("nnz", [0, 11])
def test_nnz_must_be_between_1_and_m(nnz):
    with pytest.raises(ValueError, match=f"nnz must be between 1 and 10 for m=10, got {nnz}"):
        sketch("sparse_sign", 10, 50, nnz=nnz)


def test_nnz_is_8_or_m_by_default():
    assert sketch("sparse_sign", 10, 50).nnz == 8
    assert sketch("sparse_sign", 4, 50).nnz == 4
    assert sketch("sparse_sign", 1, None).nnz == 1


OPTIONS = {
    "nnz": (3, ("sparse_sign",)),
    "replace": (True, SAMPLED),
    "permute": (False, ("srht", "srdct", "srft", "block_srht")),
    "block": (16, ("block_srht", "gaussian_pooled")),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("option", OPTIONS)
def test_options_that_do_not_apply_are_refused(kind, option):
    value, takers = OPTIONS[option]
    if kind in takers:
        assert getattr(make(kind, 5, 20, **{option: value}), option) == value
    else:
        with pytest.raises(ValueError, match=rf"{option} must be .* kind '{kind}', got {value}"):
            make(kind, 5, 20, **{option: value})


@pytest.mark.parametrize(
    ("kind", "most"), [("srht", 64), ("srdct", 50), ("srft", 50), ("circulant", 50)]
)
def test_sampling_without_replacement_has_an_end(kind, most):
    assert sketch(kind, most, 50, rng=0).shape == (most, 50)
    with pytest.raises(ValueError, match=rf"m must be at most {most}, .*Set replace=True"):
        sketch(kind, most + 1, 50)
    assert sketch(kind, most + 1, 50, replace=True, rng=0).shape == (most + 1, 50)


def test_blocks_are_powers_of_two_that_hold_the_sample():
    assert sketch("block_srht", 5, None).block == 1024
    assert sketch("block_srht", 600, None).block == 4096
    with pytest.raises(ValueError, match=r"block must be a power of two, got 48\. 64 is"):
        sketch("block_srht", 5, None, block=48)
    with pytest.raises(ValueError, match=r"m must be at most 16, .* for a block"):
        sketch("block_srht", 17, None, block=16)
    with pytest.raises(ValueError, match="block must be None for kind 'srht'"):
        sketch("srht", 5, 10, block=16)


def test_flags_and_dtypes_are_checked():
    with pytest.raises(TypeError, match="replace must be True or False"):
        sketch("srht", 5, 10, replace=1)
    with pytest.raises(TypeError, match="permute must be True or False"):
        sketch("srht", 5, 10, permute="no")
    with pytest.raises(TypeError, match="dtype must be one of float32"):
        sketch("srht", 5, 10, dtype="int64")
    with pytest.raises(TypeError, match="rng must be"):
        sketch("srht", 5, 10, rng="seed")


def test_dtypes_of_any_library_are_understood(xp: Backend):
    for name in xp.dtypes:
        assert sketch("srht", 5, 10, dtype=getattr(xp.xp, name)).dtype == name
    assert sketch("srht", 5, 10).dtype == "float64"
    assert sketch("srft", 5, 10).dtype == "complex128"
    assert sketch("srft", 5, 10, dtype=np.float32).dtype == "complex64"


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (float, "float64"),
        (complex, "complex128"),
        ("f4", "float32"),
        ("f8", "float64"),
        ("c8", "complex64"),
        ("c16", "complex128"),
        ("float32", "float32"),
        (np.dtype(">f8"), "float64"),
        (np.complex64, "complex64"),
    ],
)
def test_dtypes_may_have_any_name_that_numpy_knows(given, name):
    assert sketch("srht", 5, 10, dtype=given).dtype == name


@pytest.mark.parametrize(
    "given", ["foo.float64", "torch.float64", "f2", int, object, 3, "", "f4,f4"]
)
def test_other_dtypes_are_refused(given):
    with pytest.raises(TypeError, match="dtype must be one of float32"):
        sketch("srht", 5, 10, dtype=given)


def test_scores_are_checked(xp: Backend):
    good = np.ones(10)

    def scores(**changes):
        values = good.copy()
        for place, value in changes.items():
            values[int(place[1:])] = value
        return xp.asarray(values)

    with pytest.raises(ValueError, match="scores must be given"):
        sketch("leverage", 5, 10)
    with pytest.raises(ValueError, match="scores must be None for kind 'srht'"):
        sketch("srht", 5, 10, scores=scores())
    with pytest.raises(ValueError, match=r"scores must have shape \(11,\)"):
        sketch("leverage", 5, 11, scores=scores())
    with pytest.raises(ValueError, match="must not contain NaN"):
        sketch("leverage", 5, 10, scores=scores(_3=np.nan))
    with pytest.raises(ValueError, match=r"must not be negative, got -1\.0 at position 4"):
        sketch("leverage", 5, 10, scores=scores(_4=-1.0))
    with pytest.raises(ValueError, match="all zero"):
        sketch("leverage", 5, 10, scores=xp.asarray(np.zeros(10)))
    with pytest.raises(TypeError, match="real numbers"):
        sketch("leverage", 5, 10, scores=xp.asarray(np.ones(10) + 1j))


def test_rows_of_score_zero_are_never_picked():
    scores = np.zeros(100)
    scores[[3, 50, 99]] = 1e-200, 2e-200, 1e-200
    S = sketch("leverage", 4000, 100, scores=scores, rng=0)
    picked, counts = np.unique(S.rows, return_counts=True)
    assert picked.tolist() == [3, 50, 99]
    # Binomial(4000, 1/2) within five standard deviations.
    assert abs(counts[1] - 2000) < 5 * np.sqrt(1000)


@pytest.mark.skipif(np.finfo(np.longdouble).maxexp < 2000, reason="it is no wider than float64")
def test_scores_beyond_the_range_of_float64_are_taken():
    units = [np.ldexp(np.longdouble(1), exponent) for exponent in (-3000, 0, 3000)]
    plain = sketch("leverage", 50, 4, scores=np.asarray([1.0, 0.0, 2.0, 3.0]), rng=0)
    for unit in units:
        scores = unit * np.asarray([1, 0, 2, 3], dtype=np.longdouble)
        assert sketch("leverage", 50, 4, scores=scores, rng=0) == plain
