"""Kronecker-sparse problems: their law, their answers' figures, and the reflected channel."""

import math
from functools import reduce

import numpy as np
import pytest

from linalgkit import datasets
from linalgkit._core import array as core_array

WIDTHS, SIZES, NONZEROS = (7, 5, 6), (4, 5, 3), (2, 3, 1)


def dense(problem, coef=None, support=None):
    """The unknown tensor with all its zeros."""
    coef = problem.coef if coef is None else coef
    support = problem.support if support is None else support
    widths = [H.shape[1] for H in problem.factors]
    x = np.zeros([*widths, *coef.shape[len(widths) :]], dtype=coef.dtype)
    x[np.ix_(*support)] = coef
    return x


def small(**options):
    return datasets.kronecker_sparse(WIDTHS, SIZES, NONZEROS, **{"rng": 0, **options})


class TestLaw:
    @pytest.mark.parametrize("dtype", ["float64", "complex128"])
    @pytest.mark.parametrize("snapshots", [None, 1, 4])
    def test_clean_data_are_the_kronecker_product_times_the_tensor(self, dtype, snapshots):
        problem = small(dtype=dtype, snapshots=snapshots)
        last = () if snapshots is None else (snapshots,)
        assert problem.y.shape == problem.clean.shape == (*SIZES, *last)
        assert problem.coef.shape == (*NONZEROS, *last)
        H = reduce(np.kron, problem.factors)
        clean = (H @ dense(problem).reshape(H.shape[1], -1)).reshape(problem.clean.shape)
        assert np.abs(clean - problem.clean).max() < 1e-13 * np.abs(clean).max()

    def test_noise_has_the_variance_it_states_and_the_ratio_it_was_asked_for(self):
        for dtype in ("float64", "complex128"):
            problem = datasets.kronecker_sparse(
                (30, 30), (60, 60), (3, 3), snr_db=7.0, dtype=dtype, rng=1
            )
            power = np.mean(np.abs(problem.clean) ** 2)
            assert problem.noise_var == pytest.approx(power / 10**0.7, rel=1e-12)
            noise = problem.y - problem.clean
            # 3600 squares of relative standard deviation at most sqrt(2): five deviations.
            ratio = np.mean(np.abs(noise) ** 2) / problem.noise_var
            assert abs(ratio - 1) < 5 * math.sqrt(2 / 3600)
            assert abs(ratio / 10**0.1 - 1) > 5 * math.sqrt(2 / 3600)  # one decibel would show
            if dtype == "complex128":
                assert abs(np.mean(noise**2)) < 5 * problem.noise_var / 60

    def test_factors_have_unit_variance_and_are_not_normalised(self):
        H = datasets.kronecker_sparse((50,), (80,), (3,), dtype="complex128", rng=2).factors[0]
        assert abs(np.mean(np.abs(H) ** 2) - 1) < 5 / math.sqrt(4000)
        assert np.ptp(np.linalg.norm(H, axis=0)) > 0.1

    def test_supports_are_sorted_and_uniform(self):
        counts = np.zeros(8)
        for seed in range(400):
            (s,) = datasets.kronecker_sparse((8,), (2,), (3,), rng=seed).support
            assert np.all(np.diff(s) > 0)
            counts[s] += 1
        # Each count is binomial(400, 3/8), of standard deviation 9.7.
        assert np.abs(counts - 150).max() < 5 * 9.7

    @pytest.mark.parametrize("snapshots", [None, 3])
    def test_rank_one_is_rank_one_in_every_unfolding_and_generic_is_not(self, snapshots):
        for rank_one in (True, False):
            problem = datasets.kronecker_sparse(
                (9, 9, 9), (4, 4, 4), (3, 3, 3), rank_one=rank_one, snapshots=snapshots, rng=3
            )
            for axis in range(problem.coef.ndim):
                unfolded = np.moveaxis(problem.coef, axis, 0).reshape(3, -1)
                s = np.linalg.svd(unfolded, compute_uv=False)
                assert (s[1] < 1e-14 * s[0]) == rank_one

    def test_one_mode_and_a_full_support_are_allowed(self):
        problem = datasets.kronecker_sparse([4], [6], [4], rng=4)
        assert list(problem.support[0]) == [0, 1, 2, 3]
        expected = np.linalg.lstsq(problem.factors[0], problem.y)[0]
        assert np.abs(problem.oracle() - expected).max() < 1e-12


