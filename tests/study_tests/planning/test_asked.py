"""The curves that a study will have are those that its table then holds."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.data.curves.quantities import CONFIGURATION, curves
from analysis.data.curves.quantity import Quantity
from analysis.data.schema import table_from
from study.cli import main
from study.planning.asked import planned_curves, widths_without_a_curve
from study.running.session import Session
from study.spec.sections import StudySpec
from study.storage.store import StoreError
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


def test_the_spectrum_is_known_of_curves_along_n_that_follow_the_kernel() -> None:
    """And of networks of one width, which bends a curve too."""
    text = SPEC.replace("SEEDS", "2").replace(
        "[64, 128, 256]\n",
        "[64, 128, 256]\n  - {samples: "
        "[64, 128, 256], width: .inf}\n  - {samples: [64, 128, 256, 512], width: 3N}\n",
        1,
    )
    spec = StudySpec.from_text(text)
    made = planned_curves(spec.trials(), audited=True)
    found = {
        (len(c.levels), c.infinite): (c.audited, c.one_width) for c in made if c.axis == "samples"
    }
    assert found == {(3, False): (True, True), (3, True): (True, False), (4, False): (True, False)}
    assert not any(c.audited for c in made if c.axis != "samples")
    assert not any(c.audited for c in planned_curves(spec.trials()))
    noisy = StudySpec.from_text(text.replace("base: {", "base: {copies: 2, "))
    assert not any(c.audited for c in planned_curves(noisy.trials(), audited=True))
    other = StudySpec.from_text(
        SPEC.replace("SEEDS", "2").replace("base: {", "base: {trainer: adam, ")
    )
    assert not any(c.audited for c in planned_curves(other.trials(), audited=True))


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


GROWING = """
name: asked
law: {kind: gaussian_mixture, dimension: 2, components: 3, std: 0.1, seed: 1}
steps: 100
base: {samples: [64, 128, 256, 512, 1024], step_size: 1.0}
sweeps:
"""


def warnings(*sweeps: str) -> list[str]:
    return widths_without_a_curve(
        StudySpec.from_text(GROWING + "".join(f"  - {s}\n" for s in sweeps))
    )


def test_a_multiple_that_makes_no_curve_is_told_with_a_remedy() -> None:
    (told,) = warnings("width: [256, 512, 1024, 2048, 4N]")
    assert told == (
        "width = 4N makes no curve along N beside these widths (256, 512, 1024 and 2048 stand at 3 "
        "or more values of N, as a grid does): make it a study of its own, or give more values of "
        "samples"
    )
    middle = warnings("width: [N, 2N, 4N, 8N, 16N]")
    assert [one.split(" makes")[0] for one in middle] == [f"width = {r}N" for r in (2, 4, 8)]
    three = "samples: [64, 128, 256], width: [N, 2N, 4.0 N]"
    told_of = warnings(f"{{{three}}}")
    assert [one.split(" beside")[0] for one in told_of] == [
        f"width = {r}N makes no curve along N" for r in ("", "2", "4.0")
    ]
    assert all("(256 stands at 3 or more" in one for one in told_of)
    many = warnings(f"width: [{', '.join(str(2**k) for k in range(6, 13))}, N]")
    assert "(64, 128, 256, 512 and 1024 stand" in many[0]


@pytest.mark.parametrize(
    "sweep",
    [
        "width: [256, 512, 1024, 4N]",
        "width: [N, 2N, 4N, inf]",
        "width: [64, 128, 256]",
        "{samples: [64, 128], width: [64, 128, N]}",  # too few for any curve
    ],
)
def test_what_makes_one_or_asks_for_none_is_not_warned_of(sweep: str) -> None:
    assert warnings(sweep) == []


def test_each_multiple_once_and_where_it_makes_none() -> None:
    grid = "width: [256, 512, 1024, 2048]"
    told = warnings(grid, "width: 4N", "{width: 4.0N, step_size: [1.0, 2.0, 4.0]}")
    assert [one.split(" beside")[0] for one in told] == [
        "width = 4N makes no curve along N in 1 of 3 settings"
    ]
    # what another sweep adds counts: 2N to 2048 alone is on the grid
    assert len(warnings(grid, "{width: 2N, samples: [128, 256, 512, 1024]}")) == 1
    assert warnings("{width: 2N, samples: [128, 256, 512, 1024]}") == []


@pytest.mark.parametrize("command", ["plan", "run"])
def test_the_command_says_it_before_anything_trains(
    command: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "asked.yaml"
    three = (
        GROWING.replace(", 512, 1024", "")
        .replace("sweeps:\n", "")
        .replace("steps: 100", "steps: 2")
    )
    path.write_text(three.replace("step_size", "width: [N, 2N, 4N], step_size"), encoding="utf-8")

    def stop(*_given: object) -> None:
        raise StoreError("stopped before it trains")

    monkeypatch.setattr(Session, "train", stop)
    monkeypatch.setattr("study.planning.stability.stability_warnings", lambda *_given: [])
    flags = ["--no-calibrate"] if command == "plan" else ["--no-tracking"]
    with pytest.raises(SystemExit) as ended:
        main([command, str(path), "--storage", str(tmp_path / "here"), *flags])
    assert ended.value.code == (0 if command == "plan" else 2)
    found = capsys.readouterr()
    said = " ".join((found.out + found.err).split())
    for ratio in ("N", "2N", "4N"):
        assert said.count(f"warning: width = {ratio} makes no curve along N beside these") == 1


def _done(trial: TrialConfig) -> Trajectory:
    return Trajectory(trial, [0, 9, 20], series={"score_error": [1.0, 0.1, 0.2]})
