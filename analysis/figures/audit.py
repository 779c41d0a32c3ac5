"""The numbers of the audit's figures: f*'s steepness, noise, tails, the kernel, approximation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from analysis.data.audit import (
    fitted_eigenvalues,
    index_window,
    setting_audit,
    spectrum_samples,
    trusted_norms,
    values_of,
)
from analysis.data.sweeps import Setting, at_end, has, level_means, sweep
from analysis.figures.plot import Panel, Plot, Series, positive
from analysis.fits.power_law import fit_power_law
from trainers.audit.columns import APPROXIMATION_SAMPLES

TIME = "diffusion time $t$"
MODES = "mode_learning_time"
NOT_AUDITED = "the study holds no audit of this setting"
_TITLES = (
    "Steepness of f* by t",
    "Noise of the labels by t",
    "Tails of X_t",
    "The kernel's spectrum",
    "Approximation by functions of bounded norm",
)


def figure_name(setting: Setting, what: str) -> str:
    """The file name, without suffix, of an audit figure of the setting."""
    return f"{setting.stem}_audit_{what}"


def audit_plots(setting: Setting, audit: pd.DataFrame | None) -> Iterator[Plot | tuple[str, str]]:
    """The figures of a setting's audit, where it is the one to show them, then displacement and
    flipped activations against m."""
    own = setting_audit(setting, audit)
    if setting.audited_in:
        pass
    elif own is None:
        yield from ((title, NOT_AUDITED) for title in _TITLES)
    else:
        yield lipschitz(setting, own)
        yield noise(setting, own)
        yield tail(setting, own)
        yield kernel(setting, own)
        yield approximation(setting, own)
        if len(values_of(own, MODES)):
            yield modes(setting, own)
    yield movement(setting)


def lipschitz(setting: Setting, own: pd.DataFrame) -> Plot:
    """Largest slopes found, and the 99 % quantiles over X_t, in x and in t, against t."""
    t_min = float(own["t_min"].iloc[0])
    panels = []
    for axis, label, title in (
        ("x", r"$\|\partial f^*/\partial x\|$", "in x"),
        ("t", r"$\|\partial f^*/\partial t\|$ ($x$/time)", "in t"),
    ):
        largest = values_of(own, f"lipschitz_{axis}").groupby("x")["value"].max()
        x = largest.index.to_numpy(dtype=float)
        y = largest.to_numpy(dtype=float)
        typical = values_of(own, f"typical_slope_{axis}")
        lines = [
            Series("largest found", x, y, hue=1),
            Series("", x, y, role="trials", hue=1),
            _over_replicates(typical, "99 % of $X_t$ below", 0),
            *_mark_t_min(t_min, y),
        ]
        panels.append(Panel(TIME, label, positive(lines), title))
    return Plot(
        name=figure_name(setting, "lipschitz"),
        title=_TITLES[0],
        caption=(
            "The largest slope of f* that a search found at each t, in the ball that holds 99.9 % "
            "of X_t: a lower estimate of the Lipschitz constant there; largest over replicates. "
            "Below it the 99 % quantile over draws of X_t, mean over replicates with its 95 % "
            "interval: what training meets. Dashed: T₀; to its left is what a smaller T₀ would add."
        ),
        panels=tuple(panels),
        group=setting.label,
    )


def noise(setting: Setting, own: pd.DataFrame) -> Plot:
    """sigma^2 per coordinate against t."""
    rows = values_of(own, "noise_variance")
    line = _over_replicates(rows, r"$\sigma^2(t)$", 0)
    return Plot(
        name=figure_name(setting, "noise"),
        title=_TITLES[1],
        caption=(
            "E‖X₀ − f*‖²/d, the variance of the labels' noise per coordinate, against t: mean over "
            "replicates with its 95 % interval. Dashed: T₀. Theory asks for a bound, which the "
            "right end gives."
        ),
        panels=(
            Panel(
                TIME,
                r"noise variance ($x^2$)",
                positive([line, *_mark_t_min(float(own["t_min"].iloc[0]), line.y)]),
            ),
        ),
        group=setting.label,
    )


def tail(setting: Setting, own: pd.DataFrame) -> Plot:
    """P(||X_t|| > R) against R."""
    line = _over_replicates(values_of(own, "tail"), "", 0)
    return Plot(
        name=figure_name(setting, "tail"),
        title=_TITLES[2],
        caption=(
            "Probability that ‖X_t‖ exceeds R, for t ~ U[T₀, T]: mean over replicates with its "
            "95 % interval. Radii that the draws of some replicate never exceeded are left out."
        ),
        panels=(Panel("radius $R$", "probability", positive([line]), x_log=False),),
        group=setting.label,
    )


def kernel(setting: Setting, own: pd.DataFrame) -> Plot:
    """Eigenvalues of K/N against their index with fit and theory's slope; smallest against N."""
    every = _over_replicates(values_of(own, "ntk_eigenvalue"), "of the sample", 0)
    unbiased = _over_replicates(values_of(own, "operator_eigenvalue"), "less its bias", 1)
    fitted, (first, last) = fitted_eigenvalues(own), index_window(own)
    d = setting.dimension
    series = [
        every,
        *([unbiased] if len(unbiased.x) else []),
        *_fit_and_slope(fitted, (d + 2) / (d + 1), "theory $i^{-%.2f}$", "fit $i^{-%.2f}$"),
    ]
    smallest = values_of(own, "smallest_eigenvalue")
    x, mean, low, high = _means(smallest)
    n = np.unique(smallest["x"].to_numpy(dtype=float))
    return Plot(
        name=figure_name(setting, "kernel"),
        title=_TITLES[3],
        caption=(
            f"Left: eigenvalues of K/N at N = {spectrum_samples(own)} against their index i, with "
            f"the fit from i = {first} to {last} and theory's slope (its height is free). A "
            "sample's eigenvalues are too large, by a share that grows as i/N, which flattens the "
            "curve: by about a tenth at the last index fitted. Where the audit took it out, the "
            "fit is to what is left. Right: the smallest eigenvalue of K/N against N, the first N "
            "points of a sample. Means over replicates with 95 % intervals."
        ),
        panels=(
            Panel("index $i$", r"eigenvalue of $K/N$", positive(series), "spectrum"),
            Panel(
                "samples $N$",
                r"smallest eigenvalue of $K/N$",
                positive(
                    [
                        Series("", x, mean, hue=0),
                        Series("mean", x, mean, low, high, role="points", hue=0),
                        Series("", *_xy(smallest), role="trials", hue=0),
                    ]
                ),
                "smallest",
                ticks=tuple(n.tolist()),
            ),
        ),
        group=setting.label,
    )


