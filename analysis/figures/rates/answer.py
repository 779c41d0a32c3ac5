"""The numbers of the two figures that a page begins with: all exponents against theory, and the
best error against samples, all laws together."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from analysis.data.curves.quantity import Quantity
from analysis.data.sweeps import MATH, SYMBOLS, law_names, level_means, told_apart, usual_noise
from analysis.drawing.plot import Panel, Plot, Series, Topic
from analysis.figures.rates.curves import AXES, NAMES, VARIABLES, fitted, in_order, theory_line
from analysis.theory import Kind
from analysis.verdicts.evaluation import Evaluation
from analysis.verdicts.judging import Verdict, usable

EXPONENTS, HEADLINE = "exponents", "best_error"
"""Names of the two figures."""

MOST = 4
"""Laws in the second figure: of more, the exponents are its answer."""
_HUES, _SHADES = 6, 12
"""Curves that colours tell apart, and shades."""

_ROWS: dict[str, str] = {
    Quantity.BEST_ERROR: "best error",
    Quantity.BEST_ERROR_UNWEIGHTED: "unweighted error",
    Quantity.BEST_TIME: "best time",
    Quantity.FINAL_ERROR: "last-step error",
    Quantity.INTERPOLATION_ERROR: "never-stopped error",
    Quantity.ERROR_AT_TIME: "error at fixed time",
    Quantity.KERNEL_BEST_ERROR: "kernel's best error",
    Quantity.KERNEL_BEST_TIME: "kernel's best time",
    Quantity.NTK_EIGENVALUE: "kernel's eigenvalue",
    Quantity.EMPIRICAL_BAYES_UNWEIGHTED: "unweighted empirical Bayes",
    Quantity.SAMPLE_DIVERGENCE: "divergence of samples",
}

Group = tuple[str, int]
"""A law's name and its dimension."""
_Key = tuple[Group, str]
"""A group, and what tells a setting from its others, in words."""


def infinite(verdict: Verdict) -> bool:
    """Whether it is of the kernel limit."""
    return verdict.fixed.get("width") == math.inf


def groups(verdicts: Sequence[Verdict], names: dict[str, str]) -> dict[Group, list[Verdict]]:
    """The verdicts of each law and dimension, in order: those over draws of a law with those on the
    draw that stands for it, settings by N, m, eta and T_0. names: as of `law_names`."""
    found: dict[Group, list[Verdict]] = {}
    for verdict in verdicts:
        known = [names[d.law_id] for d in verdict.draws if d.law_id in names]
        name = min(known, key=len) if known else names.get(verdict.law_id, verdict.law)
        found.setdefault((name, verdict.dimension), []).append(verdict)
    return {key: in_order(found[key]) for key in sorted(found)}


def primary(verdicts: Sequence[Verdict]) -> Verdict:
    """The one that answers first: on the best error against samples, where there is an exponent, of
    networks before their limit, with the noise that theory assumes before another; else the
    first."""

    def rank(verdict: Verdict) -> tuple[bool, ...]:
        unknown = math.isnan(verdict.exponent)
        other = not usual_noise(verdict.fixed)
        return not _answers(verdict), unknown, infinite(verdict), other, not verdict.draws

    return min(verdicts, key=rank)


def answers(verdicts: Sequence[Verdict]) -> dict[str, Verdict]:
    """The primary verdict of each setting of a law and dimension, by what tells it from the others:
    `m = 32`; empty for the only one."""
    first = primary(verdicts)

    def kind(verdict: Verdict) -> tuple[object, ...]:
        fixed = verdict.fixed
        return verdict.prediction, infinite(verdict), usual_noise(fixed), bool(verdict.draws)

    alike = [v for v in verdicts if kind(v) == kind(first)]
    found: dict[str, Verdict] = {}
    for verdict in alike:
        found.setdefault(told_apart(verdict.fixed, [v.fixed for v in alike]), verdict)
    return found if len(found) > 1 else {"": first}


def setting_of(verdict: Verdict, beside: Sequence[Verdict], every: Sequence[Verdict]) -> str:
    """What tells the setting of a verdict from those `beside` it, else from those that answer
    first, in words; every: the verdicts of its law and dimension."""
    told = told_apart(verdict.fixed, [v.fixed for v in beside])
    return told or told_apart(verdict.fixed, [v.fixed for v in answers(every).values()])


