"""Samples' columns: read where they are, planted rates recovered, and the figures of them."""

from __future__ import annotations

import base64
import math
import re
from typing import get_args

import numpy as np
import pytest

from analysis.data.curves.quantity import Quantity
from analysis.data.curves.sampled import BOUND, sample_sets, sampled_curves, sampled_rows
from analysis.data.schema import table_from
from analysis.data.sweeps import settings
from analysis.data.table import Table
from analysis.drawing.figure import draw
from analysis.drawing.plot import Topic
from analysis.figures.samples import samples
from analysis.fits.power_law import fit_power_law
from analysis.report.page import verdict_row
from analysis.theory import Kind, Prediction
from analysis.verdicts.evaluation import Evaluation, evaluate
from analysis.verdicts.judging import Verdict, Word, usable
from trainers.kept.keep import Sampler, Sampling, noisy
from trainers.trial import Trajectory, TrialConfig

LAW: dict[str, object] = {"kind": "cube", "dimension": 2}
STEPS = [0, 4, 9, 20]
MADE = Sampling(("best", "last"), frozenset(range(4)), points=64).text
LEVELS = {
    "sample_energy_exact": 1e-4,
    "sample_wasserstein_exact": 1e-3,
    "sample_divergence_exact": 1e-3,
    "sample_nll_exact": 1.0,
    "sample_energy_true": 1e-5,
    "girsanov_start": 0.01,
}


def trajectory(
    n: int, seed: int, sampled: bool = True, loose: float = 3.0, law: dict[str, object] = LAW
) -> Trajectory:
    """Best at step 9. The divergence there is 1/N, Girsanov's bound `loose` times as large and
    0.01, the energy distance N^-0.8, all with a little noise."""
    config = TrialConfig.model_validate(
        {"law": law, "samples": n, "width": 8, "step_size": 1.0, "steps": 20, "seed": seed}
    )
    noise = np.random.default_rng((n, seed)).normal(1, 0.02)
    series = {"score_error": [1.0, 0.5, 0.1 * noise, 0.2]}
    if not sampled:
        return Trajectory(config, STEPS, values={}, series=series)
    planted = {
        "sample_energy": n**-0.8 * noise,
        "sample_wasserstein": n**-0.5 * noise,
        "sample_divergence": noise / n,
        "girsanov_score": loose * noise / n,
        "sample_nll": 1.0,
    }
    for name, value in planted.items():
        series[name] = [math.nan, math.nan, value, 3 * value]
    return Trajectory(config, STEPS, values={"sampled": MADE, **LEVELS}, series=series)


def table(loose: float = 3.0) -> Table:
    made = [trajectory(n, seed, True, loose) for n in (16, 32, 64, 128) for seed in range(4)]
    made += [trajectory(n, seed, False) for n in (16, 32, 64) for seed in (4, 5)]
    return Table.of(table_from(made, "s").to_pandas())


def test_rows_are_those_that_were_sampled() -> None:
    rows = sampled_rows(table())
    assert len(rows) == 2 * 16
    assert set(rows["step"]) == {9.0, 20.0}
    assert set(rows[rows["best"]]["step"]) == {9.0}
    assert rows[BOUND].to_numpy() == pytest.approx(0.01 + rows["girsanov_score"])
    assert sampled_rows(Table.of(table_from([trajectory(16, 0, False)], "s").to_pandas())).empty


@pytest.mark.parametrize(
    ("quantity", "exponent"),
    [
        (Quantity.SAMPLE_ENERGY, 0.8),
        (Quantity.SAMPLE_WASSERSTEIN, 0.5),
        (Quantity.SAMPLE_DIVERGENCE, 1.0),
    ],
)
def test_planted_rates_are_recovered(quantity: Quantity, exponent: float) -> None:
    (curve,) = (c for c in sampled_curves(table()) if c.quantity == quantity)
    assert (curve.axis, curve.levels, len(curve.x)) == ("samples", 4, 16)
    fit = fit_power_law(curve.x, curve.y)
    assert fit.exponent == pytest.approx(exponent, abs=0.03)


