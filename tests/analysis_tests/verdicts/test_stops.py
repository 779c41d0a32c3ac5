"""Stopping rules on planted trajectories: where they stop, what they lose, what is left out."""

from __future__ import annotations

import gzip
import io
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats as distributions

from analysis.data.sweeps import settings, sweep
from analysis.data.table import Table
from analysis.drawing.plot import Plot
from analysis.figures.stops import compared, stopping, stopping_table
from analysis.report.page import write_report
from analysis.verdicts import evaluation as evaluation_module
from analysis.verdicts.evaluation import evaluate
from analysis.verdicts.stops import RULES, regrets, stops
from trainers.stopping import time_exponent

STEPS = np.unique(np.round(np.geomspace(1, 4000, 120)).astype(int))
ETA = 0.5


def trial(
    samples: int = 64,
    seed: int = 0,
    best: int = 100,
    dimension: int = 2,
    steps: np.ndarray = STEPS,
    **columns: object,
) -> pd.DataFrame:
    """A trial whose score error is 1 + log(tau/best)^2 with tau = best recorded: minimum 1."""
    tau = np.concatenate([[0], np.unique([*steps, best])])
    with np.errstate(divide="ignore"):
        error = 1 + np.minimum(np.log(tau / best) ** 2, 100)
    made: dict[str, object] = {
        "trial_id": f"{samples}-{seed}-{dimension}-{columns.get('width', 256)}", "study": "planted",
        "law_id": f"L{dimension}", "law": "cube", "law_label": "cube", "dimension": dimension,
        "samples": samples, "width": 256, "step_size": ETA, "initialisation": "symmetric",
        "feature_bias": True, "t_min": 0.05, "t_max": 1.0, "schedule": "constant",
        "g_min": 1.0, "g_max": 1.0,
        "precision": "float32", "trainer": "descent", "copies": 1, "time_law": "uniform",
        "weight": "x0",
        "steps": 4000, "seed": seed, "status": "completed",
        "noise_variance": 0.25, "noise_source": "exact", "step": tau,
        "effective_time": ETA * tau, "score_error": error, "train_loss": np.nan,
        "holdout_loss": np.nan, "kernel_complexity": np.nan,
    }  # fmt: skip
    return pd.DataFrame(made | columns)


def steps_of(frame: pd.DataFrame) -> np.ndarray:
    return frame["step"].to_numpy(dtype=float)


def one(frame: pd.DataFrame, rule: str) -> pd.Series:
    table = stops(frame, [rule])
    assert len(table) == 1
    return table.iloc[0]


# --- where the rules stop ---------------------------------------------------------------------


def test_the_oracle_loses_nothing_and_a_known_stop_loses_what_was_planted() -> None:
    base = trial(best=100)
    assert one(base, "oracle")[["step", "regret", "time_ratio"]].tolist() == [100, 0.0, 1.0]
    tau = steps_of(base)
    late = int(tau[np.searchsorted(tau, 300)])
    row = one(base.assign(holdout_loss=np.abs(tau - late) + 1), "holdout")
    assert row["step"] == late
    assert row["effective_time"] == ETA * late
    assert row["regret"] == pytest.approx(np.log(late / 100) ** 2)
    assert row["time_ratio"] == pytest.approx(late / 100)
    assert (row["oracle_step"], row["oracle_error"]) == (100, 1.0)
    assert row["fired"]
    assert not row["censored"]
    assert not row["pilot"]


@pytest.mark.parametrize("dimension", [1, 2, 5])
def test_discrepancy_stops_at_the_first_step_that_reaches_sigma2(dimension: int) -> None:
    base = trial(dimension=dimension)
    tau = steps_of(base)
    # 2 L / d = 0.25 exactly at a recorded step, and a little above one step earlier
    crossing = tau[70]
    residual = np.where(tau < crossing, 0.25 + 1e-9 + (crossing - tau), 0.25)
    row = one(base.assign(train_loss=dimension * residual / 2), "discrepancy")
    assert row["step"] == crossing
    above = one(base.assign(train_loss=dimension * (residual + 1e-6) / 2), "discrepancy")
    assert not above["fired"]


