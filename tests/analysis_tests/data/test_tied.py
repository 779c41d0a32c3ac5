"""Curves along N of networks that grow with it: which trials make one, and what it says."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Sequence
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from analysis.data.curves.quantities import MINIMUM_VALUES, Curve, curves
from analysis.data.curves.quantity import Quantity
from analysis.data.curves.sampled import sampled_curves
from analysis.data.curves.tied import tied
from analysis.data.curves.twins import twin_curves
from analysis.data.schema import table_from
from analysis.data.sweeps import PER_SAMPLE, held, sizes, told_apart
from trainers.columns import SKETCH_SIZE
from trainers.trial import Trajectory, TrialConfig, TrialStatus

SAMPLES = (64, 128, 256, 512, 1024)
Points = Sequence[tuple[int, float]]


def ratios(points: Points, settings: Sequence[int] = ()) -> list[float]:
    n, m = (np.array(v, dtype=float) for v in zip(*points, strict=True))
    setting = np.array(settings or [0] * len(n), dtype=np.int64)
    return [ratio for ratio, _where in tied(n, m, setting, MINIMUM_VALUES)]


def line(ratio: float, samples: Sequence[int] = SAMPLES) -> list[tuple[int, float]]:
    return [(n, ratio * n) for n in samples]


GRID = list(itertools.product(SAMPLES, [float(m) for m in SAMPLES]))


def test_a_ratio_that_was_asked_for_makes_a_curve() -> None:
    assert ratios(line(4)) == [4.0]
    assert ratios(line(0.5)) == [0.5]
    assert ratios([(n, n / 3) for n in (66, 129, 258)]) == [1 / 3]
    assert ratios(line(4, SAMPLES[:2])) == []


@pytest.mark.parametrize(
    "grid",
    [
        GRID,
        list(itertools.product(SAMPLES[:3], [2.0**k for k in range(4, 14)])),
        list(itertools.product([2**k for k in range(4, 14)], [64.0, 128.0, 256.0])),
        # the cross of most studies, and two that share a line
        [*((n, 256.0) for n in SAMPLES), *((256, m) for _n, m in GRID)],
        [*((n, 1024.0) for n in SAMPLES), *itertools.product((64, 128, 256), (64.0, 128.0, 256.0))],
        [(n, np.inf) for n in SAMPLES],
    ],
)
def test_no_grid_has_a_curve_on_its_diagonal(grid: Points) -> None:
    assert ratios(grid) == []


def test_no_grid_with_lines_beyond_it_has_one() -> None:
    """At two values of N a line of widths beyond the grid's, each of any length."""
    widths = [2.0**k for k in range(5, 14)]
    grids = [
        list(itertools.product(own, widths[:k])) for own in (SAMPLES, SAMPLES[:3]) for k in (3, 5)
    ]
    made: list[list[tuple[int, float]]] = []
    for grid, pair in itertools.product(grids, itertools.combinations([*SAMPLES, 2048], 2)):
        for lengths in itertools.product(range(3, len(widths) + 1), repeat=2):
            lines = [(n, m) for n, k in zip(pair, lengths, strict=True) for m in widths[:k]]
            made.append(list(dict.fromkeys([*grid, *lines])))
    points = list(itertools.chain.from_iterable(made))
    assert ratios(points, np.repeat(np.arange(len(made)), list(map(len, made))).tolist()) == []


def test_a_ratio_beside_a_few_fixed_widths() -> None:
    """4N beside 256, 512 and 1024: 2048 and 4096 stand at one N each, and no grid has those."""
    grid = list(itertools.product(SAMPLES, (256.0, 512.0, 1024.0)))
    points = list(dict.fromkeys([*grid, *line(4)]))
    assert ratios(points) == [4.0]
    assert ratios([*points, (32, 512.0)]) == []  # it has not every N of its widths then
    assert ratios([one for one in points if one != (1024, 4096.0)]) == []


