"""The boundary: what is refused, by which exception, in which words."""

import math
import pickle
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse as sp

from linalgkit._core import validation as v


class TestMessages:
    def test_names_argument_rule_value_and_way_out(self):
        with pytest.raises(ValueError, match="rank must") as caught:
            v.check_int("rank", 41, 1, 40, "for a matrix of shape (40, 90)", way_out="Use 40.")
        assert str(caught.value) == (
            "rank must be between 1 and 40 for a matrix of shape (40, 90), got 41. Use 40."
        )

    def test_a_long_value_is_cut(self):
        with pytest.raises(ValueError, match=r"\.\.\.\.$") as caught:
            v.check_choice("method", "x" * 500, ("a", "b"))
        assert len(str(caught.value)) < 150

    def test_an_array_where_a_number_belongs_is_named_by_type(self):
        with pytest.raises(TypeError, match=r"k must be an integer, got .*ndarray"):
            v.check_int("k", np.zeros((20, 20)))


class TestCheckInt:
    @pytest.mark.parametrize("value", [3, np.int32(3), np.uint8(3), np.asarray(3)])
    def test_returns_a_python_int(self, value):
        assert type(v.check_int("k", value, 1, 5)) is int

    @pytest.mark.parametrize("value", [True, np.True_, 2.0, "2", None, 1 + 0j, [1]])
    def test_refuses_other_kinds(self, value):
        with pytest.raises(TypeError, match="k must be an integer, got"):
            v.check_int("k", value, 1, 5)

    @pytest.mark.parametrize(
        ("low", "high", "value", "rule"),
        [
            (1, 5, 0, "between 1 and 5, got 0"),
            (1, 5, 6, "between 1 and 5, got 6"),
            (1, None, 0, "at least 1, got 0"),
            (None, 5, 6, "at most 5, got 6"),
            (1, 1, 2, "be 1, got 2"),
        ],
    )
    def test_refuses_values_outside(self, low, high, value, rule):
        with pytest.raises(ValueError, match=rule):
            v.check_int("k", value, low, high)

    @pytest.mark.parametrize("value", [1, 5])
    def test_limits_belong_to_the_range(self, value):
        assert v.check_int("k", value, 1, 5) == value

    def test_accepts_integers_beyond_64_bits(self):
        assert v.check_int("seed", 2**200, 0) == 2**200


class TestCheckFloat:
    @pytest.mark.parametrize("value", [1, 0.5, np.float32(0.5), np.asarray(1.0)])
    def test_returns_a_python_float(self, value):
        assert type(v.check_float("f", value, 0, 1, low_open=True)) is float

    @pytest.mark.parametrize("value", [True, "0.5", None, 0.5j, np.complex64(1), [1, 2], b"1"])
    def test_refuses_other_kinds(self, value):
        with pytest.raises(TypeError, match="f must be a real number"):
            v.check_float("f", value)

    @pytest.mark.parametrize(
        ("value", "options", "rule"),
        [
            (0.0, {"low_open": True}, "greater than 0 and at most 1, got 0.0"),
            (1.0, {"high_open": True}, "at least 0 and less than 1, got 1.0"),
            (1.5, {}, "between 0 and 1, got 1.5"),
            (math.nan, {}, "between 0 and 1, got nan"),
            (math.inf, {}, "between 0 and 1, got inf"),
            (10**400, {}, "between 0 and 1, got 1000"),
        ],
    )
    def test_refuses_values_outside(self, value, options, rule):
        with pytest.raises(ValueError, match=rule):
            v.check_float("f", value, 0, 1, **options)

    def test_infinity_passes_only_where_it_is_allowed(self):
        assert v.check_float("f", math.inf, 0, finite=False) == math.inf
        with pytest.raises(ValueError, match="f must be finite, got inf"):
            v.check_float("f", math.inf)
        with pytest.raises(ValueError, match="got nan"):
            v.check_float("f", math.nan, finite=False)


class TestCheckChoice:
    def test_returns_the_choice(self):
        assert v.check_choice("method", "gram", ("auto", "gram")) == "gram"
        assert v.check_choice("norm", None, ("inf", None)) is None

    def test_offers_the_nearest_choice(self):
        with pytest.raises(ValueError, match="one of 'auto', 'gram', got 'grma'") as caught:
            v.check_choice("method", "grma", ("auto", "gram"))
        assert str(caught.value).endswith("Did you mean 'gram'?")

    @pytest.mark.parametrize("value", [3, None, ["gram"], np.zeros(2)])
    def test_refuses_other_kinds(self, value):
        with pytest.raises(TypeError, match="method must be one of"):
            v.check_choice("method", value, ("auto", "gram"))


def test_check_bool_takes_nothing_but_truth_values():
    assert v.check_bool("center", np.True_) is True
    with pytest.raises(TypeError, match="center must be True or False, got int 1"):
        v.check_bool("center", 1)


