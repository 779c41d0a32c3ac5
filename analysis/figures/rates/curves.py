"""The numbers of the figures of rates: a quantity against an axis, its fit, band and theory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from analysis.data.curves.quantities import INVERSE_T_MIN, Curve
from analysis.data.curves.quantity import CLOCKS, OF_THE_KERNEL, SAMPLED, UNTRAINED, Quantity
from analysis.data.sweeps import (
    IN_ORDER,
    MATH,
    PLAIN,
    SETTING,
    Setting,
    has,
    level_means,
    told_apart,
)
from analysis.drawing.plot import Panel, Plot, Series, Topic
from analysis.figures.rates.possible import estimates, possible
from analysis.fits.power_law import PowerLawFit
from analysis.levels.intervals import Array, student
from analysis.text import fixed, minus
from analysis.theory import Kind, predictions
from analysis.verdicts.evaluation import Evaluation
from analysis.verdicts.judging import Verdict, Word, usable

ERROR = r"score error"
NAMES: dict[str, tuple[str, str, str]] = {
    Quantity.BEST_ERROR: ("Best-stopped score error", r"best score error", "error"),
    Quantity.BEST_ERROR_ASSESSED: (
        "Best-stopped score error, chosen and read on different halves of the test set",
        r"assessed error",
        "assessed",
    ),
    Quantity.BEST_ERROR_UNWEIGHTED: (
        "Unweighted score error at the best stopping time",
        r"unweighted error",
        "unweighted",
    ),
    Quantity.BEST_TIME: (
        "Best effective stopping time",
        r"best effective time $\eta\tau$*",
        "best time",
    ),
    Quantity.FINAL_ERROR: ("Score error at the last step", r"last error", "last step"),
    Quantity.INTERPOLATION_ERROR: (
        "Score error of kernel descent that is never stopped",
        r"never-stopped error",
        "never stopped",
    ),
    Quantity.ERROR_AT_TIME: ("Score error at a fixed effective time", ERROR, "error"),
    Quantity.COUPLING_AT_TIME: (
        "Coupling (distance between network and kernel) at a fixed effective time",
        r"coupling",
        "coupling",
    ),
    Quantity.KERNEL_BEST_ERROR: (
        "The kernel's best-stopped score error",
        r"kernel's best error",
        "kernel",
    ),
    Quantity.KERNEL_BEST_TIME: (
        "The kernel's best effective time",
        r"kernel's best effective time $\eta\tau$*",
        "kernel",
    ),
    Quantity.GENERALIZATION_TIME: (
        "Generalization time",
        r"$\eta\tau$ to within 10 % of the least error",
        "generalization",
    ),
    Quantity.MEMORIZATION_TIME: (
        "Memorization time",
        r"$\eta\tau$ to twice the least error",
        "memorization",
    ),
    Quantity.MEMORIZATION_RATIO: (
        "Memorization time over generalization time",
        "ratio of times",
        "ratio",
    ),
    Quantity.EMPIRICAL_BAYES: (
        "Score error of empirical Bayes, without training,",
        ERROR,
        "empirical Bayes",
    ),
    Quantity.EMPIRICAL_BAYES_UNWEIGHTED: (
        "Unweighted error of empirical Bayes, without training,",
        r"unweighted error",
        "empirical Bayes",
    ),
    Quantity.SAMPLE_DIVERGENCE: ("Divergence of samples", "KL (nat)", "KL"),
    Quantity.GIRSANOV_RATIO: (
        "Divergence of samples over Girsanov's bound",
        "KL over its bound",
        "ratio",
    ),
    Quantity.APPROXIMATION: ("Approximation error", r"approximation", "approximation"),
    Quantity.NTK_EIGENVALUE: ("Kernel eigenvalues", r"eigenvalue / $N$", "eigenvalue"),
}
"""Quantity: title, axis label, short name in a legend."""

AXES = {
    "samples": "samples $N$",
    "width": "width $m$",
    "step_size": r"step size $\eta$",
    "inverse_t_min": "inverse of the earliest time, $1/T_0$",
    "norm": "squared norm $R_H$",
    "index": "index $i$",
}
VARIABLES = {**MATH, "inverse_t_min": "$(1/T_0)$", "norm": "$R_H$", "index": "$i$"}
GRID = 60

SHOWN: dict[str, str] = {
    Quantity.BEST_ERROR: "The least score error E‖f_W − f*‖² on each trajectory, where an oracle "
    "would stop.",
    Quantity.BEST_ERROR_UNWEIGHTED: "The error with the weight α²/h², by which small t counts "
    "more, at the step of the least weighted one.",
    Quantity.BEST_TIME: "The effective time ητ* at which the score error is least.",
    Quantity.FINAL_ERROR: "The error at the last step beside the best-stopped one: what is not "
    "stopped learns the noise.",
    Quantity.INTERPOLATION_ERROR: "The error of kernel descent that is never stopped, beside the "
    "best-stopped one.",
    Quantity.ERROR_AT_TIME: "The error at one effective time, which theory says no step size "
    "changes.",
    Quantity.COUPLING_AT_TIME: "E‖f_W − f^K‖², how far the network is from its kernel at one "
    "effective time.",
    Quantity.KERNEL_BEST_ERROR: "The least error of kernel descent on the same data.",
    Quantity.KERNEL_BEST_TIME: "The effective time at which kernel descent errs least.",
    Quantity.GENERALIZATION_TIME: "The first effective time within 10 % of the least error.",
    Quantity.MEMORIZATION_TIME: "The first effective time after it at which the error has doubled.",
    Quantity.MEMORIZATION_RATIO: "How many times longer it takes to memorize than to generalize.",
    Quantity.EMPIRICAL_BAYES: "A formula on the N clean points, whatever is trained on them; "
    "hollow: never cut off (the memorizer), and cut off where it is best.",
    Quantity.EMPIRICAL_BAYES_UNWEIGHTED: "The same formula's error with the weight α²/h², which a "
    "smaller T₀ raises.",
    Quantity.SAMPLE_DIVERGENCE: "KL(p at T₀ ‖ law of the samples) of each network at its best "
    "step, by nearest neighbours.",
    Quantity.GIRSANOV_RATIO: "The divergence of samples over the bound on it by the score "
    "error, to which what exact draws reach is added.",
    Quantity.APPROXIMATION: "E‖f_H − f*‖² of elements of the kernel's space of squared norm R_H.",
    Quantity.NTK_EIGENVALUE: "Eigenvalues of K/N by their index, where neither low degrees nor "
    "sampling bend them.",
}
"""What the figure of a quantity shows, in a sentence."""

_TOPICS = {
    "width": Topic.WIDTH,
    "step_size": Topic.STEP,
    "norm": Topic.ASSUMPTIONS,
    "index": Topic.ASSUMPTIONS,
}
_ASIDE = (
    Quantity.BEST_ERROR_ASSESSED,
    Quantity.BEST_ERROR_UNWEIGHTED,
    Quantity.INTERPOLATION_ERROR,
    Quantity.KERNEL_BEST_ERROR,
    Quantity.KERNEL_BEST_TIME,
    Quantity.ERROR_AT_TIME,
    *CLOCKS,
    *SAMPLED,
)


def rates(
    setting: Setting, evaluation: Evaluation, data_sets: bool = True
) -> Iterator[Plot | tuple[str, str]]:
    """A figure for each verdict of the setting and for what it was not asked, where there is
    something to draw; then error against width. Else the reason. data_sets: with those that belong
    to its data sets, which other settings may share."""
    mine = [c for c in evaluation.curves if owns(setting, c)]
    judged = {id(v.curve) for v in evaluation}
    whole = (*evaluation, *(v for v in evaluation.unasked if id(v.curve) not in judged))
    own = [v for v in whole if v.curve and owns(setting, v.curve)]
    if not data_sets:
        own = [v for v in own if v.quantity not in UNTRAINED]
    yield from rates_of(setting, in_order(own), mine)
    have = {(str(c.quantity), c.axis) for c in mine}
    for prediction in predictions(setting.dimension):
        if (str(prediction.quantity), prediction.axis) in have or not prediction.applies():
            continue
        if setting.audited_in and prediction.axis in ("norm", "index"):
            continue
        if prediction.quantity in (*CLOCKS, *SAMPLED) or prediction.axis == INVERSE_T_MIN:
            continue  # of trials with copies, of samples, or of many T_0, which few studies want
        title = NAMES[prediction.quantity][0]
        axis = PLAIN.get(prediction.axis, prediction.axis)
        yield f"{title} against {axis}", _absent(setting, prediction.quantity, prediction.axis)
    yield width(setting, mine)


def in_order(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts, those of one prediction as IN_ORDER says, in the places that they have."""
    places: dict[tuple[object, ...], list[int]] = {}
    for place, v in enumerate(verdicts):
        key = (v.prediction, v.fixed.get("width") == np.inf, bool(v.draws))
        places.setdefault(key, []).append(place)
    made = list(verdicts)
    for own in places.values():
        by = [tuple(verdicts[i].fixed.get(k, 0.0) for k in IN_ORDER) for i in own]
        ordered = [i for _by, i in sorted(zip(by, own, strict=True))]
        for place, i in zip(own, ordered, strict=True):
            made[place] = verdicts[i]
    return made


