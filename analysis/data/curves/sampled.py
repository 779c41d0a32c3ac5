"""How good samples are (docs/theory.md, section 14.3): one row a trial and step that was sampled,
and curves of them at the best step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.data.curves.quantities import (
    CONFIGURATION,
    LINKED_AXES,
    MINIMUM_VALUES,
    Curve,
    SamplerError,
    along,
)
from analysis.data.curves.quantity import SAMPLED, Quantity
from analysis.data.curves.tied import in_place, tied_groups
from analysis.data.curves.trajectories import numbers, unpacked
from analysis.data.sweeps import PER_SAMPLE
from analysis.data.table import Table
from analysis.levels.intervals import Array
from trainers.columns import SHOWN_COLUMNS, TABLE_MEASURES
from trainers.kept.keep import at_best
from trainers.laws import LAWS
from trainers.trial import TrialStatus

_POINTS, _DRAWN = "sample_points", "drawn_points"

AXES = ("samples", "width")
"""Axes along which curves are looked for. Along eta tau the rows themselves are one."""

BOUND = "girsanov"
"""The column that `sampled_rows` adds: girsanov_start + girsanov_score."""

_MET = "width_where_ratios_meet"
"""The column that `sampled_rows` adds: whether the trial's width makes no curve along N."""

_STEPS = (
    "step",
    "effective_time",
    "score_error",
    "score_error_unweighted",
    "holdout_loss",
    "sample_energy",
    "sample_wasserstein",
    "sample_nll",
    "sample_divergence",
    "sample_modes",
    "share_memorized",
    "girsanov_score",
    *(name for name, _unit, _meaning in TABLE_MEASURES),
)
_LEVELS = (
    "sample_energy_exact",
    "sample_wasserstein_exact",
    "sample_divergence_exact",
    "sample_nll_exact",
    "sample_energy_true",
    "girsanov_start",
    *(f"{name}_real" for name, _unit, _meaning in TABLE_MEASURES if name != "table_detection"),
)


def sampled_rows(frame: pd.DataFrame | Table) -> pd.DataFrame:
    """A row for each step of a completed trial that was sampled: `trial`, its number among the
    completed ones, the columns of samples, what exact draws reach, BOUND, and `best`, whether the
    score error, or where it is not known the held-out loss, is the least of all that the trial
    recorded, sampled there or not.
    PER_SAMPLE is m/N of trials on a curve of networks that grow with N, by all trials of `frame`.
    Empty where nothing was sampled."""
    table = Table.of(frame)
    done = table.trials["status"] == str(TrialStatus.COMPLETED)
    if not done.any() or "sampled" not in table.trials:
        return pd.DataFrame()
    growing = _growing(table.trials)[done.to_numpy()]
    table = table.only(done)
    rows = table.trials
    names = [name for name in _STEPS if name in table]
    if "sample_energy" not in names or not rows["sampled"].notna().any():
        return pd.DataFrame()
    read = table[names]
    steps = pd.DataFrame({name: numbers(read, name) for name in names})
    if _POINTS in table and _DRAWN in rows:
        steps[_POINTS] = table[[_POINTS]][_POINTS].to_numpy()
    steps["trial"] = np.repeat(np.arange(len(rows)), table.counts)
    steps["best"] = _least(steps)
    steps = steps[steps[["girsanov_score", "sample_energy"]].notna().any(axis=1)]
    if steps.empty:
        return pd.DataFrame()
    own_texts = (_DRAWN,) if _POINTS in steps else ()
    wanted = (*CONFIGURATION, "seed", "law_label", "sampled", *own_texts)
    held = [name for name in wanted if name in rows]
    first = rows.iloc[steps["trial"]].reset_index(drop=True)
    levels = {name: numbers(first, name) for name in _LEVELS}
    own = [name for name in held if name not in steps]
    along_n = growing.iloc[steps["trial"]].reset_index(drop=True)
    parts = [steps.reset_index(drop=True), first[own], along_n]
    whole = pd.concat(parts, axis=1).assign(**levels)
    whole[BOUND] = whole["girsanov_start"] + whole["girsanov_score"]
    unknown = first["law"].isin([kind for kind, law in LAWS.items() if not law.known])
    if "sample_divergence" in whole:  # earlier results have one of tables too
        whole["sample_divergence"] = whole["sample_divergence"].mask(unknown)
    return whole


