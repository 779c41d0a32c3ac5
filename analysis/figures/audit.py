"""The numbers of the audit's figures: f*'s steepness, noise, tails, the kernel, approximation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

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
from analysis.drawing.plot import Panel, Plot, Series, Topic, positive
from analysis.fits.power_law import fit_power_law

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
        makers = [lipschitz, noise, tail]
        makers += [kernel, approximation] if setting.follows_kernel else []
        makers += [modes] if len(values_of(own, MODES)) else []
        for make in makers:
            yield replace(make(setting, own), topic=Topic.ASSUMPTIONS)
    moved = movement(setting)
    yield replace(moved, topic=Topic.ASSUMPTIONS) if isinstance(moved, Plot) else moved


def lipschitz(setting: Setting, own: pd.DataFrame) -> Plot:
    """Largest slopes found, and the 99 % quantiles over X_t, in x and in t, against t."""
    t_min = float(own["t_min"].iloc[0])
    panels = []
    for axis, label, title in (
        ("x", r"$\|\partial f^*/\partial x\|$", "in x"),
        ("t", r"$\|\partial f^*/\partial t\|$", "in t"),
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
        caption="The largest slope of f* that a search found, a lower estimate of its Lipschitz "
        "constant, and below it the 99 % quantile over X_t; dashed: T₀.",
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
        caption="E‖X₀ − f*‖²/d by diffusion time: theory asks for a bound, which the right end "
        "gives; dashed: T₀.",
        panels=(
            Panel(
                TIME,
                r"noise variance",
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
        caption="Probability that ‖X_t‖ exceeds R, for t ~ U[T₀, T].",
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
        caption="Eigenvalues of K/N with fit and theory's slope, and the smallest one against N.",
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
        note=f"N = {spectrum_samples(own)}, fitted from i = {first} to {last}",
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
    where = "fitted where the two agree within a quarter"
    if trusted.empty:
        where = "the two agree nowhere: no fit"
    return Plot(
        name=figure_name(setting, "approximation"),
        title=_TITLES[4],
        caption="E‖f_H − f*‖² against the squared norm R_H: on fresh points an upper estimate of "
        "the least over the ball, on the fitted ones a lower one.",
        panels=(Panel("squared norm $R_H$", r"approximation", positive(series)),),
        group=setting.label,
        note=where,
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
        caption="Effective time at which kernel descent has learned half of f*'s part in a mode of "
        "X₀; dashed: the slope of 1/v of Wang and Pehlevan (2025), for v well above h/α².",
        panels=(
            Panel(
                "variance $v$ of the mode",
                r"learning time $\eta\tau$",
                positive([Series("measured", x, mean, low, high, role="points"), *fitted]),
            ),
        ),
        group=setting.label,
        note=f"N = {spectrum_samples(own)}, t ~ U[{t_min:g}, {t_max:g}], label noise averaged",
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
        caption="The kernel picture wants few activations 1[w·z > 0] to flip as m grows, and the "
        "first layer to move little against ‖W(0)‖_F, which grows as √m.",
        panels=tuple(panels),
        group=setting.label,
        note=along.held,
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
