"""Rows in any order: Frequent Directions with its bound, the Oja ladder where that says nothing.

Both see the same blocks. Frequent Directions answers wherever its enclosure determines the
subspace at all, or where the ladder confirms it; where the tail of the spectrum is too heavy
the ladder answers, if its own assumption holds::

    engine = ArbitraryOrder(d, 1, xp=xp, device=device, dtype=xp.float64, rng=rng)
    engine.update(block)
    engine.certificate()["candidate"]       # "frequent-directions" or "oja"

"""

from __future__ import annotations

import copy
from typing import Any, Self

from linalgkit._core.array import Array, Device, DType, Namespace
from linalgkit._core.linalg import subspace_sin2
from linalgkit._core.operators import Operator
from linalgkit._core.state import State
from linalgkit.streaming._enclosure import add_angles
from linalgkit.streaming._engine import Certificate, Engine, sizes_from_state, widened
from linalgkit.streaming._frequent_directions import FrequentDirections
from linalgkit.streaming._oja import OjaLadder

_AGREEMENT = 0.1


class ArbitraryOrder(Engine):
    """Frequent Directions and the Oja ladder side by side; the better certificate answers.

    Parameters
    ----------
    d, n_components, xp, device, dtype
        See :class:`~linalgkit.streaming._engine.Engine`.
    rng : numpy.random.Generator
        Draws the start of the ladder.
    sketch_size : int, optional
        See :class:`~linalgkit.streaming._frequent_directions.FrequentDirections`.
    growth_threshold : float, optional
        See :class:`~linalgkit.streaming._oja.OjaLadder`.

    Notes
    -----
    The sketch answers if its bound on the angle is below 90 degrees. If not, and the ladder has
    converged, their distance decides. Where ``sin^2`` between the two is below 0.1 they confirm
    each other; if then the ladder's own estimate makes up half of the distance or more, the
    sketch is taken to be the better one, with the distance as error estimate. Else the ladder
    answers. (That rule is experience: their errors are not independent.) If neither holds,
    ``status`` is ``"no_growth"`` and the sketch answers. Eigenvalues of the ladder's vectors
    are brought inside the enclosure that the sketch gives for them.

    Storage: the sum of the two.
    """

    name = "arbitrary"
    order = "any"

    def __init__(
        self,
        d: int,
        n_components: int,
        *,
        xp: Namespace,
        device: Device,
        dtype: DType,
        rng: Any,
        sketch_size: int | None = None,
        growth_threshold: float | None = None,
    ) -> None:
        super().__init__(d, n_components, xp=xp, device=device, dtype=dtype)
        place: dict[str, Any] = {"xp": xp, "device": device, "dtype": dtype}
        self.sketch = FrequentDirections(d, n_components, **place, sketch_size=sketch_size)
        self.ladder = OjaLadder(
            d, n_components, **place, rng=rng, growth_threshold=growth_threshold
        )

    @property
    def block_rows(self) -> int:
        """Rows a block should have."""
        return max(self.sketch.block_rows, self.ladder.block_rows)

    def update(self, block: Operator) -> None:
        """Hand a block to both."""
        block = widened(block, self.wide)
        self.sketch.update(block)
        self.ladder.update(block)

    def rescale(self, exponent: int) -> None:
        """Act as if all rows so far had been multiplied by ``2**exponent``."""
        self.sketch.rescale(exponent)
        self.ladder.rescale(exponent)

    def decay(self, factor: float) -> None:
        """Multiply ``A^H A`` so far by `factor`."""
        self.sketch.decay(factor)
        self.ladder.decay(factor)

    def merge(self, other: object) -> None:
        """Refuse, as the ladder cannot be merged.

        Raises
        ------
        TypeError
            Always.
        """
        raise TypeError(
            'method must not be "auto" with order="arbitrary" for a merge where A^H A does not '
            "fit memory_budget: the Oja ladder in it cannot be merged. Use "
            'method="frequent-directions", whose bounds add, or raise memory_budget for "gram".'
        )

    def finish(self) -> Self:
        """Return a view that can answer."""
        view = copy.copy(self)
        view.sketch, view.ladder = self.sketch.finish(), self.ladder.finish()
        return view

    # ------------------------------------------------------------------------- the answer

    def _choice(self) -> tuple[str, float]:
        """Return who answers and why, and ``sin^2`` between the two answers.

        The first is "bound", "agreement", "ladder" or "neither".
        """
        k = self.n_components
        if self.sketch.certificate()["extra"]["sin2_bound"] < 1.0:
            return "bound", 0.0
        if self.ladder.status != "converged":
            return "neither", 1.0
        between = subspace_sin2(self.sketch.top(k)[1], self.ladder.top(k)[1], self.xp)
        own = self.ladder.certificate()["error_estimate"]
        agree = between < _AGREEMENT and own >= 0.5 * between
        return ("agreement" if agree else "ladder"), between

    def top(self, r: int) -> tuple[Array, Array]:
        """Return the `r` largest eigenvalues, descending, and their vectors as columns."""
        if self._choice()[0] != "ladder":
            return self.sketch.top(r)
        xp = self.xp
        lam, V = self.ladder.top(r)
        images = xp.abs(self.sketch.sketch @ V) ** 2
        lower = xp.sum(images, axis=0)
        upper = lower + self.sketch.excess()
        inside = xp.where(lam < lower, lower, xp.where(lam > upper, upper, lam))
        order = xp.argsort(inside, descending=True)
        return xp.take(inside, order, axis=0), xp.take(V, order, axis=1)

    def certificate(self) -> Certificate:
        """Return the certificate of the one that answers, and whose it is."""
        sketch, ladder = self.sketch.certificate(), self.ladder.certificate()
        reason, between = self._choice()
        extra = {**ladder.get("extra", {}), **sketch["extra"], "sin2_between": between}
        if reason == "ladder":
            return {**ladder, "gap": sketch["gap"], "candidate": self.ladder.name, "extra": extra}
        status = "no_growth" if reason == "neither" else "converged"
        certificate = {**sketch, "candidate": self.sketch.name, "status": status, "extra": extra}
        if reason == "agreement":
            sampled = sketch["extra"]["sin2_sampling"]
            certificate["error_estimate"] = add_angles(between, sampled)
        return certificate

    # ------------------------------------------------------------------------------ state

    def _get_state(self) -> State:
        return {
            **self._sizes(),
            "sketch": self.sketch.to_state(),
            "ladder": self.ladder.to_state(),
        }

    @classmethod
    def _from_state(cls, state: State, *, xp: Namespace, device: Device) -> Self:
        engine = cls(**sizes_from_state(state, xp, device), rng=0)
        engine.sketch = FrequentDirections.from_state(state["sketch"], xp=xp, device=device)
        engine.ladder = OjaLadder.from_state(state["ladder"], xp=xp, device=device)
        return engine
