"""Disagreement of twins: planted distances are recovered, and only twins are compared."""

from __future__ import annotations

import base64
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.data.curves.quantity import Quantity
from analysis.data.curves.twins import twin_curves
from analysis.data.schema import SCHEMA
from analysis.data.sweeps import settings
from analysis.data.table import load_table
from analysis.drawing.plot import Plot
from analysis.figures.rates.twins import twins
from analysis.fits.power_law import fit_power_law
from analysis.verdicts.evaluation import Evaluation
from trainers.columns import SKETCH_SIZE

SAMPLES = (64, 256, 1024, 4096)
RATE = 0.8


def text(values: np.ndarray) -> str:
    return base64.b64encode(values.astype("<f4").tobytes()).decode()


@pytest.fixture(scope="module")
def table(synthetic: ModuleType) -> pd.DataFrame:
    """Each trial is its mean plus noise of variance N^-0.8 / 2 a projection at the best step (the
    sixth), and of variance 2 at the last: distances N^-0.8 and 4."""
    grid = synthetic.Grid(
        samples=SAMPLES, widths=(64,), step_sizes=(1.0,), seeds=9, recorded=10, base=(256, 64, 1.0)
    )
    made: pd.DataFrame = synthetic.synthetic_table(grid)
    rng = np.random.default_rng(1)
    mean = 3 * rng.standard_normal(SKETCH_SIZE)
    sketches: list[str | None] = []
    for _, rows in made.groupby("trial_id", sort=False):
        scale = np.sqrt(rows["samples"].iloc[0] ** -RATE / 2)
        column: list[str | None] = [None] * len(rows)
        column[5] = text(mean + scale * rng.standard_normal(SKETCH_SIZE))
        column[-1] = text(mean + np.sqrt(2) * rng.standard_normal(SKETCH_SIZE))
        sketches += column
    return made.assign(sketch=pd.array(sketches, dtype="str"))


def test_planted_distances_are_recovered(table: pd.DataFrame) -> None:
    best, last = twin_curves(table)
    assert (best.quantity, last.quantity) == (Quantity.TWINS_BEST, Quantity.TWINS_LAST)
    for curve in (best, last):
        assert curve.axis == "samples"
        assert curve.fixed["width"] == 64
        # of nine seeds four pairs; the ninth has no twin
        assert sorted(zip(curve.x, curve.seed, strict=True)) == [
            (n, seed) for n in SAMPLES for seed in (0, 2, 4, 6)
        ]
    fit = fit_power_law(best.x, best.y)
    assert fit.ci[0] < RATE < fit.ci[1]
    assert fit.ci[1] - fit.ci[0] < 0.2
    assert last.y.mean() == pytest.approx(4, rel=5 * np.sqrt(2 / SKETCH_SIZE / 16))


def test_a_pair_is_compared_projection_by_projection(table: pd.DataFrame) -> None:
    own = table[(table["samples"] == 256) & table["seed"].isin((2, 3))].dropna(subset=["sketch"])
    first, _, second, _ = (
        np.frombuffer(base64.b64decode(t), "<f4")
        for t in own.sort_values(["seed", "step"])["sketch"]
    )
    best = twin_curves(table)[0]
    found = best.y[(best.x == 256) & (best.seed == 2)]
    assert found == pytest.approx(np.square(first - second).mean(), rel=1e-6)


def test_what_has_no_twin_or_no_sketch_is_left_out(table: pd.DataFrame) -> None:
    lost = table.copy()
    lost.loc[(lost["samples"] == 64) & (lost["seed"] == 1), "status"] = "diverged"
    best = twin_curves(lost)[0]
    assert sorted(best.seed[best.x == 64]) == [2, 4, 6]
    assert twin_curves(table[table["seed"] % 2 == 0]) == []
    assert twin_curves(table[table["samples"] < 1000]) == []  # two values of N
    assert twin_curves(table.drop(columns="sketch")) == []
    assert twin_curves(table.assign(sketch=pd.array([None] * len(table), dtype="str"))) == []


