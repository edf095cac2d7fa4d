"""Streaming top eigenvectors: accuracy, speed and memory beside primitives and peers."""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np
import peers

from . import _base, problems

ROOM = "streaming"

# HistoryPCA and its kin, CCIPCA, AdaOja, IncrementalPCA, plain block power: the ones that hold no
# more rows than the portfolio does. The others are shown beside them.
RIVALS = (
    "history-pca-10",
    "history-pca-256",
    "ccipca",
    "ada-oja-10",
    "ada-oja-256",
    "incremental-pca-256",
    "block-power",
)
OTHERS = ("fsm", "frequent-directions", "incremental-pca")


class Accuracy(_base.Measured):
    """Median error to the sample's own eigenvectors, beside the best peer's median."""

    param_names = ("regime",)
    params = (problems.REGIMES,)
    n, d = _base.sized((4000, 80), (20000, 300))
    n_seeds = _base.sized(1, 8)

    def prepare(self, regime: str) -> None:
        self.k = problems.n_components(regime)
        self.regime = regime

    def streams(self) -> Any:
        """Yield each seed's rows with their exact answer."""
        for seed in range(self.n_seeds):
            X = problems.rows(self.regime, self.n, self.d, seed)
            yield X, problems.exact(X, self.k)

    def own_error(self, X: np.ndarray, V: np.ndarray) -> float:
        """Error of the portfolio on one stream."""
        found = problems.answer(X, "portfolio", self.k)
        return problems.sin2(np.asarray(found.eigenvectors), V)

    def errors(self, names: tuple[str, ...] = RIVALS) -> dict[str, float]:
        """Median error of the portfolio and of each peer named."""
        found: dict[str, list[float]] = {name: [] for name in ("portfolio", *names)}
        for X, V in self.streams():
            found["portfolio"].append(self.own_error(X, V))
            for name in names:
                found[name].append(problems.sin2(peers.run(name, X, self.k), V))
        return {name: statistics.median(values) for name, values in found.items()}

    def track_error(self, regime: str) -> float:
        return self.errors(())["portfolio"]

    def track_ratio_to_peer(self, regime: str) -> float:
        errors = self.errors()
        return errors["portfolio"] / min(errors[name] for name in RIVALS)


class HeavyRows(_base.Measured):
    """Largest error over random orders of rows of which some are very large."""

    param_names = ("rows",)
    params = (("12 aligned", "one giant"),)
    n, d = _base.sized((3000, 60), (20000, 400))
    n_orders = _base.sized(3, 20)

    def prepare(self, rows: str) -> None:
        make = problems.heavy if rows == "12 aligned" else problems.giant
        self.X = make(self.n, self.d, 0)
        self.V = problems.exact(self.X)

    def track_error(self, rows: str) -> float:
        errors = []
        for seed in range(self.n_orders):
            X = np.random.default_rng(seed).permutation(self.X)
            found = problems.answer(X, "portfolio")
            errors.append(problems.sin2(np.asarray(found.eigenvectors), self.V))
        return max(errors)


class Speed(_base.Comparison):
    """Against scikit-learn's IncrementalPCA, n=60000 d=1000 k=1, sample gap 3.15."""

    param_names = ("method", "peer")
    params = (
        ("block-power", "portfolio"),
        ("incremental-pca-256", *_base.sized((), ("incremental-pca",))),
    )
    n, d = _base.sized((4096, 1000), (60000, 1000))
    repeats = {"method": 5, "rival": _base.sized(1, 3)}
    options = {"block-power": {"n_oversamples": 1, "history": True}, "portfolio": {}}

    def prepare(self, method: str, peer: str) -> None:
        self.X = problems.spiked(self.n, self.d, 4.0, 0)
        self.name, self.peer_name = method, peer
        self.z = np.random.default_rng(0).standard_normal(self.d)
        if peer == "incremental-pca":
            self.repeats = {"method": 5, "rival": 1}

    def method(self) -> Any:
        return problems.answer(self.X, self.name, **self.options[self.name])

    def primitive(self) -> Any:
        return self.X @ self.z

    def peer(self) -> Any:
        return peers.run(self.peer_name, self.X)

    def error(self, answer: Any) -> float:
        return problems.sin2(np.asarray(answer.eigenvectors), problems.exact(self.X))

    def track_ratio_to_limit(self, *params: str) -> float:
        seconds = _base.interleaved({"method": self.method, "rival": self.primitive}, 5)
        return seconds["method"] / seconds["rival"]

    def track_error_ratio_to_batch_256(self, *params: str) -> float:
        V = problems.exact(self.X)
        ours = problems.sin2(np.asarray(self.method().eigenvectors), V)
        return ours / problems.sin2(peers.run("incremental-pca-256", self.X), V)


