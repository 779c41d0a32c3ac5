"""Which rows of the results table a figure is made of, and their summaries over seeds.

A **setting** is all that a rate may not mix: law, dimension, diffusion, network's kind, number of
steps. Within one, a **sweep** along N, m or eta holds the other two fixed.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from analysis.data.table import Table
from analysis.levels.intervals import Array, student, summarise
from trainers.laws import LAWS
from trainers.registry import DESCENT, TRAINERS
from trainers.trial import UNSAID

SYMBOLS = {"samples": "N", "width": "m", "step_size": "η"}
PLAIN = {**SYMBOLS, "inverse_t_min": "1/T₀", "norm": "R_H", "index": "i"}
"""The axes of curves in running text."""
PER_SAMPLE = "width_per_sample"
"""m/N, which a curve along N holds fixed in place of m where its networks grow with N."""
IN_ORDER = (PER_SAMPLE, *SYMBOLS, "t_min")
"""What verdicts are ordered by: networks of one width before those that grow with N."""
MATH = {"samples": "$N$", "width": "$m$", "step_size": r"$\eta$"}
NOISE = ("copies", "time_law", "weight")
"""The noise that training adds to the clean points, and how its loss weighs it."""

DIFFUSION = ("t_min", "t_max", "schedule", "g_min", "g_max")
"""All of the forward process; g_min and g_max are missing in tables of earlier versions."""

SETTING = [
    "law_id", "dimension", "initialisation", "feature_bias", *DIFFUSION,
    "precision", "steps", "trainer", *NOISE,
]  # fmt: skip
_NAMES = {
    "initialisation": "initialisation", "feature_bias": "bias feature", "t_min": "T₀",
    "t_max": "T", "schedule": "schedule", "g_min": "g(0)", "g_max": "g(T)",
    "precision": "precision", "steps": "steps", "trainer": "trainer", "copies": "noise copies",
    "time_law": "times", "weight": "loss weight",
}  # fmt: skip
_NOISE_WORDS = {"time_law": "times", "weight": "weight"}
_OF_THE_LIMIT = ("precision", "steps", "trainer")
"""What infinite width decides: trials of that width are a setting of their own."""


_OF_A_FILE = re.compile(r"(atoms|table)\[file=(.*),data=[0-9a-f]{8},count=(\d+).*\]$")
"""Label of a law whose rows come from a data file: kind, file, rows."""

MINIMUM_DRAWS = 3
"""Draws of a law, which differ in its seed alone, that a verdict over draws takes."""

AUDIT_KEYS = ["law_id", *DIFFUSION, "feature_bias"]
"""What the audit of a setting depends on: settings with equal values share it."""


@dataclass(frozen=True, eq=False)
class Setting:
    """Completed trials that differ in N, m, eta and seed only. `stem` is fit for a file name.
    Settings that share an audit show it once: in the others `audited_in` is the label of that
    one."""

    label: str
    stem: str
    law: str
    law_id: str
    dimension: int
    frame: Table
    audited_in: str = ""

    @property
    def known(self) -> bool:
        """Whether f* of its law is known, and with it the score error."""
        kind = LAWS.get(str(self.frame.trials["law"].iloc[0]))
        return kind is None or kind.known

    @property
    def infinite(self) -> bool:
        """Whether its trials are of the kernel limit."""
        return bool(np.isinf(self.frame.trials["width"].iloc[0]))

    @property
    def follows_kernel(self) -> bool:
        """Whether kernel descent is the limit of what its trials are trained by."""
        return bool(follows_kernel(self.frame.trials).any())


@dataclass(frozen=True, eq=False)
class Sweep:
    """Trials along one axis, the rest held at `fixed` (axis -> value)."""

    axis: str
    levels: tuple[float, ...]
    fixed: dict[str, float]
    frame: Table

    @property
    def held(self) -> str:
        """The fixed values in words: `m = 4096, η = 1`."""
        return held(self.fixed)

    def each(self) -> Iterator[tuple[float, float, Table]]:
        """(level, its place from 0 to 1, its trials)."""
        last = max(len(self.levels) - 1, 1)
        for place, level in enumerate(self.levels):
            yield level, place / last, self.frame.only(self.frame.trials[self.axis] == level)


def usual_noise(fixed: Mapping[str, Any]) -> bool:
    """Whether training had one copy of each point, uniform times and weight 1, as theory assumes;
    tables from before the choice say nothing of it."""
    return all(fixed.get(name, UNSAID[name]) == UNSAID[name] for name in NOISE)


def noise_label(fixed: Mapping[str, Any]) -> str:
    """The noise of training in words: `16 copies, times log_snr, weight eps`; `one copy, uniform
    times, weight 1` for the usual one."""
    if usual_noise(fixed):
        return "one copy, uniform times, weight 1"
    told = [name for name in NOISE if fixed.get(name, UNSAID[name]) != UNSAID[name]]
    return ", ".join(_noise_word(name, fixed) for name in told)


def _noise_word(name: str, fixed: Mapping[str, Any]) -> str:
    """One part of the noise in words, empty for a name that is none."""
    if name == "copies":
        copies = fixed[name]
        return {0: "fresh noise", 1: "one copy"}.get(copies, f"{copies} copies")
    return f"{_NOISE_WORDS[name]} {fixed[name]}" if name in _NOISE_WORDS else ""


def apart(fixed: Mapping[str, Any], every: Sequence[Mapping[str, Any]]) -> str:
    """What tells the trials held at `fixed` from those of `every`, N, m and eta apart, in words:
    `16 copies, T₀ = 0.01`; empty where nothing does."""
    told = []
    for name in _NAMES:
        limit = name in _OF_THE_LIMIT
        if name not in fixed or (limit and fixed.get("width") == np.inf):
            continue
        others = [one for one in every if not (limit and one.get("width") == np.inf)]
        if len({str(one[name]) for one in others if name in one}) > 1:
            shown = _shown(name, fixed[name], [one[name] for one in others if name in one])
            told.append(_noise_word(name, fixed) or f"{_NAMES[name]} = {shown}")
    return ", ".join(told)


def told_apart(fixed: Mapping[str, Any], every: Sequence[Mapping[str, Any]]) -> str:
    """What tells the trials held at `fixed` from those of `every`, N, m and eta among it, in words:
    `m = 32, trainer = adam`; empty where nothing does."""
    axes = {
        name: value
        for name, value in sizes(fixed).items()
        if len({_size(one, name) for one in every} - {(None, None)}) > 1
    }
    return ", ".join(filter(None, (held(axes), apart(fixed, every))))


def sizes(fixed: Mapping[str, Any]) -> dict[str, Any]:
    """What is held fixed of N, m and eta; m/N in place of m where networks grow with N."""
    names = ("samples", "width", PER_SAMPLE, "step_size")
    return {name: fixed[name] for name in names if name in fixed}


def _size(fixed: Mapping[str, Any], name: str) -> tuple[Any, Any]:
    """What is held fixed of an axis; a width and a ratio are two values of one."""
    if name in ("width", PER_SAMPLE):
        return fixed.get("width"), fixed.get(PER_SAMPLE)
    return fixed.get(name), None


def held(fixed: Mapping[str, float]) -> str:
    """Fixed axes in words: `m = 4096, η = 1`; `m = 4 N` where m/N is fixed."""
    return ", ".join(_in_words(name, value) for name, value in fixed.items())


def _in_words(name: str, value: float) -> str:
    if name == PER_SAMPLE:
        return "m = N" if value == 1 else f"m = {value:g} N"
    return f"{SYMBOLS.get(name, name)} = {'∞' if value == np.inf else f'{value:g}'}"


def law_names(frame: pd.DataFrame | Table) -> dict[str, str]:
    """law_id -> the law's kind, or its data file, with its parameters where the table holds several
    of that kind and dimension. Of the draws of a law, the one that stands for all is named as the
    law is, without a seed."""
    rows = frame.trials if isinstance(frame, Table) else frame
    laws = rows.drop_duplicates("law_id")
    labels = laws["law_label"].astype(str)
    alone = labels.map(data_file)
    alone = alone.where(alone != "", laws["law"].astype(str))
    names = labels.where(laws.duplicated(["law", "dimension"], keep=False), alone)
    named = dict(zip(laws["law_id"].astype(str), names, strict=True))
    draws = _families(rows)
    for _, own in laws.groupby(["law", "dimension"]):
        whole = families(own["law_label"].astype(str))
        kinds = {draws[law][0] if law in draws else law for law in own["law_id"].astype(str)}
        for law_id, label, kind in zip(
            own["law_id"].astype(str), own["law_label"], own["law"], strict=True
        ):
            if law_id in draws and draws[law_id][0] == law_id:
                named[law_id] = str(kind) if len(kinds) == 1 else whole[str(label)]
    return named


def data_file(label: str) -> str:
    """The name of the data file that a law's rows come from, by its label; empty where they come
    from none, or the label does not say."""
    found = _OF_A_FILE.match(label)
    return found[2] if found else ""


def rows_of(label: str) -> str:
    """What a law is uniform on, by its label: `the 800 rows of points.csv`; empty where that is not
    the rows of a file."""
    found = _OF_A_FILE.match(label)
    return f"the {found[3]} rows of {found[2]}" if found and found[1] == "atoms" else ""


def standardised(label: str) -> bool:
    """Whether a law's rows come from a file whose columns were standardised, by its label."""
    told = any(key in label for key in (",numeric=", ",standardise=false"))
    return bool(data_file(label)) and not told


