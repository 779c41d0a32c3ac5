"""Verdicts, figures and pages where the width grows with N, on planted tables."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from analysis.data.curves.quantity import Quantity
from analysis.data.sweeps import PER_SAMPLE, settings
from analysis.data.table import Table
from analysis.figures.rates.answer import EXPONENTS, answers, in_math, primary
from analysis.figures.rates.noise import noise_plots, noise_tables
from analysis.figures.rates.possible import distances
from analysis.figures.study import study_plots
from analysis.report.page import write_report
from analysis.report.wording import where
from analysis.verdicts.evaluation import Evaluation, evaluate
from analysis.verdicts.infinite_width import limit_of
from analysis.verdicts.judging import Verdict

SAMPLES = (64, 128, 256, 512, 1024, 2048, 4096)
ERROR = 0.65


def planted(synthetic: ModuleType, width: bool = False, limits: int = 0) -> pd.DataFrame:
    """m = 4 N at every N, with m = 1024 beside it where asked; errors as at infinite width."""
    grid = synthetic.Grid(
        samples=SAMPLES if width else (), widths=(), step_sizes=(), base=(256, 1024, 1.0),
        seeds=4, noise=0.05, own=0.02, limits=limits, untrained=0.3,
        more=[(n, 4 * n) for n in SAMPLES],
    )  # fmt: skip
    made: pd.DataFrame = synthetic.synthetic_table(grid)
    shift = 1 + synthetic.WIDTH_CONSTANT / made["width"]
    for name in filter(re.compile("score_error").match, map(str, made)):
        made[name] = made[name] / shift
    return made


@pytest.fixture(scope="module")
def growing(synthetic: ModuleType) -> Evaluation:
    return evaluate(planted(synthetic))


@pytest.fixture(scope="module")
def beside(synthetic: ModuleType) -> Evaluation:
    return evaluate(planted(synthetic, width=True, limits=24))


def best(of: Evaluation) -> list[Verdict]:
    return [v for v in of if (v.quantity, v.axis) == (Quantity.BEST_ERROR, "samples")]


def test_a_growing_network_has_the_verdicts_of_a_fixed_one(synthetic: ModuleType) -> None:
    fixed = planted(synthetic, width=True)
    fixed = fixed[fixed["width"] == 1024]
    grown = planted(synthetic)
    asked = {(v.prediction, v.quantity, v.axis) for v in evaluate(fixed)}
    assert {(v.prediction, v.quantity, v.axis) for v in evaluate(grown)} == asked
    assert len(asked) > 3


def test_alone_it_leads_and_has_the_planted_exponent(growing: Evaluation) -> None:
    (verdict,) = best(growing)
    assert primary(list(growing)) is verdict
    assert verdict.ci_low < ERROR < verdict.ci_high
    assert (verdict.points, verdict.held, where(verdict)) == (7, *["m = 4 N, η = 1"] * 2)
    assert "m = 4 N" in repr(verdict)
    assert growing.to_frame()["held"].str.contains("m = 4 N").any()
    plain = json.loads(json.dumps(verdict.to_dict()))
    assert plain["fixed"][PER_SAMPLE] == 4.0
    assert "width" not in plain["fixed"]


def test_terms_of_one_ratio_are_not_fitted_jointly(growing: Evaluation) -> None:
    """A N^-b + C (4 N)^-c is a sum of powers of N alone."""
    assert best(growing)[0].infinite_width is None


def test_the_limit_sharpens_it_as_it_does_a_fixed_width(beside: Evaluation) -> None:
    fixed, grown, limit = best(beside)
    assert (fixed.held, grown.held, limit.held) == (
        "m = 1024, η = 1", "m = 4 N, η = 1", "m = ∞, η = 1",
    )  # fmt: skip
    for verdict in (fixed, grown):
        assert verdict.fitted.two_levels is not None
        assert verdict.infinite_width is not None
        assert verdict.infinite_width.measured
        assert verdict.infinite_width.exponent == limit.exponent
    assert grown.ci_low < ERROR < grown.ci_high
    assert grown.curve is not None
    assert limit_of(grown.curve, beside.curves) is limit.curve


def test_a_fixed_width_still_leads(beside: Evaluation) -> None:
    assert primary(list(beside)).fixed["width"] == 1024
    told = answers([v for v in beside if v.quantity == Quantity.BEST_ERROR])
    assert list(told) == ["m = 1024", "m = 4 N"]


def test_labels_of_figures() -> None:
    assert in_math("m = 4 N, trainer = adam") == "$m$ = 4 $N$, trainer = adam"
    assert in_math("m = N") == "$m$ = $N$"
    assert in_math("m = 0.5 N, η = 1") == r"$m$ = 0.5 $N$, $\eta$ = 1"
    assert in_math("m = 64, Name") == "$m$ = 64, Name"


def test_draws_of_a_law_are_pooled(synthetic: ModuleType) -> None:
    frames = []
    for k in range(4):
        own = planted(synthetic).assign(law_id=f"law{k}")
        own["law_label"] = f"gaussian_mixture[components=8,std=0.1,seed={k}]"
        for name in ("trial_id", "point_id", "data_id"):
            own[name] = own[name] + f"-{k}"
        for name in filter(re.compile("score_error").match, map(str, own)):
            own[name] = own[name] * (own["samples"] / 512.0) ** (0.02 * (k - 1.5))
        frames.append(own)
    (verdict,) = best(evaluate(pd.concat(frames, ignore_index=True)))
    assert (verdict.held, len(verdict.draws)) == ("m = 4 N, η = 1", 4)
    assert verdict.exponent == pytest.approx(ERROR, abs=0.03)


def test_noise_beside_each_other_at_one_ratio(synthetic: ModuleType) -> None:
    usual = planted(synthetic)
    other = usual.assign(weight="eps")
    for name in ("trial_id", "point_id", "data_id"):
        other[name] = other[name] + "-eps"
    found = evaluate(pd.concat([usual, other], ignore_index=True))
    ((told, _rows),) = noise_tables(found)
    assert told.endswith("m = 4 N")
    assert [plot.note for plot in noise_plots(found)] == ["m = 4 N"]


def test_distances_name_the_ratio(growing: Evaluation) -> None:
    assert [told for told, _rows in distances(growing.curves)] == ["m = 4 N, η = 1"]


@pytest.mark.slow
def test_figures_say_so(growing: Evaluation, beside: Evaluation) -> None:
    for evaluation in (growing, beside):
        plots, _omitted = study_plots(evaluation)
        assert any(p.note.startswith("m = 4 N, η = 1; b = ") for p in plots)
    first = next(p for p in study_plots(beside)[0] if p.name == EXPONENTS)
    labels = {s.label for s in first.panels[0].series}
    assert {"$m$ = 1024", "$m$ = 4 $N$"} <= labels


@pytest.mark.slow
def test_the_page_says_so(growing: Evaluation, tmp_path: Path) -> None:
    write_report(tmp_path, growing)
    page = re.sub(r"\s+", " ", (tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "m = 4 N, η = 1" in page


def test_settings_hold_both(beside: Evaluation) -> None:
    networks = [s for s in settings(Table.of(beside.table)) if not s.infinite]
    assert len(networks) == 1