def rates_of(
    setting: Setting, verdicts: Sequence[Verdict], curves: Sequence[Curve]
) -> Iterator[Plot]:
    """A figure for each verdict, named and titled apart where two are of one quantity and axis; of
    a curve's second one, aside."""
    names: dict[str, int] = {}
    drawn: set[int] = set()
    for verdict in verdicts:
        assert verdict.curve is not None
        plot = rate(setting, verdict.curve, verdict, curves)
        again = id(verdict.curve) in drawn and not verdict.own
        plot = replace(plot, aside=True) if again else plot
        drawn.add(id(verdict.curve))
        names[plot.name] = names.get(plot.name, 0) + 1
        if names[plot.name] > 1:
            plot = replace(plot, name=f"{plot.name}_{names[plot.name]}")
        about = (verdict.quantity, verdict.axis)
        beside = [v.fixed for v in verdicts if (v.quantity, v.axis) == about]
        told = told_apart(verdict.fixed, beside)
        yield replace(plot, group=f"{plot.group}, {told}") if told else plot


def _absent(setting: Setting, quantity: str, axis: str) -> str:
    if quantity in UNTRAINED:
        return f"it needs at least 3 values of {PLAIN[axis]}, and trials of a version that has it"
    if axis in ("norm", "index") and setting.follows_kernel:
        return "it needs the audit of this setting"
    of_kernel = axis in ("norm", "index") or quantity in (*OF_THE_KERNEL, Quantity.COUPLING_AT_TIME)
    if of_kernel and (why := without_kernel(setting)):
        return why
    return f"it needs at least 3 values of {PLAIN[axis]}, all else fixed"