def family(label: str) -> str | None:
    """The label of a law without the seeds that its centres, atoms or subspace were drawn from;
    None where it was not drawn."""
    seeds = _SEED.findall(label)
    return _without_seeds(label, range(len(seeds))) if seeds else None


_SEED = re.compile(r"(?<=[\[,])seed=(\d+)(?:,|(?=\]))")


def _without_seeds(label: str, which: Collection[int]) -> str:
    """The label without some of its seeds, by their places in it."""
    places = itertools.count()
    bare = _SEED.sub(lambda found: "" if next(places) in which else found[0], label)
    return bare.replace(",]", "]").replace("[]", "")


def families(labels: Iterable[str]) -> dict[str, str]:
    """The labels of laws of one dimension that were drawn -> that of their family, whose laws are
    independent draws of one. Of a law within a law, each with a seed, two that share one seed and
    not the other are not independent: there only laws that differ in one seed alone are draws of
    one, the seed that takes the most values."""
    alike: dict[str, set[str]] = {}
    for label in labels:
        if (bare := family(label)) is not None:
            alike.setdefault(bare, set()).add(label)
    found: dict[str, str] = {}
    for bare, own in alike.items():
        taken = [set(seeds) for seeds in zip(*map(_SEED.findall, own), strict=True)]
        crossed = any(1 < len(values) < len(own) for values in taken)
        most = max(range(len(taken)), key=lambda place: len(taken[place]))
        found |= {label: _without_seeds(label, [most]) if crossed else bare for label in own}
    return found


