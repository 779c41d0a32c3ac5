"""How good the rows of a generated table are (docs/theory.md, section 14.4). Needs scikit-learn.

| symbol | meaning                                                          | shape  |
|--------|------------------------------------------------------------------|--------|
| x      | points of the generated rows, as `Codec.rows` gives them         | [n, d] |
| r      | the rows that the network was trained on                         | [N, d] |
| q      | the table's test part, which no training and no encoding saw     | [k, d] |

Each measure has its level beside it, of the real rows r in place of x (`_real`), but for the
distance to the closest record and the detection, whose level is that of q.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.stats import ks_2samp

from trainers.laws.table import Codec, Numeric, TableRows

Array = NDArray[np.float64]

CLASSIFIERS = ("logistic", "boosting")
SCORES = ("auc", "balanced")
UTILITY = tuple(f"tstr_{score}_{name}" for score in SCORES for name in CLASSIFIERS)
TABLE_COLUMNS = (
    *UTILITY,
    "table_marginals",
    "table_correlations",
    "table_detection",
    "table_closest",
)
REAL_COLUMNS = tuple(
    f"{name}_real" for name in (*UTILITY, "table_marginals", "table_correlations", "table_closest")
)

CONSTANT = 1e-12
"""Of a coordinate's largest value: what spreads less is constant."""

FOLDS = 3
"""Of the detection: each row is told by a classifier that has not seen it."""


def table_columns(law: TableRows, points: Array, training: Array) -> dict[str, float]:
    """TABLE_COLUMNS of generated points [n, d], held against the table's test part; training: the
    rows [N, d] of the network. NaN where a table has no target, or not defined."""
    codec, tested = law.codec, law.part("test").points
    rows = codec.rows(points)
    return {
        **utility(codec, rows, tested),
        "table_marginals": marginal_distance(codec, rows, tested),
        "table_correlations": correlation_distance(codec, rows, tested),
        "table_detection": detection(rows, tested),
        "table_closest": closest(rows, training),
    }


def real_columns(law: TableRows, training: Array) -> dict[str, float]:
    """REAL_COLUMNS: what the real rows reach that a network was trained on [N, d]."""
    codec, tested = law.codec, law.part("test").points
    return {
        **{f"{name}_real": value for name, value in utility(codec, training, tested).items()},
        "table_marginals_real": marginal_distance(codec, training, tested),
        "table_correlations_real": correlation_distance(codec, training, tested),
        "table_closest_real": closest(tested, training),
    }


def utility(codec: Codec, rows: Array, tested: Array) -> dict[str, float]:
    """Train on `rows` [n, d], test on `tested` [k, d]: the target from the other columns, by
    logistic regression and by gradient boosting. AUC is the mean over classes of one against the
    rest, balanced accuracy the mean of their recalls. Rows of one class teach nothing: 1/2 and 1
    over the number of classes. NaN without a target."""
    if codec.target is None:
        return dict.fromkeys(UTILITY, float("nan"))
    at = codec.slices[codec.target]
    others = np.ones(codec.dimension, dtype=bool)
    others[at] = False
    classes = at.stop - at.start
    known = (tested[:, at] > 0).any(axis=1)  # a class that the training part lacks has no name
    x, y = rows[:, others], rows[:, at].argmax(axis=1)
    z, truth = tested[known][:, others], tested[known][:, at].argmax(axis=1)
    found = {}
    for name in CLASSIFIERS:
        chances = np.full((len(z), classes), 1 / classes)
        if len(np.unique(y)) > 1:
            model = _classifier(name)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # not converged to the last digit
                model.fit(x, y)
            chances = np.zeros((len(z), classes))
            chances[:, model.classes_] = model.predict_proba(z)
        auc, balanced = _scores(chances, truth)
        found[f"tstr_auc_{name}"] = auc
        found[f"tstr_balanced_{name}"] = balanced
    return {name: found[name] for name in UTILITY}


def marginal_distance(codec: Codec, rows: Array, others: Array) -> float:
    """The mean over columns of how far two marginals are apart, in [0, 1]: of numbers the largest
    difference of the distribution functions (Kolmogorov and Smirnov), of categories the total
    variation."""
    found = []
    for column in codec.columns:
        at = codec.slices[column.name]
        if isinstance(column, Numeric):
            found.append(float(ks_2samp(rows[:, at.start], others[:, at.start]).statistic))
        else:
            shares = [(one[:, at] > 0).mean(axis=0) for one in (rows, others)]
            found.append(float(np.abs(shares[0] - shares[1]).sum() / 2))
    return float(np.mean(found))


def correlation_distance(codec: Codec, rows: Array, others: Array) -> float:
    """The mean absolute difference of the correlations of coordinates that belong to different
    columns; a coordinate that is constant has none, 0. NaN for a single column."""
    owner = np.repeat(np.arange(len(codec.columns)), [c.width for c in codec.columns])
    apart = owner[:, None] < owner[None, :]
    if not apart.any():
        return float("nan")
    both = []
    for one in (rows, others):
        spread = one.std(axis=0)
        # rounding of a mean leaves a constant some spread, and constants would go together
        varies = spread > CONSTANT * np.abs(one).max(axis=0)
        unit = (one - one.mean(axis=0)) / np.where(varies, spread, np.inf)
        both.append(unit.T @ unit / len(one))
    return float(np.abs(both[0] - both[1])[apart].mean())


def detection(rows: Array, others: Array) -> float:
    """The AUC of telling `rows` from `others`, as many of each, by gradient boosting, every row by
    a model of the other folds: 1/2 where they cannot be told apart. NaN for too few rows."""
    from sklearn.model_selection import StratifiedKFold

    count = min(len(rows), len(others))
    if count < 2 * FOLDS:
        return float("nan")
    x = np.concatenate([rows[:count], others[:count]])
    y = np.repeat([0, 1], count)
    chance = np.empty(len(y))
    for own, held in StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(x, y):
        chance[held] = _classifier("boosting").fit(x[own], y[own]).predict_proba(x[held])[:, 1]
    return _auc(chance, y == 1)


def closest(rows: Array, training: Array) -> float:
    """The median over `rows` [n, d] of the distance to the closest record of `training` [N, d]."""
    return float(np.median(cKDTree(training).query(rows)[0]))


def _classifier(name: str) -> Any:
    if name == "logistic":
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(max_iter=500)
    # One thread: packs stand beside each other, and its numbers do not depend on how many do.
    from sklearn.ensemble import GradientBoostingClassifier

    return GradientBoostingClassifier(random_state=0)


def _scores(chances: Array, truth: NDArray[np.int64]) -> tuple[float, float]:
    present = np.unique(truth)
    if len(present) < 2:
        return float("nan"), float("nan")
    said = chances.argmax(axis=1)
    recalls = [float(np.mean(said[truth == k] == k)) for k in present]
    # Of a flat guess no class is said: each is met one time in K.
    flat = bool((chances == chances[0, 0]).all())
    balanced = 1 / chances.shape[1] if flat else float(np.mean(recalls))
    return float(np.mean([_auc(chances[:, k], truth == k) for k in present])), balanced


def _auc(chance: Array, positive: NDArray[np.bool_]) -> float:
    """P(a positive's chance is above a negative's), ties a half (Mann and Whitney)."""
    order = np.unique(chance, return_inverse=True)[1]
    counts = np.bincount(order)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[order]
    n, m = int(positive.sum()), int((~positive).sum())
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * m))


def finite(values: Mapping[str, float]) -> dict[str, float | None]:
    """The same with None for what is not finite."""
    return {name: float(v) if np.isfinite(v) else None for name, v in values.items()}