class TestSeed:
    def test_the_ratio_scales_the_noise_and_nothing_else(self):
        loud, quiet = small(snr_db=0.0), small(snr_db=40.0)
        assert np.array_equal(loud.clean, quiet.clean)
        left, right = loud.y - loud.clean, 100 * (quiet.y - quiet.clean)
        assert np.abs(left - right).max() < 1e-10 * np.abs(left).max()

    def test_an_equal_seed_gives_an_equal_problem_and_a_generator_a_new_one(self):
        assert np.array_equal(small().y, small().y)
        rng = np.random.default_rng(0)
        assert not np.array_equal(small(rng=rng).y, small(rng=rng).y)

    def test_arrays_come_in_the_library_of_like_with_the_same_numbers(self, xp):
        like = xp.asarray(np.ones(1), "float32")
        for make, precise in ((small, "float64"), (datasets.irs_channel, "complex128")):
            exact = make(dtype=precise, rng=5)
            found = make(like=like, rng=5)
            kept = "float32" if make is small else "complex64"
            for name in ("y", "clean", "coef"):
                value = getattr(found, name)
                assert core_array.array_namespace(value) is xp.xp
                assert core_array.device(value) == xp.device
                assert core_array.dtype_name(xp.xp, value.dtype) == kept
                assert np.array_equal(xp.to_numpy(value), getattr(exact, name).astype(kept))
            for H, G in zip(found.factors, exact.factors, strict=True):
                assert np.array_equal(xp.to_numpy(H), G.astype(kept))
            for s, t in zip(found.support, exact.support, strict=True):
                assert core_array.device(s) == xp.device
                assert np.array_equal(xp.to_numpy(s), t)
            oracle = found.oracle()
            assert core_array.dtype_name(xp.xp, oracle.dtype) == kept
            assert core_array.device(oracle) == xp.device
            assert found.nmse(oracle) == pytest.approx(exact.nmse(exact.oracle()), rel=1e-3)
            assert found.support_rate(found.support) == 1.0


class TestFigures:
    @pytest.mark.parametrize("dtype", ["float64", "complex128"])
    def test_oracle_is_least_squares_on_the_support(self, dtype):
        problem = small(dtype=dtype, snapshots=2)
        pairs = zip(problem.factors, problem.support, strict=True)
        A = reduce(np.kron, [H[:, s] for H, s in pairs])
        expected = np.linalg.lstsq(A, problem.y.reshape(-1, 2))[0].reshape(problem.coef.shape)
        assert np.abs(problem.oracle() - expected).max() < 1e-11

    def test_mean_error_of_the_oracle_is_the_one_stated(self):
        errors, expected = [], []
        for seed in range(200):
            problem = datasets.kronecker_sparse((9, 9), (20, 20), (3, 2), rng=seed)
            energy = np.linalg.norm(problem.coef) ** 2
            traces = [
                np.trace(np.linalg.inv(H[:, s].T @ H[:, s]))
                for H, s in zip(problem.factors, problem.support, strict=True)
            ]
            errors.append(problem.nmse(problem.oracle()) * energy / problem.noise_var)
            expected.append(math.prod(traces))
        # An error is a sum of 6 squares: relative standard deviation near sqrt(2 / 6).
        limit = 5 * math.sqrt(2 / 6 / 200)
        assert abs(np.mean(errors) / np.mean(expected) - 1) < limit
        assert abs(np.mean(errors) / np.mean(np.sqrt(expected)) - 1) > limit  # one mode forgotten

    @pytest.mark.parametrize("snapshots", [None, 2])
    def test_error_and_rate_are_those_of_the_dense_tensors(self, snapshots, rng):
        problem = small(dtype="complex128", snapshots=snapshots)
        last = () if snapshots is None else (snapshots,)
        for sizes in [(1, 1, 1), (3, 2, 4), (7, 5, 6), (2, 0, 3)]:
            support = [rng.permutation(n)[:k] for n, k in zip(WIDTHS, sizes, strict=True)]
            coef = rng.standard_normal((*sizes, *last))
            x, guess = dense(problem), dense(problem, coef, support)
            error = np.linalg.norm(guess - x) ** 2 / np.linalg.norm(x) ** 2
            assert problem.nmse(coef, support) == pytest.approx(error, rel=1e-12)
            inside, truth = (
                dense(problem, np.ones([len(s) for s in sets]), sets) > 0
                for sets in (support, problem.support)
            )
            rate = (inside & truth).sum() / (inside | truth).sum()
            assert problem.support_rate(support) == pytest.approx(rate, rel=1e-15)

    def test_the_truth_has_no_error_and_zero_has_all(self):
        problem = small()
        assert problem.nmse(problem.coef) == 0.0
        assert problem.nmse(np.zeros((1, 1, 1)), [np.asarray([0])] * 3) == 1.0

    def test_nothing_of_the_size_of_the_unknown_is_formed(self):
        problem = datasets.kronecker_sparse((3000,) * 4, (4,) * 4, (2,) * 4, rng=6)
        assert problem.nmse(problem.oracle()) < 10
        assert problem.support_rate(problem.support) == 1.0