def _least(steps: pd.DataFrame) -> NDArray[np.bool_]:
    """Of every recorded step, whether it is the first of least error of its trial."""
    errors = [numbers(steps, name) for name in ("score_error", "holdout_loss")]
    errors = [np.where(np.isfinite(error), error, np.nan) for error in errors]
    known = pd.Series(errors[0]).notna().groupby(steps["trial"].to_numpy()).transform("any")
    error = pd.Series(np.where(known, *errors))
    return (error.groupby(steps["trial"].to_numpy()).rank(method="first") == 1).to_numpy()


def one_a_trial(rows: pd.DataFrame) -> pd.DataFrame:
    """Of `sampled_rows` each trial's at its best step, or, where it was not sampled there, at the
    last step at which it was."""
    ordered = rows.sort_values(["best", "step"], ascending=False, kind="stable")
    return ordered.drop_duplicates("trial").sort_index()


def which_step(best: Sequence[bool]) -> str:
    """In words, the step of each network that `one_a_trial` gives. best: whether it is its best."""
    if all(best):
        return "at its best step"
    if not any(best):
        return "at the last step at which it was sampled, which is not its best one"
    return "at its best step, or, where it was not sampled there, the last one at which it was"


def _growing(rows: pd.DataFrame) -> pd.DataFrame:
    """PER_SAMPLE and _MET of trials."""
    found, met = tied_groups(rows, CONFIGURATION, MINIMUM_VALUES)
    ratios = np.full(len(rows), np.nan)
    for ratio, where in found:
        ratios[where] = ratio
    return pd.DataFrame({PER_SAMPLE: ratios, _MET: met})


@dataclass(frozen=True, eq=False)
class SampleSet:
    """Some samples of a network and exact draws beside them, the leading columns of each: points,
    drawn [n, k]. samples: its N. best: whether they are of its best step."""

    samples: int
    width: int
    seed: int
    points: Array
    drawn: Array
    best: bool = True


def sample_sets(rows: pd.DataFrame) -> list[SampleSet]:
    """Of `sampled_rows` one a trial that can be looked at, by N, width and seed."""
    if _POINTS not in rows:
        return []
    found = []
    shown = one_a_trial(rows).sort_values(["samples", "width", "seed"])
    for row in shown.to_dict("records"):
        sets = [unpacked(row[name]) for name in (_POINTS, _DRAWN)]
        columns = min(int(row["dimension"]), SHOWN_COLUMNS)
        points, drawn = (
            v.reshape(-1, columns) if v is not None and len(v) and len(v) % columns == 0 else None
            for v in sets
        )
        if points is not None and drawn is not None:
            one = (int(row["samples"]), int(row["width"]), int(row["seed"]))
            count = min(len(points), len(drawn))  # of a small table fewer rows than samples
            found.append(SampleSet(*one, points[:count], drawn[:count], bool(row["best"])))
    return found


def sampled_curves(frame: pd.DataFrame | Table) -> list[Curve]:
    """SAMPLED at the best step against N and against m: a curve for every group of trials that
    agree in all but the axis and the seed, were sampled alike, all at their best steps, and have
    MINIMUM_VALUES values of the axis or more; against N also of networks that grow with it, and
    none at a width where such meet.

    Distances of a value of the axis whose mean is no more than what exact draws reach are marked as
    censored: such samples cannot be told from draws. Estimates without bias may be negative, and
    count as LEAST of that. Of the divergence, whose estimate is too low where samples are tighter
    than the law, every value that is no more than what exact draws reach is censored, and counts as
    that. GIRSANOV_RATIO is the divergence over Girsanov's bound and what exact draws reach
    together."""
    return curves_of(sampled_rows(frame))