def test_rademacher_stops_at_the_last_step_within_the_critical_radius() -> None:
    base = trial()
    time = ETA * steps_of(base)
    # R(tau) = 1/(1 + eta tau)^(1/2) and sigma = 1/2: R e eta tau = 1 at the root of s^2 e^2 = 1 + s
    root = (1 + np.sqrt(1 + 4 * np.e**2)) / (2 * np.e**2)
    fine = trial(steps=np.arange(1, 200)).assign(step_size=1e-2)
    fine = fine.assign(kernel_complexity=(1 + 1e-2 * steps_of(fine)) ** -0.5)
    row = one(fine, "rademacher")
    assert row["effective_time"] == pytest.approx(1e-2 * np.floor(root / 1e-2))
    assert row["score_error"] == fine.set_index("step")["score_error"][row["step"]]
    # null before the crossing: not answered; null after it: no matter
    values = np.where(time > 0, 0.4 / np.maximum(time, 1e-9), 1.0) * np.linspace(0.5, 2, len(time))
    whole = one(base.assign(kernel_complexity=values), "rademacher")
    at = int(np.flatnonzero(base["step"] == whole["step"])[0])
    after, before = values.copy(), values.copy()
    after[at + 2 :] = np.nan
    before[at - 1] = np.nan
    assert one(base.assign(kernel_complexity=after), "rademacher")["step"] == whole["step"]
    assert not one(base.assign(kernel_complexity=before), "rademacher")["fired"]


def planted_sweep(dimension: int, pilot: Sequence[int] = (20, 20)) -> pd.DataFrame:
    fine = np.unique(np.round(np.geomspace(1, 4000, 3000)).astype(int))
    return pd.concat(
        trial(n, seed, best, dimension, fine)
        for n in (64, 128, 512, 2048)
        for seed, best in enumerate(pilot if n == 64 else (300, 500))
    )


@pytest.mark.parametrize("dimension", [1, 2, 4])
def test_a_priori_follows_its_power_of_n_from_the_pilot(dimension: int) -> None:
    table = stops(planted_sweep(dimension, (10, 40)), ["a_priori"])
    pilot = table[table["pilot"]]
    assert set(pilot["samples"]) == {64}
    assert pilot["regret"].isna().all()
    assert pilot["time_ratio"].isna().all()
    later = table[~table["pilot"]].groupby("samples")["effective_time"].unique()
    assert (later.str.len() == 1).all(), "one constant for every seed"
    n = later.index.to_numpy(dtype=float)
    expected = ETA * 20 * (n / 64) ** ((dimension + 2) / (dimension + 3))  # 20: geometric mean
    assert np.abs(later.str[0].to_numpy() - expected).max() <= ETA / 2 + 1e-9
    assert time_exponent(dimension) == (dimension + 2) / (dimension + 3)


def test_each_group_has_its_own_pilot() -> None:
    wide = planted_sweep(2, (80, 80)).assign(width=1024)
    wide["trial_id"] += "w"
    table = stops(pd.concat([planted_sweep(2), wide]), ["a_priori"])
    pilots = table[table["pilot"]].groupby("width")["step"].unique().to_dict()
    assert {k: v.tolist() for k, v in pilots.items()} == {256: [20], 1024: [80]}
    single = planted_sweep(2)
    only = stops(single[single["samples"] == 512], ["a_priori"])
    assert only["pilot"].all(), "with a single N there is nothing to judge"
    assert regrets(only).empty


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"best": 4000}, "1 of 2 of the pilot trials at N = 64 are best at their last step"),
        ({"score_error": np.nan}, "was not measured"),
        ({"score_error": STEPS[0] + np.arange(121.0)}, "best before training"),
    ],
)
def test_a_priori_needs_a_pilot_that_shows_its_best_step(
    change: dict[str, object], words: str
) -> None:
    best = int(change.pop("best", 100))  # type: ignore[call-overload]
    frame = pd.concat([trial(64, 0, best), trial(64, 1), trial(512, 0)])
    first = frame["trial_id"] == frame["trial_id"].iloc[0]
    for name, values in change.items():
        size = int(first.sum())
        frame.loc[first, name] = np.resize(np.asarray(values, dtype=float), size)
    table = stops(frame, ["a_priori"])
    assert not table["fired"].any()
    assert table["message"].str.contains(words).all()
    assert table["regret"].isna().all()


# --- what is counted and what is left out -----------------------------------------------------