class TestCheckArray2d:
    def test_returns_the_array_itself_and_its_namespace(self, xp):
        X = xp.asarray(np.ones((3, 2)))
        same, found = v.check_array_2d("X", X, n_columns=2)
        assert same is X
        assert found is xp.xp

    @pytest.mark.parametrize("shape", [(), (5,), (2, 3, 4)])
    def test_refuses_other_ranks(self, xp, shape):
        with pytest.raises(ValueError, match=r"X must be 2-D .* Reshape your data"):
            v.check_array_2d("X", xp.asarray(np.ones(shape)))

    def test_names_both_column_counts(self):
        with pytest.raises(ValueError, match="must have 3 columns as in the first block, got 2"):
            v.check_array_2d("X", np.ones((4, 2)), n_columns=3)

    def test_refuses_too_few_rows_and_columns(self):
        with pytest.raises(ValueError, match=r"at least 2 rows, got shape \(1, 2\)"):
            v.check_array_2d("X", np.ones((1, 2)), min_rows=2)
        with pytest.raises(ValueError, match=r"at least 1 column, got shape \(3, 0\)"):
            v.check_array_2d("X", np.ones((3, 0)))

    @pytest.mark.parametrize(
        "X",
        [
            [[1.0, 2.0]],
            np.ma.masked_array(np.ones((2, 2))),
            np.asarray([[1, "a"]], dtype=object),
            np.asarray([["a"]]),
            "text",
            None,
        ],
    )
    def test_refuses_what_is_no_numeric_array(self, X):
        with pytest.raises(TypeError, match="X: "):
            v.check_array_2d("X", X)

    def test_sparse_passes_only_where_it_is_allowed(self):
        X = sp.csr_array(np.eye(3))
        same, xp = v.check_array_2d("X", X, n_columns=3, allow_sparse=True)
        assert same is X
        assert xp.__name__.endswith("numpy")
        with pytest.raises(TypeError, match="X must be a dense array, got the sparse csr_array"):
            v.check_array_2d("X", X)


class TestFiniteBlock:
    @pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
    def test_names_block_and_first_row(self, xp, bad):
        X = np.ones((7, 3))
        X[4, 2], X[6, 0] = bad, math.nan
        with pytest.raises(ValueError, match=r"X must not contain NaN .* block 5, row 4 "):
            v.check_finite_block(xp.asarray(X), 5)

    def test_plus_and_minus_infinity_do_not_cancel(self, xp):
        X = xp.asarray([[math.inf, 1.0], [-math.inf, 1.0]])
        with pytest.raises(ValueError, match="row 0 "):
            v.check_finite_block(X)

    def test_finite_blocks_pass_even_if_their_sum_overflows(self, xp):
        largest = np.finfo(np.float64 if xp.has_float64 else np.float32).max
        v.check_finite_block(xp.asarray(np.full((4, 3), largest)))

    @pytest.mark.parametrize("part", [math.nan + 1j, complex(1, math.inf)])
    def test_either_part_of_a_complex_number_counts(self, xp, part):
        X = xp.asarray(np.asarray([[1 + 1j], [part]], dtype=np.complex64))
        with pytest.raises(ValueError, match="block 0, row 1 "):
            v.check_finite_block(X, 0)

    def test_of_a_vector_the_entry_is_named(self, xp):
        with pytest.raises(ValueError, match="entry 1 "):
            v.check_finite_block(xp.asarray([1.0, math.nan]))

    @pytest.mark.parametrize("X", [np.ones((2, 2), int), np.ones((2, 2), bool), np.ones((0, 3))])
    def test_integers_booleans_and_empty_blocks_pass(self, xp, X):
        v.check_finite_block(xp.asarray(X))

    @pytest.mark.parametrize("format", ["csr", "csc", "coo", "bsr", "dia", "lil", "dok"])
    def test_sparse_blocks_are_checked_by_their_stored_values(self, format):
        X = np.zeros((6, 4))
        X[1, 1], X[3, 0], X[5, 3] = 1.0, 2.0, 3.0
        v.check_finite_block(sp.coo_array(X).asformat(format), 0)
        X[5, 3] = X[3, 0] = math.nan
        with pytest.raises(ValueError, match="block 2, row 3 "):
            v.check_finite_block(sp.coo_array(X).asformat(format), 2)


class TestNotFittedError:
    def test_is_a_value_and_an_attribute_error(self):
        with pytest.raises(AttributeError, match=r"no data yet\. Call fit or partial_fit"):
            v.require_fitted(object(), False)
        with pytest.raises(ValueError, match=r"no data yet\. Call append_columns with"):
            v.require_fitted(object(), False, "append_columns")
        v.require_fitted(object(), True)

    def test_scikit_learn_catches_it(self):
        exceptions = pytest.importorskip("sklearn.exceptions")
        with pytest.raises(exceptions.NotFittedError):
            v.require_fitted(object(), False)

    def test_survives_pickling(self):
        error = pickle.loads(pickle.dumps(v.NotFittedError("no data", 3)))
        assert isinstance(error, v.NotFittedError)
        assert error.args == ("no data", 3)

    def test_does_not_import_scikit_learn(self):
        code = (
            "import sys\n"
            "from linalgkit._core.validation import NotFittedError\n"
            "assert type(NotFittedError('x')) is NotFittedError\n"
            "assert 'sklearn' not in sys.modules\n"
        )
        subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_a_block_of_another_library_is_refused(xp):
    X = xp.asarray(np.ones((1, 1)))
    name = v.library_of(X)
    v.check_same_library("X", X, name)
    with pytest.raises(TypeError, match=f"array of foreign as the earlier blocks were, got {name}"):
        v.check_same_library("X", X, "foreign")