def follows_kernel(trials: pd.DataFrame) -> pd.Series[bool]:
    """Of each trial, whether kernel descent is what its trainer comes to at large width: what an
    audit of the kernel says something of. Of a trainer of the user's own, where it was measured."""
    trainer = trials["trainer"].astype("string").fillna(DESCENT)
    known = trainer.map(lambda name: name in TRAINERS and TRAINERS[name].kernel_limit).astype(bool)
    measured = "largest_step_size" in trials and trials["largest_step_size"].notna()
    return known | np.isinf(trials["width"].astype(float)) | measured


def descending(trials: pd.DataFrame) -> frozenset[str]:
    """The names of the trainers of networks that `follows_kernel`."""
    networks = trials[follows_kernel(trials) & np.isfinite(trials["width"].astype(float))]
    return frozenset(networks["trainer"].astype("string").fillna(DESCENT))


def _families(rows: pd.DataFrame) -> dict[str, list[str]]:
    """law_id -> the law_ids of its draws, itself included, the one with the most trials first;
    where there are MINIMUM_DRAWS or more."""
    laws = rows.assign(trials=rows.groupby("law_id")["law_id"].transform("size"))
    laws = laws.drop_duplicates("law_id")
    laws = laws.sort_values(["trials", "law_label"], ascending=[False, True], kind="stable")
    members: dict[tuple[str, object], list[str]] = {}
    for d, own in laws.groupby("dimension"):
        labels = own["law_label"].astype(str)
        names = families(labels)
        for law_id, label in zip(own["law_id"], labels, strict=True):
            if label in names:
                members.setdefault((names[label], d), []).append(str(law_id))
    many = [draws for draws in members.values() if len(draws) >= MINIMUM_DRAWS]
    return {law_id: own for own in many for law_id in own}