def test_a_last_step_is_not_taken_for_the_best_one() -> None:
    """Sampled at the last step alone, which is the best one of some trials: no curve, and figures
    say which step they show."""
    text = Sampling(("last",), frozenset(range(4)), points=64).text

    def sampled_last(better: int) -> Table:
        """The last step is the best one of the first seeds."""
        made = [trajectory(n, seed) for n in (16, 32, 64, 128) for seed in range(4)]
        for one in made:
            for name in ("sample_energy", "sample_wasserstein", "sample_divergence"):
                one.series[name][2] = math.nan
            one.series["girsanov_score"][2] = one.series["sample_nll"][2] = math.nan
            last = 0.01 if one.config.seed < better else 0.2
            one.series["score_error"][3] = last * (1 + 1e-3 * one.config.seed)
            one.texts["sample_points"] = [None, None, None, packed(np.ones((20, 2)))]
            one.values.update(sampled=text, drawn_points=packed(np.zeros((20, 2))))
        return Table.of(table_from(made, "s").to_pandas())

    for better, said in (
        (0, "at the last step at which it was sampled, which is not its best one"),
        (1, "at its best step"),
        (4, "at its best step"),
    ):
        frame = sampled_last(better)
        rows = sampled_rows(frame)
        assert set(rows["step"]) == {20.0}
        assert rows["best"].sum() == 4 * better
        assert bool(sampled_curves(frame)) == (better == 4)
        assert any(v.theory_key == "girsanov" for v in evaluate(frame)) == (better == 4)
        (setting,) = settings(frame)
        seen = next(p for p in samples(setting) if p.title == "Real and generated")
        assert said in seen.caption


def packed(values: np.ndarray) -> str:
    return base64.b64encode(values.astype("<f4").tobytes()).decode()


@pytest.mark.parametrize(("d", "panels"), [(1, 1), (2, 2), (3, 3), (7, 3)])
def test_samples_are_seen_beside_draws(d: int, panels: int) -> None:
    """Of the least and the largest N, at the best step, the leading coordinates of any d."""
    rng, k = np.random.default_rng(d), min(d, 3)
    made = []
    for n in (16, 32, 64):
        one = trajectory(n, 0, law={"kind": "cube", "dimension": d})
        one.texts["sample_points"] = [None, None, packed(rng.normal(n, 0.1, (20, k))), "no"]
        one.values["drawn_points"] = packed(rng.normal(-n, 0.1, (20, k)))
        made.append(one)
    frame = Table.of(table_from(made, "s").to_pandas())
    sets = sample_sets(sampled_rows(frame))
    assert [one.samples for one in sets] == [16, 32, 64]
    assert all(abs(one.points.mean() - one.samples) < 0.1 for one in sets)
    assert all(abs(one.drawn.mean() + one.samples) < 0.1 for one in sets)
    (setting,) = settings(frame)
    plot = next(p for p in samples(setting) if p.title == "Real and generated")
    assert len(plot.panels) == panels
    means = [round(float(s.x.mean())) for panel in plot.panels for s in panel.series]
    expected = {1: [-64, 16, 64], 2: [-16, 16, -64, 64]}.get(d, [-64, 64] * 3)
    assert means == expected
    draw(plot)


def test_points_that_cannot_be_read_are_not_seen() -> None:
    made = [trajectory(n, 0) for n in (16, 32, 64)]
    for one, text in zip(made, ("?", packed(np.ones(3)), None), strict=True):
        one.texts["sample_points"] = [None, None, text, None]
        one.values["drawn_points"] = packed(np.ones(4))
    rows = sampled_rows(Table.of(table_from(made, "s").to_pandas()))
    assert sample_sets(rows) == []


