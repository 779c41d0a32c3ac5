"""How good samples are: against N, against the score error, and against Girsanov's bound."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd

from analysis.data.quantity import Quantity
from analysis.data.sampled import BOUND, curves_of, sampled_rows
from analysis.data.sweeps import Setting, held, level_means
from analysis.figures.plot import Panel, Plot, Series, positive
from analysis.figures.rates import owns
from analysis.fits.power_law import fit_power_law
from analysis.levels.intervals import Array
from analysis.text import minus, percent

_AGAINST_N = "Quality of samples against N"
_AGAINST_ERROR = "Sample error against score error"
_BOUND = "Does Girsanov's bound hold"

_LABELS = {
    Quantity.SAMPLE_ENERGY: "energy distance",
    Quantity.SAMPLE_WASSERSTEIN: "sliced Wasserstein distance",
    Quantity.SAMPLE_DIVERGENCE: "KL, by nearest neighbours",
    Quantity.GIRSANOV: "Girsanov's bound",
}


def samples(setting: Setting) -> Iterator[Plot]:
    """The figures of a setting whose networks were sampled; none where none was."""
    rows = sampled_rows(setting.frame)
    if rows.empty:
        return
    made = [*_against_n(setting, rows), _against_error(setting, rows), _bound(setting, rows)]
    for plot in made:
        panels = tuple(panel for panel in plot.panels if panel.series)
        if panels:  # a set of samples that all left the numbers has nothing to show
            yield replace(plot, panels=panels)


def _against_n(setting: Setting, rows: pd.DataFrame) -> Iterator[Plot]:
    found = [c for c in curves_of(rows) if owns(setting, c) and c.axis == "samples"]
    if not found:
        return
    most = max(found, key=lambda c: (c.levels, len(c.x)))
    own = [c for c in found if c.fixed == most.fixed]
    panels, said = [], []
    for quantities, unit in (
        ((Quantity.SAMPLE_ENERGY, Quantity.SAMPLE_WASSERSTEIN), "distance ($x$)"),
        ((Quantity.SAMPLE_DIVERGENCE, Quantity.GIRSANOV), "nat"),
    ):
        series = []
        for hue, curve in enumerate(c for c in own if c.quantity in quantities):
            label = _LABELS[Quantity(curve.quantity)]
            series.append(Series(label, *level_means(curve.x, curve.y), role="points", hue=hue))
            fit = fit_power_law(curve.x, curve.y)
            if fit.ok:
                ends = f"{fit.ci[0]:.2f} to {fit.ci[1]:.2f}"
                said.append(f"{label} as N^−b with b = {fit.exponent:.2f} ({ends})")
        if series:
            ticks = tuple(np.unique(most.x).tolist())
            panels.append(Panel("samples $N$", unit, positive(series), ticks=ticks))
    falls = f" It falls: {'; '.join(said)}." if said else ""
    conditions = held({k: most.fixed[k] for k in ("width", "step_size") if k in most.fixed})
    yield Plot(
        name=f"samples_{setting.stem}",
        title=_AGAINST_N,
        caption=minus(
            f"Samples of each network at its best step against exact draws at T₀, {conditions}: "
            f"means over seeds with 95 % intervals.{falls}"
        ),
        panels=tuple(panels),
        group=setting.label,
    )


def _against_error(setting: Setting, rows: pd.DataFrame) -> Plot:
    level = float(np.nanmedian(rows["sample_energy_exact"]))
    series = [
        Series("a network, at its best step", *_pairs(rows[rows["best"]]), role="trials", hue=0),
        Series("at other steps", *_pairs(rows[~rows["best"]]), role="trials", hue=1),
    ]
    errors = rows["score_error"].to_numpy(dtype=float)
    errors = errors[errors > 0]
    if len(errors):
        ends = np.array([errors.min(), errors.max()])
        series.append(Series("what exact draws reach", ends, np.full(2, level), role="theory"))
    x, y = _pairs(rows)
    known = np.isfinite(x) & np.isfinite(y)
    said = ""
    if known.sum() > 2:
        rank = pd.Series(x[known]).corr(pd.Series(y[known]), method="spearman")
        said = f" Rank correlation over all of them: {rank:.2f}."
    return Plot(
        name=f"samples_score_error_{setting.stem}",
        title=_AGAINST_ERROR,
        caption=minus(
            "Energy distance of samples to exact draws at T₀ against the score error of the "
            "network that made them, one mark a network and step; below the dashed line samples "
            "cannot be told from draws (one set of exact draws in 21 lies above it). Distances "
            f"that are not positive, as an unbiased estimate may be, are not shown.{said}"
        ),
        panels=(Panel(r"score error ($x^2$)", r"energy distance ($x$)", positive(series)),),
        group=setting.label,
    )


def _bound(setting: Setting, rows: pd.DataFrame) -> Plot:
    x, y = (rows[name].to_numpy(dtype=float) for name in (BOUND, "sample_divergence"))
    noise = rows["sample_divergence_exact"].to_numpy(dtype=float)
    known = np.isfinite(x) & np.isfinite(y)
    above = known & (y > x + np.maximum(noise, 0.0))
    looser = x[known & (y > noise)] / y[known & (y > noise)]
    said = f" Median ratio of the two, where it can be told from 0: {np.median(looser):.3g}."
    ends = np.array([x[known & (x > 0)].min(initial=np.inf), x[known].max(initial=0.0)])
    series = [
        Series("holds", x[known & ~above], y[known & ~above], role="trials", hue=0),
        Series("does not hold", x[above], y[above], role="left_out", hue=1),
    ]
    if 0 < ends[0] <= ends[1]:
        series.append(Series("the bound itself", ends, ends, role="theory"))
    share = percent(1 - above.sum() / max(known.sum(), 1))
    return Plot(
        name=f"samples_bound_{setting.stem}",
        title=_BOUND,
        caption=minus(
            "KL(p at T₀ ‖ law of the samples), estimated by nearest neighbours, against Girsanov's "
            "bound: KL(p at T ‖ start) and half the integral of the unweighted score error. It "
            f"holds for {share} of {known.sum()} networks and steps, to within what the estimate "
            f"gives for exact draws.{said if len(looser) else ''}"
        ),
        panels=(Panel("Girsanov's bound (nat)", "KL (nat)", positive(series)),),
        group=setting.label,
    )


def _pairs(rows: pd.DataFrame) -> tuple[Array, Array]:
    x, y = (rows[name].to_numpy(dtype=float) for name in ("score_error", "sample_energy"))
    return x, y
