"""Turn what a user passes as rows of numbers into an array, or say what is wrong with it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkan.errors import InputError

__all__ = ["real_rows"]


def real_rows(name: str, value: object, width: int, *, single: bool = False) -> NDArray[Any]:
    """Return `value` as an array [N, width] of real numbers, of whatever real dtype it has.

    Parameters
    ----------
    name : str
        What to call it in messages.
    value : array-like
    width : int
        Columns expected.
    single : bool
        Whether one row, [width], is allowed too.

    Returns
    -------
    array [N, width], or [width] where `single` allows it
        Not copied if it is an array already.

    Raises
    ------
    InputError
        Not an array of numbers (ragged lists, text, objects, complex), masked entries, or the wrong shape.

    Examples
    --------
    >>> real_rows("X", [[1, 2], [3, 4]], 2).shape
    (2, 2)
    """
    if isinstance(value, np.ma.MaskedArray) and np.ma.getmaskarray(value).any():
        raise InputError(f"{name} is a masked array with masked entries", "numbers", "fill or drop the masked entries")
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:  # ragged lists; a tensor that requires grad
        raise InputError(f"{name} is a {type(value).__name__} that is no array: {error}", "rows of numbers") from error
    if array.dtype.kind not in "fiub":
        raise InputError(f"{name} has dtype {array.dtype}", "real numbers: float, integer or bool")
    if array.ndim not in ((1, 2) if single else (2,)) or array.shape[-1] != width:
        raise InputError(f"{name} has shape {array.shape}", f"[N, {width}]" + (f" or [{width}]" if single else ""))
    return array