def without_kernel(setting: Setting) -> str:
    """Why the setting's trials have no kernel reference beside them; empty where they have one."""
    if has(setting.frame, "kernel_score_error"):
        return ""
    first = setting.frame.trials.iloc[0]
    if first["copies"] == 0:
        return "noise drawn anew at every step has no kernel reference"
    if setting.follows_kernel:
        return "the study left the kernel reference out (kernel: false)"
    return f"kernel descent is no limit of trainer {first['trainer']}"


def owns(setting: Setting, curve: Curve) -> bool:
    """Whether the curve's trials belong to the setting; a curve over T_0, which spans several,
    belongs to the one with the smallest, a curve of an audit to the one that shows it."""
    if (curve.law_id, curve.dimension) != (setting.law_id, setting.dimension):
        return False
    if setting.audited_in and "audit_id" in curve.fixed:
        return False
    first = setting.frame.trials.iloc[0]
    if curve.axis == INVERSE_T_MIN and 1 / first["t_min"] != curve.x.max():
        return False
    known = {k: None if pd.isna(first[k]) else first[k] for k in SETTING}
    return all(known[k] == v for k, v in curve.fixed.items() if k in SETTING)


def conditions(curve: Curve) -> str:
    """What is held fixed, in words: `m = 4096, η = 1, ητ = 60`."""
    text = curve.held
    if curve.effective_time is not None:
        text += f", ητ = {curve.effective_time:.3g}"
    return text


