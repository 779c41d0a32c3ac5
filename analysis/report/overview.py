"""What was run, for the report: a row a trial, what went wrong, the study's facts, and versions."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import pandas as pd

from analysis.data.sweeps import data_file, standardised
from analysis.data.table import Table
from analysis.text import minus
from trainers.columns import IDENTITY_COLUMNS, TRIAL_COLUMNS
from trainers.registry import DESCENT, KERNEL_LIMIT

FINE = ("completed", "pruned")
"""Statuses that are no trouble."""

SOFTWARE = f"""@software{{scorerates,
  author = {{{{The scorerates authors}}}},
  title = {{scorerates: how fast gradient descent learns a score}},
  version = {{{metadata.version("scorerates")}}},
  license = {{Apache-2.0}}
}}"""
"""How to cite this program: as CITATION.cff says."""

_PACKAGES = ("scorerates", "torch", "numpy", "scipy", "pandas", "matplotlib", "ray", "mlflow")
_LAWS = 6  # laws that the page lists one by one
_VALUES = 16  # of an axis that the page lists one by one
_LISTED = 40  # trials without a result that the page lists; the download holds all


def trial_table(frame: pd.DataFrame | Table) -> pd.DataFrame:
    """One row a trial: configuration, outcome, and its best and last recorded score error."""
    whole = Table.of(frame)
    names = [c.name for c in (*IDENTITY_COLUMNS, *TRIAL_COLUMNS) if c.name in whole.trials]
    table = whole.trials[names].set_index("trial_id", drop=False)
    known = whole[["trial_id", "step", "score_error"]].dropna(subset=["score_error"])
    each = known.groupby("trial_id")
    best = known.loc[each["score_error"].idxmin()].set_index("trial_id")
    last = each.tail(1).set_index("trial_id")
    table["best_recorded_score_error"] = best["score_error"]
    table["best_recorded_step"] = best["step"]
    table["last_score_error"] = last["score_error"]
    table["last_step"] = last["step"]
    return table.reset_index(drop=True)


def trouble(trials: pd.DataFrame) -> list[dict[str, Any]]:
    """Trials that did not complete, with what they said."""
    rows = []
    for _, t in trials[~trials["status"].isin(FINE)].head(_LISTED).iterrows():
        step = "" if pd.isna(t["diverged_step"]) else f"{t['diverged_step']:g}"
        rows.append(
            {
                "id": str(t["trial_id"])[:8],
                "what": f"{t['law']}, d = {t['dimension']}, N = {t['samples']:g}, "
                f"m = {t['width']:g}, η = {t['step_size']:g}, seed {t['seed']}",
                "status": t["status"],
                "step": step,
                "message": "" if pd.isna(t["message"]) else t["message"],
            }
        )
    return rows


def facts(
    frame: pd.DataFrame | Table, trials: pd.DataFrame, notes: Sequence[tuple[str, str]] = ()
) -> list[tuple[str, str]]:
    """What was run, as term and description: of the results table, of its `trials` (a row each),
    and `notes`."""

    def values(name: str) -> str:
        found = sorted(trials[name].dropna().astype(float).unique())
        if len(found) > _VALUES:
            return f"{len(found)} values from {found[0]:.3g} to {found[-1]:.3g}"
        return ", ".join(f"{v:g}" for v in found)

    files = sorted({name for label in trials["law_label"] if (name := data_file(str(label)))})
    scaled = any(standardised(str(label)) for label in trials["law_label"])
    told_scaled = ", its columns standardised" if scaled else ""
    laws = sorted(
        f"{a}, d = {b}" for a, b in set(zip(trials["law_label"], trials["dimension"], strict=True))
    )
    several = f"{len(laws)}, from {laws[0]} to {laws[-1]}" if len(laws) > _LAWS else "; ".join(laws)
    told = [
        ("Laws of X₀", several),
        *([("Data", f"{', '.join(files)}{told_scaled}")] if files else []),
        ("Trainer", ", ".join(map(_trainer, sorted(trials["trainer"].dropna().unique())))),
        ("Samples N", values("samples")),
        ("Widths m", values("width")),
        ("Step sizes η", values("step_size")),
        ("Steps τ", values("steps")),
        ("Diffusion times", f"T₀ = {values('t_min')}, T = {values('t_max')}"),
        ("Seeds", _seeds(trials)),
        ("Trials", f"{len(trials)}, {len(frame)} recorded rows"),
    ]
    seconds, operations = trials["seconds"].sum(), trials["operations"].sum()
    if seconds > 0:
        rate = f"{operations / seconds / 1e9:.3g} GFLOP/s" if operations > 0 else ""
        told.append(("Training", f"{seconds:.3g} s {rate}".strip()))
    devices = sorted(trials["device"].dropna().astype(str).unique())
    if devices:
        told.append(("Devices", ", ".join(devices)))
    return [(term, minus(text)) for term, text in (*told, *notes)]


def _trainer(name: str) -> str:
    if ":" in name:
        return f"{name}, of your own"
    return {DESCENT: "full-batch gradient descent", KERNEL_LIMIT: "kernel limit"}.get(name, name)


def _seeds(trials: pd.DataFrame) -> str:
    """Their number; and where points have more or fewer, how many at each N."""
    each = trials.groupby(["samples", "point_id"])["seed"].nunique()
    if each.min() == each.max():
        return f"{trials['seed'].nunique()}"
    spans = each.groupby("samples").agg(["min", "max"])
    told = [
        f"{low} at N = {n:g}" if low == high else f"{low} to {high} at N = {n:g}"
        for n, low, high in spans.itertuples()
    ]
    return f"{each.min()} to {each.max()} a point: {', '.join(told)}"


def versions() -> list[tuple[str, str]]:
    """Of the packages behind a report."""
    rows = [("Python", platform.python_version())]
    for package in _PACKAGES:
        try:
            rows.append((package, metadata.version(package)))
        except metadata.PackageNotFoundError:
            rows.append((package, "not installed"))
    return rows
