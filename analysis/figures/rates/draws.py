"""The numbers of the figures over draws of a law: the curves that are judged, and the exponent draw
by draw."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from analysis.data.curves.quantity import Quantity
from analysis.data.sweeps import PLAIN, Setting
from analysis.drawing.plot import Panel, Plot, Series, Topic
from analysis.figures.rates.curves import NAMES, rates_of
from analysis.text import percent
from analysis.verdicts.evaluation import Evaluation
from analysis.verdicts.judging import Verdict

SIDE_BY_SIDE = 2
"""Panels of a figure, whose titles would meet otherwise."""

_TITLES: dict[str, str] = {
    Quantity.KERNEL_BEST_ERROR: "kernel's error",
    Quantity.KERNEL_BEST_TIME: "kernel's best time",
}
"""Of panels whose quantities have one short name."""


def over_draws(evaluation: Evaluation) -> Iterator[Plot]:
    """For each law of which several draws are judged together: a figure for each verdict, then the
    exponent of each draw."""
    by_law: dict[tuple[str, int], list[Verdict]] = {}
    for verdict in evaluation:
        if verdict.draws:
            by_law.setdefault((verdict.law, verdict.dimension), []).append(verdict)
    for number, ((law, d), verdicts) in enumerate(by_law.items(), 1):
        # These trials have no setting of their own: their draws do.
        name, _, count = law.rpartition(", ")
        label = f"{name.partition('[')[0]}, d = {d}, {count}"
        setting = Setting(label, f"draws_{number}_d{d}", law, law, d, evaluation.table)
        yield from rates_of(setting, verdicts, evaluation.curves)
        yield from _by_draw(setting, [v for v in verdicts if v.axis == "samples"] or verdicts)


def _by_draw(setting: Setting, verdicts: Sequence[Verdict]) -> Iterator[Plot]:
    """Figures of a panel a verdict, as many side by side as can be read."""
    known = [v for v in verdicts if np.isfinite(v.exponent)]
    count = max(len(v.draws) for v in verdicts)
    level = percent(verdicts[0].level)
    for number, first in enumerate(range(0, len(known), SIDE_BY_SIDE), 1):
        yield Plot(
            name=f"{setting.stem}_exponent_by_draw_{number}",
            title="The exponent, draw by draw",
            caption="Points: the exponent of each draw of the law, over its own seeds; line and "
            "band: over draws, whose scatter makes the interval.",
            panels=tuple(_panel(v) for v in known[first : first + SIDE_BY_SIDE]),
            group=setting.label,
            note=f"{count} draws, {level} intervals",
            topic=Topic.SAMPLES,
            aside=True,
        )


def _panel(verdict: Verdict) -> Panel:
    each = np.array([[d.exponent, d.ci_low, d.ci_high] for d in verdict.draws]).T
    place = np.arange(1.0, len(verdict.draws) + 1)
    ends = np.array([0.5, place[-1] + 0.5])
    both = np.ones(2)
    exponent, low, high = each
    band = (verdict.exponent * both, verdict.ci_low * both, verdict.ci_high * both)
    series = [
        Series("a draw", place, exponent, low, high, role="points"),
        Series("over draws", ends, *band, hue=1),
    ]
    if np.isfinite(verdict.theory_exponent):
        series.append(Series("theory", ends, verdict.said * both, role="theory"))
    *_unused, short = NAMES.get(verdict.quantity, (verdict.quantity, "", verdict.quantity))
    title = f"{_TITLES.get(verdict.quantity, short)}{verdict.by}"
    infinite = verdict.fixed.get("width") == np.inf
    axis = PLAIN.get(verdict.axis, verdict.axis)
    return Panel(
        "draw of the law",
        f"exponent $b$ in {axis}",
        tuple(series),
        f"{title}, infinite width" if infinite else title,
        x_log=False,
        y_log=False,
        ticks=tuple(place),
    )