def rate(setting: Setting, curve: Curve, verdict: Verdict, others: Sequence[Curve] = ()) -> Plot:
    """Data, the verdict's fit with its band, and theory's slope; below, the data divided by the
    fit. curve: the verdict's own."""
    title, y_label, short = NAMES.get(
        curve.quantity, (curve.quantity, curve.quantity.replace("_", " "), "data")
    )
    fit = verdict.fitted
    kept, note = usable(curve)
    axis = AXES.get(curve.axis, curve.axis.replace("_", " "))
    plain = PLAIN.get(curve.axis, curve.axis)
    main = [*data(curve, kept, short, fit), *fitted(kept, fit, curve.axis)]
    theory = theory_line(verdict, kept)
    if theory is not None:
        main.append(theory)
    if curve.quantity in (Quantity.FINAL_ERROR, Quantity.INTERPOLATION_ERROR):
        main = [*_stopped(curve, others), *main]
    main += possible(curve, others)
    if curve.quantity == Quantity.EMPIRICAL_BAYES:
        main = [*estimates(curve, others), *main]
    ticks = tuple(np.unique(curve.x).tolist())
    below = residuals(kept, fit, axis, ticks)
    return Plot(
        name=f"{setting.stem}_{curve.quantity}_against_{curve.axis}",
        title=": ".join(filter(None, (verdict.own, f"{title} against {plain}{verdict.by}"))),
        caption=SHOWN.get(curve.quantity, verdict.statement),
        panels=(Panel(axis, y_label, tuple(main), ticks=ticks, below=below),),
        group=setting.label,
        note=_note(verdict, fit, note),
        topic=_topic(curve),
        aside=curve.quantity in _ASIDE or not fit.ok,
    )


def _topic(curve: Curve) -> Topic:
    if curve.quantity in (*UNTRAINED, *CLOCKS):
        return Topic.POSSIBLE
    if curve.quantity in SAMPLED:
        return Topic.GENERATED
    if curve.quantity in (Quantity.BEST_TIME, Quantity.KERNEL_BEST_TIME):
        return Topic.STOPPING
    return _TOPICS.get(curve.axis, Topic.SAMPLES)


def data(curve: Curve, kept: Curve, short: str, fit: PowerLawFit) -> list[Series]:
    """Trials, means over seeds with 95 % intervals, and what the fit leaves out. Where the kernel
    limit sharpens the means, those are full markers, and the network's own are hollow."""
    series = [Series("", kept.x, kept.y, role="trials")]
    sharp = _sharpened(fit)
    if len(kept.x):
        own = level_means(kept.x, kept.y, geometric=kept.geometric)
        if sharp is None:
            series.append(Series(f"{short}, mean", *own, role="points"))
        else:
            series.append(Series("network alone", *own, role="hollow"))
            series.append(Series(f"{short}, with kernel", *sharp, role="points"))
    out = ~np.isin(curve.x, kept.x)
    if out.any():
        series.append(Series("left out", curve.x[out], curve.y[out], role="left_out", hue=1))
    return series


def _sharpened(fit: PowerLawFit) -> tuple[Array, Array, Array, Array] | None:
    """x, and the means of two levels with their 95 % intervals over seeds; None where there are
    none."""
    if fit.means is None or fit.means.both is None:
        return None
    means, both = fit.means, fit.means.both
    errors = [both.error(row) for row in np.eye(len(means.x))]
    half = np.array([student(0.95, freedom) * variance**0.5 for variance, freedom in errors])
    factor = fit.growth.of(means.x)
    with np.errstate(over="ignore"):
        low, high = (factor * np.exp(means.log_mean + sign * half) for sign in (-1, 1))
    return means.x, factor * means.mean, low, high


