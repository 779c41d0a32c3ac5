"""What is possible without training: a line in every figure of an error against N, and a table."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.data.curves.quantity import Quantity
from analysis.drawing.plot import Plot, plain
from analysis.figures.rates.possible import POSSIBLE, distances
from analysis.figures.study import study_plots
from analysis.report.page import write_report
from analysis.verdicts.evaluation import Evaluation, evaluate

pytestmark = pytest.mark.slow

SAMPLES = (64, 128, 256, 512, 1024, 2048)


@pytest.fixture(scope="module")
def evaluation(synthetic: ModuleType) -> Evaluation:
    grid = synthetic.Grid(
        samples=SAMPLES, widths=(64, 256, 4096), seeds=4, recorded=16, limits=8,
        base=(256, 4096, 1.0), noise=0.1, untrained=0.3,
    )  # fmt: skip
    return evaluate(synthetic.synthetic_table(grid))


@pytest.fixture(scope="module")
def plots(evaluation: Evaluation) -> list[Plot]:
    return study_plots(evaluation)[0]


def test_every_figure_of_an_error_against_n_has_the_line(
    evaluation: Evaluation, plots: list[Plot]
) -> None:
    (floor,) = [c for c in evaluation.curves if c.quantity == Quantity.EMPIRICAL_BAYES]
    expected = [floor.y[floor.x == n].mean() for n in SAMPLES]
    met = set()
    for plot in plots:
        for quantity, factor in (
            ("best_score_error", 1), ("best_score_error_unweighted", 3), ("final_score_error", 1)
        ):  # fmt: skip
            if plot.name.endswith(f"{quantity}_against_samples"):
                (line,) = [s for s in plot.panels[0].series if s.label == POSSIBLE]
                assert line.role == "line"
                assert line.x.tolist() == list(SAMPLES)
                np.testing.assert_allclose(line.y, np.multiply(expected, factor), rtol=1e-9)
                met.add(quantity)
    assert len(met) == 3
    widths = [p for p in plots if "against_width" in p.name]
    assert widths
    assert not any(s.label == POSSIBLE for p in widths for s in p.panels[0].series)


def test_bins_of_time_and_the_error_s_parts_have_it_too(plots: list[Plot]) -> None:
    (bins,) = [p for p in plots if p.name.endswith("d2_time_bins")]
    for panel in bins.panels:
        hollow = [s for s in panel.series if s.role == "hollow"]
        assert [s.label for s in hollow] == [POSSIBLE, "", "", ""]
        assert len({s.shade for s in hollow}) == 4
    (parts,) = [p for p in plots if p.name.endswith("d2_bias_variance")]
    assert POSSIBLE in [s.label for s in parts.panels[1].series]


def test_its_own_figure_is_shown_once_with_both_other_cut_offs(plots: list[Plot]) -> None:
    (own,) = [p for p in plots if "empirical_bayes_error_against_samples" in p.name]
    series = {plain(s.label): s for s in own.panels[0].series if s.label}
    middle = series["empirical Bayes, mean"].y
    np.testing.assert_allclose(series["memorizer, mean"].y, 1.2 * middle, rtol=1e-9)
    np.testing.assert_allclose(series["best cut-off, mean"].y, 0.9 * middle, rtol=1e-9)


def test_distance_is_the_paired_ratio_over_shared_data_sets(evaluation: Evaluation) -> None:
    found = dict(distances(evaluation.curves))
    assert set(found) == {"m = 4096, η = 1", "m = ∞, η = 1"}
    best = {
        c.fixed["width"]: c
        for c in evaluation.curves
        if (c.quantity, c.axis) == (Quantity.BEST_ERROR, "samples")
    }
    (floor,) = [c for c in evaluation.curves if c.quantity == Quantity.EMPIRICAL_BAYES]
    under = dict(zip(zip(floor.x, floor.seed, strict=True), floor.y, strict=True))
    for width, count in ((4096, 4), (np.inf, 8)):
        table, curve = found[f"m = {width:g}, η = 1".replace("inf", "∞")], best[width]
        assert table["samples"].tolist() == list(SAMPLES)
        assert set(table["data_sets"]) == {count}
        for row in table.itertuples():
            at = curve.x == row.samples
            floors = np.array([under[row.samples, seed] for seed in curve.seed[at]])
            logs = np.log(curve.y[at] / floors)
            low, high = stats.ttest_1samp(logs, 0).confidence_interval(0.95)
            assert row.ratio == pytest.approx(np.exp(logs.mean()))
            assert (row.low, row.high) == pytest.approx((np.exp(low), np.exp(high)))
            assert row.error == pytest.approx(curve.y[at].mean())
            assert row.possible == pytest.approx(floors.mean())


def test_the_page_says_how_far_it_is(
    fingerprints: None, evaluation: Evaluation, tmp_path: Path, synthetic: ModuleType
) -> None:
    page = write_report(tmp_path, evaluation).read_text()
    shown = page[page.index("How far from what is possible") :].split("</details>")[0]
    assert shown.count("<table") == 2  # networks, and their limit
    table = dict(distances(evaluation.curves))["m = 4096, η = 1"]
    for row in table.itertuples():
        assert f"<strong>{row.ratio:.3g}</strong>" in page
    bare = synthetic.synthetic_table(synthetic.Grid(seeds=2, recorded=10))
    page = write_report(tmp_path, evaluate(bare)).read_text()
    assert "How far from what is possible" not in page
    assert "trials of a version that has it" in page


def test_a_single_data_set_has_no_interval(evaluation: Evaluation) -> None:
    table = evaluation.table
    one = evaluate(table.only(table.trials["seed"] == 0))
    for _, found in distances(one.curves):
        assert found[["low", "high"]].isna().all(axis=None)
        assert (found["ratio"] > 0).all()
        assert isinstance(found, pd.DataFrame)
