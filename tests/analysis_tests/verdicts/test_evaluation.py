"""The verdicts that a table of trials gives."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from analysis.data.curves.quantities import Curve, curves
from analysis.data.curves.quantity import Quantity
from analysis.figures.study import study_plots
from analysis.fits.growth import POWER, Growth, log_power
from analysis.fits.power_law import PowerLawFit
from analysis.levels.intervals import Method
from analysis.theory import Kind, Prediction, predictions
from analysis.verdicts import evaluation as evaluation_module
from analysis.verdicts.evaluation import evaluate
from analysis.verdicts.judging import Verdict, Word, fit_curve, usable

DESIGN_FIELDS = {
    "prediction", "quantity", "axis", "theory_exponent", "kind", "exponent", "ci_low", "ci_high",
    "level", "seeds", "points", "range", "local_slopes", "fit", "verdict", "reason", "source",
}  # fmt: skip


@pytest.fixture(scope="module")
def table(synthetic: ModuleType) -> pd.DataFrame:
    return synthetic.synthetic_table(synthetic.Grid(noise=0.05))


def by_name(verdicts: Sequence[Verdict]) -> dict[str, Verdict]:
    assert len({v.prediction for v in verdicts}) == len(verdicts)
    return {v.prediction: v for v in verdicts}


def test_planted_study(table: pd.DataFrame, synthetic: ModuleType) -> None:
    found = by_name(evaluate(table))
    assert found["best error against samples"].verdict is Word.FASTER
    assert found["best error against samples"].exponent == pytest.approx(
        synthetic.ERROR_EXPONENT, abs=0.03
    )
    assert found["best stopping time against samples"].verdict is Word.AGREES
    assert found["coupling against width"].verdict is Word.AGREES
    assert found["coupling against width"].fit["method"] == "per-seed slopes"
    assert found["error against step size"].verdict is Word.AGREES
    for v in found.values():
        assert v.adjusted_low <= v.ci_low <= v.ci_high <= v.adjusted_high
        assert v.dimension == 2
        assert v.law_id
    assert found["coupling against width"].fixed["samples"] == 512
    assert found["coupling against width"].fixed["effective_time"] > 0


def test_verdicts_json_has_the_fields_of_the_contract(table: pd.DataFrame) -> None:
    for verdict in evaluate(table):
        entry = json.loads(json.dumps(verdict.to_dict(), allow_nan=False))
        assert set(entry) >= DESIGN_FIELDS | {"law", "law_id", "dimension", "fixed"}
        assert set(entry) >= {"adjusted_low", "adjusted_high", "adjusted_level"}
        assert entry["adjusted_verdict"] in set(Word)
        assert entry["range"][0] < entry["range"][1]
        assert {"low", "high", "exponent", "error"} <= set(entry["local_slopes"][0])


def test_a_verdict_carries_its_curve_and_its_fit(table: pd.DataFrame) -> None:
    evaluation = evaluate(table)
    for verdict in evaluation:
        curve, fit = verdict.curve, verdict.fitted
        assert curve in evaluation.curves
        assert (curve.quantity, curve.axis) == (verdict.quantity, verdict.axis)
        again = fit_curve(curve, verdict.level, fit.growth)
        assert (fit.exponent, fit.ci) == (again.exponent, again.ci)
        assert (verdict.exponent, verdict.ci_low, verdict.ci_high) == (fit.exponent, *fit.ci)
        assert not {"curve", "fitted"} & set(verdict.to_dict())
        assert "Curve(" not in repr(verdict)
    assert list(evaluation) == list(evaluation.verdicts) == list(evaluation[:])
    assert "Table(" not in repr(evaluation)


@pytest.mark.slow
def test_a_curve_is_fitted_once_for_each_law_of_growth(
    table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[tuple[int, str]] = []

    def counted(curve: Curve, level: float, growth: Growth | None) -> PowerLawFit:
        fitted.append((id(curve), (growth or POWER).form))
        return fit_curve(curve, level, growth)

    monkeypatch.setattr(evaluation_module, "fit_curve", counted)
    best = predictions(2)[0]
    own = [replace(best, name="again"), replace(best, name="log", growth=log_power(1))]
    evaluation = evaluate(table, extra=own)
    by_curve = {v.prediction: v for v in evaluation}
    assert by_curve["again"].fitted is by_curve[best.name].fitted
    assert by_curve["log"].fitted is not by_curve[best.name].fitted
    assert len(fitted) == len(set(fitted)) > len(evaluation) / 2
    count = len(fitted)
    study_plots(evaluation)
    assert len(fitted) == count


def test_study_of_doubled_theory(table: pd.DataFrame) -> None:
    doubled = [
        replace(p, name=f"doubled {p.name}", exponent=2 * p.exponent)
        for p in predictions(2)
        if p.exponent and p.applies()
    ]
    found = by_name(evaluate(table, extra=doubled))
    assert found["doubled best error against samples"].verdict is Word.VIOLATES
    assert found["doubled best stopping time against samples"].verdict is Word.DISAGREES
    assert found["doubled coupling against width"].verdict is Word.DISAGREES
    assert found["doubled best unweighted error against samples"].verdict is Word.VIOLATES


def undecided(best: Verdict, count: int) -> list[Prediction]:
    """Predictions that the best error leaves open: it lies at the edge of their margin."""
    edge = replace(predictions(2)[0], kind=Kind.SHARP, exponent=best.exponent / 1.15)
    return [replace(edge, name=f"open {i}") for i in range(count)]


def test_adjusted_interval_widens_with_the_undecided(table: pd.DataFrame) -> None:
    one = "best error against samples"
    few = by_name(evaluate(table))
    many = by_name(evaluate(table, extra=undecided(few[one], 6)))
    assert many[one].adjusted_low < few[one].adjusted_low
    assert many[one].ci_low == few[one].ci_low
    decided = [v for v in many.values() if v.adjusted_verdict != "undetermined"]
    assert 0 < len(decided) < len(many)
    for v in many.values():
        assert v.adjusted_level == pytest.approx(1 - 0.05 * len(decided) / len(many))


@pytest.mark.slow
def test_reason_says_what_the_adjusted_interval_says(table: pd.DataFrame) -> None:
    best = by_name(evaluate(table))["best error against samples"]
    at_large = best.fit["asymptotic"]
    centre = at_large["exponent"]
    reach = (centre - at_large["low"] + 1e-5) / centre
    close = replace(predictions(2)[0], name="close", exponent=centre, margin=reach)
    found = by_name(evaluate(table, extra=[close, *undecided(best, 20)]))["close"]
    assert found.verdict is Word.CONSISTENT
    assert found.adjusted_verdict == "undetermined"
    assert "adjusted for all verdicts together: undetermined" in found.reason


def test_censored_and_diverged_levels_are_left_out_whole(synthetic: ModuleType) -> None:
    table = synthetic.synthetic_table(synthetic.Grid(seeds=3, steps=120))
    samples = table["samples"] == 64
    first = table.loc[samples, "trial_id"].iloc[0]
    table.loc[table["trial_id"] == first, "status"] = "diverged"
    curve = next(
        c for c in curves(table) if (c.quantity, c.axis) == (Quantity.BEST_ERROR, "samples")
    )
    assert curve.censored.any()
    kept, note = usable(curve)
    assert not kept.censored.any()
    assert 64 not in kept.x
    assert "train with more steps" in note
    assert "1 trial diverged: N = 64 left out" in note
    assert fit_curve(curve).trials == len(kept.x)
    verdict = by_name(evaluate(table))["best error against samples"]
    assert note in verdict.reason


def test_a_width_with_one_seed_is_left_out_and_one_seed_alone_is_undetermined(
    synthetic: ModuleType,
) -> None:
    """Along m the trials of a seed share their data; along N they do not."""
    table = synthetic.synthetic_table(synthetic.Grid(seeds=3))
    first = table["seed"] == 0

    def along(frame: pd.DataFrame, axis: str) -> Curve:
        name = (Quantity.BEST_ERROR, axis)
        return next(c for c in curves(frame) if (c.quantity, c.axis) == name)

    narrowest = along(table, "width").x.min()
    lone = along(table[first | (table["width"] > narrowest)], "width")
    kept, note = usable(lone)
    assert set(lone.x) - set(kept.x) == {narrowest}
    assert f"m = {narrowest:g} left out: one seed there" in note
    assert (fit_curve(lone).method, fit_curve(lone).points) == (Method.SEEDS, lone.levels - 1)
    assert usable(along(table[first], "width"))[1] == ""
    found = by_name(evaluate(table[first]))
    assert found["coupling against width"].verdict is Word.UNDETERMINED
    assert "add seeds, 2 at each x at least" in found["coupling against width"].reason
    assert found["error against step size"].verdict is Word.UNDETERMINED
    assert "add seeds, 2 at each x at least" in found["error against step size"].reason
    assert fit_curve(along(table[first], "samples")).ok


def test_few_censored_values_of_many_do_not_spoil_a_level(synthetic: ModuleType) -> None:
    """The level keeps them as recorded: without them it would be a selected sample."""
    table = synthetic.synthetic_table(synthetic.Grid(seeds=3))
    curve = next(
        c for c in curves(table) if (c.quantity, c.axis) == (Quantity.BEST_ERROR, "samples")
    )
    x = np.repeat(np.unique(curve.x), 100)
    y = np.tile(np.linspace(1.0, 2.0, 100), curve.levels) / x
    for count, spoilt in ((2, []), (3, [x[0]])):
        censored = (x == x[0]) & (y >= np.sort(y[x == x[0]])[-count])
        many = replace(curve, x=x, y=y, seed=np.arange(x.size), censored=censored, without=None)
        kept, note = usable(many)
        assert many.spoilt.tolist() == spoilt
        assert len(kept.x) == len(x) - 100 * len(spoilt)
        assert note.startswith(f"{count} trials without a best step inside the recorded ones")
        assert ("count as recorded" in note) == (not spoilt)


@pytest.mark.slow
def test_a_bound_may_use_errors_that_still_fall(synthetic: ModuleType) -> None:
    """Large N was stopped too early: its error is too large, so a fall that is fast enough even so
    is fast enough. The same data cannot violate a bound."""
    grid = synthetic.Grid(samples=(64, 128, 256, 512, 1024), seeds=4, steps=130)
    assert synthetic.best_time(1024) > 130 > synthetic.best_time(512)
    table = synthetic.synthetic_table(grid, random_seed=1)
    best = by_name(evaluate(table))["best error against samples"]
    assert best.points == 5
    assert best.verdict is Word.FASTER
    assert "even with N = 1024" in best.reason
    assert "left out" not in best.reason
    steep = replace(predictions(2)[0], name="steep", exponent=0.9)
    assert by_name(evaluate(table, extra=[steep]))["steep"].verdict is Word.UNDETERMINED


def test_the_unweighted_error_of_a_step_too_early_is_no_upper_limit(synthetic: ModuleType) -> None:
    """It is read where the weighted error is least, and may still rise after the last step."""
    grid = synthetic.Grid(
        samples=(64, 128, 256, 512, 1024), seeds=4, steps=130, widths=(), step_sizes=()
    )
    found = by_name(evaluate(synthetic.synthetic_table(grid, random_seed=1)))
    weighted = found["best error against samples"]
    unweighted = found["best unweighted error against samples"]
    assert (weighted.verdict, weighted.points) == (Word.FASTER, 5)
    assert (unweighted.verdict, unweighted.points) == (Word.UNDETERMINED, 4)
    assert "N = 1024 left out" in unweighted.reason


@pytest.mark.slow
def test_bounds_on_the_weighted_and_the_unweighted_error_follow_from_one_another(
    synthetic: ModuleType,
) -> None:
    """The unweighted one is the weighted one, b = 0.5 or so, times a factor that rises towards
    alpha^2/h^2 at T_0. Its own curve bends below the bound, but cannot stay there; one that is slow
    from the start, or whose weighted error does not decide, keeps its own verdict."""
    table = synthetic.synthetic_table(synthetic.Grid(seeds=16))
    n = table["samples"].to_numpy(dtype=float)
    name = "best unweighted error against samples"

    def judged(factor: Sequence[float], error: float = 1.0) -> Verdict:
        bent = table.assign(
            score_error=table["score_error"] * n**error,
            score_error_unweighted=table["score_error"] * n**error * np.asarray(factor),
        )
        return by_name(evaluate(bent))[name]

    late = 3 * (1 + 0.2 * (n / 1500) ** 1.5)
    found = judged(late, 0.0)
    assert found.verdict is Word.FASTER
    assert found.follows is not None
    assert found.follows.quantity == Quantity.BEST_ERROR
    assert found.to_dict()["follows"] == "best error against samples"
    assert "at most alpha^2/h^2 at T_0 times the weighted one" in found.reason
    assert found.at_large == found.follows.fitted.asymptotic
    assert found.at_large != found.fitted.asymptotic
    assert judged(np.full(len(n), 3.0), 0.0).follows is None
    slow = judged(3 * n**0.4, 0.0)
    assert slow.verdict is Word.UNDETERMINED
    assert "which cannot last" in slow.reason
    assert slow.follows is None
    assert judged(late, 0.3).follows is None

    other_way = table.assign(score_error=table["score_error"] * late)
    weighted = by_name(evaluate(other_way))["best error against samples"]
    assert weighted.verdict is Word.FASTER
    assert weighted.follows is not None
    assert weighted.follows.quantity == Quantity.BEST_ERROR_UNWEIGHTED
    assert "at most h^2/alpha^2 at T times the unweighted one" in weighted.reason


@pytest.mark.slow
def test_a_last_step_that_is_not_interpolation_says_nothing_of_no_stopping(
    synthetic: ModuleType,
) -> None:
    """The planted error at the last step falls as N^-1. Where the noise is not fitted that must
    not count against theory; where it is, it must."""
    table = synthetic.synthetic_table(synthetic.Grid(seeds=4, steps=3000))
    name = "unstopped error against samples"
    assert name not in by_name(evaluate(table.assign(train_loss=0.3)))
    fitted = table.assign(train_loss=0.003)
    assert by_name(evaluate(fitted))[name].verdict is Word.DISAGREES
    unknown = fitted.assign(noise_variance=np.nan)
    assert name not in by_name(evaluate(unknown))


@pytest.mark.slow
def test_never_stopped_error_may_bend_on_its_way_to_a_constant(synthetic: ModuleType) -> None:
    """0.1 (1 + 2 (64/N)) flattens: it does not vanish, though its first slopes are steep. An error
    that falls as N^-0.1 first and faster later must not pass."""
    table = synthetic.synthetic_table(synthetic.Grid(seeds=6))
    generator = np.random.default_rng(3)
    n = table["samples"].to_numpy(dtype=float)
    draw = dict(zip(table["trial_id"].unique(), generator.normal(0, 0.05, 10_000), strict=False))
    wobble = np.exp(table["trial_id"].map(draw).to_numpy(dtype=float))
    name = "never-stopped kernel error against samples"
    flat = table.assign(interpolation_error=0.1 * (1 + 2 * 64 / n) * wobble)
    assert by_name(evaluate(flat))[name].verdict is Word.AGREES
    late = n**-0.1 / (1 + (n / 1500) ** 1.5) * wobble
    steep = table.assign(interpolation_error=late)
    assert by_name(evaluate(steep))[name].verdict is not Word.AGREES


def test_selection_that_carries_the_verdict_is_named(table: pd.DataFrame) -> None:
    """Where the half that did not choose the step says otherwise, the reason tells."""
    other = table.copy()
    n = other["samples"].to_numpy(dtype=float)
    other["score_error_assess"] = other["score_error"] * (n / 64) ** 0.4
    verdict = by_name(evaluate(other))["best error against samples"]
    assert verdict.verdict is Word.FASTER
    assert "chosen on one half of the test set and the error read on the other: " in verdict.reason


@pytest.mark.slow
def test_quantity_without_data_is_not_judged(synthetic: ModuleType) -> None:
    table = synthetic.synthetic_table(synthetic.Grid(seeds=2, kernel=False))
    assert "coupling against width" not in by_name(evaluate(table))