def test_trials_that_differ_in_anything_else_are_no_twins(table: pd.DataFrame) -> None:
    odd = table["seed"] % 2 == 1
    assert twin_curves(table.assign(step_size=np.where(odd, 0.5, 1.0))) == []
    assert twin_curves(table.assign(width=np.where(odd, 128.0, 64.0))) == []


def test_a_best_step_that_is_the_last_counts_at_both(table: pd.DataFrame) -> None:
    late = table.copy()
    ends = late.groupby("trial_id")["step"].transform("max") == late["step"]
    late.loc[~ends, "sketch"] = None
    best, last = twin_curves(late)
    assert best.y.tolist() == last.y.tolist() == twin_curves(table)[1].y.tolist()


def test_a_stored_table_gives_the_same(table: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "results.parquet"
    pq.write_table(pa.Table.from_pandas(table, SCHEMA, preserve_index=False), path)
    stored = load_table(str(path))
    for own, other in zip(twin_curves(table), twin_curves(stored), strict=True):
        by_place = dict(zip(zip(own.x, own.seed, strict=True), own.y, strict=True))
        assert dict(zip(zip(other.x, other.seed, strict=True), other.y, strict=True)) == by_place


def test_the_figure_halves_it_and_says_what_it_is(table: pd.DataFrame) -> None:
    evaluation = Evaluation.unjudged(table)
    (setting,) = settings(table)
    (plot,) = twins(setting, evaluation)
    assert isinstance(plot, Plot)
    assert "at most the mean score error" in plot.caption
    best, last, error = plot.panels[0].series
    curve = twin_curves(table)[0]
    np.testing.assert_allclose(best.y, [curve.y[curve.x == n].mean() / 2 for n in SAMPLES])
    np.testing.assert_allclose(last.y, 2, rtol=0.3)
    assert error.label == "best score error"
    fit = fit_power_law(curve.x, curve.y)
    assert f"b = {fit.exponent:.2f}" in plot.note


def test_without_sketches_the_page_says_what_is_needed(table: pd.DataFrame) -> None:
    bare = table.drop(columns="sketch")
    (setting,) = settings(bare)
    ((title, reason),) = twins(setting, Evaluation.unjudged(bare))
    assert title == "Disagreement of twins"
    assert "2k and 2k + 1" in str(reason)


def test_levels_without_a_best_or_without_a_distance_are_not_drawn(table: pd.DataFrame) -> None:
    """Trials whose best is their last step, and twins that never left 0."""
    late = table.copy()
    late["score_error"] = 1.0 / (1 + late["step"])
    (setting,) = settings(late)
    (plot,) = twins(setting, Evaluation.unjudged(late))
    assert isinstance(plot, Plot)
    assert len(plot.panels[0].series) == 2
    known = table["sketch"].notna().to_numpy()
    same = table.copy()
    same.loc[known & (same["samples"] == 64), "sketch"] = text(np.zeros(SKETCH_SIZE))
    (plot,) = twins(settings(same)[0], Evaluation.unjudged(same))
    assert isinstance(plot, Plot)
    assert plot.panels[0].series[0].x.tolist() == [256, 1024, 4096]
    same.loc[known, "sketch"] = text(np.zeros(SKETCH_SIZE))
    ((_, reason),) = twins(settings(same)[0], Evaluation.unjudged(same))
    assert "2k and 2k + 1" in str(reason)


def test_text_that_is_no_sketch_is_left_out(table: pd.DataFrame) -> None:
    known = table["sketch"].notna() & (table["samples"] == 64)
    for wrong in ("<b>no sketch</b>", "AAAA", "AAA", text(np.full(SKETCH_SIZE, np.inf))):
        odd = table.copy()
        odd.loc[known & (odd["seed"] == 3), "sketch"] = wrong
        for curve in twin_curves(odd):
            assert sorted(curve.seed[curve.x == 64]) == [0, 4, 6]