def test_a_sweep_beside_a_grid_makes_one_with_the_points_that_both_have() -> None:
    small = list(itertools.product(SAMPLES[:3], (64.0, 128.0, 256.0)))
    points = [*small, *(one for one in line(1) if one not in small)]
    assert ratios(points) == [1.0]
    n, m = np.array(points, dtype=float).T
    ((_ratio, where),) = tied(n, m, np.zeros(len(n), dtype=np.int64), MINIMUM_VALUES)
    assert [points[i] for i in where] == line(1)


def test_ratios_that_share_widths_are_curves_each() -> None:
    """N, 2N and 4N on powers of two: 256, 512 and 1024 stand at three values of N."""
    points = list(dict.fromkeys([*line(1), *line(2), *line(4)]))
    assert ratios(points) == [1.0, 2.0, 4.0]


def test_ratios_beside_a_fixed_width_that_all_have() -> None:
    """m = 4096 stands at every N, and 512 to 2048 at three."""
    points = list(dict.fromkeys([*line(2), *line(4), *line(8), *((n, 4096.0) for n in SAMPLES)]))
    assert ratios(points) == [2.0, 4.0, 8.0]


def test_settings_are_kept_apart() -> None:
    points = line(4)
    assert ratios([*points, *points], [0] * 5 + [1] * 5) == [4.0, 4.0]
    assert ratios(points, [0, 0, 0, 1, 1]) == [4.0]
    assert ratios(points, [0, 0, 1, 1, 2]) == []


# --- curves of a table ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table(synthetic: ModuleType) -> pd.DataFrame:
    """N at m = 1024, and m = 4 N, which share the trials of N = 256."""
    grid = synthetic.Grid(
        samples=SAMPLES, widths=(), step_sizes=(), base=(256, 1024, 1.0), seeds=4, noise=0.02,
        more=[(n, 4 * n) for n in SAMPLES],
    )  # fmt: skip
    made: pd.DataFrame = synthetic.synthetic_table(grid)
    return made


def along(found: Sequence[Curve], quantity: str = Quantity.BEST_ERROR) -> list[Curve]:
    return [c for c in found if (c.quantity, c.axis) == (quantity, "samples")]


def test_the_table_has_both_and_the_trials_that_they_share(table: pd.DataFrame) -> None:
    fixed, growing = along(curves(table))
    assert (fixed.fixed["width"], growing.fixed[PER_SAMPLE]) == (1024, 4.0)
    assert PER_SAMPLE not in fixed.fixed
    assert "width" not in growing.fixed
    assert (fixed.levels, growing.levels) == (5, 5)
    shared = [c.y[c.x == 256] for c in (fixed, growing)]
    assert shared[0].tolist() == shared[1].tolist()
    assert not growing.same_trials(fixed)
    assert growing.same_trials(along(curves(table), Quantity.BEST_TIME)[1])
    assert "width 4 N" in repr(growing)
    assert (growing.linked, growing.control) == (False, None)


def test_words_tell_a_ratio_from_a_width(table: pd.DataFrame) -> None:
    fixed, growing = (dict(c.fixed) for c in along(curves(table)))
    assert held(sizes(fixed)) == "m = 1024, η = 1"
    assert held(sizes(growing)) == "m = 4 N, η = 1"
    assert held({PER_SAMPLE: 1.0}) == "m = N"
    assert told_apart(fixed, [fixed, growing]) == "m = 1024"
    assert told_apart(growing, [fixed, growing]) == "m = 4 N"
    assert told_apart(growing, [growing]) == ""
    assert told_apart({**growing, "width": 4}, [growing]) == ""


def test_the_rate_is_the_planted_one(synthetic: ModuleType) -> None:
    """An independent route: errors made anew, A N^-b, of tied trials alone."""
    grid = synthetic.Grid(
        samples=(), widths=(), step_sizes=(), seeds=3, more=[(n, 2 * n) for n in SAMPLES]
    )
    made = synthetic.synthetic_table(grid)
    shape = made["score_error"] / made.groupby("trial_id")["score_error"].transform("min")
    for name in [c for c in made if c.startswith("score_error")]:
        made[name] = 0.7 * made["samples"] ** -0.43 * shape
    (curve,) = along(curves(made))
    slope = np.polyfit(np.log(curve.x), np.log(curve.y), 1)[0]
    assert -slope == pytest.approx(0.43, abs=0.01)


