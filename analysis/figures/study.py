"""The numbers of every figure of a study: what is plotted, before anything is drawn.

Figures along a trajectory are made here; those of a rate in `rate_figures`, those of the error's
parts in `term_figures`. A figure whose columns are null is left out, with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from analysis.data.curves.trajectories import best, trials
from analysis.data.sweeps import (
    DIFFUSION,
    PLAIN,
    Setting,
    Sweep,
    at_best,
    has,
    level_means,
    quartiles,
    settings,
    sweep,
)
from analysis.drawing.plot import Panel, Plot, Series, Topic, on_one_scale, positive
from analysis.figures import audit as audit_figures
from analysis.figures import stops as stop_figures
from analysis.figures import terms as term_figures
from analysis.figures.held_out import without_truth
from analysis.figures.rates import curves as rate_figures
from analysis.figures.rates.answer import answer_plots
from analysis.figures.rates.dimensions import across_dimensions
from analysis.figures.rates.draws import over_draws
from analysis.figures.rates.noise import noise_plots
from analysis.figures.rates.possible import POSSIBLE, of_data_sets
from analysis.figures.rates.twins import twins
from analysis.figures.samples import samples
from analysis.figures.shapes import CROSSOVER, TITLE, bias_variance, lazy_width
from analysis.verdicts.evaluation import Evaluation
from trainers.columns import TIME_BINS
from trainers.trial import Diffusion, time_bin_edges

STEPS = r"gradient steps $\tau$"
TIME = r"effective time $\eta\tau$"
ERROR = r"score error"

_DATA = ("law_id", "dimension", *DIFFUSION)
"""What settings share that have data sets in common."""


@dataclass(frozen=True, eq=False)
class Omitted:
    """A figure that the table cannot give, and why."""

    group: str
    title: str
    reason: str


def study_plots(
    evaluation: Evaluation,
) -> tuple[list[Plot], list[Omitted]]:
    """Every figure that an evaluated results table gives, those of the whole study first, then by
    setting; and those it cannot give. What a kernel limit shows supports what networks do."""
    plots: list[Plot] = []
    omitted: list[Omitted] = []
    if not any(s.known for s in settings(evaluation.table)):
        return [p for s in settings(evaluation.table) for p in _unknown(s)], omitted
    plots += across_dimensions(evaluation)
    plots += answer_plots(evaluation)
    plots += (pooled := list(over_draws(evaluation)))
    over = {p.group for p in pooled}
    plots += noise_plots(evaluation)
    met: set[tuple[object, ...]] = set()
    beside: dict[tuple[object, ...], list[int]] = {}  # places of figures that are to be compared
    found = settings(evaluation.table)
    networks = {s.law_id for s in found if not s.infinite}
    for setting in found:
        data = tuple(setting.frame.trials.iloc[0][name] for name in _DATA)
        if not setting.known:
            plots += _unknown(setting)
            continue
        items = [
            *rate_figures.rates(setting, evaluation, data_sets=data not in met),
            *_trajectories(setting),
            *term_figures.terms(setting),
            *twins(setting, evaluation),
            *samples(setting),
            *stop_figures.stopping(setting, evaluation.stops),
            *audit_figures.audit_plots(setting, evaluation.audit),
        ]
        met.add(data)
        for item in items:
            if isinstance(item, Plot):
                supports = setting.infinite and setting.law_id in networks
                key = (setting.law_id, setting.dimension, setting.infinite, item.title)
                beside.setdefault(key, []).append(len(plots))
                plots.append(replace(item, aside=True) if supports else item)
            else:
                omitted.append(Omitted(setting.label, *item))
    for places in beside.values():
        if len(places) > 1:
            made = on_one_scale([plots[place] for place in places])
            for place, plot in zip(places, made, strict=True):
                plots[place] = plot
    # Where networks show it, the limit over draws of the law supports them.
    shown = {p.title for p in plots if p.group and not p.aside and p.group not in over}
    plots = [replace(p, aside=True) if p.group in over and p.title in shown else p for p in plots]
    return plots, omitted


def _unknown(setting: Setting) -> list[Plot]:
    """The figures of a setting whose f* is not known: none that needs it."""
    return [*without_truth(setting), *samples(setting)]


def _trajectories(setting: Setting) -> Iterator[Plot | tuple[str, str]]:
    for axis, make in (
        ("samples", error_against_steps),
        ("samples", bias_variance),
        ("step_size", collapse),
        ("samples", time_bins),
        ("width", lazy_width),
        *((("samples", memorizing),) if has(setting.frame, "generalization_gap") else ()),
    ):
        along = sweep(setting.frame, axis)
        if along is None:
            yield _TITLES[make.__name__], f"the study has a single value of {PLAIN[axis]}"
        else:
            yield make(setting, along)


_FLOOR = "empirical_bayes"
_TITLES = {
    "error_against_steps": "Score error against steps",
    "bias_variance": TITLE,
    "collapse": "One curve for all step sizes",
    "time_bins": "Score error by diffusion time",
    "lazy_width": CROSSOVER,
    "memorizing": "How near to memorizing",
}


def error_against_steps(setting: Setting, along: Sweep) -> Plot:
    """Score error against tau, a line per N, with the best step marked."""
    lines, stars = [], []
    for level, shade, rows in along.each():
        x, median, low, high = quartiles(rows, "score_error")
        lines.append(Series(f"$N$ = {level:g}", x, median, low, high, shade=shade))
        table = trials(rows, ("score_error",))
        times, errors, _ = best(table.time, table.series["score_error"])
        stars.append((np.nanmedian(times) / along.fixed["step_size"], np.nanmedian(errors), shade))
    marks = [Series("", np.array([x]), np.array([y]), role="mark", shade=s) for x, y, s in stars]
    series = positive([*lines, *marks])
    return Plot(
        name=f"{setting.stem}_error_against_steps",
        title=_TITLES["error_against_steps"],
        caption="The error falls as the network learns f*, then rises as it learns the noise of "
        "the labels: more samples move the least error, starred, later and down.",
        panels=(Panel(STEPS, ERROR, series),),
        group=setting.label,
        note=along.held,
        topic=Topic.STOPPING,
    )


def collapse(setting: Setting, along: Sweep) -> Plot:
    """Score error against tau and against eta tau, a line per eta."""
    panels = []
    for column, label, title in (
        ("step", STEPS, "against steps"),
        ("effective_time", TIME, "against effective time"),
    ):
        lines = []
        for place, (level, _, rows) in enumerate(along.each()):
            x, median, low, high = quartiles(rows, "score_error", by=column)
            lines.append(Series(rf"$\eta$ = {level:g}", x, median, low, high, hue=place))
        panels.append(Panel(label, ERROR, positive(lines), title=title))
    return Plot(
        name=f"{setting.stem}_collapse",
        title=_TITLES["collapse"],
        caption="Only effective time ητ matters while η is well below 2N/λ_max: there the curves "
        "lie on one another.",
        panels=tuple(panels),
        group=setting.label,
        note=along.held,
        topic=Topic.STEP,
    )


def time_bins(setting: Setting, along: Sweep) -> Plot | tuple[str, str]:
    """Score error by bins of t at the best stopping time against N, weighted and unweighted."""
    names = [f"score_error_bin{i}" for i in range(1, TIME_BINS + 1)]
    if not has(along.frame, *names):
        return _TITLES["time_bins"], "the table has no values by bins of t"
    names += [name.replace("error", "error_unweighted") for name in names]
    stopped = at_best(along.frame, "samples", *(name for name in names if name in along.frame))
    first = along.frame.trials.iloc[0]
    edges = time_bin_edges(Diffusion(t_min=first["t_min"], t_max=first["t_max"]))
    panels, untrained = [], False
    for stem, label, title in (
        ("score_error_bin", ERROR, "weighted"),
        ("score_error_unweighted_bin", r"unweighted error", "unweighted"),
    ):
        series: list[Series] = []
        hollow: list[Series] = []
        for i in range(1, TIME_BINS + 1):
            if not has(stopped, f"{stem}{i}"):
                continue
            rows = stopped[stopped[f"{stem}{i}"] > 0]
            x, mean, low, high = level_means(
                rows["samples"].to_numpy(float), rows[f"{stem}{i}"].to_numpy(float)
            )
            name = f"$t$ in [{edges[i - 1]:.2g}, {edges[i]:.2g}]"
            shade = (i - 1) / (TIME_BINS - 1)
            series.append(Series(name, x, mean, low, high, shade=shade))
            floor = of_data_sets(along.frame.trials, f"{stem}{i}".replace("score", _FLOOR))
            if floor is not None:
                label = "" if hollow else POSSIBLE
                hollow.append(Series(label, floor[0], floor[1], role="hollow", shade=shade))
        if series:
            drawn = (*series, *hollow)
            panels.append(Panel("samples $N$", label, drawn, title, ticks=along.levels))
            untrained = untrained or bool(hollow)
    return Plot(
        name=f"{setting.stem}_time_bins",
        title=_TITLES["time_bins"],
        caption=f"The best-stopped error in {TIME_BINS} log-spaced bins of diffusion time t, "
        "weighted by 1 and by α²/h²"
        + untrained * "; hollow, the empirical Bayes formula on the same data sets"
        + ".",
        panels=tuple(panels),
        group=setting.label,
        note=along.held,
        topic=Topic.TERMS,
        aside=True,
    )


def memorizing(setting: Setting, along: Sweep) -> Plot:
    """Distance to the memorizer and generalization gap against eta tau, a line per N."""
    panels = []
    for column, label in (
        ("memorizer_distance", r"distance to the memorizer"),
        ("generalization_gap", r"generalization gap"),
    ):
        lines = []
        for level, shade, rows in along.each():
            quarters = quartiles(rows, column, by="effective_time")
            lines.append(Series(f"$N$ = {level:g}", *quarters, shade=shade))
        panels.append(Panel(TIME, label, positive(lines)))
    return Plot(
        name=f"{setting.stem}_memorizing",
        title=_TITLES["memorizing"],
        caption="Distance E‖f − f_emp‖² to the memorizer, which knows the N clean points alone, "
        "and the denoising loss on held-out points less that on training points.",
        panels=tuple(panels),
        group=setting.label,
        note=along.held,
        topic=Topic.POSSIBLE,
    )
