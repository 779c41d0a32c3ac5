"""Which rows of the results table a figure is made of, and their summaries over seeds.

A **setting** is all that a rate may not mix: law, dimension, diffusion, network's kind, number of
steps. Within one, a **sweep** along N, m or eta holds the other two fixed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from analysis.intervals import summarise
from analysis.plot import FloatArray

SYMBOLS = {"samples": "N", "width": "m", "step_size": "η"}
PLAIN = {**SYMBOLS, "t_min": "T₀", "norm": "R_H", "index": "i"}
"""The axes of curves in running text."""
MATH = {"samples": "$N$", "width": "$m$", "step_size": r"$\eta$"}
SETTING = [
    "law_id", "dimension", "initialisation", "feature_bias", "t_min", "t_max", "schedule",
    "precision", "steps", "trainer",
]  # fmt: skip
_NAMES = {
    "initialisation": "initialisation", "feature_bias": "bias feature", "t_min": "T₀",
    "t_max": "T", "schedule": "schedule", "precision": "precision", "steps": "steps",
    "trainer": "trainer",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Setting:
    """Completed trials that differ in N, m, eta and seed only. `stem` is fit for a file name."""

    label: str
    stem: str
    law: str
    law_id: str
    dimension: int
    frame: pd.DataFrame


@dataclass(frozen=True, eq=False)
class Sweep:
    """Rows along one axis, the rest held at `fixed` (axis -> value)."""

    axis: str
    levels: tuple[float, ...]
    fixed: dict[str, float]
    frame: pd.DataFrame

    @property
    def held(self) -> str:
        """The fixed values in words: `m = 4096, η = 1`."""
        return held(self.fixed)

    def each(self) -> Iterator[tuple[float, float, pd.DataFrame]]:
        """(level, its place from 0 to 1, its rows)."""
        last = max(len(self.levels) - 1, 1)
        for place, level in enumerate(self.levels):
            yield level, place / last, self.frame[self.frame[self.axis] == level]


def held(fixed: dict[str, float]) -> str:
    """Fixed axes in words: `m = 4096, η = 1`."""
    return ", ".join(f"{SYMBOLS.get(k, k)} = {v:g}" for k, v in fixed.items())


def law_names(frame: pd.DataFrame) -> dict[str, str]:
    """law_id -> the law's kind, with its parameters where the table holds several of that kind and
    dimension."""
    laws = frame.drop_duplicates("law_id")[["law_id", "law", "law_label", "dimension"]]
    shared = laws.duplicated(["law", "dimension"], keep=False)
    names = laws["law_label"].where(shared, laws["law"])
    return dict(zip(laws["law_id"].astype(str), names.astype(str), strict=True))


def settings(frame: pd.DataFrame) -> list[Setting]:
    """The settings of a table, completed trials only, by law and dimension."""
    done = frame[frame["status"] == "completed"]
    names = law_names(frame)
    varying = [name for name in _NAMES if done[name].nunique(dropna=False) > 1]
    found = []
    for place, (_, rows) in enumerate(done.groupby(SETTING, dropna=False, sort=True)):
        first = rows.iloc[0]
        law, d, law_id = str(first["law"]), int(first["dimension"]), str(first["law_id"])
        extra = "".join(f", {_NAMES[v]} = {first[v]}" for v in varying)
        numbered = bool(varying) or names[law_id] != law
        stem = f"{law}_d{d}_{place}" if numbered else f"{law}_d{d}"
        label = f"{names[law_id]}, d = {d}{extra}"
        found.append(Setting(label, stem, law, law_id, d, rows))
    return sorted(found, key=lambda s: (s.law, s.dimension, s.stem))


def sweep(frame: pd.DataFrame, axis: str) -> Sweep | None:
    """The sweep along `axis` with the most levels (then the largest m, N, eta); None where no two
    trials differ in `axis` alone."""
    others = [name for name in ("width", "samples", "step_size") if name != axis]
    best: tuple[int, tuple[float, ...]] | None = None
    for key, rows in frame.groupby(others):
        rank = (rows[axis].nunique(), tuple(map(float, np.asarray(key))))
        best = rank if best is None or rank > best else best
    if best is None or best[0] < 2:
        return None
    fixed = dict(zip(others, best[1], strict=True))
    rows = frame[(frame[list(fixed)] == list(fixed.values())).all(axis=1)]
    return Sweep(axis, tuple(sorted(float(v) for v in rows[axis].unique())), fixed, rows)


def has(frame: pd.DataFrame, *columns: str) -> bool:
    """Whether every one of `columns` is there with at least one value."""
    return all(c in frame and bool(frame[c].notna().any()) for c in columns)


def quartiles(
    rows: pd.DataFrame, column: str, by: str = "step"
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Over seeds, at each value of `by`: its values, then median, lower and upper quartile of
    `column`, each [n]."""
    grouped = rows.dropna(subset=[column]).groupby(by)[column]
    x = np.array(list(grouped.groups), dtype=float)
    median, low, high = (grouped.quantile(q).to_numpy(dtype=float) for q in (0.5, 0.25, 0.75))
    return x, median, low, high


def level_means(
    x: FloatArray, y: FloatArray, level: float = 0.95
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Distinct x, the mean of y over seeds there, and the two-sided Student interval of that mean
    at `level`, made on its log by the jackknife as in `intervals` (NaN where a level has a single
    seed); y > 0."""
    means = summarise(x, y, None)
    ends = np.full((2, len(means.x)), np.nan)
    for i in np.flatnonzero(means.count > 1):
        half = stats.t.ppf(0.5 + level / 2, means.count[i] - 1) * np.sqrt(means.variance[i])
        ends[:, i] = np.exp(means.log_mean[i] + np.array([-half, half]))
    return means.x, means.mean, ends[0], ends[1]


def at_best(rows: pd.DataFrame, column: str = "score_error") -> pd.DataFrame:
    """The row of each trial at the recorded step with the smallest `column` (oracle stopping, no
    interpolation between recorded steps)."""
    known = rows.dropna(subset=[column])
    return known.loc[known.groupby("trial_id")[column].idxmin()]


def at_end(rows: pd.DataFrame) -> pd.DataFrame:
    """The last recorded row of each trial: no stopping."""
    return rows.loc[rows.groupby("trial_id")["step"].idxmax()]