def test_levels_that_exact_draws_reach_are_left_out() -> None:
    frame = table_from([trajectory(n, s) for n in (16, 32, 64) for s in (0, 1)], "s").to_pandas()
    first = (frame["samples"] == 16) & (frame["seed"] == 0) & (frame["step"] == 9)
    frame.loc[first, "sample_energy"] = -1e-5
    (curve,) = (c for c in sampled_curves(frame) if c.quantity == Quantity.SAMPLE_ENERGY)
    assert len(curve.x) == 6
    assert curve.y.min() == pytest.approx(LEVELS["sample_energy_exact"] / 100)
    assert not curve.censored.any()
    frame.loc[(frame["samples"] == 16) & (frame["step"] == 9), "sample_energy"] = [-1e-5, 1.5e-4]
    (curve,) = (c for c in sampled_curves(frame) if c.quantity == Quantity.SAMPLE_ENERGY)
    assert set(curve.x[curve.censored]) == {16}
    kept, note = usable(curve)
    assert set(kept.x) == {32, 64}
    assert note == (
        "2 trials whose samples are as near to the law as exact draws: N = 16 left out (draw more "
        "samples)"
    )
    frame["sample_energy_exact"] = -1e-9  # of a law that few unbiased estimates told from itself
    (curve,) = (c for c in sampled_curves(frame) if c.quantity == Quantity.SAMPLE_ENERGY)
    assert curve.missing == (16.0,)


def verdicts(loose: float, **levels: float) -> dict[str, Verdict]:
    """On 6 levels of N over a factor of 32, 4 trials each."""
    sizes = [16 * 2**i for i in range(6)]
    made = [trajectory(n, seed, True, loose) for n in sizes for seed in range(4)]
    for one in made:
        one.values.update(levels)
    frame = table_from(made, "s").to_pandas()
    return {str(v.quantity): v for v in evaluate(frame) if v.theory_key == "girsanov"}


def test_divergences_that_exact_draws_reach_measure_no_smallness() -> None:
    """They are low where samples are tighter than the law: levels of them are left out of the rate,
    and say nothing for the bound."""
    sizes = [16 * 2**i for i in range(6)]
    made = [trajectory(n, seed) for n in sizes for seed in range(4)]
    for one in made:
        if one.config.samples >= 256:
            low = [1.1, -2.0, 0.5, 0.9][one.config.seed]  # a single one above what draws reach
            one.series["sample_divergence"][2] = low * LEVELS["sample_divergence_exact"]
    frame = table_from(made, "s").to_pandas()
    for quantity in (Quantity.SAMPLE_DIVERGENCE, Quantity.GIRSANOV_RATIO):
        (curve,) = (c for c in sampled_curves(frame) if c.quantity == quantity)
        assert curve.censored.sum() == 6
        assert set(curve.spoilt) == {256, 512}
        kept, note = usable(curve)
        assert set(kept.x) == {16, 32, 64, 128}
        assert "N = 256, 512 left out (draw more samples)" in note
    found = verdicts(3.0, sample_divergence_exact=1.0)["girsanov_ratio"]
    assert found.verdict is Word.UNDETERMINED
    assert "every N left out" in found.reason
    (setting,) = settings(Table.of(frame))
    bound = next(p for p in samples(setting) if p.title == "Does Girsanov's bound hold")
    assert "of 6 more the KL is no more than that" in bound.note.replace("\u00a0", " ")


def test_a_divergences_size_is_not_asked_where_its_estimate_is_poor() -> None:
    """In more than two dimensions; how fast it falls is."""

    def judged(d: int) -> Evaluation:
        law: dict[str, object] = {"kind": "cube", "dimension": d}
        made = [trajectory(16 * 2**i, seed, law=law) for i in range(6) for seed in range(4)]
        return evaluate(table_from(made, "s").to_pandas())

    for d in (1, 2, 3):
        found = judged(d)
        asked = {v.quantity for v in found if v.theory_key == "girsanov"}
        assert ("girsanov_ratio" in asked) == (d <= 2)
        assert "sample_divergence" in asked
        needs = {row.prediction: row.needs for row in found.not_asked}
        said = needs.get("divergence of samples over Girsanov's bound against samples", "")
        assert said.startswith("d at most 2: in more dimensions") == (d > 2)
        (setting,) = settings(found.table)
        titles = {plot.title for plot in samples(setting)}
        assert ("Does Girsanov's bound hold" in titles) == (d <= 2)


