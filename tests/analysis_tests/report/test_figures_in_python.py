"""Evaluations, verdicts, fits and figures as Python shows them."""

from __future__ import annotations

from types import ModuleType

import pandas as pd
import pytest

import scorerates
from analysis import Evaluation, evaluate, figures_of, fit_power_law
from analysis.figures.study import study_plots


@pytest.fixture(scope="module")
def evaluation(synthetic: ModuleType) -> Evaluation:
    grid = synthetic.Grid(widths=(64, 256), seeds=2, recorded=10, limits=4, untrained=0.3)
    return evaluate(synthetic.synthetic_table(grid))


@pytest.mark.slow
def test_a_row_a_verdict(evaluation: Evaluation) -> None:
    frame = evaluation.to_frame()
    assert len(frame) == len(evaluation) > 3
    for verdict, row in zip(evaluation, frame.itertuples(), strict=True):
        assert (row.prediction, row.verdict) == (verdict.prediction, verdict.verdict)
        assert row.exponent == verdict.exponent or pd.isna(row.exponent)
        large = verdict.at_large
        assert pd.isna(row.large_low) if large is None else row.large_low == large.low
    assert evaluation._repr_html_().count("<tr") == len(frame) + 1
    assert len(repr(evaluation).splitlines()) == len(frame)
    first = repr(evaluation[0])
    assert first.startswith("Verdict(best error against samples, ")
    assert first.endswith(f": {evaluation[0].verdict})")
    assert len(first) < 200


@pytest.mark.slow
def test_figures_are_those_of_the_page_and_show_themselves(evaluation: Evaluation) -> None:
    found = figures_of(evaluation)
    plots = study_plots(evaluation)[0]
    assert list(found) == [plot.name for plot in plots]
    one = found[plots[0].name]
    pd.testing.assert_frame_equal(one.table, plots[0].table)
    assert "<svg" in one._repr_svg_()
    assert one.figure is one.figure
    assert one.figure.axes
    assert repr(one) == f"<figure {plots[0].name}: {plots[0].title}>"


def test_a_fit_says_its_numbers_or_why_it_has_none() -> None:
    assert repr(fit_power_law([1, 2, 4, 8], [8, 4, 2, 1])) == (
        "PowerLawFit(A x^-b, b = 1 [1, 1], 4 points, 4 trials)"
    )
    assert repr(fit_power_law([1.0], [1.0])).startswith("PowerLawFit(refused: ")


def test_one_package_has_every_public_name() -> None:
    import analysis
    import study
    import trainers

    every = {*analysis.__all__, *study.__all__, *trainers.__all__}
    assert set(scorerates.__all__) == set(dir(scorerates)) == every
    for package in (analysis, study, trainers):
        for name in package.__all__:
            assert getattr(scorerates, name) is getattr(package, name)
    with pytest.raises(AttributeError, match="nothing"):
        _ = scorerates.nothing
