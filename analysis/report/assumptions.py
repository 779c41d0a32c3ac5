"""The theory's assumptions in words, a row each (docs/theory.md, section 9).

A row says what is assumed, and what was measured, or that nothing was. The rows are those of the
audit of a setting, then what its trials measured themselves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis.data.audit import (
    index_window,
    setting_audit,
    spectrum_samples,
    trusted_norms,
    values_of,
)
from analysis.data.sweeps import Setting, at_end, has, sweep
from analysis.figures.audit import MODES, figure_name
from analysis.fits.power_law import fit_power_law
from analysis.levels.intervals import student
from analysis.text import minus
from trainers.audit.columns import APPROXIMATION_SAMPLES

NOT_MEASURED = "not measured: the study holds no audit of this setting"
UNSEEN = "not measured: the trials have no such column"


_TOO_FEW = (
    "not defined: too few eigenvalues lie between those of the lowest degrees and those that "
    "sampling or rounding spoils"
)
UNDEFINED = {
    "capacity": _TOO_FEW,
    "source": _TOO_FEW,
    "rate": "not defined: the source is not positive, f*'s coefficients do not fall",
}


@dataclass(frozen=True)
class AuditRow:
    """An assumption, what was measured, how to read it, and the name of its figure (or empty)."""

    assumption: str
    measured: str
    reading: str
    figure: str = ""


def assumption_rows(setting: Setting, audit: pd.DataFrame | None = None) -> list[AuditRow]:
    """Every assumption of docs/theory.md, section 9, in a setting; audit: as `load_audit` gives.
    Where another setting shows the audit, those that the trials themselves measured."""
    own = setting_audit(setting, audit)
    audited = [*_law(setting, own), *_target(setting, own)]
    audited += _kernel(setting, own) if setting.follows_kernel else []
    rows = [
        *([] if setting.audited_in else audited),
        _noise_of_rules(setting.frame.trials),
        _target_norm(setting.frame.trials),
        _movement(setting, "displacement", "‖W(τ) − W(0)‖_F at the last step"),
        _movement(setting, "flipped_fraction", "share of flipped activations at the last step"),
    ]
    return [replace(row, measured=minus(row.measured)) for row in rows]


# --- the law and f* -------------------------------------------------------------------------------


def _law(setting: Setting, own: pd.DataFrame | None) -> list[AuditRow]:
    radius = NOT_MEASURED
    if own is not None and (own["quantity"] == "support_radius").any():
        known = values_of(own, "support_radius")["value"]
        radius = f"{known.iloc[0]:.4g} (exact)" if len(known) else "infinite (exact)"
    tail = values_of(own, "tail").groupby("x")["value"].mean()
    text = NOT_MEASURED
    if len(tail):
        parts = []
        for level in (0.1, 0.01, 0.001):
            reached = tail.index[tail <= level]
            if len(reached):
                parts.append(f"at most {level:g} beyond R = {reached[0]:.3g}")
        text = "P(‖X_t‖ > R) is " + ", ".join(parts)
    return [
        AuditRow(
            "bounded support: the radius of X₀", radius, "theory's bounds hold for compact support"
        ),
        AuditRow(
            "light tails: P(‖X_t‖ > R), t ~ U[T₀, T]",
            text,
            "outside the ball of radius R nothing is promised: its share must be negligible; the "
            "first R of a grid at which it is",
            figure_name(setting, "tail") if own is not None else "",
        ),
    ]


def _target(setting: Setting, own: pd.DataFrame | None) -> list[AuditRow]:
    figure = figure_name(setting, "lipschitz") if own is not None else ""
    rows = []
    for axis, name in (("x", "x"), ("t", "t")):
        found = values_of(own, f"lipschitz_{axis}").groupby("x")["value"].max()
        typical = values_of(own, f"typical_slope_{axis}").groupby("x")["value"].mean()
        text = NOT_MEASURED
        if len(found):
            t_min = float(setting.frame.trials["t_min"].iloc[0])
            times = [found.index[0], _nearest(found.index, t_min), found.index[-1]]
            text = "at least " + ", ".join(f"{found[t]:.3g} at t = {t:.3g}" for t in times)
            text += f"; 99 % of X_t meet at most {typical[times[1]]:.3g} at T₀"
        rows.append(
            AuditRow(
                f"f* is Lipschitz in {name}, as T₀ → 0",
                text,
                "the largest slope that a search in the ball of 99.9 % of X_t found: a lower "
                "estimate of the constant. For laws on points or on a sphere it grows as 1/T₀",
                figure,
            )
        )
    noise = values_of(own, "noise_variance").groupby("x")["value"].mean()
    text = NOT_MEASURED
    if len(noise):
        text = f"{_span(noise)} from t = {noise.index[0]:.3g} to {noise.index[-1]:.3g}"
    rows.append(
        AuditRow(
            "bounded noise: σ²(t) = E‖X₀ − f*‖²/d by t",
            text,
            "theory wants one bound for all t; noise that varies with t is weighted as if it did "
            "not",
            figure_name(setting, "noise") if own is not None else "",
        )
    )
    return rows


def _nearest(grid: pd.Index, value: float) -> float:
    return float(min(grid, key=lambda x: abs(math.log(x / value))))


# --- the kernel -----------------------------------------------------------------------------------


def _kernel(setting: Setting, own: pd.DataFrame | None) -> list[AuditRow]:
    kernel = figure_name(setting, "kernel") if own is not None else ""
    smallest = values_of(own, "smallest_eigenvalue").groupby("x")["value"]
    text = NOT_MEASURED
    if len(smallest):
        text = _ends(smallest.mean(), f"; the smallest of all {smallest.min().min():.3g}")
    step = values_of(own, "largest_step_size").groupby("x")["value"].mean()
    steps = sorted(setting.frame.trials["step_size"].dropna().unique())
    used = ", ".join(f"{v:g}" for v in steps)
    return [
        AuditRow(
            "smallest eigenvalue of K/N against N",
            text,
            "worst-case proofs divide by it; it falls to 0 as N grows, so their constants do not "
            "hold uniformly",
            kernel,
        ),
        AuditRow(
            "largest step size, 2N/λ_max(K)",
            _ends(step, f"; the study uses η = {used}") if len(step) else NOT_MEASURED,
            "kernel descent diverges above it; that only ητ matters needs η well below",
            kernel,
        ),
        *_exponents(setting, own),
        _approximation(setting, own),
        *_modes(setting, own),
    ]


def _exponents(setting: Setting, own: pd.DataFrame | None) -> list[AuditRow]:
    figure = figure_name(setting, "kernel") if own is not None else ""
    d = setting.dimension
    fitted = "" if own is None else "; fitted at i = {} to {}".format(*index_window(own))
    rows = []
    for name, what, reading in (
        (
            "capacity",
            "capacity b: eigenvalues of K/N ∝ i^−b",
            f"theory's limit for large i is (D+1)/D = {(d + 2) / (d + 1):.3g} (features with the "
            f"constant){fitted}, where a sample's eigenvalues are up to about a tenth too large: "
            "taken out, but in audits of an earlier version, where b may be low by some hundredths",
        ),
        (
            "source",
            "source s: f*'s squared coefficients ∝ i^−(1+sb)",
            "how smooth f* is for the kernel: 1 is the edge of the RKHS",
        ),
        (
            "rate",
            "the kernel's exponent in N that follows, sb/(sb+1)",
            "wrong where eigenvalues and coefficients are no powers: the verdicts compare with the "
            "sum over them instead, where the audit has it",
        ),
    ):
        value = values_of(own, name)["value"]
        text = NOT_MEASURED if own is None else UNDEFINED[name]
        if own is not None and len(value):
            text = f"{_mean(value)} at N = {spectrum_samples(own)}"
        rows.append(AuditRow(what, text, reading, figure))
    return rows


def _approximation(setting: Setting, own: pd.DataFrame | None) -> AuditRow:
    what = "f* is near the RKHS: approximation(R_H)"
    reading = (
        f"E‖f_H − f*‖² with f_H fitted on M = {APPROXIMATION_SAMPLES} clean points: fresh points "
        "give an upper estimate of the infimum, the fitted ones a lower estimate"
    )
    if own is None:
        return AuditRow(what, NOT_MEASURED, reading)
    figure = figure_name(setting, "approximation")
    above = values_of(own, "approximation").groupby("x")["value"].mean()
    below = values_of(own, "approximation_in_sample").groupby("x")["value"].mean()
    norms = trusted_norms(own)
    if above.empty:
        return AuditRow(
            what, "not defined: every norm in the RKHS fits f* exactly", reading, figure
        )
    parts = [f"{below[r]:.3g} to {above[r]:.3g} at R_H = {r:.3g}" for r in _few(list(above.index))]
    if norms:
        parts.append(f"the two agree up to R_H = {norms[-1]:.3g}")
    return AuditRow(what, "; ".join(parts), reading, figure)


def _modes(setting: Setting, own: pd.DataFrame | None) -> list[AuditRow]:
    """Of laws with independent modes alone."""
    rows = values_of(own, MODES)
    if rows.empty:
        return []
    means = rows.groupby("x")["value"].mean()
    text = ", ".join(f"{means[v]:.3g} at v = {v:.3g}" for v in (means.index[-1], means.index[0]))
    fit = fit_power_law(rows["x"], rows["value"], rows["seed"].to_numpy(dtype=np.int64))
    if fit.ok:
        interval = f"{fit.ci[0]:.2f} to {fit.ci[1]:.2f}"
        text += f"; over all modes v^−b with b = {fit.exponent:.2f} ({interval})"
    return [
        AuditRow(
            "learning time of a mode of variance v",
            text,
            "effective time by which half of f*'s part in the mode is learned; theory says 1/v for "
            "linear denoisers at noise far below v",
            figure_name(setting, "modes"),
        )
    ]


def _few(values: list[float]) -> list[float]:
    return [values[0], values[len(values) // 2], values[-1]]


def _ends(means: pd.Series[float], more: str) -> str:
    parts = [f"{means.iloc[i]:.3g} at N = {means.index[i]:g}" for i in (0, -1)]
    return f"{', '.join(parts)}{more}"


def _mean(values: pd.Series[float]) -> str:
    """Mean and its Student 95 % interval over replicates."""
    n, mean = len(values), float(values.mean())
    if n < 2:
        return f"{mean:.3g} (one replicate)"
    half = student(0.95, n - 1) * float(values.std(ddof=1)) / math.sqrt(n)
    return f"{mean:.3g} (95 % interval {mean - half:.3g} to {mean + half:.3g}, {n} replicates)"


# --- the trials' own columns ----------------------------------------------------------------------


def _noise_of_rules(frame: pd.DataFrame) -> AuditRow:
    what = "noise of the labels that stopping rules use, σ² per coordinate"
    reading = "the mean over t ~ U[T₀, T]; the larger it is, the earlier training must stop"
    if not has(frame, "noise_variance"):
        return AuditRow(what, UNSEEN, reading)
    values = frame["noise_variance"].dropna()
    sources = ", ".join(sorted(frame["noise_source"].dropna().astype(str).unique()))
    return AuditRow(what, f"{_span(values)} ({sources or 'source not recorded'})", reading)


def _target_norm(frame: pd.DataFrame) -> AuditRow:
    what = "size of the target, E‖f*‖²"
    reading = "the score error before training; an error near it means nothing was learnt"
    if not has(frame, "target_norm"):
        return AuditRow(what, UNSEEN, reading)
    return AuditRow(what, _span(frame["target_norm"].dropna()), reading)


def _movement(setting: Setting, column: str, name: str) -> AuditRow:
    """Level means over seeds against m, or over everything where the study has a single m."""
    reading = "the kernel picture wants it to vanish as m grows"
    if column == "displacement":
        reading = "the kernel picture wants it small against ‖W(0)‖_F, which grows as √m"
    if not has(setting.frame, column):
        return AuditRow(name, UNSEEN, reading)
    along = sweep(setting.frame, "width")
    if along is None:
        return AuditRow(
            name, _span(at_end(setting.frame, column)[column].dropna()), "one width only"
        )
    last = at_end(along.frame, "width", column).dropna(subset=[column])
    means = last.groupby("width")[column].mean()
    parts = [f"{value:.3g} at m = {width:g}" for width, value in means.items()]
    return AuditRow(
        f"{name}, {along.held}", ", ".join(parts), reading, figure_name(setting, "movement")
    )


def _span(values: pd.Series[float]) -> str:
    low, high = float(np.min(values)), float(np.max(values))
    return f"{low:.3g}" if np.isclose(low, high) else f"{low:.3g} to {high:.3g}"
