"""Verdicts over draws of a law, on planted tables: the draws differ in their exponent."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.data.curves.quantity import Quantity
from analysis.data.sweeps import families, family, law_names, settings
from analysis.figures.rates.draws import over_draws
from analysis.figures.study import study_plots
from analysis.report.page import write_report
from analysis.report.wording import lead
from analysis.verdicts.evaluation import Evaluation, evaluate
from analysis.verdicts.judging import Verdict, Word

TILTS = np.array([-0.10, -0.05, 0.0, 0.02, 0.06, 0.07])
"""What a draw's exponent has beside the planted one."""

PLANTED = 0.65


def planted(synthetic: ModuleType, tilts: np.ndarray, noise: float = 0.02) -> pd.DataFrame:
    """A table of draws of one law whose errors fall as N^-(PLANTED + tilt)."""
    frames = []
    for k, tilt in enumerate(tilts):
        grid = synthetic.Grid(seeds=3, noise=noise, widths=(), step_sizes=())
        own = synthetic.synthetic_table(grid, random_seed=k)
        factor = (own["samples"] / 512.0) ** -tilt
        for column in [c for c in own if c.startswith("score_error")]:
            own[column] = own[column] * factor
        frames.append(
            own.assign(
                law_id=f"law{k}",
                law_label=f"gaussian_mixture[components=8,std=0.1,seed={k}]",
                trial_id=own["trial_id"] + f"-{k}",
                point_id=own["point_id"] + f"-{k}",
                data_id=own["data_id"] + f"-{k}",
            )
        )
    return pd.concat(frames, ignore_index=True)


@pytest.fixture(scope="module")
def drawn(synthetic: ModuleType) -> Evaluation:
    return evaluate(planted(synthetic, TILTS))


def best(evaluation: Evaluation) -> Verdict:
    (found,) = [v for v in evaluation if v.quantity == Quantity.BEST_ERROR]
    return found


@pytest.mark.slow
def test_one_verdict_stands_for_all_draws(drawn: Evaluation) -> None:
    names = [v.prediction for v in drawn]
    assert len(names) == len(set(names))
    verdict = best(drawn)
    assert verdict.law == "gaussian_mixture[components=8,std=0.1], 6 draws"
    assert [d.law_id for d in verdict.draws] == [f"law{k}" for k in range(6)]
    assert [d.exponent for d in verdict.draws] == pytest.approx(PLANTED + TILTS, abs=0.02)
    assert verdict.verdict is Word.FASTER


def test_the_interval_is_that_of_the_draws_exponents(drawn: Evaluation) -> None:
    verdict = best(drawn)
    each = np.array([d.exponent for d in verdict.draws])
    assert verdict.exponent == pytest.approx(each.mean(), abs=1e-3)
    half = stats.t.ppf(0.975, len(each) - 1) * each.std(ddof=1) / len(each) ** 0.5
    assert (verdict.ci_high - verdict.ci_low) / 2 == pytest.approx(half, rel=0.02)
    own = max(d.ci_high - d.ci_low for d in verdict.draws) / 2
    assert half > 2 * own  # draws scatter by more than their seeds explain


@pytest.mark.slow
def test_draws_that_fall_either_side_of_the_bound_leave_it_open(synthetic: ModuleType) -> None:
    tilts = 0.4 - PLANTED + np.array([-0.2, -0.1, 0.1, 0.2])
    verdict = best(evaluate(planted(synthetic, tilts)))
    assert {d.ci_high < 0.4 for d in verdict.draws} == {True, False}
    assert verdict.verdict is Word.UNDETERMINED


@pytest.mark.slow
def test_a_level_that_one_draw_lost_is_left_out_and_said(synthetic: ModuleType) -> None:
    frame = planted(synthetic, TILTS)
    lost = (frame["law_id"] == "law2") & (frame["samples"] == 4096)
    frame.loc[lost, "status"] = "failed"
    verdict = best(evaluate(frame))
    assert verdict.range == (64, 2048)
    assert "N = 4096 left out: not every draw of the law has a value there" in verdict.reason


@pytest.mark.slow
def test_what_one_draw_has_alone_is_its_own(synthetic: ModuleType) -> None:
    """A level that the others never tried is no loss; the draw with most trials is shown."""
    frame = planted(synthetic, TILTS)
    alone = frame["law_id"] == "law1"
    few = frame[alone | (frame["samples"] < 4096)]
    verdict = best(evaluate(few))
    assert verdict.range == (64, 2048)
    assert "left out" not in verdict.reason
    assert [s.law_id for s in settings(few)] == ["law1"]


def test_two_draws_are_judged_each_for_itself(synthetic: ModuleType) -> None:
    found = [v for v in evaluate(planted(synthetic, TILTS[:2])) if v.quantity == "best_score_error"]
    assert [v.law_id for v in found] == ["law0", "law1"]
    assert all(not v.draws for v in found)


def test_what_all_draws_together_cannot_be_asked_is_asked_of_the_one_that_can(
    synthetic: ModuleType,
) -> None:
    """Draws that share four values of N leave the verdict of the one at seven what it is alone."""
    frame = planted(synthetic, TILTS[2:5])
    full = frame["law_id"] == "law0"
    few = evaluate(frame[full | (frame["samples"] <= 512)])
    verdict = best(few)
    assert (verdict.law_id, verdict.points) == ("law0", 7)
    assert verdict.verdict is best(evaluate(frame[full])).verdict is Word.FASTER
    rows = [v.law for v in few.unasked if v.quantity == Quantity.BEST_ERROR]
    assert rows == ["gaussian_mixture[components=8,std=0.1], 3 draws"]


