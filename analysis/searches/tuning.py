"""Tuned against theory-guided: what a search reaches after n evaluations, and theory without one.

| name        | meaning                                                                    | unit |
|-------------|----------------------------------------------------------------------------|------|
| n           | evaluations: Optuna trials, in the order in which they were asked for      | 1    |
| value       | a trial's least held-out denoising loss: what the search minimises         | x^2  |
| incumbent   | of the first n trials the one with the least value                         |      |
| score error | the incumbent's, at the step where its held-out loss is least              | x^2  |
| operations  | of the training: of all n trials; of theory's trial to where it stops      | flop |

A repetition is a whole comparison on data of its own: searches, pilots and the guided trial. The
unit of every interval is the repetition. Medians have the distribution-free interval between two
order statistics, whose exact level is reported, since few repetitions allow few levels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import fsspec
import numpy as np
import pandas as pd
from scipy import special

from analysis.data.schema import ResultsError, opened
from analysis.data.sweeps import data_file
from analysis.data.table import Table
from analysis.levels.intervals import Array
from trainers.stopping import Recorded, stop

FILE = "evaluations.parquet"

POINT = ["law_id", "law_label", "dimension", "samples", "t_min", "steps"]
COLUMNS: dict[str, str] = {
    "law_id": "str", "law_label": "str", "dimension": "int64", "samples": "int64",
    "t_min": "float64", "steps": "int64", "method": "str", "repetition": "int64",
    "number": "int64", "trial_id": "str", "state": "str", "value": "float64",
    "score_error": "float64", "step": "float64", "operations": "float64",
    "pilot_operations": "float64", "constant": "float64", "message": "str", "finalist": "str",
}  # fmt: skip
"""Of the table of evaluations: one row for every Optuna trial (`method` is the sampler, `state` is
Optuna's), for every theory-guided trial (`method` is `theory`), for each of its `pilot`s and for
each trial of the finals (`method` is `final`, `number` the finalist's, `repetition` the fresh
seed's; `finalist`: the ids of the trials that were chosen with its hyperparameters). `steps`: of
the search."""

GUIDED, PILOT, FINAL = "theory", "pilot", "final"
NOT_SEARCHED = (GUIDED, PILOT, FINAL)
GUIDED_RULES = ("a_priori", "discrepancy", "rademacher", "holdout", "oracle")
"""The stopping rules applied to the theory-guided trial; `a_priori` is the choice itself."""

WHOLE = ("holdout", "oracle")
"""Rules that look at the whole trajectory: it all counts as their cost."""

_SERIES = ("score_error", "holdout_loss", "train_loss", "kernel_complexity")


def load_evaluations(source: str) -> pd.DataFrame | None:
    """The table of evaluations beside the results in `source`; None where there is none."""
    filesystem, path = fsspec.core.url_to_fs(str(source))
    name = f"{path.rstrip('/')}/{FILE}"
    if not filesystem.isfile(name):
        return None
    with opened(filesystem, name) as file:
        frame = pd.read_parquet(file)
    if "finalist" not in frame:  # of before there were finals
        frame["finalist"] = ""
    missing = [name for name in COLUMNS if name not in frame]
    if missing:
        raise ResultsError(f"{name}: not a table of evaluations: it has no {', '.join(missing)}")
    return frame.astype(COLUMNS)


@dataclass(frozen=True)
class Median:
    """Over repetitions: the median, its interval and the level that this has; NaN below two."""

    value: float
    low: float
    high: float
    level: float
    count: int


def median_interval(values: Array, level: float = 0.95) -> Median:
    """The sample median, and the narrowest interval between symmetric order statistics with at
    least `level`; the widest there is, from least to largest, where none has: the level that is
    reported is the exact one, 1 - 2 P(Bin(n, 1/2) <= k). Infinite values are allowed: they are
    censored, and larger than all others; where half are, so is the median, between the largest that
    is known and one that is not."""
    x = np.sort(np.asarray(values, dtype=float)[~np.isnan(values)])
    n = len(x)
    if n == 0:
        return Median(np.nan, np.nan, np.nan, np.nan, 0)
    middle = float(np.inf if np.isinf(x[n // 2]) else np.median(x))
    if n == 1:
        return Median(middle, np.nan, np.nan, np.nan, 1)
    k = max((k for k in range(n // 2) if _level(k, n) >= level), default=0)
    return Median(middle, float(x[k]), float(x[n - 1 - k]), _level(k, n), n)


def _level(k: int, n: int) -> float:
    """P(x_(k+1) <= median <= x_(n-k)) of n independent values."""
    return float(1 - 2 * special.bdtr(k, n, 0.5))


def incumbents(evaluations: pd.DataFrame) -> pd.DataFrame:
    """For every search and n = 1, 2, ...: the incumbent's score error and the operations so far.

    Columns: those of POINT, method, repetition, evaluations (n), value, score_error, operations. A
    trial without a value (it failed) is no incumbent, but an evaluation all the same.
    """
    searched = evaluations[~evaluations["method"].isin(NOT_SEARCHED)]
    rows = []
    for key, one in searched.groupby([*POINT, "method", "repetition"], sort=False):
        one = one.sort_values("number")
        value = one["value"].to_numpy(dtype=float)
        error = one["score_error"].to_numpy(dtype=float)
        cost = np.cumsum(np.nan_to_num(one["operations"].to_numpy(dtype=float)))
        best, at = np.inf, -1
        for i in range(len(one)):
            if value[i] < best:
                best, at = value[i], i
            found = (best, error[at]) if at >= 0 else (np.nan, np.nan)
            rows.append((*key, i + 1, *found, cost[i]))
    told = ["evaluations", "value", "score_error", "operations"]
    return pd.DataFrame(rows, columns=[*POINT, "method", "repetition", *told])


def guided(evaluations: pd.DataFrame, frame: pd.DataFrame | Table) -> pd.DataFrame:
    """Where each stopping rule stops the theory-guided trials, and the score error there.

    frame: the results table, with those trials. Columns: POINT, repetition, trial_id, rule,
    score_error, holdout_loss, operations (pilots apart), pilot_operations, width, step_size, step,
    message.
    """
    rows: list[dict[str, Any]] = []
    table = Table.of(frame)
    for _, one in evaluations[evaluations["method"] == GUIDED].iterrows():
        mine = table.only(table.trials["trial_id"] == one["trial_id"])
        if not len(mine):
            continue
        first, own = mine.trials.iloc[0], mine[["step", *_SERIES]]
        series = {name: own[name].to_numpy(dtype=float, na_value=np.nan) for name in _SERIES}
        recorded = Recorded(
            steps=own["step"].to_numpy(dtype=np.int64),
            step_size=float(first["step_size"]),
            samples=int(first["samples"]),
            dimension=int(first["dimension"]),
            noise_variance=float(first["noise_variance"]),
            a_priori_constant=float(one["constant"]),
            **series,
        )
        last = int(recorded.steps[-1])
        for rule in GUIDED_RULES:
            stopped = stop(rule, recorded)
            known = stopped.index is not None
            step = last if rule in WHOLE else (stopped.step or 0)
            rows.append(
                {
                    **{name: one[name] for name in POINT},
                    "repetition": one["repetition"],
                    "trial_id": one["trial_id"],
                    "rule": rule,
                    "score_error": series["score_error"][stopped.index] if known else np.nan,
                    "holdout_loss": series["holdout_loss"][stopped.index] if known else np.nan,
                    "operations": float(first["operations"]) * step / last if known else np.nan,
                    "pilot_operations": one["pilot_operations"],
                    "width": int(first["width"]),
                    "step_size": float(first["step_size"]),
                    "step": stopped.step,
                    "message": stopped.message,
                }
            )
    return pd.DataFrame(rows)


def worth(found: pd.DataFrame, stopped: pd.DataFrame) -> pd.DataFrame:
    """How many evaluations a guided choice is worth: in each repetition the fewest n after which
    the incumbent's error is at most that of the choice; inf where all n were not enough.

    found, stopped: as of a `Comparison`, of one method and one rule.
    Columns: repetition, evaluations, most (how many there were).
    """
    rows = []
    for repetition, own in found.groupby("repetition"):
        rival = stopped.loc[stopped["repetition"] == repetition, "error"]
        if rival.empty or not np.isfinite(rival.iloc[0]):
            continue
        reached = own.loc[own["error"] <= rival.iloc[0], "evaluations"]
        least = float(reached.min()) if len(reached) else np.inf
        rows.append((repetition, least, int(own["evaluations"].max())))
    return pd.DataFrame(rows, columns=["repetition", "evaluations", "most"])


def budgets(most: int) -> list[int]:
    """1, 2, 4, ... up to `most`, and `most` itself."""
    return sorted({2**k for k in range(most.bit_length()) if 2**k <= most} | {most})


# --- the comparison -------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Comparison:
    """One point: its label, the values of POINT, `incumbents` and `guided` there, each with the
    column `error`: the score error, or the held-out loss where f* is not known. left_out: the
    repetitions, in neither, in which theory made no choice."""

    label: str
    stem: str
    samples: int
    point: pd.Series[Any]
    found: pd.DataFrame
    stopped: pd.DataFrame
    left_out: int = 0

    @property
    def known(self) -> bool:
        """Whether there is a score error to compare: f* of some laws is not known."""
        return bool(self.found["score_error"].notna().any())

    @property
    def measure(self) -> str:
        """What is compared, in words."""
        return "score error" if self.known else "held-out loss"

    def own(self, table: pd.DataFrame) -> pd.DataFrame:
        """The rows of a table with the columns of POINT that are of this one."""
        return table[(table[POINT] == self.point).all(axis=1)] if len(table) else table


def _shared(one: Comparison) -> Comparison:
    """With the repetitions alone in which theory made its choice, where it made any: medians of
    searches over more of them, on other data, are no measure of it."""
    if one.stopped.empty:
        return one
    chose = one.found["repetition"].isin(set(one.stopped["repetition"]))
    left = one.found[~chose]["repetition"].nunique()
    return replace(one, found=one.found[chose], left_out=left) if chose.any() else one


def label_of(point: pd.Series[Any], points: pd.DataFrame) -> str:
    """The law, dimension and N of a point, in words, and the t_min where `points` differ in it."""
    law = data_file(str(point["law_label"])) or point["law_label"]
    label = f"{law}, d = {point['dimension']}, N = {point['samples']}"
    return f"{label}, t_min = {point['t_min']:g}" if points["t_min"].nunique() > 1 else label


def comparisons(evaluations: pd.DataFrame, frame: pd.DataFrame | Table) -> list[Comparison]:
    """The comparison at every point, by law, dimension and N."""
    found, stopped = incumbents(evaluations), guided(evaluations, frame)
    made = []
    points = evaluations[POINT].drop_duplicates().sort_values(POINT)
    for place, (_, point) in enumerate(points.iterrows()):
        label = label_of(point, points)
        stem = f"tuning_{place}_N{point['samples']}"
        one = Comparison(label, stem, int(point["samples"]), point, found, stopped)
        one = replace(one, found=one.own(found), stopped=one.own(stopped))
        one = _shared(one)
        of_search, of_theory = ("score_error",) * 2 if one.known else ("value", "holdout_loss")
        own = one.found.assign(error=one.found[of_search])
        rules = (
            one.stopped.assign(error=one.stopped[of_theory]) if len(one.stopped) else one.stopped
        )
        made.append(replace(one, found=own, stopped=rules))
    return made


def summary(one: Comparison) -> pd.DataFrame:
    """The table of a point: a row for each budget of each sampler, and for each stopping rule.

    Columns: method, evaluations (NaN for rules), error, error_low, error_high, operations (median),
    pilot_operations, worth, worth_low, worth_high (evaluations of each sampler that reach the rule;
    inf: more than there were), against (the sampler), level, count, fired.
    """
    rows: list[dict[str, Any]] = []
    for method, own in one.found.groupby("method", sort=True):
        for n in budgets(int(own["evaluations"].max())):
            at = own[own["evaluations"] == n]
            error = median_interval(at["error"].to_numpy(dtype=float))
            rows.append(
                {
                    "method": method,
                    "evaluations": n,
                    **_told("error", error),
                    "operations": at["operations"].median(),
                    "pilot_operations": 0.0,
                    "level": error.level,
                    "count": error.count,
                }
            )
    if len(one.stopped):
        for rule in GUIDED_RULES:
            at = one.stopped[one.stopped["rule"] == rule]
            error = median_interval(at["error"].to_numpy(dtype=float))
            common = {
                "method": rule,
                **_told("error", error),
                "operations": at["operations"].median(),
                "pilot_operations": at["pilot_operations"].median(),
                "level": error.level,
                "count": error.count,
                "fired": int(at["error"].notna().sum()),
            }
            for method, own in one.found.groupby("method", sort=True):
                value = median_interval(worth(own, at)["evaluations"].to_numpy(dtype=float))
                most = int(own["evaluations"].max())
                rows.append({**common, "against": method, "most": most, **_told("worth", value)})
    return pd.DataFrame(rows)


def _told(name: str, median: Median) -> dict[str, float]:
    return {name: median.value, f"{name}_low": median.low, f"{name}_high": median.high}
