"""Levels, and the log of a mean from few values by Tukey's jackknife: see `intervals`.

Where values are so skewed that few of them do not tell their mean (best times, whose logs vary by
0.3 to 1 from seed to seed), the **geometric** mean is the level's: its log is a plain mean of logs,
without bias, and Student's interval holds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

EQUAL = 1e-13
"""x that differ by this share of themselves or less are one level."""


def log_means(
    where: NDArray[np.int64], y: Array, geometric: bool = False
) -> tuple[Array, Array, Array]:
    """As `jackknife`, or of geometric means: exp of the mean log [L], the mean log [L], and each
    value's share of its error [n]."""
    if not geometric:
        return jackknife(where, y)
    count, logs = np.bincount(where), np.log(y)
    mean = np.bincount(where, logs) / count
    return np.exp(mean), mean, (logs - mean[where]) / count[where]


def jackknife(where: NDArray[np.int64], y: Array) -> tuple[Array, Array, Array]:
    """Means of positive `y` [n] in groups numbered by `where` [n], each with a value: mean [L],
    log mean less its jackknife bias [L], and each value's share of the error of the latter [n]."""
    count = np.bincount(where)
    # relative to the group's largest value, so that no scale overflows; without it, the sum of the
    # others has no digits left of it
    largest = np.lexsort((y, where))[np.cumsum(count) - 1]
    top = y[largest]
    part = y / top[where]
    part[largest] = 0.0
    rest = np.bincount(where, part)
    others = 1 + rest[where] - part
    others[largest] = np.maximum(rest, np.finfo(np.float64).tiny)
    n = count[where]
    mean = (1 + rest) / count
    without = np.where(n > 1, np.log(others / np.maximum(n - 1, 1)), 0.0)
    pseudo = n * np.log(mean)[where] - (n - 1) * without
    corrected = np.bincount(where, pseudo) / count
    return mean * top, corrected + np.log(top), (pseudo - corrected[where]) / n
