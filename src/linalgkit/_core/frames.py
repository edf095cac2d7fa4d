"""Dataframes and file names at the boundary: what becomes an array, and what is said otherwise.

::

    values = frame_values(pandas.DataFrame({"a": [1, 2]}, dtype="Int64"))   # float64
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

_NUMERIC = "biufc"


def frame_values(X: Any, name: str = "X") -> np.ndarray[Any, Any]:
    """Return the numbers of a dataframe or series.

    Parameters
    ----------
    X : dataframe or series
        Of pandas or any library with ``to_numpy``. Nullable columns are numbers like any others,
        their gaps NaN.
    name : str, default "X"
        The argument's name, for the message.

    Returns
    -------
    ndarray
        The values, shared where the frame does so.

    Raises
    ------
    TypeError
        If a column holds no numbers.
    """
    values = np.asarray(X.to_numpy())
    if values.dtype.kind in _NUMERIC:
        return values
    dtypes = list(X.dtypes) if hasattr(X, "columns") else [X.dtype]
    titles = list(X.columns) if hasattr(X, "columns") else [getattr(X, "name", None)]
    for title, dtype in zip(titles, dtypes, strict=True):
        if getattr(dtype, "kind", "O") not in _NUMERIC:
            raise TypeError(
                f"{name}: a numeric array is required, got dtype {dtype} in column {title!r}. "
                "Leave the column out, or convert it first, for instance to numbers of categories."
            )
    joint = np.result_type(*(getattr(dtype, "numpy_dtype", dtype) for dtype in dtypes))
    target = joint if joint.kind in "fc" else np.dtype(float)
    return np.asarray(X.to_numpy(dtype=target, na_value=np.nan))


def refuse_file_names(X: object, name: str = "X") -> None:
    """Raise a TypeError for a path or a list of paths, with the two ways to read such files."""
    item = X[0] if isinstance(X, (list, tuple)) and X else X
    if isinstance(item, os.PathLike) or (isinstance(item, str) and os.path.splitext(item)[1]):
        kind = type(item).__name__ if item is X else f"{type(item).__name__} in a list"
        raise TypeError(
            f"{name}: an array is required, got {kind} ({str(item)!r}). Open the "
            'file, for instance with numpy.load(path, mmap_mode="r"), or pass the names to '
            "linalgkit.distributed.fit, which opens files where they are read."
        )
