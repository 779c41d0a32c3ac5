"""Settings of the training's noise beside each other, on planted ratios."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from analysis.data.curves.data_sets import data_curves
from analysis.data.curves.quantity import Quantity
from analysis.data.sweeps import apart, law_names, noise_label
from analysis.drawing.plot import Topic
from analysis.figures.rates.answer import primary
from analysis.figures.rates.noise import families, noise_plots, noise_tables
from analysis.report.page import questions, write_report
from analysis.report.wording import lead, leads
from analysis.verdicts.evaluation import Evaluation, evaluate

Fixed = dict[str, object]

pytestmark = pytest.mark.slow

SAMPLES = (64, 128, 256, 512, 1024)
FACTORS = {"eps": 1.3, "v": 0.8}


@pytest.fixture(scope="module")
def table(synthetic: ModuleType) -> pd.DataFrame:
    grid = synthetic.Grid(
        samples=SAMPLES, widths=(), step_sizes=(1.0,), seeds=5, recorded=16,
        base=(256, 4096, 1.0), noise=0.2, untrained=0.3,
    )  # fmt: skip
    usual = synthetic.synthetic_table(grid)
    parts = [usual]
    for weight, factor in FACTORS.items():
        own = usual.assign(weight=weight, step_size=0.5)
        for name in ("trial_id", "point_id", "data_id"):
            own[name] = own[name] + f"-{weight}"
        for name in [c for c in own if c.startswith("score_error")]:
            # by seed too: the interval is that of what differs between seeds
            power = 2.0 if "unweighted" in name else 1.0
            own[name] = own[name] * factor**power * np.exp(0.01 * (own["seed"] - 2))
        parts.append(own)
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def evaluation(table: pd.DataFrame) -> Evaluation:
    return evaluate(table)


def test_ratios_are_the_planted_ones_seed_by_seed(evaluation: Evaluation) -> None:
    ((where, rows),) = noise_tables(evaluation)
    assert where == "gaussian_mixture, d = 2, m = 4096"
    assert len(rows) == 2 * 3 * len(SAMPLES)
    for weight, factor in FACTORS.items():
        for measure, power in (("score error", 1.0), ("unweighted", 2.0)):
            mine = rows[(rows["noise"] == f"weight {weight}") & (rows["measure"] == measure)]
            np.testing.assert_allclose(mine["ratio"], factor**power, rtol=1e-6)
            assert (mine["seeds"] == 5).all()
            # Student's over -2..2 hundredths: 2.776 * 0.0158 / 5^(1/2)
            np.testing.assert_allclose(np.log(mine["high"] / mine["ratio"]), 0.01963, rtol=1e-3)
            assert np.isfinite(mine["exponent"]).all()
    usual = rows[rows["noise"] == "one copy, uniform times, weight 1"]
    np.testing.assert_allclose(usual["ratio"], 1.0)
    assert rows["noise"].iloc[0] == usual["noise"].iloc[0]


def test_the_figure_has_a_line_for_each_noise(evaluation: Evaluation) -> None:
    (plot,) = noise_plots(evaluation)
    assert plot.topic is Topic.NOISE
    weighted, unweighted = plot.panels
    for panel in (weighted, unweighted):
        labels = [s.label for s in panel.series]
        assert labels[:3] == ["one copy, uniform times, weight 1", "weight eps", "weight v"]
        assert labels[3] == "without training"
    middle = [s.y for s in weighted.series[:3]]
    assert (middle[1] > middle[0]).all()
    assert (middle[2] < middle[0]).all()


def test_clean_points_count_once_whatever_the_noise(table: pd.DataFrame) -> None:
    alone = table[table["weight"] == "x0"]
    every, few = (
        {c.quantity: c for c in data_curves(frame)}[Quantity.EMPIRICAL_BAYES]
        for frame in (table, alone)
    )
    np.testing.assert_array_equal(every.y, few.y)
    assert every.missing == few.missing == ()
    lost = table.copy()
    columns = [c for c in lost if "empirical_bayes" in c or "memorizer" in c]
    lost.loc[(lost["weight"] == "eps") & (lost["seed"] == 0), columns] = np.nan
    (again,) = [c for c in data_curves(lost) if c.quantity == Quantity.EMPIRICAL_BAYES]
    np.testing.assert_array_equal(again.y, few.y)
    assert again.missing == ()


def test_the_page_has_the_table(evaluation: Evaluation, tmp_path: Path, fingerprints: None) -> None:
    page = write_report(tmp_path, evaluation).read_text(encoding="utf-8")
    assert Topic.NOISE in page
    assert "Errors by the noise of training" in page
    assert ">1.3<" in page
    assert ">0.64<" in page


def test_one_noise_has_no_section(table: pd.DataFrame) -> None:
    alone = evaluate(table[table["weight"] == "v"])
    assert families(alone.curves) == []
    assert list(noise_plots(alone)) == []


@pytest.mark.parametrize(
    ("fixed", "label"),
    [
        ({}, "one copy, uniform times, weight 1"),
        ({"copies": 16}, "16 copies"),
        ({"copies": 0, "weight": "eps"}, "fresh noise, weight eps"),
        ({"time_law": "log_snr", "weight": "v"}, "times log_snr, weight v"),
    ],
)
def test_noise_in_words(fixed: dict[str, object], label: str) -> None:
    assert noise_label(fixed) == label


NETWORK = {"copies": 1, "weight": "x0", "t_min": 0.01, "steps": 500, "precision": "float32"}
LIMIT = {**NETWORK, "width": np.inf, "steps": None, "precision": "float64"}


@pytest.mark.parametrize(
    ("fixed", "others", "told"),
    [
        (NETWORK, [], ""),
        (NETWORK, [LIMIT], ""),
        (LIMIT, [{**LIMIT, "copies": 16}], "one copy"),
        ({**LIMIT, "copies": 16}, [LIMIT, NETWORK], "16 copies"),
        ({**NETWORK, "copies": 0}, [{**NETWORK, "t_min": 0.05}], "T₀ = 0.01, fresh noise"),
        (NETWORK, [{**NETWORK, "steps": 100}, LIMIT], "steps = 500"),
        (LIMIT, [NETWORK, {**NETWORK, "steps": 100}], ""),
        ({**NETWORK, "weight": "eps"}, [NETWORK], "weight eps"),
    ],
)
def test_what_tells_rows_apart(fixed: Fixed, others: list[Fixed], told: str) -> None:
    assert apart(fixed, [fixed, *others]) == told


def test_rows_of_a_question_are_told_apart(evaluation: Evaluation) -> None:
    asked = questions(evaluation.verdicts, law_names(evaluation.table))
    assert max(len(question["rows"]) for question in asked) == 3
    for question in asked:
        told = [(row["law"], row["where"]) for row in question["rows"]]
        assert len(set(told)) == len(told)


def test_the_noise_that_theory_assumes_answers_first(evaluation: Evaluation) -> None:
    asked = [v for v in evaluation.verdicts if v.quantity == Quantity.BEST_ERROR]
    usual = next(v for v in asked if v.fixed["weight"] == "x0")
    assert primary(evaluation.verdicts) is usual
    (sentence,) = (text for _badge, text in leads({("cube", 2): evaluation.verdicts}))
    assert "with" not in sentence.split(":")[0]
    other = next(v for v in asked if v is not usual)
    unknown = replace(usual, exponent=math.nan)
    assert primary([unknown, other]) is other
    assert "with weight" in lead(("cube", 2), other)
