"""Kronecker sparse Bayesian learning as an estimator, for snapshots that arrive in blocks."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any, Self

from linalgkit._core.array import Array, Device, Namespace
from linalgkit._core.capabilities import capability
from linalgkit._core.estimator import EstimatorMixin
from linalgkit._core.random import as_generator, undone_on_error
from linalgkit._core.state import State, Stateful
from linalgkit._core.validation import check_bool, check_same_place, require_fitted
from linalgkit.bayes._model import prepare
from linalgkit.bayes._modes import KroneckerData, kronecker_data, kronecker_factors
from linalgkit.bayes._other_data import log_density, posterior_mean
from linalgkit.bayes._product_posterior import ProductPosterior
from linalgkit.bayes._result import KronSBLResult, Units
from linalgkit.bayes._sbl import solve
from linalgkit.bayes._snapshots import (
    NOT_SAVED,
    SnapshotStream,
    options_from_state,
    options_to_state,
    same_option,
)

_SEEDS = 2**63


@capability(
    "bayes.KronSBL", streaming=True, synchronisations={"first block": 4, "block": 2, "result": 11}
)
class KronSBL(EstimatorMixin, Stateful):
    """Sparse Bayesian learning with Kronecker structure, of snapshots that arrive in blocks.

    The parameters are those of :func:`kron_sbl`, which says what is solved.

    Parameters
    ----------
    noise_var : float, optional
        Variance of the noise in each number; None estimates it.
    method : {"auto", "mm", "jacobi", "am", "svd", "ecm", "ksbl"}
        How the evidence is climbed.
    coupling : float, array (N_i, N_i), or sequence of these and None, optional
        Pattern coupling for supports in blocks.
    gamma0 : float or list of array (N_i,), optional
        Hyperparameters to start from.
    max_iter : int, default 200
        Cycles of updates between two changes of the support.
    tol : float, default 1e-6
        Share of change at which a climb ends.
    prune : {"evidence"}, float, sequence of float or None
        What decides on the support.
    penalty : "bic" or float
        Price of a slice in nats.
    restarts : int, default 0
        Further candidates for "auto".
    rng : None, int, SeedSequence, BitGenerator or Generator, optional
        Source of random restarts. All but an integer gives one integer to each stream, with which
        every answer is found.
    callback : callable, optional
        Called as ``callback(n_iter, evidence)`` after each cycle.

    Attributes
    ----------
    gamma_ : list of array (N_i,)
        Prior variances of each mode.
    support_ : list of array (K_i,)
        Indices of the slices that are in.
    coef_ : array (K_1, ..., K_I[, r])
        Posterior mean on the support; r is the number of snapshots while those are kept.
    noise_var_ : float
        Noise variance, given or estimated.
    evidence_ : host array (n,)
        Log-evidence (nats) of all snapshots, of the start and after every cycle.
    n_iter_ : int
        Cycles of updates.
    kkt_residual_ : float
        How far the evidence is from stationary, see :class:`KronSBLResult`.
    status_ : str
        See :class:`KronSBLResult`.
    n_snapshots_ : int
        Snapshots taken in.

    Raises
    ------
    TypeError
        For arguments of a wrong kind, a change of library, device or precision between blocks,
        complex snapshots in a real stream.
    ValueError
        For options out of range, shapes that do not fit, NaN or infinity, and other factors than
        before. The state stays as it was.

    See Also
    --------
    kron_sbl : the same for snapshots that are all there.

    Notes
    -----
    Up to ``max(2 M, 1024)`` snapshots of ``M = M_1 ... M_I`` numbers are kept, and the answer is
    that of :func:`kron_sbl`. Beyond, a triangular factor ``R`` of theirs and the later ones are
    kept, between M and that many columns with the second moments of all snapshots: hyperparameters,
    support, noise, evidence and posterior variances (but of rank one) are still those of all of
    them, up to rounding, but `coef_` and `predict` belong to these columns; :meth:`transform` gives
    the coefficients of any snapshot. How the snapshots were cut into calls changes nothing, to the
    bit.

    An answer is found when it is first asked for after new data. Options changed while a stream is
    under way wait for the next `fit`. A saved state holds no callback, and of `rng` an integer
    only.

    Storage: the factors, ``M max(2 M, 1024)`` numbers at most for the snapshots, up to five times
    that while a factor is found, and what :func:`kron_sbl` takes. One synchronisation a block for
    its check, and one for each factor of the Kronecker product that is passed again.

    References
    ----------
    .. [1] Y. He, G. Joseph, "Bayesian algorithms for Kronecker-structured sparse vector recovery
       with application to IRS-MIMO channel estimation", arXiv:2307.14719.

    Examples
    --------
    >>> from linalgkit.bayes import KronSBL
    >>> from linalgkit.datasets import kronecker_sparse
    >>> problem = kronecker_sparse((10, 12), (6, 8), (2, 3), snr_db=10.0, snapshots=8, rng=1)
    >>> model = KronSBL()
    >>> for start in range(0, 8, 2):
    ...     model = model.partial_fit(problem.factors, problem.y[..., start : start + 2])
    >>> [s.tolist() for s in model.support_] == [s.tolist() for s in problem.support]
    True
    >>> mean, std = model.predict(return_std=True)
    >>> mean.shape, std.shape
    ((6, 8, 8), (6, 8))
    """

    _estimator_type_name = "regressor"
    _requires_target = True

    def __init__(
        self,
        *,
        noise_var: float | None = None,
        method: str = "auto",
        coupling: Any = None,
        gamma0: Any = None,
        max_iter: int = 200,
        tol: float = 1e-6,
        prune: str | float | Sequence[float] | None = "evidence",
        penalty: str | float = "bic",
        restarts: int = 0,
        rng: Any = None,
        callback: Callable[[int, float], Any] | None = None,
    ) -> None:
        self.noise_var = noise_var
        self.method = method
        self.coupling = coupling
        self.gamma0 = gamma0
        self.max_iter = max_iter
        self.tol = tol
        self.prune = prune
        self.penalty = penalty
        self.restarts = restarts
        self.rng = rng
        self.callback = callback

    def __sklearn_is_fitted__(self) -> bool:
        """Tell scikit-learn's ``check_is_fitted`` whether data have been seen."""
        return "_stream" in self.__dict__

    # ----------------------------------------------------------------------- snapshots come in

    def fit(self, factors: Sequence[Array], y: Array) -> Self:
        """Start anew with some snapshots, and solve.

        Parameters
        ----------
        factors : sequence of array (M_i, N_i)
            Dictionaries of the modes, as :func:`kron_sbl` takes them. They are copied.
        y : array (M_1, ..., M_I[, L]) or (M_1 ... M_I[, L])
            The data of one or more snapshots. They are copied.

        Returns
        -------
        KronSBL
            The object itself. After an error it is as it was before the call.
        """
        with undone_on_error(self.rng):
            stream = self._started(kronecker_data(factors, y))
            answer = solve(*stream.problem())
        self._stream, self._answer = stream, answer
        return self

    def partial_fit(self, factors: Sequence[Array] | None, y: Array) -> Self:
        """Take in further snapshots.

        Parameters
        ----------
        factors : sequence of array (M_i, N_i) or None
            Dictionaries of the modes. After the first call equal ones, or None for the same.
        y : array (M_1, ..., M_I[, l]) or (M_1 ... M_I[, l])
            The data of one or more snapshots. They are copied.

        Returns
        -------
        KronSBL
            The object itself. After an error it is as it was before the call.
        """
        before = self.__dict__.get("_stream")
        if before is not None:
            if factors is not None:
                before.check_factors(factors)
            stream = before.pushed(self._taken(before.factors, y))
        elif factors is None:
            raise ValueError(
                "factors must be given with the first snapshots, got None. Pass a list of matrices."
            )
        else:
            with undone_on_error(self.rng):
                stream = self._started(kronecker_data(factors, y))
        self._take(stream)
        return self

    def merge(self, other: KronSBL) -> Self:
        """Count in all snapshots that another object has taken in.

        Parameters
        ----------
        other : KronSBL
            With equal factors and options (but for `rng` and `callback`); it is not changed.

        Returns
        -------
        KronSBL
            The object itself, as if it had seen all snapshots, up to rounding.

        Raises
        ------
        TypeError
            If `other` is no KronSBL, or library, device or precision differ.
        ValueError
            If options or factors differ.
        """
        if not isinstance(other, KronSBL):
            raise TypeError(
                f"only objects of one class can be merged, got KronSBL and {type(other).__name__}."
            )
        mine, theirs = self.__dict__.get("_stream"), other.__dict__.get("_stream")
        _check_same_options(self._options(), other._options())
        if theirs is not None:
            self._take(theirs if mine is None else mine.joined(theirs))
        return self

    # ------------------------------------------------------------------------------- answers

    def result(self) -> KronSBLResult:
        """Return the answer to all snapshots seen so far, which is kept until more come.

        Returns
        -------
        KronSBLResult
            As of :func:`kron_sbl`. Past ``max(2 M, 1024)`` snapshots its mean and predictions are
            of columns with the second moments of the snapshots, see the notes of the class.

        Raises
        ------
        NotFittedError
            Before any data.
        """
        stream = self._fitted()
        if "_answer" not in self.__dict__:
            self._answer = solve(*stream.problem())
        answer: KronSBLResult = self._answer
        return answer

    @property
    def gamma_(self) -> list[Array]:
        """Prior variances of each mode."""
        return self.result().gamma

    @property
    def support_(self) -> list[Array]:
        """Indices of the slices that are in."""
        return self.result().support

    @property
    def coef_(self) -> Array:
        """Posterior mean on the support."""
        return self.result().coef

    @property
    def noise_var_(self) -> float:
        """Noise variance."""
        return self.result().noise_var

    @property
    def evidence_(self) -> Array:
        """Log-evidence (nats), of the start and after every cycle."""
        return self.result().evidence

    @property
    def n_iter_(self) -> int:
        """Cycles of updates."""
        return self.result().n_iter

    @property
    def kkt_residual_(self) -> float:
        """Distance from a stationary point."""
        return self.result().kkt_residual

    @property
    def status_(self) -> str:
        """How the solution ended."""
        return self.result().status

    @property
    def n_snapshots_(self) -> int:
        """Snapshots taken in."""
        return self._fitted().buffer.snapshots

    def predict(
        self, factors: Sequence[Array] | None = None, *, return_std: bool = False
    ) -> Array | tuple[Array, Array]:
        """Return the posterior mean of the signal at the rows of other factors.

        Parameters
        ----------
        factors : sequence of array (P_i, N_i), optional
            Rows to predict at; by default those of the data.
        return_std : bool, default False
            Whether the standard deviation is returned too.

        Returns
        -------
        mean : array (P_1, ..., P_I[, r])
            Of the signal of each snapshot; flat where the first data came flat.
        std : array (P_1, ..., P_I)
            Posterior standard deviation of the signal without noise; only with ``return_std``.

        Raises
        ------
        NotFittedError
            Before any data.
        TypeError, ValueError
            As :meth:`KronSBLResult.predict`.
        """
        check_bool("return_std", return_std)
        stream = self._fitted()
        mean, variance = self.result().predict(stream.factors if factors is None else factors)
        return (mean, stream.xp.sqrt(variance)) if return_std else mean

    def transform(self, y: Array) -> Array:
        """Return the posterior mean of snapshots under the hyperparameters found.

        Parameters
        ----------
        y : array (M_1, ..., M_I[, l]) or (M_1 ... M_I[, l])
            Any snapshots of the factors that were solved with.

        Returns
        -------
        array (K_1, ..., K_I[, l])
            Means on the support, `coef_` for the snapshots that were solved with.

        Raises
        ------
        NotFittedError
            Before any data.
        TypeError
            If the mean is not linear in the data (an answer of rank one), or for another library.
        ValueError
            For shapes that do not fit, NaN or infinity.

        Notes
        -----
        Storage: a scaled copy of `y`, and the result.
        """
        stream, answer = self._fitted(), self.result()
        if isinstance(answer._posterior, ProductPosterior):
            raise TypeError(
                "transform needs a posterior mean that is linear in the data, which it is not for "
                "the answer found, an unknown of rank one. Call fit with the snapshots, or take a "
                "method other than 'auto'."
            )
        prepared = prepare(self._taken(stream.factors, y), near=answer._units.exponent)
        core = posterior_mean(prepared, answer)
        core = core if prepared.data.has_snapshots else core[..., 0]
        return Units.of(prepared).kept(core)

    def score(self, factors: Sequence[Array] | None, y: Array) -> float:
        """Return the log-density of snapshots under the hyperparameters and noise found.

        Parameters
        ----------
        factors : sequence of array (P_i, N_i) or None
            Dictionaries of these data; None for those that were solved with.
        y : array (P_1, ..., P_I[, l]) or (P_1 ... P_I[, l])
            Any snapshots.

        Returns
        -------
        float
            Nats, summed over the snapshots; of circular complex noise where the stream is complex.
            For the snapshots that were solved with it is the last of `evidence_`, but for an answer
            of rank one.

        Raises
        ------
        NotFittedError
            Before any data.
        TypeError, ValueError
            As :func:`kron_sbl` for such data.

        Notes
        -----
        For an answer of rank one it is the density of a Gaussian vector with the covariance of the
        model. Storage: a scaled copy of `y`.
        """
        stream, answer = self._fitted(), self.result()
        if factors is None:
            factors = stream.factors
        else:
            kronecker_factors(factors, widths=stream.widths)
        prepared = prepare(self._taken(factors, y), near=answer._units.exponent)
        return log_density(prepared, answer)

    # ------------------------------------------------------------------------------- helpers

    def _fitted(self) -> SnapshotStream:
        require_fitted(self, "_stream" in self.__dict__)
        stream: SnapshotStream = self._stream
        return stream

    def _options(self) -> dict[str, Any]:
        """Return the options of the stream, or those that one would start with."""
        stream = self.__dict__.get("_stream")
        return self.get_params(deep=False) if stream is None else dict(stream.options)

    def _started(self, data: KroneckerData) -> SnapshotStream:
        """Return a new stream; a generator gives it a seed if there is use for one."""
        options = self.get_params(deep=False)
        stream = SnapshotStream.started(data, {**options, "rng": None})
        is_seed = isinstance(self.rng, Integral) and not isinstance(self.rng, bool)
        generator = as_generator(self.rng)
        seed = self.rng
        if not is_seed and stream.options["restarts"] > 1:
            seed = int(generator.integers(_SEEDS))
        elif not is_seed:
            seed = None
        return replace(stream, options={**stream.options, "rng": seed})

    def _taken(self, factors: Sequence[Array], y: Array) -> KroneckerData:
        """Return checked data in the dtype of the stream."""
        stream = self._fitted()
        data = kronecker_data(factors, y, are_finite=True)
        check_same_place(data.Y, stream, "y")
        stream.check_dtype(data.dtype, "y")
        xp, dtype = stream.xp, stream.dtype
        arrays = tuple(xp.astype(H, dtype, copy=False) for H in data.factors)
        return replace(data, factors=arrays, Y=xp.astype(data.Y, dtype, copy=False), dtype=dtype)

    def _take(self, stream: SnapshotStream) -> None:
        """Commit a stream and drop the answer to the old one."""
        self._stream = stream
        self.__dict__.pop("_answer", None)

    def __copy__(self) -> Self:
        """Return a copy that goes on by itself."""
        return copy.deepcopy(self)

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: the answer is found again when it is asked for."""
        return {k: v for k, v in super().__getstate__().items() if k != "_answer"}

    # --------------------------------------------------------------------------------- state

    def _get_state(self) -> State:
        stream = self.__dict__.get("_stream")
        return {
            "params": options_to_state(self.get_params(deep=False)),
            "stream": None if stream is None else stream.to_state(),
        }

    @classmethod
    def _from_state(cls, state: State, *, xp: Namespace, device: Device) -> Self:
        model = cls(**options_from_state(state["params"], xp=xp, device=device))
        if state["stream"] is not None:
            model._stream = SnapshotStream.from_state(state["stream"], xp=xp, device=device)
        return model


def _check_same_options(mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Refuse to merge objects that would solve in two ways."""
    for name, value in mine.items():
        if name not in NOT_SAVED and not same_option(value, theirs[name]):
            raise ValueError(
                f"{name} must agree for a merge, got {value!r} and {theirs[name]!r}. Start all "
                "parts with the same options."
            )
