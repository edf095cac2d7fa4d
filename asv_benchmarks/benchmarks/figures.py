"""The figures that linalgkit promises, in one place: `compare.py` and the manual read them here.

Every figure is a number that less is better for: an error, or a ratio method / rival of times
or bytes taken in one process.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

from . import paper_data


def short(value: float) -> str:
    """Write three significant digits, without an exponent from a thousand to a million."""
    rounded = float(f"{value:.3g}")
    return f"{rounded:.0f}" if 1e3 <= abs(rounded) < 1e6 else f"{value:.3g}"


@dataclass(frozen=True)
class Figure:
    """What a benchmark must measure at most.

    ``benchmark`` is "module.Class.track_name"; ``params`` picks one set of its parameters, None
    takes each in turn. ``times_faster`` shows a ratio as its inverse. ``minutes`` marks what
    only `compare.py --long` runs. ``needs`` names the package of a rival, ``data`` a file of
    `paper_data.NAMES`. A limit of None is no promise: the figure is shown as it is.
    """

    what: str
    benchmark: str
    limit: float | None
    params: tuple[Any, ...] | None = None
    times_faster: bool = False
    minutes: bool = False
    needs: str = ""
    data: str = ""

    def missing(self) -> Iterator[str]:
        """Yield what the figure needs and this machine does not have."""
        if self.needs and find_spec(self.needs) is None:
            yield f"the package {self.needs}"
        if self.data and not paper_data.find(self.data):
            yield paper_data.NAMES[self.data]

    def show(self, value: float) -> str:
        """Write a value the way the promise is worded."""
        if self.times_faster:
            return f"{short(1.0 / value)}x faster"
        return short(value)

    @property
    def asked(self) -> str:
        """The promise in words."""
        if self.limit is None:
            return "no promise"
        if self.times_faster:
            return f">= {short(1.0 / self.limit)}x faster"
        return f"<= {short(self.limit)}"

    def met(self, value: float) -> bool | None:
        """Tell whether a measured value keeps the promise, None where there is none."""
        return None if self.limit is None else bool(value <= self.limit)


def _speed(method: str, peer: str, times: float) -> Figure:
    return Figure(
        f"time, {method} against {peer}, n=60000 d=1000 k=1 gap 3.15",
        "streaming_eigenvectors.Speed.track_ratio_to_peer",
        1.0 / times,
        (method, peer),
        times_faster=True,
        minutes=peer == "incremental-pca",
    )


def _speed_error(method: str) -> Figure:
    return Figure(
        f"error, {method} over incremental-pca-256, the same data",
        "streaming_eigenvectors.Speed.track_error_ratio_to_batch_256",
        1.0,
        (method, "incremental-pca-256"),
    )


STREAMING_EIGENVECTORS = (
    Figure(
        "error over that of the best peer, portfolio",
        "streaming_eigenvectors.Accuracy.track_ratio_to_peer",
        1.5,
    ),
    Figure(
        "largest error over all orders, heavy rows",
        "streaming_eigenvectors.HeavyRows.track_error",
        1e-3,
    ),
    _speed("block-power", "incremental-pca-256", 60.0),
    _speed("portfolio", "incremental-pca-256", 15.0),
    _speed("block-power", "incremental-pca", 100.0),
    _speed("portfolio", "incremental-pca", 30.0),
    _speed_error("block-power"),
    _speed_error("portfolio"),
    Figure(
        "time, block-power with 2 columns over one pass X @ z",
        "streaming_eigenvectors.OnePass.track_ratio_to_limit",
        2.0,
    ),
    Figure(
        "time, block-power over a pair of matrix products",
        "streaming_eigenvectors.GemmPair.track_ratio_to_limit",
        1.3,
    ),
    Figure(
        "time, portfolio over a pair of matrix products",
        "streaming_eigenvectors.PortfolioPair.track_ratio_to_limit",
        1.3,
    ),
    Figure(
        "peak memory over 8 d (2 q + h + b) bytes",
        "streaming_eigenvectors.Memory.track_ratio_to_formula",
        1.25,
    ),
    Figure(
        "relative change of the peak from 1e5 to 1e7 rows",
        "streaming_eigenvectors.MemoryGrowth.track_growth",
        0.01,
        minutes=True,
    ),
    Figure(
        "relative error of the reported gap",
        "streaming_eigenvectors.Gap.track_error",
        0.10,
    ),
    Figure(
        "seconds of the import beyond NumPy and SciPy",
        "import_time.ImportTime.track_seconds",
        0.1,
    ),
)


def _passes(kind: str, limit: float) -> Figure:
    return Figure(
        f"time, {kind} of 2^17 x 128 over a copy of the data",
        "sketching.Operator.track_ratio_to_limit",
        limit,
        (kind, "float64"),
    )


SKETCHING = (
    _passes("srht", 3.0),
    _passes("block_srht", 2.0),
    _passes("sparse_sign", 1.5),
    _passes("gaussian_pooled", 4.0),
    Figure(
        "time, srht against scipy.fft.dct along axis 0",
        "sketching.Operator.track_ratio_to_peer",
        1 / 12,
        ("srht", "float64"),
        times_faster=True,
    ),
    Figure("time, float32 over float64", "sketching.SinglePrecision.track_ratio", 0.6),
    Figure(
        "time, entries of a Gaussian S of 1e8 over its product with 128 columns",
        "sketching_kernels.Generation.track_ratio_to_limit",
        1.5,
        ("float64",),
    ),
)


def _lstsq(problem: str, benchmark: str, peer: str, times: float) -> Figure:
    return Figure(
        f"time, lstsq of {problem} against {peer}",
        f"regression.{benchmark}.track_ratio_to_peer",
        1.0 / times,
        (peer,),
        times_faster=True,
        needs=peer,
    )


_ILL = ("32768 x 400, condition 1e10", "IllConditioned")
_WELL = ("2^17 x 64, condition 1e4", "WellConditioned")

REGRESSION = (
    _lstsq(*_WELL, "numpy", 8.0),
    _lstsq(*_WELL, "torch", 3.5),
    _lstsq(*_ILL, "numpy", 2.0),
    _lstsq(*_ILL, "torch", 1.2),
    Figure(
        "peak memory of lstsq, 32768 x 400, over that of the matrix",
        "regression.IllConditioned.track_memory",
        0.25,
        ("numpy",),
    ),
    Figure(
        "largest backward error, condition 1 to 1e16, over 10 u ||A||_F",
        "regression.BackwardError.track_error",
        1.0,
        ("auto",),
    ),
    Figure(
        "largest factor between certificate and backward error",
        "regression.BackwardError.track_certificate",
        5.0,
        ("auto",),
    ),
    Figure(
        "time, kron_lstsq of 512^2 from 6 x 6 over one pass and two factorisations",
        "sketched_lstsq.KroneckerExact.track_ratio_to_limit",
        4.0,
        (512,),
    ),
)


def _stream(method: str, products: float, times: float) -> tuple[Figure, ...]:
    name = f"{method}, stream of 10000 x 4000, 50 triplets, batches of 100"
    return (
        Figure(
            f"time, {name} over one product U^H A",
            "incremental_svd.DenseStream.track_ratio_to_limit",
            products,
            (method,),
        ),
        Figure(
            f"time, {name} against IncrementalPCA",
            "incremental_svd.DenseStream.track_ratio_to_peer",
            1.0 / times,
            (method,),
            times_faster=True,
        ),
        Figure(
            f"excess projection error, {name} over IncrementalPCA",
            "incremental_svd.DenseStream.track_error",
            0.2,
            (method,),
        ),
    )


_TEXTS = "sparse stream of 50000 x 10000, 100 triplets, chunks of 2000"

SVD = (
    *_stream("gram", 9.0, 8.0),
    *_stream("cholqr", 20.0, 4.0),
    Figure(
        "microseconds of a call with one column of 1e4 beyond copying it",
        "incremental_svd.SingleColumns.track_overhead",
        30.0,
    ),
    *(
        Figure(
            f"time, single columns of 1e4, {r} triplets, against the textbook update",
            "incremental_svd.TextbookUpdate.track_ratio_to_peer",
            1 / 20,
            (r,),
            times_faster=True,
        )
        for r in (50, 100)
    ),
    Figure(
        "peak memory over 8 m (2 l + b) bytes",
        "incremental_svd.Memory.track_ratio_to_formula",
        1.25,
    ),
    Figure(
        f"time, {_TEXTS}, against gensim",
        "incremental_svd.SparseStream.track_ratio_to_peer",
        0.2,
        (None,),
        needs="gensim",
        times_faster=True,
    ),
    Figure(
        f"excess projection error, {_TEXTS}",
        "incremental_svd.SparseStream.track_error",
        1e-4,
        (None,),
        needs="gensim",
    ),
    Figure(
        f"peak memory, {_TEXTS}, over gensim",
        "incremental_svd.SparseStream.track_memory",
        1.0,
        (None,),
        needs="gensim",
    ),
)

_COLUMNS = "300000 columns of 768, rank 32, eps .2, 100 planted groups"
_MATRICES = "5000 matrices (160, 8), rank 10, eps .1, 40 planted groups"

CLUSTERING = (
    Figure(
        f"time a matrix, {_COLUMNS}, against the published search",
        "clustering.SingleColumns.track_ratio_to_peer",
        1 / 50,
        ("gallop",),
        times_faster=True,
        minutes=True,
    ),
    Figure(
        f"compression of the published search over ours, {_MATRICES}",
        "clustering.Matrices.track_published_compression",
        1 / 1.05,
        ("gallop",),
    ),
    Figure(
        f"time a matrix, {_MATRICES}, against the published search",
        "clustering.Matrices.track_ratio_to_peer",
        1 / 20,
        ("gallop",),
        times_faster=True,
    ),
)


def _dppy(what: str, benchmark: str, times: float, *params: Any) -> Figure:
    """Return a figure against DPPy."""
    track = f"sampling.{benchmark}.track_ratio_to_peer"
    label = f"time, {what}, against DPPy"
    return Figure(label, track, 1 / times, params, times_faster=True, needs="dppy")


SAMPLING = (
    _dppy(
        "projection sample with set-up, n=100000 m=100",
        "Projection",
        600,
        "tall",
        "with set-up",
    ),
    _dppy("warm projection sample, n=100000 m=100", "Projection", 2000, "tall", "warm"),
    _dppy("warm projection sample, n=10000 m=500", "Projection", 500, "wide", "warm"),
    *(
        Figure(
            f"time, raw X, n=100000 m=500, set-up and one sample, {scores} scores, over X.T @ X",
            "sampling.RawRows.track_ratio_to_limit",
            limit,
            (scores,),
        )
        for scores, limit in (("exact", 3.5), ("sketch", 2.0))
    ),
    Figure("time, warm sample, m=100, n=1e6 over n=1e4", "sampling.Warm.track_growth", 1.5),
    Figure("memory over 8 (m^2 + 4 b m) + 16 n bytes", "sampling.Warm.track_memory", 1.0),
    Figure("proposals a sample, departure from m H_m", "sampling.Proposals.track_departure", 0.02),
    _dppy("next k-DPP sample, n=100000 D=100 k=20", "FixedSize", 500),
    Figure(
        "time, continuous sample, m=969 d=3, over one product of matrices of size m",
        "sampling.Continuous.track_ratio_to_limit",
        8.0,
        (3,),
    ),
    _dppy("continuous sample, m=300 d=2", "Continuous", 40, 2),
    *(
        Figure(
            f"part of designs of 3 m points with lmin < .1, m={m}",
            "sampling.Designs.track_failures",
            0.01,
            (case,),
        )
        for case, m in (((1, 10), 11), ((2, 8), 45))
    ),
    Figure("seconds, greedy removal from 270 points, m=45", "sampling.Greedy.track_seconds", 0.1),
    Figure("points left over m", "sampling.Greedy.track_points", 1.05),
)

_CHAIN = "one chain of products of y along its modes"
_PAPER = "N=3375 M=1440"


def _large(what: str, track: str, limit: float, unknowns: str) -> Figure:
    size = {"million": "N=1e6 complex, 100^3 from 60^3", "billion": "N=1e9, 1000^3 from 150^3"}
    return Figure(
        f"{what}, kron_sbl, {size[unknowns]}, K=5, 20 dB, noise unknown",
        f"bayes.Large.track_{track}",
        limit,
        (unknowns,),
    )


BAYES = (
    _large("1 - support rate", "support", 0.0, "million"),
    _large("squared error over that of the oracle", "error", 1.02, "million"),
    _large("relative error of the noise variance", "noise", 0.01, "million"),
    _large(f"time over {_CHAIN}", "ratio_to_limit", 40.0, "million"),
    _large("MB beyond the data", "megabytes", 120.0, "million"),
    _large("1 - support rate", "support", 0.0, "billion"),
    _large(f"time over {_CHAIN}", "ratio_to_limit", 60.0, "billion"),
    _large("memory beyond the data over the bytes of y", "memory", 6.0, "billion"),
    Figure(
        f"time, mean and variances, {_PAPER}, against forming the N x N covariance",
        "bayes.EStep.track_ratio_to_peer",
        1 / 3000,
        (),
        times_faster=True,
    ),
    Figure(
        f"time, kron_sbl, {_PAPER}, against classical SBL, dense",
        "bayes.WholeSolve.track_ratio_to_peer",
        1 / 300,
        (),
        times_faster=True,
    ),
    Figure(
        f"squared error, kron_sbl, {_PAPER}, over that of classical SBL, dense",
        "bayes.WholeSolve.track_error_ratio_to_peer",
        1.0,
        (),
    ),
    *(
        Figure(
            f"relative error of the posterior {name}, modes and dB",
            f"bayes.Posteriors.{track}",
            1e-12,
            needs="mpmath",
        )
        for name, track in (("mean", "track_mean"), ("variances", "track_variance"))
    ),
    Figure(
        "mean squared error over that of the oracle, generic core, 200 draws, dB",
        "bayes.GenericCore.track_excess",
        1.05,
    ),
    Figure(
        "1 - mean support rate, generic core, 200 draws, dB",
        "bayes.GenericCore.track_support",
        0.01,
    ),
    Figure(
        "mean squared error over the better of AM and SVD, x of rank one, 200 draws, dB",
        "bayes.RankOneData.track_ratio_to_peer",
        1.0,
    ),
    Figure(
        "share of draws above ten times the oracle, x of rank one, 200 draws, dB",
        "bayes.RankOneData.track_failures",
        0.03,
    ),
    *(
        Figure(
            f"mean channel error over the better of AM and SVD, 50 channels, {snr_db} dB",
            "bayes.Channels.track_ratio_to_peer",
            0.5 if snr_db <= 12 else 1.0,
            (snr_db,),
        )
        for snr_db in (4, 8, 12, 16, 20)
    ),
    Figure("seconds a channel, dB", "bayes.Channels.track_seconds", 0.1),
    Figure(
        "share of supports not exact, 16 snapshots, 30 x 40 from 10 x 12, 5 dB, 100 draws",
        "bayes.Snapshots.track_missed",
        0.05,
        (5, 16),
    ),
)

_TENSOR = "129^3 coefficients of 30 Gaussians"
_POINTS = "1e5 points, ranks 27 28 28"
_SINE, _RUNGE = "sin(3e^x+4yz)", "1/(1+25r^2)"


def _scattered(rival: str, degree: int, times: float, how: str = "") -> Figure:
    return Figure(
        f"time, {_POINTS}, degree {degree}, against {rival}{how}",
        "chebyshev.Scattered.track_ratio_to_peer",
        1 / times,
        (degree, rival.partition(" ")[0]),
        times_faster=True,
        needs=rival.partition(" ")[0],
    )


CHEBYSHEV = (
    Figure(
        "largest error over tol and size, 40 functions, 1e5 points, tol",
        "chebyshev.Functions.track_error",
        5.0,
    ),
    Figure(
        "share of estimates off by more than 10, 40 functions, all tol",
        "chebyshev.Estimates.track_outside",
        0.05,
    ),
    Figure(
        f"largest error, {_RUNGE}, tol 1e-6, 50 seeds", "chebyshev.Runge.track_error_of_seeds", 5e-6
    ),
    Figure(
        f"most evaluations, {_RUNGE}, tol 1e-12, 20 seeds", "chebyshev.Runge.track_evaluations", 2e5
    ),
    Figure(f"seconds, {_RUNGE}, tol 1e-12", "chebyshev.Runge.track_seconds", 0.015),
    *(
        Figure(
            f"time, sthosvd of {_TENSOR} to {tol:.0e}, over one product of an unfolding by itself",
            "chebyshev.Compression.track_ratio_to_limit",
            limit,
            (tol, "truncated_svd"),
        )
        for tol, limit in ((1e-6, 2.5), (1e-12, 8.0))
    ),
    *(
        Figure(
            f"time, sthosvd of {_TENSOR} to {tol:.0e}, against tensorly, {svd}, ranks told",
            "chebyshev.Compression.track_ratio_to_peer",
            1 / times,
            (tol, svd),
            times_faster=True,
            needs="tensorly",
        )
        for tol in (1e-6, 1e-12)
        for svd, times in (("truncated_svd", 60), ("randomized_svd", 25))
    ),
    *(
        Figure(
            f"time, {_POINTS}, degree {degree}, over products of a basis with the core, {how}",
            f"chebyshev.Scattered.{track}",
            0.7,
            (degree, "numpy"),
        )
        for how, track in (
            ("all kept", "track_ratio_to_written"),
            ("in one buffer", "track_ratio_to_limit"),
        )
        for degree in (56, 128)
    ),
    *(_scattered("teneva func_get", degree, 50) for degree in (56, 128)),
    _scattered("numpy chebval3d", 128, 3000, ", extrapolated from 40 points"),
    *(
        Figure(
            f"time, grid of 256^3, degree {degree}, over filling a new one",
            "chebyshev.Grid.track_ratio_to_limit",
            2.0,
            (degree,),
        )
        for degree in (56, 128)
    ),
    Figure(
        "time, grid of 256^3, degree 128, against numpy chebgrid3d",
        "chebyshev.Grid.track_ratio_to_peer",
        1 / 300,
        (128,),
        times_faster=True,
    ),
    Figure(
        f"median evaluations, {_SINE}, tol 1e-8, 20 seeds", "chebyshev.Sine.track_evaluations", 5e3
    ),
    Figure(
        f"most evaluations, {_SINE}, tol 1e-8, 20 seeds",
        "chebyshev.Sine.track_most_evaluations",
        5e3,
    ),
    Figure(
        f"largest error over tol, {_SINE}, tol 1e-8, 20 seeds",
        "chebyshev.Sine.track_largest_error",
        5.0,
    ),
    *(
        figure
        for tensor, what, error in (
            ("biomolecule", "biomolecule of CP rank 743, n=256", 1.4e-6),
            ("newton", "long-range Newton kernel, n=512", 5.2e-8),
        )
        for figure in (
            Figure(
                f"ranks above those published, {what}",
                "chebyshev_sums.PaperData.track_excess_rank",
                0.0,
                (tensor,),
                data=tensor,
            ),
            Figure(
                f"relative error, {what}",
                "chebyshev_sums.PaperData.track_error",
                error,
                (tensor,),
                data=tensor,
            ),
        )
    ),
    Figure(
        "largest change of a rank, CP columns times 1e+-100, weights",
        "chebyshev_sums.Rescaled.track_ranks",
        0.0,
    ),
    Figure(
        "relative change of the error, CP columns times 1e+-100, weights",
        "chebyshev_sums.Rescaled.track_change",
        0.1,
    ),
    Figure(
        "time, 5000 particles, alpha=12, tol 1e-7, over products of 2 N 114^3",
        "chebyshev_sums.Particles.track_ratio_to_limit",
        2.0,
    ),
    Figure("relative error, 5000 particles", "chebyshev_sums.Particles.track_error", 3e-7),
    Figure(
        "relative error of forces, 5000 particles",
        "chebyshev_sums.Particles.track_error_of_forces",
        1e-5,
    ),
    Figure(
        "largest rank, lattice of 16^3, told as, alpha", "chebyshev_sums.Lattice.track_rank", 9.0
    ),
    Figure(
        "peak memory in MiB, lattice of 16^3, told as, alpha",
        "chebyshev_sums.Lattice.track_megabytes",
        50.0,
    ),
    Figure(
        "relative error, lattice of 16^3, told as, alpha",
        "chebyshev_sums.Lattice.track_error",
        3e-7,
    ),
    Figure(
        "error of the integral of 1/(1+r^2) over the cube",
        "chebyshev.Calculus.track_integral",
        2e-14,
    ),
    Figure(f"error of first derivatives of {_SINE}", "chebyshev.Calculus.track_derivative", 1e-11),
)

_RATINGS = "20000 x 10000, 4e6 entries, Zipf(0.7)"


def _sweep(peer: str, k: int, times: float) -> Figure:
    return Figure(
        f"time, sweep, {_RATINGS}, float32, k={k}, against {peer}",
        "completion.OtherLibraries.track_ratio_to_peer",
        1 / times,
        (peer, k),
        times_faster=True,
        needs=peer,
    )


COMPLETION = (
    *(_sweep("cmfrec", k, times) for k, times in ((20, 8), (64, 10))),
    _sweep("implicit", 20, 5),
    *(
        Figure(
            f"time, sweep of {steps} PCG steps, {_RATINGS}, k={k}, {dtype}, over csr @ dense",
            "completion.Sweep.track_ratio_to_limit",
            limit,
            (k, dtype, steps),
        )
        for steps, limit in ((3, 7.0), (1, 4.0))
        for k in (20, 50, 100, 200)
        for dtype in ("float32", "float64")
    ),
    Figure(f"time, sweep, {_RATINGS}, k=200 over k=50", "completion.Rank.track_growth", 4.4),
    Figure(
        f"time, sweep, {_RATINGS}, k=200, against solver='direct'",
        "completion.Rank.track_ratio_to_direct",
        1 / 6,
        times_faster=True,
    ),
    Figure(
        "largest error, 1500 x 900, rank 12, oversampling 5, Zipf(0.5), 10 seeds, condition",
        "completion_accuracy.Noiseless.track_error",
        1e-12,
    ),
    Figure(
        "failures of 10 seeds, 300 x 350, rank 5, oversampling 1.5, >= 6 entries a line",
        "completion_accuracy.FewEntries.track_failures",
        1.0,
    ),
    *(
        Figure(
            f"largest error, {share:.0%} gross errors of size 1, 10, 100, oversampling 6, {loss}",
            "completion_accuracy.GrossErrors.track_error",
            limit,
            (share, loss),
        )
        for share, limit in ((0.1, 1e-6), (0.2, 1e-3))
        for loss in ("huber", "l1")
    ),
    *(
        Figure(
            f"{what}, shrink=True, noisy {_RATINGS}, over that of cmfrec with the best ridge",
            f"completion_accuracy.Noisy.{track}",
            1.0,
            (),
            needs="cmfrec",
        )
        for what, track in (
            ("error", "track_error_ratio_to_peer"),
            ("time", "track_time_ratio_to_peer"),
        )
    ),
    Figure(
        f"error, shrink=True, noisy {_RATINGS}, over that of the ridge tuned on the truth",
        "completion_accuracy.Noisy.track_error_ratio_to_oracle",
        1.05,
        (),
    ),
    *(
        Figure(
            f"{what}, digits, 40 % hidden, LowRankImputer",
            f"completion_accuracy.Digits.{track}",
            limit,
            ("LowRankImputer",),
        )
        for what, track, limit in (
            ("root mean square error", "track_error", 3.0),
            ("seconds", "track_seconds", 0.3),
        )
    ),
    Figure(
        f"peak beyond the CSR, {_RATINGS}, k=20, over 2.2 CSR + 3 (m + n) k numbers",
        "completion.Memory.track_ratio_to_formula",
        1.0,
    ),
    Figure(
        "GB in all, 1e6 x 1e6, 1e7 entries, k=8, five sweeps",
        "completion.Huge.track_gigabytes",
        3.0,
    ),
    Figure("time, SVD start over a sweep, k=20", "completion.Start.track_ratio_to_limit", 2.0),
    Figure(
        "time of the clock, sweep, two threads against one, Zipf(1.0)",
        "completion.Threads.track_ratio",
        1 / 1.8,
        times_faster=True,
    ),
    Figure(
        "largest difference of two threads from one", "completion.Threads.track_difference", 0.0
    ),
)


def _in_parts(what: str, benchmark: str, peer: str) -> tuple[Figure, ...]:
    """Return what a figure on Dask costs beside the serial function and beside Dask's own."""
    return (
        Figure(
            f"time, {what}, over the serial function, scheduler",
            f"distributed.{benchmark}.track_ratio_to_limit",
            None,
        ),
        Figure(
            f"time, {what}, against {peer}, scheduler",
            f"distributed.{benchmark}.track_ratio_to_peer",
            None,
            times_faster=True,
        ),
        Figure(
            f"error, {what}, over that of {peer}, scheduler",
            f"distributed.{benchmark}.track_error",
            None,
        ),
    )


DISTRIBUTED = tuple(
    replace(figure, needs="dask")
    for figure in (
        *_in_parts(
            "tree_svd, 10000 x 4000 in 20 blocks, 50 triplets",
            "TreeSVD",
            "dask.array.linalg.svd_compressed",
        ),
        *_in_parts(
            "lstsq, 2^17 x 64 in 16 blocks, condition 1e4",
            "LeastSquares",
            "dask.array.linalg.lstsq",
        ),
    )
)

FIGURES = (
    STREAMING_EIGENVECTORS
    + SKETCHING
    + REGRESSION
    + SVD
    + CLUSTERING
    + SAMPLING
    + BAYES
    + CHEBYSHEV
    + COMPLETION
    + DISTRIBUTED
)
