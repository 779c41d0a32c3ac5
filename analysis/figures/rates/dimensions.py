"""The numbers of the figure that spans dimensions: the exponent in N against d, with theory's bound
and what it gives the empirical Bayes formula."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from analysis.data.curves.quantity import Quantity
from analysis.data.sweeps import law_names, told_apart, usual_noise
from analysis.drawing.plot import Panel, Plot, Series, Topic
from analysis.figures.rates.answer import in_math, infinite
from analysis.figures.rates.curves import in_order
from analysis.levels.intervals import Array
from analysis.text import percent
from analysis.theory import minimax_exponent
from analysis.verdicts.evaluation import Evaluation
from analysis.verdicts.judging import Verdict

MINIMUM_DIMENSIONS = 2

REACH = 1.0
"""How far from b its limits at large N are drawn."""

POSSIBLE = 1.0
"""Exponent in N, at fixed T_0 and up to logarithms, of a formula without training: docs/theory.md,
section 7.7 (Zhang, Yin, Liang and Liu 2024)."""


def across_dimensions(evaluation: Evaluation) -> Iterator[Plot]:
    """For each law with a rate of the best error in N at several dimensions, with the noise that
    the bound is about."""
    names = law_names(evaluation.table)
    by_law: dict[str, list[Verdict]] = {}
    for verdict in evaluation:
        rate = verdict.quantity == Quantity.BEST_ERROR and verdict.axis == "samples"
        rate = rate and not verdict.by  # the same curve again
        if rate and math.isfinite(verdict.exponent) and usual_noise(verdict.fixed):
            by_law.setdefault(names.get(verdict.law_id, verdict.law), []).append(verdict)
    for number, (law, verdicts) in enumerate(sorted(by_law.items())):
        if len({v.dimension for v in verdicts}) >= MINIMUM_DIMENSIONS:
            yield _rates(law, verdicts, number)


def _by_setting(verdicts: list[Verdict]) -> dict[str, list[Verdict]]:
    """The verdicts by dimension, networks then their limits, each setting of one dimension by what
    tells it from the others; networks are there, if without any."""
    found: dict[str, list[Verdict]] = {"networks": []}
    for verdict in sorted(in_order(verdicts), key=lambda v: (infinite(v), v.dimension)):
        wide = infinite(verdict)
        beside = [
            v.fixed for v in verdicts if (v.dimension, infinite(v)) == (verdict.dimension, wide)
        ]
        told = told_apart(verdict.fixed, beside)
        label = ", ".join(filter(None, ("infinite width" * wide, in_math(told))))
        found.setdefault(label or "networks", []).append(verdict)
    return found


def _far(own: list[Verdict], at: Array, hue: int) -> Iterator[Series]:
    """The limits of b at large N, by which verdicts are reached, where data give others than the
    interval."""
    bent = [(v, v.at_large, x) for v, x in zip(own, at, strict=True) if v.at_large is not None]
    if bent:
        ends = np.array([[far.low, far.high] for _v, far, _x in bent]).T
        b, x = np.array([[v.exponent, x] for v, _far, x in bent]).T
        low, high = np.clip(ends, b - REACH, b + REACH)
        yield Series("", x, (low + high) / 2, low, high, role="far", hue=hue)


def _rates(law: str, verdicts: list[Verdict], number: int) -> Plot:
    dimensions = sorted({v.dimension for v in verdicts})
    d = np.array(dimensions, dtype=float)
    series = []
    found = _by_setting(verdicts)
    for hue, (label, own) in enumerate(found.items()):
        if not own:
            continue
        columns = np.array([[v.dimension, v.exponent, v.ci_low, v.ci_high] for v in own]).T
        at, b, low, high = columns
        # side by side, where intervals would hide each other
        at = at * np.linspace(0.97, 1.03, max(len(found), 2))[hue]
        series.append(Series(label, at, b, low, high, role="points", hue=hue))
        series += _far(own, at, hue)
    grid = np.geomspace(d[0], d[-1], 60)
    series.append(Series("bound 2/(d + 3)", grid, minimax_exponent(grid), role="theory"))
    flat = np.full(2, POSSIBLE)
    series.append(Series("empirical Bayes, in theory", grid[[0, -1]], flat, hue=max(2, len(found))))
    ranges = sorted({v.range for v in verdicts})
    spans = " and ".join(f"{low:g} to {high:g}" for low, high in ranges)
    level = percent(verdicts[0].level)
    return Plot(
        name=f"rates_against_dimension{'' if number == 0 else f'_{number + 1}'}",
        title=f"How fast the error falls with N, by dimension: {law}",
        caption="Exponent b of the best-stopped score error in N by dimension d (thin: at large N, "
        "which decides), with theory's bound 2/(d + 3); and of empirical Bayes, a formula without "
        "training, to which theory gives 1, up to logarithms, while many points lie within reach "
        "of the noise at T₀.",
        panels=(
            Panel("dimension $d$", "exponent $b$", tuple(series), y_log=False, ticks=tuple(d)),
        ),
        note=f"N = {spans}, {level} intervals",
        topic=Topic.ANSWER,
    )
