"""The numbers of the figure and the table that compare stopping rules with the oracle."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.data.sweeps import Setting, has, sweep
from analysis.drawing.plot import Panel, Plot, Role, Series, Topic
from analysis.text import number, share
from analysis.verdicts.stops import RULES, regrets

USES = {
    "holdout": "the loss on held-out pairs, more than the N",
    "discrepancy": "the training loss and σ²",
    "rademacher": "the kernel's spectrum and σ²",
    "a_priori": "N, d and a constant from one pilot N",
}
"""What each rule needs to know."""

TITLE = "What stopping without the truth costs"


@dataclass(frozen=True, eq=False)
class Compared:
    """The stops that a setting's rules are compared on: along N where the study has that sweep.

    stops: as `analysis.verdicts.stops.stops` gives it. levels: the values of N. pilot: the N that
    gave `a_priori` its constant, None where it was not asked for or there is no other N. held: in
    words.
    """

    stops: pd.DataFrame
    levels: tuple[float, ...]
    pilot: int | None
    held: str

    @property
    def beyond_pilot(self) -> pd.DataFrame:
        """The stops of the trials that every rule can be judged on."""
        return self.stops if self.pilot is None else self.stops[self.stops["samples"] != self.pilot]


def compared(setting: Setting, stops: pd.DataFrame) -> Compared | None:
    """What the setting's rules are compared on, of the stops of the whole table; None where no rule
    but the oracle was asked for, or the score error was not measured."""
    if not set(stops["rule"]) & set(USES) or not has(setting.frame, "score_error"):
        return None
    along = sweep(setting.frame, "samples")
    chosen = (setting.frame if along is None else along.frame).trials["trial_id"]
    made = stops[stops["trial_id"].isin(chosen)].reset_index(drop=True)
    if along is None:
        levels = tuple(sorted(made["samples"].astype(float).unique()))
        return Compared(made, levels, None, "over every width and step size")
    pilots = made.loc[made["pilot"], "samples"]
    pilot = None if pilots.empty else int(pilots.iloc[0])
    return Compared(made, along.levels, pilot, along.held)


def stopping(setting: Setting, stops: pd.DataFrame) -> Iterator[Plot | tuple[str, str]]:
    """Score error where each rule stops, over the oracle's, against N."""
    found = compared(setting, stops)
    if found is None:
        return
    if len(found.levels) < 2:
        yield TITLE, "the study has a single value of N"
        return
    table = regrets(found.stops, by=("samples",))
    series = [one for rule in USES for one in _lines(rule, table[table["rule"] == rule])]
    if not series:
        yield TITLE, "no rule fired on any trial"
        return
    ends = np.array([min(found.levels), max(found.levels)])
    oracle = Series("oracle", ends, np.ones(2), role="theory")
    yield Plot(
        name=f"{setting.stem}_stopping_rules",
        title=TITLE,
        caption="Score error where each rule stops over the least one of the same trial, the "
        "oracle's; a cross: the rule did not fire on every trial.",
        panels=(
            Panel(
                "samples $N$", "score error / oracle's", (*series, oracle), ticks=found.levels
            ),
        ),
        group=setting.label,
        note=found.held + _about_pilot(found),
        topic=Topic.STOPPING,
    )  # fmt: skip


def _lines(rule: str, table: pd.DataFrame) -> Iterator[Series]:
    """A rule's means with their bars and the line that joins them; crosses where it fired on part
    of the trials. One colour and marker a rule, whichever rules are shown."""
    hue = RULES.index(rule) - 1
    known = table[table["used"] > 0]
    whole = known["fired"] == 1
    parts: tuple[tuple[pd.Series[bool], Role], ...] = ((whole, "points"), (~whole, "left_out"))
    for part, role in parts:
        rows = known[part]
        if rows.empty:
            continue
        x, mean, low, high = (
            rows[name].to_numpy(dtype=float)
            for name in ("samples", "regret", "regret_low", "regret_high")
        )
        label = "" if role == "left_out" and whole.any() else rule.replace("_", " ")
        low = np.where(low > -1, 1 + low, np.nan)  # a logarithmic axis ends above 0
        yield Series(label, x, 1 + mean, low, 1 + high, role=role, hue=hue)
    if len(known) > 1:
        x, mean = (known[name].to_numpy(dtype=float) for name in ("samples", "regret"))
        yield Series("", x, 1 + mean, hue=hue)


def _about_pilot(found: Compared) -> str:
    if found.pilot is None:
        return ""
    return f"; a priori takes its constant from N = {found.pilot}, where it is not judged"


# --- the table ------------------------------------------------------------------------------------