@pytest.mark.parametrize(("status", "word"), [("diverged", "undetermined"), ("failed", "faster")])
def test_a_draw_that_is_left_out_is_named(synthetic: ModuleType, status: str, word: str) -> None:
    """Where its trials diverged, the draws that are left are a selected sample."""
    frame = planted(synthetic, TILTS[2:])
    frame.loc[(frame["law_id"] == "law1") & (frame["samples"] > 128), "status"] = status
    (verdict,) = [v for v in evaluate(frame) if v.draws and v.quantity == Quantity.BEST_ERROR]
    assert (len(verdict.draws), verdict.points) == (3, 7)
    assert verdict.verdict == verdict.adjusted_verdict == word
    left_out = (
        "the draw gaussian_mixture[components=8,std=0.1,seed=1] left out, with too few values"
    )
    assert f"{left_out} (15 trials {status}" in verdict.reason
    assert ("a selected sample" in verdict.reason) == (status == "diverged")


def test_what_makes_laws_draws_of_one() -> None:
    assert (
        family("atoms[count=16,seed=5]") == family("atoms[count=16,seed=12]") == "atoms[count=16]"
    )
    assert family("atoms[seed=5,count=16]") == "atoms[count=16]"
    assert family("atoms[count=16,seed=5]") != family("atoms[count=17,seed=5]")
    nested = "subspace[dimension=1,seed={}]/gaussian_mixture[components=2,std=0.1,seed={}]"
    assert family(nested.format(1, 2)) == family(nested.format(3, 4))
    assert family("cube") is None
    assert family("sphere[radius=1.0]") is None
    assert family("atoms[data=12ab34cd,count=9]") is None


NESTED = "subspace[dimension=1,seed={}]/gaussian_mixture[components=2,std=0.1,seed={}]"


def test_laws_that_share_one_seed_of_two_are_no_independent_draws() -> None:
    crossed = [NESTED.format(s, t) for s in (1, 2, 3, 4) for t in (5, 6, 7)]
    found = families(["cube", *crossed])
    outer = "subspace[dimension=1]/gaussian_mixture[components=2,std=0.1,seed={}]"
    assert found == {NESTED.format(s, t): outer.format(t) for s in (1, 2, 3, 4) for t in (5, 6, 7)}
    inner = families([NESTED.format(1, t) for t in (5, 6, 7)])
    both = families([NESTED.format(t, t + 1) for t in (5, 6, 7)])
    assert set(inner.values()) == set(both.values()) == {family(crossed[0])}


def test_crossed_seeds_are_pooled_over_one(synthetic: ModuleType) -> None:
    """Nine laws of 3 x 3 seeds: three pools of three draws, not one of nine."""
    frame = planted(synthetic, np.tile(TILTS[2:5], 3))
    number = frame["law_id"].str[3:].astype(int)
    labels = [NESTED.format(k % 3, k // 3) for k in range(9)]
    frame["law_label"] = number.map(dict(enumerate(labels)))
    rates = [v for v in evaluate(frame) if v.quantity == Quantity.BEST_ERROR]
    assert [[d.law for d in v.draws] for v in rates] == [labels[:3], labels[3:6], labels[6:]]
    assert len({v.law for v in rates}) == 3
    shown = [s.law_id for s in settings(frame)]
    assert shown == ["law0", "law3", "law6"]
    assert len({law_names(frame)[law] for law in shown}) == 3


@pytest.mark.slow
def test_panels_of_exponents_by_draw_are_told_apart(drawn: Evaluation) -> None:
    own = best(drawn)
    kernels = replace(own, theory_key="source_capacity", theory="spectrum and coefficients")
    others = (
        replace(kernels, quantity=str(one))
        for one in (Quantity.KERNEL_BEST_ERROR, Quantity.KERNEL_BEST_TIME)
    )
    plots = over_draws(replace(drawn, verdicts=(own, kernels, *others)))
    assert [q.title for p in plots if "by_draw" in p.name for q in p.panels] == [
        "error",
        "error, by spectrum and coefficients",
        "kernel's error",
        "kernel's best time",
    ]


@pytest.mark.slow
def test_the_page_shows_one_draw_whole_and_the_rest_by_their_exponents(
    fingerprints: None, drawn: Evaluation, tmp_path: Path
) -> None:
    (shown,) = settings(drawn.table)
    assert shown.label == "gaussian_mixture, d = 2, one of 6 draws"
    plots = {p.name: p for p in study_plots(drawn)[0]}
    by_draw = plots["draws_1_d2_exponent_by_draw_1"].table
    first = by_draw[(by_draw["panel"] == "error") & (by_draw["role"] == "points")]
    assert first["y"].tolist() == [d.exponent for d in best(drawn).draws]
    assert "draws_1_d2_best_score_error_against_samples" in plots
    drawn.table.trials.to_parquet(tmp_path / "results.parquet")
    page = write_report(tmp_path, drawn).read_text()
    assert "gaussian_mixture, d = 2, 6 draws" in page.replace("\u00a0", " ")
    assert "6 draws of the law)" in lead(("gaussian_mixture", 2), best(drawn))
    stored = json.loads(json.dumps(best(drawn).to_dict()))
    assert [d["law_id"] for d in stored["draws"]] == [f"law{k}" for k in range(6)]
