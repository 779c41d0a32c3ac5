"""How good samples are: against N, against the score error, and against Girsanov's bound."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd

from analysis.data.curves.quantity import Quantity
from analysis.data.curves.sampled import (
    BOUND,
    MOST_DIMENSIONS,
    SampleSet,
    curves_of,
    one_a_trial,
    sample_sets,
    sampled_rows,
    which_step,
)
from analysis.data.sweeps import Setting, held, level_means
from analysis.drawing.plot import Panel, Plot, Series, Topic, positive
from analysis.figures.rates.curves import owns
from analysis.fits.power_law import fit_power_law
from analysis.levels.intervals import Array
from analysis.text import minus, percent
from analysis.verdicts.judging import usable
from trainers.kept.keep import noisy

_AGAINST_N = "Quality of samples against N"
_AGAINST_ERROR = "Sample error against score error"
_BOUND = "Does Girsanov's bound hold"
_ALONG = "Sample error along training"
_HUES = 3

_UTILITY = {
    "tstr_auc_logistic": "logistic regression",
    "tstr_auc_boosting": "gradient boosting",
}
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
    made = [*_seen(setting, rows), *_against_n(setting, rows), *_utility(setting, rows)]
    made.append(_against_error(setting, rows))
    made += _along_training(setting, rows)
    told = rows[(rows["dimension"] <= MOST_DIMENSIONS) & rows["sampled"].astype(str).map(noisy)]
    made += [_bound(setting, told)] if setting.known and len(told) else []
    for plot in made:
        panels = tuple(panel for panel in plot.panels if panel.series)
        if panels:  # a set of samples that all left the numbers has nothing to show
            yield replace(plot, panels=panels)


def _seen(setting: Setting, rows: pd.DataFrame) -> Iterator[Plot]:
    """Samples beside exact draws, of the least and the largest N, of the widest network there."""
    sets = sample_sets(rows)
    if not sets:
        return
    ends = {one.samples: one for one in sorted(sets, key=lambda s: (s.width, -s.seed))}
    few, many = ends[min(ends)], ends[max(ends)]
    k, both = many.points.shape[1], [few, many] if few is not many else [many]
    both = both if k < 3 else [many]
    panels: tuple[Panel, ...]
    if k == 1:
        panels, shown = (_distributions(both),), "The distribution function of"
    elif k == 2:
        panels = tuple(_clouds(one, 0, 1, f"N = {one.samples}") for one in both)
        shown = "In the plane,"
    else:
        pairs = ((0, 1), (0, 2), (1, 2))
        panels = tuple(_clouds(many, i, j, f"N = {many.samples}") for i, j in pairs)
        shown = "In the leading three coordinates,"
    conditions = held({"width": many.width, "seed": many.seed})
    where = which_step([one.best for one in both])
    yield Plot(
        name=f"samples_seen_{setting.stem}",
        title="Real and generated",
        caption=f"{shown} samples of a network {where}, and as many exact draws at T₀.",
        panels=panels,
        group=setting.label,
        note=minus(f"{conditions}."),
        topic=Topic.GENERATED,
    )


def _distributions(sets: list[SampleSet]) -> Panel:
    drawn = sets[-1].drawn[:, 0]
    series = [Series("exact draws", *_steps(drawn), role="theory")]
    for hue, one in enumerate(sets):
        label = f"samples, N = {one.samples}"
        series.append(Series(label, *_steps(one.points[:, 0]), role="line", hue=hue))
    return Panel("$x$", "share below", tuple(series), x_log=False, y_log=False)


def _steps(values: Array) -> tuple[Array, Array]:
    """The empirical distribution function at the values themselves."""
    return np.sort(values), (np.arange(len(values)) + 0.5) / len(values)


def _clouds(one: SampleSet, i: int, j: int, title: str) -> Panel:
    return Panel(
        f"$x_{i + 1}$",
        f"$x_{j + 1}$",
        (
            Series("exact draws", one.drawn[:, i], one.drawn[:, j], role="trials", hue=0),
            Series("samples", one.points[:, i], one.points[:, j], role="trials", hue=1),
        ),
        title=title,
        x_log=False,
        y_log=False,
    )


def _against_n(setting: Setting, rows: pd.DataFrame) -> Iterator[Plot]:
    found = [c for c in curves_of(rows) if owns(setting, c) and c.axis == "samples"]
    if not found:
        return
    most = max(found, key=lambda c: (c.levels, len(c.x)))
    own = [c for c in found if c.fixed == most.fixed]
    own = [c for c in own if c.quantity != Quantity.GIRSANOV or noisy(c.sampled)]
    panels, said, said_of = [], [], dict[str, str]()
    for quantities, unit in (
        ((Quantity.SAMPLE_ENERGY, Quantity.SAMPLE_WASSERSTEIN), "distance ($x$)"),
        ((Quantity.SAMPLE_DIVERGENCE, Quantity.GIRSANOV), "nat"),
    ):
        series = []
        for hue, curve in enumerate(c for c in own if c.quantity in quantities):
            label, (kept, left) = _LABELS[Quantity(curve.quantity)], usable(curve)
            series.append(Series(label, *level_means(kept.x, kept.y), role="points", hue=hue))
            fit = fit_power_law(kept.x, kept.y)
            if left:
                said_of[label] = left
            if fit.ok:
                ends = f"{fit.ci[0]:.2f} to {fit.ci[1]:.2f}"
                said.append(f"{label} as N^−b with b = {fit.exponent:.2f} ({ends})")
        if series:
            ticks = tuple(np.unique(most.x).tolist())
            panels.append(Panel("samples $N$", unit, positive(series), ticks=ticks))
    falls = f" It falls: {'; '.join(said)}." if said else ""
    falls += "".join(f" Of {label}: {left}." for label, left in said_of.items())
    conditions = most.held
    yield Plot(
        name=f"samples_{setting.stem}",
        title=_AGAINST_N,
        caption="Samples of each network at its best step, against draws of the law at T₀: means "
        "over seeds with 95 % intervals.",
        panels=tuple(panels),
        group=setting.label,
        note=minus(f"{conditions}.{falls}"),
        topic=Topic.GENERATED,
    )


def _utility(setting: Setting, rows: pd.DataFrame) -> Iterator[Plot]:
    """Of a table: training on samples beside training on the rows of the network, against N."""
    best = one_a_trial(rows)
    if not any(name in best and best[name].notna().any() for name in _UTILITY):
        return
    where, series = which_step(best["best"].tolist()), []
    for hue, (name, label) in enumerate(_UTILITY.items()):
        for column, role, told in ((name, "points", label), (f"{name}_real", "hollow", "")):
            own = best[best[column].notna()]
            if own.empty:
                continue
            x, y = (own[c].to_numpy(dtype=float) for c in ("samples", column))
            shown = told or f"{label}, trained on the real rows"
            series.append(Series(shown, *level_means(x, y), role=role, hue=hue))  # type: ignore[arg-type]
    yield Plot(
        name=f"samples_utility_{setting.stem}",
        title="What samples are worth",
        caption="AUC on test rows of classifiers trained on samples of each network "
        f"{where}, filled, and on the N real rows that the network was trained on, hollow: "
        "means over networks with 95 % intervals.",
        panels=(
            Panel(
                "samples $N$", "AUC", tuple(series), y_log=False,
                ticks=tuple(np.unique(best["samples"].astype(float)).tolist()),
            ),
        ),
        group=setting.label,
        topic=Topic.GENERATED,
    )  # fmt: skip


def _against_error(setting: Setting, rows: pd.DataFrame) -> Plot:
    level = float(np.nanmedian(rows["sample_energy_exact"]))
    word = "score error" if setting.known else "held-out loss"
    series = [
        Series(
            "a network, at its best step",
            *_pairs(setting, rows[rows["best"]]),
            role="trials",
            hue=0,
        ),
        Series("at other steps", *_pairs(setting, rows[~rows["best"]]), role="trials", hue=1),
    ]
    errors = rows[_column(setting)].to_numpy(dtype=float)
    errors = errors[errors > 0]
    if len(errors):
        ends = np.array([errors.min(), errors.max()])
        series.append(Series("what exact draws reach", ends, np.full(2, level), role="theory"))
    x, y = _pairs(setting, rows)
    known = np.isfinite(x) & np.isfinite(y)
    said = ""
    if known.sum() > 2:
        rank = pd.Series(x[known]).corr(pd.Series(y[known]), method="spearman")
        said = f"Rank correlation over all of them: {rank:.2f}."
    return Plot(
        name=f"samples_score_error_{setting.stem}",
        title=_AGAINST_ERROR if setting.known else "Sample error against held-out loss",
        caption=f"Energy distance of samples to draws at T₀ against the {word} of the network that "
        "made them, one mark a network and step; below the dashed line samples cannot be told from "
        "draws (one set of draws in 21 lies above it). Distances that are not positive, as an "
        "unbiased estimate may be, are not shown.",
        panels=(Panel(rf"{word} ($x^2$)", r"energy distance ($x$)", positive(series)),),
        group=setting.label,
        note=minus(said),
        topic=Topic.GENERATED,
    )


def _along_training(setting: Setting, rows: pd.DataFrame) -> Iterator[Plot]:
    """Of networks that were sampled at several steps: energy distance against eta tau, by N."""
    several = rows[rows.groupby("trial")["step"].transform("nunique") > 1]
    if several.empty:
        return
    sizes = np.unique(several["samples"])
    shown = sizes[np.unique(np.linspace(0, len(sizes) - 1, _HUES).round().astype(int))]
    series = []
    for hue, n in enumerate(shown):
        own = several[several["samples"] == n]
        x, y = (own[name].to_numpy(dtype=float) for name in ("effective_time", "sample_energy"))
        series.append(Series(f"$N$ = {n:g}", x, y, role="trials", hue=hue))
    times = several["effective_time"].to_numpy(dtype=float)
    ends = np.array([times.min(initial=np.inf, where=times > 0), times.max()])
    level = float(np.nanmedian(several["sample_energy_exact"]))
    series.append(Series("what exact draws reach", ends, np.full(2, level), role="theory"))
    grows = _share_growing(several)
    yield Plot(
        name=f"samples_along_training_{setting.stem}",
        title=_ALONG,
        caption="Energy distance of samples to draws at T₀ against the effective time of the step "
        "at which the network made them, one mark a network and step.",
        panels=(Panel(r"effective time $\eta\tau$", r"energy distance ($x$)", positive(series)),),
        group=setting.label,
        note=minus(f"From its best step to its last one it grows for {percent(grows)} of networks.")
        if np.isfinite(grows)
        else "",
        topic=Topic.GENERATED,
        aside=True,
    )


def _share_growing(rows: pd.DataFrame) -> float:
    """Of the networks sampled after their best step, the share that is worse at the last one; NaN
    where there is none."""
    ordered = rows.sort_values(["trial", "step"])
    last = ordered.groupby("trial").tail(1).set_index("trial")
    best = ordered[ordered["best"]].drop_duplicates("trial").set_index("trial")
    names = ["step", "sample_energy"]
    both = best[names].join(last[names].add_suffix("_last"), how="inner")
    both = both[both["step_last"] > both["step"]]
    return float((both["sample_energy_last"] > both["sample_energy"]).mean())


def _bound(setting: Setting, rows: pd.DataFrame) -> Plot:
    x, y = (rows[name].to_numpy(dtype=float) for name in (BOUND, "sample_divergence"))
    noise = np.fmax(rows["sample_divergence_exact"].to_numpy(dtype=float), 0.0)
    known = np.isfinite(x) & np.isfinite(y)
    told = known & (y > noise)  # a smaller estimate does not say how small the divergence is
    above = told & (y > x + noise)
    looser = x[told] / y[told]
    said = f" Median ratio of the two: {np.median(looser):.3g}." if len(looser) else ""
    ends = np.array([x[known & (x > 0)].min(initial=np.inf), x[known].max(initial=0.0)])
    series = [
        Series("holds", x[told & ~above], y[told & ~above], role="trials", hue=0),
        Series("does not hold", x[above], y[above], role="left_out", hue=1),
        Series("cannot be told", x[known & ~told], y[known & ~told], role="trials", hue=2),
    ]
    if 0 < ends[0] <= ends[1]:
        series.append(Series("the bound itself", ends, ends, role="theory"))
    holds = (
        "Of no network and step the KL can be told from what the estimate gives for exact draws."
    )
    if told.any():
        share = percent(1 - above.sum() / told.sum())
        holds = (
            f"It holds for {share} of {told.sum()} networks and steps, to within what the estimate "
            "gives for exact draws"
        )
        rest = (known & ~told).sum()
        holds += (
            f"; of {rest} more the KL is no more than that, and cannot be told." if rest else "."
        )
    return Plot(
        name=f"samples_bound_{setting.stem}",
        title=_BOUND,
        caption="KL(p at T₀ ‖ law of the samples), estimated by nearest neighbours, against "
        "Girsanov's bound: KL(p at T ‖ start) and half the integral of the unweighted score error.",
        panels=(Panel("Girsanov's bound (nat)", "KL (nat)", positive(series)),),
        group=setting.label,
        note=minus(f"{holds}{said}"),
        topic=Topic.GENERATED,
    )


def _column(setting: Setting) -> str:
    """The error that samples are held against."""
    return "score_error" if setting.known else "holdout_loss"


def _pairs(setting: Setting, rows: pd.DataFrame) -> tuple[Array, Array]:
    x, y = (rows[name].to_numpy(dtype=float) for name in (_column(setting), "sample_energy"))
    return x, y
