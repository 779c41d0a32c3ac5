"""What the report says of the study itself: what was run, on what, with which versions."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib import metadata

import pandas as pd

from analysis.plot import minus

_PACKAGES = ("scorerates", "torch", "numpy", "scipy", "pandas", "matplotlib", "ray", "mlflow")
_VALUES = 16  # of an axis that the page lists one by one


def study_facts(
    frame: pd.DataFrame, trials: pd.DataFrame, notes: Sequence[tuple[str, str]] = ()
) -> list[tuple[str, str]]:
    """What was run, as term and description: of the results table, of its `trials` (a row each),
    and `notes`."""

    def values(name: str) -> str:
        found = sorted(trials[name].dropna().astype(float).unique())
        if len(found) > _VALUES:
            return f"{len(found)} values from {found[0]:.3g} to {found[-1]:.3g}"
        return ", ".join(f"{v:g}" for v in found)

    laws = sorted(
        f"{a}, d = {b}" for a, b in set(zip(trials["law_label"], trials["dimension"], strict=True))
    )
    facts = [
        ("Laws of X₀", "; ".join(laws)),
        ("Samples N", values("samples")),
        ("Widths m", values("width")),
        ("Step sizes η", values("step_size")),
        ("Steps τ", values("steps")),
        ("Diffusion times", f"T₀ = {values('t_min')}, T = {values('t_max')}"),
        ("Seeds", _seeds(trials)),
        ("Units", "x² is the square of the data's unit; η, τ, N, m and ητ are pure numbers"),
        ("Trials", f"{len(trials)}, {len(frame)} recorded rows"),
    ]
    seconds, operations = trials["seconds"].sum(), trials["operations"].sum()
    if seconds > 0:
        rate = f"{operations / seconds / 1e9:.3g} GFLOP/s" if operations > 0 else ""
        facts.append(("Training", f"{seconds:.3g} s {rate}".strip()))
    devices = sorted(trials["device"].dropna().astype(str).unique())
    if devices:
        facts.append(("Devices", ", ".join(devices)))
    return [(term, minus(told)) for term, told in (*facts, *notes)]


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
