"""What runs are called: what tells them apart, in the first characters of a name.

MLflow's lists and legends show some twenty characters of a run's name, so that a name holds only
what varies in the study: d, N and the seed first, as `N256 s3 GM`, then the law where there are
several, `N64 s3 GM#6` (its seed after the #), and what departs from the study's usual value,
`N64 s3 GM m2048`. A law that is the only one stands last.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from analysis.data.sweeps import PER_SAMPLE
from study.spec.sections import StudySpec
from trainers.trial import TrialConfig

_LETTERS = {
    "dimension": "d", "samples": "N", "width": "m", "step_size": "η", "t_min": "T₀", "t_max": "T",
    "steps": "τ", "copies": "M",
}  # fmt: skip
"""Axes whose values are numbers; those of _WORDS say what they are."""

_ALWAYS = ("dimension", "samples")
"""Named wherever they vary: all else has a usual value, which goes without saying."""

_WORDS = (
    "trainer",
    "initialisation",
    "feature_bias",
    "schedule",
    "precision",
    "time_law",
    "weight",
)
_AXES = (*_LETTERS, *_WORDS)
_OF_THE_LIMIT = ("steps", "precision", "trainer")
"""What infinite width decides: m∞ says it all."""


@dataclass(frozen=True)
class Naming:
    """What varies in a study. usual: of each such axis the value that most points have, and that
    names leave out; an axis without one is always named. laws: law_id -> its short name."""

    varying: Collection[str] = ()
    usual: Mapping[str, Any] = field(default_factory=dict)
    laws: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, points: Iterable[TrialConfig], searched: Collection[str] = ()) -> Naming:
        """Of a study's points; `searched` are axes that a search chooses."""
        rows = [_columns(point) for point in points]
        networks = [row for row in rows if not math.isinf(row["width"])]
        varying, usual = set(searched), dict[str, Any]()
        for axis in _AXES:
            # Infinite width is never the usual one, and decides some of the rest.
            own = networks if networks and axis not in _ALWAYS else rows
            if len({row[axis] for row in (own if axis in _OF_THE_LIMIT else rows)}) > 1:
                varying.add(axis)
                if axis not in (*_ALWAYS, *searched):
                    for value in _most(row[axis] for row in own):
                        usual[axis] = value
        labels = {row["law_id"]: row["law_label"] for row in rows}
        kinds: dict[tuple[str, int], list[str]] = defaultdict(list)
        for row in rows:
            kinds[_kind(row["law_label"]), row["dimension"]].append(row["law_id"])
        plain = {law for ids in kinds.values() for law in _most(ids)}
        return cls(varying, usual, short_laws(labels, plain))

    @property
    def described(self) -> str:
        """What names leave out; empty where that is nothing."""
        if not self.usual:
            return ""
        values = " ".join(_text(axis, self.usual[axis]) for axis in _AXES if axis in self.usual)
        return f"Where the name of a run says nothing else: {values}."

    def trial(self, row: Mapping[str, Any]) -> str:
        """The name of a trial's run. row: the columns of the results table that a trial has
        once."""
        return self._name(row, [f"s{row['seed']}"])

    def point(self, row: Mapping[str, Any]) -> str:
        """The name of the run of a trial's point."""
        return self._name(row, [])

    def law(self, law_id: str, label: str) -> str:
        """A law in a few characters: `GM`, or `GM#6` with its seed beside others of its kind."""
        return self.laws.get(law_id) or short_laws({law_id: label})[law_id]

    def _name(self, row: Mapping[str, Any], seed: list[str]) -> str:
        first = [_text(axis, row[axis]) for axis in _ALWAYS if axis in self.varying]
        limit = math.isinf(float(row["width"]))
        rest = [
            _text(axis, row[axis])
            for axis in _AXES
            if axis in self.varying
            and axis not in _ALWAYS
            and not (limit and axis in _OF_THE_LIMIT)
            and not _equal(row[axis], self.usual.get(axis))
        ]
        law = [self.law(str(row["law_id"]), str(row["law_label"]))]
        last = [*law, *rest] if len(set(self.laws.values())) > 1 else [*rest, *law]
        return " ".join([*first, *seed, *last])


def naming_of(spec: StudySpec) -> Naming:
    """How the runs of a study are named."""
    if spec.search is None:
        return Naming.of(spec.points())
    spaces = spec.search.space
    choices: dict[str, set[Any]] = {
        "initialisation": {value for space in spaces for value in space.initialisation},
        "feature_bias": {value for space in spaces for value in space.bias},
        "trainer": {value for space in spaces for value in space.trainer},
    }
    searched = {"width", "step_size", *(name for name in choices if len(choices[name]) > 1)}
    return Naming.of(spec.search_points(), searched)


