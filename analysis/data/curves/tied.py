"""Curves along N of networks whose width grows with N: m = r N at one ratio r.

Theory speaks of such networks. At a fixed width the error comes to a floor as N grows, so that the
rate ends there, whatever it is. A grid over N and m has trials of one ratio too, its diagonals,
which nobody asked for: see `tied`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.data.sweeps import PER_SAMPLE
from analysis.levels.intervals import Array

Tied = tuple[float, NDArray[np.int64]]
"""m/N, and the positions of the trials that have it."""


def tied(samples: Array, width: Array, setting: NDArray[np.int64], least: int) -> list[Tied]:
    """The curves along N of one m/N, by setting and m/N: all its trials, at `least` N or more.
    samples, width, setting [n]: of a trial N, m and a number for all else but the seed.

    A ratio makes a curve where `least` of its widths or more stand at fewer than `least` values of
    N, so that no curve at a fixed width holds them; or where it has more values of N than any of
    its widths, or two more than most of them (the median), as each of N, 2N and 4N has, which share
    widths; or where two of its widths or more stand at no other N, and it has every N that its
    widths have, as 4N has beside a few fixed widths. The diagonal of a grid has none of it: a
    grid's widths all stand at every N of it, and lines beyond it end in no steps of one ratio.
    """
    networks = np.flatnonzero(np.isfinite(width))
    rows = pd.DataFrame({"s": setting[networks], "n": samples[networks], "m": width[networks]})
    rows["ratio"] = rows["m"] / rows["n"]  # rounded correctly: equal where the fractions are
    rows["widely"] = rows.groupby(["s", "m"])["n"].transform("nunique")
    levels = rows.drop_duplicates(["s", "ratio", "n"])
    told = levels.assign(alone=levels["widely"] < least, once=levels["widely"] == 1)
    seen = told.groupby(["s", "ratio"]).agg(
        alone=("alone", "sum"),
        once=("once", "sum"),
        most=("widely", "max"),
        mid=("widely", "median"),
        count=("n", "size"),
    )
    longer = (seen["count"] > seen["most"]) | (seen["count"] >= seen["mid"] + 2)
    asked = (seen["alone"] >= least) | longer
    beside = _values_beside(levels, seen[~asked & (seen["once"] >= 2)])
    asked |= beside.reindex(seen.index) == seen["count"]
    own = rows.groupby(["s", "ratio"], sort=True).indices
    keys = seen.index[(asked & (seen["count"] >= least)).to_numpy()]
    return [(float(ratio), networks[own[s, ratio]]) for s, ratio in keys]


def _values_beside(levels: pd.DataFrame, ratios: pd.DataFrame) -> pd.Series[int]:
    """At how many N the widths of each of `ratios` stand, all of them together."""
    own = levels[["s", "ratio", "m"]].merge(ratios.index.to_frame(index=False), on=["s", "ratio"])
    beside = own.merge(levels[["s", "m", "n"]], on=["s", "m"])
    return beside.groupby(["s", "ratio"])["n"].nunique()


def tied_groups(
    rows: pd.DataFrame, setting: Sequence[str], least: int
) -> tuple[list[Tied], NDArray[np.bool_]]:
    """`tied` of the trials `rows` [n], which agree in all of `setting` but N and m; and of which
    trials no curve along N at their width is made [n], as those of ratios hold all of that width: a
    width at which ratios meet, as N and 2N do, is no width that anybody chose."""
    met = np.zeros(len(rows), dtype=bool)
    if not len(rows):
        return [], met
    held = [name for name in setting if name not in ("samples", "width") and name in rows]
    group = rows.groupby(held, dropna=False, sort=True).ngroup().to_numpy().astype(np.int64)
    samples, width = (rows[name].to_numpy(dtype=float) for name in ("samples", "width"))
    found = tied(samples, width, group, least)
    for _ratio, where in found:
        met[where] = True
    return found, pd.Series(met).groupby([group, width]).transform("all").to_numpy(dtype=bool)


def in_place(fixed: Mapping[str, Any], ratio: float | None) -> dict[str, Any]:
    """What a curve holds fixed, with m/N in the place of m; as it is where there is no ratio."""
    if ratio is None:
        return dict(fixed)
    return {
        PER_SAMPLE if name == "width" else name: ratio if name == "width" else value
        for name, value in fixed.items()
    }
