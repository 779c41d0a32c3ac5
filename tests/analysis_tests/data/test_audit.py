"""The audit's files, curves, verdicts, figures and words, on planted exponents."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.data.audit import (
    AUDIT_SCHEMA,
    EARLIER_FIRST,
    EARLIER_LAST,
    EARLIER_SAMPLES,
    audit_beside,
    audit_curves,
    audit_table,
    continuation,
    exponents_for,
    index_window,
    load_audit,
    preferred,
    setting_audit,
    spectral_rates,
    trusted_norms,
)
from analysis.data.curves.quantities import Curve, curves
from analysis.data.curves.quantity import Quantity
from analysis.data.results import load_results
from analysis.data.schema import ResultsError
from analysis.data.sweeps import settings
from analysis.data.table import Table, load_table
from analysis.drawing.figure import draw
from analysis.drawing.plot import Plot
from analysis.figures.audit import audit_plots
from analysis.figures.study import study_plots
from analysis.report.assumptions import NOT_MEASURED, assumption_rows
from analysis.report.page import write_report
from analysis.verdicts.evaluation import evaluate
from analysis.verdicts.judging import Word, fit_curve
from trainers.audit.columns import (
    AUDIT_COLUMNS,
    AUDIT_QUANTITIES,
    audit_id,
    audit_identity,
)
from trainers.trial import Diffusion, GaussianMixture, TrialConfig

CAPACITY, SOURCE = 1.4, 1.32  # s b / (s b + 1) = 0.649, what the synthetic table's kernel does
EIGENVALUE, APPROXIMATION = 4 / 3, 1.3
SAMPLES, BIAS = 8192, 0.4  # of the spectrum; l_i exceed the operator's by BIAS i / 1000
PREDICTED = 0.649
CONFIG = TrialConfig(law=GaussianMixture(dimension=2, seed=5), samples=64, width=64, step_size=1.0)


def rows(config: TrialConfig = CONFIG, seeds: int = 4) -> list[dict[str, Any]]:
    """An audit with planted exponents; each replicate has its own height and a slight tilt."""
    rng = np.random.default_rng(3)
    found: list[dict[str, Any]] = []

    def add(
        quantity: str, value: float | None, x: float | None = None, seed: int | None = None
    ) -> None:
        about = AUDIT_QUANTITIES[quantity]
        found.append(
            {
                **audit_identity(config), "quantity": quantity, "axis": about.axis or None,
                "x": x, "seed": seed, "value": value, "unit": about.unit,
            }
        )  # fmt: skip

    add("support_radius", None)
    add("spectrum_samples", SAMPLES)
    for seed in range(seeds):
        height, tilt = np.exp(0.05 * rng.standard_normal()), 0.01 * rng.standard_normal()
        for i in [1.0, 2.0, 3.0, 4.0, *np.unique(np.geomspace(5, 320, 24).round())]:
            steep = 2.0 if i < 5 else EIGENVALUE + tilt
            value = height * i**-steep
            add("operator_eigenvalue", value, i, seed)
            add("ntk_eigenvalue", value * (1 + BIAS * i / 1000), i, seed)
        for norm in np.geomspace(0.05, 10, 14):
            value = height * 0.01 * norm ** -(APPROXIMATION + tilt)
            add("approximation", value, float(norm), seed)
            gap = 1.05 if norm < 4 else 2.0
            add("approximation_in_sample", value / gap, float(norm), seed)
        for name, value in (("capacity", CAPACITY), ("source", SOURCE), ("rate", 0.649)):
            add(name, value + tilt, None, seed)
        for n in (16, 64, 256, 1024, 4096, 16384):
            # two powers, so that interpolation has something to follow
            bend = 1 + 8 / n
            add("predicted_error", height * n**-PREDICTED * bend, n, seed)
            add("predicted_time", height * n**0.5 * bend, n, seed)
        for t in (0.005, 0.05, 1.0):
            for name, value in (
                ("lipschitz_x", 0.3 / t), ("lipschitz_t", 0.4 / t), ("typical_slope_x", 2.0),
                ("typical_slope_t", 3.0), ("noise_variance", 0.2 * t), ("search_radius", 2.0),
                ("posterior_variance", 0.4 * t),
            ):  # fmt: skip
                add(name, value * (1 + 0.001 * seed), t, seed)
        for radius in (1.0, 2.0, 3.0, 4.0):
            add("tail", float(10 ** (1 - radius)), radius, seed)
        for n in (64, 256, 1024):
            add("smallest_eigenvalue", height / n**2, n, seed)
            add("largest_step_size", 4.0, n, seed)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("study")
    (place / "audit").mkdir()
    pq.write_table(audit_table(rows()), place / "audit" / f"{audit_id(CONFIG)}.parquet")
    return place


@pytest.fixture(scope="module")
def audit(folder: Path) -> pd.DataFrame:
    found = load_audit(folder)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def frame(synthetic: ModuleType) -> pd.DataFrame:
    table: pd.DataFrame = synthetic.synthetic_table()
    return table


# --- files ----------------------------------------------------------------------------------------


def test_schema_says_unit_and_meaning_of_each_column() -> None:
    assert AUDIT_SCHEMA.names == [c.name for c in AUDIT_COLUMNS]
    assert all(field.metadata[b"meaning"] for field in AUDIT_SCHEMA)
    assert AUDIT_SCHEMA.metadata[b"format"] == b"scorerates audit"


def test_rows_come_back_from_files(folder: Path, audit: pd.DataFrame) -> None:
    written = rows()
    assert len(audit) == len(written)
    for name in ("value", "x"):
        expected = np.array([np.nan if r[name] is None else r[name] for r in written])
        assert np.array_equal(audit[name].to_numpy(), expected, equal_nan=True)
    assert [None if pd.isna(v) else v for v in audit["seed"]] == [r["seed"] for r in written]
    table = load_audit(f"file://{folder}")
    assert table is not None
    pd.testing.assert_frame_equal(table, audit)
    beside = load_audit(folder / "results.parquet")
    assert beside is not None
    assert len(beside) == len(audit)


def test_audits_are_picked_by_id(folder: Path) -> None:
    chosen = load_audit(folder, {audit_id(CONFIG)})
    assert chosen is not None
    assert set(chosen["audit_id"]) == {audit_id(CONFIG)}
    assert load_audit(folder, {"another"}) is None


def test_no_audit_is_none(tmp_path: Path) -> None:
    assert load_audit(tmp_path) is None
    assert load_audit(tmp_path / "nowhere") is None
    assert load_audit("sqlite:///mlflow.db") is None


def test_damaged_and_foreign_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "audit").mkdir()
    path = tmp_path / "audit" / "one.parquet"
    path.write_bytes(b"no parquet")
    with pytest.raises(ResultsError, match=r"one\.parquet.*run the study again"):
        load_audit(tmp_path)
    pq.write_table(pa.table({"x": [1.0]}), path)
    with pytest.raises(ResultsError, match=r"one\.parquet"):
        load_audit(tmp_path)
    newer = {**AUDIT_SCHEMA.metadata, b"format_version": b"99"}
    pq.write_table(audit_table(rows()).replace_schema_metadata(newer), path)
    with pytest.raises(ResultsError, match="format version 99"):
        load_audit(tmp_path)


def test_rows_of_other_columns_are_refused() -> None:
    row = rows()[0]
    with pytest.raises(ValueError, match="odd: extra"):
        audit_table([{**row, "extra": 1}])
    with pytest.raises(ValueError, match="odd: unit"):
        audit_table([{k: v for k, v in row.items() if k != "unit"}])
    with pytest.raises(ValueError, match="audit"):
        audit_table([{**row, "value": "much"}])


# --- curves and verdicts --------------------------------------------------------------------------


def test_curves_hold_the_planted_exponents(audit: pd.DataFrame) -> None:
    eigenvalue, approximation = audit_curves(audit)
    assert (eigenvalue.quantity, eigenvalue.axis) == (Quantity.NTK_EIGENVALUE, "index")
    # after the linear functions, and up to a tenth of bias: 0.4 i / 1000 at i = 250
    assert index_window(audit) == (5, eigenvalue.x.max())
    assert eigenvalue.x.min() == 5
    assert 200 < eigenvalue.x.max() <= 250
    assert eigenvalue.fixed["samples"] == SAMPLES
    assert (approximation.quantity, approximation.axis) == (Quantity.APPROXIMATION, "norm")
    assert approximation.x.max() < 4  # beyond, the two estimates differ by a factor of two
    assert approximation.x.max() == max(trusted_norms(audit))
    for curve, planted in ((eigenvalue, EIGENVALUE), (approximation, APPROXIMATION)):
        assert curve.linked
        fit = fit_curve(curve)
        assert fit.exponent == pytest.approx(planted, abs=0.02)
        assert str(fit.method) == "per-seed slopes"
        assert fit.seeds == 4
        assert fit.ci[0] < planted < fit.ci[1]
    assert audit_curves(None) == []
    assert audit_curves(audit.assign(feature_bias=False)) == []  # theory names other exponents


def test_interval_is_that_of_one_slope_a_replicate(audit: pd.DataFrame) -> None:
    from scipy import stats

    curve = audit_curves(audit)[0]
    slopes = [
        -np.polyfit(np.log(curve.x[curve.seed == s]), np.log(curve.y[curve.seed == s]), 1)[0]
        for s in range(4)
    ]
    half = stats.t.ppf(0.975, 3) * np.std(slopes, ddof=1) / 2
    fit = fit_curve(curve)
    # the jackknife over replicates is wider, by a factor of about (4/3)^(1/2)
    assert 1 <= (fit.ci[1] - fit.ci[0]) / (2 * half) < 1.25


@pytest.mark.slow
def test_planted_curves_get_their_verdicts(frame: pd.DataFrame, audit: pd.DataFrame) -> None:
    verdicts = {(v.quantity, v.axis): v for v in evaluate(frame, audit=audit)}
    assert verdicts[Quantity.NTK_EIGENVALUE, "index"].verdict is Word.AGREES
    assert verdicts[Quantity.APPROXIMATION, "norm"].verdict is Word.FASTER
    kernel = verdicts[Quantity.KERNEL_BEST_ERROR, "samples"]
    levels = np.unique(kernel.curve.x) if kernel.curve is not None else np.empty(0)
    known = np.array([16.0, 64, 256, 1024, 4096, 16384])
    at = np.interp(np.log(levels), np.log(known), np.log(known**-PREDICTED * (1 + 8 / known)))
    expected = -np.polyfit(np.log(levels), at, 1)[0]
    assert kernel.theory_exponent == pytest.approx(expected, abs=1e-9)
    assert kernel.fit["form"] == "A x^-b g(x)"
    assert kernel.verdict is Word.AGREES
    without = {(v.quantity, v.axis) for v in evaluate(frame)}
    assert set(verdicts) - without == {
        (Quantity.NTK_EIGENVALUE, "index"),
        (Quantity.APPROXIMATION, "norm"),
        (Quantity.KERNEL_BEST_ERROR, "samples"),
        (Quantity.KERNEL_BEST_TIME, "samples"),
    }
    assert all(v.to_dict() for v in verdicts.values())


def earlier(audit: pd.DataFrame) -> pd.DataFrame:
    """The same audit as version 1 wrote it."""
    new = ["operator_eigenvalue", "spectrum_samples", "predicted_error", "predicted_time"]
    return audit[~audit["quantity"].isin(new)].assign(audit_id="0")


def test_audits_of_version_1_keep_their_own_window_and_rate(
    frame: pd.DataFrame, audit: pd.DataFrame
) -> None:
    old = earlier(audit)
    eigenvalue = audit_curves(old)[0]
    inside = old[(old["quantity"] == "ntk_eigenvalue") & old["x"].between(8, 128)]
    assert (EARLIER_FIRST, EARLIER_LAST) == (8, 128) == index_window(old)
    np.testing.assert_array_equal(np.unique(eigenvalue.x), np.unique(inside["x"]))
    assert eigenvalue.fixed["samples"] == EARLIER_SAMPLES == 2048
    curve = next(c for c in curves(frame) if c.quantity == Quantity.KERNEL_BEST_ERROR)
    assert spectral_rates(old, curve) == {}
    found = {v.quantity: v for v in evaluate(frame, audit=old)}[Quantity.KERNEL_BEST_ERROR]
    b, s = exponents_for(old, curve)
    assert b is not None
    assert s is not None
    assert found.theory_exponent == pytest.approx(s * b / (s * b + 1))
    assert found.fit["form"] == "A x^-b"


def test_of_two_audits_that_with_the_larger_sample_is_used(
    frame: pd.DataFrame, audit: pd.DataFrame
) -> None:
    both = pd.concat([earlier(audit), audit], ignore_index=True)
    assert min(both["audit_id"]) == "0"
    curve = next(c for c in curves(frame) if c.quantity == Quantity.KERNEL_BEST_ERROR)
    assert set(spectral_rates(both, curve)) == {
        Quantity.KERNEL_BEST_ERROR,
        Quantity.KERNEL_BEST_TIME,
    }


def test_the_predicted_rate_is_that_over_the_curves_own_levels(
    frame: pd.DataFrame, audit: pd.DataFrame
) -> None:
    curve = next(c for c in curves(frame) if c.quantity == Quantity.KERNEL_BEST_ERROR)
    b, growth = spectral_rates(audit, curve)[Quantity.KERNEL_BEST_ERROR]
    # a curve that falls as predicted is that power times g, to rounding
    x = np.array([64.0, 256.0, 1024.0, 4096.0])
    predicted = x**-PREDICTED * (1 + 8 / x)
    ratio = predicted / (x**-b * growth.of(x))
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-9)
    time, _growth = spectral_rates(audit, curve)[Quantity.KERNEL_BEST_TIME]
    assert time < 0
    # a level that the prediction does not reach, or one replicate alone does: nothing
    far = audit.assign(x=audit["x"].where(audit["quantity"] != "predicted_error", audit["x"] / 64))
    assert set(spectral_rates(far, curve)) == {Quantity.KERNEL_BEST_TIME}
    lone = audit[
        (audit["quantity"] != "predicted_time") | (audit["x"] < 1000) | (audit["seed"] == 0)
    ]
    assert set(spectral_rates(lone, curve)) == {Quantity.KERNEL_BEST_ERROR}


def shaped(audit: pd.DataFrame, law: str, b: float, last: float = 2.0**17) -> pd.DataFrame:
    """The audit of another draw, whose predictions fall as x^-b up to `last`."""
    at = [float(2**k) for k in range(4, 18) if 2**k <= last]
    rows = audit[audit["quantity"] == "predicted_error"].drop_duplicates(["quantity", "seed"])
    every = [row.assign(x=x, value=3 * x**-b) for x in at for _, row in rows.groupby("seed")]
    return pd.concat(every, ignore_index=True).assign(law_id=law)


def best_error(frame: pd.DataFrame) -> Curve:
    return next(
        c for c in curves(frame) if (c.quantity, c.axis) == (Quantity.BEST_ERROR, "samples")
    )


def test_what_goes_on_beyond_a_curve_is_the_spectrum_of_its_setting(
    frame: pd.DataFrame, audit: pd.DataFrame
) -> None:
    curve = best_error(frame)
    own = {curve.law_id: shaped(audit, curve.law_id, 0.4)}
    found = continuation(own, curve)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((0.4, 0.4))
    assert (found.reach, found.draws) == (2**17, 0)
    x = np.array([64.0, 100.0, 4096.0])
    np.testing.assert_allclose(found.log_shape(x), np.log(3 * x**-0.4))
    fixed = {k: v for k, v in curve.fixed.items() if k != "width"}
    for width, alone in (({"width": 64}, False), ({"width": math.inf}, True), ({}, True)):
        made = continuation(own, replace(curve, fixed={**fixed, **width}))
        assert made is not None
        assert made.alone is alone
    assert continuation({}, curve) is None
    for other in ({"quantity": Quantity.BEST_ERROR_UNWEIGHTED}, {"axis": "width"}):
        assert continuation(own, replace(curve, **other)) is None
    noisy = replace(curve, fixed={**curve.fixed, "copies": 4})
    assert continuation(own, noisy) is None
    short = {curve.law_id: shaped(audit, curve.law_id, 0.4, last=2.0**15)}
    assert continuation(short, curve) is None  # a factor of 8 beyond 4096
    assert continuation(short, curve.only(curve.x <= 2048)) is not None


def test_what_goes_on_beyond_draws_is_the_mean_over_those_that_are_known(
    frame: pd.DataFrame, audit: pd.DataFrame
) -> None:
    curve = best_error(frame)
    each = tuple(replace(curve, law_id=name) for name in ("one", "two", "three"))
    pooled = replace(curve, law_id="all", draws=each)
    audits = {name: shaped(audit, name, b) for name, b in (("one", 0.4), ("three", 0.5))}
    found = continuation(audits, pooled)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((0.45, 0.45))
    assert found.draws == 2


def test_a_draw_that_reaches_too_little_is_left_out(
    frame: pd.DataFrame, audit: pd.DataFrame
) -> None:
    curve = best_error(frame)
    each = tuple(replace(curve, law_id=name) for name in ("one", "two"))
    pooled = replace(curve, law_id="all", draws=each)
    audits = {
        "one": shaped(audit, "one", 0.4),
        "two": shaped(audit, "two", 0.5, last=2.0**14),
    }
    found = continuation(audits, pooled)
    assert found is not None
    assert found.low == pytest.approx(0.4)
    assert found.draws == 1
    broken = {"one": audits["one"].assign(value=-1.0)}
    assert continuation(broken, pooled) is None


def test_a_brief_audit_stands_back_behind_a_whole_one(audit: pd.DataFrame) -> None:
    """Whatever its samples: it knows nothing of the assumptions."""
    samples = audit["quantity"] == "spectrum_samples"
    whole = audit.assign(audit_id="whole", value=audit["value"].mask(samples, 2048.0))
    kept = audit["quantity"].isin(["spectrum_samples", "predicted_error", "predicted_time"])
    brief = audit[kept].assign(audit_id="a", value=audit["value"].mask(samples, 4096.0)[kept])
    assert preferred(pd.concat([whole, brief])) == "whole"
    assert preferred(brief) == "a"


def test_a_setting_with_a_brief_audit_is_told_to_have_none(
    frame: pd.DataFrame, audit: pd.DataFrame
) -> None:
    (setting, *_) = settings(frame)
    law = audit.assign(law_id=setting.law_id)
    assert setting_audit(setting, law) is not None
    brief = law[law["quantity"].isin(["spectrum_samples", "predicted_error"])]
    assert setting_audit(setting, brief) is None


def test_what_no_kernel_is_the_limit_of_is_not_judged_about_it(
    frame: pd.DataFrame, audit: pd.DataFrame
) -> None:
    table = frame[frame["width"] == 4096]
    own = shaped(audit, str(table["law_id"].iloc[0]), 0.65)

    def known(of: pd.DataFrame) -> bool:
        found = evaluate(of, audit=own, theories=["hrx"])
        large = [
            v.at_large for v in found if (v.quantity, v.axis) == (Quantity.BEST_ERROR, "samples")
        ]
        assert large
        return any(seen is not None and seen.known is not None for seen in large)

    assert known(table)
    assert not known(table.assign(trainer="own"))


def test_exponents_are_those_of_the_same_setting(frame: pd.DataFrame, audit: pd.DataFrame) -> None:
    curve = next(c for c in curves(frame) if c.axis == "samples")
    assert exponents_for(audit, curve) == pytest.approx((CAPACITY, SOURCE), abs=0.02)
    assert exponents_for(None, curve) == (None, None)
    for changed in ({"t_min": 0.2}, {"feature_bias": False}, {"law_id": "other"}):
        assert exponents_for(audit.assign(**changed), curve) == (None, None)
    negative = audit.assign(value=audit["value"].where(audit["quantity"] != "source", -0.3))
    assert exponents_for(negative, curve) == (None, None)


# --- words and figures ----------------------------------------------------------------------------


def test_every_assumption_has_a_row_with_its_measurement(
    frame: pd.DataFrame, audit: pd.DataFrame
) -> None:
    setting = settings(frame)[0]
    found = {row.assumption: row for row in assumption_rows(setting, audit)}

    def told(part: str) -> str:
        return next(row.measured for name, row in found.items() if part in name)

    assert told("support") == "infinite (exact)"
    assert "at most 0.01 beyond R = 3" in told("tails")
    assert "at least 60.2 at t = 0.005" in told("Lipschitz in x")
    assert "99 % of X_t meet at most 3" in told("Lipschitz in t")
    assert "0.001 to 0.2" in told("bounded noise")
    assert "at N = 64" in told("smallest eigenvalue")
    assert "4 at N = 64, 4 at N = 1024; the study uses η = 0.25, 0.5, 1" in told("step size")
    assert told("capacity") == "1.39 (95 % interval 1.37 to 1.41, 4 replicates) at N = 8192"
    assert "4 replicates" in told("source")
    assert "the two agree up to R_H = 2.94" in told("near the RKHS")
    assert NOT_MEASURED not in {row.measured for row in found.values()}
    unmeasured = assumption_rows(setting, None)
    assert [row.assumption for row in unmeasured] == list(found)
    assert sum(row.measured == NOT_MEASURED for row in unmeasured) == 11
    assert "at m = 64" in next(r.measured for r in unmeasured if "flipped" in r.assumption)


def test_figures_hold_the_measurements(frame: pd.DataFrame, audit: pd.DataFrame) -> None:
    setting = settings(frame)[0]
    plots = {
        p.name.partition("_audit_")[2]: p
        for p in audit_plots(setting, audit)
        if isinstance(p, Plot)
    }
    assert set(plots) == {"lipschitz", "noise", "tail", "kernel", "approximation", "movement"}
    named = {row.figure for row in assumption_rows(setting, audit)} - {""}
    assert named == {p.name for p in plots.values()}
    largest = plots["lipschitz"].table.query("series == 'largest found' and panel == 'in x'")
    assert largest["y"].to_numpy() == pytest.approx(0.3009 / largest["x"].to_numpy())
    labels = [s.label for panel in plots["kernel"].panels for s in panel.series]
    assert "fit $i^{-1.33}$" in labels or "fit $i^{-1.34}$" in labels or "fit $i^{-1.32}$" in labels
    assert "theory $i^{-1.33}$" in labels
    assert "bound $R_H^{-1.00}$" in [s.label for s in plots["approximation"].panels[0].series]
    flipped = plots["movement"].panels[1].series[0]
    assert np.all(np.diff(flipped.y) < 0)


def test_learning_times_of_modes_are_told_and_drawn(
    frame: pd.DataFrame, audit: pd.DataFrame
) -> None:
    setting = settings(frame)[0]
    first = audit[audit["quantity"] == "largest_step_size"].iloc[[0]]
    planted = [
        first.assign(
            quantity="mode_learning_time", axis="variance", x=v, seed=seed, unit="1",
            value=3 * v**-0.7 * (1 + 0.01 * seed),
        )
        for v in (1.0, 0.5, 0.25, 0.1)
        for seed in range(4)
    ]  # fmt: skip
    assert not [r for r in assumption_rows(setting, audit) if "mode" in r.assumption]
    more = pd.concat([audit, *planted], ignore_index=True).astype(audit.dtypes)
    (row,) = [r for r in assumption_rows(setting, more) if "mode" in r.assumption]
    assert row.measured.startswith("3.04 at v = 1, 15.3 at v = 0.1")
    assert "v^−b with b = 0.70 (0.70 to 0.70)" in row.measured
    (plot,) = [p for p in audit_plots(setting, more) if isinstance(p, Plot) and "modes" in p.name]
    assert row.figure == plot.name
    labels = [s.label for s in plot.panels[0].series]
    assert labels == ["measured", "fit $v^{-0.70}$", "theory $v^{-1}$"]
    draw(plot)


def test_values_that_are_zero_or_null_are_told_and_drawn(
    frame: pd.DataFrame, audit: pd.DataFrame
) -> None:
    # A single point: f* is constant, there is no noise; and no source.
    flat = audit["quantity"].str.contains("lipschitz|slope|variance|approximation")
    null = audit["quantity"].isin(["rate", "source"])
    values = audit["value"].where(~flat, 0.0).where(~null, np.nan)
    setting, point = settings(frame)[0], audit.assign(value=values)
    told = {row.assumption: row.measured for row in assumption_rows(setting, point)}
    assert any("at least 0 at t = 0.005" in text for text in told.values())
    assert sum(text.startswith("not defined") for text in told.values()) == 2
    for item in audit_plots(setting, point):
        assert isinstance(item, Plot)
        assert draw(item).axes


@pytest.mark.slow
def test_a_table_brings_the_audit_beside_its_results(
    frame: pd.DataFrame, folder: Path, tmp_path: Path
) -> None:
    place = tmp_path / "results"
    shutil.copytree(folder, place)
    frame.to_parquet(place / "results.parquet")
    for other in (
        CONFIG.model_copy(update={"diffusion": Diffusion(t_min=0.2)}),  # no trial of the table's
        CONFIG.model_copy(update={"study_seed": 7}),  # the same setting, measured again
    ):
        path = place / "audit" / f"{audit_id(other)}.parquet"
        pq.write_table(audit_table(rows(other, seeds=3)), path)
    read = load_results(place)
    found = evaluate(read)
    first = min(audit_id(CONFIG), audit_id(other))
    assert set(found.audit["audit_id"]) == {first}
    every = load_audit(place, [first])
    told = [v.to_dict() for v in evaluate(load_table(str(place / "results.parquet")), audit=every)]
    assert [v.to_dict() for v in found] == told
    assert {"ntk_eigenvalue", "approximation"} <= {v.quantity for v in found}
    assert evaluate(Table.of(read)).audit is None
    shutil.rmtree(place / "audit")
    assert evaluate(read).audit is None


def test_the_audit_beside_results_is_that_of_their_g(
    frame: pd.DataFrame, folder: Path, tmp_path: Path
) -> None:
    place = tmp_path / "results"
    shutil.copytree(folder, place)
    fast = CONFIG.changed(diffusion=Diffusion(g_min=5.0))
    name = place / "audit" / f"{audit_id(fast)}.parquet"
    pq.write_table(audit_table(rows(fast)), name)

    def beside(g: float) -> set[str]:
        frame.assign(g_min=g, g_max=g).to_parquet(place / "results.parquet")
        found = audit_beside(load_results(place))
        return set() if found is None else set(found["audit_id"])

    assert beside(1.0) == {audit_id(CONFIG)}
    assert beside(5.0) == {audit_id(fast)}
    assert beside(2.0) == set()
    # As earlier versions wrote it: of the g that goes unsaid, unless another says that it is.
    pq.write_table(audit_table(rows(fast)).drop_columns(["g_min", "g_max"]), name)
    assert beside(1.0) == {audit_id(CONFIG)}
    assert beside(5.0) == set()
    (place / "audit" / f"{audit_id(CONFIG)}.parquet").unlink()
    assert beside(1.0) == {audit_id(fast)}
    frame.drop(columns=["g_min", "g_max"]).to_parquet(place / "results.parquet")
    read = load_results(place)
    old = audit_beside(read)
    assert old is not None
    assert setting_audit(settings(read)[0], old) is not None


def test_an_earlier_audit_of_a_linear_g_is_of_results_that_do_not_say_it_either(
    frame: pd.DataFrame,
) -> None:
    unsaid = {"schedule": "linear", "g_min": np.nan, "g_max": np.nan}
    earlier = pd.DataFrame(rows()).assign(**unsaid)
    assert setting_audit(settings(frame.assign(**unsaid))[0], earlier) is not None
    told = frame.assign(schedule="linear", g_min=0.1, g_max=9.0)
    assert setting_audit(settings(told)[0], earlier) is None


def test_figures_without_an_audit_say_so(frame: pd.DataFrame) -> None:
    items = list(audit_plots(settings(frame)[0], None))
    assert [isinstance(item, Plot) for item in items] == [False] * 5 + [True]


@pytest.mark.slow
def test_report_links_rows_to_figures(
    frame: pd.DataFrame, audit: pd.DataFrame, tmp_path: Path, fingerprints: None
) -> None:
    page = write_report(tmp_path, evaluate(frame, audit=audit)).read_text()
    assert "infinite (exact)" in page
    assert 'href="#gaussian_mixture_d2_audit_lipschitz"' in page
    assert 'id="gaussian_mixture_d2_audit_lipschitz"' in page
    plots, _ = study_plots(evaluate(frame, audit=audit))
    names = [p.name for p in plots]
    assert len(names) == len(set(names))
    assert "gaussian_mixture_d2_ntk_eigenvalue_against_index" in names


@pytest.mark.slow
def test_what_needs_an_audit_is_judged_on_the_draw_that_has_one(
    frame: pd.DataFrame, audit: pd.DataFrame
) -> None:
    """Draws of a law are judged together in all else."""

    def draw(number: int) -> pd.DataFrame:
        names = {name: frame[name] + f"-{number}" for name in ("trial_id", "point_id", "data_id")}
        law_id = frame["law_id"].iloc[0] if number == 5 else f"law{number}"
        label = f"gaussian_mixture[components=8,std=0.1,seed={number}]"
        return frame.assign(**names, law_id=law_id, law_label=label)

    table = pd.concat([draw(number) for number in (5, 6, 7)], ignore_index=True)
    verdicts = list(evaluate(table, audit=audit))
    own = {v.prediction for v in verdicts if v.law_id == frame["law_id"].iloc[0]}
    pooled = {v.prediction for v in verdicts if v.draws}
    assert {"kernel's best error against samples", "kernel's best time against samples"} <= own
    assert "best error against samples" in pooled
    assert not own & pooled
    assert all(v.law_id not in ("law6", "law7") for v in verdicts)


def test_where_no_spectrum_says_how_a_curve_goes_on_the_reason_says_so(
    frame: pd.DataFrame, audit: pd.DataFrame
) -> None:
    table = frame[frame["width"] == 4096]
    law = str(table["law_id"].iloc[0])

    def told(of: pd.DataFrame, own: pd.DataFrame | None) -> dict[str, str]:
        found = evaluate(of, audit=own, theories=["hrx"])
        along = [v for v in found if v.axis == "samples"]
        assert along
        return {
            v.quantity: v.reason.partition("learning curves have waves, and ")[2] for v in along
        }

    def without(of: pd.DataFrame, own: pd.DataFrame | None = None) -> str:
        return told(of, own)[Quantity.BEST_ERROR].split(":")[0]

    assert "`audit: true`" in told(table, None)[Quantity.BEST_ERROR]
    assert "b was up to 0.13 off" in told(table, None)[Quantity.BEST_ERROR]
    assert "b was up to 0.64 off" in told(table, None)[Quantity.BEST_TIME]
    assert not told(table, shaped(audit, law, 0.65))[Quantity.BEST_ERROR]
    steps = shaped(audit, law, 0.65)
    steps["value"] *= np.where(np.log2(steps["x"]) % 2 == 0, 3.0, 1.0)
    assert told(table, steps)[Quantity.BEST_ERROR] == (
        "the kernel's spectrum does not describe this one"
    )
    near = shaped(audit, law, 0.65, last=2.0**14)
    assert "(`audit_points`) does not reach far enough" in told(table, near)[Quantity.BEST_ERROR]
    # what an audit says nothing of
    assert without(table.assign(trainer="mlp_adamw")) == "nothing says how this one goes on"
    assert without(table.assign(copies=4)) == "nothing says how this one goes on"