def _most(values: Iterable[Any]) -> list[Any]:
    """The value that is there most often; none where two are."""
    counted = Counter(values).most_common(2)
    tie = len(counted) > 1 and counted[0][1] == counted[1][1]
    return [] if tie or not counted else [counted[0][0]]


def _kind(label: str) -> str:
    return re.split(r"[\[(]", label)[0]


def short_laws(labels: Mapping[str, str], plain: Collection[str] = ()) -> dict[str, str]:
    """law_id -> a few characters that tell it from the others. labels: law_id -> its label, such as
    `gaussian_mixture[components=8,seed=5]`. plain: the laws that are named by their kind alone."""
    parsed = {law_id: law_parameters(label) for law_id, label in labels.items()}
    kinds = {law_id: _kind(label) for law_id, label in labels.items()}
    alike = defaultdict(list)
    for law_id, kind in kinds.items():
        alike[kind].append(parsed[law_id])
    short = {}
    for law_id, kind in kinds.items():
        mine = parsed[law_id]
        told = [k for k in mine if any(other.get(k) != mine[k] for other in alike[kind])]
        told = [] if law_id in plain else told
        words = kind.split("_")
        initials = "".join(word[:1].upper() for word in words) if len(words) > 1 else kind
        seed = f"#{mine['seed']}" if "seed" in told else ""
        short[law_id] = " ".join([initials + seed, *(f"{k}{mine[k]}" for k in told if k != "seed")])
    of_name = defaultdict(set)
    for law_id, name in short.items():
        of_name[name].add(labels[law_id])
    return {
        law_id: name if len(of_name[name]) == 1 else f"{name} {law_id[:4]}"
        for law_id, name in short.items()
    }


def law_parameters(label: str) -> dict[str, str]:
    """The parameters that a law's label tells: `{"components": "8", "seed": "5"}`."""
    return dict(re.findall(r"(?<=[\[,])([A-Za-z]\w*)=([^,\[\]]*)", label))


def _columns(point: TrialConfig) -> dict[str, Any]:
    """The columns of the results table that names are made of."""
    return {
        "law_id": point.law_id,
        "law_label": point.law.label,
        "dimension": point.dimension,
        "samples": point.samples,
        "width": float(point.width),
        "step_size": point.step_size,
        "steps": point.steps,
        "t_min": point.diffusion.t_min,
        "t_max": point.diffusion.t_max,
        "schedule": point.diffusion.schedule,
        "copies": 0 if point.fresh else point.copies,
        "time_law": point.time_law,
        "weight": point.weight,
        "initialisation": point.initialisation,
        "feature_bias": point.bias,
        "precision": point.precision,
        "trainer": point.trainer,
    }


def _text(axis: str, value: Any) -> str:
    if axis == "copies" and not value:
        return "fresh"
    if axis in _LETTERS:
        number = float(value)
        if math.isinf(number):
            return f"{_LETTERS[axis]}∞"
        whole = number.is_integer()
        return f"{_LETTERS[axis]}{number:.0f}" if whole else f"{_LETTERS[axis]}{number:.3g}"
    if axis == "feature_bias":
        return "bias" if value in (True, "True", np.True_) else "no bias"
    text = str(value).partition("@")[0]
    return text.rpartition(":")[2]


def _equal(value: Any, usual: Any) -> bool:
    if usual is None:
        return False
    if isinstance(usual, bool | str):
        return str(value) == str(usual)
    return float(value) == float(usual)


def beside_axis(axis: str, fixed: Mapping[str, Any]) -> str:
    """The other one of N and m of a curve: `m1024`, `m∞`, `m4N` where m grows with N, `N512`."""
    if PER_SAMPLE in fixed:
        return f"m{as_written(fixed)['width']}"
    name = "width" if axis == "samples" else "samples"
    return f"{_LETTERS[name]}{fixed[name]:g}".replace("inf", "∞")


def as_written(fixed: Mapping[str, Any]) -> dict[str, Any]:
    """What a curve holds fixed, a width that grows with N as a study has it: `4N`."""
    own = dict(fixed)
    if (ratio := own.pop(PER_SAMPLE, None)) is not None:
        own["width"] = "N" if ratio == 1 else f"{ratio:g}N"
    return own
