"""One door to every kind of sketch.

::

    sketch("srht", 200, n, rng=0) @ X

"""

from __future__ import annotations

from typing import Any

from linalgkit._core.array import Array, array_namespace, to_numpy
from linalgkit._core.capabilities import capability
from linalgkit._core.random import PhiloxTiles
from linalgkit._core.validation import check_bool, check_choice, check_int
from linalgkit.sketching._dense import GaussianSketch, RademacherSketch
from linalgkit.sketching._draws import HOST
from linalgkit.sketching._hadamard import BlockHadamardSketch, HadamardSketch
from linalgkit.sketching._operator import DTYPES, SketchOperator
from linalgkit.sketching._pooled import PooledSketch
from linalgkit.sketching._sparse import CountSketch, LeverageSketch, SparseSignSketch
from linalgkit.sketching._trigonometric import (
    CirculantSketch,
    CosineSketch,
    FourierSketch,
)

_CLASSES: dict[str, type[SketchOperator]] = {
    cls.kind: cls
    for cls in (
        GaussianSketch,
        RademacherSketch,
        HadamardSketch,
        CosineSketch,
        FourierSketch,
        CirculantSketch,
        PooledSketch,
        BlockHadamardSketch,
        CountSketch,
        SparseSignSketch,
        LeverageSketch,
    )
}
KINDS = tuple(_CLASSES)
_STREAMING = tuple(kind for kind, cls in _CLASSES.items() if cls.streams)
_DEFAULTS = {"nnz": None, "replace": False, "permute": True, "block": None}
_WIDER = {"float32": "complex64", "float64": "complex128"}


@capability("sketching.sketch", sparse=True, streaming=True, synchronisations={"call": 2})
def sketch(
    kind: str,
    m: int,
    n: int | None,
    *,
    scores: Array | None = None,
    nnz: int | None = None,
    replace: bool = False,
    permute: bool = True,
    block: int | None = None,
    dtype: Any = None,
    rng: object = None,
) -> SketchOperator:
    """Return a random map S of shape (m, n) with ``E S^H S = I``.

    Parameters
    ----------
    kind : str
        "gaussian": independent N(0, 1/m). "rademacher": independent signs. "srht": sampled rows
        of a Hadamard matrix with random signs and a random order of columns. "srdct", "srft":
        the same with a cosine or Fourier transform. "circulant": sampled rows of a circulant
        matrix of signs. "gaussian_pooled": Gaussian combinations of the rows of a Hadamard
        matrix. "block_srht": a sum of Hadamard sketches of consecutive blocks. "countsketch":
        one sign a column. "sparse_sign": `nnz` signs a column. "leverage": sampled rows.
    m : int
        Rows, at least 1.
    n : int or None
        Columns, that is rows of the data, at least 1. None leaves it open for the kinds that
        stream: gaussian, rademacher, block_srht, countsketch and sparse_sign.
    scores : array (n,), optional
        For "leverage": rows are picked independently with probabilities in proportion to these,
        see :func:`leverage_scores`. Not negative, not all zero.
    nnz : int, optional
        For "sparse_sign": non-zeros of each column, 1 to m; ``min(8, m)`` by default.
    replace : bool, default False
        For srht, srdct, srft, circulant and block_srht: sample with replacement, so that m may
        exceed the number of rows there are.
    permute : bool, default True
        For srht, block_srht, srdct and srft: a random order of the columns before the
        transform. Without it a Hadamard sketch of data with few large rows may be singular.
    block : int, optional
        For block_srht: rows of a block, a power of two, at least m without replacement; the
        smallest power of two from 1024 and 4 m on by default. For gaussian_pooled: the least
        number of transformed rows pooled into one, 1 by default.
    dtype : dtype, type or str, optional
        One of float32, float64, complex64 and complex128, under any name that NumPy has for
        them, or such a dtype of any library; float64 by default. Products follow the precision
        of the data; what counts is whether it is complex. Then Gaussian, Rademacher, circulant
        and pooled entries are circular, and the columns of the other kinds are multiplied by 1
        or i at random. srft is always complex. leverage keeps rows as they are: its entries are
        real, whatever the dtype.
    rng : None, int, SeedSequence, BitGenerator or Generator
        Source of the key, from which all numbers of S follow.

    Returns
    -------
    SketchOperator
        ``S @ X``, ``S.adjoint() @ Y``, ``S.apply_rows(X_block, start)``,
        ``S.columns(start, stop)``, ``S.toarray()``, ``S.save(path)``.

    Raises
    ------
    TypeError
        If an argument is of a wrong kind.
    ValueError
        If `kind` is unknown, a number out of its range, `n` None for a kind that does not
        stream, m larger than the rows that can be sampled without replacement, an option given
        to a kind that does not take it, `scores` missing, of a wrong length, negative, all zero,
        NaN or infinite.

    Notes
    -----
    What is guaranteed for least squares with a sketch: with Gaussian entries the error has an
    exact finite-sample law. For gaussian_pooled with large pools a coordinate-wise bound is
    claimed in [1]_; for srht with m of order ``d log(n)`` it is open (the proof of an earlier
    paper, arXiv 2302.00248, is incomplete according to [1]_), and dense kinds behave like
    Gaussian ones in experiments. Sparse kinds preserve norms [2]_ but not single coordinates of
    coherent data, and countsketch of few large rows is singular with a probability of about
    ``d^2 / 2m``.

    Costs of ``S @ X`` for dense (n, d) data: m n d for gaussian and rademacher; n d log n
    for the transforms (srht a few reads of the data, srdct, srft and circulant several times
    that); nnz n d for the sparse kinds; for leverage m d and one read, as NaN in rows that are
    not picked is refused, too. Sparse data meet tiles of S at a cost of m each non-zero, or a
    sparse S at nnz.

    Storage: the key, and what has been drawn, at most ``25 N + 8 m`` bytes for the kinds with a
    global order (N is n, padded); :class:`SketchOperator` has the other kinds, and what products
    need.

    References
    ----------
    .. [1] Song, Zhang, "Hadamard flattening and Gaussian pooling sketch for least squares
       with coordinate-wise guarantee", 2026.
    .. [2] J. Nelson, H. L. Nguyen, "OSNAP: faster numerical linear algebra algorithms via
       sparser subspace embeddings", FOCS 2013.
    .. [3] P.-G. Martinsson, J. A. Tropp, "Randomized numerical linear algebra: foundations and
       algorithms", Acta Numerica 29 (2020), sections 8 and 9.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).standard_normal((1000, 3))
    >>> S = sketch("srht", 200, 1000, rng=0)
    >>> S
    <srht sketch of shape (200, 1000), replace=False, permute=True, float64, key=db2cd7e7>
    >>> ratio = np.linalg.norm(S @ X, axis=0) / np.linalg.norm(X, axis=0)
    >>> bool(np.all((0.8 < ratio) & (ratio < 1.2)))
    True
    """
    check_choice("kind", kind, KINDS)
    m = check_int("m", m, 1)
    n = _checked_columns(kind, n)
    replace, permute = check_bool("replace", replace), check_bool("permute", permute)
    name = _dtype_name(dtype)
    given = {"nnz": nnz, "replace": replace, "permute": permute, "block": block}
    _refuse_unused(kind, given)
    if kind == "leverage":
        checked = _checked_scores(scores, n)
        return LeverageSketch.drawn(m, name, PhiloxTiles(rng), checked)
    if scores is not None:
        raise ValueError(f"scores must be None for kind {kind!r}: only 'leverage' takes them.")
    cls = _CLASSES[kind]
    options = cls._checked_options(m, n, {option: given[option] for option in cls._options})
    name = _WIDER.get(name, name) if kind == "srft" else name
    return cls(m, n, name, PhiloxTiles(rng), **options)