def approximation(setting: Setting, own: pd.DataFrame) -> Plot:
    """Upper and lower estimates of approximation(R_H) with fit and the bound's slope."""
    above, below = values_of(own, "approximation"), values_of(own, "approximation_in_sample")
    trusted = above[above["x"].isin(trusted_norms(own))]
    bound = 2 / setting.dimension
    series = [
        _over_replicates(above, "fresh points", 0, "points"),
        _over_replicates(below, "fitted points", 1, "points"),
        *_fit_and_slope(trusted, bound, "bound $R_H^{-%.2f}$", "fit $R_H^{-%.2f}$"),
    ]
    where = "The fit uses the norms at which the two agree within a quarter."
    if trusted.empty:
        where = "The two agree nowhere: more points would be needed for a fit."
    return Plot(
        name=figure_name(setting, "approximation"),
        title=_TITLES[4],
        caption=(
            "E‖f_H − f*‖² against the squared norm R_H of each output, with f_H fitted on "
            f"M = {APPROXIMATION_SAMPLES} clean points. On fresh points it is an upper estimate of "
            "the infimum over the ball, on the fitted points a lower one, in expectation. Means "
            f"over replicates with 95 % intervals. {where} Dashed: the slope of the bound, whose "
            "height is free."
        ),
        panels=(Panel("squared norm $R_H$", r"approximation ($x^2$)", positive(series)),),
        group=setting.label,
    )


