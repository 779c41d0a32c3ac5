"""Means of points: what a study without a rate says."""

from __future__ import annotations

import io
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from scipy import stats

from analysis.data.curves.point_means import POINT_COLUMNS, point_means
from analysis.data.curves.quantities import curves
from analysis.data.curves.quantity import Quantity
from analysis.report.page import write_report
from analysis.report.wording import MEAN_HEADS, mean_cells
from analysis.verdicts.evaluation import evaluate
from study.commands.analyze import print_verdicts


@pytest.fixture(scope="module")
def whole(synthetic: ModuleType) -> pd.DataFrame:
    grid = synthetic.Grid(noise=0.1, seeds=4, widths=(), step_sizes=())
    frame: pd.DataFrame = synthetic.synthetic_table(grid)
    return frame


@pytest.fixture(scope="module")
def alone(whole: pd.DataFrame) -> pd.DataFrame:
    """Two of its values of N, which make no curve."""
    return whole[whole["samples"].isin(sorted(whole["samples"].unique())[:2])]


def test_they_are_those_of_the_curves(whole: pd.DataFrame) -> None:
    curve = next(c for c in curves(whole) if c.quantity == Quantity.BEST_ERROR)
    means = point_means(whole).set_index("samples")
    assert list(point_means(whole).columns) == list(POINT_COLUMNS)
    for n in np.unique(curve.x):
        y = curve.y[curve.x == n]
        assert means.loc[n, "score_error"] == pytest.approx(y.mean())
        assert means.loc[n, "seeds"] == len(y)
        # the jackknife of the log of the mean, by hand
        without = np.log([(y.sum() - v) / (len(y) - 1) for v in y])
        pseudo = len(y) * np.log(y.mean()) - (len(y) - 1) * without
        half = stats.t.ppf(0.975, len(y) - 1) * pseudo.std(ddof=1) / np.sqrt(len(y))
        assert means.loc[n, "error_high"] == pytest.approx(np.exp(pseudo.mean() + half))


def test_one_seed_has_no_interval_and_what_is_not_known_no_number(alone: pd.DataFrame) -> None:
    one = alone[alone["seed"] == 0].assign(score_error=np.nan)
    means = point_means(one)
    assert means["seeds"].tolist() == [1, 1]
    assert means["loss_low"].isna().all()
    assert means["score_error"].isna().all()
    cells = mean_cells(means)[0]
    assert len(cells) == len(MEAN_HEADS)
    assert cells[MEAN_HEADS.index("score error")] == "–"
    lost = point_means(alone.assign(status="diverged"))
    assert lost.empty
    assert point_means(alone.head(0)).empty


def test_a_study_without_a_rate_prints_them_and_shows_them(
    alone: pd.DataFrame, tmp_path: Path, fingerprints: None
) -> None:
    evaluation = evaluate(alone)
    assert not len(evaluation)
    said = io.StringIO()
    print_verdicts(Console(file=said, width=200), evaluation)
    first = mean_cells(point_means(alone))[0]
    for cell in (first[MEAN_HEADS.index("score error")], first[-1], "no rate: an axis with three"):
        assert cell in said.getvalue()
    page = write_report(tmp_path, evaluation).read_text()
    assert first[MEAN_HEADS.index("score error")] in page
    assert "Means over seeds with 95 % intervals" in page