def test_the_bound_is_judged_and_said() -> None:
    """The divergence is 1/N and can be told from 0.001, the bound 3/N and 0.01."""
    found = verdicts(3.0)
    holds = found["girsanov_ratio"]
    assert holds.verdict is Word.AGREES
    n = np.array([16 * 2**i for i in range(6)])
    ratio = np.max((1 / n + 0) / (3 / n + 0.01 + 1e-3))
    (largest,) = re.findall(r"the largest level mean is (0\.\d+)", holds.reason)
    assert float(largest) == pytest.approx(ratio, rel=0.03)
    assert math.isnan(holds.theory_exponent)
    assert holds.to_dict()["threshold"] == 1
    assert "theory at most 1: agrees" in repr(holds)
    row = verdict_row(holds)
    assert row["theory"] == "at most 1 everywhere"
    assert float(row["measured"]) == pytest.approx(ratio, abs=0.01)
    ends = [float(end) for end in row["plain"].split(" to ")]
    assert ends == pytest.approx(holds.measured[1:], abs=0.005)
    assert float(row["adjusted"].split(" to ")[1]) >= ends[1]
    assert row["at_large"] == ""
    falls = found["sample_divergence"]
    assert falls.verdict is Word.FASTER
    assert falls.theory_exponent == pytest.approx(2 / 5)
    assert verdicts(0.2, girsanov_start=0.0)["girsanov_ratio"].verdict is Word.DISAGREES


def test_the_divergence_follows_the_error_where_samples_start_from_the_law_at_t() -> None:
    """Divergences that seem to bend, of networks whose errors are N^-0.6."""

    def told(start: float, sampler: Sampler = "exponential") -> Evaluation:
        made = [trajectory(16 * 2**i, seed) for i in range(6) for seed in range(4)]
        for one in made:
            n = one.config.samples
            own = np.random.default_rng((n, one.config.seed)).normal(1, 0.05)
            one.series["score_error"] = [1.0, 0.5, 0.1 * n**-0.6, 0.2]
            one.series["sample_divergence"][2] = own * (n**-0.8 + 0.02 * n**-0.2)
            one.values["girsanov_start"] = start
            one.values["sampled"] = Sampling(("best",), frozenset(), sampler=sampler).text
        return evaluate(table_from(made, "s").to_pandas(), extra=[mine])

    def of(name: str, found: Evaluation) -> Verdict:
        return next(v for v in found if v.prediction == name)

    theirs, own = "divergence of samples against samples", "mine"
    mine = Prediction(own, Quantity.SAMPLE_DIVERGENCE, "samples", 0.4, Kind.BOUND)
    follows = of(theirs, told(0.0))
    assert follows.verdict is Word.FASTER
    assert follows.follows is not None
    assert "by Girsanov's theorem a constant times the weighted one" in follows.reason
    assert of(own, told(0.0)).follows is not None
    assert of(theirs, told(0.01)).verdict is Word.UNDETERMINED
    assert of(own, told(0.0, "heun")).follows is None


@pytest.mark.parametrize("sampler", get_args(Sampler))
def test_girsanovs_theorem_is_asked_of_samplers_with_noise(sampler: Sampler) -> None:
    """The probability flow has a law of its own, on which the theorem sets no bound."""
    made = [trajectory(16 * 2**i, seed) for i in range(6) for seed in range(4)]
    text = Sampling(("best",), frozenset(), sampler=sampler).text
    for one in made:
        one.values["sampled"] = text
    found = evaluate(table_from(made, "s").to_pandas())
    drawn = sampler in ("euler_maruyama", "exponential")
    assert noisy(text) == drawn
    asked = {v.quantity for v in found if v.theory_key == "girsanov"}
    assert asked == ({"girsanov_ratio", "sample_divergence"} if drawn else set())
    needs = [row.needs for row in found.not_asked if "divergence" in row.prediction]
    assert all("says nothing of the probability flow" in told for told in needs)
    assert len(needs) == (0 if drawn else 2)
    (setting,) = settings(found.table)
    plots = {plot.title: plot for plot in samples(setting)}
    assert ("Does Girsanov's bound hold" in plots) == drawn
    of_n = [s.label for panel in plots["Quality of samples against N"].panels for s in panel.series]
    assert ("Girsanov's bound" in of_n) == drawn


