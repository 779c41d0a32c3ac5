"""The curves that a study will have, from its trials alone: what `analysis.verdicts.expected` is
told before anything trains; and the widths that make none, which its user is told of."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from analysis.data.curves.quantities import MINIMUM_VALUES
from analysis.data.curves.tied import tied
from analysis.data.sweeps import NOISE, usual_noise
from analysis.verdicts.expected import Planned
from study.spec.sections import StudySpec
from trainers.methods.custom import says_kernel_limit
from trainers.registry import facts_of
from trainers.trial import TrialConfig

AXES = ("samples", "width", "step_size")

_WIDTHS_SHOWN = 5
"""In a warning."""


def planned_curves(trials: Sequence[TrialConfig], audited: bool = False) -> list[Planned]:
    """The curves of these trials, each once: those of several laws, or at several values of what is
    held fixed, are the same where their levels and seeds are. Trials with other noise than theory
    assumes are asked the same, so they are left out where there are some without; those of laws
    whose f* is not known are asked nothing. audited: whether the study has the audit."""
    trials = [trial for trial in trials if trial.law.known]
    usual = [trial for trial in trials if usual_noise(_noise(trial))]
    trials = usual or trials
    seeds: dict[str, set[int]] = {}
    points: dict[str, TrialConfig] = {}
    for trial in trials:
        points.setdefault(trial.point_id, trial)
        seeds.setdefault(trial.point_id, set()).add(trial.seed)
    limits = {_data(p): len(seeds[i]) for i, p in points.items() if p.infinite}
    found: dict[Planned, None] = {}
    for axis in AXES:
        for members in _grouped(points.values(), axis):
            counts = [len(seeds[point.point_id]) for point in members]
            found.setdefault(_planned(axis, members, counts, limits, audited), None)
    return list(found)


def _grouped(points: Iterable[TrialConfig], axis: str) -> list[list[TrialConfig]]:
    """Points that differ along the axis only, two or more, in its order; along N those of networks
    that grow with it too. Networks first, the largest group first."""
    points = list(points)
    growing = _growing(points) if axis == "samples" else []
    asked = {point.point_id for own in growing for point in own}
    groups: dict[tuple[Any, ...], list[TrialConfig]] = {}
    for point in points:
        if not (axis == "width" and point.infinite):
            held = {"samples", "width", "step_size"} - {axis}
            key = (*_setting(point), *(getattr(point, name) for name in sorted(held)))
            groups.setdefault(key, []).append(point)
    # two ratios that meet at a width ask nothing of that width
    many = [g for g in groups.values() if len(g) > 1 and not _all(g, asked)]
    made = [sorted(g, key=lambda p: float(getattr(p, axis))) for g in (*many, *growing)]
    return sorted(made, key=lambda g: (g[0].infinite, g[0].dimension, -len(g)))


def _growing(points: Sequence[TrialConfig]) -> list[list[TrialConfig]]:
    """The points of each curve along N whose width grows with it."""
    numbers: dict[tuple[Any, ...], int] = {}
    keys = (_along_n(point) for point in points)
    setting = np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)
    sizes = np.array([[p.samples, p.width] for p in points], dtype=float).reshape(-1, 2)
    found = tied(sizes[:, 0], sizes[:, 1], setting, MINIMUM_VALUES)
    return [[points[i] for i in own] for _ratio, own in found]


def widths_without_a_curve(spec: StudySpec) -> list[str]:
    """A warning for each width that is a multiple of N, at MINIMUM_VALUES values of N or more, and
    makes no curve along N beside the study's other widths."""
    asked = spec.growing()
    if not asked:
        return []
    every = {point.point_id: point for point in spec.points() if not point.infinite}
    drawn = {point.point_id for own in _growing(list(every.values())) for point in own}
    at: dict[tuple[Any, ...], set[int]] = {}
    for point in every.values():
        at.setdefault((_along_n(point), point.width), set()).add(point.samples)
    found = []
    for width, points in asked.items():
        settings: dict[tuple[Any, ...], dict[int, TrialConfig]] = {}
        for point in points:
            settings.setdefault(_along_n(point), {})[point.samples] = point
        curves = [list(own.values()) for own in settings.values() if len(own) >= MINIMUM_VALUES]
        without = [own for own in curves if not _all(own, drawn)]
        widely = {
            int(point.width)
            for own in without
            for point in own
            if len(at[_along_n(point), point.width]) >= MINIMUM_VALUES
        }
        if without:
            partly = len(without) < len(curves)
            some = f" in {len(without)} of {len(curves)} settings" if partly else ""
            found.append(
                f"width = {width} makes no curve along N{some} beside these widths "
                f"({_listed(sorted(widely))} at {MINIMUM_VALUES} or more values of N, as a grid "
                "does): make it a study of its own, or give more values of samples"
            )
    return found


def _listed(widths: Sequence[int]) -> str:
    """`256, 512 and 1024 stand`."""
    names = [str(width) for width in widths]
    if len(names) > _WIDTHS_SHOWN:
        names = [*names[:_WIDTHS_SHOWN], f"{len(names) - _WIDTHS_SHOWN} more"]
    if len(names) == 1:
        return f"{names[0]} stands"
    return f"{', '.join(names[:-1])} and {names[-1]} stand"


def _along_n(point: TrialConfig) -> tuple[Any, ...]:
    """What a curve along N holds fixed, but for the width."""
    return (*_setting(point), point.step_size)


def _all(points: Iterable[TrialConfig], ids: set[str]) -> bool:
    return all(point.point_id in ids for point in points)


def _setting(point: TrialConfig) -> tuple[Any, ...]:
    """What a curve holds fixed beside N, m and eta. Steps of infinite width follow from N."""
    steps = None if point.infinite else point.steps
    network = (point.initialisation, point.precision, point.kernel, point.trainer_label, steps)
    noise = tuple(_noise(point).values())
    return (point.law_id, point.diffusion, point.bias, point.study_seed, *network, *noise)


def follows_descent(trainer: str) -> bool:
    """Whether kernel descent is the limit of a trainer, one of the user's own by what it says."""
    return says_kernel_limit(trainer) if ":" in trainer else facts_of(trainer).kernel_limit


def _noise(trial: TrialConfig) -> dict[str, Any]:
    return {name: getattr(trial, name) for name in NOISE}


def _data(point: TrialConfig) -> tuple[Any, ...]:
    """What a network shares with its limit."""
    setting = (point.law_id, point.diffusion, point.bias, point.study_seed)
    return (*setting, point.samples, point.step_size, *_noise(point).values())


def _planned(
    axis: str,
    members: Sequence[TrialConfig],
    counts: Sequence[int],
    limits: dict[tuple[Any, ...], int],
    audited: bool,
) -> Planned:
    first = members[0]
    follows = first.infinite or follows_descent(first.trainer)
    alone = axis != "samples" or first.infinite
    return Planned(
        axis,
        first.dimension,
        tuple(float(getattr(point, axis)) for point in members),
        tuple(float(point.samples) for point in members),
        tuple(counts),
        tuple(0 if alone else limits.get(_data(point), 0) for point in members),
        # a clock that tells nothing of other trainers
        tuple(math.ceil(p.steps * p.step_size) if follows else math.inf for p in members),
        first.infinite,
        first.kernel and follows,
        follows,
        audited and axis == "samples" and follows and usual_noise(_noise(first)),
        not first.infinite and len({point.width for point in members}) == 1,
        first.initialisation == "symmetric",
    )