def settings(frame: pd.DataFrame | Table) -> list[Setting]:
    """The settings of a table, completed trials only, by law and dimension. Of many draws of a law
    the one with the most trials stands for all."""
    table = Table.of(frame)
    names = law_names(table)
    table = table.only(table.trials["status"] == "completed")
    draws = _families(table.trials)
    known = table.trials["law_id"].astype(str)
    table = table.only(known.map(lambda law: draws.get(law, [law])[0]) == known)
    done = table.trials
    networks = done[np.isfinite(done["width"].to_numpy(dtype=float))]
    rows_that_vary = networks if len(networks) else done
    varying = [name for name in _NAMES if rows_that_vary[name].nunique(dropna=False) > 1]
    found = []
    for place, (_, rows) in enumerate(done.groupby(SETTING, dropna=False, sort=True)):
        first = rows.iloc[0]
        law, d, law_id = str(first["law"]), int(first["dimension"]), str(first["law_id"])
        limit = bool(np.isinf(first["width"]))
        extra = "".join(
            f", {_NAMES[v]} = {_shown(v, first[v], done[v].unique())}"
            for v in varying
            if not (limit and v in _OF_THE_LIMIT)
        )
        extra = ", infinite width" + extra if limit else extra
        # A table may come from anybody: no text of its leads out of the folder.
        safe = re.sub(r"[^A-Za-z0-9_-]+", "_", law)[:60]
        numbered = bool(varying) or names[law_id] != law or safe != law
        stem = f"{safe}_d{d}_{place}" if numbered else f"{safe}_d{d}"
        stem += "_infinite_width" if limit else ""
        one_of = f", one of {len(draws[law_id])} draws" if law_id in draws else ""
        label = f"{names[law_id]}, d = {d}{extra}{one_of}"
        found.append(Setting(label, stem, law, law_id, d, table.take(rows.index.to_numpy())))
    found.sort(key=lambda s: (s.law, s.dimension, s.stem))
    return [replace(s, audited_in=_audited_in(s, found)) for s in found]


def _shown(name: str, value: object, every: Iterable[object]) -> str:
    """A value in words; a trainer of the user's own with its version where `every` has several."""
    if name == "copies" and value == 0:
        return "fresh"
    if name == "trainer":
        short = str(value).partition("@")[0]
        alike = {str(other) for other in every if str(other).partition("@")[0] == short}
        return short if len(alike) < 2 else str(value)
    return str(value)


def _audited_in(setting: Setting, all_settings: Sequence[Setting]) -> str:
    """The label of the setting that shows the audit of this one, empty where it does so itself: of
    those that share it the one with the most values of N, a network's before that of the limit."""

    def rank(one: Setting) -> tuple[bool, int, int]:
        rows = one.frame.trials
        return bool(np.isfinite(rows["width"].iloc[0])), rows["samples"].nunique(), len(rows)

    key = setting.frame.trials.iloc[0][AUDIT_KEYS]
    sharing = [s for s in all_settings if s.frame.trials.iloc[0][AUDIT_KEYS].equals(key)]
    home = max(sharing, key=rank)
    return "" if home is setting else home.label