def test_a_rule_that_never_fires_says_so_and_is_counted() -> None:
    frames = [trial(seed=s, train_loss=0.2 if s < 3 else 0.3) for s in range(4)]
    table = stops(pd.concat(frames))
    by_rule: Any = table.set_index(["rule", "seed"])
    silent = by_rule.loc[("discrepancy", 3)]
    assert not silent["fired"]
    assert silent[["step", "effective_time", "score_error", "regret", "time_ratio"]].isna().all()
    assert "0.3, above sigma^2 = 0.25" in silent["message"]
    assert by_rule.loc["holdout", "message"].str.contains("not measured").all()
    assert by_rule.loc["rademacher", "message"].str.contains("kernel: true").all()
    means: Any = regrets(table).set_index("rule")
    assert means.loc["discrepancy", ["trials", "used", "seeds", "fired"]].tolist() == [
        4,
        3,
        3,
        0.75,
    ]
    assert means.loc["holdout", ["trials", "used", "fired"]].tolist() == [4, 0, 0.0]
    assert np.isnan(means.loc["holdout", "regret"])
    unknown = stops(pd.concat(frames).assign(noise_variance=np.nan), ["discrepancy"])
    assert not unknown["fired"].any()


def test_diverged_and_failed_trials_are_left_out() -> None:
    frame = planted_sweep(2)
    frame.loc[frame["seed"] == 1, "status"] = "diverged"
    frame.loc[frame["samples"] == 128, "status"] = "failed"
    table = stops(frame)
    assert set(table["seed"]) == {0}
    assert set(table["samples"]) == {64, 512, 2048}
    assert len(table) == 3 * len(RULES)
    pilotless = frame.assign(status=np.where(frame["samples"] == 64, "failed", "completed"))
    again = stops(pilotless, ["a_priori"])
    assert set(again.loc[again["pilot"], "samples"]) == {128}
    assert stops(frame.assign(status="failed")).empty
    assert regrets(stops(frame.assign(status="failed"))).empty


def test_a_stop_at_the_last_step_is_marked() -> None:
    rising = trial(best=4000)
    falling = trial(best=100)
    falling["holdout_loss"] = 1 / (1 + falling["step"])
    first, second = one(rising, "oracle"), one(falling, "holdout")
    assert first["oracle_censored"]
    assert first["censored"]
    assert second["censored"]
    assert not second["oracle_censored"]
    assert regrets(stops(falling)).set_index("rule").loc["holdout", "censored"] == 1


def test_a_stop_before_the_first_step_has_a_regret_but_no_ratio() -> None:
    frame = trial(holdout_loss=1.0)
    frame["holdout_loss"] = frame["step"] + 1.0
    row = one(frame, "holdout")
    assert (row["step"], row["time_ratio"], row["regret"]) == (0, 0.0, 100.0)
    means = regrets(stops(frame, ["holdout"])).iloc[0]
    assert means["at_zero"] == 1
    assert np.isnan(means["time_ratio"])


def test_unknown_rules_are_refused_and_the_order_is_fixed() -> None:
    with pytest.raises(ValueError, match="'orcale' is no rule; use one of oracle, holdout"):
        stops(trial(), ["orcale"])
    assert stops(trial(), ["holdout", "oracle"])["rule"].tolist() == ["oracle", "holdout"]


def test_rows_in_any_order_and_repeated_give_the_same_stops() -> None:
    frame = planted_sweep(2)
    shuffled = pd.concat([frame, frame.head(50)]).sample(frac=1, random_state=3)
    pd.testing.assert_frame_equal(stops(frame), stops(shuffled))


# --- means over seeds -------------------------------------------------------------------------


def with_regrets(values: dict[tuple[int, int], float]) -> pd.DataFrame:
    """Trials (N, seed) whose holdout rule loses the given regret: log(tau/100)^2 inverted."""
    frames = []
    for (n, seed), lost in values.items():
        late = round(100 * np.exp(np.sqrt(lost)))
        frame = trial(n, seed, 100, steps=np.unique([*STEPS, late]))
        frames.append(frame.assign(holdout_loss=np.abs(frame["step"] - late) + 1.0))
    return pd.concat(frames)