def modes(setting: Setting, own: pd.DataFrame) -> Plot:
    """When each mode of X_0 is learned, against its variance, with fit and theory's slope."""
    rows = values_of(own, MODES)
    t_min, t_max = (float(own[name].iloc[0]) for name in ("t_min", "t_max"))
    x, mean, low, high = _means(rows)
    fitted = _fit_and_slope(rows, 1.0, "theory $v^{-%.2g}$", "fit $v^{-%.2f}$")
    return Plot(
        name=figure_name(setting, "modes"),
        title="When each mode is learned",
        caption=(
            "Effective time ητ at which kernel descent has learned half of f*'s part in each mode "
            "of X₀, against the mode's variance v: means over replicates with 95 % intervals, at "
            f"N = {spectrum_samples(own)}, label noise averaged. Dashed: the slope of 1/v of Wang "
            "and Pehlevan (2025), whose height is free. It wants variances well above the noise's "
            f"h/α²: here t ~ U[{t_min:g}, {t_max:g}], and modes below it are learned together."
        ),
        panels=(
            Panel(
                "variance $v$ of the mode ($x^2$)",
                r"learning time $\eta\tau$",
                positive([Series("measured", x, mean, low, high, role="points"), *fitted]),
            ),
        ),
        group=setting.label,
    )


def movement(setting: Setting) -> Plot | tuple[str, str]:
    """||W(tau) - W(0)|| and the share of flipped activations at the last step, against m."""
    title = "How far the weights move"
    along = sweep(setting.frame, "width")
    if along is None or not has(along.frame, "displacement", "flipped_fraction"):
        return title, "it needs two widths, all else fixed, and the trials' columns"
    last = at_end(along.frame, "width", "displacement", "flipped_fraction")
    panels = []
    for column, label, name in (
        ("displacement", r"$\|W(\tau) - W(0)\|_F$", "displacement"),
        ("flipped_fraction", "flipped activations", "flipped"),
    ):
        known = last[last[column] > 0]
        if known.empty:
            continue
        x, mean, low, high = level_means(
            known["width"].to_numpy(dtype=float), known[column].to_numpy(dtype=float)
        )
        series = [
            Series("", x, mean, hue=0),
            Series("mean", x, mean, low, high, role="points", hue=0),
        ]
        panels.append(Panel("width $m$", label, positive(series), name, ticks=along.levels))
    if not panels:
        return title, "no weight moved"
    return Plot(
        name=figure_name(setting, "movement"),
        title=title,
        caption=(
            f"Displacement of the first layer and the share of activations 1[w·z > 0] that "
            f"flipped, at the last step, against the width m, {along.held}. Means over seeds with "
            "95 % intervals. The kernel picture wants the flipped share to vanish as m grows, and "
            "the displacement to stay small against ‖W(0)‖_F, which grows as √m."
        ),
        panels=tuple(panels),
        group=setting.label,
    )


# --- series ---------------------------------------------------------------------------------------


def _xy(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    return rows["x"].to_numpy(dtype=float), rows["value"].to_numpy(dtype=float)


def _means(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """As `level_means`, of the levels at which every replicate is positive: logarithms need it,
    and the positive ones alone would be a selection."""
    x, y = _xy(rows)
    keep = ~np.isin(x, x[~(y > 0)])
    if not keep.any():
        return (np.empty(0),) * 4
    return level_means(x[keep], y[keep])


def _over_replicates(rows: pd.DataFrame, label: str, hue: int, role: str = "line") -> Series:
    return Series(label, *_means(rows), role=role, hue=hue)  # type: ignore[arg-type]


def _mark_t_min(t_min: float, heights: Sequence[float] | np.ndarray) -> list[Series]:
    known = np.asarray(heights, dtype=float)
    known = known[known > 0]
    ends = np.array([known.min(), known.max()]) if len(known) else np.ones(2)
    return [Series("$T_0$", np.array([t_min, t_min]), ends, role="theory")]


def _fit_and_slope(rows: pd.DataFrame, b: float, theory: str, measured: str) -> list[Series]:
    """The fit of the curve that is judged, and theory's slope through its middle."""
    if rows["x"].nunique() < 3:
        return []
    x, y = _xy(rows)
    fit = fit_power_law(x, y, rows["seed"].to_numpy(dtype=np.int64))
    if not fit.ok:
        return []
    grid = np.geomspace(x.min(), x.max(), 40)
    centre = float(np.sqrt(grid[0] * grid[-1]))
    height = float(fit.predict(centre)[0][0])
    ends = grid[[0, -1]]
    return [
        Series(measured % fit.exponent, grid, *fit.predict(grid), hue=2),
        Series(theory % b, ends, height * (ends / centre) ** -b, role="theory"),
    ]
