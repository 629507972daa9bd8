"""Mean, standard deviation and confidence interval of a handful of runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lutkan.errors import InputError

__all__ = ["Summary", "summarize"]

# Two-sided 95 % quantiles of Student's t for 1 to 30 degrees of freedom.
_STUDENT = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
_NORMAL = 1.960


@dataclass(frozen=True)
class Summary:
    """What several runs gave.

    Attributes
    ----------
    mean : float
    std : float
        Of the sample (n - 1 in the denominator); 0 for a single run.
    low, high : float
        95 % confidence interval of the mean, by Student's t; the mean itself for a single run.
    count : int
    """

    mean: float
    std: float
    low: float
    high: float
    count: int

    def text(self, factor: float = 1.0, digits: int = 3) -> str:
        """Write mean, standard deviation and interval.

        Examples
        --------
        >>> summarize([1.0, 2.0, 3.0]).text()
        '2 ± 1 (-0.484 to 4.48)'
        """
        mean, std, low, high = (f"{factor * v:.{digits}g}" for v in (self.mean, self.std, self.low, self.high))
        return mean if self.count == 1 else f"{mean} ± {std} ({low} to {high})"


def summarize(values: Sequence[float]) -> Summary:
    """Summarize runs that differ in their seed alone.

    Raises
    ------
    InputError
        There are none.

    Examples
    --------
    >>> summarize([4.0]).high
    4.0
    """
    if len(values) == 0:
        raise InputError("no values to summarize", "at least one")
    mean = float(np.mean(values))
    if len(values) == 1:
        return Summary(mean, 0.0, mean, mean, 1)
    std = float(np.std(values, ddof=1))
    freedom = len(values) - 1
    half = (_STUDENT[freedom - 1] if freedom <= len(_STUDENT) else _NORMAL) * std / np.sqrt(len(values))
    return Summary(mean, std, mean - float(half), mean + float(half), len(values))