def _answers(verdict: Verdict) -> bool:
    return (verdict.quantity, verdict.axis) == (Quantity.BEST_ERROR, "samples")


def over_draws_of(verdicts: Sequence[Verdict]) -> Verdict | None:
    """The one on the best error against samples over draws of the law, where there is one."""
    return next((v for v in verdicts if v.draws and _answers(v)), None)


def answer_plots(evaluation: Evaluation) -> Iterator[Plot]:
    """The exponents, where there are any, then the best error."""
    own = groups(evaluation.verdicts, law_names(evaluation.table))
    known = {g: [v for v in vs if _has_exponent(v)] for g, vs in own.items()}
    known = {g: vs for g, vs in known.items() if vs}
    if known:
        yield _exponents(known)
    chosen = {(g, told): v for g, vs in own.items() for told, v in answers(vs).items()}
    curves = {k: v for k, v in chosen.items() if v.quantity == Quantity.BEST_ERROR and v.curve}
    if curves and len({group for group, _told in curves}) <= MOST and len(curves) <= _SHADES:
        yield _headline(curves)


def _has_exponent(verdict: Verdict) -> bool:
    """Whether one was measured of which theory speaks."""
    return math.isfinite(verdict.exponent) and verdict.kind != Kind.CEILING


def _called(group: Group, every: Sequence[Group]) -> str:
    """The group in a legend: no more than tells it apart."""
    law, d = group
    laws = {law for law, _d in every}
    if len(laws) == 1:
        return f"$d$ = {d}"
    return f"{law}, $d$ = {d}" if len({d for _law, d in every}) > 1 else law


def _legend(key: _Key, every: Sequence[_Key]) -> str:
    """A setting in a legend: its group where there are several, and what tells it from others."""
    group, told = key
    groups = list(dict.fromkeys(group for group, _told in every))
    settings = len({told for one, told in every if one == group})
    if settings == 1 and not told:
        return _called(group, groups)
    told = in_math(told) or "all settings"
    return told if len(groups) == 1 else f"{_called(group, groups)}, {told}"


def in_math(told: str) -> str:
    """What tells a setting apart as the label of a figure: `$m$ = 32`, `$m$ = 4 $N$`."""
    letters = {SYMBOLS[axis]: MATH[axis] for axis in SYMBOLS} | {"T₀": "$T_0$"}
    named = rf"(?<![^ ])({'|'.join(letters)})(?= = )"
    shown = re.sub(named, lambda found: letters[found[1]], told.replace("$", r"\$"))
    return re.sub(r"(\$m\$ = (?:\S+ )?)N(?=,|$)", r"\1$N$", shown)


def _by_setting(own: dict[Group, list[Verdict]]) -> dict[_Key, list[Verdict]]:
    """The verdicts by what tells them from others of their row: settings that answer first, then
    the rest of each group."""
    found: dict[_Key, list[Verdict]] = {
        (g, told): [] for g, vs in own.items() for told in answers(vs)
    }
    for group, verdicts in own.items():
        for verdict in verdicts:
            key = (verdict.prediction, infinite(verdict))
            row = [v for v in verdicts if (v.prediction, infinite(v)) == key]
            told = setting_of(verdict, row, verdicts)
            found.setdefault((group, told), []).append(verdict)
    return {key: verdicts for key, verdicts in found.items() if verdicts}