def sweep(frame: pd.DataFrame | Table, axis: str) -> Sweep | None:
    """The sweep along `axis` with the most levels (then the largest m, N, eta); None where no two
    trials differ in `axis` alone."""
    others = [name for name in ("width", "samples", "step_size") if name != axis]
    table = Table.of(frame)
    trials = table.trials
    best: tuple[int, tuple[float, ...]] | None = None
    for key, rows in trials.groupby(others):
        rank = (rows[axis].nunique(), tuple(map(float, np.asarray(key))))
        best = rank if best is None or rank > best else best
    if best is None or best[0] < 2:
        return None
    fixed = dict(zip(others, best[1], strict=True))
    along = table.only((trials[list(fixed)] == list(fixed.values())).all(axis=1))
    return Sweep(axis, tuple(sorted(map(float, along.trials[axis].unique()))), fixed, along)


def has(frame: pd.DataFrame | Table, *columns: str) -> bool:
    """Whether every one of `columns` is there with at least one value."""
    return all(c in frame and bool(frame[[c]][c].notna().any()) for c in columns)


def quartiles(
    rows: pd.DataFrame | Table, column: str, by: str = "step"
) -> tuple[Array, Array, Array, Array]:
    """Over seeds, at each value of `by`: its values, then median, lower and upper quartile of
    `column`, each [n]."""
    grouped = rows[[by, column]].dropna(subset=[column]).groupby(by)[column]
    x = np.array(list(grouped.groups), dtype=float)
    median, low, high = (grouped.quantile(q).to_numpy(dtype=float) for q in (0.5, 0.25, 0.75))
    return x, median, low, high


def level_means(
    x: Array, y: Array, level: float = 0.95, geometric: bool = False
) -> tuple[Array, Array, Array, Array]:
    """Distinct x, the mean of y over seeds there (geometric where said), and the two-sided Student
    interval of that mean at `level`, made on its log by the jackknife as in `intervals` (NaN where
    a level has a single seed); y > 0."""
    means = summarise(x, y, None, geometric=geometric)
    ends = np.full((2, len(means.x)), np.nan)
    for i in np.flatnonzero(means.count > 1):
        half = student(level, means.count[i] - 1) * np.sqrt(means.variance[i])
        ends[:, i] = np.exp(means.log_mean[i] + np.array([-half, half]))
    return means.x, means.mean, ends[0], ends[1]


def mean_with_ends(values: Array, geometric: bool = False) -> tuple[float, float, float]:
    """Of one level [n] its mean and the ends of its interval, as `level_means` makes them; NaN
    where there is no value, or one that is not positive."""
    if not len(values) or values.min() <= 0:
        return (np.nan,) * 3
    _, (mean,), (low,), (high,) = level_means(np.zeros(len(values)), values, geometric=geometric)
    return float(mean), float(low), float(high)


def at_best(frame: pd.DataFrame | Table, *columns: str, least: str = "score_error") -> pd.DataFrame:
    """trial_id, `least` and `columns` of each trial, by trial_id, at the recorded step with the
    smallest `least` (oracle stopping, no interpolation between recorded steps)."""
    rows = Table.of(frame)[list(dict.fromkeys(["trial_id", least, *columns]))]
    known = rows[["trial_id", least]].dropna()
    return rows.loc[known.groupby("trial_id")[least].idxmin()]


def at_end(frame: pd.DataFrame | Table, *columns: str) -> pd.DataFrame:
    """trial_id and `columns` of each trial, by trial_id, at its last recorded step: no stopping."""
    table = Table.of(frame)
    last = Table(table.trials, table.starts + table.counts - 1, table.counts * 0 + 1, table.source)
    return last[["trial_id", *columns]].sort_values("trial_id", ignore_index=True)
