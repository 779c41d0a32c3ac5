"""Where each stopping rule stops a trial, and what that costs against the oracle.

| symbol     | name here           | meaning                                                | unit |
|------------|---------------------|--------------------------------------------------------|------|
| tau        | step                | the recorded step at which the rule stops              | steps|
| tau*       | oracle_step         | the recorded step with the smallest true score error   | steps|
| E(tau)     | score_error         | the network's score error there                        | x^2  |
|            | regret              | E(tau) / E(tau*) - 1                                   | 1    |
|            | time_ratio          | tau / tau*                                             | 1    |

The rules are those of `trainers.stopping` (docs/theory.md, section 6), applied to the network's
own trajectory. A rule that does not fire has no step and no regret: it is counted, never imputed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from analysis.data.curves.quantities import CONFIGURATION
from analysis.data.sweeps import SETTING
from analysis.data.table import Table
from analysis.levels.intervals import Array
from trainers.stopping import RULES as _RULES
from trainers.stopping import Recorded, Stop, a_priori_constant, regret, stop
from trainers.trial import TrialStatus

RULES = tuple(_RULES)
"""Every rule, the oracle first."""

PILOT_AXES = ("samples", "seed")
"""Trials that differ in these alone share one constant of `a_priori`."""

_SERIES = ("score_error", "holdout_loss", "train_loss", "kernel_complexity")
_COPIED = [
    "trial_id", "law_id", "law", "law_label", "dimension", "samples", "width", "step_size",
    *(name for name in SETTING if name not in {"law_id", "dimension"}),
    "seed", "noise_variance", "noise_source",
]  # fmt: skip
_ADDED = {
    "rule": "str", "step": "Int64", "effective_time": "float64", "score_error": "float64",
    "oracle_step": "Int64", "oracle_error": "float64", "regret": "float64",
    "time_ratio": "float64", "fired": "bool", "censored": "bool", "oracle_censored": "bool",
    "pilot": "bool", "message": "str",
}  # fmt: skip
_DESCRIBED = ["law", "law_label"]  # follow from law_id


@dataclass(frozen=True)
class _Pilot:
    """c of `a_priori` for a group of trials, the N that gave it, or why there is none."""

    samples: int
    constant: float | None
    message: str = ""


def check_rules(rules: Sequence[str] | None) -> tuple[str, ...]:
    """`rules` in the order of RULES, each once; None: all. Raises ValueError for an unknown one."""
    for name in rules or ():
        if name not in RULES:
            raise ValueError(f"stopping: {name!r} is no rule; use one of {', '.join(RULES)}")
    return RULES if rules is None else tuple(name for name in RULES if name in rules)


def stops(frame: pd.DataFrame | Table, rules: Sequence[str] | None = None) -> pd.DataFrame:
    """One row per completed trial and rule; trials that diverged or failed are left out.

    frame: columns of trainers.columns, one row per trial and recorded step. rules: names in
    RULES, default all. Raises ValueError for a name that is not one.

    Columns: the trial's configuration, sigma^2 and its source (noise_variance, noise_source), and
    rule, step, effective_time, score_error there, oracle_step, oracle_error, regret, time_ratio,
    fired; censored: the rule fired at the last usable step, so its answer may lie beyond;
    oracle_censored: the same of the oracle, so regret is a lower bound; pilot; message.

    `a_priori` takes its constant from the oracle at one pilot N, the smallest N of the trials that
    share everything but N and seed. It uses the truth there, so the pilot's own rows are flagged
    `pilot` and have no regret.
    """
    chosen = check_rules(rules)
    table = Table.of(frame)
    table = table.only(table.trials["status"] == TrialStatus.COMPLETED).by_id()
    first = table.trials
    trials = list(_recorded(table))
    oracles = [stop("oracle", one) for one in trials]
    group, pilots = _pilots(first, trials, oracles) if "a_priori" in chosen else (None, [])
    rows = [
        _row(one, best, name, None if group is None else pilots[group[i]])
        for i, (one, best) in enumerate(zip(trials, oracles, strict=True))
        for name in chosen
    ]
    made = pd.DataFrame(rows, columns=list(_ADDED)).astype(_ADDED)
    copied = [name for name in _COPIED if name in first]
    repeated = first[copied].loc[np.repeat(np.arange(len(first)), len(chosen))]
    return pd.concat([repeated.reset_index(drop=True), made], axis=1)


def _numbers(column: pd.Series[Any]) -> Array:
    return np.asarray(pd.to_numeric(column).to_numpy(dtype=float, na_value=np.nan))


def _recorded(table: Table) -> Iterator[Recorded]:
    """The trajectories in the order of the table's trials."""
    first = table.trials
    steps = table[["step"]]["step"].to_numpy(dtype=np.int64)
    series = {name: _numbers(table[[name]][name]) for name in _SERIES if name in table}
    unknown = pd.Series(np.nan, first.index)
    sigma2 = _numbers(first.get("noise_variance", unknown)).tolist()
    ends = np.cumsum(table.counts).tolist()
    eta, n, d = (first[name].tolist() for name in ("step_size", "samples", "dimension"))
    start = 0
    for i, end in enumerate(ends):
        own = {name: values[start:end] for name, values in series.items()}
        known = {name: v if np.isfinite(v).any() else None for name, v in own.items()}
        yield Recorded(
            steps=steps[start:end],
            step_size=float(eta[i]),
            samples=int(n[i]),
            dimension=int(d[i]),
            score_error=known.get("score_error"),
            holdout_loss=known.get("holdout_loss"),
            train_loss=known.get("train_loss"),
            kernel_complexity=known.get("kernel_complexity"),
            noise_variance=None if np.isnan(sigma2[i]) else sigma2[i],
        )
        start = end


