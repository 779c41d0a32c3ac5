"""What the runs of a study hold: parameters are what was chosen, metrics are results.

| run   | one for                    | metrics                                                    |
|-------|----------------------------|------------------------------------------------------------|
| study | the study                  | exponents `rate/...`; of a search the best so far          |
| curve | a curve of the study       | means by N or m, and their log2 by its log2                |
| point | trials that differ in seed | `point/...`: mean over seeds, interval, number of seeds    |
| trial | a network                  | errors and losses by step, the best of them                |

No two kinds share the name of a metric, so that charts, and averages over a group of runs, hold
runs of one kind. Names are within MLflow's alphabet (letters, digits, `_-. :/`): a slash makes a
section of its page.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.data.curves.quantities import Curve
from analysis.data.curves.quantity import Quantity
from analysis.data.curves.trajectories import best
from analysis.data.curves.trajectories import trials as per_trial_series
from analysis.data.mlflow_view import CHOSEN, LOGGED_SERIES, MAX_PARAM
from analysis.data.sweeps import level_means, mean_with_ends
from analysis.data.table import Table
from analysis.levels.intervals import Array
from analysis.searches.tuning import FINAL, NOT_SEARCHED
from analysis.verdicts.judging import by_kernel
from study.mlflow_view.naming import Naming, as_written, beside_axis, law_parameters
from trainers.columns import UNTRAINED_ERRORS
from trainers.trial import TrialStatus

Values = list[tuple[str, float, int]]
"""Of metrics: name, value, step."""

CHARTED_STEPS = 12
ENDINGS = ("approximation", "displacement", "flipped_fraction")
"""A step column is a metric at CHARTED_STEPS recorded steps, ENDINGS at the last one alone. A value
costs 0.13 ms in sqlite, so that all 40 steps would be most of what tracking costs; the tags hold
them, exactly."""

OF_THE_LIMIT = ("score_error", "holdout_loss")
"""The step columns that are metrics at infinite width: hundreds of seeds of a point, which nobody
charts one by one, would be most of what tracking costs."""

AXES = ("dimension", "samples", "width", "step_size")
"""Metrics too: parameters are text, which neither filters nor plots as numbers. Of points they are
`x/...`, with the log2 of N and m: MLflow has logarithmic axes on line charts only."""

ONCE = (
    "seconds",
    "operations",
    "interpolation_error",
    *(name for name, (_, like) in UNTRAINED_ERRORS.items() if like == "score_error"),
)
"""Columns of a trial that are results to compare: metrics where they were measured."""

HEADLINES = (Quantity.BEST_ERROR, Quantity.BEST_TIME, Quantity.COUPLING_AT_TIME)
"""Quantities whose exponents and curves are metrics; all verdicts are tags of the study's run."""

CURVES = 100
"""Runs of curves at most: MLflow's page slows down with more."""

LONGEST_VERDICT = 4900


# --- a trial --------------------------------------------------------------------------------------


def parameters(row: Mapping[str, Any], names: Sequence[str] = CHOSEN) -> dict[str, str]:
    """What was chosen for a trial; its law's parameters as `law.std`."""
    found = {
        name: _shown(row[name])[:MAX_PARAM]
        for name in names
        if name in row and not _missing(row[name])
    }
    own = law_parameters(str(row.get("law_label", "")))
    return found | {f"law.{name}": value[:MAX_PARAM] for name, value in own.items()}


def record(row: pd.Series) -> dict[str, Any]:
    """A row of a table as name -> value."""
    return {str(name): value for name, value in row.items()}