def stopping_table(setting: Setting, stops: pd.DataFrame) -> dict[str, Any] | None:
    """The table of rules as cells, with the sentence above it; None where there is none.

    `rows`: rule, what it uses, regret, its interval, when it stops, the ratio's interval, fired.
    `notes`: what to know before reading. `numbers`: the same averages, and those at each N, as
    `regrets` gives them, told apart by `scope`.
    """
    found = compared(setting, stops)
    if found is None:
        return None
    pooled = regrets(found.beyond_pilot)
    shown = pooled[pooled["rule"].isin(list(USES))]
    each = regrets(found.stops, by=("samples",))
    return {
        "rows": [_cells(row) for _, row in shown.iterrows()],
        "level": share(float(pooled["level"].iloc[0])),
        "notes": [
            note if setting.follows_kernel else note.replace(": set kernel: true", "")
            for note in _notes(found, pooled)
        ],
        "numbers": pd.concat(
            [pooled.assign(scope="average over N"), each.assign(scope="one N")], ignore_index=True
        ),
    }


def _cells(row: pd.Series[Any]) -> tuple[str, ...]:
    fired = f"{round(row['fired'] * row['trials'])} of {row['trials']}"
    return (
        row["rule"].replace("_", " "),
        USES[row["rule"]],
        _percent(row["regret"], row["regret_low"], row["regret_high"]),
        _percents(row["regret_low"], row["regret_high"]),
        _when(row["time_ratio"]),
        _ratios(row["time_ratio"], row["time_ratio_low"], row["time_ratio_high"]),
        fired,
    )


def _notes(found: Compared, pooled: pd.DataFrame) -> Iterator[str]:
    frame = found.beyond_pilot
    levels = sorted(frame["samples"].unique())
    span = f"{levels[0]:g}" if len(levels) == 1 else f"{levels[0]:g} to {levels[-1]:g}"
    yield f"Averages over the trials at N = {span}, {found.held}, where the rule fired."
    if found.pilot is not None:
        yield (
            f"a priori takes its constant from the oracle at N = {found.pilot}, so no rule is "
            "averaged over that N; its intervals take that constant as given."
        )
    elif frame["pilot"].any():
        yield "a priori takes its constant from the oracle at these N, so it cannot be judged."
    if set(frame["rule"]) & {"discrepancy", "rademacher"}:
        yield f"σ², the labels' noise per coordinate, is {_source(frame)}."
    beyond = int(frame.drop_duplicates("trial_id")["oracle_censored"].sum())
    if beyond:
        yield (f"In {beyond} trials the best step is the last one: their regrets are lower bounds.")
    for _, row in pooled[pooled["rule"].isin(list(USES))].iterrows():
        name = row["rule"].replace("_", " ")
        if row["at_zero"]:
            yield (
                f"{name} stopped {row['at_zero']} trials before the first step; they count in its "
                "regret, not in the ratio."
            )
        if row["censored"]:
            yield f"{name} stopped {row['censored']} trials at their last step: it may want later."
    silent = frame[~frame["fired"]]
    for rule, messages in silent.groupby("rule", sort=False)["message"]:
        tried = int((frame["rule"] == rule).sum())
        first = str(messages.iloc[0]).removeprefix(f"{rule} never fires: ")
        yield (
            f"{str(rule).replace('_', ' ')} did not fire on {len(messages)} of {tried} trials; "
            f"on the first of them, {first}."
        )


def _source(frame: pd.DataFrame) -> str:
    """Where sigma^2 comes from, as the table of results says."""
    if not has(frame, "noise_source"):
        return "of a source that was not recorded"
    trials = frame.drop_duplicates("trial_id")["noise_source"].fillna("of unknown source")
    counts = trials.value_counts()
    if len(counts) == 1:
        return str(counts.index[0])
    return ", ".join(f"{name} on {number} trials" for name, number in counts.items())


def _percent(value: float, low: float, high: float) -> str:
    return f"{number(100 * value, _places(low, high))} %" if np.isfinite(value) else "–"


def _percents(low: float, high: float) -> str:
    if not (np.isfinite(low) and np.isfinite(high)):
        return "–"
    places = _places(low, high)
    return f"{number(100 * low, places)} to {number(100 * high, places)} %"


def _places(low: float, high: float) -> int:
    return 1 if not np.isfinite(high - low) or high - low < 0.1 else 0


def _when(ratio: float) -> str:
    if not np.isfinite(ratio):
        return "–"
    if abs(np.log(ratio)) < np.log(1.005):
        return "at the same step"
    return f"{max(ratio, 1 / ratio):.2g} times {'earlier' if ratio < 1 else 'later'}"


def _ratios(ratio: float, low: float, high: float) -> str:
    if not np.isfinite(ratio):
        return ""
    between = f" ({low:.3g} to {high:.3g})" if np.isfinite(low) and np.isfinite(high) else ""
    return f"τ/τ* = {ratio:.3g}{between}"