def test_a_diverged_trial_is_counted(table: pd.DataFrame) -> None:
    lost = (table["samples"] == 64) & (table["width"] == 256) & (table["seed"] == 1)
    broken = table.assign(status=table["status"].where(~lost, "diverged"))
    _fixed, growing = along(curves(broken))
    assert growing.diverged == (64.0,)


def test_twins_of_growing_networks_are_compared(table: pd.DataFrame) -> None:
    rng = np.random.default_rng(0)
    last = table.groupby("trial_id")["step"].transform("max") == table["step"]
    sketches = (rng.standard_normal(SKETCH_SIZE).astype("<f4").tobytes() for _ in last)
    texts = [base64.b64encode(own).decode() for own in sketches]
    found = twin_curves(table.assign(sketch=pd.Series(texts, table.index).where(last)))
    told = [held(sizes(c.fixed)) for c in found if c.quantity == Quantity.TWINS_LAST]
    assert told == ["m = 1024, η = 1", "m = 4 N, η = 1"]
    best_errors = along(curves(table))
    assert all(any(c.same_trials(b) for b in best_errors) for c in found)


SKETCH = base64.b64encode(np.arange(SKETCH_SIZE).astype("<f4").tobytes()).decode()


def sampled(points: Points, lost: Points = ()) -> pd.DataFrame:
    """Trials of three seeds at each (N, m), and what was read off their samples; those that are
    lost diverged."""

    def trial(n: int, m: float, seed: int) -> Trajectory:
        config = TrialConfig.model_validate(
            {"law": {"kind": "cube", "dimension": 2}, "samples": n, "width": int(m), "seed": seed,
             "step_size": 1.0, "steps": 20}
        )  # fmt: skip
        series: dict[str, list[float | None]] = {
            "score_error": [1.0, 0.1, 0.2],
            "sample_energy": [None, n**-0.8, 1.0],
            "girsanov_score": [None, 3 / n, 1.0],
        }
        values = {"sampled": "so", "sample_energy_exact": 1e-4, "girsanov_start": 0.01}
        texts: dict[str, list[str | None]] = {"sketch": [None, None, SKETCH]}
        status = "diverged" if (n, m) in lost else "completed"
        return Trajectory(
            config,
            [0, 9, 20],
            values=values,
            series=series,
            texts=texts,
            status=TrialStatus(status),
        )

    made = [trial(n, m, seed) for n, m in points for seed in range(3)]
    frame: pd.DataFrame = table_from(made, "s").to_pandas()
    return frame


def settings_along_n(frame: pd.DataFrame) -> list[set[str]]:
    found = (curves(frame), sampled_curves(frame), twin_curves(frame))
    return [{held(sizes(c.fixed)) for c in own if c.axis == "samples"} for own in found]


def test_samples_of_growing_networks_make_a_curve() -> None:
    found = sampled_curves(sampled(line(2)))
    assert {held(sizes(c.fixed)) for c in found} == {"m = 2 N, η = 1"}
    assert {c.levels for c in found} == {5}


def test_a_width_at_which_ratios_meet_makes_no_curve_of_its_own() -> None:
    """Of errors, of samples and of twins: 256 and 512 stand at three values of N."""
    four = SAMPLES[:4]
    points = list(dict.fromkeys([*line(1, four), *line(2, four), *line(4, four)]))
    each = {f"m = {r}N, η = 1" for r in ("", "2 ", "4 ")}
    assert settings_along_n(sampled(points)) == [each] * 3


def test_a_fixed_width_stays_where_what_is_no_ratios_diverged() -> None:
    """m = 256 at N = 32 is on no ratio that was asked for, and what was asked decides."""
    points = list(dict.fromkeys([*line(1), *line(2), *line(4)]))
    frame = sampled([*points, (32, 256.0)], lost=[(32, 256.0)])
    each = {f"m = {r}, η = 1" for r in ("256", "N", "2 N", "4 N")}
    assert settings_along_n(frame) == [each] * 3
