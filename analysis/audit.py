"""The audit of the theory's assumptions, as far as a results table measures them.

Rows follow THEORY's list of assumptions; a row whose columns are null says so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.sweeps import Setting, at_end, has, sweep


@dataclass(frozen=True)
class AuditRow:
    """An assumption, what was measured, and how to read it."""

    assumption: str
    measured: str
    reading: str


def audit_table(setting: Setting) -> list[AuditRow]:
    """What the setting's trials say about each assumption that the table has columns for."""
    rows = [
        _noise(setting.frame),
        _target(setting.frame),
        _movement(setting, "displacement", "‖W(τ) − W(0)‖_F at the last step"),
        _movement(setting, "flipped_fraction", "share of flipped activations at the last step"),
    ]
    return [row for row in rows if row is not None]


def _noise(frame: pd.DataFrame) -> AuditRow | None:
    if not has(frame, "noise_variance"):
        return None
    values = frame["noise_variance"].dropna()
    sources = ", ".join(sorted(frame["noise_source"].dropna().astype(str).unique()))
    return AuditRow(
        "noise of the labels, σ² per coordinate",
        f"{_span(values)} ({sources or 'source not recorded'})",
        "theory needs it bounded; the larger it is, the earlier training must stop",
    )


def _target(frame: pd.DataFrame) -> AuditRow | None:
    if not has(frame, "target_norm"):
        return None
    return AuditRow(
        "size of the target, E‖f*‖²",
        _span(frame["target_norm"].dropna()),
        "the score error before training; an error near it means nothing was learnt",
    )


def _movement(setting: Setting, column: str, name: str) -> AuditRow | None:
    """Level means over seeds against m, or over everything where the study has a single m."""
    if not has(setting.frame, column):
        return None
    along = sweep(setting.frame, "width")
    if along is None:
        return AuditRow(name, _span(at_end(setting.frame)[column].dropna()), "one width only")
    last = at_end(along.frame).dropna(subset=[column])
    means = last.groupby("width")[column].mean()
    parts = [f"{value:.3g} at m = {width:g}" for width, value in means.items()]
    reading = "the kernel picture wants it to vanish as m grows"
    if column == "displacement":
        reading = "the kernel picture wants it small against ‖W(0)‖_F, which grows as √m"
    return AuditRow(f"{name}, {along.held}", ", ".join(parts), reading)


def _span(values: pd.Series[float]) -> str:
    low, high = float(np.min(values)), float(np.max(values))
    return f"{low:.3g}" if np.isclose(low, high) else f"{low:.3g} to {high:.3g}"