def curves_of(rows: pd.DataFrame) -> list[Curve]:
    """`sampled_curves` of a table whose `sampled_rows` these are."""
    if rows.empty:
        return []
    # asked for there, a best step is lost by a fault alone; else those that happen to be are chosen
    best = one_a_trial(rows)
    best = best[best["best"] | ~best["sampled"].astype(str).map(at_best)]
    setting = (*CONFIGURATION, "sampled")
    found = []
    for axis in AXES:
        own = best[~best[_MET]] if axis == "samples" else best
        for group in _whole(along(own, axis, setting)):
            error = _sampler_error(group)
            found += [_curve(group, axis, quantity, error) for quantity in SAMPLED]
    tied = [PER_SAMPLE if name == "width" else name for name in setting]
    for group in _whole(along(best[best[PER_SAMPLE].notna()], "samples", tied)):
        ratio = float(group[PER_SAMPLE].iloc[0])
        error = _sampler_error(group)
        found += [_curve(group, "samples", quantity, error, ratio) for quantity in SAMPLED]
    return [curve for curve in found if curve is not None]


def _whole(groups: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """The groups of trials that were all sampled at their best steps."""
    return (group for group in groups if group["best"].all())


def _curve(
    rows: pd.DataFrame,
    axis: str,
    quantity: Quantity,
    sampler: SamplerError | None,
    ratio: float | None = None,
) -> Curve | None:
    x = rows[axis].to_numpy(dtype=float)
    y, censored = _values(rows, x, quantity)
    keep = y > 0
    if not keep.any():
        return None
    first = rows.iloc[0]
    held = [n for n in CONFIGURATION if n in rows and n not in (axis, "law_id", "dimension")]
    return Curve(
        quantity=quantity,
        axis=axis,
        law=str(first["law_label"]),
        law_id=str(first["law_id"]),
        dimension=int(first["dimension"]),
        fixed=in_place(
            {n: None if pd.isna(first[n]) else rows[n].to_list()[0] for n in held}, ratio
        ),
        x=x[keep],
        y=y[keep],
        seed=rows["seed"].to_numpy(dtype=np.int64)[keep],
        censored=censored[keep],
        linked=axis in LINKED_AXES,
        sampler=sampler,
        sampled=str(first["sampled"]),
        missing=tuple(x[~keep].tolist()),
    )


MOST_DIMENSIONS = 2
"""Up to which the divergence is told well enough to hold its size against a bound: where samples
are tighter than the law the estimate is 0.8 of it at d = 1, 0.6 at d = 2 and 0.2 at d = 4, and
below 0 at d = 8 (docs/theory.md, section 14.3)."""

LEAST = 0.01
"""Of what exact draws reach: what a distance that was estimated as negative counts as."""

_REACHED = {
    Quantity.SAMPLE_ENERGY: "sample_energy_exact",
    Quantity.SAMPLE_WASSERSTEIN: "sample_wasserstein_exact",
    Quantity.SAMPLE_DIVERGENCE: "sample_divergence_exact",
}
"""The column of what exact draws reach, by distance."""


def _values(rows: pd.DataFrame, x: Array, quantity: Quantity) -> tuple[Array, NDArray[np.bool_]]:
    """A quantity at the values x of an axis [n], and where it is censored [n]."""
    bound = numbers(rows, BOUND)
    if quantity == Quantity.GIRSANOV:
        return bound, np.zeros(len(bound), dtype=bool)
    ratio = quantity == Quantity.GIRSANOV_RATIO
    distance = Quantity.SAMPLE_DIVERGENCE if ratio else quantity
    y, reached = numbers(rows, distance), numbers(rows, _REACHED[distance])
    reached = np.fmax(reached, 0.0)  # of unbiased estimates even the largest can be negative
    if distance == Quantity.SAMPLE_DIVERGENCE:
        censored, y = y <= reached, np.maximum(y, reached)
        return y / (bound + reached) if ratio else y, censored
    excess = pd.Series(y - reached).groupby(x).transform("mean").to_numpy()
    return np.where(y <= LEAST * reached, LEAST * reached, y), excess <= 0


def _sampler_error(rows: pd.DataFrame) -> SamplerError | None:
    """Of these trials; None where they do not tell."""
    true, exact = (numbers(rows, f"sample_energy_{name}") for name in ("true", "exact"))
    start = numbers(rows, "girsanov_start") / numbers(rows, BOUND)
    known = np.isfinite(true) & (exact > 0)
    if not known.any() or not np.isfinite(start).any():
        return None
    return SamplerError(float((true / exact)[known].max()), float(np.nanmax(start)))