def _missing(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return "inf" if math.isinf(value) else f"{value:.10g}"
    return str(value)


def description(row: Mapping[str, Any]) -> str:
    """A trial in two sentences."""
    law = f"{row['law_label']} in dimension {row['dimension']}, seed {row['seed']}"
    if math.isinf(row["width"]):
        return (
            f"The kernel limit m = inf: descent in closed form with step size "
            f"{row['step_size']:g} on N = {row['samples']} samples of {law}. Metrics are at "
            "log-spaced steps; score_error is E||f^K - f*||^2 against the closed-form posterior "
            "mean."
        )
    return (
        f"A network of width m = {row['width']:g}, trained by {row['trainer']} with step size "
        f"{row['step_size']:g} for {row['steps']} steps on N = {row['samples']} samples of {law}. "
        "Metrics are recorded at log-spaced steps; score_error is "
        "E||f_W - f*||^2 against the closed-form posterior mean."
    )


def trial_metrics(
    row: Mapping[str, Any], series: Mapping[str, list[float]], steps: Sequence[int]
) -> Values:
    """Metrics of a trial. series: LOGGED_SERIES by recorded step, NaN where there is none."""
    found: Values = []  # parallel coordinates open on the first one
    for name in ("score_error", "holdout_loss"):
        values = np.asarray(series.get(name, [math.nan]))
        if np.isfinite(values).any():
            where = int(np.nanargmin(values))
            found.append((f"best_{name}", float(values[where]), 0))
            if name == "score_error":
                found.append(("best_step", steps[where], 0))
    found += [(name, float(row[name]), 0) for name in ONCE if not _missing(row[name])]
    found += [(name, float(row[name]), 0) for name in AXES]
    charted = np.unique(np.linspace(0, len(steps) - 1, CHARTED_STEPS).round().astype(int)).tolist()
    for name in OF_THE_LIMIT if math.isinf(row["width"]) else LOGGED_SERIES:
        values_of = series.get(name)
        if values_of is not None:
            finite = [i for i in charted if math.isfinite(values_of[i])]
            shown_at = finite[-1:] if name in ENDINGS else finite
            found += [(name, values_of[i], steps[i]) for i in shown_at]
    return found


def _axis_metrics(row: Mapping[str, Any]) -> Values:
    """The axes of a point as numbers."""
    found = [(f"x/{name}", float(row[name]), 0) for name in AXES]
    logs = [(f"x/log2_{name}", _log2(float(row[name])), 0) for name in ("samples", "width")]
    return [(name, value, step) for name, value, step in found + logs if math.isfinite(value)]


def _log2(value: float) -> float:
    return math.log2(value) if 0 < value < math.inf else math.nan


# --- a point --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Point:
    """A point's trials taken together. row: the columns that they share, with those of the
    first."""

    point_id: str
    row: Mapping[str, Any]
    metrics: Values


def points(table: Table) -> Iterator[Point]:
    """Every point of a results table: over its completed trials, which differ in seed only, the
    mean best error with its interval, and the geometric mean best time: the values of each trial
    that curves are made of (`analysis.data.curves.trajectories.best`), their means by
    `level_means`."""
    every = per_trial_series(table, ("score_error",))
    trials = every.rows
    moment, error, _ = best(every.time, every.series["score_error"])
    completed = (trials["status"] == TrialStatus.COMPLETED).to_numpy()
    for point_id, own in trials.groupby("point_id", sort=False):
        where = own.index.to_numpy()
        done = where[completed[where] & np.isfinite(error[where])]
        row = record(own.iloc[0])
        # parallel coordinates open on the first
        metrics = [
            *_mean("best_score_error", error[done], geometric=False),
            *_mean("best_time", moment[done], geometric=True),
            ("point/seeds", float(len(done)), 0),
            ("point/not_completed", float(len(where) - completed[where].sum()), 0),
            *_axis_metrics(row),
        ]
        yield Point(str(point_id), row, metrics)


def _mean(name: str, values: Array, geometric: bool) -> Values:
    """The mean of positive values, its log2, and the ends of its interval where it has one."""
    mean, low, high = mean_with_ends(values, geometric)
    parts = {"": mean, "_low": low, "_high": high, "_log2": _log2(mean)}
    return [(f"point/{name}{part}", v, 0) for part, v in parts.items() if math.isfinite(v)]


# --- the study ------------------------------------------------------------------------------------


def verdict_metrics(verdicts: Sequence[Mapping[str, Any]], naming: Naming) -> Values:
    """`rate/best_score_error by samples/GM-d2/exponent` and so on, of the HEADLINES."""
    found: Values = []
    parts = {
        "exponent": "exponent", "low": "ci_low", "high": "ci_high", "theory": "theory_exponent"
    }  # fmt: skip
    for verdict, name in zip(verdicts, _verdict_names(verdicts, naming), strict=True):
        if verdict["quantity"] in HEADLINES:
            found += [
                (f"rate/{name}/{part}", float(verdict[key]), 0)
                for part, key in parts.items()
                if verdict[key] is not None
            ]
    return found


def verdict_tags(verdicts: Sequence[Mapping[str, Any]], naming: Naming) -> dict[str, str]:
    """`verdict/best_score_error by samples/GM-d2`: word and reason, of every verdict."""
    return {
        f"verdict/{name}": f"{v['verdict']}: {v['reason']}"[:LONGEST_VERDICT]
        for v, name in zip(verdicts, _verdict_names(verdicts, naming), strict=True)
    }


def _asked(verdict: Mapping[str, Any]) -> str:
    """`best_score_error by samples`; with the theory where it is the kernel's, of networks, so that
    a name means the same in every study, whatever else was asked in it."""
    name = f"{verdict['quantity']} by {verdict['axis']}"
    foretold = by_kernel(verdict.get("theory_key", ""), verdict["quantity"])
    return f"{name} - {verdict['theory']}" if foretold else name


def _verdict_names(verdicts: Sequence[Mapping[str, Any]], naming: Naming) -> list[str]:
    return _distinct_names(
        [
            (
                _asked(v),
                _law(naming, v.get("law_id") or "", str(v["law"]), int(v["dimension"])),
                {**v["fixed"], "prediction": v["prediction"]},
            )
            for v in verdicts
        ]
    )


def _law(naming: Naming, law_id: str, label: str, dimension: int) -> str:
    return f"{naming.law(law_id, label).replace(' ', '-')}-d{dimension}"


def _distinct_names(subjects: Sequence[tuple[str, str, Mapping[str, Any]]]) -> list[str]:
    """`what/law` of (what, law, what else was held fixed), within MLflow's alphabet and its 250
    characters. Subjects that agree in the first two also name what they differ in, and no more than
    tells them apart: one must not overwrite the other."""
    alike = defaultdict(list)
    for what, law, fixed in subjects:
        alike[what, law].append(fixed)
    names = []
    for what, law, fixed in subjects:
        others = [other for other in alike[what, law] if other is not fixed]
        told = [_within(f"{k} {fixed[k]}") for k in _telling(fixed, others)]
        text = " ".join([_within(law), *told])
        names.append(f"{_within(what)}/{text[:150]}")
    return names


def _telling(fixed: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> list[str]:
    """Keys by which it differs from each of the others that differs at all, few and plain: infinite
    width says what else it brings with it."""
    ordered = sorted(fixed.keys() - {"effective_time"}, key=lambda k: (k not in AXES, k))
    # measured, a time would be a new name with every trial
    kept = [k for k in ordered if any(other.get(k) != fixed[k] for other in others)]
    apart = [other for other in others if any(other.get(k) != fixed[k] for k in kept)]
    for key in reversed(kept):
        rest = [k for k in kept if k != key]
        if all(any(other.get(k) != fixed[k] for k in rest) for other in apart):
            kept = rest
    return kept


def _within(text: str) -> str:
    """`text` in the alphabet of MLflow's names, without slashes."""
    return re.sub(r"[^\w\-. ]", "_", text, flags=re.ASCII)


# --- a curve --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CurveRun:
    """Curves of the same trials along one axis. digest: changes where a number does."""

    name: str
    row: Mapping[str, Any]
    metrics: Values

    @property
    def digest(self) -> str:
        return hashlib.sha256(repr((self.name, self.metrics)).encode()).hexdigest()[:16]


def curve_runs(curves: Iterable[Curve], naming: Naming) -> list[CurveRun]:
    """The HEADLINES against N and m, with the axis as the step: line charts have logarithmic axes.
    Where the values of the axis are powers of two, their log2 against each other too: a power law
    is a straight line there without any setting."""
    same: dict[tuple[Any, ...], list[Curve]] = {}
    for curve in curves:
        whole = bool((curve.x == np.round(curve.x)).all() and (curve.x < 2**53).all())
        if curve.axis in ("samples", "width") and curve.quantity in HEADLINES and whole:
            held = repr(sorted((k, str(v)) for k, v in curve.fixed.items()))
            key = (curve.axis, curve.law_id, curve.law, curve.dimension, held)
            same.setdefault(key, []).append(curve)
    found = []
    for own in same.values():
        first = own[0]
        row = {
            **as_written(first.fixed),
            "law": re.split(r"[\[(]", first.law)[0],
            "law_label": first.law,
            "dimension": first.dimension,
        }
        at = "N" if first.axis == "samples" else "m"
        beside = beside_axis(first.axis, first.fixed)
        law, d = naming.law(first.law_id, first.law), f"d{first.dimension}"
        parts = (d, law, beside) if "dimension" in naming.varying else (law, beside, d)
        name = " ".join((f"by {at}", *parts))
        metrics = [value for curve in own for value in _curve_metrics(curve)]
        found.append(CurveRun(name, row, metrics))
    return found[:CURVES]


def _curve_metrics(curve: Curve) -> Values:
    name = f"{curve.quantity} by {curve.axis}"
    x, mean, _, _ = level_means(curve.x, curve.y, geometric=curve.geometric)
    found = [(f"curve/{name}", float(y), int(at)) for at, y in zip(x, mean, strict=True)]
    exponents = np.log2(x)
    if len(x) and (exponents == np.round(exponents)).all():
        found += [
            (f"curve/log2 {curve.quantity} by log2 {curve.axis}", _log2(float(y)), int(at))
            for at, y in zip(exponents, mean, strict=True)
        ]
    return [value for value in found if math.isfinite(value[1])]


# --- a search -------------------------------------------------------------------------------------


def search_metrics(
    evaluations: pd.DataFrame, trials: pd.DataFrame, naming: Naming
) -> tuple[Values, dict[str, str]]:
    """The best so far of every search, and tags with its winners.

    evaluations: of `analysis.searches.tuning`; trials: what the results table has once a trial.
    Metrics `best/tpe N512 GM-d2/holdout_loss`, with the score error, width, step size and stopping
    step beside it, step by evaluations n, where a better one was found and at the last n. Of
    repetitions, each on data of its own, every one has its own. Tags name the hyperparameters that
    won, also those that are no numbers: MLflow's parameters can never change, and a search goes on.
    """
    metrics: Values = []
    tags = {}
    known = trials.drop_duplicates("trial_id").set_index("trial_id")
    searched = evaluations[~evaluations["method"].isin(NOT_SEARCHED)]
    repeated = searched["repetition"].nunique() > 1
    keys = ["law_id", "law_label", "dimension", "samples", "t_min", "steps", "method", "repetition"]
    groups: list[tuple[Any, pd.DataFrame]] = list(searched.groupby(keys, sort=True))
    names = _distinct_names(
        [
            (
                f"{key[6]} N{key[3]}",
                _law(naming, key[0], key[1], key[2]) + (f" r{key[7]}" if repeated else ""),
                {"t_min": key[4], "steps": key[5]},
            )
            for key, _ in groups
        ]
    )
    for name, (_, one) in zip(names, groups, strict=True):
        one = one.sort_values("number").reset_index(drop=True)
        least, at = math.inf, -1
        for n, value in enumerate(one["value"].to_numpy(dtype=float), start=1):
            better = value < least
            if better:
                least, at = float(value), n - 1
            if at < 0 or not (better or n == len(one)):
                continue
            winner = one.iloc[at]
            parts = {"holdout_loss": least, "score_error": winner["score_error"]}
            if winner["trial_id"] in known.index:
                row = known.loc[winner["trial_id"]]
                parts |= {"width": row["width"], "step_size": row["step_size"]}
                tags[f"best/{name}"] = _won(record(row), winner)
            parts["stopping_step"] = winner["step"]
            metrics += [(f"best/{name}/{k}", float(v), n) for k, v in parts.items()]
    return [value for value in metrics if math.isfinite(value[1])], tags


def roles(evaluations: pd.DataFrame) -> dict[str, tuple[str, dict[str, str]]]:
    """What each trial of a search was for, by its id: in a word, `tpe12 r0` (evaluation 12 of
    repetition 0), `theory r0`, `final2 r3` (finalist 2 on the fresh seed 3), to begin its run's
    name with; and as tags, to filter and group runs by."""
    repeated = evaluations["repetition"].nunique() > 1
    found: dict[str, tuple[str, dict[str, str]]] = {}
    for one in evaluations.drop_duplicates("trial_id").to_dict("records"):
        searched = one["method"] not in NOT_SEARCHED
        numbered = searched or one["method"] == FINAL
        word = f"{one['method']}{one['number'] if numbered else ''}"
        text = f"{word} r{one['repetition']}" if repeated else word
        tags = {"method": one["method"], "repetition": one["repetition"]}
        if searched:
            tags |= {"evaluation": one["number"], "state": one["state"]}
        found[one["trial_id"]] = text, {f"search/{k}": str(v) for k, v in tags.items()}
    return found


def _won(row: Mapping[str, Any], winner: pd.Series) -> str:
    chosen = ("width", "step_size", "initialisation", "feature_bias", "trainer", "seed")
    told = ", ".join(f"{k} {v}" for k, v in parameters({k: row[k] for k in chosen}, chosen).items())
    return (
        f"{told}, stopped at step {winner['step']:.0f}: held-out loss {winner['value']:.5g}, "
        f"score error {winner['score_error']:.4g} (evaluation {winner['number']})"
    )