# ------------------------------------------------------------------------------- arguments


def _checked_columns(kind: str, n: int | None) -> int | None:
    if n is not None:
        return check_int("n", n, 1)
    if kind not in _STREAMING:
        raise ValueError(
            f"n must be given for kind {kind!r}, got None: only {', '.join(_STREAMING)} "
            "take rows whose number is not known. 'block_srht' is srht for streams."
        )
    return None


def _refuse_unused(kind: str, given: dict[str, Any]) -> None:
    """Refuse options that the kind does not take, unless they were left out."""
    for option, value in given.items():
        if option not in _CLASSES[kind]._options and value is not _DEFAULTS[option]:
            takers = ", ".join(k for k, cls in _CLASSES.items() if option in cls._options)
            raise ValueError(
                f"{option} must be {_DEFAULTS[option]} for kind {kind!r}, got {value!r}: it is an "
                f"option of {takers}."
            )


def _checked_scores(scores: Array | None, n: int | None) -> Array:
    """Return scores in units of the largest as float64 on the host, checked."""
    if scores is None:
        raise ValueError(
            "scores must be given for kind 'leverage', got None. leverage_scores(X) returns them."
        )
    xp = array_namespace(scores)
    if not xp.isdtype(scores.dtype, ("real floating", "integral")):
        raise TypeError(f"scores must be real numbers, got dtype {scores.dtype}.")
    if tuple(scores.shape) != (n,):
        raise ValueError(f"scores must have shape ({n},) for n={n}, got {tuple(scores.shape)}.")
    if not bool(xp.all(xp.isfinite(scores))):
        raise ValueError("scores must not contain NaN or infinity.")
    host = to_numpy(scores)
    if host.min() < 0:
        where = int(host.argmin())
        raise ValueError(
            f"scores must not be negative, got {float(host[where])} at position {where}."
        )
    if host.max() == 0:
        raise ValueError("scores must not be all zero: no row could be picked.")
    wide = host.astype(HOST.result_type(host.dtype, HOST.float64))
    return (wide / wide.max()).astype("float64")  # the ratios are all that counts


def _dtype_name(dtype: Any) -> str:
    """Return the standard's name of a dtype of any library, float64 for None."""
    if dtype is None:
        return "float64"
    if isinstance(dtype, (str, type)):
        name = _numpy_name(dtype)
    else:
        name = str(getattr(dtype, "name", dtype)).rpartition(".")[2]
    if name in DTYPES:
        return name
    raise TypeError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}.")


def _numpy_name(dtype: str | type) -> str:
    """Return NumPy's full name of a dtype, empty where it knows none."""
    try:
        return str(HOST.dtype(dtype).name)
    except (TypeError, ValueError, SyntaxError):
        return ""