def fitted(kept: Curve, fit: PowerLawFit, axis: str, hue: int = 0) -> list[Series]:
    """The fitted curve and its pointwise band; nothing where the fit was refused."""
    if not fit.ok:
        return []
    grid = np.geomspace(kept.x.min(), kept.x.max(), GRID)
    y, low, high = fit.predict(grid)
    label = f"fit {_power(axis, fit.exponent)}"
    if fit.growth.offset:
        label += " + c"
    if fit.growth.text:
        label += f", times {fit.growth.text}"
    return [Series(label, grid, y, low, high, hue=hue)]


def _power(axis: str, b: float) -> str:
    return f"{VARIABLES.get(axis, 'x')}$^{{{fixed(-b)}}}$"


def theory_line(verdict: Verdict, kept: Curve) -> Series | None:
    """Theory's slope. A bound lies where it must: through the first level's mean, so that a curve
    below it falls faster. A sharp rate fixes the slope alone: through the middle of the data. A
    ceiling is the line itself."""
    if not len(kept.x):
        return None
    if verdict.kind == Kind.CEILING:
        ends = np.array([kept.x.min(), kept.x.max()])
        return Series("the bound", ends, np.full(2, verdict.threshold), role="theory")
    fit, b, name = verdict.fitted, verdict.theory_exponent, "theory"
    if verdict.kind == Kind.BOUND:
        name = "bound"
    elif verdict.kind == Kind.QUALITATIVE:
        b, name = verdict.threshold, "threshold" if verdict.own else "bound if stopped"
    x, mean, *_ = level_means(kept.x, kept.y, geometric=kept.geometric)
    sharp = _sharpened(fit)
    if sharp is not None:
        x, mean = sharp[:2]
    at, height = float(x[0]), float(mean[0])
    if verdict.kind == Kind.SHARP:
        at, height = (float(np.exp(np.log(v).mean())) for v in (x, mean))
        if fit.ok:
            height = float(fit.predict(np.array([at]))[0][0])
    line = np.array([x[0], x[-1]]) if fit.growth.factor is None else np.geomspace(x[0], x[-1])
    slope = fit.growth.of(line) * (line / at) ** -b / float(fit.growth.of(np.array([at]))[0])
    return Series(f"{name} {_power(verdict.axis, b)}", line, height * slope, role="theory")


def _stopped(curve: Curve, others: Sequence[Curve]) -> list[Series]:
    """The best-stopped error of the same trials, for comparison."""
    for other in others:
        if other.quantity == Quantity.BEST_ERROR and other.same_trials(curve):
            x, mean, low, high = level_means(other.x, other.y)
            return [
                Series("", x, mean, hue=2),
                Series("best-stopped, mean", x, mean, low, high, role="points", hue=2),
            ]
    return []


def residuals(kept: Curve, fit: PowerLawFit, axis: str, ticks: tuple[float, ...]) -> Panel | None:
    """Data divided by the fit: trials, means with 95 % intervals, and the line at 1."""
    if not fit.ok:
        return None
    ratio = kept.y / fit.predict(kept.x)[0]
    x, mean, low, high = level_means(kept.x, ratio, geometric=kept.geometric)
    sharp = _sharpened(fit)
    if sharp is not None:
        line = fit.predict(sharp[0])[0]
        x, (mean, low, high) = sharp[0], (values / line for values in sharp[1:])
    ends = np.array([x[0], x[-1]])
    return Panel(
        axis,
        "data / fit",
        (
            Series("", ends, np.ones(2), role="theory"),
            Series("", kept.x, ratio, role="trials"),
            Series("", x, mean, low, high, role="points"),
        ),
        y_log=False,
        ticks=ticks,
    )


