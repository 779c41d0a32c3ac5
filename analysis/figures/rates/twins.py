"""How far apart two networks are that were trained on different data, against N."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analysis.data.curves.quantities import Curve
from analysis.data.curves.quantity import Quantity
from analysis.data.curves.twins import twin_curves
from analysis.data.sweeps import Setting, level_means
from analysis.drawing.plot import Panel, Plot, Series, Topic, positive
from analysis.figures.rates.curves import owns
from analysis.fits.power_law import fit_power_law
from analysis.text import minus, percent
from analysis.verdicts.evaluation import Evaluation
from analysis.verdicts.judging import usable
from trainers.columns import SKETCH_SIZE

TITLE = "Disagreement of twins"
FEWEST_PAIRS = 3
"""For an interval: that of two pairs would span decades."""
_LABELS = {
    Quantity.TWINS_BEST: "half the twins' distance, each at its best step",
    Quantity.TWINS_LAST: "half the twins' distance at the last step",
}


def twins(setting: Setting, evaluation: Evaluation) -> Iterator[Plot | tuple[str, str]]:
    """Half of the twins' distance against N, beside the score error that it is at most; else why
    there is none."""
    every = (_apart(c) for c in twin_curves(setting.frame) if owns(setting, c))
    found = [c for c in every if len(c.x)]
    if not found:
        yield (
            TITLE,
            "it needs completed trials of seeds 2k and 2k + 1 at 3 values of N or more, of a "
            "version that keeps sketches of their predictions",
        )
        return
    most = max(found, key=lambda c: (c.levels, len(c.x)))
    series, said = [], []
    for hue, curve in enumerate(c for c in found if c.fixed == most.fixed):
        label = _LABELS[Quantity(curve.quantity)]
        x, y, *ends = level_means(curve.x, curve.y / 2)
        few = np.array([np.sum(curve.x == n) < FEWEST_PAIRS for n in x])
        low, high = (np.where(few, np.nan, end) for end in ends)
        series.append(Series(label, x, y, low, high, role="points", hue=hue))
        fit = fit_power_law(curve.x, curve.y)
        if fit.ok:
            where = "at their best steps" if curve.quantity == Quantity.TWINS_BEST else "at the end"
            interval = f"{fit.ci[0]:.2f} to {fit.ci[1]:.2f}"
            said.append(f"N^−b with b = {fit.exponent:.2f} ({interval}) {where}")
    for curve in evaluation.curves:
        if curve.quantity == Quantity.BEST_ERROR and curve.same_trials(most):
            kept = usable(curve)[0]
            if len(kept.x):
                means = level_means(kept.x, kept.y)
                series.append(Series("best score error", *means, role="line", hue=2))
    conditions = most.held
    yield Plot(
        name=f"twins_{setting.stem}",
        title=TITLE,
        caption="Half of E‖f₁ − f₂‖² of two networks on independent data needs no truth, and is in "
        "expectation at most the mean score error: the rest all data sets get wrong alike.",
        panels=(
            Panel(
                "samples $N$",
                r"error",
                positive(series),
                ticks=tuple(np.unique(most.x).tolist()),
            ),
        ),
        group=setting.label,
        note=minus(
            f"{conditions}; {'; '.join(said)}{'; ' * bool(said)}random projections move one pair's "
            f"value by {percent((2 / SKETCH_SIZE) ** 0.5)} at most (a standard deviation)"
        ),
        topic=Topic.POSSIBLE,
        aside=True,
    )


def _apart(curve: Curve) -> Curve:
    """The levels at which all pairs are apart: twins whose best step is the first are both 0."""
    return curve.only(~np.isin(curve.x, curve.x[curve.y == 0]))
