"""The curves that a study will have are those that its table then holds."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from analysis.data.curves.quantities import CONFIGURATION, curves
from analysis.data.curves.quantity import Quantity
from analysis.data.schema import table_from
from study.planning.asked import planned_curves
from study.spec.sections import StudySpec
from trainers.trial import Trajectory, TrialConfig

SPEC = """
name: asked
law:
  - {kind: gaussian_mixture, dimension: 2, components: 3, std: 0.1, seed: 1}
  - {kind: atoms, dimension: 2, count: 4, seed: 1}
steps: 100
seeds: SEEDS
base: {samples: 128, width: 64, step_size: 2.0}
sweeps:
  - samples: [64, 128, 256]
  - width: [32, 64, 128]
  - step_size: [1.0, 2.0]
"""


def test_a_curve_an_axis_whatever_the_laws() -> None:
    made = planned_curves(StudySpec.from_text(SPEC.replace("SEEDS", "4")).trials())
    assert [c.axis for c in made] == ["samples", "width", "step_size"]
    along = made[0]
    assert along.levels == along.samples == (64.0, 128.0, 256.0)
    assert (along.seeds, along.limits) == ((4, 4, 4), (0, 0, 0))
    assert along.times == (200, 200, 200)
    assert along.dimension == 2
    assert made[1].samples == (128.0,) * 3
    assert made[2].times == (100, 200)


def test_the_limit_stands_beside_the_networks_and_for_itself() -> None:
    spec = SPEC.replace("SEEDS", "{network: 3, kernel: 16}")
    made = planned_curves(StudySpec.from_text(spec).trials())
    along = next(c for c in made if c.axis == "samples" and not c.infinite)
    assert (along.seeds, along.limits) == ((3, 3, 3), (16, 16, 16))
    limit = next(c for c in made if c.axis == "samples" and c.infinite)
    assert (limit.seeds, limit.limits) == ((16, 16, 16), (0, 0, 0))
    assert min(limit.times) >= 9_999
    across = next(c for c in made if c.axis == "width")
    assert math.inf not in across.levels
    assert across.limits == (0, 0, 0)


@pytest.mark.parametrize("seeds", ["2", "{network: 2, kernel: 5}"])
def test_levels_and_seeds_are_those_of_the_tables_groups(seeds: str) -> None:
    """An independent route: the groups of a table of these trials, by its own columns."""
    trials = StudySpec.from_text(SPEC.replace("SEEDS", seeds)).trials()
    rows = pd.DataFrame(
        {
            "samples": t.samples, "width": float(t.width), "step_size": t.step_size,
            "law_id": t.law_id, "seed": t.seed, "limit": t.infinite,
        }
        for t in trials
    )  # fmt: skip
    made = {(c.axis, c.infinite, c.levels, c.seeds) for c in planned_curves(trials)}
    expected = set()
    for axis in ("samples", "width", "step_size"):
        assert axis in CONFIGURATION
        held = [n for n in ("samples", "width", "step_size", "law_id", "limit") if n != axis]
        for _, group in rows.groupby(held):
            count = group.groupby(axis)["seed"].nunique()
            if len(count) > 1 and np.isfinite(count.index).all():
                levels = tuple(count.index.astype(float))
                expected.add((axis, bool(group["limit"].iloc[0]), levels, tuple(count)))
    assert made == expected


def test_networks_that_grow_have_a_curve_as_the_table_has() -> None:
    """An independent route: the curves of a table of these trials."""
    text = SPEC.replace("SEEDS", "{network: 2, kernel: 5}").split("base:")[0]
    text += "base: {samples: [64, 128, 256, 512], width: [N, 2N, 4N], step_size: 1.0}\n"
    trials = StudySpec.from_text(text).trials()
    made = [c for c in planned_curves(trials) if c.axis == "samples" and not c.infinite]
    rows = table_from([_done(trial) for trial in trials], "asked").to_pandas()
    found = {
        (tuple(np.unique(c.x)), tuple(np.unique(c.x, return_counts=True)[1]))
        for c in curves(rows)
        if (c.quantity, c.axis) == (Quantity.BEST_ERROR, "samples")
        if c.fixed.get("width") != math.inf
    }
    assert {(c.levels, c.seeds) for c in made} == found
    four = (64.0, 128.0, 256.0, 512.0)
    assert [c.levels for c in made].count(four) == 1  # all three, which are told alike
    assert next(c for c in made if c.levels == four).limits == (5,) * 4


def test_widths_at_which_two_ratios_meet_are_asked_nothing() -> None:
    text = SPEC.replace("SEEDS", "2").split("base:")[0]
    text += "base: {samples: [64, 128, 256], width: [2N, 4N], step_size: 1.0}\n"
    made = planned_curves(StudySpec.from_text(text).trials())
    assert [(c.axis, c.levels) for c in made if c.axis == "samples"] == [
        ("samples", (64.0, 128.0, 256.0))
    ]


def _done(trial: TrialConfig) -> Trajectory:
    return Trajectory(trial, [0, 9, 20], series={"score_error": [1.0, 0.1, 0.2]})