def test_what_a_sampler_adds_is_an_assumption() -> None:
    def found(**levels: float) -> dict[str, str]:
        one = verdicts(3.0, **levels)["sample_divergence"]
        return {str(a.name): str(a.holds) for a in one.assumptions}

    exact = found(girsanov_start=0.0)
    assert exact["samples by the true score like exact draws"] == "yes"
    assert exact["samples that start from the law at T"] == "yes"
    other = found(sample_energy_true=2e-4, girsanov_start=0.5)
    assert other["samples by the true score like exact draws"] == "no"
    assert other["samples that start from the law at T"] == "no"
    assert found(sample_energy_true=math.nan)["samples that start from the law at T"] == (
        "not measured"
    )


@pytest.mark.parametrize(("loose", "said"), [(3.0, "holds for 100 %"), (0.1, "holds for 0 %")])
def test_figures_say_whether_the_bound_holds(loose: float, said: str) -> None:
    frame = table(loose)
    if loose < 1:
        whole = table_from([trajectory(n, 0, True, loose) for n in (16, 32, 64)], "s").to_pandas()
        whole[["girsanov_start", "sample_divergence_exact"]] = 0.0
        frame = Table.of(whole)
    (setting,) = settings(frame)
    plots = {plot.title: plot for plot in samples(setting)}
    bound = plots["Does Girsanov's bound hold"]
    assert {plot.topic for plot in plots.values()} == {Topic.GENERATED}
    assert said in bound.note.replace("\u00a0", " ").replace("\u202f", " ")
    labels = [series.label for series in bound.panels[0].series]
    assert ("holds" in labels) == (loose > 1)
    assert ("does not hold" in labels) == (loose < 1)
    error = plots["Sample error against score error"]
    shown = sum(len(s.x) for s in error.panels[0].series if s.role == "trials")
    assert shown == (32 if loose > 1 else 6)
    along = plots["Sample error along training"]
    of_three_sizes = sum(len(s.x) for s in along.panels[0].series if s.role == "trials")
    assert of_three_sizes == (24 if loose > 1 else 6)
    assert "for 100" in along.note
    if loose > 1:
        caption = plots["Quality of samples against N"].note
        (told,) = re.findall(r"energy distance as N\S+ with b = (0\.\d+)", caption)
        assert float(told) == pytest.approx(0.8, abs=0.03)
    assert not list(samples_of_nothing())


def samples_of_nothing() -> list[object]:
    plain = table_from([trajectory(n, 0, False) for n in (16, 32, 64)], "s").to_pandas()
    (setting,) = settings(Table.of(plain))
    return list(samples(setting))


def test_samples_of_a_table_are_held_against_the_held_out_loss() -> None:
    frame = table_from([trajectory(n, s) for n in (16, 32, 64) for s in (0, 1)], "s").to_pandas()
    unknown = ["score_error", "score_error_unweighted", "girsanov_score", "girsanov_start"]
    frame[unknown] = np.nan
    frame["law"], frame["holdout_loss"] = "table", 1.0 + (frame["step"] - 9).abs()
    sampled = frame["sample_energy"].notna()
    frame["tstr_auc_logistic"] = np.where(sampled, 0.6 + 1e-3 * frame["samples"], np.nan)
    frame["tstr_auc_logistic_real"], frame["tstr_auc_boosting_real"] = 0.8, np.nan
    frame["tstr_auc_boosting"] = np.nan
    (setting,) = settings(Table.of(frame))
    rows = sampled_rows(frame)
    assert rows[rows["best"]].groupby("trial").size().eq(1).all()
    assert (rows.loc[rows["best"], "step"] == rows.groupby("trial")["step"].min().values).all()
    plots = {plot.title: plot for plot in samples(setting)}
    assert "Does Girsanov's bound hold" not in plots
    assert rows["sample_divergence"].isna().all()  # its rows have no density
    assert "held-out loss" in plots["Sample error against held-out loss"].panels[0].x_label
    worth, real = (
        s for s in plots["What samples are worth"].panels[0].series if s.y.size and "log" in s.label
    )
    np.testing.assert_allclose(worth.y, 0.6 + 1e-3 * np.array([16, 32, 64]))
    np.testing.assert_allclose(real.y, 0.8)