class OnePass(_base.Comparison):
    """Block power with two columns, finite check included, beside one pass over the rows."""

    n, d = _base.sized((8192, 1000), (60000, 1000))
    repeats = 11

    def prepare(self) -> None:
        self.X = problems.spiked(self.n, self.d, 4.0, 0)
        self.z = np.random.default_rng(0).standard_normal(self.d)

    def method(self) -> Any:
        return problems.answer(self.X, "block-power", n_oversamples=1, history=True)

    def primitive(self) -> Any:
        return self.X @ self.z


class GemmPair(_base.Comparison):
    """Block power with q columns beside the two products that it cannot do without."""

    param_names = ("n_columns",)
    params = ((8, 16, 32),)
    n, d = _base.sized((8192, 1000), (60000, 1000))
    repeats = 7

    def prepare(self, n_columns: int) -> None:
        self.X = problems.spiked(self.n, self.d, 4.0, 0)
        self.Z = np.random.default_rng(0).standard_normal((self.d, n_columns))

    def method(self) -> Any:
        extra = self.Z.shape[1] - 1
        return problems.answer(self.X, "block-power", n_oversamples=extra, history=True)

    def primitive(self) -> Any:
        return problems.pair_of_products(self.X, self.Z, 64)


class PortfolioPair(_base.Comparison):
    """The portfolio beside two products with as many columns as its candidates have."""

    n, d = _base.sized((8192, 1000), (60000, 1000))
    repeats = 7

    def prepare(self) -> None:
        from linalgkit.streaming import StreamingEigh

        self.X = problems.spiked(self.n, self.d, 4.0, 0)
        state = StreamingEigh(method="portfolio", rng=0).fit(self.X[:2048, :]).to_state()
        q = problems.n_columns(state, self.d)
        self.Z = np.random.default_rng(0).standard_normal((self.d, q))

    def method(self) -> Any:
        return problems.answer(self.X, "portfolio")

    def primitive(self) -> Any:
        return problems.pair_of_products(self.X, self.Z, 64)


class _Traced(_base.Measured):
    """A stream of blocks whose memory is traced; the blocks themselves are not counted."""

    param_names = ("method",)
    params = (("block-power", "portfolio"),)
    n_heavy = 32
    d: int

    def prepare(self, method: str) -> None:
        self.name = method
        self.block = problems.spiked(1000, self.d, 4.0, 0)

    def warm(self) -> None:
        self.stream(4000)

    def stream(self, n: int) -> Any:
        """Stream ``n`` rows."""
        source = problems.repeated(self.block, n)
        return problems.answer(source, self.name, max_heavy_rows=self.n_heavy)

    def peak(self, n: int) -> int:
        """Most bytes held while ``n`` rows pass."""
        return _base.measure_tracemalloc_peak(lambda: self.stream(n))


class Memory(_Traced):
    """Peak beyond the input, in bytes and over the formula of the documentation."""

    n, d = _base.sized((20_000, 500), (100_000, 1000))

    def formula(self) -> int:
        """Bytes of ``2 q + h + b`` vectors of d numbers."""
        from linalgkit.streaming import StreamingEigh
        from linalgkit.streaming._segments import block_rows

        model = StreamingEigh(1, method=self.name, rng=0, max_heavy_rows=self.n_heavy)
        model.fit(problems.repeated(self.block, 8000))
        q = problems.n_columns(model.to_state(), self.d)
        return 8 * self.d * (2 * q + self.n_heavy + block_rows(self.d, 8))

    def track_peak(self, method: str) -> int:
        return self.peak(self.n)

    def track_ratio_to_formula(self, method: str) -> float:
        return self.peak(self.n) / self.formula()


class MemoryGrowth(_Traced):
    """Relative change of the peak when a hundred times as many rows pass."""

    n, d = _base.sized((3_000, 64), (100_000, 64))

    def track_growth(self, method: str) -> float:
        small = self.peak(self.n)
        return abs(self.peak(100 * self.n) - small) / small


class Gap(_base.Measured):
    """Relative error of the reported gap, which is the population's."""

    param_names = ("gap",)
    params = ((1.5, 2.0, 4.0, 10.0, 50.0),)
    n, d = _base.sized((20000, 100), (20000, 300))
    n_seeds = _base.sized(1, 8)

    def prepare(self, gap: float) -> None:
        self.gap = gap

    def reported(self, seed: int) -> float:
        """Gap that the portfolio reports on one stream."""
        X = problems.spiked(self.n, self.d, self.gap, seed)
        return float(problems.answer(X, "portfolio").gap)

    def track_error(self, gap: float) -> float:
        found = statistics.median(self.reported(seed) for seed in range(self.n_seeds))
        return abs(found / gap - 1.0)
