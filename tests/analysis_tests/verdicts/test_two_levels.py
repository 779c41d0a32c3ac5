"""Verdicts, figures and words where the kernel limit stands beside a curve, on planted tables."""

from __future__ import annotations

import json
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from analysis.data.curves.quantity import Quantity
from analysis.data.sweeps import level_means
from analysis.drawing.figure import draw
from analysis.drawing.plot import Plot
from analysis.figures.study import study_plots
from analysis.report import wording
from analysis.theory import Kind, Prediction
from analysis.verdicts.evaluation import Evaluation, evaluate
from analysis.verdicts.judging import Verdict, Word, judge

NETWORKS, KERNELS = 4, 60


@pytest.fixture(scope="module")
def table(synthetic: ModuleType) -> pd.DataFrame:
    grid = synthetic.Grid(
        seeds=NETWORKS, limits=KERNELS, noise=0.2, own=0.02, widths=(), step_sizes=()
    )
    frame: pd.DataFrame = synthetic.synthetic_table(grid)
    return frame


@pytest.fixture(scope="module")
def both(table: pd.DataFrame) -> Evaluation:
    return evaluate(table)


@pytest.fixture(scope="module")
def alone(table: pd.DataFrame) -> Evaluation:
    return evaluate(table[np.isfinite(table["width"])])


def verdict(of: Evaluation, quantity: Quantity = Quantity.BEST_ERROR) -> Verdict:
    return next(
        v
        for v in of
        if (v.quantity, v.axis) == (quantity, "samples") and v.fixed["width"] != np.inf
    )


@pytest.mark.slow
def test_a_verdict_rests_on_network_and_kernel(
    both: Evaluation, alone: Evaluation, synthetic: ModuleType
) -> None:
    sharp, wide = verdict(both), verdict(alone)
    told = sharp.to_dict()["fit"]["two_levels"]
    assert (told["network_seeds"], told["kernel_seeds"], told["levels"]) == (NETWORKS, KERNELS, 7)
    assert told["correlation"] > 0.98
    assert told["coefficient"] == pytest.approx(1, abs=0.1)
    half = [(v.ci_high - v.ci_low) / 2 for v in (sharp, wide)]
    assert told["narrower"] == pytest.approx(half[1] / half[0])
    assert told["narrower"] > 2.5
    assert abs(sharp.exponent - synthetic.ERROR_EXPONENT) < half[0]
    assert (
        f"with {KERNELS} seeds of the kernel limit beside {NETWORKS} of the network: an"
        in sharp.reason
    )
    assert f"{told['narrower']:.2g} times as short" in sharp.reason
    assert wide.to_dict()["fit"]["two_levels"] is None
    assert "kernel limit" not in wide.reason
    json.dumps(sharp.to_dict(), allow_nan=False)


def test_the_networks_own_numbers_are_kept_beside(both: Evaluation, alone: Evaluation) -> None:
    means = verdict(both).fitted.means
    assert means is not None
    assert means.alone is not None
    own = verdict(alone).fitted.means
    assert own is not None
    assert (means.alone.log_mean == own.log_mean).all()


def test_what_has_no_limit_beside_it_is_as_it_was(both: Evaluation, alone: Evaluation) -> None:
    mine = {(v.prediction, str(v.fixed)): v for v in both}
    for other in alone:
        v = mine[other.prediction, str(other.fixed)]
        if v.fitted.two_levels is None:
            assert (v.exponent, v.ci_low, v.ci_high) == (
                other.exponent,
                other.ci_low,
                other.ci_high,
            )


def test_what_is_the_kernels_own_is_judged_once(table: pd.DataFrame) -> None:
    """At infinite width where that stands beside the networks, else on their own curve."""
    worst = table.groupby("trial_id")["score_error"].transform("max")
    frame = table.assign(interpolation_error=worst)
    for rows, infinite in ((frame, True), (frame[np.isfinite(frame["width"])], False)):
        (once,) = (v for v in evaluate(rows) if v.quantity == Quantity.INTERPOLATION_ERROR)
        assert np.isinf(once.fixed["width"]) is np.bool_(infinite)


