"""What training's noise does to the error: copies, laws of time and weights beside each other.

Settings that differ in these alone (and in the step size, which a weight moves the limit of) are
trained on the same clean points. All errors are under the same times, so they can be compared seed
by seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pandas as pd

from analysis.data.curves.quantities import Curve
from analysis.data.curves.quantity import Quantity
from analysis.data.sweeps import (
    NOISE,
    PER_SAMPLE,
    held,
    law_names,
    level_means,
    noise_label,
    sizes,
    usual_noise,
)
from analysis.drawing.plot import Panel, Plot, Series, Topic
from analysis.figures.rates.possible import possible
from analysis.levels.intervals import student
from analysis.verdicts.evaluation import Evaluation
from analysis.verdicts.judging import fit_curve, usable
from trainers.ranges import TimeLaw, Weight
from trainers.trial import UNSAID

LEVEL = 0.95
LINES = 6
"""Of a figure, that can be told apart."""
MEASURES = {
    Quantity.BEST_ERROR: "score error",
    Quantity.BEST_ERROR_UNWEIGHTED: "unweighted",
}
_LABELS = {
    Quantity.BEST_ERROR: r"best score error",
    Quantity.BEST_ERROR_UNWEIGHTED: r"unweighted error",
}
_FREE = {*NOISE, "step_size", "steps", "precision"}


def families(curves: Sequence[Curve]) -> list[list[Curve]]:
    """Curves of the best error over N that differ in their noise alone, two or more: the usual
    noise first."""
    found: dict[object, list[Curve]] = {}
    for curve in curves:
        if (curve.quantity, curve.axis) == (Quantity.BEST_ERROR, "samples") and not curve.draws:
            held = tuple((k, v) for k, v in sorted(curve.fixed.items()) if k not in _FREE)
            found.setdefault((curve.law_id, curve.dimension, held), []).append(curve)
    many = [own for own in found.values() if len({noise_label(c.fixed) for c in own}) > 1]
    return [sorted(own, key=_place) for own in many]


def _place(curve: Curve) -> tuple[float, ...]:
    """The usual noise first, then by law of times, weight and copies; fresh ones last."""
    fixed = {**UNSAID, **curve.fixed}
    orders = get_args(TimeLaw), get_args(Weight)
    named = (str(fixed["time_law"]), str(fixed["weight"]))
    copies = float(fixed["copies"]) or np.inf
    return (not usual_noise(fixed), *map(_index, orders, named), copies, fixed["step_size"])


def _index(known: Sequence[str], name: str) -> float:
    return known.index(name) if name in known else len(known)


def _parts(family: Sequence[Curve]) -> list[list[Curve]]:
    """What one figure can show: the whole family where that is few lines, else a law of times with
    the first curve beside it."""
    if len(family) <= LINES:
        return [list(family)]
    by_law: dict[str, list[Curve]] = {}
    for curve in family:
        by_law.setdefault(str(curve.fixed.get("time_law")), []).append(curve)
    return [own if family[0] in own else [family[0], *own] for own in by_law.values()]


def noise_plots(evaluation: Evaluation) -> Iterator[Plot]:
    """For each family: both errors against N, a line for each noise."""
    names = law_names(evaluation.table)
    parts = (part for own in families(evaluation.curves) for part in _parts(own))
    for number, own in enumerate(parts, 1):
        first = own[0]
        panels = []
        for quantity in MEASURES:
            twins = [_twin(c, quantity, evaluation.curves) for c in own]
            # A noise has its colour in both panels, also where one of them lacks another's line.
            series = [
                Series(_label(c, own), *level_means(*_values(c)), role="line", hue=hue)
                for hue, c in enumerate(twins)
                if c is not None
            ]
            lines = [c for c in twins if c is not None]
            floor = possible(lines[0], evaluation.curves) if lines else []
            ticks = tuple(np.unique(first.x).tolist())
            panels.append(
                Panel("samples $N$", _LABELS[quantity], (*series, *_last(floor)), ticks=ticks)
            )
        law = names.get(first.law_id, first.law)
        laws = {str(c.fixed.get("time_law")) for c in own[1:]}
        times = f", times {laws.pop()}" if len(laws) == 1 else ""
        yield Plot(
            name=f"noise_{number}_d{first.dimension}",
            title=f"Error by the noise of training: {law}, d = {first.dimension}{times}",
            caption="Each training's error under t ~ U[T₀, T] at its own best step, that of the "
            "least weighted error: weighted and unweighted.",
            panels=tuple(panels),
            note=_width(first),
            topic=Topic.NOISE,
        )


def _last(series: Sequence[Series]) -> list[Series]:
    return [replace(s, role="theory") for s in series]


def _width(curve: Curve) -> str:
    if curve.fixed.get("width") == np.inf:
        return "infinite width"
    return held({k: v for k, v in sizes(curve.fixed).items() if k in ("width", PER_SAMPLE)})


def _values(curve: Curve) -> tuple[Any, Any]:
    kept = usable(curve)[0]
    return kept.x, kept.y


def _twin(curve: Curve, quantity: Quantity, every: Sequence[Curve]) -> Curve | None:
    """The curve of another quantity of the same trials, where it has levels to use."""
    for other in every:
        if other.quantity == quantity and other.same_trials(curve):
            return other if len(usable(other)[0].x) else None
    return None


def _label(curve: Curve, family: Sequence[Curve]) -> str:
    """The noise in words, with the step size where that tells two apart."""
    label = noise_label(curve.fixed)
    same = [c for c in family if noise_label(c.fixed) == label]
    return f"{label}, η = {curve.fixed['step_size']:g}" if len(same) > 1 else label


def noise_tables(evaluation: Evaluation) -> list[tuple[str, pd.DataFrame]]:
    """For each family its law in words, and how many times the error of the first noise (the usual
    one, where it was trained) the others' are, at each N. Columns: noise, measure, samples, ratio
    (geometric mean over shared seeds of both bests), low, high (its 95 % interval, from the
    differences of logarithms; NaN for one seed), seeds, exponent, ci_low, ci_high (of the curve,
    NaN where there is no fit)."""
    names = law_names(evaluation.table)
    tables = []
    for own in families(evaluation.curves):
        rows = []
        for quantity, measure in MEASURES.items():
            base = _twin(own[0], quantity, evaluation.curves)
            for curve in own:
                other = _twin(curve, quantity, evaluation.curves)
                if base is not None and other is not None:
                    common: dict[str, Any] = {"noise": _label(curve, own), "measure": measure}
                    common |= _rate(other)
                    rows += [common | row for row in _ratios(base, other)]
        law = names.get(own[0].law_id, own[0].law)
        if rows:
            tables.append((f"{law}, d = {own[0].dimension}, {_width(own[0])}", pd.DataFrame(rows)))
    return tables


def _ratios(base: Curve, other: Curve) -> Iterator[dict[str, Any]]:
    """At each N that both have, from the seeds that both have."""
    values = [
        pd.DataFrame({"samples": kept.x, "seed": kept.seed, "log": np.log(kept.y)})
        for kept in (usable(base)[0], usable(other)[0])
    ]
    both = values[0].merge(values[1], on=["samples", "seed"])
    for n, rows in both.groupby("samples"):
        logs = (rows["log_y"] - rows["log_x"]).to_numpy()
        half = np.nan
        if len(logs) > 1:
            half = student(LEVEL, len(logs) - 1) * logs.std(ddof=1) / np.sqrt(len(logs))
        ends = np.exp(logs.mean() + np.array([0.0, -half, half]))
        yield {
            "samples": float(n),  # type: ignore[arg-type]
            **dict(zip(("ratio", "low", "high"), ends.tolist(), strict=True)),
            "seeds": len(logs),
        }


def _rate(curve: Curve) -> dict[str, float]:
    fit = fit_curve(curve, LEVEL)
    return {"exponent": fit.exponent, "ci_low": fit.ci[0], "ci_high": fit.ci[1]}