class TestErrors:
    @pytest.mark.parametrize(
        ("arguments", "why"),
        [
            (((), (), ()), "widths must have 1 entries"),
            (((5, 5), (4,), (2, 2)), "sizes must have 2 entries, one a mode as widths has, got 1"),
            (((5, 5), (4, 4), (2,)), "nonzeros must have 2 entries"),
            (((5, 0), (4, 4), (2, 2)), r"widths\[1\] must be at least 1, got 0"),
            (((5, 5), (4, 0), (2, 2)), r"sizes\[1\] must be at least 1, got 0"),
            (((5, 5), (4, 4), (2, 6)), r"nonzeros\[1\] must be between 1 and 5"),
            (((5, 5), (4, 4), (0, 2)), r"nonzeros\[0\] must be between 1 and 5"),
        ],
        ids=str,
    )
    def test_sizes_that_do_not_match_are_refused(self, arguments, why):
        with pytest.raises(ValueError, match=why):
            datasets.kronecker_sparse(*arguments)

    @pytest.mark.parametrize(
        ("options", "kind", "why"),
        [
            ({"snr_db": math.inf}, ValueError, "snr_db must be finite"),
            ({"snapshots": 0}, ValueError, "snapshots must be at least 1"),
            ({"rank_one": 1}, TypeError, "rank_one must be True or False"),
            ({"dtype": "int64"}, ValueError, "dtype must be one of"),
            ({"rng": -1}, ValueError, "rng must be a non-negative"),
        ],
        ids=str,
    )
    def test_bad_options_are_refused(self, options, kind, why):
        with pytest.raises(kind, match=why):
            small(**options)

    @pytest.mark.parametrize("widths", [5, "55", None])
    def test_sizes_must_be_sequences(self, widths):
        with pytest.raises(TypeError, match="widths must be a sequence of integers"):
            datasets.kronecker_sparse(widths, (4, 4), (2, 2))

    def test_estimates_must_fit_their_support(self):
        problem = small()
        with pytest.raises(ValueError, match=r"coef must have the shape \(2, 3, 1\)"):
            problem.nmse(np.zeros((2, 3)))
        with pytest.raises(ValueError, match="support must hold 3 index arrays"):
            problem.support_rate([np.arange(2)])

    @pytest.mark.parametrize(
        ("options", "why"),
        [
            ({"dtype": "float64"}, "dtype must be one of 'complex64', 'complex128'"),
            ({"spread": 19}, "spread must be between 1 and 18"),
            ({"n_elements": 0}, "n_elements must be at least 1"),
            ({"n_patterns": 0}, "n_patterns must be at least 1"),
        ],
        ids=str,
    )
    def test_bad_channels_are_refused(self, options, why):
        with pytest.raises(ValueError, match=why):
            datasets.irs_channel(**options)


def steering(n, n_angles):
    """Columns of responses, entry by entry."""
    return np.asarray(
        [
            [
                np.exp(1j * np.pi * (2 * i / n_angles - 1) * k) / math.sqrt(n)
                for i in range(n_angles)
            ]
            for k in range(n)
        ]
    )


def physical_channels(problem, departure):
    """H2 diag(pattern) H1, the surface's sides apart, for any angle of departure."""
    n_angles = problem.factors[0].shape[1]
    n_elements, n_user = problem.patterns.shape[0], problem.pilots.shape[0]
    surface = steering(n_elements, n_angles)
    user = steering(n_user, n_angles)
    base = steering(problem.factors[2].shape[0], n_angles)
    core, (at, who, station) = problem.coef[:, 0, :], problem.support
    arriving, leaving = core[:, :1], core[:1, :] / core[0, 0]
    arrival = surface[:, (at + departure) % n_angles] @ arriving
    into = arrival @ user[:, who].conj().T
    out = (base[:, station] @ leaving.T) @ surface[:, [departure]].conj().T
    return [out @ np.diag(p) @ into for p in problem.patterns.T]