def _note(verdict: Verdict, fit: PowerLawFit, left_out: str) -> str:
    """What is held fixed, the fit, and the verdict; what was left out, where no reason says so."""
    assert verdict.curve is not None
    told = [conditions(verdict.curve)]
    if fit.ok:
        low, high = (fixed(end) for end in fit.ci)
        told.append(f"b = {fixed(fit.exponent)} ({low} to {high})")
    else:
        told.append(f"no fit: {fit.message}" if fit.points else "no fit: no value can be used")
    if fit.two_levels is not None:
        told.append(fit.two_levels.told)
    against = " than the bound" if verdict.verdict is Word.FASTER else ""
    told.append(f"{verdict.verdict}{against}")
    told.append(left_out)
    return minus("; ".join(filter(None, told)))


def of_a_table(
    names: tuple[str, str],
    x: Array,
    y: Array,
    fit: PowerLawFit,
    verdict: Verdict | None = None,
    source: str = "",
) -> Plot:
    """Anyone's y against x [n] with the fit of it: data, fit with its band, theory's slope where
    there is a verdict; below, the data divided by the fit. names: of x and y, which may hold any
    letter. source: where they are from."""
    x_name, y_name = (name.replace("$", r"\$") for name in names)
    ones = np.zeros(len(x), dtype=np.int64)
    curve = Curve(names[1], names[0], "", "", 0, {}, x, y, ones, ones.astype(bool), linked=False)
    means = Series(f"{y_name}, mean", *level_means(x, y), role="points")
    main = [Series("", x, y, role="trials"), means, *fitted(curve, fit, "x")]
    if verdict is not None and (theory := theory_line(verdict, curve)) is not None:
        main.append(theory)
    ticks = tuple(np.unique(x).tolist())
    note = (
        f"{fit.growth.form}, b = {fixed(fit.exponent)} ({fixed(fit.ci[0])} to {fixed(fit.ci[1])})"
    )
    return Plot(
        name="fit",
        title=f"{names[1]} against {names[0]}",
        caption=f"{names[1]} against {names[0]}{f', from {source}' if source else ''}: values, "
        "means with 95 % intervals, and a power law; below, the data divided by the fit.",
        panels=(
            Panel(x_name, y_name, tuple(main), ticks=ticks,
                  below=residuals(curve, fit, x_name, ticks)),
        ),
        note=minus(note),
    )  # fmt: skip


def width(setting: Setting, mine: Sequence[Curve]) -> Plot | tuple[str, str]:
    """Score error against m: at the best step and at a fixed effective time, with the kernel's."""
    title = "Score error against m"
    series, said, ticks = [], "", ()
    for quantity, label, hue in (
        (Quantity.BEST_ERROR, "best-stopped", 0),
        (Quantity.ERROR_AT_TIME, "at a fixed effective time", 1),
        (Quantity.KERNEL_BEST_ERROR, "kernel, best-stopped", 2),
    ):
        curve = next((c for c in mine if (c.quantity, c.axis) == (quantity, "width")), None)
        if curve is None:
            continue
        x, mean, low, high = level_means(curve.x, curve.y)
        series.append(Series(label, x, mean, low, high, role="points", hue=hue))
        series.append(Series("", x, mean, hue=hue))
        said = conditions(curve) if quantity != Quantity.ERROR_AT_TIME or not said else said
        if quantity == Quantity.ERROR_AT_TIME:
            said += f", fixed time ητ = {curve.effective_time:.3g}"
        ticks = tuple(x.tolist())
    if not series:
        return title, "the study has fewer than 3 values of m, all else fixed"
    return Plot(
        name=f"{setting.stem}_error_against_width",
        title=title,
        caption="As m grows the network follows its kernel, and its error meets the kernel's.",
        panels=(Panel(AXES["width"], ERROR, tuple(series), ticks=ticks),),
        group=setting.label,
        note=said,
        topic=Topic.WIDTH,
        aside=True,
    )