def test_seeds_are_the_unit_of_the_interval() -> None:
    planted = {(n, s): 0.1 * (s + 1) + 0.2 * i for i, n in enumerate((64, 256)) for s in range(4)}
    table = stops(with_regrets(planted), ["holdout"])
    exact = table.set_index(["samples", "seed"])["regret"]
    assert exact.to_dict() == pytest.approx(planted, rel=0.02)
    row = regrets(table).iloc[0]
    seeds = exact.groupby("seed").mean().to_numpy()
    low, high = distributions.t.interval(0.95, 3, seeds.mean(), distributions.sem(seeds))
    assert row["regret"] == pytest.approx(seeds.mean())
    assert (row["regret_low"], row["regret_high"]) == pytest.approx((low, high))
    assert row[["seeds", "trials", "used", "fired"]].tolist() == [4, 8, 8, 1.0]
    assert row["time_ratio"] == pytest.approx(np.exp(np.log(table["time_ratio"]).mean()))
    each = regrets(table, by=("samples",)).set_index("samples")
    assert each["regret"].to_dict() == pytest.approx(exact.groupby("samples").mean().to_dict())
    narrower = regrets(table, level=0.5).iloc[0]
    assert narrower["regret_high"] < row["regret_high"]
    alone = regrets(stops(with_regrets({(64, 0): 0.3}), ["holdout"])).iloc[0]
    assert np.isnan(alone["regret_low"])
    assert alone["regret"] == pytest.approx(0.3, rel=0.02)


@pytest.mark.slow
def test_the_interval_holds_the_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    template = stops(with_regrets({(64, s): 0.1 for s in range(6)}), ["holdout"])
    held, tried = 0, 400
    for _ in range(tried):
        row = regrets(template.assign(regret=rng.normal(0.4, 0.1, 6)), level=0.9).iloc[0]
        held += row["regret_low"] <= 0.4 <= row["regret_high"]
    assert 0.85 < held / tried < 0.95  # 3.3 standard errors about 0.9


def test_settings_are_never_mixed() -> None:
    frame = with_regrets({(64, s): 0.1 for s in range(3)})
    other = with_regrets({(64, s): 0.9 for s in range(3)}).assign(t_min=0.01)
    other["trial_id"] += "t"
    rows = regrets(stops(pd.concat([frame, other]), ["holdout"])).set_index("t_min")
    assert rows["regret"].to_dict() == pytest.approx({0.05: 0.1, 0.01: 0.9}, rel=0.05)


# --- figure, table and page -------------------------------------------------------------------


def study() -> pd.DataFrame:
    """Holdout loses 0.1, 0.2, 0.4 at N = 64, 256, 1024; discrepancy fires on half of the last."""
    lost = {64: 0.1, 256: 0.2, 1024: 0.4}
    frame = with_regrets({(n, s): v for n, v in lost.items() for s in range(4)})
    quiet = (frame["samples"] == 1024) & (frame["seed"] >= 2)
    falls = 0.5 / (1 + frame["step"] / 50.0)
    return frame.assign(train_loss=np.where(quiet, 0.3, falls))


def test_the_figure_shows_the_regrets_and_what_did_not_fire() -> None:
    setting = settings(study())[0]
    (plot,) = stopping(setting, stops(study()))
    assert isinstance(plot, Plot)
    table = plot.table
    points = table[(table["series"] == "holdout") & (table["role"] == "points")]
    assert points["x"].tolist() == [64, 256, 1024]
    assert points["y"].to_numpy() == pytest.approx([1.1, 1.2, 1.4], rel=0.01)
    part = table[table["role"] == "left_out"]
    assert part["x"].tolist() == [1024], "discrepancy fired on two seeds of four there"
    assert "a priori" in set(table["series"])
    apriori = table[(table["series"] == "a priori") & (table["role"] == "points")]
    assert apriori["x"].tolist() == [256, 1024], "not at its pilot"
    assert "rademacher" not in set(table["series"]), "it fired nowhere"
    (only,) = stopping(setting, stops(study(), ["oracle", "holdout"]))
    assert isinstance(only, Plot)
    assert set(only.table["series"]) == {"holdout", "", "oracle"}


def test_the_stops_of_a_sweep_are_those_of_the_whole_table() -> None:
    """The pilots of a sweep along N are the same, whatever else the table holds."""
    wide = planted_sweep(2, (80, 80)).assign(width=1024, step_size=ETA / 2)
    wide["trial_id"] += "w"
    other = planted_sweep(2, (40, 40)).assign(t_min=0.01)
    other["trial_id"] += "t"
    whole = pd.concat([wide, other, planted_sweep(2)])
    found = settings(whole)
    assert len(found) == 2
    for setting in found:
        along = sweep(setting.frame, "samples")
        chosen = compared(setting, stops(whole))
        assert along is not None
        assert chosen is not None
        pd.testing.assert_frame_equal(chosen.stops, stops(along.frame))