class TestChannel:
    @pytest.mark.parametrize("n_angles", [18, 7])
    @pytest.mark.parametrize("departure", [0, 5])
    def test_the_model_is_the_physical_channel(self, n_angles, departure):
        problem = datasets.irs_channel(n_angles=n_angles, rng=0)
        channels = physical_channels(problem, departure)
        received = np.stack([(C @ problem.pilots).T for C in channels])
        assert problem.y.shape == (6, 3, 16)
        assert np.abs(received - problem.clean).max() < 1e-11 * np.abs(received).max()
        expected = np.stack([C.T for C in channels])
        assert np.abs(problem.channels() - expected).max() < 1e-11 * np.abs(expected).max()

    def test_support_is_three_by_one_by_three_and_neighbouring(self):
        for seed in range(60):
            problem = datasets.irs_channel(rng=seed)
            surface, user, base = problem.support
            assert problem.coef.shape == (3, 1, 3)
            assert user.shape == (1,)
            assert np.array_equal(base, base[0] + np.arange(3))
            assert {tuple((surface - s) % 18 < 3) for s in surface} >= {(True, True, True)}
            assert np.linalg.matrix_rank(problem.coef[:, 0, :]) == 1

    def test_energy_of_the_gains_has_its_mean(self):
        # |coef|^2 = scale^2 |g_a|^2 |g_2|^2: two gamma(3) variables, mean 9, variance 144 - 81.
        scale = 256 * math.sqrt(6 * 16) / 3
        energy = [
            np.linalg.norm(datasets.irs_channel(rng=seed).coef) ** 2 / scale**2
            for seed in range(300)
        ]
        assert abs(np.mean(energy) - 9) < 5 * math.sqrt(63 / 300)
        assert abs(np.mean(energy) - 18) > 5 * math.sqrt(63 / 300)  # gains of variance 2 would show

    def test_patterns_and_pilots_have_their_alphabets(self):
        problem = datasets.irs_channel(rng=1)
        assert set(np.round(np.unique(problem.patterns) * 16, 12)) == {-1.0, 1.0}
        symbols = np.round(problem.pilots * math.sqrt(12), 12)
        assert set(symbols.ravel().tolist()) == {1 + 1j, 1 - 1j, -1 + 1j, -1 - 1j}

    def test_no_pattern_cancels_the_channel(self):
        # Two elements seen under one angle: half of all patterns cancel it, so that 30 of them
        # drawn without a second try would all be sound with a chance of 2**-30.
        problem = datasets.irs_channel(
            n_elements=2, n_angles=1, spread=1, n_patterns=30, n_pilots=1, rng=2
        )
        sizes = np.linalg.norm(problem.channels(), axis=(1, 2))
        assert np.ptp(sizes) < 1e-12 * sizes[0]

    def test_channel_error_is_that_of_the_channels(self, rng):
        problem = datasets.irs_channel(rng=3)
        assert problem.channel_error(problem.coef) == 0.0
        assert problem.channel_error(np.zeros((1, 1, 1)), [np.asarray([0])] * 3) == 1.0
        support = [np.asarray([4, 1]), np.asarray([2, 9, 0]), np.asarray([17])]
        coef = rng.standard_normal((2, 3, 1)) + 1j * rng.standard_normal((2, 3, 1))
        found = np.einsum(
            "abc,pa,ub,nc->pun",
            coef,
            *(H[:, s] for H, s in zip(problem.channel_factors, support, strict=True)),
        )
        assert np.abs(problem.channels(coef, support) - found).max() < 1e-13
        exact = problem.channels()
        shares = [
            np.linalg.norm(f - e) ** 2 / np.linalg.norm(e) ** 2
            for f, e in zip(found, exact, strict=True)
        ]
        for core in (coef, coef[..., None]):
            assert problem.channel_error(core, support) == pytest.approx(np.mean(shares))
        with pytest.raises(ValueError, match=r"coef must have the shape \(2, 3, 1\)"):
            problem.channel_error(coef[:1], support)