def _exponents(own: dict[Group, list[Verdict]]) -> Plot:
    every = [v for vs in own.values() for v in vs]
    rows = list(dict.fromkeys((v.quantity, v.axis) for v in every))
    series = list(_targets(rows, every))
    found = _by_setting(own)
    last = max(len(found) - 1, 1)
    for place, (key, verdicts) in enumerate(found.items()):
        style = {"hue": place} if len(found) <= _HUES else {"hue": 0, "shade": place / last}
        label = _legend(key, list(found))
        for open_, role in ((False, "interval"), (True, "hollow_interval")):
            mine = [v for v in verdicts if infinite(v) is open_]
            if not mine:
                continue
            y = np.array([_height(v, rows, every) for v in mine])
            b, low, high = (
                np.array([getattr(v, name) for v in mine])
                for name in ("exponent", "ci_low", "ci_high")
            )
            series.append(Series(label, b, y, low, high, role=role, **style))  # type: ignore[arg-type]
            label = ""
            bent = [(v, at) for v, at in zip(mine, y, strict=True) if v.at_large is not None]
            ends = np.array([[v.at_large.low, v.at_large.high] for v, _ in bent if v.at_large])
            if len(ends):
                low, high = np.clip(ends.T, b.min() - 1, b.max() + 1)
                at = np.array([at for _, at in bent])
                series.append(Series("", (low + high) / 2, at, low, high, role="reach", **style))
    hollow = any(infinite(v) for v in every)
    return Plot(
        name=EXPONENTS,
        title="Every exponent against theory",
        caption="Exponents b of quantity ∝ axis^−b with their intervals (thin: at large values), "
        "strokes where theory puts them, tinted what it allows"
        + "; hollow, infinite width" * hollow
        + ".",
        panels=(
            Panel(
                "exponent $b$",
                "",
                tuple(series),
                x_log=False,
                y_log=False,
                rows=tuple(f"{_ROWS.get(q, NAMES.get(q, ('', '', q))[2])} in {VARIABLES.get(a, a)}"
                           for q, a in rows),
            ),
        ),
        topic=Topic.ANSWER,
    )  # fmt: skip


def _height(verdict: Verdict, rows: Sequence[tuple[str, str]], every: Sequence[Verdict]) -> float:
    """Its place on its row: those of one row stand below each other."""
    key = (verdict.quantity, verdict.axis)
    mine = list({id(v.curve): v for v in every if (v.quantity, v.axis) == key})
    step = 0.7 / max(len(mine), 1)
    return -rows.index(key) + step * ((len(mine) - 1) / 2 - mine.index(id(verdict.curve)))


def _targets(rows: Sequence[tuple[str, str]], every: Sequence[Verdict]) -> Iterator[Series]:
    """Where theory puts the exponents, and what it allows, once for each value of a row."""
    found = dict.fromkeys(
        (rows.index((v.quantity, v.axis)), v.said, v.kind, v.margin)
        for v in every
        if math.isfinite(v.theory_exponent)
    )
    label = "theory"
    for row, b, kind, margin in found:
        reach = margin * abs(b) if kind == Kind.SHARP else 0.0
        low = -math.inf if kind == Kind.QUALITATIVE else b - reach
        high = math.inf if kind == Kind.BOUND else b + reach
        ends = (np.array([low]), np.array([high]))
        yield Series(label, np.array([b]), np.array([-float(row)]), *ends, role="target")
        label = ""


def _headline(chosen: dict[_Key, Verdict]) -> Plot:
    few = len(chosen) <= _HUES
    same = len({v.dimension for v in chosen.values()}) == 1
    series: list[Series] = []
    ticks: set[float] = set()
    for hue, (key, verdict) in enumerate(chosen.items()):
        assert verdict.curve is not None
        kept = usable(verdict.curve)[0]
        if not len(kept.x):
            continue
        means = level_means(kept.x, kept.y, geometric=kept.geometric)
        ticks.update(means[0].tolist())
        label = _legend(key, list(chosen)) if len(chosen) > 1 else "mean over seeds"
        if few:
            series.append(Series(label, *means, role="points", hue=hue))
            fit = fitted(kept, verdict.fitted, "samples", hue)
            series += [replace(s, label="" if len(chosen) > 1 else s.label) for s in fit]
        else:  # fits and intervals would hide each other
            series.append(Series(label, *means[:2], shade=hue / (len(chosen) - 1)))
        line = theory_line(verdict, kept)
        first = not any(s.role == "theory" for s in series)
        if line is not None and (few or first):
            series.append(replace(line, label=line.label if first and same else ""))
    drawn = (
        "Means over seeds with 95 % intervals, their fit, and" if few else "Means over seeds and"
    )
    # of the primary verdicts, which a study without theory's bound has of another kind
    bounds = {v.kind == Kind.BOUND for v in chosen.values()}
    said = "bound, dashed, below which a curve falls faster" if bounds == {True} else "rate, dashed"
    return Plot(
        name=HEADLINE,
        title="Best-stopped score error",
        caption=f"{drawn} theory's {said}.",
        panels=(
            Panel(
                AXES["samples"], NAMES[Quantity.BEST_ERROR][1], tuple(series),
                ticks=tuple(sorted(ticks)),
            ),
        ),
        topic=Topic.ANSWER,
    )  # fmt: skip
