"""Other people's streaming methods, written afresh from their papers, to be measured against.

Every peer has ``partial_fit(X)`` and ``components() -> (d, k)``. ``make(name, n_rows, k)`` builds
one with its authors' settings; ``NAMES`` lists those that need nothing but NumPy and scikit-learn.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import numpy as np

from ._base import Peer
from .ada_oja import AdaOja
from .block_power import BlockPower
from .brand import BrandSVD
from .ccipca import CCIPCA
from .frequent_directions import FrequentDirections
from .fsm import FSM
from .history_pca import HistoryPCA
from .incremental_pca import IncrementalPCAPeer

__all__ = [
    "CCIPCA",
    "FSM",
    "NAMES",
    "AdaOja",
    "BlockPower",
    "BrandSVD",
    "FrequentDirections",
    "HistoryPCA",
    "IncrementalPCAPeer",
    "Peer",
    "has_dppy",
    "has_gensim",
    "has_pylops",
    "installed",
    "make",
    "run",
]


def _lsi(n_rows: int, k: int) -> Peer:
    from .lsi import LsiPeer

    return LsiPeer(k, block_rows=max(1, min(20000, n_rows)))


_MAKERS: dict[str, Callable[[int, int], Peer]] = {
    "history-pca-10": lambda n, k: HistoryPCA(k, block_rows=max(10, k)),
    "history-pca-256": lambda n, k: HistoryPCA(k, block_rows=256),
    "ada-oja-10": lambda n, k: AdaOja(k, block_rows=10),
    "ada-oja-256": lambda n, k: AdaOja(k, block_rows=256),
    "ccipca": lambda n, k: CCIPCA(k),
    "fsm": lambda n, k: FSM(k),
    "block-power": lambda n, k: BlockPower(k, block_rows=max(k, n // 12)),
    "frequent-directions": lambda n, k: FrequentDirections(k, sketch_rows=20 + 2 * k),
    "incremental-pca": lambda n, k: IncrementalPCAPeer(k),
    "incremental-pca-256": lambda n, k: IncrementalPCAPeer(k, batch_rows=256),
}

NAMES = tuple(_MAKERS)


def has_dppy() -> bool:
    """Tell whether DPPy can be imported (``pip install dppy``)."""
    return importlib.util.find_spec("dppy") is not None


def has_gensim() -> bool:
    """Tell whether the optional peer ``"lsi"`` can be made."""
    return importlib.util.find_spec("gensim") is not None


def has_pylops() -> bool:
    """Tell whether PyLops can be imported (``pip install pylops``)."""
    return importlib.util.find_spec("pylops") is not None


def installed(*packages: str) -> tuple[str, ...]:
    """Return those packages that can be imported."""
    return tuple(name for name in packages if importlib.util.find_spec(name) is not None)


def make(name: str, n_rows: int, k: int = 1) -> Peer:
    """Build the peer ``name`` for a stream of ``n_rows`` rows (some need to know it)."""
    maker = _lsi if name == "lsi" else _MAKERS[name]
    return maker(n_rows, k)


def run(name: str, X: np.ndarray, k: int = 1) -> np.ndarray:
    """Stream the rows of ``X`` once through the peer ``name``; return its basis (d, k)."""
    return make(name, X.shape[0], k).partial_fit(X).components()