def _row(one: Recorded, best: Stop, name: str, pilot: _Pilot | None) -> tuple[Any, ...]:
    """The columns of _ADDED for one trial and rule."""
    calibrated = name == "a_priori" and pilot is not None and one.samples == pilot.samples
    made = best if name == "oracle" else _stop(one, name, pilot)
    errors, message = one.score_error, made.message
    there = least = lost = ratio = np.nan
    if errors is not None and best.index is not None:
        least = float(errors[best.index])
        if made.index is not None:
            there = float(errors[made.index])
    if calibrated and made.fired:
        message = f"a_priori: the constant was calibrated here, at N = {one.samples}"
    elif least > 0:
        lost = regret(made, errors) if errors is not None else np.nan
        ratio = made.step / best.step if made.step is not None and best.step else np.nan
    return (
        name, made.step, made.effective_time, there, best.step, least, lost, ratio, made.fired,
        made.censored, best.censored, calibrated, message,
    )  # fmt: skip


def _stop(one: Recorded, name: str, pilot: _Pilot | None) -> Stop:
    if name != "a_priori" or pilot is None:
        return stop(name, one)
    if pilot.constant is None:
        return Stop(name, None, None, None, False, message=f"a_priori never fires: {pilot.message}")
    return stop(name, replace(one, a_priori_constant=pilot.constant))


def _pilots(
    first: pd.DataFrame, trials: Sequence[Recorded], oracles: Sequence[Stop]
) -> tuple[list[int], list[_Pilot]]:
    """The group of each trial, and each group's pilot."""
    held = [name for name in CONFIGURATION if name not in PILOT_AXES and name in first]
    if first.empty:
        return [], []
    group: list[int] = first.groupby(held, dropna=False, sort=False).ngroup().tolist()
    members: list[list[int]] = [[] for _ in range(max(group) + 1)]
    for i, g in enumerate(group):
        members[g].append(i)
    return group, [_pilot([(trials[i], oracles[i]) for i in one]) for one in members]


def _pilot(members: Sequence[tuple[Recorded, Stop]]) -> _Pilot:
    samples = min(one.samples for one, _ in members)
    own = [(one, best) for one, best in members if one.samples == samples]
    where = f"the pilot trials at N = {samples}"
    beyond = sum(best.censored for _, best in own)
    if not all(best.fired for _, best in own):
        return _Pilot(samples, None, f"the score error of {where} was not measured")
    if beyond:  # the geometric mean of the rest would be too small
        return _Pilot(
            samples,
            None,
            f"{beyond} of {len(own)} of {where} are best at their last step; train for longer",
        )
    times = [best.effective_time or 0.0 for _, best in own]
    if not all(times):
        return _Pilot(samples, None, f"some of {where} are best before training")
    return _Pilot(samples, a_priori_constant(times, samples, own[0][0].dimension))


# --- what it costs, over seeds --------------------------------------------------------------------


def regrets(stops: pd.DataFrame, by: Sequence[str] = (), level: float = 0.95) -> pd.DataFrame:
    """What each rule loses, one row per setting (law, dimension, ...), rule and values of `by`.

    stops: as `stops` gives it. by: further columns to keep apart, such as `samples`. Means are
    over trials that fired, first within a seed, then over seeds; intervals are Student's over whole
    seeds, at `level`, NaN below two seeds. Pilot rows are left out.

    Columns: regret, regret_low, regret_high; time_ratio (geometric mean of tau / tau*, where both
    are positive), time_ratio_low, time_ratio_high; seeds and used: seeds and trials with a regret;
    trials: those that the rule was tried on; fired: the share of them where it fired; at_zero: how
    many it stopped before the first step; censored, oracle_censored: how many of the used ones.
    """
    keys = [k for k in (*SETTING, *_DESCRIBED, "rule", *by) if k in stops]
    judged = stops[~stops["pilot"]]
    known = judged["regret"].notna()
    judged = judged.assign(
        log_ratio=np.log(judged["time_ratio"].where(judged["time_ratio"] > 0)),
        at_zero=judged["fired"] & (judged["step"].fillna(-1) == 0),
        used=known,
        censored=judged["censored"] & known,
        oracle_censored=judged["oracle_censored"] & known,
    )
    grouped = judged.groupby(keys, dropna=False, sort=False)
    sums = grouped[["used", "at_zero", "censored", "oracle_censored"]].sum()
    counts = grouped.agg(trials=("trial_id", "size"), fired=("fired", "mean"))
    seeds = judged.groupby([*keys, "seed"], dropna=False, sort=False)[["regret", "log_ratio"]]
    over = seeds.mean().groupby(keys, dropna=False, sort=False)
    mean, low, high = _student(over, level)
    out = pd.DataFrame(
        {
            "regret": mean["regret"],
            "regret_low": low["regret"],
            "regret_high": high["regret"],
            "time_ratio": np.exp(mean["log_ratio"]),
            "time_ratio_low": np.exp(low["log_ratio"]),
            "time_ratio_high": np.exp(high["log_ratio"]),
            "seeds": over["regret"].count(),
        }
    ).join([counts, sums])
    out["level"] = level
    made = out.reset_index()
    place = made["rule"].map({name: i for i, name in enumerate(RULES)})
    order = made.assign(place=place).sort_values([*SETTING, *by, "place"], kind="stable").index
    return made.loc[order].reset_index(drop=True)


def _student(over: Any, level: float) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Mean over seeds, and the ends of its two-sided Student interval."""
    mean, count = over.mean(), over.count()
    factor = special.stdtrit(np.maximum(count - 1, 1), 0.5 + level / 2)
    half = factor * over.std() / np.sqrt(count)  # std is NaN for a single seed
    return mean, mean - half, mean + half