def test_a_limit_with_fewer_levels_does_not_stand_for_the_kernels_own(table: pd.DataFrame) -> None:
    """Three values of N at infinite width answer nothing: the networks' seven do."""
    frame = table.assign(interpolation_error=table["samples"] ** -0.05)
    few = frame[np.isfinite(frame["width"]) | frame["samples"].isin([64, 128, 256])]
    (once,) = (v for v in evaluate(few) if v.quantity == Quantity.INTERPOLATION_ERROR)
    assert (once.points, once.verdict) == (7, Word.AGREES)


def test_words_say_how_many_seeds_of_each(both: Evaluation, alone: Evaluation) -> None:
    sharp, wide = verdict(both), verdict(alone)
    assert f"{NETWORKS} seeds and {KERNELS} of the kernel limit)" in wording.lead(
        ("cube", 2), sharp
    )
    assert wording.data(wide) == f"{NETWORKS} seeds at 7 values, 64 to 4096"
    assert wording.data(sharp).startswith(f"{wording.data(wide)}; {KERNELS} seeds of the kernel")


@pytest.mark.slow
def test_figures_show_the_network_alone_and_both(both: Evaluation) -> None:
    made, _left_out = study_plots(both)
    plot: Plot = next(
        p for p in made if p.name == "gaussian_mixture_d2_best_score_error_against_samples"
    )
    series = {s.role: s for s in plot.panels[0].series}
    sharp = verdict(both)
    assert sharp.curve is not None
    x, mean, low, high = level_means(sharp.curve.x, sharp.curve.y)
    for drawn, wanted in (("hollow", mean), ("points", sharp.fitted.means.mean)):  # type: ignore[union-attr]
        assert (series[drawn].x == x).all()
        assert series[drawn].y == pytest.approx(wanted)
    full = series["points"]
    assert full.low is not None
    assert full.high is not None
    assert (full.low < full.y).all()
    assert (np.log(full.high / full.low) < np.log(high / low) / 2).all()
    assert sharp.fitted.two_levels is not None
    assert sharp.fitted.two_levels.told in plot.note
    below = plot.panels[0].below
    assert below is not None
    ratio = next(s for s in below.series if s.role == "points")
    assert ratio.y == pytest.approx(full.y / sharp.fitted.predict(full.x)[0])
    assert set(plot.table["role"]) >= {"hollow", "points"}
    (axes, _under) = draw(plot).axes
    hollow, filled = axes.containers[:2]
    assert hollow.get_label() == "network alone"
    assert hollow[0].get_markerfacecolor() != filled[0].get_markerfacecolor()


def test_the_rate_at_infinite_width_is_that_of_its_trials(
    table: pd.DataFrame, both: Evaluation, alone: Evaluation
) -> None:
    """No width is varied, so without them there is none; and it is no limit of other networks."""
    wide = verdict(both).infinite_width
    limit = next(
        v
        for v in both
        if (v.quantity, v.axis, v.fixed["width"]) == (Quantity.BEST_ERROR, "samples", np.inf)
    )
    assert wide is not None
    assert (wide.exponent, wide.ci_low, wide.ci_high) == (
        limit.exponent,
        limit.ci_low,
        limit.ci_high,
    )
    assert wide.measured
    assert f"{KERNELS} seeds at each of 7 N" in wide.message
    assert verdict(alone).infinite_width is None
    assert limit.infinite_width is None
    networks = np.isfinite(table["width"])
    for name, value in (("trainer", "adam"), ("initialisation", "plain")):
        other = verdict(evaluate(table.assign(**{name: table[name].where(~networks, value)})))
        assert other.infinite_width is None
        assert other.fitted.two_levels is not None


def test_seeds_that_would_settle_it_are_of_both(both: Evaluation, alone: Evaluation) -> None:
    """A prediction at whose edge the exponent stands is undetermined."""
    for of, said in ((both, True), (alone, False)):
        fit = verdict(of).fitted
        edge = Prediction("p", "e", "samples", fit.exponent / 1.14, Kind.SHARP, 0.15, "s", "t.")
        told = judge(edge, fit)
        assert told.verdict is Word.UNDETERMINED
        assert ("with kernel seeds in proportion" in told.reason) is said