@pytest.mark.slow
@pytest.mark.usefixtures("fingerprints")
def test_the_stops_are_found_once(
    synthetic: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    frame = synthetic.synthetic_table(
        synthetic.Grid(samples=(64, 256, 1024), widths=(4096,), step_sizes=(1.0,), seeds=3)
    )
    calls: list[object] = []

    def counted(table: Table, rules: Sequence[str]) -> pd.DataFrame:
        calls.append(rules)
        return stops(table, rules)

    monkeypatch.setattr(evaluation_module, "stops", counted)
    write_report(tmp_path, evaluate(frame, stopping=["oracle", "holdout"]))
    assert (tmp_path / "figures" / "gaussian_mixture_d2_stopping_rules.svg").exists()
    assert calls == [("oracle", "holdout")]


def test_every_rule_is_averaged_over_the_same_trials() -> None:
    setting = settings(study())[0]
    made = stopping_table(setting, stops(study()))
    assert made is not None
    rows = {row[0]: row for row in made["rows"]}
    assert list(rows) == ["holdout", "discrepancy", "rademacher", "a priori"]
    assert rows["holdout"][2] == "29.8 %"  # (20 + 40)/2 %, at whole steps: without the pilot's 10 %
    assert rows["discrepancy"][-1] == "6 of 8"
    assert rows["rademacher"][2:] == ("–", "–", "–", "", "0 of 8")
    notes = " ".join(made["notes"])
    assert "N = 256 to 1024, m = 256, η = 0.5" in notes
    assert "oracle at N = 64" in notes
    assert "σ², the labels' noise per coordinate, is exact." in notes
    assert "discrepancy did not fire on 2 of 8 trials" in notes
    without = stopping_table(setting, stops(study(), ["holdout"]))
    assert without is not None
    assert [row[0] for row in without["rows"]] == ["holdout"]
    assert without["rows"][0][2].startswith("23")  # (10 + 20 + 40)/3 %
    assert "σ²" not in " ".join(without["notes"])
    numbers = made["numbers"]
    assert set(numbers["scope"]) == {"average over N", "one N"}
    assert numbers.loc[numbers["scope"] == "average over N", "samples"].isna().all()


@pytest.mark.slow
def test_nothing_is_compared_where_there_is_nothing() -> None:
    setting = settings(study())[0]
    oracle = stops(study(), ["oracle"])
    assert compared(setting, oracle) is None
    assert list(stopping(setting, oracle)) == []
    assert stopping_table(setting, oracle) is None
    frame = study().query("samples == 256")
    single = settings(frame)[0]
    (reason,) = stopping(single, stops(frame))
    assert isinstance(reason, tuple)
    assert "single value of N" in reason[1]
    table = stopping_table(single, stops(frame))
    assert table is not None
    assert "cannot be judged" in " ".join(table["notes"])
    assert [row[0] for row in table["rows"]] == ["holdout", "discrepancy", "rademacher"]


def test_mixed_sources_of_sigma2_are_told_apart() -> None:
    frame = study()
    frame.loc[frame["seed"] == 0, "noise_source"] = "estimated"
    made = stopping_table(settings(frame)[0], stops(frame))
    assert made is not None
    assert "exact on 6 trials, estimated on 2 trials" in " ".join(made["notes"])


@pytest.mark.slow
@pytest.mark.usefixtures("fingerprints")
def test_the_page_holds_the_table_and_the_stops(synthetic: ModuleType, tmp_path: Path) -> None:
    frame = synthetic.synthetic_table(
        synthetic.Grid(samples=(64, 256, 1024), widths=(4096,), step_sizes=(1.0,), seeds=3)
    )
    page = write_report(tmp_path, evaluate(frame)).read_text()
    assert "Stopping without the truth" in page
    place = tmp_path / "figures"
    saved = pd.read_parquet(place / "stops.parquet")
    pd.testing.assert_frame_equal(saved, stops(frame))
    text = gzip.decompress((place / "stops.csv.gz").read_bytes())
    assert len(pd.read_csv(io.BytesIO(text))) == len(saved)
    assert (place / "gaussian_mixture_d2_stopping_rules.svg").exists()
    less = write_report(tmp_path / "less", evaluate(frame, stopping=["oracle"])).read_text()
    assert "Stopping without the truth" not in less
    less_saved = pd.read_parquet(tmp_path / "less" / "figures" / "stops.parquet")
    assert set(less_saved["rule"]) == {"oracle"}
    with pytest.raises(ValueError, match="no rule"):
        evaluate(frame, stopping=["best"])
